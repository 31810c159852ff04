"""The interfaces between the driver of a feed and an event loop. Nothing here does anything.

An adapter supplies a ``Runtime``, a few lines around its framework's own primitives. The driver
starts every task of a feed through it and awaits nothing else but the WebSocket's methods, so that
the same driver runs under any event loop.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

__all__ = ["Condition", "Runtime", "Task"]

_T = TypeVar("_T")


class Condition(Protocol):
    """A place where tasks wait for a change of one kind: they look, and wait if there is none."""

    def wait(self) -> Awaitable[None]:
        """Wait until ``notify_all`` is called. Awaited at once, or not at all."""
        ...

    def notify_all(self) -> None:
        """Wake all who wait at this moment. Called for every update, mostly with nobody waiting, so
        it should cost little then."""
        ...


class Task(Protocol):
    """A task that ``Runtime.spawn`` has started."""

    def cancel(self) -> object:
        """Cancel it, if it has not ended. May be called more than once, and by the task itself."""
        ...


class Runtime(Protocol):
    """An event loop as one feed uses it. Made anew for each feed."""

    @property
    def check_cancelled(self) -> Callable[[], Awaitable[None]] | None:
        """A function that raises a cancellation which is due and returns at once otherwise. It is
        awaited before each event that is handed out. None where events need no such check."""
        ...

    def clock(self) -> float:
        """Return the time in seconds, by a clock that only goes forward."""
        ...

    def condition(self) -> Condition:
        """Return a new condition."""
        ...

    def spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[BaseException | None], object],
    ) -> Task:
        """Start a task that runs an async function.

        Args:
            function: what to run.
            name: what the task is called in debuggers, after ``topone-``.
            on_end: is called once when the task has ended, in any way, even before it has run.
                Its argument is what the function raised; None if it returned, was cancelled by
                ``Task.cancel``, or together with the application's block. Where others can cancel a
                single task, it is ``FeedCancelled`` then.
        """
        ...

    async def checkpoint(self) -> None:
        """Let other tasks run once."""
        ...

    async def timeout(self, deadline: float, awaitable: Awaitable[None]) -> bool:
        """Await something until the clock says ``deadline``, infinity for never. Returns True if it
        was cancelled for that."""
        ...

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Call a function that may block in a thread, and return its result or raise its exception.
        If it is cancelled meanwhile the function goes on, and nobody waits for it: not the feed,
        not the program's own threads, nor the end of Python.

        Raises:
            OSError: there is no thread.
        """
        ...

    def is_stray_cancellation(self, error: BaseException) -> bool:
        """Return True if an exception is the cancellation of something that the current task has
        waited for, and not of the task itself."""
        ...

    def block(self) -> AbstractContextManager[object]:
        """Return the context manager around the application's block. It suppresses what
        ``interrupt`` has raised in the block, and nothing else."""
        ...

    def interrupt(self) -> None:
        """Cancel the application's block, unless the current task runs it. Called if the feed has
        failed and nobody waits for it. Does nothing where it is not possible."""
        ...

    async def finish(self, closing: Coroutine[Any, Any, None]) -> None:
        """Await the closing of the feed, after the application's block. All tasks have ended then.
        Decides what a cancellation does meanwhile: closing goes on, or is cut short."""
        ...
