"""HTTP under trio: connections that are dialled as those of the WebSocket are."""

import selectors
import ssl
from functools import partial
from typing import cast

import trio

from topone_accounts import HttpClient, HttpStream
from topone_proto import ConnectionFailed, Failure
from topone_proto.adapters import HttpEndpoint
from topone_trio._dial import dial

__all__ = ["open_http"]


def open_http(endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None = None) -> HttpClient:
    """Return a client for the exchange's HTTP API. Nothing is dialled before the first request.

    Args:
        endpoint: where to ask.
        ssl_context: for a private CA; the default checks certificates against the system's.
    """
    return HttpClient(endpoint, partial(_dial, ssl_context=ssl_context))


async def _dial(endpoint: HttpEndpoint, *, ssl_context: ssl.SSLContext | None) -> HttpStream:
    stream = await dial(endpoint, ssl_context)
    if isinstance(stream, Failure):
        raise ConnectionFailed(stream)
    return _Stream(stream)


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType:
    if isinstance(stream, trio.SSLStream):
        return _socket_of(cast("trio.SSLStream[trio.abc.Stream]", stream).transport_stream)
    assert isinstance(stream, trio.SocketStream)  # as dialled
    return stream.socket


class _Stream:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._socket = _socket_of(stream)

    async def read(self, max_bytes: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError from error

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError from error

    def has_news(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))

    def abort(self) -> None:
        self._socket.close()

    async def aclose(self) -> None:
        self.abort()
        await trio.lowlevel.checkpoint()
