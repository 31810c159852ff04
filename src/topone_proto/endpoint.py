"""Where to dial and with which secret: the token, the URL and the Origin policy. Nothing here can
print a token."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Never, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from topone_proto._values import value
from topone_proto.errors import ConfigurationError

__all__ = ["DEFAULT_URL", "Endpoint", "Token", "conceal", "wrapped"]

_Source = TypeVar("_Source", bound=Callable[[], object])
_T = TypeVar("_T")

DEFAULT_URL: Final = "wss://gateway.topone.run/ws/user/"
"""The exchange's private WebSocket, without the token (private-websocket, "Private Websocket
URL")."""

_HIDDEN: Final = "***"


class Token:
    """An API token that cannot be printed by accident: every text of it reads ``Token(***)``.

    Wrapping never raises, so that no traceback is made while a frame still holds the plain text;
    ``require_usable`` raises later.
    """

    __slots__ = ("__secret",)

    def __init__(self, secret: str) -> None:
        self.__secret = secret

    def reveal(self) -> str:
        """The secret text. For the moment of dialling; never keep it in a variable that outlives
        the dial."""
        return self.__secret

    def require_usable(self) -> None:
        """Check that this can be a token.

        Raises:
            ConfigurationError: it is empty, is no text, or has characters that no token has.
        """
        # The value itself is never shown, not even its length.
        if not _is_token(self.__secret):
            raise ConfigurationError(
                setting="token",
                problem="it is empty, or has spaces, line ends or non-ASCII characters",
                remedy="pass the apiToken just as the exchange gave it",
            )

    def redact(self, text: str) -> str:
        """``text`` without this token, plain or as it is written in a URL or by a JSON encoder."""
        # What is no token is never dialled with, so it comes back in no text.
        if _is_token(self.__secret):
            for spelling in self._spellings():
                text = text.replace(spelling, _HIDDEN)
        return text

    def _spellings(self) -> tuple[str, ...]:
        secret = self.__secret
        escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
        return (
            secret,
            _quoted(secret),
            quote(secret, safe=""),
            escaped,
            escaped.replace("/", "\\/"),
        )

    @property
    def longest(self) -> int:
        """How long the longest spelling is that ``redact`` looks for, in characters."""
        return max(map(len, self._spellings())) if _is_token(self.__secret) else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return self.__secret == other.__secret

    def __hash__(self) -> int:
        return hash((Token, self.__secret))

    def __repr__(self) -> str:
        return f"Token({_HIDDEN})"

    def __copy__(self) -> "Token":
        return self

    def __deepcopy__(self, memo: object) -> "Token":
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a Token is not pickled: it would be written down in clear")


def _is_token(secret: object) -> bool:
    return (
        isinstance(secret, str)
        and secret.isascii()
        and secret.isprintable()
        and secret != ""
        and " " not in secret
    )


def conceal(token: "str | Token | _Source", url: str) -> "tuple[Token | _Source, str]":
    """The same with nothing secret left in it: the token wrapped, and any token in the URL masked.

    The first line of every ``open_feed``, so that no traceback which shows local variables can show
    a token: what is wrong with either is found out later, by ``Token.require_usable`` and by
    ``Endpoint``.
    """
    concealed = token if isinstance(token, Token) or callable(token) else Token(token)
    if isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller has a type checker
        url = _TOKEN_IN_URL.sub(rf"\1{_HIDDEN}", url)
    return concealed, url


def wrapped(supplied: "_T | str") -> "_T | Token":
    """A text as a ``Token``, anything else as it is.

    For what a token callable returns, in the very expression that calls it: no variable then holds
    the text.
    """
    return Token(supplied) if isinstance(supplied, str) else supplied


_TOKEN_IN_URL: Final = re.compile(r"([?&]token=)[^&#]*", re.IGNORECASE)


def _quoted(secret: str) -> str:
    return quote(secret, safe=":")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    """``url`` in its parts, or None if it cannot be read. No exception: urlsplit's may show a
    token."""
    try:
        parts = urlsplit(url)
        # Line ends, which urlsplit overlooks, would end the request line.
        return parts if parts.port != 0 and url.isprintable() and " " not in url else None
    except (ValueError, AttributeError, TypeError):
        return None


def _refuse(problem: str, remedy: str) -> Never:
    raise ConfigurationError(setting="url", problem=problem, remedy=remedy)


@value
class Endpoint:
    """A WebSocket address of the exchange, without the token, and how to knock there.

    Raises:
        ConfigurationError: the URL is no WebSocket URL, contains a token, or is plain ``ws://`` to
            another machine.
    """

    url: str = DEFAULT_URL
    """``wss://host[:port]/path``, without the token."""
    origin: str | None = None
    """The ``Origin`` header: None leaves it out, ``""`` sends it empty, other text sends that text.
    The exchange says "set Origin to empty", which servers read in both ways; leaving it out is
    right for the commonest one."""
    insecure: bool = False
    """True allows plain ``ws://`` to other machines than this one: the token then crosses the
    network in clear."""

    def __attrs_post_init__(self) -> None:
        parts = _split(self.url)
        if parts is None:
            _refuse("it cannot be read as a URL", f"use one such as {DEFAULT_URL}")
        if not self.url.isascii():
            _refuse(
                "it has characters beyond ASCII", "write them as a URL does: %-encoded, or xn--"
            )
        if parts.scheme not in {"ws", "wss"} or not parts.hostname:
            _refuse("it is no ws:// or wss:// URL with a host", f"use one such as {DEFAULT_URL}")
        # Resolvers and TLS raise UnicodeError for these, which nobody takes for a failed dial.
        labels = parts.hostname.removesuffix(".").split(".")
        if not all(0 < len(label) < 64 for label in labels):
            _refuse(
                "no host can have this name",
                "write each part between two dots with 1 to 63 characters",
            )
        if parts.username is not None or parts.fragment:
            _refuse("it has a user name or a fragment", "leave them out")
        if any(
            name.lower() == "token" for name, _ in parse_qsl(parts.query, keep_blank_values=True)
        ):
            _refuse(
                "it contains a token",
                "leave it out and pass it as token=..., which is kept out of logs and errors",
            )
        if parts.scheme == "ws" and not self.insecure and not _is_loopback(parts.hostname):
            _refuse(
                "plain ws:// would send the token in clear over the network",
                "use wss://, or ask for it by name with insecure=True",
            )
        if self.origin is not None and not (self.origin.isascii() and (self.origin.isprintable())):
            raise ConfigurationError(
                setting="origin",
                problem="it is no header value",
                remedy='use None (left out), "" (empty) or plain text',
            )

    @property
    def host(self) -> str:
        """The host to dial, without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port to dial: 443 for ``wss``, 80 for ``ws`` unless the URL says another."""
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def is_tls(self) -> bool:
        """True for ``wss``."""
        return urlsplit(self.url).scheme == "wss"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers to add to the handshake. A transport adds none of its own, least of all an
        ``Origin``."""
        return () if self.origin is None else (("Origin", self.origin),)

    @property
    def authority(self) -> str:
        """``host[:port]`` as the URL has it: the value of the ``Host`` header."""
        return urlsplit(self.url).netloc

    def dial_target(self, token: Token) -> str:
        """Path and query of ``dial_url``: what the request line of the handshake asks for. As
        secret."""
        parts = urlsplit(self.url)
        query = f"{parts.query}&" if parts.query else ""
        return f"{parts.path or '/'}?{query}token={_quoted(token.reveal())}"

    def dial_url(self, token: Token) -> str:
        """The URL with the token in it. For the dial call only: never log it, keep it, or let it
        into an exception."""
        return f"{urlsplit(self.url).scheme}://{self.authority}{self.dial_target(token)}"
