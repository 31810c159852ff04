"""The bus on Redis or Valkey streams.

**Leases** stand in one hash with the time at which they expire, so that all are read at once. A
script takes one, by the server's clock, and counts up the account's fence: that is the epoch. An
entry that would last longer than a lease does is of a clock that was set back since, and shortened.

**Fencing.** A script stores a message if the fence still is the holder's epoch. So an old holder is
refused from the moment on at which a new one has its lease.

**Repeats.** The same script compares the number with the last one of the epoch.

What the server has acknowledged survives as far as its persistence and its replicas allow: the page
on setting up the bus says what to configure.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Self

from attrs import field, frozen, validators
from redis.asyncio import Redis

from topone_redis import _scripts
from topone_redis._errors import as_bus_errors
from topone_relay._bus import BusRefused, Cluster, Fenced, Lease, Message, Pointer, Received, Take
from topone_relay._names import name_of, token_of
from topone_relay._options import Hidden, check_prefix
from topone_relay._reading import Closing, read_on

__all__ = ["RedisBus", "StreamLimits"]

_BATCH = 64
_LAST_SEQUENCE = (1 << 64) - 1
# Seconds for which the end of an answer is the end of the stream.
_HELD = 1.0


@frozen(kw_only=True)
class StreamLimits:
    """The limits of an account's stream. Every publisher applies its own with each message."""

    max_messages_per_account: int = field(default=10_000, validator=validators.gt(0))
    """The number of messages kept for one account."""
    max_age: float = field(default=24 * 3600.0, validator=validators.gt(0))
    """The age in seconds at which a message is dropped, when the next one is published."""
    exact: bool = True
    """True to keep to the limits exactly; False to let the server drop whole blocks, which costs it
    less and keeps up to a hundred messages more."""


class RedisBus:
    """A ``Bus`` on Redis or Valkey: see ``connect``."""

    def __init__(
        self,
        pools: Hidden,
        *,
        prefix: str,
        limits: StreamLimits,
        timeout: float,
        heartbeat: float,
    ) -> None:
        check_prefix(prefix)
        self._pools = pools
        commands, reading = pools.reveal()
        self._redis: Redis = Redis(connection_pool=commands)
        self._reading: Redis = Redis(connection_pool=reading)
        # In braces, so that a cluster keeps all of them on one server, as scripts need it.
        self._prefix = f"{{{prefix}}}"
        self._limits = limits
        self._timeout = timeout
        self._heartbeat = heartbeat
        # A reader's: for as long as the server may be silent.
        self._patience = 2 * heartbeat + 1
        self._id = secrets.token_hex(8)
        self._epochs: dict[str, int] = {}
        self._ttls: dict[str, int] = {}
        # Of all leases and members; 0 while nobody has said it.
        self._ttl = 0
        self._closing = Closing()
        self._execute: Callable[..., Awaitable[Any]] = self._redis.execute_command  # pyright: ignore[reportUnknownMemberType]  # says not all of its types
        self._command_of_reader: Callable[..., Awaitable[Any]] = self._reading.execute_command  # pyright: ignore[reportUnknownMemberType]  # as above
        self._scripts = {
            name: self._redis.register_script(getattr(_scripts, name)) for name in _scripts.__all__
        }

    async def acquire(self, account: str, holder: str, ttl: float) -> Lease | None:
        """Return a new lease of an account, or None while another one has not expired."""
        known = str(self._epochs.get(account, 0))
        milliseconds = self._ttl = _milliseconds(ttl)
        found = await self._run(
            "acquire",
            "ACQUIRE",
            [self._key("leases"), self._key("head", account)],
            token_of(account),
            milliseconds,
            self._id,
            token_of(holder, "holder"),
            known,
        )
        if found is None:
            return None
        epoch, name = int(found[0]), name_of(found[1].decode())
        self._epochs[account] = epoch
        self._ttls[account] = milliseconds
        return Lease(account, name, epoch)

    async def renew(self, lease: Lease) -> bool:
        """Return True if the lease now lives for another ``ttl`` seconds, False if it is lost."""
        ttl = self._ttls.get(lease.account)
        if ttl is None:
            return False
        keys = [self._key("leases")]
        token = token_of(lease.account)
        return bool(await self._run("renew", "RENEW", keys, token, ttl, lease.epoch))

    async def release(self, lease: Lease) -> None:
        """End a lease."""
        keys = [self._key("leases")]
        await self._run("release", "RELEASE", keys, token_of(lease.account), lease.epoch)
        if self._epochs.get(lease.account) == lease.epoch:
            del self._epochs[lease.account], self._ttls[lease.account]

    async def cluster(self) -> Cluster:
        """Return all leases and members."""
        keys = [self._key("leases"), self._key("members")]
        leases, members = await self._run("cluster", "CLUSTER", keys, self._ttl)
        held: dict[str, Lease] = {}
        for token, entry in _pairs(leases):
            epoch, _, _, holder = entry.split(b" ", 3)
            account = name_of(token.decode())
            held[account] = Lease(account, name_of(holder.decode()), int(epoch))
        alive = {
            name_of(token.decode()): entry.partition(b" ")[2] for token, entry in _pairs(members)
        }
        return Cluster(held, alive)

    async def announce(self, node: str, info: bytes, ttl: float) -> None:
        """Report that a node is alive, for another ``ttl`` seconds."""
        keys = [self._key("members")]
        token = token_of(node, "node")
        self._ttl = _milliseconds(ttl)
        await self._run("announce", "ANNOUNCE", keys, token, self._ttl, info)

    async def leave(self, node: str) -> None:
        """Report that a node is gone."""
        await self._command("leave", "HDEL", self._key("members"), token_of(node, "node"))

    async def publish(self, lease: Lease, number: int, data: bytes) -> str:
        """Publish a message behind all others of the account and return its place."""
        limits = self._limits
        place = await self._run(
            "publish",
            "PUBLISH",
            [self._key("head", lease.account), self._key("messages", lease.account)],
            lease.epoch,
            number,
            data,
            limits.max_messages_per_account,
            _milliseconds(limits.max_age),
            "=" if limits.exact else "~",
        )
        if place is None:
            raise Fenced(lease.account, lease.epoch)
        text: str = place.decode()
        return text

    async def point(self, lease: Lease, number: int, place: str) -> None:
        """Keep the place of the account's latest snapshot."""
        key = self._key("pointer", lease.account)
        if not await self._run("point", "POINT", [key], lease.epoch, number, place):
            raise Fenced(lease.account, lease.epoch)

    async def pointer(self, account: str) -> Pointer | None:
        """Return the place of the account's latest snapshot; None if there never was one."""
        found = await self._command("pointer", "GET", self._key("pointer", account))
        try:
            epoch, number, place = (found or b"").decode().split(" ")
            return Pointer(int(epoch), int(number), place)
        except ValueError:
            return None

    def read(
        self, account: str, start: str | None = None, take: Take | None = None
    ) -> AsyncGenerator[Received]:
        """Yield the messages of an account in order, and go on for ever."""
        key = self._key("messages", account)

        async def source(
            start: str | None, take: Take, *, behind: bool
        ) -> AsyncGenerator[Message | None]:
            last = "0-0" if start is None else start if behind else _before(start)
            clock = asyncio.get_running_loop().time
            offset = await self._server_ahead(clock)
            # Without waiting until everything is read that is there. The first answer shows that
            # the stream can be read.
            block: int | None = None
            is_first = True
            while True:
                self._closing.check("read")
                answer = self._reading.xread({key: last}, _BATCH, block)
                found = await self._answer("read", answer, self._patience)
                read_at = clock()
                if is_first:
                    is_first = False
                    yield None
                entries = _entries(found)
                is_end = len(entries) < _BATCH
                for index, (identity, fields) in enumerate(entries, 1):
                    last = identity.decode()
                    held = clock() - read_at
                    age = _age(last, clock(), offset) if block is None else held
                    is_last = is_end and index == len(entries) and held < _HELD
                    message = Message(_data(fields), last, age, is_last)
                    if not take(message):
                        yield message
                if is_end:
                    block = _milliseconds(self._heartbeat)

        return read_on(source, start, self._closing, take)

    async def _server_ahead(self, clock: Callable[[], float]) -> float | None:
        """Return how far the server's time of day is ahead of a clock, in seconds; None if it does
        not tell."""
        try:
            answer = self._command_of_reader("TIME")
            seconds, micros = await self._answer("read", answer, self._patience)
        except BusRefused:
            # A user that may not ask reads all the same, and does not know how old it is.
            return None
        return int(seconds) + int(micros) / 1e6 - clock()

    async def bookmark(self, account: str, reader: str) -> bytes:
        """Return what was last kept for a durable reader; empty if nothing was."""
        key = self._key("bookmark", account, reader)
        return _bytes(await self._command("bookmark", "GET", key))

    async def keep_bookmark(self, account: str, reader: str, data: bytes) -> None:
        """Keep what a durable reader needs in order to go on after a restart."""
        await self._command("keep_bookmark", "SET", self._key("bookmark", account, reader), data)

    async def load_state(self, account: str) -> bytes:
        """Return the state that the machines share for an account; empty if there is none."""
        return _bytes(await self._command("load_state", "GET", self._key("state", account)))

    async def swap_state(self, account: str, new: bytes, previous: bytes) -> bytes | None:
        """Store a state, if what is stored now is ``previous``. Returns None then, otherwise what
        is stored."""
        key = self._key("state", account)
        present: bytes | None = await self._run("swap_state", "SWAP", [key], new, previous)
        return present

    async def close(self) -> None:
        """Close the connections and end every ``read``."""
        self._closing.set()
        await self._disconnect()

    async def __aenter__(self) -> Self:
        """Return the bus itself."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the bus."""
        await self.close()

    def _key(self, kind: str, *names: str) -> str:
        return ":".join([self._prefix, kind, *map(token_of, names)])

    async def _run(
        self, call: str, script: str, keys: Sequence[str], *arguments: str | int | bytes
    ) -> Any:
        self._closing.check(call)
        answer = self._scripts[script](keys, arguments)
        return await self._answer(call, answer, self._timeout)

    async def _command(self, call: str, *words: str | bytes) -> Any:
        self._closing.check(call)
        return await self._answer(call, self._execute(*words), self._timeout)

    async def _answer(self, call: str, answer: Awaitable[Any], patience: float) -> Any:
        try:
            return await as_bus_errors(call, answer, patience)
        finally:
            if self._closing.is_set():
                # It may have been dialling when the others were closed.
                await self._disconnect()

    async def _disconnect(self) -> None:
        for pool in self._pools.reveal():
            await pool.disconnect(inuse_connections=True)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _bytes(found: bytes | None) -> bytes:
    return b"" if found is None else found


def _pairs(flat: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _entries(found: Any) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
    entries: Sequence[tuple[bytes, dict[bytes, bytes]]] = found[0][1] if found else ()
    return entries


def _data(fields: dict[bytes, bytes]) -> bytes:
    """Return a message as it was published; of somebody else's entry, whatever it holds."""
    data = fields.get(b"data")
    return b" ".join(fields.values()) if data is None else data


def _age(place: str, now: float, ahead: float | None) -> float | None:
    """Return the seconds since a message was stored, by the server's clock."""
    if ahead is None:
        return None
    return max(0.0, now + ahead - int(place.partition("-")[0]) / 1000)


def _before(place: str) -> str:
    """Return the last place before this one, since the server reads behind a place."""
    moment, dash, sequence = place.partition("-")
    if not (moment.isdecimal() and dash and sequence.isdecimal()):
        raise BusRefused(
            "read", f"{place!r} is no place on this bus", "use a place that this bus has given"
        )
    if int(sequence) > 0:
        return f"{moment}-{int(sequence) - 1}"
    return f"{int(moment) - 1}-{_LAST_SEQUENCE}" if int(moment) > 0 else "0-0"
