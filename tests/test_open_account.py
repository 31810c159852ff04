"""An account through the public door of each adapter: against the simulator, over real sockets."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Self

import attrs
import pytest
import trio

import topone_asyncio
import topone_simulator
import topone_threads
import topone_trio
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    ConfigurationError,
    Conflated,
    Credentials,
    FeedClosed,
    FeedFailed,
    LocalProtocolError,
    Order,
    SessionConfig,
    Side,
    Token,
    TooManyEvents,
    Update,
)
from topone_proto.account import (
    AccountConfig,
    AggregatedFill,
    BalanceChanged,
    OrderChanged,
    Resynced,
    StateNotStored,
    StoredState,
)
from topone_proto.adapters import AsyncAccount, MemoryStore
from topone_proto.exchange import (
    DropConnections,
    ExpireTokens,
    HangHttp,
    HttpConfig,
    RefuseHttp,
    RejectHttp,
)
from topone_proto.exchange.living_account import LivingAccount
from topone_trio import over_websockets

Main = Callable[[], Awaitable[None]]
Open = Callable[..., AbstractAsyncContextManager[Any]]

# Nothing is behind here, nobody else asks, and tokens are a thousand times cheaper.
QUICK = AccountConfig(
    answer_lag=0.0,
    retry_first=0.02,
    retry_cap=0.2,
    order_calls_per_minute=1000,
    audit_interval=None,
    token_interval=0.2,
    token_block=10.0,
)
FAST = SessionConfig(retry_first=0.01, retry_base=0.02, retry_cap=0.1)
# A file takes longer than memory, and a request that leaves too late is not sent.
FILED = attrs.evolve(QUICK, token_interval=5.0)
SERVER = HttpConfig(order_calls=1000, token_interval=0.1, token_block=10.0)


@attrs.frozen
class Door:
    """An adapter, as an application sees it."""

    open_account: Open
    run: Callable[[Main], None]
    sleep: Callable[[float], Awaitable[None]]
    checkpoint: Callable[[], Awaitable[None]]
    cancelled_after: Callable[[Main, int], Awaitable[None]]
    """Runs something, and cancels it after so many turns of the event loop."""
    is_blocking: bool = False
    """True if there is no event loop, so that nothing can be interrupted."""

    def open(self, simulator: topone_simulator.Simulator, **more: Any) -> Any:
        """An account of the simulator."""
        arguments = {
            "url": simulator.url,
            "http_url": simulator.http_url,
            "cache": None,
            "config": FAST,
            "account_config": QUICK,
            **more,
        }
        keys = () if "token" in arguments else (simulator.credentials,)
        return self.open_account(*keys, **arguments)


LIMIT = 60.0
"""Seconds after which a test has failed."""


def run_asyncio(main: Main) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded(), debug=True)


def run_trio(main: Main) -> None:
    async def bounded() -> None:
        with trio.fail_after(LIMIT):
            await main()

    trio.run(bounded)


async def cancelled_in_asyncio(main: Main, turns: int) -> None:
    task = asyncio.ensure_future(main())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def cancelled_in_trio(main: Main, turns: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


class Blocking:
    """An account of threads, in the form of the others: what is awaited blocks."""

    def __init__(self, block: AbstractContextManager[topone_threads.Account]) -> None:
        self._block = block
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        self._account = self._stack.enter_context(self._block)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stack.__exit__(*sys.exc_info())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return self._account.get(60)
        except FeedClosed:
            raise StopAsyncIteration from None

    async def wait_until_whole(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._account.wait_until_whole(timeout)

    async def refresh(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._account.refresh(timeout)

    async def close(self) -> None:
        self._account.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._account, name)


def run_blocking(main: Main) -> None:
    async def done() -> None:
        await main()

    with pytest.raises(StopIteration):
        done().send(None)


async def sleep_blocking(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop


async def cancelled_in_no_way(main: Main, turns: int) -> None:
    del main, turns
    pytest.skip("no thread can be cancelled")


DOORS = {
    "asyncio": Door(
        topone_asyncio.open_account,
        run_asyncio,
        asyncio.sleep,
        partial(asyncio.sleep, 0),
        cancelled_in_asyncio,
    ),
    "threads": Door(
        lambda *keys, **arguments: Blocking(topone_threads.open_account(*keys, **arguments)),
        run_blocking,
        sleep_blocking,
        partial(sleep_blocking, 0),
        cancelled_in_no_way,
        is_blocking=True,
    ),
    "trio": Door(
        topone_trio.open_account,
        run_trio,
        trio.sleep,
        trio.lowlevel.checkpoint,
        cancelled_in_trio,
    ),
    "trio over websockets": Door(
        partial(topone_trio.open_account, open_websocket=over_websockets.open_websocket),
        run_trio,
        trio.sleep,
        trio.lowlevel.checkpoint,
        cancelled_in_trio,
    ),
}


@pytest.fixture(params=sorted(DOORS))
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.fixture
def simulator() -> Generator[topone_simulator.Simulator]:
    with topone_simulator.run_in_thread(http_config=SERVER) as simulator:
        yield simulator
        assert simulator.overruns == 0


def trade(simulator: topone_simulator.Simulator, rng: Random, events: int) -> None:
    """Make so many things happen to the living account."""

    def happen(account: LivingAccount, now: float) -> Any:
        orders = list(account.open_orders.values())
        choice = rng.randrange(4) if orders else 0
        if choice < 2:
            return account.place("ETH/BTC", Side.BUY, Decimal(1), now, price=Decimal("0.01"))
        order = rng.choice(orders)
        if choice == 2:
            return account.cancel(order.id, now)
        return account.fill(order.id, rng.choice([Decimal("0.25"), Decimal(order.left or 1)]), now)

    for _ in range(events):
        with suppress(LocalProtocolError):
            simulator.live(happen)


def place(simulator: topone_simulator.Simulator) -> int:
    """Place one order; return its number."""
    changes = simulator.live(
        lambda account, now: account.place(
            "ETH/BTC", Side.BUY, Decimal(1), now, price=Decimal("0.01")
        )
    )
    return next(change.id for change in changes if isinstance(change, Order))


def is_right(account: AsyncAccount, truth: topone_simulator.Truth) -> bool:
    """True if the account is whole and the exchange's."""
    return (
        account.is_whole
        and account.open_orders().value == truth.open_orders
        and account.balances().value == truth.balances
    )


async def until(door: Door, is_so: Callable[[], bool]) -> None:
    while not is_so():
        await door.sleep(0.005)


# --- the oracle ----------------------------------------------------------------------------------


def test_it_is_right_after_its_start_and_after_every_lost_connection(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    rng = Random(7)

    async def main() -> None:
        trade(simulator, rng, 40)
        async with door.open(simulator) as account:
            await account.wait_until_whole(20)
            assert is_right(account, simulator.truth())
            for _ in range(4):
                trade(simulator, rng, 10)
                simulator.inject(DropConnections())
                await until(door, lambda: not account.is_whole)
                trade(simulator, rng, 10)
                await account.wait_until_whole(20)
                await until(door, lambda: is_right(account, simulator.truth()))
            assert account.metrics().epoch == 5
            # One token was enough for all of them.
            assert [call.path for call in simulator.http_calls].count("/u/v1/api/token") == 1
        assert not account.is_whole
        # The simulator sees to its side in its own time.
        await until(door, lambda: simulator.connections == 0)

    door.run(main)


def test_a_token_that_ends_is_replaced_within_the_budget(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        async with door.open(simulator) as account:
            await account.wait_until_whole(20)
            for _ in range(2):
                simulator.inject(ExpireTokens())
                simulator.inject(DropConnections())
                await until(door, lambda: not account.is_whole)
                await account.wait_until_whole(30)
                assert is_right(account, simulator.truth())

    door.run(main)


def test_a_token_that_only_http_refuses_is_replaced_and_the_connection_goes_on(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        async with door.open(simulator) as account:
            await account.wait_until_whole(20)
            simulator.inject(RejectHttp(10003, path="/t/v1/"))
            await account.refresh(20)
            assert account.metrics().epoch == 1
            assert sum(account.metrics().fetch_failures.values()) == 1
        assert [call.path for call in simulator.http_calls].count("/u/v1/api/token") == 2

    door.run(main)


# --- tokens of the application -------------------------------------------------------------------


def test_a_token_callable_is_told_what_was_refused_and_is_called_once_at_a_time(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    asked: list[Token | None] = []
    running, most = 0, 0

    def supplied(refused: Token | None) -> str:
        asked.append(refused)
        simulator.allow(f"token-{len(asked)}", "demo")
        return f"token-{len(asked)}"

    async def token(refused: Token | None) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if len(asked) == 1:
            # HTTP has refused the first, and now the connection is lost and dialled anew.
            simulator.inject(DropConnections())
            await door.sleep(0.3)
        running -= 1
        return supplied(refused)

    async def main() -> None:
        source = supplied if door.is_blocking else token
        async with door.open(simulator, token=source) as account:
            await account.wait_until_whole(20)
            simulator.inject(RejectHttp(10003, path="/t/v1/"))
            await account.refresh(30)
            assert is_right(account, simulator.truth())

    door.run(main)
    assert asked[:2] == [None, Token("token-1")]
    assert most == (0 if door.is_blocking else 1)


def test_a_token_callable_that_takes_nothing_is_called_without(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        async with door.open(simulator, token=lambda: "demo") as account:
            await account.wait_until_whole(20)
        async with door.open(simulator, token="demo") as account:
            await account.wait_until_whole(20)

    door.run(main)


# --- waiting -------------------------------------------------------------------------------------


def test_waiting_until_whole_ends_by_a_timeout_or_with_the_account(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        simulator.inject(RefuseHttp(503, times=None))
        async with door.open(simulator, token="demo") as account:
            with pytest.raises(TimeoutError):
                await account.wait_until_whole(0.1)
            with pytest.raises(TimeoutError):
                await account.refresh(0.05)
            assert account.metrics().fetch_failures
            await account.close()
            for call in (account.wait_until_whole, account.refresh):
                with pytest.raises(FeedClosed):
                    await call()
            with pytest.raises(FeedClosed):
                account.give_up(1)
            # What the application has done is no question, and needs no answer.
            account.order_calls_made()
            account.order_calls_blocked()

    door.run(main)


def test_who_waits_while_the_account_ends_is_woken(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        async with door.open(simulator, token="nobody's") as account:
            with pytest.raises(FeedFailed):
                await account.wait_until_whole(20)
            with pytest.raises(FeedFailed):
                await account.refresh()
            last: object = None
            with pytest.raises(FeedFailed):
                async for event in account:
                    last = event
            assert isinstance(last, Closed)

    door.run(main)


def test_a_refresh_finds_what_the_stream_has_left_out(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        async with door.open(simulator) as account:
            await account.wait_until_whole(20)
            # Without a word to anybody.
            simulator._core.call(
                lambda: simulator._core.living.account.place(
                    "ETH/BTC", Side.BUY, Decimal(1), simulator._core.loop.time(), price=Decimal(1)
                )
            )
            await door.sleep(0.05)
            assert account.is_whole
            assert not account.open_orders().value
            await account.refresh(20)
            assert is_right(account, simulator.truth())
            assert account.metrics().audit_differences > 0

    door.run(main)


def test_the_order_calls_of_the_application_count_and_a_block_holds(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    async def main() -> None:
        async with door.open(simulator) as account:
            await account.wait_until_whole(20)
            account.order_calls_made(1000)
            with pytest.raises(TimeoutError):
                await account.refresh(0.1)
        async with door.open(simulator, topics=(ORDERS,), token="demo") as account:
            account.order_calls_blocked()
            with pytest.raises(TimeoutError):
                await account.wait_until_whole(0.1)

    door.run(main)


# --- events --------------------------------------------------------------------------------------


def test_an_account_that_nobody_iterates_over_is_followed_all_the_same(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    config = attrs.evolve(FAST, capacity=10)

    async def main() -> None:
        async with door.open(simulator, config=config) as account:
            await account.wait_until_whole(20)
            trade(simulator, Random(3), 60)
            await until(door, lambda: is_right(account, simulator.truth()))
            metrics = account.metrics()
            assert metrics.waiting == 10
            assert not metrics.is_paused
            # Who comes late is told so first, and of the newest.
            first = await anext(account)
            assert isinstance(first, Conflated)
            assert first.count == metrics.conflated
            left = [await anext(account) for _ in range(10)]
            assert not [event for event in left if isinstance(event, Update | Conflated)]
            # From now on everything is delivered: it waits until it is taken.
            trade(simulator, Random(4), 30)
            await until(door, lambda: account.metrics().is_paused)
            seen = []
            while not is_right(account, simulator.truth()) or account.metrics().waiting:
                seen.append(await anext(account))
            assert not [event for event in seen if isinstance(event, Update | Conflated)]
            assert account.metrics().conflated == first.count

    door.run(main)


def test_conflation_supersedes_changes_and_never_fills(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    config = attrs.evolve(FAST, capacity=24, delivery="conflate")

    async def main() -> None:
        async with door.open(simulator, config=config) as account:
            await account.wait_until_whole(20)
            while account.metrics().waiting:
                await anext(account)
            number = place(simulator)
            for _ in range(8):
                simulator.live(lambda living, now: living.fill(number, Decimal("0.125"), now))
            await until(door, lambda: is_right(account, simulator.truth()))
            for _ in range(4):
                other = place(simulator)
                simulator.live(lambda living, now: living.fill(other, Decimal(1), now))  # noqa: B023 - called at once
                await until(door, lambda: is_right(account, simulator.truth()))
            seen = []
            while account.metrics().waiting:
                seen.append(await anext(account))
            assert any(isinstance(event, Conflated) for event in seen)
            fills = [event for event in seen if isinstance(event, AggregatedFill)]
            assert sum(fill.deal_stock for fill in fills) == 5
            last = [event for event in seen if isinstance(event, OrderChanged)]
            assert number in {event.after.id for event in last if event.is_final}
            balances = {e.after.asset: e.after for e in seen if isinstance(e, BalanceChanged)}
            truth = simulator.truth().balances
            assert balances == {asset: truth[asset] for asset in balances}

    door.run(main)


def test_a_call_that_waits_behind_too_many_events_says_so(
    door: Door, simulator: topone_simulator.Simulator
) -> None:
    config = attrs.evolve(FAST, capacity=2)

    async def main() -> None:
        async with door.open(simulator, config=config) as account:
            await account.wait_until_whole(20)
            await anext(account)
            trade(simulator, Random(5), 10)
            await until(door, lambda: account.metrics().is_paused)
            with pytest.raises(TooManyEvents):
                await account.refresh(20)

    door.run(main)


# --- ends ----------------------------------------------------------------------------------------


class Broken(MemoryStore):
    """A store with a bug."""

    def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        raise ZeroDivisionError("a bug")


def failing_after(lines: int) -> Callable[[str], None]:
    left = [lines]

    def record(_: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise ZeroDivisionError("a bug")

    return record


@pytest.mark.parametrize("culprit", ["record", "record later", "store"])
def test_a_fault_of_the_program_ends_the_account_once_and_as_it_is(
    door: Door, simulator: topone_simulator.Simulator, culprit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"token": "demo"}
    match culprit:
        case "record":
            more["record"] = failing_after(0)
        case "record later":
            more["record"] = failing_after(5)
        case _:
            monkeypatch.setattr("topone_proto.feed.opening_accounts.MemoryStore", Broken)

    async def waits() -> None:
        with pytest.raises(ZeroDivisionError):
            async with door.open(simulator, **more) as account:
                await account.wait_until_whole(20)
        await until(door, lambda: simulator.connections == 0)

    async def iterates() -> None:
        with pytest.raises(ZeroDivisionError):
            async with door.open(simulator, **more) as account:
                async for _ in account:
                    pass

    async def sleeps() -> None:
        with pytest.raises(ZeroDivisionError):
            async with door.open(simulator, **more):
                await door.sleep(0.2 if door.is_blocking else 20)

    for main in (waits, iterates, sleeps):
        door.run(main)


def tokens_seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the tokens that are stored from now on."""
    seen: set[str] = set()

    class Spy(MemoryStore):
        def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
            if state.token.token is not None:
                seen.add(state.token.token.reveal())
            return super().save(state, previous)

    monkeypatch.setattr("topone_proto.feed.opening_accounts.MemoryStore", Spy)
    return seen


def test_a_session_inside_is_recorded_and_its_requests_are_not(
    door: Door, simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    tokens = tokens_seen(monkeypatch)

    async def main() -> None:
        async with door.open(simulator, record=lines.append) as account:
            await account.wait_until_whole(20)

    door.run(main)
    text = "".join(lines)
    assert len(tokens) == 1
    assert tokens.pop() not in text
    assert '"kind":"token_obtained"' in text
    assert "/t/v1/" not in text


def test_closing_waits_for_no_answer_and_for_no_store(
    door: Door, simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    monkeypatch.setattr(f"{__name__}.LIMIT", 10.0)
    patient = attrs.evolve(QUICK, fetch_timeout=3600.0)

    class Hanging:
        def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
            may_go_on.wait()
            return None

        def load(self) -> StoredState:
            raise AssertionError

    async def main() -> None:
        simulator.inject(HangHttp(times=None, path="/t/v1/"))
        async with door.open(simulator, account_config=patient) as account:
            await until(door, lambda: account.metrics().fetches == 2)
        monkeypatch.setattr("topone_proto.feed.opening_accounts.MemoryStore", Hanging)
        async with door.open(simulator, account_config=patient) as account:
            await door.sleep(0.05)
            assert account.metrics().fetches == 0

    door.run(main)
    may_go_on.set()


def test_a_store_that_does_not_return_is_reported_and_takes_one_thread(
    door: Door, simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, calls = threading.Event(), []

    class Hanging:
        def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
            calls.append(state)
            may_go_on.wait()
            return None

        def load(self) -> StoredState:
            raise AssertionError

    monkeypatch.setattr("topone_proto.feed.opening_accounts.MemoryStore", Hanging)
    monkeypatch.setattr("topone_proto.feed.account_driver._STORE_TIMEOUT", 0.05)

    async def main() -> None:
        problems = []
        async with door.open(simulator) as account:
            async for event in account:
                if isinstance(event, StateNotStored):
                    problems.append(event.problem)
                if len(problems) == 2:
                    break
        assert problems == ["it took too long", "the last access has not returned yet"]

    door.run(main)
    may_go_on.set()
    assert len(calls) == 1


def test_a_store_that_fails_is_tried_again(
    door: Door, simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(MemoryStore):
        tries = 0

        def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
            self.tries += 1
            if self.tries < 3:
                raise OSError(28, "No space left on device")
            return super().save(state, previous)

    monkeypatch.setattr("topone_proto.feed.opening_accounts.MemoryStore", Full)

    async def main() -> None:
        async with door.open(simulator) as account:
            problems = []
            async for event in account:
                if isinstance(event, StateNotStored):
                    problems.append(event.problem)
                if isinstance(event, Resynced):
                    break
            assert problems == ["No space left on device"] * 2

    door.run(main)


@pytest.mark.parametrize("first", range(4))
def test_cancelled_at_any_moment_it_leaves_nothing_behind(
    door: Door, simulator: topone_simulator.Simulator, first: int
) -> None:
    async def main() -> None:
        config = attrs.evolve(FAST, close_timeout=0.2)

        async def use() -> None:
            # With a token of its own, since each start with a key pair alone costs a request.
            async with door.open(simulator, token="demo", config=config) as account:
                await account.wait_until_whole()
                await account.refresh()

        for turns in range(first, 240, 24):
            await door.cancelled_after(use, turns)
        await until(door, lambda: simulator.connections == 0)

    # A socket or a coroutine that is left is a ResourceWarning, and a failure here.
    door.run(main)


# --- the cache -----------------------------------------------------------------------------------


def test_two_accounts_of_one_file_share_a_token(
    door: Door, simulator: topone_simulator.Simulator, tmp_path: Path
) -> None:
    cache = tmp_path / "account.json"

    async def main() -> None:
        for _ in range(3):
            async with (
                door.open(simulator, cache=cache, account_config=FILED) as account,
                door.open(simulator, cache=str(cache), account_config=FILED) as other,
            ):
                await account.wait_until_whole(20)
                await other.wait_until_whole(20)

    door.run(main)
    assert [call.path for call in simulator.http_calls].count("/u/v1/api/token") == 1
    assert cache.stat().st_mode & 0o777 == 0o600


def test_the_default_is_a_file_of_the_user_for_a_key_pair_and_memory_for_a_token(
    door: Door,
    simulator: topone_simulator.Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def files() -> list[Path]:
        return list(tmp_path.rglob("*.json"))

    async def main() -> None:
        arguments: dict[str, Any] = {"url": simulator.url, "http_url": simulator.http_url}
        async with door.open_account(token="demo", account_config=QUICK, **arguments) as account:
            await account.wait_until_whole(20)
        assert not files()
        async with door.open_account(
            simulator.credentials, account_config=FILED, **arguments
        ) as account:
            await account.wait_until_whole(20)
        assert len(files()) == 1

    door.run(main)


# --- secrets and mistakes ------------------------------------------------------------------------


def test_no_secret_is_logged_or_shown(
    door: Door,
    simulator: topone_simulator.Simulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    secrets = tokens_seen(monkeypatch)

    async def main() -> None:
        async with door.open(simulator) as account:
            await account.wait_until_whole(20)
            simulator.inject(RejectHttp(10003, path="/t/v1/"))
            simulator.inject(DropConnections())
            await until(door, lambda: not account.is_whole)
            await account.wait_until_whole(20)
            parts = (account, account._core, getattr(account, "_driver", account))
            shown.extend([repr(account), repr(account.metrics()), *map(str, map(vars, parts))])
            while account.metrics().waiting:
                shown.append(repr(await anext(account)))

    door.run(main)
    secrets.add(simulator.credentials.reveal())
    assert len(secrets) == 3
    texts = [*shown, *(record.getMessage() for record in caplog.records)]
    texts += [str(record.__dict__) for record in caplog.records]
    assert not [secret for secret in secrets for text in texts if secret in text]


@pytest.mark.parametrize(
    ("setting", "keys", "more"),
    [
        ("credentials", (), {}),
        ("credentials", (Credentials("id", "key"),), {"token": "demo"}),
        ("token", (), {"token": "no token"}),
        ("url", (), {"token": "demo", "url": "https://example.com"}),
        ("http_url", (), {"token": "demo", "http_url": "http://example.com"}),
        ("http_url", (Credentials("id", "key"),), {"url": "ws://127.0.0.1:1/"}),
        ("topics", (), {"token": "demo", "topics": ()}),
        ("cache", (Credentials("id", "key"),), {"cache": ""}),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_asked_for(
    door: Door, setting: str, keys: tuple[Any, ...], more: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        door.open_account(*keys, **more)
    assert caught.value.setting == setting


@pytest.mark.parametrize("adapter", ["topone_asyncio", "topone_trio"])
@pytest.mark.parametrize("missing", ["httpcore", "filelock"])
def test_a_missing_library_is_named_with_its_extra_and_feeds_need_none(
    adapter: str, missing: str
) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
import {adapter}
from topone_proto import Credentials
{adapter}.open_feed(token="demo")
try:
    {adapter}.open_account(Credentials("id", "key"))
except ImportError as error:
    print(error.name, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{missing} ")
    assert "topone-proto[" in done.stdout


def test_only_one_topic_may_be_followed(door: Door, simulator: topone_simulator.Simulator) -> None:
    async def main() -> None:
        async with door.open(simulator, topics=(BALANCE,)) as account:
            await account.wait_until_whole(20)
            assert account.metrics().knowledge.keys() == {BALANCE}

    door.run(main)
