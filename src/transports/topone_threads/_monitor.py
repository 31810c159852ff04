"""Threads that take turns as tasks do under an event loop. Nothing here knows of feeds.

One lock does it: a thread runs while it holds the lock, and others have their turn only while it
waits, for a ``Bell`` or ``outside``. So threads can run coroutines that were written
for tasks. These never suspend then, they block.
"""

import math
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

__all__ = ["Cancelled", "Monitor", "Scope"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Cancelled(BaseException):
    """What this thread was doing was given up."""


class Scope:
    """What one or several threads do and can be made to give up, each when it next waits or has
    waited."""

    is_cancelled: bool = False
    """True once it was given up."""


class _Here(threading.local):
    """What is particular to the thread that asks."""

    scope: Scope | None = None
    until: float = math.inf

    def check(self) -> None:
        if self.scope is not None and self.scope.is_cancelled:
            raise Cancelled


class _Bell:
    def __init__(self, lock: threading.RLock, here: _Here) -> None:
        self._news = threading.Condition(lock)
        self._here = here
        # Asking the condition would cost every ring more.
        self._is_awaited = False

    async def wait(self) -> None:
        self._here.check()
        patience = self._here.until - time.monotonic()
        if patience <= 0:
            raise TimeoutError
        self._is_awaited = True
        self._news.wait(None if patience == math.inf else patience)
        self._here.check()

    def ring(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self._news.notify_all()


class _Outside:
    def __init__(self, lock: threading.RLock, here: _Here) -> None:
        self._lock = lock
        self._here = here

    def __enter__(self) -> None:
        self._here.check()
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self._lock.acquire()
        self._here.check()


class Monitor:
    """The lock, and what is done with it held or without it."""

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        """Taken by itself, never by way of a condition, whose ``__enter__`` a Ctrl-C could
        interrupt half-way. Nothing takes it twice; it is reentrant because such a lock knows its
        thread."""
        self._here = _Here()
        self.outside: _Outside = _Outside(self.lock, self._here)
        """``with`` it, do what may block: others have their turn meanwhile."""

    def bell(self) -> _Bell:
        """A ``topone_proto.Bell``, to wait for and to ring with the lock held."""
        return _Bell(self.lock, self._here)

    def enter(self, scope: Scope | None) -> None:
        """From now on this thread works on what ``scope`` stands for, or on what cannot be
        cancelled."""
        self._here.scope = scope

    def run(
        self, function: Callable[_P, Coroutine[Any, Any, _T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Take the lock and run a coroutine."""
        with self.lock:
            # Made only here, where no Ctrl-C comes before it runs.
            coroutine = function(*args, **kwargs)
            try:
                coroutine.send(None)
            except StopIteration as stop:
                result: _T = stop.value
                return result
            raise AssertionError(coroutine)

    def run_for(
        self,
        timeout: float | None,
        function: Callable[_P, Coroutine[Any, Any, _T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """The same, for so many seconds at most.

        Raises:
            TimeoutError: they are over, and it still waits for a bell.
        """
        self._here.until = math.inf if timeout is None else time.monotonic() + timeout
        return self.run(function, *args, **kwargs)

    def thread(
        self,
        name: str,
        function: Callable[[], Coroutine[Any, Any, None]],
        scope: Scope | None,
        on_fault: Callable[[BaseException], None],
    ) -> threading.Thread:
        """A thread that will run a coroutine, until that ends or ``scope`` is cancelled."""

        def run() -> None:
            self.enter(scope)
            try:
                with suppress(Cancelled):
                    self.run(function)
            except BaseException as fault:  # noqa: BLE001 - there is nobody else to raise it to
                with self.lock:
                    on_fault(fault)

        return threading.Thread(target=run, name=name, daemon=True)

    def is_held_here(self) -> bool:
        """Whether this thread holds the lock. A signal handler needs to know."""
        try:
            threading.Condition(self.lock).notify(0)
        except RuntimeError:
            return False
        return True
