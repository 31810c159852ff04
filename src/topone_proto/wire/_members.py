"""Members of a frame in whatever form, and what is wrong with one: what all families read with."""

import re
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, Final

import msgspec

from topone_proto._checks import YEAR_10000
from topone_proto.wire.decimals import is_decimal
from topone_proto.wire.topic import FIRST_MS, LAST_MS, Topic

__all__ = [
    "ABSENT",
    "DIGITS",
    "INT64",
    "MISSING",
    "Integer",
    "Seconds",
    "Wrong",
    "as_json",
    "decimal_of",
    "id_of",
    "integer_of",
    "is_present",
    "milliseconds_of",
    "new",
    "number_of",
    "read_with",
    "reason_and_path",
    "seconds_of",
    "text_of",
    "to_decimal",
    "unreadable",
    "whole_of",
]

DIGITS: Final = b"0123456789."
"""The characters of the common decimals. "1.2.3" and "" are left for the decimal to refuse."""

# Not Decimal(): whether that raises for "1.2.3" or returns NaN depends on the caller's context.
context: Final = Context(prec=256, traps=[InvalidOperation])
to_decimal: Final = context.create_decimal
"""Makes a decimal of a text that is known to write one."""

Seconds = Annotated[float, msgspec.Meta(ge=0, lt=YEAR_10000)]
"""A time in seconds since 1970 UTC that ``datetime`` can show."""
INT64: Final = 2**63
"""One more than the largest whole number of 64 bits."""
Integer = Annotated[int, msgspec.Meta(ge=-INT64, le=INT64 - 1)]
"""A whole number of 64 bits."""

# Smaller numbers are no time of today in any unit: they stay what they are, for tests.
_SMALL: Final = 10**8

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_NUMBER_LENGTH: Final = 64
# What a second, a microsecond and a nanosecond are multiplied by to be milliseconds, and a
# millisecond.
_UNITS: Final = (Decimal(1), Decimal(1000), Decimal("1e-3"), Decimal("1e-6"))

MISSING: Final = "required field is missing"
ABSENT: Final = msgspec.Raw()
"""A member that is not there."""

new: Final = object.__new__
"""Makes an empty value, to be filled in by hand: calling a class of many fields packs them all
first."""

_decode_text: Final = msgspec.json.Decoder(str).decode
as_json: Final = msgspec.json.Encoder().encode
"""Writes plain data as JSON."""


class Wrong(ValueError):
    """The defect of a frame, its place, and what the frame may have been an update of."""

    def __init__(self, reason: str, path: str, topics: tuple[Topic, ...] = ()) -> None:
        super().__init__(reason, path, topics)
        self.reason = reason
        self.path = path
        self.topics = topics


def read_with(decode: Any, data: bytes) -> Any:
    """Return what a decoder of msgspec reads in an update's data.

    Raises:
        Wrong: it cannot.
    """
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        reason, path = reason_and_path(str(error))
        raise Wrong(reason, f"$.data{path[1:]}") from None
    except (ValueError, RecursionError) as error:
        raise Wrong(unreadable(error, data), "$") from None


def unreadable(error: ValueError | RecursionError, data: str | bytes) -> str:
    """Return why data is no JSON, after a decoder of msgspec has raised this error of it.

    The data is asked whether it is UTF-8: versions of msgspec say it in different ways.
    """
    if isinstance(error, RecursionError):
        return "nested too deeply"
    try:
        data.decode() if isinstance(data, bytes) else data.encode()
    except UnicodeError:
        return "not UTF-8"
    return str(error)


_PROBLEM: Final = re.compile(r"(.*?)(?: - at `([^`]*)`)?", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")


def reason_and_path(problem: str) -> tuple[str, str]:
    """Return a problem such as "Expected `int`, got `str` - at `$.data.id`" in two; a missing
    field's path names the field."""
    found = _PROBLEM.fullmatch(problem)
    assert found is not None  # it takes any text
    reason, path = found.groups("$")
    missing = _MISSING.fullmatch(reason)
    if missing is not None:
        path, reason = f"{path}.{missing[1]}", MISSING
    return reason.replace("`", ""), path


def is_present(raw: msgspec.Raw) -> bool:
    """Return False if a member is absent or null."""
    return bytes(raw) not in {b"", b"null"}


def text_of(raw: bytes) -> str | None:
    """Return a text of JSON; None if it is none."""
    try:
        return _decode_text(raw)
    except ValueError:
        return None


def number_of(raw: bytes) -> Decimal | None:
    """Return a number of JSON, or one in a text; None if it is none, or one of silly length."""
    # Six times as long if every digit is escaped.
    if len(raw) > 6 * _NUMBER_LENGTH:
        return None
    text = text_of(raw) if raw.startswith(b'"') else raw.decode(errors="replace")
    if not text or len(text) > _NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        return None
    return to_decimal(text)


def whole_of(raw: bytes) -> int | None:
    """Return a whole number of 64 bits; None if it is none."""
    number = number_of(raw)
    if number is None or not -INT64 <= number < 2 * INT64:
        return None
    return int(number) if number == context.to_integral_value(number) else None


def id_of(raw: msgspec.Raw) -> str | None:
    """Return the id of a request that a response repeats: some servers make a number of it."""
    if bytes(raw)[:1] == b'"':
        return text_of(bytes(raw)) or None
    number = whole_of(bytes(raw))
    return None if number is None else str(number)


def integer_of(raw: msgspec.Raw, path: str) -> int:
    """Return a whole number of an update's data.

    Raises:
        Wrong: it is none.
    """
    if not is_present(raw):
        raise Wrong(MISSING, f"$.data{path}")
    number = whole_of(bytes(raw))
    if number is None:
        raise Wrong("not a whole number of 64 bits", f"$.data{path}")
    return number


def decimal_of(text: str | None, path: str) -> Decimal:
    """Return a decimal of an update's data.

    Raises:
        Wrong: it is none.
    """
    if not text:
        raise Wrong("required field is missing or empty", f"$.data{path}")
    if not is_decimal(text):
        raise Wrong("not a decimal number", f"$.data{path}")
    return to_decimal(text)


def milliseconds_of(raw: bytes) -> int | None:
    """Return a server time in milliseconds, of a number in any unit; None if there is none that is
    certain."""
    number = number_of(raw)
    if number is None or number < 0:
        return None
    if number < _SMALL:
        return whole_of(raw)
    for unit in _UNITS:
        milliseconds = context.multiply(number, unit)
        if FIRST_MS <= milliseconds < LAST_MS:
            return int(milliseconds)
    return None


def seconds_of(raw: bytes) -> float | None:
    """Return a time in seconds; None if there is none that is certain, or that datetime can
    show."""
    number = number_of(raw)
    if number is None or number < 0:
        return None
    if number < YEAR_10000:
        seconds = float(number)
        # The largest numbers below are rounded up to it.
        return seconds if seconds < YEAR_10000 else None
    for unit in _UNITS:
        milliseconds = context.multiply(number, unit)
        if FIRST_MS <= milliseconds < LAST_MS:
            return float(milliseconds) / 1000
    return None
