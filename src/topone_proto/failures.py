"""The reasons for which there is no connection: one value class for every way a dial can fail and
a connection can end.

Facts only, and only those that cannot contain a token.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from topone_proto._values import value

__all__ = ["Failure", "FailureKind", "failure_from_response", "http_date"]


class FailureKind(StrEnum):
    """The kind of failure, in one word."""

    REFUSED = "refused"
    """Nothing listens at the address, or it turned the TCP connection away."""
    DNS = "dns"
    """The host's name could not be resolved."""
    TLS = "tls"
    """The TLS handshake failed: most often a certificate that is not trusted."""
    NETWORK = "network"
    """Any other failure of the operating system's network: unreachable, reset, broken pipe."""
    TIMEOUT = "timeout"
    """No connection within ``SessionConfig.open_timeout``."""
    TOKEN = "token"
    """There is no token. The callable that supplies it raised, took too long, or returned something
    that is no token; or none can be made from the key pair of an account."""
    HANDSHAKE = "handshake"
    """The server answered the WebSocket handshake with an HTTP status other than 101; see
    ``Failure.status``."""
    NOT_WEBSOCKET = "not_websocket"
    """The server's answer to the handshake was no answer of a WebSocket server."""
    CLOSED = "closed"
    """The peer closed the connection with a close frame; see ``Failure.code``."""
    LOST = "lost"
    """The connection ended without a close frame."""
    PONG_TIMEOUT = "pong_timeout"
    """Nothing came back within ``SessionConfig.pong_timeout`` of a ping: the connection is
    half-open."""
    SILENCE = "silence"
    """Nothing at all was received for ``SessionConfig.silence_timeout``."""
    ACK_TIMEOUT = "ack_timeout"
    """A request was not acknowledged within ``SessionConfig.ack_timeout``."""
    FORKED = "forked"
    """The feed was opened before ``os.fork``, and this is the child process."""
    BUS = "bus"
    """A message bus refused to let an account be read, and would again."""


_ADVICE: Final = {
    FailureKind.REFUSED: "check the host and the port, and that the server runs",
    FailureKind.DNS: "check the host's name and this machine's DNS",
    FailureKind.TLS: "check the clock and the certificate; for a private CA pass an ssl_context",
    FailureKind.NETWORK: "check this machine's network",
    FailureKind.TIMEOUT: "check the network and firewalls, or raise SessionConfig.open_timeout",
    FailureKind.TOKEN: "check what the token comes from: the callable, or the key pair",
    FailureKind.HANDSHAKE: "check that the URL is the exchange's WebSocket URL, path included",
    FailureKind.NOT_WEBSOCKET: "check that the URL is the exchange's WebSocket URL, path included",
    FailureKind.CLOSED: "the server ended the connection",
    FailureKind.LOST: "the connection broke on the way",
    FailureKind.PONG_TIMEOUT: "the connection was half-open: the peer or the network went away",
    FailureKind.SILENCE: "the connection went silent",
    FailureKind.ACK_TIMEOUT: "the server did not answer a request",
    FailureKind.FORKED: "a feed lives in the process that opened it: open another one in this one",
    FailureKind.BUS: "check the bus's credentials, permissions and streams",
}

_REMEDY: Final = "a function as token= is asked for it, and open_account gets it from your key pair"
# The two causes that are known for a 403; the page of the exchange speaks of the first only.
_ADVICE_403: Final = (
    "there are two known causes: the Origin header (it is left out by default; if the gateway "
    'wants it present but empty, pass origin=""; a proxy may add one) and the API token (wrong, '
    f"expired or revoked: get a new one; {_REMEDY})"
)
_ADVICE_401: Final = (
    f"the API token was not accepted: it is wrong, expired or revoked; get a new one: {_REMEDY}"
)
_ADVICE_429: Final = "too many connections or requests: run fewer feeds for this account"


@value
class Failure:
    """One reason why a dial failed or a connection ended."""

    kind: FailureKind
    """The kind of failure, in one word."""
    detail: str = ""
    """More for people, in a few words: an errno's text, a certificate's problem, a close reason.
    Empty if ``kind``, ``status`` and ``code`` are all that is known, as of an HTTP answer."""
    status: int | None = None
    """The HTTP status of the handshake's answer (kind ``handshake``)."""
    retry_after: float | None = None
    """Seconds that the server asked to wait (``Retry-After`` of a 429 or 503), if it did."""
    code: int | None = None
    """The WebSocket close code (RFC 6455 section 7.4), if there was a close frame."""

    @property
    def refuses_token(self) -> bool:
        """True for HTTP 401 and 403: dialling again with the same token and headers cannot help."""
        return self.status in {401, 403}

    @property
    def advice(self) -> str:
        """The things to check."""
        match self.status:
            case None:
                return _ADVICE[self.kind]
            case 401:
                return _ADVICE_401
            case 403:
                return _ADVICE_403
            case 429:
                return _ADVICE_429
            case status if status >= 500:
                return "the exchange's gateway is in trouble: wait"
            case _:
                return _ADVICE[FailureKind.HANDSHAKE]

    def __str__(self) -> str:
        what = self.kind.value.replace("_", " ")
        if self.status is not None:
            what = f"the server answered the handshake with HTTP {self.status}"
        if self.code is not None:
            what += f" with code {self.code}"
        if self.detail:
            what += f" ({self.detail})"
        return f"{what}: {self.advice}"


def failure_from_response(status: int, headers: Iterable[tuple[str, str]]) -> Failure:
    """The failure that an HTTP answer other than 101 stands for, with its ``Retry-After`` in
    seconds.

    ``headers`` are the answer's, names in any case. A ``Retry-After`` that is a date counts from
    the answer's own ``Date``: the clock of this machine plays no part.
    """
    fields = {name.lower(): text.strip() for name, text in headers}
    return Failure(
        FailureKind.HANDSHAKE,
        status=status,
        retry_after=_seconds(fields.get("retry-after", ""), fields.get("date", "")),
    )


# RFC 9110 section 5.6.7, the form that servers must send. By hand, because strptime reads month
# names in the user's locale and email.utils loads socket.
_HTTP_DATE: Final = re.compile(
    r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII
)
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)


def http_date(text: str) -> datetime | None:
    """Return the time that a header such as ``Date`` writes; None if it writes none."""
    found = _HTTP_DATE.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second = found.groups()
    try:
        return datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def _seconds(retry_after: str, date: str) -> float | None:
    # Nine digits are thirty years: more is noise, and int() of a long text is slow.
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= 9:
        return float(retry_after)
    until, since = http_date(retry_after), http_date(date)
    if until is None or since is None:
        return None
    return max(0.0, (until - since).total_seconds())
