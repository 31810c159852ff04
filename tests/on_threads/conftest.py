"""Every test of threads leaves none behind."""

from collections.abc import Iterator

import pytest

import waits
from topone_simulator import Simulator, run_in_thread
from waits import TOKEN


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    with waits.no_thread_is_left():
        yield


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={TOKEN: "alice"}) as simulator:
        yield simulator
