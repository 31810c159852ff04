"""Accounts that are relayed, in scenarios that are written by hand."""

from typing import Any

import pytest
from attrs import evolve

from topone_proto.exchange import GatewayConfig
from topone_proto.relay import RelayConfig
from topone_proto.testing.simulation import (
    BusAway,
    CutOff,
    Entry,
    Garbage,
    Kill,
    LoseAnswers,
    MachinePlan,
    Pause,
    ReaderPlan,
    RelayTrouble,
    ReleaseLease,
    Scenario,
    SharedRelay,
    StopReading,
    Suspend,
    Trim,
    draw,
    run,
    shrink,
)
from topone_proto.testing.simulation.__main__ import main

pytestmark = pytest.mark.thorough

CHANGES = tuple(float(at) for at in range(1, 90, 2))


def relayed(*troubles: RelayTrouble, **of_relay: Any) -> Scenario:
    shared = SharedRelay(
        machines=(MachinePlan("M"), MachinePlan("N", starts=1.0)),
        readers=(ReaderPlan("X"),),
        config=RelayConfig(),
        changes=CHANGES,
        troubles=troubles,
    )
    return Scenario(
        seed=0,
        calm_at=100.0,
        gateway=GatewayConfig(start_ts=0),
        clients=(),
        relay=evolve(shared, **of_relay),
    )


def lines(scenario: Scenario, who: str, what: str) -> list[Entry]:
    timeline: list[Entry] = []
    run(scenario, timeline)
    return [entry for entry in timeline if entry.who == who and what in entry.what]


def test_without_a_fault_one_machine_has_the_account_and_nothing_is_missing() -> None:
    scenario = relayed()
    report = run(scenario)
    assert report.leases == 1
    assert "Gap" not in report.seen
    assert {"Snapshot", "OrderUpdate", "BalanceUpdate"} <= report.seen


@pytest.mark.parametrize(
    ("fault", "within"),
    [
        (Kill(0, 50.0), 12.0),
        (CutOff(0, 50.0), 12.0),
        (Pause(0, 50.0), 12.0),
        (Suspend(0, 50.0), 12.0),
        (ReleaseLease(0, 50.0), 2.0),
    ],
)
def test_the_other_machine_takes_over(fault: Any, within: float) -> None:
    scenario = relayed(RelayTrouble(20.0, fault))
    [at] = [entry.at for entry in lines(scenario, "N", "LeaseAcquired")]
    assert 20.0 < at <= 20.0 + within
    [taken] = lines(scenario, "X", "TakenOver")
    assert taken.at < at + 1.0
    assert lines(scenario, "X", "Gap(topic=orders")


@pytest.mark.parametrize("fault", [Pause(0, 30.0), Suspend(0, 30.0)])
def test_a_machine_that_wakes_up_after_its_lease_finds_that_it_has_ended(fault: Any) -> None:
    scenario = relayed(RelayTrouble(20.0, fault))
    [ended] = [entry for entry in lines(scenario, "M", "LeaseEnded") if entry.at < 100.0]
    assert 50.0 <= ended.at < 55.0
    assert [entry for entry in lines(scenario, "M", "CloseAccount") if entry.at < 55.0]


def test_a_suspended_machine_is_fenced() -> None:
    # Of its own clock it has nearly all of its lease left.
    scenario = relayed(RelayTrouble(20.2, Suspend(0, 30.0)))
    assert lines(scenario, "M", "is fenced")


def test_a_bus_that_is_away_for_ten_minutes_costs_a_gap_and_no_connection() -> None:
    scenario = relayed(
        RelayTrouble(20.0, BusAway(590.0)),
        config=RelayConfig(capacity=8),
        machines=(MachinePlan("M"),),
    )
    scenario = evolve(scenario, calm_at=700.0)
    assert len(lines(scenario, "M", "OpenAccount")) == 1
    assert lines(scenario, "M", "ItemsDropped")
    assert lines(scenario, "X", "Gap")
    assert run(scenario).leases == 2


def test_answers_that_are_lost_repeat_messages_and_lose_nothing() -> None:
    scenario = relayed(RelayTrouble(20.0, LoseAnswers(5.0)), machines=(MachinePlan("M"),))
    assert run(scenario).leases == 1
    assert "Gap" not in run(scenario).seen


def test_a_reader_that_dies_goes_on_where_it_was() -> None:
    scenario = relayed(RelayTrouble(20.0, StopReading(0, 30.0)))
    assert "Gap" not in run(scenario).seen
    gone = relayed(RelayTrouble(20.0, StopReading(0, 30.0)), RelayTrouble(40.0, Trim(1)))
    assert lines(gone, "X", "Gap(topic=balance")


def test_the_garbage_of_others_is_an_anomaly() -> None:
    scenario = relayed(*(RelayTrouble(20.0 + kind, Garbage(kind)) for kind in range(3)))
    assert len(lines(scenario, "X", "BusAnomaly")) == 3
    assert "Gap" not in run(scenario).seen


def test_a_change_may_wait_for_a_snapshot_in_many_messages() -> None:
    # Small messages on a slow bus: with some orders, a snapshot takes longer than the two seconds
    # in which a change comes otherwise.
    small = RelayConfig(snapshot_interval=3.0, max_message_size=512)
    for seed in range(20):
        run(evolve(relayed(latency=0.2, config=small), seed=seed))


def test_a_relay_that_is_drawn_has_every_fault() -> None:
    faults = {
        type(trouble.what)
        for seed in range(100)
        for trouble in (draw(seed, relays=1.0).relay or relayed().relay).troubles  # type: ignore[union-attr]  # each has one
    }
    assert len(faults) == 12
    assert draw(3, relays=0.0).relay is None


def test_a_seed_prints_its_relay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--relays", "1"]) == 0
    shown = capsys.readouterr().out
    assert "SharedRelay(" in shown
    assert "LeaseAcquired" in shown


def test_a_relay_that_breaks_a_rule_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topone_proto.relay.Cursor._close_gap", lambda *_: [])
    scenario = relayed(
        RelayTrouble(10.0, Garbage(1)),
        RelayTrouble(20.0, Kill(0, 50.0)),
        readers=(ReaderPlan("X"), ReaderPlan("Y")),
    )
    smaller = shrink(scenario, "I13").relay
    assert smaller is not None
    assert smaller.troubles == (RelayTrouble(20.0, Kill(0, 50.0)),)
    assert len(smaller.changes) < 5
    assert len(smaller.machines) == len(smaller.readers) == 1
