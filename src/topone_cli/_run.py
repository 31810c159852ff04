"""A feed through each of the adapters, from open to end: the same in the three idioms."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol

from attrs import frozen

from topone_cli._ctrl_c import noting_ctrl_c, run_asyncio
from topone_cli._describe import refusal
from topone_cli._errors import CommandFailed, explain_failure
from topone_cli._events import AnyEvent
from topone_cli._files import Recorder
from topone_cli._streams import output_failure
from topone_proto import (
    Closed,
    Disconnected,
    Failure,
    FeedClosed,
    Resumed,
    Snapshot,
    Stalled,
    Subscribed,
    SubscriptionRejected,
    Token,
    Topic,
    TopOneError,
)

__all__ = ["SILENT", "Adapter", "History", "Opened", "Source", "choose_adapter", "run_feed"]

SILENT: Final = "the server did not answer; give it more time"

_Take = Callable[[AnyEvent], bool]
"""Takes an event. Returns True to go on."""
_Open = Callable[[Any], Any]
"""Opens a feed with the module of an adapter."""


class Adapter(StrEnum):
    """The ways of doing I/O."""

    TRIO = "trio"
    ASYNCIO = "asyncio"
    THREADS = "threads"


# What the adapters are made of: the extras bring it.
_LIBRARIES: Final = frozenset(
    {"aiohttp", "trio", "trio_websocket", "websockets", "wsproto", "yarl"}
)


def choose_adapter(wanted: Adapter | None) -> Adapter:
    """Return ``wanted``, or, if that is None, the first adapter that is installed.

    Raises:
        ImportError: what it needs is not installed; its text says which extra to add.
    """
    for adapter in Adapter if wanted is None else (wanted,):
        try:
            import_module(f"topone_{adapter}")
        except ImportError as error:
            is_extra = (error.name or "").partition(".")[0] in _LIBRARIES
            if wanted is not None or not is_extra:
                raise
        else:
            return adapter
    extras = ", ".join(f'"topone-proto[{adapter}]"' for adapter in Adapter)
    raise ImportError(f"no adapter is installed: pip install one of {extras}")


class Opened(Protocol):
    """A feed or an account that can be opened, with any adapter."""

    @property
    def url(self) -> str:
        """The server."""
        ...

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that are followed there."""
        ...

    @property
    def token(self) -> Token | Callable[[], Token] | None:
        """The account's token, or what gets it; None without one."""
        ...

    @property
    def if_nothing_came(self) -> str:
        """The likely cause if nothing comes and no failure is known."""
        ...

    def open(self, adapter: Any, record: Callable[[str], object] | None) -> Any:
        """Open it with the module of an adapter."""
        ...


@frozen(kw_only=True)
class Source:
    """A server, and what to follow there."""

    url: str
    topics: tuple[Topic, ...]
    token: Token | Callable[[], Token] | None = None
    """The account's token, or what gets it; None for market data, which needs none."""
    origin: str | None = None
    insecure: bool = False
    if_nothing_came: str = SILENT

    def open(self, adapter: Any, record: Callable[[str], object] | None) -> Any:
        """Open a feed with the module of an adapter."""
        arguments = {
            "url": self.url,
            "topics": self.topics,
            "origin": self.origin,
            "insecure": self.insecure,
            "record": record,
        }
        if self.token is None:
            return adapter.open_market_feed(**arguments)
        return adapter.open_feed(token=self.token, **arguments)


@frozen
class History:
    """Values from the past, asked for whenever their topic has been subscribed to."""

    topic: Topic
    """The topic of the values."""
    seconds: float
    """The length of the past."""
    take: Callable[[tuple[Any, ...]], object]
    """Takes the values."""
    note: Callable[[str], object]
    """Takes the words for why there are none."""

    def span(self, event: AnyEvent) -> tuple[float, float] | None:
        """Return the span to ask for after ``event``, in seconds since 1970 UTC; None for none."""
        if not isinstance(event, Subscribed) or event.topic != self.topic:
            return None
        end = time.time() if event.ts is None else event.ts / 1000
        return end - self.seconds, end

    def fail(self, error: TopOneError) -> None:
        """Say why there are no values, unless the feed was closed meanwhile."""
        if not isinstance(error, FeedClosed):
            self.note(f"no values of the past of {self.topic}: {error}")


def run_feed(
    adapter: Adapter,
    source: Opened,
    handle: Callable[[Any], object],
    seconds: float | None,
    recorder: Recorder | None = None,
    history: History | None = None,
    *,
    is_broken: Callable[[], bool] = lambda: False,
) -> None:
    """Give every event of a feed or an account to ``handle``: for so many seconds, until Ctrl-C,
    until every topic is
    refused, or until it cannot be shown or recorded. The last event is ``Closed``, however it ends.

    Raises:
        CommandFailed: every topic is refused, or none was subscribed to in all that time.
        FeedFailed: the feed ended by itself.
        ConfigurationError: the token, the URL or the origin cannot be used.
        ImportError: the adapter's extra is not installed.
        KeyboardInterrupt: Ctrl-C; the feed is closed.
    """
    outcome = _Outcome(source.topics, source.if_nothing_came)
    is_closed = False

    def take(event: AnyEvent) -> bool:
        nonlocal is_closed
        if is_closed:
            # What an account says of its knowledge then is no news.
            return False
        is_closed = isinstance(event, Closed)
        outcome.take(event)
        handle(event)
        cannot_go_on = is_broken() or (recorder is not None and recorder.is_broken)
        return not (outcome.is_refused or cannot_go_on or output_failure() is not None)

    record = None if recorder is None else recorder.write
    _RUNNERS[adapter](partial(source.open, record=record), take, seconds, history)
    if output_failure() is None:
        outcome.require_success()


class _Outcome:
    """The fate of the subscriptions."""

    def __init__(self, topics: Iterable[Topic], if_nothing_came: str) -> None:
        self._if_nothing_came = if_nothing_came
        self._refusals: dict[Topic, SubscriptionRejected | None] = dict.fromkeys(topics)
        self._is_subscribed = False
        self._trouble: Failure | None = None
        self._stall: str | None = None

    @property
    def is_refused(self) -> bool:
        """True if no topic is left to follow."""
        return None not in self._refusals.values()

    def take(self, event: AnyEvent) -> None:
        match event:
            case SubscriptionRejected(topic=topic):
                # What is to be tried again is not refused for good.
                self._refusals[topic] = event if event.retry_in is None else None
            case Snapshot():
                self._is_subscribed = True
            case Stalled(reason=reason, detail=detail):
                self._stall = f"{reason} ({detail})"
            case Resumed():
                self._stall = None
            case Subscribed(topic=topic):
                self._is_subscribed = True
                self._refusals[topic] = None
            case Disconnected(reason=reason):
                self._trouble = reason
            case _:
                pass

    def require_success(self) -> None:
        if self.is_refused:
            refusals = (event for event in self._refusals.values() if event is not None)
            raise CommandFailed("; ".join(map(refusal, refusals)))
        if not self._is_subscribed:
            trouble = self._if_nothing_came
            if self._stall is not None:
                trouble = self._stall
            elif self._trouble is not None:
                trouble = explain_failure(self._trouble)
            raise CommandFailed(f"no topic was ever subscribed to: {trouble}")


def _run_trio(
    open_feed: _Open, take: _Take, seconds: float | None, history: History | None
) -> None:
    import trio

    import topone_trio

    async def main() -> None:
        soon = trio.lowlevel.current_trio_token().run_sync_soon
        with trio.CancelScope() as everything:
            ctrl_c.calls(lambda: soon(everything.cancel))
            async with open_feed(topone_trio) as feed:
                try:
                    with trio.move_on_after(math.inf if seconds is None else seconds) as following:
                        ctrl_c.calls(
                            lambda: soon(following.cancel), lambda: soon(everything.cancel)
                        )
                        await _follow(feed, take, history)
                finally:
                    await feed.close()
                    await _take_rest(feed, take)

    with noting_ctrl_c() as ctrl_c:
        trio.run(main)


def _run_asyncio(
    open_feed: _Open, take: _Take, seconds: float | None, history: History | None
) -> None:
    import topone_asyncio

    async def main() -> None:
        async with open_feed(topone_asyncio) as feed:
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await _follow(feed, take, history)
            finally:
                await feed.close()
                await _take_rest(feed, take)

    run_asyncio(main())


async def _follow(feed: Any, take: _Take, history: History | None) -> None:
    async for event in feed:
        if not take(event):
            break
        if history is not None and (span := history.span(event)) is not None:
            try:
                history.take(await feed.pull(history.topic, *span))
            except TopOneError as error:
                history.fail(error)


async def _take_rest(feed: AsyncIterable[AnyEvent], take: _Take) -> None:
    async for event in feed:
        take(event)


def _run_threads(
    open_feed: _Open, take: _Take, seconds: float | None, history: History | None
) -> None:
    import topone_threads

    # Raised at once, Ctrl-C could come between an event's leaving the feed and its being handled.
    with open_feed(topone_threads) as feed, noting_ctrl_c() as ctrl_c:
        ctrl_c.calls(feed.close)
        timer = threading.Timer(seconds or 0, feed.close)
        if seconds is not None:
            timer.start()
        try:
            for event in feed:
                if not take(event):
                    break
                if history is not None and (span := history.span(event)) is not None:
                    try:
                        history.take(feed.pull(history.topic, *span))
                    except TopOneError as error:
                        history.fail(error)
        finally:
            timer.cancel()
            feed.close()
            for event in feed:
                take(event)


_RUNNERS: Final = {
    Adapter.TRIO: _run_trio,
    Adapter.ASYNCIO: _run_asyncio,
    Adapter.THREADS: _run_threads,
}
