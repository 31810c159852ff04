"""The values of a token service: its state, its actions, its step, and the error that ends it."""

from attrs import evolve

from topone_proto._values import value
from topone_proto.errors import TopOneError
from topone_proto.secrets.token import Token

__all__ = [
    "FetchNewToken",
    "SaveTokenState",
    "TokenState",
    "TokenStep",
    "TokenUnobtainable",
    "corrected",
]


@value
class TokenState:
    """Everything that outlives a process, and that processes of one account share."""

    token: Token | None = None
    """The latest token; None if there is none."""
    obtained_at: float | None = None
    """The time before the request that brought it was sent, in seconds since 1970 UTC."""
    asked_at: float | None = None
    """The time of the latest request, whatever came of it."""
    not_before: float | None = None
    """The time from which the budget allows the next one."""
    failures: int = 0
    """The requests in a row that came to nothing."""
    ahead: float = 0.0
    """The seconds by which the exchange's clock is ahead of this machine's, as the exchange has
    said when it refused a signature for its time."""


@value
class FetchNewToken:
    """Send a token request, and report ``obtained`` or ``failed``."""


@value
class SaveTokenState:
    """Store the state durably, then call ``stored``; if something else is stored there than what
    this service knows, call ``loaded`` with it instead."""

    state: TokenState
    """The state to store. It has the token in it: only its owner may read the place."""


@value
class TokenStep:
    """The result of an input of the service."""

    token: Token | None
    """The token to use now; None if there is none yet."""
    actions: tuple[SaveTokenState | FetchNewToken, ...] = ()
    """Actions to carry out, in this order."""
    deadline: float | None = None
    """The time at which to call ``wanted`` again; None if nothing is due."""


class TokenUnobtainable(TopOneError):
    """There is no token, and asking again cannot help."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        """The cause, as far as it is known."""
        self.remedy = remedy
        """The way to mend it."""


def corrected(state: TokenState, wall: float) -> TokenState:
    """Return the state as if the clock had always been what it is now."""
    asked_at, obtained_at, not_before = state.asked_at, state.obtained_at, state.not_before
    if asked_at is not None and asked_at > wall:
        if not_before is not None:
            not_before -= asked_at - wall
        asked_at = wall
    if obtained_at is not None and obtained_at > wall:
        obtained_at = wall
    return evolve(state, asked_at=asked_at, obtained_at=obtained_at, not_before=not_before)
