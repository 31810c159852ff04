"""The feed from a bus under trio: driven in the I/O thread of asyncio, awaited in trio's."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from topone_proto import FeedClosed
from topone_proto.account import RelayEvent
from topone_proto.adapters import Runtime
from topone_proto.relay.feed_core import FeedPosition, Placed, RelayFeedCore, RelayMetrics
from topone_relay._async import AsyncRelayFeed
from topone_relay._driver import RelayDriver
from topone_relay._handle import Handle

__all__ = ["open_handle"]


class _TrioHandle(Handle):
    async def next(self) -> Placed:
        """Return the next event or place. Raises FeedClosed once there is none any more."""
        while (placed := self._take()) is None:
            self._refuse("iterating")
            await self._until(self._has_news)
        return placed

    async def _until(self, is_so: Callable[[], object]) -> None:
        token = trio.lowlevel.current_trio_token()
        while True:
            woken = trio.Event()
            wake = partial(_call_soon, token, woken.set)
            try:
                self._sleeping[wake] = None
                if is_so():
                    return
                await woken.wait()
            finally:
                self._sleeping.pop(wake, None)


def _call_soon(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    """Call something in the task's thread."""
    # The run may have ended meanwhile.
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(function)


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
