"""The delivery buffer, against nothing but the list of what went in: bounded, in order, and honest
about what it leaves out."""

from collections.abc import Callable, Sequence
from itertools import product

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from stateful.machine import Machine, counted, exercise
from stateful.models import update_of
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Conflated,
    Connected,
    DeliveryPolicy,
    Event,
    OrderStatus,
    OrderUpdate,
)
from topone_proto.adapters import DeliveryBuffer


def order(number: int, status: OrderStatus) -> OrderUpdate:
    update = update_of(ORDERS, 0)
    assert isinstance(update, OrderUpdate)
    return attrs.evolve(update, order=attrs.evolve(update.order, id=number, status=status))


def balance(asset: str) -> BalanceUpdate:
    update = update_of(BALANCE, 0)
    assert isinstance(update, BalanceUpdate)
    return attrs.evolve(update, balance=attrs.evolve(update.balance, asset=asset))


STATUSES = st.sampled_from(
    [OrderStatus.PENDING, OrderStatus.PENDING, *OrderStatus, OrderStatus(42)]
)
EVENTS: st.SearchStrategy[OrderUpdate | BalanceUpdate | Connected] = st.one_of(
    st.builds(order, st.integers(0, 2), STATUSES),
    st.builds(balance, st.sampled_from(["A", "B"])),
    st.builds(Connected, st.just(0)),
)


def key(event: Event) -> object:
    """Return the key by which a newer update makes an older one superfluous."""
    match event:
        case OrderUpdate(order=entry):
            return entry.id
        case BalanceUpdate(balance=entry):
            return entry.asset
        case _:
            return None


def is_end(event: Event) -> bool:
    """True for the last state of an order."""
    return isinstance(event, OrderUpdate) and event.order.status in {2, 3, 4}


class DeliveryMachine(Machine):
    """Puts and gets. Every event has a number of its own, so that no two are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.begin(3, DeliveryPolicy.BLOCK)

    @initialize(capacity=st.integers(1, 6), policy=st.sampled_from(DeliveryPolicy))
    def begin(self, capacity: int, policy: DeliveryPolicy) -> None:
        self.capacity = capacity
        self.conflates = policy is DeliveryPolicy.CONFLATE
        self.buffer = DeliveryBuffer(capacity, policy)
        self.number = 0
        # Everything that went in and has not been passed yet.
        self.waiting: list[Event] = []
        # What was found missing, less what the buffer has owned up to.
        self.unaccounted = 0

    def numbered(self, event: Event) -> Event:
        self.number += 1
        match event:
            case OrderUpdate() | BalanceUpdate():
                return attrs.evolve(event, ts=self.number)
            case _:
                return Connected(self.number)

    def needed(self) -> int:
        """Return the number of waiting events that must be kept, by nothing but what they are."""
        if not self.conflates:
            return len(self.waiting)
        newest = {key(event): event for event in self.waiting if key(event) is not None}
        return sum(
            key(event) is None or is_end(event) or newest[key(event)] is event
            for event in self.waiting
        )

    def put(self, events: Sequence[Event]) -> None:
        step = tuple(self.numbered(event) for event in events)
        was_full, before = self.buffer.full, len(self.buffer)
        self.buffer.put(step)
        self.waiting += step
        assert len(self.buffer) <= max(before + len(step), self.capacity)
        if was_full:
            self.count("put while full")
        else:
            # The bound: a reader stops once it is full.
            assert len(self.buffer) <= self.capacity + len(step)
        if self.conflates and before < self.capacity and before + len(step) <= self.capacity:
            assert len(self.buffer) == before + len(step), "left out below capacity"
        if len(self.buffer) < before + len(step):
            self.count("made room")

    @counted(events=st.lists(EVENTS, min_size=1, max_size=3))
    def put_events(self, events: list[Event]) -> None:
        self.put(events)

    @counted(balances=st.lists(st.sampled_from(["A", "B"]), min_size=1, max_size=3))
    def put_balances(self, balances: list[str]) -> None:
        """Updates of few assets, which are what conflation is for, one by one."""
        for asset in balances:
            self.put([balance(asset)])

    @counted()
    def put_nothing(self) -> None:
        before = len(self.buffer)
        self.buffer.put(())
        assert len(self.buffer) == before

    @counted(times=st.integers(1, 4))
    def get(self, times: int) -> None:
        for _ in range(times):
            self.get_one()

    def get_one(self) -> None:
        before, event = len(self.buffer), self.buffer.get()
        if event is None:
            assert before == 0
            return
        assert len(self.buffer) == before - 1
        if isinstance(event, Conflated):
            self.count("conflated")
            assert self.conflates
            assert event.count > 0
            self.unaccounted -= event.count
            return
        # What was passed over on the way to it was superfluous.
        position = self.waiting.index(event)
        for passed in self.waiting[:position]:
            self.pass_over(passed)
        del self.waiting[: position + 1]
        if self.conflates and not is_end(event) and key(event) is not None:
            newer = sum(key(later) == key(event) for later in self.waiting)
            assert newer <= self.capacity, "the application acts on too old a state"

    def pass_over(self, passed: Event) -> None:
        later = self.waiting[self.waiting.index(passed) + 1 :]
        assert self.conflates
        assert key(passed) is not None
        assert any(key(event) == key(passed) for event in later)
        assert not is_end(passed)
        self.unaccounted += 1

    @invariant()
    def nothing_is_lost_and_nothing_piles_up(self) -> None:
        """All that must be kept is there, and the rest makes the buffer no larger than it may be,
        nor full."""
        needed = self.needed()
        assert self.buffer.room == max(0, self.capacity - needed)
        assert self.buffer.full is (needed >= self.capacity)
        assert needed <= len(self.buffer)
        if self.conflates:
            # One more, which says how many were left out.
            assert len(self.buffer) <= max(self.capacity, needed + 1)

    def drain(self) -> None:
        """Take everything that waits: no more than was owned up to may be missing."""
        while len(self.buffer):
            self.get_one()
        for passed in list(self.waiting):
            self.pass_over(passed)
        assert self.unaccounted == 0

    def teardown(self) -> None:
        self.drain()
        super().teardown()


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(stateful_step_count=30)


@pytest.mark.thorough
def test_every_rule_is_run_and_everything_is_left_out_that_may_be() -> None:
    exercise(DeliveryMachine, {"put while full", "made room", "conflated"})


# The buffer has no table of states. This takes the place of one: all that can come of a few inputs.
INPUTS: dict[str, Callable[[DeliveryMachine], object]] = {
    "an open order": lambda life: life.put_events(events=[order(0, OrderStatus.PENDING)]),
    "its end": lambda life: life.put_events(events=[order(0, OrderStatus.COMPLETED)]),
    "a balance": lambda life: life.put_events(events=[balance("A")]),
    "a connection": lambda life: life.put_events(events=[Connected(0), Connected(0)]),
    "taking one": lambda life: life.get(times=1),
}


@pytest.mark.parametrize("policy", DeliveryPolicy)
@pytest.mark.parametrize("capacity", [1, 2, 4])
def test_whatever_four_inputs_in_a_row_are(policy: DeliveryPolicy, capacity: int) -> None:
    for names in product(INPUTS, repeat=4):
        life = DeliveryMachine()
        life.begin(capacity=capacity, policy=policy)
        try:
            for name in names:
                INPUTS[name](life)
                life.nothing_is_lost_and_nothing_piles_up()
            life.drain()
        except AssertionError as error:
            error.add_note(", then ".join(names))
            raise
