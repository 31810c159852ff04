"""What the bus keeps under a key: leases, and where the latest snapshots are."""

from collections.abc import Mapping

import msgspec

from topone_nats._api import Stored
from topone_relay._bus import Lease, Pointer
from topone_relay._json import entry_of

__all__ = [
    "OPERATION",
    "LeaseEntry",
    "PointerEntry",
    "is_deleted",
    "lease_of",
    "pointer_of",
]

OPERATION = "KV-Operation"
"""The header of an entry that deletes another."""


class LeaseEntry(msgspec.Struct, omit_defaults=True):
    """A lease as it is stored. The first entry has no epoch: its sequence number is the epoch."""

    holder: str = ""
    bus: str = ""
    epoch: int = 0


class PointerEntry(msgspec.Struct):
    epoch: int
    number: int
    place: str


def is_deleted(headers: Mapping[str, str]) -> bool:
    return OPERATION in headers


def lease_of(account: str, sequence: int, data: bytes) -> Lease | None:
    entry = entry_of(data, LeaseEntry)
    return None if entry is None else Lease(account, entry.holder, entry.epoch or sequence)


def pointer_of(found: Stored | None) -> Pointer | None:
    entry = None if found is None else entry_of(found.data, PointerEntry)
    return None if entry is None else Pointer(entry.epoch, entry.number, entry.place)
