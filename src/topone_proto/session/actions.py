"""Actions that the core asks its caller to carry out. The caller carries actions out in the order
given; none is optional."""

from topone_proto._values import value
from topone_proto.secrets.token import Token
from topone_proto.session.endpoint import Endpoint

__all__ = ["Action", "Close", "Connect", "FetchToken", "SendPing", "SendText"]


@value
class FetchToken:
    """Ask the application's callable for a token, then call ``Session.token_obtained`` or
    ``token_failed``."""


@value
class Connect:
    """Open a WebSocket, then call ``Session.connection_made`` or ``connection_failed``.

    The transport adds no header of its own but those that make a handshake, sends no pings of its
    own, follows no redirect and does not reconnect: those decisions are the core's.
    """

    endpoint: Endpoint
    """The address to dial, with its ``headers``."""
    token: Token | None
    """The secret; None for the public WebSocket, which needs none."""
    timeout: float
    """Seconds that the dial may take. The core has its own deadline for it and sends ``Close``
    then; this is for transports that want a number."""
    max_frame_size: int
    """The largest message to accept, in bytes."""

    def url(self) -> str:
        """Return the URL with the token in it, for the dial only; see ``Endpoint.dial_url``."""
        return self.endpoint.dial_url(self.token)

    def target(self) -> str:
        """Return path and query of ``url``, as secret as that; see ``Endpoint.dial_target``."""
        return self.endpoint.dial_target(self.token)


@value
class SendText:
    """Send a text frame."""

    text: str
    """The frame, as it goes on the wire."""


@value
class SendPing:
    """Send a WebSocket ping; when its pong comes, call ``pong_received`` with the same payload."""

    payload: bytes
    """The payload that the pong has to repeat, up to 125 bytes."""


@value
class Close:
    """Give up the dial, the token call or the connection, whichever there is. Nothing of it is fed
    in any more.

    A call that is under way is cancelled. An open connection gets a close frame, and is dropped
    after ``timeout`` seconds, at once if that is zero.
    """

    code: int
    """The close code to send (RFC 6455 section 7.4)."""
    reason: str
    """The close reason to send."""
    timeout: float
    """Seconds that the closing handshake may take; 0 drops the connection at once."""


Action = FetchToken | Connect | SendText | SendPing | Close
"""Anything the core can ask for."""
