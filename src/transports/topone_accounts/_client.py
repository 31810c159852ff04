"""The HTTP client of an account: httpcore's HTTP/1.1 on connections that an adapter dials.

Of httpcore it takes what speaks HTTP, and leaves out its pool, proxies and name lookups: an adapter
dials as for the WebSocket, so proxies, certificates, names and failures are the same for both.

One connection at most is kept for the next request, for a few seconds, so that the pages of a list
do not dial each time. A request for a token never uses it: a server may close a kept connection at
any moment, and nobody can tell then whether the request has counted. Nothing is sent twice.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final, Protocol, Self

import httpcore

from topone_accounts._encodings import decoded
from topone_proto import ConnectionFailed, Failure, FailureKind
from topone_proto.adapters import HttpEndpoint, failure_from_exception
from topone_proto.wire.http import HttpRequest, HttpResponse

__all__ = ["HttpClient", "HttpStream"]

_LIMIT: Final = 2**24
"""Bytes of one answer, its heads included, and of its body once it is decoded."""

_KEEP: Final = 4.0
"""Seconds for which a connection is kept. Servers keep theirs for 5 s and more."""

_clock: Callable[[], float] = time.monotonic


# --- logs ----------------------------------------------------------------------------------------

_is_ours: Final[ContextVar[bool]] = ContextVar("topone_accounts_is_ours", default=False)


def _is_others(_: logging.LogRecord) -> bool:
    return not _is_ours.get()


# httpcore logs whole heads at DEBUG. Those of this client's requests are left out.
logging.getLogger("httpcore.http11").addFilter(_is_others)


# --- connections ---------------------------------------------------------------------------------


class HttpStream(Protocol):
    """A connection to the exchange, TLS and the way through a proxy included."""

    async def read(self, max_bytes: int) -> bytes:
        """Return what the peer has sent, about so many bytes at most; ``b""`` if it has hung up.

        Raises:
            OSError: the connection is broken.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the connection is broken. The peer may have said why before.
        """
        ...

    def has_news(self) -> bool:
        """Return True if the peer has sent something that is not read yet, or hung up."""
        ...

    def abort(self) -> None:
        """Close the connection at once, without a word to the peer. May be called twice."""
        ...

    async def aclose(self) -> None:
        """Do the same, and return once the socket is closed."""
        ...


class _Connection(httpcore.AsyncNetworkStream):
    """A connection and its HTTP. httpcore reads through it, which counts the bytes."""

    def __init__(self, stream: HttpStream, origin: httpcore.Origin) -> None:
        self.stream = stream
        self._origin = origin
        self.left = _LIMIT
        """The bytes that the present answer may still have."""
        self.is_over = False
        """True once the peer has hung up."""
        self.kept_since = 0.0
        """The time of the last answer."""

    def begin(self) -> httpcore.AsyncHTTP11Connection:
        """Return what speaks HTTP for the next request. It is made anew: bytes that have followed
        the last answer, of a server that answers twice, are not taken for the next one."""
        self.left, self.is_over = _LIMIT, False
        return httpcore.AsyncHTTP11Connection(self._origin, self)

    # httpcore's: it sets no timeout if its requests have none.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - as above
        data = await self.stream.read(max_bytes)
        self.is_over = not data
        self.left -= len(data)
        if self.left < 0:
            raise ConnectionFailed(_TOO_LARGE)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - as above
        try:
            await self.stream.write(buffer)
        except OSError as error:
            # httpcore goes on to read: a server that refuses may have answered, and hung up.
            raise httpcore.WriteError from error

    async def aclose(self) -> None:
        await self.stream.aclose()


class HttpClient:
    """A client for GET requests to one exchange, an ``Http`` for the driver of an account.

    It follows no redirect, repeats nothing, and takes answers of at most 16 MiB. Nothing of a
    request or an answer is logged by any library.

    Args:
        endpoint: where to ask.
        dial: opens a connection to the endpoint. It raises ``OSError`` or ``ConnectionFailed``, or
            is cancelled, and leaves no socket then.
    """

    def __init__(
        self, endpoint: HttpEndpoint, dial: Callable[[HttpEndpoint], Awaitable[HttpStream]]
    ) -> None:
        self._endpoint = endpoint
        self._dial = dial
        scheme = b"https" if endpoint.is_tls else b"http"
        self._origin = httpcore.Origin(scheme, endpoint.host.encode(), endpoint.port)
        self._open: set[_Connection] = set()
        self._kept: _Connection | None = None
        self._is_closed = False

    async def fetch(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the whole answer, whatever its status is.

        It takes as long as the peer does: limit the time by a cancellation. No socket is left then.

        Raises:
            ConnectionFailed: there is no answer; its ``failure`` says why.
        """
        connection: _Connection | None = None
        before = _is_ours.set(True)
        try:
            connection = await self._connection(request)
            response = await self._ask(connection, request)
        except ConnectionFailed as error:
            failure = error.failure
        except (OSError, ExceptionGroup) as error:
            failure = failure_from_exception(error)
        except httpcore.LocalProtocolError:
            failure = Failure(FailureKind.NETWORK, "the request has characters that HTTP has not")
        except (httpcore.ProtocolError, httpcore.NetworkError):
            failure = _CUT_OFF if connection is not None and connection.is_over else _NO_HTTP
        else:
            return response
        finally:
            _is_ours.reset(before)
            if connection is not None and connection is not self._kept:
                await self._drop(connection)
        # Outside the handler: httpcore's errors repeat what the peer has sent.
        raise ConnectionFailed(failure)

    async def aclose(self) -> None:
        """Close all connections at once, without a word to the peer, also if it is cancelled."""
        self._is_closed = True
        self._kept = None
        connections = list(self._open)
        for connection in connections:
            connection.stream.abort()
        for connection in connections:
            await self._drop(connection)

    async def _connection(self, request: HttpRequest) -> _Connection:
        if self._is_closed:
            raise ConnectionFailed(Failure(FailureKind.LOST, "this client is closed"))
        kept, self._kept = self._kept, None
        if kept is not None:
            is_fresh = _clock() - kept.kept_since < _KEEP
            if request.token is not None and is_fresh and not kept.stream.has_news():
                return kept
            await self._drop(kept)
        stream = await self._dial(self._endpoint)
        connection = _Connection(stream, self._origin)
        self._open.add(connection)
        if self._is_closed:
            await self._drop(connection)
            raise ConnectionFailed(Failure(FailureKind.LOST, "this client is closed"))
        return connection

    async def _ask(self, connection: _Connection, request: HttpRequest) -> HttpResponse:
        http = connection.begin()
        response = await http.handle_async_request(self._to_send(request))
        body = b"".join([chunk async for chunk in response.aiter_stream()])
        await response.aclose()
        headers = tuple(
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in response.headers
        )
        body = decoded(body, headers, _LIMIT)
        if http.is_idle() and self._kept is None and not self._is_closed:
            connection.kept_since = _clock()
            self._kept = connection
        return HttpResponse(response.status, body, headers, request)

    def _to_send(self, request: HttpRequest) -> httpcore.Request:
        endpoint = self._endpoint
        headers = (
            ("Host", endpoint.authority),
            *endpoint.headers,
            *request.headers(),
            ("Accept-Encoding", "identity"),
        )
        # As a URL in parts: a text would be parsed, and some parsers remember what they have read.
        scheme, host, port = self._origin.scheme, self._origin.host, self._origin.port
        target = _ascii(endpoint.target(request))
        return httpcore.Request(
            "GET",
            httpcore.URL(scheme=scheme, host=host, port=port, target=target),
            headers=[(_ascii(name), _ascii(text)) for name, text in headers],
            content=_Nothing(),
        )

    async def _drop(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.stream.abort()
        await connection.stream.aclose()


class _Nothing:
    """The body of a GET request. httpcore's own is a generator, which an error in sending would
    leave behind."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


def _ascii(text: str) -> bytes:
    # A UnicodeEncodeError would have the text in it. httpcore refuses what this puts in its place.
    return text.encode("ascii") if text.isascii() else b"\0"


_TOO_LARGE: Final = Failure(FailureKind.NETWORK, "the server's answer is larger than 16 MiB")
_CUT_OFF: Final = Failure(FailureKind.LOST, "the server hung up before its answer was whole")
_NO_HTTP: Final = Failure(FailureKind.NETWORK, "the server's answer is no HTTP: check http_url")
