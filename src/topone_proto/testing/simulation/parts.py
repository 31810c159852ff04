"""Drawing the parts of a scenario: clients, what they do, what is published, what goes wrong."""

from random import Random
from typing import Final

from topone_proto.exchange import (
    MALFORMED_FRAME,
    UNKNOWN_METHOD_FRAME,
    AcceptThenClose,
    AnswerGarbage,
    CloseConnections,
    DelayAck,
    DropConnections,
    DuplicateAck,
    GoSilent,
    IgnoreHandshake,
    LoseAck,
    RefuseHandshake,
    RejectRequest,
    SendRaw,
    WrongId,
)
from topone_proto.failures import FailureKind
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.testing.simulation.client_plan import AccountPlan, Call, ClientPlan, Supply
from topone_proto.testing.simulation.scenario import (
    BlackHole,
    ExpireToken,
    GatewayFault,
    Network,
    Outage,
    Publish,
    Trouble,
    Unreachable,
)
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS

__all__ = ["LONG_FRAME", "draw_account", "draw_client", "draw_traffic", "draw_trouble"]

_NOISE: Final = tuple(map(SendRaw, ("pong", "", "\x01", "heartbeat", '{"event":"heartbeat"}')))
LONG_FRAME: Final = SendRaw('{"method":"notice","data":"' + "x" * 1200 + '"}')
"""A frame that some clients find too long."""
_ECHOES: Final = (
    SendRaw('{"method":"{token}","data":{}}'),
    SendRaw('{"method":"notice","data":{"token":"{token}"}}'),
    SendRaw('{"method":"sub_orders","data":"{token}'),
    SendRaw('{"id":"{token}","method":"{token}","code":7,"msg":"{token}","ts":1}'),
    RejectRequest(403, "{token} may not"),
    CloseConnections(1008, "{token} expired"),
    WrongId("{token}"),
)


def draw_account(rng: Random) -> AccountPlan:
    """Return a way to keep an account."""
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


def draw_config(rng: Random, *, pings: bool) -> SessionConfig:
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


def draw_client(rng: Random, name: str, calm_at: float, *, pings: bool) -> ClientPlan:
    """Return a feed of an account; ``pings`` says whether it sends pings of its own."""
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
        config=draw_config(rng, pings=pings),
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
        calls=draw_calls(rng, calm_at),
    )


def draw_calls(rng: Random, calm_at: float) -> tuple[Call, ...]:
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


def draw_traffic(rng: Random, calm_at: float) -> tuple[Publish, ...]:
    """Return what is published to the account, in order."""
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


def draw_trouble(rng: Random, client: ClientPlan, calm_at: float) -> Trouble:
    """Return something that goes wrong for a client."""
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
            what = rng.choice((MALFORMED_FRAME, UNKNOWN_METHOD_FRAME, LONG_FRAME, *_NOISE))
        case "echo":
            what = rng.choice(_ECHOES)
        case _:
            what = ExpireToken()
    return Trouble(at, client.name, what)
