"""The WebSocket that the feed gets by default: an ``asyncio.Protocol`` on plain TCP.

``topone_websockets`` makes messages of bytes and bytes of messages, TLS and the way through a proxy
included. Here is what asyncio does with bytes, and no more: they are taken in where they arrive,
and the messages in them are pushed to the feed at once.

Nothing grows without bound:

- The feed pauses reading when it has no room. Without a feed, messages are awaited, and reading
  pauses while more than ``_PILE`` bytes of them wait, and goes on when all are received. At most
  that, one read of asyncio's (256 KiB) and one message of the largest size wait here.
- Reading pauses, too, while the transport has more to send than it wants to hold (64 KiB): a peer
  that floods with pings and takes no pongs is not listened to any more, and found dead by the core.
  ``send_text`` waits then.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

from topone_asyncio._dial import abort, dial_tcp, find_context, find_proxy
from topone_proto import Connect, ConnectionEnded, ConnectionFailed
from topone_proto.adapters import AsyncWebSocket, FrameReceiver, failure_from_exception
from topone_websockets import WebSocketClient

__all__ = ["open_websocket"]

# Bytes that may wait to be received before reading pauses.
_PILE: Final = 2**18


class _WebSocket(asyncio.Protocol):
    heard_at: float | None = None
    """The time at which the last bytes of the peer came, by the loop's clock."""

    def __init__(self, client: WebSocketClient) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._unread = client.unread
        self._now = loop.time
        self._create_future = loop.create_future
        self._transport: asyncio.Transport | None = None
        self._sock: socket.socket | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        # An error of the peer, the transport or a callback, for whoever waits.
        self._fault: Exception | None = None
        self._is_used = self._is_lost = False
        # Why reading pauses, if it does.
        self._piled = 0
        self._is_full = self._is_piled = False
        self._receiver: FrameReceiver | None = None

    # The transport's.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take in what the peer has sent; ``b""`` says that no more will come."""
        receiver = self._receiver
        # An event that comes by itself finds nothing of its way in a cache, so that each function
        # on it counts: this way saves a tenth of its delay. A message says that the peer is there.
        if receiver is not None and (message := self._client.only_message(data)) is not None:
            receiver.frames_received((message,))
            return
        if data:
            self.heard_at = self._now()
        try:
            is_more = self._client.receive(data)
        except Exception as error:  # noqa: BLE001 - of the dial or of a callback: for whoever waits
            is_more = True
            if self._fault is None:
                # Without a traceback it makes no cycle with this frame.
                is_told = isinstance(error, ConnectionFailed)
                self._fault = error.with_traceback(None) if is_told else error
        if is_more:
            self._flush()
        if receiver is None:
            self._pile_up(len(data))
            return
        if self._unread:
            receiver.frames_received(self._unread)
            self._unread.clear()
        if is_more:
            self._report_end(receiver)

    def eof_received(self) -> None:
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._sock is not None:
            # Sending may have failed. asyncio reads no more then, whatever came before.
            with suppress(OSError):
                while data := self._sock.recv(_PILE):
                    self.data_received(data)
        if exc is not None and not self._client.is_connected and self._fault is None:
            # It says more about a failed dial than the end of the bytes does.
            self._fault = exc
        self._is_lost = True
        self.data_received(b"")
        self._wake()

    def pause_writing(self) -> None:
        self._is_full = True
        self._read_or_pause()

    def resume_writing(self) -> None:
        self._is_full = False
        self._read_or_pause()
        self._wake()

    # The feed's.

    async def use(self, sock: socket.socket) -> None:
        """Become the protocol of a socket that is connected. It is closed with the transport."""
        self._sock = sock
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
            self._is_used = True
        finally:
            if self._transport is None:
                sock.close()

    async def shake_hands(self) -> None:
        while not self._client.is_connected:
            if self._fault is not None:
                raise self._fault
            await self._news()

    async def receive(self) -> str | bytes:
        unread = self._unread
        while not unread:
            if self._fault is not None:
                raise self._fault
            if (end := self._client.end()) is not None:
                raise end
            if self._is_piled:
                self._is_piled = False
                self._read_or_pause()
            await self._news()
        message = unread.popleft()
        if not unread:
            self._piled = 0
        return message

    def listen(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver
        self._is_piled = False
        self._read_or_pause()
        receiver.frames_received(self._unread)
        self._unread.clear()
        self._report_end(receiver)

    def pause_reading(self) -> None:
        self._is_piled = True
        self._read_or_pause()

    def resume_reading(self) -> None:
        self._is_piled = False
        self._read_or_pause()

    async def send_text(self, text: str) -> None:
        self._client.send_text(text)
        self._flush()
        while self._is_full and not self._is_lost:
            await self._news()

    async def send_ping(self, payload: bytes) -> None:
        self._client.send_ping(payload)
        self._flush()

    async def close(self, code: int, reason: str) -> None:
        self._receiver = None
        self._client.close(code, reason)
        self._flush()
        with suppress(ConnectionEnded):
            while True:
                # The peer's close frame comes after what it has sent before.
                self._unread.clear()
                await self.receive()

    async def drop(self) -> None:
        """End the connection, whatever is still unsent."""
        if self._transport is not None:
            abort(self._transport)
            # One turn is enough for a socket that no protocol has used yet. Its end may never be
            # reported: uvloop does not.
            await asyncio.sleep(0)
            while self._is_used and not self._is_lost:  # pragma: no cover - asyncio takes one turn
                await self._news()

    def _pile_up(self, size: int) -> None:
        """Wake whoever waits for messages, and pause reading if too many wait."""
        if self._unread:
            self._piled += size
            if self._piled > _PILE and not self._is_piled:
                self._is_piled = True
                self._read_or_pause()
        self._wake()

    def _report_end(self, receiver: FrameReceiver) -> None:
        """Tell the receiver of the end, once there is one."""
        end = self._fault or self._client.end()
        if end is not None:
            receiver.connection_lost(end)

    def _flush(self) -> None:
        # asyncio complains about a write after the end.
        transport = self._transport
        if transport is not None and not transport.is_closing() and self._client.has_to_send:
            transport.write(self._client.to_send())

    def _read_or_pause(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._is_full or self._is_piled:
            transport.pause_reading()
        else:
            transport.resume_reading()

    async def _news(self) -> None:
        future = self._create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
    on_ping: Callable[[bytes], object] = bytes,
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with asyncio, and speak WebSocket with websockets. It sends no pings of its own, follows
    no redirect and adds no header but those of the endpoint.

    ``wss://`` goes through the proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY`` excepts the
    host. ``ws://``, which would show the proxy the token, never goes through one.

    Args:
        connect: where to dial, with the token, the largest message that is taken, and how long the
            dial may take.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.
        on_ping: is called with the payload of the server's pings, which are answered all the same.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
    """
    client: WebSocketClient | None = None
    websocket: _WebSocket | None = None
    try:
        try:
            async with asyncio.timeout(connect.timeout):
                proxy = await find_proxy(connect.endpoint)
                context = ssl_context or await find_context(connect.endpoint)
                client = WebSocketClient(
                    connect, on_pong, on_ping, ssl_context=context, proxy=proxy
                )
                websocket = _WebSocket(client)
                await websocket.use(await dial_tcp(*client.address))
                await websocket.shake_hands()
        except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
            failure = client.failure(error) if client else failure_from_exception(error)
        else:
            yield websocket
            return
    finally:
        if websocket is not None:
            await websocket.drop()
    # Outside the handler, where it has no context.
    raise ConnectionFailed(failure)
