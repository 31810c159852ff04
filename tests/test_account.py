"""The account as a fold: which state wins, what is a fill, an anomaly, and what is forgotten."""

import math
from decimal import Decimal, localcontext
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
    Closed,
    ConfigurationError,
    Connected,
    Connection,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    Subscribed,
    SubscriptionRejected,
    Topic,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.account import (
    Account,
    AggregatedFill,
    BalanceChanged,
    BalancesQuery,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OrdersQuery,
)
from topone_proto.account.token_service import TokenService
from topone_proto.exchange import LivingAccount

LOST = Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1)


def told(order: Order, ts: int = 1000) -> OrderUpdate:
    return OrderUpdate(order, ts)


def balance(available: str, *, asset: str = "ETH", ts: int = 1000) -> BalanceUpdate:
    return BalanceUpdate(Balance(asset, Decimal(available), Decimal(0)), ts)


def whole() -> Account:
    """An account of which everything is known: nothing at all."""
    account = Account()
    for topic in (ORDERS, BALANCE):
        account.apply(Subscribed(topic, 500, 1))
    for query in account.ask():
        account.answer(query, ())
    return account


# --- orders: which state wins --------------------------------------------------------------------

OPEN = order(at=100.0, filled="3")


@pytest.mark.parametrize(
    "newer",
    [
        order(at=101.0, filled="3"),
        order(at=101.0, filled="4"),
        order(at=100.0, filled="4"),
        order(at=100.0, filled="3", status=OrderStatus.PARTIAL_CANCELED),
        order(at=100.0, filled="10", status=OrderStatus.COMPLETED),
        # The server's clock went back a little; there is nothing behind the end of an order.
        order(at=99.0, filled="10", status=OrderStatus.COMPLETED),
        order(at=101.0, filled="3", status=OrderStatus(9)),
        # More is filled, or as much and it came later: times of two clocks say nothing.
        order(at=99.0, filled="4"),
        order(at=99.0, filled="3"),
        attrs.evolve(order(at=100.0, filled="3"), left=Decimal(8)),
    ],
)
def test_the_later_state_of_an_order_wins(newer: Order) -> None:
    account = Account()
    account.apply(told(OPEN))
    changes = account.apply(told(newer, 1001))
    assert changes[0] == OrderChanged(OPEN, newer, 1001)
    assert account.order(1).value == newer


@pytest.mark.parametrize(
    ("known", "refused", "reason"),
    [
        (OPEN, order(at=101.0, filled="4", paid="5"), "less is filled than before"),
        *(
            (OPEN, attrs.evolve(order(at=101.0, filled="4"), **another), "it is another order")
            for another in (
                {"market": "BTC/USDT"},
                {"side": Side.SELL},
                {"type": OrderType.MARKET},
                {"amount": Decimal(11)},
                {"price": Decimal(7)},
            )
        ),
        (OPEN, order(at=100.0, filled="2"), "less is filled than before"),
        (OPEN, order(at=101.0, filled="2"), "less is filled than before"),
        (OPEN, order(at=101.0, filled="3", paid="5"), "less is filled than before"),
        (OPEN, order(at=101.0, status=OrderStatus.CANCELED), "less is filled than before"),
        *(
            (order(filled="3", status=status), later, "the order was closed already")
            for status in (
                OrderStatus.COMPLETED,
                OrderStatus.CANCELED,
                OrderStatus.PARTIAL_CANCELED,
            )
            for later in (
                order(at=101.0, filled="3"),
                order(at=101.0, filled="10", status=OrderStatus.COMPLETED),
            )
        ),
    ],
)
def test_a_contradiction_is_reported_not_applied_and_asked_for_by_name(
    known: Order, refused: Order, reason: str
) -> None:
    account = whole()
    account.apply(told(known))
    assert account.is_current(1)
    anomaly, stale = account.apply(told(refused, 1001))
    assert stale == KnowledgeChanged(ORDERS, Knowledge.WHOLE, Knowledge.STALE)
    assert not account.is_current(1)
    assert account.unresolved == (1,)
    assert isinstance(anomaly, MovedBackwards)
    assert (anomaly.kept, anomaly.refused, anomaly.ts) == (known, refused, 1001)
    assert anomaly.reason == reason
    assert account.order(1).value == known
    [query] = account.ask()
    assert isinstance(query, OrdersQuery)
    assert query.ids == (1,)
    # What the exchange says by name is the truth, also if it contradicts.
    account.answer(query, [refused])
    assert account.order(1).value == refused
    assert account.is_current(1)
    assert account.knowledge(ORDERS) is Knowledge.WHOLE


def test_the_same_again_is_no_news() -> None:
    account = Account()
    for update in (told(OPEN), balance("1")):
        assert account.apply(update) != ()
        assert account.apply(attrs.evolve(update, ts=2000)) == ()


def test_an_order_of_an_unknown_status_is_followed_as_well() -> None:
    account = Account()
    before, after = order(status=OrderStatus(9)), order(at=101.0, status=OrderStatus.CANCELED)
    account.apply(told(before))
    assert account.apply(told(after, 1001)) == (OrderChanged(before, after, 1001),)


def test_an_order_is_open_until_it_closes() -> None:
    account = Account()
    account.apply(told(order(1)))
    account.apply(told(order(2, status=OrderStatus(9))))
    account.apply(told(order(3)))
    account.apply(told(order(3, at=101.0, status=OrderStatus.CANCELED)))
    assert set(account.open_orders().value) == {1}
    assert list(account.other_orders().value) == [2, 3]
    assert account.order(4).value is None


# --- balances ------------------------------------------------------------------------------------


def test_of_two_balances_the_one_that_came_later_is_right_whatever_the_servers_clock() -> None:
    account = Account()
    assert account.balance("ETH").value is None
    first, later, older = balance("1"), balance("2", ts=1001), balance("3", ts=900)
    assert account.apply(first) == (BalanceChanged(None, first.balance, 1000),)
    assert account.apply(later) == (BalanceChanged(first.balance, later.balance, 1001),)
    assert account.apply(older) == (BalanceChanged(later.balance, older.balance, 900),)
    # Each asset by itself.
    other = balance("7", asset="BTC", ts=1000)
    assert account.apply(other) == (BalanceChanged(None, other.balance, 1000),)
    assert account.balances().value == {"ETH": older.balance, "BTC": other.balance}


# --- fills ---------------------------------------------------------------------------------------


def test_what_was_filled_between_two_states_is_one_fill() -> None:
    account = Account()
    assert account.apply(told(order())) == (OrderChanged(None, order(), 1000),)
    partly = order(at=101.0, filled="2", paid="3.9")
    assert account.apply(told(partly))[1:] == (
        AggregatedFill(partly, 100.0, Decimal(2), Decimal("3.9")),
    )
    wholly = order(at=105.0, filled="10", paid="19.9", status=OrderStatus.COMPLETED)
    [fill] = account.apply(told(wholly))[1:]
    assert fill == AggregatedFill(wholly, 101.0, Decimal(8), Decimal(16))
    assert isinstance(fill, AggregatedFill)
    assert fill.price == 2


def test_an_order_first_seen_in_part_filled_is_filled_since_its_beginning() -> None:
    partly = order(filled="4")
    _, fill = Account().apply(told(partly))
    assert fill == AggregatedFill(partly, None, Decimal(4), Decimal(8))


def test_a_cancel_is_no_fill() -> None:
    account = Account()
    account.apply(told(OPEN))
    changes = account.apply(told(order(at=101.0, filled="3", status=OrderStatus.PARTIAL_CANCELED)))
    assert len(changes) == 1


def test_fills_are_exact_and_their_price_is_the_same_in_every_context() -> None:
    account = Account()
    account.apply(told(order(filled="0.00000000000000000000000000000000000001", paid="1")))
    with localcontext() as context:
        context.prec = 3
        _, fill = account.apply(told(order(at=101.0, filled="3", paid="2")))
        assert isinstance(fill, AggregatedFill)
        assert fill.deal_stock == Decimal("2.99999999999999999999999999999999999999")
        assert fill.price == Decimal("0.3333333333333333333333333333")


@given(seed=st.integers(0, 2**32), seconds=st.integers(1, 60))
def test_the_fills_of_an_order_add_up(seed: int, seconds: int) -> None:
    living, account = LivingAccount(seed, rate=2.0), Account()
    sums: dict[int, tuple[Decimal, Decimal]] = {}
    for second in range(seconds):
        for change in living.deadline_reached(float(second)).changes:
            if isinstance(change, Balance):
                continue
            for told_of in account.apply(OrderUpdate(change, second)):
                assert not isinstance(told_of, MovedBackwards)
                if isinstance(told_of, AggregatedFill):
                    stock, money = sums.get(change.id, (Decimal(0), Decimal(0)))
                    sums[change.id] = stock + told_of.deal_stock, money + told_of.deal_money
    for number, truth in living.orders.items():
        assert account.order(number).value == truth
        assert sums.get(number, (0, 0)) == (truth.deal_stock, truth.deal_money)


# --- limits --------------------------------------------------------------------------------------


def test_closed_orders_are_kept_up_to_a_limit_and_open_ones_all() -> None:
    account = Account(max_closed=3)
    for number in range(10):
        account.apply(told(order(number)))
    for number in range(10, 20):
        status = OrderStatus.COMPLETED if number % 2 else OrderStatus(9)
        account.apply(told(order(number, status=status)))
    assert len(account.open_orders().value) == 10
    assert list(account.other_orders().value) == [17, 18, 19]
    assert account.order(16).value is None


@pytest.mark.parametrize("limit", [0, -1, True, None, "5", 2.0, float("nan"), float("inf")])
def test_a_limit_that_is_no_number_of_at_least_one_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Account(max_closed=limit)
    error = caught.value
    assert (error.setting, error.problem) == ("max_closed", f"{limit!r} is no such number")
    assert error.remedy == "use a whole number of at least 1"


def test_a_thousand_closed_orders_are_remembered_unless_told_otherwise() -> None:
    account = Account()
    for number in range(1001):
        account.apply(told(order(number, status=OrderStatus.CANCELED)))
    assert list(account.other_orders().value) == list(range(1, 1001))


def test_a_gap_of_a_topic_that_is_not_followed_starts_no_questions() -> None:
    account = Account()
    account.apply(Gap(ORDERS, 1, 2, 1))
    account.apply(Malformed("no", "$", "{", 1, topics=(ORDERS, BALANCE)))
    assert account.ask() == ()


# --- knowledge -----------------------------------------------------------------------------------


def test_nothing_is_known_before_there_was_a_whole_picture() -> None:
    account = Account()
    for event in (Connected(1), Subscribed(ORDERS, 500, 1), told(OPEN), balance("1"), LOST):
        account.apply(event)
        for reading in (
            account.balances(),
            account.balance("ETH"),
            account.open_orders(),
            account.other_orders(),
            account.order(1),
        ):
            assert reading.knowledge is Knowledge.UNKNOWN
    assert account.knowledge(ORDERS) is account.knowledge(BALANCE) is Knowledge.UNKNOWN
    assert account.knowledge(Topic("kline_BTC/USDT_1m")) is Knowledge.UNKNOWN


@pytest.mark.parametrize(
    ("event", "stale"),
    [
        (LOST, {ORDERS, BALANCE}),
        (Closed(), {ORDERS, BALANCE}),
        (Gap(ORDERS, 500, 600, 2), {ORDERS}),
        (Gap(BALANCE, None, None, 2), {BALANCE}),
        (Unsubscribed(ORDERS, 600, 1), {ORDERS}),
        (Subscribed(BALANCE, 600, 2), {BALANCE}),
        (
            SubscriptionRejected(
                topic=ORDERS, method="sub_orders", code=1, msg="", ts=None, epoch=1
            ),
            {ORDERS},
        ),
        (
            SubscriptionRejected(
                topic=ORDERS, method="unsub_orders", code=1, msg="", ts=None, epoch=1
            ),
            set[Topic](),
        ),
        # They may have been updates of these.
        (Malformed("cut", "$", "{", 1, topics=(ORDERS, BALANCE)), {ORDERS, BALANCE}),
        (Malformed("cut", "$", "{", 1, topics=(BALANCE,)), {BALANCE}),
        (Unrecognised("odd", None, "{}", topics=(ORDERS,)), {ORDERS}),
        # These cannot have been.
        (Malformed("empty", "", "", 0), set[Topic]()),
        (Unrecognised("odd", None, "{}"), set[Topic]()),
        (UnexpectedUpdate(balance("1")), set[Topic]()),
        (told(OPEN), set[Topic]()),
        (Connected(1), set[Topic]()),
        (Subscribed(Topic("kline_BTC/USDT_1m"), 1, 1), set[Topic]()),
        (Gap(Topic("kline_BTC/USDT_1m"), 1, 1, 1), set[Topic]()),
    ],
)
def test_a_topic_is_stale_once_something_may_be_missing(event: Event, stale: set[Topic]) -> None:
    account = whole()
    changes = account.apply(event)
    lost = [
        change.topic
        for change in changes
        if isinstance(change, KnowledgeChanged)
        and (change.before, change.after) == (Knowledge.WHOLE, Knowledge.STALE)
    ]
    assert set(lost) == stale
    assert len(lost) == len(stale)
    for topic in (ORDERS, BALANCE):
        expected = Knowledge.STALE if topic in stale else Knowledge.WHOLE
        assert account.knowledge(topic) is expected
    # Once more is no news.
    assert not any(isinstance(change, KnowledgeChanged) for change in account.apply(event))


def test_reads_say_how_far_their_own_topic_is_known() -> None:
    account = whole()
    account.apply(Unsubscribed(ORDERS, 600, 1))
    assert account.balances().knowledge is account.balance("X").knowledge is Knowledge.WHOLE
    for reading in (account.open_orders(), account.other_orders(), account.order(1)):
        assert reading.knowledge is Knowledge.STALE


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (Gap(ORDERS, 1, 2, 1), {"ETH"}),
        (Gap(BALANCE, 1, 2, 1), {1}),
        (Unsubscribed(ORDERS, 1, 1), {"ETH"}),
        (Malformed("not JSON", "$", "{", 1, topics=(ORDERS, BALANCE)), set()),
        (LOST, set()),
        (Connected(2), {1, "ETH"}),
    ],
)
def test_what_the_subscription_told_is_current_until_something_may_be_missing(
    event: Event, kept: set[int | str]
) -> None:
    def current() -> set[int | str]:
        return {name for name in (1, 2, 9, "ETH", "BTC") if account.is_current(name)}

    account = Account()
    for update in (told(order(1)), told(order(9, status=OrderStatus.CANCELED)), balance("1")):
        account.apply(update)
    assert current() == {9}, "nobody follows the rest"
    for topic in (ORDERS, BALANCE):
        account.apply(Subscribed(topic, 500, 1))
    assert current() == {9}, "it was told before"
    account.apply(told(order(1, at=101)))
    account.apply(balance("2"))
    assert current() == {1, 9, "ETH"}
    account.apply(event)
    assert current() == kept | {9}


def test_all_that_is_known_of_a_whole_topic_is_current() -> None:
    account = Account()
    account.apply(Subscribed(ORDERS, 500, 1))
    (query,) = account.ask()
    assert isinstance(query, OrdersQuery)
    account.answer(query, [order(1)])
    assert account.is_current(1)
    assert not account.is_current(2)


def test_a_balance_of_a_whole_topic_is_current_though_only_an_answer_told_it() -> None:
    account = Account()
    account.apply(Subscribed(BALANCE, 500, 1))
    (query,) = account.ask()
    assert isinstance(query, BalancesQuery)
    account.answer(query, [Balance("ETH", Decimal(1), Decimal(0))])
    assert account.is_current("ETH")
    assert not account.is_current("BTC")


def test_the_latest_server_time_is_that_of_any_event() -> None:
    account = Account()
    assert account.latest_ts is None
    times: list[tuple[Event, int]] = [
        (Subscribed(ORDERS, 700, 1), 700),
        (told(OPEN, 900), 900),
        (balance("1", ts=800), 900),
    ]
    for event, expected in times:
        account.apply(event)
        assert account.latest_ts == expected
    account.apply(Subscribed(BALANCE, None, 1))
    assert account.latest_ts == 900


def test_what_was_read_does_not_change_any_more() -> None:
    account = Account()
    account.apply(told(order(1)))
    before = account.open_orders().value
    account.apply(told(order(2)))
    assert set(before) == {1}


def test_questions_are_about_what_is_followed() -> None:
    account = Account()
    assert account.ask() == ()
    account.apply(Subscribed(BALANCE, 500, 1))
    assert account.ask() == (BalancesQuery(None, 500, 1),)
    account.apply(Subscribed(ORDERS, 600, 1))
    assert account.ask() == (OrdersQuery(None, 600, 2),)
    assert account.ask() == ()


@given(st.permutations([order(at=100.0 + at, filled=str(at)) for at in range(6)]))
def test_whatever_the_order_of_arrival_what_is_filled_does_not_shrink(states: list[Order]) -> None:
    account = whole()
    most = Decimal(-1)
    for state in states:
        [change, *_] = account.apply(told(state))
        assert isinstance(change, MovedBackwards) is (state.deal_stock < most)
        most = max(most, state.deal_stock)
        known = account.order(1).value
        assert known is not None
        assert known.deal_stock == most
        assert account.is_current(1) is (state.deal_stock == most)


@pytest.mark.parametrize("now", [math.nan, math.inf, -1.0])
def test_what_is_no_time_is_refused(now: float) -> None:
    with pytest.raises(ConfigurationError, match="is no time"):
        Account().ask(now)


def test_a_configuration_of_another_kind_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(ConfigurationError, match="'int' is no AccountConfig; use AccountConfig"):
        Account(config=wrong)
    with pytest.raises(ConfigurationError, match="'int' is no AccountConfig"):
        TokenService(config=wrong, jitter=float)
    with pytest.raises(ConfigurationError, match="'int' is no SessionConfig"):
        Connection(wrong)
