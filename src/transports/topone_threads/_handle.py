"""The common part of all that threads of an application hold, and asyncio's event loop runs.

Theory. The coroutines run in the I/O thread and put events into the core's buffer. Threads of the
application take them out while they hold the I/O thread's lock. One that has to wait sleeps at a
lock of its own, its bell, which ``_ring`` releases: Ctrl-C interrupts it there, where it holds
nothing that others need. One that is interrupted hands the event back that it has taken.

In a forked child, where nothing drives the core, the handle is closed and refuses to be looked at.
"""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypeVar

from topone_asyncio._feed import AsyncioRuntime, Condition
from topone_proto import (
    Failure,
    FailureKind,
    FeedClosed,
    FeedFailed,
    FeedMetrics,
    LocalProtocolError,
)
from topone_proto.adapters import Runtime
from topone_proto.feed.base import BaseCore
from topone_proto.feed.handle import AsyncHandle, HandleCore, OpenHandle
from topone_threads import _io
from topone_threads._lock import Lock
from topone_threads._tokens import TokenCalls

__all__ = ["BaseHandle", "Bell", "Handle"]

_Event = TypeVar("_Event")

# Beyond ``SessionConfig.close_timeout``: seconds for the I/O thread to get round to it.
_GRACE: Final = 0.5


class Bell(Protocol):
    """A means to wake somebody who waits."""

    def release(self) -> object:
        """Wake them, from any thread."""
        ...


class BaseHandle(_io.Tenant, Generic[_Event]):
    """Something open that threads iterate over.

    Args:
        core: the part without I/O.
        open_async: opens it in the event loop of the I/O thread.
        close_timeout: the seconds that closing may take.
    """

    def __init__(
        self,
        core: HandleCore[_Event],
        open_async: Callable[[Runtime], OpenHandle],
        close_timeout: float,
    ) -> None:
        self._core = core
        self._open_async = open_async
        self._patience = close_timeout + _GRACE
        self._async: OpenHandle | None = None
        self._runtime: AsyncioRuntime
        self._main: asyncio.Task[None] | None = None
        self._io: _io.IoThread | None = None
        # Those of the I/O thread, once it has one. Looking is refused in a forked child.
        self._lock = Lock()
        self._looking: AbstractContextManager[object] = self._lock
        self._bells: dict[Bell, None] = {}
        self._is_over = False
        self._handed_back: list[_Event] = []

    def __enter__(self) -> Self:
        try:
            if self._io is None and not self._core.is_closed:
                self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._stop()
        if exc_type is None:
            self._core.raise_unseen_fault()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _Event:
        try:
            return self.get()
        except FeedClosed:
            pass
        raise StopIteration

    def get(self, timeout: float | None = None) -> _Event:
        """Return the next event, as iterating gives it.

        Raises:
            TimeoutError: there was none for ``timeout`` seconds.
            FeedClosed: the feed is closed, and all its events were taken.
            FeedFailed: the feed ended by itself, and all its events were taken; or this process was
                forked after it was opened.
            LocalProtocolError: the ``with`` block of the feed was not entered.
        """
        until = _deadline(timeout)
        while (event := self._take()) is None:
            self._refuse("get")
            self._wait(self._has_news, until)
        return event

    def close(self) -> None:
        """End it. Idempotent, possible at any time and from any thread.

        Done within ``SessionConfig.close_timeout``, and a moment. Events that wait can still be
        taken; ``Closed`` is the last of them. Raises a fault of the program that ended the feed, if
        nobody was given it before.

        Of all methods only this one may be called in a signal handler. If the handler interrupted a
        method of a feed, the feed may end only after the handler has returned; nothing waits for
        that here.
        """
        if self._stop():
            self._core.raise_unseen_fault()

    # In any thread.

    def _start(self) -> None:
        with _io.lock:
            self._io = io = _io.thread_for(is_alone=self._core.is_recorded)
            self._lock = self._looking = io.lock
            io.tenants.add(self)
            self._post(self._begin)
            if not io.is_alive():
                io.start()

    def _stop(self) -> bool:
        """Close it, and wait until nothing of it is left in the I/O thread. Returns False if that
        cannot be waited for."""
        io = self._io
        if io is None or not io.is_alive():
            self._close()
            self._is_over = True
            return True
        # A Ctrl-C may have prevented it so far.
        self._post(self._begin)
        self._post(self._close)
        if sys.is_finalizing() or io.lock.is_held_here:
            # What would be waited for may need the lock.
            return False
        with suppress(TimeoutError):
            self._wait(lambda: self._is_over, _deadline(self._patience))
        if not io.tenants:
            io.join(self._patience)
        return True

    def _post(self, function: Callable[[], object]) -> None:
        """Have something called in the I/O thread, if there is one."""
        if self._io is not None:
            self._io.post(self, function)

    def _ring(self) -> None:
        """Wake the threads that wait."""
        while self._bells:
            # Another thread may have woken it, or it may have left.
            with suppress(KeyError):
                self._bells.popitem()[0].release()

    def _wait(self, is_there: Callable[[], object], until: float) -> None:
        """Wait until something is true, and look again after every ``_ring``.

        Raises:
            TimeoutError: it is not true at the time ``until``.
        """
        bell = threading.Lock()
        bell.acquire()
        try:
            self._bells[bell] = None
            while not is_there():
                patience = min(threading.TIMEOUT_MAX, until - time.monotonic())
                if patience <= 0:
                    raise TimeoutError
                bell.acquire(timeout=patience)
                self._bells[bell] = None
        finally:
            self._bells.pop(bell, None)

    def _has_news(self) -> bool:
        """Return True if ``_take`` has something to return or to raise."""
        return bool(self._handed_back) or self._core.has_events or self._core.is_closed

    def _take(self) -> _Event | None:
        """Return the next event; None if there is none yet.

        Raises what it ended by once no event will come any more.
        """
        core = self._core
        # The I/O thread may hold the lock for long, and nobody needs it to see that there is none.
        if not (core.has_events or self._handed_back):
            if core.is_over:
                self._raise_end()
            return None
        event: _Event | None = None
        try:
            with self._looking:
                if self._handed_back:
                    # Others may be handed back meanwhile, at the end.
                    event = self._handed_back[0]
                    del self._handed_back[0]
                else:
                    event = core.get()
                if core.is_paused and core.may_resume and self._async is not None:
                    self._post(self._async.driver.pause_or_resume)
        except BaseException:
            # A Ctrl-C comes after a call, so that the event is here or was not taken.
            if event is not None:
                self._handed_back.append(event)
                self._ring()
            raise
        return event

    def _refuse(self, method: str) -> None:
        """Raise if nothing can come of a call that waits."""
        if self._io is threading.current_thread():
            raise LocalProtocolError(
                state="the feed's own thread waits for it",
                input=method,
                remedy="call it in another thread than that of record=",
            )
        if self._io is None and not self._core.is_closed:
            raise LocalProtocolError(
                state="the feed is not open", input=method, remedy="use it in a with block"
            )

    def _raise_end(self) -> NoReturn:
        with self._looking:
            self._core.raise_failure()
        raise FeedClosed

    # In the I/O thread, or where there is none.

    def fail(self, fault: BaseException) -> None:
        """End with a fault of the program."""
        (self._core if self._async is None else self._async.driver).fail(fault)
        self._close()

    def abandon(self) -> None:
        """Become useless, in a forked child: closed, without an I/O thread."""
        self._core.is_closed = self._is_over = True
        self._io = None
        # Nobody is left to release the other one.
        self._lock, self._looking = Lock(), _Forked()

    def _begin(self) -> None:
        if self._main is not None:
            return
        # In no task, so that none is to be interrupted.
        self._runtime = AsyncioRuntime()
        self._runtime.condition = partial(_Condition, self._ring)
        self._main = asyncio.create_task(self._leave_at_the_end())
        # A signal handler may have closed it by now.
        if not self._core.is_closed:
            self._async = self._open_async(self._runtime)

    async def _leave_at_the_end(self) -> None:
        assert self._io is not None
        await self._runtime.ended()
        self._io.leave(self)
        self._is_over = True
        self._ring()

    def _close(self) -> None:
        if not self._core.is_closed:
            take = self._core.take if self._async is None else self._async.driver.take
            take(self._core.machine.close(time.monotonic()))


class Handle(BaseHandle[_Event]):
    """A feed or an account of the exchange, as threads use it.

    Args:
        core: the part without I/O.
        open_async: opens it in the event loop of the I/O thread.
    """

    def __init__(
        self,
        core: BaseCore[Any, Any, _Event],
        open_async: Callable[[Runtime], AsyncHandle[Any, _Event]],
    ) -> None:
        super().__init__(core, open_async, core.config.close_timeout)
        self._core: BaseCore[Any, Any, _Event] = core
        self._tokens: TokenCalls | None = None
        if core.token_source is not None:
            self._tokens = TokenCalls(
                core.token_source, lambda fault: self._post(partial(self.fail, fault))
            )
            core.token_source = self._tokens.call

    def metrics(self) -> FeedMetrics:
        """Return its counters and gauges at this moment. Possible at any time but in a
        signal handler."""
        with self._lock:
            return self._core.metrics(time.monotonic())

    def _call(self, method: str, *arguments: object, timeout: float | None = None) -> Any:
        """Call a method in the I/O thread, or await it, and return its result.

        Raises:
            TimeoutError: it took longer than so many seconds. It is cancelled.
            BaseException: what it raised, or what ``_raise_end`` does.
        """
        self._refuse(method)
        caller = threading.current_thread()
        results: list[Callable[[], Any]] = []
        tasks: list[Any] = []

        async def answer() -> None:
            try:
                function = getattr(self._async, method)
                if iscoroutinefunction(function):
                    if self._tokens is not None:
                        self._tokens.refuse(caller, method)
                    result = await function(*arguments)
                else:
                    result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - for the thread that waits
                results.append(partial(_raise, [error]))
            else:
                results.append(lambda: result)

        def begin() -> None:
            if self._async is not None and not self._is_over:
                tasks.append(self._runtime.spawn(answer, method, lambda _: self._ring()))

        def give_up() -> None:
            # After its first step, which has taken effect even if nobody waits.
            for task in tasks:
                asyncio.get_running_loop().call_soon(task.cancel)

        self._post(begin)
        try:
            self._wait(lambda: results or self._is_over, _deadline(timeout))
        except BaseException:
            self._post(give_up)
            raise
        return results.pop()() if results else self._raise_end()


class _Condition(Condition):
    """A condition at which threads wait, too."""

    def __init__(self, ring: Callable[[], object]) -> None:
        super().__init__()
        self._ring = ring

    def notify_all(self) -> None:
        super().notify_all()
        self._ring()


class _Forked:
    """Refuses every look in a forked child."""

    def __enter__(self) -> NoReturn:
        raise FeedFailed(Failure(FailureKind.FORKED))

    def __exit__(self, *_: object) -> None: ...


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _raise(error: list[BaseException]) -> NoReturn:
    # No variable has it, so there is no cycle with this frame.
    raise error.pop()
