"""websockets' sans-I/O protocol as an adapter wants it: bytes in, bytes and whole messages out.

All that adapters know of websockets is here, and no I/O: the socket is theirs.
"""

try:
    from topone_websockets._client import WebSocketClient
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_websockets needs websockets: pip install "topone-proto[websockets]"',
        name="websockets",
    ) from None

__all__ = ["WebSocketClient"]
