"""The list of finished orders, read page by page beside an account: a thread of its own.

The exchange counts these questions together with those of the account. Its own are limited to
``ACCOUNT_CALLS`` a minute while this runs; two pages a minute are left, which is what ``_PACE`` is.
The first page after an account has become whole is counted by the account as well, so that many
processes one after the other keep the budget, too.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from topone_cli._errors import explain_failure
from topone_cli._fills import CatchUp
from topone_cli._prove import explain_refusal
from topone_proto import ConnectionFailed, Order, Token
from topone_proto.wire.answers import Page, read_history
from topone_proto.wire.http import ApiError, ApiErrorMeaning, HttpRequest, HttpResponse
from topone_proto.wire.requests import history_request

__all__ = ["ACCOUNT_CALLS", "Historian"]

ACCOUNT_CALLS: Final = 8
"""The calls about orders that the account may make in a minute: ten are allowed in all."""
_PACE: Final = 31.0
_BLOCK: Final = 3600.0
_FIRST_RETRY: Final = 30.0
_LAST_RETRY: Final = 600.0
_TOKEN_WAIT: Final = 5.0
_TIMEOUT: Final = 10.0
_ORDER_LIMIT: Final = "10027"


class Historian:
    """Reads the way down of one ``CatchUp`` after the other; a new one takes the place of the one
    that is being read.

    Args:
        fetch: sends a request with a timeout in seconds. It raises ``ConnectionFailed``.
        token: returns the token to ask with; None if there is none now.
        take: takes every order that may have fills that are missing.
        note: is told what is in the way.
        abort: ends a request that is under way, for good.
        pace: the least time between two pages, in seconds.
    """

    def __init__(
        self,
        fetch: Callable[[HttpRequest, float], HttpResponse],
        token: Callable[[], Token | None],
        take: Callable[[Order], object],
        note: Callable[[str], object],
        abort: Callable[[], object] = bool,
        pace: float = _PACE,
    ) -> None:
        self._fetch = fetch
        self._token = token
        self._take = take
        self._note = note
        self._abort = abort
        self._pace = pace
        self._condition = threading.Condition()
        self._way: CatchUp | None = None
        self._done: Callable[[CatchUp], object] = len  # type: ignore[assignment]  # replaced by begin
        self._not_before = float("-inf")
        self._is_closing = False
        self._failures = 0
        self._said: str | None = None
        self.is_blocked = False
        """True once the exchange has answered that too many calls about orders were made. Whoever
        has told the account of it resets it."""
        self._thread = threading.Thread(target=self._run, name="topone history", daemon=True)
        self._thread.start()

    def begin(self, way: CatchUp, done: Callable[[CatchUp], object], wait: float = 0.0) -> None:
        """Read this way, after so many seconds, and call ``done`` in the end, in the thread."""
        with self._condition:
            self._way, self._done = way, done
            self._not_before = max(self._not_before, time.monotonic() + wait)
            self._condition.notify()

    def close(self) -> None:
        """End. What is not read is read after the next start."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        self._abort()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread
            self._note(f"finished orders are read no more, by a fault ({type(error).__name__})")

    def _read_all(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._way is not None or self._is_closing)
                way, done = self._way, self._done
                if self._is_closing or way is None:
                    return
            if not self._is_due(way):
                continue
            page = self._read(way)
            if page is None:
                continue
            for order in way.take(page):
                self._take(order)
            if way.key is None:
                with self._condition:
                    if self._way is way:
                        self._way = None
                    else:
                        continue
                done(way)

    def _is_due(self, way: CatchUp) -> bool:
        """Wait for the time of the next page. Return False if this way is read no more."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._way is not way or self._is_closing,
                max(0.0, self._not_before - time.monotonic()),
            )
            return self._way is way and not self._is_closing

    def _read(self, way: CatchUp) -> Page[Order] | None:
        """Ask for one page; None if there is no answer, and when to ask again is noted."""
        token = self._token()
        if token is None:
            self._hold(_TOKEN_WAIT)
            return None
        try:
            response = self._fetch(history_request(token, way.key), _TIMEOUT)
            page = read_history(response, way.key)
        except ConnectionFailed as error:
            self._failed(explain_failure(error.failure), 0.0)
            return None
        except ApiError as error:
            self.is_blocked = self.is_blocked or str(error.code) == _ORDER_LIMIT
            is_limit = error.meaning is ApiErrorMeaning.RATE_LIMIT
            self._failed(
                explain_refusal(error), max(_BLOCK if is_limit else 0.0, error.retry_after or 0.0)
            )
            return None
        self._failures, self._said = 0, None
        self._hold(self._pace)
        return page

    def _failed(self, problem: str, wait: float) -> None:
        if self._is_closing:
            return
        again = max(wait, min(_FIRST_RETRY * 2.0**self._failures, _LAST_RETRY))
        self._failures = min(self._failures + 1, 10)
        if problem != self._said:
            self._note(f"finished orders cannot be read, tried again in {again:.0f} s: {problem}")
            self._said = problem
        self._hold(max(again, self._pace))

    def _hold(self, seconds: float) -> None:
        with self._condition:
            self._not_before = max(self._not_before, time.monotonic() + seconds)
