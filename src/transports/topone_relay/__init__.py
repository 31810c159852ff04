"""One account for many machines: the interface of a bus, and what runs on top of it."""

from topone_relay._async import AsyncRelayFeed
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
    Take,
)
from topone_relay._entry import AccountEntry
from topone_relay._feed import RelayFeed, RelayFeedOpening, open_feed
from topone_relay._following import Followed, OpenEntry, open_entry
from topone_relay._happenings import (
    AccountFailed,
    BusBack,
    BusLost,
    Happening,
    Leaving,
    MemberJoined,
    MemberLeft,
)
from topone_relay._memory import MemoryBroker, MemoryBus
from topone_relay._node import Node
from topone_relay._status import AccountStatus, NodeStatus
from topone_relay._store import BusStore, StateNotShared

__all__ = [
    "AccountEntry",
    "AccountFailed",
    "AccountStatus",
    "AsyncRelayFeed",
    "Bus",
    "BusBack",
    "BusLost",
    "BusRefused",
    "BusStore",
    "BusUnavailable",
    "Cluster",
    "Fenced",
    "Followed",
    "Happening",
    "Interrupted",
    "Lease",
    "Leaving",
    "MemberJoined",
    "MemberLeft",
    "MemoryBroker",
    "MemoryBus",
    "Message",
    "Node",
    "NodeStatus",
    "OpenEntry",
    "Pointer",
    "Received",
    "RelayFeed",
    "RelayFeedOpening",
    "Restored",
    "StateNotShared",
    "Take",
    "open_entry",
    "open_feed",
]
