"""The life of a feed, one connection after another: dial, lose, wait, dial again, end.

``Session`` has the inputs; what they lead to is here. Each way through a life ends in one of these:
``_dial`` (a token call or a dial begins), ``_lose`` (an open connection is over), ``_retry`` (wait,
then dial), ``_give_up`` and ``_end``. They are where the state changes, by ``_enter`` only.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from topone_proto._checks import check_time, of_kind, or_default
from topone_proto.errors import ConfigurationError, FeedFailed, LocalProtocolError, TopOneError
from topone_proto.events import (
    Closed,
    Connected,
    Disconnected,
    Event,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.secrets.redaction import Redactor
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Action, Connect, FetchToken
from topone_proto.session.answers import PullEnd
from topone_proto.session.backoff import Backoff, Refusals
from topone_proto.session.config import SessionConfig
from topone_proto.session.connection import Connection
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.gaps import Breaks
from topone_proto.session.lateness import Lateness
from topone_proto.session.pulls import Pulls
from topone_proto.session.redaction import MARGIN, EventRedactor
from topone_proto.session.states import REMEDIES, TRANSITIONS, SessionState
from topone_proto.session.step import Step
from topone_proto.session.subscriptions import FOLLOWED, SubscriptionState
from topone_proto.session.wishes import Wishes
from topone_proto.wire.topic import Topic

__all__ = ["Life"]

_S = SessionState
_SUBSCRIBING: Final = SubscriptionState.SUBSCRIBING


class Life:
    """The state of a session, and what its inputs lead to."""

    def __init__(
        self,
        topics: Iterable[Topic] = (),
        *,
        endpoint: Endpoint | None = None,
        token: Token | None = None,
        config: SessionConfig | None = None,
        jitter: Callable[[], float],
    ) -> None:
        self._endpoint = or_default(endpoint, Endpoint, "endpoint")
        self._config = or_default(config, SessionConfig, "config")
        is_public = self._endpoint.socket == "public"
        if token is not None:
            of_kind(token, Token, "token")
            if is_public:
                raise ConfigurationError(
                    setting="token",
                    problem="the public WebSocket takes none",
                    remedy='leave it out, or use an Endpoint with socket="private"',
                )
        self._state = _S.NEW
        # The input under way.
        self._input = ""
        self._failure: Failure | None = None
        self._deadline: float | None = None
        self._epoch = 0
        self._connection: Connection | None = None
        self._next_id = 1
        self._paused = False
        self._backoff = Backoff(self._config, jitter)
        self._refusals = Refusals(self._config, self._backoff.spread)
        self._pulls = Pulls(self._config)
        # Both are asked for with every frame.
        self._refused = self._refusals.refused
        self._pulling = self._pulls.waiting
        # The ends of pulls, until the step of the input under way has them.
        self._answers = tuple[PullEnd, ...]()
        self._wishes = Wishes(
            topics, self._refusals, self._config.max_pending, self._endpoint.socket
        )
        self._breaks = Breaks()
        self._lateness = Lateness(min(self._config.open_timeout, self._config.token_timeout))
        self._is_fixed = is_public or token is not None
        self._token = token
        self._redactor = Redactor() if token is None else Redactor(token)
        self._clean = EventRedactor(self._redactor, self._config.max_kept)
        # The refusal that a fresh token has yet to make up for, and the token that was refused.
        self._refusal: tuple[Failure, Token] | None = None

    def _begin(self, name: str, now: float) -> None:
        """Begin an input.

        Raises:
            LocalProtocolError: it is not possible in this state.
            ConfigurationError: the time is none.
        """
        check_time(now)
        if name not in TRANSITIONS[self._state]:
            raise LocalProtocolError(
                state=f"the session is {self._state.value}",
                input=name,
                remedy=REMEDIES[self._state],
            )
        self._input = name

    def _enter(self, state: SessionState) -> None:
        """Set the state, which has to be one that the input under way may lead to."""
        if state not in TRANSITIONS[self._state][self._input]:
            raise AssertionError(f"{self._input} leads from {self._state} to {state}")
        self._state = state

    def _step(self, events: tuple[Event, ...] = (), actions: tuple[Action, ...] = ()) -> Step:
        answers, self._answers = self._answers, ()
        return Step(events, actions, self._next_deadline(), answers)

    def _next_deadline(self) -> float | None:
        connection = self._connection
        if connection is None:
            is_held = self._paused and self._state is _S.WAITING
            return None if is_held else self._deadline
        if not self._refused and not self._pulling:
            return connection.deadline
        due = (self._refusals.due, self._pulls.due, connection.deadline)
        return min((at for at in due if at is not None), default=None)

    def _of(self, step: Step) -> Step:
        """A step of the connection that the session has nothing to add to but its deadline."""
        if not self._refused and not self._pulling:
            return step
        return attrs.evolve(step, deadline=self._next_deadline())

    def _dial_if_due(self, now: float) -> Step:
        """The next dial, if there is to be one and its time has come."""
        is_due = self._deadline is not None and now >= self._deadline
        if self._state is not _S.WAITING or self._paused or not is_due:
            return self._step()
        return self._step(actions=self._dial(now))

    def _dial(self, now: float) -> tuple[Action, ...]:
        if self._is_fixed:
            return self._connect(self._token, now)
        self._enter(_S.FETCHING_TOKEN)
        self._deadline = now + self._config.token_timeout
        return (FetchToken(),)

    def _connect(self, token: Token | None, now: float) -> tuple[Action, ...]:
        self._enter(_S.CONNECTING)
        self._deadline = now + self._config.open_timeout
        config = self._config
        return (Connect(self._endpoint, token, config.open_timeout, config.max_frame_size),)

    def _open(self, now: float) -> Step:
        """Begin a connection."""
        self._enter(_S.CONNECTED)
        self._epoch += 1
        self._refusal = None
        self._backoff.connect()
        if not self._wishes.desired:
            self._backoff.settle(now)
        roomy = attrs.evolve(self._config, max_kept=self._config.max_kept + MARGIN)
        connection = Connection(roomy, epoch=self._epoch, first_id=self._next_id)
        self._connection = connection
        if self._paused:
            connection.reading_paused(now)
        # Also without a topic: liveness begins with the connection.
        connection.deadline_reached(now)
        self._refusals.release(now)
        return self._step((Connected(self._epoch),), self._ask(now))

    def _states(self) -> dict[Topic, SubscriptionState]:
        """Return the state of every topic that is desired or was asked for."""
        states = dict.fromkeys(self._wishes.desired, SubscriptionState.IDLE)
        return states if self._connection is None else {**states, **self._connection.subscriptions}

    def _ask(self, now: float) -> tuple[Action, ...]:
        """Return requests for what the connection lacks."""
        if self._connection is None:
            return ()
        actions = self._wishes.ask(self._connection, now)
        actions += self._pulls.ask(self._connection, now)
        self._next_id = self._connection.next_id
        return actions

    def _after(self, step: Step, now: float) -> Step:
        """Return what a step of the connection means for the session."""
        connection = self._connection
        assert connection is not None
        events: list[Event] = []
        answered = bool(step.answers)
        for end in step.answers:
            self._answers += self._pulls.answer(self._clean.answer(end))
        for event in step.events:
            events.append(self._clean.event(event, self._states()))
            match event:
                case Subscribed(topic=topic, ts=ts):
                    events += self._close_gap(topic, ts, now)
                    self._refusals.accept(topic, is_desired=topic in self._wishes.desired)
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
        if not self._backoff.is_settled and self._wishes.are_met(connection):
            self._backoff.settle(now)
        return self._step(tuple(events), actions)

    def _rejected(self, event: SubscriptionRejected, now: float) -> tuple[Event, ...]:
        """Return what the application is told of a refusal."""
        topic = event.topic
        clean = self._clean.event(event, ())
        assert isinstance(clean, SubscriptionRejected)
        if event.method != topic.subscribe_method:
            # The server goes on publishing, and the application has been told. Asking once more
            # with every response would help nobody, so the topic counts as desired again.
            self._wishes.desired[topic] = None
            return (clean,)
        retry_in = self._refusals.refuse(topic, now)
        if retry_in is None:
            self._wishes.drop(topic)
            # The gap before it, as with every topic that is not followed any more.
            return (*self._close_gap(topic, None, now), clean)
        # Its gap is reported when it is acknowledged again, or dropped.
        return (attrs.evolve(clean, retry_in=retry_in),)

    def _close_gap(self, topic: Topic, ack_ts: int | None, now: float) -> tuple[Event, ...]:
        """Return the gap that ends here, if the topic's stream was broken off."""
        clock = None if self._connection is None else self._connection.clock
        return self._breaks.close_gap(topic, ack_ts, clock, now, self._epoch)

    def _forsake(self, topic: Topic, now: float) -> tuple[Event, ...]:
        """Return the end of a topic without an acknowledgement. What was missed of it stays
        missed."""
        gap = self._close_gap(topic, None, now)
        return (*gap, Unsubscribed(topic, None, self._epoch))

    def _fail(self, failure: Failure, now: float) -> Step:
        """The dial or the connection has come to nothing, if there still is one."""
        failure = self._clean.failure(failure)
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
            # A stream begins with the first thing that the application is told of it.
            if topic in self._breaks or since is not None or state is not _SUBSCRIBING:
                self._breaks.break_off(topic, since, clock)
            if topic not in self._wishes.desired:
                events += self._forsake(topic, now)
        self._backoff.lose(now)
        return self._retry(failure, now, events, actions)

    def _retry(
        self,
        failure: Failure,
        now: float,
        events: tuple[Event, ...] = (),
        actions: tuple[Action, ...] = (),
    ) -> Step:
        self._answers += self._pulls.lose(failure)
        wait = self._backoff.delay(failure)
        if wait is None:
            return self._give_up(failure, events, actions)
        self._enter(_S.WAITING)
        self._deadline = now + wait
        disconnected = Disconnected(failure, wait, self._epoch, self._backoff.retries)
        return self._step((*events, disconnected), actions)

    def _give_up(
        self,
        failure: Failure,
        events: tuple[Event, ...] = (),
        actions: tuple[Action, ...] = (),
    ) -> Step:
        self._end(FeedFailed(failure))
        self._failure = failure
        disconnected = Disconnected(failure, None, self._epoch, self._backoff.retries)
        return self._step((*events, disconnected, Closed(failure)), actions)

    def _end(self, error: TopOneError) -> None:
        self._answers += self._pulls.end(error)
        self._enter(_S.CLOSED)
        self._deadline = None
        self._connection = None
        self._breaks.clear()
        self._refusals.clear()
        self._token = None
        self._redactor.forget()
        self._refusal = None
