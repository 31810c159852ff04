"""A bot that survives a reconnect, for threads.

``python bot_threads.py`` runs it against a simulated exchange that drops the connection.
Yours to write: ``decide``, and ``Books`` with an HTTP client. Everything else can stay.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from threading import Condition, Event, RLock, Timer
from time import monotonic
from typing import Protocol

import topone_simulator
import topone_threads
from topone_proto import DEFAULT_URL, Balance, FeedFailed, Order, SessionConfig
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

    def orders(self, ids: tuple[int, ...] | None) -> tuple[list[Order], int]:
        """These orders, open or closed; None: all that are open, in all markets, on all pages.
        And how many pages that were."""

    def balances(self, assets: tuple[str, ...] | None) -> list[Balance]:
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
        # The account is for one thread at a time: that of the feed, or one that looks up.
        self.news = Condition(RLock())
        self.stopping = Event()
        self.feed: topone_threads.Feed | None = None
        self.error: BaseException | None = None

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
        with self.news:
            reading = self.account.balance(asset)
            if reading.knowledge is Knowledge.WHOLE or self.account.is_current(asset):
                return Decimal(0) if reading.value is None else reading.value.available
            return None

    def run(self, token: str | Callable[[], str], url: str = DEFAULT_URL) -> None:
        """Follow the account until ``stop`` is called. Raises ``FeedFailed`` if the feed ends."""
        with ThreadPoolExecutor(3) as self.workers:
            self.start(self.ask)
            try:
                with topone_threads.open_feed(
                    token=token, url=url, config=self.config
                ) as self.feed:
                    if self.stopping.is_set():
                        self.feed.close()
                    for event in self.feed:
                        with self.news:
                            self.take(self.account.apply(event))
            finally:
                self.stopping.set()
                with self.news:
                    self.news.notify_all()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """End ``run``. For any thread, and for a signal handler."""
        self.stopping.set()
        if self.feed is not None:
            self.feed.close()

    def take(self, changes: tuple[Change, ...]) -> None:
        """Act on changes, and have looked up whatever is not known by now."""
        for change in changes:
            self.decide(change)
        self.news.notify_all()

    def ask(self) -> None:
        """Ask the account's questions: after every event and answer, and when it wants to."""
        with self.news:
            while not self.stopping.is_set():
                for query in self.account.ask(monotonic()):
                    self.start(self.look_up, query)
                deadline = self.account.deadline
                self.news.wait(None if deadline is None else max(0.0, deadline - monotonic()))

    def look_up(self, query: Query) -> None:
        """Ask the exchange, and tell the account what it said. Your HTTP client has a timeout."""
        try:
            match query:
                case OrdersQuery(ids=names):
                    orders, pages = self.books.orders(names)
                    with self.news:
                        self.take(self.account.answer(query, orders, pages=pages))
                case BalancesQuery(assets=names):
                    balances = self.books.balances(names)
                    with self.news:
                        self.take(self.account.answer(query, balances))
        except BooksError:
            print("no answer over HTTP")
            with self.news:
                self.account.retry(query)
                self.news.notify_all()

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        self.workers.submit(work, *arguments).add_done_callback(self.done)

    def done(self, work: Future[None]) -> None:
        """A mistake in ``decide`` ends the bot, in whichever thread it shows."""
        self.error = work.exception() or self.error
        if self.error is not None:
            self.stop()


class SimulatedBooks:
    """The books of the simulated exchange, in place of yours."""

    def __init__(self, simulator: topone_simulator.Simulator) -> None:
        self.simulator = simulator

    def orders(self, ids: tuple[int, ...] | None) -> tuple[list[Order], int]:
        known = self.simulator.orders.values()
        return [order for order in known if (order.is_open if ids is None else order.id in ids)], 1

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
