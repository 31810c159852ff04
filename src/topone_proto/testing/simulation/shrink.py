"""Making a scenario that breaks an invariant smaller, as long as it still breaks it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from attrs import evolve

from topone_proto.session.config import SessionConfig
from topone_proto.testing.simulation.accounts.plan import ProcessPlan, SharedAccount
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.runs import run
from topone_proto.testing.simulation.scenario import BlockLoop, Scenario, SlowFrame, Trouble
from topone_proto.testing.simulation.world import Violation

__all__ = ["shrink"]

_MOST_RUNS: Final = 2000
# Seconds that are not made fewer.
_SHORT: Final = 1.0
_T = TypeVar("_T")


def shrink(scenario: Scenario, rule: str) -> Scenario:
    """The smallest scenario found that breaks the same rule, by leaving parts out one after the
    other."""
    runs = 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(scenario):
            runs += 1
            if runs > _MOST_RUNS:
                return scenario
            if _breaks(candidate, rule):
                scenario = candidate
                is_smaller = True
                break
    return scenario


def _breaks(scenario: Scenario, rule: str) -> bool:
    try:
        run(scenario)
    except Violation as violation:
        return violation.rule == rule
    return False


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """The same with one thing less, the largest things first."""
    clients = scenario.clients
    for client in clients if len(clients) > 1 or scenario.account is not None else ():
        yield evolve(
            scenario,
            clients=tuple(other for other in clients if other != client),
            troubles=tuple(t for t in scenario.troubles if t.client != client.name),
        )
    for traffic in _fewer(scenario.traffic):
        yield evolve(scenario, traffic=traffic)
    for troubles in _fewer(scenario.troubles):
        yield evolve(scenario, troubles=troubles)
    for place, client in enumerate(clients):
        for simpler in _simpler(client):
            yield evolve(scenario, clients=(*clients[:place], simpler, *clients[place + 1 :]))
    for place, trouble in enumerate(scenario.troubles):
        for shorter in _shorter(trouble):
            yield evolve(
                scenario,
                troubles=(*scenario.troubles[:place], shorter, *scenario.troubles[place + 1 :]),
            )
    for place, publish in enumerate(scenario.traffic):
        if publish.count > 1:
            fewer = evolve(publish, count=publish.count // 2)
            yield evolve(
                scenario,
                traffic=(*scenario.traffic[:place], fewer, *scenario.traffic[place + 1 :]),
            )
    yield from _smaller_account(scenario)
    yield from _smaller_relay(scenario)
    if scenario.gateway.ping_interval is not None:
        yield evolve(scenario, gateway=evolve(scenario.gateway, ping_interval=None))


def _smaller_account(scenario: Scenario) -> Iterator[Scenario]:
    """The same with less of the account that processes follow."""
    shared = scenario.account
    if shared is None:
        return
    processes = shared.processes
    for process in processes if len(processes) > 1 else ():
        yield evolve(
            scenario,
            account=evolve(shared, processes=tuple(p for p in processes if p != process)),
            troubles=tuple(t for t in scenario.troubles if t.client != process.client.name),
        )
    for troubles in _fewer(shared.troubles):
        yield evolve(scenario, account=evolve(shared, troubles=troubles))
    for trades in _fewer(shared.trades):
        yield evolve(scenario, account=evolve(shared, trades=trades))
    simple = SharedAccount(processes)
    for name in ("spread", "storing", "clock_lead", "latency"):
        if getattr(shared, name) != getattr(simple, name):
            yield evolve(scenario, account=evolve(shared, **{name: getattr(simple, name)}))
    for place, process in enumerate(processes):
        for changes in _fewer_moments(process):
            simpler = evolve(process, **changes)
            rest = (*processes[:place], simpler, *processes[place + 1 :])
            yield evolve(scenario, account=evolve(shared, processes=rest))


def _smaller_relay(scenario: Scenario) -> Iterator[Scenario]:
    """The same with less of the relay. A trouble names whom it hits by a number, so nobody but the
    last is left out."""
    relay = scenario.relay
    if relay is None:
        return
    for troubles in _fewer(relay.troubles):
        yield evolve(scenario, relay=evolve(relay, troubles=troubles))
    for changes in _fewer(relay.changes):
        yield evolve(scenario, relay=evolve(relay, changes=changes))
    numbers = {getattr(trouble.what, "reader", 0) for trouble in relay.troubles}
    if len(relay.readers) > 1 + max(numbers, default=0):
        yield evolve(scenario, relay=evolve(relay, readers=relay.readers[:-1]))
    numbers = {getattr(trouble.what, "machine", 0) for trouble in relay.troubles}
    if len(relay.machines) > 1 + max(numbers, default=0):
        yield evolve(scenario, relay=evolve(relay, machines=relay.machines[:-1]))


def _fewer_moments(process: ProcessPlan) -> Iterator[dict[str, Any]]:
    for stops in _fewer(process.stops):
        yield {"stops": stops}
    for calls in _fewer(process.calls):
        yield {"calls": calls}


def _fewer(parts: Sequence[_T]) -> Iterator[tuple[_T, ...]]:
    """Without a half, without a quarter, … without one."""
    size = len(parts)
    while size:
        size = size // 2 if size > 1 else 0
        step = max(size, 1)
        for start in range(0, len(parts), step):
            yield (*parts[:start], *parts[start + step :])


def _shorter(trouble: Trouble) -> Iterator[Trouble]:
    """Over sooner, but for a remainder."""
    match trouble.what:
        case BlockLoop() | SlowFrame() as what if what.seconds > _SHORT:
            yield evolve(trouble, what=evolve(what, seconds=what.seconds / 2))
        case _:
            pass


def _simpler(plan: ClientPlan) -> Iterator[ClientPlan]:
    for calls in _fewer(plan.calls):
        yield evolve(plan, calls=calls)
    for pulls in _fewer(plan.pulls):
        yield evolve(plan, pulls=pulls)
    plain = ClientPlan(name=plan.name)
    for name in (
        "account",
        "is_compressed",
        "recorder_fails_after",
        "stalls",
        "supplies",
        "pace",
        "readahead",
        "reports_tail",
        "spread",
        "starts",
        "window",
    ):
        if getattr(plan, name) != getattr(plain, name):
            yield evolve(plan, **{name: getattr(plain, name)})
    default = SessionConfig(
        capacity=plan.config.capacity,
        delivery=plan.config.delivery,
        retry_cap=plan.config.retry_cap,
    )
    if plan.config != default:
        yield evolve(plan, config=default)
