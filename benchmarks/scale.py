"""Group 4: many feeds in one process, idle feeds, large frames."""

import asyncio
import gc
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from time import process_time
from typing import Any

import attrs
import trio

import topone_asyncio
import topone_trio
from benchmarks import clients, frames, peers
from benchmarks.clients import SUBSCRIBE, Open, Watch
from benchmarks.driven import active_session
from benchmarks.loopback import TOKEN, LoopbackServer, release, server_ports, url_of
from benchmarks.machine import allow_files, resident_bytes
from benchmarks.measuring import (
    Effort,
    Row,
    Subject,
    Table,
    in_fresh_process,
    in_fresh_processes,
    interleave,
    over,
)
from topone_proto import ORDERS, SessionConfig, Subscribed
from topone_proto.wire.codec import decode

Member = Callable[[str], AbstractAsyncContextManager[Any]]

BARE = "bare connection"
FEED = "feed"
THOUSAND = "1,000 feeds"
ABOVE = "feed above the bare connection"
CONNECTION = "bare loop + Session"

# A thousand dials at once take their time; everything else is as it comes.
PATIENT = SessionConfig(open_timeout=120.0, ack_timeout=120.0)


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return [
        *in_fresh_processes(_feeds, effort),
        *(table for name in FRAMEWORKS for table in _idle(name, effort)),
        *in_fresh_processes(_sizes, effort),
    ]


# --- crowds --------------------------------------------------------------------------------------


@asynccontextmanager
async def feed_of(open_feed: Any, url: str) -> AsyncIterator[Any]:
    """A feed that has been told of its subscription."""
    async with open_feed(token=TOKEN, url=url, topics=[ORDERS], config=PATIENT) as feed:
        async for event in feed:
            if isinstance(event, Subscribed):
                break
        yield feed


@asynccontextmanager
async def bare_of(open_pipe: Open, url: str) -> AsyncIterator[Any]:
    """A bare connection that has received its acknowledgement."""
    async with open_pipe(url) as pipe:
        await pipe.send(SUBSCRIBE)
        await pipe.receive()
        yield pipe


async def run_asyncio(main: Callable[..., Awaitable[float]], *members: Callable[..., Any]) -> float:
    """Run the members and the main function together."""
    async with asyncio.TaskGroup() as group:
        for member in members:
            group.create_task(member())
        return await main()


async def run_trio(main: Callable[..., Awaitable[float]], *members: Callable[..., Any]) -> float:
    """Run the members and the main function together."""
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(member)
        return await main()


@attrs.frozen
class Framework:
    """The parts of asyncio or trio that a crowd needs."""

    library: str
    run: Callable[..., float]
    together: Callable[..., Awaitable[float]]
    event: Callable[[], Any]
    sleep: Callable[[float], Awaitable[object]]
    feed: Member
    bare: Member


def _on_asyncio(function: Callable[..., Any], *arguments: Any) -> Any:
    return asyncio.run(function(*arguments))


FRAMEWORKS = {
    "topone_asyncio": Framework(
        "aiohttp, a ClientSession each",
        _on_asyncio,
        run_asyncio,
        asyncio.Event,
        asyncio.sleep,
        partial(feed_of, topone_asyncio.open_feed),
        partial(bare_of, clients.open_aiohttp),
    ),
    "topone_trio": Framework(
        "trio-websocket",
        trio.run,
        run_trio,
        trio.Event,
        trio.sleep,
        partial(feed_of, topone_trio.open_feed),
        partial(bare_of, clients.open_trio_websocket),
    ),
}


async def crowd(
    framework: Framework,
    member: Member,
    url: str,
    size: int,
    each: Callable[[Any], Awaitable[object]] | None,
    measure: Callable[[Callable[[], Awaitable[object]]], Awaitable[float]],
) -> float:
    """Open ``size`` members, one task for each, and measure when all are there.

    ``measure`` is given a function that waits until every member has done what ``each`` does.
    """
    all_here, all_done, over_ = framework.event(), framework.event(), framework.event()
    here = done = 0

    async def one() -> None:
        nonlocal here, done
        async with member(url) as thing:
            here += 1
            if here == size:
                all_here.set()
            if each is not None:
                await each(thing)
            done += 1
            if done == size:
                all_done.set()
            await over_.wait()

    async def main() -> float:
        await all_here.wait()
        try:
            return await measure(all_done.wait)
        finally:
            over_.set()

    return await framework.together(main, *[one] * size)


# --- cost per event ------------------------------------------------------------------------------


async def _take(count: int, feed: Any) -> None:
    left = count
    async for _event in feed:
        left -= 1
        if not left:
            break


async def _measure_burst(
    port: int, events: int, all_done: Callable[[], Awaitable[object]]
) -> float:
    release(port)
    watch = Watch()
    await all_done()
    return watch.stop().wall / events


def crowd_of(size: int, kind: str) -> str:
    """Return the name of a row."""
    return f"{size:,} with {kind}"


async def _take_bare(count: int, pipe: clients.Pipe) -> None:
    await clients.take_session(pipe, count, active_session())


def _feeds(effort: Effort) -> list[Table]:
    allow_files(2 * max(effort.feeds) + 100)
    with server_ports(LoopbackServer) as (port,):
        return [_feeds_on(name, port, effort) for name in FRAMEWORKS]


def _feeds_on(name: str, port: int, effort: Effort) -> Table:
    framework = FRAMEWORKS[name]
    kinds = ((name, framework.feed, _take), (CONNECTION, framework.bare, _take_bare))
    crowds = [(size, kind, member, take) for size in effort.feeds for kind, member, take in kinds]
    samples: dict[tuple[int, str], list[float]] = {(c[0], c[1]): [] for c in crowds}
    for _ in range(effort.rounds):
        for size, kind, member, take in random.sample(crowds, len(crowds)):
            gc.collect()
            count = max(1, effort.burst // size)
            url = url_of(port, "burst", n=count, held=1)
            measure = partial(_measure_burst, port, count * size)
            each = partial(take, count)
            seconds = framework.run(crowd, framework, member, url, size, each, measure)
            samples[size, kind].append(seconds)
    return Table(
        f"scale/feeds-{name}",
        f"{name}: {effort.burst:,} order updates, spread over connections in one process",
        "s",
        crowd_of(1, name),
        tuple(
            Row(
                crowd_of(size, kind),
                tuple(samples[size, kind]),
                against=crowd_of(size, CONNECTION),
            )
            for size, kind, *_ in crowds
        ),
    )


# --- idle ----------------------------------------------------------------------------------------


async def _memory(_: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    return float(resident_bytes())


async def _processor(
    framework: Framework, seconds: float, _: Callable[[], Awaitable[object]]
) -> float:
    started = process_time()
    await framework.sleep(seconds)
    return 100 * (process_time() - started) / seconds


def idle_memory(name: str, kind: str, size: int) -> float:
    """Bytes for each connection; in a fresh process, where no memory is free to be used again."""
    allow_files(2 * size + 100)
    framework = FRAMEWORKS[name]
    member = framework.feed if kind == FEED else framework.bare
    with server_ports(LoopbackServer) as (port,):
        url = url_of(port, "idle")
        before = framework.run(crowd, framework, member, url, 2, None, _memory)
        after = framework.run(crowd, framework, member, url, size, None, _memory)
    return (after - before) / size


def idle_processor(name: str, kind: str, size: int, seconds: float) -> float:
    """Percent of one core."""
    allow_files(2 * size + 100)
    framework = FRAMEWORKS[name]
    member = framework.feed if kind == FEED else framework.bare
    with server_ports(LoopbackServer) as (port,):
        measure = partial(_processor, framework, seconds)
        return framework.run(crowd, framework, member, url_of(port, "idle"), size, None, measure)


def _idle(name: str, effort: Effort) -> list[Table]:
    library, size = FRAMEWORKS[name].library, effort.idle
    bare, feeds = [], []
    for _ in range(max(1, effort.processes)):
        bare.append(in_fresh_process(effort, idle_memory, name, BARE, size))
        feeds.append(in_fresh_process(effort, idle_memory, name, FEED, size))
    above = tuple(feed - own for feed, own in zip(feeds, bare, strict=True))
    percent = in_fresh_process(effort, idle_processor, name, FEED, size, effort.idle_seconds)
    per_thousand = percent * 1000 / size
    return [
        Table(
            f"scale/memory-{name}",
            f"{name}: resident memory of one of {size:,} idle connections",
            "B",
            BARE,
            (Row(BARE, tuple(bare), library), Row(FEED, tuple(feeds)), Row(ABOVE, above)),
        ),
        Table(
            f"scale/idle-{name}",
            f"{name}: processor time of 1,000 idle feeds",
            "%",
            THOUSAND,
            (
                Row(
                    THOUSAND,
                    (per_thousand,),
                    f"of one core; {size:,} were watched for {effort.idle_seconds:g} s, "
                    f"with a ping every {PATIENT.ping_interval:g} s",
                ),
            ),
        ),
    ]


# --- sizes ---------------------------------------------------------------------------------------


def _sizes(effort: Effort) -> list[Table]:
    measured = []
    for size in (1024, 16 * 1024, 256 * 1024):
        # Nobody knows the field, so all have to skip it; ours has to do so within one pass.
        orders = frames.orders(memo=["0123456789abcde"] * ((size - 300) // 18))
        subjects = [
            Subject(name, over(function, orders), note, len(orders))
            for name, function, note in (
                ("topone_proto.decode", decode, "Decimals, enums"),
                ("msgspec, typed Struct", peers.msgspec_order, "Decimals, enums"),
                ("json.loads", json.loads, "dict of strings and numbers"),
            )
        ]
        rows = interleave(subjects, effort)
        title = f"An order update of {size // 1024} KiB"
        measured.append(
            Table(f"scale/frame-{size // 1024}", title, "s", "msgspec, typed Struct", rows)
        )
    return measured
