"""Scenarios in which somebody leaves in the middle."""

from typing import Final

from topone_proto.errors import FeedClosed
from topone_proto.events import Closed, Connected, Disconnected, Subscribed
from topone_proto.exchange import Fault, IgnoreHandshake, LoseAck, RefuseHandshake
from topone_proto.testing.conformance.kit import LATER, UP, Kit
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.orders import ORDERS

__all__ = ["CANCELLATION"]

CANCELLATION: Final = Collection(Group.CANCELLATION)
"""These scenarios."""


@CANCELLATION.add_each(
    {
        "before anything was taken": None,
        "while it dials": IgnoreHandshake(None),
        "while it backs off": RefuseHandshake(500, times=None),
        "while it waits for an acknowledgement": LoseAck(None),
    }
)
async def leaving_ends_it(kit: Kit, fault: Fault | None) -> None:
    """Leaving the block closes the feed, whatever it is about, and leaves no connection behind."""
    if fault is not None:
        kit.simulator.inject(fault)
    async with kit.open(config=LATER) as feed:
        if isinstance(fault, RefuseHandshake):
            await feed.until(Disconnected)
        elif isinstance(fault, LoseAck):
            await feed.until(Connected)
        elif fault is not None:
            await kit.eventually(lambda: kit.simulator.handshakes, "the feed dials")
    await kit.eventually(lambda: not kit.simulator.connections, "the connection is gone")


@CANCELLATION.add(UP)
async def an_error_of_the_application_comes_out_as_it_is(kit: Kit) -> None:
    """An exception of the block leaves it, in no group of exceptions and in place of nothing, and
    the feed is closed."""
    with kit.raises(KeyError):
        async with kit.open(config=LATER) as feed:
            await feed.until(Subscribed, 2)
            raise KeyError
    await kit.eventually(lambda: not kit.simulator.connections, "the connection is gone")


@CANCELLATION.add(cancelled_after=0.3)
async def whoever_waits_for_an_event_can_be_cancelled(kit: Kit) -> None:
    """The wait ends with the framework's cancellation, and takes the connection along. A blocking
    feed is closed by another thread instead, and the wait ends with ``Closed``."""
    async with kit.open(config=LATER) as feed:
        while not isinstance(await feed.next(), Closed):
            pass
        kit.same(await feed.next(), None, "behind the end")


@CANCELLATION.add(cancelled_after=0.3)
async def whoever_waits_for_an_acknowledgement_can_be_cancelled(kit: Kit) -> None:
    """The same for a call of ``subscribe``; a blocking one ends with ``FeedClosed``."""
    kit.simulator.inject(LoseAck(None))
    async with kit.open(topics=[], config=LATER) as feed:
        with kit.raises(FeedClosed):
            await feed.subscribe(ORDERS)
