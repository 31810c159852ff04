"""The driver for callbacks: links, the one deadline, closing, frameworks that call back at once.

The framework is a double in virtual time.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import frames
from frames import balance
from topone_proto import (
    BALANCE,
    BalanceUpdate,
    Closed,
    ConfigurationError,
    Connect,
    Connected,
    ConnectionFailed,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    FetchToken,
    PullEnd,
    PullTimedOut,
    Session,
    SessionConfig,
    Subscribed,
    Token,
    kline,
)
from topone_proto.account import AccountSession, Fetch, FetchFailed, StoreState
from topone_proto.adapters import CallbackDriver, Link
from topone_proto.capture import Capture, RecordedSession, replay
from topone_proto.session.endpoint import PUBLIC_URL, Endpoint
from topone_proto.wire.http import Credentials, HttpResponse

TOKEN = Token(frames.TOKEN)
ACK = frames.ack({"id": "1", "method": "sub_balance"})
PUBLIC = Endpoint(PUBLIC_URL, socket="public")
CONFIG = SessionConfig(retry_first=1.0, retry_base=1.0, close_timeout=5.0)


class WebSocket:
    """The view that a framework has of one dial, and the calls that came."""

    def __init__(self, framework: "Framework", connect: Connect, link: Link) -> None:
        self.framework, self.connect, self.link = framework, connect, link
        self.calls: list[Any] = []
        # What happens in the middle of each call.
        self.on_call: Callable[[], object] = list

    def send_text(self, text: str) -> None:
        self.calls.append(text)
        self.on_call()

    def send_ping(self, payload: bytes) -> None:
        self.calls.append(payload)
        self.on_call()

    def close(self, code: int, reason: str) -> None:
        self.calls.append((code, reason))
        self.on_call()

    def abort(self) -> None:
        self.calls.append("abort")


class Framework:
    """A clock, timers and dials, around a driver."""

    def __init__(self, session: Any = None, *, has_timers: bool = True, **settings: Any) -> None:
        self.now = 100.0
        self.events: list[Event] = []
        self.ends = 0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.websockets: list[WebSocket] = []
        self.on_dial: Callable[[WebSocket], object] = bool
        self.session = session or Session([BALANCE], token=TOKEN, config=CONFIG, jitter=lambda: 0.5)
        self.driver = CallbackDriver(
            self.session,
            dial=self.dial,
            clock=lambda: self.now,
            on_event=settings.pop("on_event", self.events.append),
            call_later=self.call_later if has_timers else None,
            on_end=self.end,
            **settings,
        )

    def dial(self, connect: Connect, link: Link) -> WebSocket:
        websocket = WebSocket(self, connect, link)
        self.websockets.append(websocket)
        self.on_dial(websocket)
        return websocket

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        assert seconds >= 0
        self.timers.append((self.now + seconds, function))

    def end(self) -> None:
        self.ends += 1

    def wait(self, seconds: float) -> None:
        """Let time pass, and each timer ring at its time."""
        until = self.now + seconds
        while due := sorted((at for at, _ in self.timers if at <= until)):
            self.now = max(self.now, due[0])
            ring = next(function for at, function in self.timers if at == due[0])
            self.timers.remove(next(timer for timer in self.timers if timer[1] is ring))
            ring()
        self.now = until

    @property
    def kinds(self) -> list[type[Any]]:
        return [type(event) for event in self.events]


def connected(**settings: Any) -> Framework:
    framework = Framework(**settings)
    framework.driver.start()
    framework.websockets[0].link.connection_made()
    framework.websockets[0].link.message_received(ACK)
    return framework


def test_a_life() -> None:
    framework = connected()
    [websocket] = framework.websockets
    [request] = websocket.calls
    assert '"sub_balance"' in request
    websocket.link.message_received(balance())
    assert framework.kinds == [Connected, Subscribed, BalanceUpdate]
    framework.wait(20)
    ping = websocket.calls[-1]
    assert isinstance(ping, bytes)
    websocket.link.pong_received(ping)
    websocket.link.connection_lost(1001, "restart")
    assert websocket.calls[-1] == "abort"
    assert framework.events[-1].reason.code == 1001  # type: ignore[union-attr]
    framework.wait(2)
    assert len(framework.websockets) == 2
    framework.driver.close()
    assert framework.kinds[-1] is Closed
    assert (framework.ends, framework.driver.is_over) == (1, True)
    assert framework.websockets[1].calls == ["abort"], "a dial has nobody to say goodbye to"


def test_an_open_connection_is_closed_with_a_handshake() -> None:
    framework = connected()
    [websocket] = framework.websockets
    framework.driver.close()
    assert websocket.calls[-1] == (1000, "")
    assert not framework.driver.is_over
    websocket.link.message_received(balance())
    assert framework.kinds[-1] is Closed, "nothing counts any more"
    websocket.link.connection_lost(1000, "")
    assert websocket.calls[-1] == "abort"
    assert (framework.ends, framework.driver.is_over) == (1, True)
    framework.driver.close()
    framework.wait(1000)
    assert framework.ends == 1


def test_a_handshake_without_an_answer_is_aborted() -> None:
    framework = connected()
    [websocket] = framework.websockets
    framework.driver.close()
    framework.wait(4.9)
    assert (websocket.calls[-1], framework.ends) == ((1000, ""), 0)
    framework.wait(0.1)
    assert (websocket.calls[-1], framework.ends) == ("abort", 1)


@pytest.mark.parametrize("error", [ConnectionRefusedError(), None])
def test_a_dial_that_fails_at_once(error: Exception | None) -> None:
    """It raises, or reports before it has returned."""

    def fail(websocket: WebSocket) -> None:
        if error is not None:
            raise error
        websocket.link.connection_failed(ConnectionRefusedError())

    framework = Framework()
    framework.on_dial = fail
    framework.driver.start()
    assert framework.kinds == [Disconnected]
    assert framework.events[0].reason.kind is FailureKind.REFUSED  # type: ignore[union-attr]
    framework.wait(0.5)
    assert len(framework.websockets) == 2


def test_a_fault_of_the_dial_is_no_failure_of_it() -> None:
    framework = Framework()
    framework.on_dial = lambda websocket: 1 / 0
    with pytest.raises(ZeroDivisionError):
        framework.driver.start()


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        (Failure(FailureKind.HANDSHAKE, status=503), FailureKind.HANDSHAKE),
        (ConnectionFailed(Failure(FailureKind.DNS)), FailureKind.DNS),
        (TimeoutError(), FailureKind.TIMEOUT),
    ],
)
def test_an_exception_says_how_a_dial_failed(why: Any, kind: FailureKind) -> None:
    framework = Framework()
    framework.driver.start()
    framework.websockets[0].link.connection_failed(why)
    assert framework.events[0].reason.kind is kind  # type: ignore[union-attr]


def test_a_dial_may_be_done_before_it_returns() -> None:
    framework = Framework()
    framework.on_dial = lambda websocket: websocket.link.connection_made()
    framework.driver.start()
    assert framework.kinds == [Connected]
    assert len(framework.websockets[0].calls) == 1, "the request to subscribe"


def test_a_dial_that_was_given_up_and_succeeds_is_aborted_again() -> None:
    framework = Framework()
    framework.driver.start()
    [websocket] = framework.websockets
    framework.wait(CONFIG.open_timeout)
    assert websocket.calls == ["abort"]
    websocket.link.connection_made()
    assert websocket.calls == ["abort", "abort"]
    assert not websocket.link.is_open
    assert framework.kinds == [Disconnected]


def test_a_dial_that_is_given_up_while_it_is_made_is_aborted() -> None:
    framework = Framework()
    framework.on_dial = lambda websocket: framework.driver.close()
    framework.driver.start()
    assert framework.websockets[0].calls == ["abort"]
    assert framework.ends == 1


def test_only_the_newest_connection_counts() -> None:
    framework = connected()
    first = framework.websockets[0].link
    first.connection_lost()
    framework.wait(2)
    told = len(framework.events)
    for report in (
        partial(first.message_received, balance()),
        partial(first.pong_received, b""),
        partial(first.connection_lost, 1000, "late"),
        partial(first.connection_failed, OSError()),
    ):
        report()
    assert len(framework.events) == told
    assert framework.websockets[1].calls == []


def test_the_deadline_of_what_is_reported_while_sending_is_the_newer_one() -> None:
    framework = connected()
    [websocket] = framework.websockets
    websocket.on_call = websocket.link.connection_lost
    framework.wait(20)  # a ping
    assert framework.kinds[-1] is Disconnected
    assert framework.driver.deadline == framework.now + 0.5


def test_nothing_more_is_sent_on_what_has_ended_while_sending() -> None:
    topics = [BALANCE, kline("BTC/USDT", "1m"), kline("ETH/USDT", "1m")]
    framework = Framework(Session(topics[1:], endpoint=PUBLIC, config=CONFIG, jitter=lambda: 0.5))
    framework.driver.start()
    [websocket] = framework.websockets
    websocket.on_call = websocket.link.connection_lost
    websocket.link.connection_made()
    assert len(websocket.calls) == 2
    assert websocket.calls[-1] == "abort"
    assert framework.kinds == [Connected, Disconnected]


def test_events_keep_their_order_if_one_leads_to_more() -> None:
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Connected):
            framework.driver.close()
        seen.append(event)

    framework = Framework(on_event=on_event)
    framework.driver.start()
    framework.websockets[0].link.connection_made()
    assert [type(event) for event in seen] == [Connected, Closed]
    framework.websockets[0].link.connection_lost()
    assert framework.ends == 1


def test_what_the_application_raises_loses_no_event() -> None:
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        if len(seen) == 1:
            raise KeyError

    framework = Framework(on_event=on_event)
    framework.driver.start()
    with pytest.raises(KeyError):
        framework.websockets[0].link.connection_made()
    framework.websockets[0].link.message_received(ACK)
    assert [type(event) for event in seen] == [Connected, Subscribed]


@pytest.mark.parametrize("fatal", [Disconnected, Closed])
@pytest.mark.parametrize("has_timers", [True, False])
def test_what_the_application_raises_keeps_nothing_from_its_end(
    fatal: type[Event], has_timers: bool
) -> None:
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        if isinstance(event, fatal):
            raise KeyError

    framework = Framework(has_timers=has_timers, on_event=on_event)
    framework.driver.start()
    refusal = Failure(FailureKind.HANDSHAKE, status=401)
    with pytest.raises(KeyError):
        framework.websockets[0].link.connection_failed(refusal)
    # The framework goes on, and nothing else will ever happen.
    assert framework.driver.timeout() == 0
    if has_timers:
        framework.wait(0)
    else:
        framework.driver.deadline_reached()
    assert [type(event) for event in seen] == [Disconnected, Closed]
    assert framework.driver.is_over
    assert framework.ends == 1
    assert framework.driver.timeout() is None


def test_what_sending_raises_keeps_no_event_back() -> None:
    framework = Framework()
    framework.driver.start()
    framework.websockets[0].on_call = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        framework.websockets[0].link.connection_made()
    framework.wait(0)
    assert framework.kinds == [Connected]


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_peer_is_not_silent_while_an_event_is_handed_out(is_closed: bool) -> None:
    """The application may let others run there, timers among them."""
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Subscribed):
            framework.wait(200)
            if is_closed:
                framework.driver.close()
                framework.wait(200)
                # The closing handshake has ended in its time.
                assert websocket.calls[-2:] == [(1000, ""), "abort"]

    framework = Framework(on_event=on_event)
    framework.driver.start()
    websocket = framework.websockets[0]
    websocket.link.connection_made()
    websocket.link.message_received(ACK)
    if is_closed:
        assert [type(event) for event in events] == [Connected, Subscribed, Closed]
        assert framework.ends == 1
        return
    # What came meanwhile is taken first, and the deadline is not forgotten.
    websocket.link.message_received(balance())
    framework.wait(60)
    kinds = [type(event) for event in events]
    assert kinds[:4] == [Connected, Subscribed, BalanceUpdate, Disconnected]


def test_a_step_is_done_before_what_comes_of_it_is_told() -> None:
    """A dial that fails at once, in the middle of a step that stores the token it was made with."""
    told: list[str] = []
    asked: list[Fetch] = []

    def on_action(action: object) -> None:
        told.append(type(action).__name__)
        if isinstance(action, StoreState):
            framework.driver.tell(account.state_stored)
        if isinstance(action, Fetch):
            asked.append(action)

    def on_event(event: Event) -> None:
        told.append(type(event).__name__)
        if isinstance(event, Disconnected):
            framework.driver.close()
            assert framework.ends == 0

    def refuse(_: object) -> None:
        raise ConnectionRefusedError

    account = AccountSession(
        Credentials("a" * 32, "k" * 32),
        [BALANCE],
        config=CONFIG,
        jitter=lambda: 0.5,
        wall=lambda: 1.6e9,
    )
    framework = Framework(session=account, on_action=on_action, on_event=on_event)
    framework.on_dial = refuse
    framework.driver.start()
    body = b'{"code": 0, "data": {"apiToken": "topapi:made-up"}}'
    framework.driver.tell(account.fetched, asked[0].id, HttpResponse(200, body=body))
    assert told == ["StoreState", "Fetch", "StoreState", "Disconnected", "Closed"]
    assert framework.ends == 1


def test_bytes_without_a_frame_are_no_silence() -> None:
    config = SessionConfig(ping_interval=None, silence_timeout=60.0)
    framework = connected(
        session=Session([BALANCE], token=TOKEN, config=config, jitter=lambda: 0.5)
    )
    framework.wait(59)
    framework.websockets[0].link.bytes_received()
    framework.wait(59)
    assert framework.kinds == [Connected, Subscribed]
    framework.wait(2)
    assert framework.kinds[2:] == [Disconnected]


def test_timers_do_not_add_up() -> None:
    """The deadline moves with every frame. A timer is wanted only if it comes closer."""
    framework = connected()
    for _ in range(1000):
        framework.websockets[0].link.message_received(balance())
        framework.wait(1)
    assert len(framework.timers) <= 3


def test_a_timer_that_is_not_the_newest_does_nothing() -> None:
    """Each request brings the deadline closer, and leaves a timer that rings once, for nothing."""
    config = SessionConfig(ping_interval=None, silence_timeout=100.0, ack_timeout=10.0)
    framework = connected(
        session=Session([BALANCE], token=TOKEN, config=config, jitter=lambda: 0.5)
    )
    for number in range(60):
        ask = framework.session.subscribe if number % 2 else framework.session.unsubscribe
        framework.driver.tell(ask, BALANCE)
        request = json.loads(framework.websockets[0].calls[-1])
        framework.websockets[0].link.message_received(frames.ack(request))
        framework.wait(11)
    assert len(framework.timers) < 15


def test_a_loop_that_polls_needs_no_timers() -> None:
    framework = Framework(has_timers=False)
    driver = framework.driver
    assert driver.timeout() is None
    driver.start()
    assert driver.timeout() == CONFIG.open_timeout
    framework.websockets[0].link.connection_made()
    driver.close()
    assert driver.timeout() == driver.deadline - framework.now == 5.0  # type: ignore[operator]
    framework.now += 6
    assert driver.timeout() == 0.0
    driver.deadline_reached()
    assert (driver.timeout(), driver.is_over) == (None, True)
    driver.deadline_reached()


def test_a_token_is_asked_for() -> None:
    actions: list[Any] = []
    session = Session([BALANCE], config=CONFIG, jitter=lambda: 0.5)
    framework = Framework(session, on_action=actions.append)
    framework.driver.start()
    assert actions == [FetchToken()]
    framework.driver.tell(session.token_obtained, TOKEN)
    assert framework.websockets[0].connect.token == TOKEN


def test_a_token_that_nobody_fetches_is_a_mistake() -> None:
    framework = Framework(Session([BALANCE], config=CONFIG, jitter=lambda: 0.5))
    with pytest.raises(ConfigurationError, match="nobody carries out FetchToken"):
        framework.driver.start()


def test_a_pull_has_its_answer() -> None:
    topic = kline("BTC/USDT", "1m")
    session = Session([], endpoint=PUBLIC, config=CONFIG, jitter=lambda: 0.5)
    answers: list[PullEnd] = []
    framework = Framework(session, on_answer=answers.append)
    framework.driver.start()
    framework.websockets[0].link.connection_made()
    framework.driver.tell(session.pull, topic, 1.6e9, 1.6e9 + 60)
    framework.websockets[0].link.bytes_received()
    framework.wait(CONFIG.pull_timeout + 1)
    assert [type(answer.error) for answer in answers] == [PullTimedOut]


def test_a_feed_can_be_recorded() -> None:
    lines: list[str] = []
    session = RecordedSession(
        [BALANCE],
        token=TOKEN,
        config=CONFIG,
        jitter=lambda: 0.5,
        write=lines.append,
        wall=lambda: 1.6e9,
    )
    framework = connected(session=session)
    framework.websockets[0].link.message_received(balance())
    framework.driver.close()
    assert framework.kinds == [Connected, Subscribed, BalanceUpdate, Closed]
    assert [
        event for _, step in replay(Capture(lines)) for event in step.events
    ] == framework.events


def test_an_account_can_be_driven_as_well() -> None:
    fetched: list[Fetch] = []

    def carry_out(action: object) -> None:
        if isinstance(action, StoreState):
            framework.driver.tell(account.state_stored)
        if isinstance(action, Fetch):
            fetched.append(action)

    account = AccountSession(
        TOKEN,
        [BALANCE],
        config=CONFIG,
        jitter=lambda: 0.5,
        wall=lambda: 1.6e9,
    )
    framework = connected(session=account, on_action=carry_out)
    framework.wait(10)
    failure = Failure(FailureKind.TIMEOUT)
    framework.driver.tell(account.fetch_failed, fetched[0].id, failure)
    framework.driver.close()
    assert FetchFailed in framework.kinds
    assert framework.kinds[-1] is Closed


OF_ALL = st.sampled_from(
    [
        lambda link: link.connection_failed(OSError()),
        lambda link: link.connection_lost(1006),
        lambda link: link.bytes_received(),
    ]
)
OF_OPEN = st.sampled_from(
    [
        lambda link: link.message_received(balance()),
        lambda link: link.message_received("x"),
        lambda link: link.pong_received(b""),
    ]
)


@given(st.data())
def test_whatever_is_reported_by_whom_it_comes_to_an_end(data: st.DataObject) -> None:
    framework = Framework()
    framework.driver.start()
    for _ in range(data.draw(st.integers(0, 30))):
        if data.draw(st.booleans()):
            framework.wait(data.draw(st.sampled_from([0.0, 0.5, 1.0, 10.0, 40.0])))
        else:
            link = data.draw(st.sampled_from(framework.websockets)).link
            made = st.just(Link.connection_made)
            data.draw(OF_ALL | (OF_OPEN if link.is_open else made))(link)
    framework.driver.close()
    framework.wait(CONFIG.close_timeout)
    assert framework.kinds.count(Closed) == framework.ends == 1
    assert framework.kinds[-1] is Closed
    assert framework.driver.timeout() is None
    # Released, all of them.
    assert all(websocket.calls[-1] == "abort" for websocket in framework.websockets)
