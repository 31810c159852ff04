"""The application's wishes, and the requests that make a connection fulfil them.

A wish outlives every connection. On each one the difference between what is desired and what the
connection has is asked for, as far as there is room among the pending requests; each response makes
room for more. So there is no list of requests to keep: the difference is found anew each time.
"""

from collections.abc import Iterable
from typing import Any, Final

from topone_proto.errors import ConfigurationError
from topone_proto.session.actions import Action
from topone_proto.session.backoff import Refusals
from topone_proto.session.connection import Connection
from topone_proto.session.subscriptions import SubscriptionState
from topone_proto.wire.topic import Socket, Topic

__all__ = ["UNASKED", "Wishes"]

UNASKED: Final = frozenset({SubscriptionState.IDLE, SubscriptionState.REJECTED})
"""The states of a topic that nothing was asked for, or nothing that still stands."""


def _all(topics: Iterable[Topic]) -> Iterable[Topic]:
    try:
        return iter(topics)
    except TypeError:
        raise ConfigurationError(
            setting="topics",
            problem=f"{topics!r:.80} is no collection of topics",
            remedy="use a list, such as [topone_proto.ORDERS]",
        ) from None


class Wishes:
    """The topics that the application desires.

    Args:
        topics: those that are desired from the start.
        refusals: the topics that are refused and wait.
        most: how many requests may be pending at once.
        socket: the WebSocket that is dialled.
    """

    def __init__(
        self, topics: Iterable[Topic], refusals: Refusals, most: int, socket: Socket
    ) -> None:
        self._socket = socket
        # Ordered, so that requests are made in the order in which the topics were asked for.
        self.desired: dict[Topic, None] = dict.fromkeys(map(self.checked, _all(topics)))
        """The topics, in the order in which they were asked for."""
        self._refusals = refusals
        self._most = most

    def checked(self, topic: object) -> Topic:
        """Return a topic that this WebSocket serves. One that is not known may be served by either.

        Raises:
            ConfigurationError: it is none, or another WebSocket serves it.
        """
        if not isinstance(topic, Topic):
            raise ConfigurationError(
                setting="topics",
                problem=f"{topic!r:.80} is no topic",
                remedy='use one such as topone_proto.ORDERS or kline("BTC/USDT", "1m")',
            )
        # A caller without a type checker may pass anything, so its parameter is not known.
        known: Topic[Any] = topic  # pyright: ignore[reportUnknownVariableType]
        family = known.family
        if family is not None and family.socket != self._socket:
            opener = "open_market_feed" if family.socket == "public" else "open_feed"
            raise ConfigurationError(
                setting="topics",
                problem=f"{known} is served by the {family.socket} WebSocket, "
                f"and this is the {self._socket} one",
                remedy=f"ask for it on a feed of its own, made by {opener}",
            )
        return known

    def add(self, topic: Topic) -> None:
        """Desire a topic; one that was refused and waits is asked for again at once."""
        self.desired[self.checked(topic)] = None
        self._refusals.hurry(topic)

    def drop(self, topic: Topic) -> None:
        """Desire a topic no more."""
        self.desired.pop(topic, None)
        self._refusals.drop(topic)

    def are_met(self, connection: Connection) -> bool:
        """True if every desired topic is acknowledged."""
        return all(connection.state_of(topic) is SubscriptionState.ACTIVE for topic in self.desired)

    def ask(self, connection: Connection, now: float) -> tuple[Action, ...]:
        """Return the requests to make now."""
        states = connection.subscriptions
        requests = [
            (connection.subscribe, topic)
            for topic in self.desired
            if states.get(topic, SubscriptionState.IDLE) in UNASKED
            and not self._refusals.waits(topic)
        ]
        requests += [
            (connection.unsubscribe, topic)
            for topic, state in states.items()
            if state is SubscriptionState.ACTIVE and topic not in self.desired
        ]
        room = self._most - len(connection.pending)
        actions: list[Action] = []
        for request, topic in requests[:room]:
            actions += request(topic, now).actions
        return tuple(actions)
