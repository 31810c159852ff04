"""Forms of answers and of frames, for the adapters that stand on a parser of their own."""

import pytest

from doors import THREADS, TRIO, TRIO_OVER_WEBSOCKETS
from topone_proto.testing.conformance import Adapter, Scenario
from topone_proto.testing.conformance.answers import ANSWERS
from topone_simulator import run_in_thread


@pytest.mark.parametrize("scenario", ANSWERS.scenarios, ids=str)
@pytest.mark.parametrize(
    "adapter", [THREADS, TRIO, TRIO_OVER_WEBSOCKETS], ids=lambda adapter: adapter.name
)
def test_an_adapter_passes(adapter: Adapter, scenario: Scenario) -> None:
    scenario.check(adapter, run_in_thread)
