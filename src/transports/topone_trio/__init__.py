"""The feed for trio: ``open_feed`` over trio-websocket, or over whatever ``open_websocket``
opens."""

try:
    from topone_trio._feed import Account, Feed, open_account, open_feed, open_market_feed
    from topone_trio._websocket import open_websocket
except ModuleNotFoundError as _error:
    if _error.name not in {"trio", "trio_websocket", "wsproto"}:
        raise
    raise ImportError(
        f'topone_trio needs {_error.name}: pip install "topone-proto[trio]"', name=_error.name
    ) from None

__all__ = [
    "Account",
    "Feed",
    "open_account",
    "open_feed",
    "open_market_feed",
    "open_websocket",
]
