"""A bus that is cut off, silent, paused or started again, on real servers of NATS and of Valkey."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from bus_plays import LONG, acquire, again, connect, messages, take, take_messages
from bus_servers import Server, paused
from proxies import FaultProxy, fault_proxy
from topone_relay import Bus, BusUnavailable, Interrupted, Lease, Message, Restored
from waits import PATIENCE

pytestmark = pytest.mark.asyncio


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with fault_proxy(server.address) as proxy:
        yield proxy


def through(proxy: FaultProxy) -> str:
    return f"127.0.0.1:{proxy.port}"


async def test_a_reader_goes_on_where_it_was_cut(
    server: Server, bus: Bus, account: str, proxy: FaultProxy
) -> None:
    lease = await acquire(bus, account)
    sent = [b"%d" % number for number in range(1, 301)]
    for number, data in enumerate(sent[:100], 1):
        await bus.publish(lease, number, data)
    async with connect(server, through(proxy)) as far, aclosing(far.read(account)) as reading:
        assert await take_messages(reading, 50) == sent[:50]
        proxy.refuse()
        for number, data in enumerate(sent[100:], 101):
            await bus.publish(lease, number, data)
        # What had arrived already may come first.
        found: list[bytes] = []
        while not isinstance(received := (await take(reading, 1))[0], Interrupted):
            assert isinstance(received, Message)
            found.append(received.data)
        proxy.revive()
        assert await take(reading, 1) == [Restored()]
        found += await take_messages(reading, 250 - len(found))
        assert found == sent[50:]
        place = await bus.publish(lease, 301, b"live")
        assert await take(reading, 1) == [Message(b"live", place)]


async def test_a_reader_goes_on_behind_what_it_took_at_once(
    server: Server, bus: Bus, account: str, proxy: FaultProxy
) -> None:
    lease = await acquire(bus, account)
    taken: list[Message] = []
    has_come = asyncio.Event()

    def take_all(message: Message) -> bool:
        taken.append(message)
        has_come.set()
        return True

    async def until(number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(taken) < number:
                has_come.clear()
                await has_come.wait()

    sent = [Message(b"1", await bus.publish(lease, 1, b"1"))]
    far = connect(server, through(proxy))
    async with far, aclosing(far.read(account, None, take_all)) as reading:
        waiting = asyncio.create_task(take(reading, 2))
        await until(1)
        for number in (2, 3):
            sent.append(Message(b"%d" % number, await bus.publish(lease, number, b"%d" % number)))
            await until(number)
        proxy.refuse()
        sent.append(Message(b"4", await bus.publish(lease, 4, b"4")))
        proxy.revive()
        interrupted, restored = await waiting
        assert isinstance(interrupted, Interrupted)
        assert restored == Restored()
        waiting = asyncio.create_task(take(reading, 1))
        await until(4)
        sent.append(Message(b"5", await bus.publish(lease, 5, b"5")))
        await until(5)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert taken == sent


async def test_a_reader_notices_a_silent_connection(
    server: Server, bus: Bus, account: str, proxy: FaultProxy
) -> None:
    lease = await acquire(bus, account)
    await bus.publish(lease, 1, b"1")
    far = connect(server, through(proxy), heartbeat=0.2, timeout=1.0)
    async with far, aclosing(far.read(account)) as reading:
        assert await take_messages(reading, 1) == [b"1"]
        proxy.swallow()
        await bus.publish(lease, 2, b"2")
        [received] = await take(reading, 1)
        assert isinstance(received, Interrupted)
        assert proxy.url.removeprefix("ws://") not in str(received)
        proxy.heal()
        assert await take_messages(reading, 1) == [b"2"]


async def test_calls_to_a_bus_that_is_away_fail_soon(
    server: Server, account: str, proxy: FaultProxy
) -> None:
    async with connect(server, through(proxy), timeout=1.0) as bus:
        lease = await acquire(bus, account)
        proxy.refuse()
        with pytest.raises(BusUnavailable) as failure:
            await bus.publish(lease, 1, b"1")
        assert "127.0.0.1" not in str(failure.value)
        with pytest.raises(BusUnavailable):
            await bus.renew(lease)
        with pytest.raises(BusUnavailable):
            await bus.cluster()
        proxy.revive()
        await again(bus, lease, 1, b"1")
        assert await bus.renew(lease)


async def test_every_call_waits_for_its_own_time(
    server: Server, bus: Bus, account: str, proxy: FaultProxy
) -> None:
    async with connect(server, through(proxy), timeout=0.5) as far:
        lease = await acquire(far, account)
        proxy.mute()
        calls: list[asyncio.Task[str]] = []
        for number in (1, 2, 3):
            calls.append(asyncio.create_task(far.publish(lease, number, b"")))
            for _ in range(20):
                # It is under way for a while before the next one.
                await bus.pointer(account)
        async with asyncio.timeout(PATIENCE):
            for call in calls:
                with pytest.raises(BusUnavailable, match="no answer"):
                    await call


async def test_a_bus_may_be_away_at_first(server: Server, account: str, proxy: FaultProxy) -> None:
    proxy.refuse()
    async with connect(server, through(proxy)) as bus, aclosing(bus.read(account)) as reading:
        with pytest.raises(BusUnavailable):
            await bus.acquire(account, "one", LONG)
        [received] = await take(reading, 1)
        assert isinstance(received, Interrupted)
        proxy.revive()
        lease = await acquire(bus, account)
        await again(bus, lease, 1, b"1")
        assert await take_messages(reading, 1) == [b"1"]


async def test_a_message_whose_acknowledgement_was_lost_is_stored_once(
    server: Server, account: str, proxy: FaultProxy
) -> None:
    async with connect(server, through(proxy), timeout=0.5) as bus:
        lease = await acquire(bus, account)
        await again(bus, lease, 1, b"1")
        proxy.mute()
        with pytest.raises(BusUnavailable):
            await bus.publish(lease, 2, b"2")
        proxy.heal()
        place = await again(bus, lease, 2, b"2")
        assert await again(bus, lease, 2, b"2") == place
        await again(bus, lease, 3, b"3")
        assert await messages(bus, account, 3) == [b"1", b"2", b"3"]


async def test_a_lease_whose_acknowledgement_was_lost_is_found(
    server: Server, other: Bus, account: str, proxy: FaultProxy
) -> None:
    async with connect(server, through(proxy), timeout=0.5) as bus:
        await acquire(bus, f"{account} b")
        proxy.mute()
        with pytest.raises(BusUnavailable):
            await bus.acquire(account, "one", LONG)
        proxy.heal()
        async with asyncio.timeout(PATIENCE):
            while account not in (await other.cluster()).leases:
                await other.pointer(account)
        assert await other.acquire(account, "two", LONG) is None
        lease = await acquire(bus, account)
        assert (await other.cluster()).leases[account] == lease
        await again(bus, lease, 1, b"1")
        proxy.mute()
        with pytest.raises(BusUnavailable):
            await bus.renew(lease)
        proxy.heal()
        assert await renewed(bus, lease)
        assert (await other.cluster()).leases[account] == lease


async def renewed(bus: Bus, lease: Lease) -> bool:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await bus.renew(lease)
            except BusUnavailable:
                await asyncio.sleep(0.05)


async def test_a_server_that_is_paused_loses_nothing(server: Server, account: str) -> None:
    async with connect(server, timeout=0.5) as bus, aclosing(bus.read(account)) as reading:
        lease = await acquire(bus, account)
        await again(bus, lease, 1, b"1")
        assert await take_messages(reading, 1) == [b"1"]
        with paused(server), pytest.raises(BusUnavailable):
            await bus.publish(lease, 2, b"2")
        await again(bus, lease, 2, b"2")
        await again(bus, lease, 3, b"3")
        assert await take_messages(reading, 2) == [b"2", b"3"]


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_server_that_is_started_again_has_what_it_acknowledged(
    server: Server, bus: Bus, account: str, way: str
) -> None:
    lease = await acquire(bus, account)
    places = [await bus.publish(lease, number, b"%d" % number) for number in (1, 2)]
    await bus.point(lease, 1, places[0])
    await bus.keep_bookmark(account, "reader", b"bookmark")
    await bus.swap_state(account, b"state", b"")
    async with aclosing(bus.read(account)) as reading:
        assert await take_messages(reading, 2) == [b"1", b"2"]
        getattr(server, way)()
        [received] = await take(reading, 1)
        assert isinstance(received, Interrupted)
        with pytest.raises(BusUnavailable):
            await bus.publish(lease, 3, b"3")
        server.start()
        assert await take(reading, 1) == [Restored()]
        assert await again(bus, lease, 2, b"2") == places[1]
        await again(bus, lease, 3, b"3")
        assert await take_messages(reading, 1) == [b"3"]
    assert await bus.renew(lease)
    assert await bus.load_state(account) == b"state"
    assert await bus.bookmark(account, "reader") == b"bookmark"
    pointer = await bus.pointer(account)
    assert pointer is not None
    assert await messages(bus, account, 3, pointer.place) == [b"1", b"2", b"3"]
    await bus.release(lease)
    assert (await acquire(bus, account)).epoch > lease.epoch
