"""The exchange's side of the private WebSocket, pure: for tests, demonstrations and simulations.

Written from the exchange's page and from nothing of the client's: it reads requests and writes
frames by itself, so that a mistake of the client cannot be hidden by the same mistake here. Time is
an argument, randomness there is none. Besides the protocol it knows scripted faults: value classes
for everything that goes wrong on the way to an exchange.

What the exchange leaves open is decided here as follows; the settings are in ``GatewayConfig``:

- a handshake is judged in this order: path (404), ``Origin`` (403), token (401);
- a subscription is active from the moment its request is read, so an update may precede a delayed
  acknowledgement;
- subscribing twice, or unsubscribing from what is not subscribed to, is harmless and acknowledged;
- a request that cannot be read is answered with a code other than 0, never with silence or a close;
- only a pong, in any of its forms, answers a ping; other traffic does not.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Final

from topone_proto.exchange._desk import Desk
from topone_proto.exchange._door import Door, Entry
from topone_proto.exchange._frames import (
    EXAMPLE_BALANCE,
    EXAMPLE_ORDER,
    STRANGE_FIELDS,
    STRANGE_ORDER,
    data_of,
    topic_of,
)
from topone_proto.exchange._market_data import MarketDesk
from topone_proto.exchange._peer import Peer
from topone_proto.exchange._requests import read_request
from topone_proto.exchange.actions import (
    Accept,
    ClosePeer,
    GatewayAction,
    GatewayStep,
    MarketData,
    MutePeer,
    Publication,
    ResetPeer,
    SendFrame,
    SendPong,
)
from topone_proto.exchange.config import GatewayConfig
from topone_proto.exchange.faults import (
    AcceptThenClose,
    AddCode,
    Burst,
    CloseConnections,
    DialFault,
    DropConnections,
    ExpireToken,
    Fault,
    GoSilent,
    InstantFault,
    NodeClock,
    RequestFault,
    SendOddBook,
    SendRaw,
    SendStrangeUpdate,
    StepClock,
    WriteTimes,
)
from topone_proto.exchange.market import LivingMarket
from topone_proto.exchange.tokens import Tokens
from topone_proto.wire.balance import BALANCE, Balance
from topone_proto.wire.orders import ORDERS, Order
from topone_proto.wire.topic import Topic

__all__ = ["Gateway"]

_POLICY_VIOLATION: Final = 1008  # RFC 6455 section 7.4.1
_NEVER: Final = inf


class Gateway:
    """The server of one exchange: its clients, what they subscribed to, and what goes wrong on
    purpose.

    The caller owns the connections: it asks ``handshake`` for each dial, feeds in what is received,
    and carries out the actions of every ``GatewayStep``. ``now`` is in seconds on any clock that
    never goes back. Peers are numbered from 1 and no number is used twice; input for a peer that is
    gone is ignored.

    >>> gateway = Gateway({"demo": "demo"})
    >>> gateway.handshake("/ws/user/?token=demo", [], now=0.0).actions
    (Accept(peer=1),)
    >>> request = '{"id":"1","method":"sub_orders","params":{},"lang":"zh-CN"}'
    >>> print(gateway.message_received(1, request, now=0.0).actions[0].text)
    {"id":"1","method":"sub_orders","code":0,"msg":"","ts":1561948335075}
    """

    def __init__(
        self,
        tokens: Mapping[str, str] | Tokens | None = None,
        *,
        config: GatewayConfig | None = None,
        markets: Mapping[str, LivingMarket] | None = None,
        now: float = 0.0,
    ) -> None:
        """A gateway without connections.

        Args:
            tokens: which token opens which account; None for the one token ``demo`` of the account
                ``demo``. Share ``Tokens`` with an ``HttpDesk`` that issues more.
            config: what kind of server it is.
            markets: what the public socket serves, by name; None for no public socket. They live
                without the gateway: call ``market_changed`` when one has.
            now: the moment at which its own clock shows ``config.start_ts``.
        """
        self._config = config or GatewayConfig()
        self._start = now
        self._peers: dict[int, Peer] = {}
        self._last_number = 0
        self._last_update: dict[tuple[str | None, Topic], Balance | Order] = {}
        self._markets = MarketDesk(markets or {}, self._config)
        known = {"demo": "demo"} if tokens is None else tokens
        known = known if isinstance(known, Tokens) else Tokens(known)
        self._door = Door(known, self._config, is_public=self._markets.is_open)
        self._desk = Desk(self._config, self._markets)
        self._stepped = 0
        self._actions: list[GatewayAction] = []
        self._publications: list[Publication] = []

    # What can be asked.

    @property
    def peers(self) -> tuple[int, ...]:
        """The connections there are, silent ones included, oldest first."""
        return tuple(self._peers)

    def subscriptions(self, peer: int) -> frozenset[Topic]:
        """Return the topics that ``peer`` is subscribed to; none if it is gone."""
        return frozenset(self._peers[peer].topics) if peer in self._peers else frozenset()

    def server_ts(self, now: float) -> int:
        """The server's time in milliseconds."""
        return self._config.start_ts + self._stepped + round((now - self._start) * 1000)

    def allow(self, token: str, account: str) -> None:
        """Let ``token`` open ``account`` from now on."""
        self._door.tokens.allow(token, account)

    # What comes in from the network.

    def handshake(self, target: str, headers: Iterable[tuple[str, str]], now: float) -> GatewayStep:
        """A client dials. The first action, a ``HandshakeAction``, is the answer.

        Args:
            target: path and query of the request line, such as ``/ws/user/?token=…``.
            headers: the request's headers, names in any case.
            now: the time.
        """
        answer = self._door.answer(target, headers, now)
        if isinstance(answer, Entry):
            self._accept(answer, now)
        else:
            self._actions.append(answer)
        return self._step()

    def message_received(self, peer: int, frame: str | bytes, now: float) -> GatewayStep:
        """A text frame came from ``peer``."""
        client = self._listening(peer)
        if client is not None:
            request = read_request(frame)
            if request.is_pong:
                client.ponged(self._config, request.pong)
            else:
                before = tuple(client.topics)
                self._actions += self._desk.answer(client, request, self._ts(client, now), now)
                for topic in client.topics:
                    if topic not in before and self._config.has_first_push:
                        self._publish_first(client, topic, now)
        return self._step()

    def pong_received(self, peer: int, now: float) -> GatewayStep:  # noqa: ARG002 - every input has a time
        """A WebSocket pong came from ``peer``."""
        client = self._listening(peer)
        if client is not None:
            client.unanswered_since = None
        return self._step()

    def ping_received(self, peer: int, payload: bytes, now: float) -> GatewayStep:  # noqa: ARG002 - as above
        """A WebSocket ping came from ``peer``. Not for transports that answer pings by
        themselves."""
        if self._listening(peer) is not None:
            self._actions.append(SendPong(peer, payload))
        return self._step()

    def disconnected(self, peer: int, now: float) -> GatewayStep:  # noqa: ARG002 - as above
        """The connection of ``peer`` has ended, by whomever."""
        self._peers.pop(peer, None)
        return self._step()

    def deadline_reached(self, now: float) -> GatewayStep:
        """It is ``now``: send what is due, close who has not answered."""
        for frame in self._desk.due(now):
            if self._listening(frame.peer) is not None:
                self._actions.append(frame)
        for client in self._clients():
            if client.pong_deadline(self._config) <= now:
                self._close(client, _POLICY_VIOLATION, "no pong")
            elif client.next_ping <= now:
                self._actions.append(client.ping(self._config, self.server_ts(now), now))
        return self._step()

    # What the owner of the gateway does.

    def publish(self, account: str, update: Balance | Order, now: float) -> GatewayStep:
        """A balance or an order of ``account`` changed: tell every connection of it that subscribed
        to that."""
        topic = topic_of(update)
        self._last_update[account, topic] = update
        for client in tuple(self._peers.values()):
            if client.account == account and topic in client.topics:
                self._publish(client, topic, update, now)
        return self._step()

    def market_changed(self, name: str, now: float) -> GatewayStep:
        """The market of this name has new deals or another book: tell everyone who follows it."""
        followed = {topic: None for client in self._peers.values() for topic in client.topics}
        for topic, data in self._markets.changed(name, followed, now):
            self._publish_to_all(topic, data, now)
        return self._step()

    def publish_market(self, topic: Topic, data: MarketData, now: float) -> GatewayStep:
        """Publish made-up market data to everyone who is subscribed to its topic."""
        self._publish_to_all(topic, data, now)
        return self._step()

    def close_peer(
        self,
        peer: int,
        now: float,  # noqa: ARG002 - every input has a time
        *,
        code: int = 1001,
        reason: str = "",
    ) -> GatewayStep:
        """Close one connection with a close frame."""
        client = self._listening(peer)
        if client is not None:
            self._close(client, code, reason)
        return self._step()

    def inject(self, fault: Fault, now: float) -> GatewayStep:
        """Make something go wrong, now or when its occasion comes."""
        if isinstance(fault, DialFault):
            self._door.faults.add(fault)
            return self._step()
        if isinstance(fault, RequestFault):
            self._desk.faults.add(fault)
            return self._step()
        match fault:
            case StepClock(milliseconds=milliseconds):
                self._stepped += milliseconds
            case ExpireToken(token=token, code=code, reason=reason):
                self._door.tokens.revoke(token)
                for client in self._clients():
                    if client.token == token:
                        self._close(client, code, reason)
            case _:
                for client in self._clients(fault.peer):
                    self._strike(client, fault, now)
        return self._step()

    def clear_faults(self) -> None:
        """Forget the faults that wait for their occasion. What struck already stays."""
        self._door.faults.clear()
        self._desk.faults.clear()

    # How it is done.

    def _step(self) -> GatewayStep:
        deadlines = [
            min(client.next_ping, client.pong_deadline(self._config)) for client in self._clients()
        ]
        deadline = min([*deadlines, self._desk.deadline])
        step = GatewayStep(
            tuple(self._actions),
            tuple(self._publications),
            None if deadline == _NEVER else deadline,
        )
        self._actions.clear()
        self._publications.clear()
        return step

    def _listening(self, peer: int) -> Peer | None:
        client = self._peers.get(peer)
        return None if client is None or client.is_silent else client

    def _clients(self, peer: int | None = None) -> Iterator[Peer]:
        """Those that can still be spoken to: all, or ``peer`` if it is one of them."""
        for client in tuple(self._peers.values()):
            if not client.is_silent and peer in {None, client.number}:
                yield client

    def _accept(self, entry: Entry, now: float) -> None:
        self._last_number += 1
        interval = self._config.ping_interval
        next_ping = _NEVER if interval is None else now + interval
        client = Peer(self._last_number, entry.account, entry.token, next_ping)
        self._peers[client.number] = client
        self._actions.append(Accept(client.number))
        clock = self._door.strike(NodeClock)
        if isinstance(clock, NodeClock):
            client.lead = clock.milliseconds
        fault = self._door.strike(AcceptThenClose)
        if isinstance(fault, AcceptThenClose):
            if fault.code is None:
                self._reset(client)
            else:
                self._close(client, fault.code, fault.reason)

    def _publish(
        self,
        client: Peer,
        topic: Topic,
        update: Balance | Order | MarketData,
        now: float,
        **more: object,
    ) -> None:
        ts = self._ts(client, now)
        self._publications.append(Publication(client.number, topic, ts, update))
        if not client.is_silent:
            data = data_of(update, is_newest_first=self._config.is_newest_first)
            self._actions.append(client.update(topic, ts, data, more))

    def _publish_to_all(self, topic: Topic, data: MarketData, now: float) -> None:
        for client in tuple(self._peers.values()):
            if topic in client.topics:
                self._publish(client, topic, data, now)

    def _publish_first(self, client: Peer, topic: Topic, now: float) -> None:
        """Tell a new subscriber what there is; of nothing there is no push."""
        data = self._markets.first(topic, now)
        if data:
            self._publish(client, topic, data, now)

    def _ts(self, client: Peer, now: float) -> int:
        """The time in milliseconds by the clock of the client's node."""
        return self.server_ts(now) + client.lead

    def _strike(self, client: Peer, fault: InstantFault, now: float) -> None:
        match fault:
            case WriteTimes(form=form):
                client.form = form
            case AddCode(code=code):
                client.more = {"code": code}
            case GoSilent():
                client.is_silent = True
                self._actions.append(MutePeer(client.number))
            case CloseConnections(code=code, reason=reason):
                self._close(client, code, reason)
            case DropConnections():
                self._reset(client)
            case _:
                self._send_odd(client, fault, now)

    def _send_odd(
        self, client: Peer, fault: SendRaw | SendStrangeUpdate | SendOddBook | Burst, now: float
    ) -> None:
        match fault:
            case SendRaw(text=text):
                self._actions.append(SendFrame(client.number, text))
            case SendStrangeUpdate():
                if ORDERS in client.topics:
                    self._publish(client, ORDERS, STRANGE_ORDER, now, **STRANGE_FIELDS)
            case SendOddBook(form=form):
                for topic in client.topics:
                    book = self._markets.odd_book(topic, form)
                    if book is not None:
                        self._publish(client, topic, book, now)
            case Burst(count=count):  # pragma: no branch - there is no other
                for topic, update in self._latest(client, now):
                    for _ in range(count):
                        self._publish(client, topic, update, now)

    def _latest(
        self, client: Peer, now: float
    ) -> Iterator[tuple[Topic, Balance | Order | MarketData]]:
        """Yield what was last published on each topic of a client that has absolute updates."""
        examples: dict[Topic, Balance | Order] = {BALANCE: EXAMPLE_BALANCE, ORDERS: EXAMPLE_ORDER}
        for topic, example in examples.items():
            if topic in client.topics:
                yield topic, self._last_update.get((client.account, topic), example)
        for topic in client.topics:
            data = self._markets.state(topic, now)
            if data:
                yield topic, data

    def _close(self, client: Peer, code: int, reason: str) -> None:
        del self._peers[client.number]
        self._actions.append(ClosePeer(client.number, code, reason))

    def _reset(self, client: Peer) -> None:
        del self._peers[client.number]
        self._actions.append(ResetPeer(client.number))
