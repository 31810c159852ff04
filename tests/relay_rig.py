"""Nodes of a relay in virtual time: an exchange that is made up, a bus in memory, and a consumer
for each account that believes nothing but what the bus brings."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from attrs import define, field

from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    FeedFailed,
    FeedMetrics,
    Gap,
    Subscribed,
    Topic,
)
from topone_proto.account import Account, Knowledge, Snapshot, TakenOver
from topone_proto.adapters import AsyncStateStore
from topone_proto.relay import Cursor, Position
from topone_relay import AccountEntry, MemoryBroker, Message

TOPICS: tuple[Topic[Any], ...] = (BALANCE, ORDERS)


@define(eq=False)
class Book:
    """An account as the exchange has it, and who is connected to it."""

    name: str
    balances: dict[str, Balance] = field(factory=dict[str, Balance])
    followers: list["Follower"] = field(factory=list["Follower"])
    published: list[BalanceUpdate] = field(factory=list[BalanceUpdate])
    opened: list[float] = field(factory=list[float])
    failure: Failure | None = None
    is_cut: bool = False

    def trade(self) -> None:
        """Let a balance change, and tell whoever is connected."""
        number = len(self.published) + 1
        balance = Balance(f"C{number % 3}", Decimal(number), Decimal(0))
        self.balances[balance.asset] = balance
        update = BalanceUpdate(balance, number * 1000)
        self.published.append(update)
        for follower in tuple(self.followers):
            follower.hear(update)

    def cut(self) -> None:
        """Lose every connection, and take no other one."""
        self.is_cut = True
        for follower in tuple(self.followers):
            follower.lose()

    def mend(self) -> None:
        self.is_cut = False


class Follower:
    """An open account; a ``Followed``."""

    def __init__(self, book: Book, tell: Callable[[tuple[Any, ...]], object]) -> None:
        self._book = book
        self._tell = tell
        self._account = Account()
        self._epoch = 0
        self._is_connected = False
        self._lost = asyncio.Event()

    def snapshot(self) -> Snapshot | None:
        return self._account.snapshot()

    @property
    def is_whole(self) -> bool:
        return all(self._account.knowledge(topic) is Knowledge.WHOLE for topic in TOPICS)

    def metrics(self) -> FeedMetrics | None:
        return None

    async def run(self) -> None:
        book = self._book
        book.followers.append(self)
        try:
            while True:
                await asyncio.sleep(0.1)
                if book.failure is not None:
                    self._pass_on(Closed(book.failure))
                    raise FeedFailed(book.failure)
                if not book.is_cut:
                    self._lost.clear()
                    await self._live()
        finally:
            book.followers.remove(self)

    async def _live(self) -> None:
        self._epoch += 1
        self._is_connected = True
        ts = len(self._book.published) * 1000
        self._pass_on(Connected(self._epoch))
        for topic in TOPICS:
            self._pass_on(Subscribed(topic, ts=ts, epoch=self._epoch))
            if self._epoch > 1:
                self._pass_on(Gap(topic, None, ts, self._epoch))
        healing = asyncio.create_task(self._heal())
        await self._lost.wait()
        healing.cancel()

    async def _heal(self) -> None:
        """Ask over HTTP."""
        await asyncio.sleep(0.2)
        changes = self._account.apply(Snapshot(TOPICS, tuple(self._book.balances.values())))
        self._tell(tuple(changes))

    def hear(self, update: BalanceUpdate) -> None:
        if self._is_connected:
            self._pass_on(update)

    def lose(self) -> None:
        if self._is_connected:
            self._is_connected = False
            self._pass_on(Disconnected(Failure(FailureKind.CLOSED), 0.1, self._epoch, 1))
            self._lost.set()

    def _pass_on(self, event: Event) -> None:
        self._tell((event, *self._account.apply(event)))


class Exchange:
    """The books of all accounts. ``open_entry`` opens one."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}

    def book(self, name: str) -> Book:
        return self.books.setdefault(name, Book(name))

    @asynccontextmanager
    async def open_entry(
        self, entry: AccountEntry, store: AsyncStateStore, tell: Any
    ) -> AsyncGenerator[Follower, None]:
        del store
        book = self.book(entry.name)
        book.opened.append(asyncio.get_running_loop().time())
        yield Follower(book, tell)
        # The closing handshake.
        await asyncio.sleep(0.05)


class Consumer:
    """A program that follows one account over the bus, and judges what comes."""

    def __init__(self, broker: MemoryBroker, name: str) -> None:
        self.account = Account()
        self.events: list[object] = []
        self.updates: list[BalanceUpdate] = []
        self.take_overs: list[tuple[int, float]] = []
        self.position: Position | None = None
        self._cursor = Cursor(account=name)
        self._task = asyncio.create_task(self._run(broker, name))

    async def _run(self, broker: MemoryBroker, name: str) -> None:
        async for received in broker.connect().read(name):
            if not isinstance(received, Message):
                continue
            for event, position in self._cursor.received(received.data):
                self.events.append(event)
                self.account.apply(event)
                self.position = position
                if isinstance(event, BalanceUpdate):
                    self.updates.append(event)
                if isinstance(event, TakenOver):
                    now = asyncio.get_running_loop().time()
                    self.take_overs.append((event.epoch, now))

    @property
    def is_whole(self) -> bool:
        return all(self.account.knowledge(topic) is Knowledge.WHOLE for topic in TOPICS)

    def is_right(self, book: Book) -> bool:
        return self.is_whole and dict(self.account.balances().value) == book.balances

    def lost_in_silence(self, book: Book) -> list[str]:
        """Return what contradicts the promise: each update once and in order, or a gap."""
        wrong: list[str] = []
        next_ts, may_skip = 1000, True
        for event in self.events:
            match event:
                case Gap(topic=topic) if topic == BALANCE:
                    may_skip = True
                case BalanceUpdate(ts=int(ts)):
                    if ts < next_ts:
                        wrong.append(f"{ts} comes again, or late")
                    elif ts > next_ts and not may_skip:
                        wrong.append(f"{next_ts} to {ts} are missing")
                    next_ts, may_skip = ts + 1000, False
                case _:
                    pass
        return wrong

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
