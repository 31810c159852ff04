"""The life of a token: when to get one, whom to give it to, and when to stop asking.

Pure. The exchange hands out one token a minute and blocks whoever asks more often for an hour, so
the requests are a budget that all processes of an account share, restarts included.

Theory. There is a token or there is none, and beside that a request is under way or it is not.

- A token is *young* until ``soft_age``, then *old* until ``hard_age``, then no token. An old one is
  still given out while a new one is fetched in the background. Ages count from before the request
  was sent, since nobody knows when the exchange begins to count.
- A request is sent when there is no token or an old one, none is under way, and the budget allows
  it: ``token_interval`` seconds after the latest request if that came to something, longer with
  every one in a row that did not, and not before a block is over. ``TokenState`` has these times.
  It is a plain value, and it is stored *before* the request leaves: the service first *reserves*
  (``SaveTokenState``), and asks for the request once it is told that this is ``stored``. A process
  that is killed in between has spent its budget.
- Processes share what is stored. One that finds another state there than the one that it knows
  withdraws its reservation, and goes on from what it found (``loaded``). A wait that an answer to
  this process began stays: the other one may have stored its state before.
- ``refused`` takes back exactly the token that was refused. A refusal of an older one changes
  nothing. If a token is refused that was obtained after such a refusal, and none was accepted in
  between, asking again cannot help: the service has failed. One that another process had obtained
  before proves nothing. ``withdraw`` takes a token back without such a proof.
- An error is never kept as if it were a token, and never ends the service, unless it says that
  asking again cannot help. That the question is not understood says so only as long as there never
  was a token: afterwards it is what answers there that is in trouble, such as a proxy without the
  exchange behind it.

Times are the time of day, in seconds since 1970 UTC: a budget that survives a restart needs a clock
that does. If the clock was set back, the latest request seems to be still to come. It then counts
as sent now, with all of its wait. Within a process another clock, which nobody sets, knows better:
see ``set_back``, and ``postpone`` for one that was set forward.
"""

from collections.abc import Callable
from typing import Final

from attrs import evolve

from topone_proto._checks import or_default
from topone_proto.account._config import AccountConfig
from topone_proto.account._storing import Storing
from topone_proto.account._token_values import (
    FetchNewToken,
    SaveTokenState,
    TokenState,
    TokenStep,
    TokenUnobtainable,
    corrected,
)
from topone_proto.secrets.token import Token
from topone_proto.wire.http import ApiError, ApiErrorMeaning

__all__ = [
    "FetchNewToken",
    "SaveTokenState",
    "TokenService",
    "TokenState",
    "TokenStep",
    "TokenUnobtainable",
]

_DOUBLINGS: Final = 6

# The longest ``Retry-After`` that is believed: a day.
_LONGEST_WAIT: Final = 86_400.0

# This part of the interval is margin.
_MARGIN: Final = 1 / 20


_REMEDY: Final = {
    ApiErrorMeaning.CREDENTIALS: "check the app id and the app key",
    ApiErrorMeaning.ADDRESS: "ask from an address that the key is bound to",
    ApiErrorMeaning.REQUEST: "check the URL of the token service",
}


class TokenService:
    """Decides when a token is asked for. One for each account and process.

    ::

        step = service.wanted(time.time())
        for action in step.actions:
            match action:
                case SaveTokenState(state):
                    store(state)  # and call service.stored(...)
                case FetchNewToken():
                    start_soon(fetch)  # and call service.obtained(...) or service.failed(...)

    Args:
        state: what an earlier process stored.
        config: the times that begin with ``token_``.
        jitter: uniform random numbers in [0, 1), to spread retries.
    """

    def __init__(
        self,
        state: TokenState | None = None,
        *,
        config: AccountConfig | None = None,
        jitter: Callable[[], float],
    ) -> None:
        self._config = or_default(config, AccountConfig, "config")
        self._jitter = jitter
        self._state = or_default(state, TokenState, "state")
        self._is_reserving = False
        self._storing = Storing(self._config.token_interval * _MARGIN)
        self._sent_at: float | None = None
        # The time before which none may be sent, by what came of the latest one of this process. No
        # other process can lift that, which may have stored its state without knowing it.
        self._held_until: float | None = None
        # And the requests in a row that came to nothing then.
        self._held_failures = 0
        # The tokens that were taken back since one was last accepted, and the time of the first
        # refusal among them.
        self._taken_back: set[Token] = set()
        self._refused_at: float | None = None
        # True once there was a token: then its URL is right.
        self._has_served = self._state.token is not None
        # Problem and remedy, once asking again cannot help.
        self._failure: tuple[str, str] | None = None
        # True if that is because tokens were refused: one that is accepted shows that it can.
        self._is_refutable = False

    @property
    def state(self) -> TokenState:
        """The state to be stored."""
        return self._state

    @property
    def is_over(self) -> bool:
        """True once asking cannot help any more. The present token is used to its end."""
        return self._failure is not None

    @property
    def is_replacement(self) -> bool:
        """True if the present token was obtained after one was refused, and none was accepted
        since: its refusal ends the service."""
        obtained_at, refused_at = self._state.obtained_at, self._refused_at
        return obtained_at is not None and refused_at is not None and obtained_at >= refused_at

    @property
    def is_fetching(self) -> bool:
        """True while a request is under way."""
        return self._sent_at is not None

    def wanted(self, wall: float) -> TokenStep:
        """Ask for a token to use, or be told when to come again. Call it at the deadline, too.

        Raises:
            TokenUnobtainable: there is none, and there will be none.
        """
        state = self._state = corrected(self._state, wall)
        token, obtained_at = state.token, state.obtained_at
        config = self._config
        if token is None or obtained_at is None or wall >= obtained_at + config.token_hard_age:
            token = None
        elif wall < obtained_at + config.token_soft_age:
            return TokenStep(token, (), obtained_at + config.token_soft_age)
        if self._failure is not None:
            if token is None:
                raise TokenUnobtainable(*self._failure)
            return TokenStep(token)
        if self.is_fetching or self._is_reserving:
            return TokenStep(token)
        if state.not_before is not None and wall < state.not_before:
            return TokenStep(token, (), state.not_before)
        self._is_reserving = True
        not_before = wall + config.token_interval + self._storing.ahead
        self._state = evolve(state, asked_at=wall, not_before=not_before)
        return TokenStep(token, (SaveTokenState(self._state),))

    def stored(self, wall: float) -> TokenStep:
        """The latest state is stored. Sends the request that it was reserved for, if there is one.

        Raises:
            TokenUnobtainable: see ``wanted``.
        """
        asked_at = self._state.asked_at
        if not self._is_reserving or asked_at is None:
            return self.wanted(wall)
        self._is_reserving = False
        if not self._storing.is_in_time(wall - asked_at):
            return self.failed(None, wall)
        self._sent_at = wall
        return TokenStep(self.wanted(wall).token, (FetchNewToken(),))

    def not_stored(self, wall: float) -> TokenStep:
        """The latest state could not be stored. A request that it was reserved for is not sent, and
        tried again later: without a stored budget the next process would exceed it.

        Raises:
            TokenUnobtainable: see ``wanted``.
        """
        if not self._is_reserving:
            return self.wanted(wall)
        return self.failed(None, wall)

    def loaded(
        self, state: TokenState, wall: float, *, known: TokenState | None = None
    ) -> TokenStep:
        """Take in what another process of the account has stored meanwhile. A reservation that is
        not stored yet is withdrawn.

        Args:
            state: what is stored.
            wall: the time of day.
            known: what was believed to be stored; None for nothing.

        Raises:
            TokenUnobtainable: see ``wanted``.
        """
        own, self._is_reserving = self._state, False
        self._has_served = self._has_served or state.token is not None
        if state.token in self._taken_back:
            state = evolve(state, token=None, obtained_at=None)
        if (own.obtained_at or 0.0) > (state.obtained_at or 0.0):
            state = evolve(state, token=own.token, obtained_at=own.obtained_at)
        if state.ahead == (known or TokenState()).ahead:
            # The other one has not learnt it yet. What it only passes on is no news.
            state = evolve(state, ahead=own.ahead)
        state, held_until = corrected(state, wall), self._held_until
        if held_until is not None and (state.not_before is None or state.not_before < held_until):
            state = evolve(state, not_before=held_until)
        if (state.obtained_at or 0.0) > (own.obtained_at or 0.0):
            self._held_failures = 0
        if state.failures < self._held_failures:
            state = evolve(state, failures=self._held_failures)
        self._state = state
        return self.wanted(wall)

    def set_back(self, seconds: float) -> None:
        """Count with a clock that was set back by so much, as another clock has shown."""

        def earlier(at: float | None) -> float | None:
            return None if at is None else at - seconds

        self._sent_at, self._refused_at = earlier(self._sent_at), earlier(self._refused_at)
        self._held_until = earlier(self._held_until)
        state = self._state
        self._state = evolve(
            state,
            obtained_at=earlier(state.obtained_at),
            asked_at=earlier(state.asked_at),
            not_before=earlier(state.not_before),
        )

    def postpone(self, until: float) -> None:
        """Send no request before this time of day, by a clock that nobody has set."""
        not_before = self._state.not_before
        if not_before is None or not_before < until:
            self._state = evolve(self._state, not_before=until)

    def obtained(self, token: Token, wall: float) -> TokenStep:
        """The request that is under way brought a token.

        Raises:
            TokenUnobtainable: it is the one that was refused a moment ago.
        """
        sent_at, self._sent_at = self._sent_at, None
        if token in self._taken_back and self._refused_at is not None:
            raise self._end("the token service gives out a token that the exchange refuses")
        self._taken_back.discard(token)
        self._held_failures = 0
        self._has_served = True
        self._state = evolve(
            self._state,
            token=token,
            obtained_at=wall if sent_at is None else min(sent_at, wall),
            failures=0,
        )
        return self._saved(self.wanted(wall))

    def failed(
        self,
        error: ApiError | None,
        wall: float,
        *,
        ahead: float | None = None,
        is_hopeless: bool = False,
    ) -> TokenStep:
        """The request that is under way came to nothing.

        Args:
            error: the exchange's answer; None if there was none.
            wall: the time of day.
            ahead: the seconds by which the exchange's clock is ahead, if that was the cause: the
                next request is another one then, and does not wait for longer than any. None if
                something else was.
            is_hopeless: True if the same error was mended already, in vain.

        Raises:
            TokenUnobtainable: asking again cannot help.
        """
        was_sent = self.is_fetching
        self._sent_at, self._is_reserving = None, False
        state, config = corrected(self._state, wall), self._config
        interval, block = config.token_interval, config.token_block
        # Doubled up to the length of a block, and spread upwards: never sooner.
        failures = state.failures
        wait = min(interval * 2.0 ** min(failures, _DOUBLINGS), block) if ahead is None else 0.0
        wait = max(wait, interval) * (1 + self._jitter() / 2)
        if error is not None:
            if error.meaning is ApiErrorMeaning.RATE_LIMIT:
                wait = max(wait, block)
            wait = max(wait, min(error.retry_after or 0.0, _LONGEST_WAIT))
            is_odd = error.meaning is ApiErrorMeaning.REQUEST and self._has_served
            if (error.meaning in _REMEDY and not is_odd) or is_hopeless:
                remedy = _REMEDY.get(error.meaning, "set this machine's clock")
                what = f"HTTP {error.status}" if error.code is None else f"code {error.code}"
                problem = f"the token service answered with {what} ({error.msg})"
                self._failure = (problem, remedy)
        # A longer wait that another process was told of stays.
        not_before = max(wall + wait, state.not_before or 0.0)
        state = (
            evolve(state, failures=failures + 1) if ahead is None else evolve(state, ahead=ahead)
        )
        self._state = evolve(state, not_before=not_before)
        if was_sent:
            self._held_until, self._held_failures = not_before, self._state.failures
        return self._saved(self.wanted(wall))

    def refused(self, token: Token, wall: float) -> TokenStep:
        """The exchange did not accept this token, and that is proof.

        Raises:
            TokenUnobtainable: it did not accept the one before either.
        """
        if token != self._state.token:
            return self.wanted(wall)
        if self.is_replacement:
            raise self._end("the exchange refuses a token, and the fresh one after it as well")
        self._refused_at = wall if self._refused_at is None else self._refused_at
        return self.withdraw(token, wall)

    def withdraw(self, token: Token, wall: float) -> TokenStep:
        """Give this token out no more: the exchange did not accept it, which may have another
        cause.

        Raises:
            TokenUnobtainable: see ``wanted``.
        """
        if token != self._state.token:
            return self.wanted(wall)
        self._taken_back.add(token)
        self._state = evolve(self._state, token=None, obtained_at=None)
        return self._saved(self.wanted(wall))

    def accepted(self, token: Token) -> None:
        """The exchange accepted this token."""
        if token == self._state.token:
            self._taken_back.clear()
            self._refused_at = None
            if self._is_refutable:
                # Another process has got it.
                self._failure, self._is_refutable = None, False

    def _end(self, problem: str) -> TokenUnobtainable:
        remedy = "check that the key pair has the right to what is asked for, and the Origin header"
        self._failure, self._is_refutable = (problem, remedy), True
        self._state = evolve(self._state, token=None, obtained_at=None)
        return TokenUnobtainable(problem, remedy)

    def _saved(self, step: TokenStep) -> TokenStep:
        """The step, with the state to be stored if it is not anyhow."""
        if step.actions:
            return step
        return evolve(step, actions=(SaveTokenState(self._state),))
