"""A program that keeps an account, in a thread, and everything that happens to it meanwhile.

The program is what an application would write: it opens an account through the public door of an
adapter and iterates over it. The test makes the living account trade and the exchange fail, from
another thread, and compares at each rest, once nobody trades and nothing fails, everything that the
program was told with the exchange's own books.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any

from attrs import Factory, define

import topone_simulator
from test_open_account import FAST, Door, trade
from topone_proto import Balance, Order
from topone_proto.account import (
    AccountConfig,
    AggregatedFill,
    BalanceChanged,
    ClockCorrected,
    FetchFailed,
    FillCorrected,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
)
from topone_proto.exchange import DropConnections, GatewayConfig, HttpConfig

# The exchange's minute is so long here, and what the account takes for it: the difference is for
# requests that a busy machine delays.
MINUTE = 0.08
CONFIG = AccountConfig(
    answer_lag=0.0,
    retry_first=0.01,
    retry_cap=0.05,
    order_calls_per_minute=8,
    audit_interval=None,
    token_interval=3 * MINUTE,
    token_block=5 * MINUTE,
)
SERVER = HttpConfig(
    token_interval=MINUTE,
    token_block=2 * MINUTE,
    order_calls=8,
    order_period=MINUTE,
    order_block=2 * MINUTE,
)
ORDER_LIST = "/t/v1/order/query"
TOKEN = "/u/v1/api/token"
KEPT = 1000
NOTHING = (Decimal(0), Decimal(0))
PATIENCE = 60.0
"""Seconds after which something that should have come has not: a failure, never a pass."""


@define
class Told:
    """Everything that a program was told by iterating."""

    is_whole: bool = False
    open_orders: dict[int, Order] = Factory(dict[int, Order])
    others: dict[int, Order] = Factory(dict[int, Order])
    unknown: set[int] = Factory(set[int])
    balances: dict[str, Balance] = Factory(dict[str, Balance])
    # The same, from the changes alone.
    by_changes: dict[int | str, Order | Balance] = Factory(dict[int | str, Order | Balance])
    fills: dict[int, tuple[Decimal, Decimal]] = Factory(dict[int, tuple[Decimal, Decimal]])
    outcomes: Counter[int] = Factory(Counter[int])
    resynced: int = 0
    failures: list[FetchFailed] = Factory(list[FetchFailed])
    corrected: list[float] = Factory(list[float])
    epochs: int = 0
    end: BaseException | None = None

    def take(self, change: object) -> None:
        """Take in what iterating gives."""
        match change:
            case OrderChanged(after=order):
                self.by_changes[order.id] = order
            case BalanceChanged(after=balance):
                self.by_changes[balance.asset] = balance
            case AggregatedFill(order=order) | FillCorrected(order=order):
                stock, money = self.fills.get(order.id, NOTHING)
                self.fills[order.id] = stock + change.deal_stock, money + change.deal_money
            case OutcomeUnknown(order=order):
                self.outcomes[order.id] += 1
            case Resynced():
                self.resynced += 1
            case FetchFailed():
                self.failures.append(change)
            case ClockCorrected(seconds=seconds):
                self.corrected.append(seconds)
            case _:
                pass

    def differences(self, truth: topone_simulator.Truth, lost: set[int]) -> list[str]:
        """Return where this is not the exchange's, of which no list has these orders."""
        found: list[str] = []
        if not self.is_whole:
            return ["it is not whole"]
        if self.open_orders != truth.open_orders:
            found.append("the open orders are others")
        if self.balances != truth.balances:
            found.append("the balances are others")
        if not self.unknown <= lost:
            found.append(f"unknown outcomes: {self.unknown - lost}")
        orders = truth.open_orders | truth.closed_orders
        now: dict[Any, Any] = {**orders, **truth.balances}
        # The exchange's books have the last thousand that have ended.
        is_forgetful = len(truth.closed_orders) >= KEPT
        known = {name for name in now if name not in self.unknown}
        for number, order in self.others.items():
            if number in known and final(order) != final(now[number]):
                found.append(f"order {number} has ended in another way")
        for name, value in self.by_changes.items():
            if name not in known:
                if name not in self.unknown and not is_forgetful:
                    found.append(f"the exchange has no {name}")
            elif isinstance(value, Order):
                if final(value) != final(now[name]):
                    found.append(f"the changes of order {name} lead elsewhere")
                if self.fills.get(value.id, NOTHING) != final(now[name])[1:]:
                    found.append(f"the fills of order {name} add up to something else")
            elif value != now[name]:
                found.append(f"the changes of {name} lead elsewhere")
        return found


def final(order: Order) -> tuple[object, Decimal, Decimal]:
    return order.status, order.deal_stock, order.deal_money


@define
class Play:
    """A program that keeps an account, and everything that happens to it."""

    simulator: topone_simulator.Simulator
    told: Told = Factory(Told)
    rng: Random = Factory(lambda: Random(14))
    lost: set[int] = Factory(set[int])
    thread: threading.Thread | None = None

    def until(self, is_so: Callable[[], bool], words: str) -> None:
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert self.told.end is None, self.told.end
            if time.monotonic() > end:
                truth = self.simulator.truth()
                differences = self.told.differences(truth, self.lost)
                raise AssertionError(words, differences, self.told.failures[-3:])
            time.sleep(0.003)

    def trade(self, events: int = 12) -> None:
        trade(self.simulator, self.rng, events)

    def drop(self) -> None:
        """Lose the connection, and let the account trade meanwhile."""
        dials = len(self.simulator.handshakes)
        self.simulator.inject(DropConnections())
        self.trade()
        self.until(lambda: len(self.simulator.handshakes) > dials, "it dials again")

    def struck(self) -> int:
        return sum(call.fault is not None for call in self.simulator.http_calls)

    def rest(self) -> None:
        """Nobody trades: compare."""
        truth = self.simulator.truth()
        self.until(lambda: not self.told.differences(truth, self.lost), "it is right")

    def calls(self, path: str) -> int:
        return sum(call.path == path for call in self.simulator.http_calls)


async def program(door: Door, play: Play, is_over: threading.Event, **arguments: Any) -> None:
    """Keep an account: the whole program of an application."""
    async with door.open(play.simulator, **arguments) as account:
        async for change in account:
            told = play.told
            told.take(change)
            told.open_orders = dict(account.open_orders().value)
            told.balances = dict(account.balances().value)
            told.others = dict(account.other_orders().value)
            told.unknown = set(account.unknown_outcomes().value)
            told.epochs = account.metrics().epoch
            told.is_whole = account.is_whole
            if is_over.is_set():
                return


@contextmanager
def playing(
    door: Door,
    *,
    account_config: AccountConfig = CONFIG,
    server: HttpConfig = SERVER,
    gateway: GatewayConfig | None = None,
    overruns: int | None = 0,
    before: Callable[[Play], object] = lambda _: None,
    **arguments: Any,
) -> Generator[Play]:
    """Run a program while the block runs. In the end its account is right, and so many requests
    were too many, if that is known."""
    is_over = threading.Event()
    with topone_simulator.run_in_thread(config=gateway, http_config=server) as simulator:
        play = Play(simulator)

        def run() -> None:
            try:
                door.run(
                    lambda: program(
                        door,
                        play,
                        is_over,
                        **{"config": FAST, "account_config": account_config, **arguments},
                    )
                )
            except BaseException as error:
                play.told.end = error

        trade(simulator, play.rng, 12)
        before(play)
        play.thread = thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield play
            play.rest()
        finally:
            is_over.set()
            # It looks when it is told something.
            while thread.is_alive():
                play.trade(2)
                thread.join(0.02)
        assert play.told.end is None
        assert overruns is None or simulator.overruns == overruns
