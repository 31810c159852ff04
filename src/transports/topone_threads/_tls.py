"""TLS without I/O. Nothing here knows of WebSockets or feeds.

One thread receives while another sends. An ``ssl.SSLSocket`` is not made for that: OpenSSL wants
a connection to itself, and a lock around it would have the sender wait for what the peer says.
"""

import ssl
from collections.abc import Iterator
from typing import Final

__all__ = ["Tls"]

# Bytes of plain text to take at once: as many as a record can have.
_RECORD: Final = 16384


class Tls:
    """One TLS connection, as its client sees it. One call at a time: threads need a lock around it.

    Args:
        context: which certificates to trust.
        host: the name that the certificate has to have.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._received = ssl.MemoryBIO()
        self._sent = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_hostname=host)

    def shake_hands(self, data: bytes | None = None) -> bool:
        """Take in what the peer has sent, ``b""`` if that was all, and say whether it suffices.

        There may be something ``to_send`` then, also if it raises: the peer wants to know.

        Raises:
            ssl.SSLError: there can be no connection.
        """
        if data is not None:
            self._take(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The plain text in what the peer has sent, ``b""`` if that was all. Its own end is
        ``b""``, too."""
        self._take(data)
        try:
            while plain := self._tls.read(_RECORD):
                yield plain
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            # Cut off or garbled: nothing more can be read.
            pass
        yield b""

    def to_send(self, plain: bytes = b"") -> bytes:
        """What has to go out now, this text included."""
        if plain:
            self._tls.write(plain)
        return self._sent.read()

    def _take(self, data: bytes) -> None:
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()
