"""The feed of an account that comes over a bus, for threads, asyncio and trio."""

import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import sniffio

from topone_proto import ConfigurationError, FeedClosed, LocalProtocolError
from topone_proto._checks import of_kind
from topone_proto.account import RelayEvent
from topone_proto.relay.feed_core import FeedPosition, RelayFeedConfig, RelayFeedCore, RelayMetrics
from topone_relay._async import AsyncRelayFeed, open_asyncio
from topone_relay._bus import Bus
from topone_relay._driver import RelayDriver
from topone_relay._handle import Handle

__all__ = ["RelayFeed", "RelayFeedOpening", "open_feed"]


class RelayFeed:
    """An open feed from a bus: iterate over it for events, in any thread. Made by
    ``with open_feed(…)``.

    Its events and its end are those of ``AsyncRelayFeed``. What the feeds of ``topone_threads`` say
    of Ctrl-C, signals and forks holds here: all of them share one thread for their connections.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> RelayEvent:
        try:
            return self.get()
        except FeedClosed:
            pass
        raise StopIteration

    def get(self, timeout: float | None = None) -> RelayEvent:
        """Return the next event, as iterating gives it.

        Raises:
            TimeoutError: there was none for ``timeout`` seconds.
            FeedClosed: the feed is closed, and all its events were taken.
            FeedFailed: the bus has refused the feed, and all its events were taken; or this process
                was forked after it was opened.
        """
        handle = self._handle
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            handle.settle()
            wait = None if until is None else until - time.monotonic()
            placed = handle.get(wait)
            handle.given = placed
            if placed.event is not None:
                return placed.event

    @property
    def position(self) -> FeedPosition | None:
        """The place behind the event that was handed out last, for ``open_feed(position=…)``; None
        before the first."""
        return self._handle.given.behind

    def close(self) -> None:
        """End it. Idempotent, possible at any time, from any thread and in a signal handler.
        Returns within ``close_timeout``, and a moment. Events that wait can still be taken;
        ``Closed`` is the last of them."""
        self._handle.close()

    def metrics(self) -> RelayMetrics:
        """Return its counters and gauges at this moment. Possible at any time but in a signal
        handler."""
        return self._handle.metrics()


class RelayFeedOpening:
    """A feed from a bus that is not open yet. Made by ``open_feed``.

    ``async with`` opens it under asyncio or trio, whichever runs, and ``with`` for threads; once.
    Under asyncio the bus is used in the program's own event loop. Under trio and for threads it is
    used in one background thread, which ends with the last feed.
    """

    def __init__(
        self,
        bus: Bus,
        account: str,
        position: FeedPosition | str | None,
        durable: str | None,
        config: RelayFeedConfig,
    ) -> None:
        self._core = RelayFeedCore(account, config)
        self._make_driver = partial(
            RelayDriver, self._core, bus, account, _position_of(position), durable
        )
        self._is_used = False
        self._stack = AsyncExitStack()
        self._handle: Handle | None = None

    def __enter__(self) -> RelayFeed:
        self._use()
        self._handle = handle = Handle(self._core, self._make_driver)
        handle.__enter__()
        return RelayFeed(handle)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        assert self._handle is not None
        if kind is None:
            self._handle.settle()
        self._handle.__exit__(kind, *rest)

    async def __aenter__(self) -> AsyncRelayFeed:
        self._use()
        return await self._stack.enter_async_context(self._opened())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    def _use(self) -> None:
        if self._is_used:
            raise LocalProtocolError(
                state="the feed was opened before",
                input="opening it",
                remedy="call open_feed(...) for another",
            )
        self._is_used = True

    def _opened(self) -> AbstractAsyncContextManager[AsyncRelayFeed]:
        if _is_trio():
            from topone_relay._trio import open_handle  # noqa: PLC0415 - trio may not be installed

            return open_handle(self._core, self._make_driver)
        return open_asyncio(self._core, self._make_driver)


def _is_trio() -> bool:
    try:
        return sniffio.current_async_library() == "trio"
    except sniffio.AsyncLibraryNotFoundError:
        return False


def _position_of(position: FeedPosition | str | None) -> FeedPosition | None:
    if isinstance(position, str):
        return FeedPosition.parse(position)
    if position is None:
        return None
    return of_kind(position, FeedPosition, "position")


def open_feed(
    bus: Bus,
    *,
    account: str = "main",
    position: FeedPosition | str | None = None,
    durable: str | None = None,
    capacity: int = 10_000,
    silence_timeout: float | None = 35.0,
    close_timeout: float = 5.0,
) -> RelayFeedOpening:
    """Open a feed of an account that other machines follow, for the length of a ``with`` block:
    ``async with`` under asyncio and trio, ``with`` for threads.

    Without ``position`` and without a ``durable`` that the bus remembers, it begins with the
    account's latest snapshot.

    Args:
        bus: the bus, not used before. The feed closes it.
        account: the account's name on the bus.
        position: the place to go on behind, as ``feed.position`` or its text said it: every later
            event comes once. It goes before what the bus remembers.
        durable: a name under which the bus remembers the place of this feed: the next one with
            the name goes on there. After a process was killed, the events of its last tenth of a
            second come again, and the one that it was at; after the block was left without an error
            none does. Two that run at a time need two names.
        capacity: the number of events that may wait; then no more are read from the bus.
        silence_timeout: the seconds without a message after which ``Stalled`` says that nobody
            follows the account; None for never.
        close_timeout: the seconds that closing may take.

    Raises:
        ConfigurationError: the position is none, or a number or a name cannot be used.
    """
    for setting, name in (("account", account), ("durable", durable)):
        if name is not None and not (isinstance(name, str) and name):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller has a type checker
            raise ConfigurationError(
                setting=setting, problem=f"{name!r:.80} is no name", remedy="use a text"
            )
    config = RelayFeedConfig(
        capacity=capacity, silence_timeout=silence_timeout, close_timeout=close_timeout
    )
    return RelayFeedOpening(bus, account, position, durable, config)
