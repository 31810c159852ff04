"""Entries that the bus keeps under a key: leases, and the places of the latest snapshots."""

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
    """The name of the machine that has it."""
    bus: str = ""
    """The id of the bus object that acquired it."""
    epoch: int = 0
    """Its epoch, in every entry but the first."""


class PointerEntry(msgspec.Struct):
    """The place of an account's latest snapshot as it is stored."""

    epoch: int
    """The epoch of its holder."""
    number: int
    """The number of its first message."""
    place: str
    """The place of that message in the stream."""


def is_deleted(headers: Mapping[str, str]) -> bool:
    """Return True for an entry that deletes another."""
    return OPERATION in headers


def lease_of(account: str, sequence: int, data: bytes) -> Lease | None:
    """Return the lease that an entry holds; None if it is none."""
    entry = entry_of(data, LeaseEntry)
    return None if entry is None else Lease(account, entry.holder, entry.epoch or sequence)


def pointer_of(found: Stored | None) -> Pointer | None:
    """Return the place of a snapshot that an entry holds; None if it is none."""
    entry = None if found is None else entry_of(found.data, PointerEntry)
    return None if entry is None else Pointer(entry.epoch, entry.number, entry.place)
