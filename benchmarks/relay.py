"""Group 6: an account on a message bus, beside the bare client of the bus.

Both sides of a bus are in this process, and the server in its own: what is measured is the work of
a publisher and a consumer together, beside what nats-py alone needs for the same payloads. The node
that publishes is the relay's own; only the exchange is made up.
"""

import asyncio
import gc
import random
import statistics
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import perf_counter, process_time
from typing import Any

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

import topone_nats
from benchmarks.frames import order_frames
from benchmarks.measuring import Effort, Row, Table, in_fresh_processes
from benchmarks.nats_server import nats_server
from topone_proto import ORDERS, Connected, Event, FeedMetrics, OrderUpdate, Subscribed, Token
from topone_proto.account import Snapshot
from topone_proto.adapters import AsyncStateStore
from topone_proto.plain import to_plain
from topone_proto.relay import Item, RelayConfig
from topone_proto.relay._envelope import encode_item, join_items
from topone_proto.wire.codec import decode
from topone_relay import AccountEntry, Node

BARE = "bare nats-py"
OURS = "topone relay"
UPDATE = "an order update"
MESSAGE = "the message around it, without the server's own headers"
IDLE = "an account and its consumer"
ONE, MANY = "1", "10"

_HUGE = RelayConfig(capacity=10**6, max_waiting=2**30)
_Tell = Callable[[tuple[Any, ...]], object]


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return in_fresh_processes(_tables, effort)


def _tables(effort: Effort) -> list[Table]:
    with nats_server() as url:
        return asyncio.run(_measured(effort, url))


def updates() -> list[OrderUpdate]:
    """Sixty-four different updates, as the exchange sends them."""
    found = [decode(frame.decode()) for frame in order_frames(64)]
    return [update for update in found if isinstance(update, OrderUpdate)]


def payloads() -> list[bytes]:
    """The same, as they stand in the relay's messages."""
    return [_payload(update) for update in updates()]


def _payload(update: OrderUpdate) -> bytes:
    plain = to_plain(update)
    return encode_item(Item(plain.pop("event"), plain))


# --- The relay -----------------------------------------------------------------------------------


class _Account:
    """An account that is made up; a ``Followed`` of ``topone_relay``."""

    is_whole = True

    def __init__(self) -> None:
        self.tell: _Tell | None = None
        self._end = asyncio.Event()

    def snapshot(self) -> Snapshot:
        return Snapshot((ORDERS,))

    def metrics(self) -> FeedMetrics | None:
        return None

    async def run(self) -> None:
        await self._end.wait()

    @asynccontextmanager
    async def opened(
        self, _entry: AccountEntry, _store: AsyncStateStore, tell: _Tell
    ) -> AsyncGenerator["_Account", None]:
        self.tell = tell
        tell((Connected(1), Subscribed(ORDERS, 1, 1)))
        yield self


class _Relay:
    """Accounts on a node, and consumers of each."""

    def __init__(self, url: str, accounts: int = 1, consumers: int = 1) -> None:
        self._url = url
        prefix = f"bench{random.getrandbits(40):x}"
        self._prefix = prefix
        self.accounts = {f"a{number}": _Account() for number in range(accounts)}
        self._consumers = consumers
        self._counts: list[int] = []
        self.wanted = 0
        self._is_there = asyncio.Event()
        self.last = 0.0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["_Relay"]:
        def open_entry(entry: AccountEntry, store: AsyncStateStore, tell: _Tell) -> Any:
            return self.accounts[entry.name].opened(entry, store, tell)

        entries = [AccountEntry(name=name, token=Token("bench")) for name in self.accounts]
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            bus = await enter(topone_nats.connect(self._url, prefix=self._prefix))
            await enter(Node(bus, entries, name="bench", config=_HUGE, open_entry=open_entry))
            readers: list[asyncio.Task[None]] = []
            for name in self.accounts:
                for _ in range(self._consumers):
                    feed = await enter(
                        topone_nats.open_feed(
                            self._url, account=name, prefix=self._prefix, silence_timeout=None
                        )
                    )
                    self._counts.append(0)
                    readers.append(asyncio.create_task(self._read(feed, len(readers))))
            while not all(self._counts):
                self._is_there.clear()
                await self._is_there.wait()
            try:
                yield self
            finally:
                for reader in readers:
                    reader.cancel()
                    with suppress(asyncio.CancelledError):
                        await reader

    async def _read(self, feed: Any, number: int) -> None:
        counts = self._counts
        async for event in feed:
            if isinstance(event, Snapshot):
                # From here on updates come, and another snapshot now and then.
                counts[number] = 1
                self._is_there.set()
                break
        async for event in feed:
            if isinstance(event, OrderUpdate):
                counts[number] += 1
                if counts[number] == self.wanted:
                    self.last = perf_counter()
                    if counts.count(self.wanted) == len(counts):
                        self._is_there.set()

    async def burst(self, events: Sequence[Event]) -> float:
        """Publish events at all accounts, and return the seconds until the last consumer has the
        last."""
        self.wanted = self._counts[0] + len(events)
        self._is_there.clear()
        tells = [account.tell for account in self.accounts.values() if account.tell is not None]
        started = perf_counter()
        for number, event in enumerate(events):
            for tell in tells:
                tell((event,))
            if number % 64 == 63:
                # A reader has other tasks take their turn as often.
                await asyncio.sleep(0)
        await self._is_there.wait()
        return self.last - started


# --- The bare client -----------------------------------------------------------------------------


class _Bare:
    """A publisher and a subscriber of JetStream, with nothing of ours."""

    def __init__(self, client: Any, subject: str) -> None:
        self._js = client.jetstream(publish_async_max_pending=1000)
        self._subject = subject
        self._count = self.wanted = 0
        self._is_there = asyncio.Event()
        self.last = 0.0

    async def subscribe(self) -> None:
        await self._js.add_stream(name=self._subject, subjects=[self._subject])

        async def received(_: object) -> None:
            self._count += 1
            if self._count == self.wanted:
                self.last = perf_counter()
                self._is_there.set()

        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        subscribe = self._js.subscribe
        await subscribe(self._subject, cb=received, ordered_consumer=True, config=config)

    async def burst(self, data: Sequence[bytes]) -> float:
        """Publish payloads, a message each, and return the seconds until the last has come."""
        self.wanted = self._count + len(data)
        self._is_there.clear()
        started = perf_counter()
        acknowledged = [await self._js.publish_async(self._subject, each) for each in data]
        await asyncio.gather(*acknowledged)
        await self._is_there.wait()
        return self.last - started

    async def one(self, data: bytes) -> float:
        """Publish one payload, and return the seconds until it has come."""
        self.wanted = self._count + 1
        self._is_there.clear()
        started = perf_counter()
        await self._js.publish(self._subject, data)
        await self._is_there.wait()
        return self.last - started


@asynccontextmanager
async def _bare(url: str) -> AsyncIterator[_Bare]:
    client = await nats.connect(url)
    try:
        bare = _Bare(client, f"bare{random.getrandbits(40):x}")
        await bare.subscribe()
        yield bare
    finally:
        await client.close()


# --- Measuring -----------------------------------------------------------------------------------


async def _measured(effort: Effort, url: str) -> list[Table]:
    return [
        *await _beside_bare(effort, url),
        await _idle(effort, url),
        _sizes(),
        await _growing(effort, url, "accounts"),
        await _growing(effort, url, "consumers"),
    ]


async def _beside_bare(effort: Effort, url: str) -> list[Table]:
    some, data = updates(), payloads()
    burst = [some[number % len(some)] for number in range(effort.burst)]
    burst_data = [data[number % len(data)] for number in range(effort.burst)]
    rates: dict[str, list[float]] = {BARE: [], OURS: []}
    waits: dict[str, list[float]] = {
        f"{name}, {what}": [] for name in rates for what in ("median", "99 %")
    }
    busy: dict[str, list[float]] = {name: [] for name in rates}
    async with _bare(url) as bare, _Relay(url).opened() as relay:
        await bare.burst(burst_data[:64])
        await relay.burst(burst[:64])
        for _ in range(effort.rounds):
            for name in random.sample(list(rates), len(rates)):
                gc.collect()
                took = await (bare.burst(burst_data) if name == BARE else relay.burst(burst))
                rates[name].append(took / effort.burst)
            for name in random.sample(list(rates), len(rates)):
                seconds: list[float] = []
                worked = 0.0
                for number in range(effort.singles):
                    await asyncio.sleep(0.001)
                    which = number % len(some)
                    one = bare.one(data[which]) if name == BARE else relay.burst([some[which]])
                    began = process_time()
                    seconds.append(await one)
                    worked += process_time() - began
                busy[name].append(worked / effort.singles)
                waits[f"{name}, median"].append(statistics.median(seconds))
                waits[f"{name}, 99 %"].append(_percentile(seconds))
    note = {BARE: "a message for each event, acknowledged in the background"}
    return [
        Table(
            "relay/rate",
            "A burst of order updates through NATS, for each event: publisher and consumer",
            "s",
            BARE,
            tuple(Row(name, tuple(rates[name]), note.get(name, "")) for name in rates),
        ),
        Table(
            "relay/latency",
            "One order update through NATS, from the publisher's call to the consumer",
            "s",
            f"{BARE}, median",
            tuple(
                Row(name, tuple(waits[name]), against=f"{BARE}, {name.partition(', ')[2]}")
                for name in waits
            ),
        ),
        Table(
            "relay/processor",
            "One order update through NATS: processor time of publisher and consumer together",
            "s",
            BARE,
            tuple(Row(name, tuple(busy[name])) for name in busy),
        ),
    ]


async def _idle(effort: Effort, url: str) -> Table:
    """Measure accounts on which nothing happens."""
    count = effort.relayed[-1]
    samples: list[float] = []
    async with _Relay(url, count).opened():
        for _ in range(effort.rounds):
            began = process_time()
            await asyncio.sleep(effort.idle_seconds / effort.rounds)
            samples.append((process_time() - began) / count / effort.idle_seconds * effort.rounds)
    return Table(
        "relay/idle",
        "Processor time in a second on which nothing happens",
        "s",
        IDLE,
        (Row(IDLE, tuple(samples), "its lease and its signs of life"),),
    )


def _sizes() -> Table:
    """Measure what an event takes on the bus."""
    some = payloads()
    sizes = tuple(float(len(each)) for each in some)
    around = tuple(float(len(join_items("main", 1, 10**6, [each])) - len(each)) for each in some)
    return Table(
        "relay/bytes", "On the bus", "B", UPDATE, (Row(UPDATE, sizes), Row(MESSAGE, around))
    )


async def _growing(effort: Effort, url: str, what: str) -> Table:
    """Measure an event that is delivered once, with few and with many accounts or consumers."""
    some = updates()
    numbers = effort.relayed
    samples: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(effort.rounds):
        for number in random.sample(numbers, len(numbers)):
            count = max(1, effort.burst // number)
            events = [some[each % len(some)] for each in range(count)]
            async with _Relay(url, **{what: number}).opened() as relay:
                gc.collect()
                samples[number].append(await relay.burst(events) / (count * number))
    return Table(
        f"relay/{what}",
        f"The same burst with many {what}, for each event that a consumer gets",
        "s",
        f"{numbers[0]} {what}",
        tuple(Row(f"{number} {what}", tuple(samples[number])) for number in numbers),
    )


def _percentile(seconds: list[float]) -> float:
    return sorted(seconds)[max(0, round(len(seconds) * 0.99) - 1)]
