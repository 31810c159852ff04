"""Measurements for people: tables in the terminal, pictures, and the docs' page."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.bars import Verdict, judge
from benchmarks.frames import COUNT
from benchmarks.measuring import Row, Spread, Table, optional, spread
from benchmarks.sizing import write_sizing

COMMAND: Final = "python -m benchmarks --docs"

# The tables that each group's picture shows.
PICTURES: Final = {
    "decode": ("decode/order",),
    "core": ("core/update", "core/age"),
    "adapters": (
        "adapters/wall-topone_asyncio",
        "adapters/wall-topone_trio",
        "adapters/wall-topone_threads",
        "adapters/latency-topone_asyncio",
        "adapters/latency-topone_trio",
        "adapters/latency-topone_threads",
    ),
    "scale": ("scale/feeds-topone_asyncio", "scale/feeds-topone_trio"),
    "footprint": ("footprint/import", "footprint/size"),
    "relay": ("relay/rate", "relay/latency"),
}
HEADINGS: Final = {
    "decode": "Decoding a frame",
    "core": "The core",
    "adapters": "The adapters on a real socket",
    "scale": "Many feeds, idle feeds, large frames",
    "footprint": "Import and installation",
    "relay": "An account on a message bus",
}
# The one table of each group that the page shows; all of them are on the page behind it.
HEADLINES: Final = {
    "decode": "decode/order",
    "core": "core/update",
    "adapters": "adapters/cpu-topone_asyncio",
    "scale": "scale/feeds-topone_asyncio",
    "footprint": "footprint/size",
    "relay": "relay/rate",
}
_OURS, _OTHERS = "#0b7285", "#adb5bd"


def amount(value: float, unit: str) -> str:
    """A number with its unit, to three digits."""
    if unit == "s":
        for scale, name in ((1e-6, "ns"), (1e-3, "us"), (1.0, "ms")):
            if value < scale:
                return f"{value * 1e3 / scale:.3g} {name}"
        return f"{value:.3g} s"
    if unit == "B":
        for scale, name in ((2**20, "KiB"), (2**30, "MiB")):
            if abs(value) < scale:
                return f"{value * 1024 / scale:.3g} {name}"
    return f"{value:.3g} {unit}"


def times(ratio: Spread | None) -> str:
    """A ratio with its quartiles."""
    if ratio is None:
        return ""
    return f"{ratio.median:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"


def cells(table: Table, row: Row) -> tuple[str, str, str, str]:
    """Return the cells of a row that every form of a table shows."""
    return row.name, amount(row.median, table.unit), times(table.ratio(row)), row.note


def columns(table: Table) -> tuple[str, str, str, str]:
    """Their headings."""
    own = any(row.against for row in table.rows)
    return "", "median", "ratio to its bare row" if own else f"ratio to {table.base}", "what it is"


def status(verdict: Verdict) -> str:
    """A few words on a bar; on one that is missed, by how much of it."""
    if verdict.measured is None:
        return "not measured"
    if verdict.holds:
        return "holds"
    return f"FALLS SHORT by {100 * (verdict.measured / verdict.bar.most - 1):.1f} %"


def value(verdict: Verdict) -> str:
    """Return what was measured for a bar."""
    return "" if verdict.measured is None else f"{verdict.measured:,.4g}"


# --- the terminal --------------------------------------------------------------------------------


def show(tables: Sequence[Table], machine: dict[str, str], console: Console) -> None:
    """Print the tables."""
    console.print(", ".join(f"{name} {text}" for name, text in machine.items()), style="dim")
    for table in tables:
        grid = RichTable(title=escape(table.title), title_justify="left")
        for number, heading in enumerate(columns(table)):
            grid.add_column(escape(heading), justify="right" if number in {1, 2} else "left")
        for row in table.rows:
            grid.add_row(*map(escape, cells(table, row)))
        for name in table.absent:
            grid.add_row(escape(name), "", "", "absent: not installed", style="dim")
        console.print()
        console.print(grid)


def show_bars(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print what became of the bars."""
    grid = RichTable(title="Bars", title_justify="left")
    for heading in ("", "measured", "bar"):
        grid.add_column(heading)
    for verdict in verdicts:
        style = None if verdict.holds else "red" if verdict.holds is False else "dim"
        texts = (status(verdict), value(verdict), verdict.bar.text)
        grid.add_row(*map(escape, texts), style=style)
    console.print()
    console.print(grid)


# --- pictures ------------------------------------------------------------------------------------


def draw(tables: Sequence[Table], folder: Path) -> list[str]:
    """Draw the pictures of the groups that were measured; returns their groups."""
    measured = {table.key: table for table in tables}
    drawn = []
    for group, keys in PICTURES.items():
        chosen = [measured[key] for key in keys if key in measured]
        if chosen:
            folder.mkdir(parents=True, exist_ok=True)
            _draw(chosen, folder / f"performance-{group}.svg")
            drawn.append(group)
    return drawn


def _draw(tables: Sequence[Table], path: Path) -> None:
    matplotlib = optional("matplotlib")
    figures = optional("matplotlib.figure")
    if matplotlib is None or figures is None:
        raise SystemExit("pictures need matplotlib: pip install 'topone-proto[bench]'")
    # Text stays text; the same numbers give the same file.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "topone-proto", "font.size": 9}
    with matplotlib.rc_context(settings):
        heights = [0.6 + 0.26 * len(table.rows) for table in tables]
        figure = figures.Figure(figsize=(8, sum(heights)), layout="constrained")
        axes = figure.subplots(len(tables), squeeze=False, height_ratios=heights)
        for table, axis in zip(tables, axes[:, 0], strict=True):
            rows = table.rows[::-1]
            medians = [row.median for row in rows]
            quartiles = [spread(row.samples) for row in rows]
            errors = [
                [q.median - q.low for q in quartiles],
                [q.high - q.median for q in quartiles],
            ]
            colours = [_OURS if _is_ours(row.name) else _OTHERS for row in rows]
            names = [row.name for row in rows]
            axis.barh(names, medians, xerr=errors, color=colours, ecolor="#495057")
            for number, row in enumerate(rows):
                axis.annotate(
                    f"  {amount(row.median, table.unit)}",
                    (quartiles[number].high, number),
                    va="center",
                )
            axis.set_xlim(0, 1.2 * max(q.high for q in quartiles))
            title = table.title
            if 0 < 30 * min(medians) < max(medians):
                title += " (logarithmic scale: lengths are no ratios)"
                axis.set_xscale("log")
                axis.set_xlim(min(medians) / 2, 4 * max(medians))
            axis.set_title(title, loc="left", fontsize=9)
            axis.set_xticks([], minor=True)
            axis.set_xticks([])
            axis.spines[["top", "right", "bottom"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _is_ours(name: str) -> bool:
    return any(word in name for word in ("topone", "feed", "Session.", "session"))


# --- the docs' page ------------------------------------------------------------------------------

_INTRODUCTION = f"""\
<!-- Written by `{COMMAND}`; edit benchmarks/report.py instead. -->

# Performance

{{gain}}

All numbers are ratios within one run, on the machine named below.
[Performance: all tables](performance-tables.md) has the rest, and says how they were measured.
Measure one group on your machine with `python -m benchmarks decode`.
"""

_METHOD = f"""\
<!-- Written by `{COMMAND}`; edit benchmarks/report.py instead. -->

# Performance: all tables

Here is every number that was measured, and how. [Performance](performance.md) says what follows
from them. `{COMMAND}` has written both pages and their pictures. It needs the extra `bench`, and a
machine that has nothing else to do. `--check` compares with the bars below, and `--json` keeps
every sample.

Compare ratios, not times. Each round measures every row of a table once, in a new order. A ratio is
made within a round; the tables show its median with the quartiles around it. Rounds are spread over
fresh processes. Each kind of frame is {{count}} different frames, drawn once. On a socket, the
server is a process of its own, on a processor of its own if there are several. It writes frames
that it encoded before.

A comparison is fair if both sides yield the same; where they do not, the last column says so.
`topone_proto.decode` checks in the measured path what it promises: NaN, infinities, underscores and
spaces in decimals are refused.
"""


_SHORT = """\
The bare loop of a bar is that of a library's own client: aiohttp's under asyncio, as the yardstick.
`topone_asyncio`, `topone_threads` and `topone_trio.over_websockets` do not use it: they cut whole
messages out of the stream by themselves, leave everything else to websockets' protocol without I/O,
and have a socket of their own. Their row *the adapter's WebSocket alone* is what their feed stands
on, and for every adapter the table *where the processor time of an event goes* says how much of it
is the WebSocket's, the core's and the feed's. *An order update through the core* shows an update's
way step by step.

Where a bar falls short, this is why, and what was tried:

- **Decoding.** msgspec's typed decoding, the limit, takes `NaN` and `1_000` for numbers and makes
  its own structs; here each number is checked, and an update is a value that can be hashed and
  compared.
- **The core.** What comes after decoding takes one microsecond. The faster decoding became, the
  larger is the share of that.
- **Latency.** The bare loop that the bar names does not even decode its message; the row with a
  session shows what that takes. After a millisecond without an event, its whole way is in no cache,
  so that each function on it counts.
- **trio-websocket.** Most of an event is the library's own parser and its memory channel, and
  nothing public avoids them. `topone_trio.over_websockets` does without.
- **Threads.** Another thread takes each event, under the lock of the I/O thread. Taking several at
  once would be cheaper, and one that is taken and not handed over yet would be lost with a Ctrl-C.
- **A thousand feeds.** Each event finds the objects of its feed in no cache, and a feed has more of
  them than the loop.
- **Import.** attrs builds some seventy classes. Their methods for comparing, hashing and printing
  are written at the first use now, and hashes are loaded when something is signed: together a fifth
  of the time. Methods that are the same for all classes take no less to import, and compare in
  twice the time.

What is within a few hundredths of its bar may be on the other side of it in the next run.
"""

# An adapter's own words for it, and the loop that it is compared with.
_ADAPTERS: Final = {
    "topone_asyncio": ("asyncio", "aiohttp"),
    "topone_threads": ("threads", "websockets"),
    "topone_trio.over_websockets": ("trio, over websockets", "websockets"),
    "topone_trio": ("trio, by default", "trio-websocket"),
}


def gain(tables: Sequence[Table]) -> str:
    """Return what an application gains, in words, from what was measured."""
    measured = {table.key: table for table in tables}
    parts: list[str] = []
    for name, (framework, library) in _ADAPTERS.items():
        burst = measured.get(f"adapters/cpu-{name}")
        latency = measured.get(f"adapters/latency-{name}")
        if burst is None or latency is None:
            continue
        costs = burst.ratio(_the(burst, name))
        delay = latency.ratio(_the(latency, f"{name}, median"))
        if costs is not None and delay is not None:
            parts.append(
                f"| {framework} | {costs.median:.2f} times | {delay.median:.2f} times | {library} |"
            )
    text = _GAIN
    if parts:
        text += _COMPARED + "\n".join(parts) + _EXPLAINED
    return text


def _the(table: Table, name: str) -> Row:
    row = table.row(name)
    assert row is not None
    return row


_GAIN: Final = """\
A feed costs about as much processor time as the receive loop that you would write by hand, or less.
In return its connections come back, gaps have names, and values are checked. A single event reaches
your program some tens of microseconds later than with a loop that does nothing with it. A thousand
quiet feeds cost next to nothing, and an account costs little more than its feed."""

_COMPARED: Final = """

| adapter | processor time of an event | delay of an event | compared with a loop over |
|---|---:|---:|---|
"""

_EXPLAINED: Final = """

The processor time is that of a burst, and the loop hands each message to a `Session`. The delay is
that of a single event, and the loop does not even decode it."""


def write_docs(tables: Sequence[Table], machine: dict[str, str], folder: Path) -> list[Path]:
    """Write the page for readers, the page with all tables behind it, and their pictures."""
    drawn = draw(tables, folder / "_static")
    verdicts = judge(tables)
    described = ", ".join(f"{name} {text}" for name, text in machine.items()) + "."
    page = [_INTRODUCTION.format(gain=gain(tables)), f"Measured with {described}"]
    behind = [_METHOD.format(count=COUNT), "## Machine and versions", "", described]
    for group, heading in HEADINGS.items():
        chosen = [table for table in tables if table.key.startswith(f"{group}/")]
        if not chosen:
            continue
        headline = next((each for each in chosen if each.key == HEADLINES[group]), chosen[0])
        page += ["", f"## {heading}", ""]
        if group in drawn:
            page += [f"![{heading}](_static/performance-{group}.svg)", ""]
        page += [*_markdown(headline), ""]
        page += [f"[{_all(len(chosen))} of this group](performance-tables.md#{_anchor(heading)})"]
        behind += ["", f"## {heading}", ""]
        for table in chosen:
            behind += [*_markdown(table), ""]
    page += ["", "## Bars", "", *_summary(verdicts), "", *_NEXT]
    behind += ["", "## Bars", "", *_bars(verdicts)]
    written = []
    for name, lines in (("performance.md", page), ("performance-tables.md", behind)):
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
        written.append(folder / name)
        written[-1].write_text(text.rstrip() + "\n", encoding="utf-8")
    return [*written, *write_sizing(tables, folder / "_static")]


_NEXT: Final = ("```{toctree}", ":hidden:", "", "performance-tables", "```")


def _all(number: int) -> str:
    return "The table" if number == 1 else f"All {number} tables"


def _anchor(heading: str) -> str:
    # As MyST makes them.
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def _summary(verdicts: Sequence[Verdict]) -> list[str]:
    """Return how many bars hold, and those that do not, with the reasons."""
    measured = [verdict for verdict in verdicts if verdict.holds is not None]
    missed = [verdict for verdict in measured if not verdict.holds]
    first = (
        f"{len(measured) - len(missed)} of {len(measured)} [bars](performance-tables.md#bars) hold:"
        " ratios that this project sets itself, so that a change that makes it slower is seen."
    )
    return [first, "", *_bars(missed), "", _SHORT.rstrip()] if missed else [first]


def _bars(verdicts: Sequence[Verdict]) -> list[str]:
    return [
        "| | measured | bar |",
        "|---|---:|---|",
        *(
            f"| {status(verdict)} | {value(verdict)} | {_cell(verdict.bar.text)} |"
            for verdict in verdicts
        ),
    ]


def _markdown(table: Table) -> list[str]:
    lines = [f"### {table.title}", ""]
    lines += ["| " + " | ".join(columns(table)) + " |", "|---|---:|---:|---|"]
    lines += ["| " + " | ".join(map(_cell, cells(table, row))) + " |" for row in table.rows]
    lines += [f"| {_cell(name)} | | | absent: not installed |" for name in table.absent]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("1_000", "`1_000`")
