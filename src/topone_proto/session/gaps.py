"""The span of server time in which updates may be missing, measured by clocks that need not agree.

A stream breaks off on one connection and begins again on another, and the two may be with two nodes
whose clocks differ, or with one whose clock was set back. Nobody outside sees these clocks but
through the times in the frames. What is certain of a clock are two bounds of its lead over the
caller's own, in milliseconds:

- a frame with the time ``ts`` was received at ``at``, so it was sent before: ``lead >= ts - at``;
- it answers, or follows on, what was asked at ``asked``: ``lead <= ts - asked``.

What is missing was sent after the last frame of the stream, at ``since`` by the old clock, and
before the acknowledgement, at ``until`` by the new one. With the bounds each of the two moments is
translated into the other clock's time, and the span goes from the earlier to the later: whichever
clock an update was stamped by, its time is within. It never ends before it begins, and with clocks
that agree it is longer by no more than the time that a request and its answer take.

Bounds that contradict each other tell of a clock that was set forward meanwhile. Then the upper one
is that of the latest frame, which holds for the clock as it is now. A step that leaves no trace in
any frame, since the stream broke off before it and goes on with another node, can be known by
nobody outside.
"""

from collections.abc import Iterable
from math import ceil, floor
from typing import Self

from topone_proto._values import value
from topone_proto.events import Gap
from topone_proto.wire.topic import Topic

__all__ = ["Break", "Breaks", "Heard", "ServerClock"]

# What floats of this size are exact to, in milliseconds. Clocks of servers are rounded to one.
_EXACT = 0.01
_ROUNDED = 1.0


@value
class Heard:
    """A server time, and the caller's own times between which the frame was sent."""

    ts: int
    """The server time in milliseconds."""
    asked: float
    """The time at which the question was asked that it answers, in seconds."""
    at: float
    """The time at which it was received, in seconds."""


@value
class ServerClock:
    """The lead of a server's clock over the caller's, in milliseconds: from ``low`` to ``high``."""

    low: float
    """It leads by this at least."""
    high: float
    """It leads by this at most."""

    @classmethod
    def of(cls, acknowledgements: Iterable[Heard], latest: Iterable[Heard]) -> Self | None:
        """The clock by what was heard on one connection; None if no time was.

        Args:
            acknowledgements: the answers to requests, which bound it best.
            latest: the latest frame of each topic.
        """
        answers, frames = list(acknowledgements), list(latest)
        if not frames:
            return None
        low = max(heard.ts - heard.at * 1000 for heard in frames)
        high = min(heard.ts - heard.asked * 1000 for heard in answers or frames)
        if high < low - _ROUNDED:
            high = max(heard.ts - heard.asked * 1000 for heard in frames)
        return cls(low, high)


@value
class Break:
    """A stream that has broken off, until an acknowledgement ends the uncertainty."""

    since_ts: int | None
    """The earliest server time at which something may be missing, by every clock heard so far."""
    since: float | None
    """The same moment on the caller's clock, in milliseconds and at the earliest."""
    high: float | None
    """The largest lead of any of these clocks."""

    @classmethod
    def off(cls, last_ts: int | None, clock: ServerClock | None) -> Self:
        """A stream whose latest frame had the time ``last_ts`` breaks off."""
        if clock is None:
            return cls(last_ts, None, None)
        return cls(last_ts, None if last_ts is None else last_ts - clock.high, clock.high)

    def again(self, clock: ServerClock | None) -> "Break":
        """It breaks off once more before it was whole, on a connection with another clock."""
        if clock is None:
            return self
        high = clock.high if self.high is None else max(self.high, clock.high)
        return Break(self._since_by(clock), self.since, high)

    def span(
        self, ack_ts: int | None, clock: ServerClock | None, now: float
    ) -> tuple[int | None, int | None]:
        """The two ends of the gap, now that the stream is acknowledged.

        Args:
            ack_ts: the time of the acknowledgement; None if it had none, or there was none.
            clock: the clock of its connection.
            now: the time, in seconds.
        """
        if ack_ts is None:
            return self.since_ts, None
        until = ack_ts if self.high is None else max(ack_ts, ceil(now * 1000 + self.high - _EXACT))
        since = self.since_ts if clock is None else self._since_by(clock)
        if since is not None and since > until:
            # Clocks that cannot be compared, since one of them was never heard.
            since = None
        return since, until

    def _since_by(self, clock: ServerClock) -> int | None:
        if self.since_ts is None or self.since is None:
            return self.since_ts
        # No server time is before 0.
        return max(0, min(self.since_ts, floor(self.since + clock.low + _EXACT)))


class Breaks:
    """The streams that have broken off, until a ``Gap`` reports each of them."""

    def __init__(self) -> None:
        self._broken: dict[Topic, Break] = {}

    def __contains__(self, topic: Topic) -> bool:
        return topic in self._broken

    def break_off(self, topic: Topic, last_ts: int | None, clock: ServerClock | None) -> None:
        """Note that a stream is lost, or lost once more before it was whole again.

        Args:
            topic: the stream.
            last_ts: the time of its latest frame on the connection that ends.
            clock: the clock of that connection.
        """
        broken = self._broken.get(topic)
        self._broken[topic] = Break.off(last_ts, clock) if broken is None else broken.again(clock)

    def close_gap(
        self, topic: Topic, ack_ts: int | None, clock: ServerClock | None, now: float, epoch: int
    ) -> tuple[Gap, ...]:
        """Return the gap that ends here, if the stream was broken off.

        Args:
            topic: the stream.
            ack_ts: see ``Break.span``; so are ``clock`` and ``now``.
            clock: see there.
            now: see there.
            epoch: the connection on which it ends.
        """
        broken = self._broken.pop(topic, None)
        if broken is None:
            return ()
        since, until = broken.span(ack_ts, clock, now)
        return (Gap(topic, since, until, epoch),)

    def clear(self) -> None:
        """Forget every break: the feed ends."""
        self._broken.clear()
