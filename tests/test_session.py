"""Connection after connection: dialling, back-off, resubscribing, gaps, the token, the end."""

import json
import random
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any
from unittest.mock import patch

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frames import TOKEN, ack, balance, order, requests
from topone_proto import (
    BALANCE,
    ORDERS,
    PUBLIC_URL,
    BalanceUpdate,
    Close,
    Closed,
    ConfigurationError,
    Connect,
    Connected,
    Disconnected,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    FetchToken,
    Gap,
    LocalProtocolError,
    Malformed,
    OrderUpdate,
    RequestTimedOut,
    SendPing,
    SendText,
    Session,
    SessionConfig,
    SessionState,
    Step,
    Subscribed,
    SubscriptionRejected,
    SubscriptionState,
    Token,
    Topic,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.session import life
from topone_proto.session.states import INPUTS, TRANSITIONS
from topone_proto.wire.kline import kline

S = SessionState
REMEDY = {
    S.NEW: "call start first",
    S.FETCHING_TOKEN: "answer FetchToken with token_obtained or token_failed",
    S.CONNECTING: "answer Connect with connection_made or connection_failed",
    S.CONNECTED: "there is an open connection: feed it, or report its end",
    S.WAITING: "wait for the deadline",
    S.CLOSED: "make a new session",
}
REFUSED = Failure(FailureKind.REFUSED)
HTTP_403 = Failure(FailureKind.HANDSHAKE, status=403)
HTTP_401 = Failure(FailureKind.HANDSHAKE, status=401)


class Driver:
    """Drives a session by hand, with a clock of its own, and keeps what happened."""

    def __init__(
        self,
        topics: Iterable[Topic] = (ORDERS,),
        *,
        config: SessionConfig | None = None,
        token: str | None = TOKEN,
        jitter: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.session = Session(
            topics, token=None if token is None else Token(token), config=config, jitter=jitter
        )
        self.now = 1000.0
        self.events: list[Event] = []
        self.step = Step()
        self.waits = 0

    def take(self, step: Step) -> Step:
        self.step = step
        self.events += step.events
        return step

    def news(self) -> list[Event]:
        news, self.events = self.events, []
        return news

    def start(self) -> Step:
        return self.take(self.session.start(self.now))

    def connect(self) -> Step:
        return self.take(self.session.connection_made(self.now))

    def up(self, *, ts: int = 1000) -> None:
        """Connect and have everything acknowledged."""
        step = self.connect()
        for request in requests(step):
            self.receive(ack(request, ts=ts))

    def receive(self, frame: str | bytes) -> Step:
        return self.take(self.session.message_received(frame, self.now))

    def lose(self) -> Step:
        return self.take(self.session.connection_lost(None, "", self.now))

    def fail(self, failure: Failure = REFUSED) -> Step:
        return self.take(self.session.connection_failed(failure, self.now))

    def wait(self) -> Step:
        """Let time pass until the deadline."""
        self.waits += 1
        assert self.waits <= 10_000, "what it waits for does not come"
        assert self.step.deadline is not None
        self.now = max(self.now, self.step.deadline)
        return self.take(self.session.deadline_reached(self.now))

    def redial(self) -> Step:
        """Wait until the session dials."""
        while not any(isinstance(action, Connect | FetchToken) for action in self.step.actions):
            self.wait()
        return self.step


def started(
    topics: Iterable[Topic] = (ORDERS,),
    *,
    config: SessionConfig | None = None,
    token: str | None = TOKEN,
    jitter: Callable[[], float] = lambda: 0.5,
) -> Driver:
    driver = Driver(topics, config=config, token=token, jitter=jitter)
    driver.start()
    return driver


def connected(*topics: Topic, config: SessionConfig | None = None) -> Driver:
    driver = started(topics or (ORDERS,), config=config)
    driver.up()
    driver.news()
    return driver


# The whole way, once.


def test_one_update_from_start_to_application() -> None:
    driver = Driver((ORDERS, BALANCE))
    assert driver.start() == Step(
        (), (Connect(Endpoint(), Token(TOKEN), 10.0, 2**20),), driver.now + 10.0
    )
    step = driver.connect()
    assert step.events == (Connected(1),)
    assert [request["method"] for request in requests(step)] == ["sub_orders", "sub_balance"]
    for request in requests(step):
        driver.receive(ack(request, ts=1))
    driver.receive(order())
    assert [type(event) for event in driver.news()] == [
        Connected,
        Subscribed,
        Subscribed,
        OrderUpdate,
    ]


def test_a_lost_connection_is_made_again_and_the_gap_named() -> None:
    driver = started((ORDERS, BALANCE))
    driver.up(ts=1000)
    driver.receive(order(ts=2500))
    driver.news()
    step = driver.take(driver.session.connection_lost(1012, "restart", driver.now))
    assert step.events == (
        Disconnected(Failure(FailureKind.CLOSED, "restart", code=1012), 0.25, 1, 1),
    )
    assert step.deadline == driver.now + 0.25
    driver.redial()
    driver.up(ts=9000)
    assert driver.news() == [
        Disconnected(Failure(FailureKind.CLOSED, "restart", code=1012), 0.25, 1, 1),
        Connected(2),
        Subscribed(ORDERS, 9000, 2),
        Gap(ORDERS, 2500, 9000, 2),
        Subscribed(BALANCE, 9000, 2),
        Gap(BALANCE, 1000, 9000, 2),
    ]


def test_the_first_connection_has_no_gap_even_after_failed_dials() -> None:
    driver = started()
    for _ in range(3):
        driver.fail()
        driver.redial()
    driver.up()
    assert not [event for event in driver.news() if isinstance(event, Gap)]
    assert driver.session.epoch == 1


def test_a_gap_spans_connections_that_were_never_acknowledged() -> None:
    driver = connected()
    driver.receive(order(ts=1234))
    driver.lose()
    for _ in range(2):
        driver.redial()
        driver.connect()
        driver.receive(order(ts=5000))  # overtakes an acknowledgement that never comes
        driver.lose()
    driver.redial()
    driver.up(ts=9000)
    assert [event for event in driver.events if isinstance(event, Gap)] == [
        Gap(ORDERS, 1234, 9000, 4)
    ]


def test_a_stream_that_began_before_its_acknowledgement_has_a_gap() -> None:
    driver = started()
    driver.connect()
    driver.receive(order(ts=700))
    driver.lose()
    driver.redial()
    driver.up(ts=1800)
    assert Gap(ORDERS, 700, 1800, 2) in driver.events


def test_a_gap_never_ends_before_it_begins() -> None:
    """The connection fails over to a node whose clock is a minute behind."""
    driver = connected()
    driver.receive(order(ts=100_000))
    driver.lose()
    driver.redial()
    driver.up(ts=40_000)
    [gap] = [event for event in driver.events if isinstance(event, Gap)]
    assert gap.since_ts is not None
    assert gap.until_ts is not None
    assert gap.since_ts <= 40_000
    assert gap.until_ts >= 100_000


def test_a_gap_has_no_end_that_is_not_known() -> None:
    driver = connected()
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    driver.receive(ack(request, ts=None))
    assert Gap(ORDERS, 1000, None, 2) in driver.events


def test_a_stream_that_never_began_has_none() -> None:
    driver = started()
    driver.connect()
    driver.lose()
    driver.redial()
    driver.up()
    assert not [event for event in driver.events if isinstance(event, Gap)]


def test_a_gap_is_named_once() -> None:
    driver = connected()
    driver.lose()
    driver.redial()
    driver.up()
    driver.news()
    driver.lose()
    driver.redial()
    driver.up(ts=3000)
    assert [event for event in driver.news() if isinstance(event, Gap)] == [
        Gap(ORDERS, 1000, 3000, 3)
    ]


def test_a_refused_resubscription_is_tried_again_on_the_same_connection() -> None:
    driver = connected()
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    driver.news()
    waits = []
    for _ in range(4):
        step = driver.receive(ack(request, code=5, msg="no", ts=4000))
        [rejected] = driver.news()
        assert isinstance(rejected, SubscriptionRejected)
        assert rejected.retry_in is not None
        assert "asks again in" in str(rejected)
        assert step.deadline == driver.now + rejected.retry_in
        assert driver.session.desired == (ORDERS,)
        assert driver.session.subscriptions[ORDERS] is SubscriptionState.REJECTED
        waits.append(rejected.retry_in)
        # What comes meanwhile does not hurry it, and does not make it forgotten.
        assert driver.receive("ping").deadline == step.deadline
        assert requests(driver.receive(balance())) == []
        assert driver.take(driver.session.pong_received(b"x", driver.now)).deadline == step.deadline
        driver.news()
        [request] = requests(driver.wait())
    assert waits == [0.25, 0.5, 1.0, 2.0]
    driver.receive(ack(request, ts=5000))
    [subscribed, gap] = driver.news()
    assert isinstance(subscribed, Subscribed)
    assert isinstance(gap, Gap)
    assert gap.since_ts is not None
    assert gap.until_ts is not None
    assert gap.since_ts <= 1000
    assert gap.until_ts >= 5000
    # It was acknowledged: the count begins anew.
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    driver.receive(ack(request, code=5))
    assert isinstance(driver.events[-1], SubscriptionRejected)
    assert driver.events[-1].retry_in == 0.25


def test_a_refused_resubscription_is_tried_again_on_the_next_connection() -> None:
    driver = connected()
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    driver.receive(ack(request, code=5))
    driver.lose()
    driver.redial()
    # It has waited while the feed did.
    [request] = requests(driver.connect())
    driver.receive(ack(request))
    assert isinstance(driver.events[-1], Gap)


def test_a_new_connection_does_not_shorten_the_wait_of_a_refused_topic() -> None:
    driver = connected()
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    due: float | None = None
    for _ in range(5):
        driver.receive(ack(request, code=5))
        due = driver.step.deadline
        if due is not None and due - driver.now >= 4.0:
            break
        [request] = requests(driver.wait())
    driver.lose()
    driver.redial()
    assert requests(driver.connect()) == []
    assert driver.step.deadline == due
    assert requests(driver.wait()) != []


def test_an_application_that_asks_does_not_wait_and_one_that_has_enough_is_not_asked_for() -> None:
    driver = connected()
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    driver.receive(ack(request, code=5))
    [request] = requests(driver.take(driver.session.subscribe(ORDERS, driver.now)))
    driver.receive(ack(request, code=5))
    driver.news()
    driver.take(driver.session.unsubscribe(ORDERS, driver.now))
    assert driver.news() == [Gap(ORDERS, 1000, None, 2), Unsubscribed(ORDERS, None, 2)]
    assert requests(driver.wait()) == []
    # Asked for anew it was never acknowledged.
    [request] = requests(driver.take(driver.session.subscribe(ORDERS, driver.now)))
    driver.receive(ack(request, code=5))
    assert driver.session.desired == ()


def test_a_refused_resubscription_still_names_the_gap_and_is_not_repeated_for_ever() -> None:
    driver = connected(config=SessionConfig(max_refusals=3))
    driver.lose()
    driver.redial()
    [request] = requests(driver.connect())
    for _ in range(2):
        driver.receive(ack(request, code=5, msg="no", ts=4000))
        [request] = requests(driver.wait())
    driver.news()
    driver.receive(ack(request, code=5, msg="no", ts=4000))
    assert driver.news() == [
        Gap(ORDERS, 1000, None, 2),
        SubscriptionRejected(topic=ORDERS, method="sub_orders", code=5, msg="no", ts=4000, epoch=2),
    ]
    assert driver.session.desired == ()
    driver.lose()
    driver.redial()
    assert requests(driver.connect()) == []


def test_requests_are_numbered_on_from_connection_to_connection() -> None:
    driver = started((ORDERS, BALANCE))
    first = requests(driver.connect())
    driver.lose()
    driver.redial()
    second = requests(driver.connect())
    assert [request["id"] for request in first + second] == ["1", "2", "3", "4"]
    driver.news()
    driver.receive(ack(first[0]))
    [event] = driver.news()
    assert isinstance(event, UnexpectedResponse)


# What the application wants.


def test_subscribe_and_unsubscribe_are_idempotent() -> None:
    driver = connected()
    assert driver.session.subscribe(ORDERS, driver.now).actions == ()
    [request] = requests(driver.take(driver.session.unsubscribe(ORDERS, driver.now)))
    assert request["method"] == "unsub_orders"
    assert driver.session.unsubscribe(ORDERS, driver.now).actions == ()
    driver.receive(ack(request, ts=2))
    assert driver.session.unsubscribe(ORDERS, driver.now).actions == ()
    assert driver.news() == [Unsubscribed(ORDERS, 2, 1)]


def test_a_topic_given_up_and_wanted_again_in_between_is_asked_for_after_the_answer() -> None:
    driver = connected()
    [leaving] = requests(driver.session.unsubscribe(ORDERS, driver.now))
    assert requests(driver.session.subscribe(ORDERS, driver.now)) == []
    [again] = requests(driver.receive(ack(leaving)))
    assert again["method"] == "sub_orders"
    driver.receive(ack(again))
    assert [type(event) for event in driver.news()] == [Unsubscribed, Subscribed]


def test_a_topic_wanted_and_given_up_in_between_is_left_after_the_answer() -> None:
    driver = started()
    [asking] = requests(driver.connect())
    assert requests(driver.session.unsubscribe(ORDERS, driver.now)) == []
    [leaving] = requests(driver.receive(ack(asking)))
    assert leaving["method"] == "unsub_orders"


def test_a_refused_unsubscribe_is_reported_once_and_leaves_the_topic_desired() -> None:
    driver = connected()
    [leaving] = requests(driver.session.unsubscribe(ORDERS, driver.now))
    step = driver.receive(ack(leaving, code=3))
    assert [type(event) for event in step.events] == [SubscriptionRejected]
    assert step.actions == ()
    assert driver.session.desired == (ORDERS,)


def test_unsubscribing_without_a_connection_is_done_at_once_and_tells_of_the_gap() -> None:
    driver = connected()
    driver.receive(order(ts=1500))
    driver.lose()
    driver.news()
    driver.take(driver.session.unsubscribe(ORDERS, driver.now))
    assert driver.news() == [Gap(ORDERS, 1500, None, 1), Unsubscribed(ORDERS, None, 1)]
    driver.redial()
    assert requests(driver.connect()) == []


def test_a_topic_that_nobody_follows_hides_no_gap_of_another() -> None:
    driver = started((ORDERS, BALANCE))
    refused, accepted = requests(driver.connect())
    driver.receive(ack(refused, code=7))
    driver.receive(ack(accepted, ts=1000))
    driver.lose()
    driver.redial()
    driver.news()
    driver.up(ts=5000)
    assert Gap(BALANCE, 1000, 5000, 2) in driver.events


def test_what_timed_out_is_told_of_also_when_a_topic_ends_with_the_connection() -> None:
    driver = connected(ORDERS, BALANCE)
    driver.take(driver.session.unsubscribe(BALANCE, driver.now))
    driver.take(driver.session.unsubscribe(ORDERS, driver.now))
    driver.wait()
    while driver.session.state is S.CONNECTED:
        driver.wait()
    told = [
        (type(event), event.topic)
        for event in driver.events
        if isinstance(event, RequestTimedOut | Unsubscribed)
    ]
    for topic in (ORDERS, BALANCE):
        assert (RequestTimedOut, topic) in told
        assert (Unsubscribed, topic) in told


def test_losing_the_connection_while_unsubscribing_ends_the_subscription() -> None:
    driver = connected()
    driver.session.unsubscribe(ORDERS, driver.now)
    assert [type(event) for event in driver.lose().events] == [Gap, Unsubscribed, Disconnected]


def test_losing_the_connection_while_giving_up_what_was_just_asked_for() -> None:
    driver = started()
    driver.connect()
    driver.session.unsubscribe(ORDERS, driver.now)
    assert [type(event) for event in driver.lose().events] == [Unsubscribed, Disconnected]


def test_subscribing_without_a_connection_takes_place_on_the_next() -> None:
    driver = started(())
    driver.fail()
    assert driver.session.subscribe(BALANCE, driver.now).actions == ()
    driver.redial()
    assert [request["method"] for request in requests(driver.connect())] == ["sub_balance"]


def test_many_topics_are_asked_for_as_far_as_there_is_room() -> None:
    topics = [Topic(f"news_{number}") for number in range(10)]
    driver = started(topics, config=SessionConfig(max_pending=3))
    waiting = requests(driver.connect())
    assert len(waiting) == 3
    asked = 0
    while waiting:
        asked += 1
        waiting += requests(driver.receive(ack(waiting.pop(0))))
        assert len(waiting) <= 3
    assert asked == 10


# Back-off.


def waits(driver: Driver, count: int) -> list[float]:
    """Return the session's waits before each of so many retries after failed dials."""
    spans = []
    for _ in range(count):
        failed_at = driver.now
        driver.fail()
        [event] = driver.news()
        assert isinstance(event, Disconnected)
        driver.redial()
        assert event.retry_in == pytest.approx(driver.now - failed_at)
        spans.append(driver.now - failed_at)
    return spans


def test_back_off_grows_to_its_cap_with_full_jitter() -> None:
    assert waits(started(jitter=lambda: 1.0), 9) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert waits(started(jitter=lambda: 0.0), 3) == [0.0, 0.0, 0.0]
    source = random.Random(1)
    again = random.Random(1)
    spans = waits(started(jitter=source.random), 9)
    bounds = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert spans == pytest.approx([bound * again.random() for bound in bounds])


def test_the_first_wait_is_a_setting_of_its_own() -> None:
    config = SessionConfig(retry_first=5.0, retry_base=2.0)
    assert waits(started(config=config, jitter=lambda: 1.0), 3) == [5.0, 2.0, 4.0]


def test_back_off_does_not_overflow() -> None:
    driver = started(jitter=lambda: 0.0)
    for _ in range(3000):
        driver.fail()
        driver.redial()
    assert driver.session.state is S.CONNECTING


def test_a_handshake_alone_does_not_reset_the_back_off() -> None:
    driver = started(jitter=lambda: 1.0)
    spans = []
    for _ in range(6):
        driver.connect()
        driver.lose()
        lost_at = driver.now
        driver.redial()
        spans.append(driver.now - lost_at)
    assert spans == [0.5, 1, 2, 4, 8, 16]


def test_acknowledgements_alone_do_not_reset_the_back_off() -> None:
    driver = started(jitter=lambda: 1.0)
    spans = []
    for _ in range(4):
        driver.up()
        driver.now += 29.9
        driver.lose()
        lost_at = driver.now
        driver.redial()
        spans.append(driver.now - lost_at)
    assert spans == [0.5, 1, 2, 4]


def test_acknowledgements_and_a_stable_while_reset_the_back_off() -> None:
    driver = started(jitter=lambda: 1.0)
    for _ in range(5):
        driver.fail()
        driver.redial()
    driver.up()
    driver.now += 30.0
    driver.news()
    driver.lose()
    [event] = driver.news()
    assert isinstance(event, Disconnected)
    assert (event.retry_in, event.attempt) == (0.5, 1)


def test_one_topic_without_an_acknowledgement_keeps_the_back_off_up() -> None:
    driver = started((ORDERS, BALANCE), config=SessionConfig(ack_timeout=100.0), jitter=lambda: 1.0)
    driver.fail()
    driver.redial()
    [first, _] = requests(driver.connect())
    driver.receive(ack(first))
    driver.now += 60.0
    driver.lose()
    assert driver.step.deadline == driver.now + 1.0


@pytest.mark.parametrize(
    ("status", "retry_after", "least"),
    [(429, None, 60.0), (429, 10.0, 60.0), (429, 90.0, 90.0), (503, 7.0, 7.0), (503, None, 0.0),
     (503, 1e9, 3600.0), (500, None, 0.0)],
)  # fmt: skip
def test_what_the_server_asked_for_is_waited(
    status: int, retry_after: float | None, least: float
) -> None:
    driver = started(jitter=lambda: 0.5)
    driver.fail(Failure(FailureKind.HANDSHAKE, status=status, retry_after=retry_after))
    [event] = driver.news()
    assert isinstance(event, Disconnected)
    assert event.retry_in == least + 0.25


def test_the_number_of_retries_can_be_limited() -> None:
    driver = started(config=SessionConfig(max_attempts=2))
    for _ in range(2):
        driver.fail()
        driver.redial()
    driver.news()
    assert driver.fail().deadline is None
    assert driver.news() == [Disconnected(REFUSED, None, 0, 2), Closed(REFUSED)]
    assert driver.session.state is S.CLOSED


def test_a_dial_that_takes_too_long_is_given_up() -> None:
    driver = started()
    step = driver.wait()
    assert [type(action) for action in step.actions] == [Close]
    [event] = driver.news()
    assert isinstance(event, Disconnected)
    assert event.reason.kind is FailureKind.TIMEOUT
    # The dial succeeds after all, at the very same moment.
    assert [type(action) for action in driver.connect().actions] == [Close]
    assert driver.session.state is S.WAITING


def test_a_dial_may_end_as_if_a_connection_were_lost() -> None:
    driver = started()
    step = driver.take(driver.session.connection_lost(None, "who knows", driver.now))
    assert step == Step(
        (Disconnected(Failure(FailureKind.LOST, "who knows"), 0.25, 0, 1),), (), driver.now + 0.25
    )
    driver.redial()
    driver.up()
    assert driver.session.epoch == 1


def test_a_connection_may_end_with_a_failure_and_is_a_gap_like_any_other() -> None:
    driver = connected()
    reset = Failure(FailureKind.NETWORK, "Connection reset by peer")
    assert driver.fail(reset).events == (Disconnected(reset, 0.25, 1, 1),)
    driver.redial()
    driver.up(ts=9000)
    assert Gap(ORDERS, 1000, 9000, 2) in driver.events


def test_a_refusal_that_is_reported_of_an_open_connection_ends_only_that() -> None:
    driver = connected()
    driver.fail(HTTP_403)
    assert driver.session.state is S.WAITING


@pytest.mark.parametrize("code", [1006, 1015])
def test_a_code_that_is_never_sent_stands_for_no_close_frame(code: int) -> None:
    driver = connected()
    [event] = driver.take(driver.session.connection_lost(code, "", driver.now)).events
    assert isinstance(event, Disconnected)
    assert event.reason == Failure(FailureKind.LOST)


def test_an_unanswered_request_ends_the_connection_and_is_made_again() -> None:
    driver = started()
    driver.connect()
    driver.news()
    step = driver.wait()
    assert [type(event) for event in step.events] == [RequestTimedOut, Disconnected]
    assert [type(action) for action in step.actions] == [Close]
    driver.redial()
    assert [request["method"] for request in requests(driver.connect())] == ["sub_orders"]


def test_a_half_open_connection_is_replaced() -> None:
    driver = connected()
    lost = driver.now
    while driver.session.state is S.CONNECTED:
        driver.wait()
    assert driver.now == lost + 30.0
    assert Disconnected(Failure(FailureKind.PONG_TIMEOUT), 0.25, 1, 1) in driver.events


def test_an_idle_account_alone_never_causes_a_reconnect() -> None:
    driver = connected()
    for _ in range(1000):
        for action in driver.wait().actions:
            assert isinstance(action, SendPing)
            driver.take(driver.session.pong_received(action.payload, driver.now + 0.1))
    assert driver.news() == []
    assert driver.now > 10_000


def test_a_pong_at_the_very_moment_of_its_ping_is_known_by_its_payload() -> None:
    driver = connected()
    for _ in range(10):
        for action in driver.wait().actions:
            assert isinstance(action, SendPing)
            driver.take(driver.session.pong_received(action.payload, driver.now))
    assert driver.session.state is S.CONNECTED


# The token.


@pytest.mark.parametrize("failure", [HTTP_401, HTTP_403])
def test_a_refused_fixed_token_ends_the_feed(failure: Failure) -> None:
    driver = started()
    step = driver.fail(failure)
    assert step == Step((Disconnected(failure, None, 0, 0), Closed(failure)), (), None)
    assert driver.session.state is S.CLOSED
    assert driver.session.failure == failure


def test_a_token_callable_is_asked_before_every_dial() -> None:
    driver = started(token=None)
    assert driver.step.actions == (FetchToken(),)
    [connect] = driver.take(driver.session.token_obtained(Token("one"), driver.now)).actions
    assert isinstance(connect, Connect)
    assert connect.token == Token("one")
    driver.up()
    driver.lose()
    driver.redial()
    assert driver.step.actions == (FetchToken(),)


@pytest.mark.parametrize("failure", [HTTP_401, HTTP_403])
def test_a_refused_token_is_replaced_by_a_different_one_once(failure: Failure) -> None:
    driver = started(token=None)
    driver.take(driver.session.token_obtained(Token("old"), driver.now))
    assert driver.fail(failure).deadline is not None
    driver.redial()
    [connect] = driver.take(driver.session.token_obtained(Token("new"), driver.now)).actions
    assert isinstance(connect, Connect)
    driver.news()
    driver.fail(failure)
    assert [type(event) for event in driver.news()] == [Disconnected, Closed]
    assert driver.session.state is S.CLOSED


def test_the_same_token_again_ends_the_feed_without_a_dial() -> None:
    driver = started(token=None)
    driver.take(driver.session.token_obtained(Token("old"), driver.now))
    driver.fail(HTTP_403)
    driver.redial()
    step = driver.take(driver.session.token_obtained(Token("old"), driver.now))
    assert step.actions == ()
    assert Closed(HTTP_403) in step.events


def test_a_connection_that_was_made_allows_a_fresh_try_again() -> None:
    driver = started(token=None)
    for number in range(3):
        driver.take(driver.session.token_obtained(Token(f"old{number}"), driver.now))
        driver.fail(HTTP_401)
        driver.redial()
        driver.take(driver.session.token_obtained(Token(f"new{number}"), driver.now))
        driver.up()
        driver.lose()
        driver.redial()
    assert driver.session.state is S.FETCHING_TOKEN


def test_a_callable_that_fails_or_hangs_is_tried_again() -> None:
    driver = started(token=None)
    driver.take(driver.session.token_failed("OSError", driver.now))
    driver.redial()
    step = driver.wait()
    assert [type(action) for action in step.actions] == [Close]
    reasons = [event.reason for event in driver.news() if isinstance(event, Disconnected)]
    assert [(reason.kind, reason.detail) for reason in reasons] == [
        (FailureKind.TOKEN, "OSError"),
        (FailureKind.TOKEN, "it took too long"),
    ]


def test_a_server_that_repeats_the_token_does_not_get_it_into_an_event() -> None:
    driver = started()
    [request] = requests(driver.connect())
    driver.receive(f"hello {TOKEN}")
    driver.receive(f'{{"method":"{TOKEN}"}}')
    driver.receive(f'{{"method":"sub_orders","ts":1,"data":{{"id":"{TOKEN}"}}}}')
    driver.receive(ack({"id": "77", "method": "x"}, msg=TOKEN))
    driver.receive(f'{{"id":"{TOKEN}","method":"{TOKEN}","code":1}}')
    driver.receive(ack(request, code=1, msg=TOKEN))
    driver.take(driver.session.connection_lost(1008, f"bad {TOKEN}", driver.now))
    driver.redial()
    assert len(driver.events) == 8
    assert TOKEN not in repr(driver.events)
    assert TOKEN not in repr(driver.step)


@pytest.mark.parametrize("shift", range(-30, 31, 3))
@pytest.mark.parametrize("repeated", [1, 5])
def test_a_token_at_the_cut_is_redacted_before_it_is_cut(shift: int, repeated: int) -> None:
    driver = started(config=SessionConfig(max_kept=100))
    [request] = requests(driver.connect())
    padding = "x" * (100 + shift - len(TOKEN) * (repeated - 1))
    driver.receive(padding + TOKEN * repeated + "y" * 200)
    driver.receive(ack({"id": "77", "method": "x"}, msg=padding + TOKEN * repeated))
    driver.receive(ack(request, code=1, msg=padding + TOKEN * repeated))
    driver.receive(padding + TOKEN.replace("/", "\\/") * repeated)
    events = driver.news()
    assert len(events) == 5
    for event in events:
        assert TOKEN[:4] not in repr(event)
        assert len(repr(event)) < 600


def test_no_failure_has_the_token_in_its_words() -> None:
    driver = started(token=None)
    driver.take(driver.session.token_obtained(Token(TOKEN), driver.now))
    driver.fail(Failure(FailureKind.NETWORK, f"no route to ?token={TOKEN}"))
    driver.redial()
    driver.take(driver.session.token_failed(f"again {TOKEN}", driver.now))
    driver.redial()
    driver.take(driver.session.token_obtained(Token(TOKEN), driver.now))
    driver.up()
    driver.fail(Failure(FailureKind.LOST, f"lost {TOKEN.replace('t', '%74')}"))
    driver.redial()
    driver.take(driver.session.token_obtained(Token("topapi:an0ther-0ne"), driver.now))
    driver.up()
    driver.take(driver.session.connection_lost(1008, f"old {TOKEN}", driver.now))
    reasons = [event.reason for event in driver.events if isinstance(event, Disconnected)]
    assert [reason.detail for reason in reasons] == [
        "no route to ?token=***",
        "again ***",
        "lost ***",
        "old ***",
    ]


def test_the_words_of_a_failure_are_bounded() -> None:
    driver = started()
    driver.fail(Failure(FailureKind.NETWORK, "x" * 100_000))
    driver.redial()
    driver.up()
    driver.take(driver.session.connection_lost(1008, "y" * 1000, driver.now))
    reasons = [event.reason for event in driver.events if isinstance(event, Disconnected)]
    assert [len(reason.detail) for reason in reasons] == [512, 128]


def test_names_in_updates_are_searched() -> None:
    driver = started((ORDERS, BALANCE))
    for request in requests(driver.connect()):
        driver.receive(ack(request))
    driver.receive(order())
    driver.receive(order().replace("ETH/BTC", f"{TOKEN}/BTC"))
    driver.receive(balance(asset=TOKEN))
    driver.receive(balance(asset=TOKEN).replace("topapi", "\\u0074opapi"))
    whole, odd, *assets = driver.events[-4:]
    assert isinstance(whole, OrderUpdate)
    assert whole.order.market == "ETH/BTC"
    assert isinstance(odd, OrderUpdate)
    assert odd.order.market == "***/BTC"
    assert attrs.evolve(odd, order=attrs.evolve(odd.order, market="ETH/BTC")) == whole
    assert [event.balance.asset for event in assets if isinstance(event, BalanceUpdate)] == [
        "***",
        "***",
    ]


def test_an_update_that_nobody_asked_for_is_searched() -> None:
    driver = started((BALANCE,))
    driver.connect()
    driver.receive(order().replace("ETH/BTC", TOKEN))
    assert isinstance(driver.events[-1], UnexpectedUpdate)
    assert TOKEN not in repr(driver.events[-1])


def test_a_topic_that_the_server_makes_of_the_token_is_hidden_and_our_own_never() -> None:
    driver = started()
    driver.connect()
    driver.receive(json.dumps({"method": f"sub_{TOKEN}", "ts": 1, "data": {"a": 1}}))
    event = driver.events[-1]
    assert isinstance(event, Unrecognised)
    assert event.topics == (Topic("***"),)
    assert TOKEN not in repr(event)
    # A token that is a topic's name is none that anybody has; the topic is still the topic.
    driver = started(token="orders")
    driver.connect()
    driver.receive('{"method":"sub_orders","ts":1,"data":{"id":"x"}}')
    event = driver.events[-1]
    assert isinstance(event, Malformed)
    assert event.topics == (ORDERS,)


def test_half_of_the_token_in_one_field_and_half_in_the_next() -> None:
    driver = started()
    driver.connect()
    half = len(TOKEN) // 2
    frame = {"id": "9", "method": TOKEN[half:], "code": 3, "msg": f"not {TOKEN[:half]}"}
    driver.receive(json.dumps(frame))
    driver.receive(json.dumps({"method": TOKEN[:half], "text": TOKEN[half:]}))
    for event in driver.events[-2:]:
        assert TOKEN[:half] not in repr(event)
        assert TOKEN[half:] not in repr(event)


@pytest.mark.parametrize("topics", [["orders"], "orders", [None]])
def test_what_is_no_topic_is_refused_at_once(topics: list[Topic]) -> None:
    with pytest.raises(ConfigurationError, match="topics"):
        Driver(topics)
    with pytest.raises(ConfigurationError, match="topics"):
        connected().session.subscribe(topics[0], 0.0)


def test_what_is_no_topic_is_shown_beside_what_is_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Driver(["orders"])  # type: ignore[list-item]  # the mistake
    assert caught.value.problem == "'orders' is no topic"
    assert caught.value.setting == "topics"
    assert caught.value.remedy == ('use one such as topone_proto.ORDERS or kline("BTC/USDT", "1m")')


# The end.


def reach(state: S) -> Driver:
    driver = Driver(token=None if state is S.FETCHING_TOKEN else TOKEN)
    if state is not S.NEW:
        driver.start()
    if state is S.CONNECTED:
        driver.connect()
    if state is S.WAITING:
        driver.fail()
    if state is S.CLOSED:
        driver.take(driver.session.close(driver.now))
    driver.news()
    assert driver.session.state is state
    return driver


@pytest.mark.parametrize("state", S)
def test_close_ends_everything_from_any_state_and_is_idempotent(state: S) -> None:
    driver = reach(state)
    step = driver.take(driver.session.close(driver.now))
    assert driver.session.state is S.CLOSED
    assert step.deadline is None
    open_ended = state in {S.FETCHING_TOKEN, S.CONNECTING, S.CONNECTED}
    assert step.actions == ((Close(1000, "", 5.0),) if open_ended else ())
    assert step.events == (() if state is S.CLOSED else (Closed(None),))
    assert driver.session.failure is None
    assert driver.session.close(driver.now) == Step()


def test_what_a_library_breaks_on_is_no_handshake_on_an_open_connection() -> None:
    broken = Failure(FailureKind.NOT_WEBSOCKET, "RemoteProtocolError")
    driver = started()
    [disconnected] = driver.fail(broken).events
    assert isinstance(disconnected, Disconnected)
    assert disconnected.reason == broken
    driver.redial()
    driver.up()
    [disconnected] = driver.fail(broken).events
    assert isinstance(disconnected, Disconnected)
    assert disconnected.reason == Failure(FailureKind.LOST, "RemoteProtocolError")


def test_nothing_comes_of_what_arrives_after_the_end() -> None:
    driver = connected()
    driver.session.close(driver.now)
    for step in (
        driver.session.message_received(order(), driver.now),
        driver.session.pong_received(b"1", driver.now),
        driver.session.connection_lost(1000, "", driver.now),
        driver.session.connection_failed(REFUSED, driver.now),
        driver.session.token_obtained(Token("x"), driver.now),
        driver.session.token_failed("x", driver.now),
        driver.session.deadline_reached(driver.now + 1e6),
        driver.session.bytes_received(driver.now, driver.now),
        driver.session.reading_paused(driver.now),
        driver.session.reading_resumed(driver.now),
    ):
        assert step == Step()
    assert [type(action) for action in driver.connect().actions] == [Close]


def feed(driver: Driver, by: str) -> Step:
    session, now = driver.session, driver.now
    match by:
        case "start":
            return session.start(now)
        case "token_obtained":
            return session.token_obtained(Token("other"), now)
        case "token_failed":
            return session.token_failed("OSError", now)
        case "connection_made":
            return session.connection_made(now)
        case "connection_failed":
            return session.connection_failed(REFUSED, now)
        case "message_received":
            return session.message_received(order(), now)
        case "pong_received":
            return session.pong_received(b"1", now)
        case "bytes_received":
            return session.bytes_received(now, now)
        case "reading_paused":
            return session.reading_paused(now)
        case "reading_resumed":
            return session.reading_resumed(now)
        case "connection_lost":
            return session.connection_lost(None, "", now)
        case "deadline_reached":
            return session.deadline_reached(now + 1000.0)
        case "subscribe":
            return session.subscribe(BALANCE, now)
        case "unsubscribe":
            return session.unsubscribe(ORDERS, now)
        case "pull":
            with patch.object(session._wishes, "_socket", "public"):
                return session.pull(kline("BTC/USDT", "1m"), 0, 60, now)
        case "cancel_pull":
            return session.cancel_pull(1, now)
        case _:
            return session.close(now)


@pytest.mark.parametrize(("state", "by"), list(product(S, INPUTS)))
def test_every_state_takes_the_inputs_of_the_table_and_no_other(state: S, by: str) -> None:
    driver = reach(state)
    if by in TRANSITIONS[state]:
        feed(driver, by)
        assert driver.session.state in TRANSITIONS[state][by]
    else:
        with pytest.raises(LocalProtocolError) as caught:
            feed(driver, by)
        assert caught.value.input == by
        assert state.value in caught.value.state
        assert caught.value.remedy == REMEDY[state]
        assert driver.session.state is state


def test_an_input_leads_to_no_state_but_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = reach(S.CONNECTING)
    row = {**TRANSITIONS[S.CONNECTING], "connection_made": ()}
    monkeypatch.setattr(life, "TRANSITIONS", {**TRANSITIONS, S.CONNECTING: row})
    with pytest.raises(AssertionError, match="connection_made leads from"):
        driver.session.connection_made(driver.now)


@pytest.mark.parametrize("token", [TOKEN, None])
def test_no_dial_is_made_while_the_application_is_behind(token: str | None) -> None:
    driver = started(token=token)
    if token is None:
        driver.take(driver.session.token_obtained(Token(TOKEN), driver.now))
    driver.up()
    driver.take(driver.session.reading_paused(driver.now))
    step = driver.lose()
    assert isinstance(step.events[-1], Disconnected)
    assert step.deadline is None
    for _ in range(3):
        driver.now += 3600.0
        assert driver.take(driver.session.deadline_reached(driver.now)) == Step()
    # Calls are possible meanwhile, and dial no more than time does.
    assert driver.take(driver.session.subscribe(BALANCE, driver.now)) == Step()
    step = driver.take(driver.session.reading_resumed(driver.now))
    assert [type(action) for action in step.actions] == [FetchToken if token is None else Connect]
    assert step.deadline is not None


def test_a_dial_is_not_made_earlier_because_the_application_was_behind() -> None:
    driver = connected()
    lost = driver.lose()
    driver.take(driver.session.reading_paused(driver.now))
    assert driver.step.deadline is None
    driver.now += 0.125
    assert driver.take(driver.session.reading_resumed(driver.now)) == Step((), (), lost.deadline)
    assert [type(action) for action in driver.wait().actions] == [Connect]


def test_reading_that_was_paused_while_dialling_is_paused_on_the_connection() -> None:
    driver = started()
    driver.take(driver.session.reading_paused(driver.now))
    driver.connect()
    for _ in range(20):
        driver.wait()
    assert driver.session.state is S.CONNECTED
    driver.take(driver.session.reading_resumed(driver.now))
    while driver.session.state is S.CONNECTED:
        driver.wait()
    assert isinstance(driver.events[-1], Disconnected)


def test_an_early_call_of_deadline_reached_does_nothing() -> None:
    for state in S:
        driver = reach(state)
        before = driver.session.deadline_reached(driver.now)
        assert driver.session.deadline_reached(driver.now) == before
        assert (before.events, before.actions) == ((), ())


def script(session: Session, seed: int) -> list[Step]:
    """A random life, as a list of what it led to."""
    source = random.Random(seed)
    now, steps = 0.0, [session.start(0.0)]
    asked: list[dict[str, str]] = []
    for _ in range(200):
        now += source.choice([0.0, 0.1, 5.0, 40.0])
        by = source.choice([entry for entry in TRANSITIONS[session.state] if entry != "close"])
        driver = Driver()
        driver.session, driver.now = session, now
        if by == "message_received":
            frame = source.choice([order(), balance(), "ping", "junk", *map(ack, asked)])
            steps.append(session.message_received(frame, now))
        else:
            steps.append(feed(driver, by))
        asked += requests(steps[-1])
    return steps


@given(st.integers())
def test_same_inputs_same_clock_same_seed_same_steps(seed: int) -> None:
    runs = [
        script(Session([ORDERS], token=Token(TOKEN), jitter=random.Random(seed).random), seed)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert not any(
        isinstance(action, SendText) and TOKEN in action.text
        for step in runs[0]
        for action in step.actions
    )


def test_bytes_of_the_peer_keep_a_session_alive() -> None:
    driver = connected()
    alive = driver.session.connection
    assert alive is not None
    for _ in range(20):
        driver.now += 15.0
        driver.take(driver.session.bytes_received(driver.now - 1.0, driver.now))
        driver.take(driver.session.deadline_reached(driver.now))
        assert alive.last_received == driver.now - 1.0
    assert driver.session.connection is alive


# Deadlines that are noticed late.


class BlockedLoop:
    """An adapter whose application works on every ``Connected`` for longer than any timeout.

    While it does, nothing is sent, read or timed; what the server answers waits unread. Timers come
    before reading, which is the worst case.
    """

    def __init__(self, work: float, *, config: SessionConfig | None = None) -> None:
        self.driver = Driver(config=config)
        self.work = work
        self.unread: list[tuple[float, str | SendPing]] = []
        self.dialled: float | None = None
        self.connections = 0

    def take(self, step: Step) -> None:
        for action in step.actions:
            match action:
                case Connect():
                    self.dialled = self.driver.now + 0.1
                case SendText(text=text):
                    self.unread.append((self.driver.now + 0.1, ack(json.loads(text))))
                case SendPing():
                    self.unread.append((self.driver.now + 0.1, action))
                case Close():
                    self.unread.clear()
                    self.dialled = None
                case _:
                    pass
        for event in step.events:
            if isinstance(event, Connected):
                self.connections += 1
                self.driver.now += self.work

    def turn(self) -> None:
        """One turn of the loop: it sleeps until something is due or can be read."""
        driver = self.driver
        moments = [at for at, _ in self.unread[:1]]
        moments += [at for at in (self.dialled, driver.step.deadline) if at is not None]
        driver.now = max(driver.now, min(moments))
        if driver.step.deadline is not None and driver.step.deadline <= driver.now:
            self.take(driver.take(driver.session.deadline_reached(driver.now)))
        if self.dialled is not None and self.dialled <= driver.now:
            self.dialled = None
            self.take(driver.connect())
        while self.unread and self.unread[0][0] <= driver.now:
            frame = self.unread.pop(0)[1]
            if isinstance(frame, SendPing):
                self.take(driver.take(driver.session.pong_received(frame.payload, driver.now)))
            else:
                self.take(driver.receive(frame))


@pytest.mark.parametrize("work", [9.99, 10.01, 10.2, 15.0, 200.0, 100_000.0])
def test_work_longer_than_any_timeout_on_every_connection_costs_none(work: float) -> None:
    loop = BlockedLoop(work)
    loop.take(loop.driver.start())
    for _ in range(10):
        loop.turn()
    assert loop.connections == 1
    assert [type(event) for event in loop.driver.events] == [Connected, Subscribed]


@pytest.mark.parametrize("state", [S.FETCHING_TOKEN, S.CONNECTING])
def test_a_dial_whose_end_is_noticed_late_has_a_moment_to_be_reported(state: S) -> None:
    driver = started(token=None)
    if state is S.CONNECTING:
        driver.take(driver.session.token_obtained(Token(TOKEN), driver.now))
    assert driver.step.deadline is not None
    driver.now = driver.step.deadline + 100.0
    step = driver.take(driver.session.deadline_reached(driver.now))
    assert (driver.session.state, step.events) == (state, ())
    # In time again, it has run out.
    driver.wait()
    assert driver.session.state is S.WAITING


@pytest.mark.parametrize("late", [0.2, 0.9])
def test_a_little_lateness_does_not_keep_a_dead_peer_alive(late: float) -> None:
    """A machine under load is late at every deadline."""
    driver = connected()
    for _ in range(20):
        if driver.session.state is not S.CONNECTED:
            break
        assert driver.step.deadline is not None
        driver.now = driver.step.deadline + late
        driver.take(driver.session.deadline_reached(driver.now))
    assert isinstance(driver.events[-1], Disconnected)
    assert driver.now < 1000.0 + 40.0


def test_who_was_heard_since_the_last_late_deadline_may_be_read_first_again() -> None:
    driver = connected()
    for _ in range(20):
        assert driver.step.deadline is not None
        driver.now = driver.step.deadline + 0.9
        driver.take(driver.session.deadline_reached(driver.now))
        assert driver.session.state is S.CONNECTED
        # What was unread is read in this turn, and the loop is held up again.
        driver.receive(order())
    while driver.session.state is S.CONNECTED:
        driver.wait()
    assert isinstance(driver.events[-1], Disconnected)


def test_a_request_is_excused_for_itself() -> None:
    """Also if another deadline was late before it was sent."""
    driver = connected()
    assert driver.step.deadline is not None
    driver.now = driver.step.deadline + 0.5
    driver.take(driver.session.deadline_reached(driver.now))
    step = driver.take(driver.session.subscribe(BALANCE, driver.now))
    [request] = requests(step)
    driver.now += SessionConfig().ack_timeout + 0.9
    driver.take(driver.session.deadline_reached(driver.now))
    driver.receive(ack(request))
    assert driver.session.subscriptions[BALANCE] is SubscriptionState.ACTIVE


@pytest.mark.parametrize("late", [0.2, 0.9])
def test_whoever_talks_and_never_acknowledges_is_given_up_under_load(late: float) -> None:
    driver = connected()
    driver.take(driver.session.subscribe(BALANCE, driver.now))
    sent = driver.now
    while driver.session.state is S.CONNECTED and driver.now < sent + 100.0:
        assert driver.step.deadline is not None
        driver.now = driver.step.deadline + late
        driver.take(driver.session.deadline_reached(driver.now))
        if driver.session.state is S.CONNECTED:
            driver.receive(order())
    assert [type(event) for event in driver.events[-2:]] == [RequestTimedOut, Disconnected]
    assert driver.now < sent + 20.0


def test_a_loop_that_runs_again_finds_a_dead_peer() -> None:
    driver = connected()
    for _ in range(10):
        assert driver.step.deadline is not None
        driver.now = driver.step.deadline + 60.0
        driver.take(driver.session.deadline_reached(driver.now))
    assert driver.session.state is S.CONNECTED
    before = driver.now
    while driver.session.state is S.CONNECTED:
        driver.wait()
    assert driver.now - before < 40.0


NO_TIMES = [float("nan"), float("inf"), -float("inf"), -1.0, 1e16]


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "subscribe": (BALANCE,),
    "unsubscribe": (ORDERS,),
    "token_obtained": (Token(TOKEN),),
    "token_failed": ("OSError",),
    "connection_failed": (REFUSED,),
    "connection_lost": (None, ""),
    "message_received": (order(),),
    "pong_received": (b"1",),
    "bytes_received": (1.0,),
    "pull": (kline("BTC/USDT", "1m"), 0, 60),
    "cancel_pull": (1,),
}


@pytest.mark.parametrize("now", NO_TIMES, ids=repr)
@pytest.mark.parametrize("by", INPUTS)
def test_what_is_no_time_is_refused_and_changes_nothing(by: str, now: Any) -> None:
    [state, *_] = [state for state, row in TRANSITIONS.items() if by in row]
    driver = reach(state)
    with pytest.raises(ConfigurationError, match="is no time") as caught:
        getattr(driver.session, by)(*ARGUMENTS.get(by, ()), now)
    assert caught.value.setting == "now"
    assert driver.session.state is state


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("config", 5),
        ("config", 0),
        ("endpoint", "wss://a.b/"),
        ("token", TOKEN),
        ("topics", 5),
        ("topics", ORDERS),
        ("topics", "orders"),
        ("topics", ["orders"]),
    ],
)
def test_an_argument_of_another_kind_is_refused_without_its_text(setting: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Session(**{"jitter": random.random, setting: wrong})
    assert caught.value.setting == setting
    assert TOKEN not in str(caught.value)


# --- the public WebSocket ------------------------------------------------------------------------

PUBLIC = Endpoint(PUBLIC_URL, socket="public")


def test_the_public_socket_is_dialled_without_a_token_and_none_is_asked_for() -> None:
    session = Session([kline("BTC/USDT", "1m")], endpoint=PUBLIC, jitter=random.random)
    [connect] = session.start(0.0).actions
    assert isinstance(connect, Connect)
    assert connect.token is None
    assert (connect.url(), connect.target()) == (PUBLIC_URL, "/ws/")
    [request] = requests(session.connection_made(1.0))
    assert request["method"] == "sub_kline_BTC/USDT_1m"


def test_a_refusal_of_the_public_socket_ends_the_feed() -> None:
    session = Session(endpoint=PUBLIC, jitter=random.random)
    session.start(0.0)
    forbidden = Failure(FailureKind.HANDSHAKE, status=403)
    session.connection_failed(forbidden, 1.0)
    assert session.failure == forbidden


def test_a_topic_of_another_socket_is_refused_where_it_is_wished_for() -> None:
    market = kline("BTC/USDT", "1m")
    with pytest.raises(ConfigurationError, match="the public WebSocket, and this is the private"):
        Session([market], token=Token(TOKEN), jitter=random.random)
    with pytest.raises(ConfigurationError, match="made by open_market_feed"):
        connected().session.subscribe(market, 0.0)
    with pytest.raises(ConfigurationError, match="the private WebSocket, and this is the public"):
        Session([ORDERS], endpoint=PUBLIC, jitter=random.random)
    Session([Topic("news")], endpoint=PUBLIC, jitter=random.random)


def test_a_token_and_a_socket_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="the public WebSocket takes none"):
        Session(endpoint=PUBLIC, token=Token(TOKEN), jitter=random.random)
    wrong: Any = "inner"
    with pytest.raises(ConfigurationError, match="'inner' is no socket"):
        Endpoint(socket=wrong)
