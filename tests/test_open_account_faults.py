"""An account through the public door of each adapter, while everything around it fails.

At each rest the account is compared with the exchange's own books, and in the end the exchange says
whether a budget was ever exceeded; see ``account_plays``.

The times are scaled: a fault lasts for as many tries as ten minutes of it have with the defaults.
"""

import time

import pytest
from attrs import evolve

from account_plays import CONFIG, MINUTE, ORDER_LIST, SERVER, TOKEN, Play, playing
from test_open_account import DOORS, FAST, Door
from topone_proto.exchange import (
    BlockOrders,
    BlockTokens,
    CutHttp,
    DelayHistory,
    DropConnections,
    ExpireTokens,
    GarbleHttp,
    GatewayConfig,
    HangHttp,
    HttpFault,
    LagHttp,
    LoseRow,
    RefuseHandshake,
    RefuseHttp,
    RejectHttp,
    ResetHttp,
    ShiftPages,
)

pytestmark = pytest.mark.thorough


# trio has the same HTTP client over either WebSocket library.
@pytest.fixture(params=["asyncio", "threads", "trio"])
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.mark.parametrize("name", sorted(DOORS))
def test_thirty_lost_connections(name: str) -> None:
    with playing(DOORS[name], config=evolve(FAST, retry_cap=0.02)) as play:
        play.rest()
        for number in range(30):
            play.trade(4)
            play.drop()
            if number % 3 == 0:
                play.rest()
        play.rest()
        assert play.calls(TOKEN) == 1
        assert play.told.epochs > 5


EVERYWHERE: dict[str, tuple[HttpFault, int]] = {
    "503": (RefuseHttp(503, times=None), 15),
    "429 with Retry-After": (RefuseHttp(429, retry_after=1, times=None), 3),
    "hang": (HangHttp(times=None), 6),
    "reset": (ResetHttp(times=None), 15),
    "cut body": (CutHttp(times=None), 15),
    "no JSON": (GarbleHttp(times=None), 15),
    "10003": (RejectHttp(10003, times=None, path="/t/v1/"), 4),
    "10027": (RejectHttp(10027, times=None, path="/t/v1/order"), 2),
}
"""Faults that hit everything that is asked, and for how many tries."""


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_fault_over_http_for_ten_minutes(door: Door, name: str) -> None:
    fault, tries = EVERYWHERE[name]
    config = evolve(CONFIG, fetch_timeout=0.1) if name == "hang" else CONFIG
    with playing(door, account_config=config) as play:
        play.rest()
        play.simulator.inject(fault)
        for part in range(1, 4):
            play.trade()
            play.drop()
            play.until(lambda: play.struck() * 3 >= tries * part, "it asks")  # noqa: B023 - at once
            assert not play.told.is_whole
        play.simulator.clear_faults()
        play.rest()
        if name != "hang":
            # The same connection, whatever HTTP did.
            assert play.told.epochs == 4
        assert play.told.failures


TOKENS: dict[str, HttpFault] = {
    "503": RefuseHttp(503, times=2, path="token"),
    "reset": ResetHttp(times=2, path="token"),
    "hang": HangHttp(times=2, path="token"),
    "cut body": CutHttp(times=2, path="token"),
    "no JSON": GarbleHttp(times=2, path="token"),
    "429": RefuseHttp(429, retry_after=1, path="token"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_service_that_fails_at_the_start(door: Door, name: str) -> None:
    config = evolve(CONFIG, fetch_timeout=0.1) if name == "hang" else CONFIG
    with playing(
        door, account_config=config, before=lambda play: play.simulator.inject(TOKENS[name])
    ):
        pass


def test_a_token_service_that_is_blocked(door: Door) -> None:
    def block(play: Play) -> None:
        play.simulator.inject(BlockTokens(2 * MINUTE))

    # The first request finds it out, and there is no other until the block is over. On a machine
    # that starts a program more slowly than that there is nothing to find out.
    with playing(door, before=block, overruns=None) as play:
        play.rest()
        assert play.simulator.overruns <= 1


def test_order_calls_that_are_blocked(door: Door) -> None:
    # Each block is met once. On a machine that is slow it may be over before.
    with playing(door, overruns=None) as play:
        for _ in range(3):
            play.rest()
            play.simulator.inject(BlockOrders(2 * MINUTE))
            calls = play.calls(ORDER_LIST)
            play.drop()
            play.until(lambda: play.calls(ORDER_LIST) > calls, "it asks")  # noqa: B023 - at once
            play.drop()
        play.rest()
        assert play.simulator.overruns <= 3


def test_order_calls_are_never_too_many(door: Door) -> None:
    config = evolve(CONFIG, order_calls_per_minute=3, token_interval=8 * MINUTE)
    server = evolve(SERVER, order_calls=3, order_period=3 * MINUTE)
    with playing(door, account_config=config, server=server) as play:
        for _ in range(3):
            play.rest()
            play.drop()


def test_tokens_that_end(door: Door) -> None:
    with playing(door) as play:
        for _ in range(2):
            play.rest()
            play.simulator.inject(ExpireTokens())
            play.drop()
        play.rest()
        assert play.calls(TOKEN) == 3


def test_a_token_that_is_refused_in_a_handshake_and_over_http(door: Door) -> None:
    with playing(door) as play:
        play.rest()
        play.simulator.inject(RefuseHandshake(401))
        play.drop()
        play.rest()
        assert play.calls(TOKEN) == 2
        play.simulator.inject(RejectHttp(10003, path="/t/v1/"))
        play.drop()
        play.rest()
        assert play.calls(TOKEN) == 3


def test_a_new_token_that_ends_the_old_one(door: Door) -> None:
    """Each new one is fetched while the old one still serves."""
    config = evolve(CONFIG, token_soft_age=5 * MINUTE, token_hard_age=60.0)
    with playing(door, account_config=config, server=evolve(SERVER, kills_old_tokens=True)) as play:
        play.rest()
        for number in range(2, 5):
            play.until(lambda: play.calls(TOKEN) >= number, "it fetches another")  # noqa: B023 - at once
            play.drop()
            play.rest()


def test_answers_that_lag(door: Door) -> None:
    config = evolve(CONFIG, answer_lag=2 * MINUTE)
    with playing(door, account_config=config) as play:
        play.rest()
        play.simulator.inject(LagHttp(MINUTE, times=None))
        for _ in range(3):
            play.trade()
            play.drop()
            play.trade(4)
            play.rest()
        play.simulator.clear_faults()


@pytest.mark.parametrize("rows", [1, -1, 3])
def test_pages_that_shift(door: Door, rows: int) -> None:
    server = evolve(SERVER, page_cap=5, order_calls=30)
    config = evolve(CONFIG, order_calls_per_minute=30)
    with playing(door, account_config=config, server=server) as play:
        play.trade(30)
        play.rest()
        for _ in range(2):
            play.simulator.inject(ShiftPages(rows, times=4))
            play.trade(4)
            play.drop()
            play.rest()


def test_a_history_that_is_late(door: Door) -> None:
    config = evolve(CONFIG, max_tries=100)
    with playing(door, account_config=config) as play:
        play.rest()
        for _ in range(2):
            play.simulator.inject(DelayHistory(3 * MINUTE, times=None))
            play.trade(4)
            play.drop()
            play.rest()


def test_a_history_that_is_later_than_an_order_is_asked_for(door: Door) -> None:
    """Nothing is invented meanwhile, and the next answer that has the order says how it ended."""
    late = DelayHistory(60.0, times=None)
    with playing(door) as play:
        play.trade(30)
        play.rest()
        for _ in range(2):
            ended = close_unseen(play, late)
            play.lost.add(ended)
            play.rest()
            assert play.told.outcomes[ended] == 1
        close_unseen(play)
        play.lost.clear()
        play.rest()


def close_unseen(play: Play, *then: HttpFault) -> int:
    """Cancel an order while there is no connection, and go on with other faults. Return its
    number."""
    play.simulator.clear_faults()
    play.simulator.inject(RefuseHandshake(503, times=None))
    dials = len(play.simulator.handshakes)
    play.simulator.inject(DropConnections())
    play.until(lambda: len(play.simulator.handshakes) > dials, "it dials again")
    number = next(iter(play.simulator.truth().open_orders))
    play.simulator.live(lambda account, now: account.cancel(number, now))
    core = play.simulator._core

    def go_on() -> None:
        core.clear_faults()
        for fault in then:
            core.inject(fault)

    # At one moment: nothing is asked in between.
    core.call(go_on)
    return number


def test_an_order_that_no_list_has(door: Door) -> None:
    with playing(door) as play:
        play.rest()
        [lost] = list(play.simulator.truth().open_orders)[:1]
        play.simulator.inject(LoseRow(lost))
        play.simulator.inject(DropConnections())
        play.simulator.live(lambda account, now: account.cancel(lost, now))
        play.trade()
        play.lost.add(lost)
        play.rest()
        assert play.told.outcomes == {lost: 1}
        # Nor does it become known by itself.
        play.drop()
        play.rest()
        assert play.told.outcomes == {lost: 1}


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_wrong_by_a_day(door: Door, days: int) -> None:
    start_ts = round((time.time() + days * 86400) * 1000)
    with playing(door, gateway=GatewayConfig(start_ts=start_ts)) as play:
        play.rest()
        assert play.calls(TOKEN) == 2
        [seconds] = play.told.corrected
        assert round(seconds / 86400) == days
