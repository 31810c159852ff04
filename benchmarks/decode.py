"""Group 1: one frame to one message."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks import frames, peers
from benchmarks.measuring import Effort, Subject, Table, in_fresh_processes, interleave, over
from topone_proto.wire import depth
from topone_proto.wire.codec import decode

OURS = "topone_proto.decode"
ALL_NEW = "topone_proto.decode, a first book"
LIMIT = "msgspec, typed Struct"
STDLIB = "json.loads"
PYDANTIC = "pydantic v2"
CCXT = "ccxt (whitebit)"

_EQUAL = "Decimals, enums; refuses NaN, 1_000, spaces; any kind of frame"
_TYPED = "Decimals, enums; takes NaN, 1_000, spaces; this kind only"
_DICT = "dict of strings and numbers"


def _decode_anew(frame: str) -> object:
    depth.known_levels.clear()
    return decode(frame)


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return in_fresh_processes(_measure, effort)


def _measure(effort: Effort) -> list[Table]:
    orjson = peers.orjson_dict()
    orders = frames.orders()
    refuse = peers.refusing
    return [
        _table(
            "order",
            "An order update to a message",
            effort,
            [
                (OURS, decode, orders, _EQUAL),
                (f"{OURS}, bytes", decode, [o.encode() for o in orders], _EQUAL),
                (LIMIT, peers.msgspec_order, orders, _TYPED),
                ("cattrs, generic", peers.cattrs_order(), orders, _TYPED),
                (PYDANTIC, peers.pydantic_order(), orders, "Decimals, enums; this kind only"),
                ("orjson.loads", orjson, orders, _DICT),
                (STDLIB, json.loads, orders, _DICT),
                (
                    CCXT,
                    peers.ccxt_order(),
                    frames.whitebit_orders(),
                    "dict of floats and strings; its own exchange's frame, and its cache",
                ),
                (
                    "python-binance",
                    peers.binance_order(),
                    frames.binance_orders(),
                    f"{_DICT}; its own exchange's frame, larger",
                ),
            ],
        ),
        _table(
            "balance",
            "A balance update to a message",
            effort,
            [
                (OURS, decode, frames.balances(), _EQUAL),
                (LIMIT, peers.msgspec_balance, frames.balances(), _TYPED),
                ("orjson.loads", orjson, frames.balances(), _DICT),
                (STDLIB, json.loads, frames.balances(), _DICT),
            ],
        ),
        _table(
            "response",
            "A response to a message (rare: one for each request)",
            effort,
            [
                (OURS, decode, frames.responses(), "any kind of frame"),
                (LIMIT, peers.msgspec_response, frames.responses(), "this kind only"),
                ("orjson.loads", orjson, frames.responses(), _DICT),
                (STDLIB, json.loads, frames.responses(), _DICT),
            ],
        ),
        _table(
            "unknown-field",
            "An order update with a field that nobody knows",
            effort,
            [
                (OURS, decode, frames.orders(clientId="a-b-c", fees=["1", "2"]), _EQUAL),
                (
                    LIMIT,
                    peers.msgspec_order,
                    frames.orders(clientId="a-b-c", fees=["1", "2"]),
                    _TYPED,
                ),
                ("orjson.loads", orjson, frames.orders(clientId="a-b-c", fees=["1", "2"]), _DICT),
                (STDLIB, json.loads, frames.orders(clientId="a-b-c", fees=["1", "2"]), _DICT),
            ],
        ),
        _table(
            "candle",
            "A candle to a message",
            effort,
            [
                (OURS, decode, frames.candles(), _EQUAL),
                (LIMIT, peers.msgspec_candle, frames.candles(), _TYPED),
                (STDLIB, json.loads, frames.candles(), _DICT),
            ],
        ),
        *(
            _table(
                f"book-{levels}",
                f"An order book of {levels} levels a side to a message",
                effort,
                [
                    (OURS, decode, frames.books(levels), f"{_EQUAL}; sorted; keeps known rows"),
                    (ALL_NEW, _decode_anew, frames.books(levels), "the same, no row known"),
                    (LIMIT, peers.msgspec_book, frames.books(levels), _TYPED),
                    (STDLIB, json.loads, frames.books(levels), _DICT),
                ],
            )
            for levels in (20, 100)
        ),
        _table(
            "malformed",
            "A truncated order update to a refusal (rare, and still bounded)",
            effort,
            [
                (OURS, decode, frames.truncated(), "a message that says what and where"),
                (LIMIT, refuse(peers.msgspec_order), frames.truncated(), "an exception"),
                ("orjson.loads", orjson and refuse(orjson), frames.truncated(), "an exception"),
                (STDLIB, refuse(json.loads), frames.truncated(), "an exception"),
            ],
        ),
    ]


def _table(
    key: str,
    title: str,
    effort: Effort,
    contenders: list[tuple[str, Callable[[Any], object] | None, list[Any], str]],
) -> Table:
    subjects = [
        Subject(name, over(function, inputs), note, len(inputs))
        for name, function, inputs, note in contenders
        if function is not None
    ]
    absent = tuple(name for name, function, _, _ in contenders if function is None)
    return Table(f"decode/{key}", title, "s", LIMIT, interleave(subjects, effort), absent)
