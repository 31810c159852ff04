"""Blocking WebSockets: the one that an application may bring, and the one that it may take."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self

import topone_asyncio
from topone_proto import Connect, ConnectionEnded, ConnectionFailed
from topone_proto.adapters import AsyncWebSocket, failure_from_exception
from topone_threads._io import Portal, Worker

__all__ = ["OpenWebSocket", "WebSocket", "dial_in_threads", "open_websocket"]

# Seconds that the end of a connection may take.
_PATIENCE: Final = 5.0


class WebSocket(Protocol):
    """A WebSocket, from before its dial to its end.

    Once it is no longer open, every method but ``close`` and ``abort`` raises
    ``topone_proto.ConnectionEnded``. One thread receives, another one sends and closes.

    It may have an attribute ``heard_at: float | None``: when bytes of the peer came last, be they a
    part of a frame or a control frame, by ``time.monotonic``. With it a large frame on a slow line,
    or a peer that only pings, is not taken for dead.
    """

    def __enter__(self) -> Self:
        """Dial. A dial that fails raises ``topone_proto.ConnectionFailed``, or an ``OSError`` that
        ``topone_proto.adapters.failure_from_exception`` can tell from others."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        """Drop the connection, and return when nothing is left of it."""
        ...

    def receive(self) -> str | bytes:
        """Return the next message, whole. Pings of the peer are answered on the way."""
        ...

    def send_text(self, text: str) -> None:
        """Send a text message."""
        ...

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return; its pong is reported to the ``on_pong`` of
        ``open_websocket``."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's. The caller bounds the time, by ``abort``."""
        ...

    def abort(self) -> None:
        """Drop the connection, from any thread and at any time, before and during the dial as well.

        Returns at once. Whatever waits in other threads raises then.
        """
        ...


OpenWebSocket = Callable[[Connect, Callable[[bytes], object]], WebSocket]
"""``open_websocket(connect, on_pong)``: a WebSocket that dials as ``connect`` says when its
``with`` block is entered. It may call ``on_pong`` from any thread, but not within ``abort``."""


@asynccontextmanager
async def dial_in_threads(
    portal: Portal,
    open_websocket: OpenWebSocket,
    connect: Connect,
    on_pong: Callable[[bytes], object],
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with a blocking WebSocket: one thread dials, reads and drops it, another one writes."""
    websocket = _InThreads(portal, partial(open_websocket, connect), on_pong)
    try:
        await websocket.enter()
        yield websocket
    finally:
        await websocket.leave()


class _InThreads:
    """A blocking WebSocket, as coroutines use it."""

    def __init__(
        self,
        portal: Portal,
        make: Callable[[Callable[[bytes], object]], WebSocket],
        on_pong: Callable[[bytes], object],
    ) -> None:
        self._make = partial(make, partial(portal.post, self._pong_came))
        self._on_pong = on_pong
        self._websocket: WebSocket
        self._abort: Callable[[], object] = bool
        self._stack = ExitStack()
        self._is_over = False
        self._reader = Worker(portal, "reader")
        self._writer = Worker(portal, "writer")

    @property
    def heard_at(self) -> float | None:
        return getattr(self._websocket, "heard_at", None)

    async def enter(self) -> None:
        self._reader.start()
        self._writer.start()
        await self._reader.do(self._enter)

    async def leave(self) -> None:
        self._is_over = True
        self._abort()
        self._writer.stop()
        if self._reader.is_alive():
            leaving = asyncio.create_task(self._left())
            try:
                await asyncio.shield(leaving)
            except asyncio.CancelledError:
                # No task is cancelled twice.
                await leaving
                raise

    async def _left(self) -> None:
        try:
            await self._reader.do(self._leave)
        finally:
            self._reader.stop()
            # It has nothing left to do.
            self._reader.join()

    async def receive(self) -> str | bytes:
        return await self._reader.do(self._websocket.receive)

    async def send_text(self, text: str) -> None:
        await self._writer.do(partial(self._websocket.send_text, text))

    async def send_ping(self, payload: bytes) -> None:
        await self._writer.do(partial(self._websocket.send_ping, payload))

    async def close(self, code: int, reason: str) -> None:
        # The peer's close frame comes after what it has sent before.
        draining = asyncio.create_task(self._reader.do(self._drain))
        try:
            await self._writer.do(partial(self._websocket.close, code, reason))
        finally:
            draining.cancel()

    def _pong_came(self, payload: bytes) -> None:
        if not self._is_over:
            self._on_pong(payload)

    # In the reader.

    def _enter(self) -> None:
        self._websocket = self._make()
        self._abort = self._websocket.abort
        if self._is_over:
            self._abort()
        self._stack.enter_context(self._websocket)

    def _drain(self) -> None:
        with suppress(Exception):
            while not self._is_over:
                self._websocket.receive()

    def _leave(self) -> None:
        if self._writer.ident is not None:
            self._writer.join()
        self._stack.close()


class _Blocking:
    """A WebSocket of the I/O thread's, as other threads use it."""

    def __init__(self, dial: Callable[[], AbstractAsyncContextManager[AsyncWebSocket]]) -> None:
        self._portal = Portal(self._live, self._fail, self._raise_end)
        self._dial = dial
        self._websocket: AsyncWebSocket | None = None
        self._task: asyncio.Task[object] | None = None
        self._is_aborted = False
        self._error: BaseException = ConnectionEnded()

    def __enter__(self) -> Self:
        try:
            self._portal.start()
            self._portal.wait(lambda: self._websocket or self._portal.is_over, None)
            if self._websocket is None:
                self._raise_end()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.stop(self._abort, _PATIENCE)

    def receive(self) -> str | bytes:
        """Return the next message, whole."""
        message: str | bytes = self._do("receive")
        return message

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._do("send_text", text)

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return."""
        self._do("send_ping", payload)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's."""
        with suppress(ConnectionEnded):
            self._do("close", code, reason)

    def abort(self) -> None:
        """Drop the connection, from any thread and at any time."""
        self._is_aborted = True
        self._portal.post(self._abort)

    def _do(self, method: str, *arguments: object) -> Any:
        if self._websocket is None:
            self._raise_end()
        return self._portal.call(getattr(self._websocket, method), *arguments)

    def _raise_end(self) -> NoReturn:
        raise self._error

    # In the I/O thread.

    async def _live(self) -> None:
        self._task = asyncio.current_task()
        if self._is_aborted:
            self._abort()
        try:
            async with self._dial() as self._websocket:
                self._portal.ring()
                await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self._websocket is None:
                self._error = ConnectionFailed(failure_from_exception(ConnectionAbortedError()))

    def _fail(self, fault: BaseException) -> None:
        self._error = fault
        self._abort()

    def _abort(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()


def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
    on_ping: Callable[[bytes], object] = bytes,
) -> WebSocket:
    """Return a blocking WebSocket that dials as ``topone_asyncio.open_websocket`` does.

    ``on_pong`` and ``on_ping`` are called in the thread that all feeds share: they must not block.
    ``on_ping`` is told of the server's ping frames, which are answered all the same.
    """
    return _Blocking(
        partial(
            topone_asyncio.open_websocket,
            connect,
            on_pong,
            ssl_context=ssl_context,
            on_ping=on_ping,
        )
    )
