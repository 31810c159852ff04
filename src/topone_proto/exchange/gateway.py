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

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from math import inf, isfinite
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import parse_qsl

from attrs import Factory, define, evolve, field, frozen

from topone_proto._values import value
from topone_proto.errors import ConfigurationError
from topone_proto.models import Balance, Order, OrderStatus, OrderType, Side
from topone_proto.wire.topic import BALANCE, ORDERS, Topic

__all__ = [
    "MALFORMED_FRAME",
    "MALFORMED_REQUEST",
    "UNKNOWN_METHOD",
    "UNKNOWN_METHOD_FRAME",
    "Accept",
    "AcceptThenClose",
    "AddCode",
    "AnswerGarbage",
    "Burst",
    "CloseConnections",
    "ClosePeer",
    "DelayAck",
    "DropConnections",
    "DuplicateAck",
    "ExpireToken",
    "Fault",
    "Gateway",
    "GatewayAction",
    "GatewayConfig",
    "GatewayStep",
    "GoSilent",
    "IgnoreHandshake",
    "LoseAck",
    "MutePeer",
    "NodeClock",
    "OriginRule",
    "PingForm",
    "Publication",
    "RefuseHandshake",
    "Reject",
    "RejectRequest",
    "ResetPeer",
    "SendFrame",
    "SendGarbage",
    "SendPing",
    "SendPong",
    "SendRaw",
    "SendStrangeUpdate",
    "Stall",
    "StepClock",
    "TimeForm",
    "WriteTimes",
    "WrongId",
]

MALFORMED_REQUEST: Final = 1
"""The code of the answer to a request that cannot be read. The exchange publishes no codes; this
one is made up."""
UNKNOWN_METHOD: Final = 2
"""The code of the answer to a request whose method is not known. Made up, too."""

_POLICY_VIOLATION: Final = 1008  # RFC 6455 section 7.4.1
_NEVER: Final = inf


# --- settings ------------------------------------------------------------------------------------


class OriginRule(StrEnum):
    """How "set Origin to empty" is understood. Servers of both strict kinds exist."""

    ABSENT_OR_EMPTY = "absent_or_empty"
    """No header, or one with an empty value."""
    ABSENT = "absent"
    """No header; an empty one is refused, as the default check of a common Go library does."""
    EMPTY = "empty"
    """A header with an empty value; its absence is refused."""


class PingForm(StrEnum):
    """How the server asks whether a client is there. The exchange does not say which it uses."""

    CONTROL = "control"
    """A WebSocket ping frame (RFC 6455 section 5.5.2)."""
    TEXT = "text"
    """A text frame ``ping``."""
    METHOD = "method"
    """A text frame ``{"method":"ping"}``."""
    TIMESTAMP = "timestamp"
    """A text frame ``{"ping":1561948335075}`` with the server's time."""


class TimeForm(StrEnum):
    """How the server writes its time. The exchange's page has whole milliseconds."""

    MILLISECONDS = "milliseconds"
    """``1561948335075``."""
    FLOAT = "float"
    """``1561948335075.0``."""
    TEXT = "text"
    """``"1561948335075"``."""
    SECONDS = "seconds"
    """``1561948335.075``."""
    MICROSECONDS = "microseconds"
    """``1561948335075000``."""


def _seconds(_: object, attribute: Any, seconds: float | None) -> None:
    if seconds is not None and not (isfinite(seconds) and seconds > 0):
        raise ConfigurationError(
            setting=f"GatewayConfig.{attribute.name}",
            problem=f"{seconds!r} is no time to wait",
            remedy="use seconds greater than zero, or None to switch it off",
        )


@frozen(kw_only=True)
class GatewayConfig:
    """What kind of server this is. Times are in seconds.

    Raises:
        ConfigurationError: a time is not positive.
    """

    path: str | None = "/ws/user/"
    """The only path that is served; None serves every path."""
    origin: OriginRule = field(default=OriginRule.ABSENT_OR_EMPTY, converter=OriginRule)
    """Which ``Origin`` is let in; anything else is answered with 403."""
    ok_form: bool = False
    """True for the second form of a positive response, ``"msg":"OK"`` and ``"data":{}``."""
    start_ts: int = 1561948335075
    """The server's time in milliseconds at the ``now`` that the gateway was made with."""
    ping_interval: float | None = field(default=30.0, validator=_seconds)
    """How often each client is pinged; None never pings."""
    ping_form: PingForm = field(default=PingForm.TEXT, converter=PingForm)
    """How."""
    pong_timeout: float | None = field(default=180.0, validator=_seconds)
    """A client whose first unanswered ping is this old is closed with code 1008; None never
    closes."""


# --- actions -------------------------------------------------------------------------------------


@value
class Accept:
    """Answer the handshake with 101; from now on the connection is called ``peer``."""

    peer: int
    """The number that the connection has from now on."""


@value
class Reject:
    """Answer the handshake with an HTTP status other than 101 and end the connection."""

    status: int
    """The HTTP status, such as 403."""
    reason: str
    """A few words on the cause, for the response's body."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers to add, such as ``Retry-After``."""


@value
class SendGarbage:
    """Answer the handshake with these bytes, which are no HTTP, and end the connection."""

    data: bytes
    """The bytes, as they go on the wire."""


@value
class Stall:
    """Never answer the handshake, and keep the connection."""


@value
class SendFrame:
    """Send a text frame."""

    peer: int
    """To whom."""
    text: str
    """The frame, as it goes on the wire."""


@value
class SendPing:
    """Send a WebSocket ping; call ``Gateway.pong_received`` when its pong comes."""

    peer: int
    """To whom."""
    payload: bytes
    """What the pong has to repeat, up to 125 bytes."""


@value
class SendPong:
    """Send a WebSocket pong: the answer to ``Gateway.ping_received``."""

    peer: int
    """To whom."""
    payload: bytes
    """What the ping had."""


@value
class ClosePeer:
    """End the connection with a close frame. Nothing of this peer need be fed in any more."""

    peer: int
    """Whose connection."""
    code: int
    """The close code (RFC 6455 section 7.4)."""
    reason: str
    """The close reason."""


@value
class ResetPeer:
    """End the connection at once without a close frame. Nothing of this peer need be fed in any
    more."""

    peer: int
    """Whose connection."""


@value
class MutePeer:
    """Keep the connection and write nothing to it ever again, not even the pongs that a library
    sends by itself."""

    peer: int
    """Whose connection."""


HandshakeAction = Accept | Reject | SendGarbage | Stall
"""How a handshake is answered."""

GatewayAction = HandshakeAction | SendFrame | SendPing | SendPong | ClosePeer | ResetPeer | MutePeer
"""Anything that the gateway can ask of what carries it."""


@value
class Publication:
    """One update published to one peer on an active subscription, whether or not it can still hear
    it."""

    peer: int
    """To whom."""
    topic: Topic
    """On which topic."""
    ts: int
    """The update's server time in milliseconds."""
    update: Balance | Order
    """What was published."""


@value
class GatewayStep:
    """Everything that one input caused."""

    actions: tuple[GatewayAction, ...] = ()
    """To be carried out, in order. The first one of a ``handshake``, and only that, is a
    ``HandshakeAction``."""
    publications: tuple[Publication, ...] = ()
    """What was published, for whoever keeps a record of it."""
    deadline: float | None = None
    """When to call ``deadline_reached`` if no other input comes first, on the clock of ``now``;
    None for never. Calling early is harmless."""


# --- faults --------------------------------------------------------------------------------------
# Three kinds, by when they strike: at the next dials, at the next requests, or at once. `times`
# counts strikes, None is without end. `peer` picks one connection, None means all there are.


@value
class RefuseHandshake:
    """The next dials are answered with an HTTP status: 403, 401, 429, 503, 500, or even 200."""

    status: int
    """The HTTP status, such as 503."""
    retry_after: int | str | None = None
    """The ``Retry-After`` header, in seconds or as an HTTP date; None leaves it out."""
    times: int | None = 1
    """How many dials are answered so; None for all from now on."""


@value
class AnswerGarbage:
    """The next dials are answered with bytes that are no HTTP."""

    data: bytes = b"\x15\x03\x01\x00\x02\x02\x28 this is no HTTP\r\n\r\n"
    """The bytes that are sent instead of an answer."""
    times: int | None = 1
    """How many dials are answered so; None for all from now on."""


@value
class IgnoreHandshake:
    """The next dials are never answered."""

    times: int | None = 1
    """How many dials are treated so; None for all from now on."""


@value
class AcceptThenClose:
    """The next dials that would be accepted are, and closed at once."""

    code: int | None = 1001
    """The close code; None drops the connection without a close frame."""
    reason: str = ""
    """The close reason."""
    times: int | None = 1
    """How many dials are treated so; None for all from now on."""


@value
class DelayAck:
    """The next requests are carried out at once and acknowledged later."""

    seconds: float
    """How late the response is."""
    times: int | None = 1
    """How many requests are answered so; None for all from now on."""
    method: str | None = None
    """Only requests of this method; None for any."""


@value
class LoseAck:
    """The next requests are carried out and never acknowledged."""

    times: int | None = 1
    """How many requests are not answered; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class DuplicateAck:
    """The next requests are acknowledged twice."""

    times: int | None = 1
    """How many requests are answered so; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class NodeClock:
    """The next dials that are accepted are with a node of the exchange whose clock is wrong."""

    milliseconds: int
    """By how much it leads; negative if it is behind."""
    times: int | None = 1
    """How many dials come to such a node; None for all from now on."""


@value
class RejectRequest:
    """The next requests are refused with a code, and change nothing."""

    code: int
    """The code of the response, not 0."""
    msg: str = ""
    """The words of the response."""
    times: int | None = 1
    """How many requests are answered so; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class WrongId:
    """The next requests are carried out and acknowledged under another id."""

    id: str = "no-such-request"
    """The id that the response has instead."""
    times: int | None = 1
    """How many requests are answered so; None for all from now on."""
    method: str | None = None
    """Only requests with this method, such as ``sub_orders``; None for any."""


@value
class SendRaw:
    """A text frame is sent just as it is, whatever it says. See ``MALFORMED_FRAME``,
    ``UNKNOWN_METHOD_FRAME``."""

    text: str
    """The frame, as it goes on the wire."""
    peer: int | None = None
    """To whom; None for every client."""


MALFORMED_FRAME: Final = SendRaw('{"method":"sub_orders","ts":1561948335075,"data":{"id":132991,')
"""A frame that breaks off."""
UNKNOWN_METHOD_FRAME: Final = SendRaw(
    '{"method":"notice","ts":1561948335075,"data":{"text":"maintenance"}}'
)
"""A frame whose method nobody has heard of."""


@value
class SendStrangeUpdate:
    """An order update of tomorrow's server, to whoever is subscribed to orders: enum numbers and
    fields unknown today.

    Its order's id is 0, which no order of a living account has.
    """

    peer: int | None = None
    """To whom; None for every client."""


@value
class Burst:
    """The update that was last published on each topic is published ``count`` times more, all at
    once.

    Updates are absolute, so this changes nothing but the load. A topic without an update yet takes
    the example of the exchange's page.
    """

    count: int
    """How many updates."""
    peer: int | None = None
    """To whom; None for every client."""


@value
class StepClock:
    """The clock of every node of the exchange is set forward, or back."""

    milliseconds: int
    """By how much."""


@value
class WriteTimes:
    """The times of every later frame are written in another form."""

    form: TimeForm
    """Which."""
    peer: int | None = None
    """To whom; None for every client there is."""


@value
class AddCode:
    """Every later update carries a code, as responses do."""

    code: int | str | None = 0
    """The code."""
    peer: int | None = None
    """To whom; None for every client there is."""


@value
class GoSilent:
    """The connections become half-open: they stay, and nothing is sent, answered or heard on them
    any more."""

    peer: int | None = None
    """Whose connection; None for every one."""


@value
class CloseConnections:
    """The connections are closed with a close frame."""

    code: int = 1001
    """The close code (RFC 6455 section 7.4)."""
    reason: str = ""
    """The close reason."""
    peer: int | None = None
    """Whose connection; None for every one."""


@value
class DropConnections:
    """The connections are reset, without a close frame."""

    peer: int | None = None
    """Whose connection; None for every one."""


@value
class ExpireToken:
    """A token is not valid any more: its connections are closed, later dials with it are answered
    with 401."""

    token: str = field(repr=False)
    """The token that opens nothing any more."""
    code: int = _POLICY_VIOLATION
    """The close code for those who are connected with it (RFC 6455 section 7.4)."""
    reason: str = "token expired"
    """The close reason."""


_DialFault = RefuseHandshake | AnswerGarbage | IgnoreHandshake | AcceptThenClose | NodeClock
_RequestFault = DelayAck | LoseAck | DuplicateAck | RejectRequest | WrongId
_InstantFault = (
    SendRaw
    | SendStrangeUpdate
    | Burst
    | WriteTimes
    | AddCode
    | GoSilent
    | CloseConnections
    | DropConnections
)

Fault = _DialFault | _RequestFault | _InstantFault | StepClock | ExpireToken
"""Anything that ``Gateway.inject`` takes."""


_F = TypeVar("_F", bound=_DialFault | _RequestFault)


class _Armed(Generic[_F]):
    """Faults that wait for their occasion, the first to come is the first to strike."""

    def __init__(self) -> None:
        self._waiting: list[tuple[_F, int | None]] = []

    def add(self, fault: _F) -> None:
        self._waiting.append((fault, fault.times))

    def strike(self, fits: Callable[[_F], bool]) -> _F | None:
        for place, (fault, times) in enumerate(self._waiting):
            if fits(fault):
                if times is not None:
                    self._waiting[place : place + 1] = [(fault, times - 1)] if times > 1 else []
                return fault
        return None

    def clear(self) -> None:
        self._waiting.clear()


# --- frames --------------------------------------------------------------------------------------

# The updates of the exchange's page, for a burst of what was not published yet.
_EXAMPLE_BALANCE: Final = Balance("ETH", Decimal("99999980.24173"), Decimal("23.596"))
_EXAMPLE_ORDER: Final = Order(
    id=132991,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.COMPLETED,
    price=Decimal("0.08132"),
    amount=Decimal("1.389"),
    left=Decimal(0),
    deal_stock=Decimal("1.389"),
    deal_money=Decimal("0.10953654"),
    create_time=1522235513.740678,
    update_time=1522235513.740684,
)
_STRANGE_ORDER: Final = evolve(
    _EXAMPLE_ORDER,
    id=0,
    type=OrderType(7),
    side=Side(9),
    status=OrderStatus(42),
    left=Decimal("0E-16"),
)
_STRANGE_FIELDS: Final = {
    "stopPrice": None,
    "fees": [{"asset": "BTC", "amount": "0.0001"}],
    "flags": 3,
}


def _text(frame: Mapping[str, Any]) -> str:
    return json.dumps(frame, separators=(",", ":"))


def _balance_data(balance: Balance) -> dict[str, Any]:
    return {
        "asset": balance.asset,
        "available": str(balance.available),
        "freeze": str(balance.freeze),
    }


def _order_data(order: Order) -> dict[str, Any]:
    data = {
        "id": order.id,
        "market": order.market,
        "type": int(order.type),
        "side": int(order.side),
        "status": int(order.status),
        "price": order.price,
        "amount": order.amount,
        "left": order.left,
        "dealStock": order.deal_stock,
        "dealMoney": order.deal_money,
        "createTime": None if order.create_time is None else float(order.create_time),
        "updateTime": None if order.update_time is None else float(order.update_time),
    }
    # str() writes a decimal as the exchange does: plain, but "0E-16" for a zero with sixteen
    # places.
    return {
        name: str(v) if isinstance(v, Decimal) else v for name, v in data.items() if v is not None
    }


def _written(ts: int, form: TimeForm) -> int | float | str:
    match form:
        case TimeForm.FLOAT:
            return float(ts)
        case TimeForm.TEXT:
            return str(ts)
        case TimeForm.SECONDS:
            return ts / 1000
        case TimeForm.MICROSECONDS:
            return ts * 1000
        case _:
            return ts


def _topic(update: Balance | Order) -> Topic:
    return BALANCE if isinstance(update, Balance) else ORDERS


@value
class _Request:
    """What a client asked, as far as it can be read."""

    id: str | None = None
    method: str | None = None
    is_pong: bool = False
    problem: str = ""
    """Why it cannot be carried out; empty if it can."""


def _read(frame: str | bytes) -> _Request:
    if frame in {"pong", b"pong"}:
        return _Request(is_pong=True)
    try:
        parsed = json.loads(frame)
    except (ValueError, RecursionError):
        return _Request(problem="not JSON")
    if not isinstance(parsed, dict):
        return _Request(problem="not a JSON object")
    members = cast("dict[str, Any]", parsed)
    if members.get("method") == "pong" or ("method" not in members and "pong" in members):
        return _Request(is_pong=True)
    identity, method = (
        members[name] if isinstance(members.get(name), str) and members[name] else None
        for name in ("id", "method")
    )
    if identity is None:
        problem = "id is not a text"
    elif method is None:
        problem = "method is not a text"
    elif not isinstance(members.get("params", {}), dict):
        problem = "params is not an object"
    elif not isinstance(members.get("lang", ""), str):
        problem = "lang is not a text"
    else:
        problem = ""
    return _Request(identity, method, problem=problem)


# --- the gateway
# ------------------------------------------------------------------------------------------------

# method -> (topic, whether it is subscribed to afterwards)
_METHODS: Final = {
    method: (topic, wanted)
    for topic in (BALANCE, ORDERS)
    for method, wanted in ((topic.subscribe_method, True), (topic.unsubscribe_method, False))
}


@define(eq=False)
class _Peer:
    number: int
    account: str
    token: str = field(repr=False)
    next_ping: float
    topics: set[Topic] = Factory(set[Topic])
    is_silent: bool = False
    unanswered_since: float | None = None
    pings: int = 0
    lead: int = 0
    form: TimeForm = TimeForm.MILLISECONDS
    more: dict[str, Any] = Factory(dict[str, Any])


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
        tokens: Mapping[str, str] | None = None,
        *,
        config: GatewayConfig | None = None,
        now: float = 0.0,
    ) -> None:
        """A gateway without connections.

        Args:
            tokens: which token opens which account; None for the one token ``demo`` of the account
                ``demo``.
            config: what kind of server it is.
            now: the moment at which its own clock shows ``config.start_ts``.
        """
        self._tokens = {"demo": "demo"} if tokens is None else dict(tokens)
        self._config = config or GatewayConfig()
        self._start = now
        self._peers: dict[int, _Peer] = {}
        self._last_number = 0
        self._last_update: dict[tuple[str, Topic], Balance | Order] = {}
        self._delayed: list[tuple[float, int, SendFrame]] = []
        self._delayed_count = 0
        self._stepped = 0
        self._dial_faults: _Armed[_DialFault] = _Armed()
        self._request_faults: _Armed[_RequestFault] = _Armed()
        self._actions: list[GatewayAction] = []
        self._publications: list[Publication] = []

    # What can be asked.

    @property
    def peers(self) -> tuple[int, ...]:
        """The connections there are, silent ones included, oldest first."""
        return tuple(self._peers)

    def subscriptions(self, peer: int) -> frozenset[Topic]:
        """What ``peer`` is subscribed to; nothing if it is gone."""
        return frozenset(self._peers[peer].topics) if peer in self._peers else frozenset()

    def server_ts(self, now: float) -> int:
        """The server's time in milliseconds."""
        return self._config.start_ts + self._stepped + round((now - self._start) * 1000)

    def allow(self, token: str, account: str) -> None:
        """Let ``token`` open ``account`` from now on."""
        self._tokens[token] = account

    # What comes in from the network.

    def handshake(self, target: str, headers: Iterable[tuple[str, str]], now: float) -> GatewayStep:
        """A client dials. The first action, a ``HandshakeAction``, is the answer.

        Args:
            target: path and query of the request line, such as ``/ws/user/?token=…``.
            headers: the request's headers, names in any case.
            now: the time.
        """
        fault = self._dial_faults.strike(
            lambda fault: not isinstance(fault, AcceptThenClose | NodeClock)
        )
        match fault:
            case RefuseHandshake(status=status, retry_after=retry_after):
                asked = () if retry_after is None else (("Retry-After", str(retry_after)),)
                self._actions.append(Reject(status, "refused on purpose", asked))
            case AnswerGarbage(data=data):
                self._actions.append(SendGarbage(data))
            case IgnoreHandshake():
                self._actions.append(Stall())
            case _:
                self._judge(target, headers, now)
        return self._step()

    def message_received(self, peer: int, frame: str | bytes, now: float) -> GatewayStep:
        """A text frame came from ``peer``."""
        client = self._listening(peer)
        if client is not None:
            request = _read(frame)
            if request.is_pong:
                client.unanswered_since = None
            else:
                self._answer(client, request, now)
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
        while self._delayed and self._delayed[0][0] <= now:
            frame = heapq.heappop(self._delayed)[2]
            if self._listening(frame.peer) is not None:
                self._actions.append(frame)
        for client in self._clients():
            if self._pong_deadline(client) <= now:
                self._close(client, _POLICY_VIOLATION, "no pong")
            elif client.next_ping <= now:
                self._ping(client, now)
        return self._step()

    # What the owner of the gateway does.

    def publish(self, account: str, update: Balance | Order, now: float) -> GatewayStep:
        """A balance or an order of ``account`` changed: tell every connection of it that subscribed
        to that."""
        topic = _topic(update)
        self._last_update[account, topic] = update
        for client in tuple(self._peers.values()):
            if client.account == account and topic in client.topics:
                self._publish(client, update, now)
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
        match fault:
            case (
                RefuseHandshake()
                | AnswerGarbage()
                | IgnoreHandshake()
                | AcceptThenClose()
                | NodeClock()
            ):
                self._dial_faults.add(fault)
            case StepClock(milliseconds=milliseconds):
                self._stepped += milliseconds
            case DelayAck() | LoseAck() | DuplicateAck() | RejectRequest() | WrongId():
                self._request_faults.add(fault)
            case ExpireToken(token=token, code=code, reason=reason):
                self._tokens.pop(token, None)
                for client in self._clients():
                    if client.token == token:
                        self._close(client, code, reason)
            case _:
                for client in self._clients(fault.peer):
                    self._strike(client, fault, now)
        return self._step()

    def clear_faults(self) -> None:
        """Forget the faults that wait for their occasion. What struck already stays."""
        self._dial_faults.clear()
        self._request_faults.clear()

    # How it is done.

    def _step(self) -> GatewayStep:
        deadlines = [
            min(client.next_ping, self._pong_deadline(client)) for client in self._clients()
        ]
        if self._delayed:
            deadlines.append(self._delayed[0][0])
        deadline = min(deadlines, default=_NEVER)
        step = GatewayStep(
            tuple(self._actions),
            tuple(self._publications),
            None if deadline == _NEVER else deadline,
        )
        self._actions.clear()
        self._publications.clear()
        return step

    def _listening(self, peer: int) -> _Peer | None:
        client = self._peers.get(peer)
        return None if client is None or client.is_silent else client

    def _clients(self, peer: int | None = None) -> Iterator[_Peer]:
        """Those that can still be spoken to: all, or ``peer`` if it is one of them."""
        for client in tuple(self._peers.values()):
            if not client.is_silent and peer in {None, client.number}:
                yield client

    def _judge(self, target: str, headers: Iterable[tuple[str, str]], now: float) -> None:
        path, _, query = target.partition("?")
        origins = [text.strip() for name, text in headers if name.lower() == "origin"]
        tokens = [text for name, text in parse_qsl(query) if name == "token"]
        account = self._tokens.get(tokens[0]) if len(tokens) == 1 else None
        if self._config.path is not None and path != self._config.path:
            self._actions.append(Reject(404, "no such path"))
        elif not self._is_welcome(origins):
            self._actions.append(Reject(403, "Origin must be empty"))
        elif account is None:
            self._actions.append(Reject(401, "the token is missing or not known"))
        else:
            self._accept(account, tokens[0], now)

    def _is_welcome(self, origins: list[str]) -> bool:
        match self._config.origin:
            case OriginRule.ABSENT:
                return not origins
            case OriginRule.EMPTY:
                return origins == [""]
            case _:
                return origins in ([], [""])

    def _accept(self, account: str, token: str, now: float) -> None:
        self._last_number += 1
        interval = self._config.ping_interval
        client = _Peer(
            self._last_number, account, token, _NEVER if interval is None else now + interval
        )
        self._peers[client.number] = client
        self._actions.append(Accept(client.number))
        clock = self._dial_faults.strike(lambda fault: isinstance(fault, NodeClock))
        if isinstance(clock, NodeClock):
            client.lead = clock.milliseconds
        fault = self._dial_faults.strike(lambda fault: isinstance(fault, AcceptThenClose))
        if isinstance(fault, AcceptThenClose):
            if fault.code is None:
                self._reset(client)
            else:
                self._close(client, fault.code, fault.reason)

    def _answer(self, client: _Peer, request: _Request, now: float) -> None:
        fault = self._request_faults.strike(lambda fault: fault.method in {None, request.method})
        identity = request.id
        data: dict[str, Any] = {}
        if request.problem:
            code, msg = MALFORMED_REQUEST, request.problem
        elif isinstance(fault, RejectRequest):
            code, msg = fault.code, fault.msg
        elif request.method not in _METHODS:
            code, msg = UNKNOWN_METHOD, "unknown method"
        else:
            topic, wanted = _METHODS[request.method]
            (client.topics.add if wanted else client.topics.discard)(topic)
            code, msg = 0, "OK" if self._config.ok_form else ""
            data = {"data": {}} if self._config.ok_form else {}
        if isinstance(fault, WrongId):
            identity = fault.id
        response = {
            "id": identity,
            "method": request.method,
            "code": code,
            "msg": msg,
            "ts": _written(self._ts(client, now), client.form),
        }
        frame = SendFrame(client.number, _text(response | data))
        match fault:
            case LoseAck():
                pass
            case DelayAck(seconds=seconds):
                self._delayed_count += 1
                heapq.heappush(self._delayed, (now + seconds, self._delayed_count, frame))
            case DuplicateAck():
                self._actions += [frame, frame]
            case _:
                self._actions.append(frame)

    def _publish(self, client: _Peer, update: Balance | Order, now: float, **more: object) -> None:
        topic, ts = _topic(update), self._ts(client, now)
        self._publications.append(Publication(client.number, topic, ts, update))
        if not client.is_silent:
            data = _balance_data(update) if isinstance(update, Balance) else _order_data(update)
            written = _written(ts, client.form)
            frame = {"method": topic.subscribe_method, "ts": written, "data": data | more}
            self._actions.append(SendFrame(client.number, _text(frame | client.more | more)))

    def _ts(self, client: _Peer, now: float) -> int:
        """The time in milliseconds by the clock of the client's node."""
        return self.server_ts(now) + client.lead

    def _strike(  # noqa: C901 - a line or two for each fault
        self, client: _Peer, fault: _InstantFault, now: float
    ) -> None:
        match fault:
            case SendRaw(text=text):
                self._actions.append(SendFrame(client.number, text))
            case SendStrangeUpdate():
                if ORDERS in client.topics:
                    self._publish(client, _STRANGE_ORDER, now, **_STRANGE_FIELDS)
            case Burst(count=count):
                for topic, example in ((BALANCE, _EXAMPLE_BALANCE), (ORDERS, _EXAMPLE_ORDER)):
                    if topic in client.topics:
                        update = self._last_update.get((client.account, topic), example)
                        for _ in range(count):
                            self._publish(client, update, now)
            case WriteTimes(form=form):
                client.form = form
            case AddCode(code=code):
                client.more = {"code": code}
            case GoSilent():
                client.is_silent = True
                self._actions.append(MutePeer(client.number))
            case CloseConnections(code=code, reason=reason):
                self._close(client, code, reason)
            case DropConnections():  # pragma: no branch - there is no other
                self._reset(client)

    def _ping(self, client: _Peer, now: float) -> None:
        assert self._config.ping_interval is not None  # or next_ping would never be due
        client.next_ping = now + self._config.ping_interval
        client.pings += 1
        if client.unanswered_since is None:
            client.unanswered_since = now
        match self._config.ping_form:
            case PingForm.CONTROL:
                self._actions.append(SendPing(client.number, str(client.pings).encode()))
            case PingForm.TEXT:
                self._actions.append(SendFrame(client.number, "ping"))
            case PingForm.METHOD:
                self._actions.append(SendFrame(client.number, _text({"method": "ping"})))
            case PingForm.TIMESTAMP:  # pragma: no branch - there is no other
                self._actions.append(SendFrame(client.number, _text({"ping": self.server_ts(now)})))

    def _pong_deadline(self, client: _Peer) -> float:
        if client.unanswered_since is None or self._config.pong_timeout is None:
            return _NEVER
        return client.unanswered_since + self._config.pong_timeout

    def _close(self, client: _Peer, code: int, reason: str) -> None:
        del self._peers[client.number]
        self._actions.append(ClosePeer(client.number, code, reason))

    def _reset(self, client: _Peer) -> None:
        del self._peers[client.number]
        self._actions.append(ResetPeer(client.number))
