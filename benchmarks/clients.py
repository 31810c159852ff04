"""Everything that can be at the client's end: bare receive loops of WebSocket libraries, the same
with a parser in the loop, and the adapters of this project.

All have one shape: ``(url, events) -> Times``. They subscribe, wait for the acknowledgement, and
then take so many order updates.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from operator import attrgetter
from time import monotonic, monotonic_ns, perf_counter, process_time
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import attrs
import trio
import trio_websocket
import websockets.asyncio.client
import websockets.sync.client
import websockets.trio.client

import topone_asyncio
import topone_threads
import topone_trio
from benchmarks.driven import connected, new_session
from benchmarks.loopback import BLOCK_BYTES, TOKEN, burst
from benchmarks.measuring import optional
from topone_asyncio import over_aiohttp
from topone_proto import ORDERS, Connect, Endpoint, OrderUpdate, Request, Session, Subscribed, Token
from topone_proto.adapters import AsyncWebSocket
from topone_proto.events import Event
from topone_proto.wire.codec import encode
from topone_trio import over_websockets

Mode = Literal["burst", "singles"]
Work = Literal["nothing", "session", "json.loads"]

SUBSCRIBE = encode(Request(id="1", method=ORDERS.subscribe_method))


@attrs.define
class Times:
    """The times of the events of one connection."""

    wall: float = 0.0
    """Seconds for all of them."""
    cpu: float = 0.0
    """Seconds of this process's processor time for all of them."""
    delays: list[int] = attrs.field(factory=list[int])
    """Nanoseconds from being sent to being delivered, of each: only for events sent singly."""


Client = Callable[[str, int, Mode], Times]


class Watch:
    """Started at the acknowledgement, stopped at the last event."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def stop(self) -> Times:
        """Both readings."""
        return Times(perf_counter() - self._wall, process_time() - self._cpu)


def identity(message: Any) -> Any:
    """The payload of a message that is its payload."""
    return message


# --- bare loops, asyncio and trio ----------------------------------------------------------------
# Each loop is written out, with nothing in it that a user's own would not have.


@attrs.frozen
class Pipe:
    """The bound methods of an open connection of some library."""

    send: Callable[[str], Awaitable[Any]]
    receive: Callable[[], Awaitable[Any]]
    payload: Callable[[Any], str | bytes] | None = None
    """Makes a payload of a message, if the message is not its payload."""


Open = Callable[[str], AbstractAsyncContextManager[Pipe]]


@asynccontextmanager
async def open_aiohttp(url: str) -> AsyncIterator[Pipe]:
    """A session with one connection, as the adapter opens it."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False, autoclose=False) as ws,
    ):
        yield Pipe(ws.send_str, ws.receive, attrgetter("data"))


@asynccontextmanager
async def open_websockets_asyncio(url: str) -> AsyncIterator[Pipe]:
    """websockets, asyncio client."""
    async with websockets.asyncio.client.connect(
        url, compression=None, ping_interval=None, proxy=None
    ) as ws:
        yield Pipe(ws.send, ws.recv)


@asynccontextmanager
async def open_picows_websockets(url: str) -> AsyncIterator[Pipe]:
    """picows's layer with the interface of websockets."""
    picows = optional("picows.websockets")
    assert picows is not None
    async with picows.connect(url, compression=None, ping_interval=None, proxy=None) as ws:
        yield Pipe(ws.send, ws.recv)


@asynccontextmanager
async def open_trio_websocket(url: str, buffer_size: int = 65536) -> AsyncIterator[Pipe]:
    """trio-websocket, with the buffer size that the adapter asks for."""
    async with trio_websocket.open_websocket_url(url, receive_buffer_size=buffer_size) as ws:
        yield Pipe(ws.send_message, ws.get_message)


@asynccontextmanager
async def open_websockets_trio(url: str) -> AsyncIterator[Pipe]:
    """websockets, trio client."""
    async with websockets.trio.client.connect(
        url, compression=None, ping_interval=None, proxy=None
    ) as ws:
        yield Pipe(ws.send, ws.recv)


@asynccontextmanager
async def open_own(
    open_websocket: Callable[..., AbstractAsyncContextManager[AsyncWebSocket]], url: str
) -> AsyncIterator[Pipe]:
    """An adapter's WebSocket, without a feed."""
    async with open_websocket(dialling(url), bytes) as ws:
        yield Pipe(ws.send_text, ws.receive)


def dialling(url: str) -> Connect:
    """Return what a session would say to dial there."""
    return Connect(Endpoint(url), Token(TOKEN), 10.0, 2**20)


async def take_bare(pipe: Pipe, count: int) -> Times:
    """Receive and do nothing."""
    receive = pipe.receive
    watch = Watch()
    for _ in range(count):
        await receive()
    return watch.stop()


async def take_session(pipe: Pipe, count: int, session: Session) -> Times:
    """Receive and hand to a session."""
    receive, payload, received = pipe.receive, pipe.payload, session.message_received
    watch = Watch()
    if payload is None:
        for _ in range(count):
            received(await receive(), monotonic())
    else:
        for _ in range(count):
            received(payload(await receive()), monotonic())
    return watch.stop()


async def take_json(pipe: Pipe, count: int) -> Times:
    """Receive and parse with the standard library."""
    receive, payload, loads = pipe.receive, pipe.payload, json.loads
    watch = Watch()
    if payload is None:
        for _ in range(count):
            loads(await receive())
    else:
        for _ in range(count):
            loads(payload(await receive()))
    return watch.stop()


async def take_singles(pipe: Pipe, count: int, work: Work, session: Session) -> Times:
    """Receive, noting when; with a session, when it has made an event of it."""
    receive, payload = pipe.receive, pipe.payload or identity
    received = session.message_received if work == "session" else None
    arrivals = []
    for _ in range(count):
        message = await receive()
        if received is not None:
            received(payload(message), monotonic())
        arrivals.append((monotonic_ns(), payload(message)))
    return Times(delays=[at - json.loads(frame)["ts"] for at, frame in arrivals])


async def converse(open_pipe: Open, work: Work, url: str, count: int, mode: Mode) -> Times:
    """A whole conversation with a bare library."""
    async with open_pipe(url) as pipe:
        session = new_session()
        request = connected(session)
        await pipe.send(request)
        ack = await pipe.receive()
        session.message_received(pipe.payload(ack) if pipe.payload else ack, 0.0)
        if mode == "singles":
            return await take_singles(pipe, count, work, session)
        match work:
            case "nothing":
                return await take_bare(pipe, count)
            case "session":
                return await take_session(pipe, count, session)
            case "json.loads":
                return await take_json(pipe, count)


def on_asyncio(open_pipe: Open, work: Work = "nothing") -> Client:
    """A bare library on asyncio."""

    def client(url: str, count: int, mode: Mode) -> Times:
        return asyncio.run(converse(open_pipe, work, url, count, mode))

    return client


def on_trio(open_pipe: Open, work: Work = "nothing") -> Client:
    """A bare library on trio."""

    def client(url: str, count: int, mode: Mode) -> Times:
        return trio.run(converse, open_pipe, work, url, count, mode)

    return client


# --- bare loops, blocking ------------------------------------------------------------------------


BlockingPipe = tuple[Callable[[str], object], Callable[[], str | bytes]]
"""The two ends of a pipe: one sends, the other receives."""
OpenBlocking = Callable[[str], AbstractContextManager[BlockingPipe]]


@contextmanager
def open_websockets_threads(url: str) -> Iterator[BlockingPipe]:
    """websockets, threads client."""
    with websockets.sync.client.connect(
        url, compression=None, ping_interval=None, proxy=None
    ) as ws:
        yield ws.send, partial(ws.recv, decode=False)


def threads(open_pipe: OpenBlocking, work: Work = "nothing") -> Client:
    """A bare blocking library."""
    return partial(_threads, open_pipe, work)


def _threads(open_pipe: OpenBlocking, work: Work, url: str, count: int, mode: Mode) -> Times:
    with open_pipe(url) as (send, receive):
        session = new_session()
        send(connected(session))
        received, loads = session.message_received, json.loads
        received(receive(), 0.0)
        if mode == "singles":
            arrivals = []
            for _ in range(count):
                frame = receive()
                if work == "session":
                    received(frame, monotonic())
                arrivals.append((monotonic_ns(), frame))
            return Times(delays=[at - loads(frame)["ts"] for at, frame in arrivals])
        watch = Watch()
        match work:
            case "nothing":
                for _ in range(count):
                    receive()
            case "session":
                for _ in range(count):
                    received(receive(), monotonic())
            case "json.loads":
                for _ in range(count):
                    loads(receive())
        return watch.stop()


def bare_socket(url: str, count: int, mode: Mode) -> Times:
    """No WebSocket at all: the pace of the server and the kernel."""
    assert mode == "burst"
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nSec-WebSocket-Key: AAAA\r\n\r\n".encode()
        )
        sock.sendall(struct.pack("!BB4x", 0x81, 0x80 | len(SUBSCRIBE)) + SUBSCRIBE.encode())
        watch = Watch()
        received, expected = 0, sum(map(len, burst(count)))
        while received < expected:
            received += len(sock.recv(BLOCK_BYTES))
        return watch.stop()


def picows_callback(url: str, count: int, mode: Mode) -> Times:
    """picows, payload taken as ``str`` inside its callback."""
    assert mode == "burst"
    picows: Any = optional("picows")

    class Listener(picows.WSListener):  # type: ignore[misc]  # picows may be absent
        def __init__(self) -> None:
            self.left = count + 1
            self.done = asyncio.Event()
            self.watch = Watch()

        def on_ws_frame(self, _transport: Any, frame: Any) -> None:
            if frame.msg_type is picows.WSMsgType.TEXT:
                frame.get_payload_as_utf8_text()
                if self.left == count + 1:
                    self.watch = Watch()
                self.left -= 1
                if not self.left:
                    self.times = self.watch.stop()
                    self.done.set()

    async def main() -> Times:
        listener = Listener()
        transport, _ = await picows.ws_connect(lambda: listener, url)
        transport.send(picows.WSMsgType.TEXT, SUBSCRIBE.encode())
        await listener.done.wait()
        transport.disconnect()
        await transport.wait_disconnected()
        return listener.times

    return asyncio.run(main())


# --- the adapters --------------------------------------------------------------------------------


async def take_feed(feed: Any, count: int, mode: Mode) -> Times:
    """Iterate over a feed, as an application does."""
    async for event in feed:
        if isinstance(event, Subscribed):
            break
    left = count
    if mode == "singles":
        arrivals: list[tuple[int, Event]] = []
        async for event in feed:
            arrivals.append((monotonic_ns(), event))
            left -= 1
            if not left:
                break
        return Times(delays=delays_of(arrivals))
    watch = Watch()
    async for _event in feed:
        left -= 1
        if not left:
            break
    return watch.stop()


def delays_of(arrivals: list[tuple[int, Event]]) -> list[int]:
    """Return the delay of each event, in seconds."""
    delays = []
    for at, event in arrivals:
        assert isinstance(event, OrderUpdate)
        assert event.ts is not None
        delays.append(at - event.ts)
    return delays


def feed_asyncio(url: str, count: int, mode: Mode, **options: Any) -> Times:
    """topone_asyncio."""

    async def main() -> Times:
        async with topone_asyncio.open_feed(
            token=TOKEN, url=url, topics=[ORDERS], **options
        ) as feed:
            return await take_feed(feed, count, mode)

    return asyncio.run(main())


feed_asyncio_over_aiohttp: Client = partial(
    feed_asyncio, open_websocket=over_aiohttp.open_websocket
)


def feed_trio(url: str, count: int, mode: Mode, **options: Any) -> Times:
    """topone_trio."""

    async def main() -> Times:
        async with topone_trio.open_feed(token=TOKEN, url=url, topics=[ORDERS], **options) as feed:
            return await take_feed(feed, count, mode)

    return trio.run(main)


feed_trio_over_websockets: Client = partial(
    feed_trio, open_websocket=over_websockets.open_websocket
)


def feed_threads(url: str, count: int, mode: Mode) -> Times:
    """topone_threads."""
    with topone_threads.open_feed(token=TOKEN, url=url, topics=[ORDERS]) as feed:
        for event in feed:
            if isinstance(event, Subscribed):
                break
        left = count
        if mode == "singles":
            arrivals: list[tuple[int, Event]] = []
            for event in feed:
                arrivals.append((monotonic_ns(), event))
                left -= 1
                if not left:
                    break
            return Times(delays=delays_of(arrivals))
        watch = Watch()
        for _event in feed:
            left -= 1
            if not left:
                break
        return watch.stop()
