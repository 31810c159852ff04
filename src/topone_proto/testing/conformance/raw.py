"""A server that speaks in bytes, for scenarios about answers and frames that the simulated exchange
does not give."""

import socket
import ssl
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from hashlib import sha1
from typing import Final

from attrs import define, field

__all__ = ["Peer", "RawServer", "accept_key", "raw_server"]

# RFC 6455 section 1.3.
_ACCEPTS: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE: Final = 0x8


class Peer:
    """A client, as the server has it. All that it says raises ``OSError`` once the client has gone,
    or ``TimeoutError``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def request(self) -> bytes:
        """The head of the client's request, with the empty line that ends it."""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            data = self._connection.recv(4096)
            if not data:
                raise ConnectionResetError
            request += data
        return request

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._connection.sendall(data)

    def say_slowly(self, data: bytes) -> None:
        """Send bytes, each by itself."""
        for byte in data:
            self._connection.sendall(bytes([byte]))

    def reset(self) -> None:
        """End the connection with a reset."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def hear(self) -> bytes:
        """Return what the client says next; empty if it has hung up."""
        return self._connection.recv(4096)

    def frames(self) -> Generator[tuple[int, bytes], None, None]:
        """The client's frames, as opcode and payload, up to its close frame or until it hangs up.

        Whoever returns then ends the connection, and no client waits for an answer to its close.
        """
        heard = b""
        with suppress(ConnectionError):
            while data := self._connection.recv(4096):
                heard += data
                while (frame := _first_frame(heard)) is not None:
                    opcode, payload, size = frame
                    heard = heard[size:]
                    yield opcode, payload
                    if opcode == _CLOSE:
                        return

    def listen(self) -> bytes:
        """Return all that the client says until it hangs up."""
        heard = b""
        with suppress(ConnectionError):
            while data := self._connection.recv(4096):
                heard += data
        return heard

    def listen_for_close(self) -> bytes:
        """Return what the client says up to its close frame, that frame included."""
        heard = b""
        with suppress(ConnectionError):
            while _close_frame(heard) is None and (data := self._connection.recv(4096)):
                heard += data
        return heard


@define
class RawServer:
    """A running server."""

    url: str
    """The URL to dial, without the token."""
    requests: list[bytes] = field(factory=list[bytes])
    """The heads of the requests that were read."""
    heard: list[bytes] = field(factory=list[bytes])
    """The bytes that clients said later, as far as they were listened to."""

    @property
    def close_codes(self) -> list[int]:
        """The codes of the close frames that clients sent, of those that came first in what was
        heard."""
        return [code for said in self.heard if (code := _close_code(said)) is not None]


def accept_key(request: bytes) -> bytes:
    """The ``Sec-WebSocket-Accept`` for a request."""
    [key] = [
        line.partition(b":")[2].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    ]
    return b64encode(sha1(key + _ACCEPTS).digest())  # noqa: S324 - as RFC 6455 has it


def _first_frame(said: bytes) -> tuple[int, bytes, int] | None:
    """The opcode, the payload and the size of the first frame of a client; None if it is not
    whole. No scenario makes a client send one of 64 KiB."""
    if len(said) < 2:
        return None
    length, start = said[1] & 0x7F, 2
    if length == 126:
        length, start = int.from_bytes(said[2:4], "big"), 4
    end = start + 4 + length
    if len(said) < end:
        return None
    mask, payload = said[start : start + 4], said[start + 4 : end]
    plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return said[0] & 0x0F, plain, end


def _close_frame(said: bytes) -> bytes | None:
    """The payload of the close frame among the frames of a client; None if it has sent none."""
    while (frame := _first_frame(said)) is not None:
        opcode, payload, end = frame
        if opcode == _CLOSE:
            return payload
        said = said[end:]
    return None


def _close_code(said: bytes) -> int | None:
    """The code of the close frame; None if there is none, or one without a code."""
    payload = _close_frame(said)
    return int.from_bytes(payload[:2], "big") if payload else None


@contextmanager
def raw_server(
    serve: Callable[[Peer, RawServer], None],
    patience: float,
    ssl_context: ssl.SSLContext | None = None,
) -> Generator[RawServer, None, None]:
    """Run a server in a thread for the length of the block.

    Args:
        serve: is called with each client, one after the other, and hangs up by returning.
        patience: seconds that a client may keep it waiting.
        ssl_context: for a server that speaks TLS, and hangs up without a goodbye in it.
    """
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        scheme = "ws" if ssl_context is None else "wss"
        server = RawServer(f"{scheme}://127.0.0.1:{address[1]}/")

        def run() -> None:
            while not is_over.is_set():
                # Clients hang up when they have heard enough, and not always gently.
                with suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(patience)
                        # What is said goes out at once, so that a reset cannot overtake it.
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        if ssl_context is None:
                            serve(Peer(connection), server)
                            continue
                        with ssl_context.wrap_socket(connection, server_side=True) as secure:
                            serve(Peer(secure), server)

        thread = threading.Thread(target=run, name="topone-conformance-server", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            is_over.set()
            # Nothing else wakes up `accept` everywhere.
            with suppress(OSError):
                socket.create_connection(address).close()
            thread.join()
