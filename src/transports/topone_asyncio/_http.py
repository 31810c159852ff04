"""HTTP under asyncio: connections that are dialled as those of the WebSocket are.

TLS is that of the WebSocket, too, on plain TCP: asyncio's own has no TLS within TLS under Python
3.11, which an ``https://`` proxy needs.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Final, cast

from topone_accounts import HttpClient, HttpStream
from topone_asyncio._dial import abort, dial_tcp, find_context, find_proxy
from topone_proto import ConnectionFailed
from topone_proto.adapters import HttpEndpoint, Proxy, Tunnel, failure_from_exception
from topone_websockets import Tls

__all__ = ["open_http"]

# Bytes that may wait to be read before asyncio reads no more.
_PILE: Final = 2**18


def open_http(endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None = None) -> HttpClient:
    """Return a client for the exchange's HTTP API. Nothing is dialled before the first request.

    Args:
        endpoint: where to ask.
        ssl_context: for a private CA; the default checks certificates against the system's.
    """
    return HttpClient(endpoint, partial(_dial, ssl_context=ssl_context))


class _Stream(asyncio.Protocol):
    """A TCP connection, with as many layers of TLS as it is given."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        # What came, as the peer of the innermost layer sent it; b"" is the end.
        self._unread: deque[bytes] = deque()
        self._layers: list[Tls] = []
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._piled = 0

    # The transport's.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._piled += len(data)
        if self._piled > _PILE and self._transport is not None:
            self._transport.pause_reading()
        self._take_in(data)

    def eof_received(self) -> None:
        self._take_in(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._error = self._error or exc
        if not self._closed.done():
            self._closed.set_result(None)
        self._wake()

    def _take_in(self, data: bytes) -> None:
        try:
            self._unread.extend(_through(self._layers, (data,)))
        except ssl.SSLError as error:
            # Without a traceback it makes no cycle with this frame.
            self._error = self._error or error.with_traceback(None)
        self._send(b"")
        self._wake()

    # The client's.

    async def read(self, max_bytes: int) -> bytes:  # noqa: ARG002 - a record of TLS or a read of asyncio is not too much
        while not self._unread:
            if self._error is not None:
                raise self._error
            if self._closed.done():
                return b""
            self._piled = 0
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._unread.popleft()
        if not data:
            self._unread.append(data)
            for tls in self._layers:
                if tls.error is not None:
                    raise tls.error
        return data

    async def write(self, data: bytes) -> None:
        if self._error is not None:
            raise self._error
        self._send(data)

    def add_tls(self, context: ssl.SSLContext | None, name: str) -> None:
        assert context is not None  # as for every endpoint with TLS
        self._layers.append(Tls(context, name))
        self._send(b"")

    def has_news(self) -> bool:
        return bool(self._unread) or self._error is not None or self._closed.done()

    def abort(self) -> None:
        if self._transport is not None:
            abort(self._transport)

    async def aclose(self) -> None:
        self.abort()
        # One turn is enough. The end of a transport may never be reported: uvloop does not.
        await asyncio.sleep(0)

    def _send(self, data: bytes) -> None:
        for tls in reversed(self._layers):
            data = tls.to_send(data)
        # asyncio complains about a write after the end.
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _through(layers: Iterable[Tls], pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Return the plain text within these bytes."""
    for tls in layers:
        pieces = chain.from_iterable(map(tls.receive, pieces))
    return pieces


async def _dial(endpoint: HttpEndpoint, *, ssl_context: ssl.SSLContext | None) -> HttpStream:
    proxy: Proxy | None = None
    try:
        proxy = await find_proxy(endpoint)
        context = ssl_context or await find_context(endpoint)
        there = endpoint if proxy is None else proxy
        stream = await _connect(there.host, there.port)
        try:
            if proxy is not None:
                await _open_tunnel(stream, proxy, endpoint, context)
                proxy = None
            if endpoint.is_tls:
                stream.add_tls(context, endpoint.server_name)
        except BaseException:
            await stream.aclose()
            raise
    except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
        failure = failure_from_exception(error)
        is_said = isinstance(error, ConnectionFailed)
    else:
        return stream
    raise ConnectionFailed(failure if proxy is None or is_said else proxy.blamed(failure))


async def _connect(host: str, port: int) -> _Stream:
    stream = _Stream()
    sock = await dial_tcp(host, port)
    try:
        await asyncio.get_running_loop().create_connection(lambda: stream, sock=sock)
    except BaseException:
        stream.abort()
        sock.close()
        raise
    return stream


async def _open_tunnel(
    stream: _Stream, proxy: Proxy, endpoint: HttpEndpoint, context: ssl.SSLContext | None
) -> None:
    if proxy.is_tls:
        stream.add_tls(context, proxy.server_name)
    tunnel = Tunnel(proxy, endpoint)
    # A proxy that refuses may have answered already, and hung up.
    with suppress(OSError):
        await stream.write(tunnel.request())
    is_there = False
    while not is_there:
        is_there = tunnel.receive(await stream.read(_PILE))
