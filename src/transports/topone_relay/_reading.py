"""Reading on through interruptions, the same for every bus."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from topone_relay._bus import BusUnavailable, Interrupted, Message, Received, Restored, Take

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

    def __call__(
        self, start: str | None, take: Take, *, behind: bool
    ) -> AsyncGenerator[Message | None]:
        """Yield None once the bus is being read, then the messages that ``take`` leaves.

        Args:
            start: The place to begin at; None for the oldest message.
            take: Takes a message while the next one is waited for; see ``Bus.read``.
            behind: True to begin behind the message at ``start`` and not with it.

        Raises:
            BusUnavailable: the bus failed, at whatever moment.
        """
        ...


async def read_on(
    source: Source, start: str | None, closed: asyncio.Event, take: Take | None = None
) -> AsyncGenerator[Received]:
    """Yield what a source gives, and open it again behind the last message whenever it fails, until
    ``closed`` is set."""
    behind = False
    interrupted = False
    pause = _FIRST_PAUSE

    def read(message: Message) -> None:
        nonlocal start, behind, pause
        start, behind = message.place, True
        pause = _FIRST_PAUSE

    def offered(message: Message) -> bool:
        is_taken = take is not None and take(message)
        if is_taken:
            read(message)
        return is_taken

    while not closed.is_set():
        try:
            async with aclosing(source(start, offered, behind=behind)) as items:
                async for item in items:
                    if item is None:
                        if interrupted:
                            interrupted = False
                            yield Restored()
                        continue
                    read(item)
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
