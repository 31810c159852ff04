"""The asyncio adapter: a task does what the session decides, a timer keeps its deadline.

No protocol here.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

from topone_asyncio._websocket import open_websocket as _open_websocket
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    AsyncFeed,
    AsyncTokenSource,
    AsyncWebSocket,
    FeedCore,
    Headers,
    OpenAsyncWebSocket,
    SessionConfig,
    Token,
    Topic,
    conceal,
)

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
    async with asyncio.TaskGroup() as group:
        feed = Feed(core, open_websocket, group)
        try:
            yield feed
        except BaseException as raised:  # noqa: BLE001 - raised below, in no ExceptionGroup
            error = raised
            # In here, so that a cancellation meanwhile, which drops the connection at once, has it
            # as its context.
            await feed.close()
        else:
            await feed.close()
    if error is not None:
        try:
            raise error
        finally:
            del error  # no cycle of the exception and this frame


class _Bell:
    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def ring(self) -> None:
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
        group: asyncio.TaskGroup,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(core, open_websocket, make_bell=_Bell, clock=self._loop.time)
        self._group = group
        # What a Close cancels: the task of a token call or a dial, later that of a conversation.
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._take(self._session.start(self._now()))
        self._runner = group.create_task(self._run())

    async def _run(self) -> None:
        try:
            while (job := await self._next_job()) is not None:
                self._task = None
                task = self._group.create_task(self._do(job))
                # An eager task may have come as far as its conversation by now.
                if self._task is None:  # pragma: no branch - Python 3.11 has no eager tasks
                    self._task = task
                await asyncio.wait((task,))
        finally:
            if self._timer is not None:  # pragma: no branch - the first step has a deadline
                self._timer.cancel()

    async def _ended(self) -> None:
        await asyncio.wait((self._runner,))

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._deadline_reached)

    def _drop(self) -> None:
        # Once: a second time would disturb the end of the first.
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    async def _converse(self, websocket: AsyncWebSocket) -> None:
        self._take(self._session.connection_made(self._now()))
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(websocket))
            self._task = reader = group.create_task(self._read(websocket))
            await asyncio.wait((reader,))
            writer.cancel()

    async def _breathe(self) -> None:
        await asyncio.sleep(0)

    async def _within(self, seconds: float, awaitable: Awaitable[None]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await awaitable
