"""The topic ``orders``: the orders of the account."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, ClassVar, Final

import msgspec

from topone_proto._checks import YEAR_10000, check_decimals, check_times
from topone_proto._values import value
from topone_proto.models import Side, WireEnum
from topone_proto.wire._market import aware
from topone_proto.wire._members import (
    ABSENT,
    DIGITS,
    Integer,
    Seconds,
    decimal_of,
    integer_of,
    new,
    read_with,
    seconds_of,
    to_decimal,
)
from topone_proto.wire.decimals import MAX_LENGTH
from topone_proto.wire.topic import Family, Frame, Topic, Update

__all__ = ["FAMILY", "ORDERS", "Order", "OrderStatus", "OrderType", "OrderUpdate"]

# 28 digits is what Python itself divides with; fixed here so that a caller's context cannot change
# a price.
_DIVISION: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


ORDERS: Final = Topic["Order"]("orders")
"""Every change of an order of the account (private-websocket, "Subscribe to Order Updates")."""


class OrderType(WireEnum):
    """The way in which an order is priced."""

    LIMIT = 1
    """At ``Order.price`` or better."""
    MARKET = 2
    """At whatever price there is."""


class OrderStatus(WireEnum):
    """The stage of an order's life."""

    PENDING = 1
    """On the book, possibly partly filled."""
    COMPLETED = 2
    """Filled as far as it could be: a limit order wholly; a market order to buy may have money
    left."""
    CANCELED = 3
    """Cancelled with nothing filled."""
    PARTIAL_CANCELED = 4
    """Cancelled after a part was filled."""


_DECIMALS: Final = frozenset({Decimal})
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

    Raises:
        ConfigurationError: a price or an amount is no ``Decimal``, or a time is none from 1970 to
            9999.
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
    """The stage of the order's life."""
    price: Decimal | None
    """The limit, in money per unit of stock. None where the exchange sent none, as it may for
    market orders."""
    amount: Decimal
    """The amount that was ordered, in stock; of a market order to buy very likely the amount to
    spend, in money (the exchange's page does not say; the one true example shows it so)."""
    left: Decimal | None
    """The part of ``amount`` that is not filled yet, in the unit of ``amount``. None where the
    exchange sent none, as it may for market orders. A completed order may have something left: of a
    market order to buy, the money that bought nothing. Whether an order is filled says
    ``status``."""
    deal_stock: Decimal
    """The amount that has been filled, in stock (``dealStock``; ETH for ETH/BTC)."""
    deal_money: Decimal
    """The amount that has been paid or received for it, in money (``dealMoney``; BTC for
    ETH/BTC)."""
    create_time: float | None
    """The time at which the order was made, in seconds since 1970 UTC, just as the wire has it;
    None if it has none that can be read."""
    update_time: float | None
    """The time at which the order last changed, in seconds since 1970 UTC, just as the wire has it;
    None if it has none that can be read."""

    def __attrs_post_init__(self) -> None:
        numbers = (self.price, self.amount, self.left, self.deal_stock, self.deal_money)
        if not _DECIMALS.issuperset(map(type, numbers)):
            check_decimals(self, ("amount", "deal_stock", "deal_money"), ("price", "left"))
        created, updated = self.create_time, self.update_time
        # Nearly all have both, in this order. A bus has an order in each update: no call for these.
        is_common = type(created) is type(updated) is float
        if not (is_common and 0 <= created <= updated < YEAR_10000):  # type: ignore[operator]  # as said
            check_times(self, "create_time", "update_time")

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
        """The amount that has been filled, in stock: the trader's word for ``deal_stock``."""
        return self.deal_stock

    @property
    def average_price(self) -> Decimal | None:
        """The average price of one unit of stock, in money, to 28 digits; None while nothing is
        filled."""
        if not self.deal_stock:
            return None
        return _DIVISION.divide(self.deal_money, self.deal_stock)

    @property
    def created_at(self) -> datetime | None:
        """``create_time`` as an aware datetime in UTC, to the microsecond."""
        return aware(self.create_time)

    @property
    def updated_at(self) -> datetime | None:
        """``update_time`` as an aware datetime in UTC, to the microsecond."""
        return aware(self.update_time)


@value
class OrderUpdate(Update):
    """The whole state of one order, published because it changed."""

    topic: ClassVar[Topic[Order]] = ORDERS  # type: ignore[misc]  # one for all of them
    """The topic of every update of this kind."""
    order: Order
    """The order as it is now."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""

    @property
    def key(self) -> tuple[object, ...]:
        """The order's number."""
        return ("orders", self.order.id)

    @property
    def is_final(self) -> bool:
        """True for the last state of an order."""
        return self.order.is_closed

    @property
    def text(self) -> str:
        """The market's name."""
        return self.order.market


# Texts stay texts here: msgspec's own Decimal takes "NaN", "1_000" and " 1" as well. An absent
# price or left is "", so that the common case costs no union; null is what some servers send for
# absent.
class _Data(msgspec.Struct, rename="camel", gc=False):
    id: Integer
    market: str
    type: OrderType
    side: Side
    status: OrderStatus
    amount: str
    deal_stock: str
    deal_money: str
    create_time: Seconds
    update_time: Seconds
    price: str | None = ""
    left: str | None = ""


class _Frame(Frame, gc=False):
    data: _Data

    def read(self) -> OrderUpdate | None:
        data = self.data
        price, left = data.price, data.left
        amount, deal_stock, deal_money = data.amount, data.deal_stock, data.deal_money
        # Joined and checked at once: all digits and points, so each is that, and short enough in
        # sum to be short enough each. "1.2.3" and "" are left for the decimal itself to refuse. As
        # bytes, since str.isdigit looks every character up among Unicode's.
        digits = f"{price}{amount}{left}{deal_stock}{deal_money}".encode()
        if len(digits) > MAX_LENGTH or digits.translate(None, DIGITS):
            return None
        order: Any = new(Order)
        order.id = data.id
        order.market = data.market
        order.type = data.type
        order.side = data.side
        order.status = data.status
        order.price = to_decimal(price)  # type: ignore[arg-type]  # None is no digits
        order.amount = to_decimal(amount)
        order.left = to_decimal(left)  # type: ignore[arg-type]  # None is no digits
        order.deal_stock = to_decimal(deal_stock)
        order.deal_money = to_decimal(deal_money)
        order.create_time = data.create_time
        order.update_time = data.update_time
        update: Any = new(OrderUpdate)
        update.order = order
        update.ts = self.ts
        return update  # type: ignore[no-any-return]  # made by hand


class _AnyData(msgspec.Struct, rename="camel", gc=False):
    """The data of an order whose numbers and times are in whatever form."""

    market: str
    amount: str
    deal_stock: str
    deal_money: str
    id: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    side: msgspec.Raw = ABSENT
    status: msgspec.Raw = ABSENT
    create_time: msgspec.Raw = ABSENT
    update_time: msgspec.Raw = ABSENT
    price: str | None = ""
    left: str | None = ""


_decode: Final = msgspec.json.Decoder(_AnyData).decode


def _read(_: Topic, data: bytes, ts: int | None) -> OrderUpdate:
    order = read_with(_decode, data)
    kind = OrderType(integer_of(order.type, ".type"))
    # A limit order has a price and a remainder; of the other types nobody outside knows.
    needed = kind is OrderType.LIMIT
    return OrderUpdate(
        Order(
            integer_of(order.id, ".id"),
            order.market,
            kind,
            Side(integer_of(order.side, ".side")),
            OrderStatus(integer_of(order.status, ".status")),
            decimal_of(order.price, ".price") if order.price or needed else None,
            decimal_of(order.amount, ".amount"),
            decimal_of(order.left, ".left") if order.left or needed else None,
            decimal_of(order.deal_stock, ".dealStock"),
            decimal_of(order.deal_money, ".dealMoney"),
            seconds_of(bytes(order.create_time)),
            seconds_of(bytes(order.update_time)),
        ),
        ts,
    )


def _write(update: OrderUpdate) -> dict[str, Any]:
    order = update.order
    plain = {
        "id": order.id,
        "market": order.market,
        "type": int(order.type),
        "side": int(order.side),
        "status": int(order.status),
        "price": None if order.price is None else str(order.price),
        "amount": str(order.amount),
        "left": None if order.left is None else str(order.left),
        "dealStock": str(order.deal_stock),
        "dealMoney": str(order.deal_money),
        "createTime": order.create_time,
        "updateTime": order.update_time,
    }
    return {name: member for name, member in plain.items() if member is not None}


FAMILY: Final = Family[Order](
    name="orders",
    topic=ORDERS,
    socket="private",
    update=OrderUpdate,
    example=OrderUpdate(
        Order(
            id=132991,
            market="ETH/BTC",
            type=OrderType.LIMIT,
            side=Side.BUY,
            status=OrderStatus.COMPLETED,
            price=Decimal("0.08132"),
            amount=Decimal("1.389"),
            left=Decimal(0),
            deal_stock=Decimal("1.389"),
            deal_money=Decimal("0.10953654"),
            create_time=1522235513.740678,
            update_time=1522235513.740684,
        ),
        ts=1561948335075,
    ),
    has="orders".__eq__,
    frame=_Frame,
    read=_read,
    write=_write,
    marks=(
        *(b'"market"', b'"side"', b'"price"', b'"amount"', b'"left"'),
        *(b'"dealStock"', b'"dealMoney"'),
    ),
)
"""The family of the topic ``orders``."""
