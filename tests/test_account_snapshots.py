"""An account that another machine follows: what it hands over, and what a copy makes of it."""

from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import balances_query, order, orders_query
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    BusAnomaly,
    Connected,
    Disconnected,
    Failure,
    FailureKind,
    Gap,
    Order,
    OrderStatus,
    OrderUpdate,
    Resumed,
    Snapshot,
    Stalled,
    Subscribed,
    TakenOver,
    kline,
)
from topone_proto.account import (
    Account,
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    FillCorrected,
    Knowledge,
    KnowledgeChanged,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
)

WHOLE, STALE, UNKNOWN = Knowledge.WHOLE, Knowledge.STALE, Knowledge.UNKNOWN
DONE = OrderStatus.COMPLETED
BOTH = (ORDERS, BALANCE)


def balance(asset: str = "ETH", available: int = 5) -> Balance:
    return Balance(asset, Decimal(available), Decimal(0))


def whole(*orders: Order, balances: tuple[Balance, ...] = (balance(),)) -> Account:
    """An account that has these orders and balances, and is followed."""
    account = Account()
    account.apply(Subscribed(ORDERS, 1000, 1))
    account.answer(orders_query(account), [each for each in orders if each.is_open], pages=1)
    account.apply(Subscribed(BALANCE, 1000, 1))
    account.answer(balances_query(account), balances)
    for each in orders:
        if not each.is_open:
            account.apply(OrderUpdate(each, 1001))
    return account


def copy_of(account: Account) -> Account:
    snapshot = account.snapshot()
    assert snapshot is not None
    copy = Account()
    copy.apply(snapshot)
    return copy


def content(account: Account) -> Any:
    return account.open_orders(), account.balances(), account.other_orders()


def test_a_copy_is_whole_and_the_same() -> None:
    account = whole(order(1), order(2, 3), order(3, 10, DONE))
    copy = copy_of(account)
    assert content(copy) == content(account)
    assert copy.knowledge(ORDERS) is copy.knowledge(BALANCE) is WHOLE
    assert copy.is_current(1)
    assert copy.is_current("ETH")
    assert copy.latest_ts == account.latest_ts == 1001
    assert copy.ask() == ()
    assert copy.is_settled
    assert copy.snapshot() == account.snapshot()


def test_what_comes_after_a_snapshot_is_applied() -> None:
    copy = copy_of(whole(order(1)))
    assert copy.apply(OrderUpdate(order(1, 4), 1002)) == (
        OrderChanged(order(1), order(1, 4), 1002),
        AggregatedFill(order(1, 4), 100.0, Decimal(4), Decimal(8)),
    )
    copy.apply(BalanceUpdate(balance(available=6), 1003))
    assert copy.balance("ETH").value == balance(available=6)
    assert copy.knowledge(ORDERS) is copy.knowledge(BALANCE) is WHOLE


def test_the_first_snapshot_reports_what_is_open_and_not_what_has_been() -> None:
    snapshot = whole(order(1, 3), order(2, 10, DONE)).snapshot()
    assert snapshot is not None
    changes = Account().apply(snapshot)
    assert [type(change) for change in changes] == [
        *(OrderChanged, AggregatedFill, KnowledgeChanged, Resynced),
        *(BalanceChanged, KnowledgeChanged, Resynced),
    ]
    assert changes[0] == OrderChanged(None, order(1, 3), None, healed=True)
    assert changes[3] == Resynced(ORDERS, (changes[0], changes[1]), 1001, None)  # type: ignore[arg-type]  # as listed


def test_a_snapshot_after_a_gap_tells_what_was_missed() -> None:
    copy = copy_of(whole(order(1), order(2), order(3)))
    copy.apply(Gap(ORDERS, 1000, 2000, 1))
    assert copy.knowledge(ORDERS) is STALE
    # The first was filled, the second is gone, another came and went, and another came.
    later = whole(order(1, 10, DONE), order(3), order(4, 10, DONE), order(5))
    snapshot = later.snapshot()
    assert snapshot is not None
    changes = copy.apply(snapshot)
    assert changes[:-2] == (
        OutcomeUnknown(order(2)),
        OrderChanged(order(1), order(1, 10, DONE), None, healed=True),
        AggregatedFill(order(1, 10, DONE), 100.0, Decimal(10), Decimal(20), healed=True),
        OrderChanged(None, order(4, 10, DONE), None, healed=True),
        AggregatedFill(order(4, 10, DONE), None, Decimal(10), Decimal(20), healed=True),
        OrderChanged(None, order(5), None, healed=True),
    )
    assert changes[-2] == KnowledgeChanged(ORDERS, STALE, WHOLE)
    assert copy.open_orders() == later.open_orders()
    assert copy.unknown_outcomes().value == {2: order(2)}


def test_a_snapshot_is_the_truth_even_where_it_contradicts() -> None:
    copy = copy_of(whole(order(1, 5)))
    copy.apply(OrderUpdate(order(1, 2), 1002))
    assert 1 in copy.unresolved
    assert copy.knowledge(ORDERS) is STALE
    snapshot = whole(order(1, 3)).snapshot()
    assert snapshot is not None
    changes = copy.apply(snapshot)
    assert FillCorrected(order(1, 3), Decimal(-2), Decimal(-4), healed=True) in changes
    assert not copy.unresolved
    assert copy.knowledge(ORDERS) is WHOLE
    # What the stream said before does not count against what it says from here on.
    copy.apply(OrderUpdate(order(1, 4), 1003))
    assert copy.knowledge(ORDERS) is WHOLE


def test_a_balance_that_is_not_in_a_snapshot_is_unlisted() -> None:
    copy = copy_of(whole(balances=(balance(), balance("BTC"))))
    snapshot = whole(balances=(balance("BTC", 7),)).snapshot()
    assert snapshot is not None
    changes = copy.apply(snapshot)
    assert changes[:2] == (
        BalanceUnlisted(balance()),
        BalanceChanged(balance("BTC"), balance("BTC", 7), None, healed=True),
    )
    # The topic was whole, so the stream had left something out.
    assert isinstance(changes[2], Resynced)
    assert changes[2].is_audit
    assert copy.audit_differences == 2


def test_a_snapshot_that_brings_nothing_new_changes_nothing() -> None:
    account = whole(order(1), order(2, 10, DONE))
    copy = copy_of(account)
    snapshot = account.snapshot()
    assert snapshot is not None
    assert copy.apply(snapshot) == ()


def test_outcomes_that_nobody_knows_are_handed_over_and_told_once() -> None:
    account = whole(order(1), order(2))
    account.apply(Gap(ORDERS, 1000, 2000, 1))
    account.answer(orders_query(account), [order(1)], pages=1)
    account.give_up(2)
    snapshot = account.snapshot()
    assert snapshot is not None
    assert snapshot.unknown_outcomes == (order(2),)
    first = Account()
    assert not any(isinstance(change, OutcomeUnknown) for change in first.apply(snapshot))
    assert first.unknown_outcomes() == account.unknown_outcomes()
    # One that was followed meanwhile is told, once.
    copy = copy_of(whole(order(1), order(2)))
    copy.apply(TakenOver("main", 2))
    assert OutcomeUnknown(order(2)) in copy.apply(snapshot)
    assert copy.apply(snapshot) == ()
    # One that it had never heard of as well.
    copy = copy_of(whole(order(1)))
    assert OutcomeUnknown(order(2)) in copy.apply(snapshot)
    assert copy.unknown_outcomes() == account.unknown_outcomes()


def test_what_was_filled_before_an_outcome_was_lost_is_told() -> None:
    account = whole(order(1), order(2, 3))
    account.apply(Gap(ORDERS, 1000, 2000, 1))
    account.answer(orders_query(account), [], pages=1)
    account.give_up(1)
    account.give_up(2)
    snapshot = account.snapshot()
    assert snapshot is not None
    copy = copy_of(whole(order(1), order(2)))
    copy.apply(Gap(ORDERS, 1000, 2000, 1))
    changes = copy.apply(snapshot)
    assert changes[:4] == (
        OutcomeUnknown(order(1)),
        OrderChanged(order(2), order(2, 3), None, healed=True),
        AggregatedFill(order(2, 3), 100.0, Decimal(3), Decimal(6), healed=True),
        OutcomeUnknown(order(2, 3)),
    )
    assert copy.apply(snapshot) == ()
    newcomer = copy_of(whole())
    newcomer.apply(Gap(ORDERS, 1000, 2000, 1))
    assert [type(change) for change in newcomer.apply(snapshot)[:5]] == [
        *(OrderChanged, OutcomeUnknown),
        *(OrderChanged, AggregatedFill, OutcomeUnknown),
    ]


def test_a_copy_that_keeps_little_is_told_all_the_same() -> None:
    """The holder keeps more orders that are not open than the copy, of either kind."""
    holder = whole(*map(order, range(1, 8)))
    copy = Account(max_closed=1)
    snapshot = holder.snapshot()
    assert snapshot is not None
    copy.apply(snapshot)
    lost = Gap(ORDERS, 1000, 2000, 1)
    for account in (holder, copy):
        account.apply(lost)
    ends = [order(number, 10, DONE) for number in (1, 2, 3)]
    holder.answer(orders_query(holder), [order(7)], pages=1)
    holder.answer(orders_query(holder), ends)
    for number in (4, 5, 6):
        holder.give_up(number)
    snapshot = holder.snapshot()
    assert snapshot is not None
    changes = copy.apply(snapshot)
    unknown = [change.order.id for change in changes if isinstance(change, OutcomeUnknown)]
    filled = [change.order for change in changes if isinstance(change, AggregatedFill)]
    assert (unknown, filled) == ([4, 5, 6], ends)
    assert copy.open_orders() == holder.open_orders()
    assert copy.other_orders().value == {3: ends[2]}
    assert copy.unknown_outcomes().value == {6: order(6)}
    # Nothing of it is told again.
    assert copy.apply(snapshot) == ()


def test_an_order_that_was_told_before_the_first_snapshot_has_an_unknown_end_as_any() -> None:
    holder = whole(order(1))
    holder.apply(Gap(ORDERS, 1000, 2000, 1))
    holder.answer(orders_query(holder), [], pages=1)
    holder.give_up(1)
    snapshot = holder.snapshot()
    assert snapshot is not None
    copy = Account()
    copy.apply(OrderUpdate(order(1), 1001))
    assert OutcomeUnknown(order(1)) in copy.apply(snapshot)


@pytest.mark.parametrize("max_closed", [1, 1000])
def test_an_end_that_was_told_is_none_that_nobody_knows(max_closed: int) -> None:
    """Another machine follows the account now, and has missed the end."""
    successor = whole(order(1, 3))
    successor.apply(Gap(ORDERS, 1000, 2000, 1))
    successor.answer(orders_query(successor), [], pages=1)
    successor.give_up(1)
    snapshot = successor.snapshot()
    assert snapshot is not None
    copy = Account(max_closed=max_closed)
    for event in (Subscribed(ORDERS, 1000, 1), OrderUpdate(order(1, 3), 1001)):
        copy.apply(event)
    # With room for one, the first is forgotten.
    for number in (1, 2):
        copy.apply(OrderUpdate(order(number, 10, DONE), 1002))
    copy.apply(TakenOver("main", 2))
    changes = copy.apply(snapshot)
    told = (OrderChanged, AggregatedFill, FillCorrected, OutcomeUnknown)
    assert not [change for change in changes if isinstance(change, told)]
    assert copy.unknown_outcomes().value == {}
    assert copy.order(1).value == (order(1, 10, DONE) if max_closed > 1 else None)
    assert copy.knowledge(ORDERS) is WHOLE


@pytest.mark.parametrize(
    "loss",
    [TakenOver("main", 2), Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1)],
)
def test_a_take_over_ends_all_trust_until_the_next_snapshot(loss: Any) -> None:
    account = whole(order(1))
    copy = copy_of(account)
    assert copy.apply(loss) == (
        KnowledgeChanged(ORDERS, WHOLE, STALE),
        KnowledgeChanged(BALANCE, WHOLE, STALE),
    )
    assert not copy.is_current(1)
    assert copy.snapshot() is None
    snapshot = account.snapshot()
    assert snapshot is not None
    changes = copy.apply(snapshot)
    assert [type(change) for change in changes] == [KnowledgeChanged, Resynced] * 2
    assert copy.is_current(1)


def test_an_anomaly_on_the_bus_changes_nothing() -> None:
    copy = copy_of(whole(order(1)))
    assert copy.apply(BusAnomaly("garbage", "\\xff")) == ()
    assert copy.knowledge(ORDERS) is WHOLE


def test_there_is_no_snapshot_of_what_is_not_known() -> None:
    account = Account()
    assert account.snapshot() is None
    account.apply(Connected(1))
    account.apply(Subscribed(BALANCE, 1000, 1))
    assert account.snapshot() is None
    account.answer(balances_query(account), [balance()])
    assert account.snapshot() == Snapshot((BALANCE,), (balance(),), latest_ts=1000)
    account.apply(Subscribed(ORDERS, 1000, 1))
    assert account.snapshot() is None


def test_a_snapshot_says_nothing_of_a_topic_that_it_does_not_have() -> None:
    copy = copy_of(whole(order(1)))
    copy.apply(TakenOver("main", 2))
    copy.apply(Snapshot((BALANCE, kline("ETH/BTC", "1m")), (balance(),)))
    assert copy.knowledge(BALANCE) is WHOLE
    assert copy.knowledge(ORDERS) is STALE
    assert copy.open_orders().value == {1: order(1)}


def test_a_copy_that_remembers_less_forgets_the_oldest_and_says_it_once() -> None:
    account = whole(*(order(number, 10, DONE) for number in range(1, 8)), order(9))
    snapshot = account.snapshot()
    assert snapshot is not None
    lost = tuple(order(number) for number in range(10, 15))
    snapshot = attrs.evolve(snapshot, unknown_outcomes=lost)
    copy = Account(max_closed=3)
    copy.apply(snapshot)
    assert list(copy.other_orders().value) == [5, 6, 7]
    assert list(copy.unknown_outcomes().value) == [12, 13, 14]
    assert copy.apply(snapshot) == ()


STATES = st.builds(
    order,
    st.integers(1, 5),
    st.integers(0, 9),
    st.sampled_from([OrderStatus.PENDING, OrderStatus.PARTIAL_CANCELED, DONE, OrderStatus(9)]),
)


@given(
    st.lists(STATES.map(lambda state: OrderUpdate(state, 1002)), max_size=8),
    st.lists(STATES, max_size=4, unique_by=lambda state: state.id),
    st.integers(0, 8),
)
def test_a_copy_follows_as_the_account_itself_does(
    updates: list[OrderUpdate], orders: list[Order], lag: int
) -> None:
    """From any moment at which the account is whole: both have the same, and while the account
    stays whole, so does the copy."""
    account = whole(*orders)
    copy = Account(max_closed=2)
    copy.apply(Subscribed(ORDERS, 900, 1))
    for update in updates[:lag]:
        copy.apply(update)
        account.apply(update)
    snapshot = account.snapshot()
    if snapshot is None:
        return
    copy.apply(snapshot)
    assert copy.open_orders() == account.open_orders()
    for update in updates[lag:]:
        account.apply(update)
        copy.apply(update)
        if account.knowledge(ORDERS) is not WHOLE:
            break
        assert copy.open_orders() == account.open_orders()


# Nothing comes over the bus.


STALLED, RESUMED = Stalled("the bus cannot be read", "it is away"), Resumed()


def whole_copy() -> Account:
    copy = Account()
    copy.apply(Snapshot(BOTH, (balance(),), (order(1),), (order(2, status=DONE),), latest_ts=1))
    assert copy.knowledge(BALANCE) is copy.knowledge(ORDERS) is WHOLE
    return copy


def test_nothing_is_whole_while_nothing_comes_and_all_is_right_after() -> None:
    copy = whole_copy()
    assert copy.apply(STALLED) == tuple(KnowledgeChanged(topic, WHOLE, STALE) for topic in BOTH)
    assert copy.apply(STALLED) == ()
    assert copy.knowledge(BALANCE) is copy.balances().knowledge is STALE
    assert copy.order(1).knowledge is copy.open_orders().knowledge is STALE
    # A closed order stays as it is.
    assert [copy.is_current(name) for name in ("ETH", 1, 2)] == [False, False, True]
    assert copy.apply(RESUMED) == tuple(KnowledgeChanged(topic, STALE, WHOLE) for topic in BOTH)
    assert copy.apply(RESUMED) == ()
    assert copy.knowledge(BALANCE) is copy.balances().knowledge is WHOLE
    assert [copy.is_current(name) for name in ("ETH", 1, 2)] == [True, True, True]


def test_what_is_told_while_nothing_came_is_applied_and_claims_nothing() -> None:
    copy = whole_copy()
    copy.apply(STALLED)
    (change,) = copy.apply(BalanceUpdate(balance(available=6), 7))
    assert isinstance(change, BalanceChanged)
    assert copy.apply(TakenOver("main", 2)) == ()
    assert copy.apply(RESUMED) == ()
    assert copy.knowledge(BALANCE) is STALE
    copy.apply(STALLED)
    changes = copy.apply(Snapshot(BOTH, (balance(available=6),), (order(1),), latest_ts=8))
    assert KnowledgeChanged not in map(type, changes)
    assert copy.knowledge(BALANCE) is STALE
    assert KnowledgeChanged(BALANCE, STALE, WHOLE) in copy.apply(RESUMED)
