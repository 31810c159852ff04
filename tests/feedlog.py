"""Event logs in words, and what the scenarios of the adapters share."""

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from portals import PATIENCE, Portal
from topone_proto import (
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Gap,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    RequestTimedOut,
    SessionConfig,
    Side,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)

TOKEN = "demo"
# Retries at once, so that no scenario waits for a back-off.
QUICK = functools.partial(
    SessionConfig, retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6, close_timeout=2.0
)
ORDER = Order(
    132991,
    "ETH/BTC",
    OrderType.LIMIT,
    Side.BUY,
    OrderStatus.COMPLETED,
    Decimal("0.08132"),
    Decimal("1.389"),
    Decimal(0),
    Decimal("1.389"),
    Decimal("0.10953654"),
    1522235513.740678,
    1522235513.740684,
)
ETH = Balance("ETH", Decimal("99999980.24173"), Decimal("23.596"))


def told(event: Event) -> str:
    """An event in one line, without times and addresses."""
    match event:
        case Connected(epoch=epoch):
            return f"connected {epoch}"
        case Subscribed(topic=topic, epoch=epoch):
            return f"subscribed {topic} {epoch}"
        case Unsubscribed(topic=topic, epoch=epoch):
            return f"unsubscribed {topic} {epoch}"
        case Gap(topic=topic, since_ts=since, until_ts=until, epoch=epoch):
            assert since is not None
            assert until is None or since <= until
            return f"gap {topic} {epoch}"
        case Disconnected(reason=reason, retry_in=retry_in):
            return f"disconnected {reason.kind}{'' if retry_in is None else ', retry'}"
        case Closed(failure=failure):
            return f"closed {failure and failure.kind}"
        case OrderUpdate(order=order):
            return f"order {order.id}"
        case BalanceUpdate(balance=balance):
            return f"balance {balance.asset}"
        case SubscriptionRejected(method=method, code=code):
            return f"rejected {method} {code}"
        case RequestTimedOut(method=method):
            return f"timed out {method}"
        case _:
            return type(event).__name__


def until(feed: Portal, *kinds: type[Event], count: int = 1) -> list[str]:
    """What comes up to and with the count-th event of one of these kinds."""
    log: list[str] = []
    while count:
        event = feed.next()
        assert event is not None, log
        log.append(told(event))
        count -= isinstance(event, kinds)
    return log


def rest(feed: Portal) -> list[str]:
    """What comes up to the end."""
    log: list[str] = []
    while (event := feed.next()) is not None:
        log.append(told(event))
    return log


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what the server's own thread will have seen in a moment."""
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience
        threading.Event().wait(0.001)


UP = ["connected 1", "subscribed balance 1", "subscribed orders 1"]
UP_AGAIN = [
    "connected 2",
    "subscribed balance 2",
    "gap balance 2",
    "subscribed orders 2",
    "gap orders 2",
]


def up(feed: Portal) -> None:
    assert until(feed, Subscribed, count=2) == UP


@contextmanager
def hanging_up() -> Iterator[str]:
    """A server that reads the handshake and hangs up, and counts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20.0)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
