"""A bot that acts only on an account that is right, for asyncio. The key pair is in TOPONE_APP_ID
and TOPONE_APP_KEY; for another server: ``python bot_asyncio.py URL HTTP_URL``."""

import asyncio
import os
import sys
from collections.abc import Callable

from topone_asyncio import Account, open_account
from topone_proto import DEFAULT_HTTP_URL, DEFAULT_URL, Credentials, TopOneError
from topone_proto.account import AggregatedFill, FetchFailed, OutcomeUnknown, Resynced


def decide(account: Account) -> None:
    """Your strategy: called after every event while the account is whole."""


async def follow(account: Account, decide: Callable[[Account], None]) -> None:
    async for event in account:
        match event:
            case AggregatedFill(order=order, deal_stock=amount, price=price):
                print(f"order {order.id}: {amount} {order.stock} filled at {price:.8g}")
            case OutcomeUnknown(order=order):
                print(f"order {order.id}: not open any more, and nobody says how it ended")
            case Resynced(topic=topic, differences=missed):
                print(f"{topic}: whole; changes that HTTP told: {len(missed)}")
            case FetchFailed(problem=problem):
                print(f"no answer over HTTP: {problem}")
            case _:
                pass
        if account.is_whole:
            decide(account)


async def main(url: str = DEFAULT_URL, http_url: str = DEFAULT_HTTP_URL) -> None:
    keys = Credentials(os.environ.get("TOPONE_APP_ID", ""), os.environ.get("TOPONE_APP_KEY", ""))
    async with open_account(keys, url=url, http_url=http_url) as account:
        await follow(account, decide)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except TopOneError as error:
        sys.exit(f"the account has ended: {error}")
