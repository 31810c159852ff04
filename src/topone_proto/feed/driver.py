"""The coroutines that carry out what a feed's core decides, the same under every event loop.

Theory. The driver waits only through its ``Runtime`` and talks to a WebSocket only as an
``AsyncWebSocket`` or a ``PushingWebSocket``. A feed has up to four tasks:

- ``feed`` lives as long as the feed. It calls the machine at its deadline, and starts the jobs that
  it decides on: a token call, or a connection from its dial to its end.
- ``FetchToken`` or ``Connect`` does one job. There is never more than one.
- ``reader`` and ``writer`` live while a WebSocket is open. If the WebSocket pushes its frames, they
  are taken in the call that pushes them, and the reader has only what there was no room for.

Everything that happens is an input of the machine, and its step goes through ``take``, which never
waits: events into the buffer, requests into the outbox, a job to the task ``feed``. Whoever waits
is woken by a condition and looks again.

A ``Close`` cancels a job that has no open WebSocket yet. Once one is open, the job ends reading and
writing instead, and goes on to the closing handshake, which still needs the WebSocket.

A fault of the program (a plug-in or a recorder raises what it should not, a task is cancelled
by others) closes the session. Whoever waits gets the fault; if nobody does, the application's block
is interrupted, for no event would ever come again.
"""

import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from topone_proto.account import AccountStep
from topone_proto.errors import ConnectionEnded, ConnectionFailed
from topone_proto.feed.base import BaseCore
from topone_proto.feed.receiver import Receiver
from topone_proto.feed.runtime import Condition, Runtime, Task
from topone_proto.feed.websocket import AsyncWebSocket, OpenAsyncWebSocket, PushingWebSocket
from topone_proto.secrets.token import AsyncTokenSource, Token, call_source, wrapped
from topone_proto.session.actions import Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.step import Step

if TYPE_CHECKING:
    from topone_proto.feed.machine import Machine
    from topone_proto.session.session import Session

__all__ = ["Driver"]


class Driver:
    """The coroutines of one feed, which carry out what its core decides.

    Args:
        core: the feed without its I/O.
        open_websocket: opens the WebSocket of each connection.
        runtime: the event loop.
    """

    def __init__(
        self,
        core: BaseCore[AsyncTokenSource, Any, Any],
        open_websocket: OpenAsyncWebSocket,
        runtime: Runtime,
    ) -> None:
        self.core = core
        self.machine: Machine[Any] = core.machine
        self.session: Session = core.session
        self.runtime = runtime
        self.now: Callable[[], float] = runtime.clock
        self.next: Callable[[], Any] = core.get
        """The next event for the application; None if there is none now."""
        self.callers: int = 0
        """The number of the application's tasks that wait in a call."""
        self.tasks: int = 0
        """The number of the feed's tasks that run."""
        self.events_came: Condition = runtime.condition()
        self.task_ended: Condition = runtime.condition()
        self._open_websocket = open_websocket
        self._has_failed = False
        # When the task `feed` looks at the deadline again.
        self._armed = math.inf
        # The job to start next; the task of the present one, and if that is to be cancelled.
        self._job: FetchToken | Connect | None = None
        self._job_task: Task | None = None
        self._is_working = self._is_dropped = False
        self._work_came = runtime.condition()
        self._dials = 0
        # The open WebSocket, how many tasks use it, and if they are to stop.
        self._websocket: AsyncWebSocket | PushingWebSocket | None = None
        self._users = 0
        self._is_over = False
        # What to send on it, how to close it, and how it ended once sending has found out.
        self._outbox: deque[SendText | SendPing] = deque()
        self._mail_came = runtime.condition()
        self._closing: Close | None = None
        self._end: ConnectionEnded | None = None
        self._room_came = runtime.condition()
        self.take(self.machine.start(self.now()))
        self._spawn(self._run, "feed", self._run_ended)

    # Steps of the machine.

    def take(self, step: Step | AccountStep) -> None:
        """Pass on a step's events, and see to its actions and its deadline. Never waits."""
        core = self.core
        self._carry_out(core.take(step), step.deadline)
        self.pause_or_resume()
        if core.is_closed:
            self.next = core.get
            self._work_came.notify_all()
        elif core.fault is not None:
            self.fail(core.fault)
        self.events_came.notify_all()

    def _carry_out(self, actions: Iterable[Any], deadline: float | None) -> None:
        for action in actions:
            match action:
                case FetchToken() | Connect():
                    self._job = action
                    self._work_came.notify_all()
                case SendText() | SendPing():
                    self._outbox.append(action)
                    self._mail_came.notify_all()
                case Close():
                    self._closing = action
                    self._job = None
                    self._drop()
                case _:
                    self._begin(action)
        if deadline is not None and deadline < self._armed:
            self._armed = deadline
            self._work_came.notify_all()

    def _begin(self, action: object) -> None:
        """Carry out an action that a session alone has not."""
        raise AssertionError(action)

    def _drop(self) -> None:
        """End the present job: a connection with a closing handshake, anything else at once."""
        if self._websocket is not None:
            self._is_over = True
            self.task_ended.notify_all()
        else:
            self._is_dropped = True
            if self._job_task is not None:
                self._job_task.cancel()

    def fail(self, fault: BaseException) -> None:
        """End the feed with a fault of the program: whoever waits gets it. The first one
        counts."""
        core = self.core
        core.fail(fault)
        if self._has_failed:
            return
        self._has_failed = True
        if not core.is_closed:
            self.take(self.machine.close(self.now()))
        self.events_came.notify_all()
        if not self.callers:
            self.runtime.interrupt()

    # Tasks.

    def _spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[], object],
    ) -> Task:
        def ended(fault: BaseException | None) -> None:
            self.tasks -= 1
            if fault is not None:
                self.fail(fault)
            on_end()
            self.task_ended.notify_all()

        self.tasks += 1
        return self.runtime.spawn(function, name, ended)

    async def _run(self) -> None:
        """Start the jobs, one at a time, and keep the deadline, until the session is closed."""
        if self._has_failed:
            # It failed while it was opened. The application may have learnt of it by now.
            await self.runtime.checkpoint()
            if self.core.has_unseen_fault:
                self.runtime.interrupt()
        while not self.core.is_closed:
            if self._job is not None and not self._is_working:
                self._start_job(self._job)
            elif await self.runtime.timeout(self._armed, self._work_came.wait()):
                self._deadline_reached()

    def _run_ended(self) -> None:
        if not self.core.is_closed:
            # The task was cancelled, and no more events would come for those that wait.
            self.take(self.machine.close(self.now()))

    def _start_job(self, job: FetchToken | Connect) -> None:
        self._job = self._job_task = None
        self._is_working, self._is_dropped = True, False
        task = self._spawn(partial(self._do, job), type(job).__name__, self._job_ended)
        if self._is_dropped:
            # An eager task runs in the call that starts it.
            task.cancel()
        self._job_task = task

    def _job_ended(self) -> None:
        self._is_working = False
        self._work_came.notify_all()

    def _user_ended(self) -> None:
        self._users -= 1

    def _deadline_reached(self) -> None:
        self._armed = math.inf
        now = self.now()
        self._report_bytes(now)
        self.take(self.machine.deadline_reached(now))

    def _report_bytes(self, now: float) -> None:
        """Tell the session of bytes that came and are no whole frame yet, before it judges the
        silence."""
        heard_at: float | None = getattr(self._websocket, "heard_at", None)
        connection = self.session.connection
        if heard_at is None or connection is None or connection.last_received is None:
            return
        if heard_at > connection.last_received:
            self.take(self.machine.bytes_received(heard_at, now))

    async def _do(self, job: FetchToken | Connect) -> None:
        if isinstance(job, FetchToken):
            await self._fetch_token()
        else:
            await self._connect(job)

    async def _fetch_token(self) -> None:
        try:
            supplied = await self._ask_for_token(self.core.refused_token)
        except BaseException as error:
            # Whatever the application's callable raises.
            is_stray = self.runtime.is_stray_cancellation(error)
            if not (isinstance(error, Exception) or is_stray):
                raise
            if not self._is_dropped:
                self.take(self.machine.token_failed(type(error).__name__, self.now()))
            return
        # A callable that was cancelled may return all the same: nobody waits for this token.
        if not self._is_dropped:
            self.take(self.core.token_obtained(supplied, self.now()))

    async def _ask_for_token(self, refused: Token | None) -> object:
        """Return what the application's callable supplies."""
        assert self.core.token_source is not None
        supplied = wrapped(call_source(self.core.token_source, refused))
        return wrapped(await supplied) if isawaitable(supplied) else supplied

    async def _connect(self, connect: Connect) -> None:
        self._closing = self._end = None
        self._outbox.clear()
        self._is_over = False
        self._dials += 1
        on_pong = partial(self._on_pong, self._dials)
        try:
            async with self._open_websocket(connect, on_pong) as self._websocket:
                if self._is_dropped:
                    # The dial was cancelled, and has succeeded all the same: nobody waits for it.
                    return
                await self._run_connection(self._websocket)
                await self._shake_hands(self._websocket)
        except (ConnectionFailed, OSError) as error:
            if self._websocket is not None:
                raise
            if not self._is_dropped:
                failure = failure_from_exception(error)
                self.take(self.machine.connection_failed(failure, self.now()))
        finally:
            self._websocket = None

    async def _run_connection(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
        """Read and write until the connection has ended, or is given up."""
        self.take(self.machine.connection_made(self.now()))
        self._users = 2
        tasks = [
            self._spawn(partial(self._read, websocket), "reader", self._user_ended),
            self._spawn(partial(self._write, websocket), "writer", self._user_ended),
        ]
        try:
            while not self._is_over:
                await self.task_ended.wait()
        finally:
            for task in tasks:
                task.cancel()
        while self._users:
            await self.task_ended.wait()

    async def _shake_hands(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
        """Close the WebSocket with a closing handshake, if there is to be one and anything can
        still be sent."""
        closing = self._closing
        if closing is not None and closing.timeout and self._end is None:
            deadline = self.now() + closing.timeout
            with suppress(ConnectionEnded):
                await self.runtime.timeout(deadline, websocket.close(closing.code, closing.reason))

    def _on_pong(self, dial: int, payload: bytes) -> None:
        if dial != self._dials:
            # It is that of a connection before.
            return
        # The WebSocket library is not to see what a recorder raises.
        try:
            self.take(self.machine.pong_received(payload, self.now()))
        except BaseException as fault:
            self.fail(fault)
            if not isinstance(fault, Exception):
                raise

    async def _read(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
        try:
            if isinstance(websocket, PushingWebSocket):
                await self._read_pushed(websocket)
            else:
                await self._read_awaited(websocket)
        except ConnectionEnded as end:
            self._is_over = True
            self.take(self.machine.connection_lost(end.code, end.reason, self.now()))

    async def _read_awaited(self, websocket: AsyncWebSocket) -> None:
        core, now, receive = self.core, self.now, websocket.receive
        received, notify_all = core.received, self.events_came.notify_all
        unread: deque[str | bytes] = getattr(websocket, "unread", deque())
        while True:
            while core.is_paused:
                await self._room_came.wait()
            at = now()
            for _ in range(core.room(len(self._outbox))):
                if unread:
                    frame = unread.popleft()
                else:
                    frame = await receive()
                    at = now()
                step = received(frame, at)
                if step is None:
                    notify_all()
                else:
                    self.take(step)
                    if core.is_paused:
                        break
            self.pause_or_resume()
            if not core.is_paused:
                await self.runtime.checkpoint()

    async def _read_pushed(self, websocket: PushingWebSocket) -> None:
        held = self.runtime.condition()
        receiver = Receiver(
            websocket,
            self.core,
            held,
            read=self._take_frames,
            read_one=self._take_frame,
            fail=self.fail,
        )
        websocket.listen(receiver)
        try:
            while True:
                await receiver.held()
                while self.core.is_paused:
                    await self._room_came.wait()
                self._take_frames(receiver.backlog)
                receiver.hold_or_go_on()
                await self.runtime.checkpoint()
        finally:
            receiver.is_over = True

    def _take_frame(self, frame: str | bytes) -> None:
        """Take one frame, for which there is room.

        Raises:
            ConnectionEnded: the peer does not read.
        """
        core = self.core
        step = core.received(frame, self.now())
        if step is not None:
            self.take(step)
            core.room(len(self._outbox))
            return
        self.events_came.notify_all()
        if core.must_pause:
            self.pause_or_resume()

    def _take_frames(self, backlog: "deque[str | bytes]") -> None:
        """Take frames, as many as there is room for and as is fair to other tasks.

        Raises:
            ConnectionEnded: the peer does not read.
        """
        core, now = self.core, self.now()
        received = core.received
        for _ in range(min(core.room(len(self._outbox)), len(backlog))):
            step = received(backlog.popleft(), now)
            if step is not None:
                self.take(step)
                if core.is_paused or self._is_over:
                    break
        self.events_came.notify_all()
        if core.must_pause:
            self.pause_or_resume()

    async def _write(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
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
            # The reader finds the same after what was received before, and reports it.
            self._end = end

    # Back-pressure.

    def pause_or_resume(self) -> None:
        """Say whether reading pauses or goes on, if that has changed."""
        step = self.core.pause_or_resume(self.now())
        if step is not None:
            self.next = self._next_making_room if self.core.is_paused else self.core.get
            self._room_came.notify_all()
            self.take(step)

    def _next_making_room(self) -> Any:
        event = self.core.get()
        self.callers += 1
        try:
            self.pause_or_resume()
        finally:
            self.callers -= 1
        return event
