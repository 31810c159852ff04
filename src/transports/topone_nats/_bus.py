"""The bus on NATS JetStream.

**Leases** are entries of a bucket. Their epochs are sequence numbers, which only grow: ``Leases``.

**Fencing.** Every message is written with the condition that the last one of the account's subject
is the one that the holder knows of. Whoever is refused or not answered, and whoever writes the
first time, reads the last message. One of a holder of the same or an earlier epoch, as its id
tells, shows that nobody later has written: the condition is safe. After any other message, or if
there is none, since all of a later holder may have been dropped, the holder renews its lease
*behind* the reading. If that is accepted, no later lease was acquired before the reading, so
no message of a later epoch is among those read; otherwise it is fenced. Whatever is written after
the reading makes the condition fail.

**Repeats.** A message carries an id of account, epoch and number. The server recognises it within
its duplicate window; later, or if it looks at the condition first, the last message's id shows that
it was stored.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Self

import msgspec

from topone_nats._api import Api, NoResponders, WrongSequence
from topone_nats._connection import Connection
from topone_nats._entries import (
    OPERATION,
    PointerEntry,
    is_deleted,
    lease_of,
    pointer_of,
)
from topone_nats._leases import TRIES, Held, Leases
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
    Take,
)
from topone_relay._names import name_of
from topone_relay._options import Hidden
from topone_relay._reading import read_on

__all__ = ["NatsBus"]


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
        self._connection = Connection(options, timeout)
        self._api = Api(self._connection)
        self._streams = Streams(self._api, self._names, limits)
        self._heartbeat = heartbeat
        self._leases = Leases(self._streams, self._names)

    async def acquire(self, account: str, holder: str, ttl: float) -> Lease | None:
        """Return a new lease of an account, or None while another one has not expired."""
        return await self._leases.acquire(account, holder, ttl)

    async def renew(self, lease: Lease) -> bool:
        """Return True if the lease now lives for another ``ttl`` seconds, False if it is lost."""
        return await self._leases.renew("renew", self._leases.held(lease))

    async def release(self, lease: Lease) -> None:
        """End a lease."""
        await self._leases.release(lease)

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
        if not self._streams.has_messages:
            await self._streams.need_messages("publish")
        held = self._leases.held(lease)
        subject = self._names.messages(lease.account)
        identity = f"{subject}:{lease.epoch}:{number}"
        stream, headers = self._names.stream, {"Nats-Msg-Id": identity}
        for _ in range(TRIES):
            # Known again once this message is stored, and not if its fate is unknown.
            last, held.last = held.last, None
            if last is None:
                # Later, the number of the last message says which stream is meant.
                headers["Nats-Expected-Stream"] = stream
                last, is_repeat = await self._last(held, subject, identity)
                if is_repeat:
                    held.last = last
                    return str(last)
            try:
                place = await self._api.put(
                    "publish", subject, data, last=last, stream=stream, headers=headers
                )
            except NoResponders:
                raise self._streams.missing("publish", subject) from None
            except WrongSequence:
                continue
            # Of a repeated message it is the place of the first, and others may stand behind it.
            held.last = max(last, place)
            return str(place)
        raise BusUnavailable(
            "publish", "somebody else writes to this account's subject all the time"
        )

    async def point(self, lease: Lease, number: int, place: str) -> None:
        """Keep the place of the account's latest snapshot."""
        await self._streams.need_state("point")
        subject = self._names.kept("pointer", lease.account)
        entry = msgspec.json.encode(PointerEntry(lease.epoch, number, place))
        for _ in range(TRIES):
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

    def read(
        self, account: str, start: str | None = None, take: Take | None = None
    ) -> AsyncGenerator[Received]:
        """Yield the messages of an account in order, and go on for ever."""
        subject = self._names.messages(account)

        async def source(
            start: str | None, take: Take, *, behind: bool
        ) -> AsyncGenerator[Message | None]:
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
                async with aclosing(pull.messages(take)) as messages:
                    async for message in messages:
                        yield message
            finally:
                await pull.close()

        return read_on(source, start, self._connection.closed, take)

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
        for _ in range(TRIES):
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

    # --- Publishing

    async def _last(self, held: Held, subject: str, identity: str) -> tuple[int, bool]:
        """Learn of the subject's last message, and that nobody later has written.

        Returns its place, 0 if there is none, and True if it is the one to publish.

        Raises:
            Fenced: somebody later may have written.
        """
        last = await self._streams.last("publish", self._names.stream, subject)
        writer = "" if last is None else last.headers.get("Nats-Msg-Id", "")
        is_proven = 0 < _epoch_of(writer, subject) <= held.lease.epoch
        if not is_proven and not await self._leases.renew("publish", held):
            raise Fenced(held.lease.account, held.lease.epoch)
        return (0, False) if last is None else (last.seq, writer == identity)


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
