"""A whole account as one machine: a session, its tokens, the account, and the healing of it.

Theory. Four machines share the inputs:

- the *session* dials, subscribes and names what may have been missed;
- the *account* folds the session's events, and says what has to be asked;
- the *tokens* say with which token to dial and to ask, and when to get another one;
- the *healer* sends the account's questions, one at a time, within the budgets.

Every input goes to the machine that it is for. Then all of them are looked at, in a fixed order,
until nothing is due: a token that the session waits for, a request for a token, a question, and the
state that has to be stored. So the step that one input returns has everything that it caused.

Two kinds of request have a budget that outlives the process: those for a token and those about
orders. Each is *reserved* first: its time is part of the state to be stored (``StoreState``), and
the request leaves in the step of ``state_stored``. A process that is killed in between has spent
its budget.

Invariants:

- At most one request for a token and one question are under way.
- Nothing is dialled without a token, however long the budget takes to allow one: the session's own
  timeout of a token does not run then. Dialling again never causes a request for a token.
- While the application is behind (``reading_paused``) nothing new is asked, since every answer and
  every failure would bring it more events than it has room for.
- After ``Closed`` there is no action and no deadline, and whatever still comes is ignored.
"""

from collections.abc import Callable, Iterable
from typing import Final

from attrs import evolve

from topone_proto.account._account import Account
from topone_proto.account._actions import (
    AccountStep,
    Fetch,
    RenewToken,
)
from topone_proto.account._budget import OrderBudget
from topone_proto.account._config import AccountConfig
from topone_proto.account._healing import Healer
from topone_proto.account._passes import Pass
from topone_proto.account._reports import FetchFailed, FetchKind
from topone_proto.account._stored import Store, StoredState
from topone_proto.account._tokens import OwnTokens, SuppliedTokens
from topone_proto.account._work import Caused, UnderWay
from topone_proto.events import Closed, Connected, Disconnected, Event
from topone_proto.failures import Failure, FailureKind
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Close, Connect, FetchToken
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.session import Session
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.wire.http import (
    ApiError,
    ApiErrorMeaning,
    Credentials,
    HttpRequest,
    HttpResponse,
)
from topone_proto.wire.topic import Topic

__all__ = ["Machine"]

# An adapter reports the end of a request within its timeout. So much later nobody will.
_GRACE: Final = 5.0

# Seconds by which clocks may differ that nobody has set.
_SET_BACK: Final = 1.0

# Seconds between two looks for a token that another process is fetching.
_LOOK: Final = 1.0

# The code that blocks requests about orders for an hour.
_BLOCKED: Final = "10027"

_MAX_DETAIL: Final = 512


class Machine:
    """The parts of an account session and what joins them. ``AccountSession`` has the inputs."""

    def __init__(
        self,
        source: Credentials | Token | None,
        topics: Iterable[Topic],
        endpoint: Endpoint | None,
        config: SessionConfig | None,
        settings: AccountConfig,
        state: StoredState,
        max_closed: int,
        jitter: Callable[[], float],
        wall: Callable[[], float],
        make_session: Callable[..., Session],
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
        self._session = make_session(
            topics,
            endpoint=endpoint,
            token=source if isinstance(source, Token) else None,
            config=config,
            jitter=jitter,
        )
        self._healer = Healer(self.account, settings, jitter)
        self._budget = OrderBudget(settings, state.order_calls, state.orders_not_before, jitter)
        self._store = Store(state)
        self._failure: Failure | None = None
        self._session_deadline: float | None = None
        self._own_deadline: float | None = None
        # True while the session waits for a token of ours.
        self._awaits_token = False
        self._dialled: Token | None = None
        # The last failure of a dial, if it refused a token of ours.
        self._refusal: Failure | None = None
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
        self._has_ended = False
        # True if the account has nothing to ask.
        self._is_settled = False
        # True while the application is behind.
        self._is_paused = False

    @property
    def _is_running(self) -> bool:
        return self._session.state not in {SessionState.NEW, SessionState.CLOSED}

    # --- the session ----------------------------------------------------------------------------

    def _of(self, step: Step, now: float) -> AccountStep:
        """A step of the session. Most of them cause nothing here."""
        if step.events or any(isinstance(action, Connect | FetchToken) for action in step.actions):
            caused = Caused()
            self._take(step, caused, now)
            return self._settle(caused, now)
        self._session_deadline = step.deadline
        return AccountStep((), step.actions, self._deadline())

    def _take(self, step: Step, caused: Caused, now: float) -> None:
        """Take a step of the session to the other machines."""
        self._session_deadline = step.deadline
        for event in step.events:
            event = self._hear(event)  # noqa: PLW2901 - the same event, with all causes
            changes = self.account.apply(event)
            # Nothing comes after the end.
            caused.events += (*changes, event) if isinstance(event, Closed) else (event, *changes)
            self._heard_at = now
        for action in step.actions:
            match action:
                case FetchToken() if self._tokens.is_own:
                    self._awaits_token = True
                    continue
                case Connect(token=token):
                    self._dialled = token
                case _:
                    pass
            caused.actions.append(action)

    def _pause(self, step: Step, now: float, *, is_paused: bool) -> AccountStep:
        """A step of the session that says whether the application is behind."""
        self._is_paused = is_paused
        caused = Caused()
        self._take(step, caused, now)
        return self._settle(caused, now)

    def _hear(self, event: Event) -> Event:
        """Take what an event of the session says of a token; return the event with all of its
        causes."""
        match event:
            case Connected() if self._dialled is not None:
                self._refusal = None
                self._tokens.accepted(self._dialled)
            case Disconnected(reason=Failure(kind=FailureKind.TOKEN)) if self._refusal is not None:
                return evolve(event, reason=self._refusal)
            case Closed(failure=failure):
                self._failure = failure
            case _:
                pass
        return event

    def _judge(self, failure: Failure, now: float) -> Failure:
        """The failure of a dial, as the session is to take it. A refusal of a token of ours is no
        reason for it to end: what a refusal proves, the token service knows."""
        is_dial = self._session.state is SessionState.CONNECTING and self._tokens.is_own
        if not (is_dial and failure.refuses_token and self._dialled is not None):
            return failure
        self._refusal = failure
        problem = f"HTTP {failure.status} in a handshake"
        self._tokens.refused(self._dialled, problem, now, self._look_at_clock(now))
        return Failure(FailureKind.TOKEN, retry_after=failure.retry_after)

    def _end(self, step: Step, failure: Failure | None, caused: Caused, now: float) -> None:
        """Take the session's last step, with the reason for it."""
        if self._awaits_token:
            # The session believes that the application is asked for a token: nobody is.
            self._awaits_token = False
            actions = (action for action in step.actions if not isinstance(action, Close))
            step = evolve(step, actions=tuple(actions))
        if failure is not None:
            events = [Closed(failure) if isinstance(e, Closed) else e for e in step.events]
            step = evolve(step, events=tuple(events))
        self._take(step, caused, now)

    # --- what is due ----------------------------------------------------------------------------

    def _settle(self, caused: Caused, now: float) -> AccountStep:
        """Do everything that is due by now."""
        if self._has_ended:
            return AccountStep()
        wall = self._look_at_clock(now)
        if self._is_running:
            if not self._is_paused:
                self._tokens.update(now, wall)
            self._dial(caused, now)
        # Not if there is no token to dial with: that was the end.
        if self._is_running:
            # Its budget is stored already.
            self._renew(caused, now, wall)
            if not self._is_paused:
                self._heal(caused, now, wall)
            if not self._is_paused or self._store.deadline is None:
                self._save(caused, now)
            self._own_deadline = self._find_deadline(now, wall)
        if self._session.state is SessionState.CLOSED:
            self._under_way.clear()
            self._reserved = self._session_deadline = self._own_deadline = None
            self._has_ended = True
        self._is_settled = self.account.is_settled
        return AccountStep(tuple(caused.events), tuple(caused.actions), self._deadline())

    def _look_at_clock(self, now: float) -> float:
        """Return the time of day, after noting whether it was set back."""
        wall = self._time_of_day()
        back = 0.0 if self._ahead is None else self._ahead - (wall - now)
        if back > _SET_BACK:
            self._tokens.set_back(back)
            self._budget.set_back(back)
        self._ahead = wall - now
        return wall

    def _dial(self, caused: Caused, now: float) -> None:
        """Give the session the token that it waits for."""
        tokens = self._tokens
        if not self._awaits_token:
            return
        if tokens.token is not None:
            self._awaits_token = False
            self._take(self._session.token_obtained(tokens.token, now), caused, now)
        elif tokens.failure is not None:
            detail = str(tokens.failure)
            if tokens.causes:
                detail += f"; refused with: {tokens.causes}"
            failure = Failure(FailureKind.TOKEN) if self._refusal is None else self._refusal
            failure = evolve(failure, detail=detail[:_MAX_DETAIL])
            self._end(self._session.close(now), failure, caused, now)

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
        token = self._tokens.token
        is_busy = any(request.waiting is not None for request in self._under_way)
        if is_busy or self._reserved is not None or token is None:
            return
        waiting = self._healer.choose(now, self._budget.free_at(now, wall))
        if waiting is None:
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
        if self._tokens.token is not None or now >= self._looks_until:
            self._look_at = None
        elif self._look_at is not None and now >= self._look_at:
            self._look_at = now + _LOOK
            look = self._store.load()
            if look is not None:
                caused.actions.append(look)

    def _look_for_token(self, now: float) -> None:
        """Another process may be about to get one."""
        self._look_at, self._looks_until = now, now + self._settings.fetch_timeout + _GRACE

    def _ask_reserved(self, caused: Caused, now: float) -> None:
        """Send the question whose budget is stored, if it is still one."""
        waiting = self._reserved
        if waiting is None:
            return
        is_asked = self.account.is_awaited(waiting.query) and self._budget.may_leave(now)
        if not is_asked or self._tokens.token is None:
            # If it is still to be asked, it is reserved once more.
            self._withdraw()
            return
        self._reserved = None
        self._budget.sent(now)
        self._send(waiting.request(self._tokens.token), waiting, caused, now)

    def _find(self, number: int) -> UnderWay | None:
        return next((request for request in self._under_way if request.id == number), None)

    def _send(self, request: HttpRequest, waiting: Pass | None, caused: Caused, now: float) -> None:
        timeout = self._settings.fetch_timeout
        under_way = UnderWay(self._next_id, request, now + timeout + _GRACE, waiting)
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

    # --- deadlines ------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        times = [None if self._awaits_token else self._session_deadline, self._own_deadline]
        return min((at for at in times if at is not None), default=None)

    def _find_deadline(self, now: float, wall: float) -> float | None:
        times: list[float | None] = [request.expires_at for request in self._under_way]
        if self._is_paused:
            return min((at for at in times if at is not None), default=None)
        times += [self._tokens.deadline, self._store.deadline, self._look_at]
        is_busy = any(request.waiting is not None for request in self._under_way)
        if not is_busy and self._reserved is None and self._tokens.token is not None:
            times.append(self._healer.deadline(now, self._budget.free_at(now, wall)))
        return min((at for at in times if at is not None), default=None)
