"""The suite notices when a feature is missing: each is removed, and its tests have to fail."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from features.forks import Forks
from features.table import FEATURES, Feature

ROOT = Path(__file__).parents[1]
PROMISES = (ROOT / "docs/promises.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with closing(Forks(tmp_path_factory.mktemp("features"))) as forks:
        yield forks


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("feature", FEATURES.values(), ids=lambda feature: feature.name)
def test_the_suite_fails_without(feature: Feature, forks: Forks) -> None:
    options = ("-x", "--tb=no", "--hypothesis-profile=mutation")
    status, output = forks.run(feature.name, *options, *feature.tests)
    # 0: all passed. 2 and more: nothing was run as it should be.
    assert status == pytest.ExitCode.TESTS_FAILED, output


def test_every_promise_has_features() -> None:
    sections = {int(number) for number in re.findall(r"^## (\d+)\. ", PROMISES, re.MULTILINE)}
    assert {feature.promise for feature in FEATURES.values()} == sections
