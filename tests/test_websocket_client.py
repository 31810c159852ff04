"""The WebSocket without I/O, against websockets' own server side."""

import gc
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.server import ServerProtocol

import topone_proto
from topone_proto import (
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Endpoint,
    FailureKind,
    Token,
)
from topone_proto.session.proxies import Proxy
from topone_websockets import WebSocketClient

TOKEN = "topapi:S3CRET"
CONNECT = Connect(Endpoint("ws://127.0.0.1:1/ws/user/"), Token(TOKEN), 5.0, 1000)


class Pair:
    """A client behind its handshake, and what answers it."""

    def __init__(self, chunks: Callable[[bytes], Iterable[bytes]] = lambda data: [data]) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.chunks = chunks
        self.client = WebSocketClient(
            CONNECT,
            lambda payload: self.heard.append(("pong", payload)),
            lambda payload: self.heard.append(("ping", payload)),
        )
        self.server = ServerProtocol(max_size=None)
        self.server.receive_data(self.client.to_send())
        [self.request] = self.server.events_received()
        self.server.send_response(self.server.accept(self.request))  # type: ignore[arg-type]

    def tell(self, data: bytes = b"") -> None:
        """Give the client what the server has to say, and these bytes, by chunks."""
        for chunk in self.chunks(b"".join(self.server.data_to_send()) + data):
            if chunk:
                self.client.receive(chunk)

    def answers(self) -> list[tuple[Opcode, bytes]]:
        """The frames that the client has sent since."""
        self.server.receive_data(self.client.to_send())
        return [
            (frame.opcode, bytes(frame.data))
            for frame in self.server.events_received()
            if isinstance(frame, Frame)
        ]


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


messages = st.lists(st.binary(max_size=300), min_size=1, max_size=4)
conversation = st.lists(
    st.one_of(
        messages.map(lambda parts: ("message", parts)),
        st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=125)),
    ),
    max_size=8,
)


@given(conversation, st.data())
def test_however_the_bytes_come_it_hears_the_same(
    said: list[tuple[str, Any]], data: st.DataObject
) -> None:
    wire = b""
    for what, content in said:
        if what == "message":
            for number, part in enumerate(content):
                opcode = Opcode.CONT if number else Opcode.TEXT
                wire += frame(opcode, part, fin=number == len(content) - 1)
        else:
            wire += frame(Opcode[what.upper()], content)

    def chunks(text: bytes) -> Iterable[bytes]:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    pair = Pair(chunks)
    pair.tell()
    pair.client.send_ping(b"")
    assert pair.answers() == [(Opcode.PING, b"")]
    pair.server.data_to_send()  # its pong
    pair.tell(wire)
    assert pair.client.is_connected
    assert list(pair.client.unread) == [
        b"".join(parts) for what, parts in said if what == "message"
    ]
    assert pair.heard == [(what, content) for what, content in said if what != "message"]
    assert pair.answers() == [(Opcode.PONG, content) for what, content in said if what == "ping"]
    assert pair.client.end() is None


@given(st.sampled_from([b"", b"HTTP/1.1 101 Fine\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]), st.binary())
def test_no_answer_to_the_handshake_is_worse_than_a_failure(start: bytes, data: bytes) -> None:
    client = WebSocketClient(CONNECT, lambda _: None)
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(start + data)
        client.receive(b"")
    assert failed.value.failure.kind in {FailureKind.NOT_WEBSOCKET, FailureKind.HANDSHAKE}
    assert not client.is_connected


@given(st.lists(st.binary(min_size=1)))
def test_no_bytes_on_an_open_connection_raise(pieces: list[bytes]) -> None:
    pair = Pair()
    pair.tell()
    for data in pieces:
        pair.client.receive(data)
    pair.client.receive(b"")
    assert pair.client.end() is not None


def test_nothing_is_asked_for_but_what_was_told() -> None:
    endpoint = Endpoint("ws://[::1]:8765/ws/user/?a=b", origin="https://example.org")
    connect = Connect(endpoint, Token(TOKEN), 5.0, 1000)
    request = WebSocketClient(connect, lambda _: None).to_send().decode()
    line, *lines = request.split("\r\n")
    assert line == f"GET {connect.target()} HTTP/1.1"
    headers = dict(text.split(": ") for text in lines if text)
    assert headers.pop("Sec-WebSocket-Key")
    assert headers == {
        "Host": "[::1]:8765",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Origin": "https://example.org",
        "User-Agent": f"topone-proto/{topone_proto.__version__}",
    }


def test_a_refusal_is_told_with_its_status_and_without_the_token() -> None:
    client = WebSocketClient(CONNECT, lambda _: None)
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(b"HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")
    assert failed.value.failure.status == 429
    assert failed.value.failure.retry_after == 7
    assert failed.value.__context__ is None
    assert TOKEN not in repr(failed.value) + str(failed.value)


def test_a_pong_that_nobody_asked_for_is_not_told() -> None:
    pair = Pair()
    pair.tell(frame(Opcode.PONG))
    assert pair.client.is_connected
    assert pair.heard == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 No\r\n\r\nperhaps mo",
        b"HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\ncut off",
        b"HTTP/1.0 403 No\r\n\r\n",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_a_refusal_counts_however_its_answer_goes_on(answer: bytes) -> None:
    client = WebSocketClient(CONNECT, lambda _: None)
    error: Exception = ConnectionResetError()
    try:
        client.receive(answer)
    except ConnectionFailed as failed:
        error = failed
    assert client.failure(error).status == 403


def test_a_head_that_a_reset_cuts_off_counts_by_its_lines() -> None:
    client = WebSocketClient(CONNECT, lambda _: None)
    client.receive(b"HTTP/1.1 401 No\r\nRetry-Af")
    assert client.failure(ConnectionResetError()).status == 401


def test_without_an_answer_the_error_counts() -> None:
    client = WebSocketClient(CONNECT, lambda _: None)
    assert client.failure(TimeoutError()).kind is FailureKind.TIMEOUT


@pytest.mark.parametrize(
    ("wire", "code", "reason"),
    [
        (frame(Opcode.CLOSE, Close(1012, "soon").serialize()), 1012, "soon"),
        (frame(Opcode.CLOSE), 1005, ""),
        (b"", None, ""),
        (b"\x8f\x00", None, "invalid opcode"),
        (frame(Opcode.TEXT, b"a" * 1001), None, "exceeds limit of 1000 bytes"),
        (frame(Opcode.CLOSE, b"\x03\xe8\xff"), None, "invalid start byte"),
    ],
)
def test_the_end_is_behind_what_was_said_before(wire: bytes, code: int | None, reason: str) -> None:
    pair = Pair()
    pair.tell(frame(Opcode.TEXT, b"first") + wire)
    if not wire:
        assert pair.client.end() is None
        pair.client.receive(b"")
    end = pair.client.end()
    assert list(pair.client.unread) == [b"first"]
    assert end is not None
    assert end.code == code
    assert reason in end.reason
    for send in (partial(pair.client.send_text, "late"), partial(pair.client.send_ping, b"")):
        with pytest.raises(ConnectionEnded) as late:
            send()
        assert (late.value.code, late.value.reason) == (end.code, end.reason)
        assert late.value.__context__ is None


def test_what_is_sent_arrives() -> None:
    pair = Pair()
    pair.tell()
    pair.client.send_text("é")
    pair.client.send_ping(b"1")
    assert pair.answers() == [(Opcode.TEXT, "é".encode()), (Opcode.PING, b"1")]


def test_after_a_close_only_the_peers_is_waited_for() -> None:
    pair = Pair()
    pair.tell()
    pair.client.close(1000, "bye")
    pair.client.close(1001, "again")
    with pytest.raises(ConnectionEnded):
        pair.client.send_text("late")
    assert pair.answers() == [(Opcode.CLOSE, Close(1000, "bye").serialize())]
    assert pair.client.end() is None
    pair.tell()
    end = pair.client.end()
    assert end is not None
    assert (end.code, end.reason) == (1000, "bye")


# --- through a proxy

CA = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CA.issue_cert("exchange.example", "proxy.example").configure_cert(SERVER)
TRUSTING = ssl.create_default_context()
CA.configure_trust(TRUSTING)
WSS = Connect(Endpoint("wss://exchange.example./ws"), Token(TOKEN), 5.0, 1000)


def pumped(client: WebSocketClient, server: "TlsServer") -> None:
    while client.has_to_send:
        server.hear(client.to_send())
        client.receive(server.says())


class TlsServer:
    """The end of TLS on the other side, and what is said within."""

    def __init__(self) -> None:
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = SERVER.wrap_bio(self._received, self._sent, server_side=True)
        self.is_established = False
        self.heard = b""

    def hear(self, data: bytes) -> None:
        self._received.write(data)
        with suppress(ssl.SSLWantReadError):
            if not self.is_established:
                self._tls.do_handshake()
                self.is_established = True
            while plain := self._tls.read(16384):
                self.heard += plain

    def says(self, plain: bytes = b"") -> bytes:
        if plain:
            self._tls.write(plain)
        return self._sent.read()


def test_it_dials_the_proxy_and_says_nothing_else_before_there_is_a_tunnel() -> None:
    proxy = Proxy("proxy.example.", 3128, authorization="Basic c2VjcmV0")
    client = WebSocketClient(WSS, len, ssl_context=TRUSTING, proxy=proxy)
    assert client.address == ("proxy.example.", 3128)
    assert client.to_send() == (
        b"CONNECT exchange.example.:443 HTTP/1.1\r\nHost: exchange.example.:443\r\n"
        b"Proxy-Authorization: Basic c2VjcmV0\r\n\r\n"
    )
    assert not client.has_to_send
    assert client.to_send() == b""
    client.receive(b"HTTP/1.1 200 Fine\r\n")
    assert not client.has_to_send
    client.receive(b"\r\n")
    server = TlsServer()
    pumped(client, server)
    assert server.heard.startswith(
        b"GET /ws?token=topapi:S3CRET HTTP/1.1\r\nHost: exchange.example"
    )
    client.receive(server.says(b"HTTP/1.1 100 \r\n\r\n"))
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(server.says(b"HTTP/1.1 403 No\r\n\r\n"))
    assert failed.value.failure.status == 403
    assert "proxy" not in failed.value.failure.detail


@pytest.mark.parametrize("is_tls", [False, True])
def test_without_tls_of_its_own_it_goes_through_a_proxy_as_it_is(*, is_tls: bool) -> None:
    """No adapter does this, since the proxy would read the token."""
    connect = Connect(Endpoint("ws://127.0.0.1:80/ws"), Token(TOKEN), 5.0, 1000)
    proxy = Proxy("proxy.example", 443, is_tls=is_tls)
    client = WebSocketClient(connect, len, ssl_context=TRUSTING, proxy=proxy)
    server = TlsServer()
    if is_tls:
        pumped(client, server)
    assert (server.heard or client.to_send()).startswith(b"CONNECT 127.0.0.1:80 ")
    answer = b"HTTP/1.1 200 Fine\r\n\r\n"
    client.receive(server.says(answer) if is_tls else answer)
    server.heard = b""
    if is_tls:
        server.hear(client.to_send())
    assert (server.heard or client.to_send()).startswith(b"GET /ws?token=topapi:S3CRET ")
    refusal = b"HTTP/1.1 403 No\r\n\r\n"
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(server.says(refusal) if is_tls else refusal)
    assert failed.value.failure.status == 403


def test_tls_goes_within_tls_to_an_https_proxy() -> None:
    client = WebSocketClient(
        WSS, len, ssl_context=TRUSTING, proxy=Proxy("proxy.example", 443, is_tls=True)
    )
    outer, inner = TlsServer(), TlsServer()
    pumped(client, outer)
    assert outer.heard.startswith(b"CONNECT ")
    outer.heard = b""
    client.receive(outer.says(b"HTTP/1.1 200 Fine\r\n\r\n"))
    while client.has_to_send:
        outer.hear(client.to_send())
        inner.hear(outer.heard)
        outer.heard = b""
        client.receive(outer.says(inner.says()))
    assert inner.heard.startswith(b"GET ")


@pytest.mark.parametrize("is_tls", [False, True])
def test_what_goes_wrong_before_the_tunnel_is_the_proxys(is_tls: bool) -> None:
    proxy = Proxy("proxy.example", 1, is_tls=is_tls)
    client = WebSocketClient(WSS, len, ssl_context=TRUSTING, proxy=proxy)
    failure = client.failure(ConnectionRefusedError(111, "refused"))
    assert (failure.kind, failure.detail) == (FailureKind.REFUSED, "the proxy: refused")
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(b"HTTP/1.1 407 No\r\n\r\n")
    assert failed.value.failure.status is None
    assert failed.value.failure.detail.startswith("the proxy")
    assert client.failure(failed.value) == failed.value.failure


def test_plain_text_goes_through_a_tunnel_if_that_is_asked_for() -> None:
    client = WebSocketClient(CONNECT, len, proxy=Proxy("proxy.example", 1))
    assert client.to_send().startswith(b"CONNECT 127.0.0.1:1 ")
    client.receive(b"HTTP/1.1 200 Fine\r\n\r\n")
    assert client.to_send().startswith(b"GET /ws/user/")
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(b"HTTP/1.1 403 No\r\n\r\n")
    assert failed.value.failure.status == 403


def test_an_alert_in_place_of_an_answer_is_told() -> None:
    client, server = WebSocketClient(WSS, len, ssl_context=TRUSTING), TlsServer()
    pumped(client, server)
    garbled = bytearray(server.says(b"HTTP/1.1 403 No\r\n\r\n"))
    garbled[-1] ^= 1
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(bytes(garbled))
    assert failed.value.failure.kind is FailureKind.TLS


def test_a_server_that_hangs_up_in_tls_is_no_alert() -> None:
    client, server = WebSocketClient(WSS, len, ssl_context=TRUSTING), TlsServer()
    pumped(client, server)
    with pytest.raises(ConnectionFailed) as failed:
        client.receive(b"")
    assert failed.value.failure.kind is FailureKind.NOT_WEBSOCKET


def test_behind_the_tunnel_the_server_is_meant() -> None:
    client = WebSocketClient(WSS, len, ssl_context=TRUSTING, proxy=Proxy("proxy.example", 1))
    client.receive(b"HTTP/1.1 200 Fine\r\n\r\n")
    assert client.failure(ConnectionResetError(104, "reset")).detail == "reset"


def test_no_url_with_a_token_is_left_in_a_cache() -> None:
    """``urllib.parse`` keeps the URLs that it was given."""
    cached: Any = urlsplit
    cached.cache_clear()
    client = WebSocketClient(CONNECT, len)
    assert TOKEN in client.to_send().decode()
    assert TOKEN not in repr(gc.get_referents(urlsplit))
    urlsplit(CONNECT.url())
    assert TOKEN in repr(gc.get_referents(urlsplit))
    cached.cache_clear()
