"""The simulation's rules, held against what really happened between two sockets.

A script of faults is drawn from a seed, and the log of the feed is judged as the simulation judges
its own: every update that the exchange published on an active topic was delivered, once and in
order, or a ``Gap`` of its topic covers its time (I1); every epoch begins with its ``Connected`` and
ends with its ``Disconnected``, and nothing comes after ``Closed`` (I5).
"""

import random
import time
from decimal import Decimal

import pytest

from feedlog import QUICK, TOKEN
from portals import PATIENCE, Open
from proxies import FaultProxy, fault_proxy
from topone_proto import (
    BALANCE,
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Gap,
    Subscribed,
)
from topone_proto.exchange import (
    AcceptThenClose,
    AnswerGarbage,
    CloseConnections,
    DelayAck,
    DropConnections,
    DuplicateAck,
    Fault,
    GoSilent,
    LoseAck,
    RefuseHandshake,
)
from topone_simulator import Simulator

FAULTS: list[Fault] = [
    DropConnections(),
    CloseConnections(1012, "restart"),
    GoSilent(),
    RefuseHandshake(503),
    AnswerGarbage(),
    AcceptThenClose(),
    DelayAck(0.05),
    DuplicateAck(),
    LoseAck(),
]


def mistreat(source: random.Random, simulator: Simulator, proxy: FaultProxy) -> None:
    for fault in source.sample(FAULTS, source.randint(0, 2)):
        simulator.inject(fault)
    match source.randrange(4):
        case 0:
            proxy.reset()
        case 1:
            proxy.pause()
        case 2:
            proxy.resume()
        case _:
            pass


def note(published: dict[str, int], simulator: Simulator) -> None:
    """Note what was published since the last time, and when: the simulator remembers the latest
    only."""
    for entry in reversed(simulator.publications):
        assert isinstance(entry.update, Balance)
        if entry.update.asset in published:
            break
        published[entry.update.asset] = entry.ts


def judge(log: list[Event], published: dict[str, int]) -> None:
    delivered = [event.balance.asset for event in log if isinstance(event, BalanceUpdate)]
    assert len(set(delivered)) == len(delivered)
    assert delivered == sorted(delivered)
    assert set(delivered) <= set(published)
    gaps = [event for event in log if isinstance(event, Gap)]
    for asset, ts in published.items():
        # What was on its way when the feed was closed concerns nobody any more.
        if asset < delivered[-1] and asset not in delivered:
            assert any((gap.since_ts or 0) <= ts <= (gap.until_ts or ts) for gap in gaps), (
                f"{asset}, published at {ts}, is neither delivered nor covered: {gaps}"
            )

    epoch, is_up = 0, False
    for event in log:
        match event:
            case Connected():
                assert not is_up
                epoch, is_up = epoch + 1, True
                assert event.epoch == epoch
            case Disconnected():
                assert event.epoch == epoch
                is_up = False
            case Closed():
                assert event is log[-1]
            case Subscribed() | Gap():
                assert is_up
                assert event.epoch == epoch
            case _:
                assert is_up


def is_whole(log: list[Event]) -> bool:
    """True if the application has been told of the acknowledgement of the present connection."""
    turns = [event for event in log if isinstance(event, Subscribed | Disconnected)]
    return isinstance(turns[-1], Subscribed)


def latest(log: list[Event]) -> str:
    """The newest asset."""
    return max(
        (event.balance.asset for event in log if isinstance(event, BalanceUpdate)), default=""
    )


@pytest.mark.parametrize("seed", range(4))
def test_every_update_is_delivered_or_covered(
    open_feed: Open, simulator: Simulator, seed: int
) -> None:
    source = random.Random(seed)
    config = QUICK(
        ping_interval=0.1, pong_timeout=0.1, ack_timeout=0.3, open_timeout=0.3, capacity=40
    )
    log: list[Event] = []
    published: dict[str, int] = {}
    number = 0

    def publish() -> str:
        nonlocal number
        number += 1
        simulator.publish(Balance(f"A{number:06}", Decimal(number), Decimal(0)))
        note(published, simulator)
        return f"A{number:06}"

    def take() -> None:
        event = feed.next()
        assert event is not None
        log.append(event)

    with (
        fault_proxy(simulator.url) as proxy,
        open_feed(url=proxy.url, token=TOKEN, topics=[BALANCE], config=config) as feed,
    ):
        while not isinstance(log[-1:] and log[-1], Subscribed):
            take()
        for _ in range(12):
            for _ in range(source.randint(1, 30)):
                publish()
                if source.random() < 0.05:
                    mistreat(source, simulator, proxy)
            # Sometimes the application keeps up, sometimes it does not.
            for _ in range(source.randint(0, 5)):
                proxy.resume()
                # With something new for every event that is taken, there is always one to come.
                publish()
                take()
            mistreat(source, simulator, proxy)
        proxy.resume()
        simulator.clear_faults()
        # All is well from here on: something that is published now arrives in the end.
        healed = publish()
        patience = time.monotonic() + PATIENCE
        while not (is_whole(log) and latest(log) > healed):
            # Where there is no subscription, no update is to come, but the end of the connection
            # is: soon, if the application is not kept behind, for a pause does not count.
            if is_whole(log):
                publish()
            take()
            assert time.monotonic() < patience
        feed.close()
        while (event := feed.next()) is not None:
            log.append(event)
    judge(log, published)
    assert sum(isinstance(event, Connected) for event in log) > 1
