"""Market data in words, one line each."""

from collections.abc import Sequence
from typing import Final

from topone_cli._format import clock, number, word
from topone_proto import Book, Candle, Deal, DealsUpdate, DepthUpdate, KlineUpdate, Update

__all__ = ["describe_update"]

# Trades of one update.
_SHOWN: Final = 3


def describe_update(update: Update) -> str:
    """Return an update of any topic in words: its topic, and what is known of it."""
    match update:
        case KlineUpdate(candles=candles):
            return f"{update.topic}: {_newest(candles)}"
        case DepthUpdate(book=book):
            return f"{update.topic}: {_best(book)}"
        case DealsUpdate(deals=trades):
            return f"{update.topic}: {_latest(trades)}"
        case _:
            return f"{update.topic}"


def _newest(candles: Sequence[Candle]) -> str:
    if not candles:
        return "no candles"
    candle = candles[-1]
    text = (
        f"from {clock(candle.time)} open {number(candle.open)}, high {number(candle.high)}, "
        f"low {number(candle.low)}, close {number(candle.close)}, amount {number(candle.amount)}"
    )
    return text if len(candles) == 1 else f"{len(candles)} candles, the newest {text}"


def _best(book: Book) -> str:
    sides = [
        f"best {name} {number(levels[0].price)}, amount {number(levels[0].amount)}, "
        f"{len(levels)} levels"
        if levels
        else f"no {name}s"
        for name, levels in (("bid", book.bids), ("ask", book.asks))
    ]
    return "; ".join(["crossed"] * book.is_crossed + sides)


def _latest(trades: Sequence[Deal]) -> str:
    if not trades:
        return "no trades"
    said = [
        f"{word(trade.side)} {number(trade.amount)} at {number(trade.price)}"
        for trade in trades[:_SHOWN]
    ]
    more = len(trades) - len(said)
    return ", ".join(said) + (f", and {more} before" if more else "")
