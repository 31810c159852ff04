"""Variations of a scenario that was drawn: each is the same with something more."""

from random import Random
from typing import Any

from attrs import evolve

from topone_proto.exchange import (
    UNKNOWN_METHOD_FRAME,
    AddCode,
    DropConnections,
    GoSilent,
    NodeClock,
    PingForm,
    StepClock,
    TimeForm,
    WriteTimes,
)
from topone_proto.session.config import DeliveryPolicy
from topone_proto.testing.simulation.client_plan import Pull
from topone_proto.testing.simulation.parts import LONG_FRAME, draw_client, draw_trouble
from topone_proto.testing.simulation.scenario import (
    DEALS,
    MARKET_TOPICS,
    BlockLoop,
    GatewayFault,
    IgnorePings,
    Publish,
    Scenario,
    SlowFrame,
    Trouble,
)
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS

__all__ = [
    "for_each_client",
    "with_hold_ups",
    "with_market",
    "with_odd_clocks",
    "with_slow_application",
]


def with_market(rng: Random, scenario: Scenario) -> Scenario:
    """Return the scenario with one more feed: of a market in which deals are made."""
    calm_at = scenario.calm_at
    topics = rng.sample(MARKET_TOPICS, rng.choice((1, 2, 3, 3)))
    plain = draw_client(rng, "M", calm_at, pings=True)
    # What the exchange is patient with, and how it pings, was drawn for the others.
    config = evolve(
        scenario.clients[0].config,
        capacity=plain.config.capacity,
        delivery=plain.config.delivery,
        max_pending=plain.config.max_pending,
        # A backlog that does not fit is told of as malformed, and by no gap.
        max_frame_size=2**20,
    )
    calls = tuple(
        call if call.verb == "close" else evolve(call, topic=rng.choice(MARKET_TOPICS))
        for call in plain.calls
    )
    client = evolve(
        plain,
        topics=tuple(topics),
        config=config,
        supplies=None,
        calls=calls,
        pulls=tuple(
            Pull(rng.uniform(0.0, calm_at), rng.choice((120.0, 3600.0, 40_000.0)), 60.0 * number)
            for number in range(rng.choice((0, 0, 1, 3)))
        ),
        is_public=True,
    )
    deals = [
        Publish(rng.uniform(0.0, calm_at), DEALS, rng.randrange(2), rng.choice((1, 1, 2, 5)))
        for _ in range(rng.choice((5, 15, 30)))
    ]
    troubles = [draw_trouble(rng, client, calm_at) for _ in range(rng.choice((0, 1, 2, 4)))]
    return evolve(
        scenario,
        gateway=evolve(scenario.gateway, has_first_push=rng.random() < 0.7),
        clients=(*scenario.clients, client),
        traffic=tuple(sorted((*scenario.traffic, *deals), key=lambda publish: publish.at)),
        troubles=tuple(sorted((*scenario.troubles, *troubles), key=lambda trouble: trouble.at)),
    )


def for_each_client(scenario: Scenario, **changes: Any) -> Scenario:
    """Return the scenario with the same change of every client."""
    return evolve(scenario, clients=tuple(evolve(client, **changes) for client in scenario.clients))


def with_slow_application(rng: Random, scenario: Scenario) -> Scenario:
    """Return the scenario with an application that wants the newest state only, and takes events at
    a tenth of the speed at which they come."""
    first, *others = scenario.clients
    pace = rng.choice((0.2, 0.5, 1.0))
    first = evolve(
        first,
        config=evolve(
            first.config, delivery=DeliveryPolicy.CONFLATE, capacity=rng.choice((1, 5, 20))
        ),
        topics=(BALANCE, ORDERS),
        pace=pace,
        stalls=(),
    )
    start = rng.uniform(0.0, max(scenario.calm_at - 12 * pace, 0.0))
    flood = [
        Publish(
            start + number * pace / 10,
            rng.choice((ORDERS, BALANCE)),
            rng.randrange(2),
            closes=rng.random() < 0.02,
        )
        for number in range(120)
    ]
    traffic = sorted((*scenario.traffic, *flood), key=lambda publish: publish.at)
    return evolve(scenario, clients=(first, *others), traffic=tuple(traffic))


def with_hold_ups(rng: Random, scenario: Scenario) -> Scenario:
    """Return the scenario with what looks like a dead peer and is none: a program that is busy with
    something else, a server that only pings, a frame that takes its time."""
    calm_at, clients = scenario.calm_at, scenario.clients
    gateway, troubles = scenario.gateway, list(scenario.troubles)
    patience = min(client.config.pong_timeout for client in clients)
    for _ in range(rng.choice((1, 1, 2, 3))):
        client = rng.choice(clients)
        interval, timeout = client.config.ping_interval, client.config.pong_timeout
        at, share = rng.uniform(0.0, calm_at), rng.random()
        match rng.choice(("block", "block", "deaf", "slow")):
            case "block":
                longest = 1.5 * rng.choice((interval or 20.0, timeout))
                seconds = min(0.05 + longest * share, calm_at - at)
                troubles.append(Trouble(at, client.name, BlockLoop(seconds)))
            case "deaf" if all(other.config.ping_interval is not None for other in clients):
                # It pings often enough to be heard within everybody's timeout.
                gateway = evolve(
                    gateway,
                    ping_form=PingForm.CONTROL,
                    ping_interval=patience * (0.3 + 0.4 * share),
                )
                troubles.append(Trouble(at / 2, client.name, IgnorePings()))
            case "slow" if interval is not None:
                seconds = (interval + timeout) * (0.6 + share)
                at = min(at, max(calm_at - seconds, 0.0))
                troubles.append(Trouble(at, client.name, SlowFrame(seconds, timeout / 5)))
                if rng.random() < 0.7:
                    frame = rng.choice((UNKNOWN_METHOD_FRAME, LONG_FRAME))
                    troubles.append(Trouble(at, client.name, frame))
            case _:
                pass
    return evolve(
        scenario,
        gateway=gateway,
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at)),
    )


def with_odd_clocks(rng: Random, scenario: Scenario) -> Scenario:
    """Return the scenario with an exchange of several nodes: their clocks differ, are set back or
    forward and write their times in other forms; updates carry codes."""
    calm_at = scenario.calm_at
    troubles = list(scenario.troubles)
    # Nodes that differ, or one step of all clocks: a step of which no frame tells, since the next
    # node differs by as much, can be known by nobody outside.
    is_stepped = rng.random() < 0.4
    for number in range(rng.choice((1, 3, 6))):
        at, name = rng.uniform(0.0, calm_at), rng.choice(scenario.clients).name
        lead = rng.choice((-60_000, -5_000, -40, -1, 1, 40, 5_000, 60_000))
        kinds: list[GatewayFault] = [
            WriteTimes(rng.choice(tuple(TimeForm))),
            AddCode(rng.choice((0, "0", 7, None))),
        ]
        if not is_stepped:
            kinds += [NodeClock(lead, rng.choice((1, 3)))] * 2
        elif number == 0:
            kinds += [StepClock(lead)] * 2
        what = rng.choice(kinds)
        troubles.append(Trouble(at, name, what))
        if isinstance(what, NodeClock | StepClock) and rng.random() < 0.7:
            gone: tuple[GatewayFault, ...] = (DropConnections(), GoSilent())
            troubles.append(Trouble(at, name, rng.choice(gone)))
    return evolve(
        scenario,
        # Of today, since the size of a number tells its unit.
        gateway=evolve(scenario.gateway, start_ts=1561948335075),
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at)),
    )
