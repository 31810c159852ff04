"""The bounded buffer between a feed and its application. Pure: it holds events and never waits for
anything.

Theory. An update is *superseded* once a newer update of the same ``key`` (an asset, an order, a
market's book) waits after it. All other events are *needed*: what is no update, an update that
``is_final`` or has no key, and the newest update of each key. Both policies count the needed
events, and are ``full`` when these alone are ``capacity``. They differ in what may be superseded:

- ``block``: nothing. The buffer is a queue.
- ``conflate``: superseded updates wait like any other event while there is room. When an event
  comes and ``capacity`` events wait, all superseded updates are left out at once, and one
  ``Conflated`` event before all others counts them. So below ``capacity`` nothing is left out, and
  what the application takes next is older than the newest by no more than one buffer.

A buffer that nobody takes events from yet (``is_read=False``) holds nothing up: of the events that
are more than ``capacity`` the oldest are left out, of any kind, and counted by the ``Conflated``
that comes first once it is read.

Leaving updates out only makes room if it happens before reading stops. That is why ``full`` does
not count what may be left out: a reader that asks ``room`` goes on as long as there is any.

Invariants: ``len`` is at most ``capacity`` and the events of those ``put`` calls that came while it
was ``full``, or made it so; events keep their order; an update is either delivered or counted.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sized
from typing import Any

from topone_proto.events import Conflated
from topone_proto.session.config import DeliveryPolicy

__all__ = ["DeliveryBuffer"]


def _key(event: object) -> tuple[object, ...] | None:
    """Return what a newer update, or change of an account, supersedes an older one by; None for an
    event that is always needed."""
    return getattr(event, "key", None)


class DeliveryBuffer:
    """Events that wait for the application, at most ``capacity`` of them.

    When it is ``full`` the transport stops reading until the application has taken some. Under the
    policy ``conflate`` an event that comes when ``capacity`` events wait makes room first: of each
    asset and of each open order only the newest waiting update is kept, and a ``Conflated`` event
    says how many were left out. Then it is full only if that makes no room.

    The events of one step are taken whole, so that ``len`` can exceed ``capacity`` by one step's
    events.

    Args:
        capacity: how many events may wait.
        policy: what is done with those that are superseded.
        is_read: False if the application may never take one: nothing is held up until
            ``begin_reading``.
    """

    def __init__(
        self,
        capacity: int,
        policy: DeliveryPolicy = DeliveryPolicy.BLOCK,
        *,
        is_read: bool = True,
    ) -> None:
        self._capacity = capacity
        self._is_read = is_read
        # How many were left out because nobody takes any.
        self._unread = 0
        self._waiting: _Queue | _Conflating
        if policy is DeliveryPolicy.CONFLATE:
            self._waiting = _Conflating(capacity)
        else:
            self._waiting = _Queue()
        self._count_needed = self._waiting.needed
        self.waiting: Sized = self._waiting
        """The events that wait, to be counted."""
        self.get: Callable[[], Any] = self._waiting.get
        """Return the next event, oldest first; None if there is none."""
        self.put_update: Callable[[object], object] = (
            self._waiting.append if is_read else self._put_one
        )
        """Take one update in: what ``put`` does, in less time."""
        self.put_changes: Callable[[Iterable[object]], object] = (
            self._waiting.extend if is_read else self.put
        )
        """Take some events in: what ``put`` does, in less time once they are read."""
        self.needed: Callable[[], int] = self._count_needed if is_read else int
        """Return the number of events that hold reading up once they are ``capacity``."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def conflated(self) -> int:
        """The number of events that were left out so far."""
        return self._unread + (self._waiting.total if isinstance(self._waiting, _Conflating) else 0)

    @property
    def room(self) -> int:
        """The number of events that may still be put before the buffer is full; not below 0."""
        return max(0, self._capacity - self.needed())

    @property
    def full(self) -> bool:
        """True if nothing more should be read for now."""
        return not self.room

    def put(self, events: Iterable[object]) -> None:
        """Take events in, in order."""
        self._waiting.extend(events)
        if not self._is_read:
            self._shed()

    def begin_reading(self) -> None:
        """The application takes events from now on: nothing is left out any more but by the
        policy."""
        if self._is_read:
            return
        self._is_read = True
        self.put_update, self.put_changes = self._waiting.append, self._waiting.extend
        self.needed = self._count_needed
        if self._unread and not isinstance(self._waiting, _Conflating):
            self._waiting.appendleft(Conflated(self._unread))

    def _put_one(self, event: object) -> None:
        self.put((event,))

    def _shed(self) -> None:
        """Leave the oldest events out, since nobody takes any."""
        waiting = self._waiting
        if isinstance(waiting, _Conflating):
            waiting.shed()
            return
        while len(waiting) > self._capacity:
            waiting.popleft()
            self._unread += 1


class _Queue(deque[Any]):
    """A queue that leaves nothing out."""

    __slots__ = ()

    needed = deque[Any].__len__

    def get(self) -> Any:
        if not self:
            return None
        # A Ctrl-C may come behind any call of `popleft`, and the event would be lost.
        event = self[0]
        del self[0]
        return event


class _Conflating:
    """A queue that makes room by leaving superseded updates out."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # The waiting events by number, the number of the newest update of each key, and the numbers
        # of those that are superseded.
        self._events: OrderedDict[int, Any] = OrderedDict()
        self._newest: dict[tuple[object, ...], int] = {}
        self._superseded: set[int] = set()
        self._number = 0
        # How many were left out since the application was last told.
        self._left_out = 0
        self.total = 0
        """The number of updates left out so far."""

    def __len__(self) -> int:
        return len(self._events) + bool(self._left_out)

    def needed(self) -> int:
        """Return the number of waiting events that must not be left out."""
        return len(self._events) - len(self._superseded)

    def extend(self, events: Iterable[object]) -> None:
        for event in events:
            self.append(event)

    def get(self) -> Any:
        if not self:
            return None
        # A Ctrl-C may come behind each call: what is returned leaves the queue behind the last one.
        if self._left_out:
            event: Any = Conflated(self._left_out)
            self._left_out = 0
            return event
        number, event = next(iter(self._events.items()))
        self._forget(number, event)
        del self._events[number]
        return event

    def shed(self) -> None:
        while len(self._events) > self._capacity:
            number, event = next(iter(self._events.items()))
            self._forget(number, event)
            del self._events[number]
            self._left_out += 1
            self.total += 1

    def _forget(self, number: int, event: object) -> None:
        self._superseded.discard(number)
        key = _key(event)
        if key is not None and self._newest.get(key) == number:
            del self._newest[key]

    def append(self, event: object) -> None:
        is_late = len(self) >= self._capacity
        key = _key(event)
        if key is not None:
            self._supersede(self._newest.get(key))
            self._newest[key] = self._number
        if is_late:
            self._make_room()
        self._events[self._number] = event
        self._number += 1

    def _supersede(self, number: int | None) -> None:
        if number is None:
            return
        # The last state of an order is news that nothing later repeats.
        if not getattr(self._events[number], "is_final", False):
            self._superseded.add(number)

    def _make_room(self) -> None:
        for number in self._superseded:
            del self._events[number]
        self._left_out += len(self._superseded)
        self.total += len(self._superseded)
        self._superseded.clear()
