"""The feed that an application iterates over, under any event loop."""

from typing import TypeVar

from topone_proto.events import Event
from topone_proto.feed.core import FeedCore
from topone_proto.feed.driver import Driver
from topone_proto.feed.handle import AsyncHandle
from topone_proto.feed.runtime import Runtime
from topone_proto.feed.websocket import OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource
from topone_proto.session.pulls import Moment
from topone_proto.session.step import Step
from topone_proto.wire.topic import Topic

__all__ = ["AsyncFeed"]

_T = TypeVar("_T")


class AsyncFeed(AsyncHandle[Step, Event]):
    """An open feed: iterate over it for events. Made by an adapter's ``open_feed``.

    Every event is given once, in order. Iterating ends after ``Closed``, which ``close`` or leaving
    the block brings about. It raises ``FeedFailed`` there if the feed ended by itself, because
    trying again cannot help.

    A fault of the program (a plug-in raises what it should not, ``record=`` fails) ends the
    feed too: whoever iterates gets the remaining events, ``Closed`` and then the exception as it
    is; every call raises it, and so does leaving the block unless somebody was given it before.
    """

    def __init__(
        self,
        core: FeedCore[AsyncTokenSource],
        open_websocket: OpenAsyncWebSocket,
        runtime: Runtime,
    ) -> None:
        super().__init__(core, Driver(core, open_websocket, runtime), runtime)
        self._core: FeedCore[AsyncTokenSource] = core

    async def subscribe(self, topic: Topic) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        While there is no connection this waits for one; cancel it to wait no longer. The topic
        stays desired then.

        Raises:
            SubscriptionRejected: the exchange refused.
            RequestTimedOut: no acknowledgement in time; the feed connects again and asks again.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first.
            TooManyEvents: the answer is behind more events than the feed may hold.
        """
        await self._settled(*self._core.subscribe(topic, self._driver.now()))

    async def unsubscribe(self, topic: Topic) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if unconnected.

        Raises:
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first.
            TooManyEvents: the answer is behind more events than the feed may hold.
        """
        await self._settled(*self._core.unsubscribe(topic, self._driver.now()))

    async def pull(self, topic: Topic[_T], start: Moment, end: Moment) -> tuple[_T, ...]:
        """Return all values of a topic in a span of time, the oldest first, such as candles.

        Both ends of the span are included. It is asked for in pieces, one after the other, and
        while there is no connection this waits for one; cancel it to give the pull up. Updates are
        delivered meanwhile.

        Args:
            topic: what to pull: a ``kline``.
            start: the beginning: an aware datetime, or seconds since 1970 UTC.
            end: the end, in the same.

        Raises:
            PullError: the exchange refused, or did not answer in time or with candles, or too many
                connections were lost meanwhile. The feed goes on.
            ConfigurationError: the topic cannot be pulled, or a time is none, or the end is before
                the start.
            FeedClosed: the feed is closed, or was before the answer.
            FeedFailed: the feed ended by itself.
            TooManyEvents: more events wait in front of the answer than the feed may hold.

        >>> candles = await feed.pull(kline("BTC/USDT", "1m"), now - timedelta(hours=1), now)
        """
        waiter, step = self._core.pull(topic, start, end, self._driver.now())
        await self._settled(waiter, step)
        return waiter.values
