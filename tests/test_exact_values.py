"""Values are exact: whoever makes one gives decimals, and JSON brings the same value back."""

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import (
    BALANCE,
    Balance,
    BalanceUpdate,
    Book,
    Candle,
    ConfigurationError,
    Connected,
    Deal,
    DepthUpdate,
    Event,
    Level,
    Order,
    OrderUpdate,
    Side,
    Update,
    depth,
)
from topone_proto.account import AggregatedFill, BalanceChanged, OrderChanged
from topone_proto.plain import from_json, to_json
from topone_proto.testing.strategies import events
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


def example(name: str) -> Any:
    """Return a value of the page of a family."""
    update: Any = next(family.example for family in FAMILIES if family.name == name)
    held = getattr(update, HELD[name])
    return held[0] if isinstance(held, tuple) else held


HELD = {
    "orders": "order",
    "balance": "balance",
    "kline": "candles",
    "depth": "book",
    "deals": "deals",
}
ONE = Decimal(1)
VALUES: list[Any] = [
    *map(example, ("orders", "balance", "kline", "deals")),
    OwnDeal(1, "ETH/BTC", Side.BUY, ONE, ONE, ONE, ONE, "ETH", 1.0),
]
CASES = [(value, name) for value in VALUES for name in fields_of(type(value))]


def name_of(part: Any) -> str:
    return part if isinstance(part, str) else type(part).__name__


def test_there_are_amounts_to_look_at() -> None:
    assert len(CASES) == 19


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
def test_only_the_price_and_the_rest_of_an_order_may_be_missing(value: Any, name: str) -> None:
    if (type(value).__name__, name) in {("Order", "price"), ("Order", "left")}:
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


@pytest.mark.parametrize("cls", [Order, Balance, Candle, Book, Deal])
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


@given(events())
def test_an_event_is_the_same_after_json(event: Event) -> None:
    assert from_json(to_json(event)) == event
    assert from_json(to_json(event), type(event)) == event


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
