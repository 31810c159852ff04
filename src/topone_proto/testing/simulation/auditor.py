"""The invariants. One auditor per client sees everything that goes into its feed and comes out of
it.

It shares no code with the core: it keeps its own account of what is desired, what was asked, what
was answered and how often a retry was due, and compares.
"""

import json
from collections import deque
from typing import Any, Never

from topone_proto.events import (
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    Malformed,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.exchange import Publication
from topone_proto.failures import FailureKind
from topone_proto.session.actions import Connect, FetchToken, SendText
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.session.step import Step
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.scenario import SECRET, ClientPlan
from topone_proto.testing.simulation.streams import Streams
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.balance import Balance, BalanceUpdate
from topone_proto.wire.orders import Order, OrderUpdate
from topone_proto.wire.topic import Topic

__all__ = ["Auditor"]

# What the additions of a few floats may differ by.
_HAIR = 1e-6
# The seconds by which a client that was held up puts off what ran out, at most.
_GRACE = 2.0
# What can make everything desired acknowledged, apart from the application's giving the rest up.
_SETTLING = (Connected, Subscribed, Unsubscribed, SubscriptionRejected)
# Milliseconds. Longer no request and its answer take, with all that a network and a pause do.
# And what the clocks of its nodes differ by, and are set back or forward by.
_SLACK = 500_000.0
# Seconds by which what ran out is put off, at most, when a client was held up.
_GRACE = 2.0
# Characters of what counts as a short frame.
_SHORT = 64


def _serial(update: object) -> int:
    assert isinstance(update, Order | Balance)
    return int(update.deal_money if isinstance(update, Order) else update.available)


def _is_end(event: Event) -> bool:
    """True for the last state of an order."""
    return isinstance(event, OrderUpdate) and event.order.is_closed


def _key(event: Event) -> tuple[str, str | int] | None:
    match event:
        case OrderUpdate(order=order):
            return ("orders", order.id)
        case BalanceUpdate(balance=balance):
            return ("balance", balance.asset)
        case _:
            return None


def _gap_of(topic: Topic, neighbour: tuple[Event, ...]) -> Gap | None:
    match neighbour:
        case (Gap(topic=gap_topic) as gap,) if gap_topic == topic:
            return gap
        case _:
            return None


class Auditor:
    """Raises a ``Violation`` at the first thing that must not be.

    Args:
        world: the time.
        plan: the client's.
    """

    def __init__(self, world: World, plan: ClientPlan) -> None:
        self._world = world
        self._plan = plan
        self._config: SessionConfig = plan.config
        self._streams = Streams(self.fail, slack=_SLACK)
        # What was no update and was reported on this connection: the like is not reported again.
        self._reported: set[str] = set()
        self.seen: set[str] = set()
        """The names of what was seen: classes of events, kinds of failures, HTTP statuses."""
        self.desired: set[Topic] = set(plan.topics)
        """What the application wants, after everything that it was told."""
        self.is_closed: bool = False
        self._is_up = False
        self._epoch = 0
        # This connection: what was asked and not answered, and what was acknowledged.
        self._requests: dict[str, tuple[bool, Topic]] = {}
        # When each of them was made, on a clock that stands while reading is paused.
        self._asked_at: dict[str, float] = {}
        # By the clock on the wall.
        self._sent_at: dict[str, float] = {}
        self._free_at = 0.0
        self._paused_at: float | None = None
        self._paused_for = 0.0
        self._active: set[Topic] = set()
        self._ids: set[str] = set()
        # What was acknowledged since it was desired, how often it was refused since, and when it
        # may be asked for again.
        self._known: set[Topic] = set()
        self._refused: dict[Topic, int] = {}
        self._ask_at: dict[Topic, float] = {}
        # Since when everything desired is acknowledged: at the latest since the answer that made it
        # so, at the earliest since the application gave up the last topic that was not.
        self._settled_since: float | None = None
        self._content_since: float | None = None
        # Back-off.
        self.jitter: float = 0.0
        """The last random number that the feed asked for."""
        self._attempts = 0
        self._next_dial_at: float | None = 0.0
        self._refusals = 0
        self._refused_token: str | None = None
        self._last_token: str | None = None
        # Delivery: everything that was put, and not taken or skipped yet.
        self._waiting: deque[Event] = deque()
        self._is_stretched = False
        # The most events that one step had.
        self._largest = 0
        self._calls = 0
        self._skipped = 0
        self._announced = 0
        self._close_called_at: float | None = None

    # --- what happens ---------------------------------------------------------------------------

    def published(self, link: Link, publication: Publication, number: int) -> None:
        """The exchange has sent an update on one of the client's connections, the present one or an
        old one."""
        self._streams.sent(
            publication.topic, _serial(publication.update), publication.ts, number, link.peer
        )

    def unanswered(self, link: Link, *, is_reading: bool, can_know: bool) -> None:
        """The exchange closes a connection because a ping of its own was not answered.

        Args:
            link: the connection.
            is_reading: the client reads, and has long enough for an answer to have arrived.
            can_know: the client was asked before by a message, and as long ago.
        """
        # A client that does not read cannot know that it is asked; but it answers unasked, if it
        # has been asked before in a way that can be answered unasked: by a message. (Pings that are
        # control frames are its library's.)
        can_answer = can_know and self._config.ping_interval is not None
        if not link.faults and not link.is_left and (is_reading or can_answer):
            self.fail("ping", "the exchange dropped a healthy connection for an unanswered ping")

    def wants(self, topic: Topic, *, wanted: bool) -> None:
        """The application calls ``subscribe`` or ``unsubscribe``."""
        self._calls += 1
        (self.desired.add if wanted else self.desired.discard)(topic)
        # The application's word ends a wait.
        self._ask_at.pop(topic, None)
        if not wanted:
            self._known.discard(topic)
            self._refused.pop(topic, None)

    def paused(self) -> None:
        """The client stops reading."""
        self._paused_at = self._world.now
        if self._config.delivery is DeliveryPolicy.CONFLATE:
            keys = [_key(event) for event in self._waiting]
            needed = len({*keys} - {None}) + keys.count(None) + sum(map(_is_end, self._waiting))
            if needed < self._config.capacity:
                self.fail("I9", f"reading stops, and only {needed} events must be kept")

    def resumed(self) -> None:
        """The client reads again."""
        if self._paused_at is not None:
            self._paused_for += self._world.now - self._paused_at
            self._paused_at = None

    def held_up(self, seconds: float) -> None:
        """The client had no turn for so long, until now."""
        self._free_at = self._world.now
        # A pause counts the time already.
        self._paused_for += _GRACE + (seconds if self._paused_at is None else 0.0)

    def close_called(self) -> None:
        """The application calls ``close``."""
        if self._close_called_at is None:
            self._close_called_at = self._world.now

    def finished(self) -> None:
        """The transport is gone, after the end of the feed."""
        called_at = self._close_called_at
        if called_at is not None:
            took = self._world.now - called_at
            if took > self._config.close_timeout + _HAIR and self._world.now > self._free_at:
                self.fail("I7", f"close took {took} s")

    def told(self, step: Step, link: Link | None, frame: Frame | None) -> None:
        """A step of the session, before anything is done about it; ``frame`` is what it answers, if
        it is one."""
        self._largest = max(self._largest, len(step.events))
        if step.events:
            self._see_events(step.events, link, frame)
            self._remember_noise(step.events, frame)
        elif frame is not None and frame.kind == "text" and self._is_up and not self.is_closed:
            self._see_ping(frame.data, step)
        for action in step.actions:
            match action:
                case Connect(token=token):
                    self._see_dial(token.reveal())
                    self._look_for_secret(action)
                case FetchToken():
                    self._see_attempt()
                case SendText(text=text):
                    self._see_text(text)
                case _:
                    self._look_for_secret(action)
        if self.is_closed and step.deadline is not None:
            self.fail("I5", f"a deadline is left after Closed: {step.deadline}")
        self._see_patience(link)
        if self._is_up and self._settled_since is None and self.desired <= self._active:
            if self._content_since is None:
                self._content_since = self._world.now
            # Giving up a topic that was not asked for yet is acknowledged by nobody.
            is_made = any(isinstance(event, Connected) for event in step.events)
            is_told = frame is not None and any(isinstance(e, _SETTLING) for e in step.events)
            if is_made or is_told:
                self._settled_since = self._world.now

    def taken(self, event: Event) -> None:
        """The application takes an event out of the feed."""
        if isinstance(event, Conflated):
            if self._config.delivery is not DeliveryPolicy.CONFLATE or event.count < 1:
                self.fail("I1", f"unasked: {event}")
            self._announced += event.count
            return
        while self._waiting:
            put = self._waiting.popleft()
            if put is event:
                break
            self._skip(put)
        else:
            self.fail("I1", f"the buffer delivers what was not put into it, or twice: {event}")
        if self._config.delivery is DeliveryPolicy.CONFLATE and _key(event) is not None:
            newer = sum(_key(later) == _key(event) for later in self._waiting)
            if newer > self._config.capacity and not _is_end(event):
                self.fail("I9", f"{newer} newer ones have come when it takes {event}")
        if self._skipped > self._announced:
            self.fail("I1", f"the buffer has dropped {self._skipped - self._announced} in silence")

    def waiting(self, count: int, *, has_waiters: bool) -> None:
        """How many events wait for the application, after a step."""
        capacity = self._config.capacity
        # While a call waits for its answer, reading goes on until twice as many wait; that is over
        # when there is room again.
        self._is_stretched = has_waiters or (self._is_stretched and count > capacity)
        limit = capacity * (2 if self._is_stretched else 1)
        # Beyond it: the step that fills the buffer, that which ends the connection or the feed, and
        # the answers to the application's own calls.
        limit += 2 * self._largest + 2 * self._calls
        if count > limit:
            self.fail("I4", f"{count} events wait, with room for {capacity}")

    # --- what must have happened ----------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """True if everything desired is acknowledged and nothing else is, or the feed has ended."""
        if self.is_closed:
            return True
        return self._is_up and not self._requests and self.desired == self._active

    def half_open_until(self, link: Link, resumed_at: float) -> float:
        """By when a half-open connection must have been noticed."""
        assert link.dead_since is not None
        config = self._config
        bound = config.silence_timeout or float("inf")
        if config.ping_interval is not None:
            bound = min(bound, config.ping_interval + config.pong_timeout)
        return max(link.dead_since, link.heard_at, resumed_at) + bound

    def half_open(self) -> None:
        """It was not."""
        self.fail("alive", "a half-open connection was not noticed in time")

    def nowhere_to_send(self) -> None:
        """There is no connection, and something is to be sent on it."""
        self.fail("I5", "something is to be sent without a connection")

    def unsettled(self) -> None:
        """The time in which everything desired must be acknowledged is over."""
        self.fail("I2", f"desired: {sorted(map(str, self.desired))}, acknowledged: "
                   f"{sorted(map(str, self._active))} on connection {self._epoch}")  # fmt: skip

    def unanswered_call(self, method: str) -> None:
        """A call of ``subscribe`` or ``unsubscribe`` still waits when all is calm."""
        self.fail("I2", f"a call still waits: {method}")

    def all_is_calm(self) -> None:
        """Everything sent has arrived and everything that arrived was taken, or the feed has
        ended."""
        if not self.is_closed:
            self._streams.settle()
        while self._waiting:
            self._skip(self._waiting.popleft())
        if self._skipped != self._announced:
            self.fail("I1", f"{self._skipped} updates left out, and {self._announced} announced")

    def must_be_closed(self, deadline: float | None, *, is_finished: bool) -> None:
        """The application has closed the feed, and its time is over."""
        if not (self.is_closed and is_finished):
            self.fail("I7", "close has not ended")
        if deadline is not None:
            self.fail("I5", f"a deadline is left after Closed: {deadline}")

    # --- events ---------------------------------------------------------------------------------

    def _see_events(
        self, events: tuple[Event, ...], link: Link | None, frame: Frame | None
    ) -> None:
        if self.is_closed:
            self.fail("I5", f"after Closed: {events[0]}")
        self._waiting.extend(events)
        if self._is_up and any(isinstance(event, Disconnected) for event in events):
            # What stands before the Disconnected belongs to the loss already.
            self._streams.broken()
        for place, event in enumerate(events):
            self.seen.add(type(event).__name__)
            if isinstance(event, (OrderUpdate, BalanceUpdate)):
                self._need_connection(event)
                assert link is not None
                assert frame is not None
                update = event.order if isinstance(event, OrderUpdate) else event.balance
                self._streams.update(event, _serial(update), link.peer, frame.number)
            else:
                self._look_for_secret(event)
                self._see_event(event, events[:place], events[place + 1 :], link, frame)

    def _remember_noise(self, events: tuple[Event, ...], frame: Frame | None) -> None:
        """A short frame that was no update is reported once on a connection."""
        match events:
            case (Malformed(topics=()) | Unrecognised(topics=()),):
                if frame is not None and frame.kind == "text" and len(frame.data) <= _SHORT:
                    self._reported.add(frame.data)
            case _:
                pass

    def _see_event(
        self,
        event: Event,
        before: tuple[Event, ...],
        after: tuple[Event, ...],
        link: Link | None,
        frame: Frame | None,
    ) -> None:
        match event:
            case Connected(epoch=epoch):
                if self._is_up or epoch != self._epoch + 1:
                    self.fail("I5", f"out of order: {event} after {self._epoch}")
                self._begin(epoch)
            case Disconnected():
                self._see_disconnected(event, after, link)
            case Closed():
                self._see_closed(event, before, after)
            case Subscribed() | Unsubscribed() | SubscriptionRejected():
                self._see_answer(event, before, after, link, frame)
            case Gap():
                self._see_gap(event, before, after)
            case RequestTimedOut():
                self._need_connection(event)
            case Conflated():
                self.fail("I5", "the session conflates nothing")
            case _:
                self._need_connection(event)
                self._see_anomaly(event)

    def _see_answer(
        self,
        event: Subscribed | Unsubscribed | SubscriptionRejected,
        before: tuple[Event, ...],
        after: tuple[Event, ...],
        link: Link | None,
        frame: Frame | None,
    ) -> None:
        match event:
            case Subscribed(topic=topic, ts=ts):
                self._need_connection(event)
                self._need_answer(event, topic, frame, wanted=True, ok=True)
                self._active.add(topic)
                if topic in self.desired:
                    self._known.add(topic)
                self._refused.pop(topic, None)
                assert link is not None
                assert frame is not None
                gap = _gap_of(topic, after[:1])
                self._streams.subscribed(topic, ts, gap, link.peer, frame.number)
            case Unsubscribed(topic=topic, ts=ts):
                if ts is not None:
                    self._need_connection(event)
                    self._need_answer(event, topic, frame, wanted=False, ok=True)
                    self._active.discard(topic)
                if topic in self.desired and ts is None:
                    self.fail("I2", f"still desired: {event}")
                # Without an acknowledgement the gap comes first: nothing is told of the topic
                # afterwards.
                gap = _gap_of(topic, before[-1:] if ts is None else after[:1])
                number = None if ts is None or frame is None else frame.number
                peer = None if link is None else link.peer
                self._streams.ended(topic, number, gap, until_ts=ts, peer=peer)
            case SubscriptionRejected(topic=topic, method=method, ts=ts):
                self._need_connection(event)
                wanted = method == topic.subscribe_method
                self._need_answer(event, topic, frame, wanted=wanted, ok=False)
                if wanted and event.retry_in is not None:
                    self._see_refusal(topic, event)
                elif wanted:
                    self._need_no_retry(topic, event)
                    self.desired.discard(topic)
                    # Nobody follows the topic from here on, so that its gap has no end.
                    number = None if frame is None else frame.number
                    self._streams.ended(topic, number, _gap_of(topic, before[-1:]), until_ts=None)
                else:
                    self.desired.add(topic)
                    self._active.add(topic)
                    self._streams.refused_to_end(topic, ts)

    def _see_refusal(self, topic: Topic, event: SubscriptionRejected) -> None:
        """A topic that had been acknowledged is refused, and asked for again later."""
        assert event.retry_in is not None
        count = self._refused.get(topic, 0) + 1
        if topic not in self._known or topic not in self.desired:
            self.fail("I2", f"it was never acknowledged and is asked for again: {event}")
        if count >= self._config.max_refusals:
            self.fail("I3", f"refused {count} times, and asked for again: {event}")
        if abs(event.retry_in - self._span(count) * self.jitter) > _HAIR:
            self.fail("I3", f"{self.jitter} of {self._span(count)} s are due: {event}")
        self._refused[topic] = count
        self._ask_at[topic] = self._world.now + event.retry_in

    def _need_no_retry(self, topic: Topic, event: SubscriptionRejected) -> None:
        count = self._refused.pop(topic, 0) + 1
        if topic in self._known & self.desired and count < self._config.max_refusals:
            self.fail("I2", f"it had been acknowledged, and is dropped: {event}")
        self._known.discard(topic)

    def _span(self, attempt: int) -> float:
        config = self._config
        if attempt == 1:
            return config.retry_first
        return min(config.retry_cap, config.retry_base * 2.0 ** (attempt - 2))

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._is_up = True
        self._requests.clear()
        self._asked_at.clear()
        self._sent_at.clear()
        self._reported.clear()
        self._active.clear()
        self._settled_since = self._content_since = None
        self._refusals = 0
        self._refused_token = None

    def _see_gap(self, gap: Gap, before: tuple[Event, ...], after: tuple[Event, ...]) -> None:
        """It belongs to what stands before it, or to the Unsubscribed of a topic that nobody
        acknowledges."""
        if gap.until_ts is None:
            neighbours = after[:1]
        else:
            neighbours = before[-1:]
            self._need_connection(gap)
        match neighbours:
            case (
                Subscribed(topic=topic)
                | SubscriptionRejected(topic=topic)
                | Unsubscribed(topic=topic),
            ):
                if topic == gap.topic:
                    return
            case _:
                pass
        self.fail("I1", f"in the wrong place: {gap}")

    def _see_anomaly(self, event: Event) -> None:
        keep = self._config.max_kept
        kept: list[str] = []
        match event:
            case Malformed(frame=text):
                kept = [text]
            case Unrecognised(frame=text, method=method):
                kept = [text, method or ""]
            case UnexpectedResponse(response=response):
                kept = [response.id or "", response.method or "", response.msg]
            case UnexpectedUpdate(update=update):
                asked = {topic for _, topic in self._requests.values()}
                if update.topic in self._active | asked:
                    self.fail("I1", f"an update of an active topic is called unexpected: {update}")
            case _:
                pass
        if any(len(text) > keep for text in kept):
            self.fail("I4", f"it keeps more than {keep} characters: {event!r:.200}")

    def _see_disconnected(
        self, event: Disconnected, after: tuple[Event, ...], link: Link | None
    ) -> None:
        if event.epoch != self._epoch:
            self.fail("I5", f"not the present connection, {self._epoch}: {event}")
        config = self._config
        now = self._world.now
        self.seen.add(str(event.reason.kind))
        self.seen.add(str(event.reason.status))
        if self._is_up:
            assert link is not None
            if not (link.faults or self._is_excused(event.reason.kind, link)):
                self.fail("alive", f"nothing was wrong with the connection: {event.reason}")
            settled, content = self._settled_since, self._content_since
            if settled is not None and now - settled >= config.stable_after:
                self._attempts = 0
            elif content is not None and now - content >= config.stable_after:
                # Either is right. The last Disconnected announces no further attempt.
                said = event.attempt if event.retry_in is None else event.attempt - 1
                self._attempts = min(self._attempts, said)
        self._is_up = False
        self._active.clear()
        reason = event.reason
        ends = config.max_attempts is not None and self._attempts >= config.max_attempts
        if reason.status in {401, 403}:
            self._refusals += 1
            self._refused_token = self._last_token
            ends = ends or self._plan.supplies is None or self._refusals > 1
        if event.retry_in is None:
            same_again = self._refusals > 0 and self._plan.supplies is not None
            if not (ends or same_again) or not after:
                self.fail("I3", f"the feed ends for no reason: {event}")
            return
        if ends:
            self.fail("I3", f"there must be no further try: {event}")
        self._attempts += 1
        self._check_wait(event)
        self._next_dial_at = now + event.retry_in

    def _is_excused(self, kind: FailureKind, link: Link) -> bool:
        """True for a connection that may be given up though nothing went wrong on it: pongs are
        missing, and no byte came for as long as one must; or the answer to a request waits after a
        frame that is not whole."""
        match kind:
            case FailureKind.PONG_TIMEOUT:
                is_late = link.is_unanswered or self._world.now < link.slow_until
                silent_for = self._world.now - link.arrived_at
                return is_late and silent_for >= self._config.pong_timeout - _HAIR
            case FailureKind.ACK_TIMEOUT:
                asked_at = [self._sent_at[number] for number in self._requests]
                return bool(asked_at) and link.slow_until > min(asked_at)
            case _:
                return False

    def _check_wait(self, event: Disconnected) -> None:
        config, reason = self._config, event.reason
        span = self._span(self._attempts)
        least = min(reason.retry_after or 0.0, config.retry_after_cap)
        if reason.status == 429:
            least = max(least, config.rate_limit_wait)
        assert event.retry_in is not None
        if event.attempt != self._attempts:
            self.fail("I3", f"this is attempt {self._attempts}: {event}")
        if abs(event.retry_in - (least + span * self.jitter)) > _HAIR:
            self.fail("I3", f"{least} s and {self.jitter} of {span} s are due: {event}")

    def _see_closed(
        self, event: Closed, before: tuple[Event, ...], after: tuple[Event, ...]
    ) -> None:
        if after:
            self.fail("I5", f"after Closed: {after[0]}")
        if (event.failure is None) is (self._close_called_at is None):
            self.fail("I7", f"not what was asked for: {event}")
        if event.failure is not None and not (before and isinstance(before[-1], Disconnected)):
            self.fail("I5", f"no Disconnected before {event}")
        self.is_closed = True
        self._is_up = False

    # --- actions --------------------------------------------------------------------------------

    def _see_dial(self, token: str) -> None:
        if self._plan.supplies is None:
            self._see_attempt()
        if token == self._refused_token:
            self.fail("I3", "the token that was refused is tried again")
        self._last_token = token

    def _see_attempt(self) -> None:
        if self._paused_at is not None:
            self.fail("I4", "a dial while the application is behind")
        if self._next_dial_at is None or self._world.now < self._next_dial_at - _HAIR:
            self.fail("I3", f"a dial that is not due before {self._next_dial_at}")
        self._next_dial_at = None

    def _see_text(self, text: str) -> None:
        if SECRET in text:
            self.fail("I6", f"the token is sent: {text}")
        if '"params"' not in text:
            return
        request: dict[str, Any] = json.loads(text)
        wanted = request["method"].startswith("sub_")
        topic = Topic(request["method"].partition("_")[2])
        if not self._is_up:
            self.fail("I5", f"a request without a connection: {text}")
        if request["id"] in self._ids:
            self.fail("I5", f"an id is used again: {text}")
        if wanted is not (topic in self.desired) or wanted is (topic in self._active):
            self.fail("I2", f"nobody wants this: {text}")
        if wanted and self._world.now < self._ask_at.pop(topic, 0.0) - _HAIR:
            self.fail("I3", f"a refused topic is asked for too early: {text}")
        self._ids.add(request["id"])
        self._requests[request["id"]] = (wanted, topic)
        self._asked_at[request["id"]] = self._reading_clock
        self._sent_at[request["id"]] = self._world.now
        self._active.discard(topic)
        if len(self._requests) > self._config.max_pending:
            self.fail("I4", f"{len(self._requests)} requests wait")

    def _see_patience(self, link: Link | None) -> None:
        """A request that is not answered in time is given up. While a frame is arriving the answer
        may be behind it."""
        if self._is_up and self._requests:
            waits = self._reading_clock - min(self._asked_at[number] for number in self._requests)
            bound = self._config.ack_timeout
            if link is not None:
                arriving_until = max(link.heard_at + min(1.0, bound), self._free_at + _GRACE)
                if self._world.now < arriving_until + _HAIR:
                    bound *= 10
            if waits > bound + _HAIR:
                self.fail("alive", f"an acknowledgement is awaited for {waits} s of reading")

    def _see_ping(self, text: str, step: Step) -> None:
        """A ping of the server is answered in the very step that reads it, in kind."""
        if text == "ping":
            answer = "pong"
        elif text.startswith('{"method":"ping"'):
            answer = '{"method":"pong"}'
        elif text.startswith('{"ping":'):
            answer = text.replace("ping", "pong")
        elif text in self._reported:
            return
        else:
            self.fail("I1", f"nothing comes of this frame: {text}")
        if step.actions != (SendText(answer),):
            self.fail("ping", f"{text} is answered with {step.actions}")

    # --- small things ---------------------------------------------------------------------------

    @property
    def _reading_clock(self) -> float:
        now = self._world.now if self._paused_at is None else self._paused_at
        return now - self._paused_for

    def _need_connection(self, event: Event) -> None:
        if not self._is_up:
            self.fail("I5", f"there is no connection: {event}")
        if getattr(event, "epoch", self._epoch) != self._epoch:
            self.fail("I5", f"not of the present connection, {self._epoch}: {event}")

    def _need_answer(
        self, event: Event, topic: Topic, frame: Frame | None, *, wanted: bool, ok: bool
    ) -> None:
        if frame is not None and frame.kind == "text":
            response = json.loads(frame.data)
            if self._requests.pop(response.get("id"), None) == (wanted, topic) and ok is (
                response["code"] == 0
            ):
                return
        self.fail("I2", f"no answer to a request of this connection says this: {event}")

    def _skip(self, event: Event) -> None:
        """An event that was left out: there must be a newer one to come that says more."""
        key = _key(event)
        self._skipped += 1
        if key is None or not any(_key(later) == key for later in self._waiting):
            self.fail("I1", f"the buffer has lost {event}")
        if _is_end(event):
            self.fail("I1", f"the last state of an order is left out: {event}")

    def _look_for_secret(self, thing: object) -> None:
        # An exception's text differs from its repr.
        if SECRET in repr(thing) or (isinstance(thing, Exception) and SECRET in str(thing)):
            self.fail("I6", f"the token is in a {type(thing).__name__}")

    def fail(self, rule: str, what: str) -> Never:
        """An invariant is broken."""
        raise Violation(rule, self._plan.name, what.replace(SECRET, "***"), self._world.now)
