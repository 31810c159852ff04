"""A WebSocket as the feed wants it, and the one it gets by default.

All that knows sockets is here.
"""

import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from selectors import EVENT_WRITE, DefaultSelector
from types import TracebackType
from typing import Final, ParamSpec, Protocol, Self

from topone_proto import (
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    failure_from_exception,
)
from topone_websockets import WebSocketClient

__all__ = ["OpenWebSocket", "WebSocket", "open_websocket"]

_P = ParamSpec("_P")

# Bytes to take from the socket at once.
_CHUNK: Final = 65536

# RFC 8305 section 5, "Connection Attempt Delay": seconds until the next address is tried as well.
_HEAD_START: Final = 0.25


class WebSocket(Protocol):
    """A WebSocket, from before its dial to its end.

    Once it is no longer open, every method but ``close`` and ``abort`` raises
    ``topone_proto.ConnectionEnded``. One thread receives, another one sends and closes.
    """

    def __enter__(self) -> Self:
        """Dial. A dial that fails raises ``topone_proto.ConnectionFailed``, or any exception that
        ``topone_proto.failure_from_exception`` can tell from others."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        """Drop the connection, and return when nothing is left of it."""
        ...

    def receive(self) -> str | bytes:
        """The next message, whole. Pings of the peer are answered on the way."""
        ...

    def send_text(self, text: str) -> None:
        """Send a text message."""
        ...

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return; its pong is reported to the ``on_pong`` of
        ``open_websocket``."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's. The caller bounds the time, by ``abort``."""
        ...

    def abort(self) -> None:
        """Drop the connection, from any thread and at any time, before and during the dial as well.

        Returns at once. Whatever waits in other threads raises then.
        """
        ...


OpenWebSocket = Callable[[Connect, Callable[[bytes], object]], WebSocket]
"""``open_websocket(connect, on_pong)``: a WebSocket that dials as ``connect`` says when its
``with`` block is entered. It may call ``on_pong`` from any thread, but not within ``abort``."""


class _SyncWebSocket:
    def __init__(
        self,
        connect: Connect,
        on_pong: Callable[[bytes], object],
        ssl_context: ssl.SSLContext | None,
        on_ping: Callable[[bytes], object],
    ) -> None:
        self._connect = connect
        # Made by the dial: certificates take their time to load.
        self._make_client = partial(
            WebSocketClient, connect, on_pong, on_ping, ssl_context=ssl_context
        )
        # What ``abort`` acts on: second descriptors, since no thread may close what another uses.
        self._held: list[socket.socket] = []
        self._is_aborted = False
        self._lock = threading.Lock()
        # One thread at a time receives, one sends, and one has the client.
        self._receiving = threading.Lock()
        self._sending = threading.Lock()
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        client: WebSocketClient | None = None
        with ExitStack() as undo:
            undo.callback(self._let_go)
            try:
                client = self._make_client()
                self._socket = self._open(client)
            except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
                failure = client.failure(error) if client else failure_from_exception(error)
            else:
                undo.pop_all()
                self._client, self._unread = client, client.unread
                # More than the handshake may have come with it.
                self._answer()
                return self
        # Out here, where it has no context.
        raise ConnectionFailed(failure)

    def __exit__(self, *_: object) -> None:
        self.abort()
        self._socket.close()
        self._let_go()

    def receive(self) -> str | bytes:
        while not self._unread:
            with self._receiving:
                # A thread that closes may have received it.
                if not self._unread:
                    self._pump()
        return self._unread.popleft()

    def send_text(self, text: str) -> None:
        self._send(self._client.send_text, text)

    def send_ping(self, payload: bytes) -> None:
        self._send(self._client.send_ping, payload)

    def close(self, code: int, reason: str) -> None:
        with suppress(ConnectionEnded):
            self._send(self._client.close, code, reason)
            while True:
                with self._receiving:
                    self._pump()

    def abort(self) -> None:
        with self._lock:
            self._is_aborted = True
            for held in self._held:
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)

    def _pump(self) -> None:
        """Take in what the peer sends next."""
        if (end := self._client.end()) is not None:
            raise end
        try:
            data = self._socket.recv(_CHUNK)
        except OSError:
            data = b""
        with self._turn:
            self._client.receive(data)
        self._answer()

    def _answer(self) -> None:
        """Send what follows from what was received, which counts even if that does not arrive.

        Nor does it wait for a thread that is sending: that looks again when it is done.
        """
        while self._client.has_to_send and self._sending.acquire(blocking=False):
            try:
                self._send_waiting()
            except OSError:
                return
            finally:
                self._sending.release()

    def _send(self, put: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        with self._turn:
            put(*args, **kwargs)
        try:
            while self._client.has_to_send:
                with self._sending:
                    self._send_waiting()
        except OSError:
            end = self._client.end() or ConnectionEnded()
        else:
            return
        raise end

    def _send_waiting(self) -> None:
        with self._turn:
            data = self._client.to_send()
        if data:
            self._socket.sendall(data)

    def _open(self, client: WebSocketClient) -> socket.socket:
        """Dial, and shake hands."""
        until = time.monotonic() + self._connect.timeout
        sock = self._dial_tcp(until)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not client.is_connected:
                sock.settimeout(_left(until))
                if data := client.to_send():
                    sock.sendall(data)
                sock.settimeout(_left(until))
                try:
                    client.receive(sock.recv(_CHUNK))
                except ConnectionFailed:
                    # An alert, perhaps.
                    with suppress(OSError):
                        sock.sendall(client.to_send())
                    raise
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock

    def _dial_tcp(self, until: float) -> socket.socket:
        """What ``socket.create_connection`` does, but so that ``abort`` can interrupt it, and that
        an address which does not answer holds no other up."""
        endpoint = self._connect.endpoint
        found = deque(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM))
        errors: list[OSError] = []
        with DefaultSelector() as selector, ExitStack() as attempts:
            while found or selector.get_map():
                if found:
                    family, kind, protocol, _, address = found.popleft()
                    try:
                        sock = attempts.enter_context(socket.socket(family, kind, protocol))
                        sock.settimeout(0)
                        with suppress(BlockingIOError):
                            sock.connect(address)
                    except OSError as error:
                        errors.append(error)
                        continue
                    # Only a socket that is connecting already can be interrupted.
                    self._hold(sock)
                    selector.register(sock, EVENT_WRITE, sock)
                patience = until - time.monotonic()
                if patience <= 0:
                    errors.append(TimeoutError())
                    break
                for key, _ in selector.select(min(patience, _HEAD_START) if found else patience):
                    sock = key.data
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not number:
                        self._let_go()
                        self._hold(sock)
                        sock.settimeout(None)
                        # Out of reach of the stack, which closes all others.
                        return socket.socket(fileno=sock.detach())
                    errors.append(OSError(number, os.strerror(number)))
                    selector.unregister(sock)
        raise ExceptionGroup("no address could be reached", errors)

    def _hold(self, sock: socket.socket) -> None:
        """Have ``abort`` act on this socket as well from now on."""
        with self._lock:
            if self._is_aborted:
                raise ConnectionAbortedError
            self._held.append(sock.dup())

    def _let_go(self) -> None:
        with self._lock:
            while self._held:
                self._held.pop().close()


def _left(until: float) -> float:
    """Seconds for ``settimeout``, which takes 0 for leave not to wait at all."""
    return max(until - time.monotonic(), 0.001)


def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
    on_ping: Callable[[bytes], object] = bytes,
) -> WebSocket:
    """Dial with websockets. It sends no pings of its own, follows no redirect, adds no ``Origin``.

    ``on_ping`` is told of the server's ping frames, which are answered all the same.

    It dials directly: a proxy that the environment names (``HTTPS_PROXY``) is not used, since
    a dial through one could not be interrupted.
    """
    return _SyncWebSocket(connect, on_pong, ssl_context, on_ping)
