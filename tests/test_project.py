"""The files by which others carry this project on: workflows, forms, fragments, tasks."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
GITHUB = ROOT / ".github"


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_the_workflow_runs_the_script_of_everybody_on_every_python() -> None:
    workflow = text(".github/workflows/checks.yml")
    job, _, _ = workflow.partition("free-threaded:")
    assert re.findall(r"- run: (.+)", job) == [".ci/run"]
    [versions] = re.findall(r"python: \[(.+)\]", job)
    pythons = re.findall(r'"(3\.\d+)"', versions)
    assert pythons[0] == PYPROJECT["project"]["requires-python"].removeprefix(">=")
    classifiers = " ".join(PYPROJECT["project"]["classifiers"])
    assert set(re.findall(r":: (3\.\d+)", classifiers)) <= set(pythons)


def test_the_lowest_and_the_newest_versions_of_requirements_are_tried_every_night() -> None:
    workflow = text(".github/workflows/checks.yml")
    assert re.search(r'- cron: "\d+ \d+ \* \* \*"', workflow)
    _, _, job = workflow.partition("  lowest:")
    assert "- run: nox -s lowest\n" in job
    python = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert f'python-version: "{python}"' in job
    assert '"--resolution", "lowest-direct"' in text("noxfile.py")


def test_a_release_is_checked_and_published_without_a_password() -> None:
    workflow = text(".github/workflows/release.yml")
    build, _, publish = workflow.partition("  publish:")
    assert build.index("- run: .ci/run") < build.index("nox -s release")
    assert "id-token: write" in publish
    assert "id-token" not in build
    assert not re.search(r"secrets\.|password:|https?://", workflow)


@pytest.mark.parametrize(
    "form", sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda p: p.name
)
def test_an_issue_form_asks_for_the_doctor(form: Path) -> None:
    assert "topone doctor --json" in form.read_text("utf-8")


def test_fragments_of_the_changelog_are_of_a_kind_and_are_sentences() -> None:
    kinds = {kind["directory"] for kind in PYPROJECT["tool"]["towncrier"]["type"]}
    for path in (ROOT / "changes").iterdir():
        if path.name == "README.md":
            continue
        assert re.fullmatch(rf"[\w-]+\.({'|'.join(kinds)})\.md", path.name)
        assert re.fullmatch(r"[^#\s*-].*\.\n", path.read_text("utf-8"), re.DOTALL)
    assert PYPROJECT["tool"]["towncrier"]["start_string"] in text("CHANGELOG.md")


def test_there_is_a_task_for_everything() -> None:
    sessions = re.findall(r"^def (\w+)\(session: nox\.Session", text("noxfile.py"), re.MULTILINE)
    assert {"check", "test", "lowest", "docs", "bench", "fuzz", "release"} <= set(sessions)
    named = set(re.findall(r"nox -s (\w+)", text("CONTRIBUTING.md")))
    assert named <= set(sessions)


@pytest.mark.parametrize("root", ["src", "tests", "benchmarks", "docs"])
def test_no_annotation_names_a_member_of_its_own_class(root: str) -> None:
    # From Python 3.14 on, annotations are evaluated once the class is made, and would find the
    # member, not the type of the same name.
    assert not [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / root).rglob("*.py"))
        for line in hidden_names(ast.parse(path.read_text("utf-8")))
    ]


def hidden_names(tree: ast.Module) -> Iterator[int]:
    """The lines of annotations that name what is a member of the class around them."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.ClassDef):
            continue
        members = {each.name for each in scope.body if isinstance(each, functions)}
        annotations: list[ast.expr | None] = []
        for each in scope.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                members.add(each.target.id)
                annotations.append(each.annotation)
            elif isinstance(each, ast.Assign):
                members.update(to.id for to in each.targets if isinstance(to, ast.Name))
            elif isinstance(each, functions):
                arguments = (node for node in ast.walk(each.args) if isinstance(node, ast.arg))
                annotations += (each.returns, *(argument.annotation for argument in arguments))
        for annotation in filter(None, annotations):
            for node in ast.walk(annotation):
                if isinstance(node, ast.Name) and node.id in members:
                    yield node.lineno
