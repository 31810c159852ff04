"""Orders by id, and which state of one is the later."""

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Final

from attrs import define

from topone_proto.account.changes import AggregatedFill, Change, MovedBackwards, OrderChanged
from topone_proto.account.ledger import NOT_HEARD, Ledger
from topone_proto.account.questions import OrdersQuery
from topone_proto.events import OrderUpdate
from topone_proto.models import Order
from topone_proto.topics import ORDERS

__all__ = ["Orders"]

# As in ``models``: wide enough to be exact.
_EXACT: Final = Context(prec=512)


@define(eq=False)
class _KnownOrder:
    order: Order
    heard: Order | None = None
    """The latest state that the stream told of."""
    position: int = NOT_HEARD
    """When it did."""
    put_at: int = NOT_HEARD
    """When what is known of it was told, by the stream or an answer."""


class Orders(Ledger[int]):
    """Orders by id: all that are open, and the latest of the others up to a limit."""

    def __init__(self, max_closed: int) -> None:
        super().__init__(ORDERS)
        self._max_closed = max_closed
        self._open: dict[int, _KnownOrder] = {}
        # Those of an unknown status as well: they may be closed, so their number needs a limit.
        self._rest: dict[int, _KnownOrder] = {}
        self._forgotten_at = NOT_HEARD
        """When an order that was forgotten since was last told of, by the stream or an answer."""

    @property
    def open_orders(self) -> dict[int, Order]:
        return {number: known.order for number, known in self._open.items()}

    @property
    def other_orders(self) -> dict[int, Order]:
        return {number: known.order for number, known in self._rest.items()}

    def find(self, number: int) -> _KnownOrder | None:
        return self._open.get(number) or self._rest.get(number)

    def heard(self, update: OrderUpdate, position: int) -> tuple[Change, ...]:
        """The stream told of an order."""
        order = update.order
        changes: tuple[Change, ...] = ()
        known = self.find(order.id)
        if known is None or (reason := _objection(order, known.order)) is None:
            changes = self._put(order, update.ts, position)
        elif known.heard is None or _objection(order, known.heard) is None:
            # No step back of the stream: an answer was ahead of it.
            pass
        else:
            return (MovedBackwards(known.order, order, update.ts, reason),)
        known = self.find(order.id)
        assert known is not None  # at least one that is not open is remembered: this one
        known.heard, known.position = order, position
        self.absent.discard(order.id)
        return changes + self.settled()

    def merge(
        self, query: OrdersQuery, found: Iterable[Order], answered_ts: int | None, position: int
    ) -> tuple[Change, ...]:
        """An answer told of orders."""
        changes: list[Change] = []
        names: set[int] = set()
        for order in found:
            names.add(order.id)
            known = self.find(order.id)
            if known is None and not order.is_closed and query.position < self._forgotten_at:
                # It may have closed since the exchange read its books, and been forgotten since.
                self.absent.add(order.id)
                self._asked.discard(order.id)
                continue
            if known is None or _rank(order) > _rank(known.order):
                reason = None if known is None else _objection(order, known.order)
                if reason is None:
                    changes += self._put(order, None, position)
                elif known is not None and not known.order.is_closed:
                    changes.append(MovedBackwards(known.order, order, None, reason))
            self._resolve(order.id)
        return self.answered(query, query.ids, names, tuple(changes), answered_ts)

    def _put(self, order: Order, ts: int | None, position: int) -> tuple[Change, ...]:
        known = self._open.pop(order.id, None) or self._rest.pop(order.id, None)
        before = None if known is None else known.order
        if known is None:
            known = _KnownOrder(order)
        known.order, known.put_at = order, position
        if order.is_open:
            self._open[order.id] = known
        else:
            self._rest[order.id] = known
            if len(self._rest) > self._max_closed:
                forgotten = self._rest.pop(next(iter(self._rest)))
                self._forgotten_at = max(self._forgotten_at, forgotten.put_at)
        if before == order:
            return ()
        return (OrderChanged(before, order, ts), *_fill(before, order))

    def _listable(self) -> set[int]:
        return set(self._open)

    def is_known(self, name: int) -> bool:
        return self.find(name) is not None

    def is_told(self, name: int) -> bool:
        known = self.find(name)
        return known is not None and (
            known.order.is_closed or self._is_since_followed(known.position)
        )


def _rank(order: Order) -> tuple[bool, float, Decimal]:
    """Of two states of one order the one with the larger rank is the later one."""
    return order.is_closed, order.update_time or 0.0, order.deal_stock


def _objection(order: Order, known: Order) -> str | None:
    """Why ``order`` cannot come after ``known``; None if it can, or is the same."""
    if order == known:
        return None
    if known.is_closed:
        return "the order was closed already"
    if order.deal_stock < known.deal_stock or order.deal_money < known.deal_money:
        return "less is filled than before"
    if _rank(order) < _rank(known):
        return "the update is older"
    return None


def _fill(before: Order | None, after: Order) -> tuple[AggregatedFill, ...]:
    """What was filled between two states."""
    stock, money, since = after.deal_stock, after.deal_money, None
    if before is not None:
        stock = _EXACT.subtract(stock, before.deal_stock)
        money = _EXACT.subtract(money, before.deal_money)
        since = before.update_time
    return (AggregatedFill(after, since, stock, money),) if stock > 0 else ()
