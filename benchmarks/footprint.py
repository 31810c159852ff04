"""Group 5: how long importing takes, and how much is installed."""

import importlib.metadata
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import topone_proto
from benchmarks.measuring import Effort, Row, Table

OURS = "import topone_proto"
ENGINES = "import attrs, cattrs, msgspec"
# In a fresh interpreter, which prints what it took, its own start not included.
STATEMENTS = {
    OURS: "import topone_proto",
    ENGINES: "import attrs, cattrs, msgspec",
    "import aiohttp": "import aiohttp",
    "import pydantic": "from pydantic import BaseModel",
    "import ccxt.pro": "import ccxt.pro",
    "import binance": "import binance",
}
CORE = "topone_proto, the core alone"
WITH_ENGINES = "with attrs, cattrs, msgspec"
OTHERS = ("pydantic", "python-binance", "ccxt")


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return [_imports(effort), _sizes()]


def seconds_of(statement: str, bytecode: str) -> float | None:
    """Return the seconds that an import takes in a fresh interpreter which keeps its bytecode in a
    folder, whatever the environment says of that; None if it fails."""
    program = f"from time import perf_counter as c; s = c(); {statement}; print(c() - s)"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def _imports(effort: Effort) -> Table:
    with TemporaryDirectory() as folder:
        return _imports_with(partial(seconds_of, bytecode=folder), effort)


def _imports_with(seconds_of: Callable[[str], float | None], effort: Effort) -> Table:
    # The first import of each writes its bytecode, and shows whether it is there at all.
    present = {name: code for name, code in STATEMENTS.items() if seconds_of(code) is not None}
    samples: dict[str, list[float]] = {name: [] for name in present}
    for _ in range(max(1, effort.processes * effort.rounds)):
        for name in random.sample(list(present), len(present)):
            seconds = seconds_of(present[name])
            assert seconds is not None
            samples[name].append(seconds)
    rows = tuple(Row(name, tuple(values)) for name, values in samples.items())
    absent = tuple(name for name in STATEMENTS if name not in present)
    title = "Import in a fresh interpreter, bytecode written before"
    return Table("footprint/import", title, "s", ENGINES, rows, absent)


def requirements_of(name: str, seen: set[str]) -> set[str]:
    """A distribution with all that it requires, extras aside."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name not in seen:
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            return seen  # not needed on this machine
        seen.add(name)
        for requirement in requires:
            found = re.match(r"[\w.-]+", requirement)
            if found and "extra" not in requirement.partition(";")[2]:
                requirements_of(found[0], seen)
    return seen


def bytes_of(name: str) -> int:
    """The size of a distribution's files, compiled bytecode aside."""
    files = importlib.metadata.files(name) or []
    paths = (Path(str(file.locate())) for file in files if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())


def own_bytes() -> int:
    """The size of the core, wherever it is, the parts for testing included."""
    folder = Path(topone_proto.__file__).parent
    return sum(path.stat().st_size for path in folder.rglob("*.py"))


def _sizes() -> Table:
    own = own_bytes()
    engines = sum(map(bytes_of, requirements_of("topone-proto", set()) - {"topone-proto"}))
    rows = [Row(CORE, (own,)), Row(WITH_ENGINES, (own + engines,))]
    absent = []
    for name in OTHERS:
        needed = requirements_of(name, set())
        if needed:
            rows.append(Row(name, (sum(map(bytes_of, needed)),), "with what it requires"))
        else:
            absent.append(name)
    title = "Size of what is installed, bytecode aside"
    return Table("footprint/size", title, "B", WITH_ENGINES, tuple(rows), tuple(absent))
