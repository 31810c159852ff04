"""The part of a feed that is the same under every event loop.

Coroutines without an event loop: they wait only by what a subclass gives them (a clock, a
``Condition``, tasks), and speak to a WebSocket only by ``AsyncWebSocket``. What opens it, what runs
tasks beside each other and what cancels them is the adapter's.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from inspect import isawaitable
from typing import Protocol, Self

from topone_proto.errors import ConnectionEnded, ConnectionFailed
from topone_proto.events import Event
from topone_proto.feed.core import FeedCore
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.feed.waiters import Waiter
from topone_proto.secrets.token import AsyncTokenSource, wrapped
from topone_proto.session.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.step import Step
from topone_proto.wire.topic import Topic

__all__ = ["AsyncFeed", "AsyncWebSocket", "Condition", "OpenAsyncWebSocket"]


class AsyncWebSocket(Protocol):
    """An open WebSocket. Every method but ``close`` raises ``ConnectionEnded`` once it is no longer
    open.

    It may have an attribute ``heard_at: float | None``: when bytes of the peer came last, be they a
    part of a frame or a control frame, on the feed's clock. With it a large frame on a slow line,
    or a peer that only pings, is not taken for dead.
    """

    async def receive(self) -> str | bytes:
        """The next message, whole. Pings of the peer are answered on the way."""
        ...

    async def send_text(self, text: str) -> None:
        """Send a text message."""
        ...

    async def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return; its pong is reported to the ``on_pong`` of
        ``open_websocket``."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's. The caller bounds the time. Returns or raises
        ``ConnectionEnded`` then."""
        ...


OpenAsyncWebSocket = Callable[
    [Connect, Callable[[bytes], object]], AbstractAsyncContextManager[AsyncWebSocket]
]
"""``open_websocket(connect, on_pong)``: an async context manager that dials as ``connect`` says and
drops the connection at once on leaving. A dial that fails raises ``ConnectionFailed`` or an
``OSError``; ``failure_from_exception`` and ``failure_from_response`` help to make the former. Any
other exception is a fault of the program, and ends the feed with it."""


class Condition(Protocol):
    """A place where tasks wait for news of one kind: they look, and wait if there is none."""

    async def wait(self) -> None:
        """Wait until ``notify_all`` is called."""
        ...

    def notify_all(self) -> None:
        """Wake whoever waits at this moment. Often nobody does: that should cost little."""
        ...


class AsyncFeed(ABC):
    """An open feed: iterate over it for events. Made by an adapter's ``open_feed``.

    Every event is given once, in order. Iterating ends behind ``Closed``, and raises ``FeedFailed``
    there if the feed ended by itself.

    A fault of the program's own (a plug-in raises what it should not, ``record=`` fails) ends the
    feed too: whoever iterates gets the remaining events, ``Closed`` and then the exception as it
    is; every call raises it, and so does leaving the block unless somebody was given it before.
    ``_read``, ``_write``, ``_do``, ``_on_pong`` and ``_deadline_reached`` report an ``Exception``
    to ``_fail`` themselves. What is no ``Exception`` passes through them.

    A subclass supplies the abstract methods, makes the session start, by
    ``self._take(self._session.start(self._now()))``, and sees to two things until it is closed:

    - a task runs ``_do`` for each job of ``_next_job``, one at a time, until that is None. If the
      task ends in another way, by a cancellation or a ``KeyboardInterrupt``, it calls ``_fail`` or
      closes the session, so that nobody waits for a feed that has nobody to run it;
    - ``_deadline_reached`` is called when ``_armed`` has come. ``_armed`` is a time of the clock,
      infinity for never, and may be another one after the call: look again. ``_arm`` is called
      whenever it has become earlier.

    If nobody waits in a call of the feed when it fails, ``_interrupt`` ends the application's block
    where that is possible: no event would ever come again.

    ``_run_connection`` tells the session that the connection is made, and runs ``_read`` and
    ``_write``. Both return when the connection has ended. ``_drop`` may be called by the very task
    that it is to cancel, from within ``_take``: where cancelling oneself is not possible, put it
    off to the next turn of the loop. ``__anext__`` does not suspend while events wait: other tasks
    have no turn meanwhile, unless the subclass gives them one.
    """

    def __init__(
        self,
        core: FeedCore[AsyncTokenSource],
        open_websocket: OpenAsyncWebSocket,
        *,
        make_condition: Callable[[], Condition],
        clock: Callable[[], float],
    ) -> None:
        self._core = core
        self._session = core.session
        # The next event for the application; None if there is none now.
        self._next = core.get
        self._open_websocket = open_websocket
        self._now = clock
        # The token call or the dial to do next, what to send on the open connection, how to end it.
        self._job: FetchToken | Connect | None = None
        self._outbox: deque[SendText | SendPing] = deque()
        self._closing: Close | None = None
        # When the adapter is going to call `_deadline_reached`.
        self._armed = math.inf
        # How the open connection ended, once sending has found out.
        self._end: ConnectionEnded | None = None
        # The open WebSocket, to ask when bytes came last.
        self._current_websocket: AsyncWebSocket | None = None
        # How many tasks of the application wait for an event, an acknowledgement or the end.
        self._waiters = 0
        self._has_failed = False
        self._work_came = make_condition()
        self._mail_came = make_condition()
        self._events_came = make_condition()
        self._room_came = make_condition()

    # For the application.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        # Other tasks run when there is nothing to hand out.
        while (event := self._next()) is None:
            if self._core.is_over:
                self._core.raise_failure()
                raise StopAsyncIteration
            self._waiters += 1
            try:
                await self._events_came.wait()
            finally:
                self._waiters -= 1
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
            LocalProtocolError: another call wanted the opposite first.
            TooManyEvents: the answer is behind more events than the feed may hold.
        """
        await self._settled(*self._core.subscribe(topic, self._now()))

    async def unsubscribe(self, topic: Topic) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if unconnected.

        Raises:
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first.
            TooManyEvents: the answer is behind more events than the feed may hold.
        """
        await self._settled(*self._core.unsubscribe(topic, self._now()))

    async def close(self) -> None:
        """End the feed. Idempotent, possible at any time.

        Done within ``SessionConfig.close_timeout``. Events that wait can still be taken; ``Closed``
        is the last of them.

        Raises a fault of the program's own that ended the feed, if nobody was given it before.
        """
        self._waiters += 1
        try:
            self._take(self._session.close(self._now()))
            await self._ended()
        finally:
            self._waiters -= 1
        self._core.raise_unseen_fault()

    def metrics(self) -> FeedMetrics:
        """What there is to watch, at this moment. Cheap, and possible at any time."""
        return self._core.metrics(self._now())

    # For the adapter to supply.

    @abstractmethod
    async def _ended(self) -> None:
        """Wait until nothing of the feed runs any more."""

    @abstractmethod
    def _arm(self, deadline: float) -> None:
        """See to it that ``_deadline_reached`` is called at this time, instead of a later one."""

    @abstractmethod
    def _drop(self) -> None:
        """Cancel what ``_do`` is doing; once a WebSocket is open, only its ``_run_connection``."""

    def _interrupt(self) -> None:  # noqa: B027 - optional
        """Cancel the application's block, since the feed has failed and the application waits for
        something else. Does nothing where that is not possible."""

    @abstractmethod
    async def _run_connection(self, websocket: AsyncWebSocket) -> None:
        """Run ``_write`` in a task beside ``_read``, until that returns or ``_drop`` is called."""

    @abstractmethod
    async def _checkpoint(self) -> None:
        """Let other tasks run: a WebSocket may hand over what it has buffered without waiting."""

    @abstractmethod
    async def _within(self, seconds: float, awaitable: Awaitable[None]) -> None:
        """Await something, and cancel it after so many seconds."""

    # For the adapter to call.

    def _take(self, step: Step) -> None:
        """Hand a step's events on, see to its actions and its deadline. Never waits."""
        core = self._core
        self._carry_out(core.take(step), step.deadline)
        self._pause_or_resume()
        if core.is_closed:
            self._next = core.get
            self._work_came.notify_all()
        elif core.fault is not None:
            self._fail(core.fault)
        self._events_came.notify_all()

    def _fail(self, fault: BaseException) -> None:
        """End the feed with a fault of the program's own: whoever waits gets it. The first one
        counts."""
        core = self._core
        core.fail(fault)
        if self._has_failed:
            return
        self._has_failed = True
        if not core.is_closed:
            self._take(self._session.close(self._now()))
        self._events_came.notify_all()
        if not self._waiters:
            self._interrupt()

    def _deadline_reached(self) -> None:
        self._armed = math.inf
        try:
            now = self._now()
            self._report_bytes(now)
            self._take(self._session.deadline_reached(now))
        except BaseException as fault:
            self._fail(fault)
            if not isinstance(fault, Exception):
                raise

    async def _begin(self) -> None:
        """End the block of a feed that has failed while it was opened, unless the application has
        asked for events by now, and knows. For the task that does the jobs, first of all."""
        if self._has_failed:
            await self._checkpoint()
            if self._core.has_unseen_fault:
                self._interrupt()

    async def _next_job(self) -> FetchToken | Connect | None:
        """What to ``_do`` next, one thing at a time; None once the session is closed."""
        while self._job is None:
            if self._core.is_closed:
                return None
            await self._work_came.wait()
        job, self._job = self._job, None
        return job

    async def _do(self, job: FetchToken | Connect) -> None:
        """A token call, or a connection from its dial to its end."""
        try:
            match job:
                case FetchToken():
                    await self._fetch_token()
                case Connect():  # pragma: no branch - there is no other
                    await self._connect(job)
        except Exception as fault:  # noqa: BLE001 - whatever a plug-in raises
            self._fail(fault)

    async def _read(self, websocket: AsyncWebSocket) -> None:
        core, now, receive = self._core, self._now, websocket.receive
        message_received, take_update = self._session.message_received, core.take_update
        notify_all = self._events_came.notify_all
        try:
            while True:
                if core.is_paused:
                    await self._wait_for_room()
                for _ in range(core.room(len(self._outbox))):
                    frame = await receive()
                    step = message_received(frame, now())
                    if take_update(step):
                        notify_all()
                    else:
                        self._take(step)
                        if core.is_paused:
                            break
                self._pause_or_resume()
                if not core.is_paused:
                    await self._checkpoint()
        except ConnectionEnded as end:
            self._take(self._session.connection_lost(end.code, end.reason, self._now()))
        except Exception as fault:  # noqa: BLE001 - whatever a plug-in raises
            self._fail(fault)

    async def _write(self, websocket: AsyncWebSocket) -> None:
        try:
            while True:
                while self._outbox:
                    match self._outbox.popleft():
                        case SendText(text=text):
                            await websocket.send_text(text)
                        case SendPing(payload=payload):  # pragma: no branch - there is no other
                            await websocket.send_ping(payload)
                await self._mail_came.wait()
        except ConnectionEnded as end:
            # The reader finds the same behind what was received before, and reports it.
            self._end = end
            self._room_came.notify_all()
        except Exception as fault:  # noqa: BLE001 - whatever a plug-in raises
            self._fail(fault)

    # The rest is nobody else's business.

    async def _settled(self, waiter: Waiter, step: Step) -> None:
        self._waiters += 1
        try:
            self._take(step)
            if waiter.is_settled:
                await self._checkpoint()
            while not waiter.is_settled:
                await self._events_came.wait()
        finally:
            self._waiters -= 1
            # If nobody waits for it any more, reading need not go on for its sake.
            waiter.settle()
            self._pause_or_resume()
        waiter.result()

    async def _fetch_token(self) -> None:
        try:
            supplied = await self._ask_for_token()
        except Exception as error:  # noqa: BLE001 - whatever the application's callable raises
            step = self._session.token_failed(type(error).__name__, self._now())
        else:
            step = self._core.token_obtained(supplied, self._now())
        self._take(step)

    async def _ask_for_token(self) -> object:
        """What the application's callable supplies."""
        assert self._core.token_source is not None
        supplied = wrapped(self._core.token_source())
        return wrapped(await supplied) if isawaitable(supplied) else supplied

    async def _connect(self, connect: Connect) -> None:
        is_open = False
        self._closing = self._end = None
        self._outbox.clear()
        try:
            async with self._open_websocket(connect, self._on_pong) as websocket:
                is_open = True
                self._current_websocket = websocket
                await self._run_connection(websocket)
                await self._shake_hands(websocket)
        except (ConnectionFailed, OSError) as error:
            if is_open:
                raise
            failure = failure_from_exception(error)
            self._take(self._session.connection_failed(failure, self._now()))
        finally:
            self._current_websocket = None

    async def _shake_hands(self, websocket: AsyncWebSocket) -> None:
        """The closing handshake, if there is to be one and anything can still be sent."""
        closing = self._closing
        if closing is not None and closing.timeout and self._end is None:
            with suppress(ConnectionEnded):
                await self._within(closing.timeout, websocket.close(closing.code, closing.reason))

    def _on_pong(self, payload: bytes) -> None:
        # The library that calls this should not have to know what a recorder may raise.
        try:
            self._take(self._session.pong_received(payload, self._now()))
        except BaseException as fault:
            self._fail(fault)
            if not isinstance(fault, Exception):
                raise

    def _carry_out(self, actions: tuple[Action, ...], deadline: float | None) -> None:
        for action in actions:
            match action:
                case FetchToken() | Connect():
                    self._job = action
                    self._work_came.notify_all()
                case SendText() | SendPing():
                    self._outbox.append(action)
                    self._mail_came.notify_all()
                case Close():  # pragma: no branch - there is no other
                    self._closing = action
                    self._job = None
                    self._drop()
        if deadline is not None and deadline < self._armed:
            self._armed = deadline
            self._arm(deadline)

    def _report_bytes(self, now: float) -> None:
        """Tell the session of bytes that came and are no whole frame yet, before it judges a
        silence."""
        heard_at: float | None = getattr(self._current_websocket, "heard_at", None)
        connection = self._session.connection
        if heard_at is None or connection is None or connection.last_received is None:
            return
        if heard_at > connection.last_received:
            self._take(self._session.bytes_received(heard_at, now))

    def _pause_or_resume(self) -> None:
        step = self._core.pause_or_resume(self._now())
        if step is not None:
            self._next = self._next_making_room if self._core.is_paused else self._core.get
            self._room_came.notify_all()
            self._take(step)

    async def _wait_for_room(self) -> None:
        while self._core.is_paused:
            if self._end is not None:
                # There is no room for what was received before it, so that is lost.
                raise self._end
            await self._room_came.wait()

    def _next_making_room(self) -> Event | None:
        event = self._core.get()
        self._waiters += 1
        try:
            self._pause_or_resume()
        finally:
            self._waiters -= 1
        return event
