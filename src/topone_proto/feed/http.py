"""The interfaces between the driver of an account and what it asks over HTTP and keeps its state
in. Nothing here decides anything.

The driver has one ``Http`` and one store for each account. Both may fail in every way that
a network and a disk can: an ``OSError`` of theirs is reported to the account, which tries again,
later. Any other exception is a fault of the program, and ends the account with it.
"""

from typing import Protocol, TypeAlias

from topone_proto.account import StoredState
from topone_proto.wire.http import HttpRequest, HttpResponse

__all__ = ["AnyStore", "AsyncStateStore", "Http", "MemoryStore", "StateStore"]


class Http(Protocol):
    """A client for HTTP requests to one exchange, made for one account.

    It adds the host, and the request's ``target`` and ``headers()`` as they are. It follows no
    redirect, repeats nothing, and limits the size of a body. Nothing of a request is logged or
    shown: path and headers have secrets in them.
    """

    async def fetch(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the whole answer, whatever its status is.

        The caller limits the time, by a cancellation. Two requests may be under way at a time.

        Raises:
            ConnectionFailed: there is no answer; its ``failure`` says why.
            OSError: as above; ``failure_from_exception`` says why.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections at once, without a word to the peer. It never waits for the
        network, and closes them also if it is cancelled. No request is under way. May be called
        twice."""
        ...


class StateStore(Protocol):
    """The place where the processes of an account keep what they share: the token and the budgets.

    Its methods may block: each is called in a thread, and only one at a time.
    """

    def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        """Store a state durably and atomically, if what is stored now is ``previous``, of which an
        empty one stands for nothing stored.

        Returns:
            None if it is stored. Otherwise what another process has stored, and nothing was
            written.

        Raises:
            OSError: it cannot be stored.
        """
        ...

    def load(self) -> StoredState:
        """Return what is stored; an empty state if nothing is, or nothing that can be read.

        Raises:
            OSError: it cannot be read.
        """
        ...


class AsyncStateStore(Protocol):
    """A ``StateStore`` in a place that is reached over the network: its methods are coroutines of
    the event loop that the account runs in. Only one runs at a time."""

    async def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        """Store a state; see ``StateStore.save``.

        Raises:
            OSError: it cannot be stored.
        """
        ...

    async def load(self) -> StoredState:
        """Return what is stored; see ``StateStore.load``.

        Raises:
            OSError: it cannot be read.
        """
        ...


AnyStore: TypeAlias = StateStore | AsyncStateStore
"""A store of either kind."""


class MemoryStore:
    """A store that ends with the process and is shared by nobody."""

    def __init__(self) -> None:
        self._state = StoredState()

    def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        """Store a state, if what is stored now is ``previous``. Returns None then, otherwise what
        is stored."""
        if self._state != previous:
            return self._state
        self._state = state
        return None

    def load(self) -> StoredState:
        """Return what is stored."""
        return self._state
