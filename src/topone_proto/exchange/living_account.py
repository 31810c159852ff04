"""A living account, pure: orders are placed, filled and cancelled, and the balances move exactly
with them.

For the simulator, for demonstrations and for tests that need a truth to compare with. Time and
randomness come from the caller: the same seed and the same times give the same life, to the last
digit.
"""

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from math import isfinite
from random import Random
from typing import Final

from attrs import define, evolve

from topone_proto._values import value
from topone_proto.errors import ConfigurationError, LocalProtocolError
from topone_proto.exchange._chance import (
    Cancelling,
    Chance,
    Filling,
    Placing,
    left_of,
    spends_money,
)
from topone_proto.exchange.books import Journal, Snapshot
from topone_proto.exchange.market import DEFAULT_MARKETS, LivingMarket, Market
from topone_proto.models import Side
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order, OrderStatus, OrderType

__all__ = ["DEFAULT_BALANCES", "ExchangeStep", "LivingAccount"]

# Wide enough for every product of a price and an amount; if one were not exact after all, it
# raises.
_EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation])
_ZERO: Final = Decimal(0)
_MAX_CLOSED: Final = 1000
# The id of the first order: the one of the exchange's own example, and ten more for every second
# since 2025.
_FIRST_ID: Final = 132991
_IDS_PER_SECOND: Final = 10
_IDS_SINCE: Final = 1735689600.0


DEFAULT_BALANCES: Final[Mapping[str, Decimal]] = {
    "BTC": Decimal("12.5"),
    "ETH": Decimal(180),
    "USDT": Decimal(95000),
}
"""The amounts available at first unless told otherwise, by asset."""


@value
class ExchangeStep:
    """Everything that one input caused."""

    changes: tuple[Order | Balance, ...] = ()
    """The updates to publish, in order: each event's order, then the balances that it moved."""
    deadline: float | None = None
    """The time to call ``deadline_reached``, on the clock of ``now``; None for never. Calling early
    is harmless."""


@define(eq=False)
class _Funds:
    available: Decimal
    freeze: Decimal = _ZERO


class LivingAccount:
    """One account of an exchange, alone with a market that moves at random.

    With a ``rate`` it lives by itself: call ``deadline_reached`` when the last step's ``deadline``
    has come, and publish the changes. ``place``, ``fill`` and ``cancel`` are the same events by
    hand. ``orders`` and ``balances`` are the truth at any time.

    - An open limit order to buy holds ``left * price`` of its money, one to sell holds ``left`` of
      its stock.
    - A market order has the price ``0``. To sell it has ``amount`` and ``left`` in stock, as a
      limit order has, and holds ``left``. To buy it has both in money: it spends ``amount``,
      ``left`` is what is not spent yet, and that is what it holds. It is completed once ``left``
      does not pay for the smallest amount of stock any more, so a completed one may have something
      left; that becomes available again.
    - A fill never costs more than the order holds for it; what it saves becomes available again.
      There are no fees.
    - Order ids count up, from where ``start_time`` says: an account that is started later has other
      ids, as long as fewer than ten orders a second are placed.
    """

    def __init__(
        self,
        seed: int | Random,
        *,
        rate: float = 0.0,
        now: float = 0.0,
        start_time: float = 1561948335.075,
        markets: Mapping[str, Market | LivingMarket] | None = None,
        balances: Mapping[str, Decimal] | None = None,
    ) -> None:
        """An account without orders.

        Args:
            seed: the source of all chance.
            rate: events per second on average; 0 for none.
            now: the present moment.
            start_time: seconds since 1970 UTC that order times show at that moment.
            markets: what is traded, by name such as ``ETH/BTC``. In a ``LivingMarket`` the account
                trades at that market's price, moves it, and has its orders and fills in it.
            balances: what is available at first, by asset.

        Raises:
            ConfigurationError: the rate is negative or not finite.
        """
        if not (isfinite(rate) and rate >= 0):
            raise ConfigurationError(
                setting="rate", problem=f"{rate!r} is no rate", remedy="use 0 or more per second"
            )
        self._start = now
        self._start_time = start_time
        self._latest_time = start_time
        given = DEFAULT_MARKETS if markets is None else markets
        self._living = {name: m for name, m in given.items() if isinstance(m, LivingMarket)}
        self._markets = {
            name: market.settings if isinstance(market, LivingMarket) else market
            for name, market in given.items()
        }
        random = seed if isinstance(seed, Random) else Random(seed)
        self._chance = Chance(random, rate, given)
        self._funds = {
            asset: _Funds(amount)
            for asset, amount in (DEFAULT_BALANCES if balances is None else balances).items()
        }
        for name in self._markets:
            for asset in name.split("/"):
                self._funds.setdefault(asset, _Funds(_ZERO))
        self._open: dict[int, Order] = {}
        self._closed: dict[int, Order] = {}
        self._unit_hold: dict[int, Decimal] = {}
        """The amount that each open order holds per unit of ``left``."""
        self._journal = Journal(self.balances.values())
        since = max(0.0, start_time - _IDS_SINCE)
        self._last_id = _FIRST_ID - 1 + int(since * _IDS_PER_SECOND)
        self._next_event = self._chance.after(now)

    # The truth.

    @property
    def balances(self) -> dict[str, Balance]:
        """Every asset's balance as it is now, by asset."""
        return {
            asset: Balance(asset, funds.available, funds.freeze)
            for asset, funds in self._funds.items()
        }

    @property
    def orders(self) -> dict[int, Order]:
        """Every open order and the last thousand closed ones as they are now, by id."""
        return self._closed | self._open

    @property
    def open_orders(self) -> dict[int, Order]:
        """Every open order as it is now, by id."""
        return dict(self._open)

    @property
    def deadline(self) -> float | None:
        """The time at which the next event is due; None for never."""
        return self._next_event

    def at(self, moment: float) -> Snapshot:
        """Return the books as they were at a moment, on the clock of ``now``: ``HttpDesk`` answers
        from them."""
        return self._journal.at(moment)

    def held(self, order_id: int) -> Decimal:
        """Return the amount that an order holds: money if it buys, stock if it sells; 0 if it is
        not open."""
        order = self._open.get(order_id)
        if order is None:
            return _ZERO
        with localcontext(_EXACT):
            return left_of(order) * self._unit_hold[order_id]

    # What happens.

    def deadline_reached(self, now: float) -> ExchangeStep:
        """It is ``now``: everything that was due by now happens."""
        changes: list[Order | Balance] = []
        with localcontext(_EXACT):
            while self._next_event is not None and self._next_event <= now:
                moment = self._next_event
                self._next_event = self._chance.after(moment)
                changes += self._live(moment)
        return ExchangeStep(tuple(changes), self._next_event)

    def place(
        self, market: str, side: Side, amount: Decimal, now: float, *, price: Decimal | None = None
    ) -> ExchangeStep:
        """Place an order: a limit order at ``price``, a market order without one. Nothing is filled
        yet. The ``amount`` is in stock; that of a market order to buy is in money.

        Raises:
            LocalProtocolError: there is no such market, the amount or the price is not positive, or
                the available balance does not suffice.
        """
        if market not in self._markets or amount <= 0 or (price is not None and price <= 0):
            raise LocalProtocolError(
                state="open for orders",
                input=f"an order of {amount} at {price} on {market}",
                remedy=f"trade positive amounts at positive prices on {', '.join(self._markets)}",
            )
        with localcontext(_EXACT):
            stock, _, money = market.partition("/")
            unit_hold = Decimal(1) if side is Side.SELL or price is None else price
            funds = self._funds[stock if side is Side.SELL else money]
            hold = amount * unit_hold
            if hold > funds.available:
                raise LocalProtocolError(
                    state=f"{funds.available} is available",
                    input=f"freezing {hold}",
                    remedy="place a smaller order",
                )
            funds.available -= hold
            funds.freeze += hold
            self._last_id += 1
            time = self._time(now)
            order = Order(
                id=self._last_id,
                market=market,
                type=OrderType.MARKET if price is None else OrderType.LIMIT,
                side=side,
                status=OrderStatus.PENDING,
                price=_ZERO if price is None else price,
                amount=amount,
                left=amount,
                deal_stock=_ZERO,
                deal_money=_ZERO,
                create_time=time,
                update_time=time,
            )
            self._open[order.id] = order
            self._unit_hold[order.id] = unit_hold
            return self._changed(now, order, stock if side is Side.SELL else money)

    def fill(
        self, order_id: int, amount: Decimal, now: float, *, price: Decimal | None = None
    ) -> ExchangeStep:
        """Fill an open order by ``amount`` of stock at ``price``, by default a limit order's own or
        the market's.

        Raises:
            LocalProtocolError: the order is not open, has not so much left, or does not trade at
                that price.
        """
        order = self._opened(order_id)
        with localcontext(_EXACT):
            if price is None:
                price = order.price or self._chance.price(order.market)
            is_limit = order.type is OrderType.LIMIT
            limit = order.price or _ZERO
            worse = is_limit and (price > limit if order.is_buy else price < limit)
            # In what ``left`` is in.
            used = amount * price if spends_money(order) else amount
            if not (amount > 0 and used <= left_of(order)) or price <= 0 or worse:
                raise LocalProtocolError(
                    state=f"{order.left} of the order is left at {order.price}",
                    input=f"a fill of {amount} at {price}",
                    remedy="fill no more than is left, at a price that the order accepts",
                )
            stock, money = self._funds[order.stock], self._funds[order.money]
            left = left_of(order) - used
            is_complete = not left
            if order.is_buy:
                hold = used * self._unit_hold[order_id]
                if spends_money(order) and left < self._markets[order.market].lot * price:
                    is_complete, hold = True, hold + left
                money.freeze -= hold
                money.available += hold - amount * price
                stock.available += amount
            else:
                stock.freeze -= amount
                money.available += amount * price
            order = self._put(
                evolve(
                    order,
                    left=left,
                    deal_stock=order.deal_stock + amount,
                    deal_money=order.deal_money + amount * price,
                    update_time=self._time(now),
                    status=OrderStatus.COMPLETED if is_complete else OrderStatus.PENDING,
                )
            )
            return self._changed(now, order, order.stock, order.money)

    def cancel(self, order_id: int, now: float) -> ExchangeStep:
        """Cancel what is left of an open order. That does not move its update time: the exchange's
        own examples show the same time before and after.

        Raises:
            LocalProtocolError: the order is not open.
        """
        order = self._opened(order_id)
        with localcontext(_EXACT):
            asset = order.money if order.is_buy else order.stock
            hold = self.held(order_id)
            self._funds[asset].freeze -= hold
            self._funds[asset].available += hold
            is_filled = bool(order.deal_stock)
            status = OrderStatus.PARTIAL_CANCELED if is_filled else OrderStatus.CANCELED
            return self._changed(now, self._put(evolve(order, status=status)), asset)

    # How it is done.

    def _live(self, now: float) -> tuple[Order | Balance, ...]:
        """One event: something is placed, filled or cancelled."""
        orders = tuple(self._open.values())
        match self._chance.decide(orders, lambda asset: self._funds[asset].available):
            case Placing(market=market, side=side, amount=amount, price=price):
                return self.place(market, side, amount, now, price=price).changes
            case Filling(order_id=order_id, amount=amount, price=price):
                return self.fill(order_id, amount, now, price=price).changes
            case Cancelling(order_id=order_id):
                return self.cancel(order_id, now).changes
            case None:
                return ()

    def _time(self, now: float) -> float:
        # What was due happens when it is called for: an order placed by hand may have come first.
        self._latest_time = max(self._latest_time, self._start_time + (now - self._start))
        return self._latest_time

    def _opened(self, order_id: int) -> Order:
        order = self._open.get(order_id)
        if order is None:
            raise LocalProtocolError(
                state="not open",
                input=f"a change of order {order_id}",
                remedy="pick one of open_orders",
            )
        return order

    def _put(self, order: Order) -> Order:
        if order.is_open:
            self._open[order.id] = order
        else:
            del self._open[order.id], self._unit_hold[order.id]
            self._closed[order.id] = order
            if len(self._closed) > _MAX_CLOSED:
                del self._closed[next(iter(self._closed))]
        return order

    def _changed(self, now: float, order: Order, *assets: str) -> ExchangeStep:
        if order.market in self._living:
            self._living[order.market].order_changed(order)
        balances = self.balances
        changes: tuple[Order | Balance, ...] = (order, *(balances[asset] for asset in assets))
        self._journal.changed(changes, now)
        return ExchangeStep(changes, self._next_event)
