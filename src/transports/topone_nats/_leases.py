"""The leases of accounts on a NATS bus.

Theory. A lease is an entry of a key-value bucket whose entries expire. ``acquire`` writes with the
condition that the key is empty, ``renew`` with the condition that the last entry is its own. The
sequence number of the first entry is the epoch: a stream never uses a number twice.

An acknowledgement may be lost. So ``renew`` and ``release``, when they are refused, look the last
entry up: if it is of the same epoch, it is their own, and they try again behind it. If ``acquire``
finds an entry with the id of this very bus object and an epoch that it has not heard of, it adopts
that lease as soon as it has renewed it.
"""

import asyncio
import secrets

import attrs
import msgspec

from topone_nats._api import Stored, WrongSequence
from topone_nats._entries import OPERATION, LeaseEntry, is_deleted, lease_of
from topone_nats._streams import Names, Streams
from topone_relay._bus import Lease
from topone_relay._json import entry_of

__all__ = ["TRIES", "Held", "Leases"]

TRIES = 8
"""The number of times that a write is tried while others write to the same subject."""


@attrs.define
class Held:
    """A lease, as far as this bus object knows it."""

    lease: Lease
    """The lease itself."""
    revision: int | None = None
    """The sequence number of the lease's last entry."""
    last: int | None = None
    """The sequence number of the subject's last message."""
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    """Held by whoever writes the lease's entry."""


class Leases:
    """The leases that one bus object has acquired or is asked about."""

    def __init__(self, streams: Streams, names: Names) -> None:
        self._streams = streams
        self._names = names
        # Tells leases of this very object from those of another with the same holder's name.
        self._id = secrets.token_hex(8)
        self._held: dict[str, Held] = {}

    def held(self, lease: Lease) -> Held:
        """Return what is known of a lease."""
        held = self._held.get(lease.account)
        if held is None or held.lease.epoch < lease.epoch:
            held = self._held[lease.account] = Held(lease)
        elif held.lease.epoch > lease.epoch:
            held = Held(lease)
        return held

    async def acquire(self, account: str, holder: str, ttl: float) -> Lease | None:
        """Return a new lease of an account, or None while another one has not expired."""
        await self._streams.need_leases("acquire", ttl)
        subject = self._names.lease(account)
        entry = msgspec.json.encode(LeaseEntry(holder, self._id))
        last = 0
        for _ in range(TRIES):
            try:
                epoch = await self._streams.put("acquire", subject, entry, last=last)
            except WrongSequence:
                present = await self._streams.last("acquire", self._names.leases, subject)
                if present is None:
                    last = 0
                    continue
                if is_deleted(present.headers):
                    last = present.seq
                    continue
                return await self._adopt(account, present)
            lease = Lease(account, holder, epoch)
            self._held[account] = Held(lease, revision=epoch)
            return lease
        return None

    async def renew(self, call: str, held: Held) -> bool:
        """Return True if the lease now lives for another ``ttl`` seconds, False if it is lost."""
        async with held.lock:
            return await self._renew(call, held)

    async def release(self, lease: Lease) -> None:
        """End a lease."""
        held = self.held(lease)
        subject = self._names.lease(lease.account)
        async with held.lock:
            for _ in range(TRIES):
                if held.revision is None and not await self._find("release", held):
                    break
                try:
                    await self._streams.put(
                        "release", subject, b"", last=held.revision, headers={OPERATION: "DEL"}
                    )
                    break
                except WrongSequence:
                    held.revision = None
        if self._held.get(lease.account) is held:
            del self._held[lease.account]

    async def _adopt(self, account: str, present: Stored) -> Lease | None:
        """Return a lease that this object acquired without hearing of it."""
        entry = entry_of(present.data, LeaseEntry)
        known = self._held.get(account)
        if entry is None or entry.bus != self._id:
            return None
        lease = Lease(account, entry.holder, entry.epoch or present.seq)
        if known is not None and known.lease.epoch == lease.epoch:
            return None
        held = Held(lease, revision=present.seq)
        if not await self._renew("acquire", held):
            return None
        self._held[account] = held
        return lease

    async def _renew(self, call: str, held: Held) -> bool:
        lease = held.lease
        entry = msgspec.json.encode(LeaseEntry(lease.holder, self._id, lease.epoch))
        subject = self._names.lease(lease.account)
        for _ in range(TRIES):
            if held.revision is None and not await self._find(call, held):
                return False
            try:
                held.revision = await self._streams.put(call, subject, entry, last=held.revision)
            except WrongSequence:
                # Lost, or a renewal was stored whose acknowledgement was lost.
                held.revision = None
                continue
            return True
        return False

    async def _find(self, call: str, held: Held) -> bool:
        """Look up the lease's last entry; return False if it is another lease's or gone."""
        subject = self._names.lease(held.lease.account)
        present = await self._streams.last(call, self._names.leases, subject)
        if present is None or is_deleted(present.headers):
            return False
        lease = lease_of(held.lease.account, present.seq, present.data)
        if lease is None or lease.epoch != held.lease.epoch:
            return False
        held.revision = present.seq
        return True
