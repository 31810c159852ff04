"""The tools of a scenario: an exchange to mistreat, feeds to listen to, and ways to say what ought
to be so.

A scenario awaits nothing but the methods of its feeds and ``Kit.sleep``. So it has no colour: it
runs in whatever framework its adapter is of.
"""

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from decimal import Decimal
from ssl import SSLContext
from typing import Final, Generic, NoReturn, TypeVar

from attrs import define, field

from topone_proto.errors import FeedFailed
from topone_proto.events import (
    Closed,
    Connected,
    Disconnected,
    Event,
    Gap,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.exchange import GatewayConfig, SendRaw
from topone_proto.failures import Failure
from topone_proto.models import Side
from topone_proto.secrets.token import Token
from topone_proto.session.address import Headers
from topone_proto.session.config import MAX_SECONDS, SessionConfig
from topone_proto.testing.conformance.adapter import (
    Adapter,
    Feed,
    MarketFeed,
    Simulate,
    Simulator,
)
from topone_proto.testing.conformance.leaks import TOKEN, where_in_error, where_in_text
from topone_proto.wire.balance import BALANCE, Balance
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType
from topone_proto.wire.topic import Topic, Update

__all__ = [
    "DEFAULT",
    "ETH",
    "LATER",
    "ONCE",
    "ORDER",
    "QUICK",
    "UP",
    "UP_AGAIN",
    "Caught",
    "Kit",
    "Listener",
    "MarketListener",
    "Unmet",
    "told",
]

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Exception)
_Event = TypeVar("_Event", bound=Event)

QUICK: Final = SessionConfig(retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6, close_timeout=2.0)
"""Retries at once, so that no scenario waits for a back-off."""
ONCE: Final = SessionConfig(max_attempts=1, retry_first=1e-6)
"""Retries once and at once, and then the feed ends."""
LATER: Final = SessionConfig(retry_first=MAX_SECONDS, retry_cap=MAX_SECONDS, close_timeout=0.5)
"""Retries in a few days, for a scenario that counts what one connection did. The wait is random
within its span, so with a short span a retry may come before the scenario has looked."""

DEFAULT: Final = GatewayConfig(start_ts=1_000_000)
"""An exchange whose clock starts low makes server times small and easy to compare."""

ORDER: Final = Order(
    132991,
    "ETH/BTC",
    OrderType.LIMIT,
    Side.BUY,
    OrderStatus.COMPLETED,
    Decimal("0.08132"),
    Decimal("1.389"),
    Decimal(0),
    Decimal("1.389"),
    Decimal("0.10953654"),
    1522235513.740678,
    1522235513.740684,
)
"""An order to publish."""
ETH: Final = Balance("ETH", Decimal("99999980.24173"), Decimal("23.596"))
"""A balance to publish."""

UP: Final = ("connected 1", "subscribed balance 1", "subscribed orders 1")
"""The first events of a feed of both topics."""
UP_AGAIN: Final = (
    "connected 2",
    "subscribed balance 2",
    "gap balance 2",
    "subscribed orders 2",
    "gap orders 2",
)
"""The first events of its second connection."""


def told(event: Event) -> str:
    """An event in one line, without times and addresses: a line of an event log."""
    match event:
        case Connected(epoch=epoch):
            line = f"connected {epoch}"
        case Subscribed(topic=topic, epoch=epoch):
            line = f"subscribed {topic} {epoch}"
        case Unsubscribed(topic=topic, epoch=epoch):
            line = f"unsubscribed {topic} {epoch}"
        case Gap(topic=topic, epoch=epoch):
            line = f"gap {topic} {epoch}"
        case Disconnected(reason=reason, retry_in=retry_in):
            line = f"disconnected {reason.kind}{'' if retry_in is None else ', retry'}"
        case Closed(failure=failure):
            line = "closed" if failure is None else f"closed {failure.kind}"
        case Update(key=tuple(key)):
            line = " ".join(map(str, key))
        case SubscriptionRejected(method=method, code=code):
            line = f"rejected {method} {code}"
        case RequestTimedOut(method=method):
            line = f"timed out {method}"
        case _:
            line = type(event).__name__
    return line


class Unmet(Exception):
    """Something ought to be so, and is not. Its text says what."""


@define
class Kit:
    """The tools of one run of a scenario, and what it has seen."""

    adapter: Adapter
    """The adapter that is checked."""
    simulate: Simulate
    """Runs an exchange."""
    simulator: Simulator
    """The exchange of this run."""
    expected: Sequence[str] | None
    """The event log that is to be seen; None for one that may differ from time to time."""
    patience: float
    """Seconds after which something that should have come has not."""
    seen: list[str] = field(factory=list[str])
    """The event log so far, of all feeds."""
    unmet: str | None = None
    """The first thing that was not as expected; None while all is."""

    @asynccontextmanager
    async def open(
        self,
        *,
        url: str | None = None,
        token: str | Token | Callable[[], str | Token] = TOKEN,
        topics: Iterable[Topic] = (BALANCE, ORDERS),
        config: SessionConfig | None = None,
        origin: str | None = None,
        insecure: bool = False,
        headers: Headers = (),
        ssl_context: SSLContext | None = None,
        record: Callable[[str], object] | None = None,
    ) -> AsyncGenerator["Listener", None]:
        """Open a feed; by default to the exchange of this run, as most programs would."""
        async with self.adapter.open_feed(
            url=url or self.simulator.url,
            token=token,
            topics=topics,
            config=config,
            origin=origin,
            insecure=insecure,
            headers=headers,
            ssl_context=ssl_context,
            record=record,
        ) as feed:
            yield Listener(self, feed)

    @asynccontextmanager
    async def open_market(
        self, *, topics: Iterable[Topic], config: SessionConfig | None = None
    ) -> AsyncGenerator["MarketListener", None]:
        """Open a feed of market data of the exchange of this run."""
        open_market_feed = self.adapter.open_market_feed
        if open_market_feed is None:
            self.fail("the adapter has no open_market_feed")
        async with open_market_feed(
            topics=topics,
            url=self.simulator.market_url,
            config=config,
            origin=None,
            insecure=False,
            headers=(),
            ssl_context=None,
            record=None,
        ) as feed:
            yield MarketListener(self, feed)

    def serve(
        self, *, config: GatewayConfig = DEFAULT, ssl_context: SSLContext | None = None
    ) -> AbstractContextManager[Simulator]:
        """Run another exchange, for a scenario that wants one of its own."""
        return self.simulate(tokens={TOKEN: "demo"}, config=config, ssl_context=ssl_context)

    async def sleep(self, seconds: float) -> None:
        """Sleep in the adapter's framework."""
        await self.adapter.sleep(seconds)

    async def eventually(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what the exchange's own thread will have seen in a moment."""
        end = time.monotonic() + self.patience / 2
        while not condition():
            self.check(time.monotonic() < end, f"it never came to pass that {what}")
            await self.sleep(0.001)

    async def read_on(self) -> None:
        """Wait until the feed has read all that the exchange has sent: the answer to a ping in text
        comes behind it, whether or not the application takes anything."""
        before = self.simulator.requests.count("pong")
        self.simulator.inject(SendRaw("ping"))
        await self.eventually(
            lambda: self.simulator.requests.count("pong") > before, "the feed reads on"
        )

    def check(self, condition: object, problem: str) -> None:
        """Fail with ``problem`` unless the condition is true."""
        if not condition:
            self.fail(problem)

    def same(self, seen: object, expected: object, what: str) -> None:
        """Fail unless ``what`` is as expected."""
        self.check(seen == expected, f"{what}: {seen!r} in place of {expected!r}")

    def fail(self, problem: str) -> NoReturn:
        """Fail with ``problem``."""
        self.note(problem)
        raise Unmet(problem)

    def note(self, problem: str) -> None:
        """Remember what is not so. An adapter may wrap what passes through it, so the first word
        counts."""
        self.unmet = self.unmet or problem

    def awaited(self) -> str:
        """Return the line that ought to come next."""
        if self.expected is None or len(self.seen) >= len(self.expected):
            return "the end"
        return repr(self.expected[len(self.seen)])

    @contextmanager
    def raises(self, kind: type[_E]) -> Generator["Caught[_E]", None, None]:
        """Fail unless the block raises an exception of this kind, and without a token in it."""
        caught = Caught[_E]()
        try:
            yield caught
        except kind as error:
            caught.set(error)
            self.check_clean(error)
        else:
            self.fail(f"{kind.__name__} was to be raised, and nothing was")

    def check_clean(self, error: BaseException) -> None:
        """Fail if the token is anywhere in an exception: text, chain or local variables."""
        where = where_in_error(error)
        self.check(where is None, f"the token is in {type(error).__name__}: {where}")

    def saw(self, event: Event) -> None:
        """Add an event to the log, and look at it."""
        line = told(event)
        at = len(self.seen)
        self.seen.append(line)
        self.check(where_in_text(repr(event)) is None, f"the token is in an event: {line!r}")
        if isinstance(event, Gap):
            since, until = event.since_ts, event.until_ts
            self.check(
                since is not None and (until is None or since <= until),
                f"{line!r} lasts from {since} until {until}",
            )
        if self.expected is not None:
            self.check(at < len(self.expected), f"{line!r} was told, and nothing was expected")
            self.check(
                line == self.expected[at], f"{line!r} was told in place of {self.expected[at]!r}"
            )

    def is_over(self) -> None:
        """Fail unless the whole log was seen."""
        if self.expected is not None and len(self.seen) < len(self.expected):
            self.fail(f"{self.awaited()} was never told")


@define
class Caught(Generic[_E]):
    """The exception that ``Kit.raises`` has caught."""

    _error: _E | None = None

    @property
    def error(self) -> _E:
        """The exception, once the block is over."""
        assert self._error is not None
        return self._error

    def set(self, error: _E) -> None:
        """It was caught."""
        self._error = error


class Listener:
    """A feed that is listened to."""

    def __init__(self, kit: Kit, feed: Feed) -> None:
        self._kit = kit
        self._feed = feed
        self._events = aiter(feed)

    async def next(self) -> Event | None:
        """The next event, noted in the log; None at the end. Raises what iterating raises."""
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            return None
        self._kit.saw(event)
        return event

    async def take(self, kind: type[_Event]) -> _Event:
        """The next event, which is to be of this kind."""
        event = await self.next()
        if not isinstance(event, kind):
            self._kit.fail(f"{event!r} was told in place of a {kind.__name__}")
        return event

    async def until(self, kind: type[Event], count: int = 1) -> None:
        """Take events up to and with the count-th of this kind."""
        while count:
            event = await self.next()
            if event is None:
                self._kit.fail(f"the feed ended without a {kind.__name__}")
            count -= isinstance(event, kind)

    async def rest(self) -> None:
        """Take events up to the end."""
        while await self.next() is not None:
            pass

    async def failure(self) -> Failure:
        """Take events up to the end of a feed that fails; every call then says why."""
        await self.until(Closed)
        with self._kit.raises(FeedFailed) as caught:
            await self.next()
        for call in (self.subscribe, self.unsubscribe):
            with self._kit.raises(FeedFailed):
                await call(ORDERS)
        return caught.error.failure

    async def subscribe(self, topic: Topic) -> None:
        """The feed's own."""
        await self._feed.subscribe(topic)

    async def unsubscribe(self, topic: Topic) -> None:
        """The feed's own."""
        await self._feed.unsubscribe(topic)

    async def close(self) -> None:
        """The feed's own."""
        await self._feed.close()


class MarketListener(Listener):
    """A feed of market data that is listened to."""

    def __init__(self, kit: Kit, feed: MarketFeed) -> None:
        super().__init__(kit, feed)
        self._market = feed

    async def pull(self, topic: Topic[_T], start: float, end: float) -> tuple[_T, ...]:
        """Pull from the feed."""
        return await self._market.pull(topic, start, end)
