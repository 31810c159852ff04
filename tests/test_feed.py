"""The common part of all feeds: waiters, the end, pausing."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from frames import TOKEN, ack, balance, order, requests
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    PUBLIC_URL,
    Closed,
    ConfigurationError,
    Connect,
    ConnectionEnded,
    DeliveryPolicy,
    Failure,
    FailureKind,
    FeedClosed,
    FeedFailed,
    FetchToken,
    LocalProtocolError,
    OrderUpdate,
    PullRefused,
    RequestTimedOut,
    SessionConfig,
    Step,
    SubscriptionRejected,
    Token,
    TooManyEvents,
    Topic,
    kline,
)
from topone_proto.adapters import FeedCore, PullWaiter, Waiter
from topone_proto.wire.codec import decode


def supply() -> str:
    return TOKEN


class Rig:
    """A feed without an adapter."""

    def __init__(
        self,
        *topics: Topic,
        capacity: int = 1000,
        connected: bool = True,
        delivery: str = "block",
        record: Callable[[str], object] | None = None,
    ) -> None:
        self.core: FeedCore[object] = FeedCore(  # type: ignore[type-var]  # no callable here
            token=Token(TOKEN),
            url=DEFAULT_URL,
            topics=topics,
            config=SessionConfig(capacity=capacity, delivery=DeliveryPolicy(delivery)),
            origin=None,
            insecure=False,
            jitter=lambda: 0.0,
            record=record,
        )
        self.session = self.core.session
        self.core.take(self.session.start(0.0))
        if connected:
            step = self.session.connection_made(0.0)
            self.core.take(step)
            for request in requests(step):
                self.receive(ack(request))
            while self.core.get() is not None:
                pass

    def receive(self, frame: str) -> None:
        self.core.take(self.session.message_received(frame, 1.0))

    def want(self, topic: Topic, *, subscribed: bool = True) -> tuple[Waiter, Step]:
        ask = self.core.subscribe if subscribed else self.core.unsubscribe
        waiter, step = ask(topic, 1.0)
        self.core.take(step)
        return waiter, step


def test_a_waiter_is_settled_by_the_acknowledgement() -> None:
    rig = Rig()
    waiter, step = rig.want(ORDERS)
    assert not waiter.is_settled
    [request] = requests(step)
    rig.receive(ack(request))
    assert waiter.is_settled
    waiter.result()
    waiter, step = rig.want(ORDERS, subscribed=False)
    assert not waiter.is_settled
    [request] = requests(step)
    rig.receive(ack(request))
    waiter.result()
    assert waiter.is_settled


def test_what_is_so_already_is_settled_at_once() -> None:
    rig = Rig(ORDERS)
    for topic, subscribed in ((ORDERS, True), (BALANCE, False)):
        waiter, _ = rig.want(topic, subscribed=subscribed)
        assert waiter.is_settled
        waiter.result()


def test_a_refusal_is_raised_by_the_call_that_asked() -> None:
    rig = Rig()
    other, other_step = rig.want(BALANCE)
    waiter, step = rig.want(ORDERS)
    [request] = requests(step)
    rig.receive(ack(request, code=4, msg="no"))
    with pytest.raises(SubscriptionRejected) as caught:
        waiter.result()
    assert (caught.value.code, caught.value.topic) == (4, ORDERS)
    # The event of the stream has no traceback of the raising in it.
    event = rig.core.get()
    assert event == caught.value
    assert isinstance(event, SubscriptionRejected)
    assert event.__traceback__ is None
    assert not other.is_settled
    rig.receive(ack(requests(other_step)[0]))
    other.result()


def test_a_timeout_is_raised_and_the_topic_stays_desired() -> None:
    rig = Rig()
    waiter, step = rig.want(ORDERS)
    assert step.deadline is not None
    rig.core.take(rig.session.deadline_reached(step.deadline))
    with pytest.raises(RequestTimedOut):
        waiter.result()
    assert rig.session.desired == (ORDERS,)


def test_a_waiter_outlives_the_connection() -> None:
    rig = Rig(connected=False)
    waiter, _ = rig.want(ORDERS)
    assert not waiter.is_settled
    [request] = requests(rig.session.connection_made(2.0))
    rig.receive(ack(request))
    assert waiter.is_settled


def test_the_opposite_wish_settles_a_waiter_with_an_error() -> None:
    rig = Rig(connected=False)
    waiter, _ = rig.want(ORDERS)
    leaving, _ = rig.want(ORDERS, subscribed=False)
    leaving.result()
    with pytest.raises(LocalProtocolError, match="unsubscribed"):
        waiter.result()


@pytest.mark.parametrize("failure", [None, Failure(FailureKind.HANDSHAKE, status=403)])
def test_the_end_settles_every_waiter_and_refuses_new_ones(failure: Failure | None) -> None:
    rig = Rig(connected=False)
    waiters = [rig.want(ORDERS)[0], rig.want(BALANCE)[0]]
    if failure is None:
        rig.core.take(rig.session.close(1.0))
    else:
        rig.core.take(rig.session.connection_failed(failure, 1.0))
    for waiter in waiters:
        with pytest.raises(FeedClosed if failure is None else FeedFailed):
            waiter.result()
    for ask in (rig.core.subscribe, rig.core.unsubscribe):
        with pytest.raises(FeedClosed if failure is None else FeedFailed):
            ask(ORDERS, 2.0)


def test_events_that_wait_can_be_taken_after_the_end_and_closed_is_the_last() -> None:
    rig = Rig(ORDERS)
    rig.receive(order())
    rig.core.take(rig.session.close(1.0))
    assert rig.core.is_closed
    assert not rig.core.is_over
    assert isinstance(rig.core.get(), OrderUpdate)
    assert rig.core.get() == Closed(None)
    assert rig.core.is_over
    rig.core.raise_failure()


def test_a_failure_is_raised_with_what_to_check() -> None:
    rig = Rig(connected=False)
    failure = Failure(FailureKind.HANDSHAKE, status=403)
    rig.core.take(rig.session.connection_failed(failure, 1.0))
    with pytest.raises(FeedFailed, match=r"Origin.*token") as caught:
        rig.core.raise_failure()
    assert caught.value.failure == failure


def test_the_hot_path_takes_an_update_and_nothing_else() -> None:
    rig = Rig(ORDERS)
    received = rig.core.received
    assert received(order(), 1.0) is None
    assert [rig.core.get()] == [decode(order())]
    assert rig.core.metrics(1.0).updates == 1
    for frame in ("{}", "ping", balance()):
        assert isinstance(received(frame, 1.0), Step)
        assert rig.core.get() is None
    assert rig.core.deadline is not None
    rig.core.take(rig.session.deadline_reached(rig.core.deadline))
    assert received(order(), 1.0) is None
    rig.want(BALANCE)
    assert isinstance(received(order(), 1.0), Step)
    assert rig.core.metrics(1.0).updates == 2


def test_reading_stops_at_the_capacity_and_goes_on_at_half() -> None:
    rig = Rig(ORDERS, capacity=4)
    for _ in range(4):
        assert not rig.core.must_pause
        rig.receive(order())
    assert rig.core.must_pause
    rig.core.get()
    assert not rig.core.may_resume
    assert rig.core.waiting == 3
    rig.core.get()
    assert rig.core.may_resume


def test_reading_goes_on_while_a_waiter_waits_but_not_without_end() -> None:
    rig = Rig(ORDERS, capacity=4)
    for _ in range(4):
        rig.receive(order())
    waiter, _ = rig.want(BALANCE)
    assert rig.core.may_resume
    for _ in range(3):
        assert not rig.core.must_pause
        rig.receive(order())
    rig.receive(order())
    assert rig.core.must_pause
    with pytest.raises(TooManyEvents, match="8 events wait"):
        waiter.result()


def test_the_session_is_told_of_a_pause_in_every_state() -> None:
    """Also without a connection: then it dials no more."""
    rig = Rig(ORDERS, capacity=2)
    lost = rig.session.connection_lost(None, "", 1.0)
    rig.core.take(lost)
    assert rig.core.pause_or_resume(1.0) is None
    assert not rig.core.is_paused
    # The topic is given up without a connection, which is an event too.
    rig.core.take(rig.session.unsubscribe(ORDERS, 1.0))
    step = rig.core.pause_or_resume(1.0)
    assert step is not None
    rig.core.take(step)
    assert rig.core.is_paused
    assert rig.core.metrics(1.0).is_paused
    assert rig.core.deadline is None
    assert rig.core.pause_or_resume(2.0) is None
    rig.core.get()
    assert lost.deadline is not None
    assert rig.core.waiting > 1
    while rig.core.waiting > 1:
        rig.core.get()
    step = rig.core.pause_or_resume(lost.deadline)
    assert step is not None
    [connect] = rig.core.take(step)
    assert isinstance(connect, Connect)
    assert not rig.core.metrics(1.0).is_paused


def test_a_waiter_makes_a_feed_that_is_behind_dial() -> None:
    """The caller of subscribe may be the very task that takes the events."""
    rig = Rig(ORDERS, capacity=1)
    rig.core.take(rig.session.connection_lost(None, "", 1.0))
    assert rig.core.pause_or_resume(1.0) is not None
    waiter, step = rig.core.subscribe(BALANCE, 9.0)
    assert rig.core.take(step) == ()
    resumed = rig.core.pause_or_resume(9.0)
    assert resumed is not None
    assert [type(action) for action in rig.core.take(resumed)] == [Connect]
    # Nobody waits for it any more.
    waiter.settle()
    assert rig.core.pause_or_resume(9.0) is not None
    assert rig.core.is_paused


def test_a_closed_feed_is_not_paused() -> None:
    rig = Rig(ORDERS, capacity=1)
    rig.receive(order())
    assert rig.core.pause_or_resume(1.0) is not None
    rig.core.take(rig.session.close(1.0))
    assert not rig.core.is_paused
    assert rig.core.pause_or_resume(1.0) is None


def test_a_call_is_refused_while_twice_the_capacity_waits() -> None:
    """Without a connection every call may have an event, and nobody would bound them."""
    rig = Rig(ORDERS, capacity=2)
    rig.core.take(rig.session.connection_lost(None, "", 1.0))
    before = rig.session.desired
    with pytest.raises(TooManyEvents, match="nothing was requested") as caught:
        for _ in range(20):
            before = rig.session.desired
            rig.want(ORDERS, subscribed=ORDERS not in before)
    assert not caught.value.stands
    assert rig.session.desired == before
    assert rig.core.waiting == 4


def test_reading_goes_on_while_something_can_be_conflated() -> None:
    rig = Rig(ORDERS, capacity=4, delivery="conflate")
    for number in range(100):
        assert rig.core.room(0) > 0
        rig.receive(order(2000 + number))
        assert not rig.core.must_pause
        assert rig.core.waiting <= 4
    assert rig.core.metrics(1.0).conflated + rig.core.waiting >= 100
    for number in range(3):
        rig.receive(order(number=number))
    assert rig.core.must_pause
    assert rig.core.room(0) == 0


class FaultyError(Exception):
    """A fault of the program's own."""


def test_a_fault_is_raised_to_everybody_who_waits_and_once_by_the_block() -> None:
    rig = Rig(ORDERS)
    waiter, _ = rig.want(BALANCE)
    fault = FaultyError()
    rig.core.fail(fault)
    rig.core.fail(FaultyError("a second one says nothing new"))
    rig.core.take(rig.session.close(1.0))
    assert rig.core.fault is fault
    with pytest.raises(FaultyError) as caught:
        rig.core.raise_unseen_fault()
    assert caught.value is fault
    rig.core.raise_unseen_fault()
    for raises in (waiter.result, rig.core.raise_failure, lambda: rig.want(ORDERS)):
        with pytest.raises(FaultyError) as caught:
            raises()
        assert caught.value is fault


def test_the_fault_of_a_recorder_is_found_with_the_step_that_it_failed_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    rig = Rig(ORDERS, record=lines.append)
    fault = FaultyError()
    # A recorded feed has no hot path: each of its steps is looked at.
    received = rig.core.received(order(), 1.0)
    assert received is not None
    rig.core.take(received)
    assert rig.core.fault is None
    monkeypatch.setattr(type(rig.session), "recording_error", fault, raising=False)
    rig.receive(order())
    assert rig.core.fault is fault
    # The step is taken all the same.
    assert rig.core.waiting == 2


def test_a_callable_is_asked_and_what_it_supplies_is_checked() -> None:
    core = FeedCore(
        token=supply,
        url=DEFAULT_URL,
        topics=(),
        config=None,
        origin=None,
        insecure=False,
        jitter=lambda: 0.0,
    )
    assert core.token_source is supply
    assert core.take(core.session.start(0.0)) == (FetchToken(),)
    for supplied in (7, "two words"):
        failed = core.token_obtained(supplied, 1.0)
        assert "two words" not in repr(failed)
        assert core.take(failed) == ()
        assert core.deadline is not None
        core.take(core.session.deadline_reached(core.deadline))
    [connect] = core.take(core.token_obtained(TOKEN, 2.0))
    assert isinstance(connect, Connect)
    assert connect.token == Token(TOKEN)


def test_a_token_that_cannot_be_one_is_refused_before_anything_else() -> None:
    with pytest.raises(ConfigurationError, match="token"):
        FeedCore(
            token=Token("two words"),
            url=DEFAULT_URL,
            topics=(),
            config=None,
            origin=None,
            insecure=False,
            jitter=lambda: 0.0,
        )


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    rig = Rig(ORDERS)
    unsent = SessionConfig().max_unsent
    assert rig.core.room(unsent) == 1
    with pytest.raises(ConnectionEnded) as caught:
        rig.core.room(unsent + 1)
    assert caught.value.reason == "the peer does not read"


# --- pulls ---------------------------------------------------------------------------------------

MINUTES = kline("BTC/USDT", "1m")


class Market:
    """The core of a connected feed of market data."""

    def __init__(self) -> None:
        self.core: FeedCore[Any] = FeedCore(
            token=None,
            url=PUBLIC_URL,
            topics=(),
            config=SessionConfig(capacity=2),
            origin=None,
            insecure=False,
            jitter=lambda: 0.0,
        )
        [connect] = self.core.take(self.core.session.start(0.0))
        assert isinstance(connect, Connect)
        assert (connect.token, connect.url()) == (None, PUBLIC_URL)
        self.core.take(self.core.session.connection_made(0.0))

    def pull(self, end: float = 60.0) -> tuple[PullWaiter, list[dict[str, Any]]]:
        waiter, step = self.core.pull(MINUTES, 0, end, 1.0)
        self.core.take(step)
        return waiter, requests(step)

    def receive(self, frame: str) -> None:
        self.core.take(self.core.session.message_received(frame, 2.0))


def test_a_pull_is_settled_by_its_end_and_is_no_event() -> None:
    market = Market()
    waiter, [request] = market.pull()
    market.receive(json.dumps({**json.loads(ack(request)), "data": {"list": []}}))
    assert waiter.is_settled
    waiter.result()
    assert (waiter.values, waiter.number, waiter.method) == ((), 1, "req_kline_BTC/USDT_1m")
    assert market.core.waiting == 1


def test_a_refused_pull_raises() -> None:
    market = Market()
    waiter, [request] = market.pull()
    market.receive(ack(request, code=5, msg="no"))
    with pytest.raises(PullRefused, match="code 5"):
        waiter.result()


def test_a_caller_that_stops_to_wait_cancels_its_pull() -> None:
    market = Market()
    waiter, _ = market.pull()
    step = market.core.leave(waiter, 1.5)
    assert step is not None
    market.core.take(step)
    assert market.core.session.pulls == ()
    assert market.core.leave(waiter, 1.5) is None
    subscribing, _ = market.core.subscribe(Topic("news"), 1.5)
    assert market.core.leave(subscribing, 1.5) is None


def test_a_pull_behind_too_many_events_is_given_up() -> None:
    market = Market()
    waiter, _ = market.pull()
    while not waiter.is_settled:
        market.receive("junk" * 40)
    with pytest.raises(TooManyEvents, match="req_kline"):
        waiter.result()
    assert market.core.leave(waiter, 3.0) is not None
    with pytest.raises(TooManyEvents):
        market.pull()


def test_closing_ends_a_pull() -> None:
    market = Market()
    waiter, _ = market.pull()
    market.core.take(market.core.session.close(2.0))
    with pytest.raises(FeedClosed):
        waiter.result()
    with pytest.raises(FeedClosed):
        market.pull()
