"""The life of a feed, for a screen that shows it: a pure fold of events."""

from collections import deque
from typing import Final

from attrs import Factory, define, evolve, frozen

from topone_cli._describe import describe
from topone_cli._events import AnyEvent
from topone_proto import (
    BusAnomaly,
    Closed,
    Connected,
    Disconnected,
    Failure,
    Gap,
    Resumed,
    Snapshot,
    Stalled,
    Topic,
    Update,
)
from topone_proto.account import BalanceChanged, MovedBackwards, OrderChanged
from topone_proto.events import ANOMALIES

__all__ = ["KEPT", "Life", "Line"]

KEPT: Final = 200
"""The most lines, rows and states of one kind that are remembered."""
_RATE_SPAN: Final = 5


@frozen
class Line:
    """A thing that the feed did, and its time."""

    at: float
    name: str
    """The event's class; empty for a note."""
    text: str
    times: int = 1
    """The number of times it happened in a row, ``at`` being the latest."""


@define
class Life:
    """The state of a feed. Times are in seconds since 1970 UTC and come from the caller."""

    state: str = "connecting"
    """The state of the connection: connecting, connected, disconnected, stalled, closed or
    failed."""
    retry_at: float | None = None
    """The time of the next dial; None unless one is waited for."""
    epoch: int = 0
    """The number of the latest connection."""
    events: int = 0
    """The number of events."""
    anomalies: int = 0
    """The number of odd events, and of states that went backwards."""
    gaps: dict[Topic, int] = Factory(dict[Topic, int])
    """The number of gaps of each topic."""
    lag: float | None = None
    """Seconds from the server time of the latest update to when it came here: the way, and the
    difference of the two clocks. None before the first on this connection."""
    log: deque[Line] = Factory(lambda: deque[Line](maxlen=KEPT))
    """Every event but the updates, and the notes; the latest last."""
    _seconds: deque[tuple[int, int]] = Factory(
        lambda: deque[tuple[int, int]](maxlen=_RATE_SPAN + 1)
    )
    """The latest seconds that had events, and how many."""
    _before_stall: str = "connecting"
    """The state of the connection as a stalled stream last told it."""
    _failing: tuple[Failure, Line] | None = None
    """The cause of the latest dial's failure and its line, if nothing else came since."""

    def take(self, event: AnyEvent, at: float) -> None:
        """Fold in an event that came at ``at``."""
        self.events += 1
        self._count(int(at))
        self.anomalies += isinstance(event, (*ANOMALIES, BusAnomaly, MovedBackwards))
        match event:
            case Update(ts=int(ts)) | BalanceChanged(ts=int(ts)) | OrderChanged(ts=int(ts)):
                self.lag = at - ts / 1000
            case Connected(epoch=epoch):
                self.epoch, self.retry_at = epoch, None
                self._be("connected")
            case Disconnected(retry_in=retry_in):
                self.lag = None
                self._be("disconnected")
                self.retry_at = None if retry_in is None else at + retry_in
            case Snapshot():
                # Of a holder that is connected, which may be long ago.
                self.retry_at = None
                self._be("connected")
            case Stalled():
                self._before_stall, self.state, self.lag = self.state, "stalled", None
            case Resumed():
                self.state = self._before_stall
            case Gap(topic=topic):
                self.gaps[topic] = self.gaps.get(topic, 0) + 1
            case Closed(failure=failure):
                self.state, self.retry_at = "closed" if failure is None else "failed", None
            case _:
                pass
        if not isinstance(event, Update):
            self._log(event, at)

    def _be(self, state: str) -> None:
        """Take in what is said of the connection, which a stalled stream says of the past."""
        if self.state == "stalled":
            self._before_stall = state
        else:
            self.state = state

    def note(self, text: str, at: float) -> None:
        """Add a line that is no event."""
        self.log.append(Line(at, "", text))

    def rate(self, at: float) -> float:
        """Return the events per second over the last five whole seconds."""
        now = int(at)
        return (
            sum(n for second, n in self._seconds if now - _RATE_SPAN <= second < now) / _RATE_SPAN
        )

    def _log(self, event: AnyEvent, at: float) -> None:
        """Add the line of ``event``. What fails again in the same way takes the place of its line
        before."""
        line = Line(at, type(event).__name__, describe(event))
        before, self._failing = self._failing, None
        if isinstance(event, Disconnected):
            if before is not None and before[0] == event.reason and before[1] in self.log:
                self.log.remove(before[1])
                line = evolve(line, times=before[1].times + 1)
            self._failing = event.reason, line
        self.log.append(line)

    def _count(self, second: int) -> None:
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))
