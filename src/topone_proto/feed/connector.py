"""The connections of a feed, one after the other, each from its dial to its end.

Theory. ``run`` is the job of one ``Connect``: it dials, and while the WebSocket is open it waits
for two tasks that use it.

- ``reader`` takes frames, as many at a time as there is room for and as is fair to other tasks. It
  reports the end of the connection, after what was received before, and ends both. If the WebSocket
  pushes its frames, they are taken in the call that pushes them, and the reader has only what there
  was no room for.
- ``writer`` empties the outbox. If nothing can be sent any more it only notes how the connection
  has ended, for the reader finds the same.

``close`` ends both as well. The job then goes on to the closing handshake, which still needs the
WebSocket.
"""

from collections import deque
from contextlib import suppress
from functools import partial

from topone_proto.errors import ConnectionEnded, ConnectionFailed
from topone_proto.feed.base_driver import BaseDriver
from topone_proto.feed.receiver import Receiver
from topone_proto.feed.websocket import AsyncWebSocket, OpenAsyncWebSocket, PushingWebSocket
from topone_proto.session.actions import Close, Connect, SendPing, SendText
from topone_proto.session.failures import failure_from_exception

__all__ = ["Connector"]


class Connector:
    """The connections of one feed, one after the other.

    Args:
        driver: takes every step, and runs the tasks.
        open_websocket: opens the WebSocket of each connection.
    """

    def __init__(self, driver: BaseDriver, open_websocket: OpenAsyncWebSocket) -> None:
        self._driver = driver
        self._core = driver.core
        self._machine = driver.machine
        self._now = driver.now
        self._events_came = driver.events_came
        self._open_websocket = open_websocket
        self._dials = 0
        self.websocket: AsyncWebSocket | PushingWebSocket | None = None
        """The open WebSocket; None without one."""
        # How many tasks use it, and if they are to stop.
        self._users = 0
        self._is_over = False
        # What to send on it, how to close it, and how it ended once sending has found out.
        # A list, since hardly ever more than one waits: an empty deque is 700 bytes larger.
        self._outbox: list[SendText | SendPing] = []
        self._mail_came = driver.runtime.condition()
        self._closing: Close | None = None
        self._end: ConnectionEnded | None = None

    def send(self, action: SendText | SendPing) -> None:
        """Put something into the outbox, which the writer empties."""
        self._outbox.append(action)
        self._mail_came.notify_all()

    def close(self, close: Close) -> None:
        """End reading and writing, and begin the closing handshake, if there is to be one."""
        self._closing = close
        self._is_over = True
        self._driver.task_ended.notify_all()

    async def run(self, connect: Connect) -> None:
        """Dial, and return once the connection has ended, or the dial has failed."""
        self._closing = self._end = None
        self._outbox.clear()
        self._is_over = False
        self._dials += 1
        on_pong = partial(self._on_pong, self._dials)
        try:
            async with self._open_websocket(connect, on_pong) as self.websocket:
                if self._driver.is_dropped:
                    # The dial was cancelled, and has succeeded all the same: nobody waits for it.
                    return
                await self._run_connection(self.websocket)
                await self._shake_hands(self.websocket)
        except (ConnectionFailed, OSError) as error:
            if self.websocket is not None:
                raise
            if not self._driver.is_dropped:
                failure = failure_from_exception(error)
                self._driver.take(self._machine.connection_failed(failure, self._now()))
        finally:
            self.websocket = None

    async def _run_connection(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
        """Read and write until the connection has ended, or is given up."""
        self._driver.take(self._machine.connection_made(self._now()))
        self._users = 2
        tasks = [
            self._driver.spawn(partial(self._read, websocket), "reader", self._user_ended),
            self._driver.spawn(partial(self._write, websocket), "writer", self._user_ended),
        ]
        try:
            while not self._is_over:
                await self._driver.task_ended.wait()
        finally:
            for task in tasks:
                task.cancel()
        while self._users:
            await self._driver.task_ended.wait()

    async def _shake_hands(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
        """Close the WebSocket with a closing handshake, if there is to be one and anything can
        still be sent."""
        closing = self._closing
        if closing is not None and closing.timeout and self._end is None:
            deadline = self._now() + closing.timeout
            with suppress(ConnectionEnded):
                await self._driver.runtime.timeout(
                    deadline, websocket.close(closing.code, closing.reason)
                )

    def _user_ended(self) -> None:
        self._users -= 1

    def _on_pong(self, dial: int, payload: bytes) -> None:
        if dial != self._dials:
            # It is that of a connection before.
            return
        # The WebSocket library is not to see what a recorder raises.
        try:
            self._driver.take(self._machine.pong_received(payload, self._now()))
        except BaseException as fault:
            self._driver.fail(fault)
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
            self._driver.take(self._machine.connection_lost(end.code, end.reason, self._now()))

    async def _read_awaited(self, websocket: AsyncWebSocket) -> None:
        core, now, receive = self._core, self._now, websocket.receive
        received, notify_all = core.received, self._events_came.notify_all
        unread: deque[str | bytes] = getattr(websocket, "unread", deque())
        while True:
            while core.is_paused:
                await self._driver.room_came.wait()
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
                    self._driver.take(step)
                    if core.is_paused:
                        break
            self._driver.pause_or_resume()
            if not core.is_paused:
                await self._driver.runtime.checkpoint()

    async def _read_pushed(self, websocket: PushingWebSocket) -> None:
        held = self._driver.runtime.condition()
        receiver = Receiver(
            websocket,
            self._core,
            held,
            read=self._take_frames,
            read_one=self._take_frame,
            fail=self._driver.fail,
        )
        websocket.listen(receiver)
        try:
            while True:
                await receiver.held()
                while self._core.is_paused:
                    await self._driver.room_came.wait()
                self._take_frames(receiver.backlog)
                receiver.hold_or_go_on()
                await self._driver.runtime.checkpoint()
        finally:
            receiver.is_over = True

    def _take_frame(self, frame: str | bytes) -> None:
        """Take one frame, for which there is room.

        Raises:
            ConnectionEnded: the peer does not read.
        """
        core = self._core
        step = core.received(frame, self._now())
        if step is not None:
            self._driver.take(step)
            core.room(len(self._outbox))
            return
        self._events_came.notify_all()
        if core.must_pause:
            self._driver.pause_or_resume()

    def _take_frames(self, backlog: list[str | bytes]) -> None:
        """Take frames, as many as there is room for and as is fair to other tasks.

        Raises:
            ConnectionEnded: the peer does not read.
        """
        core, now = self._core, self._now()
        received = core.received
        taken = 0
        try:
            for frame in backlog[: core.room(len(self._outbox))]:
                taken += 1
                step = received(frame, now)
                if step is not None:
                    self._driver.take(step)
                    if core.is_paused or self._is_over:
                        break
        finally:
            del backlog[:taken]
        self._events_came.notify_all()
        if core.must_pause:
            self._driver.pause_or_resume()

    async def _write(self, websocket: AsyncWebSocket | PushingWebSocket) -> None:
        try:
            while True:
                while self._outbox:
                    match self._outbox.pop(0):
                        case SendText(text=text):
                            await websocket.send_text(text)
                        case SendPing(payload=payload):  # pragma: no branch - there is no other
                            await websocket.send_ping(payload)
                await self._mail_came.wait()
        except ConnectionEnded as end:
            # The reader finds the same after what was received before, and reports it.
            self._end = end
