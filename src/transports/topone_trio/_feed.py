"""The trio adapter: one task carries out what the session decides, one watches its deadline.

No protocol here.
"""

import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import cast

import trio

from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    AsyncTokenSource,
    Event,
    Headers,
    SessionConfig,
    Token,
    Topic,
)
from topone_proto.adapters import AsyncFeed, AsyncWebSocket, FeedCore, OpenAsyncWebSocket, conceal
from topone_trio._websocket import open_websocket as _open_websocket

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
    error: BaseException | None = None
    fault: BaseException | None = None
    block = trio.CancelScope()
    try:
        async with trio.open_nursery() as nursery:
            feed = Feed(core, open_websocket, nursery, block)
            try:
                with block:
                    yield feed
            except BaseException as raised:  # noqa: BLE001 - raised below, in no ExceptionGroup
                error = raised
            # A cancellation meanwhile reaches the tasks, and drops the connection at once.
            with trio.CancelScope(shield=True):
                fault = await _closed(feed, core)
    except BaseException:
        # The nursery was cancelled. An error of the application goes before that.
        if error is None or isinstance(error, trio.Cancelled):
            raise
        raise error from None
    else:
        error = error or fault
        if error is not None:
            raise error
    finally:
        del error, fault  # no cycle of the exception and this frame


async def _closed(feed: "Feed", core: FeedCore[AsyncTokenSource]) -> BaseException | None:
    """Close a feed. Returns a fault of it that nobody was given yet."""
    try:
        await feed.close()
    except BaseException as fault:
        if fault is not core.fault:
            raise
        return fault
    return None


def _without_cancellations(error: BaseException) -> BaseException | None:
    """Return what a nursery was left with, out of its groups; None for a mere cancellation."""
    if not isinstance(error, BaseExceptionGroup):
        return None if isinstance(error, trio.Cancelled) else error
    group = cast("BaseExceptionGroup[BaseException]", error)
    faults = (_without_cancellations(part) for part in group.exceptions)
    return next((fault for fault in faults if fault is not None), None)


class _Condition:
    # A parking lot could do it, and takes twice as long.

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
        nursery: trio.Nursery,
        block: trio.CancelScope,
    ) -> None:
        super().__init__(core, open_websocket, make_condition=_Condition, clock=trio.current_time)
        self._block = block
        self._opener = trio.lowlevel.current_task()
        # What a Close cancels: a token call or a dial, later a conversation.
        self._scope = trio.CancelScope()
        self._deadline_moved = _Condition()
        self._finished = trio.Event()
        self._take(self._session.start(self._now()))
        nursery.start_soon(self._run)

    async def __anext__(self) -> Event:
        """The next event. A cancellation is noticed with every one of them."""
        await trio.lowlevel.checkpoint_if_cancelled()
        event = self._next()
        return await super().__anext__() if event is None else event

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_deadline)
                await self._begin()
                while (job := await self._next_job()) is not None:
                    with trio.CancelScope() as self._scope:
                        await self._do(job)
                nursery.cancel_scope.cancel()
        except BaseException as error:
            fault = _without_cancellations(error)
            if fault is not None:
                # Raised to whoever waits, or by the block, which is cancelled if nobody does.
                self._fail(fault)
                return
            raise
        finally:
            if not self._core.is_closed:
                # It was cancelled from outside. Others may wait for events that nobody would bring.
                self._take(self._session.close(self._now()))
            self._finished.set()

    async def _watch_deadline(self) -> None:
        while True:
            with trio.move_on_at(self._armed):
                await self._deadline_moved.wait()
                continue
            self._deadline_reached()

    async def _ended(self) -> None:
        await self._finished.wait()

    def _arm(self, deadline: float) -> None:  # noqa: ARG002 - the watcher looks for itself
        self._deadline_moved.notify_all()

    def _interrupt(self) -> None:
        # The opener does not wait for anything while it is here itself.
        if trio.lowlevel.current_task() is not self._opener:
            self._block.cancel()

    def _drop(self) -> None:
        self._scope.cancel()

    async def _run_connection(self, websocket: AsyncWebSocket) -> None:
        with trio.CancelScope() as self._scope:
            self._take(self._session.connection_made(self._now()))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, websocket)
                await self._read(websocket)
                nursery.cancel_scope.cancel()

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _within(self, seconds: float, awaitable: Awaitable[None]) -> None:
        with trio.move_on_after(seconds):
            await awaitable
