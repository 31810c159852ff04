"""The topic ``orders``: the orders of the account."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import ClassVar, Final

from topone_proto._values import value
from topone_proto.models import Side, WireEnum
from topone_proto.wire.topic import Topic

__all__ = ["ORDERS", "Order", "OrderStatus", "OrderType", "OrderUpdate"]

# 28 digits is what Python itself divides with; fixed here so that a caller's context cannot change
# a price.
_DIVISION: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


ORDERS: Final = Topic("orders")
"""Every change of an order of the account (private-websocket, "Subscribe to Order Updates")."""


class OrderType(WireEnum):
    """How an order is priced."""

    LIMIT = 1
    """At ``Order.price`` or better."""
    MARKET = 2
    """At whatever price there is."""


class OrderStatus(WireEnum):
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


@value
class OrderUpdate:
    """The whole state of one order, published because it changed."""

    topic: ClassVar[Topic] = ORDERS
    """The topic of every update of this kind."""

    order: Order
    """The order as it is now."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""
