"""The test suite on every Python that this machine has, from 3.11 on: ``nox -s tests``."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"

_OLDEST = (3, 11)


def _runs(python: str | Path) -> bool:
    # A version manager's shim is on PATH for every version, but only those that are selected run.
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def _pyenv_directories() -> Iterator[Path]:
    """Where pyenv, if there is one, keeps its interpreters, the newest first."""
    pyenv = shutil.which("pyenv")
    root = os.environ.get("PYENV_ROOT")
    if root is None and pyenv is not None:
        asked = subprocess.run([pyenv, "root"], check=False, capture_output=True, text=True)
        root = asked.stdout.strip()
    if root:
        versions = Path(root, "versions").glob("3.*.*/bin")
        yield from sorted(versions, key=lambda path: _numbers(path.parent.name), reverse=True)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _interpreters() -> dict[str, str]:
    """The versions at hand, each with the first interpreter that runs: PATH before pyenv."""
    directories = [Path(name) for name in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    found: dict[str, str] = {}
    for directory in [*directories, *_pyenv_directories()]:
        for path in directory.glob("python3.*"):
            version = re.fullmatch(r"python(3\.\d+)(\.exe)?", path.name)
            if version is None or version[1] in found or tuple(_numbers(version[1])) < _OLDEST:
                continue
            if _runs(path):
                found[version[1]] = str(path)
    return dict(sorted(found.items(), key=lambda item: _numbers(item[0])))


_INTERPRETERS = _interpreters()


@nox.session
@nox.parametrize("python", [nox.param(path, id=version) for version, path in _INTERPRETERS.items()])
def tests(session: nox.Session) -> None:
    """Run the tests. Arguments after ``--`` go to pytest."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)
