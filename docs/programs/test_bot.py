"""A test of the bot's reconnect, with faults injected. Copy it beside your bot, for ``pytest``."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from bot_asyncio import follow

import topone_asyncio
import topone_simulator
from topone_proto import AccountConfig, Knowledge, Order, SessionConfig, Side
from topone_proto.exchange import DropConnections, RefuseHandshake

# No wait is longer than it has to be: the simulated exchange answers at once.
FEED = SessionConfig(retry_first=0.01, retry_base=0.01)
PACE = AccountConfig(answer_lag=0.0, retry_first=0.01, retry_cap=0.01)


async def with_faults() -> None:
    decisions: asyncio.Queue[tuple[Knowledge, Mapping[int, Order]]] = asyncio.Queue()

    def decide(account: topone_asyncio.Account) -> None:
        reading = account.open_orders()
        decisions.put_nowait((reading.knowledge, reading.value))

    async def acts_on(truth: Mapping[int, Order]) -> None:
        knowledge, orders = await decisions.get()
        while orders != truth:
            assert knowledge is Knowledge.WHOLE
            knowledge, orders = await decisions.get()

    async with (
        asyncio.timeout(30),
        topone_simulator.serve() as simulator,
        topone_asyncio.open_account(
            simulator.credentials,
            url=simulator.url,
            http_url=simulator.http_url,
            config=FEED,
            account_config=PACE,
            cache=None,
        ) as account,
    ):
        following = asyncio.create_task(follow(account, decide))
        await acts_on({})
        simulator.inject(RefuseHandshake(503, times=3))
        simulator.inject(DropConnections())
        # Nobody is connected now, so nobody is told.
        simulator.live(lambda account, now: account.place("ETH/BTC", Side.BUY, Decimal(1), now))
        await acts_on(simulator.truth().open_orders)
        assert len(simulator.handshakes) == 5
        following.cancel()


def test_it_finds_what_it_missed() -> None:
    asyncio.run(with_faults())
