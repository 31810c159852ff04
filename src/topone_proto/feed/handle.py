"""The part of a feed and of an account that an application sees alike, under any event loop."""

from collections.abc import Sized
from typing import Any, Generic, Protocol, Self, TypeVar

from topone_proto.account import AccountStep
from topone_proto.feed.base import BaseCore
from topone_proto.feed.driver import Driver
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.feed.runtime import Runtime
from topone_proto.feed.waiters import Waiter
from topone_proto.secrets.token import AsyncTokenSource
from topone_proto.session.step import Step

__all__ = ["AsyncHandle", "HandleCore", "HandleDriver", "OpenHandle"]

_Step = TypeVar("_Step", bound=Step | AccountStep)
_Event = TypeVar("_Event")
_Event_co = TypeVar("_Event_co", covariant=True)


class _Closable(Protocol):
    def close(self, now: float) -> Any:
        """End it. The step goes through ``take``."""
        ...


class HandleCore(Protocol[_Event_co]):
    """A core of anything that an application iterates over, as the handles of adapters use it;
    ``BaseCore`` is one."""

    is_closed: bool
    """True once it has ended, or nothing drives it any more. Events may still wait; no later one
    comes, for threads look without a lock."""

    @property
    def machine(self) -> _Closable:
        """Takes the inputs."""
        ...

    @property
    def is_over(self) -> bool:
        """True if no event will come any more."""
        ...

    @property
    def is_paused(self) -> bool:
        """True while the application is behind."""
        ...

    @property
    def may_resume(self) -> bool:
        """True if what has paused should go on."""
        ...

    @property
    def events(self) -> Sized:
        """The events that wait to be taken by ``get``, to be counted."""
        ...

    @property
    def is_recorded(self) -> bool:
        """True if it is recorded."""
        ...

    @property
    def fault(self) -> BaseException | None:
        """The fault of the program that ended it; None without one."""
        ...

    @property
    def get(self) -> "_Get[_Event_co]":
        """The next event; None if there is none now."""
        ...

    def take(self, step: Any) -> object:
        """Take a step of the machine in."""
        ...

    def fail(self, fault: BaseException) -> None:
        """Note a fault of the program."""
        ...

    def raise_failure(self) -> None:
        """Raise what it ended by, unless it was closed."""
        ...

    def raise_unseen_fault(self) -> None:
        """Raise a fault that nobody was given yet."""
        ...


class _Get(Protocol[_Event_co]):
    def __call__(self) -> _Event_co | None: ...


class HandleDriver(Protocol):
    """A driver as a handle in another thread uses it; ``Driver`` is one."""

    def pause_or_resume(self) -> object:
        """See whether reading should pause or go on."""
        ...

    def fail(self, fault: BaseException) -> object:
        """End with a fault of the program."""
        ...

    def take(self, step: Any) -> object:
        """Pass on a step of the machine."""
        ...


class OpenHandle(Protocol):
    """An open handle under an event loop; ``AsyncHandle`` is one."""

    async def close(self) -> None:
        """End it."""
        ...


class AsyncHandle(Generic[_Step, _Event]):
    """An open feed or account: iterate over it for events, close it, look at its metrics."""

    def __init__(
        self, core: BaseCore[AsyncTokenSource, _Step, _Event], driver: Driver, runtime: Runtime
    ) -> None:
        self._core = core
        self._check_cancelled = runtime.check_cancelled
        self._driver = driver

    @property
    def driver(self) -> Driver:
        """The coroutines that carry out what the core decides, for the author of an adapter."""
        return self._driver

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Event:
        if self._check_cancelled is not None:
            await self._check_cancelled()
        # Other tasks get their turn when no event waits.
        while (event := self._driver.next()) is None:
            if self._core.is_over:
                self._core.raise_failure()
                raise StopAsyncIteration
            self._driver.callers += 1
            try:
                await self._driver.events_came.wait()
            finally:
                self._driver.callers -= 1
        taken: _Event = event
        return taken

    async def close(self) -> None:
        """End it. Idempotent, possible at any time.

        Returns within ``SessionConfig.close_timeout``. Events that wait can still be taken;
        ``Closed`` is the last of them.

        Raises a fault of the program that ended it, if nobody was given it before.
        """
        self._driver.callers += 1
        try:
            self._driver.take(self._driver.machine.close(self._driver.now()))
            while self._driver.tasks:
                await self._driver.task_ended.wait()
        finally:
            self._driver.callers -= 1
        self._core.raise_unseen_fault()

    def metrics(self) -> FeedMetrics:
        """Return its counters and gauges at this moment. Cheap, and possible at any time."""
        return self._core.metrics(self._driver.now())

    async def _settled(self, waiter: Waiter, step: _Step | None) -> None:
        self._driver.callers += 1
        try:
            self._driver.go_on(step)
            if waiter.is_settled:
                await self._driver.runtime.checkpoint()
            while not waiter.is_settled:
                await self._driver.events_came.wait()
        finally:
            self._driver.callers -= 1
            # Reading goes on only for waiters whose callers still wait.
            self._driver.go_on(self._core.leave(waiter, self._driver.now()))
        if self._check_cancelled is not None:
            # What cancels the caller may have closed the feed as well: the caller is cancelled.
            await self._check_cancelled()
        waiter.result()
