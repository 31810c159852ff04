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

__all__ = [
    "Bus",
    "BusRefused",
    "BusUnavailable",
    "Cluster",
    "Fenced",
    "Interrupted",
    "Lease",
    "Message",
    "Pointer",
    "Received",
    "Restored",
]
