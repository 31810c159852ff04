"""The exchange of a simulation: carries out what the gateway decides, and publishes what the
scenario says."""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal

from attrs import evolve

from topone_proto.exchange import (
    Accept,
    App,
    Bar,
    ClosePeer,
    Depth,
    Fault,
    Gateway,
    GatewayAction,
    GatewayConfig,
    GatewayStep,
    HttpConfig,
    HttpDesk,
    LivingAccount,
    LivingMarket,
    MutePeer,
    Publication,
    Reject,
    ResetPeer,
    SendFrame,
    SendGarbage,
    SendPing,
    SendPong,
    Stall,
    Tokens,
)
from topone_proto.models import Side
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.scenario import DEALS, MARKET, SECRET, Publish
from topone_proto.testing.simulation.world import World
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType
from topone_proto.wire.topic import Topic

__all__ = ["ACCOUNT", "SHARED", "Server"]

ACCOUNT = "account"
"""The account of the plain feeds of a simulated exchange."""
SHARED = "shared"
"""The account that processes follow by themselves."""
_ZERO = Decimal(0)
# Seconds. A coarse clock: several updates of an order have the same time.
_TICK = 10.0
_CREATED = 1522235513.740678
# Unix seconds: what the market's clock shows at first.
_OPENED = 1561948335.0
_NEW_ORDER = Order(
    id=0,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.PENDING,
    price=Decimal("0.08"),
    amount=Decimal(10**6),
    left=Decimal(10**6),
    deal_stock=_ZERO,
    deal_money=_ZERO,
    create_time=_CREATED,
    update_time=_CREATED,
)


class Server:
    """A gateway with links instead of sockets.

    Args:
        world: the time.
        config: what kind of gateway it is.
        published: told of every update that is sent to a link, with the number of the step that
            sends it.
        unanswered: told of every link that the gateway closes because its ping was not answered.
        has_market: True for an exchange with a public socket, and a market there.
        http: the settings of its HTTP; None for an exchange without.
        apps: the key pairs that it knows.
        seed: the source of its HTTP's chance.
    """

    def __init__(
        self,
        world: World,
        config: GatewayConfig,
        *,
        published: Callable[[Link, Publication, int], None],
        unanswered: Callable[[Link], None],
        has_market: bool = False,
        http: HttpConfig | None = None,
        apps: Iterable[App] = (),
        seed: int = 0,
    ) -> None:
        self._world = world
        self._market = LivingMarket(MARKET, start_time=_OPENED) if has_market else None
        markets = {} if self._market is None else {MARKET: self._market}
        tokens = Tokens()
        self._gateway = Gateway(tokens, config=config, markets=markets)
        self._living = None if http is None else LivingAccount(seed)
        self._http = None
        if self._living is not None:
            self._http = HttpDesk(
                {SHARED: self._living}, apps, tokens=tokens, config=http, seed=seed
            )
        self._published = published
        self._unanswered = unanswered
        self._links: dict[int, Link] = {}
        self._number = 0
        self._serial = 0
        self._tokens = 0
        self._armed = float("inf")
        self.answers_pings: bool = True
        """False for a server that answers no ping."""

        self.orders: dict[int, Order] = {}
        """The truth: every order there ever was, as it is now."""
        self.ends: dict[int, list[Order]] = {}
        """The truth: every last state of a closed order; some are told again with corrections."""
        self.balances: dict[str, Balance] = {}
        """The truth: every balance there is."""
        self._current: dict[int, Order] = {}
        self._ledger: list[tuple[float, Order | Balance]] = []

    @property
    def living(self) -> LivingAccount:
        """The account that processes follow."""
        assert self._living is not None
        return self._living

    @property
    def desk(self) -> HttpDesk:
        """The exchange's HTTP."""
        assert self._http is not None
        return self._http

    @property
    def open_orders(self) -> dict[int, Order]:
        """The truth: every order that is open now."""
        return {number: order for number, order in self.orders.items() if order.is_open}

    def books(self, at: float) -> tuple[dict[int, Order], dict[str, Balance]]:
        """The truth as it was at some time."""
        orders: dict[int, Order] = {}
        balances: dict[str, Balance] = {}
        for moment, entry in self._ledger:
            if moment > at:
                break
            if isinstance(entry, Order):
                orders[entry.id] = entry
            else:
                balances[entry.asset] = entry
        return orders, balances

    @property
    def ts(self) -> int:
        """The exchange's time in milliseconds."""
        return self._gateway.server_ts(self._world.now)

    @property
    def number(self) -> int:
        """The number of the latest step: every later one has a larger number."""
        return self._number

    def serves(self, link: Link) -> bool:
        """True if both ends of the link take it for a good connection, and it is one."""
        return link.peer in self._links and link.dead_since is None

    def issue(self, name: str, account: str = ACCOUNT) -> str:
        """A new token."""
        self._tokens += 1
        token = f"{SECRET}-{name}-{self._tokens}"
        self._gateway.allow(token, account)
        return token

    def dial(self, link: Link, target: str, headers: Iterable[tuple[str, str]]) -> None:
        """The request of a handshake has come in on a link."""
        step = self._gateway.handshake(target, headers, self._world.now)
        answer = step.actions[0]
        if isinstance(answer, Accept):
            link.peer = answer.peer
            self._links[answer.peer] = link
        if not isinstance(answer, Stall):
            link.answer(Frame("answer", answer))
        self._world.note("exchange", "answers", link.plan.name, answer)
        self._take(step)

    def receive(self, link: Link, frame: Frame) -> None:
        """Something has come in on an open link."""
        now, peer, gateway = self._world.now, link.peer, self._gateway
        match frame.kind:
            case "text":
                step = gateway.message_received(peer, frame.data, now)
                self._look_at_ack(link, frame.data, step)
                self._take(step)
            case "ping" if not self.answers_pings:
                link.is_unanswered = True
            case "ping":
                self._take(gateway.ping_received(peer, frame.data, now))
            case "pong":
                self._take(gateway.pong_received(peer, now))
            case "close":
                self._take(gateway.disconnected(peer, now))
                # A muted or lost link does not answer, and a closed one has.
                if self._links.pop(peer, None) is not None:
                    link.answer(Frame("close", (1000, "")))
            case _:
                self._forget(link)

    def lose(self, link: Link) -> None:
        """The network has broken a link."""
        link.reset()
        self._forget(link)

    def inject(self, fault: Fault) -> None:
        """Make something go wrong."""
        self._take(self._gateway.inject(fault, self._world.now))

    def calm_down(self) -> None:
        """Nothing goes wrong any more."""
        self._gateway.clear_faults()
        self.answers_pings = True
        if self._http is not None:
            self._http.clear_faults()
        for link in self._links.values():
            link.slow = None

    def publish_shared(self, update: Order | Balance) -> None:
        """Publish a change of the account that processes follow."""
        self._take(self._gateway.publish(SHARED, update, self._world.now))

    def publish(self, plan: Publish) -> None:
        """Change the books and publish it: updates each with a number of its own that never comes
        again."""
        if plan.topic == DEALS:
            self._trade(plan)
            return
        for left in range(plan.count - 1, -1, -1):
            self._serial += 1
            update: Order | Balance
            if plan.topic == ORDERS:
                update = self._next_order(plan.key, closes=plan.closes and not left)
                self._current[plan.key] = self.orders[update.id] = update
                if update.is_closed:
                    self.ends.setdefault(update.id, []).append(update)
            else:
                update = Balance(f"COIN{plan.key}", Decimal(self._serial), _ZERO)
                self.balances[update.asset] = update
            self._ledger.append((self._world.now, update))
            self._take(self._gateway.publish(ACCOUNT, update, self._world.now))

    def depth(self, topic: Topic) -> Depth:
        """The truth: the book of a topic."""
        assert self._market is not None
        return self._market.depth(topic.name.rpartition("_")[2])

    def candles(self, topic: Topic, start: float, end: float) -> tuple[Bar, ...]:
        """The truth: the candles that begin in a range of the market's time."""
        assert self._market is not None
        period = topic.name.rpartition("_")[2]
        return self._market.candles(period, start, end, self._world.now, limit=10**6)

    @property
    def market_time(self) -> float:
        """The market's time in Unix seconds."""
        return _OPENED + self._world.now

    def _trade(self, plan: Publish) -> None:
        """Move the price, and make deals around it: each of another amount."""
        market, now = self._market, self._world.now
        if market is None:
            return
        for left in range(plan.count - 1, -1, -1):
            self._serial += 1
            market.move(self._serial * 7 % 11 - 5)
            market.trade(market.price, Decimal(self._serial), Side(1 + self._serial % 2), now)
            if plan.key == 0 or not left:
                self._take(self._gateway.market_changed(MARKET, now))

    def _next_order(self, key: int, *, closes: bool) -> Order:
        """The next state of the key's order. If that is closed: its end again, or a new order."""
        before = self._current.get(key)
        is_new = before is None or (before.is_closed and not closes)
        if before is None or is_new:
            before = evolve(_NEW_ORDER, id=1000 + self._serial)
        status = before.status
        if closes and not before.is_closed:
            status = OrderStatus.CANCELED if is_new else OrderStatus.PARTIAL_CANCELED
        filled = before.deal_stock + (not is_new and not before.is_closed)
        # The clock of what closes orders is behind that of what fills them.
        tick = self._world.now // _TICK - closes
        return evolve(
            before,
            # Numbers of tomorrow's server among them.
            type=OrderType(7) if before.id % 11 == 0 else before.type,
            status=status,
            left=before.amount - filled,
            deal_stock=filled,
            deal_money=Decimal(self._serial),
            update_time=_CREATED + tick * _TICK,
        )

    def _forget(self, link: Link) -> None:
        self._links.pop(link.peer, None)
        self._take(self._gateway.disconnected(link.peer, self._world.now))

    def _take(self, step: GatewayStep) -> None:
        self._number += 1
        for publication in step.publications:
            self._published(self._links[publication.peer], publication, self._number)
        for action in step.actions:
            self._do(action)
        if step.deadline is not None and step.deadline < self._armed:
            self._armed = step.deadline
            self._world.at(step.deadline, self._ring, step.deadline)

    def _ring(self, deadline: float) -> None:
        if deadline == self._armed:
            self._armed = float("inf")
            self._take(self._gateway.deadline_reached(self._world.now))

    def _do(self, action: GatewayAction) -> None:
        match action:
            case SendFrame(peer=peer, text=text):
                link = self._links[peer]
                # A server may repeat a client's token to it.
                link.answer(Frame("text", text.replace("{token}", link.token), self._number))
            case SendPing(peer=peer, payload=payload):
                self._links[peer].answer(Frame("ping", payload, self._number))
            case SendPong(peer=peer, payload=payload):
                self._links[peer].answer(Frame("pong", payload, self._number))
            case ClosePeer(peer=peer, code=code, reason=reason):
                link = self._links.pop(peer)
                if reason == "no pong":
                    self._unanswered(link)
                link.blame("closed by the exchange")
                link.answer(Frame("close", (code, reason.replace("{token}", link.token))))
            case ResetPeer(peer=peer):
                self._links.pop(peer).reset()
            case MutePeer(peer=peer):
                self._links[peer].mute()
            case Accept() | Reject() | SendGarbage() | Stall():
                pass

    def _look_at_ack(self, link: Link, text: str, step: GatewayStep) -> None:
        """A request that is not answered at once under its own id is a fault on its link."""
        if "pong" in text:
            return
        identity = json.loads(text)["id"]
        for action in step.actions:
            if isinstance(action, SendFrame) and json.loads(action.text).get("id") == identity:
                return
        link.blame("acknowledgement")
