"""Endpoints and their secrets: the token, the URL and the Origin policy. Nothing here can print a
token."""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final, Never, cast, get_args
from urllib.parse import SplitResult, parse_qsl, urlsplit

import attrs

from topone_proto._values import value
from topone_proto._version import __version__
from topone_proto.errors import ConfigurationError
from topone_proto.secrets.token import HIDDEN, Token, quoted
from topone_proto.wire.topic import Socket

__all__ = ["DEFAULT_URL", "PUBLIC_URL", "Endpoint", "Headers"]

Headers = Mapping[str, str | None] | Iterable[tuple[str, str | None]]
"""Headers to send with a handshake, by name or as pairs. None is for ``User-Agent`` only, and
leaves it out."""

DEFAULT_URL: Final = "wss://gateway.topone.run/ws/user/"
"""The exchange's private WebSocket, without the token (private-websocket, "Private Websocket
URL")."""


PUBLIC_URL: Final = "wss://gateway.topone.run/ws/"
"""The exchange's public WebSocket, for market data (websocket-public, "URL")."""


def _is_loopback(host: str) -> bool:
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# urlsplit without its cache, which would keep a URL that is refused for the token in it.
_split_once: Final[Callable[[str], SplitResult]] = getattr(urlsplit, "__wrapped__", urlsplit)


def _split(url: str) -> SplitResult | None:
    """``url`` in its parts, or None if it cannot be read. No exception: urlsplit's may show a
    token."""
    try:
        parts = _split_once(url)
        # Line ends, which urlsplit overlooks, would end the request line.
        return parts if parts.port != 0 and url.isprintable() and " " not in url else None
    except (ValueError, AttributeError, TypeError):
        return None


def _refuse(problem: str, remedy: str) -> Never:
    raise ConfigurationError(setting="url", problem=problem, remedy=remedy)


# RFC 9110 section 5.6.2, "token".
_HEADER_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")

# What a handshake is made of or framed by, and what is written elsewhere.
_TAKEN: Final = {
    "host": "it is what url= says",
    "origin": "use origin=",
    "proxy-authorization": "write the user and the password into the proxy's URL, HTTPS_PROXY",
    **dict.fromkeys(
        ("connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"),
        "it belongs to the handshake itself",
    ),
}


def _is_header_value(text: object) -> bool:
    return (
        isinstance(text, str) and text.isascii() and text.isprintable() and text == text.strip(" ")
    )


def _refuse_header(problem: str, remedy: str) -> Never:
    # Values are never shown, nor names that are none: they may be secrets.
    raise ConfigurationError(setting="headers", problem=problem, remedy=remedy)


def _pairs(headers: Headers) -> tuple[tuple[str, str | None], ...]:
    """Headers as pairs.

    Raises:
        ConfigurationError: they cannot be sent.
    """
    given: Any = headers
    if isinstance(headers, Mapping):
        given = cast("Mapping[Any, Any]", headers).items()
    pairs: list[tuple[Any, Any]] | None
    try:
        pairs = [(name, text) for name, text in given]
    except (TypeError, ValueError):
        pairs = None
    if pairs is None or isinstance(headers, (str, bytes)):
        _refuse_header("they are no headers", 'use a mapping such as {"X-Name": "value"}, or pairs')
    seen: set[str] = set()
    for name, text in pairs:
        if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None:
            _refuse_header("a name is no header name", "use letters, digits and hyphens")
        key = name.lower()
        if key in _TAKEN:
            _refuse_header(f"{name} is not to be set here", _TAKEN[key])
        if key.startswith("sec-websocket-"):
            _refuse_header(f"{name} is not to be set here", "it belongs to the handshake itself")
        if key in seen:
            _refuse_header(f"{name} is there twice", "write its values into one, with commas")
        seen.add(key)
        if text is None and key == "user-agent":
            continue
        if not _is_header_value(text):
            _refuse_header(
                f"the value of {name} is none",
                "use printable ASCII text, without line ends and without spaces around it",
            )
    return cast("tuple[tuple[str, str | None], ...]", tuple(pairs))


def _names_only(pairs: tuple[tuple[str, str | None], ...]) -> str:
    return f"({', '.join(f'{name}: {HIDDEN}' for name, _ in pairs)})"


@value
class Endpoint:
    """A WebSocket address of the exchange, without the token, and how to knock there.

    Raises:
        ConfigurationError: the URL is no WebSocket URL, contains a token, or is plain ``ws://`` to
            another machine; or the origin or a header cannot be sent.
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
    extra_headers: tuple[tuple[str, str | None], ...] = attrs.field(
        default=(), converter=_pairs, repr=_names_only
    )
    """Headers for the handshake, given as a mapping or as pairs; see ``headers``. Their values are
    shown nowhere. A ``User-Agent`` replaces the default one; with None or ``""`` none is sent."""
    socket: Socket = "private"
    """The topics that are served there: ``"private"`` for those of an account, which need a token,
    or ``"public"`` for market data, which need none."""

    def __attrs_post_init__(self) -> None:
        if self.socket not in get_args(Socket):
            raise ConfigurationError(
                setting="socket",
                problem=f"{self.socket!r:.80} is no socket",
                remedy='use "private" or "public"',
            )
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
                "plain ws:// would cross the network in clear, and a token with it",
                "use wss://, or ask for it by name with insecure=True",
            )
        if self.origin is not None and not _is_header_value(self.origin):
            raise ConfigurationError(
                setting="origin",
                problem="it is no header value",
                remedy='use None (left out), "" (empty) or plain text',
            )

    @property
    def host(self) -> str:
        """The host to look up and to dial, without brackets. A trailing dot, which says to the DNS
        that the name is complete, is kept."""
        return urlsplit(self.url).hostname or ""

    @property
    def server_name(self) -> str:
        """The host as TLS knows it: the name that the certificate has to have, without a trailing
        dot."""
        return self.host.removesuffix(".")

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
        """The headers to add to those that make the handshake: ``Origin`` if there is one,
        ``User-Agent``, and ``extra_headers``. A transport adds none of its own."""
        origin = () if self.origin is None else (("Origin", self.origin),)
        names = {name.lower() for name, _ in self.extra_headers}
        agent = () if "user-agent" in names else (("User-Agent", f"topone-proto/{__version__}"),)
        extra = (
            (name, text)
            for name, text in self.extra_headers
            if text is not None and (text or name.lower() != "user-agent")
        )
        return (*origin, *agent, *extra)

    @property
    def authority(self) -> str:
        """``host[:port]`` as the URL has it, but without a trailing dot of the host: the value of
        the ``Host`` header."""
        # The port has no dot: this one ends the name.
        return re.sub(r"\.(?=:|$)", "", urlsplit(self.url).netloc)

    def dial_target(self, token: Token | None) -> str:
        """Return path and query of ``dial_url``: what the request line of the handshake asks for.
        As secret."""
        parts = urlsplit(self.url)
        query = [parts.query] if parts.query else []
        if token is not None:
            query.append(f"token={quoted(token.reveal())}")
        return f"{parts.path or '/'}{'?' if query else ''}{'&'.join(query)}"

    def dial_url(self, token: Token | None) -> str:
        """Return the URL with the token in it, if there is one. For the dial call only: never log
        it, keep it, or let it into an exception."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{self.dial_target(token)}"
