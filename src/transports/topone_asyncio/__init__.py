"""The feed for asyncio: ``open_feed`` over websockets, or over what ``open_websocket=`` opens."""

try:
    from topone_asyncio._feed import Account, Feed, open_account, open_feed, open_market_feed
    from topone_asyncio._websocket import open_websocket
except ImportError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_asyncio needs websockets: pip install "topone-proto[asyncio]"', name="websockets"
    ) from None

__all__ = [
    "Account",
    "Feed",
    "open_account",
    "open_feed",
    "open_market_feed",
    "open_websocket",
]
