"""Content encodings. None is asked for; some servers and proxies compress all the same."""

import zlib
from collections.abc import Iterable
from typing import Final

from topone_proto import ConnectionFailed, Failure, FailureKind

__all__ = ["decoded"]

# zlib's window, with the header of gzip or zlib told apart by itself.
_EITHER: Final = zlib.MAX_WBITS | 32
_IDENTITY: Final = {"", "identity"}
_ZLIB: Final = {"deflate", "gzip", "x-gzip"}


def decoded(body: bytes, headers: Iterable[tuple[str, str]], limit: int) -> bytes:
    """Return a body with its ``Content-Encoding`` undone.

    Raises:
        ConnectionFailed: it is another encoding than gzip and deflate, it is broken, or the body
            has more than ``limit`` bytes.
    """
    names = [
        each.strip().lower()
        for name, text in headers
        if name.lower() == "content-encoding"
        for each in text.split(",")
    ]
    for name in reversed(names):
        if name in _IDENTITY or not body:
            continue
        if name not in _ZLIB:
            raise _failed("the server's answer has an encoding that was not asked for")
        reader = zlib.decompressobj(_EITHER)
        try:
            body = reader.decompress(body, limit)
        except zlib.error:
            raise _failed("the server's answer is no gzip") from None
        if not reader.eof:
            problem = "is too large" if reader.unconsumed_tail else "is cut off"
            raise _failed(f"the server's answer {problem}")
    return body


def _failed(detail: str) -> ConnectionFailed:
    return ConnectionFailed(Failure(FailureKind.NETWORK, detail))
