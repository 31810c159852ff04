"""Drawing a scenario from one integer."""

from random import Random
from typing import Any, Final

from attrs import evolve

from topone_proto.exchange import (
    MALFORMED_FRAME,
    UNKNOWN_METHOD_FRAME,
    AcceptThenClose,
    AddCode,
    AnswerGarbage,
    CloseConnections,
    DelayAck,
    DropConnections,
    DuplicateAck,
    GatewayConfig,
    GoSilent,
    IgnoreHandshake,
    LoseAck,
    NodeClock,
    PingForm,
    RefuseHandshake,
    RejectRequest,
    SendRaw,
    StepClock,
    TimeForm,
    WriteTimes,
    WrongId,
)
from topone_proto.failures import FailureKind
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.testing.simulation.scenario import (
    DEALS,
    MARKET_TOPICS,
    AccountPlan,
    BlackHole,
    BlockLoop,
    Call,
    ClientPlan,
    ExpireToken,
    GatewayFault,
    IgnorePings,
    Network,
    Outage,
    Publish,
    Pull,
    Scenario,
    SlowFrame,
    Supply,
    Trouble,
    Unreachable,
)
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS

__all__ = ["draw"]


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = Random(seed)
    scenario = _draw_stall(rng, seed) if rng.random() < 0.1 else _draw_storm(rng, seed)
    clients = tuple(evolve(client, account=_account(rng)) for client in scenario.clients)
    scenario = evolve(scenario, clients=clients)
    if rng.random() < 0.3:
        scenario = _with_odd_clocks(rng, scenario)
    if rng.random() < 0.4:
        scenario = _with_hold_ups(rng, scenario)
    # Of their own, so that a new option changes nothing for the seeds without it.
    market, options = (Random(f"{seed} {what}") for what in ("market", "options"))
    if market.random() < 0.2:
        scenario = _with_market(market, scenario)
    match options.choices(("none", "compressed", "recorded", "slow"), (88, 5, 5, 2))[0]:
        case "compressed":
            return _for_each_client(scenario, is_compressed=True)
        case "recorded":
            return _for_each_client(scenario, recorder_fails_after=options.randrange(40))
        case "slow":
            return _with_slow_application(options, scenario)
        case _:
            return scenario


def _with_market(rng: Random, scenario: Scenario) -> Scenario:
    """The same, with one more feed: of a market in which deals are made."""
    calm_at = scenario.calm_at
    topics = rng.sample(MARKET_TOPICS, rng.choice((1, 2, 3, 3)))
    plain = _client(rng, "M", calm_at, pings=True)
    # What the exchange is patient with, and how it pings, was drawn for the others.
    config = evolve(
        scenario.clients[0].config,
        capacity=plain.config.capacity,
        delivery=plain.config.delivery,
        max_pending=plain.config.max_pending,
        # A backlog that does not fit is told of as malformed, and by no gap.
        max_frame_size=2**20,
    )
    calls = tuple(
        call if call.verb == "close" else evolve(call, topic=rng.choice(MARKET_TOPICS))
        for call in plain.calls
    )
    client = evolve(
        plain,
        topics=tuple(topics),
        config=config,
        supplies=None,
        calls=calls,
        pulls=tuple(
            Pull(rng.uniform(0.0, calm_at), rng.choice((120.0, 3600.0, 40_000.0)), 60.0 * number)
            for number in range(rng.choice((0, 0, 1, 3)))
        ),
        is_public=True,
    )
    deals = [
        Publish(rng.uniform(0.0, calm_at), DEALS, rng.randrange(2), rng.choice((1, 1, 2, 5)))
        for _ in range(rng.choice((5, 15, 30)))
    ]
    troubles = [_trouble(rng, client, calm_at) for _ in range(rng.choice((0, 1, 2, 4)))]
    return evolve(
        scenario,
        gateway=evolve(scenario.gateway, has_first_push=rng.random() < 0.7),
        clients=(*scenario.clients, client),
        traffic=tuple(sorted((*scenario.traffic, *deals), key=lambda publish: publish.at)),
        troubles=tuple(sorted((*scenario.troubles, *troubles), key=lambda trouble: trouble.at)),
    )


def _for_each_client(scenario: Scenario, **changes: Any) -> Scenario:
    return evolve(scenario, clients=tuple(evolve(client, **changes) for client in scenario.clients))


def _with_slow_application(rng: Random, scenario: Scenario) -> Scenario:
    """The same, with an application that wants the newest state only and takes events at a tenth of
    the speed at which they come."""
    first, *others = scenario.clients
    pace = rng.choice((0.2, 0.5, 1.0))
    first = evolve(
        first,
        config=evolve(
            first.config, delivery=DeliveryPolicy.CONFLATE, capacity=rng.choice((1, 5, 20))
        ),
        topics=(BALANCE, ORDERS),
        pace=pace,
        stalls=(),
    )
    start = rng.uniform(0.0, max(scenario.calm_at - 12 * pace, 0.0))
    flood = [
        Publish(
            start + number * pace / 10,
            rng.choice((ORDERS, BALANCE)),
            rng.randrange(2),
            closes=rng.random() < 0.02,
        )
        for number in range(120)
    ]
    traffic = sorted((*scenario.traffic, *flood), key=lambda publish: publish.at)
    return evolve(scenario, clients=(first, *others), traffic=tuple(traffic))


def _with_hold_ups(rng: Random, scenario: Scenario) -> Scenario:
    """The same, with what looks like a dead peer and is none: a program that is busy with something
    else, a server that only pings, a frame that takes its time."""
    calm_at, clients = scenario.calm_at, scenario.clients
    gateway, troubles = scenario.gateway, list(scenario.troubles)
    patience = min(client.config.pong_timeout for client in clients)
    for _ in range(rng.choice((1, 1, 2, 3))):
        client = rng.choice(clients)
        interval, timeout = client.config.ping_interval, client.config.pong_timeout
        at, share = rng.uniform(0.0, calm_at), rng.random()
        match rng.choice(("block", "block", "deaf", "slow")):
            case "block":
                longest = 1.5 * rng.choice((interval or 20.0, timeout))
                seconds = min(0.05 + longest * share, calm_at - at)
                troubles.append(Trouble(at, client.name, BlockLoop(seconds)))
            case "deaf" if all(other.config.ping_interval is not None for other in clients):
                # It pings often enough to be heard within everybody's timeout.
                gateway = evolve(
                    gateway,
                    ping_form=PingForm.CONTROL,
                    ping_interval=patience * (0.3 + 0.4 * share),
                )
                troubles.append(Trouble(at / 2, client.name, IgnorePings()))
            case "slow" if interval is not None:
                seconds = (interval + timeout) * (0.6 + share)
                at = min(at, max(calm_at - seconds, 0.0))
                troubles.append(Trouble(at, client.name, SlowFrame(seconds, timeout / 5)))
                if rng.random() < 0.7:
                    frame = rng.choice((UNKNOWN_METHOD_FRAME, _LONG))
                    troubles.append(Trouble(at, client.name, frame))
            case _:
                pass
    return evolve(
        scenario,
        gateway=gateway,
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at)),
    )


def _with_odd_clocks(rng: Random, scenario: Scenario) -> Scenario:
    """The same, with an exchange of several nodes: their clocks differ, are set back or forward and
    write their times in other forms; updates carry codes."""
    calm_at = scenario.calm_at
    troubles = list(scenario.troubles)
    # Nodes that differ, or one step of all clocks: a step of which no frame tells, since the next
    # node differs by as much, can be known by nobody outside.
    is_stepped = rng.random() < 0.4
    for number in range(rng.choice((1, 3, 6))):
        at, name = rng.uniform(0.0, calm_at), rng.choice(scenario.clients).name
        lead = rng.choice((-60_000, -5_000, -40, -1, 1, 40, 5_000, 60_000))
        kinds: list[GatewayFault] = [
            WriteTimes(rng.choice(tuple(TimeForm))),
            AddCode(rng.choice((0, "0", 7, None))),
        ]
        if not is_stepped:
            kinds += [NodeClock(lead, rng.choice((1, 3)))] * 2
        elif number == 0:
            kinds += [StepClock(lead)] * 2
        what = rng.choice(kinds)
        troubles.append(Trouble(at, name, what))
        if isinstance(what, NodeClock | StepClock) and rng.random() < 0.7:
            gone: tuple[GatewayFault, ...] = (DropConnections(), GoSilent())
            troubles.append(Trouble(at, name, rng.choice(gone)))
    return evolve(
        scenario,
        # Of today, since the size of a number tells its unit.
        gateway=evolve(scenario.gateway, start_ts=1561948335075),
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at)),
    )


def _account(rng: Random) -> AccountPlan:
    max_closed = rng.choice((1, 2, 1000))
    latency, spread = rng.choice((0.001, 0.05, 1.0)), rng.choice((0.0, 0.1, 10.0))
    page = rng.choice((1, 2, 100))
    chance = rng.random()
    return AccountPlan(
        max_closed=max_closed,
        latency=latency,
        spread=spread,
        page=page,
        says_pages=chance * 2 % 1 < 0.5,
        lag=(0.0, 0.0, 0.5, 5.0)[int(chance * 4 % 1 * 4)],
        has_clock=chance * 4 % 1 >= 0.25,
        is_timed=chance < 0.5,
        failing=rng.choice((0.0, 0.0, 0.2, 0.6)),
    )


def _draw_storm(rng: Random, seed: int) -> Scenario:
    calm_at = rng.uniform(15.0, 90.0)
    pings = rng.random() >= 0.05
    clients = tuple(
        _client(rng, name, calm_at, pings=pings) for name in "ABC"[: rng.choice((1, 1, 2, 2, 3))]
    )
    # A feed that sends no pings of its own hears of the server by its messages only.
    forms = tuple(PingForm) if pings else (PingForm.TEXT, PingForm.METHOD, PingForm.TIMESTAMP)
    troubles: list[Trouble] = []
    # No fault at all is a scenario, too: whatever happens then is the client's own doing.
    for _ in range(rng.choice((0, 1, 2, 3, 4, 6, 9))):
        trouble = _trouble(rng, rng.choice(clients), calm_at)
        troubles.append(trouble)
        if isinstance(trouble.what, (RefuseHandshake, DelayAck)) and rng.random() < 0.5:
            # These wait for an occasion: give them one.
            troubles.append(Trouble(trouble.at, trouble.client, DropConnections()))
    return Scenario(
        seed=seed,
        calm_at=calm_at,
        gateway=GatewayConfig(
            # The server's milliseconds are those of the virtual time: easy to read, and zero is a
            # time, too.
            start_ts=0,
            ok_form=rng.random() < 0.3,
            ping_interval=None if pings and rng.random() < 0.2 else rng.uniform(5.0, 40.0),
            ping_form=rng.choice(forms),
            # The exchange waits nine times as long as a client does by default.
            pong_timeout=max(plan.config.ping_interval or 20.0 for plan in clients)
            * rng.uniform(3.0, 9.0)
            + 2.0,
        ),
        clients=clients,
        traffic=_traffic(rng, calm_at),
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at)),
    )


def _draw_stall(rng: Random, seed: int) -> Scenario:
    """Applications that stop taking events for a long time while the exchange goes on, on a network
    that is good."""
    calm_at = rng.uniform(50.0, 90.0)
    clients = tuple(
        evolve(
            _client(rng, name, calm_at, pings=True),
            topics=(ORDERS, BALANCE),
            config=SessionConfig(
                ping_interval=rng.uniform(2.0, 5.0),
                pong_timeout=rng.uniform(1.0, 5.0),
                retry_cap=2.0,
                capacity=rng.choice((1, 2, 4, 6)),
                delivery=rng.choice(tuple(DeliveryPolicy)),
            ),
            stalls=((rng.uniform(8.0, 20.0), calm_at),),
            window=16,
        )
        for name in "AB"[: rng.choice((1, 1, 2))]
    )
    traffic = [
        Publish(
            rng.uniform(5.0, calm_at), rng.choice((ORDERS, BALANCE)), rng.randrange(3), 1, closes
        )
        for closes in (True, False) * rng.choice((5, 15))
    ]
    troubles: tuple[Trouble, ...] = ()
    match rng.choice(("none", "none", "any", "away")):
        case "any":
            troubles = (_trouble(rng, clients[0], calm_at),)
        case "away":
            # Dials go on while nobody takes anything.
            name, at = clients[0].name, clients[0].stalls[0][0]
            gone = Unreachable(calm_at - at, FailureKind.REFUSED)
            troubles = (Trouble(at, name, gone), Trouble(at, name, DropConnections()))
        case _:
            pass
    return Scenario(
        seed=seed,
        calm_at=calm_at,
        gateway=GatewayConfig(
            start_ts=0,
            ping_interval=rng.uniform(3.0, 6.0),
            ping_form=rng.choice(tuple(PingForm)),
            pong_timeout=rng.uniform(16.0, 25.0),
        ),
        clients=clients,
        traffic=tuple(sorted(traffic, key=lambda publish: publish.at)),
        troubles=troubles,
    )


def _config(rng: Random, *, pings: bool) -> SessionConfig:
    capacity = rng.choice((1, 3, 8, 40, 1000))
    delivery = rng.choice((DeliveryPolicy.BLOCK, DeliveryPolicy.CONFLATE))
    if rng.random() < 0.25 and pings:
        return SessionConfig(capacity=capacity, delivery=delivery)
    ping_interval = rng.uniform(3.0, 20.0)
    silence_timeout = rng.choice((None, 170.0, 2.5 * ping_interval)) if pings else 100.0
    return SessionConfig(
        open_timeout=rng.uniform(2.0, 10.0),
        token_timeout=rng.uniform(2.0, 15.0),
        ack_timeout=rng.uniform(2.0, 10.0),
        close_timeout=rng.uniform(0.5, 5.0),
        ping_interval=ping_interval if pings else None,
        pong_timeout=ping_interval * rng.uniform(0.3, 1.4),
        silence_timeout=silence_timeout,
        retry_first=rng.choice((0.5, 0.1)),
        retry_base=rng.choice((1.0, 0.3)),
        retry_cap=rng.choice((30.0, 5.0)),
        stable_after=rng.choice((30.0, 5.0, 12.0)),
        rate_limit_wait=rng.choice((60.0, 60.0, 15.0)),
        retry_after_cap=rng.choice((3600.0, 20.0)),
        max_attempts=rng.choice((None, None, None, 1, 4)),
        max_refusals=rng.choice((10, 10, 2, 1)),
        max_frame_size=rng.choice((2**20, 1000)),
        max_pending=rng.choice((64, 2, 1)),
        max_kept=rng.choice((4096, 40)),
        capacity=capacity,
        delivery=delivery,
    )


def _client(rng: Random, name: str, calm_at: float, *, pings: bool) -> ClientPlan:
    supplies = None
    if rng.random() < 0.5:
        kinds = rng.choices(
            ("fresh", "same", "raise", "junk", "hang"), (6, 3, 1, 1, 1), k=rng.choice((1, 2, 3))
        )
        # The last goes on for ever, so it has to be one that works.
        kinds.append(rng.choice(("fresh", "same")))
        supplies = tuple(Supply(kind, rng.choice((0.0, 0.3, 1.5))) for kind in kinds)
    stalls: tuple[tuple[float, float], ...] = ()
    if rng.random() < 0.35:
        start = rng.uniform(0.0, calm_at)
        stalls = ((start, rng.uniform(start, calm_at)),)
    latency, spread = rng.uniform(0.001, 0.2), rng.choice((0.0, 0.01, 0.2))
    return ClientPlan(
        name=name,
        topics=rng.choice(((BALANCE, ORDERS), (ORDERS,), (BALANCE,), (ORDERS, BALANCE), ())),
        config=_config(rng, pings=pings),
        supplies=supplies,
        starts=rng.choice((0.0, 0.0, rng.uniform(0.0, 5.0))),
        latency=latency,
        spread=spread,
        # A hundred frames a second at least: an acknowledgement that is late because of what is
        # before it in the queue is late, and no fault of anybody's.
        window=max(rng.choice((2, 16, 64)), round(100 * (latency + spread))),
        readahead=rng.choice((0, 1, 16)),
        reports_tail=rng.random() < 0.3,
        pace=rng.choice((0.0, 0.0, 0.0, 0.05, 0.5)),
        stalls=stalls,
        calls=_calls(rng, calm_at),
    )


def _calls(rng: Random, calm_at: float) -> tuple[Call, ...]:
    calls: list[Call] = []
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        verb = rng.choice(("subscribe", "unsubscribe"))
        at = rng.uniform(0.0, calm_at)
        calls.append(Call(at, verb, rng.choice((ORDERS, BALANCE))))
        if rng.random() < 0.3:
            other = "subscribe" if verb == "unsubscribe" else "unsubscribe"
            calls.append(Call(at + rng.choice((0.0, 0.1, 0.5)), other, calls[-1].topic))
    if rng.random() < 0.15:
        calls.append(Call(rng.uniform(0.0, calm_at), "close"))
    return tuple(sorted(calls, key=lambda call: call.at))


def _traffic(rng: Random, calm_at: float) -> tuple[Publish, ...]:
    busy = rng.choice((0, 5, 15, 30))
    traffic = [
        Publish(
            at=rng.uniform(0.0, calm_at),
            topic=rng.choice((ORDERS, BALANCE)),
            key=rng.randrange(3),
            closes=rng.random() < 0.2,
        )
        for _ in range(busy)
    ]
    if busy and rng.random() < 0.4:
        at = rng.uniform(0.0, calm_at)
        traffic += [
            Publish(
                at, rng.choice((ORDERS, BALANCE)), key, rng.choice((2, 10, 30)), closes=key == 1
            )
            for key in range(rng.choice((1, 3)))
        ]
    return tuple(sorted(traffic, key=lambda publish: publish.at))


_NOISE: Final = tuple(map(SendRaw, ("pong", "", "\x01", "heartbeat", '{"event":"heartbeat"}')))
_LONG: Final = SendRaw('{"method":"notice","data":"' + "x" * 1200 + '"}')
_ECHOES: Final = (
    SendRaw('{"method":"{token}","data":{}}'),
    SendRaw('{"method":"notice","data":{"token":"{token}"}}'),
    SendRaw('{"method":"sub_orders","data":"{token}'),
    SendRaw('{"id":"{token}","method":"{token}","code":7,"msg":"{token}","ts":1}'),
    RejectRequest(403, "{token} may not"),
    CloseConnections(1008, "{token} expired"),
    WrongId("{token}"),
)


def _trouble(rng: Random, client: ClientPlan, calm_at: float) -> Trouble:
    at = rng.uniform(0.0, calm_at)
    method = rng.choice((None, None, "sub_orders", "sub_balance", "unsub_orders"))
    times = rng.choice((1, 1, 2, 4))
    what: Network | ExpireToken | GatewayFault
    match rng.choice(("network", "connection", "dial", "ack", "frame", "echo", "token")):
        case "network":
            what = rng.choice(
                (
                    Outage(rng.uniform(0.0, calm_at - at)),
                    BlackHole(),
                    BlackHole(),
                    Unreachable(
                        rng.uniform(0.0, calm_at - at),
                        rng.choice((None, FailureKind.REFUSED, FailureKind.DNS, FailureKind.TLS)),
                    ),
                )
            )
        case "connection":
            what = rng.choice(
                (DropConnections(), GoSilent(), CloseConnections(rng.choice((1000, 1001, 1012))))
            )
        case "dial":
            what = rng.choice(
                (
                    RefuseHandshake(403),
                    RefuseHandshake(401),
                    RefuseHandshake(429, rng.choice((None, 5, 70)), times),
                    RefuseHandshake(503, rng.choice((None, 10, "soon")), times),
                    RefuseHandshake(rng.choice((200, 302, 500)), times=times),
                    AnswerGarbage(times=times),
                    IgnoreHandshake(times),
                    AcceptThenClose(rng.choice((None, 1001, 1013)), times=times + 3),
                )
            )
        case "ack":
            what = rng.choice(
                (
                    DelayAck(rng.uniform(0.1, client.config.ack_timeout * 1.5), times, method),
                    LoseAck(times, method),
                    DuplicateAck(times, method),
                    RejectRequest(rng.choice((7, -1)), "no", times + rng.choice((0, 4)), method),
                    WrongId(times=times, method=method),
                )
            )
        case "frame":
            what = rng.choice((MALFORMED_FRAME, UNKNOWN_METHOD_FRAME, _LONG, *_NOISE))
        case "echo":
            what = rng.choice(_ECHOES)
        case _:
            what = ExpireToken()
    return Trouble(at, client.name, what)
