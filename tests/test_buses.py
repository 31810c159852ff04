"""The conformance scenarios of a bus, against real servers of NATS and of Valkey.

One server a bus for the whole module; every test has accounts of its own.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
import pytest_asyncio

import topone_nats
import topone_redis
from bus_servers import NatsServer, Server, ValkeyServer, running
from proxies import fault_proxy
from topone_relay import (
    Bus,
    BusUnavailable,
    Fenced,
    Lease,
    Message,
    Received,
)
from waits import PATIENCE

pytestmark = pytest.mark.asyncio
TTL = 1.0
LONG = 60.0
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["nats", "redis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    server = NatsServer(folder) if request.param == "nats" else ValkeyServer(folder)
    with running(server):
        yield server


@pytest.fixture
def account() -> str:
    return f"account {next(_numbers)}"


@pytest_asyncio.fixture
async def bus(server: Server) -> AsyncIterator[Bus]:
    async with connect(server) as bus:
        yield bus


@pytest_asyncio.fixture
async def other(server: Server) -> AsyncIterator[Bus]:
    async with connect(server) as bus:
        yield bus


def connect(server: Server, address: str | None = None, **options: Any) -> Bus:
    address = address or server.address
    if server.kind == "nats":
        return topone_nats.connect(f"nats://{address}", **options)
    return topone_redis.connect(f"redis://{address}", **options)


async def take(reading: AsyncGenerator[Received], number: int) -> list[Received]:
    """Return the next things that a reader gives."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(reading) for _ in range(number)]


async def messages(bus: Bus, account: str, number: int, start: str | None = None) -> list[bytes]:
    """Return messages from a place on, without their places."""
    async with aclosing(bus.read(account, start)) as reading:
        return [each.data for each in await take(reading, number) if isinstance(each, Message)]


async def acquire(bus: Bus, account: str, holder: str = "one", ttl: float = TTL) -> Lease:
    """Return a lease, waiting for another one to end."""
    async with asyncio.timeout(PATIENCE):
        while True:
            lease = await bus.acquire(account, holder, ttl)
            if lease is not None:
                return lease
            await asyncio.sleep(0.05)


# --- Leases


async def test_of_two_that_ask_one_gets_the_lease(bus: Bus, other: Bus, account: str) -> None:
    found = await asyncio.gather(
        bus.acquire(account, "one", TTL), other.acquire(account, "two", TTL)
    )
    assert sum(each is not None for each in found) == 1
    assert await bus.acquire(account, "one", TTL) is None
    assert await other.acquire(account, "two", TTL) is None


async def test_a_lease_that_is_not_renewed_ends(bus: Bus, other: Bus, account: str) -> None:
    first = await acquire(bus, account)
    second = await acquire(other, account, "two")
    assert second.epoch > first.epoch
    assert await bus.renew(first) is False
    assert await other.renew(second) is True


async def test_a_renewed_lease_stays(bus: Bus, other: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    for _ in range(5):
        await asyncio.sleep(TTL / 3)
        assert await bus.renew(lease) is True
        assert await other.acquire(account, "two", TTL) is None


async def test_a_released_lease_is_free_at_once(bus: Bus, other: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    await bus.release(lease)
    after = await other.acquire(account, "two", TTL)
    assert after is not None
    assert after.epoch > lease.epoch
    await bus.release(lease)
    assert await other.renew(after) is True
    assert await bus.renew(lease) is False


async def test_epochs_grow_for_ever(bus: Bus, account: str) -> None:
    epochs = []
    for way in ("release", "expire", "release", "release"):
        lease = await acquire(bus, account)
        epochs.append(lease.epoch)
        if way == "release":
            await bus.release(lease)
    assert epochs == sorted(set(epochs))


async def test_the_cluster_shows_leases_and_members(bus: Bus, other: Bus, account: str) -> None:
    strange = f"{account} *.>/é"
    lease = await acquire(bus, account)
    odd = await acquire(bus, strange, "node 2")
    await bus.announce("node 1", b"info", TTL)
    await bus.announce("node 2", b"more", TTL)
    found = await other.cluster()
    assert found.leases[account] == lease
    assert found.leases[strange] == odd
    assert found.members["node 1"] == b"info"
    await bus.renew(lease)
    await bus.leave("node 1")
    await bus.leave("node 1")
    await bus.release(odd)
    found = await other.cluster()
    assert found.leases[account] == lease
    assert strange not in found.leases
    assert "node 1" not in found.members
    async with asyncio.timeout(PATIENCE):
        while found.members or account in found.leases:
            await asyncio.sleep(0.05)
            found = await other.cluster()


# --- Publishing


async def test_messages_are_read_in_order(bus: Bus, other: Bus, account: str) -> None:
    lease = await acquire(bus, account, ttl=TTL)
    sent = [f"message {number}".encode() for number in range(1, 601)]
    places = [await bus.publish(lease, number, data) for number, data in enumerate(sent, 1)]
    assert len(set(places)) == len(places)
    async with aclosing(other.read(account)) as reading:
        found = await take(reading, len(sent))
        assert found == [Message(data, place) for data, place in zip(sent, places, strict=True)]
        waiting = asyncio.create_task(take(reading, 1))
        place = await bus.publish(lease, 601, b"live")
        assert await waiting == [Message(b"live", place)]


async def test_reading_begins_at_a_place(bus: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    places = [await bus.publish(lease, number, b"%d" % number) for number in (1, 2, 3, 4)]
    assert await messages(bus, account, 2, places[2]) == [b"3", b"4"]
    assert await messages(bus, account, 4, places[0]) == [b"1", b"2", b"3", b"4"]


async def test_accounts_are_apart(bus: Bus, account: str) -> None:
    names = [account, f"{account}.", f"{account}=20", account.upper()]
    for name in names:
        lease = await acquire(bus, name)
        await bus.publish(lease, 1, name.encode())
        await bus.publish(lease, 2, b"more")
    for name in names:
        assert await messages(bus, name, 2) == [name.encode(), b"more"]


async def test_an_old_holder_that_wakes_is_fenced(bus: Bus, other: Bus, account: str) -> None:
    old = await acquire(bus, account)
    await bus.publish(old, 1, b"old 1")
    new = await acquire(other, account, "two")
    await other.publish(new, 1, b"new 1")
    with pytest.raises(Fenced) as fenced:
        await bus.publish(old, 2, b"old 2")
    assert (fenced.value.account, fenced.value.epoch) == (account, old.epoch)
    await other.publish(new, 2, b"new 2")
    assert await messages(bus, account, 3) == [b"old 1", b"new 1", b"new 2"]


async def test_a_holder_that_slept_before_its_first_message_is_fenced(
    bus: Bus, other: Bus, account: str
) -> None:
    old = await acquire(bus, account)
    new = await acquire(other, account, "two")
    await other.publish(new, 1, b"new 1")
    with pytest.raises(Fenced):
        await bus.publish(old, 1, b"old 1")
    assert await messages(bus, account, 1) == [b"new 1"]


async def test_a_new_holder_gets_past_the_last_words_of_the_old(
    bus: Bus, other: Bus, account: str
) -> None:
    old = await acquire(bus, account)
    await bus.publish(old, 1, b"old 1")
    new = await acquire(other, account, "two")
    # Whether the bus still takes this one is up to it. Nothing may come behind `new 1`.
    with suppress(Fenced):
        await bus.publish(old, 2, b"old 2")
    await other.publish(new, 1, b"new 1")
    await other.publish(new, 2, b"new 2")
    with pytest.raises(Fenced):
        await bus.publish(old, 3, b"old 3")
    found = await messages(bus, account, 3)
    if found[1] == b"old 2":
        found = await messages(bus, account, 4)
        del found[1]
    assert found == [b"old 1", b"new 1", b"new 2"]


async def test_a_message_whose_acknowledgement_was_lost_is_stored_once(
    server: Server, account: str
) -> None:
    with fault_proxy(server.address) as proxy:
        through = f"127.0.0.1:{proxy.port}"
        async with connect(server, through, prefix="long", timeout=0.5) as bus:
            lease = await acquire(bus, account, ttl=LONG)
            await again(bus, lease, 1, b"1")
            proxy.mute()
            with pytest.raises(BusUnavailable):
                await bus.publish(lease, 2, b"2")
            proxy.heal()
            place = await again(bus, lease, 2, b"2")
            assert await again(bus, lease, 2, b"2") == place
            await again(bus, lease, 3, b"3")
            assert await messages(bus, account, 3) == [b"1", b"2", b"3"]


async def again(bus: Bus, lease: Lease, number: int, data: bytes) -> str:
    """Publish as a holder does after a failure."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await bus.publish(lease, number, data)
            except BusUnavailable:
                await asyncio.sleep(0.05)
