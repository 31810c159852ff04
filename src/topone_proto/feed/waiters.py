"""The callers of ``subscribe``, ``pull`` and the like that wait for an answer. Pure.

Theory. A waiter wants a topic to be subscribed to, or not to be. It is settled once, and never
again, by the first of these:

- the session's state of the topic is what it wants: done;
- an event answers the waiter's request with a refusal or a timeout: that error;
- another call wants the opposite of the same topic: ``LocalProtocolError``, for the earlier call;
- the feed is closed, or ends by itself: ``FeedClosed``, ``FeedFailed`` or the fault that ended it;
- twice the buffer's capacity waits in front of the answer: ``TooManyEvents``;
- the adapter settles it, because its caller waits no longer.

A waiter of a pull is settled by the pull's end, or by one of the last three. One of an account is
settled once what it waits for is so, or by one of the last three, too.

A lost connection settles none: the topic stays desired, and the next connection asks again.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from topone_proto.errors import FeedClosed, FeedFailed, LocalProtocolError
from topone_proto.events import Closed, RequestTimedOut, SubscriptionRejected
from topone_proto.session.answers import PullEnd
from topone_proto.session.session import Session
from topone_proto.session.subscriptions import SubscriptionState
from topone_proto.wire.topic import Topic

__all__ = ["ConditionWaiter", "PullWaiter", "Waiter", "Waiters", "WishWaiter"]


_W = TypeVar("_W", bound="Waiter")


class Waiter:
    """One call of the application, until its answer is known."""

    __slots__ = ("_error", "is_settled", "method")

    def __init__(self, method: str) -> None:
        self.method: str = method
        """The name of what was asked, for errors."""
        self.is_settled: bool = False
        """True once ``result`` may be called."""
        self._error: BaseException | None = None

    def settle(self, error: BaseException | None = None) -> None:
        """Say that it is done, or has failed with ``error``. Only the first call counts."""
        if not self.is_settled:
            self._error = error
            # Last: the caller may look from another thread.
            self.is_settled = True

    def look(self, session: Session) -> None:
        """Settle it if the present state answers it."""

    def result(self) -> None:
        """Return if it is done.

        Raises:
            SubscriptionRejected: the exchange refused.
            RequestTimedOut: the exchange did not answer in time. A subscription stays desired.
            FeedClosed: the feed was closed first.
            FeedFailed: the feed ended by itself first.
            LocalProtocolError: another call wanted the opposite first.
            TooManyEvents: more events wait in front of the answer than the feed may hold.
            BaseException: the feed ended by a fault of the program, which is raised as it is.
        """
        if self._error is not None:
            raise self._error


class WishWaiter(Waiter):
    """One call of a feed's ``subscribe`` or ``unsubscribe``."""

    __slots__ = ("topic", "wanted")

    def __init__(self, topic: Topic, *, wanted: bool) -> None:
        super().__init__(topic.subscribe_method if wanted else topic.unsubscribe_method)
        self.topic: Topic = topic
        self.wanted: bool = wanted
        """True for subscribe, False for unsubscribe."""

    def look(self, session: Session) -> None:
        """Settle it if the present state answers it."""
        state = session.subscriptions.get(self.topic, SubscriptionState.IDLE)
        is_desired = self.topic in session.desired
        if self.wanted is not is_desired:
            wish = "subscribed to" if is_desired else "unsubscribed from"
            self.settle(
                LocalProtocolError(
                    state=f"another call wants {self.topic} to be {wish}",
                    input=self.method,
                    remedy="let one place in the program decide",
                )
            )
        elif self.wanted:
            if state is SubscriptionState.ACTIVE:
                self.settle()
        elif state in {SubscriptionState.IDLE, SubscriptionState.REJECTED}:
            self.settle()


class PullWaiter(Waiter):
    """One call of a feed's ``pull``."""

    __slots__ = ("number", "topic", "values")

    def __init__(self, topic: Topic, number: int) -> None:
        super().__init__(f"req_{topic.name}")
        self.topic: Topic = topic
        self.number: int = number
        """The pull's number."""
        self.values: tuple[Any, ...] = ()
        """The result of the pull, once it is settled without an error."""


class ConditionWaiter(Waiter):
    """One call of an account's ``wait_until_whole`` or ``refresh``."""

    __slots__ = ("is_so",)

    def __init__(self, method: str, is_so: Callable[[], bool]) -> None:
        super().__init__(method)
        self.is_so: Callable[[], bool] = is_so
        """Returns True once what it waits for is so."""

    def look(self, session: Session) -> None:  # noqa: ARG002 - it knows where to look
        """Settle it if the present state answers it."""
        if self.is_so():
            self.settle()


class Waiters:
    """All waiters of one feed that are not settled yet, or were settled since the last step."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.waiting: list[Waiter] = []
        """The waiters themselves. The same list at all times, so that it can be kept."""

    @property
    def are_left(self) -> bool:
        """True if a waiter is not settled."""
        return any(not waiter.is_settled for waiter in self.waiting)

    def add(self, topic: Topic, *, wanted: bool) -> Waiter:
        """Return a new waiter."""
        return self._add(WishWaiter(topic, wanted=wanted))

    def add_pull(self, topic: Topic, number: int) -> PullWaiter:
        """Return a new waiter for a pull."""
        return self._add(PullWaiter(topic, number))

    def add_condition(self, method: str, is_so: Callable[[], bool]) -> Waiter:
        """Return a new waiter for something that will be so."""
        return self._add(ConditionWaiter(method, is_so))

    def _add(self, waiter: _W) -> _W:
        self.waiting.append(waiter)
        return waiter

    def settle_by_answers(self, answers: Iterable[PullEnd]) -> None:
        """Settle the waiters whose pulls have ended."""
        ends = {end.number: end for end in answers}
        for waiter in self.waiting:
            if isinstance(waiter, PullWaiter) and waiter.number in ends:
                waiter.values = ends[waiter.number].values
                waiter.settle(ends[waiter.number].error)

    def settle_all(self, make_error: Callable[[str], BaseException]) -> None:
        """Settle every waiter with an error of its own, made for its request's method."""
        for waiter in self.waiting:
            waiter.settle(make_error(waiter.method))

    def settle_by_events(self, events: Iterable[object]) -> None:
        """Settle the waiters that a step's events answer."""
        for event in events:
            match event:
                case SubscriptionRejected() | RequestTimedOut():
                    self._settle_refused(event)
                case Closed(failure=failure):
                    for waiter in self.waiting:
                        waiter.settle(FeedClosed() if failure is None else FeedFailed(failure))
                case _:
                    pass

    def settle_by_state(self) -> None:
        """Settle the waiters that the session's present state answers, and forget all that are
        settled."""
        for waiter in self.waiting:
            waiter.look(self._session)
        self.waiting[:] = [waiter for waiter in self.waiting if not waiter.is_settled]

    def _settle_refused(self, event: SubscriptionRejected | RequestTimedOut) -> None:
        for waiter in self.waiting:
            # The method of a request says its topic as well.
            if waiter.method == event.method:
                # A copy: raising writes a traceback into it, and the event is the application's.
                waiter.settle(attrs.evolve(event))
