"""All scenarios: what is in the modules beside this one, one for each group."""

from typing import Final

from topone_proto.testing.conformance import (
    back_pressure,
    cancellation,
    closing,
    failures,
    life,
    secrecy,
)
from topone_proto.testing.conformance.scenario import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *life.SCENARIOS,
    *failures.SCENARIOS,
    *back_pressure.SCENARIOS,
    *cancellation.SCENARIOS,
    *secrecy.SCENARIOS,
    *closing.SCENARIOS,
)
"""All scenarios, by group."""
