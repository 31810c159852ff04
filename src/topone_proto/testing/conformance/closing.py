"""Scenarios of ``close``."""

from typing import Final

from topone_proto.errors import FeedFailed
from topone_proto.events import Connected, Disconnected, Event, Subscribed
from topone_proto.exchange import Fault, GoSilent, IgnoreHandshake, LoseAck, RefuseHandshake
from topone_proto.session.config import SessionConfig
from topone_proto.testing.conformance.kit import ETH, LATER, ONCE, UP, Kit
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.orders import ORDERS

__all__ = ["CLOSING"]

CLOSING: Final = Collection(Group.CLOSING)
"""These scenarios."""


@CLOSING.add_each(
    {
        "connected": (None, Subscribed, 2),
        "dialling": (IgnoreHandshake(None), None, 0),
        "backing off": (RefuseHandshake(500, times=None), Disconnected, 1),
        "waiting for an acknowledgement": (LoseAck(None), Connected, 1),
    },
    lambda case: {
        Subscribed: [*UP, "closed"],
        None: ["closed"],
        Disconnected: ["disconnected handshake, retry", "closed"],
        Connected: ["connected 1", "closed"],
    }[case[1]],
)
async def close_ends_it(kit: Kit, case: tuple[Fault | None, type[Event] | None, int]) -> None:
    """``Closed`` is the last event, and comes within ``close_timeout``. ``close`` returns when
    nothing of the feed runs any more."""
    fault, kind, count = case
    if fault is not None:
        kit.simulator.inject(fault)
    async with kit.open(config=LATER) as feed:
        if kind is None:
            await kit.eventually(lambda: kit.simulator.handshakes, "the feed dials")
        else:
            await feed.until(kind, count)
        await feed.close()
        await feed.rest()


@CLOSING.add([*UP, "closed"])
async def close_ends_a_half_open_connection(kit: Kit) -> None:
    """The peer does not answer the closing handshake, and does not read either: ``close_timeout``
    bounds it."""
    async with kit.open(config=SessionConfig(close_timeout=0.5)) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(GoSilent())
        await feed.close()
        await feed.rest()


@CLOSING.add([*UP, "closed"])
async def closing_says_goodbye(kit: Kit) -> None:
    """Leaving the block is closing. The exchange gets a close frame and sees the connection end,
    and ``Closed`` can still be taken."""
    async with kit.open() as feed:
        await feed.until(Subscribed, 2)
    await kit.eventually(lambda: not kit.simulator.connections, "the connection is gone")
    await kit.eventually(lambda: kit.simulator.goodbyes == (1000,), "it ended with a close frame")
    await feed.rest()


@CLOSING.add([*UP, "balance ETH", "balance ETH", "unsubscribed orders 1", "closed"])
async def events_that_wait_can_be_taken_after_close(kit: Kit) -> None:
    """Closing loses nothing that was received before."""
    async with kit.open() as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.publish(ETH, ETH)
        # The acknowledgement comes behind both.
        await feed.unsubscribe(ORDERS)
        await feed.close()
        await feed.rest()


@CLOSING.add(["disconnected refused, retry", "disconnected refused", "closed refused"])
async def a_feed_that_has_failed_can_be_closed(kit: Kit) -> None:
    """``close`` is possible at any time; here it has nothing to do, and the failure stays."""
    async with kit.open(url="ws://127.0.0.1:1/", config=ONCE) as feed:
        await feed.failure()
        await feed.close()
        with kit.raises(FeedFailed):
            await feed.next()
