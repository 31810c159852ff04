"""What the exchange speaks of: balances, orders and their enums, with the words of its page.

Values and arithmetic on one value only. Nothing here knows of frames, topics or time passing.
"""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import IntEnum
from typing import Final, Self

from topone_proto._values import value

__all__ = ["Balance", "Order", "OrderStatus", "OrderType", "Side"]

# Wide enough that adding any two decimals the codec lets through is exact, whatever the caller's
# own context is.
_EXACT: Final = Context(prec=512)
# 28 digits is what Python itself divides with; fixed here so that a caller's context cannot change
# a price.
_DIVISION: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


class _WireEnum(IntEnum):
    """Numbers of the exchange. One that its page does not list keeps its number as
    ``UNKNOWN_<number>``."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if type(value) is not int:
            return None
        # Made anew each time and not registered: a hostile peer cannot grow the class.
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    @property
    def is_known(self) -> bool:
        """True if the exchange's page lists this number."""
        return self._name_ in type(self).__members__


class Side(_WireEnum):
    """Which way an order trades."""

    SELL = 1
    """Gives stock for money."""
    BUY = 2
    """Gives money for stock."""


class OrderType(_WireEnum):
    """How an order is priced."""

    LIMIT = 1
    """At ``Order.price`` or better."""
    MARKET = 2
    """At whatever price there is."""


class OrderStatus(_WireEnum):
    """Where an order is in its life."""

    PENDING = 1
    """On the book, possibly partly filled."""
    COMPLETED = 2
    """Filled as far as it could be: a limit order wholly; a market order to buy may have money
    left."""
    CANCELED = 3
    """Cancelled with nothing filled."""
    PARTIAL_CANCELED = 4
    """Cancelled after a part was filled."""


_CLOSED: Final = frozenset(
    {OrderStatus.COMPLETED, OrderStatus.CANCELED, OrderStatus.PARTIAL_CANCELED}
)


@value
class Balance:
    """The whole balance of one asset (private-websocket, "Subscribe to Account Updates"). Amounts
    are in ``asset``."""

    asset: str
    """The asset's name, such as ``"ETH"``."""
    available: Decimal
    """What can be traded or withdrawn now, in ``asset``."""
    freeze: Decimal
    """What open orders hold, in ``asset``."""

    @property
    def total(self) -> Decimal:
        """``available + freeze``, exact, in ``asset``."""
        return _EXACT.add(self.available, self.freeze)


@value
class Order:
    """The whole state of one order (private-websocket, "Subscribe to Order Updates").

    A market is written ``ETH/BTC``. The first coin is what is bought and sold, and the exchange
    calls it the *stock*; the second is what it is paid with, the *money*. Most of the trading world
    calls them base and quote; the exchange's page uses those two words the other way round, so
    neither is used in a name here.
    """

    id: int
    """The exchange's number of the order."""
    market: str
    """The market, such as ``"ETH/BTC"``."""
    type: OrderType
    """Limit or market."""
    side: Side
    """Sell or buy."""
    status: OrderStatus
    """Where the order is in its life."""
    price: Decimal | None
    """The limit, in money per unit of stock. None where the exchange sent none, as it may for
    market orders."""
    amount: Decimal
    """How much was ordered, in stock; of a market order to buy very likely how much to spend, in
    money (the exchange's page does not say; the one true example shows it so)."""
    left: Decimal | None
    """How much of ``amount`` is not filled yet, in the unit of ``amount``. None where the exchange
    sent none, as it may for market orders. A completed order may have something left: of a market
    order to buy, the money that bought nothing. Whether an order is filled says ``status``."""
    deal_stock: Decimal
    """How much has been filled, in stock (``dealStock``; ETH for ETH/BTC)."""
    deal_money: Decimal
    """What has been paid or received for it, in money (``dealMoney``; BTC for ETH/BTC)."""
    create_time: float | None
    """When the order was made, in seconds since 1970 UTC, just as the wire has it; None if it has
    none that can be read."""
    update_time: float | None
    """When the order last changed, in seconds since 1970 UTC, just as the wire has it; None if it
    has none that can be read."""

    @property
    def stock(self) -> str:
        """The coin that is bought and sold: ``"ETH"`` of ``"ETH/BTC"``. The whole market if it has
        no slash."""
        return self.market.partition("/")[0]

    @property
    def money(self) -> str:
        """The coin it is paid with: ``"BTC"`` of ``"ETH/BTC"``. Empty if the market has no
        slash."""
        return self.market.partition("/")[2]

    @property
    def is_open(self) -> bool:
        """True while the order is on the book. An unknown status is neither open nor closed."""
        return self.status is OrderStatus.PENDING

    @property
    def is_closed(self) -> bool:
        """True once the order can no longer change: completed or cancelled, in part or wholly."""
        return self.status in _CLOSED

    @property
    def is_buy(self) -> bool:
        """True if the order buys stock with money."""
        return self.side is Side.BUY

    @property
    def is_sell(self) -> bool:
        """True if the order sells stock for money."""
        return self.side is Side.SELL

    @property
    def filled(self) -> Decimal:
        """How much has been filled, in stock: the trader's word for ``deal_stock``."""
        return self.deal_stock

    @property
    def average_price(self) -> Decimal | None:
        """What one unit of stock cost on average, in money, to 28 digits; None while nothing is
        filled."""
        if not self.deal_stock:
            return None
        return _DIVISION.divide(self.deal_money, self.deal_stock)

    @property
    def created_at(self) -> datetime | None:
        """``create_time`` as an aware datetime in UTC, to the microsecond."""
        return None if self.create_time is None else datetime.fromtimestamp(self.create_time, UTC)

    @property
    def updated_at(self) -> datetime | None:
        """``update_time`` as an aware datetime in UTC, to the microsecond."""
        return None if self.update_time is None else datetime.fromtimestamp(self.update_time, UTC)
