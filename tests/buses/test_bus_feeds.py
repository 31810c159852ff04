"""Feeds over real servers of NATS and of Valkey, in all three ways: restarts and lost messages."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import topone_nats
import topone_redis
from bus_plays import acquire, again, connect
from bus_servers import Server
from relayed import BEGINNING, DOORS, WHOLE, Seen, after, follow, message, update
from topone_proto import BALANCE, ORDERS, Gap, Resumed, Stalled
from topone_proto.account import Account, Knowledge, RelayEvent
from topone_proto.relay._freshness import BACKLOG, BUS
from topone_proto.relay.feed_core import FeedPosition
from topone_relay import Bus, Lease
from topone_relay._feed import RelayFeedOpening
from waits import PATIENCE


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(len(DOORS)) as pool:
        yield pool


def open_feed(server: Server, **options: Any) -> RelayFeedOpening:
    """Open a feed as a program does."""
    module = topone_nats if server.kind == "nats" else topone_redis
    opening: RelayFeedOpening = module.open_feed(f"{server.kind}://{server.address}", **options)
    return opening


def run(work: Coroutine[Any, Any, Lease]) -> Lease:
    return asyncio.run(work)


async def hold(bus: Bus, account: str, *messages: bytes) -> Lease:
    """Take the account, and publish its first messages."""
    async with bus:
        lease = await acquire(bus, account)
        for number, data in enumerate(messages, 1):
            place = await bus.publish(lease, number, data)
            if number == 2:
                await bus.point(lease, 2, place)
    return lease


def written(account: str, count: int) -> list[bytes]:
    """Return the first messages of an account."""
    return [
        message(1, *BEGINNING, account=account),
        message(2, WHOLE, account=account),
        *(message(number, update(number), account=account) for number in range(3, count + 1)),
    ]


def test_a_server_that_starts_again_is_a_stall_and_nothing_else(
    server: Server, account: str, pool: ThreadPoolExecutor
) -> None:
    lease = run(hold(connect(server), account, *written(account, 2)))
    whole, stalled = threading.Semaphore(0), threading.Semaphore(0)

    def then(event: RelayEvent) -> None:
        if event == WHOLE:
            whole.release()
        elif isinstance(event, Stalled):
            stalled.release()

    def followed(door: str) -> Seen:
        return follow(door, open_feed(server, account=account), until=after(5), then=then)

    async def publish(data: bytes) -> Lease:
        async with connect(server) as bus:
            await again(bus, lease, 3, data)
        return lease

    futures: list[Future[Seen]] = [pool.submit(followed, door) for door in DOORS]
    assert all(whole.acquire(timeout=PATIENCE) for _ in DOORS)
    server.kill()
    assert all(stalled.acquire(timeout=PATIENCE) for _ in DOORS)
    server.start()
    run(publish(message(3, update(1), update(2), account=account)))
    for future in futures:
        events = future.result(PATIENCE).events
        assert isinstance(events[1], Stalled)
        assert events[1].reason == BUS
        assert [events[0], *events[2:]] == [WHOLE, update(1), update(2), Resumed()]


def test_a_place_that_the_bus_has_dropped_is_a_gap_and_then_a_snapshot(
    server: Server, account: str, pool: ThreadPoolExecutor
) -> None:
    limits: Any = (topone_nats if server.kind == "nats" else topone_redis).StreamLimits
    options = {"prefix": "few", "limits": limits(max_messages_per_account=4)}
    messages = written(account, 8)
    lease = run(hold(connect(server, **options), account, *messages[:2]))
    feed = open_feed(server, account=account, prefix="few")
    seen = follow("threads", feed, until=after(1))
    assert seen.events == [WHOLE]

    async def publish() -> Lease:
        async with connect(server, **options) as bus:
            for number, data in enumerate(messages[2:7], 3):
                await bus.publish(lease, number, data)
            await bus.publish(lease, 8, message(8, WHOLE, update(8), account=account))
        return lease

    run(publish())

    def followed(door: str) -> list[RelayEvent]:
        opening = open_feed(server, account=account, prefix="few", position=seen.position)
        return follow(door, opening, until=after(10), with_backlog=True).events

    for events in pool.map(followed, DOORS):
        assert events == [
            Stalled(BACKLOG, "they were published before it read on"),
            Gap(ORDERS, None, None, 0),
            Gap(BALANCE, None, None, 0),
            Gap(BALANCE, None, 5, 0),
            *map(update, (5, 6, 7)),
            WHOLE,
            update(8),
            Resumed(),
        ]
        account_of_it, known = Account(), set[Knowledge]()
        for event in events:
            known.add(account_of_it.knowledge(BALANCE))
            account_of_it.apply(event)
        assert Knowledge.WHOLE not in known
        assert account_of_it.knowledge(BALANCE) is Knowledge.WHOLE


def test_what_a_server_lost_in_a_crash_is_a_gap_and_then_a_snapshot(
    server: Server, account: str, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """A server that does not write everything to its disk at once loses the end of it."""
    messages = written(account, 8)
    lease = run(hold(connect(server), account, *messages[:3]))
    server.back_up(tmp_path / "backup")

    async def publish(first: int, *more: bytes) -> Lease:
        async with connect(server) as bus:
            for number, data in enumerate(more, first):
                await again(bus, lease, number, data)
        return lease

    run(publish(4, *messages[3:5]))
    seen = follow("threads", open_feed(server, account=account), until=after(4))
    assert seen.events == [WHOLE, update(3), update(4), update(5)]
    server.restore(tmp_path / "backup")
    run(publish(6, *messages[5:], message(9, WHOLE, update(9), account=account)))

    def followed(door: str, position: FeedPosition | None) -> list[RelayEvent]:
        opening = open_feed(server, account=account, position=position)
        return follow(door, opening, until=lambda events: events[-1] == update(9)).events

    for events in pool.map(partial(followed, position=seen.position), DOORS):
        if server.kind == "nats":
            # It gives the numbers of what it lost to others, which are behind this reader then.
            assert events[:2] == [Gap(ORDERS, None, None, 0), Gap(BALANCE, None, None, 0)]
            assert events[-2:] == [WHOLE, update(9)]
        else:
            assert events == [*map(update, (6, 7, 8)), WHOLE, update(9)]
    missing = Gap(BALANCE, since_ts=3, until_ts=None, epoch=0)
    for events in pool.map(partial(followed, position=None), DOORS):
        assert events == [WHOLE, update(3), missing, *map(update, (6, 7, 8)), WHOLE, update(9)]
