"""A strategy on another machine than the relay: it acts only on an account that is right:
``python relay_strategy.py BUS``."""

import asyncio
import sys
from collections.abc import AsyncIterable, Callable

from topone_nats import open_feed
from topone_proto import ORDERS, AggregatedFill, Knowledge, KnowledgeChanged, TopOneError
from topone_proto.account import Account, RelayEvent


def decide(account: Account) -> None:
    """Your strategy: called after every event while all orders are known."""


async def follow(feed: AsyncIterable[RelayEvent], decide: Callable[[Account], None]) -> None:
    account = Account()
    async for event in feed:
        for change in account.apply(event):
            match change:
                case AggregatedFill(order=order, deal_stock=amount, price=price):
                    print(f"order {order.id}: {amount} {order.stock} filled at {price:.8g}")
                case KnowledgeChanged(topic=topic, after=after):
                    print(f"{topic}: {after.value}")
                case _:
                    pass
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            decide(account)


async def main(bus: str) -> None:
    async with open_feed(bus, account="main") as feed:
        await follow(feed, decide)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except TopOneError as error:
        sys.exit(f"the feed has ended: {error}")
    except KeyboardInterrupt:
        pass
