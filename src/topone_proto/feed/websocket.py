"""The interface between the driver of a feed and a WebSocket. Nothing here does anything."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from topone_proto.session.actions import Connect

__all__ = [
    "AsyncWebSocket",
    "FrameReceiver",
    "OpenAsyncWebSocket",
    "PushingWebSocket",
]


class _WebSocket(Protocol):
    """An open WebSocket that can be sent on and closed."""

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


class AsyncWebSocket(_WebSocket, Protocol):
    """An open WebSocket whose messages are awaited. Every method but ``close`` raises
    ``ConnectionEnded`` once it is no longer open.

    It may have an attribute ``heard_at: float | None``: when the last bytes of the peer came, on
    the feed's clock, be they a part of a frame or a control frame. With it a large frame on a slow
    line, or a peer that only pings, is not taken for dead.

    It may have an attribute ``unread: deque[str | bytes]``: the whole messages that have come, the
    oldest first, which ``receive`` takes, too. They are taken out of it without an await for each.
    """

    async def receive(self) -> str | bytes:
        """Return the next whole message. Pings of the peer are answered on the way."""
        ...


class FrameReceiver(Protocol):
    """The receiving end of a ``PushingWebSocket``. Its methods never wait, and raise nothing that
    the WebSocket would have to handle."""

    def frames_received(self, frames: Sequence[str | bytes]) -> None:
        """Take whole messages, the oldest first: all that came at once, so that the application is
        woken once."""
        ...

    def connection_lost(self, end: Exception) -> None:
        """Note that no message comes any more: ``ConnectionEnded``, or a fault of the program."""
        ...


@runtime_checkable
class PushingWebSocket(_WebSocket, Protocol):
    """An open WebSocket that pushes its messages by a callback: nothing is awaited between the
    bytes that come and the events that follow from them.

    ``heard_at`` is as in an ``AsyncWebSocket``. ``close`` pushes no more messages.
    """

    def listen(self, receiver: FrameReceiver) -> None:
        """Push messages to a receiver from now on, and first those that came before."""
        ...

    def pause_reading(self) -> None:
        """Read no more until ``resume_reading``. What has been read may still be pushed."""
        ...

    def resume_reading(self) -> None:
        """Read again."""
        ...


OpenAsyncWebSocket = Callable[
    [Connect, Callable[[bytes], object]],
    AbstractAsyncContextManager[AsyncWebSocket | PushingWebSocket],
]
"""``open_websocket(connect, on_pong)``: an async context manager that dials as ``connect`` says and
drops the connection at once on leaving. A dial that fails raises ``ConnectionFailed`` or an
``OSError``; ``failure_from_exception`` and ``failure_from_response`` help to make the former. Any
other exception is a fault of the program, and ends the feed with it."""
