"""The WebSocket that the feed gets by default: all that knows aiohttp is here."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from topone_proto import (
    AsyncWebSocket,
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Endpoint,
    Failure,
    FailureKind,
    failure_from_exception,
    failure_from_response,
)

__all__ = ["open_websocket"]

_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_ENDS = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})


class _Response(aiohttp.ClientResponse):
    """A response that does not show its URL: in debug mode aiohttp logs one that was left open."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _OneRequest:
    """The middleware of a dial: it makes one request of it.

    By itself aiohttp follows redirects, and sends the request again if the server hangs up. Both
    are the core's to decide.
    """

    transport: asyncio.Transport | None = None
    """What carries the WebSocket, once there is one."""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            response = await handler(request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # Not as one of the two exceptions after which aiohttp tries again.
            raise ConnectionFailed(_failure_of(error)) from None
        if response.status != 101:
            response.close()
            raise ConnectionFailed(failure_from_response(response.status, response.headers.items()))
        # Neither is there any more if the server hung up at once; `receive` will tell.
        connection = response.connection
        self.transport = None if connection is None else connection.transport
        return response


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
            # Nearly all are, and a match would cost each of them more.
            if kind is _TEXT or kind is _BINARY:
                frame: str | bytes = message.data
                return frame
            match kind:
                case WSMsgType.PING:
                    await self._send(message.data, WSMsgType.PONG)
                case WSMsgType.PONG:
                    self._on_pong(message.data)
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
        # By hand: aiohttp's own does not wait for the peer once a `receive` was cancelled.
        await self._send(code.to_bytes(2, "big") + reason.encode(), WSMsgType.CLOSE)
        while (await self._websocket.receive()).type not in _ENDS:
            pass

    async def _send(self, payload: bytes, kind: WSMsgType) -> None:
        try:
            await self._websocket.send_frame(payload, kind)
        except ConnectionError:
            raise ConnectionEnded from None


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Failure(FailureKind.NETWORK, f"the proxy answered with HTTP {error.status}")
    return failure_from_exception(error)


async def _proxy_for(endpoint: Endpoint) -> str | None:
    """The proxy that this machine's settings name for the endpoint.

    Not aiohttp's ``trust_env``: it knows only ``WSS_PROXY``, and sends along what ``.netrc`` says.
    """
    if not endpoint.is_tls:
        return None
    proxy = getproxies().get("https")
    # In a thread, because on some systems this asks the DNS.
    if proxy is None or await asyncio.to_thread(proxy_bypass, endpoint.host):
        return None
    if "://" not in proxy:
        return f"http://{proxy}"
    if not proxy.lower().startswith("http://"):
        raise ConnectionFailed(Failure(FailureKind.NETWORK, "HTTPS_PROXY is no http:// proxy"))
    return proxy


@asynccontextmanager
async def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[AsyncWebSocket, None]:
    """Dial with aiohttp. It sends no pings of its own, follows no redirect and adds no ``Origin``.

    ``wss://`` goes through the ``http://`` proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY``
    excepts the host. ``ws://``, which would show the proxy the token, never goes through one.

    Args:
        connect: where to dial, with the token, and the largest message that is taken.
        on_pong: is called with the payload of every pong.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Raises:
        ConnectionFailed: there is no connection; its ``failure`` says why.
    """
    failure: Failure | None = None
    one_request = _OneRequest()
    async with aiohttp.ClientSession(
        # The system's resolver, whatever else is installed: its errors can be told from others.
        connector=aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(one_request,),
        response_class=_Response,
        timeout=aiohttp.ClientTimeout(),  # none: the core has its own deadlines
    ) as session:
        try:
            websocket = await session.ws_connect(
                URL(connect.url(), encoded=True),
                headers=connect.endpoint.headers,
                ssl=ssl_context or True,
                proxy=await _proxy_for(connect.endpoint),
                max_msg_size=connect.max_frame_size + 1,  # aiohttp's is the first size to refuse
                # No waiting for the peer after an error of its. Pyright does not see the fields.
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
                if one_request.transport is not None:  # pragma: no branch - by chance, see there
                    one_request.transport.abort()
                await websocket.close()
    if failure is not None:
        # Out here nothing of aiohttp's exception, which shows the URL, comes along as a context.
        raise ConnectionFailed(failure)
