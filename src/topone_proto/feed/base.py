"""The part that the cores of feeds and of accounts share: a machine, the buffer for its events, and
the callers that wait for an answer.

Pure. An adapter adds a socket, a clock and a way to sleep.
"""

from collections import Counter
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from topone_proto.account import AccountStep
from topone_proto.errors import (
    ConnectionEnded,
    FeedClosed,
    FeedFailed,
    TooManyEvents,
)
from topone_proto.events import ANOMALIES, Closed, Disconnected, Gap
from topone_proto.feed.buffer import DeliveryBuffer
from topone_proto.feed.machine import Machine
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.feed.waiters import Waiter, Waiters
from topone_proto.secrets.token import Token, usable
from topone_proto.session.config import SessionConfig
from topone_proto.session.session import Session
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.wire.topic import Topic, Update

if TYPE_CHECKING:
    from topone_proto.failures import FailureKind

__all__ = ["BaseCore"]

_Source = TypeVar("_Source", bound=Callable[..., object])
_Step = TypeVar("_Step", bound=Step | AccountStep)
_Event = TypeVar("_Event")

# How many frames are read in one go while the application and the deadline wait for their turn.
_FRAMES_PER_TURN: Final = 64


class BaseCore(Generic[_Source, _Step, _Event]):
    """A feed or an account without its I/O. ``machine`` is driven by the adapter; every step it
    returns goes through ``take``.

    Bounded: at most ``capacity`` events wait for the application, and those of the step that filled
    the buffer and of the one that ends the connection. Twice ``capacity`` while a call
    waits for its answer. For this an adapter calls
    ``pause_or_resume`` after each ``take``, and after each ``get`` while ``is_paused``; then it
    reads only while not ``is_paused``, at most ``room`` frames before it looks again. The session
    dials no more while it is paused.

    A fault of the program (``record=`` raises, a plug-in has a bug) ends it through ``fail``.
    ``take`` finds a fault of the recorder. The adapter then closes the machine, once ``fault`` is
    set, and whoever iterates or calls gets the fault, by ``raise_failure``.

    Args:
        machine: decides everything.
        session: the session that is or is inside the machine.
        source: the callable that supplies tokens; None without one.
        config: every number.
        buffer: holds the events.
        wall: the time of day in seconds since 1970 UTC, for the metrics.
        is_recorded: True if the session is recorded.
    """

    def __init__(
        self,
        machine: Machine[_Step],
        session: Session,
        *,
        source: _Source | None,
        config: SessionConfig,
        buffer: DeliveryBuffer,
        wall: Callable[[], float] | None,
        is_recorded: bool,
    ) -> None:
        self.machine: Machine[_Step] = machine
        """Takes the inputs."""
        self.session: Session = session
        """The session, to look at. A feed's is its machine."""
        self.token_source: _Source | None = source
        """The callable that supplies tokens; None without one."""
        self.config: SessionConfig = config
        """Timeouts, limits, back-off and delivery."""
        self.deadline: float | None = None
        """The time at which ``machine.deadline_reached`` is due."""
        self._capacity = config.capacity
        self._max_unsent = config.max_unsent
        self._buffer = buffer
        self.events: Sized = buffer.waiting
        """The events that wait to be taken by ``get``, to be counted."""
        self.get: Callable[[], _Event | None] = buffer.get
        """The next event for the application; None if there is none now."""
        self._waiters = Waiters(session)
        self._waiting = self._waiters.waiting
        self.is_paused: bool = False
        """True while the application is behind: nothing is to be read, and the machine knows."""
        self.is_closed: bool = False
        """True once the machine has ended. Events may still wait to be taken by ``get``."""
        self.fault: BaseException | None = None
        """The fault of the program that ended it, or is about to; None without one."""
        # True once somebody was given the fault.
        self._is_fault_raised = False
        # A recorder may fail at any input, so that each step is checked.
        self.is_recorded: bool = is_recorded
        """True if the session is recorded."""
        self._tap: Callable[[tuple[Any, ...]], object] | None = None
        # True if each step has to go through `take`.
        self._is_watched = is_recorded
        self._wall = wall
        # For the metrics.
        self._updates = 0
        self._gaps = 0
        self._failures: Counter[FailureKind] = Counter()
        self._anomalies: Counter[str] = Counter()

    @property
    def must_pause(self) -> bool:
        """True if the transport should stop reading: the application is behind.

        Not while a waiter waits, since the answer is among what is not read yet, and the caller of
        ``subscribe`` may be the very task that takes the events.
        """
        return self._buffer.needed() >= self._capacity and not self._waiters.are_left

    @property
    def may_resume(self) -> bool:
        """True if a transport that has paused should read again. Half of the buffer has to be free,
        so that it does not pause and resume with every event."""
        return self._buffer.needed() <= self._capacity // 2 or self._waiters.are_left

    def pause_or_resume(self, now: float) -> _Step | None:
        """Tell the machine that reading pauses or goes on, if that has changed. The step goes
        through ``take``; None if nothing has changed, or the machine has ended."""
        if self.is_closed:
            return None
        if self.is_paused:
            if not self.may_resume:
                return None
            self.is_paused = False
            return self.machine.reading_resumed(now)
        if not self.must_pause:
            return None
        self.is_paused = True
        return self.machine.reading_paused(now)

    def room(self, unsent: int) -> int:
        """Return the number of frames that a transport may read before it asks again, after other
        tasks have had their turn. 0 while it ``must_pause``.

        After a frame whose step went through ``take``, look at ``is_paused`` before the next: a
        step may have several events.

        Args:
            unsent: how many frames wait to be sent.

        Raises:
            ConnectionEnded: so many that the connection is of no use; the peer does not read.
        """
        if unsent > self._max_unsent:
            raise ConnectionEnded(None, "the peer does not read")
        if self._waiting and self._waiters.are_left:
            # The next frame may be the answer, and then the buffer may be too full for another.
            return 1
        room = self._capacity - self._buffer.needed()
        return max(0, min(room, self._max_unsent + 1 - unsent, _FRAMES_PER_TURN))

    @property
    def waiting(self) -> int:
        """The number of events that wait to be taken by ``get``."""
        return len(self._buffer)

    @property
    def has_events(self) -> bool:
        """True if ``get`` will return something."""
        return bool(self.events)

    @property
    def is_over(self) -> bool:
        """True if no event will come any more: the last one, ``Closed``, was taken by ``get``."""
        return self.is_closed and not self.has_events

    def tap(self, function: Callable[[tuple[Any, ...]], object]) -> None:
        """Give the events of each step to a function as well, an account's updates included.

        It is called in the call that brought them, whatever the application takes, while the
        machine is as these events have left it. What it raises is a fault of the program. There is
        one function at most; it sees the steps from now on.
        """
        self._tap, self._is_watched = function, True

    def take(self, step: _Step) -> tuple[Any, ...]:
        """Take a step of the machine in. Returns its actions, which the adapter carries out in
        order."""
        self.deadline = step.deadline
        events = step.events
        if self.is_recorded:
            self._find_fault()
        if events:
            self._put(events)
            self._note(events)
            if self._tap is not None:
                self._tap(events)
        if self._waiting:
            if isinstance(step, Step) and step.answers:
                self._waiters.settle_by_answers(step.answers)
            self._waiters.settle_by_events(events)
            if self._is_overfull:
                self._waiters.settle_all(lambda method: TooManyEvents(method, len(self._buffer)))
            self._waiters.settle_by_state()
        return step.actions

    def received(self, frame: str | bytes, now: float) -> _Step | None:
        """Take a frame in: the hot path. Returns the machine's step, which goes through ``take``;
        None if all there is to it is an update, as of nearly all frames, and that waits for
        ``get`` now. Returning None ends no call that waits, and moves no deadline."""
        raise NotImplementedError

    @property
    def refused_token(self) -> Token | None:
        """The token that was refused, for whoever supplies another; None for another reason."""
        return self.machine.refused_token

    def token_obtained(self, supplied: object, now: float) -> _Step:
        """Tell the machine of the token callable's result, be it a token or not. The step goes
        through ``take``."""
        token = usable(supplied)
        if isinstance(token, Token):
            return self.machine.token_obtained(token, now)
        return self.machine.token_failed(token, now)

    def metrics(self, now: float) -> FeedMetrics:
        """Return the feed's counters and gauges at the time ``now``."""
        # In a forked child the core alone is closed.
        connection = None if self.is_closed else self.session.connection
        opened = last_received = ack_latency = None
        lag: dict[Topic, float] = {}
        if connection is not None:
            opened, last_received = connection.opened, connection.last_received
            ack_latency = connection.ack_latency
            if self._wall is not None:
                # The time of day when a frame was received, by what it is now.
                zero = self._wall() - now
                lag = {topic: zero + at - ts / 1000 for topic, (ts, at) in connection.lags.items()}
        return FeedMetrics(
            epoch=self.session.epoch,
            failures=dict(self._failures),
            updates=self._updates,
            gaps=self._gaps,
            anomalies=dict(self._anomalies),
            conflated=self._buffer.conflated,
            waiting=len(self._buffer),
            capacity=self._capacity,
            is_paused=self.is_paused,
            is_connected=connection is not None,
            epoch_age=None if opened is None else now - opened,
            last_received_age=None if last_received is None else now - last_received,
            ack_latency=ack_latency,
            lag=lag,
            subscriptions=self.session.subscriptions,
        )

    def overdue(self, method: str, seconds: float, now: float) -> TimeoutError:  # noqa: ARG002 - for accounts
        """Return the error for a call that has waited for so long."""
        return TimeoutError(f"{method} took longer than {seconds:g} s")

    def fail(self, fault: BaseException) -> None:
        """Note a fault of the program; the first one counts. Every waiter is settled with it.
        The adapter closes the machine next."""
        if self.fault is None:
            self.fault = fault
        for waiter in self._waiting:
            waiter.settle(self.fault)

    @property
    def has_unseen_fault(self) -> bool:
        """True if the feed has a fault that nobody was given yet."""
        return self.fault is not None and not self._is_fault_raised

    def raise_unseen_fault(self) -> None:
        """Return if the feed has no fault, or somebody was given it already: for ``close`` and the
        end of the feed's block.

        Raises:
            BaseException: the fault, as it is.
        """
        if self.has_unseen_fault:
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
        failure = self.machine.failure
        if failure is not None:
            raise FeedFailed(failure)

    def leave(self, waiter: Waiter, now: float) -> _Step | None:  # noqa: ARG002 - for pulls
        """Let go of a waiter whose caller stops to wait. A step goes through ``take``; None if
        there is nothing to do."""
        waiter.settle()
        return None

    def _require_open(self, method: str) -> None:
        """Return if a call may go on to wait."""
        if self.session.state is SessionState.CLOSED:
            self.raise_failure()
            raise FeedClosed
        if self._is_overfull:
            # Every call may cause events, and nobody takes any.
            raise TooManyEvents(method, len(self._buffer), stands=False)

    def _put(self, events: tuple[Any, ...]) -> None:
        """Let a step's events wait for the application."""
        self._buffer.put(events)

    @property
    def _is_overfull(self) -> bool:
        """True if so many events wait that no call may go on to wait."""
        return len(self._buffer) >= 2 * self._capacity

    def _note(self, events: tuple[Any, ...]) -> None:
        """Count a step's events for the metrics, and notice the end."""
        for event in events:
            match event:
                case Closed():
                    self.is_closed, self.is_paused = True, False
                case Update():
                    self._updates += 1
                case Disconnected(reason=reason):
                    self._failures[reason.kind] += 1
                case Gap():
                    self._gaps += 1
                case _ if isinstance(event, ANOMALIES):
                    self._anomalies[type(event).__name__] += 1
                case _:
                    pass

    def _find_fault(self) -> None:
        fault = getattr(self.session, "recording_error", None)
        if fault is not None and self.fault is None:
            self.fail(fault)
