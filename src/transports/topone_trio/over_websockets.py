"""A WebSocket for ``open_feed(open_websocket=...)`` that takes less time than the default: all that
knows websockets' trio client is here.

    from topone_trio.over_websockets import open_websocket

    async with topone_trio.open_feed(token=..., open_websocket=open_websocket) as feed: ...
"""

import logging
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from topone_proto import (
    AsyncWebSocket,
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Failure,
    failure_from_exception,
    failure_from_response,
)

try:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.frames import Frame, Opcode
    from websockets.protocol import Event
    from websockets.trio.client import ClientConnection
    from websockets.trio.client import connect as connect_websocket
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        "topone_trio.over_websockets needs websockets with its trio client: "
        'pip install "topone-proto[trio-websockets]"',
        name=_error.name,
    ) from None

__all__ = ["open_websocket"]

# websockets writes whole URLs, tokens included, at level DEBUG.
_quiet: Final = logging.Logger("quiet")  # noqa: LOG001 - nobody can find it and switch it on
_quiet.disabled = True


class _WebsocketsWebSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        try:
            # As bytes: the core checks UTF-8 itself.
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            end = _end_of(closed)
        raise end

    async def send_text(self, text: str) -> None:
        try:
            return await self._connection.send(text)
        except ConnectionClosed as closed:
            end = _end_of(closed)
        raise end

    async def send_ping(self, payload: bytes) -> None:
        try:
            await self._connection.ping(payload)
        except ConnectionClosed as closed:
            end = _end_of(closed)
        else:
            return
        raise end

    async def close(self, code: int, reason: str) -> None:
        async with trio.open_nursery() as nursery:
            # The peer's close frame comes behind what it has sent before.
            nursery.start_soon(self._drain)
            await self._connection.aclose(code, reason)
            nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._connection.recv(decode=False)


def _end_of(closed: ConnectionClosed) -> ConnectionEnded:
    if closed.rcvd is not None:
        return ConnectionEnded(closed.rcvd.code, closed.rcvd.reason)
    if closed.sent is not None:
        # websockets gave up, since it could not take what the peer sent, and says why.
        return ConnectionEnded(None, closed.sent.reason or str(closed.sent))
    return ConnectionEnded()


def _failure_of(error: Exception) -> Failure:
    # A redirect comes as the context of the refusal to follow it.
    for cause in (error, error.__cause__):
        if isinstance(cause, InvalidStatus):
            response = cause.response
            return failure_from_response(response.status_code, response.headers.raw_items())
    return failure_from_exception(error)


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with websockets. It sends no pings of its own, follows no redirect and adds no
    ``Origin``.

    Args:
        connect: where to dial, with the token, and the largest message that is taken.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
        OSError: there is no TCP connection.
    """
    endpoint = connect.endpoint
    # Dialled here: so that leaving can drop it at once, and that websockets follows no redirect.
    stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)

    class Connection(ClientConnection):
        def process_event(self, event: Event) -> None:
            super().process_event(event)
            if isinstance(event, Frame):
                if event.opcode is Opcode.PONG:
                    on_pong(bytes(event.data))
                elif event.opcode is Opcode.CLOSE:
                    # It has been answered, or is the answer. websockets would wait for the peer's
                    # end of TCP, for as long as that takes.
                    self.nursery.start_soon(trio.aclose_forcefully, stream)

    dial = connect_websocket(
        connect.url(),
        stream=stream,
        ssl=(ssl_context or ssl.create_default_context()) if endpoint.is_tls else None,
        additional_headers=endpoint.headers,
        user_agent_header=None,
        compression=None,
        proxy=None,
        open_timeout=None,  # the core has its own deadlines
        ping_interval=None,
        close_timeout=None,
        max_size=connect.max_frame_size,
        logger=_quiet,
        create_connection=Connection,
    )
    failure: Failure | None = None
    try:
        try:
            connection = await dial.__aenter__()
        except Exception as error:  # noqa: BLE001 - some have the URL in their text, so none gets out
            failure = _failure_of(error)
        else:
            try:
                yield _WebsocketsWebSocket(connection)
            finally:
                # A cancellation may come with every wait, and a nursery that was opened has to be
                # left all the same.
                try:
                    await trio.aclose_forcefully(stream)
                finally:
                    if connection.recv_flow_control is not None:
                        # Nobody took its messages, so it has stopped reading and would not notice.
                        connection.resume_reading()
                    await dial.__aexit__(None, None, None)
    finally:
        await trio.aclose_forcefully(stream)
    if failure is not None:
        # Out here, where it has no context that would show the other.
        raise ConnectionFailed(failure)
