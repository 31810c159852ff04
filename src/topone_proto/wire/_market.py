"""The common part of the topics of one market: the market's name, and rows of texts."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from topone_proto.errors import ConfigurationError
from topone_proto.wire._members import Wrong, text_of, to_decimal
from topone_proto.wire.decimals import is_decimal

__all__ = ["MARKET", "Rows", "aware", "check_choice", "check_market", "decimal_in", "rows_of"]

MARKET: Final = r"[!-.0-\[\]-~]+/[!-.0-\[\]-~]+"
"""The pattern of a market's name: two coins with a slash between, of printable ASCII."""
_MARKET: Final = re.compile(MARKET)


def check_market(market: object) -> str:
    """Return ``market``.

    Raises:
        ConfigurationError: it is not written as a market is.
    """
    if (
        not isinstance(market, str)
        or _MARKET.fullmatch(market) is None
        or '"' in market
        or market == market.lower()
    ):
        raise ConfigurationError(
            setting="market",
            problem=f"a market is two coins in capitals with a slash between, not {market!r:.80}",
            remedy='write it as the exchange does, such as "BTC/USDT"',
        )
    return market


def check_choice(setting: str, chosen: str, choices: tuple[str, ...]) -> str:
    """Return ``chosen``.

    Raises:
        ConfigurationError: it is none of the choices.
    """
    if chosen not in choices:
        raise ConfigurationError(
            setting=setting,
            problem=f"the exchange has no {setting} {chosen!r:.80}",
            remedy=f"use one of {', '.join(choices)}",
        )
    return chosen


def aware(seconds: float | None) -> datetime | None:
    """Return a time in seconds since 1970 UTC as an aware datetime; None for None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class Rows(msgspec.Struct, gc=False):
    """The data of an update that is a list of rows, members in whatever form. null is what some
    servers write for an empty list."""

    # Not called `list`, which its own type could not name then on Python 3.14.
    rows: list[list[msgspec.Raw]] | None = msgspec.field(name="list")
    """The rows."""


def rows_of(rows: list[list[msgspec.Raw]] | None, width: int, path: str) -> list[list[Any]]:
    """Return rows that have at least so many members.

    Raises:
        Wrong: one has fewer.
    """
    for place, row in enumerate(rows or ()):
        if len(row) < width:
            raise Wrong(f"a row of {len(row)} members, not {width}", f"$.data{path}[{place}]")
    return rows or []


def decimal_in(raw: msgspec.Raw, path: str) -> Decimal:
    """Return a decimal of an update's data: a text, or a number of JSON.

    Raises:
        Wrong: it is none.
    """
    plain = bytes(raw)
    text = text_of(plain) if plain.startswith(b'"') else plain.decode(errors="replace")
    if text is None or not is_decimal(text):
        raise Wrong("not a decimal number", f"$.data{path}")
    return to_decimal(text)
