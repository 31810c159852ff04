"""The topics ``kline_<market>_<period>``: the candles of a market."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from topone_proto._checks import YEAR_10000, check_decimals, check_times
from topone_proto._values import value
from topone_proto.wire._market import MARKET, Rows, check_choice, check_market, decimal_in, rows_of
from topone_proto.wire._members import (
    DIGITS,
    Wrong,
    as_json,
    new,
    read_with,
    seconds_of,
    to_decimal,
)
from topone_proto.wire.decimals import MAX_LENGTH
from topone_proto.wire.topic import Family, Frame, Topic, Update

__all__ = ["FAMILY", "PERIODS", "Candle", "KlineUpdate", "kline"]

PERIODS: Final[dict[str, int]] = {
    "1m": 60,
    "5m": 300,
    "10m": 600,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14400,
    "6h": 21600,
    "12h": 43200,
    "1d": 86400,
    "1w": 604800,
    "1mon": 2592000,
}
"""The periods of candles, each with its length in seconds; of a month 30 days."""

_DECIMALS: Final = frozenset({Decimal})


@value
class Candle:
    """The trades of one market in one period ("WebSocket public", candles).

    The wire's order is open, close, high, low. So is the order here.

    Raises:
        ConfigurationError: a price or an amount is no ``Decimal``, or ``time`` is none from 1970 to
            9999.
    """

    time: int
    """The start of the period, in seconds since 1970 UTC."""
    open: Decimal
    """The price of the first trade, in money per unit of stock."""
    close: Decimal
    """The price of the last trade so far."""
    high: Decimal
    """The highest price."""
    low: Decimal
    """The lowest price."""
    amount: Decimal
    """The amount that was traded, in stock: BTC for BTC/USDT (``quoteVolume`` on the wire)."""
    money: Decimal
    """The amount that was paid for it, in money: USDT for BTC/USDT (``baseVolume`` on the wire)."""

    def __attrs_post_init__(self) -> None:
        numbers = (self.open, self.close, self.high, self.low, self.amount, self.money)
        if not _DECIMALS.issuperset(map(type, numbers)):
            check_decimals(self, ("open", "close", "high", "low", "amount", "money"))
        check_times(self, "time", may_be_none=False)

    @property
    def starts_at(self) -> datetime:
        """``time`` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.time, UTC)


@value
class KlineUpdate(Update):
    """The newest candle of a market, or the newest two when a period has just ended.

    A candle comes again whenever it changes. It is finished once a later one comes.
    """

    topic: Topic[Candle]
    """The market and the period, as ``kline`` makes it."""
    candles: tuple[Candle, ...]
    """The candles, oldest first."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""

    @property
    def key(self) -> tuple[object, ...]:
        """The topic and the candles' times."""
        return (self.topic.name, *(candle.time for candle in self.candles))


def kline(market: str, period: str) -> Topic[Candle]:
    """Return the topic of a market's candles.

    Args:
        market: the market, such as ``BTC/USDT``.
        period: the length of a candle: one of ``PERIODS``.

    Raises:
        ConfigurationError: there is no such period, or ``market`` is no market's name.

    >>> kline("BTC/USDT", "1m").subscribe_method
    'sub_kline_BTC/USDT_1m'
    """
    return Topic(f"kline_{check_market(market)}_{check_choice('period', period, tuple(PERIODS))}")


_NAME: Final = re.compile(f"kline_{MARKET}_({'|'.join(PERIODS)})")
_Time = Annotated[int, msgspec.Meta(ge=0, lt=YEAR_10000)]


class _Data(msgspec.Struct, gc=False):
    rows: list[tuple[_Time, str, str, str, str, str, str]] = msgspec.field(name="list")


class _Frame(Frame, gc=False):
    data: _Data

    def read(self) -> KlineUpdate | None:
        rows = self.data.rows
        if len(rows) != 1:
            # Two, when a period has just ended.
            return None
        ((start, first, close, high, low, amount, money),) = rows
        # Joined and checked at once, see wire.orders.
        digits = f"{first}{close}{high}{low}{amount}{money}".encode()
        if len(digits) > MAX_LENGTH or digits.translate(None, DIGITS):
            return None
        candle: Any = new(Candle)
        candle.time = start
        candle.open = to_decimal(first)
        candle.close = to_decimal(close)
        candle.high = to_decimal(high)
        candle.low = to_decimal(low)
        candle.amount = to_decimal(amount)
        candle.money = to_decimal(money)
        update: Any = new(KlineUpdate)
        update.topic = self.topic
        update.candles = (candle,)
        update.ts = self.ts
        return update  # type: ignore[no-any-return]  # made by hand


_decode: Final = msgspec.json.Decoder(Rows).decode


def _read(topic: Topic[Candle], data: bytes, ts: int | None) -> KlineUpdate:
    candles: list[Candle] = []
    for place, row in enumerate(rows_of(read_with(_decode, data).rows, 7, ".list")):
        path = f".list[{place}]"
        start = seconds_of(bytes(row[0]))
        if start is None or start != int(start):
            raise Wrong("not a time in whole seconds", f"$.data{path}[0]")
        numbers = (decimal_in(raw, f"{path}[{at}]") for at, raw in enumerate(row[1:7], 1))
        candles.append(Candle(int(start), *numbers))
    return KlineUpdate(topic, tuple(sorted(candles, key=lambda candle: candle.time)), ts)


def _write(update: KlineUpdate) -> dict[str, Any]:
    return {
        "list": [
            [
                each.time,
                *map(str, (each.open, each.close, each.high, each.low, each.amount, each.money)),
            ]
            for each in update.candles
        ]
    }


def _pulled(topic: Topic[Candle], data: Any) -> tuple[Candle, ...] | str:
    try:
        return _read(topic, as_json(data), None).candles
    except Wrong as error:
        return f"{error.reason} at {error.path}"


FAMILY: Final = Family[Candle](
    name="kline",
    socket="public",
    update=KlineUpdate,
    example=KlineUpdate(
        kline("TOP/ETH", "1m"),
        (
            Candle(
                time=1521795600,
                open=Decimal("0.0794"),
                close=Decimal("0.0793"),
                high=Decimal("0.0794"),
                low=Decimal("0.0793"),
                amount=Decimal("35.585"),
                money=Decimal("2.82398955"),
            ),
        ),
        ts=1561948335075,
    ),
    has=lambda name: _NAME.fullmatch(name) is not None,
    frame=_Frame,
    read=_read,
    write=_write,
    marks=(b'"list"',),
    pulled=_pulled,
    period=lambda topic: PERIODS[topic.name.rsplit("_", 1)[1]],
)
"""The family of the topics that ``kline`` makes."""
