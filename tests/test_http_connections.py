"""The connections of the HTTP client: names, TLS, proxies, and how long one lives."""

import asyncio
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

import topone_accounts._client as client_module
from http_servers import (
    FOR_TOKEN,
    PATIENCE,
    QUESTION,
    SECRET,
    Caller,
    Library,
    answer,
    asked,
    each_library,
    saying,
    serving,
    silence,
    wait_until,
)
from proxies import connect_proxy
from topone_proto import Connect, ConnectionFailed, Failure, FailureKind, Token
from topone_proto.account import AccountStep, LoadState
from topone_proto.adapters import HttpEndpoint
from topone_proto.testing.conformance.certificates import (
    authority_pem,
    client_context,
    server_context,
)
from topone_proto.wire.http import HttpResponse


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- Names, TLS and proxies


def names_lead_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name that is looked up is this machine's."""
    found: list[str] = []
    look_up = socket.getaddrinfo

    def getaddrinfo(
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the real one's
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not name[:1].isdigit():
            if flags & socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "no number")
            found.append(name)
            host = "127.0.0.1"
        return look_up(host, port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


@each_library
@pytest.mark.parametrize("host", ["exchange.example", "exchange.example.", "EXCHANGE.example"])
def test_tls_knows_the_host_by_its_name(
    library: Library, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = names_lead_here(monkeypatch)
    with serving(saying(answer()), fresh_context("exchange.example")) as server:
        client = library.open(server.endpoint(host), client_context())
        [response] = asked(library, client, QUESTION)
    assert isinstance(response, HttpResponse)
    assert looked_up == [host.lower()]
    assert server.names == ["exchange.example"]
    assert f"Host: {host.removesuffix('.')}:{server.port}".encode() in server.heads[0]


def fresh_context(*names: str) -> ssl.SSLContext:
    """A server's context of its own: the one that is cached may not be changed."""
    return server_context.__wrapped__(*names)


@each_library
@pytest.mark.parametrize("names", [("localhost",), ()], ids=["name", "trust"])
def test_a_certificate_that_is_not_right_is_refused(library: Library, names: Any) -> None:
    context = client_context() if names else None
    with serving(saying(answer()), fresh_context(*names)) as server:
        [failure] = asked(library, library.open(server.endpoint(), context), QUESTION)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TLS
    assert failure.detail
    assert server.requests == []


@each_library
def test_a_server_that_wants_a_certificate_says_so(library: Library) -> None:
    """TLS 1.3 tells it after the handshake, in an alert."""
    context = fresh_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority_pem().decode())

    def refuse() -> None:
        plain, _ = listener.accept()
        with (
            plain,
            suppress(OSError),
            context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as line,
        ):
            with suppress(ssl.SSLError):
                line.do_handshake()
            # A reset would overtake the alert.
            line.shutdown(socket.SHUT_WR)
            wait_for_end(line.detach())

    def wait_for_end(number: int) -> None:
        with socket.socket(fileno=number) as line:
            while line.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse)
        thread.start()
        endpoint = HttpEndpoint(f"https://127.0.0.1:{listener.getsockname()[1]}")
        [failure] = asked(library, library.open(endpoint, client_context()), QUESTION)
        thread.join(PATIENCE)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TLS


@each_library
def test_the_authorities_of_the_system_are_trusted(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with serving(saying(answer()), fresh_context()) as server:
        [response] = asked(library, library.open(server.endpoint()), QUESTION)
    assert isinstance(response, HttpResponse)


@each_library
def test_nobody_there_is_a_refusal(library: Library) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    [failure] = asked(library, library.open(HttpEndpoint(f"http://127.0.0.1:{port}")), QUESTION)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.REFUSED


@each_library
def test_a_name_without_an_address_is_a_failure_of_the_dns(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    [failure] = asked(library, library.open(HttpEndpoint("https://exchange.example")), QUESTION)
    assert failure == Failure(FailureKind.DNS, "Name or service not known")


@each_library
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_https_goes_through_the_proxy(
    library: Library, is_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(saying(answer(b"x" * 100_000)), fresh_context()) as server,
        connect_proxy(ssl_context=fresh_context() if is_tls else None) as proxy,
    ):
        monkeypatch.setenv(
            "HTTPS_PROXY", f"http{'s' if is_tls else ''}://us%20er:p%40ss@{proxy.url}"
        )
        client = library.open(server.endpoint(), client_context())
        [response] = asked(library, client, QUESTION)
    assert isinstance(response, HttpResponse)
    assert len(response.body) == 100_000
    [request] = proxy.requests
    assert request.decode().split("\r\n") == [
        f"CONNECT 127.0.0.1:{server.port} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Proxy-Authorization: Basic dXMgZXI6cEBzcw==",
        "",
        "",
    ]
    assert SECRET.encode() not in proxy.passed


@each_library
@pytest.mark.parametrize(
    ("exceptions", "is_excepted"),
    [("127.0.0.1", True), ("127.0.0.1:{port}", True), ("127.0.0.1:1", False), ("", False)],
)
def test_who_goes_around_the_proxy(
    library: Library, exceptions: str, is_excepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(saying(answer()), fresh_context()) as server, connect_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exceptions.format(port=server.port))
        client = library.open(server.endpoint(), client_context())
        [response] = asked(library, client, QUESTION)
    assert isinstance(response, HttpResponse)
    assert bool(proxy.requests) is not is_excepted


@each_library
def test_plain_http_goes_through_no_proxy(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(saying(answer())) as server, connect_proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.url}")
        [response] = asked(library, library.open(server.endpoint()), QUESTION)
    assert isinstance(response, HttpResponse)
    assert proxy.requests == []


@each_library
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 407 Who?\r\n\r\n", "the proxy answered with HTTP 407: it wants a user name"),
        (b"HTTP/1.1 502 No\r\n\r\n", "the proxy answered with HTTP 502"),
        (b"", "the proxy hung up"),
        (b"nonsense\r\n", "the answer of the proxy is no HTTP"),
    ],
)
def test_a_proxy_that_refuses_says_so(
    library: Library, said: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy(said) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.url}")
        client = library.open(HttpEndpoint("https://exchange.example"), client_context())
        [failure] = asked(library, client, QUESTION)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.NETWORK
    assert words in failure.detail


@each_library
def test_a_proxy_that_is_not_there_is_named(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    client = library.open(HttpEndpoint("https://exchange.example"))
    [failure] = asked(library, client, QUESTION)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.REFUSED
    assert failure.detail.startswith("the proxy: ")


# --- Connections


@each_library
def test_pages_come_over_one_connection(library: Library) -> None:
    with serving(saying(answer(b"1"), answer(b"2"))) as server:
        answers = asked(library, library.open(server.endpoint()), QUESTION, QUESTION)
    assert [each.body for each in answers if isinstance(each, HttpResponse)] == [b"1", b"2"]
    assert server.connections == 1


@each_library
def test_a_request_for_a_token_has_a_connection_of_its_own(library: Library) -> None:
    with serving(saying(answer(), answer(), answer())) as server:
        asked(library, library.open(server.endpoint()), QUESTION, FOR_TOKEN, QUESTION)
    assert [number for number, _ in server.requests] == [1, 2, 2]


@each_library
def test_a_connection_is_kept_for_a_short_time(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(saying(answer(), answer())) as server:
        client = library.open(server.endpoint())

        async def main() -> None:
            await client.fetch(QUESTION)
            now = client_module._clock()
            monkeypatch.setattr(client_module, "_clock", lambda: now + 4.1)
            await client.fetch(QUESTION)
            await client.aclose()

        library.run(main)
    assert [number for number, _ in server.requests] == [1, 2]


@each_library
def test_a_connection_that_was_closed_is_not_used(library: Library) -> None:
    with serving(saying(answer(), keeps_open=False)) as server:
        client = library.open(server.endpoint())

        async def main() -> None:
            for _ in range(3):
                assert (await client.fetch(QUESTION)).status == 200
                kept = client._kept
                assert kept is not None
                while not kept.stream.has_news():
                    await library.sleep(0.001)
            await client.aclose()

        library.run(main)
    assert [number for number, _ in server.requests] == [1, 2, 3]


@each_library
def test_nothing_is_sent_twice(library: Library) -> None:
    """A server may close a connection that was kept at the very moment of the next request."""

    async def script(caller: Caller) -> None:
        await caller.hear()
        await caller.say(answer())
        await caller.hear()

    with serving(script) as server:
        answers = asked(library, library.open(server.endpoint()), QUESTION, QUESTION)
    assert isinstance(answers[0], HttpResponse)
    assert isinstance(answers[1], Failure)
    assert answers[1].kind in {FailureKind.LOST, FailureKind.NETWORK}
    assert [number for number, _ in server.requests] == [1, 1]


@each_library
def test_an_answer_that_came_twice_answers_one_question(library: Library) -> None:
    """The rest of it would answer the next question with old news."""
    twice = answer(b"first") + answer(b"stale")
    with serving(saying(twice, answer(b"second"))) as server:
        answers = asked(library, library.open(server.endpoint()), QUESTION, QUESTION)
    bodies = [each.body for each in answers if isinstance(each, HttpResponse)]
    assert b"stale" not in bodies
    assert len(bodies) == 2


@each_library
def test_two_requests_at_a_time_have_a_connection_each(library: Library) -> None:
    with serving(saying(answer(b"1"), answer(b"2"))) as server:
        client = library.open(server.endpoint())
        found: list[bytes] = []

        async def one() -> None:
            found.append((await client.fetch(QUESTION)).body)

        async def main() -> None:
            await both(library, one, one)
            await client.aclose()

        library.run(main)
    assert found == [b"1", b"1"]
    assert server.connections == 2


async def both(library: Library, *functions: Callable[[], Awaitable[None]]) -> None:
    if library.name == "trio":
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
    else:
        await asyncio.gather(*(function() for function in functions))


@each_library
def test_closing_ends_what_is_under_way(library: Library) -> None:
    with serving(silence) as server:
        client = library.open(server.endpoint())
        failures: list[Failure] = []

        async def one() -> None:
            try:
                await client.fetch(QUESTION)
            except ConnectionFailed as failed:
                failures.append(failed.failure)

        async def close() -> None:
            while not server.requests:
                await library.sleep(0.001)
            await client.aclose()
            await client.aclose()

        async def main() -> None:
            await both(library, one, close)
            with pytest.raises(ConnectionFailed, match="closed"):
                await client.fetch(QUESTION)

        library.run(main)
        wait_until(lambda: server.open == 0)
    assert len(failures) == 1
    assert server.connections == 1


# --- The page


def test_the_page_shows_a_client_and_a_store_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of own-http-client.md, with plain HTTP on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    page = Path(__file__).parents[1].joinpath("docs", "own-http-client.md").read_text("utf-8")
    shown: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(block, shown)
    actions: list[Any] = []

    def carry_out(step: AccountStep) -> None:
        shown["carry_out"](step, actions.append, at_once)

    def at_once(call: Any, *arguments: Any) -> None:
        carry_out(call(*arguments))

    said = answer(b'{"code":0,"data":{"apiToken":"topapi:1"}}')
    with serving(saying(said, answer(b"nonsense"), keeps_open=False)) as server:
        shown["exchange"] = server.endpoint()
        monkeypatch.setattr(http.client, "HTTPSConnection", http.client.HTTPConnection)
        carry_out(shown["account"].start(time.monotonic()))
    assert [type(action) for action in actions] == [Connect]
    assert shown["store"].load().token.token == Token("topapi:1")
    assert isinstance(shown["keep"](shown["account"], LoadState(), time.monotonic), AccountStep)
    assert [head.split(b"?")[0] for head in server.heads] == [b"GET /u/v1/api/token"]
