"""A bot that survives a reconnect, for asyncio.

``python bot_asyncio.py`` runs it against a simulated exchange that drops the connection.
Yours to write: ``decide``, and ``Books`` with an HTTP client. Everything else can stay.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from functools import partial
from threading import Timer
from typing import Any, Protocol

import topone_asyncio
import topone_simulator
from topone_proto import DEFAULT_URL, AsyncTokenSource, Balance, FeedFailed, Order, SessionConfig
from topone_proto.account import (
    Account,
    AccountConfig,
    AggregatedFill,
    BalancesQuery,
    Change,
    FillCorrected,
    Knowledge,
    OrdersQuery,
    OutcomeUnknown,
    Query,
    Resynced,
)
from topone_proto.exchange import DropConnections


class BooksError(Exception):
    """The exchange did not answer over HTTP."""


class Books(Protocol):
    """The exchange over HTTP. Raises ``BooksError`` if it does not answer."""

    async def orders(self, ids: tuple[int, ...] | None) -> tuple[list[Order], int]:
        """These orders, open or closed; None: all that are open, in all markets, on all pages.
        And how many pages that were."""

    async def balances(self, assets: tuple[str, ...] | None) -> list[Balance]:
        """The balances of these assets; None: all."""


class Bot:
    """Follows an account and looks up what it may have missed."""

    config = SessionConfig()
    """The feed's patience and persistence."""
    pace = AccountConfig()
    """The waits of questions over HTTP for each other, and for answers that lag."""

    def __init__(self, books: Books) -> None:
        self.account = Account(config=self.pace)
        self.books = books
        self.tasks: set[asyncio.Task[None]] = set()
        self.news = asyncio.Event()

    def decide(self, change: Change) -> None:
        """Your strategy: called for everything that changed, in order."""
        match change:
            case AggregatedFill(order=order, deal_stock=amount, price=price):
                print(f"order {order.id}: {amount} {order.stock} filled at {price}")
            case FillCorrected(order=order, deal_stock=amount):
                print(f"order {order.id}: {amount} {order.stock} to add to what was told before")
            case OutcomeUnknown(order=order):
                print(f"order {order.id}: closed, and nobody says how")
            case Resynced(topic=topic, differences=missed):
                print(f"{topic}: whole again, {len(missed)} changes were missed")
            case _:
                pass

    def spendable(self, asset: str) -> Decimal | None:
        """Return what can be spent now; None while nobody can know."""
        reading = self.account.balance(asset)
        if reading.knowledge is Knowledge.WHOLE or self.account.is_current(asset):
            return Decimal(0) if reading.value is None else reading.value.available
        return None

    async def run(self, token: str | AsyncTokenSource, url: str = DEFAULT_URL) -> None:
        """Follow the account until this is cancelled. Raises ``FeedFailed`` if the feed ends."""
        failure: FeedFailed | None = None
        async with asyncio.TaskGroup() as group:
            self.start(self.ask(group), group)
            try:
                async with topone_asyncio.open_feed(
                    token=token, url=url, config=self.config
                ) as feed:
                    async for event in feed:
                        self.take(self.account.apply(event))
            except FeedFailed as end:
                # Raised below: a task group would put it into an ExceptionGroup.
                failure = end
            for task in self.tasks:
                task.cancel()
        if failure is not None:
            raise failure

    def take(self, changes: tuple[Change, ...]) -> None:
        """Act on changes, and have looked up whatever is not known by now."""
        for change in changes:
            self.decide(change)
        self.news.set()

    async def ask(self, group: asyncio.TaskGroup) -> None:
        """Ask the account's questions: after every event and answer, and when it wants to."""
        now = asyncio.get_running_loop().time
        while True:
            self.news.clear()
            for query in self.account.ask(now()):
                self.start(self.look_up(query), group)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self.account.deadline):
                    await self.news.wait()

    async def look_up(self, query: Query) -> None:
        """Ask the exchange, and tell the account what it said."""
        try:
            async with asyncio.timeout(10):
                match query:
                    case OrdersQuery(ids=names):
                        orders, pages = await self.books.orders(names)
                        changes = self.account.answer(query, orders, pages=pages)
                    case BalancesQuery(assets=names):
                        changes = self.account.answer(query, await self.books.balances(names))
            self.take(changes)
        except (BooksError, TimeoutError):
            print("no answer over HTTP")
            self.account.retry(query)
            self.news.set()

    def start(self, work: Coroutine[Any, Any, None], group: asyncio.TaskGroup) -> None:
        task = group.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class SimulatedBooks:
    """The books of the simulated exchange, in place of yours."""

    def __init__(self, simulator: topone_simulator.Simulator) -> None:
        self.simulator = simulator

    async def orders(self, ids: tuple[int, ...] | None) -> tuple[list[Order], int]:
        known = self.simulator.orders.values()
        return [order for order in known if (order.is_open if ids is None else order.id in ids)], 1

    async def balances(self, assets: tuple[str, ...] | None) -> list[Balance]:
        known = self.simulator.balances.values()
        return [balance for balance in known if assets is None or balance.asset in assets]


def start_timer(seconds: float, call: Callable[[], object]) -> None:
    timer = Timer(seconds, call)
    timer.daemon = True
    timer.start()


async def main(seconds: float = 15, token: str = "demo") -> None:
    with topone_simulator.run_in_thread(rate=3) as simulator:
        start_timer(seconds / 3, partial(simulator.inject, DropConnections()))
        bot = Bot(SimulatedBooks(simulator))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await bot.run(token, simulator.url)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except FeedFailed as end:
        sys.exit(f"the feed has ended: {end}")
