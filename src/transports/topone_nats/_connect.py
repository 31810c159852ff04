"""The options of a bus on NATS."""

from collections.abc import Sequence
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client

from topone_nats._bus import NatsBus
from topone_nats._streams import StreamLimits
from topone_proto import ConfigurationError
from topone_relay._options import Hidden, check_seconds

__all__ = ["connect"]

_PING_INTERVAL = 2
_PENDING_SIZE = 16 << 20
_OURS = {
    "allow_reconnect",
    "closed_cb",
    "disconnected_cb",
    "error_cb",
    "max_reconnect_attempts",
    "reconnect_time_wait",
    "reconnected_cb",
    "self",
    "servers",
}


def connect(
    servers: str | Sequence[str],
    *,
    prefix: str = "topone",
    limits: StreamLimits | None = None,
    timeout: float = 3.0,
    heartbeat: float = 5.0,
    **options: Any,
) -> NatsBus:
    """Return a bus on NATS JetStream. The first call to it dials.

    Example:
        ``bus = topone_nats.connect("nats://localhost:4222", user="relay", password=password)``

    Args:
        servers: One URL or several, ``nats://host:port`` or ``tls://host:port``.
        prefix: Part of the names of the stream, the subjects and the buckets. Relays and consumers
            meet if they have the same.
        limits: The limits of the stream, if it has to be made.
        timeout: Seconds to wait for an answer.
        heartbeat: Seconds in which the server shows a reader that it is alive. After twice the
            time without a sign a reader connects again.
        **options: Arguments of nats-py's ``connect``: ``user`` and ``password``; ``token``, which
            is the server's and not the exchange's; ``nkeys_seed`` or ``user_credentials``, the
            names of files; ``tls``, an ``ssl.SSLContext`` (without it, the system's certificates
            count if the server asks for TLS); ``inbox_prefix``; and others.

    Raises:
        ConfigurationError: an option cannot be used.
    """
    given = Hidden(options)
    urls = Hidden([*map(_with_scheme, [servers] if isinstance(servers, str) else servers)])
    # No traceback that shows local variables may show these.
    del servers, options
    check_seconds(timeout=timeout, heartbeat=heartbeat)
    _check_servers(urls)
    _check_options(set(given.reveal()))
    settings = Hidden(
        {
            "name": "topone",
            "connect_timeout": timeout,
            "flush_timeout": timeout,
            "ping_interval": _PING_INTERVAL,
            "max_outstanding_pings": 2,
            "pending_size": _PENDING_SIZE,
            "servers": urls.reveal(),
            **given.reveal(),
        }
    )
    return NatsBus(
        settings,
        prefix=prefix,
        limits=StreamLimits() if limits is None else limits,
        timeout=timeout,
        heartbeat=heartbeat,
    )


def _check_servers(urls: Hidden) -> None:
    if not urls.reveal() or not all(map(_is_server, urls.reveal())):
        raise ConfigurationError(
            setting="servers",
            problem="none is given, or one of them is no URL of a server",
            remedy="give URLs such as nats://host:4222",
        )


def _with_scheme(url: str) -> str:
    # nats-py before 2.16 takes an address in a list for that of a WebSocket.
    return url if "://" in url else f"nats://{url}"


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"nats", "tls", "ws", "wss"}
            and bool(parts.hostname)
            and (parts.port != 0)
        )
    except ValueError:
        return False


def _check_options(names: set[str]) -> None:
    known = set(signature(Client.connect).parameters) - _OURS
    if names - known:
        raise ConfigurationError(
            setting=", ".join(sorted(names - known)),
            problem="no option that is passed on to nats-py",
            remedy=f"use {', '.join(sorted(known))}",
        )
