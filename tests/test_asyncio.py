"""Tests of what is particular to the asyncio adapter. The adapters' common part is tested
elsewhere."""

import asyncio
import gc
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

import dials
import topone_asyncio
import topone_threads
import topone_trio
from dials import (
    TOKEN,
    Clock,
    clean,
    connect_to,
    failure_of,
    raw_server,
    websocket_server,
)
from topone_asyncio._dial import dial_tcp
from topone_asyncio._websocket import _WebSocket
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Connect,
    Connected,
    ConnectionEnded,
    ConnectionFailed,
    Disconnected,
    Event,
    FailureKind,
    FeedClosed,
    FeedFailed,
    RequestTimedOut,
    SessionConfig,
    Subscribed,
    Token,
    Topic,
)
from topone_proto.adapters import (
    AsyncWebSocket,
    PushingWebSocket,
    failure_from_exception,
    failure_from_response,
)
from topone_proto.exchange import (
    Accept,
    AcceptThenClose,
    AnswerGarbage,
    Burst,
    CloseConnections,
    ClosePeer,
    DropConnections,
    Gateway,
    GatewayConfig,
    GatewayStep,
    IgnoreHandshake,
    LoseAck,
    OriginRule,
    RefuseHandshake,
    Reject,
    ResetPeer,
    SendFrame,
)
from topone_simulator import Simulator, serve
from topone_websockets import WebSocketClient
from waits import accept_websocket

TOKENS = {TOKEN: "demo"}
URL = "wss://exchange.example/ws/user/"
PATIENT = SessionConfig(retry_first=3600, retry_base=3600, retry_cap=3600)
HASTY = SessionConfig(retry_first=0.001, retry_base=0.001, retry_cap=0.001)
BALANCE_OF_ETH = Balance("ETH", Decimal(2), Decimal(1))


# --- how the tests run ---


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with dials.quiet(caplog), dials.without_proxies():
        yield


# --- an exchange without a socket ---


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


# --- the main way ---


@clean(faked=True)
async def test_without_a_socket() -> None:
    memory = Memory()
    async with feed_of(memory, topics=[ORDERS]) as feed:
        assert [type(event) for event in await take_until(feed, Subscribed)] == [
            Connected,
            Subscribed,
        ]
        await feed.subscribe(BALANCE)
        assert await anext(feed) == Subscribed(BALANCE, memory.gateway.server_ts(0), 1)
        memory.publish(BALANCE_OF_ETH)
        update = await anext(feed)
        assert isinstance(update, BalanceUpdate)
        assert update.balance == BALANCE_OF_ETH
        await feed.unsubscribe(BALANCE)
        assert memory.gateway.subscriptions(1) == {ORDERS}
        (socket,) = memory.sockets.values()
    assert socket.closed_with == (1000, "")
    assert socket.is_left


@clean()
async def test_over_a_socket() -> None:
    async with serve(tokens=TOKENS) as simulator, feed_at(simulator, config=HASTY) as feed:
        await take_until(feed, Subscribed)
        await feed.unsubscribe(ORDERS)
        simulator.publish(BALANCE_OF_ETH)
        update = (await take_until(feed, BalanceUpdate))[-1]
        assert isinstance(update, BalanceUpdate)
        assert update.balance == BALANCE_OF_ETH
        simulator.inject(CloseConnections(1012, "a restart"))
        lost = (await take_until(feed, Disconnected))[-1]
        assert isinstance(lost, Disconnected)
        assert (lost.reason.code, lost.reason.detail) == (1012, "a restart")
        await take_until(feed, Subscribed)
        simulator.inject(DropConnections())
        lost = (await take_until(feed, Disconnected))[-1]
        assert isinstance(lost, Disconnected)
        assert lost.reason.kind is FailureKind.LOST
        await take_until(feed, Subscribed)
        await feed.close()
        assert [event async for event in feed][-1] == Closed()


@clean()
async def test_the_handshake_has_no_origin_unless_asked() -> None:
    async with serve(tokens=TOKENS) as simulator, feed_at(simulator) as feed:
        await anext(feed)
        (handshake,) = simulator.handshakes
        assert handshake.header("Origin") is None
        assert handshake.header("Sec-WebSocket-Extensions") is None
    strict = GatewayConfig(origin=OriginRule.EMPTY)
    async with (
        serve(tokens=TOKENS, config=strict) as simulator,
        feed_at(simulator, origin="") as feed,
    ):
        assert await anext(feed) == Connected(1)
        assert simulator.handshakes[0].header("Origin") == ""


# --- how it ends ---


async def never_a_token() -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def first(feed: topone_asyncio.Feed) -> None:
    await anext(feed)


async def idle(feed: topone_asyncio.Feed) -> None:
    await take_until(feed, Subscribed)
    await take_until(feed, Subscribed)
    await anext(feed)


async def back_off(feed: topone_asyncio.Feed) -> None:
    await take_until(feed, Disconnected)
    await anext(feed)


async def ack(feed: topone_asyncio.Feed) -> None:
    await feed.subscribe(Topic("news"))


States = pytest.mark.parametrize(
    ("arguments", "fault", "body"),
    [
        pytest.param({"token": never_a_token}, None, first, id="fetching-token"),
        pytest.param({}, IgnoreHandshake(), first, id="connecting"),
        pytest.param({}, None, idle, id="connected"),
        pytest.param({}, RefuseHandshake(503), back_off, id="waiting"),
        pytest.param({}, LoseAck(times=None), ack, id="waiting-for-ack"),
    ],
)


async def cancel_in(
    opened: Any, body: Callable[[topone_asyncio.Feed], Awaitable[None]], settle: Callable[[], Any]
) -> None:
    async def use() -> None:
        async with opened as feed:
            await body(feed)

    task = asyncio.create_task(use())
    await settle()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@States
@clean(faked=True)
async def test_cancelled_without_a_socket(arguments: Any, fault: Any, body: Any) -> None:
    memory = Memory()
    if fault:
        memory.gateway.inject(fault, 0.0)
    await cancel_in(feed_of(memory, config=PATIENT, **arguments), body, turns)
    assert memory.sockets == {}
    assert memory.dials <= 1


@States
@clean()
async def test_cancelled_over_a_socket(arguments: Any, fault: Any, body: Any) -> None:
    async with serve(tokens=TOKENS) as simulator:
        if fault:
            simulator.inject(fault)

        async def settle() -> None:
            if "token" not in arguments:
                await until(lambda: bool(simulator.handshakes))
            await turns()

        await cancel_in(feed_at(simulator, config=PATIENT, **arguments), body, settle)
        await turns()
        assert simulator.connections == 0


@States
@clean(faked=True)
async def test_left_with_an_exception(arguments: Any, fault: Any, body: Any) -> None:
    memory = Memory()
    if fault:
        memory.gateway.inject(fault, 0.0)
    error = ValueError("the application's")

    async def use() -> None:
        async with feed_of(memory, config=PATIENT, **arguments) as feed:
            user = asyncio.create_task(body(feed))
            await turns()
            user.cancel()
            with suppress(asyncio.CancelledError):
                await user
            raise error

    with pytest.raises(ValueError, match="the application's") as caught:
        await use()
    assert caught.value is error
    assert memory.sockets == {}


@clean(faked=True)
async def test_left_at_once() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        pass
    assert [event async for event in feed] == [Closed()]
    assert memory.dials == 0
    async with feed_of(memory) as feed:
        await feed.close()
        await feed.close()
        assert [event async for event in feed] == [Closed()]
        with pytest.raises(FeedClosed):
            await feed.subscribe(BALANCE)


@pytest.mark.parametrize("error", [StopAsyncIteration(), StopIteration(), SystemExit(3)], ids=repr)
@clean(faked=True)
async def test_any_exception_comes_out_as_itself(error: BaseException) -> None:
    async def use() -> None:
        async with feed_of(Memory()) as feed:
            await anext(feed)
            raise error

    assert await outcome_of(use()) is error


async def outcome_of(coroutine: Coroutine[Any, Any, None]) -> BaseException | None:
    try:
        await coroutine
    except BaseException as raised:
        # A coroutine cannot end with StopIteration itself.
        return raised.__cause__ if isinstance(raised, RuntimeError) else raised
    return None


@clean(faked=True)
async def test_a_second_cancellation_ends_the_closing_handshake() -> None:
    memory = Memory()
    task = asyncio.create_task(iterate(feed_of(memory)))
    await turns()
    (socket,) = memory.sockets.values()
    socket.answers_close = False
    task.cancel()
    await turns()
    assert socket.closed_with is not None
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert socket.is_left
    assert asyncio.get_running_loop().time() == 0


def test_ctrl_c() -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 3600
        async with serve(tokens=TOKENS) as simulator, feed_at(simulator) as feed:
            async for event in feed:
                if isinstance(event, Subscribed):
                    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main(), debug=True)


@clean(faked=True)
async def test_entered_and_left_in_different_tasks() -> None:
    """As a fixture of pytest-asyncio does."""
    memory = Memory()

    async def fixture() -> AsyncGenerator[topone_asyncio.Feed, None]:
        async with feed_of(memory) as feed:
            yield feed

    async with aclosing(fixture()) as generator:
        feed = await asyncio.create_task(_next(generator))
        assert await anext(feed) == Connected(1)
    assert memory.sockets == {}


async def _next(
    generator: AsyncGenerator[topone_asyncio.Feed, None],
) -> topone_asyncio.Feed:
    return await anext(generator)


@clean(faked=True)
async def test_a_broken_websocket_is_heard_of() -> None:
    memory = Memory()
    task = asyncio.create_task(iterate(feed_of(memory)))
    await turns()
    (socket,) = memory.sockets.values()
    socket.inbox.append(42)  # type: ignore[arg-type]  # the fault
    socket.came.set()
    with pytest.raises(TypeError):
        await task
    assert memory.sockets == {}


# --- deadlines ---


@clean(faked=True)
async def test_deadlines_are_met() -> None:
    loop = asyncio.get_running_loop()
    memory = Memory()
    memory.gateway.inject(LoseAck(), 0.0)
    async with feed_of(memory, topics=[ORDERS], config=SessionConfig(ack_timeout=7)) as feed:
        timed_out = (await take_until(feed, RequestTimedOut))[-1]
        assert isinstance(timed_out, RequestTimedOut)
        assert loop.time() == pytest.approx(7)
        lost = await anext(feed)
        assert isinstance(lost, Disconnected)
        assert lost.retry_in is not None
        await take_until(feed, Connected)
        assert loop.time() == pytest.approx(7 + lost.retry_in)


@clean(faked=True)
async def test_a_dial_that_takes_too_long_is_cancelled() -> None:
    memory = Memory()
    memory.gateway.inject(IgnoreHandshake(), 0.0)
    async with feed_of(memory, config=SessionConfig(open_timeout=3)) as feed:
        lost = await anext(feed)
        assert isinstance(lost, Disconnected)
        assert lost.reason.kind is FailureKind.TIMEOUT
        assert asyncio.get_running_loop().time() == pytest.approx(3)
        assert await anext(feed) == Connected(1)


@clean(faked=True)
async def test_closing_is_bounded() -> None:
    memory = Memory()
    async with feed_of(memory, config=SessionConfig(close_timeout=4)) as feed:
        await anext(feed)
        (socket,) = memory.sockets.values()
        socket.answers_close = False
        await feed.close()
        assert asyncio.get_running_loop().time() == pytest.approx(4)
        assert socket.is_left


@clean(faked=True)
async def test_a_dead_connection_is_dropped_at_once() -> None:
    memory = Memory()
    config = SessionConfig(ping_interval=None, silence_timeout=9)
    async with feed_of(memory, config=config) as feed:
        await anext(feed)
        (socket,) = memory.sockets.values()
        await take_until(feed, Disconnected)
        assert asyncio.get_running_loop().time() == pytest.approx(9)
        await turns()
        assert socket.closed_with is None
        assert socket.is_left


@clean(faked=True)
async def test_the_end_of_a_dial_is_not_disturbed() -> None:
    """One took too long, the next is due, and the feed is closed while the first still ends."""
    may_end = asyncio.Event()
    ends: list[str] = []

    @asynccontextmanager
    async def ending_slowly(
        _connect: Connect, _on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator[MemoryWebSocket, None]:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("began")
            await may_end.wait()
            ends.append("done")
        yield MemoryWebSocket(Memory(), 0, print)

    async with topone_asyncio.open_feed(
        token=TOKEN,
        url=URL,
        open_websocket=ending_slowly,
        config=SessionConfig(open_timeout=1, retry_first=0.001),
    ) as feed:
        await take_until(feed, Disconnected)
        await asyncio.sleep(0.5)
        closing = asyncio.create_task(feed.close())
        await turns()
        assert ends == ["began"]
        assert not closing.done()
        may_end.set()
        await closing
        assert ends == ["began", "done"]


@clean(faked=True)
async def test_what_one_connection_did_not_send_the_next_does_not() -> None:
    memory = Memory()
    async with feed_of(memory, topics=[BALANCE], config=HASTY) as feed:
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        socket.takes_text = False
        subscribing = asyncio.create_task(feed.subscribe(ORDERS))
        leaving = asyncio.create_task(feed.unsubscribe(BALANCE))
        await turns()
        socket.deliver(ConnectionEnded())
        await subscribing
        await leaving
        (socket,) = memory.sockets.values()
        assert [json.loads(text)["method"] for text in socket.sent] == ["sub_orders"]


# --- the hot path ---


@clean(faked=True)
async def test_waiting_events_are_handed_out_without_a_switch() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        memory.carry_out(memory.gateway.inject(Burst(20), 0.0))
        await turns()
        for _ in range(40):
            coroutine = feed.__anext__()
            with pytest.raises(StopIteration):
                coroutine.send(None)
        waiting = feed.__anext__()
        assert waiting.send(None) is not None
        waiting.close()


@clean(faked=True)
async def test_a_frame_makes_neither_a_task_nor_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    loop = asyncio.get_running_loop()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        monkeypatch.setattr(loop, "create_task", None)
        monkeypatch.setattr(loop, "call_at", None)
        memory.carry_out(memory.gateway.inject(Burst(300), 0.0))
        for _ in range(600):
            await anext(feed)
        monkeypatch.undo()


@clean(faked=True)
async def test_an_endless_burst_holds_no_deadline_up() -> None:
    memory = Memory()
    loop = asyncio.get_running_loop()
    config = SessionConfig(ack_timeout=1, ping_interval=None, silence_timeout=1_000_000)
    memory.gateway.inject(LoseAck(method=ORDERS.subscribe_method), 0.0)
    async with feed_of(memory, config=config) as feed:
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        socket.inbox = Endless(loop)
        await take_until(feed, Disconnected)
        assert loop.time() < 1.1


@clean(faked=True)
async def test_an_endless_burst_holds_no_cancellation_up() -> None:
    memory = Memory()
    task = asyncio.create_task(iterate(feed_of(memory)))
    await turns()
    (socket,) = memory.sockets.values()
    socket.inbox = Endless(asyncio.get_running_loop())
    memory.publish(BALANCE_OF_ETH)
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Endless(deque[str | ConnectionEnded]):
    """Frames without end, a thousand a second, and none of them makes an event."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.clock: Clock = loop._selector  # type: ignore[attr-defined]  # made by fake_loop

    def popleft(self) -> str:
        self.clock.now += 0.001
        return "ping"

    def __bool__(self) -> bool:
        return True


@clean(faked=True)
async def test_a_burst_reaches_the_application_before_its_end() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        memory.carry_out(memory.gateway.inject(Burst(300), 0.0))
        await anext(feed)
        assert len(socket.inbox) >= 500


@clean(faked=True)
async def test_a_slow_application_stops_the_reading() -> None:
    memory = Memory()
    async with feed_of(memory, config=SessionConfig(capacity=10)) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        memory.carry_out(memory.gateway.inject(Burst(50), 0.0))
        await turns()
        assert len(socket.inbox) == 90
        for _ in range(4):
            await anext(feed)
        await turns()
        assert len(socket.inbox) == 90
        await anext(feed)
        await turns()
        assert len(socket.inbox) == 85
        for _ in range(95):
            await anext(feed)
        assert not socket.inbox


@clean(faked=True)
async def test_an_acknowledgement_is_read_though_events_wait() -> None:
    """By the very task that should take them."""
    memory = Memory()
    async with feed_of(memory, topics=[BALANCE], config=SessionConfig(capacity=10)) as feed:
        await take_until(feed, Subscribed)
        for _ in range(15):
            memory.publish(BALANCE_OF_ETH)
        await turns()
        await feed.subscribe(ORDERS)
        assert memory.gateway.subscriptions(1) == {BALANCE, ORDERS}
        assert [type(event) for event in await take_until(feed, Subscribed)] == [
            *[BalanceUpdate] * 15,
            Subscribed,
        ]


@clean(faked=True)
async def test_a_cancelled_wait_loses_no_event() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        waiting = asyncio.create_task(anext(feed))
        await turns()
        memory.publish(BALANCE_OF_ETH)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            assert isinstance(await waiting, BalanceUpdate)
            return
        assert isinstance(await anext(feed), BalanceUpdate)


# --- tokens ---


@clean(faked=True)
async def test_tokens_come_from_callables() -> None:
    async def later() -> Token:
        await asyncio.sleep(5)
        return Token(TOKEN)

    for supply in (lambda: TOKEN, later):
        async with feed_of(Memory(), token=supply) as feed:
            assert await anext(feed) == Connected(1)


@clean(faked=True)
async def test_closing_while_a_token_is_awaited() -> None:
    async def supply() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with feed_of(Memory(), token=supply) as feed:
        await asyncio.sleep(1)
        await feed.close()
        assert [event async for event in feed] == [Closed()]


@pytest.mark.parametrize("error", [OSError(TOKEN), asyncio.CancelledError(TOKEN)], ids=type)
@clean(faked=True)
async def test_a_token_callable_that_fails(error: BaseException) -> None:
    answers: list[BaseException | str] = [error, TOKEN]

    async def supply() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with feed_of(Memory(), token=supply) as feed:
        lost = await anext(feed)
        assert isinstance(lost, Disconnected)
        assert lost.reason.kind is FailureKind.TOKEN
        assert TOKEN not in str(lost)
        assert await anext(feed) == Connected(1)


# --- how a dial fails ---


GOOD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", FailureKind.HANDSHAKE, 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", FailureKind.HANDSHAKE, 200),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", FailureKind.HANDSHAKE, 401),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", FailureKind.HANDSHAKE, 403),
        (GOOD + b"Sec-WebSocket-Accept: wrong\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
        (b"HTTP/1.1 101 Yes\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
        (b"\x15\x03\x01\x00\x02\x02\x28 no HTTP\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
    ],
)
@clean()
async def test_answers_that_open_nothing(
    answer: bytes, kind: FailureKind, status: int | None
) -> None:
    async with raw_server(answer) as (address, requests):
        failed = await failure_of(f"ws://{address}/")
    assert (failed.failure.kind, failed.failure.status) == (kind, status)
    assert len(requests) == 1


@clean()
async def test_nobody_listens() -> None:
    async with raw_server(b"") as (address, _):
        pass
    assert (await failure_of(f"ws://{address}/")).failure.kind is FailureKind.REFUSED


@clean()
async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    failed = await failure_of(URL)
    assert failed.failure.kind is FailureKind.DNS


@clean()
async def test_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    async with serve(tokens=TOKENS, ssl_context=server) as simulator:
        failed = await failure_of(simulator.url)
        assert failed.failure.kind is FailureKind.TLS
        authority.configure_trust(client)
        async with feed_at(simulator, ssl_context=client) as feed:
            assert await anext(feed) == Connected(1)
        async with topone_asyncio.open_websocket(
            connect_to(simulator.url), lambda _: None, ssl_context=client
        ):
            pass  # dropped without a closing handshake


@pytest.mark.parametrize(("status", "cause"), [(403, "Origin"), (401, "token")])
@clean()
async def test_a_refused_token_ends_the_feed(status: int, cause: str) -> None:
    async with serve(tokens=TOKENS) as simulator:
        simulator.inject(RefuseHandshake(status))
        with pytest.raises(FeedFailed, match=cause):
            await iterate(feed_at(simulator))
        assert len(simulator.handshakes) == 1


@clean()
async def test_other_failures_are_dialled_again() -> None:
    async with serve(tokens=TOKENS) as simulator:
        for fault in (RefuseHandshake(503), AnswerGarbage(), AcceptThenClose(None)):
            simulator.inject(fault)
        async with feed_at(simulator, config=HASTY) as feed:
            await take_until(feed, Subscribed)
        assert len(simulator.handshakes) == 4


# --- proxies ---


@clean()
async def test_wss_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as (proxy, requests):
        for name in (f"http://user:word@{proxy}", f"user:word@{proxy}"):
            monkeypatch.setenv("HTTPS_PROXY", name)
            failed = await failure_of("wss://exchange.example/ws/user/")
            assert failed.failure.kind is FailureKind.NETWORK
            assert failed.failure.status is None
            assert "407" in failed.failure.detail
    for request in requests:
        assert request.startswith(b"CONNECT exchange.example:443 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n" in request
        assert b"s3cret" not in request
    assert len(requests) == 2


@clean()
async def test_who_goes_around_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(b"") as (proxy, requests), serve(tokens=TOKENS) as simulator:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        async with feed_at(simulator) as feed:
            assert await anext(feed) == Connected(1)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        failed = await failure_of(simulator.url.replace("ws://", "wss://"))
        assert failed.failure.kind is not FailureKind.REFUSED
    assert requests == []


# --- what an open WebSocket does ---


@clean()
async def test_bytes_are_heard_be_they_a_part_of_a_frame() -> None:
    go_on = asyncio.Event()

    async def stutter(connection: ServerConnection) -> None:
        for part in (b"\x89\x00", b"\x81\x04wh", b"ol"):
            await go_on.wait()
            go_on.clear()
            connection.transport.write(part)
        await connection.wait_closed()

    async with (
        websocket_server(stutter) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        for _ in range(3):
            before = heard_at(websocket)
            assert before <= asyncio.get_running_loop().time()
            go_on.set()
            await until(lambda before=before: heard_at(websocket) > before)  # type: ignore[misc]  # a loop's lambda
        assert await websocket.receive() == b"whol"


def heard_at(websocket: AsyncWebSocket) -> float:
    assert isinstance(websocket, _WebSocket)
    assert websocket.heard_at is not None
    return websocket.heard_at


@clean()
async def test_what_nobody_receives_is_not_read() -> None:
    """And all of it comes once somebody does."""
    sent = 0
    is_over = False

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        while not is_over:
            await connection.send(b"%9d" % sent + bytes(991))
            sent += 1
        await connection.send("done")
        await connection.wait_closed()

    async with (
        websocket_server(flood) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        assert isinstance(websocket, _WebSocket)
        await until_it_stays(lambda: sent)
        assert sent > 0
        assert sum(map(len, websocket._unread)) <= 2 * 2**18
        stuck = sent
        is_over = True
        for number in range(stuck):
            message = await websocket.receive()
            assert isinstance(message, bytes)
            assert int(message[:9]) == number
        while await websocket.receive() != b"done":
            pass


@clean()
async def test_who_keeps_up_is_read_to_without_a_pause() -> None:
    async def answer(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await connection.send(bytes(len(await connection.recv()) * 20_000))

    async with (
        websocket_server(answer) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        assert isinstance(websocket, _WebSocket)
        for _ in range(30):
            await websocket.send_text("x")
            await until(lambda: bool(websocket._unread))
            assert not websocket._is_piled
            assert len(await websocket.receive()) == 20_000


async def until_it_stays(number: Callable[[], int]) -> None:
    unchanged = 0
    while unchanged < 200:
        before = number()
        await asyncio.sleep(0)
        unchanged = unchanged + 1 if number() == before else 0


@clean()
async def test_a_flood_of_pings_whose_pongs_nobody_takes() -> None:
    sent = 0
    is_left = asyncio.Event()

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        connection.transport.pause_reading()
        while not is_left.is_set():
            connection.transport.write((b"\x89\x7d" + bytes(125)) * 1000)
            await until(
                lambda: not connection.transport.get_write_buffer_size() or is_left.is_set()
            )
            sent += 1000
        connection.transport.abort()

    async with websocket_server(flood) as url:
        async with topone_asyncio.open_websocket(connect_to(url), print) as websocket:
            assert isinstance(websocket, _WebSocket)
            await until_it_stays(lambda: sent)
            assert sent > 0
            transport = websocket._transport
            assert transport is not None
            assert not transport.is_reading()
            # What asyncio holds before it says that it is too much, and the pongs of one read.
            assert transport.get_write_buffer_size() <= 2**16 + 2 * 2**18
            assert not websocket._client.has_to_send
        is_left.set()


@clean()
async def test_writing_that_has_stopped_goes_on() -> None:
    """The peer reads nothing for a while: nothing is lost, and reading goes on as well."""
    may_read = asyncio.Event()
    heard: list[bytes | str] = []

    async def wait(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await may_read.wait()
        connection.transport.resume_reading()
        with suppress(ConnectionClosed):
            while True:
                heard.append(await connection.recv())
                await connection.send("thanks")

    sent = 0

    async def flood(websocket: AsyncWebSocket) -> None:
        nonlocal sent
        while not may_read.is_set():
            await websocket.send_text("x" * 2**18)
            sent += 1

    async with (
        websocket_server(wait) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        flooding = asyncio.create_task(flood(websocket))
        await until_it_stays(lambda: sent)
        may_read.set()
        await flooding
        for _ in range(sent):
            assert await websocket.receive() == b"thanks"
        assert len(heard) == sent


@clean()
async def test_whoever_sends_is_told_that_the_connection_was_lost() -> None:
    may_end = asyncio.Event()

    async def stop_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await may_end.wait()
        connection.transport.abort()

    async def flood(websocket: AsyncWebSocket) -> None:
        while True:
            await websocket.send_text("x" * 2**18)

    async with (
        websocket_server(stop_reading) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        flooding = asyncio.create_task(flood(websocket))
        await turns(300)
        may_end.set()
        with pytest.raises(ConnectionEnded) as ended:
            await flooding
        assert ended.value.code is None


@clean()
async def test_what_came_before_sending_failed_is_received() -> None:
    def serve() -> None:
        peer, _ = server.accept()
        accept_websocket(peer)
        assert may_send.wait(10)
        peer.sendall(b"\x81\x04last")
        # Closing resets the connection.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    may_send = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        serving = asyncio.create_task(asyncio.to_thread(serve))
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        async with topone_asyncio.open_websocket(connect_to(url), print) as websocket:
            assert isinstance(websocket, PushingWebSocket)
            websocket.pause_reading()
            may_send.set()
            await serving
            with pytest.raises(ConnectionEnded):
                while True:
                    await websocket.send_text("nobody hears it")
                    await turns()
            assert await websocket.receive() == b"last"
            with pytest.raises(ConnectionEnded):
                await websocket.receive()


@clean()
async def test_a_callback_that_fails_is_heard_of() -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.wait_closed()

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    async with (
        websocket_server(answer) as url,
        topone_asyncio.open_websocket(connect_to(url), fail) as websocket,
    ):
        await websocket.send_ping(b"1")
        with pytest.raises(ZeroDivisionError):
            await websocket.receive()


@clean()
async def test_a_reset_in_the_handshake_is_the_networks() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failed = await failure_of(f"ws://127.0.0.1:{port}/")
    assert failed.failure.kind is FailureKind.NETWORK


@clean()
async def test_a_socket_that_no_transport_takes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def create_connection(*_: object, sock: socket.socket) -> Any:
        sockets.append(sock)
        raise OSError(24, "too many open files")

    sockets: list[socket.socket] = []
    async with raw_server(b"") as (address, requests):
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
            failed = await failure_of(f"ws://{address}/")
    assert failed.failure.kind is FailureKind.NETWORK
    assert [sock.fileno() for sock in sockets] == [-1]
    assert requests == []


@clean()
async def test_a_transport_that_closes_is_left_alone() -> None:
    """Under uvloop it would raise."""

    class Closing:
        def is_closing(self) -> bool:
            return True

    websocket = _WebSocket(WebSocketClient(connect_to(URL), print))
    websocket.connection_made(Closing())  # type: ignore[arg-type]  # all that it is asked for
    websocket.pause_writing()
    websocket.resume_writing()


# --- TCP ---


def addresses(*places: tuple[str, int]) -> Callable[..., Any]:
    """In place of ``getaddrinfo``. As if the name were an address: nothing goes to a thread."""

    def getaddrinfo(*_: object, **__: object) -> Any:
        families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in places]
        return [
            (family, socket.SOCK_STREAM, 0, "", place)
            for family, place in zip(families, places, strict=True)
        ]

    return getaddrinfo


FIRST, SECOND, THIRD = ("192.0.2.1", 443), ("192.0.2.2", 443), ("192.0.2.3", 443)
FIRST_6, SECOND_6 = ("2001:db8::1", 443), ("2001:db8::2", 443)


class Network:
    """Addresses that answer, refuse or say nothing, and when each was dialled."""

    def __init__(self, answers: dict[tuple[str, int], str], patch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.answers = answers
        self.dialled: list[tuple[tuple[str, int], float]] = []
        self.sockets: list[socket.socket] = []
        patch.setattr(socket, "getaddrinfo", addresses(*answers))
        patch.setattr(self.loop, "sock_connect", self.connect)

    async def connect(self, sock: socket.socket, place: tuple[str, int]) -> None:
        self.dialled.append((place, self.loop.time()))
        self.sockets.append(sock)
        match self.answers[place]:
            case "refuses":
                raise ConnectionRefusedError(111, f"Connect call failed {place}")
            case "refuses late":
                await asyncio.sleep(0.3)
                raise ConnectionRefusedError
            case "says nothing":
                await asyncio.Event().wait()
            case "answers late":
                await asyncio.sleep(0.3)

    def open_sockets(self) -> list[socket.socket]:
        return [sock for sock in self.sockets if sock.fileno() != -1]


@pytest.mark.parametrize(
    ("answers", "times", "winner"),
    [
        ({FIRST: "answers", SECOND: "answers"}, [0], 0),
        ({FIRST: "refuses", SECOND: "answers"}, [0, 0], 1),
        ({FIRST: "says nothing", SECOND: "answers"}, [0, 0.25], 1),
        ({FIRST: "answers late", SECOND: "says nothing"}, [0, 0.25], 0),
        ({FIRST: "says nothing", SECOND: "refuses", THIRD: "answers"}, [0, 0.25, 0.25], 2),
        ({FIRST: "refuses late", SECOND: "answers late"}, [0, 0.25], 1),
    ],
)
@clean(faked=True)
async def test_no_address_holds_another_up(
    answers: dict[tuple[str, int], str],
    times: list[float],
    winner: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        network = Network(answers, patch)
        sock = await dial_tcp("exchange.example", 443)
    assert [at for _, at in network.dialled] == pytest.approx(times)
    assert sock is network.sockets[winner]
    assert network.open_sockets() == [sock]
    sock.close()


@clean(faked=True)
async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order = [FIRST_6, SECOND_6, FIRST, SECOND]
    with monkeypatch.context() as patch:
        network = Network(dict.fromkeys(order, "refuses"), patch)
        with pytest.raises(ExceptionGroup) as caught:
            await dial_tcp("exchange.example", 443)
    assert [place for place, _ in network.dialled] == [FIRST_6, FIRST, SECOND_6, SECOND]
    assert network.open_sockets() == []
    failure = failure_from_exception(caught.value)
    assert (failure.kind, failure.detail) == (FailureKind.REFUSED, os.strerror(111))


@pytest.mark.parametrize("turn", range(12))
@clean(faked=True)
async def test_a_dial_that_is_cancelled_leaves_no_socket(
    turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        network = Network({FIRST: "says nothing", SECOND: "answers late", THIRD: "answers"}, patch)
        dial = asyncio.create_task(dial_tcp("exchange.example", 443))
        # Up to the moment at which there are two winners.
        await asyncio.sleep(0.5 if turn > 5 else 0)
        await turns(turn % 6)
        dial.cancel()
        with suppress(asyncio.CancelledError):
            (await dial).close()
        await turns(3)
    assert network.open_sockets() == []


@pytest.mark.parametrize("turn", range(30))
@clean()
async def test_a_websocket_that_is_cancelled_at_any_moment_leaves_nothing(turn: int) -> None:
    async with serve(tokens=TOKENS) as simulator:

        async def use() -> None:
            async with topone_asyncio.open_websocket(connect_to(simulator.url), print) as it:
                await it.receive()

        task = asyncio.create_task(use())
        await turns(turn)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Nothing of it is left in this process, whatever the exchange still has to do.
        made = [it for it in gc.get_objects() if type(it) is _WebSocket]
        assert not [it for it in made if it._transport is not None and not it._is_lost]
        await until(lambda: simulator.connections == 0)


class Resolver:
    """In place of ``getaddrinfo``: does not answer until it may."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        patch.setattr(socket, "getaddrinfo", self)

    def __call__(self, *_: object, flags: int = 0, **__: object) -> Any:
        if not flags:
            self.asked += 1
            self.may_answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "later")


def test_a_lookup_that_hangs_takes_nothing_from_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(monkeypatch)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        # The first dials may end while the system's certificates are read.
        while resolver.asked < 2:
            failed = await failure_of(URL, patience=0.02)
            assert failed.failure.kind is FailureKind.TIMEOUT
        # A name has two threads. No further dial asks for it while they hang.
        failed = await failure_of(URL, patience=0.02)
        assert failed.failure.kind is FailureKind.TIMEOUT
        assert await loop.run_in_executor(None, int, "7") == 7

    # It ends, though the lookups do not: its last step is to wait for the default executor.
    asyncio.run(main(), debug=True)
    assert resolver.asked == 2
    # Nor do they disturb anybody when they end later.
    resolver.may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "topone-lookup":
            thread.join(20)


# --- the package ---


def test_without_websockets() -> None:
    script = "import sys; sys.modules['websockets'] = None; import topone_asyncio"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'ImportError: topone_asyncio needs websockets: pip install "topone-proto[asyncio]"' in (
        done.stderr
    )
    assert "During handling" not in done.stderr


def test_the_same_names_as_the_other_adapters() -> None:
    names = ["Account", "Feed", "open_account", "open_feed", "open_market_feed", "open_websocket"]
    assert topone_asyncio.__all__ == topone_trio.__all__ == names
    assert [*topone_threads.__all__, "open_websocket"] == names
