"""Scenarios in which the application is slower than the exchange."""

from decimal import Decimal
from typing import Final

from topone_proto.config import SessionConfig
from topone_proto.events import BalanceUpdate, Connected, Subscribed
from topone_proto.gateway import Burst
from topone_proto.models import Balance
from topone_proto.testing.conformance.kit import ETH, Kit
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.topics import BALANCE, ORDERS

__all__ = ["BACK_PRESSURE"]

BACK_PRESSURE: Final = Collection(Group.BACK_PRESSURE)
"""These scenarios."""


@BACK_PRESSURE.add()
async def a_slow_application_loses_nothing(kit: Kit) -> None:
    """A feed that is full stops reading, so that the exchange has to wait; no update is dropped,
    and none is told out of order."""
    balances = [Balance(f"A{number}", Decimal(number), Decimal(0)) for number in range(3000)]
    async with kit.open(config=SessionConfig(capacity=8)) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.publish(*balances)
        await kit.sleep(0.05)  # in which the feed has to stop reading
        for expected in balances:
            kit.same((await feed.take(BalanceUpdate)).balance, expected, "the next balance")


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
        set(kit.seen[3:]) <= {"balance ETH", "balance LAST", "order 132991", "Conflated"},
        "something else came between",
    )


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
