"""Leases, fencing and shared values of a bus, on real servers of NATS and of Valkey."""

import asyncio
from contextlib import suppress

import pytest

from bus_plays import LONG, SHORT, acquire, again, connect, messages, take_over
from bus_servers import Server
from topone_proto import ConfigurationError
from topone_relay import Bus, BusRefused, BusUnavailable, Fenced, Pointer
from waits import PATIENCE

pytestmark = pytest.mark.asyncio


# --- Leases


async def test_of_two_that_ask_one_gets_the_lease(bus: Bus, other: Bus, account: str) -> None:
    found = await asyncio.gather(
        bus.acquire(account, "one", LONG), other.acquire(account, "two", LONG)
    )
    assert sum(each is not None for each in found) == 1
    assert await bus.acquire(account, "one", LONG) is None
    assert await other.acquire(account, "two", LONG) is None


async def test_a_lease_that_is_not_renewed_ends(server: Server, account: str) -> None:
    async with connect(server, prefix="short") as bus, connect(server, prefix="short") as other:
        first = await acquire(bus, account, ttl=SHORT)
        second = await acquire(other, account, "two", ttl=SHORT)
        assert second.epoch > first.epoch
        assert await bus.renew(first) is False


async def test_a_renewed_lease_stays(server: Server, account: str) -> None:
    clock = asyncio.get_running_loop().time
    async with connect(server, prefix="short") as bus, connect(server, prefix="short") as other:
        lease, rounds = await acquire(bus, account, ttl=SHORT), 0
        renewed = clock()
        while rounds < 6:
            await asyncio.sleep(SHORT / 4)
            asked = clock()
            is_held = await bus.renew(lease)
            is_free = await other.acquire(account, "two", SHORT) is not None
            if clock() - renewed > SHORT:
                # The machine was too busy to renew in time: once more.
                lease, rounds = await acquire(bus, account, ttl=SHORT), 0
                renewed = clock()
                continue
            assert is_held
            assert not is_free
            renewed, rounds = asked, rounds + 1


async def test_a_released_lease_is_free_at_once(bus: Bus, other: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    await bus.release(lease)
    after = await other.acquire(account, "two", LONG)
    assert after is not None
    assert after.epoch > lease.epoch
    await bus.release(lease)
    assert await other.renew(after) is True
    assert await bus.renew(lease) is False


async def test_epochs_grow_for_ever(server: Server, account: str) -> None:
    epochs = []
    async with connect(server, prefix="short") as bus:
        for way in ("release", "expire", "release", "release"):
            lease = await acquire(bus, account, ttl=SHORT)
            epochs.append(lease.epoch)
            if way == "release":
                await bus.release(lease)
    assert epochs == sorted(set(epochs))


async def test_the_cluster_shows_leases_and_members(bus: Bus, other: Bus, account: str) -> None:
    strange = f"{account} *.>/é"
    lease = await acquire(bus, account)
    odd = await acquire(bus, strange, "node 2")
    await bus.announce("node 1", b"info", LONG)
    await bus.announce("node 2", b"more", LONG)
    await bus.announce("node 2", b"\0news", LONG)
    found = await other.cluster()
    assert found.leases[account] == lease
    assert found.leases[strange] == odd
    assert found.members == {"node 1": b"info", "node 2": b"\0news"}
    await bus.renew(lease)
    await bus.leave("node 1")
    await bus.leave("node 1")
    await bus.release(odd)
    found = await other.cluster()
    assert found.leases[account] == lease
    assert strange not in found.leases
    assert found.members == {"node 2": b"\0news"}


async def test_who_says_nothing_leaves_the_cluster(server: Server, account: str) -> None:
    async with connect(server, prefix="short") as bus:
        await acquire(bus, account, ttl=SHORT)
        await bus.announce(account, b"info", SHORT)
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await bus.cluster()
                if account not in found.leases and account not in found.members:
                    break
                await asyncio.sleep(0.05)


async def test_a_cluster_of_nobody_is_empty(server: Server) -> None:
    async with connect(server, prefix="nobody") as bus:
        found = await bus.cluster()
    assert (found.leases, found.members) == ({}, {})


async def test_a_name_that_cannot_be_one_is_refused(bus: Bus) -> None:
    for name in ("", "x" * 201):
        with pytest.raises(ConfigurationError):
            await bus.acquire(name, "one", LONG)


# --- Fencing


async def test_an_old_holder_that_wakes_is_fenced(bus: Bus, other: Bus, account: str) -> None:
    old = await acquire(bus, account)
    await bus.publish(old, 1, b"old 1")
    new = await take_over(other, old)
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
    new = await take_over(other, old)
    await other.publish(new, 1, b"new 1")
    with pytest.raises(Fenced):
        await bus.publish(old, 1, b"old 1")
    assert await messages(bus, account, 1) == [b"new 1"]


async def test_a_new_holder_gets_past_the_last_words_of_the_old(
    bus: Bus, other: Bus, account: str
) -> None:
    old = await acquire(bus, account)
    await bus.publish(old, 1, b"old 1")
    new = await take_over(other, old)
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


async def test_of_two_that_write_at_once_the_later_holder_stays(
    bus: Bus, other: Bus, account: str
) -> None:
    """For any order on the wire, nothing of the old one is behind the new one's first."""
    old = await acquire(bus, account)
    await bus.publish(old, 1, b"old")
    new = await take_over(other, old)

    async def write_on() -> None:
        with suppress(Fenced):
            for number in range(2, 50):
                await bus.publish(old, number, b"old")

    async def write() -> None:
        for number in range(1, 20):
            await again(other, new, number, b"new")

    await asyncio.gather(write_on(), write())
    await other.publish(new, 20, b"end")
    found: list[bytes] = []
    for number in range(20, 100):
        found = await messages(bus, account, number)
        if found[-1] == b"end":
            break
    first = found.index(b"new")
    assert found[first:] == [b"new"] * 19 + [b"end"]


# --- What is kept


async def test_the_pointer_only_moves_on(bus: Bus, other: Bus, account: str) -> None:
    assert await other.pointer(account) is None
    old = await acquire(bus, account)
    place = await bus.publish(old, 1, b"1")
    await bus.point(old, 1, place)
    assert await other.pointer(account) == Pointer(old.epoch, 1, place)
    later = await bus.publish(old, 2, b"2")
    await bus.point(old, 2, later)
    await bus.point(old, 1, place)
    assert await other.pointer(account) == Pointer(old.epoch, 2, later)
    assert await messages(other, account, 1, later) == [b"2"]
    new = await take_over(other, old)
    latest = await other.publish(new, 1, b"new 1")
    await other.point(new, 1, latest)
    with pytest.raises(Fenced):
        await bus.point(old, 3, later)
    assert await bus.pointer(account) == Pointer(new.epoch, 1, latest)


async def test_a_bookmark_is_kept_for_each_reader(bus: Bus, other: Bus, account: str) -> None:
    assert await bus.bookmark(account, "risk desk") == b""
    await bus.keep_bookmark(account, "risk desk", b"1")
    await bus.keep_bookmark(account, "dashboard", b"\0\xff")
    await bus.keep_bookmark(account, "risk desk", b"2")
    assert await other.bookmark(account, "risk desk") == b"2"
    assert await other.bookmark(account, "dashboard") == b"\0\xff"


async def test_of_many_that_swap_a_state_each_counts_once(
    bus: Bus, other: Bus, account: str
) -> None:
    assert await bus.load_state(account) == b""
    assert await bus.swap_state(account, b"x", b"not stored") == b""

    async def count(bus: Bus) -> None:
        for _ in range(10):
            present = await bus.load_state(account)
            while True:
                try:
                    found = await bus.swap_state(
                        account, b"%d" % (int(present or b"0") + 1), present
                    )
                except BusUnavailable:  # it lost too often
                    found = await bus.load_state(account)
                if found is None:
                    break
                present = found

    await asyncio.gather(count(bus), count(other), count(bus), count(other))
    assert await other.load_state(account) == b"40"


# --- The ends


async def test_a_closed_bus_says_so(server: Server, account: str) -> None:
    bus = connect(server)
    lease = await acquire(bus, account)
    await bus.close()
    await bus.close()
    with pytest.raises(BusUnavailable, match="closed"):
        await bus.publish(lease, 1, b"1")
    with pytest.raises(BusUnavailable, match="closed"):
        await bus.pointer(account)


async def test_a_ttl_that_differs_is_refused_or_obeyed(bus: Bus, account: str) -> None:
    """A bus that has one ttl for all says so, instead of keeping a lease for longer."""
    await acquire(bus, account)
    try:
        lease = await bus.acquire(f"{account} b", "one", SHORT)
    except BusRefused as refusal:
        assert "1 s are asked for" in str(refusal)
    else:
        assert lease is not None
        await acquire(bus, f"{account} b", "two", SHORT)
