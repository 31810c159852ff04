"""Drawing a scenario from one integer."""

from random import Random
from typing import Final

from attrs import evolve

from topone_proto.exchange import (
    DelayAck,
    DropConnections,
    GatewayConfig,
    PingForm,
    RefuseHandshake,
)
from topone_proto.failures import FailureKind
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.testing.simulation.accounts.drawing import with_account
from topone_proto.testing.simulation.parts import (
    draw_account,
    draw_client,
    draw_traffic,
    draw_trouble,
)
from topone_proto.testing.simulation.relays.drawing import draw_relay
from topone_proto.testing.simulation.scenario import Publish, Scenario, Trouble, Unreachable
from topone_proto.testing.simulation.variations import (
    for_each_client,
    with_hold_ups,
    with_market,
    with_odd_clocks,
    with_slow_application,
)
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS

__all__ = ["ACCOUNTS", "RELAYS", "draw"]

ACCOUNTS: Final = 0.15
"""The share of scenarios with an account that processes follow by themselves."""

RELAYS: Final = 0.05
"""The share of scenarios of an account that is relayed, and of nothing else."""


def draw(seed: int, *, accounts: float = ACCOUNTS, relays: float = RELAYS) -> Scenario:
    """Return the scenario of a seed.

    Args:
        seed: the seed.
        accounts: the share of scenarios with an account that processes follow by themselves, from 0
            to 1. Those that have one with a smaller share have the same with a larger one.
        relays: the share of scenarios of nothing but an account that is relayed, in the same way.
    """
    relay = Random(f"{seed} relay")
    if relay.random() < relays:
        return draw_relay(relay, seed)
    rng = Random(seed)
    scenario = _draw_stall(rng, seed) if rng.random() < 0.1 else _draw_storm(rng, seed)
    clients = tuple(evolve(client, account=draw_account(rng)) for client in scenario.clients)
    scenario = evolve(scenario, clients=clients)
    if rng.random() < 0.3:
        scenario = with_odd_clocks(rng, scenario)
    if rng.random() < 0.4:
        scenario = with_hold_ups(rng, scenario)
    # Of their own, so that a new option changes nothing for the seeds without it.
    market, options, account = (
        Random(f"{seed} {what}") for what in ("market", "options", "account")
    )
    if account.random() < accounts:
        return with_account(account, scenario)
    if market.random() < 0.2:
        scenario = with_market(market, scenario)
    match options.choices(("none", "compressed", "recorded", "slow"), (88, 5, 5, 2))[0]:
        case "compressed":
            return for_each_client(scenario, is_compressed=True)
        case "recorded":
            return for_each_client(scenario, recorder_fails_after=options.randrange(40))
        case "slow":
            return with_slow_application(options, scenario)
        case _:
            return scenario


def _draw_storm(rng: Random, seed: int) -> Scenario:
    calm_at = rng.uniform(15.0, 90.0)
    pings = rng.random() >= 0.05
    clients = tuple(
        draw_client(rng, name, calm_at, pings=pings)
        for name in "ABC"[: rng.choice((1, 1, 2, 2, 3))]
    )
    # A feed that sends no pings of its own hears of the server by its messages only.
    forms = tuple(PingForm) if pings else (PingForm.TEXT, PingForm.METHOD, PingForm.TIMESTAMP)
    troubles: list[Trouble] = []
    # No fault at all is a scenario, too: whatever happens then is the client's own doing.
    for _ in range(rng.choice((0, 1, 2, 3, 4, 6, 9))):
        trouble = draw_trouble(rng, rng.choice(clients), calm_at)
        troubles.append(trouble)
        if isinstance(trouble.what, (RefuseHandshake, DelayAck)) and rng.random() < 0.5:
            # These wait for an occasion: give them one.
            troubles.append(Trouble(trouble.at, trouble.client, DropConnections()))
    return Scenario(
        seed=seed,
        calm_at=calm_at,
        gateway=GatewayConfig(
            # The server's milliseconds are those of the virtual time: easy to read, and zero is a
            # time, too.
            start_ts=0,
            ok_form=rng.random() < 0.3,
            ping_interval=None if pings and rng.random() < 0.2 else rng.uniform(5.0, 40.0),
            ping_form=rng.choice(forms),
            # The exchange waits nine times as long as a client does by default.
            pong_timeout=max(plan.config.ping_interval or 20.0 for plan in clients)
            * rng.uniform(3.0, 9.0)
            + 2.0,
        ),
        clients=clients,
        traffic=draw_traffic(rng, calm_at),
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at)),
    )


def _draw_stall(rng: Random, seed: int) -> Scenario:
    """Applications that stop taking events for a long time while the exchange goes on, on a network
    that is good."""
    calm_at = rng.uniform(50.0, 90.0)
    clients = tuple(
        evolve(
            draw_client(rng, name, calm_at, pings=True),
            topics=(ORDERS, BALANCE),
            config=SessionConfig(
                ping_interval=rng.uniform(2.0, 5.0),
                pong_timeout=rng.uniform(1.0, 5.0),
                retry_cap=2.0,
                capacity=rng.choice((1, 2, 4, 6)),
                delivery=rng.choice(tuple(DeliveryPolicy)),
            ),
            stalls=((rng.uniform(8.0, 20.0), calm_at),),
            window=16,
        )
        for name in "AB"[: rng.choice((1, 1, 2))]
    )
    traffic = [
        Publish(
            rng.uniform(5.0, calm_at), rng.choice((ORDERS, BALANCE)), rng.randrange(3), 1, closes
        )
        for closes in (True, False) * rng.choice((5, 15))
    ]
    troubles: tuple[Trouble, ...] = ()
    match rng.choice(("none", "none", "any", "away")):
        case "any":
            troubles = (draw_trouble(rng, clients[0], calm_at),)
        case "away":
            # Dials go on while nobody takes anything.
            name, at = clients[0].name, clients[0].stalls[0][0]
            gone = Unreachable(calm_at - at, FailureKind.REFUSED)
            troubles = (Trouble(at, name, gone), Trouble(at, name, DropConnections()))
        case _:
            pass
    return Scenario(
        seed=seed,
        calm_at=calm_at,
        gateway=GatewayConfig(
            start_ts=0,
            ping_interval=rng.uniform(3.0, 6.0),
            ping_form=rng.choice(tuple(PingForm)),
            pong_timeout=rng.uniform(16.0, 25.0),
        ),
        clients=clients,
        traffic=tuple(sorted(traffic, key=lambda publish: publish.at)),
        troubles=troubles,
    )
