"""JSON: anything that it can say, and every way to write one thing."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

__all__ = ["INT64", "Json", "Verbatim", "json_texts", "json_values", "spellings"]

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON can have."""

INT64: Final = 2**63
"""Whole numbers from minus this one up to this one are read by every parser."""


@cache
def json_values() -> st.SearchStrategy[Any]:
    """Draw values that JSON can have and Python's ``json`` reads back unchanged."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-INT64, INT64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    )


def json_texts() -> st.SearchStrategy[str]:
    """Any JSON at all, in any spelling."""
    return json_values().flatmap(spellings)


@st.composite
def spellings(draw: st.DrawFn, plain: Json) -> str:
    """JSON texts that all mean ``plain``: white space, order of members, escapes and the form of
    numbers differ. A whole number stays one: ``1.0`` is another thing to many a reader."""
    space = draw(st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"]))
    ways: list[Callable[[str], str]] = [json.dumps, _unescaped, _escaped, _slashed]
    # One way for all but a few texts: what differs from text to text is found as well, and sooner.
    common = st.just(draw(st.sampled_from(ways)))
    way = common if draw(st.booleans()) else st.sampled_from(ways)
    number_style = draw(st.integers(0, 4))
    order = draw(st.integers(0, 2**16))
    shuffle = Random(order).shuffle

    def quoted(text: str) -> str:
        return draw(way)(text)

    def spelled(plain: Json) -> str:
        match plain:
            case Verbatim():
                return plain
            case str():
                return quoted(plain)
            case float():
                forms = _float_forms(plain)
                return forms[number_style % len(forms)]
            case Mapping():
                names = list(plain)
                if order:
                    shuffle(names)
                members = [f"{quoted(name)}{space}:{space}{spelled(plain[name])}" for name in names]
                return "{" + space + f"{space},{space}".join(members) + space + "}"
            case Sequence():
                items = [spelled(inner) for inner in plain]
                return "[" + space + f"{space},{space}".join(items) + space + "]"
            case _:
                return json.dumps(plain)

    edge = draw(st.sampled_from(["", "", "\n", " \t"]))
    return edge + spelled(plain) + edge


def _unescaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex().upper()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'


def _slashed(text: str) -> str:
    return json.dumps(text).replace("/", r"\/")


def _float_forms(number: float) -> list[str]:
    usual = json.dumps(number)
    sign, digits, exponent = Decimal(usual).as_tuple()
    assert isinstance(exponent, int)  # finite
    minus, figures = "-" if sign else "", "".join(map(str, digits))
    forms = [usual, usual.upper(), f"{minus}{int(figures)}e{exponent}"]
    forms.append(f"{minus}{int(figures)}.00E{exponent:+04d}")
    if number.is_integer() and abs(number) < 2**53 and usual != "-0.0":
        forms.append(str(int(number)))
    return forms


class Verbatim(str):
    """Text that is JSON already, or is to stand in its place."""

    __slots__ = ()

    def __repr__(self) -> str:
        # Hypothesis shows it as an argument, and warns of one that is as long as a deep nesting.
        return f"{type(self).__name__}({self!s:.80})"
