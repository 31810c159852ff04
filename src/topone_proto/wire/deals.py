"""The topics ``deals_<market>``: the trades of a market."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from topone_proto._checks import check_decimals, check_times
from topone_proto._values import value
from topone_proto.models import Side
from topone_proto.wire._market import MARKET, Rows, aware, check_market, decimal_in, rows_of
from topone_proto.wire._members import (
    DIGITS,
    Seconds,
    integer_of,
    new,
    read_with,
    seconds_of,
    to_decimal,
)
from topone_proto.wire.decimals import MAX_LENGTH
from topone_proto.wire.topic import Family, Frame, Topic, Update

__all__ = ["FAMILY", "Deal", "DealsUpdate", "deals"]


@value
class Deal:
    """One trade of a market ("WebSocket public", where it is headed "Ticker Data"). It has no
    number: two deals may be equal and yet be two.

    Raises:
        ConfigurationError: the price or the amount is no ``Decimal``, or ``time`` is none from 1970
            to 9999.
    """

    time: float | None
    """The time of the deal, in seconds since 1970 UTC, just as the wire has it; None if it has none
    that can be read."""
    price: Decimal
    """The price, in money per unit of stock."""
    amount: Decimal
    """The amount that was traded, in stock (``quoteVolume`` on the wire)."""
    side: Side
    """Sell or buy: what the order did that came last."""

    def __attrs_post_init__(self) -> None:
        if not (type(self.price) is type(self.amount) is Decimal):
            check_decimals(self, ("price", "amount"))
        check_times(self, "time")

    @property
    def at(self) -> datetime | None:
        """``time`` as an aware datetime in UTC, to the microsecond."""
        return aware(self.time)


@value
class DealsUpdate(Update):
    """Trades of a market. The first of a subscription may bring trades from before it."""

    topic: Topic[Deal]
    """The market, as ``deals`` makes it."""
    deals: tuple[Deal, ...]
    """The trades, newest first."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""


def deals(market: str) -> Topic[Deal]:
    """Return the topic of a market's trades.

    Args:
        market: the market, such as ``BTC/USDT``.

    Raises:
        ConfigurationError: ``market`` is no market's name.

    >>> deals("BTC/USDT").subscribe_method
    'sub_deals_BTC/USDT'
    """
    return Topic(f"deals_{check_market(market)}")


_NAME: Final = re.compile(f"deals_{MARKET}")


class _Row(msgspec.Struct, array_like=True, gc=False):
    time: Seconds
    price: str
    amount: str
    side: Side


class _Data(msgspec.Struct, gc=False):
    rows: list[_Row] = msgspec.field(name="list")


class _Frame(Frame, gc=False):
    data: _Data

    def read(self) -> DealsUpdate | None:
        found: list[Deal] = []
        last = float("inf")
        for row in self.data.rows:
            # Joined and checked at once, see wire.orders.
            digits = f"{row.price}{row.amount}".encode()
            if row.time > last or len(digits) > MAX_LENGTH or digits.translate(None, DIGITS):
                return None
            last = row.time
            # By hand: what makes these decimals need not be checked.
            deal: Any = new(Deal)
            deal.time = last
            deal.price = to_decimal(row.price)
            deal.amount = to_decimal(row.amount)
            deal.side = row.side
            found.append(deal)
        return DealsUpdate(self.topic, tuple(found), self.ts)


_decode: Final = msgspec.json.Decoder(Rows).decode


def _read(topic: Topic[Deal], data: bytes, ts: int | None) -> DealsUpdate:
    found: list[Deal] = []
    for place, row in enumerate(rows_of(read_with(_decode, data).rows, 4, ".list")):
        path = f".list[{place}]"
        found.append(
            Deal(
                seconds_of(bytes(row[0])),
                decimal_in(row[1], f"{path}[1]"),
                decimal_in(row[2], f"{path}[2]"),
                Side(integer_of(row[3], f"{path}[3]")),
            )
        )
    if None not in {deal.time for deal in found}:
        found.sort(key=lambda deal: deal.time or 0.0, reverse=True)
    return DealsUpdate(topic, tuple(found), ts)


def _write(update: DealsUpdate) -> dict[str, Any]:
    return {
        "list": [
            [deal.time, str(deal.price), str(deal.amount), int(deal.side)] for deal in update.deals
        ]
    }


FAMILY: Final = Family[Deal](
    name="deals",
    socket="public",
    update=DealsUpdate,
    example=DealsUpdate(
        deals("TOP/ETH"),
        (Deal(1522234513.740684, Decimal("0.0793"), Decimal("1.389"), Side.SELL),),
        ts=1561948335075,
    ),
    has=lambda name: _NAME.fullmatch(name) is not None,
    frame=_Frame,
    read=_read,
    write=_write,
    marks=(b'"list"',),
)
"""The family of the topics that ``deals`` makes."""
