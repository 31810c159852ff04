"""The adapter in examples/ passes the conformance kit, on both backends."""

import pytest

from topone_anyio.conformance import on_asyncio, on_trio
from topone_proto.testing.conformance import SCENARIOS, Adapter, Scenario
from topone_simulator import run_in_thread

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize("adapter", [on_asyncio, on_trio], ids=lambda adapter: adapter.name)
def test_it_passes(adapter: Adapter, scenario: Scenario) -> None:
    scenario.check(adapter, run_in_thread)
