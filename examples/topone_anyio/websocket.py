"""The WebSocket: AnyIO moves the bytes, `topone_websockets` knows their meaning, proxies and TLS
included."""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream

from topone_proto import Connect, ConnectionEnded, ConnectionFailed
from topone_proto.adapters import AsyncWebSocket, failure_from_exception
from topone_websockets import WebSocketClient, proxy_for


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    stream: ByteStream | None = None
    client: WebSocketClient | None = None
    try:
        try:
            proxy = proxy_for(connect.endpoint)
            client = WebSocketClient(connect, on_pong, ssl_context=ssl_context, proxy=proxy)
            stream = await anyio.connect_tcp(*client.address)
            websocket = WebSocket(stream, client)
            await websocket.shake_hands()
        except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
            failure = client.failure(error) if client else failure_from_exception(error)
        else:
            yield websocket
            return
    finally:
        if stream is not None:
            # Leaving is to wait for nobody: a WebSocket has a closing handshake of its own.
            await anyio.aclose_forcefully(stream)
    raise ConnectionFailed(failure)


class WebSocket:
    def __init__(self, stream: ByteStream, client: WebSocketClient) -> None:
        self._stream = stream
        self._client = client
        # The reader answers pings while the writer writes.
        self._sending = anyio.Lock()
        self.heard_at: float | None = None

    async def shake_hands(self) -> None:
        while not self._client.is_connected:
            await self._answer()
            try:
                await self._read()
            except ConnectionFailed:
                # The server may be told why.
                await self._answer()
                raise
        await self._answer()

    async def receive(self) -> bytes:
        while not self._client.unread:
            end = self._client.end()
            if end is not None:
                raise end
            await self._read()
            await self._answer()
        return self._client.unread.popleft()

    async def send_text(self, text: str) -> None:
        self._client.send_text(text)
        await self._send_all()

    async def send_ping(self, payload: bytes) -> None:
        self._client.send_ping(payload)
        await self._send_all()

    async def close(self, code: int, reason: str) -> None:
        self._client.close(code, reason)
        await self._send_all()
        while True:
            await self.receive()

    async def _read(self) -> None:
        try:
            data = await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            data = b""
        else:
            self.heard_at = anyio.current_time()
        self._client.receive(data)

    async def _answer(self) -> None:
        # That there is nobody to answer is found out by reading on.
        with suppress(ConnectionEnded):
            await self._send_all()

    async def _send_all(self) -> None:
        try:
            while self._client.has_to_send:
                async with self._sending:
                    await self._stream.send(self._client.to_send())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ConnectionEnded from None
