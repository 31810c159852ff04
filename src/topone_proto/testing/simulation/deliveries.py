"""The work of a feed's buffer on the events that are put into it: the bookkeeping behind I1, I4 and
freshness."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Never

from topone_proto.events import Conflated, Event
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.wire.balance import BalanceUpdate
from topone_proto.wire.depth import DepthUpdate
from topone_proto.wire.kline import KlineUpdate
from topone_proto.wire.orders import OrderUpdate

__all__ = ["Deliveries"]


def _is_end(event: Event) -> bool:
    """Return True for the last state of an order. It is said here again, since what an update says
    of itself is judged, too."""
    return isinstance(event, OrderUpdate) and event.order.is_closed


def _key(event: Event) -> tuple[object, ...] | None:
    """Return the name of the thing that an update is about, as ``_is_end`` by the rules' own
    words."""
    match event:
        case OrderUpdate(order=order):
            return ("orders", order.id)
        case BalanceUpdate(balance=balance):
            return ("balance", balance.asset)
        case DepthUpdate(topic=topic):
            return ("depth", topic.name)
        case KlineUpdate(topic=topic, candles=candles):
            return ("kline", topic.name, *(candle.time for candle in candles))
        case _:
            return None


class Deliveries:
    """Everything that was put into one feed's buffer, and what came out of it.

    Args:
        config: the feed's settings.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(self, config: SessionConfig, fail: Callable[[str, str], Never]) -> None:
        self._config = config
        self._fail = fail
        # Everything that was put, and not taken or skipped yet.
        self._waiting: deque[Event] = deque()
        self._is_stretched = False
        # The most events that one step had.
        self._largest = 0
        self._calls = 0
        self._skipped = 0
        self._announced = 0

    def called(self) -> None:
        """The application calls ``subscribe`` or ``unsubscribe``."""
        self._calls += 1

    def put(self, events: Iterable[Event]) -> None:
        """Events of one step go into the buffer."""
        before = len(self._waiting)
        self._waiting.extend(events)
        self._largest = max(self._largest, len(self._waiting) - before)

    def paused(self) -> None:
        """Reading stops, which is right only if the buffer is full of what must be kept."""
        if self._config.delivery is DeliveryPolicy.CONFLATE:
            keys = [_key(event) for event in self._waiting]
            needed = len({*keys} - {None}) + keys.count(None) + sum(map(_is_end, self._waiting))
            if needed < self._config.capacity:
                self._fail("freshness", f"reading stops, and only {needed} events must be kept")

    def taken(self, event: Event) -> None:
        """The application takes an event out of the feed."""
        if isinstance(event, Conflated):
            if self._config.delivery is not DeliveryPolicy.CONFLATE or event.count < 1:
                self._fail("I1", f"unasked: {event}")
            self._announced += event.count
            return
        while self._waiting:
            put = self._waiting.popleft()
            if put is event:
                break
            self._skip(put)
        else:
            self._fail("I1", f"the buffer delivers what was not put into it, or twice: {event}")
        if self._config.delivery is DeliveryPolicy.CONFLATE and _key(event) is not None:
            newer = sum(_key(later) == _key(event) for later in self._waiting)
            if newer > self._config.capacity and not _is_end(event):
                self._fail("freshness", f"{newer} newer ones have come when it takes {event}")
        if self._skipped > self._announced:
            self._fail("I1", f"the buffer has dropped {self._skipped - self._announced} in silence")

    def waiting(self, count: int, *, has_waiters: bool) -> None:
        """So many events wait for the application, after a step."""
        capacity = self._config.capacity
        # While a call waits for its answer, reading goes on until twice as many wait; that is over
        # when there is room again.
        self._is_stretched = has_waiters or (self._is_stretched and count > capacity)
        limit = capacity * (2 if self._is_stretched else 1)
        # Beyond it: the step that fills the buffer, that which ends the connection or the feed, and
        # the answers to the application's own calls.
        limit += 2 * self._largest + 2 * self._calls
        if count > limit:
            self._fail("I4", f"{count} events wait, with room for {capacity}")

    def all_is_calm(self) -> None:
        """Everything that arrived was taken."""
        while self._waiting:
            self._skip(self._waiting.popleft())
        if self._skipped != self._announced:
            self._fail("I1", f"{self._skipped} updates left out, and {self._announced} announced")

    def _skip(self, event: Event) -> None:
        """An event that was left out: there must be a newer one to come that says more."""
        key = _key(event)
        self._skipped += 1
        if key is None or not any(_key(later) == key for later in self._waiting):
            self._fail("I1", f"the buffer has lost {event}")
        if _is_end(event):
            self._fail("I1", f"the last state of an order is left out: {event}")
