"""The work of an account session: what one input has caused, and what is under way."""

from attrs import Factory, define

from topone_proto.account._actions import AccountAction, AccountEvent
from topone_proto.account._passes import Pass
from topone_proto.wire.http import HttpRequest

__all__ = ["Caused", "UnderWay"]


@define(eq=False)
class UnderWay:
    """A request that was sent."""

    id: int
    """Its number."""
    request: HttpRequest
    """The request."""
    expires_at: float
    """The time from which no answer is waited for."""
    waiting: Pass | None
    """The pass that it belongs to; None for a token."""


@define(eq=False)
class Caused:
    """The effects of an input so far."""

    events: list[AccountEvent] = Factory(list[AccountEvent])
    """The events, in order."""
    actions: list[AccountAction] = Factory(list[AccountAction])
    """The actions, in order."""
