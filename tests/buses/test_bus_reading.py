"""Publishing to a bus and reading from it, on real servers of NATS and of Valkey."""

import asyncio
from contextlib import aclosing
from typing import Any

import nats
import pytest
import redis.asyncio

import topone_nats
import topone_redis
from bus_plays import acquire, connect, messages, take, take_messages
from bus_servers import Server
from proxies import fault_proxy
from topone_relay import Bus, BusRefused, Message
from waits import PATIENCE

pytestmark = pytest.mark.asyncio


async def test_messages_are_read_in_order(bus: Bus, other: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    sent = [f"message {number}".encode() for number in range(1, 601)]
    places = [await bus.publish(lease, number, data) for number, data in enumerate(sent, 1)]
    assert len(set(places)) == len(places)
    async with aclosing(other.read(account)) as reading:
        found = await take(reading, len(sent))
        assert found == [Message(data, place) for data, place in zip(sent, places, strict=True)]
        waiting = asyncio.create_task(take(reading, 1))
        place = await bus.publish(lease, 601, b"live")
        assert await waiting == [Message(b"live", place)]


async def test_a_message_says_how_old_it_is_and_whether_it_is_the_last(
    bus: Bus, other: Bus, account: str
) -> None:
    clock = asyncio.get_running_loop().time
    lease = await acquire(bus, account)
    published: list[float] = []
    for number in range(1, 301):
        await bus.publish(lease, number, b"%d" % number)
        published.append(clock())
    async with aclosing(other.read(account)) as reading:
        for at in published:
            [received] = await take(reading, 1)
            assert isinstance(received, Message)
            assert received.age is not None
            # The server's clock is cut to milliseconds, and may be set while this runs.
            assert clock() - at - 0.5 < received.age < clock() - published[0] + 0.5
            assert received.is_last is (at == published[-1])
        await bus.publish(lease, 301, b"live")
        [received] = await take(reading, 1)
        assert isinstance(received, Message)
        assert received.is_last
        assert received.age is not None
        assert received.age < PATIENCE


async def test_what_is_taken_at_once_is_not_yielded(bus: Bus, other: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    found: list[bytes] = []
    taken: list[bytes] = []
    has_come = asyncio.Event()

    def see(message: Message) -> None:
        found.append(message.data)
        has_come.set()

    def take_even(message: Message) -> bool:
        if int(message.data) % 2:
            return False
        taken.append(message.data)
        see(message)
        return True

    async def read() -> None:
        async with aclosing(other.read(account, None, take_even)) as reading:
            async for received in reading:
                assert isinstance(received, Message)
                see(received)

    sent = [b"%d" % number for number in range(1, 601)]
    await bus.publish(lease, 1, sent[0])
    task = asyncio.create_task(read())
    for number, data in enumerate(sent[1:], 2):
        await bus.publish(lease, number, data)
        while number % 7 and len(found) < number:
            # Most come while the reader waits.
            has_come.clear()
            async with asyncio.timeout(PATIENCE):
                await has_come.wait()
    assert found == sent
    assert 200 <= len(taken) <= 300
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_what_taking_raises_comes_out_of_the_iteration(bus: Bus, account: str) -> None:
    def take_none(message: Message) -> bool:
        raise LookupError(message.data)

    lease = await acquire(bus, account)
    await bus.publish(lease, 1, b"1")
    async with aclosing(bus.read(account, None, take_none)) as reading:
        waiting = asyncio.create_task(take(reading, 1))
        with pytest.raises(LookupError, match="1"):
            await waiting


async def test_nothing_is_offered_behind_what_taking_raised_for(bus: Bus, account: str) -> None:
    offered: list[bytes] = []

    def take_none(message: Message) -> bool:
        offered.append(message.data)
        raise LookupError(message.data)

    lease = await acquire(bus, account)
    for number in range(1, 201):
        await bus.publish(lease, number, b"%d" % number)
    async with aclosing(bus.read(account, None, take_none)) as reading:
        waiting = asyncio.create_task(take(reading, 1))
        with pytest.raises(LookupError, match="1"):
            await waiting
    assert offered == [b"1"]


async def test_reading_begins_at_a_place(bus: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    places = [await bus.publish(lease, number, b"%d" % number) for number in (1, 2, 3, 4)]
    assert await messages(bus, account, 2, places[2]) == [b"3", b"4"]
    assert await messages(bus, account, 4, places[0]) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("place", ["", "x", "1-x", "-1", "9:9"])
async def test_a_place_that_is_none_is_refused(bus: Bus, account: str, place: str) -> None:
    with pytest.raises(BusRefused, match="no place on this bus"):
        await messages(bus, account, 1, place)


async def test_a_message_can_be_anything(bus: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    sent = [b"", b"\0\r\n", bytes(range(256)) * 1000]
    for number, data in enumerate(sent, 1):
        await bus.publish(lease, number, data)
    assert await messages(bus, account, 3) == sent


async def test_a_message_that_is_repeated_is_stored_once(bus: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    for number in (1, 2, 3):
        place = await bus.publish(lease, number, b"%d" % number)
        assert await bus.publish(lease, number, b"%d" % number) == place
    assert await messages(bus, account, 3) == [b"1", b"2", b"3"]


async def test_accounts_are_apart(bus: Bus, account: str) -> None:
    names = [account, f"{account}.", f"{account}=20", account.upper()]
    for name in names:
        lease = await acquire(bus, name)
        await bus.publish(lease, 1, name.encode())
        await bus.publish(lease, 2, b"more")
    for name in names:
        assert await messages(bus, name, 2) == [name.encode(), b"more"]


async def test_a_reader_that_stops_holds_little(server: Server, bus: Bus, account: str) -> None:
    lease = await acquire(bus, account)
    small, large = 10_000, 200_000
    sizes = [large if number % 25 == 0 else small for number in range(1000)]
    for number, size in enumerate(sizes, 1):
        await bus.publish(lease, number, b"x" * size)
    with fault_proxy(server.address) as proxy:
        async with (
            connect(server, f"127.0.0.1:{proxy.port}") as slow,
            aclosing(slow.read(account)) as reading,
        ):
            first = await take_messages(reading, 1)
            before = -1
            while before != proxy.answered:
                # Whatever else comes, comes while another bus is asked a few things.
                before = proxy.answered
                for _ in range(50):
                    await bus.pointer(account)
            assert before < sum(sizes) / 2
            rest = await take_messages(reading, len(sizes) - 1)
    assert [len(each) for each in first + rest] == sizes


async def test_what_was_dropped_is_skipped(server: Server, account: str) -> None:
    limits: Any = (topone_nats if server.kind == "nats" else topone_redis).StreamLimits
    few = limits(max_messages_per_account=10)
    async with connect(server, prefix="few", limits=few) as bus:
        lease = await acquire(bus, account)
        sent = [b"%d" % number for number in range(1, 31)]
        places = [await bus.publish(lease, number, data) for number, data in enumerate(sent, 1)]
        assert await messages(bus, account, 10, places[0]) == sent[-10:]
        assert await messages(bus, account, 10) == sent[-10:]
        assert await messages(bus, account, 5, places[25]) == sent[-5:]


async def test_somebody_elses_bytes_pass_and_disturb_nobody(
    server: Server, bus: Bus, account: str
) -> None:
    lease = await acquire(bus, account)
    await bus.publish(lease, 1, b"1")
    await add_garbage(server, account, b"\xff garbage")
    place = await bus.publish(lease, 2, b"2")
    await add_garbage(server, account, b"more")
    assert await bus.publish(lease, 2, b"2") == place
    await bus.publish(lease, 3, b"3")
    found = await messages(bus, account, 5)
    assert found == [b"1", b"\xff garbage", b"2", b"more", b"3"]


async def add_garbage(server: Server, account: str, data: bytes) -> None:
    token = account.replace(" ", "=20")
    if server.kind == "nats":
        client = await nats.connect(f"nats://{server.address}")
        await client.jetstream().publish(f"topone.{token}", data)
        await client.close()
        return
    async with redis.asyncio.Redis.from_url(f"redis://{server.address}") as raw:
        await raw.xadd(f"{{topone}}:messages:{token}", {"what": data})


async def test_a_reader_may_come_before_everything(server: Server, account: str) -> None:
    prefix = account.replace(" ", "-")
    async with connect(server, prefix=prefix) as bus:
        assert await bus.pointer(account) is None
        assert await bus.bookmark(account, "reader") == b""
        async with aclosing(bus.read(account)) as reading:
            waiting = asyncio.create_task(take_messages(reading, 1))
            lease = await acquire(bus, account)
            await bus.publish(lease, 1, b"1")
            assert await waiting == [b"1"]


async def test_closing_the_bus_ends_its_readers(server: Server, account: str) -> None:
    bus = connect(server)
    lease = await acquire(bus, account)
    await bus.publish(lease, 1, b"1")
    reading = bus.read(account)
    assert await take_messages(reading, 1) == [b"1"]

    async def rest() -> list[Any]:
        return [each async for each in reading]

    task = asyncio.create_task(rest())
    await bus.pointer(account)
    await bus.close()
    async with asyncio.timeout(PATIENCE):
        assert await task == []
    async with asyncio.timeout(PATIENCE):
        assert [each async for each in bus.read(account)] == []
