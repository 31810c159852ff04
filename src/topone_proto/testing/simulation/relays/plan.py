"""A relay as plain data: the machines, those who read, what happens in the account, and everything
that goes wrong."""

from topone_proto._values import value
from topone_proto.relay import RelayConfig

__all__ = [
    "BusAway",
    "BusFault",
    "CutOff",
    "FeedLost",
    "Garbage",
    "Kill",
    "LoseAnswers",
    "MachineFault",
    "MachinePlan",
    "Pause",
    "ReaderPlan",
    "RelayTrouble",
    "ReleaseLease",
    "SharedRelay",
    "SlowBus",
    "StopReading",
    "Suspend",
    "Trim",
]


# --- what goes wrong ----------------------------------------------------------------------------


@value
class BusAway:
    """The bus takes no request of anybody for a while."""

    seconds: float
    """The duration, in seconds."""


@value
class SlowBus:
    """Every request takes long for a while."""

    seconds: float
    """The duration, in seconds."""
    takes: float
    """The seconds that each request takes."""


@value
class LoseAnswers:
    """Requests do what they ask for, and their answers are lost, for a while."""

    seconds: float
    """The duration, in seconds."""


@value
class Trim:
    """The bus drops all messages but the latest."""

    keep: int
    """The number of messages that it keeps."""


@value
class Garbage:
    """Somebody else publishes to the account's subject."""

    kind: int
    """0 for bytes that are no message, 1 for a message of another account, 2 for one of a newer
    version."""


@value
class CutOff:
    """One machine does not reach the bus for a while; the exchange it does."""

    machine: int
    """The number of the machine."""
    seconds: float
    """The duration, in seconds."""


@value
class Pause:
    """One machine does nothing for a while. Its clock goes on."""

    machine: int
    """The number of the machine."""
    seconds: float
    """The duration, in seconds."""


@value
class Suspend:
    """One machine does nothing for a while, and its clock stands still: it cannot know."""

    machine: int
    """The number of the machine."""
    seconds: float
    """The duration, in seconds."""


@value
class Kill:
    """One machine dies and starts again."""

    machine: int
    """The number of the machine."""
    seconds: float
    """The time until it starts again, in seconds."""


@value
class ReleaseLease:
    """One machine hands the account over, and wants it again later."""

    machine: int
    """The number of the machine."""
    seconds: float
    """The time until it wants it again, in seconds."""


@value
class FeedLost:
    """The holder's connection to the exchange is lost."""

    seconds: float
    """The time until the next one is made, in seconds."""


@value
class StopReading:
    """One reader dies, and goes on from the position that it stored."""

    reader: int
    """The number of the reader."""
    seconds: float
    """The time until it starts again, in seconds."""


BusFault = BusAway | SlowBus | LoseAnswers | Trim | Garbage
"""A fault of the bus."""
MachineFault = CutOff | Pause | Suspend | Kill | ReleaseLease
"""A fault of a machine, or its owner's wish."""


@value
class RelayTrouble:
    """Something that goes wrong with a relay."""

    at: float
    """The time, in seconds since the beginning."""
    what: BusFault | MachineFault | FeedLost | StopReading
    """The fault."""


# --- the parts ----------------------------------------------------------------------------------


@value
class MachinePlan:
    """A machine that may follow the account."""

    name: str
    """The name of the machine."""
    starts: float = 0.0
    """The time at which it starts, in seconds since the beginning."""
    drift: float = 0.0
    """The part by which its clock is fast; negative if it is slow."""


@value
class ReaderPlan:
    """A program that reads what is published."""

    name: str
    """The name of the program."""
    starts: float = 0.0
    """The time at which it starts, in seconds since the beginning."""
    every: float = 0.1
    """The time between two reads, in seconds."""
    most: int = 10
    """The most messages that one read takes."""
    repeats: float = 0.0
    """The share of reads that bring an old message once more."""


@value
class SharedRelay:
    """An account that is relayed."""

    machines: tuple[MachinePlan, ...]
    """The machines."""
    readers: tuple[ReaderPlan, ...]
    """The programs that read."""
    config: RelayConfig
    """Every number of the relay."""
    changes: tuple[float, ...] = ()
    """The times at which something happens in the account, in seconds since the beginning."""
    latency: float = 0.01
    """The time that a request to the bus takes, in seconds."""
    troubles: tuple[RelayTrouble, ...] = ()
    """Everything that goes wrong."""
