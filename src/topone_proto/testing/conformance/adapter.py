"""The door of the kit: what it is given to check, and what it is given to check it with. Types, and
what makes a blocking feed look like any other."""

import ssl
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from attrs import frozen

from topone_proto.events import Event
from topone_proto.exchange import Fault, GatewayConfig, LivingMarket
from topone_proto.secrets.token import Token
from topone_proto.session.address import Headers
from topone_proto.session.config import SessionConfig
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic

__all__ = [
    "Adapter",
    "BlockingFeed",
    "BlockingMarketFeed",
    "Feed",
    "Handshake",
    "Main",
    "MarketFeed",
    "OpenFeed",
    "OpenMarketFeed",
    "Simulate",
    "Simulator",
]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

Main = Callable[[], Coroutine[Any, Any, None]]
"""An async function without arguments: one scenario."""


class Feed(Protocol):
    """A feed of an async framework."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events."""
        ...

    async def subscribe(self, topic: Topic) -> None:
        """Return after the acknowledgement."""
        ...

    async def unsubscribe(self, topic: Topic) -> None:
        """Return after the acknowledgement."""
        ...

    async def close(self) -> None:
        """End the feed. Idempotent."""
        ...


class MarketFeed(Feed, Protocol):
    """A feed of market data of an async framework."""

    async def pull(self, topic: Topic[_T], start: float, end: float) -> tuple[_T, ...]:
        """Return the values of a span of time, in seconds since 1970 UTC."""
        ...


class BlockingFeed(Protocol):
    """A feed whose calls block. ``close`` may be called while another thread is in any of them."""

    def __iter__(self) -> Iterator[Event]:
        """The events."""
        ...

    def subscribe(self, topic: Topic) -> None:
        """Return after the acknowledgement."""
        ...

    def unsubscribe(self, topic: Topic) -> None:
        """Return after the acknowledgement."""
        ...

    def close(self) -> None:
        """End the feed. Idempotent."""
        ...


class BlockingMarketFeed(BlockingFeed, Protocol):
    """A feed of market data whose calls block."""

    def pull(self, topic: Topic[_T], start: float, end: float) -> tuple[_T, ...]:
        """Return the values of a span of time, in seconds since 1970 UTC."""
        ...


class OpenFeed(Protocol[_T_co]):
    """An adapter's ``open_feed``. The kit passes every argument, each by its name."""

    def __call__(
        self,
        *,
        token: str | Token | Callable[[], str | Token],
        url: str,
        topics: Iterable[Topic],
        config: SessionConfig | None,
        origin: str | None,
        insecure: bool,
        headers: Headers,
        ssl_context: ssl.SSLContext | None,
        record: Callable[[str], object] | None,
    ) -> _T_co:
        """A context manager that opens a feed and closes it on leaving."""
        ...


class OpenMarketFeed(Protocol[_T_co]):
    """An adapter's ``open_market_feed``. The kit passes every argument, each by its name."""

    def __call__(
        self,
        *,
        topics: Iterable[Topic],
        url: str,
        config: SessionConfig | None,
        origin: str | None,
        insecure: bool,
        headers: Headers,
        ssl_context: ssl.SSLContext | None,
        record: Callable[[str], object] | None,
    ) -> _T_co:
        """Return a context manager that opens a feed and closes it on leaving."""
        ...


@frozen
class Adapter:
    """An adapter and its framework, as the kit has to know them."""

    name: str
    """The name in reports."""
    open_feed: OpenFeed[AbstractAsyncContextManager[Feed]]
    """Opens a feed for the length of an ``async with`` block."""
    run: Callable[[Main, float], object]
    """``run(main, timeout)`` runs ``main`` to its end in the framework, or cancels it after so many
    seconds. Whether it raises or returns then is all the same. It is called in a thread of the
    kit's."""
    sleep: Callable[[float], Awaitable[object]]
    """Sleeps for so many seconds in the framework."""
    open_market_feed: OpenMarketFeed[AbstractAsyncContextManager[MarketFeed]] | None = None
    """Opens a feed of market data; None if the adapter has none. Scenarios about market data do not
    apply then."""

    @classmethod
    def blocking(
        cls,
        name: str,
        open_feed: OpenFeed[AbstractContextManager[BlockingFeed]],
        open_market_feed: OpenMarketFeed[AbstractContextManager[BlockingMarketFeed]] | None = None,
    ) -> Self:
        """The adapter of a feed whose calls block.

        Its calls become coroutines that never suspend. In place of a cancellation the feed is
        closed by another thread.
        """
        runner = _Runner()
        market = (
            None
            if open_market_feed is None
            else partial(runner.open, open_market_feed, _UnsuspendedMarket)
        )
        feed = partial(runner.open, open_feed, _Unsuspended)
        return cls(name, feed, runner.run, runner.sleep, market)


_Blocking = TypeVar("_Blocking", bound=BlockingFeed)
_Async = TypeVar("_Async", bound=Feed)


class _Unsuspended:
    """A blocking feed as an async one."""

    def __init__(self, feed: BlockingFeed) -> None:
        self._feed = feed
        self._events = iter(feed)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        for event in self._events:
            return event
        raise StopAsyncIteration

    async def subscribe(self, topic: Topic) -> None:
        self._feed.subscribe(topic)

    async def unsubscribe(self, topic: Topic) -> None:
        self._feed.unsubscribe(topic)

    async def close(self) -> None:
        self._feed.close()


class _UnsuspendedMarket(_Unsuspended):
    def __init__(self, feed: BlockingMarketFeed) -> None:
        super().__init__(feed)
        self._market = feed

    async def pull(self, topic: Topic[_T], start: float, end: float) -> tuple[_T, ...]:
        return self._market.pull(topic, start, end)


class _Runner:
    """A runner of coroutines that never suspend."""

    def __init__(self) -> None:
        self._open: list[BlockingFeed] = []

    @asynccontextmanager
    async def open(
        self,
        open_feed: Callable[..., AbstractContextManager[_Blocking]],
        unsuspended: Callable[[_Blocking], _Async],
        **arguments: Any,
    ) -> AsyncGenerator[_Async, None]:
        with open_feed(**arguments) as feed:
            self._open.append(feed)
            try:
                yield unsuspended(feed)
            finally:
                self._open.remove(feed)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - nothing else runs in this thread

    def run(self, main: Main, timeout: float) -> None:
        timer = threading.Timer(timeout, self._close)
        # A feed may hang in its `close`, and must not keep Python from exiting.
        timer.daemon = True
        timer.start()
        try:
            main().send(None)
        except StopIteration:
            return
        finally:
            timer.cancel()
            timer.join()
        raise RuntimeError("a scenario of a blocking feed awaited something else")

    def _close(self) -> None:
        for feed in tuple(self._open):
            feed.close()


class Handshake(Protocol):
    """One dial as the server saw it."""

    def header(self, name: str) -> str | None:
        """The value of a header; None if it was not sent."""
        ...


class Simulator(Protocol):
    """A running exchange, which can be told to misbehave from any thread: that of
    ``topone_simulator``."""

    @property
    def url(self) -> str:
        """The URL to dial, without the token."""
        ...

    @property
    def market_url(self) -> str:
        """The URL to dial for market data."""
        ...

    @property
    def handshakes(self) -> tuple[Handshake, ...]:
        """The dials that came, the oldest first."""
        ...

    @property
    def requests(self) -> tuple[str | bytes, ...]:
        """The frames that clients sent, the oldest first."""
        ...

    @property
    def goodbyes(self) -> tuple[int | None, ...]:
        """The code of the close frame that each client sent whose connection has ended; None if it
        sent none."""
        ...

    @property
    def connections(self) -> int:
        """The number of clients that are connected."""
        ...

    @property
    def unsent(self) -> int:
        """The number of frames that wait for clients that do not read."""
        ...

    def inject(self, fault: Fault) -> None:
        """Make something go wrong."""
        ...

    def publish(self, *updates: Balance | Order) -> None:
        """Publish updates, in order."""
        ...

    def market(self, name: str, event: Callable[[LivingMarket, float], object]) -> object:
        """Make something happen in a market, and publish what has changed."""
        ...


class Simulate(Protocol):
    """``topone_simulator.run_in_thread``, passed in: this package has no sockets."""

    def __call__(
        self,
        *,
        tokens: Mapping[str, str],
        config: GatewayConfig,
        ssl_context: ssl.SSLContext | None,
    ) -> AbstractContextManager[Simulator]:
        """A context manager that runs an exchange in a thread."""
        ...
