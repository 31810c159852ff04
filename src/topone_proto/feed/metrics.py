"""The metrics of a feed: counters and gauges, as one value at one moment.

Nothing here depends on a monitoring system. Such a system asks for the values when it wants them.
"""

from collections.abc import Mapping

from attrs import field

from topone_proto._values import value
from topone_proto.failures import FailureKind
from topone_proto.session.subscriptions import SubscriptionState
from topone_proto.wire.topic import Topic

__all__ = ["FeedMetrics"]


@value
class FeedMetrics:
    """The counters and gauges of a feed at one moment. Counters begin at 0 with the feed and only
    grow; a gauge without a value is None. Ages and latencies are in seconds."""

    epoch: int
    """Counter: connections made."""
    failures: Mapping[FailureKind, int] = field(hash=False)
    """Counter: connections lost and dials failed, by kind."""
    updates: int
    """Counter: balance and order updates received."""
    gaps: int
    """Counter: gaps reported."""
    anomalies: Mapping[str, int] = field(hash=False)
    """Counter: malformed and unexpected frames and responses, by the name of their event."""
    conflated: int
    """Counter: updates that newer ones have replaced before they were delivered."""
    waiting: int
    """Gauge: events that wait for the application, of ``capacity``."""
    capacity: int
    """``SessionConfig.capacity``: at this many, reading stops."""
    is_paused: bool
    """Gauge: True while the application is behind, so that nothing is read and nothing is dialled
    until it has taken half of what waits."""
    is_connected: bool
    """Gauge: True while a WebSocket is open."""
    epoch_age: float | None
    """Gauge: the age of the present connection."""
    last_received_age: float | None
    """Gauge: the time since anything at all was received on the present connection."""
    ack_latency: float | None
    """Gauge: the time that the latest acknowledgement on the present connection took."""
    lag: Mapping[Topic, float] = field(hash=False)
    """Gauge, for each topic of the present connection that has had a time of the server: how much
    later than that, by this machine's clock, its latest frame was received. What both clocks are
    wrong by is in it, so look at its changes; it may be negative."""
    subscriptions: Mapping[Topic, SubscriptionState] = field(
        factory=dict[Topic, SubscriptionState], hash=False
    )
    """Gauge: the state of every topic that is desired, and of those that the present connection was
    asked about."""
