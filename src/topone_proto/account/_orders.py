"""Orders as the stream and answers tell them: what is believed, and whether a list lacks nothing.

Which are kept says ``kept_orders``. Which of two states is later decides ``evidence``; whether both
can be believed, this module:

- The stream against itself: a state that contradicts its last one is an anomaly, not applied, and
  the order is in doubt until a later state fits both, or an answer by id has come.
- The stream against an answer that was ahead of it: no anomaly, since the answer may have been
  read before the update that is still to come. The order is in doubt until the stream has caught
  up.
- A list against what is held: what it may be behind stands, where it is ahead it is applied, and
  where both cannot be true the order is in doubt.
- An answer by id that was asked for after the doubt, and not crossed: the truth.
- Any of these against an order that was told to its end and is not kept any more: its end told
  again is no news, and a state that is open is in doubt.
- A snapshot of a relayed account against what is held: not applied, and the order is in doubt. So
  is one that was told as open, since when nothing is missing, and that the snapshot lacks. What is
  in doubt already the snapshot settles (``ledger``).

Whether a list lacks nothing. A list may have been read page by page, each at a moment of its own.
An order that closes between two pages moves the rows behind it up by one, and one of them slips
through unseen; an order that is made meanwhile moves them down and makes a row appear twice. So

- a list that was read at one moment (``pages=1``), or is empty, is complete;
- two passes in a row, the second one asked for after the first was answered, that have the same
  orders and no row twice are complete: had an order closed after it was read in the first pass, the
  second would lack it. That holds however late the stream is, as long as an order that has left
  the list of open ones does not come back to it. If answers may lag, pages are not even read in the
  order of time, and an order that is made can hide another as well. Then three passes are needed:
  the second is complete, since nothing was made in it (the first would lack that) and nothing
  closed (the third would). A pass in which the stream tells a close does not count: an exchange
  that shifts its pages without one could hide the same order from both;
- a list of which nobody says how many pages it took is read again if the stream has told a close
  since it was asked for. If not, it is accepted *on probation*: there may have been one page only.
  The next close that the stream tells refutes it, and from then on only a complete list will do;
- any other list is read again: the close that hid a row may still be under way.

At most one list is refuted in a subscription that way, so that an account which closes orders all
the time is not asked about all the time. Such an account may never have two lists that are alike,
so after ``_MAX_LISTS`` of them the last one is accepted. Whatever any of them had is known by then,
and asked for by its id if the last one lacks it: an order could slip through only where it slipped
through each of them.
"""

from collections.abc import Collection, Iterable
from typing import Final

from attrs import frozen

from topone_proto.account._asking import NOT_TOLD
from topone_proto.account._changes import (
    Change,
    Knowledge,
    MovedBackwards,
    OutcomeUnknown,
)
from topone_proto.account._config import AccountConfig
from topone_proto.account._evidence import (
    contradiction,
    has_moved,
    is_ahead,
    is_same_state,
    latest,
    may_be_older,
)
from topone_proto.account._kept_orders import KeptOrders, Known
from topone_proto.account._questions import OrdersQuery
from topone_proto.account._snapshot import Snapshot
from topone_proto.wire.orders import Order, OrderUpdate

__all__ = ["Orders"]


@frozen
class _Pass:
    """The last of the lists, and how many in a row were like it."""

    numbers: frozenset[int] = frozenset()
    answered_at: int = NOT_TOLD
    count: int = 0


_NO_PASS: Final = _Pass()

_MAX_LISTS: Final = 8
"""So many lists are read in one subscription until one is complete, and then the last one is
accepted."""


class Orders(KeptOrders):
    """All orders that are known."""

    def __init__(self, max_closed: int, config: AccountConfig) -> None:
        super().__init__(max_closed, config)
        self._lag = config.answer_lag
        self._moved_at = NOT_TOLD
        """The position at which the stream last told that an order had closed."""
        self._pass = _NO_PASS
        self._is_on_probation = False
        self._is_refuted = False
        """True once a list of this subscription was refuted: only a complete one will do."""
        self._lists = 0
        """The number of lists that were read since this subscription, or the latest loss on it,
        began."""
        self._has_picture = False
        """True once there was a snapshot."""

    def follow(self, position: int) -> tuple[Change, ...]:
        """Every update from here on arrives."""
        self._pass, self._is_on_probation, self._is_refuted = _NO_PASS, False, False
        self._lists = 0
        return super().follow(position)

    # --- the stream -----------------------------------------------------------------------------

    def heard(self, update: OrderUpdate, position: int) -> tuple[Change, ...]:
        """The stream told an order."""
        order = update.order
        self._missed.heard(order.id)
        known = self._find(order.id)
        if known is None and self._missed.has_ended(order.id):
            return self._tell_again(order, position, is_lasting=True) + self._settled()
        changes = self._move(order, known, position)
        if known is None:
            changes += self._put(order, update.ts, position)
            self._resolve(order.id)
        else:
            changes += self._weigh(update, known, position)
        known = self._find(order.id)
        assert known is not None  # what is forgotten is older
        known.heard = order
        if not any(isinstance(change, MovedBackwards) for change in changes):
            known.told = order
        return changes + self._settled()

    def _tell_again(self, order: Order, position: int, *, is_lasting: bool) -> tuple[Change, ...]:
        """Something is told of an order that was told to its end, and forgotten."""
        if order.is_closed:
            self._resolve(order.id)
            return ()
        self._rows[order.id] = order
        return self._put_in_doubt(order.id, position, is_lasting=is_lasting)

    def _weigh(self, update: OrderUpdate, known: Known, position: int) -> tuple[Change, ...]:
        """Believe an update or not, by what is held and by what the stream told before."""
        order, number = update.order, update.order.id
        reason = contradiction(order, known.order)
        changes: tuple[Change, ...]
        if reason is None:
            changes = self._put(order, update.ts, position)
            if known.heard is None or contradiction(order, known.heard) is None:
                self._resolve(number)
                return changes
            return changes + self._put_in_doubt(number, position, is_lasting=True)
        changes = self._put_in_doubt(number, position, is_lasting=True)
        if known.told is None or contradiction(order, known.told) is None:
            return changes  # an answer was ahead of the stream, which has to catch up
        return (MovedBackwards(known.order, order, update.ts, reason), *changes)

    def _move(self, order: Order, known: Known | None, position: int) -> tuple[Change, ...]:
        """Look whether the update may have moved the rows of a list while it was read."""
        heard = None if known is None else known.heard
        if order.is_open:
            # See above: if answers lag, what is made matters as well.
            if not self._may_lag or (heard is not None and heard.is_open):
                return ()
        elif heard is not None and heard.is_closed:
            return ()  # told again
        self._moved_at = position
        if not self._is_on_probation:
            return ()
        self._is_on_probation, self._is_refuted = False, True
        return self._reopen_list(position)

    # --- answers --------------------------------------------------------------------------------

    def merge(
        self,
        query: OrdersQuery,
        found: Iterable[Order],
        pages: int | None,
        total: int | None,
        answered_ts: int | None,
        position: int,
    ) -> tuple[Change, ...]:
        """An answer told orders."""
        rows = tuple(found)
        if query.is_audit:
            self._compare(query, rows, position)
            return ()
        was_suspect = self._is_suspect(query.ids)
        is_by_name = query.ids is not None
        if is_by_name:
            rows = latest(rows)
        changes: list[Change] = []
        for order in rows:
            if is_by_name and order.id not in self.doubts and order.id not in self._lost:
                continue
            changes += self._take(order, query, position)
        if query.ids is None:
            self._judge(query, rows, pages, total, position)
        else:
            names = {order.id for order in rows}
            changes += self._not_found(query, sorted(set(query.ids) - names))
        return self._finish(changes, answered_ts, was_suspect=was_suspect)

    def _take(self, order: Order, query: OrdersQuery, position: int) -> tuple[Change, ...]:
        """Take one order of an answer in."""
        number, known = order.id, self._find(order.id)
        if known is None:
            has_ended = self._missed.has_ended(number)
            if has_ended and (order.is_closed or query.ids is None):
                return self._tell_again(order, position, is_lasting=False)
            if not order.is_closed and query.position < self._forgotten_at:
                # It may have closed since the exchange read its books, and been forgotten since.
                self._rows[number] = order
                return self._put_in_doubt(number, position, is_lasting=False)
            return self._confirm(order, position)
        if self._is_crossed(query, number):
            return self._take_crossed(order, known, position)
        reason = contradiction(order, known.order)
        if reason is None or query.ids is not None:
            if known.heard is not None and contradiction(order, known.heard) is not None:
                known.heard = known.told = order
            return self._confirm(order, position)
        return (
            MovedBackwards(known.order, order, None, reason),
            *self._put_in_doubt(number, position, is_lasting=True),
        )

    def _take_crossed(self, order: Order, known: Known, position: int) -> tuple[Change, ...]:
        """Take one order in that may be older than what is known of it."""
        reason = contradiction(order, known.order)
        self._ask_again(order.id)
        if reason is None:
            return self._heal(order, position) if is_ahead(order, known.order) else ()
        # One that is in doubt is asked for already: a newer doubt would cross the next answer, too.
        if may_be_older(order, known.order) or order.id in self.doubts:
            return ()
        return (
            MovedBackwards(known.order, order, None, reason),
            *self._put_in_doubt(order.id, position, is_lasting=True),
        )

    def _confirm(self, order: Order, position: int) -> tuple[Change, ...]:
        changes = self._heal(order, position)
        self._resolve(order.id)
        return changes

    def _compare(self, query: OrdersQuery, rows: tuple[Order, ...], position: int) -> None:
        """Compare the list of an audit with what is known. What differs may be under way on the
        stream: it is asked for by its id before it is believed."""
        rows = latest(rows)
        for order in rows:
            number, known = order.id, self._find(order.id)
            if known is None:
                is_older = query.position < self._forgotten_at and self._missed.has_ended(number)
                if not is_older:
                    self._rows[number] = order
                    self._suspect(number, position)
            elif number in self._lost or not (
                is_same_state(order, known.order)
                or (self._is_crossed(query, number) and may_be_older(order, known.order))
            ):
                self._suspect(number, position)
        self._audited(query, {order.id for order in rows}, position)

    def _judge(
        self,
        query: OrdersQuery,
        rows: tuple[Order, ...],
        pages: int | None,
        total: int | None,
        position: int,
    ) -> None:
        """Decide whether a list lacks nothing that was open."""
        numbers = frozenset(order.id for order in rows)
        # Where orders closed while it was read, others may have slipped from page to page.
        is_quiet = not has_moved(rows, total) and query.position >= self._moved_at
        last = self._pass
        is_like_last = numbers == last.numbers and query.position >= last.answered_at
        count = 0 if not is_quiet else last.count + 1 if is_like_last else 1
        self._pass = _Pass(numbers, position, count)
        self._lists += 1
        is_complete = pages == 1 or not rows or count >= (3 if self._may_lag else 2)
        is_enough = is_complete or self._lists >= _MAX_LISTS
        may_be_one_page = pages is None and is_quiet and not self._is_refuted
        if is_enough or may_be_one_page:
            self._is_on_probation = not is_enough
            self._accept_list(query, set(numbers), position)
        else:
            self._reopen_list(position)

    @property
    def _may_lag(self) -> bool:
        return self._lag > 0 and self._has_clock

    def _was_told_to_its_end(self, number: int) -> bool:
        known = self.find(number)
        return self._missed.has_ended(number) if known is None else known.is_closed

    # --- snapshots ------------------------------------------------------------------------------

    def _replace(
        self, snapshot: Snapshot, settled: Collection[int], position: int
    ) -> tuple[Change, ...]:
        """An order that the holder does not have any more has ended, and how is unknown, unless it
        was told here. What had ended before the first picture is no news until something more is
        known of it. All of it is told, even if not so much is kept."""
        is_first = self.knowledge is Knowledge.UNKNOWN and not self._has_picture
        self._has_picture = True
        self._pass, self._is_on_probation, self._is_refuted = _NO_PASS, False, False
        self._rows.clear()
        orders = (*snapshot.other_orders, *snapshot.open_orders)
        listed = {order.id for order in (*orders, *snapshot.unknown_outcomes)}
        changes: list[Change] = []
        for number in sorted(self._listable() - listed):
            if number in settled or self._position_of(number) <= self._broken_at:
                changes += self._give_up(number)
            else:
                # It was told as open, nothing is missing since, and its end was not told.
                changes += self._put_in_doubt(number, position, is_lasting=True)
        for order in snapshot.unknown_outcomes:
            if not self._is_lost_already(order):
                reason = None if order.id in settled else self._objection(order)
                if reason is None:
                    changes += self._lose_one(order, position, is_first=is_first)
                else:
                    changes += self._refuse(order, reason, position)
        for order in orders:
            reason = None if order.id in settled else self._objection(order)
            if reason is None:
                changes += self._show(order, position, is_first=is_first)
            else:
                changes += self._refuse(order, reason, position)
        return tuple(changes)

    def _is_lost_already(self, order: Order) -> bool:
        """Return True if there is nothing new about an order of which nobody says how it ended."""
        number, lost = order.id, self._lost.get(order.id)
        if lost is None:
            is_forgotten = self._find(number) is None and self._missed.last(number) == order
            return is_forgotten or self._was_told_to_its_end(number)
        # The oldest comes first, as in the snapshot.
        self._lost[number] = self._lost.pop(number)
        return lost.order == order

    def _lose_one(self, order: Order, position: int, *, is_first: bool) -> tuple[Change, ...]:
        """Take in an order of which nobody says how it ended."""
        number = order.id
        is_unheard = self._find(number) is None and self._missed.last(number) is None
        differences = self._heal(order, position)
        known = (self._open if order.is_open else self._rest).pop(number)
        known.heard = known.told = None
        known.is_told = not (is_first and is_unheard)
        self._lost[number] = known
        if len(self._lost) > self._max_closed:
            self._forget(self._lost)
        return (*differences, OutcomeUnknown(order)) if known.is_told else ()

    def _show(self, order: Order, position: int, *, is_first: bool) -> tuple[Change, ...]:
        """Take in an order that is open, or of which its end is known."""
        number = order.id
        is_unknown, was_told = self._find(number) is None, self._missed.was_told(number)
        is_old = is_unknown and order.is_closed and (is_first or self._missed.has_ended(number))
        differences = self._heal(order, position)
        known = self._find(number)
        assert known is not None  # no more than are kept
        known.heard = known.told = None
        if not is_old:
            return differences
        known.is_told = was_told
        return ()

    def _objection(self, order: Order) -> str | None:
        """Return in a few words why an order of a snapshot contradicts what is held; None if it
        does not."""
        known = self._find(order.id)
        if known is not None:
            return contradiction(order, known.order)
        has_ended = self._missed.has_ended(order.id)
        return "it had ended" if has_ended and not order.is_closed else None

    def _refuse(self, order: Order, reason: str, position: int) -> tuple[Change, ...]:
        """A snapshot contradicts what is held: neither can be trusted until more is told."""
        known = self._find(order.id)
        if known is None:
            self._rows[order.id] = order
            return self._put_in_doubt(order.id, position, is_lasting=True)
        moved = MovedBackwards(known.order, order, None, reason)
        return (moved, *self._put_in_doubt(order.id, position, is_lasting=True))
