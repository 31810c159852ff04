"""The budgets of an account on a bus, where all machines see them, and its token, which stays where
it is."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import topone_simulator
from test_open_account import DOORS, QUICK, SERVER, run_asyncio
from topone_accounts import FileStore
from topone_proto import ORDERS, Credentials, Token
from topone_proto.account import AccountConfig, StoredState
from topone_proto.account.token_service import TokenState
from topone_relay import BusStore, BusUnavailable, MemoryBroker, StateNotShared

SECRET = "topapi:5ecret"
ASKED = TokenState(asked_at=100.0, not_before=165.0)
STATE = StoredState(evolve(ASKED, token=Token(SECRET), obtained_at=100.0), (90.0, 90.0, 95.0), None)
EMPTY = StoredState()


def in_asyncio(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_asyncio(lambda: test(*args, **kwargs))

    return run


def shared(broker: MemoryBroker) -> bytes:
    return broker.stream("main").state


@in_asyncio
async def test_times_are_on_the_bus_and_the_token_never() -> None:
    broker = MemoryBroker()
    mine, other = (BusStore(broker.connect(), "main") for _ in range(2))
    assert await mine.load() == EMPTY
    assert await mine.save(STATE, EMPTY) is None
    assert await mine.load() == STATE
    assert b"ecret" not in shared(broker)
    # Another machine has the times, and no token.
    expected = evolve(STATE, token=ASKED)
    assert await other.save(evolve(STATE, order_calls=()), EMPTY) == expected
    assert await other.load() == expected
    assert await BusStore(broker.connect(), "second").load() == EMPTY


@in_asyncio
async def test_only_what_was_seen_can_be_replaced() -> None:
    broker = MemoryBroker()
    mine, other = (BusStore(broker.connect(), "main") for _ in range(2))
    await mine.save(STATE, EMPTY)
    known = await other.load()
    later = evolve(known, order_calls=(90.0, 90.0, 95.0, 97.0))
    assert await other.save(later, known) is None
    # The first one still has its token when it learns of that.
    found = await mine.save(evolve(STATE, order_calls=()), STATE)
    assert found is not None
    assert found == evolve(STATE, order_calls=later.order_calls)
    assert await mine.save(evolve(found, order_calls=(98.0,)), found) is None
    # Not what it knew, but what it was told last.
    assert await mine.save(EMPTY, STATE) == evolve(STATE, order_calls=(98.0,))


@in_asyncio
async def test_a_file_of_this_machine_counts_as_well(tmp_path: Path) -> None:
    broker, file = MemoryBroker(), FileStore(tmp_path / "account.json")
    store = BusStore(broker.connect(), "main", file)
    await store.save(evolve(STATE, order_calls=(1.0,)), EMPTY)
    # A program that knows no bus.
    known = file.load()
    assert file.save(evolve(known, order_calls=(1.0, 2.0)), known) is None
    found = await store.save(evolve(STATE, order_calls=(1.0, 3.0)), known)
    assert found is not None
    assert found == evolve(STATE, order_calls=(1.0, 2.0, 3.0))
    assert await store.save(found, found) is None
    assert file.load() == found
    # One that is started anew needs no other token, be it another process of this machine.
    assert await BusStore(broker.connect(), "main", FileStore(file.path)).load() == found


@in_asyncio
async def test_what_nobody_can_read_counts_as_written_at_the_worst_moment() -> None:
    broker = MemoryBroker()
    broker.stream("main").state = b'{"version": 99, "token_not_before": 5}'
    store = BusStore(broker.connect(), "main", wall=lambda: 1000.0)
    found = await store.load()
    config = AccountConfig()
    assert found.token == TokenState(asked_at=1000.0, not_before=1000.0 + config.token_interval)
    assert found.order_calls == (1000.0,) * config.order_calls_per_minute
    assert await store.save(STATE, found) is None
    assert await store.load() == STATE


@in_asyncio
async def test_a_bus_that_is_away_is_an_error_of_the_system() -> None:
    broker = MemoryBroker()
    bus = broker.connect()
    store = BusStore(bus, "main")
    bus.lost_answers = {"swap_state"}
    with pytest.raises(OSError, match=r"budgets of account 'main'.*answer was lost") as caught:
        await store.save(STATE, EMPTY)
    assert isinstance(caught.value, StateNotShared)
    assert caught.value.strerror == str(caught.value)
    # It may have been stored: so it counts.
    found = await store.save(EMPTY, EMPTY)
    assert found is not None
    assert found.token.asked_at == STATE.token.asked_at
    broker.is_away = True
    for call in (store.load(), store.save(STATE, found)):
        with pytest.raises(StateNotShared):
            await call
    with pytest.raises(BusUnavailable):
        await bus.cluster()


def test_two_machines_keep_the_budget_of_one_account() -> None:
    """One follows the account after the other, neither has the other's token, and the exchange
    counts."""
    server = evolve(SERVER, order_calls=3, order_period=0.5)
    config = evolve(QUICK, order_calls_per_minute=3, token_interval=0.5)
    with topone_simulator.run_in_thread(http_config=server) as simulator:
        broker = MemoryBroker()

        async def main() -> None:
            for _ in range(3):
                store = BusStore(broker.connect(), "main")
                async with DOORS["asyncio"].open(
                    simulator, cache=store, account_config=config, topics=(ORDERS,)
                ) as account:
                    await account.wait_until_whole(60)

        run_asyncio(main)
        assert simulator.overruns == 0
        tokens = [call for call in simulator.http_calls if call.path.endswith("token")]
        assert len(tokens) == 3
        keys: Credentials = simulator.credentials
        assert keys.reveal().encode() not in shared(broker)
    assert asyncio.run(broker.connect().load_state("main")) == shared(broker)
