"""Scenarios in which the application is slower than the exchange."""

import json
from decimal import Decimal
from typing import Final

from attrs import evolve

from topone_proto.events import Conflated, Connected, Disconnected, Subscribed
from topone_proto.exchange import AcceptThenClose, Burst, SendRaw
from topone_proto.session.config import SessionConfig
from topone_proto.testing.conformance.kit import ETH, QUICK, Kit
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.orders import ORDERS

__all__ = ["BACK_PRESSURE"]

BACK_PRESSURE: Final = Collection(Group.BACK_PRESSURE)
"""These scenarios."""

_LARGE_FRAMES: Final = 300
# Of 256 KiB each, most of it a field that nobody knows: 75 MiB, where the buffers of TCP take 37 at
# most on Linux, and less elsewhere.
_LARGE: Final = SendRaw(
    json.dumps(
        {
            "method": "sub_balance",
            "ts": 1_000_000,
            "data": {
                "asset": ETH.asset,
                "available": str(ETH.available),
                "freeze": str(ETH.freeze),
            },
            "padding": "x" * 2**18,
        }
    )
)


@BACK_PRESSURE.add()
async def a_slow_application_loses_nothing(kit: Kit) -> None:
    """No update is dropped, and none is told out of order, however long they wait."""
    balances = [Balance(f"A{number}", Decimal(number), Decimal(0)) for number in range(3000)]
    async with kit.open(config=SessionConfig(capacity=8)) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.publish(*balances)
        await kit.sleep(0.05)  # in which the feed has to stop reading
        for expected in balances:
            kit.same((await feed.take(BalanceUpdate)).balance, expected, "the next balance")


@BACK_PRESSURE.add()
async def the_exchange_waits_for_a_slow_application(kit: Kit) -> None:
    """A feed that is full stops reading, so that TCP takes no more of the exchange: what the feed
    and its WebSocket library hold in memory is bounded."""
    async with kit.open(config=SessionConfig(capacity=8)) as feed:
        await feed.until(Subscribed, 2)
        for _ in range(_LARGE_FRAMES):
            kit.simulator.inject(_LARGE)
        # Until TCP has taken all that it takes, or all there is. It takes no more for a while, too,
        # when a slow reader has not emptied much of its buffer yet.
        before = None
        while before != (unsent := kit.simulator.unsent):
            before = unsent
            await kit.sleep(0.4)
        kit.check(
            unsent, "it read on while nobody took any events, and the exchange never had to wait"
        )
        for _ in range(_LARGE_FRAMES):
            kit.same((await feed.take(BalanceUpdate)).balance, ETH, "the next balance")


@BACK_PRESSURE.add()
async def a_slow_application_can_have_updates_conflated(kit: Kit) -> None:
    """Only if asked for: an update may then give way to a newer one, and the last one always
    comes."""
    async with kit.open(config=SessionConfig(capacity=8, delivery="conflate")) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.publish(ETH)
        kit.simulator.inject(Burst(500))
        kit.simulator.publish(Balance("LAST", Decimal(1), Decimal(0)))
        while kit.seen[-1] != "balance LAST":
            kit.check(await feed.next(), "the feed ended without the last update")
    kit.check(
        set(kit.seen[3:]) <= {"balance ETH", "balance LAST", "orders 132991", "Conflated"},
        "something else came between",
    )


@BACK_PRESSURE.add()
async def a_slow_application_acts_on_a_recent_state(kit: Kit) -> None:
    """With ``conflate`` an application at a tenth of the stream's speed is at most one buffer
    behind, since reading does not stop, and every update is delivered or counted."""
    count, rounds, capacity = 5000, 100, 100
    config = SessionConfig(capacity=capacity, delivery="conflate")
    delivered = conflated = 0
    async with kit.open(topics=[BALANCE], config=config) as feed:
        await feed.until(Subscribed)
        newest = -1
        for sent in range(count // rounds, count + 1, count // rounds):
            kit.simulator.publish(
                *[Balance("ETH", Decimal(n), Decimal(0)) for n in range(sent - 50, sent)]
            )
            await kit.read_on()
            for _ in range(5 if sent < count else count):
                event = await feed.next()
                if isinstance(event, Conflated):
                    conflated += event.count
                    continue
                kit.check(isinstance(event, BalanceUpdate), f"{event!r} came between")
                assert isinstance(event, BalanceUpdate)
                number = int(event.balance.available)
                kit.check(number > newest, f"update {number} came after update {newest}")
                newest, delivered = number, delivered + 1
                kit.check(
                    sent - newest <= capacity,
                    f"the application acts on update {newest} when {sent} were sent",
                )
                if newest == count - 1:
                    break
    kit.check(conflated, "nothing was conflated")
    kit.same(delivered + conflated, count, "the updates delivered and those counted")


@BACK_PRESSURE.add()
async def nothing_is_conflated_while_there_is_room(kit: Kit) -> None:
    """Below ``capacity`` every update is delivered, with either policy."""
    async with kit.open(
        topics=[BALANCE], config=SessionConfig(capacity=100, delivery="conflate")
    ) as feed:
        await feed.until(Subscribed)
        kit.simulator.publish(*[Balance("ETH", Decimal(n), Decimal(0)) for n in range(90)])
        await kit.read_on()
        for number in range(90):
            update = await feed.take(BalanceUpdate)
            kit.same(update.balance.available, number, "the next balance")


@BACK_PRESSURE.add()
async def an_application_that_takes_nothing_is_not_connected_again_and_again(kit: Kit) -> None:
    """A server that accepts and closes costs two events with every dial. So a feed whose
    application is behind dials no more, and goes on once the application has caught up."""
    kit.simulator.inject(AcceptThenClose(times=None))
    config = evolve(QUICK, capacity=8)
    async with kit.open(topics=[], config=config) as feed:
        await kit.eventually(lambda: len(kit.simulator.handshakes) >= 4, "the feed dials")
        await kit.sleep(0.2)
        dials = len(kit.simulator.handshakes)
        kit.check(dials <= 5, f"it has dialled {dials} times while nobody took any event")
        for _ in range(dials):
            await feed.take(Connected)
            await feed.take(Disconnected)
        await kit.eventually(lambda: len(kit.simulator.handshakes) > dials, "the feed dials again")


@BACK_PRESSURE.add()
async def a_call_makes_a_feed_dial_that_is_behind(kit: Kit) -> None:
    """The caller of ``subscribe`` may be the very task that takes the events, so a feed that dials
    no more for want of room does so for a call."""
    kit.simulator.inject(AcceptThenClose(times=4))
    async with kit.open(topics=[], config=evolve(QUICK, capacity=8)) as feed:
        await kit.eventually(lambda: len(kit.simulator.handshakes) >= 4, "the feed dials")
        await feed.subscribe(BALANCE)
        for _ in range(4):
            await feed.take(Connected)
            await feed.take(Disconnected)
        await feed.take(Connected)
        await feed.take(Subscribed)


@BACK_PRESSURE.add()
async def a_call_is_answered_while_events_wait(kit: Kit) -> None:
    """The acknowledgement lies behind more updates than the feed may hold, and whoever waits for
    it takes none of them: a feed with a call under way reads on."""
    async with kit.open(topics=[BALANCE], config=SessionConfig(capacity=20)) as feed:
        await feed.until(Subscribed)
        kit.simulator.publish(*[ETH] * 25)
        await feed.subscribe(ORDERS)


@BACK_PRESSURE.add()
async def leaving_while_events_wait(kit: Kit) -> None:
    """A reader that waits for room ends like any other."""
    for taken in (Connected, Subscribed):
        async with kit.open(config=SessionConfig(capacity=8)) as feed:
            kit.simulator.inject(Burst(500))
            await feed.until(taken)
            kit.simulator.inject(Burst(500))
    await kit.eventually(lambda: not kit.simulator.connections, "the connections are gone")
