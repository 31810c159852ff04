"""Event logs in words, of feeds that are spoken to from outside: see ``portals``."""

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from portals import PATIENCE, Portal
from topone_proto import Event, Subscribed
from topone_proto.testing.conformance import kit
from topone_proto.testing.conformance.kit import ETH, ORDER, UP_AGAIN, told

__all__ = [
    "ETH",
    "ORDER",
    "QUICK",
    "TOKEN",
    "UP_AGAIN",
    "eventually",
    "hanging_up",
    "rest",
    "told",
    "until",
    "up",
]

TOKEN = "demo"
QUICK = functools.partial(attrs.evolve, kit.QUICK)


def until(feed: Portal, *kinds: type[Event], count: int = 1) -> list[str]:
    """Return all that comes up to and with the count-th event of one of these kinds."""
    log: list[str] = []
    while count:
        event = feed.next()
        assert event is not None, log
        log.append(told(event))
        count -= isinstance(event, kinds)
    return log


def rest(feed: Portal) -> list[str]:
    """Return all that comes up to the end."""
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


def up(feed: Portal) -> None:
    assert until(feed, Subscribed, count=2) == [*kit.UP]


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
