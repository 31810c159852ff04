"""The questions for orders that were made and closed unseen.

Theory. The account says what it has to know of the history of finished orders
(``Account.history_query``). It is read with what the other questions leave of the budget:

- once at the start, the newest page;
- after every loss, as soon as the account is whole again: down to the floor, page by page. And once
  more four times ``retry_cap`` later, since the exchange may enter a finished order late. An order
  that was given up for that reason may be older than the floor: a few pages more are read for those
  of an unknown outcome.

Nothing waits for it: the account is whole before, and stays so. A failed page is asked for again
with waits of its own, so that it delays no other question; what was read before is kept. A page has
a place in the history, not a number, so what is entered meanwhile shifts nothing. Another loss
starts anew. What could not be read is reported in the end, and not asked for any more.
"""

from collections.abc import Callable
from typing import Final

from topone_proto.account._account import Account
from topone_proto.account._changes import Change
from topone_proto.account._config import AccountConfig
from topone_proto.account._passes import Pass, has_reached
from topone_proto.account._questions import HistoryQuery
from topone_proto.account._reports import FetchFailed, FetchKind
from topone_proto.account._retries import Retries
from topone_proto.secrets.token import Token
from topone_proto.wire.answers import read_history
from topone_proto.wire.http import HttpRequest, HttpResponse
from topone_proto.wire.orders import Order
from topone_proto.wire.requests import PageKey, history_request

__all__ = ["CatchUp", "HistoryPass"]

_READINGS: Final = 2
_MAX_PAGES: Final = 100
"""The most pages of a reading."""
_FURTHER: Final = 4
"""The most pages of these beyond the floor."""

# The exchange has entered a finished order by then: so many times the longest wait, two minutes.
_LATE: Final = 4

_NEVER: Final = float("-inf")


class HistoryPass(Pass):
    """The history of finished orders, down to an id, or its newest page."""

    def __init__(self, query: HistoryQuery, now: float, *, is_last: bool) -> None:
        super().__init__(now)
        self.query = query
        """The question."""
        self.is_last = is_last
        """True if the history is not read once more for it."""
        self.problem = ""
        """The reason why orders may be missing; empty without one."""
        self._rows = list[Order]()
        self._key = PageKey()
        self._pages = self._further = 0

    @property
    def kind(self) -> FetchKind:
        """The kind of the next request."""
        return FetchKind.HISTORY

    def request(self, token: Token) -> HttpRequest:
        """Return the next request."""
        return history_request(token, self._key)

    def take(self, response: HttpResponse) -> bool:
        """Take an answer in."""
        page = read_history(response, self._key)
        self._pages += 1
        self._rows += page.rows
        if page.unreadable:
            self.problem = f"finished orders that cannot be read: {page.unreadable[0]}"
        after = self.query.after
        if after is None or page.next is None:
            return True
        if has_reached(page.rows, after):
            missing = self.query.lost - {row.id for row in self._rows}
            if not missing or has_reached(page.rows, min(missing)) or self._further >= _FURTHER:
                return True
            self._further += 1
        if self._pages >= _MAX_PAGES:
            self.problem = f"more finished orders than {_MAX_PAGES} pages have"
            return True
        self._key = page.next
        return False

    def tell(self, account: Account, answered_ts: int | None) -> tuple[Change, ...]:  # noqa: ARG002 - as of every pass
        """Hand what was found to the account."""
        return account.catch_up(self.query, self._rows, is_last=self.is_last)

    def is_awaited(self, account: Account) -> bool:
        """Return True if its answer can still be used."""
        return account.history_query == self.query


class CatchUp:
    """The readings of the history that are due."""

    def __init__(
        self, account: Account, config: AccountConfig, jitter: Callable[[], float]
    ) -> None:
        self.retries: Retries = Retries(config, jitter)
        """The waits after failures."""
        self._account = account
        self._late = _LATE * config.retry_cap
        self._query: HistoryQuery | None = None
        self._pass: HistoryPass | None = None
        self._readings = 0
        self._not_before = _NEVER

    def update(self) -> None:
        """Look whether there is another question."""
        query = self._account.history_query
        if query is not None and query != self._query:
            self._query, self._pass, self._readings, self._not_before = query, None, 0, _NEVER

    @property
    def due_at(self) -> float | None:
        """The time at which to ask; None if there is nothing to ask."""
        if self._account.history_query is None:
            return None
        return max(self._not_before, self.retries.resumes_at)

    def choose(self, now: float) -> HistoryPass | None:
        """Return what to ask now; None if there is nothing."""
        due_at = self.due_at
        if due_at is None or now < due_at or self._query is None:
            return None
        if self._pass is None:
            is_last = self._readings + 1 >= _READINGS
            self._pass = HistoryPass(self._query, now, is_last=is_last)
        return self._pass

    def answered(
        self, waiting: HistoryPass, response: HttpResponse, now: float
    ) -> tuple[Change | FetchFailed, ...]:
        """Take an answer in. Return what it changes.

        Raises:
            ApiError: it is none.
        """
        is_complete = waiting.take(response)
        self.retries.succeed()
        if waiting is not self._pass or not is_complete:
            return ()
        self._pass = None
        self._readings += 1
        self._not_before = now + self._late
        changes = waiting.tell(self._account, None)
        if not (waiting.is_last and waiting.problem):
            return changes
        return (*changes, FetchFailed(FetchKind.HISTORY, waiting.problem, None))
