"""The adapters of this project pass the conformance kit, by the same door as anybody's."""

import pytest

from doors import ADAPTERS, ASYNCIO, TRIO_OVER_WEBSOCKETS
from topone_proto.testing.conformance import SCENARIOS, Adapter, Scenario
from topone_simulator import run_in_thread

# Threads are on top of asyncio, and both on topone_websockets: these reach no other branch.
ALIKE = (ASYNCIO, TRIO_OVER_WEBSOCKETS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize(
    "adapter",
    [
        pytest.param(adapter, marks=[pytest.mark.thorough] if adapter in ALIKE else [])
        for adapter in ADAPTERS
    ],
    ids=lambda adapter: adapter.name,
)
def test_an_adapter_passes(adapter: Adapter, scenario: Scenario) -> None:
    if not scenario.applies_to(adapter):
        pytest.skip("about something that it does not have")
    scenario.check(adapter, run_in_thread)
