"""Targets of fuzzing, and what has to hold whatever comes: functions of bytes that raise if not.

They need no fuzzer, so the tests run them over everything that a fuzzer has found.
"""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, get_args

from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Close,
    Connection,
    LocalProtocolError,
    Malformed,
    Message,
    OrderUpdate,
    Ping,
    Response,
    SendText,
    SessionConfig,
    Step,
    SubscriptionState,
    Topic,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Update,
    decode,
    kline,
)
from topone_proto.events import Event
from topone_proto.plain import from_plain, to_plain
from topone_proto.session.subscriptions import FOLLOWED

__all__ = ["TARGETS", "fuzz_connection", "fuzz_decode"]

_KEEP: Final = 64
_MESSAGES: Final = get_args(Message)


# --- decode --------------------------------------------------------------------------------------


def fuzz_decode(data: bytes) -> None:
    """One frame, as bytes and, if it is one, as text."""
    message = decode(data, keep=_KEEP)
    _check_message(message, data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    as_text = decode(text, keep=_KEEP)
    _check_message(as_text, text)
    assert type(message) is type(as_text)
    if isinstance(message, Malformed) and isinstance(as_text, Malformed):
        assert message.path == as_text.path
    elif not isinstance(message, Unrecognised):
        assert message == as_text
    if isinstance(message, OrderUpdate | BalanceUpdate | Response):
        _check_against_json(message, text)


def _check_message(message: Message, frame: str | bytes) -> None:
    assert isinstance(message, _MESSAGES)
    match message:
        case Malformed():
            assert message.path.startswith("$")
            assert message.size == len(frame)
            assert len(message.frame) <= _KEEP
            assert len(message.reason) <= 200
        case Unrecognised():
            assert len(message.frame) <= _KEEP
            assert len(message.method or "") <= _KEEP
        case Ping():
            # It has to fit into a frame of ours, and be one that any server can read.
            assert len(message.answer) <= 300
            assert (
                message.answer == "pong"
                or "pong" in json.loads(message.answer).values()
                or ("pong" in json.loads(message.answer))
            )
        case _:
            pass
    if not isinstance(message, Ping | Response):
        assert from_plain(to_plain(message)) == message


def _check_against_json(message: OrderUpdate | BalanceUpdate | Response, text: str) -> None:
    """Compare with what another parser reads in the same frame."""
    try:
        plain: Any = json.loads(text)
    except (ValueError, RecursionError):
        # It has limits of its own: digits of a number, depth.
        return
    if isinstance(message, Response):
        assert plain["code"] == message.code
        return
    assert plain["method"] == message.topic.subscribe_method
    assert plain["ts"] == message.ts
    data = plain["data"]
    if isinstance(message, BalanceUpdate):
        balance = message.balance
        assert data["asset"] == balance.asset
        numbers = {"available": balance.available, "freeze": balance.freeze}
    else:
        order = message.order
        assert (data["id"], data["market"]) == (order.id, order.market)
        assert (data["type"], data["side"], data["status"]) == (
            order.type,
            order.side,
            order.status,
        )
        assert (data["createTime"], data["updateTime"]) == (order.create_time, order.update_time)
        numbers = {
            "amount": order.amount,
            "dealStock": order.deal_stock,
            "dealMoney": order.deal_money,
        }
        for name, optional in (("price", order.price), ("left", order.left)):
            if optional is None:
                assert not data.get(name)
            else:
                numbers[name] = optional
    for name, number in numbers.items():
        assert number.is_finite()
        # Exponent and zeros as well.
        assert number.as_tuple() == Decimal(data[name]).as_tuple()


# --- a connection --------------------------------------------------------------------------------

_CONFIG: Final = SessionConfig(max_frame_size=2000, max_pending=3, max_kept=_KEEP)
_TOPICS: Final = (ORDERS, BALANCE, kline("BTC/USDT", "1m"))
_ORDER: Final = (
    '{"method":"sub_orders","ts":%d,"data":{"id":1,"market":"A/B","type":1,"side":1,"status":1,'
    '"price":"1","amount":"1","left":"1","dealStock":"0","dealMoney":"0","createTime":1,'
    '"updateTime":1}}'
)


class _Life:
    """One connection, lived as the bytes say."""

    def __init__(self) -> None:
        self.connection = Connection(_CONFIG)
        self.now = 0.0
        self.is_closed = False

    def live(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            kind, rest = line[:1], line[1:]
            number = rest[0] if rest else 0
            topic = _TOPICS[number % len(_TOPICS)]
            connection, now = self.connection, self.now
            match kind:
                case b"S":
                    self.ask(connection.subscribe, topic)
                case b"U":
                    self.ask(connection.unsubscribe, topic)
                case b"A" | b"R":
                    pending = connection.pending
                    if pending:
                        code = number if kind == b"R" else 0
                        self.hear(f'{{"id":"{pending[number % len(pending)]}","code":{code}}}')
                case b"O":
                    self.hear(_ORDER % number)
                case b"T":
                    self.now += number / 4
                    self.check(connection.deadline_reached(self.now))
                case b"P":
                    self.check(connection.pong_received(rest, now))
                case b"W":
                    self.check(connection.reading_paused(now))
                case b"G":
                    self.check(connection.reading_resumed(now))
                case _:
                    self.hear(line)

    def ask(self, ask: Callable[[Topic, float], Step], topic: Topic) -> None:
        state = self.connection.state_of(topic)
        try:
            step = ask(topic, self.now)
        except LocalProtocolError:
            assert self.connection.state_of(topic) is state
        else:
            self.check(step)
            assert [type(action) for action in step.actions] == [SendText]
            assert step.events == ()

    def hear(self, frame: str | bytes) -> None:
        before = dict(self.connection.subscriptions)
        step = self.connection.message_received(frame, self.now)
        self.check(step)
        for event in step.events:
            if isinstance(event, Update):
                assert before[event.topic] in FOLLOWED
            elif isinstance(event, UnexpectedUpdate):
                state = before.get(event.update.topic, SubscriptionState.IDLE)
                assert state not in FOLLOWED

    def check(self, step: Step) -> None:
        connection = self.connection
        if self.is_closed:
            assert step == Step()
            return
        self.is_closed = any(isinstance(action, Close) for action in step.actions)
        assert self.is_closed is (connection.failure is not None)
        assert len(connection.pending) <= _CONFIG.max_pending
        assert step.deadline == connection.deadline
        if self.is_closed:
            assert step.deadline is None
        for text in _texts(step.events):
            assert len(text) <= _KEEP + 200


def _texts(events: tuple[Event, ...]) -> Iterator[str]:
    """Return what anomalies keep of the peer's words."""
    for event in events:
        match event:
            case Malformed(reason=reason, frame=frame) | Unrecognised(reason=reason, frame=frame):
                yield from (reason, frame)
            case UnexpectedResponse(response=response):
                yield from (response.id or "", response.method or "", response.msg)
            case _:
                pass


def fuzz_connection(data: bytes) -> None:
    """A connection's life: lines that are frames, and lines that are what else can happen to it."""
    _Life().live(data)


TARGETS: Final = {"decode": fuzz_decode, "connection": fuzz_connection}
