"""Answers of the simulated HTTP API around their data: success, refusals and pages of proxies."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from topone_proto.exchange._http_rows import RowWriter
from topone_proto.exchange.http_actions import HttpReply
from topone_proto.exchange.http_config import ErrorForm, HttpConfig

__all__ = ["Answers", "Refusal", "http_date"]

_JSON: Final = ("Content-Type", "application/json;charset=UTF-8")
_TEXT: Final = ("Content-Type", "text/plain")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_STATUSES: Final[Mapping[str, int]] = {"10002": 404, "10003": 401, "10027": 429}


class Refusal(Exception):
    """A request that the exchange does not carry out."""

    def __init__(self, code: int | str, words: str, *, blocked: float | None = None) -> None:
        super().__init__(words)
        self.code = code
        """The code."""
        self.words = words
        """The words."""
        self.blocked = blocked
        """The seconds for which the token service is blocked; None if it is not."""


class Answers:
    """Makes whole answers, in the forms that the settings say."""

    def __init__(self, config: HttpConfig, rows: RowWriter) -> None:
        """Have no state.

        Args:
            config: the forms.
            rows: writes the bodies.
        """
        self._config = config
        self._rows = rows

    def success(self, data: Mapping[str, Any]) -> HttpReply:
        """Return an answer with data."""
        return HttpReply(200, (_JSON,), self._rows.body({"code": 0, "data": data}))

    def refusal(self, path: str, refusal: Refusal) -> HttpReply:
        """Return an answer with a code."""
        if refusal.blocked is not None and self._config.block_status != 200:
            return self.status(self._config.block_status, None)
        code, words = refusal.code, refusal.words
        match self._config.error_form:
            case ErrorForm.CODE:
                body: dict[str, Any] = {"code": code, "msg": words}
            case ErrorForm.TEXT:
                body = {"code": str(code), "msg": words}
            case ErrorForm.LEGACY if path.startswith("/u/"):
                body = {"status": 200, "error_code": code, "data": words}
            case ErrorForm.LEGACY:  # pragma: no branch - there is no other
                body = {"error": {"code": code, "message": words}, "result": None, "id": 0}
        status = _STATUSES.get(str(code), 400) if self._config.has_statuses else 200
        return HttpReply(status, (_JSON,), self._rows.body(body))

    def status(self, status: int, retry_after: float | str | None) -> HttpReply:
        """Return an answer that is no more than an HTTP status."""
        asked = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return HttpReply(status, (_TEXT, *asked), b"refused on purpose\n")

    def page(self, body: str, status: int) -> HttpReply:
        """Return a page of something that stands between."""
        return HttpReply(status, (("Content-Type", "text/html"),), body.encode())


def http_date(time: float) -> str:
    """Return a time in seconds since 1970 UTC as HTTP writes it (RFC 9110 section 5.6.7)."""
    at = datetime.fromtimestamp(time, UTC)
    # strftime would write the days and months in the language of this machine.
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} GMT"
    )
