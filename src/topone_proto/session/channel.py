"""The parts of one connection, and what its inputs lead to.

``Connection`` has the inputs; what they lead to is here. Each frame is matched with what was asked:
an update with its topic, a response with its request, by id and by method, the answer to a pull
with its piece. What matches nothing is reported and changes nothing.
"""

import attrs

from topone_proto._checks import check_time, or_default
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
from topone_proto.session.actions import Close, SendText
from topone_proto.session.anomalies import Noise, bounded, is_of_another
from topone_proto.session.config import SessionConfig
from topone_proto.session.gaps import Heard
from topone_proto.session.liveness import Liveness
from topone_proto.session.pieces import Pieces
from topone_proto.session.requests import Requests, Waiting
from topone_proto.session.step import Step
from topone_proto.session.subscriptions import (
    TRANSITIONS,
    Subscription,
    SubscriptionInput,
    Subscriptions,
    SubscriptionState,
)
from topone_proto.wire.codec import carried, encode
from topone_proto.wire.messages import Malformed, Request, Response
from topone_proto.wire.topic import Topic, Update

__all__ = ["Channel"]

_State = SubscriptionState
_Input = SubscriptionInput


@value
class _Pending:
    """The subject of a request: a subscription, and what is asked of it."""

    subscription: Subscription
    method: str


class Channel:
    """The state of one connection. Most methods are called once it has begun and while it is
    good."""

    def __init__(
        self, config: SessionConfig | None = None, *, epoch: int = 1, first_id: int = 1
    ) -> None:
        self._config = or_default(config, SessionConfig, "config")
        self._max_frame_size = self._config.max_frame_size
        self._max_kept = self._config.max_kept
        self._epoch = epoch
        self._next_id = first_id
        self._subscriptions = Subscriptions()
        # Looked up with every update.
        self._by_name = self._subscriptions.by_name
        self._failure: Failure | None = None
        # When the first input came.
        self._opened: float | None = None
        self._ack_latency: float | None = None
        self._noise = Noise()
        self._deadline: float | None = None
        timeouts = (
            self._config.ack_timeout,
            self._config.pong_timeout,
            self._config.silence_timeout,
        )
        shortest = min(time for time in timeouts if time is not None)
        # Apart: what is heard of a peer says that it is there, and nothing of an acknowledgement.
        self._life = Liveness(self._config, shortest)
        self._pending: Requests[_Pending] = Requests(self._config.ack_timeout, shortest)
        self._pieces = Pieces(self._config, shortest)

    def _begin(self, now: float) -> None:
        """Begin an input."""
        check_time(now)
        if self._opened is None:
            self._start(now)

    def _start(self, now: float) -> None:
        self._opened = now
        self._life.begin(now)
        self._set_deadline()

    def _step(self, *events: Event) -> Step:
        return Step(events, (), self._deadline)

    def _set_deadline(self) -> None:
        """Set the deadline to the earliest of all that may be due."""
        due = [self._life.deadline, self._life.ping_at]
        if self._life.paused_at is None:
            due += (self._pending.deadline, self._pieces.requests.deadline)
        self._deadline = min((at for at in due if at is not None), default=None)

    def _require_good(self, method: str) -> None:
        if self._failure is not None:
            raise LocalProtocolError(
                state="the connection is given up", input=method, remedy="open another connection"
            )

    def _require_room(self, method: str, waiting: int) -> None:
        if waiting >= self._config.max_pending:
            raise LocalProtocolError(
                state=f"{waiting} requests wait for their response",
                input=method,
                remedy="wait for some of them, or raise SessionConfig.max_pending",
            )

    def _send(self, request: Request) -> Step:
        self._next_id += 1
        self._set_deadline()
        return Step((), (SendText(encode(request)),), self._deadline)

    def _request(self, topic: Topic, by: SubscriptionInput, method: str, now: float) -> Step:
        self._require_good(method)
        entry = self._by_name.get(topic.name) or Subscription(topic)
        if by not in TRANSITIONS[entry.state]:
            raise LocalProtocolError(
                state=f"the topic {topic} is {entry.state.value}",
                input=method,
                remedy="look at Connection.subscriptions before asking",
            )
        self._require_room(method, len(self._pending.waiting))
        # Only now: an input that is refused leaves nothing behind, not even the start of the clock.
        self._begin(now)
        self._subscriptions.add(entry)
        entry.move(by)
        if by is _Input.SUBSCRIBE:
            # A new stream: what was heard of an earlier one says nothing about it.
            entry.last_ts = None
            entry.asked_at = now
        request = Request(id=str(self._next_id), method=method, lang=self._config.lang)
        self._pending.add(request.id, _Pending(entry, method), now)
        return self._send(request)

    def _responded(self, response: Response) -> Step:
        """Return what a response means."""
        asked = self._pieces.method_of(response.id)
        if asked is None or is_of_another(response.method, asked):
            return self._step(*self._acknowledged(response, asked))
        answers = self._pieces.answer(response)
        self._set_deadline()
        return Step((), (), self._deadline, answers)

    def _acknowledged(self, response: Response, pulled: str | None) -> tuple[Event, ...]:
        """Return what a response to no pull means, and what it carries.

        Args:
            response: the response.
            pulled: the method of the pull that has its id; None if none has.
        """
        pending = None if response.id is None else self._pending.waiting.get(response.id)
        if pending is None and pulled is None:
            updates = self._delivered(carried(response, keep=self._max_kept))
            if updates and all(isinstance(event, Update) for event in updates):
                # An update under the id of its subscription, long since acknowledged.
                return updates
            reason = "no request with this id is waiting"
            return (UnexpectedResponse(bounded(response, self._max_kept), reason), *updates)
        asked = pulled if pending is None else pending.about.method
        if pending is None or is_of_another(response.method, pending.about.method):
            reason = f"the request with this id was {asked}"
            updates = self._delivered(carried(response, keep=self._max_kept))
            return (UnexpectedResponse(bounded(response, self._max_kept), reason), *updates)
        event = self._answered(response, pending)
        method = pending.about.subscription.topic.subscribe_method
        return (event, *self._delivered(carried(response, method, keep=self._max_kept)))

    def _delivered(self, updates: tuple[Update | Malformed, ...]) -> tuple[Event, ...]:
        """Updates that came within a response, as if they had come by themselves."""
        events: list[Event] = []
        for update in updates:
            if isinstance(update, Malformed):
                events.append(update)
                continue
            entry = self._by_name.get(update.topic.name)
            if entry is None or not entry.followed:
                events.append(UnexpectedUpdate(update))
                continue
            if update.ts is not None:
                entry.last_ts, entry.last_at = update.ts, self._life.last_received
            events.append(update)
        return tuple(events)

    def _answered(self, response: Response, pending: Waiting[_Pending]) -> Event:
        assert response.id is not None
        del self._pending.waiting[response.id]
        self._set_deadline()
        entry = pending.about.subscription
        last_received = self._life.last_received
        entry.move(_Input.ACCEPTED if response.ok else _Input.REFUSED)
        self._ack_latency = last_received - pending.sent
        if response.ts is not None:
            entry.last_ts, entry.last_at = response.ts, last_received
            entry.acknowledged = Heard(response.ts, pending.sent, last_received)
        if not response.ok:
            return SubscriptionRejected(
                topic=entry.topic,
                method=pending.about.method,
                code=response.code,
                msg=response.msg[: self._max_kept],
                ts=response.ts,
                epoch=self._epoch,
            )
        if entry.state is _State.ACTIVE:
            return Subscribed(entry.topic, response.ts, self._epoch)
        return Unsubscribed(entry.topic, response.ts, self._epoch)

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
        self._pending.waiting.clear()
        self._pieces.requests.waiting.clear()
        self._deadline = None
        # Nobody is there to shake hands with, so the socket is dropped at once.
        return Step((), (Close(1001, kind.value, 0.0),), None)
