"""The invariants. One auditor per client sees everything that goes into its feed and comes out of
it.

It shares no code with the core: it keeps its own account of what is desired, what was asked, what
was answered and how often a retry was due, and compares.
"""

from typing import Final

from topone_proto.events import (
    Connected,
    Event,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.exchange import Publication
from topone_proto.session.actions import Connect, FetchToken, SendText
from topone_proto.session.step import Step
from topone_proto.testing.simulation.dials import HAIR
from topone_proto.testing.simulation.event_judge import EventJudge
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.scenario import SECRET
from topone_proto.wire.topic import Topic

__all__ = ["Auditor"]

# What can make everything desired acknowledged, apart from the application's giving the rest up.
_SETTLING: Final = (Connected, Subscribed, Unsubscribed, SubscriptionRejected)


class Auditor(EventJudge):
    """Raises a ``Violation`` at the first thing that must not be.

    Args:
        world: the time.
        plan: the client's.
    """

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
