"""The checks of arguments that many classes share."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeVar, cast

from topone_proto.errors import ConfigurationError

__all__ = ["LAST_TIME", "check_decimals", "check_time", "of_kind", "or_default"]

_T = TypeVar("_T")

LAST_TIME: Final = 1e15
"""The first time that no clock shows, in seconds: thirty million years."""


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
