"""Reports of an account session about its HTTP requests and its token."""

from enum import Enum

from topone_proto._values import value

__all__ = [
    "ClockCorrected",
    "DelayCause",
    "FetchDelayed",
    "FetchFailed",
    "FetchKind",
    "Report",
    "StateNotStored",
]


class FetchKind(Enum):
    """The question that a request is for."""

    TOKEN = "token"
    """A new token."""
    BALANCES = "balances"
    """Balances."""
    OPEN_ORDERS = "open_orders"
    """A page of the open orders."""
    HISTORY = "history"
    """A page of the finished orders."""


@value
class FetchFailed:
    """A request came to nothing. What it was for stays unknown until its question is answered."""

    kind: FetchKind
    """The question."""
    problem: str
    """The cause, in a few words without a secret."""
    retry_in: float | None
    """Seconds until it is asked again at the earliest; None if it is not: asking cannot help. Of
    the ``HISTORY`` alone, the account stays whole, and orders that were made and closed unseen may
    not have been told."""


class DelayCause(Enum):
    """The reason why a request may not be sent yet."""

    BUDGET = "budget"
    """So many requests were made a moment ago that the exchange allows none now: by this process,
    another one of the account, or the application."""
    BACKOFF = "backoff"
    """The latest requests came to nothing, so there is a longer wait."""
    BLOCK = "block"
    """The exchange has blocked such requests, or so many came to nothing that the wait is as long
    as a block."""


@value
class FetchDelayed:
    """A request is needed and may not be sent yet. Said once for each wait of more than a second,
    unless a ``FetchFailed`` has told it already; a wait that becomes longer is another one.

    It may end sooner: another process of the account may get the token that this one waits for.
    """

    kind: FetchKind
    """The question that waits."""
    cause: DelayCause
    """The reason."""
    retry_in: float
    """Seconds until it may be asked at the earliest."""


@value
class ClockCorrected:
    """The exchange does not accept this machine's clock for a signature. From now on signatures
    have the exchange's time."""

    seconds: float
    """The seconds that are added to the time of day; negative if this machine's clock is fast."""


@value
class StateNotStored:
    """The budgets could not be stored, so nothing is asked that counts. Without a store that works
    an account is not made whole."""

    problem: str
    """The cause, in a few words."""
    retry_in: float
    """Seconds until the next try."""


Report = FetchFailed | FetchDelayed | ClockCorrected | StateNotStored
"""Anything that an account session reports beside events and changes."""
