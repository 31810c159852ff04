"""Connection after connection: dial, subscribe to what is desired, back off, name the gaps.

Everything that outlives one connection is decided here; what happens on one is the connection's.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs

from topone_proto.errors import ConfigurationError, LocalProtocolError
from topone_proto.events import (
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Gap,
    Malformed,
    OrderUpdate,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.secrets.redaction import Redactor
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Action, Close, Connect, FetchToken
from topone_proto.session.config import SessionConfig
from topone_proto.session.connection import FOLLOWED, Connection, SubscriptionState
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.gaps import Break
from topone_proto.session.lateness import Lateness
from topone_proto.session.step import Step
from topone_proto.wire.messages import Response
from topone_proto.wire.topic import Topic

__all__ = ["TRANSITIONS", "Session", "SessionInput", "SessionState"]


class SessionState(Enum):
    """Where a feed is in its life."""

    NEW = "new"
    """Not started."""
    FETCHING_TOKEN = "fetching_token"  # noqa: S105 - a state's name
    """The application's callable is asked for a token."""
    CONNECTING = "connecting"
    """A dial is under way."""
    CONNECTED = "connected"
    """There is an open WebSocket."""
    WAITING = "waiting"
    """The time until the next dial runs, or is over and the application is behind."""
    CLOSED = "closed"
    """The end."""


class SessionInput(Enum):
    """Everything that can be told to a session, by the name of its method."""

    START = "start"
    """The feed begins."""
    TOKEN_OBTAINED = "token_obtained"  # noqa: S105 - an input's name
    """The application's callable supplied a token."""
    TOKEN_FAILED = "token_failed"  # noqa: S105
    """The application's callable did not."""
    CONNECTION_MADE = "connection_made"
    """The WebSocket is open."""
    CONNECTION_FAILED = "connection_failed"
    """The dial failed, or the connection did, and it is known how."""
    MESSAGE_RECEIVED = "message_received"
    """A text frame came."""
    PONG_RECEIVED = "pong_received"
    """A pong came."""
    BYTES_RECEIVED = "bytes_received"
    """Bytes of the peer came: a part of a frame, or a control frame."""
    READING_PAUSED = "reading_paused"
    """The application is behind: the transport stopped reading, and there is no next dial."""
    READING_RESUMED = "reading_resumed"
    """The application has caught up: the transport reads again, and a dial that is due is made."""
    CONNECTION_LOST = "connection_lost"
    """The open WebSocket ended, or the dial did, with a close code or without."""
    DEADLINE_REACHED = "deadline_reached"
    """It is as late as the latest step's deadline."""
    SUBSCRIBE = "subscribe"
    """The application wants a topic."""
    UNSUBSCRIBE = "unsubscribe"
    """The application wants it no more."""
    CLOSE = "close"
    """The application wants the feed to end."""


_A = TypeVar("_A", bound=Malformed | Unrecognised | SubscriptionRejected | Response)

_S = SessionState
_I = SessionInput

# Two ways to say that a dial or a connection has come to nothing: many a transport has one callback
# for both, and knows less in one case than in the other.
_ENDS: Final = (_I.CONNECTION_FAILED, _I.CONNECTION_LOST)

# What comes from a dial, a token call or a connection. Between a Close and the next dial it is the
# tail of something that was given up already: it is ignored, and a connection that is made too late
# is told to close.
_TAIL: Final = (
    _I.TOKEN_OBTAINED,
    _I.TOKEN_FAILED,
    _I.CONNECTION_MADE,
    _I.MESSAGE_RECEIVED,
    _I.PONG_RECEIVED,
    *_ENDS,
)


def _always(state: SessionState) -> dict[SessionInput, tuple[SessionState, ...]]:
    """What the application may do at any time before the end, and what leaves the state alone."""
    return {
        _I.SUBSCRIBE: (state,),
        _I.UNSUBSCRIBE: (state,),
        _I.BYTES_RECEIVED: (state,),
        _I.READING_PAUSED: (state,),
        _I.READING_RESUMED: (state,),
        _I.CLOSE: (_S.CLOSED,),
    }


TRANSITIONS: Final[Mapping[SessionState, Mapping[SessionInput, tuple[SessionState, ...]]]] = (
    MappingProxyType(
        {
            _S.NEW: {
                **_always(_S.NEW),
                _I.START: (_S.FETCHING_TOKEN, _S.CONNECTING),
                _I.DEADLINE_REACHED: (_S.NEW,),
            },
            _S.FETCHING_TOKEN: {
                **_always(_S.FETCHING_TOKEN),
                _I.TOKEN_OBTAINED: (_S.CONNECTING, _S.CLOSED),
                _I.TOKEN_FAILED: (_S.WAITING, _S.CLOSED),
                _I.DEADLINE_REACHED: (_S.FETCHING_TOKEN, _S.WAITING, _S.CLOSED),
            },
            _S.CONNECTING: {
                **_always(_S.CONNECTING),
                _I.CONNECTION_MADE: (_S.CONNECTED,),
                **dict.fromkeys(_ENDS, (_S.WAITING, _S.CLOSED)),
                _I.DEADLINE_REACHED: (_S.CONNECTING, _S.WAITING, _S.CLOSED),
            },
            _S.CONNECTED: {
                **_always(_S.CONNECTED),
                _I.MESSAGE_RECEIVED: (_S.CONNECTED,),
                _I.PONG_RECEIVED: (_S.CONNECTED,),
                **dict.fromkeys(_ENDS, (_S.WAITING, _S.CLOSED)),
                _I.DEADLINE_REACHED: (_S.CONNECTED, _S.WAITING, _S.CLOSED),
            },
            _S.WAITING: {
                **_always(_S.WAITING),
                **dict.fromkeys(_TAIL, (_S.WAITING,)),
                _I.READING_RESUMED: (_S.WAITING, _S.FETCHING_TOKEN, _S.CONNECTING),
                _I.DEADLINE_REACHED: (_S.WAITING, _S.FETCHING_TOKEN, _S.CONNECTING),
            },
            _S.CLOSED: {
                **dict.fromkeys(_TAIL, (_S.CLOSED,)),
                _I.BYTES_RECEIVED: (_S.CLOSED,),
                _I.READING_PAUSED: (_S.CLOSED,),
                _I.READING_RESUMED: (_S.CLOSED,),
                _I.DEADLINE_REACHED: (_S.CLOSED,),
                _I.CLOSE: (_S.CLOSED,),
            },
        }
    )
)
"""The life of a feed: for every state the inputs it takes and the states that each can lead to.
What is not in the table is a ``LocalProtocolError``."""

# What is never sent, and stands for the end of a connection without a close frame (RFC 6455 section
# 7.4.1).
_NO_CLOSE_FRAME: Final = frozenset({1006, 1015})

# So much more of a text is kept until it is redacted: then it is cut where no token is.
_MARGIN: Final = 32

# A close reason and a failure's other words in characters, and how many are looked at for them.
_MAX_REASON: Final = 128
_MAX_DETAIL: Final = 512
_MAX_SEARCHED: Final = 4096

_REMEDY: Final = {
    _S.NEW: "call start first",
    _S.FETCHING_TOKEN: "answer FetchToken with token_obtained or token_failed",
    _S.CONNECTING: "answer Connect with connection_made or connection_failed",
    _S.CONNECTED: "there is an open connection: feed it, or report its end",
    _S.WAITING: "wait for the deadline",
    _S.CLOSED: "make a new session",
}

# The states of a topic that nothing was asked for, or nothing that still stands.
_UNASKED: Final = frozenset({SubscriptionState.IDLE, SubscriptionState.REJECTED})


@attrs.define
class _Refusal:
    """What is known of a topic that was acknowledged before and is refused now."""

    count: int = 0
    """How often in a row."""
    due: float | None = None
    """When it may be asked for again; None once it may."""


def _topic(topic: object) -> Topic:
    if isinstance(topic, Topic):
        return topic
    raise ConfigurationError(
        setting="topics",
        problem=f"{topic!r:.80} is no topic",
        remedy='use topone_proto.ORDERS, topone_proto.BALANCE or a Topic("...")',
    )


class Session:
    """The client's side of a feed, over any number of connections.

    Drive it like this: call ``start``; carry out the actions of every ``Step`` in order, hand its
    events on, and call ``deadline_reached`` when its deadline comes first. There is one dial or
    connection at a time. After a ``Close`` action nothing of what it closed needs to be reported,
    and what still is gets ignored until the next dial.

    Every input takes ``now``, seconds on any clock that only goes forward. One that is not possible
    in the present state (see ``TRANSITIONS``) raises ``LocalProtocolError`` and changes nothing.

    Args:
        topics: what is desired from the start.
        endpoint: where to dial; the exchange's private WebSocket unless given.
        token: the token, if it is always the same. None asks for one before every dial, by a
            ``FetchToken`` action.
        config: timeouts, limits, back-off.
        jitter: a source of uniform random numbers in [0, 1), such as ``random.random``: back-off is
            spread with it.

    Raises:
        ConfigurationError: something among the topics is none.
    """

    def __init__(
        self,
        topics: Iterable[Topic] = (),
        *,
        endpoint: Endpoint | None = None,
        token: Token | None = None,
        config: SessionConfig | None = None,
        jitter: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint if endpoint is not None else Endpoint()
        self._config = config if config is not None else SessionConfig()
        self._jitter = jitter
        self._state = _S.NEW
        self._failure: Failure | None = None
        self._deadline: float | None = None
        self._epoch = 0
        self._retries = 0
        self._connection: Connection | None = None
        self._next_id = 1
        self._paused = False
        # Ordered, so that requests are made in the order in which the topics were asked for.
        self._desired: dict[Topic, None] = dict.fromkeys(map(_topic, topics))
        # The topics whose stream has broken off, until a Gap tells of it.
        self._broken: dict[Topic, Break] = {}
        # What was acknowledged since it was asked for: one refusal does not make it undesired.
        self._acknowledged: set[Topic] = set()
        self._refusals: dict[Topic, _Refusal] = {}
        self._lateness = Lateness(min(self._config.open_timeout, self._config.token_timeout))
        # When all that is desired was acknowledged on this connection.
        self._settled_at: float | None = None
        self._is_fixed = token is not None
        self._token = token
        self._redactor = Redactor() if token is None else Redactor(token)
        # The refusal that a fresh token has yet to make up for, and the token that was refused.
        self._refusal: tuple[Failure, Token] | None = None

    @property
    def state(self) -> SessionState:
        """Where the feed is in its life."""
        return self._state

    @property
    def failure(self) -> Failure | None:
        """Why the feed has ended by itself; None if it has not."""
        return self._failure

    @property
    def recording_error(self) -> BaseException | None:
        """The error that ended the recording of this session; None if there is none, or no
        recording."""
        return None

    @property
    def epoch(self) -> int:
        """The number of connections made so far, the present one included."""
        return self._epoch

    @property
    def desired(self) -> tuple[Topic, ...]:
        """The topics that are subscribed to on every connection, in the order in which they were
        asked for."""
        return tuple(self._desired)

    @property
    def subscriptions(self) -> Mapping[Topic, SubscriptionState]:
        """The state of every desired topic, and of those that the present connection was asked
        about."""
        states = dict.fromkeys(self._desired, SubscriptionState.IDLE)
        return states if self._connection is None else {**states, **self._connection.subscriptions}

    @property
    def connection(self) -> Connection | None:
        """The present connection, to look at and not to feed; None if there is none."""
        return self._connection

    # Inputs of the application.

    def start(self, now: float) -> Step:
        """Begin: dial, or ask for the token to dial with."""
        self._require(_I.START)
        return self._step(actions=self._dial(now))

    def subscribe(self, topic: Topic, now: float) -> Step:
        """Desire a topic, on this connection and on every later one. Nothing happens if it is
        desired already, but that one that was refused and waits is asked for again at once."""
        self._require(_I.SUBSCRIBE)
        self._desired[_topic(topic)] = None
        if topic in self._refusals:
            self._refusals[topic].due = None
        return self._step(actions=self._ask(now))

    def unsubscribe(self, topic: Topic, now: float) -> Step:
        """Desire a topic no more. Nothing happens if it is not desired."""
        self._require(_I.UNSUBSCRIBE)
        if topic not in self._desired:
            return self._step()
        self._drop(topic)
        connection = self._connection
        if connection is None or connection.state_of(topic) in _UNASKED:
            return self._step(self._forsake(topic, now))
        return self._step(actions=self._ask(now))

    def close(self, now: float) -> Step:  # noqa: ARG002 - every input has the same shape
        """End the feed, whatever it is doing. Idempotent. The step tells ``Closed``, and has
        what is open closed within ``SessionConfig.close_timeout``."""
        self._require(_I.CLOSE)
        if self._state is _S.CLOSED:
            return self._step()
        open_ended = self._state in {_S.FETCHING_TOKEN, _S.CONNECTING, _S.CONNECTED}
        self._end()
        actions = (Close(1000, "", self._config.close_timeout),) if open_ended else ()
        return self._step((Closed(),), actions)

    # Inputs of the transport.

    def token_obtained(self, token: Token, now: float) -> Step:
        """The application's callable supplied a token: dial with it, unless it was refused a moment
        ago."""
        self._require(_I.TOKEN_OBTAINED)
        if self._state is not _S.CLOSED:
            # One that comes too late, too: whoever supplied it knows it as a secret.
            self._redactor.add(token)
        if self._state is not _S.FETCHING_TOKEN:
            return self._step()
        if self._refusal is not None and self._refusal[1] == token:
            return self._give_up(self._refusal[0])
        self._token = token
        return self._step(actions=self._connect(token, now))

    def token_failed(self, detail: str, now: float) -> Step:
        """The application's callable did not supply a token. ``detail`` must not contain one
        either: the name of the exception's class is enough."""
        self._require(_I.TOKEN_FAILED)
        if self._state is not _S.FETCHING_TOKEN:
            return self._step()
        return self._retry(self._told(Failure(FailureKind.TOKEN, detail)), now)

    def connection_made(self, now: float) -> Step:
        """The WebSocket is open: all that is desired is asked for. One that comes too late is
        closed."""
        self._require(_I.CONNECTION_MADE)
        if self._state is not _S.CONNECTING:
            return self._step(actions=(Close(1001, "too late", 0.0),))
        self._state = _S.CONNECTED
        self._epoch += 1
        self._refusal = None
        self._settled_at = None if self._desired else now
        roomy = attrs.evolve(self._config, max_kept=self._config.max_kept + _MARGIN)
        connection = Connection(roomy, epoch=self._epoch, first_id=self._next_id)
        self._connection = connection
        if self._paused:
            connection.reading_paused(now)
        # Also without a topic: liveness begins with the connection.
        connection.deadline_reached(now)
        self._release(now)
        return self._step((Connected(self._epoch),), self._ask(now))

    def connection_failed(self, failure: Failure, now: float) -> Step:
        """The dial failed, or the connection did, in a way that ``failure`` describes.

        Of the latest ``Connect`` only, never for a dial or a connection that is no longer current:
        once there is another one, it would be taken for that one's. On an open connection
        ``NOT_WEBSOCKET``, which is about the answer to a handshake, counts as ``LOST``.
        """
        self._require(_I.CONNECTION_FAILED)
        return self._fail(failure, now)

    def message_received(self, frame: str | bytes, now: float) -> Step:
        """Take a text frame in, as text or as its UTF-8 bytes. Never raises for anything that a
        frame contains."""
        connection = self._connection
        if connection is None:
            self._require(_I.MESSAGE_RECEIVED)
            return self._step()
        step = connection.message_received(frame, now)
        # The hot path: the session has nothing to add to an update, nor to the answer to a ping.
        if not step.events:
            return self._of(step)
        first = step.events[0]
        if (
            isinstance(first, (OrderUpdate, BalanceUpdate))
            and len(step.events) == 1
            and self._has_no_secret(first)
        ):
            return self._of(step)
        return self._after(step, now)

    def pong_received(self, payload: bytes, now: float) -> Step:
        """Take the pong of a ``SendPing`` in."""
        self._require(_I.PONG_RECEIVED)
        connection = self._connection
        return (
            self._step() if connection is None else self._of(connection.pong_received(payload, now))
        )

    def bytes_received(self, at: float, now: float) -> Step:
        """Bytes of the peer came at the time ``at``; see ``Connection.bytes_received``. Ignored
        while there is no connection."""
        self._require(_I.BYTES_RECEIVED)
        connection = self._connection
        if connection is None:
            return self._step()
        return self._of(connection.bytes_received(at, now))

    def reading_paused(self, now: float) -> Step:
        """The application is slow and reading has stopped; see ``Connection.reading_paused``.

        Possible without a connection too: then no dial follows until ``reading_resumed``, since
        each of them would bring the application events that it has no room for.
        """
        self._require(_I.READING_PAUSED)
        self._paused = True
        connection = self._connection
        if connection is None:
            return self._step()
        return self._of(connection.reading_paused(now))

    def reading_resumed(self, now: float) -> Step:
        """Reading goes on. A dial that became due in the meantime is made now."""
        self._require(_I.READING_RESUMED)
        self._paused = False
        connection = self._connection
        if connection is not None:
            return self._of(connection.reading_resumed(now))
        return self._dial_if_due(now)

    def connection_lost(self, code: int | None, reason: str, now: float) -> Step:
        """The open WebSocket has ended without a ``Close`` of ours. A dial that ended, and nobody
        knows how, may be reported like this, too.

        Of the latest ``Connect`` only, never for a dial or a connection that is no longer current:
        once there is another one, it would be taken for that one's.

        Args:
            code: the peer's close code, None if there was no close frame. So are 1006
                and 1015, which stand for that in many libraries and are never sent.
            reason: the peer's close reason, or a few words on what happened instead.
            now: the time.
        """
        self._require(_I.CONNECTION_LOST)
        code = None if code in _NO_CLOSE_FRAME else code
        kind = FailureKind.LOST if code is None else FailureKind.CLOSED
        reason = self._told(Failure(kind, reason)).detail[:_MAX_REASON]
        return self._fail(Failure(kind, reason, code=code), now)

    def deadline_reached(self, now: float) -> Step:
        """Do what is due. Harmless when called early: the returned deadline is simply the old one.
        Called clearly late it gives up nothing yet: what is unread is to be read first."""
        self._require(_I.DEADLINE_REACHED)
        connection = self._connection
        if connection is not None:
            told = self._next_deadline()
            step = self._after(connection.deadline_reached(now, told=told), now)
            if connection.failure is not None or not self._refusals:
                return step
            self._release(now)
            return self._step(step.events, step.actions + self._ask(now))
        if self._state is _S.WAITING:
            return self._dial_if_due(now)
        if self._deadline is None or now < self._deadline:
            return self._step()
        grace = self._lateness.grace(self._deadline, now)
        if grace is not None:
            self._deadline = now + grace
            return self._step()
        kind, detail = FailureKind.TIMEOUT, ""
        if self._state is _S.FETCHING_TOKEN:
            kind, detail = FailureKind.TOKEN, "it took too long"
        return self._retry(Failure(kind, detail), now, actions=(Close(1001, kind.value, 0.0),))

    # How it is done.

    def _require(self, by: SessionInput) -> None:
        if by not in TRANSITIONS[self._state]:
            raise LocalProtocolError(
                state=f"the session is {self._state.value}",
                input=by.value,
                remedy=_REMEDY[self._state],
            )

    def _step(self, events: tuple[Event, ...] = (), actions: tuple[Action, ...] = ()) -> Step:
        return Step(events, actions, self._next_deadline())

    def _next_deadline(self) -> float | None:
        connection = self._connection
        if connection is None:
            is_held = self._paused and self._state is _S.WAITING
            return None if is_held else self._deadline
        if not self._refusals:
            return connection.deadline
        due = [refusal.due for refusal in self._refusals.values() if refusal.due is not None]
        return min((at for at in (*due, connection.deadline) if at is not None), default=None)

    def _of(self, step: Step) -> Step:
        """A step of the connection that the session has nothing to add to but its deadline."""
        return attrs.evolve(step, deadline=self._next_deadline()) if self._refusals else step

    def _dial_if_due(self, now: float) -> Step:
        """The next dial, if there is to be one and its time has come."""
        is_due = self._deadline is not None and now >= self._deadline
        if self._state is not _S.WAITING or self._paused or not is_due:
            return self._step()
        return self._step(actions=self._dial(now))

    def _dial(self, now: float) -> tuple[Action, ...]:
        if self._is_fixed and self._token is not None:
            return self._connect(self._token, now)
        self._state = _S.FETCHING_TOKEN
        self._deadline = now + self._config.token_timeout
        return (FetchToken(),)

    def _connect(self, token: Token, now: float) -> tuple[Action, ...]:
        self._state = _S.CONNECTING
        self._deadline = now + self._config.open_timeout
        config = self._config
        return (Connect(self._endpoint, token, config.open_timeout, config.max_frame_size),)

    def _waits(self, topic: Topic) -> bool:
        return topic in self._refusals and self._refusals[topic].due is not None

    def _ask(self, now: float) -> tuple[Action, ...]:
        """Requests for whatever differs between what is desired and what the connection has, as far
        as there is room among the pending ones. The rest is asked for when responses make room."""
        connection = self._connection
        if connection is None:
            return ()
        states = connection.subscriptions
        requests = [
            (connection.subscribe, topic)
            for topic in self._desired
            if states.get(topic, SubscriptionState.IDLE) in _UNASKED and not self._waits(topic)
        ]
        requests += [
            (connection.unsubscribe, topic)
            for topic, state in states.items()
            if state is SubscriptionState.ACTIVE and topic not in self._desired
        ]
        room = self._config.max_pending - len(connection.pending)
        actions: list[Action] = []
        for request, topic in requests[:room]:
            actions += request(topic, now).actions
        self._next_id = connection.next_id
        return tuple(actions)

    def _after(self, step: Step, now: float) -> Step:
        """What a step of the connection means for the session."""
        connection = self._connection
        assert connection is not None
        events: list[Event] = []
        answered = False
        for event in step.events:
            events.append(self._clean(event))
            match event:
                case Subscribed(topic=topic, ts=ts):
                    events += self._mend(topic, ts, now)
                    if topic in self._desired:
                        self._acknowledged.add(topic)
                    self._refusals.pop(topic, None)
                    answered = True
                case SubscriptionRejected():
                    events[-1:] = self._rejected(event, now)
                    answered = True
                case Unsubscribed():
                    answered = True
                case _:
                    pass
        if connection.failure is not None:
            return self._lose(connection.failure, now, tuple(events), step.actions)
        if not answered:
            return self._step(tuple(events), step.actions)
        actions = step.actions + self._ask(now)
        if self._settled_at is None and self._is_settled(connection):
            self._settled_at = now
        return self._step(tuple(events), actions)

    def _rejected(self, event: SubscriptionRejected, now: float) -> tuple[Event, ...]:
        """What a refusal means, and what the application is told of it."""
        topic, clean = event.topic, self._scrub(event)
        if event.method != topic.subscribe_method:
            # The server goes on publishing, and the application has been told. Asking once more
            # with every response would help nobody, so the topic counts as desired again.
            self._desired[topic] = None
            return (clean,)
        retry_in = self._retry_in(topic)
        if retry_in is None:
            self._drop(topic)
            # The gap before it, as with every topic that is not followed any more.
            return (*self._mend(topic, None, now), clean)
        # Its gap is told of when it is acknowledged again, or dropped.
        self._refusals[topic].due = now + retry_in
        return (attrs.evolve(clean, retry_in=retry_in),)

    def _retry_in(self, topic: Topic) -> float | None:
        """Seconds until a topic that was refused is asked for again; None if it is not: it was
        never acknowledged, or refused too often."""
        if topic not in self._desired or topic not in self._acknowledged:
            return None
        refusal = self._refusals.setdefault(topic, _Refusal())
        refusal.count += 1
        if refusal.count >= self._config.max_refusals:
            return None
        return self._spread(refusal.count)

    def _drop(self, topic: Topic) -> None:
        """A topic is not desired any more."""
        self._desired.pop(topic, None)
        self._acknowledged.discard(topic)
        self._refusals.pop(topic, None)

    def _release(self, now: float) -> None:
        """Topics that were refused may be asked for again, if they have waited long enough."""
        for refusal in self._refusals.values():
            if refusal.due is not None and refusal.due <= now:
                refusal.due = None

    def _is_settled(self, connection: Connection) -> bool:
        return all(
            connection.state_of(topic) is SubscriptionState.ACTIVE for topic in self._desired
        )

    def _mend(self, topic: Topic, ack_ts: int | None, now: float) -> tuple[Event, ...]:
        """The gap that ends here, if the topic's stream was broken off."""
        broken = self._broken.pop(topic, None)
        if broken is None:
            return ()
        clock = None if self._connection is None else self._connection.clock
        since, until = broken.span(ack_ts, clock, now)
        return (Gap(topic, since, until, self._epoch),)

    def _forsake(self, topic: Topic, now: float) -> tuple[Event, ...]:
        """The end of a topic without an acknowledgement. What was missed of it stays missed."""
        return (*self._mend(topic, None, now), Unsubscribed(topic, None, self._epoch))

    def _told(self, failure: Failure) -> Failure:
        """The failure without the token, and with no more words than a log wants."""
        detail = self._redactor.redact(failure.detail[:_MAX_SEARCHED])
        return attrs.evolve(failure, detail=detail[:_MAX_DETAIL])

    def _fail(self, failure: Failure, now: float) -> Step:
        """The dial or the connection has come to nothing, if there still is one."""
        failure = self._told(failure)
        if self._state is _S.CONNECTED:
            if failure.kind is FailureKind.NOT_WEBSOCKET:
                # A library's error that says no more: what it broke on was no handshake.
                failure = attrs.evolve(failure, kind=FailureKind.LOST)
            return self._lose(failure, now)
        if self._state is not _S.CONNECTING:
            return self._step()
        if failure.refuses_token:
            if self._is_fixed or self._refusal is not None or self._token is None:
                return self._give_up(failure)
            self._refusal = (failure, self._token)
        return self._retry(failure, now)

    def _lose(
        self,
        failure: Failure,
        now: float,
        events: tuple[Event, ...] = (),
        actions: tuple[Action, ...] = (),
    ) -> Step:
        """The connection is over: remember where every stream broke off, then try again."""
        connection = self._connection
        assert connection is not None
        self._connection = None
        clock = connection.clock
        for topic, state in connection.subscriptions.items():
            if state not in FOLLOWED:
                continue
            since = connection.last_ts_of(topic)
            # A stream begins with the first thing that the application is told of it. One that
            # broke off earlier and was not mended since stays broken from there.
            if topic in self._broken:
                self._broken[topic] = self._broken[topic].again(clock)
            elif since is not None or state is not SubscriptionState.SUBSCRIBING:
                self._broken[topic] = Break.off(since, clock)
            if topic not in self._desired:
                events += self._forsake(topic, now)
        if self._settled_at is not None and now - self._settled_at >= self._config.stable_after:
            self._retries = 0
        return self._retry(failure, now, events, actions)

    def _retry(
        self,
        failure: Failure,
        now: float,
        events: tuple[Event, ...] = (),
        actions: tuple[Action, ...] = (),
    ) -> Step:
        limit = self._config.max_attempts
        if limit is not None and self._retries >= limit:
            return self._give_up(failure, events, actions)
        self._retries += 1
        wait = self._delay(failure)
        self._state = _S.WAITING
        self._deadline = now + wait
        disconnected = Disconnected(failure, wait, self._epoch, self._retries)
        return self._step((*events, disconnected), actions)

    def _spread(self, attempt: int) -> float:
        """Capped exponential back-off with full jitter: the seconds before this attempt."""
        config = self._config
        span = config.retry_first
        if attempt > 1:
            # The exponent is bounded because a float's is; the cap is reached long before.
            span = min(config.retry_cap, config.retry_base * 2.0 ** min(attempt - 2, 60))
        return span * self._jitter()

    def _delay(self, failure: Failure) -> float:
        """Back-off on top of what the server asked for."""
        config = self._config
        floor = min(failure.retry_after or 0.0, config.retry_after_cap)
        if failure.status == 429:
            floor = max(floor, config.rate_limit_wait)
        return floor + self._spread(self._retries)

    def _give_up(
        self,
        failure: Failure,
        events: tuple[Event, ...] = (),
        actions: tuple[Action, ...] = (),
    ) -> Step:
        self._end()
        self._failure = failure
        disconnected = Disconnected(failure, None, self._epoch, self._retries)
        return self._step((*events, disconnected, Closed(failure)), actions)

    def _end(self) -> None:
        self._state = _S.CLOSED
        self._deadline = None
        self._connection = None
        self._broken.clear()
        self._refusals.clear()
        self._token = None
        self._redactor.forget()
        self._refusal = None

    def _clean(self, event: Event) -> Event:
        """The event without the token, should the server have repeated it to us."""
        match event:
            case Malformed() | Unrecognised() | SubscriptionRejected():
                return self._scrub(event)
            case UnexpectedResponse(response=response):
                return attrs.evolve(event, response=self._scrub(response))
            case OrderUpdate() | BalanceUpdate() | UnexpectedUpdate():
                return self._redactor.clean(event)
            case _:
                return event

    def _has_no_secret(self, update: OrderUpdate | BalanceUpdate) -> bool:
        """True if the names in an update are none that a token is in."""
        name = update.order.market if isinstance(update, OrderUpdate) else update.balance.asset
        return self._redactor.is_clean(name)

    def _kept(self, text: str) -> str:
        """The part of a text that an anomaly keeps: first without the token, then cut."""
        keep = self._config.max_kept
        clean = self._redactor.redact(text)
        if len(text) < keep + _MARGIN:
            return clean[:keep]
        # What was cut before may end with so little of a token that it is not known for one.
        return clean[: max(0, len(clean) - _MARGIN)][:keep]

    def _scrub(self, anomaly: _A) -> _A:
        changed: dict[str, Any] = {
            name: self._kept(text)
            for name, text in attrs.asdict(anomaly, recurse=False).items()
            if isinstance(text, str)
        }
        if isinstance(anomaly, (Malformed, Unrecognised)):
            # A name that was asked for is the application's own.
            known = self.subscriptions
            changed["topics"] = tuple(
                topic if topic in known else self._redactor.clean(topic) for topic in anomaly.topics
            )
        return attrs.evolve(anomaly, **changed)
