"""Candles, built from deals as they come.

Every period is counted in UTC: a day begins at midnight, a week on Monday, a month on its first
day. The exchange's page does not say so. A period without a deal has a candle all the same, once
there was a deal before it: its four prices are the close before, its volumes are zero.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from topone_proto._values import value

__all__ = ["PERIODS", "Bar", "Candles", "following_start", "period_start", "preceding_start"]

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY
_MONTH: Final = "1mon"
# 5 January 1970, the first Monday since the epoch.
_FIRST_MONDAY: Final = 4 * _DAY

PERIODS: Final[Mapping[str, int | None]] = {
    "1m": _MINUTE,
    "5m": 5 * _MINUTE,
    "10m": 10 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "1w": _WEEK,
    _MONTH: None,
}
"""The length of each period in seconds, by its name; None for months, which differ."""
_ZERO: Final = Decimal(0)
# Candles of one period that are kept. The exchange answers with 300 at most.
_KEPT: Final = 2000


@value
class Bar:
    """One candle, as the exchange writes it: open, close, high, low."""

    time: int
    """The start of the period in Unix seconds."""
    open: Decimal
    """The price of its first deal."""
    close: Decimal
    """The price of its last deal."""
    high: Decimal
    """The highest price."""
    low: Decimal
    """The lowest price."""
    stock: Decimal
    """The traded coin that changed hands (``quoteVolume``)."""
    money: Decimal
    """The pricing coin that was paid for it (``baseVolume``)."""


def period_start(period: str, time: float) -> int:
    """Return the start of the period that a time is in. Both are in Unix seconds."""
    length = PERIODS[period]
    if length is None:
        day = datetime.fromtimestamp(time, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp())
    offset = _FIRST_MONDAY if length == _WEEK else 0
    return int(time - offset) // length * length + offset


def following_start(period: str, start: int) -> int:
    """Return the start of the period after the one that starts at ``start``."""
    return period_start(period, start + (PERIODS[period] or 32 * _DAY))


def preceding_start(period: str, start: int) -> int:
    """Return the start of the period before the one that starts at ``start``."""
    return period_start(period, start - 1)


class Candles:
    """The candles of one market and one period."""

    def __init__(self, period: str) -> None:
        """Keep no candle yet.

        Args:
            period: one of ``PERIODS``.
        """
        self._period = period
        # Each is what a Bar is made of: deals are many, and candles are seldom looked at.
        self._bars: list[list[Any]] = []

    def add(self, time: float, price: Decimal, amount: Decimal) -> None:
        """Count a deal. No deal is older than the one before."""
        start = period_start(self._period, time)
        money = price * amount
        if not self._bars or self._bars[-1][0] < start:
            self._bars.append([start, price, price, price, price, amount, money])
            del self._bars[:-_KEPT]
            return
        last = self._bars[-1]
        _, _, _, high, low, stock, paid = last
        last[2:] = price, max(high, price), min(low, price), stock + amount, paid + money

    def rows(
        self, since: float, until: float, now: float, *, limit: int, newest: bool = True
    ) -> tuple[Bar, ...]:
        """Return the candles whose start is from ``since`` to ``until``, both included, oldest
        first.

        Args:
            since: Unix seconds.
            until: Unix seconds.
            now: the present Unix seconds; no candle starts later.
            limit: how many candles there are at most.
            newest: True if a longer range keeps its newest candles, False if its oldest.
        """
        if not self._bars:
            return ()
        first, period = self._bars[0][0], self._period
        last = period_start(period, min(until, max(now, self._bars[-1][0])))
        start = first
        if since > first:
            start = period_start(period, since)
            if start < since:
                start = following_start(period, start)
        if last < start:
            return ()
        if newest:
            begin = last
            for _ in range(limit - 1):
                if begin <= start:
                    break
                begin = preceding_start(period, begin)
            start = max(start, begin)
        return tuple(islice(self._filled(start, last), limit))

    def _filled(self, start: int, last: int) -> Iterator[Bar]:
        place = bisect_right(self._bars, start, key=lambda bar: bar[0]) - 1
        while start <= last:
            if place + 1 < len(self._bars) and self._bars[place + 1][0] <= start:
                place += 1
            time, _, close, *_ = self._bars[place]
            if time < start:
                yield Bar(start, close, close, close, close, _ZERO, _ZERO)
            else:
                yield Bar(*self._bars[place])
            start = following_start(self._period, start)
