"""The bus on Redis and Valkey alone: what operators, other programs and a full memory do to it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from redis.asyncio.connection import Connection

import topone_redis
from bus_plays import LONG, SHORT, STRANGE, acquire, messages
from bus_servers import Server, ValkeyServer, running
from topone_redis._errors import as_bus_errors
from topone_relay import Bus, BusRefused, BusUnavailable, Fenced, Lease, Message
from waits import PATIENCE

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(ValkeyServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest_asyncio.fixture
async def bus(server: Server) -> AsyncIterator[Bus]:
    async with topone_redis.connect(f"redis://{server.address}") as bus:
        yield bus


@pytest_asyncio.fixture
async def raw(server: Server) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(f"redis://{server.address}") as raw:
        yield raw
        await raw.config_set("maxmemory", 0)
        await raw.flushall()


async def test_a_server_that_has_lost_everything_is_no_danger(bus: Bus, raw: Any) -> None:
    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    await raw.flushall()
    await raw.script_flush()
    with pytest.raises(Fenced):
        await bus.publish(lease, 2, b"2")
    assert not await bus.renew(lease)
    later = await acquire(bus, "main")
    assert later.epoch > lease.epoch
    await bus.publish(later, 1, b"later 1")
    assert await messages(bus, "main", 1) == [b"later 1"]


async def test_a_bus_that_is_closed_while_it_dials_leaves_no_connection(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dialling, may_dial = asyncio.Event(), asyncio.Event()
    dialled: list[Connection] = []
    dial: Any = Connection._connect

    async def dial_slowly(self: Connection) -> None:
        dialled.append(self)
        is_dialling.set()
        await may_dial.wait()
        await dial(self)

    monkeypatch.setattr(Connection, "_connect", dial_slowly)
    call = asyncio.create_task(bus.pointer("main"))
    await is_dialling.wait()
    await bus.close()
    may_dial.set()
    assert await call is None
    assert [connection.is_connected for connection in dialled] == [False]


async def test_a_server_that_is_full_says_so(bus: Bus, raw: Any) -> None:
    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    await raw.config_set("maxmemory", 1)
    with pytest.raises(BusUnavailable, match="maxmemory"):
        await bus.publish(lease, 2, b"2")
    await raw.config_set("maxmemory", 0)
    await bus.publish(lease, 2, b"2")
    assert await messages(bus, "main", 2) == [b"1", b"2"]


@pytest.mark.parametrize("data", STRANGE, ids=["bytes", "text", "types", "depth"])
async def test_strange_entries_are_passed_over(bus: Bus, raw: Any, data: bytes) -> None:
    lease = await acquire(bus, "main")
    await raw.hset("{topone}:leases", "strange", data)
    await raw.hset("{topone}:members", "strange", data)
    await raw.set("{topone}:pointer:main", data)
    found = await bus.cluster()
    assert found.leases == {"main": lease}
    assert found.members == {}
    assert await bus.pointer("main") is None
    await bus.point(lease, 1, "1-1")
    assert await bus.pointer("main") is not None


async def test_a_key_of_another_kind_is_refused(bus: Bus, raw: Any) -> None:
    await raw.set("{topone}:messages:main", b"x")
    lease = await acquire(bus, "main")
    with pytest.raises(BusRefused, match="WRONGTYPE"):
        await bus.publish(lease, 1, b"1")
    with pytest.raises(BusRefused, match="WRONGTYPE"):
        await messages(bus, "main", 1)


async def test_messages_of_one_moment_have_places_of_their_own(bus: Bus, raw: Any) -> None:
    for place in ("5-0", "5-1", "6-0"):
        await raw.xadd("{topone}:messages:main", {"data": place}, place)
    assert await messages(bus, "main", 3, "0-0") == [b"5-0", b"5-1", b"6-0"]
    assert await messages(bus, "main", 2, "5-1") == [b"5-1", b"6-0"]
    assert await messages(bus, "main", 1, "6-0") == [b"6-0"]


async def test_the_age_of_a_message_is_that_of_the_servers_clock(bus: Bus, raw: Any) -> None:
    await raw.xadd("{topone}:messages:main", {"data": "old"}, "1-1")
    async with aclosing(bus.read("main")) as reading:
        received = await anext(reading)
        assert isinstance(received, Message)
        assert received.age is not None
        assert received.age > 1e9


async def test_a_user_that_may_not_ask_for_the_time_reads_without_ages(
    server: Server, raw: Any
) -> None:
    await raw.xadd("{topone}:messages:main", {"data": "old"})
    rights = ["resetchannels", "~*", "-@all", "+xread", "+ping", "+select", "+client|setinfo"]
    await raw.execute_command("ACL", "SETUSER", "timeless", "on", ">x", *rights)
    url = f"redis://{server.address}"
    try:
        async with (
            topone_redis.connect(url, username="timeless", password="x") as bus,
            aclosing(bus.read("main")) as reading,
        ):
            received = await anext(reading)
            assert isinstance(received, Message)
            assert received.age is None
            await raw.xadd("{topone}:messages:main", {"data": "live"})
            received = await anext(reading)
            assert isinstance(received, Message)
            assert received.age is not None
    finally:
        await raw.execute_command("ACL", "DELUSER", "timeless")


@pytest.mark.parametrize("is_looked_at", [True, False])
async def test_a_dead_holder_is_replaced_though_the_servers_clock_was_set_back(
    server: Server, bus: Bus, raw: Any, is_looked_at: bool
) -> None:
    """Its entries would last for an hour more."""
    later = int((await raw.time())[0] + 3600) * 1000
    await raw.hset("{topone}:leases", "main", f"7 {later} a-bus one")
    await raw.hset("{topone}:members", "one", f"{later} its info")
    if is_looked_at:
        await bus.announce("two", b"", SHORT)
        found = await bus.cluster()
        assert found.leases == {"main": Lease("main", "one", 7)}
        assert found.members == {"one": b"its info", "two": b""}
    async with asyncio.timeout(PATIENCE):
        while "main" in (await bus.cluster()).leases or not is_looked_at:
            if not is_looked_at and await bus.acquire("main", "two", SHORT) is not None:
                return
            await asyncio.sleep(0.05)
    assert (await bus.cluster()).members == {}


async def test_limits_can_be_kept_roughly(server: Server, raw: Any) -> None:
    limits = topone_redis.StreamLimits(max_messages_per_account=10, exact=False)
    async with topone_redis.connect(f"redis://{server.address}", limits=limits) as bus:
        lease = await acquire(bus, "main")
        for number in range(1, 501):
            await bus.publish(lease, number, b"x")
    assert 10 <= await raw.xlen("{topone}:messages:main") < 300


async def test_old_messages_are_dropped(server: Server, raw: Any) -> None:
    limits = topone_redis.StreamLimits(max_age=3600.0)
    async with topone_redis.connect(f"redis://{server.address}", limits=limits) as bus:
        lease = await acquire(bus, "main")
        await raw.xadd("{topone}:messages:main", {"data": "old"}, "1-1")
        await bus.publish(lease, 1, b"1")
        assert await messages(bus, "main", 1) == [b"1"]


async def test_a_lease_that_another_bus_has_cannot_be_renewed(server: Server, raw: Any) -> None:
    url = f"redis://{server.address}"
    async with topone_redis.connect(url) as bus, topone_redis.connect(url) as other:
        lease = await acquire(bus, "main")
        assert not await other.renew(lease)
        assert await other.acquire("main", "two", LONG) is None


async def test_a_write_to_a_connection_that_is_lost_is_an_outage() -> None:
    """As asyncio of Python 3.13.0 fails: its transport has no loop any more."""

    async def write(name: str, to: object) -> int:
        written: int = getattr(to, name)
        return written

    with pytest.raises(BusUnavailable, match="the connection is lost"):
        await as_bus_errors("read", write("_add_writer", None), LONG)
    # Any other is a fault of the program, and no outage.
    for name, to in (("_add_writer", object()), ("other", None)):
        with pytest.raises(AttributeError):
            await as_bus_errors("read", write(name, to), LONG)
