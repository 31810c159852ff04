"""HTTP proxies: which one is to be used, and how to get through it. Pure.

TLS goes through a proxy as a tunnel (CONNECT, RFC 9110 section 9.3.6): the proxy learns the host's
name and sees no token. Plain ``ws://`` and ``http://`` go through none: they would show the proxy
the token.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from topone_proto._values import value
from topone_proto.errors import ConnectionFailed
from topone_proto.failures import Failure, FailureKind
from topone_proto.session.address import Address
from topone_proto.session.handshake import HeadReader

__all__ = ["Proxy", "Tunnel", "proxy_from"]


@value
class Proxy:
    """An HTTP proxy, and as whom to use it."""

    host: str
    """The host to dial, without brackets."""
    port: int
    """The port to dial."""
    is_tls: bool = False
    """True for an ``https://`` proxy: TLS to the proxy, and TLS to the server within."""
    authorization: str | None = attrs.field(default=None, repr=False)
    """The ``Proxy-Authorization`` header, as secret as the password in it."""

    @property
    def server_name(self) -> str:
        """The name that the proxy's certificate has to have: the host without a trailing dot."""
        return self.host.removesuffix(".")

    def blamed(self, failure: Failure) -> Failure:
        """The failure of a dial that did not come as far as the tunnel, with words that say so."""
        return attrs.evolve(failure, detail=f"the proxy: {failure.detail or failure.kind}")


class Tunnel:
    """The way through a proxy to a host, from CONNECT to the proxy's answer.

    Args:
        proxy: which proxy.
        endpoint: where the tunnel is to lead.
    """

    def __init__(self, proxy: Proxy, endpoint: Address) -> None:
        self._proxy = proxy
        self._target = f"{_bracketed(endpoint.host)}:{endpoint.port}"
        self._reader = HeadReader("the proxy", FailureKind.NETWORK)

    def request(self) -> bytes:
        """The request to send to the proxy."""
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def receive(self, data: bytes | bytearray) -> bool:
        """Take in what the proxy has sent; ``b""`` says that no more will come.

        Returns:
            True once the tunnel is there. False if more has to come first.

        Raises:
            ConnectionFailed: there will be no tunnel; never with a status, which would look like
                an answer of the server.
        """
        head = self._reader.receive(data)
        if head is None:
            return False
        if not 200 <= head.status < 300 or not head.is_whole:
            words = f"the proxy answered with HTTP {head.status}"
            if head.status == 407:
                words += (
                    ": it wants a user name and a password, in HTTPS_PROXY"
                    if self._proxy.authorization is None
                    else ": it does not take the user name and the password in HTTPS_PROXY"
                )
            raise ConnectionFailed(Failure(FailureKind.NETWORK, words))
        if self._reader.rest:
            # Nobody else speaks first, neither in TLS nor in a handshake.
            raise ConnectionFailed(
                Failure(FailureKind.NETWORK, "the proxy sent more than its answer")
            )
        return True


def proxy_from(
    endpoint: Address,
    settings: Mapping[str, str],
    is_excepted: Callable[[str], object] | None = None,
) -> Proxy | None:
    """Return the proxy that a machine's settings name for an endpoint; None to dial directly.

    Args:
        endpoint: where the connection is to lead.
        settings: ``urllib.request.getproxies()``: ``"https"`` is the proxy's URL, and ``"no"`` the
            hosts that are dialled directly.
        is_excepted: is asked about the host if ``settings`` has no ``"no"``; for a system that
            keeps its exceptions elsewhere, ``urllib.request.proxy_bypass``.

    Raises:
        ConnectionFailed: the proxy's URL cannot be used.
    """
    url = settings.get("https")
    if not endpoint.is_tls or not url:
        return None
    exceptions = settings.get("no")
    if exceptions is None:
        if is_excepted is not None and is_excepted(endpoint.server_name):
            return None
    elif any(_excepts(entry, endpoint) for entry in re.split(r"[\s,]+", exceptions) if entry):
        return None
    proxy = _parse(url)
    if proxy is None:
        raise ConnectionFailed(
            Failure(FailureKind.NETWORK, "HTTPS_PROXY is no http:// or https:// proxy")
        )
    return proxy


_PORTS: Final = {"http": 80, "https": 443}


def _parse(url: str) -> Proxy | None:
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        scheme, rest = "http", url.strip()
    scheme = scheme.lower()
    user, at, address = rest.rpartition("@")
    try:
        # Without the password: urlsplit remembers what it was given.
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in _PORTS or not host or not host.isascii() or port == 0:
        return None
    # Resolvers and TLS raise UnicodeError for others, which nobody takes for a failed dial.
    if not all(0 < len(label) < 64 for label in host.removesuffix(".").split(".")):
        return None
    authorization = f"Basic {_basic(user)}" if at else None
    return Proxy(host, port or _PORTS[scheme], scheme == "https", authorization)


def _basic(user: str) -> str:
    """A user and a password as RFC 7617 writes them."""
    name, _, password = user.partition(":")
    return b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode("ascii")


def _excepts(entry: str, endpoint: Address) -> bool:
    """True if this entry of ``NO_PROXY`` is about the endpoint: ``*``, a name (and all below it),
    an address or a network, each but ``*`` with a port or without."""
    if entry == "*":
        return True
    host = endpoint.server_name
    pattern, port = _split_port(entry.lower())
    if port is not None and port != endpoint.port:
        return False
    name = pattern.removeprefix("*").strip(".")
    if name and (host == name or host.endswith(f".{name}")):
        return True
    try:
        return ip_address(host) in ip_network(pattern.strip("[]"), strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    # An IPv6 address has colons of its own, and brackets if a port follows.
    if entry.count(":") > 1 and "]:" not in entry:
        return entry, None
    host, _, port = entry.rpartition(":")
    if host and port.isascii() and port.isdigit() and len(port) <= 5:
        return host, int(port)
    return entry, None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
