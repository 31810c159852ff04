"""A faster WebSocket than the default, for ``open_feed(open_websocket=...)``.

from topone_trio.over_websockets import open_websocket

async with topone_trio.open_feed(token=..., open_websocket=open_websocket) as feed: ...
"""

import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from topone_proto import Connect, ConnectionEnded, ConnectionFailed
from topone_proto.adapters import AsyncWebSocket, failure_from_exception

try:
    from topone_websockets import WebSocketClient
except ImportError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_trio.over_websockets needs websockets: pip install "topone-proto[trio-websockets]"',
        name="websockets",
    ) from None

from topone_trio._dial import context_for, open_tcp, proxy_for

__all__ = ["open_websocket"]

# Bytes to take from the socket at once.
_CHUNK: Final = 65536


class _WebSocket:
    def __init__(
        self, sock: socket.socket, stream: trio.SocketStream, client: WebSocketClient
    ) -> None:
        # Read without the stream, which tries before it waits: hardly ever is there anything.
        self._sock = sock
        self._stream = stream
        self._client = client
        self._sending = trio.Lock()
        # True once half a frame may have been sent: the peer cannot read what follows.
        self._is_torn = False
        self.unread = client.unread
        """The messages that have come."""
        self.heard_at: float | None = None
        """The time at which the last bytes came, by trio's clock."""

    async def shake_hands(self) -> None:
        client = self._client
        while not client.is_connected:
            # A server that refuses may have answered already, and closed.
            await self._answer()
            try:
                client.receive(await self._read())
            except ConnectionFailed:
                # To send a TLS alert, if there is one.
                await self._answer()
                raise
        # More than the handshake may have come with it.
        await self._answer()

    async def receive(self) -> str | bytes:
        unread, client = self.unread, self._client
        while not unread:
            if (end := client.end()) is not None:
                raise end
            try:
                data = await self._read()
            except OSError:
                data = b""
            if client.receive(data):
                await self._answer()
        return unread.popleft()

    async def send_text(self, text: str) -> None:
        self._client.send_text(text)
        await self._sent()

    async def send_ping(self, payload: bytes) -> None:
        self._client.send_ping(payload)
        await self._sent()

    async def close(self, code: int, reason: str) -> None:
        if self._is_torn:
            return
        self._client.close(code, reason)
        with suppress(ConnectionEnded):
            await self._sent()
            while True:
                # The peer's close frame comes after what it has sent before.
                self.unread.clear()
                await self.receive()

    async def _read(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            with suppress(BlockingIOError, InterruptedError):
                data = self._sock.recv(_CHUNK)
                if data:
                    self.heard_at = trio.current_time()
                return data

    async def _answer(self) -> None:
        """Send the answers to what was received, which counts even if they do not arrive."""
        with suppress(trio.BrokenResourceError):
            await self._flush()

    async def _sent(self) -> None:
        try:
            return await self._flush()
        except trio.BrokenResourceError:
            end = self._client.end() or ConnectionEnded()
        raise end

    async def _flush(self) -> None:
        while self._client.has_to_send:
            async with self._sending:
                # What is not taken now can be sent later, by ``close``.
                await trio.lowlevel.checkpoint_if_cancelled()
                self._is_torn = True
                await self._stream.send_all(self._client.to_send())
                self._is_torn = False


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with trio, and speak WebSocket with websockets. It sends no pings of its own, follows no
    redirect and adds no headers but the endpoint's.

    Proxies are those of ``topone_trio.open_websocket``.

    Args:
        connect: where to dial, with the token, and the largest message that is taken.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
    """
    stream: trio.SocketStream | None = None
    client: WebSocketClient | None = None
    try:
        try:
            proxy = await proxy_for(connect.endpoint)
            context = ssl_context or await context_for(connect.endpoint)
            client = WebSocketClient(connect, on_pong, ssl_context=context, proxy=proxy)
            dialled = await open_tcp(*client.address)
            sock = socket.socket(fileno=dialled.socket.detach())
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            websocket = _WebSocket(sock, stream, client)
            await websocket.shake_hands()
        except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
            failure = client.failure(error) if client else failure_from_exception(error)
        else:
            yield websocket
            return
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)
    # Outside the handler, where it has no context.
    raise ConnectionFailed(failure)
