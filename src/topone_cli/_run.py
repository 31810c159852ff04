"""A feed through each of the adapters, from open to end: the same in the three idioms."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from typing import Final, TypedDict

from topone_proto import Event, Token, Topic

__all__ = ["Adapter", "Source", "run_feed"]

Handler = Callable[[Event], None]


class Adapter(StrEnum):
    """The ways of doing I/O."""

    TRIO = "trio"
    ASYNCIO = "asyncio"
    THREADS = "threads"


class Source(TypedDict):
    """What to follow: arguments of every ``open_feed``."""

    token: Token | Callable[[], Token]
    url: str
    topics: Iterable[Topic]
    origin: str | None
    insecure: bool


def run_feed(adapter: Adapter, source: Source, handle: Handler, seconds: float | None) -> None:
    """Give every event to ``handle`` for so many seconds, or until Ctrl-C.

    Raises:
        FeedFailed: the feed ended by itself.
        ConfigurationError: the token, the URL or the origin cannot be used.
        ImportError: the adapter's extra is not installed.
        KeyboardInterrupt: Ctrl-C; the feed is closed.
    """
    _RUNNERS[adapter](source, handle, seconds)


def _run_trio(source: Source, handle: Handler, seconds: float | None) -> None:
    import trio  # noqa: PLC0415 - as above

    import topone_trio  # noqa: PLC0415 - only the chosen adapter's extra has to be there

    async def main() -> None:
        async with topone_trio.open_feed(**source) as feed:
            with trio.move_on_after(math.inf if seconds is None else seconds):
                async for event in feed:
                    handle(event)
            await feed.close()
            async for event in feed:
                handle(event)

    # Ctrl-C only where this task waits: inside another task it would come out as an ExceptionGroup.
    trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)


def _run_asyncio(source: Source, handle: Handler, seconds: float | None) -> None:
    import topone_asyncio  # noqa: PLC0415 - only the chosen adapter's extra has to be there

    async def main() -> None:
        async with topone_asyncio.open_feed(**source) as feed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for event in feed:
                        handle(event)
            await feed.close()
            async for event in feed:
                handle(event)

    asyncio.run(main())


def _run_threads(source: Source, handle: Handler, seconds: float | None) -> None:
    import topone_threads  # noqa: PLC0415 - only the chosen adapter's extra has to be there

    with topone_threads.open_feed(**source) as feed:
        timer = threading.Timer(seconds or 0, feed.close)
        if seconds is not None:
            timer.start()
        try:
            for event in feed:
                handle(event)
        finally:
            timer.cancel()


_RUNNERS: Final = {
    Adapter.TRIO: _run_trio,
    Adapter.ASYNCIO: _run_asyncio,
    Adapter.THREADS: _run_threads,
}
