"""Scripted faults of the simulated HTTP API.

Most strike at the next requests whose path contains ``path``. ``times`` counts strikes, None is
without end; ``lasting`` is the time in seconds after which a fault is over in any case, None is
never. Every request counts for the budgets, whether a fault strikes or not.
"""

from math import inf
from typing import Final, TypeVar

from attrs import field

from topone_proto._values import value

__all__ = [
    "AnswerFault",
    "BlockOrders",
    "BlockTokens",
    "BooksFault",
    "CutHttp",
    "DelayHistory",
    "DelayHttp",
    "ExpireTokens",
    "GarbleHttp",
    "HangHttp",
    "HttpFault",
    "HttpRequestFault",
    "KillOldTokens",
    "LagHttp",
    "LoseRow",
    "RefuseHttp",
    "RejectHttp",
    "ResetHttp",
    "ShiftPages",
]

_PAGE: Final = "<html><head><title>Bad gateway</title></head><body>Bad gateway</body></html>"


@value
class HttpRequestFault:
    """A fault that strikes at requests."""

    times: int | None = field(default=1, kw_only=True)
    """The number of requests, or of pages; None for all from now on."""
    lasting: float | None = field(default=None, kw_only=True)
    """The seconds after which it is over; None for never."""
    path: str = field(default="/", kw_only=True)
    """A part of the paths that it is about, such as ``order/query``."""


@value
class RefuseHttp(HttpRequestFault):
    """The next requests are answered with an HTTP status, such as 503 or 429, and not carried
    out."""

    status: int
    """The HTTP status."""
    retry_after: int | str | None = None
    """The ``Retry-After`` header, in seconds or as an HTTP date; None leaves it out."""


@value
class RejectHttp(HttpRequestFault):
    """The next requests are answered with a code, and not carried out."""

    code: int | str
    """The code, such as 10003, 10027 or ``T0005``."""
    msg: str = "refused on purpose"
    """The words."""


@value
class GarbleHttp(HttpRequestFault):
    """The next requests are answered with something else than JSON, and not carried out."""

    body: str = _PAGE
    """The body."""
    status: int = 200
    """The HTTP status."""


@value
class HangHttp(HttpRequestFault):
    """The next requests are carried out and never answered."""


@value
class ResetHttp(HttpRequestFault):
    """The next requests are carried out, and the connection is reset."""


@value
class CutHttp(HttpRequestFault):
    """The next requests are carried out, and the connection ends in the middle of the answer."""


@value
class DelayHttp(HttpRequestFault):
    """The next requests are carried out at once and answered later."""

    seconds: float
    """The delay of the answer."""


@value
class LagHttp(HttpRequestFault):
    """The next answers are behind the stream."""

    seconds: float
    """The most by which they are, each at random."""


@value
class ShiftPages(HttpRequestFault):
    """The next pages of the open orders after a first one are shifted, as if orders had closed or
    come while the list is read: rows are skipped or repeated, and the total has changed."""

    rows: int = 1
    """The number of orders that seem to have closed; negative for new ones."""


@value
class DelayHistory(HttpRequestFault):
    """The next answers lack every finished order and every deal of the last seconds."""

    seconds: float
    """The time for which a finished order is in no list."""


@value
class LoseRow:
    """One order is never in the history."""

    order_id: int | None = None
    """The order; None for the next one that finishes."""


@value
class ExpireTokens:
    """Every token that was issued over HTTP ends now. WebSockets that are open stay so."""


@value
class KillOldTokens:
    """The next new tokens end the ones that were issued before."""

    times: int | None = 1
    """The number of new tokens; None for all from now on."""


@value
class BlockTokens:
    """The token service is blocked."""

    seconds: float = 3600.0
    """The time for which it is. Asking during it begins a block of the usual length."""


@value
class BlockOrders:
    """Order calls are blocked: they are answered with 10027."""

    seconds: float = 3600.0
    """The time for which they are. Asking during it begins a block of the usual length."""


AnswerFault = RefuseHttp | RejectHttp | GarbleHttp | HangHttp | ResetHttp | CutHttp | DelayHttp
"""A fault of an answer."""
BooksFault = LagHttp | ShiftPages | DelayHistory
"""A fault of what an answer says."""
HttpFault = (
    AnswerFault | BooksFault | LoseRow | ExpireTokens | KillOldTokens | BlockTokens | BlockOrders
)
"""Anything that ``HttpDesk.inject`` takes."""

_B = TypeVar("_B", LagHttp, ShiftPages, DelayHistory)


class WaitingFaults:
    """Faults that wait for requests."""

    def __init__(self) -> None:
        self._waiting: list[tuple[AnswerFault | BooksFault, int | None, float]] = []

    def add(self, fault: AnswerFault | BooksFault, now: float) -> None:
        """Wait for the next requests."""
        until = inf if fault.lasting is None else now + fault.lasting
        self._waiting.append((fault, fault.times, until))

    def answer(self, path: str, now: float) -> AnswerFault | None:
        """Return the first fault of an answer that strikes at a path; None if there is none."""
        for place, fault in self._fitting(path, now):
            if isinstance(fault, AnswerFault):
                self._struck(place)
                return fault
        return None

    def books(self, kind: type[_B], path: str, now: float) -> _B | None:
        """Return the first fault of a kind that strikes at a path; None if there is none."""
        for place, fault in self._fitting(path, now):
            if isinstance(fault, kind):
                self._struck(place)
                return fault
        return None

    def clear(self) -> None:
        """Forget them all."""
        self._waiting.clear()

    def _fitting(self, path: str, now: float) -> list[tuple[int, AnswerFault | BooksFault]]:
        self._waiting = [entry for entry in self._waiting if now < entry[2]]
        return [
            (place, fault)
            for place, (fault, _, _) in enumerate(self._waiting)
            if fault.path in path
        ]

    def _struck(self, place: int) -> None:
        fault, times, until = self._waiting[place]
        if times is not None:
            left = [(fault, times - 1, until)] if times > 1 else []
            self._waiting[place : place + 1] = left
