"""The token and the budgets of an account that several machines may follow, one after another.

The exchange counts requests by account, whatever machine they come from. So their times are kept on
the bus, where every machine finds them. The token is never there: it stays in the memory of this
process, or in the file that the processes of this machine share.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import evolve

from topone_proto import TopOneError
from topone_proto.account import AccountConfig, StoredState, read_state, write_state
from topone_proto.account.token_service import TokenState
from topone_proto.adapters import MemoryStore, StateStore
from topone_relay._bus import Bus, BusRefused, BusUnavailable

__all__ = ["BusStore", "StateNotShared"]

_T = TypeVar("_T")

_CONFIG: Final = AccountConfig()


class StateNotShared(TopOneError, OSError):
    """The budgets of an account cannot be kept on the bus, so the account asks nothing that counts.

    It tries again by itself; see to the bus.
    """

    def __init__(self, account: str, detail: str) -> None:
        super().__init__(f"the budgets of account {account!r} cannot be kept on the bus: {detail}")
        self.strerror: str | None = str(self)
        """The whole text, for whoever looks at an ``OSError``."""
        self.account = account
        """The account's name."""
        self.detail = detail
        """The cause."""


class BusStore:
    """An ``AsyncStateStore``: times on the bus, the token on this machine.

    Args:
        bus: where all machines see the times.
        account: the account's name.
        local: where the token is kept; memory if None. A file is shared with the other programs of
            this machine that follow the same account: their times count as well.
        wall: the time of day in seconds since 1970 UTC.
    """

    def __init__(
        self,
        bus: Bus,
        account: str,
        local: StateStore | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._account = account
        self._local: StateStore = MemoryStore() if local is None else local
        self._wall = wall
        # The two halves as they were last seen, and what the account was told of them.
        self._shared = b""
        self._kept = StoredState()
        self._told = StoredState()

    async def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        """Store a state if ``previous`` is stored now, and return None. Otherwise return what is
        stored.

        Raises:
            StateNotShared: the bus does not keep it.
            OSError: this machine does not keep it.
        """
        if previous != self._told:
            return await self.load()
        times = _times_of(state)
        found = await self._ask(self._bus.swap_state(self._account, times, self._shared))
        if found is not None:
            return await self.load()
        self._shared = times
        kept = await self._call(lambda: self._local.save(state, self._kept))
        if kept is not None:
            # The bus has these times by now. That is the safe side.
            return self._joined(kept)
        self._kept = self._told = state
        return None

    async def load(self) -> StoredState:
        """Return what is stored; an empty state if nothing is.

        Raises:
            StateNotShared: the bus does not tell.
            OSError: this machine cannot read its own.
        """
        self._shared = await self._ask(self._bus.load_state(self._account))
        return self._joined(await self._call(self._local.load))

    def _joined(self, kept: StoredState) -> StoredState:
        self._kept = kept
        self._told = _join(kept, self._read())
        return self._told

    def _read(self) -> StoredState:
        state = read_state(self._shared)
        if not self._shared or state != StoredState() or self._shared == _EMPTY:
            return state
        # Of a later version, or not of this library: it counts as written at the worst moment.
        at = self._wall()
        token = TokenState(asked_at=at, not_before=at + _CONFIG.token_interval)
        return StoredState(token, order_calls=(at,) * _CONFIG.order_calls_per_minute)

    async def _ask(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except (BusUnavailable, BusRefused) as error:
            detail = str(error)
        raise StateNotShared(self._account, detail)

    async def _call(self, function: Callable[[], _T]) -> _T:
        if isinstance(self._local, MemoryStore):
            return function()
        # Who only reads from a bus needs no WebSocket.
        from topone_websockets import call_in_thread  # noqa: PLC0415 - as said

        return await asyncio.wrap_future(call_in_thread(function))


def _times_of(state: StoredState) -> bytes:
    """Return the part of a state that everybody on the bus may read."""
    token = evolve(state.token, token=None, obtained_at=None)
    return write_state(evolve(state, token=token)).encode()


_EMPTY: Final = _times_of(StoredState())


def _join(kept: StoredState, shared: StoredState) -> StoredState:
    """Return the token that is kept here, with all that was asked from anywhere."""
    mine, theirs = kept.token, shared.token
    token = TokenState(
        token=mine.token,
        obtained_at=mine.obtained_at,
        asked_at=_latest(mine.asked_at, theirs.asked_at),
        not_before=_latest(mine.not_before, theirs.not_before),
        failures=max(mine.failures, theirs.failures),
        ahead=mine.ahead or theirs.ahead,
    )
    return StoredState(
        token,
        tuple(sorted((Counter(kept.order_calls) | Counter(shared.order_calls)).elements())),
        _latest(kept.orders_not_before, shared.orders_not_before),
    )


def _latest(*times: float | None) -> float | None:
    return max((at for at in times if at is not None), default=None)
