"""The bus of the relay on Redis or Valkey streams: ``open_feed`` for consumers, ``connect``
for the relay. Set it up: docs/relay-buses.md."""

try:
    from topone_redis._bus import RedisBus, StreamLimits
    from topone_redis._connect import connect
    from topone_redis._feed import open_feed
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "redis":
        raise
    raise ImportError(
        'topone_redis needs redis: pip install "topone-proto[redis]"', name="redis"
    ) from None

__all__ = ["RedisBus", "StreamLimits", "connect", "open_feed"]
