"""The metrics of a node for Prometheus, served by prometheus-client."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from topone_relay._status import AccountStatus, NodeStatus

__all__ = ["NodeCollector", "serve_metrics"]

_BY_ACCOUNT = ["account"]


class NodeCollector(Collector):
    """Asks a node whenever Prometheus asks this process.

    Args:
        status: returns the state of the node; called in the thread of whoever asks.
    """

    def __init__(self, status: Callable[[], NodeStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        status = self._status()
        yield GaugeMetricFamily(
            "topone_relay_bus_available",
            "1 if the latest request to the bus was answered",
            status.is_bus_available,
        )
        yield GaugeMetricFamily("topone_relay_members", "Nodes that are alive", len(status.members))
        yield GaugeMetricFamily("topone_relay_held", "Accounts held by this node", status.held)
        accounts = status.accounts
        yield _gauge(
            "topone_relay_account_held", "1 if this node holds it", accounts, lambda it: it.is_held
        )
        yield _gauge(
            "topone_relay_account_unheld",
            "1 if nobody holds it, as far as this node knows",
            accounts,
            lambda it: it.holder is None,
        )
        yield _gauge(
            "topone_relay_account_whole",
            "1 if all of it is known, 0 if not; of accounts held by this node",
            accounts,
            lambda it: it.is_whole if it.is_held else None,
        )
        yield _gauge("topone_relay_epoch", "Number of the lease", accounts, lambda it: it.epoch)
        yield _gauge(
            "topone_relay_waiting_items",
            "Items that wait to be published",
            accounts,
            lambda it: it.waiting if it.is_held else None,
        )
        yield _gauge(
            "topone_relay_published_age_seconds",
            "Seconds since a message was published",
            accounts,
            lambda it: it.published_age if it.is_held else None,
        )
        yield _counter(
            "topone_relay_leases", "Leases that this node had", accounts, lambda it: it.leases
        )
        yield _counter(
            "topone_relay_messages", "Messages published", accounts, lambda it: it.messages
        )
        yield _counter(
            "topone_relay_dropped_items",
            "Items dropped, since the bus did not take them",
            accounts,
            lambda it: it.dropped,
        )
        yield from _feeds(accounts)


def _feeds(accounts: tuple[AccountStatus, ...]) -> Iterator[Metric]:
    feeds = [(account.name, account.feed) for account in accounts if account.feed is not None]
    connected = GaugeMetricFamily(
        "topone_relay_feed_connected", "1 if it is connected to the exchange", labels=_BY_ACCOUNT
    )
    updates = CounterMetricFamily(
        "topone_relay_feed_updates", "Updates of the exchange, since it is held", labels=_BY_ACCOUNT
    )
    gaps = CounterMetricFamily(
        "topone_relay_feed_gaps",
        "Gaps of the exchange's feed, since it is held",
        labels=_BY_ACCOUNT,
    )
    failures = CounterMetricFamily(
        "topone_relay_feed_failures",
        "Failed connections to the exchange, since it is held",
        labels=[*_BY_ACCOUNT, "kind"],
    )
    for name, feed in feeds:
        connected.add_metric([name], feed.is_connected)
        updates.add_metric([name], feed.updates)
        gaps.add_metric([name], feed.gaps)
        for kind, count in feed.failures.items():
            failures.add_metric([name, kind.value], count)
    yield from (connected, updates, gaps, failures)


_Read = Callable[[AccountStatus], float | None]


def _gauge(name: str, text: str, accounts: tuple[AccountStatus, ...], read: _Read) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_BY_ACCOUNT)
    for account in accounts:
        # A metric without a value is omitted; it is never reported as zero.
        if (number := read(account)) is not None:
            family.add_metric([account.name], number)
    return family


def _counter(name: str, text: str, accounts: tuple[AccountStatus, ...], read: _Read) -> Metric:
    family = CounterMetricFamily(name, text, labels=_BY_ACCOUNT)
    for account in accounts:
        if (number := read(account)) is not None:
            family.add_metric([account.name], number)
    return family


@contextmanager
def serve_metrics(
    status: Callable[[], NodeStatus], port: int, host: str = "127.0.0.1"
) -> Generator[int, None, None]:
    """Serve the metrics of a node over HTTP while the block runs, in a thread. Gives the port.

    Args:
        status: returns the state of the node; called in a thread.
        port: the TCP port; 0 for any that is free.
        host: the address to listen on.

    Raises:
        OSError: the port cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(NodeCollector(status))
    server, thread = start_http_server(port, host, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
