"""The benchmarks still run, every group of them, and their bars can tell good from bad."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import relay
from benchmarks.measuring import Row, Table
from benchmarks.report import write_docs
from benchmarks.sizing import write_sizing

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parent.parent
OURS, LIMIT = "topone_proto.decode", "msgspec, typed Struct"


def benchmarks(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        # As the bench is run, not as the tests are: competitors may warn of what they like.
        env={name: text for name, text in os.environ.items() if name != "PYTHONWARNINGS"},
        capture_output=True,
        text=True,
        check=False,
    )


def written(folder: Path, ours: list[float], limit: list[float]) -> str:
    rows = [
        {"name": name, "samples": samples, "note": "", "against": ""}
        for name, samples in ((OURS, ours), (LIMIT, limit))
    ]
    table = {
        "key": "decode/order",
        "title": "A title",
        "unit": "s",
        "base": LIMIT,
        "rows": rows,
        "absent": ["a competitor"],
    }
    file = folder / "samples.json"
    file.write_text(json.dumps({"machine": {"python": "any"}, "tables": [table]}))
    return str(file)


@pytest.mark.parametrize("group", ["decode", "core", "adapters", "scale", "footprint", "relay"])
def test_group_runs(group: str, tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    done = benchmarks(group, "--effort", "tiny", "--json", str(file))
    assert done.returncode == 0, done.stderr
    tables = json.loads(file.read_text())["tables"]
    assert tables
    for table in tables:
        assert table["key"].startswith(f"{group}/")
        assert table["base"] in {row["name"] for row in table["rows"]}
        assert len({len(row["samples"]) for row in table["rows"]}) == 1
        if table["unit"] == "s":
            assert all(sample > 0 for row in table["rows"] for sample in row["samples"])


def test_unknown_group_is_refused() -> None:
    done = benchmarks("encode")
    assert done.returncode == 2
    assert "decode, core, adapters, scale, footprint, relay" in done.stderr


def test_check_passes_what_holds(tmp_path: Path) -> None:
    done = benchmarks("--from", written(tmp_path, [1.0, 1.0], [1.0, 1.0]), "--check")
    assert done.returncode == 0
    assert "holds" in done.stdout
    # Bars on what was not measured say nothing.
    assert "not measured" in done.stdout
    assert "absent: not installed" in done.stdout


def test_check_compares_within_rounds(tmp_path: Path) -> None:
    # The machine was ten times slower in the last two rounds, and ours twice the limit in all.
    file = written(tmp_path, [2.0, 20.0, 20.0], [1.0, 10.0, 10.0])
    done = benchmarks("--from", file, "--check")
    assert done.returncode == 1
    assert "FALLS SHORT" in done.stdout
    assert "2 (2 to 2)" in done.stdout
    # By how much of the bar.
    assert "FALLS SHORT by 60.0 %" in done.stdout


def test_without_check_nothing_fails(tmp_path: Path) -> None:
    assert benchmarks("--from", written(tmp_path, [9.0], [1.0])).returncode == 0


def table(key: str, ours: float) -> Table:
    return Table(key, f"Title of {key}", "s", LIMIT, (Row(OURS, (ours,)), Row(LIMIT, (1.0,))))


def test_the_page_shows_a_table_a_group_and_the_one_behind_it_all(tmp_path: Path) -> None:
    tables = [table("decode/order", 9.0), table("decode/balance", 1.0), table("core/age", 1.0)]
    page, behind = (
        path.read_text("utf-8") for path in write_docs(tables, {"python": "any"}, tmp_path)
    )
    assert re.findall("^### (.+)$", page, re.MULTILINE) == [
        "Title of decode/order",
        "Title of core/age",
    ]
    assert [f"### Title of {each.key}" in behind for each in tables] == [True] * 3
    assert "](performance-tables.md#decoding-a-frame)" in page
    assert "\n## Decoding a frame\n" in behind
    # What to expect stands first, and a bar that is missed is not hidden.
    assert page.index("A feed costs") < page.index("## ")
    assert "FALLS SHORT by 620.0 %" in page
    assert "holds" not in page.partition("## Bars")[2].partition("\n\n|")[2]
    assert behind.count("| not measured |") > 3
    assert (tmp_path / "_static" / "performance-decode.svg").exists()


def test_the_page_says_first_what_an_adapter_costs(tmp_path: Path) -> None:
    name = "topone_threads"
    tables = [
        Table(f"adapters/{key}", key, "s", "loop", (Row(ours, (seconds,)), Row("loop", (1.0,))))
        for key, ours, seconds in (
            (f"cpu-{name}", name, 0.5),
            (f"latency-{name}", f"{name}, median", 1.25),
        )
    ]
    page = write_docs(tables, {}, tmp_path)[0].read_text("utf-8")
    row = "| threads | 0.50 times | 1.25 times | websockets |"
    assert 0 < page.index(row) < page.index("## ")


def failing(error: str) -> "subprocess.CompletedProcess[str]":
    """A run of three groups of which the second raises ``error``."""
    program = (
        "from benchmarks import command\n"
        "def bad(effort): raise ERROR\n"
        "command.GROUPS = {'good': lambda e: [], 'bad': bad, 'other': lambda e: []}\n"
        "raise SystemExit(command.main(['--effort', 'tiny', '--docs']))\n"
    ).replace("ERROR", error)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_group_that_fails_is_named_and_spoils_the_page() -> None:
    done = failing("OSError")
    assert done.returncode == 1
    assert "measuring other, 3 of 3" in done.stderr
    assert "FAILED: bad" in done.stderr
    assert "wrote" not in done.stdout


def test_an_interruption_ends_the_run_without_a_traceback() -> None:
    done = failing("KeyboardInterrupt")
    assert done.returncode == 130
    assert "interrupted while measuring bad" in done.stderr
    assert "other" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_on_machines_is_computed_from_what_was_measured(tmp_path: Path) -> None:
    def measured(key: str, *names: str) -> Table:
        values = {"relay/rate": 1e-5, "relay/processor": 1e-4, "relay/idle": 3e-4}
        sizes = {relay.UPDATE: 300.0, relay.MESSAGE: 50.0}
        rows = tuple(Row(name, (sizes.get(name) or values[key],)) for name in names)
        return Table(key, key, "s", names[0], rows)

    tables = [
        measured("relay/rate", relay.OURS),
        measured("relay/processor", relay.OURS),
        measured("relay/idle", relay.IDLE),
        measured("relay/bytes", relay.UPDATE, relay.MESSAGE),
    ]
    costs, example = (path.read_text("utf-8") for path in write_sizing(tables, tmp_path))
    assert "| each lone event | 0.1 ms of a core" in costs
    assert "300 bytes, and about 50 for" in costs
    assert "about 10,000 lone events a second, or 100,000 in bursts" in costs
    assert "| 2 + 3 cores |" in example
    assert "| 7 MB/s in, 21 MB/s out" in example
    assert "| 3,600 s of 8.7 MB/s | 31 GB |" in example
    assert "| processes | 9 of 1,111 accounts" in example
    assert write_sizing(tables[1:], tmp_path) == []
