"""The core of a feed: a session, the buffer for its events, and the callers that wait."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from topone_proto.events import Event
from topone_proto.feed.base import BaseCore
from topone_proto.feed.buffer import DeliveryBuffer
from topone_proto.feed.waiters import PullWaiter, Waiter
from topone_proto.secrets.token import Token
from topone_proto.session.address import Headers
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.pulls import Moment
from topone_proto.session.session import Session
from topone_proto.session.step import Step
from topone_proto.wire.topic import Topic

__all__ = ["FeedCore", "session_maker", "split_token"]

_Source = TypeVar("_Source", bound=Callable[..., object])


def split_token(token: Token | _Source | None) -> tuple[Token | None, _Source | None]:
    """Return the token that is always the same, and the callable that supplies them: one is None.

    Raises:
        ConfigurationError: it can be no token.
    """
    if token is None:
        return None, None
    if isinstance(token, Token):
        token.require_usable()
        return token, None
    return None, token


def session_maker(
    record: Callable[[str], object] | None, wall: Callable[[], float] | None
) -> Callable[..., Session]:
    """Return what makes a session, recorded if there is somebody to take the lines."""
    if record is None:
        return Session
    # Most feeds are not recorded, and this takes longer to import than all the rest.
    from topone_proto.capture import RecordedSession  # noqa: PLC0415 - as said

    return partial(RecordedSession, write=record, wall=wall or float)


class FeedCore(BaseCore[_Source, Step, Event]):
    """One feed without its I/O; see ``BaseCore``. Its machine is the session.

    Args:
        token: the token, or a callable that supplies one and is asked before every dial;
            ``conceal`` makes it so. None dials the public WebSocket.
        url: where to dial, without the token.
        topics: what to subscribe to from the start.
        config: every number; the defaults if None.
        origin: the ``Origin`` header: None leaves it out.
        insecure: True allows plain ``ws://`` beyond this machine.
        jitter: uniform random numbers in [0, 1).
        headers: more headers for the handshake; see ``Endpoint.extra_headers``.
        record: takes each line of a recording, see ``capture``; None records nothing.
        wall: the time of day in seconds since 1970 UTC, for the recording and the metrics.

    Raises:
        ConfigurationError: the token, the URL, the origin or a header cannot be used.
    """

    def __init__(
        self,
        *,
        token: Token | _Source | None,
        url: str,
        topics: Iterable[Topic],
        config: SessionConfig | None,
        origin: str | None,
        insecure: bool,
        jitter: Callable[[], float],
        headers: Headers = (),
        record: Callable[[str], object] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        fixed, source = split_token(token)
        config = config if config is not None else SessionConfig()
        session = session_maker(record, wall)(
            topics,
            endpoint=Endpoint(
                url, origin, insecure, headers, "public" if token is None else "private"
            ),
            token=fixed,
            config=config,
            jitter=jitter,
        )
        buffer = DeliveryBuffer(config.capacity, config.delivery)
        self._take_frame = session.take_frame
        self._put_update = buffer.put_update
        super().__init__(
            session,
            session,
            source=source,
            config=config,
            buffer=buffer,
            wall=wall,
            is_recorded=record is not None,
        )

    def received(self, frame: str | bytes, now: float) -> Step | None:
        """Take a frame in; see ``BaseCore``."""
        if self._waiting or self.is_paused or self._is_watched:
            # Somebody waits for its step, or looks at each.
            return self.session.message_received(frame, now)
        found = self._take_frame(frame, now)
        if isinstance(found, Step):
            return found
        self._put_update(found)
        self._updates += 1
        return None

    def subscribe(self, topic: Topic, now: float) -> tuple[Waiter, Step]:
        """Desire a topic. The step goes through ``take``; the waiter is settled when it is
        acknowledged."""
        return self._want(topic, self.session.subscribe, now, wanted=True)

    def unsubscribe(self, topic: Topic, now: float) -> tuple[Waiter, Step]:
        """Desire a topic no more. The step goes through ``take``; the waiter is settled when it is
        acknowledged."""
        return self._want(topic, self.session.unsubscribe, now, wanted=False)

    def pull(self, topic: Topic, start: Moment, end: Moment, now: float) -> tuple[PullWaiter, Step]:
        """Ask for the values of a topic in a span of time; see ``Session.pull``. The step goes
        through ``take``; the waiter says when the pull has ended. A caller that stops to wait calls
        ``leave``."""
        self._require_open(f"req_{topic.name}")
        step = self.session.pull(topic, start, end, now)
        return self._waiters.add_pull(topic, self.session.pulls_made), step

    def leave(self, waiter: Waiter, now: float) -> Step | None:
        """Let go of a waiter whose caller stops to wait; see ``BaseCore``. Gives its pull up."""
        super().leave(waiter, now)
        if not isinstance(waiter, PullWaiter) or waiter.number not in self.session.pulls:
            return None
        return self.session.cancel_pull(waiter.number, now)

    def _want(
        self, topic: Topic, ask: Callable[[Topic, float], Step], now: float, *, wanted: bool
    ) -> tuple[Waiter, Step]:
        self._require_open(topic.subscribe_method if wanted else topic.unsubscribe_method)
        waiter = self._waiters.add(topic, wanted=wanted)
        return waiter, ask(topic, now)
