"""The interface between the driver of a feed and a WebSocket. Nothing here does anything."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from topone_proto.session.actions import Connect

__all__ = ["AsyncWebSocket", "OpenAsyncWebSocket"]


class AsyncWebSocket(Protocol):
    """An open WebSocket. Every method but ``close`` raises ``ConnectionEnded`` once it is no longer
    open.

    It may have an attribute ``heard_at: float | None``: when the last bytes of the peer came, on
    the feed's clock, be they a part of a frame or a control frame. With it a large frame on a slow
    line, or a peer that only pings, is not taken for dead.
    """

    async def receive(self) -> str | bytes:
        """Return the next whole message. Pings of the peer are answered on the way."""
        ...

    async def send_text(self, text: str) -> None:
        """Send a text message."""
        ...

    async def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return; its pong is reported to the ``on_pong`` of
        ``open_websocket``."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's. The caller limits the time. Returns or raises
        ``ConnectionEnded`` then."""
        ...


OpenAsyncWebSocket = Callable[
    [Connect, Callable[[bytes], object]], AbstractAsyncContextManager[AsyncWebSocket]
]
"""``open_websocket(connect, on_pong)``: an async context manager that dials as ``connect`` says and
drops the connection at once on leaving. A dial that fails raises ``ConnectionFailed`` or an
``OSError``; ``failure_from_exception`` and ``failure_from_response`` help to make the former. Any
other exception is a fault of the program, and ends the feed with it."""
