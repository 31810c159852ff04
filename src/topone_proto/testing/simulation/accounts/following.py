"""An account that processes follow, from its first moment to its last."""

from random import Random
from typing import Final, Never

from topone_proto.exchange import (
    DelayHistory,
    ExpireTokens,
    GarbleHttp,
    KillOldTokens,
    LagHttp,
    LoseRow,
    RefuseHandshake,
    RefuseHttp,
    RejectHttp,
)
from topone_proto.testing.simulation.accounts.budgets import Budgets
from topone_proto.testing.simulation.accounts.place import Machine
from topone_proto.testing.simulation.accounts.plan import (
    AccountTrouble,
    FullDisk,
    LoseUpdates,
    SetClock,
    SharedAccount,
    SlowDisk,
    Trade,
)
from topone_proto.testing.simulation.accounts.process import Life, Process
from topone_proto.testing.simulation.accounts.truth import Truth
from topone_proto.testing.simulation.adapter import Adapter
from topone_proto.testing.simulation.scenario import ExpireToken, Scenario
from topone_proto.testing.simulation.server import Server
from topone_proto.testing.simulation.world import Violation, World

__all__ = ["Following", "whole_bound"]

_MINUTE: Final = 65.0
_HOPELESS: Final = 10

# The history is read once more so many times the longest wait after the account is whole.
_LATE: Final = 4


def whole_bound(scenario: Scenario, reconnects: float) -> float:
    """Return the seconds after the end of the faults within which every account must be whole.

    Args:
        scenario: what happens.
        reconnects: the seconds that dialling and subscribing may take.
    """
    shared = scenario.account
    assert shared is not None
    config, http = shared.config, shared.http
    # The waits that have begun before: of questions that fail, or of a block, spread and doubled.
    waits = config.retry_cap * _HOPELESS
    if _may_block(scenario, shared):
        waits += 5 * config.token_block + 2 * config.token_interval
    # Then a token, and every question once more: lists twice, and by name until that is given up.
    pages = 2 + sum(trade.verb.startswith("place") for trade in shared.trades) // http.page_cap
    calls = len(shared.processes) * (4 * pages + config.max_tries * (pages + 2))
    paced = calls / config.order_calls_per_minute * min(_MINUTE, config.token_interval)
    asked = config.max_tries * (config.retry_cap + config.answer_lag + http.history_delay)
    return reconnects + waits + paced + asked + 4 * config.fetch_timeout + config.token_interval


def _may_block(scenario: Scenario, shared: SharedAccount) -> bool:
    """True if a request for a token may have come to nothing, or something been blocked."""
    if shared.http.kills_old_tokens or shared.http.token_life < shared.config.token_hard_age:
        return True
    if shared.clock_lead or any(process.stops for process in shared.processes):
        return True
    return bool(shared.troubles or scenario.troubles)


class Following:
    """Everything around one account.

    Args:
        world: the time.
        scenario: what happens.
        server: the exchange.
    """

    def __init__(self, world: World, scenario: Scenario, server: Server) -> None:
        shared = scenario.account
        assert shared is not None
        self._world = world
        self._scenario = scenario
        self._shared = shared
        self._server = server
        self._machine = Machine(world, shared.clock_lead)
        self._truth = Truth(server.living)
        self.budgets: Budgets = Budgets(shared.http, shared.config, self._fail)
        self._lost = ""
        self._was_lossy = False
        # When the stream last left something out.
        self._lossy_at = 0.0
        self.processes: dict[str, Process] = {
            plan.client.name: Process(
                world,
                plan,
                shared,
                server,
                self._machine,
                self._truth,
                self.budgets,
                Random(f"{scenario.seed} {plan.client.name}"),
            )
            for plan in shared.processes
        }
        """The processes, by name."""

    @property
    def lives(self) -> tuple[Life, ...]:
        """Every life of every process."""
        return tuple(life for process in self.processes.values() for life in process.lives)

    @property
    def restarts(self) -> int:
        """The number of times that a process was started again."""
        return len(self.lives) - len(self.processes)

    def start(self) -> None:
        """Let everything happen when it is time."""
        for process in self.processes.values():
            process.plan_ahead()
        for trade in self._shared.trades:
            self._world.at(trade.at, self._trade, trade)
        for trouble in self._shared.troubles:
            self._world.at(trouble.at, self._strike, trouble)

    def adapter(self, name: str) -> Adapter | None:
        """Return the transport of a process; None while it is not running."""
        life = self.processes[name].life
        return None if life is None else life.adapter

    def settle(self, reconnects: float) -> None:
        """No fault any more: everything must be whole, and right."""
        world = self._world
        self._machine.is_full, self._machine.slowness, self._lost = False, 0.0, ""
        for process in self.processes.values():
            process.calm_down()
        self._wait(whole_bound(self._scenario, reconnects))
        interval = self._shared.config.audit_interval
        if self._was_lossy and interval is not None:
            # What was left out without a sign is found by the next comparison, within the budgets.
            bound = interval + whole_bound(self._scenario, reconnects)
            until = world.now + bound
            while not all(process.is_right for process in self.processes.values()):
                if world.now >= until:
                    break
                world.run(world.now + 1.0)
        for process in self.processes.values():
            process.is_stream_lossy = self._cannot_know(process)
        self._check()
        for key, verb in enumerate(("place", "fill", "cancel")):
            self._trade(Trade(world.now, verb, key))
            world.run(world.now + 5.0)
            self._wait(whole_bound(self._scenario, reconnects))
            self._check()
        self._catch_up(2 * whole_bound(self._scenario, reconnects))

    def _catch_up(self, bound: float) -> None:
        """Every order that was made and closed unseen must be told."""
        world, late = self._world, _LATE * self._shared.config.retry_cap
        until = world.now + bound + late
        lives = [process.life for process in self.processes.values() if process.life is not None]
        for life in lives:
            while not life.judge.is_caught_up:
                if world.now >= until:
                    life.fail("I15", f"not caught up {bound + late:.0f} s after everything")
                world.run(world.now + 1.0)
        if not self._was_lossy and self._history_delay < late:
            for life in lives:
                life.judge.check_fills()

    @property
    def _history_delay(self) -> float:
        """The most by which the history was ever late; infinite if it never has some order."""
        delay = self._shared.http.history_delay + self._shared.http.lag
        for trouble in self._shared.troubles:
            match trouble.what:
                case DelayHistory(seconds=seconds) | LagHttp(seconds=seconds):
                    delay += seconds
                case LoseRow():
                    return float("inf")
                case _:
                    pass
        return delay

    def close(self) -> None:
        """Close every process that has not ended."""
        for process in self.processes.values():
            if process.life is not None and process.life.judge.closed is None:
                process.life.close()

    def check_closed(self) -> None:
        """The time to close is over."""
        for process in self.processes.values():
            life = process.life
            assert life is not None
            life.check_closed()

    def _wait(self, bound: float) -> None:
        world, until = self._world, self._world.now + bound
        while waiting := [p for p in self.processes.values() if not self._is_settled(p)]:
            if world.now >= until:
                waiting[0].fail("I10", f"not whole {bound:.0f} s after the end of the faults")
            world.run(min(world.now + 1.0, until))
        for process in self.processes.values():
            self._must_not_have_ended(process)

    def _is_settled(self, process: Process) -> bool:
        life = process.life
        return life is not None and life.is_settled

    def _must_not_have_ended(self, process: Process) -> None:
        life = process.life
        assert life is not None
        closed, hopeless = life.judge.closed, life.judge.hopeless
        has_ended = hopeless is not None or (closed is not None and closed.failure is not None)
        if has_ended and not self._may_end:
            process.fail("I10", f"it has ended, and nothing was hopeless: {hopeless or closed}")

    @property
    def _may_end(self) -> bool:
        """True if a token may have been refused twice, or the key pair."""
        shared = self._shared
        whats: list[object] = [trouble.what for trouble in self._scenario.troubles]
        whats += [trouble.what for trouble in shared.troubles]
        ends = (RefuseHandshake, ExpireToken, ExpireTokens, KillOldTokens)
        refusals = (RejectHttp, RefuseHttp, GarbleHttp)
        is_short = shared.http.token_life < 2 * shared.config.token_hard_age
        return (
            is_short
            or shared.http.kills_old_tokens
            or any(isinstance(what, ends) for what in whats)
            or any(isinstance(what, refusals) and what.path in "/u/v1/api/token" for what in whats)
            or any(not plan.has_keys for plan in shared.processes)
            or any(plan.client.config.max_attempts is not None for plan in shared.processes)
        )

    def _cannot_know(self, process: Process) -> bool:
        """True if a process lacks what the stream left out, as it may: without a token there is no
        audit, and what was left out before is missing until one has ended. What an audit has shown
        is no excuse, whether or not it could be confirmed."""
        life = process.life
        if not process.is_stream_lossy or life is None or life.judge.hopeless is None:
            return False
        return life.judge.audited_at <= self._lossy_at + self._shared.config.answer_lag

    def _check(self) -> None:
        for process in self.processes.values():
            if process.life is not None:
                process.life.check()

    # --- what happens ---------------------------------------------------------------------------

    def _trade(self, trade: Trade) -> None:
        self._check()
        for change in self._truth.trade(trade, self._world.now):
            if self._lost and self._lost == type(change).__name__:
                self._was_lossy, self._lossy_at = True, self._world.now
                for process in self.processes.values():
                    process.is_stream_lossy = True
            else:
                self._server.publish_shared(change)

    def _strike(self, trouble: AccountTrouble) -> None:
        world, machine = self._world, self._machine
        world.note("trouble", "for the account:", trouble.what)
        match trouble.what:
            case FullDisk(seconds=seconds):
                machine.is_full = True
                world.at(world.now + seconds, self._empty_disk)
            case SlowDisk(seconds=seconds, takes=takes):
                machine.slowness = takes
                world.at(world.now + seconds, self._speed_disk_up)
            case SetClock(seconds=seconds):
                machine.clock_lead += seconds
            case LoseUpdates(seconds=seconds, topic=topic):
                self._lost = "Order" if topic == "orders" else "Balance"
                world.at(world.now + seconds, self._lose_nothing)
            case fault:
                self._server.desk.inject(fault, world.now)

    def _empty_disk(self) -> None:
        self._machine.is_full = False

    def _speed_disk_up(self) -> None:
        self._machine.slowness = 0.0

    def _lose_nothing(self) -> None:
        self._lost = ""

    def _fail(self, who: str, rule: str, what: str) -> Never:
        raise Violation(rule, who, what, self._world.now)
