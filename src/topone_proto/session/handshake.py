"""The answer to a handshake, judged at the end of its final head.

A server answers the request for a WebSocket with HTTP: any number of interim heads (1xx, RFC 9110
section 15.2), then a final one, then a body or, behind a 101, the first frames. All that decides
about a dial is in the final head, so nothing of a body is waited for: it may be cut off, have no
end, or be megabytes of a page for people. A proxy answers CONNECT in the same way.

Heads are read leniently, because the status of a refusal decides whether a feed goes on. RFC 9112
sections 2.2 and 5.2 allow bare line feeds and folded lines to be taken; a reason phrase may be
missing with its space; a line that is no header is passed over; framing (``Content-Length``,
``Transfer-Encoding``) is of no interest. h11 refuses heads for their framing, and websockets those
of HTTP/1.0 or without a reason phrase: each of these would lose a status that is there to be read.
What a server accepts with is handed on in plain form to the library that speaks WebSocket, which
checks ``Sec-WebSocket-Accept``.

Bounded: all heads together have 64 KiB. A head that is longer, or cut off, is judged by the lines
that arrived whole.
"""

import re
from collections.abc import Iterable
from typing import Final

from topone_proto._values import value
from topone_proto.errors import ConnectionFailed
from topone_proto.failures import Failure, FailureKind, failure_from_response

__all__ = ["WRONG_ACCEPT", "Answer", "Head", "HeadReader"]

_LIMIT: Final = 65536
"""Bytes of all heads together."""

_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+([1-9]\d\d)(?:[ \t].*)?", re.DOTALL)
_START: Final = b"HTTP/"

WRONG_ACCEPT: Final = Failure(
    FailureKind.NOT_WEBSOCKET, "the server's Sec-WebSocket-Accept belongs to another handshake"
)
"""The failure of a library that refuses the plain head which ``Answer.receive`` returns."""


@value
class Head:
    """The final head of an answer."""

    status: int
    """The HTTP status."""
    headers: tuple[tuple[str, str], ...]
    """Names and values, in their order, and names as they were written."""
    is_whole: bool
    """False if it was cut off, or longer than the limit."""

    def values(self, name: str) -> list[str]:
        """The values of all headers of this name, without those that are empty."""
        return [text for key, text in self.headers if text and key.lower() == name]


class HeadReader:
    """Reads interim heads and the final one.

    Args:
        peer: who answers, in words: ``"the server"``.
        kind: the kind of failure that an answer without a status is.
    """

    def __init__(self, peer: str, kind: FailureKind) -> None:
        self._peer = peer
        self._kind = kind
        self._unread = bytearray()
        self._searched = 0
        self._size = 0
        self._status: int | None = None
        self._headers: list[tuple[str, str]] = []
        self.rest: bytes = b""
        """The bytes behind the final head, as far as they came with it."""

    def receive(self, data: bytes | bytearray) -> Head | None:
        """Take in what the peer has sent; ``b""`` says that no more will come.

        Returns:
            the final head, once; None if it has not ended.

        Raises:
            ConnectionFailed: this is no HTTP, or ended before a final status.
        """
        if not data:
            return self._cut_off(f"{self._peer} hung up in the handshake")
        self._unread += data
        start = 0
        while (end := self._unread.find(b"\n", max(start, self._searched))) >= 0:
            line = bytes(self._unread[start:end]).removesuffix(b"\r")
            self._size += end + 1 - start
            start = end + 1
            if self._size > _LIMIT:
                break
            if self._take(line):
                self.rest = bytes(self._unread[start:])
                self._unread.clear()
                return self._head(is_whole=True)
        del self._unread[:start]
        self._searched = len(self._unread)
        if self._size + len(self._unread) > _LIMIT:
            return self._cut_off(f"the head of {self._peer}'s answer is too long")
        if self._status is None and not _START.startswith(
            bytes(self._unread[: len(_START)].lstrip())
        ):
            raise self._no_http()
        return None

    def _take(self, line: bytes) -> bool:
        """Take in a line. True if the final head ends with it."""
        if self._status is None:
            if not line.strip():
                return False
            found = _STATUS_LINE.fullmatch(line)
            if found is None:
                raise self._no_http()
            self._status = int(found[1])
            return False
        if not line:
            if self._is_final:
                return True
            self._status = None
            self._headers.clear()
            return False
        text = line.decode("latin-1")
        if text[0] in " \t":
            if self._headers:
                name, before = self._headers[-1]
                self._headers[-1] = (name, f"{before} {text.strip()}".strip())
            return False
        name, colon, after = text.partition(":")
        if colon:
            self._headers.append((name.strip(), after.strip()))
        return False

    @property
    def _is_final(self) -> bool:
        return self._status is not None and (self._status == 101 or self._status >= 200)

    def _head(self, *, is_whole: bool) -> Head:
        assert self._status is not None
        return Head(self._status, tuple(self._headers), is_whole)

    def _cut_off(self, words: str) -> Head:
        if not self._is_final:
            raise ConnectionFailed(Failure(self._kind, words))
        return self._head(is_whole=False)

    def _no_http(self) -> ConnectionFailed:
        return ConnectionFailed(Failure(self._kind, f"the answer of {self._peer} is no HTTP"))


class Answer:
    """The answer of a WebSocket server."""

    def __init__(self) -> None:
        self._reader = HeadReader("the server", FailureKind.NOT_WEBSOCKET)

    def receive(self, data: bytes | bytearray) -> bytes | None:
        """Take in what the server has sent; ``b""`` says that no more will come.

        Returns:
            once the server has accepted: a head in plain form for the library that speaks
            WebSocket, and what came behind it. None if more has to come first.

        Raises:
            ConnectionFailed: the server refuses, or this is no answer of a WebSocket server.
        """
        head = self._reader.receive(data)
        if head is None:
            return None
        if head.status != 101:
            raise ConnectionFailed(failure_from_response(head.status, head.headers))
        problem = _problem(head)
        if problem is not None:
            raise ConnectionFailed(Failure(FailureKind.NOT_WEBSOCKET, problem))
        [accept] = head.values("sec-websocket-accept")
        return (
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode("latin-1") + b"\r\n\r\n" + self._reader.rest
        )


def _problem(head: Head) -> str | None:
    """Return what RFC 6455 section 4.1 does not allow in a 101, if anything."""
    if not head.is_whole:
        return "the head of the server's answer did not end"
    if [text.lower() for text in head.values("upgrade")] != ["websocket"]:
        return "the server upgrades to something else than websocket"
    if "upgrade" not in _tokens(head.values("connection")):
        return "the server's answer has no Connection: Upgrade"
    if len(head.values("sec-websocket-accept")) != 1:
        return "the server's answer has not one Sec-WebSocket-Accept"
    if head.values("sec-websocket-extensions"):
        return "the server uses an extension that was not offered"
    if head.values("sec-websocket-protocol"):
        return "the server speaks a subprotocol that was not offered"
    return None


def _tokens(values: Iterable[str]) -> set[str]:
    return {token.strip().lower() for text in values for token in text.split(",")}
