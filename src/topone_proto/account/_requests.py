"""The requests of an account session over HTTP: which leave, and what their answers change.

Two kinds of request have a budget that outlives the process: those for a token and those about
orders. Each is *reserved* first: its time is part of the state to be stored (``StoreState``), and
the request leaves in the step of ``state_stored``. A process that is killed in between has spent
its budget. At most one request for a token and one question are under way.
"""

from collections.abc import Callable
from typing import Final

from topone_proto.account._account import Account
from topone_proto.account._actions import Fetch, RenewToken
from topone_proto.account._budget import OrderBudget
from topone_proto.account._config import AccountConfig
from topone_proto.account._healing import Healer
from topone_proto.account._passes import Pass
from topone_proto.account._reports import DelayCause, FetchDelayed, FetchFailed, FetchKind
from topone_proto.account._stored import Store, StoredState
from topone_proto.account._tokens import OwnTokens, SuppliedTokens
from topone_proto.account._waits import Waits
from topone_proto.account._work import Caused, UnderWay
from topone_proto.failures import Failure
from topone_proto.secrets.token import Token
from topone_proto.wire.http import (
    ApiError,
    ApiErrorMeaning,
    Credentials,
    HttpRequest,
    HttpResponse,
)

__all__ = ["GRACE", "Requester"]

GRACE: Final = 5.0
"""An adapter reports the end of a request within its timeout. So many seconds later nobody will."""

# Seconds by which clocks may differ that nobody has set.
_SET_BACK: Final = 1.0

# Seconds between two looks for a token that another process is fetching.
_LOOK: Final = 1.0

# The code that blocks requests about orders for an hour.
_BLOCKED: Final = "10027"

_MAX_DETAIL: Final = 512


class Requester:
    """The tokens, the questions and the budgets of one account session."""

    def __init__(
        self,
        source: Credentials | Token | None,
        settings: AccountConfig,
        state: StoredState,
        max_closed: int,
        jitter: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.account: Account = Account(max_closed=max_closed, config=settings)
        """The account, to read. Nothing is to be applied to it."""
        self._settings = settings
        self._time_of_day = wall
        self._tokens: OwnTokens | SuppliedTokens
        if isinstance(source, Credentials):
            self._tokens = OwnTokens(source, settings, state.token, jitter)
        else:
            self._tokens = SuppliedTokens(source, settings, state.token, jitter)
        self._healer = Healer(self.account, settings, jitter)
        self._budget = OrderBudget(settings, state.order_calls, state.orders_not_before, jitter)
        self._store = Store(state)
        self._waits = Waits()
        self._next_id = 1
        self._under_way: list[UnderWay] = []
        # The pass whose next request leaves once its budget is stored.
        self._reserved: Pass | None = None
        # While another process may be fetching a token: when to look for it next, and until when.
        self._look_at: float | None = None
        self._looks_until = 0.0
        # When an event came last, most of which tell a server time.
        self._heard_at = 0.0
        # The time of day less the time, when both were looked at last.
        self._ahead: float | None = None

    # --- what leaves ----------------------------------------------------------------------------

    def _look_at_clock(self, now: float) -> float:
        """Return the time of day, after noting whether it was set back."""
        wall = self._time_of_day()
        back = 0.0 if self._ahead is None else self._ahead - (wall - now)
        if back > _SET_BACK:
            self._tokens.set_back(back)
            self._budget.set_back(back)
        self._ahead = wall - now
        return wall

    def delays(self, now: float) -> tuple[FetchDelayed, ...]:
        """Return the requests that wait for a budget or for the end of a block, each with the
        seconds that are left."""
        return self._waits.present(now)

    def _say_wait(self, caused: Caused, now: float) -> None:
        """Report a wait for a token that nobody knows of yet."""
        tokens = self._tokens
        if not isinstance(tokens, OwnTokens) or tokens.token is not None:
            self._waits.over(FetchKind.TOKEN)
        elif tokens.deadline is not None:
            found = self._waits.found(FetchKind.TOKEN, tokens.delay_cause, tokens.deadline, now)
            caused.events += found

    def _renew(self, caused: Caused, now: float, wall: float) -> None:
        """Ask for a token."""
        tokens = self._tokens
        if not tokens.is_due:
            return
        if isinstance(tokens, OwnTokens):
            self._send(tokens.request(now, wall), None, caused, now)
        else:
            caused.actions.append(RenewToken(tokens.asked()))

    def _heal(self, caused: Caused, now: float, wall: float) -> None:
        """Send the next question, or reserve what it costs."""
        # Whether or not anything can be asked.
        caused.events += self._healer.suspicions.review(now)
        token = self._tokens.token
        is_busy = any(request.waiting is not None for request in self._under_way)
        if is_busy or self._reserved is not None or token is None:
            return
        orders_from = self._budget.free_at(now, wall)
        waiting = self._healer.choose(now, orders_from)
        if waiting is None:
            kind = self._healer.delayed(now, orders_from)
            if kind is not None:
                is_blocked = self._budget.is_blocked(now, wall)
                cause = DelayCause.BLOCK if is_blocked else DelayCause.BUDGET
                caused.events += self._waits.found(kind, cause, orders_from, now)
            return
        if waiting.kind is FetchKind.BALANCES:
            self._send(waiting.request(token), waiting, caused, now)
        else:
            self._budget.reserve(now, wall)
            self._reserved = waiting

    def _save(self, caused: Caused, now: float) -> None:
        budget = self._budget
        state = StoredState(self._tokens.state, budget.calls, budget.not_before)
        action = self._store.save(state, now)
        if action is not None:
            caused.actions.append(action)
            return
        if self._store.has(state):
            # As for another question, which was withdrawn: nobody will say that it is stored.
            self._ask_reserved(caused, now)
        if self._tokens.token is not None or now >= self._looks_until:
            self._look_at = None
        elif self._look_at is not None and now >= self._look_at:
            self._look_at = now + _LOOK
            look = self._store.load()
            if look is not None:
                caused.actions.append(look)

    def _look_for_token(self, now: float) -> None:
        """Another process may be about to get one."""
        self._look_at, self._looks_until = now, now + self._settings.fetch_timeout + GRACE

    def _ask_reserved(self, caused: Caused, now: float) -> None:
        """Send the question whose budget is stored, if it is still one."""
        waiting = self._reserved
        if waiting is None:
            return
        is_asked = waiting.is_awaited(self.account) and self._budget.may_leave(now)
        if not is_asked or self._tokens.token is None:
            # If it is still to be asked, it is reserved once more.
            self._withdraw()
            return
        self._reserved = None
        self._waits.over(waiting.kind)
        self._budget.sent(now)
        self._send(waiting.request(self._tokens.token), waiting, caused, now)

    def _find(self, number: int) -> UnderWay | None:
        return next((request for request in self._under_way if request.id == number), None)

    def _send(self, request: HttpRequest, waiting: Pass | None, caused: Caused, now: float) -> None:
        timeout = self._settings.fetch_timeout
        under_way = UnderWay(self._next_id, request, now + timeout + GRACE, waiting)
        self._next_id += 1
        self._under_way.append(under_way)
        caused.actions.append(Fetch(under_way.id, request, timeout))

    def _withdraw(self) -> None:
        """Withdraw a request that was reserved and does not leave."""
        if self._reserved is not None:
            self._reserved = None
            self._budget.withdraw()

    # --- answers --------------------------------------------------------------------------------

    def _answered(
        self, under_way: UnderWay, response: HttpResponse, caused: Caused, now: float
    ) -> None:
        self._under_way.remove(under_way)
        waiting, tokens, wall = under_way.waiting, self._tokens, self._look_at_clock(now)
        token = under_way.request.token
        if waiting is None or token is None:
            assert isinstance(tokens, OwnTokens)  # nobody else asks for one
            report = tokens.fetched(response, self._server_time(now), now, wall)
            if report is not None:
                caused.events.append(report)
            return
        try:
            changes = self._healer.answered(waiting, response, now)
        except ApiError as error:
            self._refused(token, waiting, error, caused, now)
            return
        tokens.accepted(token)
        caused.events += changes

    def _refused(
        self, token: Token, waiting: Pass, error: ApiError, caused: Caused, now: float
    ) -> None:
        """A question was answered with an error."""
        healer, wall = self._healer, self._look_at_clock(now)
        kind, problem = waiting.kind, str(error)
        if error.meaning is ApiErrorMeaning.TOKEN:
            wait = self._tokens.refused_by_http(token, problem, now, wall)
            healer.drop(waiting)
            healer.hold(now + wait)
            is_over = self._tokens.failure is not None
            problem = (self._tokens.causes or problem)[:_MAX_DETAIL]
            caused.events.append(FetchFailed(kind, problem, None if is_over else wait))
        elif str(error.code) == _BLOCKED:
            wait = max(self._settings.token_block, error.retry_after or 0.0)
            self._budget.block(wait, now, wall)
            healer.drop(waiting)
            if kind is FetchKind.BALANCES:
                healer.hold(now + wait)
            caused.events.append(FetchFailed(kind, problem, wait))
        else:
            caused.events.append(healer.failed(waiting, problem, error, now))

    def _failed(self, under_way: UnderWay, failure: Failure, caused: Caused, now: float) -> None:
        """A request has no answer."""
        self._under_way.remove(under_way)
        words = failure.kind.value.replace("_", " ")
        problem = f"{words} ({failure.detail})" if failure.detail else words
        problem = HttpResponse(0, request=under_way.request).masked(problem)[:_MAX_DETAIL]
        if under_way.waiting is not None:
            report = self._healer.failed(under_way.waiting, problem, None, now)
        else:
            assert isinstance(self._tokens, OwnTokens)  # nobody else asks for one
            report = self._tokens.failed(problem, now, self._look_at_clock(now))
        caused.events.append(report)

    def _server_time(self, now: float) -> float | None:
        ts = self.account.latest_ts
        return None if ts is None else ts / 1000 + now - self._heard_at
