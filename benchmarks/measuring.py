"""The way in which anything is measured: subjects, interleaved rounds, fresh processes, ratios
within a round.

A *subject* is one way of doing something. In a *round* every subject runs once, in an order drawn
anew, so that a slow moment of the machine falls on all of them; a ratio is formed inside each
round and only then summarised. Rounds are spread over fresh processes, since the layout of memory
and the seed of hashes differ between them. (pyperf runs one benchmark after the other, minutes
apart: what the machine does meanwhile ends up in the ratio.)
"""

import gc
import importlib
import json
import multiprocessing
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from time import perf_counter
from typing import Any, Final

import attrs
import cattrs


@attrs.frozen
class Effort:
    """The time to measure for, and the number of everything."""

    processes: int
    """Fresh processes, one after the other; with none, this one will do."""
    rounds: int
    """Rounds in each process."""
    sample: float
    """The seconds that one subject should take in one round."""
    burst: int
    """Events of one burst."""
    singles: int
    """Events sent one by one in one round."""
    feeds: tuple[int, ...]
    """The number of feeds in one process."""
    idle: int
    """The number of idle feeds."""
    idle_seconds: float
    """The seconds for which their processor time is watched: a multiple of
    ``SessionConfig.ping_interval``."""
    aged: int
    """Events that an old session has seen."""
    scenarios: int
    """Simulated scenarios in one round."""
    open_orders: int
    """Open orders of a large account."""
    closed_orders: int
    """Orders of it that have closed."""
    seconds: float
    """The time that all of it takes, about, on two cores that have nothing else to do."""
    relayed: tuple[int, ...]
    """The number of accounts, and of consumers of one, on a bus."""


# For the docs' page.
FULL: Final = Effort(
    processes=3,
    rounds=5,
    sample=0.05,
    burst=10_000,
    singles=300,
    feeds=(1, 10, 100, 1000),
    idle=1000,
    idle_seconds=20.0,
    aged=300_000,
    scenarios=30,
    open_orders=10_000,
    closed_orders=1_000_000,
    seconds=900,
    relayed=(1, 10, 100),
)
QUICK: Final = Effort(
    processes=2,
    rounds=3,
    sample=0.01,
    burst=5_000,
    singles=200,
    feeds=(1, 10, 100),
    idle=100,
    idle_seconds=20.0,
    aged=100_000,
    scenarios=10,
    open_orders=1_000,
    closed_orders=100_000,
    seconds=240,
    relayed=(1, 10),
)
# For the test that everything still runs; the numbers mean nothing.
TINY: Final = Effort(
    processes=0,
    rounds=1,
    sample=0.0,
    burst=20,
    singles=3,
    feeds=(1, 2),
    idle=2,
    idle_seconds=0.1,
    aged=100,
    scenarios=1,
    open_orders=10,
    closed_orders=100,
    seconds=60,
    relayed=(1, 2),
)
EFFORTS: Final = {"full": FULL, "quick": QUICK, "tiny": TINY}


@attrs.frozen
class Subject:
    """One way of doing something."""

    name: str
    run: Callable[[int], float]
    """Do it so many times, and return the seconds it took."""
    note: str = ""
    """The gain for this price."""
    inner: int = 1
    """The number of operations in one time."""


@attrs.frozen
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """The quartiles of some values."""
    values = sorted(values)
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


@attrs.frozen
class Row:
    """A subject's samples, one of each round."""

    name: str
    samples: tuple[float, ...]
    note: str = ""
    against: str = ""
    """The row that this one is compared with, if not the table's base."""

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)


@attrs.frozen
class Table:
    """Rows that were measured in the same rounds."""

    key: str
    """``group/table``."""
    title: str
    unit: str
    """Of the samples: ``s``, ``B``, ``%`` or ``1/s``."""
    base: str
    """The row that rows are compared with."""
    rows: tuple[Row, ...]
    absent: tuple[str, ...] = ()
    """The subjects that could not be measured, because they are not installed."""

    def row(self, name: str) -> Row | None:
        """The row of this name."""
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, row: Row, *to: str) -> Spread | None:
        """Return the ratio of the row to another, or to the sum of some, round by round; None if
        there is no such number."""
        others = [self.row(name) for name in to or (row.against or self.base,)]
        if None in others:
            return None
        sums = [sum(samples) for samples in zip(*(o.samples for o in others if o), strict=True)]
        if 0 in sums:
            return None
        return spread(a / b for a, b in zip(row.samples, sums, strict=True))


def over(function: Callable[[Any], object], inputs: Sequence[Any]) -> Callable[[int], float]:
    """A ``Subject.run`` that calls a function with every input, as many times as asked."""

    def run(times: int) -> float:
        started = perf_counter()
        for _ in repeat(None, times):
            for item in inputs:
                function(item)
        return perf_counter() - started

    return run


def calibrate(subject: Subject, seconds: float) -> int:
    """Return the number of times that take about so many seconds. Warms up on the way."""
    times = 1
    while (took := subject.run(times)) < seconds:
        times = max(2 * times, round(times * min(seconds / took, 100.0)) if took else 0)
    return times


def interleave(subjects: Sequence[Subject], effort: Effort) -> tuple[Row, ...]:
    """Run the rounds of one process."""
    times = {subject.name: calibrate(subject, effort.sample) for subject in subjects}
    samples: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for _ in range(effort.rounds):
        for subject in random.sample(subjects, len(subjects)):
            gc.collect()
            count = times[subject.name]
            samples[subject.name].append(subject.run(count) / (count * subject.inner))
    return tuple(Row(s.name, tuple(samples[s.name]), s.note) for s in subjects)


def joined(parts: Sequence[Sequence[Table]]) -> list[Table]:
    """The tables of several processes as one."""
    return [
        attrs.evolve(
            same[0],
            rows=tuple(
                attrs.evolve(rows[0], samples=tuple(s for row in rows for s in row.samples))
                for rows in zip(*(table.rows for table in same), strict=True)
            ),
        )
        for same in zip(*parts, strict=True)
    ]


def in_fresh_process(effort: Effort, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in an interpreter that was started for it."""
    if not effort.processes:
        return function(*arguments)
    # Not a Pool, whose processes may not have a server as a child.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def in_fresh_processes(
    function: Callable[[Effort], Sequence[Table]], effort: Effort
) -> list[Table]:
    """Measure in one fresh process after the other, and say how far it is."""
    parts = []
    count, started = max(1, effort.processes), perf_counter()
    for number in range(1, count + 1):
        parts.append(in_fresh_process(effort, function, effort))
        each = (perf_counter() - started) / number
        say(f"  process {number} of {count}, {each:.0f} s each")
    return joined(parts)


def say(progress: str) -> None:
    """Tell whoever waits how far it is."""
    print(progress, file=sys.stderr, flush=True)


def optional(module: str) -> Any | None:
    """A module, or None if it is not installed: nobody needs every competitor."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def to_json(tables: Sequence[Table], machine: dict[str, str]) -> str:
    """Everything that was measured."""
    return json.dumps({"machine": machine, "tables": cattrs.unstructure(tables)}, indent=1) + "\n"


def from_json(text: str) -> tuple[list[Table], dict[str, str]]:
    """Read what ``to_json`` wrote."""
    plain = json.loads(text)
    return cattrs.structure(plain["tables"], list[Table]), plain["machine"]
