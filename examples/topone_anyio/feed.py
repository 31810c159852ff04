"""The feed and the account: the runtime that the driver needs, made of AnyIO. No protocol here."""

import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from topone_accounts import open_store
from topone_anyio.http import open_http
from topone_anyio.websocket import open_websocket
from topone_proto.adapters import AccountFactory, FeedFactory, OpenAsyncWebSocket, Runtime

T = TypeVar("T")


class Condition:
    """A place where tasks wait for a change. An event is set once: each call makes a new one."""

    def __init__(self) -> None:
        self._change = anyio.Event()
        self._is_awaited = False

    async def wait(self) -> None:
        self._is_awaited = True
        await self._change.wait()

    def notify_all(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self._change.set()
            self._change = anyio.Event()


class AnyioRuntime:
    check_cancelled = staticmethod(anyio.lowlevel.checkpoint_if_cancelled)
    clock = staticmethod(anyio.current_time)
    condition = Condition
    checkpoint = staticmethod(anyio.lowlevel.checkpoint)

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._opener = anyio.get_current_task().id
        self._block = anyio.CancelScope()

    def spawn(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        on_end: Callable[[BaseException | None], object],
    ) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        self._tasks.start_soon(run, scope, function, on_end, name=f"topone-{name}")
        return scope

    async def timeout(self, deadline: float, awaitable: Awaitable[None]) -> bool:
        with anyio.CancelScope(deadline=deadline) as scope:
            await awaitable
        return scope.cancelled_caught

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)

    def is_stray_cancellation(self, error: BaseException) -> bool:  # noqa: ARG002 - see the Runtime
        return False

    def block(self) -> anyio.CancelScope:
        return self._block

    def interrupt(self) -> None:
        if anyio.get_current_task().id != self._opener:
            self._block.cancel()

    async def finish(self, closing: Coroutine[Any, Any, None]) -> None:
        with anyio.CancelScope(shield=True):
            await closing


async def run(
    scope: anyio.CancelScope,
    function: Callable[[], Coroutine[Any, Any, None]],
    on_end: Callable[[BaseException | None], object],
) -> None:
    fault: BaseException | None = None
    try:
        with scope:
            await function()
    except anyio.get_cancelled_exc_class():
        raise
    except BaseException as error:  # noqa: BLE001 - the feed raises it to whoever waits
        fault = error
    finally:
        on_end(fault)
        del fault  # no cycle of the exception and this frame


@asynccontextmanager
async def open_runtime() -> AsyncGenerator[Runtime, None]:
    async with anyio.create_task_group() as tasks:
        yield AnyioRuntime(tasks)


def open_with(ssl_context: ssl.SSLContext | None) -> OpenAsyncWebSocket:
    return partial(open_websocket, ssl_context=ssl_context)


feeds = FeedFactory(open_runtime, open_with, jitter=random.random, wall=time.time)

open_feed = feeds.open_feed
open_market_feed = feeds.open_market_feed
open_account = AccountFactory(
    open_runtime, open_with, open_http, open_store, jitter=random.random, wall=time.time
).open_account
