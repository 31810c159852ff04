"""Pulls: values of a span of time, asked for piece by piece.

**Pieces.** The exchange answers a pull with at most 300 rows and does not say which rows of a
longer span (WebSocket page, "Pull"). So a pull is asked in pieces of at most ``PIECE`` periods, one
after another. The span includes both of its ends. Whether the exchange includes ``to`` is not
documented, so the next piece begins at the second that was the end of the last, and the last piece
ends one second after the span. What is outside the span is left out of the result, and of two
values for one time the later answer's is kept.

**One at a time.** Of all pulls of a session one has its turn, the one that was asked first, and has
one request on the way. Between two requests there are ``SessionConfig.pull_interval`` seconds. So
no number of pulls is a flood.

**Each pull ends once**, with a ``PullEnd``:

- with its values, after the answer to its last piece;
- with ``PullRefused``, ``PullUnreadable`` or ``PullTimedOut``, if a piece has no good answer. The
  pieces before it are dropped: a part would look like the whole. The connection goes on, and the
  next pull has its turn;
- with ``PullLost``, after ``TRIES`` connections ended or dials failed without an answer in between.
  Until then the piece that was on the way is asked for again on the next connection, since asking
  changes nothing at the exchange;
- with ``FeedClosed`` or ``FeedFailed``, if the feed ends;
- without any answer, if its caller cancels it. An answer that is still on its way is then dropped.
"""

import math
from datetime import datetime
from typing import Any, Final

import attrs

from topone_proto._checks import is_shown
from topone_proto.errors import ConfigurationError, TopOneError
from topone_proto.failures import Failure
from topone_proto.session.actions import Action
from topone_proto.session.answers import PullEnd, PullLost
from topone_proto.session.config import SessionConfig
from topone_proto.session.connection import Connection
from topone_proto.session.pieces import period_of
from topone_proto.wire.topic import Topic

__all__ = ["PIECE", "TRIES", "Moment", "Pulls", "seconds"]

PIECE: Final = 300
"""The most periods that are asked for in one request."""

TRIES: Final = 3
"""The number of connections or dials in a row that may come to nothing before a pull ends."""

Moment = datetime | float
"""A time: an aware datetime, or seconds since 1970 UTC."""


def seconds(moment: object, setting: str) -> float:
    """Return a time in seconds since 1970 UTC.

    Raises:
        ConfigurationError: it is no time, a naive datetime, or before 1970 or after 9999.
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ConfigurationError(
                setting=setting,
                problem="a datetime without a time zone can be any of many times",
                remedy="use an aware one, such as datetime(2026, 1, 1, tzinfo=UTC)",
            )
        moment = moment.timestamp()
    if is_shown(moment):
        return moment
    raise ConfigurationError(
        setting=setting,
        problem=f"{moment!r:.80} is no time",
        remedy="use an aware datetime, or seconds since 1970 UTC",
    )


@attrs.define(eq=False)
class _Pull:
    topic: Topic[Any]
    start: int
    end: int
    period: int
    """The seconds of one period at least."""
    at: int
    """The beginning of the next piece, or of the one that is on the way."""
    next_at: int = 0
    """The beginning of the piece after it."""
    found: dict[int, Any] = attrs.field(factory=dict[int, Any])
    """The values so far, by their time."""
    losses: int = 0


class Pulls:
    """The pulls of one session that have not ended.

    Args:
        config: the interval.
    """

    def __init__(self, config: SessionConfig) -> None:
        self._interval = config.pull_interval
        self.waiting: dict[int, _Pull] = {}
        """By their numbers, in the order in which they were asked for. The same dict at all
        times."""
        self.made: int = 0
        """The number of pulls so far."""
        # The request on the way, and when the next may follow.
        self._request: int | None = None
        self._free_at = -math.inf

    def add(self, topic: Topic[Any], start: Moment, end: Moment) -> tuple[PullEnd, ...]:
        """Begin a pull, and return its end if there is nothing to ask.

        Raises:
            ConfigurationError: the topic cannot be pulled, or a time is none, or the end is before
                the start.
        """
        period = period_of(topic)
        since, until = seconds(start, "start"), seconds(end, "end")
        if until < since:
            raise ConfigurationError(
                setting="end", problem="it is before the start", remedy="exchange the two"
            )
        self.made += 1
        # Values begin at whole seconds.
        first, last = math.ceil(since), math.floor(until)
        if last < first:
            return (PullEnd(self.made, topic),)
        self.waiting[self.made] = _Pull(topic, first, last, period, first)
        return ()

    def cancel(self, number: int, connection: Connection | None) -> None:
        """Forget a pull."""
        is_first = number == next(iter(self.waiting), None)
        self.waiting.pop(number, None)
        if is_first and self._request is not None and connection is not None:
            connection.forget_pull(self._request)
            self._request = None

    @property
    def due(self) -> float | None:
        """The time at which the next request is due on an open connection; None if there is
        none."""
        return self._free_at if self.waiting and self._request is None else None

    def ask(self, connection: Connection, now: float) -> tuple[Action, ...]:
        """Return the next request if its time has come."""
        due = self.due
        if due is None or now < due:
            return ()
        pull = next(iter(self.waiting.values()))
        until = min(pull.at + PIECE * pull.period - 1, pull.end + 1)
        self._request = connection.next_id
        self._free_at = now + self._interval
        pull.next_at = until
        return connection.pull(pull.topic, pull.at, until, now).actions

    def answer(self, end: PullEnd) -> tuple[PullEnd, ...]:
        """Return the end of the pull whose request is answered, if this was its last piece."""
        assert end.number == self._request
        self._request = None
        number, pull = next(iter(self.waiting.items()))
        if end.error is not None:
            del self.waiting[number]
            return (attrs.evolve(end, number=number),)
        pull.losses = 0
        pull.found |= {
            found.time: found for found in end.values if pull.start <= found.time <= pull.end
        }
        pull.at = pull.next_at
        if pull.at <= pull.end:
            return ()
        del self.waiting[number]
        return (PullEnd(number, pull.topic, tuple(pull.found[at] for at in sorted(pull.found))),)

    def lose(self, failure: Failure) -> tuple[PullEnd, ...]:
        """Return the ends of those that have lost their last try: a connection has ended, or a
        dial has failed."""
        self._request = None
        for pull in self.waiting.values():
            pull.losses += 1
        lost = [number for number, pull in self.waiting.items() if pull.losses >= TRIES]
        return tuple(
            PullEnd(number, (topic := self.waiting.pop(number).topic), (), PullLost(topic, failure))
            for number in lost
        )

    def end(self, error: TopOneError) -> tuple[PullEnd, ...]:
        """Return the ends of all, since the feed ends."""
        self._request = None
        ends = tuple(
            PullEnd(number, pull.topic, (), error) for number, pull in self.waiting.items()
        )
        self.waiting.clear()
        return ends
