"""Metrics of a feed, and the two pages of code that use them."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

import topone_threads
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    Balance,
    BalanceUpdate,
    Conflated,
    DeliveryPolicy,
    Failure,
    FailureKind,
    FeedMetrics,
    SendText,
    SessionConfig,
    Step,
    Subscribed,
    SubscriptionState,
    Token,
)
from topone_proto.adapters import FeedCore
from topone_proto.exchange import DropConnections
from topone_simulator import run_in_thread

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
WALL = 1_700_000_000.0
"""The time of day at the time zero of the tests."""


class Watched:
    """A feed without an adapter, and the time."""

    def __init__(self, **config: Any) -> None:
        self.now = 0.0
        self.core: FeedCore[Any] = FeedCore(
            token=Token("token"),
            url=DEFAULT_URL,
            topics=[BALANCE],
            config=SessionConfig(**config),
            origin=None,
            insecure=False,
            jitter=lambda: 0.0,
            wall=lambda: WALL + self.now,
        )
        self.take(self.core.session.start(0.0))

    def take(self, step: Step) -> None:
        for action in self.core.take(step):
            if isinstance(action, SendText):
                self.request = json.loads(action.text)

    def hear(self, **members: Any) -> None:
        self.take(self.core.session.message_received(json.dumps(members), self.now))

    def acknowledge(self) -> None:
        self.hear(id=self.request["id"], code=0, ts=int((WALL + self.now) * 1000))

    def update(self, asset: str, late: float = 0.0) -> None:
        data = {"asset": asset, "available": "1", "freeze": "0"}
        self.hear(method="sub_balance", ts=int((WALL + self.now - late) * 1000), data=data)

    @property
    def metrics(self) -> FeedMetrics:
        return self.core.metrics(self.now)


def test_before_there_is_a_connection_there_is_nothing_to_measure() -> None:
    assert Watched(capacity=7).metrics == FeedMetrics(
        epoch=0,
        failures={},
        updates=0,
        gaps=0,
        anomalies={},
        conflated=0,
        waiting=0,
        capacity=7,
        is_paused=False,
        is_connected=False,
        epoch_age=None,
        last_received_age=None,
        ack_latency=None,
        lag={},
        subscriptions={BALANCE: SubscriptionState.IDLE},
    )


def test_a_feed_is_measured_from_its_dial_to_its_reconnect() -> None:
    feed = Watched()
    feed.now = 10.0
    feed.take(feed.core.session.connection_made(10.0))
    feed.now = 10.25
    feed.acknowledge()
    feed.now = 11.0
    feed.update("ETH", late=0.5)
    feed.now = 14.0
    metrics = feed.metrics
    assert (metrics.epoch, metrics.is_connected, metrics.updates) == (1, True, 1)
    assert (metrics.epoch_age, metrics.last_received_age, metrics.ack_latency) == (4.0, 3.0, 0.25)
    # Connected, Subscribed, the update.
    assert metrics.waiting == 3
    assert metrics.lag == {BALANCE: pytest.approx(0.5)}
    assert metrics.subscriptions == {BALANCE: SubscriptionState.ACTIVE}

    feed.take(feed.core.session.connection_lost(None, "gone", feed.now))
    metrics = feed.metrics
    assert metrics.failures == {FailureKind.LOST: 1}
    assert (metrics.is_connected, metrics.epoch_age, metrics.lag) == (False, None, {})

    feed.take(feed.core.session.deadline_reached(14.0))
    feed.take(feed.core.session.connection_failed(Failure(FailureKind.REFUSED), feed.now))
    feed.take(feed.core.session.deadline_reached(14.0))
    feed.take(feed.core.session.connection_made(14.0))
    feed.acknowledge()
    metrics = feed.metrics
    assert metrics.failures == {FailureKind.LOST: 1, FailureKind.REFUSED: 1}
    assert (metrics.epoch, metrics.gaps, metrics.ack_latency) == (2, 1, 0.0)


def test_a_request_that_waited_out_a_pause_took_as_long_as_it_did() -> None:
    feed = Watched()
    session = feed.core.session
    feed.take(session.connection_made(0.0))
    feed.take(session.reading_paused(1.0))
    feed.take(session.reading_resumed(30.0))
    feed.now = 31.0
    feed.acknowledge()
    assert feed.metrics.ack_latency == 31.0


def test_anomalies_are_counted_by_name() -> None:
    feed = Watched()
    feed.take(feed.core.session.connection_made(0.0))
    feed.hear(method="sub_tomorrow", data={})
    feed.hear(method="sub_tomorrow", data={})
    feed.hear(id="77", code=0)
    feed.hear(code=[])
    assert feed.metrics.anomalies == {"Unrecognised": 2, "UnexpectedResponse": 1, "Malformed": 1}


def test_what_was_conflated_is_counted_before_and_after_the_event_that_says_so() -> None:
    feed = Watched(delivery=DeliveryPolicy.CONFLATE, capacity=4)
    feed.take(feed.core.session.connection_made(0.0))
    feed.acknowledge()
    for _ in range(5):
        feed.update("ETH")
    # Of five the newest is left.
    assert feed.metrics.conflated == 4
    said = 0
    while (event := feed.core.get()) is not None:
        said += event.count if isinstance(event, Conflated) else 0
    assert said == 4
    assert (feed.metrics.conflated, feed.metrics.waiting) == (4, 0)


@pytest.fixture
def feed() -> Iterator[topone_threads.Feed]:
    """One that has been through a reconnect and has an update waiting."""
    config = SessionConfig(retry_first=1e-6)
    with (
        run_in_thread() as simulator,
        topone_threads.open_feed(
            token="demo", url=simulator.url, topics=[BALANCE], config=config
        ) as feed,
    ):
        for _ in range(2):
            while not isinstance(feed.get(20.0), Subscribed):
                pass
            simulator.publish(Balance("ETH", Decimal(1), Decimal(0)))
            while not isinstance(feed.get(20.0), BalanceUpdate):
                pass
            if feed.metrics().epoch == 1:
                simulator.inject(DropConnections())
        yield feed


def test_both_examples_of_the_page_work(feed: topone_threads.Feed) -> None:
    names: dict[str, Any] = {"feed": feed}
    for block in re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text("utf-8")):
        exec(compile(block, str(PAGE), "exec"), names)
    text = generate_latest(names["registry"]).decode()
    assert "topone_updates_total 2.0" in text
    assert "topone_connections_total 2.0" in text
    assert 'topone_failures_total{kind="lost"} 1.0' in text
    assert 'topone_lag_seconds{topic="balance"}' in text
    assert "topone_ack_latency " in text
    [resource] = names["reader"].get_metrics_data().resource_metrics
    [scope] = resource.scope_metrics
    points = {metric.name: list(metric.data.data_points) for metric in scope.metrics}
    assert points["topone.updates"][0].value == 2
    assert points["topone.gaps"][0].value == 1
    assert dict(points["topone.failures"][0].attributes) == {"kind": "lost"}
    assert dict(points["topone.lag"][0].attributes) == {"topic": "balance"}
    assert "demo" not in text + str(points)


def test_there_is_no_lag_without_a_clock_of_the_day() -> None:
    feed = Watched()
    feed.core._wall = None
    feed.take(feed.core.session.connection_made(0.0))
    feed.acknowledge()
    assert feed.metrics.lag == {}
    assert ORDERS not in feed.metrics.lag
