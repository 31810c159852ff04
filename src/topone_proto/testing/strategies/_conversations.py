"""Whole conversations of a client and a server, legal and troubled."""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

from attrs import evolve
from hypothesis import strategies as st

from topone_proto._values import value
from topone_proto.events import (
    Event,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unsubscribed,
)
from topone_proto.models import Side
from topone_proto.session.connection import Connection
from topone_proto.testing.strategies._defects import near_misses
from topone_proto.testing.strategies._frames import frames, wire_fields
from topone_proto.testing.strategies._values import updates_of
from topone_proto.testing.strategies._wire import (
    pings,
)
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.codec import decode
from topone_proto.wire.families import lone_topics
from topone_proto.wire.messages import Malformed, Message, Ping, Request, Response
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.topic import Topic, Update

__all__ = ["Conversation", "Received", "Trouble", "conversations", "troubled_conversations"]

_T = TypeVar("_T")


class Trouble(StrEnum):
    """The trouble with a frame of a troubled conversation."""

    DUPLICATE_ACK = "an acknowledgement comes a second time"
    STALE_ACK = "an acknowledgement of a request that was never made on this connection"
    MISMATCHED_ACK = "the id of one request with the method of another"
    REORDERED_ACK = "a request is acknowledged before an earlier one"
    EARLY_UPDATE = "an update overtakes its topic's acknowledgement"
    UNASKED_UPDATE = "an update of a topic that is not subscribed to, or not any more"
    DUPLICATE_UPDATE = "an update comes a second time"
    REORDERED_UPDATE = "an update is older than the topic's frame before it"
    MALFORMED = "a frame that breaks the protocol"


@value
class Received:
    """One frame of the server, and what it means."""

    frame: str | bytes
    """As it is sent, in any of its spellings."""
    message: Message
    """The message that it decodes to."""
    event: type[Any] | None
    """The class of the event that the application gets; None for a ping, which the core answers."""
    trouble: Trouble | None = None
    """The trouble with it; None if it is as it should be."""

    def __repr__(self) -> str:
        # One line, since a failing test shows a whole conversation.
        what = "ping" if self.event is None else self.event.__name__
        trouble = "" if self.trouble is None else f" {self.trouble.name}"
        frame = repr(self.frame)
        return f"< {what}{trouble}: {frame if len(frame) <= 90 else frame[:87] + '...'}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's protocol
        printer.text(repr(self))


@value
class Conversation:
    """A dialogue of client and server on one connection, in order."""

    topics: tuple[Topic, ...]
    """The topics that the client subscribes to."""
    turns: tuple[Request | Received, ...]
    """The client's requests, with the ids that a new ``Connection`` gives them, and the server's
    frames."""

    def __repr__(self) -> str:
        # A line for each turn: the arguments in full would fill pages.
        lines = [
            f"> {turn.method} (id {turn.id})" if isinstance(turn, Request) else repr(turn)
            for turn in self.turns
        ]
        topics = ", ".join(topic.name for topic in self.topics)
        return "\n  ".join([f"Conversation about {topics or 'nothing'}", *lines])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's protocol
        # Hypothesis would show a value class by its arguments.
        printer.text(repr(self))

    @property
    def received(self) -> tuple[Received, ...]:
        """The server's frames alone."""
        return tuple(turn for turn in self.turns if isinstance(turn, Received))

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Everything that is wrong, in order; empty for a legal conversation."""
        return tuple(turn.trouble for turn in self.received if turn.trouble is not None)

    def events(self) -> tuple[Event, ...]:
        """Return what a new ``Connection`` hands to its application in the course of it."""
        connection = Connection()
        happened: list[Event] = []
        for turn in self.turns:
            if isinstance(turn, Received):
                step = connection.message_received(turn.frame, 0.0)
            else:
                topic = Topic.from_method(turn.method)
                if topic is not None:
                    step = connection.subscribe(topic, 0.0)
                else:
                    step = connection.unsubscribe(Topic(turn.method.removeprefix("unsub_")), 0.0)
            happened += step.events
        return tuple(happened)


def conversations(
    topics: Iterable[Topic] = (ORDERS, BALANCE), *, max_turns: int = 6
) -> st.SearchStrategy[Conversation]:
    """Legal conversations about ``topics``: requests, their acknowledgements in order, refusals,
    updates of what is subscribed to, pings. In the end every request is answered.

    The account behind the updates obeys the protocol only: no bookkeeping connects one update with
    the next. Their server times never go back.

    Args:
        topics: what is subscribed to. Updates come for those whose family is known.
        max_turns: how many turns there are at most before the last requests are answered.
    """
    return _conversations(tuple(topics), max_turns)


def troubled_conversations(
    topics: Iterable[Topic] = (ORDERS, BALANCE),
    troubles: Iterable[Trouble] = Trouble,
    *,
    max_turns: int = 6,
) -> st.SearchStrategy[Conversation]:
    """Conversations like those of ``conversations`` in which things go wrong: duplicates, stale
    acknowledgements, frames out of order. Each such frame is labelled, and there is at least one.

    Args:
        topics: what is subscribed to.
        troubles: what may go wrong.
        max_turns: how many turns there are at most before the last requests are answered.
    """
    troubled = _conversations(tuple(topics), max_turns, tuple(troubles))
    return troubled.filter(lambda conversation: bool(conversation.troubles))


@st.composite
def _conversations(
    draw: st.DrawFn, topics: tuple[Topic, ...], max_turns: int, troubles: tuple[Trouble, ...] = ()
) -> Conversation:
    talk = _Talk(draw, topics)
    for _ in range(draw(st.integers(0, max_turns))):
        amiss = bool(troubles) and draw(st.booleans())
        if not amiss or not talk.get_into(draw(st.sampled_from(troubles))):
            talk.go_on()
    while talk.pending:
        talk.acknowledge()
    return Conversation(topics, tuple(talk.turns))


_PLAIN_PINGS: Final = (Ping("pong"), Ping('{"method":"pong"}'), Ping('{"pong":1561948335075}'))
_PLAIN_ORDER: Final = Order(
    id=1,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.PENDING,
    price=Decimal("0.08"),
    amount=Decimal(10),
    left=Decimal(10),
    deal_stock=Decimal(0),
    deal_money=Decimal(0),
    create_time=1522235513.5,
    update_time=1522235513.5,
)


class _Talk:
    """A conversation under way, with the little that a server and a client have to remember."""

    def __init__(self, draw: st.DrawFn, topics: tuple[Topic, ...]) -> None:
        self.draw = draw
        self.topics = topics
        # Most of the conversations are plain to read, and quick to shrink: what differs is what is
        # said, and not how.
        self.varied = draw(st.sampled_from([False, False, True]))
        self.turns: list[Request | Received] = []
        self.pending: list[Request] = []
        self.subscribed: set[Topic] = set()
        self.answered: list[Response] = []
        self.published: dict[Topic, Update] = {}
        self.last_ts: dict[Topic, int] = {}
        self.asked = 0
        self.ts = 1561948335075

    # What is as it should be.

    def go_on(self) -> None:
        ways: list[Callable[[], None]] = [self.ping]
        if any(not self.awaits(topic) for topic in self.topics):
            ways += [self.request] * (2 if not self.subscribed else 1)
        if self.pending:
            ways += [self.acknowledge, self.acknowledge, self.refuse]
        if self.publishable(self.subscribed):
            ways += [self.publish] * 5
        self.draw(st.sampled_from(ways))()

    def request(self) -> None:
        topic = self.pick(topic for topic in self.topics if not self.awaits(topic))
        self.asked += 1
        wanted = topic not in self.subscribed
        method = topic.subscribe_method if wanted else topic.unsubscribe_method
        request = Request(str(self.asked), method)
        self.pending.append(request)
        self.turns.append(request)

    def acknowledge(self, at: int = 0, trouble: Trouble | None = None) -> None:
        request = self.pending.pop(at)
        topic, wanted = _asked_for(request)
        self.answer(request, 0, Subscribed if wanted else Unsubscribed, trouble)
        (self.subscribed.add if wanted else self.subscribed.discard)(topic)
        self.last_ts[topic] = self.ts

    def refuse(self) -> None:
        request = self.pending.pop(0)
        self.answer(request, self.draw(st.integers(1, 10**6)), SubscriptionRejected)
        self.last_ts[_asked_for(request)[0]] = self.ts

    def publish(self) -> None:
        topic = self.pick(self.publishable(self.subscribed))
        self.update(topic, self.tick())

    def ping(self) -> None:
        self.receive(self.draw(pings() if self.varied else st.sampled_from(_PLAIN_PINGS)), None)

    # What is not.

    def get_into(self, trouble: Trouble) -> bool:
        """Let it happen; False if there is no occasion for it now."""
        match trouble:
            case Trouble.DUPLICATE_ACK if self.answered:
                self.receive(self.pick(self.answered), UnexpectedResponse, trouble)
            case Trouble.STALE_ACK:
                number = self.draw(st.none() | st.sampled_from(["0", str(self.asked + 10**6)]))
                method = self.pick(self.topics or (ORDERS,)).subscribe_method
                stale = Response(number, method, 0, "", self.tick())
                self.receive(stale, UnexpectedResponse, trouble)
            case Trouble.MISMATCHED_ACK if self.pending:
                request = self.pick(self.pending)
                other = Response(request.id, request.method + "_other", 0, "", self.tick())
                self.receive(other, UnexpectedResponse, trouble)
            case Trouble.REORDERED_ACK if len(self.pending) > 1:
                self.acknowledge(self.draw(st.integers(1, len(self.pending) - 1)), trouble)
            case Trouble.MALFORMED:
                miss = self.draw(near_misses())
                self.turns.append(Received(miss.frame, decode(miss.frame), Malformed, trouble))
            case _:
                return self.publish_amiss(trouble)
        return True

    def publish_amiss(self, trouble: Trouble) -> bool:
        subscribing = {topic for topic, wanted in map(_asked_for, self.pending) if wanted}
        match trouble:
            case Trouble.EARLY_UPDATE:
                occasions = self.publishable(subscribing)
            case Trouble.UNASKED_UPDATE:
                occasions = self.publishable(set(lone_topics()) - self.subscribed - subscribing)
            case Trouble.DUPLICATE_UPDATE:
                occasions = self.publishable(self.subscribed & self.published.keys())
            case Trouble.REORDERED_UPDATE:
                occasions = self.publishable(self.subscribed)
            case _:
                return False
        if not occasions:
            return False
        topic = self.pick(occasions)
        if trouble is Trouble.DUPLICATE_UPDATE:
            update = self.published[topic]
            self.receive(update, type(update), trouble)
        elif trouble is Trouble.REORDERED_UPDATE:
            before = self.last_ts[topic] - self.draw(st.integers(1, 10**6))
            self.update(topic, before, trouble)
        else:
            self.update(topic, self.tick(), trouble)
        return True

    # How it is said.

    def awaits(self, topic: Topic) -> bool:
        return any(_asked_for(request)[0] == topic for request in self.pending)

    def publishable(self, topics: Iterable[Topic]) -> list[Topic]:
        """Those of ``topics`` of which there are updates, in an order that can be repeated."""
        return sorted((topic for topic in topics if topic.family is not None), key=str)

    def pick(self, choices: Iterable[_T]) -> _T:
        return self.draw(st.sampled_from(list(choices)))

    def tick(self) -> int:
        self.ts += self.draw(st.integers(0, 1000))
        return self.ts

    def answer(
        self, request: Request, code: int, event: type[Any], trouble: Trouble | None = None
    ) -> None:
        msg = self.draw(st.sampled_from(["", "OK"])) if code == 0 else "refused"
        response = Response(request.id, request.method, code, msg, self.tick())
        self.answered.append(response)
        self.receive(response, event, trouble)

    def update(self, topic: Topic, ts: int, trouble: Trouble | None = None) -> None:
        family = topic.family
        assert family is not None  # it is publishable
        plain: Any = family.example
        if self.varied:
            plain = self.draw(updates_of(family))
        elif topic == ORDERS:
            plain = OrderUpdate(evolve(_PLAIN_ORDER, id=self.draw(st.integers(1, 3))), ts)
        elif topic == BALANCE:
            asset = self.draw(st.sampled_from(["ETH", "BTC", "USDT"]))
            plain = BalanceUpdate(Balance(asset, Decimal(len(self.turns)), Decimal(0)), ts)
        update = evolve(plain, ts=ts, **({} if family.topic is not None else {"topic": topic}))
        self.published[topic] = update
        self.last_ts[topic] = ts
        event: type[Any] = family.update
        if trouble is Trouble.UNASKED_UPDATE:
            event = UnexpectedUpdate
        self.receive(update, event, trouble)

    def receive(
        self,
        message: Response | Update | Ping,
        event: type[Any] | None,
        trouble: Trouble | None = None,
    ) -> None:
        frame: str | bytes
        if self.varied:
            frame = self.draw(frames(message))
        elif isinstance(message, Ping):
            frame = message.answer.replace("pong", "ping")
        else:
            frame = json.dumps(wire_fields(message))
        self.turns.append(Received(frame, message, event, trouble))


def _asked_for(request: Request) -> tuple[Topic, bool]:
    """The topic of a request, and whether it subscribes."""
    topic = Topic.from_method(request.method)
    if topic is not None:
        return topic, True
    return Topic(request.method.removeprefix("unsub_")), False
