"""``python -m benchmarks``: reads arguments and prints; the rest is elsewhere."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from rich.console import Console

from benchmarks import adapters, core, decode, footprint, machine, relay, scale
from benchmarks.bars import judge
from benchmarks.measuring import EFFORTS, Effort, Table, from_json, say, to_json
from benchmarks.report import draw, show, show_bars, write_docs

GROUPS: Final[dict[str, Callable[[Effort], list[Table]]]] = {
    "decode": decode.tables,
    "core": core.tables,
    "adapters": adapters.tables,
    "scale": scale.tables,
    "footprint": footprint.tables,
    "relay": relay.tables,
}
DOCS: Final = Path(__file__).parent.parent / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say. Returns 1 if ``--check`` finds that a bar does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure topone-proto beside its competitors."
    )
    parser.add_argument(
        "groups", nargs="*", metavar="group", help=f"of {', '.join(GROUPS)}; all unless given"
    )
    parser.add_argument(
        "--effort", choices=EFFORTS, default="full", help="quick is for a first look"
    )
    parser.add_argument("--check", action="store_true", help="fail if a bar does not hold")
    parser.add_argument("--docs", action="store_true", help="write the docs' pages and pictures")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw the pictures there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every sample there")
    parser.add_argument(
        "--from", type=Path, metavar="FILE", dest="source", help="measure nothing: read such a file"
    )
    chosen = parser.parse_args(arguments)
    if not set(chosen.groups) <= set(GROUPS):
        parser.error(f"groups are {', '.join(GROUPS)}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    failed: list[str] = []
    if chosen.source:
        tables, described = from_json(chosen.source.read_text(encoding="utf-8"))
    else:
        effort = EFFORTS[chosen.effort]
        rounds = f"{max(1, effort.processes)} processes of {effort.rounds} rounds"
        tables, described = [], {"effort": f"{chosen.effort}, {rounds}", **machine.describe()}
        groups = chosen.groups or list(GROUPS)
        if not chosen.groups:
            say(f"all groups take about {effort.seconds / 60:.0f} minutes on two idle cores")
        for number, group in enumerate(groups, 1):
            started = perf_counter()
            say(f"measuring {group}, {number} of {len(groups)}")
            try:
                tables += GROUPS[group](effort)
            except KeyboardInterrupt:
                say(f"interrupted while measuring {group}; nothing is written")
                return 130
            except Exception:  # noqa: BLE001 - the other groups can be measured all the same
                traceback.print_exc()
                failed.append(group)
            say(f"  {perf_counter() - started:.0f} s")
    if chosen.json:
        chosen.json.write_text(to_json(tables, described), encoding="utf-8")
    show(tables, described, console)
    verdicts = judge(tables)
    if verdicts:
        show_bars(verdicts, console)
    if failed:
        say(f"FAILED: {', '.join(failed)}; neither the pages nor pictures are written")
        return 1
    if chosen.pictures:
        draw(tables, chosen.pictures)
    if chosen.docs:
        console.print("wrote", *write_docs(tables, described, DOCS))
    return int(chosen.check and any(verdict.holds is False for verdict in verdicts))
