"""The page of requirements has a row for each of them."""

import re
from pathlib import Path

from benchmarks.sizes import declared

PAGE = Path(__file__).parents[1] / "docs" / "supply-chain.md"
_CELL = r" (.+?) \|"
ROW = re.compile(rf"^\| ([\w.-]+) \|{6 * _CELL}$", re.MULTILINE)


def rows() -> dict[str, list[str]]:
    found = {name.lower(): cells for name, *cells in ROW.findall(PAGE.read_text("utf-8"))}
    assert found.pop("requirement")[0] == "extra"
    return found


def test_every_requirement_has_a_row_and_no_other() -> None:
    assert rows().keys() == declared().keys()


def test_a_row_names_the_extras_a_reason_and_a_release() -> None:
    for name, (extras, reason, release, *_) in rows().items():
        assert set(extras.split(", ")) <= set(declared()[name]), name
        assert len(reason) > 3, name
        assert re.fullmatch(r"\S+, \d\d/20\d\d", release), name
