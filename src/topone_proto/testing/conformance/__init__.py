"""The adapter conformance kit: what a feed has to do in any framework, as scenarios against a
simulated exchange, with the event logs that are to come of them.

``SCENARIOS`` are run one by one by a test runner, or all at once by ``check_all`` and by ``python
-m topone_proto.testing.conformance``. What they are run on is an ``Adapter``.
"""

from topone_proto.testing.conformance.adapter import (
    Adapter,
    BlockingFeed,
    BlockingMarketFeed,
    Feed,
    Main,
    MarketFeed,
    OpenFeed,
    OpenMarketFeed,
    Simulate,
    Simulator,
)
from topone_proto.testing.conformance.kit import Kit, Listener
from topone_proto.testing.conformance.report import Outcome, check_all
from topone_proto.testing.conformance.scenario import ConformanceFailed, Group, Scenario
from topone_proto.testing.conformance.scenarios import SCENARIOS

__all__ = [
    "SCENARIOS",
    "Adapter",
    "BlockingFeed",
    "BlockingMarketFeed",
    "ConformanceFailed",
    "Feed",
    "Group",
    "Kit",
    "Listener",
    "Main",
    "MarketFeed",
    "OpenFeed",
    "OpenMarketFeed",
    "Outcome",
    "Scenario",
    "Simulate",
    "Simulator",
    "check_all",
]
