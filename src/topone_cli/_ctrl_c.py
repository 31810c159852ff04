"""Ctrl-C as a request to end, for whatever runs an event loop.

The exception that Ctrl-C raises otherwise comes between any two instructions. If a loop is just
being made, the sockets that wake it up stay open; if an event has just left its feed, it is lost.
So Ctrl-C is only noted from before a loop is made until after it is gone, and the loop cancels the
task that it was made for.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

__all__ = ["CtrlC", "noting_ctrl_c", "run_asyncio"]

_T = TypeVar("_T")


class CtrlC:
    """The Ctrl-Cs of a block, and what they do."""

    def __init__(self, former: Any = None) -> None:
        self._former = former
        self._calls: tuple[Callable[[], object], ...] | None = None
        self.count = 0
        """The number of those that came."""

    def calls(self, *calls: Callable[[], object]) -> None:
        """Have the first Ctrl-C call the first of these, the second one the second, also if it has
        come already. Each later one is raised at once."""
        self._calls = calls
        for call in calls[: self.count]:
            _call(call)
        self._let_go()

    def interrupt(self, *_: object) -> None:
        """Handle the signal."""
        self.count += 1
        if self._calls is not None:
            for call in self._calls[self.count - 1 : self.count]:
                _call(call)
            self._let_go()

    def _let_go(self) -> None:
        if self._former is not None and self._calls is not None and self.count >= len(self._calls):
            signal.signal(signal.SIGINT, self._former)


def _call(call: Callable[[], object]) -> None:
    # What a loop raises that has ended.
    with suppress(RuntimeError):
        call()


@contextmanager
def noting_ctrl_c() -> Generator[CtrlC, None, None]:
    """Note Ctrl-C in the block, and raise it at its end.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and the block has ended without another exception.
    """
    if threading.current_thread() is not threading.main_thread():
        yield CtrlC()
        return
    former = signal.getsignal(signal.SIGINT)
    ctrl_c = CtrlC(former)
    signal.signal(signal.SIGINT, ctrl_c.interrupt)
    try:
        yield ctrl_c
    finally:
        signal.signal(signal.SIGINT, former)
    if ctrl_c.count:
        raise KeyboardInterrupt


def run_asyncio(main: Coroutine[Any, Any, _T]) -> _T:
    """Run ``main`` as ``asyncio.run`` does. Ctrl-C cancels it, and is never raised while the loop
    is made.

    Raises:
        KeyboardInterrupt: Ctrl-C came; ``main`` has ended.
    """
    with noting_ctrl_c() as ctrl_c:

        async def cancellable() -> _T:
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            ctrl_c.calls(lambda: loop.call_soon_threadsafe(task.cancel))
            return await main

        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            if not ctrl_c.count:
                raise
    raise KeyboardInterrupt
