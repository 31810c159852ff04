"""The messages of one account: which items go into them, in which order, and what is dropped.

Theory. Whatever the account tells becomes an item that waits. One message is under way at a time,
and takes all that waits, up to ``max_message_size``: so the rate of events does not depend on the
time that the bus takes for one message. A message is repeated, with the same bytes, until the bus
has said that it took it; its number is used up by that alone, so numbers have no holes.

*The first message of an epoch* has the item ``opened``. It goes out before anything is known of the
account, since it is what keeps an older holder from writing. If the account is open already, what
consumers need to know of its feed follows (``_telling``).

*A snapshot* is taken of the account as it is after the events that were told. It comes first in its
message, so that a consumer that comes late can begin there. One is due at the start of an epoch,
after every gap, after every change that an answer over HTTP has brought and no event tells, and
after ``snapshot_interval``. It is taken as soon as the account is whole. Between the events that a
snapshot stands among, an account made of it and of what follows is the holder's own. Where the
holder has lost its trust and no event says why, or an audit has found what its stream has left out,
a ``Gap`` is told as well: updates are missing, even if nobody saw it.

*Too much* waits if the bus is away or slow: more than ``capacity`` items, or ``max_waiting`` bytes.
All of it is dropped, and nothing is kept until the bus has taken the message that is under way.
Then the difference is told, with a gap for each topic, and a snapshot is due.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, evolve

from topone_proto.account import (
    BalanceUnlisted,
    Knowledge,
    KnowledgeChanged,
    OutcomeUnknown,
    Resynced,
    Snapshot,
)
from topone_proto.events import Closed, Connected, Disconnected, Event, Gap
from topone_proto.failures import Failure, FailureKind
from topone_proto.relay._actions import ItemsDropped, Publish
from topone_proto.relay._config import RelayConfig
from topone_proto.relay._envelope import encode_item, join_items
from topone_proto.relay._items import item_of, left_out, opened, snapshot_items
from topone_proto.relay._quick import encode_update
from topone_proto.relay._telling import Told, difference
from topone_proto.wire.balance import BalanceUpdate
from topone_proto.wire.orders import OrderUpdate
from topone_proto.wire.topic import Topic, Update

__all__ = ["Publisher"]

_MAX_SNAPSHOTS: Final = 3
"""So many snapshots may wait; more of them is too much."""


@define(eq=False)
class _Waiting:
    data: bytes
    event: Event | None = None
    """The event that it stands for."""
    is_of_snapshot: bool = False
    begins_snapshot: bool = False


class Publisher:
    """The messages of one account, over any number of epochs.

    Args:
        account: the account's name on the bus.
        config: its sizes and times.
        snapshot: returns the account as it is, or None while it is not whole.
    """

    def __init__(
        self, account: str, config: RelayConfig, snapshot: Callable[[], Snapshot | None]
    ) -> None:
        self._account = account
        self._config = config
        self._snapshot = snapshot
        self._epoch = 0
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        """The bytes that wait, without those of snapshots."""
        self._snapshots = 0
        self._has_dropped = False
        """True from the moment at which what waited was dropped until that is declared."""
        self._message: Publish | None = None
        """The message that is under way, or to be repeated."""
        self._repeat_at: float | None = None
        """The time at which it is to be repeated; None while it is under way."""
        self._beat_at = 0.0
        self._snapshot_at = 0.0
        self._is_due = False
        self._now = Told()
        self._sent = Told()
        self._market: dict[Topic, Update] = {}
        self.dropped: int = 0
        """The number of items that were dropped so far."""

    @property
    def is_idle(self) -> bool:
        """True if nothing waits, and nothing is under way."""
        return self._message is None and not self._waiting and not self._has_dropped

    def is_under_way(self, message: Publish | None) -> bool:
        """Return True for the message that is under way; None stands for it, if there is one."""
        under_way = self._message
        if message is under_way:
            return message is not None
        return under_way is not None and (message is None or message == under_way)

    @property
    def waiting(self) -> int:
        """The number of items that wait."""
        return len(self._waiting)

    # --- epochs ---------------------------------------------------------------------------------

    def open(self, epoch: int, now: float) -> None:
        """Begin an epoch. Whatever waits is of an older one, and dropped."""
        self.close()
        self._epoch, self._number = epoch, 0
        self._sent = Told()
        self._beat_at, self._snapshot_at = now, now + self._config.snapshot_interval
        self._put(_Waiting(opened()))
        self._tell_difference(now)

    def close(self) -> None:
        """The epoch has ended: nothing more is published, and nothing waits."""
        self._clear()
        self._epoch = 0
        self._message, self._repeat_at = None, None
        self._has_dropped = False

    def end_feed(self, failure: Failure) -> None:
        """Tell consumers that the account is not followed from here on."""
        if isinstance(self._now.life, Connected):
            self._tell(Disconnected(failure, 0.0, self._now.connection, 1))

    def forget_account(self) -> None:
        """The account is closed here."""
        self._now = Told()
        self._market.clear()
        self._is_due = False

    # --- what the account tells -----------------------------------------------------------------

    def told(self, events: Iterable[object], now: float) -> tuple[ItemsDropped, ...]:
        """The account has told these, in a step: events of the feed, each followed by what it has
        changed. The account is as they have left it."""
        before = self.dropped
        group: list[object] = []
        for event in events:
            if group and isinstance(event, Event):
                self._take(group)
                group = []
            group.append(event)
        if group:
            self._take(group)
        self._take_snapshot(now)
        count = self.dropped - before
        return (ItemsDropped(self._account, count),) if count else ()

    def _take(self, group: list[object]) -> None:
        """Take an event in, with its changes, or the changes of an answer."""
        first = group[0]
        event = first if isinstance(first, Event) else None
        changes = group if event is None else group[1:]
        if isinstance(event, Closed):
            event = self._end_of_feed(event)
        # An update alone changes what it tells, and an account made of a snapshot sees the same.
        is_update = event is None or isinstance(event, Update)
        for change in changes:
            match change:
                case KnowledgeChanged(topic=topic, before=Knowledge.WHOLE) if is_update:
                    self._tell(Gap(topic, None, None, self._now.connection))
                case Resynced(topic=topic, is_audit=True):
                    self._tell(Gap(topic, None, None, self._now.connection))
                case Resynced() | OutcomeUnknown() | BalanceUnlisted():
                    self._is_due = True
                case _:
                    self._is_due |= getattr(change, "healed", False)
        if event is not None:
            self._tell(event)

    def _end_of_feed(self, event: Closed) -> Event | None:
        """A consumer's feed does not end with the holder's: there will be another holder."""
        if isinstance(self._now.life, Disconnected) or self._now.life is None:
            return None
        failure = event.failure or Failure(FailureKind.CLOSED, "the account was closed")
        return Disconnected(failure, None, self._now.connection, 1)

    def _tell(self, event: Event) -> None:
        self._now.take(event)
        match event:
            case OrderUpdate() | BalanceUpdate():
                # The account's snapshot has them.
                pass
            case Update(topic=topic, key=key):
                if key is not None and _is_public(topic):
                    self._market[topic] = event
            case Gap(topic=topic):
                self._is_due = True
                self._market.pop(topic, None)
            case Disconnected():
                self._market.clear()
            case _:
                pass
        if self._epoch and not self._has_dropped:
            self._put_event(event)
            config = self._config
            if self._size > config.max_waiting or len(self._waiting) > config.capacity:
                self._drop()

    def _put_event(self, event: Event) -> None:
        data = encode_update(event) or encode_item(item_of(event))
        if len(data) <= self._config.max_message_size:
            self._put(_Waiting(data, event))
            return
        topics = (event.topic,) if isinstance(event, Update) else getattr(event, "topics", ())
        self._put(_Waiting(left_out(event, len(data), topics)))
        for topic in topics:
            self._put_event(self._sent.gap(topic, self._now.latest_ts, self._now.connection))
        self._is_due = True

    def _put(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._size += len(waiting.data)

    def _drop(self) -> None:
        self.dropped += len(self._waiting)
        self._clear()
        self._has_dropped = True

    def _clear(self) -> None:
        self._waiting.clear()
        self._size = self._snapshots = 0

    # --- snapshots ------------------------------------------------------------------------------

    def _take_snapshot(self, now: float) -> None:
        """Take a snapshot, if one is due and the account is whole."""
        if now >= self._snapshot_at:
            # For those that come late: one that waits will do.
            self._snapshot_at = now + self._config.snapshot_interval
            self._is_due |= not self._snapshots
        if not self._is_due or not self._epoch or self._has_dropped:
            return
        if not isinstance(self._now.life, Connected):
            return
        snapshot = self._snapshot()
        if snapshot is None:
            return
        if self._snapshots >= _MAX_SNAPSHOTS:
            self._drop()
            return
        self._is_due = False
        self._snapshot_at = now + self._config.snapshot_interval
        known = {*snapshot.topics}
        followed = self._now.subscribed
        market = [topic for topic in followed if topic not in known and _is_public(topic)]
        snapshot = evolve(
            snapshot,
            topics=(*snapshot.topics, *market),
            market=tuple(self._market[topic] for topic in market if topic in self._market),
        )
        items = snapshot_items(snapshot, self._config.max_message_size)
        self._snapshots += 1
        for index, data in enumerate(items):
            waiting = _Waiting(data, is_of_snapshot=True, begins_snapshot=index == 0)
            self._waiting.append(waiting)

    def _tell_difference(self, now: float) -> None:
        for event in difference(self._sent, self._now):
            self._put_event(event)
        self._is_due = True
        self._take_snapshot(now)

    # --- messages -------------------------------------------------------------------------------

    def next(self, now: float) -> Publish | None:
        """Return the message to publish now; None if there is none, or one is under way."""
        if self._message is not None:
            if self._repeat_at is None or now < self._repeat_at:
                return None
            self._repeat_at = None
            return self._message
        if self._has_dropped:
            self._has_dropped = False
            self._tell_difference(now)
        self._take_snapshot(now)
        if not self._waiting and now < self._beat_at:
            return None
        self._message = self._compose()
        self._beat_at = now + self._config.beat_interval
        return self._message

    def published(self) -> None:
        """The bus has taken the message that was under way."""
        self._message = self._repeat_at = None

    def failed(self, now: float) -> None:
        """The message that was under way may have arrived or not."""
        self._repeat_at = now + self._config.retry_interval

    @property
    def deadline(self) -> float | None:
        """The time to call ``next``, if nothing happens before; None if only an answer of the bus
        can bring something to publish."""
        if self._message is not None:
            return self._repeat_at
        return min(self._beat_at, self._snapshot_at)

    def _compose(self) -> Publish:
        size = 0
        items: list[bytes] = []
        has_snapshot = bool(self._waiting) and self._waiting[0].begins_snapshot
        while self._waiting:
            waiting = self._waiting[0]
            size += len(waiting.data) + 1
            if items and (waiting.begins_snapshot or size > self._config.max_message_size):
                break
            self._waiting.popleft()
            items.append(waiting.data)
            if waiting.event is not None:
                self._sent.take(waiting.event)
            if waiting.is_of_snapshot:
                self._snapshots -= waiting.begins_snapshot
            else:
                self._size -= len(waiting.data)
        self._number += 1
        data = join_items(self._account, self._epoch, self._number, items)
        return Publish(self._account, self._epoch, self._number, data, has_snapshot)


def _is_public(topic: Topic) -> bool:
    return topic.family is not None and topic.family.socket == "public"
