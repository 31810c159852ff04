"""The waiting time before the next dial, and before a refused topic is asked for again.

**Back-off.** The n-th retry in a row comes at a random time within a span: ``retry_first`` for the
first, ``retry_base`` for the second, and for each later one twice the span before, up to
``retry_cap``. The whole span is random ("full jitter"), so that many clients that lose one server
at the same moment do not come back at the same moment. What the server asked for (``Retry-After``,
or HTTP 429) is waited for first, and the random time is added to it.

**Reset.** The count starts from the beginning after a connection on which every desired topic was
acknowledged and which then stayed up for ``stable_after``. A handshake alone proves nothing: a
server may accept, refuse every topic and close.

**Refusals.** One refusal of a topic that had been acknowledged before is not the last word: the
server may be starting. The topic is asked for again after the same back-off, counted for each topic
by itself, until it was refused ``max_refusals`` times in a row.
"""

from collections.abc import Callable
from typing import Final

import attrs

from topone_proto.failures import Failure
from topone_proto.session.config import SessionConfig
from topone_proto.wire.topic import Topic

__all__ = ["Backoff", "Refusals"]

# A float's exponent is bounded. The cap is reached long before.
_MOST_DOUBLINGS: Final = 60


class Backoff:
    """The count of retries in a row, and the wait before each.

    Args:
        config: the spans and limits.
        jitter: uniform random numbers in [0, 1).
    """

    def __init__(self, config: SessionConfig, jitter: Callable[[], float]) -> None:
        self._config = config
        self._jitter = jitter
        self.retries: int = 0
        """The number of retries since the latest stable connection."""
        self._settled_at: float | None = None

    def connect(self) -> None:
        """Note that there is another connection."""
        self._settled_at = None

    def settle(self, now: float) -> None:
        """Note that every desired topic is acknowledged on this connection."""
        self._settled_at = now

    @property
    def is_settled(self) -> bool:
        """True once every desired topic was acknowledged on this connection."""
        return self._settled_at is not None

    def lose(self, now: float) -> None:
        """Note that the connection is over, and start from the beginning if it was stable."""
        if self._settled_at is not None and now - self._settled_at >= self._config.stable_after:
            self.retries = 0

    def delay(self, failure: Failure) -> float | None:
        """Count one retry, and return the seconds to wait before it; None if there have been
        ``max_attempts``."""
        config = self._config
        if config.max_attempts is not None and self.retries >= config.max_attempts:
            return None
        self.retries += 1
        floor = min(failure.retry_after or 0.0, config.retry_after_cap)
        if failure.status == 429:
            floor = max(floor, config.rate_limit_wait)
        return floor + self.spread(self.retries)

    def spread(self, attempt: int) -> float:
        """Return a random time within the span of this attempt, in seconds."""
        config = self._config
        span = config.retry_first
        if attempt > 1:
            doubled = config.retry_base * 2.0 ** min(attempt - 2, _MOST_DOUBLINGS)
            span = min(config.retry_cap, doubled)
        return span * self._jitter()


@attrs.define(eq=False)
class _Refusal:
    """The refusals in a row of one topic."""

    count: int = 0
    due: float | None = None
    """The time at which it may be asked for again; None once it may."""


class Refusals:
    """The topics that were acknowledged before and are refused now.

    Args:
        config: the limit.
        spread: the wait before an attempt, in seconds: ``Backoff.spread``.
    """

    def __init__(self, config: SessionConfig, spread: Callable[[int], float]) -> None:
        self._limit = config.max_refusals
        self._spread = spread
        # Acknowledged since the application asked for it.
        self._acknowledged: set[Topic] = set()
        self.refused: dict[Topic, _Refusal] = {}
        """The topics, with their refusals. The same dict at all times."""

    def accept(self, topic: Topic, *, is_desired: bool) -> None:
        """Note that a topic is acknowledged."""
        if is_desired:
            self._acknowledged.add(topic)
        self.refused.pop(topic, None)

    def refuse(self, topic: Topic, now: float) -> float | None:
        """Return the seconds until a topic that was refused is asked for again; None if it is not,
        because it was never acknowledged or was refused too often."""
        if topic not in self._acknowledged:
            return None
        refusal = self.refused.setdefault(topic, _Refusal())
        refusal.count += 1
        if refusal.count >= self._limit:
            return None
        wait = self._spread(refusal.count)
        refusal.due = now + wait
        return wait

    def waits(self, topic: Topic) -> bool:
        """True if a topic was refused and its time has not come yet."""
        return topic in self.refused and self.refused[topic].due is not None

    def hurry(self, topic: Topic) -> None:
        """Let a topic be asked for at once: the application asks for it again."""
        if topic in self.refused:
            self.refused[topic].due = None

    def release(self, now: float) -> None:
        """Let every topic be asked for whose time has come."""
        for refusal in self.refused.values():
            if refusal.due is not None and refusal.due <= now:
                refusal.due = None

    def drop(self, topic: Topic) -> None:
        """Forget a topic: it is not desired any more."""
        self._acknowledged.discard(topic)
        self.refused.pop(topic, None)

    def clear(self) -> None:
        """Forget every refusal."""
        self.refused.clear()

    @property
    def due(self) -> float | None:
        """The time at which the next of them may be asked for; None if none waits."""
        return min(
            (refusal.due for refusal in self.refused.values() if refusal.due is not None),
            default=None,
        )
