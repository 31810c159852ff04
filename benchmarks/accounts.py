"""A part of group 3: an account, beside a feed whose events the application applies by hand."""

import asyncio
import random
from functools import partial

import topone_asyncio
from benchmarks.clients import Times, Watch
from benchmarks.loopback import TOKEN, LoopbackServer, release, server_ports, url_of
from benchmarks.measuring import Effort, Row, Table, in_fresh_processes
from topone_proto import ORDERS, Subscribed
from topone_proto.account import Account, AccountConfig, Knowledge, OrdersQuery

FEED = "open_feed and Account.apply"
ACCOUNT = "open_account"


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return in_fresh_processes(_measure, effort)


async def _feed(port: int, count: int) -> Times:
    account = Account()
    url = url_of(port, "fills", n=count)
    async with topone_asyncio.open_feed(token=TOKEN, url=url, topics=[ORDERS]) as feed:
        async for event in feed:
            account.apply(event)
            if isinstance(event, Subscribed):
                break
        for query in account.ask():
            if isinstance(query, OrdersQuery):
                account.answer(query, (), pages=1)
        assert account.knowledge(ORDERS) is Knowledge.WHOLE
        release(port)
        watch = Watch()
        async for event in feed:
            account.apply(event)
            count -= 1
            if not count:
                break
        return watch.stop()


async def _account(port: int, count: int) -> Times:
    # As if it had no answers behind the stream to allow for.
    config = AccountConfig(answer_lag=0.0)
    async with topone_asyncio.open_account(
        token=TOKEN,
        url=url_of(port, "fills", n=count),
        http_url=f"http://127.0.0.1:{port}",
        topics=[ORDERS],
        account_config=config,
    ) as account:
        await account.wait_until_whole(30)
        for _ in range(account.metrics().waiting):
            await anext(account)
        release(port)
        watch = Watch()
        # Each update is a changed order and a fill.
        left = 2 * count
        async for _event in account:
            left -= 1
            if not left:
                break
        return watch.stop()


def _measure(effort: Effort) -> list[Table]:
    times: dict[str, list[Times]] = {FEED: [], ACCOUNT: []}
    with server_ports(LoopbackServer) as (port,):
        clients = [(FEED, partial(_feed, port)), (ACCOUNT, partial(_account, port))]
        for number in range(2 * effort.rounds + 1):
            events = effort.burst // 2 if number else max(2, effort.burst // 20)
            for name, client in random.sample(clients, len(clients)):
                taken = asyncio.run(client(events))
                if number:
                    times[name].append(taken)
    count = effort.burst // 2
    return [
        Table(
            "adapters/account",
            f"topone_asyncio: {count:,} order updates of an account, processor time of each",
            "s",
            FEED,
            tuple(
                Row(name, tuple(taken.cpu / count for taken in times[name]), note)
                for name, note in (
                    (FEED, "the application applies each event by itself"),
                    (ACCOUNT, "the changes come out of it, and it stays whole by itself"),
                )
            ),
        )
    ]
