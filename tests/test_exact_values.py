"""Values are exact: whoever makes one gives decimals, and JSON brings the same value back."""

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Book,
    Candle,
    ConfigurationError,
    Connect,
    Connected,
    Deal,
    DepthUpdate,
    Endpoint,
    Level,
    Order,
    OrderUpdate,
    Side,
    Token,
    Update,
    depth,
)
from topone_proto.account import (
    AccountEvent,
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    OrderChanged,
    OutcomeUnknown,
    RelayEvent,
    Resumed,
    Resynced,
)
from topone_proto.events import event_classes
from topone_proto.plain import from_json, to_json
from topone_proto.testing.strategies import values
from topone_proto.wire.answers import OwnDeal
from topone_proto.wire.codec import decode
from topone_proto.wire.families import FAMILIES

# Decimal's own subclasses are decimals.
INEXACT = st.floats() | st.text() | st.integers() | st.booleans() | st.binary()
ETH = Balance("ETH", Decimal("1.50"), Decimal(0))


class Price(Decimal):
    """A decimal of an application's own."""


def fields_of(cls: type[Any]) -> list[str]:
    kinds = (Decimal, Decimal | None)
    return [field.name for field in attrs.fields(cls) if field.type in kinds]


def is_optional(cls: type[Any], name: str) -> bool:
    return attrs.fields_dict(cls)[name].type == Decimal | None


def example(name: str) -> Any:
    """Return a value of the page of a family."""
    update: Any = next(family.example for family in FAMILIES if family.name == name)
    [held] = [
        getattr(update, field.name)
        for field in attrs.fields(type(update))
        if field.name not in {"topic", "ts"}
    ]
    return held[0] if isinstance(held, tuple) else held


ONE = Decimal(1)
OF_FAMILIES: list[Any] = [example(family.name) for family in FAMILIES]
VALUES = [*OF_FAMILIES, OwnDeal(1, "ETH/BTC", Side.BUY, ONE, ONE, ONE, ONE, "ETH", 1.0)]
CASES = [(value, name) for value in VALUES for name in fields_of(type(value))]


def name_of(part: Any) -> str:
    return part if isinstance(part, str) else type(part).__name__


def test_there_are_amounts_to_look_at() -> None:
    assert {Order, Balance, Candle, Deal, OwnDeal} <= {type(value) for value, _ in CASES}
    assert len(CASES) >= 19
    may_be_missing = {name for name in fields_of(Order) if is_optional(Order, name)}
    assert may_be_missing == {"price", "left"}


@pytest.mark.parametrize(("value", "name"), CASES, ids=name_of)
@given(inexact=INEXACT)
def test_what_is_no_decimal_is_refused_where_one_belongs(
    value: Any, name: str, inexact: object
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        attrs.evolve(value, **{name: inexact})
    assert refusal.value.setting == f"{type(value).__name__}.{name}"
    assert type(inexact).__name__ in refusal.value.problem


@pytest.mark.parametrize(("value", "name"), CASES, ids=name_of)
def test_a_decimal_of_an_applications_own_is_one(value: Any, name: str) -> None:
    assert getattr(attrs.evolve(value, **{name: Price(7)}), name) == 7


@pytest.mark.parametrize(("value", "name"), CASES, ids=name_of)
def test_what_may_be_missing_says_so(value: Any, name: str) -> None:
    if is_optional(type(value), name):
        assert getattr(attrs.evolve(value, **{name: None}), name) is None
    else:
        with pytest.raises(ConfigurationError):
            attrs.evolve(value, **{name: None})


@pytest.mark.parametrize("side", ["asks", "bids"])
@pytest.mark.parametrize("row", [(0.1, Decimal(1)), (Decimal(1), "1")])
def test_a_book_has_exact_levels(side: str, row: tuple[Any, Any]) -> None:
    good = Level(Decimal(1), Decimal(1))
    rows: dict[str, Any] = {"asks": (good,), "bids": (good,)}
    rows[side] = (good, Level(*row))
    with pytest.raises(ConfigurationError, match=r"Level\."):
        Book(1.0, **rows)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_decoder_does_not_check_again(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its usual way makes decimals only, and is the hot one."""
    update = family.example
    frame = json.dumps(
        {"method": update.topic.subscribe_method, "data": family.write(update), "ts": update.ts}
    )
    # The decoder learns a topic once frames of it have come as often as it knows topics.
    assert all(decode(frame) == update for _ in range(1100))
    monkeypatch.setattr(type(example(family.name)), "__attrs_post_init__", unexpected)
    assert decode(frame) == update


def unexpected(value: object) -> None:
    raise AssertionError(f"{type(value).__name__} was made by its constructor")


# --- JSON


@pytest.mark.parametrize("cls", [type(value) for value in OF_FAMILIES])
@given(data=st.data())
def test_a_value_is_the_same_after_json(cls: type[Any], data: st.DataObject) -> None:
    value = data.draw(st.from_type(cls))
    text = to_json(value)
    assert "\n" not in text
    assert from_json(text, cls) == value
    assert from_json(text.encode(), cls) == value
    assert to_json(from_json(text, cls)) == text


@pytest.mark.parametrize("healed", [True, False])
def test_a_change_of_an_account_is_the_same_after_json(healed: bool) -> None:
    order: Order = example("orders")
    changes = [
        BalanceChanged(None, ETH, 1, healed),
        OrderChanged(order, attrs.evolve(order, left=ONE), None, healed),
        AggregatedFill(order, 1.5, ONE, ONE, healed),
    ]
    for change in changes:
        assert from_json(to_json(change), type(change)) == change
    with pytest.raises(ValueError, match="not the fields of BalanceChanged"):
        from_json(to_json(changes[0]).replace(str(healed).lower(), "1"), BalanceChanged)


# From the unions that say what an application is given: a new event is among them by itself, and
# one without a strategy fails here.
TOLD: set[type[Any]] = {*event_classes(), *get_args(AccountEvent | RelayEvent)} - {Update}


@pytest.mark.parametrize("cls", sorted(TOLD, key=str))
@settings(max_examples=max(5, settings().max_examples // 20))
@given(data=st.data())
def test_an_event_is_the_same_after_json(cls: type[Any], data: st.DataObject) -> None:
    event = data.draw(values(cls))
    text = to_json(event)
    assert text.startswith(f'{{"event": "{cls.__name__}"')
    for again in (from_json(text), from_json(text.encode(), cls)):
        assert again == event
        assert repr(again) == repr(event), "exponents of decimals included"


def test_what_resynced_has_in_it_says_its_class() -> None:
    order: Order = example("orders")
    resynced = Resynced(ORDERS, (OutcomeUnknown(order), BalanceUnlisted(ETH)), None, 1)
    text = to_json(resynced)
    assert [each["event"] for each in json.loads(text)["differences"]] == [
        "OutcomeUnknown",
        "BalanceUnlisted",
    ]
    # It is none of what an answer over HTTP can differ in.
    with pytest.raises(ValueError, match="not the fields of Resynced"):
        from_json(text.replace("OutcomeUnknown", "Connected"))


def test_an_event_of_an_account_is_read_where_no_account_was_loaded() -> None:
    program = """
import sys
from topone_proto.plain import from_json, to_json
connected, resumed = sys.argv[1:]
assert to_json(from_json(connected)) == connected
assert "topone_proto.account" not in sys.modules
assert to_json(from_json(resumed)) == resumed
"""
    lines = to_json(Connected(epoch=1)), to_json(Resumed())
    subprocess.run([sys.executable, "-W", "error", "-c", program, *lines], check=True)


@pytest.mark.parametrize("value", [Token("secret"), Connect(Endpoint(), Token("secret"), 1.0, 1)])
def test_a_secret_is_never_written(value: object) -> None:
    with pytest.raises(TypeError, match="Token") as caught:
        to_json(value)
    assert "secret" not in str(caught.value)


def test_the_text_of_an_event_says_which_it_is() -> None:
    update = BalanceUpdate(ETH, 1)
    assert from_json(to_json(update), Update) == update
    book = DepthUpdate(depth("BTC/USDT"), Book(None, (), ()), None)
    assert from_json(to_json(book), Update) == book
    with pytest.raises(ValueError, match="BalanceUpdate, and no OrderUpdate"):
        from_json(to_json(update), OrderUpdate)
    with pytest.raises(ValueError, match="Connected, and no Update"):
        from_json(to_json(Connected(epoch=1)), Update)
    assert to_json(BALANCE) == '"balance"'


@pytest.mark.parametrize(
    "text",
    [
        '{"asset": "ETH", "available": 0.1, "freeze": "0"}',
        '{"asset": "ETH", "available": "NaN", "freeze": "0"}',
        '{"asset": "ETH", "available": "1"}',
        '{"asset": 1, "available": "1", "freeze": "0"}',
        '{"asset": "ETH", "available": NaN, "freeze": "0"}',
        '{"asset": "ETH", "available": 1e999, "freeze": "0"}',
        "[]",
        "",
        "[" * 100_000,
        b"\xff",
    ],
    ids=lambda text: repr(text[:60]),
)
def test_what_is_no_value_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text, Balance)
    with pytest.raises(ValueError, match=r"."):
        from_json(text)
