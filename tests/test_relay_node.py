"""Nodes of a relay in virtual time: who holds what, and what consumers have of it, whatever happens
to nodes, bus and exchange."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_rig import Book, Consumer, Exchange
from topone_proto import ConfigurationError, Connected, Credentials, Failure, FailureKind
from topone_proto.relay import ItemsDropped, LeaseAcquired, RelayConfig, decode_envelope
from topone_relay import (
    AccountEntry,
    AccountFailed,
    BusBack,
    BusLost,
    BusUnavailable,
    Lease,
    Leaving,
    MemberJoined,
    MemberLeft,
    MemoryBroker,
    MemoryBus,
    Node,
)
from virtual_time import run_virtually

CONFIG = RelayConfig()
KEYS = Credentials("id", "key")
TAKE_OVER = CONFIG.ttl + 2
"""Seconds within which another node holds what a dead one held."""


class World:
    """A bus, an exchange, nodes and consumers."""

    def __init__(self, accounts: int = 4, config: RelayConfig = CONFIG) -> None:
        self.broker = MemoryBroker()
        self.exchange = Exchange()
        self.config = config
        self.names = [f"account-{number}" for number in range(accounts)]
        self.nodes: dict[str, Node] = {}
        self.buses: dict[str, MemoryBus] = {}
        self.reports: list[tuple[str, str | None, object]] = []
        self.consumers: dict[str, Consumer] = {}

    def node(self, name: str) -> Node:
        bus = self.buses[name] = self.broker.connect()
        node = self.nodes[name] = Node(
            bus,
            [AccountEntry(name=account, credentials=KEYS) for account in self.names],
            name=name,
            config=self.config,
            report=lambda account, event: self.reports.append((name, account, event)),
            open_entry=self.exchange.open_entry,
            jitter=lambda: 0.5,
        )
        return node

    def reported(self, kind: type[Any], node: str | None = None) -> list[Any]:
        return [
            event
            for name, _, event in self.reports
            if isinstance(event, kind) and node in {None, name}
        ]

    def held(self, *nodes: str) -> list[int]:
        """Return the number of accounts that each node holds."""
        return [self.nodes[name].status().held for name in nodes]

    async def trade(self, seconds: float, every: float = 0.1) -> None:
        """Let all accounts trade for a while."""
        for _ in range(round(seconds / every)):
            await asyncio.sleep(every)
            for name in self.names:
                self.exchange.book(name).trade()

    async def rest(self, within: float = 5.0) -> None:
        """Wait until each consumer is right, and judge what it was told."""
        end = asyncio.get_running_loop().time() + within
        while not all(self.is_right(name) for name in self.names):
            assert asyncio.get_running_loop().time() < end, "it does not become right"
            await asyncio.sleep(0.05)
        for name, consumer in self.consumers.items():
            assert consumer.lost_in_silence(self.book(name)) == []

    def is_right(self, name: str) -> bool:
        return self.consumers[name].is_right(self.book(name))

    def book(self, name: str) -> Book:
        return self.exchange.book(name)


_Test = Callable[[World], Awaitable[None]]


def in_world(
    **arguments: Any,
) -> Callable[[Callable[[World], Awaitable[None]]], Callable[[], None]]:
    """Run a test in virtual time, with a consumer for each account."""

    def decorate(test: _Test) -> Callable[[], None]:
        async def main() -> None:
            world = World(**arguments)
            for name in world.names:
                world.consumers[name] = Consumer(world.broker, name)
            try:
                await test(world)
            finally:
                for consumer in world.consumers.values():
                    await consumer.close()

        def run() -> None:
            run_virtually(main)

        run.__name__ = test.__name__
        return run

    return decorate


@asynccontextmanager
async def killed_at_the_end(world: World, name: str) -> AsyncGenerator[Node]:
    """A node that hands nothing over."""
    node = world.node(name)
    async with node:
        yield node
        world.buses[name].is_cut = True
        node.abort()


@in_world()
async def test_accounts_are_spread_over_the_nodes_and_move_without_loss(world: World) -> None:
    async with world.node("a"):
        await world.trade(3)
        assert world.held("a") == [4]
        async with world.node("b"):
            await world.trade(3)
            assert world.held("a", "b") == [2, 2]
            async with world.node("c"), world.node("d"):
                await world.trade(3)
                assert world.held("a", "b", "c", "d") == [1, 1, 1, 1]
                await world.rest()
            await world.trade(3)
        await world.trade(3)
        assert world.held("a") == [4]
        await world.rest()
        members = world.nodes["a"].status().members
        assert members == ("a",)
    assert {event.member for event in world.reported(MemberJoined, "a")} == set("abcd")
    assert {event.member for event in world.reported(MemberLeft, "a")} == set("bcd")
    assert [event.held for event in world.reported(Leaving, "a")] == [4]


@in_world()
async def test_nothing_moves_while_nobody_comes_or_goes(world: World) -> None:
    async with world.node("a"), world.node("b"), world.node("c"):
        await asyncio.sleep(10)
        leases = len(world.reported(LeaseAcquired))
        assert sorted(world.held("a", "b", "c")) == [1, 1, 2]
        await asyncio.sleep(600)
        assert len(world.reported(LeaseAcquired)) == leases


@in_world()
async def test_one_that_leaves_hands_over_long_before_its_leases_end(world: World) -> None:
    async with world.node("a"):
        await asyncio.sleep(2)
        async with world.node("b"):
            await asyncio.sleep(3)
            assert world.held("a", "b") == [2, 2]
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before < 0.5
        await asyncio.sleep(1.5)
        assert world.held("a") == [4]
        await world.rest()


@in_world()
async def test_one_that_dies_is_replaced_when_its_leases_end(world: World) -> None:
    async with world.node("a"):
        async with killed_at_the_end(world, "b"):
            await world.trade(3)
            assert world.held("a", "b") == [2, 2]
        await world.trade(TAKE_OVER)
        assert world.held("a") == [4]
        await world.rest()


@in_world()
async def test_one_that_is_cut_off_from_the_bus_publishes_nothing_more(world: World) -> None:
    async with world.node("a"), world.node("b"):
        await world.trade(3)
        assert world.held("a", "b") == [2, 2]
        world.buses["b"].is_cut = True
        await world.trade(TAKE_OVER)
        assert world.held("a", "b") == [4, 0]
        assert not world.nodes["b"].status().is_bus_available
        await world.rest()
        world.buses["b"].is_cut = False
        await world.trade(3)
        assert world.held("a", "b") == [2, 2]
        # Each account has one connection again.
        assert [len(world.book(name).followers) for name in world.names] == [1, 1, 1, 1]
        await world.rest()
    assert len(world.reported(BusLost, "b")) == len(world.reported(BusBack, "b")) == 1


@in_world()
async def test_one_that_is_cut_off_from_the_exchange_keeps_its_accounts(world: World) -> None:
    async with world.node("a"):
        await world.trade(3)
        for name in world.names:
            world.book(name).cut()
        await world.trade(60)
        assert world.held("a") == [4]
        assert not any(account.is_whole for account in world.nodes["a"].status().accounts)
        assert not any(consumer.is_whole for consumer in world.consumers.values())
        for name in world.names:
            world.book(name).mend()
        await world.rest()
        assert all(account.is_whole for account in world.nodes["a"].status().accounts)
        assert all(not consumer.take_overs for consumer in world.consumers.values())


@in_world(config=RelayConfig(capacity=100))
async def test_a_bus_that_is_away_for_minutes_costs_a_gap_and_no_connection(world: World) -> None:
    async with world.node("a"):
        await world.trade(3)
        opened = [list(world.book(name).opened) for name in world.names]
        world.broker.is_away = True
        for _ in range(30):
            await world.trade(10)
            for account in world.nodes["a"].status().accounts:
                assert account.waiting <= 100
        world.broker.is_away = False
        world.broker.notify()
        await world.rest(TAKE_OVER)
        assert [world.book(name).opened for name in world.names] == opened, "it was closed"
        assert world.reported(ItemsDropped)


@in_world(accounts=1)
async def test_answers_of_the_bus_that_are_lost_change_nothing(world: World) -> None:
    async with world.node("a"):
        bus = world.buses["a"]
        bus.lost_answers = {"acquire"}
        await world.trade(3)
        assert world.held("a") == [1]
        for call in ("publish", "renew", "publish", "renew", "publish"):
            bus.lost_answers = {call}
            await world.trade(CONFIG.ttl)
            assert bus.lost_answers == set()
        await world.rest()
        [consumer] = world.consumers.values()
        assert not consumer.take_overs
        [book] = world.exchange.books.values()
        assert consumer.updates == book.published[-len(consumer.updates) :]


@in_world(accounts=1)
async def test_a_bus_that_forgets_a_cancellation_gets_no_message_under_an_old_lease(
    world: World,
) -> None:
    async with world.node("a"):
        bus, published = world.buses["a"], list[tuple[int, int]]()
        publish = bus.publish
        is_stuck = True

        async def publish_forgetfully(lease: Lease, number: int, data: bytes) -> str:
            nonlocal is_stuck
            published.append((lease.epoch, decode_envelope(data).epoch))
            if is_stuck:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    is_stuck = False
                    raise BusUnavailable("publish", "it forgets") from None
            return await publish(lease, number, data)

        await world.trade(3)
        bus.publish = publish_forgetfully  # type: ignore[method-assign]  # a bus of a user's own
        await world.trade(1)
        world.broker.stream(world.names[0]).lease = None
        await world.trade(TAKE_OVER)
        assert not is_stuck
        assert {*published} == {(1, 1), (2, 2)}
        await world.rest()
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 0.5


@in_world(accounts=2)
async def test_an_account_that_fails_is_tried_again_later_and_harms_no_other(world: World) -> None:
    bad, good = world.names
    failure = Failure(FailureKind.TOKEN, detail="T0005")
    world.book(bad).failure = failure
    async with world.node("a"), world.node("b"):
        await asyncio.sleep(3600)
        failed = world.reported(AccountFailed)
        assert {event.account for event in failed} == {bad}
        assert {event.failure for event in failed} == {failure}
        # A minute, then longer each time, at each node.
        assert 4 <= len(failed) <= 24
        assert len(world.book(bad).opened) == len(failed)
        assert world.is_right(good)
        problems = {a.problem for n in "ab" for a in world.nodes[n].status().accounts if a.problem}
        assert problems == {str(failure)}
        world.book(bad).failure = None
        await asyncio.sleep(1000)
        assert world.is_right(bad)
        assert not any(a.problem for n in "ab" for a in world.nodes[n].status().accounts)


@in_world(accounts=200)
async def test_a_cold_start_of_hundreds_is_no_storm(world: World) -> None:
    async with world.node("a"), world.node("b"):
        await asyncio.sleep(15)
        assert sum(world.held("a", "b")) == 200
        opened = sorted(at for book in world.exchange.books.values() for at in book.opened)
        most = max(sum(at <= other < at + 1 for other in opened) for at in opened)
        assert most <= 2 * 15, "two nodes, ten a second, and five at once"
        await world.rest()
        for bus in world.buses.values():
            assert Counter(bus.calls)["acquire"] <= 200
        connected = [event for event in world.reported(Connected) if event.epoch == 1]
        assert len(connected) == 200


@in_world(accounts=50)
async def test_standing_by_costs_the_same_however_many_accounts_there_are(world: World) -> None:
    async with world.node("a"):
        await asyncio.sleep(30)
        world.names, names = [], world.names
        async with world.node("b"):
            world.names = names
            await asyncio.sleep(60)
            calls = Counter(world.buses["b"].calls)
            assert set(calls) == {"announce", "cluster"}
            assert calls.total() <= 60 * 1.5


def test_names_are_checked_where_they_are_given() -> None:
    async def main() -> None:
        broker, exchange = MemoryBroker(), Exchange()
        entry = AccountEntry(name="main", credentials=KEYS)
        with pytest.raises(ConfigurationError, match="two are called 'main'"):
            Node(broker.connect(), [entry, entry], name="a", open_entry=exchange.open_entry)
        with pytest.raises(ConfigurationError, match="cannot be a name on a bus"):
            Node(broker.connect(), [], name="a b")

    run_virtually(main)
