"""A panel of rows at a terminal, in which no number is ever cut or broken.

Columns that do not fit are left out, the least important first. If not even the most important
ones fit side by side, they stand below each other. Only a number that is wider than the panel is
replaced by ``#``.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final, Literal

from attrs import field, frozen
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from topone_cli._format import printable

__all__ = ["Column", "Rows", "height_of", "panel"]

# A panel's borders, and the space beside what is within.
_FRAME_COLUMNS: Final = 4
_FRAME_ROWS: Final = 2
# What a title needs beside itself, within the frame.
_TITLE_MARGIN: Final = 2
_INDENT: Final = 2
_GAP: Final = 2
_TOO_WIDE: Final = "#"


@frozen
class Column:
    """A column of a panel of rows."""

    heading: str
    justify: Literal["left", "right"] = "left"
    rank: int = 0
    """Those of the highest are left out first if there is no room for all; of 0 never."""

    @property
    def is_number(self) -> bool:
        """True of numbers, which are aligned at their ends and named where they stand alone."""
        return self.justify == "right"


@frozen(slots=False, eq=False)
class Rows:
    """A panel with as many rows and columns as there is room for.

    Args:
        title: the panel's. If not all rows are shown, it says how many are.
        columns: what a row says.
        rows: the cells of each; the most important first.
        legends: what a mark at the end of a cell means.
        least_title: how much room the title has at least.
        legend: what else is explained below.
        styles: the style of a row that has a cell with one of these texts.
        unsure: the mark, at the end of the first cell, of a row that is drawn in another style.
        most: rows beyond this are never shown.
        is_counted: True says how many rows there are in any case, None in none.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    legends: Mapping[str, str] = field(factory=dict[str, str])
    least_title: int = 0
    legend: str = ""
    styles: Mapping[str, str] = field(factory=dict[str, str])
    unsure: tuple[str, str] = ("", "")
    most: int = 100
    is_counted: bool | None = False

    @property
    def width(self) -> int:
        """The width of the panel with all columns."""
        return max(_together(self._widths), self._title_width) + _FRAME_COLUMNS

    @property
    def least_width(self) -> int:
        """Its width with the most important columns side by side."""
        kept = [
            width
            for width, column in zip(self._widths, self.columns, strict=True)
            if not column.rank
        ]
        return max(_together(kept), self._title_width) + _FRAME_COLUMNS

    def has_room(self, width: int, height: int) -> bool:
        """True if a panel of so many columns and lines shows every row."""
        room = width - _FRAME_COLUMNS
        if self._fitting(room) is not None:
            return len(self._candidates) < height - _FRAME_ROWS
        shown, _ = self._stacked(max(1, room), max(0, height - _FRAME_ROWS))
        return len(shown) == len(self._candidates)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = height_of(console, options)
        room = options.max_width - _FRAME_COLUMNS
        fitting = self._fitting(room)
        inside: RenderableType
        if fitting is not None:
            shown = self._candidates[: max(0, height - _FRAME_ROWS - 1)]
            inside = self._table(shown, fitting)
        else:
            shown, lines = self._stacked(max(1, room), max(0, height - _FRAME_ROWS))
            inside = Text("\n").join(lines)
        cells = [cell for row in shown for cell in row]
        marks = {cell[-1:] for cell in cells} & set(self.legends)
        legend = ", ".join(filter(None, (*map(self.legends.get, sorted(marks)), self.legend)))
        heading = self._heading(len(shown))
        if cell_len(heading) > room - _TITLE_MARGIN and len(shown) < len(self.rows):
            # How many there are says more than the whole of the name.
            heading = heading.rpartition(": ")[2]
        yield panel(heading, inside, legend=legend, height=height)

    def _heading(self, shown: int) -> str:
        count = len(self.rows)
        if shown < count and self.is_counted is not None:
            return f"{self.title}: {shown} of {count}"
        return f"{self.title}: {count}" if self.is_counted else self.title

    def _table(self, rows: Sequence[Sequence[str]], fitting: Sequence[int]) -> Table:
        table = Table(
            box=None, expand=True, pad_edge=False, collapse_padding=True, header_style="dim"
        )
        for n in fitting:
            column = self.columns[n]
            table.add_column(column.heading, justify=column.justify, no_wrap=True)
        for row in rows:
            table.add_row(*(Text(row[n]) for n in fitting), style=self._style(row))
        return table

    def _stacked(self, room: int, height: int) -> tuple[Sequence[Sequence[str]], list[Text]]:
        """Return the rows that fit in so many lines, and these lines."""
        shown: list[Sequence[str]] = []
        lines: list[Text] = []
        for row in self._candidates:
            pieces = list(_flowed(self._said(row), room))
            if len(lines) + len(pieces) > height:
                break
            shown.append(row)
            lines += [Text(piece, self._style(row)) for piece in pieces]
        return shown, lines

    def _said(self, row: Sequence[str]) -> Iterable[str]:
        for cell, column in zip(row, self.columns, strict=True):
            if cell and not column.rank:
                yield f"{column.heading} {cell}" if column.is_number else cell

    def _style(self, row: Sequence[str]) -> str:
        mark, style = self.unsure
        if mark and row[0].endswith(mark):
            return style
        return next((self.styles[cell] for cell in row if cell in self.styles), "")

    def _fitting(self, room: int) -> list[int] | None:
        """Return the columns to show side by side; None if not even the most important ones fit."""
        fitting = list(range(len(self.columns)))
        while _together([self._widths[n] for n in fitting]) > room:
            least = max(fitting, key=lambda n: self.columns[n].rank)
            if not self.columns[least].rank:
                return None
            fitting.remove(least)
        return fitting

    @property
    def _title_width(self) -> int:
        count = len(self.rows)
        longest = self.title if self.is_counted is None else f"{self.title}: {count} of {count}"
        return max(cell_len(longest), self.least_title) + _TITLE_MARGIN

    @cached_property
    def _widths(self) -> list[int]:
        """The width of each column."""
        return [
            max(cell_len(text) for text in (column.heading, *(row[n] for row in self._candidates)))
            for n, column in enumerate(self.columns)
        ]

    @cached_property
    def _candidates(self) -> Sequence[Sequence[str]]:
        """The rows that there may be room for, safe to print."""
        return [[printable(cell) for cell in row] for row in self.rows[: self.most]]


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + max(0, len(widths) - 1)


def _flowed(pieces: Iterable[str], room: int) -> Iterable[str]:
    """Yield lines of whole pieces, those after the first one indented."""
    line = ""
    is_first = True
    for piece in pieces:
        for part in _parts(piece, room if is_first and not line else room - _INDENT):
            longer = f"{line}{' ' * _GAP}{part}" if line.strip() else f"{line}{part}"
            if line.strip() and cell_len(longer) > room:
                yield line
                is_first = False
                longer = f"{' ' * _INDENT}{part}"
            line = longer
    yield line


def _parts(piece: str, room: int) -> list[str]:
    """Return ``piece``, or, if it is too wide for a line, its words. A word that is too wide is not
    shown: a part of a number is another number."""
    if cell_len(piece) <= room:
        return [piece]
    return [
        word if cell_len(word) <= room else _TOO_WIDE * min(3, max(1, room))
        for word in piece.split()
    ]


def panel(
    title: str, inside: RenderableType, *, legend: str = "", height: int | None = None
) -> Panel:
    """Return a frame with a title above and a legend below."""
    return Panel(
        inside,
        title=title,
        title_align="left",
        subtitle=legend or None,
        subtitle_align="right",
        border_style="dim",
        height=height,
    )


def height_of(console: Console, options: ConsoleOptions) -> int:
    """Return the number of lines to draw into."""
    return options.height or console.height
