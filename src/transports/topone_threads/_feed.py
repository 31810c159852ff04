"""The threads adapter: a feed of asyncio's in the I/O thread, for programs without an event loop.

Theory. The feed's coroutines run in the I/O thread and put events into the core's buffer. Threads
of the application take them out under the same lock. One that has to wait is woken by the next
event; one that Ctrl-C interrupts hands the event back that it has taken.
"""

import random
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, NoReturn, Self, TypeVar

import attrs

import topone_asyncio
from topone_asyncio._feed import AsyncioRuntime
from topone_proto import (
    Event,
    Failure,
    FailureKind,
    FeedClosed,
    FeedFailed,
    FeedMetrics,
    LocalProtocolError,
    Step,
    Token,
    Topic,
    TopOneError,
)
from topone_proto.adapters import AsyncFeed, FeedCore, FeedOpener, OpenAsyncWebSocket, wrapped
from topone_proto.feed.driver import Driver
from topone_proto.session.actions import Action
from topone_proto.session.pulls import Moment
from topone_threads import _io
from topone_threads._websocket import OpenWebSocket, dial_in_threads

__all__ = ["Feed", "open_feed", "open_market_feed"]

_T = TypeVar("_T")

# Token calls that have not returned: with so many, there is no further one.
_MOST_CALLS: Final = 4

# Beyond ``SessionConfig.close_timeout``: seconds for the I/O thread to get round to it.
_GRACE: Final = 0.5


class _Core(FeedCore[Any]):
    """A core whose events are put by one thread and taken by others."""

    ring: Callable[[], object] = bool

    def take(self, step: Step) -> tuple[Action, ...]:
        with _io.lock:
            actions = super().take(step)
        self.ring()
        return actions

    def take_update(self, step: Step) -> bool:
        with _io.lock:
            is_taken = super().take_update(step)
        if is_taken:
            self.ring()
        return is_taken


class Feed:
    """An open feed: iterate over it for events, in any number of threads. Made by ``open_feed``.

    Every event is given once, in order. Iterating ends after ``Closed``, which ``close`` or leaving
    the block brings about. It raises ``FeedFailed`` there if the feed ended by itself, because
    trying again cannot help; a fault of the program, such as an exception of ``record=``, is raised
    there as it is.

    All feeds of a process share one thread for their connections, which ends with the last feed; a
    feed with ``record=`` has one of its own. A name lookup and a call of the token callable take
    place in a short-lived thread each. Nothing can interrupt these two, so ``close`` does not wait
    for them; they do not keep Python from exiting. A token call that takes longer than
    ``SessionConfig.token_timeout`` is given up: it goes on, its result is ignored, and the next
    dial calls again. While four of them go on, there is no further call, and the dial fails. In the
    token callable ``get`` with a timeout, ``metrics`` and ``close`` may be called; ``subscribe``
    and ``unsubscribe`` would wait for the token, and raise ``LocalProtocolError``.

    A feed belongs to the process that opened it. After ``os.fork`` it goes on in the parent; in the
    child every call raises ``FeedFailed``, ``close`` returns at once, and a new feed can be opened.
    """

    def __init__(
        self,
        core: FeedCore[Callable[[], str | Token]],
        open_websocket: OpenWebSocket | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        assert isinstance(core, _Core)
        self._core = core
        self._portal = _io.Portal(
            self._live, self._fail, self._raise_end, is_alone=core.is_recorded
        )
        core.ring = self._portal.ring
        if core.token_source is not None:
            core.token_source = partial(self._call_token, core.token_source)
        self._open_websocket: OpenAsyncWebSocket = (
            partial(topone_asyncio.open_websocket, ssl_context=ssl_context)
            if open_websocket is None
            else partial(dial_in_threads, self._portal, open_websocket)
        )
        self._feed: _Feed | None = None
        self._is_entered = False
        self._handed_back: list[Event] = []
        # The thread of the token call that is waited for, and those that still run.
        self._caller: _io.Worker | None = None
        self._callers: list[_io.Worker] = []

    def __enter__(self) -> Self:
        try:
            if not self._is_entered and not self._core.is_closed:
                self._is_entered = True
                self._portal.start()
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

    def __next__(self) -> Event:
        try:
            return self.get()
        except FeedClosed:
            pass
        raise StopIteration

    def get(self, timeout: float | None = None) -> Event:
        """Return the next event, as iterating gives it.

        Raises:
            TimeoutError: there was none for ``timeout`` seconds.
            FeedClosed: the feed is closed, and all its events were taken.
            FeedFailed: the feed ended by itself, and all its events were taken; or this process was
                forked after it was opened.
            LocalProtocolError: the ``with`` block of the feed was not entered.
        """
        taken: list[Event] = []
        try:
            if self._portal.is_forked or not self._take_into(taken):
                self._refuse("get")
                self._portal.wait(lambda: self._take_into(taken) or self._core.is_over, timeout)
            if self._core.is_paused and self._core.may_resume:
                self._portal.post(self._make_room)
            return taken[0] if taken else self._raise_end()
        except BaseException:
            # Most often a Ctrl-C; nobody was given this event.
            self._handed_back += taken
            self._portal.ring()
            raise

    def subscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        Raises what ``AsyncFeed.subscribe`` does, and:

        Raises:
            TimeoutError: ``timeout`` seconds are over. The topic stays desired.
            FeedFailed: the feed ended by itself, or this process was forked after it was opened.
            LocalProtocolError: another call wanted the opposite first, the ``with`` block of the
                feed was not entered, or this was called in the feed's own token callable.
        """
        self._ask("subscribe", topic, timeout=timeout)

    def unsubscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if unconnected.

        Raises what ``subscribe`` does. The topic is no longer desired then, but for
        ``SubscriptionRejected``: the exchange goes on sending it.
        """
        self._ask("unsubscribe", topic, timeout=timeout)

    def pull(
        self, topic: Topic[_T], start: Moment, end: Moment, timeout: float | None = None
    ) -> tuple[_T, ...]:
        """Return all values of a topic in a span of time, as ``AsyncFeed.pull`` does.

        Raises what that does, what ``subscribe`` does in a place where it cannot be called, and:

        Raises:
            TimeoutError: ``timeout`` seconds are over. Nothing more is asked for.

        >>> candles = feed.pull(kline("BTC/USDT", "1m"), now - timedelta(hours=1), now)
        """
        values: tuple[_T, ...] = self._ask("pull", topic, start, end, timeout=timeout)
        return values

    def close(self) -> None:
        """End the feed. Idempotent, possible at any time and from any thread.

        Done within ``SessionConfig.close_timeout``, and a moment. Events that wait can still be
        taken; ``Closed`` is the last of them. Raises a fault of the program that ended the feed, if
        nobody was given it before.

        Of all methods only this one may be called in a signal handler. If the handler interrupted a
        method of a feed, the feed may end only after the handler has returned; nothing waits for
        that here.
        """
        if self._stop():
            self._core.raise_unseen_fault()

    def metrics(self) -> FeedMetrics:
        """Return the counters and gauges of the feed at this moment. Possible at any time but in a
        signal handler."""
        measured: list[FeedMetrics] = []

        def measure() -> None:
            measured.append(self._core.metrics(time.monotonic()))
            self._portal.ring()

        if self._is_entered and not self._portal.is_here:
            self._portal.post(measure)
            self._portal.wait(lambda: measured or self._portal.is_over, None)
        if not measured:
            measure()
        metrics = measured[0]
        if not self._portal.is_forked:
            return metrics
        return attrs.evolve(
            metrics,
            is_connected=False,
            epoch_age=None,
            last_received_age=None,
            ack_latency=None,
            lag={},
        )

    # In any thread.

    def _take_into(self, taken: list[Event]) -> bool:
        with _io.lock:
            event: Event | None
            if self._handed_back:
                event = self._handed_back[-1]
                del self._handed_back[-1]
            elif (event := self._core.get()) is None:
                return False
            # A Ctrl-C comes after a call, so that no event is on neither list then.
            taken.append(event)
        return True

    def _refuse(self, method: str) -> None:
        """Raise if nothing can come of a call that waits."""
        if self._portal.is_forked:
            raise FeedFailed(Failure(FailureKind.FORKED))
        if self._portal.is_here:
            raise LocalProtocolError(
                state="the feed's own thread waits for it",
                input=method,
                remedy="call it in another thread than that of record=",
            )
        if not self._is_entered and not self._core.is_closed:
            raise LocalProtocolError(
                state="the feed is not open", input=method, remedy="use it in a with block"
            )

    def _raise_end(self) -> NoReturn:
        self._core.raise_failure()
        raise FeedClosed

    def _ask(self, method: str, *arguments: object, timeout: float | None) -> Any:
        self._refuse(method)
        if self._portal.is_over:
            self._raise_end()
        caller = threading.current_thread()
        return self._portal.call(self._asked, caller, method, *arguments, timeout=timeout)

    def _stop(self) -> bool:
        patience = self._core.config.close_timeout + _GRACE
        return not self._portal.is_forked and self._portal.stop(self._close, patience)

    # In the I/O thread, or where there is none.

    async def _live(self) -> None:
        # A signal handler may have closed it by now.
        if not self._core.is_closed:
            runtime = _Runtime()
            self._feed = _Feed(self._core, self._open_websocket, runtime)
            await runtime.ended()

    def _fail(self, fault: BaseException) -> None:
        if self._feed is None:
            self._core.fail(fault)
            self._close()
        else:
            self._feed.driver.fail(fault)

    def _close(self) -> None:
        if not self._core.is_closed:
            take = self._core.take if self._feed is None else self._feed.driver.take
            take(self._core.session.close(time.monotonic()))

    def _make_room(self) -> None:
        assert self._feed is not None
        self._feed.driver.pause_or_resume()

    async def _asked(self, thread: threading.Thread, method: str, *arguments: object) -> Any:
        if thread is self._caller:
            raise LocalProtocolError(
                state="the feed waits for its token callable, which asks for it",
                input=method,
                remedy="call it after the token callable has returned; get(timeout=...), close() "
                "and metrics() are possible there",
            )
        return await getattr(self._feed, method)(*arguments)

    async def _call_token(self, source: Callable[[], object]) -> Any:
        self._callers = [caller for caller in self._callers if caller.is_alive()]
        if len(self._callers) >= _MOST_CALLS:
            raise TooManyTokenCallsError
        self._caller = caller = _io.Worker(self._portal, "token")
        try:
            caller.start()
            self._callers.append(caller)
            return await caller.do(lambda: wrapped(source()))
        finally:
            self._caller = None
            caller.stop()


class TooManyTokenCallsError(TopOneError):
    """The token callables called before have not returned."""


class _Runtime(AsyncioRuntime):
    """A runtime for feeds that no task of the application has entered."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupt = lambda: None


class _Feed(AsyncFeed):
    """The feed in the I/O thread."""

    @property
    def driver(self) -> Driver:
        """The coroutines of the feed."""
        return self._driver


_feeds: FeedOpener[Callable[[], str | Token], OpenWebSocket, AbstractContextManager[Feed]] = (
    FeedOpener(Feed, jitter=random.random, wall=time.time, core=_Core)
)

open_feed: Final = _feeds.open_feed
"""Open a feed of an account's updates; see ``FeedOpener.open_feed``."""

open_market_feed: Final = _feeds.open_market_feed
"""Open a feed of market data; see ``FeedOpener.open_market_feed``."""
