"""The state of an account's feed, as it is and as the consumers of an epoch were told.

Two states of the same kind: one is moved by what the account tells, the other by the items that
leave for the bus. They differ by what waits. If that has to be dropped, or an epoch begins with an
account that is open already, the difference is told: it brings consumers from the one to the other,
with a gap for each topic of which updates are missing.
"""

from collections.abc import Iterator

from attrs import define, field

from topone_proto.events import (
    Connected,
    Disconnected,
    Event,
    Gap,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.wire.topic import Topic, Update

__all__ = ["Told", "difference"]


@define(eq=False)
class Told:
    """The state of a feed, as far as it was told."""

    life: Connected | Disconnected | None = None
    """The latest event about the connection."""
    connection: int = 0
    """The number of the latest connection."""
    subscribed: dict[Topic, Subscribed | None] = field(factory=dict[Topic, Subscribed | None])
    """Each topic that is followed, with its acknowledgement on this connection; None before that
    has come."""
    times: dict[Topic, int] = field(factory=dict[Topic, int])
    """The latest server time that was told of each topic."""
    latest_ts: int | None = None
    """The latest of these times."""

    def take(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case Update(topic=topic, ts=ts):
                self.subscribed.setdefault(topic, None)
                self._see(topic, ts)
            case Connected(epoch=epoch):
                self.life, self.connection = event, epoch
            case Disconnected():
                self.life = event
                self.subscribed = dict.fromkeys(self.subscribed)
            case Subscribed(topic=topic, ts=ts):
                self.subscribed[topic] = event
                self._see(topic, ts)
            case Unsubscribed(topic=topic):
                self.subscribed.pop(topic, None)
            case SubscriptionRejected(topic=topic, method=method):
                if method == topic.subscribe_method:
                    self.subscribed.pop(topic, None)
            case _:
                pass

    def _see(self, topic: Topic, ts: int | None) -> None:
        if ts is None:
            return
        before = self.times.get(topic)
        if before is None or ts > before:
            self.times[topic] = ts
        if self.latest_ts is None or ts > self.latest_ts:
            self.latest_ts = ts

    def gap(self, topic: Topic, until: int | None, connection: int) -> Gap:
        """Return the gap of a topic from the latest time that was told of it."""
        since = self.times.get(topic)
        if since is not None and until is not None and since > until:
            since = None
        return Gap(topic, since, until, connection)


def difference(sent: Told, now: Told) -> Iterator[Event]:
    """Yield the events that bring consumers from one state to the other, without the updates.

    Updates may have come since an acknowledgement that is told only now: its topic has a gap, too.
    """
    if now.life is not None and now.life != sent.life:
        yield now.life
    is_connected = isinstance(now.life, Connected)
    for topic, acknowledgement in now.subscribed.items():
        if acknowledgement is not None and acknowledgement != sent.subscribed.get(topic):
            yield acknowledgement
        if acknowledgement is not None or topic in sent.subscribed:
            yield sent.gap(topic, now.latest_ts if is_connected else None, now.connection)
    for topic in sent.subscribed:
        if topic not in now.subscribed:
            yield sent.gap(topic, None, now.connection)
            yield Unsubscribed(topic, None, now.connection)
