"""The adapters without any socket: ``open_websocket`` plugs an in-memory pair to the gateway core
in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

import topone_asyncio
import topone_threads
import topone_trio
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    Connect,
    Connected,
    ConnectionEnded,
    ConnectionFailed,
    Disconnected,
    Event,
    FeedFailed,
    Gap,
    Order,
    SessionConfig,
    Subscribed,
)
from topone_proto.adapters import OpenAsyncWebSocket, failure_from_response
from topone_proto.exchange import (
    Accept,
    ClosePeer,
    DropConnections,
    Gateway,
    GatewayConfig,
    GatewayStep,
    Reject,
    ResetPeer,
    SendFrame,
    SendPing,
)

TOKEN = "demo"
CONFIG = SessionConfig(retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6, ping_interval=0.01)
URL = "wss://exchange.example/ws/user/"

END = None
"""The entry in a peer's queue for a connection that has ended."""


class Exchange:
    """A gateway whose peers are queues. Time stands still in it: nothing here is timed."""

    def __init__(self) -> None:
        self.gateway = Gateway({TOKEN: "account"}, config=GatewayConfig(ping_interval=None))
        self.puts: dict[int, Callable[[str | None], object]] = {}
        self.pings = 0

    def dial(self, connect: Connect, put: Callable[[str | None], object]) -> int:
        step = self.gateway.handshake(connect.target(), connect.endpoint.headers, 0.0)
        [answer] = step.actions
        if isinstance(answer, Reject):
            raise ConnectionFailed(failure_from_response(answer.status, answer.headers))
        assert isinstance(answer, Accept)
        self.puts[answer.peer] = put
        return answer.peer

    def carry_out(self, step: GatewayStep) -> None:
        for action in step.actions:
            match action:
                case SendFrame(peer=peer, text=text):
                    self.puts[peer](text)
                case ClosePeer(peer=peer) | ResetPeer(peer=peer):
                    self.puts.pop(peer)(END)
                case SendPing() | _:
                    raise AssertionError(action)

    def send(self, peer: int, text: str) -> None:
        if peer not in self.puts:
            raise ConnectionEnded
        self.carry_out(self.gateway.message_received(peer, text, 0.0))

    def leave(self, peer: int) -> None:
        if self.puts.pop(peer, None) is not None:
            self.gateway.disconnected(peer, 0.0)

    def publish(self, update: Order | Balance) -> None:
        self.carry_out(self.gateway.publish("account", update, 0.0))

    def drop(self) -> None:
        self.carry_out(self.gateway.inject(DropConnections(), 0.0))


class Peer:
    """The base of both kinds of in-memory WebSocket."""

    def __init__(self, exchange: Exchange, number: int, on_pong: Callable[[bytes], object]) -> None:
        self.exchange = exchange
        self.number = number
        self.on_pong = on_pong

    @staticmethod
    def checked(frame: str | None) -> str:
        if frame is None:
            raise ConnectionEnded
        return frame

    def ping(self, payload: bytes) -> None:
        self.exchange.pings += 1
        self.on_pong(payload)


class AsyncPeer(Peer):
    async def send_text(self, text: str) -> None:
        self.exchange.send(self.number, text)

    async def send_ping(self, payload: bytes) -> None:
        self.ping(payload)

    async def close(self, code: int, reason: str) -> None:
        self.exchange.leave(self.number)


class TrioPeer(AsyncPeer):
    frames: trio.MemoryReceiveChannel[str | None]

    async def receive(self) -> str:
        return self.checked(await self.frames.receive())


class AsyncioPeer(AsyncPeer):
    frames: "asyncio.Queue[str | None]"

    async def receive(self) -> str:
        return self.checked(await self.frames.get())


WHOLE_WAY = [
    Connected(1),
    Subscribed(BALANCE, 1561948335075, 1),
    Subscribed(ORDERS, 1561948335075, 1),
    "Disconnected",
    Connected(2),
    Subscribed(BALANCE, 1561948335075, 2),
    (BALANCE, "missing"),
    Subscribed(ORDERS, 1561948335075, 2),
    (ORDERS, "missing"),
]


def noted(event: Event) -> object:
    match event:
        case Disconnected():
            return "Disconnected"
        case Gap(topic=topic, since_ts=since, until_ts=until, epoch=2):
            # The exchange's clock stands, so that it seems to be behind the second time.
            assert since is not None
            assert until is not None
            assert since <= 1561948335075 <= until
            return topic, "missing"
        case _:
            return event


def test_trio() -> None:
    exchange = Exchange()

    @asynccontextmanager
    async def open_websocket(
        connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncIterator[TrioPeer]:
        send, receive = trio.open_memory_channel[str | None](100)
        peer = TrioPeer(exchange, exchange.dial(connect, send.send_nowait), on_pong)
        peer.frames = receive
        with send, receive:
            yield peer
        exchange.leave(peer.number)

    async def main() -> None:
        log: list[object] = []
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, config=CONFIG, open_websocket=open_websocket
        ) as feed:
            async for event in feed:
                log.append(noted(event))
                if len(log) == 3:
                    exchange.drop()
                if len(log) == len(WHOLE_WAY):
                    break
        assert log == WHOLE_WAY
        async with topone_trio.open_feed(
            token="wrong", url=URL, open_websocket=open_websocket
        ) as feed:
            try:
                async for _ in feed:
                    pass
            except FeedFailed as error:
                assert error.failure.status == 401
            else:
                raise AssertionError

    trio.run(main)
    assert not exchange.puts


def test_a_plug_in_that_fails_behind_a_connection_is_a_fault_of_the_program() -> None:
    # Taken for a failed dial, it would be dialled again and nobody would hear of it.
    exchange = Exchange()

    @asynccontextmanager
    async def open_websocket(
        connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncIterator[TrioPeer]:
        send, receive = trio.open_memory_channel[str | None](100)
        peer = TrioPeer(exchange, exchange.dial(connect, send.send_nowait), on_pong)
        peer.frames = receive
        with send, receive:
            yield peer
        raise OSError("it could not be closed")

    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, config=CONFIG, open_websocket=open_websocket
        ) as feed:
            async for event in feed:
                if isinstance(event, Subscribed):
                    exchange.drop()

    with pytest.raises(OSError, match="could not be closed"):
        trio.run(main)


def asyncio_websockets(exchange: Exchange) -> OpenAsyncWebSocket:
    @asynccontextmanager
    async def open_websocket(
        connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncIterator[AsyncioPeer]:
        frames: asyncio.Queue[str | None] = asyncio.Queue()
        peer = AsyncioPeer(exchange, exchange.dial(connect, frames.put_nowait), on_pong)
        peer.frames = frames
        yield peer
        exchange.leave(peer.number)

    return open_websocket


def test_asyncio() -> None:
    exchange = Exchange()
    open_websocket = asyncio_websockets(exchange)

    async def main() -> None:
        log: list[object] = []
        async with topone_asyncio.open_feed(
            token=TOKEN, url=URL, config=CONFIG, open_websocket=open_websocket
        ) as feed:
            async for event in feed:
                log.append(noted(event))
                if len(log) == 3:
                    exchange.drop()
                if len(log) == len(WHOLE_WAY):
                    break
        assert log == WHOLE_WAY
        async with topone_asyncio.open_feed(
            token="wrong", url=URL, open_websocket=open_websocket
        ) as feed:
            try:
                async for _ in feed:
                    pass
            except FeedFailed as error:
                assert error.failure.status == 401
            else:
                raise AssertionError

    asyncio.run(main(), debug=True)
    assert not exchange.puts


def test_threads() -> None:
    exchange = Exchange()
    open_websocket = asyncio_websockets(exchange)
    log: list[object] = []
    with topone_threads.open_feed(
        token=TOKEN, url=URL, config=CONFIG, open_websocket=open_websocket
    ) as feed:
        for event in feed:
            log.append(noted(event))
            if len(log) == 3:
                feed._post(exchange.drop)
            if len(log) == len(WHOLE_WAY):
                break
    assert log == WHOLE_WAY
    with topone_threads.open_feed(token="wrong", url=URL, open_websocket=open_websocket) as feed:
        with pytest.raises(FeedFailed) as caught:
            list(feed)
        assert caught.value.failure.status == 401
    assert not exchange.puts
