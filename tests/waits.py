"""Helpers for the tests of threads: an exchange, a patience, and no thread left behind."""

import socket
import threading
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from hashlib import sha1
from typing import TypeVar

from topone_proto import Balance
from topone_threads import Feed

T = TypeVar("T")

TOKEN = "topapi:5ecret"
ETH = Balance("ETH", Decimal("1.5"), Decimal(0))
PATIENCE = 60.0
"""Seconds after which something that should have come has not: a failure, never a pass."""


@contextmanager
def no_thread_is_left() -> Generator[None, None, None]:
    """Fail if a thread of the block is left behind."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # It ends by itself a moment after its answer.
        if thread.name in {"topone-lookup", "topone-feed-token"}:
            thread.join(PATIENCE)
    assert not set(threading.enumerate()) - before


def until(feed: Feed, kind: type[T]) -> T:
    """Take events up to and with the first of this kind, and return that one."""
    while True:
        event = feed.get(PATIENCE)
        if isinstance(event, kind):
            return event


def accept_websocket(peer: socket.socket) -> set[str]:
    """Answer a handshake by hand. Return the names of its headers in small letters."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += peer.recv(65536)
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    peer.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return {line.split(b":")[0].decode().lower() for line in request.split(b"\r\n")[1:]}
