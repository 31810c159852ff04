"""A bus inside one process, for tests and demonstrations: it ends with the process.

It keeps the promises of a real bus, on the clock of the event loop. What can go wrong with a real
one can be made to happen: a node that is cut off, a bus that is away, a call whose answer is lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Self

from attrs import Factory, define

from topone_relay._bus import (
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

__all__ = ["MemoryBroker", "MemoryBus"]


@define
class _Stream:
    """The messages of one account. The place of each is its index in all that ever came."""

    messages: deque[tuple[int, bytes, float]] = Factory(deque[tuple[int, bytes, float]])
    """Place, bytes, and the time at which they came."""
    next_place: int = 0
    position: tuple[int, int] = (0, 0)
    """Epoch and number of the latest message of a holder."""
    pointer: Pointer | None = None
    lease: tuple[Lease, float] | None = None
    """The lease, and when it expires."""
    epoch: int = 0
    state: bytes = b""
    bookmarks: dict[str, bytes] = Factory(dict[str, bytes])


class MemoryBroker:
    """The server of several ``MemoryBus``.

    Args:
        retention: how many messages of each account it keeps.
        clock: the time in seconds; that of the event loop if None.
    """

    def __init__(
        self, *, retention: int = 10_000, clock: Callable[[], float] | None = None
    ) -> None:
        self.is_away: bool = False
        """True while nobody reaches it."""
        self._retention = retention
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        self._members: dict[str, tuple[bytes, float]] = {}
        self._changed: set[asyncio.Event] = set()

    def connect(self) -> "MemoryBus":
        """Return another connection to it."""
        return MemoryBus(self)

    def inject(self, account: str, data: bytes) -> None:
        """Add bytes that no holder sent to an account's messages."""
        self.append(self.stream(account), data)

    def messages(self, account: str) -> list[bytes]:
        """Return the messages of an account that are kept, the oldest first."""
        return [data for _, data, _ in self.stream(account).messages]

    def notify(self) -> None:
        """Wake whoever reads."""
        for event in self._changed:
            event.set()

    # For its connections.

    def now(self) -> float:
        """Return the time by which leases end, in seconds."""
        if self._clock is not None:
            return self._clock()
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            # Before there is a loop: its clock is this one.
            return time.monotonic()

    def stream(self, account: str) -> _Stream:
        """Return all that is kept of an account."""
        return self._streams.setdefault(account, _Stream())

    def streams(self) -> dict[str, _Stream]:
        """Return the same of every account that was ever named."""
        return self._streams

    def members(self) -> dict[str, tuple[bytes, float]]:
        """Return what each node has announced, and until when that holds."""
        return self._members

    def watch(self, event: asyncio.Event) -> None:
        """Set an event whenever there is something new."""
        self._changed.add(event)

    def unwatch(self, event: asyncio.Event) -> None:
        """Leave an event alone from now on."""
        self._changed.discard(event)

    def lease(self, stream: _Stream) -> Lease | None:
        """Return the lease of an account, if it has not expired."""
        if stream.lease is None or stream.lease[1] <= self.now():
            return None
        return stream.lease[0]

    def append(self, stream: _Stream, data: bytes) -> str:
        """Add a message, and drop the oldest of too many. Return its place."""
        place = stream.next_place
        stream.next_place += 1
        stream.messages.append((place, data, self.now()))
        while len(stream.messages) > self._retention:
            stream.messages.popleft()
        self.notify()
        return str(place)


class MemoryBus:
    """A connection to a ``MemoryBroker``; a ``Bus``.

    Args:
        broker: the other end.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self.is_cut: bool = False
        """True while this connection reaches nobody."""
        self.calls: list[str] = []
        """The names of the calls that were made, the oldest first."""
        self.lost_answers: set[str] = set()
        """The calls whose next answer is lost: they take effect, and say ``BusUnavailable``."""
        self._broker = broker
        self._ttl = 0.0
        self._is_closed = False

    async def acquire(self, account: str, holder: str, ttl: float) -> Lease | None:
        """Return a new lease of an account; see ``Bus``."""
        await self._reach("acquire")
        broker, self._ttl = self._broker, ttl
        stream = broker.stream(account)
        lease = broker.lease(stream)
        if lease is None:
            stream.epoch += 1
            lease = Lease(account, holder, stream.epoch)
            stream.lease = (lease, broker.now() + ttl)
        elif lease.holder != holder:
            return None
        self._answer("acquire")
        return lease

    async def renew(self, lease: Lease) -> bool:
        """Return True if the lease lives on; see ``Bus``."""
        await self._reach("renew")
        stream = self._broker.stream(lease.account)
        if self._broker.lease(stream) != lease:
            return False
        stream.lease = (lease, self._broker.now() + self._ttl)
        self._answer("renew")
        return True

    async def release(self, lease: Lease) -> None:
        """End a lease; see ``Bus``."""
        await self._reach("release")
        stream = self._broker.stream(lease.account)
        if self._broker.lease(stream) == lease:
            stream.lease = None
        self._answer("release")

    async def cluster(self) -> Cluster:
        """Return all leases and members; see ``Bus``."""
        await self._reach("cluster")
        broker = self._broker
        leases = {name: broker.lease(stream) for name, stream in broker.streams().items()}
        now = broker.now()
        return Cluster(
            {name: lease for name, lease in leases.items() if lease is not None},
            {node: info for node, (info, end) in broker.members().items() if end > now},
        )

    async def announce(self, node: str, info: bytes, ttl: float) -> None:
        """Report that a node is alive; see ``Bus``."""
        await self._reach("announce")
        self._broker.members()[node] = (info, self._broker.now() + ttl)

    async def leave(self, node: str) -> None:
        """Report that a node is gone; see ``Bus``."""
        await self._reach("leave")
        self._broker.members().pop(node, None)

    async def publish(self, lease: Lease, number: int, data: bytes) -> str:
        """Publish a message; see ``Bus``."""
        await self._reach("publish")
        stream = self._broker.stream(lease.account)
        position = (lease.epoch, number)
        if position[0] < stream.position[0]:
            raise Fenced(lease.account, lease.epoch)
        if position <= stream.position:
            place = str(stream.next_place - 1)
        else:
            stream.position = position
            place = self._broker.append(stream, data)
        self._answer("publish")
        return place

    async def point(self, lease: Lease, number: int, place: str) -> None:
        """Keep the place of the latest snapshot; see ``Bus``."""
        await self._reach("point")
        stream = self._broker.stream(lease.account)
        if stream.pointer is not None and stream.pointer.epoch > lease.epoch:
            raise Fenced(lease.account, lease.epoch)
        stream.pointer = Pointer(lease.epoch, number, place)

    async def pointer(self, account: str) -> Pointer | None:
        """Return the place of the latest snapshot; see ``Bus``."""
        await self._reach("pointer")
        return self._broker.stream(account).pointer

    async def read(
        self, account: str, start: str | None = None, take: Take | None = None
    ) -> AsyncGenerator[Received]:
        """Yield the messages of an account; see ``Bus``."""
        event = asyncio.Event()
        self._broker.watch(event)
        stream = self._broker.stream(account)
        following = 0 if start is None else int(start)
        is_interrupted = False
        try:
            while not self._is_closed:
                event.clear()
                if self._is_unreachable:
                    if not is_interrupted:
                        is_interrupted = True
                        yield Interrupted("it is away")
                        continue
                elif is_interrupted:
                    is_interrupted = False
                    yield Restored()
                    continue
                else:
                    found = [each for each in stream.messages if each[0] >= following]
                    for place, data, at in found:
                        following = place + 1
                        age = max(0.0, self._broker.now() - at)
                        is_last = following == stream.next_place
                        message = Message(data, str(place), age, is_last)
                        if take is None or not take(message):
                            yield message
                    if found:
                        continue
                await event.wait()
        finally:
            self._broker.unwatch(event)

    async def bookmark(self, account: str, reader: str) -> bytes:
        """Return what was kept for a durable reader; see ``Bus``."""
        await self._reach("bookmark")
        return self._broker.stream(account).bookmarks.get(reader, b"")

    async def keep_bookmark(self, account: str, reader: str, data: bytes) -> None:
        """Keep what a durable reader needs; see ``Bus``."""
        await self._reach("keep_bookmark")
        self._broker.stream(account).bookmarks[reader] = data

    async def load_state(self, account: str) -> bytes:
        """Return the state that the machines share; see ``Bus``."""
        await self._reach("load_state")
        return self._broker.stream(account).state

    async def swap_state(self, account: str, new: bytes, previous: bytes) -> bytes | None:
        """Store a state, if what is stored now is ``previous``; see ``Bus``."""
        await self._reach("swap_state")
        stream = self._broker.stream(account)
        if stream.state != previous:
            return stream.state
        stream.state = new
        self._answer("swap_state")
        return None

    async def close(self) -> None:
        """Close it, and end every ``read``."""
        self._is_closed = True
        self._broker.notify()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def _is_unreachable(self) -> bool:
        return self.is_cut or self._broker.is_away

    async def _reach(self, call: str) -> None:
        """Take a turn of the loop, as a network does; raise if there is nobody."""
        await asyncio.sleep(0)
        self.calls.append(call)
        if self._is_closed:
            raise BusUnavailable(call, "it is closed")
        if self._is_unreachable:
            raise BusUnavailable(call, "it is away")

    def _answer(self, call: str) -> None:
        """Lose the answer of a call that has taken effect, if that is asked for."""
        if call in self.lost_answers:
            self.lost_answers.discard(call)
            raise BusUnavailable(call, "its answer was lost")
