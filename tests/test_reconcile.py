"""Making an account whole: what is asked, how answers merge, and that it ends as the exchange's
truth.

The last is a property over everything that can come between: updates, lost connections, lost and
late frames, applications behind with their events, and answers that are late, outdated or missing.
"""

from collections import deque
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from accounts import balances_query, order, orders_query
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Close,
    ConfigurationError,
    Connect,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    LocalProtocolError,
    Malformed,
    Order,
    OrderStatus,
    OrderUpdate,
    SendText,
    Session,
    SessionConfig,
    SessionState,
    Side,
    Step,
    Subscribed,
    SubscriptionState,
    Token,
    Topic,
)
from topone_proto.account import (
    Account,
    AccountConfig,
    AggregatedFill,
    BalanceChanged,
    BalancesQuery,
    BalanceUnlisted,
    Change,
    FillCorrected,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OrdersQuery,
    OutcomeUnknown,
    Query,
    Reading,
    Resynced,
)
from topone_proto.exchange import (
    MALFORMED_FRAME,
    Accept,
    AcceptThenClose,
    Burst,
    ClosePeer,
    DelayAck,
    DuplicateAck,
    Gateway,
    GatewayConfig,
    GatewayStep,
    LivingAccount,
    LoseAck,
    RejectRequest,
    SendFrame,
    WrongId,
)

LOST = Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1)
COMPLETED = OrderStatus.COMPLETED
NOW_WHOLE = {
    topic: KnowledgeChanged(topic, Knowledge.UNKNOWN, Knowledge.WHOLE)
    for topic in (ORDERS, BALANCE)
}


def told(order: Order, ts: int = 1000) -> OrderUpdate:
    return OrderUpdate(order, ts)


def eth(available: str) -> Balance:
    return Balance("ETH", Decimal(available), Decimal(0))


def followed(topic: Topic, *events: Event, max_closed: int = 1000) -> Account:
    """An account that was told these events, and then that the topic is followed."""
    account = Account(max_closed=max_closed)
    for event in (*events, Subscribed(topic, 500, 1)):
        account.apply(event)
    return account


# --- orders --------------------------------------------------------------------------------------


def test_an_order_that_only_the_exchange_knows_is_a_difference() -> None:
    account = followed(ORDERS)
    missed = order(filled="3")
    changes = account.answer(orders_query(account), [missed], answered_ts=700)
    differences = (
        OrderChanged(None, missed, None, healed=True),
        AggregatedFill(missed, None, Decimal(3), Decimal(6), healed=True),
    )
    assert changes == (
        *differences,
        NOW_WHOLE[ORDERS],
        Resynced(ORDERS, differences, asked_ts=500, answered_ts=700),
    )
    assert account.open_orders().value == {1: missed}
    assert account.open_orders().knowledge is Knowledge.WHOLE
    assert account.ask() == ()


def test_the_state_with_more_filled_wins_whoever_tells_it() -> None:
    ours, theirs = order(1, at=105.0, filled="5"), order(2, at=99.0, filled="5")
    account = followed(ORDERS, told(order(2, at=103.0, filled="3")))
    query = orders_query(account)
    account.apply(told(ours))
    *_, resynced = account.answer(query, [order(1, at=107.0, filled="3"), theirs])
    assert account.open_orders().value == {1: ours, 2: theirs}
    assert isinstance(resynced, Resynced)
    assert resynced.differences == (
        OrderChanged(order(2, at=103.0, filled="3"), theirs, None, healed=True),
        AggregatedFill(theirs, 103.0, Decimal(2), Decimal(4), healed=True),
    )


def test_an_answer_that_is_ahead_of_the_stream_waits_for_it_to_catch_up() -> None:
    account = followed(ORDERS)
    ahead = order(at=105.0, filled="5")
    account.answer(orders_query(account), [ahead])
    # Neither applied nor an anomaly: the rest is under way, or the exchange contradicts itself.
    assert account.apply(told(order(at=101.0))) == (
        KnowledgeChanged(ORDERS, Knowledge.WHOLE, Knowledge.STALE),
    )
    assert account.apply(told(order(at=103.0, filled="2"))) == ()
    assert account.open_orders().value == {1: ahead}
    assert account.unresolved == (1,)
    assert not account.is_current(1)
    assert isinstance(account.apply(told(ahead))[-1], Resynced)
    assert account.is_current(1)
    # The stream itself does not go back.
    anomaly, _ = account.apply(told(order(at=101.0)))
    assert isinstance(anomaly, MovedBackwards)


def test_an_answer_that_the_stream_does_not_catch_up_with_is_asked_for_by_name() -> None:
    account = followed(ORDERS)
    account.answer(orders_query(account), [order(at=105.0, filled="5")])
    less = order(at=101.0, filled="2")
    account.apply(told(less))
    query = orders_query(account)
    assert query.ids == (1,)
    changes = account.answer(query, [less])
    assert FillCorrected(less, Decimal(-3), Decimal(-6), healed=True) in changes
    assert account.open_orders() == Reading({1: less}, Knowledge.WHOLE)


def test_an_open_order_that_the_exchange_does_not_list_is_asked_for_by_id() -> None:
    account = followed(ORDERS, told(order(7)), told(order(8)))
    assert account.answer(orders_query(account), [order(8)]) == ()
    # No cancel is invented.
    assert set(account.open_orders().value) == {7, 8}
    assert account.unresolved == (7,)
    assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
    query = orders_query(account)
    assert query.ids == (7,)
    assert account.ask() == ()

    ended = order(7, at=120.0, filled="10", status=OrderStatus.COMPLETED)
    changes = account.answer(query, [ended])
    assert OrderChanged(order(7), ended, None, healed=True) in changes
    assert isinstance(changes[-1], Resynced)
    assert not account.unresolved
    assert set(account.open_orders().value) == {8}


def test_an_order_that_is_not_found_by_id_stays_unresolved_and_can_be_asked_for_again() -> None:
    account = followed(ORDERS, told(order(7)))
    account.answer(orders_query(account), [])
    query = orders_query(account)
    assert account.answer(query, []) == ()
    assert account.unresolved == (7,)
    assert account.open_orders().value == {7: order(7)}
    assert account.ask() == ()
    account.retry()
    assert orders_query(account).ids == (7,)


def test_an_order_that_is_open_after_all_is_no_difference() -> None:
    # The list was read page by page, and it slipped through.
    account = followed(ORDERS, told(order(7)))
    account.answer(orders_query(account), [])
    changes = account.answer(orders_query(account), [order(7)])
    assert changes[-1] == Resynced(ORDERS, (), 1000, None)


def test_an_update_answers_what_was_unresolved() -> None:
    account = followed(ORDERS, told(order(7)))
    account.answer(orders_query(account), [])
    ended = order(7, at=120.0, status=OrderStatus.CANCELED)
    changes = account.apply(told(ended, 1500))
    assert changes[0] == OrderChanged(order(7), ended, 1500)
    assert isinstance(changes[-1], Resynced)


def test_what_was_told_since_the_question_needs_no_answer() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    account.apply(told(order(2)))
    changes = account.answer(query, [])
    assert isinstance(changes[-1], Resynced)
    assert set(account.open_orders().value) == {2}


def test_what_was_told_before_the_question_and_is_not_listed_is_asked_for_by_id() -> None:
    # Its end may be under way, or the stream was wrong.
    account = followed(ORDERS)
    account.apply(told(order(1)))
    account.answer(orders_query(account), [])
    assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
    assert orders_query(account).ids == (1,)


def test_an_order_that_closed_meanwhile_stays_closed() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    account.apply(told(order(1)))
    ended = order(1, at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.answer(query, [order(1)])
    assert account.order(1).value == ended


# Clocks play no part: the one that closes orders may be behind the one that fills them.
@pytest.mark.parametrize("closed_at", [101.0, 99.0])
def test_an_order_that_closed_meanwhile_and_is_forgotten_is_asked_for_by_id(
    closed_at: float,
) -> None:
    account = followed(ORDERS, max_closed=1)
    query = orders_query(account)
    ended = order(1, at=closed_at, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.apply(told(order(2, at=102.0, status=OrderStatus.CANCELED)))
    account.answer(query, [order(1), order(1), order(3)], pages=1)
    assert account.open_orders().value == {}
    again = orders_query(account)
    assert again.ids == (1, 3)
    account.answer(again, [ended, order(3)])
    assert account.open_orders().value == {3: order(3)}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_an_order_that_closes_while_it_is_asked_for_by_id_stays_closed_though_forgotten() -> None:
    account = followed(ORDERS, told(order(1)), told(order(2)), max_closed=1)
    account.answer(orders_query(account), [])
    by_id = orders_query(account)
    ended = order(1, at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.apply(told(order(3, at=101.0, status=OrderStatus.CANCELED)))
    account.answer(by_id, [order(1), order(2)])
    assert account.open_orders() == Reading({2: order(2)}, Knowledge.WHOLE)


def test_no_outdated_list_brings_a_forgotten_order_back() -> None:
    account = followed(ORDERS, max_closed=1)
    first = orders_query(account)
    account.retry()
    second = orders_query(account)
    ended = order(1, at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.apply(told(order(2, at=101.0, status=OrderStatus.CANCELED)))
    account.answer(second, [order(1)], pages=1)
    by_id = orders_query(account)
    assert account.answer(first, [order(1)], pages=1) == ()
    assert account.open_orders().value == {}
    account.answer(by_id, [ended])
    assert account.open_orders().value == {}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_no_outdated_answer_opens_an_order_again_that_another_answer_closed() -> None:
    account = followed(ORDERS, told(order(1)), told(order(9)), max_closed=1)
    account.answer(orders_query(account), [], pages=1)
    first = orders_query(account)
    account.retry()
    second = orders_query(account)
    ended = order(1, at=101.0, status=OrderStatus.CANCELED)
    account.answer(second, [ended])
    account.apply(told(order(2, status=OrderStatus.CANCELED)))
    assert account.order(1).value is None
    account.answer(first, [order(1), order(9)])
    assert set(account.open_orders().value) == {9}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_what_was_forgotten_before_the_question_is_no_reason_to_doubt_the_answer() -> None:
    account = followed(ORDERS, max_closed=1)
    for number in (1, 2):
        account.apply(told(order(number, at=200.0, status=OrderStatus.CANCELED)))
    account.answer(orders_query(account), [order(3, at=100.0)])
    assert account.open_orders().value == {3: order(3, at=100.0)}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_everything_that_an_answer_changes_is_told_and_told_again_in_the_end() -> None:
    account = followed(ORDERS, told(order(7)))
    listed = account.answer(orders_query(account), [order(1), order(2)])
    assert listed == (
        OrderChanged(None, order(1), None, healed=True),
        OrderChanged(None, order(2), None, healed=True),
    )
    ended = order(7, at=120.0, status=OrderStatus.CANCELED)
    *by_id, _, resynced = account.answer(orders_query(account), [ended], answered_ts=900)
    found = OrderChanged(order(7), ended, None, healed=True)
    assert by_id == [found]
    assert isinstance(resynced, Resynced)
    assert resynced.differences == (*listed, found)
    assert (resynced.asked_ts, resynced.answered_ts) == (1000, 900)


def test_of_two_states_that_fit_the_streams_survives() -> None:
    ours, theirs = order(), attrs.evolve(order(), update_time=999.0)
    account = followed(ORDERS)
    query = orders_query(account)
    account.apply(told(ours))
    account.answer(query, [theirs])
    assert account.order(1).value == ours


def test_a_list_that_contradicts_is_an_anomaly_and_the_order_asked_for_by_id() -> None:
    known, strange = order(at=100.0, filled="5"), order(at=101.0, filled="4")
    account = followed(ORDERS, told(known))
    changes = account.answer(orders_query(account), [strange])
    assert changes == (MovedBackwards(known, strange, None, "less is filled than before"),)
    assert account.order(1).value == known
    query = orders_query(account)
    assert query.ids == (1,)
    changes = account.answer(query, [strange])
    assert changes[:2] == (
        OrderChanged(known, strange, None, healed=True),
        FillCorrected(strange, Decimal(-1), Decimal(-2), healed=True),
    )
    assert isinstance(changes[-1], Resynced)


def test_the_end_of_an_order_told_again_in_other_words_is_asked_for_by_id() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    ended = order(at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    otherwise = order(at=102.0, status=OrderStatus.COMPLETED)
    changes = account.answer(query, [otherwise], pages=1)
    assert changes == (MovedBackwards(ended, otherwise, None, "the order was closed already"),)
    assert account.order(1).value == ended
    assert not account.is_current(1)
    account.answer(orders_query(account), [ended])
    assert account.is_current(1)
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_a_contradiction_is_not_forgotten_with_the_connection() -> None:
    account = followed(ORDERS)
    ended = order(status=OrderStatus.CANCELED)
    account.answer(orders_query(account), [])
    account.apply(told(ended))
    account.apply(told(order()))
    account.apply(LOST)
    assert not account.is_current(1)
    account.apply(Subscribed(ORDERS, 900, 2))
    listed, by_id = account.ask()
    assert isinstance(listed, OrdersQuery)
    account.answer(listed, [])
    assert account.knowledge(ORDERS) is Knowledge.STALE
    assert isinstance(by_id, OrdersQuery)
    assert by_id.ids == (1,)
    account.answer(by_id, [ended])
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_a_later_state_that_fits_everything_settles_a_contradiction() -> None:
    account = followed(ORDERS)
    account.answer(orders_query(account), [])
    for state in (order(filled="5"), order(filled="3")):
        account.apply(told(state))
    assert account.unresolved == (1,)
    assert isinstance(account.apply(told(order(filled="6")))[-1], Resynced)
    # One that fits what is held, and not what was told last, does not.
    account.apply(told(order(filled="2", status=OrderStatus.PARTIAL_CANCELED)))
    account.apply(told(order(filled="7")))
    assert account.unresolved == (1,)
    assert account.order(1).value == order(filled="7")


def test_an_order_of_an_unknown_status_may_have_changed_unseen() -> None:
    odd, done = order(filled="4", status=OrderStatus(5)), order(filled="10", status=COMPLETED)
    account = followed(ORDERS, told(odd))
    account.answer(orders_query(account), [])
    query = orders_query(account)
    assert query.ids == (1,)
    assert isinstance(account.answer(query, [done])[-1], Resynced)
    assert account.other_orders() == Reading({1: done}, Knowledge.WHOLE)


# --- an order that the exchange does not have ----------------------------------------------------


def absent(config: AccountConfig | None = None) -> Account:
    """An account in which order 7 is open, and which has asked for it by its id."""
    account = Account(config=config)
    account.apply(told(order(7)))
    account.apply(Subscribed(ORDERS, 500, 1))
    [query] = account.ask(0.0)
    assert isinstance(query, OrdersQuery)
    account.answer(query, [], pages=1)
    return account


QUICK = AccountConfig(answer_lag=0.0, max_tries=3, retry_first=1.0, retry_cap=4.0)


def test_an_order_that_nobody_has_is_asked_for_so_often_and_then_its_outcome_is_unknown() -> None:
    account = absent(QUICK)
    asked: list[float] = []
    now = 0.0
    changes: tuple[Change, ...] = ()
    while account.knowledge(ORDERS) is not Knowledge.WHOLE:
        for query in account.ask(now):
            assert isinstance(query, OrdersQuery)
            asked.append(now)
            changes = account.answer(query, [])
        now = account.deadline or now
    assert asked == [0.0, 1.0, 3.0]
    outcome = OutcomeUnknown(order(7))
    assert changes == (
        outcome,
        NOW_WHOLE[ORDERS],
        Resynced(ORDERS, (outcome,), asked_ts=1000, answered_ts=None),
    )
    assert account.open_orders().value == account.other_orders().value == {}
    assert account.unknown_outcomes() == Reading({7: order(7)}, Knowledge.WHOLE)
    assert account.order(7).value == order(7)
    assert not account.is_current(7)
    assert account.deadline is None
    # After a loss it is not asked for again.
    account.apply(LOST)
    account.apply(Subscribed(ORDERS, 900, 2))
    [query] = account.ask(100.0)
    assert isinstance(account.answer(query, [])[-1], Resynced)
    assert account.give_up(7) == ()


@pytest.mark.parametrize("is_open", [True, False])
def test_an_update_still_resolves_an_unknown_outcome(is_open: bool) -> None:
    account = absent(QUICK)
    assert account.give_up(7)[0] == OutcomeUnknown(order(7))
    after = order(7) if is_open else order(7, filled="10", status=COMPLETED)
    assert OrderChanged(order(7), after, 1000) in account.apply(told(after))
    assert account.unknown_outcomes().value == {}
    assert account.open_orders().value == ({7: after} if is_open else {})
    assert account.is_current(7)


def test_an_answer_still_resolves_an_outcome_that_was_given_up() -> None:
    account = absent(QUICK)
    [query] = account.ask(0.0)
    assert isinstance(query, OrdersQuery)
    assert isinstance(account.give_up(7)[-1], Resynced)
    done = order(7, filled="10", status=COMPLETED)
    assert account.answer(query, [done])[0] == OrderChanged(order(7), done, None, healed=True)
    assert account.other_orders() == Reading({7: done}, Knowledge.WHOLE)
    assert account.give_up(7) == account.give_up(8) == ()


def test_what_is_right_cannot_be_given_up() -> None:
    account = followed(ORDERS)
    account.apply(told(order()))
    assert account.give_up(1) == ()
    account.apply(LOST)
    assert account.give_up(1) == (OutcomeUnknown(order()),)


def test_a_failed_request_is_not_a_try() -> None:
    account = absent(QUICK)
    for now in range(0, 100, 5):
        [query] = account.ask(float(now))
        account.retry(query)
    assert account.unresolved == (7,)
    assert account.open_orders().value == {7: order(7)}


def test_without_a_clock_the_caller_waits_and_the_tries_are_bounded() -> None:
    account = followed(ORDERS, told(order(7)))
    account.answer(orders_query(account), [])
    for _ in range(8):
        query = orders_query(account)
        account.answer(query, [])
        assert account.ask() == ()
        account.retry(query)
    assert set(account.unknown_outcomes().value) == {7}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_an_answer_to_an_older_doubt_is_no_try() -> None:
    account = absent(QUICK)
    [query] = account.ask(0.0)
    assert isinstance(query, OrdersQuery)
    account.apply(told(order(7, filled="3")))
    account.apply(told(order(7, filled="2")))
    account.answer(query, [])
    [again] = account.ask(1.0)
    assert isinstance(again, OrdersQuery)
    assert again.position > query.position


def test_so_many_unknown_outcomes_are_remembered_and_no_more() -> None:
    account = Account(max_closed=2)
    for number in range(4):
        account.apply(told(order(number)))
    for number in range(4):
        assert account.give_up(number) == (OutcomeUnknown(order(number)),)
    assert list(account.unknown_outcomes().value) == [2, 3]


def test_an_order_that_only_an_old_row_shows_ends_unknown_as_well() -> None:
    account = followed(ORDERS, max_closed=1)
    query = orders_query(account)
    for number in (1, 2):
        account.apply(told(order(number, status=OrderStatus(9))))
    account.answer(query, [order(1)], pages=1)
    assert account.give_up(1)[0] == OutcomeUnknown(order(1))


def forgetful() -> Account:
    """An account that was told the ends of the orders 1 and 2, and has forgotten 1."""
    account = followed(ORDERS, max_closed=1)
    account.answer(orders_query(account), [], pages=1)
    for number in (1, 2):
        account.apply(told(order(number)))
        account.apply(told(order(number, "10", status=OrderStatus.COMPLETED)))
    assert account.order(1).value is None
    return account


def test_the_end_of_a_forgotten_order_is_told_once() -> None:
    account, ended = forgetful(), order(1, "10", status=OrderStatus.COMPLETED)
    assert account.apply(told(ended)) == ()
    # In a list that lags it is open still, and an audit leaves that alone.
    account.audit()
    assert account.answer(orders_query(account), [order(1)]) == ()
    by_id = orders_query(account)
    assert by_id.ids == (1,)
    assert account.answer(by_id, [ended]) == ()
    assert account.ask() == ()
    account.apply(Gap(ORDERS, 1, 2, 1))
    query = orders_query(account)
    account.answer(query, [order(1)], pages=1)
    [*changes] = account.answer(orders_query(account), [ended])
    assert [type(change) for change in changes] == [KnowledgeChanged, Resynced]
    assert account.other_orders().value == {2: order(2, "10", status=OrderStatus.COMPLETED)}


def test_an_audit_that_was_asked_for_before_an_end_that_is_forgotten_suspects_nothing() -> None:
    account = followed(ORDERS, told(order(1)), told(order(2)), max_closed=1)
    account.answer(orders_query(account), [order(1), order(2)], pages=1)
    account.audit()
    query = orders_query(account)
    for number in (1, 2):
        account.apply(told(order(number, "10", status=OrderStatus.COMPLETED)))
    assert account.answer(query, [order(1), order(2)]) == ()
    assert account.ask() == ()


def test_a_forgotten_order_that_is_open_again_is_in_doubt_until_somebody_says_what_it_is() -> None:
    account = forgetful()
    stale = KnowledgeChanged(ORDERS, Knowledge.WHOLE, Knowledge.STALE)
    assert account.apply(told(order(1))) == (stale,)
    assert account.unresolved == (1,)
    assert account.open_orders().value == {}
    # That nobody has it is no news: it was told how it ended.
    changes = account.give_up(1)
    assert [type(change) for change in changes] == [KnowledgeChanged, Resynced]
    assert account.unknown_outcomes().value == {}
    account.apply(told(order(1)))
    assert account.answer(orders_query(account), [order(1)])[0] == OrderChanged(
        None, order(1), None, healed=True
    )
    assert account.open_orders() == Reading({1: order(1)}, Knowledge.WHOLE)


def test_a_contradiction_about_an_unknown_outcome_is_reported_as_unknown_only_once() -> None:
    account = followed(ORDERS, told(order(filled="3")))
    account.answer(orders_query(account), [])
    account.give_up(1)
    account.apply(told(order(filled="2")))
    assert account.unresolved == (1,)
    changes = account.give_up(1)
    assert OutcomeUnknown(order(filled="3")) not in changes
    assert isinstance(changes[-1], Resynced)


def test_the_end_told_again_at_another_time_is_no_contradiction() -> None:
    ended = order(status=OrderStatus.CANCELED)
    account = followed(ORDERS, told(ended))
    again = attrs.evolve(ended, update_time=None)
    assert account.apply(told(again)) == (OrderChanged(ended, again, 1000),)
    assert account.unresolved == ()


def test_the_time_is_that_of_the_caller_and_marks_are_few() -> None:
    account = Account(config=AccountConfig(answer_lag=32.0))
    account.apply(Subscribed(BALANCE, 500, 1))
    assert account.ask(0.0) == ()
    account.apply(Gap(BALANCE, 1, 2, 1))
    # Too soon after the last mark for one more.
    assert account.ask(0.5) == ()
    assert account.deadline == 1.0
    assert account.ask(1.0) == ()
    assert account.deadline == 33.0
    assert account.ask(32.9) == ()
    assert len(account.ask(33.0)) == 1


# --- pages ---------------------------------------------------------------------------------------


def test_a_list_that_an_order_left_while_it_was_read_is_read_again() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    account.apply(told(order(4, status=OrderStatus.CANCELED)))
    account.answer(query, [order(4), order(3), order(1)])
    assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
    query = orders_query(account)
    assert query.ids is None
    account.answer(query, [order(3), order(2), order(1)])
    assert set(account.open_orders().value) == {1, 2, 3}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_a_list_is_refuted_by_a_close_that_comes_later_and_two_equal_ones_are_proof() -> None:
    account = followed(ORDERS)
    account.answer(orders_query(account), [order(4), order(3), order(1)])
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    account.apply(told(order(4, status=OrderStatus.CANCELED)))
    assert account.knowledge(ORDERS) is Knowledge.STALE
    for rows in ([3, 1], [3, 2, 1], [3, 2, 2, 1], [3, 2, 1]):
        account.answer(orders_query(account), [order(row) for row in rows])
        assert account.knowledge(ORDERS) is Knowledge.STALE, rows
    account.answer(orders_query(account), [order(row) for row in (3, 2, 1)])
    assert set(account.open_orders().value) == {1, 2, 3}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    # From now on nothing can refute it.
    account.apply(told(order(3, status=OrderStatus.CANCELED)))
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_a_list_of_several_pages_is_believed_only_if_two_passes_are_alike() -> None:
    account = followed(ORDERS)
    for rows in ([4, 3, 1], [3, 2, 1]):
        account.answer(orders_query(account), [order(row) for row in rows], pages=2)
        assert account.knowledge(ORDERS) is Knowledge.UNKNOWN, rows
    account.answer(orders_query(account), [order(row) for row in (3, 2, 1)], pages=2)
    query = orders_query(account)
    assert query.ids == (4,)
    account.answer(query, [order(4, status=OrderStatus.CANCELED)])
    assert set(account.open_orders().value) == {1, 2, 3}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_a_pass_in_which_an_order_closed_is_no_proof_of_the_one_before() -> None:
    account = followed(ORDERS)
    account.answer(orders_query(account), [order(3), order(2)], pages=2)
    query = orders_query(account)
    # It was read, then closed, and the first slipped into its place.
    account.apply(told(order(2, status=OrderStatus.CANCELED)))
    account.answer(query, [order(3), order(2)], pages=2)
    for _ in range(2):
        assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
        account.answer(orders_query(account), [order(3), order(1)], pages=2)
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert set(account.open_orders().value) == {1, 3}


def test_a_list_with_fewer_orders_than_its_total_is_not_believed() -> None:
    account = followed(ORDERS)
    for _ in range(4):
        account.answer(orders_query(account), [order(3), order(1)], pages=2, total=3)
        assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
    for _ in range(2):
        rows = [order(number) for number in (3, 2, 1)]
        account.answer(orders_query(account), rows, pages=2, total=3)
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert set(account.open_orders().value) == {1, 2, 3}


def test_a_list_of_one_page_cannot_be_refuted() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    account.apply(told(order(4, status=OrderStatus.CANCELED)))
    account.answer(query, [order(3)], pages=1)
    account.apply(told(order(3, status=OrderStatus.CANCELED)))
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_an_account_whose_orders_close_all_the_time_is_whole_after_a_bounded_number_of_lists() -> (
    None
):
    account = followed(ORDERS)
    number, questions = 100, 0
    for _ in range(200):
        queries = account.ask()
        account.apply(told(order(number, status=OrderStatus.CANCELED)))
        number += 1
        account.apply(told(order(number)))
        for query in queries:
            assert isinstance(query, OrdersQuery)
            questions += 1
            account.answer(query, [order(number), order(1)])
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert set(account.open_orders().value) == {number, 1}
    assert questions <= 8


def test_after_so_many_lists_what_any_of_them_had_is_asked_for_by_id() -> None:
    account = followed(ORDERS)
    lists = [[3], [3, 2], [3], [3, 2], [3], [3, 2], [3], [3, 1]]  # each without another
    for rows in lists:
        query = orders_query(account)
        assert query.ids is None
        account.apply(told(order(100, status=OrderStatus.CANCELED)))
        account.apply(told(order(100)))
        account.answer(query, [order(row) for row in rows])
        assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
        account.apply(told(order(100, status=OrderStatus.CANCELED)))
    query = orders_query(account)
    assert query.ids == (2,)
    account.answer(query, [order(2)])
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    assert set(account.open_orders().value) == {1, 2, 3}


def test_an_order_that_closes_while_it_is_looked_up_by_id_is_closed() -> None:
    rows = [order(1), order(1, filled="10", status=COMPLETED)]
    for found in (rows, rows[::-1]):
        account = followed(ORDERS, told(order(1)))
        account.answer(orders_query(account), [])
        account.answer(orders_query(account), found)
        assert account.order(1) == Reading(rows[1], Knowledge.WHOLE)


# --- time ----------------------------------------------------------------------------------------


def test_questions_wait_until_no_answer_can_be_from_before_the_subscription() -> None:
    account = Account(config=AccountConfig(answer_lag=60.0))
    account.apply(Subscribed(BALANCE, 500, 1))
    assert account.ask(10.0) == ()
    assert account.deadline == 70.0
    account.apply(BalanceUpdate(eth("5"), 600))
    assert account.ask(69.0) == ()
    [query] = account.ask(70.0)
    # It may be from before the update: that stands.
    assert isinstance(query, BalancesQuery)
    account.answer(query, [eth("3")])
    assert account.balance("ETH") == Reading(eth("5"), Knowledge.WHOLE)
    assert account.deadline is None


def test_a_lag_needs_a_clock() -> None:
    with pytest.raises(LocalProtocolError, match="now"):
        Account(config=AccountConfig(answer_lag=1.0)).ask()
    assert Account(config=QUICK).ask() == ()
    assert Account().deadline is None


def test_no_stream_of_odd_frames_makes_a_flood_of_questions() -> None:
    account = Account(config=AccountConfig(answer_lag=0.0))
    for topic in (ORDERS, BALANCE):
        account.apply(Subscribed(topic, 500, 1))
    asked = 0
    for tenth in range(1200):
        if tenth % 10 == 0:
            account.apply(Malformed("odd", "$", "{", 1, topics=(ORDERS, BALANCE)))
        queries = account.ask(tenth / 10)
        asked += len(queries)
        for query in queries:
            account.answer(query, [], pages=1)
    assert asked <= 20
    now = account.deadline
    assert now is not None
    for query in account.ask(now):
        account.answer(query, [])
    assert account.knowledge(ORDERS) is account.knowledge(BALANCE) is Knowledge.WHOLE
    # After a time of quiet nothing waits any more.
    account.apply(Gap(ORDERS, 1, 2, 2))
    assert len(account.ask(now + 61)) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"answer_lag": -1.0},
        {"answer_lag": float("nan")},
        {"answer_lag": "1"},
        {"answer_lag": 10**400},
        {"retry_cap": 10**400},
        {"max_tries": 0},
        {"max_tries": 1.5},
        {"max_tries": True},
        {"retry_first": 0.0},
        {"retry_first": float("inf")},
        {"retry_cap": -1.0},
        {"retry_first": 31.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AccountConfig(**settings)
    assert caught.value.setting == f"AccountConfig.{next(iter(settings))}"


# --- balances ------------------------------------------------------------------------------------


def test_a_balance_of_an_answer_replaces_one_from_before_the_question() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    changes = account.answer(balances_query(account), [eth("2")])
    difference = BalanceChanged(eth("1"), eth("2"), None, healed=True)
    assert changes == (
        difference,
        NOW_WHOLE[BALANCE],
        Resynced(BALANCE, (difference,), asked_ts=1000, answered_ts=None),
    )


def test_every_balance_of_an_answer_is_told() -> None:
    account = followed(BALANCE)
    btc = Balance("BTC", Decimal(7), Decimal(0))
    *changes, _, resynced = account.answer(
        balances_query(account), [eth("1"), btc], answered_ts=900
    )
    found = (
        BalanceChanged(None, eth("1"), None, healed=True),
        BalanceChanged(None, btc, None, healed=True),
    )
    assert tuple(changes) == found
    assert resynced == Resynced(BALANCE, found, 500, 900)


def test_an_update_of_a_balance_that_was_left_out_answers_for_it() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    account.answer(balances_query(account), [])
    assert account.unresolved == ("ETH",)
    changes = account.apply(BalanceUpdate(eth("2"), 1100))
    assert isinstance(changes[-1], Resynced)
    assert not account.unresolved


def test_a_balance_that_contradicts_what_the_stream_told_is_asked_for_by_name() -> None:
    account = followed(BALANCE)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(balances_query(account), [eth("2")])
    assert account.balance("ETH") == Reading(eth("1"), Knowledge.UNKNOWN)
    assert not account.is_current("ETH")
    query = balances_query(account)
    assert query.assets == ("ETH",)
    assert account.answer(query, [eth("2")])[0] == BalanceChanged(
        eth("1"), eth("2"), None, healed=True
    )
    assert account.balance("ETH") == Reading(eth("2"), Knowledge.WHOLE)


def test_an_update_settles_a_balance_in_doubt_and_no_older_answer_changes_it() -> None:
    account = followed(BALANCE)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(balances_query(account), [eth("2")])
    query = balances_query(account)
    assert isinstance(account.apply(BalanceUpdate(eth("3"), 900))[-1], Resynced)
    account.answer(query, [eth("2")])
    assert account.balance("ETH") == Reading(eth("3"), Knowledge.WHOLE)


def test_a_balance_that_the_stream_told_and_no_answer_has_stands() -> None:
    account = followed(BALANCE)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(balances_query(account), [])
    for _ in range(8):
        query = balances_query(account)
        account.answer(query, [])
        account.retry(query)
    assert account.balance("ETH") == Reading(eth("1"), Knowledge.WHOLE)


def test_a_balance_that_no_answer_has_any_more_is_left_out_in_the_end() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    account.answer(balances_query(account), [])
    changes: list[Change] = []
    for _ in range(20):
        for query in account.ask():
            assert isinstance(query, BalancesQuery)
            changes = list(account.answer(query, []))
            account.retry(query)
    assert changes[0] == BalanceUnlisted(eth("1"))
    assert account.balances() == Reading({}, Knowledge.WHOLE)


def test_a_question_for_one_balance_says_nothing_of_the_others() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    account.answer(balances_query(account), [Balance("BTC", Decimal(7), Decimal(0))])
    changes = account.answer(balances_query(account), [eth("1")])
    assert isinstance(changes[-1], Resynced)
    assert not account.unresolved


def test_a_balance_that_changed_during_the_question_is_what_the_stream_told() -> None:
    # Whatever changes it later, the stream tells.
    account = followed(BALANCE)
    query = balances_query(account)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(query, [eth("2")])
    assert account.balance("ETH") == Reading(eth("1"), Knowledge.WHOLE)


def test_a_balance_that_the_exchange_leaves_out_is_asked_for_and_no_zero_is_invented() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    assert account.answer(balances_query(account), []) == ()
    query = balances_query(account)
    assert query.assets == ("ETH",)
    account.answer(query, [])
    assert account.balance("ETH").value == eth("1")
    assert account.unresolved == ("ETH",)
    account.retry()
    account.answer(balances_query(account), [eth("0")])
    assert account.balance("ETH").value == eth("0")
    assert not account.unresolved


# --- questions and the connection ----------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", [LOST, Gap(ORDERS, 1, 2, 2), Subscribed(ORDERS, 600, 2)])
def test_an_answer_to_a_question_from_before_a_loss_changes_nothing(meanwhile: Event) -> None:
    account = followed(ORDERS)
    outdated = orders_query(account)
    account.apply(meanwhile)
    account.apply(Subscribed(ORDERS, 700, 2))
    assert account.answer(outdated, [order()]) == ()
    assert account.open_orders().value == {}
    account.answer(orders_query(account), [order()])
    assert account.open_orders().value == {1: order()}


def test_balances_from_before_a_loss_change_nothing() -> None:
    account = followed(BALANCE)
    outdated = balances_query(account)
    account.apply(LOST)
    account.apply(Subscribed(BALANCE, 700, 2))
    assert account.answer(outdated, [eth("1")]) == ()
    assert account.balances().value == {}


def test_an_answer_while_there_is_no_subscription_changes_nothing() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    account.apply(LOST)
    assert account.answer(query, [order()]) == ()
    assert account.ask() == ()


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    account = followed(ORDERS)
    query = orders_query(account)
    account.answer(query, [])
    assert account.answer(query, [order()]) == ()


def test_differences_are_those_since_the_last_time() -> None:
    account = followed(ORDERS)
    account.answer(orders_query(account), [order(1)])
    account.apply(LOST)
    account.apply(Subscribed(ORDERS, 900, 2))
    *_, resynced = account.answer(orders_query(account), [order(1), order(2)])
    assert resynced == Resynced(
        ORDERS, (OrderChanged(None, order(2), None, healed=True),), 900, None
    )


def test_differences_of_an_interrupted_attempt_are_told_once() -> None:
    account = followed(ORDERS, told(order(7)))
    first = account.answer(orders_query(account), [order(1)])
    assert OrderChanged(None, order(1), None, healed=True) in first
    account.apply(LOST)
    account.apply(Subscribed(ORDERS, 1100, 2))
    *_, resynced = account.answer(orders_query(account), [order(1), order(7)])
    assert resynced == Resynced(ORDERS, (), 1100, None)


def test_a_question_that_failed_is_asked_again_and_both_answers_are_good() -> None:
    account = followed(ORDERS)
    first = orders_query(account)
    account.retry()
    assert orders_query(account) == first
    assert isinstance(account.answer(first, [order()])[-1], Resynced)


def test_a_question_that_failed_opens_no_other_one_again() -> None:
    account = followed(ORDERS)
    account.apply(Subscribed(BALANCE, 500, 1))
    orders, balances = account.ask()
    for query in (orders, balances):
        account.retry(query)
        assert account.ask() == (query,)


def test_an_order_that_is_not_found_is_asked_for_again_by_its_question() -> None:
    account = followed(ORDERS, told(order(7)), told(order(8)))
    account.answer(orders_query(account), [])
    query = orders_query(account)
    account.answer(query, [order(8)])
    assert account.ask() == ()
    account.retry(query)
    assert orders_query(account).ids == (7,)


def test_a_question_from_before_a_loss_is_not_asked_again() -> None:
    account = followed(BALANCE)
    outdated = balances_query(account)
    account.apply(LOST)
    account.apply(Subscribed(BALANCE, 700, 2))
    query = balances_query(account)
    account.retry(outdated)
    assert account.ask() == ()
    account.retry(query)
    assert account.ask() == (query,)


# --- the truth -----------------------------------------------------------------------------------


@attrs.define(eq=False)
class Request:
    """An HTTP request on its way."""

    query: Query
    found: list[Any] | None = None
    """The exchange's answer, once there is one."""
    ts: int | None = None


MOMENTS = st.sampled_from([0.0, 0.0003, 0.001, 0.05, 0.3, 12.0])
CONFIG = SessionConfig(ping_interval=None, silence_timeout=1_000_000)


class Reconciling(RuleBasedStateMachine):
    """An exchange, a session, an application with its account and an HTTP client, each at its own
    pace."""

    @initialize(
        seed=st.integers(0, 1000),
        rate=st.sampled_from([0.0, 5.0, 40.0]),
        kept=st.sampled_from([1, 1, 4]),
        is_whole=st.booleans(),
    )
    def begin(self, seed: int, rate: float, kept: int, *, is_whole: bool) -> None:
        self.now = 1000.0
        self.living = LivingAccount(seed, rate=rate, now=self.now)
        self.gateway = Gateway(config=GatewayConfig(ping_interval=None), now=self.now)
        self.session = Session(
            (ORDERS, BALANCE), token=Token("demo"), config=CONFIG, jitter=lambda: 0.5
        )
        self.account = Account(max_closed=kept)
        self.peer: int | None = None
        self.is_dead = False
        """True once the server has lost the connection and the client does not know yet."""
        self.to_client: deque[str] = deque()
        self.to_server: deque[str] = deque()
        self.events: deque[Event] = deque()
        self.requests: list[Request] = []
        self.deadline: float | None = None
        self.is_published = False
        self.take(self.session.start(self.now))
        if is_whole:
            self.all_goes_well()
            self.make_whole()

    # The exchange.

    @rule(seconds=MOMENTS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if seconds < 1:
            self.publish(self.living.deadline_reached(self.now).changes)
        self.carry(self.gateway.deadline_reached(self.now))
        if self.deadline is not None and self.deadline <= self.now:
            self.take(self.session.deadline_reached(self.now))

    @rule(fills=st.lists(st.integers(1, 3), max_size=3), cancel=st.booleans())
    def much_happens_at_once(self, fills: list[int], *, cancel: bool) -> None:
        if self.living.balances["ETH"].available < 10:
            return
        changes = self.living.place(
            "ETH/USDT", Side.SELL, Decimal(10), self.now, price=Decimal(700)
        ).changes
        number = next(change.id for change in changes if isinstance(change, Order))
        for amount in fills:
            changes += self.living.fill(number, Decimal(amount), self.now).changes
        if cancel:
            changes += self.living.cancel(number, self.now).changes
        self.publish(changes)

    @rule(
        fault=st.sampled_from(
            [
                LoseAck(),
                DelayAck(0.5),
                DelayAck(11.0),
                DuplicateAck(),
                WrongId(),
                RejectRequest(3),
                AcceptThenClose(),
                MALFORMED_FRAME,
            ]
        )
    )
    def something_goes_wrong(self, fault: Any) -> None:
        self.carry(self.gateway.inject(fault, self.now))

    @precondition(lambda self: self.is_published)
    @rule(count=st.integers(1, 3))
    def the_last_updates_are_repeated(self, count: int) -> None:
        self.carry(self.gateway.inject(Burst(count), self.now))

    @precondition(lambda self: self.to_server)
    @rule()
    def a_frame_reaches_the_server(self) -> None:
        assert self.peer is not None
        self.carry(self.gateway.message_received(self.peer, self.to_server.popleft(), self.now))

    # The network.

    @precondition(lambda self: self.to_client)
    @rule(count=st.integers(1, 8))
    def frames_reach_the_client(self, count: int) -> None:
        for _ in range(min(count, len(self.to_client))):
            if self.to_client:
                step = self.session.message_received(self.to_client.popleft(), self.now)
                self.take(step)

    @precondition(lambda self: self.to_client)
    @rule(data=st.data())
    def a_frame_is_garbled(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.to_client) - 1))
        self.to_client[at] = self.to_client[at][:-3]

    @rule()
    def all_goes_well(self) -> None:
        """Everything that is on its way, but for HTTP, arrives."""
        while self.to_server or self.to_client or self.events:
            while self.to_server:
                self.a_frame_reaches_the_server()
            self.frames_reach_the_client(1000)
            self.the_application_takes_events(1000)

    @precondition(lambda self: self.peer is not None and not self.is_dead)
    @rule(arriving=st.integers(0, 5))
    def the_server_loses_the_connection(self, arriving: int) -> None:
        assert self.peer is not None
        self.gateway.disconnected(self.peer, self.now)
        self.is_dead = True
        self.to_server.clear()
        while len(self.to_client) > arriving:
            self.to_client.pop()

    @precondition(lambda self: self.session.state is SessionState.CONNECTED)
    @rule()
    def the_client_loses_the_connection(self) -> None:
        self.hang_up()
        self.take(self.session.connection_lost(None, "", self.now))

    @precondition(lambda self: self.session.state is SessionState.WAITING)
    @rule()
    def the_client_dials_again(self) -> None:
        assert self.deadline is not None
        self.now = max(self.now, self.deadline)
        self.take(self.session.deadline_reached(self.now))

    # The application.

    @rule(topic=st.sampled_from([ORDERS, BALANCE]), wanted=st.booleans())
    def the_application_decides(self, topic: Topic, *, wanted: bool) -> None:
        ask = self.session.subscribe if wanted else self.session.unsubscribe
        self.take(ask(topic, self.now))

    @precondition(lambda self: self.events)
    @rule(count=st.integers(1, 8))
    def the_application_takes_events(self, count: int) -> None:
        for _ in range(min(count, len(self.events))):
            self.told(self.account.apply(self.events.popleft()))

    @rule()
    def the_application_asks(self) -> None:
        self.requests += [Request(query) for query in self.account.ask()]

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), flaw=st.sampled_from(["none", "none", "slips", "no zeros"]))
    def the_exchange_answers(self, data: st.DataObject, flaw: str) -> None:
        self.serve(
            data.draw(st.sampled_from(self.requests)), flaw, is_timed=data.draw(st.booleans())
        )

    @precondition(lambda self: any(request.found is not None for request in self.requests))
    @rule(data=st.data())
    def an_answer_arrives(self, data: st.DataObject) -> None:
        answered = [request for request in self.requests if request.found is not None]
        self.receive(data.draw(st.sampled_from(answered)))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def a_request_fails(self, data: st.DataObject) -> None:
        self.requests.remove(data.draw(st.sampled_from(self.requests)))
        self.account.retry()

    # What must hold.

    @invariant()
    def what_is_whole_is_true_when_nothing_is_on_its_way(self) -> None:
        if self.to_client or self.events or self.is_dead:
            return
        if self.account.knowledge(ORDERS) is Knowledge.WHOLE and not self.is_given_up(ORDERS):
            assert self.account.open_orders().value == self.living.open_orders
        if self.account.knowledge(BALANCE) is Knowledge.WHOLE and not self.is_given_up(BALANCE):
            assert self.account.balances().value == self.living.balances

    def teardown(self) -> None:
        """All is well from now on, and soon everything is known."""
        if not hasattr(self, "account"):
            return
        self.gateway.clear_faults()
        if self.is_dead:
            self.the_client_loses_the_connection()
        for _ in range(20):
            self.now += 0.01
            # Every time: a refusal may have been on its way.
            for topic in (ORDERS, BALANCE):
                self.take(self.session.subscribe(topic, self.now))
            if self.session.state is SessionState.WAITING:
                self.the_client_dials_again()
            self.carry(self.gateway.deadline_reached(self.now))
            self.all_goes_well()
            # Late answers, from whenever they are.
            for request in tuple(self.requests):
                if request.found is not None:
                    self.receive(request)
                    self.what_is_whole_is_true_when_nothing_is_on_its_way()
            self.requests.clear()
            self.account.retry()
            self.make_whole()
            # What the exchange still owed from before: an acknowledgement that comes too late.
            is_given_up = self.is_given_up(ORDERS) or self.is_given_up(BALANCE)
            if self.deadline is not None and (is_given_up or not self.is_known):
                self.now = max(self.now, self.deadline)
                self.take(self.session.deadline_reached(self.now))
        assert self.is_known
        assert self.account.open_orders().value == self.living.open_orders
        assert self.account.balances().value == self.living.balances
        for number, known in self.account.other_orders().value.items():
            assert known == self.living.orders[number]

    # How it is done.

    def make_whole(self) -> None:
        while queries := self.account.ask():
            for query in queries:
                request = Request(query)
                self.requests.append(request)
                self.serve(request, "none", is_timed=False)
                self.receive(request)

    @property
    def is_known(self) -> bool:
        return all(self.account.knowledge(topic) is Knowledge.WHOLE for topic in (ORDERS, BALANCE))

    def is_given_up(self, topic: Topic) -> bool:
        """True if the application does not want a topic, and has not been told yet from when on the
        server sent no more of it."""
        connection = self.session.connection
        return (
            connection is not None and connection.state_of(topic) is SubscriptionState.UNSUBSCRIBING
        )

    def publish(self, changes: tuple[Order | Balance, ...]) -> None:
        for change in changes:
            self.is_published = True
            self.carry(self.gateway.publish("demo", change, self.now))

    def carry(self, step: GatewayStep) -> None:
        for action in step.actions:
            match action:
                case SendFrame(text=text):
                    self.to_client.append(text)
                case ClosePeer():
                    self.is_dead = True
                    self.to_server.clear()
                case _:
                    pass

    def take(self, step: Step) -> None:
        self.deadline = step.deadline
        self.events += step.events
        for action in step.actions:
            match action:
                case Connect():
                    self.connect(action)
                case SendText(text=text):
                    if not self.is_dead:
                        self.to_server.append(text)
                case Close():
                    self.hang_up()
                case _:
                    pass

    def connect(self, action: Connect) -> None:
        answer = self.gateway.handshake(action.target(), (), self.now)
        accept = answer.actions[0]
        assert isinstance(accept, Accept)
        self.peer, self.is_dead = accept.peer, False
        self.carry(answer)
        self.take(self.session.connection_made(self.now))

    def hang_up(self) -> None:
        if self.peer is not None:
            self.gateway.disconnected(self.peer, self.now)
        self.peer, self.is_dead = None, False
        self.to_client.clear()
        self.to_server.clear()

    def serve(self, request: Request, flaw: str, *, is_timed: bool) -> None:
        query = request.query
        if isinstance(query, OrdersQuery):
            orders, ids = self.living.orders, query.ids
            found: list[Any] = [
                known
                for known in orders.values()
                if (known.is_open if ids is None else known.id in ids)
            ]
            if flaw == "slips" and ids is None:
                # Of two that slip, the one that is not known here would be missed for ever.
                slips = next((o for o in found if o.id in self.account.open_orders().value), None)
                found = [known for known in found if known is not slips]
        else:
            assets = query.assets
            found = [
                known
                for known in self.living.balances.values()
                if assets is None or known.asset in assets
            ]
            if flaw == "no zeros" and assets is None:
                found = [known for known in found if known.total]
        request.found = found
        request.ts = self.gateway.server_ts(self.now) if is_timed else None

    def receive(self, request: Request) -> None:
        self.requests.remove(request)
        assert request.found is not None
        query: Any = request.query
        self.told(self.account.answer(query, request.found, answered_ts=request.ts))

    def told(self, changes: tuple[Change, ...]) -> None:
        # This exchange never goes back, and nothing may seem so.
        assert not [change for change in changes if isinstance(change, MovedBackwards)]


TestReconciling = Reconciling.TestCase
