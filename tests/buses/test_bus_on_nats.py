"""The bus on NATS alone: what operators, other programs and full disks do to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

import topone_nats
from bus_plays import LONG, STRANGE, acquire, again, messages, new_account, take, take_messages
from bus_servers import NatsServer, Server, running
from proxies import fault_proxy
from topone_nats._bus import NatsBus
from topone_nats._pull import Pull
from topone_relay import Bus, BusRefused, BusUnavailable, Fenced, Interrupted, Message, Restored
from waits import PATIENCE

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A stream of one's own, to do with as one likes."""
    return new_account().replace(" ", "-")


@pytest_asyncio.fixture
async def bus(server: Server, prefix: str) -> AsyncIterator[Bus]:
    async with topone_nats.connect(f"nats://{server.address}", prefix=prefix) as bus:
        yield bus


@pytest_asyncio.fixture
async def raw(server: Server) -> AsyncIterator[Client]:
    client = await nats.connect(f"nats://{server.address}")
    yield client
    await client.close()


async def test_a_stream_that_is_deleted_is_made_again(bus: Bus, raw: Client, prefix: str) -> None:
    lease = await acquire(bus, "main")
    places = [int(await bus.publish(lease, number, b"old")) for number in (1, 2)]
    async with aclosing(bus.read("main")) as reading:
        await take_messages(reading, 2)
        assert await raw.jetstream().delete_stream(prefix)
        with pytest.raises(BusUnavailable):
            await bus.publish(lease, 3, b"3")
        # Behind every place of the stream that was there before, so readers miss nothing.
        assert int(await again(bus, lease, 3, b"3")) > places[1]
        assert await take_messages(reading, 1) == [b"3"]
    assert await messages(bus, "main", 1, str(places[0])) == [b"3"]


async def test_epochs_grow_even_if_the_leases_are_deleted(
    bus: Bus, raw: Client, prefix: str
) -> None:
    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    assert await raw.jetstream().delete_stream(f"KV_{prefix}-leases")
    with pytest.raises(BusUnavailable):
        await bus.renew(lease)
    later = await acquire(bus, "main", "two")
    assert later.epoch > lease.epoch
    assert not await bus.renew(lease)
    await bus.publish(later, 1, b"later 1")
    with pytest.raises(Fenced):
        await bus.publish(lease, 2, b"2")


async def test_a_consumer_that_is_deleted_is_made_again(bus: Bus, raw: Client, prefix: str) -> None:
    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    manager = raw.jetstream()
    async with aclosing(bus.read("main")) as reading:
        assert await take_messages(reading, 1) == [b"1"]
        waiting = asyncio.create_task(take(reading, 3))
        for consumer in await manager.consumers_info(prefix):
            assert await manager.delete_consumer(prefix, consumer.name)
        await bus.publish(lease, 2, b"2")
        interrupted, restored, message = await waiting
        assert isinstance(interrupted, Interrupted)
        assert restored == Restored()
        assert isinstance(message, Message)
        assert message.data == b"2"


async def test_a_reader_leaves_no_consumer_behind(bus: Bus, raw: Client, prefix: str) -> None:
    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    assert await messages(bus, "main", 1) == [b"1"]
    async with asyncio.timeout(PATIENCE):
        while await raw.jetstream().consumers_info(prefix):
            await bus.pointer("main")


async def test_a_repeat_is_known_when_the_server_has_forgotten_it(
    server: Server, raw: Client, prefix: str
) -> None:
    with fault_proxy(server.address) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with topone_nats.connect(url, prefix=prefix, timeout=0.5) as bus:
            lease = await acquire(bus, "main")
            await again(bus, lease, 1, b"1")
            manager = raw.jetstream()
            config = (await manager.stream_info(prefix)).config
            await manager.update_stream(config, duplicate_window=0.1)
            proxy.mute()
            with pytest.raises(BusUnavailable):
                await bus.publish(lease, 2, b"2")
            proxy.heal()
            mark = {"Nats-Msg-Id": "mark"}
            async with asyncio.timeout(PATIENCE):
                await manager.publish(f"{prefix}.elsewhere", b"", headers=mark)
                while True:
                    ack = await manager.publish(f"{prefix}.elsewhere", b"", headers=mark)
                    if not ack.duplicate:
                        break
                    await asyncio.sleep(0.02)
            await again(bus, lease, 2, b"2")
            await again(bus, lease, 3, b"3")
            assert await messages(bus, "main", 3) == [b"1", b"2", b"3"]


async def test_a_stream_that_knows_repeats_too_briefly_is_refused(
    bus: Bus, raw: Client, prefix: str
) -> None:
    await raw.jetstream().add_stream(name=prefix, subjects=[f"{prefix}.*"], duplicate_window=1)
    lease = await acquire(bus, "main")
    with pytest.raises(BusRefused, match="for 1 s only"):
        await bus.publish(lease, 1, b"1")


async def test_a_stream_of_the_operator_is_used_as_it_is(
    bus: Bus, raw: Client, prefix: str
) -> None:
    manager = raw.jetstream()
    await manager.add_stream(name=prefix, subjects=[f"{prefix}.*"], max_msg_size=1000)
    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    with pytest.raises(BusRefused, match="max_msg_size"):
        await bus.publish(lease, 2, b"x" * 1001)
    assert await bus.renew(lease)
    with pytest.raises(BusRefused, match="max_payload"):
        await bus.publish(lease, 2, b"x" * 2_000_000)
    assert (await manager.stream_info(prefix)).config.max_msg_size == 1000


async def test_a_subject_of_another_stream_is_refused(bus: Bus, raw: Client, prefix: str) -> None:
    await raw.jetstream().add_stream(name=f"{prefix}-x", subjects=[f"{prefix}.>"])
    lease = await acquire(bus, "main")
    with pytest.raises(BusRefused, match="JetStream says"):
        await bus.publish(lease, 1, b"1")


@pytest.mark.parametrize("is_alike", [False, True])
async def test_a_message_that_another_stream_takes_is_refused(
    bus: Bus, raw: Client, prefix: str, is_alike: bool
) -> None:
    lease = await acquire(bus, "main")
    place = int(await bus.publish(lease, 1, b"1"))
    manager = raw.jetstream()
    config = (await manager.stream_info(prefix)).config
    await manager.update_stream(config, subjects=[f"{prefix}-elsewhere"])
    other: dict[str, Any] = {
        "name": f"{prefix}-x",
        "subjects": [f"{prefix}.>"],
        "storage": "memory",
    }
    if is_alike:
        # Its last message has the same number.
        other["first_seq"] = place
    await raw.request(f"$JS.API.STREAM.CREATE.{prefix}-x", json.dumps(other).encode())
    await manager.publish(f"{prefix}.main", b"")
    with pytest.raises(BusRefused, match=r"JetStream says|takes what is meant for"):
        await bus.publish(lease, 2, b"2")
    assert await messages(bus, "main", 1) == [b"1"]


async def test_a_first_message_that_has_failed_is_put_into_no_other_stream(
    bus: Bus, raw: Client, prefix: str
) -> None:
    manager = raw.jetstream()
    subjects = [f"{prefix}.*"]
    await manager.add_stream(name=prefix, subjects=subjects, max_bytes=1, discard="new")
    lease = await acquire(bus, "main")
    with pytest.raises(BusUnavailable, match="exceeded"):
        await bus.publish(lease, 1, b"1")
    assert await manager.delete_stream(prefix)
    await manager.add_stream(name=f"{prefix}-x", subjects=subjects)
    for _ in range(2):
        with pytest.raises(BusRefused, match="JetStream says"):
            await bus.publish(lease, 1, b"1")
    assert (await manager.stream_info(f"{prefix}-x")).state.messages == 0


async def test_a_bus_that_is_closed_while_it_dials_leaves_no_connection(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dialling, may_dial = asyncio.Event(), asyncio.Event()
    dialled: list[Client] = []
    dial = Client.connect

    async def dial_slowly(self: Client, *args: Any, **options: Any) -> None:
        dialled.append(self)
        is_dialling.set()
        await may_dial.wait()
        await dial(self, *args, **options)

    monkeypatch.setattr(Client, "connect", dial_slowly)
    call = asyncio.create_task(bus.pointer("main"))
    await is_dialling.wait()
    await bus.close()
    may_dial.set()
    with pytest.raises(BusUnavailable, match="closed"):
        await call
    assert [client.is_closed for client in dialled] == [True]


@pytest.mark.parametrize("has_published", [False, True])
async def test_a_holder_whose_lease_is_lost_is_fenced_also_if_all_messages_are_gone(
    bus: Bus, raw: Client, server: Server, prefix: str, has_published: bool
) -> None:
    lease = await acquire(bus, "main")
    if has_published:
        await bus.publish(lease, 1, b"1")
    manager = raw.jetstream()
    assert await manager.purge_stream(f"KV_{prefix}-leases")
    async with topone_nats.connect(f"nats://{server.address}", prefix=prefix) as other:
        later = await acquire(other, "main", "two")
        await other.publish(later, 1, b"of a later epoch")
        assert await manager.purge_stream(prefix)
        for _ in range(2):
            with pytest.raises(Fenced):
                await bus.publish(lease, 2 if has_published else 1, b"of an epoch that is over")
        assert (await manager.stream_info(prefix)).state.messages == 0
        await other.publish(later, 2, b"2")


@pytest.mark.parametrize("is_taken", [False, True])
async def test_a_message_that_is_lost_on_its_way_is_noticed(
    bus: Bus, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [b"2"]
    receive = Pull._receive

    async def receive_others(self: Pull, message: Msg) -> None:
        if message.data in lost:
            lost.remove(message.data)
        else:
            await receive(self, message)

    monkeypatch.setattr(Pull, "_receive", receive_others)
    taken: list[Message] = []

    def take_some(message: Message) -> bool:
        taken.append(message)
        return is_taken

    lease = await acquire(bus, "main")
    await bus.publish(lease, 1, b"1")
    async with aclosing(bus.read("main", None, take_some)) as reading:
        waiting = asyncio.create_task(take(reading, 2 if is_taken else 1))
        while not taken:
            await bus.pointer("main")
        if not is_taken:
            await waiting
            waiting = asyncio.create_task(take(reading, 4))
        for number in (2, 3):
            await bus.publish(lease, number, b"%d" % number)
        interrupted, restored, *found = await waiting
        assert isinstance(interrupted, Interrupted)
        assert "lost on its way" in interrupted.detail
        assert restored == Restored()
        if is_taken:
            waiting = asyncio.create_task(take(reading, 1))
            while len(taken) < 3:
                await bus.pointer("main")
            waiting.cancel()
            await asyncio.wait({waiting})
            found = [*taken[1:]]
    assert [each.data for each in found if isinstance(each, Message)] == [b"2", b"3"]


@pytest.mark.parametrize("data", STRANGE, ids=["bytes", "text", "types", "depth"])
async def test_strange_entries_are_passed_over(
    bus: Bus, raw: Client, prefix: str, data: bytes
) -> None:
    lease = await acquire(bus, "main")
    place = await bus.publish(lease, 1, b"1")
    await bus.point(lease, 1, place)
    stream = raw.jetstream()
    await stream.publish(f"$KV.{prefix}-leases.lease.strange", data)
    await stream.publish(f"$KV.{prefix}-leases.other", data)
    await stream.publish(f"$KV.{prefix}-state.pointer.main", data)
    assert await bus.pointer("main") is None
    assert set((await bus.cluster()).leases) == {"main"}
    assert await bus.acquire("strange", "one", LONG) is None
    await bus.point(lease, 1, place)
    assert await bus.pointer("main") is not None
    await stream.publish(f"$KV.{prefix}-leases.lease.main", data)
    assert not await bus.renew(lease)
    await bus.release(lease)


async def test_a_lease_can_be_renewed_by_another_bus_and_released(
    server: Server, bus: Bus, prefix: str
) -> None:
    lease = await acquire(bus, "main")
    async with topone_nats.connect(f"nats://{server.address}", prefix=prefix) as other:
        assert await other.renew(lease)
    assert await bus.renew(lease)
    async with topone_nats.connect(f"nats://{server.address}", prefix=prefix) as other:
        assert await other.renew(lease)
    await bus.release(lease)
    assert await bus.acquire("main", "two", LONG) is not None


async def test_a_bookmark_may_be_the_first_thing_on_a_bus(bus: Bus) -> None:
    await bus.keep_bookmark("main", "reader", b"1")
    assert await bus.bookmark("main", "reader") == b"1"
    assert await bus.load_state("main") == b""


@pytest.mark.parametrize("is_asked", [False, True])
async def test_a_connection_that_ends_with_something_to_send_is_made_again(
    server: Server, prefix: str, is_asked: bool
) -> None:
    with fault_proxy(server.address) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with topone_nats.connect(url, prefix=prefix, timeout=PATIENCE) as bus:
            assert isinstance(bus, NatsBus)
            lease = await acquire(bus, "main")
            await bus.publish(lease, 1, b"1")
            link = bus._connection.open_link
            assert link is not None
            call = None
            if is_asked:
                proxy.mute()
                call = asyncio.create_task(bus.publish(lease, 2, b"2"))
                for _ in range(20):
                    # Until it is sent.
                    await asyncio.sleep(0)
                assert link._waiting
                assert not link.client._pending_data_size
            # nats-py fails to send it as it closes, and then calls nobody.
            link.client._pending.append(b"PING\r\n")
            link.client._pending_data_size += 6
            proxy.reset()
            async with asyncio.timeout(PATIENCE):
                await link.lost.wait()
            if call is not None:
                with pytest.raises(BusUnavailable, match="the connection is lost"):
                    await call
                proxy.heal()
            await again(bus, lease, 2, b"2")
            assert await messages(bus, "main", 2) == [b"1", b"2"]


async def test_a_dial_that_is_cancelled_leaves_nothing(server: Server) -> None:
    with fault_proxy(server.address) as proxy:
        proxy.pause()
        async with topone_nats.connect(f"nats://127.0.0.1:{proxy.port}") as bus:
            task = asyncio.create_task(bus.pointer("main"))
            async with asyncio.timeout(PATIENCE):
                while True:
                    await asyncio.sleep(0.01)
                    if proxy.accepted:
                        break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.resume()
            assert await bus.pointer("main") is None


async def test_a_server_without_jetstream_is_named_as_such(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    (tmp_path / "nats.conf").write_text('listen: "127.0.0.1:-1"', "utf-8")
    with running(server):
        async with topone_nats.connect(f"nats://{server.address}") as bus:
            with pytest.raises(BusUnavailable, match="is it enabled"):
                await bus.acquire("main", "one", LONG)
            async with aclosing(bus.read("main")) as reading:
                [received] = await take(reading, 1)
            assert isinstance(received, Interrupted)


async def test_a_server_that_is_full_says_so(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    config = (tmp_path / "nats.conf").read_text("utf-8")
    (tmp_path / "nats.conf").write_text(
        config.replace("store_dir", "max_file_store: 1000000, store_dir"), "utf-8"
    )
    with running(server):
        async with topone_nats.connect(f"nats://{server.address}") as bus:
            lease = await acquire(bus, "main")
            with pytest.raises(BusUnavailable, match="insufficient storage"):
                await bus.publish(lease, 1, b"1")
        limits = topone_nats.StreamLimits(max_bytes=500_000)
        async with topone_nats.connect(f"nats://{server.address}", limits=limits) as bus:
            lease = await acquire(bus, "second")
            for number in range(1, 20):
                await bus.publish(lease, number, b"x" * 100_000)
