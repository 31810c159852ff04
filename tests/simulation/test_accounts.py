"""Accounts that heal themselves, in scenarios that are written by hand."""

from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve

from topone_proto import DeliveryPolicy, SessionConfig
from topone_proto.account import AccountConfig
from topone_proto.exchange import (
    BlockTokens,
    DropConnections,
    ExpireTokens,
    GatewayConfig,
    HttpConfig,
    PingForm,
    RejectHttp,
)
from topone_proto.testing.simulation import (
    AccountCall,
    AccountTrouble,
    ClientPlan,
    Entry,
    FullDisk,
    LoseUpdates,
    ProcessPlan,
    Scenario,
    SetClock,
    SharedAccount,
    Stop,
    Trade,
    Trouble,
    draw,
    run,
    whole_bound,
)
from topone_proto.testing.simulation.__main__ import main

pytestmark = pytest.mark.thorough

TOKEN = "asks /u/v1/api/token"
ORDERS = "asks /t/v1/order/query"


def process(name: str = "P", **more: Any) -> ProcessPlan:
    config = SessionConfig(capacity=2, delivery=DeliveryPolicy.BLOCK)
    return ProcessPlan(ClientPlan(name=name, config=config), **more)


def followed(
    *processes: ProcessPlan, network: tuple[Trouble, ...] = (), **of_account: Any
) -> Scenario:
    shared = SharedAccount(
        processes or (process(),),
        trades=tuple(Trade(5.0 * key, "place", key) for key in range(4)),
    )
    return Scenario(
        seed=0,
        calm_at=100.0,
        gateway=GatewayConfig(start_ts=1561948335075, ping_form=PingForm.TEXT),
        clients=(),
        account=evolve(shared, **of_account),
        troubles=network,
    )


def lines(scenario: Scenario, what: str) -> list[Entry]:
    timeline: list[Entry] = []
    run(scenario, timeline)
    return [entry for entry in timeline if entry.what.strip().startswith(what)]


def test_an_account_is_whole_after_one_token_and_one_list() -> None:
    scenario = followed()

    # Each topic once, and no audit before the end: 280 s.
    assert run(scenario).resynced == 2
    assert len(lines(scenario, TOKEN)) == 1
    assert len(lines(scenario, ORDERS)) == 1


def test_processes_on_a_cold_store_ask_for_one_token() -> None:
    scenario = followed(process("P"), process("Q"), process("R"))

    assert len(lines(scenario, TOKEN)) == 1
    assert len(lines(scenario, "-> Connected")) == 3


@pytest.mark.parametrize("when", ["now", "stored", "sent"])
def test_a_process_that_is_killed_starts_again_within_the_budget(when: str) -> None:
    stops = tuple(Stop(float(at), 0.1, when) for at in range(0, 90, 3))
    scenario = followed(process(stops=stops))

    assert run(scenario).restarts > 1
    asked = lines(scenario, TOKEN)
    assert all(later.at - sooner.at > 60 for sooner, later in pairwise(asked))


def test_what_the_stream_leaves_out_is_found_by_the_next_audit() -> None:
    lost = AccountTrouble(9.0, LoseUpdates(2.0, "orders"))
    # The report says what it found.
    found = lines(followed(troubles=(lost,)), "-> OrderChanged")

    assert [entry.at > 250 for entry in found].count(True) >= 2


def test_a_full_disk_is_waited_for() -> None:
    (asked,) = lines(followed(troubles=(AccountTrouble(0.0, FullDisk(50.0)),)), TOKEN)

    assert asked.at > 50.0


@pytest.mark.parametrize("seconds", [-7200.0, 7200.0])
def test_a_clock_that_is_set_spends_nothing(seconds: float) -> None:
    troubles = (AccountTrouble(10.0, SetClock(seconds)), AccountTrouble(20.0, ExpireTokens()))
    network = (Trouble(21.0, "P", DropConnections()),)

    first, *more = lines(followed(network=network, troubles=troubles), TOKEN)
    assert more
    assert all(entry.at - first.at > 60.0 for entry in more)


def test_a_block_ends_within_the_bound() -> None:
    blocks = (
        AccountTrouble(0.0, BlockTokens(360.0)),
        AccountTrouble(50.0, RejectHttp(10027, path="order")),
    )
    config = AccountConfig(token_interval=6.5, token_block=360.0)
    blocked = followed(http=HttpConfig().scaled(0.1), config=config, troubles=blocks)

    assert 360.0 < run(blocked).seconds < whole_bound(blocked, 100.0)


def test_an_application_that_takes_nothing_holds_nothing_up() -> None:
    never, late = process(reads_from=None), process(reads_from=50.0)

    assert lines(followed(never), "stops reading") == []
    assert lines(followed(late), "stops reading") != []


def test_a_refresh_asks_once_more() -> None:
    refreshed = followed(process(calls=(AccountCall(60.0, "refresh"),)))

    assert [entry.at > 60 for entry in lines(refreshed, ORDERS)] == [False, True]


def test_seeds_draw_every_option_of_an_account() -> None:
    accounts = [draw(seed, accounts=1.0).account for seed in range(300)]
    processes = [each for shared in accounts if shared for each in shared.processes]
    assert {len(shared.processes) for shared in accounts if shared} == {1, 2, 3}
    assert {each.has_keys for each in processes} == {True, False}
    assert {stop.when for each in processes for stop in each.stops} == {"now", "stored", "sent"}
    whats = {type(t.what) for shared in accounts if shared for t in shared.troubles}
    assert {FullDisk, LoseUpdates, SetClock, BlockTokens, ExpireTokens} <= whats


def test_a_share_of_seeds_has_an_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert [draw(9, accounts=share).account is None for share in (0.0, 1.0)] == [True, False]
    # Whoever has one with a smaller share has the same with a larger one.
    assert draw(9) == draw(9, accounts=1.0)
    assert main(["--seed", "0", "--accounts", "1"]) == 0
    assert "SharedAccount" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--seed", "0", "--accounts", "2"])
