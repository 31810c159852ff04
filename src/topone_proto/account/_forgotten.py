"""The ids of orders that were told and are not kept any more, so that none is told twice.

Theory. An account keeps ``max_closed`` orders that are not open. Any of the others can come again:
in a list that lags, in the history, or on the stream. An id is much less than an order, so many
more of them are kept. Of too many the smallest goes, which is the oldest order: the exchange counts
its orders.
"""

from heapq import heappop, heappush
from typing import Final

__all__ = ["Forgotten"]

_MAX_FORGOTTEN: Final = 10_000


class Forgotten:
    """The ids of forgotten orders, up to a limit."""

    def __init__(self) -> None:
        self._has_ended: dict[int, bool] = {}
        self._smallest: list[int] = []

    def add(self, number: int, *, has_ended: bool) -> int | None:
        """Remember an id. Return the one that is given up for it; None if there is room.

        Args:
            number: the id of an order.
            has_ended: True if its end was told. Another one, of an unknown status or outcome, may
                have changed when it comes again.
        """
        if number not in self._has_ended:
            heappush(self._smallest, number)
        self._has_ended[number] = has_ended
        if len(self._has_ended) <= _MAX_FORGOTTEN:
            return None
        dropped = heappop(self._smallest)
        del self._has_ended[dropped]
        return dropped

    def __contains__(self, number: int) -> bool:
        return number in self._has_ended

    def has_ended(self, number: int) -> bool:
        """Return True if this order was told to its end."""
        return self._has_ended.get(number, False)
