"""The consumer's side of a relay: single messages, and an oracle that knows what was published."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    BusAnomaly,
    ConfigurationError,
    Connected,
    Event,
    Gap,
    OrderStatus,
    OrderUpdate,
    Snapshot,
    Subscribed,
    SubscriptionRejected,
    TakenOver,
    Unsubscribed,
)
from topone_proto.account import RelayEvent
from topone_proto.relay import Cursor, Envelope, Item, Position, encode_envelope
from topone_proto.relay._envelope import join_items
from topone_proto.relay._items import item_of, left_out, opened, snapshot_items
from topone_proto.wire.depth import FAMILY as DEPTH_FAMILY

BOOK = DEPTH_FAMILY.example
BOOKS = BOOK.topic


def money(amount: int, ts: int = 1000, asset: str = "ETH") -> BalanceUpdate:
    return BalanceUpdate(Balance(asset, Decimal(amount), Decimal(0)), ts)


def message(epoch: int, number: int, *what: Event | Item | Snapshot) -> bytes:
    items: list[bytes] = []
    for each in what:
        if isinstance(each, Snapshot):
            items += snapshot_items(each, 10**6)
        else:
            item = each if isinstance(each, Item) else item_of(each)
            envelope = encode_envelope(Envelope("", 1, 1, (item,)))
            items.append(envelope.partition(b'"items":[')[2][:-2])
    return join_items("main", epoch, number, items)


def events(found: Iterable[tuple[RelayEvent, Position]]) -> list[RelayEvent]:
    return [event for event, _ in found]


OPENED = Item("opened")
SUBSCRIBED = (Subscribed(ORDERS, 1, 1), Subscribed(BALANCE, 2, 1))


def following(*, epoch: int = 1) -> Cursor:
    """A cursor that has read the beginning of an epoch."""
    cursor = Cursor()
    found = events(cursor.received(message(epoch, 1, OPENED, Connected(1), *SUBSCRIBED)))
    assert found == [Connected(1), *SUBSCRIBED]
    return cursor


def test_events_come_as_they_were_published_each_with_its_position() -> None:
    cursor = following()
    found = cursor.received(message(1, 2, money(5), money(6), BOOK))
    assert found == (
        (money(5), Position(1, 2, 1)),
        (money(6), Position(1, 2, 2)),
        (BOOK, Position(1, 3, 0)),
    )
    assert cursor.position == Position(1, 3, 0)
    assert cursor.followed == {ORDERS, BALANCE, BOOKS}
    assert cursor.account == "main"
    assert cursor.delivered == 6


def test_a_repetition_and_an_old_holder_are_skipped() -> None:
    cursor = following(epoch=2)
    data = message(2, 2, money(5))
    assert events(cursor.received(data)) == [money(5)]
    assert cursor.received(data) == ()
    assert cursor.received(message(1, 7, money(1))) == ()
    assert (cursor.repeated, cursor.outdated) == (1, 1)


def test_a_sign_of_life_moves_the_position_and_tells_nothing() -> None:
    cursor = following()
    assert cursor.received(message(1, 2)) == ()
    assert cursor.position == Position(1, 3, 0)
    assert events(cursor.received(message(1, 3, money(5)))) == [money(5)]


def test_a_hole_is_a_gap_of_each_topic_that_is_followed() -> None:
    cursor = following()
    cursor.received(message(1, 2, money(5, 1000)))
    found = cursor.received(message(1, 4, money(6)))
    assert found == (
        (Gap(ORDERS, 1, None, 1), Position(1, 3, 0)),
        (Gap(BALANCE, 1000, None, 1), Position(1, 4, 0)),
        (money(6), Position(1, 5, 0)),
    )
    assert cursor.gaps == 2


def test_a_take_over_ends_in_a_gap_behind_each_acknowledgement() -> None:
    cursor = following()
    cursor.received(message(1, 2, money(5, 1000)))
    found = cursor.received(message(3, 1, OPENED, Connected(1), Subscribed(BALANCE, 2000, 1)))
    balance_gap = Gap(BALANCE, 1000, 2000, 1)
    assert found == (
        (TakenOver("main", 3), Position(3, 1, 0, gap_due=True)),
        (Connected(1), Position(3, 1, 2, gap_due=True)),
        (Subscribed(BALANCE, 2000, 1), Position(3, 2, 0, gap_due=True)),
        (balance_gap, Position(3, 2, 0, gap_due=True)),
    )
    # An update that overtakes its acknowledgement.
    update = OrderUpdate(order(1), 1500)
    found = cursor.received(message(3, 2, update, Subscribed(ORDERS, 2001, 1)))
    assert events(found) == [update, Subscribed(ORDERS, 2001, 1), Gap(ORDERS, 1, 2001, 1)]
    assert cursor.position == Position(3, 3, 0)
    assert cursor.take_overs == 1


def test_a_take_over_whose_beginning_is_lost_has_its_gaps_at_once_and_at_the_snapshot() -> None:
    cursor = following()
    snapshot = Snapshot((BALANCE,), latest_ts=3000)
    assert events(cursor.received(message(2, 4, money(5), snapshot, money(6)))) == [
        TakenOver("main", 2),
        Gap(ORDERS, 1, None, 1),
        Gap(BALANCE, 2, None, 1),
        money(5),
        Gap(BALANCE, 2, 3000, 1),
        # The new holder does not follow it.
        Gap(ORDERS, 1, None, 1),
        Unsubscribed(ORDERS, None, 1),
        snapshot,
        money(6),
    ]
    assert cursor.followed == {BALANCE}


def test_times_that_cannot_be_compared_are_left_out() -> None:
    cursor = following()
    cursor.received(message(1, 2, money(5, 5000)))
    found = events(cursor.received(message(2, 1, OPENED, Subscribed(BALANCE, 2000, 7))))
    assert found[-1] == Gap(BALANCE, None, 2000, 7)


@pytest.mark.parametrize(
    "end",
    [
        Unsubscribed(BALANCE, 9, 1),
        SubscriptionRejected(BALANCE, BALANCE.subscribe_method, 5, "no", 9, 1),
    ],
)
def test_a_topic_that_is_given_up_has_its_gap_before(end: Any) -> None:
    cursor = following()
    found = events(cursor.received(message(2, 1, OPENED, end)))
    assert found == [TakenOver("main", 2), Gap(BALANCE, 2, None, 1), end]
    assert cursor.followed == set()


def test_a_refusal_to_unsubscribe_changes_nothing() -> None:
    cursor = following()
    refusal = SubscriptionRejected(BALANCE, BALANCE.unsubscribe_method, 5, "no", 9, 1)
    assert events(cursor.received(message(1, 2, refusal))) == [refusal]
    assert BALANCE in cursor.followed


# --- snapshots ------------------------------------------------------------------------------------

LARGE = Snapshot(
    (ORDERS, BALANCE, BOOKS),
    tuple(Balance(f"C{n}", Decimal(n), Decimal(0)) for n in range(9)),
    tuple(order(n) for n in range(1, 9)),
    tuple(order(n, 10, OrderStatus.COMPLETED) for n in range(20, 25)),
    (order(30),),
    4000,
    (BOOK,),
)


def parts(size: int = 900) -> tuple[bytes, ...]:
    found = snapshot_items(LARGE, size)
    assert len(found) > 3
    assert all(len(part) <= size for part in found)
    return found


def test_a_snapshot_in_parts_comes_as_one() -> None:
    cursor = following()
    *most, last = [join_items("main", 1, number, [part]) for number, part in enumerate(parts(), 2)]
    for data in most:
        assert cursor.received(data) == ()
        # Whoever dies now reads all parts again.
        assert cursor.position == Position(1, 2, 0)
    after = Position(1, len(most) + 3, 0)
    assert cursor.received(last) == ((LARGE, after),)
    assert cursor.position == after


@pytest.mark.parametrize("cut", ["take-over", "hole", "another", "garbage inside"])
def test_a_snapshot_that_is_cut_is_none(cut: str) -> None:
    cursor = following()
    first, second, *_ = parts()
    assert cursor.received(join_items("main", 1, 2, [first, second])) == ()
    if cut == "take-over":
        found = cursor.received(join_items("main", 2, 1, [opened(), *parts()[2:]]))
        assert events(found) == [TakenOver("main", 2)]
    elif cut == "hole":
        found = cursor.received(join_items("main", 1, 4, parts()[2:]))
        assert {type(event) for event in events(found)} == {Gap}
    elif cut == "another":
        found = cursor.received(join_items("main", 1, 3, [*parts(901)]))
        assert events(found) == [LARGE]
    else:
        # It is no part of the stream, so nothing is cut.
        [(anomaly, position)] = cursor.received(b"garbage")
        assert isinstance(anomaly, BusAnomaly)
        assert position == Position(1, 2, 0)
        found = cursor.received(join_items("main", 1, 3, parts()[2:]))
        assert events(found) == [LARGE]


def test_a_snapshot_whose_beginning_was_trimmed_is_skipped() -> None:
    cursor = Cursor()
    assert cursor.received(join_items("main", 1, 5, parts()[1:])) == ()
    assert events(cursor.received(join_items("main", 1, 6, parts()))) == [LARGE]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"part": 1, "parts": 0, "topics": []},
        {"part": 2, "parts": 1, "topics": []},
        {"part": True, "parts": 1, "topics": []},
        {"part": 1, "parts": 1},
        {"part": 1, "parts": 1, "topics": [""]},
        {"part": 1, "parts": 1, "topics": [], "balances": [5]},
        {"part": 1, "parts": 1, "topics": [], "market": [{"event": "Connected", "epoch": 1}]},
    ],
)
def test_a_snapshot_that_cannot_be_read_is_an_anomaly(payload: dict[str, Any]) -> None:
    cursor = following()
    [event] = events(cursor.received(message(1, 2, Item("snapshot", payload))))
    assert isinstance(event, BusAnomaly)
    assert cursor.anomalies == 1


def test_the_parts_of_a_snapshot_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topone_proto.relay._cursor._MAX_ROWS", 10)
    cursor = following()
    found = events(cursor.received(join_items("main", 1, 2, parts())))
    assert [type(event) for event in found] == [BusAnomaly]
    assert not cursor._parts


# --- what means nothing ---------------------------------------------------------------------------


@given(st.binary())
def test_garbage_is_an_anomaly_and_the_stream_goes_on(data: bytes) -> None:
    cursor = following()
    [(event, position)] = cursor.received(data)
    assert isinstance(event, BusAnomaly)
    assert position == Position(1, 2, 0)
    assert events(cursor.received(message(1, 2, money(5)))) == [money(5)]


def test_garbage_before_the_first_message_moves_nothing() -> None:
    cursor = Cursor()
    [(event, position)] = cursor.received(b"")
    assert isinstance(event, BusAnomaly)
    assert position == Position(0, 0)
    assert cursor.position is None


def test_a_message_of_another_account_is_an_anomaly() -> None:
    cursor = Cursor(account="other")
    [(event, _)] = cursor.received(message(1, 1, OPENED))
    assert event == BusAnomaly("a message of another account", "main")


def test_an_unknown_kind_is_said_once_and_skipped() -> None:
    cursor = following()
    found = events(cursor.received(message(1, 2, Item("later"), money(5), Item("later"))))
    assert found == [BusAnomaly("a kind that this version does not know", "later"), money(5)]
    assert cursor.received(message(1, 3, Item("later"))) == ()
    many = [Item(f"later {n}") for n in range(1000)]
    assert len(cursor.received(message(1, 4, *many))) == 99
    assert cursor.position == Position(1, 5, 0)


def test_an_event_that_cannot_be_read_may_have_been_an_update() -> None:
    cursor = following()
    found = cursor.received(message(1, 2, Item("BalanceUpdate", {"balance": 5}), money(6)))
    assert [type(event) for event in events(found)] == [Gap, Gap, BusAnomaly, BalanceUpdate]
    assert [str(position) for _, position in found] == ["1-2-0", "1-2-0", "1-2-1", "1-3-0"]


def test_an_event_that_was_too_large_for_the_bus_is_named() -> None:
    cursor = following()
    found = cursor.received(join_items("main", 1, 2, [left_out(BOOK, 10**7, [BOOKS])]))
    [event] = events(found)
    assert isinstance(event, BusAnomaly)
    assert "DepthUpdate" in event.detail
    assert "10000000" in event.detail


# --- restarts -------------------------------------------------------------------------------------


def test_a_restart_goes_on_in_the_middle_of_a_message() -> None:
    data = message(1, 2, money(5), money(6), money(7))
    for index in range(3):
        cursor = Cursor(Position(1, 2, index))
        assert events(cursor.received(message(1, 1, OPENED))) == []
        assert events(cursor.received(data)) == [money(5), money(6), money(7)][index:]


def test_a_restart_in_front_of_a_hole_has_a_gap_of_whatever_is_followed() -> None:
    cursor = Cursor(Position(1, 2, 1))
    found = events(cursor.received(message(1, 3, BOOK, money(5), BOOK)))
    assert found[:2] == [Gap(ORDERS, None, None, 0), Gap(BALANCE, None, None, 0)]
    # Nobody says which topics were followed before, so each that comes up was.
    assert found[2:] == [
        Gap(BOOKS, None, BOOK.ts, 0),
        BOOK,
        Gap(BALANCE, None, 1000, 0),
        money(5),
        BOOK,
    ]


def test_a_restart_after_a_take_over_still_has_its_gaps() -> None:
    cursor = following()
    [*_, (_, position)] = cursor.received(message(2, 1, OPENED, Connected(1)))
    assert position.gap_due
    again = Cursor(Position.parse(str(position)))
    found = events(again.received(message(2, 2, *SUBSCRIBED)))
    assert found == [
        SUBSCRIBED[0],
        Gap(ORDERS, None, 1, 1),
        SUBSCRIBED[1],
        Gap(BALANCE, None, 2, 1),
    ]


def test_a_restart_between_an_acknowledgement_and_its_gap_still_has_the_gap() -> None:
    cursor = Cursor()
    cursor.received(message(1, 1, OPENED, SUBSCRIBED[1]))
    [_, (event, position), gap] = cursor.received(message(2, 1, OPENED, SUBSCRIBED[1]))
    assert event == SUBSCRIBED[1]
    assert gap == (Gap(BALANCE, 2, 2, 1), Position(2, 2))
    again = Cursor(position)
    found = events(again.received(message(2, 2, money(5))))
    assert found == [Gap(BALANCE, None, 1000, 0), money(5)]


def test_a_snapshot_names_what_a_restart_does_not_know() -> None:
    cursor = Cursor(Position(1, 2))
    snapshot = Snapshot((ORDERS, BALANCE), latest_ts=3000)
    found = events(cursor.received(message(2, 1, OPENED, snapshot)))
    assert found == [
        TakenOver("main", 2),
        Gap(ORDERS, None, 3000, 0),
        Gap(BALANCE, None, 3000, 0),
        snapshot,
    ]
    assert cursor.position == Position(2, 2)
    # From here on it knows all.
    assert events(cursor.received(message(2, 4, BOOK))) == [
        Gap(ORDERS, 3000, None, 0),
        Gap(BALANCE, 3000, None, 0),
        BOOK,
    ]


def test_a_position_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Position\.parse"):
        Cursor("1-2-3")  # type: ignore[arg-type]  # as a caller without a type checker
