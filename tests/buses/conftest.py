"""One server of each kind for a module, and two buses on it; every test has accounts of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bus_plays import connect, new_account
from bus_servers import OLD_NATS, NatsServer, Server, ValkeyServer, running
from topone_relay import Bus

KINDS = ["nats", "redis", *(["old-nats"] if Path(OLD_NATS).exists() else [])]


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "nats":
            server: Server = NatsServer(folder)
        case "old-nats":
            server = NatsServer(folder, binary=OLD_NATS)
        case _:
            server = ValkeyServer(folder)
    with running(server):
        yield server


@pytest.fixture
def account() -> str:
    return new_account()


@pytest_asyncio.fixture
async def bus(server: Server) -> AsyncIterator[Bus]:
    async with connect(server) as bus:
        yield bus


@pytest_asyncio.fixture
async def other(server: Server) -> AsyncIterator[Bus]:
    async with connect(server) as bus:
        yield bus
