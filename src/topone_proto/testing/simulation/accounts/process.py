"""A process that follows an account: it runs, is killed, and starts again."""

from random import Random
from typing import TYPE_CHECKING, Any, Final, Never

from topone_proto.account import (
    AccountAction,
    AccountSession,
    Fetch,
    LoadState,
    RenewToken,
    StoredState,
    StoreState,
)
from topone_proto.feed.account_core import AccountCore
from topone_proto.secrets.token import Token
from topone_proto.session.endpoint import Endpoint
from topone_proto.testing.simulation.accounts.budgets import Asker, Block, Budgets
from topone_proto.testing.simulation.accounts.judge import KEY, AccountJudge
from topone_proto.testing.simulation.accounts.line import Line
from topone_proto.testing.simulation.accounts.place import Machine
from topone_proto.testing.simulation.accounts.plan import (
    AccountCall,
    FullDisk,
    ProcessPlan,
    SharedAccount,
    SlowDisk,
    Stop,
)
from topone_proto.testing.simulation.accounts.truth import Truth
from topone_proto.testing.simulation.adapter import Adapter
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.server import SHARED, Server
from topone_proto.testing.simulation.supplier import Supplier
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.http import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["APP_ID", "Life", "Process"]

APP_ID: Final = "the-id-of-the-app"
"""The application id of every key pair."""
# Seconds that the application takes to supply another token.
_RENEWING: Final = 0.1
_URL: Final = "wss://simulation.invalid/ws/user/"


def _source() -> None: ...


class Life:
    """A process from its start to its end."""

    is_waiting = False
    """False: no call waits."""

    def __init__(self, process: "Process") -> None:
        plan, world, shared = process.plan, process.world, process.shared
        self._process = process
        self._world = world
        self._machine = process.machine
        self._rng = process.rng
        self._asker = Asker(plan.client.name)
        self._moment: str | None = None
        self._is_reading = self._is_taking = False
        self._next_take_at = 0.0
        first = "" if plan.has_keys else process.server.issue(plan.client.name, SHARED)
        self._core: AccountCore[Callable[[], object]] = AccountCore(
            # The callable is never called: what it would do is in the plan.
            source=Credentials(APP_ID, KEY) if plan.has_keys else _source,
            endpoint=Endpoint(_URL),
            topics=plan.client.topics,
            config=plan.client.config,
            account_config=shared.config,
            jitter=self._rng.random,
            wall=process.machine.time_of_day,
            max_closed=plan.client.account.max_closed,
        )
        self.session: AccountSession = self._core.account
        self.judge: AccountJudge = AccountJudge(
            world, plan.client, self.session, process.truth, process.fail
        )
        self.adapter: Adapter = Adapter(
            world,
            plan.client,
            process.server,
            self._rng,
            core=self._core,
            supplier=Supplier(plan.client, process.server, SHARED, first),
            auditor=self.judge,
            application=self,
            note=process.note,
        )
        """The transport."""
        self._line = Line(
            world,
            shared,
            process.server.desk,
            process.budgets,
            self._asker,
            self.adapter,
            self.session,
            self._rng,
            process.note,
        )
        self._line.sent = lambda: self._reached("sent")

    def start(self) -> None:
        """Open the feed."""
        self.adapter.take(self.session.start(self._world.now))
        if self._process.plan.reads_from is not None:
            self.adapter.turns.at(self._process.plan.reads_from, self._begin_reading)

    def _begin_reading(self) -> None:
        self._is_reading = True
        self._core.begin_reading()
        self.judge.deliveries.begin_reading()
        self.adapter.pause_or_resume()
        self.wake()

    def wake(self) -> None:
        """Events were told, and may be taken."""
        self.check()
        if self._is_reading and not self._is_taking:
            self._is_taking = True
            self.adapter.turns.soon(self._consume)

    def _consume(self) -> None:
        """Take what there is, at the plan's pace."""
        self._is_taking = False
        plan, world = self._process.plan.client, self._world
        while self._core.has_events:
            ready_at = self._next_take_at if self._process.is_calm else self._ready_at(plan)
            if ready_at > world.now:
                self._is_taking = True
                self.adapter.turns.at(ready_at, self._consume)
                return
            self.judge.deliveries.taken(self._core.get())
            self._next_take_at = world.now + (0.0 if self._process.is_calm else plan.pace)
            self.adapter.pause_or_resume()

    def _ready_at(self, plan: ClientPlan) -> float:
        ready_at = max(self._next_take_at, self._world.now)
        for start, until in plan.stalls:
            if start <= ready_at < until:
                ready_at = until
        return ready_at

    def check(self) -> None:
        """Check what is said to be whole, if nothing is on its way to it."""
        process, link = self._process, self.adapter.link
        if link is None or not link.is_open or link.is_busy or process.is_stream_lossy:
            return
        if process.server.serves(link):
            self.judge.check()

    @property
    def is_settled(self) -> bool:
        """True if the account is whole on a good connection, or has ended."""
        if self.judge.closed is not None:
            return self.adapter.is_finished
        if self.judge.hopeless is not None:
            return True
        link = self.adapter.link
        return link is not None and self._process.server.serves(link) and self.judge.is_whole

    def fail(self, rule: str, what: str) -> Never:
        """An invariant is broken."""
        self._process.fail(rule, what)

    def check_closed(self) -> None:
        """It was closed, and its time is over."""
        is_finished = self.adapter.is_finished and self.adapter.link is None
        self.judge.must_be_closed(self.adapter.deadline, is_finished=is_finished)
        if self._is_reading and not self._core.has_events:
            self.judge.deliveries.all_is_taken()

    def kill_at(self, moment: str) -> None:
        """Kill the process in the next moment of a kind."""
        self._moment = moment

    def _reached(self, moment: str) -> None:
        if moment == self._moment:
            self._moment = None
            self._world.soon(self._process.kill)

    # --- what the session asks for --------------------------------------------------------------

    def carry_out(self, action: AccountAction) -> None:
        """Carry out what a session alone does not ask for."""
        match action:
            case Fetch():
                self._line.fetch(action)
            case StoreState() | LoadState():
                takes = self._rng.random() * self._process.shared.storing
                takes = max(takes, self._machine.slowness)
                # In a thread: a loop that is busy holds nothing up but what is told of it.
                blocks = tuple(self._asker.told)
                self._world.at(self._world.now + takes, self._store, action, blocks)
            case RenewToken():
                self.adapter.turns.at(self._world.now + _RENEWING, self._renew)
            case _:
                raise AssertionError(action)

    def _store(self, action: StoreState | LoadState, blocks: tuple[Block, ...]) -> None:
        if self.adapter.is_killed:
            return
        found: StoredState | None
        try:
            if isinstance(action, LoadState):
                found = self._machine.load()
            else:
                found = self._machine.save(action.state, action.previous)
        except OSError as error:
            self.adapter.turns.soon(self._not_stored, str(error))
            return
        if found is None:
            self._process.budgets.saved(self._asker, blocks, self._world.now)
            self._reached("stored")
        self.adapter.turns.soon(self._stored, found)

    def _stored(self, found: StoredState | None) -> None:
        now = self._world.now
        if found is None:
            self._take(self.session.state_stored(now))
        else:
            self._take(self.session.state_found(found, now))

    def _not_stored(self, detail: str) -> None:
        self._take(self.session.state_not_stored(detail, self._world.now))

    def _renew(self) -> None:
        token = Token(self.adapter.supplier.issue())
        self._take(self.session.token_renewed(token, self._world.now))

    def _take(self, step: Any) -> None:
        self.adapter.take(step)

    # --- what the application asks for ----------------------------------------------------------

    def call(self, call: AccountCall) -> None:
        """Call what the plan says."""
        now, session = self._world.now, self.session
        self._process.note("calls", call.verb)
        match call.verb:
            case "refresh":
                self._take(session.refresh(now))
            case "order_calls":
                budgets = self._process.budgets
                # It does not ask before, so it leaves room for what is under way. What it says can
                # be known to others only once it is stored.
                if self._process.stores_at_once and budgets.room(now) >= 4 + len(
                    self._process.shared.processes
                ):
                    budgets.used(2, now)
                    self._take(session.order_calls_made(2, now))
            case "give_up":
                for name in session.account.unresolved:
                    # It knows by other ways that the order has ended.
                    if isinstance(name, int) and self._process.truth.is_closed(name):
                        self._take(session.give_up(name, now))
            case _:
                self.close()

    def close(self) -> None:
        """Close it, twice: once more must be harmless."""
        for _ in range(2):
            self.judge.close_called()
            self._take(self.session.close(self._world.now))


class Process:
    """One process, over all of its lives.

    Args:
        world: the time.
        plan: everything that it does.
        shared: its account.
        server: the exchange.
        machine: what it shares with other processes.
        truth: what is true of its account.
        budgets: who counts.
        rng: the source of all of its chance.
    """

    def __init__(
        self,
        world: World,
        plan: ProcessPlan,
        shared: SharedAccount,
        server: Server,
        machine: Machine,
        truth: Truth,
        budgets: Budgets,
        rng: Random,
    ) -> None:
        self.world = world
        self.plan = plan
        self.shared = shared
        self.server = server
        self.machine = machine
        self.truth = truth
        self.budgets = budgets
        self.rng = rng
        self.is_stream_lossy: bool = False
        """True while the stream leaves something out without a sign, and until it is found."""
        self.lives: list[Life] = []
        """All of its lives so far, the last one first."""
        self._away = 0.0
        self._starts_at = plan.client.starts
        self.is_calm: bool = False
        """True once nothing goes wrong any more."""

    @property
    def life(self) -> Life | None:
        """The present life; None while it is not running."""
        if not self.lives or self.lives[0].adapter.is_killed:
            return None
        return self.lives[0]

    @property
    def stores_at_once(self) -> bool:
        """True if nothing keeps it from storing what it is told."""
        plan, troubles = self.plan, self.shared.troubles
        # With slow writes others are first, time after time.
        is_slow = self.shared.storing > self.shared.config.token_interval / 1000
        is_ended = plan.stops or any(call.verb == "close" for call in plan.calls)
        is_kept = any(isinstance(trouble.what, FullDisk | SlowDisk) for trouble in troubles)
        return not (is_slow or is_ended or is_kept)

    @property
    def is_right(self) -> bool:
        """True if it holds what is true, or has ended."""
        life = self.life
        if life is None:
            return False
        if life.judge.closed or life.judge.hopeless:
            return True
        # What is under way to it may make it wrong again.
        link = life.adapter.link
        return life.judge.is_right and link is not None and not link.is_busy

    def plan_ahead(self) -> None:
        """Start, and do everything that the plan says when it is time."""
        self.world.at(self.plan.client.starts, self._start)
        for stop in self.plan.stops:
            self.world.at(stop.at, self._stop, stop)
        for call in self.plan.calls:
            self.world.at(call.at, self._call, call)

    def calm_down(self) -> None:
        """It is not killed any more."""
        self.is_calm = True
        if self.life is not None:
            self.life.kill_at("")

    def kill(self) -> None:
        """Kill it, wherever it is."""
        if self.life is not None and not self.is_calm:
            self.note("is killed")
            self.life.adapter.kill()
            self.world.at(self.world.now + self._away, self._start)

    def fail(self, rule: str, what: str) -> Never:
        """An invariant is broken."""
        raise Violation(rule, self.plan.client.name, what, self.world.now)

    def note(self, what: str, *details: object) -> None:
        """Record a line, if lines are recorded."""
        if self.world.timeline is not None:
            self.world.note(self.plan.client.name, what, *details)

    def _start(self) -> None:
        self.note("starts")
        life = Life(self)
        self.lives.insert(0, life)
        life.start()

    def _stop(self, stop: Stop) -> None:
        life = self.life
        if life is None or self.is_calm:
            return
        self._away = stop.away
        if stop.when == "now":
            self.kill()
        else:
            life.kill_at(stop.when)

    def _call(self, call: AccountCall) -> None:
        life = self.life
        if life is not None and life.judge.closed is None:
            life.adapter.turns.in_turn(life.call, (call,))
