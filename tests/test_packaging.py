"""The contents of what is shipped: which packages, what importing them loads, and what a missing
extra says."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import files, metadata, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import topone_proto

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {
    Path(path).name: ROOT / path
    for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
}

IO_MODULES = {
    "aiohttp",
    "asyncio",
    "concurrent.futures",
    "email.utils",
    "http",
    "http.client",
    "logging.config",
    "logging.handlers",
    "multiprocessing",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "trio",
    "trio_websocket",
    "urllib.request",
    "websockets",
}


def run_python(
    code: str, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        # A coverage measurement of this process must not load its modules into the fresh one.
        env={name: text for name, text in os.environ.items() if not name.startswith("COV")},
        text=True,
    )


IMPORT_THE_CORE = """
import sys
before = set(sys.modules)
import importlib, pkgutil
import topone_proto

# By listing directories, not by walk_packages, which imports what it walks over.
def names(path, prefix):
    for module in pkgutil.iter_modules(path, prefix):
        if module.name != "topone_proto.testing":
            yield module.name
            if module.ispkg:
                yield from names([f"{path[0]}/{module.name.rpartition('.')[2]}"], module.name + ".")

for name in names(list(topone_proto.__path__), "topone_proto."):
    importlib.import_module(name)

import json
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_core_loads_no_io() -> None:
    fresh = run_python(IMPORT_THE_CORE)
    assert fresh.returncode == 0, fresh.stderr
    loaded = set(json.loads(fresh.stdout))
    assert {
        "topone_proto.wire.codec",
        "topone_proto.session.session",
        "topone_proto.exchange.gateway",
    } <= loaded
    assert loaded & IO_MODULES == set()


def test_every_package_of_the_source_roots_is_shipped() -> None:
    roots = [ROOT / root for root in PYPROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"]]
    found = {init.parent for root in roots for init in root.glob("*/__init__.py")}
    assert found == set(PACKAGES.values())


def test_every_list_of_packages_has_all_that_are_shipped() -> None:
    tools = PYPROJECT["tool"]
    linter = tools["importlinter"]
    [house] = [each for each in linter["contracts"] if each["id"] == "house"]
    floors = [name for floor in house["layers"] for name in floor.split(" | ")]
    shipped = sorted(PACKAGES)
    assert sorted(tools["coverage"]["run"]["source_pkgs"]) == shipped
    assert sorted(linter["root_packages"]) == shipped
    assert sorted(floors) == shipped
    assert set(shipped) <= set(tools["ruff"]["lint"]["isort"]["known-first-party"])


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_package_is_typed(name: str) -> None:
    assert (PACKAGES[name] / "py.typed").is_file()


def test_the_version_is_written_once() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = [line for line in changelog.splitlines() if line.startswith("## ")]
    assert version("topone-proto") == topone_proto.__version__ == headings[0].split()[1]
    sources = [path for package in PACKAGES.values() for path in package.rglob("*.py")]
    literal = f'"{topone_proto.__version__}"'
    written = [path for path in sources if literal in path.read_text(encoding="utf-8")]
    assert written == [PACKAGES["topone_proto"] / "_version.py"]


HOME = "https://github.com/topone-proto/topone-proto/blob/main/"
RAW = "https://raw.githubusercontent.com/topone-proto/topone-proto/main/"


def test_the_readme_links_to_what_exists() -> None:
    """All links are absolute: a package index shows the page without the files beside it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{PYPROJECT['project']['urls']['Repository']}/blob/main/" == HOME
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", readme)
    ours = [(link.removeprefix(HOME).removeprefix(RAW), anchor) for link, anchor in links]
    assert all(link.startswith("https://") for link, _ in links)
    assert sum(not path.startswith("https://") for path, _ in ours) > 20
    for path, anchor in ours:
        if path.startswith("https://"):
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        # As GitHub makes them: without punctuation.
        anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in anchors


def test_the_core_needs_three_libraries() -> None:
    required = metadata("topone-proto").get_all("Requires-Dist") or []
    unconditional = {text.split(">=")[0] for text in required if "extra ==" not in text}
    assert unconditional == {"attrs", "cattrs", "msgspec"}


def required_by(name: str, extra: str) -> list[str]:
    if name == "topone-proto":
        # From the source: what is installed may be older.
        project = PYPROJECT["project"]
        optional: list[str] = project["optional-dependencies"].get(extra, [])
        return [*project["dependencies"], *optional]
    return metadata(name).get_all("Requires-Dist") or []


def installed_by(extra: str) -> set[str]:
    """Return the distributions that installing the project with ``extra`` brings along."""
    found: set[str] = set()
    waiting = [("topone-proto", extra)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        seen.add((name, extra))
        found.add(name)
        for text in required_by(name, extra):
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                wanted = canonicalize_name(needed.name)
                waiting += {(wanted, each) for each in ("", *needed.extras)} - seen
    return found - {"topone-proto"}


def test_the_demo_weighs_little() -> None:
    """Less than the 60 MB that CI allows it in a fresh environment, of which this is a part."""
    needed = installed_by("demo")
    assert {"rich", "trio", "typer", "websockets"} <= needed
    weight = sum(
        path.stat().st_size
        for name in needed
        for path in map(Path, map(str, (each.locate() for each in files(name) or [])))
        if path.is_file()
    )
    assert weight < 60e6


def test_all_has_what_every_other_extra_of_users_has() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    names = list(extras)
    assert all(installed_by(name) <= installed_by("all") for name in names[: names.index("all")])


def test_ci_begins_with_the_first_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [first] = re.findall(r"^```sh\n(.*)\n", readme, re.MULTILINE)[:1]
    assert first == 'pip install -e ".[demo]" && topone demo'
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "first=$(sed -n '/^```sh$/{n;p;q}' README.md)" in run
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    assert f"{first}\n" in page


BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


def build(kind: str, directory: Path) -> zipfile.ZipFile:
    built = run_python(BUILD, kind, str(directory), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(directory / built.stdout.strip())


def test_the_wheel_holds_the_packages_at_its_top(tmp_path: Path) -> None:
    with build("build_wheel", tmp_path) as wheel:
        names = wheel.namelist()
    dist_info = f"topone_proto-{topone_proto.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, dist_info}
    for package, path in PACKAGES.items():
        sources = {file.relative_to(path.parent).as_posix() for file in path.rglob("*.py")}
        assert {*sources, f"{package}/py.typed"} <= set(names)
    assert f"{dist_info}/licenses/LICENSE" in names


def test_an_editable_install_has_the_packages_at_its_top(tmp_path: Path) -> None:
    with build("build_editable", tmp_path) as wheel:
        [pth] = [name for name in wheel.namelist() if name.endswith(".pth")]
        roots = wheel.read(pth).decode().split("\n")
    assert {Path(root) for root in roots if root} == {path.parent for path in PACKAGES.values()}


IMPORT_WITHOUT = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
__import__(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [
        ("topone_trio", "trio", "trio"),
        ("topone_trio", "trio_websocket", "trio"),
        ("topone_asyncio", "websockets", "asyncio"),
        ("topone_asyncio.over_aiohttp", "websockets", "asyncio"),
        ("topone_asyncio.over_aiohttp", "aiohttp", "aiohttp"),
        ("topone_asyncio.over_aiohttp", "yarl", "aiohttp"),
        ("topone_threads", "websockets", "threads"),
        ("topone_websockets", "websockets", "websockets"),
        ("topone_simulator", "websockets", "simulator"),
        ("topone_simulator", "aiohttp", "simulator"),
        ("topone_proto.testing.conformance", "trustme", "testing"),
        ("topone_trio.over_websockets", "websockets", "trio-websockets"),
        ("topone_nats", "nats", "nats"),
        ("topone_redis", "redis", "redis"),
    ],
)
def test_a_package_without_its_library_names_the_extra(
    package: str, missing: str, extra: str
) -> None:
    fresh = run_python(IMPORT_WITHOUT, package, missing)
    assert fresh.returncode != 0
    last_line = fresh.stderr.splitlines()[-1]
    assert last_line.startswith(("ImportError", "ModuleNotFoundError"))
    assert f"topone-proto[{extra}]" in last_line


@pytest.mark.parametrize(
    "package",
    [
        "topone_trio",
        "topone_trio.over_websockets",
        "topone_asyncio",
        "topone_asyncio.over_aiohttp",
        "topone_threads",
        "topone_websockets",
        "topone_simulator",
        "topone_nats",
        "topone_redis",
    ],
)
def test_a_package_that_is_broken_otherwise_blames_no_extra(package: str) -> None:
    fresh = run_python(IMPORT_WITHOUT, package, "topone_proto.session.endpoint")
    assert fresh.returncode != 0
    assert "topone_proto.session.endpoint" in fresh.stderr.splitlines()[-1]
    assert "pip install" not in fresh.stderr


def test_the_command_without_its_libraries_names_the_extra() -> None:
    fresh = run_python(IMPORT_WITHOUT + "sys.modules[sys.argv[1]].main()", "topone_cli", "typer")
    assert fresh.returncode != 0
    assert "topone-proto[cli]" in fresh.stderr.splitlines()[-1]
