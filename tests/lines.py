"""WebSockets in memory for the tests of faults, in whatever framework."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from topone_proto import Connect

URL = "wss://exchange.example/ws/user/"


class OddError(Exception):
    """An exception that nobody expects."""


class Leavable(Protocol):
    """A WebSocket that knows whether it was left."""

    is_left: bool


L = TypeVar("L", bound=Leavable)


class Lines(Generic[L]):
    """A way to open WebSockets of one kind, and all that were opened."""

    def __init__(self, make: Callable[[], L]) -> None:
        self._make = make
        self.made: list[L] = []
        self.on_pong: Callable[[bytes], object] = lambda _: None

    @asynccontextmanager
    async def open(
        self, connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator[Any, None]:
        """Open one, as ``open_websocket`` does."""
        line = self._make()
        self.on_pong = on_pong
        self.made.append(line)
        try:
            yield line
        finally:
            line.is_left = True
