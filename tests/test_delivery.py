"""The buffer between a feed and its application: bounded, in order, and honest about what it leaves
out."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from topone_proto import (
    Balance,
    BalanceUpdate,
    Conflated,
    Connected,
    DeliveryPolicy,
    Event,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
)
from topone_proto.adapters import DeliveryBuffer

BLOCK, CONFLATE = DeliveryPolicy.BLOCK, DeliveryPolicy.CONFLATE
ZERO = Decimal(0)


def order(number: int, ts: int, status: OrderStatus = OrderStatus.PENDING) -> OrderUpdate:
    return OrderUpdate(
        Order(
            number,
            "ETH/BTC",
            OrderType.LIMIT,
            Side.BUY,
            status,
            ZERO,
            ZERO,
            ZERO,
            ZERO,
            ZERO,
            0.0,
            0.0,
        ),
        ts,
    )


def balance(asset: str, ts: int) -> BalanceUpdate:
    return BalanceUpdate(Balance(asset, ZERO, ZERO), ts)


def drain(buffer: DeliveryBuffer) -> list[Event]:
    events = []
    while (event := buffer.get()) is not None:
        events.append(event)
    return events


def test_events_come_out_as_they_went_in() -> None:
    buffer = DeliveryBuffer(2)
    assert not buffer.full
    buffer.put((order(1, 1), order(1, 2)))
    assert buffer.full
    buffer.put((Connected(1),))
    assert len(buffer) == 3
    assert drain(buffer) == [order(1, 1), order(1, 2), Connected(1)]
    assert buffer.get() is None


def test_conflating_leaves_everything_alone_while_there_is_room() -> None:
    buffer = DeliveryBuffer(4, CONFLATE)
    buffer.put((order(1, 1), order(1, 2), order(1, 3)))
    assert drain(buffer) == [order(1, 1), order(1, 2), order(1, 3)]


def test_conflating_keeps_the_newest_of_each_and_counts_the_rest() -> None:
    buffer = DeliveryBuffer(5, CONFLATE)
    buffer.put((order(1, 1), balance("ETH", 2), order(1, 3), order(2, 4), balance("ETH", 5)))
    buffer.put((order(1, 6),))
    assert drain(buffer) == [
        Conflated(3),
        order(2, 4),
        balance("ETH", 5),
        order(1, 6),
    ]


def test_conflating_keeps_how_an_order_ended() -> None:
    ends = [OrderStatus.COMPLETED, OrderStatus.CANCELED, OrderStatus.PARTIAL_CANCELED]
    buffer = DeliveryBuffer(4, CONFLATE)
    closed = [order(number, number, status) for number, status in enumerate(ends)]
    buffer.put((*closed, order(0, 10), order(0, 11)))
    assert drain(buffer) == [Conflated(1), *closed, order(0, 11)]


def test_conflating_is_full_when_nothing_can_be_left_out() -> None:
    buffer = DeliveryBuffer(3, CONFLATE)
    buffer.put((order(1, 1), order(2, 2), order(3, 3)))
    assert buffer.full
    buffer.put((order(4, 4),))
    assert drain(buffer) == [order(1, 1), order(2, 2), order(3, 3), order(4, 4)]


def test_conflating_never_touches_what_is_no_update() -> None:
    buffer = DeliveryBuffer(2, CONFLATE)
    lives: list[Event] = [Connected(number) for number in range(5)]
    buffer.put(tuple(lives))
    assert drain(buffer) == lives


EVENTS: st.SearchStrategy[OrderUpdate | BalanceUpdate | Connected] = st.one_of(
    st.builds(order, st.integers(0, 3), st.integers(0, 99), st.sampled_from(OrderStatus)),
    st.builds(balance, st.sampled_from(["A", "B"]), st.integers(0, 99)),
    st.builds(Connected, st.integers(0, 9)),
)


@given(st.integers(1, 5), st.lists(EVENTS, max_size=30))
def test_blocking_is_a_queue(capacity: int, events: list[Event]) -> None:
    buffer = DeliveryBuffer(capacity)
    for event in events:
        buffer.put((event,))
    assert drain(buffer) == events
