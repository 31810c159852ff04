"""A WebSocket as the feed wants it. All that knows wsproto is here."""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from topone_proto import (
    AsyncWebSocket,
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    failure_from_exception,
    failure_from_response,
)


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    endpoint = connect.endpoint
    stream: ByteStream
    if endpoint.is_tls:
        stream = await anyio.connect_tcp(
            endpoint.host,
            endpoint.port,
            ssl_context=ssl_context or ssl.create_default_context(),
            # Leaving is to wait for nobody, and a WebSocket has a closing handshake of its own.
            tls_standard_compatible=False,
        )
    else:
        stream = await anyio.connect_tcp(endpoint.host, endpoint.port)
    try:
        websocket = WebSocket(stream, on_pong, connect.max_frame_size)
        try:
            await websocket.shake_hands(connect)
        except (anyio.EndOfStream, anyio.BrokenResourceError, RemoteProtocolError) as error:
            raise ConnectionFailed(failure_from_exception(error)) from None
        yield websocket
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()


class WebSocket:
    def __init__(
        self, stream: ByteStream, on_pong: Callable[[bytes], object], max_size: int
    ) -> None:
        self._stream = stream
        self._on_pong = on_pong
        self._max_size = max_size
        self._protocol = WSConnection(ConnectionType.CLIENT)
        # The reader answers pings while the writer writes.
        self._sending = anyio.Lock()
        self._message = bytearray()
        self._end: ConnectionEnded | None = None

    async def shake_hands(self, connect: Connect) -> None:
        await self._send(
            Request(
                connect.endpoint.authority,
                connect.target(),
                extra_headers=[(k.encode(), v.encode()) for k, v in connect.endpoint.headers],
            )
        )
        while True:
            for event in self._protocol.events():
                match event:
                    case AcceptConnection():
                        return
                    case RejectConnection(status_code=status, headers=headers):
                        fields = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in headers]
                        raise ConnectionFailed(failure_from_response(status, fields))
                    case _:
                        pass
            self._protocol.receive_data(await self._stream.receive())

    async def receive(self) -> bytes:
        while self._end is None:
            try:
                for event in self._protocol.events():
                    message = await self._handled(event)
                    if message is not None:
                        return message
                if self._end is None:
                    self._protocol.receive_data(await self._stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self._end = ConnectionEnded()
            except RemoteProtocolError as error:
                self._end = ConnectionEnded(None, str(error))
        raise self._end

    async def _handled(self, event: Event) -> bytes | None:
        match event:
            case TextMessage(data=text):
                return self._gathered(text.encode(), is_last=event.message_finished)
            case BytesMessage(data=data):
                return self._gathered(bytes(data), is_last=event.message_finished)
            case Ping():
                await self._answer(event.response())
            case Pong(payload=payload):
                self._on_pong(bytes(payload))
            case CloseConnection(code=code, reason=reason):
                self._end = ConnectionEnded(code, reason or "")
                await self._answer(event.response())
            case _:
                pass
        return None

    def _gathered(self, piece: bytes, *, is_last: bool) -> bytes | None:
        self._message += piece
        if len(self._message) > self._max_size:
            self._end = ConnectionEnded(None, "the message is too large")
            return None
        if not is_last:
            return None
        message = bytes(self._message)
        self._message.clear()
        return message

    async def send_text(self, text: str) -> None:
        await self._send_or_end(TextMessage(text))

    async def send_ping(self, payload: bytes) -> None:
        await self._send_or_end(Ping(payload))

    async def _send_or_end(self, event: Event) -> None:
        try:
            await self._send(event)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, LocalProtocolError):
            raise ConnectionEnded from None

    async def _answer(self, event: Event) -> None:
        # That there is nobody to answer is found out by reading on.
        with suppress(ConnectionEnded):
            await self._send_or_end(event)

    async def _send(self, event: Event) -> None:
        async with self._sending:
            await self._stream.send(self._protocol.send(event))

    async def close(self, code: int, reason: str) -> None:
        await self._send_or_end(CloseConnection(code, reason))
        while True:
            await self.receive()
