"""The judge of the events that the application of an account takes."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Never

from topone_proto.account import AccountEvent, BalanceChanged, OrderChanged
from topone_proto.events import Conflated
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.wire.topic import Update

__all__ = ["AccountDeliveries"]

_RULE: Final = "I1"


def _key(event: object) -> tuple[str, object] | None:
    """Return the name of the thing that a change is about. It is said here again, since what a
    change says of itself is judged, too."""
    match event:
        case OrderChanged(after=order):
            return ("orders", order.id)
        case BalanceChanged(after=balance):
            return ("balance", balance.asset)
        case _:
            return None


class AccountDeliveries:
    """Everything that was put into the buffer of one account, and what came out of it.

    Args:
        config: the settings of its feed.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(self, config: SessionConfig, fail: Callable[[str, str], Never]) -> None:
        self._capacity = config.capacity
        self._conflates = config.delivery is DeliveryPolicy.CONFLATE
        self._fail = fail
        # Each with True if it was put before the application has begun to take any.
        self._waiting: deque[tuple[AccountEvent, bool]] = deque()
        self._is_read = False
        # The most events that one step had.
        self._largest = 0
        self._skipped = 0
        self._announced = 0

    def put(self, events: Iterable[AccountEvent]) -> None:
        """Events of one step go into the buffer. An update shows itself by its changes."""
        kept = [(event, not self._is_read) for event in events if not isinstance(event, Update)]
        self._waiting += kept
        self._largest = max(self._largest, len(kept))

    def begin_reading(self) -> None:
        """The application takes events from now on."""
        self._is_read = True

    def taken(self, event: object) -> None:
        """The application takes an event."""
        if isinstance(event, Conflated):
            self._announced += event.count
            return
        while self._waiting:
            put, is_early = self._waiting.popleft()
            if put is event:
                break
            self._skip(put, is_early=is_early)
        else:
            self._fail(_RULE, f"the buffer delivers what was not put into it, or twice: {event}")
        if self._skipped > self._announced:
            self._fail(_RULE, f"{self._skipped - self._announced} events are left out in silence")

    def waiting(self, count: int) -> None:
        """So many events wait for the application, after a step."""
        # Beyond it: the step that fills the buffer, that which ends the connection or the feed, and
        # the word on what was left out.
        if count > self._capacity + 1 + (2 * self._largest if self._is_read else 0):
            self._fail("I4", f"{count} events wait, with room for {self._capacity}")

    def all_is_taken(self) -> None:
        """The buffer is empty."""
        while self._waiting:
            put, is_early = self._waiting.popleft()
            self._skip(put, is_early=is_early)
        if self._skipped != self._announced:
            self._fail(_RULE, f"{self._skipped} left out, and {self._announced} announced")

    def _skip(self, put: AccountEvent, *, is_early: bool) -> None:
        """An event that was left out: nobody took any, or there is a newer one that says more."""
        self._skipped += 1
        if is_early:
            return
        key = _key(put)
        has_newer = key is not None and any(_key(later) == key for later, _ in self._waiting)
        is_end = isinstance(put, OrderChanged) and put.after.is_closed
        if self._conflates and has_newer and not is_end:
            return
        self._fail(_RULE, f"the buffer has lost {put}")
