"""Two lives of a feed, lived by the core against the gateway while the page is built, and drawn as
what happened: who calls whom, and what a reconnect looks like in time.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from attrs import field, frozen

from from_code.svg import CHARACTER, LINE, Drawing, DrawingDirective
from topone_proto import (
    ORDERS,
    Action,
    Connect,
    Connected,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    SendPing,
    SendText,
    Session,
    Side,
    Step,
    Subscribed,
    Token,
)
from topone_proto.exchange import Accept, Gateway, GatewayConfig, SendFrame

__all__ = ["DIRECTIVES"]

_START: Final = 1561948335000
_ORDER: Final = Order(
    id=132991,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.PENDING,
    price=Decimal("0.08132"),
    amount=Decimal("1.389"),
    left=Decimal("1.389"),
    deal_stock=Decimal(0),
    deal_money=Decimal(0),
    create_time=1522235513.740678,
    update_time=1522235513.740684,
)


class _Life:
    """A session and the exchange, with nothing between them."""

    def __init__(self) -> None:
        self.session = Session([ORDERS], token=Token("demo"), jitter=lambda: 0.8)
        self.gateway = Gateway(
            {"demo": "demo"}, config=GatewayConfig(start_ts=_START, ping_interval=None), now=0.0
        )
        self.peer: int | None = None

    def dial(self, connect: Connect, now: float) -> None:
        step = self.gateway.handshake(connect.target(), connect.endpoint.headers, now)
        accept = step.actions[0]
        assert isinstance(accept, Accept)
        self.peer = accept.peer

    def answers(self, sent: SendText, now: float) -> tuple[str, ...]:
        """The frames that the exchange answers with."""
        assert self.peer is not None
        step = self.gateway.message_received(self.peer, sent.text, now)
        return tuple(action.text for action in step.actions if isinstance(action, SendFrame))

    def published(self, now: float) -> tuple[str, ...]:
        """The frames of a change of the account; none if nobody is connected."""
        step = self.gateway.publish("demo", _ORDER, now)
        return tuple(action.text for action in step.actions if isinstance(action, SendFrame))

    def hang_up(self, now: float) -> None:
        assert self.peer is not None
        self.gateway.disconnected(self.peer, now)
        self.peer = None


# --- who calls whom ------------------------------------------------------------------------------

_CORE: Final = 62.0
_LOOP: Final = 272.0
_EXCHANGE: Final = 450.0
_WIDTH: Final = 512.0


@frozen
class _Arrow:
    start: float
    end: float
    lines: tuple[str, ...]
    kind: str = ""


@frozen
class _Delivery:
    text: str


_Row = _Arrow | _Delivery


def _conversation() -> Iterator[_Row]:
    life = _Life()
    session = life.session

    def told(call: str, step: Step, *sent: str) -> Iterator[_Row]:
        yield _Arrow(_LOOP, _CORE, (call,))
        yield _Arrow(_CORE, _LOOP, tuple(_of_step(step)), "dashed")
        for words in sent:
            yield _Arrow(_LOOP, _EXCHANGE, (words,), "brand")
        for event in step.events:
            yield _Delivery(_name(event))

    step = session.start(0.0)
    yield from told("start(now)", step, "dial connect.url()")
    [connect] = step.actions
    assert isinstance(connect, Connect)
    life.dial(connect, 0.1)
    yield _Arrow(_EXCHANGE, _LOOP, ("open",), "brand")
    step = session.connection_made(0.2)
    yield from told("connection_made(now)", step, "sub_orders")
    [request] = step.actions
    assert isinstance(request, SendText)
    [frame] = life.answers(request, 0.3)
    yield _Arrow(_EXCHANGE, _LOOP, ("acknowledgement",), "brand")
    yield from told("message_received(frame, now)", session.message_received(frame, 0.3))
    [frame] = life.published(1.0)
    yield _Arrow(_EXCHANGE, _LOOP, ("update",), "brand")
    yield from told("message_received(frame, now)", session.message_received(frame, 1.0))
    yield _Arrow(_EXCHANGE, _LOOP, ("ping",), "brand")
    yield from told("message_received(frame, now)", session.message_received("ping", 2.0), "pong")
    step = session.deadline_reached(20.2)
    yield from told("deadline_reached(now)", step, "WebSocket ping")
    [ping] = step.actions
    assert isinstance(ping, SendPing)
    yield _Arrow(_EXCHANGE, _LOOP, ("WebSocket pong",), "brand")
    yield from told("pong_received(payload, now)", session.pong_received(ping.payload, 20.3))
    yield from told("close(now)", session.close(30.0), "close frame")


def _of_step(step: Step) -> Iterator[str]:
    if step.events:
        yield f"events: {', '.join(map(_name, step.events))}"
    if step.actions:
        yield f"actions: {', '.join(map(_name, step.actions))}"
    yield f"deadline: {'None' if step.deadline is None else f'{step.deadline:g}'}"


def _name(thing: Event | Action) -> str:
    return type(thing).__name__


class StepSequence(DrawingDirective):
    """``step-sequence``: the contract of ``Step``, as calls between the core and its caller."""

    def draw(self) -> Drawing:
        rows = list(_conversation())
        height = 56 + sum(_height(row) for row in rows) + 14
        drawing = Drawing(
            _WIDTH,
            height,
            "One connection, call by call",
            "; ".join(
                row.text if isinstance(row, _Delivery) else " ".join(row.lines) for row in rows
            ),
        )
        lanes = ((_CORE, "core"), (_LOOP, "your loop"), (_EXCHANGE, "exchange"))
        for x, name in lanes:
            drawing.line([(x, 40), (x, height - 6)], "quiet")
            drawing.box((x, 22), (116, 30), "core" if name == "core" else "")
            drawing.text((x, 22), [name], "strong")
        y = 56.0
        for row in rows:
            y += _height(row)
            match row:
                case _Arrow(start, end, lines, kind):
                    drawing.line([(start, y), (end, y)], kind, arrow=True)
                    middle = (start + end) / 2
                    drawing.text((middle, y - 5 - LINE * len(lines) / 2), lines, halo=True)
                case _Delivery(text):
                    width = CHARACTER * (len(text) + 13)
                    at = (_LOOP + 14 + width / 2, y - 12)
                    drawing.line([(_LOOP, y - 12), (_LOOP + 14, y - 12)])
                    drawing.box(at, (width, 20))
                    drawing.text(at, [f"hand over: {text}"])
        return drawing


def _height(row: _Row) -> float:
    return 30.0 if isinstance(row, _Delivery) else LINE * len(row.lines) + 12


# --- a reconnect in time -------------------------------------------------------------------------


@frozen
class _Story:
    told: list[tuple[float, Event]] = field(factory=list)
    changes: list[tuple[float, bool]] = field(factory=list)
    """Of the account: when, and whether an update arrived."""
    connected: list[tuple[float, float]] = field(factory=list)
    dials: list[float] = field(factory=list)
    end: float = 7.6


_CHANGES: Final = (0.9, 1.5, 2.1, 2.75, 3.4, 4.3, 5.4, 6.2, 7.0)
_BREAKS_AT: Final = 2.5
_DIAL_TAKES: Final = 0.3
_WAY: Final = 0.15


def _reconnect() -> _Story:
    """A connection that breaks, a dial that fails, one that succeeds."""
    life, story = _Life(), _Story()
    session = life.session

    def take(step: Step, now: float) -> Step:
        story.told.extend((now, event) for event in step.events)
        return step

    def connect(step: Step, now: float) -> float:
        [dial] = step.actions
        assert isinstance(dial, Connect)
        story.dials.append(now)
        now += _DIAL_TAKES
        life.dial(dial, now)
        [request] = take(session.connection_made(now), now).actions
        assert isinstance(request, SendText)
        for frame in life.answers(request, now + _WAY):
            take(session.message_received(frame, now + 2 * _WAY), now + 2 * _WAY)
        return now

    def change(now: float) -> None:
        frames = life.published(now)
        story.changes.append((now, bool(frames)))
        for frame in frames:
            take(session.message_received(frame, now + _WAY), now + _WAY)

    changes = iter(_CHANGES)
    since = connect(session.start(0.0), 0.0)
    for _ in range(3):
        change(next(changes))
    story.connected.append((since, _BREAKS_AT))
    life.hang_up(_BREAKS_AT)
    step = take(session.connection_lost(None, "", _BREAKS_AT), _BREAKS_AT)
    change(next(changes))
    assert step.deadline is not None
    # The first dial finds nobody.
    now = step.deadline
    assert session.deadline_reached(now).actions
    story.dials.append(now)
    failure = Failure(FailureKind.REFUSED)
    step = take(session.connection_failed(failure, now + _DIAL_TAKES), now + _DIAL_TAKES)
    change(next(changes))
    assert step.deadline is not None
    change(next(changes))
    since = connect(session.deadline_reached(step.deadline), step.deadline)
    for moment in changes:
        change(moment)
    story.connected.append((since, story.end))
    return story


class ReconnectTimeline(DrawingDirective):
    """``reconnect-timeline``"""

    def draw(self) -> Drawing:
        story = _reconnect()
        left, right, top = 96.0, 650.0, 20.0
        height = top + 130 + LINE * len(story.told)
        drawing = Drawing(
            660,
            height,
            "A reconnect on a timeline",
            "; ".join(f"{now:.1f} s {_words(event)}" for now, event in story.told),
        )

        def at(moment: float) -> float:
            return left + moment / story.end * (right - left)

        for second in range(int(story.end) + 1):
            drawing.line([(at(second), top), (at(second), top + 112)], "quiet")
            drawing.text((at(second), top - 8), [f"{second} s"], "quiet")
        y = top + 24
        drawing.text((0, y), ["the account"], "", "start")
        for moment, arrived in story.changes:
            drawing.dot((at(moment), y), "" if arrived else "missed")
        y += 32
        drawing.text((0, y), ["connection"], "", "start")
        for since, until in story.connected:
            drawing.bar(at(since), at(until), y, 14, "good")
        for moment in story.dials:
            drawing.bar(at(moment), at(moment + _DIAL_TAKES), y, 6, "")
        y += 32
        drawing.text((0, y), ["the Gap"], "", "start")
        for _, event in story.told:
            if isinstance(event, Gap):
                assert event.since_ts is not None
                assert event.until_ts is not None
                since, until = ((ts - _START) / 1000 for ts in (event.since_ts, event.until_ts))
                drawing.bar(at(since), at(until), y, 14, "gap")
        y = top + 132
        drawing.text((0, y), ["you are told"], "", "start")
        for row, (now, _) in enumerate(story.told):
            drawing.line([(at(now), top + 112), (at(now), y + row * LINE)], "quiet")
        for now, event in story.told:
            words, x = _words(event), at(now)
            anchor = "start" if x + 8 + CHARACTER * len(words) < right else "end"
            kind = "alarm" if isinstance(event, (Gap, Disconnected)) else ""
            drawing.text(
                (x + (5 if anchor == "start" else -5), y), [words], kind, anchor, halo=True
            )
            y += LINE
        return drawing


def _words(event: Event) -> str:
    match event:
        case Connected(epoch=epoch):
            return f"Connected, epoch {epoch}"
        case Subscribed() | OrderUpdate():
            return type(event).__name__
        case Disconnected(reason=reason, retry_in=wait):
            return f"Disconnected: {reason.kind.value}, next dial in {wait:g} s"
        case Gap(since_ts=since, until_ts=until):
            assert since is not None
            assert until is not None
            return f"Gap from {(since - _START) / 1000:g} s to {(until - _START) / 1000:g} s"
        case _:
            return type(event).__name__


DIRECTIVES: Final = {
    "reconnect-timeline": ReconnectTimeline,
    "step-sequence": StepSequence,
}
