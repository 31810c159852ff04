"""The states of a feed, the inputs that each of them takes, and the states that these lead to.

**States.** A feed is ``NEW`` until it is started. Then it goes round: it asks for a token
(``FETCHING_TOKEN``; left out if the token is always the same), dials (``CONNECTING``), is
``CONNECTED`` until the connection ends, and is ``WAITING`` for the next dial. ``CLOSED`` is the
end: the application closed the feed, or trying again cannot help.

**Inputs.** An input is a method of ``Session``: its name is the input's name, and its parameters
are what is told. Three parties have something to tell: the application (``start``, ``subscribe``,
``unsubscribe``, ``pull``, ``cancel_pull``, ``close``), its transport, and the clock
(``deadline_reached``).

**The table decides.** ``TRANSITIONS`` has a row for each state and, in it, the inputs that are
possible there with the states that they may lead to. An input that is not in the row raises
``LocalProtocolError`` and changes nothing. A state is set in one place only, ``Session._enter``,
which refuses every state that the row of the input under way does not have. The drawings in the
documentation, the recorder and the replay are made from the same table.

**Invariants.**

- There is one token call, dial or connection at a time: the three states in which there is one
  exclude each other.
- After a ``Close`` action nothing of what it closed counts. What still comes of it, its tail, is
  taken in ``WAITING`` and ``CLOSED`` without any effect, so that a transport need not be exact
  about who was first. A connection that is made too late is told to close.
- A dial or a connection ends in one way, although there are two inputs for it: many a transport has
  one callback for both, and knows less in one case than in the other.
- ``CLOSED`` is final.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

__all__ = ["INPUTS", "REMEDIES", "TRANSITIONS", "SessionState"]


class SessionState(Enum):
    """The place of a feed in its life."""

    NEW = "new"
    """Not started."""
    FETCHING_TOKEN = "fetching_token"
    """The application's callable is asked for a token."""
    CONNECTING = "connecting"
    """A dial is under way."""
    CONNECTED = "connected"
    """There is an open WebSocket."""
    WAITING = "waiting"
    """The time until the next dial runs, or is over and the application is behind."""
    CLOSED = "closed"
    """The end."""


_S = SessionState
_States = tuple[SessionState, ...]

# The end of a dial or of a connection.
_ENDS: Final = ("connection_failed", "connection_lost")
# All that comes of a token call, a dial or a connection.
_TAIL: Final = (
    "token_obtained",
    "token_failed",
    "connection_made",
    "message_received",
    "pong_received",
    *_ENDS,
)
# Possible in every state, and without an effect on it unless a row says more.
_ALWAYS: Final = ("cancel_pull", "bytes_received", "reading_paused", "reading_resumed")
# Possible before the end, and without an effect on the state.
_WISHES: Final = ("subscribe", "unsubscribe", "pull")


def _each(inputs: Iterable[str], *states: SessionState) -> dict[str, _States]:
    return dict.fromkeys(inputs, states)


def _row(state: SessionState, more: dict[str, _States]) -> Mapping[str, _States]:
    """The row of a state before the end."""
    common = {**_each((*_WISHES, *_ALWAYS), state), "close": (_S.CLOSED,)}
    return MappingProxyType(common | more)


TRANSITIONS: Final[Mapping[SessionState, Mapping[str, _States]]] = MappingProxyType(
    {
        _S.NEW: _row(
            _S.NEW,
            {
                "start": (_S.FETCHING_TOKEN, _S.CONNECTING),
                "deadline_reached": (_S.NEW,),
            },
        ),
        _S.FETCHING_TOKEN: _row(
            _S.FETCHING_TOKEN,
            {
                "token_obtained": (_S.CONNECTING, _S.CLOSED),
                "token_failed": (_S.WAITING, _S.CLOSED),
                "deadline_reached": (_S.FETCHING_TOKEN, _S.WAITING, _S.CLOSED),
            },
        ),
        _S.CONNECTING: _row(
            _S.CONNECTING,
            {
                "connection_made": (_S.CONNECTED,),
                **_each(_ENDS, _S.WAITING, _S.CLOSED),
                "deadline_reached": (_S.CONNECTING, _S.WAITING, _S.CLOSED),
            },
        ),
        _S.CONNECTED: _row(
            _S.CONNECTED,
            {
                "message_received": (_S.CONNECTED,),
                "pong_received": (_S.CONNECTED,),
                **_each(_ENDS, _S.WAITING, _S.CLOSED),
                "deadline_reached": (_S.CONNECTED, _S.WAITING, _S.CLOSED),
            },
        ),
        _S.WAITING: _row(
            _S.WAITING,
            {
                **_each(_TAIL, _S.WAITING),
                "reading_resumed": (_S.WAITING, _S.FETCHING_TOKEN, _S.CONNECTING),
                "deadline_reached": (_S.WAITING, _S.FETCHING_TOKEN, _S.CONNECTING),
            },
        ),
        _S.CLOSED: MappingProxyType(
            _each((*_TAIL, *_ALWAYS, "deadline_reached", "close"), _S.CLOSED)
        ),
    }
)
"""The life of a feed: for every state the inputs that are possible there, and the states that each
may lead to. Any other input is a ``LocalProtocolError``."""

INPUTS: Final = tuple(dict.fromkeys(by for row in TRANSITIONS.values() for by in row))
"""The name of every input: of the method of ``Session`` that takes it."""

REMEDIES: Final[Mapping[SessionState, str]] = MappingProxyType(
    {
        _S.NEW: "call start first",
        _S.FETCHING_TOKEN: "answer FetchToken with token_obtained or token_failed",
        _S.CONNECTING: "answer Connect with connection_made or connection_failed",
        _S.CONNECTED: "there is an open connection: feed it, or report its end",
        _S.WAITING: "wait for the deadline",
        _S.CLOSED: "make a new session",
    }
)
"""The way on for a caller whose input is not possible, for every state."""
