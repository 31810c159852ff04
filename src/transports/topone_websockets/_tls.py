"""TLS without I/O. Nothing here knows of WebSockets.

For adapters in which one thread or task receives while another sends. An ``ssl.SSLSocket`` is not
made for that: OpenSSL wants a connection to itself, and a lock around it would have the sender wait
for what the peer says. And whatever was received can be read, also when sending has failed.
"""

import ssl
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["Tls"]

# Bytes of plain text to take at once: as many as a record can have.
_RECORD = 16384


class Tls:
    """One TLS connection of a client.

    Args:
        context: which certificates to trust.
        host: the name that the certificate has to have.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._received = ssl.MemoryBIO()
        self._sent = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_hostname=host)
        self._is_established = False
        # False also while the peer renegotiates.
        self._can_write = False
        # Plain text that cannot be encrypted yet.
        self._waiting = bytearray()
        self.error: ssl.SSLError | None = None
        """The error in what the peer sent, if it was more than the end."""
        with suppress(ssl.SSLWantReadError):
            self._shake_hands()

    @property
    def has_to_send(self) -> bool:
        """True if ``to_send`` has something without more text."""
        return bool(self._sent.pending) or (self._can_write and bool(self._waiting))

    def receive(self, data: bytes | bytearray) -> Iterator[bytes]:
        """Yield the plain text in what the peer has sent, ``b""`` if that was all. The peer's
        goodbye is ``b""``, too.

        There may be something ``to_send`` then, also if it raises: the peer wants to know.

        Raises:
            ssl.SSLError: there can be no connection.
        """
        if data:
            self._received.write(data)
            self._can_write = self._is_established
        else:
            self._received.write_eof()
        try:
            if not self._is_established:
                self._shake_hands()
            while plain := self._tls.read(_RECORD):
                yield plain
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            if not self._is_established:
                raise
            # Cut off, garbled, or an alert: nothing more can be read.
            if not isinstance(error, ssl.SSLEOFError):
                self.error = error
        yield b""

    def to_send(self, plain: bytes = b"") -> bytes:
        """Return the bytes to send now, this text included as soon as there is a connection."""
        self._waiting += plain
        if self._can_write and self._waiting:
            try:
                self._tls.write(self._waiting)
            except ssl.SSLWantReadError:  # pragma: no cover - no server of ours renegotiates
                # OpenSSL wants the same bytes again.
                self._can_write = False
            else:
                self._waiting.clear()
        return self._sent.read()

    def _shake_hands(self) -> None:
        self._tls.do_handshake()
        self._is_established = self._can_write = True
