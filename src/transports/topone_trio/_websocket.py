"""A WebSocket as the feed wants it, and the one it gets by default. All that knows trio-websocket is here."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from topone_proto import (
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Failure,
    FailureKind,
    failure_from_exception,
    failure_from_response,
)

__all__ = ["OpenWebSocket", "WebSocket", "open_websocket"]

# trio-websocket reads 4 KiB at a time by default; a burst of updates is larger.
_RECEIVE_BYTES = 65536


class WebSocket(Protocol):
    """An open WebSocket. Every method raises ``topone_proto.ConnectionEnded`` once it is no longer open."""

    async def receive(self) -> str | bytes:
        """The next message, whole. Pings of the peer are answered on the way."""
        ...

    async def send_text(self, text: str) -> None:
        """Send a text message."""
        ...

    async def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return; its pong is reported to the ``on_pong`` of ``open_websocket``."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's. The caller bounds the time."""
        ...


OpenWebSocket = Callable[
    [Connect, Callable[[bytes], object]], AbstractAsyncContextManager[WebSocket]
]
"""``open_websocket(connect, on_pong)``: an async context manager that dials as ``connect`` says and drops the connection
at once on leaving. A dial that fails raises ``topone_proto.ConnectionFailed``, or any exception that
``topone_proto.failure_from_exception`` can tell from others."""


class _Stream(trio.abc.Stream):
    """The stream below, and a way to see it end: trio-websocket waits for ever if that happens in the handshake."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.ended = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise
        if not data:
            self.ended.set()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _TrioWebSocket:
    def __init__(
        self,
        connection: WebSocketConnection,
        nursery: trio.Nursery,
        on_pong: Callable[[bytes], object],
    ) -> None:
        self._connection = connection
        self._nursery = nursery
        self._on_pong = on_pong

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.get_message()
        except ConnectionClosed as closed:
            end = _end_of(closed)
        raise end

    async def send_text(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as closed:
            end = _end_of(closed)
        else:
            return
        raise end

    async def send_ping(self, payload: bytes) -> None:
        self._nursery.start_soon(self._ping, payload)

    async def _ping(self, payload: bytes) -> None:
        try:
            await self._connection.ping(payload)
        except ConnectionClosed:
            return
        self._on_pong(payload)

    async def close(self, code: int, reason: str) -> None:
        await self._connection.aclose(code, reason)


def _end_of(closed: ConnectionClosed) -> ConnectionEnded:
    # 1006 is what trio-websocket calls a connection that ended without a close frame (RFC 6455 section 7.1.5).
    if closed.reason is None or closed.reason.code == 1006:
        return ConnectionEnded()
    return ConnectionEnded(closed.reason.code, closed.reason.reason or "")


async def _dial_stream(connect: Connect, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    endpoint = connect.endpoint
    if not endpoint.is_tls:
        return await trio.open_tcp_stream(endpoint.host, endpoint.port)
    stream = await trio.open_ssl_over_tcp_stream(
        endpoint.host,
        endpoint.port,
        ssl_context=ssl_context or ssl.create_default_context(),
        https_compatible=True,
    )
    # Now, where its failure can be told from one of the WebSocket handshake.
    await stream.do_handshake()
    return stream


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[WebSocket]:
    """Dial with trio-websocket. It sends no pings of its own, follows no redirect and adds no ``Origin``."""
    stream = _Stream(await _dial_stream(connect, ssl_context))
    failure = Failure(FailureKind.NOT_WEBSOCKET, "the server hung up in the handshake")
    is_open = False
    try:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as handshake:
                nursery.start_soon(_cancel_after, stream.ended, handshake)
                try:
                    connection = await wrap_client_stream(
                        nursery,
                        stream,  # type: ignore[arg-type]  # any trio.abc.Stream will do: see its documentation
                        connect.endpoint.authority,
                        connect.target(),
                        extra_headers=[(k.encode(), v.encode()) for k, v in connect.endpoint.headers],
                        max_message_size=connect.max_frame_size,
                        receive_buffer_size=_RECEIVE_BYTES,
                    )
                    is_open = True
                except ConnectionRejected as rejected:
                    failure = failure_from_response(
                        rejected.status_code,
                        [(k.decode("latin-1"), v.decode("latin-1")) for k, v in rejected.headers or ()],
                    )
                except Exception as error:  # noqa: BLE001 - wsproto raises its own for what is no HTTP
                    failure = failure_from_exception(error)
            if is_open:
                yield _TrioWebSocket(connection, nursery, on_pong)
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
    if not is_open:
        raise ConnectionFailed(failure)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
