"""A node: one process among several that follow accounts and publish them.

Theory. Every second a node looks at the bus: one request brings all leases and all nodes that are
alive, however many accounts there are. From that ``place`` says which accounts it takes up and
which it gives away; every node decides for itself, and all come to the same result. The lease
decides in the end: of two nodes that want an account at the same moment one gets it.

A node that leaves says so first, so that the others count on it no more, and then releases what it
holds. One that dies is missed when its leases run out.

An account that ends by itself, such as for keys that are refused, is not held here for a while;
another node may have better luck with it.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Self

from topone_proto import ConfigurationError
from topone_proto.relay import RelayConfig
from topone_proto.relay.placing import place
from topone_relay._bus import Bus, BusRefused, BusUnavailable, Cluster
from topone_relay._entry import AccountEntry, check_name
from topone_relay._following import OpenEntry, open_entry
from topone_relay._happenings import BusBack, BusLost, Leaving, MemberJoined, MemberLeft
from topone_relay._keeper import Keeper
from topone_relay._offers import Offers
from topone_relay._pace import Pace
from topone_relay._status import AccountStatus, NodeStatus

__all__ = ["Node"]

_OPENED_PER_SECOND: Final = 10.0

Report = Callable[[str | None, object], object]
"""Is told what happens: to an account, by its name, or to the node, with None."""


class Node:
    """One process of a relay; an async context manager, which hands over at its end.

    ::

        async with topone_nats.connect("nats://localhost") as bus:
            async with Node(bus, entries, name="desk-a"):
                await asyncio.Event().wait()  # until it is cancelled

    Args:
        bus: where the accounts are published. It is not closed here.
        entries: the accounts that this node may hold.
        name: the name of the node, of which there is one on the bus.
        config: every number, the same at all nodes; the defaults if None.
        report: is told what happens, by the name of the account, None for the node itself: a
            ``Happening``, or an event of an account. It must not raise.
        open_entry: opens an account.
        jitter: uniform random numbers in [0, 1).

    Raises:
        ConfigurationError: the name cannot be used, or two entries have the same.
    """

    def __init__(
        self,
        bus: Bus,
        entries: Iterable[AccountEntry],
        *,
        name: str,
        config: RelayConfig | None = None,
        report: Report = lambda _account, _event: None,
        open_entry: OpenEntry = open_entry,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name: str = check_name(name, "name")
        """The name of the node."""
        self._bus = bus
        self._config = config if config is not None else RelayConfig()
        self._report = report
        self._jitter = jitter
        pace = Pace(_OPENED_PER_SECOND)
        self._keepers: dict[str, Keeper] = {}
        for entry in entries:
            if entry.name in self._keepers:
                raise ConfigurationError(
                    setting="entries",
                    problem=f"two are called {entry.name!r}",
                    remedy="give each account a name of its own",
                )
            self._keepers[entry.name] = Keeper(
                entry,
                bus,
                node=name,
                config=self._config,
                open_entry=open_entry,
                pace=pace,
                report=report,
                answered=self._answered,
            )
        self._offers = Offers(self._keepers)
        self._cluster = Cluster({}, {})
        # The number of looks in a row at which an account had no lease.
        self._unheld: Counter[str] = Counter()
        self._is_available = True
        self._is_leaving = False
        # What was announced last, and when.
        self._announced: tuple[bytes, float] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="topone-relay")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Hand all accounts over, and return when that is done or the leases have run out.
        Idempotent."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self._report(None, Leaving(sum(keeper.is_held for keeper in self._keepers.values())))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.ttl):
                    with suppress(BusUnavailable, BusRefused):
                        await self._bus.leave(self.name)
                    for keeper in self._keepers.values():
                        keeper.hand_over()
                    await self._idle()
        finally:
            for keeper in self._keepers.values():
                keeper.abort()
            await self._idle()

    def abort(self) -> None:
        """Stop at once, and hand nothing over: what a killed process does."""
        self._is_leaving = True
        if self._task is not None:
            self._task.cancel()
        for keeper in self._keepers.values():
            keeper.abort()

    def status(self) -> NodeStatus:
        """Return the state of the node at this moment."""
        return NodeStatus(
            node=self.name,
            members=tuple(sorted(self._cluster.members)),
            is_bus_available=self._is_available,
            is_leaving=self._is_leaving,
            accounts=tuple(map(self._status, self._keepers.values())),
        )

    def _status(self, keeper: Keeper) -> AccountStatus:
        name, holder = keeper.entry.name, keeper.holder
        lease = self._cluster.leases.get(name)
        now = asyncio.get_running_loop().time()
        at, is_held = keeper.published_at, keeper.is_held
        return AccountStatus(
            name=name,
            holder=self.name if is_held else None if lease is None else lease.holder,
            epoch=holder.epoch if is_held else None if lease is None else lease.epoch,
            is_held=is_held,
            is_whole=keeper.is_whole,
            is_market=keeper.entry.is_market,
            leases=keeper.leases,
            messages=keeper.messages,
            dropped=holder.dropped,
            waiting=holder.waiting,
            published_age=None if at is None else now - at,
            problem=keeper.problem if is_held or lease is None else "",
            feed=keeper.feed,
        )

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except (BusUnavailable, BusRefused) as error:
                self._answered(str(error))
                wait = self._config.retry_interval
            else:
                self._answered(None)
                wait = self._config.acquire_interval
            # Spread, so that many nodes do not ask at the same moment for ever.
            await asyncio.sleep(wait * (0.75 + self._jitter() / 4))

    async def _look(self) -> None:
        """See who is there, and take up or give away what that asks for."""
        is_first = self._announced is None
        await self._announce()
        before, self._cluster = self._cluster, await self._bus.cluster()
        for member in sorted(self._cluster.members.keys() - before.members.keys()):
            self._report(None, MemberJoined(member))
        for member in sorted(before.members.keys() - self._cluster.members.keys()):
            self._report(None, MemberLeft(member))
        # Others that start at the same moment are there at the second look.
        if not is_first:
            self._place({name: lease.holder for name, lease in self._cluster.leases.items()})

    def _place(self, leases: Mapping[str, str]) -> None:
        """Take up and give away what falls to this node and what does not."""
        for name, keeper in self._keepers.items():
            self._unheld[name] = 0 if name in leases else self._unheld[name] + 1
            if keeper.is_wanted and not keeper.is_held and leases.get(name, self.name) != self.name:
                # Another node was quicker.
                keeper.hand_over()
        wanted = frozenset(name for name, keeper in self._keepers.items() if keeper.is_wanted)
        offers = self._offers.read(self._cluster.members, leases)
        offers[self.name] = frozenset(self._keepers).difference(self._refused())
        placement = place(self.name, offers, leases, wanted, self._unheld)
        for name in placement.take:
            self._keepers[name].take_up()
        for name in placement.give:
            self._keepers[name].hand_over()

    async def _announce(self) -> None:
        """Tell the others that this node is there, if they do not know it or it is time again."""
        now = asyncio.get_running_loop().time()
        info = self._offers.info(self._refused())
        if self._announced is not None:
            before, at = self._announced
            if info == before and now < at + self._config.renew_interval:
                return
        await self._bus.announce(self.name, info, self._config.ttl)
        self._announced = (info, now)

    def _refused(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [name for name, keeper in self._keepers.items() if now < keeper.not_before]

    def _answered(self, problem: str | None) -> None:
        """Take in whether the bus has answered a call; report if that has changed."""
        is_available = problem is None
        if is_available is not self._is_available:
            self._is_available = is_available
            self._report(None, BusBack() if problem is None else BusLost(problem))

    async def _idle(self) -> None:
        await asyncio.gather(*(keeper.idle() for keeper in self._keepers.values()))
