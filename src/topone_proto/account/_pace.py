"""Time, as far as an account needs it: what an answer can be trusted to reflect, and when to ask.

Nothing here decides which of two states is right. The clock is the caller's own, the one whose
``now`` is handed to ``Account.ask``; it is never compared with a server time.

**Horizon.** An answer may be behind the stream by at most ``lag`` seconds. A question asked at
``now`` therefore reflects everything that the account had been told at ``now - lag``. The account
counts what it is told (events and answers) and keeps marks ``(time, count)``: "by this time so many
had been told". The horizon of a question is the count of the latest mark that is ``lag`` old.
Whatever was told after the horizon, an answer may lack; whatever was told before, it reflects. With
no lag, or no clock, the horizon is the present count. Marks are sparse and the horizon is rounded
down, which makes a question later and never an answer wrong.

**Pace.** Questions of one kind are spaced: first by ``retry_first``, then by twice the space
before, up to ``retry_cap``. Only a time of quiet makes the first space count again, so whatever
causes doubts (odd frames, lost connections, contradictions) cannot cause a flood.
"""

from collections import deque
from typing import Final

from topone_proto.account._config import AccountConfig

__all__ = ["Horizon", "Pace"]

# Marks are at least this part of the lag apart, so there are never more than so many, and two.
_MARKS: Final = 32
_NEVER: Final = float("-inf")


class Horizon:
    """Up to where the stream must be reflected by an answer."""

    def __init__(self, lag: float) -> None:
        self.lag = lag
        self.now: float | None = None
        """The latest time that the caller gave; None without a clock."""
        self._marks: deque[tuple[float, int]] = deque()

    def at(self, now: float | None, position: int) -> int:
        """The horizon of a question that is asked now; -1 while there is none yet."""
        if now is None:
            return position
        self.now = now = now if self.now is None else max(now, self.now)
        if not self.lag:
            return position
        marks = self._marks
        if not marks or (position != marks[-1][1] and now >= marks[-1][0] + self.lag / _MARKS):
            marks.append((now, position))
        while len(marks) > 1 and marks[1][0] + self.lag <= now:
            marks.popleft()
        time, told = marks[0]
        return told if time + self.lag <= now else -1

    def reaches(self, position: int) -> float:
        """Return the time at which the horizon will reach this position, if ``ask`` is called by
        then."""
        assert self.now is not None
        if not self.lag:
            return self.now
        for time, told in self._marks:
            if told >= position:
                return max(self.now, time + self.lag)
        return max(self.now, self._marks[-1][0] + self.lag / _MARKS) if self._marks else self.now


class Pace:
    """The pace of questions of one kind: when the next may be asked."""

    def __init__(self, config: AccountConfig) -> None:
        self.not_before = _NEVER
        """The time before which nothing of this kind is asked."""
        self._config = config
        self._asked_at = _NEVER
        self._space = config.retry_first

    def is_due(self, now: float | None) -> bool:
        """True if it may be asked now."""
        return now is None or now >= self.not_before

    def asked(self, now: float | None) -> None:
        """It is asked now."""
        if now is None:
            return
        if now - self._asked_at > 2 * self._config.retry_cap:
            self._space = self._config.retry_first
        self._asked_at, self.not_before = now, now + self._space
        self._space = min(2 * self._space, self._config.retry_cap)
