"""The consumer's side: messages of a bus in, each event once and in order out, or a gap.

Theory. A bus delivers at least once, drops the oldest messages without a word, and may bring what
an old holder wrote late. Two numbers tell all of that apart. The *epoch* of a message is the lease
under which it was written, and only grows; the *number* counts the messages of an epoch from 1. Of
the next message expected, ``(epoch, number)``, a message is

- *outdated*, if its epoch is smaller: skipped;
- a *repetition*, if its epoch is that and its number is smaller: skipped;
- *next*: its items are delivered, from the first that was not;
- *behind a hole*, if its number is larger: what is between is lost. Each followed topic has a
  ``Gap``, then it is delivered;
- a *take-over*, if its epoch is larger: ``TakenOver``, then it is delivered, behind a hole if its
  number is not 1.

The new holder subscribes anew, and what the exchange published in between is missing. So a topic
that was followed is *broken* from a take-over on: right after its ``Subscribed`` comes a ``Gap``
that begins at the time of its last update before. A snapshot names all topics that are followed:
whatever is still broken then has its gap before it.

A position is where a program goes on after a restart. It says neither what was followed nor what
is broken, so a cursor that starts from one holds any topic to be followed that it hears of later
(``_has_unknown``), until a snapshot has named all; and a position given while a gap is still due
says so (``Position.gap_due``). Whatever the cursor itself makes comes before the position moves, so
that a program which dies in between is told again.

A snapshot may have parts. They are put together here, and the position stays before the first of
them until the last has come: whoever dies meanwhile reads them all again.

A cursor without a position delivers from the first message on that it is given. A driver lets it
begin at the latest snapshot.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import evolve

from topone_proto.account import BusAnomaly, RelayEvent, Snapshot, TakenOver
from topone_proto.errors import ConfigurationError
from topone_proto.events import (
    Connected,
    Disconnected,
    Event,
    Gap,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.relay._envelope import EnvelopeError, Item
from topone_proto.relay._items import SNAPSHOT, Part, event_of, part_of, whole_of
from topone_proto.relay._position import Position, unchecked
from topone_proto.relay._quick import Message, read_message
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic, Update

__all__ = ["Cursor"]

Delivery = tuple[RelayEvent, Position]

_MAX_SAID: Final = 100
_MAX_TEXT: Final = 200
_MAX_ROWS: Final = 1_000_000


class Cursor:
    """The place of one consumer in the stream of one account, and what it may believe.

    ::

        for event, position in cursor.received(data):
            account.apply(event)
            store(str(position))  # together with what the event has caused

    Args:
        position: the place to go on from; None for wherever the first message is.
        account: the account's name on the bus; None for that of the first message.

    Raises:
        ConfigurationError: the position is none.
    """

    def __init__(self, position: Position | None = None, *, account: str | None = None) -> None:
        if position is not None and not isinstance(position, Position):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller has a type checker
            raise ConfigurationError(
                setting="position",
                problem=f"{position!r:.80} is no position",
                remedy="use Position.parse(text)",
            )
        self.account: str | None = account
        """The account's name on the bus, once it is known."""
        self.delivered: int = 0
        """The number of events that were delivered."""
        self.first: Position | None = position
        """The place of the first message, or the one to go on from; None before it has come."""
        self.accepted: int = 0
        """The number of messages that were the holder's and not known before."""
        self.repeated: int = 0
        """The number of messages that had come before."""
        self.outdated: int = 0
        """The number of messages of holders that have been replaced."""
        self.anomalies: int = 0
        """The number of messages and items that mean nothing here."""
        self.gaps: int = 0
        """The number of gaps that were found here."""
        self.take_overs: int = 0
        """The number of times that another machine took over."""
        # The next item. Without a start, any.
        self._is_started = position is not None
        self._epoch, self._number, self._index = 0, 0, 0
        if position is not None:
            self._epoch, self._number, self._index = position.epoch, position.number, position.index
        self._followed: dict[Topic, int | None] = {}
        """Each topic that is followed, with the latest server time that was told of it."""
        self._broken: dict[Topic, int | None] = {}
        """Each topic that was followed before a take-over, with that time."""
        self._has_unknown = position is not None
        """True while topics may be followed that were not heard of since the start."""
        self._is_unknown_broken = position is not None and position.gap_due
        """True if updates of those may be missing."""
        self._connection = 0
        """The latest number of a connection of the holder."""
        self._parts: list[Part] = []
        self._rows = 0
        self._before_parts: Position | None = None
        self._said: set[str] = set()

    @property
    def position(self) -> Position | None:
        """The place to go on from after a restart; None before the first message."""
        return self._position if self._is_started else None

    @property
    def followed(self) -> frozenset[Topic]:
        """The topics that are followed, as far as it was told."""
        return frozenset(self._followed)

    def received(self, data: bytes) -> tuple[Delivery, ...]:
        """Take a message in. Returns the events to be handed on, in order, each with the position
        after it."""
        try:
            envelope = read_message(data)
        except EnvelopeError as error:
            return self._anomaly(error.problem, error.beginning)
        if self.account is None:
            self.account = envelope.account
        if envelope.account != self.account:
            return self._anomaly("a message of another account", envelope.account)
        if not self._is_started:
            self._is_started = True
            self._epoch, self._number = envelope.epoch, envelope.number
            self.first = Position(envelope.epoch, envelope.number)
        if envelope.epoch < self._epoch:
            self.outdated += 1
            return ()
        if envelope.epoch == self._epoch and envelope.number < self._number:
            self.repeated += 1
            return ()
        self.accepted += 1
        is_next = envelope.number == self._number and envelope.epoch == self._epoch
        found: list[Delivery] = [] if is_next else self._jump(envelope)
        last = len(envelope.items) - 1
        for index, item in enumerate(envelope.items):
            if index < self._index:
                continue
            if isinstance(item, Update) and self._is_undisturbed:
                found.append(self._follow(item, is_last=index == last))
            else:
                found += self._take(item, is_last=index == last)
        # Also if it has none, or fewer than it had when it came first.
        self._number, self._index = envelope.number + 1, 0
        self.delivered += len(found)
        return tuple(found)

    # --- the order of messages ------------------------------------------------------------------

    def _jump(self, envelope: Message) -> list[Delivery]:
        """Report what is missing before a message that is not the next one, if anything is."""
        is_taken_over = envelope.epoch > self._epoch
        has_hole = envelope.number > (1 if is_taken_over else self._number)
        position = self._position
        made: list[RelayEvent] = []
        if is_taken_over:
            made.append(TakenOver(envelope.account, envelope.epoch))
            self.take_overs += 1
            self._broken = {**self._followed, **self._broken}
            self._followed.clear()
        if has_hole:
            made += self._gaps_of_all()
        self._is_unknown_broken |= self._has_unknown
        self._forget_parts()
        self._epoch, self._number, self._index = envelope.epoch, envelope.number, 0
        return self._placed(made[:-1], made[-1:], position)

    def _gaps_of_all(self) -> list[RelayEvent]:
        """Return a gap for each topic that is followed."""
        missing = {**self._followed, **self._broken}
        if self._has_unknown:
            # Nearly all accounts are followed with both.
            for topic in (ORDERS, BALANCE):
                missing.setdefault(topic, None)
        return [self._gap(topic, since, None) for topic, since in missing.items()]

    def _placed(
        self, before: Iterable[RelayEvent], after: Sequence[RelayEvent], position: Position
    ) -> list[Delivery]:
        """Return events with their positions: until the first of ``after`` the old one holds, and
        until the last a gap is due."""
        here = self._here()
        found = [(event, position) for event in before]
        found += [(event, evolve(here, gap_due=True)) for event in after[:-1]]
        if after:
            found.append((after[-1], here))
        elif found:
            found[-1] = (found[-1][0], here)
        return found

    @property
    def _position(self) -> Position:
        return self._before_parts or self._here()

    def _here(self) -> Position:
        is_due = bool(self._broken) or self._is_unknown_broken
        return Position(self._epoch, self._number, self._index, gap_due=is_due)

    # --- items ----------------------------------------------------------------------------------

    @property
    def _is_undisturbed(self) -> bool:
        """True if an update has nothing before it and nothing after it."""
        return not (self._broken or self._is_unknown_broken or self._parts)

    def _follow(self, update: Update, *, is_last: bool) -> Delivery:
        """Take an update in while nothing is disturbed: what ``_take`` does, in less time."""
        topic, ts = update.topic, update.ts
        latest = self._followed.get(topic)
        if latest is None or (ts is not None and ts > latest):
            self._followed[topic] = ts
        self._advance(is_last=is_last)
        return update, unchecked(self._epoch, self._number, self._index)

    def _advance(self, *, is_last: bool) -> None:
        if is_last:
            self._number, self._index = self._number + 1, 0
        else:
            self._index += 1

    def _take(self, item: Item | Update, *, is_last: bool) -> list[Delivery]:
        """Take one item in."""
        position = self._position
        kind = item.kind if isinstance(item, Item) else type(item).__name__
        if kind != SNAPSHOT:
            self._forget_parts()
        before: list[RelayEvent] = []
        after: list[RelayEvent] = []
        match item:
            case Update():
                before, after = self._take_known(item)
            case Item("snapshot"):
                before, after = self._take_part(item, position)
            case Item("opened"):
                pass
            case Item("left_out"):
                after = [self._note("an event was too large for the bus", str(item.payload))]
            case _:
                before, after = self._take_event(item)
        self._advance(is_last=is_last)
        return self._placed(before, after, position)

    def _take_event(self, item: Item) -> tuple[list[RelayEvent], list[RelayEvent]]:
        try:
            event = event_of(item)
        except ValueError as error:
            # It may have been an update of any of these.
            anomaly = self._note(f"an event that cannot be read: {error}", item.kind)
            return [*self._gaps_of_all()], [anomaly]
        if event is None:
            if item.kind in self._said or len(self._said) >= _MAX_SAID:
                return [], []
            self._said.add(item.kind)
            return [], [self._note("a kind that this version does not know", item.kind[:200])]
        return self._take_known(event)

    def _take_known(self, event: Event) -> tuple[list[RelayEvent], list[RelayEvent]]:
        match event:
            case Connected(epoch=epoch) | Disconnected(epoch=epoch):
                self._connection = epoch
            case Subscribed(topic=topic, ts=ts, epoch=epoch):
                self._connection = epoch
                gaps = self._close_gap(topic, ts)
                self._followed[topic] = _later(ts, self._followed.get(topic))
                return [], [event, *gaps]
            case Unsubscribed(topic=topic):
                return self._drop(topic), [event]
            case SubscriptionRejected(topic=topic, method=method):
                if method == topic.subscribe_method:
                    return self._drop(topic), [event]
            case Update(topic=topic, ts=ts) if topic not in self._broken:
                # Before its acknowledgement, or the first of a topic that was followed before.
                gaps = self._close_gap(topic, ts)
                self._followed[topic] = _later(ts, self._followed.get(topic))
                return gaps, [event]
            case _:
                pass
        return [], [event]

    def _drop(self, topic: Topic) -> list[RelayEvent]:
        """A topic is not followed any more."""
        gaps = self._close_gap(topic, None)
        self._followed.pop(topic, None)
        return gaps

    def _close_gap(self, topic: Topic, until: int | None) -> list[RelayEvent]:
        """Return the gap that is due for a topic, if one is."""
        if topic in self._broken:
            return [self._gap(topic, self._broken.pop(topic), until)]
        if self._is_unknown_broken and topic not in self._followed:
            return [self._gap(topic, None, until)]
        return []

    def _gap(self, topic: Topic, since: int | None, until: int | None) -> Gap:
        self.gaps += 1
        if since is not None and until is not None and since > until:
            since = None  # clocks that cannot be compared
        return Gap(topic, since, until, self._connection)

    # --- snapshots ------------------------------------------------------------------------------

    def _take_part(
        self, item: Item, position: Position
    ) -> tuple[list[RelayEvent], list[RelayEvent]]:
        try:
            part = part_of(item.payload)
        except ValueError as error:
            self._forget_parts()
            return [], [self._note(f"a snapshot that cannot be read: {error}", "")]
        if part.number == 1:
            self._forget_parts()
        elif part.number != len(self._parts) + 1:
            self._forget_parts()
            return [], []  # its beginning is missing
        self._before_parts = self._before_parts or position
        self._parts.append(part)
        self._rows += sum(len(rows) for rows in part.rows)
        if self._rows > _MAX_ROWS:
            self._forget_parts()
            return [], [self._note("a snapshot of more rows than any account has", "")]
        if part.number < part.count:
            return [], []
        snapshot = whole_of(self._parts)
        self._forget_parts()
        return self._take_snapshot(snapshot)

    def _take_snapshot(self, snapshot: Snapshot) -> tuple[list[RelayEvent], list[RelayEvent]]:
        """The holder has named all topics that it follows: no other is."""
        before: list[RelayEvent] = []
        for topic in snapshot.topics:
            before += self._close_gap(topic, snapshot.latest_ts)
        for topic in list(self._broken):
            before += self._close_gap(topic, None)
            before.append(Unsubscribed(topic, None, self._connection))
        followed = {topic: self._followed.get(topic) for topic in snapshot.topics}
        self._followed = {
            topic: snapshot.latest_ts if ts is None else ts for topic, ts in followed.items()
        } | self._followed
        self._has_unknown = self._is_unknown_broken = False
        return before, [snapshot]

    def _forget_parts(self) -> None:
        self._parts.clear()
        self._rows = 0
        self._before_parts = None

    # --- anomalies ------------------------------------------------------------------------------

    def _note(self, reason: str, detail: str) -> BusAnomaly:
        self.anomalies += 1
        return BusAnomaly(reason[:_MAX_TEXT], detail[:_MAX_TEXT])

    def _anomaly(self, reason: str, detail: str) -> tuple[Delivery, ...]:
        """Return what a message that is none causes: nothing moves."""
        self.delivered += 1
        return ((self._note(reason, detail), self.position or Position(0, 0)),)


def _later(ts: int | None, other: int | None) -> int | None:
    if ts is None or other is None:
        return other if ts is None else ts
    return max(ts, other)
