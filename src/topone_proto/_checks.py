"""The checks of arguments that many classes share."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeGuard, TypeVar, cast

from topone_proto.errors import ConfigurationError

__all__ = [
    "DEEPEST",
    "LAST_TIME",
    "YEAR_10000",
    "check_decimals",
    "check_time",
    "check_times",
    "is_shown",
    "of_kind",
    "or_default",
]

_T = TypeVar("_T")

DEEPEST: Final = 64
"""The most levels of JSON that are kept of what no type describes. What is deeper was written on
purpose; how deep a parser goes depends on the version of Python, and on the caller."""

LAST_TIME: Final = 1e15
"""The first time that no clock shows, in seconds: thirty million years."""

YEAR_10000: Final = 253402300800
"""The first second of the year 10000, since 1970 UTC: ``datetime`` can show none from here on."""


def of_kind(thing: object, kind: type[_T], setting: str) -> _T:
    """Return an argument that has to be an instance of a class.

    Raises:
        ConfigurationError: it is not.
    """
    if isinstance(thing, kind):
        return thing
    raise ConfigurationError(
        setting=setting,
        problem=f"{type(thing).__name__!r} is no {kind.__name__}",
        remedy=f"use {kind.__name__}(...)",
    )


def or_default(thing: object, kind: Callable[[], _T], setting: str) -> _T:
    """Return an argument that may be left out: None stands for an instance with its defaults.

    Raises:
        ConfigurationError: it is neither None nor an instance of the class.
    """
    return kind() if thing is None else of_kind(thing, cast("type[_T]", kind), setting)


def check_time(now: object) -> None:
    """Return if an argument is a time in seconds.

    Raises:
        ConfigurationError: it is no number, not finite, or negative.
    """
    if isinstance(now, int | float) and 0 <= now < LAST_TIME:
        return
    raise ConfigurationError(
        setting="now",
        problem=f"{now!r:.80} is no time",
        remedy="use seconds on a clock that only goes forward, such as time.monotonic()",
    )


def check_decimals(
    holder: object, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Return if these fields of a value are decimals; the optional ones may be None.

    A float is not exact, and a text compares as a text: either would do harm in silence.

    Raises:
        ConfigurationError: one is something else.
    """
    for name in (*required, *optional):
        number = getattr(holder, name)
        if isinstance(number, Decimal) or (number is None and name in optional):
            continue
        raise ConfigurationError(
            setting=f"{type(holder).__name__}.{name}",
            problem=f"{type(number).__name__!r} is no Decimal",
            remedy='use Decimal("0.1"), made of a text, so that it is exact',
        )


def is_shown(seconds: object) -> TypeGuard[float]:
    """Return True for a time in seconds since 1970 UTC that ``datetime`` can show."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return False
    return 0 <= seconds < YEAR_10000


def check_times(holder: object, *names: str, may_be_none: bool = True) -> None:
    """Return if these fields of a value are times in seconds since 1970 UTC, until the end of 9999.

    Any other number would be an error later, where the value is shown.

    Raises:
        ConfigurationError: one is something else.
    """
    for name in names:
        seconds = getattr(holder, name)
        if is_shown(seconds) or (seconds is None and may_be_none):
            continue
        raise ConfigurationError(
            setting=f"{type(holder).__name__}.{name}",
            problem=f"{seconds!r:.80} is no time from 1970 to 9999",
            remedy="use seconds since 1970 UTC" + (", or None" if may_be_none else ""),
        )
