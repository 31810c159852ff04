"""One account for many machines, without I/O: one holder at a time publishes what it is told, and
any number of consumers see the very same events.

Pure: the packages of a bus carry the messages and keep the leases. The events that only a consumer
sees are in ``topone_proto.account``: ``Snapshot``, ``TakenOver``, ``BusAnomaly``, ``Stalled``,
``Resumed``.
"""

from topone_proto.relay._actions import (
    Acquire,
    CloseAccount,
    HolderEvent,
    ItemsDropped,
    LeaseAcquired,
    LeaseEnded,
    LeaseUnsure,
    OpenAccount,
    Publish,
    RelayAction,
    RelayStep,
    Release,
    Renew,
)
from topone_proto.relay._config import RelayConfig
from topone_proto.relay._cursor import Cursor
from topone_proto.relay._envelope import (
    ENVELOPE_VERSION,
    Envelope,
    EnvelopeError,
    Item,
    decode_envelope,
    encode_envelope,
)
from topone_proto.relay._holder import Holder, HolderState
from topone_proto.relay._position import Position

__all__ = [
    "ENVELOPE_VERSION",
    "Acquire",
    "CloseAccount",
    "Cursor",
    "Envelope",
    "EnvelopeError",
    "Holder",
    "HolderEvent",
    "HolderState",
    "Item",
    "ItemsDropped",
    "LeaseAcquired",
    "LeaseEnded",
    "LeaseUnsure",
    "OpenAccount",
    "Position",
    "Publish",
    "RelayAction",
    "RelayConfig",
    "RelayStep",
    "Release",
    "Renew",
    "decode_envelope",
    "encode_envelope",
]
