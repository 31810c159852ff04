"""Scenarios in which something of the program's own fails: the callable that takes a recording."""

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import frozen

from topone_proto.events import Connected, Disconnected, Subscribed
from topone_proto.exchange import (
    Burst,
    DropConnections,
    Fault,
    IgnoreHandshake,
    RefuseHandshake,
)
from topone_proto.session.config import SessionConfig
from topone_proto.testing.conformance.kit import QUICK, Kit, Listener
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.orders import ORDERS

__all__ = ["FAULTS"]

FAULTS: Final = Collection(Group.FAULTS)
"""These scenarios."""


class DiskFullError(OSError):
    """The error of the callable."""


class _Recorder:
    """A callable for ``record=`` that fails at the first line with a certain text in it, and at
    every line after that."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.error: DiskFullError | None = None

    def __call__(self, line: str) -> None:
        if self.error is None and self._text in line:
            self.error = DiskFullError(28, "No space left on device")
        if self.error is not None:
            raise self.error


async def _drop(kit: Kit, feed: Listener, _: _Recorder) -> None:
    await feed.until(Subscribed, 2)
    kit.simulator.inject(DropConnections())


async def _subscribe(_: Kit, feed: Listener, __: _Recorder) -> None:
    await feed.until(Subscribed, 2)
    await feed.unsubscribe(ORDERS)


async def _close(_: Kit, feed: Listener, __: _Recorder) -> None:
    await feed.until(Subscribed, 2)
    await feed.close()


async def _flood(kit: Kit, feed: Listener, recorder: _Recorder) -> None:
    await feed.until(Subscribed, 2)
    kit.simulator.inject(Burst(50))
    await kit.eventually(lambda: recorder.error, "reading pauses")


@frozen
class _Moment:
    """The moment at which the callable fails first, and what brings it about."""

    text: str
    """A part of the line at which it fails."""
    fault: Fault | None = None
    config: SessionConfig = QUICK
    script: Callable[[Kit, Listener, _Recorder], Awaitable[None]] | None = None


_MOMENTS: Final = {
    "the header": _Moment('"format"'),
    "the start": _Moment('"kind":"start"'),
    "a connection": _Moment('"kind":"connection_made"'),
    "a frame": _Moment('"kind":"message_received"'),
    "a failed dial": _Moment('"kind":"connection_failed"', RefuseHandshake(503)),
    "a lost connection": _Moment('"kind":"connection_lost"', script=_drop),
    "a deadline of a dial": _Moment(
        '"kind":"deadline_reached"', IgnoreHandshake(None), SessionConfig(open_timeout=0.05)
    ),
    "a pong": _Moment('"kind":"pong_received"', config=SessionConfig(ping_interval=0.02)),
    "a call": _Moment('"kind":"unsubscribe"', script=_subscribe),
    "a pause of reading": _Moment(
        '"kind":"reading_paused"', config=SessionConfig(capacity=4), script=_flood
    ),
    "the end": _Moment('"kind":"close"', script=_close),
}


@FAULTS.add_each(_MOMENTS)
async def a_recorder_that_fails_ends_the_feed_with_its_error(kit: Kit, moment: _Moment) -> None:
    """An exception of ``record=`` is raised by iterating or by a call, as it is, in no group of
    exceptions, whatever the feed was doing; and the connection is gone. Nobody hangs."""
    recorder = _Recorder(moment.text)
    if moment.fault is not None:
        kit.simulator.inject(moment.fault)
    with kit.raises(DiskFullError) as caught:
        async with kit.open(config=moment.config, record=recorder) as feed:
            if moment.script is not None:
                await moment.script(kit, feed, recorder)
            await feed.rest()
    kit.check(caught.error is recorder.error, "another error was raised than the recorder's")
    await kit.eventually(lambda: not kit.simulator.connections, "the connection is gone")


@FAULTS.add_each({"a connection": Connected, "a loss": Disconnected})
async def a_fault_that_was_caught_leaves_the_block_in_peace(
    kit: Kit, kind: type[Connected] | type[Disconnected]
) -> None:
    """The error is raised once to whoever iterates, and not by the end of the block again. Calls
    raise it as well."""
    recorder = _Recorder('"kind":"connection_')
    if kind is Disconnected:
        kit.simulator.inject(RefuseHandshake(503, times=None))
    async with kit.open(config=QUICK, record=recorder) as feed:
        with kit.raises(DiskFullError):
            await feed.rest()
        with kit.raises(DiskFullError):
            await feed.subscribe(ORDERS)
        await feed.close()
