"""The core of an account by itself: what waits for the application, and what is held up."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import (
    Balance,
    Conflated,
    Connected,
    DeliveryPolicy,
    Order,
    OrderStatus,
    OrderType,
    Side,
    Token,
)
from topone_proto.account import AggregatedFill, BalanceChanged, OrderChanged
from topone_proto.adapters import DeliveryBuffer, call_source
from topone_proto.events import Event

POLICIES = list(DeliveryPolicy)
OTHERS = st.sampled_from(
    [
        Connected(1),
        BalanceChanged(None, Balance("A", Decimal(1), Decimal(0)), 1),
        BalanceChanged(None, Balance("B", Decimal(1), Decimal(0)), 1),
    ]
)


def order(number: int, status: OrderStatus = OrderStatus.PENDING) -> Order:
    return Order(
        id=number,
        market="A/B",
        type=OrderType.LIMIT,
        side=Side.BUY,
        status=status,
        price=Decimal(1),
        amount=Decimal(2),
        left=Decimal(1),
        deal_stock=Decimal(1),
        deal_money=Decimal(1),
        create_time=1.0,
        update_time=1.0,
    )


def drain(buffer: DeliveryBuffer) -> list[object]:
    taken = []
    while (event := buffer.get()) is not None:
        taken.append(event)
    return taken


@pytest.mark.parametrize("policy", POLICIES)
@given(st.integers(1, 5), st.lists(OTHERS, max_size=30), st.lists(OTHERS, max_size=4))
def test_what_nobody_reads_holds_nothing_up_and_is_counted(
    policy: DeliveryPolicy, capacity: int, before: list[Event], after: list[Event]
) -> None:
    buffer = DeliveryBuffer(capacity, policy, is_read=False)
    for event in before:
        buffer.put_changes((event,))
        assert not buffer.full
        assert len(buffer) <= capacity + 1
    buffer.begin_reading()
    for event in after:
        if not buffer.full:
            buffer.put_update(event)
    left = buffer.conflated
    taken = drain(buffer)
    counted = [event.count for event in taken if isinstance(event, Conflated)]
    assert sum(counted) == left
    # The newest of what came before are there, in order, behind the count.
    given = [event for event in taken if not isinstance(event, Conflated)]
    if policy is DeliveryPolicy.BLOCK:
        kept = before[max(0, len(before) - capacity) :]
        assert given[: len(kept)] == kept
        assert left == len(before) - len(kept)
        assert counted == ([left] if left else [])


def test_conflating_keeps_fills_ends_and_the_newest_change_of_each_thing() -> None:
    buffer = DeliveryBuffer(4, DeliveryPolicy.CONFLATE)
    one, two = order(1), order(1, OrderStatus.COMPLETED)
    fill = AggregatedFill(one, None, Decimal(1), Decimal(1))
    balances = [
        BalanceChanged(None, Balance("A", Decimal(number), Decimal(0)), 1) for number in range(3)
    ]
    buffer.put((OrderChanged(None, one, 1), fill, *balances, OrderChanged(one, two, 2)))
    buffer.put((OrderChanged(two, one, 3),))
    assert drain(buffer) == [
        Conflated(3),
        fill,
        balances[-1],
        OrderChanged(one, two, 2),
        OrderChanged(two, one, 3),
    ]


class _Refused:
    def method(self, refused: Token | None) -> object:
        return refused

    def other(self, retries: int = 3) -> object:
        return retries

    def named(self, refused: object = "not told") -> object:
        return refused


@pytest.mark.parametrize(
    ("source", "result"),
    [
        (lambda: "called", "called"),
        (lambda refused: refused, Token("old")),
        (lambda *_: "called", "called"),
        (_Refused().method, Token("old")),
        (_Refused().other, 3),
        (_Refused().named, Token("old")),
        (dict, {}),
    ],
)
def test_a_token_callable_is_told_of_the_refused_token_if_it_takes_it(
    source: object, result: object
) -> None:
    assert call_source(source, Token("old")) == result  # type: ignore[arg-type]  # all are callable
