"""A program that reads a relayed account in a simulated world, and what is judged of it.

I13: each event that was published comes once and in order, or each topic that the program knows of
has a ``Gap`` after whatever is missing. An account that is fed with it is what the exchange's was
at one moment whenever it is ``WHOLE``, and never goes back to an earlier one.

I15: the fills of each order that such an account reports add up to what it reports as filled.
"""

from bisect import bisect_left
from collections import defaultdict
from decimal import Decimal
from random import Random
from typing import Any, Final

from topone_proto.account import (
    Account,
    AggregatedFill,
    BusAnomaly,
    Change,
    FillCorrected,
    Knowledge,
    OrderChanged,
    RelayEvent,
    Snapshot,
    TakenOver,
)
from topone_proto.events import Gap, Subscribed
from topone_proto.plain import plain_of
from topone_proto.relay import Cursor, Position
from topone_proto.testing.simulation.relays.bus import Bus, Item
from topone_proto.testing.simulation.relays.exchange import Exchange
from topone_proto.testing.simulation.relays.machine import ACCOUNT
from topone_proto.testing.simulation.relays.plan import ReaderPlan
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic, Update

__all__ = ["Reader"]

_NO_EVENTS: Final = {"opened", "left_out"}


class Reader:
    """One program.

    Args:
        world: the time.
        plan: how fast it reads.
        bus: the bus.
        exchange: the exchange, to compare with.
        rng: when messages come twice.
    """

    def __init__(
        self, world: World, plan: ReaderPlan, bus: Bus, exchange: Exchange, rng: Random
    ) -> None:
        self.plan: ReaderPlan = plan
        """The speed at which it reads."""
        self.told: int = 0
        """The number of events that it was told."""
        self.seen: set[str] = set()
        """The names of their classes."""
        self.account: Account = Account()
        """The account that it is told of."""
        self._world = world
        self._bus = bus
        self._exchange = exchange
        self._rng = rng
        self._stored: Position | None = None
        self._cursor: Cursor | None = None
        self._next = 0
        self._life = 0
        # For the judge.
        self._last: int | None = None
        self._known: set[Topic] = set()
        self._made: set[Topic] = set()
        self._due: set[Topic] = set()
        self._moments = [0, 0]
        self._filled: defaultdict[int, Decimal] = defaultdict(Decimal)

    # --- reading --------------------------------------------------------------------------------

    def start(self) -> None:
        """It starts, or starts again from the position that it has stored."""
        self._life += 1
        self._cursor = Cursor(self._stored, account=ACCOUNT)
        self.account = Account()
        self._filled.clear()
        self._next = self._bus.pointer() if self._stored is None else self._place(self._stored)
        self._read(self._life)

    def stop(self, seconds: float) -> None:
        """It dies."""
        if self._cursor is not None:
            self._world.note(self.plan.name, "dies at", str(self._stored))
            self._cursor = None
            self._life += 1
            self._world.at(self._world.now + seconds, self.start)

    def hurry(self) -> None:
        """It reads fast from now on."""
        self._life += 1
        if self._cursor is not None:
            self._read(self._life, every=0.05, most=100)

    def _place(self, position: Position) -> int:
        """Return the number of the message to read from."""
        place = position.epoch, position.number
        before = (m.place is None or m.place < place for m in self._bus.stream)
        at = next((number for number, is_before in enumerate(before) if not is_before), None)
        return len(self._bus.stream) if at is None else max(0, at - self._rng.choice((0, 0, 3)))

    def _read(self, life: int, every: float | None = None, most: int | None = None) -> None:
        world, bus = self._world, self._bus
        if life != self._life:
            return
        if world.now >= bus.away_until:
            self._next = max(self._next, bus.first)
            if self._rng.random() < self.plan.repeats and self._next > bus.first:
                self._take(bus.stream[self._rng.randrange(bus.first, self._next)].data)
            for message in bus.stream[self._next : self._next + (most or self.plan.most)]:
                self._next += 1
                self._take(message.data)
        world.at(world.now + (every or self.plan.every), self._read, life, every, most)

    def _take(self, data: bytes) -> None:
        cursor = self._cursor
        assert cursor is not None  # as long as it lives
        for event, position in cursor.received(data):
            self.told += 1
            self.seen.add(type(event).__name__)
            self._world.note(self.plan.name, f"{position} ->", event)
            self._add_up(self.account.apply(event))
            self._judge(event, position)
            self._check_account()
            self._stored = position

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, event: RelayEvent, position: Position) -> None:
        items = self._bus.items
        place = position.epoch, position.number, position.index
        at = bisect_left(items, place, key=lambda item: item.place) - 1
        is_new = self._last is None or at > self._last
        if not (is_new and at >= 0 and _is_of(event, items[at])):
            if not isinstance(event, Gap | TakenOver | BusAnomaly):
                self._break(f"{event} comes twice, late, or was never published")
            if isinstance(event, Gap):
                self._due.discard(event.topic)
                self._made.add(event.topic)
            return
        if self._last is not None and any(map(_is_event, items[self._last + 1 : at])):
            self._due |= self._known - self._made
        self._last = at
        self._made.clear()
        match event:
            case Subscribed(topic=topic) | Update(topic=topic):
                self._known.add(topic)
            case Snapshot(topics=topics):
                self._known |= set(topics)
                if self._due:
                    names = ", ".join(topic.name for topic in self._due)
                    self._break(f"it is whole, and {names} had no gap for what is missing")
            case _:
                pass

    def _add_up(self, changes: tuple[Change, ...]) -> None:
        """Check that the fills of each order add up to what it says itself."""
        for change in changes:
            match change:
                case AggregatedFill(order=order) | FillCorrected(order=order):
                    self._filled[order.id] += change.deal_stock
                case _:
                    pass
        for change in changes:
            if isinstance(change, OrderChanged):
                order, told = change.after, self._filled[change.after.id]
                if told != order.deal_stock:
                    what = f"fills of order {order.id} should be {order.deal_stock} and are {told}"
                    self._break(what, "I15")

    def _check_account(self) -> None:
        account = self.account
        both = self._exchange.moments(account)
        for index, topic in enumerate((ORDERS, BALANCE)):
            if account.knowledge(topic) is Knowledge.WHOLE:
                later = [moment for moment in both[index] if moment >= self._moments[index]]
                if not later:
                    what = f"{topic} is WHOLE, and was never so after change {self._moments[index]}"
                    self._break(what)
                self._moments[index] = later[0]

    def check_present(self) -> str | None:
        """Return what is wrong with the account now that nothing is under way; None if it is right
        and whole."""
        account = self.account
        for topic in (ORDERS, BALANCE):
            if account.knowledge(topic) is not Knowledge.WHOLE:
                return f"{topic} is {account.knowledge(topic).name}"
        if not self._exchange.is_present(account):
            return "the account is WHOLE and out of date"
        return f"{self._due} had no gap" if self._due else None

    def _break(self, what: str, rule: str = "I13") -> None:
        raise Violation(rule, self.plan.name, what, self._world.now)


def _is_event(item: Item) -> bool:
    is_last = item.payload.get("part") == item.payload.get("parts")
    return item.kind not in _NO_EVENTS and (item.kind != "snapshot" or is_last)


def _is_of(event: RelayEvent, item: Item) -> bool:
    """Return True if an item stands for this event, by what is on the bus."""
    if isinstance(event, Snapshot):
        return item.kind == "snapshot" and _is_event(item)
    if isinstance(event, BusAnomaly):
        return item.kind == "left_out"
    plain: Any = None if isinstance(event, TakenOver) else plain_of(event)
    return item.kind == type(event).__name__ and item.payload == plain
