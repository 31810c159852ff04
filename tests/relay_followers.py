"""Consumers of accounts on a bus that know what has really happened, and judge what they are told.

Theory. An ``Exchange`` keeps all that ever happened to its account, in order. A ``Follower`` reads
the bus as an application does, and keeps for each topic a ``Sequence``: the places in what happened
at which it may stand after the values it was told. A value that fits none of these is a duplicate
if its place is before them, and shows a loss otherwise; only a gap allows a leap, and never
backwards. When nobody trades, ``difference`` compares the account with the exchange's books.
"""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any

from attrs import Factory, define

import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Gap,
    LocalProtocolError,
    Order,
    OrderUpdate,
    Side,
    Topic,
)
from topone_proto.account import Account, BusAnomaly, Knowledge, TakenOver
from topone_proto.exchange.living_account import LivingAccount
from topone_proto.relay import Cursor, Position, decode_envelope
from topone_relay import Bus, BusUnavailable, Message

MOST_OPEN = 20
TOPICS: tuple[Topic[Any], ...] = (BALANCE, ORDERS)


@define
class Figures:
    """The numbers of a run."""

    accounts: int = 0
    minutes: float = 0.0
    rests: int = 0
    comparisons: int = 0
    trades: int = 0
    updates: int = 0
    gaps: int = 0
    take_overs: int = 0
    faults: Counter[str] = Factory(Counter[str])
    lost: int = 0
    duplicates: int = 0
    double_holders: int = 0
    breaches: int = 0
    slowest_take_over: float = 0.0
    costs: list[str] = Factory(list[str])

    def __str__(self) -> str:
        return (
            f"{self.rests} rests, {self.comparisons} comparisons, {self.trades} trades, "
            f"{self.updates} updates, {self.gaps} gaps, {self.take_overs} take-overs "
            f"(slowest {self.slowest_take_over:.1f} s), {dict(self.faults)}; lost without a gap "
            f"{self.lost}, twice {self.duplicates}, double holders {self.double_holders}, "
            f"budget breaches {self.breaches}"
        )


class Wrong(Exception):
    """A thing that must never happen."""


class Exchange:
    """One account's exchange, and everything that ever happened there, in order."""

    def __init__(self, name: str, simulator: topone_simulator.Simulator) -> None:
        self.name = name
        self.simulator = simulator
        self.happened: dict[Topic[Any], list[Any]] = {topic: [] for topic in TOPICS}

    def trade(self, rng: Random) -> bool:
        """Let one thing happen. Return False if it could not."""

        def one(account: LivingAccount, now: float) -> Any:
            orders = list(account.open_orders.values())
            choice = rng.randrange(4)
            if not orders or (choice < 2 and len(orders) < MOST_OPEN):
                side = rng.choice([Side.BUY, Side.SELL])
                return account.place("ETH/BTC", side, Decimal(1), now, price=Decimal("0.01"))
            order = rng.choice(orders)
            if choice % 2:
                return account.cancel(order.id, now)
            part = rng.choice([Decimal("0.25"), Decimal(order.left or 1)])
            return account.fill(order.id, part, now)

        with suppress(LocalProtocolError):
            for change in self.simulator.live(one):
                self.happened[ORDERS if isinstance(change, Order) else BALANCE].append(change)
            return True
        return False


class Sequence:
    """The places in what happened at which a consumer may stand, by what it was told of a topic."""

    def __init__(self, happened: list[Any]) -> None:
        self._happened = happened
        # The places of the next value. None: any from the least on, after a gap.
        self._next: set[int] | None = None
        self._least = 0

    def gap(self) -> None:
        if self._next:
            self._least = min(self._next)
        self._next = None

    def take(self, value: Any) -> str:
        """Return what is wrong with this value here; empty if it may come."""
        happened = self._happened
        if self._next is None:
            found = {n for n in range(self._least, len(happened)) if happened[n] == value}
        else:
            found = {n for n in self._next if n < len(happened) and happened[n] == value}
        if found:
            self._next = {n + 1 for n in found}
            return ""
        expected = self._next or {self._least}
        if value in happened[: max(expected)]:
            return "duplicates"
        return "lost"


@define(eq=False)
class Follower:
    """One consumer of one account."""

    exchange: Exchange
    kind: str
    figures: Figures
    account: Account = Factory(Account)
    position: Position | None = None
    place: str | None = None
    heard_at: float = Factory(time.monotonic)
    silence: float = 0.0
    sequences: dict[Topic[Any], Sequence] = Factory(dict[Topic[Any], Sequence])
    written: tuple[int, int] = (0, 0)

    def __attrs_post_init__(self) -> None:
        for topic in TOPICS:
            self.sequences[topic] = Sequence(self.exchange.happened[topic])

    async def run(self, bus: Bus) -> None:
        name = self.exchange.name
        start = self.place
        while start is None and self.kind == "late":
            # As a feed does, until the bus answers.
            with suppress(BusUnavailable):
                found = await bus.pointer(name)
                start = None if found is None else found.place
                break
            await asyncio.sleep(0.5)
        cursor = Cursor(self.position, account=name)
        reading: Any = bus.read(name, start)
        async for received in reading:
            if not isinstance(received, Message):
                continue
            now = time.monotonic()
            self.silence, self.heard_at = now - self.heard_at, now
            self._check_writer(received.data)
            for event, _ in cursor.received(received.data):
                self._take(event)
            # Both, also after a message without events: one that is older than the other is a hole.
            self.position, self.place = cursor.position, received.place

    def _check_writer(self, data: bytes) -> None:
        """One holder at a time, as the stream shows it."""
        if self.kind != "steady":
            return
        envelope = decode_envelope(data)
        place = (envelope.epoch, envelope.number)
        if place <= self.written:
            self.figures.double_holders += 1
            raise Wrong(f"{self.exchange.name}: {place} after {self.written}")
        self.written = place

    def _take(self, event: Any) -> None:
        figures = self.figures
        self.account.apply(event)
        match event:
            case Gap(topic=topic) if topic in self.sequences:
                figures.gaps += 1
                self.sequences[topic].gap()
            case TakenOver() if self.kind == "steady":
                figures.take_overs += 1
                figures.slowest_take_over = max(figures.slowest_take_over, self.silence)
            case OrderUpdate(order=value) | BalanceUpdate(balance=value):
                figures.updates += 1
                wrong = self.sequences[event.topic].take(value)
                if wrong:
                    setattr(figures, wrong, getattr(figures, wrong) + 1)
                    raise Wrong(f"{self.exchange.name}, {self.kind}: {wrong}: {event}")
            case BusAnomaly():
                raise Wrong(f"{self.exchange.name}, {self.kind}: {event}")
            case _:
                pass

    def difference(self) -> str:
        """Return what differs from the exchange's books; empty if it is whole and right."""
        truth, account = self.exchange.simulator.truth(), self.account
        where = f"{self.exchange.name}, {self.kind}"
        for topic in TOPICS:
            if account.knowledge(topic) is not Knowledge.WHOLE:
                return f"{where}: {topic} is {account.knowledge(topic).value}"
        if dict(account.balances().value) != truth.balances:
            return f"{where}: other balances"
        if dict(account.open_orders().value) != truth.open_orders:
            return f"{where}: other open orders"
        return ""
