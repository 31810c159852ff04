"""Measure and probe the WebSocket client libraries that could carry the exchange's frames.

Two questions, answered against a loopback server in a process of its own:

* *speed*: what does one order update cost in each library's bare receive loop?  The server writes
  frames it encoded beforehand, in 64 KiB blocks, so that the client is the slower side.  Rounds
  are interleaved (every library once, then every library again) so that a slow moment of the
  machine falls on all of them.  A bare ``socket.recv`` loop shows how far away the server's limit
  is.
* *behaviour*: small probes of what a private, token-carrying stream needs from an asyncio
  library: fragments, compression, ``Origin``, pings, limits, redirects, proxies, and whether the
  token that stands in the URL can reach a log line or an exception.

Run from the repository's root::

    python -m benchmarks.websocket_libraries [--frames N] [--rounds N] [--json FILE] [--no-probes]

It needs aiohttp, picows, websockets, trio, trio-websocket, trustme and typing-extensions.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import hashlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import platform
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import aiohttp
import picows
import picows.websockets
import trio
import trio_websocket
import trustme
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client
import websockets.trio.client
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from multiprocessing.connection import Connection

DISTRIBUTIONS = (
    "aiohttp",
    "picows",
    "aiofastnet",
    "websockets",
    "trio",
    "trio-websocket",
    "wsproto",
)

#: The example of the exchange's page, "Subscribe to Order Updates", without the white space.
ORDER_FRAME = json.dumps(
    {
        "method": "sub_orders",
        "ts": 1561948335075,
        "data": {
            "id": 132991,
            "market": "ETH/BTC",
            "type": 1,
            "side": 2,
            "status": 2,
            "price": "0.08132",
            "amount": "1.389",
            "left": "0",
            "dealStock": "1.389",
            "dealMoney": "0.10953654",
            "createTime": 1522235513.740678,
            "updateTime": 1522235513.740684,
        },
    },
    separators=(",", ":"),
).encode()

#: Stands in for an API token; the probes look for it where it must not be.
TOKEN = "topapi:do-not-print-me"

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
BLOCK_BYTES = 64 * 1024
PROBE_TIMEOUT = 15.0
HEARTBEAT = 0.1
HEARTBEAT_WATCH = 0.6


# ------------------------------------------------------------------------------------ the server


def encode_frame(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv1: bool = False
) -> bytes:
    """One unmasked RFC 6455 frame, as a server sends it."""
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one masked frame of a client: its opcode and its payload."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@dataclass
class Request:
    """The client's half of the opening handshake."""

    method: str
    target: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str:
        """Value of a header, or an empty string."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), "")

    def accept(self, *extra: str) -> bytes:
        """The 101 response to this request."""
        key = self.header("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
            *extra,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class LoopbackServer:
    """Plays the scene that the path of the request names (see the ``scene_…`` methods)."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one TCP connection: a WebSocket handshake, or a proxy's CONNECT or SOCKS5."""
        try:
            first = await reader.readexactly(1)
            if first == b"\x05":
                await self.socks5(reader, writer)
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request_line, *lines = head.split("\r\n")
            method, target, _ = request_line.split(" ", 2)
            headers = [(k, v.strip()) for k, _, v in (ln.partition(":") for ln in lines if ln)]
            request = Request(method, target, headers)
            if method == "CONNECT":
                self.hits["http"] += 1
                host, _, port = target.rpartition(":")
                await self.tunnel(
                    host, int(port), reader, writer, b"HTTP/1.1 200 Connection established\r\n\r\n"
                )
                return
            url = urlsplit(target)
            name = url.path.strip("/").replace("-", "_")
            self.hits[name] += 1
            scene = getattr(self, f"scene_{name}")
            await scene(request, reader, writer, {k: v[0] for k, v in parse_qs(url.query).items()})
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # clients are free to leave in the middle of a scene
        finally:
            writer.close()

    async def tunnel(
        self,
        host: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: bytes,
    ) -> None:
        """Be a proxy: connect on and copy bytes both ways."""
        onward_reader, onward_writer = await asyncio.open_connection(host, port)
        writer.write(answer)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(BLOCK_BYTES):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))

    async def socks5(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be a SOCKS5 proxy (RFC 1928) without authentication."""
        self.hits["socks5"] += 1
        (methods,) = await reader.readexactly(1)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        if kind == 1:
            host = socket.inet_ntoa(await reader.readexactly(4))
        else:
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode()
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        await self.tunnel(host, port, reader, writer, b"\x05\x00\x00\x01" + bytes(6))

    @staticmethod
    async def finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Close the WebSocket, wait for the client's answer; TCP is the server's to close."""
        writer.write(encode_frame(struct.pack("!H", 1000), CLOSE))
        await writer.drain()
        while (await read_frame(reader))[0] != CLOSE:
            pass

    async def scene_flood(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: dict[str, str],
    ) -> None:
        """Wait for the client's first message, then send ``n`` order updates at full speed."""
        frame, count = encode_frame(ORDER_FRAME), int(query["n"])
        per_block = BLOCK_BYTES // len(frame)
        block = frame * per_block
        writer.write(request.accept())
        await read_frame(reader)
        for _ in range(count // per_block):
            writer.write(block)
            await writer.drain()
        writer.write(frame * (count % per_block))
        await self.finish(reader, writer)

    async def scene_raw(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: dict[str, str],
    ) -> None:
        """``flood`` without waiting, for a client that is only a socket."""
        del reader
        frame, count = encode_frame(ORDER_FRAME), int(query["n"])
        per_block = BLOCK_BYTES // len(frame)
        block = frame * per_block
        writer.write(request.accept())
        for _ in range(count // per_block):
            writer.write(block)
            await writer.drain()
        writer.write(frame * (count % per_block))

    async def scene_headers(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: dict[str, str],
    ) -> None:
        """Send the request's headers back as a message."""
        writer.write(request.accept() + encode_frame(json.dumps(request.headers).encode()))
        await self.finish(reader, writer)

    async def scene_hits(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: dict[str, str],
    ) -> None:
        """Send the number of requests seen so far, by scene."""
        writer.write(request.accept() + encode_frame(json.dumps(self.hits).encode()))
        await self.finish(reader, writer)

    async def scene_fragments(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: dict[str, str],
    ) -> None:
        """One text message in three frames, a ping between them."""
        writer.write(request.accept() + encode_frame(b"one ", fin=False))
        writer.write(encode_frame(b"?", PING))
        writer.write(encode_frame(b"two ", CONTINUATION, fin=False))
        writer.write(encode_frame(b"three", CONTINUATION))
        await self.finish(reader, writer)

    async def scene_deflate(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: dict[str, str],
    ) -> None:
        """An order update, compressed if the client offered permessage-deflate (RFC 7692)."""
        if "permessage-deflate" not in request.header("Sec-WebSocket-Extensions"):
            writer.write(request.accept() + encode_frame(b"not offered"))
        else:
            packer = zlib.compressobj(wbits=-15)
            packed = packer.compress(b"compressed") + packer.flush(zlib.Z_SYNC_FLUSH)
            writer.write(
                request.accept("Sec-WebSocket-Extensions: permessage-deflate")
                + encode_frame(packed[:-4], rsv1=True)
            )
        await self.finish(reader, writer)

    async def scene_pings(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: dict[str, str],
    ) -> None:
        """Answer pings for some ``seconds``, then send how many there were."""
        writer.write(request.accept())
        count = 0
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            async with asyncio.timeout(float(query["seconds"])):
                while True:
                    opcode, payload = await read_frame(reader)
                    if opcode == CLOSE:
                        writer.write(encode_frame(payload, CLOSE))
                        return
                    if opcode == PING:
                        count += 1
                        writer.write(encode_frame(payload, PONG))
        writer.write(encode_frame(str(count).encode()))
        await self.finish(reader, writer)

    async def scene_big(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: dict[str, str],
    ) -> None:
        """A message of ``n`` bytes, in frames of ``piece`` bytes."""
        total, piece = int(query["n"]), int(query["piece"])
        pieces = [b"x" * piece] * (total // piece)
        last = len(pieces) - 1
        writer.write(request.accept())
        for index, data in enumerate(pieces):
            opcode = TEXT if index == 0 else CONTINUATION
            writer.write(encode_frame(data, opcode, fin=index == last))
        await self.finish(reader, writer)

    async def scene_status(
        self,
        _request: Request,
        _reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: dict[str, str],
    ) -> None:
        """Refuse the handshake with an HTTP status."""
        writer.write(
            f"HTTP/1.1 {query['code']} Whatever\r\nRetry-After: 7\r\nContent-Length: 2\r\n"
            "Connection: close\r\n\r\nno".encode()
        )

    async def scene_redirect(
        self,
        _request: Request,
        _reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: dict[str, str],
    ) -> None:
        """Point the client at another address."""
        writer.write(
            f"HTTP/1.1 302 Found\r\nLocation: {query['to']}\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode()
        )

    async def scene_hang_up(
        self,
        _request: Request,
        _reader: asyncio.StreamReader,
        _writer: asyncio.StreamWriter,
        _q: dict[str, str],
    ) -> None:
        """Close the TCP connection instead of answering the handshake."""


async def run_server(pipe: Connection, certificate: str) -> None:
    """Listen on two loopback ports, plain and TLS, and tell the parent their numbers."""
    loopback = LoopbackServer()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    ports = []
    for tls in (None, context):
        server = await asyncio.start_server(loopback.serve, "127.0.0.1", 0, ssl=tls)
        ports.append(server.sockets[0].getsockname()[1])
    pipe.send(ports)
    await asyncio.to_thread(pipe.poll, None)  # the parent closes its end when it is done


def server_process(pipe: Connection, certificate: str) -> None:
    """Entry point of the server's process."""
    asyncio.run(run_server(pipe, certificate))


@dataclass(frozen=True)
class Address:
    """Where the loopback server listens."""

    plain: int
    tls: int
    trust: ssl.SSLContext

    def url(self, scene: str, *, tls: bool = False, **query: object) -> str:
        """URL of a scene; the made-up token is always part of it."""
        scheme, port = ("wss", self.tls) if tls else ("ws", self.plain)
        fields = "&".join(f"{k}={v}" for k, v in {**query, "token": TOKEN}.items())
        return f"{scheme}://localhost:{port}/{scene}?{fields}"


@contextlib.contextmanager
def loopback_server() -> Iterator[Address]:
    """Run the server in another process for the length of a ``with`` block."""
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            str(certificate)
        )
        process = spawn.Process(target=server_process, args=(theirs, str(certificate)), daemon=True)
        process.start()
        theirs.close()
        plain, tls = ours.recv()
    try:
        yield Address(plain, tls, trust)
    finally:
        ours.close()
        process.terminate()
        process.join()


# ----------------------------------------------------------------------------------------- speed


@dataclass(frozen=True)
class Sample:
    """What ``n`` frames cost: seconds on the wall, and of this process's processor time."""

    wall: float
    cpu: float


class Stopwatch:
    """Started when the server is told to go, stopped at the last frame."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def stop(self) -> Sample:
        """Both readings."""
        return Sample(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def receive_raw(url: str, frames: int) -> Sample:
    """No WebSocket at all: the pace of the server and the kernel."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        watch = Stopwatch()
        sock.sendall(f"GET /raw?{parts.query} HTTP/1.1\r\nSec-WebSocket-Key: AAAA\r\n\r\n".encode())
        expected = frames * len(encode_frame(ORDER_FRAME))
        received = 0
        while received < expected:
            received += len(sock.recv(BLOCK_BYTES))
        return watch.stop()


async def aiohttp_receive(url: str, frames: int, *, decode_text: bool) -> Sample:
    """``ClientWebSocketResponse.receive`` in a loop."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False, decode_text=decode_text) as ws,
    ):
        watch = Stopwatch()
        await ws.send_str("go")
        for _ in range(frames):
            message = await ws.receive()
            assert message.data
        return watch.stop()


def receive_aiohttp(url: str, frames: int) -> Sample:
    """aiohttp, messages as ``str``."""
    return asyncio.run(aiohttp_receive(url, frames, decode_text=True))


def receive_aiohttp_bytes(url: str, frames: int) -> Sample:
    """aiohttp, text messages left as ``bytes``, which a JSON engine takes as well."""
    return asyncio.run(aiohttp_receive(url, frames, decode_text=False))


class CountingListener(picows.WSListener):
    """A picows callback that takes every payload and counts."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.done = asyncio.Event()

    @override
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows for every frame."""
        del transport
        if frame.msg_type is picows.WSMsgType.TEXT:
            assert frame.get_payload_as_utf8_text()
            self.left -= 1
            if not self.left:
                self.done.set()


def receive_picows(url: str, frames: int) -> Sample:
    """picows, payload taken as ``str`` inside its callback."""

    async def main() -> Sample:
        listener = CountingListener(frames)
        transport, _ = await picows.ws_connect(lambda: listener, url)
        watch = Stopwatch()
        transport.send(picows.WSMsgType.TEXT, b"go")
        await listener.done.wait()
        sample = watch.stop()
        transport.disconnect()
        await transport.wait_disconnected()
        return sample

    return asyncio.run(main())


class QueueingListener(picows.WSListener):
    """A picows callback that hands payloads to a task through a queue, as an iterator must."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    @override
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows for every frame."""
        del transport
        if frame.msg_type is picows.WSMsgType.TEXT:
            self.queue.put_nowait(frame.get_payload_as_utf8_text())


def receive_picows_queue(url: str, frames: int) -> Sample:
    """picows, payloads passed on through an (unbounded) ``asyncio.Queue``."""

    async def main() -> Sample:
        listener = QueueingListener()
        transport, _ = await picows.ws_connect(lambda: listener, url)
        watch = Stopwatch()
        transport.send(picows.WSMsgType.TEXT, b"go")
        for _ in range(frames):
            assert await listener.queue.get()
        sample = watch.stop()
        transport.disconnect()
        await transport.wait_disconnected()
        return sample

    return asyncio.run(main())


def receive_picows_websockets(url: str, frames: int) -> Sample:
    """Use picows's own layer with the interface of websockets."""

    async def main() -> Sample:
        async with picows.websockets.connect(
            url, compression=None, ping_interval=None, proxy=None
        ) as ws:
            watch = Stopwatch()
            await ws.send("go")
            for _ in range(frames):
                assert await ws.recv()
            return watch.stop()

    return asyncio.run(main())


def receive_websockets_asyncio(url: str, frames: int) -> Sample:
    """websockets, asyncio client."""

    async def main() -> Sample:
        async with websockets.asyncio.client.connect(
            url, compression=None, ping_interval=None, proxy=None
        ) as ws:
            watch = Stopwatch()
            await ws.send("go")
            for _ in range(frames):
                assert await ws.recv()
            return watch.stop()

    return asyncio.run(main())


def receive_websockets_sync(url: str, frames: int) -> Sample:
    """websockets, threads client."""
    with websockets.sync.client.connect(
        url, compression=None, ping_interval=None, proxy=None
    ) as ws:
        watch = Stopwatch()
        ws.send("go")
        for _ in range(frames):
            assert ws.recv()
        return watch.stop()


def receive_websockets_trio(url: str, frames: int) -> Sample:
    """websockets, trio client."""

    async def main() -> Sample:
        async with websockets.trio.client.connect(
            url, compression=None, ping_interval=None, proxy=None
        ) as ws:
            watch = Stopwatch()
            await ws.send("go")
            for _ in range(frames):
                assert await ws.recv()
            return watch.stop()

    return trio.run(main)


async def trio_websocket_receive(url: str, frames: int, buffer_size: int) -> Sample:
    """``WebSocketConnection.get_message`` in a loop."""
    async with trio_websocket.open_websocket_url(url, receive_buffer_size=buffer_size) as ws:
        watch = Stopwatch()
        await ws.send_message("go")
        for _ in range(frames):
            assert await ws.get_message()
        return watch.stop()


def receive_trio_websocket(url: str, frames: int) -> Sample:
    """trio-websocket with its default receive buffer of 4 KiB."""
    return trio.run(trio_websocket_receive, url, frames, 4096)


def receive_trio_websocket_64k(url: str, frames: int) -> Sample:
    """trio-websocket with a receive buffer of 64 KiB."""
    return trio.run(trio_websocket_receive, url, frames, 65536)


RECEIVERS: dict[str, Callable[[str, int], Sample]] = {
    "bare socket (no parsing)": receive_raw,
    "picows, callback": receive_picows,
    "picows, callback + queue": receive_picows_queue,
    "picows.websockets": receive_picows_websockets,
    "aiohttp, bytes": receive_aiohttp_bytes,
    "aiohttp, str": receive_aiohttp,
    "websockets, asyncio": receive_websockets_asyncio,
    "websockets, threads": receive_websockets_sync,
    "websockets, trio": receive_websockets_trio,
    "trio-websocket, 64 KiB": receive_trio_websocket_64k,
    "trio-websocket": receive_trio_websocket,
}
BASELINE = "bare socket (no parsing)"


def measure(address: Address, frames: int, rounds: int) -> dict[str, list[Sample]]:
    """Every library once a round, after one short round to warm up."""
    samples: dict[str, list[Sample]] = {name: [] for name in RECEIVERS}
    for number in range(rounds + 1):
        count = frames if number else min(frames, 2000)
        for name, receive in RECEIVERS.items():
            gc.collect()
            sample = receive(address.url("flood", n=count), count)
            if number:
                samples[name].append(sample)
    return samples


def summarise(samples: dict[str, list[Sample]], frames: int) -> list[dict[str, Any]]:
    """Microseconds per frame, and the ratio to the fastest library."""
    rows: list[dict[str, Any]] = []
    for name, runs in samples.items():
        wall = [run.wall / frames * 1e6 for run in runs]
        cpu = [run.cpu / frames * 1e6 for run in runs]
        rows.append(
            {
                "library": name,
                "median_us": statistics.median(wall),
                "min_us": min(wall),
                "max_us": max(wall),
                "cpu_us": statistics.median(cpu),
            }
        )
    fastest = min(row["median_us"] for row in rows if row["library"] != BASELINE)
    for row in rows:
        row["ratio"] = row["median_us"] / fastest
    return rows


# ------------------------------------------------------------------------------------- behaviour


@dataclass(frozen=True)
class Options:
    """What a probe may ask of a library; ``None`` leaves the library's default alone."""

    origin: str | None = None
    ping_interval: float | None = None
    max_size: int = 1 << 20
    compression: bool = False
    redirects: bool | None = None
    trust: ssl.SSLContext | None = None
    proxy: str | None = None
    logger: logging.Logger | None = None


class Socket(Protocol):
    """An open WebSocket, reduced to what the probes need."""

    async def receive(self) -> str:
        """Next message; ``(closed …)`` when there is none left."""

    async def ping(self, payload: bytes) -> str:
        """Send a ping, wait for its pong, and say how the caller learnt of it."""


class Library(Protocol):
    """One way to open a WebSocket."""

    name: str

    def open(self, url: str, options: Options) -> contextlib.AbstractAsyncContextManager[Socket]:
        """Open a connection for the length of a block."""

    def refusal(self, exc: BaseException) -> tuple[int, str | None] | None:
        """Status and Retry-After that an exception carries."""


def quiet_logger() -> logging.Logger:
    """A logger outside the tree that never says anything."""
    logger = logging.Logger("quiet")  # noqa: LOG001 - meant to hang off no root
    logger.disabled = True
    return logger


class RedirectRefusedError(Exception):
    """Raised by the probes in place of following a redirect."""


class AiohttpSocket:
    """aiohttp's connection; ``autoping`` is off, so control frames are messages."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self.ws = ws

    async def receive(self) -> str:
        """Next message, pings answered."""
        while True:
            message = await self.ws.receive()
            if message.type is aiohttp.WSMsgType.PING:
                await self.ws.pong(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                return f"(closed {self.ws.close_code})"

    async def ping(self, payload: bytes) -> str:
        """The pong is a message like any other."""
        await self.ws.ping(payload)
        message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.PONG
        assert message.data == payload
        return "yes, payload in the receive loop"


class Aiohttp:
    """Sessions of aiohttp."""

    name = "aiohttp"

    @contextlib.asynccontextmanager
    async def open(self, url: str, options: Options) -> AsyncIterator[Socket]:
        """One session per connection: nothing is shared between dials."""

        async def refuse_redirects(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            response = await handler(request)
            if 300 <= response.status < 400:
                response.close()
                raise RedirectRefusedError(response.status)
            return response

        middlewares = () if options.redirects is None else (refuse_redirects,)
        async with (
            aiohttp.ClientSession(middlewares=middlewares) as session,
            session.ws_connect(
                url,
                autoping=options.ping_interval is not None,
                heartbeat=options.ping_interval,
                origin=options.origin,
                max_msg_size=options.max_size,
                compress=15 if options.compression else 0,
                ssl=options.trust or True,
                proxy=options.proxy,
            ) as ws,
        ):
            yield AiohttpSocket(ws)

    def refusal(self, exc: BaseException) -> tuple[int, str | None] | None:
        """``WSServerHandshakeError`` has both."""
        if not isinstance(exc, aiohttp.WSServerHandshakeError):
            return None
        return exc.status, exc.headers.get("Retry-After") if exc.headers else None


class PicowsSocket(picows.WSListener):
    """A picows listener with a queue behind it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: picows.WSTransport | None = None

    @override
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Called by picows for every frame."""
        if frame.msg_type is picows.WSMsgType.PONG:
            self.pongs.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            self.messages.put_nowait(f"(closed {frame.get_close_code()})")
            transport.disconnect()
        elif frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.CONTINUATION):
            self.messages.put_nowait(frame.get_payload_as_utf8_text())

    @override
    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Called by picows when TCP is gone."""
        self.transport = transport
        self.messages.put_nowait("(closed)")

    async def receive(self) -> str:
        """Next frame."""
        return await self.messages.get()

    async def ping(self, payload: bytes) -> str:
        """The pong is a frame like any other."""
        assert self.transport is not None
        self.transport.send_ping(payload)
        assert await self.pongs.get() == payload
        return "yes, payload in the callback"


class Picows:
    """picows, its own interface."""

    name = "picows"

    @contextlib.asynccontextmanager
    async def open(self, url: str, options: Options) -> AsyncIterator[Socket]:
        """Keep-alive and redirects are plain arguments here."""
        extra: dict[str, Any] = {}
        if options.redirects is not None:
            extra["max_redirects"] = 0
        if options.ping_interval is not None:
            extra.update(
                enable_auto_ping=True,
                auto_ping_idle_timeout=options.ping_interval,
                auto_ping_reply_timeout=options.ping_interval,
            )
        if options.logger is not None:
            extra["logger_name"] = options.logger
        listener = PicowsSocket()
        transport, _ = await picows.ws_connect(
            lambda: listener,
            url,
            ssl_context=options.trust,
            extra_headers=None if options.origin is None else {"Origin": options.origin},
            max_frame_size=options.max_size,
            proxy=options.proxy,
            **extra,
        )
        listener.transport = transport
        if transport.is_disconnected:  # returned without a handshake, and without a callback
            listener.messages.put_nowait("(closed)")
        try:
            yield listener
        finally:
            transport.disconnect()
            await transport.wait_disconnected()

    def refusal(self, exc: BaseException) -> tuple[int, str | None] | None:
        """``WSHandshakeError`` carries the response."""
        if not isinstance(exc, picows.WSHandshakeError) or exc.response is None:
            return None
        return int(exc.response.status), exc.response.headers.get("Retry-After")


class WebsocketsSocket:
    """A connection of websockets, or of picows's imitation of it."""

    def __init__(self, ws: Any, closed: type[Exception]) -> None:
        self.ws = ws
        self.closed = closed

    async def receive(self) -> str:
        """Next message."""
        try:
            return str(await self.ws.recv())
        except self.closed as exc:
            rcvd = getattr(exc, "rcvd", None) or getattr(exc, "sent", None)
            return f"(closed {rcvd.code if rcvd else ''})"

    async def ping(self, payload: bytes) -> str:
        """``ping`` returns a future of the round trip."""
        await (await self.ws.ping(payload))
        return "yes, awaitable per ping"


def websockets_arguments(options: Options) -> dict[str, Any]:
    """Arguments that websockets and picows.websockets share."""
    return {
        "origin": options.origin,
        "ping_interval": options.ping_interval,
        "max_size": options.max_size,
        "compression": "deflate" if options.compression else None,
        "proxy": options.proxy,
        "logger": options.logger,
        **({} if options.trust is None else {"ssl": options.trust}),
    }


class PicowsWebsockets:
    """picows through its layer with the interface of websockets."""

    name = "picows.websockets"

    @contextlib.asynccontextmanager
    async def open(self, url: str, options: Options) -> AsyncIterator[Socket]:
        """What the layer does not name it passes on to picows."""
        extra: dict[str, Any] = {} if options.redirects is None else {"max_redirects": 0}
        async with picows.websockets.connect(url, **websockets_arguments(options), **extra) as ws:
            yield WebsocketsSocket(ws, picows.websockets.ConnectionClosed)

    def refusal(self, exc: BaseException) -> tuple[int, str | None] | None:
        """``InvalidStatus`` carries the response."""
        if not isinstance(exc, picows.websockets.InvalidStatus):
            return None
        return int(exc.response.status_code), exc.response.headers.get("Retry-After")


class ConnectOnce(websockets.asyncio.client.connect):
    """websockets has no argument against redirects; this is its one place to decide."""

    @override
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Never a new address."""
        return exc


class Websockets:
    """Connections of websockets."""

    name = "websockets"

    @contextlib.asynccontextmanager
    async def open(self, url: str, options: Options) -> AsyncIterator[Socket]:
        """Its own client."""
        connect = websockets.asyncio.client.connect if options.redirects is None else ConnectOnce
        async with connect(url, **websockets_arguments(options)) as ws:
            yield WebsocketsSocket(ws, websockets.exceptions.ConnectionClosed)

    def refusal(self, exc: BaseException) -> tuple[int, str | None] | None:
        """``InvalidStatus`` carries the response."""
        if not isinstance(exc, websockets.exceptions.InvalidStatus):
            return None
        return exc.response.status_code, exc.response.headers.get("Retry-After")


LIBRARIES: tuple[Library, ...] = (Aiohttp(), Picows(), PicowsWebsockets(), Websockets())


class Records(logging.Handler):
    """Keeps the text of everything that is logged anywhere, at any level."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.text: list[tuple[str, str]] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's level and text."""
        self.text.append((record.levelname, self.format(record)))


@contextlib.contextmanager
def all_logging() -> Iterator[Records]:
    """Collect all log records of a block."""
    records, root = Records(), logging.getLogger()
    before = root.level
    root.addHandler(records)
    root.setLevel(1)
    try:
        yield records
    finally:
        root.removeHandler(records)
        root.setLevel(before)


def one_exception(exc: BaseException) -> BaseException:
    """The only exception inside a group, or the exception itself."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


async def first_message(library: Library, url: str, options: Options) -> str:
    """Open, take one message, close."""
    async with library.open(url, options) as ws:
        return await ws.receive()


async def failure(library: Library, url: str, options: Options) -> BaseException | None:
    """The exception of an attempt to open, if there was one."""
    try:
        await first_message(library, url, options)
    except Exception as exc:  # noqa: BLE001 - which one it is, is the question
        return one_exception(exc)
    return None


async def hits(library: Library, address: Address, scene: str) -> int:
    """How often the server has played a scene."""
    counts = json.loads(await first_message(library, address.url("hits"), Options()))
    return int(counts.get(scene, 0))


async def probe_fragments(library: Library, address: Address) -> str:
    """A message in three frames, with a ping in between."""
    message = await first_message(library, address.url("fragments"), Options())
    return "one message" if message == "one two three" else f"pieces: {message!r} first"


async def probe_compression(library: Library, address: Address) -> str:
    """permessage-deflate offered, accepted, and undone."""
    options = Options(compression=True)
    message = await first_message(library, address.url("deflate"), options)
    return "yes" if message == "compressed" else message


async def sent_origin(library: Library, address: Address, options: Options) -> str:
    """The Origin that arrived at the server."""
    headers = json.loads(await first_message(library, address.url("headers"), options))
    values = [value for name, value in headers if name.lower() == "origin"]
    return "not sent" if not values else repr(values[0])


async def probe_origin_default(library: Library, address: Address) -> str:
    """No Origin wanted."""
    return await sent_origin(library, address, Options())


async def probe_origin_empty(library: Library, address: Address) -> str:
    """An Origin header without a value wanted."""
    return await sent_origin(library, address, Options(origin=""))


async def probe_keep_alive(library: Library, address: Address) -> str:
    """Pings counted by the server, with the library's keep-alive off and on."""
    counts = []
    for interval in (None, HEARTBEAT):
        url = address.url("pings", seconds=HEARTBEAT_WATCH)
        counts.append(await first_message(library, url, Options(ping_interval=interval)))
    return f"off: {counts[0]} pings, on: {counts[1]}"


async def probe_pongs(library: Library, address: Address) -> str:
    """A ping with a payload of ours."""
    async with library.open(address.url("pings", seconds=1), Options()) as ws:
        return await ws.ping(b"\x00\x01are-you-there")


async def limited(library: Library, url: str) -> str:
    """A message of 4,000 bytes under a limit of 1,000."""
    message = await first_message(library, url, Options(max_size=1000))
    return f"refused {message}" if message.startswith("(") else f"let through {len(message)}"


async def probe_limit(library: Library, address: Address) -> str:
    """In one frame."""
    return await limited(library, address.url("big", n=4000, piece=4000))


async def probe_limit_fragments(library: Library, address: Address) -> str:
    """In small frames."""
    return await limited(library, address.url("big", n=4000, piece=500))


async def probe_status(library: Library, address: Address) -> str:
    """403, 429 and an unexpected 200."""
    answers = []
    for code in (403, 429, 200):
        exc = await failure(library, address.url("status", code=code), Options())
        found = None if exc is None else library.refusal(exc)
        answers.append(f"{type(exc).__name__}{found}" if found else f"{exc!r}")
    return "; ".join(dict.fromkeys(answers))


async def probe_redirect(library: Library, address: Address) -> str:
    """A redirect, with the library's defaults and with redirects switched off."""
    answers = []
    for redirects in (None, False):
        url = address.url("redirect", to="/headers")
        exc = await failure(library, url, Options(redirects=redirects))
        answers.append("followed" if exc is None else f"refused ({type(exc).__name__})")
    return f"default: {answers[0]}; off: {answers[1]}"


async def probe_redials(library: Library, address: Address) -> str:
    """Count the dials of one call when the server hangs up during the handshake."""
    before, started = await hits(library, address, "hang_up"), time.monotonic()
    exc = await failure(library, address.url("hang-up"), Options())
    took = time.monotonic() - started
    dials = await hits(library, address, "hang_up") - before
    outcome = "no error" if exc is None else type(exc).__name__
    return f"{dials} ({outcome} after {took:.1f} s)"


async def probe_token_in_exception(library: Library, address: Address) -> str:
    """Every text that a 403's exception offers."""
    exc = await failure(library, address.url("status", code=403), Options())
    assert exc is not None
    places = {
        "str": str(exc),
        "repr": repr(exc),
        "args": repr(exc.args),
        "attributes": repr(vars(exc)),
        "traceback": "".join(traceback.format_exception(exc)),
    }
    return ", ".join(name for name, text in places.items() if TOKEN in text) or "no"


async def logged_levels(library: Library, address: Address, options: Options) -> str:
    """Levels at which the token was logged during a normal and a refused connection."""
    with all_logging() as records:
        await first_message(library, address.url("headers"), options)
        await failure(library, address.url("status", code=403), options)
    return ", ".join(sorted({level for level, text in records.text if TOKEN in text})) or "no"


async def probe_token_in_logs(library: Library, address: Address) -> str:
    """With the library's own logger, and with a silent one passed in."""
    own = await logged_levels(library, address, Options())
    if own == "no":
        return own
    passed = await logged_levels(library, address, Options(logger=quiet_logger()))
    return f"{own}; with a logger passed in: {passed}"


async def probe_tls(library: Library, address: Address) -> str:
    """With a context that trusts the server, and with the default that does not."""
    url = address.url("headers", tls=True)
    await first_message(library, url, Options(trust=address.trust))
    exc = await failure(library, url, Options())
    return f"context taken; untrusted: {type(exc).__name__}"


async def through_proxy(library: Library, address: Address, scheme: str) -> str:
    """Reach the TLS port through a proxy on the plain one."""
    options = Options(trust=address.trust, proxy=f"{scheme}://localhost:{address.plain}")
    before = await hits(library, address, scheme)
    exc = await failure(library, address.url("headers", tls=True), options)
    if exc is not None:
        return f"no ({type(exc).__name__})"
    if await hits(library, address, scheme) == before:
        return "no (not spoken to the proxy)"
    return "yes"


async def probe_http_proxy(library: Library, address: Address) -> str:
    """HTTP CONNECT."""
    return await through_proxy(library, address, "http")


async def probe_socks_proxy(library: Library, address: Address) -> str:
    """SOCKS5."""
    return await through_proxy(library, address, "socks5")


PROBES: dict[str, Callable[[Library, Address], Awaitable[str]]] = {
    "message in 3 frames": probe_fragments,
    "permessage-deflate": probe_compression,
    "Origin by default": probe_origin_default,
    "empty Origin": probe_origin_empty,
    "keep-alive": probe_keep_alive,
    "pong of our ping": probe_pongs,
    "size limit, one frame": probe_limit,
    "size limit, small frames": probe_limit_fragments,
    "403, 429, 200": probe_status,
    "redirect": probe_redirect,
    "dials per call": probe_redials,
    "token in a 403": probe_token_in_exception,
    "token in logs": probe_token_in_logs,
    "TLS context": probe_tls,
    "HTTP proxy": probe_http_proxy,
    "SOCKS5 proxy": probe_socks_proxy,
}


async def run_probes(address: Address) -> dict[str, dict[str, str]]:
    """Every probe against every library; a probe that breaks says so in its cell."""
    table: dict[str, dict[str, str]] = {}
    for title, probe in PROBES.items():
        row = table[title] = {}
        for library in LIBRARIES:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    row[library.name] = await probe(library, address)
            except Exception as exc:  # noqa: BLE001 - the table shows it
                cause = one_exception(exc)
                row[library.name] = f"{type(cause).__name__}: {cause}".replace(TOKEN, "<token>")
    return table


# --------------------------------------------------------------------------------------- printing


def environment() -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "frame": f"{len(ORDER_FRAME)} bytes",
        **{name: importlib.metadata.version(name) for name in DISTRIBUTIONS},
    }


def show(rows: list[dict[str, Any]], probes: dict[str, dict[str, str]]) -> Iterator[str]:
    """The report, line by line."""
    yield ", ".join(f"{name} {value}" for name, value in environment().items())
    yield ""
    yield f"{'us per frame':28}{'median':>9}{'min':>9}{'max':>9}{'cpu':>9}{'ratio':>8}"
    for row in rows:
        yield (
            f"{row['library']:28}{row['median_us']:9.2f}{row['min_us']:9.2f}"
            f"{row['max_us']:9.2f}{row['cpu_us']:9.2f}{row['ratio']:8.1f}"
        )
    for title, cells in probes.items():
        yield ""
        yield title
        for name, cell in cells.items():
            yield f"    {name:20}{cell}"


def main() -> int:
    """Parse the arguments, measure, probe, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=100_000, help="frames per run")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--no-probes", action="store_true", help="measure the speed only")
    arguments = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # the probes provoke errors
    with loopback_server() as address:
        rows = summarise(measure(address, arguments.frames, arguments.rounds), arguments.frames)
        probes = {} if arguments.no_probes else asyncio.run(run_probes(address))
    for line in show(rows, probes):
        print(line)
    if arguments.json:
        result = {"environment": environment(), "speed": rows, "probes": probes}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
