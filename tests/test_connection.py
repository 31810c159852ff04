"""One connection: its table, its rules for updates and responses, its deadlines."""

import gzip
import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frames import TOKEN, ack, balance, order, requests
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Close,
    Connection,
    Failure,
    FailureKind,
    LocalProtocolError,
    Malformed,
    OrderUpdate,
    RequestTimedOut,
    SendPing,
    SendText,
    SessionConfig,
    Step,
    Subscribed,
    SubscriptionRejected,
    SubscriptionState,
    Topic,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.session.subscriptions import FOLLOWED, TRANSITIONS, SubscriptionInput
from topone_proto.wire.codec import decode
from topone_proto.wire.families import lone_topics

S = SubscriptionState
I = SubscriptionInput  # noqa: E741 - beside S, as in the tables


def in_state(state: S, config: SessionConfig | None = None) -> tuple[Connection, dict[str, Any]]:
    """A connection whose topic ORDERS is in a state, and the latest request for it."""
    connection = Connection(config)
    request: dict[str, Any] = {}
    if state is not S.IDLE:
        [request] = requests(connection.subscribe(ORDERS, 0.0))
    if state in {S.ACTIVE, S.UNSUBSCRIBING}:
        connection.message_received(ack(request), 0.0)
    if state is S.REJECTED:
        connection.message_received(ack(request, code=7), 0.0)
    if state is S.UNSUBSCRIBING:
        [request] = requests(connection.unsubscribe(ORDERS, 0.0))
    assert connection.state_of(ORDERS) is state
    return connection, request


def apply(connection: Connection, request: dict[str, Any], by: I) -> Step:
    match by:
        case I.SUBSCRIBE:
            return connection.subscribe(ORDERS, 1.0)
        case I.UNSUBSCRIBE:
            return connection.unsubscribe(ORDERS, 1.0)
        case I.ACCEPTED:
            return connection.message_received(ack(request), 1.0)
        case I.REFUSED:
            return connection.message_received(ack(request, code=7), 1.0)


# The life of a subscription as the design has it, written down once more: the table must say the
# same.
LIFE = {
    (S.IDLE, I.SUBSCRIBE): S.SUBSCRIBING,
    (S.SUBSCRIBING, I.ACCEPTED): S.ACTIVE,
    (S.SUBSCRIBING, I.REFUSED): S.REJECTED,
    (S.ACTIVE, I.UNSUBSCRIBE): S.UNSUBSCRIBING,
    (S.UNSUBSCRIBING, I.ACCEPTED): S.IDLE,
    (S.UNSUBSCRIBING, I.REFUSED): S.ACTIVE,
    (S.REJECTED, I.SUBSCRIBE): S.SUBSCRIBING,
}


@pytest.mark.parametrize(("state", "by"), list(product(S, I)))
def test_every_state_and_input_moves_as_the_table_says_or_is_refused(state: S, by: I) -> None:
    assert TRANSITIONS[state].get(by) is LIFE.get((state, by))
    if by in {I.ACCEPTED, I.REFUSED} and state is S.IDLE:
        return  # there is no request to answer
    connection, request = in_state(state)
    if (state, by) in LIFE:
        apply(connection, request, by)
        assert connection.state_of(ORDERS) is LIFE[state, by]
    elif by in {I.SUBSCRIBE, I.UNSUBSCRIBE}:
        with pytest.raises(LocalProtocolError) as caught:
            apply(connection, request, by)
        assert state.value in caught.value.state
        assert caught.value.input == f"{'un' if by is I.UNSUBSCRIBE else ''}sub_orders"
        assert connection.state_of(ORDERS) is state
    else:
        # A second answer to a request that was answered already.
        [event] = apply(connection, request, by).events
        assert isinstance(event, UnexpectedResponse)
        assert connection.state_of(ORDERS) is state


@pytest.mark.parametrize("state", S)
def test_an_update_is_followed_from_the_request_until_the_last_acknowledgement(state: S) -> None:
    connection, _ = in_state(state)
    [event] = connection.message_received(order(), 1.0).events
    if state in {S.SUBSCRIBING, S.ACTIVE, S.UNSUBSCRIBING}:
        assert isinstance(event, OrderUpdate)
        assert connection.last_ts_of(ORDERS) == 2000
    else:
        assert isinstance(event, UnexpectedUpdate)
        assert isinstance(event.update, OrderUpdate)
    assert (state in FOLLOWED) is isinstance(event, OrderUpdate)


def test_an_update_of_one_topic_says_nothing_of_another() -> None:
    connection, _ = in_state(S.ACTIVE)
    [event] = connection.message_received(balance(), 1.0).events
    assert isinstance(event, UnexpectedUpdate)
    assert connection.last_ts_of(BALANCE) is None


def test_requests_are_numbered_texts_and_carry_the_language() -> None:
    connection = Connection(SessionConfig(lang="en-US"), first_id=7)
    first = connection.subscribe(ORDERS, 0.0)
    second = connection.subscribe(Topic("kline_BTC/USDT_1m"), 0.0)
    assert requests(first) + requests(second) == [
        {"id": "7", "method": "sub_orders", "params": {}, "lang": "en-US"},
        {"id": "8", "method": "sub_kline_BTC/USDT_1m", "params": {}, "lang": "en-US"},
    ]
    assert connection.pending == ("7", "8")
    assert connection.next_id == 9


def test_acknowledgements_in_any_order_become_events() -> None:
    connection = Connection(epoch=3)
    [first] = requests(connection.subscribe(ORDERS, 0.0))
    [second] = requests(connection.subscribe(BALANCE, 0.0))
    assert connection.message_received(ack(second, ts=5), 1.0).events == (
        Subscribed(BALANCE, 5, 3),
    )
    assert connection.message_received(ack(first, ts=6), 1.0).events == (Subscribed(ORDERS, 6, 3),)
    [third] = requests(connection.unsubscribe(ORDERS, 2.0))
    assert connection.message_received(ack(third, ts=7), 3.0).events == (
        Unsubscribed(ORDERS, 7, 3),
    )
    assert connection.pending == ()


def test_an_acknowledgement_without_a_time_or_in_the_second_form_counts() -> None:
    connection = Connection()
    [request] = requests(connection.subscribe(ORDERS, 0.0))
    frame = json.dumps(
        {"id": request["id"], "method": "sub_orders", "code": 0, "msg": "OK", "data": {}}
    )
    assert connection.message_received(frame, 1.0).events == (Subscribed(ORDERS, None, 1),)


def test_a_refusal_is_an_event_with_the_words_of_the_exchange() -> None:
    connection, request = in_state(S.SUBSCRIBING)
    [event] = connection.message_received(ack(request, code=10, msg="no", ts=9), 1.0).events
    assert event == SubscriptionRejected(
        topic=ORDERS, method="sub_orders", code=10, msg="no", ts=9, epoch=1
    )


@pytest.mark.parametrize(
    "change",
    [{"id": "99"}, {"id": None}, {"method": "sub_balance"}, {"method": "unsub_orders"}],
    ids=repr,
)
def test_a_response_that_fits_no_request_changes_nothing(change: dict[str, Any]) -> None:
    connection, request = in_state(S.SUBSCRIBING)
    [event] = connection.message_received(ack(request | change), 1.0).events
    assert isinstance(event, UnexpectedResponse)
    assert connection.state_of(ORDERS) is S.SUBSCRIBING
    assert connection.pending == (request["id"],)


def test_a_response_without_a_method_counts() -> None:
    connection, request = in_state(S.SUBSCRIBING)
    [event] = connection.message_received(f'{{"id":"{request["id"]}","code":0}}', 1.0).events
    assert isinstance(event, Subscribed)


def test_a_new_stream_knows_nothing_of_an_earlier_one() -> None:
    connection, _ = in_state(S.ACTIVE)
    [request] = requests(connection.unsubscribe(ORDERS, 1.0))
    connection.message_received(ack(request, ts=3000), 1.0)
    connection.subscribe(ORDERS, 2.0)
    assert connection.last_ts_of(ORDERS) is None


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("ping", "pong"),
        (b"ping", "pong"),
        ('{"method":"ping"}', '{"method":"pong"}'),
        ('{"ping": 1561948335075}', '{"pong":1561948335075}'),
    ],
)
def test_a_ping_is_answered_in_kind_and_bothers_nobody(frame: str | bytes, answer: str) -> None:
    step = Connection().message_received(frame, 1.0)
    assert step.events == ()
    assert step.actions == (SendText(answer),)


@pytest.mark.parametrize(
    "frame", ["", "{", '{"method":"sub_moon","data":{}}', '{"hello":1}', b"\xff"]
)
def test_what_is_not_understood_is_an_event_and_the_stream_goes_on(frame: str | bytes) -> None:
    connection, _ = in_state(S.ACTIVE)
    [event] = connection.message_received(frame, 1.0).events
    assert isinstance(event, Malformed | Unrecognised)
    [event] = connection.message_received(order(), 2.0).events
    assert isinstance(event, OrderUpdate)


def test_a_frame_over_the_limit_is_not_decoded() -> None:
    connection = Connection(SessionConfig(max_frame_size=100, max_kept=10))
    connection.subscribe(ORDERS, 0.0)
    [event] = connection.message_received(order(), 1.0).events
    assert isinstance(event, Malformed)
    assert (event.size, event.frame, event.path) == (len(order()), order()[:10], "$")


def test_anomalies_keep_no_more_than_they_may() -> None:
    connection, request = in_state(S.SUBSCRIBING, SessionConfig(max_kept=20))
    long = "x" * 500
    for frame in (
        ack(request | {"id": long, "method": long}, msg=long),
        ack(request, msg=long, code=3),
        json.dumps({"method": long}),
        json.dumps({"id": "5", "code": 1, "data": [long]}),
        long,
    ):
        [event] = connection.message_received(frame, 1.0).events
        assert long not in repr(event)
        assert len(repr(event)) < 500


def test_requests_beyond_the_limit_are_the_callers_mistake() -> None:
    connection = Connection(SessionConfig(max_pending=1))
    connection.subscribe(ORDERS, 0.0)
    with pytest.raises(LocalProtocolError, match="max_pending"):
        connection.subscribe(BALANCE, 0.0)
    assert connection.pending == ("1",)


# Deadlines.


def test_a_request_that_is_not_answered_ends_the_connection() -> None:
    connection = Connection(SessionConfig(ack_timeout=4.0))
    connection.subscribe(ORDERS, 100.0)
    assert connection.subscribe(BALANCE, 101.0).deadline == 104.0
    assert connection.deadline_reached(103.9) == Step((), (), 104.0)
    step = connection.deadline_reached(104.0)
    assert step.events == (
        RequestTimedOut(topic=ORDERS, method="sub_orders", timeout=4.0, epoch=1),
    )
    [close] = step.actions
    assert isinstance(close, Close)
    assert close.timeout == 0.0
    assert connection.failure is not None
    assert connection.failure.kind is FailureKind.ACK_TIMEOUT
    assert step.deadline is None
    assert connection.pending == ()


def test_a_ping_goes_out_every_interval_and_its_pong_keeps_the_connection() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    now, sent = 0.0, []
    deadline = connection.deadline_reached(now).deadline
    for _ in range(50):
        assert deadline is not None
        now = deadline
        step = connection.deadline_reached(now)
        for action in step.actions:
            assert isinstance(action, SendPing)
            sent.append(now)
            step = connection.pong_received(action.payload, now + 1.0)
        deadline = step.deadline
    assert connection.failure is None
    assert sent == [20.0 * number for number in range(1, len(sent) + 1)]
    assert len(sent) > 20


def test_a_half_open_connection_is_noticed_within_interval_and_timeout() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.message_received(order(), 0.0)
    [ping] = connection.deadline_reached(20.0).actions
    assert isinstance(ping, SendPing)
    assert connection.deadline_reached(29.9).actions == ()
    assert connection.failure is None
    [close] = connection.deadline_reached(30.0).actions
    assert isinstance(close, Close)
    assert connection.failure is not None
    assert connection.failure.kind is FailureKind.PONG_TIMEOUT


def test_data_after_a_ping_shows_that_the_peer_is_there() -> None:
    connection = Connection()
    connection.subscribe(ORDERS, 0.0)
    connection.message_received(ack({"id": "1", "method": "sub_orders"}), 0.0)
    connection.deadline_reached(20.0)
    connection.message_received(order(), 25.0)
    connection.deadline_reached(30.0)
    assert connection.failure is None


def test_an_answer_at_the_very_moment_of_the_ping_counts() -> None:
    connection = Connection()
    connection.deadline_reached(0.0)
    [ping] = connection.deadline_reached(20.0).actions
    assert isinstance(ping, SendPing)
    connection.pong_received(ping.payload, 20.0)
    connection.deadline_reached(30.0)
    assert connection.failure is None


def test_silence_ends_a_connection_that_sends_no_pings() -> None:
    connection = Connection(SessionConfig(ping_interval=None, silence_timeout=170.0))
    assert connection.deadline_reached(0.0).deadline == 170.0
    connection.message_received("ping", 100.0)
    assert connection.deadline_reached(170.0).deadline == 270.0
    connection.pong_received(b"unasked", 200.0)
    assert connection.deadline_reached(270.0).deadline == 370.0
    [close] = connection.deadline_reached(370.0).actions
    assert isinstance(close, Close)
    assert connection.failure is not None
    assert connection.failure.kind is FailureKind.SILENCE


def test_without_pings_silence_is_the_only_deadline() -> None:
    connection = Connection(SessionConfig(ping_interval=None, silence_timeout=1_000_000.0))
    assert connection.deadline_reached(0.0).deadline == 1_000_000.0
    assert connection.deadline_reached(999_999.0).actions == ()


def test_a_connection_that_was_given_up_ignores_frames_and_refuses_requests() -> None:
    connection = Connection(SessionConfig(ack_timeout=1.0))
    [request] = requests(connection.subscribe(ORDERS, 0.0))
    connection.deadline_reached(1.0)
    for step in (
        connection.message_received(ack(request), 2.0),
        connection.message_received("ping", 2.0),
        connection.pong_received(b"1", 2.0),
        connection.deadline_reached(99.0),
        connection.reading_paused(99.0),
        connection.reading_resumed(99.0),
    ):
        assert step == Step()
    with pytest.raises(LocalProtocolError, match="given up"):
        connection.subscribe(BALANCE, 2.0)


def test_a_request_without_an_answer_is_named_by_the_failure() -> None:
    connection = Connection(SessionConfig(ack_timeout=5.0))
    connection.subscribe(ORDERS, 0.0)
    connection.deadline_reached(5.0)
    assert connection.failure == Failure(FailureKind.ACK_TIMEOUT, "sub_orders")


def test_the_time_to_the_latest_answer_is_measured() -> None:
    connection = Connection()
    assert connection.ack_latency is None
    [request] = requests(connection.subscribe(ORDERS, 7.0))
    connection.message_received(ack(request), 7.25)
    assert connection.ack_latency == 0.25


# Reading that has stopped.


def test_nothing_times_out_while_reading_is_paused() -> None:
    connection = Connection(SessionConfig(ack_timeout=5.0))
    connection.subscribe(ORDERS, 0.0)
    connection.deadline_reached(4.0)
    step = connection.reading_paused(4.0)
    for _ in range(49):
        assert step.deadline is not None
        step = connection.deadline_reached(step.deadline)
    assert step.deadline == 1000.0
    connection.deadline_reached(1000.0)
    assert connection.failure is None
    # There was one second left when it stopped.
    assert connection.reading_resumed(1000.0).deadline == 1001.0
    assert connection.deadline_reached(1000.9).events == ()
    assert connection.deadline_reached(1001.0).events == (
        RequestTimedOut(topic=ORDERS, method="sub_orders", timeout=5.0, epoch=1),
    )


def test_a_lost_acknowledgement_is_noticed_though_reading_pauses_again_and_again() -> None:
    connection = Connection(SessionConfig(ack_timeout=5.0, ping_interval=None))
    connection.subscribe(ORDERS, 0.0)
    now = 0.0
    while connection.failure is None:
        connection.message_received("nonsense", now)
        connection.reading_paused(now + 0.125)
        now += 1.0
        connection.reading_resumed(now)
        connection.deadline_reached(now)
        assert now <= 40.0
    # An eighth of the time was spent reading.
    assert now == 40.0


def test_a_request_made_while_reading_is_paused_waits_from_when_it_goes_on() -> None:
    connection = Connection(SessionConfig(ack_timeout=5.0))
    connection.reading_paused(0.0)
    connection.subscribe(ORDERS, 3.0)
    assert connection.reading_resumed(10.0).deadline == 15.0
    connection.reading_paused(11.0)
    connection.reading_paused(12.0)
    assert connection.reading_resumed(13.0).deadline == 17.0


def test_the_servers_ping_is_answered_unasked_while_reading_is_paused() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0))
    connection.message_received('{"ping":5}', 0.0)
    connection.reading_paused(1.0)
    text, ping = connection.deadline_reached(20.0).actions
    assert text == SendText('{"pong":5}')
    assert isinstance(ping, SendPing)
    connection.reading_resumed(30.0)
    [ping] = connection.deadline_reached(40.0).actions
    assert isinstance(ping, SendPing)


def test_a_server_that_never_asked_is_told_nothing_while_reading_is_paused() -> None:
    connection = Connection()
    connection.reading_paused(0.0)
    [ping] = connection.deadline_reached(20.0).actions
    assert isinstance(ping, SendPing)


def test_pings_sent_while_reading_is_paused_are_not_waited_for() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.reading_paused(0.0)
    for now in (20.0, 40.0, 60.0):
        connection.deadline_reached(now)
    step = connection.reading_resumed(75.0)
    assert step.deadline == 80.0
    [ping] = connection.deadline_reached(80.0).actions
    assert isinstance(ping, SendPing)
    connection.deadline_reached(90.0)
    assert connection.failure is not None


def test_a_pause_does_not_count_for_a_pong() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    connection.deadline_reached(20.0)
    connection.reading_paused(27.0)
    assert connection.reading_resumed(31.0).deadline == 34.0
    connection.deadline_reached(33.9)
    assert connection.failure is None
    connection.deadline_reached(34.0)
    assert connection.failure is not None


def test_what_is_read_during_a_pause_answers_a_ping() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    connection.deadline_reached(20.0)
    connection.reading_paused(21.0)
    connection.message_received("nonsense", 22.0)
    assert connection.reading_resumed(23.0).deadline == 40.0


def test_a_pause_does_not_count_for_silence() -> None:
    config = SessionConfig(ping_interval=None, silence_timeout=60.0)
    connection = Connection(config)
    connection.message_received("nonsense", 0.0)
    connection.reading_paused(10.0)
    assert connection.reading_resumed(30.0).deadline == 80.0
    assert connection.last_received == 20.0
    connection.reading_paused(40.0)
    connection.message_received("nonsense", 45.0)
    assert connection.reading_resumed(50.0).deadline == 110.0


@given(st.lists(st.binary(max_size=40) | st.text(max_size=40), max_size=10))
def test_receiving_is_total(frames: list[str | bytes]) -> None:
    connection, _ = in_state(S.ACTIVE)
    for frame in frames:
        for event in connection.message_received(frame, 1.0).events:
            assert isinstance(event, Malformed | Unrecognised | UnexpectedResponse)
    [event] = connection.message_received(balance(), 1.0).events
    assert isinstance(event, UnexpectedUpdate)
    assert isinstance(event.update, BalanceUpdate)


def test_a_step_costs_nothing_that_grows_with_what_came_before() -> None:
    connection, _ = in_state(S.ACTIVE)
    for _ in range(1000):
        connection.message_received(order(), 1.0)
        connection.message_received("nonsense", 1.0)
        connection.message_received("ping", 1.0)
    sizes = [len(v) for v in vars(connection).values() if hasattr(v, "__len__")]
    assert sum(sizes) < 10
    assert TOKEN not in repr(vars(connection))


# What is said, and what happens at the very edge.


def test_a_frame_of_just_the_largest_size_is_decoded() -> None:
    connection = Connection(SessionConfig(max_frame_size=len(order())))
    connection.subscribe(ORDERS, 0.0)
    [event] = connection.message_received(order(), 1.0).events
    assert isinstance(event, OrderUpdate)
    [event] = connection.message_received(order() + " ", 1.0).events
    assert isinstance(event, Malformed)
    assert event.reason == f"larger than {len(order())} (SessionConfig.max_frame_size)"


def test_pings_are_told_apart_by_numbers_from_one() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    for number in (b"1", b"2", b"3"):
        [ping] = connection.deadline_reached(20.0 * int(number)).actions
        assert ping == SendPing(number)
        connection.pong_received(number, 20.0 * int(number))


def test_what_came_at_the_moment_of_a_ping_does_not_answer_it() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=30.0))
    connection.deadline_reached(0.0)
    connection.message_received("?", 20.0)
    connection.deadline_reached(20.0)
    # Nor does the next ping set it free: thirty seconds are over at fifty.
    connection.deadline_reached(40.0)
    assert connection.failure is None
    [close] = connection.deadline_reached(50.0).actions
    assert isinstance(close, Close)


@pytest.mark.parametrize("payload", [b"", b"unasked"])
def test_a_pong_can_be_the_first_input(payload: bytes) -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, silence_timeout=None))
    assert connection.pong_received(payload, 100.0).deadline == 120.0


def test_a_step_that_gives_up_has_no_deadline_and_says_why() -> None:
    connection = Connection(SessionConfig(ping_interval=None, silence_timeout=5.0))
    connection.deadline_reached(0.0)
    assert connection.deadline_reached(5.0) == Step((), (Close(1001, "silence", 0.0),), None)


def test_a_mistake_of_the_caller_says_what_to_do() -> None:
    connection = Connection(SessionConfig(max_pending=1, ack_timeout=1.0))
    connection.subscribe(ORDERS, 0.0)
    for topic, state, remedy in (
        (ORDERS, "the topic orders is subscribing", "look at Connection.subscriptions before"),
        (
            BALANCE,
            "1 requests wait for their response",
            "wait for some of them, or raise SessionConfig.max_pending",
        ),
    ):
        with pytest.raises(LocalProtocolError) as error:
            connection.subscribe(topic, 0.5)
        assert error.value.input == topic.subscribe_method
        assert error.value.state == state
        assert error.value.remedy.startswith(remedy)
    connection.deadline_reached(1.0)
    with pytest.raises(LocalProtocolError) as error:
        connection.subscribe(BALANCE, 1.0)
    assert str(error.value) == (
        "sub_balance is not possible while the connection is given up: open another connection"
    )


def test_a_response_that_fits_no_request_says_what_does_not_fit() -> None:
    connection, request = in_state(S.SUBSCRIBING)
    reasons = []
    for change in ({"id": "99"}, {"id": None}, {"method": "sub_balance"}):
        [event] = connection.message_received(ack(request | change), 1.0).events
        assert isinstance(event, UnexpectedResponse)
        reasons.append(event.reason)
    assert reasons == [
        "no request with this id is waiting",
        "no request with this id is waiting",
        "the request with this id was sub_orders",
    ]


def test_bytes_of_the_peer_are_an_answer_to_a_ping() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    assert connection.deadline_reached(20.0).actions
    connection.bytes_received(29.0, 30.0)
    connection.deadline_reached(30.0)
    assert connection.failure is None


def test_bytes_from_before_a_ping_are_no_answer_to_it() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    connection.deadline_reached(20.0)
    connection.bytes_received(19.0, 30.0)
    assert connection.deadline_reached(30.0).actions == (Close(1001, "pong_timeout", 0.0),)


def test_a_frame_that_comes_slowly_breaks_no_silence() -> None:
    config = SessionConfig(ping_interval=None, silence_timeout=10.0)
    connection = Connection(config)
    connection.deadline_reached(0.0)
    connection.bytes_received(9.0, 10.0)
    assert connection.deadline_reached(10.0).deadline == 19.0
    # Of the future nothing is known, and what was known is not forgotten.
    connection.bytes_received(99.0, 12.0)
    assert connection.last_received == 12.0
    connection.bytes_received(3.0, 13.0)
    assert connection.last_received == 12.0
    assert connection.deadline_reached(19.0).deadline == 22.0
    assert connection.deadline_reached(22.0).actions == (Close(1001, "silence", 0.0),)


def test_bytes_are_no_acknowledgement() -> None:
    connection = Connection(SessionConfig(ack_timeout=10.0))
    connection.subscribe(ORDERS, 0.0)
    connection.bytes_received(8.9, 10.0)
    assert connection.deadline_reached(10.0).actions == (Close(1001, "ack_timeout", 0.0),)


def test_an_acknowledgement_behind_a_slow_frame_is_waited_for() -> None:
    connection = Connection(SessionConfig(ack_timeout=2.0))
    [request] = requests(connection.subscribe(ORDERS, 0.0))
    for now in (2.0, 2.5, 3.0):
        connection.bytes_received(now - 0.5, now)
        assert connection.deadline_reached(now) == Step((), (), now + 0.5)
    connection.message_received("x" * 200_000, 3.5)
    assert connection.message_received(ack(request), 3.5).events == (Subscribed(ORDERS, 1000, 1),)


def test_a_slow_frame_that_stops_ends_the_patience_with_an_acknowledgement() -> None:
    connection = Connection(SessionConfig(ack_timeout=2.0))
    connection.subscribe(ORDERS, 0.0)
    connection.bytes_received(1.5, 2.0)
    assert connection.deadline_reached(2.0).deadline == 2.5
    assert connection.deadline_reached(2.5).actions == (Close(1001, "ack_timeout", 0.0),)


def test_a_server_that_only_pings_is_given_up_in_the_end() -> None:
    connection = Connection(SessionConfig(ack_timeout=2.0, ping_interval=None))
    connection.subscribe(ORDERS, 0.0)
    now, gone = 2.0, None
    for _ in range(100):
        connection.bytes_received(now, now)
        step = connection.deadline_reached(now)
        gone, now = connection.failure, step.deadline or now
    assert gone is not None
    assert (gone.kind, now) == (FailureKind.ACK_TIMEOUT, 20.0)


@pytest.mark.parametrize("pause", [5.0, 0.5])
def test_a_pause_does_not_count_for_what_was_put_off(pause: float) -> None:
    connection = Connection(SessionConfig(ack_timeout=2.0))
    connection.subscribe(ORDERS, 0.0)
    connection.bytes_received(1.5, 2.0)
    assert connection.deadline_reached(2.0).deadline == 2.5
    connection.reading_paused(2.25)
    # Not before now: a deadline that was over when it was told cannot be met in time.
    assert connection.reading_resumed(2.25 + pause).deadline == 2.5 + pause
    closed = (Close(1001, "ack_timeout", 0.0),)
    assert connection.deadline_reached(2.5 + pause).actions == closed


def test_a_pause_does_not_count_for_a_pong_that_was_put_off() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    connection.deadline_reached(20.0)
    # Late by an eighth of a second: whoever comes was held up.
    put_off = connection.deadline_reached(30.125).deadline
    assert put_off is not None
    connection.reading_paused(30.25)
    assert connection.reading_resumed(35.25).deadline == put_off + 5.0
    closed = (Close(1001, "pong_timeout", 0.0),)
    assert connection.deadline_reached(put_off + 5.0).actions == closed


def test_whoever_is_late_while_reading_is_paused_waits_no_longer_for_it() -> None:
    connection = Connection(SessionConfig(ping_interval=20.0, pong_timeout=10.0))
    connection.deadline_reached(0.0)
    connection.deadline_reached(20.0)
    connection.reading_paused(21.0)
    # One ping is sent late, the next in time; nothing else is due.
    assert connection.deadline_reached(41.0).deadline == 61.0
    connection.deadline_reached(61.0)
    assert connection.reading_resumed(62.0).deadline == 71.0
    closed = (Close(1001, "pong_timeout", 0.0),)
    assert connection.deadline_reached(71.0).actions == closed


# --- data in responses, and frames that are no update ---------------------------------------------


def asked_for(*topics: Topic) -> Connection:
    connection = Connection()
    for topic in topics:
        connection.subscribe(topic, 0.0)
    return connection


def with_data(frame: str, **more: Any) -> str:
    return json.dumps({**json.loads(frame), **more})


@pytest.mark.parametrize(("topic", "frame"), [(ORDERS, order()), (BALANCE, balance())])
def test_a_snapshot_with_the_acknowledgement_is_delivered(topic: Topic, frame: str) -> None:
    connection = asked_for(topic)
    first, second = connection.message_received(with_data(frame, id=1, code=0), 0.0).events
    assert first == Subscribed(topic, 2000, 1)
    assert second == decode(frame)
    # The next updates under the id of the subscription are just that.
    again = with_data(frame, id="1", code=0, ts=3000)
    assert connection.message_received(again, 1.0).events == (decode(with_data(frame, ts=3000)),)
    assert connection.last_ts_of(topic) == 3000


def test_a_refusal_with_data_loses_no_data() -> None:
    connection = asked_for(ORDERS)
    events = connection.message_received(with_data(order(), id="1", code=7), 0.0).events
    assert [type(event) for event in events] == [SubscriptionRejected, UnexpectedUpdate]


def test_data_that_nobody_waits_for_is_not_dropped_in_silence() -> None:
    connection = asked_for(ORDERS)
    unasked = with_data(balance(), id="9", code=0)
    events = connection.message_received(unasked, 0.0).events
    assert [type(event) for event in events] == [UnexpectedResponse, UnexpectedUpdate]
    broken = with_data(order(), id="9", code=0, data={"market": "ETH/BTC"})
    _, malformed = connection.message_received(broken, 0.0).events
    assert isinstance(malformed, Malformed)
    assert malformed.topics == (ORDERS,)


def test_an_acknowledgement_with_data_that_cannot_be_read_casts_doubt() -> None:
    connection = asked_for(ORDERS)
    frame = with_data(order(), id="1", code=0, data=[{"market": "ETH/BTC"}])
    subscribed, malformed = connection.message_received(frame, 0.0).events
    assert isinstance(subscribed, Subscribed)
    assert isinstance(malformed, Malformed)
    assert malformed.topics == (ORDERS,)


@pytest.mark.parametrize("method", ["SUB_ORDERS", "orders", "", 5, None])
def test_an_echo_in_another_form_voids_no_acknowledgement(method: object) -> None:
    connection = asked_for(ORDERS)
    frame = json.dumps({"id": "1", "method": method, "code": 0})
    assert connection.message_received(frame, 0.0).events == (Subscribed(ORDERS, None, 1),)


@pytest.mark.parametrize(
    "ts",
    [1561948335075.0, 1561948335.075, "1561948335075", 1561948335075321, 10**400, -1, [], True],
)
def test_a_time_in_any_form_voids_no_acknowledgement(ts: object) -> None:
    connection = asked_for(ORDERS)
    frame = json.dumps({"id": "1", "method": "sub_orders", "code": 0, "ts": ts})
    [event] = connection.message_received(frame, 0.0).events
    assert isinstance(event, Subscribed)
    assert event.ts in {1561948335075, None}


def test_a_keep_alive_of_the_servers_own_is_reported_once_on_a_connection() -> None:
    connection = asked_for(ORDERS)
    frames = ["", " ", "\x01", "heartbeat", "pong", '{"event":"heartbeat","ts":%d}', '{"pong":%d}']
    events = [
        event
        for second in range(60)
        for frame in frames
        for event in connection.message_received(
            frame % second if "%" in frame else frame, float(second)
        ).events
    ]
    assert len(events) == len(frames)
    for event in events:
        assert isinstance(event, Malformed | Unrecognised)
        assert event.topics == ()
    assert connection.last_received == 59.0
    # What may have been an update is reported every time.
    for _ in range(3):
        assert connection.message_received("{", 60.0).events


def test_of_what_is_too_large_its_topic_is_known() -> None:
    connection = Connection(SessionConfig(max_frame_size=100))
    frames: list[tuple[str | bytes, tuple[Topic, ...]]] = [
        (order(), (ORDERS,)),
        ("x" * 101, ()),
        (gzip.compress(order().encode()) + b"x" * 100, lone_topics()),
    ]
    for frame, topics in frames:
        [event] = connection.message_received(frame, 0.0).events
        assert isinstance(event, Malformed)
        assert event.topics == topics


def test_a_compressed_update_is_an_update() -> None:
    connection = asked_for(ORDERS)
    packed = gzip.compress(order().encode())
    assert connection.message_received(packed, 0.0).events == (decode(order()),)


def test_an_update_without_a_time_is_delivered_and_leaves_the_last_time() -> None:
    connection = Connection()
    [request] = requests(connection.subscribe(ORDERS, 0.0))
    within = json.dumps(
        {**json.loads(ack(request)), "data": json.loads(order())["data"], "ts": None}
    )
    for text in (within, order(), json.dumps({**json.loads(order()), "ts": None})):
        *_, event = connection.message_received(text, 1.0).events
        assert isinstance(event, OrderUpdate)
        assert event.ts == (2000 if text == order() else None)
