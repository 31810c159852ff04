"""The feed of an account that comes over a bus: its events, places and ends, in all three ways."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import trio

import waits
from relayed import (
    BEGINNING,
    DOORS,
    PATIENCE,
    WHOLE,
    Line,
    after,
    follow,
    kinds,
    message,
    update,
)
from topone_proto import (
    BalanceUpdate,
    BusAnomaly,
    Closed,
    ConfigurationError,
    Failure,
    FailureKind,
    FeedClosed,
    FeedFailed,
    Gap,
    LocalProtocolError,
    Resumed,
    Stalled,
    TakenOver,
)
from topone_proto.relay.feed_core import FeedPosition, Placed, RelayFeedCore
from topone_relay._bus import BusRefused

FIRST = message(1, *BEGINNING)
every_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    if "trio" in request.node.name:
        # trio's worker threads stay for a while.
        yield
    else:
        with waits.no_thread_is_left():
            yield


# What it gives.


@every_door
def test_the_events_are_those_of_the_accounts_own_feed(door: str) -> None:
    line = Line(FIRST, message(2, WHOLE, update(1)), message(3), message(4, update(2), update(3)))
    seen = follow(door, line.open(), until=after(6))
    assert seen.events == [*BEGINNING, WHOLE, update(1), update(2), update(3)]
    assert line.buses[0].is_closed


@every_door
def test_a_late_joiner_begins_with_the_latest_snapshot(door: str) -> None:
    line = Line(FIRST, message(2, WHOLE), *(message(n, update(n)) for n in range(3, 50)))
    line.broker.inject("main", message(50, WHOLE, update(50)))

    async def point() -> None:
        bus = line.broker.connect()
        lease = await bus.acquire("main", "a node", 60)
        assert lease is not None
        await bus.point(lease, 50, "49")

    asyncio.run(point())
    assert follow(door, line.open(), until=after(2)).events == [WHOLE, update(50)]


@every_door
def test_a_stored_position_goes_on_with_the_next_event(door: str) -> None:
    messages = [FIRST, message(2, WHOLE, update(1), update(2)), message(3, update(3)), message(4)]
    events = [*BEGINNING, WHOLE, update(1), update(2), update(3)]
    whole = follow(door, Line(*messages).open(), until=after(len(events)))
    assert whole.events == events
    for count, text in enumerate(whole.positions, 1):
        rest = [*events[count:], update(4)]
        line = Line(*messages, message(5, update(4)))
        assert follow(door, line.open(position=text), until=after(len(rest))).events == rest
        # Nothing is read that is known already.
        assert line.buses[0].starts != [None]


@every_door
def test_what_the_bus_has_dropped_is_a_gap(door: str) -> None:
    line = Line(FIRST, message(2, WHOLE))
    seen = follow(door, line.open(), until=after(3))
    late = Line(*(message(n, update(n)) for n in range(1, 9)), retention=2)
    found = follow(
        door, late.open(position=seen.position), until=lambda events: events[-1] == update(8)
    ).events
    assert {type(event) for event in found[:-2]} == {Gap}
    assert found[-2:] == [update(7), update(8)]


@every_door
def test_a_take_over_and_what_is_no_message_come_as_events(door: str) -> None:
    line = Line(FIRST, b"garbage", message(1, *BEGINNING, epoch=2))
    events = follow(door, line.open(), until=after(7)).events
    assert kinds(events) == [
        "Connected", "Subscribed", "BusAnomaly", "TakenOver", "Connected", "Subscribed", "Gap",
    ]  # fmt: skip
    assert isinstance(events[2], BusAnomaly)
    assert events[3] == TakenOver("main", 2)


def test_a_message_of_another_account_is_no_event() -> None:
    line = Line(message(1, *BEGINNING, account="other"), FIRST)
    events = follow("threads", line.open(), until=after(3)).events
    assert kinds(events) == ["BusAnomaly", "Connected", "Subscribed"]


# The place of a durable feed.


@every_door
def test_a_durable_feed_goes_on_where_the_last_one_was_left(door: str) -> None:
    line = Line(FIRST, message(2, *map(update, range(10))), message(3, update(10)))
    assert follow(door, line.open(durable="desk"), until=after(5)).events[-1] == update(2)
    assert follow(door, line.open(durable="desk"), until=after(3)).events[-1] == update(5)
    assert follow(door, line.open(durable="other"), until=after(3)).events[-1] == update(0)
    rest = follow(door, line.open(durable="desk"), until=after(5)).events
    assert rest == [*map(update, range(6, 11))]


@every_door
def test_the_event_during_which_a_durable_program_failed_comes_again(door: str) -> None:
    line = Line(FIRST, message(2, *map(update, range(10))))

    def fail(event: object) -> None:
        if event == update(5):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(door, line.open(durable="desk"), until=after(99), then=fail)
    assert follow(door, line.open(durable="desk"), until=after(1)).events == [update(5)]


@every_door
def test_a_position_goes_before_what_the_bus_remembers(door: str) -> None:
    line = Line(FIRST, message(2, *map(update, range(10))))
    seen = follow(door, line.open(durable="desk"), until=after(5))
    follow(door, line.open(durable="desk"), until=after(2))
    again = follow(door, line.open(durable="desk", position=seen.position), until=after(1))
    assert again.events == [update(3)]


def test_a_bookmark_that_no_feed_has_written_is_said() -> None:
    line = Line(FIRST)

    async def write() -> None:
        await line.broker.connect().keep_bookmark("main", "desk", b"\xff")

    asyncio.run(write())
    seen = follow("asyncio", line.open(durable="desk"), until=after(3))
    assert seen.events == [
        BusAnomaly("a place that no feed of this version has kept", "\\xff"),
        *BEGINNING,
    ]


def test_the_place_of_an_idle_account_goes_on() -> None:
    """Nothing is lost if the bus drops the beats of an idle account."""
    line = Line(FIRST, message(2, WHOLE))
    with line.open(durable="desk") as feed:
        assert kinds([feed.get(PATIENCE) for _ in range(5)])[-2:] == ["Snapshot", "Resumed"]
        for number in range(3, 12):
            line.say(message(number))
        line.say(message(12, update(1)))
        assert feed.get(PATIENCE) == update(1)
        for number in range(13, 22):
            line.say(message(number))
        with pytest.raises(TimeoutError):
            feed.get(0.05)
        assert str(feed.position).startswith("1-22-0")
    idle = Line(*(message(n) for n in range(1, 24)), retention=3)
    idle.broker.stream("main").bookmarks.update(line.broker.stream("main").bookmarks)
    idle.broker.inject("main", message(24, update(2)))
    assert follow("threads", idle.open(durable="desk"), until=after(1)).events == [update(2)]


# Nothing comes.


@every_door
def test_a_bus_that_is_away_is_said_once(door: str) -> None:
    line = Line(FIRST)
    events: list[object] = []

    def then(event: object) -> None:
        events.append(event)
        if len(events) == 2:
            line.be(away=True)
        if isinstance(event, Stalled):
            line.be(away=False)
            line.say(message(2, update(1)))

    seen = follow(door, line.open(), until=lambda events: Resumed() in events, then=then)
    assert seen.events[2:] == [
        Stalled("the bus cannot be read", "it is away"),
        update(1),
        Resumed(),
    ]


@every_door
def test_a_bus_that_cannot_be_reached_at_first_is_waited_for(door: str) -> None:
    line = Line(FIRST)
    line.broker.is_away = True

    def then(event: object) -> None:
        if isinstance(event, Stalled):
            line.broker.is_away = False

    seen = follow(door, line.open(), until=after(4), then=then)
    assert kinds(seen.events) == ["Stalled", "Connected", "Subscribed", "Resumed"]


@every_door
def test_an_account_that_nobody_follows_is_said(door: str) -> None:
    line = Line(FIRST)

    def then(event: object) -> None:
        if isinstance(event, Stalled):
            line.say(message(2))

    seen = follow(door, line.open(silence_timeout=0.05), until=after(4), then=then)
    assert seen.events[2:] == [
        Stalled("nobody publishes", "there was no message for 0.05 s"),
        Resumed(),
    ]


# How it ends.


@every_door
def test_the_last_event_is_closed(door: str) -> None:
    line = Line(FIRST)
    if door == "threads":
        with line.open() as feed:
            feed.get(PATIENCE)
            feed.close()
            assert list(feed) == [BEGINNING[1], Closed()]
            with pytest.raises(FeedClosed):
                feed.get()
        return

    async def run() -> None:
        async with line.open() as feed:
            async for _ in feed:
                break
            await feed.close()
            await feed.close()
            assert [event async for event in feed][-1] == Closed()

    asyncio.run(run()) if door == "asyncio" else trio.run(run)


@every_door
def test_a_bus_that_refuses_ends_the_feed(door: str) -> None:
    line = Line(FIRST)
    opening = line.open()

    async def pointer(account: str) -> None:
        raise BusRefused("pointer", "not permitted", "permit it")

    line.buses[0].pointer = pointer  # type: ignore[method-assign]
    with pytest.raises(FeedFailed, match="not permitted; permit it") as raised:
        follow(door, opening, until=after(99))
    assert raised.value.failure.kind is FailureKind.BUS


@every_door
def test_a_fault_of_the_bus_ends_the_feed_and_is_raised(door: str) -> None:
    line = Line(FIRST)
    opening = line.open()

    async def pointer(account: str) -> None:
        raise ZeroDivisionError

    line.buses[0].pointer = pointer  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        follow(door, opening, until=after(99))
    assert line.buses[0].is_closed


def test_cancelling_the_task_ends_the_feed() -> None:
    line = Line(FIRST)

    opening = line.open()

    async def main() -> None:
        async def run() -> None:
            async with opening as feed:
                async for _ in feed:
                    pass

        task = asyncio.create_task(run())
        await line.is_read()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert line.buses[0].is_closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_cancelling_a_scope_of_trio_ends_the_feed() -> None:
    line = Line(FIRST)

    async def main() -> None:
        with trio.move_on_after(0.05) as scope:
            async with line.open() as feed:
                async for _ in feed:
                    pass
        assert scope.cancelled_caught
        assert line.buses[0].is_closed

    trio.run(main)


def test_a_task_of_trio_that_waits_no_more_is_not_woken() -> None:
    line = Line(FIRST)
    wakers: list[Callable[[], object]] = []

    async def main() -> None:
        async with line.open() as opened:
            feed: Any = opened
            sleeping = feed._handle._sleeping
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(feed._handle._until, list)
                    while not wakers:
                        await trio.lowlevel.checkpoint()
                        wakers.extend(sleeping)
                    scope.cancel()
            assert wakers[0] not in sleeping

    trio.run(main)
    # Another thread may have taken it just before, and trio has ended by now.
    wakers[0]()


def test_ctrl_c_in_a_thread_loses_no_event() -> None:
    line = Line(FIRST)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with line.open() as feed:
        assert [feed.get(PATIENCE), feed.get(PATIENCE)] == [*BEGINNING]
        timer = threading.Timer(0.05, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            feed.get(PATIENCE)
        timer.join()
        line.say(message(2, update(1)))
        assert feed.get(PATIENCE) == update(1)


# How it is opened.


def test_a_feed_is_opened_once() -> None:
    line = Line(FIRST)
    opening = line.open()
    with opening, pytest.raises(LocalProtocolError), opening:
        pass


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("account", ""),
        ("durable", ""),
        ("position", "3-1-2"),
        ("position", "3@4"),
        ("position", 7),
        ("capacity", 0),
        ("capacity", True),
        ("silence_timeout", 0),
        ("close_timeout", "5"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(setting: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Line().open(**{setting: value})
    assert raised.value.setting == setting


@every_door
def test_a_slow_application_holds_the_bus_up_and_misses_nothing(door: str) -> None:
    line = Line(FIRST, *(message(n, update(n)) for n in range(2, 200)))
    most = 0
    opening = line.open(capacity=10)

    def then(_: object) -> None:
        nonlocal most
        most = max(most, opening._core.metrics(0).waiting)

    seen = follow(door, opening, until=after(200), then=then)
    assert seen.events[2:] == [update(n) for n in range(2, 200)]
    assert 1 <= most <= 11


@every_door
def test_nobody_is_woken_for_what_an_application_waits_for(door: str) -> None:
    line = Line(FIRST, message(2, WHOLE))
    yielded: list[int] = []

    def then(event: object) -> None:
        if event == WHOLE or isinstance(event, BalanceUpdate):
            yielded.append(len(line.buses[-1].yielded))
            line.say(message(len(yielded) + 2, update(len(yielded))))

    follow(door, line.open(), until=after(50), then=then)
    # The first one may come while there is still something to take.
    assert len(set(yielded[2:])) == 1


def test_a_feed_that_is_full_reads_no_more() -> None:
    line = Line(FIRST, *(message(n, update(n)) for n in range(2, 200)))
    with line.open(capacity=10) as feed:
        assert isinstance(feed.get(PATIENCE), Stalled)
        for _ in range(300):
            # As many turns of its loop as there are messages, and more.
            turn = threading.Event()
            line.do(turn.set)
            assert turn.wait(PATIENCE)
        assert feed.metrics().is_paused
        assert feed.metrics().waiting <= 11
        rest = [feed.get(PATIENCE) for _ in range(201)]
    assert rest == [*BEGINNING, *(update(n) for n in range(2, 200)), Resumed()]


@pytest.mark.parametrize("end", ["closed", "refused"])
def test_a_thread_that_looks_while_a_feed_ends_misses_nothing(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(FIRST)
    found: list[object] = []
    has_looked = threading.Event()
    queue = RelayFeedCore._queue

    class Looking:
        """A lock that somebody who has looked may wait for."""

        def __enter__(self) -> None:
            has_looked.set()

        def __exit__(self, *_: object) -> None: ...

    def look() -> None:
        try:
            found.append(feed.get(0))
        except (TimeoutError, FeedClosed, FeedFailed) as error:
            found.append(error)
        has_looked.set()

    def queue_slowly(self: RelayFeedCore, placed: Placed) -> None:
        if isinstance(placed.event, Closed):
            thread = threading.Thread(target=look)
            thread.start()
            assert has_looked.wait(PATIENCE)
            thread.join()
        queue(self, placed)

    with line.open() as feed:
        while feed.get(PATIENCE) != BEGINNING[-1]:
            pass
        with pytest.raises(TimeoutError):
            while True:
                feed.get(0)
        monkeypatch.setattr(RelayFeedCore, "_queue", queue_slowly)
        monkeypatch.setattr(feed._handle, "_looking", Looking())
        if end == "closed":
            feed.close()
        else:
            failure = Failure(FailureKind.BUS, "no")
            driver = feed._handle._driver
            assert driver is not None
            line.do(lambda: driver.core.refuse(failure))
            line.do(lambda: driver.take(()))
            assert has_looked.wait(PATIENCE)
        assert isinstance(feed.get(PATIENCE), Closed)
    assert [type(each) for each in found] == [TimeoutError]


def test_the_metrics_count_what_came() -> None:
    line = Line(FIRST, message(2, WHOLE, update(1)), b"garbage", message(4, update(2)))
    with line.open() as feed:
        while feed.get(PATIENCE) != Resumed():
            pass
        metrics = feed.metrics()
    assert (metrics.messages, metrics.updates, metrics.gaps, metrics.epoch) == (4, 2, 1, 1)
    assert (metrics.take_overs, metrics.stalls, metrics.is_stalled) == (0, 0, False)
    assert (metrics.anomalies, metrics.waiting) == ({"BusAnomaly": 1}, 0)
    assert metrics.last_received_age is not None
    assert not metrics.is_behind
    assert metrics.lag is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_no_feed() -> None:
    line = Line(FIRST)
    with line.open() as feed:
        feed.get(PATIENCE)
        child = os.fork()
        if not child:
            try:
                feed.get(PATIENCE)
            except FeedFailed as error:
                os._exit(0 if error.failure.kind is FailureKind.FORKED else 3)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert feed.get(PATIENCE) == BEGINNING[1]


def test_positions_are_texts() -> None:
    line = Line(FIRST, message(2, update(1), update(2)))
    seen = follow("threads", line.open(), until=after(4))
    assert all(str(FeedPosition.parse(text)) == text for text in seen.positions)
    positions = [FeedPosition.parse(text).position for text in seen.positions]
    assert all(a < b for a, b in pairwise(positions))
