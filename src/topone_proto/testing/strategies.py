"""Hypothesis strategies for what goes over the wire and for what an application sees.

Four floors: values, which are all such as the codec can produce; the frames that mean a value, in
every legal spelling; frames that mean nothing, from one defect to any bytes at all; and whole
conversations. ``st.from_type`` knows the values of the first floor by their types as soon as the
package is installed.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from random import Random
from typing import Any, Final, TypeAlias, TypeVar, cast, get_args

from attrs import evolve
from hypothesis import strategies as st

from topone_proto._values import value
from topone_proto.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.codec import decode, encode
from topone_proto.config import DeliveryPolicy, SessionConfig
from topone_proto.connection import Connection
from topone_proto.endpoint import DEFAULT_URL, Endpoint, Token
from topone_proto.events import (
    ANOMALIES,
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unsubscribed,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.messages import (
    BalanceUpdate,
    Malformed,
    Message,
    OrderUpdate,
    Ping,
    Request,
    Response,
    Unrecognised,
    Update,
)
from topone_proto.metrics import FeedMetrics
from topone_proto.models import Balance, Order, OrderStatus, OrderType, Side
from topone_proto.step import Step
from topone_proto.topics import BALANCE, ORDERS, Topic

__all__ = [
    "NO_DECIMALS",
    "Conversation",
    "Defect",
    "Json",
    "Meaningful",
    "NearMiss",
    "Received",
    "Trouble",
    "actions",
    "any_frames",
    "balance_updates",
    "balances",
    "conversations",
    "damaged_frames",
    "decimal_spellings",
    "decimal_texts",
    "decimals",
    "endpoints",
    "events",
    "failures",
    "frames",
    "json_texts",
    "json_values",
    "messages",
    "near_misses",
    "order_updates",
    "orders",
    "pings",
    "requests",
    "responses",
    "session_configs",
    "spellings",
    "steps",
    "text_frames",
    "timestamps",
    "tokens",
    "topics",
    "troubled_conversations",
    "unknown_fields",
    "unknown_members",
    "updates",
    "values",
    "wire_enums",
    "wire_fields",
]

_T = TypeVar("_T")

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What JSON can say."""

Meaningful: TypeAlias = "Request | Response | Update | Ping"
"""What has frames that mean just this."""

_LAST_TIME: Final = 253402300799.0  # the last second of the year 9999
_INT64: Final = 2**63


# Strategies without arguments are made once: making one costs more than drawing from it.


# --- values: numbers, models, topics -------------------------------------------------------------


@cache
def decimals() -> st.SearchStrategy[Decimal]:
    """Finite decimals of up to 40 digits, with their exponent: ``0E-16`` is not ``0``."""
    texts = st.builds("{}E{}".format, st.integers(-(10**20), 10**40 - 1), st.integers(-30, 30))
    return texts.map(Decimal)


def timestamps() -> st.SearchStrategy[int]:
    """Server times in milliseconds."""
    return st.integers(0, 2**53)


@cache
def topics() -> st.SearchStrategy[Topic]:
    """The topics of the private WebSocket, and topics of tomorrow."""
    names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)
    return st.sampled_from([ORDERS, BALANCE]) | names.map(Topic)


def unknown_members(enum: type[Side | OrderType | OrderStatus]) -> st.SearchStrategy[Any]:
    """Members of ``enum`` that the exchange's page does not list."""
    numbers = st.integers(-_INT64, _INT64 - 1)
    return numbers.filter(lambda number: number not in list(enum)).map(enum)


def wire_enums(enum: type[Side | OrderType | OrderStatus]) -> st.SearchStrategy[Any]:
    """Members of ``enum``, listed by the exchange's page or not."""
    return st.sampled_from(enum) | unknown_members(enum)


def balances() -> st.SearchStrategy[Balance]:
    """Balances of one asset."""
    assets = st.sampled_from(["ETH", "BTC", "USDT"]) | st.text()
    return st.builds(Balance, asset=assets, available=decimals(), freeze=decimals())


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Orders in any state. Only a limit order is sure to have a price and a remainder."""
    kind = draw(wire_enums(OrderType))
    rest = decimals() if kind is OrderType.LIMIT else st.none() | decimals()
    times = st.floats(0, _LAST_TIME)
    return Order(
        id=draw(st.integers(-_INT64, _INT64 - 1)),
        market=draw(st.sampled_from(["ETH/BTC", "BTC/USDT"]) | st.text()),
        type=kind,
        side=draw(wire_enums(Side)),
        status=draw(wire_enums(OrderStatus)),
        price=draw(rest),
        amount=draw(decimals()),
        left=draw(rest),
        deal_stock=draw(decimals()),
        deal_money=draw(decimals()),
        create_time=draw(times),
        update_time=draw(times),
    )


# --- values: messages ----------------------------------------------------------------------------


@cache
def balance_updates() -> st.SearchStrategy[BalanceUpdate]:
    """Updates of the topic ``balance``."""
    return st.builds(BalanceUpdate, balances(), timestamps())


@cache
def order_updates() -> st.SearchStrategy[OrderUpdate]:
    """Updates of the topic ``orders``."""
    return st.builds(OrderUpdate, orders(), timestamps())


@cache
def updates() -> st.SearchStrategy[Update]:
    """Updates of the private WebSocket's topics."""
    return balance_updates() | order_updates()


@cache
def json_values() -> st.SearchStrategy[Any]:
    """Whatever JSON can say and Python's ``json`` reads back unchanged."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-_INT64, _INT64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    )


@cache
def requests() -> st.SearchStrategy[Request]:
    """Requests of a client: those of the exchange's page, and any others."""
    return st.builds(
        Request,
        id=st.integers(1, 10**6).map(str) | st.text(),
        method=_methods() | st.text(),
        params=st.dictionaries(st.text(), json_values(), max_size=3),
        lang=st.just("zh-CN") | st.text(),
    )


@cache
def responses() -> st.SearchStrategy[Response]:
    """Answers of the server, of success and of failure."""
    return st.builds(
        Response,
        id=st.none() | st.integers(1, 10**6).map(str) | st.text(),
        method=st.none() | _methods() | st.text(),
        code=st.just(0) | st.integers(-_INT64, _INT64 - 1),
        msg=st.sampled_from(["", "OK"]) | st.text(),
        ts=st.none() | timestamps(),
        data=st.none() | json_values(),
    )


@cache
def pings() -> st.SearchStrategy[Ping]:
    """Pings in every form that is known, by the answer that each wants."""
    # What is asked back may be a number or a short text, and is repeated as it was written.
    plain = st.integers(-_INT64, _INT64 - 1) | st.text(max_size=10) | st.floats(0, _LAST_TIME)
    echoes = plain.flatmap(spellings).map(str.strip).filter(lambda text: len(text) <= 128)
    return st.one_of(
        st.sampled_from([Ping("pong"), Ping('{"method":"pong"}')]),
        echoes.map(lambda text: Ping(f'{{"pong":{text}}}')),
        echoes.map(lambda text: Ping(f'{{"id":{text},"method":"pong"}}')),
    )


def messages() -> st.SearchStrategy[Message]:
    """Whatever a frame decodes to."""
    return st.one_of([values(cls) for cls in get_args(Message)])


# --- values: what an application and an adapter see ----------------------------------------------


@cache
def failures() -> st.SearchStrategy[Failure]:
    """Why there is no connection."""
    return st.builds(
        Failure,
        kind=st.sampled_from(FailureKind),
        detail=st.text(),
        status=st.none() | st.integers(100, 599),
        retry_after=st.none() | st.floats(0, 1e9),
        code=st.none() | st.integers(1000, 4999),
    )


def events() -> st.SearchStrategy[Event]:
    """Anything that a feed hands to an application."""
    return st.one_of([values(cls) for cls in get_args(Event)])


def tokens() -> st.SearchStrategy[Token]:
    """Tokens that can be dialled with. Like every token, they print as ``Token(***)``."""
    return st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).map(Token)


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Addresses that a feed accepts: the exchange's own, and those of simulators nearby."""
    ports = st.integers(1, 65535)
    urls = st.one_of(
        st.just(DEFAULT_URL),
        ports.map("wss://gateway.example.org:{}/ws/user/".format),
        ports.map("ws://127.0.0.1:{}/ws/user/".format),
        ports.map("ws://[::1]:{}/ws/user/?v=1".format),
    )
    return st.builds(Endpoint, urls, st.sampled_from([None, "", "https://example.org"]))


def session_configs() -> st.SearchStrategy[SessionConfig]:
    """Settings that ``SessionConfig`` accepts, all defaults among them."""
    seconds = st.floats(0.001, 3600)
    names = ["open", "token", "ack", "close", "pong"]
    given: dict[str, st.SearchStrategy[Any]] = {f"{name}_timeout": seconds for name in names}
    names = ["retry_first", "retry_base", "retry_cap", "stable_after", "rate_limit_wait"]
    given |= dict.fromkeys([*names, "retry_after_cap"], seconds)
    given |= dict.fromkeys(["ping_interval", "silence_timeout"], st.none() | seconds)
    given |= dict.fromkeys(["max_pending", "max_unsent", "capacity"], st.integers(1, 10_000))
    given |= dict.fromkeys(["max_frame_size", "max_kept"], st.integers(1, 2**20))
    given |= {
        "lang": st.sampled_from(["zh-CN", "en-US"]),
        "max_attempts": st.none() | st.integers(1, 100),
        "delivery": st.sampled_from(DeliveryPolicy),
    }
    return st.fixed_dictionaries({}, optional=given).map(lambda chosen: SessionConfig(**chosen))


def actions() -> st.SearchStrategy[Action]:
    """Anything that the core asks an adapter to do."""
    return st.one_of([values(cls) for cls in get_args(Action)])


def steps() -> st.SearchStrategy[Step]:
    """What one input of the core may cause: a few events and actions."""
    return st.builds(
        Step,
        st.lists(events(), max_size=3).map(tuple),
        st.lists(actions(), max_size=3).map(tuple),
        st.none() | st.floats(0, 1e9),
    )


@cache
def feed_metrics() -> st.SearchStrategy[FeedMetrics]:
    """Metrics, one number independent of the other."""
    age = st.none() | st.floats(0, 1e6)
    return st.builds(
        FeedMetrics,
        epoch=_counts(),
        failures=st.dictionaries(st.sampled_from(FailureKind), _counts()),
        updates=_counts(),
        gaps=_counts(),
        anomalies=st.dictionaries(st.sampled_from([cls.__name__ for cls in ANOMALIES]), _counts()),
        conflated=_counts(),
        waiting=_counts(),
        capacity=st.integers(1, 2**31),
        is_connected=st.booleans(),
        epoch_age=age,
        last_received_age=age,
        ack_latency=age,
        lag=st.dictionaries(topics(), st.floats(-1e6, 1e6)),
    )


def values(cls: type[_T]) -> st.SearchStrategy[_T]:
    """Values of one class of the package, the same as those of ``st.from_type``.

    Raises:
        KeyError: there is no strategy for this class.
    """
    return cast("st.SearchStrategy[_T]", _STRATEGIES[cls]())


@cache
def _methods() -> st.SearchStrategy[str]:
    return topics().flatmap(
        lambda topic: st.sampled_from([topic.subscribe_method, topic.unsubscribe_method])
    )


def _counts() -> st.SearchStrategy[int]:
    return st.integers(0, 2**31)


def _times() -> st.SearchStrategy[int | None]:
    return st.none() | timestamps()


_STRATEGIES: Final[dict[type[Any], Callable[[], st.SearchStrategy[Any]]]] = {
    Topic: topics,
    Side: lambda: wire_enums(Side),
    OrderType: lambda: wire_enums(OrderType),
    OrderStatus: lambda: wire_enums(OrderStatus),
    Balance: balances,
    Order: orders,
    BalanceUpdate: balance_updates,
    OrderUpdate: order_updates,
    Request: requests,
    Response: responses,
    Ping: pings,
    Malformed: lambda: st.builds(Malformed, st.text(), st.text(), st.text(), _counts()),
    Unrecognised: lambda: st.builds(Unrecognised, st.text(), st.none() | st.text(), st.text()),
    Failure: failures,
    FeedMetrics: feed_metrics,
    Connected: lambda: st.builds(Connected, _counts()),
    Subscribed: lambda: st.builds(Subscribed, topics(), _times(), _counts()),
    Unsubscribed: lambda: st.builds(Unsubscribed, topics(), _times(), _counts()),
    SubscriptionRejected: lambda: st.builds(
        SubscriptionRejected,
        topic=topics(),
        method=_methods(),
        code=st.integers(-_INT64, _INT64 - 1).filter(bool),
        msg=st.text(),
        ts=_times(),
        epoch=_counts(),
    ),
    RequestTimedOut: lambda: st.builds(
        RequestTimedOut,
        topic=topics(),
        method=_methods(),
        timeout=st.floats(0.001, 3600),
        epoch=_counts(),
    ),
    Disconnected: lambda: st.builds(
        Disconnected, failures(), st.none() | st.floats(0, 3600), _counts(), _counts()
    ),
    Gap: lambda: st.builds(Gap, topics(), _times(), _times(), _counts()),
    Closed: lambda: st.builds(Closed, st.none() | failures()),
    Conflated: lambda: st.builds(Conflated, _counts()),
    UnexpectedResponse: lambda: st.builds(UnexpectedResponse, responses(), st.text()),
    UnexpectedUpdate: lambda: st.builds(UnexpectedUpdate, updates()),
    Token: tokens,
    Endpoint: endpoints,
    SessionConfig: session_configs,
    FetchToken: lambda: st.builds(FetchToken),
    Connect: lambda: st.builds(
        Connect, endpoints(), tokens(), st.floats(0.001, 3600), st.integers(1, 2**31)
    ),
    SendText: lambda: st.builds(SendText, requests().map(encode) | pings().map(_answer)),
    SendPing: lambda: st.builds(SendPing, st.binary(max_size=125)),  # RFC 6455 section 5.5
    Close: lambda: st.builds(
        Close, st.integers(1000, 4999), st.text(max_size=30), st.floats(0, 3600)
    ),
    Step: steps,
}


def _answer(ping: Ping) -> str:
    return ping.answer


# --- frames that mean something ------------------------------------------------------------------


class _Literal(str):
    """Text that is JSON already, or is to stand in its place."""

    __slots__ = ()

    def __repr__(self) -> str:
        # Hypothesis shows it as an argument, and warns of one that is as long as a deep nesting.
        return f"{type(self).__name__}({self!s:.80})"


# Every name that means something somewhere in a frame of the server.
_NAMES: Final = frozenset(
    {
        *("id", "method", "code", "msg", "ts", "data", "ping", "params", "lang"),
        *("asset", "available", "freeze", "market", "type", "side", "status", "price", "amount"),
        *("left", "dealStock", "dealMoney", "createTime", "updateTime"),
    }
)


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
        case BalanceUpdate(balance=balance):
            data: dict[str, Any] = {
                "asset": balance.asset,
                "available": str(balance.available),
                "freeze": str(balance.freeze),
            }
        case OrderUpdate(order=order):  # pragma: no branch - there is no other
            data = {
                "id": order.id,
                "market": order.market,
                "type": int(order.type),
                "side": int(order.side),
                "status": int(order.status),
                "price": None if order.price is None else str(order.price),
                "amount": str(order.amount),
                "left": None if order.left is None else str(order.left),
                "dealStock": str(order.deal_stock),
                "dealMoney": str(order.deal_money),
                "createTime": order.create_time,
                "updateTime": order.update_time,
            }
            data = {name: inner for name, inner in data.items() if inner is not None}
    return {"method": message.topic.subscribe_method, "ts": message.ts, "data": data}


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


@cache
def unknown_fields() -> st.SearchStrategy[dict[str, Any]]:
    """Members of an object that no version of today knows; often none."""
    names = st.text().filter(lambda name: name not in _NAMES)
    return st.dictionaries(names, json_values(), max_size=2)


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
    shuffle = Random(order).shuffle  # noqa: S311 - drawn once for all objects, and no secret

    def quoted(text: str) -> str:
        return draw(way)(text)

    def spelled(plain: Json) -> str:
        match plain:
            case _Literal():
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


@st.composite
def text_frames(draw: st.DrawFn, message: Meaningful) -> str:
    """Text frames that all mean ``message``.

    They differ as ``spellings`` do, in fields that are not known today, in how decimals are
    written, and in whether what is absent is left out, null or empty.
    """
    if isinstance(message, Ping):
        return draw(_ping_frames(message))
    plain = {**draw(unknown_fields()), **wire_fields(message)}
    if isinstance(message, Response):
        absent = [name for name in ("id", "method", "msg", "ts", "data") if name not in plain]
        plain |= {name: None for name in absent if draw(st.booleans())}
        if message.msg == "" and draw(st.booleans()):
            plain["msg"] = ""
        if message.id is not None and _is_number(message.id) and draw(st.booleans()):
            plain["id"] = int(message.id)
    elif isinstance(message, (BalanceUpdate, OrderUpdate)):
        plain["data"] = draw(_data_fields(message, plain["data"]))
    return draw(spellings(plain))


def frames(message: Meaningful) -> st.SearchStrategy[str | bytes]:
    """``text_frames``, as text and as its UTF-8 bytes."""
    texts = text_frames(message)
    return texts | texts.map(str.encode)


def json_texts() -> st.SearchStrategy[str]:
    """Any JSON at all, in any spelling."""
    return json_values().flatmap(spellings)


@st.composite
def _data_fields(draw: st.DrawFn, update: Update, plain: dict[str, Any]) -> dict[str, Any]:
    data = {**draw(unknown_fields()), **plain}
    style = draw(st.integers(0, 4))
    for at, name in enumerate(_DECIMALS):
        if name in data:
            forms = _decimal_forms(Decimal(data[name]))
            data[name] = forms[style * (at + 1) % len(forms)]
    if isinstance(update, OrderUpdate):
        absent = [name for name in ("price", "left") if name not in data]
        data |= {name: draw(st.sampled_from(["", None])) for name in absent if draw(st.booleans())}
    return data


@st.composite
def _ping_frames(draw: st.DrawFn, ping: Ping) -> str:
    if ping.answer == "pong":
        spaces = st.text("\t\r\n ", max_size=2)
        return draw(spaces) + "ping" + draw(spaces)
    plain: dict[str, Any] = draw(unknown_fields())
    echo = _Literal(ping.answer.partition(":")[2])
    if ping.answer.startswith('{"pong":'):
        plain["ping"] = _Literal(echo.removesuffix("}"))
    else:
        plain["method"] = "ping"
        if ping.answer.startswith('{"id":'):
            plain["id"] = _Literal(echo.removesuffix(',"method":"pong"}'))
    return draw(spellings(plain))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


# --- frames that mean nothing --------------------------------------------------------------------


class Defect(StrEnum):
    """The one thing that is wrong with a frame."""

    MISSING = "a required field is missing"
    WRONG_TYPE = "a field is of another type"
    NO_DECIMAL = "a text is no decimal of the wire"
    NO_TIME = "a time is none that a datetime can show"
    NO_JSON_NUMBER = "a number is none of JSON, such as NaN"
    LONE_SURROGATE = "half of a surrogate pair is escaped"
    CONTROL_CHARACTER = "a text has a control character in it, not escaped"
    TRUNCATED = "the frame is cut short"
    TRAILING = "something follows the frame's object"
    TRAILING_COMMA = "a comma comes before the end of the object"
    SINGLE_QUOTES = "texts are in single quotes"
    BYTE_ORDER_MARK = "the frame begins with a byte order mark"
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
    """What is wrong with it."""
    path: str
    """Where: the ``path`` of the ``Malformed``."""


@st.composite
def near_misses(draw: st.DrawFn, defects: Iterable[Defect] = Defect) -> NearMiss:
    """Frames that are almost right, in any spelling: one thing is wrong, by default any."""
    defect = draw(st.sampled_from(list(defects)))
    path = "$"
    frame: str | bytes
    match defect:
        case Defect.MISSING | Defect.WRONG_TYPE | Defect.NO_DECIMAL | Defect.NO_TIME:
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


_DECIMALS: Final = ("price", "amount", "left", "dealStock", "dealMoney", "available", "freeze")
_TIMES: Final = ("createTime", "updateTime")
_TEXTS: Final = ("market", "asset", "method", "msg")
# A limit order has these; of another type's nobody knows.
_OF_LIMIT_ORDERS: Final = ("price", "left")

_NO_TEXTS: Final[list[Any]] = [True, False, 0, 1, 1.5, [], {}, ["1"], {"x": "1"}]
_NO_INTEGERS: Final[list[Any]] = [True, False, 1.5, 1e300, "1", "", [], {}, _Literal("1.0")]
_NO_FLOATS: Final[list[Any]] = [True, False, "1.5", "", [], {}]
_NO_IDS: Final[list[Any]] = [True, False, 1.5, [], {}]
_NO_ECHOES: Final[list[Any]] = [[], [1], {}, {"x": 1}, "x" * 129, _Literal("9" * 129)]
NO_DECIMALS: Final = [
    *("NaN", "nan", "sNaN", "-NaN", "NaN123", "Infinity", "-inf", "1_000", " 1", "1 ", "1\n"),
    *("1,5", "1.2.3", "..", ".", "+", "-", "e5", "1e", "--1", "0x10", "1e999999999", "1e100"),
    *("1e-100", "1" * 129, "١٢٣", "1٢", "²", "\N{FULLWIDTH DIGIT ONE}", "1\x00", "x", "None"),
]
"""Texts that are no decimals of the wire, though ``Decimal`` reads many of them."""
_NO_TIMES: Final = [-1, -1e-9, -1.5, 253402300800, 1e300, 10**30, _Literal("1e400")]


def _with_wrong_field(draw: st.DrawFn, defect: Defect) -> tuple[str, str]:
    if defect is Defect.NO_TIME:
        plain = wire_fields(draw(order_updates()))
        name = draw(st.sampled_from(_TIMES))
        plain["data"][name] = draw(st.sampled_from(_NO_TIMES))
    elif defect is Defect.NO_DECIMAL:
        plain = wire_fields(draw(updates()))
        name = draw(st.sampled_from([name for name in _DECIMALS if name in plain["data"]]))
        plain["data"][name] = draw(st.sampled_from(NO_DECIMALS))
    elif draw(st.booleans()):
        return _with_wrong_envelope(draw, defect)
    else:
        update = draw(updates())
        plain = wire_fields(update)
        data = plain["data"]
        optional = () if _is_limit(update) else _OF_LIMIT_ORDERS
        name = draw(st.sampled_from([name for name in data if name not in optional]))
        if defect is Defect.MISSING:
            del data[name]
        else:
            data[name] = draw(_wrong(name))
    plain["data"] |= draw(unknown_fields())
    return draw(spellings({**draw(unknown_fields()), **plain})), f"$.data.{name}"


def _with_wrong_envelope(draw: st.DrawFn, defect: Defect) -> tuple[str, str]:
    kind = draw(st.sampled_from(["update", "response", "ping"]))
    if kind == "update":
        plain = wire_fields(draw(updates()))
        # A frame without a method is one of tomorrow's.
        names = ["ts", "data"] if defect is Defect.MISSING else ["ts", "data", "method"]
        name = draw(st.sampled_from(names))
    elif defect is Defect.MISSING or kind == "response":
        # With the id and the method of a request, so that it is an answer even without a code.
        answer = evolve(draw(responses()), id="1", method=draw(_methods()), data=None)
        plain = wire_fields(evolve(answer, msg="OK", ts=1))
        names = ["code"] if defect is Defect.MISSING else ["code", "id", "method", "msg", "ts"]
        name = draw(st.sampled_from(names))
    else:
        name = draw(st.sampled_from(["ping", "id"]))
        plain = {"ping": 1} if name == "ping" else {"method": "ping", "id": 1}
    if defect is Defect.MISSING:
        del plain[name]
    elif kind == "ping" or name == "id":
        plain[name] = draw(st.sampled_from(_NO_ECHOES if kind == "ping" else _NO_IDS))
    else:
        plain[name] = draw(_wrong(name))
    return draw(spellings({**draw(unknown_fields()), **plain})), f"$.{name}"


def _wrong(name: str) -> st.SearchStrategy[Any]:
    if name in _DECIMALS or name in _TEXTS:
        return st.sampled_from(_NO_TEXTS)
    if name in _TIMES:
        return st.sampled_from(_NO_FLOATS)
    if name == "data":
        return st.sampled_from([True, 0, 1.5, "", "x", [], [{}]])
    return st.sampled_from(_NO_INTEGERS)


def _is_limit(update: Update) -> bool:
    return isinstance(update, OrderUpdate) and update.order.type is OrderType.LIMIT


def _with_wrong_number(draw: st.DrawFn) -> str:
    literals = ["NaN", "Infinity", "-Infinity", "nan", "01", "1.", ".5", "+1", "0x1", "1e"]
    plain = wire_fields(draw(updates()))
    places = [(plain, "ts"), *((plain["data"], name) for name in ("id", *_TIMES))]
    where, name = draw(st.sampled_from([place for place in places if place[1] in place[0]]))
    where[name] = _Literal(draw(st.sampled_from(literals)))
    return draw(spellings(plain))


def _with_text(draw: st.DrawFn, written: str) -> str:
    """An update with a text of which a part is written just so."""
    update = draw(updates())
    plain = wire_fields(update)
    name = "market" if isinstance(update, OrderUpdate) else "asset"
    plain["data"][name] = _Literal(f'"x{written}"')
    return draw(spellings(plain))


def _with_deep_field(draw: st.DrawFn) -> str:
    # How deep msgspec goes depends on the version of Python: between one and ten thousand.
    depth = draw(st.integers(10_500, 12_000))
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"x":', "}")]))
    deep = _Literal(f"{opening * depth}1{closing * depth}")
    plain = wire_fields(draw(updates() | responses()))
    return draw(spellings({**plain, draw(st.sampled_from(["x", "data"])): deep}))


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
        case Defect.SINGLE_QUOTES:
            return json.dumps(plain).replace('"', "'")
        case _:
            return "\ufeff" + text


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


# --- conversations -------------------------------------------------------------------------------


class Trouble(StrEnum):
    """What a frame of a troubled conversation has against it."""

    DUPLICATE_ACK = "an acknowledgement comes a second time"
    STALE_ACK = "an acknowledgement of a request that was never made on this connection"
    MISMATCHED_ACK = "the id of one request with the method of another"
    REORDERED_ACK = "a request is acknowledged before an earlier one"
    EARLY_UPDATE = "an update overtakes its topic's acknowledgement"
    UNASKED_UPDATE = "an update of a topic that is not subscribed to, or not any more"
    DUPLICATE_UPDATE = "an update comes a second time"
    REORDERED_UPDATE = "an update is older than the topic's frame before it"
    MALFORMED = "a frame that breaks the protocol"


@value
class Received:
    """One frame of the server, and what it means."""

    frame: str | bytes
    """As it is sent, in any of its spellings."""
    message: Message
    """What it decodes to."""
    event: type[Any] | None
    """The class of the event that the application gets; None for a ping, which the core answers."""
    trouble: Trouble | None = None
    """What is wrong with it; None if it is as it should be."""


@value
class Conversation:
    """What client and server say to each other on one connection, in order."""

    topics: tuple[Topic, ...]
    """What the client subscribes to."""
    turns: tuple[Request | Received, ...]
    """The client's requests, with the ids that a new ``Connection`` gives them, and the server's
    frames."""

    @property
    def received(self) -> tuple[Received, ...]:
        """The server's frames alone."""
        return tuple(turn for turn in self.turns if isinstance(turn, Received))

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Everything that is wrong, in order; empty for a legal conversation."""
        return tuple(turn.trouble for turn in self.received if turn.trouble is not None)

    def events(self) -> tuple[Event, ...]:
        """What a new ``Connection`` hands to its application in the course of it."""
        connection = Connection()
        happened: list[Event] = []
        for turn in self.turns:
            if isinstance(turn, Received):
                step = connection.message_received(turn.frame, 0.0)
            else:
                topic = Topic.from_method(turn.method)
                if topic is not None:
                    step = connection.subscribe(topic, 0.0)
                else:
                    step = connection.unsubscribe(Topic(turn.method.removeprefix("unsub_")), 0.0)
            happened += step.events
        return tuple(happened)


def conversations(
    topics: Iterable[Topic] = (ORDERS, BALANCE), *, max_turns: int = 12
) -> st.SearchStrategy[Conversation]:
    """Legal conversations about ``topics``: requests, their acknowledgements in order, refusals,
    updates of what is subscribed to, pings. In the end every request is answered.

    The account behind the updates obeys the protocol only: no bookkeeping connects one update with
    the next. Their server times never go back.

    Args:
        topics: what is subscribed to. Updates come for ``ORDERS`` and ``BALANCE``.
        max_turns: how many turns there are at most before the last requests are answered.
    """
    return _conversations(tuple(topics), max_turns)


def troubled_conversations(
    topics: Iterable[Topic] = (ORDERS, BALANCE),
    troubles: Iterable[Trouble] = Trouble,
    *,
    max_turns: int = 12,
) -> st.SearchStrategy[Conversation]:
    """Conversations like those of ``conversations`` in which things go wrong: duplicates, stale
    acknowledgements, frames out of order. Each such frame is labelled, and there is at least one.

    Args:
        topics: what is subscribed to.
        troubles: what may go wrong.
        max_turns: how many turns there are at most before the last requests are answered.
    """
    troubled = _conversations(tuple(topics), max_turns, tuple(troubles))
    return troubled.filter(lambda conversation: bool(conversation.troubles))


@st.composite
def _conversations(
    draw: st.DrawFn, topics: tuple[Topic, ...], max_turns: int, troubles: tuple[Trouble, ...] = ()
) -> Conversation:
    talk = _Talk(draw, topics)
    for _ in range(draw(st.integers(0, max_turns))):
        amiss = bool(troubles) and draw(st.booleans())
        if not amiss or not talk.get_into(draw(st.sampled_from(troubles))):
            talk.go_on()
    while talk.pending:
        talk.acknowledge()
    return Conversation(topics, tuple(talk.turns))


_UPDATES: Final[dict[Topic, Callable[[], st.SearchStrategy[Update]]]] = {
    ORDERS: order_updates,
    BALANCE: balance_updates,
}


class _Talk:
    """A conversation under way, with the little that a server and a client have to remember."""

    def __init__(self, draw: st.DrawFn, topics: tuple[Topic, ...]) -> None:
        self.draw = draw
        self.topics = topics
        # Half of the conversations are plain to read.
        self.varied = draw(st.booleans())
        self.turns: list[Request | Received] = []
        self.pending: list[Request] = []
        self.subscribed: set[Topic] = set()
        self.answered: list[Response] = []
        self.published: dict[Topic, Update] = {}
        self.last_ts: dict[Topic, int] = {}
        self.asked = 0
        self.ts = 1561948335075

    # What is as it should be.

    def go_on(self) -> None:
        ways: list[Callable[[], None]] = [self.ping]
        if any(not self.awaits(topic) for topic in self.topics):
            ways += [self.request] * (2 if not self.subscribed else 1)
        if self.pending:
            ways += [self.acknowledge, self.acknowledge, self.refuse]
        if self.publishable(self.subscribed):
            ways += [self.publish] * 5
        self.draw(st.sampled_from(ways))()

    def request(self) -> None:
        topic = self.pick(topic for topic in self.topics if not self.awaits(topic))
        self.asked += 1
        wanted = topic not in self.subscribed
        method = topic.subscribe_method if wanted else topic.unsubscribe_method
        request = Request(str(self.asked), method)
        self.pending.append(request)
        self.turns.append(request)

    def acknowledge(self, at: int = 0, trouble: Trouble | None = None) -> None:
        request = self.pending.pop(at)
        topic, wanted = _asked_for(request)
        self.answer(request, 0, Subscribed if wanted else Unsubscribed, trouble)
        (self.subscribed.add if wanted else self.subscribed.discard)(topic)
        self.last_ts[topic] = self.ts

    def refuse(self) -> None:
        request = self.pending.pop(0)
        self.answer(request, self.draw(st.integers(1, 10**6)), SubscriptionRejected)
        self.last_ts[_asked_for(request)[0]] = self.ts

    def publish(self) -> None:
        topic = self.pick(self.publishable(self.subscribed))
        self.update(topic, self.tick(), OrderUpdate if topic == ORDERS else BalanceUpdate)

    def ping(self) -> None:
        self.receive(self.draw(pings()), None)

    # What is not.

    def get_into(self, trouble: Trouble) -> bool:
        """Let it happen; False if there is no occasion for it now."""
        match trouble:
            case Trouble.DUPLICATE_ACK if self.answered:
                self.receive(self.pick(self.answered), UnexpectedResponse, trouble)
            case Trouble.STALE_ACK:
                number = self.draw(st.none() | st.sampled_from(["0", str(self.asked + 10**6), ""]))
                method = self.pick(self.topics or (ORDERS,)).subscribe_method
                stale = Response(number, method, 0, "", self.tick())
                self.receive(stale, UnexpectedResponse, trouble)
            case Trouble.MISMATCHED_ACK if self.pending:
                request = self.pick(self.pending)
                other = Response(request.id, request.method + "_other", 0, "", self.tick())
                self.receive(other, UnexpectedResponse, trouble)
            case Trouble.REORDERED_ACK if len(self.pending) > 1:
                self.acknowledge(self.draw(st.integers(1, len(self.pending) - 1)), trouble)
            case Trouble.MALFORMED:
                # Not the deepest, which would make the text of a whole conversation unreadable.
                miss = self.draw(near_misses([d for d in Defect if d is not Defect.TOO_DEEP]))
                self.turns.append(Received(miss.frame, decode(miss.frame), Malformed, trouble))
            case _:
                return self.publish_amiss(trouble)
        return True

    def publish_amiss(self, trouble: Trouble) -> bool:
        subscribing = {topic for topic, wanted in map(_asked_for, self.pending) if wanted}
        match trouble:
            case Trouble.EARLY_UPDATE:
                occasions = self.publishable(subscribing)
            case Trouble.UNASKED_UPDATE:
                occasions = self.publishable(set(_UPDATES) - self.subscribed - subscribing)
            case Trouble.DUPLICATE_UPDATE:
                occasions = self.publishable(self.subscribed & self.published.keys())
            case Trouble.REORDERED_UPDATE:
                occasions = self.publishable(self.subscribed)
            case _:
                return False
        if not occasions:
            return False
        topic = self.pick(occasions)
        event: type[Any] = OrderUpdate if topic == ORDERS else BalanceUpdate
        if trouble is Trouble.DUPLICATE_UPDATE:
            self.receive(self.published[topic], event, trouble)
        elif trouble is Trouble.REORDERED_UPDATE:
            before = self.last_ts[topic] - self.draw(st.integers(1, 10**6))
            self.update(topic, before, event, trouble)
        else:
            event = UnexpectedUpdate if trouble is Trouble.UNASKED_UPDATE else event
            self.update(topic, self.tick(), event, trouble)
        return True

    # How it is said.

    def awaits(self, topic: Topic) -> bool:
        return any(_asked_for(request)[0] == topic for request in self.pending)

    def publishable(self, topics: Iterable[Topic]) -> list[Topic]:
        """Those of ``topics`` of which there are updates, in an order that can be repeated."""
        return sorted((topic for topic in topics if topic in _UPDATES), key=str)

    def pick(self, choices: Iterable[_T]) -> _T:
        return self.draw(st.sampled_from(list(choices)))

    def tick(self) -> int:
        self.ts += self.draw(st.integers(0, 1000))
        return self.ts

    def answer(
        self, request: Request, code: int, event: type[Any], trouble: Trouble | None = None
    ) -> None:
        msg = self.draw(st.sampled_from(["", "OK"])) if code == 0 else "refused"
        response = Response(request.id, request.method, code, msg, self.tick())
        self.answered.append(response)
        self.receive(response, event, trouble)

    def update(
        self, topic: Topic, ts: int, event: type[Any], trouble: Trouble | None = None
    ) -> None:
        update: Update = evolve(self.draw(_UPDATES[topic]()), ts=ts)
        self.published[topic] = update
        self.last_ts[topic] = ts
        self.receive(update, event, trouble)

    def receive(
        self,
        message: Response | Update | Ping,
        event: type[Any] | None,
        trouble: Trouble | None = None,
    ) -> None:
        if self.varied or isinstance(message, Ping):
            frame = self.draw(frames(message))
        else:
            frame = json.dumps(wire_fields(message))
        self.turns.append(Received(frame, message, event, trouble))


def _asked_for(request: Request) -> tuple[Topic, bool]:
    """The topic of a request, and whether it subscribes."""
    topic = Topic.from_method(request.method)
    if topic is not None:
        return topic, True
    return Topic(request.method.removeprefix("unsub_")), False
