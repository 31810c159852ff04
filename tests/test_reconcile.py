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

from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Close,
    Connect,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Order,
    OrderStatus,
    OrderType,
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
    AggregatedFill,
    BalanceChanged,
    BalancesQuery,
    Change,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OrdersQuery,
    Query,
    Resynced,
)
from topone_proto.exchange import LivingAccount
from topone_proto.gateway import (
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
    LoseAck,
    RejectRequest,
    SendFrame,
    WrongId,
)

LOST = Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1)
NOW_WHOLE = {
    topic: KnowledgeChanged(topic, Knowledge.UNKNOWN, Knowledge.WHOLE)
    for topic in (ORDERS, BALANCE)
}


def order(
    number: int = 1,
    *,
    at: float = 100.0,
    filled: str = "0",
    status: OrderStatus = OrderStatus.PENDING,
) -> Order:
    done = Decimal(filled)
    return Order(
        id=number,
        market="ETH/BTC",
        type=OrderType.LIMIT,
        side=Side.BUY,
        status=status,
        price=Decimal(2),
        amount=Decimal(10),
        left=Decimal(10) - done,
        deal_stock=done,
        deal_money=done * 2,
        create_time=50.0,
        update_time=at,
    )


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


def asked_for_orders(account: Account) -> OrdersQuery:
    [query] = account.ask()
    assert isinstance(query, OrdersQuery)
    return query


def asked_for_balances(account: Account) -> BalancesQuery:
    [query] = account.ask()
    assert isinstance(query, BalancesQuery)
    return query


# --- orders --------------------------------------------------------------------------------------


def test_an_order_that_only_the_exchange_knows_is_a_difference() -> None:
    account = followed(ORDERS)
    missed = order(filled="3")
    changes = account.answer(asked_for_orders(account), [missed], answered_ts=700)
    differences = (
        OrderChanged(None, missed, None),
        AggregatedFill(missed, None, Decimal(3), Decimal(6)),
    )
    assert changes == (
        *differences,
        NOW_WHOLE[ORDERS],
        Resynced(ORDERS, differences, asked_ts=500, answered_ts=700),
    )
    assert account.open_orders().value == {1: missed}
    assert account.open_orders().knowledge is Knowledge.WHOLE
    assert account.ask() == ()


def test_the_newer_state_wins_whoever_tells_it() -> None:
    ours, theirs = order(1, at=105.0, filled="5"), order(2, at=105.0, filled="5")
    account = followed(ORDERS, told(ours), told(order(2, at=103.0, filled="3")))
    *_, resynced = account.answer(
        asked_for_orders(account), [order(1, at=103.0, filled="3"), theirs]
    )
    assert account.open_orders().value == {1: ours, 2: theirs}
    assert isinstance(resynced, Resynced)
    assert resynced.differences == (
        OrderChanged(order(2, at=103.0, filled="3"), theirs, None),
        AggregatedFill(theirs, 103.0, Decimal(2), Decimal(4)),
    )


def test_an_update_behind_what_an_answer_told_is_neither_applied_nor_an_anomaly() -> None:
    account = followed(ORDERS)
    ahead = order(at=105.0, filled="5")
    account.answer(asked_for_orders(account), [ahead])
    assert account.apply(told(order(at=101.0))) == ()
    assert account.apply(told(order(at=103.0, filled="2"))) == ()
    assert account.apply(told(ahead)) == ()
    assert account.open_orders().value == {1: ahead}
    # The stream itself does not go back.
    [anomaly] = account.apply(told(order(at=101.0)))
    assert isinstance(anomaly, MovedBackwards)


def test_an_open_order_that_the_exchange_does_not_list_is_asked_for_by_id() -> None:
    account = followed(ORDERS, told(order(7)), told(order(8)))
    assert account.answer(asked_for_orders(account), [order(8)]) == ()
    # No cancel is invented.
    assert set(account.open_orders().value) == {7, 8}
    assert account.unresolved == (7,)
    assert account.knowledge(ORDERS) is Knowledge.UNKNOWN
    query = asked_for_orders(account)
    assert query.ids == (7,)
    assert account.ask() == ()

    ended = order(7, at=120.0, filled="10", status=OrderStatus.COMPLETED)
    changes = account.answer(query, [ended])
    assert OrderChanged(order(7), ended, None) in changes
    assert isinstance(changes[-1], Resynced)
    assert not account.unresolved
    assert set(account.open_orders().value) == {8}


def test_an_order_that_is_not_found_by_id_stays_unresolved_and_can_be_asked_for_again() -> None:
    account = followed(ORDERS, told(order(7)))
    account.answer(asked_for_orders(account), [])
    query = asked_for_orders(account)
    assert account.answer(query, []) == ()
    assert account.unresolved == (7,)
    assert account.open_orders().value == {7: order(7)}
    assert account.ask() == ()
    account.retry()
    assert asked_for_orders(account).ids == (7,)


def test_an_order_that_is_open_after_all_is_no_difference() -> None:
    # The list was read page by page, and it slipped through.
    account = followed(ORDERS, told(order(7)))
    account.answer(asked_for_orders(account), [])
    changes = account.answer(asked_for_orders(account), [order(7)])
    assert changes[-1] == Resynced(ORDERS, (), 1000, None)


def test_an_update_answers_what_was_unresolved() -> None:
    account = followed(ORDERS, told(order(7)))
    account.answer(asked_for_orders(account), [])
    ended = order(7, at=120.0, status=OrderStatus.CANCELED)
    changes = account.apply(told(ended, 1500))
    assert changes[0] == OrderChanged(order(7), ended, 1500)
    assert isinstance(changes[-1], Resynced)


def test_what_was_told_since_the_acknowledgement_needs_no_answer() -> None:
    account = followed(ORDERS)
    account.apply(told(order(1)))
    query = asked_for_orders(account)
    account.apply(told(order(2)))
    changes = account.answer(query, [])
    assert isinstance(changes[-1], Resynced)
    assert set(account.open_orders().value) == {1, 2}


def test_an_order_that_closed_meanwhile_stays_closed() -> None:
    account = followed(ORDERS)
    query = asked_for_orders(account)
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
    query = asked_for_orders(account)
    ended = order(1, at=closed_at, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.apply(told(order(2, at=102.0, status=OrderStatus.CANCELED)))
    account.answer(query, [order(1), order(1), order(3)])
    assert account.open_orders().value == {}
    again = asked_for_orders(account)
    assert again.ids == (1, 3)
    account.answer(again, [ended, order(3)])
    assert account.open_orders().value == {3: order(3)}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_an_order_that_closes_while_it_is_asked_for_by_id_stays_closed_though_forgotten() -> None:
    account = followed(ORDERS, told(order(1)), told(order(2)), max_closed=1)
    account.answer(asked_for_orders(account), [])
    by_id = asked_for_orders(account)
    ended = order(1, at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.apply(told(order(3, at=101.0, status=OrderStatus.CANCELED)))
    account.answer(by_id, [order(1), order(2)])
    assert account.open_orders().value == {2: order(2)}
    again = asked_for_orders(account)
    assert again.ids == (1,)
    account.answer(again, [ended])
    assert account.open_orders().value == {2: order(2)}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_no_outdated_list_brings_a_forgotten_order_back() -> None:
    account = followed(ORDERS, max_closed=1)
    first = asked_for_orders(account)
    account.retry()
    second = asked_for_orders(account)
    ended = order(1, at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    account.apply(told(order(2, at=101.0, status=OrderStatus.CANCELED)))
    account.answer(second, [order(1)])
    by_id = asked_for_orders(account)
    account.answer(first, [order(1)])
    assert account.open_orders().value == {}
    assert asked_for_orders(account).ids == (1,)
    account.answer(by_id, [ended])
    assert account.open_orders().value == {}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_no_outdated_list_opens_an_order_again_that_another_answer_closed() -> None:
    account = followed(ORDERS, told(order(1)), told(order(9)), max_closed=1)
    first = asked_for_orders(account)
    account.retry()
    second = asked_for_orders(account)
    ended = [order(n, at=101.0, status=OrderStatus.CANCELED) for n in (1, 2)]
    # The second closes both, and the first of them is forgotten. That of 9 is still open here.
    account.answer(second, ended)
    assert account.order(1).value is None
    account.answer(first, [order(1), order(9)])
    assert set(account.open_orders().value) == {9}
    account.answer(asked_for_orders(account), [ended[0], order(9)])
    assert set(account.open_orders().value) == {9}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_what_was_forgotten_before_the_question_is_no_reason_to_doubt_the_answer() -> None:
    account = followed(ORDERS, max_closed=1)
    for number in (1, 2):
        account.apply(told(order(number, at=200.0, status=OrderStatus.CANCELED)))
    account.answer(asked_for_orders(account), [order(3, at=100.0)])
    assert account.open_orders().value == {3: order(3, at=100.0)}
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_everything_that_an_answer_changes_is_told_and_told_again_in_the_end() -> None:
    account = followed(ORDERS, told(order(7)))
    listed = account.answer(asked_for_orders(account), [order(1), order(2)])
    assert listed == (OrderChanged(None, order(1), None), OrderChanged(None, order(2), None))
    ended = order(7, at=120.0, status=OrderStatus.CANCELED)
    *by_id, _, resynced = account.answer(asked_for_orders(account), [ended], answered_ts=900)
    found = OrderChanged(order(7), ended, None)
    assert by_id == [found]
    assert isinstance(resynced, Resynced)
    assert resynced.differences == (*listed, found)
    assert (resynced.asked_ts, resynced.answered_ts) == (1000, 900)


def test_of_two_states_of_one_moment_the_streams_survives() -> None:
    ours, theirs = order(), attrs.evolve(order(), price=Decimal(7))
    account = followed(ORDERS)
    query = asked_for_orders(account)
    account.apply(told(ours))
    account.answer(query, [theirs])
    assert account.order(1).value == ours


def test_an_answer_that_contradicts_is_an_anomaly() -> None:
    known, strange = order(at=100.0, filled="5"), order(at=101.0, filled="4")
    account = followed(ORDERS, told(known))
    changes = account.answer(asked_for_orders(account), [strange])
    assert changes[0] == MovedBackwards(known, strange, None, "less is filled than before")
    assert account.order(1).value == known


def test_the_end_of_an_order_told_again_in_other_words_changes_nothing() -> None:
    account = followed(ORDERS)
    query = asked_for_orders(account)
    ended = order(at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(ended))
    changes = account.answer(query, [order(at=102.0, status=OrderStatus.COMPLETED)])
    assert changes == (NOW_WHOLE[ORDERS], Resynced(ORDERS, (), 500, None))
    assert account.order(1).value == ended


# --- balances ------------------------------------------------------------------------------------


def test_a_balance_of_an_answer_replaces_one_from_before_the_question() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    changes = account.answer(asked_for_balances(account), [eth("2")])
    difference = BalanceChanged(eth("1"), eth("2"), None)
    assert changes == (
        difference,
        NOW_WHOLE[BALANCE],
        Resynced(BALANCE, (difference,), asked_ts=1000, answered_ts=None),
    )


def test_every_balance_of_an_answer_is_told() -> None:
    account = followed(BALANCE)
    btc = Balance("BTC", Decimal(7), Decimal(0))
    *changes, _, resynced = account.answer(
        asked_for_balances(account), [eth("1"), btc], answered_ts=900
    )
    found = (BalanceChanged(None, eth("1"), None), BalanceChanged(None, btc, None))
    assert tuple(changes) == found
    assert resynced == Resynced(BALANCE, found, 500, 900)


def test_an_update_of_a_balance_that_was_left_out_answers_for_it() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    account.answer(asked_for_balances(account), [])
    assert account.unresolved == ("ETH",)
    changes = account.apply(BalanceUpdate(eth("2"), 1100))
    assert isinstance(changes[-1], Resynced)
    assert not account.unresolved


@pytest.mark.parametrize("says", ["1", "2"])
def test_a_balance_in_doubt_is_settled_by_an_answer_that_says_the_same_or_is_older(
    says: str,
) -> None:
    account = followed(BALANCE)
    first = asked_for_balances(account)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(first, [eth("2")])
    again = asked_for_balances(account)
    account.apply(BalanceUpdate(eth("1"), 1001))
    changes = account.answer(again, [eth(says)], answered_ts=1000)
    assert isinstance(changes[-1], Resynced)
    assert account.balance("ETH").value == eth("1")


def test_a_balance_in_doubt_that_the_answer_leaves_out_is_what_the_stream_told() -> None:
    account = followed(BALANCE)
    first = asked_for_balances(account)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(first, [eth("2")])
    changes = account.answer(asked_for_balances(account), [])
    assert isinstance(changes[-1], Resynced)
    assert account.balance("ETH").value == eth("1")


def test_a_question_for_one_balance_says_nothing_of_the_others() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    account.answer(asked_for_balances(account), [Balance("BTC", Decimal(7), Decimal(0))])
    changes = account.answer(asked_for_balances(account), [eth("1")])
    assert isinstance(changes[-1], Resynced)
    assert not account.unresolved


def test_a_balance_that_changed_during_the_question_is_asked_for_again() -> None:
    account = followed(BALANCE)
    query = asked_for_balances(account)
    account.apply(BalanceUpdate(eth("1"), 1000))
    assert account.answer(query, [eth("2")]) == ()
    assert account.balance("ETH").value == eth("1")
    assert account.unresolved == ("ETH",)
    query = asked_for_balances(account)
    assert query.assets == ("ETH",)
    changes = account.answer(query, [eth("2")])
    assert account.balance("ETH").value == eth("2")
    assert isinstance(changes[-1], Resynced)


@pytest.mark.parametrize(("answer", "answered_ts"), [("1", None), ("2", 999)])
def test_a_balance_is_not_asked_for_again_if_there_is_no_doubt(
    answer: str, answered_ts: int | None
) -> None:
    # Both say the same, or the update is from after the answer.
    account = followed(BALANCE)
    query = asked_for_balances(account)
    account.apply(BalanceUpdate(eth("1"), 1000))
    changes = account.answer(query, [eth(answer)], answered_ts=answered_ts)
    assert account.balance("ETH").value == eth("1")
    assert isinstance(changes[-1], Resynced)


def test_an_update_at_the_very_time_of_the_answer_is_in_doubt() -> None:
    account = followed(BALANCE)
    query = asked_for_balances(account)
    account.apply(BalanceUpdate(eth("1"), 1000))
    account.answer(query, [eth("2")], answered_ts=1000)
    assert account.unresolved == ("ETH",)


def test_a_balance_that_never_rests_is_asked_for_three_times() -> None:
    account = followed(BALANCE)
    asked = 0
    while (queries := account.ask()) and asked < 10:
        asked += 1
        account.apply(BalanceUpdate(eth(str(asked)), 1000 + asked))
        for query in queries:
            assert isinstance(query, BalancesQuery)
            account.answer(query, [eth("0.5")])
    assert asked == 3
    assert account.balance("ETH").value == eth("3")
    assert account.knowledge(BALANCE) is Knowledge.WHOLE


def test_a_balance_that_the_exchange_leaves_out_is_asked_for_and_no_zero_is_invented() -> None:
    account = followed(BALANCE, BalanceUpdate(eth("1"), 1000))
    assert account.answer(asked_for_balances(account), []) == ()
    query = asked_for_balances(account)
    assert query.assets == ("ETH",)
    account.answer(query, [])
    assert account.balance("ETH").value == eth("1")
    assert account.unresolved == ("ETH",)
    account.retry()
    account.answer(asked_for_balances(account), [eth("0")])
    assert account.balance("ETH").value == eth("0")
    assert not account.unresolved


# --- questions and the connection ----------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", [LOST, Gap(ORDERS, 1, 2, 2), Subscribed(ORDERS, 600, 2)])
def test_an_answer_to_a_question_from_before_a_loss_changes_nothing(meanwhile: Event) -> None:
    account = followed(ORDERS)
    outdated = asked_for_orders(account)
    account.apply(meanwhile)
    account.apply(Subscribed(ORDERS, 700, 2))
    assert account.answer(outdated, [order()]) == ()
    assert account.open_orders().value == {}
    account.answer(asked_for_orders(account), [order()])
    assert account.open_orders().value == {1: order()}


def test_balances_from_before_a_loss_change_nothing() -> None:
    account = followed(BALANCE)
    outdated = asked_for_balances(account)
    account.apply(LOST)
    account.apply(Subscribed(BALANCE, 700, 2))
    assert account.answer(outdated, [eth("1")]) == ()
    assert account.balances().value == {}


def test_an_answer_while_there_is_no_subscription_changes_nothing() -> None:
    account = followed(ORDERS)
    query = asked_for_orders(account)
    account.apply(LOST)
    assert account.answer(query, [order()]) == ()
    assert account.ask() == ()


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    account = followed(ORDERS)
    query = asked_for_orders(account)
    account.answer(query, [])
    assert account.answer(query, [order()]) == ()


def test_differences_are_those_since_the_last_time() -> None:
    account = followed(ORDERS)
    account.answer(asked_for_orders(account), [order(1)])
    account.apply(LOST)
    account.apply(Subscribed(ORDERS, 900, 2))
    *_, resynced = account.answer(asked_for_orders(account), [order(1), order(2)])
    assert resynced == Resynced(ORDERS, (OrderChanged(None, order(2), None),), 900, None)


def test_differences_of_an_interrupted_attempt_are_told_once() -> None:
    account = followed(ORDERS, told(order(7)))
    first = account.answer(asked_for_orders(account), [order(1)])
    assert OrderChanged(None, order(1), None) in first
    account.apply(LOST)
    account.apply(Subscribed(ORDERS, 1100, 2))
    *_, resynced = account.answer(asked_for_orders(account), [order(1), order(7)])
    assert resynced == Resynced(ORDERS, (), 1100, None)


def test_a_question_that_failed_is_asked_again_and_both_answers_are_good() -> None:
    account = followed(ORDERS)
    first = asked_for_orders(account)
    account.retry()
    assert asked_for_orders(account) == first
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
    account.answer(asked_for_orders(account), [])
    query = asked_for_orders(account)
    account.answer(query, [order(8)])
    assert account.ask() == ()
    account.retry(query)
    assert asked_for_orders(account).ids == (7,)


def test_a_question_from_before_a_loss_is_not_asked_again() -> None:
    account = followed(BALANCE)
    outdated = asked_for_balances(account)
    account.apply(LOST)
    account.apply(Subscribed(BALANCE, 700, 2))
    query = asked_for_balances(account)
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
    """What the exchange answered, once it did."""
    ts: int | None = None


MOMENTS = st.sampled_from([0.0, 0.0003, 0.001, 0.05, 0.3, 12.0])
CONFIG = SessionConfig(ping_interval=None, silence_timeout=None)


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
