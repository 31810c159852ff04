"""A bot that survives a reconnect, for threads.

``python bot_threads.py`` runs it against a simulated exchange that drops the connection.
Yours to write: ``decide``, and ``Books`` with an HTTP client. Everything else can stay.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from threading import Event, RLock, Timer
from typing import Protocol

import topone_simulator
import topone_threads
from topone_proto import DEFAULT_URL, Balance, FeedFailed, Order, SessionConfig
from topone_proto.account import (
    Account,
    AggregatedFill,
    BalancesQuery,
    Change,
    Knowledge,
    OrdersQuery,
    Query,
    Resynced,
)
from topone_proto.gateway import DropConnections


class BooksError(Exception):
    """The exchange did not answer over HTTP."""


class Books(Protocol):
    """What the exchange says over HTTP. Raises ``BooksError`` if it does not."""

    def orders(self, ids: tuple[int, ...] | None) -> list[Order]:
        """These orders, open or closed; None: all that are open, in all markets, on all pages."""

    def balances(self, assets: tuple[str, ...] | None) -> list[Balance]:
        """The balances of these assets; None: all."""


class Bot:
    """Follows an account and looks up what it may have missed."""

    patience = 5.0
    """Seconds before asking again over HTTP."""
    config = SessionConfig()
    """How patient and persistent the feed is."""

    def __init__(self, books: Books) -> None:
        self.account = Account()
        self.books = books
        # The account is for one thread at a time: that of the feed, or one that looks up.
        self.lock = RLock()
        self.stopping = Event()
        self.feed: topone_threads.Feed | None = None
        self.error: BaseException | None = None

    def decide(self, change: Change) -> None:
        """Your strategy: called for everything that changed, in order."""
        match change:
            case AggregatedFill(order=order, deal_stock=amount, price=price):
                print(f"order {order.id}: {amount} {order.stock} filled at {price}")
            case Resynced(topic=topic, differences=missed):
                print(f"{topic}: whole again, {len(missed)} changes were missed")
            case _:
                pass

    def spendable(self, asset: str) -> Decimal | None:
        """What can be spent now; None while nobody can know."""
        with self.lock:
            reading = self.account.balance(asset)
            if reading.knowledge is Knowledge.WHOLE or self.account.is_current(asset):
                return Decimal(0) if reading.value is None else reading.value.available
            return None

    def run(self, token: str | Callable[[], str], url: str = DEFAULT_URL) -> None:
        """Follow the account until ``stop`` is called. Raises ``FeedFailed`` if the feed ends."""
        with ThreadPoolExecutor(2) as self.workers:
            try:
                with topone_threads.open_feed(
                    token=token, url=url, config=self.config
                ) as self.feed:
                    if self.stopping.is_set():
                        self.feed.close()
                    for event in self.feed:
                        with self.lock:
                            self.take(self.account.apply(event))
            finally:
                self.stopping.set()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """End ``run``. For any thread, and for a signal handler."""
        self.stopping.set()
        if self.feed is not None:
            self.feed.close()

    def take(self, changes: tuple[Change, ...]) -> None:
        """Act on changes, then look up whatever is not known by now."""
        for change in changes:
            self.decide(change)
        if not self.stopping.is_set():
            for query in self.account.ask():
                self.workers.submit(self.look_up, query).add_done_callback(self.looked_up)

    def looked_up(self, done: Future[None]) -> None:
        """A mistake in ``decide`` ends the bot, in whichever thread it shows."""
        self.error = done.exception() or self.error
        if self.error is not None:
            self.stop()

    def look_up(self, query: Query) -> None:
        """Ask the exchange, and tell the account what it said. Your HTTP client has a timeout."""
        is_answered = False
        try:
            match query:
                case OrdersQuery(ids=names):
                    orders = self.books.orders(names)
                    with self.lock:
                        self.take(self.account.answer(query, orders))
                case BalancesQuery(assets=names):
                    balances = self.books.balances(names)
                    with self.lock:
                        self.take(self.account.answer(query, balances))
            with self.lock:
                is_answered = set(names or ()).isdisjoint(self.account.unresolved)
        except BooksError:
            print("no answer over HTTP")
        if not is_answered and not self.stopping.wait(self.patience):
            with self.lock:
                self.account.retry(query)
                self.take(())


class SimulatedBooks:
    """The books of the simulated exchange, in place of yours."""

    def __init__(self, simulator: topone_simulator.Simulator) -> None:
        self.simulator = simulator

    def orders(self, ids: tuple[int, ...] | None) -> list[Order]:
        known = self.simulator.orders.values()
        return [order for order in known if (order.is_open if ids is None else order.id in ids)]

    def balances(self, assets: tuple[str, ...] | None) -> list[Balance]:
        known = self.simulator.balances.values()
        return [balance for balance in known if assets is None or balance.asset in assets]


def start_timer(seconds: float, call: Callable[[], object]) -> None:
    timer = Timer(seconds, call)
    timer.daemon = True
    timer.start()


def main(seconds: float = 15, token: str = "demo") -> None:
    with topone_simulator.run_in_thread(rate=3) as simulator:
        start_timer(seconds / 3, partial(simulator.inject, DropConnections()))
        bot = Bot(SimulatedBooks(simulator))
        start_timer(seconds, bot.stop)
        bot.run(token, simulator.url)


if __name__ == "__main__":
    try:
        main()
    except FeedFailed as end:
        sys.exit(f"the feed has ended: {end}")
