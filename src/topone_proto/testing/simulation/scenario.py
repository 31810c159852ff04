"""The parts of a run, as plain data: the clients, what the exchange publishes, and everything that
goes wrong.

A scenario is drawn from one integer, and can be made smaller by leaving parts of it out.
"""

from typing import Final

from attrs import field

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
from topone_proto.session.config import SessionConfig
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.deals import deals
from topone_proto.wire.depth import depth
from topone_proto.wire.kline import kline
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic

__all__ = [
    "DEALS",
    "MARKET",
    "MARKET_TOPICS",
    "SECRET",
    "AccountPlan",
    "BlackHole",
    "BlockLoop",
    "Call",
    "ClientPlan",
    "ExpireToken",
    "GatewayFault",
    "IgnorePings",
    "Network",
    "Outage",
    "Publish",
    "Pull",
    "Scenario",
    "SlowFrame",
    "Supply",
    "Trouble",
    "Unreachable",
]

MARKET: Final = "BTC/USDT"
"""The one market of a simulated exchange."""
DEALS: Final = deals(MARKET)
"""The topic of its deals."""
MARKET_TOPICS: Final[tuple[Topic, ...]] = (DEALS, depth(MARKET, "10x"), kline(MARKET, "1m"))
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
class Call:
    """A request of the application to its feed."""

    at: float
    """The time, in seconds since the beginning."""
    verb: str
    """``subscribe``, ``unsubscribe`` or ``close``."""
    topic: Topic = ORDERS
    """Of which topic; ``close`` has none."""


@value
class Pull:
    """A range of candles that the application asks its feed for."""

    at: float
    """The time, in seconds since the beginning."""
    since: float
    """The seconds before that at which the range begins."""
    until: float
    """The seconds before that at which it ends."""


@value
class Supply:
    """A call of the application's token callable."""

    kind: str
    """``fresh``, ``same``, ``raise``, ``junk``, or ``hang``."""
    seconds: float = 0.0
    """The time that it takes, in seconds."""


@value
class AccountPlan:
    """An application's account, and the exchange's answers to it over HTTP."""

    max_closed: int = 1000
    """The number of orders that are remembered though they are not open."""
    latency: float = 0.05
    """Seconds from one end to the other, at least."""
    spread: float = 0.0
    """At most so many seconds more, at random. Here everything overtakes."""
    page: int = 100
    """The number of orders on a page, the newest first; each page is read in its own moment."""
    says_pages: bool = False
    """True if it says how many pages a list had."""
    lag: float = 0.0
    """The seconds that an answer may be behind, at most; each page by another time."""
    has_clock: bool = True
    """True if its questions are paced. Otherwise it waits a little, and asks again."""
    is_timed: bool = True
    """True if an answer says the exchange's time."""
    failing: float = 0.0
    """The share of requests that come to nothing, from 0 to 1."""


@value
class ClientPlan:
    """One feed: its application, its settings, and the network between it and the exchange."""

    name: str
    """The name in the timeline and in the troubles."""
    topics: tuple[Topic, ...] = (BALANCE, ORDERS)
    """The topics that it subscribes to from the start."""
    config: SessionConfig = field(factory=SessionConfig)
    """Its settings."""
    supplies: tuple[Supply, ...] | None = None
    """The results of the token callable, call by call; afterwards the last one again. None for a
    token that is always the same."""
    starts: float = 0.0
    """The time, in seconds since the beginning."""
    latency: float = 0.05
    """Seconds from one end to the other, at least."""
    spread: float = 0.0
    """At most so many seconds more, at random. Nothing overtakes."""
    window: int = 64
    """The number of frames that the network and the socket hold for a client that does not read."""
    readahead: int = 0
    """The number of messages that the WebSocket library takes off the socket by itself; pings among
    them are answered."""
    reports_tail: bool = False
    """True for an adapter that still reports what comes after it was told to close."""
    pace: float = 0.0
    """Seconds that the application takes for one event."""
    is_public: bool = False
    """True for a feed of market data, which dials the public socket without a token."""
    pulls: tuple[Pull, ...] = ()
    """The candles that its application asks for meanwhile."""
    is_compressed: bool = False
    """True if the exchange's frames reach the client compressed with gzip."""
    recorder_fails_after: int | None = None
    """The number of lines that its recorder takes before it fails, as on a full disk; None for a
    feed that is not recorded."""
    stalls: tuple[tuple[float, float], ...] = ()
    """The times in which the application takes no events at all: from, until."""
    calls: tuple[Call, ...] = ()
    """The requests of its application meanwhile."""
    account: AccountPlan = field(factory=AccountPlan)
    """The settings of its account."""


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
    troubles: tuple[Trouble, ...] = ()
    """The fault."""
