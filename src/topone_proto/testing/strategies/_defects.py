"""Frames that mean nothing: from one defect to any bytes at all."""

import json
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Final

from attrs import evolve
from hypothesis import strategies as st

from topone_proto._checks import DEEPEST
from topone_proto._values import value
from topone_proto.testing.strategies._frames import (
    TEXTS,
    Leaf,
    frames,
    leaves,
    text_frames,
    unknown_fields,
    wire_fields,
)
from topone_proto.testing.strategies._json import Verbatim, json_texts, json_values, spellings
from topone_proto.testing.strategies._values import updates
from topone_proto.testing.strategies._wire import (
    balance_updates,
    methods,
    order_updates,
    pings,
    responses,
)
from topone_proto.wire.orders import OrderType

__all__ = ["NO_DECIMALS", "Defect", "NearMiss", "any_frames", "damaged_frames", "near_misses"]


class Defect(StrEnum):
    """The one thing that is wrong with a frame."""

    MISSING = "a required field is missing"
    WRONG_TYPE = "a field is of another type"
    NO_DECIMAL = "a text is no decimal of the wire"
    NO_JSON_NUMBER = "a number is none of JSON, such as NaN"
    LONE_SURROGATE = "half of a surrogate pair is escaped"
    CONTROL_CHARACTER = "a text has a control character in it, not escaped"
    TRUNCATED = "the frame is cut short"
    TRAILING = "something follows the frame's object"
    TRAILING_COMMA = "a comma comes before the end of the object"
    SINGLE_QUOTES = "texts are in single quotes"
    NOT_UTF8 = "the bytes are no UTF-8"
    NO_OBJECT = "the frame is JSON, but no object"
    EMPTY = "the frame is empty"
    TOO_DEEP = "the frame is nested too deeply"


@value
class NearMiss:
    """A frame with one thing wrong, which decodes to ``Malformed``."""

    frame: str | bytes
    """The frame."""
    defect: Defect
    """The defect."""
    path: str
    """The place: the ``path`` of the ``Malformed``."""


@st.composite
def near_misses(draw: st.DrawFn, defects: Iterable[Defect] = Defect) -> NearMiss:
    """Frames that are almost right, in any spelling: one thing is wrong, by default any."""
    defect = draw(st.sampled_from(list(defects)))
    path = "$"
    frame: str | bytes
    match defect:
        case Defect.MISSING | Defect.WRONG_TYPE | Defect.NO_DECIMAL:
            frame, path = _with_wrong_field(draw, defect)
        case Defect.NO_JSON_NUMBER:
            frame = _with_wrong_number(draw)
        case Defect.LONE_SURROGATE:
            halves = [r"\ud800", r"\uDC00", r"\ud800\ud800", r"\ud83d\n"]
            frame = _with_text(draw, draw(st.sampled_from(halves)))
        case Defect.CONTROL_CHARACTER:
            frame = _with_text(draw, draw(st.characters(max_codepoint=0x1F)))
        case Defect.NOT_UTF8:
            # Overlong, of a surrogate, beyond the last character, and bytes that never occur.
            wrongs = [b"\xff", b"\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"]
            frame = _with_text(draw, "@@").encode().replace(b"@@", draw(st.sampled_from(wrongs)))
        case Defect.NO_OBJECT:
            values = json_values().filter(lambda plain: not isinstance(plain, dict))
            frame = draw(values.flatmap(spellings))
        case Defect.EMPTY:
            frame = draw(st.text("\t\r\n ", max_size=3))
        case Defect.TOO_DEEP:
            frame = _with_deep_field(draw)
        case _:
            frame = _with_wrong_form(draw, defect)
    as_bytes = isinstance(frame, str) and draw(st.booleans())
    return NearMiss(frame.encode() if isinstance(frame, str) and as_bytes else frame, defect, path)


# A limit order has these; of another type's nobody knows.
_OF_LIMIT_ORDERS: Final = ("price", "left")

_NO_TEXTS: Final[list[Any]] = [True, False, 0, 1, 1.5, [], {}, ["1"], {"x": "1"}]
_NO_INTEGERS: Final[list[Any]] = [True, False, 1.5, 1e300, "", [], {}, Verbatim("1e99")]
_NO_NUMBERS: Final[list[Any]] = [True, False, None, [], {}, ["1"], "x", ""]
_NO_ROWS: Final[list[Any]] = [True, 0, "", "x", {}, [{}]]
_NO_CODES: Final[list[Any]] = [True, False, 1.5, "", [], {}, Verbatim("9" * 401)]
_NO_ECHOES: Final[list[Any]] = ["x" * 129, Verbatim("9" * 129), [0] * 99]
NO_DECIMALS: Final = [
    *("NaN", "nan", "sNaN", "-NaN", "NaN123", "Infinity", "-inf", "1_000", " 1", "1 ", "1\n"),
    *("1,5", "1.2.3", "..", ".", "+", "-", "e5", "1e", "--1", "0x10", "1e999999999", "1e100"),
    *("1e-100", "1" * 129, "١٢٣", "1٢", "²", "\N{FULLWIDTH DIGIT ONE}", "1\x00", "x", "None"),
]
"""Texts that are no decimals of the wire, though ``Decimal`` reads many of them."""


def _with_wrong_field(draw: st.DrawFn, defect: Defect) -> tuple[str, str]:
    if defect is not Defect.NO_DECIMAL and draw(st.booleans()):
        return _with_wrong_envelope(draw, defect)
    plain = wire_fields(draw(updates()))
    data = plain["data"]
    important = important_leaves(data)
    decimals = [leaf for leaf in important if leaf.kind is Decimal]
    if defect is Defect.NO_DECIMAL and decimals:
        leaf = draw(st.sampled_from(decimals))
        leaf.holder[leaf.at] = draw(st.sampled_from(NO_DECIMALS))
    elif defect is Defect.WRONG_TYPE and important and draw(st.integers(0, 9)):
        leaf = draw(st.sampled_from(important))
        leaf.holder[leaf.at] = draw(st.sampled_from(wrong_types(leaf)))
    else:
        # A time never voids an update, but no update is without the rest.
        names = [leaf.at for leaf in important if leaf.holder is data]
        names += [name for name in data if isinstance(data[name], list)]
        name = draw(st.sampled_from(names))
        leaf = Leaf(data, name, f"$.data.{name}")
        if defect is Defect.MISSING or not isinstance(data[name], list):
            del data[name]
        else:
            data[name] = draw(st.sampled_from(_NO_ROWS))
            is_row = isinstance(data[name], list)
            leaf = Leaf(data, name, f"$.data.{name}{'[0]' if is_row else ''}")
    # Without any, it would say nothing.
    data |= draw(unknown_fields()) or {"x": 1}
    return draw(spellings({**draw(unknown_fields()), **plain})), leaf.path


def _with_wrong_envelope(draw: st.DrawFn, defect: Defect) -> tuple[str, str]:
    # Only what is important: any other member may be in any form.
    kind = draw(st.sampled_from(["update", "response", "ping"]))
    name: str
    plain: dict[str, Any]
    if kind == "update":
        plain = wire_fields(draw(updates()))
        # A frame without a method is one of tomorrow's.
        name = draw(st.sampled_from(["data", *([] if defect is Defect.MISSING else ["method"])]))
    elif defect is Defect.MISSING or kind == "response":
        # With the id and the method of a request, so that it is an answer even without a code.
        answer = evolve(draw(responses()), id="1", method=draw(methods()), data=None)
        plain = wire_fields(evolve(answer, msg="OK", ts=1))
        name = "code"
    else:
        name, plain = "ping", {}
    if defect is Defect.MISSING:
        del plain[name]
    elif name == "ping":
        plain[name] = draw(st.sampled_from(_NO_ECHOES))
    elif name == "code":
        plain[name] = draw(st.sampled_from(_NO_CODES))
    else:
        wrong: list[Any] = [True, 0, 1.5, "", "x", [], [{}]]
        wrong = _NO_TEXTS if name == "method" else wrong
        plain[name] = draw(st.sampled_from(wrong))
    return draw(spellings({**draw(unknown_fields()), **plain})), f"$.{name}"


def important_leaves(data: dict[str, Any]) -> list[Leaf]:
    """Return the members of an update's data without which it is no update."""
    optional = _OF_LIMIT_ORDERS if data.get("type", OrderType.LIMIT) != OrderType.LIMIT else ()
    important = [leaf for leaf in leaves(data) if leaf.kind in {Decimal, int, str}]
    return [leaf for leaf in important if leaf.at not in optional]


def wrong_types(leaf: Leaf) -> list[Any]:
    """Return what a member is not: a decimal that has a name is a text, one in a row of an array
    may also be a number."""
    if leaf.kind is int:
        return _NO_INTEGERS
    return _NO_TEXTS if isinstance(leaf.at, str) else _NO_NUMBERS


def _with_wrong_number(draw: st.DrawFn) -> str:
    literals = ["NaN", "Infinity", "-Infinity", "nan", "01", "1.", ".5", "+1", "0x1", "1e"]
    plain = wire_fields(draw(order_updates()))
    plain["data"]["id"] = Verbatim(draw(st.sampled_from(literals)))
    return draw(spellings(plain))


def _with_text(draw: st.DrawFn, written: str) -> str:
    """An update with a text of which a part is written just so."""
    plain = wire_fields(draw(order_updates() | balance_updates()))
    name = next(name for name in TEXTS if name in plain["data"])
    plain["data"][name] = Verbatim(f'"x{written}"')
    return draw(spellings(plain))


def _with_deep_field(draw: st.DrawFn) -> str:
    depth = draw(st.integers(DEEPEST + 1, 2 * DEEPEST))
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"x":', "}")]))
    deep = Verbatim(f"{opening * depth}1{closing * depth}")
    plain = {**wire_fields(draw(responses())), "data": deep}
    # With its topic and no id it would be an update, whose data is wrong in another way.
    plain.pop("method", None)
    return draw(spellings(plain))


def _with_wrong_form(draw: st.DrawFn, defect: Defect) -> str:
    plain = wire_fields(draw(updates() | responses()))
    text = draw(spellings(plain)).strip()
    match defect:
        case Defect.TRUNCATED:
            return text[: draw(st.integers(1, len(text) - 1))]
        case Defect.TRAILING:
            return text + draw(st.sampled_from(["x", "{}", " {}", "]", "}", ",", "\x00", "null"]))
        case Defect.TRAILING_COMMA:
            return text[:-1] + ",}"
        case _:
            return json.dumps(plain).replace('"', "'")


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """Frames with a few bytes replaced, lost or added. Some mean something all the same."""
    good = updates() | responses() | pings()
    whole = draw(good.flatmap(text_frames)).encode()
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(start + 4, len(whole))))
    return whole[:start] + draw(st.binary(max_size=3)) + whole[end:]


@cache
def any_frames() -> st.SearchStrategy[str | bytes]:
    """Anything that can come out of a socket: good frames, near misses, any JSON, any text, lone
    surrogates included, and any bytes."""
    good = updates() | responses() | pings()
    return st.one_of(
        st.binary(),
        st.text(st.characters()),
        json_texts(),
        damaged_frames(),
        near_misses().map(lambda miss: miss.frame),
        good.flatmap(frames),
    )
