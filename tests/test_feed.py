"""What the feeds of all adapters share: tickets, the end, pausing."""

import pytest

from frames import TOKEN, ack, order, requests
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    Closed,
    ConfigurationError,
    Connect,
    Failure,
    FailureKind,
    FeedClosed,
    FeedCore,
    FeedFailed,
    FetchToken,
    LocalProtocolError,
    OrderUpdate,
    RequestTimedOut,
    SessionConfig,
    Step,
    SubscriptionRejected,
    Ticket,
    Token,
    TooManyEvents,
    Topic,
)


def supply() -> str:
    return TOKEN


class Rig:
    """A feed without an adapter."""

    def __init__(self, *topics: Topic, capacity: int = 1000, connected: bool = True) -> None:
        self.core: FeedCore[object] = FeedCore(  # type: ignore[type-var]  # no callable here
            token=Token(TOKEN),
            url=DEFAULT_URL,
            topics=topics,
            config=SessionConfig(capacity=capacity),
            origin=None,
            insecure=False,
            jitter=lambda: 0.0,
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

    def want(self, topic: Topic, *, subscribed: bool = True) -> tuple[Ticket, Step]:
        ask = self.core.subscribe if subscribed else self.core.unsubscribe
        ticket, step = ask(topic, 1.0)
        self.core.take(step)
        return ticket, step


def test_a_ticket_is_settled_by_the_acknowledgement() -> None:
    rig = Rig()
    ticket, step = rig.want(ORDERS)
    assert not ticket.is_settled
    [request] = requests(step)
    rig.receive(ack(request))
    assert ticket.is_settled
    ticket.result()
    ticket, step = rig.want(ORDERS, subscribed=False)
    assert not ticket.is_settled
    [request] = requests(step)
    rig.receive(ack(request))
    ticket.result()
    assert ticket.is_settled


def test_what_is_so_already_is_settled_at_once() -> None:
    rig = Rig(ORDERS)
    for topic, subscribed in ((ORDERS, True), (BALANCE, False)):
        ticket, _ = rig.want(topic, subscribed=subscribed)
        assert ticket.is_settled
        ticket.result()


def test_a_refusal_is_raised_by_the_call_that_asked() -> None:
    rig = Rig()
    other, other_step = rig.want(BALANCE)
    ticket, step = rig.want(ORDERS)
    [request] = requests(step)
    rig.receive(ack(request, code=4, msg="no"))
    with pytest.raises(SubscriptionRejected) as caught:
        ticket.result()
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
    ticket, step = rig.want(ORDERS)
    assert step.deadline is not None
    rig.core.take(rig.session.deadline_reached(step.deadline))
    with pytest.raises(RequestTimedOut):
        ticket.result()
    assert rig.session.desired == (ORDERS,)


def test_a_ticket_outlives_the_connection() -> None:
    rig = Rig(connected=False)
    ticket, _ = rig.want(ORDERS)
    assert not ticket.is_settled
    [request] = requests(rig.session.connection_made(2.0))
    rig.receive(ack(request))
    assert ticket.is_settled


def test_the_opposite_wish_settles_a_ticket_with_an_error() -> None:
    rig = Rig(connected=False)
    ticket, _ = rig.want(ORDERS)
    leaving, _ = rig.want(ORDERS, subscribed=False)
    leaving.result()
    with pytest.raises(LocalProtocolError, match="unsubscribed"):
        ticket.result()


@pytest.mark.parametrize("failure", [None, Failure(FailureKind.HANDSHAKE, status=403)])
def test_the_end_settles_every_ticket_and_refuses_new_ones(failure: Failure | None) -> None:
    rig = Rig(connected=False)
    tickets = [rig.want(ORDERS)[0], rig.want(BALANCE)[0]]
    if failure is None:
        rig.core.take(rig.session.close(1.0))
    else:
        rig.core.take(rig.session.connection_failed(failure, 1.0))
    for ticket in tickets:
        with pytest.raises(FeedClosed if failure is None else FeedFailed):
            ticket.result()
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
    received, deadline_reached = rig.session.message_received, rig.session.deadline_reached
    update = received(order(), 1.0)
    assert rig.core.take_update(update)
    assert [rig.core.get()] == list(update.events)
    assert rig.core.metrics(1.0).updates == 1
    for step in (received("{}", 1.0), received("ping", 1.0), Step(update.events, (), 7.0)):
        assert not rig.core.take_update(step)
        assert rig.core.get() is None
    assert rig.core.deadline is not None
    rig.core.take(deadline_reached(rig.core.deadline))
    assert rig.core.take_update(received(order(), 1.0))
    rig.want(BALANCE)
    assert not rig.core.take_update(received(order(), 1.0))
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


def test_reading_goes_on_while_a_ticket_waits_but_not_without_end() -> None:
    rig = Rig(ORDERS, capacity=4)
    for _ in range(4):
        rig.receive(order())
    ticket, _ = rig.want(BALANCE)
    assert rig.core.may_resume
    for _ in range(3):
        assert not rig.core.must_pause
        rig.receive(order())
    rig.receive(order())
    assert rig.core.must_pause
    with pytest.raises(TooManyEvents, match="8 events wait"):
        ticket.result()


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
