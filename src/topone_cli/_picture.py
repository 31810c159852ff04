"""An account on a screen, with rich, in as many rows and columns as there are.

Everything that came from the server is ``Text``, never markup, and passes through ``printable``.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from rich.layout import Layout

from topone_cli._describe import average, ordered
from topone_cli._format import clock, number, price, word
from topone_cli._frame import feed_panel, header
from topone_cli._life import Life
from topone_cli._rows import Column, Rows
from topone_proto import Balance, Order
from topone_proto.account import AggregatedFill

__all__ = ["Pictured", "picture"]

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
# Whether the stream or an answer over HTTP has told a row.
_TOLD: Final = Column("told by", rank=4)
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


class Pictured(Protocol):
    """An account as a screen shows it."""

    @property
    def life(self) -> Life:
        """The life of its feed."""
        ...

    @property
    def titles(self) -> tuple[str, str, str]:
        """The headings above balances, closed orders and open orders."""
        ...

    @property
    def fills(self) -> Iterable[AggregatedFill]:
        """The latest fills, the latest first."""
        ...

    def balances(self) -> Sequence[Balance]:
        """Return the balances by asset."""
        ...

    def open_orders(self) -> Sequence[Order]:
        """Return open orders, the most important first."""
        ...

    def closed_orders(self) -> Sequence[Order]:
        """Return orders that are not open, the latest first."""
        ...

    def status_of(self, order: Order) -> str:
        """Return the status of an order in words."""
        ...

    def is_current(self, name: int | str) -> bool:
        """Return True if an order, by id, or a balance, by asset, is right."""
        ...

    def told_by(self, name: int | str) -> str | None:
        """Return who has told a row; None if all were told by the stream."""
        ...

    def facts(self, at: float) -> Sequence[str]:
        """Return what the header says first."""
        ...


def picture(view: Pictured, title: str, at: float, *, width: int, height: int = 24) -> Layout:
    """Return the whole screen at ``at``, for so many columns and lines. It fills the height that it
    is given."""
    rows = partial(Rows, legends=_LEGENDS, unsure=(_OUTDATED, _UNSURE), most=height)
    balances_title, closed_title, open_title = view.titles
    balances = rows(balances_title, _BALANCES, [_balance(view, b) for b in view.balances()])
    fills = rows("Recent fills", _FILLS, [_fill(fill) for fill in view.fills], is_counted=None)
    closed = rows(closed_title, _CLOSED, [_closed(view, o) for o in view.closed_orders()])
    shown = view.open_orders()
    orders = [_open(view, order) for order in shown]
    columns = _OPEN if not shown or view.told_by(shown[0].id) is None else (*_OPEN, _TOLD)
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
        Layout(header(view.life, title, at, width, view.facts(at)), size=2),
        top,
        Layout(rows(open_title, columns, orders, is_counted=True), ratio=7),
        Layout(feed_panel(view.life), ratio=8),
    )
    return screen


def _balance(view: Pictured, balance: Balance) -> list[str]:
    mark = "" if view.is_current(balance.asset) else _OUTDATED
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


def _open(view: Pictured, order: Order) -> list[str]:
    mark = "" if view.is_current(order.id) else _OUTDATED
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
        *filter(None, (view.told_by(order.id),)),
    ]


def _closed(view: Pictured, order: Order) -> list[str]:
    return [
        str(order.id),
        order.market,
        word(order.side),
        view.status_of(order),
        number(order.filled),
        average(order),
    ]
