"""An application's account: what it is told, what it asks the exchange over a simulated HTTP, and
whether it holds what the exchange has in its books."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any, Final

from topone_proto.account import (
    Account,
    AccountConfig,
    AggregatedFill,
    BalancesQuery,
    BalanceUnlisted,
    Change,
    FillCorrected,
    Knowledge,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Query,
    Resynced,
)
from topone_proto.events import Event
from topone_proto.testing.simulation.client_plan import AccountPlan
from topone_proto.testing.simulation.server import Server
from topone_proto.testing.simulation.world import World
from topone_proto.wire.balance import BALANCE, Balance
from topone_proto.wire.orders import ORDERS, Order
from topone_proto.wire.topic import Topic

__all__ = ["Accountant"]

_RULE: Final = "I8"
_TIMEOUT: Final = 30.0
_PAUSE: Final = 1.0


class Accountant:
    """Keeps the account of one client.

    Args:
        world: the time.
        plan: how it does.
        server: whom it asks, and what is true.
        rng: the source of all chance on the way there.
        note: records a line.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(
        self,
        world: World,
        plan: AccountPlan,
        server: Server,
        rng: Random,
        *,
        note: Callable[..., None],
        fail: Callable[[str, str], object],
    ) -> None:
        self.is_reliable: bool = False
        """True once no request comes to nothing any more."""
        self.resynced: int = 0
        """The number of times that a topic became whole."""
        self._world = world
        self._plan = plan
        self._server = server
        self._rng = rng
        self._note = note
        self._fail = fail
        config = AccountConfig(answer_lag=plan.lag, retry_first=0.5, retry_cap=5.0)
        self._account = Account(max_closed=plan.max_closed, config=config)
        self._has_clock = plan.has_clock or plan.lag > 0
        self._armed = float("inf")
        self._under_way = 0
        self._filled: defaultdict[int, Decimal] = defaultdict(Decimal)

    @property
    def is_busy(self) -> bool:
        """True if an answer is still to come, or a question still to be asked."""
        return self._under_way > 0 or self._account.deadline is not None

    def told(self, event: Event) -> None:
        """The application has taken an event out of its feed."""
        self._see(self._account.apply(event))
        self._ask()

    # --- what must hold -------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing is on its way on the stream: what is said to be whole must be true."""
        account, server = self._account, self._server
        others = account.other_orders().value
        if len(others) > self._plan.max_closed:
            self._fail(_RULE, f"{len(others)} orders are kept that are not open")
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            self._compare("open orders", account.open_orders().value, server.open_orders)
            for number, order in others.items():
                if order not in server.ends[number]:
                    self._fail(_RULE, f"not how order {number} has ended: {order}")
        if account.knowledge(BALANCE) is Knowledge.WHOLE:
            self._compare("balances", account.balances().value, server.balances)

    def check_calm(self, followed: set[Topic]) -> None:
        """Nothing is on its way at all: what is followed must be whole, and nothing else."""
        for topic in (ORDERS, BALANCE):
            knowledge = self._account.knowledge(topic)
            if (knowledge is Knowledge.WHOLE) is not (topic in followed):
                self._fail(_RULE, f"{topic} is {knowledge.value} in the end")
        for name in self._account.unresolved:
            if (ORDERS if isinstance(name, int) else BALANCE) in followed:
                self._fail(_RULE, f"unresolved in the end: {name}")
        self.check()

    def _compare(self, what: str, held: object, truth: object) -> None:
        if held != truth:
            self._fail(_RULE, f"{what} should be {truth} and are {held}")

    def _see(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if self._world.timeline is not None:
                self._note("    the account:", change)
            match change:
                case MovedBackwards(kept=Order(is_closed=True), refused=Order(is_closed=True)):
                    pass  # the end of an order told again
                case MovedBackwards():
                    self._fail(_RULE, f"the exchange never goes back: {change}")
                case OutcomeUnknown() | BalanceUnlisted():
                    self._fail(_RULE, f"the exchange has it: {change}")
                case OrderChanged(before=None, after=order):
                    # A closed order that was forgotten is new when it comes again.
                    self._filled[order.id] = Decimal(0)
                case (
                    FillCorrected(order=order, deal_stock=stock)
                    | AggregatedFill(order=order, deal_stock=stock)
                ):
                    self._filled[order.id] = total = self._filled[order.id] + stock
                    if total != order.deal_stock:
                        self._fail(_RULE, f"fills of {total} in all do not add up: {change}")
                case Resynced():
                    self.resynced += 1
                case _:
                    pass

    # --- HTTP -----------------------------------------------------------------------------------

    def _ask(self) -> None:
        now = self._world.now if self._has_clock else None
        for query in self._account.ask(now):
            self._under_way += 1
            if not self.is_reliable and self._rng.random() < self._plan.failing:
                self._world.at(self._world.now + self._rng.random() * _TIMEOUT, self._failed, query)
            else:
                self._later(self._serve, query, self._world.now, 0, ())
        deadline = self._account.deadline
        if deadline is not None and not self._armed <= deadline:
            self._armed = deadline
            self._world.at(deadline, self._ring, deadline)

    def _ring(self, deadline: float) -> None:
        if deadline == self._armed:
            self._armed = float("inf")
            self._ask()

    def _later(self, call: Callable[..., None], *args: object) -> None:
        delay = self._plan.latency + self._plan.spread * self._rng.random()
        self._world.at(self._world.now + delay, call, *args)

    def _failed(self, query: Query) -> None:
        self._world.at(self._world.now + _PAUSE, self._ask_again, query)

    def _ask_again(self, query: Query) -> None:
        self._under_way -= 1
        self._account.retry(query)
        self._ask()

    def _serve(self, query: Query, asked: float, pages: int, found: tuple[Any, ...]) -> None:
        """The exchange reads one page out of its books, as they are or were a moment ago."""
        orders, balances = self._books(asked)
        size = self._plan.page
        page: list[Any]
        is_last = True
        if isinstance(query, BalancesQuery):
            assets = query.assets
            page = [row for row in balances.values() if assets is None or row.asset in assets]
        elif query.ids is None:
            rows = [row for _, row in sorted(orders.items(), reverse=True) if row.is_open]
            page = rows[pages * size : (pages + 1) * size]
            is_last = len(page) < size
        else:
            names = query.ids[pages * size : (pages + 1) * size]
            page = [orders[number] for number in names if number in orders]
            is_last = (pages + 1) * size >= len(query.ids)
        pages += 1
        found = (*found, *page)
        if is_last:
            self._later(self._answered, query, found, pages, self._server.ts)
        else:
            self._later(self._later, self._serve, query, asked, pages, found)

    def _books(self, asked: float) -> tuple[dict[int, Order], dict[str, Balance]]:
        if not self._plan.lag or not self._has_clock:
            return self._server.orders, self._server.balances
        since = asked - self._plan.lag
        return self._server.books(since + (self._world.now - since) * self._rng.random())

    def _answered(self, query: Any, found: tuple[Any, ...], pages: int, ts: int) -> None:
        self._under_way -= 1
        self._note("  hears over HTTP of", *found)
        self._see(
            self._account.answer(
                query,
                found,
                pages=pages if self._plan.says_pages else None,
                answered_ts=ts if self._plan.is_timed else None,
            )
        )
        self._ask()
