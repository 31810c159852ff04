"""The trio adapter: one task carries out what the session decides, one watches its deadline. No
protocol here."""

import math
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from inspect import isawaitable
from typing import Self

import trio

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
from topone_trio._websocket import OpenWebSocket, WebSocket
from topone_trio._websocket import open_websocket as _open_websocket

__all__ = ["Feed", "open_feed"]

TokenSource = Callable[[], str | Token | Awaitable[str | Token]]


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
    feed = Feed(core, open_websocket or partial(_open_websocket, ssl_context=ssl_context))
    return feed._running()  # noqa: SLF001 - made right here


class Feed:
    """An open feed: iterate over it for events. Made by ``open_feed``."""

    def __init__(self, core: FeedCore[TokenSource], open_websocket: OpenWebSocket) -> None:
        self._core = core
        self._session = core.session
        self._open_websocket = open_websocket
        # The token call or the dial to do next, and what to send on the open connection.
        self._job: FetchToken | Connect | None = None
        self._outbox: deque[SendText | SendPing] = deque()
        self._close: Close | None = None
        self._scope = trio.CancelScope()
        self._armed = math.inf
        self._finished = trio.Event()
        # Where tasks wait for news of one kind each: they look, and park if there is none.
        self._job_came = trio.lowlevel.ParkingLot()
        self._mail_came = trio.lowlevel.ParkingLot()
        self._deadline_moved = trio.lowlevel.ParkingLot()
        self._events_came = trio.lowlevel.ParkingLot()
        self._room_came = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Self]:
        error: BaseException | None = None
        self._take(self._session.start(trio.current_time()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run)
            try:
                yield self
            except BaseException as raised:  # noqa: BLE001 - raised below, in no ExceptionGroup
                error = raised
            with trio.CancelScope(shield=True):
                await self.close()
            nursery.cancel_scope.cancel()
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle of the exception and this frame

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        # Cancellation is noticed with every event; other tasks run when there is nothing to hand
        # out.
        await trio.lowlevel.checkpoint_if_cancelled()
        while (event := self._core.get()) is None:
            if self._core.is_over:
                self._core.raise_failure()
                raise StopAsyncIteration
            await self._events_came.park()
        if self._room_came and self._core.may_resume:
            self._room_came.unpark_all()
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
        await self._settled(*self._core.subscribe(topic, trio.current_time()))

    async def unsubscribe(self, topic: Topic) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if there is no
        connection.

        Raises:
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or too many events wait to
                be taken.
        """
        await self._settled(*self._core.unsubscribe(topic, trio.current_time()))

    async def close(self) -> None:
        """End the feed. Idempotent, possible at any time, done within
        ``SessionConfig.close_timeout``.

        Events that wait can still be taken; ``Closed`` is the last of them.
        """
        self._take(self._session.close(trio.current_time()))
        await self._finished.wait()

    async def _settled(self, ticket: Ticket, step: Step) -> None:
        self._take(step)
        self._room_came.unpark_all()
        try:
            while not ticket.is_settled:
                await self._events_came.park()
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
                    self._outbox.append(action)
                    self._mail_came.unpark_all()
                case Close():
                    self._close = action
                    self._job = None
                    self._scope.cancel()
        if step.deadline is not None and step.deadline < self._armed:
            self._deadline_moved.unpark_all()
        if self._job is not None or self._core.is_closed:
            self._job_came.unpark_all()
        if self._events_came:
            self._events_came.unpark_all()

    async def _run(self) -> None:
        """One thing at a time: a token call or a connection from dial to end, until the session is
        closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_deadline)
                while not self._core.is_closed:
                    job, self._job = self._job, None
                    with trio.CancelScope() as self._scope:
                        match job:
                            case FetchToken():
                                await self._fetch_token()
                            case Connect():
                                await self._connect(job)
                            case None:
                                await self._job_came.park()
                nursery.cancel_scope.cancel()
        finally:
            self._finished.set()

    async def _watch_deadline(self) -> None:
        while True:
            deadline = self._core.deadline
            self._armed = math.inf if deadline is None else deadline
            with trio.move_on_at(self._armed):
                await self._deadline_moved.park()
                continue
            self._take(self._session.deadline_reached(trio.current_time()))

    async def _fetch_token(self) -> None:
        assert self._core.token_source is not None
        try:
            supplied = self._core.token_source()
            if isawaitable(supplied):
                supplied = await supplied
        except Exception as error:  # noqa: BLE001 - whatever the application's callable raises
            step = self._session.token_failed(type(error).__name__, trio.current_time())
        else:
            step = self._core.token_obtained(supplied, trio.current_time())
        self._take(step)

    async def _connect(self, connect: Connect) -> None:
        is_open = False
        self._close = None
        self._outbox.clear()
        try:
            async with self._open_websocket(connect, self._on_pong) as websocket:
                is_open = True
                # From here on a Close ends the conversation, and the connection afterwards.
                with trio.CancelScope() as self._scope:
                    self._take(self._session.connection_made(trio.current_time()))
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._write, websocket)
                        await self._read(websocket)
                        nursery.cancel_scope.cancel()
                await self._part(websocket)
        except Exception as error:
            if is_open:
                raise
            failure = failure_from_exception(error)
            self._take(self._session.connection_failed(failure, trio.current_time()))

    def _on_pong(self, payload: bytes) -> None:
        self._take(self._session.pong_received(payload, trio.current_time()))

    async def _read(self, websocket: WebSocket) -> None:
        try:
            while True:
                if self._core.must_pause:
                    await self._wait_for_room()
                self._core.require_flow(len(self._outbox))
                frame = await websocket.receive()
                self._take(self._session.message_received(frame, trio.current_time()))
        except ConnectionEnded as end:
            self._take(self._session.connection_lost(end.code, end.reason, trio.current_time()))

    async def _wait_for_room(self) -> None:
        self._take(self._session.reading_paused(trio.current_time()))
        try:
            while not self._core.may_resume:
                await self._room_came.park()
        finally:
            self._take(self._session.reading_resumed(trio.current_time()))

    async def _write(self, websocket: WebSocket) -> None:
        try:
            while True:
                while self._outbox:
                    match self._outbox.popleft():
                        case SendText(text=text):
                            await websocket.send_text(text)
                        case SendPing(payload=payload):
                            await websocket.send_ping(payload)
                await self._mail_came.park()
        except ConnectionEnded:
            # The reader finds the same, and reports it.
            return

    async def _part(self, websocket: WebSocket) -> None:
        """The closing handshake, if the session asked for one."""
        if self._close is None or not self._close.timeout:
            return
        with trio.move_on_after(self._close.timeout), suppress(ConnectionEnded):
            await websocket.close(self._close.code, self._close.reason)
