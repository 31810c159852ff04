"""Probe how the WebSocket client libraries behave that could carry the exchange's frames.

Small probes, against a loopback server in a process of its own, of what a private, token-carrying
stream needs from an asyncio library: fragments, compression, ``Origin``, pings, limits, redirects,
proxies, and whether the token that stands in the URL can reach a log line or an exception. What a
frame costs in each is measured by ``python -m benchmarks adapters``.

Run from the repository's root::

    python -m benchmarks.websocket_libraries [--json FILE]

It needs aiohttp, picows, websockets, trustme and typing-extensions.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import socket
import ssl
import struct
import tempfile
import time
import traceback
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import picows
import picows.websockets
import trustme
import websockets.asyncio.client
import websockets.exceptions
from typing_extensions import override

from benchmarks.loopback import (
    BLOCK_BYTES,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    TOKEN,
    LoopbackServer,
    Request,
    encode_frame,
    read_frame,
    server_ports,
)
from benchmarks.machine import versions_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

DISTRIBUTIONS = ("aiohttp", "picows", "aiofastnet", "websockets")

PROBE_TIMEOUT = 15.0
HEARTBEAT = 0.1
HEARTBEAT_WATCH = 0.6


# ------------------------------------------------------------------------------------ the server


class ProbeServer(LoopbackServer):
    """The scenes of the probes, and a proxy."""

    @override
    async def answer(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A WebSocket handshake, or a proxy's CONNECT or SOCKS5."""
        if first == b"\x05":
            await self.socks5(reader, writer)
        else:
            await super().answer(first, reader, writer)

    @override
    async def play(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """CONNECT is a scene of its own."""
        if request.method != "CONNECT":
            await super().play(request, reader, writer)
            return
        self.hits["http"] += 1
        host, _, port = request.target.rpartition(":")
        established = b"HTTP/1.1 200 Connection established\r\n\r\n"
        await self.tunnel(host, int(port), reader, writer, established)

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


@dataclass(frozen=True)
class Address:
    """The address of the loopback server."""

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
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            str(certificate)
        )
        with server_ports(ProbeServer, str(certificate)) as (plain, tls):
            yield Address(plain, tls, trust)


# ------------------------------------------------------------------------------------- behaviour


@dataclass(frozen=True)
class Options:
    """Options that a probe may ask of a library; ``None`` leaves the library's default alone."""

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
        ...

    async def ping(self, payload: bytes) -> str:
        """Send a ping, wait for its pong, and say how the caller learnt of it."""
        ...


class Library(Protocol):
    """One way to open a WebSocket."""

    name: str

    def open(self, url: str, options: Options) -> contextlib.AbstractAsyncContextManager[Socket]:
        """Open a connection for the length of a block."""
        ...

    def refusal(self, exc: BaseException) -> tuple[int, str | None] | None:
        """Status and Retry-After that an exception carries."""
        ...


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
        """Pass all that the layer does not name on to picows."""
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
    """Return the number of times that the server has played a scene."""
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


def show(probes: dict[str, dict[str, str]]) -> Iterator[str]:
    """The report, line by line."""
    yield ", ".join(f"{name} {value}" for name, value in versions_of(DISTRIBUTIONS).items())
    for title, cells in probes.items():
        yield ""
        yield title
        for name, cell in cells.items():
            yield f"    {name:20}{cell}"


def main() -> None:
    """Parse the arguments, probe, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # the probes provoke errors
    with loopback_server() as address:
        probes = asyncio.run(run_probes(address))
    for line in show(probes):
        print(line)
    if arguments.json:
        result = {"versions": versions_of(DISTRIBUTIONS), "probes": probes}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
