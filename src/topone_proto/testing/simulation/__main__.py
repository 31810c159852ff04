"""The command line: ``python -m topone_proto.testing.simulation``. Reads arguments, prints; the
rest is elsewhere."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from attrs import asdict, evolve

from topone_proto.testing.simulation.drawing import ACCOUNTS, RELAYS, draw
from topone_proto.testing.simulation.ranges import Failed, run_range, sums_of
from topone_proto.testing.simulation.runs import run
from topone_proto.testing.simulation.scenario import Scenario
from topone_proto.testing.simulation.shrink import shrink
from topone_proto.testing.simulation.world import Entry, Violation, brief

_COMMAND: Final = "python -m topone_proto.testing.simulation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say. Returns 1 if an invariant is broken, else 0."""
    parser = argparse.ArgumentParser(
        prog=_COMMAND, description="Simulate feeds while things go wrong."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run one scenario and print its timeline")
    what.add_argument("--seeds", type=_range, metavar="A..B", help="run the scenarios from A to B")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--accounts",
        type=_share,
        default=ACCOUNTS,
        metavar="SHARE",
        help="scenarios with an account that heals itself over HTTP, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--relays",
        type=_share,
        default=RELAYS,
        metavar="SHARE",
        help="scenarios of an account that is relayed, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return _one(chosen.seed, chosen.accounts, chosen.relays, as_json=chosen.json)
    return _many(chosen.seeds, chosen.jobs, chosen.accounts, chosen.relays, as_json=chosen.json)


def _range(text: str) -> range:
    first, _, last = text.partition("..")
    seeds = range(int(first), int(last) + 1)
    if not seeds:
        raise argparse.ArgumentTypeError("the first seed comes first")
    return seeds


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share is from 0 to 1")
    return share


# --- one ----------------------------------------------------------------------------------------


def _one(seed: int, accounts: float, relays: float, *, as_json: bool) -> int:
    scenario = draw(seed, accounts=accounts, relays=relays)
    timeline: list[Entry] = []
    try:
        report = run(scenario, timeline)
    except Violation as violation:
        smaller = shrink(scenario, violation.rule)
        timeline.clear()
        try:
            run(smaller, timeline)
        except Violation as again:
            violation = again
        if as_json:
            print(json.dumps({"seed": seed, "failed": str(violation)}))
        else:
            _print(smaller, timeline)
            print(f"\nseed {seed}: {violation}")
        return 1
    if as_json:
        print(json.dumps({"seed": seed, **sums_of(report)}))
    else:
        _print(scenario, timeline)
        print(f"\nseed {seed}: every invariant holds")
    return 0


def _print(scenario: Scenario, timeline: list[Entry]) -> None:
    print(f"calm at {scenario.calm_at:.3f} s; {brief(scenario.gateway)}")
    for client in scenario.clients:
        print(brief(client))
    if scenario.account is not None:
        print(brief(evolve(scenario.account, processes=(), trades=(), troubles=())))
        for process in scenario.account.processes:
            print(brief(process))
    if scenario.relay is not None:
        print(brief(evolve(scenario.relay, changes=(), troubles=())))
    print()
    for entry in timeline:
        print(f"{entry.at:10.3f}  {entry.who:9} {entry.what}")


# --- many ---------------------------------------------------------------------------------------


def _many(seeds: range, jobs: int, accounts: float, relays: float, *, as_json: bool) -> int:
    started = time.perf_counter()
    count = 0
    sums: Counter[str] = Counter()
    failures: list[Failed] = []
    # A Ctrl-C ends the search, and what was found so far is shown.
    with suppress(KeyboardInterrupt):
        for result in run_range(seeds, jobs, accounts, relays):
            count += result.seeds
            sums.update(result.sums)
            failures += result.failures
            rate = count / (time.perf_counter() - started)
            print(
                f"\r{count} of {len(seeds)} seeds, {rate:.0f}/s, {len(failures)} broken",
                end="",
                file=sys.stderr,
                flush=True,
            )
    print(file=sys.stderr)
    took = time.perf_counter() - started
    failures.sort(key=lambda failed: failed.seed)
    if as_json:
        named = [asdict(failed) for failed in failures]
        print(json.dumps({"seeds": count, "took": round(took, 3), **sums, "failures": named}))
    else:
        for failed in failures:
            share = "" if accounts == ACCOUNTS else f" --accounts {accounts:g}"
            share += "" if relays == RELAYS else f" --relays {relays:g}"
            print(f"{failed.what}\n    replay: {_COMMAND} --seed {failed.seed}{share}")
        what = ", ".join(f"{name} {amount:.0f}" for name, amount in sums.items())
        print(f"{count} seeds in {took:.1f} s: {len(failures)} broken; {what}")
    if failures:
        return 1
    return 0 if count == len(seeds) else 130


if __name__ == "__main__":
    sys.exit(main())
