"""Carrying a scenario out, from its storm to its end."""

from random import Random
from typing import Final

from attrs import evolve

from topone_proto import exchange
from topone_proto._values import value
from topone_proto.exchange import (
    App,
    CloseConnections,
    DropConnections,
    GoSilent,
    Publication,
    RefuseHandshake,
    SendRaw,
)
from topone_proto.testing.simulation.accounts.following import Following
from topone_proto.testing.simulation.accounts.judge import KEY
from topone_proto.testing.simulation.accounts.process import APP_ID
from topone_proto.testing.simulation.adapter import Adapter
from topone_proto.testing.simulation.client import Client
from topone_proto.testing.simulation.link import Link
from topone_proto.testing.simulation.relays.relaying import Relaying
from topone_proto.testing.simulation.scenario import (
    DEALS,
    BlackHole,
    BlockLoop,
    ExpireToken,
    IgnorePings,
    Outage,
    Publish,
    Scenario,
    SlowFrame,
    Trouble,
    Unreachable,
)
from topone_proto.testing.simulation.server import SHARED, Server
from topone_proto.testing.simulation.world import Entry, Violation, World
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS

__all__ = ["Report", "recovery_bound", "run"]

# How long a full pipe of the slowest link takes to run empty, with everything behind it, and then
# as many pages as an account may have to read, two of its lists and what they leave open.
_TRAVEL: Final = 900.0


@value
class Report:
    """The report on a run in which every invariant held."""

    seconds: float
    """Virtual time."""
    dials: int
    """Dials of all clients."""
    updates: int
    """Updates that were sent to a client."""
    resynced: int
    """The number of times that an account knew everything about a topic, again or for the first
    time."""
    pulled: int
    """Pulls of candles that ended well."""
    requests: int
    """HTTP requests of the processes that follow an account by themselves."""
    restarts: int
    """The number of times that such a process was killed and started again."""
    leases: int
    """The number of leases that machines of a relay have got."""
    relayed: int
    """The number of events that readers of a relay were told."""
    closed: int
    """Feeds that ended before the end."""
    seen: frozenset[str]
    """The names of what applications were told: classes of events, kinds of failures, HTTP
    statuses."""


def recovery_bound(scenario: Scenario) -> float:
    """Seconds after the end of the faults within which every desired topic must be acknowledged.

    The worst that can be under way then is one thing after the other: a half-open connection that
    has to be noticed, a wait on the server's word, a token callable and a dial that never return,
    and the longest wait twice more.
    """
    worst = 0.0
    pings = scenario.gateway.ping_interval
    # Bytes of a server that pings all the time put off what an acknowledgement is waited for.
    patience = 10 if pings is not None and pings < 1.0 else 1
    processes = () if scenario.account is None else scenario.account.processes
    for plan in (*scenario.clients, *(process.client for process in processes)):
        config = plan.config
        noticed = config.silence_timeout or 0.0
        if config.ping_interval is not None:
            noticed = config.ping_interval + config.pong_timeout
        asked = config.rate_limit_wait
        for trouble in scenario.troubles:
            if isinstance(trouble.what, RefuseHandshake) and isinstance(
                trouble.what.retry_after, int
            ):
                asked = max(asked, min(trouble.what.retry_after, config.retry_after_cap))
        calls = len(plan.supplies or ())
        worst = max(
            worst,
            noticed
            + patience * config.ack_timeout
            + asked
            + (3 + calls) * config.retry_cap
            + (1 + calls) * config.token_timeout
            + config.open_timeout,
        )
    # A frame may have become slow at the last moment, and a deadline been put off.
    slow = sum(t.what.seconds for t in scenario.troubles if isinstance(t.what, SlowFrame))
    return worst + slow + 4.0


class _Run:
    def __init__(self, scenario: Scenario, timeline: list[Entry] | None) -> None:
        self.scenario = scenario
        self.world = World(timeline)
        self.clients: dict[str, Client] = {}
        self.updates = 0
        self.server = Server(
            self.world,
            scenario.gateway,
            published=self._published,
            unanswered=self._unanswered,
            has_market=any(plan.is_public for plan in scenario.clients),
            http=None if scenario.account is None else scenario.account.http,
            apps=(App(APP_ID, KEY, SHARED),),
            seed=scenario.seed,
        )
        for plan in scenario.clients:
            # Of its own, so that leaving out another client changes nothing for this one.
            rng, http = (Random(f"{scenario.seed} {plan.name}{use}") for use in ("", " HTTP"))
            self.clients[plan.name] = Client(self.world, plan, self.server, rng, http)
        self.following: Following | None = None
        if scenario.account is not None:
            self.following = Following(self.world, scenario, self.server)
        self.relaying: Relaying | None = None
        if scenario.relay is not None:
            self.relaying = Relaying(self.world, scenario.relay, scenario.seed)

    def __call__(self) -> Report:
        world, scenario = self.world, self.scenario
        for plan in scenario.clients:
            world.at(plan.starts, self.clients[plan.name].start)
        if self.following is not None:
            self.following.start()
        if self.relaying is not None:
            self.relaying.start()
        for publish in scenario.traffic:
            world.at(publish.at, self._publish, publish)
        for trouble in scenario.troubles:
            world.at(trouble.at, self._strike, trouble)
        world.run(scenario.calm_at)
        self._calm_down()
        closed = sum(client.auditor.is_closed for client in self.clients.values())
        self._close_all()
        clients = self.clients.values()
        lives = () if self.following is None else self.following.lives
        relaying = self.relaying
        adapters = [feed.adapter for feed in clients] + [life.adapter for life in lives]
        return Report(
            seconds=world.now,
            dials=sum(len(adapter.links) for adapter in adapters),
            updates=self.updates,
            resynced=sum(client.accountant.resynced for client in clients)
            + sum(life.judge.resynced for life in lives),
            pulled=sum(client.pulled for client in clients),
            requests=0 if self.following is None else self.following.budgets.requests,
            restarts=0 if self.following is None else self.following.restarts,
            leases=0 if relaying is None else relaying.bus.leases,
            relayed=0 if relaying is None else sum(reader.told for reader in relaying.readers),
            closed=closed,
            seen=frozenset[str]().union(
                *(client.auditor.seen for client in clients),
                *(life.judge.seen for life in lives),
                *(reader.seen for reader in (() if relaying is None else relaying.readers)),
            ),
        )

    def _calm_down(self) -> None:
        world = self.world
        world.note("exchange", "no faults any more")
        self.server.calm_down()
        for client in self.clients.values():
            client.hurry()
        bound = world.now + recovery_bound(self.scenario)
        while waiting := [c for c in self.clients.values() if not c.is_settled]:
            if world.now >= bound:
                waiting[0].auditor.unsettled()
            world.run(min(world.now + 1.0, bound))
        # Once more on every topic, and everything must arrive.
        for topic in (ORDERS, BALANCE, DEALS):
            self.server.publish(Publish(world.now, topic, 0))
        bound = world.now + _TRAVEL
        clients = self.clients.values()
        # A connection that the exchange gave up for what the storm did may end only now.
        while (
            any(client.is_busy or not client.is_settled for client in clients) and world.now < bound
        ):
            world.run(world.now + 1.0)
        for client in self.clients.values():
            client.check_calm()
        if self.following is not None:
            self.following.settle(recovery_bound(self.scenario))
        if self.relaying is not None:
            self.relaying.settle()

    def _close_all(self) -> None:
        world = self.world
        for client in self.clients.values():
            if not client.auditor.is_closed:
                client.close()
        plans = [client.plan for client in self.clients.values()]
        if self.following is not None:
            self.following.close()
            plans += [process.plan.client for process in self.following.processes.values()]
        world.run(world.now + max((plan.config.close_timeout for plan in plans), default=0.0))
        for client in self.clients.values():
            client.check_closed()
        if self.following is not None:
            self.following.check_closed()
        # Whatever else comes of it now comes after Closed.
        world.run(world.now + 1.0)

    def _publish(self, publish: Publish) -> None:
        for client in self.clients.values():
            client.check_account()
        self.server.publish(publish)

    def _published(self, link: Link, publication: Publication, number: int) -> None:
        self.updates += 1
        if link.plan.name in self.clients:
            self.clients[link.plan.name].auditor.published(link, publication, number)

    def _unanswered(self, link: Link) -> None:
        adapter = self._adapter(link.plan.name)
        if adapter is not None:
            adapter.unanswered(link)

    def _adapter(self, name: str) -> Adapter | None:
        """Return the transport of a feed; None while its process is not running."""
        if name in self.clients:
            return self.clients[name].adapter
        assert self.following is not None
        return self.following.adapter(name)

    # --- troubles -------------------------------------------------------------------------------

    def _strike(self, trouble: Trouble) -> None:
        self.world.note("trouble", f"for {trouble.client}:", trouble.what)
        adapter = self._adapter(trouble.client)
        if adapter is not None:
            self._strike_feed(adapter, trouble)

    def _strike_feed(self, adapter: Adapter, trouble: Trouble) -> None:
        link = adapter.link
        match trouble.what:
            case Outage(seconds=seconds):
                adapter.frozen_until = max(adapter.frozen_until, self.world.now + seconds)
                if link is not None:
                    link.freeze()
                    adapter.watch(link)
                self.world.at(adapter.frozen_until, self._thaw, trouble.client, adapter)
            case Unreachable(seconds=seconds, kind=kind):
                adapter.unreachable = (self.world.now + seconds, kind)
            case BlackHole():
                if link is not None:
                    link.black_hole()
                    adapter.watch(link)
            case BlockLoop() | IgnorePings() | SlowFrame() as hold_up:
                self._hold_up(trouble.client, adapter, hold_up)
            case ExpireToken():
                self.server.inject(exchange.ExpireToken(adapter.supplier.token))
            case DropConnections():
                if link is not None and link.peer:
                    self.server.lose(link)
            case CloseConnections() | GoSilent() | SendRaw() as fault:
                if link is not None and link.peer:
                    self.server.inject(evolve(fault, peer=link.peer))
                    adapter.watch(link)
            case fault:
                self.server.inject(fault)

    def _hold_up(
        self, name: str, adapter: Adapter, hold_up: BlockLoop | IgnorePings | SlowFrame
    ) -> None:
        match hold_up:
            case BlockLoop(seconds=seconds):
                self.world.note(name, "does something else")
                adapter.turns.block(seconds)
            case IgnorePings():
                self.server.answers_pings = False
            case SlowFrame(seconds=seconds, every=every):
                if adapter.link is not None:
                    adapter.link.slow = (seconds, every)

    def _thaw(self, name: str, adapter: Adapter) -> None:
        if self.world.now >= adapter.frozen_until:
            self.world.note("trouble", f"over for {name}")
            for link in adapter.links:
                link.thaw()


def run(scenario: Scenario, timeline: list[Entry] | None = None) -> Report:
    """Carry a scenario out.

    Args:
        scenario: what happens.
        timeline: where to record it, for people; slower.

    Raises:
        Violation: an invariant does not hold.
    """
    this = _Run(scenario, timeline)
    try:
        return this()
    except Violation as violation:
        this.world.note(violation.who, f"{violation.rule} is broken:", violation.what)
        raise
    except Exception as error:
        this.world.note("the simulation", "crashes:", repr(error))
        raise Violation("crash", "the simulation", repr(error), this.world.now) from error
