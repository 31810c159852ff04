"""An oracle for consumers of a relay: it knows what was published and what the account was then,
and judges all that a consumer is told over any number of restarts.

The bus repeats messages, brings those of old holders late, loses the oldest, and brings garbage.
The consumer dies after any event and goes on from the position that it stored. Then

- no event comes twice, and each comes in its order;
- after whatever did not come, each topic that the consumer had been told of has a ``Gap``;
- an account that is fed with it is ``WHOLE`` only while it is what the holder's is.
"""

from bisect import bisect_left
from decimal import Decimal
from random import Random
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from accounts import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    BusAnomaly,
    Connected,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Order,
    OrderStatus,
    OrderUpdate,
    Snapshot,
    Subscribed,
    TakenOver,
    Topic,
    Update,
)
from topone_proto.account import Account, Knowledge, RelayEvent
from topone_proto.relay import Cursor, Position
from topone_proto.relay._envelope import encode_item, join_items
from topone_proto.relay._items import item_of, opened, snapshot_items

LOST = Failure(FailureKind.LOST)
BOTH = (ORDERS, BALANCE)

Content = tuple[dict[str, Balance], dict[int, Order]]


@attrs.define
class Holders:
    """Some holders, one after the other, and all that they published."""

    rng: Random
    ts: int = 1000
    balances: dict[str, Balance] = attrs.field(factory=dict)
    orders: dict[int, Order] = attrs.field(factory=dict)
    messages: list[tuple[int, int, bytes]] = attrs.field(factory=list)
    # The place of each item; its event, if it is the last of one; and what the account was then.
    places: list[tuple[int, int, int]] = attrs.field(factory=list)
    events: list[RelayEvent | None] = attrs.field(factory=list)
    contents: list[Content] = attrs.field(factory=list)
    waiting: list[bytes] = attrs.field(factory=list)
    epoch: int = 0
    number: int = 0
    connection: int = 0

    def hold(self) -> None:
        rng = self.rng
        for _ in range(rng.randrange(4)):
            self.change()  # and nobody looks
        self.epoch += rng.randrange(1, 3)
        self.number = 0
        self.put(opened(), None)
        self.connect(is_again=False)
        for _ in range(rng.randrange(12)):
            match rng.randrange(10):
                case 0:
                    self.tell(Disconnected(LOST, 1.0, self.connection, self.next_ts()))
                    self.change()
                    self.connect(is_again=True)
                case 1 | 2:
                    self.snapshot()
                case 3:
                    self.send()  # perhaps nothing: a sign of life
                case _:
                    self.tell(self.change())

    def snapshot(self) -> None:
        snapshot = Snapshot(
            BOTH,
            tuple(self.balances.values()),
            tuple(self.orders.values()),
            latest_ts=self.next_ts(),
        )
        *most, last = snapshot_items(snapshot, self.rng.choice([500, 10**6]))
        for part in most:
            self.put(part, None)
        self.put(last, snapshot)

    def connect(self, *, is_again: bool) -> None:
        self.connection += 1
        self.tell(Connected(self.connection))
        for topic in BOTH:
            self.tell(Subscribed(topic, self.next_ts(), self.connection))
            if is_again:
                self.tell(Gap(topic, None, self.next_ts(), self.connection))

    def change(self) -> Update:
        """Something happens at the exchange."""
        ts = self.next_ts()
        if self.rng.random() < 0.5:
            balance = Balance(self.rng.choice(["ETH", "BTC"]), Decimal(ts), Decimal(0))
            self.balances[balance.asset] = balance
            return BalanceUpdate(balance, ts)
        if len(self.orders) < 3:
            state = order(ts)
            self.orders[ts] = state
        else:
            number = self.rng.choice(list(self.orders))
            del self.orders[number]
            state = order(number, 10, OrderStatus.COMPLETED)
        return OrderUpdate(state, ts)

    def next_ts(self) -> int:
        self.ts += 1
        return self.ts

    def tell(self, event: Event) -> None:
        self.put(encode_item(item_of(event)), event)

    def put(self, data: bytes, event: RelayEvent | None) -> None:
        self.places.append((self.epoch, self.number + 1, len(self.waiting)))
        self.events.append(event)
        self.contents.append((dict(self.balances), dict(self.orders)))
        self.waiting.append(data)
        if self.rng.random() < 0.4:
            self.send()

    def send(self) -> None:
        self.number += 1
        data = join_items("main", self.epoch, self.number, self.waiting)
        self.messages.append((self.epoch, self.number, data))
        self.waiting.clear()

    def before(self, position: Position) -> int:
        """The number of items before a position."""
        place = position.epoch, position.number, position.index
        return bisect_left(self.places, place)


@attrs.define
class Consumer:
    """A program that dies now and then, on a bus of the bad kind."""

    holders: Holders
    rng: Random
    stored: Position | None = None
    account: Account = attrs.field(factory=Account)
    # Everything that it was told, in all of its lives; and the place of each in what was published.
    told: list[tuple[RelayEvent, Position, int | None]] = attrs.field(factory=list)
    trimmed: int = 0

    def live(self, cursor: Cursor, until: int) -> None:
        """Read until the message of this number, or until it dies."""
        holders, rng = self.holders, self.rng
        at = self.trimmed
        if self.stored is not None:
            place = self.stored.epoch, self.stored.number
            at = max(at, sum(message[:2] < place for message in holders.messages))
            at = max(self.trimmed, at - rng.choice([0, 0, 1, 5]))
        while at < until:
            chance = rng.random()
            if chance < 0.05:
                at = min(at + rng.randrange(1, 6), until)  # slower than the retention
                self.trimmed = max(self.trimmed, at)
                continue
            if chance < 0.1:
                self.take(cursor, rng.randbytes(9))
            elif chance < 0.3 and at > self.trimmed:
                self.take(cursor, holders.messages[rng.randrange(self.trimmed, at)][2])
            if not self.take(cursor, holders.messages[at][2]):
                return
            at += 1

    def take(self, cursor: Cursor, data: bytes) -> bool:
        """Take a message in; False if it dies of it."""
        for event, position in cursor.received(data):
            if not isinstance(event, BusAnomaly):
                assert event in self.account_says(event, position)
            self.stored = position
            if self.rng.random() < 0.04:
                self.account = Account()
                return False
        assert cursor.position is None or self.stored is None or cursor.position >= self.stored
        return True

    def account_says(self, event: RelayEvent, position: Position) -> tuple[RelayEvent]:
        self.account.apply(event)
        count = self.holders.before(position)
        place = None
        for index in range(count - 1, -1, -1):
            found = self.holders.events[index]
            if found is not None:
                place = index if found == event else None
                break
        self.told.append((event, position, place))
        self.check_account(count)
        return (event,)

    def check_account(self, count: int) -> None:
        account = self.account
        balances, orders = self.holders.contents[count - 1] if count else ({}, {})
        if account.knowledge(BALANCE) is Knowledge.WHOLE:
            assert account.balances().value == balances
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            assert account.open_orders().value == orders


def judge(holders: Holders, told: list[tuple[RelayEvent, Position, int | None]]) -> None:
    known: set[Topic] = set()
    due: set[Topic] = set()
    made: set[Topic] = set()  # the gaps since the last event that was published
    last: int | None = None
    for event, _, place in told:
        if place is None:
            assert isinstance(event, Gap | TakenOver), event
            if isinstance(event, Gap):
                due.discard(event.topic)
                made.add(event.topic)
            continue
        assert last is None or place > last, f"{event} comes twice or late"
        if last is not None and is_anything_missing(holders, last, place):
            due |= known - made
        last = place
        made.clear()
        if isinstance(event, Subscribed | Update):
            known.add(event.topic)
        elif isinstance(event, Snapshot):
            known |= set(event.topics)
            assert not due, f"{due} have no gap although the account is whole"
    if last is not None and is_anything_missing(holders, last, len(holders.events)):
        due |= known - made
    assert not due


def is_anything_missing(holders: Holders, last: int, place: int) -> bool:
    return any(event is not None for event in holders.events[last + 1 : place])


@given(st.integers(0, 2**32))
def test_a_consumer_is_told_everything_once_and_in_order_or_of_a_gap(number: int) -> None:
    rng = Random(number)
    holders = Holders(rng)
    consumer = Consumer(holders, rng)
    for _ in range(rng.randrange(1, 4)):
        holders.hold()
        holders.send()
        for _ in range(rng.randrange(3)):
            consumer.live(Cursor(consumer.stored), len(holders.messages))
    holders.snapshot()
    holders.tell(holders.change())
    holders.send()
    while consumer.stored is None or holders.before(consumer.stored) < len(holders.places):
        if consumer.stored is None and consumer.trimmed >= len(holders.messages) - 1:
            return  # it began too late to hear of anything
        consumer.live(Cursor(consumer.stored), len(holders.messages))
        if consumer.trimmed == len(holders.messages):
            holders.snapshot()
            holders.send()
    judge(holders, consumer.told)
    assert not consumer.told or consumer.stored is not None


def test_the_oracle_sees_what_it_is_for() -> None:
    """Of many worlds, some have each of the things that can go wrong."""
    seen: set[Any] = set()
    for number in range(60):
        rng = Random(number)
        holders = Holders(rng)
        consumer = Consumer(holders, rng)
        for _ in range(3):
            holders.hold()
            holders.send()
            consumer.live(Cursor(consumer.stored), len(holders.messages))
        seen |= {type(event) for event, _, place in consumer.told if place is None}
        seen |= {type(event) for event, _, place in consumer.told if place is not None}
        if consumer.account.knowledge(ORDERS) is Knowledge.WHOLE:
            seen.add("whole")
    assert {Gap, TakenOver, Snapshot, OrderUpdate, BalanceUpdate, "whole"} <= seen
