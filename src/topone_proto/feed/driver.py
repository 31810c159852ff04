"""A feed as coroutines, the same under every event loop.

Theory. The driver waits only through its ``Runtime`` and talks to a WebSocket only as an
``AsyncWebSocket``. A feed has up to four tasks:

- ``feed`` lives as long as the feed. It calls the session at its deadline, and starts the jobs that
  the session decides on: a token call, or a connection from its dial to its end.
- ``FetchToken`` or ``Connect`` does one job. There is never more than one.
- ``reader`` and ``writer`` live while a WebSocket is open.

Everything that happens is an input of the session, and its step goes through ``_take``, which never
waits: events into the buffer, requests into the outbox, a job to the task ``feed``. Whoever waits
is woken by a condition and looks again.

A ``Close`` cancels a job that has no open WebSocket yet. Once one is open, the job ends reading and
writing instead, and says goodbye itself, since that still needs the WebSocket.

A fault of the program's own (a plug-in or a recorder raises what it should not, a task is cancelled
by others) closes the session. Whoever waits gets the fault; if nobody does, the application's block
is interrupted, for no event would ever come again.
"""

import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any, Self

from topone_proto.errors import ConnectionEnded, ConnectionFailed
from topone_proto.events import Event
from topone_proto.feed.core import FeedCore
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.feed.runtime import Runtime, Task
from topone_proto.feed.waiters import Waiter
from topone_proto.feed.websocket import AsyncWebSocket, OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource, wrapped
from topone_proto.session.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.step import Step
from topone_proto.wire.topic import Topic

__all__ = ["AsyncFeed"]


class AsyncFeed:
    """An open feed: iterate over it for events. Made by an adapter's ``open_feed``.

    Every event is given once, in order. Iterating ends after ``Closed``, which ``close`` or leaving
    the block brings about. It raises ``FeedFailed`` there if the feed ended by itself, because
    trying again cannot help.

    A fault of the program's own (a plug-in raises what it should not, ``record=`` fails) ends the
    feed too: whoever iterates gets the remaining events, ``Closed`` and then the exception as it
    is; every call raises it, and so does leaving the block unless somebody was given it before.
    """

    def __init__(
        self,
        core: FeedCore[AsyncTokenSource],
        open_websocket: OpenAsyncWebSocket,
        runtime: Runtime,
    ) -> None:
        self._core = core
        self._session = core.session
        # The next event for the application; None if there is none now.
        self._next = core.get
        self._open_websocket = open_websocket
        self._runtime = runtime
        self._check_cancelled = runtime.check_cancelled
        self._now = runtime.clock
        # When the task `feed` looks at the deadline again.
        self._armed = math.inf
        # The job to start next; the task of the present one, and if that is to be cancelled.
        self._job: FetchToken | Connect | None = None
        self._job_task: Task | None = None
        self._is_working = self._is_dropped = False
        # The open WebSocket, if it is not used any more, what to send on it, how to close it, and
        # how it ended once sending has found out.
        self._websocket: AsyncWebSocket | None = None
        self._is_over = False
        self._outbox: deque[SendText | SendPing] = deque()
        self._closing: Close | None = None
        self._end: ConnectionEnded | None = None
        # How many tasks of the feed run; how many of them use the WebSocket; how many tasks of the
        # application wait in a call.
        self._tasks = self._users = self._callers = 0
        self._has_failed = False
        self._work_came = runtime.condition()
        self._mail_came = runtime.condition()
        self._events_came = runtime.condition()
        self._room_came = runtime.condition()
        self._task_ended = runtime.condition()
        self._take(self._session.start(self._now()))
        self._spawn(self._run, "feed", self._run_ended)

    # For the application.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._check_cancelled is not None:
            await self._check_cancelled()
        # Other tasks run when there is nothing to hand out.
        while (event := self._next()) is None:
            if self._core.is_over:
                self._core.raise_failure()
                raise StopAsyncIteration
            self._callers += 1
            try:
                await self._events_came.wait()
            finally:
                self._callers -= 1
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

        Returns within ``SessionConfig.close_timeout``. Events that wait can still be taken;
        ``Closed`` is the last of them.

        Raises a fault of the program's own that ended the feed, if nobody was given it before.
        """
        self._callers += 1
        try:
            self._take(self._session.close(self._now()))
            while self._tasks:
                await self._task_ended.wait()
        finally:
            self._callers -= 1
        self._core.raise_unseen_fault()

    def metrics(self) -> FeedMetrics:
        """Return the feed's counters and gauges at this moment. Cheap, and possible at any time."""
        return self._core.metrics(self._now())

    async def _settled(self, waiter: Waiter, step: Step) -> None:
        self._callers += 1
        try:
            self._take(step)
            if waiter.is_settled:
                await self._runtime.checkpoint()
            while not waiter.is_settled:
                await self._events_came.wait()
        finally:
            self._callers -= 1
            # If nobody waits for it any more, reading need not go on for its sake.
            waiter.settle()
            self._pause_or_resume()
        waiter.result()

    # Steps of the session.

    def _take(self, step: Step) -> None:
        """Pass on a step's events, and see to its actions and its deadline. Never waits."""
        core = self._core
        self._carry_out(core.take(step), step.deadline)
        self._pause_or_resume()
        if core.is_closed:
            self._next = core.get
            self._work_came.notify_all()
        elif core.fault is not None:
            self._fail(core.fault)
        self._events_came.notify_all()

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
            self._work_came.notify_all()

    def _drop(self) -> None:
        """End the present job: a token call or a dial at once, a connection by its goodbye."""
        if self._websocket is not None:
            self._is_over = True
            self._task_ended.notify_all()
        else:
            self._is_dropped = True
            if self._job_task is not None:
                self._job_task.cancel()

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
        if not self._callers:
            self._runtime.interrupt()

    # Tasks.

    def _spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[], object],
    ) -> Task:
        def ended(fault: BaseException | None) -> None:
            self._tasks -= 1
            if fault is not None:
                self._fail(fault)
            on_end()
            self._task_ended.notify_all()

        self._tasks += 1
        return self._runtime.spawn(function, name, ended)

    async def _run(self) -> None:
        """Start the jobs, one at a time, and keep the deadline, until the session is closed."""
        if self._has_failed:
            # While it was opened. The application may have asked for events by now, and know.
            await self._runtime.checkpoint()
            if self._core.has_unseen_fault:
                self._runtime.interrupt()
        while not self._core.is_closed:
            if self._job is not None and not self._is_working:
                self._start_job(self._job)
            elif await self._runtime.timeout(self._armed, self._work_came.wait()):
                self._deadline_reached()

    def _run_ended(self) -> None:
        if not self._core.is_closed:
            # It was cancelled. Others may wait for events that nobody would bring.
            self._take(self._session.close(self._now()))

    def _start_job(self, job: FetchToken | Connect) -> None:
        self._job = self._job_task = None
        self._is_working, self._is_dropped = True, False
        task = self._spawn(partial(self._do, job), type(job).__name__, self._job_ended)
        if self._is_dropped:
            # An eager task has come as far as that already.
            task.cancel()
        self._job_task = task

    def _job_ended(self) -> None:
        self._is_working = False
        self._work_came.notify_all()

    def _user_ended(self) -> None:
        self._users -= 1

    def _deadline_reached(self) -> None:
        self._armed = math.inf
        now = self._now()
        self._report_bytes(now)
        self._take(self._session.deadline_reached(now))

    def _report_bytes(self, now: float) -> None:
        """Tell the session of bytes that came and are no whole frame yet, before it judges a
        silence."""
        heard_at: float | None = getattr(self._websocket, "heard_at", None)
        connection = self._session.connection
        if heard_at is None or connection is None or connection.last_received is None:
            return
        if heard_at > connection.last_received:
            self._take(self._session.bytes_received(heard_at, now))

    async def _do(self, job: FetchToken | Connect) -> None:
        if isinstance(job, FetchToken):
            await self._fetch_token()
        else:
            await self._connect(job)

    async def _fetch_token(self) -> None:
        try:
            supplied = await self._ask_for_token()
        except BaseException as error:
            # Whatever the application's callable raises.
            is_stray = self._runtime.is_stray_cancellation(error)
            if not (isinstance(error, Exception) or is_stray):
                raise
            step = self._session.token_failed(type(error).__name__, self._now())
        else:
            step = self._core.token_obtained(supplied, self._now())
        self._take(step)

    async def _ask_for_token(self) -> object:
        """Return what the application's callable supplies."""
        assert self._core.token_source is not None
        supplied = wrapped(self._core.token_source())
        return wrapped(await supplied) if isawaitable(supplied) else supplied

    async def _connect(self, connect: Connect) -> None:
        self._closing = self._end = None
        self._outbox.clear()
        self._is_over = False
        try:
            async with self._open_websocket(connect, self._on_pong) as self._websocket:
                await self._run_connection(self._websocket)
                await self._shake_hands(self._websocket)
        except (ConnectionFailed, OSError) as error:
            if self._websocket is not None:
                raise
            failure = failure_from_exception(error)
            self._take(self._session.connection_failed(failure, self._now()))
        finally:
            self._websocket = None

    async def _run_connection(self, websocket: AsyncWebSocket) -> None:
        """Read and write until the connection has ended, or is given up."""
        self._take(self._session.connection_made(self._now()))
        self._users = 2
        tasks = [
            self._spawn(partial(self._read, websocket), "reader", self._user_ended),
            self._spawn(partial(self._write, websocket), "writer", self._user_ended),
        ]
        try:
            while not self._is_over:
                await self._task_ended.wait()
        finally:
            for task in tasks:
                task.cancel()
        while self._users:
            await self._task_ended.wait()

    async def _shake_hands(self, websocket: AsyncWebSocket) -> None:
        """Close the WebSocket with a closing handshake, if there is to be one and anything can
        still be sent."""
        closing = self._closing
        if closing is not None and closing.timeout and self._end is None:
            deadline = self._now() + closing.timeout
            with suppress(ConnectionEnded):
                await self._runtime.timeout(deadline, websocket.close(closing.code, closing.reason))

    def _on_pong(self, payload: bytes) -> None:
        # The library that calls this should not have to know what a recorder may raise.
        try:
            self._take(self._session.pong_received(payload, self._now()))
        except BaseException as fault:
            self._fail(fault)
            if not isinstance(fault, Exception):
                raise

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
                    await self._runtime.checkpoint()
        except ConnectionEnded as end:
            self._is_over = True
            self._take(self._session.connection_lost(end.code, end.reason, self._now()))

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

    # Back-pressure.

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
        self._callers += 1
        try:
            self._pause_or_resume()
        finally:
            self._callers -= 1
        return event
