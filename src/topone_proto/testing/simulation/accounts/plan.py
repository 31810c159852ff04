"""An account that several processes follow, as plain data: the exchange's HTTP, the processes, what
happens in the account, and what goes wrong.
"""

from attrs import field

from topone_proto._values import value
from topone_proto.account import AccountConfig
from topone_proto.exchange import HttpConfig, HttpFault
from topone_proto.testing.simulation.client_plan import ClientPlan

__all__ = [
    "AccountCall",
    "AccountTrouble",
    "FullDisk",
    "LoseUpdates",
    "ProcessPlan",
    "SetClock",
    "SharedAccount",
    "SlowDisk",
    "Stop",
    "Trade",
]


# --- what goes wrong ----------------------------------------------------------------------------


@value
class FullDisk:
    """Nothing can be stored for a while, nor read."""

    seconds: float
    """The duration, in seconds."""


@value
class SlowDisk:
    """Everything that is stored or read takes long, for a while."""

    seconds: float
    """The duration, in seconds."""
    takes: float
    """The seconds that each write and each read takes."""


@value
class SetClock:
    """The time of day of the machine is set, for all of its processes."""

    seconds: float
    """Forward by so many seconds; back if it is negative."""


@value
class LoseUpdates:
    """The stream leaves out the updates of a topic for a while, without a sign."""

    seconds: float
    """The duration, in seconds."""
    topic: str
    """``orders`` or ``balance``."""


@value
class AccountTrouble:
    """Something that goes wrong with an account's HTTP, its machine or its stream."""

    at: float
    """The time, in seconds since the beginning."""
    what: HttpFault | FullDisk | SlowDisk | SetClock | LoseUpdates
    """The fault."""


# --- the parts ----------------------------------------------------------------------------------


@value
class Trade:
    """An event in the account: an order is placed, filled or cancelled."""

    at: float
    """The time, in seconds since the beginning."""
    verb: str
    """``place``, ``place_market``, ``fill``, ``complete`` or ``cancel``. Without an open order, one
    is placed."""
    key: int
    """A number that chooses the order, its side and its amount."""


@value
class Stop:
    """The process is killed, and started again."""

    at: float
    """The time from which it is, in seconds since the beginning."""
    away: float
    """The seconds until it is started again."""
    when: str = "now"
    """``now``; ``stored`` for the next moment in which its state was written and it does not know
    yet; ``sent`` for the next in which a request has just left."""


@value
class AccountCall:
    """A request of the application to its account."""

    at: float
    """The time, in seconds since the beginning."""
    verb: str
    """``refresh``; ``order_calls`` for orders that it has placed by itself; ``give_up`` for an
    order that cannot be found out; ``close``."""


@value
class ProcessPlan:
    """A process that follows the account."""

    client: ClientPlan
    """Its feed and its network. Its token callable supplies tokens if there is one."""
    has_keys: bool = True
    """True if it makes tokens of the key pair; otherwise they come from the application."""
    reads_from: float | None = None
    """The time from which the application takes events, in seconds since the beginning; None for
    never. Until then nothing is held up."""
    stops: tuple[Stop, ...] = ()
    """The times at which it is killed."""
    calls: tuple[AccountCall, ...] = ()
    """The requests of its application."""


@value
class SharedAccount:
    """One account, and the processes of one machine that follow it and share what is stored."""

    processes: tuple[ProcessPlan, ...]
    """The processes."""
    http: HttpConfig = field(factory=HttpConfig)
    """The settings of the exchange's HTTP."""
    config: AccountConfig = field(factory=AccountConfig)
    """The settings of the processes' questions."""
    latency: float = 0.05
    """Seconds from a process to the exchange over HTTP and back again, at least, each way."""
    spread: float = 0.0
    """At most so many seconds more, at random."""
    storing: float = 0.01
    """The longest time that a write takes, in seconds."""
    clock_lead: float = 0.0
    """The seconds by which the machine's clock is ahead of the exchange's."""
    trades: tuple[Trade, ...] = ()
    """Everything that happens in the account."""
    troubles: tuple[AccountTrouble, ...] = ()
    """Everything that goes wrong with it."""
