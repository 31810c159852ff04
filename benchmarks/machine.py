"""The surroundings that numbers depend on: the machine, the interpreter, the versions."""

import importlib.metadata
import os
import platform
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISTRIBUTIONS = (
    "topone-proto",
    "attrs",
    "cattrs",
    "msgspec",
    "orjson",
    "pydantic",
    "ccxt",
    "python-binance",
    "aiohttp",
    "picows",
    "trio",
    "trio-websocket",
    "websockets",
)


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """The version of each distribution, or that it is not installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


@contextmanager
def apart_from(pid: int | None) -> Iterator[None]:
    """Keep another process on one processor and this one on the others for the length of a ``with``
    block, where there are several and the system lets us. Otherwise they take each other's time,
    and what was warm is cold again."""
    allowed = processors()
    if pid is None or len(allowed) < 2:
        yield
        return
    os.sched_setaffinity(pid, {allowed[0]})
    os.sched_setaffinity(0, allowed[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def processors() -> list[int]:
    """The processors that this process may use; none if the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))


def describe() -> dict[str, str]:
    """Machine and versions, to be printed beside every number."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "server": "on a core of its own" if len(processors()) > 1 else "on the clients' core",
        "load": f"{os.getloadavg()[0]:.1f} before measuring",
        **versions_of(DISTRIBUTIONS),
    }


def resident_bytes() -> int:
    """The memory that this process occupies now. Linux only."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def allow_files(count: int) -> None:
    """Raise the limit of open files to ``count``, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
