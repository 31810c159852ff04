"""How a ``View`` looks, with rich, in as many rows and columns as there are.

Everything that came from the server is ``Text``, never markup, and passes through ``printable``.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal

from attrs import frozen
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from topone_cli._describe import average, clock, number, printable, word
from topone_cli._view import Known, Line, View
from topone_proto import Balance, Order

__all__ = ["picture"]

_EVENT_STYLES: Final = {
    "": "italic",
    "Connected": "green",
    "Subscribed": "green",
    "Disconnected": "bold red",
    "Closed": "bold",
}
_OTHER_EVENT: Final = "bold yellow"
_STATE_STYLES: Final = {
    "connecting": "yellow",
    "connected": "bold green",
    "disconnected": "bold red",
    "closed": "bold",
    "failed": "bold red",
}
_UNSURE: Final = "yellow"


@frozen
class _Column:
    heading: str
    justify: Literal["left", "right"] = "left"
    least_width: int = 0
    """How wide the table has to be for this column to be shown."""


_BALANCES: Final = (_Column("asset"), _Column("available", "right"), _Column("frozen", "right"))
_OPEN: Final = (
    _Column("id"),
    _Column("market"),
    _Column("side"),
    _Column("type"),
    _Column("price", "right"),
    _Column("amount", "right"),
    _Column("filled", "right"),
    _Column("average", "right", 90),
    _Column("updated", "right", 70),
)
_CLOSED: Final = (
    _Column("id"),
    _Column("market"),
    _Column("side"),
    _Column("status"),
    _Column("filled", "right", 50),
    _Column("average", "right", 60),
)


def picture(view: View, at: float) -> Layout:
    """The whole screen as it is at ``at``. It fills the height that it is given."""
    balances = [_balance(view, known) for _, known in sorted(view.balances.items())]
    orders = [_open(view, known) for known in reversed(view.open_orders.values())]
    closed = [_closed(order) for order in view.closed_orders]
    top = Layout(ratio=7)
    top.split_row(
        Layout(_panel("Balances", _Rows(_BALANCES, balances)), ratio=7),
        Layout(_panel("Closed orders", _Rows(_CLOSED, closed)), ratio=9),
    )
    screen = Layout()
    screen.split_column(
        Layout(_header(view, at), size=2),
        top,
        Layout(_panel(f"Open orders: {len(orders)}", _Rows(_OPEN, orders)), ratio=7),
        Layout(_panel("Feed", _Latest(tuple(view.log))), ratio=8),
    )
    return screen


def _header(view: View, at: float) -> Text:
    state = view.state
    if view.retry_at is not None:
        state += f", retry in {max(0.0, view.retry_at - at):.1f} s"
    header = Text(no_wrap=True, overflow="ellipsis")
    header.append(f"{printable(view.title)}\n", "bold")
    header.append(state, _STATE_STYLES[view.state])
    header.append(f"  epoch {view.epoch}  gaps {sum(view.gaps.values())}")
    header.append(f"  anomalies {view.anomalies}  events {view.events}, {view.rate(at):.1f}/s")
    return header


def _panel(title: str, inside: RenderableType) -> Panel:
    return Panel(inside, title=title, title_align="left", border_style="dim")


def _balance(view: View, known: Known[Balance]) -> list[str]:
    balance = known.value
    mark = "?" if view.may_have_changed(known) else ""
    return [balance.asset + mark, number(balance.available), number(balance.freeze)]


def _open(view: View, known: Known[Order]) -> list[str]:
    order = known.value
    return [
        f"{order.id}{'?' if view.may_have_changed(known) else ''}",
        order.market,
        word(order.side),
        word(order.type),
        number(order.price) if order.price else "-",
        number(order.amount),
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


@frozen
class _Rows:
    """A table of as many rows and columns as there is room for."""

    columns: Sequence[_Column]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fitting = [
            n for n, column in enumerate(self.columns) if column.least_width <= options.max_width
        ]
        table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
        for n in fitting:
            column = self.columns[n]
            table.add_column(column.heading, justify=column.justify, no_wrap=True)
        for row in islice(self.rows, max(0, _height(console, options) - 1)):
            style = _UNSURE if row[0].endswith("?") else ""
            table.add_row(*(Text(printable(row[n])) for n in fitting), style=style)
        yield table


@frozen
class _Latest:
    """The last lines of a log, as many as there is room for."""

    log: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.log[-_height(console, options) :]:
            style = _EVENT_STYLES.get(line.name, _OTHER_EVENT)
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"{clock(line.at)} ", "dim")
            text.append(f"{line.name} " if line.name else "", style)
            text.append(line.text, "" if line.name else style)
            yield text


def _height(console: Console, options: ConsoleOptions) -> int:
    return options.height or console.height
