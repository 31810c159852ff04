"""A pytest plugin that takes one feature out of the library for a whole run.

``test_features`` starts pytest with it, and with the feature's name in ``REMOVED``.
"""

import os
from contextlib import ExitStack

import pytest

from features.table import FEATURES

REMOVED = "TOPONE_REMOVED_FEATURE"
"""The environment variable that names the feature."""


def pytest_configure(config: pytest.Config) -> None:
    removal = ExitStack()
    removal.enter_context(FEATURES[os.environ[REMOVED]].remove())
    config.add_cleanup(removal.close)
