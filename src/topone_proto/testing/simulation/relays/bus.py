"""A bus in a simulated world: leases, a stream that is fenced, and all that is judged there.

I12: of each epoch one machine has written, every number once and without a hole, and the same bytes
whenever it was repeated. No message leaves a machine while another has the lease, unless its clock
stood still. I14: a lease that is free is taken within two seconds by a machine that is able to.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from attrs import define

from topone_proto.relay import RelayConfig
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.topic import Update

__all__ = ["FENCED", "Bus", "Item", "Stored"]

FENCED: Final = "fenced"
"""The answer to a message of an older holder."""

_TAKE_OVER: Final = 2.0


class _Machine(Protocol):
    """The facts about a machine by which it is judged."""

    able_since: float


@define
class Item:
    """One item of a message that was accepted."""

    place: tuple[int, int, int]
    """Its epoch, its message's number and its place in there."""
    kind: str
    """The kind of item."""
    payload: dict[str, Any]
    """Its members."""


@define
class Stored:
    """One message in the stream."""

    data: bytes
    """The message."""
    place: tuple[int, int] | None
    """Its epoch and number; None for garbage."""
    has_snapshot: bool = False
    """True if a reader that comes late may begin here."""


@define
class _Lease:
    epoch: int
    holder: str
    expires_at: float


class Bus:
    """The bus.

    Args:
        world: the time.
        config: the time of a lease.
        latency: the time that a request takes.
    """

    def __init__(self, world: World, config: RelayConfig, latency: float) -> None:
        self._world = world
        self._config = config
        self.latency: float = latency
        """The time that a request takes, in seconds."""
        self.machines: Sequence[_Machine] = ()
        """The machines that may take a lease."""
        self.stream: list[Stored] = []
        """All messages so far."""
        self.first: int = 0
        """The number of those that were dropped."""
        self.items: list[Item] = []
        """The items of all messages that were accepted."""
        self.able_since: float = 0.0
        """The time from which on it is quick to answer every request."""
        self.away_until: float = 0.0
        """The time from which requests arrive again."""
        self.loses_until: float = 0.0
        """The time from which answers arrive again."""
        self.slow_until: float = 0.0
        """The time until which requests are slow."""
        self.slowness: float = 0.0
        """The time that they take until then, in seconds."""
        self.leases: int = 0
        """The number of leases so far."""
        self._lease: _Lease | None = None
        self._last = (0, 0)
        self._writers: dict[int, str] = {}
        # The topics of updates that were told and not published, by epoch and server time; and of
        # the gaps since the latest update.
        self._owed: dict[int, dict[int, str]] = {}
        self._gaps: set[str] = set()
        self._bytes: dict[tuple[int, int], bytes] = {}

    # --- requests -------------------------------------------------------------------------------

    def request(
        self, does: Callable[[], Any], answered: Callable[[Any], None], timeout: float, *, cut: bool
    ) -> None:
        """Carry a request. ``answered`` gets what it gives, or None if no answer came in time."""
        world = self._world
        takes = self.slowness if world.now < self.slow_until else self.latency
        is_over = False

        def end(answer: Any) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                answered(answer)

        def arrive() -> None:
            if world.now < self.away_until:
                return
            answer = does()
            if world.now >= self.loses_until:
                world.at(world.now + takes / 2, end, answer)

        world.at(world.now + timeout, end, None)
        if not cut:
            world.at(world.now + takes / 2, arrive)

    # --- leases ---------------------------------------------------------------------------------

    @property
    def holder(self) -> str | None:
        """The machine that has the lease now."""
        lease = self._lease
        return None if lease is None or self._world.now >= lease.expires_at else lease.holder

    def acquire(self, machine: str) -> int:
        """Return the number of a new lease; 0 if somebody has one."""
        if self.holder is not None:
            return 0
        self.leases += 1
        self._grant(_Lease(self.leases, machine, self._world.now + self._config.ttl))
        return self.leases

    def renew(self, machine: str, epoch: int) -> bool:
        """Return True if the lease is renewed."""
        lease = self._lease
        if lease is None or self.holder != machine or lease.epoch != epoch:
            return False
        self._grant(_Lease(epoch, machine, self._world.now + self._config.ttl))
        return True

    def release(self, machine: str, epoch: int) -> bool:
        """Give a lease back."""
        lease = self._lease
        if lease is not None and (lease.holder, lease.epoch) == (machine, epoch):
            self._grant(_Lease(epoch, machine, self._world.now))
        return True

    def _grant(self, lease: _Lease) -> None:
        self._lease = lease
        self._world.at(lease.expires_at + _TAKE_OVER, self._check_taken, lease)

    def _check_taken(self, lease: _Lease) -> None:
        if self.able_since > lease.expires_at:
            return
        able = [machine for machine in self.machines if machine.able_since <= lease.expires_at]
        if self._lease is lease and able:
            what = f"nobody has taken over {_TAKE_OVER:g} s after the lease was free"
            raise Violation("I14", "the machines", what, self._world.now)

    # --- the stream -----------------------------------------------------------------------------

    def publish(self, machine: str, epoch: int, number: int, data: bytes, *, snap: bool) -> str:
        """Take a message, once; refuse it if a newer holder has published."""
        if (epoch, number) <= self._last:
            known = self._bytes.get((epoch, number))
            if known is not None and known != data:
                self._break(machine, f"message {number} of epoch {epoch} has changed")
            return FENCED if epoch < self._last[0] else "taken"
        writer = self._writers.setdefault(epoch, machine)
        if writer != machine:
            self._break(machine, f"{writer} has written in epoch {epoch} as well")
        expected = self._last[1] + 1 if epoch == self._last[0] else 1
        if number != expected:
            self._break(machine, f"message {number} came in place of {expected}")
        self._last = epoch, number
        self._bytes[epoch, number] = data
        self.stream.append(Stored(data, self._last, snap))
        for index, plain in enumerate(json.loads(data)["items"]):
            item = Item((epoch, number, index), plain["kind"], plain.get("payload", {}))
            self.items.append(item)
            self._account_for(machine, epoch, item)
        return "taken"

    def told(self, epoch: int, update: Update) -> None:
        """The holder's account has told this, so it is owed to everybody."""
        ts = update.ts
        assert ts is not None  # as the exchange here has it
        self._owed.setdefault(epoch, {})[ts] = update.topic.name

    def _account_for(self, machine: str, epoch: int, item: Item) -> None:
        """Judge what was told and not published: its topics have a gap before the next update."""
        if item.kind == "Gap":
            self._gaps.add(item.payload["topic"])
        if item.kind not in {"OrderUpdate", "BalanceUpdate"}:
            return
        owed, ts = self._owed.get(epoch, {}), item.payload["ts"]
        dropped = {owed.pop(other) for other in [other for other in owed if other < ts]}
        owed.pop(ts)
        missing = dropped - self._gaps
        self._gaps.clear()
        if missing:
            what = f"updates of {', '.join(missing)} were dropped without a gap"
            raise Violation("I13", machine, what, self._world.now)

    def check_sender(self, machine: str, *, may_err: bool) -> None:
        """A message leaves a machine: nobody else may have the lease."""
        if self.holder not in {None, machine} and not may_err:
            self._break(machine, f"it publishes although {self.holder} has the lease")

    def _break(self, machine: str, what: str) -> None:
        raise Violation("I12", machine, what, self._world.now)

    def pointer(self) -> int:
        """Return the number of the message at which a reader that comes late begins."""
        for number in range(len(self.stream) - 1, self.first - 1, -1):
            if self.stream[number].has_snapshot:
                return number
        return self.first
