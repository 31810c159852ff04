"""The same scenarios on every adapter, over real sockets, with one expected event log each."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest
import trustme

from feedlog import (
    ETH,
    ORDER,
    QUICK,
    TOKEN,
    UP,
    UP_AGAIN,
    eventually,
    hanging_up,
    rest,
    told,
    until,
    up,
)
from portals import Open, Portal
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    FailureKind,
    FeedClosed,
    FeedFailed,
    Gap,
    OrderUpdate,
    RequestTimedOut,
    SessionConfig,
    Subscribed,
    SubscriptionRejected,
    UnexpectedUpdate,
)
from topone_proto.gateway import (
    MALFORMED_FRAME,
    UNKNOWN_METHOD_FRAME,
    Accept,
    AcceptThenClose,
    AnswerGarbage,
    Burst,
    CloseConnections,
    DelayAck,
    DropConnections,
    DuplicateAck,
    Fault,
    GatewayConfig,
    GoSilent,
    IgnoreHandshake,
    LoseAck,
    PingForm,
    RefuseHandshake,
    Reject,
    RejectRequest,
    SendRaw,
    SendStrangeUpdate,
    WrongId,
)
from topone_simulator import Simulator, run_in_thread

# The life of a feed.


def test_one_update_of_each_kind_and_every_call(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        up(feed)
        simulator.publish(ORDER, ETH)
        event = feed.next()
        assert isinstance(event, OrderUpdate)
        assert event.order == ORDER
        event = feed.next()
        assert isinstance(event, BalanceUpdate)
        assert event.balance == ETH
        feed.unsubscribe(ORDERS)
        feed.unsubscribe(ORDERS)
        simulator.publish(ORDER, ETH)
        feed.subscribe(ORDERS)
        feed.subscribe(ORDERS)
        simulator.publish(ORDER)
        assert until(feed, OrderUpdate) == [
            "unsubscribed orders 1",
            "balance ETH",
            "subscribed orders 1",
            "order 132991",
        ]
        feed.close()
        feed.close()
        assert rest(feed) == ["closed None"]
        for call in (feed.subscribe, feed.unsubscribe):
            with pytest.raises(FeedClosed):
                call(ORDERS)
        assert feed.next() is None


def test_a_dropped_connection_comes_back_with_a_gap_for_every_topic(
    open_feed: Open, simulator: Simulator
) -> None:
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK()) as feed:
        up(feed)
        simulator.inject(DropConnections())
        assert until(feed, Gap, count=2) == ["disconnected lost, retry", *UP_AGAIN]
        simulator.publish(ETH)
        assert until(feed, BalanceUpdate) == ["balance ETH"]


def test_a_close_frame_is_told_with_its_code(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK()) as feed:
        up(feed)
        simulator.inject(CloseConnections(code=1012, reason="restart"))
        event = feed.next()
        assert isinstance(event, Disconnected)
        assert (event.reason.kind, event.reason.code) == (FailureKind.CLOSED, 1012)
        assert event.reason.detail == "restart"
        assert until(feed, Gap, count=2) == UP_AGAIN


def test_a_server_that_accepts_and_closes_is_tried_again(
    open_feed: Open, simulator: Simulator
) -> None:
    simulator.inject(AcceptThenClose(code=1013))
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK()) as feed:
        assert until(feed, Subscribed, count=2) == [
            "connected 1",
            "disconnected closed, retry",
            "connected 2",
            "subscribed balance 2",
            "subscribed orders 2",
        ]


# What the server does wrong.


@pytest.mark.parametrize(
    ("fault", "log"),
    [
        (MALFORMED_FRAME, ["Malformed"]),
        (UNKNOWN_METHOD_FRAME, ["Unrecognised"]),
        (SendStrangeUpdate(), ["order 0"]),
    ],
)
def test_a_strange_frame_is_an_event_and_the_stream_goes_on(
    open_feed: Open, simulator: Simulator, fault: Fault, log: list[str]
) -> None:
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        up(feed)
        simulator.inject(fault)
        simulator.publish(ETH)
        assert until(feed, BalanceUpdate) == [*log, "balance ETH"]


@pytest.mark.parametrize(
    ("fault", "log"),
    [
        (DuplicateAck(method="sub_orders"), [*UP, "UnexpectedResponse"]),
        (
            RejectRequest(code=9, msg="no", method="sub_balance"),
            ["connected 1", "rejected sub_balance 9", "subscribed orders 1"],
        ),
    ],
)
def test_a_strange_response_is_an_event(
    open_feed: Open, simulator: Simulator, fault: Fault, log: list[str]
) -> None:
    simulator.inject(fault)
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        assert [told(feed.next() or Closed()) for _ in log] == log


@pytest.mark.parametrize("fault", [LoseAck(), WrongId()])
def test_a_request_without_an_answer_ends_the_connection_and_is_made_again(
    open_feed: Open, simulator: Simulator, fault: Fault
) -> None:
    simulator.inject(fault)
    config = QUICK(ack_timeout=0.3)
    with open_feed(url=simulator.url, token=TOKEN, topics=[ORDERS], config=config) as feed:
        log = until(feed, Subscribed)
        assert log[-4:] == [
            "timed out sub_orders",
            "disconnected ack_timeout, retry",
            "connected 2",
            "subscribed orders 2",
        ]


def test_subscribe_raises_what_the_exchange_says(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN, topics=[]) as feed:
        simulator.inject(RejectRequest(code=9, msg="no"))
        with pytest.raises(SubscriptionRejected, match="code 9"):
            feed.subscribe(ORDERS)
        assert until(feed, SubscriptionRejected) == ["connected 1", "rejected sub_orders 9"]
        feed.subscribe(ORDERS)


def test_subscribe_raises_when_there_is_no_answer(open_feed: Open, simulator: Simulator) -> None:
    config = QUICK(ack_timeout=0.3)
    with open_feed(url=simulator.url, token=TOKEN, topics=[], config=config) as feed:
        simulator.inject(LoseAck())
        with pytest.raises(RequestTimedOut):
            feed.subscribe(ORDERS)
        assert until(feed, Subscribed)[-1] == "subscribed orders 2"


def test_an_update_before_its_acknowledgement_is_delivered_and_one_after_the_last_is_an_anomaly(
    open_feed: Open, simulator: Simulator
) -> None:
    simulator.inject(DelayAck(seconds=0.2))
    with open_feed(url=simulator.url, token=TOKEN, topics=[ORDERS]) as feed:
        assert until(feed, Connected) == ["connected 1"]
        eventually(lambda: simulator.requests)
        simulator.publish(ORDER)
        assert until(feed, Subscribed) == ["order 132991", "subscribed orders 1"]
        feed.unsubscribe(ORDERS)
        data = {"asset": "X", "available": "1", "freeze": "0"}
        late = json.dumps({"method": "sub_balance", "ts": 1, "data": data})
        simulator.inject(SendRaw(late))
        assert until(feed, UnexpectedUpdate) == ["unsubscribed orders 1", "UnexpectedUpdate"]


@pytest.mark.parametrize("form", PingForm)
def test_every_form_of_ping_is_answered(open_feed: Open, form: PingForm) -> None:
    # A client that did not answer would be closed, and would be told so.
    config = GatewayConfig(ping_form=form, ping_interval=0.02, pong_timeout=0.4)
    with (
        run_in_thread(config=config) as simulator,
        open_feed(url=simulator.url, token=TOKEN, config=QUICK()) as feed,
    ):
        up(feed)
        # Fifty pings fall into the time that this takes.
        simulator.inject(DelayAck(seconds=1.0))
        feed.unsubscribe(ORDERS)
        simulator.publish(ETH)
        assert until(feed, BalanceUpdate) == ["unsubscribed orders 1", "balance ETH"]


def test_a_half_open_connection_is_noticed_and_replaced(
    open_feed: Open, simulator: Simulator
) -> None:
    config = QUICK(ping_interval=0.2, pong_timeout=0.2)
    with open_feed(url=simulator.url, token=TOKEN, config=config) as feed:
        up(feed)
        simulator.inject(GoSilent())
        assert until(feed, Gap, count=2) == ["disconnected pong_timeout, retry", *UP_AGAIN]


def test_an_answered_ping_keeps_an_idle_connection(open_feed: Open, simulator: Simulator) -> None:
    config = QUICK(ping_interval=0.02, pong_timeout=0.5, silence_timeout=0.6)
    with open_feed(url=simulator.url, token=TOKEN, config=config) as feed:
        up(feed)
        simulator.inject(DelayAck(seconds=1.0))
        feed.unsubscribe(ORDERS)
        simulator.publish(ETH)
        assert until(feed, BalanceUpdate) == ["unsubscribed orders 1", "balance ETH"]


# The handshake.


@pytest.mark.parametrize("origin", [None, "", "https://example.org"])
def test_an_origin_header_is_sent_only_if_asked_for(
    open_feed: Open, simulator: Simulator, origin: str | None
) -> None:
    config = SessionConfig(max_attempts=1, retry_first=1e-6)
    with open_feed(url=simulator.url, token=TOKEN, origin=origin, config=config) as feed:
        if origin:
            assert until(feed, Closed) == ["disconnected handshake", "closed handshake"]
        else:
            up(feed)
    [handshake] = simulator.handshakes
    assert handshake.header("Origin") == origin
    assert isinstance(handshake.answer, Reject if origin else Accept)


def ends_with(feed: Portal) -> FeedFailed:
    assert until(feed, Closed)[-1].startswith("closed")
    with pytest.raises(FeedFailed) as caught:
        feed.next()
    for call in (feed.subscribe, feed.unsubscribe):
        with pytest.raises(FeedFailed):
            call(ORDERS)
    return caught.value


def test_403_ends_the_feed_and_names_both_causes(open_feed: Open, simulator: Simulator) -> None:
    simulator.inject(RefuseHandshake(403))
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        error = ends_with(feed)
    assert error.failure.status == 403
    assert re.search("Origin.*token", str(error))
    assert len(simulator.handshakes) == 1


def test_401_ends_the_feed_and_names_the_token(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token="wrong") as feed:
        error = ends_with(feed)
    assert error.failure.status == 401
    assert "token" in str(error)
    assert len(simulator.handshakes) == 1


def test_a_token_callable_is_asked_before_every_dial_and_again_after_a_refusal(
    open_feed: Open, simulator: Simulator
) -> None:
    supplied = iter(["stale", TOKEN, TOKEN])
    with open_feed(
        url=simulator.url, token=lambda: next(supplied), topics=[ORDERS], config=QUICK()
    ) as feed:
        assert until(feed, Subscribed) == [
            "disconnected handshake, retry",
            "connected 1",
            "subscribed orders 1",
        ]
        simulator.inject(DropConnections())
        assert until(feed, Gap)[-1] == "gap orders 2"
    assert next(supplied, None) is None


def test_a_token_callable_that_fails_is_asked_again(open_feed: Open, simulator: Simulator) -> None:
    answers = iter(["", "two words", TOKEN])

    def supply() -> str:
        answer = next(answers)
        if not answer:
            raise RuntimeError("secret words")
        return answer

    with open_feed(url=simulator.url, token=supply, topics=[], config=QUICK()) as feed:
        events = [feed.next() for _ in range(3)]
    assert [told(event) for event in events if event] == [
        "disconnected token, retry",
        "disconnected token, retry",
        "connected 1",
    ]
    assert "words" not in repr(events)


@pytest.mark.parametrize("status", [200, 301, 404, 500, 503])
def test_another_status_is_tried_again(open_feed: Open, simulator: Simulator, status: int) -> None:
    simulator.inject(RefuseHandshake(status))
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK()) as feed:
        event = feed.next()
        assert isinstance(event, Disconnected)
        assert (event.reason.kind, event.reason.status) == (FailureKind.HANDSHAKE, status)
        up(feed)
    assert len(simulator.handshakes) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(open_feed: Open, simulator: Simulator, status: int) -> None:
    simulator.inject(RefuseHandshake(status, retry_after=77))
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        event = feed.next()
        assert isinstance(event, Disconnected)
        assert event.reason.retry_after == 77
        assert event.retry_in is not None
        assert 77 <= event.retry_in <= 78
        feed.close()  # while it backs off
        assert rest(feed) == ["closed None"]


def test_garbage_is_no_websocket(open_feed: Open, simulator: Simulator) -> None:
    simulator.inject(AnswerGarbage())
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK()) as feed:
        assert until(feed, Disconnected) == ["disconnected not_websocket, retry"]
        up(feed)


def test_a_handshake_without_an_answer_times_out(open_feed: Open, simulator: Simulator) -> None:
    simulator.inject(IgnoreHandshake())
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK(open_timeout=0.3)) as feed:
        assert until(feed, Disconnected) == ["disconnected timeout, retry"]
        up(feed)


def test_a_server_that_hangs_up_in_the_handshake(open_feed: Open) -> None:
    config = SessionConfig(max_attempts=1, retry_first=1e-6)
    with hanging_up() as url, open_feed(url=url, token=TOKEN, config=config) as feed:
        assert ends_with(feed).failure.kind in {FailureKind.NOT_WEBSOCKET, FailureKind.NETWORK}


def test_a_port_where_nobody_listens(open_feed: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = SessionConfig(max_attempts=2, retry_first=1e-6, retry_base=1e-6)
    with open_feed(url=f"ws://127.0.0.1:{port}/", token=TOKEN, config=config) as feed:
        log = until(feed, Closed)
        assert log == [
            "disconnected refused, retry",
            "disconnected refused, retry",
            "disconnected refused",
            "closed refused",
        ]


def test_a_name_that_does_not_resolve(open_feed: Open) -> None:
    config = SessionConfig(max_attempts=1, retry_first=1e-6)
    with open_feed(url="wss://no-such-host.invalid/", token=TOKEN, config=config) as feed:
        assert ends_with(feed).failure.kind is FailureKind.DNS


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Simulator]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with run_in_thread(ssl_context=context) as simulator:
        yield simulator


def test_a_private_authority_is_trusted_if_asked_for(
    open_feed: Open, secure: Simulator, authority: trustme.CA
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    assert secure.url.startswith("wss://")
    with open_feed(url=secure.url, token=TOKEN, ssl_context=context) as feed:
        up(feed)
        secure.publish(ETH)
        assert until(feed, BalanceUpdate) == ["balance ETH"]


def test_a_certificate_that_is_not_trusted_is_refused(open_feed: Open, secure: Simulator) -> None:
    config = SessionConfig(max_attempts=1, retry_first=1e-6)
    with open_feed(url=secure.url, token=TOKEN, config=config) as feed:
        failure = ends_with(feed).failure
    assert failure.kind is FailureKind.TLS
    assert "certificate" in str(failure)
    assert not secure.handshakes


# Slow applications.


def test_a_slow_application_slows_the_socket_and_loses_nothing(
    open_feed: Open, simulator: Simulator
) -> None:
    config = SessionConfig(capacity=8)
    balances = [Balance(f"A{number}", Decimal(number), Decimal(0)) for number in range(3000)]
    with open_feed(url=simulator.url, token=TOKEN, config=config) as feed:
        up(feed)
        simulator.publish(*balances)
        for expected in balances:
            event = feed.next()
            assert isinstance(event, BalanceUpdate)
            assert event.balance == expected


def test_a_slow_application_can_have_updates_conflated(
    open_feed: Open, simulator: Simulator
) -> None:
    config = SessionConfig(capacity=8, delivery="conflate")
    with open_feed(url=simulator.url, token=TOKEN, config=config) as feed:
        up(feed)
        simulator.publish(ETH)
        simulator.inject(Burst(500))
        simulator.publish(Balance("LAST", Decimal(1), Decimal(0)))
        log: list[str] = []
        while log[-1:] != ["balance LAST"]:
            event = feed.next()
            assert event is not None
            log.append(told(event))
        assert set(log) <= {"balance ETH", "balance LAST", "order 132991", "Conflated"}


def test_subscribing_while_events_wait_is_answered(open_feed: Open, simulator: Simulator) -> None:
    config = SessionConfig(capacity=20)
    with open_feed(url=simulator.url, token=TOKEN, topics=[BALANCE], config=config) as feed:
        until(feed, Subscribed)
        simulator.publish(*[ETH] * 25)
        feed.subscribe(ORDERS)


def test_a_frame_over_the_limit_does_not_end_the_feed(
    open_feed: Open, simulator: Simulator
) -> None:
    with open_feed(url=simulator.url, token=TOKEN, config=QUICK(max_frame_size=5000)) as feed:
        up(feed)
        simulator.inject(SendRaw("x" * 10_000))
        assert until(feed, Gap, count=2)[-5:] == UP_AGAIN
        simulator.publish(ETH)
        assert until(feed, BalanceUpdate) == ["balance ETH"]


# The end.


def test_leaving_in_the_middle_ends_it(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        simulator.inject(Burst(500))
        until(feed, Connected)
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        up(feed)
        simulator.inject(Burst(500))
    eventually(lambda: not simulator.connections)


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (None, Subscribed),
        (IgnoreHandshake(None), None),
        (RefuseHandshake(500, times=None), Disconnected),
        (LoseAck(None), Connected),
        (GoSilent(), None),
    ],
    ids=["connected", "dialling", "backing off", "waiting for an answer", "half-open"],
)
def test_close_ends_it_from_every_state(
    open_feed: Open, simulator: Simulator, fault: Fault | None, wait: type[Event] | None
) -> None:
    silent = isinstance(fault, GoSilent)
    if fault is not None and not silent:
        simulator.inject(fault)
    config = SessionConfig(close_timeout=0.5, retry_first=60.0)
    with open_feed(url=simulator.url, token=TOKEN, config=config) as feed:
        if silent:
            up(feed)
            simulator.inject(GoSilent())
        elif wait is not None:
            until(feed, wait)
        else:
            eventually(lambda: simulator.handshakes)
        feed.close()
        assert rest(feed)[-1] == "closed None"
        assert feed.next() is None


def test_closing_says_goodbye(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        up(feed)
    eventually(lambda: not simulator.connections)


def test_a_receiver_that_waits_is_woken_by_the_end(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        up(feed)
        logs: list[list[str]] = []
        receiver = threading.Thread(target=lambda: logs.append(rest(feed)))
        receiver.start()
        feed.close()
        receiver.join(20.0)
        assert logs == [["closed None"]]
