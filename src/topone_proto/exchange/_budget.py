"""A budget of calls, and the block of whoever exceeds it."""

from collections import deque
from math import inf

__all__ = ["Budget"]


class Budget:
    """So many calls in so many seconds. One more begins a block, and so does each call in it."""

    def __init__(self, calls: int, period: float, block: float) -> None:
        """Nothing is used.

        Args:
            calls: the number of calls that are allowed.
            period: in so many seconds.
            block: the seconds for which a block lasts.
        """
        self._calls = calls
        self._period = period
        self._block = block
        self._recent: deque[float] = deque(maxlen=calls)
        self._blocked_until = -inf
        self.overruns: int = 0
        """The number of calls that were too many."""

    def take(self, now: float) -> bool:
        """Count a call. Return True if it is allowed."""
        is_full = len(self._recent) == self._calls and now - self._recent[0] < self._period
        if is_full or now < self._blocked_until:
            self.overruns += 1
            self._blocked_until = max(self._blocked_until, now + self._block)
            return False
        self._recent.append(now)
        return True

    def block(self, seconds: float, now: float) -> None:
        """Block for so many seconds, whatever was used."""
        self._blocked_until = max(self._blocked_until, now + seconds)

    def blocked(self, now: float) -> float:
        """Return for how many seconds it is blocked."""
        return max(0.0, self._blocked_until - now)
