"""The feed from a bus, as the tasks of an event loop see it, and the one of asyncio."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Self

from topone_asyncio._feed import AsyncioRuntime
from topone_proto.account import RelayEvent
from topone_proto.adapters import Runtime
from topone_proto.feed.opening import run_handle
from topone_proto.relay.feed_core import FeedPosition, RelayFeedCore, RelayMetrics
from topone_relay._driver import RelayDriver

__all__ = ["AsyncRelayFeed", "open_asyncio"]


class AsyncRelayFeed(ABC):
    """An open feed from a bus: iterate over it for events, under asyncio or trio. Made by
    ``async with open_feed(…)``.

    Every event is given once, in order. They are those of the account's own feed, and
    ``Snapshot``, ``TakenOver``, ``BusAnomaly``, ``Stalled`` and ``Resumed``. Iterating ends after
    ``Closed``, which ``close`` or leaving the block brings about; it raises ``FeedFailed`` there if
    the bus has refused the feed.
    """

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> RelayEvent: ...

    @property
    @abstractmethod
    def position(self) -> FeedPosition | None:
        """The place behind the event that was handed out last, for ``open_feed(position=…)``; None
        before the first."""

    @abstractmethod
    async def close(self) -> None:
        """End it. Idempotent. Returns within ``close_timeout``. Events that wait can still be
        taken; ``Closed`` is the last of them."""

    @abstractmethod
    def metrics(self) -> RelayMetrics:
        """Return its counters and gauges at this moment."""


class _AsyncioFeed(AsyncRelayFeed):
    """The feed in the event loop of the application itself."""

    def __init__(self, core: RelayFeedCore, driver: RelayDriver) -> None:
        self._core = core
        self._driver = driver
        self._given = core.start

    async def __anext__(self) -> RelayEvent:
        core, driver = self._core, self._driver
        core.settle(self._given)
        while True:
            placed = core.get()
            if placed is not None:
                self._given = placed
                if core.is_paused:
                    driver.pause_or_resume()
                if placed.event is not None:
                    return placed.event
                core.settle(placed)
                continue
            if core.is_closed:
                core.raise_failure()
                raise StopAsyncIteration
            driver.callers += 1
            try:
                await driver.events_came.wait()
            finally:
                driver.callers -= 1

    @property
    def position(self) -> FeedPosition | None:
        return self._given.behind

    async def close(self) -> None:
        await self._driver.closed()
        self._core.raise_unseen_fault()

    def metrics(self) -> RelayMetrics:
        return self._core.metrics(self._driver.now())

    def settle(self) -> None:
        """Note that the application is done with all that it was given."""
        self._core.settle(self._given)


@asynccontextmanager
async def open_asyncio(
    core: RelayFeedCore, make_driver: Callable[[Runtime], RelayDriver]
) -> AsyncGenerator[AsyncRelayFeed, None]:
    """Open a feed for the length of a block, in the event loop that runs."""

    def make(runtime: Runtime) -> _AsyncioFeed:
        return _AsyncioFeed(core, make_driver(runtime))

    async with run_handle(_open_runtime, core, make) as feed:
        yield feed
        feed.settle()


@asynccontextmanager
async def _open_runtime() -> AsyncGenerator[Runtime, None]:
    yield AsyncioRuntime()
