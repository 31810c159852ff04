"""Group 2: what the pure core adds to decoding, and what simulating it costs."""

import json
from collections.abc import Callable
from itertools import repeat
from time import perf_counter
from typing import Any

from benchmarks import frames, in_memory
from benchmarks.driven import active_connection, active_feed, active_session
from benchmarks.measuring import (
    Effort,
    Subject,
    Table,
    in_fresh_processes,
    interleave,
    optional,
    over,
)
from topone_proto import BALANCE, ORDERS, Connection, Request, Session, Step, Topic
from topone_proto.wire.codec import decode, encode

DECODE = "decode"
SESSION = "Session.message_received"
BUFFER = "FeedCore.received and get"
FRESH = "a new session"
OLD = "after many events"
LATE = "after thirty days"
BUSY = "with 60 subscriptions"


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return in_fresh_processes(_measure, effort)


def _measure(effort: Effort) -> list[Table]:
    measured = [_updates(effort), _ages(effort), _requests(effort)]
    if optional("topone_proto.testing.simulation"):
        measured.append(_simulation(effort))
    return measured


def _fed(receiver: Connection | Session, now: float = 1.0) -> Callable[[int], float]:
    """Feed it every order update."""
    received, orders = receiver.message_received, frames.orders()

    def run(times: int) -> float:
        started = perf_counter()
        for _ in repeat(None, times):
            for frame in orders:
                received(frame, now)
        return perf_counter() - started

    return run


def _through_feed(times: int) -> float:
    core, orders = active_feed(), frames.orders()
    received, get = core.received, core.get
    started = perf_counter()
    for _ in repeat(None, times):
        for frame in orders:
            received(frame, 1.0)
            get()
    return perf_counter() - started


def _step_of(event: object) -> Step:
    return Step((event,), (), 1.0)  # type: ignore[arg-type]  # stands in for an update


def _updates(effort: Effort) -> Table:
    orders = frames.orders()
    subjects = [
        Subject(DECODE, over(decode, orders), "frame to message", frames.COUNT),
        Subject(
            "Connection.message_received",
            _fed(active_connection()),
            "and its subscription looked up, and a Step",
            frames.COUNT,
        ),
        Subject(SESSION, _fed(active_session()), "and the session's say", frames.COUNT),
        Subject(
            BUFFER,
            _through_feed,
            "through the session and the bounded buffer: all that an adapter has to call",
            frames.COUNT,
        ),
        Subject(
            "a feed of topone_asyncio",
            in_memory.on_asyncio,
            "and handed from a task that reads to one that iterates; no socket",
            frames.COUNT,
        ),
        Subject("a feed of topone_trio", in_memory.on_trio, "the same in trio", frames.COUNT),
        Subject("Step(...) alone", over(_step_of, orders), "", frames.COUNT),
    ]
    rows = interleave(subjects, effort)
    return Table("core/update", "An order update through the core", "s", DECODE, rows)


def _late_session() -> Session:
    """Thirty days of pings and pongs later."""
    session = active_session()
    now, pings = 0.0, 0
    while now < 30 * 86400:
        now += 600.0
        # Heard of all the time, so that no deadline passes.
        session.message_received("ping", now)
        session.deadline_reached(now)
        pings += 1
        session.pong_received(str(pings).encode(), now)
    return session


def _old_session(events: int) -> Session:
    session = active_session()
    orders = frames.orders()
    for number in range(events):
        session.message_received(orders[number % len(orders)], 1.0)
    return session


def _ages(effort: Effort) -> Table:
    many = (ORDERS, BALANCE, *(Topic(f"future_{n}") for n in range(58)))
    subjects = [
        Subject(FRESH, _fed(active_session()), "", frames.COUNT),
        Subject(OLD, _fed(_old_session(effort.aged)), f"{effort.aged:,} updates", frames.COUNT),
        Subject(LATE, _fed(_late_session(), 30 * 86400.0), "pings and pongs", frames.COUNT),
        Subject(BUSY, _fed(active_session(many)), "", frames.COUNT),
    ]
    rows = interleave(subjects, effort)
    return Table("core/age", "Nothing grows: an update in a session that…", "s", FRESH, rows)


def _requests(effort: Effort) -> Table:
    requests = [Request(id=str(n), method=ORDERS.subscribe_method) for n in range(frames.COUNT)]
    plain = [
        {"id": request.id, "method": request.method, "params": {}, "lang": request.lang}
        for request in requests
    ]
    subjects = [
        Subject("topone_proto.encode", over(encode, requests), "", len(requests)),
        Subject("json.dumps of a dict", over(json.dumps, plain), "", len(requests)),
    ]
    rows = interleave(subjects, effort)
    return Table("core/encode", "A request to text", "s", "json.dumps of a dict", rows)


def _simulation(effort: Effort) -> Table:
    simulation = optional("topone_proto.testing.simulation")
    assert simulation is not None
    scenarios: list[Any] = []
    simulated = 0.0
    seed = 0
    while len(scenarios) < effort.scenarios:
        scenario = simulation.draw(seed)
        seed += 1
        simulated += simulation.run(scenario).seconds
        scenarios.append(scenario)

    def run(times: int) -> float:
        started = perf_counter()
        for _ in range(times):
            for scenario in scenarios:
                simulation.run(scenario)
        return perf_counter() - started

    name = "one scenario"
    note = f"{simulated / len(scenarios):.0f} simulated seconds on average"
    rows = interleave([Subject(name, run, note, len(scenarios))], effort)
    return Table("core/simulation", "Simulated feeds in bad weather", "s", name, rows)
