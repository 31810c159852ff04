"""All scenarios: what is in the modules beside this one, one for each group."""

from typing import Final

from topone_proto.testing.conformance.answers import ANSWERS
from topone_proto.testing.conformance.back_pressure import BACK_PRESSURE
from topone_proto.testing.conformance.cancellation import CANCELLATION
from topone_proto.testing.conformance.closing import CLOSING
from topone_proto.testing.conformance.failures import FAILURES
from topone_proto.testing.conformance.faults import FAULTS
from topone_proto.testing.conformance.frames import FRAMES
from topone_proto.testing.conformance.life import LIFE
from topone_proto.testing.conformance.liveness import LIVENESS
from topone_proto.testing.conformance.market import MARKET
from topone_proto.testing.conformance.scenario import Scenario
from topone_proto.testing.conformance.secrecy import SECRECY

__all__ = ["SCENARIOS"]

SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    scenario
    for group in (
        LIFE,
        FAILURES,
        ANSWERS,
        FRAMES,
        LIVENESS,
        BACK_PRESSURE,
        FAULTS,
        CANCELLATION,
        SECRECY,
        MARKET,
        CLOSING,
    )
    for scenario in group.scenarios
)
"""All scenarios, by group."""
