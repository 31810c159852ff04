"""The life of the subscription to one topic, on one connection.

A subscription is ``IDLE`` until it is asked for, ``SUBSCRIBING`` until the response comes, and then
``ACTIVE`` or ``REJECTED``. ``UNSUBSCRIBING`` leads back to ``IDLE``; if the server refuses it goes
on publishing, so the subscription is ``ACTIVE`` again.

``TRANSITIONS`` decides: a state changes through ``Subscription.move`` only, which looks it up
there. A request that is not answered in time ends the connection, and with it the table.

The server knows better than the client when it has begun to publish and when it has stopped. So an
update that overtakes its acknowledgement is good, and so is one that comes before the
acknowledgement of an unsubscribe: ``FOLLOWED`` has the states in which updates are handed on. In
the other states nobody has asked for one, and it is an ``UnexpectedUpdate``.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from topone_proto.session.gaps import Heard, ServerClock
from topone_proto.wire.families import lone_topics
from topone_proto.wire.topic import Topic

__all__ = [
    "FOLLOWED",
    "TRANSITIONS",
    "Subscription",
    "SubscriptionInput",
    "SubscriptionState",
    "Subscriptions",
]


class SubscriptionState(Enum):
    """The state of the subscription to one topic on one connection."""

    IDLE = "idle"
    """Not subscribed to."""
    SUBSCRIBING = "subscribing"
    """The request is on its way; the server may have begun to publish."""
    ACTIVE = "active"
    """Acknowledged."""
    UNSUBSCRIBING = "unsubscribing"
    """The request is on its way; the server may still publish."""
    REJECTED = "rejected"
    """The server refused."""


class SubscriptionInput(Enum):
    """An input that moves a subscription from state to state."""

    SUBSCRIBE = "subscribe"
    """The caller asks for the topic."""
    UNSUBSCRIBE = "unsubscribe"
    """The caller gives it up."""
    ACCEPTED = "accepted"
    """The pending request was answered with code 0."""
    REFUSED = "refused"
    """The pending request was answered with another code."""


_State = SubscriptionState
_Input = SubscriptionInput

TRANSITIONS: Final[Mapping[SubscriptionState, Mapping[SubscriptionInput, SubscriptionState]]] = (
    MappingProxyType(
        {
            _State.IDLE: {_Input.SUBSCRIBE: _State.SUBSCRIBING},
            _State.SUBSCRIBING: {
                _Input.ACCEPTED: _State.ACTIVE,
                _Input.REFUSED: _State.REJECTED,
            },
            _State.ACTIVE: {_Input.UNSUBSCRIBE: _State.UNSUBSCRIBING},
            _State.UNSUBSCRIBING: {
                _Input.ACCEPTED: _State.IDLE,
                # The server says that it goes on, and its word is all there is to go by.
                _Input.REFUSED: _State.ACTIVE,
            },
            _State.REJECTED: {_Input.SUBSCRIBE: _State.SUBSCRIBING},
        }
    )
)
"""The life of a subscription. What is not in the table is a ``LocalProtocolError`` for a caller's
input, and an ``UnexpectedResponse`` for the server's."""

FOLLOWED: Final = frozenset({_State.SUBSCRIBING, _State.ACTIVE, _State.UNSUBSCRIBING})
"""The states in which an update of the topic is handed to the application."""


class Subscription:
    """A topic's state, with what the hot path needs to know about it."""

    __slots__ = ("acknowledged", "asked_at", "followed", "last_at", "last_ts", "state", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic: Topic = topic
        self.state: SubscriptionState = _State.IDLE
        self.followed: bool = False
        """True in a state of ``FOLLOWED``."""
        self.last_ts: int | None = None
        """The server time of the topic's latest frame: its acknowledgement or an update."""
        self.last_at: float = 0.0
        """The time at which that frame was received."""
        self.asked_at: float = 0.0
        """The time at which the topic was last subscribed to."""
        self.acknowledged: Heard | None = None
        """The latest response with a server time in it."""

    def move(self, by: SubscriptionInput) -> None:
        """Go where the table says."""
        self.state = TRANSITIONS[self.state][by]
        self.followed = self.state in FOLLOWED


class Subscriptions:
    """The topics that one connection has been asked about."""

    def __init__(self) -> None:
        # Hashing a str costs less than hashing a Topic, and every update is looked up here.
        self.by_name: dict[str, Subscription] = {}
        """By the topic's name."""
        self.suspects: tuple[Topic, ...] | None = None
        """The topics that a frame may be of if it cannot be read and does not say; None if they
        are those without parameters, as on a private WebSocket."""

    def add(self, entry: Subscription) -> None:
        """Take note of a topic that is asked about."""
        self.by_name[entry.topic.name] = entry
        topics = tuple(self.states)
        self.suspects = None if set(topics) <= set(lone_topics()) else topics

    @property
    def states(self) -> dict[Topic, SubscriptionState]:
        """The state of each."""
        return {entry.topic: entry.state for entry in self.by_name.values()}

    @property
    def lags(self) -> dict[Topic, tuple[int, float]]:
        """For each of whose latest frame the server time is known: that, in milliseconds, and when
        it was received."""
        return {
            entry.topic: (entry.last_ts, entry.last_at)
            for entry in self.by_name.values()
            if entry.last_ts is not None
        }

    @property
    def clock(self) -> ServerClock | None:
        """The certain facts about the server's clock; None if no frame had a time."""
        entries = list(self.by_name.values())
        return ServerClock.of(
            [entry.acknowledged for entry in entries if entry.acknowledged is not None],
            [
                Heard(entry.last_ts, entry.asked_at, entry.last_at)
                for entry in entries
                if entry.last_ts is not None
            ],
        )
