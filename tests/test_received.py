"""The short way of a frame through a core, against the long one: after every input of a random life
both cores hold the same."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from frames import TOKEN, ack, balance, order, requests
from topone_proto import (
    BALANCE,
    ORDERS,
    Connect,
    DeliveryPolicy,
    Endpoint,
    SessionConfig,
    SessionState,
    Step,
    Token,
    kline,
)
from topone_proto.account import AccountConfig, AccountSession, AccountStep, Fetch, StoreState
from topone_proto.adapters import AccountCore, FeedCore
from topone_proto.session.session import Session
from topone_proto.wire.http import HttpResponse

URL = "ws://127.0.0.1:1/ws/user/"
Make = Callable[[SessionConfig, list[float]], Any]
NOTHING = json.dumps({"code": 0, "data": {"list": [], "total": 0}}).encode()


def feed(config: SessionConfig, _: list[float]) -> FeedCore[Any]:
    return FeedCore(
        token=Token(TOKEN),
        url=URL,
        topics=(ORDERS, BALANCE),
        config=config,
        origin=None,
        insecure=False,
        jitter=lambda: 0.5,
    )


def account(config: SessionConfig, clock: list[float]) -> AccountCore[Any]:
    core: AccountCore[Any] = AccountCore(
        source=Token(TOKEN),
        endpoint=Endpoint(URL),
        topics=(ORDERS, BALANCE),
        config=config,
        account_config=AccountConfig(answer_lag=0.0),
        jitter=lambda: 0.5,
        wall=lambda: 1.5e9 + clock[0],
    )
    core.begin_reading()
    return core


class Side:
    """A core, and whatever it is told to do."""

    def __init__(self, core: Any, *, is_short: bool) -> None:
        self.core = core
        self.is_short = is_short
        self.shortcuts = 0
        self.asked: list[dict[str, Any]] = []
        self.fetches: list[Fetch] = []
        self.is_storing = False
        self.taken: list[object] = []
        self.take(core.machine.start(0.0))

    def take(self, step: Any) -> None:
        if step is None:
            self.shortcuts += 1
            return
        for action in self.core.take(step):
            match action:
                case Connect():
                    self.asked.clear()
                case Fetch():
                    self.fetches.append(action)
                case StoreState():
                    self.is_storing = True
                case _:
                    self.asked += requests(Step((), (action,)))

    def frame(self, frame: str | bytes, now: float) -> None:
        if self.core.session.state is not SessionState.CONNECTED:
            return
        take = self.core.received if self.is_short else self.core.machine.message_received
        self.take(take(frame, now))

    def acknowledge(self, now: float, code: int) -> None:
        if self.asked:
            self.frame(ack(self.asked.pop(0), code=code), now)

    def fetched(self, now: float) -> None:
        if self.is_storing:
            self.is_storing = False
            self.take(self.core.machine.state_stored(now))
        if self.fetches:
            number = self.fetches.pop(0).id
            self.take(self.core.machine.fetched(number, HttpResponse(200, NOTHING), now))

    def dial(self, now: float) -> None:
        if self.core.session.state is SessionState.CONNECTING:
            self.take(self.core.machine.connection_made(now))

    def lose(self, now: float) -> None:
        if self.core.session.state is SessionState.CONNECTED:
            self.take(self.core.machine.connection_lost(1001, "", now))

    def drain(self, count: int) -> None:
        for _ in range(count):
            event = self.core.get()
            if event is not None:
                self.taken.append(event)

    def want(self, now: float, *, wanted: bool) -> None:
        if isinstance(self.core, FeedCore):
            ask = self.core.subscribe if wanted else self.core.unsubscribe
            try:
                waiter, step = ask(BALANCE, now)
            except Exception as error:
                self.taken.append(repr(error))
            else:
                self.take(step)
                if now % 2 < 1:
                    self.core.leave(waiter, now)

    def pause_or_resume(self, now: float) -> None:
        step = self.core.pause_or_resume(now)
        if step is not None:
            self.take(step)

    def seen(self, now: float) -> dict[str, Any]:
        core = self.core
        return {
            "metrics": core.metrics(now),
            "deadline": core.deadline,
            "is_paused": core.is_paused,
            "asked": list(self.asked),
            "fetches": list(self.fetches),
            "taken": list(self.taken),
            "must": (core.must_pause, core.may_resume, core.is_closed),
        }


def some_frame(rng: random.Random) -> str | bytes:
    ts = 10**12 + rng.randrange(10**6)
    frames: list[Callable[[], str | bytes]] = [
        lambda: order(ts, number=rng.randrange(3), status=rng.choice((1, 1, 1, 1, 1, 1, 3, 7))),
        lambda: order(ts, number=rng.randrange(3)).encode(),
        lambda: balance(ts, asset=rng.choice("ABC"), available=str(rng.randrange(5))),
        lambda: balance(
            ts, asset=rng.choice(("A", TOKEN, "")), available="NaN"[: rng.randrange(4)]
        ),
        lambda: balance(ts, asset=f"X{TOKEN}"),
        lambda: balance(ts).replace("2", "x"),
        lambda: "ping",
        lambda: rng.choice(("{}", "", '{"method":"sub_news","ts":1,"data":{}}', "x" * 3000)),
        lambda: ack({"id": str(rng.randrange(9)), "method": "sub_balance"}),
    ]
    weights = (8, 4, 8, 2, 1, 1, 2, 1, 1)
    [make] = rng.choices(frames, weights)
    return make()


def live(seed: int, make: Make) -> int:
    rng = random.Random(seed)
    config = SessionConfig(
        capacity=rng.randrange(1, 12),
        delivery=rng.choice(list(DeliveryPolicy)),
        max_frame_size=2048,
    )
    now = 1.0
    clock = [now]
    sides = [Side(make(config, clock), is_short=is_short) for is_short in (True, False)]
    for number in range(80):
        if rng.random() < 0.3:
            now += rng.choice((0.01, 0.5, 7.0))
        clock[0] = now
        kind, frame = rng.random(), some_frame(rng)
        code, count, wanted = rng.choice((0, 0, 0, 7)), rng.randrange(9), rng.random() < 0.5
        due = sides[0].core.deadline
        for side in sides:
            if number < 3 or kind < 0.06:
                side.dial(now)
            if number < 10 or kind < 0.2:
                side.acknowledge(now, code if number > 9 else 0)
                side.fetched(now)
            elif kind < 0.23:
                side.want(now, wanted=wanted)
            elif kind < 0.3:
                side.drain(count)
            elif kind < 0.31:
                side.lose(now)
            elif kind < 0.35 and due is not None:
                side.take(side.core.machine.deadline_reached(max(now, due)))
            else:
                side.frame(frame, now)
            side.pause_or_resume(now)
        if 0.31 <= kind < 0.35 and due is not None:
            now = max(now, due)
        short, long = (side.seen(now) for side in sides)
        assert short == long, f"seed {seed}, input {number}"
    assert not sides[1].shortcuts
    return sides[0].shortcuts


@pytest.mark.parametrize("make", [feed, account])
def test_the_short_way_ends_where_the_long_one_does(make: Make) -> None:
    shortcuts = sum(live(seed, make) for seed in range(100))
    # It is not a test of the long way alone.
    assert shortcuts > 100


def test_an_update_needs_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (feed, account):
        side = Side(make(SessionConfig(), [1.0]), is_short=True)
        side.dial(1.0)
        for _ in range(4):
            side.acknowledge(1.0, 0)
            side.fetched(1.0)
        side.drain(100)
        for machine in (Session, AccountSession):
            monkeypatch.setattr(machine, "message_received", None)
        assert side.core.received(balance(), 1.0) is None
        assert side.core.waiting == 1
        monkeypatch.undo()


def test_what_is_not_an_update_is_a_step_of_the_same_kind() -> None:
    for make, kind in ((feed, Step), (account, AccountStep)):
        side = Side(make(SessionConfig(), [1.0]), is_short=True)
        side.dial(1.0)
        assert isinstance(side.core.received("{}", 1.0), kind)
        # Nothing is known of this topic yet.
        assert isinstance(side.core.received(json.dumps({"method": "sub_x"}), 1.0), kind)
        assert kline("BTC/USDT", "1m") not in side.core.session.subscriptions
