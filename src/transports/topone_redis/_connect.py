"""The options of a bus on Redis or Valkey."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection

from topone_proto import ConfigurationError
from topone_redis._bus import RedisBus, StreamLimits
from topone_relay._options import Hidden, check_seconds

__all__ = ["connect"]

_OURS = {
    "decode_responses",
    "protocol",
    "retry",
    "retry_on_error",
    "retry_on_timeout",
    "socket_connect_timeout",
    "socket_timeout",
}
_CONNECTIONS = 32


def connect(
    url: str,
    *,
    prefix: str = "topone",
    limits: StreamLimits | None = None,
    timeout: float = 3.0,
    heartbeat: float = 5.0,
    **options: Any,
) -> RedisBus:
    """Return a bus on Redis or Valkey. The first call to it dials.

    Example:
        ``bus = topone_redis.connect("redis://localhost", username="relay", password=password)``

    Args:
        url: ``redis://host:port/database``, ``rediss://`` for TLS, or ``unix://path``.
        prefix: Part of the names of the keys. Relays and consumers meet if they have the same.
        limits: The limits of the accounts' streams.
        timeout: Seconds to wait for an answer.
        heartbeat: Seconds in which the server shows a reader that it is alive. After twice the
            time without a sign a reader connects again.
        **options: Arguments of redis-py's connections: ``username`` and ``password``;
            ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``, the names of files; and others.

    Raises:
        ConfigurationError: an option cannot be used.
    """
    given = Hidden(options)
    where = Hidden(url)
    # No traceback that shows local variables may show these.
    del url, options
    check_seconds(timeout=timeout, heartbeat=heartbeat)
    if not _OURS.isdisjoint(given.reveal()):
        raise ConfigurationError(
            setting=", ".join(sorted(_OURS & set(given.reveal()))),
            problem="the bus sets it itself",
            remedy="leave it out",
        )
    common = {"socket_connect_timeout": timeout, "socket_timeout": None, "protocol": 2}
    commands = _pool(
        BlockingConnectionPool,
        where,
        given,
        **common,
        max_connections=_CONNECTIONS,
        timeout=timeout,
        # A connection that the server has closed meanwhile is no failure.
        retry=Retry(NoBackoff(), 1, supported_errors=(LostConnection,)),
    )
    reading = _pool(
        ConnectionPool,
        where,
        given,
        **common,
        retry=Retry(NoBackoff(), 0),
    )
    return RedisBus(
        Hidden((commands, reading)),
        prefix=prefix,
        limits=StreamLimits() if limits is None else limits,
        timeout=timeout,
        heartbeat=heartbeat,
    )


def _pool(kind: Any, where: Hidden, given: Hidden, **settings: Any) -> Any:
    try:
        return _usable(kind.from_url(where.reveal(), **settings, **given.reveal()))
    except (TypeError, ValueError, AttributeError) as error:
        problem = str(error) if isinstance(error, TypeError) else "one of them cannot be used"
    # Out here it has no context: in that are frames with the options.
    raise ConfigurationError(
        setting="url or options",
        problem=problem,
        remedy="give a URL such as redis://host:6379/0, and options that redis-py takes",
    )


def _usable(pool: Any) -> Any:
    # Shows at once which options no connection takes.
    pool.make_connection()
    return pool
