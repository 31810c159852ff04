"""Recording and replay: a recorded life lives again, damage is survived, the token stays out."""

import errno
import gzip
import json
import os
import signal
import string
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frames import TOKEN, ack, balance, order, requests
from topone_proto import (
    BALANCE,
    ORDERS,
    Connect,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    Malformed,
    SendPing,
    SendText,
    Session,
    SessionConfig,
    SessionState,
    Step,
    Token,
    Topic,
)
from topone_proto.capture import (
    CAPTURE_VERSION,
    Capture,
    CaptureError,
    RecordedSession,
    open_capture,
    replay,
)
from topone_proto.session.endpoint import PUBLIC_URL
from topone_proto.session.states import INPUTS, TRANSITIONS
from topone_proto.testing.strategies import failures
from topone_proto.wire.deals import deals
from topone_proto.wire.kline import kline

WALL = 1561948335.075


def told(step: Step) -> tuple[Any, ...]:
    """Return what a step says, but for the token, which no capture has."""
    actions = [
        (action.endpoint, action.timeout, action.max_frame_size)
        if isinstance(action, Connect)
        else action
        for action in step.actions
    ]
    answers = [(end.number, end.values, repr(end.error)) for end in step.answers]
    return step.events, actions, step.deadline, answers


def recorded(
    topics: tuple[Topic, ...] = (ORDERS,),
    *,
    token: str | None = TOKEN,
    config: SessionConfig | None = None,
    jitter: Callable[[], float] = lambda: 0.5,
    endpoint: Endpoint | None = None,
) -> tuple[RecordedSession, list[str]]:
    lines: list[str] = []
    session = RecordedSession(
        topics,
        endpoint=endpoint,
        token=None if token is None else Token(token),
        config=config,
        jitter=jitter,
        write=lines.append,
        wall=lambda: WALL,
    )
    return session, lines


def replayed(lines: list[str]) -> list[tuple[Any, ...]]:
    return [told(step) for _, step in replay(Capture(lines))]


def short_life() -> tuple[list[str], list[tuple[Any, ...]]]:
    """A connection with one update, and its loss."""
    session, lines = recorded()
    steps = [session.start(1.0), session.connection_made(2.0)]
    steps.append(session.message_received(ack(requests(steps[-1])[0]), 3.0))
    steps.append(session.message_received(order(), 4.0))
    steps.append(session.connection_lost(1001, "bye", 5.0))
    return lines, [told(step) for step in steps]


# --- the same life again -------------------------------------------------------------------------

# A beginning that nothing else has: what is found in a capture is not there by chance.
TOKENS = st.text(
    string.ascii_letters + string.digits + '-._~:/+=%"\\', min_size=1, max_size=30
).map("Qz7~".__add__)
CONFIGS = st.builds(
    SessionConfig,
    ping_interval=st.floats(0.5, 5),
    pong_timeout=st.floats(0.5, 5),
    silence_timeout=st.none() | st.floats(5.5, 20),
    retry_first=st.floats(0.01, 5),
    stable_after=st.floats(0.1, 10),
    max_attempts=st.none() | st.integers(1, 4),
    max_pending=st.integers(1, 3),
    lang=st.sampled_from(["zh-CN", "en-US"]),
)
TOPICS = st.sampled_from([ORDERS, BALANCE, Topic("news")])
MARKET_TOPICS = st.sampled_from([kline("BTC/USDT", "1m"), deals("BTC/USDT"), Topic("news")])
PUBLIC = Endpoint(PUBLIC_URL, socket="public")


class Life:
    """Drives a recorded session through inputs that its state allows, drawn one by one."""

    def __init__(self, data: st.DataObject, *, is_rude: bool = False) -> None:
        self._draw = data.draw
        # True: the caller puts the token into details, which no adapter does.
        self.is_rude = is_rude
        self.is_public = not is_rude and self._draw(st.booleans())
        self.topics = MARKET_TOPICS if self.is_public else TOPICS
        self.is_fixed = not self.is_public and self._draw(st.booleans())
        # What the server knows of it: nothing before it is dialled with.
        self.token = self._draw(TOKENS) if self.is_fixed else "none"
        self.session, self.lines = recorded(
            tuple(self._draw(st.lists(self.topics, max_size=3))),
            endpoint=PUBLIC if self.is_public else None,
            token=self.token if self.is_fixed else None,
            config=self._draw(CONFIGS),
            jitter=lambda: self._draw(st.floats(0, 1, exclude_max=True)),
        )
        self.now = self._draw(st.floats(0, 1e6))
        self.secrets = [self.token] if self.is_fixed else list[str]()
        self.unanswered: list[dict[str, Any]] = []
        self.step = Step()
        self.steps: list[tuple[Any, ...]] = []

    def live(self) -> None:
        self.take(self.session.start(self.now))
        for _ in range(self._draw(st.integers(0, 20))):
            self.now += self._draw(st.sampled_from([0.0, 0.1, 7.3]) | st.floats(0, 30))
            allowed = [by for by in TRANSITIONS[self.session.state] if by != "start"]
            if not self.is_public:
                allowed.remove("pull") if "pull" in allowed else None
            if self._draw(st.integers(0, 9)):
                allowed = [by for by in allowed if by != "close"] or allowed
            by = self._draw(st.sampled_from(allowed))
            if by == "deadline_reached" and self.step.deadline is not None:
                self.now = max(self.now, self.step.deadline)
            arguments = self.arguments(by)
            self.take(getattr(self.session, by)(*arguments, self.now))

    def take(self, step: Step) -> None:
        self.step = step
        self.unanswered += requests(step)
        self.steps.append(told(step))

    def arguments(self, by: str) -> tuple[Any, ...]:
        match by:
            case "subscribe" | "unsubscribe":
                return (self._draw(self.topics),)
            case "pull":
                start = self._draw(st.floats(0, 1e9))
                moment = datetime.fromtimestamp(start, UTC)
                return (kline("BTC/USDT", "1m"), self._draw(st.sampled_from([start, moment])), 1e9)
            case "cancel_pull":
                return (self._draw(st.integers(0, 3)),)
            case "token_obtained":
                if not self.secrets or self._draw(st.booleans()):
                    self.token = self._draw(TOKENS)
                    self.secrets.append(self.token)
                return (Token(self.token),)
            case "token_failed":
                return (f"no {self.token}" if self.is_rude else "OSError",)
            case "connection_failed":
                statuses = st.builds(
                    Failure, st.just(FailureKind.HANDSHAKE), status=st.sampled_from([401, 429])
                )
                failure = self._draw(failures() | statuses)
                detail = f"at {self.token}" if self.is_rude else failure.detail
                return (attrs.evolve(failure, detail=detail),)
            case "message_received":
                text = self._draw(self.frames())
                return (self._draw(st.sampled_from([text, text.encode(errors="replace")])),)
            case "pong_received":
                return (self._draw(st.sampled_from([b"1", b"\xff\x00"])),)
            case "bytes_received":
                return (self.now - self._draw(st.sampled_from([0.0, 0.1])),)
            case "connection_lost":
                reason = self._draw(st.sampled_from(["", "bye", f"bad token {self.token}"]))
                return self._draw(st.sampled_from([None, 1001])), reason
            case _:
                return ()

    def frames(self) -> st.SearchStrategy[str]:
        known = [order(), balance(), "ping", '{"ping":1}', self.echo(), self.echo()]
        if self.unanswered:
            request = self.unanswered.pop(0)
            known += [json.dumps({**json.loads(ack(request)), "data": {"list": []}})]
            known += [ack(request), ack(request, code=3, msg=f"no {self.token}"), ack(request)]
        return st.sampled_from(known) | st.text(max_size=20)

    def echo(self) -> str:
        """A frame in which the server repeats the token."""
        token = self.token
        spelled = self._draw(
            st.sampled_from(
                [
                    token,
                    token[: len(token) // 2],
                    token[len(token) // 2 :],
                    quote(token, safe=""),
                    quote(token, safe=":"),
                    "".join(f"%{ord(character):02x}" for character in token),
                    "".join(f"&#{ord(character)};" for character in token),
                    json.dumps(token)[1:-1].replace("/", "\\/"),
                ]
            )
        )
        escaped = "".join(f"\\u{ord(character):04X}" for character in spelled)
        return self._draw(
            st.sampled_from(
                [
                    f"what is {spelled}?",
                    json.dumps({"method": "notice", "text": spelled}),
                    f'{{"method":"notice","text":"{escaped}"}}',
                    json.dumps({"id": "?", "method": "odd", "code": 1, "msg": f"no {spelled}"}),
                ]
            )
        )


@given(data=st.data())
def test_a_recorded_life_lives_again(data: st.DataObject) -> None:
    life = Life(data, is_rude=data.draw(st.booleans()))
    life.live()
    assert replayed(life.lines) == life.steps


@given(data=st.data())
def test_no_token_is_in_a_capture(data: st.DataObject) -> None:
    life = Life(data, is_rude=True)
    life.live()
    text = "".join(life.lines)
    decoded = [
        piece for line in life.lines for piece in texts(json.loads(line)) if isinstance(piece, str)
    ]
    for secret in life.secrets:
        for spelling in (secret, quote(secret, safe=":"), quote(secret, safe="")):
            assert spelling not in text
            assert not any(spelling in piece for piece in decoded)


def texts(plain: Any) -> Iterator[Any]:
    if isinstance(plain, dict):
        for inner in plain.values():
            yield from texts(inner)
    else:
        yield plain


@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN,
        quote(TOKEN, safe=""),
        "".join(f"\\u{ord(character):04x}" for character in TOKEN),
        "".join(f"\\u{ord(character):04X}" for character in TOKEN),
        "".join(f"%{ord(character):02x}" for character in TOKEN),
        "".join(f"\\\\u{ord(character):04x}" for character in TOKEN),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_token_in_a_frame_has_a_stand_in_of_its_size(spelled: str, *, as_bytes: bool) -> None:
    session, lines = recorded()
    session.start(1.0)
    session.connection_made(2.0)
    frame = f'{{"text":"{spelled} or so"'
    session.message_received(frame.encode() + b"\xff" if as_bytes else frame, 3.0)
    [line] = [line for line in Capture(lines) if line.kind == "message_received"]
    kept = line.payload
    assert isinstance(kept, bytes) is as_bytes
    text = kept[:-1].decode() if isinstance(kept, bytes) else kept
    assert len(text) == len(frame)
    assert text.endswith(' or so"')
    pieces = ("s3cr3t", "0074006f", "73%33%63", "u0073")
    assert not any(piece in text.lower() for piece in pieces)


def test_a_token_in_a_compressed_frame_is_found() -> None:
    session, lines = recorded()
    session.start(1.0)
    session.connection_made(2.0)
    frames = [f'{{"text":"{TOKEN} or so"}}', order(), "x" * 2**25]
    for frame in frames:
        session.message_received(gzip.compress(frame.encode(), mtime=0), 3.0)
    session.message_received(b"\x1f\x8b damaged", 3.0)
    found = [line.payload for line in Capture(lines) if line.kind == "message_received"]
    assert isinstance(found[0], bytes)
    assert found[0].endswith(b' or so"}')
    assert found[1:] == [gzip.compress(frame.encode(), mtime=0) for frame in frames[1:]] + [
        b"\x1f\x8b damaged"
    ]
    assert TOKEN not in "".join(lines)
    replayed(lines)


def test_two_tokens_have_two_stand_ins_and_one_has_one() -> None:
    session, lines = recorded(token=None)
    session.start(1.0)
    # Refused, asked for again, and a fresh one at the second time: each is told from the others.
    now = 2.0
    for secret in ("topapi:aaaa", "topapi:bbbb"):
        session.token_obtained(Token(secret), now)
        session.connection_failed(Failure(FailureKind.NETWORK), now)
        session.deadline_reached(now := now + 60.0)
        session.token_obtained(Token(secret), now)
        session.connection_failed(Failure(FailureKind.NETWORK), now)
        session.deadline_reached(now := now + 60.0)
    stand_ins = [line.data["token"] for line in Capture(lines) if line.kind == "token_obtained"]
    assert stand_ins[0] == stand_ins[1] != stand_ins[2] == stand_ins[3]
    assert {len(stand_in) for stand_in in stand_ins} == {len("topapi:aaaa")}


def test_of_ever_new_tokens_the_latest_are_remembered() -> None:
    session, lines = recorded(token=None)
    session.start(0.0)
    now = 1.0
    for number in (*range(40), 39, 0):
        session.token_obtained(Token(f"topapi:{number:04}"), now)
        session.connection_failed(Failure(FailureKind.NETWORK), now)
        session.deadline_reached(now := now + 60.0)
    stand_ins = [line.data["token"] for line in Capture(lines) if line.kind == "token_obtained"]
    *first, latest_again, oldest_again = stand_ins
    assert latest_again == first[39]
    assert oldest_again not in first


@pytest.mark.parametrize("secret", ["1", "HIDEHP", "P", "hide:HIDP", "h", "H", "topapi:0", ""])
def test_a_stand_in_is_never_the_token(secret: str) -> None:
    _, lines = recorded(token=secret)
    assert json.loads(lines[0])["token"] != secret


def test_the_header_has_everything_that_a_session_needs() -> None:
    endpoint = Endpoint("ws://example.org:8000/ws/", origin="", insecure=True)
    config = SessionConfig(retry_cap=7.5, delivery="conflate", max_attempts=3)
    _, lines = recorded((BALANCE, ORDERS), config=config, endpoint=endpoint, token=None)
    capture = Capture(lines)
    assert capture.topics == (BALANCE, ORDERS)
    assert capture.endpoint == endpoint
    assert capture.config == config
    assert capture.token is None


def test_what_is_sent_is_in_it_too() -> None:
    session, lines = recorded()
    steps = [session.start(1.0), session.connection_made(2.0)]
    steps.append(session.message_received(ack(requests(steps[-1])[0]), 3.0))
    steps.append(session.message_received("ping", 4.0))
    steps.append(session.deadline_reached(23.0))
    sent = [
        (line.kind.removesuffix("_sent"), line.now, line.payload)
        for line in Capture(lines)
        if line.kind.endswith("_sent")
    ]
    expected: list[tuple[str, float, str | bytes]] = []
    for now, step in zip((1.0, 2.0, 3.0, 4.0, 23.0), steps, strict=True):
        for action in step.actions:
            if isinstance(action, SendText):
                expected.append(("text", now, action.text))
            elif isinstance(action, SendPing):
                expected.append(("ping", now, action.payload))
    assert {kind for kind, _, _ in expected} == {"text", "ping"}
    assert sent == expected


def test_a_recorded_session_is_told_apart_by_nothing() -> None:
    session, _ = recorded()
    plain = Session((ORDERS,), token=Token(TOKEN), jitter=lambda: 0.5)
    for each in (session, plain):
        each.start(1.0)
        each.connection_made(2.0)
    assert session.message_received(order(), 3.0) == plain.message_received(order(), 3.0)
    assert session.state is plain.state is SessionState.CONNECTED


def test_a_misuse_is_raised_and_not_recorded() -> None:
    session, lines = recorded()
    session.start(1.0)
    before = list(lines)
    with pytest.raises(Exception, match="start is not possible"):
        session.start(2.0)
    assert lines == before


# --- a recorder that fails -----------------------------------------------------------------------

ANYTHING = [OSError(28, "No space left on device"), ValueError("closed"), KeyboardInterrupt()]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "subscribe": (BALANCE,),
    "unsubscribe": (ORDERS,),
    "token_obtained": (Token(TOKEN),),
    "token_failed": ("OSError",),
    "connection_failed": (Failure(FailureKind.NETWORK),),
    "pull": (kline("BTC/USDT", "1m"), 0, 60),
    "cancel_pull": (1,),
    "message_received": (order(),),
    "pong_received": (b"1",),
    "bytes_received": (3.0,),
    "connection_lost": (None, ""),
}


def reach(session: Session, state: SessionState) -> None:
    if state is not SessionState.NEW:
        session.start(1.0)
    if state is SessionState.CONNECTED:
        session.connection_made(2.0)
    if state is SessionState.WAITING:
        session.connection_failed(Failure(FailureKind.NETWORK), 2.0)
    if state is SessionState.CLOSED:
        session.close(2.0)


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
@pytest.mark.parametrize(
    ("state", "by"),
    [
        pytest.param(state, by, id=f"{state.value}-{by}")
        for state, inputs in TRANSITIONS.items()
        for by in inputs
        if (state, by) != (SessionState.FETCHING_TOKEN, "pull")
    ],
)
def test_an_error_of_the_recorder_never_costs_a_step(
    state: SessionState, by: str, error: BaseException
) -> None:
    written: list[str] = []
    is_broken = False

    def write(line: str) -> None:
        if is_broken:
            raise error
        written.append(line)

    is_public = by == "pull"
    token = None if is_public or state is SessionState.FETCHING_TOKEN else Token(TOKEN)
    given: dict[str, Any] = {"token": token, "jitter": lambda: 0.5}
    topics: list[Topic[Any]] = [ORDERS]
    if is_public:
        topics, given["endpoint"] = [deals("BTC/USDT")], PUBLIC
    session = RecordedSession(topics, **given, write=write, wall=lambda: WALL)
    plain = Session(topics, **given)
    for each in (session, plain):
        reach(each, state)
        assert each.recording_error is None
    is_broken = True
    before = len(written)
    arguments = ARGUMENTS.get(by, ())
    step = getattr(session, by)(*arguments, 60.0)
    assert step == getattr(plain, by)(*arguments, 60.0)
    assert session.state is plain.state
    assert session.recording_error is error
    # Nothing more is written, though it would be possible again.
    is_broken = False
    session.close(70.0)
    assert len(written) == before
    assert session.recording_error is error


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
@pytest.mark.parametrize("culprit", ["write", "wall"])
def test_an_error_in_the_header_does_not_cost_the_session(
    error: BaseException, culprit: str
) -> None:
    calls: list[str] = []

    def fail(*_: object) -> Any:
        calls.append("")
        raise error

    session = RecordedSession(
        token=Token(TOKEN),
        jitter=lambda: 0.5,
        write=fail if culprit == "write" else calls.append,
        wall=fail if culprit == "wall" else lambda: WALL,
    )
    assert session.recording_error is error
    assert [type(action) for action in session.start(1.0).actions] == [Connect]
    for number in range(10):
        session.connection_failed(Failure(FailureKind.NETWORK), 100.0 * number + 1)
        session.deadline_reached(100.0 * number + 99)
    assert len(calls) == 1
    # Nor are the random numbers kept that nobody will write.
    assert session._recorder._draws == []


def test_a_clock_that_fails_later_is_an_error_of_the_recorder() -> None:
    times = iter([WALL])
    session = RecordedSession(
        token=Token(TOKEN), jitter=lambda: 0.5, write=len, wall=lambda: next(times)
    )
    assert session.recording_error is None
    assert [type(action) for action in session.start(1.0).actions] == [Connect]
    assert isinstance(session.recording_error, StopIteration)


def test_the_first_error_counts_and_shows_no_token() -> None:
    lines: list[str] = []

    def write(line: str) -> None:
        if lines:
            raise OSError(28, "No space left on device")
        lines.append(line)

    session = RecordedSession(
        token=Token(TOKEN), jitter=lambda: 0.5, write=write, wall=lambda: WALL
    )
    session.start(1.0)
    error = session.recording_error
    assert isinstance(error, OSError)
    session.connection_made(2.0)
    session.message_received(f"what is {TOKEN}?", 3.0)
    assert session.recording_error is error
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert TOKEN not in "".join(shown.format())


def test_a_frame_that_could_not_be_written_is_not_in_the_traceback_with_its_token() -> None:
    def write(line: str) -> None:
        if "message_received" in line:
            raise OSError(28, "No space left on device")

    session = RecordedSession(
        token=Token(TOKEN), jitter=lambda: 0.5, write=write, wall=lambda: WALL
    )
    session.start(1.0)
    session.connection_made(2.0)
    session.message_received(f"what is {TOKEN}?", 3.0)
    error = session.recording_error
    assert error is not None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(shown.format())
    assert "message_received" in text
    assert TOKEN not in text


def test_a_recorder_may_call_the_session() -> None:
    """An input while a line is written gets its line behind it."""
    lines: list[str] = []
    is_writing = False

    def write(line: str) -> None:
        nonlocal is_writing
        assert not is_writing
        is_writing = True
        lines.append(line)
        if "connection_made" in line:
            session.close(3.0)
        is_writing = False

    session = RecordedSession(
        [ORDERS], token=Token(TOKEN), jitter=lambda: 0.5, write=write, wall=lambda: WALL
    )
    session.start(1.0)
    session.connection_made(2.0)
    kinds = [line.kind for line in Capture(lines)]
    assert kinds == ["start", "connection_made", "text_sent", "close"]
    assert [line.kind for line, _ in replay(Capture(lines))] == [
        "start",
        "connection_made",
        "close",
    ]


def test_inputs_are_taken_by_name_as_well() -> None:
    session, lines = recorded()
    session.start(now=1.0)
    session.connection_made(now=2.0)
    session.message_received(frame=order(), now=3.0)
    session.connection_lost(1001, now=4.0, reason="bye")
    assert [(line.kind, line.now) for line, _ in replay(Capture(lines))] == [
        ("start", 1.0),
        ("connection_made", 2.0),
        ("message_received", 3.0),
        ("connection_lost", 4.0),
    ]


def test_every_input_is_recorded() -> None:
    for by in INPUTS:
        method = getattr(RecordedSession, by)
        assert method is not getattr(Session, by)
        assert method.__doc__ == getattr(Session, by).__doc__


def test_a_token_that_came_too_late_is_known_to_both() -> None:
    session, lines = recorded(token=None)
    life = [session.start(1.0), session.token_failed("OSError", 2.0)]
    late = "topapi:t00-l4te-0ne-5ecret"
    life.append(session.token_obtained(Token(late), 3.0))
    life.append(session.deadline_reached(60.0))
    life.append(session.token_obtained(Token(TOKEN), 61.0))
    life.append(session.connection_made(62.0))
    life.append(session.message_received(f"{late}?", 63.0))
    life.append(session.connection_lost(1008, f"bad token {quote(late)}", 64.0))
    assert late[-8:] not in repr(life)
    assert late[-8:] not in "".join(lines)
    assert "***" in repr(life[-2])
    assert "***" in repr(life[-1])
    assert replayed(lines) == [told(step) for step in life]


# --- damage --------------------------------------------------------------------------------------


@given(cut=st.integers(1, 200))
def test_a_last_line_that_breaks_off_is_left_out(cut: int) -> None:
    lines, steps = short_life()
    last = lines[-1]
    lines[-1] = last[: min(cut, len(last) - 2)]
    capture = Capture(lines)
    assert [told(step) for _, step in replay(capture)] == steps[:-1]
    assert capture.is_truncated


def test_a_whole_capture_is_not_truncated() -> None:
    lines, steps = short_life()
    capture = Capture([line.rstrip("\n").encode() for line in lines])
    assert [told(step) for _, step in replay(capture)] == steps
    assert not capture.is_truncated


@pytest.mark.parametrize("junk", ["{", "", "[]", "nonsense", b"\xff\xff", "[" * 100_000])
def test_a_line_in_the_middle_that_breaks_off_is_an_error(junk: str | bytes) -> None:
    lines, steps = short_life()
    told_steps: list[Any] = []
    with pytest.raises(CaptureError) as caught:
        for _, step in replay(Capture([*lines[:3], junk, *lines[3:]])):
            told_steps.append(told(step))
    assert caught.value.number == 4
    assert told_steps == steps[: len(told_steps)]


@pytest.mark.parametrize("version", [0, CAPTURE_VERSION + 1, "1", None])
def test_a_foreign_version_is_refused_by_name(version: object) -> None:
    lines, _ = short_life()
    lines[0] = json.dumps(json.loads(lines[0]) | {"version": version})
    with pytest.raises(CaptureError, match="version") as caught:
        Capture(lines)
    assert caught.value.number == 1


@pytest.mark.parametrize("lines", [["{}"], ['{"format":"har"}'], ["junk"], [order()]])
def test_what_is_no_capture_is_refused(lines: list[str]) -> None:
    with pytest.raises(CaptureError, match=r"line 1 .*no header"):
        Capture(lines)


@pytest.mark.parametrize("cut", [None, 0, 1, 10, 26, 40, 100])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_recording_that_ends_in_its_header_says_so(cut: int | None, *, as_bytes: bool) -> None:
    lines, _ = short_life()
    kept = [] if cut is None else [lines[0][:cut]]
    with pytest.raises(CaptureError, match="line 1 ") as caught:
        Capture([line.encode() for line in kept if line] if as_bytes else [*filter(None, kept)])
    assert ("it is empty" if not cut else "breaks off") in caught.value.problem


@pytest.mark.parametrize("name", ["topics", "url", "config", "token"])
@pytest.mark.parametrize("junk", [7, ["", 1], {"retry_cap": -1}, "http://example.org/"])
def test_a_header_that_cannot_be_used_is_refused(name: str, junk: object) -> None:
    lines, _ = short_life()
    if name == "token" and isinstance(junk, str):
        junk = 7.5
    lines[0] = json.dumps(json.loads(lines[0]) | {name: junk})
    with pytest.raises(CaptureError, match="line 1 "):
        Capture(lines)


def test_settings_and_kinds_of_tomorrow_are_passed_over() -> None:
    lines, steps = short_life()
    header = json.loads(lines[0])
    header["config"]["of_tomorrow"] = 1
    header["more"] = {}
    note = json.dumps({"kind": "of_tomorrow", "now": 3.5, "wall": 1.0, "text": "?"})
    lines = [json.dumps(header), *lines[1:3], note, *lines[3:]]
    assert replayed(lines) == steps
    assert "of_tomorrow" in [line.kind for line in Capture(lines)]


@pytest.mark.parametrize(
    "junk",
    [
        {"now": 3.0, "wall": 1.0},
        {"kind": "start", "now": "3", "wall": 1.0},
        {"kind": "start", "now": True, "wall": 1.0},
        {"kind": "deadline_reached", "now": float("nan"), "wall": 1.0},
        {"kind": "deadline_reached", "now": 3.0},
        {"kind": "start", "now": 3.0, "wall": 1.0},
        {"kind": "message_received", "now": 3.0, "wall": 1.0},
        {"kind": "message_received", "now": 3.0, "wall": 1.0, "text": 7},
        {"kind": "message_received", "now": 3.0, "wall": 1.0, "base64": "?"},
        {"kind": "subscribe", "now": 3.0, "wall": 1.0, "topic": ""},
        {"kind": "subscribe", "now": 3.0, "wall": 1.0, "topic": None},
        {"kind": "connection_failed", "now": 3.0, "wall": 1.0, "failure": {"kind": "moon"}},
        {"kind": "connection_failed", "now": 3.0, "wall": 1.0, "failure": {}},
        {"kind": "connection_failed", "now": 3.0, "wall": 1.0, "failure": {"kind": "dns", "a": 1}},
        {"kind": "connection_lost", "now": 3.0, "wall": 1.0, "code": "x", "reason": ""},
        {"kind": "deadline_reached", "now": 3.0, "wall": 1.0, "jitter": 0.5},
        {"kind": "deadline_reached", "now": 3.0, "wall": 1.0, "jitter": [0.5]},
        {"kind": "connection_lost", "now": 3.0, "wall": 1.0, "code": None, "reason": ""},
        {
            "kind": "connection_lost",
            "now": 3.0,
            "wall": 1.0,
            "code": None,
            "reason": "",
            "jitter": ["x"],
        },
        {"kind": "close", "now": 10**400, "wall": 1.0},
        {"kind": "bytes_received", "now": 3.0, "wall": 1.0, "at": 10**400},
        {"kind": "bytes_received", "now": 3.0, "wall": 1.0, "at": "3"},
    ],
)
def test_a_line_that_cannot_be_lived_is_an_error_with_its_number(junk: dict[str, Any]) -> None:
    session, lines = recorded()
    session.start(1.0)
    session.connection_made(2.0)
    lines.append(json.dumps(junk))
    with pytest.raises(CaptureError) as caught:
        list(replay(Capture(lines)))
    assert caught.value.number == len(lines)


def test_a_capture_is_read_line_by_line() -> None:
    lines, steps = short_life()
    read: list[str] = []

    def reading() -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line

    lives = replay(Capture(reading()))
    assert told(next(lives)[1]) == steps[0]
    assert len(read) == 2  # the header and the start


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["life.jsonl", "life.jsonl.gz"])
def test_a_file_by_its_name(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    lines, steps = short_life()
    with open_capture(path, "w") as file:
        for line in lines:
            file.write(line)
    raw = Path(path).read_bytes()
    assert raw.startswith(b"\x1f\x8b") is name.endswith(".gz")
    with open_capture(path) as file:
        assert [told(step) for _, step in replay(Capture(file))] == steps


def test_a_plain_file_has_every_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "life.jsonl"
    lines, _ = short_life()
    with open_capture(str(path), "w") as file:
        for number, line in enumerate(lines, 1):
            file.write(line)
            assert len(path.read_text(encoding="utf-8").splitlines()) == number


def test_a_compressed_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "life.jsonl.gz"
    session, lines = recorded()
    session.start(1.0)
    session.connection_made(2.0)
    for number in range(500):
        session.message_received(f"{number * 7919 % 104729}", 3.0)
    whole = gzip.compress("".join(lines).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with open_capture(str(path)) as file:
        capture = Capture(file)
        lives = [step for _, step in replay(capture)]
    assert capture.is_truncated
    events: list[Event] = [event for step in lives for event in step.events]
    assert 0 < sum(isinstance(event, Malformed) for event in events) < 500


def test_a_compressed_file_that_breaks_off_anywhere_says_so(tmp_path: Path) -> None:
    path = tmp_path / "life.jsonl.gz"
    lines, _ = short_life()
    whole = gzip.compress("".join(lines).encode())
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with open_capture(str(path)) as file:
            try:
                capture = Capture(file)
            except CaptureError as error:
                assert "the recorder was ended" in error.problem
            else:
                list(capture)
                assert capture.is_truncated, cut


def test_a_damaged_file_is_an_error_of_the_capture(tmp_path: Path) -> None:
    path = tmp_path / "life.jsonl.gz"
    lines, _ = short_life()
    whole = gzip.compress("".join(lines).encode())
    problems: set[str] = set()
    for place in range(10, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with open_capture(str(path)) as file:
            try:
                list(Capture(file))
            except CaptureError as error:
                problems.add(error.problem)
    assert "the file is damaged here" in problems


def test_a_disk_that_cannot_be_read_is_no_fault_of_the_capture() -> None:
    def lines() -> Iterator[str]:
        yield short_life()[0][0]
        raise OSError(errno.EIO, "a made-up failure")

    with pytest.raises(OSError, match="a made-up failure"):
        list(Capture(lines()))


def test_the_values_of_headers_are_not_recorded() -> None:
    lines: list[str] = []
    endpoint = Endpoint(extra_headers={"Authorization": "Bearer s3cret"})
    session = RecordedSession(
        (), endpoint=endpoint, token=Token("demo"), jitter=lambda: 0.5, write=lines.append,
        wall=lambda: 0.0,
    )  # fmt: skip
    [connect] = session.start(0.0).actions
    assert isinstance(connect, Connect)
    assert connect.endpoint.headers[-1] == ("Authorization", "Bearer s3cret")
    assert "s3cret" not in "".join(lines)


LIVES = """
import sys
from topone_proto import ORDERS, Token
from topone_proto.capture import RecordedSession, open_capture

file = open_capture(sys.argv[1], "w")
session = RecordedSession(
    [ORDERS], token=Token("topapi:0"), jitter=lambda: 0.5, write=file.write, wall=lambda: 1.5e9
)
say = lambda word: print(word, flush=True)
if sys.argv[2] == "header":
    say("ready")
    sys.stdin.read()
session.start(0.0)
session.connection_made(0.0)
for number in range(1000):
    session.message_received(f"frame {number}", number / 100)
say("ready")
sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["life.jsonl", "life.jsonl.gz"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("until", ["header", "frames"])
def test_a_recorder_that_is_killed_loses_the_last_second_at_most(
    tmp_path: Path, name: str, ending: signal.Signals, until: str
) -> None:
    path = str(tmp_path / name)
    with subprocess.Popen(
        [sys.executable, "-c", LIVES, path, until],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(ending)
        process.wait()
    with open_capture(path) as file:
        capture = Capture(file)
        lines = list(capture)
    assert capture.is_truncated is name.endswith(".gz")
    if until == "header":
        assert lines == []
        return
    times = [line.now for line in lines]
    assert times[-1] >= 9.99 - 1.0
    assert times == sorted(times)
    assert len(times) >= 902


def test_lines_of_connections_are_out_of_the_process_at_once(tmp_path: Path) -> None:
    path = tmp_path / "life.jsonl.gz"
    file = open_capture(str(path), "w")
    for line in (
        '{"format":"topone-capture","version":1}\n',
        '{"kind":"start","now":1.0,"wall":0}\n',
        '{"kind":"connection_made","now":1.1,"wall":0}\n',
        "any other text\n",
    ):
        file.write(line)
        assert in_there(path).endswith(line)
    file.write('{"kind":"message_received","now":1.2,"wall":0}\n')
    file.write('{"kind":"message_received","now":1.3,"wall":0}\n')
    assert in_there(path).endswith('"now":1.2,"wall":0}\n')
    # A clock that goes back is another recording: nothing waits for it.
    file.write('{"kind":"message_received","now":0.5,"wall":0}\n')
    assert in_there(path).endswith('"now":0.5,"wall":0}\n')
    file.write('{"kind":"message_received","now":1e-e,"wall":0}\n')
    assert in_there(path).endswith('1e-e,"wall":0}\n')
    file.close()


def in_there(path: Path) -> str:
    """All that a compressed file has, whether it is whole or not."""
    import zlib  # noqa: PLC0415 - here only

    return zlib.decompressobj(31).decompress(path.read_bytes()).decode()


def test_a_busy_feed_is_on_the_disk_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[float] = []
    now = 0.0
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(now))
    with open_capture(str(tmp_path / "life.jsonl.gz"), "w") as file:
        file.write("{}\n")
        for number in range(1000):
            now = number / 100
            file.write(f'{{"kind":"message_received","now":{now},"wall":0}}\n')
    assert len(synced) == 11
    assert max(later - earlier for earlier, later in pairwise(synced)) < 1.02


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no such device here")  # noqa: PTH110
def test_a_full_disk_is_an_error_of_the_line_that_finds_it() -> None:
    file = open_capture("/dev/full", "w")
    with pytest.raises(OSError, match="space"):
        file.write("{}\n")
    with pytest.raises(OSError, match="space"):
        file.close()


def test_a_disk_that_fails_is_an_error_of_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with (
        open_capture(str(tmp_path / "life.jsonl"), "w") as file,
        pytest.raises(OSError, match="Input/output"),
    ):
        file.write("{}\n")


@pytest.mark.skipif(os.name != "posix", reason="no such devices here")
def test_what_cannot_be_synced_is_written_all_the_same() -> None:
    with open_capture("/dev/null", "w") as file:
        file.write("{}\n")
