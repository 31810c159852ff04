"""One WebSocket, as its client sees it."""

import logging
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
    failure_from_exception,
    failure_from_response,
)

__all__ = ["WebSocketClient"]

# websockets writes whole URLs, tokens included, at level DEBUG.
_quiet: Final = logging.Logger("quiet")  # noqa: LOG001 - nobody can find it and switch it on
_quiet.disabled = True


class WebSocketClient:
    """From the handshake to the end of one connection.

    Nothing here waits. After every call but ``end`` there may be something ``to_send``. One call at
    a time: threads need a lock around it.

    Args:
        connect: where to dial and as whom. No header goes out but what a handshake needs, and those
            of the endpoint.
        on_pong: is told the payload of each of the peer's pongs.
        on_ping: is told the payload of each of the peer's pings, which are answered all the same.
    """

    def __init__(
        self,
        connect: Connect,
        on_pong: Callable[[bytes], object],
        on_ping: Callable[[bytes], object] = bytes,
    ) -> None:
        self.unread: deque[bytes] = deque()
        """Whole messages, the oldest first, for the adapter to take. Text comes as bytes, too: the
        core checks UTF-8 itself."""
        self._protocol = ClientProtocol(
            parse_uri(connect.url()), max_size=connect.max_frame_size, logger=_quiet
        )
        self._on_pong = on_pong
        self._on_ping = on_ping
        self._fragments: list[bytes] = []
        request = self._protocol.connect()
        request.headers.update(connect.endpoint.headers)
        self._protocol.send_request(request)

    @property
    def is_connected(self) -> bool:
        """True once the handshake is done, and ever after."""
        protocol = self._protocol
        return protocol.state is not State.CONNECTING and protocol.handshake_exc is None

    def to_send(self) -> bytes:
        """What has to go out now; empty if nothing has."""
        return b"".join(self._protocol.data_to_send())

    def receive(self, data: bytes | bytearray) -> None:
        """Take in what the peer has sent; ``b""`` says that no more will come.

        Raises:
            ConnectionFailed: the peer refused the handshake, or does not speak WebSocket.
        """
        protocol = self._protocol
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        match protocol.handshake_exc:
            case None:
                pass
            case InvalidStatus(response=response):
                headers = response.headers.raw_items()
                raise ConnectionFailed(failure_from_response(response.status_code, headers))
            case error:
                raise ConnectionFailed(failure_from_exception(error))

    def end(self) -> ConnectionEnded | None:
        """How the connection ended, for the adapter to raise when nothing is ``unread`` any more;
        None if something may still come."""
        protocol = self._protocol
        if protocol.close_rcvd is not None:
            return ConnectionEnded(protocol.close_rcvd.code, protocol.close_rcvd.reason)
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
        self._send(self._protocol.send_ping, payload)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, if none was sent. The peer's comes behind what it has sent before."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)

    def _send(self, send: Callable[[bytes], None], data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            raise self.end() or ConnectionEnded()
        send(data)

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self.unread.append(bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    self.unread.append(b"".join(self._fragments))
                    self._fragments.clear()
            case Opcode.PONG:
                self._on_pong(bytes(frame.data))
            case Opcode.PING:
                self._on_ping(bytes(frame.data))
            case _:
                pass
