"""Tests under asyncio log nothing and use no proxy."""

from collections.abc import Iterator

import pytest

import dials


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with dials.quiet(caplog), dials.without_proxies():
        yield
