"""The judge of a feed's events: what may be told when, and next to what."""

from typing import Final, Never

from topone_proto.events import (
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedUpdate,
    Unsubscribed,
)
from topone_proto.failures import FailureKind
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.deliveries import Deliveries
from topone_proto.testing.simulation.dials import HAIR, Dials
from topone_proto.testing.simulation.frames import Frames
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.requests import Requests
from topone_proto.testing.simulation.scenario import SECRET
from topone_proto.testing.simulation.streams import Streams
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.topic import Topic, Update

__all__ = ["EventJudge"]

# Milliseconds. Longer no request and its answer take, with all that a network and a pause do.
# And what the clocks of its nodes differ by, and are set back or forward by.
_SLACK: Final = 500_000.0


def _gap_of(topic: Topic, neighbour: tuple[Event, ...]) -> Gap | None:
    match neighbour:
        case (Gap(topic=gap_topic) as gap,) if gap_topic == topic:
            return gap
        case _:
            return None


class EventJudge:
    """The events of one feed, and the judges of what they are about.

    Args:
        world: the time.
        plan: the client's.
    """

    def __init__(self, world: World, plan: ClientPlan) -> None:
        self._world = world
        self._plan = plan
        self._config = plan.config
        self._streams = Streams(self.fail, slack=_SLACK)
        self._frames = Frames(plan, self.fail)
        self.seen: set[str] = set()
        """The names of what was seen: classes of events, kinds of failures, HTTP statuses."""
        self.is_closed: bool = False
        """True once the feed has ended."""
        self._is_up = False
        self._epoch = 0
        self._dials = Dials(world, plan, self.fail)
        self._requests = Requests(world, plan.config, self._dials, plan.topics, self.fail)
        self._deliveries = Deliveries(plan.config, self.fail)
        self._close_called_at: float | None = None

    @property
    def desired(self) -> set[Topic]:
        """The topics that the application wants, after everything that it was told."""
        return self._requests.desired

    def _need_connection(self, event: Event) -> None:
        if not self._is_up:
            self.fail("I5", f"there is no connection: {event}")
        if getattr(event, "epoch", self._epoch) != self._epoch:
            self.fail("I5", f"not of the present connection, {self._epoch}: {event}")

    def _look_for_secret(self, thing: object) -> None:
        # An exception's text differs from its repr.
        if SECRET in repr(thing) or (isinstance(thing, Exception) and SECRET in str(thing)):
            self.fail("I6", f"the token is in a {type(thing).__name__}")

    def fail(self, rule: str, what: str) -> Never:
        """An invariant is broken."""
        raise Violation(rule, self._plan.name, what.replace(SECRET, "***"), self._world.now)

    def _see_events(
        self, events: tuple[Event, ...], link: Link | None, frame: Frame | None
    ) -> None:
        if self.is_closed:
            self.fail("I5", f"after Closed: {events[0]}")
        self._deliveries.put(events)
        if self._is_up and any(isinstance(event, Disconnected) for event in events):
            # What stands before the Disconnected belongs to the loss already.
            self._streams.broken()
        for place, event in enumerate(events):
            self.seen.add(type(event).__name__)
            if isinstance(event, Update):
                self._need_connection(event)
                assert link is not None
                assert frame is not None
                self._streams.update(
                    event, self._frames.told(event, frame), link.peer, frame.number
                )
            else:
                self._look_for_secret(event)
                self._see_event(event, events[:place], events[place + 1 :], link, frame)

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
                self._requests.answered(event, topic, frame, wanted=True, ok=True)
                self._requests.subscribed(topic)
                assert link is not None
                assert frame is not None
                gap = _gap_of(topic, after[:1])
                self._streams.subscribed(topic, ts, gap, link.peer, frame.number)
            case Unsubscribed(topic=topic, ts=ts):
                if ts is not None:
                    self._need_connection(event)
                    self._requests.answered(event, topic, frame, wanted=False, ok=True)
                    self._requests.active.discard(topic)
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
                self._requests.answered(event, topic, frame, wanted=wanted, ok=False)
                if wanted:
                    self._requests.refused(topic, event)
                if wanted and event.retry_in is None:
                    # Nobody follows the topic from here on, so that its gap has no end.
                    number = None if frame is None else frame.number
                    self._streams.ended(topic, number, _gap_of(topic, before[-1:]), until_ts=None)
                if not wanted:
                    self.desired.add(topic)
                    self._requests.active.add(topic)
                    self._streams.refused_to_end(topic, ts)

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._is_up = True
        self._requests.connected()
        self._frames.connected()
        self._dials.connected()

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
        match event:
            case UnexpectedUpdate(update=update):
                if self._requests.is_followed(update.topic):
                    self.fail("I1", f"an update of an active topic is called unexpected: {update}")
            case _:
                self._frames.check_size(event)

    def _see_disconnected(
        self, event: Disconnected, after: tuple[Event, ...], link: Link | None
    ) -> None:
        if event.epoch != self._epoch:
            self.fail("I5", f"not the present connection, {self._epoch}: {event}")
        self.seen.add(str(event.reason.kind))
        self.seen.add(str(event.reason.status))
        if self._is_up:
            assert link is not None
            if not (link.faults or self._is_excused(event.reason.kind, link)):
                self.fail("alive", f"nothing was wrong with the connection: {event.reason}")
        self._dials.lost(event, was_up=self._is_up, is_end=bool(after))
        self._is_up = False
        self._requests.active.clear()

    def _is_excused(self, kind: FailureKind, link: Link) -> bool:
        """True for a connection that may be given up though nothing went wrong on it: pongs are
        missing, and no byte came for as long as one must; or the answer to a request waits after a
        frame that is not whole."""
        match kind:
            case FailureKind.PONG_TIMEOUT:
                is_late = link.is_unanswered or self._world.now < link.slow_until
                silent_for = self._world.now - link.arrived_at
                return is_late and silent_for >= self._config.pong_timeout - HAIR
            case FailureKind.ACK_TIMEOUT:
                return self._requests.is_behind(link)
            case _:
                return False

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
