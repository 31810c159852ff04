"""The threads adapter: the feed as a program with threads wants it.

No protocol here, and no threads of the feed's own: these are in ``_blocking``.
"""

import random
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Self

from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    AsyncTokenSource,
    Event,
    FeedClosed,
    FeedCore,
    FeedMetrics,
    Headers,
    LocalProtocolError,
    Session,
    SessionConfig,
    SessionState,
    Token,
    Topic,
    conceal,
)
from topone_threads._blocking import BlockingFeed
from topone_threads._websocket import OpenWebSocket
from topone_threads._websocket import open_websocket as _open_websocket

__all__ = ["Feed", "open_feed"]

TokenSource = Callable[[], str | Token]


def open_feed(
    *,
    token: str | Token | TokenSource,
    url: str = DEFAULT_URL,
    topics: Iterable[Topic] = (BALANCE, ORDERS),
    config: SessionConfig | None = None,
    origin: str | None = None,
    insecure: bool = False,
    headers: Headers = (),
    ssl_context: ssl.SSLContext | None = None,
    open_websocket: OpenWebSocket | None = None,
    record: Callable[[str], object] | None = None,
) -> AbstractContextManager["Feed"]:
    """A feed of the account's updates, open for the length of a ``with`` block.

    Args:
        token: the API token, or a callable that is asked for one before every dial, in a thread
            of the feed.
        url: where to dial, without the token.
        topics: what to subscribe to from the start.
        config: timeouts, limits, back-off and delivery.
        origin: the ``Origin`` header: None leaves it out, ``""`` sends it empty.
        insecure: True allows plain ``ws://`` to other machines.
        headers: more headers for the handshake, by name; a ``User-Agent`` replaces
            ``topone-proto/<version>``, and None there leaves it out.
        ssl_context: for a private CA; the default checks certificates against the system's.
        open_websocket: another WebSocket library, or none at all; see ``OpenWebSocket``.
        record: takes each line of a recording (``topone_proto.capture``), such as a file's
            ``write``; None records nothing.

    Raises:
        ConfigurationError: the token, the URL, the origin or a header cannot be used.
    """
    token, url = conceal(token, url)
    config = config if config is not None else SessionConfig()
    core: FeedCore[AsyncTokenSource] = FeedCore(
        token=token,
        url=url,
        topics=topics,
        config=config,
        origin=origin,
        insecure=insecure,
        headers=headers,
        jitter=random.random,
        record=record,
        wall=time.time,
    )
    open_websocket = open_websocket or partial(_open_websocket, ssl_context=ssl_context)
    return Feed(BlockingFeed(core, open_websocket, config.close_timeout), core.session)


class Feed:
    """An open feed: iterate over it for events, in any number of threads. Made by ``open_feed``.

    Every event is given once, in order. Iterating ends behind ``Closed``, which ``close`` or
    leaving the block brings about. It raises ``FeedFailed`` there if the feed ended by itself,
    because trying again cannot help.

    One thread of its own asks for the token and dials, one keeps the deadlines and, while a
    connection is open, one reads and one sends. They are gone when ``close`` returns, unless one is
    inside the token callable or the lookup of the host's name: nothing can interrupt these. Such a
    thread ends when they return, and does not keep Python from exiting.
    """

    def __init__(self, blocking: BlockingFeed, session: Session) -> None:
        self._blocking = blocking
        self._session = session

    def __enter__(self) -> Self:
        try:
            self._blocking.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self.close()
        if exc_type is None:
            self._blocking.raise_fault()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        with suppress(FeedClosed):
            return self.get()
        raise StopIteration

    def get(self, timeout: float | None = None) -> Event:
        """The next event, as iterating gives it.

        Args:
            timeout: seconds to wait for one; None waits until there is one.

        Raises:
            TimeoutError: there was none in time.
            FeedClosed: the feed is closed, and all its events were taken.
            FeedFailed: the feed ended by itself, and all its events were taken.
            LocalProtocolError: the ``with`` block of the feed was not entered.
        """
        self._require_start("get")
        try:
            return self._blocking.next(timeout)
        except StopAsyncIteration:
            self._blocking.raise_fault()
            raise FeedClosed from None

    def subscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        While there is no connection this waits for one, unless ``timeout`` seconds are over first.

        Raises:
            TimeoutError: ``timeout`` is over. The topic stays desired.
            SubscriptionRejected: the exchange refused.
            RequestTimedOut: no acknowledgement in time; the feed connects again and asks again.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or the ``with`` block of the
                feed was not entered.
            TooManyEvents: the answer is behind more events than the feed may hold; it stands.
        """
        self._require_start("subscribe")
        self._blocking.monitor.run_for(timeout, self._blocking.subscribe, topic)

    def unsubscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if there is no
        connection.

        Raises:
            TimeoutError: ``timeout`` seconds are over. The topic is no longer desired.
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or the ``with`` block of the
                feed was not entered.
            TooManyEvents: the answer is behind more events than the feed may hold; it stands.
        """
        self._require_start("unsubscribe")
        self._blocking.monitor.run_for(timeout, self._blocking.unsubscribe, topic)

    def close(self) -> None:
        """End the feed. Idempotent, possible at any time and from any thread.

        Done within ``SessionConfig.close_timeout``, and the moment that threads take to end.
        Events that wait can still be taken; ``Closed`` is the last of them.

        Of all methods only this one may be called in a signal handler. If the handler interrupted a
        method of this feed, the feed may end only after the handler has returned; nothing waits for
        that here.
        """
        self._blocking.stop()

    def metrics(self) -> FeedMetrics:
        """What there is to watch, at this moment. Cheap, and possible at any time but in a signal
        handler."""
        with self._blocking.monitor.lock:
            return self._blocking.metrics()

    def _require_start(self, method: str) -> None:
        if self._session.state is SessionState.NEW:
            raise LocalProtocolError(
                state="the feed is not open", input=method, remedy="use it in a with block"
            )
