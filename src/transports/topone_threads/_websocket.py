"""A WebSocket as the feed wants it, and the one it gets by default.

All that knows websockets is here.
"""

import logging
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
from typing import Final, ParamSpec, Protocol, Self, TypeVar

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import Event
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

from topone_proto import (
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Failure,
    failure_from_exception,
    failure_from_response,
)

__all__ = ["OpenWebSocket", "WebSocket", "open_websocket"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# websockets writes whole URLs, tokens included, at level DEBUG.
_quiet: Final = logging.Logger("quiet")  # noqa: LOG001 - nobody can find it and switch it on
_quiet.disabled = True


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
        self._on_pong = on_pong
        self._on_ping = on_ping
        self._ssl_context = ssl_context
        self._stack = ExitStack()
        # What ``abort`` acts on, second descriptors: the first one of the socket that connected is
        # owned by websockets, which hides it behind TLS.
        self._held: list[socket.socket] = []
        self._is_aborted = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        try:
            self._connection = self._stack.enter_context(self._dial())
        except Exception as error:  # noqa: BLE001 - some have the URL in their text, so none gets out
            self._let_go()
            failure = _failure_of(error)
        else:
            # As bytes: the core checks UTF-8 itself.
            self._receive = partial(self._connection.recv, decode=False)
            return self
        # Out here, where it has no context that would show the other.
        raise ConnectionFailed(failure)

    def __exit__(self, *_: object) -> None:
        # After an abort, websockets has nobody to wait for but its own thread.
        self.abort()
        self._stack.close()
        self._let_go()

    def receive(self) -> str | bytes:
        return self._until_the_end(self._receive)

    def send_text(self, text: str) -> None:
        self._until_the_end(self._connection.send, text)

    def send_ping(self, payload: bytes) -> None:
        self._until_the_end(self._connection.ping, payload)

    def close(self, code: int, reason: str) -> None:
        self._connection.close(code, reason)

    def abort(self) -> None:
        with self._lock:
            self._is_aborted = True
            for held in self._held:
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)

    def _until_the_end(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except ConnectionClosed as closed:
            end = _end_of(closed)
        raise end

    def _dial(self) -> ClientConnection:
        connect, on_close = self._connect, self.abort
        on_pong, on_ping = self._on_pong, self._on_ping

        class Connection(ClientConnection):
            def process_event(self, event: Event) -> None:
                super().process_event(event)
                if isinstance(event, Frame):
                    if event.opcode is Opcode.PONG:
                        on_pong(bytes(event.data))
                    elif event.opcode is Opcode.PING:
                        on_ping(bytes(event.data))
                    elif event.opcode is Opcode.CLOSE:
                        # It has been answered, or is the answer. websockets would wait for the
                        # peer's end of TCP, for as long as that takes.
                        on_close()

        return connect_websocket(
            connect.url(),
            sock=self._dial_tcp(),
            ssl=self._ssl_context if connect.endpoint.is_tls else None,
            additional_headers=connect.endpoint.headers,
            user_agent_header=None,
            compression=None,
            open_timeout=connect.timeout,
            ping_interval=None,
            close_timeout=connect.timeout,
            max_size=connect.max_frame_size,
            logger=_quiet,
            create_connection=Connection,
        )

    def _dial_tcp(self) -> socket.socket:
        """What ``socket.create_connection`` does, but so that ``abort`` can interrupt it, and that
        an address which does not answer holds no other up."""
        endpoint = self._connect.endpoint
        until = time.monotonic() + self._connect.timeout
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


def _end_of(closed: ConnectionClosed) -> ConnectionEnded:
    if closed.rcvd is not None:
        return ConnectionEnded(closed.rcvd.code, closed.rcvd.reason)
    if closed.sent is not None:
        # websockets gave up, since it could not take what the peer sent, and says why.
        return ConnectionEnded(None, closed.sent.reason or str(closed.sent))
    return ConnectionEnded()


def _failure_of(error: Exception) -> Failure:
    # A redirect comes as the context of the refusal to follow it.
    for cause in (error, error.__context__):
        if isinstance(cause, InvalidStatus):
            response = cause.response
            return failure_from_response(response.status_code, response.headers.raw_items())
    return failure_from_exception(error)


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
