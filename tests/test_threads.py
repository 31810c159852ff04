"""What is particular to threads: who waits where, what interrupts it, that no thread is left."""

import functools
import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from hashlib import sha1
from selectors import DefaultSelector
from typing import Any, Self, TypeVar

import pytest

import topone_threads._websocket
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
    Endpoint,
    Event,
    FailureKind,
    FeedClosed,
    FeedFailed,
    Malformed,
    SessionConfig,
    Subscribed,
    Token,
)
from topone_proto.gateway import (
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
from topone_threads import Feed, open_feed, open_websocket

T = TypeVar("T")

TOKEN = "topapi:5ecret"
ETH = Balance("ETH", Decimal("1.5"), Decimal(0))
PATIENCE = 20.0
"""Seconds after which something that should have come has not: a failure, never a pass."""
FOR_EVER = 5 * PATIENCE
"""A timeout that, if it were waited for, would make the test fail."""
QUICK = functools.partial(
    SessionConfig, retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6, close_timeout=FOR_EVER
)


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={TOKEN: "alice"}) as simulator:
        yield simulator


def until(feed: Feed, kind: type[T]) -> T:
    while True:
        event = feed.get(PATIENCE)
        if isinstance(event, kind):
            return event


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
        # Nobody waits for an answer any more, so nothing keeps a slow application's feed reading.
        with feed._lock:
            feed._take(feed._session.deadline_reached(0.0))
            assert not feed._core._tickets
            assert feed._session.desired == (ORDERS,)


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
    count = 200

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
        for number in range(count):
            simulator.publish(Balance("ETH", Decimal(number), Decimal(0)))
        for toggler in togglers:
            toggler.result(PATIENCE)
        seen: list[Decimal] = []
        while len(seen) < count:
            event = taken.get(timeout=PATIENCE)
            if isinstance(event, BalanceUpdate):
                seen.append(event.balance.available)
        soon(feed.close)
        for consumer in consumers:
            consumer.result(PATIENCE)
    assert sorted(seen) == [Decimal(number) for number in range(count)]


def pausing(feed: Feed) -> threading.Event:
    """Set when the reader has stopped because nobody takes events."""
    paused = threading.Event()
    wait = feed._work_came.wait

    def spied(timeout: float | None = None) -> bool:
        if feed._is_paused:
            paused.set()
        return wait(timeout)

    with feed._lock:
        feed._work_came.wait = spied  # type: ignore[method-assign]  # nothing else shows it
        if feed._is_paused:
            paused.set()
    return paused


def test_a_slow_application_stops_the_reader_and_misses_nothing(simulator: Simulator) -> None:
    config = SessionConfig(capacity=4)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        feed.subscribe(BALANCE, PATIENCE)
        paused = pausing(feed)
        simulator.inject(Burst(500))
        assert paused.wait(PATIENCE)
        assert len(feed._core._buffer) < 10
        for _ in range(500):
            until(feed, BalanceUpdate)


# Closing, in every state.


def test_closing_is_quick_when_the_peer_answers(simulator: Simulator) -> None:
    config = QUICK(ping_interval=None)
    with open_feed(token=TOKEN, url=simulator.url, config=config) as feed:
        until(feed, Subscribed)
        soon(feed.close)
        assert not threads_of_feeds()


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
        paused = pausing(feed)
        # More than all the queues on the way hold: the close frame has to get past it.
        simulator.inject(Burst(5000))
        assert paused.wait(PATIENCE)
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

    class Selector(DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            waits.set()
            return super().select(timeout)

    monkeypatch.setattr(topone_threads._websocket, "DefaultSelector", Selector)
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
    config = QUICK(retry_first=FOR_EVER)
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
    assert [thread.name for thread in threads_of_feeds()] == ["topone-feed"]
    # It ends as soon as it can, and what it brings comes too late to be used.
    release.set()
    for thread in threads_of_feeds():
        thread.join(PATIENCE)
    assert dials == []


def test_a_token_callable_is_not_called_again_before_it_has_returned(simulator: Simulator) -> None:
    calls: list[int] = []
    release = threading.Event()

    def token() -> str:
        calls.append(len(calls))
        if len(calls) == 1:
            assert release.wait(PATIENCE)
            return "the token of a call that was given up"
        return TOKEN

    config = QUICK(token_timeout=0.01)
    with open_feed(token=token, url=simulator.url, config=config) as feed:
        for _ in range(3):
            assert until(feed, Disconnected).reason.kind is FailureKind.TOKEN
        assert calls == [0]
        release.set()
        until(feed, Connected)


def test_the_token_callable_may_close_the_feed() -> None:
    feeds = queue.SimpleQueue[Feed]()

    returned: list[None] = []

    def token() -> str:
        feeds.get(timeout=PATIENCE).close()
        returned.append(None)
        return TOKEN

    with open_feed(token=token, config=QUICK()) as feed:
        feeds.put(feed)
        assert list(feed) == [Closed()]
    assert returned


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
        self.inbox = queue.SimpleQueue[str | bytes | ConnectionEnded | Exception]()
        self.is_over = threading.Event()

    def __enter__(self) -> Self:
        answer = self.gateway.handshake(self.connect.target(), self.connect.endpoint.headers, 0.0)
        match answer.actions[0]:
            case Accept(peer=peer):
                self.peer = peer
            case Reject(status=status):
                raise AssertionError(status)
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def receive(self) -> str | bytes:
        item = self.inbox.get(timeout=PATIENCE)
        if isinstance(item, Exception):
            self.inbox.put(item)
            raise item
        return item

    def send_text(self, text: str) -> None:
        self.carry_out(self.gateway.message_received(self.peer, text, 0.0).actions)

    def send_ping(self, payload: bytes) -> None:
        self.on_pong(payload)

    def close(self, code: int, reason: str) -> None:
        self.inbox.put(ConnectionEnded(code, reason))

    def abort(self) -> None:
        self.is_over.set()
        self.inbox.put(ConnectionEnded())

    def carry_out(self, actions: tuple[Any, ...]) -> None:
        for action in actions:
            match action:
                case SendFrame(text=text):
                    self.inbox.put(text)
                case ClosePeer(code=code, reason=reason):
                    self.inbox.put(ConnectionEnded(code, reason))


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


def test_without_any_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    exchange = Exchange()
    with exchange.open_feed() as feed:
        assert [type(feed.get(PATIENCE)) for _ in range(2)] == [Connected, Subscribed]
        feed.unsubscribe(BALANCE, PATIENCE)
        feed.subscribe(BALANCE, PATIENCE)
        first = exchange.opened[0]
        first.carry_out(exchange.gateway.publish("alice", ETH, 0.0).actions)
        assert until(feed, BalanceUpdate).balance == ETH
        first.carry_out(exchange.gateway.close_peer(first.peer, 0.0, code=1012).actions)
        assert until(feed, Disconnected).reason.code == 1012
        assert until(feed, Connected).epoch == 2
        until(feed, Subscribed)
    assert [type(event) for event in feed][-1:] == [Closed]


class Stuck(Memory):
    """Its peer does not read, so that whoever sends a ping waits."""

    is_stuck = threading.Event()

    def send_ping(self, payload: bytes) -> None:
        self.is_stuck.set()
        assert self.is_over.wait(PATIENCE)
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
        exchange.opened[0].inbox.put(ConnectionEnded())
        assert until(feed, Disconnected).reason.kind is FailureKind.LOST
        assert until(feed, Connected).epoch == 2


class Unread(Memory):
    """Its peer does not read, but asks and asks."""

    def __enter__(self) -> Self:
        for _ in range(100):
            self.inbox.put("ping")
        return super().__enter__()

    def send_text(self, text: str) -> None:
        assert self.is_over.wait(PATIENCE)
        raise ConnectionEnded


def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    with Exchange(Unread).open_feed(max_unsent=50) as feed:
        assert until(feed, Disconnected).reason.detail == "the peer does not read"
        assert until(feed, Connected).epoch == 2


class Chatty(Memory):
    """It says three things before it answers."""

    def __enter__(self) -> Self:
        for _ in range(3):
            self.inbox.put("?")
        return super().__enter__()


def test_whoever_waits_for_an_answer_makes_a_paused_reader_go_on() -> None:
    # The buffer is full before the answer comes, so the reader stops. And this call has nothing to
    # send: the topic was asked for when the connection was made.
    exchange = Exchange(Chatty)
    with exchange.open_feed(capacity=4, ping_interval=None) as feed:
        assert pausing(feed).wait(PATIENCE)
        feed.subscribe(BALANCE, PATIENCE)
        events = [type(feed.get(0)) for _ in range(5)]
        assert events == [Connected, Malformed, Malformed, Malformed, Subscribed]


class Late(Memory):
    """Its dial succeeds after it was given up."""

    tried: threading.Event
    released: threading.Event

    def __enter__(self) -> Self:
        self.tried.set()
        assert self.released.wait(PATIENCE)
        return super().__enter__()


def test_nothing_of_a_dial_that_was_given_up_is_reported_and_the_next_waits_for_its_end() -> None:
    Late.tried, Late.released = threading.Event(), threading.Event()
    exchange = Exchange(Late)
    with exchange.open_feed(open_timeout=0.01) as feed:
        assert Late.tried.wait(PATIENCE)
        # Given up again and again, but the first is not done yet: there is no second dial.
        for _ in range(3):
            assert until(feed, Disconnected).reason.kind is FailureKind.TIMEOUT
        assert len(exchange.opened) == 1
        Late.released.set()
        assert until(feed, Connected).epoch == 1
        assert len(exchange.opened) == 2
        until(feed, Subscribed)
        # Nor is a pong of it, whatever the present connection waits for.
        before = feed._session._connection._last_received
        exchange.opened[0].on_pong(b"1")
        assert feed._session._connection._last_received == before
        exchange.opened[1].on_pong(b"1")
        assert feed._session._connection._last_received > before


class Faulty(Memory):
    """It raises what no WebSocket should."""

    def receive(self) -> str:
        raise ZeroDivisionError


def test_a_fault_of_a_websocket_ends_the_feed_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), Exchange(Faulty).open_feed() as feed:
        assert [type(event) for event in feed] == []
    with pytest.raises(ZeroDivisionError), Exchange(Faulty).open_feed() as feed:
        until(feed, Closed)
    with pytest.raises(FeedClosed):
        feed.subscribe(ORDERS)


# The default WebSocket.


def connect_to(host: str, port: int, scheme: str = "ws") -> Connect:
    return Connect(Endpoint(f"{scheme}://{host}:{port}/"), Token(TOKEN), PATIENCE, 2**20)


def accept_websocket(peer: socket.socket) -> set[str]:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += peer.recv(65536)
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    peer.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return {line.split(b":")[0].decode().lower() for line in request.split(b"\r\n")[1:]}


def test_a_close_frame_is_the_end_whenever_the_peer_lets_go_of_tcp() -> None:
    is_over = threading.Event()

    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            accept_websocket(peer)
            peer.sendall(b"\x88\x06" + (1012).to_bytes(2) + b"soon")
            assert is_over.wait(PATIENCE)

    with (
        listening() as (server, host, port),
        beside(lambda: serve(server)),
        open_websocket(connect_to(host, port), lambda _: None) as websocket,
    ):
        with pytest.raises(ConnectionEnded) as ended:
            websocket.receive()
        is_over.set()
        assert (ended.value.code, ended.value.reason) == (1012, "soon")
        for use in (
            websocket.receive,
            lambda: websocket.send_text(""),
            lambda: websocket.send_ping(b""),
        ):
            with pytest.raises(ConnectionEnded) as ended:
                use()
            assert ended.value.__context__ is None
        websocket.close(1000, "")
        websocket.abort()


def test_leaving_a_connection_with_a_backlog_leaves_no_thread() -> None:
    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer, suppress(ConnectionError):
            accept_websocket(peer)
            while True:
                peer.sendall(b"\x81\x01a" * 1000)

    with (
        listening() as (server, host, port),
        beside(lambda: serve(server)),
        open_websocket(connect_to(host, port), lambda _: None) as websocket,
    ):
        assert websocket.receive() == b"a"


def test_websockets_decides_nothing_by_itself() -> None:
    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            headers = accept_websocket(peer)
            assert not {"origin", "user-agent", "sec-websocket-extensions"} & headers

    with (
        listening() as (server, host, port),
        beside(lambda: serve(server)),
        open_websocket(connect_to(host, port), lambda _: None) as websocket,
    ):
        assert isinstance(websocket, topone_threads._websocket._SyncWebSocket)
        assert websocket._connection.keepalive_thread is None


@pytest.mark.parametrize(
    "location", ["ws://127.0.0.2/{token}", "/?token={token}", "http://[{token}", ""]
)
def test_a_redirect_is_not_followed_and_shows_no_token(location: str) -> None:
    location = location.format(token=TOKEN)

    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(
                b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n"
                + (f"Location: {location}\r\n\r\n").encode()
            )
            # Until the client lets go.
            assert peer.recv(65536) == b""

    with (
        listening() as (server, host, port),
        beside(lambda: serve(server)),
        pytest.raises(ConnectionFailed) as failed,
    ):
        open_websocket(connect_to(host, port), lambda _: None).__enter__()
    assert failed.value.failure.kind is FailureKind.HANDSHAKE
    assert failed.value.failure.status == 302
    assert failed.value.__context__ is None
    assert failed.value.__cause__ is None
    shown = "".join(traceback.TracebackException.from_exception(failed.value).format())
    assert TOKEN not in shown


def test_a_websocket_that_was_aborted_before_does_not_dial() -> None:
    with listening() as (_, host, port):
        websocket = open_websocket(connect_to(host, port), lambda _: None)
        websocket.abort()
        with pytest.raises(ConnectionFailed) as failed:
            websocket.__enter__()
    assert failed.value.failure.kind is FailureKind.NETWORK


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (server, host, port), socket.create_server((host, 0)) as other:
        refusing = other.getsockname()
        other.close()
        stream = socket.SOCK_STREAM

        def look_up(*_: object, **__: object) -> Any:
            return [(socket.AF_INET, stream, 0, "", a) for a in (refusing, (host, port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                accept_websocket(peer)
                peer.recv(65536)

        with beside(serve), open_websocket(connect_to(host, port), lambda _: None):
            pass


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
