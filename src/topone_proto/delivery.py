"""The bounded buffer between a feed and its application. Pure: it holds events and never waits for
anything."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from topone_proto.config import DeliveryPolicy
from topone_proto.events import BalanceUpdate, Conflated, Disconnected, Event, OrderUpdate

if TYPE_CHECKING:
    from topone_proto.messages import Update

__all__ = ["DeliveryBuffer"]


def _key(event: Event) -> tuple[str, str | int] | None:
    """What a newer update makes the older one superfluous by; None for what must not be left
    out."""
    if isinstance(event, OrderUpdate):
        return (event.topic.name, event.order.id)
    if isinstance(event, BalanceUpdate):
        return (event.topic.name, event.balance.asset)
    return None


class DeliveryBuffer:
    """Events that wait for the application, at most ``capacity`` of them.

    When it is ``full`` the transport stops reading until the application has taken some. Under the
    policy ``conflate``, when it would be full, only the newest waiting update of each asset and of
    each open order is kept, and it is full only if that makes no room. A ``Conflated`` event counts
    what was left out: nothing is dropped without a word.

    The events of one step are taken whole, so that ``len`` can exceed ``capacity`` by one step's
    events. Dials go on while nobody takes anything: of ``Disconnected`` in a row, a full buffer
    keeps the first and the newest, whose ``attempt`` tells of the others.
    """

    def __init__(self, capacity: int, policy: DeliveryPolicy = DeliveryPolicy.BLOCK) -> None:
        self._capacity = capacity
        conflates = policy is DeliveryPolicy.CONFLATE
        self._waiting: deque[Event] | _Conflating = _Conflating(capacity) if conflates else deque()
        self.put_update: Callable[[Update], object] = self._waiting.append
        """Take one update in: what ``put`` does, in less time."""
        # How many failures to connect were put in a row.
        self._failures = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def conflated(self) -> int:
        """How many updates were left out for newer ones so far."""
        return self._waiting.total if isinstance(self._waiting, _Conflating) else 0

    @property
    def full(self) -> bool:
        """True if nothing more should be read for now."""
        return len(self._waiting) >= self._capacity

    def put(self, events: tuple[Event, ...]) -> None:
        """Take events in, in order."""
        if events and isinstance(events[-1], Disconnected):
            # The first may stand behind other events of its step; those of failed dials come alone.
            in_row = self._failures if len(events) == 1 else 0
            self._failures = min(in_row, len(self._waiting)) + 1
            if self._failures > 2 and self.full:
                self._waiting.pop()
        else:
            self._failures = 0
        self._waiting.extend(events)

    def get(self) -> Event | None:
        """The next event, oldest first; None if there is none."""
        return self._waiting.popleft() if self._waiting else None


class _Conflating:
    """A queue that makes room by leaving superfluous updates out."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # The waiting events by number, and for each key the number of the newest one.
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._newest: dict[tuple[str, str | int], int] = {}
        self._number = 0
        self._left_out = 0
        self.total = 0
        """How many were left out so far."""
        # True if no key has a superfluous event: then a full queue need not be searched again.
        self._is_lean = True

    def __len__(self) -> int:
        return len(self._events) + bool(self._left_out)

    def extend(self, events: Iterable[Event]) -> None:
        for event in events:
            self.append(event)

    def pop(self) -> Event:
        """The newest event, which must be no update."""
        return self._events.popitem()[1]

    def popleft(self) -> Event:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            return Conflated(count)
        number, event = self._events.popitem(last=False)
        key = _key(event)
        if key is not None and self._newest[key] == number:
            del self._newest[key]
        return event

    def append(self, event: Event) -> None:
        key = _key(event)
        if len(self) >= self._capacity:
            self._make_room()
            if key is not None:
                self._leave_out(self._newest.get(key))
        elif key is not None:
            self._is_lean = False
        if key is not None:
            self._newest[key] = self._number
        self._events[self._number] = event
        self._number += 1

    def _make_room(self) -> None:
        if self._is_lean:
            return
        self._is_lean = True
        for number, event in list(self._events.items()):
            key = _key(event)
            if key is not None and self._newest[key] != number:
                self._leave_out(number)

    def _leave_out(self, number: int | None) -> None:
        if number is None:
            return
        event = self._events[number]
        # The last state of an order is news that nothing later repeats.
        if not (isinstance(event, OrderUpdate) and event.order.is_closed):
            del self._events[number]
            self._left_out += 1
            self.total += 1
