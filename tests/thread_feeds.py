"""Helpers for feeds in threads: an exchange without sockets, and calls from other threads."""

import asyncio
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from topone_proto import (
    BALANCE,
    Connect,
    ConnectionEnded,
    SessionConfig,
)
from topone_proto.exchange import (
    Accept,
    ClosePeer,
    Gateway,
    Reject,
    SendFrame,
)
from topone_threads import Feed, open_feed
from waits import PATIENCE, TOKEN, accept_websocket

FOR_EVER = 5 * PATIENCE
"""A timeout that, if it were waited for, would make the test fail."""
QUICK = functools.partial(
    SessionConfig, retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6, close_timeout=FOR_EVER
)


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run something in another thread, which has to end by itself."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive()


def soon(function: Callable[[], object]) -> None:
    """It returns, and does not wait for what would never come."""
    with beside(function):
        pass


def threads_of_feeds() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(("topone-feed", "Thread-"))]


def in_turn(feed: Feed, function: Callable[[], object]) -> None:
    """Have it called where the feed does its work, behind what was asked of it before."""
    is_done = threading.Event()

    def call() -> None:
        function()
        is_done.set()

    feed._post(call)
    assert is_done.wait(PATIENCE)


def await_pause(feed: Feed) -> None:
    """Return once the feed has stopped reading because nobody takes events."""
    deadline = time.monotonic() + PATIENCE
    while not feed.metrics().is_paused:
        assert time.monotonic() < deadline


@contextmanager
def listening(backlog: int = 1) -> Iterator[tuple[socket.socket, str, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        server.settimeout(PATIENCE)
        yield server, "127.0.0.1", server.getsockname()[1]


class Memory:
    """A connection to a gateway in the same process, with hooks for what may go wrong."""

    def __init__(
        self, gateway: Gateway, connect: Connect, on_pong: Callable[[bytes], object]
    ) -> None:
        self.gateway = gateway
        self.connect = connect
        self.on_pong = on_pong
        self.peer = 0
        self.inbox = asyncio.Queue[str | bytes | Exception]()
        self.is_over = asyncio.Event()

    async def __aenter__(self) -> Self:
        answer = self.gateway.handshake(self.connect.target(), self.connect.endpoint.headers, 0.0)
        match answer.actions[0]:
            case Accept(peer=peer):
                self.peer = peer
            case Reject(status=status):
                raise AssertionError(status)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_over.set()

    async def receive(self) -> str | bytes:
        item: str | bytes | Exception = await self.inbox.get()
        if isinstance(item, Exception):
            self.inbox.put_nowait(item)
            raise item
        return item

    async def send_text(self, text: str) -> None:
        self.carry_out(self.gateway.message_received(self.peer, text, 0.0).actions)

    async def send_ping(self, payload: bytes) -> None:
        self.on_pong(payload)

    async def close(self, code: int, reason: str) -> None:
        self.inbox.put_nowait(ConnectionEnded(code, reason))

    def carry_out(self, actions: tuple[Any, ...]) -> None:
        for action in actions:
            match action:
                case SendFrame(text=text):
                    self.inbox.put_nowait(text)
                case ClosePeer(code=code, reason=reason):
                    self.inbox.put_nowait(ConnectionEnded(code, reason))


class Exchange:
    """Opens them, one for each dial."""

    def __init__(self, *kinds: type[Memory]) -> None:
        self.gateway = Gateway({TOKEN: "alice"})
        self.kinds = list(kinds)
        self.opened: list[Memory] = []

    def __call__(self, connect: Connect, on_pong: Callable[[bytes], object]) -> Memory:
        kind = self.kinds.pop(0) if self.kinds else Memory
        self.opened.append(kind(self.gateway, connect, on_pong))
        return self.opened[-1]

    def open_feed(self, **config: Any) -> Any:
        return open_feed(token=TOKEN, topics=[BALANCE], config=QUICK(**config), open_websocket=self)


def addresses(*places: tuple[str, int]) -> Callable[..., Any]:
    """In place of ``getaddrinfo``."""
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]


def serve_until_the_end(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        accept_websocket(peer)
        while peer.recv(65536):
            pass
