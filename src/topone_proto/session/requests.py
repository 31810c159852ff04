"""The requests that wait for a response, and when each of them has waited too long.

All of them wait equally long, so they are in the order of their deadlines. Three things are no
proof that a response does not come:

- a pause of reading: it does not count;
- a deadline that is noticed late: see ``lateness``;
- a frame that is still arriving. The response is queued behind it, and on a slow line a large frame
  takes longer than the timeout. While bytes came within the last second, what runs out is put off.
  A ping of the server is bytes, too, and some servers ping and never respond: so nothing is put off
  beyond ``PATIENCE`` times its timeout.
"""

import math
from typing import Final, Generic, TypeVar

import attrs

from topone_proto._values import value
from topone_proto.session.lateness import Lateness

__all__ = ["PATIENCE", "Requests", "Waiting"]

_T = TypeVar("_T")

PATIENCE: Final = 10
"""The multiple of its timeout that a request waits at most, while bytes arrive."""

_STILL: Final = 1.0
"""Seconds after its latest bytes in which a frame is taken to be arriving still."""


@value
class Waiting(Generic[_T]):
    """A request that waits."""

    about: _T
    """The subject of the request."""
    sent: float
    """The time at which it was made."""
    deadline: float
    """The time at which it has waited too long."""


class Requests(Generic[_T]):
    """Requests that wait, by their ids.

    Args:
        timeout: how long each of them may wait, in seconds.
        shortest: see ``Lateness``.
    """

    def __init__(self, timeout: float, shortest: float) -> None:
        self._timeout = timeout
        self._still = min(_STILL, timeout)
        self._lateness = Lateness(shortest)
        self.waiting: dict[str, Waiting[_T]] = {}
        """All of them, oldest first."""

    def add(self, name: str, about: _T, now: float) -> None:
        """Note a request that is sent now."""
        self.waiting[name] = Waiting(about, now, now + self._timeout)

    @property
    def deadline(self) -> float | None:
        """The time at which the first of them runs out; None if none waits."""
        for first in self.waiting.values():
            return max(first.deadline, self._lateness.excused_until)
        return None

    def resume(self, paused_at: float, now: float) -> None:
        """Take a pause of reading out of every wait."""
        for name, entry in self.waiting.items():
            deadline = entry.deadline + now - max(paused_at, entry.sent)
            self.waiting[name] = attrs.evolve(entry, deadline=deadline)
        self._lateness.resume(paused_at, now)

    def excuse(self, due: float | None, now: float) -> None:
        """Put off what runs out now, if the caller was held up.

        Args:
            due: when the caller was to come.
            now: when it came.
        """
        since = next((entry.sent for entry in self.waiting.values()), -math.inf)
        self._lateness.excuse(due, now, since=since)

    def replace(self, name: str, about: _T) -> None:
        """Let a request be about something else. It waits no longer for that."""
        self.waiting[name] = attrs.evolve(self.waiting[name], about=about)

    def overdue(self, now: float, part_at: float) -> list[str]:
        """Return the ids of those that have waited too long; they go on waiting.

        Args:
            now: the time.
            part_at: when bytes came last that were no whole frame by then.
        """
        if now < self._lateness.excused_until:
            return []
        late = [name for name, entry in self.waiting.items() if entry.deadline <= now]
        if late and now < part_at + self._still:
            longest = self.waiting[late[0]].deadline + (PATIENCE - 1) * self._timeout
            self._lateness.excused_until = min(part_at + self._still, longest)
            late = [] if now < longest else late
        return late
