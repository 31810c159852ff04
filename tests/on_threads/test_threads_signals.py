"""Signals and Ctrl-C, at any moment of a feed in threads."""

import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import topone_threads._io
from thread_feeds import QUICK, Exchange, Memory, beside, in_turn, soon, threads_of_feeds
from topone_proto import (
    BALANCE,
    Balance,
    BalanceUpdate,
    Closed,
    Conflated,
    Connected,
    Event,
    FeedClosed,
    Subscribed,
)
from topone_simulator import Simulator
from topone_threads import Feed, open_feed
from topone_threads._lock import Lock
from waits import PATIENCE, TOKEN, until


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


def said_after(number: signal.Signals, program: str) -> str:
    """Send a program a signal once it has said three events. Return what it says from then on, and
    check that it ends in order."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (err, process.returncode) == ("", 0)
    return out


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


def test_a_ctrl_c_while_a_feed_is_opened_leaves_nothing_of_it_in_the_thread() -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    def run() -> None:
        with Exchange().open_feed() as other:
            for nth in count(1):
                feed = Exchange().open_feed()
                with suppress(KeyboardInterrupt), interrupted(nth, ctrl_c) as where:
                    feed.__enter__()
                feed.close()
                assert topone_threads._io.shared.tenants == {other}, where
                if not where:
                    assert nth > 5
                    break

    soon(run)


def test_a_feed_that_was_closed_before_it_began_answers_whoever_asks() -> None:
    with Exchange().open_feed() as other:
        feed = Exchange().open_feed()
        # What a signal handler does that interrupts the opening.
        feed.close()
        feed._start()
        with pytest.raises(FeedClosed):
            feed.subscribe(BALANCE, PATIENCE)
        # The question comes to the I/O thread, and is of no consequence there.
        while topone_threads._io.shared.tenants != {other}:
            in_turn(other, bool)
        assert list(feed) == [Closed()]


def test_a_lock_is_held_by_nobody_whatever_a_ctrl_c_has_interrupted() -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    places: list[str] = []
    for nth in count(1):
        lock = Lock()
        with suppress(KeyboardInterrupt), interrupted(nth, ctrl_c) as where, lock:
            pass
        assert not lock.is_held_here, where
        if not where:
            break
        places += where
    # Once it is taken, in Python 3.14 the last moment before the block.
    assert any(" c_return " in place and "acquire" in place for place in places)


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


def test_an_event_that_is_handed_back_wakes_who_waits() -> None:
    feed: Any = open_feed(token=TOKEN)

    class Interrupted:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            raise KeyboardInterrupt

    with beside(lambda: feed._wait(feed._has_news, math.inf)):
        while not feed._sleeping:
            pass
        feed._core._buffer.put((Closed(),))
        feed._looking = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            feed._take()
    assert feed._handed_back == [Closed()]


def test_a_signal_handler_that_interrupts_who_holds_a_lock_only_leaves_word(
    simulator: Simulator,
) -> None:
    def close() -> None:
        with topone_threads._io.shared.lock:
            # It would wait for what needs the lock.
            feed.close()

    with open_feed(token=TOKEN, url=simulator.url, config=QUICK()) as feed:
        until(feed, Connected)
        soon(close)
        until(feed, Closed)


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
    assert said_after(signal.SIGINT, program) == "interrupted ['MainThread']\n"


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
    assert said_after(signal.SIGTERM, program) == "Closed\n['MainThread']\n"
