"""The account of the adapter in examples/, on both of AnyIO's backends: right, calm and closed, as
those of the other adapters are, over real sockets."""

from collections.abc import Generator
from functools import partial

import anyio
import anyio.lowlevel
import attrs
import pytest

import test_http_connections as connections
import test_http_ends as ends
import test_open_account as plays
import topone_simulator
from http_servers import LIBRARIES, Library
from topone_anyio import open_account
from topone_anyio.http import open_http

LIMIT = 60.0


def run(backend: str, main: plays.Main) -> None:
    async def bounded() -> None:
        with anyio.fail_after(LIMIT):
            await main()

    anyio.run(bounded, backend=backend)


async def run_main(main: plays.Main) -> None:
    await main()


async def cancelled_after(main: plays.Main, turns: int) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_main, main)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def door(backend: str) -> plays.Door:
    return plays.Door(
        open_account,
        partial(run, backend),
        anyio.sleep,
        anyio.lowlevel.checkpoint,
        cancelled_after,
    )


@pytest.fixture
def simulator() -> Generator[topone_simulator.Simulator]:
    with topone_simulator.run_in_thread(http_config=plays.SERVER) as simulator:
        yield simulator
        assert simulator.overruns == 0


def test_it_is_right_after_its_start_and_after_every_lost_connection(
    door: plays.Door, simulator: topone_simulator.Simulator
) -> None:
    plays.test_it_is_right_after_its_start_and_after_every_lost_connection(door, simulator)


def test_a_token_that_only_http_refuses_is_replaced(
    door: plays.Door, simulator: topone_simulator.Simulator
) -> None:
    plays.test_a_token_that_only_http_refuses_is_replaced_and_the_connection_goes_on(
        door, simulator
    )


@pytest.mark.thorough
def test_cancelled_at_any_moment_it_leaves_nothing_behind(
    door: plays.Door, simulator: topone_simulator.Simulator
) -> None:
    plays.test_cancelled_at_any_moment_it_leaves_nothing_behind(door, simulator, 0)


# --- HTTP ----------------------------------------------------------------------------------------


@pytest.fixture(params=LIBRARIES, ids=lambda each: each.name)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    given: Library = request.param
    return attrs.evolve(given, open=open_http, sleep=anyio.sleep)


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_https_goes_through_the_proxy(
    library: Library, is_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections.test_https_goes_through_the_proxy(library, is_tls, monkeypatch)


def test_a_proxy_that_is_not_there_is_named(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections.test_a_proxy_that_is_not_there_is_named(library, monkeypatch)


def test_a_certificate_that_is_not_trusted_is_refused(library: Library) -> None:
    connections.test_a_certificate_that_is_not_right_is_refused(library, ())


def test_connections_are_kept_and_one_that_was_closed_is_not_used(library: Library) -> None:
    connections.test_pages_come_over_one_connection(library)
    connections.test_a_connection_that_was_closed_is_not_used(library)


def test_closing_ends_what_is_under_way(library: Library) -> None:
    connections.test_closing_ends_what_is_under_way(library)
    ends.test_closing_that_is_cancelled_closes_all_the_same(library)


@pytest.mark.parametrize("way", ["plain", "tls", "proxy"])
def test_a_fetch_that_is_cancelled_anywhere_leaves_no_socket(
    library: Library, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.test_a_fetch_that_is_cancelled_anywhere_leaves_no_socket(library, way, monkeypatch)
