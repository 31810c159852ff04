"""The dials that a feed may make, and their tokens: the bookkeeping behind I3."""

from collections.abc import Callable
from typing import Never

from topone_proto.events import Disconnected
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.world import World

__all__ = ["HAIR", "Dials"]

HAIR = 1e-6
"""The tolerance of a sum of a few floats, in seconds."""


class Dials:
    """The attempts of one feed.

    Args:
        world: the time.
        plan: the client's.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(self, world: World, plan: ClientPlan, fail: Callable[[str, str], Never]) -> None:
        self.jitter: float = 0.0
        """The last random number that the feed asked for."""
        self._world = world
        self._config = plan.config
        self._has_source = plan.supplies is not None
        self._fail = fail
        self._attempts = 0
        self._next_dial_at: float | None = 0.0
        self._refusals = 0
        self._refused_token: str | None = None
        self._last_token: str | None = None
        # Since when everything desired is acknowledged: at the latest since the answer that made it
        # so, at the earliest since the application gave up the last topic that was not.
        self._settled_since: float | None = None
        self._content_since: float | None = None

    def span(self, attempt: int) -> float:
        """Return the longest wait before an attempt."""
        config = self._config
        if attempt == 1:
            return config.retry_first
        return min(config.retry_cap, config.retry_base * 2.0 ** (attempt - 2))

    def connected(self) -> None:
        """The server has accepted a token."""
        self._settled_since = self._content_since = None
        self._refusals = 0
        self._refused_token = None

    def content(self, *, is_told: bool) -> None:
        """Everything desired is acknowledged; ``is_told`` if an answer or a handshake made it
        so."""
        if self._settled_since is None:
            if self._content_since is None:
                self._content_since = self._world.now
            # Giving up a topic that was not asked for yet is acknowledged by nobody.
            if is_told:
                self._settled_since = self._world.now

    def dialled(self, token: str | None, *, is_paused: bool) -> None:
        """The feed dials."""
        if not self._has_source:
            self.attempted(is_paused=is_paused)
        if token is not None and token == self._refused_token:
            self._fail("I3", "the token that was refused is tried again")
        self._last_token = token

    def attempted(self, *, is_paused: bool) -> None:
        """An attempt begins: with the question for a token, or with the dial."""
        if is_paused:
            self._fail("I4", "a dial while the application is behind")
        if self._next_dial_at is None or self._world.now < self._next_dial_at - HAIR:
            self._fail("I3", f"a dial that is not due before {self._next_dial_at}")
        self._next_dial_at = None

    def lost(self, event: Disconnected, *, was_up: bool, is_end: bool) -> None:
        """A connection or an attempt has ended; ``is_end`` if the feed has, too."""
        config, now, reason = self._config, self._world.now, event.reason
        if was_up:
            settled, content = self._settled_since, self._content_since
            if settled is not None and now - settled >= config.stable_after:
                self._attempts = 0
            elif content is not None and now - content >= config.stable_after:
                # Either is right. The last Disconnected announces no further attempt.
                said = event.attempt if event.retry_in is None else event.attempt - 1
                self._attempts = min(self._attempts, said)
        ends = config.max_attempts is not None and self._attempts >= config.max_attempts
        if reason.status in {401, 403}:
            self._refusals += 1
            self._refused_token = self._last_token
            ends = ends or not self._has_source or self._refusals > 1
        if event.retry_in is None:
            same_again = self._refusals > 0 and self._has_source
            if not (ends or same_again) or not is_end:
                self._fail("I3", f"the feed ends for no reason: {event}")
            return
        if ends:
            self._fail("I3", f"there must be no further try: {event}")
        self._attempts += 1
        self._check_wait(event, event.retry_in)
        self._next_dial_at = now + event.retry_in

    def _check_wait(self, event: Disconnected, retry_in: float) -> None:
        config, reason = self._config, event.reason
        span = self.span(self._attempts)
        least = min(reason.retry_after or 0.0, config.retry_after_cap)
        if reason.status == 429:
            least = max(least, config.rate_limit_wait)
        if event.attempt != self._attempts:
            self._fail("I3", f"this is attempt {self._attempts}: {event}")
        if abs(retry_in - (least + span * self.jitter)) > HAIR:
            self._fail("I3", f"{least} s and {self.jitter} of {span} s are due: {event}")
