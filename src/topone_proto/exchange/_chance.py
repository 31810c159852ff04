"""The chance in a living account's life: when something happens, and what.

It decides and changes no account: each decision is a value, and the account carries it out.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Final

from topone_proto._values import value
from topone_proto.exchange.market import LivingMarket, Market
from topone_proto.models import Side
from topone_proto.wire.orders import Order, OrderType

__all__ = ["Cancelling", "Chance", "Decision", "Filling", "Placing", "left_of", "spends_money"]

_ZERO: Final = Decimal(0)
_MAX_OPEN: Final = 12


@value
class Placing:
    """An order is to be placed."""

    market: str
    """The market."""
    side: Side
    """Sell or buy."""
    amount: Decimal
    """The amount, as ``LivingAccount.place`` takes it."""
    price: Decimal | None
    """The limit; None for a market order."""


@value
class Filling:
    """An order is to be filled."""

    order_id: int
    """The order."""
    amount: Decimal
    """The amount, in stock."""
    price: Decimal
    """The price."""


@value
class Cancelling:
    """An order is to be cancelled."""

    order_id: int
    """The order."""


Decision = Placing | Filling | Cancelling
"""One event of an account's life."""


class Chance:
    """Decides by chance, and moves the prices that the account trades at."""

    def __init__(
        self, random: Random, rate: float, markets: Mapping[str, Market | LivingMarket]
    ) -> None:
        """Have decided nothing.

        Args:
            random: the source of all chance.
            rate: events per second on average; 0 for none.
            markets: what is traded, by name.
        """
        self._random = random
        self._rate = rate
        self._living = {name: m for name, m in markets.items() if isinstance(m, LivingMarket)}
        self._markets = {
            name: market.settings if isinstance(market, LivingMarket) else market
            for name, market in markets.items()
        }
        self._own_prices = {name: market.price for name, market in self._markets.items()}

    def price(self, market: str) -> Decimal:
        """Return the price of a market."""
        living = self._living.get(market)
        return self._own_prices[market] if living is None else living.price

    def after(self, moment: float) -> float | None:
        """Return the time of the event after the one of a moment; None for never."""
        return moment + self._random.expovariate(self._rate) if self._rate else None

    def decide(
        self, open_orders: Sequence[Order], available: Callable[[str], Decimal]
    ) -> Decision | None:
        """Move the prices, and return what happens: something is placed, filled or cancelled. None
        if nothing can.

        Args:
            open_orders: every open order, the oldest first.
            available: returns the amount that is available of an asset.
        """
        self._move_prices()
        chance = self._random.random()
        if len(open_orders) < _MAX_OPEN and (not open_orders or chance < 0.35):
            placed = self._place(available)
            if placed is not None:
                return placed
        if not open_orders:
            return None
        order = self._random.choice(open_orders)
        if chance > 0.85 and order.type is OrderType.LIMIT:
            return Cancelling(order.id)
        return self._fill(order)

    def _place(self, available: Callable[[str], Decimal]) -> Placing | None:
        name = self._random.choice(list(self._markets))
        market = self._markets[name]
        stock, _, money = name.partition("/")
        side = self._random.choice((Side.SELL, Side.BUY))
        if self._random.random() < 0.2:
            price, buy_hold = None, self.price(name)
        else:
            steps = self._random.randint(0, 20) * (1 if side is Side.SELL else -1)
            price = buy_hold = max(market.tick, self.price(name) + market.tick * steps)
        asset, unit_hold = (stock, Decimal(1)) if side is Side.SELL else (money, buy_hold)
        # At most a tenth of what is there.
        lots = int(available(asset) // (market.lot * unit_hold * 10))
        if lots < 1:
            return None
        amount = market.lot * self._random.randint(1, lots)
        if price is None and side is Side.BUY:
            amount *= buy_hold
        return Placing(name, side, amount, price)

    def _fill(self, order: Order) -> Filling | Cancelling:
        market = self._markets[order.market]
        price = self.price(order.market)
        if order.type is OrderType.LIMIT:
            limit = order.price or _ZERO
            price = min(price, limit) if order.is_buy else max(price, limit)
        left = left_of(order)
        if spends_money(order):
            left = left // (market.lot * price) * market.lot
            if not left:
                # The price has risen meanwhile.
                return Cancelling(order.id)
        lots = int(left // market.lot)
        # Half of the fills complete the order.
        amount = (
            left
            if lots < 2 or self._random.random() < 0.5
            else market.lot * self._random.randint(1, lots - 1)
        )
        return Filling(order.id, amount, price)

    def _move_prices(self) -> None:
        for name, market in self._markets.items():
            steps = self._random.randint(-5, 5)
            if name in self._living:
                self._living[name].move(steps)
            else:
                self._own_prices[name] = max(
                    market.tick, self._own_prices[name] + market.tick * steps
                )


def left_of(order: Order) -> Decimal:
    """Return what is left of an order of a living account, which always says it."""
    assert order.left is not None
    return order.left


def spends_money(order: Order) -> bool:
    """True if ``amount`` and ``left`` are in money: of a market order to buy."""
    return order.type is OrderType.MARKET and order.is_buy
