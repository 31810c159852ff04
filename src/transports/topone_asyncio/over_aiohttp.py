"""A WebSocket of aiohttp for ``open_feed(open_websocket=...)``, for programs that want one.

from topone_asyncio.over_aiohttp import open_websocket

async with topone_asyncio.open_feed(token=..., open_websocket=open_websocket) as feed: ...

aiohttp decides some things by itself that the default WebSocket does not leave open. Compared with
that one:

- A server is refused that accepts with ``Connection: keep-alive, Upgrade``.
- A refusal loses its status and ``Retry-After`` if its head has a line of more than 8 KiB, a line
  that is no header or two lengths, if its head is cut off, or if its body is no HTTP, such as a
  broken chunk. The same may keep a server from accepting.
- Masked frames of the server are taken.
- yarl, aiohttp's URLs, keeps the last URLs that were dialled in a cache, and so their tokens in
  memory.
- There is no ``heard_at``: a message that takes longer than the timeouts to arrive, and a server
  that sends pings and no pongs, are taken for dead connections.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from topone_asyncio._dial import abort, find_context, find_proxy, resolve
from topone_proto import Connect, ConnectionEnded, ConnectionFailed, Failure, FailureKind
from topone_proto.adapters import (
    AsyncWebSocket,
    Proxy,
    failure_from_exception,
    failure_from_response,
)

try:
    import aiohttp
    from aiohttp import WSMsgType
    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.connector import Connection
    from yarl import URL
except ModuleNotFoundError as _error:
    if _error.name not in {"aiohttp", "yarl"}:
        raise
    raise ImportError(
        f'topone_asyncio.over_aiohttp needs {_error.name}: pip install "topone-proto[aiohttp]"',
        name=_error.name,
    ) from None

__all__ = ["open_websocket"]

_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_ENDS = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})

# What aiohttp would add by itself.
_NO_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent")


class _Resolver(AbstractResolver):
    """A resolver that looks names up as the default WebSocket does. aiohttp's own does so in the
    program's threads."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                # A link-local address is of no use without its interface.
                host=f"{place[0]}%{place[3]}" if len(place) > 3 and place[3] else str(place[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, place in await resolve(host, port)
            if family in {socket.AF_UNSPEC, found}
        ]

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def _response_class(transports: list[asyncio.BaseTransport]) -> type[aiohttp.ClientResponse]:
    """Make a class of responses that leave their transports here, be they refusals or not.

    aiohttp closes them as TLS has it, by waiting for the peer's goodbye, also after the program has
    gone on. None shows its URL: in debug mode aiohttp logs a response that was left open.
    """

    class Response(aiohttp.ClientResponse):
        def __repr__(self) -> str:
            return f"<{type(self).__name__}>"

        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            if connection.transport is not None:  # pragma: no branch - it is open
                transports.append(connection.transport)
            return await super().start(connection)

    return Response


async def _one_request(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """The middleware of a dial: it makes one request of it.

    By itself aiohttp follows redirects, and sends the request again if the server hangs up. Both
    are the core's to decide.
    """
    try:
        response = await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        # Not as one of the two exceptions after which aiohttp tries again.
        raise ConnectionFailed(_failure_of(error)) from None
    if response.status != 101:
        failure = failure_from_response(response.status, response.headers.items())
    elif (problem := _problem(response)) is not None:
        failure = Failure(FailureKind.NOT_WEBSOCKET, problem)
    else:
        return response
    response.close()
    raise ConnectionFailed(failure)


def _problem(response: aiohttp.ClientResponse) -> str | None:
    """Return what is wrong with a 101 that aiohttp has accepted; None if nothing is."""
    if "Sec-WebSocket-Extensions" in response.headers:
        return "the server uses an extension that was not offered"
    if "Sec-WebSocket-Protocol" in response.headers:
        return "the server speaks a subprotocol that was not offered"
    if len(response.headers.getall("Sec-WebSocket-Accept", [])) > 1:
        return "the server's answer has not one Sec-WebSocket-Accept"
    return None


def _may_be_sent(code: int) -> bool:
    """Return True for the codes that a close frame can have (RFC 6455 section 7.4)."""
    return code < 5000 and code not in {1004, 1005, 1006, 1015}


class _AiohttpWebSocket:
    def __init__(
        self,
        websocket: aiohttp.ClientWebSocketResponse,
        on_pong: Callable[[bytes], object],
    ) -> None:
        self._websocket = websocket
        self._receive = websocket.receive
        self._on_pong = on_pong

    async def receive(self) -> str | bytes:
        while True:
            message = await self._receive()
            kind = message.type
            # Nearly all are of these kinds, and a match would take longer.
            if kind is _TEXT or kind is _BINARY:
                frame: str | bytes = message.data
                return frame
            match kind:
                case WSMsgType.PING:
                    await self._send(message.data, WSMsgType.PONG)
                case WSMsgType.PONG:
                    self._on_pong(message.data)
                case WSMsgType.CLOSE if message.data and not _may_be_sent(message.data):
                    await self._websocket.close(code=aiohttp.WSCloseCode.PROTOCOL_ERROR)
                    raise ConnectionEnded(reason=f"invalid close code {message.data}")
                case WSMsgType.CLOSE:
                    await self._websocket.close(code=message.data or aiohttp.WSCloseCode.OK)
                    # 1005 stands for a close frame without a code (RFC 6455 section 7.1.5).
                    raise ConnectionEnded(message.data or 1005, message.extra or "")
                case WSMsgType.ERROR if isinstance(message.data, aiohttp.WebSocketError):
                    raise ConnectionEnded(reason=str(message.data))
                case _:
                    raise ConnectionEnded

    async def send_text(self, text: str) -> None:
        await self._send(text.encode(), WSMsgType.TEXT)

    async def send_ping(self, payload: bytes) -> None:
        await self._send(payload, WSMsgType.PING)

    async def close(self, code: int, reason: str) -> None:
        # By hand: aiohttp's `close` does not wait for the peer once a `receive` was cancelled.
        await self._send(code.to_bytes(2, "big") + reason.encode(), WSMsgType.CLOSE)
        message = await self._websocket.receive()
        while message.type not in _ENDS:
            message = await self._websocket.receive()

    async def _send(self, payload: bytes, kind: WSMsgType) -> None:
        try:
            await self._websocket.send_frame(payload, kind)
        except ConnectionError:
            raise ConnectionEnded from None


def _abort(transports: Iterable[asyncio.BaseTransport]) -> None:
    for transport in transports:
        if isinstance(transport, asyncio.Transport):  # pragma: no branch - to a type checker
            abort(transport)


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Failure(FailureKind.NETWORK, f"the proxy answered with HTTP {error.status}")
    return failure_from_exception(error)


def _url_of(proxy: Proxy) -> URL:
    scheme = "https" if proxy.is_tls else "http"
    return URL.build(scheme=scheme, host=proxy.host, port=proxy.port)


def _headers_of(proxy: Proxy) -> dict[str, str]:
    return {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with aiohttp. It sends no pings of its own, follows no redirect and adds no header but
    those of the endpoint.

    ``wss://`` goes through the proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY`` excepts the
    host. ``ws://``, which would show the proxy the token, never goes through one.

    Args:
        connect: where to dial, with the token, and the largest message that is taken.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
    """
    failure: Failure | None = None
    transports: list[asyncio.BaseTransport] = []
    endpoint = connect.endpoint
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_one_request,),
        response_class=_response_class(transports),
        skip_auto_headers=_NO_HEADERS,
        timeout=aiohttp.ClientTimeout(),  # none: the core has its own deadlines
    ) as session:
        try:
            proxy = await find_proxy(endpoint)
            # With the certificates of today: aiohttp's own context has those of its import.
            context = ssl_context or await find_context(endpoint)
            websocket = await session.ws_connect(
                URL(connect.url(), encoded=True),
                headers=endpoint.headers,
                ssl=context or True,
                proxy=None if proxy is None else _url_of(proxy),
                proxy_headers=None if proxy is None else _headers_of(proxy),
                max_msg_size=connect.max_frame_size + 1,  # aiohttp's is the first size to refuse
                # No waiting for the peer after its error. Pyright does not see the fields.
                timeout=aiohttp.ClientWSTimeout(ws_close=0),  # pyright: ignore[reportCallIssue]
                autoclose=False,
                autoping=False,
            )
        except Exception as error:  # noqa: BLE001 - a dial can fail in any way
            failure = _failure_of(error)
        else:
            try:
                yield _AiohttpWebSocket(websocket, on_pong)
            finally:
                # Closing would wait until all that was written is sent.
                _abort(transports)
                await websocket.close()
        finally:
            _abort(transports)
    if failure is not None:
        # Outside the handler: aiohttp's exception shows the URL, and must not be the context.
        raise ConnectionFailed(failure)
