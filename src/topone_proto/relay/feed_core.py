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
from typing import TYPE_CHECKING, Final, Self

from topone_proto.account import BusAnomaly, RelayEvent, Resumed, Stalled, TakenOver
from topone_proto.errors import FeedFailed
from topone_proto.events import ANOMALIES, Closed, Gap, Update
from topone_proto.failures import Failure
from topone_proto.relay._cursor import Cursor
from topone_proto.relay._feed_values import FeedPosition, Placed, RelayFeedConfig, RelayMetrics
from topone_proto.relay._freshness import Freshness

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

__all__ = ["FeedPosition", "Placed", "RelayFeedConfig", "RelayFeedCore", "RelayMetrics"]

_MAX_TEXT: Final = 200


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
        self.events: Sized = self._waiting
        """The events that wait to be taken by ``get``, to be counted."""
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
        # In this order: a thread that looks in between must not believe that nothing will come.
        self._report(event)
        self.is_closed, self.is_paused = True, False

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
