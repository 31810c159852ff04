"""Group 2: what the pure core adds to decoding, and what simulating it costs."""

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import repeat
from time import perf_counter
from typing import Any

from benchmarks import frames, in_memory
from benchmarks.driven import active_connection, active_feed, active_session
from benchmarks.measuring import (
    Effort,
    Subject,
    Table,
    in_fresh_processes,
    interleave,
    optional,
    over,
)
from topone_proto import (
    BALANCE,
    ORDERS,
    Connection,
    Disconnected,
    Failure,
    FailureKind,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Request,
    Session,
    Side,
    Step,
    Subscribed,
    Topic,
)
from topone_proto.account import Account, Knowledge, OrdersQuery
from topone_proto.wire.codec import decode, encode

DECODE = "decode"
SESSION = "Session.message_received"
BUFFER = "FeedCore.received and get"
FRESH = "a new session"
OLD = "after many events"
LATE = "after thirty days"
BUSY = "with 60 subscriptions"
UPDATE_SMALL, UPDATE_LARGE = "an update, a small account", "an update, a large account"
HEAL_SMALL, HEAL_LARGE = "making it whole, a small account", "making it whole, a large account"
SMALL = 100
_BLOCK = 100


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return in_fresh_processes(_measure, effort)


def _measure(effort: Effort) -> list[Table]:
    measured = [_updates(effort), _ages(effort), _accounts(effort), _requests(effort)]
    if optional("topone_proto.testing.simulation"):
        measured.append(_simulation(effort))
    return measured


def _fed(receiver: Connection | Session, now: float = 1.0) -> Callable[[int], float]:
    """Feed it every order update."""
    received, orders = receiver.message_received, frames.orders()

    def run(times: int) -> float:
        started = perf_counter()
        for _ in repeat(None, times):
            for frame in orders:
                received(frame, now)
        return perf_counter() - started

    return run


def _through_feed(times: int) -> float:
    core, orders = active_feed(), frames.orders()
    received, get = core.received, core.get
    started = perf_counter()
    for _ in repeat(None, times):
        for frame in orders:
            received(frame, 1.0)
            get()
    return perf_counter() - started


def _step_of(event: object) -> Step:
    return Step((event,), (), 1.0)  # type: ignore[arg-type]  # stands in for an update


def _updates(effort: Effort) -> Table:
    orders = frames.orders()
    subjects = [
        Subject(DECODE, over(decode, orders), "frame to message", frames.COUNT),
        Subject(
            "Connection.message_received",
            _fed(active_connection()),
            "and its subscription looked up, and a Step",
            frames.COUNT,
        ),
        Subject(SESSION, _fed(active_session()), "and the session's say", frames.COUNT),
        Subject(
            BUFFER,
            _through_feed,
            "through the session and the bounded buffer: all that an adapter has to call",
            frames.COUNT,
        ),
        Subject(
            "a feed of topone_asyncio",
            in_memory.on_asyncio,
            "and handed from a task that reads to one that iterates; no socket",
            frames.COUNT,
        ),
        Subject("a feed of topone_trio", in_memory.on_trio, "the same in trio", frames.COUNT),
        Subject("Step(...) alone", over(_step_of, orders), "", frames.COUNT),
    ]
    rows = interleave(subjects, effort)
    return Table("core/update", "An order update through the core", "s", DECODE, rows)


def _late_session() -> Session:
    """Thirty days of pings and pongs later."""
    session = active_session()
    now, pings = 0.0, 0
    while now < 30 * 86400:
        now += 600.0
        # Heard of all the time, so that no deadline passes.
        session.message_received("ping", now)
        session.deadline_reached(now)
        pings += 1
        session.pong_received(str(pings).encode(), now)
    return session


def _old_session(events: int) -> Session:
    session = active_session()
    orders = frames.orders()
    for number in range(events):
        session.message_received(orders[number % len(orders)], 1.0)
    return session


def _ages(effort: Effort) -> Table:
    many = (ORDERS, BALANCE, *(Topic(f"future_{n}") for n in range(58)))
    subjects = [
        Subject(FRESH, _fed(active_session()), "", frames.COUNT),
        Subject(OLD, _fed(_old_session(effort.aged)), f"{effort.aged:,} updates", frames.COUNT),
        Subject(LATE, _fed(_late_session(), 30 * 86400.0), "pings and pongs", frames.COUNT),
        Subject(BUSY, _fed(active_session(many)), "", frames.COUNT),
    ]
    rows = interleave(subjects, effort)
    return Table("core/age", "Nothing grows: an update in a session that…", "s", FRESH, rows)


def _order(number: int, status: OrderStatus) -> Order:
    is_open = status is OrderStatus.PENDING
    amount = Decimal("1.389")
    return Order(
        id=number,
        market="ETH/BTC",
        type=OrderType.LIMIT,
        side=Side.BUY,
        status=status,
        price=Decimal("0.08132"),
        amount=amount,
        left=amount if is_open else Decimal(0),
        deal_stock=Decimal(0) if is_open else amount,
        deal_money=Decimal(0) if is_open else Decimal("0.10953654"),
        create_time=1522235513.740678,
        update_time=1522235513.740684,
    )


class _Followed:
    """An account that is whole, and its orders."""

    def __init__(self, open_orders: int, closed_orders: int) -> None:
        self.account = Account()
        self.open = [_order(number, OrderStatus.PENDING) for number in range(open_orders)]
        self._next = open_orders
        self.heal(1)
        self.run(closed_orders)

    def heal(self, times: int) -> float:
        """Lose the connection and make it whole again, so many times."""
        account = self.account
        started = perf_counter()
        for _ in repeat(None, times):
            account.apply(Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1))
            account.apply(Subscribed(ORDERS, 1, 1))
            for query in account.ask():
                if isinstance(query, OrdersQuery):
                    account.answer(query, self.open, pages=1)
        seconds = perf_counter() - started
        assert account.knowledge(ORDERS) is Knowledge.WHOLE
        return seconds

    def run(self, times: int) -> float:
        """Open and close so many orders."""
        seconds = 0.0
        for _ in range(0, times, _BLOCK):
            states = (OrderStatus.PENDING, OrderStatus.COMPLETED)
            numbers = range(self._next, self._next + _BLOCK)
            self._next += _BLOCK
            updates = [OrderUpdate(_order(n, status), 1) for n in numbers for status in states]
            started = perf_counter()
            for update in updates:
                self.account.apply(update)
            seconds += perf_counter() - started
        return seconds


def _accounts(effort: Effort) -> Table:
    small, large = _Followed(SMALL, SMALL), _Followed(effort.open_orders, effort.closed_orders)
    size = f"{effort.open_orders:,} open and {effort.closed_orders:,} closed orders"
    # An order is two updates. It is followed in blocks, whatever number is asked for.
    subjects = [
        Subject(UPDATE_SMALL, lambda n: small.run(n * _BLOCK), "", 2 * _BLOCK),
        Subject(UPDATE_LARGE, lambda n: large.run(n * _BLOCK), size, 2 * _BLOCK),
        Subject(HEAL_SMALL, small.heal, f"for each of {SMALL} open orders", SMALL),
        Subject(HEAL_LARGE, large.heal, "for each open order", effort.open_orders),
    ]
    rows = interleave(subjects, effort)
    return Table("core/account", "Account.apply and Account.answer", "s", UPDATE_SMALL, rows)


def _requests(effort: Effort) -> Table:
    requests = [Request(id=str(n), method=ORDERS.subscribe_method) for n in range(frames.COUNT)]
    plain = [
        {"id": request.id, "method": request.method, "params": {}, "lang": request.lang}
        for request in requests
    ]
    subjects = [
        Subject("topone_proto.encode", over(encode, requests), "", len(requests)),
        Subject("json.dumps of a dict", over(json.dumps, plain), "", len(requests)),
    ]
    rows = interleave(subjects, effort)
    return Table("core/encode", "A request to text", "s", "json.dumps of a dict", rows)


def _simulation(effort: Effort) -> Table:
    simulation = optional("topone_proto.testing.simulation")
    assert simulation is not None
    scenarios: list[Any] = []
    simulated = 0.0
    seed = 0
    while len(scenarios) < effort.scenarios:
        scenario = simulation.draw(seed)
        seed += 1
        simulated += simulation.run(scenario).seconds
        scenarios.append(scenario)

    def run(times: int) -> float:
        started = perf_counter()
        for _ in range(times):
            for scenario in scenarios:
                simulation.run(scenario)
        return perf_counter() - started

    name = "one scenario"
    note = f"{simulated / len(scenarios):.0f} simulated seconds on average"
    rows = interleave([Subject(name, run, note, len(scenarios))], effort)
    return Table("core/simulation", "Simulated feeds in bad weather", "s", name, rows)
