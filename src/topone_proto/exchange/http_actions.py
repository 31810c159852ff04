"""Requests and answers of the simulated HTTP API, for whatever carries them."""

from enum import StrEnum

from attrs import field

from topone_proto._values import value
from topone_proto.exchange.http_faults import AnswerFault

__all__ = ["Breakage", "HttpCall", "HttpReply"]


class Breakage(StrEnum):
    """Ways in which an answer does not come as it is."""

    HANG = "hang"
    """It never comes, and the connection stays."""
    RESET = "reset"
    """It never comes, and the connection is reset."""
    CUT = "cut"
    """The head comes, with the length of the whole body, then half of the body; then the connection
    ends."""


def _size(body: bytes) -> str:
    return f"<{len(body)} bytes>"


@value
class HttpReply:
    """An answer, for whatever carries it. Its repr shows no body: a token may be in it."""

    status: int = 200
    """The HTTP status."""
    headers: tuple[tuple[str, str], ...] = ()
    """The headers, without those of the connection and the length."""
    body: bytes = field(default=b"", repr=_size)
    """The body, whole."""
    delay: float = 0.0
    """The seconds to wait before it is sent."""
    fault: Breakage | None = None
    """The way in which it does not come; None if it does."""


@value
class HttpCall:
    """A request as the exchange saw it, without its secrets."""

    at: float
    """The time, on the clock of ``now``."""
    method: str
    """The HTTP method."""
    path: str
    """The path."""
    query: tuple[tuple[str, str], ...]
    """The parameters; a signature reads ``***``."""
    status: int
    """The HTTP status of the answer."""
    code: int | str | None
    """The code of the answer; None if it is no answer of the exchange's own."""
    fault: AnswerFault | None
    """The fault that struck; None if there was none."""
