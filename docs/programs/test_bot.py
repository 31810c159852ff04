"""A test of the bot's reconnect, in bad weather. Copy it beside your bot, for ``pytest``."""

import asyncio
from decimal import Decimal

from bot_asyncio import Bot, SimulatedBooks

import topone_simulator
from topone_proto import BALANCE, ORDERS, SessionConfig, Side, Topic
from topone_proto.account import AccountConfig, Change, Knowledge, Reading, Resynced
from topone_proto.exchange import DropConnections, RefuseHandshake


class WatchedBot(Bot):
    """Says when it knows a topic again, and loses no time."""

    config = SessionConfig(retry_first=0.01, retry_base=0.01)
    pace = AccountConfig(answer_lag=0.0, retry_first=0.01, retry_cap=0.01)

    def __init__(self, books: SimulatedBooks) -> None:
        super().__init__(books)
        self.resynced: asyncio.Queue[Topic] = asyncio.Queue()

    def decide(self, change: Change) -> None:
        super().decide(change)
        if isinstance(change, Resynced):
            self.resynced.put_nowait(change.topic)

    async def be_whole(self) -> None:
        assert {await self.resynced.get(), await self.resynced.get()} == {ORDERS, BALANCE}


async def bad_weather() -> None:
    async with topone_simulator.serve() as simulator, asyncio.timeout(30):
        bot = WatchedBot(SimulatedBooks(simulator))
        running = asyncio.create_task(bot.run("demo", simulator.url))
        await bot.be_whole()
        simulator.inject(RefuseHandshake(503, times=3))
        simulator.inject(DropConnections())
        # Nobody is connected now, so nobody is told.
        simulator.live(lambda account, now: account.place("ETH/BTC", Side.BUY, Decimal(1), now))
        await bot.be_whole()
        assert bot.account.open_orders() == Reading(simulator.orders, Knowledge.WHOLE)
        assert bot.account.balances() == Reading(simulator.balances, Knowledge.WHOLE)
        assert len(simulator.handshakes) == 5
        running.cancel()


def test_it_finds_what_it_missed() -> None:
    asyncio.run(bad_weather())
