"""Messages on the bus, positions, and the numbers of a relay."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import ConfigurationError
from topone_proto.relay import (
    Envelope,
    EnvelopeError,
    Item,
    Position,
    RelayConfig,
    decode_envelope,
    encode_envelope,
)
from topone_proto.testing.strategies import json_values

_COUNTS = st.integers(1, 2**63 - 1)
_ITEMS = st.builds(Item, st.text(), st.dictionaries(st.text(), json_values(), max_size=3))
ENVELOPES = st.builds(
    Envelope, st.text(), _COUNTS, _COUNTS, st.lists(_ITEMS, max_size=3).map(tuple)
)


@given(ENVELOPES)
def test_an_envelope_is_read_as_it_was_written(envelope: Envelope) -> None:
    data = encode_envelope(envelope)
    assert json.loads(data)["account"] == envelope.account
    assert decode_envelope(data) == envelope
    assert repr(decode_envelope(data)) == repr(envelope)


def test_a_message_without_items_is_a_sign_of_life() -> None:
    assert encode_envelope(Envelope("main", 3, 17)) == (
        b'{"version":1,"account":"main","epoch":3,"number":17,"items":[]}'
    )


def test_texts_and_numbers_that_json_cannot_write_do_not_stop_a_holder() -> None:
    odd = {"text": "\ud800", "number": 2**70, "list": ["\udfff", (1,)], "not": float("inf")}
    read = decode_envelope(encode_envelope(Envelope("main", 1, 1, (Item("Malformed", odd),))))
    assert read.items[0].payload == {
        "text": "?",
        "number": str(2**70),
        "list": ["?", [1]],
        "not": None,
    }


def test_members_of_a_newer_version_are_ignored() -> None:
    plain = {"version": 1, "account": "main", "epoch": 1, "number": 2, "sent": 5}
    plain["items"] = [{"kind": "tomorrow", "payload": {"a": 1}, "priority": 3}, {"kind": "bare"}]
    read = decode_envelope(json.dumps(plain).encode())
    assert read == Envelope("main", 1, 2, (Item("tomorrow", {"a": 1}), Item("bare")))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage \xff",
        b"[" * 100_000,
        b"null",
        b'{"version":1}',
        b'{"version":2,"account":"main","epoch":1,"number":1,"items":[]}',
        b'{"version":1,"account":"main","epoch":0,"number":1,"items":[]}',
        b'{"version":1,"account":"main","epoch":1,"number":-1,"items":[]}',
        b'{"version":1,"account":"main","epoch":1,"number":1,"items":[1]}',
        b'{"version":1,"account":"main","epoch":99999999999999999999,"number":1,"items":[]}',
        b'{"version":1,"account":"\xff","epoch":1,"number":1,"items":[]}',
    ],
)
def test_garbage_is_refused_with_its_beginning(data: bytes) -> None:
    with pytest.raises(EnvelopeError) as caught:
        decode_envelope(data)
    assert len(caught.value.beginning) <= 800
    assert "update topone-proto" in str(caught.value)


@given(st.binary() | json_values().map(lambda plain: json.dumps(plain).encode()))
def test_whatever_comes_is_a_message_or_an_envelope_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decode_envelope(data)


POSITIONS = st.builds(Position, *[st.integers(0, 2**63 - 1)] * 3, gap_due=st.booleans())


@given(POSITIONS)
def test_a_position_is_read_as_it_was_written(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(POSITIONS, POSITIONS)
def test_positions_are_ordered_as_the_stream_is(one: Position, other: Position) -> None:
    def key(of: Position) -> tuple[int, int, int]:
        return of.epoch, of.number, of.index

    assert (one < other) == (key(one) < key(other))


@pytest.mark.parametrize(
    "text", ["", "1-2", "1-2-3-4", "-1-2-3", "1-2-3x", "\u0661-2-3", "1-2-3\n"]
)
def test_no_position(text: str) -> None:
    with pytest.raises(ConfigurationError, match="position"):
        Position.parse(text)


@pytest.mark.parametrize("numbers", [(-1, 0), (1, True), (1, 2.0)])
def test_a_position_has_whole_numbers(numbers: tuple[Any, Any]) -> None:
    with pytest.raises(ConfigurationError, match="position"):
        Position(*numbers)


def test_a_lease_is_renewed_three_times_while_it_holds() -> None:
    config = RelayConfig(ttl=30)
    assert config.renew_interval == 10
    assert RelayConfig().ttl == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": 0},
        {"ttl": float("nan")},
        {"ttl": True},
        {"margin": "1"},
        {"keep_open": -1},
        {"keep_open": None},
        {"capacity": 0},
        {"max_message_size": 1.5},
        {"ttl": 2.0},
        {"renew_interval": 7.5},
    ],
)
def test_numbers_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RelayConfig(**wrong)
    assert caught.value.setting.startswith("RelayConfig.")
