"""An account at an exchange, as far as a relay is concerned: its past, feeds of it, and answers to
questions about it.

Every balance and every state of an order is different from all others: an account that is right is
what the exchange's was at one moment.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from typing import Any, Final

from attrs import evolve

from topone_proto.account import Account, BalancesQuery, OrdersQuery, Query
from topone_proto.events import Connected, Disconnected, Event, Gap, Subscribed
from topone_proto.failures import Failure, FailureKind
from topone_proto.models import Side
from topone_proto.testing.simulation.world import World
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.topic import Update

__all__ = ["Exchange", "Feed"]

_LOST: Final = Failure(FailureKind.LOST)
_ASSETS: Final = ("ETH", "BTC", "USDT")


class Exchange:
    """The account itself.

    Args:
        world: the time.
        rng: what happens in it.
    """

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.balances: dict[str, Balance] = {}
        """The balances at present."""
        self.orders: dict[int, Order] = {}
        """All orders so far."""
        self.feeds: list[Feed] = []
        """The feeds that are connected."""
        self._changes = 0
        # After which changes each of the two was what: the numbers by the content.
        self._moments: dict[object, list[int]] = {}
        self._latest: list[object] = [None, None]
        self._note()

    @property
    def ts(self) -> int:
        """The server time, different after each change."""
        return 10**12 + self._changes

    def change(self) -> None:
        """Something happens in the account."""
        self._changes += 1
        update = self._change_balance() if self._rng.random() < 0.5 else self._change_order()
        self._note()
        for feed in self.feeds:
            feed.publish(update)

    def moments(self, account: Account) -> tuple[list[int], list[int]]:
        """Return after which changes the exchange's open orders, and its balances, became what an
        account has."""
        return (
            self._moments.get(_content(account.open_orders().value), []),
            self._moments.get(_content(account.balances().value), []),
        )

    def is_present(self, account: Account) -> bool:
        """Return True if an account is what the exchange's is now."""
        is_open = {number: order for number, order in self.orders.items() if order.is_open}
        return account.open_orders().value == is_open and account.balances().value == self.balances

    def _note(self) -> None:
        is_open = {number: order for number, order in self.orders.items() if order.is_open}
        for kind, content in enumerate((_content(is_open), _content(self.balances))):
            if content != self._latest[kind]:
                self._latest[kind] = content
                self._moments.setdefault(content, []).append(self._changes)

    def _change_balance(self) -> Update:
        balance = Balance(self._rng.choice(_ASSETS), Decimal(self._changes), Decimal(0))
        self.balances[balance.asset] = balance
        return BalanceUpdate(balance, self.ts)

    def _change_order(self) -> Update:
        numbers = [order.id for order in self.orders.values() if order.is_open]
        if len(numbers) < 2 or (len(numbers) < 9 and self._rng.random() < 0.5):
            order = _new_order(self._changes)
        else:
            order = self.orders[self._rng.choice(numbers)]
            filled = order.deal_stock + 1
            is_done = filled == order.amount or self._rng.random() < 0.3
            order = evolve(
                order,
                left=order.amount - filled,
                deal_stock=filled,
                deal_money=filled * 2,
                status=OrderStatus.PARTIAL_CANCELED if is_done else order.status,
                update_time=float(self._changes),
            )
        self.orders[order.id] = order
        return OrderUpdate(order, self.ts)


def _content(values: Mapping[Any, Order] | Mapping[Any, Balance]) -> object:
    return frozenset(values.values())


def _new_order(number: int) -> Order:
    return Order(
        id=number,
        market="ETH/BTC",
        type=OrderType.LIMIT,
        side=Side.BUY,
        status=OrderStatus.PENDING,
        price=Decimal(2),
        amount=Decimal(10),
        left=Decimal(10),
        deal_stock=Decimal(0),
        deal_money=Decimal(0),
        create_time=float(number),
        update_time=float(number),
    )


class Feed:
    """One machine's account: a connection that is made again when it is lost, and questions over
    HTTP whenever something is not known.

    Args:
        world: the time.
        exchange: the exchange.
        rng: how long things take.
        tell: takes what one step tells, with the account as it is then.
    """

    def __init__(
        self,
        world: World,
        exchange: Exchange,
        rng: Random,
        tell: Callable[[Account, Callable[[], tuple[object, ...]]], None],
    ) -> None:
        self._world = world
        self._exchange = exchange
        self._rng = rng
        self._tell = tell
        self.account: Account = Account()
        """Everything that is known here."""
        self._epoch = 0
        self._is_closed = False
        world.at(world.now + rng.uniform(0.05, 0.5), self._connect)

    @property
    def is_connected(self) -> bool:
        """True while updates come."""
        return self in self._exchange.feeds

    def close(self) -> None:
        """Nothing is told any more."""
        self._is_closed = True
        if self.is_connected:
            self._exchange.feeds.remove(self)

    def lose(self, seconds: float) -> None:
        """The connection is lost, and another is made some time later."""
        if self.is_connected:
            self._exchange.feeds.remove(self)
            self._hear(Disconnected(_LOST, seconds, self._epoch, 1))
            self._world.at(self._world.now + seconds, self._connect)

    def publish(self, update: Update) -> None:
        """The exchange publishes."""
        self._hear(update)

    def _connect(self) -> None:
        if self._is_closed:
            return
        self._epoch += 1
        self._exchange.feeds.append(self)
        ts = self._exchange.ts
        self._hear(Connected(self._epoch))
        for topic in (ORDERS, BALANCE):
            self._hear(Subscribed(topic, ts, self._epoch))
            if self._epoch > 1:
                self._hear(Gap(topic, None, ts, self._epoch))

    def _hear(self, event: Event) -> None:
        self._tell(self.account, lambda: (event, *self._heard(event)))

    def _heard(self, event: Event) -> tuple[object, ...]:
        changes = self.account.apply(event)
        self._ask()
        return changes

    def _ask(self) -> None:
        if self.account.is_settled:
            return
        for query in self.account.ask():
            found = self._find(query)
            delay = self._rng.choice((0.02, 0.3, 2.0))
            self._world.at(self._world.now + delay, self._answer, query, found)

    def _find(self, query: Query) -> list[Any]:
        exchange = self._exchange
        match query:
            case OrdersQuery(ids=ids):
                orders = exchange.orders.values()
                return [o for o in orders if (o.is_open if ids is None else o.id in ids)]
            case BalancesQuery(assets=assets):
                balances = exchange.balances.values()
                return [b for b in balances if assets is None or b.asset in assets]

    def _answer(self, query: Query, found: list[Any]) -> None:
        if not self._is_closed:
            self._tell(self.account, lambda: self._answered(query, found))

    def _answered(self, query: Query, found: list[Any]) -> tuple[object, ...]:
        changes: tuple[object, ...] = ()
        if self._rng.random() < 0.1:
            self.account.retry(query)  # it came to nothing
        else:
            match query:
                case OrdersQuery():
                    changes = self.account.answer(query, found, pages=1)
                case BalancesQuery():
                    changes = self.account.answer(query, found)
        self._ask()
        return changes
