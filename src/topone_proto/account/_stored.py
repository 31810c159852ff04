"""The state of an account that outlives a process and that all processes of the account share.

It has the budgets: what was asked of the exchange, and when. It is stored before a request leaves
that counts, so that no number of restarts and of processes can exceed them. Times are the time of
day in seconds since 1970 UTC.

One write at a time is under way. Each names the state that it replaces, so that the place where it
is stored can tell whether another process has been there in between: then nothing is written, and
the machine goes on from what was found.
"""

from typing import Any, Final, cast

import msgspec

from topone_proto._checks import YEAR_10000, is_shown
from topone_proto._values import value
from topone_proto.account.token_service import TokenState
from topone_proto.secrets.token import Token

__all__ = ["LoadState", "Store", "StoreState", "StoredState", "read_state", "write_state"]


@value
class StoredState:
    """Everything that outlives a process. It has a token in it, and its repr does not show it."""

    token: TokenState = TokenState()
    """The token and its budget."""
    order_calls: tuple[float, ...] = ()
    """The times of the latest requests about orders, the oldest first."""
    orders_not_before: float | None = None
    """The time until which the exchange blocks requests about orders; None if it does not."""


@value
class StoreState:
    """Store a state durably and atomically, then call ``AccountSession.state_stored``.

    If what is stored is not ``previous``, another process was there first: store nothing, and call
    ``state_found`` with what is stored. If it cannot be stored, call ``state_not_stored``. Keep it
    where only its owner can read it: a token is in it. Without such a place keep it in a variable.
    """

    state: StoredState
    """The new state; ``write_state`` makes a text of it."""
    previous: StoredState
    """The state that it replaces. An empty one stands for nothing stored."""


@value
class LoadState:
    """Read what is stored, then call ``AccountSession.state_found`` with it, or
    ``state_not_stored`` if it cannot be read. Another process is fetching a token."""


def write_state(state: StoredState) -> str:
    """Return a state as a JSON text for ``read_state``. It has the token in it, in clear."""
    token = state.token
    return msgspec.json.encode(
        {
            "version": _VERSION,
            "token": None if token.token is None else token.token.reveal(),
            "obtained_at": token.obtained_at,
            "asked_at": token.asked_at,
            "not_before": token.not_before,
            "failures": token.failures,
            "ahead": token.ahead,
            "order_calls": state.order_calls,
            "orders_not_before": state.orders_not_before,
        }
    ).decode()


def read_state(text: str | bytes) -> StoredState:
    """Return the state that a text writes. Any other text, such as half of one, is an empty state.

    >>> read_state("{") == StoredState()
    True
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return StoredState()
    if not isinstance(found, dict):
        return StoredState()
    plain = cast("dict[str, Any]", found)
    if plain.get("version") != _VERSION:
        return StoredState()
    calls: object = plain.get("order_calls")
    times = [_time(at) for at in cast("list[object]", calls)] if isinstance(calls, list) else []
    failures: object = plain.get("failures")
    token = TokenState(
        token=_token(plain.get("token")),
        obtained_at=_time(plain.get("obtained_at")),
        asked_at=_time(plain.get("asked_at")),
        not_before=_time(plain.get("not_before")),
        failures=failures if type(failures) is int and failures >= 0 else 0,
        ahead=_ahead(plain.get("ahead")),
    )
    return StoredState(
        token,
        tuple(sorted(at for at in times if at is not None)),
        _time(plain.get("orders_not_before")),
    )


_VERSION: Final = 1


def _time(plain: object) -> float | None:
    return float(plain) if is_shown(plain) else None


def _ahead(plain: object) -> float:
    if (
        isinstance(plain, int | float)
        and not isinstance(plain, bool)
        and -YEAR_10000 < plain < YEAR_10000
    ):
        return float(plain)
    return 0.0


def _token(plain: object) -> Token | None:
    return Token(plain) if isinstance(plain, str) and plain else None


class Store:
    """The stored state, as far as this process knows it, and the write that is under way."""

    def __init__(self, state: StoredState) -> None:
        self.known = state
        """The state that is stored."""
        self._not_before: float | None = None
        self._writing: StoredState | None = None
        self._is_loading = False

    @property
    def deadline(self) -> float | None:
        """The time at which to ``save`` again, after a write has failed; None while there is
        nothing to write, or the end of a write or of reading is awaited."""
        return None if self._writing is not None or self._is_loading else self._not_before

    def has(self, state: StoredState) -> bool:
        """Return True if this state is stored, and nothing else is about to be."""
        return state == self.known and self._writing is None

    def load(self) -> LoadState | None:
        """Return the action that reads what is stored; None if a write will tell anyhow."""
        if self._writing is not None or self._is_loading:
            return None
        self._is_loading = True
        return LoadState()

    def save(self, state: StoredState, now: float) -> StoreState | None:
        """Return the action that stores this state; None if it is stored, or has to wait."""
        if state == self.known:
            self._not_before = None
            return None
        is_waiting = self._not_before is not None and now < self._not_before
        if self._writing is not None or self._is_loading or is_waiting:
            return None
        self._not_before, self._writing = None, state
        return StoreState(state, self.known)

    def stored(self) -> bool:
        """Note that the write has succeeded. Return False if there is none."""
        if self._writing is None:
            return False
        self.known, self._writing = self._writing, None
        return True

    def found(self, state: StoredState) -> StoredState:
        """Note that another state is stored. Return the one that was believed to be."""
        before, self.known, self._writing = self.known, state, None
        self._is_loading = False
        return before

    def failed(self, not_before: float) -> bool:
        """Note that the write, or the reading, has failed. Return False if there is none."""
        if self._writing is None and not self._is_loading:
            return False
        self._writing, self._is_loading, self._not_before = None, False, not_before
        return True
