"""Arithmetic and enums of the exchange's values."""

import copy
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from topone_proto.models import Side
from topone_proto.testing.strategies import balances, decimals, unknown_members, wire_enums
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order, OrderStatus, OrderType

ENUMS = [Side, OrderType, OrderStatus]

ORDER = Order(
    id=132991,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.PENDING,
    price=Decimal("0.08132"),
    amount=Decimal("1.389"),
    left=Decimal("0.389"),
    deal_stock=Decimal("1.000"),
    deal_money=Decimal("0.08132"),
    create_time=1522235513.740678,
    update_time=1522235513.740684,
)


@given(balances())
def test_a_total_is_exact_in_any_context(balance: Balance) -> None:
    with localcontext(prec=1, Emax=1, Emin=-1) as context:
        context.traps[Overflow] = context.traps[InvalidOperation] = False
        total = balance.total
    assert Fraction(total) == Fraction(balance.available) + Fraction(balance.freeze)


def test_a_total_of_the_widest_decimals_of_the_wire_is_exact() -> None:
    widest = Balance("ETH", Decimal("9" * 124 + "E+99"), Decimal("1E-99"))
    assert Fraction(widest.total) == Fraction(widest.available) + Fraction(widest.freeze)


@pytest.mark.parametrize(
    ("status", "is_open", "is_closed"),
    [
        (OrderStatus.PENDING, True, False),
        (OrderStatus.COMPLETED, False, True),
        (OrderStatus.CANCELED, False, True),
        (OrderStatus.PARTIAL_CANCELED, False, True),
        (OrderStatus(5), False, False),
    ],
)
def test_an_order_is_open_closed_or_of_unknown_status(
    status: OrderStatus, is_open: bool, is_closed: bool
) -> None:
    order = evolve(ORDER, status=status)
    assert (order.is_open, order.is_closed) == (is_open, is_closed)


@pytest.mark.parametrize(
    ("side", "is_buy", "is_sell"),
    [(Side.SELL, False, True), (Side.BUY, True, False), (Side(3), False, False)],
)
def test_an_order_buys_sells_or_is_of_unknown_side(side: Side, is_buy: bool, is_sell: bool) -> None:
    order = evolve(ORDER, side=side)
    assert (order.is_buy, order.is_sell) == (is_buy, is_sell)


@pytest.mark.parametrize("copied", [lambda x: x, copy.copy, copy.deepcopy])
def test_a_copied_order_is_as_open_as_the_first(copied: Any) -> None:
    assert copied(ORDER).is_open
    assert copied(ORDER) == ORDER
    assert hash(copied(ORDER)) == hash(ORDER)


@pytest.mark.parametrize(
    ("market", "stock", "money"),
    [("ETH/BTC", "ETH", "BTC"), ("ETHBTC", "ETHBTC", ""), ("A/B/C", "A", "B/C"), ("", "", "")],
)
def test_the_coins_of_a_market(market: str, stock: str, money: str) -> None:
    order = evolve(ORDER, market=market)
    assert (order.stock, order.money) == (stock, money)


@pytest.mark.parametrize(
    ("stock", "money", "average"),
    [
        ("0", "0", None),
        ("0E-16", "0", None),
        ("1.389", "0.10953654", Decimal("0.07886")),
        ("3", "1", Decimal("0.3333333333333333333333333333")),
        ("3", "2", Decimal("0.6666666666666666666666666667")),
    ],
)
def test_the_average_price_does_not_depend_on_the_context(
    stock: str, money: str, average: Decimal | None
) -> None:
    order = evolve(ORDER, deal_stock=Decimal(stock), deal_money=Decimal(money))
    with localcontext(prec=2, rounding="ROUND_UP"):
        assert order.average_price == average
    assert order.filled == order.deal_stock


@given(decimals(), decimals().filter(bool))
def test_the_average_price_is_right_to_28_digits(money: Decimal, stock: Decimal) -> None:
    average = evolve(ORDER, deal_money=money, deal_stock=stock).average_price
    assert average is not None
    exact = Fraction(money) / Fraction(stock)
    assert abs(Fraction(average) - exact) <= abs(exact) * Fraction(1, 10**27)


def test_times_are_aware_and_in_utc() -> None:
    assert ORDER.created_at == datetime(2018, 3, 28, 11, 11, 53, 740678, UTC)
    assert ORDER.updated_at == datetime(2018, 3, 28, 11, 11, 53, 740684, UTC)
    for moment in (ORDER.created_at, ORDER.updated_at):
        assert moment is not None
        assert moment.utcoffset() == timedelta(0)


@given(st.floats(0, 253402300799.99997), st.floats(0, 253402300799.99997))
def test_every_time_of_the_wire_has_a_datetime(created: float, updated: float) -> None:
    order = evolve(ORDER, create_time=created, update_time=updated)
    assert order.created_at is not None
    assert order.updated_at is not None
    assert order.created_at.timestamp() == pytest.approx(created, abs=1e-4)
    assert order.updated_at.timestamp() == pytest.approx(updated, abs=1e-4)


def test_a_time_that_could_not_be_read_is_no_datetime() -> None:
    order = evolve(ORDER, create_time=None, update_time=None)
    assert order.created_at is None
    assert order.updated_at is None


@pytest.mark.parametrize("enum", ENUMS)
@given(data=st.data())
def test_an_unknown_number_is_kept(enum: Any, data: st.DataObject) -> None:
    before = list(enum)
    member = data.draw(unknown_members(enum))
    number = int(member)
    again = enum(number)
    assert not member.is_known
    assert isinstance(member, enum)
    assert member == again == number == member.value
    assert hash(member) == hash(again) == hash(number)
    assert member.name == f"UNKNOWN_{number}"
    assert repr(member) == f"<{enum.__name__}.UNKNOWN_{number}: {number}>"
    assert list(enum) == before, "a peer must not make the class grow"
    assert len(enum.__members__) == len(before)
    assert member.name not in enum.__members__


@pytest.mark.parametrize("enum", ENUMS)
@given(data=st.data())
def test_members_survive_copies_and_pickles(enum: Any, data: st.DataObject) -> None:
    member = data.draw(wire_enums(enum))
    copies = [copy.copy(member), copy.deepcopy(member)]
    copies += [
        pickle.loads(pickle.dumps(member, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for other in copies:
        assert type(other) is enum
        assert other == member
        assert other.name == member.name
        assert other.is_known == member.is_known
        if member.is_known:
            assert other is member


@pytest.mark.parametrize("enum", ENUMS)
@pytest.mark.parametrize("value", ["1", 1.5, None, "x", b"1"])
def test_what_is_no_number_is_no_member(enum: Any, value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        enum(value)


@pytest.mark.parametrize(
    ("enum", "numbers"),
    [
        (Side, {"SELL": 1, "BUY": 2}),
        (OrderType, {"LIMIT": 1, "MARKET": 2}),
        (OrderStatus, {"PENDING": 1, "COMPLETED": 2, "CANCELED": 3, "PARTIAL_CANCELED": 4}),
    ],
)
def test_the_numbers_are_those_of_the_page(enum: Any, numbers: dict[str, int]) -> None:
    assert {member.name: member.value for member in enum} == numbers
    assert all(member.is_known for member in enum)
