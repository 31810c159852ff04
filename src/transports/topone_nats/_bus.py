"""The bus on NATS JetStream.

**Leases** are entries of a key-value bucket whose entries expire. ``acquire`` writes with the
condition that the key is empty, ``renew`` with the condition that the last entry is its own. The
sequence number of the first entry is the epoch: a stream never uses a number twice.

**Fencing.** Every message is written with the condition that the last one of the account's subject
is the one that the holder knows of. Whoever is refused, and whoever writes the first time, reads
the last message. One of a holder of the same or an earlier epoch, as its id tells, shows that
nobody later has written: the condition is safe. After any other message the holder renews its
lease *behind* the reading. If that is accepted, no later lease was acquired before the reading, so
no message of a later epoch is among those read; otherwise it is fenced. Whatever is written after
the reading makes the condition fail.

**Repeats.** A message carries an id of account, epoch and number. The server recognises it within
its duplicate window; later, or if it looks at the condition first, the last message's id shows that
it was stored.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Self

import attrs
import msgspec

from topone_nats._api import Api, NoResponders, Stored, WrongSequence
from topone_nats._connection import Connection
from topone_nats._entries import (
    OPERATION,
    LeaseEntry,
    PointerEntry,
    is_deleted,
    lease_of,
    pointer_of,
)
from topone_nats._pull import Pull
from topone_nats._streams import Names, StreamLimits, Streams
from topone_relay._bus import (
    BusRefused,
    BusUnavailable,
    Cluster,
    Fenced,
    Lease,
    Message,
    Pointer,
    Received,
)
from topone_relay._json import entry_of
from topone_relay._names import name_of
from topone_relay._options import Hidden
from topone_relay._reading import read_on

__all__ = ["NatsBus"]

_TRIES = 8


@attrs.define
class _Held:
    """A lease, as far as this bus object knows it."""

    lease: Lease
    revision: int | None = None
    """The sequence number of the lease's last entry."""
    last: int | None = None
    """The sequence number of the subject's last message."""
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)


class NatsBus:
    """A ``Bus`` on NATS JetStream: see ``connect``."""

    def __init__(
        self,
        options: Hidden,
        *,
        prefix: str,
        limits: StreamLimits,
        timeout: float,
        heartbeat: float,
    ) -> None:
        self._names = Names(prefix)
        self._connection = Connection(options)
        self._api = Api(self._connection, timeout)
        self._streams = Streams(self._api, self._names, limits)
        self._heartbeat = heartbeat
        # Tells leases of this very object from those of another with the same holder's name.
        self._id = secrets.token_hex(8)
        self._held: dict[str, _Held] = {}

    async def acquire(self, account: str, holder: str, ttl: float) -> Lease | None:
        """Return a new lease of an account, or None while another one has not expired."""
        await self._streams.need_leases("acquire", ttl)
        subject = self._names.lease(account)
        entry = msgspec.json.encode(LeaseEntry(holder, self._id))
        last = 0
        for _ in range(_TRIES):
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
            self._held[account] = _Held(lease, revision=epoch)
            return lease
        return None

    async def renew(self, lease: Lease) -> bool:
        """Return True if the lease now lives for another ``ttl`` seconds, False if it is lost."""
        held = self._of(lease)
        async with held.lock:
            return await self._renew("renew", held)

    async def release(self, lease: Lease) -> None:
        """End a lease."""
        held = self._of(lease)
        subject = self._names.lease(lease.account)
        async with held.lock:
            for _ in range(_TRIES):
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

    async def cluster(self) -> Cluster:
        """Return all leases and members."""
        leases: dict[str, Lease] = {}
        members: dict[str, bytes] = {}
        link = await self._connection.link("cluster")
        pull = Pull(self._api, link, "cluster", self._names.leases, self._heartbeat)
        try:
            try:
                number = await pull.open(
                    self._names.all_leases, {"deliver_policy": "last_per_subject"}
                )
            except BusUnavailable as failure:
                if failure.detail.startswith("there is no stream"):
                    return Cluster({}, {})
                raise
            for message in await pull.take(number) if number else ():
                kind, _, token = message.subject.removeprefix(
                    self._names.all_leases.removesuffix(">")
                ).partition(".")
                if is_deleted(message.headers or {}):
                    continue
                if kind == "member":
                    members[name_of(token)] = message.data
                elif kind == "lease":
                    sequence = int(message.reply.split(".")[-4])
                    lease = lease_of(name_of(token), sequence, message.data)
                    if lease is not None:
                        leases[lease.account] = lease
        finally:
            await pull.close()
        return Cluster(leases, members)

    async def announce(self, node: str, info: bytes, ttl: float) -> None:
        """Report that a node is alive, for another ``ttl`` seconds."""
        await self._streams.need_leases("announce", ttl)
        await self._streams.put("announce", self._names.member(node), info)

    async def leave(self, node: str) -> None:
        """Report that a node is gone."""
        await self._streams.put("leave", self._names.member(node), b"", headers={OPERATION: "DEL"})

    async def publish(self, lease: Lease, number: int, data: bytes) -> str:
        """Publish a message behind all others of the account and return its place."""
        await self._streams.need_messages("publish")
        held = self._of(lease)
        subject = self._names.messages(lease.account)
        identity = f"{subject}:{lease.epoch}:{number}"
        headers = {"Nats-Msg-Id": identity, "Nats-Expected-Stream": self._names.stream}
        for _ in range(_TRIES):
            if held.last is None:
                place = await self._place_of_repeat(held, subject, identity)
                if place is not None:
                    return str(place)
            try:
                place = await self._streams.put(
                    "publish", subject, data, last=held.last, headers=headers
                )
            except WrongSequence:
                held.last = None
                continue
            # Of a repeated message it is the place of the first, and others may stand behind it.
            held.last = max(held.last or 0, place)
            return str(place)
        raise BusUnavailable(
            "publish", "somebody else writes to this account's subject all the time"
        )

    async def point(self, lease: Lease, number: int, place: str) -> None:
        """Keep the place of the account's latest snapshot."""
        await self._streams.need_state("point")
        subject = self._names.kept("pointer", lease.account)
        entry = msgspec.json.encode(PointerEntry(lease.epoch, number, place))
        for _ in range(_TRIES):
            present = await self._streams.last("point", self._names.state, subject)
            pointer = pointer_of(present)
            if pointer is not None and pointer.epoch > lease.epoch:
                raise Fenced(lease.account, lease.epoch)
            if pointer is not None and (pointer.epoch, pointer.number) >= (lease.epoch, number):
                return
            try:
                await self._streams.put("point", subject, entry, last=present.seq if present else 0)
            except WrongSequence:
                continue
            return
        raise BusUnavailable("point", "others write all the time")

    async def pointer(self, account: str) -> Pointer | None:
        """Return the place of the account's latest snapshot; None if there never was one."""
        subject = self._names.kept("pointer", account)
        return pointer_of(await self._streams.glance_at_state("pointer", subject))

    def read(self, account: str, start: str | None = None) -> AsyncGenerator[Received]:
        """Yield the messages of an account in order, and go on for ever."""
        subject = self._names.messages(account)

        async def source(start: str | None, *, behind: bool) -> AsyncGenerator[Message | None]:
            policy: dict[str, Any] = {"deliver_policy": "all"}
            if start is not None:
                policy = {
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": max(1, _sequence(start) + behind),
                }
            link = await self._connection.link("read")
            pull = Pull(self._api, link, "read", self._names.stream, self._heartbeat)
            try:
                await pull.open(subject, policy)
                yield None
                async with aclosing(pull.messages()) as messages:
                    async for message in messages:
                        yield message
            finally:
                await pull.close()

        return read_on(source, start, self._connection.closed)

    async def bookmark(self, account: str, reader: str) -> bytes:
        """Return what was last kept for a durable reader; empty if nothing was."""
        subject = self._names.kept("bookmark", account, reader)
        found = await self._streams.glance_at_state("bookmark", subject)
        return b"" if found is None else found.data

    async def keep_bookmark(self, account: str, reader: str, data: bytes) -> None:
        """Keep what a durable reader needs in order to go on after a restart."""
        subject = self._names.kept("bookmark", account, reader)
        try:
            await self._api.put("keep_bookmark", subject, data)
        except NoResponders:
            await self._streams.need_state("keep_bookmark")
            await self._streams.put("keep_bookmark", subject, data)

    async def load_state(self, account: str) -> bytes:
        """Return the state that the machines share for an account; empty if there is none."""
        subject = self._names.kept("state", account)
        found = await self._streams.last("load_state", self._names.state, subject)
        return b"" if found is None else found.data

    async def swap_state(self, account: str, new: bytes, previous: bytes) -> bytes | None:
        """Store a state, if what is stored now is ``previous``. Returns None then, otherwise what
        is stored."""
        await self._streams.need_state("swap_state")
        subject = self._names.kept("state", account)
        for _ in range(_TRIES):
            found = await self._streams.last("swap_state", self._names.state, subject)
            present = b"" if found is None else found.data
            if present != previous:
                return present
            try:
                await self._streams.put("swap_state", subject, new, last=found.seq if found else 0)
            except WrongSequence:
                continue
            return None
        raise BusUnavailable("swap_state", "others write all the time")

    async def close(self) -> None:
        """Close the connection and end every ``read``."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Return the bus itself."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the bus."""
        await self.close()

    # --- Leases

    def _of(self, lease: Lease) -> _Held:
        held = self._held.get(lease.account)
        if held is None or held.lease.epoch < lease.epoch:
            held = self._held[lease.account] = _Held(lease)
        elif held.lease.epoch > lease.epoch:
            held = _Held(lease)
        return held

    async def _adopt(self, account: str, present: Stored) -> Lease | None:
        """Return a lease that this object acquired without hearing of it."""
        entry = entry_of(present.data, LeaseEntry)
        known = self._held.get(account)
        if entry is None or entry.bus != self._id:
            return None
        lease = Lease(account, entry.holder, entry.epoch or present.seq)
        if known is not None and known.lease.epoch == lease.epoch:
            return None
        held = _Held(lease, revision=present.seq)
        if not await self._renew("acquire", held):
            return None
        self._held[account] = held
        return lease

    async def _renew(self, call: str, held: _Held) -> bool:
        lease = held.lease
        entry = msgspec.json.encode(LeaseEntry(lease.holder, self._id, lease.epoch))
        subject = self._names.lease(lease.account)
        for _ in range(_TRIES):
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

    async def _find(self, call: str, held: _Held) -> bool:
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

    # --- Publishing

    async def _place_of_repeat(self, held: _Held, subject: str, identity: str) -> int | None:
        """Learn of the subject's last message, and that nobody later has written. Returns its place
        if it is the one to publish.

        Raises:
            Fenced: somebody later may have written.
        """
        last = await self._streams.last("publish", self._names.stream, subject)
        writer = None if last is None else last.headers.get("Nats-Msg-Id", "")
        if writer is not None and not 0 < _epoch_of(writer, subject) <= held.lease.epoch:
            async with held.lock:
                if not await self._renew("publish", held):
                    raise Fenced(held.lease.account, held.lease.epoch)
        held.last = 0 if last is None else last.seq
        return last.seq if last is not None and writer == identity else None


def _sequence(place: str) -> int:
    if not place.isdecimal():
        raise BusRefused(
            "read", f"{place!r} is no place on this bus", "use a place that this bus has given"
        )
    return int(place)


def _epoch_of(identity: str, subject: str) -> int:
    """Return the epoch in the id of a holder's message, 0 for somebody else's."""
    account, _, rest = identity.rpartition(":")[0].rpartition(":")
    return int(rest) if account == subject and rest.isdecimal() else 0
