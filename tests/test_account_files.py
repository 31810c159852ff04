"""Accounts whose state is in a file, against the simulator: the whole way from a key pair to the
file, over real HTTP."""

import asyncio
import io
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

import topone_asyncio
import topone_trio
from topone_accounts import FileStore
from topone_proto import SessionConfig
from topone_proto.account import AccountConfig, StateNotStored
from topone_proto.exchange import HttpConfig
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

QUICK = AccountConfig(
    answer_lag=0.0,
    retry_first=0.02,
    retry_cap=0.2,
    order_calls_per_minute=1000,
    audit_interval=None,
    token_interval=1.0,
    token_block=10.0,
)
FAST = SessionConfig(retry_first=0.01, retry_base=0.02, retry_cap=0.1)
SERVER = HttpConfig(order_calls=1000, token_interval=0.5, token_block=10.0)
PATIENCE = 60.0

Main = Callable[[], Awaitable[None]]


def run_asyncio(main: Main) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    asyncio.run(bounded())


def run_trio(main: Main) -> None:
    async def bounded() -> None:
        with trio.fail_after(PATIENCE):
            await main()

    trio.run(bounded)


each_adapter = pytest.mark.parametrize(
    ("adapter", "run"),
    [(topone_asyncio, run_asyncio), (topone_trio, run_trio)],
    ids=["asyncio", "trio"],
)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(http_config=SERVER) as simulator:
        yield simulator


def opened(adapter: Any, simulator: Simulator, cache: Path) -> Any:
    return adapter.open_account(
        simulator.credentials,
        url=simulator.url,
        http_url=simulator.http_url,
        cache=cache,
        config=FAST,
        account_config=QUICK,
    )


def tokens_asked(simulator: Simulator) -> int:
    return sum(call.path.endswith("/token") for call in simulator.http_calls)


@each_adapter
def test_accounts_that_start_at_once_share_one_token(
    adapter: Any, run: Any, simulator: Simulator, tmp_path: Path
) -> None:
    cache = tmp_path / "new" / "account.json"

    async def main() -> None:
        async with AsyncExitStack() as stack:
            accounts = [
                await stack.enter_async_context(opened(adapter, simulator, cache)) for _ in range(3)
            ]
            for account in accounts:
                await account.wait_until_whole(PATIENCE)

    run(main)
    assert tokens_asked(simulator) == 1
    run(main)
    assert tokens_asked(simulator) == 1, "the token is in the file"
    assert simulator.overruns == 0
    assert FileStore(cache).load().token.token is not None
    if os.name == "posix":
        assert stat.S_IMODE(cache.stat().st_mode) == 0o600


@each_adapter
def test_a_file_that_says_nothing_costs_one_interval(
    adapter: Any, run: Any, simulator: Simulator, tmp_path: Path
) -> None:
    cache = tmp_path / "account.json"
    cache.write_text("nonsense")
    cache.chmod(0o600)

    async def main() -> None:
        async with opened(adapter, simulator, cache) as account:
            await account.wait_until_whole(PATIENCE)

    run(main)
    assert FileStore(cache).load().token.token is not None


@pytest.mark.skipif(os.name != "posix", reason="files have no modes here")
@each_adapter
def test_a_file_that_is_not_safe_is_reported_until_it_is_mended(
    adapter: Any, run: Any, simulator: Simulator, tmp_path: Path
) -> None:
    cache = tmp_path / "account.json"
    cache.write_text("")
    cache.chmod(0o644)

    async def main() -> None:
        async with opened(adapter, simulator, cache) as account:
            async for event in account:
                if isinstance(event, StateNotStored):
                    assert f"chmod 600 {cache}" in event.problem
                    assert simulator.http_calls == ()
                    cache.chmod(0o600)
                    break
            await account.wait_until_whole(PATIENCE)

    run(main)


@each_adapter
def test_nothing_of_it_is_logged(
    adapter: Any, run: Any, simulator: Simulator, tmp_path: Path
) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    names = [*root.manager.loggerDict, "httpcore.http11", "httpcore.connection", "filelock"]
    loggers = [root, *(logging.getLogger(name) for name in names)]
    levels = [logger.level for logger in loggers]
    cache = tmp_path / "account.json"

    async def main() -> None:
        async with opened(adapter, simulator, cache) as account:
            await account.wait_until_whole(PATIENCE)

    root.addHandler(handler)
    for logger in loggers:
        # The simulator's own side is in this process, too.
        ours = logger.name.split(".")[0] not in {"aiohttp", "websockets"}
        logger.setLevel(logging.DEBUG if ours else logging.CRITICAL)
    try:
        run(main)
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    token = FileStore(cache).load().token.token
    assert token is not None
    for secret in (token.reveal(), simulator.credentials.reveal(), "sig=", "apiToken"):
        assert secret not in text.getvalue()
