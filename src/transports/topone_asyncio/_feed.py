"""The asyncio adapter: what ``topone_proto``'s driver needs of an event loop, made of asyncio.

Nothing about the protocol is decided here. No task group is used: a fault in one of the feed's
tasks is raised as it is to whoever waits, and the task that opened the feed may be gone.
"""

import asyncio
import os
import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from topone_asyncio._dial import in_thread
from topone_asyncio._websocket import open_websocket
from topone_proto import Credentials, FeedCancelled
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

__all__ = ["Account", "Feed", "open_account", "open_feed", "open_market_feed"]

Account = AsyncAccount
"""The account that ``open_account`` opens."""

Feed = AsyncFeed
"""The feed that ``open_feed`` opens."""


class Condition:
    """The tasks that wait for a change of one kind."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._create_future = asyncio.get_running_loop().create_future

    # No coroutine: whoever is woken goes on in one function less.
    def wait(self) -> asyncio.Future[None]:
        future = self._create_future()
        # Without those whose waiting was cancelled.
        self._waiting = [other for other in self._waiting if not other.done()]
        self._waiting.append(future)
        return future

    def notify_all(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)


class _Task:
    """A task of the feed, which knows whether the feed itself has cancelled it."""

    __slots__ = ("_is_cancelled", "_on_end", "_siblings", "_task")

    def __init__(
        self,
        task: "asyncio.Task[None]",
        on_end: Callable[[BaseException | None], object],
        siblings: "dict[asyncio.Task[None], _Task]",
    ) -> None:
        self._task = task
        self._on_end = on_end
        self._siblings = siblings
        self._is_cancelled = False
        siblings[task] = self
        # The only one: a task keeps a second one in a list.
        task.add_done_callback(self._ended)

    def cancel(self) -> None:
        # Once: a second cancellation would disturb the end of the first.
        if not self._is_cancelled:
            self.abort()

    def abort(self) -> None:
        """Cancel it whatever it does, its closing handshake included."""
        self._is_cancelled = True
        self._task.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._siblings[task]
        if task.cancelled():
            self._on_end(None if self._is_cancelled else FeedCancelled())
        else:
            self._on_end(task.exception())


class _Block:
    """The application's block, and the task that has entered it."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._cancellations = 0 if self._task is None else self._task.cancelling()
        self._is_interrupted = False

    def interrupt(self) -> None:
        """Cancel it, once."""
        task = self._task
        # A task that is here now waits for nothing.
        if task is not None and not task.done() and task is not asyncio.current_task():
            self._is_interrupted = True
            task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        task, self._task = self._task, None
        if task is None or not self._is_interrupted:
            return False
        is_cancelled_besides = task.uncancel() > self._cancellations
        return isinstance(error, asyncio.CancelledError) and not is_cancelled_besides


class AsyncioRuntime:
    """The event loop that runs now, as one feed uses it; see ``Runtime``."""

    check_cancelled = None
    in_thread = staticmethod(in_thread)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._block = _Block()
        self._tasks: dict[asyncio.Task[None], _Task] = {}
        self.clock = self._loop.time
        self.condition: Callable[[], Condition] = Condition
        self.interrupt = self._block.interrupt

    def spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[BaseException | None], object],
    ) -> _Task:
        task = self._loop.create_task(function(), name=f"topone-{name}")
        return _Task(task, on_end, self._tasks)

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def timeout(self, deadline: float, awaitable: Awaitable[None]) -> bool:
        # uvloop takes no infinity.
        when = deadline if deadline < float("inf") else None
        scope = asyncio.timeout_at(when)
        try:
            async with scope:
                await awaitable
        except TimeoutError:
            if not scope.expired():
                raise
            return True
        return False

    def is_stray_cancellation(self, error: BaseException) -> bool:
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and not (task and task.cancelling())

    def block(self) -> _Block:
        return self._block

    async def ended(self) -> None:
        """Wait until every task of the feed has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def finish(self, closing: Coroutine[Any, Any, None]) -> None:
        # The first cancellation leaves the closing handshake alone, the next one does not.
        try:
            await closing
        except asyncio.CancelledError:
            while self._tasks:
                for task in tuple(self._tasks.values()):
                    task.abort()
                # One more cancellation would change nothing.
                with suppress(asyncio.CancelledError):
                    await asyncio.wait(self._tasks)
            raise


@asynccontextmanager
async def _open_runtime() -> AsyncGenerator[Runtime, None]:
    yield AsyncioRuntime()


def open_with(ssl_context: ssl.SSLContext | None) -> OpenAsyncWebSocket:
    """Return the WebSocket of a feed that was given no other."""
    return partial(open_websocket, ssl_context=ssl_context)


# Most feeds have no account, and this needs more libraries.


def open_http(endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None) -> Http:
    """Return an account's HTTP client; see ``topone_asyncio._http.open_http``."""
    from topone_asyncio import _http  # noqa: PLC0415 - as said

    return _http.open_http(endpoint, ssl_context)


def open_store(
    path: str | os.PathLike[str] | None,
    credentials: Credentials | None,
    endpoint: HttpEndpoint,
    token_interval: float,
) -> StateStore:
    """Return an account's store; see ``topone_accounts.open_store``."""
    import topone_accounts  # noqa: PLC0415 - as above

    return topone_accounts.open_store(path, credentials, endpoint, token_interval)


_feeds = FeedFactory(_open_runtime, open_with, jitter=random.random, wall=time.time)

open_feed: Final = _feeds.open_feed
"""Open a feed of an account's updates; see ``FeedFactory.open_feed``."""

open_market_feed: Final = _feeds.open_market_feed
"""Open a feed of market data; see ``FeedFactory.open_market_feed``."""

open_account: Final = AccountFactory(
    _open_runtime, open_with, open_http, open_store, jitter=random.random, wall=time.time
).open_account
"""Open an account; see ``AccountOpener.open_account``."""
