"""The command ``topone relay``: processes that are killed, paused and ended, a bus that is away or
out of reach, and an exchange that is, against consumers that know what has really happened."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from random import Random

import pytest

from bus_servers import Server
from proxies import FaultProxy, fault_proxy
from relay_world import Relays, Stage, bus_of, exchanges, write_file
from topone_proto.exchange import DropConnections, RefuseHandshake

pytestmark = pytest.mark.thorough

TTL = 2.0
MARGIN = 0.5
MINUTE = 2.0


class Play:
    """Two processes, one of which reaches the bus through a proxy."""

    def __init__(self, stage: Stage, relays: Relays, server: Server, proxy: FaultProxy) -> None:
        self.stage = stage
        self.relays = relays
        self.server = server
        self.proxy = proxy


@pytest.fixture
def play(tmp_path: Path) -> Generator[Play]:
    (tmp_path / "bus").mkdir()
    server, connect = bus_of("nats", tmp_path / "bus")
    server.start()
    with exchanges(3, MINUTE) as found, fault_proxy(server.address) as proxy:
        direct = write_file(tmp_path, f"nats://{server.address}", found, TTL, MARGIN, minute=MINUTE)
        far = f"nats://127.0.0.1:{proxy.port}"
        relays = Relays(tmp_path, direct)
        relays.files["b"] = write_file(tmp_path, far, found, TTL, MARGIN, "b.toml", MINUTE)
        try:
            yield Play(Stage(found, connect, Random(1)), relays, server, proxy)
        finally:
            relays.end()
            server.kill()


async def killed(play: Play) -> None:
    play.relays.signal("b", signal.SIGKILL)
    await play.stage.trade(TTL + 1)
    play.relays.restart("b")


async def paused(play: Play) -> None:
    play.relays.signal("b", signal.SIGSTOP)
    await play.stage.trade(TTL + 1)
    play.relays.signal("b", signal.SIGCONT)


async def cut_off_from_the_bus(play: Play) -> None:
    play.proxy.swallow()
    await play.stage.trade(TTL + 1)
    play.proxy.heal()


async def bus_restarted(play: Play) -> None:
    play.server.kill()
    await play.stage.trade(1)
    play.server.start()


async def cut_off_from_the_exchange(play: Play) -> None:
    for exchange in play.stage.exchanges:
        exchange.simulator.inject(RefuseHandshake(503, times=None))
        exchange.simulator.inject(DropConnections())
    await play.stage.trade(1)
    for exchange in play.stage.exchanges:
        exchange.simulator.clear_faults()


FAULTS = [killed, paused, cut_off_from_the_bus, bus_restarted, cut_off_from_the_exchange]


def test_no_fault_loses_anything_in_silence(play: Play) -> None:
    async def main() -> None:
        stage = play.stage
        async with stage.consumers():
            play.relays.start("a")
            await stage.rest()
            play.relays.start("b")
            fault: Callable[[Play], Awaitable[None]]
            for fault in FAULTS:
                await stage.trade(0.5)
                await fault(play)
                await stage.trade(0.5)
                await stage.rest()
                play.relays.require_alive()

    asyncio.run(main())
    figures = play.stage.figures
    assert figures.gaps, "nothing was ever missed: these are no faults"
    assert figures.take_overs
    assert (figures.lost, figures.duplicates, figures.double_holders, figures.breaches) == (0,) * 4


def test_sigterm_hands_over_at_once(play: Play) -> None:
    async def main() -> None:
        stage = play.stage
        async with stage.consumers():
            play.relays.start("a")
            await stage.rest()
            play.relays.start("b")
            process = play.relays.processes["a"]
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 128 + signal.SIGINT
            await stage.rest()

    asyncio.run(main())
    left = [json.loads(line) for line in play.relays.log("a")]
    took = [json.loads(line) for line in play.relays.log("b")]
    ended = {it["account"]: it["time"] for it in left if it["event"] == "LeaseEnded"}
    acquired = {it["account"]: it["time"] for it in took if it["event"] == "LeaseAcquired"}
    assert set(ended) == set(acquired) == {it.name for it in play.stage.exchanges}
    assert "Leaving" in [it["event"] for it in left]
