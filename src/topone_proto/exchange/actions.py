"""The requests of the simulated server to whatever carries its connections."""

from topone_proto._values import value
from topone_proto.exchange.candles import Bar
from topone_proto.exchange.market import Depth, Trade
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic

__all__ = [
    "Accept",
    "ClosePeer",
    "GatewayAction",
    "GatewayStep",
    "HandshakeAction",
    "MarketData",
    "MutePeer",
    "Publication",
    "Reject",
    "ResetPeer",
    "SendFrame",
    "SendGarbage",
    "SendPing",
    "SendPong",
    "Stall",
]


@value
class Accept:
    """Answer the handshake with 101; from now on the connection is called ``peer``."""

    peer: int
    """The number that the connection has from now on."""


@value
class Reject:
    """Answer the handshake with an HTTP status other than 101 and end the connection."""

    status: int
    """The HTTP status, such as 403."""
    reason: str
    """A few words on the cause, for the response's body."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers to add, such as ``Retry-After``."""


@value
class SendGarbage:
    """Answer the handshake with these bytes, which are no HTTP, and end the connection."""

    data: bytes
    """The bytes, as they go on the wire."""


@value
class Stall:
    """Never answer the handshake, and keep the connection."""


@value
class SendFrame:
    """Send a text frame."""

    peer: int
    """To whom."""
    text: str
    """The frame, as it goes on the wire."""


@value
class SendPing:
    """Send a WebSocket ping; call ``Gateway.pong_received`` when its pong comes."""

    peer: int
    """To whom."""
    payload: bytes
    """The payload that the pong has to repeat, up to 125 bytes."""


@value
class SendPong:
    """Send a WebSocket pong: the answer to ``Gateway.ping_received``."""

    peer: int
    """To whom."""
    payload: bytes
    """The payload of the ping."""


@value
class ClosePeer:
    """End the connection with a close frame. Nothing of this peer need be fed in any more."""

    peer: int
    """Whose connection."""
    code: int
    """The close code (RFC 6455 section 7.4)."""
    reason: str
    """The close reason."""


@value
class ResetPeer:
    """End the connection at once without a close frame. Nothing of this peer need be fed in any
    more."""

    peer: int
    """Whose connection."""


@value
class MutePeer:
    """Keep the connection and write nothing to it ever again, not even the pongs that a library
    sends by itself."""

    peer: int
    """Whose connection."""


HandshakeAction = Accept | Reject | SendGarbage | Stall
"""An answer to a handshake."""

GatewayAction = HandshakeAction | SendFrame | SendPing | SendPong | ClosePeer | ResetPeer | MutePeer
"""Anything that the gateway can ask of what carries it."""


MarketData = tuple[Bar, ...] | Depth | tuple[Trade, ...]
"""The data of a market's topics: candles, a book or deals, the oldest first."""


@value
class Publication:
    """One update published to one peer on an active subscription, whether or not it can still hear
    it."""

    peer: int
    """To whom."""
    topic: Topic
    """On which topic."""
    ts: int
    """The update's server time in milliseconds."""
    update: Balance | Order | MarketData
    """The update that was published."""


@value
class GatewayStep:
    """Everything that one input caused."""

    actions: tuple[GatewayAction, ...] = ()
    """To be carried out, in order. The first one of a ``handshake``, and only that, is a
    ``HandshakeAction``."""
    publications: tuple[Publication, ...] = ()
    """The updates that were published, for whoever keeps a record of them."""
    deadline: float | None = None
    """The time to call ``deadline_reached`` if no other input comes first, on the clock of ``now``;
    None for never. Calling early is harmless."""
