"""The trio adapter: what ``topone_proto``'s driver needs of an event loop, made of trio.

Nothing about the protocol is decided here. The tasks of a feed run in one nursery, which is open as
long as the application's block.
"""

import os
import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

import trio

from topone_proto import Credentials
from topone_proto.adapters import (
    AccountFactory,
    AsyncAccount,
    AsyncFeed,
    FeedFactory,
    Http,
    HttpEndpoint,
    OpenAsyncWebSocket,
    Runtime,
    StateStore,
)
from topone_trio._dial import in_thread
from topone_trio._websocket import open_websocket

__all__ = ["Account", "Feed", "open_account", "open_feed", "open_market_feed"]

Account = AsyncAccount
"""The account that ``open_account`` opens."""

Feed = AsyncFeed
"""The feed that ``open_feed`` opens."""


class _Condition:
    # trio's parking lot does the same and takes twice as long.

    def __init__(self) -> None:
        self._waiting: list[trio.lowlevel.Task] = []

    async def wait(self) -> None:
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def notify_all(self) -> None:
        if self._waiting:
            for task in self._waiting:
                trio.lowlevel.reschedule(task)
            self._waiting.clear()


class _Runtime:
    check_cancelled = staticmethod(trio.lowlevel.checkpoint_if_cancelled)
    clock = staticmethod(trio.current_time)
    condition = _Condition
    checkpoint = staticmethod(trio.lowlevel.checkpoint)
    in_thread = staticmethod(in_thread)

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._opener = trio.lowlevel.current_task()
        self._block = trio.CancelScope()

    def spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[BaseException | None], object],
    ) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._nursery.start_soon(_run, scope, function, on_end, name=f"topone-{name}")
        return scope

    async def timeout(self, deadline: float, awaitable: Awaitable[None]) -> bool:
        with trio.move_on_at(deadline) as scope:
            await awaitable
        return scope.cancelled_caught

    def is_stray_cancellation(self, error: BaseException) -> bool:  # noqa: ARG002 - trio has none
        return False

    def block(self) -> trio.CancelScope:
        return self._block

    def interrupt(self) -> None:
        # The opener waits for nothing while it runs this.
        if trio.lowlevel.current_task() is not self._opener:
            self._block.cancel()

    async def finish(self, closing: Coroutine[Any, Any, None]) -> None:
        # A cancellation meanwhile reaches the tasks, and drops the connection at once.
        with trio.CancelScope(shield=True):
            await closing


async def _run(
    scope: trio.CancelScope,
    function: Callable[[], Coroutine[Any, Any, None]],
    on_end: Callable[[BaseException | None], object],
) -> None:
    fault: BaseException | None = None
    try:
        with scope:
            await function()
    except BaseException as error:
        fault = _without_cancellations(error)
        if fault is None:
            raise
    finally:
        on_end(fault)
        del fault  # no cycle of the exception and this frame


def _without_cancellations(error: BaseException) -> BaseException | None:
    """Return what has ended a task; None if that was a mere cancellation. A nursery of a plug-in
    may have put both into one group."""
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, Exception):
        return None if isinstance(error, trio.Cancelled) else error
    group = cast("BaseExceptionGroup[BaseException]", error)
    faults = (_without_cancellations(part) for part in group.exceptions)
    return next((fault for fault in faults if fault is not None), None)


@asynccontextmanager
async def _open_runtime() -> AsyncGenerator[Runtime, None]:
    async with trio.open_nursery() as nursery:
        yield _Runtime(nursery)


def _open_with(ssl_context: ssl.SSLContext | None) -> OpenAsyncWebSocket:
    return partial(open_websocket, ssl_context=ssl_context)


# Most feeds have no account, and this needs more libraries.


def _open_http(endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None) -> Http:
    from topone_trio._http import open_http  # noqa: PLC0415 - as said

    return open_http(endpoint, ssl_context)


def _open_store(
    path: str | os.PathLike[str] | None,
    credentials: Credentials | None,
    endpoint: HttpEndpoint,
    token_interval: float,
) -> StateStore:
    from topone_accounts import open_store  # noqa: PLC0415 - as above

    return open_store(path, credentials, endpoint, token_interval)


_feeds = FeedFactory(_open_runtime, _open_with, jitter=random.random, wall=time.time)

open_feed: Final = _feeds.open_feed
"""Open a feed of an account's updates; see ``FeedFactory.open_feed``."""

open_market_feed: Final = _feeds.open_market_feed
"""Open a feed of market data; see ``FeedFactory.open_market_feed``."""

open_account: Final = AccountFactory(
    _open_runtime, _open_with, _open_http, _open_store, jitter=random.random, wall=time.time
).open_account
"""Open an account; see ``AccountOpener.open_account``."""
