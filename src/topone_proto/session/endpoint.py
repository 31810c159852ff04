"""Endpoints and their secrets: the token, the URL and the Origin policy. Nothing here can print a
token."""

from typing import Final, get_args
from urllib.parse import urlsplit

import attrs

from topone_proto._values import value
from topone_proto.errors import ConfigurationError
from topone_proto.secrets.token import Token, quoted
from topone_proto.session.address import (
    Address,
    check_url,
    is_header_value,
    names_only,
    pairs_of,
    sent,
)
from topone_proto.wire.http import HttpRequest
from topone_proto.wire.requests import DEFAULT_HTTP_URL
from topone_proto.wire.topic import Socket

__all__ = ["DEFAULT_URL", "PUBLIC_URL", "Endpoint", "HttpEndpoint"]

DEFAULT_URL: Final = "wss://gateway.topone.run/ws/user/"
"""The exchange's private WebSocket, without the token (private-websocket, "Private Websocket
URL")."""


PUBLIC_URL: Final = "wss://gateway.topone.run/ws/"
"""The exchange's public WebSocket, for market data (websocket-public, "URL")."""


@value
class Endpoint(Address):
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
        default=(), converter=pairs_of, repr=names_only
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
        check_url(
            self.url,
            setting="url",
            plain="ws",
            secure="wss",
            example=PUBLIC_URL if self.socket == "public" else DEFAULT_URL,
            insecure=self.insecure,
        )
        if self.origin is not None and not is_header_value(self.origin):
            raise ConfigurationError(
                setting="origin",
                problem="it is no header value",
                remedy='use None (left out), "" (empty) or plain text',
            )

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers to add to those that make the handshake: ``Origin`` if there is one,
        ``User-Agent``, and ``extra_headers``. A transport adds none of its own."""
        origin = () if self.origin is None else (("Origin", self.origin),)
        return (*origin, *sent(self.extra_headers))

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


@value
class HttpEndpoint(Address):
    """The base URL of the exchange's HTTP API, and the headers of every request.

    Raises:
        ConfigurationError: the URL is no HTTP URL, or is plain ``http://`` to another machine; or a
            header cannot be sent.
    """

    url: str = DEFAULT_HTTP_URL
    """``https://host[:port][/path]``, without a query."""
    insecure: bool = False
    """True allows plain ``http://`` to other machines than this one: tokens then cross the network
    in clear."""
    extra_headers: tuple[tuple[str, str | None], ...] = attrs.field(
        default=(), converter=pairs_of, repr=names_only
    )
    """Headers for every request, as those of an ``Endpoint``."""

    def __attrs_post_init__(self) -> None:
        check_url(
            self.url,
            setting="http_url",
            plain="http",
            secure="https",
            example=DEFAULT_HTTP_URL,
            insecure=self.insecure,
        )
        if "?" in self.url:
            raise ConfigurationError(
                setting="http_url",
                problem="it has a query",
                remedy=f"use one without it, such as {DEFAULT_HTTP_URL}",
            )
        for name, _ in self.extra_headers:
            if name.lower() in _OF_REQUESTS:
                raise ConfigurationError(
                    setting="headers",
                    problem=f"{name} is not to be set here",
                    remedy="requests over HTTP have their own",
                )

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that every request has besides its own: ``User-Agent`` and
        ``extra_headers``."""
        return sent(self.extra_headers)

    def target(self, request: HttpRequest) -> str:
        """Return the path and the query that the request line asks for. As secret as the
        request."""
        return f"{urlsplit(self.url).path.rstrip('/')}{request.target}"


# Authorization has the token.
_OF_REQUESTS: Final = {"accept", "accept-encoding", "authorization"}
