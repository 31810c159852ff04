"""One way to speak to the feeds of all adapters: each runs in its own idiom, in a thread, and is
called from the test.

A scenario is then written once, as a plain function, and its event log has to be the same three
times.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import trio

import topone_asyncio
import topone_threads
import topone_trio
from topone_proto import Event, Topic
from topone_trio import over_websockets

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which something that should have come has not: a failure, never a pass."""


class AsyncFeed(Protocol):
    def __aiter__(self) -> AsyncIterator[Event]: ...
    async def subscribe(self, topic: Topic) -> None: ...
    async def unsubscribe(self, topic: Topic) -> None: ...
    async def close(self) -> None: ...


class Portal(Protocol):
    """A feed, as a thread outside sees it."""

    def next(self) -> Event | None:
        """The next event; None at the end. Raises what iterating raises."""

    def subscribe(self, topic: Topic) -> None: ...
    def unsubscribe(self, topic: Topic) -> None: ...
    def close(self) -> None: ...


Open = Callable[..., AbstractContextManager[Portal]]


class _AsyncPortal:
    def __init__(
        self, feed: AsyncFeed, call: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    ) -> None:
        self._feed = feed
        self._call = call
        self._events = feed.__aiter__()

    def next(self) -> Event | None:
        async def step() -> Event | None:
            try:
                return await self._events.__anext__()
            except StopAsyncIteration:
                return None

        event: Event | None = self._call(step)
        return event

    def subscribe(self, topic: Topic) -> None:
        self._call(lambda: self._feed.subscribe(topic))

    def unsubscribe(self, topic: Topic) -> None:
        self._call(lambda: self._feed.unsubscribe(topic))

    def close(self) -> None:
        self._call(self._feed.close)


@contextmanager
def _in_thread(
    run: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    body: Callable[["Future[tuple[Portal, Callable[[], object]]]"], Coroutine[Any, Any, None]],
) -> Iterator[Portal]:
    started: Future[tuple[Portal, Callable[[], object]]] = Future()
    ended: Future[None] = Future()

    def main() -> None:
        try:
            run(lambda: body(started))
            ended.set_result(None)
        except BaseException as error:
            (ended if started.done() else started).set_exception(error)

    thread = threading.Thread(target=main)
    thread.start()
    portal, stop = started.result(PATIENCE)
    try:
        yield portal
    finally:
        stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    ended.result(0)


def open_trio(**arguments: Any) -> AbstractContextManager[Portal]:
    async def body(started: "Future[tuple[Portal, Callable[[], object]]]") -> None:
        token = trio.lowlevel.current_trio_token()
        stop = trio.Event()

        def call(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
            async def bounded() -> T:
                with trio.fail_after(PATIENCE):
                    return await function()

            return trio.from_thread.run(bounded, trio_token=token)

        async with topone_trio.open_feed(**arguments) as feed:
            started.set_result(
                (
                    _AsyncPortal(feed, call),
                    lambda: trio.from_thread.run_sync(stop.set, trio_token=token),
                )
            )
            await stop.wait()

    return _in_thread(trio.run, body)


def open_asyncio(**arguments: Any) -> AbstractContextManager[Portal]:
    async def body(started: "Future[tuple[Portal, Callable[[], object]]]") -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def call(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
            return asyncio.run_coroutine_threadsafe(function(), loop).result(PATIENCE)

        async with topone_asyncio.open_feed(**arguments) as feed:
            started.set_result(
                (_AsyncPortal(feed, call), partial(loop.call_soon_threadsafe, stop.set))
            )
            await stop.wait()

    return _in_thread(lambda main: asyncio.run(main(), debug=True), body)


class _ThreadsPortal:
    def __init__(self, feed: topone_threads.Feed) -> None:
        self._feed = feed

    def next(self) -> Event | None:
        return next(self._feed, None)

    def subscribe(self, topic: Topic) -> None:
        self._feed.subscribe(topic, timeout=PATIENCE)

    def unsubscribe(self, topic: Topic) -> None:
        self._feed.unsubscribe(topic, timeout=PATIENCE)

    def close(self) -> None:
        self._feed.close()


@contextmanager
def open_threads(**arguments: Any) -> Iterator[Portal]:
    with topone_threads.open_feed(**arguments) as feed:
        yield _ThreadsPortal(feed)


PORTALS: dict[str, Open] = {
    "trio": open_trio,
    "asyncio": open_asyncio,
    "threads": open_threads,
}


def open_trio_over_websockets(**arguments: Any) -> AbstractContextManager[Portal]:
    context = arguments.pop("ssl_context", None)
    return open_trio(
        open_websocket=partial(over_websockets.open_websocket, ssl_context=context), **arguments
    )


PORTALS["trio over websockets"] = open_trio_over_websockets
