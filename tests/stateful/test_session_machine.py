"""``Session`` against its model: connection after connection, with every way that one can fail."""

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from frames import balance, order
from stateful.machine import TICK, Machine, counted, exercise, moments, plain, same
from stateful.models import ANSWERS, STRANGE, TOPICS, Expected, Pending, SessionModel
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    Disconnected,
    Endpoint,
    Failure,
    FailureKind,
    Gap,
    LocalProtocolError,
    Malformed,
    Session,
    SessionConfig,
    SessionState,
    Step,
    SubscriptionState,
    Token,
    Topic,
    UnexpectedResponse,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.session.states import INPUTS, TRANSITIONS
from topone_proto.wire.messages import Response

S = SessionState

ENDPOINT = Endpoint("wss://gateway.example/ws/user/")
SECRETS = ["topapi:s3cr3t-one", "topapi:s3cr3t-two"]
quick = partial(
    SessionConfig,
    open_timeout=4,
    token_timeout=8,
    ack_timeout=4,
    silence_timeout=32,
    retry_cap=4,
    stable_after=6,
    rate_limit_wait=16,
    retry_after_cap=64,
)
CONFIGS = [
    SessionConfig(),
    quick(ping_interval=8, pong_timeout=2),
    quick(ping_interval=4, pong_timeout=10, max_pending=1),
    quick(ping_interval=None, max_attempts=1, max_kept=40),
    quick(ping_interval=None, max_attempts=3, max_pending=2),
]
HTTP = FailureKind.HANDSHAKE
FAILURES = [
    Failure(FailureKind.REFUSED),
    Failure(FailureKind.TLS, "certificate has expired"),
    Failure(HTTP, status=401),
    Failure(HTTP, status=403),
    Failure(HTTP, status=403),
    Failure(HTTP, status=429),
    Failure(HTTP, status=429, retry_after=8.0),
    Failure(HTTP, status=429, retry_after=1e6),
    Failure(HTTP, status=503, retry_after=32.0),
    Failure(HTTP, status=503, retry_after=1e6),
]
TIMES = st.none() | st.integers(1000, 1003)
PICKS = st.integers(0, 5)
PADDING = st.integers(0, 40)

# What may be told to a session in each state, written down once more.
FROM_THE_APPLICATION = {"subscribe", "unsubscribe", "reading_paused", "reading_resumed", "close"}
FROM_THE_APPLICATION |= {"bytes_received"}
ENDS = {"connection_failed", "connection_lost"}
TAIL = ENDS | {
    "token_obtained",
    "token_failed",
    "connection_made",
    "message_received",
    "pong_received",
}
# Of market data only: the machine of ``test_pulls`` has them.
PULLS = {"pull", "cancel_pull"}
ALLOWED = {
    S.NEW: FROM_THE_APPLICATION | {"start"},
    S.FETCHING_TOKEN: FROM_THE_APPLICATION | {"token_obtained", "token_failed"},
    S.CONNECTING: FROM_THE_APPLICATION | {"connection_made"} | ENDS,
    S.CONNECTED: FROM_THE_APPLICATION | {"message_received", "pong_received"} | ENDS,
    S.WAITING: FROM_THE_APPLICATION | TAIL,
    S.CLOSED: (FROM_THE_APPLICATION | TAIL) - {"subscribe", "unsubscribe"},
}


def is_in(*states: SessionState) -> Any:
    return lambda machine: machine.model.state in states


def is_open(machine: Any) -> bool:
    return machine.model.state is not S.CLOSED


def is_connected(machine: Any) -> bool:
    return machine.model.connection is not None


class SessionMachine(Machine):
    """A session, its model, and a twin that is spared every wrong input."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = 0.5
        self.ts: int | None = 1000
        self.deadline: float | None = None
        self.open([], CONFIGS[0], None)

    @initialize(
        topics=st.lists(st.sampled_from(TOPICS), max_size=3, unique=True),
        config=st.sampled_from(CONFIGS),
        fixed=st.booleans(),
        ts=st.sampled_from([1000, None]),
        steps=st.sampled_from([0, 0, 0, 1, 2, 4, 8]),
    )
    def begin(
        self, topics: list[Topic], config: SessionConfig, fixed: bool, ts: int | None, steps: int
    ) -> None:
        self.ts = ts
        self.open(topics, config, Token(SECRETS[0]) if fixed else None)
        self.go_on(steps)

    def go_on(self, steps: int) -> None:
        """So many steps on the way to a connection on which every request was answered."""
        for _ in range(steps):
            match self.model.state:
                case S.NEW:
                    self.tell("start", model="dial")
                case S.FETCHING_TOKEN:
                    refused = self.model.refused
                    used = refused is not None and refused[1] == Token(SECRETS[0])
                    self.tell("token_obtained", Token(SECRETS[used]))
                case S.CONNECTING:
                    self.make_connection()
                case S.WAITING if self.model.is_paused:
                    # No time is enough, until the application has caught up.
                    self.resume()
                case S.WAITING:
                    self.come_to_deadline(0.0)
                case _:
                    connection = self.model.connection
                    if connection is None or not connection.pending:
                        return
                    self.answer_first(0)

    def open(self, topics: list[Topic], config: SessionConfig, token: Token | None) -> None:
        self.session, self.twin = (
            Session(
                topics, endpoint=ENDPOINT, token=token, config=config, jitter=lambda: self.spread
            )
            for _ in range(2)
        )
        self.model = SessionModel(
            topics, config=config, endpoint=ENDPOINT, token=token, spread=lambda: self.spread
        )

    def feed(self, by: str, *args: Any) -> Step:
        """Give an input to both sessions."""
        step: Step = getattr(self.session, by)(*args, self.now)
        assert step == getattr(self.twin, by)(*args, self.now)
        return step

    def check(self, step: Step, expected: Expected, by: str, before: SessionState) -> None:
        """Compare a step with what the model expects."""
        model = self.model
        self.count(f"{before.value} {by} {model.state.value}")
        assert same(step.events, expected.events), (step.events, expected.events)
        assert plain(step.actions) == expected.actions
        self.deadline = step.deadline
        if model.connection is not None:
            model.connection.told = step.deadline
        assert (step.deadline is None) is (model.due is None)
        if model.connection is None:
            assert step.deadline == model.due
        else:
            # Early is harmless, late is not.
            assert step.deadline is None or model.due is None or step.deadline <= model.due
        # Not even the beginning of a token, where a text was cut.
        assert "topapi" not in repr(step)
        for event in step.events:
            self.count(type(event).__name__)
            if isinstance(event, Disconnected):
                assert event.retry_in is None or event.retry_in >= 0
            if isinstance(event, Gap):
                self.count(f"gap {event.since_ts is None} {event.until_ts is None}")
        closed = [event for event in step.events if isinstance(event, Closed)]
        assert not closed or closed == [step.events[-1]]
        assert bool(closed) is (before is not S.CLOSED and model.state is S.CLOSED)

    def tell(self, by: str, *args: Any, model: str | None = None) -> None:
        """Give an input to the sessions and to the model, which need not see what came of it."""
        before = self.model.state
        step = self.feed(by, *args)
        self.check(step, getattr(self.model, model or by)(*args, self.now), by, before)

    # The application.

    @counted(
        is_open,
        topic=st.sampled_from(TOPICS),
        wishes=st.lists(st.booleans(), min_size=1, max_size=3),
        codes=st.lists(st.sampled_from([0, 7]), max_size=2),
    )
    def subscribe_or_not(self, topic: Topic, wishes: list[bool], codes: list[int]) -> None:
        """…and what is asked for may be answered at once."""
        for wanted in wishes:
            self.want(topic, wanted=wanted)
        for code in codes:
            if self.model.connection is not None and self.model.connection.pending:
                self.answer_first(code)

    def want(self, topic: Topic, *, wanted: bool) -> Step:
        model, by = self.model, "subscribe" if wanted else "unsubscribe"
        before = model.subscriptions.get(topic, SubscriptionState.IDLE).value
        self.count(f"{by} while {before} on {'a' if model.connection else 'no'} connection")
        step = self.feed(by, topic)
        self.check(step, getattr(model, by)(topic, self.now, step), by, model.state)
        return step

    @counted(is_open, steps=st.integers(1, 9))
    def things_go_well(self, steps: int) -> None:
        self.go_on(steps)

    @counted(really=st.booleans(), steps=st.integers(0, 4))
    def close(self, really: bool, steps: int) -> None:
        if self.model.state is not S.NEW:
            self.go_on(steps)
        if really:
            before = self.model.state
            self.check(self.feed("close"), self.model.close(), "close", before)

    @counted(is_in(S.CLOSED), fixed=st.booleans(), steps=st.sampled_from([0, 0, 0, 1, 2, 4, 8]))
    def open_another(self, fixed: bool, steps: int) -> None:
        token = Token(SECRETS[0]) if fixed else None
        self.open(list(self.model.desired), self.model.config, token)
        self.go_on(steps)

    # The transport.

    @counted(
        spread=st.sampled_from([0.0, 0.25, 0.5, 1 - TICK]), ts=st.sampled_from([None, 1000, 1002])
    )
    def chance_changes(self, spread: float, ts: int | None) -> None:
        """Change how the next wait turns out, and what time the server answers with, if any."""
        self.spread = spread
        self.ts = ts

    @counted(is_in(S.FETCHING_TOKEN), secret=st.sampled_from(SECRETS))
    def token_obtained(self, secret: str) -> None:
        self.tell("token_obtained", Token(secret))

    @counted(is_in(S.FETCHING_TOKEN), times=st.integers(1, 4))
    def tokens_fail(self, times: int) -> None:
        for _ in range(times):
            if self.model.state is S.FETCHING_TOKEN:
                self.tell("token_failed", "OSError")
            self.come_to_deadline(0.0)

    @counted(is_in(S.CONNECTING))
    def connection_made(self) -> None:
        self.make_connection()

    def make_connection(self) -> None:
        before = self.model.state
        step = self.feed("connection_made")
        self.check(step, self.model.connection_made(self.now, step), "connection_made", before)

    @counted(
        lambda self: is_open(self) and not is_connected(self),
        topics=st.lists(st.sampled_from([ORDERS, BALANCE]), max_size=2),
        ts=st.integers(1000, 1003),
    )
    def breaks_off_before_its_acknowledgement(self, topics: list[Topic], ts: int) -> None:
        """…and an update may have been faster than that."""
        self.go_to_connection()
        for topic in topics:
            self.tell_update(topic, ts)
        self.lose(None)

    @counted(
        lambda self: is_open(self) and not is_connected(self),
        failures=st.lists(st.sampled_from(FAILURES), min_size=1, max_size=3)
        | st.sampled_from([401, 403]).map(lambda status: [Failure(HTTP, status=status)] * 2),
    )
    def dials_fail(self, failures: list[Failure]) -> None:
        for failure in failures:
            self.go_to_dial()
            if self.model.state is S.CONNECTING:
                token = "fixed" if self.model.is_fixed else "a callable's"
                again = " again" if self.model.refused else ""
                self.count(f"{failure.status}{again} for {token} token")
                self.tell("connection_failed", failure)

    @counted(lambda self: is_open(self) and not is_connected(self), times=st.integers(1, 4))
    def dials_are_lost(self, times: int) -> None:
        """As a transport tells it that knows no other word."""
        for _ in range(times):
            self.go_to_dial()
            if self.model.state is S.CONNECTING:
                self.lose(None)

    @counted(lambda self: self.model.refused and self.model.state is S.WAITING)
    def the_refused_token_is_supplied_again(self) -> None:
        self.come_to_deadline(0.0)
        assert self.model.refused is not None
        self.tell("token_obtained", self.model.refused[1])

    @counted(
        lambda self: is_open(self) and not is_connected(self),
        times=st.integers(1, 4),
        has_token=st.booleans(),
    )
    def dials_hang(self, times: int, has_token: bool) -> None:
        """Nothing comes of asking for a token, or of dialling with one."""
        for _ in range(times):
            if self.model.state in {S.NEW, S.WAITING}:
                self.go_on(1)
            if self.model.state is S.FETCHING_TOKEN and has_token:
                self.go_on(1)
            self.come_to_deadline(0.0)

    @counted(is_open, times=st.integers(1, 3))
    def connections_die_of_silence(self, times: int) -> None:
        for _ in range(times):
            self.go_to_connection()
            for _ in range(9):
                if is_connected(self):
                    self.come_to_deadline(0.0)

    @counted(is_in(S.CONNECTING, S.CONNECTED), code=st.sampled_from([None, 1000, 1006, 1008, 1015]))
    def connection_lost(self, code: int | None) -> None:
        self.lose(code)

    @counted(is_connected, failure=st.sampled_from(FAILURES))
    def connection_failed(self, failure: Failure) -> None:
        self.tell("connection_failed", failure)

    @counted(lambda machine: machine.model.settled_at is not None, by=moments())
    def connection_lost_after_a_stable_while(self, by: float) -> None:
        """Just long enough, just too short, or much longer. Pings are not looked at meanwhile."""
        settled = self.model.settled_at
        assert settled is not None
        self.now = max(self.now, settled + self.model.config.stable_after + by)
        self.lose(None)

    def lose(self, code: int | None) -> None:
        reason = f"{SECRETS[0]} or {SECRETS[1]} expired" if self.model.token else "bye"
        reason = self.hostile(reason) + "." * 200
        settled = self.model.settled_at
        stable = settled is not None and self.now >= settled + self.model.config.stable_after
        how = "stable" if stable else "unstable" if is_connected(self) else "while dialling"
        self.count(f"lost {how} after {int(self.model.retries > 0)}")
        self.tell("connection_lost", code, reason)

    def go_to_dial(self) -> None:
        for _ in range(3):
            if self.model.state not in {S.CONNECTING, S.CLOSED}:
                self.go_on(1)

    def go_to_connection(self) -> None:
        """A connection, on which nothing was answered yet if it is new."""
        while self.model.state not in {S.CONNECTED, S.CLOSED}:
            self.go_on(1)

    def hostile(self, text: str) -> str:
        """``text`` with only the secret that the session has: of others it knows nothing."""
        secret = self.model.token.reveal() if self.model.token else "nothing"
        for other in SECRETS:
            text = text.replace(other, secret)
        return text

    @counted(is_in(S.WAITING, S.CLOSED))
    def what_was_given_up_still_speaks(self) -> None:
        """…and nothing comes of it."""
        before = self.model.state
        for by in sorted(TAIL):
            expected = Expected()
            if by == "connection_made":
                expected = self.model.connection_made(self.now, Step())
            self.check(self.feed(by, *self.arguments(by)), expected, by, before)
            assert self.model.state is before

    def arguments(self, by: str) -> tuple[Any, ...]:
        return {
            "token_obtained": (Token(SECRETS[1]),),
            "token_failed": ("OSError",),
            "connection_failed": (FAILURES[2],),
            "message_received": (order(),),
            "pong_received": (b"1",),
            "connection_lost": (1000, ""),
            "subscribe": (ORDERS,),
            "unsubscribe": (ORDERS,),
        }.get(by, ())

    @counted()
    def wrong_inputs(self) -> None:
        state, before = self.model.state, self.inside()
        for by in INPUTS:
            if by == "deadline_reached" or by in ALLOWED[state] | PULLS:
                continue
            self.count(f"wrong: {state.value} {by}")
            with pytest.raises(LocalProtocolError) as caught:
                getattr(self.session, by)(*self.arguments(by), self.now)
            assert caught.value.input == by
            assert state.value in caught.value.state
            assert self.inside() == before

    # Frames.

    def receive(self, frame: str | bytes, expected: Expected) -> Step:
        step = self.feed("message_received", frame)
        expected = self.model.received(expected, self.now, step)
        self.check(step, expected, "message_received", self.model.state)
        return step

    def respond(self, request: dict[str, Any], code: int, msg: str, ts: int | None) -> None:
        connection = self.model.connection
        assert connection is not None
        frame = request | {"code": code, "msg": msg} | ({} if ts is None else {"ts": ts})
        response = Response(
            request.get("id"), request.get("method"), code, self.model.clean(msg), ts
        )
        expected = connection.response(response, self.now)
        is_expected = expected.events != [UnexpectedResponse]
        step = self.receive(json.dumps(frame), expected)
        if not is_expected:
            [event] = step.events
            assert isinstance(event, UnexpectedResponse)
            assert event.response.msg == response.msg

    def answer_first(self, code: int) -> None:
        assert self.model.connection is not None
        self.answer_to(self.model.connection.pending[0], code, "", self.ts)

    def answer_to(self, entry: Pending, code: int, msg: str, ts: int | None) -> None:
        assert self.model.connection is not None
        desired = "desired" if entry.topic in self.model.desired else "not desired"
        what = "refused" if code else "accepted"
        self.count(f"{self.model.connection.states[entry.topic].value} {desired} {what}")
        self.respond(entry.wire, code, msg, ts)

    @counted(
        is_connected,
        how=st.sampled_from(["right", "right", "right", "again", "nobody"]),
        pick=PICKS,
        code=st.sampled_from([0, 0, 0, 7]),
        ts=TIMES,
    )
    def answer(self, how: str, pick: int, code: int, ts: int | None) -> None:
        connection = self.model.connection
        assert connection is not None
        msg = self.hostile(SECRETS[0]) if code else ""
        if how == "right" and connection.pending:
            entry = connection.pending[pick % len(connection.pending)]
            self.answer_to(entry, code, msg, ts)
        elif how == "again" and connection.answered:
            entry = connection.answered[pick % len(connection.answered)]
            self.respond(entry.wire, code, msg, ts)
        else:
            self.respond({"id": "0", "method": "sub_orders"}, code, msg, ts)

    @counted(is_connected, topic=st.sampled_from([ORDERS, BALANCE]), ts=st.integers(1000, 1003))
    def update(self, topic: Topic, ts: int) -> None:
        self.tell_update(topic, ts)

    def tell_update(self, topic: Topic, ts: int) -> None:
        connection = self.model.connection
        assert connection is not None
        self.count(f"update while {connection.state_of(topic).value}")
        frame = order(ts) if topic == ORDERS else balance(ts)
        self.receive(frame, connection.update(topic, ts, self.now))

    @counted(is_connected, frame=st.sampled_from([*ANSWERS, *STRANGE]))
    def other_frame(self, frame: str | bytes) -> None:
        connection = self.model.connection
        assert connection is not None
        if isinstance(frame, str) and frame in ANSWERS:
            self.receive(frame, connection.server_ping(ANSWERS[frame], self.now))
        else:
            self.receive(frame, connection.strange(STRANGE[frame], self.now, frame))

    @counted(is_connected, broken=st.booleans(), before=PADDING, times=st.integers(1, 6))
    def the_server_repeats_the_token(self, broken: bool, before: int, times: int) -> None:
        connection = self.model.connection
        assert connection is not None
        frame = json.dumps({"method": "!" * before + self.hostile(SECRETS[0]) * times})
        frame = frame[:-1] if broken else frame
        kind = Malformed if broken else Unrecognised
        expected = connection.strange(kind, self.now, frame)
        step = self.receive(frame, expected)
        if not expected.events:
            return
        [event] = step.events
        assert isinstance(event, Malformed | Unrecognised)
        clean, keep = self.model.clean(frame), self.model.config.max_kept
        assert clean.startswith(event.frame)
        assert len(event.frame) <= keep
        if len(frame) <= keep:
            assert event.frame == clean
        else:
            self.count("cut a frame with a token")

    @counted(is_connected, pick=PICKS)
    def pong(self, pick: int) -> None:
        connection = self.model.connection
        assert connection is not None
        payloads = [b"unasked", *connection.payloads]
        payload = payloads[-1 - pick % len(payloads)]
        expected = connection.pong(payload, self.now)
        self.check(self.feed("pong_received", payload), expected, "pong_received", S.CONNECTED)

    @counted(ago=st.sampled_from([0.0, TICK, 1.0, 8.0]))
    def bytes_come(self, ago: float) -> None:
        self.hear_bytes(self.now - ago)

    def hear_bytes(self, at: float) -> None:
        step, state = self.feed("bytes_received", at), self.model.state
        self.check(step, self.model.bytes_come(at, self.now), "bytes_received", state)

    @counted(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.pause() if paused else self.resume()

    def pause(self) -> None:
        step, state = self.feed("reading_paused"), self.model.state
        self.check(step, self.model.pause(self.now), "reading_paused", state)

    def resume(self) -> None:
        step, state = self.feed("reading_resumed"), self.model.state
        self.check(step, self.model.resume(self.now), "reading_resumed", state)

    @counted(
        is_open,
        topic=st.sampled_from(TOPICS),
        wanted=st.booleans(),
        code=st.sampled_from([0, 7]),
    )
    def step_by_step(self, topic: Topic, wanted: bool, code: int) -> None:
        """On the way to a connection, everything that leaves the state alone."""
        for _ in range(4):
            if not is_open(self):
                return
            self.want(topic, wanted=wanted)
            self.want(topic, wanted=not wanted)
            self.hear_bytes(self.now)
            self.pause()
            self.resume()
            self.come_to_deadline(-TICK)
            if self.model.connection is not None and self.model.connection.pending:
                self.answer_first(code)
            else:
                self.go_on(1)

    # Time.

    @counted(seconds=st.sampled_from([TICK, 1.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        """Also past a deadline: then something else comes first."""
        self.now += seconds

    @counted(by=moments())
    def deadline_comes(self, by: float) -> None:
        self.come_to_deadline(by)

    def come_to_deadline(self, by: float) -> None:
        if self.deadline is not None:
            self.now = max(self.now, self.deadline + by)
        before = self.model.state
        step = self.feed("deadline_reached")
        self.check(step, self.model.deadline_reached(self.now, step), "deadline_reached", before)
        # What was due is done: nobody is called again at once, unless a wait of no time was drawn.
        assert step.deadline is None or step.deadline > self.now or self.model.state is S.WAITING

    # Always.

    def inside(self) -> list[object]:
        session = self.session
        return [
            session.state,
            session.failure,
            session.epoch,
            session.desired,
            dict(session.subscriptions),
        ]

    @invariant()
    def says_what_the_model_says(self) -> None:
        model = self.model
        assert self.inside() == [
            model.state,
            model.failure,
            model.epoch,
            tuple(model.desired),
            model.subscriptions,
        ]


TestSession = SessionMachine.TestCase
TestSession.settings = settings(stateful_step_count=30)


@pytest.mark.thorough
def test_every_rule_is_run_and_every_entry_of_the_table_is_taken() -> None:
    moves = {
        f"{state.value} {by} {after.value}"
        for state in S
        for by, afters in TRANSITIONS[state].items()
        if by not in PULLS
        for after in afters
    }
    wrong = {
        f"wrong: {state.value} {by}"
        for state in S
        for by in INPUTS
        if by not in {*TRANSITIONS[state], *PULLS}
    }
    # What becomes of a request when its topic is, or is not, desired any more.
    answers = {
        f"{state} {desired} {what}"
        for state in ("subscribing", "unsubscribing")
        for desired in ("desired", "not desired")
        for what in ("accepted", "refused")
    }
    lost = {f"lost {how} after {retries}" for how in ("stable", "unstable") for retries in (0, 1)}
    gaps = {f"gap {since} {until}" for since in (True, False) for until in (True, False)}
    refused = {f"{status} for fixed token" for status in (401, 403, 429, 503)} | {
        f"{status}{again} for a callable's token"
        for status in (401, 403, 429, 503)
        for again in ("", " again")
    }
    told = {
        f"{by} while {state.value} on a connection"
        for by in ("subscribe", "unsubscribe")
        for state in SubscriptionState
    }
    rest = {"cut a frame with a token"}
    exercise(SessionMachine, moves | rest | wrong | answers | lost | gaps | refused | told)


# Sequences that were found, so that they are tried every time.


def test_a_topic_that_was_refused_and_waits_to_be_asked_for_again_can_be_given_up() -> None:
    """There was no room to ask again before it was given up: the application is told all the
    same."""
    machine = SessionMachine()
    machine.open([BALANCE], SessionConfig(max_pending=1), Token(SECRETS[0]))
    machine.go_on(2)
    machine.answer_first(7)
    machine.want(ORDERS, wanted=True)
    machine.want(BALANCE, wanted=True)
    assert machine.model.subscriptions[BALANCE] is SubscriptionState.REJECTED
    assert machine.want(BALANCE, wanted=False).events == (Unsubscribed(BALANCE, None, 1),)


def started(*, fixed: bool = True) -> SessionMachine:
    machine = SessionMachine()
    machine.open([ORDERS], SessionConfig(), Token(SECRETS[0]) if fixed else None)
    machine.go_on(1)
    return machine


def test_a_stream_that_begins_with_an_update_and_breaks_off_is_broken() -> None:
    machine = started()
    machine.go_to_connection()
    machine.tell_update(ORDERS, 1001)
    machine.lose(None)
    machine.go_to_connection()
    machine.answer_first(0)
    assert machine.model.broken == {}


def test_a_stream_that_breaks_off_twice_is_broken_from_the_first_time_on() -> None:
    machine = started()
    machine.go_on(2)
    machine.lose(None)
    machine.go_to_connection()
    machine.tell_update(ORDERS, 2001)
    machine.lose(None)
    machine.go_to_connection()
    machine.answer_first(0)
    assert machine.model.broken == {}


def test_a_token_that_was_refused_before_the_last_connection_may_be_tried_again() -> None:
    machine = started(fixed=False)
    machine.go_on(1)
    machine.tell("connection_failed", Failure(HTTP, status=401))
    machine.go_to_connection()
    assert machine.model.token == Token(SECRETS[1])
    machine.lose(None)
    machine.go_on(2)
    assert machine.model.token == Token(SECRETS[0])
    assert machine.model.state is S.CONNECTING
