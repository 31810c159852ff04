"""The interface of a bus: leases with a fencing token, fenced publishing, and reading from a place.

A bus is an existing message engine (NATS JetStream, Redis or Valkey streams) that several machines
reach. The relay and its consumers ask for nothing but what stands here, and every bus passes the
same conformance scenarios.

**Leases.** An account has at most one lease at a time. It ends ``ttl`` seconds after it was last
acquired or renewed, by the clock of the bus. Its ``epoch`` is the fencing token: larger than that
of every earlier lease of the account, for ever, also after leases have expired or were released.

**Fencing.** A lease by itself protects nothing: a paused process can wake at any moment and write.
So every write carries the epoch. Once a holder of a later epoch has published its first message,
the bus accepts none of an earlier one, and ``publish`` raises ``Fenced``.

**Messages.** The messages of an account are bytes in one order, the same for every reader. Each has
a *place*, a text that only the bus that gave it can read. The bus keeps a bounded number of them
and drops the oldest in silence; the numbers inside the messages show it. Somebody else who may
write to the account's stream can add bytes that no holder sent: readers get them as they are.

**Away.** No call waits for a bus that is away: each raises ``BusUnavailable`` within a few seconds,
and the connection is made again meanwhile. The exception is ``read``, which goes on by itself and
yields ``Interrupted`` and ``Restored``.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol, Self, TypeAlias

from attrs import field

from topone_proto import TopOneError
from topone_proto._values import value

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
    "Take",
]


class BusUnavailable(TopOneError):
    """The bus did not answer, or not in time. Raised by every call but ``read``.

    The call may have taken effect all the same. Call again later with the same arguments: each
    call is safe to repeat.
    """

    def __init__(self, call: str, detail: str) -> None:
        super().__init__(f"{call}: the bus is not available ({detail}); try again later")
        self.call = call
        """The call that failed, such as ``publish``."""
        self.detail = detail
        """The reason, without addresses or secrets."""


class BusRefused(TopOneError):
    """The bus answered, and trying the same again cannot help: no permission, wrong credentials, no
    stream, or a message that is too large.

    Change what ``remedy`` names, at the bus or in the options of ``connect``.
    """

    def __init__(self, call: str, problem: str, remedy: str) -> None:
        super().__init__(f"{call}: {problem}; {remedy}")
        self.call = call
        """The call that was refused, such as ``publish``."""
        self.problem = problem
        """The reason, without addresses or secrets."""
        self.remedy = remedy
        """The remedy."""


class Fenced(TopOneError):
    """A later holder has taken over the account, and nothing was written.

    Stop following the account: close its connection to the exchange, and stand by for its lease.
    """

    def __init__(self, account: str, epoch: int) -> None:
        super().__init__(
            f"epoch {epoch} of account {account!r} is over, another holder has taken over: stop "
            "following the account and stand by"
        )
        self.account = account
        """The account's name."""
        self.epoch = epoch
        """The epoch that was refused."""


@value
class Lease:
    """The right to follow one account, until it expires."""

    account: str
    """The account's name."""
    holder: str
    """The name of the node that holds it."""
    epoch: int
    """The fencing token: larger than that of every earlier lease of the account."""


@value
class Cluster:
    """The leases and the nodes that are alive, as the bus knew them at one moment."""

    leases: Mapping[str, Lease]
    """The leases that have not expired, by account."""
    members: Mapping[str, bytes]
    """The nodes that were announced and have not expired, each with its ``info``."""


@value
class Pointer:
    """The place of the first message of an account's latest snapshot. Late joiners read from
    there."""

    epoch: int
    """The epoch of the message."""
    number: int
    """The number of the message in its epoch."""
    place: str
    """The place of the message."""


@value
class Message:
    """One message of an account."""

    data: bytes
    """The bytes as they were published."""
    place: str
    """The place of the message, for ``Bus.read``."""
    age: float | None = field(default=0.0, eq=False)
    """The seconds for which it had been on the bus when it was read, by the clock of the bus alone;
    None if that is unknown."""
    is_last: bool = field(default=True, eq=False)
    """True if the bus had no later message when it was read."""


@value
class Interrupted:
    """The bus cannot be read at present, so what is published now is seen later.

    The reader keeps trying. It goes on behind the last message that it gave.
    """

    detail: str
    """The reason, without addresses or secrets."""


@value
class Restored:
    """The bus can be read again. Follows every ``Interrupted`` that has come to its end."""


Received: TypeAlias = Message | Interrupted | Restored
"""The values that ``Bus.read`` yields."""

Take: TypeAlias = Callable[[Message], bool]
"""Takes a message, and returns True, or leaves it; see ``Bus.read``."""


class Bus(Protocol):
    """A connection to a message bus. Get one from ``topone_nats.connect`` or
    ``topone_redis.connect``.

    Making one does no I/O: the first call connects, and so does every call after the connection was
    lost. All calls belong to one event loop of asyncio and may be made at the same time. Every call
    may raise ``BusUnavailable`` and ``BusRefused``; a cancelled call may have taken effect.
    """

    async def acquire(self, account: str, holder: str, ttl: float) -> Lease | None:
        """Return a new lease of an account, or None while another one has not expired.

        A lease that this very bus object acquired without hearing of it (``BusUnavailable``) is
        returned as well.

        Args:
            account: The account's name.
            holder: The name of the node.
            ttl: The life of the lease in seconds. The same at every node and for every account.
        """
        ...

    async def renew(self, lease: Lease) -> bool:
        """Return True if the lease now lives for another ``ttl`` seconds, False if it is lost for
        good: expired, released, or taken over."""
        ...

    async def release(self, lease: Lease) -> None:
        """End a lease, so that another node can acquire the account at once. Nothing happens if it
        is lost already."""
        ...

    async def cluster(self) -> Cluster:
        """Return all leases and members. Costs the same number of requests for one account as for
        thousands."""
        ...

    async def announce(self, node: str, info: bytes, ttl: float) -> None:
        """Report that a node is alive, for another ``ttl`` seconds.

        Args:
            node: The name of the node.
            info: Whatever other nodes may want to know about it. Everybody on the bus can read it.
            ttl: Seconds. The same as for ``acquire``.
        """
        ...

    async def leave(self, node: str) -> None:
        """Report that a node is gone. Nothing happens if it is gone already."""
        ...

    async def publish(self, lease: Lease, number: int, data: bytes) -> str:
        """Publish a message behind all others of the account and return its place.

        Call it for one message of a lease at a time. Repeat it with the same ``number`` and
        ``data`` after ``BusUnavailable``: a message that was stored already is not stored again.

        Args:
            lease: The lease whose epoch the message belongs to.
            number: The number of the message: 1 for the first of an epoch, then one more each.
            data: The message.

        Raises:
            Fenced: a later holder has published.
        """
        ...

    async def point(self, lease: Lease, number: int, place: str) -> None:
        """Keep the place of the account's latest snapshot for late joiners.

        Args:
            lease: The lease under which the snapshot was published.
            number: The number of the first message of the snapshot.
            place: Its place, as ``publish`` returned it.

        Raises:
            Fenced: a later holder has kept one already.
        """
        ...

    async def pointer(self, account: str) -> Pointer | None:
        """Return the place of the account's latest snapshot; None if there never was one. The
        message itself may have been dropped by now."""
        ...

    def read(
        self, account: str, start: str | None = None, take: Take | None = None
    ) -> AsyncGenerator[Received]:
        """Yield the messages of an account in order, and go on for ever.

        The bus is asked for a bounded number of messages at a time, so a slow reader holds a
        bounded number of them. After an interruption the iteration goes on behind the last message
        that it gave, without loss and without repetition, as far as the bus still has them. Each
        message says how long it had been there and whether there was a later one. Close
        it when it is no longer needed: ``async with aclosing(bus.read(...)) as reading:``.

        Args:
            account: The account's name.
            start: The place of the first message to give. If the bus has dropped it, the iteration
                begins with the next one that is there. None: with the oldest that is there.
            take: Is offered a message while the iteration waits for the next one, in the call that
                brings it. One that it takes is not yielded: nobody has to be woken for it. What it
                raises comes out of the iteration.

        Raises:
            BusRefused: it may not be read.
        """
        ...

    async def bookmark(self, account: str, reader: str) -> bytes:
        """Return what was last kept for a durable reader; empty if nothing was.

        Args:
            account: The account's name.
            reader: A name for the reader, such as ``risk-desk``. Two readers of one account that
                must not disturb each other need two names.
        """
        ...

    async def keep_bookmark(self, account: str, reader: str, data: bytes) -> None:
        """Keep what a durable reader needs in order to go on after a restart, such as its place and
        its position."""
        ...

    async def load_state(self, account: str) -> bytes:
        """Return the state that the machines share for an account; empty if there is none."""
        ...

    async def swap_state(self, account: str, new: bytes, previous: bytes) -> bytes | None:
        """Store a state, if what is stored now is ``previous``; empty stands for nothing stored.

        Everybody on the bus can read it: store times and counters, never a token.

        Returns:
            None if it is stored. Otherwise what is stored now, and nothing was written.
        """
        ...

    async def close(self) -> None:
        """Close the connection and end every ``read``. May be called twice."""
        ...

    async def __aenter__(self) -> Self:
        """Return the bus itself."""
        ...

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the bus."""
        ...
