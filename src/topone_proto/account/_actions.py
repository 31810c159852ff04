"""The results of an account session: its one step, and the actions that a session alone has not."""

from topone_proto._values import value
from topone_proto.account._changes import Change
from topone_proto.account._reports import Report
from topone_proto.account._stored import LoadState, StoreState
from topone_proto.events import Event
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Action
from topone_proto.wire.http import HttpRequest

__all__ = ["AccountAction", "AccountEvent", "AccountStep", "Fetch", "RenewToken"]


@value
class Fetch:
    """Send a GET request, then call ``AccountSession.fetched`` or ``fetch_failed`` with its ``id``.

    Redirects are not followed, nothing is repeated, and the size of the body is limited.
    """

    id: int
    """The number of this request."""
    request: HttpRequest
    """The request, without its host."""
    timeout: float
    """Seconds from here to the last byte of the answer."""


@value
class RenewToken:
    """Ask the application's callable for another token, since the exchange refuses this one over
    HTTP, then call ``AccountSession.token_renewed`` or ``token_not_renewed``. The connection goes
    on meanwhile."""

    refused: Token
    """The token that is refused."""


AccountEvent = Event | Change | Report
"""Anything that an account session tells: an event of the feed, a change of the account right after
the event or the answer that caused it, or a report about a request."""

AccountAction = Action | Fetch | LoadState | RenewToken | StoreState
"""Anything that an account session asks for."""


@value
class AccountStep:
    """Everything that one input caused, with the three parts of a session's ``Step``."""

    events: tuple[AccountEvent, ...] = ()
    """To be handed to the application, in order."""
    actions: tuple[AccountAction, ...] = ()
    """To be carried out, in order."""
    deadline: float | None = None
    """The time to call ``deadline_reached`` if no other input comes first, on the clock of ``now``;
    None for never. Calling early is harmless."""
