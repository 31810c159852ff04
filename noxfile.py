"""The tasks of whoever works on this project: ``nox -l`` lists them, ``nox -s check`` runs one.

``test`` makes a virtual environment for every Python of this machine, ``lowest`` and ``fuzz`` one
of their own each.
The others run in the environment that ``pip install -e ".[dev]"`` has filled, so they begin at
once. Arguments after ``--`` go to the program that a task is about.
"""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nox

nox.options.sessions = ["check"]
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


ROOT = Path(__file__).parent


@nox.session(venv_backend="none")
def check(session: nox.Session) -> None:
    """Check style, spelling, types and the direction of imports; neither tests nor pages."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("lint-imports", "--no-cache")
    session.run("mypy")
    session.run("pyright", "--warnings")
    for package in _packages():
        session.run("pyright", "--verifytypes", package, "--ignoreexternal")


def _packages() -> list[str]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    paths = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [Path(path).name for path in paths]


@nox.session
@nox.parametrize("python", [nox.param(path, id=version) for version, path in _INTERPRETERS.items()])
def test(session: nox.Session) -> None:
    """Run the tests on every Python of this machine from 3.11 on; ``test(3.13)`` is one of them."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "auto", "--dist=worksteal"]))


@nox.session(python=_INTERPRETERS.get(".".join(map(str, _OLDEST))))
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows, on the oldest Python.

    Only what is stated there is low; what it requires in turn is new.
    """
    python = str(Path(session.bin, "python"))
    lowest = ("--resolution", "lowest-direct")
    session.run("uv", "pip", "install", "--python", python, *lowest, "-e", ".[test]", external=True)
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "auto", "--dist=worksteal"]))


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the pages into docs/_build, and follow their links."""
    session.run("sphinx-build", "-W", "--keep-going", "docs", "docs/_build", *session.posargs)
    session.run("python", "docs/check_links.py", "docs/_build")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Measure; ``nox -s bench -- decode --effort quick`` measures one group for a first look."""
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz; ``nox -s fuzz -- connection --minutes 5`` is another target and another time."""
    session.install("-e", ".[fuzz]")
    session.run("python", "-m", "fuzz", *(session.posargs or ["decode", "--minutes", "20"]))


@nox.session(venv_backend="none")
def release(session: nox.Session) -> None:
    """Build sdist and wheel into dist/ and check both; with a tag, also that all is ready for it.

    The pages are built from the unpacked sdist, as whoever packages it for a system does.
    """
    if session.posargs:
        _check_tag(session, session.posargs[0])
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), str(ROOT))
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))
    [sdist] = dist.glob("*.tar.gz")
    folder = Path(session.create_tmp())
    session.run("tar", "--extract", "--file", str(sdist), "--directory", str(folder), external=True)
    source = folder / sdist.name.removesuffix(".tar.gz") / "docs"
    session.run("sphinx-build", "-W", "--keep-going", "--quiet", str(source), str(folder / "html"))


def _check_tag(session: nox.Session, tag: str) -> None:
    text = (ROOT / "src" / "topone_proto" / "_version.py").read_text("utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version = tag.removeprefix("v")
    if f'"{version}"' not in text:
        session.error(f"{tag} is not the version in src/topone_proto/_version.py")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE):
        session.error(f"CHANGELOG.md has no dated section for {version}")
    waiting = [path.name for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    if waiting:
        session.error(f"towncrier build has not taken these into the changelog: {waiting}")
