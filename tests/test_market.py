"""The simulated market: its book, its deals, its candles, and the account's part in them."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import astuple
from hypothesis import given, settings
from hypothesis import strategies as st

from topone_proto.errors import ConfigurationError
from topone_proto.exchange import (
    DEFAULT_MARKETS,
    MERGES,
    PERIODS,
    Depth,
    Happening,
    LivingExchange,
    LivingMarket,
    Rounding,
    following_start,
    period_start,
    preceding_start,
)
from topone_proto.models import Side
from topone_proto.wire.orders import Order, OrderType

BTC = "BTC/USDT"
# A Wednesday, 2019-07-10 00:00:00 UTC.
START = 1562716800.0


def make(**changed: Any) -> LivingMarket:
    return LivingMarket(BTC, **{"seed": 1, "start_time": START, **changed})


def lived(seconds: float = 30.0, **changed: Any) -> LivingExchange:
    exchange = LivingExchange(
        **{"seed": 1, "rate": 2.0, "market_rate": 2.0, "start_time": START, **changed}
    )
    exchange.deadline_reached(seconds)
    return exchange


def is_crossed(book: Depth) -> bool:
    return bool(book.asks and book.bids) and book.asks[0][0] <= book.bids[0][0]


@settings(max_examples=30)
@given(st.integers(), st.sampled_from([0.0, 2.0]), st.sampled_from([0.0, 2.0]))
def test_the_book_is_never_crossed(seed: int, rate: float, market_rate: float) -> None:
    exchange = LivingExchange(seed, rate=rate, market_rate=market_rate)
    for now in range(10):
        exchange.deadline_reached(float(now))
        for market in exchange.markets.values():
            for merge in MERGES:
                book = market.depth(merge)
                assert not is_crossed(book)
                assert [*book.asks] == sorted(book.asks)
                assert [*book.bids] == sorted(book.bids, reverse=True)
                assert all(amount > 0 for _, amount in (*book.asks, *book.bids))


@pytest.mark.thorough
@settings(max_examples=20)
@given(st.integers(), st.sampled_from([*PERIODS]))
def test_a_candle_is_what_its_deals_make_it(seed: int, period: str) -> None:
    exchange = lived(80.0, seed=seed, start_time=START - 40.0)
    for market in exchange.markets.values():
        deals = market.deals(1000)
        assert len(deals) == market.deal_count
        by_start = defaultdict(list)
        for deal in deals:
            by_start[period_start(period, deal.time)].append(deal)
        bars = market.candles(period, 0, 2e9, 80.0)
        assert {*by_start} <= {bar.time for bar in bars}
        for bar in bars:
            prices = [deal.price for deal in by_start[bar.time]]
            if prices:
                assert (bar.open, bar.close) == (prices[0], prices[-1])
                assert (bar.high, bar.low) == (max(prices), min(prices))
            assert bar.stock == sum(deal.amount for deal in by_start[bar.time])
            assert bar.money == sum(deal.amount * deal.price for deal in by_start[bar.time])


def test_the_fills_of_the_account_are_among_the_deals() -> None:
    exchange = lived(120.0)
    filled = {
        number: order for number, order in exchange.account.orders.items() if order.deal_stock
    }
    assert len(filled) > 5
    for number, order in filled.items():
        deals = [
            deal for deal in exchange.markets[order.market].deals(1000) if deal.order_id == number
        ]
        assert sum(deal.amount for deal in deals) == order.deal_stock
        assert sum(deal.amount * deal.price for deal in deals) == order.deal_money
        # A limit order was there before: whoever trades with it takes.
        taker = order.side if order.type is OrderType.MARKET else Side(3 - order.side)
        assert {deal.side for deal in deals} == {taker}
        if order.is_closed and order.type is OrderType.MARKET:
            assert deals[-1].time == order.update_time


def test_an_order_of_the_account_is_in_the_book_until_it_is_gone() -> None:
    exchange = LivingExchange(start_time=START)
    account, market = exchange.account, exchange.markets[BTC]
    price = market.depth().asks[0][0]
    before = dict(market.depth(levels=100).bids)

    [order, *_] = account.place(BTC, Side.BUY, Decimal(2), 1.0, price=price).changes

    assert isinstance(order, Order)
    book = market.depth(levels=100)
    assert book.bids[0] == (price, Decimal(2))
    assert book.asks[0][0] > price
    assert book.time == START + 1.0
    account.fill(order.id, Decimal("0.5"), 2.0)
    assert market.depth().bids[0] == (price, Decimal("1.5"))
    account.cancel(order.id, 3.0)
    assert price not in dict(market.depth(levels=100).bids)
    assert before.items() <= dict(market.depth(levels=100).bids).items()


def test_an_order_that_crosses_one_of_the_accounts_own_is_not_in_the_book() -> None:
    exchange = LivingExchange(start_time=START)
    account, market = exchange.account, exchange.markets[BTC]
    account.place(BTC, Side.SELL, Decimal(1), 1.0, price=Decimal(9000))
    account.place(BTC, Side.BUY, Decimal(2), 1.0, price=Decimal(9001))
    account.place(BTC, Side.SELL, Decimal(3), 1.0, price=Decimal(8999))
    account.place(BTC, Side.BUY, Decimal(1), 1.0, price=Decimal(8998))
    account.place(BTC, Side.SELL, Decimal(1), 1.0, price=Decimal(8998))

    book = market.depth()
    assert book.asks[0] == (Decimal(8999), Decimal(3))
    assert book.bids[0][0] == Decimal("8998.99")
    assert Decimal(8998) in dict(market.depth(levels=1000).bids)
    # A market order rests nowhere.
    account.place(BTC, Side.SELL, Decimal(1), 1.0)
    assert market.depth().asks == book.asks


def test_a_price_that_is_no_multiple_of_the_tick_crosses_nothing() -> None:
    exchange = LivingExchange(start_time=START)
    odd = Decimal("9150.503")
    exchange.account.place(BTC, Side.SELL, Decimal(1), 1.0, price=odd)
    book = exchange.markets[BTC].depth()
    # It is shown on the grid of prices, rounded away from the other side.
    assert book.asks[0][0] == Decimal("9150.51")
    assert book.bids[0][0] == Decimal("9150.49")
    exchange.account.place(BTC, Side.BUY, Decimal(1), 1.0, price=Decimal("9150.501"))
    assert not is_crossed(exchange.markets[BTC].depth())


def test_others_do_not_trade_past_an_order_of_the_account() -> None:
    exchange = LivingExchange(market_rate=10.0, start_time=START)
    for side, step in ((Side.BUY, -2), (Side.SELL, 2)):
        price = exchange.markets[BTC].price + step
        exchange.account.place(BTC, side, Decimal(1), 0.0, price=price)
    for now in range(1, 60):
        exchange.deadline_reached(now)
        assert all(
            Decimal("9148.50") < deal.price < Decimal("9152.50")
            for deal in exchange.markets[BTC].deals(1000)
        )
    assert exchange.markets[BTC].deal_count > 100


def test_levels_are_merged_outward() -> None:
    market = make()
    fine = market.depth(levels=1000)
    for merge, steps in MERGES.items():
        step = market.settings.tick * steps
        book = market.depth(merge, levels=1000)
        for price, amount in book.asks:
            assert price % step == 0
            assert amount == sum(a for p, a in fine.asks if price - step < p <= price)
        for price, amount in book.bids:
            assert price % step == 0
            assert amount == sum(a for p, a in fine.bids if price <= p < price + step)
    assert len(market.depth("10x", levels=3).asks) == 3
    down = market.depth("100x", rounding=Rounding.DOWN)
    # Both best prices are between 9150 and 9151.
    assert down.asks[0][0] == down.bids[0][0] == Decimal(9150)


def test_a_period_without_deals_has_the_last_close_and_no_volume() -> None:
    market = make()
    market.trade(Decimal(100), Decimal(1), Side.BUY, 0.0)
    market.trade(Decimal(110), Decimal(2), Side.BUY, 30.0)
    market.trade(Decimal(90), Decimal(4), Side.SELL, 200.0)

    bars = market.candles("1m", 0, 2e9, 250.0)

    assert [tuple(map(int, astuple(bar))) for bar in bars] == [
        (START, 100, 110, 110, 100, 3, 320),
        (START + 60, 110, 110, 110, 110, 0, 0),
        (START + 120, 110, 110, 110, 110, 0, 0),
        (START + 180, 90, 90, 90, 90, 4, 360),
        (START + 240, 90, 90, 90, 90, 0, 0),
    ]


@pytest.mark.parametrize(
    ("since", "until", "minutes"),
    [
        (0, 2e9, [0, 1, 2, 3, 4]),
        (START + 60, START + 180, [1, 2, 3]),
        (START + 59, START + 179, [1, 2]),
        (START + 61, START + 179, [2]),
        (START + 121, START + 179, []),
        (START + 180, START + 60, []),
        (START + 400, 2e9, []),
    ],
)
def test_a_range_includes_both_of_its_ends(since: float, until: float, minutes: list[int]) -> None:
    market = make()
    market.trade(Decimal(100), Decimal(1), Side.BUY, 0.0)
    bars = market.candles("1m", since, until, 250.0)
    assert [(bar.time - START) // 60 for bar in bars] == minutes


def test_a_long_range_keeps_its_newest_or_its_oldest_candles() -> None:
    market = make()
    market.trade(Decimal(100), Decimal(1), Side.BUY, 0.0)
    day = 86400.0
    newest = market.candles("1m", 0, 2e9, day)
    oldest = market.candles("1m", 0, 2e9, day, newest=False)
    assert len(newest) == len(oldest) == 300
    assert newest[-1].time == START + day
    assert oldest[0].time == START


def test_a_market_without_deals_has_no_candles() -> None:
    market = make()
    assert market.candles("1m", 0, 2e9, 100.0) == ()
    assert market.deals(10) == ()
    assert market.deals(0) == ()


def test_old_candles_are_forgotten() -> None:
    market = make()
    for minute in range(2100):
        market.trade(Decimal(100), Decimal(1), Side.BUY, 60.0 * minute)
    bars = market.candles("1m", 0, 2e9, 60.0 * 2099, limit=5000)
    assert [len(bars), bars[0].time] == [2000, START + 100 * 60]


@given(st.sampled_from([*PERIODS]), st.integers(0, 4_000_000_000))
def test_periods_follow_each_other(period: str, time: int) -> None:
    start = period_start(period, time)
    following = following_start(period, start)
    assert start <= time < following
    assert period_start(period, start) == start
    assert preceding_start(period, following) == start
    length = PERIODS[period]
    assert following - start == length or (
        length is None and 28 <= (following - start) / 86400 <= 31
    )


def test_weeks_begin_on_monday_and_months_on_their_first_day_in_utc() -> None:
    assert datetime.fromtimestamp(period_start("1w", START), UTC).isoweekday() == 1
    assert period_start("1mon", START) == datetime(2019, 7, 1, tzinfo=UTC).timestamp()
    assert period_start("1d", START + 5) == START


def test_the_market_has_traded_before_if_it_is_told_to() -> None:
    market = make(history=6 * 3600.0)
    bars = market.candles("5m", 0, 2e9, 0.0)
    assert 60 <= len(bars) <= 74
    assert all(START - 6 * 3600 <= deal.time < START for deal in market.deals(1000))
    # The walk ends where the market starts.
    assert market.price == DEFAULT_MARKETS[BTC].price
    assert market.deals(1)[0].price == market.price
    assert market.deal_count > 900


def happenings(steps: list[float]) -> list[Happening]:
    exchange = LivingExchange(7, rate=3.0, market_rate=1.0)
    return [happening for now in steps for happening in exchange.deadline_reached(now)]


def test_the_same_seed_lives_the_same_however_late_it_is_called() -> None:
    assert happenings([20.0]) == happenings([n / 10 for n in range(201)])


def test_an_account_lives_the_same_beside_markets_in_which_nobody_else_trades() -> None:
    exchange = LivingExchange(3, rate=5.0)
    alone = LivingExchange(3, rate=5.0, markets=DEFAULT_MARKETS)
    assert exchange.deadline_reached(20.0) == alone.deadline_reached(20.0)
    assert exchange.deadline == exchange.account.deadline


def test_a_market_does_not_fall_below_one_tick() -> None:
    market = make()
    market.move(-(10**9))
    assert market.price == market.settings.tick
    assert market.depth().bids == ()
    assert market.depth().asks != ()
    empty = make(seed=1, rate=5.0)
    for now in range(60):
        empty.move(-(10**9))
        empty.deadline_reached(now)
    assert empty.deal_count > 50
    assert all(deal.price >= empty.settings.tick for deal in empty.deals(1000))


@pytest.mark.parametrize("setting", ["rate", "history"])
@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_what_is_no_number_of_seconds_is_refused(setting: str, number: float) -> None:
    with pytest.raises(ConfigurationError):
        make(**{setting: number})


def test_an_event_by_hand_says_which_markets_it_changed() -> None:
    exchange = LivingExchange(start_time=START)
    step = exchange.account.place(BTC, Side.BUY, Decimal(1), 1.0, price=Decimal(9000))
    assert exchange.happened(step) == Happening(step.changes, (BTC,))
