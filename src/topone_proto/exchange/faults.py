"""Scripted faults: a value class for everything that goes wrong on the way to an exchange.

There are three kinds, by when they strike: at the next dials, at the next requests, or at once.
``times`` counts strikes; None is without end. ``peer`` picks one connection; None means all there
are.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import field

from topone_proto._values import value
from topone_proto.exchange.config import BookForm, TimeForm

__all__ = [
    "MALFORMED_FRAME",
    "UNKNOWN_METHOD_FRAME",
    "AcceptThenClose",
    "AddCode",
    "AnswerGarbage",
    "Burst",
    "CloseConnections",
    "DelayAck",
    "DialFault",
    "DropConnections",
    "DuplicateAck",
    "ExpireToken",
    "Fault",
    "GoSilent",
    "IgnoreHandshake",
    "InstantFault",
    "LoseAck",
    "NodeClock",
    "RefuseHandshake",
    "RejectRequest",
    "RequestFault",
    "SendOddBook",
    "SendRaw",
    "SendStrangeUpdate",
    "StepClock",
    "WriteTimes",
    "WrongId",
]

_POLICY_VIOLATION: Final = 1008  # RFC 6455 section 7.4.1


@value
class RefuseHandshake:
    """The next dials are answered with an HTTP status: 403, 401, 429, 503, 500, or even 200."""

    status: int
    """The HTTP status, such as 503."""
    retry_after: int | str | None = None
    """The ``Retry-After`` header, in seconds or as an HTTP date; None leaves it out."""
    times: int | None = 1
    """The number of dials that are answered so; None for all from now on."""


@value
class AnswerGarbage:
    """The next dials are answered with bytes that are no HTTP."""

    data: bytes = b"\x15\x03\x01\x00\x02\x02\x28 this is no HTTP\r\n\r\n"
    """The bytes that are sent instead of an answer."""
    times: int | None = 1
    """The number of dials that are answered so; None for all from now on."""


@value
class IgnoreHandshake:
    """The next dials are never answered."""

    times: int | None = 1
    """The number of dials that are treated so; None for all from now on."""


@value
class AcceptThenClose:
    """The next dials that would be accepted are, and closed at once."""

    code: int | None = 1001
    """The close code; None drops the connection without a close frame."""
    reason: str = ""
    """The close reason."""
    times: int | None = 1
    """The number of dials that are treated so; None for all from now on."""


@value
class DelayAck:
    """The next requests are carried out at once and acknowledged later."""

    seconds: float
    """The delay of the response, in seconds."""
    times: int | None = 1
    """The number of requests that are answered so; None for all from now on."""
    method: str | None = None
    """Only requests of this method; None for any."""


@value
class LoseAck:
    """The next requests are carried out and never acknowledged."""

    times: int | None = 1
    """The number of requests that are not answered; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class DuplicateAck:
    """The next requests are acknowledged twice."""

    times: int | None = 1
    """The number of requests that are answered so; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class NodeClock:
    """The next dials that are accepted are with a node of the exchange whose clock is wrong."""

    milliseconds: int
    """By how much it leads; negative if it is behind."""
    times: int | None = 1
    """The number of dials that come to such a node; None for all from now on."""


@value
class RejectRequest:
    """The next requests are refused with a code, and change nothing."""

    code: int
    """The code of the response, not 0."""
    msg: str = ""
    """The words of the response."""
    times: int | None = 1
    """The number of requests that are answered so; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class WrongId:
    """The next requests are carried out and acknowledged under another id."""

    id: str = "no-such-request"
    """The id that the response has instead."""
    times: int | None = 1
    """The number of requests that are answered so; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class SendRaw:
    """A text frame is sent just as it is, whatever it says. See ``MALFORMED_FRAME``,
    ``UNKNOWN_METHOD_FRAME``."""

    text: str
    """The frame, as it goes on the wire."""
    peer: int | None = None
    """To whom; None for every client."""


MALFORMED_FRAME: Final = SendRaw('{"method":"sub_orders","ts":1561948335075,"data":{"id":132991,')
"""A frame that breaks off."""
UNKNOWN_METHOD_FRAME: Final = SendRaw(
    '{"method":"notice","ts":1561948335075,"data":{"text":"maintenance"}}'
)
"""A frame whose method nobody has heard of."""


@value
class SendStrangeUpdate:
    """An order update of tomorrow's server, to whoever is subscribed to orders: enum numbers and
    fields unknown today.

    Its order's id is 0, which no order of a living account has.
    """

    peer: int | None = None
    """To whom; None for every client."""


@value
class SendOddBook:
    """A book that should not be is sent to whoever is subscribed to one."""

    form: BookForm
    """The oddity."""
    peer: int | None = None
    """To whom; None for every client."""


@value
class Burst:
    """The update that was last published on each topic is published ``count`` times more, all at
    once.

    Updates are absolute, so this changes nothing but the load; deals, which are not, stay as they
    are. A topic of the account without an update yet takes the example of the exchange's page.
    """

    count: int
    """The number of updates."""
    peer: int | None = None
    """To whom; None for every client."""


@value
class StepClock:
    """The clock of every node of the exchange is set forward, or back."""

    milliseconds: int
    """By how much."""


@value
class WriteTimes:
    """The times of every later frame are written in another form."""

    form: TimeForm
    """The form."""
    peer: int | None = None
    """To whom; None for every client there is."""


@value
class AddCode:
    """Every later update carries a code, as responses do."""

    code: int | str | None = 0
    """The code."""
    peer: int | None = None
    """To whom; None for every client there is."""


@value
class GoSilent:
    """The connections become half-open: they stay, and nothing is sent, answered or heard on them
    any more."""

    peer: int | None = None
    """Whose connection; None for every one."""


@value
class CloseConnections:
    """The connections are closed with a close frame."""

    code: int = 1001
    """The close code (RFC 6455 section 7.4)."""
    reason: str = ""
    """The close reason."""
    peer: int | None = None
    """Whose connection; None for every one."""


@value
class DropConnections:
    """The connections are reset, without a close frame."""

    peer: int | None = None
    """Whose connection; None for every one."""


@value
class ExpireToken:
    """A token is not valid any more: its connections are closed, later dials with it are answered
    with 401."""

    token: str = field(repr=False)
    """The token that opens nothing any more."""
    code: int = _POLICY_VIOLATION
    """The close code for those who are connected with it (RFC 6455 section 7.4)."""
    reason: str = "token expired"
    """The close reason."""


DialFault = RefuseHandshake | AnswerGarbage | IgnoreHandshake | AcceptThenClose | NodeClock
"""A fault that strikes at the next dials."""
RequestFault = DelayAck | LoseAck | DuplicateAck | RejectRequest | WrongId
"""A fault that strikes at the next requests."""
InstantFault = (
    SendRaw
    | SendStrangeUpdate
    | SendOddBook
    | Burst
    | WriteTimes
    | AddCode
    | GoSilent
    | CloseConnections
    | DropConnections
)
"""A fault that strikes the connections at once."""

Fault = DialFault | RequestFault | InstantFault | StepClock | ExpireToken
"""Anything that ``Gateway.inject`` takes."""


_F = TypeVar("_F", bound=DialFault | RequestFault)


class Armed(Generic[_F]):
    """Faults that wait for their occasion, the first to come is the first to strike."""

    def __init__(self) -> None:
        self._waiting: list[tuple[_F, int | None]] = []

    def add(self, fault: _F) -> None:
        self._waiting.append((fault, fault.times))

    def strike(self, fits: Callable[[_F], bool]) -> _F | None:
        for place, (fault, times) in enumerate(self._waiting):
            if fits(fault):
                if times is not None:
                    self._waiting[place : place + 1] = [(fault, times - 1)] if times > 1 else []
                return fault
        return None

    def clear(self) -> None:
        self._waiting.clear()
