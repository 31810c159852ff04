"""The books of an account at any moment: what the HTTP API answers from.

Answers of an exchange may be behind its stream. So books can be read as they were a while ago: a
``Journal`` keeps what the latest changes replaced, and takes them back.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import inf
from typing import Final, Protocol

from attrs import field

from topone_proto._values import value
from topone_proto.models import Side
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order

__all__ = ["Books", "Fill", "Journal", "Snapshot"]

_ZERO: Final = Decimal(0)
_KEPT_CHANGES: Final = 5000
# The one of the exchange's own example.
_FIRST_DEAL: Final = 200556


@value
class Fill:
    """One fill of an order, as the deals history has it."""

    id: int
    """The number of the deal."""
    moment: float
    """The moment, on the clock of ``now``."""
    order: Order
    """The order as the fill left it. The deals history does not say which one it is."""
    price: Decimal
    """The price, in money per unit of stock."""
    stock: Decimal
    """The amount in stock."""
    money: Decimal
    """The amount in money."""

    @property
    def side(self) -> Side:
        """The side of the order."""
        return self.order.side


@value
class Snapshot:
    """The books of an account at one moment."""

    orders: Mapping[int, Order] = field(factory=dict[int, Order])
    """Every open order and the finished ones that are kept, by id."""
    balances: Mapping[str, Balance] = field(factory=dict[str, Balance])
    """Every balance, by asset."""
    finished: Mapping[int, float] = field(factory=dict[int, float])
    """The moment at which each finished order ended, on the clock of ``now``, by id."""
    fills: tuple[Fill, ...] = ()
    """The fills that are kept, the oldest first."""


class Books(Protocol):
    """Something that has books: a ``LivingAccount``, or a ``Journal``."""

    def at(self, moment: float) -> Snapshot:
        """Return the books as they were at a moment, on the clock of ``now``; the oldest that are
        known if that is longer ago."""
        ...


class Journal:
    """Books that are kept by being told every change.

    A fill is what an order's ``deal_stock`` grew by.

    >>> from topone_proto.wire.balance import Balance
    >>> journal = Journal([Balance("ETH", Decimal(1), Decimal(0))])
    >>> journal.changed([Balance("ETH", Decimal(2), Decimal(0))], now=5.0)
    >>> [str(journal.at(moment).balances["ETH"].available) for moment in (4.9, 5.0)]
    ['1', '2']
    """

    def __init__(self, balances: Iterable[Balance] = (), *, kept: int = 1000) -> None:
        """Books without orders.

        Args:
            balances: the balances at first.
            kept: the number of finished orders and of fills that are kept.
        """
        self._kept = kept
        self._orders: dict[int, Order] = {}
        self._balances = {balance.asset: balance for balance in balances}
        self._finished: dict[int, float] = {}
        self._fills: deque[Fill] = deque(maxlen=kept)
        self._last_deal = _FIRST_DEAL - 1
        self._latest = -inf
        self._replaced: deque[tuple[float, int | str, Order | Balance | None]] = deque(
            maxlen=_KEPT_CHANGES
        )

    def changed(self, changes: Iterable[Order | Balance], now: float) -> None:
        """Enter changes that happened at one moment: orders and balances as they are from then
        on."""
        # What happens by hand may be told before something that was due earlier.
        self._latest = now = max(now, self._latest)
        for change in changes:
            if isinstance(change, Balance):
                before = self._balances.get(change.asset)
                self._replaced.append((now, change.asset, before))
                self._balances[change.asset] = change
            else:
                self._enter(change, now)

    def at(self, moment: float) -> Snapshot:
        """Return the books as they were at a moment."""
        orders, balances = dict(self._orders), dict(self._balances)
        for at, key, before in reversed(self._replaced):
            if at <= moment:
                break
            if isinstance(before, Order):
                orders[before.id] = before
            elif isinstance(before, Balance):
                balances[before.asset] = before
            elif isinstance(key, int):
                orders.pop(key, None)
            else:
                balances.pop(key, None)
        return Snapshot(
            orders,
            balances,
            {number: at for number, at in self._finished.items() if at <= moment},
            tuple(fill for fill in self._fills if fill.moment <= moment),
        )

    def _enter(self, order: Order, now: float) -> None:
        before = self._orders.get(order.id)
        self._replaced.append((now, order.id, before))
        self._orders[order.id] = order
        stock = (order.deal_stock or _ZERO) - ((before and before.deal_stock) or _ZERO)
        money = (order.deal_money or _ZERO) - ((before and before.deal_money) or _ZERO)
        if stock > 0:
            self._last_deal += 1
            # The price of a fill is exact, and that of several at once is rounded.
            price = (money / stock).normalize() if money else _ZERO
            self._fills.append(Fill(self._last_deal, now, order, price, stock, money))
        if not order.is_open:
            self._finished.setdefault(order.id, now)
            if len(self._finished) > self._kept:
                oldest = next(iter(self._finished))
                del self._finished[oldest], self._orders[oldest]
