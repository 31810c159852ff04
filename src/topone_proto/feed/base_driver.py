"""The steps, the tasks, the faults and the back-pressure of a feed, for all that drives it.

Theory. Everything that happens is an input of the machine, and its step goes through ``take``,
which never waits: the events go into the buffer, and the actions to ``_carry_out``. Whoever waits
is woken by a condition and looks again.

A fault of the program (a plug-in or a recorder raises what it should not, a task is cancelled
by others) closes the session. Whoever waits gets the fault; if nobody does, the application's block
is interrupted, for no event would ever come again.

While the application is behind, reading is paused. Each event that it takes may end that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from topone_proto.account import AccountStep
from topone_proto.feed.base import BaseCore
from topone_proto.feed.runtime import Condition, Runtime, Task
from topone_proto.secrets.token import AsyncTokenSource
from topone_proto.session.step import Step

if TYPE_CHECKING:
    from topone_proto.feed.machine import Machine
    from topone_proto.session.session import Session

__all__ = ["BaseDriver"]


class BaseDriver(ABC):
    """The steps and the tasks of one feed.

    Args:
        core: the feed without its I/O.
        runtime: the event loop.
    """

    def __init__(self, core: BaseCore[AsyncTokenSource, Any, Any], runtime: Runtime) -> None:
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
        self.work_came: Condition = runtime.condition()
        """Wakes the task that starts the jobs and keeps the deadline."""
        self.room_came: Condition = runtime.condition()
        """Wakes the task that reads, once the application is no longer behind."""
        self.is_dropped: bool = False
        """True once the present job is given up: nobody waits for what comes of it."""
        self._has_failed = False

    # Steps of the machine.

    def take(self, step: Step | AccountStep) -> None:
        """Pass on a step's events, and see to its actions and its deadline. Never waits."""
        core = self.core
        self._carry_out(core.take(step), step.deadline)
        self.pause_or_resume()
        if core.is_closed:
            self.next = core.get
            self.work_came.notify_all()
        elif core.fault is not None:
            self.fail(core.fault)
        self.events_came.notify_all()

    @abstractmethod
    def _carry_out(self, actions: Iterable[Any], deadline: float | None) -> None:
        """Begin what a step asks for. Never waits."""

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

    def spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[], object],
    ) -> Task:
        """Start a task of the feed, whose fault ends the feed. ``on_end`` is called at its end."""

        def ended(fault: BaseException | None) -> None:
            self.tasks -= 1
            if fault is not None:
                self.fail(fault)
            on_end()
            self.task_ended.notify_all()

        self.tasks += 1
        return self.runtime.spawn(function, name, ended)

    # Back-pressure.

    def go_on(self, step: Step | AccountStep | None) -> None:
        """Pass on the step of a caller; without one, see whether reading goes on for it."""
        if step is None:
            self.pause_or_resume()
        else:
            self.take(step)

    def pause_or_resume(self) -> None:
        """Say whether reading pauses or goes on, if that has changed."""
        step = self.core.pause_or_resume(self.now())
        if step is not None:
            self.next = self._next_making_room if self.core.is_paused else self.core.get
            self.room_came.notify_all()
            self.take(step)

    def _next_making_room(self) -> Any:
        event = self.core.get()
        self.callers += 1
        try:
            self.pause_or_resume()
        finally:
            self.callers -= 1
        return event
