"""``Stats`` at a terminal: a table, and bars over time."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from attrs import frozen
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from topone_cli._describe import describe
from topone_cli._format import clock, printable
from topone_cli._stats import Stats

__all__ = ["date", "duration", "report"]

_MAX_GAPS: Final = 10
_SPACE: Final = 2


def report(stats: Stats, rows: int) -> RenderableType:
    """Return the numbers, and a bar for each of so many parts of the time at most."""
    parts: list[RenderableType] = [_Facts([(n, printable(text)) for n, text in _facts(stats)])]
    if stats.gaps:
        parts += [Text(), *_gaps(stats)]
    return Group(*parts, Text(), _Bars(stats, rows))


@frozen
class _Facts:
    """Names and what stands beside them; below them, if a word there would have to be broken."""

    facts: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = _widest("", (name for name, _ in self.facts)) + _SPACE
        words = _widest("", (word for _, text in self.facts for word in text.split()))
        if names + words > options.max_width:
            for name, text in self.facts:
                yield Text(name, "dim")
                yield Padding(Text(text), (0, 0, 0, _SPACE))
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in self.facts:
            table.add_row(name, Text(text))
        yield table


def _facts(stats: Stats) -> Iterable[tuple[str, str]]:
    yield "recorded", f"{date(stats.began_at, None)}, for {duration(stats.seconds)}"
    yield (
        "server",
        f"{stats.url} ({', '.join(topic.name for topic in stats.topics) or 'no topics'})",
    )
    yield "connections", _in_all(stats.connections, stats.losses, "ended or failed by ")
    yield "frames", f"{stats.frames}, {decimal(stats.size)}"
    yield "events", _in_all(stats.events.total(), stats.events)
    yield "rate", f"{stats.rate:.4g} events/s, {stats.busiest} in the busiest second"
    latencies = stats.latencies()
    if latencies:
        numbers = ", ".join(f"{name} {value:g}" for name, value in latencies.items())
        yield "latency", f"{numbers} ms, recorder's clock less server ts"
    yield "anomalies", _in_all(stats.anomalies.total(), stats.anomalies)
    yield "gaps", _in_all(stats.gap_counts.total(), stats.gap_counts)


def _in_all(total: int, counts: Mapping[str, int], before: str = "") -> str:
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{total} ({before}{parts})" if parts else f"{total}"


def _gaps(stats: Stats) -> Iterator[Text]:
    for seen in stats.gaps[:_MAX_GAPS]:
        yield Text(f"gap of {describe(seen.gap)}", "bold red")
    more = stats.gap_counts.total() - _MAX_GAPS
    if more > 0:
        yield Text(f"and {more} more", "bold red")


@frozen
class _Bars:
    """Events over time, a line for each part of it. No number is cut: bars shrink, and instead of
    the topics that had a gap it is only said that there was one."""

    stats: Stats
    rows: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        slot, counts = self.stats.timeline.in_parts(self.rows)
        times = [clock((self.stats.began_at or 0.0) + n * slot) for n in range(len(counts))]
        numbers = [str(count) for count in counts]
        gaps = [self._gaps_in(n * slot, slot) for n in range(len(counts))]
        heading = f"events, {duration(slot)} a line"
        others = _widest("from", times) + _widest("", numbers) + 3 * _SPACE
        gap_heading = "gaps of"
        if others + _widest(gap_heading, gaps) + len(heading) > options.max_width:
            gap_heading = ""
            gaps = ["gap" if topics else "" for topics in gaps]
        table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
        table.add_column("from", no_wrap=True)
        table.add_column(heading, ratio=1)
        table.add_column("", justify="right", no_wrap=True)
        table.add_column(gap_heading, no_wrap=True)
        for time, count, number, gap in zip(times, counts, numbers, gaps, strict=True):
            part = count / max(1, *counts)
            table.add_row(Text(time, "dim"), _Bar(part), Text(number), Text(gap, "bold red"))
        yield table

    def _gaps_in(self, began: float, slot: float) -> str:
        topics = {
            seen.gap.topic.name
            for seen in self.stats.gaps
            if seen.began < began + slot and seen.ended >= began
        }
        return printable(", ".join(sorted(topics)))


def _widest(heading: str, cells: Iterable[str]) -> int:
    return max(map(cell_len, (heading, *cells)))


@frozen
class _Bar:
    """A bar over a part of the room, of the characters that the terminal can show."""

    part: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.ascii_only:
            yield Text("#" * math.ceil(self.part * options.max_width))
        else:
            yield Bar(1.0, 0.0, self.part)


def date(seconds: float | None, zone: tzinfo | None) -> str:
    """Return date and time in a zone, the local one if it is None."""
    if seconds is None:
        return "nothing"
    try:
        return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    except (OverflowError, OSError, ValueError):
        return "an unknown time"


def duration(seconds: float) -> str:
    """Return a span of time in two units at most."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
