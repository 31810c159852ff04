"""The metrics of an account: those of its feed, and how far it is known."""

from collections.abc import Mapping

from attrs import field

from topone_proto._values import value
from topone_proto.account import FetchKind, Knowledge
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.wire.topic import Topic

__all__ = ["AccountMetrics"]


@value
class AccountMetrics(FeedMetrics):
    """The counters and gauges of an account at one moment: those of a feed, and these."""

    is_whole: bool = False
    """Gauge: True if every topic that is followed is ``WHOLE``."""
    knowledge: Mapping[Topic, Knowledge] = field(factory=dict[Topic, Knowledge], hash=False)
    """Gauge: the degree to which each topic can be trusted."""
    unresolved: int = 0
    """Gauge: orders and balances of which the exchange has yet to say by name what has become of
    them."""
    fetches: int = 0
    """Counter: requests over HTTP."""
    fetch_failures: Mapping[FetchKind, int] = field(factory=dict[FetchKind, int], hash=False)
    """Counter: requests over HTTP that came to nothing, by what was asked."""
    audits: int = 0
    """Counter: lists over HTTP that were compared with what was ``WHOLE``."""
    audit_differences: int = 0
    """Counter: differences that these found. Each is an update that the stream left out without a
    sign: an alarm."""
