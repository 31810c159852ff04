"""The kit without a test runner: all scenarios in a row, and what came of each."""

import time
from collections.abc import Callable, Iterable

from attrs import frozen

from topone_proto.testing.conformance.adapter import Adapter, Simulate
from topone_proto.testing.conformance.scenario import PATIENCE, ConformanceFailed, Scenario
from topone_proto.testing.conformance.scenarios import SCENARIOS

__all__ = ["Outcome", "check_all"]


@frozen
class Outcome:
    """The outcome of one scenario."""

    scenario: Scenario
    """The scenario."""
    failed: ConformanceFailed | None
    """The difference; None if the adapter passed."""
    seconds: float
    """The time that it took, in seconds."""


def check_all(
    adapter: Adapter,
    simulate: Simulate,
    *,
    scenarios: Iterable[Scenario] = SCENARIOS,
    patience: float = PATIENCE,
    show: Callable[[Outcome], object] = lambda _: None,
) -> tuple[Outcome, ...]:
    """Run scenarios one after the other, whatever comes of them.

    Args:
        adapter: what is checked.
        simulate: ``topone_simulator.run_in_thread``.
        scenarios: what to run, as far as it applies to the adapter; all there are by default.
        patience: seconds that each may take.
        show: is told of every outcome at once.
    """
    outcomes: list[Outcome] = []
    for scenario in scenarios:
        if not scenario.applies_to(adapter):
            continue
        started = time.monotonic()
        failed: ConformanceFailed | None = None
        try:
            scenario.check(adapter, simulate, patience=patience)
        except ConformanceFailed as error:
            failed = error
        outcomes.append(Outcome(scenario, failed, time.monotonic() - started))
        show(outcomes[-1])
    return tuple(outcomes)
