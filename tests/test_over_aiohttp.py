"""aiohttp's WebSocket in place of the default: what it does alike, and what its page says that it
does not."""

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from websockets.asyncio.server import ServerConnection

import dials
import topone_asyncio
from dials import TOKEN, check_opens_nothing, clean, connect_to, raw_server, websocket_server
from doors import run_asyncio
from topone_asyncio.over_aiohttp import _Resolver, open_websocket
from topone_proto import ConnectionEnded, FailureKind
from topone_proto.adapters import conceal
from topone_proto.testing.conformance import SCENARIOS, Adapter, Scenario
from topone_simulator import run_in_thread, serve

URL = "wss://exchange.example/ws/user/"
failure_of = partial(dials.failure_of, open_websocket=open_websocket)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with dials.quiet(caplog), dials.without_proxies():
        yield


# --- as a feed's ---


def open_over_aiohttp(*, token: Any, url: str, ssl_context: Any, **arguments: Any) -> Any:
    # A traceback shows what this function was given as well.
    token, url = conceal(token, url)
    opener = partial(open_websocket, ssl_context=ssl_context)
    return topone_asyncio.open_feed(token=token, url=url, open_websocket=opener, **arguments)


def open_market_over_aiohttp(*, ssl_context: Any, **arguments: Any) -> Any:
    opener = partial(open_websocket, ssl_context=ssl_context)
    return topone_asyncio.open_market_feed(open_websocket=opener, **arguments)


ADAPTER = Adapter(
    "asyncio over aiohttp",
    open_over_aiohttp,
    run_asyncio,
    asyncio.sleep,
    open_market_over_aiohttp,
)
_HEAD = "aiohttp's parser gives a head up that has it, and with it the status"
_SLOW = "aiohttp reads on, and nothing ends it but the deadline of the dial"
_BYTES = "aiohttp tells nobody when bytes came: there is no heard_at"
# What it does not pass, and why; docs/decisions/asyncio-websocket.md has the same.
LIMITS = {
    **{
        f"{refusal}: {form}": _HEAD
        for refusal in ("a 403 ends the feed", "a 429 is heeded")
        for form in (
            "two lengths",
            "a long cookie",
            "a line that is no header",
            "a head that is cut off",
            "a head without an end",
        )
    },
    "a 403 over tls ends the feed: a head that is cut off": _HEAD,
    "a 101 is a 101: a long cookie": _HEAD,
    "a 101 is a 101: keep-alive in the same line": "aiohttp compares the whole line",
    "a 101 is a 101: keep-alive in a line before": "aiohttp looks at the first line only",
    "a 101 is a 101: folded lines": "aiohttp compares the whole line",
    "what is no answer: 103 without an end": _SLOW,
    "a frame that is none ends the connection: masked": "aiohttp takes masked frames",
    "bytes are a sign of life: a large frame on a slow line": _BYTES,
    "bytes are a sign of life: a peer that pings and answers no ping": _BYTES,
    "caches of libraries": "yarl keeps the last URLs in a cache",
}


def test_the_page_has_all_that_it_does_not_pass() -> None:
    assert set(LIMITS) <= {str(scenario) for scenario in SCENARIOS}
    page = (Path(__file__).parents[1] / "docs/decisions/asyncio-websocket.md").read_text(
        encoding="utf-8"
    )
    _, _, section = page.partition("## Conformance scenarios that aiohttp's WebSocket fails")
    listed: set[str] = set()
    for line in section.split("\n## ")[0].splitlines():
        if line.startswith("| `"):
            scenarios, cases, _ = line.strip("| ").split(" | ")
            names = [name.strip(" `") for name in scenarios.split(",")]
            forms = [f": {form.strip()}" for form in cases.split(",")] if cases != "-" else [""]
            listed |= {name + form for name in names for form in forms}
    assert listed == set(LIMITS)


@pytest.mark.thorough
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_it_passes(scenario: Scenario) -> None:
    if str(scenario) in LIMITS:
        # The caches were there before this test.
        gc.unfreeze()
        with pytest.raises(AssertionError):
            scenario.check(ADAPTER, run_in_thread, patience=1)
    else:
        scenario.check(ADAPTER, run_in_thread)


# --- how a dial fails ---


@clean()
async def test_a_server_that_hangs_up_is_not_dialled_again() -> None:
    async with raw_server(b"") as (address, requests):
        failed = await failure_of(f"ws://{address}/")
    assert failed.failure.kind in {FailureKind.NOT_WEBSOCKET, FailureKind.NETWORK}
    (request,) = requests
    connect = connect_to(f"ws://{address}/")
    line, *lines = request.decode().split("\r\n")
    assert line == f"GET {connect.target()} HTTP/1.1"
    # What makes a handshake, and what the endpoint says: aiohttp adds nothing.
    headers = dict(text.split(": ", 1) for text in lines if text)
    assert set(headers) == {
        "Host",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Key",
        *dict(connect.endpoint.headers),
    }
    assert headers["User-Agent"] == dict(connect.endpoint.headers)["User-Agent"]


GOOD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", FailureKind.HANDSHAKE, 200),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", FailureKind.HANDSHAKE, 401),
        (b"HTTP/1.1 101 Yes\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
        *(
            (GOOD + b"Connection: Upgrade\r\n" + line + b"\r\n", FailureKind.NOT_WEBSOCKET, None)
            for line in (
                b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
                b"Sec-WebSocket-Protocol: chat\r\n",
                b"Sec-WebSocket-Accept: one\r\nSec-WebSocket-Accept: two\r\n",
            )
        ),
    ],
)
@clean()
async def test_answers_that_open_nothing(
    answer: bytes, kind: FailureKind, status: int | None
) -> None:
    await check_opens_nothing(answer, kind, status, open_websocket=open_websocket)


@clean()
async def test_tls_knows_the_certificates_of_the_dial(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serve(tokens={TOKEN: "demo"}, ssl_context=server) as simulator:
        failed = await failure_of(simulator.url)
        assert failed.failure.kind is FailureKind.TLS
        # Set long after aiohttp was imported.
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with open_websocket(connect_to(simulator.url), print):
            pass


@contextmanager
def refusing_slowly(answer: bytes) -> Iterator[tuple[str, ssl.SSLContext]]:
    """A TLS server in a thread that refuses, and has no word to spare for TLS's own goodbye."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    is_over = threading.Event()

    def serve_one(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with server.wrap_socket(connection, server_side=True) as tls:
            while not tls.recv(4096).endswith(b"\r\n\r\n"):
                pass
            tls.sendall(answer)
            is_over.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_one, args=[listener])
        thread.start()
        yield f"wss://127.0.0.1:{listener.getsockname()[1]}/", client
        is_over.set()
        thread.join(20)


@pytest.mark.parametrize(
    ("opener", "answer"),
    [
        (open_websocket, b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        (open_websocket, b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n"),
        (topone_asyncio.open_websocket, b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n"),
        (topone_asyncio.open_websocket, b"no HTTP\r\n\r\n"),
    ],
)
def test_a_program_can_end_at_once_after_a_refusal(opener: Any, answer: bytes) -> None:
    """The rest of the connection would complain when it is collected."""
    with refusing_slowly(answer) as (url, context):
        asyncio.run(dials.failure_of(url, context, open_websocket=opener))
        gc.collect()


# --- names and proxies ---


@clean()
async def test_names_are_looked_up_by_nobody_elses_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_answer = threading.Event()

    def getaddrinfo(*_: object, flags: int = 0, **__: object) -> Any:
        if not flags:
            may_answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        dial = asyncio.create_task(failure_of(URL))
        await asyncio.sleep(0)
        assert await loop.run_in_executor(None, int, "7") == 7
        may_answer.set()
        assert (await dial).failure.kind is FailureKind.DNS


@clean()
async def test_every_kind_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 443, 0, 2)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 443, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443)),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        every = await _Resolver().resolve("exchange.example", 443)
        old = await _Resolver().resolve("exchange.example", 443, socket.AF_INET)
    assert {it["host"] for it in every} == {"fe80::1%2", "2001:db8::1", "192.0.2.1"}
    assert {(it["hostname"], it["port"]) for it in every} == {("exchange.example", 443)}
    assert old == [it for it in every if it["host"] == "192.0.2.1"]


@clean()
async def test_wss_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as (proxy, requests):
        for name in (f"http://user:word@{proxy}", proxy):
            monkeypatch.setenv("HTTPS_PROXY", name)
            failed = await failure_of(URL)
            assert failed.failure.kind is FailureKind.NETWORK
            assert failed.failure.status is None
            assert "407" in failed.failure.detail
    for request in requests:
        assert request.startswith(b"CONNECT exchange.example:443 HTTP/1.1\r\n")
        assert b"s3cret" not in request
    first, second = requests
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n" in first
    assert b"Proxy-Authorization" not in second


@clean()
async def test_who_goes_around_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with (
        raw_server(b"") as (proxy, requests),
        await asyncio.start_server(hang_up, "127.0.0.1", 0) as server,
    ):
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        await failure_of(f"ws://{address}/")
        monkeypatch.setenv("NO_PROXY", address)  # with its port
        await failure_of(f"wss://{address}/")
    assert requests == []


# --- what an open WebSocket does ---


async def end_of(handle: Callable[[ServerConnection], Awaitable[None]]) -> ConnectionEnded:
    async with websocket_server(handle) as url, open_websocket(connect_to(url), print) as websocket:
        with pytest.raises(ConnectionEnded) as ended:
            await websocket.receive()
    return ended.value


@pytest.mark.parametrize("code", [1006, 5000, 65535])
@clean()
async def test_a_code_that_is_none_is_no_close_frame(code: int) -> None:
    async def hang_up(connection: ServerConnection) -> None:
        connection.transport.write(b"\x88\x02" + code.to_bytes(2, "big"))
        await connection.wait_closed()

    ended = await end_of(hang_up)
    assert (ended.code, ended.reason) == (None, f"invalid close code {code}")


@clean()
async def test_a_frame_that_is_none_is_the_end() -> None:
    async def babble(connection: ServerConnection) -> None:
        connection.transport.write(b"\x8f\x00")
        await connection.wait_closed()

    ended = await end_of(babble)
    assert ended.code is None
    assert "opcode" in ended.reason


@clean()
async def test_no_text_of_aiohttp_shows_the_token() -> None:
    """In debug mode aiohttp logs its responses, if something keeps them from being closed."""
    async with (
        serve(tokens={TOKEN: "demo"}) as simulator,
        open_websocket(connect_to(simulator.url), print),
    ):
        responses = [it for it in gc.get_objects() if isinstance(it, aiohttp.ClientResponse)]
        assert responses
        assert "s3cret" not in repr(responses)
