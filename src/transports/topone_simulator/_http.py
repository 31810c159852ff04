"""The HTTP API over real sockets: the desk's answers, carried out by aiohttp."""

import asyncio
import logging
import ssl
import struct
from collections.abc import Callable
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import Final

from aiohttp import web

from topone_proto.exchange import Breakage, HttpDesk, HttpReply

__all__ = ["HttpServer"]

_SHUTDOWN_TIMEOUT: Final = 1.0


class HttpServer:
    """Serves a desk."""

    def __init__(
        self,
        desk: HttpDesk,
        clock: Callable[[], float],
        logger: logging.Logger,
        *,
        has_date: bool,
    ) -> None:
        """Listen nowhere yet.

        Args:
            desk: answers.
            clock: returns the time.
            logger: is told of errors; it must pass nothing on that is less.
            has_date: True if the desk's answers have a date.
        """
        self._desk = desk
        self._clock = clock
        self._has_date = has_date
        self._closing = asyncio.Event()
        self._server: asyncio.Server | None = None
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_response_prepare.append(self._prepare)
        self._runner = web.AppRunner(
            app,
            access_log=None,  # it would have the signatures of requests for tokens
            logger=logger,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the port cannot be listened on.
        """
        await self._runner.setup()
        assert self._runner.server is not None  # it is set up
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._runner.server, host, port, ssl=ssl_context)
        bound: int = self.sockets[0].getsockname()[1]
        return bound

    @property
    def sockets(self) -> tuple[socket, ...]:
        """The sockets that are listened on; empty before ``start``."""
        return () if self._server is None else self._server.sockets

    async def close(self) -> None:
        """End every connection, and listen no more."""
        self._closing.set()
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = [(name, text) for name, text in request.headers.items()]
        reply = self._desk.answer(request.method, request.raw_path, headers, self._clock())
        if reply.delay:
            await self._wait(reply.delay)
        match reply.fault:
            case None:
                return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
            case Breakage.CUT:
                return await _cut(request, reply)
            case Breakage.HANG:
                # Until the client has left, which cancels this, or the server ends.
                await self._wait(None)
            case Breakage.RESET:  # pragma: no branch - there is no other
                pass
        return _reset(request)

    async def _prepare(self, _: web.Request, response: web.StreamResponse) -> None:
        """Leave out what aiohttp adds by itself."""
        del response.headers["Server"]
        if not self._has_date:
            del response.headers["Date"]

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass


async def _cut(request: web.Request, reply: HttpReply) -> web.StreamResponse:
    """Send the head with the length of the whole body, then half of it, and end the connection."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _reset(request: web.Request) -> web.StreamResponse:
    """End the TCP connection with a reset."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()
