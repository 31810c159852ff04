"""How ``Stats`` look at a terminal: a table, and bars over time."""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from attrs import frozen
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from topone_cli._describe import clock, describe, printable
from topone_cli._stats import Stats

__all__ = ["date", "duration", "report"]

_MAX_GAPS: Final = 10


def report(stats: Stats, rows: int) -> RenderableType:
    """The numbers, and a bar for each of so many parts of the time at most."""
    parts: list[RenderableType] = [_numbers(stats)]
    if stats.gaps:
        parts += [Text(), *_gaps(stats)]
    return Group(*parts, Text(), _bars(stats, rows))


def _numbers(stats: Stats) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _facts(stats):
        table.add_row(name, Text(printable(text)))
    return table


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


def _bars(stats: Stats, rows: int) -> Table:
    slot, counts = stats.timeline.in_parts(rows)
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    table.add_column("from", no_wrap=True)
    table.add_column(f"events, {duration(slot)} a line", ratio=1)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("gaps of", no_wrap=True)
    for n, count in enumerate(counts):
        began = n * slot
        topics = {
            seen.gap.topic.name
            for seen in stats.gaps
            if seen.began < began + slot and seen.ended >= began
        }
        table.add_row(
            Text(clock((stats.began_at or 0.0) + began), "dim"),
            _Bar(count / max(1, *counts)),
            Text(str(count)),
            Text(printable(", ".join(sorted(topics))), "bold red"),
        )
    return table


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
    """Date and time in a zone, the local one if it is None."""
    if seconds is None:
        return "nothing"
    try:
        return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    except (OverflowError, OSError, ValueError):
        return "an unknown time"


def duration(seconds: float) -> str:
    """A span of time in two units at most."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
