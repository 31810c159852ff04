"""The feed for threads: ``open_feed`` over websockets, or what ``open_websocket`` opens instead."""

try:
    from topone_threads._feed import Feed, open_feed, open_market_feed
except ImportError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_threads needs websockets: pip install "topone-proto[threads]"', name="websockets"
    ) from None

__all__ = ["Feed", "open_feed", "open_market_feed"]
