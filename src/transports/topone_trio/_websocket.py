"""The default WebSocket of trio feeds. All code that uses trio-websocket is here.

trio-websocket reads heads with h11, which takes more for an error than a client should that has to
know a status; tells nobody when bytes came; and calls its own reasons to close by the same names as
the peer's. So it gets a stream that stands between it and the socket, ``_Line``, which knows all
three.
"""

import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.frame_protocol import FrameProtocol

from topone_proto import Connect, ConnectionEnded, ConnectionFailed, Failure
from topone_proto.adapters import (
    WRONG_ACCEPT,
    Answer,
    AsyncWebSocket,
    failure_from_exception,
)
from topone_trio._dial import dial

__all__ = ["open_websocket"]

# trio-websocket reads 4 KiB at a time by default; a burst of updates is larger.
_RECEIVE_BYTES: Final = 65536

# A close frame with a reason: two bytes, and at most 125 of payload.
_LONGEST_CLOSE: Final = 127

# Seconds that the peer has to take the close frame which says what was wrong with its own.
_PATIENCE: Final = 1.0


class _Line(trio.abc.Stream):
    """The stream that trio-websocket is given.

    It judges the answer to the handshake, of which trio-websocket sees a plain form only, and
    remembers the last bytes and their time.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._answer: Answer | None = Answer()
        self._sending = trio.Lock()
        self._latest: bytes | bytearray = b""
        self.heard_at: float | None = None
        """The time at which the last bytes came, by trio's clock."""
        self.refusal: Failure | None = None
        """The failure that the answer to the handshake means; None if it does not refuse."""

    @property
    def is_accepted(self) -> bool:
        """True once the server has accepted the handshake."""
        return self._answer is None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._answer is not None:
            return await self._receive_answer(self._answer)
        data = await self._stream.receive_some(max_bytes)
        self._note(data)
        return data

    async def _receive_answer(self, answer: Answer) -> bytes:
        accepted: bytes | None = None
        broken: Exception | None = None
        while accepted is None:
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except trio.BrokenResourceError as error:
                data, broken = b"", error
            try:
                accepted = answer.receive(data)
            except ConnectionFailed as failed:
                self.refusal = failed.failure
                if broken is not None and self.refusal.status is None:
                    self.refusal = failure_from_exception(broken)
                return b""
        self._answer = None
        self._note(accepted)
        return accepted

    def _note(self, data: bytes | bytearray) -> None:
        if not data:
            return
        self.heard_at = trio.current_time()
        if len(data) < _LONGEST_CLOSE:
            data = self._latest[-_LONGEST_CLOSE:] + data
        self._latest = data

    def has_brought(self, frame: bytes) -> bool:
        """Return True if these bytes are among those that came last."""
        return frame in self._latest

    def unknown_close(self) -> ConnectionEnded | None:
        """Return the end that the peer's last close frame says, if its code is the one that wsproto
        does not know; None for any other."""
        found = _UNKNOWN_CLOSE.search(self._latest)
        if found is None or len(found[2]) < found[1][0] - 2:
            return None
        return ConnectionEnded(_UNKNOWN_CODE, found[2][: found[1][0] - 2].decode(errors="replace"))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                # A server that refuses may have answered already, and hung up.
                if self.is_accepted:
                    raise

    async def wait_send_all_might_not_block(self) -> None:
        # trio-websocket never calls it; a stream has to have it.
        await self._stream.wait_send_all_might_not_block()  # pragma: no cover

    async def aclose(self) -> None:
        await self._stream.aclose()


class _TrioWebSocket:
    def __init__(
        self,
        connection: WebSocketConnection,
        line: _Line,
        nursery: trio.Nursery,
        on_pong: Callable[[bytes], object],
    ) -> None:
        self._connection = connection
        self._line = line
        self._nursery = nursery
        self._on_pong = on_pong

    @property
    def heard_at(self) -> float | None:
        return self._line.heard_at

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.get_message()
        except ConnectionClosed as closed:
            end = self._end_of(closed)
            code = None if closed.reason is None else closed.reason.code
        if end.code == _UNKNOWN_CODE:
            await self._say_why(_UNKNOWN_CODE, "")
        elif end.code is None and code in _SILENT_CODES:
            await self._say_why(code, end.reason)
        raise end

    async def send_text(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as closed:
            end = self._end_of(closed)
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

    def _end_of(self, closed: ConnectionClosed) -> ConnectionEnded:
        # 1006 is what trio-websocket calls a connection that ended without a close frame (RFC 6455
        # section 7.1.5).
        if closed.reason is None or closed.reason.code == 1006:
            return ConnectionEnded()
        code, words = int(closed.reason.code), closed.reason.reason or ""
        if code in _OWN_CODES and not self._line.has_brought(_close_frame(code, words)):
            unknown = self._line.unknown_close() if words == _UNKNOWN_WORDS else None
            return unknown or ConnectionEnded(None, words or closed.reason.name)
        return ConnectionEnded(code, words)

    async def _say_why(self, code: int, reason: str) -> None:
        """Send the close frame that trio-websocket leaves out if it cannot read what the peer
        sent."""
        frame = FrameProtocol(client=True, extensions=[]).close(code, reason)
        with trio.move_on_after(_PATIENCE), suppress(trio.BrokenResourceError):
            await self._line.send_all(frame)


# The codes that trio-websocket and wsproto close with themselves: too large, no frame, no UTF-8.
_OWN_CODES: Final = frozenset({1002, 1007, 1009})
# Those of them that they do not send to the peer.
_SILENT_CODES: Final = frozenset({1002, 1007})

# "Bad Gateway": registered for close frames after RFC 6455, and reserved to wsproto, which says so.
_UNKNOWN_CODE: Final = 1014
_UNKNOWN_WORDS: Final = "CLOSE with unknown reserved code"
_UNKNOWN_CLOSE: Final = re.compile(rb"\x88([\x02-\x7d])\x03\xf6(.*)", re.DOTALL)


def _close_frame(code: int, reason: str) -> bytes:
    """Return a close frame as a server sends it."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes([0x88, len(payload) & 0xFF]) + payload


class _Background:
    """The nursery that trio-websocket gets for its reader task.

    An error of that task says how the connection failed. It is kept here, out of any
    ``ExceptionGroup`` and of the application's nursery.
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
    headers but the endpoint's.

    ``wss://`` goes through the proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY`` excepts the
    host. ``ws://``, which would show the proxy the token, never goes through one.

    Args:
        connect: where to dial, with the token, and the largest message that is taken.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
    """
    stream = await dial(connect.endpoint, ssl_context)
    if isinstance(stream, Failure):
        raise ConnectionFailed(stream)
    line = _Line(stream)
    error: Exception | None = None
    connection: WebSocketConnection | None = None
    try:
        async with trio.open_nursery() as nursery:
            background = _Background(nursery)
            with background.handshake:
                connection = await wrap_client_stream(
                    background,  # type: ignore[arg-type]  # all that it is asked for is start_soon
                    line,  # type: ignore[arg-type]  # any trio stream will do: see its documentation
                    connect.endpoint.authority,
                    connect.target(),
                    extra_headers=[(k.encode(), v.encode()) for k, v in connect.endpoint.headers],
                    max_message_size=connect.max_frame_size,
                    receive_buffer_size=_RECEIVE_BYTES,
                )
            if connection is not None:
                yield _TrioWebSocket(connection, line, nursery, on_pong)
            error = background.error
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
    if connection is None:
        raise ConnectionFailed(_failure_of(line, error))


def _failure_of(line: _Line, error: Exception | None) -> Failure:
    if line.refusal is not None:
        return line.refusal
    # The plain form has nothing else to be refused for.
    return failure_from_exception(error) if error and not line.is_accepted else WRONG_ACCEPT
