"""The asyncio adapter: a task carries out what the session decides, a timer minds its deadline.

No protocol here.
"""

import asyncio
import math
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from inspect import isawaitable
from itertools import count
from typing import Self

from topone_asyncio._websocket import OpenWebSocket, WebSocket
from topone_asyncio._websocket import open_websocket as _open_websocket
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    Close,
    Connect,
    ConnectionEnded,
    Event,
    FeedCore,
    FetchToken,
    SendPing,
    SendText,
    SessionConfig,
    Step,
    Ticket,
    Token,
    Topic,
    conceal,
    failure_from_exception,
)

__all__ = ["Feed", "open_feed"]

TokenSource = Callable[[], str | Token | Awaitable[str | Token]]

# After so many frames the reader lets other tasks run: `receive` does not suspend while frames are
# buffered.
_FRAMES_PER_TURN = 64


def open_feed(
    *,
    token: str | Token | TokenSource,
    url: str = DEFAULT_URL,
    topics: Iterable[Topic] = (BALANCE, ORDERS),
    config: SessionConfig | None = None,
    origin: str | None = None,
    insecure: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    open_websocket: OpenWebSocket | None = None,
) -> AbstractAsyncContextManager["Feed"]:
    """A feed of the account's updates, open for the length of an ``async with`` block.

    Args:
        token: the API token, or a callable, async or not, that is asked for one before every dial.
        url: where to dial, without the token.
        topics: what to subscribe to from the start.
        config: timeouts, limits, back-off and delivery.
        origin: the ``Origin`` header: None leaves it out, ``""`` sends it empty.
        insecure: True allows plain ``ws://`` to other machines.
        ssl_context: for a private CA; the default checks certificates against the system's.
        open_websocket: another WebSocket library, or none at all; see ``OpenWebSocket``.

    Raises:
        ConfigurationError: the token, the URL or the origin cannot be used.
    """
    token, url = conceal(token, url)
    core = FeedCore(
        token=token,
        url=url,
        topics=topics,
        config=config,
        origin=origin,
        insecure=insecure,
        jitter=random.random,
    )
    return _running(core, open_websocket or partial(_open_websocket, ssl_context=ssl_context))


@asynccontextmanager
async def _running(
    core: FeedCore[TokenSource], open_websocket: OpenWebSocket
) -> AsyncGenerator["Feed", None]:
    error: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        feed = Feed(core, open_websocket, group)
        try:
            yield feed
        except BaseException as raised:  # noqa: BLE001 - raised below, in no ExceptionGroup
            error = raised
        # A cancellation meanwhile reaches the group's tasks, and drops the connection at once.
        await feed.close()
    if error is not None:
        try:
            raise error
        finally:
            del error  # no cycle of the exception and this frame


class Feed:
    """An open feed: iterate over it for events. Made by ``open_feed``."""

    def __init__(
        self,
        core: FeedCore[TokenSource],
        open_websocket: OpenWebSocket,
        group: asyncio.TaskGroup,
    ) -> None:
        self._core = core
        self._session = core.session
        self._open_websocket = open_websocket
        self._group = group
        self._loop = asyncio.get_running_loop()
        # The token call or the dial to do next, the task of the present one, what to send on its
        # connection, and how to end that.
        self._job: FetchToken | Connect | None = None
        self._task: asyncio.Task[None] | None = None
        self._outbox: asyncio.Queue[SendText | SendPing] = asyncio.Queue()
        self._close: Close | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf
        self._is_paused = False
        # Where tasks wait for news of one kind each: they look, and wait if there is none.
        self._job_came = asyncio.Event()
        self._events_came = asyncio.Event()
        self._room_came = asyncio.Event()
        self._take(self._session.start(self._loop.time()))
        self._runner = group.create_task(self._run())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        # Other tasks run, and cancellation is noticed, when there is nothing to hand out.
        while (event := self._core.get()) is None:
            if self._core.is_over:
                self._core.raise_failure()
                raise StopAsyncIteration
            await self._events_came.wait()
        if self._is_paused and self._core.may_resume:
            _wake(self._room_came)
        return event

    async def subscribe(self, topic: Topic) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        While there is no connection this waits for one; cancel it to wait no longer. The topic
        stays desired then.

        Raises:
            SubscriptionRejected: the exchange refused.
            RequestTimedOut: no acknowledgement in time; the feed connects again and asks again.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or too many events wait to
                be taken.
        """
        await self._settled(*self._core.subscribe(topic, self._loop.time()))

    async def unsubscribe(self, topic: Topic) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if unconnected.

        Raises:
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or too many events wait to
                be taken.
        """
        await self._settled(*self._core.unsubscribe(topic, self._loop.time()))

    async def close(self) -> None:
        """End the feed. Idempotent, possible at any time.

        Done within ``SessionConfig.close_timeout``. Events that wait can still be taken; ``Closed``
        is the last of them.
        """
        self._take(self._session.close(self._loop.time()))
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.wait((self._runner,))

    async def _settled(self, ticket: Ticket, step: Step) -> None:
        self._take(step)
        _wake(self._room_came)
        try:
            while not ticket.is_settled:
                await self._events_came.wait()
        finally:
            # If nobody waits for it any more, reading need not go on for its sake.
            ticket.settle()
        ticket.result()

    def _take(self, step: Step) -> None:
        """Hand a step's events on, see to its actions and its deadline. Never waits."""
        for action in self._core.take(step):
            match action:
                case FetchToken() | Connect():
                    self._job = action
                case SendText() | SendPing():
                    self._outbox.put_nowait(action)
                case Close():
                    self._close = action
                    self._job = None
                    # Once: the second time would disturb the end of the first.
                    if self._task is not None and not self._task.cancelling():
                        self._task.cancel()
        if step.deadline is not None and step.deadline < self._armed:
            self._arm(step.deadline)
        if self._job is not None or self._core.is_closed:
            _wake(self._job_came)
        _wake(self._events_came)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._loop.call_at(deadline, self._deadline_reached)

    def _deadline_reached(self) -> None:
        self._armed = math.inf
        self._take(self._session.deadline_reached(self._loop.time()))

    async def _run(self) -> None:
        """One thing at a time: a token call, or a connection from its dial to its end."""
        while not self._core.is_closed:
            job, self._job = self._job, None
            match job:
                case FetchToken():
                    self._task = self._group.create_task(self._fetch_token())
                case Connect():
                    self._task = self._group.create_task(self._connect(job))
                case None:
                    await self._job_came.wait()
                    continue
            await asyncio.wait((self._task,))

    async def _fetch_token(self) -> None:
        assert self._core.token_source is not None
        try:
            supplied = self._core.token_source()
            if isawaitable(supplied):
                supplied = await supplied
        except Exception as error:  # noqa: BLE001 - whatever the application's callable raises
            step = self._session.token_failed(type(error).__name__, self._loop.time())
        else:
            step = self._core.token_obtained(supplied, self._loop.time())
        self._take(step)

    async def _connect(self, connect: Connect) -> None:
        is_open = False
        self._close = None
        self._outbox = asyncio.Queue()
        try:
            async with self._open_websocket(connect, self._on_pong) as websocket:
                is_open = True
                self._take(self._session.connection_made(self._loop.time()))
                try:
                    async with asyncio.TaskGroup() as group:
                        writer = group.create_task(self._write(websocket))
                        await self._read(websocket)
                        writer.cancel()
                finally:
                    await self._part(websocket)
        except Exception as error:
            if is_open:
                raise
            failure = failure_from_exception(error)
            self._take(self._session.connection_failed(failure, self._loop.time()))

    def _on_pong(self, payload: bytes) -> None:
        self._take(self._session.pong_received(payload, self._loop.time()))

    async def _read(self, websocket: WebSocket) -> None:
        try:
            for number in count(1):
                if self._core.must_pause:
                    await self._wait_for_room()
                self._core.require_flow(self._outbox.qsize())
                frame = await websocket.receive()
                self._take(self._session.message_received(frame, self._loop.time()))
                if number % _FRAMES_PER_TURN == 0:
                    await asyncio.sleep(0)
        except ConnectionEnded as end:
            self._take(self._session.connection_lost(end.code, end.reason, self._loop.time()))

    async def _wait_for_room(self) -> None:
        self._take(self._session.reading_paused(self._loop.time()))
        self._is_paused = True
        try:
            while not self._core.may_resume:
                await self._room_came.wait()
        finally:
            self._is_paused = False
            self._take(self._session.reading_resumed(self._loop.time()))

    async def _write(self, websocket: WebSocket) -> None:
        try:
            while True:
                match await self._outbox.get():
                    case SendText(text=text):
                        await websocket.send_text(text)
                    case SendPing(payload=payload):
                        await websocket.send_ping(payload)
        except ConnectionEnded:
            # The reader finds the same, and reports it.
            return

    async def _part(self, websocket: WebSocket) -> None:
        """The closing handshake, if the session asked for one."""
        if self._close is None or not self._close.timeout:
            return
        with suppress(ConnectionEnded, TimeoutError):
            async with asyncio.timeout(self._close.timeout):
                await websocket.close(self._close.code, self._close.reason)


def _wake(event: asyncio.Event) -> None:
    """Wake the tasks that wait at this moment."""
    event.set()
    event.clear()
