"""The source of a session's tokens: the key pair, or the application.

One shape for both, so that the session does not ask which. ``OwnTokens`` are those of a key pair,
with the ``TokenService``; ``SuppliedTokens`` those of an application that has its own.

Times are on the clock of ``now`` here, except where a parameter is called ``wall``: the time of day
in seconds since 1970 UTC.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from topone_proto.account._config import AccountConfig
from topone_proto.account._reports import (
    ClockCorrected,
    DelayCause,
    FetchFailed,
    FetchKind,
    Report,
)
from topone_proto.account.token_service import (
    FetchNewToken,
    TokenService,
    TokenState,
    TokenStep,
    TokenUnobtainable,
)
from topone_proto.secrets.token import Token
from topone_proto.wire.answers import read_token
from topone_proto.wire.http import (
    ApiError,
    ApiErrorMeaning,
    Credentials,
    HttpRequest,
    HttpResponse,
)
from topone_proto.wire.requests import token_request

__all__ = ["OwnTokens", "SuppliedTokens", "Tokens"]

_RANDOM_FIRST: Final = 100_000
_RANDOM_COUNT: Final = 900_000
_DOUBLINGS: Final = 6

# Clocks that differ by less than this are not the cause of a refusal.
_SAME_TIME: Final = 5.0


class Tokens:
    """The tokens of an account, as far as both sources are alike."""

    is_own = False
    """True if the session is not to ask the application for a token."""

    def __init__(self, config: AccountConfig, jitter: Callable[[], float]) -> None:
        self.token: Token | None = None
        """The token to use now; None if there is none."""
        self.deadline: float | None = None
        """The time at which to call ``update`` again."""
        self.failure: TokenUnobtainable | None = None
        """The reason why there will be no token any more; None while there may be one."""
        self.is_due = False
        """True if a token is to be asked for now."""
        self._config = config
        self._jitter = jitter
        self._pauses = 0

    @property
    def refused_token(self) -> Token | None:
        """The token of the application that HTTP refuses; None if it does not."""
        return None

    @property
    def state(self) -> TokenState:
        """The state to be stored."""
        return TokenState()

    @property
    def causes(self) -> str:
        """The refusals since a token was last accepted, in words; empty without one."""
        return ""

    def supply(self, token: Token) -> None:
        """The application has supplied this token."""

    def not_supplied(self, now: float) -> float | None:
        """The application has supplied no other token. Return the seconds until it is asked; None
        if it was not."""

    def set_back(self, seconds: float) -> None:
        """The time of day was set back by so much."""

    def update(self, now: float, wall: float) -> None:
        """Look what is due."""

    def stored(self, now: float, wall: float) -> None:
        """The present state is stored."""

    def not_stored(self, now: float, wall: float) -> None:
        """The state could not be stored."""

    def loaded(self, state: TokenState, known: TokenState, now: float, wall: float) -> None:
        """Another process has stored this state, in place of the one that was known."""

    def accepted(self, token: Token) -> None:
        """The exchange has accepted this token."""
        if token == self.token:
            self._pauses = 0

    def refused(self, token: Token, problem: str, now: float, wall: float) -> None:
        """The exchange refuses this token in a handshake."""

    def _pause(self) -> float:
        """Seconds until a refused token is replaced again: longer each time, up to a block."""
        config = self._config
        wait = config.token_interval * 2.0 ** min(self._pauses, _DOUBLINGS)
        self._pauses += 1
        return min(wait, config.token_block) * (1 + self._jitter() / 2)


class SuppliedTokens(Tokens):
    """One token that is always the same, or those of the application's callable."""

    def __init__(
        self,
        token: Token | None,
        config: AccountConfig,
        state: TokenState,
        jitter: Callable[[], float],
    ) -> None:
        super().__init__(config, jitter)
        self.token = token
        # That of other processes, which make tokens of the key pair: not for this one to change.
        self._state = state
        self._is_fixed = token is not None
        self._refused: Token | None = None
        self._due_at: float | None = None

    @property
    def state(self) -> TokenState:
        """The state to be stored."""
        return self._state

    def loaded(self, state: TokenState, known: TokenState, now: float, wall: float) -> None:  # noqa: ARG002 - as in every source
        """Another process has stored this state."""
        self._state = state

    @property
    def refused_token(self) -> Token | None:
        """The token of the application that HTTP refuses; None if it does not."""
        return self._refused

    def supply(self, token: Token) -> None:
        """The application has supplied this token."""
        if not self._is_fixed:
            self.token, self._due_at = token, None

    def not_supplied(self, now: float) -> float | None:
        """The application has supplied no other token."""
        if self.token is not None or self._refused is None:
            return None
        wait = self._pause()
        self._due_at = now + wait
        return wait

    def asked(self) -> Token:
        """Note that the application is asked now. Return the token that was refused."""
        assert self._refused is not None  # that is why
        self.is_due, self._due_at = False, None
        return self._refused

    def update(self, now: float, wall: float) -> None:  # noqa: ARG002 - as in every source
        """Look what is due."""
        self.deadline = self._due_at
        self.is_due = self._due_at is not None and now >= self._due_at

    def refused_by_http(self, token: Token, problem: str, now: float, wall: float) -> float:  # noqa: ARG002 - as above
        """The exchange refuses this token over HTTP."""
        if token != self.token:
            return 0.0
        if self._is_fixed:
            # There is no other one. It may be HTTP that is in trouble, since the stream goes on.
            return self._pause()
        # At once the first time; longer each time that the other token is refused as well.
        wait = self._pause() if self._refused is not None else 0.0
        self.token, self._refused, self._due_at = None, token, now + wait
        return wait

    def accepted(self, token: Token) -> None:
        """The exchange has accepted this token."""
        super().accepted(token)
        if token == self.token:
            self._refused = None


class OwnTokens(Tokens):
    """The tokens of a key pair."""

    is_own = True
    """True: the session's tokens are made here."""

    def __init__(
        self,
        credentials: Credentials,
        config: AccountConfig,
        state: TokenState,
        jitter: Callable[[], float],
    ) -> None:
        super().__init__(config, jitter)
        self._credentials = credentials
        self._service = TokenService(state, config=config, jitter=jitter)
        self._sent_at: float | None = None
        # When the wait after the latest failure ends, by a clock that nobody sets.
        self._held_until = 0.0
        # True if a signature's time was refused since a token was last obtained.
        self._is_corrected = False
        # The latest refusals in words, and True if HTTP has refused the token before this one.
        self._refusals: deque[str] = deque(maxlen=2)
        self._is_replaced = False

    @property
    def state(self) -> TokenState:
        """The state to be stored."""
        return self._service.state

    @property
    def causes(self) -> str:
        """The refusals since a token was last accepted, in words; empty without one."""
        return "; then ".join(self._refusals)

    @property
    def delay_cause(self) -> DelayCause:
        """The reason why the next request has to wait, while there is a ``deadline`` and no
        token."""
        state = self.state
        if not state.failures:
            return DelayCause.BUDGET
        wait = (state.not_before or 0.0) - (state.asked_at or 0.0)
        return DelayCause.BLOCK if wait >= self._config.token_block else DelayCause.BACKOFF

    def set_back(self, seconds: float) -> None:
        """The time of day was set back by so much."""
        self._service.set_back(seconds)

    def update(self, now: float, wall: float) -> None:
        """Look what is due."""
        self._take(lambda: self._service.wanted(wall), now, wall)

    def request(self, now: float, wall: float) -> HttpRequest:
        """Return the request that is due. It leaves now."""
        self.is_due, self._sent_at = False, now
        random = _RANDOM_FIRST + int(self._jitter() * _RANDOM_COUNT)
        return token_request(self._credentials, random=random, time=int(wall + self.state.ahead))

    def stored(self, now: float, wall: float) -> None:
        """The present state is stored."""
        self._take(lambda: self._service.stored(wall), now, wall)

    def not_stored(self, now: float, wall: float) -> None:
        """The state could not be stored."""
        self._take(lambda: self._service.not_stored(wall), now, wall)

    def loaded(self, state: TokenState, known: TokenState, now: float, wall: float) -> None:
        """Another process has stored this state, in place of the one that was known."""
        self._take(lambda: self._service.loaded(state, wall, known=known), now, wall)

    def accepted(self, token: Token) -> None:
        """The exchange has accepted this token."""
        super().accepted(token)
        self._service.accepted(token)
        self.failure = self.failure if self._service.is_over else None
        if token == self.token:
            self._refusals.clear()
            self._is_replaced = False

    def fetched(
        self, response: HttpResponse, server_time: float | None, now: float, wall: float
    ) -> Report | None:
        """Take the answer to a request in. Return what is to be reported.

        Args:
            response: the answer.
            server_time: the exchange's time by the latest frame, in seconds since 1970 UTC; None if
                there was none.
            now: the time.
            wall: the time of day.
        """
        try:
            token = read_token(response)
        except ApiError as error:
            return self._refused_request(error, response.date or server_time, now, wall)
        self._is_corrected = False
        self._take(lambda: self._service.obtained(token, wall), now, wall)
        return None

    def failed(self, problem: str, now: float, wall: float) -> FetchFailed:
        """A request has failed, and nobody knows whether the exchange has counted it."""
        return self._failed(problem, None, now, wall)

    def refused(self, token: Token, problem: str, now: float, wall: float) -> None:
        """The exchange refuses this token in a handshake."""
        if token == self.state.token:
            self._refusals.append(problem)
        self._take(lambda: self._service.refused(token, wall), now, wall)

    def refused_by_http(self, token: Token, problem: str, now: float, wall: float) -> float:
        """The exchange refuses this token over HTTP. Return the seconds to ask nothing.

        Once, the token is replaced. If the fresh one is refused as well, without a word from a
        handshake, it is the exchange's HTTP side that may be in trouble while the stream goes on.
        So this ends nothing: there is a pause, and after it the token is replaced once more.
        """
        if token != self.state.token:
            return 0.0
        self._refusals.append(problem)
        self._is_replaced = not self._is_replaced
        if not self._is_replaced:
            return self._pause()
        self._take(lambda: self._service.withdraw(token, wall), now, wall)
        return 0.0

    def _refused_request(
        self, error: ApiError, server_time: float | None, now: float, wall: float
    ) -> Report:
        if error.meaning is not ApiErrorMeaning.CLOCK:
            return self._failed(str(error), error, now, wall)
        ahead = 0.0 if server_time is None else server_time - wall
        if abs(ahead - self.state.ahead) > _SAME_TIME:
            self._is_corrected = True
            self._failed(str(error), error, now, wall, ahead=ahead)
            return ClockCorrected(ahead)
        # A second correction helps only if the clock was set in between.
        is_hopeless, self._is_corrected = self._is_corrected, True
        return self._failed(str(error), error, now, wall, is_hopeless=is_hopeless)

    def _failed(
        self,
        problem: str,
        error: ApiError | None,
        now: float,
        wall: float,
        *,
        ahead: float | None = None,
        is_hopeless: bool = False,
    ) -> FetchFailed:
        def fail() -> TokenStep:
            return self._service.failed(error, wall, ahead=ahead, is_hopeless=is_hopeless)

        self._take(fail, now, wall)
        not_before = self.state.not_before
        if not_before is not None:
            self._held_until = now + not_before - wall
        wait = None if self._service.is_over or not_before is None else not_before - wall
        return FetchFailed(FetchKind.TOKEN, problem, wait)

    def _postpone(self, now: float, wall: float) -> None:
        """Have the service wait as long as a clock says that nobody sets."""
        if self._sent_at is not None:
            free_at = max(self._sent_at + self._config.token_interval, self._held_until)
            free_at += wall - now
            not_before = self.state.not_before
            # More than a moment: otherwise every look would be a state to be stored.
            if free_at > wall and (not_before is None or free_at > not_before + _SAME_TIME):
                self._service.postpone(free_at)

    def _take(self, call: Callable[[], TokenStep], now: float, wall: float) -> None:
        self._postpone(now, wall)
        self.deadline = None
        try:
            step = call()
        except TokenUnobtainable as failure:
            self.token, self.failure = None, failure
            return
        self.token = step.token
        self.is_due = self.is_due or FetchNewToken() in step.actions
        if step.deadline is not None:
            self.deadline = now + step.deadline - wall
