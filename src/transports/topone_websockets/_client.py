"""One WebSocket connection of a client, without I/O."""

import logging
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from topone_proto import Connect, ConnectionEnded, ConnectionFailed, Failure, FailureKind
from topone_proto.adapters import WRONG_ACCEPT, Answer, Proxy, Tunnel, failure_from_exception
from topone_websockets._certificates import default_context
from topone_websockets._frames import Frames
from topone_websockets._tls import Tls

__all__ = ["WebSocketClient"]

# websockets writes whole URLs, tokens included, at level DEBUG.
_quiet: Final = logging.Logger("quiet")  # noqa: LOG001 - nobody can find it and switch it on
_quiet.disabled = True

_HEAD_END: Final = b"\r\n\r\n"


class WebSocketClient:
    """One connection from its handshake to its end, a proxy and TLS included: give it a plain
    TCP connection to ``address``, for ``wss://``, too.

    Nothing here waits. After every call but ``end`` there may be something ``to_send``. One call at
    a time: threads need a lock around it.

    Args:
        connect: where to dial and as whom. No header goes out but what a handshake needs, and those
            of the endpoint.
        on_pong: is told the payload of each of the peer's pongs, once a ping was sent.
        on_ping: is told the payload of each of the peer's pings, which are answered all the same.
        ssl_context: for a private CA; the default is ``default_context()``, which may read files.
            Event loops pass the one of ``look_up_context``.
        proxy: what to go through, see ``proxy_for``; None to dial directly.
    """

    def __init__(
        self,
        connect: Connect,
        on_pong: Callable[[bytes], object],
        on_ping: Callable[[bytes], object] = bytes,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self.unread: deque[bytes] = deque()
        """Whole messages, the oldest first, for the adapter to take. Text comes as bytes, too: the
        core checks UTF-8 itself."""
        endpoint = connect.endpoint
        self.address: tuple[str, int] = (
            (endpoint.host, endpoint.port) if proxy is None else (proxy.host, proxy.port)
        )
        """The host and the port to dial. Look the host up as it is, with the dot at its end."""
        self.only_message: Callable[[bytes], bytes | None] = _none
        """Return the message that the peer has sent, if it was a single whole one and can be seen
        at once. None: nothing was done, and ``receive`` takes the bytes in."""
        # What bytes of the peer pass through, in this order, before they are frames.
        self._proxy_tls: Tls | None = None
        self._tunnel: Tunnel | None = None
        self._tls: Tls | None = None
        self._answer = Answer()
        if endpoint.is_tls or (proxy is not None and proxy.is_tls):
            ssl_context = ssl_context or default_context()
            if proxy is not None and proxy.is_tls:
                self._proxy_tls = Tls(ssl_context, proxy.server_name)
            if endpoint.is_tls:
                self._tls = Tls(ssl_context, endpoint.server_name)
        self._proxy = proxy
        self._to_proxy = b""
        if proxy is not None:
            self._tunnel = Tunnel(proxy, endpoint)
            self._to_proxy = self._tunnel.request()
        self._on_pong = on_pong
        self._on_ping = on_ping
        self._has_pinged = False
        self._fragments: list[bytes] = []
        # Without the token: urllib remembers the URLs that it has read.
        self._protocol = ClientProtocol(
            parse_uri(endpoint.url), max_size=connect.max_frame_size, logger=_quiet
        )
        request = self._protocol.connect()
        request.path = connect.target()
        del request.headers["Host"]
        request.headers = Headers(
            [("Host", endpoint.authority), *request.headers.raw_items(), *endpoint.headers]
        )
        self._protocol.send_request(request)
        self._frames = Frames(
            self._protocol,
            connect.max_frame_size,
            self.unread.append,
            self._take_all,
            self._fragments,
        )
        # Takes the bytes of the server: the answer to the handshake, then frames.
        self._receive: Callable[[bytes], bool] = self._receive_answer

    @property
    def is_connected(self) -> bool:
        """True once the handshake is done, and ever after."""
        protocol = self._protocol
        return protocol.state is not State.CONNECTING and protocol.handshake_exc is None

    @property
    def has_to_send(self) -> bool:
        """False if there is nothing ``to_send``."""
        if self._proxy_tls is not None and self._proxy_tls.has_to_send:
            return True
        if self._tunnel is not None:
            return bool(self._to_proxy)
        tls = self._tls
        return bool(self._protocol.writes) or (tls is not None and tls.has_to_send)

    def to_send(self) -> bytes:
        """Return the bytes that have to go out now, or none. Pass it straight on, and keep it in no
        variable: the first of it has the token in it."""
        if self._tunnel is not None:
            data, self._to_proxy = self._to_proxy, b""
        else:
            data = b"".join(self._protocol.data_to_send())
            if self._tls is not None:
                data = self._tls.to_send(data)
        return data if self._proxy_tls is None else self._proxy_tls.to_send(data)

    def receive(self, data: bytes) -> bool:
        """Take in what the peer has sent; ``b""`` says that no more will come.

        Returns:
            False if it was nothing but messages: there is nothing ``to_send``, and no ``end``.

        Raises:
            ConnectionFailed: TLS, the proxy or the handshake has come to nothing. The peer may be
                told why, by what there is ``to_send``. Never once it ``is_connected``: ask ``end``
                then.
        """
        if self._tls is None and self._proxy is None:
            return self._receive(data)
        pieces = (data,) if self._proxy is None else self._from_proxy(data)
        try:
            for plain in pieces:
                for text in (plain,) if self._tls is None else self._tls.receive(plain):
                    self._receive(text)
        except ssl.SSLError as error:
            failure = self._said_of_proxy(failure_from_exception(error))
        else:
            return True
        raise ConnectionFailed(failure)

    def _from_proxy(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes of the server in what was received."""
        pieces = (data,) if self._proxy_tls is None else self._proxy_tls.receive(data)
        for piece in pieces:
            if self._tunnel is None:
                yield piece
                continue
            if self._tunnel.receive(piece):
                self._tunnel = None

    def failure(self, error: Exception) -> Failure:
        """Return the failure of a dial that ended with this error of the stream. An answer of the
        peer goes before the error, for a peer that refuses may hang up at once."""
        if isinstance(error, ConnectionFailed):
            return error.failure
        try:
            self.receive(b"")
        except ConnectionFailed as refused:
            if refused.failure.status is not None:
                return refused.failure
        failure = failure_from_exception(error)
        if failure.kind is FailureKind.NOT_WEBSOCKET:
            # Some frameworks have errors of their own: the peer has given no wrong answer.
            failure = Failure(FailureKind.NETWORK, failure.detail)
        return self._said_of_proxy(failure)

    def _said_of_proxy(self, failure: Failure) -> Failure:
        if self._proxy is None or self._tunnel is None:
            return failure
        return self._proxy.blamed(failure)

    def end(self) -> ConnectionEnded | None:
        """Return the end of the connection, to be raised when nothing is ``unread`` any more;
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
            self._frames.end_short_cut()

    def _send(self, send: Callable[[bytes], None], data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            raise self.end() or ConnectionEnded()
        send(data)

    def _receive_answer(self, data: bytes) -> bool:
        try:
            accepted = self._answer.receive(data)
        except ConnectionFailed as failed:
            alert = None if self._tls is None else self._tls.error
            if alert is None or failed.failure.status is not None:
                raise
            # The peer ended TLS, and said why.
            failure = failure_from_exception(alert)
        else:
            if accepted is None:
                return True
            # What follows the head is frames.
            end = accepted.index(_HEAD_END) + len(_HEAD_END)
            self._protocol.receive_data(accepted[:end])
            if self._protocol.handshake_exc is None:
                self._receive = self._frames.receive
                if self._tls is None and self._proxy is None:
                    self.only_message = self._frames.only_message
                self._take_all()
                if end < len(accepted):
                    self._frames.receive(accepted[end:])
                return True
            failure = WRONG_ACCEPT
        raise ConnectionFailed(failure)

    def _take_all(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)

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


def _none(_: bytes) -> None:
    """Return None."""
