"""CONTRIBUTING.md sends nobody to what is not there: files, names in them, tests, commands."""

import builtins
import functools
import importlib
import importlib.util
import keyword
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command

import topone_proto
from topone_cli._app import app
from topone_proto import adapters

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WORKFLOWS = [path.stem for path in (ROOT / ".github" / "workflows").iterdir()]
SUFFIXES = (".py", ".md", ".toml", ".typed", ".yml", "/")
# Programs of others, which no test asks for.
FOREIGN = {"gh", "git", "pip", "ruff", "towncrier"}


class Step(NamedTuple):
    """A paragraph, a table, or an item of a list."""

    section: str
    marks: list[str]
    """The code in it."""


def steps() -> Iterator[Step]:
    plain = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    for section in re.split(r"^## ", plain, flags=re.MULTILINE):
        title, _, body = section.partition("\n")
        for step in re.split(r"\n(?=\d+\. |\n)", body):
            if marks := re.findall(r"`([^`]+)`", " ".join(step.split())):
                yield Step(title, marks)


STEPS = list(steps())


def is_path(mark: str) -> bool:
    return " " not in mark and (mark.endswith(SUFFIXES) or mark.startswith("."))


def paths(step: Step) -> dict[str, list[Path]]:
    """Return the paths of a step, and what is there. A file's name alone is in a folder that the
    step has named, or beside a file of it. Whatever a contributor calls theirs, there is one."""
    found: dict[str, list[Path]] = {}
    for mark in filter(is_path, step.marks):
        pattern = mark.rstrip("/").replace("<name>", "*")
        folders = [it if it.is_dir() else it.parent for them in found.values() for it in them]
        there = [*ROOT.glob(pattern)]
        if "/" not in pattern:
            there += [it for folder in folders for it in folder.glob(pattern)]
        found[mark] = there
    # In any order: a folder may be named after what is in it.
    for mark, there in found.items():
        if not there and "/" not in mark:
            folders = [it for them in found.values() for it in them if it.is_dir()]
            there += [it for folder in folders for it in folder.glob(mark)]
    return found


@functools.cache
def words(path: Path) -> frozenset[str]:
    """Return the names that a file has, or the files of a folder."""
    files = path.rglob("*.py") if path.is_dir() else [path]
    return frozenset(re.findall(r"[\w-]+", " ".join(each.read_text("utf-8") for each in files)))


def of_this(kind: str) -> list[Any]:
    """Return each mark of a kind as a case of its own."""
    marks = {mark: None for step in STEPS for mark in step.marks if mark.startswith(kind)}
    assert marks
    return [*marks]


def test_every_file_that_contributors_are_sent_to_is_there() -> None:
    found = [(step.section, *each) for step in STEPS for each in paths(step).items()]
    assert len(found) > 60
    assert [(section, mark) for section, mark, there in found if not there] == []


def test_every_name_is_where_it_is_said_to_be() -> None:
    lost = []
    count = 0
    for step in STEPS:
        files = [it for there in paths(step).values() for it in there if it.suffix != ".md"]
        for mark in step.marks:
            name = mark.strip("@[]").removesuffix("(market)")
            if is_path(mark) or not re.fullmatch(r"-{0,2}[\w.-]+", name) or name in WORKFLOWS:
                continue
            count += 1
            if not (is_of_all(name) or any({*name.split(".")} <= words(each) for each in files)):
                lost.append((step.section, mark))
    assert count > 50
    assert lost == []


def is_of_all(name: str) -> bool:
    """True for what needs no place: Python's own, an extra, an option, what can be imported."""
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        return True
    if name in PYPROJECT["project"]["optional-dependencies"]:
        return True
    if name.startswith("--"):
        return any(name in words(path) for path in (ROOT / "src" / "topone_cli").glob("*.py"))
    module, _, attribute = name.rpartition(".")
    if name.startswith("topone_"):
        if importlib.util.find_spec(name if "." not in name else module) is None:
            return False
        if importlib.util.find_spec(name) is not None:
            return True
        return hasattr(importlib.import_module(module), attribute)
    first, _, rest = name.partition(".")
    for package in (topone_proto, adapters):
        if hasattr(package, first):
            return not rest or rest in {*dir(getattr(package, first))} | {
                *getattr(getattr(package, first), "__annotations__", {})
            }
    return False


@pytest.mark.parametrize("command", of_this("pytest "))
def test_every_test_that_is_named_is_there(command: str) -> None:
    paths = [word for word in shlex.split(command)[1:] if word.startswith("tests/")]
    for path in paths:
        assert [*ROOT.glob(path.replace("<name>", "*"))], path


@pytest.mark.parametrize("command", of_this("python -m "))
def test_every_module_that_is_run_is_there(command: str) -> None:
    name = shlex.split(command)[2]
    assert importlib.util.find_spec(f"{name}.__main__") is not None


@pytest.mark.parametrize("command", of_this("topone "))
def test_every_command_that_is_named_is_there(command: str) -> None:
    commands: Any = get_command(app)
    assert shlex.split(command)[1] in commands.commands


@pytest.mark.parametrize("command", of_this("nox "))
def test_every_task_that_is_named_is_there(command: str) -> None:
    name = re.fullmatch(r'nox -s "?(\w+)(?:\(3\.\d+\)")?(?: -- .*)?', command)
    assert name is not None
    assert re.search(
        rf"^def {name[1]}\(session: nox", (ROOT / "noxfile.py").read_text(), re.MULTILINE
    )


def test_nothing_is_in_code_that_no_test_here_knows() -> None:
    known = r"pytest|python|topone|nox|[\w@.\[<-]\S*"
    unknown = {
        mark
        for step in STEPS
        for mark in step.marks
        if not re.fullmatch(rf"({known})( .*)?", mark)
        or (" " in mark and mark.split()[0] not in FOREIGN | {"pytest", "python", "topone", "nox"})
    }
    assert unknown == set()
