"""One connection: request ids, pending requests, subscription states, anomalies.

Everything here ends with the connection. What outlives it (what is desired, when to dial again,
what may have been missed) is the session's. Use ``Connection`` alone to bring your own policy for
reconnecting.

A connection has no states of its own but good and given up: ``failure`` tells which. Its topics
have (see ``subscriptions``), its requests have deadlines (see ``requests``), and the peer is there
or not (see ``liveness``). How frames are matched with these is in ``channel``.
"""

from collections.abc import Mapping
from typing import assert_never

from topone_proto._checks import LAST_TIME, check_time
from topone_proto.events import (
    UnexpectedUpdate,
)
from topone_proto.failures import Failure
from topone_proto.session.actions import SendText
from topone_proto.session.channel import Channel
from topone_proto.session.gaps import ServerClock
from topone_proto.session.step import Step
from topone_proto.session.subscriptions import (
    SubscriptionInput,
    SubscriptionState,
)
from topone_proto.wire.codec import decode, excerpt, suspects
from topone_proto.wire.messages import Malformed, Ping, Response, Unrecognised
from topone_proto.wire.topic import Topic, Update

__all__ = ["Connection"]

_State = SubscriptionState
_Input = SubscriptionInput


class Connection(Channel):
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

    @property
    def subscriptions(self) -> Mapping[Topic, SubscriptionState]:
        """The state of every topic that this connection has been asked about."""
        return self._subscriptions.states

    @property
    def pending(self) -> tuple[str, ...]:
        """The ids of the requests that wait for a response, oldest first."""
        return tuple(self._pending.waiting)

    @property
    def next_id(self) -> int:
        """The number that the next request will have."""
        return self._next_id

    @property
    def failure(self) -> Failure | None:
        """The reason why the connection was given up; None while it is good."""
        return self._failure

    @property
    def opened(self) -> float | None:
        """The time of the first input; None before it."""
        return self._opened

    @property
    def last_received(self) -> float | None:
        """The time at which anything was last received, be it only a part of a frame, or the first
        input came; None before it. A pause of reading since then does not count: it moves on by as
        much."""
        return None if self._opened is None else self._life.last_received

    @property
    def ack_latency(self) -> float | None:
        """Seconds from the request to its response, of the latest that was answered, pauses of
        reading included; None if none was."""
        return self._ack_latency

    @property
    def lags(self) -> Mapping[Topic, tuple[int, float]]:
        """For every topic of whose latest frame the server time is known: that, in milliseconds,
        and when it was received."""
        return self._subscriptions.lags

    @property
    def clock(self) -> ServerClock | None:
        """The certain facts about the server's clock; None if no frame had a time."""
        return self._subscriptions.clock

    @property
    def deadline(self) -> float | None:
        """The time at which ``deadline_reached`` is due, as the latest step said; None before the
        first input and at the end."""
        return self._deadline

    def state_of(self, topic: Topic) -> SubscriptionState:
        """The state of one topic; IDLE if it was never asked for."""
        entry = self._by_name.get(topic.name)
        return _State.IDLE if entry is None else entry.state

    def last_ts_of(self, topic: Topic) -> int | None:
        """The server time in milliseconds of the topic's latest frame here, its acknowledgement or
        an update."""
        entry = self._by_name.get(topic.name)
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

    def pull(self, topic: Topic, start: int, end: int, now: float) -> Step:
        """Ask for the values of a topic between two times. The answer comes in ``Step.answers``,
        with the number that ``next_id`` had before.

        This is one request: the exchange answers it with at most 300 rows. A session asks for a
        longer span in pieces.

        Args:
            topic: the topic, such as a ``kline``.
            start: the beginning, in seconds since 1970 UTC.
            end: the end, in the same.
            now: the time.

        Raises:
            ConfigurationError: the topic cannot be pulled.
            LocalProtocolError: too many requests wait, or the connection was given up.
        """
        method = f"req_{topic.name}"
        self._require_good(method)
        self._require_room(method, len(self._pieces.requests.waiting))
        request = self._pieces.request(topic, start, end, self._next_id, now)
        if self._opened is None:
            self._start(now)
        return self._send(request)

    def forget_pull(self, number: int) -> None:
        """Drop the answer to a request of ``pull``, when it comes."""
        self._pieces.forget(number)

    def message_received(self, frame: str | bytes, now: float) -> Step:
        """Take a text frame in, as text or as its UTF-8 bytes. Never raises, whatever is in it."""
        found = self.take_frame(frame, now)
        return Step((found,), (), self._deadline) if isinstance(found, Update) else found

    def take_frame(self, frame: str | bytes, now: float) -> Update | Step:
        """Take a text frame in as ``message_received`` does. An update that is all there is to it
        is returned itself; its step would have the deadline of the step before."""
        if self._opened is None or not 0 <= now < LAST_TIME:
            self._begin(now)
        if self._failure is not None:
            # The tail of a connection that is over. Whatever was in it is covered by the gap.
            return Step()
        self._life.last_received = now
        if len(frame) > self._max_frame_size:
            reason = f"larger than {self._max_frame_size} (SessionConfig.max_frame_size)"
            kept = excerpt(frame, self._max_kept)
            topics = suspects(frame, self._subscriptions.suspects)
            return self._step(Malformed(reason, "$", kept, len(frame), topics=topics))
        known = self._subscriptions.suspects
        message = decode(frame, self._max_kept, self._max_frame_size, known)
        if isinstance(message, Update):
            entry = self._by_name.get(message.topic.name)
            if entry is not None and entry.followed:
                if message.ts is not None:
                    entry.last_ts, entry.last_at = message.ts, now
                return message
            return self._step(UnexpectedUpdate(message))
        match message:
            case Ping(answer=answer):
                self._life.last_answer = answer
                return Step((), (SendText(answer),), self._deadline)
            case Response():
                return self._responded(message)
            case Unrecognised() | Malformed():
                is_reported = self._noise.is_reported(message, len(frame))
                return self._step() if is_reported else self._step(message)
            case _:
                assert_never(message)

    def pong_received(self, payload: bytes, now: float) -> Step:
        """Take the pong of a ``SendPing`` in, or any other pong."""
        self._begin(now)
        if self._failure is not None:
            return Step()
        self._life.pong(payload, now)
        self._set_deadline()
        return self._step()

    def bytes_received(self, at: float, now: float) -> Step:
        """Take note that bytes of the peer came at the time ``at``, be they a part of a frame or a
        control frame.

        They show that the peer is there, as a frame does: a large one on a slow line, or a ping of
        a server that answers none of ours. Call it right before ``deadline_reached``, with the
        latest such time that the transport knows of.
        """
        self._begin(now)
        if self._failure is None:
            self._life.hear(at, now)
        return self._step()

    def reading_paused(self, now: float) -> Step:
        """The caller stops reading because its application is slow.

        Silence proves nothing from now on, so no timeout runs on. Pings are still sent, and at the
        same interval the answer to the server's own application ping, unasked, in the form in which
        it was last given: a ping that waits unread in the socket must not cost the connection.
        """
        self._begin(now)
        if self._failure is None and self._life.paused_at is None:
            self._life.paused_at = now
            self._set_deadline()
        return self._step()

    def reading_resumed(self, now: float) -> Step:
        """The caller reads again. The pause does not count: every timeout goes on where it was."""
        check_time(now)
        if self._life.paused_at is not None:
            paused_at = self._life.resume(now)
            self._pending.resume(paused_at, now)
            self._pieces.requests.resume(paused_at, now)
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
        self._begin(now)
        if self._failure is not None:
            return Step()
        due = self._deadline if told is None else told
        # While reading is paused nothing runs out, so there is nothing to put off.
        if self._life.paused_at is None:
            self._life.excuse(due, now)
            self._pending.excuse(due, now)
            self._pieces.requests.excuse(due, now)
            overdue = self._pending.overdue(now, self._life.part_at)
            if overdue:
                return self._time_out([self._pending.waiting[name].about for name in overdue])
        dead = self._life.judge(now)
        if dead is not None:
            return self._fail(dead)
        is_paused = self._life.paused_at is not None
        answers = () if is_paused else self._pieces.time_out(now, self._life.part_at)
        actions = self._life.ping(now)
        self._set_deadline()
        return Step((), actions, self._deadline, answers)
