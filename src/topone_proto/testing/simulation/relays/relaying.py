"""A relay in a simulated world: its machines, its readers, and what is judged at the end."""

from random import Random
from typing import Final

from topone_proto.relay import Envelope, encode_envelope
from topone_proto.testing.simulation.relays.bus import Bus, Stored
from topone_proto.testing.simulation.relays.exchange import Exchange
from topone_proto.testing.simulation.relays.machine import FREE, Machine
from topone_proto.testing.simulation.relays.plan import (
    BusAway,
    BusFault,
    CutOff,
    FeedLost,
    Garbage,
    Kill,
    LoseAnswers,
    Pause,
    RelayTrouble,
    ReleaseLease,
    SharedRelay,
    SlowBus,
    StopReading,
    Suspend,
    Trim,
)
from topone_proto.testing.simulation.relays.reader import Reader
from topone_proto.testing.simulation.world import Violation, World

__all__ = ["Relaying", "relay_bound"]

_GARBAGE: Final = (
    b"no message \xff",
    encode_envelope(Envelope("another", 1, 1)),
    b'{"version":99,"account":"main","epoch":1,"number":1,"items":[]}',
)


def relay_bound(shared: SharedRelay) -> float:
    """Seconds after the end of the faults within which every reader has a whole account: those of a
    lease whose holder is gone, of one machine after the other that tries and gives up, of healing,
    and of a message that had failed."""
    return 3 * (shared.config.ttl + 2.0) + 40.0


class Relaying:
    """All of a relay.

    Args:
        world: the time.
        shared: the relay.
        seed: how long things take.
    """

    def __init__(self, world: World, shared: SharedRelay, seed: int) -> None:
        self._world = world
        self._shared = shared
        self.exchange: Exchange = Exchange(world, Random(f"{seed} exchange"))
        """The account."""
        self.bus: Bus = Bus(world, shared.config, shared.latency)
        """The bus."""
        self.machines: list[Machine] = [
            Machine(world, plan, shared, self.bus, self.exchange, Random(f"{seed} {plan.name}"))
            for plan in shared.machines
        ]
        """The machines."""
        self.readers: list[Reader] = [
            Reader(world, plan, self.bus, self.exchange, Random(f"{seed} {plan.name}"))
            for plan in shared.readers
        ]
        """The programs that read."""
        self.bus.machines = self.machines

    def start(self) -> None:
        """Let everything that is planned come."""
        world = self._world
        for machine in self.machines:
            world.at(machine.plan.starts, machine.start)
        for reader in self.readers:
            world.at(reader.plan.starts, reader.start)
        for at in self._shared.changes:
            world.at(at, self.exchange.change)
        for trouble in self._shared.troubles:
            world.at(trouble.at, self._strike, trouble)

    def settle(self) -> None:
        """Nothing goes wrong any more: everybody becomes whole, and hears of one more change."""
        world, bus = self._world, self.bus
        bus.away_until = bus.loses_until = bus.slow_until = world.now
        longest = max((_seconds(trouble) for trouble in self._shared.troubles), default=0.0)
        # Whoever is away comes back first.
        world.run(world.now + longest)
        for reader in self.readers:
            reader.hurry()
        bound = world.now + relay_bound(self._shared)
        while world.now < bound and not self._is_settled():
            world.run(min(world.now + 1.0, bound))
        if not any(machine.is_following for machine in self.machines):
            raise Violation("I14", "the machines", "nobody follows the account", world.now)
        self.exchange.change()
        self.exchange.change()
        world.run(world.now + 2.0 + self._longest_snapshot())
        for reader in self.readers:
            problem = reader.check_present()
            if problem is not None:
                raise Violation("I13", reader.plan.name, problem, world.now)

    def _longest_snapshot(self) -> float:
        """Return the seconds that a snapshot takes, which the changes may have to wait for: each
        order and balance in a message of its own, one message after the other."""
        exchange = self.exchange
        return self._shared.latency * (len(exchange.orders) + len(exchange.balances) + 1)

    def _is_settled(self) -> bool:
        is_followed = any(machine.is_following for machine in self.machines)
        return is_followed and not any(reader.check_present() for reader in self.readers)

    def _strike(self, trouble: RelayTrouble) -> None:
        self._world.note("trouble", "for the relay:", trouble.what)
        match trouble.what:
            case FeedLost(seconds=seconds):
                for machine in self.machines:
                    if machine.feed is not None:
                        machine.feed.lose(seconds)
            case StopReading(reader=number, seconds=seconds):
                self.readers[number].stop(seconds)
            case CutOff() | Pause() | Suspend() | Kill() | ReleaseLease() as what:
                self.machines[what.machine].strike(what)
            case what:
                self._strike_bus(what)

    def _strike_bus(self, what: BusFault) -> None:
        world, bus = self._world, self.bus
        match what:
            case BusAway(seconds=seconds):
                bus.away_until = max(bus.away_until, world.now + seconds)
                self._hinder(seconds)
            case SlowBus(seconds=seconds, takes=takes):
                bus.slow_until, bus.slowness = world.now + seconds, takes
                self._hinder(seconds + takes)
            case LoseAnswers(seconds=seconds):
                bus.loses_until = max(bus.loses_until, world.now + seconds)
                # A lease that was granted and not heard of runs out first.
                self._hinder(seconds + self._shared.config.ttl)
            case Trim(keep=keep):
                bus.first = max(bus.first, len(bus.stream) - keep)
            case Garbage(kind=kind):
                bus.stream.append(Stored(_GARBAGE[kind], None))

    def _hinder(self, seconds: float) -> None:
        bus = self.bus
        # Requests may hang for some time after it.
        bus.able_since = max(bus.able_since, self._world.now + seconds + FREE)


def _seconds(trouble: RelayTrouble) -> float:
    seconds: float = getattr(trouble.what, "seconds", 0.0)
    return seconds
