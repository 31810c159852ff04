"""HTTP for an account: AnyIO dials, with proxies and TLS as for the WebSocket; `topone_accounts`
asks."""

import selectors
import socket
import ssl
from contextlib import suppress
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from topone_accounts import HttpClient, HttpStream
from topone_proto import ConnectionFailed
from topone_proto.adapters import HttpEndpoint, Proxy, Tunnel, failure_from_exception
from topone_websockets import default_context, proxy_for


def open_http(endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None = None) -> HttpClient:
    return HttpClient(endpoint, partial(dial, ssl_context=ssl_context))


async def dial(endpoint: HttpEndpoint, *, ssl_context: ssl.SSLContext | None) -> HttpStream:
    stream: Stream | None = None
    proxy: Proxy | None = None
    try:
        proxy = proxy_for(endpoint)
        host, port = (endpoint.host, endpoint.port) if proxy is None else (proxy.host, proxy.port)
        stream = Stream(await anyio.connect_tcp(host, port))
        if proxy is not None:
            await open_tunnel(stream, proxy, endpoint, ssl_context)
            proxy = None
        if endpoint.is_tls:
            await stream.start_tls(endpoint.server_name, ssl_context)
    except BaseException as error:
        if stream is not None:
            await stream.aclose()
        if not isinstance(error, Exception) or isinstance(error, ConnectionFailed):
            raise
        failure = failure_from_exception(error)
    else:
        return stream
    raise ConnectionFailed(failure if proxy is None else proxy.blamed(failure))


async def open_tunnel(
    stream: "Stream", proxy: Proxy, endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None
) -> None:
    if proxy.is_tls:
        await stream.start_tls(proxy.server_name, ssl_context)
    tunnel = Tunnel(proxy, endpoint)
    # A proxy that refuses may have answered already, and hung up.
    with suppress(OSError):
        await stream.write(tunnel.request())
    while not tunnel.receive(await stream.read(65536)):
        pass


class Stream:
    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)

    async def start_tls(self, name: str, ssl_context: ssl.SSLContext | None) -> None:
        try:
            self._stream = await TLSStream.wrap(
                self._stream,
                hostname=name,
                ssl_context=ssl_context or default_context(),
                standard_compatible=False,
            )
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            raise ConnectionResetError from None

    async def read(self, max_bytes: int) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ConnectionResetError from None

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ConnectionResetError from None

    def has_news(self) -> bool:
        # AnyIO reads only while somebody waits for it, so what has come is in the socket still.
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))

    def abort(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def aclose(self) -> None:
        await anyio.aclose_forcefully(self._stream)
