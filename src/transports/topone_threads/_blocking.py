"""The core's async feed, run by threads: what an adapter supplies, and which threads there are."""

import queue
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from topone_proto import (
    AsyncFeed,
    AsyncTokenSource,
    AsyncWebSocket,
    Connect,
    ConnectionEnded,
    Event,
    FeedCore,
    SessionState,
)
from topone_proto.endpoint import wrapped
from topone_threads._monitor import Cancelled, Monitor, Scope
from topone_threads._websocket import OpenWebSocket, WebSocket

__all__ = ["BlockingFeed"]

# Beyond ``SessionConfig.close_timeout``: seconds for threads that were told to end to do so.
_GRACE: Final = 0.5


class _Unlocked:
    """A WebSocket for coroutines: nobody else waits while it blocks."""

    def __init__(self, websocket: WebSocket, monitor: Monitor) -> None:
        self._websocket = websocket
        self._outside = monitor.outside

    async def receive(self) -> str | bytes:
        with self._outside:
            return self._websocket.receive()

    async def send_text(self, text: str) -> None:
        with self._outside:
            self._websocket.send_text(text)

    async def send_ping(self, payload: bytes) -> None:
        with self._outside:
            self._websocket.send_ping(payload)

    async def close(self, code: int, reason: str) -> None:
        with self._outside:
            self._websocket.close(code, reason)


class BlockingFeed(AsyncFeed):
    """An async feed whose coroutines block."""

    def __init__(
        self,
        core: FeedCore[AsyncTokenSource],
        open_websocket: OpenWebSocket,
        close_timeout: float,
    ) -> None:
        self.monitor: Monitor = Monitor()
        super().__init__(core, self._dialled, make_bell=self.monitor.bell, clock=time.monotonic)
        self._open_blocking = open_websocket
        self._close_timeout = close_timeout
        # The token call or connection that is under way, and the end of it.
        self._scope = Scope()
        self._scope_ended = self.monitor.bell()
        # From its dial to its end, and the threads that read and write once it is open.
        self._websocket: WebSocket | None = None
        self._conversation: list[threading.Thread] = []
        self._fault: BaseException | None = None
        # These two need no lock: a signal handler closes the feed by them, whatever it interrupts.
        self._is_close_wanted = False
        self._alarm = queue.SimpleQueue[None]()
        self._watch = self._thread("topone-feed-deadline", self._watch_deadline)
        self._runner = self._thread("topone-feed", self._work)

    def start(self) -> None:
        """Start the threads, and the session unless it was closed already."""
        self._watch.start()
        self._runner.start()
        with self.monitor.lock:
            if self._session.state is SessionState.NEW:
                self._take(self._session.start(self._now()))

    def next(self, timeout: float | None) -> Event:
        """What ``Feed.get`` promises, but for its errors."""
        with self.monitor.lock:
            event = self._next()
        return self.monitor.run_for(timeout, self.__anext__) if event is None else event

    def stop(self) -> None:
        """What ``Feed.close`` promises."""
        # A thread of the feed carries it out: a Ctrl-C in this one could leave it half done.
        self._is_close_wanted = True
        if not self._core.is_closed:
            self._alarm.put(None)
        if self.monitor.is_held_here():
            return
        if not self._watch.is_alive():
            with self.monitor.lock:
                self._take(self._session.close(self._now()))
        self._join()

    def _join(self) -> None:
        patience = self._now() + self._close_timeout + _GRACE
        for thread in (self._watch, self._runner):
            # A thread of the feed itself: the token callable may close it.
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(max(0.0, patience - self._now()))

    def raise_fault(self) -> None:
        """Raise what a thread of the feed failed with, if one did."""
        if self._fault is not None:
            raise self._fault

    # What an adapter supplies.

    async def _ended(self) -> None:  # pragma: no cover - the door calls `stop` in place of `close`
        with self.monitor.outside:
            self._join()

    def _arm(self, deadline: float) -> None:  # noqa: ARG002 - the watcher looks for itself
        self._alarm.put(None)

    def _drop(self) -> None:
        self._scope.is_cancelled = True
        for bell in (self._mail_came, self._room_came, self._scope_ended):
            bell.ring()
        if self._websocket is not None and not self._conversation:
            self._websocket.abort()

    async def _converse(self, websocket: AsyncWebSocket) -> None:
        # Sending has a thread of its own, since a peer that does not read makes a sender wait, and
        # so has reading, since only the peer or the end of it all makes a reader return.
        self._conversation = [
            self._thread("topone-feed-reader", partial(self._read, websocket), self._scope),
            self._thread("topone-feed-writer", partial(self._write, websocket), self._scope),
        ]
        self._take(self._session.connection_made(self._now()))
        for thread in self._conversation:
            thread.start()
        with suppress(Cancelled):
            while True:
                await self._scope_ended.wait()
        # What is left to do with the connection cannot be cancelled.
        self.monitor.enter(None)

    async def _read(self, websocket: AsyncWebSocket) -> None:
        try:
            await super()._read(websocket)
        except Cancelled:
            # The peer's close frame comes behind what it has sent before.
            self.monitor.enter(None)
            with suppress(ConnectionEnded):
                while True:
                    await websocket.receive()
        finally:
            self._drop()

    async def _breathe(self) -> None:
        """Every wait for a frame lets other threads run."""

    async def _within(self, seconds: float, awaitable: Awaitable[None]) -> None:
        assert self._websocket is not None
        timer = threading.Timer(seconds, self._websocket.abort)
        timer.start()
        try:
            await awaitable
        finally:
            timer.cancel()
            timer.join()

    async def _ask_for_token(self) -> object:
        assert self._core.token_source is not None
        with self.monitor.outside:
            return wrapped(self._core.token_source())

    @asynccontextmanager
    async def _dialled(
        self, connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator[AsyncWebSocket, None]:
        scope = self._scope

        def pong(payload: bytes) -> None:
            with self.monitor.lock:
                if not scope.is_cancelled:
                    on_pong(payload)

        self._websocket = websocket = self._open_blocking(connect, pong)
        entered = ExitStack()
        try:
            with self.monitor.outside:
                entered.enter_context(websocket)
            yield _Unlocked(websocket, self.monitor)
        finally:
            self.monitor.enter(None)
            with self.monitor.outside:
                self._leave(websocket, entered)
            self._websocket, self._conversation = None, []

    def _leave(self, websocket: WebSocket, entered: ExitStack) -> None:
        websocket.abort()
        for thread in self._conversation:
            # Python itself may be ending, and a thread not have been started.
            if thread.is_alive():
                thread.join()
        entered.close()

    # The threads.

    def _thread(
        self,
        name: str,
        function: Callable[[], Coroutine[Any, Any, None]],
        scope: Scope | None = None,
    ) -> threading.Thread:
        return self.monitor.thread(name, function, scope, self._fail)

    def _fail(self, fault: BaseException) -> None:
        self._fault = fault
        self._take(self._session.close(self._now()))

    async def _watch_deadline(self) -> None:
        while True:
            if self._is_close_wanted and not self._core.is_closed:
                self._take(self._session.close(self._now()))
            if self._armed <= self._now():
                self._deadline_reached()
            if self._core.is_closed:
                return
            patience = min(max(0.0, self._armed - self._now()), threading.TIMEOUT_MAX)
            with suppress(queue.Empty), self.monitor.outside:
                self._alarm.get(timeout=patience)

    async def _work(self) -> None:
        try:
            while (job := await self._next_job()) is not None:
                self._scope = Scope()
                self.monitor.enter(self._scope)
                with suppress(Cancelled):
                    await self._do(job)
                self.monitor.enter(None)
        finally:
            # The watcher waits for the time of a deadline that never comes.
            self._alarm.put(None)
