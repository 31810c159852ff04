"""Print the size of each requirement of ``pyproject.toml`` as it is installed here.

Run from the repository's root: ``python -m benchmarks.sizes``. The first number is the
distribution's own files, compiled bytecode aside; the second has all that it requires, extras
aside. docs/supply-chain.md shows them. What is not installed has no numbers.
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.footprint import bytes_of, requirements_of

ROOT: Final = Path(__file__).parent.parent
_MIB: Final = 2**20


def declared() -> dict[str, list[str]]:
    """Return the requirements of ``pyproject.toml``, each with the extras that have it; the core's
    own and the build's are those of ``core`` and ``build``."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = pyproject["project"]
    groups = {
        "core": project["dependencies"],
        **project["optional-dependencies"],
        "build": pyproject["build-system"]["requires"],
    }
    found: dict[str, list[str]] = {}
    for group, requirements in groups.items():
        for name in _names(requirements):
            if name != "topone-proto":
                found.setdefault(name, []).append(group)
    return found


def _names(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        matched = re.match(r"[\w.-]+", requirement)
        assert matched is not None
        yield re.sub(r"[-_.]+", "-", matched[0]).lower()


def main() -> None:
    """Measure and print."""
    for name, groups in declared().items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"{name:20} not installed {', '.join(groups)}")
            continue
        own = bytes_of(name) / _MIB
        whole = sum(map(bytes_of, requirements_of(name, set()))) / _MIB
        print(f"{name:20} {version:14} {own:8.2f} {whole:8.2f} MiB  {', '.join(groups)}")


if __name__ == "__main__":
    main()
