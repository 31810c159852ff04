"""One feed of a simulation, as plain data: its settings, its application and its network."""

from attrs import field

from topone_proto._values import value
from topone_proto.session.config import SessionConfig
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic

__all__ = ["AccountPlan", "Call", "ClientPlan", "Pull", "Supply"]


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
