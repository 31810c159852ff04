"""Decimal numbers as the exchange writes them. Nothing here knows what they count."""

import re
from decimal import Context, Decimal, InvalidOperation
from typing import Final

__all__ = ["MAX_LENGTH", "is_decimal", "is_moderate", "read_decimal"]

# What Decimal() reads, less what is no plain ASCII number (NaN, Infinity, 1_000, spaces, digits of
# other scripts), and bounded, because Decimal("1e999999999") is a bomb for whoever rounds it.
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")

MAX_LENGTH: Final = 128
"""The longest decimal that is read, in characters."""

# The exchange's numbers, and sums of them, are far within.
_MAX_EXPONENT: Final = 512

# Not Decimal(): whether that raises for "1.2.3" or returns NaN depends on the caller's context.
_to_decimal: Final = Context(prec=256, traps=[InvalidOperation]).create_decimal


def is_decimal(text: str) -> bool:
    """Return True if ``text`` writes a plain decimal number, ``MAX_LENGTH`` characters at most."""
    return len(text) <= MAX_LENGTH and _DECIMAL.fullmatch(text) is not None


def is_moderate(number: Decimal) -> bool:
    """Return True if a number that was read elsewhere is finite and no bomb."""
    return number.is_finite() and -_MAX_EXPONENT <= number.adjusted() <= _MAX_EXPONENT


def read_decimal(text: str) -> Decimal:
    """Return the exact number that ``text`` writes.

    Raises:
        ValueError: it is no plain decimal number of at most ``MAX_LENGTH`` characters.
    """
    if not is_decimal(text):
        raise ValueError("not a decimal number")
    return _to_decimal(text)
