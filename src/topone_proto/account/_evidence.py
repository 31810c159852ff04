"""Rules of evidence for two states of one order, and for a list of several pages. Pure, and without
any time.

- A final status comes after an open one.
- Of two open states the one with the larger ``deal_stock`` is later. ``update_time`` says nothing:
  server clocks differ, and a cancel does not move it.
- What is filled and paid does not shrink, and an order stays the same order: its market, side,
  type, amount and price do not change.

Two states that break a rule contradict each other, and neither is better evidence by itself.
"""

from collections.abc import Collection, Iterable
from decimal import Context
from typing import Final

from topone_proto.account._changes import AggregatedFill, FillCorrected
from topone_proto.wire.orders import Order

__all__ = [
    "contradiction",
    "fill_between",
    "has_moved",
    "is_ahead",
    "is_same_state",
    "latest",
    "may_be_older",
]

# As in ``models``: wide enough to be exact.
_EXACT: Final = Context(prec=512)


def contradiction(order: Order, known: Order) -> str | None:
    """Return in a few words why ``order`` cannot be a state after ``known``; None if it can, or is
    the same."""
    if order == known:
        return None
    if not _is_same_order(order, known):
        return "it is another order"
    if known.is_closed:
        return None if is_same_state(order, known) else "the order was closed already"
    if order.deal_stock < known.deal_stock or order.deal_money < known.deal_money:
        return "less is filled than before"
    return None


def is_same_state(order: Order, known: Order) -> bool:
    """Return True if both say the same of one order. Times, and what is left, may be in other words
    in an answer than on the stream."""
    return order == known or (
        _is_same_order(order, known)
        and (order.status, order.deal_stock, order.deal_money)
        == (known.status, known.deal_stock, known.deal_money)
    )


def may_be_older(order: Order, known: Order) -> bool:
    """Return True if ``order`` can be a state before ``known``."""
    return not order.is_closed and contradiction(known, order) is None


def is_ahead(order: Order, known: Order) -> bool:
    """Return True if ``order``, which does not contradict ``known``, is the later one for sure."""
    return order.is_closed > known.is_closed or order.deal_stock > known.deal_stock


def latest(rows: Iterable[Order]) -> tuple[Order, ...]:
    """Return each order once, in the latest of its states: one that closes while it is looked up is
    open in the list of open ones, and closed in the history."""
    found: dict[int, Order] = {}
    for order in rows:
        other = found.get(order.id)
        if other is None or is_ahead(order, other):
            found[order.id] = order
    return tuple(found.values())


def fill_between(
    before: Order | None, after: Order, *, healed: bool
) -> tuple[AggregatedFill | FillCorrected, ...]:
    """Return what was filled between two states, or what was wrong about the fills so far."""
    stock, money, since = after.deal_stock, after.deal_money, None
    if before is not None:
        stock = _EXACT.subtract(stock, before.deal_stock)
        money = _EXACT.subtract(money, before.deal_money)
        since = before.update_time
    if not stock and not money:
        return ()
    if stock > 0 and money >= 0:
        return (AggregatedFill(after, since, stock, money, healed),)
    return (FillCorrected(after, stock, money, healed),)


def has_moved(rows: Collection[Order], total: int | None) -> bool:
    """Return True if the rows of all pages show that orders came or went while they were read: some
    come twice, or there are fewer than the list says (``total``, None for not said)."""
    return len({order.id for order in rows}) < max(len(rows), total or 0)


def _is_same_order(one: Order, other: Order) -> bool:
    return (
        (one.market, one.side, one.type, one.amount)
        == (other.market, other.side, other.type, other.amount)
    ) and (one.price is None or other.price is None or one.price == other.price)
