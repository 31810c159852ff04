"""An account that waits for a budget or for the end of a block says so, once for each wait."""

from typing import Any

import pytest
from attrs import evolve

from http_exchange import START, Client, World
from topone_proto import Token
from topone_proto.account import (
    AccountConfig,
    DelayCause,
    FetchDelayed,
    FetchFailed,
    FetchKind,
    Resynced,
    StoredState,
    _waits,
    write_state,
)
from topone_proto.account.token_service import TokenState

HOUR = 3600.0


def stored(**state: Any) -> World:
    """A world in which an earlier process has left this."""
    world = World()
    world.place.text = write_state(evolve(StoredState(), **state))
    return world


def a_token() -> TokenState:
    return TokenState(Token("topapi:old"), START, START, START + 65.0)


def delays(client: Client) -> list[tuple[FetchKind, DelayCause, float]]:
    return [(each.kind, each.cause, round(each.retry_in, 3)) for each in client.of(FetchDelayed)]


TOKENS = {
    "asked for 20 s ago": (TokenState(None, None, START - 20, START + 45), DelayCause.BUDGET, 45.0),
    "two failures": (
        TokenState(None, None, START - 10, START + 120, failures=2),
        DelayCause.BACKOFF,
        120.0,
    ),
    "blocked": (
        TokenState(None, None, START - 600, START + 3000, failures=1),
        DelayCause.BLOCK,
        3000.0,
    ),
}


@pytest.mark.parametrize(("state", "cause", "wait"), TOKENS.values(), ids=TOKENS)
def test_a_wait_for_a_token_is_said_once(state: TokenState, cause: DelayCause, wait: float) -> None:
    world = stored(token=state)
    client = world.client()
    assert delays(client) == [(FetchKind.TOKEN, cause, wait)]
    world.run(wait / 2)
    [delay] = client.machine.delays(world.now)
    assert delay.retry_in == pytest.approx(wait / 2, abs=1.0)
    world.run(HOUR, lambda: client.is_whole)
    assert client.is_whole
    assert len(client.of(FetchDelayed)) == 1
    assert client.machine.delays(world.now) == ()


def test_another_thread_may_look_while_a_wait_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    state, cause, _ = TOKENS["two failures"]
    world = stored(token=state)
    client = world.client()

    def evolve_slowly(report: FetchDelayed, **changes: Any) -> FetchDelayed:
        # Meanwhile the thread that drives the account goes on.
        world.run(HOUR, lambda: client.is_whole)
        return evolve(report, **changes)

    monkeypatch.setattr(_waits, "evolve", evolve_slowly)
    [delay] = client.machine.delays(world.now)
    assert delay.cause is cause
    assert client.is_whole
    assert client.machine.delays(world.now) == ()


def test_a_failure_that_has_said_the_wait_is_enough() -> None:
    world = World()
    world.exchange.fault("429", 10.0, "token")
    client = world.client()
    world.run(HOUR / 2)
    assert [failed.kind for failed in client.of(FetchFailed)] == [FetchKind.TOKEN]
    assert delays(client) == []
    [delay] = client.machine.delays(world.now)
    assert delay.cause is DelayCause.BLOCK


def test_a_wrong_clock_that_costs_a_minute_says_that_it_waits() -> None:
    client = (world := World(clock_ahead=HOUR)).client()
    world.run(10.0)
    [(kind, cause, wait)] = delays(client)
    assert (kind, cause) == (FetchKind.TOKEN, DelayCause.BUDGET)
    assert 65.0 <= wait <= 100.0


def test_a_token_that_is_taken_back_within_a_minute_says_that_it_waits() -> None:
    world = World()
    client = world.client()
    world.run(10.0, lambda: client.is_whole)
    world.exchange.expire()
    client.drop()
    world.run(10.0)
    [(kind, cause, wait)] = delays(client)
    assert (kind, cause) == (FetchKind.TOKEN, DelayCause.BUDGET)
    assert 50.0 < wait < 65.0


def test_a_longer_wait_is_another_one() -> None:
    world = stored(token=TokenState(None, None, START - 20, START + 45))
    client = world.client()
    world.run(5.0)
    # Another process was told of a block.
    state = TokenState(None, None, START - 20, START + 3590, failures=1)
    client.feed(lambda now: client.machine.state_found(StoredState(token=state), now))
    assert [wait for _, _, wait in delays(client)] == [45.0, 3585.0]
    client.feed(lambda now: client.machine.state_found(StoredState(token=state), now))
    assert len(delays(client)) == 2


def test_a_block_of_orders_that_is_stored_is_said() -> None:
    world = stored(token=a_token(), orders_not_before=START + 600.0)
    world.exchange.allow("topapi:old")
    client = world.client()
    world.run(5.0)
    [(kind, cause, wait)] = delays(client)
    assert (kind, cause) == (FetchKind.OPEN_ORDERS, DelayCause.BLOCK)
    assert 595.0 < wait <= 600.0
    world.run(HOUR, lambda: client.is_whole)
    assert client.is_whole
    assert len(client.of(FetchDelayed)) == 1


def test_order_calls_that_are_spent_are_said() -> None:
    calls = tuple(START - 5.0 for _ in range(10))
    world = stored(token=a_token(), order_calls=calls)
    world.exchange.allow("topapi:old")
    client = world.client()
    world.run(5.0)
    [(kind, cause, wait)] = delays(client)
    assert (kind, cause) == (FetchKind.OPEN_ORDERS, DelayCause.BUDGET)
    assert 55.0 < wait <= 60.0


def test_a_block_that_the_exchange_tells_is_not_said_twice() -> None:
    world = World()
    client = world.client()
    world.run(10.0, lambda: client.is_whole)
    world.exchange.fault("10027", world.now + 5.0, "order")
    client.drop()
    world.run(HOUR / 2)
    assert [failed.kind for failed in client.of(FetchFailed)] == [FetchKind.OPEN_ORDERS]
    assert delays(client) == []


def test_while_there_is_a_token_nothing_waits_for_another() -> None:
    """An old token is used while the budget does not allow a new one."""
    config = AccountConfig(token_soft_age=100.0)
    state = TokenState(Token("topapi:old"), START - 200, START - 200, START + 300)
    world = stored(token=state)
    world.exchange.allow("topapi:old")
    client = world.client(account_config=config)
    world.run(30.0, lambda: client.is_whole)
    assert client.of(Resynced)
    assert delays(client) == []


def test_what_takes_less_than_a_second_is_not_said() -> None:
    world = stored(token=TokenState(None, None, START - 64.5, START + 0.5))
    client = world.client()
    world.run(20.0, lambda: client.is_whole)
    assert client.is_whole
    assert delays(client) == []


def test_an_application_that_is_behind_is_told_once_it_reads_on() -> None:
    world = World()
    client = world.client()
    client.feed(client.machine.reading_paused)
    state = TokenState(None, None, START - 20, START + 45)
    client.feed(lambda now: client.machine.state_found(StoredState(token=state), now))
    assert delays(client) == []
    client.feed(client.machine.reading_resumed)
    assert len(delays(client)) == 1
