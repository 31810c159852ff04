"""How a ``View`` looks, with rich, in as many rows and columns as there are.

Everything that came from the server is ``Text``, never markup, and passes through ``printable``.
"""

from collections.abc import Sequence
from typing import Final, Literal

from attrs import frozen
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from topone_cli._describe import average, clock, number, price, printable, word
from topone_cli._view import Line, View
from topone_proto import Balance, Order
from topone_proto.account import AggregatedFill

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
_OUTDATED: Final = "?"
_IN_ALL: Final = "*"
_LEGENDS: Final = {
    _OUTDATED: f"{_OUTDATED} may be outdated",
    # The state before is not known.
    _IN_ALL: f"{_IN_ALL} since the order was made",
}
# A panel's borders, and the space beside what is within.
_FRAME_COLUMNS: Final = 4
_FRAME_ROWS: Final = 2
# From so many columns on there is room for the orders that have closed.
_WIDE: Final = 120


@frozen
class _Column:
    heading: str
    justify: Literal["left", "right"] = "left"
    rank: int = 0
    """Those of the highest are left out first if there is no room for all; of 0 never."""


_BALANCES: Final = (_Column("asset"), _Column("available", "right"), _Column("frozen", "right"))
_FILLS: Final = (
    _Column("time", rank=2),
    _Column("market"),
    _Column("side", rank=1),
    _Column("amount", "right"),
    _Column("price", "right"),
)
_OPEN: Final = (
    _Column("id"),
    _Column("market"),
    _Column("side"),
    _Column("type", rank=1),
    _Column("price", "right"),
    _Column("amount", "right"),
    _Column("filled", "right"),
    _Column("average", "right", rank=3),
    _Column("updated", "right", rank=2),
)
_CLOSED: Final = (
    _Column("id", rank=3),
    _Column("market"),
    _Column("side"),
    _Column("status"),
    _Column("filled", "right", rank=1),
    _Column("average", "right", rank=2),
)


def picture(view: View, title: str, at: float, *, width: int) -> Layout:
    """The whole screen as it is at ``at``, so many columns wide. It fills the height that it is
    given."""
    balances = _Rows("Balances seen", _BALANCES, [_balance(view, b) for b in view.balances()])
    orders = [_open(view, order) for order in view.open_orders()]
    is_wide = width >= _WIDE
    # As wide as the amounts are, within reason.
    widest = width * (4 if is_wide else 6) // 10
    top = Layout(ratio=7)
    top.split_row(
        Layout(balances, size=min(max(balances.width, width // 3), widest)),
        Layout(_Rows("Recent fills", _FILLS, [_fill(fill) for fill in view.fills])),
    )
    if is_wide:
        closed = [_closed(order) for order in view.closed_orders()]
        top.add_split(Layout(_Rows("Closed orders seen", _CLOSED, closed)))
    screen = Layout()
    screen.split_column(
        Layout(_header(view, title, at, width), size=2),
        top,
        Layout(_Rows(f"Open orders seen: {len(orders)}", _OPEN, orders), ratio=7),
        Layout(_panel("Feed", _Latest(tuple(view.log))), ratio=8),
    )
    return screen


def _header(view: View, title: str, at: float, width: int) -> Text:
    state = view.state
    if view.retry_at is not None:
        state += f", retry in {max(0.0, view.retry_at - at):.1f} s"
    header = Text(no_wrap=True, overflow="ellipsis")
    header.append(f"{printable(title)}\n", "bold")
    header.append(state, _STATE_STYLES[view.state])
    room = width - len(state)
    for fact in _facts(view, at):
        room -= len(fact) + 2
        if room < 0:
            break
        header.append(f"  {fact}")
    return header


def _facts(view: View, at: float) -> list[str]:
    """The most important first."""
    return [
        f"epoch {view.epoch}",
        f"gaps {sum(view.gaps.values())}",
        f"lag by ts {'-' if view.lag is None else _lag(view.lag)}",
        f"anomalies {view.anomalies}",
        f"events {view.events}, {view.rate(at):.1f}/s",
    ]


def _lag(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 10 else f"{seconds:.4g} s"


def _panel(
    title: str, inside: RenderableType, *, legend: str = "", height: int | None = None
) -> Panel:
    return Panel(
        inside,
        title=title,
        title_align="left",
        subtitle=legend or None,
        subtitle_align="right",
        border_style="dim",
        height=height,
    )


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
    """A panel with as many rows and columns as there is room for. No number in it is ever cut."""

    title: str
    columns: Sequence[_Column]
    rows: Sequence[Sequence[str]]

    @property
    def width(self) -> int:
        """How wide all of it is."""
        return sum(self._widths(self.rows)) + len(self.columns) - 1 + _FRAME_COLUMNS

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = _height(console, options)
        shown = self.rows[: max(0, height - _FRAME_ROWS - 1)]
        fitting = self._fitting(shown, options.max_width - _FRAME_COLUMNS)
        table = Table(
            box=None, expand=True, pad_edge=False, collapse_padding=True, header_style="dim"
        )
        for n in fitting:
            column = self.columns[n]
            # Part of a number is another number: what does not fit goes on in the next line.
            table.add_column(column.heading, justify=column.justify, overflow="fold")
        for row in shown:
            style = _UNSURE if row[0].endswith(_OUTDATED) else ""
            table.add_row(*(Text(printable(row[n])) for n in fitting), style=style)
        marks = {cell[-1:] for row in shown for cell in row} & set(_LEGENDS)
        legend = ", ".join(_LEGENDS[mark] for mark in sorted(marks))
        yield _panel(self.title, table, legend=legend, height=height)

    def _fitting(self, rows: Sequence[Sequence[str]], room: int) -> list[int]:
        """The columns to show."""
        widths = self._widths(rows)
        fitting = list(range(len(self.columns)))
        while sum(widths[n] + 1 for n in fitting) - 1 > room:
            least = max(fitting, key=lambda n: self.columns[n].rank)
            if not self.columns[least].rank:
                break
            fitting.remove(least)
        return fitting

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        """How wide each column is."""
        return [
            max(cell_len(text) for text in (column.heading, *(printable(row[n]) for row in rows)))
            for n, column in enumerate(self.columns)
        ]


@frozen
class _Latest:
    """The last lines of a log, as many as there is room for."""

    log: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = _height(console, options)
        shown: list[Text] = []
        for line in reversed(self.log):
            pieces = _wrapped(line, console, options.max_width)
            if shown and len(shown) + len(pieces) > room:
                break
            shown[:0] = pieces
        yield from shown[:room]


def _wrapped(line: Line, console: Console, width: int) -> list[Text]:
    time = f"{clock(line.at)} "
    style = _EVENT_STYLES.get(line.name, _OTHER_EVENT)
    text = Text()
    text.append(f"{line.name} " if line.name else "", style)
    text.append(f"{line.times} times, " if line.times > 1 else "", style)
    text.append(line.text, "" if line.name else style)
    pieces = text.wrap(console, max(1, width - len(time)))
    margins = [Text().append(time, "dim"), *(Text(" " * len(time)) for _ in pieces[1:])]
    return [margin.append_text(piece) for margin, piece in zip(margins, pieces, strict=True)]


def _height(console: Console, options: ConsoleOptions) -> int:
    return options.height or console.height
