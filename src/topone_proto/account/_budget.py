"""The budget of requests about orders, which the exchange counts and blocks for an hour.

It is kept twice: on the clock of ``now``, which nobody sets, and by the time of day, which other
processes and the next one share. A request has to be allowed by both. A time of day that is still
to come is that of a clock that was set back since: it counts as now.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from topone_proto.account._config import AccountConfig
from topone_proto.account._storing import LONGEST, Storing

__all__ = ["OrderBudget"]

_NEVER: Final = float("-inf")

_MINUTE: Final = 65.0
"""The exchange's minute and a margin, since requests travel at different speeds."""

_MARGIN: Final = 1 / 20
"""The part of that minute that may pass between the note of a request and its leaving."""

_SPREAD: Final = 1 / 10
"""The part of that minute by which a process lets others go first, at most."""


class OrderBudget:
    """The budget of requests about orders: when the next may be sent."""

    def __init__(
        self,
        config: AccountConfig,
        calls: tuple[float, ...],
        not_before: float | None,
        jitter: Callable[[], float],
    ) -> None:
        self.calls = calls
        """The times of day of the latest requests, the oldest first."""
        self.not_before = not_before
        """The time of day until which there are none; None for no such time."""
        self._limit = config.order_calls_per_minute
        # The longest block that is known of.
        self._longest = config.token_block
        # A scaled exchange has a shorter minute.
        self._span = min(_MINUTE, config.token_interval)
        self._recent: deque[float] = deque(maxlen=self._limit)
        self._blocked_until = _NEVER
        self._jitter = jitter
        # Other processes wait for the same room, until then. Who had some last lets them go first,
        # by so much: otherwise the same one could get it every time.
        self._is_shared_until = _NEVER
        self._spread = 0.0
        # The note of the request that is reserved, by both clocks; and when it was made.
        self._reserved = (_NEVER, _NEVER)
        self._reserved_at = _NEVER
        self._storing = Storing(self._span * _MARGIN)

    def free_at(self, now: float, wall: float) -> float:
        """Return the time from which a request may be sent, on the clock of ``now``."""
        self._correct(wall)
        times = [now, self._blocked_until]
        if len(self._recent) >= self._limit:
            times.append(self._recent[-self._limit] + self._span + self._spread)
        if len(self.calls) >= self._limit:
            times.append(now + self.calls[-self._limit] + self._span + self._spread - wall)
        if self.not_before is not None:
            times.append(now + self.not_before - wall)
        return max(times)

    def is_blocked(self, now: float, wall: float) -> bool:
        """Return True if the exchange has blocked requests about orders."""
        self._correct(wall)
        return now < self._blocked_until or wall < (self.not_before or _NEVER)

    def spend(self, now: float, wall: float, count: int = 1) -> None:
        """Note that so many requests leave now."""
        self._note(now, wall, min(count, self._limit), 0.0)

    def _note(self, now: float, wall: float, count: int, ahead: float) -> None:
        self._recent.extend([now + ahead] * count)
        self._correct(wall)
        made = sorted((*self.calls, *[wall + ahead] * count))
        self.calls = tuple(at for at in made if at > wall - self._span)[-self._limit :]

    def set_back(self, seconds: float) -> None:
        """Count with a time of day that was set back by so much, as the other clock has shown."""
        self.calls = tuple(at - seconds for at in self.calls)
        self._reserved = (self._reserved[0], self._reserved[1] - seconds)
        self.not_before = None if self.not_before is None else self.not_before - seconds

    def reserve(self, now: float, wall: float) -> None:
        """Note a request that is to leave once this is stored."""
        ahead, self._reserved_at = self._storing.ahead, now
        self._reserved = (now + ahead, wall + ahead)
        self._note(now, wall, 1, ahead)

    def may_leave(self, now: float) -> bool:
        """Return True if the request that is reserved may leave now; False if its note took too
        long to store."""
        return self._storing.is_in_time(now - self._reserved_at)

    def sent(self, now: float) -> None:
        """Note that the request that is reserved leaves now."""
        self._forget()
        self._recent.append(now)
        is_shared = now < self._is_shared_until
        self._spread = (1 + self._jitter()) / 2 * self._span * _SPREAD if is_shared else 0.0

    def withdraw(self) -> None:
        """The request that is reserved does not leave."""
        self._forget()
        calls = list(self.calls)
        if self._reserved[1] in calls:
            calls.remove(self._reserved[1])
        self.calls = tuple(calls)

    def _forget(self) -> None:
        # The application may have made calls since, and pushed it out.
        if self._reserved[0] in self._recent:
            self._recent.remove(self._reserved[0])

    def block(self, seconds: float, now: float, wall: float) -> None:
        """Send nothing for so long."""
        self._longest = max(self._longest, seconds)
        self._blocked_until = max(self._blocked_until, now + seconds)
        self.not_before = max(self.not_before or _NEVER, wall + seconds)

    def merge(
        self,
        known: tuple[float, ...],
        found: tuple[float, ...],
        not_before: float | None,
        now: float,
    ) -> None:
        """Take in what another process has stored in place of ``known``."""
        if any(at not in known for at in found):
            self._is_shared_until, self._spread = now + 2 * self._span, 0.0
        own = (at for at in self.calls if at not in known)
        self.calls = tuple(sorted((*found, *own)))[-self._limit :]
        if not_before is not None:
            self.not_before = max(self.not_before or _NEVER, not_before)

    def _correct(self, wall: float) -> None:
        # Notes may be dated ahead.
        if self.calls and self.calls[-1] > wall + LONGEST:
            self.calls = tuple(min(at, wall) for at in self.calls)
            self._reserved = (self._reserved[0], min(self._reserved[1], wall))
        if self.not_before is not None:
            self.not_before = min(self.not_before, wall + self._longest)
