"""The wishes of an application, a feed's requests for them, and the exchange's answers: the
bookkeeping behind I2."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Never

from topone_proto.events import SubscriptionRejected
from topone_proto.session.config import SessionConfig
from topone_proto.testing.simulation.dials import HAIR, Dials
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.world import World
from topone_proto.wire.topic import Topic

__all__ = ["Requests"]

# Seconds by which a deadline is put off at most when a client was busy.
_GRACE = 2.0


class Requests:
    """The requests of one feed, and the topics that they are about.

    Args:
        world: the time.
        config: the feed's settings.
        dials: knows how long a wait may be.
        topics: the topics that are wanted from the start.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(
        self,
        world: World,
        config: SessionConfig,
        dials: Dials,
        topics: Iterable[Topic],
        fail: Callable[[str, str], Never],
    ) -> None:
        self.desired: set[Topic] = set(topics)
        """The topics that the application wants, after everything that it was told."""
        self.active: set[Topic] = set()
        """The topics that were acknowledged on this connection."""
        self.is_paused: bool = False
        """True while the client does not read."""
        self.free_at: float = 0.0
        """The time at which the client was last busy."""
        self._world = world
        self._config = config
        self._dials = dials
        self._fail = fail
        # What was asked on this connection and not answered: subscribe or unsubscribe, and when, on
        # a clock that stands while reading is paused and on the wall's.
        self._waiting: dict[str, tuple[bool, Topic]] = {}
        self._asked_at: dict[str, float] = {}
        self._sent_at: dict[str, float] = {}
        self._paused_at = 0.0
        self._paused_for = 0.0
        self._resumed_at = 0.0
        self._ids: set[str] = set()
        # What was acknowledged since it was desired, how often it was refused since, and when it
        # may be asked for again.
        self._known: set[Topic] = set()
        self._refused: dict[Topic, int] = {}
        self._ask_at: dict[Topic, float] = {}

    @property
    def is_settled(self) -> bool:
        """True if everything desired is acknowledged, nothing else is, and no answer is missing."""
        return not self._waiting and self.desired == self.active

    def is_followed(self, topic: Topic) -> bool:
        """Return True if updates of a topic may come: it is acknowledged, or asked about."""
        return topic in self.active or topic in {asked for _, asked in self._waiting.values()}

    def is_behind(self, link: Link) -> bool:
        """Return True if a missing answer may wait behind a frame that is not whole."""
        sent_at = [self._sent_at[number] for number in self._waiting]
        return bool(sent_at) and link.slow_until > min(sent_at)

    # What happens.

    def wants(self, topic: Topic, *, wanted: bool) -> None:
        """The application calls ``subscribe`` or ``unsubscribe``."""
        (self.desired.add if wanted else self.desired.discard)(topic)
        # The application's word ends a wait.
        self._ask_at.pop(topic, None)
        if not wanted:
            self._known.discard(topic)
            self._refused.pop(topic, None)

    def paused(self) -> None:
        """The client stops reading."""
        self.is_paused = True
        self._paused_at = self._world.now

    def resumed(self) -> None:
        """The client reads again."""
        if self.is_paused:
            self._paused_for += self._world.now - self._paused_at
            self._resumed_at = self._world.now
            self.is_paused = False

    def held_up(self, seconds: float) -> None:
        """The client had no turn for so long, until now."""
        self.free_at = self._world.now
        # A pause counts the time already.
        self._paused_for += _GRACE + (0.0 if self.is_paused else seconds)

    def connected(self) -> None:
        """A connection begins."""
        self._waiting.clear()
        self._asked_at.clear()
        self._sent_at.clear()
        self.active.clear()

    def sent(self, text: str, *, is_up: bool) -> None:
        """A request is sent."""
        request: dict[str, Any] = json.loads(text)
        if request["method"].startswith("req_"):
            if request["id"] in self._ids:
                self._fail("I5", f"an id is used again: {text}")
            self._ids.add(request["id"])
            return
        wanted = request["method"].startswith("sub_")
        topic = Topic(request["method"].partition("_")[2])
        if not is_up:
            self._fail("I5", f"a request without a connection: {text}")
        if request["id"] in self._ids:
            self._fail("I5", f"an id is used again: {text}")
        if wanted is not (topic in self.desired) or wanted is (topic in self.active):
            self._fail("I2", f"nobody wants this: {text}")
        if wanted and self._world.now < self._ask_at.pop(topic, 0.0) - HAIR:
            self._fail("I3", f"a refused topic is asked for too early: {text}")
        self._ids.add(request["id"])
        self._waiting[request["id"]] = (wanted, topic)
        self._asked_at[request["id"]] = self._reading_clock
        self._sent_at[request["id"]] = self._world.now
        self.active.discard(topic)
        if len(self._waiting) > self._config.max_pending:
            self._fail("I4", f"{len(self._waiting)} requests wait")

    def answered(
        self, event: object, topic: Topic, frame: Frame | None, *, wanted: bool, ok: bool
    ) -> None:
        """The application is told of an answer: ``frame`` must be it."""
        if frame is not None and frame.kind == "text":
            response = json.loads(frame.data)
            if self._waiting.pop(response.get("id"), None) == (wanted, topic) and ok is (
                response["code"] == 0
            ):
                return
        self._fail("I2", f"no answer to a request of this connection says this: {event}")

    def subscribed(self, topic: Topic) -> None:
        """A subscription is acknowledged."""
        self.active.add(topic)
        if topic in self.desired:
            self._known.add(topic)
        self._refused.pop(topic, None)

    def refused(self, topic: Topic, event: SubscriptionRejected) -> None:
        """A subscription is refused, and asked for again later or given up."""
        if event.retry_in is None:
            self._given_up(topic, event)
            return
        count = self._refused.get(topic, 0) + 1
        if topic not in self._known or topic not in self.desired:
            self._fail("I2", f"it was never acknowledged and is asked for again: {event}")
        if count >= self._config.max_refusals:
            self._fail("I3", f"refused {count} times, and asked for again: {event}")
        span, jitter = self._dials.span(count), self._dials.jitter
        if abs(event.retry_in - span * jitter) > HAIR:
            self._fail("I3", f"{jitter} of {span} s are due: {event}")
        self._refused[topic] = count
        self._ask_at[topic] = self._world.now + event.retry_in

    def _given_up(self, topic: Topic, event: SubscriptionRejected) -> None:
        count = self._refused.pop(topic, 0) + 1
        if topic in self._known & self.desired and count < self._config.max_refusals:
            self._fail("I2", f"it had been acknowledged, and is dropped: {event}")
        self._known.discard(topic)
        self.desired.discard(topic)

    # What must hold.

    def check_patience(self, link: Link | None) -> None:
        """A request that is not answered in time is given up. While a frame is arriving the answer
        may be behind it."""
        if not self._waiting:
            return
        waits = self._reading_clock - min(self._asked_at[number] for number in self._waiting)
        bound = self._config.ack_timeout
        if link is not None:
            # What may be behind it waits while nothing is read.
            now = self._paused_at if self.is_paused else self._world.now
            heard_at = max(link.heard_at, self._resumed_at)
            if now < max(heard_at + min(1.0, bound), self.free_at + _GRACE) + HAIR:
                bound *= 10
        if waits > bound + HAIR:
            self._fail("alive", f"an acknowledgement is awaited for {waits} s of reading")

    @property
    def _reading_clock(self) -> float:
        now = self._paused_at if self.is_paused else self._world.now
        return now - self._paused_for
