"""Numbers, times and texts as people read them. Safe to print whatever the server sent."""

import time
from decimal import Decimal
from typing import Final

from topone_proto import OrderStatus, OrderType, Side

__all__ = ["clock", "number", "price", "printable", "server_clock", "word"]

_LONGEST: Final = 500
_SMALL: Final = Decimal("0.0001")


def printable(text: str) -> str:
    """Return ``text`` in one line of bounded length, with nothing that a terminal would obey."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: _LONGEST + 1]
    )
    return shown if len(text) <= _LONGEST else f"{shown[:_LONGEST]}..."


def number(value: Decimal) -> str:
    """Return ``value``, exact, without an exponent and without zeros at the end."""
    return _trimmed(format(value, "f"))


def price(value: Decimal) -> str:
    """Return a quotient, which can have any number of digits, to eight places or four digits."""
    return _trimmed(f"{value:.8f}") if abs(value) >= _SMALL else f"{value:.4g}"


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def word(value: OrderStatus | OrderType | Side) -> str:
    """Return an enum's member as a word."""
    return value.name.lower().replace("_", "-")


def clock(seconds: float | None) -> str:
    """Return the local time of day of ``seconds`` since 1970 UTC; ``?`` if there is none."""
    if seconds is None:
        return "?"
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        # The server may send any number.
        return "?"


def server_clock(ts: int | None) -> str:
    """Return the local time of day of a server time in milliseconds."""
    return "?" if ts is None else f"{clock(ts // 1000)}.{ts % 1000:03}"
