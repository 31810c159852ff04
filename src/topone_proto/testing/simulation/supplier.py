"""The application's token callable, which supplies what the plan says."""

from typing import Any

from topone_proto.testing.simulation.client_plan import ClientPlan, Supply
from topone_proto.testing.simulation.server import Server

__all__ = ["Supplier"]


class Supplier:
    """The callable of one feed.

    Args:
        plan: what it supplies.
        server: who issues tokens.
        account: whose they are.
        token: the first one.
    """

    def __init__(self, plan: ClientPlan, server: Server, account: str, token: str) -> None:
        self.token: str = token
        """The latest token."""
        self._plan = plan
        self._server = server
        self._account = account
        self._calls = 0

    def called(self) -> Supply:
        """Return the outcome of the next call."""
        supplies = self._plan.supplies
        assert supplies is not None
        self._calls += 1
        return supplies[min(self._calls, len(supplies)) - 1]

    def issue(self) -> str:
        """Return a fresh token."""
        self.token = self._server.issue(self._plan.name, self._account)
        return self.token

    def supply(self, supply: Supply, core: Any, now: float) -> Any:
        """A call returns. Returns the step of the core that is told."""
        match supply.kind:
            case "raise":
                return core.machine.token_failed("OSError", now)
            case "junk":
                return core.token_obtained("", now)
            case "fresh":
                return core.token_obtained(self.issue(), now)
            case _:
                return core.token_obtained(self.token, now)
