"""The adapters of this project pass the conformance kit, by the same door as anybody's."""

import pytest

from doors import ADAPTERS
from topone_proto.testing.conformance import SCENARIOS, Adapter, Scenario
from topone_simulator import run_in_thread


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_an_adapter_passes(adapter: Adapter, scenario: Scenario) -> None:
    if not scenario.applies_to(adapter):
        pytest.skip("about something that it does not have")
    scenario.check(adapter, run_in_thread)
