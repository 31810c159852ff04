"""A deadline that is noticed late proves nothing.

Whoever comes to a deadline clearly later than it was due was held up: the process was suspended, or
the application blocked the loop. Meanwhile nothing could be read, so the answer that is missed may
wait unread in the socket, and the request itself may not have been sent. What ran out is put off by
a short grace, in which the caller reads and sends. If the grace ends in time and nothing came, it
has run out.

A machine under load is a little late at every deadline. So lateness of less than a second excuses
once in a row, until a deadline is met in time again or there is something new: the peer was heard,
or a request was sent. More than that was a hold-up each time. How
long the hold-up was cannot be known: work may end right after the deadline. So the least lateness
that no timer explains excuses as well, with a grace that grows with it.
"""

import math
from typing import Final

__all__ = ["Lateness"]

_LATE: Final = 0.001
"""Seconds by which a timer may be late."""
_HELD_UP: Final = 1.0
"""Seconds of lateness that excuse every time."""
_LEAST_GRACE: Final = 0.25
"""Seconds by which what ran out is put off, at least: what is unread is read within a turn."""
_MOST_GRACE: Final = 2.0
"""Seconds by which what ran out is put off, at most: what was not sent is sent and answered."""
_GROWTH: Final = 50.0
"""Seconds of grace for every second of lateness."""


class Lateness:
    """Judges how late each deadline is noticed.

    Args:
        shortest: the shortest of the timeouts that are put off, in seconds: so long is the grace at
            most.
    """

    def __init__(self, shortest: float) -> None:
        self._most = min(_MOST_GRACE, shortest)
        # When something was put off the last time, if no deadline was met in time since.
        self._excused_at: float | None = None
        self.excused_until: float = 0.0
        """The time before which nothing runs out."""

    def excuse(self, due: float | None, now: float, *, since: float = -math.inf) -> None:
        """Put off what runs out now, if the caller was held up; for the arguments see ``grace``."""
        grace = self.grace(due, now, since=since)
        if grace is not None:
            self.excused_until = now + grace

    def resume(self, paused_at: float, now: float) -> None:
        """Take a pause of reading out of what was put off."""
        if self.excused_until > paused_at:
            # Left where it is, it would lie in the past and look like a deadline noticed late.
            self.excused_until += now - paused_at

    def grace(
        self, deadline: float | None, now: float, *, since: float = -math.inf
    ) -> float | None:
        """For how many seconds what ran out is put off, since whoever comes ``now`` to what was due
        at ``deadline`` was held up; None if he was not.

        Args:
            deadline: when it was due; None if nothing was.
            now: the time.
            since: when what is missed began to be missed. What has begun after the last time that
                something was put off may be put off itself.
        """
        late = 0.0 if deadline is None else now - deadline
        if late < 0:
            # It comes early, and says nothing about how late it will be.
            return None
        if late <= _LATE:
            self._excused_at = None
            return None
        if self._excused_at is not None and since < self._excused_at and late <= _HELD_UP:
            return None
        self._excused_at = now
        return min(self._most, _LEAST_GRACE + _GROWTH * late)
