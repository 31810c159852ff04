"""Text to message and request to text: the exchange's own examples first, then everything else."""

import gc
import gzip
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import (
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Rounded,
    localcontext,
)
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from topone_proto.events import Event, UnexpectedResponse
from topone_proto.models import Side
from topone_proto.plain import from_plain, to_plain
from topone_proto.testing.strategies import (
    NO_DECIMALS,
    Defect,
    any_frames,
    balance_updates,
    damaged_frames,
    decimal_texts,
    frames,
    json_texts,
    json_values,
    near_misses,
    order_updates,
    pings,
    requests,
    responses,
    updates,
    wire_fields,
)
from topone_proto.testing.strategies._defects import important_leaves, wrong_types
from topone_proto.testing.strategies._json import Verbatim
from topone_proto.wire._members import Wrong, read_with
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.codec import carried, decode, encode
from topone_proto.wire.families import FAMILIES, lone_topics
from topone_proto.wire.messages import Malformed, Message, Ping, Request, Response, Unrecognised
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.topic import Topic

EXAMPLES = Path(__file__).with_name("examples")

ORDER_DATA: dict[str, Any] = {
    "id": 132991,
    "market": "ETH/BTC",
    "type": 1,
    "side": 2,
    "status": 2,
    "price": "0.08132",
    "amount": "1.389",
    "left": "0",
    "dealStock": "1.389",
    "dealMoney": "0.10953654",
    "createTime": 1522235513.740678,
    "updateTime": 1522235513.740684,
}
BALANCE_DATA: dict[str, Any] = {"asset": "ETH", "available": "99999980.24173", "freeze": "23.596"}
DATA = {ORDERS: ORDER_DATA, BALANCE: BALANCE_DATA}
ABSENT = "absent"
DECIMALS = [
    (ORDERS, "price"),
    (ORDERS, "amount"),
    (ORDERS, "left"),
    (ORDERS, "dealStock"),
    (ORDERS, "dealMoney"),
    (BALANCE, "available"),
    (BALANCE, "freeze"),
]


def frame(topic: Topic, ts: object = 1561948335075, **changes: object) -> str:
    """An update with some members of its data changed, or left out if ABSENT."""
    data = {**DATA[topic], **changes}
    data = {name: plain for name, plain in data.items() if plain is not ABSENT}
    return json.dumps({"method": topic.subscribe_method, "ts": ts, "data": data})


def decode_order(**changes: object) -> Order:
    message = decode(frame(ORDERS, **changes))
    assert isinstance(message, OrderUpdate), message
    return message.order


def decode_malformed(text: str | bytes) -> Malformed:
    message = decode(text)
    assert isinstance(message, Malformed), message
    return message


def same(one: Message, other: Message) -> bool:
    """Equal to the last digit: ``0E-16 == 0`` would not say so."""
    return one == other and repr(one) == repr(other)


@contextmanager
def hostile_context() -> Iterator[None]:
    """A decimal context in which everything that depends on it shows."""
    with localcontext(Context(prec=3, Emax=2, Emin=-2)) as context:
        context.traps[InvalidOperation] = False
        context.traps[Inexact] = context.traps[Rounded] = True
        yield


# --- Whatever is meant, however it is written


@given(st.data())
def test_however_a_message_is_written_it_means_the_same(data: st.DataObject) -> None:
    """Two frames of one message: white space, order, escapes, the form of numbers, unknown fields,
    text or bytes, whatever the caller's decimal context."""
    message = data.draw(updates() | responses() | pings())
    one, other = data.draw(frames(message)), data.draw(frames(message))
    decoded = decode(one)
    with hostile_context():
        again = decode(other)
    assert decoded == again == message
    # Of what a response carries only equality is promised: 1e2 is 100.0.
    assert isinstance(message, Response) or repr(decoded) == repr(again) == repr(message)


@given(st.data())
def test_a_message_survives_plain_data(data: st.DataObject) -> None:
    message = decode(data.draw(any_frames()))
    if isinstance(message, Response):
        event: Event = UnexpectedResponse(message, "")
    elif isinstance(message, Ping):
        return
    else:
        event = message
    again = from_plain(json.loads(json.dumps(to_plain(event), allow_nan=False)))
    assert again == event
    assert repr(again) == repr(event)


@pytest.mark.parametrize("defect", Defect)
@given(data=st.data())
@settings(max_examples=max(10, settings().max_examples // 5))
def test_one_defect_is_malformed_where_it_is(data: st.DataObject, defect: Defect) -> None:
    miss = data.draw(near_misses([defect]))
    message = check_total(miss.frame)
    assert isinstance(message, Malformed)
    assert message.path == miss.path


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_member_of_another_type_is_malformed_where_it_is(family: Any) -> None:
    count = len(important_leaves(wire_fields(family.example)["data"]))
    assert count
    for number in range(count):
        plain = wire_fields(family.example)
        leaf = important_leaves(plain["data"])[number]
        for wrong in wrong_types(leaf):
            written = str(wrong) if isinstance(wrong, Verbatim) else json.dumps(wrong)
            leaf.holder[leaf.at] = "HERE"
            message = decode(json.dumps(plain).replace('"HERE"', written))
            assert isinstance(message, Malformed), (leaf.path, written)
            assert message.path == leaf.path


# --- The exchange's own examples, byte for byte as its page prints them.


def read_example(name: str) -> bytes:
    return (EXAMPLES / f"{name}.txt").read_bytes()


EXAMPLE_UPDATES: dict[str, Message] = {
    "sub_balance.update": BalanceUpdate(
        Balance("ETH", Decimal("99999980.24173"), Decimal("23.596")), ts=1561948335075
    ),
    "sub_orders.update": OrderUpdate(
        Order(
            id=132991,
            market="ETH/BTC",
            type=OrderType.LIMIT,
            side=Side.BUY,
            status=OrderStatus.COMPLETED,
            price=Decimal("0.08132"),
            amount=Decimal("1.389"),
            left=Decimal(0),
            deal_stock=Decimal("1.389"),
            deal_money=Decimal("0.10953654"),
            create_time=1522235513.740678,
            update_time=1522235513.740684,
        ),
        ts=1561948335075,
    ),
}
METHODS = ["sub_balance", "unsub_balance", "sub_orders", "unsub_orders"]


def test_every_example_is_tested() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.txt")}
    assert names == {
        *EXAMPLE_UPDATES,
        *(f"{method}.request" for method in METHODS),
        *(f"{method}.response" for method in METHODS),
    }


@pytest.mark.parametrize("name", EXAMPLE_UPDATES)
def test_the_updates_of_the_page(name: str) -> None:
    text = read_example(name)
    assert same(decode(text), EXAMPLE_UPDATES[name])
    assert same(decode(text.decode()), EXAMPLE_UPDATES[name])


def test_the_times_of_the_page() -> None:
    update = decode(read_example("sub_orders.update"))
    assert isinstance(update, OrderUpdate)
    assert update.order.created_at == datetime(2018, 3, 28, 11, 11, 53, 740678, UTC)
    assert update.order.updated_at == datetime(2018, 3, 28, 11, 11, 53, 740684, UTC)


@pytest.mark.parametrize("method", METHODS)
def test_the_responses_of_the_page(method: str) -> None:
    response = Response(id="1", method=method, code=0, msg="", ts=1561948335075, data=None)
    text = read_example(f"{method}.response")
    assert same(decode(text), response)
    assert same(decode(text.decode()), response)
    assert response.ok


@pytest.mark.parametrize("method", METHODS)
def test_the_requests_of_the_page(method: str) -> None:
    # The page ends its requests with a no-break space, which is no JSON.
    printed = read_example(f"{method}.request").decode().rstrip("\N{NO-BREAK SPACE}")
    written = encode(Request(id="1", method=method))
    assert json.loads(written) == json.loads(printed)
    assert list(json.loads(written)) == list(json.loads(printed)), "in the order of the page"


# --- encode


@given(requests())
def test_a_request_is_one_json_object(request: Request) -> None:
    assert json.loads(encode(request)) == {
        "id": request.id,
        "method": request.method,
        "params": request.params,
        "lang": request.lang,
    }


# --- Responses


def test_the_other_form_of_a_response() -> None:
    text = '{"id":"7","method":"sub_orders","code":0,"msg":"OK","ts":1561948335075,"data":{}}'
    assert decode(text) == Response("7", "sub_orders", 0, "OK", 1561948335075, {})


@pytest.mark.parametrize("code", [1, -1, 10001, 2**62])
def test_a_refusal(code: int) -> None:
    text = f'{{"id":"1","method":"sub_orders","code":{code},"msg":"no right","ts":5}}'
    message = decode(text)
    assert message == Response("1", "sub_orders", code, "no right", 5)
    assert isinstance(message, Response)
    assert not message.ok


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"code":0}', Response(None, None, 0, "", None)),
        (
            '{"code":0,"id":null,"method":null,"msg":null,"ts":null}',
            Response(None, None, 0, "", None),
        ),
        ('{"code":0,"id":17}', Response("17", None, 0, "", None)),
        ('{"code":0,"id":-1,"method":"x"}', Response("-1", "x", 0, "", None)),
        ('{"code":0,"id":"1","data":[[1,"2"]]}', Response("1", None, 0, "", None, [[1, "2"]])),
        ('{"code":0,"id":17.0}', Response("17", None, 0, "", None)),
        ('{"code":0,"id":""}', Response(None, None, 0, "", None)),
    ],
)
def test_a_response_may_leave_out_all_but_its_code(text: str, response: Response) -> None:
    assert decode(text) == response


CODES: list[object] = [0, 1, None, "0", "T0005", -7, True, 1.5, {}, [], ""]


@pytest.mark.parametrize("topic", DATA)
@pytest.mark.parametrize("code", CODES, ids=repr)
@pytest.mark.parametrize("identity", [ABSENT, None, "", [], True], ids=repr)
def test_what_answers_nothing_is_an_update_whatever_code_it_carries(
    topic: Topic, code: object, identity: object
) -> None:
    update = {**json.loads(frame(topic)), "code": code}
    if identity is not ABSENT:
        update["id"] = identity
    assert decode(json.dumps(update)) == decode(frame(topic))


@pytest.mark.parametrize("topic", DATA)
def test_what_answers_a_request_may_carry_data(topic: Topic) -> None:
    update = json.loads(frame(topic))
    message = decode(json.dumps({**update, "id": "1", "code": 0}))
    assert message == Response("1", topic.subscribe_method, 0, "", update["ts"], update["data"])
    assert isinstance(message, Response)
    assert carried(message) == (decode(frame(topic)),)
    # Its request knows the method, should the response not say it.
    bare = evolve(message, method=None)
    assert carried(bare, topic.subscribe_method) == (decode(frame(topic)),)
    [nameless] = carried(bare)
    assert isinstance(nameless, Malformed)
    assert nameless.topics == (topic,)


@pytest.mark.parametrize("topic", DATA)
@pytest.mark.parametrize("listed", [lambda rows: rows, lambda rows: {"list": rows}])
def test_a_response_may_carry_a_list(topic: Topic, listed: Callable[[Any], Any]) -> None:
    data = DATA[topic]
    rows = listed([data, {}, {**data, "x": 1}, {name: [] for name in data}])
    one, two, broken = carried(Response("1", topic.subscribe_method, 0, "", 5, rows))
    assert one == two == decode(frame(topic, ts=5))
    assert isinstance(broken, Malformed)
    assert broken.topics == (topic,)


@pytest.mark.parametrize(
    "data", [None, {}, [], "", "success", 1, True, {"status": "success"}, ["ok"], {"list": []}]
)
def test_what_a_response_says_of_itself_is_no_update(data: object) -> None:
    assert carried(Response("1", "sub_orders", 0, "", 5, data)) == ()


@pytest.mark.parametrize("topic", DATA)
def test_an_update_may_carry_an_id(topic: Topic) -> None:
    update = json.loads(frame(topic))
    assert decode(json.dumps({**update, "id": "1"})) == decode(frame(topic))
    assert decode(json.dumps({**update, "id": None})) == decode(frame(topic))


def test_an_id_without_code_and_data_is_a_response_without_code() -> None:
    message = decode_malformed('{"id":"1","method":"sub_orders","msg":"","ts":1}')
    assert (message.path, message.reason) == ("$.code", "required field is missing")


@pytest.mark.parametrize(
    ("member", "value", "path"),
    [
        ("code", True, "$.code"),
        ("code", 0.5, "$.code"),
        ("code", {}, "$.code"),
    ],
)
def test_a_wrong_member_of_a_response(member: str, value: object, path: str) -> None:
    response = {"id": "1", "method": "sub_orders", "code": 0, "msg": "", "ts": 1, member: value}
    message = decode_malformed(json.dumps(response))
    assert (message.path, message.topics) == (path, ())


RESPONSE = {"id": "1", "method": "sub_orders", "code": 0, "msg": "", "ts": 1561948335075}


@pytest.mark.parametrize(
    ("member", "value", "read"),
    [
        ("code", "0", {}),
        ("code", 0.0, {}),
        ("code", "10003", {"code": 10003}),
        ("code", "T0005", {"code": -1, "msg": "T0005"}),
        ("id", 1, {}),
        ("id", 1.0, {}),
        ("id", 1.5, {"id": None}),
        ("id", {}, {"id": None}),
        ("method", 1, {"method": None}),
        ("method", None, {"method": None}),
        ("msg", 1, {"msg": "1"}),
        ("msg", None, {}),
        ("msg", ["no"], {"msg": '["no"]'}),
        ("ts", None, {"ts": None}),
        ("ts", [], {"ts": None}),
        ("ts", True, {"ts": None}),
        ("ts", -1, {"ts": None}),
        ("ts", 1.5, {"ts": None}),
        ("ts", 10**400, {"ts": None}),
        ("ts", "soon", {"ts": None}),
        ("ts", 1561948335075.0, {}),
        ("ts", "1561948335075", {}),
        ("ts", 1561948335.075, {}),
        ("ts", "1561948335.075", {}),
        ("ts", 1561948335, {"ts": 1561948335000}),
        ("ts", 1561948335075321, {}),
        ("ts", 1561948335075321000, {}),
        ("data", "x", {"data": "x"}),
    ],
)
def test_an_unimportant_member_never_voids_a_response(
    member: str, value: object, read: dict[str, Any]
) -> None:
    wanted = Response(**{**RESPONSE, **read})
    with hostile_context():
        message = decode(json.dumps({**RESPONSE, member: value}))
    assert message == wanted
    # Nor an update, where it means something there.
    if member == "ts":
        update = decode(frame(BALANCE, ts=value))
        assert isinstance(update, BalanceUpdate)
        assert update.ts == wanted.ts


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"id":"1","code":3,"message":"no"}', Response("1", None, 3, "no", None)),
        (
            '{"error":{"code":10003,"message":"no"},"result":null,"id":1}',
            Response("1", None, 10003, "no", None),
        ),
        ('{"error":{},"id":1}', Response("1", None, -1, "", None)),
        ('{"error":"denied","id":"1"}', Response("1", None, -1, "denied", None)),
        (
            '{"error":null,"result":{"status":"success"},"id":1}',
            Response("1", None, 0, "", None),
        ),
    ],
)
def test_the_forms_of_a_response(text: str, response: Response) -> None:
    assert decode(text) == response


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"code":1.5}', "not a code"),
        ('{"method":1}', "Expected str, got int"),
        (b'{"method":"\xff"}', "not UTF-8"),
        ('{"code":0,"data":' + "[" * 65 + "]" * 65 + "}", "nested too deeply"),
    ],
    ids=["code", "method", "bytes", "depth"],
)
def test_a_reason_says_what_is_wrong(text: str | bytes, reason: str) -> None:
    message = decode(text)
    assert isinstance(message, Malformed)
    assert message.reason == reason


@pytest.mark.parametrize("level", ["[@]", '{"x":@}', '["[\\"",1,@,2]'])
def test_data_of_sixty_four_levels_is_kept_and_deeper_data_is_refused(level: str) -> None:
    deepest = "1"
    for _ in range(64):
        deepest = level.replace("@", deepest)
    kept = decode(f'{{"code":0,"data":{deepest}}}')
    assert isinstance(kept, Response)
    assert kept.data == json.loads(deepest)
    deeper = decode(f'{{"code":0,"data":[{deepest}]}}')
    assert isinstance(deeper, Malformed)
    assert (deeper.reason, deeper.path) == ("nested too deeply", "$")


@pytest.mark.parametrize("member", ["x", "id"])
def test_a_member_that_nobody_reads_may_be_as_deep_as_the_parser_goes(member: str) -> None:
    text = f'{{"code":0,"{member}":{"[" * 200}{"]" * 200}}}'
    assert check_total(text) == Response(None, None, 0, "", None, None)


def test_what_is_no_json_has_the_reason_of_the_parser() -> None:
    assert decode_malformed('{"code":0,}').reason.startswith("JSON is malformed: ")


def test_of_a_frame_without_a_method_as_much_is_kept_as_of_others() -> None:
    message = decode('{"data":"0123456789"}', keep=10)
    assert isinstance(message, Unrecognised)
    assert message.frame == '{"data":"0'


# --- Updates


@given(st.data())
def test_the_shape_of_one_decimal_does_not_matter_to_the_others(data: st.DataObject) -> None:
    """Ordinary decimals take a short cut: it must lead to the same place."""
    update = data.draw(order_updates() | balance_updates())
    plain = wire_fields(update)
    topic = update.topic
    name = data.draw(st.sampled_from([name for of, name in DECIMALS if of == topic]))
    text = data.draw(decimal_texts())
    changed = decode(json.dumps({**plain, "data": {**plain["data"], name: text}}))
    assert isinstance(changed, BalanceUpdate | OrderUpdate)
    assert wire_fields(changed)["data"] == {**plain["data"], name: str(Decimal(text))}


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("0", (0, (0,), 0)),
        ("0E-16", (0, (0,), -16)),
        ("0e-16", (0, (0,), -16)),
        ("1.50", (0, (1, 5, 0), -2)),
        ("+1", (0, (1,), 0)),
        ("-1", (1, (1,), 0)),
        ("-0.0", (1, (0,), -1)),
        ("1.", (0, (1,), 0)),
        (".5", (0, (5,), -1)),
        ("007", (0, (7,), 0)),
        ("1E+99", (0, (1,), 99)),
        ("1E-99", (0, (1,), -99)),
        ("9" * 128, (0, (9,) * 128, 0)),
        ("0." + "3" * 126, (0, (3,) * 126, -126)),
    ],
)
@pytest.mark.parametrize(("topic", "name"), DECIMALS)
def test_a_decimal_keeps_its_digits_and_exponent(
    topic: Topic, name: str, text: str, digits: tuple[int, tuple[int, ...], int]
) -> None:
    with hostile_context():
        update = decode(frame(topic, **{name: text}))
    assert isinstance(update, BalanceUpdate | OrderUpdate)
    snake = {"dealStock": "deal_stock", "dealMoney": "deal_money"}.get(name, name)
    model = update.order if isinstance(update, OrderUpdate) else update.balance
    assert getattr(model, snake).as_tuple() == digits


@pytest.mark.parametrize("text", NO_DECIMALS)
@pytest.mark.parametrize(("topic", "name"), DECIMALS)
def test_what_is_no_decimal_is_malformed(topic: Topic, name: str, text: str) -> None:
    message = decode_malformed(frame(topic, **{name: text}))
    assert message.path == f"$.data.{name}"
    assert message.reason.startswith("not a decimal number")
    assert len(message.reason) < 100
    with hostile_context():
        assert decode(frame(topic, **{name: text})) == message


@pytest.mark.parametrize("value", [1, 1.5, 0, True, [], {}])
@pytest.mark.parametrize(("topic", "name"), DECIMALS)
def test_money_that_is_no_text_is_malformed(topic: Topic, name: str, value: object) -> None:
    assert decode_malformed(frame(topic, **{name: value})).path == f"$.data.{name}"


@pytest.mark.parametrize("value", [ABSENT, None, ""])
@pytest.mark.parametrize("name", ["price", "left"])
@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType(3)])
def test_other_than_limit_orders_may_lack(kind: OrderType, name: str, value: object) -> None:
    assert getattr(decode_order(type=int(kind), **{name: value}), name) is None


def test_market_orders_may_have_price_and_left() -> None:
    order = decode_order(type=2, price="0", left="0E-16")
    assert repr((order.price, order.left)) == "(Decimal('0'), Decimal('0E-16'))"


@pytest.mark.parametrize("value", [ABSENT, None, ""])
@pytest.mark.parametrize("name", ["price", "left"])
def test_limit_orders_may_not_lack(name: str, value: object) -> None:
    message = decode_malformed(frame(ORDERS, **{name: value}))
    assert (message.path, message.reason) == (
        f"$.data.{name}",
        "required field is missing or empty",
    )


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        (topic, name)
        for topic, data in DATA.items()
        for name in data
        if name not in {"price", "left", "createTime", "updateTime"}
    ],
)
def test_a_missing_field_is_named(topic: Topic, name: str) -> None:
    message = decode_malformed(frame(topic, **{name: ABSENT}))
    assert (message.path, message.reason) == (f"$.data.{name}", "required field is missing")
    assert decode_malformed(frame(topic, **{name: None})).path == f"$.data.{name}"
    assert decode_malformed(frame(topic, **{name: []})).path == f"$.data.{name}"


@pytest.mark.parametrize("topic", DATA)
@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"data": {}}, "$.data"),
        ({"ts": "1", "data": {}}, "$.data"),
        ({"ts": 1}, "$.data"),
        ({"ts": 1, "data": None}, "$.data"),
        ({"ts": 1, "data": []}, "$.data"),
        ({"ts": 1, "data": "x"}, "$.data"),
    ],
)
def test_a_wrong_envelope_is_located(topic: Topic, members: dict[str, Any], path: str) -> None:
    text = json.dumps({"method": topic.subscribe_method, **members})
    assert decode_malformed(text).path.startswith(path)


@pytest.mark.parametrize(
    ("name", "enum"), [("type", OrderType), ("side", Side), ("status", OrderStatus)]
)
@pytest.mark.parametrize("number", [0, -1, 5, 99, 2**62, 2**64 - 1])
def test_an_unknown_number_is_kept(name: str, enum: type[Side], number: int) -> None:
    member = getattr(decode_order(**{name: number}), name)
    assert type(member) is enum
    assert member == number
    assert not member.is_known


@pytest.mark.parametrize("name", ["type", "side", "status"])
@pytest.mark.parametrize("value", [1.5, True, "limit", None, 2**64])
def test_an_enum_is_a_number(name: str, value: object) -> None:
    assert decode_malformed(frame(ORDERS, **{name: value})).path == f"$.data.{name}"


@given(st.floats(0, 253402300799.99997))
@example(1526205633.6342139)
@example(253402300799.99997)
@example(0.0)
def test_a_time_is_the_float_of_the_wire(seconds: float) -> None:
    order = decode_order(createTime=seconds, updateTime=seconds)
    assert (order.create_time, order.update_time) == (seconds, seconds)
    assert order.created_at is not None
    assert order.created_at.tzinfo is UTC
    assert order.updated_at == order.created_at


def test_a_time_may_be_a_whole_number() -> None:
    order = decode_order(createTime=1522235513)
    assert type(order.create_time) is float
    assert order.create_time == 1522235513.0


@pytest.mark.parametrize("seconds", [-1, -1e-9, 1e300, 10**30, True, None, "", "soon", [], ABSENT])
@pytest.mark.parametrize("name", ["createTime", "updateTime"])
def test_a_time_that_cannot_be_read_never_voids_an_order(name: str, seconds: object) -> None:
    order = decode_order(**{name: seconds})
    snake = {"createTime": "create_time", "updateTime": "update_time"}[name]
    assert getattr(order, snake) is None
    assert order.deal_stock == Decimal("1.389")


@pytest.mark.parametrize("seconds", ["1522235513.7", 1522235513700, 1522235513700000])
def test_a_time_in_another_form_is_what_it_surely_means(seconds: object) -> None:
    order = decode_order(createTime=seconds, updateTime=seconds)
    assert (order.create_time, order.update_time) == (1522235513.7, 1522235513.7)


def test_numbers_in_texts_are_numbers() -> None:
    assert decode_order(id="132991", type="1", side="2", status="2") == decode_order()


# --- Pings


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("ping", "pong"),
        (" ping\r\n", "pong"),
        ('{"method":"ping"}', '{"method":"pong"}'),
        ('{"method":"ping","params":{},"ts":5}', '{"method":"pong"}'),
        ('{"method":"ping","id":null}', '{"method":"pong"}'),
        ('{"method":"\\u0070ing"}', '{"method":"pong"}'),
        ('{"method":"ping","id":"17"}', '{"id":"17","method":"pong"}'),
        ('{"method":"ping","id": 17 }', '{"id":17,"method":"pong"}'),
        ('{"id":"\\u00e9\\"","method":"ping"}', '{"id":"\\u00e9\\"","method":"pong"}'),
        ('{"ping":1561948335075}', '{"pong":1561948335075}'),
        ('{ "ping" : 1.50 }', '{"pong":1.50}'),
        ('{"ping":"é"}', '{"pong":"é"}'),
        ('{"ping":true}', '{"pong":true}'),
        ('{"ping":[1]}', '{"pong":[1]}'),
        ('{"ping":1,"code":0}', '{"pong":1}'),
        ('{"method":"ping","code":0}', '{"method":"pong"}'),
        ('{"method":"ping","id":[]}', '{"id":[],"method":"pong"}'),
        (f'{{"method":"ping","id":{"9" * 200}}}', '{"method":"pong"}'),
        ('{"method":"server.ping"}', '{"method":"server.pong"}'),
        ('{"id":7,"method":"server.ping","params":[]}', '{"id":7,"method":"server.pong"}'),
        ('\ufeff{"ping":5}', '{"pong":5}'),
    ],
)
def test_a_ping_is_answered_in_kind(text: str, answer: str) -> None:
    assert decode(text) == Ping(answer)
    assert decode(text.encode()) == Ping(answer)


@given(
    st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=10)
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_a_ping_gets_back_just_what_it_sent(sent: object) -> None:
    message = decode(json.dumps({"ping": sent}))
    assert isinstance(message, Ping)
    assert json.loads(message.answer) == {"pong": sent}


def test_how_much_a_ping_may_want_back() -> None:
    assert decode(f'{{"ping":{"9" * 128}}}') == Ping(f'{{"pong":{"9" * 128}}}')
    assert decode_malformed(f'{{"ping":{"9" * 129}}}').path == "$.ping"


@pytest.mark.parametrize("text", ["Ping", "pingping", '"ping"', "pong", "\x1cping", "\xa0ping"])
def test_no_ping(text: str) -> None:
    assert isinstance(decode(text), Malformed)
    assert isinstance(decode(text.encode()), Malformed)


# --- What tomorrow's server may say


@pytest.mark.parametrize(
    ("text", "reason", "method"),
    [
        ("{}", "a frame without a method", None),
        ('{"ping":null}', "a frame without a method", None),
        ('{"method":null}', "a frame without a method", None),
        (
            '{"method":"sub_kline_BTC/USDT_7m","data":{}}',
            "an unknown topic",
            "sub_kline_BTC/USDT_7m",
        ),
        ('{"method":"notice"}', "an unknown method", "notice"),
        ('{"method":"unsub_orders","data":{}}', "an unknown method", "unsub_orders"),
        ('{"method":"","id":1,"data":1}', "an unknown method", ""),
    ],
)
def test_what_has_no_meaning_yet_is_unrecognised(
    text: str, reason: str, method: str | None
) -> None:
    topic = None if method is None else Topic.from_method(method)
    topics = () if topic is None else (topic,)
    assert decode(text) == Unrecognised(reason, method, text, topics=topics)
    assert decode(text.encode()) == Unrecognised(reason, method, text, topics=topics)


LONE = lone_topics()


def test_a_frame_that_says_nothing_may_be_of_every_topic_without_parameters() -> None:
    assert {BALANCE, ORDERS} <= {*LONE}
    assert all(topic.family is not None for topic in LONE)


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        *(
            (text, ())
            for text in ("", " \r\n", "\x01", "heartbeat", "pong", "17", '"x"', "[1]", "]")
        ),
        ('{"event":"heartbeat"}', ()),
        ('{"event":"heartbeat","ts":1561948335075}', ()),
        ('{"method":"pong"}', ()),
        ('{"pong":1}', ()),
        ("{}", ()),
        ('{"method":"notice","data":{"text":"x"}}', ()),
        ('{"method":"notice","data":{"text"', ()),
        ('{"id":"1","method":"unsub_orders","code":0,"ms', ()),
        ('{"id":"1","method":"sub_orders","msg":"","ts":1}', ()),
        ('{"method":"sub_deals_ETH/BTC","data":{}}', (Topic("deals_ETH/BTC"),)),
        ('{"method":"sub_deals_ETH/BTC","data":', (Topic("deals_ETH/BTC"),)),
        # What names a topic may be of that only.
        (frame(ORDERS)[:-2], (ORDERS,)),
        (frame(BALANCE)[:-2], (BALANCE,)),
        (frame(ORDERS).replace('"', "'"), (ORDERS,)),
        (frame(BALANCE)[:-1] + ",}", (BALANCE,)),
        (frame(BALANCE).replace("sub_", r"\u0073ub_")[:-1], (BALANCE,)),
        (f"[{frame(ORDERS)}]", (ORDERS,)),
        (f"[{frame(ORDERS)},{frame(BALANCE)}]", (ORDERS, BALANCE)),
        (json.dumps(frame(ORDERS)), (ORDERS,)),
        (frame(ORDERS, amount="x"), (ORDERS,)),
        (frame(ORDERS, status=None), (ORDERS,)),
        ('{"method":"sub_orders","ts":1}', (ORDERS,)),
        ('{"method":"sub_balance","ts":1,"data":{}}', (BALANCE,)),
        ('{"method":"sub_balance","ts":1,"code":0,"data":{"asset":"ETH"}}', (BALANCE,)),
        ('{"id":"1","method":"sub_orders","code":[],"data":{"market":"x"}}', (ORDERS,)),
        # What names none may be of any, or says by its members of which.
        ("{", LONE),
        ('{"method":"sub_ord', LONE),
        ('{"ts":1,"data":{', LONE),
        (frame(ORDERS).replace('"method"', '"topic"'), (ORDERS,)),
        (frame(ORDERS).replace("sub_orders", "orders.update"), (ORDERS,)),
        (frame(BALANCE).replace('"sub_balance"', "5"), (BALANCE,)),
        ('{"code":0,"method":5,"x":' + "[" * 100_000, LONE),
    ],
)
def test_what_a_frame_may_have_been_an_update_of(text: str, topics: tuple[Topic, ...]) -> None:
    for spelled in (text, text.encode()):
        message = decode(spelled)
        assert isinstance(message, Malformed | Unrecognised)
        assert set(message.topics) == set(topics)


@given(any_frames(), st.integers(0, 3))
def test_a_lost_update_is_doubted(frame: str | bytes, cut: int) -> None:
    """However a frame with an update in it is damaged: its topic is among those in doubt."""
    message = decode(frame)
    if not isinstance(message, OrderUpdate | BalanceUpdate):
        return
    raw = frame.encode() if isinstance(frame, str) else frame
    after = decode(raw.rstrip()[: -1 - cut])
    assert isinstance(after, Malformed)
    assert message.topic in after.topics


@pytest.mark.parametrize("topic", DATA)
def test_a_frame_may_be_compressed(topic: Topic) -> None:
    packed = gzip.compress(frame(topic).encode())
    assert decode(packed) == decode(frame(topic))
    assert decode(gzip.compress(b'\xef\xbb\xbf{"ping":1}')) == Ping('{"pong":1}')
    for broken in (packed[:-9], packed[:12], packed + b"x", packed[:20] + b"x" + packed[21:]):
        message = decode_malformed(broken)
        assert message.topics == LONE
        assert message.size == len(broken)
    # What is malformed inside is shown as text, and doubted as such.
    message = decode_malformed(gzip.compress(frame(topic)[:-1].encode()))
    assert message.frame == frame(topic)[:-1]
    assert message.topics == (topic,)


def test_what_unpacks_to_too_much_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        message = decode(bomb, max_size=100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(message, Malformed)
    assert message.reason == "unpacks to more than 100000 bytes"
    assert message.topics == LONE
    assert peak < 2_000_000
    assert decode(gzip.compress(b"ping"), max_size=4) == Ping("pong")
    assert isinstance(decode(gzip.compress(b"ping "), max_size=4), Malformed)


@pytest.mark.parametrize("value", [5, True, [], {}, 1.5])
def test_a_method_is_a_text(value: object) -> None:
    assert decode_malformed(json.dumps({"method": value})).path == "$.method"


def test_the_last_of_two_equal_names_counts() -> None:
    assert decode('{"code":0,"code":7}') == Response(None, None, 7, "", None)
    assert decode('{"code":0,"code":null,"method":"x"}') == Unrecognised(
        "an unknown method", "x", '{"code":0,"code":null,"method":"x"}'
    )
    twice = frame(ORDERS).replace('"id": 132991', '"id": 1, "id": 2')
    message = decode(twice)
    assert isinstance(message, OrderUpdate)
    assert message.order.id == 2


def test_of_two_methods_the_last_counts() -> None:
    for other in ("sub_balance", "x - at `$.y"):
        text = frame(ORDERS).replace('{"method"', f'{{"method": "{other}", "method"')
        assert decode(text) == decode(frame(ORDERS))


def test_the_reason_is_bounded_whatever_the_peer_puts_in_it() -> None:
    text = frame(ORDERS, market=0).replace('{"method"', f'{{"method": "{"x" * 10_000}", "method"')
    message = decode_malformed(text)
    assert message.path == "$.data.market"
    assert len(message.reason) <= 200


# --- Never an exception


def printable(text: str) -> bool:
    text.encode()
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def check_total(text: str | bytes, keep: int = 50) -> Message:
    message = decode(text, keep=keep)
    assert isinstance(message, Message)
    if isinstance(message, Malformed):
        assert message.path.startswith("$")
        assert message.reason
        assert len(message.reason) <= 200
        assert message.size == len(text)
        assert printable(message.reason)
    if isinstance(message, Malformed | Unrecognised):
        assert len(message.frame) <= keep
        assert printable(message.frame)
    if isinstance(message, Unrecognised):
        assert message.method is None or (len(message.method) <= keep and printable(message.method))
    return message


@given(st.text(st.characters()) | st.binary(), st.integers(1, 100))
@example("", 1)
@example(b"", 1)
@example("\ud800", 50)
@example("\x1b[2J\x07", 50)
@example(b"\xff\xfe{", 3)
@example("\N{SNOWMAN}" * 60, 50)
@example('{"method":"\\u001b[2J\\u202e"}', 50)
def test_decode_is_total(text: str | bytes, keep: int) -> None:
    check_total(text, keep)


@given(json_texts() | damaged_frames() | any_frames())
def test_decode_is_total_for_json_and_for_damage(frame: str | bytes) -> None:
    check_total(frame)


@given(st.data())
def test_decode_is_total_near_the_protocol(data: st.DataObject) -> None:
    """Frames that are almost right: one member replaced by anything at all."""
    update = wire_fields(data.draw(updates()))
    plain: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                update,
                {"id": "1", "method": "sub_orders", "code": 0, "msg": "", "ts": 1},
                {"method": "ping", "id": 1},
                {"ping": 1},
            ]
        )
    )
    target = data.draw(st.sampled_from([plain, plain.get("data", plain)]))
    name = data.draw(st.sampled_from(sorted(target)))
    target[name] = data.draw(json_values() | st.integers() | st.sampled_from(NO_DECIMALS))
    text = json.dumps(plain)
    one = check_total(text)
    other = check_total(text.encode())
    if not isinstance(one, Malformed):
        assert same(one, other)


DEEP = 100_000


HOPELESS = [
    "[" * DEEP,
    '{"a":' * DEEP,
    '{"method":"sub_orders","ts":1,"data":' + '{"id":' * DEEP + "1" + "}" * DEEP + "}",
    '{"code":0,"data":' + "[" * DEEP + "]" * DEEP + "}",
    '{"ping":' + "[" * DEEP + "]" * DEEP + "}",
    '{"method":' + "[" * DEEP + "]" * DEEP + "}",
    '{"code":' + "9" * 1_000_000 + "}",
    '{"code":0,"data":NaN}',
    '{"code":0,"data":Infinity}',
    '{"code":0,"msg":"\\ud800"}',
    '{"method":"\\udc00"}',
    '{"code":0} {}',
    "{'code':0}",
    '{"code":0,}',
    "[]",
    "null",
    "17",
    '"text"',
    " ",
    "\x00",
    "\ufeff\ufeff{}",
]


@pytest.mark.parametrize(
    "text",
    [
        '{"code":0,"id":"1","data":' + "9" * 1_000_000 + "}",
        '{"code":0,"id":"1","data":1e400}',
        '{"code":0,"id":"1","data":-1e999999999}',
        b'{"code":0,"id":"1","msg":"\xff"}',
    ],
    ids=range(4),
)
def test_what_cannot_be_read_besides_does_not_void_a_response(text: str | bytes) -> None:
    message = decode(text)
    assert isinstance(message, Response)
    assert (message.id, message.code) == ("1", 0)


@pytest.mark.parametrize("text", HOPELESS, ids=range(len(HOPELESS)))
def test_a_hopeless_frame_is_malformed(text: str) -> None:
    assert isinstance(check_total(text), Malformed)
    assert isinstance(check_total(text.encode(errors="surrogatepass")), Malformed)


def test_a_million_digits_in_every_field_of_an_order() -> None:
    for name in ORDER_DATA.keys() - {"createTime", "updateTime"}:
        text = frame(ORDERS, **{name: "@"}).replace('"@"', "9" * 1_000_000)
        assert decode_malformed(text).path == f"$.data.{name}"


# Frames whose size is theirs to choose, and where something could take more than its share.
GROWING: dict[str, Callable[[int], str | bytes]] = {
    "spaces": lambda n: " " * n,
    "no JSON": lambda n: "x" * n,
    "no UTF-8": lambda n: b"\xff" * n,
    "nothing printable": lambda n: "\x00" * n,
    "brackets": lambda n: "[" * n,
    "white space": lambda n: '{"code":' + " " * n + "0}",
    "digits": lambda n: '{"code":' + "9" * n + "}",
    "an exponent": lambda n: '{"code":0,"data":1e' + "9" * n + "}",
    "a fraction": lambda n: '{"code":0,"data":0.' + "3" * n + "}",
    "a message": lambda n: '{"code":0,"msg":"' + "x" * n + '"}',
    "a wide message": lambda n: '{"code":0,"msg":"' + "\N{SNOWMAN}" * n + '"}',
    "escapes": lambda n: '{"code":0,"msg":"' + "\\u2603" * n + '"}',
    "an array": lambda n: '{"code":0,"data":[' + "1," * n + "1]}",
    "arrays": lambda n: '{"code":0,"data":[' + "[]," * n + "1]}",
    "members": lambda n: '{"code":0,"data":{' + ",".join(f'"{i:09}":1' for i in range(n)) + "}}",
    "one name again and again": lambda n: '{"code":0' + ',"code":0' * n + "}",
    "unknown fields": lambda n: frame(ORDERS)[:-1] + ',"x":[1]' * n + "}",
    "an unknown method": lambda n: '{"method":"' + "x" * n + '"}',
    "a method like a reason": lambda n: '{"method":"' + " - at `" * n + '","method":"sub_orders"}',
    "a wrong method like a reason": lambda n: frame(BALANCE).replace(
        '{"method"', '{"method":"' + " - at `$.x`" * n + '","method"'
    ),
    "a market": lambda n: frame(ORDERS, market="x" * n),
    "a decimal": lambda n: frame(BALANCE, available="1" * n),
    "a decimal with points": lambda n: frame(BALANCE, available="." * n),
    "a decimal with an exponent": lambda n: frame(BALANCE, available="1e" + "1" * n),
    "a ping": lambda n: '{"ping":' + "1" * n + "}",
    "a ping in spaces": lambda n: " " * n + "ping",
}


def cost(frame: str | bytes) -> tuple[int, int]:
    """Return the cost of decoding: bytes of memory at the peak, and Python's instructions."""
    instructions = 0

    def count(stack_frame: FrameType, what: str, _: object) -> Any:
        nonlocal instructions
        stack_frame.f_trace_opcodes = True
        instructions += what == "opcode"
        return count

    decode(frame)
    before = sys.gettrace()
    gc.disable()  # or what others do at a collection would be counted, too
    try:
        # Some versions of Python count the instructions of a function only from the second time on
        # that it is traced.
        for _ in range(2):
            instructions = 0
            sys.settrace(count)
            decode(frame)
            sys.settrace(before)
        assert instructions > 0
        tracemalloc.start()
        decode(frame)
        return tracemalloc.get_traced_memory()[1], instructions
    finally:
        sys.settrace(before)
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("shape", GROWING)
def test_a_frame_of_twice_the_size_takes_twice_as_much(shape: str) -> None:
    """Twice, and not four times. Not measured is the time within one call of msgspec or re; the
    frames of a million digits would show it."""
    size = 20_000
    once, twice = (cost(GROWING[shape](n)) for n in (size, 2 * size))
    # A quarter on top: lists and dicts grow by leaps.
    assert twice[0] <= 2.5 * once[0] + 10_000
    # Only what is kept of a frame is looked at character by character.
    assert twice[1] <= once[1] + 100
    assert once[1] < 100_000


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b'{"method":"\xc3"}',
        b'{"ping":"\xff"}',
        b'{"method":"sub_balance","ts":1,"data":{"asset":"\xfe"}}',
    ],
)
def test_bytes_that_are_no_text_are_malformed(text: bytes) -> None:
    message = check_total(text, keep=100)
    assert isinstance(message, Malformed)
    assert "\\x" in message.frame


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("{\n\t1\r\n}", "{\n\t1\r\n}"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\ud800", "\\ud800"),
        ("\u202ex", "\\u202ex"),
        (b"\xff\x00", "\\xff\\x00"),
        ("é", "é"),
        ("x" * 5000, "x" * 4096),
    ],
)
def test_what_is_kept_of_a_frame(text: str | bytes, kept: str) -> None:
    assert decode_malformed(text).frame == kept


def test_how_much_is_kept_is_the_callers_choice() -> None:
    text = "x" * 100
    for keep in (1, 10, 100, 1000):
        message = decode(text, keep=keep)
        assert message == Malformed(message.reason, "$", text[:keep], 100)  # type: ignore[union-attr]  # else it fails


def test_decode_is_silent_when_python_warns_of_comparing_bytes_with_text() -> None:
    code = (
        "from topone_proto.wire.codec import decode\n"
        "for text in ('ping', '{\"method\":\"ping\"}', '{\"code\":0}', '{}', 'x'):\n"
        "    decode(text), decode(text.encode())\n"
    )
    subprocess.run([sys.executable, "-bb", "-c", code], check=True)


@pytest.mark.parametrize(
    ("error", "data", "reason"),
    [
        (ValueError("too many digits"), b"{}", "too many digits"),
        (RecursionError(), b"{}", "nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), b'"\xff"', "not UTF-8"),
        (msgspec.DecodeError("bad text"), b'"\xff"', "not UTF-8"),
    ],
)
def test_whatever_a_decoder_raises_of_data_is_a_defect_of_the_frame(
    error: Exception, data: bytes, reason: str
) -> None:
    def fail(_: bytes) -> None:
        raise error

    with pytest.raises(Wrong) as caught:
        read_with(fail, data)
    assert (caught.value.reason, caught.value.path) == (reason, "$")


def test_a_response_whose_data_cannot_be_read_may_have_been_an_update() -> None:
    data = '{"asset":"ETH","available":1e400,"freeze":"0"}'
    decoded = decode('{"id":1,"method":"sub_balance","code":0,"ts":1,"data":' + data + "}")
    assert isinstance(decoded, Malformed)
    assert decoded.topics == (BALANCE,)
