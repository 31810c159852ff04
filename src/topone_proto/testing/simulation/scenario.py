"""The parts of a run, as plain data: the clients, what the exchange publishes, and everything that
goes wrong.

A scenario is drawn from one integer, and can be made smaller by leaving parts of it out.
"""

from typing import Final

from topone_proto._values import value
from topone_proto.exchange import (
    AcceptThenClose,
    AddCode,
    AnswerGarbage,
    CloseConnections,
    DelayAck,
    DropConnections,
    DuplicateAck,
    GatewayConfig,
    GoSilent,
    IgnoreHandshake,
    LoseAck,
    NodeClock,
    RefuseHandshake,
    RejectRequest,
    SendRaw,
    StepClock,
    WriteTimes,
    WrongId,
)
from topone_proto.failures import FailureKind
from topone_proto.testing.simulation.accounts.plan import SharedAccount
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.relays.plan import SharedRelay
from topone_proto.wire.deals import deals
from topone_proto.wire.depth import depth
from topone_proto.wire.kline import kline
from topone_proto.wire.topic import Topic

__all__ = [
    "CANDLES",
    "DEALS",
    "MARKET",
    "MARKET_TOPICS",
    "SECRET",
    "BlackHole",
    "BlockLoop",
    "ExpireToken",
    "GatewayFault",
    "IgnorePings",
    "Network",
    "Outage",
    "Publish",
    "Scenario",
    "SlowFrame",
    "Trouble",
    "Unreachable",
]

MARKET: Final = "BTC/USDT"
"""The one market of a simulated exchange."""
DEALS: Final = deals(MARKET)
"""The topic of its deals."""
CANDLES: Final = kline(MARKET, "1m")
"""The topic of its candles, which are also pulled."""
MARKET_TOPICS: Final[tuple[Topic, ...]] = (DEALS, depth(MARKET, "10x"), CANDLES)
"""The topics that a feed of market data can follow."""
SECRET: Final = "topapi:S3CRET"
"""The beginning of every token of a simulation: the text that must be nowhere."""


# --- what goes wrong on the network -------------------------------------------------------------


@value
class Outage:
    """Nothing gets through for a while, in either direction. Nothing is lost: it comes late, as
    over TCP."""

    seconds: float
    """The duration, in seconds."""


@value
class BlackHole:
    """The present connection is half-open from now on: whatever is on the way is lost, and nobody
    is told."""


@value
class Unreachable:
    """Dials do not get through for a while."""

    seconds: float
    """The duration, in seconds."""
    kind: FailureKind | None
    """The failure of the dials; None for never an answer."""


@value
class ExpireToken:
    """The client's latest token is not valid any more."""


@value
class BlockLoop:
    """The client's program does something else for a while. Its feed notices nothing meanwhile:
    deadlines are late, and what comes in waits unread, in order."""

    seconds: float
    """The duration, in seconds."""


@value
class IgnorePings:
    """The exchange answers no ping of anybody's from now on. It goes on sending its own."""


@value
class SlowFrame:
    """The bytes of the next message on the present connection trickle in one by one, and what is
    sent after it waits until it is whole."""

    seconds: float
    """The duration from the first byte to the last, in seconds."""
    every: float
    """Seconds from one byte to the next."""


Network = Outage | BlackHole | Unreachable | SlowFrame | IgnorePings
"""A fault on the way."""
GatewayFault = (
    AcceptThenClose
    | AddCode
    | AnswerGarbage
    | CloseConnections
    | DelayAck
    | DropConnections
    | DuplicateAck
    | GoSilent
    | IgnoreHandshake
    | LoseAck
    | NodeClock
    | RefuseHandshake
    | RejectRequest
    | SendRaw
    | StepClock
    | WriteTimes
    | WrongId
)
"""A fault of the exchange."""


# --- the parts of a scenario --------------------------------------------------------------------


@value
class Trouble:
    """Something that goes wrong.

    ``{token}`` in the texts of a fault stands for the token of the connection that it hits: a
    server may repeat it.
    """

    at: float
    """The time, in seconds since the beginning."""
    client: str
    """Whom it hits. A fault of a dial or of a request waits for the next one, whosever it is."""
    what: Network | BlockLoop | ExpireToken | GatewayFault
    """The fault."""


@value
class Publish:
    """Updates of one order or one asset, or deals of the market, all at once. Each is different
    from every other."""

    at: float
    """The time, in seconds since the beginning."""
    topic: Topic
    """Orders or balances; deals for the market, whose book and candles then change, too."""
    key: int
    """The number of the order or asset, from 0. Deals of the key 0 are published one by one, those
    of any other key together."""
    count: int = 1
    """The number of updates or deals."""
    closes: bool = False
    """True if the last of them is the last state of an order."""


@value
class Scenario:
    """One run: a stormy time until ``calm_at``, then none of the faults any more."""

    seed: int
    """The seed that it was drawn from; also the source of back-off's jitter and of the
    network's."""
    calm_at: float
    """The time at which all faults stop, in seconds since the beginning."""
    gateway: GatewayConfig
    """The settings of the exchange's server."""
    clients: tuple[ClientPlan, ...]
    """The feeds."""
    traffic: tuple[Publish, ...] = ()
    """The updates that are published."""
    account: SharedAccount | None = None
    """The account that processes follow by themselves, if there is one."""
    troubles: tuple[Trouble, ...] = ()
    """The fault."""
    relay: SharedRelay | None = None
    """The account that is relayed to other machines, if there is one: without the gateway."""
