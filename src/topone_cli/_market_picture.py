"""The screen of a market, with rich, in as many rows and columns as there are."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from attrs import frozen
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.layout import Layout

from topone_cli._candles import ASCII_LEGEND, LEGEND, CandleChart
from topone_cli._format import clock, number, server_clock, word
from topone_cli._frame import feed_panel, header
from topone_cli._market_view import MarketView
from topone_cli._rows import Column, Rows, height_of, panel
from topone_proto import Book, Deal, Gap, Level, Topic

__all__ = ["market_picture"]

_OUTDATED: Final = "?"
_LEGEND: Final = f"{_OUTDATED} may be outdated"
_STYLES: Final = {
    "ask": "red",
    "sell": "red",
    "bid": "green",
    "buy": "green",
    "spread": "bold",
    "crossed": "bold yellow",
    "gap": "bold yellow",
}
# Fewer columns have no room for two panels side by side, more have room for three.
_NARROW: Final = 60
_WIDE: Final = 120
_LEAST_CHART: Final = 40
# In fewer lines of a narrow terminal there is no room for the chart.
_TALL: Final = 36
_BAR: Final = 10
_STEP: Final = 4
_BOOK: Final = (
    Column("side"),
    Column("price", "right"),
    Column("amount", "right"),
    Column("in all", "right", rank=1),
    Column("", rank=2),
)
_TRADES: Final = (
    Column("time", rank=1),
    Column("side"),
    Column("amount", "right"),
    Column("price", "right"),
)


def market_picture(
    view: MarketView, title: str, at: float, *, width: int, height: int = 24
) -> Layout:
    """Return the whole screen at ``at``, for so many columns and lines. It fills the height that it
    is given."""
    book = _BookPanel(view)
    chart = _ChartPanel(view)
    trades = Rows(
        _name(view, "Trades", view.deals),
        _TRADES,
        [_trade(trade) for trade in view.trades],
        legend=_legend(view, view.deals),
        most=height,
        is_counted=None,
        styles=_STYLES,
    )
    middle = Layout()
    of_book = _within(book.rows(height).width, width)
    of_trades = _within(trades.width, width)
    if width < _NARROW:
        parts = (book, chart, trades) if height >= _TALL else (book, trades)
        middle.split_column(*(Layout(part) for part in parts))
    elif width < _WIDE or width - of_book - of_trades < _LEAST_CHART:
        right = Layout()
        right.split_column(Layout(chart, ratio=5), Layout(trades, ratio=3))
        # The sums are for wider screens.
        middle.split_row(Layout(book, size=_within(book.rows(height).least_width, width)), right)
    else:
        middle.split_row(Layout(book, size=of_book), Layout(chart), Layout(trades, size=of_trades))
    facts = () if view.last is None else (f"last {number(view.last)}",)
    screen = Layout()
    screen.split_column(
        Layout(header(view, title, at, width, facts), size=2),
        Layout(middle, ratio=17),
        Layout(feed_panel(view), ratio=5),
    )
    return screen


def _within(wanted: int, width: int) -> int:
    """Return a panel's width: the wanted one, up to a half. It is rounded, so that few numbers
    change it."""
    return min(-(-wanted // _STEP) * _STEP, width // 2)


def _name(view: MarketView, name: str, topic: Topic | None) -> str:
    """Return a panel's name, marked if what it shows may be outdated."""
    return f"{name}{_OUTDATED}" if view.is_outdated(topic) else name


def _legend(view: MarketView, topic: Topic | None) -> str:
    return _LEGEND if view.is_outdated(topic) else ""


@frozen
class _BookPanel:
    """The best levels of the order book, as many as there is room for on both sides: the asks
    above, the best one lowest, then the spread and the bids."""

    view: MarketView

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = height_of(console, options)
        mark = "#" if options.ascii_only else "█"
        # Beside the levels there are the frame, the headings and the spread.
        levels = max(1, (height - 4) // 2)
        while (
            not (rows := self.rows(levels, mark)).has_room(options.max_width, height) and levels > 1
        ):
            levels -= 1
        # Yielded as it is, it would lose its height.
        yield from console.render(rows, options)

    def rows(self, levels: int, mark: str = "█") -> Rows:
        """Return the panel with so many levels on each side, and bars of marks."""
        view = self.view
        book = view.book
        name = _name(view, "Order book", view.depth)
        rows: list[list[str]] = []
        room = 0
        if book is not None:
            levels_in_all = len(book.asks) + len(book.bids)
            room = max(cell_len(f"{name}: {levels_in_all} of {levels_in_all}"), cell_len(_LEGEND))
            asks, bids = book.asks[:levels], book.bids[:levels]
            most = max((level.amount for level in (*asks, *bids)), default=Decimal(0))
            rows = [
                *reversed(_levels("ask", asks, most, mark)),
                _between(book),
                *_levels("bid", bids, most, mark),
            ]
            if len(asks) < len(book.asks) or len(bids) < len(book.bids):
                name += f": {len(asks) + len(bids)} of {levels_in_all}"
        return Rows(
            name,
            _BOOK,
            rows,
            least_title=room,
            legend=_legend(view, view.depth),
            most=len(rows),
            is_counted=None,
            styles=_STYLES,
        )


def _levels(side: str, levels: Sequence[Level], most: Decimal, mark: str) -> list[list[str]]:
    """Return a row for each level, with a bar of marks for its part of the largest amount."""
    rows: list[list[str]] = []
    total = Decimal(0)
    for level in levels:
        total += level.amount
        bar = mark * int(level.amount / most * _BAR) if level.amount > 0 else ""
        rows.append([side, number(level.price), number(level.amount), number(total), bar])
    return rows


def _between(book: Book) -> list[str]:
    """Return the row between the asks and the bids."""
    if not book.asks or not book.bids:
        return ["spread", "-", "", "", ""]
    spread = number(book.asks[0].price - book.bids[0].price)
    return ["crossed" if book.is_crossed else "spread", spread, "", "", ""]


@frozen
class _ChartPanel:
    """The candles."""

    view: MarketView

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view = self.view
        chart = CandleChart(view.candles(), view.period)
        legend = _legend(view, view.kline) or (ASCII_LEGEND if options.ascii_only else LEGEND)
        name = _name(view, f"Candles {view.period_name}", view.kline)
        yield panel(name, chart, legend=legend, height=height_of(console, options))


def _trade(trade: Deal | Gap) -> list[str]:
    if isinstance(trade, Gap):
        return [server_clock(trade.until_ts).partition(".")[0], "gap", "", ""]
    return [clock(trade.time), word(trade.side), number(trade.amount), number(trade.price)]
