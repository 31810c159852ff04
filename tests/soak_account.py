"""Keep an account for minutes while faults are drawn at random, and compare it at every rest.

Not a part of the suite. Run it for a change in what heals an account:

    python tests/soak_account.py --adapter trio --minutes 8 --seed 1

Each step draws a few faults, lets the account trade and lose its connection under them, ends them,
and compares everything that the program was told with the exchange's books. It prints a line a
minute, and the figures at the end; it fails at the first rest that is not reached.
"""

import argparse
import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any

import trio
from attrs import Factory, define, evolve

from account_plays import CONFIG, SERVER, TOKEN, Play, playing
from test_open_account import DOORS, FAST, Main
from topone_proto import LocalProtocolError, Side
from topone_proto.exchange import (
    MALFORMED_FRAME,
    UNKNOWN_METHOD_FRAME,
    AcceptThenClose,
    AnswerGarbage,
    BlockOrders,
    BlockTokens,
    Burst,
    CloseConnections,
    CutHttp,
    DelayAck,
    DelayHistory,
    DelayHttp,
    DropConnections,
    DuplicateAck,
    ExpireTokens,
    Fault,
    GarbleHttp,
    GoSilent,
    HangHttp,
    HttpFault,
    IgnoreHandshake,
    KillOldTokens,
    LagHttp,
    LivingAccount,
    LoseAck,
    LoseRow,
    NodeClock,
    RefuseHandshake,
    RefuseHttp,
    RejectHttp,
    ResetHttp,
    ShiftPages,
    StepClock,
    WrongId,
)

# Times are larger than in the suite, for a machine that does other things for minutes.
MINUTE = 0.3
ACCOUNT = evolve(
    CONFIG,
    answer_lag=0.2,
    max_tries=60,
    fetch_timeout=0.5,
    token_interval=3 * MINUTE,
    token_block=5 * MINUTE,
    audit_interval=3.0,
    token_soft_age=20.0,
    token_hard_age=60.0,
)
EXCHANGE = evolve(
    SERVER,
    token_interval=MINUTE,
    token_block=2 * MINUTE,
    order_period=MINUTE,
    order_block=2 * MINUTE,
    page_cap=20,
)
SESSION = evolve(
    FAST,
    open_timeout=0.5,
    ack_timeout=0.5,
    close_timeout=0.5,
    ping_interval=0.5,
    pong_timeout=0.5,
    rate_limit_wait=0.5,
    retry_after_cap=0.5,
)
MOST_OPEN = 60

Draw = Callable[[Random], Fault | HttpFault]

OF_TOKENS: tuple[Draw, ...] = (
    lambda _: ExpireTokens(),
    lambda rng: RefuseHandshake(rng.choice([401, 403])),
    lambda rng: RejectHttp(10003, times=rng.randint(1, 3), path="/t/v1/"),
    lambda rng: RefuseHttp(rng.choice([401, 403]), times=rng.randint(1, 3), path="/t/v1/"),
    lambda _: KillOldTokens(times=1),
    lambda rng: BlockTokens(rng.uniform(0, 2 * MINUTE)),
)
"""At most one of these at a time: an exchange that refuses a fresh token as well ends an account,
and rightly."""

OTHERS: tuple[Draw, ...] = (
    lambda rng: RefuseHttp(
        rng.choice([400, 404, 429, 500, 503]), rng.choice([None, 1]), times=rng.randint(1, 10)
    ),
    lambda rng: RejectHttp(10001, times=rng.randint(1, 3)),
    lambda rng: RejectHttp(10027, times=rng.randint(1, 2), path="/t/v1/order"),
    lambda rng: GarbleHttp(status=rng.choice([200, 302, 502]), times=rng.randint(1, 10)),
    lambda rng: HangHttp(times=rng.randint(1, 2)),
    lambda rng: ResetHttp(times=rng.randint(1, 10)),
    lambda rng: CutHttp(times=rng.randint(1, 10)),
    lambda rng: DelayHttp(rng.uniform(0, 0.4), times=rng.randint(1, 5)),
    lambda _: LagHttp(0.1, times=None),
    lambda rng: ShiftPages(rng.choice([-2, -1, 1, 2, 5]), times=rng.randint(1, 3)),
    lambda rng: DelayHistory(rng.uniform(0, 1), times=None),
    lambda rng: BlockOrders(rng.uniform(0, 2 * MINUTE)),
    lambda _: LoseRow(),
    lambda rng: RefuseHandshake(rng.choice([429, 500, 503]), times=rng.randint(1, 3)),
    lambda rng: AnswerGarbage(times=rng.randint(1, 2)),
    lambda _: IgnoreHandshake(),
    lambda rng: AcceptThenClose(rng.choice([None, 1001, 1008]), times=rng.randint(1, 3)),
    lambda _: LoseAck(),
    lambda rng: DelayAck(rng.uniform(0, 0.3)),
    lambda _: DuplicateAck(times=2),
    lambda _: WrongId(),
    lambda rng: NodeClock(rng.choice([-120_000, -500, 500, 120_000])),
    lambda rng: StepClock(rng.choice([-2000, -100, 100, 2000])),
    lambda _: MALFORMED_FRAME,
    lambda _: UNKNOWN_METHOD_FRAME,
    lambda rng: Burst(rng.randint(1, 50)),
    lambda _: GoSilent(),
    lambda rng: CloseConnections(rng.choice([1000, 1001, 1011, 1012])),
    lambda _: DropConnections(),
)


@define
class Figures:
    """The numbers of a run."""

    rests: int = 0
    faults: Counter[str] = Factory(Counter[str])
    order_calls: list[float] = Factory(list[float])
    token_calls: list[float] = Factory(list[float])
    seen_at: float = 0.0
    blocks: int = 0

    def look(self, play: Play) -> None:
        for call in play.simulator.http_calls:
            if call.at > self.seen_at:
                self.seen_at = call.at
                if call.path == TOKEN:
                    self.token_calls.append(call.at)
                elif call.path == "/t/v1/order/query":
                    self.order_calls.append(call.at)

    def most_in_a_minute(self) -> int:
        """The most order calls within a scaled minute."""
        window: deque[float] = deque()
        most = 0
        for at in self.order_calls:
            window.append(at)
            while at - window[0] >= MINUTE:
                window.popleft()
            most = max(most, len(window))
        return most

    def shortest_wait(self) -> float:
        """The shortest time between two requests for a token, in scaled minutes."""
        pairs = zip(self.token_calls, self.token_calls[1:], strict=False)
        return min((later - earlier for earlier, later in pairs), default=0.0) / MINUTE

    def __str__(self) -> str:
        return (
            f"{self.rests} rests, {self.faults.total()} faults of {len(self.faults)} kinds, "
            f"{len(self.token_calls)} token requests, at least {self.shortest_wait():.2f} minutes "
            f"apart, {len(self.order_calls)} order calls, at most {self.most_in_a_minute()} of "
            f"{EXCHANGE.order_calls} a minute"
        )


def happen(simulator: Any, rng: Random, events: int) -> None:
    """Trade to both sides, so that it can go on for ever."""

    def one(account: LivingAccount, now: float) -> Any:
        orders = list(account.open_orders.values())
        choice = rng.randrange(4)
        if not orders or (choice < 2 and len(orders) < MOST_OPEN):
            side = rng.choice([Side.BUY, Side.SELL])
            return account.place("ETH/BTC", side, Decimal(1), now, price=Decimal("0.01"))
        order = rng.choice(orders)
        if choice % 2:
            return account.cancel(order.id, now)
        return account.fill(order.id, rng.choice([Decimal("0.25"), Decimal(order.left or 1)]), now)

    for _ in range(events):
        with suppress(LocalProtocolError):
            simulator.live(one)


def step(play: Play, rng: Random, figures: Figures) -> list[str]:
    """Let a few faults happen, and end them. Return what they were."""
    simulator = play.simulator
    faults = [rng.choice(OTHERS)(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        faults.append(rng.choice(OF_TOKENS)(rng))
    rng.shuffle(faults)
    for fault in faults:
        figures.faults[type(fault).__name__] += 1
        figures.blocks += isinstance(fault, BlockOrders | BlockTokens)
        simulator.inject(fault)
        happen(simulator, rng, rng.randint(0, 10))
        if rng.random() < 0.7:
            simulator.inject(DropConnections())
        happen(simulator, rng, rng.randint(0, 10))
        time.sleep(rng.uniform(0, 0.5))
    if any(isinstance(fault, LoseRow) for fault in faults):
        # Of some order it will stay unknown how it ended.
        play.lost.update(simulator.truth().closed_orders, simulator.truth().open_orders)
    simulator.clear_faults()
    return [repr(fault) for fault in faults]


def run_asyncio(main: Main) -> None:
    """Run a program for as long as it takes."""

    async def coroutine() -> None:
        await main()

    asyncio.run(coroutine())


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", choices=sorted(DOORS), default="asyncio")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, figures = Random(arguments.seed), Figures()
    door = DOORS[arguments.adapter]
    if arguments.adapter == "asyncio":
        door = evolve(door, run=run_asyncio)
    elif arguments.adapter.startswith("trio"):
        door = evolve(door, run=trio.run)
    end = time.monotonic() + arguments.minutes * 60
    said_at = time.monotonic()
    faults: list[str] = []
    try:
        with playing(
            door, account_config=ACCOUNT, server=EXCHANGE, overruns=None, config=SESSION
        ) as play:
            play.rest()
            while time.monotonic() < end:
                faults = step(play, rng, figures)
                play.rest()
                figures.look(play)
                figures.rests += 1
                assert play.simulator.overruns <= figures.blocks, "too many requests"
                if time.monotonic() > said_at + 60:
                    said_at = time.monotonic()
                    print(f"{arguments.adapter}: {figures}", flush=True)
    except BaseException:
        print(f"seed {arguments.seed}, after {figures}: {faults}", flush=True)
        raise
    print(f"{arguments.adapter}, seed {arguments.seed}: {figures}", flush=True)


if __name__ == "__main__":
    main()
