"""The feed for threads, which asyncio drives in the I/O thread."""

import random
import ssl
import time
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

from topone_asyncio._feed import open_with
from topone_proto import Event, Topic
from topone_proto.adapters import FeedCore, FeedOpener, OpenAsyncWebSocket
from topone_proto.feed.driver import Driver
from topone_proto.session.pulls import Moment
from topone_threads._handle import Handle
from topone_threads._tokens import TokenSource

__all__ = ["Feed", "open_feed", "open_market_feed"]

_T = TypeVar("_T")


class Feed(Handle[FeedCore[Any], Event]):
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
        core: FeedCore[Any],
        open_websocket: OpenAsyncWebSocket | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(core, partial(Driver, core, open_websocket or open_with(ssl_context)))

    def subscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        Raises what ``AsyncFeed.subscribe`` does, and:

        Raises:
            TimeoutError: ``timeout`` seconds are over. The topic stays desired.
            FeedFailed: the feed ended by itself, or this process was forked after it was opened.
            LocalProtocolError: another call wanted the opposite first, the ``with`` block of the
                feed was not entered, or this was called in the feed's own token callable.
        """
        self._ask("subscribe", partial(self._core.subscribe, topic), timeout)

    def unsubscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if unconnected.

        Raises what ``subscribe`` does. The topic is no longer desired then, but for
        ``SubscriptionRejected``: the exchange goes on sending it.
        """
        self._ask("unsubscribe", partial(self._core.unsubscribe, topic), timeout)

    def pull(
        self, topic: Topic[_T], start: Moment, end: Moment, timeout: float | None = None
    ) -> tuple[_T, ...]:
        """Return all values of a topic in a span of time, as ``AsyncFeed.pull`` does.

        Raises what that does, what ``subscribe`` does in a place where it cannot be called, and:

        Raises:
            TimeoutError: ``timeout`` seconds are over. Nothing more is asked for.

        >>> candles = feed.pull(kline("BTC/USDT", "1m"), now - timedelta(hours=1), now)
        """
        return self._ask("pull", partial(self._core.pull, topic, start, end), timeout).values


_feeds: FeedOpener[TokenSource, OpenAsyncWebSocket, AbstractContextManager[Feed]] = FeedOpener(
    Feed, jitter=random.random, wall=time.time
)

open_feed: Final = _feeds.open_feed
"""Open a feed of an account's updates; see ``FeedOpener.open_feed``."""

open_market_feed: Final = _feeds.open_market_feed
"""Open a feed of market data; see ``FeedOpener.open_market_feed``."""
