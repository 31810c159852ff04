"""A chart of candles out of characters, with rich.

A candle is a body from the opening to the closing price, and a wick from the lowest to the highest.
A rising body is a line and a falling one a block, so that colour is not needed to tell them apart.
Each line of the terminal has two halves, drawn by characters of half its height.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Self

from attrs import frozen
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from topone_cli._format import number
from topone_cli._rows import height_of
from topone_proto import Candle

__all__ = ["ASCII_LEGEND", "LEGEND", "CandleChart"]

LEGEND: Final = "┃ rising  █ falling"
"""The two kinds of bodies."""
ASCII_LEGEND: Final = "+ rising  # falling"
"""The same where the terminal shows ASCII only."""

_NOTHING, _WICK, _BODY = range(3)
# By what is in the lower and in the upper half of a line.
_WICKS: Final = {
    (_NOTHING, _NOTHING): " ",
    (_WICK, _WICK): "│",
    (_WICK, _NOTHING): "╷",
    (_NOTHING, _WICK): "╵",
}
_RISING: Final = _WICKS | {
    (_BODY, _BODY): "┃",
    (_BODY, _WICK): "╽",
    (_WICK, _BODY): "╿",
    (_BODY, _NOTHING): "╻",
    (_NOTHING, _BODY): "╹",
}
_FALLING: Final = _WICKS | {
    (_BODY, _BODY): "█",
    (_BODY, _WICK): "▄",
    (_WICK, _BODY): "▀",
    (_BODY, _NOTHING): "▄",
    (_NOTHING, _BODY): "▀",
}
_COLOURS: Final = {True: "green", False: "red"}
_AMOUNTS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_AMOUNTS: Final = " .:-=+*#"
_DAY: Final = 86400
# Fewer columns of candles say less than the prices beside them.
_LEAST_COLUMNS: Final = 10
# From so many lines on there is one for the amounts.
_LINES_WITH_AMOUNTS: Final = 7


@frozen
class CandleChart:
    """Candles over time, as many of the latest as there is room for.

    The prices at its side are the highest and the lowest in sight and the latest. A price that does
    not fit is left out. A period without a candle is left empty.
    """

    candles: Sequence[Candle]
    """The candles by time."""
    period: float
    """Seconds from one to the next."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.candles:
            return
        height = height_of(console, options)
        width = options.max_width
        latest = self.candles[-1].close
        # No price should be beyond the highest and the lowest, but the server says them.
        axis = 1 + max(len(number(price)) for candle in self.candles for price in _prices(candle))
        if width - axis < _LEAST_COLUMNS:
            axis = 0
        columns = width - axis
        # With a space between them as long as all have room.
        step = 2 if 2 * self._slot(self.candles[0], 0) >= -columns + 2 else 1
        shown = {
            at: candle
            for candle in self.candles
            if (at := self._slot(candle, (columns - 1) // step) * step) >= 0
        }
        has_amounts = height >= _LINES_WITH_AMOUNTS
        lines = max(1, height - 1 - has_amounts)
        scale = _Scale.of(shown.values(), lines)
        labels = scale.labels(latest) if axis else {}
        for line in range(lines - 1, -1, -1):
            text = Text(no_wrap=True)
            for column in range(columns):
                candle = shown.get(column)
                if candle is None:
                    text.append(" ")
                    continue
                is_rising = candle.close >= candle.open
                mark = scale.mark(candle, line, ascii_only=options.ascii_only)
                text.append(mark, _COLOURS[is_rising])
            label, style = labels.get(line, ("", ""))
            yield text.append(f" {label}", style)
        if has_amounts:
            yield _amounts(shown, columns, ascii_only=options.ascii_only)
        yield self._times(shown, columns)

    def _slot(self, candle: Candle, last: int) -> int:
        """Return the place of a candle in time, if the latest is in the ``last`` one."""
        return last - round((self.candles[-1].time - candle.time) / self.period)

    def _times(self, shown: dict[int, Candle], columns: int) -> Text:
        last = _time(self.candles[-1].time, self.period)
        if len(last) > columns:
            return Text()
        line = last.rjust(columns)
        at, first = next(iter(shown.items()))
        text = _time(first.time, self.period)
        if at + len(text) + 1 <= columns - len(last):
            line = f"{' ' * at}{text}".ljust(columns - len(last)) + last
        return Text(line, "dim", no_wrap=True)


@frozen
class _Scale:
    """The lines of prices, from the bottom."""

    low: Decimal
    high: Decimal
    lines: int

    @classmethod
    def of(cls, candles: Iterable[Candle], lines: int) -> Self:
        prices = [price for candle in candles for price in _prices(candle)]
        return cls(min(prices), max(prices), lines)

    def half(self, price: Decimal) -> int:
        """Return the half line of a price."""
        if self.high == self.low:
            return self.lines - 1
        return round((price - self.low) / (self.high - self.low) * (2 * self.lines - 1))

    def labels(self, latest: Decimal) -> dict[int, tuple[str, str]]:
        """Return the prices at the side, each with its style."""
        return {
            self.lines - 1: (number(self.high), "dim"),
            0: (number(self.low), "dim"),
            self.half(latest) // 2: (number(latest), "bold"),
        }

    def mark(self, candle: Candle, line: int, *, ascii_only: bool) -> str:
        """Return the character of a candle in a line."""
        body = sorted((self.half(candle.open), self.half(candle.close)))
        wick = (min(self.half(candle.low), *body), max(self.half(candle.high), *body))

        def part(half: int) -> int:
            if body[0] <= half <= body[1]:
                return _BODY
            return _WICK if wick[0] <= half <= wick[1] else _NOTHING

        halves = part(2 * line), part(2 * line + 1)
        is_rising = candle.close >= candle.open
        if ascii_only:
            return " |+"[max(halves)] if is_rising else " |#"[max(halves)]
        return (_RISING if is_rising else _FALLING)[halves]


def _prices(candle: Candle) -> tuple[Decimal, ...]:
    return candle.open, candle.close, candle.high, candle.low


def _amounts(shown: dict[int, Candle], columns: int, *, ascii_only: bool) -> Text:
    """Return a line with the traded amount of each candle, as parts of the largest."""
    marks = _ASCII_AMOUNTS if ascii_only else _AMOUNTS
    most = max(candle.amount for candle in shown.values())
    text = ""
    for column in range(columns):
        amount = shown[column].amount if column in shown else Decimal(0)
        text += marks[int(amount / most * (len(marks) - 1) + Decimal("0.999")) if amount > 0 else 0]
    return Text(text, "dim", no_wrap=True)


def _time(seconds: int, period: float) -> str:
    """Return the local time of day at which a period starts; its date in UTC if it has days."""
    try:
        if period >= _DAY:
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
        return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M}"
    except (OverflowError, OSError, ValueError):
        # The last hours of 9999 are in the year 10000 east of Greenwich.
        return "?"
