"""A consumer that is behind: it is told, and believes nothing until it has caught up."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayed import BEGINNING, DOORS, WHOLE, Line, after, follow, message, update
from topone_proto import BALANCE, BusAnomaly, Resumed, Stalled
from topone_proto.account import Account, Knowledge, RelayEvent
from topone_proto.relay import Position
from topone_proto.relay._freshness import BACKLOG, SILENCE
from topone_proto.relay.feed_core import FeedPosition, RelayFeedConfig, RelayFeedCore
from virtual_time import run_virtually

FIRST = message(1, *BEGINNING)
BEHIND = Stalled(BACKLOG, "they were published before it read on")


def core(timeout: float | None = 35.0, **options: int) -> RelayFeedCore:
    made = RelayFeedCore("main", RelayFeedConfig(silence_timeout=timeout, **options))
    made.opened(None, 0.0)
    return made


def taken(feed: RelayFeedCore) -> list[RelayEvent]:
    found: list[RelayEvent] = []
    while (placed := feed.get()) is not None:
        if placed.event is not None:
            found.append(placed.event)
    return found


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_whole_before_the_backlog_is_read(door: str) -> None:
    line = Line(FIRST, message(2, WHOLE), message(3, update(1)), message(4, update(2)))
    account = Account()
    known: list[Knowledge] = []

    def then(event: RelayEvent) -> None:
        account.apply(event)
        known.append(account.knowledge(BALANCE))

    seen = follow(door, line.open(), until=after(7), then=then, with_backlog=True)
    assert seen.events == [BEHIND, *BEGINNING, WHOLE, update(1), update(2), Resumed()]
    assert Knowledge.WHOLE not in known[:-1]
    assert known[-1] is Knowledge.WHOLE


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_whole_before_what_follows_a_position_is_read(door: str) -> None:
    line = Line(FIRST, message(2, WHOLE), message(3, update(1)), message(4, update(2)))
    place = FeedPosition(Position(1, 3), "1")
    opening = line.open(position=place)
    seen = follow(door, opening, until=after(4), with_backlog=True)
    assert seen.events == [BEHIND, update(1), update(2), Resumed()]
    again = line.open(position=seen.position)
    line.broker.inject("main", message(5, update(3)))
    # One that is current has nothing before it.
    assert follow(door, again, until=after(1), with_backlog=True).events == [update(3)]


def test_what_comes_after_an_interruption_is_a_backlog() -> None:
    feed = core()
    feed.received(message(1, *BEGINNING, WHOLE), "1", 1.0)
    feed.interrupted("it is away")
    feed.restored(9.0)
    feed.received(message(2, update(1)), "2", 9.0, age=5.0, is_last=False)
    feed.received(message(3, update(2)), "3", 9.0, age=4.0)
    assert taken(feed)[3:] == [
        Stalled("the bus cannot be read", "it is away"), update(1), update(2), Resumed(),
    ]  # fmt: skip


def test_a_program_that_stores_each_place_begins_before_the_backlog() -> None:
    feed = core()
    feed.received(message(7, update(1)), "70", 1.0, is_last=False)
    placed = feed.get()
    assert placed is not None
    assert placed.event == BEHIND
    assert str(placed.behind) == "1-7-0@70"


def test_an_old_message_says_nothing_about_the_present() -> None:
    """A holder that died hours ago leaves a snapshot that nobody replaces."""
    feed = core()
    feed.received(message(2, WHOLE), "2", 1.0, age=7200.0)
    assert taken(feed) == [Stalled(SILENCE, "the latest message is 7200 s old"), WHOLE]
    assert feed.deadline is None
    assert feed.metrics(1.0).lag == 7200.0
    assert feed.metrics(1.0).is_behind
    feed.received(message(3), "3", 2.0)
    assert taken(feed) == [Resumed()]
    assert not feed.metrics(2.0).is_behind


def test_a_message_of_unknown_age_is_not_believed() -> None:
    feed = core()
    feed.received(message(2, WHOLE), "2", 1.0, age=None)
    [stalled, _] = taken(feed)
    assert stalled == Stalled(SILENCE, "the bus does not say how old the latest message is")


def test_the_silence_before_a_feed_began_counts() -> None:
    feed = core()
    feed.received(message(2, WHOLE), "2", 100.0, age=30.0)
    assert taken(feed) == [WHOLE]
    assert feed.deadline == 105.0
    feed.deadline_reached(105.0)
    assert taken(feed) == [Stalled(SILENCE, "there was no message for 35 s")]


def test_no_age_is_too_old_where_silence_means_nothing() -> None:
    feed = core(timeout=None)
    feed.received(message(2, WHOLE), "2", 1.0, age=7200.0)
    assert taken(feed) == [WHOLE]


@pytest.mark.parametrize(
    "other",
    [b"garbage", message(9, update(9), account="other"), message(9, update(9), epoch=1)],
    ids=["garbage", "another account", "an older lease"],
)
def test_only_what_the_holder_says_is_a_sign_of_life(other: bytes) -> None:
    feed = core()
    feed.received(message(1, *BEGINNING, WHOLE, epoch=2), "1", 0.0)
    feed.received(other, "2", 30.0)
    assert feed.deadline == 35.0
    feed.deadline_reached(35.0)
    feed.received(other, "3", 36.0)
    events = [event for event in taken(feed)[3:] if not isinstance(event, BusAnomaly)]
    [stalled] = events
    assert isinstance(stalled, Stalled)
    assert "none of its holder's" in stalled.detail


def test_a_long_pause_is_a_lag() -> None:
    for pause, is_said in ((0.5, False), (60.0, True)):
        feed = core(capacity=2)
        feed.received(message(1, *BEGINNING), "1", 1.0)
        assert feed.is_paused
        assert feed.deadline is None
        taken(feed)
        feed.resumed(1.0 + pause)
        feed.received(message(2, update(1)), "2", 1.0 + pause, is_last=False)
        assert (BEHIND in taken(feed)) is is_said


@pytest.mark.parametrize(("pause", "is_said"), [(0.5, False), (60.0, True)])
def test_what_waited_behind_a_full_feed_is_as_old_as_the_pause(pause: float, is_said: bool) -> None:
    line = Line(FIRST, message(2, WHOLE))

    async def main() -> None:
        async with line.open(capacity=1) as feed:
            while await anext(feed) != Resumed():
                pass
            for number in (3, 4):
                # The first one is taken at once, and the second one finds no room.
                line.broker.inject("main", message(number, update(number)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert feed.metrics().waiting == 1
            await asyncio.sleep(pause)
            behind = [BEHIND] if is_said else []
            expected = [update(3), *behind, update(4)]
            assert [await anext(feed) for _ in expected] == expected
            assert feed.metrics().lag == pytest.approx(pause)

    run_virtually(main)


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["message", "garbage", "interrupted", "silence"]),
        st.sampled_from([0.0, 10.0, 100.0, None]),
        st.booleans(),
    ),
    max_size=30,
)


@given(MESSAGES)
def test_what_is_whole_is_current(told: list[tuple[str, float | None, bool]]) -> None:
    """An account is whole only if the last thing from the holder was current when the feed began to
    say so, and every ``Stalled`` has one ``Resumed``."""
    feed, account = core(), Account()
    now, number, is_current = 0.0, 0, False
    is_stalled = False
    for what, age, is_last in told:
        now += 1.0
        match what:
            case "message":
                number += 1
                head = BEGINNING if number == 1 else ()
                data = message(number, *head, WHOLE, update(number))
                feed.received(data, str(number), now, age=age, is_last=is_last)
                is_current = is_current or (is_last and age is not None and age < 35)
            case "garbage":
                feed.received(b"garbage", "0", now, age=age, is_last=is_last)
            case "interrupted":
                feed.interrupted("away")
                feed.restored(now)
                is_current = False
            case _:
                now += 50
                feed.deadline_reached(now)
                is_current = False
        for event in taken(feed):
            account.apply(event)
            if isinstance(event, Stalled | Resumed):
                assert is_stalled is isinstance(event, Resumed)
                is_stalled = not is_stalled
            is_whole = account.knowledge(BALANCE) is Knowledge.WHOLE
            assert not (is_whole and not is_current), event
        assert (account.knowledge(BALANCE) is Knowledge.WHOLE) is (is_current and number > 0)
