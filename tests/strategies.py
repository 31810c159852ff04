"""Hypothesis strategies for what the exchange sends and for what an application sees.

Every strategy makes values that the codec can produce, unknown enum numbers included.
``update_frames`` and ``spellings`` go the other way: from a value to the text frames that mean it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from hypothesis import strategies as st

from topone_proto.events import (
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
    OrderUpdate,
    Response,
    Unrecognised,
    Update,
)
from topone_proto.models import Balance, Order, OrderStatus, OrderType, Side
from topone_proto.topics import BALANCE, ORDERS, Topic

__all__ = [
    "balance_updates",
    "balances",
    "decimal_texts",
    "decimals",
    "events",
    "failures",
    "json_values",
    "order_updates",
    "orders",
    "responses",
    "spellings",
    "timestamps",
    "topics",
    "unknown_members",
    "update_frames",
    "updates",
    "wire_enums",
    "wire_fields",
]

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

_LAST_TIME = 253402300799.0  # the last second of the year 9999
_INT64 = 2**63


def decimals() -> st.SearchStrategy[Decimal]:
    """Finite decimals of up to 40 digits, with their exponent: ``0E-16`` is not ``0``."""
    texts = st.builds("{}E{}".format, st.integers(-(10**20), 10**40 - 1), st.integers(-30, 30))
    return texts.map(Decimal)


def decimal_texts() -> st.SearchStrategy[str]:
    """Texts of decimals in every way that the wire may write them."""
    number = r"[+-]?([0-9]{1,30}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,2})?"
    return st.from_regex(number, fullmatch=True) | decimals().map(str)


def timestamps() -> st.SearchStrategy[int]:
    """Server times in milliseconds."""
    return st.integers(0, 2**53)


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
    return st.builds(Balance, asset=st.text(), available=decimals(), freeze=decimals())


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


def balance_updates() -> st.SearchStrategy[BalanceUpdate]:
    """Updates of the topic ``balance``."""
    return st.builds(BalanceUpdate, balances(), timestamps())


def order_updates() -> st.SearchStrategy[OrderUpdate]:
    """Updates of the topic ``orders``."""
    return st.builds(OrderUpdate, orders(), timestamps())


def updates() -> st.SearchStrategy[Update]:
    """Updates of the private WebSocket's topics."""
    return balance_updates() | order_updates()


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


def responses() -> st.SearchStrategy[Response]:
    """Answers of the server, of success and of failure."""
    return st.builds(
        Response,
        id=st.none() | st.text(),
        method=st.none() | st.text(),
        code=st.just(0) | st.integers(-_INT64, _INT64 - 1),
        msg=st.sampled_from(["", "OK"]) | st.text(),
        ts=st.none() | timestamps(),
        data=json_values(),
    )


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
    epochs = st.integers(0, 2**31)
    times = st.none() | timestamps()
    methods = topics().flatmap(
        lambda topic: st.sampled_from([topic.subscribe_method, topic.unsubscribe_method])
    )
    counts = st.integers(0, 2**31)
    return st.one_of(
        updates(),
        st.builds(Connected, epochs),
        st.builds(Subscribed, topics(), times, epochs),
        st.builds(Unsubscribed, topics(), times, epochs),
        st.builds(
            SubscriptionRejected,
            topic=topics(),
            method=methods,
            code=st.integers(-_INT64, _INT64 - 1).filter(bool),
            msg=st.text(),
            ts=times,
            epoch=epochs,
        ),
        st.builds(
            RequestTimedOut,
            topic=topics(),
            method=methods,
            timeout=st.floats(0.001, 3600),
            epoch=epochs,
        ),
        st.builds(Disconnected, failures(), st.none() | st.floats(0, 3600), epochs, counts),
        st.builds(Gap, topics(), timestamps(), times, epochs),
        st.builds(Closed, st.none() | failures()),
        st.builds(Conflated, counts),
        st.builds(Malformed, st.text(), st.text(), st.text(), counts),
        st.builds(Unrecognised, st.text(), st.none() | st.text(), st.text()),
        st.builds(UnexpectedResponse, responses(), st.text()),
        st.builds(UnexpectedUpdate, updates()),
    )


def wire_fields(update: Update) -> dict[str, Any]:
    """``update`` with the names and types of the wire; what may be left out is."""
    if isinstance(update, BalanceUpdate):
        balance = update.balance
        data: dict[str, Any] = {
            "asset": balance.asset,
            "available": str(balance.available),
            "freeze": str(balance.freeze),
        }
    else:
        order = update.order
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
        data = {name: plain for name, plain in data.items() if plain is not None}
    return {"method": update.topic.subscribe_method, "ts": update.ts, "data": data}


def update_frames(update: Update) -> st.SearchStrategy[str]:
    """Text frames that all mean ``update``; see ``spellings``."""
    return spellings(wire_fields(update))


@st.composite
def spellings(draw: st.DrawFn, plain: Json) -> str:
    """JSON texts that all mean ``plain``: white space, order of members and escapes differ."""
    space = draw(st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"]))
    ways: list[Callable[[str], str]] = [json.dumps, _unescaped, _escaped]
    quoted = draw(st.sampled_from(ways))

    def spelled(plain: Json) -> str:
        if isinstance(plain, str):
            return quoted(plain)
        if isinstance(plain, Mapping):
            names = draw(st.permutations(list(plain)))
            members = [f"{quoted(name)}{space}:{space}{spelled(plain[name])}" for name in names]
            return "{" + space + f"{space},{space}".join(members) + space + "}"
        if isinstance(plain, Sequence):
            items = [spelled(inner) for inner in plain]
            return "[" + space + f"{space},{space}".join(items) + space + "]"
        return json.dumps(plain)

    return spelled(plain)


def _unescaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex().upper()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'
