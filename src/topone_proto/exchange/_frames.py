"""Frames of the simulated server, written from the exchange's pages by itself."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import evolve

from topone_proto.exchange.actions import MarketData
from topone_proto.exchange.candles import Bar
from topone_proto.exchange.config import TimeForm
from topone_proto.exchange.market import Depth, Trade
from topone_proto.models import Side
from topone_proto.wire.balance import BALANCE, Balance
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType
from topone_proto.wire.topic import Topic

__all__ = [
    "EXAMPLE_BALANCE",
    "EXAMPLE_ORDER",
    "STRANGE_FIELDS",
    "STRANGE_ORDER",
    "data_of",
    "frame_text",
    "topic_of",
    "written_time",
]

EXAMPLE_BALANCE: Final = Balance("ETH", Decimal("99999980.24173"), Decimal("23.596"))
"""The balance of the exchange's page, for a burst on a topic without an update yet."""
EXAMPLE_ORDER: Final = Order(
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
)
"""The order of the exchange's page, for a burst on a topic without an update yet."""
STRANGE_ORDER: Final = evolve(
    EXAMPLE_ORDER,
    id=0,
    type=OrderType(7),
    side=Side(9),
    status=OrderStatus(42),
    left=Decimal("0E-16"),
)
"""An order with enum numbers that are unknown today."""
STRANGE_FIELDS: Final = {
    "stopPrice": None,
    "fees": [{"asset": "BTC", "amount": "0.0001"}],
    "flags": 3,
}
"""Fields that are unknown today."""


def frame_text(frame: Mapping[str, Any]) -> str:
    """Return a frame as it goes on the wire."""
    return json.dumps(frame, separators=(",", ":"))


def data_of(
    update: Balance | Order | MarketData, *, is_newest_first: bool = True
) -> dict[str, Any]:
    """Return the data of an update.

    Args:
        update: what is published.
        is_newest_first: True if deals stand with the newest first.
    """
    match update:
        case Balance():
            return _balance_data(update)
        case Order():
            return _order_data(update)
        case Depth(time=time, asks=asks, bids=bids):
            return {"time": time, "asks": _levels(asks), "bids": _levels(bids)}
        case rows:
            step = -1 if is_newest_first and rows and isinstance(rows[0], Trade) else 1
            return {"list": [_row(row) for row in rows[::step]]}


def _levels(side: tuple[tuple[Decimal, Decimal], ...]) -> list[list[str]]:
    return [[_plain(price), _plain(amount)] for price, amount in side]


def _row(row: Bar | Trade) -> list[Any]:
    if isinstance(row, Trade):
        return [row.time, _plain(row.price), _plain(row.amount), int(row.side)]
    # The exchange's order: open, close, high, low.
    prices = (row.open, row.close, row.high, row.low)
    return [row.time, *map(_plain, (*prices, row.stock, row.money))]


def _plain(number: Decimal) -> str:
    return format(number, "f")


def _balance_data(balance: Balance) -> dict[str, Any]:
    return {
        "asset": balance.asset,
        "available": str(balance.available),
        "freeze": str(balance.freeze),
    }


def _order_data(order: Order) -> dict[str, Any]:
    # A field that is None is left out.
    data = {
        "id": order.id,
        "market": order.market,
        "type": int(order.type),
        "side": int(order.side),
        "status": int(order.status),
        "price": order.price,
        "amount": order.amount,
        "left": order.left,
        "dealStock": order.deal_stock,
        "dealMoney": order.deal_money,
        "createTime": None if order.create_time is None else float(order.create_time),
        "updateTime": None if order.update_time is None else float(order.update_time),
    }
    # str() writes a decimal as the exchange does: plain, but "0E-16" for a zero with sixteen
    # places.
    return {
        name: str(v) if isinstance(v, Decimal) else v for name, v in data.items() if v is not None
    }


def written_time(ts: int, form: TimeForm) -> int | float | str:
    """Return a time in milliseconds in the form in which it is written."""
    match form:
        case TimeForm.FLOAT:
            return float(ts)
        case TimeForm.TEXT:
            return str(ts)
        case TimeForm.SECONDS:
            return ts / 1000
        case TimeForm.MICROSECONDS:
            return ts * 1000
        case _:
            return ts


def topic_of(update: Balance | Order) -> Topic:
    """Return the topic that publishes an update."""
    return BALANCE if isinstance(update, Balance) else ORDERS
