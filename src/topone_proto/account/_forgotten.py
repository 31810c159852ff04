"""Orders that were told and are not kept any more, so that none is told twice.

Theory. An account keeps ``max_closed`` orders that are not open. Any of the others can come again:
in a list that lags, in the history, or on the stream. An id is much less than an order, so many
more of them are kept. Of too many the smallest goes, which is the oldest order: the exchange counts
its orders.

An order that was told to its end has no news any more, and its id is enough. One of an unknown
status or outcome may have: its last state is kept as well, so that only what has changed since is
told. There are few of them.

One that the first snapshot of a relayed account has shown as past was never told. Its id is kept as
any other's, with a mark: if it has news after all, everything is.
"""

from heapq import heappop, heappush
from typing import Final

from topone_proto.wire.orders import Order

__all__ = ["Forgotten"]

_MAX_FORGOTTEN: Final = 10_000


class Forgotten:
    """Forgotten orders, up to a limit."""

    def __init__(self) -> None:
        # By id, the last state of each that was not told to its end.
        self._told: dict[int, Order | None] = {}
        self._untold: set[int] = set()
        """Of those that were known and never told."""
        self._smallest: list[int] = []

    def add(self, order: Order, *, has_ended: bool, is_told: bool = True) -> int | None:
        """Remember an order. Return the id that is given up for it; None if there is room.

        Args:
            order: its last state.
            has_ended: True if that is its end.
            is_told: False if the application was never told of it.
        """
        number = order.id
        if number not in self._told:
            heappush(self._smallest, number)
        self._told[number] = None if has_ended else order
        if is_told:
            self._untold.discard(number)
        else:
            self._untold.add(number)
        if len(self._told) <= _MAX_FORGOTTEN:
            return None
        dropped = heappop(self._smallest)
        del self._told[dropped]
        self._untold.discard(dropped)
        return dropped

    def __contains__(self, number: int) -> bool:
        return number in self._told

    def has_ended(self, number: int) -> bool:
        """Return True if the end of this order was known."""
        return number in self._told and self._told[number] is None

    def last(self, number: int) -> Order | None:
        """Return the last known state of an order, if that was not its end."""
        return self._told.get(number)

    def was_told(self, number: int) -> bool:
        """Return True if an order is remembered, and the application was told of it."""
        return number in self._told and number not in self._untold
