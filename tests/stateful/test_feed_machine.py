"""A feed without its I/O, under an exchange that accepts, publishes and hangs up, and an
application that takes events when it likes: the buffer is bounded whatever happens, and nobody
dials for an application that is behind."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from frames import TOKEN, ack, balance, order, requests
from stateful.machine import Machine, counted, exercise
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    Action,
    BalanceUpdate,
    Close,
    Conflated,
    Connect,
    DeliveryPolicy,
    Failure,
    FailureKind,
    FeedClosed,
    FetchToken,
    OrderUpdate,
    SessionConfig,
    SessionState,
    Step,
    Token,
    TooManyEvents,
    Topic,
)
from topone_proto.adapters import FeedCore, Waiter

UPDATES = (OrderUpdate, BalanceUpdate)
TOPICS = [ORDERS, BALANCE, Topic("news")]


class FeedMachine(Machine):
    """An adapter that does everything right, and is told of all by rules."""

    def __init__(self) -> None:
        super().__init__()
        self.begin(4, DeliveryPolicy.BLOCK, fixed=True)

    @initialize(
        capacity=st.integers(1, 6), policy=st.sampled_from(DeliveryPolicy), fixed=st.booleans()
    )
    def begin(self, capacity: int, policy: DeliveryPolicy, fixed: bool) -> None:
        self.capacity = capacity
        self.core: FeedCore[Any] = FeedCore(
            token=Token(TOKEN) if fixed else (lambda: TOKEN),
            url=DEFAULT_URL,
            topics=TOPICS,
            config=SessionConfig(capacity=capacity, delivery=policy, stable_after=1e-6),
            origin=None,
            insecure=False,
            jitter=lambda: 0.5,
        )
        self.session = self.core.session
        self.now = 0.0
        self.asked: list[dict[str, str]] = []
        self.waits_for: Action | None = None
        self.waiters: list[Waiter] = []
        # The most events of one step, and how many calls may have stretched the buffer.
        self.largest = 0
        self.calls = 0
        self.received = self.delivered = self.left_out = 0
        self.take(self.session.start(self.now))

    def take(self, step: Step | None) -> None:
        while step is not None:
            self.largest = max(self.largest, len(step.events))
            was_paused, state = self.core.is_paused, self.session.state
            self.received += sum(isinstance(event, UPDATES) for event in step.events)
            for action in self.core.take(step):
                if isinstance(action, Connect | FetchToken):
                    assert not (was_paused and state is SessionState.WAITING)
                    self.waits_for = action
                elif isinstance(action, Close):
                    self.waits_for = None
            self.asked += requests(step)
            step = self.core.pause_or_resume(self.now)
            if step is not None:
                self.count("paused" if self.core.is_paused else "resumed")
                if self.session.connection is None:
                    self.count("paused or resumed without a connection")

    def is_reading(self) -> bool:
        return self.session.connection is not None and not self.core.is_paused

    # The exchange.

    @counted(lambda self: self.waits_for is not None, is_good=st.sampled_from([True, True, False]))
    def dial(self, is_good: bool) -> None:
        waited, self.waits_for = self.waits_for, None
        if isinstance(waited, FetchToken):
            self.take(self.core.token_obtained(TOKEN, self.now))
        elif is_good:
            self.asked = []
            self.take(self.session.connection_made(self.now))
        else:
            refused = Failure(FailureKind.REFUSED)
            self.take(self.session.connection_failed(refused, self.now))

    @counted(lambda self: self.session.connection is not None)
    def hang_up(self) -> None:
        self.take(self.session.connection_lost(1001, "", self.now))

    @counted(times=st.integers(1, 8))
    def accept_and_close(self, times: int) -> None:
        """Nobody takes any event meanwhile."""
        for _ in range(times):
            self.come_to_deadline()
            while self.waits_for is not None:
                self.dial(is_good=True)
            if self.session.connection is not None:
                self.hang_up()

    @counted(
        lambda self: self.is_reading(),
        assets=st.lists(st.sampled_from(["A", "B", ""]), min_size=1, max_size=12),
    )
    def publish(self, assets: list[str]) -> None:
        """As much of it as the feed reads."""
        frames = [balance(asset=asset) if asset else order() for asset in assets]
        while frames and self.is_reading():
            for frame in [frames.pop(0) for _ in range(min(self.core.room(0), len(frames)))]:
                step = self.core.received(frame, self.now)
                if step is None:
                    self.received += 1
                    # No deadline moves with it.
                    assert self.core.deadline == self.session._next_deadline()
                else:
                    self.take(step)
                if self.core.is_paused:
                    break
            self.take(self.core.pause_or_resume(self.now))

    @counted(lambda self: self.is_reading() and self.asked, code=st.sampled_from([0, 0, 0, 7]))
    def acknowledge(self, code: int) -> None:
        self.take(self.session.message_received(ack(self.asked.pop(0), code=code), self.now))

    @counted()
    def come_to_deadline(self) -> None:
        if self.core.deadline is not None:
            self.now = max(self.now, self.core.deadline)
        self.take(self.session.deadline_reached(self.now))

    # The application.

    @counted(topic=st.sampled_from(TOPICS), wanted=st.booleans())
    def call(self, topic: Topic, wanted: bool) -> None:
        ask = self.core.subscribe if wanted else self.core.unsubscribe
        waiting = self.core.waiting
        try:
            waiter, step = ask(topic, self.now)
        except FeedClosed:
            return
        except TooManyEvents as refused:
            assert not refused.stands
            assert waiting >= 2 * self.capacity
            self.count("refused a call")
            return
        self.calls += 1
        self.waiters.append(waiter)
        self.take(step)

    @counted()
    def give_up_waiting(self) -> None:
        for waiter in self.waiters:
            waiter.settle()
        self.waiters = []
        self.take(self.core.pause_or_resume(self.now))

    @counted(times=st.integers(1, 6))
    def get(self, times: int) -> None:
        for _ in range(times):
            event = self.core.get()
            if isinstance(event, UPDATES):
                self.delivered += 1
            elif isinstance(event, Conflated):
                self.left_out += event.count
            if self.core.is_paused:
                self.take(self.core.pause_or_resume(self.now))

    @counted(lambda self: self.calls > 2)
    def close(self) -> None:
        self.take(self.session.close(self.now))

    @invariant()
    def the_buffer_is_bounded(self) -> None:
        waiting = self.core.waiting
        # The step that fills it, the end of the connection, and Closed.
        beyond = 2 * max(self.largest, 1) + 1
        limit = (2 if self.calls else 1) * self.capacity + beyond
        assert waiting <= limit, f"{waiting} events wait, of {self.capacity}"
        metrics = self.core.metrics(self.now)
        assert (metrics.waiting, metrics.is_paused) == (waiting, self.core.is_paused)

    @invariant()
    def an_application_that_is_behind_is_told_by_nothing_but_the_end_of_the_connection(
        self,
    ) -> None:
        if self.core.is_paused and self.session.state is SessionState.WAITING:
            assert self.core.deadline is None
            assert self.waits_for is None

    def teardown(self) -> None:
        """Everything that came is delivered or counted."""
        while self.core.has_events:
            self.get(times=1)
        assert self.delivered + self.left_out == self.received
        super().teardown()


TestFeed = FeedMachine.TestCase
TestFeed.settings = settings(stateful_step_count=40)


@pytest.mark.thorough
def test_every_rule_is_run() -> None:
    exercise(
        FeedMachine,
        {"paused", "resumed", "paused or resumed without a connection", "refused a call"},
    )
