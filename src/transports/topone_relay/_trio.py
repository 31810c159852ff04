"""The feed from a bus under trio: driven in the I/O thread of asyncio, awaited in trio's."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import trio

from topone_proto import FeedClosed
from topone_proto.account import RelayEvent
from topone_proto.adapters import Runtime
from topone_proto.relay.feed_core import FeedPosition, Placed, RelayFeedCore, RelayMetrics
from topone_relay._async import AsyncRelayFeed
from topone_relay._driver import RelayDriver
from topone_relay._handle import Handle

__all__ = ["open_handle"]


class _Sleep:
    """A wait of a task for another thread."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._is_over = trio.Event()

    def end(self) -> None:
        """Wake the task, from any thread."""
        # The run may have ended meanwhile.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._end_here)

    async def wait(self) -> None:
        await self._is_over.wait()
        self._is_over = trio.Event()

    def _end_here(self) -> None:
        self._is_over.set()


class _TrioHandle(Handle):
    async def next(self) -> Placed:
        """Return the next event or place. Raises FeedClosed once there is none any more."""
        while (placed := self._take()) is None:
            self._refuse("iterating")
            await self._until(self._has_news)
        return placed

    async def _until(self, is_so: Callable[[], object]) -> None:
        sleep = _Sleep()
        try:
            self._sleeping[sleep.end] = None
            while not is_so():
                await sleep.wait()
                self._sleeping[sleep.end] = None
        finally:
            self._sleeping.pop(sleep.end, None)


class _TrioFeed(AsyncRelayFeed):
    def __init__(self, handle: _TrioHandle) -> None:
        self._handle = handle

    async def __anext__(self) -> RelayEvent:
        await trio.lowlevel.checkpoint_if_cancelled()
        handle = self._handle
        while True:
            handle.settle()
            try:
                placed = await handle.next()
            except FeedClosed:
                break
            handle.given = placed
            if placed.event is not None:
                return placed.event
        raise StopAsyncIteration

    @property
    def position(self) -> FeedPosition | None:
        return self._handle.given.behind

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._handle.close)

    def metrics(self) -> RelayMetrics:
        return self._handle.metrics()


@asynccontextmanager
async def open_handle(
    core: RelayFeedCore, make_driver: Callable[[Runtime], RelayDriver]
) -> AsyncGenerator[AsyncRelayFeed, None]:
    """Open a feed for the length of a block."""
    handle = _TrioHandle(core, make_driver)
    feed = _TrioFeed(handle)
    handle.__enter__()
    try:
        yield feed
        handle.settle()
    except BaseException:
        # The block's error goes before a fault of the feed.
        with suppress(BaseException), trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(handle.__exit__, BaseException)
        raise
    else:
        await feed.close()
