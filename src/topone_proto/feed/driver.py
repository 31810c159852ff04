"""The coroutines that carry out what a feed's core decides, the same under every event loop.

Theory. The driver waits only through its ``Runtime`` and talks to a WebSocket only as an
``AsyncWebSocket`` or a ``PushingWebSocket``. A feed has up to four tasks:

- ``feed`` lives as long as the feed. It calls the machine at its deadline, and starts the jobs that
  it decides on: a token call, or a connection from its dial to its end.
- ``FetchToken`` or ``Connect`` does one job. There is never more than one.
- ``reader`` and ``writer`` of the ``Connector`` live while a WebSocket is open.

A step's requests go into the connector's outbox, and a job goes to the task ``feed``. A ``Close``
cancels a job that has no open WebSocket yet; an open one is closed by the connector. Every other
rule of steps, tasks and faults is that of the ``BaseDriver``.
"""

import math
from collections.abc import Iterable
from functools import partial
from inspect import isawaitable
from typing import Any

from topone_proto.feed.base import BaseCore
from topone_proto.feed.base_driver import BaseDriver
from topone_proto.feed.connector import Connector
from topone_proto.feed.runtime import Runtime, Task
from topone_proto.feed.websocket import OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource, Token, call_source, wrapped
from topone_proto.session.actions import Close, Connect, FetchToken, SendPing, SendText

__all__ = ["Driver"]


class Driver(BaseDriver):
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
        super().__init__(core, runtime)
        self._connector = Connector(self, open_websocket)
        # When the task `feed` looks at the deadline again.
        self._armed = math.inf
        # The job to start next; the task of the present one, and if that is to be cancelled.
        self._job: FetchToken | Connect | None = None
        self._job_task: Task | None = None
        self._is_working = False
        self.take(self.machine.start(self.now()))
        self.spawn(self._run, "feed", self._run_ended)

    def _carry_out(self, actions: Iterable[Any], deadline: float | None) -> None:
        for action in actions:
            match action:
                case FetchToken() | Connect():
                    self._job = action
                    self.work_came.notify_all()
                case SendText() | SendPing():
                    self._connector.send(action)
                case Close():
                    self._job = None
                    self._drop(action)
                case _:
                    self._begin(action)
        if deadline is not None and deadline < self._armed:
            self._armed = deadline
            self.work_came.notify_all()

    def _begin(self, action: object) -> None:
        """Carry out an action that a session alone has not."""
        raise AssertionError(action)

    def _drop(self, close: Close) -> None:
        """End the present job: a connection with a closing handshake, anything else at once."""
        if self._connector.websocket is not None:
            self._connector.close(close)
        else:
            self.is_dropped = True
            if self._job_task is not None:
                self._job_task.cancel()

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
            elif await self.runtime.timeout(self._armed, self.work_came.wait()):
                self._deadline_reached()

    def _run_ended(self) -> None:
        if not self.core.is_closed:
            # The task was cancelled, and no more events would come for those that wait.
            self.take(self.machine.close(self.now()))

    def _start_job(self, job: FetchToken | Connect) -> None:
        self._job = self._job_task = None
        self._is_working = True
        self.is_dropped: bool = False
        task = self.spawn(partial(self._do, job), type(job).__name__, self._job_ended)
        if self.is_dropped:
            # An eager task runs in the call that starts it.
            task.cancel()
        self._job_task = task

    def _job_ended(self) -> None:
        self._is_working = False
        self.work_came.notify_all()

    def _deadline_reached(self) -> None:
        self._armed = math.inf
        now = self.now()
        self._report_bytes(now)
        self.take(self.machine.deadline_reached(now))

    def _report_bytes(self, now: float) -> None:
        """Tell the session of bytes that came and are no whole frame yet, before it judges the
        silence."""
        heard_at: float | None = getattr(self._connector.websocket, "heard_at", None)
        connection = self.session.connection
        if heard_at is None or connection is None or connection.last_received is None:
            return
        if heard_at > connection.last_received:
            self.take(self.machine.bytes_received(heard_at, now))

    async def _do(self, job: FetchToken | Connect) -> None:
        if isinstance(job, FetchToken):
            await self._fetch_token()
        else:
            await self._connector.run(job)

    async def _fetch_token(self) -> None:
        try:
            supplied = await self._ask_for_token(self.core.refused_token)
        except BaseException as error:
            # Whatever the application's callable raises.
            is_stray = self.runtime.is_stray_cancellation(error)
            if not (isinstance(error, Exception) or is_stray):
                raise
            if not self.is_dropped:
                self.take(self.machine.token_failed(type(error).__name__, self.now()))
            return
        # A callable that was cancelled may return all the same: nobody waits for this token.
        if not self.is_dropped:
            self.take(self.core.token_obtained(supplied, self.now()))

    async def _ask_for_token(self, refused: Token | None) -> object:
        """Return what the application's callable supplies."""
        assert self.core.token_source is not None
        supplied = wrapped(call_source(self.core.token_source, refused))
        return wrapped(await supplied) if isawaitable(supplied) else supplied
