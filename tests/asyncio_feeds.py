"""Helpers for the tests of feeds under asyncio: an exchange without a socket."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import topone_asyncio
from dials import (
    TOKEN,
)
from topone_proto import (
    Balance,
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Event,
    SessionConfig,
)
from topone_proto.adapters import (
    failure_from_response,
)
from topone_proto.exchange import (
    Accept,
    ClosePeer,
    Gateway,
    GatewayConfig,
    GatewayStep,
    Reject,
    ResetPeer,
    SendFrame,
)
from topone_simulator import Simulator

TOKENS = {TOKEN: "demo"}
URL = "wss://exchange.example/ws/user/"
PATIENT = SessionConfig(retry_first=3600, retry_base=3600, retry_cap=3600)
HASTY = SessionConfig(retry_first=0.001, retry_base=0.001, retry_cap=0.001)
BALANCE_OF_ETH = Balance("ETH", Decimal(2), Decimal(1))


class Memory:
    """``open_websocket`` for the gateway core, all in this task."""

    def __init__(self, config: GatewayConfig | None = None) -> None:
        self.gateway = Gateway(TOKENS, config=config)
        self.sockets: dict[int, MemoryWebSocket] = {}
        self.dials = 0
        self.dialled = asyncio.Event()

    @asynccontextmanager
    async def open_websocket(
        self, connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator["MemoryWebSocket", None]:
        now = asyncio.get_running_loop().time()
        self.dials += 1
        self.dialled.set()
        step = self.gateway.handshake(connect.target(), connect.endpoint.headers, now)
        match step.actions[0]:
            case Accept(peer=peer):
                self.sockets[peer] = MemoryWebSocket(self, peer, on_pong)
            case Reject(status=status, headers=headers):
                raise ConnectionFailed(failure_from_response(status, headers))
            case _:
                await asyncio.Event().wait()
                raise AssertionError
        self.carry_out(step)
        try:
            yield self.sockets[peer]
        finally:
            self.sockets.pop(peer).is_left = True
            self.gateway.disconnected(peer, now)

    def carry_out(self, step: GatewayStep) -> None:
        for action in step.actions:
            match action:
                case SendFrame(peer=peer, text=text):
                    self.sockets[peer].deliver(text)
                case ClosePeer(peer=peer, code=code, reason=reason):
                    self.sockets[peer].deliver(ConnectionEnded(code, reason))
                case ResetPeer(peer=peer):
                    self.sockets[peer].deliver(ConnectionEnded())
                case _:
                    pass

    def publish(self, update: Balance) -> None:
        self.carry_out(self.gateway.publish("demo", update, 0.0))


class MemoryWebSocket:
    """The client's end. ``receive`` does not suspend while anything has come."""

    def __init__(self, memory: Memory, peer: int, on_pong: Callable[[bytes], object]) -> None:
        self.memory = memory
        self.peer = peer
        self.on_pong = on_pong
        self.inbox: deque[str | ConnectionEnded] = deque()
        self.came = asyncio.Event()
        self.is_left = False
        self.closed_with: tuple[int, str] | None = None
        self.answers_close = True
        self.takes_text = True
        self.sent: list[str] = []

    def deliver(self, item: str | ConnectionEnded) -> None:
        self.inbox.append(item)
        self.came.set()

    async def receive(self) -> str | bytes:
        while not self.inbox:
            self.came.clear()
            await self.came.wait()
        item = self.inbox.popleft()
        if isinstance(item, ConnectionEnded):
            raise item
        return item

    async def send_text(self, text: str) -> None:
        if not self.takes_text:
            await asyncio.Event().wait()
        self.sent.append(text)
        self.memory.carry_out(self.memory.gateway.message_received(self.peer, text, 0.0))

    async def send_ping(self, payload: bytes) -> None:
        self.on_pong(payload)

    async def close(self, code: int, reason: str) -> None:
        self.closed_with = code, reason
        if not self.answers_close:
            await asyncio.Event().wait()


def feed_of(memory: Memory, **arguments: Any) -> Any:
    return topone_asyncio.open_feed(
        **{"token": TOKEN, "url": URL, "open_websocket": memory.open_websocket, **arguments}
    )


def feed_at(simulator: Simulator, **arguments: Any) -> Any:
    return topone_asyncio.open_feed(**{"token": TOKEN, "url": simulator.url, **arguments})


async def take_until(feed: topone_asyncio.Feed, kind: type[Event]) -> list[Event]:
    events: list[Event] = []
    while not events or not isinstance(events[-1], kind):
        events.append(await anext(feed))
    return events


async def turns(number: int = 50) -> None:
    """Let everything run that can run without a timer or a socket."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(reached: Callable[[], bool]) -> None:
    """Let everything run until something is so that nobody tells of."""
    while not reached():  # noqa: ASYNC110 - there is nothing to wait for
        await asyncio.sleep(0)


async def iterate(opened: Any) -> None:
    async with opened as feed:
        async for _ in feed:
            pass


async def outcome_of(coroutine: Coroutine[Any, Any, None]) -> BaseException | None:
    try:
        await coroutine
    except BaseException as raised:
        # A coroutine cannot end with StopIteration itself.
        return raised.__cause__ if isinstance(raised, RuntimeError) else raised
    return None
