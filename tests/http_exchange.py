"""An exchange with HTTP and a stream, and a client of it, in virtual time: the oracle of account
sessions.

HTTP is answered by the exchange's own desk, from the books of what happened here. It shares nothing
with the client but the order and the balance as values. What has a budget is counted, and every
state that ever was is remembered.
"""

import heapq
import json
import re
from collections import defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import count
from random import Random
from typing import Any, Final

import attrs

from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    Close,
    Closed,
    Connect,
    Credentials,
    Failure,
    FailureKind,
    FetchToken,
    Order,
    OrderStatus,
    OrderType,
    SendPing,
    SendText,
    SessionConfig,
    Side,
    Token,
    exchange,
)
from topone_proto.account import (
    AccountConfig,
    AccountEvent,
    AccountSession,
    AccountStep,
    AggregatedFill,
    BalanceChanged,
    Fetch,
    FillCorrected,
    Knowledge,
    LoadState,
    OrderChanged,
    OutcomeUnknown,
    RenewToken,
    StoredState,
    StoreState,
    read_state,
    write_state,
)
from topone_proto.wire.http import HttpRequest, HttpResponse

KEYS = Credentials("0123456789abcdef0123456789abcdef", "a-secret-key")
START = 1_570_000_000.0
"""The time of day at 0.0 of the virtual clock."""

ASSETS = ("BTC", "ETH")
PLAIN: Final[dict[str, Any]] = {"counts_history": True, "marks": exchange.MarkForm.NONE}
"""Settings of the exchange: the worst of its budgets, and the shortest of its histories."""
LATENCY = 0.05


FAULTS: dict[str, Callable[..., exchange.HttpFault]] = {
    "hang": exchange.HangHttp,
    "reset": exchange.ResetHttp,
    "cut": exchange.CutHttp,
    "html": exchange.GarbleHttp,
    "503": partial(exchange.RefuseHttp, 503),
    "429": partial(exchange.RefuseHttp, 429, 20),
    "bare429": partial(exchange.RefuseHttp, 429),
    "404": partial(exchange.RefuseHttp, 404),
    "10001": partial(exchange.RejectHttp, 10001),
    "10003": partial(exchange.RejectHttp, 10003),
    "10005": partial(exchange.RejectHttp, 10005),
    "10027": partial(exchange.RejectHttp, 10027),
    "T0003": partial(exchange.RejectHttp, "T0003"),
    "T0005": partial(exchange.RejectHttp, "T0005"),
}
"""Faults of HTTP that last a while, by name."""

APPLICATION: Final = "a-token-of-the-application"


@attrs.define(eq=False, slots=False)
class Exchange:
    """The truth."""

    config: exchange.HttpConfig = attrs.field(factory=lambda: exchange.HttpConfig(**PLAIN))
    seed: int = 0
    odd: Callable[[str], HttpResponse | None] | None = None
    """Answers some paths in its own way."""
    clock_ahead: float = 0.0
    """The seconds by which the exchange's clock is ahead of the client's."""
    lacks: frozenset[int] = frozenset()
    """The orders that the history never has."""
    refuses_new_tokens: bool = False
    """True if a new token is not good."""

    now: float = 0.0
    orders: dict[int, Order] = attrs.Factory(dict)
    balances: dict[str, Balance] = attrs.Factory(dict)
    states: "defaultdict[int, list[Order]]" = attrs.Factory(lambda: defaultdict(list))
    amounts: list[Balance] = attrs.Factory(list)
    token_requests: list[float] = attrs.Factory(list)
    order_calls: list[float] = attrs.Factory(list)
    calls: list[tuple[float, str]] = attrs.Factory(list)
    issued: list[str] = attrs.Factory(list)
    """Every token that was ever good."""
    faulty_until: float = 0.0
    """The time at which the last fault is over."""
    publish: Callable[[str], None] = lambda _: None
    drops: str = ""
    """The topic of which updates are left out, without a sign."""

    def __attrs_post_init__(self) -> None:
        self.books = exchange.Journal(kept=2000)
        self.tokens = exchange.Tokens({APPLICATION: "demo"})
        self.desk = exchange.HttpDesk(
            {"demo": self.books},
            [exchange.App(KEYS.app_id, KEYS.reveal())],
            tokens=self.tokens,
            config=self.config,
            clock=lambda now: START + now + self.clock_ahead,
            seed=self.seed,
        )
        for number in self.lacks:
            self.desk.inject(exchange.LoseRow(number), 0.0)
        for asset in ASSETS:
            self.set_balance(asset, 100)

    # --- what happens ---------------------------------------------------------------------------

    def open(self, number: int, market: str = "ETH/BTC") -> None:
        self._put(
            Order(
                id=number,
                market=market,
                type=OrderType.LIMIT,
                side=Side.BUY,
                status=OrderStatus.PENDING,
                price=Decimal("0.05"),
                amount=Decimal(10),
                left=Decimal(10),
                deal_stock=Decimal(0),
                deal_money=Decimal(0),
                create_time=START + self.now,
                update_time=START + self.now,
            )
        )

    def fill(self, number: int, amount: int = 1) -> None:
        order = self.orders[number]
        stock = min(order.deal_stock + amount, order.amount)
        done = stock == order.amount
        after = attrs.evolve(
            order,
            deal_stock=stock,
            deal_money=stock * Decimal("0.05"),
            left=order.amount - stock,
            status=OrderStatus.COMPLETED if done else OrderStatus.PENDING,
            update_time=START + self.now,
        )
        self._put(after)
        self.set_balance("ETH", self.balances["ETH"].available + amount)

    def cancel(self, number: int) -> None:
        order = self.orders[number]
        status = OrderStatus.PARTIAL_CANCELED if order.deal_stock else OrderStatus.CANCELED
        # A cancel keeps the time.
        self._put(attrs.evolve(order, status=status))

    def set_balance(self, asset: str, available: Decimal | int) -> None:
        balance = Balance(asset, Decimal(available), Decimal(1))
        self.balances[asset] = balance
        self.amounts.append(balance)
        self.books.changed([balance], self.now)
        self._push("balance", {"asset": asset, "available": str(available), "freeze": "1"})

    def _put(self, order: Order) -> None:
        self.orders[order.id] = order
        self.states[order.id].append(order)
        self.books.changed([order], self.now)
        self._push("orders", row(order))

    def _push(self, topic: str, data: dict[str, Any]) -> None:
        if topic != self.drops:
            frame = {"method": f"sub_{topic}", "ts": self.ts, "data": data}
            self.publish(json.dumps(frame))

    @property
    def ts(self) -> int:
        return round((START + self.now + self.clock_ahead) * 1000)

    # --- the stream -----------------------------------------------------------------------------

    def accepts(self, token: str) -> bool:
        return self.tokens.account(token, self.now) is not None

    def allow(self, token: str) -> None:
        self.issued.append(token)
        self.tokens.allow(token, "demo")

    def expire(self) -> None:
        """Every token ends."""
        for token in self.issued:
            self.tokens.revoke(token)

    def acknowledge(self, text: str) -> str:
        request = json.loads(text)
        return json.dumps(
            {"id": request["id"], "method": request["method"], "code": 0, "msg": "", "ts": self.ts}
        )

    # --- HTTP -----------------------------------------------------------------------------------

    def fault(self, kind: str, until: float, where: str) -> None:
        """Something goes wrong until a time, where a path has this part."""
        fault = FAULTS[kind](times=None, lasting=until - self.now, path=where)
        self.desk.inject(fault, self.now)
        self.faulty_until = max(self.faulty_until, until)

    @property
    def violations(self) -> list[exchange.HttpCall]:
        """The latest calls, if one of them was more than its budget."""
        return list(self.desk.calls)[-20:] if self.desk.overruns else []

    def application_calls(self, count: int) -> None:
        """The application places orders."""
        for _ in range(count):
            self.order_calls.append(self.now)
            headers = [("Authorization", APPLICATION)]
            self.desk.answer("POST", "/t/v1/order/limit", headers, self.now)

    def serve(self, request: HttpRequest) -> exchange.HttpReply:
        self.calls.append((self.now, request.path))
        if request.path == "/u/v1/api/token":
            self.token_requests.append(self.now)
        elif request.path.startswith("/t/v1/order/"):
            self.order_calls.append(self.now)
        reply = self.desk.answer("GET", request.target, request.headers(), self.now)
        if request.path == "/u/v1/api/token":
            found = re.search(rb"topapi:\w+", reply.body)
            self.issued += [found[0].decode()] if found else []
            if self.refuses_new_tokens:
                self.expire()
        if self.odd is not None and (answer := self.odd(request.path)) is not None:
            return exchange.HttpReply(answer.status, answer.headers, answer.body)
        return reply


def answer(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(200, json.dumps(body).encode())


def row(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "market": order.market,
        "type": int(order.type),
        "side": int(order.side),
        "status": int(order.status),
        "price": str(order.price),
        "amount": str(order.amount),
        "left": str(order.left),
        "dealStock": str(order.deal_stock),
        "dealMoney": str(order.deal_money),
        "createTime": order.create_time,
        "updateTime": order.update_time,
    }


@attrs.define(eq=False)
class Place:
    """A place where processes store their state; as text, like a file."""

    text: str = ""
    works: bool = True

    @property
    def state(self) -> StoredState:
        return read_state(self.text)


class Client:
    """A process with an account session, driven in virtual time. It judges what it is told."""

    def __init__(self, world: "World", **more: Any) -> None:
        self.world = world
        self.exchange = world.exchange
        self.is_alive = True
        self.events: list[AccountEvent] = []
        self.connection = 0
        self.is_open = False
        self.in_flight = 0
        self.deadline: float | None = None
        self.filled: defaultdict[int, Decimal] = defaultdict(Decimal)
        self.fetches: list[Fetch] = []
        self.asked_for: list[Token | None] = []
        """For each time that the application was asked for a token: the one that was refused."""
        self.supplies: deque[Token | None] = deque()
        """The tokens that the application supplies, one by one; None for a failure."""
        self.loses_answers = False
        self.holds_store = False
        """True if the end of a write is not reported yet."""
        """True if the end of a request that is sent now is never reported."""
        settings: dict[str, Any] = {"account_config": AccountConfig(), **more}
        self.supplies.extend(settings.pop("supplies", ()))
        self.machine = AccountSession(
            settings.pop("source", KEYS),
            (ORDERS, BALANCE),
            state=world.place.state,
            config=SessionConfig(),
            jitter=world.rng.random,
            wall=lambda: START + world.now + world.wall_ahead,
            **settings,
        )
        self.feed(self.machine.start)

    # --- driving --------------------------------------------------------------------------------

    def feed(self, call: Callable[[float], AccountStep]) -> None:
        if not self.is_alive:
            return
        step = call(self.world.now)
        self.events += step.events
        for event in step.events:
            self.judge(event)
        for action in step.actions:
            self.act(action)
        self.deadline = step.deadline
        if step.deadline is not None:
            # A deadline in the past that is not acted on would turn in circles.
            self.world.at(max(step.deadline, self.world.now), self.due, step.deadline)
        self.check()

    def due(self, deadline: float) -> None:
        if self.deadline == deadline:
            self.world.turns += 1
            self.feed(self.machine.deadline_reached)

    def act(self, action: object) -> None:
        world = self.world
        match action:
            case Connect(token=token):
                self.connection += 1
                world.after(LATENCY, self.dialled, self.connection, token)
            case SendText(text=text):
                world.after(LATENCY, self.acknowledge, self.connection, text)
            case SendPing(payload=payload):
                world.after(LATENCY, self.pong, self.connection, payload)
            case Close():
                self.hang_up()
            case Fetch():
                self.fetches.append(action)
                if not self.loses_answers:
                    world.after(LATENCY * world.rng.random(), self.serve, action)
            case StoreState():
                world.after(0.01, self.store, action)
            case LoadState():
                world.after(0.01, self.load)
            case FetchToken():
                self.asked_for.append(None)
                world.after(LATENCY, self.supply, self.machine.token_obtained)
            case RenewToken(refused=refused):
                self.asked_for.append(refused)
                world.after(LATENCY, self.supply, self.machine.token_renewed)
            case _:
                raise AssertionError(action)

    def supply(self, tell: Callable[[Token, float], AccountStep]) -> None:
        """The application's own token service."""
        token = self.supplies.popleft() if self.supplies else None
        if token is not None:
            self.feed(lambda now: tell(token, now))
        elif tell == self.machine.token_renewed:
            self.feed(lambda now: self.machine.token_not_renewed("OSError", now))
        else:
            self.feed(lambda now: self.machine.token_failed("OSError", now))

    def dialled(self, number: int, token: Token) -> None:
        if number != self.connection:
            return
        if not self.exchange.accepts(token.reveal()):
            failure = Failure(FailureKind.HANDSHAKE, status=401)
            self.feed(lambda now: self.machine.connection_failed(failure, now))
            return
        self.is_open = True
        self.feed(self.machine.connection_made)

    def acknowledge(self, number: int, text: str) -> None:
        if self.is_open and number == self.connection:
            # From here on the exchange publishes, behind the acknowledgement.
            frame = self.exchange.acknowledge(text)
            topic = json.loads(text)["method"].removeprefix("sub_")
            self.world.subscribed[self].add(topic)
            self.receive(number, frame)

    def publish(self, frame: str) -> None:
        topic = json.loads(frame)["method"].removeprefix("sub_")
        if self.is_open and topic in self.world.subscribed[self]:
            self.in_flight += 1
            self.world.after(LATENCY, self.deliver, self.connection, frame)

    def deliver(self, number: int, frame: str) -> None:
        if self.is_open and number == self.connection:
            self.in_flight -= 1
            self.receive(number, frame)

    def receive(self, number: int, frame: str) -> None:
        if self.is_open and number == self.connection:
            self.feed(lambda now: self.machine.message_received(frame, now))

    def pong(self, number: int, payload: bytes) -> None:
        if self.is_open and number == self.connection:
            self.feed(lambda now: self.machine.pong_received(payload, now))

    def hang_up(self) -> None:
        self.is_open = False
        self.connection += 1
        self.in_flight = 0
        self.world.subscribed[self] = set()

    def drop(self) -> None:
        """The connection breaks."""
        if self.is_open:
            self.hang_up()
            self.feed(lambda now: self.machine.connection_lost(None, "gone", now))

    def serve(self, action: Fetch) -> None:
        if not self.is_alive:
            return
        reply = self.exchange.serve(action.request)
        if reply.fault is not None:
            hangs = reply.fault is exchange.Breakage.HANG
            kind = FailureKind.TIMEOUT if hangs else FailureKind.NETWORK
            wait = action.timeout if hangs else LATENCY
            failed = Failure(kind, reply.fault)
            self.world.after(
                wait, self.feed, lambda now: self.machine.fetch_failed(action.id, failed, now)
            )
        else:
            response = HttpResponse(reply.status, reply.body, reply.headers)
            self.world.after(
                LATENCY * self.world.rng.random(),
                self.feed,
                lambda now: self.machine.fetched(action.id, response, now),
            )

    def store(self, action: StoreState) -> None:
        if not self.is_alive or self.holds_store:
            return
        place = self.world.place
        if not place.works:
            self.feed(lambda now: self.machine.state_not_stored("disk full", now))
        elif place.state != action.previous:
            self.feed(lambda now: self.machine.state_found(place.state, now))
        else:
            place.text = write_state(action.state)
            self.feed(self.machine.state_stored)

    def load(self) -> None:
        if self.world.place.works:
            self.feed(lambda now: self.machine.state_found(self.world.place.state, now))
        else:
            self.feed(lambda now: self.machine.state_not_stored("disk broken", now))

    def kill(self) -> None:
        self.hang_up()
        self.is_alive = False
        self.world.clients.remove(self)

    # --- judging --------------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        return self.machine.is_whole

    def check(self) -> None:
        """I8: whatever is whole equals the truth, up to what is under way."""
        account, truth = self.machine.account, self.exchange
        if not self.is_open or self.in_flight or self.world.is_stream_lossy:
            return
        unknown = account.unknown_outcomes().value
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            opened = {n: o for n, o in truth.orders.items() if o.is_open}
            assert account.open_orders().value == opened, self.world.note()
            for number in unknown:
                assert truth.orders[number].is_closed, self.world.note()
        if account.knowledge(BALANCE) is Knowledge.WHOLE:
            assert account.balances().value == truth.balances, self.world.note()

    def judge(self, event: AccountEvent) -> None:
        """I11: nothing is invented."""
        truth = self.exchange
        match event:
            case OrderChanged(after=after):
                states = truth.states[after.id]
                assert any(is_alike(after, state) for state in states), self.world.note()
            case BalanceChanged(after=balance):
                assert balance in truth.amounts, self.world.note()
            case AggregatedFill(order=order) | FillCorrected(order=order):
                self.filled[order.id] += event.deal_stock
                assert self.filled[order.id] == order.deal_stock, self.world.note()
            case OutcomeUnknown(order=order):
                assert truth.orders[order.id].is_closed, self.world.note()
            case _:
                pass

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def is_over(self) -> bool:
        return bool(self.of(Closed))


def is_alike(one: Order, other: Order) -> bool:
    """The history leaves some of an order out."""
    return attrs.evolve(one, left=None, update_time=0.0) == attrs.evolve(
        other, left=None, update_time=0.0
    )


class World:
    """One exchange, and any number of processes of one account."""

    def __init__(self, seed: int = 0, *, clock_ahead: float = 0.0, **settings: Any) -> None:
        self.rng = Random(seed)
        lacks: frozenset[int] = settings.pop("lacks", frozenset())
        config = exchange.HttpConfig(**{**PLAIN, **settings})
        self.exchange = Exchange(config, seed, clock_ahead=clock_ahead, lacks=lacks)
        self.exchange.publish = self._publish
        self.now = 0.0
        self.wall_ahead = 0.0
        self.turns = 0
        self.is_stream_lossy = False
        self.place = Place()
        self.clients: list[Client] = []
        self.subscribed: defaultdict[Client, set[str]] = defaultdict(set)
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._number = count()

    def _publish(self, frame: str) -> None:
        for client in self.clients:
            client.publish(frame)

    def client(self, **more: Any) -> Client:
        client = Client(self, **more)
        self.clients.append(client)
        return client

    def at(self, time: float, call: Callable[..., Any], *given: Any) -> None:
        heapq.heappush(self._heap, (time, next(self._number), call, given))

    def after(self, seconds: float, call: Callable[..., Any], *given: Any) -> None:
        self.at(self.now + seconds, call, *given)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass, and return how much has."""
        started, end = self.now, self.now + seconds
        before = self.turns
        while self._heap and self._heap[0][0] <= end and not until():
            self.now, _, call, given = heapq.heappop(self._heap)
            self.exchange.now = self.now
            call(*given)
            assert self.turns - before < 1000 + 50 * (self.now - started), "it turns in circles"
        if not until():
            self.now = self.exchange.now = end
        return self.now - started

    def note(self) -> str:
        events = [event for client in self.clients for event in client.events[-6:]]
        return f"at {self.now}: {events}; {self.exchange.calls[-10:]}"
