import json
import subprocess
import sys
from typing import Any

import pytest
from attrs import evolve

from simulation.mutants import (
    a_part_of_a_frame_proves_nothing,
    backoff_starts_anew_at_the_handshake,
    bytes_that_are_no_frame_prove_nothing,
    control_frames_prove_nothing,
    gap_is_forgotten,
    lateness_excuses_nothing,
)
from topone_proto import BALANCE, ORDERS, DeliveryPolicy, SessionConfig
from topone_proto.exchange import (
    UNKNOWN_METHOD_FRAME,
    DropConnections,
    GatewayConfig,
    LoseAck,
    PingForm,
    RefuseHandshake,
)
from topone_proto.failures import FailureKind
from topone_proto.testing.simulation import (
    DEALS,
    MARKET_TOPICS,
    SECRET,
    BlackHole,
    BlockLoop,
    Call,
    ClientPlan,
    Entry,
    IgnorePings,
    Publish,
    Pull,
    Scenario,
    SlowFrame,
    Trouble,
    Violation,
    draw,
    recovery_bound,
    run,
    shrink,
)
from topone_proto.testing.simulation.__main__ import main

pytestmark = pytest.mark.thorough

# The first of them are run by the test after this one.
STORMS = 1000
SEEDS = 3000
CHUNK = 500


@pytest.mark.parametrize("first", range(STORMS, SEEDS, CHUNK))
def test_every_invariant_holds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        run(draw(seed))


def test_the_storms_hold_and_reach_everything_that_an_application_can_be_told() -> None:
    seen = frozenset[str]().union(*(run(draw(seed)).seen for seed in range(STORMS)))

    events = """BalanceUpdate Closed Connected DealsUpdate DepthUpdate Disconnected Gap
        KlineUpdate Malformed OrderUpdate
        RequestTimedOut Subscribed SubscriptionRejected UnexpectedResponse Unrecognised
        Unsubscribed"""
    # What accounts that heal themselves are told.
    events += (
        " AggregatedFill BalanceChanged ClockCorrected FetchDelayed FetchFailed KnowledgeChanged"
    )
    events += " OrderChanged OutcomeUnknown Resynced StateNotStored"
    # What a simulated network cannot tell from REFUSED, what takes a second process, and what only
    # readers of a bus are told; every other kind of failure comes up.
    kinds = {str(kind) for kind in FailureKind} - {"network", "forked", "bus"}
    statuses = {"200", "302", "401", "403", "429", "500", "503"}
    assert set(events.split()) | kinds | statuses <= seen


def timeline_of(scenario: Scenario) -> list[Entry]:
    timeline: list[Entry] = []
    run(scenario, timeline)
    return timeline


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_is_one_scenario_and_a_scenario_is_one_run(seed: int) -> None:
    assert draw(seed) == draw(seed)
    assert timeline_of(draw(seed)) == timeline_of(draw(seed))


def test_recording_changes_nothing() -> None:
    for seed in range(50):
        assert run(draw(seed), []) == run(draw(seed))


def quiet(*, troubles: tuple[Trouble, ...] = (), **of_client: Any) -> Scenario:
    plan = evolve(ClientPlan(name="A"), **of_client)
    return Scenario(
        seed=0,
        calm_at=100.0,
        gateway=GatewayConfig(start_ts=0, ping_form=PingForm.TEXT),
        clients=(plan,),
        troubles=troubles,
    )


def lines(scenario: Scenario, start: str) -> list[Entry]:
    return [entry for entry in timeline_of(scenario) if entry.what.startswith(start)]


def test_an_idle_account_is_left_in_peace() -> None:
    scenario = evolve(quiet(), calm_at=3600.0)

    assert run(scenario).dials == 1
    assert lines(scenario, "-> Disconnected") == []


def test_a_half_open_connection_is_noticed_within_the_interval_and_the_timeout() -> None:
    scenario = quiet(troubles=(Trouble(41.0, "A", BlackHole()),))

    (lost,) = lines(scenario, "-> Disconnected")
    assert "pong_timeout" in lost.what
    assert 41.0 < lost.at <= 41.0 + 30.0


def test_a_pong_timeout_longer_than_the_interval_delays_nothing_further() -> None:
    # An update comes between a ping and its pong, and then nothing ever again.
    config = SessionConfig(ping_interval=10.0, pong_timeout=14.0)
    scenario = evolve(
        quiet(config=config, latency=0.2, troubles=(Trouble(10.75, "A", BlackHole()),)),
        traffic=(Publish(10.45, ORDERS, 0),),
    )

    (lost,) = lines(scenario, "-> Disconnected")
    assert lost.at <= 10.75 + 10.0 + 14.0


def blocked(seconds: float = 15.0) -> Scenario:
    # A ping is sent at 20.2 s, its pong would be read at 20.4 s, and its time is over at 30.2 s.
    return quiet(latency=0.1, troubles=(Trouble(20.35, "A", BlockLoop(seconds)),))


def only_pinging() -> Scenario:
    gateway = GatewayConfig(start_ts=0, ping_form=PingForm.CONTROL, ping_interval=7.0)
    return evolve(quiet(troubles=(Trouble(1.0, "A", IgnorePings()),)), gateway=gateway)


def slow() -> Scenario:
    frame = Trouble(15.0, "A", UNKNOWN_METHOD_FRAME)
    return quiet(troubles=(Trouble(15.0, "A", SlowFrame(50.0, 4.0)), frame))


@pytest.mark.parametrize("scenario", [blocked(), only_pinging(), slow()])
def test_a_peer_that_only_seems_dead_is_kept(scenario: Scenario) -> None:
    assert run(scenario).dials == 1


@pytest.mark.parametrize(
    ("scenario", "mutate"),
    [
        (blocked(), lateness_excuses_nothing),
        (only_pinging(), bytes_that_are_no_frame_prove_nothing),
        (only_pinging(), control_frames_prove_nothing),
        (slow(), bytes_that_are_no_frame_prove_nothing),
        (slow(), a_part_of_a_frame_proves_nothing),
    ],
)
def test_a_peer_that_only_seems_dead_must_not_be_given_up(scenario: Scenario, mutate: Any) -> None:
    with mutate(), pytest.raises(Violation, match=r"^alive .* pong timeout"):
        run(scenario)


@pytest.mark.parametrize(
    ("scenario", "bound"),
    # The interval and the timeout after the last byte, or after the program goes on.
    [(blocked(), 35.35 + 30.0), (only_pinging(), 22.0 + 30.0), (slow(), 22.0 + 30.0)],
)
def test_a_peer_that_dies_then_is_given_up_in_time(scenario: Scenario, bound: float) -> None:
    dies = Trouble(22.0, "A", BlackHole())
    (lost,) = lines(evolve(scenario, troubles=(*scenario.troubles, dies)), "-> Disconnected")

    assert "pong_timeout" in lost.what
    assert 22.0 < lost.at <= bound


def test_a_server_that_pings_too_seldom_to_be_heard_may_be_given_up() -> None:
    seldom = evolve(only_pinging(), gateway=GatewayConfig(start_ts=0, ping_interval=90.0))

    assert run(seldom).dials > 1


def test_a_hold_up_is_made_shorter() -> None:
    with lateness_excuses_nothing():
        smaller = shrink(evolve(blocked(60.0), traffic=(Publish(85.0, ORDERS, 0),)), "alive")

    (trouble,) = smaller.troubles
    assert isinstance(trouble.what, BlockLoop)
    assert trouble.what.seconds < 30.0
    assert smaller.traffic == ()


def test_http_429_waits_a_minute() -> None:
    scenario = quiet(
        troubles=(
            Trouble(1.0, "A", RefuseHandshake(429, retry_after=3)),
            Trouble(2.0, "A", DropConnections()),
        ),
    )

    _, refused = lines(scenario, "-> Disconnected")
    (_, _, again) = lines(scenario, "-> Connect(")
    assert again.at - refused.at >= 60.0


def test_recovery_is_bounded_by_the_configuration() -> None:
    default = quiet()
    patient = quiet(config=SessionConfig(retry_cap=300.0))

    assert recovery_bound(default) < 300.0
    assert recovery_bound(patient) > recovery_bound(default)


def test_a_lost_acknowledgement_is_found_out_late_if_the_server_pings_all_the_time() -> None:
    lost = quiet(
        troubles=(
            Trouble(98.0, "A", LoseAck()),
            Trouble(99.0, "A", DropConnections()),
        ),
        config=SessionConfig(pong_timeout=5.0),
    )
    pinging = GatewayConfig(start_ts=0, ping_form=PingForm.CONTROL, ping_interval=0.3)

    # Within the bound, which ``run`` holds it to.
    _, second, third = lines(evolve(lost, gateway=pinging), "-> Connect(")
    assert third.at - second.at > 10 * SessionConfig().ack_timeout
    assert recovery_bound(evolve(lost, gateway=pinging)) > recovery_bound(lost)


def test_what_the_application_calls_for_takes_place() -> None:
    calls = (
        Call(1.0, "subscribe", BALANCE),
        Call(2.0, "unsubscribe", ORDERS),
        Call(3.0, "close"),
    )
    scenario = quiet(topics=(ORDERS,), calls=calls)

    told = [entry.what.split("(")[0] for entry in lines(scenario, "-> ")]
    assert [what for what in told if "Send" not in what] == [
        "-> Connect",
        "-> Connected",
        "-> Subscribed",
        "-> Subscribed",
        "-> Unsubscribed",
        "-> Closed",
        "-> Close",
    ]


def first_violation() -> tuple[Scenario, Violation]:
    for seed in range(1000):
        try:
            run(draw(seed))
        except Violation as violation:
            return draw(seed), violation
    pytest.fail("nothing is broken")


def test_a_failing_scenario_is_made_smaller() -> None:
    with gap_is_forgotten():
        scenario, violation = first_violation()
        smaller = shrink(scenario, violation.rule)
        with pytest.raises(Violation) as caught:
            run(smaller)

    assert caught.value.rule == violation.rule
    assert len(smaller.clients) == 1
    assert len(smaller.troubles) <= 2
    # An update may be what begins the stream that is interrupted.
    assert len(smaller.traffic) <= 1 < len(scenario.traffic)


def test_the_command_prints_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3"]) == 0

    printed = capsys.readouterr().out
    assert "-> Connected(epoch=1)" in printed
    assert printed.endswith("seed 3: every invariant holds\n")


def test_the_command_runs_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0..249", "--jobs", "1", "--json"]) == 0

    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["seeds"] == 250
    assert summary["failures"] == []
    assert summary["dials"] >= 250
    assert "250 of 250 seeds" in printed.err


def test_the_command_says_how_to_replay_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    with backoff_starts_anew_at_the_handshake():
        assert main(["--seeds", "0..19", "--jobs", "1"]) == 1
        printed = capsys.readouterr().out
        command = next(line for line in printed.splitlines() if "replay:" in line)
        seed = command.split()[-1]
        assert main(["--seed", seed]) == 1

    replayed = capsys.readouterr().out
    assert "I3 is broken" in replayed
    assert f"seed {seed}: I3 broken for" in replayed
    assert SECRET not in replayed


@pytest.mark.parametrize("seeds", ["9..3", "x", "1..", ""])
def test_the_command_refuses_what_is_no_range(
    seeds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--seeds", seeds])

    assert "--seeds" in capsys.readouterr().err


def test_it_runs_as_a_module_and_over_several_processes() -> None:
    command = [sys.executable, "-m", "topone_proto.testing.simulation"]
    done = subprocess.run(
        [*command, "--seeds", "0..19", "--jobs", "2", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert json.loads(done.stdout)["seeds"] == 20


def test_a_recorder_that_fails_ends_the_feed_at_once() -> None:
    scenario = quiet(recorder_fails_after=3)

    (failed,) = lines(scenario, "its recorder fails")
    (closed,) = lines(scenario, "-> Closed")
    assert failed.at == closed.at


def test_a_recorder_that_has_room_ends_nothing() -> None:
    assert lines(evolve(quiet(recorder_fails_after=10**6), calm_at=20.0), "its recorder") == []


def test_seeds_draw_every_option_of_a_client() -> None:
    clients = [client for seed in range(200) for client in draw(seed).clients]
    assert any(client.is_compressed for client in clients)
    assert any(client.recorder_fails_after is not None for client in clients)
    slow = [c for c in clients if c.config.delivery is DeliveryPolicy.CONFLATE and c.pace >= 0.2]
    assert any(len(draw(seed).traffic) >= 120 for seed in range(200))
    assert slow


def test_a_pull_of_many_candles_is_asked_in_pieces() -> None:
    scenario = quiet(is_public=True, topics=(), pulls=(Pull(90.0, 40_000.0, 0.0),))
    scenario = evolve(scenario, traffic=(Publish(1.0, DEALS, 0, 3),))

    assert len(lines(scenario, "-> SendText(text={" + '"id":"')) == 3
    assert run(scenario).pulled == 1


def test_a_feed_of_a_market_is_told_of_every_topic() -> None:
    scenario = quiet(is_public=True, topics=MARKET_TOPICS)
    scenario = evolve(scenario, traffic=(Publish(10.0, DEALS, 0),))

    for event in ("Deals", "Depth", "Kline"):
        told = lines(scenario, f"-> {event}Update")
        # The last one is of the time when nothing goes wrong any more.
        assert [entry.at > 10.0 for entry in told][-2:] == [True, True]
