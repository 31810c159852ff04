"""A ``View`` on a screen, with rich, in as many rows and columns as there are.

Everything that came from the server is ``Text``, never markup, and passes through ``printable``.
"""

from functools import partial
from typing import Final

from rich.layout import Layout

from topone_cli._describe import average, ordered
from topone_cli._format import clock, number, price, word
from topone_cli._frame import feed_panel, header
from topone_cli._rows import Column, Rows
from topone_cli._view import View
from topone_proto import Balance, Order
from topone_proto.account import AggregatedFill

__all__ = ["picture"]

_UNSURE: Final = "yellow"
_OUTDATED: Final = "?"
_IN_ALL: Final = "*"
_LEGENDS: Final = {
    _OUTDATED: f"{_OUTDATED} may be outdated",
    # The state before is not known.
    _IN_ALL: f"{_IN_ALL} since the order was made",
}
# From so many columns on there is room for the orders that have closed.
_WIDE: Final = 120
# In fewer lines there is no room for the fills below the balances.
_TALL: Final = 36

_BALANCES: Final = (Column("asset"), Column("available", "right"), Column("frozen", "right"))
_FILLS: Final = (
    Column("time", rank=2),
    Column("market"),
    Column("side", rank=1),
    Column("amount", "right"),
    Column("price", "right"),
)
_OPEN: Final = (
    Column("id"),
    Column("market"),
    Column("side"),
    Column("type", rank=1),
    Column("price", "right"),
    Column("amount", "right"),
    Column("filled", "right"),
    Column("average", "right", rank=3),
    Column("updated", "right", rank=2),
)
_CLOSED: Final = (
    Column("id", rank=3),
    Column("market"),
    Column("side"),
    Column("status"),
    Column("filled", "right", rank=1),
    Column("average", "right", rank=2),
)


def picture(view: View, title: str, at: float, *, width: int, height: int = 24) -> Layout:
    """Return the whole screen at ``at``, for so many columns and lines. It fills the height that it
    is given."""
    rows = partial(Rows, legends=_LEGENDS, unsure=(_OUTDATED, _UNSURE), most=height)
    balances = rows("Balances seen", _BALANCES, [_balance(view, b) for b in view.balances()])
    fills = rows("Recent fills", _FILLS, [_fill(fill) for fill in view.fills], is_counted=None)
    closed = rows("Closed orders seen", _CLOSED, [_closed(o) for o in view.closed_orders()])
    orders = [_open(view, order) for order in view.open_orders()]
    top = Layout(ratio=7)
    rest = width - balances.least_width - fills.least_width
    if rest >= 0:
        # As wide as the amounts are, within reason.
        least = min(max(balances.width, width // 3), width * 6 // 10, width - fills.least_width)
        is_wide = width >= _WIDE and rest >= closed.least_width
        if is_wide:
            least = min(least, width * 4 // 10, width - fills.least_width - closed.least_width)
        top.split_row(Layout(balances, size=max(balances.least_width, least)), Layout(fills))
        if is_wide:
            top.add_split(Layout(closed))
    elif height >= _TALL:
        top.split_column(Layout(balances), Layout(fills))
    else:
        top = Layout(balances, ratio=7)
    screen = Layout()
    screen.split_column(
        Layout(header(view, title, at, width), size=2),
        top,
        Layout(rows("Open orders seen", _OPEN, orders, is_counted=True), ratio=7),
        Layout(feed_panel(view), ratio=8),
    )
    return screen


def _balance(view: View, balance: Balance) -> list[str]:
    mark = "" if view.account.is_current(balance.asset) else _OUTDATED
    return [balance.asset + mark, number(balance.available), number(balance.freeze)]


def _fill(fill: AggregatedFill) -> list[str]:
    order = fill.order
    mark = _IN_ALL if fill.since is None else ""
    return [
        clock(order.update_time),
        order.market,
        word(order.side),
        number(fill.deal_stock) + mark,
        price(fill.price),
    ]


def _open(view: View, order: Order) -> list[str]:
    mark = "" if view.account.is_current(order.id) else _OUTDATED
    return [
        f"{order.id}{mark}",
        order.market,
        word(order.side),
        word(order.type),
        number(order.price) if order.price else "-",
        ordered(order),
        number(order.filled),
        average(order),
        clock(order.update_time),
    ]


def _closed(order: Order) -> list[str]:
    return [
        str(order.id),
        order.market,
        word(order.side),
        word(order.status),
        number(order.filled),
        average(order),
    ]
