"""The rules for URLs and headers that are given: what can be dialled and sent. Nothing here can
print a token."""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final, Never, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

from topone_proto._values import value
from topone_proto._version import __version__
from topone_proto.errors import ConfigurationError
from topone_proto.secrets.token import HIDDEN

__all__ = ["Address", "Headers", "check_url", "is_header_value", "names_only", "pairs_of", "sent"]

Headers = Mapping[str, str | None] | Iterable[tuple[str, str | None]]
"""Headers to send with a handshake, by name or as pairs. None is for ``User-Agent`` only, and
leaves it out."""


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


def check_url(
    url: str, *, setting: str, plain: str, secure: str, example: str, insecure: bool
) -> None:
    """Raise if a URL cannot be dialled.

    Args:
        url: the URL.
        setting: the name of the argument that it was given as.
        plain: its scheme without TLS.
        secure: its scheme with TLS.
        example: a URL that is right.
        insecure: True if it may lead to another machine without TLS.

    Raises:
        ConfigurationError: it is no such URL, contains a token, or would send one in clear.
    """

    def refuse(problem: str, remedy: str) -> Never:
        raise ConfigurationError(setting=setting, problem=problem, remedy=remedy)

    parts = _split(url)
    if parts is None:
        refuse("it cannot be read as a URL", f"use one such as {example}")
    if not url.isascii():
        refuse("it has characters beyond ASCII", "write them as a URL does: %-encoded, or xn--")
    if parts.scheme not in {plain, secure} or not parts.hostname:
        refuse(f"it is no {plain}:// or {secure}:// URL with a host", f"use one such as {example}")
    # Resolvers and TLS raise UnicodeError for these, which nobody takes for a failed dial.
    labels = parts.hostname.removesuffix(".").split(".")
    if not all(0 < len(label) < 64 for label in labels):
        refuse(
            "no host can have this name", "write each part between two dots with 1 to 63 characters"
        )
    if parts.username is not None or parts.fragment:
        refuse("it has a user name or a fragment", "leave them out")
    if any(name.lower() == "token" for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        refuse(
            "it contains a token",
            "leave it out and pass it as token=..., which is kept out of logs and errors",
        )
    if parts.scheme == plain and not insecure and not _is_loopback(parts.hostname):
        refuse(
            f"plain {plain}:// would cross the network in clear, and a token with it",
            f"use {secure}://, or ask for it by name with insecure=True",
        )


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


def is_header_value(text: object) -> bool:
    """Return True if a header may have this value."""
    return (
        isinstance(text, str) and text.isascii() and text.isprintable() and text == text.strip(" ")
    )


def _refuse_header(problem: str, remedy: str) -> Never:
    # Values are never shown, nor names that are none: they may be secrets.
    raise ConfigurationError(setting="headers", problem=problem, remedy=remedy)


def pairs_of(headers: Headers) -> tuple[tuple[str, str | None], ...]:
    """Return headers as pairs.

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
        if not is_header_value(text):
            _refuse_header(
                f"the value of {name} is none",
                "use printable ASCII text, without line ends and without spaces around it",
            )
    return cast("tuple[tuple[str, str | None], ...]", tuple(pairs))


def names_only(pairs: tuple[tuple[str, str | None], ...]) -> str:
    """Return the names of headers, and none of their values."""
    return f"({', '.join(f'{name}: {HIDDEN}' for name, _ in pairs)})"


def sent(pairs: tuple[tuple[str, str | None], ...]) -> tuple[tuple[str, str], ...]:
    """Return the headers that are sent of those that were given: ``User-Agent``, and the rest."""
    names = {name.lower() for name, _ in pairs}
    agent = () if "user-agent" in names else (("User-Agent", f"topone-proto/{__version__}"),)
    extra = (
        (name, text)
        for name, text in pairs
        if text is not None and (text or name.lower() != "user-agent")
    )
    return (*agent, *extra)


@value
class Address:
    """A URL as a dial sees it."""

    url: str
    """The URL, without a token."""

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
        """The port to dial: 443 with TLS, 80 without, unless the URL says another."""
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def is_tls(self) -> bool:
        """True for ``wss`` and ``https``."""
        return urlsplit(self.url).scheme in {"https", "wss"}

    @property
    def authority(self) -> str:
        """``host[:port]`` as the URL has it, but without a trailing dot of the host: the value of
        the ``Host`` header."""
        # The port has no dot: this one ends the name.
        return re.sub(r"\.(?=:|$)", "", urlsplit(self.url).netloc)
