"""A ``View`` drawn with rich, in as many rows and columns as there are.

Everything that came from the server is ``Text``, never markup, and passes through ``printable``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import frozen
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.layout import Layout
from rich.text import Text

from topone_cli._describe import average, clock, number, ordered, price, printable, word
from topone_cli._rows import Column, Rows, height_of, panel
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
    """The whole screen as it is at ``at``, for so many columns and lines. It fills the height that
    it is given."""
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
        Layout(_header(view, title, at, width), size=2),
        top,
        Layout(rows("Open orders seen", _OPEN, orders, is_counted=True), ratio=7),
        Layout(panel("Feed", _Latest(tuple(view.log))), ratio=8),
    )
    return screen


def _header(view: View, title: str, at: float, width: int) -> Text:
    state = view.state
    if view.retry_at is not None:
        longer = f"{state}, retry in {max(0.0, view.retry_at - at):.1f} s"
        state = longer if len(longer) <= width else state
    header = Text(no_wrap=True, overflow="ellipsis")
    header.append(f"{_shortened(printable(title), width)}\n", "bold")
    header.append(state, _STATE_STYLES[view.state])
    room = width - len(state)
    for fact in _facts(view, at):
        room -= len(fact) + 2
        if room < 0:
            break
        header.append(f"  {fact}")
    return header


def _shortened(title: str, width: int) -> str:
    """As many of the parts between commas as there is room for: a URL cut short is another one."""
    while cell_len(title) > width and ", " in title:
        title = title.rpartition(", ")[0]
    return title


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


@frozen
class _Latest:
    """The last lines of a log, as many as there is room for."""

    log: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = height_of(console, options)
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
    margin = len(time)
    if max(map(len, text.plain.split()), default=0) > width - margin:
        # A long number has the whole width.
        margin = 0
        text = Text(time, "dim").append_text(text)
    pieces = text.wrap(console, max(1, width - margin))
    if not margin:
        return list(pieces)
    margins = [Text().append(time, "dim"), *(Text(" " * margin) for _ in pieces[1:])]
    return [margin.append_text(piece) for margin, piece in zip(margins, pieces, strict=True)]
