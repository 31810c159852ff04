"""The server that the benchmarks measure against: RFC 6455 by hand, in a process of its own.

It writes frames that it encoded beforehand. How fast that is, a client that is only a socket shows:
what comes near it waits for the server. What it plays on a connection is named by the path of the
request (``scene_…``).
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import multiprocessing
import signal
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

from benchmarks.frames import ORDER_FRAME, fills, order_frames
from benchmarks.machine import apart_from

# Stands in for an API token.
TOKEN = "topapi:do-not-print-me"

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
BLOCK_BYTES = 64 * 1024
Query = dict[str, str]


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


def burst(count: int) -> Iterator[bytes]:
    """So many order updates on the wire, in blocks of about 64 KiB."""
    per_block = BLOCK_BYTES // (len(ORDER_FRAME) + 4)
    if count >= per_block:
        block = b"".join(map(encode_frame, order_frames(per_block)))
        yield from repeat(block, count // per_block)
    yield b"".join(map(encode_frame, order_frames(count % per_block)))


class LoopbackServer:
    """Plays the scene that the path of the request names (see the ``scene_…`` methods)."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.gate = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one TCP connection."""
        try:
            await self.answer(await reader.readexactly(1), reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # clients are free to leave in the middle of a scene
        finally:
            writer.close()

    async def answer(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read a request, of which the first byte is known, and play its scene."""
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        method, target, _ = request_line.split(" ", 2)
        headers = [(k, v.strip()) for k, _, v in (ln.partition(":") for ln in lines if ln)]
        await self.play(Request(method, target, headers), reader, writer)

    async def play(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Play the scene that the request names."""
        url = urlsplit(request.target)
        name = url.path.strip("/").replace("-", "_")
        self.hits[name] += 1
        scene = getattr(self, f"scene_{name}", self.scene_nothing)
        await scene(request, reader, writer, {k: v[0] for k, v in parse_qs(url.query).items()})

    @staticmethod
    async def finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Close the WebSocket, wait for the client's answer; TCP is the server's to close."""
        writer.write(encode_frame(struct.pack("!H", 1000), CLOSE))
        await writer.drain()
        while (await read_frame(reader))[0] != CLOSE:
            pass

    @staticmethod
    async def subscribed(
        request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Shake hands, wait for the request of a subscription, acknowledge it."""
        writer.write(request.accept())
        asked = json.loads((await read_frame(reader))[1])
        ack = {"id": asked["id"], "method": asked["method"], "code": 0, "msg": "", "ts": 1}
        writer.write(encode_frame(json.dumps(ack).encode()))
        await writer.drain()

    async def scene_burst(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: Query,
    ) -> None:
        """Send ``n`` order updates as fast as the socket takes them."""
        blocks = list(burst(int(query["n"])))
        await self.subscribed(request, reader, writer)
        if "held" in query:
            await self.gate.wait()
        await self.send(blocks, reader, writer)

    async def scene_fills(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: Query,
    ) -> None:
        """Send ``n`` updates of orders of which more and more is filled, once they are let go."""
        frames = [encode_frame(frame) for frame in fills(int(query["n"]))]
        blocks = [b"".join(frames[at : at + 200]) for at in range(0, len(frames), 200)]
        await self.subscribed(request, reader, writer)
        await self.gate.wait()
        await self.send(blocks, reader, writer)

    async def send(
        self, blocks: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send them as fast as the socket takes them."""
        for block in blocks:
            writer.write(block)
            await writer.drain()
        await self.listen(reader, writer)

    async def scene_singles(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        query: Query,
    ) -> None:
        """Send ``n`` order updates one by one. The ``ts`` of each is the time of sending it, in
        nanoseconds on the monotonic clock that all processes of a machine share."""
        await self.subscribed(request, reader, writer)
        head, _, tail = ORDER_FRAME.partition(b"1561948335075")
        for _ in range(int(query["n"])):
            await asyncio.sleep(0.001)
            stamp = b"%d" % time.monotonic_ns()
            writer.write(encode_frame(head + stamp + tail))
        await self.listen(reader, writer)

    async def scene_idle(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: Query,
    ) -> None:
        """Acknowledge the subscription, then send nothing but pongs."""
        await self.subscribed(request, reader, writer)
        await self.listen(reader, writer)

    @staticmethod
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer pings until the client closes."""
        opcode = TEXT
        while opcode != CLOSE:
            opcode, payload = await read_frame(reader)
            if opcode in {PING, CLOSE}:
                writer.write(encode_frame(payload, PONG if opcode == PING else CLOSE))

    async def scene_nothing(
        self,
        _request: Request,
        _reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: Query,
    ) -> None:
        """Answer a question about an account: it has nothing. Plain HTTP."""
        body = b'{"code":0,"data":{"list":[],"total":0}}'
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)

    async def scene_release(
        self,
        _request: Request,
        _reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _query: Query,
    ) -> None:
        """Let the bursts that are held begin, all at once. Plain HTTP."""
        self.gate.set()
        self.gate = asyncio.Event()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


async def run_server(pipe: Connection, kind: type[LoopbackServer], certificate: str | None) -> None:
    """Listen on a plain port, perhaps on one with TLS, and tell the parent their numbers."""
    loopback = kind()
    contexts: list[ssl.SSLContext | None] = [None]
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        contexts.append(context)
    ports = []
    for tls in contexts:
        server = await asyncio.start_server(
            loopback.serve, "127.0.0.1", 0, ssl=tls, backlog=socket.SOMAXCONN
        )
        ports.append(server.sockets[0].getsockname()[1])
    pipe.send(ports)
    await asyncio.to_thread(pipe.poll, None)  # the parent closes its end when it is done


def server_process(pipe: Connection, kind: type[LoopbackServer], certificate: str | None) -> None:
    """Entry point of the server's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it, without a traceback
    asyncio.run(run_server(pipe, kind, certificate))


@contextlib.contextmanager
def server_ports(kind: type[LoopbackServer], certificate: str | None = None) -> Iterator[list[int]]:
    """Run a server in another process for the length of a ``with`` block, on a processor of its own
    if there are several."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=server_process, args=(theirs, kind, certificate), daemon=True)
    process.start()
    theirs.close()
    try:
        ports = ours.recv()
        with apart_from(process.pid):
            yield ports
    finally:
        ours.close()
        process.terminate()
        process.join()


def url_of(port: int, scene: str, **query: object) -> str:
    """The URL of a scene, without the token."""
    fields = "&".join(f"{name}={value}" for name, value in query.items())
    return f"ws://127.0.0.1:{port}/{scene}?{fields}"


def release(port: int) -> None:
    """Let the bursts begin that a server holds."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /release HTTP/1.1\r\n\r\n")
        assert sock.recv(100)
