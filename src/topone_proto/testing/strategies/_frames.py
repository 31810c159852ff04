"""Frames that mean something: every legal way to write a message."""

from decimal import Decimal
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from topone_proto._values import value
from topone_proto.testing.strategies._json import Verbatim, json_values, spellings
from topone_proto.testing.strategies._wire import (
    decimals,
)
from topone_proto.wire.messages import Ping, Request, Response
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Family, Update, families

__all__ = [
    "TEXTS",
    "Leaf",
    "Meaningful",
    "decimal_spellings",
    "decimal_texts",
    "frames",
    "leaves",
    "text_frames",
    "unknown_fields",
    "wire_fields",
]

Meaningful: TypeAlias = "Request | Response | Update | Ping"
"""A value for which there are frames that mean just this."""

TEXTS: Final = ("market", "asset")
"""The members of an update's data that are texts. Every other text is a decimal."""

_ENVELOPE: Final = frozenset(
    {
        *("id", "method", "code", "msg", "ts", "data", "ping", "params", "lang"),
        *("error", "message", "result", "list"),
    }
)


def _names() -> frozenset[str]:
    """Return every name that means something somewhere in a frame of the server."""
    return _ENVELOPE.union(*(family.write(family.example) for family in families()))


def wire_fields(message: Request | Response | Update) -> dict[str, Any]:
    """``message`` with the names and types of the wire; what may be left out is."""
    match message:
        case Request():
            return {
                "id": message.id,
                "method": message.method,
                "params": dict(message.params),
                "lang": message.lang,
            }
        case Response():
            plain = {
                "id": message.id,
                "method": message.method,
                "code": message.code,
                "msg": message.msg or None,
                "ts": message.ts,
                "data": message.data,
            }
            return {name: inner for name, inner in plain.items() if inner is not None}
        case _:
            data = _family(message).write(message)
    return {"method": message.topic.subscribe_method, "ts": message.ts, "data": data}


def _family(update: Update) -> Family[Any]:
    family = update.topic.family
    assert family is not None  # or it would be no update
    return family


def decimal_texts() -> st.SearchStrategy[str]:
    """Texts of decimals in every way that the wire may write them."""
    number = r"[+-]?([0-9]{1,30}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,2})?"
    return st.from_regex(number, fullmatch=True) | decimals().map(str)


def decimal_spellings(number: Decimal) -> st.SearchStrategy[str]:
    """Texts that all mean ``number``, to its last digit: ``1.50``, ``+01.50``, ``150e-2``."""
    return st.sampled_from(_decimal_forms(number))


def _decimal_forms(number: Decimal) -> list[str]:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # finite
    figures = "".join(map(str, digits))
    minus = "-" if sign else ""
    return [
        str(number),
        str(number).lower(),
        f"{minus or '+'}00{str(number).removeprefix('-')}",
        f"{minus}{figures}e{exponent}",
        f"{minus}0{figures}.E{exponent:+03d}",
    ]


def unknown_fields() -> st.SearchStrategy[dict[str, Any]]:
    """Members of an object that no version of today knows; often none."""
    known = _names()
    names = st.text().filter(lambda name: name not in known)
    return st.dictionaries(names, json_values(), max_size=2)


@st.composite
def text_frames(draw: st.DrawFn, message: Meaningful) -> str:
    """Text frames that all mean ``message``.

    They differ as ``spellings`` do, in fields that are not known today, in how decimals and times
    are written, in whether what is absent is left out, null, empty or in no form that can be read,
    and in a byte order mark.
    """
    if isinstance(message, Ping):
        return draw(_ping_frames(message))
    plain = {**draw(unknown_fields()), **wire_fields(message)}
    if isinstance(message, Response):
        absent = [name for name in ("id", "method", "msg", "ts", "data") if name not in plain]
        plain |= {name: None for name in absent if draw(st.booleans())}
        if message.msg == "" and draw(st.booleans()):
            plain["msg"] = ""
        if message.id is not None and _is_number(message.id):
            forms = [message.id, int(message.id), Verbatim(f"{message.id}.0")]
            plain["id"] = draw(st.sampled_from(forms))
    elif isinstance(message, Update):
        plain["data"] = draw(_data_fields(message, plain["data"]))
        # What answers nothing is an update, with a code as well.
        plain |= draw(st.sampled_from([{}, {}, {"code": None}, {"code": 0}, {"code": "0"}]))
    if isinstance(message, Request):
        return draw(spellings(plain))
    _write(plain, "ts", draw(st.sampled_from(_ts_forms(message.ts))))
    mark = draw(st.sampled_from(["", "", "", "\ufeff"]))
    return mark + draw(spellings(plain))


_NO_TIMES: Final[list[Any]] = [
    *(_OMITTED := object(), None, "", "x", -1, -1e-9, True, False, [], {}, ["1"]),
    *(Verbatim("9" * 401), Verbatim("1e400"), Verbatim("1e99")),
]
"""Values that no time can be made of."""


def _write(plain: dict[str, Any], name: str, form: object) -> None:
    plain.pop(name, None)
    if form is not _OMITTED:
        plain[name] = form


def _ts_forms(ts: int | None) -> list[Any]:
    """A server time in every form that certainly means it."""
    if ts is None:
        return [*_NO_TIMES, 1.5, 10**9 * 10**14]
    forms: list[Any] = [ts, ts, ts, str(ts), Verbatim(f"{ts}.0")]
    if ts >= 10**11:
        seconds = f"{ts // 1000}.{ts % 1000:03}"
        forms += [Verbatim(seconds), seconds, ts * 1000, str(ts * 1000)]
    return forms


def frames(message: Meaningful) -> st.SearchStrategy[str | bytes]:
    """``text_frames``, as text and as its UTF-8 bytes."""
    texts = text_frames(message)
    return texts | texts.map(str.encode)


@st.composite
def _data_fields(draw: st.DrawFn, update: Update, plain: dict[str, Any]) -> dict[str, Any]:
    data = {**draw(unknown_fields()), **plain}
    style = draw(st.integers(0, 4))
    for at, leaf in enumerate(leaves(data)):
        if leaf.kind is Decimal:
            forms = _decimal_forms(Decimal(leaf.value))
            leaf.holder[leaf.at] = forms[style * (at + 1) % len(forms)]
    if update.topic == ORDERS:
        absent = [name for name in ("price", "left") if name not in data]
        data |= {name: draw(st.sampled_from(["", None])) for name in absent if draw(st.booleans())}
    if draw(st.booleans()):
        for leaf in leaves(data):
            if leaf.kind is int:
                leaf.holder[leaf.at] = draw(st.sampled_from([leaf.value, str(leaf.value)]))
            elif leaf.kind is float:
                forms = [leaf.value, repr(leaf.value)]
                leaf.holder[leaf.at] = draw(st.sampled_from(forms))
        for name in _TIMES.get(update.topic.name.partition("_")[0], ()):
            if data.get(name) is None:
                _write(data, name, draw(st.sampled_from(_NO_TIMES)))
    return data


_TIMES: Final = {"orders": ("createTime", "updateTime"), "depth": ("time",)}
"""The times in the data of an update that may be in no form that can be read, by family."""


@value
class Leaf:
    """A number or a text in the data of an update."""

    holder: Any
    """The object or the array that it is in."""
    at: str | int
    """Its name, or its place."""
    path: str
    """The place, as a ``Malformed`` writes it."""

    @property
    def value(self) -> Any:
        """The value there."""
        return self.holder[self.at]

    @property
    def kind(self) -> type[Any]:
        """Decimal, int, float or str; None's type for what is absent."""
        inner: Any = self.holder[self.at]
        kind: type[Any] = inner.__class__
        return Decimal if kind is str and self.at not in TEXTS else kind


def leaves(data: Any, path: str = "$.data") -> list[Leaf]:
    """The numbers and texts of an update's data, as ``Family.write`` wrote them. What is of an
    unknown name is left out."""
    found: list[Leaf] = []
    is_row = data.__class__ is list
    known = _names()
    for at in range(len(data)) if is_row else [name for name in data if name in known]:
        place = f"{path}[{at}]" if is_row else f"{path}.{at}"
        found += leaves(data[at], place) if type(data[at]) is list else [Leaf(data, at, place)]
    return found


@st.composite
def _ping_frames(draw: st.DrawFn, ping: Ping) -> str:
    if ping.answer == "pong":
        spaces = st.text("\t\r\n ", max_size=2)
        return draw(spaces) + "ping" + draw(spaces)
    plain: dict[str, Any] = draw(unknown_fields())
    echo = Verbatim(ping.answer.partition(":")[2])
    if ping.answer.startswith('{"pong":'):
        plain["ping"] = Verbatim(echo.removesuffix("}"))
    else:
        plain["method"] = "ping"
        if ping.answer.startswith('{"id":'):
            plain["id"] = Verbatim(echo.removesuffix(',"method":"pong"}'))
    return draw(spellings(plain))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text
