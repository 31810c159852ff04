"""A WebSocket for a ``CallbackDriver``, over any connection that moves bytes."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from topone_proto import Connect, ConnectionEnded, ConnectionFailed
from topone_proto.adapters import Dial, Link
from topone_websockets._client import WebSocketClient
from topone_websockets._proxy import proxy_for

__all__ = ["ByteStream", "StreamLink", "over_streams"]


class ByteStream(Protocol):
    """One TCP connection of a framework, from its dial on."""

    def write(self, data: bytes) -> object:
        """Send bytes, after those of the calls before. Does nothing on a connection that has ended:
        its end is reported after what was received before."""
        ...

    def abort(self) -> object:
        """End the dial or the connection, whichever there is, and release what it holds. Called
        once it has ended in any other way, too, and again if a dial succeeds after it."""
        ...


class StreamLink:
    """The reports of one TCP connection. Each method is a callback for the framework. TLS, a proxy,
    the handshake and the frames are all in here."""

    def __init__(
        self,
        connect: Connect,
        link: Link,
        open_stream: "Callable[[StreamLink], ByteStream]",
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        proxy = proxy_for(connect.endpoint)
        self._link = link
        self._client = WebSocketClient(
            connect, link.pong_received, ssl_context=ssl_context, proxy=proxy
        )
        self.address: tuple[str, int] = self._client.address
        """The host and the port to dial, those of a proxy if there is one."""
        self.timeout: float = connect.timeout
        """Seconds that the dial may take. The session gives it up then; this is for whoever needs a
        number."""
        self._is_made = self._is_aborted = False
        self._stream: ByteStream | None = None
        self._stream = open_stream(self)
        if self._is_made:
            self._flush()

    def connection_made(self) -> None:
        """The TCP connection is open."""
        if self._is_aborted:
            self.abort()
            return
        self._is_made = True
        self._flush()

    def bytes_received(self, data: bytes) -> None:
        """Take in what came; ``b""`` is the end of the stream."""
        if self._is_aborted:
            return
        client, link = self._client, self._link
        if data:
            link.bytes_received()
        try:
            client.receive(data)
        except ConnectionFailed as failed:
            # The peer may be told why.
            self._flush()
            link.connection_failed(failed)
            return
        if client.is_connected and not link.is_open:
            link.connection_made()
        while client.unread:
            link.message_received(client.unread.popleft())
        self._flush()
        end = client.end()
        if end is not None:
            link.connection_lost(end.code, end.reason)

    def connection_lost(self, error: Exception | None = None) -> None:
        """The dial has failed, or the connection has ended; see ``bytes_received`` for the end of
        what the peer sends."""
        if not self._is_made:
            self._link.connection_failed(self._client.failure(error or OSError()))
        elif error is not None and not self._client.is_connected:
            self._link.connection_failed(self._client.failure(error))
        else:
            self.bytes_received(b"")

    # Of the driver.

    def send_text(self, text: str) -> None:
        """Send a text message."""
        with suppress(ConnectionEnded):
            self._client.send_text(text)
        self._flush()

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame."""
        with suppress(ConnectionEnded):
            self._client.send_ping(payload)
        self._flush()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame."""
        self._client.close(code, reason)
        self._flush()

    def abort(self) -> None:
        """End it."""
        self._is_aborted = True
        if self._stream is not None:
            self._stream.abort()

    def _flush(self) -> None:
        # What there is to send may be the end of the stream alone, which is no bytes.
        if self._stream is not None and not self._is_aborted and (data := self._client.to_send()):
            self._stream.write(data)


def over_streams(
    open_stream: Callable[[StreamLink], ByteStream], *, ssl_context: ssl.SSLContext | None = None
) -> Dial:
    """Return a ``dial`` for a ``CallbackDriver``, made of something that opens TCP connections.

    Args:
        open_stream: starts to connect to ``link.address`` and returns the stream, which tells the
            link what becomes of it. An ``OSError`` that it raises is a dial that failed.
        ssl_context: for a private CA.

    >>> driver = CallbackDriver(session, dial=over_streams(Stream), clock=monotonic, on_event=print)
    """

    def dial(connect: Connect, link: Link) -> StreamLink:
        return StreamLink(connect, link, open_stream, ssl_context)

    return dial
