"""The part of a feed and of an account that an application sees alike, under any event loop."""

from typing import Generic, Self, TypeVar

from topone_proto.account import AccountStep
from topone_proto.feed.base import BaseCore
from topone_proto.feed.driver import Driver
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.feed.runtime import Runtime
from topone_proto.feed.waiters import Waiter
from topone_proto.secrets.token import AsyncTokenSource
from topone_proto.session.step import Step

__all__ = ["AsyncHandle"]

_Step = TypeVar("_Step", bound=Step | AccountStep)
_Event = TypeVar("_Event")


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
            if step is not None:
                self._driver.take(step)
            else:
                # Reading goes on for the waiter.
                self._driver.pause_or_resume()
            if waiter.is_settled:
                await self._driver.runtime.checkpoint()
            while not waiter.is_settled:
                await self._driver.events_came.wait()
        finally:
            self._driver.callers -= 1
            # Reading goes on only for waiters whose callers still wait.
            left = self._core.leave(waiter, self._driver.now())
            if left is None:
                self._driver.pause_or_resume()
            else:
                self._driver.take(left)
        waiter.result()
