"""A WebSocket as the feed wants it, and the one it gets by default. All that knows trio-websocket
is here."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from topone_proto import (
    AsyncWebSocket,
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Failure,
    FailureKind,
    failure_from_exception,
    failure_from_response,
)

__all__ = ["open_websocket"]

# trio-websocket reads 4 KiB at a time by default; a burst of updates is larger.
_RECEIVE_BYTES = 65536


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


# What trio-websocket and wsproto close with when they cannot go on: too large, no frame, no UTF-8.
# The peer has no cause to, and gets the blame for none of them.
_OWN_CODES = frozenset({1002, 1007, 1009})


def _end_of(closed: ConnectionClosed) -> ConnectionEnded:
    # 1006 is what trio-websocket calls a connection that ended without a close frame (RFC 6455
    # section 7.1.5).
    if closed.reason is None or closed.reason.code == 1006:
        return ConnectionEnded()
    words = closed.reason.reason or ""
    if closed.reason.code in _OWN_CODES:
        return ConnectionEnded(None, words or closed.reason.name)
    return ConnectionEnded(int(closed.reason.code), words)


async def _dial_stream(
    connect: Connect, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream | Failure:
    try:
        return await _open_stream(connect, ssl_context)
    except (OSError, trio.BrokenResourceError) as error:
        return failure_from_exception(error)


async def _open_stream(connect: Connect, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
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
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


class _Background:
    """The nursery that trio-websocket gets for its reader task.

    Whatever that task fails with says how the connection failed, and belongs neither into an
    ``ExceptionGroup`` nor into the application's nursery.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.handshake = trio.CancelScope()
        self.error: Exception | None = None

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        self._nursery.start_soon(self._run, function, args)

    async def _run(
        self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - of trio-websocket, of wsproto or of h11 below
            self.error = error
        # In the handshake nobody else would notice; later, reading ends because this task has
        # closed its channel.
        self.handshake.cancel()


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with trio-websocket. It sends no pings of its own, follows no redirect and adds no
    ``Origin``.

    Args:
        connect: where to dial, with the token, and the largest message that is taken.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
    """
    stream = await _dial_stream(connect, ssl_context)
    if isinstance(stream, Failure):
        raise ConnectionFailed(stream)
    error: Exception | None = None
    connection: WebSocketConnection | None = None
    try:
        async with trio.open_nursery() as nursery:
            background = _Background(nursery)
            with background.handshake:
                connection = await wrap_client_stream(
                    background,  # type: ignore[arg-type]  # all that it is asked for is start_soon
                    stream,  # type: ignore[arg-type]  # any trio stream will do: see its documentation
                    connect.endpoint.authority,
                    connect.target(),
                    extra_headers=[(k.encode(), v.encode()) for k, v in connect.endpoint.headers],
                    max_message_size=connect.max_frame_size,
                    receive_buffer_size=_RECEIVE_BYTES,
                )
            if connection is not None:
                yield _TrioWebSocket(connection, nursery, on_pong)
            error = background.error
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
    if connection is None:
        raise ConnectionFailed(_failure_of(error))


def _failure_of(error: Exception | None) -> Failure:
    if error is None:
        return Failure(FailureKind.NOT_WEBSOCKET, "the server hung up in the handshake")
    if isinstance(error, ConnectionRejected):
        headers = error.headers or ()
        return failure_from_response(
            error.status_code, [(k.decode("latin-1"), v.decode("latin-1")) for k, v in headers]
        )
    return failure_from_exception(error)
