"""The feed: tasks, a clock, and a way to wait. No protocol here."""

import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel

from topone_anyio.websocket import open_websocket
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
from topone_proto.adapters import AsyncFeed, AsyncWebSocket, FeedCore, conceal


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
    record: Callable[[str], object] | None = None,
) -> AbstractAsyncContextManager["Feed"]:
    token, url = conceal(token, url)
    core: FeedCore[AsyncTokenSource] = FeedCore(
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
    return _running(core, ssl_context)


@asynccontextmanager
async def _running(
    core: FeedCore[AsyncTokenSource], ssl_context: ssl.SSLContext | None
) -> AsyncGenerator["Feed", None]:
    error: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            feed = Feed(core, ssl_context)
            tasks.start_soon(feed.run)
            try:
                yield feed
            except BaseException as raised:  # noqa: BLE001 - raised below, in no ExceptionGroup
                error = raised
            with anyio.CancelScope(shield=True):
                try:
                    await feed.close()
                except BaseException as fault:  # noqa: BLE001 - the same
                    error = error or fault
    except BaseException:
        # An error of the application goes before one of the feed, which may have followed from it,
        # and a cancellation behind: it may have followed from the feed's.
        if error is None or isinstance(error, anyio.get_cancelled_exc_class()):
            raise
        raise error from None
    else:
        if error is not None:
            raise error
    finally:
        del error  # no cycle of the exception and this frame


class Condition:
    """A place where tasks wait for news. An event is for one time: each call makes a new one."""

    def __init__(self) -> None:
        self._news = anyio.Event()
        self._is_awaited = False

    async def wait(self) -> None:
        self._is_awaited = True
        await self._news.wait()

    def notify_all(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self._news.set()
            self._news = anyio.Event()


class Feed(AsyncFeed):
    def __init__(
        self, core: FeedCore[AsyncTokenSource], ssl_context: ssl.SSLContext | None
    ) -> None:
        super().__init__(
            core,
            partial(open_websocket, ssl_context=ssl_context),
            make_condition=Condition,
            clock=anyio.current_time,
        )
        self._scope = anyio.CancelScope()
        self._deadline_moved = Condition()
        self._finished = anyio.Event()
        self._take(self._session.start(self._now()))

    async def __anext__(self) -> Event:
        await anyio.lowlevel.checkpoint_if_cancelled()
        return await super().__anext__()

    async def run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_deadline)
                while (job := await self._next_job()) is not None:
                    with anyio.CancelScope() as self._scope:
                        await self._do(job)
                tasks.cancel_scope.cancel()
        finally:
            if not self._core.is_closed:
                # It was cancelled from outside: whoever waits for an event would wait for ever.
                self._take(self._session.close(self._now()))
            self._finished.set()

    async def _watch_deadline(self) -> None:
        while True:
            with anyio.CancelScope(deadline=self._armed):
                await self._deadline_moved.wait()
                continue
            self._deadline_reached()

    async def _ended(self) -> None:
        await self._finished.wait()

    def _arm(self, deadline: float) -> None:  # noqa: ARG002 - the watcher looks for itself
        self._deadline_moved.notify_all()

    def _drop(self) -> None:
        self._scope.cancel()

    async def _run_connection(self, websocket: AsyncWebSocket) -> None:
        with anyio.CancelScope() as self._scope:
            self._take(self._session.connection_made(self._now()))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, websocket)
                await self._read(websocket)
                tasks.cancel_scope.cancel()

    async def _checkpoint(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def _within(self, seconds: float, awaitable: Awaitable[None]) -> None:
        with anyio.move_on_after(seconds):
            await awaitable
