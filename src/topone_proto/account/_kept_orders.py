"""The orders that an account keeps: all that are open, and the latest of the others up to a limit.

Here is how they change, come and go; whether a state can be believed decides ``orders``. What is
not kept any more is remembered by its id (``missed``), which also says what the history of finished
orders is to be asked for.
"""

from collections.abc import Iterable

from attrs import define, evolve

from topone_proto.account._asking import NOT_TOLD
from topone_proto.account._changes import Change, Difference, OrderChanged, OutcomeUnknown
from topone_proto.account._config import AccountConfig
from topone_proto.account._evidence import fill_between, latest
from topone_proto.account._ledger import Ledger
from topone_proto.account._missed import MissedOrders
from topone_proto.account._questions import HistoryQuery
from topone_proto.wire.orders import ORDERS, Order

__all__ = ["KeptOrders", "Known"]


@define(eq=False)
class Known:
    """An order that is kept, and what the stream has told of it."""

    order: Order
    """Its latest state that is believed."""
    position: int
    """The position at which it was told or confirmed."""
    heard: Order | None = None
    """The latest state that the stream told, believed or not."""
    told: Order | None = None
    """The latest state that the stream told and that does not contradict its earlier ones."""
    is_told: bool = True
    """False while the application was not told of it: the first snapshot showed it as past."""


class KeptOrders(Ledger[int]):
    """The orders of one account. ``Orders`` takes in what is told of them."""

    def __init__(self, max_closed: int, config: AccountConfig) -> None:
        super().__init__(ORDERS, config)
        self._max_closed = max_closed
        self._open: dict[int, Known] = {}
        # Those of an unknown status as well: they may be closed, so their number needs a limit.
        self._rest: dict[int, Known] = {}
        self._lost: dict[int, Known] = {}
        """Of which nobody says how they ended."""
        self._rows: dict[int, Order] = {}
        """Of orders in doubt that are not known here: the state that an answer showed."""
        self._forgotten_at = NOT_TOLD
        """The latest position at which an order was told that was forgotten since, by the stream or
        an answer."""
        self._missed = MissedOrders()

    @property
    def open_orders(self) -> dict[int, Order]:
        """Every open order, by id."""
        return {number: known.order for number, known in self._open.items()}

    @property
    def other_orders(self) -> dict[int, Order]:
        """Every order that is closed or of an unknown status, by id."""
        return {number: known.order for number, known in self._rest.items()}

    @property
    def unknown_outcomes(self) -> dict[int, Order]:
        """Every order of which nobody says how it ended, by id."""
        return {number: known.order for number, known in self._lost.items()}

    def find(self, number: int) -> Order | None:
        """Return what is known of one order."""
        known = self._find(number)
        return None if known is None else known.order

    # --- the history ----------------------------------------------------------------------------

    @property
    def history_query(self) -> HistoryQuery | None:
        """The question to the history of finished orders; None if there is none."""
        query = self._missed.query
        return query and evolve(query, lost=frozenset(self._lost))

    def catch_up(
        self, query: HistoryQuery, found: Iterable[Order], position: int, *, is_last: bool
    ) -> tuple[Change, ...]:
        """The history told finished orders."""
        rows = latest(found)
        if query != self.history_query:
            return ()
        if query.after is None:
            known = (*self._open, *self._rest, *self._lost)
            self._missed.start_from((*known, *(order.id for order in rows)))
            return ()
        changes: list[Change] = []
        for order in sorted(rows, key=lambda order: order.id):
            number = order.id
            is_unknown = self._find(number) is None
            is_missed = self._missed.includes(number) or self._missed.last(number) is not None
            if not order.is_open and ((is_unknown and is_missed) or number in self._lost):
                changes += self._heal(order, position)
        if is_last:
            self._missed.caught_up()
        return tuple(changes)

    # --- decisions ------------------------------------------------------------------------------

    def give_up(self, number: int) -> tuple[Change, ...]:
        """Stop asking for an order: nobody will say how it ended."""
        known = self._find(number)
        is_sure = known is None or number in self._lost or self.is_current(number)
        if is_sure and number not in self.unresolved:
            return ()
        return self._finish(self._give_up(number), self._answered_ts)

    def _give_up(self, name: int) -> tuple[Difference, ...]:
        known = self._open.pop(name, None) or self._rest.pop(name, None)
        if known is None and self._missed.has_ended(name):
            self._resolve(name)
            return ()  # it was told how
        changes: tuple[Difference, ...] = ()
        if known is None and name not in self._lost:
            order = self._rows[name]
            before = self._missed.last(name) if self._missed.was_told(name) else None
            known = Known(order, NOT_TOLD)
            if before is None or fill_between(before, order, healed=True):
                # Nobody has heard of it, or of what was filled until then.
                changes = _news(before, order, None, healed=True)
        self._resolve(name)
        if known is None:
            return ()  # reported already
        self._lost[name] = known
        if len(self._lost) > self._max_closed:
            self._forget(self._lost)
        return (*changes, OutcomeUnknown(known.order))

    # --- what is kept ---------------------------------------------------------------------------

    def _find(self, number: int) -> Known | None:
        return self._open.get(number) or self._rest.get(number) or self._lost.get(number)

    def _heal(self, order: Order, position: int) -> tuple[Difference, ...]:
        return self._put(order, None, position, healed=True)

    def _put(
        self, order: Order, ts: int | None, position: int, *, healed: bool = False
    ) -> tuple[Difference, ...]:
        was_lost = order.id in self._lost
        known = (
            self._open.pop(order.id, None)
            or self._rest.pop(order.id, None)
            or self._lost.pop(order.id, None)
        )
        before = self._missed.last(order.id) if known is None else known.order
        if known is None:
            # One that is open now and was not when it was forgotten had an unknown outcome.
            was_lost = order.is_open
            is_told = before is None or self._missed.was_told(order.id)
            known = Known(order, position, is_told=is_told)
        known.order, known.position = order, position
        if order.is_open:
            self._open[order.id] = known
        else:
            self._rest[order.id] = known
            if len(self._rest) > self._max_closed:
                self._forget(self._rest)
        if before == order and not was_lost:
            return ()
        # Of what was never told everything is news.
        before, known.is_told = before if known.is_told else None, True
        return _news(before, order, ts, healed=healed)

    def _forget(self, orders: dict[int, Known]) -> None:
        number = next(iter(orders))
        known = orders.pop(number)
        self._forgotten_at = max(self._forgotten_at, known.position)
        has_ended = known.order.is_closed and orders is not self._lost
        self._missed.forget(known.order, has_ended=has_ended, is_told=known.is_told)
        self._resolve(number)

    def _mark_stale(self, position: int) -> tuple[Change, ...]:
        self._missed.lose(position)
        changes = super()._mark_stale(position)
        self._rows = {name: row for name, row in self._rows.items() if name in self.doubts}
        return changes

    def _resolve(self, name: int) -> None:
        super()._resolve(name)
        self._rows.pop(name, None)

    def _listable(self) -> set[int]:
        """The open ones, and those of an unknown status: they may be open, and may have changed."""
        unsure = {number for number, known in self._rest.items() if not known.order.is_closed}
        return unsure.union(self._open)

    def _position_of(self, name: int) -> int:
        known = self._find(name)
        return NOT_TOLD if known is None else known.position

    def _is_right(self, name: int) -> bool:
        known = self._find(name)
        if known is None or name in self._lost:
            return False
        return known.order.is_closed or self._is_since_followed(known.position)


def _news(
    before: Order | None, order: Order, ts: int | None, *, healed: bool
) -> tuple[Difference, ...]:
    changed = OrderChanged(before, order, ts, healed)
    return (changed, *fill_between(before, order, healed=healed))
