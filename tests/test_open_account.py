"""An account through the public door of each adapter: against the simulator, over real sockets."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, suppress
from decimal import Decimal
from functools import partial
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
    FeedClosed,
    LocalProtocolError,
    SessionConfig,
    Side,
)
from topone_proto.account import (
    AccountConfig,
)
from topone_proto.adapters import AsyncAccount
from topone_proto.exchange import DropConnections, ExpireTokens, HttpConfig, RejectHttp
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
SERVER = HttpConfig(order_calls=1000, token_interval=0.1, token_block=10.0)
SECRETS = ("demo", "topapi")


@attrs.frozen
class Door:
    """An adapter, as an application sees it."""

    open_account: Open
    run: Callable[[Main], None]
    sleep: Callable[[float], Awaitable[None]]
    checkpoint: Callable[[], Awaitable[None]]
    cancelled_after: Callable[[Main, int], Awaitable[None]]
    """Runs something, and cancels it after so many turns of the event loop."""

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


def run_asyncio(main: Main) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded(), debug=True)


def run_trio(main: Main) -> None:
    async def bounded() -> None:
        with trio.fail_after(60):
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
    return next(change.id for change in changes if not hasattr(change, "asset"))


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
