"""The feed for asyncio: ``open_feed`` over aiohttp, or over whatever ``open_websocket`` opens."""

try:
    from topone_asyncio._feed import Feed, open_feed
    from topone_asyncio._websocket import open_websocket
except ModuleNotFoundError as _error:
    if _error.name not in {"aiohttp", "yarl"}:
        raise
    raise ImportError(
        f'topone_asyncio needs {_error.name}: pip install "topone-proto[asyncio]"', name=_error.name
    ) from None

__all__ = ["Feed", "open_feed", "open_websocket"]
