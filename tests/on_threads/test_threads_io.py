"""The one thread that serves all feeds: whom it serves, and what may happen to it."""

import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import topone_asyncio._websocket
from thread_feeds import beside, in_turn
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    FailureKind,
    FeedClosed,
    LocalProtocolError,
    SessionConfig,
    Subscribed,
)
from topone_proto.exchange import Burst, LoseAck
from topone_simulator import Simulator
from topone_threads import Feed, _io, open_feed
from topone_threads._lock import Lock
from waits import ETH, PATIENCE, TOKEN, accept_websocket, until

QUICK: dict[str, Any] = {"retry_first": 1e-6, "retry_base": 1e-6, "retry_cap": 1e-6}


def io_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "topone-feed-io"]


# Whom it serves.


def test_all_feeds_share_one_thread_that_ends_with_the_last(simulator: Simulator) -> None:
    fds = Path("/proc/self/fd")
    before = len(list(fds.iterdir())) if fds.exists() else None
    threads = set(threading.enumerate())
    for number in (200, 2):
        with ExitStack() as stack:
            feeds = [
                stack.enter_context(open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]))
                for _ in range(number)
            ]
            for feed in feeds:
                until(feed, Subscribed)
            # Threads of others, such as idle workers of an earlier test, may end at any time.
            assert set(threading.enumerate()) - threads == set(io_threads())
            assert len(io_threads()) == 1
            simulator.publish(ETH)
            for feed in feeds:
                until(feed, BalanceUpdate)
            for feed in feeds[1:]:
                feed.close()
            assert len(io_threads()) == 1
            simulator.publish(ETH)
            until(feeds[0], BalanceUpdate)
        assert io_threads() == []
    while fds.exists() and len(list(fds.iterdir())) != before:
        # The simulator closes its side in its own time.
        assert simulator.connections >= 0


def test_a_thread_whose_last_feed_has_left_serves_no_other(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to_the_end = _io.IoThread.run
    may_end = threading.Event()

    def run_slowly(io: _io.IoThread) -> None:
        run_to_the_end(io)
        assert may_end.wait(PATIENCE)

    monkeypatch.setattr(_io.IoThread, "run", run_slowly)
    config = SessionConfig(close_timeout=0.01)
    for _ in range(2):
        with open_feed(token=TOKEN, url=simulator.url, config=config) as feed:
            until(feed, Subscribed)
    may_end.set()
    for thread in io_threads():
        thread.join(PATIENCE)


def test_a_loop_that_is_not_the_programs_is_not_debugged(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    with open_feed(token=TOKEN, url=simulator.url) as feed:
        until(feed, Subscribed)
        [thread] = io_threads()
        assert isinstance(thread, _io.IoThread)
        assert thread._loop is not None
        assert not thread._loop.get_debug()


def test_what_fails_for_one_feed_ends_no_other(simulator: Simulator) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with ExitStack() as stack:
        other = stack.enter_context(open_feed(token=TOKEN, url=simulator.url))
        until(other, Subscribed)
        with pytest.raises(ZeroDivisionError), open_feed(token=TOKEN, url=simulator.url) as feed:
            until(feed, Subscribed)
            feed._post(fail)
            list(feed)
        # Whoever was told leaves the block; every later call is told the same.
        with pytest.raises(ZeroDivisionError):
            feed.subscribe(ORDERS)
        feed.close()
        simulator.publish(ETH)
        until(other, BalanceUpdate)


def test_a_fault_of_the_thread_itself_ends_every_feed(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(_: float | None) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    with ExitStack() as stack:
        feeds = [stack.enter_context(open_feed(token=TOKEN, url=simulator.url)) for _ in range(2)]
        for feed in feeds:
            until(feed, Subscribed)
        [thread] = io_threads()
        assert isinstance(thread, _io.IoThread)
        loop: Any = thread._loop
        monkeypatch.setattr(loop._selector, "select", fail_once)
        feeds[0]._post(bool)
        for feed in feeds:
            until(feed, Closed)
            with pytest.raises(ZeroDivisionError):
                feed.get(PATIENCE)
        thread.join(PATIENCE)
    with open_feed(token=TOKEN, url=simulator.url) as feed:
        until(feed, Subscribed)


def test_a_fault_before_the_feed_has_begun_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("topone_threads._feed.Driver", fail)
    with pytest.raises(ZeroDivisionError), open_feed(token=TOKEN) as feed:
        list(feed)


def test_an_application_that_takes_nothing_holds_up_no_other(simulator: Simulator) -> None:
    config = SessionConfig(capacity=4)
    with (
        open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as slow,
        open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed,
    ):
        slow.subscribe(BALANCE, PATIENCE)
        feed.subscribe(BALANCE, PATIENCE)
        simulator.inject(Burst(500))
        for _ in range(500):
            until(feed, BalanceUpdate)
        assert slow.metrics().waiting < 10


def test_a_recorder_that_blocks_holds_up_no_other(simulator: Simulator) -> None:
    is_blocked, release = threading.Event(), threading.Event()

    def write(_: str) -> None:
        if threading.current_thread().name == "topone-feed-io":
            is_blocked.set()
            assert release.wait(PATIENCE)

    with (
        open_feed(token=TOKEN, url=simulator.url) as feed,
        open_feed(token=TOKEN, url=simulator.url, record=write) as recorded,
    ):
        assert is_blocked.wait(PATIENCE)
        feed.subscribe(BALANCE, PATIENCE)
        simulator.publish(ETH)
        until(feed, BalanceUpdate)
        release.set()
        until(recorded, Subscribed)


def test_a_recorder_that_blocks_holds_up_no_timeout_and_no_close(simulator: Simulator) -> None:
    is_blocked, may_block, release = (threading.Event() for _ in range(3))

    def write(_: str) -> None:
        if may_block.is_set():
            is_blocked.set()
            assert release.wait(PATIENCE)

    config = SessionConfig(close_timeout=0.05)
    with open_feed(
        token=TOKEN, url=simulator.url, topics=[BALANCE], record=write, config=config
    ) as feed:
        until(feed, Subscribed)
        may_block.set()
        simulator.publish(ETH)
        assert is_blocked.wait(PATIENCE)
        with pytest.raises(TimeoutError):
            feed.get(0.01)
        with pytest.raises(TimeoutError):
            feed.subscribe(ORDERS, 0.01)
        feed.close()
        assert not feed._core.is_closed
        release.set()
        assert until(feed, Closed) == Closed()


@pytest.mark.parametrize("method", ["get", "subscribe", "unsubscribe"])
def test_a_recorder_cannot_wait_for_what_waits_for_it(simulator: Simulator, method: str) -> None:
    feeds = queue.SimpleQueue[Feed]()

    def write(_: str) -> None:
        if not io_threads():
            return
        feed = feeds.get(timeout=PATIENCE)
        if method == "get":
            while True:
                feed.get()
        getattr(feed, method)(ORDERS)

    feed: Any = open_feed(token=TOKEN, url=simulator.url, record=write)
    feeds.put(feed)
    with pytest.raises(LocalProtocolError, match="another thread"), feed:
        list(feed)


def test_a_recorder_that_fails_ends_the_feed_at_whatever_input(simulator: Simulator) -> None:
    for nth in range(2, 12):
        lines: list[str] = []

        def write(line: str, lines: list[str] = lines, nth: int = nth) -> None:
            lines.append(line)
            if len(lines) == nth:
                raise OSError(28, "No space left on device")

        # Deadlines are among the inputs.
        config = SessionConfig(ping_interval=0.01)
        # Told once, the block can be left.
        with (
            open_feed(token=lambda: TOKEN, url=simulator.url, record=write, config=config) as feed,
            pytest.raises(OSError, match="No space left"),
        ):
            list(feed)
        assert len(lines) == nth
        assert io_threads() == []
    while simulator.connections:
        pass


def test_a_recorder_may_close_the_feed(simulator: Simulator) -> None:
    feeds = queue.SimpleQueue[Feed]()
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        if len(lines) == 5:
            feeds.get(timeout=PATIENCE).close()

    with open_feed(token=TOKEN, url=simulator.url, record=write) as feed:
        feeds.put(feed)
        assert list(feed)[-1] == Closed()


# What the token callable may do.


def test_a_token_callable_may_use_the_feed(simulator: Simulator) -> None:
    feeds = queue.SimpleQueue[Feed]()

    def token() -> str:
        feed = feeds.get(timeout=PATIENCE)
        with pytest.raises(TimeoutError):
            feed.get(0.01)
        # These wait for what waits for this.
        for call in (feed.subscribe, feed.unsubscribe):
            with pytest.raises(LocalProtocolError, match=r"get\(timeout=\.\.\.\)"):
                call(ORDERS)
        feed.metrics()
        return TOKEN

    with open_feed(token=token, url=simulator.url, topics=[BALANCE]) as feed:
        feeds.put(feed)
        assert feed.get(PATIENCE) == Connected(1)
        assert isinstance(feed.get(PATIENCE), Subscribed)
        simulator.publish(ETH)
        assert isinstance(feed.get(PATIENCE), BalanceUpdate)


def test_a_token_callable_that_hangs_once_is_called_again(simulator: Simulator) -> None:
    feeds = queue.SimpleQueue[Feed]()
    release = threading.Event()
    calls: list[threading.Thread] = []
    was_released: list[bool] = []

    def token() -> str:
        calls.append(threading.current_thread())
        if len(calls) == 1:
            was_released.append(release.wait(PATIENCE))
            return "the token of a call that was given up"
        # What the first one brings comes while this one is under way.
        release.set()
        calls[0].join(PATIENCE)
        feed = feeds.get(timeout=PATIENCE)
        feeds.put(feed)
        in_turn(feed, bool)
        return TOKEN

    config = SessionConfig(**QUICK, token_timeout=0.2)
    with open_feed(token=token, url=simulator.url, config=config) as feed:
        feeds.put(feed)
        reason = until(feed, Disconnected).reason
        assert (reason.kind, reason.detail) == (FailureKind.TOKEN, "it took too long")
        while not isinstance(event := feed.get(PATIENCE), Connected):
            # On a machine that is busy, later calls may take too long, too.
            assert isinstance(event, Disconnected)
            assert event.reason.kind is FailureKind.TOKEN
    assert was_released == [True]
    assert all(thread.daemon for thread in calls)


def test_no_more_than_four_token_calls_that_were_given_up_go_on(simulator: Simulator) -> None:
    calls = count(1)
    release = threading.Event()

    def token() -> str:
        number = next(calls)
        assert release.wait(PATIENCE)
        return TOKEN if number > 4 else "the token of a call that was given up"

    config = SessionConfig(**QUICK, token_timeout=0.01)
    with open_feed(token=token, url=simulator.url, config=config) as feed:
        reasons = [until(feed, Disconnected).reason for _ in range(10)]
        assert {reason.kind for reason in reasons} == {FailureKind.TOKEN}
        assert [reason.detail for reason in reasons] == [
            *["it took too long"] * 4,
            *["TooManyTokenCallsError"] * 6,
        ]
        callers = [it for it in threading.enumerate() if it.name == "topone-feed-token"]
        assert len(callers) == 4
        release.set()
        for caller in callers:
            caller.join(PATIENCE)
        until(feed, Connected)


def test_a_token_callable_that_waits_for_its_feed_is_given_up(simulator: Simulator) -> None:
    feeds = queue.SimpleQueue[Feed]()
    answers = queue.SimpleQueue[object]()
    calls: list[int] = []

    def token() -> str:
        calls.append(len(calls))
        if len(calls) == 1:
            feed = feeds.get(timeout=PATIENCE)
            answers.put(next(feed))
            # The feed waits for this call no more.
            feed.subscribe(BALANCE, PATIENCE)
            answers.put("subscribed")
        return TOKEN

    config = SessionConfig(**QUICK, token_timeout=0.2)
    with open_feed(token=token, url=simulator.url, topics=[], config=config) as feed:
        feeds.put(feed)
        assert isinstance(answers.get(timeout=PATIENCE), Disconnected)
        assert answers.get(timeout=PATIENCE) == "subscribed"
        assert until(feed, Subscribed).topic == BALANCE


def test_a_token_callable_that_ends_its_thread_ends_the_feed() -> None:
    def token() -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit), open_feed(token=token) as feed:
        list(feed)


# What a peer may do.


@contextmanager
def serving(serve: Callable[[socket.socket], object]) -> Generator[str, None, None]:
    """A server that accepts a WebSocket and then does what is passed."""

    def run() -> None:
        peer, _ = server.accept()
        with peer, suppress(ConnectionError):
            accept_websocket(peer)
            serve(peer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        # What the kernel holds for a server that does not read.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.settimeout(PATIENCE)
        thread = threading.Thread(target=run)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(PATIENCE)
        assert not thread.is_alive()


def flood(pings: bytes) -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        while True:
            peer.sendall(pings)

    return serve


def test_pongs_that_nobody_reads_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ping = b"\x89\x7d" + bytes(125)
    most = 0
    take_in = topone_asyncio._websocket._WebSocket.data_received

    def spied(websocket: Any, data: bytes) -> None:
        nonlocal most
        take_in(websocket, data)
        most = max(most, websocket._transport.get_write_buffer_size())

    monkeypatch.setattr(topone_asyncio._websocket._WebSocket, "data_received", spied)
    settings = SessionConfig(ping_interval=0.2, pong_timeout=0.2, retry_first=30, close_timeout=0.1)
    with (
        serving(flood(ping * 1000)) as url,
        open_feed(token=TOKEN, url=url, topics=[], config=settings) as feed,
    ):
        # Reading stops, and liveness finds that out.
        assert until(feed, Disconnected).reason.kind is FailureKind.PONG_TIMEOUT
    # What asyncio holds before it says that it is too much, and the pongs of one read.
    assert 0 < most <= 2**16 + 4 * 2**18


def test_a_part_of_a_frame_is_a_sign_of_life() -> None:
    is_open, is_over = threading.Event(), threading.Event()

    def serve(peer: socket.socket) -> None:
        assert is_open.wait(PATIENCE)
        peer.sendall(b"\x81\x7e\xff\xff" + b" " * 1000)
        assert is_over.wait(PATIENCE)

    with serving(serve) as url, open_feed(token=TOKEN, url=url, topics=[]) as feed:
        until(feed, Connected)
        driver: Any = feed._driver
        websocket = driver._connector.websocket
        opened = websocket.heard_at
        is_open.set()
        while websocket.heard_at == opened:
            pass
        in_turn(feed, driver._deadline_reached)
        assert driver.session.connection.last_received == websocket.heard_at
        is_over.set()


# What the process may do. In a process of its own.


def run(program: str, *arguments: str, timeout: float = PATIENCE) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


IN_CHILD = """
import os, sys, threading
from topone_proto import *
from topone_threads import _io, open_feed

TOKEN, url = sys.argv[1:]

def used(feed):
    said = []
    for use in (feed.get, lambda: next(feed), lambda: feed.get(0.1), lambda: feed.subscribe(ORDERS),
                lambda: feed.unsubscribe(ORDERS)):
        try:
            use()
        except FeedFailed as error:
            said.append(error.failure.kind.value)
    said.append(feed.metrics().is_connected)
    said.append(feed.close())
    with open_feed(token=TOKEN, url=url) as another:
        while not isinstance(another.get(10), Subscribed):
            pass
    return said

def until(feed, kind):
    while not isinstance(event := feed.get(10), kind):
        pass
    return event
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_says_that_its_feed_is_the_parents(simulator: Simulator) -> None:
    program = f"""{IN_CHILD}
with open_feed(token=TOKEN, url=url) as feed, open_feed(token=TOKEN, url=url) as other:
    until(feed, Subscribed), until(other, Subscribed)
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            with feed:
                said = used(feed)
            print(*said, threading.active_count(), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    feed.unsubscribe(ORDERS, 10)
    print("parent", feed.metrics().is_connected, feed.metrics().epoch)
    feed.close()
    # The child has not touched what the parent waits with.
    print(other.unsubscribe(ORDERS, 10))
"""
    out = run(program, TOKEN, simulator.url, timeout=3 * PATIENCE).splitlines()
    assert out == [
        *["forked forked forked forked forked False None 1"] * 20,
        "parent True 1",
        "None",
    ]
    # Nothing was sent in the parent's name.
    assert simulator.goodbyes.count(None) == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing shows descriptors")
def test_a_forked_child_inherits_no_lock_that_is_held_and_no_descriptor(
    simulator: Simulator,
) -> None:
    program = f"""{IN_CHILD}
before = len(os.listdir("/proc/self/fd"))
with open_feed(token=TOKEN, url=url) as feed:
    until(feed, Subscribed)
    is_held, release = threading.Event(), threading.Event()
    def hold():
        with _io.shared.lock:
            is_held.set()
            release.wait()
    feed._post(hold)
    is_held.wait()
    pid = os.fork()
    if pid == 0:
        print(len(os.listdir("/proc/self/fd")) - before, *used(feed), flush=True)
        os._exit(0)
    print(os.waitpid(pid, 0)[1])
    release.set()
"""
    out = run(program, TOKEN, simulator.url)
    assert out == "0 forked forked forked forked forked False None\n0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_waits_for_no_lock_of_a_feed_that_had_ended(simulator: Simulator) -> None:
    program = f"""{IN_CHILD}
import signal
with open_feed(token=TOKEN, url=url) as other:
    with open_feed(token=TOKEN, url=url) as feed:
        until(feed, Subscribed)
    is_held, release = threading.Event(), threading.Event()
    def hold():
        is_held.set()
        release.wait()
    other._post(hold)
    is_held.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        print(*used(feed), flush=True)
        os._exit(0)
    print(os.waitpid(pid, 0)[1])
    release.set()
"""
    out = run(program, TOKEN, simulator.url)
    assert out == "forked forked forked forked forked False None\n0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_may_forget_its_feed(simulator: Simulator) -> None:
    program = f"""{IN_CHILD}
import gc
feed = open_feed(token=TOKEN, url=url).__enter__()
until(feed, Subscribed)
pid = os.fork()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
    feed.close()
del feed
gc.collect()
"""
    assert run(program, TOKEN, simulator.url) == ""


def test_a_thread_that_has_not_begun_leaves_a_forked_child_nothing_to_close() -> None:
    thread = _io.IoThread(Lock())
    thread.abandon()
    assert thread._loop is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_multiprocessing_may_fork_while_threads_wait_for_a_feed(simulator: Simulator) -> None:
    program = f"""{IN_CHILD}
import multiprocessing

def child(feed):
    print(*used(feed), flush=True)

with open_feed(token=TOKEN, url=url) as feed:
    until(feed, Subscribed), until(feed, Subscribed)
    threads = [threading.Thread(target=lambda: list(feed)) for _ in range(3)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        process = context.Process(target=child, args=(feed,))
        process.start()
        process.join(10)
        assert process.exitcode == 0, process.exitcode
    print("parent", feed.metrics().is_connected)
for thread in threads:
    thread.join()
"""
    out = run(program, TOKEN, simulator.url, timeout=3 * PATIENCE).splitlines()
    assert out == [*["forked forked forked forked forked False None"] * 5, "parent True"]


@pytest.mark.parametrize(
    "ending",
    [
        "atexit.register(feed.close)",
        "atexit.register(feed.__exit__, None)",
        # Left by a thread, after the main thread has ended.
        "threading.Thread(target=leave).start()",
        # Not at all.
        "",
    ],
)
def test_python_may_end_while_a_feed_is_open(simulator: Simulator, ending: str) -> None:
    program = f"""{IN_CHILD}
import atexit, time
feed = open_feed(token=TOKEN, url=url).__enter__()
until(feed, Subscribed)

def leave():
    threading.main_thread().join()
    with feed:
        pass

{ending}
print("end", flush=True)
"""
    assert run(program, TOKEN, simulator.url) == "end\n"
    while simulator.connections:
        pass
    assert simulator.goodbyes == ((1000,) if ending else (None,))


def test_python_does_not_wait_for_a_feed_that_it_closes_at_its_very_end(
    simulator: Simulator,
) -> None:
    # The generator ends with the module, when the I/O thread runs no more.
    program = f"""{IN_CHILD}
def events():
    with open_feed(token=TOKEN, url=url, config=SessionConfig(close_timeout=10000)) as feed:
        yield from feed

stream = events()
while not isinstance(next(stream), Subscribed):
    pass
print("end", flush=True)
"""
    assert run(program, TOKEN, simulator.url) == "end\n"


def test_python_does_not_wait_for_a_token_callable_or_a_lookup() -> None:
    program = """
import socket, threading
from topone_threads import open_feed
started = threading.Semaphore(0)
def block(*args, **kwargs):
    if not kwargs.get("flags"):
        started.release()
        threading.Event().wait()
    raise OSError
socket.getaddrinfo = block
with (
    open_feed(token=block) as one,
    open_feed(token="t", url="wss://exchange.invalid/") as other,
):
    started.acquire(), started.acquire()
    one.close()
print("end")
"""
    assert run(program) == "end\n"


def test_closing_starts_no_thread(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        with open_feed(token=TOKEN, url=simulator.url) as feed:
            until(feed, Subscribed)
            patch.setattr(threading.Thread, "start", refuse)
        assert list(feed)[-1] == Closed()
    while simulator.connections:
        pass
    assert simulator.goodbyes == (1000,)


@pytest.mark.parametrize("waiting", ["feed.get()", "next(feed)", "feed.subscribe(ORDERS)"])
def test_ctrl_c_reaches_whoever_waits(simulator: Simulator, waiting: str) -> None:
    program = f"""{IN_CHILD}
import signal
config = SessionConfig(ack_timeout=1000, ping_interval=None)
with open_feed(token=TOKEN, url=url, topics=[], config=config) as feed:
    until(feed, Connected)
    def interrupt():
        while not feed._sleeping:
            pass
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        {waiting}
    except KeyboardInterrupt:
        print("interrupted", feed.metrics().is_connected)
    feed.subscribe(BALANCE, 10)
    print(until(feed, Subscribed).topic)
"""
    if "subscribe" in waiting:
        program = program.replace("feed.subscribe(BALANCE, 10)\n", "feed.unsubscribe(BALANCE)\n")
        program = program.replace("print(until(feed, Subscribed).topic)", "print('balance')")
        simulator.inject(LoseAck())
    assert run(program, TOKEN, simulator.url) == "interrupted True\nbalance\n"


def test_an_answer_comes_too_late_for_a_feed_that_is_closed(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url) as feed:
        until(feed, Connected)
    for call in (feed.subscribe, feed.unsubscribe):
        with pytest.raises(FeedClosed):
            call(ORDERS)


def test_a_call_that_comes_at_the_very_end_is_answered(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_left = threading.Event()
    leave = _io.IoThread.leave

    def leave_slowly(io: _io.IoThread, tenant: _io.Tenant) -> None:
        leave(io, tenant)
        has_left.set()
        # The one that closes, and the call that nobody will see to.
        while len(feed._sleeping) < 2:
            pass

    def call_late() -> None:
        assert has_left.wait(PATIENCE)
        with pytest.raises(FeedClosed):
            feed.subscribe(ORDERS)
        answers.append("closed")

    answers: list[str] = []
    monkeypatch.setattr(_io.IoThread, "leave", leave_slowly)
    with open_feed(token=TOKEN, url=simulator.url) as feed, beside(call_late):
        feed.close()
    assert answers == ["closed"]


def test_who_left_meanwhile_is_not_woken() -> None:
    class Emptied(dict[Any, Any]):
        def popitem(self) -> Any:
            self.clear()
            return super().popitem()

    feed: Any = open_feed(token=TOKEN)
    feed._sleeping = Emptied({bool: None})
    feed._wake()
    assert not feed._sleeping


def test_a_wait_that_is_over_as_it_is_woken_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed: Any = open_feed(token=TOKEN)

    class LateLock:
        """A lock that is released just when its owner has waited for long enough."""

        def __init__(self) -> None:
            self.is_held = False

        def acquire(self, timeout: float = -1) -> bool:
            if self.is_held:
                feed._wake()
                return False
            self.is_held = True
            return True

        def release(self) -> None:
            assert self.is_held
            self.is_held = False

    def is_there() -> bool:
        if looks:
            # Another one to wake it, while it looks once more.
            feed._wake()
        looks.append(None)
        return False

    looks: list[None] = []
    monkeypatch.setattr(threading, "Lock", LateLock)
    with pytest.raises(TimeoutError):
        feed._wait(is_there, time.monotonic() + 0.001)
    assert len(looks) > 1
