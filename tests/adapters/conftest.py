"""The adapters, one after the other, and a simulator for them."""

import threading
from collections.abc import Iterator

import pytest

import topone_simulator
from portals import PORTALS, Open
from topone_proto.exchange import GatewayConfig


@pytest.fixture(params=sorted(PORTALS))
def open_feed(request: pytest.FixtureRequest) -> Open:
    portal: Open = PORTALS[request.param]
    return portal


@pytest.fixture
def simulator() -> Iterator[topone_simulator.Simulator]:
    # A clock that starts at zero makes server times small and easy to compare.
    with topone_simulator.run_in_thread(config=GatewayConfig(start_ts=1_000_000)) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    # Trio keeps the threads in which it resolves names for a while, for the next name.
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        # A lookup or a token call that is done ends in a moment; nobody else waits for that.
        if thread.name.startswith("topone-"):
            thread.join(10)
    left = [thread for thread in left if thread.is_alive()]
    assert not [thread for thread in left if not thread.name.startswith("Trio thread")]
