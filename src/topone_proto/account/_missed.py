"""Orders that were made and closed while updates may have been missing, told apart by their ids.

Theory. Such an order is on no list of open ones, and nobody asks for it by its id. It is in the
history of finished orders, among all those that ended before anybody followed the account. Server
times do not tell them apart. Ids do: the exchange counts its orders, so a later one has a larger
id.

- The *base* is the largest id of all once the account is whole for the first time: of the newest
  page of the history, and of everything that is known. Smaller ids are older, and no news.
- When updates may be missing, the largest id that the stream has told becomes the *floor*. An order
  of the history above it that was never told was made and closed since. An id that only an answer
  told is no floor: the stream may have been dead for a while already.
- A loss before the base is known belongs to the start, and has no floor.
- The floor stays until the history was read down to it, after the latest loss. Another loss does
  not raise it.

Told orders are forgotten in the end, since their number has a limit. Their ids are remembered, up
to a limit of their own; beyond it the floor rises (``forgotten``).
"""

from collections.abc import Iterable

from topone_proto.account._asking import NOT_TOLD
from topone_proto.account._forgotten import Forgotten
from topone_proto.account._questions import HistoryQuery
from topone_proto.wire.orders import Order

__all__ = ["MissedOrders"]


class MissedOrders:
    """The ids of an account's orders, as far as they show what was missed."""

    def __init__(self) -> None:
        # The largest id that the stream has told, or the base.
        self._latest = 0
        self._is_based = False
        self._floor: int | None = None
        self._lost_at = NOT_TOLD
        self._forgotten = Forgotten()

    @property
    def query(self) -> HistoryQuery | None:
        """The question to the history; None if there is none."""
        if self._is_based and self._floor is None:
            return None
        return HistoryQuery(self._floor, self._lost_at)

    def heard(self, number: int) -> None:
        """The stream has told an order."""
        self._latest = max(self._latest, number)

    def start_from(self, numbers: Iterable[int]) -> None:
        """Take these, and all below, as older than the account."""
        self._latest, self._is_based = max((self._latest, *numbers)), True

    def lose(self, position: int) -> None:
        """Updates may be missing from now on."""
        self._lost_at = position
        if self._is_based and self._floor is None:
            self._floor = self._latest

    def forget(self, order: Order, *, has_ended: bool, is_told: bool = True) -> None:
        """Remember an order that was known and is not any more."""
        dropped = self._forgotten.add(order, has_ended=has_ended, is_told=is_told)
        if dropped is not None:
            self._latest = max(self._latest, dropped)
            self._floor = None if self._floor is None else max(self._floor, dropped)

    def has_ended(self, number: int) -> bool:
        """Return True if the end of an order that is not known any more was known."""
        return self._forgotten.has_ended(number)

    def last(self, number: int) -> Order | None:
        """Return the last state of an order that is not known any more, if that was not its
        end."""
        return self._forgotten.last(number)

    def was_told(self, number: int) -> bool:
        """Return True if the application was told of an order that is not known any more."""
        return self._forgotten.was_told(number)

    def includes(self, number: int) -> bool:
        """Return True if an order of the history that is not known was missed."""
        return self._floor is not None and number > self._floor and number not in self._forgotten

    def caught_up(self) -> None:
        """Everything that was missed is told."""
        self._floor = None
