"""Snapshots of an account that another machine follows, against what a reader was told before: what
is told is told once and adds up, and a contradiction is never believed at once."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Gap,
    Order,
    OrderStatus,
    OrderUpdate,
    Snapshot,
    Subscribed,
    TakenOver,
)
from topone_proto.account import (
    Account,
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    Change,
    FillCorrected,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
)

WHOLE, STALE = Knowledge.WHOLE, Knowledge.STALE
DONE, PARTLY = OrderStatus.COMPLETED, OrderStatus.PARTIAL_CANCELED
BOTH = (ORDERS, BALANCE)
MISSED = Gap(ORDERS, 1000, 2000, 1)


def balance(asset: str = "ETH", available: int = 5) -> Balance:
    return Balance(asset, Decimal(available), Decimal(0))


def picture(
    *orders: Order, lost: tuple[Order, ...] = (), balances: tuple[Balance, ...] = ()
) -> Snapshot:
    return Snapshot(
        BOTH,
        balances,
        tuple(each for each in orders if each.is_open),
        tuple(each for each in orders if not each.is_open),
        lost,
        latest_ts=1001,
    )


def update(number: int, filled: int = 0, status: OrderStatus = OrderStatus.PENDING) -> OrderUpdate:
    return OrderUpdate(order(number, filled, status), 1002)


class Reader:
    """A program that keeps what it is told, and the account behind it."""

    def __init__(self, *events: Any, max_closed: int = 1000) -> None:
        self.account = Account(max_closed=max_closed)
        self.filled: defaultdict[int, Decimal] = defaultdict(Decimal)
        self.orders: dict[int, Order] = {}
        self.unknown: set[int] = set()
        for event in events:
            self.take(event)

    def take(self, event: Any) -> tuple[Change, ...]:
        changes = self.account.apply(event)
        for change in changes:
            match change:
                case OrderChanged(before=before, after=after):
                    assert before == self.orders.get(after.id)
                    self.orders[after.id] = after
                    self.unknown.discard(after.id)
                case AggregatedFill(order=after) | FillCorrected(order=after):
                    self.filled[after.id] += change.deal_stock
                case OutcomeUnknown(order=after):
                    assert after.id not in self.unknown, "told once"
                    self.unknown.add(after.id)
                case _:
                    pass
        for number, told in self.orders.items():
            assert self.filled[number] == told.deal_stock, "what is told adds up"
        return changes


# --- what the first snapshot shows as past is told as soon as it has news -------------------------

ENDS = {
    "an update that ends it": [update(1, 4, PARTLY)],
    "an update that ends it where it was": [update(1, 3, PARTLY)],
    "an update that shows it open": [update(1, 3), update(1, 4)],
    "a snapshot that knows the end": [picture(order(1, 4, PARTLY))],
    "a snapshot that shows it open": [picture(order(1, 3))],
    "a snapshot that knows more": [picture(lost=(order(1, 4),)), picture(order(1, 4, PARTLY))],
    "a snapshot after a gap": [MISSED, picture(order(1, 10, DONE))],
}


@pytest.mark.parametrize("max_closed", [1, 1000])
@pytest.mark.parametrize("events", ENDS.values(), ids=list(ENDS))
def test_all_that_was_filled_is_told_once_an_outcome_is_known(
    events: list[Any], max_closed: int
) -> None:
    # With room for one, the first of the two is forgotten.
    reader = Reader(picture(lost=(order(1, 3), order(2))), max_closed=max_closed)
    assert not reader.orders
    told = [change for event in events for change in reader.take(event)]
    last = reader.account.order(1).value
    assert last is not None
    assert reader.orders[1] == last
    assert reader.filled[1] == last.deal_stock >= 3
    first = next(change for change in told if isinstance(change, AggregatedFill))
    assert first.since is None, "from the beginning of the order on"
    assert sum(isinstance(change, OutcomeUnknown) for change in told) == (
        events == ENDS["a snapshot that knows more"]
    )
    # And none of it again.
    if isinstance(events[-1], Snapshot):
        assert reader.take(events[-1]) == ()


def test_an_outcome_that_stays_unknown_is_no_news() -> None:
    first = picture(lost=(order(1, 3),))
    reader = Reader(first)
    assert reader.take(first) == ()
    assert not reader.orders
    assert not reader.unknown
    assert reader.account.unknown_outcomes().value == {1: order(1, 3)}


def test_an_outcome_that_is_still_unknown_after_more_was_filled_is_told_again() -> None:
    reader = Reader(picture(order(1)), picture(lost=(order(1, 3),)))
    assert reader.unknown == {1}
    changes = reader.take(picture(lost=(order(1, 4),)))
    # Without the last, it would look open.
    assert [type(change) for change in changes] == [
        *(OrderChanged, AggregatedFill, OutcomeUnknown, Resynced)
    ]


def test_an_end_that_the_first_snapshot_had_is_told_in_full_if_it_is_corrected() -> None:
    right = picture(order(1, 7, PARTLY))
    reader = Reader(picture(order(1, 5, PARTLY)), right)
    assert not reader.orders, "a contradiction"
    reader.take(right)
    assert reader.orders == {1: order(1, 7, PARTLY)}
    assert reader.filled == {1: 7}


def test_only_the_first_snapshot_shows_what_was_before_even_if_it_contradicts() -> None:
    reader = Reader(update(1, 10, DONE), picture(order(1, 3), order(2, 5, DONE)))
    assert reader.account.knowledge(ORDERS) is Knowledge.UNKNOWN
    reader.take(MISSED)
    reader.take(picture(order(1, 3), order(2, 5, DONE), order(3, 10, DONE)))
    assert reader.account.knowledge(ORDERS) is WHOLE
    assert reader.filled == {1: 3, 3: 10}


# --- a snapshot that contradicts ------------------------------------------------------------------


BACKWARDS = {
    "an order that had ended is open": ([update(1, 10, DONE)], picture(order(1, 3))),
    "less is filled": ([update(1, 5)], picture(order(1, 3))),
    "it ended in another way": ([update(1, 5, PARTLY)], picture(order(1, 10, DONE))),
    "less was filled when it was lost": ([update(1, 5)], picture(lost=(order(1, 3),))),
    "it is another order": (
        [update(1, 3)],
        picture(attrs.evolve(order(1, 3), market="BTC/USDT")),
    ),
}


@pytest.mark.parametrize("losses", [(), (MISSED,), (TakenOver("main", 2),)], ids=range(3))
@pytest.mark.parametrize(("events", "odd"), BACKWARDS.values(), ids=list(BACKWARDS))
def test_a_snapshot_that_contradicts_is_not_believed_and_ends_all_trust(
    events: list[Any], odd: Snapshot, losses: tuple[Any, ...]
) -> None:
    reader = Reader(picture(order(1)), *events, *losses)
    account, held = reader.account, reader.account.order(1).value
    assert held is not None
    changes = reader.take(odd)
    [moved] = [change for change in changes if isinstance(change, MovedBackwards)]
    shown = (*odd.open_orders, *odd.other_orders, *odd.unknown_outcomes)
    assert (moved.kept, moved.refused, moved.ts) == (held, *shown, None)
    assert not [each for each in changes if isinstance(each, OrderChanged)]
    assert ORDERS not in [each.topic for each in changes if isinstance(each, Resynced)]
    assert account.knowledge(ORDERS) is STALE
    assert account.knowledge(BALANCE) is WHOLE
    assert account.unresolved == (1,)
    assert not account.is_current(1)
    assert account.order(1).value == held
    assert account.snapshot() is None
    # Neither does a loss on the way settle it.
    reader.take(MISSED)
    assert account.unresolved == (1,)
    # The holder says it again: it is right.
    changes = reader.take(odd)
    assert account.knowledge(ORDERS) is WHOLE
    assert account.order(1).value == shown[0]
    assert isinstance(changes[-1], Resynced)
    assert reader.orders[1] == shown[0]
    assert reader.take(odd) == ()


def test_the_stream_settles_what_a_snapshot_has_contradicted() -> None:
    reader = Reader(picture(order(1)), update(1, 5), picture(order(1, 3)))
    assert reader.account.knowledge(ORDERS) is STALE
    changes = reader.take(update(1, 6))
    assert KnowledgeChanged(ORDERS, STALE, WHOLE) in changes
    assert reader.account.is_current(1)


def test_a_snapshot_that_fits_settles_what_the_one_before_has_contradicted() -> None:
    reader = Reader(picture(order(1)), update(1, 10, DONE), picture(order(1, 3)))
    assert reader.account.knowledge(ORDERS) is STALE
    changes = reader.take(picture(order(1, 10, DONE)))
    assert changes == (
        KnowledgeChanged(ORDERS, STALE, WHOLE),
        Resynced(ORDERS, (), 1001, None),
    )


def test_what_a_snapshot_has_besides_a_contradiction_is_told_and_found_later() -> None:
    reader = Reader(picture(order(1), order(2)), update(1, 5))
    changes = reader.take(picture(order(1, 3), order(2, 4), order(3)))
    news = [change for change in changes if isinstance(change, OrderChanged | AggregatedFill)]
    assert [change.after for change in news if isinstance(change, OrderChanged)] == [
        *(order(2, 4), order(3))
    ]
    assert KnowledgeChanged(ORDERS, WHOLE, STALE) in changes
    [*_, resynced] = reader.take(update(1, 6))
    # The topic was whole: the stream has left them out.
    assert resynced == Resynced(ORDERS, tuple(news), 1001, None, is_audit=True)
    assert reader.account.audit_differences == 3


def test_an_end_that_is_forgotten_is_not_undone_either() -> None:
    reader = Reader(picture(order(1), order(2)), max_closed=1)
    for number in (1, 2):
        reader.take(update(number, 10, DONE))
    assert reader.account.order(1).value is None
    assert reader.take(picture(order(1, 3), order(2, 10, DONE))) == (
        KnowledgeChanged(ORDERS, WHOLE, STALE),
    )
    assert reader.account.unresolved == (1,)
    changes = reader.take(picture(order(1, 10, DONE), order(2, 10, DONE)))
    assert changes == (KnowledgeChanged(ORDERS, STALE, WHOLE), Resynced(ORDERS, (), 1001, None))


def test_an_older_snapshot_does_not_end_an_order_that_was_made_since() -> None:
    older = picture(order(1))
    reader = Reader(older, update(2), update(3))
    assert reader.take(older) == (KnowledgeChanged(ORDERS, WHOLE, STALE),)
    assert [*reader.account.unresolved] == [2, 3]
    assert set(reader.account.open_orders().value) == {1, 2, 3}
    # The stream goes on with one, and a snapshot has the other.
    reader.take(update(2, 1))
    assert [*reader.account.unresolved] == [3]
    changes = reader.take(picture(order(1), order(2, 1), order(3)))
    assert KnowledgeChanged(ORDERS, STALE, WHOLE) in changes
    assert not reader.unknown


def test_an_order_that_two_snapshots_lack_has_ended() -> None:
    older = picture(order(1))
    reader = Reader(older, update(2), older)
    assert OutcomeUnknown(order(2)) in reader.take(older)
    assert reader.account.knowledge(ORDERS) is WHOLE
    # After a gap it may have ended unseen, and one is enough.
    reader = Reader(older, update(2), MISSED)
    assert OutcomeUnknown(order(2)) in reader.take(older)


def test_a_gap_before_the_first_snapshot_is_one() -> None:
    reader = Reader(update(2), MISSED)
    assert OutcomeUnknown(order(2)) in reader.take(picture(order(1)))
    assert reader.account.knowledge(ORDERS) is WHOLE


# --- balances -------------------------------------------------------------------------------------

OLD, NEW = balance(available=5), balance(available=7)


@pytest.mark.parametrize("odd", [picture(balances=(OLD,)), picture()], ids=["another", "none"])
def test_a_balance_of_the_stream_stands_against_a_snapshot(odd: Snapshot) -> None:
    account = Account()
    account.apply(picture(balances=(OLD,)))
    account.apply(BalanceUpdate(NEW, 1002))
    changes = account.apply(odd)
    moved = [change for change in changes if isinstance(change, MovedBackwards)]
    assert [(each.kept, each.refused) for each in moved] == [(NEW, each) for each in odd.balances]
    assert not [each for each in changes if isinstance(each, BalanceChanged | BalanceUnlisted)]
    assert account.knowledge(BALANCE) is STALE
    assert account.knowledge(ORDERS) is WHOLE
    assert account.unresolved == ("ETH",)
    assert not account.is_current("ETH")
    assert account.balance("ETH").value == NEW
    changes = account.apply(odd)
    assert account.knowledge(BALANCE) is WHOLE
    assert account.balances().value == {each.asset: each for each in odd.balances}
    # The stream has left out an update without a sign.
    [resynced] = [change for change in changes if isinstance(change, Resynced)]
    assert resynced.is_audit
    assert account.apply(odd) == ()


def test_an_update_settles_a_balance_that_a_snapshot_has_contradicted() -> None:
    account = Account()
    account.apply(picture(balances=(OLD,)))
    account.apply(BalanceUpdate(NEW, 1002))
    account.apply(picture(balances=(OLD,)))
    changes = account.apply(BalanceUpdate(balance(available=8), 1003))
    assert KnowledgeChanged(BALANCE, STALE, WHOLE) in changes
    assert account.is_current("ETH")


@pytest.mark.parametrize(
    "loss",
    [Gap(BALANCE, 1, 2, 1), TakenOver("main", 2), Subscribed(BALANCE, 1003, 1)],
    ids=lambda each: type(each).__name__,
)
def test_after_a_loss_a_balance_is_what_a_snapshot_says(loss: Any) -> None:
    account = Account()
    account.apply(picture(balances=(OLD,)))
    account.apply(BalanceUpdate(NEW, 1002))
    account.apply(loss)
    changes = account.apply(picture(balances=(OLD,)))
    assert BalanceChanged(NEW, OLD, None, healed=True) in changes
    assert account.knowledge(BALANCE) is WHOLE


# --- whatever comes -------------------------------------------------------------------------------

STATUSES = [OrderStatus.PENDING, OrderStatus.PENDING, PARTLY, DONE, OrderStatus(9)]
STATES = st.builds(order, st.integers(1, 3), st.integers(0, 4), st.sampled_from(STATUSES))
BALANCES = st.builds(balance, st.sampled_from(["ETH", "BTC"]), st.integers(0, 3))


@st.composite
def pictures(draw: st.DrawFn) -> Snapshot:
    unique = st.lists(STATES, max_size=4, unique_by=lambda state: state.id)
    states = draw(unique)
    is_lost = [state.is_open and draw(st.booleans()) for state in states]
    return picture(
        *(state for state, lost in zip(states, is_lost, strict=True) if not lost),
        lost=tuple(state for state, lost in zip(states, is_lost, strict=True) if lost),
        balances=tuple(draw(st.lists(BALANCES, max_size=2, unique_by=lambda each: each.asset))),
    )


EVENTS = st.lists(
    st.one_of(
        pictures(),
        STATES.map(lambda state: OrderUpdate(state, 1002)),
        BALANCES.map(lambda each: BalanceUpdate(each, 1002)),
        st.sampled_from(
            [MISSED, Gap(BALANCE, 1, 2, 1), TakenOver("main", 2), Subscribed(ORDERS, 1000, 1)]
        ),
    ),
    max_size=8,
)


@given(EVENTS)
def test_whatever_comes_is_told_so_that_it_adds_up_and_a_snapshot_is_true_or_doubted(
    events: list[Any],
) -> None:
    reader = Reader()
    account = reader.account
    for event in events:
        before, was_known = dict(account.open_orders().value), account.balances().value
        doubted = account.unresolved
        changes = reader.take(event)
        if not isinstance(event, Snapshot):
            continue
        for change in changes:
            if isinstance(change, MovedBackwards):
                kept = change.kept
                assert (kept.id if isinstance(kept, Order) else kept.asset) in account.unresolved
            if isinstance(change, OrderChanged) and change.before and change.before.is_closed:
                assert change.after.id in doubted, "an end is undone by the second word only"
        if account.knowledge(ORDERS) is WHOLE:
            assert account.open_orders().value == {each.id: each for each in event.open_orders}
        else:
            assert account.unresolved
            assert before.keys() <= {*account.open_orders().value, *ended(account), *reader.unknown}
        if account.knowledge(BALANCE) is WHOLE:
            assert account.balances().value == {each.asset: each for each in event.balances}
        else:
            assert was_known
        # What is said twice is believed.
        again = Reader(*events[: events.index(event) + 1], event)
        assert again.account.knowledge(ORDERS) is again.account.knowledge(BALANCE) is WHOLE


def ended(account: Account) -> set[int]:
    return {*account.other_orders().value, *account.unknown_outcomes().value}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["make", "fill", "end", "lose", "find", "snapshot"]),
            st.integers(1, 4),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_every_fill_of_what_a_holder_has_rightly_is_told_once(
    deeds: list[tuple[str, int, bool]],
) -> None:
    """Of an account whose holder is right, to a reader that misses some of its updates."""
    reader, true = Reader(), dict[int, Order]()
    lost: dict[int, Order] = {}
    past: set[int] | None = None

    def show() -> None:
        nonlocal past
        known = [each for each in true.values() if each.id not in lost]
        if past is None:
            past = {each.id for each in known if not each.is_open} - reader.orders.keys()
        reader.take(picture(*known, lost=tuple(lost.values())))
        assert reader.account.knowledge(ORDERS) is WHOLE
        assert reader.account.open_orders().value == {it.id: it for it in known if it.is_open}

    for deed, number, is_missed in deeds:
        before = true.get(number)
        filled = 0 if before is None else int(before.deal_stock)
        is_open = before is not None and before.is_open
        if deed == "snapshot":
            show()
        elif deed == "find":
            lost.pop(number, None)
        elif deed == "make" and before is None:
            true[number] = order(number)
        elif deed == "fill" and is_open and filled < 9:
            true[number] = order(number, filled + 1)
        elif deed == "end" and is_open:
            true[number] = order(number, filled, PARTLY)
        elif deed == "lose" and before is not None and is_open:
            # Nobody saw how it ended.
            lost[number], true[number] = before, order(number, 10, DONE)
        if true.get(number) != before:
            is_told = not is_missed and deed != "lose"
            reader.take(OrderUpdate(true[number], 1002) if is_told else MISSED)
    lost.clear()
    show()
    for each in true.values():
        told = 0 if each.id in (past or ()) else each.deal_stock
        assert reader.filled[each.id] == told
