"""Everything that the fuzzers were given and everything that they have found, once more."""

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

pytestmark = pytest.mark.thorough

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"
INPUTS = sorted(CORPUS.glob("*/*"))


def test_there_is_a_corpus_for_every_target() -> None:
    assert {path.parent.name for path in INPUTS} == set(TARGETS)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_fuzzer_found_does_no_harm(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())
