"""Kill, freeze and revive: the adapters behind a fault proxy, on real sockets."""

from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal

import pytest

from feedlog import ETH, ORDER, QUICK, TOKEN, UP_AGAIN, eventually, told, until, up
from portals import PORTALS, Open
from proxies import FaultProxy, fault_proxy
from topone_proto import (
    BALANCE,
    Balance,
    BalanceUpdate,
    Disconnected,
    FailureKind,
    Gap,
    OrderUpdate,
    SessionConfig,
    Subscribed,
)
from topone_simulator import Simulator

pytestmark = pytest.mark.thorough


@pytest.fixture
def proxy(simulator: Simulator) -> Iterator[FaultProxy]:
    with fault_proxy(simulator.url) as proxy:
        yield proxy


def test_a_reset_is_a_loss_and_is_recovered_from(
    open_feed: Open, simulator: Simulator, proxy: FaultProxy
) -> None:
    with open_feed(url=proxy.url, token=TOKEN, config=QUICK()) as feed:
        up(feed)
        proxy.reset()
        assert until(feed, Gap, count=2) == ["disconnected lost, retry", *UP_AGAIN]
        simulator.publish(ETH)
        assert until(feed, BalanceUpdate) == ["balance ETH"]


def test_a_short_pause_loses_nothing(
    open_feed: Open, simulator: Simulator, proxy: FaultProxy
) -> None:
    with open_feed(url=proxy.url, token=TOKEN, config=QUICK()) as feed:
        up(feed)
        proxy.pause()
        simulator.publish(ETH, ORDER)
        proxy.resume()
        assert until(feed, OrderUpdate) == ["balance ETH", "orders 132991"]


def test_a_black_hole_is_noticed_within_interval_and_timeout(
    open_feed: Open, simulator: Simulator, proxy: FaultProxy
) -> None:
    config = QUICK(ping_interval=0.2, pong_timeout=0.2, open_timeout=0.2)
    with open_feed(url=proxy.url, token=TOKEN, config=config) as feed:
        up(feed)
        proxy.swallow()
        simulator.publish(ETH)
        event = feed.next()
        assert isinstance(event, Disconnected)
        assert event.reason.kind is FailureKind.PONG_TIMEOUT
        # Dials end in the hole, too.
        event = feed.next()
        assert isinstance(event, Disconnected)
        assert event.reason.kind is FailureKind.TIMEOUT
        proxy.heal()
        log = until(feed, Gap, count=2)
        assert log[-5:] == [*UP_AGAIN]


def test_a_server_that_goes_away_and_comes_back(
    open_feed: Open, simulator: Simulator, proxy: FaultProxy
) -> None:
    with open_feed(url=proxy.url, token=TOKEN, config=QUICK()) as feed:
        up(feed)
        proxy.refuse()
        log = [told(event) for event in (feed.next(), feed.next(), feed.next()) if event]
        assert log[0] == "disconnected lost, retry"
        assert log[1:] == ["disconnected refused, retry"] * 2
        proxy.revive()
        assert until(feed, Gap, count=2)[-5:] == [*UP_AGAIN]


def test_frames_in_single_bytes_are_whole_frames(
    open_feed: Open, simulator: Simulator, proxy: FaultProxy
) -> None:
    proxy.crawl()
    with open_feed(url=proxy.url, token=TOKEN, config=QUICK()) as feed:
        up(feed)
        for _ in range(3):
            simulator.publish(ORDER)
            event = feed.next()
            assert isinstance(event, OrderUpdate)
            assert event.order == ORDER


def test_a_paused_application_behind_a_reset_loses_nothing_without_a_gap(
    open_feed: Open, simulator: Simulator, proxy: FaultProxy
) -> None:
    balances = [Balance(f"A{number}", Decimal(number), Decimal(0)) for number in range(2000)]
    with open_feed(url=proxy.url, token=TOKEN, topics=[BALANCE], config=QUICK(capacity=10)) as feed:
        until(feed, Subscribed)
        simulator.publish(*balances)
        for expected in balances[:5]:
            event = feed.next()
            assert isinstance(event, BalanceUpdate)
            assert event.balance == expected
        proxy.reset()
        seen = 5
        while isinstance(event := feed.next(), BalanceUpdate):
            assert event.balance == balances[seen]
            seen += 1
        if seen < len(balances):
            assert isinstance(event, Disconnected)
            log = until(feed, Gap)
            assert log[-1] == "gap balance 2"


def test_fifty_feeds_outlive_a_restart_and_spread_their_dials(
    simulator: Simulator, proxy: FaultProxy
) -> None:
    # Jitter is the only thing that spreads them: the first retry comes within half a second, as
    # documented.
    config = SessionConfig(retry_base=0.5, retry_cap=1.0)
    with ExitStack() as stack:
        feeds = [
            stack.enter_context(opener(url=proxy.url, token=TOKEN, topics=[BALANCE], config=config))
            for number, opener in enumerate([*PORTALS.values()] * 17)
            if number < 50
        ]
        for feed in feeds:
            until(feed, Subscribed)
        proxy.refuse()
        waits = []
        for feed in feeds:
            event = feed.next()
            assert isinstance(event, Disconnected)
            assert event.retry_in is not None
            waits.append(event.retry_in)
        proxy.revive()
        for feed in feeds:
            assert until(feed, Gap)[-1] == "gap balance 2"
        eventually(lambda: simulator.connections == 50)
        assert all(0 <= wait <= 0.5 for wait in waits)
        # Fifty draws from half a second: that a fifth of it stays empty has a chance of one in ten
        # thousand.
        assert {int(wait / 0.1) for wait in waits} >= {0, 1, 2, 3, 4}
