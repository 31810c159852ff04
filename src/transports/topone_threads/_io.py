"""The thread that runs an asyncio event loop for programs without one.

Theory. A feed or a WebSocket lives in the I/O thread as a coroutine, and has a *portal* to it.
Other threads *post* functions through the portal, and *wait* there until something is true. Posting
takes no lock, so that a signal handler may do it whatever it has interrupted. A thread that waits
sleeps at a lock of its own, which ``ring`` releases; Ctrl-C interrupts it there.

All portals share one thread, but for those that ask for their own. It starts with the first and
ends with the last. ``lock`` guards which portals there are, and the events that the I/O thread
hands over. It is held for moments, never during I/O.

A child process of a fork has the portals, but not the thread. It closes its copies of the thread's
descriptors and touches nothing else: the parent goes on using the connections behind them.
"""

import asyncio
import errno
import math
import os
import queue
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn, TypeVar
from weakref import WeakSet

__all__ = ["Portal", "Worker", "lock"]

_T = TypeVar("_T")

# Seconds to wait at most in one go: some platforms cannot wait for much longer.
_LONGEST: Final = 3600.0

lock: threading.RLock = threading.RLock()
"""Guards what all feeds of the process share."""
_shared: "_IoThread | None" = None
_all: "WeakSet[_IoThread]" = WeakSet()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that knows which sockets it has."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        super().__init__(selector)
        # In development mode it would report callbacks that are slow, which are not the program's.
        self.set_debug(enabled=False)
        self.dialled: WeakSet[socket.socket] = WeakSet()

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket."""
        self.dialled.add(sock)
        await super().sock_connect(sock, address)


class _IoThread(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="topone-feed-io", daemon=True)
        self.portals: set[Portal] = set()
        self.is_over = False
        self._posted: deque[Callable[[], object]] = deque()
        self._selector: selectors.BaseSelector
        self._loop: _Loop | None = None
        _all.add(self)

    def run(self) -> None:
        # Made here, where no Ctrl-C comes in between.
        self._selector = selectors.DefaultSelector()
        self._loop = loop = _Loop(self._selector)
        loop.call_soon(self._call_posted)
        try:
            loop.run_forever()
        except BaseException as fault:  # noqa: BLE001 - nobody else is there to take it
            for portal in tuple(self.portals):
                portal.fail(fault)
            # They end in the usual way.
            loop.run_forever()
        loop.close()

    def post(self, function: Callable[[], object]) -> None:
        self._posted.append(function)
        if self._loop is not None:
            # A loop that is closed has nobody left to work for.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._call_posted)

    def _call_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def leave(self, portal: "Portal") -> None:
        global _shared  # noqa: PLW0603 - one for the process
        with lock:
            self.portals.discard(portal)
            if not self.portals and self._loop is not None:
                self._loop.stop()
                self.is_over = True
                _shared = None if _shared is self else _shared

    def abandon(self) -> None:
        """Close what this child process has inherited."""
        if self._loop is None:
            return
        # What becomes of the tasks is nobody's business here.
        self._loop.set_exception_handler(_say_nothing)
        # A kqueue is not inherited.
        with suppress(OSError):
            self._selector.close()
        for thing in (*vars(self._loop).values(), *self._loop.dialled):
            if isinstance(thing, socket.socket):
                thing.close()


def _say_nothing(*_: object) -> None:
    """Report no error of an event loop."""


def _after_fork() -> None:
    global lock, _shared
    lock, _shared = threading.RLock(), None
    for io in list(_all):
        io.abandon()
        for portal in io.portals:
            portal.abandon()


if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=_after_fork)


def _may_wait() -> bool:
    """Return False in a signal handler that has interrupted a holder of the lock, since what it
    would wait for may need the lock."""
    try:
        threading.Condition(lock).notify(0)
    except RuntimeError:
        return True
    return False


class Portal:
    """The access of other threads to a coroutine that lives in the I/O thread.

    Args:
        live: a coroutine function, run in the I/O thread; the portal is over when it returns.
        fail: takes a fault of the program, in the I/O thread, and makes ``live`` come to an end.
        raise_end: raises what a call gets that comes too late.
        is_alone: True for a thread that is shared with nobody.
    """

    def __init__(
        self,
        live: Callable[[], Coroutine[Any, Any, None]],
        fail: Callable[[BaseException], object],
        raise_end: Callable[[], NoReturn],
        *,
        is_alone: bool = False,
    ) -> None:
        self.fail: Callable[[BaseException], object] = fail
        self.is_over: bool = False
        """True once nothing is left in the I/O thread."""
        self.is_forked: bool = False
        """True in the child process of a fork."""
        self._live, self._raise_end, self._is_alone = live, raise_end, is_alone
        self._io: _IoThread | None = None
        self._main: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[threading.Lock, None] = {}

    @property
    def is_here(self) -> bool:
        """True in the I/O thread."""
        return self._io is threading.current_thread()

    def start(self) -> None:
        """Start the coroutine, and the thread if it is the first.

        Raises:
            RuntimeError: no thread can be started.
        """
        global _shared  # noqa: PLW0603 - one for the process
        with lock:
            self._io = io = (None if self._is_alone else _shared) or _IoThread()
            io.portals.add(self)
            if not io.is_alive():
                io.start()
                _shared = _shared if self._is_alone else io
        self.post(self._begin)

    def stop(self, end: Callable[[], object], patience: float) -> bool:
        """Call ``end`` in the I/O thread, and wait until the portal is over. Returns False if that
        cannot be waited for."""
        io = self._io
        if io is None or not io.is_alive():
            end()
            self.is_over = True
            return True
        # A Ctrl-C may have prevented it so far.
        self.post(self._begin)
        self.post(end)
        if self.is_here or sys.is_finalizing() or not _may_wait():
            return False
        with suppress(TimeoutError):
            self.wait(lambda: self.is_over, patience)
        if io.is_over:
            io.join(patience)
        return True

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have something called in the I/O thread, if there is one. ``fail`` takes what it
        raises."""
        if self._io is not None:
            self._io.post(partial(self._call, function, *args))

    def ring(self) -> None:
        """Wake the threads that wait. Possible in any thread and in signal handlers."""
        while self._waiting:
            # Another thread may have woken it, or it may have left.
            with suppress(KeyError):
                self._waiting.popitem()[0].release()

    def wait(self, is_there: Callable[[], object], timeout: float | None) -> None:
        """Wait until something is true, and look again after every ``ring``.

        Raises:
            TimeoutError: it is not true after so many seconds.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        bell = threading.Lock()
        bell.acquire()
        try:
            self._waiting[bell] = None
            while not is_there():
                patience = min(_LONGEST, until - time.monotonic())
                if patience <= 0:
                    raise TimeoutError
                bell.acquire(timeout=patience)
                self._waiting[bell] = None
        finally:
            self._waiting.pop(bell, None)

    def call(
        self, function: Callable[..., Awaitable[_T]], *args: object, timeout: float | None = None
    ) -> _T:
        """Await something in the I/O thread, and return its result.

        Raises:
            TimeoutError: it took longer than so many seconds. It is cancelled.
            BaseException: what it raised, or what ``raise_end`` does.
        """
        results: list[Callable[[], _T]] = []
        tasks: list[asyncio.Task[None]] = []

        async def answer() -> None:
            try:
                result = await function(*args)
            except BaseException as error:  # noqa: BLE001 - for the thread that waits
                results.append(partial(_raise, [error]))
            else:
                results.append(lambda: result)
            self.ring()

        def begin() -> None:
            if not self.is_over:
                tasks.append(self._spawn(answer()))

        self.post(begin)
        try:
            self.wait(lambda: results or self.is_over, timeout)
        except BaseException:
            # After its first step, which has taken effect even if nobody waits.
            self.post(lambda: [task.get_loop().call_soon(task.cancel) for task in tasks])
            raise
        return results.pop()() if results else self._raise_end()

    # In the I/O thread, or after a fork.

    def end(self) -> None:
        """Note that nothing is left."""
        assert self._io is not None
        self._io.leave(self)
        self.is_over = True
        self.ring()

    def abandon(self) -> None:
        """Become useless, in a forked child."""
        self.is_forked = self.is_over = True

    def _begin(self) -> None:
        if self._main is None:
            self._main = self._spawn(self._run())

    async def _run(self) -> None:
        try:
            await self._live()
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 - it ends nobody else
            self.fail(fault)
        # Those that wait for this one are to have their answers first, latecomers included.
        while others := self._tasks - {asyncio.current_task()}:
            # `gather` would return at once if all are done, from 3.12 on, and they stay in the set.
            await asyncio.wait(others)
        self.end()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _call(self, function: Callable[..., object], *args: object) -> None:
        try:
            function(*args)
        except BaseException as fault:  # noqa: BLE001 - it ends nobody else
            self.fail(fault)


def _raise(error: list[BaseException]) -> NoReturn:
    # No variable has it, so there is no cycle with this frame.
    raise error.pop()


class Worker(threading.Thread):
    """A thread that does what blocks, one thing after the other."""

    def __init__(self, portal: Portal, name: str) -> None:
        super().__init__(name=f"topone-feed-{name}", daemon=True)
        self._portal = portal
        self._jobs = queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None]()

    def start(self) -> None:
        """Start the thread.

        Raises:
            OSError: the machine has none left, or Python is ending.
        """
        try:
            super().start()
        except RuntimeError:
            raise OSError(errno.EAGAIN, "no thread can be started") from None

    async def do(self, function: Callable[[], _T]) -> _T:
        """Have something called in the thread. If this is cancelled, the call goes on."""
        future = asyncio.get_running_loop().create_future()
        self._jobs.put((function, future))
        result: _T
        result, error = await future
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        """End the thread after what it was asked for so far. Does not wait for that."""
        self._jobs.put(None)

    def run(self) -> None:
        """Do the jobs."""
        while (job := self._jobs.get()) is not None:
            function, future = job
            result = error = None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - for the coroutine that waits
                error = raised
            self._portal.post(self._settle, future, result, error)
            del job, function, future, result, error

    def _settle(self, future: "asyncio.Future[Any]", result: object, error: object) -> None:
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            # A coroutine that raised it would end the event loop.
            self._portal.fail(error)
            future.cancel()
        elif not future.done():
            future.set_result((result, error))
