"""One account for many machines: the interface of a bus, and what runs on top of it."""

from topone_relay._bus import (
    Bus,
    BusRefused,
    BusUnavailable,
    Cluster,
    Fenced,
    Interrupted,
    Lease,
    Message,
    Pointer,
    Received,
    Restored,
)
from topone_relay._entry import AccountEntry
from topone_relay._memory import MemoryBroker, MemoryBus
from topone_relay._store import BusStore, StateNotShared

__all__ = [
    "AccountEntry",
    "Bus",
    "BusRefused",
    "BusStore",
    "BusUnavailable",
    "Cluster",
    "Fenced",
    "Interrupted",
    "Lease",
    "MemoryBroker",
    "MemoryBus",
    "Message",
    "Pointer",
    "Received",
    "Restored",
    "StateNotShared",
]
