"""Drawing an account that processes follow by themselves."""

from random import Random
from typing import Any, Final

from attrs import evolve

from topone_proto.account import AccountConfig
from topone_proto.exchange import (
    BlockOrders,
    BlockTokens,
    CutHttp,
    DelayHistory,
    DelayHttp,
    ErrorForm,
    ExpireTokens,
    GarbleHttp,
    HangHttp,
    HttpConfig,
    HttpFault,
    KillOldTokens,
    LagHttp,
    LoseRow,
    MarkForm,
    NumberForm,
    RefuseHttp,
    RejectHttp,
    ResetHttp,
    ShiftPages,
    TimeName,
    ZeroForm,
)
from topone_proto.testing.simulation.accounts.plan import (
    AccountCall,
    AccountTrouble,
    FullDisk,
    LoseUpdates,
    ProcessPlan,
    SetClock,
    SharedAccount,
    SlowDisk,
    Stop,
    Trade,
)
from topone_proto.testing.simulation.client_plan import Supply
from topone_proto.testing.simulation.parts import draw_client, draw_trouble
from topone_proto.testing.simulation.scenario import Scenario, Trouble
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS

__all__ = ["with_account"]

_Fault = HttpFault | FullDisk | SlowDisk | SetClock | LoseUpdates
_VERBS: Final = ("place", "place_market", "fill", "complete", "cancel")
_CHANCES: Final = (8, 1, 5, 3, 4)
_PATHS: Final = ("/", "/t/", "order/query", "order/history", "balance", "token")


def with_account(rng: Random, scenario: Scenario) -> Scenario:
    """Return the scenario with at most one of its feeds, and with processes that follow an account
    of their own."""
    calm_at = scenario.calm_at
    # Most exchanges have short minutes and short hours, so that blocks end within the storm.
    scale = rng.choice((0.1, 0.1, 0.1, 0.03, 1.0))
    http, config = _draw_settings(rng, scale)
    count = rng.choice((1, 1, 1, 2, 2, 3))
    processes = tuple(_draw_process(rng, name, calm_at) for name in "PQR"[:count])
    if rng.random() < 0.25:
        processes = tuple(_with_stops(rng, process, calm_at, scale) for process in processes)
    is_alone = count == 1 and not processes[0].stops
    kept = scenario.clients[: rng.choice((0, 0, 1))]
    names = [client.name for client in kept]
    feeds = [process.client for process in processes]
    own = [
        draw_trouble(rng, rng.choice(feeds), calm_at) for _ in range(rng.choice((0, 1, 1, 2, 4, 7)))
    ]
    kept_troubles = [t for t in scenario.troubles if t.client in names]
    troubles: list[Trouble] = sorted((*kept_troubles, *own), key=lambda trouble: trouble.at)
    shared = SharedAccount(
        processes=processes,
        http=http,
        config=config,
        latency=rng.choice((0.001, 0.05, 0.3)),
        spread=rng.choice((0.0, 0.01, 0.1)) * min(scale * 10, 1.0),
        # A reservation that takes longer to store than a part of the interval is of no use.
        storing=rng.choice((0.0, 0.01, 0.1, 0.9)) * config.token_interval / 20,
        clock_lead=rng.choice((0.0, 0.0, 0.0, 3600.0, -3600.0)),
        trades=_draw_trades(rng, calm_at),
        troubles=tuple(
            sorted(
                (
                    AccountTrouble(rng.uniform(0.0, calm_at), what)
                    for what in _draw_faults(rng, config, http, calm_at, is_alone=is_alone)
                ),
                key=lambda trouble: trouble.at,
            )
        ),
    )
    is_set = any(isinstance(trouble.what, SetClock) for trouble in shared.troubles)
    if shared.clock_lead or is_set:
        # Without an hour to compare with nobody can know that a clock is wrong.
        shared = evolve(shared, http=evolve(http, has_date=True))
    # Last, so that everything else is as it was without it.
    shared = evolve(shared, processes=tuple(_with_memory(rng, each) for each in processes))
    intervals = [client.config.ping_interval or 20.0 for client in feeds]
    patience = 3.0 * max(intervals) + 2.0
    return evolve(
        scenario,
        clients=kept,
        traffic=scenario.traffic if kept else (),
        troubles=tuple(troubles),
        account=shared,
        # The time of day of HTTP and of the stream is the same.
        gateway=evolve(
            scenario.gateway,
            start_ts=1561948335075,
            # It waits for a pong longer than any client that does not read pings by itself.
            pong_timeout=max(scenario.gateway.pong_timeout or 0.0, patience),
        ),
    )


def _draw_settings(rng: Random, scale: float) -> tuple[HttpConfig, AccountConfig]:
    cap = rng.choice((2, 5, 100, 500))
    config = AccountConfig(
        answer_lag=(lag := rng.choice((0.0, 0.5, 2.0))),
        max_tries=rng.choice((8, 3)),
        retry_first=rng.choice((1.0, 0.3)),
        retry_cap=rng.choice((30.0, 5.0)) if scale == 1.0 else 5.0,
        fetch_timeout=rng.choice((10.0, 3.0)),
        order_calls_per_minute=(calls := rng.choice((10, 10, 3))),
        audit_interval=rng.choice((300.0, 30.0, 5.0)),
        token_interval=65.0 * scale,
        token_soft_age=3600.0 * scale * (soft := rng.choice((1.0, 0.1))),
        token_hard_age=7080.0 * scale * soft,
        token_block=3600.0 * scale,
    )
    http = HttpConfig(
        token_life=7200.0 * rng.choice((1.0, 1.0, 0.06)),
        kills_old_tokens=rng.random() < 0.2,
        order_calls=calls,
        counts_history=rng.random() < 0.5,
        block_status=rng.choice((200, 200, 403, 429)),
        error_form=rng.choice(tuple(ErrorForm)),
        has_statuses=rng.random() < 0.3,
        has_date=rng.random() < 0.7,
        page_cap=cap,
        # Of histories the exchange's page says that they may have 500.
        cuts_large_pages=(cuts := cap < 100 or rng.random() < 0.7),
        history_cap=rng.choice((3, 500)) if cuts else 500,
        has_total=rng.random() < 0.8,
        has_status=rng.random() < 0.3,
        has_left=rng.random() < 0.3,
        finish_name=rng.choice(tuple(TimeName)),
        marks=rng.choice(tuple(MarkForm)),
        numbers=rng.choice((NumberForm.TEXT, NumberForm.TEXT, *NumberForm)),
        zeros=rng.choice(tuple(ZeroForm)),
        has_no_break_spaces=rng.random() < 0.2,
        lag=rng.choice((0.0, 0.9)) * lag,
        history_delay=rng.choice((0.0, 0.0, 5.0, 40.0)),
    ).scaled(scale)
    return http, config


def _draw_process(rng: Random, name: str, calm_at: float) -> ProcessPlan:
    client = draw_client(rng, name, calm_at, pings=True)
    has_keys = rng.random() < 0.85
    topics = rng.choice(((ORDERS, BALANCE), (BALANCE, ORDERS), (ORDERS, BALANCE), (ORDERS,)))
    supplies: tuple[Supply, ...] = (Supply("fresh", 0.1),)
    if rng.random() < 0.3:
        supplies = (Supply("raise"), Supply("hang"), *supplies)
    verbs = ("refresh", "refresh", "order_calls", "order_calls", "give_up", "close")
    chances = (6, 6, 4, 4, 1, 1)
    return ProcessPlan(
        client=evolve(
            client,
            topics=topics,
            config=evolve(client.config, max_attempts=None),
            supplies=None if has_keys else supplies,
            calls=(),
        ),
        has_keys=has_keys,
        reads_from=rng.choice((None, 0.0, rng.uniform(0.0, calm_at))),
        calls=tuple(
            AccountCall(rng.uniform(0.0, calm_at), rng.choices(verbs, chances)[0])
            for _ in range(rng.choice((0, 0, 1, 3)))
        ),
    )


def _with_memory(rng: Random, process: ProcessPlan) -> ProcessPlan:
    client = process.client
    account = evolve(client.account, max_closed=rng.choice((1, 2, 1000)))
    return evolve(process, client=evolve(client, account=account))


def _with_stops(rng: Random, process: ProcessPlan, calm_at: float, scale: float) -> ProcessPlan:
    moments = ("now", "stored", "sent")
    stops = [
        Stop(
            rng.uniform(0.0, calm_at),
            rng.choice((0.0, 0.1, 5.0, 30.0 * scale)),
            rng.choice(moments),
        )
        for _ in range(rng.choice((1, 2, 4, 20)))
    ]
    return evolve(process, stops=tuple(sorted(stops, key=lambda stop: stop.at)))


def _draw_trades(rng: Random, calm_at: float) -> tuple[Trade, ...]:
    """Return what happens, in order: some of it before anybody follows the account."""
    verbs, keys = rng.choices(_VERBS, _CHANCES, k=rng.choice((0, 5, 15, 40))), range(100)
    trades = [
        Trade(rng.choice((0.0, rng.uniform(0.0, calm_at))), verb, rng.choice(keys))
        for verb in verbs
    ]
    if rng.random() < 0.3:
        # A burst, so that pages shift while they are read.
        at = rng.uniform(0.0, calm_at)
        burst = rng.choices(_VERBS, _CHANCES, k=10)
        trades += [Trade(at + number * 0.1, verb, number) for number, verb in enumerate(burst)]
    return tuple(sorted(trades, key=lambda trade: trade.at))


def _draw_faults(
    rng: Random, config: AccountConfig, http: HttpConfig, calm_at: float, *, is_alone: bool
) -> list[_Fault]:
    faults: list[_Fault] = []
    is_lossy = config.audit_interval is not None and rng.random() < 0.15
    for _ in range(rng.choice((0, 1, 2, 4, 8))):
        how: dict[str, Any] = {
            "times": rng.choice((1, 1, 3, None)),
            "lasting": rng.choice((2.0, 10.0, calm_at)),
            "path": rng.choice(_PATHS),
        }
        # Without a total nothing tells a shift that is the same every time from what is true.
        shift: dict[str, Any] = {**how, "times": 3 if http.has_total else 1}
        mild: list[_Fault] = [
            RefuseHttp(503, **how),
            RefuseHttp(rng.choice((500, 502, 504)), **how),
            RefuseHttp(429, rng.choice((1, 5)), **how),
            RejectHttp(rng.choice((10004, 10005, 10099, 77)), **how),
            GarbleHttp(**how),
            HangHttp(**how),
            ResetHttp(**how),
            CutHttp(**how),
            DelayHttp(rng.choice((0.5, 5.0, 20.0)), **how),
            LagHttp(config.answer_lag, **how),
            ShiftPages(rng.choice((-2, -1, 1, 2)), **shift),
            DelayHistory(rng.choice((5.0, 60.0)), **how),
            LoseRow(),
            ExpireTokens(),
            FullDisk(rng.choice((1.0, 10.0))),
            # A driver gives up after ten seconds.
            SlowDisk(rng.choice((5.0, 30.0)), rng.choice((0.5, 2.0, 8.0))),
        ]
        hard: list[_Fault] = [
            RefuseHttp(429, **how),
            RejectHttp(10003, **how),
            RejectHttp(10027, **how),
            RejectHttp("T0003", path="token"),
            KillOldTokens(),
            BlockTokens(http.token_block),
            BlockOrders(http.order_block),
            # Back only, where another process could not know of it.
            SetClock(rng.choice((-30.0, -7200.0, *((30.0, 7200.0) if is_alone else ())))),
        ]
        faults.append(rng.choice(mild if rng.random() < 0.8 else hard))
    # A second time it is no use to correct a clock that is right: that is the end.
    wrong = [f for f in faults if isinstance(f, RejectHttp) and f.code == "T0003"]
    faults = [fault for fault in faults if not any(fault is other for other in wrong[1:])]
    if is_lossy:
        faults.append(LoseUpdates(rng.choice((1.0, 20.0)), rng.choice(("orders", "balance"))))
    return faults
