"""The quick way over a bus means the same as the usual one, whatever comes."""

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import BalanceUpdate, OrderStatus, OrderUpdate, Update
from topone_proto.relay import EnvelopeError, Item, _quick, decode_envelope
from topone_proto.relay._envelope import encode_item, join_items
from topone_proto.relay._items import event_of, item_of
from topone_proto.relay._quick import encode_update, read_message

UPDATES = st.one_of(st.from_type(BalanceUpdate), st.from_type(OrderUpdate))


def read(data: bytes) -> list[Item | Update]:
    return read_message(join_items("main", 1, 2, [data])).items


@given(UPDATES)
def test_an_update_is_written_as_the_usual_way_writes_it(event: Update) -> None:
    quick, usual = encode_update(event), encode_item(item_of(event))
    assert json.loads(quick or usual) == json.loads(usual)


@given(UPDATES)
def test_an_update_is_read_as_it_was_written(event: Update) -> None:
    assert read(encode_item(item_of(event))) == [event]


def test_it_is_the_quick_way_that_is_tested() -> None:
    event = attrs.evolve(example(), ts=5)
    assert encode_update(event) is not None
    assert isinstance(read(encode_update(event) or b"")[0], BalanceUpdate)


def test_a_message_of_updates_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    event = attrs.evolve(example(), ts=5)
    data = encode_update(event) or b""
    monkeypatch.setattr(_quick, "_decode", None)
    assert read_message(join_items("main", 1, 2, [data, data])).items == [event, event]
    assert read_message(join_items("main", 1, 2, [])).items == []


OTHERS = st.sampled_from(
    [
        encode_item(Item("opened")),
        encode_item(Item("BalanceUpdate", {"balance": {"asset": "ETH"}, "ts": 5})),
        b'{"kind":"tomorrow","payload":{"a":[1]},"more":null}',
        b'{"payload":{},"kind":"x"}',
    ]
)


@given(st.lists(UPDATES.map(lambda event: encode_item(item_of(event))) | OTHERS, max_size=5))
def test_an_item_is_read_alike_whatever_is_beside_it(items: list[bytes]) -> None:
    together = read_message(join_items("main", 1, 2, items)).items
    assert together == [found for item in items for found in read(item)]


def example() -> BalanceUpdate:
    found = BalanceUpdate.topic.family
    assert found is not None
    assert isinstance(found.example, BalanceUpdate)
    return found.example


DECIMALS = {"price", "amount", "left", "deal_stock", "deal_money", "available", "freeze"}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, -1, 2**63, 1.5, "", "x", "NaN", "-Infinity", "sNaN", "1e5", "1e9999"),
        *("0e-9999", " 1", "1_0", [], {}),
    ]
)


@given(UPDATES, st.data())
def test_what_is_odd_is_read_as_the_usual_way_reads_it(event: Update, data: st.DataObject) -> None:
    plain: Any = json.loads(encode_item(item_of(event)))
    payload = plain["payload"]
    inner = payload[data.draw(st.sampled_from([name for name in payload if name != "ts"]))]
    place, name = data.draw(
        st.sampled_from([(payload, name) for name in payload] + [(inner, name) for name in inner])
    )
    is_decimal = name in DECIMALS
    odd = data.draw(ODD.filter(lambda odd: not (is_decimal and type(odd) in (int, float))))
    if data.draw(st.booleans()):
        place[name] = odd
    else:
        del place[name]
    [found] = read(json.dumps(plain).encode())
    item = Item(plain["kind"], payload)
    try:
        usual = event_of(item)
    except ValueError:
        assert found == item
    else:
        assert found in (usual, item)


def test_a_status_that_nobody_knows_keeps_its_number() -> None:
    event = OrderUpdate.topic.family.example  # type: ignore[union-attr]  # it has one
    assert isinstance(event, OrderUpdate)
    odd = attrs.evolve(event, order=attrs.evolve(event.order, status=OrderStatus(77)))
    assert read(encode_update(odd) or b"") == [odd]


def test_a_number_of_a_decimal_stays_exact() -> None:
    data = b'{"kind":"BalanceUpdate","payload":{"balance":{"asset":"A","available":0.1,"freeze":"0"},"ts":1}}'  # noqa: E501 - as it comes
    [found] = read(data)
    assert isinstance(found, BalanceUpdate)
    assert found.balance.available == Decimal("0.1")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"version":2,"account":"main","epoch":1,"number":1,"items":[]}',
        b'{"version":1,"account":"main","epoch":0,"number":1,"items":[]}',
        b'{"version":1,"account":"main","epoch":1,"number":-1,"items":[]}',
        b'{"version":1,"account":"main","epoch":1,"number":1,"items":[{"kind":"a","payload":1}]}',
        b'{"version":1,"account":"main","epoch":1,"number":99999999999999999999,"items":[]}',
        b"[" * 5000,
    ],
)
def test_what_is_no_message_is_refused_with_the_same_words(data: bytes) -> None:
    with pytest.raises(EnvelopeError) as usual:
        decode_envelope(data)
    with pytest.raises(EnvelopeError) as quick:
        read_message(data)
    assert str(quick.value) == str(usual.value)


@pytest.mark.parametrize("number", ["1e9999999", "0e-9999999"])
def test_a_number_that_nobody_could_count_with_is_refused(number: str) -> None:
    payload = {"balance": {"asset": "ETH", "available": number, "freeze": "0"}, "ts": 5}
    [item] = read(encode_item(Item("BalanceUpdate", payload)))
    assert isinstance(item, Item)
    with pytest.raises(ValueError, match="not the fields of BalanceUpdate"):
        event_of(item)
