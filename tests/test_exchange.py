"""The living account: whatever happens to it, its books balance to the last digit."""

from collections import defaultdict
from decimal import Decimal, localcontext
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto.errors import ConfigurationError, LocalProtocolError
from topone_proto.exchange import DEFAULT_BALANCES, LivingAccount
from topone_proto.models import Side
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order, OrderStatus, OrderType


def check(account: LivingAccount, known: dict[int, Order], funds: dict[str, Balance]) -> None:
    """Everything that must hold at any time; ``known`` and ``funds`` are folded from the
    changes."""
    assert account.orders == known
    assert account.balances == funds
    holds: dict[str, Decimal] = defaultdict(Decimal)
    moved: dict[str, Decimal] = defaultdict(Decimal)
    with localcontext(prec=200):
        for order in known.values():
            assert order.price is not None
            assert order.left is not None
            spends = order.type is OrderType.MARKET and order.is_buy
            done = order.deal_money if spends else order.deal_stock
            assert done + order.left == order.amount
            assert order.left >= 0
            assert (order.update_time or 0.0) >= (order.create_time or 0.0) > 0
            assert bool(order.deal_money) == bool(order.deal_stock)
            assert order.is_open == (order.id in account.open_orders)
            match order.status:
                case OrderStatus.COMPLETED:
                    assert spends or order.left == 0
                case OrderStatus.CANCELED:
                    assert order.deal_stock == 0
                case OrderStatus.PARTIAL_CANCELED:
                    assert 0 < done < order.amount
                case _:
                    assert order.left > 0
            limit = order.price * order.deal_stock
            if order.type is OrderType.LIMIT:
                assert order.deal_money <= limit if order.is_buy else order.deal_money >= limit
            if order.is_open:
                held = account.held(order.id)
                if order.is_sell or spends:
                    assert held == order.left
                elif order.type is OrderType.LIMIT:
                    assert held == order.left * order.price
                holds[order.money if order.is_buy else order.stock] += held
            else:
                assert account.held(order.id) == 0
            sign = 1 if order.is_buy else -1
            moved[order.stock] += sign * order.deal_stock
            moved[order.money] -= sign * order.deal_money
        for asset, balance in funds.items():
            assert balance.available >= 0
            assert balance.freeze == holds[asset]
            assert balance.total == DEFAULT_BALANCES[asset] + moved[asset]


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_the_books_balance_after_every_event(seed: int, events: int) -> None:
    account = LivingAccount(seed, rate=1.0)
    known: dict[int, Order] = {}
    funds = account.balances
    for _ in range(events):
        assert account.deadline is not None
        step = account.deadline_reached(account.deadline)
        assert step.deadline == account.deadline
        for change in step.changes:
            if isinstance(change, Order):
                known[change.id] = change
            else:
                assert funds[change.asset] != change
                funds[change.asset] = change
        check(account, known, funds)


def test_a_life_has_everything_in_it() -> None:
    account = LivingAccount(5, rate=10.0)
    changes = account.deadline_reached(100.0).changes
    orders = [change for change in changes if isinstance(change, Order)]
    assert {order.status for order in orders} == set(OrderStatus)
    assert {(order.side, order.type) for order in orders} == {
        (side, kind) for side in Side for kind in OrderType
    }
    assert {order.market for order in orders} == {"ETH/BTC", "BTC/USDT", "ETH/USDT"}
    assert any(order.is_open and order.deal_stock for order in orders)


def test_a_long_life_goes_on_and_stays_bounded() -> None:
    account = LivingAccount(1, rate=100.0)
    step = account.deadline_reached(60.0)
    assert len(step.changes) > 8_000
    assert len(account.open_orders) <= 12
    assert len(account.orders) <= 1012


@given(st.integers(0, 2**32))
def test_the_same_seed_lives_the_same_life_however_it_is_called(seed: int) -> None:
    at_once = LivingAccount(seed, rate=2.0).deadline_reached(20.0)
    account = LivingAccount(Random(seed), rate=2.0)
    changes: list[Order | Balance] = []
    with localcontext(prec=3):  # the caller's own decimal context has no say
        for now in range(21):
            changes += account.deadline_reached(now).changes
    assert tuple(changes) == at_once.changes
    assert account.deadline == at_once.deadline


def test_without_a_rate_nothing_happens() -> None:
    step = LivingAccount(1).deadline_reached(1e9)
    assert (step.changes, step.deadline) == ((), None)


def test_what_was_due_before_an_order_by_hand_is_not_dated_before_it() -> None:
    account = LivingAccount(5, rate=10.0)
    [placed, *_] = account.place("ETH/BTC", Side.SELL, Decimal(1), 10.0).changes
    assert isinstance(placed, Order)
    orders = [c for c in account.deadline_reached(10.0).changes if isinstance(c, Order)]
    assert min(order.update_time or 0.0 for order in orders) >= (placed.update_time or 0.0) > 0


def test_an_account_without_money_lives_without_trading() -> None:
    account = LivingAccount(1, rate=10.0, balances={})
    step = account.deadline_reached(10.0)
    assert step.changes == ()
    assert step.deadline is not None
    assert step.deadline > 10.0


def test_an_account_whose_money_is_frozen_goes_on_with_the_orders_it_has() -> None:
    account = LivingAccount(1, rate=10.0, balances={"ETH": Decimal(1)})
    [placed, _] = account.place("ETH/BTC", Side.SELL, Decimal(1), 0.0, price=Decimal(1)).changes
    assert isinstance(placed, Order)
    assert account.deadline is not None
    # Its first event, whatever it is, happens to the order that there is.
    orders = [c for c in account.deadline_reached(account.deadline).changes if isinstance(c, Order)]
    assert [order.id for order in orders] == [placed.id]


@pytest.mark.parametrize("rate", [-1.0, float("inf"), float("nan")])
def test_no_rate(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="rate"):
        LivingAccount(1, rate=rate)


@pytest.mark.parametrize(
    ("start_time", "first"),
    [(1000.0, 132991), (1735689600.0, 132991), (1735689601.25, 133003), (1800000000.0, 643236991)],
)
def test_an_account_that_is_started_later_has_ids_of_its_own(start_time: float, first: int) -> None:
    account = LivingAccount(1, start_time=start_time)
    for number in range(2):
        order, _ = account.place("ETH/BTC", Side.SELL, Decimal(1), 0.0).changes
        assert isinstance(order, Order)
        assert order.id == first + number


def test_a_limit_order_by_hand() -> None:
    account = LivingAccount(1, start_time=1000.0)
    order, btc = account.place("ETH/BTC", Side.BUY, Decimal(10), 1.0, price=Decimal("0.08")).changes
    assert isinstance(order, Order)
    assert btc == Balance("BTC", Decimal("11.70"), Decimal("0.80"))
    filled, eth, btc = account.fill(order.id, Decimal(4), 2.0, price=Decimal("0.07")).changes
    assert isinstance(filled, Order)
    assert filled.status is OrderStatus.PENDING
    assert (filled.left, filled.deal_stock) == (Decimal(6), Decimal(4))
    assert filled.deal_money == Decimal("0.28")
    assert (filled.create_time, filled.update_time) == (1001.0, 1002.0)
    assert eth == Balance("ETH", Decimal(184), Decimal(0))
    assert btc == Balance("BTC", Decimal("11.74"), Decimal("0.48"))
    cancelled, btc = account.cancel(order.id, 3.0).changes
    assert isinstance(cancelled, Order)
    assert cancelled.status is OrderStatus.PARTIAL_CANCELED
    # As the exchange's own examples have it.
    assert cancelled.update_time == filled.update_time
    assert btc == Balance("BTC", Decimal("12.22"), Decimal(0))


def test_a_market_order_to_buy_spends_money_and_may_have_some_left() -> None:
    account = LivingAccount(1)
    [order, btc] = account.place("ETH/BTC", Side.BUY, Decimal(1), 0.0).changes
    assert isinstance(order, Order)
    assert order.amount == order.left == 1
    assert btc == Balance("BTC", Decimal("11.5"), Decimal(1))
    with pytest.raises(LocalProtocolError, match="a fill"):
        account.fill(order.id, Decimal("10.001"), 1.0, price=Decimal("0.1"))
    partly, _, btc = account.fill(order.id, Decimal(4), 1.0, price=Decimal("0.1")).changes
    assert isinstance(partly, Order)
    assert partly.is_open
    assert (partly.left, partly.deal_stock) == (Decimal("0.6"), Decimal(4))
    assert btc == Balance("BTC", Decimal("11.5"), Decimal("0.6"))
    done, eth, btc = account.fill(order.id, Decimal("5.455"), 2.0, price=Decimal("0.10999")).changes
    assert isinstance(done, Order)
    assert done.status is OrderStatus.COMPLETED
    assert done.left is not None
    assert done.left == Decimal("0.6") - Decimal("0.59999545") > 0
    assert eth == Balance("ETH", Decimal("189.455"), Decimal(0))
    assert btc == Balance("BTC", Decimal("11.5") + done.left, Decimal(0))
    assert account.held(order.id) == 0


def test_a_market_order_to_buy_that_pays_for_nothing_any_more_is_cancelled() -> None:
    account = LivingAccount(1, rate=10.0, balances={"BTC": Decimal("0.00001")})
    [order, _] = account.place("ETH/BTC", Side.BUY, Decimal("0.00001"), 0.0).changes
    assert isinstance(order, Order)
    changes = account.deadline_reached(10.0).changes
    [cancelled] = [change for change in changes if isinstance(change, Order)]
    assert (cancelled.id, cancelled.status) == (order.id, OrderStatus.CANCELED)
    assert changes[-1] == Balance("BTC", Decimal("0.00001"), Decimal(0))


def test_what_cannot_be_done() -> None:
    account = LivingAccount(1)
    with pytest.raises(LocalProtocolError, match="freezing"):
        account.place("ETH/BTC", Side.SELL, Decimal(181), 0.0)
    with pytest.raises(LocalProtocolError, match="DOGE"):
        account.place("DOGE/BTC", Side.SELL, Decimal(1), 0.0)
    order = account.place("ETH/BTC", Side.SELL, Decimal(1), 0.0, price=Decimal("0.09")).changes[0]
    assert isinstance(order, Order)
    with pytest.raises(LocalProtocolError, match="a fill"):
        account.fill(order.id, Decimal(2), 0.0)
    with pytest.raises(LocalProtocolError, match="a fill"):
        account.fill(order.id, Decimal(1), 0.0, price=Decimal("0.08"))
    account.cancel(order.id, 0.0)
    with pytest.raises(LocalProtocolError, match="not open"):
        account.cancel(order.id, 0.0)
