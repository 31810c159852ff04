"""Orders that are not kept any more and come again: only what has changed since is told."""

from decimal import Decimal

import pytest

from accounts import order, orders_query
from topone_proto import ORDERS, Gap, OrderStatus, OrderUpdate, Subscribed
from topone_proto.account import (
    Account,
    AggregatedFill,
    Change,
    Knowledge,
    OrderChanged,
    OrdersQuery,
    OutcomeUnknown,
)

DONE, ODD = OrderStatus.COMPLETED, OrderStatus(7)
GAP = Gap(ORDERS, 1000, 2000, 1)


def whole(*numbers: int) -> Account:
    """An account that has these orders, three filled of each, and keeps one that is not open."""
    account = Account(max_closed=1)
    account.apply(Subscribed(ORDERS, 1000, 1))
    account.answer(orders_query(account), [order(number, 3) for number in numbers], pages=1)
    return account


def without_ends() -> Account:
    """Of two orders nobody knows how they ended, and the first is forgotten."""
    account = whole(1, 2)
    account.apply(GAP)
    account.answer(orders_query(account), [], pages=1)
    for number in (1, 2):
        account.give_up(number)
    assert set(account.unknown_outcomes().value) == {2}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    return account


def rest(before: OrderStatus, *, healed: bool = False) -> tuple[Change, ...]:
    """The news of the first order once it is done."""
    done = order(1, 10, DONE)
    return (
        OrderChanged(order(1, 3, before), done, None if healed else 1001, healed=healed),
        AggregatedFill(done, 100.0, Decimal(7), Decimal(14), healed=healed),
    )


def test_of_an_order_without_an_end_only_the_rest_of_the_fills_is_told() -> None:
    account = without_ends()
    assert account.apply(OrderUpdate(order(1, 10, DONE), 1001)) == rest(OrderStatus.PENDING)
    assert account.other_orders().value == {1: order(1, 10, DONE)}


def test_an_order_without_an_end_that_is_open_again_is_told_without_its_fills() -> None:
    account = without_ends()
    assert account.apply(OrderUpdate(order(1, 3), 1001)) == (
        OrderChanged(order(1, 3), order(1, 3), 1001),
    )
    assert account.open_orders().value == {1: order(1, 3)}


def test_the_history_tells_the_end_of_an_order_that_is_forgotten_without_one() -> None:
    account = without_ends()
    newest = account.history_query
    assert newest is not None
    account.catch_up(newest, [])
    account.apply(GAP)
    account.answer(orders_query(account), [], pages=1)
    query = account.history_query
    assert query is not None
    changes = account.catch_up(query, [order(1, 10, DONE)])
    assert changes == rest(OrderStatus.PENDING, healed=True)
    assert account.catch_up(query, [order(1, 10, DONE)]) == ()


def test_an_order_of_an_unknown_status_is_not_told_as_new_again() -> None:
    account = whole()
    for number in (1, 2):
        account.apply(OrderUpdate(order(number, 3, ODD), 1000))
    assert account.order(1).value is None
    assert account.apply(OrderUpdate(order(1, 3, ODD), 1001)) == ()
    assert account.apply(OrderUpdate(order(1, 10, DONE), 1001)) == rest(ODD)


@pytest.mark.parametrize("more", [0, 2])
def test_an_outcome_that_is_unknown_again_is_told_with_what_was_filled_since(more: int) -> None:
    account = Account(max_closed=1)
    account.apply(Subscribed(ORDERS, 1000, 1))
    query = orders_query(account)
    for number in (1, 2):
        account.apply(OrderUpdate(order(number, 3, ODD), 1000))
    seen = order(1, 3 + more)
    # The list may be older than what was forgotten, so the order is asked for by its id.
    account.answer(query, [seen], pages=1)
    changes = account.give_up(1)
    fills = [change for change in changes if isinstance(change, AggregatedFill)]
    assert sum(fill.deal_stock for fill in fills) == more
    assert OutcomeUnknown(seen) in changes
    assert not [c for c in changes if isinstance(c, OrderChanged) and c.before is None]


def audit(account: Account) -> OrdersQuery:
    account.audit()
    return orders_query(account)


def test_what_only_audits_saw_takes_no_room_for_ever() -> None:
    account = whole()
    for number in range(1, 101):
        account.answer(audit(account), [order(number)])
        assert account.suspected == (number,)
        account.apply(GAP)
        account.answer(orders_query(account), [], pages=1)
        assert not account.suspected
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert account._orders._rows == {}
