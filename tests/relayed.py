"""Helpers for the tests of feeds from a bus: messages as a holder writes them, a bus in memory that
any thread may write to, and the three ways of using a feed."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from topone_proto import BALANCE, Balance, BalanceUpdate, Connected, Event, Subscribed
from topone_proto.account import RelayEvent, Resumed, Snapshot, Stalled
from topone_proto.relay import Envelope, Item, encode_envelope
from topone_proto.relay._freshness import BACKLOG
from topone_proto.relay._items import item_of, snapshot_items
from topone_relay._bus import Received, Take
from topone_relay._feed import RelayFeedOpening, open_feed
from topone_relay._memory import MemoryBroker, MemoryBus

if TYPE_CHECKING:
    from topone_proto.relay.feed_core import FeedPosition

PATIENCE = 30.0
DOORS = ("asyncio", "trio", "threads")
OPENED = Item("opened", {})


def update(number: int) -> BalanceUpdate:
    """An update that says its number."""
    return BalanceUpdate(Balance("ETH", Decimal(number), Decimal(0)), number)


BEGINNING = (Connected(1), Subscribed(BALANCE, 0, 1))
WHOLE = Snapshot((BALANCE,), (update(0).balance,), latest_ts=0)


def message(number: int, *events: Event | Snapshot, epoch: int = 1, account: str = "main") -> bytes:
    """One message as a holder writes it; without events a beat."""
    items: list[Item] = [OPENED] if number == 1 else []
    items += [_item(event) for event in events]
    return encode_envelope(Envelope(account, epoch, number, tuple(items)))


def _item(event: Event | Snapshot) -> Item:
    if not isinstance(event, Snapshot):
        return item_of(event)
    (data,) = snapshot_items(event, 10**6)
    plain = msgspec.json.decode(data)
    return Item(plain["kind"], plain["payload"])


class Bus(MemoryBus):
    """A bus in memory that any thread may write to."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.starts: list[str | None] = []
        self.yielded: list[Received] = []
        """All that was yielded, and not taken at once."""
        self.is_read = asyncio.Event()
        self.is_closed = False

    async def read(
        self, account: str, start: str | None = None, take: Take | None = None
    ) -> AsyncGenerator[Received]:
        self.loop = asyncio.get_running_loop()
        self.starts.append(start)
        self.is_read.set()
        async for received in super().read(account, start, take):
            self.yielded.append(received)
            yield received

    async def close(self) -> None:
        self.is_closed = True
        await super().close()


class Line:
    """An account's messages, and who reads them."""

    def __init__(self, *messages: bytes, retention: int = 10_000) -> None:
        self.broker = MemoryBroker(retention=retention)
        self.buses: list[Bus] = []
        for data in messages:
            self.broker.inject("main", data)

    def open(self, **options: Any) -> RelayFeedOpening:
        bus = Bus(self.broker)
        self.buses.append(bus)
        return open_feed(bus, **options)

    async def is_read(self) -> None:
        """Wait until the latest feed reads, in this loop."""
        await self.buses[-1].is_read.wait()

    def do(self, function: Callable[[], object]) -> None:
        """Have something done where the latest feed reads."""
        loop = self.buses[-1].loop
        assert loop is not None
        loop.call_soon_threadsafe(function)

    def say(self, *messages: bytes) -> None:
        """Add messages while a feed reads."""
        for data in messages:
            self.do(partial(self.broker.inject, "main", data))

    def be(self, *, away: bool) -> None:
        """Let the bus go away, or come back."""

        def change() -> None:
            self.broker.is_away = away
            self.broker.notify()

        self.do(change)


class Seen:
    """The yield of a feed: events, and the position behind the last."""

    def __init__(self) -> None:
        self.events: list[RelayEvent] = []
        self.position: FeedPosition | None = None
        self.positions: list[str] = []

    def take(self, event: RelayEvent, feed: Any) -> None:
        self.events.append(event)
        self.position = feed.position
        self.positions.append(str(feed.position))


class Silent:
    """Tells what is said of a backlog alone from everything else."""

    def __init__(self) -> None:
        self._is_open = False

    def is_of_backlog(self, event: RelayEvent) -> bool:
        """Return True for ``Stalled`` of a backlog, and for its end."""
        if isinstance(event, Stalled) and event.reason == BACKLOG:
            self._is_open = True
            return True
        is_end = self._is_open and isinstance(event, Resumed)
        self._is_open &= not is_end
        return is_end


def follow(
    door: str,
    opening: RelayFeedOpening,
    *,
    until: Callable[[list[RelayEvent]], bool],
    then: Callable[[RelayEvent], object] = lambda _: None,
    with_backlog: bool = False,
) -> Seen:
    """Take the events of a feed until enough have come, then leave the block.

    What is said of a backlog is left out, unless it is asked for.
    """
    seen = Seen()
    silent = Silent()

    def take(event: RelayEvent, feed: Any) -> bool:
        if not with_backlog and silent.is_of_backlog(event):
            return False
        seen.take(event, feed)
        then(event)
        return until(seen.events)

    async def run() -> None:
        async with opening as feed:
            async for event in feed:
                if take(event, feed):
                    break

    match door:
        case "asyncio":
            asyncio.run(asyncio.wait_for(run(), PATIENCE))
        case "trio":

            async def main() -> None:
                with trio.fail_after(PATIENCE):
                    await run()

            trio.run(main)
        case _:
            with opening as blocking:
                while not take(blocking.get(PATIENCE), blocking):
                    pass
    return seen


def after(count: int) -> Callable[[list[RelayEvent]], bool]:
    """Enough are so many."""
    return lambda events: len(events) >= count


def kinds(events: list[RelayEvent]) -> list[str]:
    """The names of events."""
    return [type(event).__name__ for event in events]
