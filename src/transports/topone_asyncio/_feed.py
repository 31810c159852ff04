"""The asyncio adapter: a task does what the session decides, a timer keeps its deadline.

No protocol here.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any

from topone_asyncio._websocket import open_websocket as _open_websocket
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    AsyncTokenSource,
    FeedCancelled,
    Headers,
    SessionConfig,
    Step,
    Token,
    Topic,
)
from topone_proto.adapters import AsyncFeed, AsyncWebSocket, FeedCore, OpenAsyncWebSocket, conceal

__all__ = ["Feed", "open_feed"]


def open_feed(
    *,
    token: str | Token | AsyncTokenSource,
    url: str = DEFAULT_URL,
    topics: Iterable[Topic] = (BALANCE, ORDERS),
    config: SessionConfig | None = None,
    origin: str | None = None,
    insecure: bool = False,
    headers: Headers = (),
    ssl_context: ssl.SSLContext | None = None,
    open_websocket: OpenAsyncWebSocket | None = None,
    record: Callable[[str], object] | None = None,
) -> AbstractAsyncContextManager["Feed"]:
    """A feed of the account's updates, open for the length of an ``async with`` block.

    Args:
        token: the API token, or a callable, async or not, that is asked for one before every dial.
        url: where to dial, without the token.
        topics: what to subscribe to from the start.
        config: timeouts, limits, back-off and delivery.
        origin: the ``Origin`` header: None leaves it out, ``""`` sends it empty.
        insecure: True allows plain ``ws://`` to other machines.
        headers: more headers for the handshake, by name; a ``User-Agent`` replaces
            ``topone-proto/<version>``, and None there leaves it out.
        ssl_context: for a private CA; the default checks certificates against the system's.
        open_websocket: another WebSocket library, or none at all; see ``OpenAsyncWebSocket``.
        record: takes each line of a recording (``topone_proto.capture``), such as a file's
            ``write``; None records nothing.

    Raises:
        ConfigurationError: the token, the URL, the origin or a header cannot be used.
    """
    token, url = conceal(token, url)
    core = FeedCore(
        token=token,
        url=url,
        topics=topics,
        config=config,
        origin=origin,
        insecure=insecure,
        headers=headers,
        jitter=random.random,
        record=record,
        wall=time.time,
    )
    return _running(core, open_websocket or partial(_open_websocket, ssl_context=ssl_context))


@asynccontextmanager
async def _running(
    core: FeedCore[AsyncTokenSource], open_websocket: OpenAsyncWebSocket
) -> AsyncGenerator["Feed", None]:
    block, tasks = _Block(), _Tasks()
    feed = Feed(core, open_websocket, block, tasks)
    error: BaseException | None = None
    try:
        yield feed
    except BaseException as raised:  # noqa: BLE001 - raised below
        error = block.left_with(raised)
        # In here, so that a cancellation meanwhile, which drops the connection at once, has it as
        # its context.
        fault = await _closed(feed, core, tasks)
    else:
        block.left_with(None)
        fault = await _closed(feed, core, tasks)
    error = error or fault
    try:
        if error is not None:
            raise error
    finally:
        del error, fault  # no cycle of the exception and this frame


async def _closed(
    feed: "Feed", core: FeedCore[AsyncTokenSource], tasks: "_Tasks"
) -> BaseException | None:
    """Close a feed. Returns a fault of it that nobody was given yet."""
    try:
        await feed.close()
    except asyncio.CancelledError:
        await tasks.abort()
        raise
    except BaseException as fault:
        if fault is not core.fault:
            raise
        return fault
    return None


class _Block:
    """The application's block that a feed is open in, and the task that runs it."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._cancellations = 0 if self._task is None else self._task.cancelling()
        self._is_interrupted = False

    def interrupt(self) -> None:
        """Cancel it, once."""
        task = self._task
        # What its own task does now is no wait for anything.
        if task is not None and not task.done() and task is not asyncio.current_task():
            self._is_interrupted = True
            task.cancel()

    def left_with(self, error: BaseException | None) -> BaseException | None:
        """Return what has ended the block; None if it was left in peace, or by ``interrupt``."""
        task, self._task = self._task, None
        if task is None or not self._is_interrupted:
            return error
        is_cancelled_besides = task.uncancel() > self._cancellations
        is_ours = isinstance(error, asyncio.CancelledError) and not is_cancelled_besides
        return None if is_ours else error


class _Tasks:
    """The tasks of a feed. No task group: what goes wrong in one of them is a fault of the feed,
    which is raised by itself to whoever waits, and the task that opened the feed may be gone."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        # Those that were cancelled by the feed itself, and by nobody else.
        self._cancelled: set[asyncio.Task[None]] = set()
        self.on_fault: Callable[[BaseException], object] = print
        """What is told of a task that failed or was cancelled by somebody else."""

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run a coroutine."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"topone-{name}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self, task: "asyncio.Task[None]") -> None:
        """Cancel a task, once: a second time would disturb the end of the first."""
        if not task.done() and task not in self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    async def ended(self) -> None:
        """Wait for the end of all of them."""
        while self._running:
            await asyncio.wait(self._running)

    def is_cancelled_by_others(self) -> bool:
        """Whether the task that asks, and was cancelled, was so by somebody else."""
        return asyncio.current_task() not in self._cancelled

    async def abort(self) -> None:
        """Cancel all that is left, in the middle of whatever it does, and wait for its end."""
        while self._running:
            for task in self._running:
                self._cancelled.add(task)
                task.cancel()
            # Another cancellation cannot make it any quicker.
            with suppress(asyncio.CancelledError):
                await asyncio.wait(self._running)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            fault = task.exception()
        else:
            fault = None if task in self._cancelled else FeedCancelled()
        self._cancelled.discard(task)
        if fault is not None:
            self.on_fault(fault)


class _Condition:
    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def notify_all(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Feed(AsyncFeed):
    """An open feed: iterate over it for events. Made by ``open_feed``.

    Every event is given once, in order. Iterating ends behind ``Closed``, which ``close`` or
    leaving the block brings about. It raises ``FeedFailed`` there if the feed ended by itself,
    because trying again cannot help.
    """

    def __init__(
        self,
        core: FeedCore[AsyncTokenSource],
        open_websocket: OpenAsyncWebSocket,
        block: _Block,
        tasks: _Tasks,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(core, open_websocket, make_condition=_Condition, clock=self._loop.time)
        self._block = block
        self._tasks = tasks
        tasks.on_fault = self._fail
        # What a Close cancels: the task of a token call or a dial, later that of a conversation.
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._take(self._session.start(self._now()))
        self._runner = tasks.start(self._run(), "feed")

    async def _run(self) -> None:
        task: asyncio.Task[None] | None = None
        try:
            await self._begin()
            while (job := await self._next_job()) is not None:
                self._task = None
                task = self._tasks.start(self._do(job), type(job).__name__)
                # An eager task may have come as far as its conversation by now.
                if self._task is None:  # pragma: no branch - Python 3.11 has no eager tasks
                    self._task = task
                await asyncio.wait((task,))
        except asyncio.CancelledError:
            if self._tasks.is_cancelled_by_others():
                self._fail(FeedCancelled())
            # Nobody else waits for the goodbye, or for the end of a connection that is dropped.
            if task is not None and not task.done():
                await asyncio.wait((task,))
            raise

    async def _ended(self) -> None:
        await asyncio.wait((self._runner,))
        # Cancelled by others, it may leave some behind that are about to end.
        await self._tasks.ended()

    def _interrupt(self) -> None:
        self._block.interrupt()

    def _take(self, step: Step) -> None:
        super()._take(step)
        if self._core.is_closed and self._timer is not None:
            self._timer.cancel()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._deadline_reached)

    def _drop(self) -> None:
        if self._task is not None:
            self._tasks.cancel(self._task)

    async def _run_connection(self, websocket: AsyncWebSocket) -> None:
        self._take(self._session.connection_made(self._now()))
        writer = self._tasks.start(self._write(websocket), "writer")
        self._task = reader = self._tasks.start(self._read(websocket), "reader")
        try:
            await asyncio.wait((reader,))
        finally:
            self._tasks.cancel(reader)
            self._tasks.cancel(writer)
        await asyncio.wait((writer,))

    async def _checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def _within(self, seconds: float, awaitable: Awaitable[None]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await awaitable

    async def _ask_for_token(self) -> object:
        try:
            return await super()._ask_for_token()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something that the callable waited for was cancelled, and not the callable.
            raise CancelledError from None
