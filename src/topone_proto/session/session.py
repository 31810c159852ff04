"""The client's side of a feed: connection after connection.

A session dials, subscribes to what is desired, backs off and dials again, and reports what may have
been missed. It decides about everything that outlives one connection; what happens on one is its
``Connection``'s. Its states and inputs are those of ``states.TRANSITIONS``, where their theory is.
Each concern of a session has a module of its own: ``wishes`` (the topics), ``backoff`` (when to try
again), ``gaps`` (what may be missing), ``redaction`` (no token in any event).
"""

from collections.abc import Mapping
from typing import Final

from topone_proto.errors import FeedClosed
from topone_proto.events import (
    Closed,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Close
from topone_proto.session.connection import Connection
from topone_proto.session.life import Life
from topone_proto.session.pulls import Moment
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.session.subscriptions import SubscriptionState
from topone_proto.session.wishes import UNASKED
from topone_proto.wire.topic import Topic, Update

__all__ = ["Session"]

_S = SessionState
_SUBSCRIBING: Final = SubscriptionState.SUBSCRIBING

# Never sent: libraries write them for the end of a connection without a close frame (RFC 6455
# section 7.4.1).
_NO_CLOSE_FRAME: Final = frozenset({1006, 1015})


class Session(Life):
    """The client's side of a feed, over any number of connections.

    Drive it like this: call ``start``; carry out the actions of every ``Step`` in order, hand its
    events on, and call ``deadline_reached`` when its deadline comes first. There is one dial or
    connection at a time. After a ``Close`` action nothing of what it closed needs to be reported,
    and what still is gets ignored until the next dial.

    Every input takes ``now``, seconds on any clock that only goes forward. One that is not possible
    in the present state (see ``states.TRANSITIONS``) raises ``LocalProtocolError`` and changes
    nothing.

    Args:
        topics: what is desired from the start.
        endpoint: where to dial; the exchange's private WebSocket unless given.
        token: the token, if it is always the same. None asks for one before every dial, by a
            ``FetchToken`` action. The public WebSocket needs none, and none is asked for.
        config: timeouts, limits, back-off.
        jitter: a source of uniform random numbers in [0, 1), such as ``random.random``: back-off is
            spread with it.

    Raises:
        ConfigurationError: something among the topics is none, or is served by another WebSocket;
            or an argument is of another kind.
    """

    @property
    def state(self) -> SessionState:
        """The state of the feed."""
        return self._state

    @property
    def failure(self) -> Failure | None:
        """The reason why the feed has ended by itself; None if it has not."""
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
        return tuple(self._wishes.desired)

    @property
    def subscriptions(self) -> Mapping[Topic, SubscriptionState]:
        """The state of every desired topic, and of those that the present connection was asked
        about."""
        return self._states()

    @property
    def refused_token(self) -> Token | None:
        """The token that the exchange has refused in the latest handshake; None if it has not, or
        has accepted another one since."""
        return None if self._refusal is None else self._refusal[1]

    @property
    def pulls(self) -> tuple[int, ...]:
        """The numbers of the pulls that have not ended, in the order of their turns."""
        return tuple(self._pulling)

    @property
    def pulls_made(self) -> int:
        """The number of pulls so far, which is the number of the latest."""
        return self._pulls.made

    @property
    def connection(self) -> Connection | None:
        """The present connection, to look at and not to feed; None if there is none."""
        return self._connection

    # Inputs of the application.

    def start(self, now: float) -> Step:
        """Begin: dial, or ask for the token to dial with."""
        self._begin("start", now)
        return self._step(actions=self._dial(now))

    def subscribe(self, topic: Topic, now: float) -> Step:
        """Desire a topic, on this connection and on every later one. Nothing happens if it is
        desired already, but that one that was refused and waits is asked for again at once."""
        self._begin("subscribe", now)
        self._wishes.add(topic)
        return self._step(actions=self._ask(now))

    def unsubscribe(self, topic: Topic, now: float) -> Step:
        """Desire a topic no more. Nothing happens if it is not desired.

        If the exchange refuses (``SubscriptionRejected``), it goes on publishing, and the topic
        counts as desired again: in ``desired`` and ``subscriptions``, in a feed's metrics, and on
        the next connection. Ask again if it is to end.
        """
        self._begin("unsubscribe", now)
        if topic not in self._wishes.desired:
            return self._step()
        self._wishes.drop(topic)
        connection = self._connection
        if connection is None or connection.state_of(topic) in UNASKED:
            return self._step(self._forsake(topic, now))
        return self._step(actions=self._ask(now))

    def pull(self, topic: Topic, start: Moment, end: Moment, now: float) -> Step:
        """Ask for all values of a topic in a span of time, both ends included.

        The pull's number is what ``pulls_made`` says afterwards. It ends with a ``PullEnd`` of this
        number in the answers of this step or of a later one: with the values, the oldest first, or
        with an error; see ``pulls``. It waits for its turn and for a connection.

        Args:
            topic: the topic, such as a ``kline``.
            start: the beginning: an aware datetime, or seconds since 1970 UTC.
            end: the end, in the same.
            now: the time.

        Raises:
            ConfigurationError: the topic cannot be pulled, or a time is none, or the end is before
                the start.
        """
        self._begin("pull", now)
        self._wishes.checked(topic)
        self._answers = self._pulls.add(topic, start, end)
        return self._step(actions=self._ask(now))

    def cancel_pull(self, number: int, now: float) -> Step:
        """Give a pull up. It has no answer then. Nothing happens if it has ended."""
        self._begin("cancel_pull", now)
        self._pulls.cancel(number, self._connection)
        return self._step(actions=self._ask(now))

    def close(self, now: float) -> Step:
        """End the feed, whatever it is doing. Idempotent. The step tells ``Closed``, and has
        what is open closed within ``SessionConfig.close_timeout``."""
        self._begin("close", now)
        if self._state is _S.CLOSED:
            return self._step()
        open_ended = self._state in {_S.FETCHING_TOKEN, _S.CONNECTING, _S.CONNECTED}
        self._end(FeedClosed())
        actions = (Close(1000, "", self._config.close_timeout),) if open_ended else ()
        return self._step((Closed(),), actions)

    # Inputs of the transport.

    def token_obtained(self, token: Token, now: float) -> Step:
        """The application's callable supplied a token: dial with it, unless it was refused a moment
        ago."""
        self._begin("token_obtained", now)
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
        self._begin("token_failed", now)
        if self._state is not _S.FETCHING_TOKEN:
            return self._step()
        return self._retry(self._clean.failure(Failure(FailureKind.TOKEN, detail)), now)

    def connection_made(self, now: float) -> Step:
        """The WebSocket is open: all that is desired is asked for. One that comes too late is
        closed."""
        self._begin("connection_made", now)
        if self._state is not _S.CONNECTING:
            return self._step(actions=(Close(1001, "too late", 0.0),))
        return self._open(now)

    def connection_failed(self, failure: Failure, now: float) -> Step:
        """The dial failed, or the connection did, in a way that ``failure`` describes.

        Of the latest ``Connect`` only, never for a dial or a connection that is no longer current:
        once there is another one, it would be taken for that one's. On an open connection
        ``NOT_WEBSOCKET``, which is about the answer to a handshake, counts as ``LOST``.
        """
        self._begin("connection_failed", now)
        return self._fail(failure, now)

    def message_received(self, frame: str | bytes, now: float) -> Step:
        """Take a text frame in, as text or as its UTF-8 bytes. Never raises for anything that a
        frame contains."""
        connection = self._connection
        if connection is None:
            self._begin("message_received", now)
            return self._step()
        found = connection.take_frame(frame, now)
        if isinstance(found, Step):
            return self._of_frame(found, now)
        step = Step((found,), (), connection.deadline)
        return self._of(step) if self._redactor.is_clean(found.text) else self._of_frame(step, now)

    def take_frame(self, frame: str | bytes, now: float) -> Update | Step:
        """Take a text frame in as ``message_received`` does, in less time: an update that is all
        there is to it is returned itself. Its step would have the deadline of the step before."""
        connection = self._connection
        if connection is None:
            return self.message_received(frame, now)
        found = connection.take_frame(frame, now)
        if isinstance(found, Step):
            return self._of_frame(found, now)
        if self._redactor.is_clean(found.text):
            return found
        return self._of_frame(Step((found,), (), connection.deadline), now)

    def _of_frame(self, step: Step, now: float) -> Step:
        """Return what the connection's step of a frame means for the session, which has nothing to
        add to the answer to a ping."""
        if not step.events and not step.answers:
            return self._of(step)
        self._begin("message_received", now)
        return self._after(step, now)

    def pong_received(self, payload: bytes, now: float) -> Step:
        """Take the pong of a ``SendPing`` in."""
        self._begin("pong_received", now)
        connection = self._connection
        return (
            self._step() if connection is None else self._of(connection.pong_received(payload, now))
        )

    def bytes_received(self, at: float, now: float) -> Step:
        """Bytes of the peer came at the time ``at``; see ``Connection.bytes_received``. Ignored
        while there is no connection."""
        self._begin("bytes_received", now)
        connection = self._connection
        if connection is None:
            return self._step()
        return self._of(connection.bytes_received(at, now))

    def reading_paused(self, now: float) -> Step:
        """The application is slow and reading has stopped; see ``Connection.reading_paused``.

        Possible without a connection too: then no dial follows until ``reading_resumed``, since
        each of them would bring the application events that it has no room for.
        """
        self._begin("reading_paused", now)
        self._paused = True
        connection = self._connection
        if connection is None:
            return self._step()
        return self._of(connection.reading_paused(now))

    def reading_resumed(self, now: float) -> Step:
        """Reading goes on. A dial that became due in the meantime is made now."""
        self._begin("reading_resumed", now)
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
        self._begin("connection_lost", now)
        code = None if code in _NO_CLOSE_FRAME else code
        kind = FailureKind.LOST if code is None else FailureKind.CLOSED
        return self._fail(Failure(kind, self._clean.reason(reason), code=code), now)

    def deadline_reached(self, now: float) -> Step:
        """Do what is due. Harmless when called early: the returned deadline is simply the old one.
        Called clearly late it gives up nothing yet: what is unread is to be read first."""
        self._begin("deadline_reached", now)
        connection = self._connection
        if connection is not None:
            told = self._next_deadline()
            step = self._after(connection.deadline_reached(now, told=told), now)
            if connection.failure is not None or not (self._refused or self._pulling):
                return step
            self._refusals.release(now)
            self._answers = step.answers
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
