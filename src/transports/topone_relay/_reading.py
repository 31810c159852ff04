"""Reading on through interruptions, the same for every bus."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from topone_relay._bus import BusUnavailable, Interrupted, Message, Received, Restored

__all__ = ["Closing", "Source", "read_on"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class Closing(asyncio.Event):
    """Set when a bus is closed."""

    def check(self, call: str) -> None:
        """Raise ``BusUnavailable`` if the bus is closed."""
        if self.is_set():
            raise BusUnavailable(call, "the bus is closed")


class Source(Protocol):
    """Reads from a place until the bus fails."""

    def __call__(self, start: str | None, *, behind: bool) -> AsyncGenerator[Message | None]:
        """Yield None once the bus is being read, then the messages.

        Args:
            start: The place to begin at; None for the oldest message.
            behind: True to begin behind the message at ``start`` and not with it.

        Raises:
            BusUnavailable: the bus failed, at whatever moment.
        """
        ...


async def read_on(
    source: Source, start: str | None, closed: asyncio.Event
) -> AsyncGenerator[Received]:
    """Yield what a source gives, and open it again behind the last message whenever it fails, until
    ``closed`` is set."""
    behind = False
    interrupted = False
    pause = _FIRST_PAUSE
    while not closed.is_set():
        try:
            async with aclosing(source(start, behind=behind)) as items:
                async for item in items:
                    if item is None:
                        if interrupted:
                            interrupted = False
                            yield Restored()
                        continue
                    start, behind = item.place, True
                    pause = _FIRST_PAUSE
                    yield item
        except BusUnavailable as failure:
            if closed.is_set():
                return
            if not interrupted:
                interrupted = True
                yield Interrupted(failure.detail)
            await _wait(closed, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


async def _wait(closed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await closed.wait()
    except TimeoutError:
        pass
