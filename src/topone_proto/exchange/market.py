"""One market of the exchange, pure: a book, deals, and the candles that the deals make.

Others trade in it at random, and a ``LivingAccount`` trades among them: its resting orders are in
the book and its fills are among the deals. Time and randomness come from the caller: the same seed
and the same times give the same market, to the last digit.

The book is the sum of two parts: the orders of others, kept by price, and the account's open limit
orders. Three rules keep it from being crossed:

- nobody else asks at or below the market's price or the account's best bid;
- nobody else bids at or above the market's price or the account's best ask;
- an order of the account that crosses an older one of its own is left out.

A deal of others takes from the best price on its side, and never passes an order of the account,
which only the account's own events fill.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from enum import StrEnum
from math import isfinite
from operator import itemgetter
from random import Random
from typing import Final

from topone_proto._values import value
from topone_proto.errors import ConfigurationError
from topone_proto.exchange._ladder import MOST_LOTS, Ladder
from topone_proto.exchange.candles import PERIODS, Bar, Candles
from topone_proto.models import Side
from topone_proto.wire.orders import Order, OrderType

__all__ = ["DEFAULT_MARKETS", "MERGES", "Depth", "LivingMarket", "Market", "Rounding", "Trade"]

# Wide enough for every product of a price and an amount; an inexact one raises.
_EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation])
_ZERO: Final = Decimal(0)
_KEPT: Final = 1000
# Deals per second before the start.
_HISTORY_RATE: Final = 0.05

MERGES: Final[Mapping[str, int]] = {"1x": 1, "10x": 10, "100x": 100, "1000x": 1000}
"""The number of price steps that are merged into one level, by the name on the wire."""


@value
class Market:
    """Settings of a market: its first price and its steps."""

    price: Decimal
    """The first price of one unit of stock, in money: a multiple of ``tick``."""
    tick: Decimal
    """The step of prices, in money."""
    lot: Decimal
    """The step of amounts, in stock."""


DEFAULT_MARKETS: Final[Mapping[str, Market]] = {
    "ETH/BTC": Market(Decimal("0.08132"), Decimal("0.00001"), Decimal("0.001")),
    "BTC/USDT": Market(Decimal("9150.50"), Decimal("0.01"), Decimal("0.0001")),
    "ETH/USDT": Market(Decimal("744.10"), Decimal("0.01"), Decimal("0.001")),
}
"""The markets unless told otherwise, by name."""


class Rounding(StrEnum):
    """The rounding of prices when levels are merged. The exchange's page does not say."""

    OUTWARD = "outward"
    """Asks are rounded up and bids down, as the exchange's engine family does."""
    DOWN = "down"
    """Both are rounded down, so that the best ask and the best bid may become the same price."""


@value
class Trade:
    """One deal between two orders."""

    time: float
    """Unix seconds."""
    price: Decimal
    """The price in money."""
    amount: Decimal
    """The amount in stock."""
    side: Side
    """The side of the order that came last and took what was there."""
    order_id: int | None = None
    """The account's order that was filled; None for a deal of others. It is not on the wire."""


@value
class Depth:
    """The best levels of a book, as price and amount."""

    time: float
    """Unix seconds of the latest change."""
    asks: tuple[tuple[Decimal, Decimal], ...]
    """The offers to sell, the lowest price first."""
    bids: tuple[tuple[Decimal, Decimal], ...]
    """The offers to buy, the highest price first."""


class LivingMarket:
    """One market in which others trade, and a ``LivingAccount`` among them.

    With a ``rate`` it lives by itself: call ``deadline_reached`` when ``deadline`` has come.

    >>> from decimal import Decimal
    >>> market = LivingMarket("BTC/USDT", seed=1)
    >>> market.trade(Decimal("9150.51"), Decimal("0.2"), Side.BUY, now=1.0)
    >>> [bar] = market.candles("1m", since=0, until=2e9, now=1.0, limit=300)
    >>> print(bar.time, bar.close, bar.stock)
    1561948320 9150.51 0.2
    """

    def __init__(
        self,
        name: str,
        settings: Market | None = None,
        *,
        seed: int = 0,
        rate: float = 0.0,
        history: float = 0.0,
        now: float = 0.0,
        start_time: float = 1561948335.075,
    ) -> None:
        """A market with a book of others.

        Args:
            name: such as ``BTC/USDT``.
            settings: where it starts; None for those of ``DEFAULT_MARKETS``.
            seed: the source of all chance, together with the name.
            rate: events of others per second on average; 0 for none.
            history: for how many seconds others have traded already, a deal every 20 s.
            now: the present moment.
            start_time: Unix seconds that the market's times show at that moment.

        Raises:
            ConfigurationError: the rate or the history is negative or not finite.
        """
        for setting, number in (("market_rate", rate), ("history", history)):
            if not (isfinite(number) and number >= 0):
                raise ConfigurationError(
                    setting=setting, problem=f"{number!r} is not 0 or more", remedy="use 0 or more"
                )
        self.name = name
        self.settings: Market = DEFAULT_MARKETS[name] if settings is None else settings
        """The settings that it started with."""
        self.deal_count: int = 0
        """The number of deals so far, those that are kept no longer included."""
        self._price = self.settings.price
        self._random = Random(f"{seed} {name}")
        self._rate = rate
        self._start = now
        self._start_time = start_time
        self._latest = start_time - history
        self._deals: deque[Trade] = deque(maxlen=_KEPT)
        self._candles = {period: Candles(period) for period in PERIODS}
        self._asks = Ladder(1, self._random)
        self._bids = Ladder(-1, self._random)
        self._orders: dict[int, Order] = {}
        self._remember(history)
        self._tidy()
        self._next_event = self._after(now)

    # What can be asked.

    @property
    def price(self) -> Decimal:
        """The price around which the market trades."""
        return self._price

    @property
    def deadline(self) -> float | None:
        """The time at which the next event of others is due, on the clock of ``now``; None for
        never."""
        return self._next_event

    def time(self, now: float) -> float:
        """Return the market's time in Unix seconds at ``now``."""
        return self._start_time + (now - self._start)

    def deals(self, count: int) -> tuple[Trade, ...]:
        """Return the last deals, oldest first: ``count`` of them, or as many as are kept."""
        return tuple(self._deals)[-count:] if count else ()

    def depth(
        self, merge: str = "1x", *, levels: int = 10, rounding: Rounding = Rounding.OUTWARD
    ) -> Depth:
        """Return the book with its levels merged.

        Args:
            merge: one of ``MERGES``.
            levels: how many levels there are on each side at most.
            rounding: how prices are rounded to the merged step.
        """
        step = self.settings.tick * MERGES[merge]
        shown = tuple(self._shown())
        with localcontext(_EXACT):
            up = rounding is Rounding.OUTWARD
            asks = self._side(self._asks, [o for o in shown if not o.is_buy], step, levels, up=up)
            bids = self._side(self._bids, [o for o in shown if o.is_buy], step, levels)
        return Depth(self._latest, asks, bids)

    def candles(
        self,
        period: str,
        since: float,
        until: float,
        now: float,
        *,
        limit: int = 300,
        newest: bool = True,
    ) -> tuple[Bar, ...]:
        """Return the candles whose start is from ``since`` to ``until`` in Unix seconds, both
        included, oldest first: at most ``limit``, the newest or the oldest of them."""
        return self._candles[period].rows(since, until, self.time(now), limit=limit, newest=newest)

    # What happens.

    def deadline_reached(self, now: float) -> None:
        """It is ``now``: everything that others had due by now happens."""
        while self._next_event is not None and self._next_event <= now:
            moment = self._next_event
            self._next_event = self._after(moment)
            self._live(moment)

    def move(self, steps: int) -> None:
        """Move the price by so many ticks; it stays one tick or more."""
        self._price = max(self.settings.tick, self._price + self.settings.tick * steps)
        self._tidy()

    def trade(
        self,
        price: Decimal,
        amount: Decimal,
        side: Side,
        now: float,
        *,
        order_id: int | None = None,
    ) -> None:
        """Make a deal by hand. It moves neither the price nor the book."""
        self._record(Trade(self._tick_on(now), price, amount, side, order_id))

    def order_changed(self, order: Order) -> None:
        """Take in an order of the account as it is now: its rest into the book, and what was filled
        since its last change among the deals. The deal has the order's update time."""
        before = self._orders.get(order.id)
        time = self._latest = max(self._latest, order.update_time or 0.0)
        with localcontext(_EXACT):
            stock = (order.deal_stock or _ZERO) - ((before and before.deal_stock) or _ZERO)
            money = (order.deal_money or _ZERO) - ((before and before.deal_money) or _ZERO)
        if stock:
            self._record(Trade(time, money / stock, stock, _taker(order), order.id))
        if order.is_open:
            self._orders[order.id] = order
        else:
            self._orders.pop(order.id, None)
        self._tidy()

    # How it is done.

    def _live(self, now: float) -> None:
        """One event of others: the price moves a little, and somebody trades or changes an
        order."""
        chance = self._random
        self.move(chance.randint(-2, 2))
        time = self._tick_on(now)
        side = chance.choice((Side.SELL, Side.BUY))
        ladder = self._asks if side is Side.BUY else self._bids
        best = ladder.best
        if best is None:
            return
        price = self.settings.tick * best
        if chance.random() < 0.3 or self._passes_the_account(price, side):
            ladder.change_one()
            return
        lots = chance.randint(1, min(ladder.levels[best], MOST_LOTS // 10))
        ladder.take(best, lots)
        self._record(Trade(time, price, self.settings.lot * lots, side))
        self._tidy()

    def _passes_the_account(self, price: Decimal, side: Side) -> bool:
        """True if the account has an order that a taker of this side would meet first."""
        for order in self._shown():
            assert order.price is not None
            if order.is_buy is (side is Side.SELL) and (
                order.price >= price if order.is_buy else order.price <= price
            ):
                return True
        return False

    def _record(self, trade: Trade) -> None:
        self.deal_count += 1
        self._deals.append(trade)
        with localcontext(_EXACT):
            for candles in self._candles.values():
                candles.add(trade.time, trade.price, trade.amount)

    def _shown(self) -> Iterator[Order]:
        """Return the account's orders that are in the book, oldest first."""
        lowest_ask = highest_bid = None
        for order in self._orders.values():
            price = order.price
            if order.type is not OrderType.LIMIT or price is None:
                continue
            if order.is_buy:
                if lowest_ask is not None and price >= lowest_ask:
                    continue
                highest_bid = price if highest_bid is None else max(price, highest_bid)
            else:
                if highest_bid is not None and price <= highest_bid:
                    continue
                lowest_ask = price if lowest_ask is None else min(price, lowest_ask)
            yield order

    def _side(
        self, ladder: Ladder, own: Iterable[Order], step: Decimal, levels: int, *, up: bool = False
    ) -> tuple[tuple[Decimal, Decimal], ...]:
        """Return the best levels of one side, merged: so many and no further, since a book has far
        more than is shown."""
        tick, lot, is_bids = self.settings.tick, self.settings.lot, ladder is self._bids
        others = (
            (tick * price, lot * ladder.levels[price])
            for price in sorted(ladder.levels, reverse=is_bids)
        )
        ours = sorted(((o.price or _ZERO, o.left or _ZERO) for o in own), reverse=is_bids)
        merged: dict[Decimal, Decimal] = {}
        for price, amount in heapq.merge(others, ours, key=itemgetter(0), reverse=is_bids):
            rounded = _on_grid(price, step, up=up)
            if len(merged) == levels and rounded not in merged:
                break
            merged[rounded] = merged.get(rounded, _ZERO) + amount
        return tuple(merged.items())

    def _tidy(self) -> None:
        """Take the others' orders away that would cross the book, and fill it up again."""
        tick = self.settings.tick
        floor = ceiling = self._price
        for order in self._shown():
            assert order.price is not None
            if order.is_buy:
                floor = max(floor, order.price)
            else:
                ceiling = min(ceiling, order.price)
        # An order of the account may be at a price that is no multiple of the tick.
        self._asks.arrange(int(floor // tick))
        self._bids.arrange(int(_on_grid(ceiling, tick, up=True) / tick))

    def _tick_on(self, now: float) -> float:
        # What was due happens when it is called for: something by hand may have come first.
        self._latest = max(self._latest, self.time(now))
        return self._latest

    def _after(self, moment: float) -> float | None:
        return moment + self._random.expovariate(self._rate) if self._rate else None

    def _remember(self, history: float) -> None:
        """Make the deals before the start: they end at the price that the market starts with."""
        chance, settings = self._random, self.settings
        moments: list[float] = []
        moment = self._latest + chance.expovariate(_HISTORY_RATE)
        while history and moment < self._start_time:
            moments.append(moment)
            moment += chance.expovariate(_HISTORY_RATE)
        steps = 0
        prices: list[Decimal] = []
        for _ in moments:
            prices.append(max(settings.tick, settings.price + settings.tick * steps))
            steps += chance.randint(-9, 9)
        for moment, price in zip(moments, reversed(prices), strict=True):
            self._latest = moment
            amount = settings.lot * chance.randint(1, MOST_LOTS // 10)
            self._record(Trade(moment, price, amount, chance.choice((Side.SELL, Side.BUY))))
        self._latest = self._start_time


def _on_grid(price: Decimal, step: Decimal, *, up: bool) -> Decimal:
    """Return the multiple of ``step`` next to a price, at or above it or at or below."""
    steps = price // step
    return (steps + (up and steps * step != price)) * step


def _taker(order: Order) -> Side:
    """Return the side of the order that took: a limit order of the account was there before."""
    is_taker = order.type is OrderType.MARKET
    return Side.BUY if order.is_buy is is_taker else Side.SELL
