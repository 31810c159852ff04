"""The duties of a connection and a session, written down a second time: from the exchange's page
and from the promises of the documentation, in lists and plain words, without a thought for speed.

A model is told what happened and answers with what must come of it. Where the promises leave a
choice, it looks at what was chosen (``seen``) and checks that it was allowed.
"""

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from attrs import Factory, define, evolve

from stateful.machine import plain
from topone_proto import (
    BALANCE,
    ORDERS,
    Action,
    Balance,
    BalanceUpdate,
    Close,
    Closed,
    Connect,
    Connected,
    Disconnected,
    Endpoint,
    Failure,
    FailureKind,
    FetchToken,
    Gap,
    Malformed,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    RequestTimedOut,
    SendPing,
    SessionConfig,
    SessionState,
    Side,
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
from topone_proto.wire.messages import Response
from topone_proto.wire.topic import Update

__all__ = [
    "ANSWERS",
    "STRANGE",
    "TOPICS",
    "ConnectionModel",
    "Expected",
    "Pending",
    "SessionModel",
    "update_of",
]

S = SubscriptionState
Life = SessionState

TOPICS = [ORDERS, BALANCE, Topic("news_ETH/BTC")]

ANSWERS = {
    "ping": "pong",
    '{"method":"ping"}': {"method": "pong"},
    '{"ping":1561948335075}': {"pong": 1561948335075},
}
"""The application pings that are thought possible, and the answer in kind to each."""

STRANGE: dict[str | bytes, type] = {
    "": Malformed,
    "{": Malformed,
    "[1]": Malformed,
    b"\xff": Malformed,
    '{"method":"sub_orders","ts":1,"data":{}}': Malformed,
    '{"method":"notice","ts":1,"data":{}}': Unrecognised,
    '{"method":"sub_news_ETH/BTC","ts":1,"data":{"list":[]}}': Unrecognised,
    "{}": Unrecognised,
}
NOISE: list[str | bytes] = ["", "[1]", b"\xff", '{"method":"notice","ts":1,"data":{}}', "{}"]
"""Those of them that cannot have been an update."""


def update_of(topic: Topic, ts: int) -> Update:
    """Return what ``frames.order(ts)`` and ``frames.balance(ts)`` mean."""
    if topic == BALANCE:
        return BalanceUpdate(Balance("ETH", Decimal("1.5"), Decimal(0)), ts)
    return OrderUpdate(
        Order(
            id=132991,
            market="ETH/BTC",
            type=OrderType.LIMIT,
            side=Side.BUY,
            status=OrderStatus.PENDING,
            price=Decimal("0.08132"),
            amount=Decimal("1.389"),
            left=Decimal("1.389"),
            deal_stock=Decimal(0),
            deal_money=Decimal(0),
            create_time=1522235513.740678,
            update_time=1522235513.740684,
        ),
        ts,
    )


LATE = 0.001
"""Later than this nobody comes to a deadline who was not held up."""
GRACE = 2.0
"""By so much at most is put off what ran out then."""


@define(eq=False)
class AnyGap:
    """A gap that contains what it must: whatever is missing, by the clocks of both sides."""

    topic: Topic
    since: int | None
    until: int | None
    epoch: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Gap) or (other.topic, other.epoch) != (self.topic, self.epoch):
            return False
        since, until = other.since_ts, other.until_ts
        if since is not None and (self.since is None or since > self.since):
            return False
        if (until is None) is not (self.until is None):
            return False
        return until is None or self.until is None or until >= max(self.until, since or 0)

    __hash__ = None  # type: ignore[assignment]  # it equals many


@define
class Expected:
    """The result that one input must have."""

    events: list[object] = Factory(list[object])
    """Events, or the class of one whose content does not matter."""
    actions: list[object] = Factory(list[object])
    """Actions, or what the text of one to send must say."""


@define
class Pending:
    """A request that has no answer yet."""

    id: str
    topic: Topic
    method: str
    asked_at: float
    due: float

    @property
    def wire(self) -> dict[str, Any]:
        """The requests that the server answers."""
        return {"id": self.id, "method": self.method}


class ConnectionModel:
    """One connection, as the exchange's page and the promises 1, 2 and 5 have it."""

    def __init__(self, config: SessionConfig, epoch: int, first_id: int) -> None:
        self.config = config
        self.epoch = epoch
        self.next_id = first_id
        self.states: dict[Topic, S] = {}
        self.last_ts: dict[Topic, int | None] = {}
        self.pending: list[Pending] = []
        self.answered: list[Pending] = []
        self.failure: FailureKind | None = None
        self.has_begun = False
        self.paused_at: float | None = None
        self.heard_at = 0.0
        # When bytes came last that were newer than all that was whole.
        self.part_at = -math.inf
        self.next_ping: float | None = None
        # The times of the pings that nothing was heard after, and of those that something was heard
        # at the very moment of: whether that counts as an answer is left open.
        self.unanswered: list[float] = []
        self.doubtful: list[float] = []
        self.payloads: list[bytes] = []
        self.answer: object = None
        self.noise: list[str | bytes] = []
        # The deadline that was last told, and until when nothing runs out at the latest.
        self.told: float | None = None
        self.excused_until = 0.0

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    def state_of(self, topic: Topic) -> S:
        return self.states.get(topic, S.IDLE)

    def begin(self, now: float) -> None:
        """Liveness is watched from the first input on."""
        if not self.has_begun:
            self.has_begun = True
            self.heard_at = now
            if self.config.ping_interval is not None:
                self.next_ping = now + self.config.ping_interval

    # Requests.

    def may_subscribe(self, topic: Topic) -> bool:
        return self.state_of(topic) in {S.IDLE, S.REJECTED}

    def may_unsubscribe(self, topic: Topic) -> bool:
        return self.state_of(topic) is S.ACTIVE

    @property
    def has_room(self) -> bool:
        return len(self.pending) < self.config.max_pending

    def subscribe(self, topic: Topic, now: float) -> Expected:
        assert self.may_subscribe(topic)
        self.states[topic] = S.SUBSCRIBING
        self.last_ts[topic] = None
        return self._request(topic, f"sub_{topic.name}", now)

    def unsubscribe(self, topic: Topic, now: float) -> Expected:
        assert self.may_unsubscribe(topic)
        self.states[topic] = S.UNSUBSCRIBING
        return self._request(topic, f"unsub_{topic.name}", now)

    def _request(self, topic: Topic, method: str, now: float) -> Expected:
        assert self.has_room
        assert self.failure is None
        self.begin(now)
        identity = str(self.next_id)
        self.next_id += 1
        due = now + self.config.ack_timeout
        self.pending.append(Pending(identity, topic, method, now, due))
        lang = self.config.lang
        return Expected([], [{"id": identity, "method": method, "params": {}, "lang": lang}])

    # What comes in.

    def hear(self, now: float) -> bool:
        """Something was received; False if nobody listens any more."""
        self.begin(now)
        if self.failure is not None:
            return False
        self.heard_at = now
        self.doubtful = [sent for sent in self.doubtful + self.unanswered if sent == now]
        self.unanswered = []
        return True

    def update(self, topic: Topic, ts: int, now: float) -> Expected:
        if not self.hear(now):
            return Expected()
        update = update_of(topic, ts)
        if self.state_of(topic) in {S.SUBSCRIBING, S.ACTIVE, S.UNSUBSCRIBING}:
            self.last_ts[topic] = ts
            return Expected([update])
        return Expected([UnexpectedUpdate(update)])

    def response(self, response: Response, now: float) -> Expected:
        if not self.hear(now):
            return Expected()
        waiting = [entry for entry in self.pending if entry.id == response.id]
        if not waiting or response.method not in {None, waiting[0].method}:
            return Expected([UnexpectedResponse])
        [entry] = waiting
        self.pending.remove(entry)
        self.answered.append(entry)
        topic, ts = entry.topic, response.ts
        was_subscribing = self.states[topic] is S.SUBSCRIBING
        if ts is not None:
            self.last_ts[topic] = ts
        if response.code != 0:
            self.states[topic] = S.REJECTED if was_subscribing else S.ACTIVE
            rejected = SubscriptionRejected(
                topic, entry.method, response.code, response.msg, ts, self.epoch
            )
            return Expected([rejected])
        self.states[topic] = S.ACTIVE if was_subscribing else S.IDLE
        kind = Subscribed if was_subscribing else Unsubscribed
        return Expected([kind(topic, ts, self.epoch)])

    def server_ping(self, answer: object, now: float) -> Expected:
        if not self.hear(now):
            return Expected()
        self.answer = answer
        return Expected([], [answer])

    def strange(self, kind: type, now: float, frame: str | bytes = "long") -> Expected:
        if not self.hear(now) or frame in self.noise:
            return Expected()
        is_echo = len(frame) <= 64 and "topapi" in str(frame)
        if frame in NOISE or is_echo:
            # What was no update is reported once.
            self.noise.append(frame)
        return Expected([kind])

    def pong(self, payload: bytes, now: float) -> Expected:
        if self.hear(now) and self.payloads and payload == self.payloads[-1]:
            self.doubtful = []
        return Expected()

    def bytes_come(self, at: float, now: float) -> Expected:
        self.begin(now)
        if self.failure is None and not self.is_paused:
            if at > self.heard_at:
                self.part_at = at
            self.heard_at = max(self.heard_at, at)
            self.doubtful = [sent for sent in self.doubtful if sent >= at]
            self.doubtful += [sent for sent in self.unanswered if sent == at]
            self.unanswered = [sent for sent in self.unanswered if sent > at]
        return Expected()

    def pause(self, now: float) -> Expected:
        self.begin(now)
        if self.failure is None and self.paused_at is None:
            self.paused_at = now
        return Expected()

    def resume(self, now: float) -> Expected:
        if self.paused_at is not None and self.failure is None:
            # Time in which nothing could be heard does not count for anything that waits.
            paused_at, self.paused_at = self.paused_at, None
            self.heard_at += now - max(paused_at, self.heard_at)
            self.unanswered = [sent + now - paused_at for sent in self.unanswered]
            self.doubtful = [sent + now - paused_at for sent in self.doubtful]
            for entry in self.pending:
                entry.due += now - max(paused_at, entry.asked_at)
        return Expected()

    # Time.

    def _patience(self, due: float) -> float:
        """Return the time at which a request has waited too long, whatever is still arriving."""
        timeout = self.config.ack_timeout
        return max(due, min(self.part_at + min(1.0, timeout), due + 9 * timeout))

    def _watched(self, *, surely: bool) -> dict[FailureKind, float]:
        """Return when the connection is to be given up, and for what: at the earliest, or
        surely."""
        if self.is_paused:
            return {}
        times: dict[FailureKind, float] = {}
        if self.pending:
            times[FailureKind.ACK_TIMEOUT] = self._patience(min(e.due for e in self.pending))
        pings = self.unanswered if surely else self.unanswered + self.doubtful
        if pings:
            times[FailureKind.PONG_TIMEOUT] = min(pings) + self.config.pong_timeout
        if self.config.silence_timeout is not None:
            times[FailureKind.SILENCE] = self.heard_at + self.config.silence_timeout
        return times

    @property
    def due(self) -> float | None:
        """The latest time at which there is something to do."""
        if not self.has_begun or self.failure is not None:
            return None
        times = [max(time, self.excused_until) for time in self._watched(surely=True).values()]
        if self.next_ping is not None:
            times.append(self.next_ping)
        return min(times, default=None)

    def deadline_reached(self, now: float, seen: Step) -> Expected:
        self.begin(now)
        if self.failure is not None:
            return Expected()
        overdue = [entry for entry in self.pending if entry.due <= now and not self.is_paused]
        if overdue and self._patience(overdue[0].due) > now:
            overdue = []
        closes = [action for action in seen.actions if isinstance(action, Close)]
        late = 0.0 if self.told is None else now - self.told
        if closes:
            assert late < 1, "whoever comes so late has not read what is unread"
            kind = FailureKind(closes[0].reason)
            assert self._watched(surely=False)[kind] <= now
            # Whoever waits for an answer is told.
            assert (kind is FailureKind.ACK_TIMEOUT) is bool(overdue)
            self.failure = kind
            self.pending = []
            timeout = self.config.ack_timeout
            return Expected(
                [
                    RequestTimedOut(entry.topic, entry.method, timeout, self.epoch)
                    for entry in overdue
                ],
                [Close(1001, kind.value, 0.0)],
            )
        if late > LATE:
            self.excused_until = now + GRACE
        assert all(
            max(time, self.excused_until) > now for time in self._watched(surely=True).values()
        )
        if self.next_ping is None or now < self.next_ping:
            return Expected()
        assert self.config.ping_interval is not None
        self.next_ping = now + self.config.ping_interval
        [payload] = [action.payload for action in seen.actions if isinstance(action, SendPing)]
        assert payload not in self.payloads
        self.payloads.append(payload)
        ping = SendPing(payload)
        if self.is_paused:
            return Expected([], [ping] if self.answer is None else [self.answer, ping])
        self.unanswered = [*self.unanswered, now]
        return Expected([], [ping])


class SessionModel:
    """A feed over many connections, as the promises 1, 3, 4 and 8 have it."""

    def __init__(
        self,
        topics: Iterable[Topic],
        *,
        config: SessionConfig,
        endpoint: Endpoint,
        token: Token | None,
        spread: Callable[[], float],
    ) -> None:
        self.config = config
        self.endpoint = endpoint
        self.is_fixed = token is not None
        self.token = token
        self.spread = spread
        self.state = Life.NEW
        self.failure: Failure | None = None
        self.desired = list(topics)
        self.connection: ConnectionModel | None = None
        self.epoch = 0
        self.next_id = 1
        self.retries = 0
        self.is_paused = False
        self.deadline: float | None = None
        # The topics whose stream has broken off, with the server time until which it was whole.
        self.broken: dict[Topic, int | None] = {}
        self.settled_at: float | None = None
        self.refused: tuple[Failure, Token] | None = None
        # What was acknowledged since it was asked for; how often it was refused since, and when it
        # may be asked for again, None for now.
        self.acknowledged: set[Topic] = set()
        self.refusals: dict[Topic, tuple[int, float | None]] = {}

    @property
    def subscriptions(self) -> dict[Topic, S]:
        states = dict.fromkeys(self.desired, S.IDLE)
        return states if self.connection is None else states | self.connection.states

    def clean(self, text: str) -> str:
        # Tokens in a row become one mark.
        secret = "" if self.token is None else re.escape(self.token.reveal())
        return re.sub(f"(?:{secret})+", "***", text) if secret else text

    # Dialling.

    def dial(self, now: float) -> Expected:
        if self.is_fixed:
            return self._connect(now)
        self.state = Life.FETCHING_TOKEN
        self.deadline = now + self.config.token_timeout
        return Expected([], [FetchToken()])

    def _connect(self, now: float) -> Expected:
        assert self.token is not None
        self.state = Life.CONNECTING
        self.deadline = now + self.config.open_timeout
        timeout, size = self.config.open_timeout, self.config.max_frame_size
        return Expected([], [Connect(self.endpoint, self.token, timeout, size)])

    def token_obtained(self, token: Token, now: float) -> Expected:
        if self.state is not Life.FETCHING_TOKEN:
            return Expected()
        if self.refused is not None and self.refused[1] == token:
            return self._end(self.refused[0])
        self.token = token
        return self._connect(now)

    def token_failed(self, detail: str, now: float) -> Expected:
        if self.state is not Life.FETCHING_TOKEN:
            return Expected()
        return self._retry(Failure(FailureKind.TOKEN, detail), now)

    def connection_made(self, now: float, seen: Step) -> Expected:
        if self.state is not Life.CONNECTING:
            return Expected([], [Close(1001, "too late", 0.0)])
        self.state = Life.CONNECTED
        self.epoch += 1
        self.refused = None
        self.connection = ConnectionModel(self.config, self.epoch, self.next_id)
        self.connection.begin(now)
        if self.is_paused:
            self.connection.pause(now)
        self.settled_at = None if self.desired else now
        self._release(now)
        return Expected([Connected(self.epoch)], self._ask(now, seen.actions))

    def _release(self, now: float) -> None:
        for topic, (count, due) in self.refusals.items():
            if due is not None and due <= now:
                self.refusals[topic] = count, None

    def connection_failed(self, failure: Failure, now: float) -> Expected:
        if self.connection is not None:
            return self._lose(failure, now)
        if self.state is not Life.CONNECTING:
            return Expected()
        if failure.status in {401, 403}:
            if self.is_fixed or self.refused is not None:
                return self._end(failure)
            assert self.token is not None
            self.refused = (failure, self.token)
        return self._retry(failure, now)

    def connection_lost(self, code: int | None, reason: str, now: float) -> Expected:
        if code in {1006, 1015}:  # says that there was none
            code = None
        kind = FailureKind.LOST if code is None else FailureKind.CLOSED
        return self.connection_failed(Failure(kind, self.clean(reason)[:128], code=code), now)

    # What is desired.

    def subscribe(self, topic: Topic, now: float, seen: Step) -> Expected:
        if topic not in self.desired:
            self.desired.append(topic)
        if topic in self.refusals:
            self.refusals[topic] = self.refusals[topic][0], None
        return Expected([], self._ask(now, seen.actions))

    def unsubscribe(self, topic: Topic, now: float, seen: Step) -> Expected:
        if topic not in self.desired:
            return Expected()
        self.desired.remove(topic)
        self.acknowledged.discard(topic)
        self.refusals.pop(topic, None)
        state = S.IDLE if self.connection is None else self.connection.state_of(topic)
        if state in {S.IDLE, S.REJECTED}:
            return Expected(self._forsake(topic))
        return Expected([], self._ask(now, seen.actions))

    def _ask(self, now: float, actions: tuple[Action, ...]) -> list[object]:
        """Ask for whatever differs from what is desired, as far as there is room."""
        connection = self.connection
        if connection is None:
            return []
        wanted = [
            (f"sub_{topic.name}", connection.subscribe, topic)
            for topic in self.desired
            if connection.may_subscribe(topic) and self.refusals.get(topic, (0, None))[1] is None
        ] + [
            (f"unsub_{topic.name}", connection.unsubscribe, topic)
            for topic in connection.states
            if connection.may_unsubscribe(topic) and topic not in self.desired
        ]
        room = self.config.max_pending - len(connection.pending)
        # Which of them come first when there is not room for all is left open.
        methods = [text["method"] for text in plain(actions) if isinstance(text, dict)]
        requests = [entry for method in methods for entry in wanted if entry[0] == method]
        assert len(requests) == min(room, len(wanted))
        expected: list[object] = []
        for _, request, topic in requests:
            expected += request(topic, now).actions
        self.next_id = connection.next_id
        return expected

    # On a connection.

    def received(self, expected: Expected, now: float, seen: Step) -> Expected:
        """Take a frame, as the connection reads it, with what the session adds."""
        connection = self.connection
        assert connection is not None
        answers = (Subscribed, Unsubscribed, SubscriptionRejected)
        for event in list(expected.events):
            match event:
                case Subscribed(topic=topic, ts=ts):
                    expected.events += self._mend(topic, ts)
                    if topic in self.desired:
                        self.acknowledged.add(topic)
                    self.refusals.pop(topic, None)
                case SubscriptionRejected(topic=topic, method=method):
                    count = self.refusals.get(topic, (0, None))[0] + 1
                    is_known = topic in self.acknowledged and topic in self.desired
                    if method.startswith("sub_") and is_known and count < self.config.max_refusals:
                        wait = self._span(count) * self.spread()
                        self.refusals[topic] = count, now + wait
                        expected.events = [evolve(event, retry_in=wait)]
                    elif method.startswith("sub_"):
                        self.acknowledged.discard(topic)
                        self.refusals.pop(topic, None)
                        # It is not followed any more, which the gap comes before.
                        self.desired = [entry for entry in self.desired if entry != topic]
                        expected.events = self._mend(topic, None) + expected.events
                    elif topic not in self.desired:
                        # The exchange goes on publishing, and the application was told.
                        self.desired.append(topic)
                case _:
                    pass
        if any(isinstance(event, answers) for event in expected.events):
            expected.actions += self._ask(now, seen.actions)
            active = all(connection.state_of(topic) is S.ACTIVE for topic in self.desired)
            if active and self.settled_at is None:
                self.settled_at = now
        return expected

    def bytes_come(self, at: float, now: float) -> Expected:
        return Expected() if self.connection is None else self.connection.bytes_come(at, now)

    def pause(self, now: float) -> Expected:
        self.is_paused = True
        return Expected() if self.connection is None else self.connection.pause(now)

    def resume(self, now: float) -> Expected:
        self.is_paused = False
        if self.connection is not None:
            return self.connection.resume(now)
        if self.state is Life.WAITING and self.deadline is not None and now >= self.deadline:
            return self.dial(now)
        return Expected()

    # Time, and the end.

    @property
    def due(self) -> float | None:
        if self.connection is not None:
            waiting = [due for _, due in self.refusals.values() if due is not None]
            return min(
                (at for at in (*waiting, self.connection.due) if at is not None), default=None
            )
        # A dial waits until the application has caught up.
        return None if self.is_paused and self.state is Life.WAITING else self.deadline

    def deadline_reached(self, now: float, seen: Step) -> Expected:
        connection = self.connection
        if connection is not None:
            expected = connection.deadline_reached(now, seen)
            if connection.failure is None:
                self._release(now)
                if self.refusals:
                    expected.actions += self._ask(now, seen.actions)
                return expected
            detail = ""
            if connection.failure is FailureKind.ACK_TIMEOUT:
                # The request that waited longest.
                [timed_out, *_] = expected.events
                assert isinstance(timed_out, RequestTimedOut)
                detail = timed_out.method
            lost = self._lose(Failure(connection.failure, detail), now)
            return Expected(expected.events + lost.events, expected.actions)
        if self.due is None or now < self.due:
            return Expected()
        if self.state is Life.WAITING:
            return self.dial(now)
        assert self.deadline is not None
        if not seen.actions:
            assert now - self.deadline > LATE
            assert seen.deadline is not None
            assert now < seen.deadline <= now + GRACE
            self.deadline = seen.deadline
            return Expected()
        assert now - self.deadline < 1, "whoever comes so late has not read what is unread"
        failure = Failure(FailureKind.TIMEOUT)
        if self.state is Life.FETCHING_TOKEN:
            failure = Failure(FailureKind.TOKEN, "it took too long")
        expected = self._retry(failure, now)
        expected.actions.append(Close(1001, failure.kind.value, 0.0))
        return expected

    def close(self) -> Expected:
        if self.state is Life.CLOSED:
            return Expected()
        is_open = self.state in {Life.FETCHING_TOKEN, Life.CONNECTING, Life.CONNECTED}
        self._finish()
        closes: list[object] = [Close(1000, "", self.config.close_timeout)] if is_open else []
        return Expected([Closed(None)], closes)

    def _mend(self, topic: Topic, until: int | None) -> list[object]:
        if topic not in self.broken:
            return []
        return [AnyGap(topic, self.broken.pop(topic), until, self.epoch)]

    def _forsake(self, topic: Topic) -> list[object]:
        return [*self._mend(topic, None), Unsubscribed(topic, None, self.epoch)]

    def _lose(self, failure: Failure, now: float) -> Expected:
        connection = self.connection
        assert connection is not None
        self.connection = None
        events: list[object] = []
        for topic, state in connection.states.items():
            if state in {S.IDLE, S.REJECTED}:
                continue
            # The stream has begun with what was told of the topic first.
            was_told = state is not S.SUBSCRIBING or connection.last_ts[topic] is not None
            if was_told and topic not in self.broken:
                self.broken[topic] = connection.last_ts[topic]
            if topic not in self.desired:
                events += self._forsake(topic)
        if self.settled_at is not None and now >= self.settled_at + self.config.stable_after:
            self.retries = 0
        self.settled_at = None
        retry = self._retry(failure, now)
        return Expected(events + retry.events, retry.actions)

    def _span(self, attempt: int) -> float:
        if attempt < 2:
            return self.config.retry_first
        span = self.config.retry_base
        for _ in range(attempt - 2):
            span = min(2 * span, self.config.retry_cap)
        return span

    def _retry(self, failure: Failure, now: float) -> Expected:
        config = self.config
        if config.max_attempts is not None and self.retries == config.max_attempts:
            return self._end(failure)
        self.retries += 1
        span = self._span(self.retries)
        asked = min(failure.retry_after or 0.0, config.retry_after_cap)
        floor = max(asked, config.rate_limit_wait) if failure.status == 429 else asked
        wait = floor + span * self.spread()
        self.state = Life.WAITING
        self.deadline = now + wait
        return Expected([Disconnected(failure, wait, self.epoch, self.retries)])

    def _end(self, failure: Failure) -> Expected:
        self._finish()
        self.failure = failure
        return Expected([Disconnected(failure, None, self.epoch, self.retries), Closed(failure)])

    def _finish(self) -> None:
        self.state = Life.CLOSED
        self.connection = None
        self.deadline = None
        self.refusals = {}
        self.broken = {}
