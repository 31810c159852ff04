"""A consumer's feed without its I/O: what came over the bus, until the application takes it.

Theory. Messages go through a ``Cursor``, which knows what is missing, and their events into a
queue. The queue is bounded: with ``capacity`` events the feed ``is_paused`` and asks the bus for no
more, until half of it is free. What the bus drops meanwhile is a ``Gap``, by its number.

Nothing may look fresh that is not (``_freshness``). The feed *stalls* as soon as the bus says that
it cannot be read, once no message of a holder has come for ``silence_timeout``, and before it hands
out what was published before it read on. It resumes behind the first message that is current. Each
is reported once. The time while it is paused does not count, since nothing is read then.

Two places in the stream matter. The feed's position is behind the event that was handed out last.
``settled`` is behind the last event that the application is done with: it has come back for
another, or has left the block of the feed without an error. A durable feed keeps ``settled`` on the
bus, so that a process that is killed gets again what it was at, and nothing is skipped. Both go on
with messages that have no events, which wait in the queue as places: the bus drops an idle
account's latest event one day, and its absence would look like a loss.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self

from attrs import Attribute, field, frozen
from attrs.validators import optional

from topone_proto._values import value
from topone_proto.account import BusAnomaly, RelayEvent, Resumed, Stalled, TakenOver
from topone_proto.errors import ConfigurationError, FeedFailed
from topone_proto.events import ANOMALIES, Closed, Gap, Update
from topone_proto.failures import Failure
from topone_proto.relay._cursor import Cursor
from topone_proto.relay._freshness import Freshness
from topone_proto.relay._position import Position
from topone_proto.session.config import MAX_COUNT, MAX_SECONDS

__all__ = ["FeedPosition", "Placed", "RelayFeedConfig", "RelayFeedCore", "RelayMetrics"]

_MAX_TEXT: Final = 200


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


class RelayFeedCore:
    """A feed from a bus, without its I/O.

    Args:
        account: the account's name on the bus.
        config: every number.
    """

    def __init__(self, account: str, config: RelayFeedConfig) -> None:
        self._account = account
        self._cursor = Cursor(account=account)
        self.config: RelayFeedConfig = config
        """Every number."""
        self._waiting: deque[Placed] = deque()
        self.start: Placed = Placed(None, None, "")
        """The place where everything begins."""
        self._queued = self.start
        self.settled: Placed = self.start
        """The latest event that the application is done with."""
        self.on_settled: Callable[[], object] | None = None
        """Is called once, and forgotten, when ``settled`` moves; in any thread."""
        self.is_paused: bool = False
        """True while the application is behind: nothing is to be read."""
        self.is_closed: bool = False
        """True once the feed has ended. Events may still wait."""
        self.failure: Failure | None = None
        """The reason for which the feed ended by itself."""
        self.fault: BaseException | None = None
        """The fault of the program that ended it; None without one."""
        self._is_fault_raised = False
        self._freshness = Freshness(config.silence_timeout)
        self._last_received: float | None = None
        self._messages = self._updates = self._gaps = self._take_overs = 0
        self._anomalies: Counter[str] = Counter()

    # Inputs.

    def opened(self, start: FeedPosition | None, now: float) -> None:
        """Begin to wait for messages.

        Args:
            start: the place up to which everything was handed out before; None for a feed that
                starts anew.
            now: the time.
        """
        self._freshness.opened(now)
        if start is not None:
            self._cursor = Cursor(start.position, account=self._account)
            self._queue(Placed(None, start.position, start.place))

    def forgot(self, bookmark: str) -> None:
        """Note that the place which the bus has kept cannot be read: the feed starts anew, and what
        was published since that place is missing."""
        self._report(
            BusAnomaly("a place that no feed of this version has kept", bookmark[:_MAX_TEXT])
        )

    def received(
        self,
        data: bytes,
        place: str,
        now: float,
        *,
        age: float | None = 0.0,
        is_last: bool = True,
    ) -> None:
        """Take a message of the bus in.

        Args:
            data: the message.
            place: its place on the bus.
            now: the time.
            age: the seconds for which it had been on the bus; None if that is unknown.
            is_last: True if the bus had no later one.
        """
        if self.is_closed:
            return
        self._messages += 1
        self._last_received = now
        freshness, accepted = self._freshness, self._cursor.accepted
        pairs = self._cursor.received(data)
        is_sign = self._cursor.accepted != accepted
        stalled = freshness.reads(now, age=age, is_last=is_last, is_sign=is_sign)
        if stalled is not None and self._queued.position is None:
            # A program that stores its position with every event goes on before this message.
            self._queue(Placed(stalled, self._cursor.first, place))
        else:
            self._tell(stalled)
        for event, position in pairs:
            self._queue(Placed(event, position, place))
            self._note(event)
        if not pairs:
            self._queue(Placed(None, self._cursor.position, place))
        if freshness.resumes:
            freshness.resume()
            self._report(Resumed())
        if len(self._waiting) >= self.config.capacity:
            self.is_paused = True
            freshness.paused(now)

    def interrupted(self, detail: str) -> None:
        """Note that the bus cannot be read."""
        self._tell(self._freshness.interrupted(detail))

    def restored(self, now: float) -> None:
        """Note that the bus can be read again. The feed goes on with the next message."""
        self._freshness.restored(now)

    def deadline_reached(self, now: float) -> None:
        """Report that nobody publishes, if that is so at ``now``. Calling early is harmless."""
        self._tell(self._freshness.deadline_reached(now))

    def resumed(self, now: float) -> None:
        """Note that reading goes on."""
        self.is_paused = False
        self._freshness.read_on(now)

    def close(self, now: float = 0.0) -> tuple[()]:  # noqa: ARG002 - as every machine's
        """End the feed."""
        if not self.is_closed:
            self._end(Closed(self.failure))
        return ()

    def refuse(self, failure: Failure) -> None:
        """End the feed, since trying again cannot help."""
        if not self.is_closed:
            self.failure = failure
            self._end(Closed(failure))

    def take(self, step: object) -> None:
        """Do nothing: every input has done everything already."""

    @property
    def machine(self) -> Self:
        """The feed itself: it takes its inputs."""
        return self

    @property
    def deadline(self) -> float | None:
        """The time to call ``deadline_reached``; None for not before another input."""
        return None if self.is_closed else self._freshness.deadline

    # For the application.

    def get(self) -> Placed | None:
        """Return the next event, or the next place without one; None if there is none now."""
        waiting = self._waiting
        if not waiting:
            return None
        # A Ctrl-C may come behind any call of `popleft`, and the event would be lost.
        placed = waiting[0]
        del waiting[0]
        return placed

    def settle(self, given: Placed) -> None:
        """Note that the application is done with what it was given."""
        if given is not self.settled:
            self.settled = given
            call, self.on_settled = self.on_settled, None
            if call is not None:
                call()

    @property
    def has_events(self) -> bool:
        """True if ``get`` will return something."""
        return bool(self._waiting)

    @property
    def is_over(self) -> bool:
        """True if no event will come any more."""
        return self.is_closed and not self._waiting

    @property
    def is_recorded(self) -> bool:
        """False: what is on the bus is its own recording."""
        return False

    @property
    def may_resume(self) -> bool:
        """True if what has paused should go on: half of the queue is free."""
        return len(self._waiting) <= self.config.capacity // 2

    def fail(self, fault: BaseException) -> None:
        """Note a fault of the program; the first one counts."""
        if self.fault is None:
            self.fault = fault

    def raise_unseen_fault(self) -> None:
        """Return if there is no fault, or somebody was given it already.

        Raises:
            BaseException: the fault, as it is.
        """
        if self.fault is not None and not self._is_fault_raised:
            self.raise_failure()

    def raise_failure(self) -> None:
        """Return if the feed was closed.

        Raises:
            FeedFailed: it ended by itself.
            BaseException: it ended by a fault of the program, which is raised as it is.
        """
        if self.fault is not None:
            self._is_fault_raised = True
            raise self.fault
        if self.failure is not None:
            raise FeedFailed(self.failure)

    def metrics(self, now: float) -> RelayMetrics:
        """Return the counters and gauges at the time ``now``."""
        last, position = self._last_received, self._queued.position
        return RelayMetrics(
            messages=self._messages,
            updates=self._updates,
            gaps=self._gaps,
            take_overs=self._take_overs,
            stalls=self._freshness.stalls,
            anomalies=self._anomalies.copy(),
            epoch=None if position is None else position.epoch,
            waiting=len(self._waiting),
            capacity=self.config.capacity,
            is_paused=self.is_paused,
            is_stalled=self._freshness.is_stalled,
            is_behind=self._freshness.is_behind,
            lag=self._freshness.lag,
            last_received_age=None if last is None else now - last,
        )

    def _tell(self, stalled: Stalled | None) -> None:
        if stalled is not None and not self.is_closed:
            self._report(stalled)

    def _end(self, event: Closed) -> None:
        self.is_closed, self.is_paused = True, False
        self._report(event)

    def _report(self, event: RelayEvent) -> None:
        _, position, place = self._queued
        self._queue(Placed(event, position, place))

    def _queue(self, placed: Placed) -> None:
        waiting = self._waiting
        if waiting and waiting[-1] is self._queued and placed.event is None is self._queued.event:
            waiting[-1] = placed
        else:
            waiting.append(placed)
        self._queued = placed

    def _note(self, event: RelayEvent) -> None:
        match event:
            case Update():
                self._updates += 1
            case Gap():
                self._gaps += 1
            case TakenOver():
                self._take_overs += 1
            case _ if isinstance(event, (*ANOMALIES, BusAnomaly)):
                self._anomalies[type(event).__name__] += 1
            case _:
                pass
