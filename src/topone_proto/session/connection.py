"""One connection: request ids, pending requests, subscription states, acknowledgement deadlines,
liveness.

Everything here ends with the connection. What outlives it (what is desired, when to dial again,
what may have been missed) is the session's. Use ``Connection`` alone to bring your own policy for
reconnecting.
"""

import math
import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, assert_never

import attrs

from topone_proto._values import value
from topone_proto.errors import LocalProtocolError
from topone_proto.events import (
    Event,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unsubscribed,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.session.actions import Action, Close, SendPing, SendText
from topone_proto.session.config import SessionConfig
from topone_proto.session.gaps import Heard, ServerClock
from topone_proto.session.lateness import Lateness
from topone_proto.session.step import Step
from topone_proto.wire.balance import BalanceUpdate
from topone_proto.wire.codec import carried, decode, encode, excerpt, suspects
from topone_proto.wire.messages import Malformed, Ping, Request, Response, Unrecognised, Update
from topone_proto.wire.orders import OrderUpdate
from topone_proto.wire.topic import Topic

__all__ = ["FOLLOWED", "TRANSITIONS", "Connection", "SubscriptionInput", "SubscriptionState"]


class SubscriptionState(Enum):
    """Where the subscription to one topic is on one connection."""

    IDLE = "idle"
    """Not subscribed to."""
    SUBSCRIBING = "subscribing"
    """The request is on its way; the server may have begun to publish."""
    ACTIVE = "active"
    """Acknowledged."""
    UNSUBSCRIBING = "unsubscribing"
    """The request is on its way; the server may still publish."""
    REJECTED = "rejected"
    """The server refused."""


class SubscriptionInput(Enum):
    """What moves a subscription from state to state."""

    SUBSCRIBE = "subscribe"
    """The caller asks for the topic."""
    UNSUBSCRIBE = "unsubscribe"
    """The caller has enough of it."""
    ACCEPTED = "accepted"
    """The pending request was answered with code 0."""
    REFUSED = "refused"
    """The pending request was answered with another code."""


_State = SubscriptionState
_Input = SubscriptionInput

TRANSITIONS: Final[Mapping[SubscriptionState, Mapping[SubscriptionInput, SubscriptionState]]] = (
    MappingProxyType(
        {
            _State.IDLE: {_Input.SUBSCRIBE: _State.SUBSCRIBING},
            _State.SUBSCRIBING: {
                _Input.ACCEPTED: _State.ACTIVE,
                _Input.REFUSED: _State.REJECTED,
            },
            _State.ACTIVE: {_Input.UNSUBSCRIBE: _State.UNSUBSCRIBING},
            _State.UNSUBSCRIBING: {
                _Input.ACCEPTED: _State.IDLE,
                # The server says that it goes on, and its word is all there is to go by.
                _Input.REFUSED: _State.ACTIVE,
            },
            _State.REJECTED: {_Input.SUBSCRIBE: _State.SUBSCRIBING},
        }
    )
)
"""The life of a subscription. What is not in the table is a ``LocalProtocolError`` for a caller's
input, and an ``UnexpectedResponse`` for the server's. A request that is not answered in time ends
the connection, and with it the table: the states stay what they were."""

FOLLOWED: Final = frozenset({_State.SUBSCRIBING, _State.ACTIVE, _State.UNSUBSCRIBING})
"""The states in which an update of the topic is handed to the application.

The server knows better than the client when it has begun and when it has stopped, so an update that
overtakes its acknowledgement is good, and so is one that comes before the acknowledgement of an
unsubscribe. In the other states nobody has asked for it, and it becomes an ``UnexpectedUpdate``.
"""


# A short frame that cannot have been an update is reported once on a connection, whatever numbers
# are in it, and of so many kinds.
_SHORT: Final = 64
_MAX_NOISE: Final = 16
_NUMBERS: Final = re.compile(r"[0-9]+")


def _is_of_another(method: str | None, asked: str) -> bool:
    """True if a response says that it answers another request than its id says. A method that is
    none of a request's is an echo in a form of the server's own."""
    if method is None or method == asked:
        return False
    return method.startswith(("sub_", "unsub_")) or method.endswith("pong")


class _Subscription:
    """A topic's state, with what the hot path needs to know about it."""

    __slots__ = ("acknowledged", "asked_at", "followed", "last_at", "last_ts", "state", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.state = _State.IDLE
        self.followed = False
        # The server time of the latest frame of this topic: its acknowledgement or an update.
        self.last_ts: int | None = None
        # When that frame was received.
        self.last_at = 0.0
        # When it was last subscribed to.
        self.asked_at = 0.0
        # The latest answer with a server time in it.
        self.acknowledged: Heard | None = None

    def move(self, by: SubscriptionInput) -> None:
        self.state = TRANSITIONS[self.state][by]
        self.followed = self.state in FOLLOWED


@value
class _Pending:
    """A request that waits for its response."""

    subscription: _Subscription
    method: str
    sent: float
    deadline: float


class Connection:
    """The client's side of one open WebSocket.

    Every input takes ``now``, seconds on any clock that only goes forward, and returns a ``Step``.
    The clock of the liveness checks starts with the first input. When the connection has to be
    given up, the step contains a ``Close`` and ``failure`` says why; after that, frames are ignored
    and requests raise ``LocalProtocolError``.

    Args:
        config: timeouts and limits; what concerns reconnecting is not used here.
        epoch: the number of this connection, for its events.
        first_id: the number of the first request. A session goes on counting from connection to
            connection, so that no response can be taken for one to an earlier request.
    """

    def __init__(
        self, config: SessionConfig | None = None, *, epoch: int = 1, first_id: int = 1
    ) -> None:
        self._config = config if config is not None else SessionConfig()
        self._max_frame_size = self._config.max_frame_size
        self._max_kept = self._config.max_kept
        self._epoch = epoch
        self._next_id = first_id
        # By name: hashing a str costs less than hashing a Topic, and every update is looked up
        # here.
        self._subscriptions: dict[str, _Subscription] = {}
        # In the order of their deadlines, since all requests wait equally long.
        self._pending: dict[str, _Pending] = {}
        self._failure: Failure | None = None
        self._started = False
        self._paused_at: float | None = None
        self._opened = 0.0
        self._last_received = 0.0
        self._ack_latency: float | None = None
        self._ping_at: float | None = None
        self._ping_sent_at: float | None = None
        self._ping_payload = b""
        self._pings = 0
        self._last_answer: str | None = None
        self._noise: set[str] = set()
        self._deadline: float | None = None
        config = self._config
        timeouts = (config.ack_timeout, config.pong_timeout, config.silence_timeout)
        shortest = min(time for time in timeouts if time is not None)
        # Apart: what is heard of a peer says that it is there, and nothing of an acknowledgement.
        self._lateness_of_life, self._lateness_of_acks = Lateness(shortest), Lateness(shortest)
        # Nothing runs out before.
        self._life_excused_until = self._acks_excused_until = 0.0

    @property
    def subscriptions(self) -> Mapping[Topic, SubscriptionState]:
        """The state of every topic that this connection has been asked about."""
        return {entry.topic: entry.state for entry in self._subscriptions.values()}

    @property
    def pending(self) -> tuple[str, ...]:
        """The ids of the requests that wait for a response, oldest first."""
        return tuple(self._pending)

    @property
    def next_id(self) -> int:
        """The number that the next request will have."""
        return self._next_id

    @property
    def failure(self) -> Failure | None:
        """Why the connection was given up; None while it is good."""
        return self._failure

    @property
    def opened(self) -> float | None:
        """When the first input came; None before it."""
        return self._opened if self._started else None

    @property
    def last_received(self) -> float | None:
        """When anything was last received, be it only a part of a frame, or the first input came;
        None before it. A pause of reading since then does not count: it moves on by as much."""
        return self._last_received if self._started else None

    @property
    def ack_latency(self) -> float | None:
        """Seconds from the request to its response, of the latest that was answered, pauses of
        reading included; None if none was."""
        return self._ack_latency

    @property
    def lags(self) -> Mapping[Topic, tuple[int, float]]:
        """For every topic of whose latest frame the server time is known: that, in milliseconds,
        and when it was received."""
        return {
            entry.topic: (entry.last_ts, entry.last_at)
            for entry in self._subscriptions.values()
            if entry.last_ts is not None
        }

    @property
    def clock(self) -> ServerClock | None:
        """What is certain of the server's clock; None if no frame had a time."""
        entries = list(self._subscriptions.values())
        return ServerClock.of(
            [entry.acknowledged for entry in entries if entry.acknowledged is not None],
            [
                Heard(entry.last_ts, entry.asked_at, entry.last_at)
                for entry in entries
                if entry.last_ts is not None
            ],
        )

    @property
    def deadline(self) -> float | None:
        """When ``deadline_reached`` is due, as the latest step said; None before the first input
        and at the end."""
        return self._deadline

    def state_of(self, topic: Topic) -> SubscriptionState:
        """The state of one topic; IDLE if it was never asked for."""
        entry = self._subscriptions.get(topic.name)
        return _State.IDLE if entry is None else entry.state

    def last_ts_of(self, topic: Topic) -> int | None:
        """The server time in milliseconds of the topic's latest frame here, its acknowledgement or
        an update."""
        entry = self._subscriptions.get(topic.name)
        return None if entry is None else entry.last_ts

    def subscribe(self, topic: Topic, now: float) -> Step:
        """Ask for a topic.

        Raises:
            LocalProtocolError: the topic is asked for already, too many requests wait, or the
                connection was given up.
        """
        return self._request(topic, _Input.SUBSCRIBE, topic.subscribe_method, now)

    def unsubscribe(self, topic: Topic, now: float) -> Step:
        """Give a topic up.

        Raises:
            LocalProtocolError: the topic is not active, too many requests wait, or the connection
                was given up.
        """
        return self._request(topic, _Input.UNSUBSCRIBE, topic.unsubscribe_method, now)

    def message_received(self, frame: str | bytes, now: float) -> Step:
        """Take a text frame in, as text or as its UTF-8 bytes. Never raises, whatever is in it."""
        if not self._started:
            self._start(now)
        if self._failure is not None:
            # The tail of a connection that is over. Whatever was in it is covered by the gap.
            return Step()
        self._last_received = now
        if len(frame) > self._max_frame_size:
            reason = f"larger than {self._max_frame_size} (SessionConfig.max_frame_size)"
            kept = excerpt(frame, self._max_kept)
            return self._step(Malformed(reason, "$", kept, len(frame), topics=suspects(frame)))
        message = decode(frame, keep=self._max_kept, max_size=self._max_frame_size)
        if isinstance(message, (OrderUpdate, BalanceUpdate)):
            entry = self._subscriptions.get(message.topic.name)
            if entry is not None and entry.followed:
                if message.ts is not None:
                    entry.last_ts, entry.last_at = message.ts, now
                return Step((message,), (), self._deadline)
            return self._step(UnexpectedUpdate(message))
        match message:
            case Ping(answer=answer):
                self._last_answer = answer
                return Step((), (SendText(answer),), self._deadline)
            case Response():
                return self._step(*self._responded(message))
            case Unrecognised() | Malformed():
                is_reported = self._is_reported(message, len(frame))
                return self._step() if is_reported else self._step(message)
            case _:
                assert_never(message)

    def pong_received(self, payload: bytes, now: float) -> Step:
        """Take the pong of a ``SendPing`` in, or any other pong."""
        if not self._started:
            self._start(now)
        if self._failure is not None:
            return Step()
        self._last_received = now
        if payload == self._ping_payload:
            self._ping_sent_at = None
            self._set_deadline()
        return self._step()

    def bytes_received(self, at: float, now: float) -> Step:
        """Take note that bytes of the peer came at the time ``at``, be they a part of a frame or a
        control frame.

        They show that the peer is there, as a frame does: a large one on a slow line, or a ping of
        a server that answers none of ours. Call it right before ``deadline_reached``, with the
        latest such time that the transport knows of.
        """
        if not self._started:
            self._start(now)
        if self._failure is None and self._paused_at is None:
            # Never from the future: what is not yet cannot put a timeout off.
            self._last_received = max(self._last_received, min(at, now))
        return self._step()

    def reading_paused(self, now: float) -> Step:
        """The caller stops reading because its application is slow.

        Silence proves nothing from now on, so no timeout runs on. Pings are still sent, and at the
        same interval the answer to the server's own application ping, unasked, in the form in which
        it was last given: a ping that waits unread in the socket must not cost the connection.
        """
        if not self._started:
            self._start(now)
        if self._failure is None and self._paused_at is None:
            self._paused_at = now
            self._set_deadline()
        return self._step()

    def reading_resumed(self, now: float) -> Step:
        """The caller reads again. The pause does not count: every timeout goes on where it was."""
        if self._paused_at is not None:
            # Not anew: then an application that is always behind, and pauses again and again, would
            # never be told of an acknowledgement that was lost.
            paused_at, self._paused_at = self._paused_at, None
            if self._ping_sent_at is not None:
                is_answered = self._last_received > self._ping_sent_at
                self._ping_sent_at = None if is_answered else self._ping_sent_at + now - paused_at
            self._last_received += now - max(paused_at, self._last_received)
            for entry_id, entry in self._pending.items():
                deadline = entry.deadline + now - max(paused_at, entry.sent)
                self._pending[entry_id] = attrs.evolve(entry, deadline=deadline)
            self._set_deadline()
        return self._step()

    def deadline_reached(self, now: float, *, told: float | None = None) -> Step:
        """Do what is due. Harmless when called early: the returned deadline is simply the old one.
        Called clearly late it gives up nothing yet: what is unread is to be read first.

        Args:
            now: the time.
            told: the deadline that the caller was told, if it is another than that of the latest
                step.
        """
        if not self._started:
            self._start(now)
        if self._failure is not None:
            return Step()
        self._excuse(self._deadline if told is None else told, now)
        if self._paused_at is None and now >= self._acks_excused_until:
            overdue = [entry for entry in self._pending.values() if entry.deadline <= now]
            if overdue:
                return self._time_out(overdue)
        if self._paused_at is None and now >= self._life_excused_until:
            if (
                self._ping_sent_at is not None
                and now >= self._ping_sent_at + self._config.pong_timeout
            ):
                # Whatever came in since shows that the peer is there; a pong may be queued behind a
                # burst.
                if self._last_received <= self._ping_sent_at:
                    return self._fail(FailureKind.PONG_TIMEOUT)
                self._ping_sent_at = None
            silence = self._config.silence_timeout
            if silence is not None and now >= self._last_received + silence:
                return self._fail(FailureKind.SILENCE)
        actions: tuple[Action, ...] = ()
        if self._ping_at is not None and now >= self._ping_at:
            actions = self._ping(now)
        self._set_deadline()
        return Step((), actions, self._deadline)

    # Everything below is called with a connection that is started, and most of it with one that is
    # good.

    def _start(self, now: float) -> None:
        self._started = True
        self._opened = self._last_received = now
        if self._config.ping_interval is not None:
            self._ping_at = now + self._config.ping_interval
        self._set_deadline()

    def _excuse(self, due: float | None, now: float) -> None:
        """Put off what runs out now, if the caller was held up."""
        missed = self._last_received
        if self._ping_sent_at is not None:
            missed = max(missed, self._ping_sent_at)
        grace = self._lateness_of_life.grace(due, now, since=missed)
        if grace is not None:
            self._life_excused_until = now + grace
        missed = next((entry.sent for entry in self._pending.values()), -math.inf)
        grace = self._lateness_of_acks.grace(due, now, since=missed)
        if grace is not None:
            self._acks_excused_until = now + grace

    def _step(self, *events: Event) -> Step:
        return Step(events, (), self._deadline)

    def _set_deadline(self) -> None:
        """The earliest of all that may be due. Receiving only moves things later, which
        ``deadline_reached`` finds out by itself: so the hot path leaves the deadline alone."""
        due: list[float] = []
        if self._paused_at is None:
            if self._ping_sent_at is not None:
                due.append(self._ping_sent_at + self._config.pong_timeout)
            if self._config.silence_timeout is not None:
                due.append(self._last_received + self._config.silence_timeout)
            due = [max(time, self._life_excused_until) for time in due]
            if self._pending:
                deadline = next(iter(self._pending.values())).deadline
                due.append(max(deadline, self._acks_excused_until))
        if self._ping_at is not None:
            due.append(self._ping_at)
        self._deadline = min(due, default=None)

    def _ping(self, now: float) -> tuple[Action, ...]:
        assert self._config.ping_interval is not None
        self._pings += 1
        self._ping_payload = str(self._pings).encode()
        self._ping_at = now + self._config.ping_interval
        ping = SendPing(self._ping_payload)
        if self._paused_at is not None:
            return (ping,) if self._last_answer is None else (SendText(self._last_answer), ping)
        # A ping that was followed by anything is as good as answered: from now on this one is
        # waited for.
        if self._ping_sent_at is None or self._last_received > self._ping_sent_at:
            self._ping_sent_at = now
        return (ping,)

    def _request(self, topic: Topic, by: SubscriptionInput, method: str, now: float) -> Step:
        if self._failure is not None:
            raise LocalProtocolError(
                state="the connection is given up", input=method, remedy="open another connection"
            )
        entry = self._subscriptions.get(topic.name) or _Subscription(topic)
        if by not in TRANSITIONS[entry.state]:
            raise LocalProtocolError(
                state=f"the topic {topic} is {entry.state.value}",
                input=method,
                remedy="look at Connection.subscriptions before asking",
            )
        if len(self._pending) >= self._config.max_pending:
            raise LocalProtocolError(
                state=f"{len(self._pending)} requests wait for their acknowledgement",
                input=method,
                remedy="wait for some of them, or raise SessionConfig.max_pending",
            )
        # Only now: an input that is refused leaves nothing behind, not even the start of the clock.
        if not self._started:
            self._start(now)
        self._subscriptions[topic.name] = entry
        entry.move(by)
        if by is _Input.SUBSCRIBE:
            # A new stream: what was heard of an earlier one says nothing about it.
            entry.last_ts = None
            entry.asked_at = now
        request = Request(id=str(self._next_id), method=method, lang=self._config.lang)
        self._next_id += 1
        self._pending[request.id] = _Pending(entry, method, now, now + self._config.ack_timeout)
        self._set_deadline()
        return Step((), (SendText(encode(request)),), self._deadline)

    def _is_reported(self, anomaly: Malformed | Unrecognised, size: int) -> bool:
        """True if it is a short frame that was no update, and one like it was reported before on
        this connection: some servers keep a connection alive with one every second."""
        if anomaly.topics or size > _SHORT:
            return False
        shape = _NUMBERS.sub("0", anomaly.frame)
        if shape in self._noise:
            return True
        if len(self._noise) < _MAX_NOISE:
            self._noise.add(shape)
        return False

    def _responded(self, response: Response) -> tuple[Event, ...]:
        """What a response means, and what it carries."""
        pending = None if response.id is None else self._pending.get(response.id)
        if pending is None:
            updates = self._delivered(carried(response, keep=self._max_kept))
            if updates and all(
                isinstance(event, (OrderUpdate, BalanceUpdate)) for event in updates
            ):
                # An update under the id of its subscription, long since acknowledged.
                return updates
            reason = "no request with this id is waiting"
            return (UnexpectedResponse(self._bounded(response), reason), *updates)
        if _is_of_another(response.method, pending.method):
            reason = f"the request with this id was {pending.method}"
            updates = self._delivered(carried(response, keep=self._max_kept))
            return (UnexpectedResponse(self._bounded(response), reason), *updates)
        event = self._answered(response, pending)
        method = pending.subscription.topic.subscribe_method
        return (event, *self._delivered(carried(response, method, keep=self._max_kept)))

    def _delivered(self, updates: tuple[Update | Malformed, ...]) -> tuple[Event, ...]:
        """Updates that came within a response, as if they had come by themselves."""
        events: list[Event] = []
        for update in updates:
            if isinstance(update, Malformed):
                events.append(update)
                continue
            entry = self._subscriptions.get(update.topic.name)
            if entry is None or not entry.followed:
                events.append(UnexpectedUpdate(update))
                continue
            if update.ts is not None:
                entry.last_ts, entry.last_at = update.ts, self._last_received
            events.append(update)
        return tuple(events)

    def _answered(self, response: Response, pending: _Pending) -> Event:
        assert response.id is not None
        del self._pending[response.id]
        self._set_deadline()
        entry = pending.subscription
        entry.move(_Input.ACCEPTED if response.ok else _Input.REFUSED)
        self._ack_latency = self._last_received - pending.sent
        if response.ts is not None:
            entry.last_ts, entry.last_at = response.ts, self._last_received
            entry.acknowledged = Heard(response.ts, pending.sent, self._last_received)
        if not response.ok:
            return SubscriptionRejected(
                topic=entry.topic,
                method=pending.method,
                code=response.code,
                msg=response.msg[: self._max_kept],
                ts=response.ts,
                epoch=self._epoch,
            )
        if entry.state is _State.ACTIVE:
            return Subscribed(entry.topic, response.ts, self._epoch)
        return Unsubscribed(entry.topic, response.ts, self._epoch)

    def _bounded(self, response: Response) -> Response:
        """The response with no more in it than an anomaly may keep."""
        keep = self._max_kept
        return Response(
            id=response.id and response.id[:keep],
            method=response.method and response.method[:keep],
            code=response.code,
            msg=response.msg[:keep],
            ts=response.ts,
        )

    def _time_out(self, overdue: list[_Pending]) -> Step:
        step = self._fail(FailureKind.ACK_TIMEOUT, overdue[0].method)
        events = tuple(
            RequestTimedOut(
                topic=entry.subscription.topic,
                method=entry.method,
                timeout=self._config.ack_timeout,
                epoch=self._epoch,
            )
            for entry in overdue
        )
        return attrs.evolve(step, events=events)

    def _fail(self, kind: FailureKind, detail: str = "") -> Step:
        self._failure = Failure(kind, detail)
        self._pending.clear()
        self._deadline = None
        # Nobody is there to shake hands with, so the socket is dropped at once.
        return Step((), (Close(1001, kind.value, 0.0),), None)
