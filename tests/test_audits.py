"""Audits: a topic that is whole is compared with the exchange's list, and stays whole meanwhile."""

from decimal import Decimal

import attrs
import pytest

from accounts import balances_query, order, orders_query
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Disconnected,
    Failure,
    FailureKind,
    Gap,
    Order,
    OrderStatus,
    OrderUpdate,
    Subscribed,
)
from topone_proto.account import (
    Account,
    AccountConfig,
    AggregatedFill,
    BalanceChanged,
    BalancesQuery,
    Change,
    Knowledge,
    KnowledgeChanged,
    OrderChanged,
    OrdersQuery,
    OutcomeUnknown,
    Resynced,
)

LOST = Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1)


def eth(available: str, asset: str = "ETH") -> Balance:
    return Balance(asset, Decimal(available), Decimal(0))


def whole(*orders: Order, balances: tuple[Balance, ...] = (eth("1"),)) -> Account:
    account = Account()
    for topic in (ORDERS, BALANCE):
        account.apply(Subscribed(topic, 500, 1))
    for query in account.ask():
        if isinstance(query, OrdersQuery):
            account.answer(query, orders, pages=1)
        else:
            account.answer(query, balances)
    assert account.knowledge(ORDERS) is account.knowledge(BALANCE) is Knowledge.WHOLE
    return account


def audit_orders(account: Account) -> OrdersQuery:
    account.audit()
    orders, balances = account.ask()
    assert isinstance(orders, OrdersQuery)
    assert orders.is_audit
    assert balances.is_audit
    return orders


def audit_balances(account: Account) -> BalancesQuery:
    account.audit()
    _, balances = account.ask()
    assert isinstance(balances, BalancesQuery)
    assert balances.is_audit
    return balances


def test_an_audit_is_asked_once_and_only_of_what_is_whole() -> None:
    account = whole()
    assert account.ask() == ()
    account.audit()
    assert len(account.ask()) == 2
    assert account.ask() == ()
    account = whole()
    account.apply(Gap(ORDERS, 1, 2, 1))
    account.audit()
    kinds = [(type(query), query.is_audit) for query in account.ask()]
    assert kinds == [(OrdersQuery, False), (BalancesQuery, True)]


def test_an_audit_without_a_difference_changes_nothing() -> None:
    account = whole(order(1), order(2))
    query = audit_orders(account)
    assert account.answer(query, [order(2), attrs.evolve(order(1), update_time=100.5)]) == ()
    assert account.ask() == ()
    assert (account.audits, account.audit_differences) == (1, 0)


def test_an_update_that_the_stream_left_out_is_found_confirmed_and_reported() -> None:
    account = whole(order(1))
    truth = order(1, "4")
    assert account.answer(audit_orders(account), [truth]) == ()
    # It may be under way, so it is not believed yet, and nothing is in doubt.
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert account.unresolved == ()
    assert account.is_current(1)
    query = orders_query(account)
    assert query.ids == (1,)
    differences = (
        OrderChanged(order(1), truth, None, healed=True),
        AggregatedFill(truth, 100.0, Decimal(4), Decimal(8), healed=True),
    )
    assert account.answer(query, [truth], answered_ts=9) == (
        *differences,
        Resynced(ORDERS, differences, 500, 9, is_audit=True),
    )
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert account.audit_differences == 2
    assert account.ask() == ()


def test_what_was_under_way_is_no_difference() -> None:
    account = whole(order(1), order(2))
    query = audit_orders(account)
    closed = order(2, "10", OrderStatus.COMPLETED)
    account.answer(query, [order(1, "4"), order(3)])
    late = orders_query(account)
    assert late.ids == (1, 2, 3)
    for update in (order(1, "4"), closed, order(3)):
        account.apply(OrderUpdate(update, 1000))
    assert account.answer(late, [order(1, "4"), order(3), closed]) == ()
    assert account.audit_differences == 0


def test_what_was_told_after_the_question_stands_against_its_answer() -> None:
    account = whole(order(1), order(2))
    query = audit_orders(account)
    account.apply(OrderUpdate(order(1, "4"), 1000))
    account.apply(OrderUpdate(order(3), 1000))
    account.answer(query, [order(1), order(2)])
    assert account.ask() == ()


def test_an_order_that_the_stream_left_out_altogether_is_found() -> None:
    account = whole()
    account.answer(audit_orders(account), [order(5)])
    changes = account.answer(orders_query(account), [order(5)])
    assert changes[0] == OrderChanged(None, order(5), None, healed=True)
    assert isinstance(changes[-1], Resynced)
    assert changes[-1].is_audit


def not_found(account: Account) -> tuple[Change, ...]:
    query = orders_query(account)
    changes = account.answer(query, [])
    account.retry(query)
    return changes


def test_an_end_that_nobody_tells_becomes_a_doubt_and_then_an_unknown_outcome() -> None:
    account = whole(order(1))
    account.answer(audit_orders(account), [])
    assert not_found(account) == ()
    assert not_found(account) == (STALE,)
    assert account.unresolved == (1,)
    for _ in range(5):
        assert not_found(account) == ()
    unknown, _, resynced = not_found(account)
    assert unknown == OutcomeUnknown(order(1))
    assert isinstance(unknown, OutcomeUnknown)
    assert resynced == Resynced(ORDERS, (unknown,), 500, None, is_audit=True)
    assert account.audit_differences == 1
    # The exchange lists it after all.
    account.audit()
    [listed] = account.ask()
    assert isinstance(listed, OrdersQuery)
    account.answer(listed, [order(1)])
    account.answer(orders_query(account), [order(1)])
    assert account.open_orders().value == {1: order(1)}


def test_an_order_that_only_an_audit_saw_is_told_with_its_fills_before_its_end_is_unknown() -> None:
    account = whole()
    seen = order(5, "4")
    account.answer(audit_orders(account), [seen])
    changes: tuple[Change, ...] = ()
    while OutcomeUnknown(seen) not in changes:
        changes = not_found(account)
    told = (
        OrderChanged(None, seen, None, healed=True),
        AggregatedFill(seen, None, Decimal(4), Decimal(8), healed=True),
        OutcomeUnknown(seen),
    )
    assert changes[:3] == told
    assert Resynced(ORDERS, told, 500, None, is_audit=True) in changes
    done = order(5, "10", OrderStatus.COMPLETED)
    assert account.apply(OrderUpdate(done, 1000)) == (
        OrderChanged(seen, done, 1000),
        AggregatedFill(done, 100.0, Decimal(6), Decimal(12)),
    )


def test_a_suspicion_gives_nobody_the_right_to_give_an_order_up() -> None:
    account = whole(order(1))
    account.answer(audit_orders(account), [])
    assert account.give_up(1) == ()
    assert account.open_orders().value == {1: order(1)}


STALE = KnowledgeChanged(ORDERS, Knowledge.WHOLE, Knowledge.STALE)
WHOLE = KnowledgeChanged(ORDERS, Knowledge.STALE, Knowledge.WHOLE)


def test_what_nobody_can_confirm_is_put_in_doubt() -> None:
    account = whole(order(1))
    truth = order(1, "4")
    account.answer(audit_orders(account), [truth, order(2)])
    assert (account.suspected, account.unresolved) == ((1, 2), ())
    assert account.doubt(3) == account.doubt("ETH") == ()
    query = orders_query(account)
    assert account.doubt(1) == (STALE,)
    assert account.doubt(1) == account.doubt(2) == ()
    assert (account.suspected, account.unresolved) == ((), (1, 2))
    # The question that was asked before is as good, and what it finds is a finding.
    assert account.ask() == ()
    differences = (
        OrderChanged(order(1), truth, None, healed=True),
        AggregatedFill(truth, 100.0, Decimal(4), Decimal(8), healed=True),
        OrderChanged(None, order(2), None, healed=True),
    )
    assert account.answer(query, [truth, order(2)]) == (
        *differences,
        WHOLE,
        Resynced(ORDERS, differences, 500, None, is_audit=True),
    )
    assert account.audit_differences == 3


def test_a_doubt_that_the_stream_settles_in_the_end_is_no_finding() -> None:
    account = whole(order(1))
    account.answer(audit_orders(account), [order(1, "4")])
    account.doubt(1)
    *_, resynced = account.apply(OrderUpdate(order(1, "4"), 1000))
    assert resynced == Resynced(ORDERS, (), 500, None)
    assert account.audit_differences == 0


def test_a_balance_that_nobody_can_confirm_is_put_in_doubt_and_stays_or_comes() -> None:
    account = whole()
    account.apply(BalanceUpdate(eth("1"), 900))
    # Not even what the stream has told is beyond doubt, nor what is not known at all.
    account.answer(audit_balances(account), [eth("3"), eth("5", "XYZ")])
    query = balances_query(account)
    changes = account.doubt("ETH") + account.doubt("XYZ")
    assert changes == (KnowledgeChanged(BALANCE, Knowledge.WHOLE, Knowledge.STALE),)
    for _ in range(AccountConfig().max_tries):
        account.answer(query, [])
        account.retry(query)
    assert account.knowledge(BALANCE) is Knowledge.WHOLE
    assert account.balances().value == {"ETH": eth("1")}


def test_a_loss_ends_an_audit() -> None:
    account = whole(order(1))
    query = audit_orders(account)
    account.apply(LOST)
    assert not account.is_awaited(query)
    account.apply(Subscribed(ORDERS, 900, 2))
    assert account.answer(query, [order(1, "4")]) == ()
    assert orders_query(account).is_audit is False
    account = whole(order(1))
    account.answer(audit_orders(account), [])
    account.apply(Gap(ORDERS, 1, 2, 1))
    assert orders_query(account).ids is None


def test_an_audit_that_failed_is_asked_again() -> None:
    account = whole(order(1))
    query = audit_orders(account)
    assert account.ask() == ()
    assert account.is_awaited(query)
    account.retry(query)
    assert not account.is_awaited(query)
    assert orders_query(account).is_audit


def test_balances_are_audited_by_name() -> None:
    btc = eth("2", "BTC")
    account = whole(balances=(eth("1"), btc, eth("0", "TOP")))
    account.apply(BalanceUpdate(btc, 900))
    query = audit_balances(account)
    # Balances of zero come and go in lists.
    account.answer(query, [eth("3"), btc, eth("0", "XYZ")])
    suspect = balances_query(account)
    assert suspect.assets == ("ETH",)
    changed = BalanceChanged(eth("1"), eth("3"), None, healed=True)
    resynced = Resynced(BALANCE, (changed,), 900, None, is_audit=True)
    assert account.answer(suspect, [eth("3")]) == (changed, resynced)


def test_a_balance_that_changed_after_the_question_is_not_compared() -> None:
    account = whole()
    query = audit_balances(account)
    account.apply(BalanceUpdate(eth("2"), 900))
    account.answer(query, [eth("1")])
    assert account.ask() == ()


def test_a_balance_that_nobody_has_by_name_is_dropped_or_put_in_doubt() -> None:
    account = whole(balances=(eth("1"), eth("2", "BTC")))
    account.apply(BalanceUpdate(eth("2", "BTC"), 900))
    account.answer(audit_balances(account), [eth("5", "XYZ")])
    for _ in range(2):
        query = balances_query(account)
        assert query.assets == ("BTC", "ETH", "XYZ")
        account.answer(query, [])
        account.retry(query)
    # The stream told of BTC, and nothing is known of XYZ: only ETH is a question.
    assert account.unresolved == ("ETH",)


def test_an_audit_waits_until_answers_reflect_the_subscription() -> None:
    account = Account(config=AccountConfig(answer_lag=2.0, retry_first=1.0))
    account.apply(Subscribed(BALANCE, 500, 1))
    account.ask(0.0)
    [query] = account.ask(2.1)
    assert isinstance(query, BalancesQuery)
    account.answer(query, [])
    account.audit()
    assert account.ask(2.2) == ()
    deadline = account.deadline
    assert deadline == pytest.approx(3.1)
    [query] = account.ask(3.1)
    assert query.is_audit
    assert account.deadline is None
