"""What a screen has to show: a pure fold of events. How it looks is for ``_picture`` to say."""

from collections import deque
from typing import Final, Generic, TypeVar

from attrs import Factory, define, frozen

from topone_cli._describe import describe
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Gap,
    Malformed,
    Order,
    OrderUpdate,
    RequestTimedOut,
    Topic,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
)

__all__ = ["Known", "Line", "View"]

_KEPT: Final = 200
_MOST_ROWS: Final = 10_000
_RATE_SPAN: Final = 5
_ANOMALIES: Final = (
    Malformed,
    RequestTimedOut,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
)

_T = TypeVar("_T")
_K = TypeVar("_K")


@frozen
class Known(Generic[_T]):
    """The newest state of one thing."""

    value: _T
    gaps: int = 0
    """How many gaps its topic had had when it came. More since: this may have changed."""


@frozen
class Line:
    """What the feed did, and when."""

    at: float
    name: str
    """The event's class; empty for a note."""
    text: str


@define
class View:
    """All that there is to show. Times are in seconds since 1970 UTC and come from the caller."""

    title: str
    """What this is and where it comes from."""
    state: str = "connecting"
    """How the connection is: connecting, connected, disconnected, closed or failed."""
    retry_at: float | None = None
    """When the next dial comes; None unless one is waited for."""
    epoch: int = 0
    """The number of the latest connection."""
    events: int = 0
    """How many there were."""
    anomalies: int = 0
    """How many of them were odd."""
    gaps: dict[Topic, int] = Factory(dict[Topic, int])
    """How many gaps each topic has had."""
    balances: dict[str, Known[Balance]] = Factory(dict[str, Known[Balance]])
    """By asset."""
    open_orders: dict[int, Known[Order]] = Factory(dict[int, Known[Order]])
    """By id, the longest unchanged first; with those whose status is not known."""
    closed_orders: deque[Order] = Factory(lambda: deque[Order](maxlen=_KEPT))
    """The latest first."""
    log: deque[Line] = Factory(lambda: deque[Line](maxlen=_KEPT))
    """Every event but the updates, and the notes; the latest last."""
    _seconds: deque[tuple[int, int]] = Factory(
        lambda: deque[tuple[int, int]](maxlen=_RATE_SPAN + 1)
    )
    """The latest seconds that had events, and how many."""

    def take(self, event: Event, at: float) -> None:
        """``event`` came."""
        self.events += 1
        self._count(int(at))
        self.anomalies += isinstance(event, _ANOMALIES)
        match event:
            case BalanceUpdate(balance=balance):
                _put(self.balances, balance.asset, Known(balance, self.gaps.get(BALANCE, 0)))
            case OrderUpdate(order=order):
                self._take_order(order)
            case Connected(epoch=epoch):
                self.state, self.epoch, self.retry_at = "connected", epoch, None
            case Disconnected(retry_in=retry_in):
                self.state = "disconnected"
                self.retry_at = None if retry_in is None else at + retry_in
            case Gap(topic=topic):
                self.gaps[topic] = self.gaps.get(topic, 0) + 1
            case Closed(failure=failure):
                self.state, self.retry_at = "closed" if failure is None else "failed", None
            case _:
                pass
        if not isinstance(event, BalanceUpdate | OrderUpdate):
            self.log.append(Line(at, type(event).__name__, describe(event)))

    def note(self, text: str, at: float) -> None:
        """Say something that is no event."""
        self.log.append(Line(at, "", text))

    def may_have_changed(self, known: Known[Balance] | Known[Order]) -> bool:
        """True if updates may have been missed since this one came."""
        topic = BALANCE if isinstance(known.value, Balance) else ORDERS
        return known.gaps < self.gaps.get(topic, 0)

    def rate(self, at: float) -> float:
        """Events per second, over the last five whole seconds."""
        now = int(at)
        return (
            sum(n for second, n in self._seconds if now - _RATE_SPAN <= second < now) / _RATE_SPAN
        )

    def _take_order(self, order: Order) -> None:
        self.open_orders.pop(order.id, None)
        if order.is_closed:
            self.closed_orders.appendleft(order)
        else:
            _put(self.open_orders, order.id, Known(order, self.gaps.get(ORDERS, 0)))

    def _count(self, second: int) -> None:
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))


def _put(known: dict[_K, _T], key: _K, newest: _T) -> None:
    known[key] = newest
    # More than any account has: a server that never stops must not fill the memory.
    if len(known) > _MOST_ROWS:
        del known[next(iter(known))]
