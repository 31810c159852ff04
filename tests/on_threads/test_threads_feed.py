"""A feed in threads: who waits where, several threads, slow applications."""

import queue
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from thread_feeds import QUICK, await_pause, in_turn, soon
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Candle,
    Closed,
    Connected,
    Disconnected,
    Event,
    FailureKind,
    FeedClosed,
    FeedFailed,
    LocalProtocolError,
    SessionConfig,
    Subscribed,
    kline,
)
from topone_proto.exchange import (
    Burst,
    LoseAck,
)
from topone_simulator import Simulator, run_in_thread
from topone_threads import Feed, open_feed, open_market_feed
from waits import ETH, PATIENCE, TOKEN, until


def test_events_come_in_order_and_end_with_the_block(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed:
        assert next(feed) == Connected(1)
        assert isinstance(next(feed), Subscribed)
        simulator.publish(ETH, ETH)
        assert [type(next(feed)) for _ in range(2)] == [BalanceUpdate] * 2
    assert list(feed) == [Closed()]
    with pytest.raises(FeedClosed):
        feed.get()
    with pytest.raises(FeedClosed):
        feed.subscribe(ORDERS)
    feed.close()


def test_get_gives_up_in_time_and_loses_nothing(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed:
        until(feed, Subscribed)
        for timeout in (0, -1, 0.001):
            with pytest.raises(TimeoutError):
                feed.get(timeout)
        simulator.publish(ETH)
        assert isinstance(feed.get(PATIENCE), BalanceUpdate)


def test_subscribe_gives_up_in_time_and_the_topic_stays_desired(simulator: Simulator) -> None:
    with open_feed(token=TOKEN, url=simulator.url, topics=[]) as feed:
        simulator.inject(LoseAck())
        with pytest.raises(TimeoutError):
            feed.subscribe(ORDERS, timeout=0)
        until(feed, Connected)
        driver: Any = feed._driver
        in_turn(feed, bool)
        # Nobody waits for an answer any more, so nothing keeps a slow application's feed reading.
        in_turn(feed, lambda: driver.take(driver.session.deadline_reached(0.0)))
        assert not feed._core._waiting
        assert driver.session.desired == (ORDERS,)


def test_candles_are_pulled_for_the_thread_that_asks() -> None:
    with (
        run_in_thread(history=86400.0) as simulator,
        open_market_feed(topics=[], url=simulator.market_url) as feed,
    ):
        now = time.time()
        with pytest.raises(TimeoutError):
            feed.pull(kline("BTC/USDT", "1m"), now - 3600, now, timeout=0)
        candles = feed.pull(kline("BTC/USDT", "1m"), now - 3600, now, PATIENCE)
        assert len(candles) >= 60
        assert {type(candle) for candle in candles} == {Candle}
    with pytest.raises(FeedClosed):
        feed.pull(kline("BTC/USDT", "1m"), now - 3600, now)


def test_a_refused_token_ends_every_waiting_thread(simulator: Simulator) -> None:
    failed = queue.SimpleQueue[Exception]()

    def consume() -> None:
        try:
            for _ in feed:
                pass
        except FeedFailed as error:
            failed.put(error)

    with open_feed(token="wrong", url=simulator.url) as feed, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(consume)
        failures = [failed.get(timeout=PATIENCE) for _ in range(4)]
    assert all(error.failure.status == 401 for error in failures if isinstance(error, FeedFailed))
    with pytest.raises(FeedFailed):
        next(feed)


def test_many_threads_share_a_feed(simulator: Simulator) -> None:
    taken = queue.SimpleQueue[Event]()
    number_of_updates = 200

    def consume(feed: Feed) -> None:
        for event in feed:
            taken.put(event)

    def toggle(feed: Feed) -> None:
        for _ in range(10):
            # Another thread may want the opposite, which is told and harms nobody.
            with suppress(Exception):
                feed.subscribe(ORDERS, PATIENCE)
            with suppress(Exception):
                feed.unsubscribe(ORDERS, PATIENCE)

    with (
        ThreadPoolExecutor(8) as pool,
        open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE]) as feed,
    ):
        consumers = [pool.submit(consume, feed) for _ in range(4)]
        feed.subscribe(BALANCE, PATIENCE)
        togglers = [pool.submit(toggle, feed) for _ in range(4)]
        for number in range(number_of_updates):
            simulator.publish(Balance("ETH", Decimal(number), Decimal(0)))
        for toggler in togglers:
            toggler.result(PATIENCE)
        seen: list[Decimal] = []
        while len(seen) < number_of_updates:
            event = taken.get(timeout=PATIENCE)
            if isinstance(event, BalanceUpdate):
                seen.append(event.balance.available)
        soon(feed.close)
        for consumer in consumers:
            consumer.result(PATIENCE)
    assert sorted(seen) == [Decimal(number) for number in range(number_of_updates)]


def test_a_slow_application_stops_the_reader_and_misses_nothing(simulator: Simulator) -> None:
    config = SessionConfig(capacity=4)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        feed.subscribe(BALANCE, PATIENCE)
        simulator.inject(Burst(500))
        await_pause(feed)
        assert feed.metrics().waiting < 10
        for _ in range(500):
            until(feed, BalanceUpdate)


def test_a_feed_that_was_not_entered_says_so(simulator: Simulator) -> None:
    feed: Any = open_feed(token=TOKEN, url=simulator.url)
    for use in (
        feed.get,
        lambda: next(feed),
        lambda: feed.subscribe(ORDERS),
        lambda: feed.unsubscribe(ORDERS),
    ):
        with pytest.raises(LocalProtocolError, match="use it in a with block"):
            use()
    assert not feed.metrics().is_connected
    feed.close()
    assert list(feed) == [Closed()]
    with feed:
        assert list(feed) == []


def test_a_frame_that_is_too_large_is_named_as_the_cause(simulator: Simulator) -> None:
    config = QUICK(max_frame_size=300)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        until(feed, Subscribed)
        simulator.publish(Balance("E" * 400, Decimal(1), Decimal(0)))
        reason = until(feed, Disconnected).reason
        assert (reason.kind, reason.code) == (FailureKind.LOST, None)
        assert "exceeds limit of 300 bytes" in reason.detail


def test_without_websockets_the_import_says_what_to_install() -> None:
    program = """
import sys
sys.modules["websockets"] = None
try:
    import topone_threads
except ImportError as error:
    print(error, error.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    expected = 'topone_threads needs websockets: pip install "topone-proto[threads]" websockets\n'
    assert done.stdout == expected
