"""The order of questions over HTTP: an account's questions become requests, one at a time.

Theory. The account says what is to be asked (``Account.ask``); here it waits in a queue until

- no other request is under way: there is one at a time, and one answer is merged before the next
  question is chosen;
- the wait after a failure is over (``retries``);
- for orders, the budget allows it (``budget``). Balances do not wait for it.

A question that is not awaited any more, since the connection was lost or an update may have been
missed, is dropped: the account asks it anew, and that restarts the pass. So does one that has
waited for so long that the account would have to ask again anyhow.

Orders that were made and closed unseen are asked for while nothing else is, but before an audit
(``catching_up``). What an audit suspects is not called right for long (``suspicions``).

An answer is handed to the account within the step in which it comes, so that nothing can come in
between: updates before it and after it have their places.

A failure is never an answer. No number of failures ends the asking; each is reported, with the time
of the next try, and the waits are bounded.
"""

from collections.abc import Callable
from typing import Final

from topone_proto.account._account import Account
from topone_proto.account._catching_up import CatchUp, HistoryPass
from topone_proto.account._changes import Change
from topone_proto.account._config import AccountConfig
from topone_proto.account._passes import BalancesPass, ListPass, LookupPass, Pass, QueryPass
from topone_proto.account._questions import BalancesQuery, OrdersQuery, Query
from topone_proto.account._reports import FetchFailed, FetchKind
from topone_proto.account._retries import Retries
from topone_proto.account._suspicions import Suspicions
from topone_proto.wire.http import ApiError, ApiErrorMeaning, HttpResponse

__all__ = ["Healer"]

# The rows to ask for on a page of open orders: fewer, if the exchange refuses so many.
_PAGE_SIZES: Final = (500, 100, 20)

# The code and the HTTP statuses of a refusal that may be about a parameter.
_WRONG_PARAMETER: Final = "10001"
_PARAMETER_STATUSES: Final = frozenset({400, 413, 414, 422})

# A question that has waited for longer than two minutes of the exchange is asked anew.
_STALE_AFTER: Final = 120.0


def _names_parameter(error: ApiError) -> bool:
    """Return True if the exchange may have refused a parameter. A page of a proxy, such as a 404,
    says nothing about one."""
    if error.code is None:
        return error.status in _PARAMETER_STATUSES
    return str(error.code) == _WRONG_PARAMETER


class Healer:
    """The queue of one account's questions."""

    def __init__(
        self, account: Account, config: AccountConfig, jitter: Callable[[], float]
    ) -> None:
        self._account = account
        self._config = config
        self._retries = Retries(config, jitter)
        self._queue: list[QueryPass] = []
        self._catch_up = CatchUp(account, config, jitter)
        self.suspicions: Suspicions = Suspicions(account, config)
        """The differences that audits have found and nobody has confirmed."""
        self._page_sizes = list(_PAGE_SIZES)
        # True once the exchange has given open orders.
        self._has_listed = False
        self._audit_at: float | None = None

    def choose(self, now: float, orders_from: float) -> Pass | None:
        """Return the pass whose next request may be sent now; None if there is none.

        Args:
            now: the time.
            orders_from: the time from which a request about orders may be sent.
        """
        self._audit(now)
        self._catch_up.update()
        if now < self._retries.resumes_at:
            return None
        self._drop(now)
        self._queue += [self._begin(query, now) for query in self._account.ask(now)]
        may_ask_orders = now >= orders_from
        audits = [waiting for waiting in self._queue if waiting.query.is_audit]
        # What was missed is past, and an audit looks for what nobody suspects.
        for waiting in (*self._urgent, self._history(now), *audits):
            if waiting is not None and (may_ask_orders or waiting.kind is FetchKind.BALANCES):
                return waiting
        return None

    def delayed(self, now: float, orders_from: float) -> FetchKind | None:
        """Return the kind of the first question about orders, if nothing but their budget is in its
        way."""
        if not self._retries.resumes_at <= now < orders_from:
            return None
        kinds = (waiting.kind for waiting in self._queue)
        return next((kind for kind in kinds if kind is not FetchKind.BALANCES), None)

    def deadline(self, now: float, orders_from: float) -> float | None:
        """Return the time at which to ``choose`` again; None if nothing is to be asked."""
        times = [
            now if waiting.kind is FetchKind.BALANCES else orders_from for waiting in self._queue
        ]
        asked_at = self._account.deadline
        if asked_at is not None:
            times.append(asked_at)
        history_at = self._catch_up.due_at
        if history_at is not None and self._is_at_rest:
            times.append(max(history_at, orders_from))
        due = [max(at, self._retries.resumes_at) for at in times]
        if self._audit_at is not None:
            due.append(self._audit_at)
        return min(due, default=None)

    def answered(
        self, waiting: Pass, response: HttpResponse, now: float
    ) -> tuple[Change | FetchFailed, ...]:
        """Take an answer in. Return what it changes.

        Raises:
            ApiError: it is none; call ``failed``.
        """
        if isinstance(waiting, HistoryPass):
            return self._catch_up.answered(waiting, response, now)
        assert isinstance(waiting, QueryPass)  # there is no other
        kind, is_complete = waiting.kind, waiting.take(response)
        self._has_listed = self._has_listed or kind is FetchKind.OPEN_ORDERS
        self._retries.succeed()
        waiting.touched_at = now
        if not is_complete:
            return ()
        self._queue.remove(waiting)
        date = response.date
        return waiting.tell(self._account, None if date is None else round(date * 1000))

    def failed(
        self, waiting: Pass, problem: str, error: ApiError | None, now: float
    ) -> FetchFailed:
        """A request has failed: its question is asked again, later."""
        kind = waiting.kind
        if isinstance(waiting, HistoryPass):
            retries = self._catch_up.retries
            retries.fail(error, now)
            if error is not None and error.meaning is ApiErrorMeaning.RATE_LIMIT:
                self.hold(retries.held_until)
            return FetchFailed(kind, problem, retries.resumes_at - now)
        self.drop(waiting)
        if self._asks_for_less(kind, error):
            return FetchFailed(kind, problem, 0.0)
        self._retries.fail(error, now)
        return FetchFailed(kind, problem, self._retries.resumes_at - now)

    def drop(self, waiting: Pass) -> None:
        """Ask again for what this request was for."""
        # The history's page is asked for as long as it is needed.
        if isinstance(waiting, QueryPass):
            self._queue.remove(waiting)
            self._account.retry(waiting.query)

    def hold(self, until: float) -> None:
        """Ask nothing until then."""
        self._retries.hold(until)

    def refresh(self, now: float) -> None:
        """Ask as soon as the exchange allows, and audit what is whole."""
        self._retries.resume(now)
        self._catch_up.retries.resume(now)
        self._account.audit()

    @property
    def _urgent(self) -> list[QueryPass]:
        """The questions that keep something from being whole or settled."""
        return [waiting for waiting in self._queue if not waiting.query.is_audit]

    @property
    def _is_at_rest(self) -> bool:
        return self._account.is_settled and not self._urgent

    def _history(self, now: float) -> HistoryPass | None:
        return self._catch_up.choose(now) if self._is_at_rest else None

    def _audit(self, now: float) -> None:
        interval = self._config.audit_interval
        if interval is None:
            return
        if self._audit_at is None:
            self._audit_at = now + interval
        elif now >= self._audit_at:
            self._audit_at = now + interval
            self._account.audit()

    def _drop(self, now: float) -> None:
        for waiting in tuple(self._queue):
            if not self._account.is_awaited(waiting.query):
                self._queue.remove(waiting)
            elif now - waiting.touched_at > _STALE_AFTER:
                self.drop(waiting)

    def _begin(self, query: Query, now: float) -> QueryPass:
        match query:
            case BalancesQuery():
                return BalancesPass(query, now)
            case OrdersQuery(ids=ids):  # pragma: no branch - there is no other
                size = self._page_sizes[0]
                if ids is None:
                    return ListPass(query, now, size)
                return LookupPass(query, ids, now, size)

    def _asks_for_less(self, kind: FetchKind, error: ApiError | None) -> bool:
        """True if smaller pages are worth a try."""
        if kind is not FetchKind.OPEN_ORDERS or error is None or not _names_parameter(error):
            return False
        if self._has_listed:
            # Pages of this size were given before.
            return False
        del self._page_sizes[0]
        if self._page_sizes:
            return True
        # Not even the smallest is taken, so the size is not what is wrong.
        self._page_sizes = list(_PAGE_SIZES)
        return False
