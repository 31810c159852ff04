"""The content of a screen: a pure fold of events. ``_picture`` draws it."""

from collections import deque
from typing import Final

from attrs import Factory, define, evolve, frozen

from topone_cli._describe import describe, describe_backwards
from topone_proto import (
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Failure,
    Gap,
    Order,
    OrderUpdate,
    Topic,
)
from topone_proto.account import Account, AggregatedFill, Change, MovedBackwards
from topone_proto.events import ANOMALIES

__all__ = ["Line", "View"]

_KEPT: Final = 200
_RATE_SPAN: Final = 5


@frozen
class Line:
    """A deed of the feed, and its time."""

    at: float
    name: str
    """The event's class; empty for a note."""
    text: str
    times: int = 1
    """The number of times that it happened in a row, ``at`` being the latest."""


@define
class View:
    """All that there is to show. Times are in seconds since 1970 UTC and come from the caller."""

    account: Account = Factory(lambda: Account(max_closed=_KEPT))
    """Balances and orders, and which of them are current."""
    fills: deque[AggregatedFill] = Factory(lambda: deque[AggregatedFill](maxlen=_KEPT))
    """The latest first."""
    state: str = "connecting"
    """The state of the connection: connecting, connected, disconnected, closed or failed."""
    retry_at: float | None = None
    """The time of the next dial; None unless one is waited for."""
    epoch: int = 0
    """The number of the latest connection."""
    events: int = 0
    """The number of events."""
    anomalies: int = 0
    """The number of anomalies, and of states that went backwards."""
    gaps: dict[Topic, int] = Factory(dict[Topic, int])
    """The number of gaps of each topic."""
    lag: float | None = None
    """Seconds from the server time of the latest update to when it came here: the way, and the
    difference of the two clocks. None before the first on this connection."""
    log: deque[Line] = Factory(lambda: deque[Line](maxlen=_KEPT))
    """Every event but the updates, and the notes; the latest last."""
    _seconds: deque[tuple[int, int]] = Factory(
        lambda: deque[tuple[int, int]](maxlen=_RATE_SPAN + 1)
    )
    """The latest seconds that had events, and how many."""
    _failing: tuple[Failure, Line] | None = None
    """The failure of the latest dial, and the line that says so, if nothing else came since."""

    def take(self, event: Event, at: float) -> None:
        """``event`` came."""
        self.events += 1
        self._count(int(at))
        self.anomalies += isinstance(event, ANOMALIES)
        match event:
            case BalanceUpdate(ts=int(ts)) | OrderUpdate(ts=int(ts)):
                self.lag = at - ts / 1000
            case Connected(epoch=epoch):
                self.state, self.epoch, self.retry_at = "connected", epoch, None
            case Disconnected(retry_in=retry_in):
                self.state, self.lag = "disconnected", None
                self.retry_at = None if retry_in is None else at + retry_in
            case Gap(topic=topic):
                self.gaps[topic] = self.gaps.get(topic, 0) + 1
            case Closed(failure=failure):
                self.state, self.retry_at = "closed" if failure is None else "failed", None
            case _:
                pass
        if not isinstance(event, BalanceUpdate | OrderUpdate):
            self._log(event, at)
        # What is shown in the end is what was known when it was closed.
        if not isinstance(event, Closed):
            for change in self.account.apply(event):
                self._take_change(change, at)

    def note(self, text: str, at: float) -> None:
        """Say something that is no event."""
        self.log.append(Line(at, "", text))

    def balances(self) -> list[Balance]:
        """By asset."""
        known = self.account.balances().value
        return [known[asset] for asset in sorted(known)]

    def open_orders(self) -> list[Order]:
        """The latest changed first, but those whose status is not known before all."""
        known = self.account.open_orders().value.values()
        others = self.account.other_orders().value.values()
        return [*known, *(order for order in others if not order.is_closed)][::-1]

    def closed_orders(self) -> list[Order]:
        """The latest first."""
        others = self.account.other_orders().value.values()
        return [order for order in others if order.is_closed][::-1]

    def rate(self, at: float) -> float:
        """Events per second, over the last five whole seconds."""
        now = int(at)
        return (
            sum(n for second, n in self._seconds if now - _RATE_SPAN <= second < now) / _RATE_SPAN
        )

    def _log(self, event: Event, at: float) -> None:
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

    def _take_change(self, change: Change, at: float) -> None:
        match change:
            case AggregatedFill():
                self.fills.appendleft(change)
            case MovedBackwards():
                self.anomalies += 1
                self.log.append(Line(at, type(change).__name__, describe_backwards(change)))
            case _:
                pass

    def _count(self, second: int) -> None:
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))
