"""Many seeds, spread over processes."""

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Final

from topone_proto._values import value
from topone_proto.testing.simulation.drawing import ACCOUNTS, RELAYS, draw
from topone_proto.testing.simulation.runs import Report, run
from topone_proto.testing.simulation.world import Violation

__all__ = ["Failed", "RangeResult", "run_range", "sums_of"]

_CHUNK: Final = 100


@value
class Failed:
    """A seed whose scenario breaks an invariant."""

    seed: int
    """The seed of the scenario."""
    rule: str
    """The invariant, such as ``I1``."""
    what: str
    """The event, in words."""


@value
class RangeResult:
    """The outcome of some seeds."""

    seeds: int
    """The number of them."""
    sums: dict[str, float]
    """The events of those that broke nothing, added up."""
    failures: list[Failed]
    """Those that broke an invariant."""


def sums_of(report: Report) -> dict[str, float]:
    """The numbers of a report."""
    return {
        "seconds": round(report.seconds, 3),
        "dials": report.dials,
        "updates": report.updates,
        "resynced": report.resynced,
        "pulled": report.pulled,
        "requests": report.requests,
        "restarts": report.restarts,
        "leases": report.leases,
        "relayed": report.relayed,
        "closed": report.closed,
    }


def run_range(
    seeds: range, jobs: int, accounts: float = ACCOUNTS, relays: float = RELAYS
) -> Iterator[RangeResult]:
    """Run all of them, a hundred at a time.

    Args:
        seeds: the seeds.
        jobs: the number of processes.
        accounts: see ``draw``.
        relays: see ``draw``.
    """
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    if jobs == 1:
        yield from map(partial(_run_chunk, accounts, relays), chunks)
        return
    # Fresh interpreters: the same on every platform, and nothing of this process leaks in.
    # A Ctrl-C reaches every process of the terminal, and is this one's alone to act on.
    with multiprocessing.get_context("spawn").Pool(
        jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        yield from pool.imap_unordered(partial(_run_chunk, accounts, relays), chunks)


def _run_chunk(accounts: float, relays: float, seeds: range) -> RangeResult:
    sums: Counter[str] = Counter()
    failures: list[Failed] = []
    for seed in seeds:
        try:
            report = run(draw(seed, accounts=accounts, relays=relays))
        except Violation as violation:
            failures.append(Failed(seed, violation.rule, str(violation)))
        else:
            sums.update(sums_of(report))
    return RangeResult(len(seeds), dict(sums), failures)
