"""The parts that the screens of all feeds have: the header above, and the latest lines below."""

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.panel import Panel
from rich.text import Text

from topone_cli._format import clock, printable
from topone_cli._life import Life, Line
from topone_cli._rows import height_of, panel

__all__ = ["feed_panel", "header", "lines_panel", "shortened"]

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
    "stalled": "bold red",
    "closed": "bold",
    "failed": "bold red",
}


def feed_panel(life: Life) -> Panel:
    """Return a panel with the latest lines, as many as there is room for."""
    return lines_panel("Feed", tuple(life.log))


def lines_panel(title: str, lines: Sequence[Line]) -> Panel:
    """Return a panel with the last of some lines, as many as there is room for."""
    return panel(title, _Latest(lines))


def header(life: Life, title: str, at: float, width: int, facts: Sequence[str] = ()) -> Text:
    """Return two lines: the title, and the state of the feed with as many facts as fit behind it,
    the most important first."""
    state = life.state
    if life.retry_at is not None:
        longer = f"{state}, retry in {max(0.0, life.retry_at - at):.1f} s"
        state = longer if len(longer) <= width else state
    header = Text(no_wrap=True, overflow="ellipsis")
    header.append(f"{shortened(printable(title), width)}\n", "bold")
    header.append(state, _STATE_STYLES[life.state])
    room = width - len(state)
    for fact in (*facts, *_facts(life, at)):
        room -= len(fact) + 2
        if room < 0:
            break
        header.append(f"  {fact}")
    return header


def shortened(title: str, width: int) -> str:
    """Return as many of the parts between commas as fit: a URL cut short is another one."""
    while cell_len(title) > width and ", " in title:
        title = title.rpartition(", ")[0]
    return title


def _facts(life: Life, at: float) -> list[str]:
    """Return facts about a feed, the most important first."""
    return [
        f"epoch {life.epoch}",
        f"gaps {sum(life.gaps.values())}",
        f"lag by ts {'-' if life.lag is None else _lag(life.lag)}",
        f"anomalies {life.anomalies}",
        f"events {life.events}, {life.rate(at):.1f}/s",
    ]


def _lag(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 10 else f"{seconds:.4g} s"


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
