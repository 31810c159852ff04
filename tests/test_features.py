"""The suite notices when a feature is missing: each is removed, and its tests have to fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from features.removal import REMOVED
from features.table import FEATURES, Feature

ROOT = Path(__file__).parents[1]
PROMISES = (ROOT / "docs/promises.md").read_text(encoding="utf-8")


@pytest.mark.thorough
@pytest.mark.parametrize("feature", FEATURES.values(), ids=lambda feature: feature.name)
def test_the_suite_fails_without(feature: Feature) -> None:
    path = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no"),
            *("-p", "no:cacheprovider", "-p", "features.removal"),
            *("--hypothesis-profile=mutation", *feature.tests),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, REMOVED: feature.name},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    # 0: all passed. 2 and more: nothing was run as it should be.
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr


def test_every_promise_has_features() -> None:
    sections = {int(number) for number in re.findall(r"^## (\d+)\. ", PROMISES, re.MULTILINE)}
    assert {feature.promise for feature in FEATURES.values()} == sections
