"""The values of frames: the request that a client sends and every message that a frame decodes to.

Plain values, one class per kind of frame. Which of them reach the application is for ``connection``
to say.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field

from topone_proto._values import value
from topone_proto.wire.topic import Topic, Update

__all__ = [
    "Malformed",
    "Message",
    "Ping",
    "Request",
    "Response",
    "Unrecognised",
]


@value
class Request:
    """A client's request (private-websocket, "Subscribe request")."""

    id: str
    """The client's own name for the request; the response repeats it."""
    method: str
    """Such as ``sub_orders``; ``Topic.subscribe_method`` and ``Topic.unsubscribe_method`` spell
    it."""
    params: Mapping[str, Any] = field(factory=dict[str, Any], hash=False)
    """Parameters of the method; empty for every method of the private WebSocket."""
    lang: str = "zh-CN"
    """The language of error messages."""


@value
class Response:
    """The server's answer to a request (private-websocket, "Subscribe response")."""

    id: str | None
    """The request's ``id``; None if the server gave none that can be read."""
    method: str | None
    """The request's ``method``; None if the server left it out."""
    code: int
    """0 for success; the exchange does not list the others. -1 stands for one that is no number: it
    is at the beginning of ``msg`` then."""
    msg: str
    """The server's words: ``""`` or ``"OK"`` for success."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""
    data: Any = field(default=None, hash=False)
    """The rest of the response: ``{}`` or nothing for a subscription, a pull's items."""

    @property
    def ok(self) -> bool:
        """True for success."""
        return self.code == 0


@value
class Ping:
    """The server asks whether the client is there. Its form is not documented; it is answered in
    kind."""

    answer: str
    """The text frame that answers it."""


@value
class Unrecognised:
    """A well-formed frame that this version has no meaning for: a method or topic of tomorrow's
    server."""

    reason: str
    """The unknown part, in a few words."""
    method: str | None
    """The frame's method, if it has one."""
    frame: str
    """The frame, cut to a bounded length."""
    topics: tuple[Topic, ...] = ()
    """The topics that the frame may have been an update of; empty if it cannot have been one."""


@value
class Malformed:
    """A frame that breaks the protocol. The stream goes on behind it."""

    reason: str
    """The defect, in a few words."""
    path: str
    """The place of the defect: ``$`` is the whole frame, ``$.data.price`` a field of it."""
    frame: str
    """The frame, cut to a bounded length; bytes that are no text are written as escapes."""
    size: int
    """The length of the whole frame, in bytes or characters as it was received."""
    topics: tuple[Topic, ...] = ()
    """The topics that the frame may have been an update of; empty if it cannot have been one."""


Message = Response | Update | Ping | Unrecognised | Malformed
"""Any message that a frame decodes to."""
