"""Tests of what is particular to threads: who waits where, what interrupts it, that no thread is
left."""

import asyncio
import functools
import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import topone_threads._io
import waits
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Candle,
    Closed,
    Conflated,
    Connect,
    Connected,
    ConnectionEnded,
    Disconnected,
    Event,
    FailureKind,
    FeedClosed,
    FeedFailed,
    LocalProtocolError,
    Malformed,
    Session,
    SessionConfig,
    Subscribed,
    Token,
    kline,
)
from topone_proto.exchange import (
    Accept,
    Burst,
    ClosePeer,
    Gateway,
    GoSilent,
    LoseAck,
    Reject,
    SendFrame,
)
from topone_simulator import Simulator, run_in_thread
from topone_threads import Feed, open_feed, open_market_feed
from waits import ETH, PATIENCE, TOKEN, accept_websocket, until

FOR_EVER = 5 * PATIENCE
"""A timeout that, if it were waited for, would make the test fail."""
QUICK = functools.partial(
    SessionConfig, retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6, close_timeout=FOR_EVER
)


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    with waits.no_thread_is_left():
        yield


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={TOKEN: "alice"}) as simulator:
        yield simulator


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run something in another thread, which has to end by itself."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive()


def soon(function: Callable[[], object]) -> None:
    """It returns, and does not wait for what would never come."""
    with beside(function):
        pass


def threads_of_feeds() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(("topone-feed", "Thread-"))]


# Real sockets.


def test_events_come_in_order_and_end_with_the_block(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed:
        assert next(feed) == Connected(1)
        assert isinstance(next(feed), Subscribed)
        simulator.publish(ETH, ETH)
        assert [type(next(feed)) for _ in range(2)] == [BalanceUpdate] * 2
    assert list(feed) == [Closed()]
    with pytest.raises(FeedClosed):
        feed.get()
    with pytest.raises(FeedClosed):
        feed.subscribe(ORDERS)
    feed.close()


def test_get_gives_up_in_time_and_loses_nothing(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed:
        until(feed, Subscribed)
        for timeout in (0, -1, 0.001):
            with pytest.raises(TimeoutError):
                feed.get(timeout)
        simulator.publish(ETH)
        assert isinstance(feed.get(PATIENCE), BalanceUpdate)


def test_subscribe_gives_up_in_time_and_the_topic_stays_desired(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url, topics=[]) as feed:
        simulator.inject(LoseAck())
        with pytest.raises(TimeoutError):
            feed.subscribe(ORDERS, timeout=0)
        until(feed, Connected)
        driver: Any = feed._async.driver  # type: ignore[union-attr]  # it is open
        in_turn(feed, bool)
        while len(feed._runtime._tasks) > driver.tasks:
            in_turn(feed, bool)
        # Nobody waits for an answer any more, so nothing keeps a slow application's feed reading.
        in_turn(feed, lambda: driver.take(driver.session.deadline_reached(0.0)))
        assert not feed._core._waiting
        assert driver.session.desired == (ORDERS,)


def test_candles_are_pulled_for_the_thread_that_asks() -> None:
    with (
        run_in_thread(history=86400.0) as simulator,
        open_market_feed(topics=[], url=simulator.market_url) as feed,
    ):
        now = time.time()
        with pytest.raises(TimeoutError):
            feed.pull(kline("BTC/USDT", "1m"), now - 3600, now, timeout=0)
        candles = feed.pull(kline("BTC/USDT", "1m"), now - 3600, now, PATIENCE)
        assert len(candles) >= 60
        assert {type(candle) for candle in candles} == {Candle}
    with pytest.raises(FeedClosed):
        feed.pull(kline("BTC/USDT", "1m"), now - 3600, now)


def test_a_refused_token_ends_every_waiting_thread(simulator: Simulator) -> None:
    failed = queue.SimpleQueue[Exception]()

    def consume() -> None:
        try:
            for _ in feed:
                pass
        except FeedFailed as error:
            failed.put(error)

    with open_feed(token="wrong", url=simulator.url) as feed, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(consume)
        failures = [failed.get(timeout=PATIENCE) for _ in range(4)]
    assert all(error.failure.status == 401 for error in failures if isinstance(error, FeedFailed))
    with pytest.raises(FeedFailed):
        next(feed)


def test_many_threads_share_a_feed(simulator: Simulator) -> None:
    taken = queue.SimpleQueue[Event]()
    number_of_updates = 200

    def consume(feed: Feed) -> None:
        for event in feed:
            taken.put(event)

    def toggle(feed: Feed) -> None:
        for _ in range(10):
            # Another thread may want the opposite, which is told and harms nobody.
            with suppress(Exception):
                feed.subscribe(ORDERS, PATIENCE)
            with suppress(Exception):
                feed.unsubscribe(ORDERS, PATIENCE)

    with (
        ThreadPoolExecutor(8) as pool,
        open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed,
    ):
        consumers = [pool.submit(consume, feed) for _ in range(4)]
        feed.subscribe(BALANCE, PATIENCE)
        togglers = [pool.submit(toggle, feed) for _ in range(4)]
        for number in range(number_of_updates):
            simulator.publish(Balance("ETH", Decimal(number), Decimal(0)))
        for toggler in togglers:
            toggler.result(PATIENCE)
        seen: list[Decimal] = []
        while len(seen) < number_of_updates:
            event = taken.get(timeout=PATIENCE)
            if isinstance(event, BalanceUpdate):
                seen.append(event.balance.available)
        soon(feed.close)
        for consumer in consumers:
            consumer.result(PATIENCE)
    assert sorted(seen) == [Decimal(number) for number in range(number_of_updates)]


def in_turn(feed: Feed, function: Callable[[], object]) -> None:
    """Have it called where the feed does its work, behind what was asked of it before."""
    is_done = threading.Event()

    def call() -> None:
        function()
        is_done.set()

    feed._post(call)
    assert is_done.wait(PATIENCE)


def await_pause(feed: Feed) -> None:
    """Return once the feed has stopped reading because nobody takes events."""
    deadline = time.monotonic() + PATIENCE
    while not feed.metrics().is_paused:
        assert time.monotonic() < deadline


def test_a_slow_application_stops_the_reader_and_misses_nothing(simulator: Simulator) -> None:
    config = SessionConfig(capacity=4)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        feed.subscribe(BALANCE, PATIENCE)
        simulator.inject(Burst(500))
        await_pause(feed)
        assert feed.metrics().waiting < 10
        for _ in range(500):
            until(feed, BalanceUpdate)


def test_a_feed_that_was_not_entered_says_so(simulator: Simulator) -> None:
    feed: Any = open_feed(token=TOKEN, url=simulator.url)
    for use in (
        feed.get,
        lambda: next(feed),
        lambda: feed.subscribe(ORDERS),
        lambda: feed.unsubscribe(ORDERS),
    ):
        with pytest.raises(LocalProtocolError, match="use it in a with block"):
            use()
    assert not feed.metrics().is_connected
    feed.close()
    assert list(feed) == [Closed()]
    with feed:
        assert list(feed) == []


def test_a_frame_that_is_too_large_is_named_as_the_cause(simulator: Simulator) -> None:
    config = QUICK(max_frame_size=300)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        until(feed, Subscribed)
        simulator.publish(Balance("E" * 400, Decimal(1), Decimal(0)))
        reason = until(feed, Disconnected).reason
        assert (reason.kind, reason.code) == (FailureKind.LOST, None)
        assert "exceeds limit of 300 bytes" in reason.detail


# Closing, in every state.


def test_closing_is_quick_when_the_peer_answers(simulator: Simulator) -> None:
    config = QUICK(ping_interval=None)
    with open_feed(token=TOKEN, url=simulator.url, config=config) as feed:
        until(feed, Subscribed)
        soon(feed.close)
        assert not threads_of_feeds()


def test_closing_waits_for_the_end_whichever_thread_is_busy_with_the_feed(
    simulator: Simulator,
) -> None:
    is_busy, may_end = threading.Event(), threading.Event()

    def keep_busy() -> None:
        with topone_threads._io.lock:
            is_busy.set()
            assert may_end.wait(PATIENCE)

    with open_feed(token=TOKEN, url=simulator.url, config=QUICK()) as feed:
        until(feed, Subscribed)
        with beside(keep_busy):
            assert is_busy.wait(PATIENCE)
            with beside(feed.close):
                may_end.set()
            assert not [t for t in threads_of_feeds() if t.name.startswith("topone")]


def test_closing_a_connection_whose_peer_is_mute_takes_no_longer_than_configured(
    simulator: Simulator,
) -> None:
    config = SessionConfig(close_timeout=0.05)
    with open_feed(token=TOKEN, url=simulator.url, config=config) as feed:
        until(feed, Subscribed)
        simulator.inject(GoSilent())
    assert not threads_of_feeds()


def test_closing_while_the_reader_waits_for_room(simulator: Simulator) -> None:
    config = QUICK(capacity=10)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        feed.subscribe(BALANCE, PATIENCE)
        # More than all the queues on the way hold: the close frame has to get past it.
        simulator.inject(Burst(5000))
        await_pause(feed)
        soon(feed.close)


@contextmanager
def listening(backlog: int = 1) -> Iterator[tuple[socket.socket, str, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        server.settimeout(PATIENCE)
        yield server, "127.0.0.1", server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_closing_while_the_server_does_not_answer_the_handshake(scheme: str) -> None:
    config = QUICK(open_timeout=FOR_EVER)
    with (
        listening() as (server, host, port),
        open_feed(token=TOKEN, url=f"{scheme}://{host}:{port}/", config=config) as feed,
    ):
        peer, _ = server.accept()
        with peer:
            peer.settimeout(PATIENCE)
            assert peer.recv(65536)
            soon(feed.close)
    assert list(feed) == [Closed()]


def test_closing_while_tcp_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()

    class Selector(topone_threads._io._Selector):
        def select(self, timeout: float | None = None) -> Any:
            # The dial, and what wakes the thread.
            if len(self.get_map()) == 2:
                waits.set()
            return super().select(timeout)

    monkeypatch.setattr("topone_threads._io._Selector", Selector)
    config = QUICK(open_timeout=FOR_EVER)
    with (
        listening(backlog=0) as (_, host, port),
        # The one place in the queue is taken: whoever comes next gets no answer.
        socket.create_connection((host, port), PATIENCE),
        open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed,
    ):
        assert waits.wait(PATIENCE)
        soon(feed.close)
    assert list(feed) == [Closed()]


def test_closing_while_backing_off() -> None:
    config = QUICK(retry_first=FOR_EVER, retry_cap=FOR_EVER)
    with listening() as (server, host, port):
        server.close()
        with open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed:
            assert until(feed, Disconnected).reason.kind is FailureKind.REFUSED
            soon(feed.close)


def test_closing_ends_whoever_waits_for_an_acknowledgement(simulator: Simulator) -> None:
    simulator.inject(LoseAck())
    ended = queue.SimpleQueue[BaseException]()

    def subscribe() -> None:
        try:
            feed.subscribe(ORDERS)
        except FeedClosed as error:
            ended.put(error)

    with open_feed(token=TOKEN, url=simulator.url, topics=[], config=QUICK()) as feed:
        until(feed, Connected)
        with beside(subscribe):
            while not simulator.requests:
                pass
            soon(feed.close)
        assert isinstance(ended.get(timeout=PATIENCE), FeedClosed)


def test_closing_does_not_wait_for_a_token_callable_that_hangs() -> None:
    asked, release = threading.Event(), threading.Event()
    dials: list[Connect] = []

    def token() -> str:
        asked.set()
        assert release.wait(PATIENCE)
        return TOKEN

    def never(connect: Connect, _: Callable[[bytes], object]) -> Any:
        dials.append(connect)

    config = SessionConfig(close_timeout=0.01)
    with open_feed(token=token, config=config, open_websocket=never) as feed:
        assert asked.wait(PATIENCE)
    assert list(feed) == [Closed()]
    assert [thread.name for thread in threads_of_feeds()] == ["topone-feed-token"]
    # It ends as soon as it can, and what it brings comes too late to be used.
    release.set()
    for thread in threads_of_feeds():
        thread.join(PATIENCE)
    assert dials == []


def test_the_token_callable_may_close_the_feed() -> None:
    feeds = queue.SimpleQueue[Feed]()

    returned = threading.Event()

    def token() -> str:
        feeds.get(timeout=PATIENCE).close()
        returned.set()
        return TOKEN

    with open_feed(token=token, config=QUICK()) as feed:
        feeds.put(feed)
        assert list(feed) == [Closed()]
    assert returned.wait(PATIENCE)
    for thread in threads_of_feeds():
        thread.join(PATIENCE)


# No sockets at all.


class Memory:
    """A connection to a gateway in the same process, with hooks for what may go wrong."""

    def __init__(
        self, gateway: Gateway, connect: Connect, on_pong: Callable[[bytes], object]
    ) -> None:
        self.gateway = gateway
        self.connect = connect
        self.on_pong = on_pong
        self.peer = 0
        self.inbox = asyncio.Queue[str | bytes | Exception]()
        self.is_over = asyncio.Event()

    async def __aenter__(self) -> Self:
        answer = self.gateway.handshake(self.connect.target(), self.connect.endpoint.headers, 0.0)
        match answer.actions[0]:
            case Accept(peer=peer):
                self.peer = peer
            case Reject(status=status):
                raise AssertionError(status)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_over.set()

    async def receive(self) -> str | bytes:
        item: str | bytes | Exception = await self.inbox.get()
        if isinstance(item, Exception):
            self.inbox.put_nowait(item)
            raise item
        return item

    async def send_text(self, text: str) -> None:
        self.carry_out(self.gateway.message_received(self.peer, text, 0.0).actions)

    async def send_ping(self, payload: bytes) -> None:
        self.on_pong(payload)

    async def close(self, code: int, reason: str) -> None:
        self.inbox.put_nowait(ConnectionEnded(code, reason))

    def carry_out(self, actions: tuple[Any, ...]) -> None:
        for action in actions:
            match action:
                case SendFrame(text=text):
                    self.inbox.put_nowait(text)
                case ClosePeer(code=code, reason=reason):
                    self.inbox.put_nowait(ConnectionEnded(code, reason))


class Exchange:
    """Opens them, one for each dial."""

    def __init__(self, *kinds: type[Memory]) -> None:
        self.gateway = Gateway({TOKEN: "alice"})
        self.kinds = list(kinds)
        self.opened: list[Memory] = []

    def __call__(self, connect: Connect, on_pong: Callable[[bytes], object]) -> Memory:
        kind = self.kinds.pop(0) if self.kinds else Memory
        self.opened.append(kind(self.gateway, connect, on_pong))
        return self.opened[-1]

    def open_feed(self, **config: Any) -> Any:
        return open_feed(token=TOKEN, topics=[BALANCE], config=QUICK(**config), open_websocket=self)


def test_without_any_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    exchange = Exchange()
    with exchange.open_feed() as feed:
        assert [type(feed.get(PATIENCE)) for _ in range(2)] == [Connected, Subscribed]
        feed.unsubscribe(BALANCE, PATIENCE)
        feed.subscribe(BALANCE, PATIENCE)
        first = exchange.opened[0]
        update = exchange.gateway.publish("alice", ETH, 0.0).actions
        in_turn(feed, lambda: first.carry_out(update))
        assert until(feed, BalanceUpdate).balance == ETH
        end = exchange.gateway.close_peer(first.peer, 0.0, code=1012).actions
        in_turn(feed, lambda: first.carry_out(end))
        assert until(feed, Disconnected).reason.code == 1012
        assert until(feed, Connected).epoch == 2
        until(feed, Subscribed)
    assert [type(event) for event in feed][-1:] == [Closed]


class Stuck(Memory):
    """Its peer does not read, so that whoever sends a ping waits."""

    is_stuck = threading.Event()

    async def send_ping(self, payload: bytes) -> None:
        self.is_stuck.set()
        await self.is_over.wait()
        raise ConnectionEnded


def test_a_send_that_blocks_holds_up_no_deadline() -> None:
    exchange = Exchange(Stuck)
    with exchange.open_feed(ping_interval=0.001, pong_timeout=0.001) as feed:
        assert until(feed, Disconnected).reason.kind is FailureKind.PONG_TIMEOUT
        assert until(feed, Connected).epoch == 2


def test_a_send_that_blocks_does_not_outlive_its_connection() -> None:
    Stuck.is_stuck.clear()
    exchange = Exchange(Stuck)
    with exchange.open_feed(ping_interval=0.001) as feed:
        until(feed, Subscribed)
        assert Stuck.is_stuck.wait(PATIENCE)
        in_turn(feed, lambda: exchange.opened[0].inbox.put_nowait(ConnectionEnded()))
        assert until(feed, Disconnected).reason.kind is FailureKind.LOST
        assert until(feed, Connected).epoch == 2


class Unread(Memory):
    """Its peer does not read, but asks and asks."""

    async def __aenter__(self) -> Self:
        for _ in range(100):
            self.inbox.put_nowait("ping")
        return await super().__aenter__()

    async def send_text(self, text: str) -> None:
        await self.is_over.wait()
        raise ConnectionEnded


def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    with Exchange(Unread).open_feed(max_unsent=50) as feed:
        assert until(feed, Disconnected).reason.detail == "the peer does not read"
        assert until(feed, Connected).epoch == 2


class Chatty(Memory):
    """It says three things before it answers."""

    async def __aenter__(self) -> Self:
        for number in range(3):
            self.inbox.put_nowait("?" * (number + 1))
        return await super().__aenter__()


def test_whoever_waits_for_an_answer_makes_a_paused_reader_go_on() -> None:
    # The buffer is full before the answer comes, so the reader stops. And this call has nothing to
    # send: the topic was asked for when the connection was made.
    exchange = Exchange(Chatty)
    with exchange.open_feed(capacity=4, ping_interval=None) as feed:
        await_pause(feed)
        feed.subscribe(BALANCE, PATIENCE)
        events = [type(feed.get(0)) for _ in range(5)]
        assert events == [Connected, Malformed, Malformed, Malformed, Subscribed]


class Ended(Memory):
    """Its connection has ended: a sender finds that at once, a reader behind what came before."""

    may_send: asyncio.Event

    async def __aenter__(self) -> Self:
        for number in range(100):
            self.inbox.put_nowait("?" * (number + 1))
        self.inbox.put_nowait(ConnectionEnded(1012, "at last"))
        return await super().__aenter__()

    async def send_text(self, text: str) -> None:
        await self.may_send.wait()
        raise ConnectionEnded(None, "gone")


@pytest.mark.parametrize("is_paused_first", [True, False])
def test_what_came_before_the_end_of_a_connection_is_taken_before_it(
    *, is_paused_first: bool
) -> None:
    Ended.may_send = asyncio.Event()
    exchange = Exchange(Ended)
    with exchange.open_feed(capacity=10, ping_interval=None) as feed:
        if is_paused_first:
            await_pause(feed)
        in_turn(feed, Ended.may_send.set)
        await_pause(feed)
        # Nobody takes events: there is no room for those of another connection.
        assert len(exchange.opened) == 1
        until(feed, Connected)
        taken = [feed.get(PATIENCE) for _ in range(100)]
        assert {type(event) for event in taken} == {Malformed}
        assert until(feed, Disconnected).reason.code == 1012
        until(feed, Subscribed)


class EndedUnread(Memory):
    """Its connection has ended, but only a sender finds that."""

    async def send_text(self, text: str) -> None:
        raise ConnectionEnded


def test_closing_waits_for_no_close_frame_that_nobody_can_send() -> None:
    with Exchange(EndedUnread).open_feed() as feed:
        until(feed, Connected)
        driver: Any = feed._async.driver
        while driver._end is None:
            pass
        soon(feed.close)


class Faulty(Memory):
    """It raises what no WebSocket should."""

    async def receive(self) -> str:
        raise ZeroDivisionError


def test_a_fault_of_a_websocket_ends_the_feed_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), Exchange(Faulty).open_feed() as feed:
        assert [type(event) for event in feed] == []
    with pytest.raises(ZeroDivisionError), Exchange(Faulty).open_feed() as feed:
        until(feed, Closed)
    with pytest.raises(ZeroDivisionError):
        feed.subscribe(ORDERS)


def test_a_recording_that_fails_ends_the_feed_and_is_raised() -> None:
    exchange = Exchange()
    written: list[str] = []

    def write(line: str) -> None:
        written.append(line)
        if len(written) > 4:
            raise OSError(28, "No space left on device")

    feed = open_feed(token=TOKEN, topics=[BALANCE], open_websocket=exchange, record=write)
    with pytest.raises(OSError, match="No space left"), feed as opened:
        until(opened, Closed)
    # It is closed in the usual way, without a word about it.
    assert len(written) == 5


# What a signal does to the thread that it arrives in.


@contextmanager
def interrupted(nth: int, handler: Callable[[], object]) -> Iterator[list[str]]:
    """Call something as a signal's handler, at the nth of the points of our code where Python may
    do so. Yields where that was, once it has been."""
    where: list[str] = []
    points = count(1)

    def look(frame: FrameType, event: str, function: object) -> None:
        code = frame.f_code
        is_ours = {"topone_threads", "topone_proto"} & set(Path(code.co_filename).parts)
        # On the way into a function, and when a built-in one is done.
        if is_ours and event in {"call", "c_return"} and next(points) == nth:
            where.append(f"{code.co_qualname}:{frame.f_lineno} {event} {function}")
            sys.setprofile(None)
            handler()

    sys.setprofile(look)
    try:
        yield where
    finally:
        sys.setprofile(None)


def use(feed: Feed) -> None:
    """Use a feed as a program does, from its beginning to its end."""
    with feed, suppress(FeedClosed):
        for event in feed:
            if isinstance(event, Subscribed):
                feed.unsubscribe(BALANCE, PATIENCE)
                feed.subscribe(BALANCE, PATIENCE)
                break
        feed.get(PATIENCE)


@pytest.mark.thorough
def test_a_signal_handler_may_close_the_feed_whatever_it_interrupts() -> None:
    def run() -> None:
        for nth in count(1):
            feed = Exchange().open_feed()
            with interrupted(nth, feed.close) as where:
                use(feed)
            assert list(feed)[-1:] in ([], [Closed()])
            assert feed._core.is_over
            if not where:
                # How many there are depends on how often it had to wait.
                assert nth > 50
                break
            places.append(where[0])

    places: list[str] = []
    soon(run)
    assert any(place.startswith("BaseHandle.get:") for place in places)


@pytest.mark.thorough
def test_a_feed_can_be_closed_whatever_a_ctrl_c_has_interrupted() -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    def run() -> None:
        for nth in count(1):
            feed = Exchange().open_feed()
            with suppress(KeyboardInterrupt), interrupted(nth, ctrl_c) as where:
                use(feed)
            feed.close()
            assert list(feed)[-1:] in ([], [Closed()])
            assert feed._core.is_over
            # One that was just being started does not end before it has begun.
            for thread in set(threads_of_feeds()) - {threading.current_thread()}:
                thread.join(PATIENCE)
                assert not thread.is_alive()
            if not where:
                # How many there are depends on how often it had to wait.
                assert nth > 50
                break

    soon(run)


class Full(Memory):
    """It has updates to give at once."""

    async def send_text(self, text: str) -> None:
        await super().send_text(text)
        for number in range(FULL):
            update = Balance("ETH", Decimal(number), Decimal(0))
            self.carry_out(self.gateway.publish("alice", update, 0.0).actions)


FULL = 5


@pytest.mark.parametrize("config", [{"capacity": 3}, {"capacity": 100}])
@pytest.mark.parametrize("delivery", ["block", "conflate"])
def test_no_event_is_lost_whatever_a_ctrl_c_has_interrupted(
    delivery: str, config: dict[str, Any]
) -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    def take(feed: Feed, taken: list[Event]) -> None:
        while len(feed_numbers(taken)) + skipped(taken) < FULL:
            taken.append(next(feed))

    def skipped(taken: list[Event]) -> int:
        return sum(event.count for event in taken if isinstance(event, Conflated))

    def feed_numbers(taken: list[Event]) -> list[Decimal]:
        return [event.balance.available for event in taken if isinstance(event, BalanceUpdate)]

    def run() -> None:
        for nth in count(1):
            taken: list[Event] = []
            with Exchange(Full).open_feed(**config, delivery=delivery) as feed:
                with suppress(KeyboardInterrupt), interrupted(nth, ctrl_c) as where:
                    take(feed, taken)
                take(feed, taken)
            numbers = feed_numbers(taken)
            assert numbers == sorted(numbers), where
            assert numbers[-1] == FULL - 1, where
            if delivery == "block":
                assert numbers == list(range(FULL)), where
            if not where:
                assert nth > 20
                break

    soon(run)


# Names with several addresses.


def addresses(*places: tuple[str, int]) -> Callable[..., Any]:
    """In place of ``getaddrinfo``."""
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]


def serve_until_the_end(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        accept_websocket(peer)
        while peer.recv(65536):
            pass


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (server, host, port), socket.create_server((host, 0)) as other:
        refusing = other.getsockname()
        other.close()
        monkeypatch.setattr(socket, "getaddrinfo", addresses(refusing, (host, port)))
        config = SessionConfig(close_timeout=0.01)
        with (
            beside(lambda: serve_until_the_end(server)),
            open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed,
        ):
            assert feed.get(PATIENCE) == Connected(1)


def test_an_address_that_does_not_answer_holds_no_other_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening(backlog=0) as (_, host, silent),
        # The one place in its queue is taken.
        socket.create_connection((host, silent), PATIENCE),
        listening() as (server, _, port),
    ):
        places = [(host, silent), (host, silent), (host, port)]
        monkeypatch.setattr(socket, "getaddrinfo", addresses(*places))
        config = SessionConfig(close_timeout=0.01, open_timeout=FOR_EVER)
        with (
            beside(lambda: serve_until_the_end(server)),
            open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed,
        ):
            assert feed.get(PATIENCE) == Connected(1)


# Threads that cannot be had, and locks that are held.


def test_a_feed_whose_thread_cannot_be_started_leaves_none_behind(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    feed: Any = open_feed(token=TOKEN, url=simulator.url)
    with (
        monkeypatch.context() as patch,
        pytest.raises(RuntimeError, match="new thread"),
        ExitStack() as stack,
    ):
        patch.setattr(threading.Thread, "start", refuse)
        stack.enter_context(feed)
    assert list(feed) == [Closed()]
    with open_feed(token=TOKEN, url=simulator.url) as another:
        until(another, Subscribed)


@pytest.mark.parametrize(
    ("of_feed", "kind"),
    [
        ({"token": lambda: TOKEN}, FailureKind.TOKEN),
        ({"token": TOKEN, "url": "wss://exchange.invalid/"}, FailureKind.NETWORK),
    ],
)
def test_a_thread_that_cannot_be_started_is_a_failed_try(
    of_feed: dict[str, Any], kind: FailureKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def only_its_own(thread: threading.Thread) -> None:
        if thread.name != "topone-feed-io":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_its_own)
    with open_feed(config=QUICK(), **of_feed) as feed:
        # More often than there may be token calls at a time.
        reasons = [until(feed, Disconnected).reason for _ in range(6)]
    assert {reason.kind for reason in reasons} == {kind}
    assert not [it for it in reasons if it.detail == "TooManyTokenCallsError"]


def test_a_signal_handler_that_interrupts_who_holds_a_lock_only_leaves_word(
    simulator: Simulator,
) -> None:
    def close() -> None:
        with topone_threads._io.lock:
            # It would wait for what needs the lock.
            feed.close()

    with open_feed(token=TOKEN, url=simulator.url, config=QUICK()) as feed:
        until(feed, Connected)
        soon(close)
        until(feed, Closed)


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_no_frame_of_ours_holds_the_token_that_a_callable_supplied(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, *, is_wrapped: bool
) -> None:
    shown: list[str] = []
    token_obtained = Session.token_obtained

    def spied(session: Session, token: Token, now: float) -> Any:
        frame = sys._getframe().f_back
        while frame is not None:
            shown.extend(f"{name} = {it!r}" for name, it in frame.f_locals.items())
            frame = frame.f_back
        return token_obtained(session, token, now)

    monkeypatch.setattr(Session, "token_obtained", spied)
    with open_feed(token=lambda: Token(TOKEN) if is_wrapped else TOKEN, url=simulator.url) as feed:
        until(feed, Subscribed)
    assert shown
    assert not [text for text in shown if TOKEN in text]


def test_the_token_is_written_nowhere(
    simulator: Simulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "quiet"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with open_feed(token=TOKEN, url=simulator.url) as feed:
        until(feed, Subscribed)
        assert TOKEN not in repr(vars(feed))
    for url in (f"ws://127.0.0.1:{simulator.port}/nowhere/", "ws://localhost.invalid.localhost/"):
        with open_feed(token=TOKEN, url=url, config=QUICK(max_attempts=1)) as feed:
            until(feed, Disconnected)
    assert "5ecret" not in caplog.text + "".join(capfd.readouterr())


# In a process of its own.


def test_ctrl_c_while_iterating_leaves_nothing_behind(simulator: Simulator) -> None:
    program = f"""
import threading
from topone_threads import open_feed
try:
    with open_feed(token={TOKEN!r}, url={simulator.url!r}) as feed:
        for event in feed:
            print(type(event).__name__, flush=True)
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate()])
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (out, err) == ("interrupted ['MainThread']\n", "")
    assert process.returncode == 0


def test_a_signal_handler_may_close_a_feed_that_is_iterated(simulator: Simulator) -> None:
    program = f"""
import signal, threading
from topone_threads import open_feed
with open_feed(token={TOKEN!r}, url={simulator.url!r}) as feed:
    signal.signal(signal.SIGTERM, lambda *_: feed.close())
    for event in feed:
        print(type(event).__name__, flush=True)
print([thread.name for thread in threading.enumerate()])
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (out, err) == ("Closed\n['MainThread']\n", "")
    assert process.returncode == 0


def test_without_websockets_the_import_says_what_to_install() -> None:
    program = """
import sys
sys.modules["websockets"] = None
try:
    import topone_threads
except ImportError as error:
    print(error, error.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    expected = 'topone_threads needs websockets: pip install "topone-proto[threads]" websockets\n'
    assert done.stdout == expected
