"""The proof of a key pair: one request for a token, within the budget that all processes share.

The account session decides, as it does for a feed: when the exchange may be asked, whether a clock
has to be corrected, what is stored before the request leaves. Here it is only carried out, up to
the moment at which the session would dial.
"""

import random
import time
from collections.abc import Callable
from typing import Final

from attrs import evolve

from topone_cli._errors import CommandFailed, explain_failure
from topone_cli._format import clock, printable
from topone_proto import ORDERS, Closed, Connect, ConnectionFailed, Credentials, Token
from topone_proto.account import (
    AccountSession,
    AccountStep,
    ClockCorrected,
    DelayCause,
    Fetch,
    FetchDelayed,
    FetchFailed,
    LoadState,
    StateNotStored,
    StoredState,
    StoreState,
)
from topone_proto.adapters import StateStore
from topone_proto.wire.answers import read_token
from topone_proto.wire.http import ApiError, ApiErrorMeaning, HttpRequest, HttpResponse

__all__ = ["Prover", "explain_refusal"]

# The exchange's minute and a margin; what takes longer is a block.
_WAITED_FOR: Final = 100.0

_M = ApiErrorMeaning

_LATEST: Final = "the latest requests came to nothing, and asking would prolong that"
_CAUSES: Final = {
    DelayCause.BUDGET: "one was asked for a moment ago",
    DelayCause.BACKOFF: _LATEST,
    DelayCause.BLOCK: "it was asked for too often or refused, and asking would prolong that",
}


_UNKNOWN_APP_ID: Final = "T0001"
_PROXY: Final = (
    "the answer is not the exchange's ({what}): a proxy or a network's sign-in page may stand "
    "between; open any page in a browser, and check --http-url"
)
_WORDS: Final = {
    _M.CREDENTIALS: "the app key does not belong to this app id ({what}): check both for slips",
    _M.ADDRESS: "this key may not be used from this machine's address ({what}): add the address "
    "where the key was made, or use a machine that is listed there",
    _M.CLOCK: "this machine's clock is wrong ({what}): set it, best by NTP",
    _M.TOKEN: "the exchange does not accept the token ({what}): run 'topone login' again",
    _M.RATE_LIMIT: "the exchange was asked too often ({what}), and blocks for an hour whoever does",
    _M.UNAVAILABLE: "the exchange is in trouble ({what}): try again later",
    _M.REQUEST: "what answers does not know the question ({what}): check --http-url",
}


def explain_refusal(error: ApiError) -> str:
    """Return why the exchange gave no answer and what to do, in words of the command."""
    what = f"HTTP {error.status}" if error.code is None else f"code {error.code}"
    words = _WORDS.get(error.meaning, "the exchange refuses ({what})")
    if error.meaning is _M.UNAVAILABLE and error.code is None and error.status < 500:
        words = _PROXY
    elif str(error.code) == _UNKNOWN_APP_ID:
        words = "the exchange does not know this app id ({what}): check it for slips"
    return printable(words.format(what=f"{what}, {error.msg}" if error.msg else what))


class _FreshStore:
    """A store whose token is not shown, so that a new one is asked for. It stays stored until there
    is one."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._stored = StoredState()

    def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        del previous
        kept = state
        if state.token.token is None:
            old = self._stored.token
            kept = evolve(
                state, token=evolve(state.token, token=old.token, obtained_at=old.obtained_at)
            )
        found = self._store.save(kept, self._stored)
        self._stored = kept if found is None else found
        return None if found is None else _without_token(found)

    def load(self) -> StoredState:
        self._stored = self._store.load()
        return _without_token(self._stored)


def _without_token(state: StoredState) -> StoredState:
    return evolve(state, token=evolve(state.token, token=None, obtained_at=None))


class Prover:
    """Asks for one token.

    Args:
        fetch: sends a request. It raises ``ConnectionFailed``.
        store: the place of the budget.
        note: is told why it takes time.
        sleep: waits for so many seconds.
        patience: seconds that it waits at most until a token may be asked for.
    """

    def __init__(
        self,
        fetch: Callable[[HttpRequest, float], HttpResponse],
        store: StateStore,
        note: Callable[[str], object],
        sleep: Callable[[float], object] = time.sleep,
        patience: float = _WAITED_FOR,
    ) -> None:
        self._fetch = fetch
        self._store = store
        self._note = note
        self._sleep = sleep
        self._patience = patience
        self._trouble: str | None = None

    def prove(self, keys: Credentials, *, is_new: bool) -> Token:
        """Return a token of this key pair.

        Args:
            keys: the pair.
            is_new: True asks for a new token even if one is stored; only that proves the key.

        Raises:
            CommandFailed: there is none; the text says why in plain words.
        """
        store = _FreshStore(self._store) if is_new else self._store
        try:
            state = store.load()
        except OSError as error:
            raise CommandFailed(str(error)) from None
        session = AccountSession(keys, (ORDERS,), state=state, jitter=random.random, wall=time.time)
        step = session.start(time.monotonic())
        while True:
            self._look(step)
            todo = list(step.actions)
            dialled = next((action for action in todo if isinstance(action, Connect)), None)
            steps = [self._carry_out(session, store, a) for a in todo if not isinstance(a, Connect)]
            if dialled is not None:
                return dialled.token if dialled.token is not None else Token("")
            if steps:
                # Each has what the one before has caused.
                step = AccountStep(
                    tuple(event for each in steps for event in each.events),
                    tuple(action for each in steps for action in each.actions),
                    steps[-1].deadline,
                )
                continue
            step = self._wait(session, step)

    def _look(self, step: AccountStep) -> None:
        for event in step.events:
            match event:
                case ClockCorrected(seconds=seconds):
                    way = "slow" if seconds > 0 else "fast"
                    self._note(
                        f"this machine's clock is {abs(seconds):.0f} s {way}: set it, best by NTP; "
                        "it is corrected for now"
                    )
                case FetchDelayed(cause=cause, retry_in=wait):
                    self._weigh(cause, wait)
                case FetchFailed(problem=problem):
                    raise CommandFailed(self._trouble or problem)
                case StateNotStored(problem=problem):
                    raise CommandFailed(problem)
                case Closed(failure=failure) if failure is not None:
                    raise CommandFailed(self._trouble or explain_failure(failure))
                case _:
                    pass

    def _carry_out(self, session: AccountSession, store: StateStore, action: object) -> AccountStep:
        match action:
            case Fetch(id=number, request=request, timeout=timeout):
                try:
                    response = self._fetch(request, timeout)
                except ConnectionFailed as error:
                    self._trouble = explain_failure(error.failure)
                    return session.fetch_failed(number, error.failure, time.monotonic())
                self._judge(response)
                return session.fetched(number, response, time.monotonic())
            case StoreState(state=state, previous=previous):
                try:
                    found = store.save(state, previous)
                except OSError as error:
                    return session.state_not_stored(str(error), time.monotonic())
                if found is None:
                    return session.state_stored(time.monotonic())
                return session.state_found(found, time.monotonic())
            case LoadState():
                try:
                    return session.state_found(store.load(), time.monotonic())
                except OSError as error:
                    return session.state_not_stored(str(error), time.monotonic())
            case _:
                return AccountStep()

    def _judge(self, response: HttpResponse) -> None:
        try:
            read_token(response)
        except ApiError as error:
            self._trouble = explain_refusal(error)

    def _weigh(self, cause: DelayCause, wait: float) -> None:
        """Wait as long as a budget says, or give up."""
        if wait > self._patience:
            raise CommandFailed(
                f"no token may be asked for before {clock(time.time() + wait)}: {_CAUSES[cause]}; "
                "try again then"
            )
        is_budget = cause is DelayCause.BUDGET
        why = "the exchange gives one token a minute" if is_budget else _CAUSES[cause]
        self._note(f"{why}: {wait:.0f} s to wait")

    def _wait(self, session: AccountSession, step: AccountStep) -> AccountStep:
        assert step.deadline is not None  # it waits for something
        self._sleep(max(0.0, step.deadline - time.monotonic()))
        return session.deadline_reached(time.monotonic())
