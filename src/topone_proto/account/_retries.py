"""The waits after requests that came to nothing.

A wait is from ``retry_first`` to ``retry_cap`` seconds, twice as long after each failure, at random
between half and the whole; ten times ``retry_cap`` after an error of which the exchange says that
asking cannot help; and as long as the exchange asks for (``Retry-After``).
"""

from collections.abc import Callable
from typing import Final

from topone_proto.account._config import AccountConfig
from topone_proto.wire.http import ApiError, ApiErrorMeaning

__all__ = ["Retries"]

_NEVER: Final = float("-inf")
_MINUTE: Final = 60.0
_DOUBLINGS: Final = 20

# Asking again cannot help: so many times the longest wait.
_PATIENCE: Final = 10

_HOPELESS: Final = frozenset(
    {
        ApiErrorMeaning.CREDENTIALS,
        ApiErrorMeaning.ADDRESS,
        ApiErrorMeaning.REQUEST,
        ApiErrorMeaning.ORDER,
        ApiErrorMeaning.CLOCK,
    }
)


class Retries:
    """The time of the next try."""

    def __init__(self, config: AccountConfig, jitter: Callable[[], float]) -> None:
        self.held_until = _NEVER
        """The end of the wait that the exchange has asked for, which nobody shortens."""
        self._config = config
        self._jitter = jitter
        self._failures = 0
        self._limits = 0
        self._not_before = _NEVER

    @property
    def resumes_at(self) -> float:
        """The time from which to ask again."""
        return max(self._not_before, self.held_until)

    def fail(self, error: ApiError | None, now: float) -> None:
        """Wait, after one more failure."""
        meaning = None if error is None else error.meaning
        self._failures += 1
        wait = self._spread(self._failures) * (_PATIENCE if meaning in _HOPELESS else 1)
        self._not_before = now + wait
        retry_after = None if error is None else error.retry_after
        if meaning is ApiErrorMeaning.RATE_LIMIT and retry_after is None:
            self._limits += 1
            retry_after = _MINUTE * 2.0 ** (min(self._limits, _DOUBLINGS) - 1)
        if retry_after is not None:
            self.hold(now + min(retry_after, self._config.token_block))

    def succeed(self) -> None:
        """Count from the start again."""
        self._failures = self._limits = 0

    def hold(self, until: float) -> None:
        """Wait until then at least."""
        self.held_until = max(self.held_until, until)

    def resume(self, now: float) -> None:
        """End the wait, as far as the exchange has not asked for it."""
        self._not_before = now

    def _spread(self, failures: int) -> float:
        config = self._config
        span = min(config.retry_first * 2.0 ** (min(failures, _DOUBLINGS) - 1), config.retry_cap)
        return span * (1 + self._jitter()) / 2
