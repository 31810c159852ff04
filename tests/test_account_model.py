"""A model checker for the account: a small exchange, a stream with updates under way, and HTTP
whose pages are read at different instants, in every order that these can come in.

The exchange is the truth. Whenever nothing of the stream is under way, what the account calls WHOLE
or current must equal it; nothing may be invented; and once nothing goes wrong any more, everything
is known after a bounded number of questions.

Small worlds are searched in full, larger ones at random. As a program it does more of both:
``python tests/test_account_model.py 100000`` runs so many random worlds.
"""

import itertools
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import attrs
import pytest

from accounts import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    Order,
    OrderStatus,
    OrderUpdate,
    Subscribed,
    Topic,
)
from topone_proto.account import (
    Account,
    AccountConfig,
    AggregatedFill,
    BalanceChanged,
    BalancesQuery,
    Change,
    FillCorrected,
    Knowledge,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Query,
)

pytestmark = pytest.mark.thorough

LOST = Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1)
UNKNOWN = OrderStatus(5)


@attrs.frozen
class World:
    """The limits of a run."""

    script: tuple[tuple[Any, ...], ...] = ()
    """The events at the exchange, in this order: see ``Model.happen``."""
    prelude: tuple[tuple[Any, ...], ...] = ()
    """The events that have happened there, and been told, before anything can go wrong."""
    topics: tuple[Topic, ...] = (ORDERS, BALANCE)
    """The topics that are followed: fewer topics, fewer orders of things."""
    orders: int = 3
    """The number of orders that are open at first: 1, 2, and so on."""
    page: int = 2
    """The number of orders on a page, newest first."""
    says_pages: bool = False
    """True if the application says how many pages there were."""
    losses: int = 0
    """The number of times that the connection may be lost."""
    repeats: int = 0
    """The number of times that the server may send an old state of an order again."""
    failures: int = 0
    """The number of requests that may fail."""
    lag: int = 0
    """The steps by which answers may be behind."""
    lacks: frozenset[int] = frozenset()
    """The orders that the history does not have."""
    is_whole: bool = True
    """True if everything is known at first."""
    is_eager: bool = True
    """True if the application asks after everything it is told."""
    max_closed: int = 100


@attrs.define(eq=False)
class Request:
    query: Query
    asked_at: int
    rows: list[Any] = attrs.Factory(list)
    pages: int = 0
    is_complete: bool = False


class Model:
    def __init__(self, world: World, choose: Callable[[int], int]) -> None:
        self.world = world
        self.choose = choose
        self.time = 0
        self.script = deque(world.script)
        self.orders = {n: order(n) for n in range(1, world.orders + 1)}
        self.balances = {"ETH": Balance("ETH", Decimal(1), Decimal(0))}
        self.states: defaultdict[int, list[Order]] = defaultdict(list)
        for known in self.orders.values():
            self.states[known.id].append(known)
        self.amounts: list[Balance] = list(self.balances.values())
        self.snapshots = [(0, dict(self.orders), dict(self.balances))]
        self.stream: deque[Event] = deque()
        self.published: list[OrderUpdate] = []
        self.is_connected = False
        self.requests: list[Request] = []
        self.questions = 0
        self.log: list[str] = []
        self.filled: defaultdict[int, Decimal] = defaultdict(Decimal)
        self.paid: defaultdict[int, Decimal] = defaultdict(Decimal)
        self.ended: list[int] = []
        self.odd: set[int] = set()
        self.left = {
            "lose": world.losses,
            "repeat": world.repeats,
            "fail": world.failures,
        }
        config = AccountConfig(answer_lag=world.lag, max_tries=3, retry_first=1.0, retry_cap=4.0)
        self.account = Account(max_closed=world.max_closed, config=config)
        self.connect()
        if world.is_whole:
            self.drain()
        self.script = deque(world.prelude)
        while self.script:
            self.happen()
            self.deliver()
        self.script = deque(world.script)
        if world.is_eager:
            self.ask()

    # --- a run ----------------------------------------------------------------------------------

    def run(self) -> None:
        while options := self.options():
            name, *details = options[self.choose(len(options))] if len(options) > 1 else options[0]
            self.note(name, *details)
            self.time += 1
            getattr(self, name)(*details)
            if self.world.is_eager:
                self.ask()
            self.check()
        self.note("no faults any more")
        self.drain()

    def options(self) -> list[tuple[Any, ...]]:
        options: list[tuple[Any, ...]] = []
        if self.script:
            options.append(("happen",))
        if self.stream:
            options.append(("deliver",))
        if not self.is_connected:
            options.append(("connect",))
        elif self.left["lose"]:
            options.append(("lose",))
        if self.left["repeat"] and self.published and self.is_connected:
            options.append(("repeat",))
        for request in self.requests:
            if request.is_complete:
                options.append(("answer", request))
            else:
                options.append(("serve", request))
                if self.left["fail"]:
                    options.append(("fail", request))
        if not self.world.is_eager and (self.script or self.stream):
            options.append(("ask",))
        return options

    def note(self, *what: object) -> None:
        self.log.append(" ".join(str(part) for part in what))

    # --- the exchange ---------------------------------------------------------------------------

    def happen(self) -> None:
        what, *details = self.script.popleft()
        if what == "balance":
            balance = Balance(details[0], Decimal(details[1]), Decimal(0))
            self.balances[balance.asset] = balance
            self.amounts.append(balance)
            self.publish(BalanceUpdate(balance, details[2] if len(details) > 2 else 1000))
        elif what == "odd":
            self.publish(Malformed("odd", "$", "{", 1, topics=(ORDERS, BALANCE)))
        else:
            number = details[0]
            before = self.orders.get(number) or order(number)
            if before.is_closed:
                return
            filled = before.deal_stock
            status = before.status
            match what:
                case "fill":
                    # What has left the list of open orders does not come back.
                    filled += details[1]
                case "odd_status":
                    status = UNKNOWN
                    self.odd.add(number)
                case "complete":
                    filled, status = Decimal(10), OrderStatus.COMPLETED
                case "close":
                    status = OrderStatus.PARTIAL_CANCELED if filled else OrderStatus.CANCELED
                case _:
                    assert what == "open"
            # The clocks of its nodes differ, and none of them counts.
            at = (100.0, 99.0, 101.5)[len(self.states[number]) % 3]
            after = order(number, filled=filled, status=status, at=at)
            self.orders[number] = after
            self.states[number].append(after)
            update = OrderUpdate(after, 1000 - len(self.published))
            self.publish(update)
            self.published.append(update)
        self.snapshots.append((self.time, dict(self.orders), dict(self.balances)))

    def publish(self, event: Event) -> None:
        if self.is_connected:
            self.stream.append(event)

    def repeat(self) -> None:
        """An older state of an order comes once more."""
        self.left["repeat"] -= 1
        last: dict[int, Order] = {}
        older: list[OrderUpdate] = []
        for update in self.published[self.since :]:
            before = last.get(update.order.id)
            # Other states nobody can tell from newer ones.
            if before is not None and before.deal_stock < update.order.deal_stock:
                older.append(OrderUpdate(before, 999))
            last[update.order.id] = update.order
        if older:
            self.stream.append(older[self.choose(len(older)) if len(older) > 1 else 0])

    # --- the stream -----------------------------------------------------------------------------

    def connect(self) -> None:
        self.is_connected = True
        self.since = len(self.published)
        for topic in self.world.topics:
            self.tell(Subscribed(topic, 500, 1))
            self.tell(Gap(topic, 900, 500, 1))

    def lose(self) -> None:
        self.left["lose"] -= 1
        self.is_connected = False
        self.stream.clear()
        self.tell(LOST)

    def deliver(self) -> None:
        self.tell(self.stream.popleft())

    def tell(self, event: Event) -> None:
        self.see(self.account.apply(event))

    # --- HTTP -----------------------------------------------------------------------------------

    def ask(self) -> None:
        for query in self.account.ask(float(self.time)):
            self.questions += 1
            self.requests.append(Request(query, self.time))

    def serve(self, request: Request) -> None:
        """The exchange reads one page out of its books as they are now, or were a moment ago."""
        orders, balances = self.books(request)
        query = request.query
        request.pages += 1
        request.is_complete = True
        if isinstance(query, BalancesQuery):
            wanted = query.assets
            request.rows = [b for b in balances.values() if wanted is None or b.asset in wanted]
        elif query.ids is not None:
            request.rows = [
                known
                for number, known in orders.items()
                if number in query.ids and not (known.is_closed and number in self.world.lacks)
            ]
        else:
            rows = [known for _, known in sorted(orders.items(), reverse=True) if known.is_open]
            start = (request.pages - 1) * self.world.page
            page = rows[start : start + self.world.page]
            request.rows += page
            request.is_complete = len(page) < self.world.page

    def books(self, request: Request) -> tuple[dict[int, Order], dict[str, Balance]]:
        since = request.asked_at - self.world.lag
        first = max(i for i, (at, *_) in enumerate(self.snapshots) if at <= max(since, 0))
        late = len(self.snapshots) - 1 - first if self.world.lag else 0
        behind = self.choose(late + 1) if late else 0
        _, orders, balances = self.snapshots[len(self.snapshots) - 1 - behind]
        return orders, balances

    def answer(self, request: Request) -> None:
        self.requests.remove(request)
        query: Any = request.query
        pages = request.pages if self.world.says_pages else None
        self.see(self.account.answer(query, request.rows, pages=pages))

    def fail(self, request: Request) -> None:
        self.left["fail"] -= 1
        self.requests.remove(request)
        self.account.retry(request.query)

    def drain(self) -> None:
        """Nothing goes wrong any more."""
        for name in self.left:
            self.left[name] = 0 if self.log else self.left[name]
        if not self.is_connected:
            self.connect()
        before = self.questions
        while True:
            self.time += 1
            while self.stream:
                self.deliver()
                self.check()
            self.ask()
            if not self.requests:
                if self.account.deadline is None:
                    break
                self.time = max(self.time, int(-(-self.account.deadline // 1)))
                assert self.time < 10_000, self.log
            for request in tuple(self.requests):
                while not request.is_complete:
                    self.serve(request)
                self.answer(request)
                self.check()
            assert self.questions - before < 40, self.log
        for topic in self.world.topics:
            assert self.account.knowledge(topic) is Knowledge.WHOLE, self.log
        assert not self.account.unresolved
        self.check()

    # --- what must hold -------------------------------------------------------------------------

    def check(self) -> None:
        if self.stream or not self.is_connected:
            return
        account = self.account
        unknown = account.unknown_outcomes().value
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            truth = {
                n: known for n, known in self.orders.items() if known.is_open and n not in unknown
            }
            assert account.open_orders().value == truth, self.log
            for number, known in account.other_orders().value.items():
                assert known == self.orders[number], self.log
        for number in unknown:
            assert not self.orders[number].is_open, self.log
            assert number in self.world.lacks, self.log
        if account.knowledge(BALANCE) is Knowledge.WHOLE:
            assert account.balances().value == self.balances, self.log
        for number, known in self.orders.items():
            if account.is_current(number):
                assert account.order(number).value == known, self.log
        for asset, balance in self.balances.items():
            if account.is_current(asset):
                assert account.balance(asset).value == balance, self.log

    def see(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.log.append(f"    {type(change).__name__}")
            match change:
                case OrderChanged(after=after):
                    assert after in self.states[after.id], self.log
                case BalanceChanged(after=balance):
                    assert balance in self.amounts, self.log
                case AggregatedFill(order=known) | FillCorrected(order=known):
                    self.filled[known.id] += change.deal_stock
                    self.paid[known.id] += change.deal_money
                    sums = (self.filled[known.id], self.paid[known.id])
                    # One of an unknown status goes on, and counts as new once it is forgotten.
                    may_be_forgotten = self.world.max_closed < 100 and known.id in self.odd
                    if not may_be_forgotten:
                        assert sums == (known.deal_stock, known.deal_money), self.log
                case MovedBackwards():
                    assert self.world.repeats, self.log
                case OutcomeUnknown(order=known):
                    assert known.id not in self.ended, self.log
                    self.ended.append(known.id)
                case _:
                    pass


# --- every order of things -----------------------------------------------------------------------


def every_run(world: World) -> int:
    """Run a world in every way there is. Returns how many there are."""
    path: list[list[int]] = []
    for runs in itertools.count(1):
        depth = -1

        def choose(count: int) -> int:
            nonlocal depth
            depth += 1
            if depth == len(path):
                path.append([0, count])
            assert path[depth][1] == count
            return path[depth][0]

        Model(world, choose).run()
        del path[depth + 1 :]
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return runs
        path[-1][0] += 1
    raise AssertionError


SMALL = {
    "one closes between two pages": World(
        (("close", 4), ("fill", 1, 1)), is_whole=False, topics=(ORDERS,), orders=4
    ),
    "one closes, another is made": World(
        (("close", 3), ("open", 4)), is_whole=False, topics=(ORDERS,)
    ),
    "more is filled at an older time": World((("fill", 1, 1), ("fill", 1, 4)), orders=1, losses=1),
    "an order of unknown status ends unseen": World(
        (("complete", 1),), prelude=(("odd_status", 1),), topics=(ORDERS,), orders=1, losses=1
    ),
    "the history does not have it": World(
        (("close", 1),), orders=1, losses=1, lacks=frozenset({1})
    ),
    "old states come again": World(
        (("fill", 1, 1), ("fill", 1, 4), ("close", 1)), orders=1, repeats=1
    ),
    "balances change while they are asked for": World(
        (("balance", "ETH", 2, 900), ("balance", "ETH", 3, 800)), orders=0, losses=1
    ),
    "answers lag behind": World((("balance", "ETH", 2),), orders=0, lag=2, losses=1),
    "requests fail": World((("close", 1),), orders=1, losses=1, failures=1, topics=(ORDERS,)),
    "closed orders are forgotten": World(
        (("close", 1), ("close", 2)),
        topics=(ORDERS,),
        orders=2,
        is_whole=False,
        max_closed=1,
        page=9,
    ),
}
LARGE = {
    "one closes between two pages": World((("close", 3), ("fill", 1, 2)), is_whole=False, orders=4),
    "one closes, another is made": World((("close", 3), ("open", 4), ("close", 4)), is_whole=False),
    "more is filled at an older time": World(
        (("fill", 1, 1), ("fill", 1, 4), ("complete", 1)), orders=1, losses=1
    ),
    "an order of unknown status ends unseen": World(
        (("odd_status", 1), ("complete", 1)), orders=1, losses=1
    ),
    "the history does not have it": World(
        (("fill", 1, 1), ("close", 1)), orders=1, losses=1, lacks=frozenset({1})
    ),
    "balances change while they are asked for": World(
        (("balance", "ETH", 2, 900), ("balance", "ETH", 3, 800), ("balance", "BTC", 1)),
        orders=0,
        losses=1,
    ),
    "answers lag behind": World(
        (("balance", "ETH", 2), ("fill", 1, 1), ("close", 1)), orders=1, lag=3, is_whole=False
    ),
    "requests fail": World((("fill", 1, 1), ("close", 1)), orders=1, losses=1, failures=1),
    "closed orders are forgotten": World(
        (("close", 1), ("close", 2), ("open", 3)), orders=2, losses=1, max_closed=1, page=9
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_whole_means_right_in_every_order_of_things(name: str) -> None:
    assert every_run(SMALL[name]) > 20


def random_world(rng: Random) -> World:
    script: list[tuple[Any, ...]] = []
    for at in range(rng.randint(1, 8)):
        number = rng.randint(1, 5)
        script.append(
            rng.choice(
                [
                    ("open", number + 5),
                    ("fill", number, rng.randint(1, 2)),
                    ("fill", number, 1),
                    ("odd_status", number),
                    ("complete", number),
                    ("close", number),
                    ("close", number + 5),
                    ("balance", rng.choice(["ETH", "BTC"]), at, rng.randint(1, 2000)),
                    ("odd",),
                ]
            )
        )
    max_closed = rng.choice((100, 100, 1, 2))
    return World(
        tuple(script),
        orders=rng.randint(0, 5),
        page=rng.choice((1, 2, 3, 100)),
        says_pages=rng.random() < 0.5,
        losses=rng.choice((0, 0, 1, 2)),
        repeats=rng.choice((0, 0, 0, 1, 2)),
        failures=rng.choice((0, 0, 1, 2)),
        lag=rng.choice((0, 0, 2, 5)),
        lacks=frozenset(rng.sample(range(1, 10), rng.choice((0, 0, 1, 3)))),
        is_whole=rng.random() < 0.5,
        is_eager=rng.random() < 0.7,
        max_closed=max_closed,
    )


def random_run(seed: int) -> None:
    rng = Random(seed)
    world = random_world(rng)
    try:
        Model(world, rng.randrange).run()
    except AssertionError as error:
        error.add_note(f"seed {seed}: {world}")
        raise


@pytest.mark.parametrize("block", range(4))
def test_whole_means_right_in_larger_worlds(block: int) -> None:
    for seed in range(block * 500, block * 500 + 500):
        random_run(seed)


if __name__ == "__main__":
    for title, world in LARGE.items():
        sys.stdout.write(f"{title}: {every_run(world)} runs, and every one is right\n")
        sys.stdout.flush()
    for number in range(int(sys.argv[1])):
        random_run(10**6 + number)
    sys.stdout.write(f"{sys.argv[1]} random worlds, and every one is right\n")
