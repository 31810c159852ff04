"""Readings of an order update by others: every competitor of ``decode``, and what it yields.

None of them is needed; what is not installed is reported as absent.
"""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import attrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.json import make_converter

from benchmarks.measuring import optional
from topone_proto import OrderStatus, OrderType, Side

Decode = Callable[[Any], object]


def camel(name: str) -> str:
    """``dealStock`` of ``deal_stock``."""
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


# --- msgspec: the limit --------------------------------------------------------------------------


class MsgspecOrder(msgspec.Struct, rename="camel", gc=False):
    """Everything that ``topone_proto.Order`` has, with the types it has there."""

    id: int
    market: str
    type: OrderType
    side: Side
    status: OrderStatus
    price: Decimal
    amount: Decimal
    left: Decimal
    deal_stock: Decimal
    deal_money: Decimal
    create_time: float
    update_time: float


class MsgspecBalance(msgspec.Struct, gc=False):
    """Everything that ``topone_proto.Balance`` has."""

    asset: str
    available: Decimal
    freeze: Decimal


class MsgspecOrderFrame(msgspec.Struct, gc=False):
    """An order update that is known to be one."""

    method: str
    ts: int
    data: MsgspecOrder


class MsgspecBalanceFrame(msgspec.Struct, gc=False):
    """A balance update that is known to be one."""

    method: str
    ts: int
    data: MsgspecBalance


class MsgspecResponseFrame(msgspec.Struct, gc=False):
    """A response that is known to be one."""

    id: str
    method: str
    code: int
    msg: str
    ts: int


msgspec_order: Decode = msgspec.json.Decoder(MsgspecOrderFrame).decode
msgspec_balance: Decode = msgspec.json.Decoder(MsgspecBalanceFrame).decode
msgspec_response: Decode = msgspec.json.Decoder(MsgspecResponseFrame).decode


# --- attrs and cattrs ----------------------------------------------------------------------------


@attrs.frozen
class AttrsOrder:
    """As an application would write it for cattrs."""

    id: int
    market: str
    type: OrderType
    side: Side
    status: OrderStatus
    price: Decimal
    amount: Decimal
    left: Decimal
    deal_stock: Decimal
    deal_money: Decimal
    create_time: float
    update_time: float


@attrs.frozen
class AttrsOrderFrame:
    """An order update that is known to be one."""

    method: str
    ts: int
    data: AttrsOrder


def cattrs_order() -> Decode:
    """A converter with the names of the wire."""
    converter = make_converter()
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    renamed = {f.name: override(rename=camel(f.name)) for f in attrs.fields(AttrsOrder)}
    hook: Any = make_dict_structure_fn(AttrsOrder, converter, **renamed)  # type: ignore[arg-type]  # overrides by name
    converter.register_structure_hook(AttrsOrder, hook)
    return lambda frame: converter.structure(json.loads(frame), AttrsOrderFrame)


# --- pydantic ------------------------------------------------------------------------------------


def pydantic_order() -> Decode | None:
    """A model of the frame, validated from JSON."""
    pydantic = optional("pydantic")
    if pydantic is None:
        return None
    types: dict[str, Any] = {
        field.name: (field.type, ...) for field in attrs.fields(attrs.resolve_types(AttrsOrder))
    }
    aliases = {"alias_generator": camel}
    order = pydantic.create_model("PydanticOrder", __config__=aliases, **types)
    frame = pydantic.create_model(
        "PydanticFrame", method=(Literal["sub_orders"], ...), ts=(int, ...), data=(order, ...)
    )
    decode: Decode = frame.model_validate_json
    return decode


# --- what users would otherwise run --------------------------------------------------------------


def ccxt_order() -> Decode | None:
    """The path of a text message in ccxt's WhiteBIT client, from the text to the order that
    ``watch_orders`` returns."""
    ccxt, clients = optional("ccxt.pro"), optional("ccxt.async_support.base.ws.client")
    if ccxt is None or clients is None:
        return None
    # Its client makes futures of this loop; nothing is ever run on it.
    asyncio.set_event_loop(asyncio.new_event_loop())
    exchange = ccxt.whitebit({"newUpdates": True})
    markets = []
    for market in ("ETH/BTC", "BTC/USDT", "ETH/USDT", "LTC/BTC"):
        base, quote = market.split("/")
        markets.append(
            {
                "id": f"{base}_{quote}",
                "symbol": market,
                "base": base,
                "quote": quote,
                "baseId": base,
                "quoteId": quote,
                "type": "spot",
                "spot": True,
                "active": True,
                "precision": {"amount": 1e-8, "price": 1e-8},
                "limits": {},
                "info": {},
            }
        )
    exchange.set_markets(markets)
    ignore = partial(print, end="")
    client = clients.Client("wss://127.0.0.1/", exchange.handle_message, ignore, ignore, ignore)
    decode: Decode = client.handle_text_or_binary_message
    return decode


def binance_order() -> Decode | None:
    """Treat a message as python-binance's socket does before it is put on the queue."""
    binance = optional("binance.ws.reconnecting_websocket")
    if binance is None:
        return None
    asyncio.set_event_loop(asyncio.new_event_loop())
    websocket = binance.ReconnectingWebsocket("wss://127.0.0.1/")
    decode: Decode = websocket._handle_message  # noqa: SLF001 - what its read loop calls
    return decode


def orjson_dict() -> Decode | None:
    """The fastest way to a dict."""
    orjson = optional("orjson")
    return None if orjson is None else orjson.loads


def refusing(decode: Decode) -> Decode:
    """The same for frames that are refused with an exception."""

    def attempt(frame: Any) -> object:
        try:
            return decode(frame)
        except ValueError as error:
            return error

    return attempt


class _CandleData(msgspec.Struct):
    rows: list[tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal]] = msgspec.field(
        name="list"
    )


class _CandleFrame(msgspec.Struct):
    method: str
    ts: int
    data: _CandleData


class _BookData(msgspec.Struct):
    time: float
    asks: list[tuple[Decimal, Decimal]]
    bids: list[tuple[Decimal, Decimal]]


class _BookFrame(msgspec.Struct):
    method: str
    ts: int
    data: _BookData


msgspec_candle = msgspec.json.Decoder(_CandleFrame).decode
msgspec_book = msgspec.json.Decoder(_BookFrame).decode
