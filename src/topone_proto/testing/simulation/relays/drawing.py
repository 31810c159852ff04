"""Drawing a relay."""

from random import Random

from attrs import evolve

from topone_proto.exchange import GatewayConfig
from topone_proto.relay import RelayConfig
from topone_proto.testing.simulation.relays.plan import (
    BusAway,
    BusFault,
    CutOff,
    FeedLost,
    Garbage,
    Kill,
    LoseAnswers,
    MachineFault,
    MachinePlan,
    Pause,
    ReaderPlan,
    RelayTrouble,
    ReleaseLease,
    SharedRelay,
    SlowBus,
    StopReading,
    Suspend,
    Trim,
)
from topone_proto.testing.simulation.scenario import Scenario

__all__ = ["draw_relay"]


def draw_relay(rng: Random, seed: int) -> Scenario:
    """Return a scenario of nothing but a relay."""
    calm_at = rng.uniform(30.0, 120.0)
    machines = tuple(
        MachinePlan(
            name,
            rng.choice((0.0, 0.0, rng.uniform(0.0, calm_at))),
            rng.choice((0.0, rng.uniform(-0.01, 0.01))),
        )
        for name in "MNO"[: rng.choice((1, 2, 2, 3))]
    )
    readers = tuple(
        ReaderPlan(
            name,
            rng.choice((0.0, rng.uniform(0.0, calm_at))),
            rng.choice((0.05, 0.3, 2.0)),
            rng.choice((1, 10)),
            rng.choice((0.0, 0.3)),
        )
        for name in "XYZ"[: rng.choice((1, 2, 3))]
    )
    troubles = [
        trouble
        for _ in range(rng.choice((0, 1, 2, 3, 5, 8)))
        for trouble in _draw_trouble(rng, len(machines), len(readers), calm_at)
    ]
    return Scenario(
        seed=seed,
        calm_at=calm_at,
        gateway=GatewayConfig(start_ts=0),
        clients=(),
        relay=SharedRelay(
            machines,
            readers,
            _draw_config(rng),
            _draw_changes(rng, calm_at),
            rng.choice((0.001, 0.02, 0.2)),
            tuple(sorted(troubles, key=lambda trouble: trouble.at)),
        ),
    )


def _draw_config(rng: Random) -> RelayConfig:
    config = RelayConfig(
        keep_open=rng.choice((0.0, 5.0, 600.0)),
        snapshot_interval=rng.choice((3.0, 10.0, 60.0)),
        beat_interval=rng.choice((2.0, 10.0)),
    )
    match rng.randrange(4):
        case 0:
            # So small that it is too much at every turn.
            return evolve(config, capacity=rng.choice((3, 8)))
        case 1:
            # So that a snapshot has several parts.
            return evolve(config, max_message_size=rng.choice((700, 2000)))
        case _:
            return config


def _draw_changes(rng: Random, calm_at: float) -> tuple[float, ...]:
    quiet = [rng.uniform(1.0, calm_at) for _ in range(rng.choice((5, 30)))]
    bursts = [rng.uniform(1.0, calm_at) for _ in range(rng.randrange(4))]
    return tuple(sorted([*quiet, *(at + n * 0.001 for at in bursts for n in range(20))]))


def _draw_trouble(
    rng: Random, machines: int, readers: int, calm_at: float
) -> tuple[RelayTrouble, ...]:
    at = rng.uniform(0.5, calm_at)
    machine, reader = rng.randrange(machines), rng.randrange(readers)
    seconds = rng.choice((rng.uniform(0.1, 3.0), rng.uniform(3.0, 25.0)))
    faults: dict[str, BusFault | MachineFault | FeedLost | StopReading] = {
        "away": BusAway(seconds),
        "slow": SlowBus(seconds, rng.choice((0.5, 1.9, 4.0))),
        "lose": LoseAnswers(seconds),
        "trim": Trim(rng.choice((0, 1, 3, 10))),
        "garbage": Garbage(rng.randrange(3)),
        "cut": CutOff(machine, seconds),
        "pause": Pause(machine, seconds),
        "suspend": Suspend(machine, seconds),
        "kill": Kill(machine, seconds),
        "release": ReleaseLease(machine, seconds),
        "feed": FeedLost(seconds),
        "stop": StopReading(reader, seconds),
    }
    what = rng.choice([*faults])
    trouble = RelayTrouble(at, faults[what])
    if what == "trim":
        # While a reader is away, or nobody would notice.
        return RelayTrouble(max(0.0, at - 3.0), StopReading(reader, 6.0)), trouble
    return (trouble,)
