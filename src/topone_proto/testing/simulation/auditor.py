"""The invariants. One auditor per client sees everything that goes into its feed and comes out of
it.

It shares no code with the core: it keeps its own account of what is desired, what was asked, what
was answered and how often a retry was due, and compares.
"""

from typing import Never

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
from topone_proto.exchange import Publication
from topone_proto.failures import FailureKind
from topone_proto.session.actions import Connect, FetchToken, SendText
from topone_proto.session.step import Step
from topone_proto.testing.simulation.deliveries import Deliveries
from topone_proto.testing.simulation.dials import HAIR, Dials
from topone_proto.testing.simulation.frames import Frames
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.requests import Requests
from topone_proto.testing.simulation.scenario import SECRET, ClientPlan
from topone_proto.testing.simulation.streams import Streams
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.topic import Topic, Update

__all__ = ["Auditor"]

# The seconds by which a client that was held up puts off what ran out, at most.
_GRACE = 2.0
# What can make everything desired acknowledged, apart from the application's giving the rest up.
_SETTLING = (Connected, Subscribed, Unsubscribed, SubscriptionRejected)
# Milliseconds. Longer no request and its answer take, with all that a network and a pause do.
# And what the clocks of its nodes differ by, and are set back or forward by.
_SLACK = 500_000.0


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
        self._config = plan.config
        self._streams = Streams(self.fail, slack=_SLACK)
        self._frames = Frames(plan, self.fail)
        self.seen: set[str] = set()
        """The names of what was seen: classes of events, kinds of failures, HTTP statuses."""
        self.is_closed: bool = False
        self._is_up = False
        self._epoch = 0
        self._dials = Dials(world, plan, self.fail)
        self._requests = Requests(world, plan.config, self._dials, plan.topics, self.fail)
        self._deliveries = Deliveries(plan.config, self.fail)
        self._close_called_at: float | None = None

    # --- what happens ---------------------------------------------------------------------------

    def published(self, link: Link, publication: Publication, number: int) -> None:
        """The exchange has sent an update on one of the client's connections, the present one or an
        old one."""
        serial = self._frames.published(publication, number)
        self._streams.sent(publication.topic, serial, publication.ts, number, link.peer)

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

    def called(self) -> None:
        """The application asks for candles."""
        self._deliveries.called()

    def wants(self, topic: Topic, *, wanted: bool) -> None:
        """The application calls ``subscribe`` or ``unsubscribe``."""
        self._deliveries.called()
        self._requests.wants(topic, wanted=wanted)

    def paused(self) -> None:
        """The client stops reading."""
        self._requests.paused()
        self._deliveries.paused()

    def resumed(self) -> None:
        """The client reads again."""
        self._requests.resumed()

    def held_up(self, seconds: float) -> None:
        """The client had no turn for so long, until now."""
        self._requests.held_up(seconds)

    def recorded(self, line: str) -> None:
        """A line of the feed's recording."""
        if SECRET in line:
            self.fail("I6", "the token is in a recording")

    def close_called(self) -> None:
        """The application calls ``close``."""
        if self._close_called_at is None:
            self._close_called_at = self._world.now

    def finished(self) -> None:
        """The transport is gone, after the end of the feed."""
        called_at = self._close_called_at
        if called_at is not None:
            took = self._world.now - called_at
            if (
                took > self._config.close_timeout + HAIR
                and self._world.now > self._requests.free_at
            ):
                self.fail("I7", f"close took {took} s")

    def told(self, step: Step, link: Link | None, frame: Frame | None) -> None:
        """A step of the session, before anything is done about it; ``frame`` is what it answers, if
        it is one."""
        if step.events:
            self._see_events(step.events, link, frame)
            self._frames.reported(step.events, frame)
        elif frame is not None and frame.kind == "text" and self._is_up and not self.is_closed:
            self._frames.quiet(frame.data, step)
        for action in step.actions:
            match action:
                case Connect(token=token):
                    if (token is None) is not self._plan.is_public:
                        self.fail("I6", "a dial with a token for no account, or without one")
                    shown = None if token is None else token.reveal()
                    self._dials.dialled(shown, is_paused=self._requests.is_paused)
                    self._look_for_secret(action)
                case FetchToken():
                    self._dials.attempted(is_paused=self._requests.is_paused)
                case SendText(text=text):
                    self._see_text(text)
                case _:
                    self._look_for_secret(action)
        if self.is_closed and step.deadline is not None:
            self.fail("I5", f"a deadline is left after Closed: {step.deadline}")
        if self._is_up:
            self._requests.check_patience(link)
        if self._is_up and self.desired <= self._requests.active:
            is_made = any(isinstance(event, Connected) for event in step.events)
            is_told = frame is not None and any(isinstance(e, _SETTLING) for e in step.events)
            self._dials.content(is_told=is_made or is_told)

    def taken(self, event: Event) -> None:
        """The application takes an event out of the feed."""
        self._deliveries.taken(event)

    def waiting(self, count: int, *, has_waiters: bool) -> None:
        """So many events wait for the application, after a step."""
        self._deliveries.waiting(count, has_waiters=has_waiters)

    # --- what must have happened ----------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """True if everything desired is acknowledged and nothing else is, or the feed has ended."""
        if self.is_closed:
            return True
        return self._is_up and self._requests.is_settled

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
        desired, active = (sorted(map(str, t)) for t in (self.desired, self._requests.active))
        where = f"on connection {self._epoch}"
        self.fail("I2", f"desired: {desired}, acknowledged: {active} {where}")

    def unanswered_call(self, method: str) -> None:
        """A call of ``subscribe`` or ``unsubscribe`` still waits when all is calm."""
        self.fail("I2", f"a call still waits: {method}")

    def all_is_calm(self) -> None:
        """Everything sent has arrived and everything that arrived was taken, or the feed has
        ended."""
        if not self.is_closed:
            self._streams.settle()
        self._deliveries.all_is_calm()

    def must_be_closed(self, deadline: float | None, *, is_finished: bool) -> None:
        """The application has closed the feed, and its time is over."""
        if not (self.is_closed and is_finished):
            self.fail("I7", "close has not ended")
        if deadline is not None:
            self.fail("I5", f"a deadline is left after Closed: {deadline}")

    def must_have_failed_with(
        self, error: BaseException | None, fault: BaseException | None
    ) -> None:
        """The feed ends with the error of its recorder, if that had one, and with no other."""
        if fault is not error:
            self.fail("recording", f"the recorder failed with {error!r}, the feed with {fault!r}")

    # --- events ---------------------------------------------------------------------------------

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

    # --- actions --------------------------------------------------------------------------------

    def _see_text(self, text: str) -> None:
        if SECRET in text:
            self.fail("I6", f"the token is sent: {text}")
        if '"params"' in text:
            self._requests.sent(text, is_up=self._is_up)

    # --- small things ---------------------------------------------------------------------------

    @property
    def jitter(self) -> float:
        """The last random number that the feed asked for."""
        return self._dials.jitter

    @jitter.setter
    def jitter(self, number: float) -> None:
        """The feed has asked for a random number."""
        self._dials.jitter = number

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
