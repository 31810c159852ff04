"""``Connection`` against its model: every rule that may happen, and the ones that may not."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from frames import balance, order
from stateful.machine import TICK, Machine, counted, exercise, moments, plain, same
from stateful.models import ANSWERS, STRANGE, TOPICS, ConnectionModel, Expected
from topone_proto import (
    BALANCE,
    ORDERS,
    Connection,
    FailureKind,
    LocalProtocolError,
    Malformed,
    SendPing,
    SessionConfig,
    Step,
    SubscriptionState,
    Topic,
    UnexpectedResponse,
)
from topone_proto.session.subscriptions import TRANSITIONS, SubscriptionInput
from topone_proto.wire.messages import Response

S = SubscriptionState
I = SubscriptionInput  # noqa: E741 - beside S, as in the tables

config = partial(SessionConfig, max_frame_size=2000)
CONFIGS = [
    config(),
    config(ack_timeout=4, ping_interval=8, pong_timeout=2, silence_timeout=32),
    # Pings overlap: the next one goes out before the last one must be answered.
    config(ack_timeout=8, ping_interval=4, pong_timeout=10, silence_timeout=None),
    config(ack_timeout=16, ping_interval=None, silence_timeout=8, max_pending=1),
    config(ack_timeout=2, ping_interval=2, pong_timeout=2, silence_timeout=3, lang="en"),
    config(ping_interval=None, silence_timeout=1_000_000, max_pending=2),
]
TIMES = st.integers(1000, 1003)
MAYBE_TIMES = st.none() | TIMES
PICKS = st.integers(0, 5)
ANSWERED = st.dictionaries(st.sampled_from(TOPICS), st.sampled_from([0, 0, 7]))
NONE: Mapping[Topic, int] = {}
FORMS = st.sampled_from(["first", "second", "bare"])
# It would be an update, if it were read.
OVERSIZED = order() + " " * 2000


def is_up(machine: Any) -> bool:
    return machine.model.failure is None


def is_over(machine: Any) -> bool:
    return machine.model.failure is not None


class ConnectionMachine(Machine):
    """A connection, its model, and a twin that is spared every wrong input.

    The twin must always say what the connection says: a wrong input leaves nothing behind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.open(CONFIGS[0], 1)

    @initialize(
        config=st.sampled_from(CONFIGS),
        first_id=st.sampled_from([1, 98]),
        answered=ANSWERED,
    )
    def begin(self, config: SessionConfig, first_id: int, answered: dict[Topic, int]) -> None:
        self.open(config, first_id, answered)

    def open(
        self, config: SessionConfig, first_id: int, answered: Mapping[Topic, int] = NONE
    ) -> None:
        """A new connection. Some topics were answered at once: more can happen to them."""
        self.epoch += 1
        self.connection, self.twin = (
            Connection(config, epoch=self.epoch, first_id=first_id) for _ in range(2)
        )
        self.model = ConnectionModel(config, self.epoch, first_id)
        for topic, code in answered.items():
            self.check(self.feed("subscribe", topic), self.model.subscribe(topic, self.now))
            self.respond(self.model.pending[0].wire, code, 1000)

    def feed(self, by: str, *args: Any) -> Step:
        """Give an input to both connections."""
        step: Step = getattr(self.connection, by)(*args, self.now)
        assert step == getattr(self.twin, by)(*args, self.now)
        return step

    def check(self, step: Step, expected: Expected) -> None:
        """Compare a step with what the model expects."""
        assert same(step.events, expected.events), (step.events, expected.events)
        assert plain(step.actions) == expected.actions
        self.is_on_time(step)

    def is_on_time(self, step: Step) -> None:
        assert step.deadline == (None if is_over(self) else self.connection.deadline)
        self.model.told = step.deadline
        due = self.model.due
        assert (step.deadline is None) is (due is None)
        # Early is harmless, late is not.
        assert due is None or step.deadline is None or step.deadline <= due

    def refuse(self, by: str, topic: Topic, state: str) -> None:
        """Give a wrong input, to one of them only."""
        before = self.inside()
        with pytest.raises(LocalProtocolError) as caught:
            getattr(self.connection, by)(topic, self.now)
        assert state in caught.value.state
        assert caught.value.input == f"{by.removesuffix('scribe')}_{topic.name}"
        assert self.inside() == before

    def inside(self) -> list[object]:
        connection = self.connection
        return [
            connection.subscriptions,
            connection.pending,
            connection.next_id,
            connection.deadline,
            connection.failure,
            [connection.last_ts_of(topic) for topic in TOPICS],
        ]

    # Requests.

    @counted(is_up, pick=PICKS)
    def request(self, pick: int) -> None:
        """Return what may be asked of a topic, if anything may."""
        model = self.model
        quiet = [
            topic for topic in TOPICS if model.may_subscribe(topic) or model.may_unsubscribe(topic)
        ]
        if not quiet:
            return
        topic = quiet[pick % len(quiet)]
        by = "subscribe" if model.may_subscribe(topic) else "unsubscribe"
        if model.has_room:
            self.count(f"{model.state_of(topic).value} {by}")
            self.check(self.feed(by, topic), getattr(model, by)(topic, self.now))
        else:
            self.count(f"no room: {by}")
            self.refuse(by, topic, f"{model.config.max_pending} requests")

    @counted(is_up, topic=st.sampled_from(TOPICS), by=st.sampled_from(["subscribe", "unsubscribe"]))
    def wrong_request(self, topic: Topic, by: str) -> None:
        state = self.model.state_of(topic)
        if not getattr(self.model, f"may_{by}")(topic):
            self.count(f"wrong: {state.value} {by}")
            self.refuse(by, topic, state.value)

    # Responses.

    def respond(self, request: dict[str, Any], code: int, ts: int | None, **more: Any) -> None:
        frame: dict[str, Any] = {"msg": "", **request, "code": code, **more} | (
            {} if ts is None else {"ts": ts}
        )
        response = Response(frame.get("id"), frame.get("method"), code, frame["msg"], ts)
        expected = self.model.response(response, self.now)
        step = self.feed("message_received", json.dumps(frame))
        self.check(step, expected)
        if expected.events == [UnexpectedResponse]:
            [event] = step.events
            assert isinstance(event, UnexpectedResponse)
            assert event.response == response

    @counted(
        is_up,
        how=st.sampled_from(["right", "right", "right", "again", "another", "nobody"]),
        pick=PICKS,
        code=st.sampled_from([0, 0, 1, -7]),
        ts=MAYBE_TIMES,
        form=FORMS,
    )
    def answer(self, how: str, pick: int, code: int, ts: int | None, form: str) -> None:
        """An answer to a request, or one that fits none."""
        pending, answered = self.model.pending, self.model.answered
        more: dict[str, Any] = {}
        if how == "right" and pending:
            entry = pending[pick % len(pending)]
            request = {"id": entry.id} if form == "bare" else entry.wire
            more = {"msg": "OK", "data": {}} if form == "second" else {}
            how = self.model.states[entry.topic].value
        elif how == "another" and pending:
            entry = pending[pick % len(pending)]
            methods = {entry.topic.subscribe_method, entry.topic.unsubscribe_method}
            request = {"id": entry.id, "method": (methods - {entry.method}).pop()}
        elif how in {"again", "right"} and answered:
            request = answered[pick % len(answered)].wire
        else:
            how, request = "nobody", {"id": "nobody's"} if pick else {"method": "sub_orders"}
        self.count(f"{how} {'refused' if code else 'accepted'}")
        self.respond(request, code, ts, **more)

    # Other frames.

    @counted(is_up, topic=st.sampled_from([ORDERS, BALANCE]), ts=TIMES, as_bytes=st.booleans())
    def update(self, topic: Topic, ts: int, as_bytes: bool) -> None:
        self.count(f"update while {self.model.state_of(topic).value}")
        text = order(ts) if topic == ORDERS else balance(ts)
        frame = text.encode() if as_bytes else text
        self.check(self.feed("message_received", frame), self.model.update(topic, ts, self.now))

    @counted(is_up, frame=st.sampled_from([*ANSWERS, *STRANGE, OVERSIZED]))
    def other_frame(self, frame: str | bytes) -> None:
        if isinstance(frame, str) and frame in ANSWERS:
            expected = self.model.server_ping(ANSWERS[frame], self.now)
        else:
            expected = self.model.strange(STRANGE.get(frame, Malformed), self.now, frame)
        self.check(self.feed("message_received", frame), expected)

    @counted(is_up, pick=PICKS)
    def pong(self, pick: int) -> None:
        payloads = [b"unasked", *self.model.payloads]
        payload = payloads[-1 - pick % len(payloads)]
        self.check(self.feed("pong_received", payload), self.model.pong(payload, self.now))

    @counted(is_up, ago=st.sampled_from([0.0, TICK, 1.0, 4.0]))
    def bytes_come(self, ago: float) -> None:
        """A part of a frame, or a control frame."""
        at = self.now - ago
        self.check(self.feed("bytes_received", at), self.model.bytes_come(at, self.now))

    @counted(is_up, again=st.booleans())
    def pause_or_resume(self, again: bool) -> None:
        """The other of both; or once more what holds already, which changes nothing."""
        if self.model.is_paused is again:
            self.check(self.feed("reading_paused"), self.model.pause(self.now))
        else:
            self.check(self.feed("reading_resumed"), self.model.resume(self.now))

    # Time.

    @counted(is_up, seconds=st.sampled_from([TICK, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        """Also past a deadline: then something else comes first."""
        self.now += seconds

    @counted(is_up, by=moments())
    def deadline_comes(self, by: float) -> None:
        if self.connection.deadline is not None:
            self.now = max(self.now, self.connection.deadline + by)
        step = self.feed("deadline_reached")
        expected = self.model.deadline_reached(self.now, step)
        self.check(step, expected)
        # What was due is done: nobody is called again at once.
        assert step.deadline is None or step.deadline > self.now
        if any(isinstance(action, SendPing) for action in step.actions):
            self.count("ping while paused" if self.model.is_paused else "ping")

    # The end.

    @counted(is_over, answered=ANSWERED)
    def open_another_when_nothing_came_after_the_end(self, answered: dict[Topic, int]) -> None:
        for by, *args in (
            ("message_received", order()),
            ("message_received", "ping"),
            ("message_received", '{"id":"1","method":"sub_orders","code":0,"msg":"","ts":1}'),
            ("pong_received", b"1"),
            ("bytes_received", self.now),
            ("reading_paused",),
            ("reading_resumed",),
            ("deadline_reached",),
        ):
            self.now += 10
            assert self.feed(by, *args) == Step()
        for topic in TOPICS:
            self.refuse("subscribe", topic, "given up")
            self.refuse("unsubscribe", topic, "given up")
        assert self.model.failure is not None
        self.count(f"given up: {self.model.failure.value}")
        self.open(self.model.config, self.connection.next_id, answered)

    # Always.

    @invariant()
    def says_what_the_model_says(self) -> None:
        connection, model = self.connection, self.model
        assert connection.subscriptions == model.states
        assert list(connection.pending) == [entry.id for entry in model.pending]
        assert connection.next_id == model.next_id
        assert (connection.failure and connection.failure.kind) == model.failure
        for topic in TOPICS:
            assert connection.state_of(topic) is model.state_of(topic)
            assert connection.last_ts_of(topic) == model.last_ts.get(topic)
        assert len(model.pending) <= model.config.max_pending
        assert connection.deadline is None or is_up(self)


TestConnection = ConnectionMachine.TestCase
TestConnection.settings = settings(stateful_step_count=30)


@pytest.mark.thorough
def test_every_rule_is_run_and_every_entry_of_the_table_is_taken() -> None:
    inputs = {I.ACCEPTED: "accepted", I.REFUSED: "refused"}
    moves = {
        f"{state.value} {inputs.get(by, by.value)}" for state in S for by in TRANSITIONS[state]
    }
    wrong = {
        f"wrong: {state.value} {by.value}"
        for state in S
        for by in (I.SUBSCRIBE, I.UNSUBSCRIBE)
        if by not in TRANSITIONS[state]
    }
    updates = {f"update while {state.value}" for state in S}
    ends = {
        f"given up: {kind.value}"
        for kind in (FailureKind.ACK_TIMEOUT, FailureKind.PONG_TIMEOUT, FailureKind.SILENCE)
    }
    rest = {"again accepted", "another accepted", "nobody accepted"}
    rest |= {"ping", "ping while paused", "no room: subscribe", "no room: unsubscribe"}
    exercise(ConnectionMachine, moves | wrong | updates | ends | rest)
