"""The common part of all that threads of an application hold, and an I/O thread drives.

Theory. The driver's coroutines run in the I/O thread and put events into the core's buffer. Threads
of the application take them out while they hold the I/O thread's lock. What they ask for is put to
the core in the I/O thread, and the core settles the waiter that it returns.

A thread that has to wait sleeps at a lock of its own, which ``_wake`` releases: Ctrl-C interrupts
it there, where it holds nothing that others need. A ``Condition`` of the standard library would not
do, nor a ``Future``, which has one: a Ctrl-C can leave its lock held, and the I/O thread would wait
for that. The thread takes an event once it has stopped waiting, and hands it back if a Ctrl-C comes
on the way to the caller.

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
from typing import Any, Final, Generic, NoReturn, Self, TypeVar

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
from topone_proto.feed.base_driver import BaseDriver
from topone_proto.feed.handle import HandleCore, HandleDriver
from topone_proto.feed.waiters import Waiter
from topone_threads import _io
from topone_threads._lock import Lock
from topone_threads._tokens import TokenCalls

__all__ = ["BaseHandle", "Handle"]

_AnyCore = TypeVar("_AnyCore", bound=HandleCore[Any])
_Core = TypeVar("_Core", bound=BaseCore[Any, Any, Any])
_Driver = TypeVar("_Driver", bound=HandleDriver)
_Event = TypeVar("_Event")
_W = TypeVar("_W", bound=Waiter)

# Beyond ``SessionConfig.close_timeout``: seconds for the I/O thread to get round to it.
_GRACE: Final = 0.5


class BaseHandle(_io.Tenant, Generic[_AnyCore, _Driver, _Event]):
    """Something open that threads iterate over.

    Args:
        core: the part without I/O.
        make_driver: makes its driver, in the event loop of the I/O thread.
        close_timeout: the seconds that closing may take.
    """

    def __init__(
        self, core: _AnyCore, make_driver: Callable[[Runtime], _Driver], close_timeout: float
    ) -> None:
        self._core = core
        self._make_driver = make_driver
        self._patience = close_timeout + _GRACE
        self._driver: _Driver | None = None
        self._main: asyncio.Task[None] | None = None
        self._io: _io.IoThread | None = None
        # Those of the I/O thread, once it has one. Looking is refused in a forked child.
        self._lock = Lock()
        self._looking: AbstractContextManager[object] = self._lock
        # What wakes the threads that wait.
        self._sleeping: dict[Callable[[], object], None] = {}
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
            event = self._take()
            return self.get() if event is None else event
        except FeedClosed:
            pass
        raise StopIteration

    def get(self, timeout: float | None = None) -> _Event:
        """Return the next event, as iterating gives it.

        Raises:
            TimeoutError: there was none for ``timeout`` seconds.
            FeedClosed: it is closed, and all its events were taken.
            FeedFailed: it ended by itself, and all its events were taken; or this process was
                forked after it was opened.
            LocalProtocolError: its ``with`` block was not entered.
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
        with _io.shared.lock:
            self._io = io = _io.thread_for(is_alone=self._core.is_recorded)
            io.served.add(self)
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

    def _wake(self) -> None:
        """Wake the threads that wait."""
        while self._sleeping:
            # Another thread may have woken it, or it may have left.
            with suppress(KeyError):
                self._sleeping.popitem()[0]()

    def _wait(self, is_there: Callable[[], object], until: float) -> None:
        """Wait until something is true, and look again after every ``_wake``.

        Raises:
            TimeoutError: it is not true at the time ``until``.
        """
        sleep = threading.Lock()
        sleep.acquire()
        try:
            self._sleeping[sleep.release] = None
            while not is_there():
                patience = min(threading.TIMEOUT_MAX, until - time.monotonic())
                if patience <= 0:
                    raise TimeoutError
                # Released just now or not at all, if it is not acquired.
                if sleep.acquire(timeout=patience):
                    self._sleeping[sleep.release] = None
        finally:
            self._sleeping.pop(sleep.release, None)

    def _has_news(self) -> bool:
        """Return True if ``_take`` has something to return or to raise."""
        return bool(self._handed_back or self._core.events) or self._core.is_closed

    def _take(self) -> _Event | None:
        """Return the next event; None if there is none yet.

        Raises what it ended by once no event will come any more.
        """
        core = self._core
        # The I/O thread may hold the lock for long, and nobody needs it to see that there is none.
        if not (core.events or self._handed_back):
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
                if core.is_paused and core.may_resume and self._driver is not None:
                    self._post(self._driver.pause_or_resume)
        except BaseException:
            # A Ctrl-C comes after a call, so that the event is here or was not taken.
            if event is not None:
                self._handed_back.append(event)
                self._wake()
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
        (self._driver or self._core).fail(fault)
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
        runtime = AsyncioRuntime()
        runtime.condition = partial(_Condition, self._wake)
        self._main = asyncio.create_task(runtime.ended())
        self._main.add_done_callback(self._end)
        # A signal handler may have closed it by now.
        if not self._core.is_closed:
            self._driver = self._make_driver(runtime)

    def _end(self, _: object) -> None:
        assert self._io is not None
        self._io.leave(self)
        self._is_over = True
        self._wake()

    def _close(self) -> None:
        if not self._core.is_closed:
            (self._driver or self._core).take(self._core.machine.close(time.monotonic()))


class Handle(BaseHandle[_Core, BaseDriver, _Event], Generic[_Core, _Event]):
    """A feed or an account of the exchange, as threads use it.

    Args:
        core: the part without I/O.
        make_driver: makes its driver, in the event loop of the I/O thread.
    """

    def __init__(self, core: _Core, make_driver: Callable[[Runtime], BaseDriver]) -> None:
        super().__init__(core, make_driver, core.config.close_timeout)
        self._tokens = TokenCalls(
            core.token_source, lambda fault: self._post(partial(self.fail, fault))
        )
        if core.token_source is not None:
            core.token_source = self._tokens.call

    def metrics(self) -> FeedMetrics:
        """Return its counters and gauges at this moment. Possible at any time but in a
        signal handler."""
        with self._lock:
            return self._core.metrics(time.monotonic())

    def _ask(
        self,
        method: str,
        ask: Callable[[float], tuple[_W, Any]],
        timeout: float | None = None,
        *,
        waits: bool = True,
    ) -> _W:
        """Ask the core for something, at the time that ``ask`` is given, and return its waiter.

        Args:
            method: the name of what is asked.
            ask: returns the core's waiter and step, in the I/O thread.
            timeout: the seconds after which the waiter is let go of; None for never.
            waits: True for what the token callable of the feed would wait for in vain.

        Raises:
            TimeoutError: the waiter was not settled in time.
            BaseException: what ``ask`` and the waiter raise, or what it ended by.
        """
        self._refuse(method)
        caller = threading.current_thread()
        waiters: list[Any] = []

        def begin() -> None:
            waiter, step = Waiter(method), None
            try:
                if waits:
                    self._tokens.refuse(caller, method)
                waiter, step = ask(time.monotonic())
            except BaseException as error:  # noqa: BLE001 - for the thread that waits
                waiter.settle(error)
            waiters.append(waiter)
            self._go_on(step)
            self._wake()

        def leave() -> None:
            for waiter in waiters:
                self._go_on(self._core.leave(waiter, time.monotonic()))

        try:
            self._post(begin)
            self._wait(
                lambda: waiters[0].is_settled if waiters else self._is_over, _deadline(timeout)
            )
        except TimeoutError:
            # Without the lock, which a recorder may hold up.
            raise self._core.overdue(method, timeout or 0.0, time.monotonic()) from None
        finally:
            self._post(leave)
        if not waiters:
            self._raise_end()
        waiter: _W = waiters[0]
        waiter.result()
        return waiter

    def _go_on(self, step: Any) -> None:
        # It was closed before it had begun if there is none.
        if self._driver is not None:
            self._driver.go_on(step)


class _Condition(Condition):
    """A condition at which threads wait, too."""

    def __init__(self, wake: Callable[[], object]) -> None:
        super().__init__()
        self._wake = wake

    def notify_all(self) -> None:
        super().notify_all()
        self._wake()


class _Forked:
    """Refuses every look in a forked child."""

    def __enter__(self) -> NoReturn:
        raise FeedFailed(Failure(FailureKind.FORKED))

    def __exit__(self, *_: object) -> None: ...


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout
