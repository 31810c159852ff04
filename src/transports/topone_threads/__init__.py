"""The feed and the account for threads: ``open_feed`` and ``open_account`` over websockets, or what
``open_websocket=`` opens instead."""

try:
    from topone_threads._account import Account, open_account
    from topone_threads._feed import Feed, open_feed, open_market_feed
except ImportError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_threads needs websockets: pip install "topone-proto[threads]"', name="websockets"
    ) from None

__all__ = ["Account", "Feed", "open_account", "open_feed", "open_market_feed"]
