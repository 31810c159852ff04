"""Values of a consumer's feed: its places, its settings and its metrics."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from attrs import Attribute, field, frozen
from attrs.validators import optional

from topone_proto._values import value
from topone_proto.account import RelayEvent
from topone_proto.errors import ConfigurationError
from topone_proto.relay._position import Position
from topone_proto.session.config import MAX_COUNT, MAX_SECONDS

__all__ = ["FeedPosition", "Placed", "RelayFeedConfig", "RelayMetrics"]


@frozen
class FeedPosition:
    """The place in an account's stream up to which a feed has handed everything out.

    Store its text together with what the program did because of the event, and hand it to
    ``open_feed(position=…)``: the feed goes on with the next event.

    >>> FeedPosition.parse("3-17-2@8812")
    FeedPosition(position=Position(epoch=3, number=17, index=2, gap_due=False), place='8812')
    """

    position: Position
    """The place by the numbers of the messages."""
    place: str
    """The place by the bus, where reading begins; only the bus can read it."""

    def __str__(self) -> str:
        return f"{self.position}@{self.place}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the position that was written as ``text``.

        Raises:
            ConfigurationError: it is none.
        """
        position, at, place = text.partition("@")
        if not at or not place:
            raise ConfigurationError(
                setting="position",
                problem=f"{text!r:.80} is no position of a feed",
                remedy="use what str(feed.position) gave, such as 3-17-2@8812",
            )
        return cls(Position.parse(position), place)


class Placed(NamedTuple):
    """An event of the stream, with the place behind it."""

    event: RelayEvent | None
    """The event; None if there is only a place."""
    position: Position | None
    """The place by the numbers; None if nothing of the stream was delivered yet."""
    place: str
    """The place of its message on the bus."""

    @property
    def behind(self) -> FeedPosition | None:
        """The place behind it, for a feed that goes on there."""
        return None if self.position is None else FeedPosition(self.position, self.place)


def _check_count(_: object, attribute: "Attribute[Any]", count: Any) -> None:
    if isinstance(count, bool) or not (isinstance(count, int) and 1 <= count <= MAX_COUNT):
        raise ConfigurationError(
            setting=attribute.name,
            problem=f"{count!r:.80} is no such number",
            remedy=f"use a whole number of at least 1 and at most {MAX_COUNT}",
        )


def _check_seconds(_: object, attribute: "Attribute[Any]", seconds: Any) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and 0 < seconds <= MAX_SECONDS):
        raise ConfigurationError(
            setting=attribute.name,
            problem=f"{seconds!r:.80} is no time to wait",
            remedy=f"use seconds greater than zero and at most {MAX_SECONDS}",
        )


_maybe_seconds: "Callable[[object, Attribute[Any], Any], None]" = optional(_check_seconds)


@frozen(kw_only=True)
class RelayFeedConfig:
    """Settings of a feed that comes over a bus. Times are in seconds.

    Raises:
        ConfigurationError: a time is not positive, or the capacity is no whole number of at least
            one.
    """

    capacity: int = field(default=10_000, validator=_check_count)
    """The number of events that may wait for the application; those of the message that filled it
    wait besides."""
    silence_timeout: float | None = field(default=35.0, validator=_maybe_seconds)
    """The time without a message after which nobody seems to follow the account, and the age from
    which a message on the bus says nothing about the present. Holders publish
    at least every ``RelayConfig.beat_interval``, and stand-bys take over within
    ``RelayConfig.ttl``, of 10 s each. None: silence means nothing."""
    close_timeout: float = field(default=5.0, validator=_check_seconds)
    """The time that closing may take."""


@value
class RelayMetrics:
    """The counters and gauges of a feed from a bus at one moment. Counters begin at 0 with the feed
    and only grow."""

    messages: int
    """Counter: messages received."""
    updates: int
    """Counter: updates of topics received."""
    gaps: int
    """Counter: gaps reported."""
    take_overs: int
    """Counter: the times that another machine has taken the account over."""
    stalls: int
    """Counter: the times that nothing came: the bus was away, or nobody followed the account."""
    anomalies: Mapping[str, int] = field(hash=False)
    """Counter: what came and means nothing, by the name of its event."""
    epoch: int | None
    """Gauge: the number of the lease under which the last message was published; None before the
    first."""
    waiting: int
    """Gauge: events that wait for the application."""
    capacity: int
    """At so many the bus is asked for no more."""
    is_paused: bool
    """Gauge: True while the application is behind, so that nothing is read."""
    is_stalled: bool
    """Gauge: True from ``Stalled`` to ``Resumed``: nothing comes, or older messages are read."""
    is_behind: bool
    """Gauge: True until the feed has read a message than which the bus had no later one, from its
    beginning, an interruption or a long pause on."""
    lag: float | None
    """Gauge: the seconds for which the last message had been on the bus when it was read; None
    before the first, and if the bus does not tell."""
    last_received_age: float | None
    """Gauge: the seconds since the last message; None before the first."""
