"""A WebSocket client without I/O for adapters: bytes in, bytes and whole messages out.

It is made of websockets' sans-I/O protocol, and only this package knows that library. The socket is
the adapter's. ``over_streams`` makes of it what a ``CallbackDriver`` dials with. ``look_up`` finds
the addresses to dial, in threads that belong to nobody else.
"""

try:
    from topone_websockets._client import WebSocketClient
    from topone_websockets._proxy import proxy_for
    from topone_websockets._streams import ByteStream, StreamLink, over_streams
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_websockets needs websockets: pip install "topone-proto[websockets]"',
        name="websockets",
    ) from None

from topone_websockets._certificates import default_context
from topone_websockets._lookup import (
    AddressInfo,
    call_in_thread,
    look_up,
    look_up_context,
    look_up_proxy,
)
from topone_websockets._tls import Tls

__all__ = [
    "AddressInfo",
    "ByteStream",
    "StreamLink",
    "Tls",
    "WebSocketClient",
    "call_in_thread",
    "default_context",
    "look_up",
    "look_up_context",
    "look_up_proxy",
    "over_streams",
    "proxy_for",
]
