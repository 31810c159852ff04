"""One WebSocket, as its client sees it."""

import logging
import re
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from topone_proto import (
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Failure,
    failure_from_exception,
    failure_from_response,
)
from topone_websockets._tls import Tls

__all__ = ["WebSocketClient"]

# websockets writes whole URLs, tokens included, at level DEBUG.
_quiet: Final = logging.Logger("quiet")  # noqa: LOG001 - nobody can find it and switch it on
_quiet.disabled = True


# More is not needed of an answer that is none.
_START: Final = 64
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)[ \r\n]")


class WebSocketClient:
    """From the handshake to the end of one connection, TLS included: give it a plain TCP connection
    for ``wss://``, too.

    Nothing here waits. After every call but ``end`` there may be something ``to_send``. One call at
    a time: threads need a lock around it.

    Args:
        connect: where to dial and as whom. No header goes out but what a handshake needs, and those
            of the endpoint.
        on_pong: is told the payload of each of the peer's pongs, once a ping was sent.
        on_ping: is told the payload of each of the peer's pings, which are answered all the same.
        ssl_context: for a private CA; the default checks certificates against the system's.
    """

    def __init__(
        self,
        connect: Connect,
        on_pong: Callable[[bytes], object],
        on_ping: Callable[[bytes], object] = bytes,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.unread: deque[bytes] = deque()
        """Whole messages, the oldest first, for the adapter to take. Text comes as bytes, too: the
        core checks UTF-8 itself."""
        endpoint = connect.endpoint
        self._protocol = ClientProtocol(
            parse_uri(connect.url()), max_size=connect.max_frame_size, logger=_quiet
        )
        self._tls = (
            Tls(ssl_context or ssl.create_default_context(), endpoint.host)
            if endpoint.is_tls
            else None
        )
        self._on_pong = on_pong
        self._on_ping = on_ping
        self._has_pinged = False
        self._fragments: list[bytes] = []
        self._start = b""
        request = self._protocol.connect()
        request.headers.update(endpoint.headers)
        self._protocol.send_request(request)

    @property
    def is_connected(self) -> bool:
        """True once the handshake is done, and ever after."""
        protocol = self._protocol
        return protocol.state is not State.CONNECTING and protocol.handshake_exc is None

    @property
    def has_to_send(self) -> bool:
        """False if there is nothing ``to_send``."""
        tls = self._tls
        return bool(self._protocol.writes) or (tls is not None and tls.has_to_send)

    def to_send(self) -> bytes:
        """What has to go out now; empty if nothing has. Pass it straight on, and keep it in no
        variable: the first of it has the token in it."""
        data = b"".join(self._protocol.data_to_send())
        return data if self._tls is None else self._tls.to_send(data)

    def receive(self, data: bytes | bytearray) -> None:
        """Take in what the peer has sent; ``b""`` says that no more will come.

        Raises:
            ConnectionFailed: TLS or the handshake has come to nothing. The peer may be told why, by
                what there is ``to_send``. Never once it ``is_connected``: ask ``end`` then.
        """
        tls = self._tls
        if tls is None:
            return self._receive(data)
        try:
            for plain in tls.receive(data):
                self._receive(plain)
        except ssl.SSLError as error:
            failure = failure_from_exception(error)
        else:
            return None
        raise ConnectionFailed(failure)

    def failure(self, error: Exception) -> Failure:
        """What it means that a dial ended with this error: first of all what the peer had answered
        by then, for one that refuses may hang up at once."""
        if not isinstance(error, ConnectionFailed):
            try:
                self.receive(b"")
            except ConnectionFailed as refused:
                if refused.failure.status is not None:
                    return refused.failure
        return failure_from_exception(error)

    def end(self) -> ConnectionEnded | None:
        """How the connection ended, for the adapter to raise when nothing is ``unread`` any more;
        None if something may still come."""
        protocol = self._protocol
        if protocol.close_rcvd is not None:
            return ConnectionEnded(int(protocol.close_rcvd.code), protocol.close_rcvd.reason)
        match protocol.parser_exc:
            case None:
                return None
            case EOFError():
                return ConnectionEnded()
            case error:
                # websockets gave up, since it could not take what the peer sent, and says why.
                return ConnectionEnded(None, str(error))

    def send_text(self, text: str) -> None:
        """Send a text message.

        Raises:
            ConnectionEnded: it is too late.
        """
        self._send(self._protocol.send_text, text.encode())

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame.

        Raises:
            ConnectionEnded: it is too late.
        """
        self._has_pinged = True
        self._send(self._protocol.send_ping, payload)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, if none was sent and the connection has not ended. The peer's comes
        behind what it has sent before."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)

    def _send(self, send: Callable[[bytes], None], data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            raise self.end() or ConnectionEnded()
        send(data)

    def _receive(self, data: bytes | bytearray) -> None:
        protocol = self._protocol
        if protocol.state is State.CONNECTING:
            self._start = (self._start + data)[:_START]
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        if protocol.handshake_exc is not None:
            raise ConnectionFailed(self._failure_of(protocol.handshake_exc))

    def _failure_of(self, error: Exception) -> Failure:
        if isinstance(error, InvalidStatus):
            response = error.response
            return failure_from_response(response.status_code, response.headers.raw_items())
        # websockets wants more of an answer than its status: HTTP/1.1, and a body that is whole.
        status = _STATUS.match(self._start)
        if status is not None and status[1] != b"101":
            return failure_from_response(int(status[1]), ())
        alert = None if self._tls is None else self._tls.error
        return failure_from_exception(alert or error)

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self.unread.append(bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    self.unread.append(b"".join(self._fragments))
                    self._fragments.clear()
            case Opcode.PONG if self._has_pinged:
                self._on_pong(bytes(frame.data))
            case Opcode.PING:
                self._on_ping(bytes(frame.data))
            case _:
                pass
