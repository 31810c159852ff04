"""A small exchange with HTTP and a stream, and a client of it, in virtual time: the oracle of
account sessions.

The exchange is written from its pages and shares nothing with the client but the order and the
balance as values: it reads URLs and frames as text, and answers in text. It counts what has a
budget, and remembers every state that ever was.
"""

import heapq
import json
from collections import defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

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
LATENCY = 0.05


@attrs.define
class Fault:
    """Something that goes wrong over HTTP, for a while."""

    kind: str
    """An HTTP status, a code, or what else may come: hang, reset, html, bare429."""
    until: float
    where: str = "/"
    """The part of a path that it is about."""


@attrs.define(eq=False)
class Exchange:
    """The truth."""

    rng: Random
    page_cap: int = 100
    """The most rows on a page of open orders."""
    refuses_large_pages: bool = False
    """True if a larger page is an error, and not cut."""
    lag: float = 0.0
    """The seconds that an answer may be behind."""
    history_lag: float = 0.0
    """The seconds for which a finished order may be missing in the history."""
    has_dates: bool = True
    has_totals: bool = True
    odd: Callable[[str], HttpResponse | None] | None = None
    """Answers some paths in its own way."""
    clock_ahead: float = 0.0
    """The seconds by which the exchange's clock is ahead of the client's."""
    token_life: float = 7200.0
    kills_old_tokens: bool = False
    lacks: frozenset[int] = frozenset()
    """The orders that the history never has."""
    faults: list[Fault] = attrs.Factory(list)

    now: float = 0.0
    orders: dict[int, Order] = attrs.Factory(dict)
    balances: dict[str, Balance] = attrs.Factory(dict)
    finished: dict[int, float] = attrs.Factory(dict)
    states: "defaultdict[int, list[Order]]" = attrs.Factory(lambda: defaultdict(list))
    amounts: list[Balance] = attrs.Factory(list)
    tokens: dict[str, float] = attrs.Factory(dict)
    """Every token that is good, and until when."""
    token_requests: list[float] = attrs.Factory(list)
    order_calls: list[float] = attrs.Factory(list)
    calls: list[tuple[float, str]] = attrs.Factory(list)
    violations: list[str] = attrs.Factory(list)
    snapshots: list[tuple[float, dict[int, Order], dict[str, Balance]]] = attrs.Factory(list)
    publish: Callable[[str], None] = lambda _: None
    drops: str = ""
    """The topic of which updates are left out, without a sign."""

    def __attrs_post_init__(self) -> None:
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
        self._push("balance", {"asset": asset, "available": str(available), "freeze": "1"})
        self.note()

    def _put(self, order: Order) -> None:
        self.orders[order.id] = order
        self.states[order.id].append(order)
        if order.is_closed:
            self.finished[order.id] = self.now
        self._push("orders", row(order))
        self.note()

    def note(self) -> None:
        self.snapshots.append((self.now, dict(self.orders), dict(self.balances)))

    def _push(self, topic: str, data: dict[str, Any]) -> None:
        if topic != self.drops:
            frame = {"method": f"sub_{topic}", "ts": self.ts, "data": data}
            self.publish(json.dumps(frame))

    @property
    def ts(self) -> int:
        return round((START + self.now + self.clock_ahead) * 1000)

    # --- the stream -----------------------------------------------------------------------------

    def accepts(self, token: str) -> bool:
        return self.tokens.get(token, 0.0) > self.now

    def acknowledge(self, text: str) -> str:
        request = json.loads(text)
        return json.dumps(
            {"id": request["id"], "method": request["method"], "code": 0, "msg": "", "ts": self.ts}
        )

    # --- HTTP -----------------------------------------------------------------------------------

    def serve(self, request: HttpRequest) -> HttpResponse | str:
        """An answer; hang or reset if there is none."""
        parts = urlsplit(request.target)
        query = dict(parse_qsl(parts.query))
        self.calls.append((self.now, parts.path))
        counts = self._count(parts.path)
        for fault in self.faults:
            if self.now < fault.until and fault.where in parts.path:
                return self._fail(fault.kind)
        if self.odd is not None and (answer := self.odd(parts.path)) is not None:
            return answer
        if not counts:
            return self.answer({"code": 10027, "msg": "too many"})
        if parts.path == "/u/v1/api/token":
            return self._token(query)
        authorization = dict(request.headers()).get("Authorization", "")
        if not self.accepts(authorization):
            return self.answer({"code": 10003, "msg": "token invalid"})
        match parts.path:
            case "/t/v1/balance/query":
                return self._balances(query)
            case "/t/v1/order/query":
                return self._open_orders(query)
            case "/t/v1/order/history":
                return self._history(query)
            case _:
                return self.answer({"code": 10002})

    def _count(self, path: str) -> bool:
        """Count what has a budget: the token service's minute, and that of orders."""
        if path == "/u/v1/api/token":
            if self.token_requests and self.now - self.token_requests[-1] < 60:
                self.violations.append(f"tokens at {self.token_requests[-1]} and {self.now}")
            self.token_requests.append(self.now)
        elif path.startswith("/t/v1/order/"):
            self.order_calls.append(self.now)
            recent = [at for at in self.order_calls if self.now - at < 60]
            if len(recent) > 10:
                self.violations.append(f"order calls at {recent}")
        return not self.violations

    def _fail(self, kind: str) -> HttpResponse | str:
        match kind:
            case "hang" | "reset":
                return kind
            case "503":
                return HttpResponse(503, b"busy")
            case "429":
                return HttpResponse(429, b"", (("Retry-After", "20"),))
            case "bare429":
                return HttpResponse(429)
            case "html":
                return HttpResponse(200, b"<html>proxy</html>")
            case "10003" | "10027" | "10005":
                return self.answer({"code": int(kind), "msg": "no"})
            case "T0005" | "T0003":
                return self.answer({"code": kind, "msg": "no"})
            case _:
                raise AssertionError(kind)

    def answer(self, body: dict[str, Any]) -> HttpResponse:
        return HttpResponse(200, json.dumps(body).encode(), self.headers())

    def headers(self) -> tuple[tuple[str, str], ...]:
        if not self.has_dates:
            return ()
        import time  # noqa: PLC0415 - to write a date, not to read a clock

        at = time.gmtime(START + self.now + self.clock_ahead)
        return (("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", at)),)

    def _token(self, query: dict[str, str]) -> HttpResponse:
        line = f"appKey={KEYS.reveal()}&random={query['random']}&time={query['time']}"
        assert query["appId"] == KEYS.app_id
        assert 100000 <= int(query["random"]) <= 999999
        if query["sig"] != sha256(line.encode()).hexdigest():
            return self.answer({"code": "T0005", "msg": "sig"})
        if abs(int(query["time"]) - START - self.now - self.clock_ahead) > 60:
            return self.answer({"code": "T0003", "msg": "too old"})
        if self.kills_old_tokens:
            self.tokens.clear()
        token = f"topapi:{len(self.token_requests)}"
        self.tokens[token] = self.now + self.token_life
        return self.answer({"code": 0, "data": {"apiToken": token}})

    def _books(self) -> tuple[dict[int, Order], dict[str, Balance]]:
        latest = max(i for i, (at, *_) in enumerate(self.snapshots) if at <= self.now)
        since = self.now - self.lag
        oldest = max(i for i, (at, *_) in enumerate(self.snapshots) if at <= max(since, 0.0))
        _, orders, balances = self.snapshots[self.rng.randint(oldest, latest)]
        return orders, balances

    def _balances(self, query: dict[str, str]) -> HttpResponse:
        names = query["assets"].split(",") if "assets" in query else None
        _, balances = self._books()
        rows = [
            {
                "asset": b.asset,
                "available": str(b.available),
                "freeze": str(b.freeze),
                "total": str(b.available + b.freeze),
            }
            for b in balances.values()
            if names is None or b.asset in names
        ]
        return self.answer({"code": 0, "data": {"list": rows}})

    def _open_orders(self, query: dict[str, str]) -> HttpResponse:
        size = int(query["pageSize"])
        if size > self.page_cap:
            if self.refuses_large_pages:
                return self.answer({"code": 10001, "msg": "pageSize"})
            size = self.page_cap
        orders, _ = self._books()
        rows = [row(o) for _, o in sorted(orders.items(), reverse=True) if o.is_open]
        for each in rows:
            del each["status"]
        first = (int(query["page"]) - 1) * size
        data: dict[str, Any] = {"list": rows[first : first + size]}
        if self.has_totals:
            data["total"] = len(rows)
        return self.answer({"code": 0, "data": data})

    def _history(self, query: dict[str, str]) -> HttpResponse:
        size, cursor = int(query["pageSize"]), int(query["pageCursor"]) or 10**9
        orders, _ = self._books()
        rows = []
        for number, order in sorted(orders.items(), reverse=True):
            is_known = order.is_closed and number not in self.lacks and number < cursor
            if is_known and self.finished[number] + self.history_lag <= self.now:
                known = row(order)
                known["finishTime"] = known.pop("updateTime")
                del known["left"]
                rows.append(known)
        return self.answer({"code": 0, "data": {"pageMark": 0, "list": rows[:size]}})


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
        answer = self.exchange.serve(action.request)
        if isinstance(answer, str):
            kind = FailureKind.TIMEOUT if answer == "hang" else FailureKind.NETWORK
            wait = action.timeout if answer == "hang" else LATENCY
            failed = Failure(kind, answer)
            self.world.after(
                wait, self.feed, lambda now: self.machine.fetch_failed(action.id, failed, now)
            )
        else:
            self.world.after(
                LATENCY * self.world.rng.random(),
                self.feed,
                lambda now: self.machine.fetched(action.id, answer, now),
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
        account, exchange = self.machine.account, self.exchange
        if not self.is_open or self.in_flight or self.world.is_stream_lossy:
            return
        unknown = account.unknown_outcomes().value
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            truth = {n: o for n, o in exchange.orders.items() if o.is_open}
            assert account.open_orders().value == truth, self.world.note()
            for number in unknown:
                assert exchange.orders[number].is_closed, self.world.note()
        if account.knowledge(BALANCE) is Knowledge.WHOLE:
            assert account.balances().value == exchange.balances, self.world.note()

    def judge(self, event: AccountEvent) -> None:
        """I11: nothing is invented."""
        exchange = self.exchange
        match event:
            case OrderChanged(after=after):
                states = exchange.states[after.id]
                assert any(is_alike(after, state) for state in states), self.world.note()
            case BalanceChanged(after=balance):
                assert balance in exchange.amounts, self.world.note()
            case AggregatedFill(order=order) | FillCorrected(order=order):
                self.filled[order.id] += event.deal_stock
                assert self.filled[order.id] == order.deal_stock, self.world.note()
            case OutcomeUnknown(order=order):
                assert exchange.orders[order.id].is_closed, self.world.note()
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

    def __init__(self, seed: int = 0, **exchange: Any) -> None:
        self.rng = Random(seed)
        self.exchange = Exchange(self.rng, **exchange)
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
