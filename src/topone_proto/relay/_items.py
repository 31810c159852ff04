"""Items of a message, and the events that they stand for.

Besides events there are three kinds. ``opened`` is the first item of an epoch. ``snapshot`` is a
snapshot or a part of one: parts follow each other without anything in between, and each is a
snapshot with some of the rows. ``left_out`` stands for an event that was too large.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any, Final

import msgspec
from attrs import evolve

from topone_proto._values import value
from topone_proto.account import Snapshot
from topone_proto.events import Event, event_classes
from topone_proto.plain import plain_of, value_of
from topone_proto.relay._envelope import Item, encode_item
from topone_proto.wire.topic import Topic, families

__all__ = [
    "LEFT_OUT",
    "OPENED",
    "SNAPSHOT",
    "Part",
    "event_of",
    "item_of",
    "left_out",
    "opened",
    "part_of",
    "snapshot_items",
    "whole_of",
]

OPENED: Final = "opened"
"""The kind of the first item of an epoch."""
SNAPSHOT: Final = "snapshot"
"""The kind of a snapshot, or of a part of one."""
LEFT_OUT: Final = "left_out"
"""The kind of what stands for an event that was too large."""

_ROWS: Final = ("balances", "open_orders", "other_orders", "unknown_outcomes", "market")


@value
class Part:
    """A part of a snapshot."""

    number: int
    """The number of the part, from 1."""
    count: int
    """The number of parts."""
    snapshot: Snapshot
    """The rows of this part."""

    @property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """Its rows, kind by kind."""
        return tuple(getattr(self.snapshot, name) for name in _ROWS)


def opened() -> bytes:
    """Return the first item of an epoch."""
    return encode_item(Item(OPENED))


def left_out(event: Event, size: int, topics: Iterable[Topic]) -> bytes:
    """Return what stands for an event that was too large."""
    names = [topic.name for topic in topics]
    what = {"event": type(event).__name__, "size": size, "topics": names}
    return encode_item(Item(LEFT_OUT, what))


def item_of(event: Event) -> Item:
    """Return the item that stands for an event."""
    return Item(type(event).__name__, plain_of(event))


def event_of(item: Item) -> Event | None:
    """Return the event that an item stands for; None if this version knows no such kind.

    Raises:
        ValueError: the event has other fields.
    """
    cls = _by_name(len(families())).get(item.kind)
    return None if cls is None else value_of(item.payload, cls)


# By the number of families: one may be registered at any time.
@cache
def _by_name(_: int) -> dict[str, type[Any]]:
    return {cls.__name__: cls for cls in event_classes()}


def snapshot_items(snapshot: Snapshot, max_size: int) -> tuple[bytes, ...]:
    """Return a snapshot as items, none of them larger than ``max_size`` bytes unless one row
    is."""
    head = {"topics": plain_of(snapshot.topics), "latest_ts": snapshot.latest_ts}
    room = max_size - len(msgspec.json.encode(head)) - 200
    parts: list[dict[str, list[msgspec.Raw]]] = [{}]
    size = 0
    for name, row in _encoded_rows(snapshot):
        if size and size + len(row) + 1 > room:
            parts.append({})
            size = 0
        parts[-1].setdefault(name, []).append(msgspec.Raw(row))
        size += len(row) + 1
    return tuple(
        encode_item(Item(SNAPSHOT, {"part": number, "parts": len(parts), **head, **rows}))
        for number, rows in enumerate(parts, 1)
    )


def _encoded_rows(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    for name in _ROWS:
        for row in getattr(snapshot, name):
            if name == "market":
                item = item_of(row)
                plain = {"event": item.kind, **item.payload}
            else:
                plain = plain_of(row)
            yield name, msgspec.json.encode(plain)


def part_of(payload: Mapping[str, Any]) -> Part:
    """Return the part of a snapshot that an item brings.

    Raises:
        ValueError: it is none.
    """
    number, count = payload.get("part"), payload.get("parts")
    if type(number) is not int or type(count) is not int or not 1 <= number <= count:
        raise ValueError("not the numbers of a part")
    return Part(number, count, value_of(payload, Snapshot))


def whole_of(parts: Iterable[Part]) -> Snapshot:
    """Return the snapshot of which these are all parts, in order."""
    parts = tuple(parts)
    joined: dict[str, Any] = {}
    for name, rows in zip(_ROWS, zip(*(part.rows for part in parts), strict=True), strict=True):
        joined[name] = tuple(chain.from_iterable(rows))
    return evolve(parts[0].snapshot, **joined)
