"""Proxies, names and certificates, as the environment has them when a feed dials."""

import logging
import os
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from doors import ADAPTERS
from proxies import connect_proxy
from topone_proto import Connected, Disconnected, FailureKind
from topone_proto.exchange import RefuseHandshake
from topone_proto.testing.conformance import Adapter, Group, Kit, Scenario
from topone_proto.testing.conformance.certificates import (
    authority_pem,
    client_context,
    server_context,
)
from topone_proto.testing.conformance.kit import ONCE, QUICK
from topone_simulator import run_in_thread

pytestmark = pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)

Script = Callable[[Kit], Awaitable[None]]
PASSWORD = "p@ss/word"
USER = "us%20er:p%40ss%2Fword"
AUTHORIZATION = f"Basic {b64encode(f'us er:{PASSWORD}'.encode()).decode()}"


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def run(adapter: Adapter, script: Script) -> None:
    Scenario("network", "It is about a network.", Group.FAILURES, script).check(
        adapter, run_in_thread
    )


def port_of(url: str) -> str:
    return url.split("/")[2].rpartition(":")[2]


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_wss_goes_through_the_proxy(
    adapter: Adapter,
    name: str,
    is_tls: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def script(kit: Kit) -> None:
        with kit.serve(ssl_context=server_context()) as simulator:
            async with kit.open(url=simulator.url, ssl_context=client_context(), topics=[]) as feed:
                await feed.take(Connected)
            target = f"127.0.0.1:{port_of(simulator.url)}"
        [request] = proxy.requests
        assert request.decode().split("\r\n") == [
            f"CONNECT {target} HTTP/1.1",
            f"Host: {target}",
            f"Proxy-Authorization: {AUTHORIZATION}",
            "",
            "",
        ]
        assert proxy.passed.startswith(b"\x16\x03")
        assert b"token" not in proxy.passed

    with connect_proxy(ssl_context=server_context() if is_tls else None) as proxy:
        monkeypatch.setenv(name, f"http{'s' if is_tls else ''}://{USER}@{proxy.url}")
        run(adapter, script)
    for secret in (PASSWORD, USER, AUTHORIZATION):
        assert secret not in caplog.text


def test_what_the_exchange_says_through_a_proxy_is_what_it_says(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(kit: Kit) -> None:
        with kit.serve(ssl_context=server_context()) as simulator:
            simulator.inject(RefuseHandshake(429, retry_after=7))
            simulator.inject(RefuseHandshake(403))
            async with kit.open(
                url=simulator.url, ssl_context=client_context(), config=QUICK
            ) as feed:
                reason = (await feed.take(Disconnected)).reason
                assert reason.status in {429, 403}
        assert proxy.requests

    with connect_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        run(adapter, script)


@pytest.mark.parametrize(
    ("exceptions", "is_excepted"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:{port}", True),
        ("example.org,127.0.0.0/8", True),
        ("*", True),
        ("127.0.0.1:1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_who_goes_around_the_proxy(
    adapter: Adapter, exceptions: str, is_excepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(kit: Kit) -> None:
        with kit.serve(ssl_context=server_context()) as simulator:
            monkeypatch.setenv("NO_PROXY", exceptions.format(port=port_of(simulator.url)))
            async with kit.open(url=simulator.url, ssl_context=client_context(), topics=[]) as feed:
                await feed.take(Connected)
        assert bool(proxy.requests) is not is_excepted

    with connect_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        run(adapter, script)


def test_plain_ws_goes_around_every_proxy(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(kit: Kit) -> None:
        async with kit.open(topics=[]) as feed:
            await feed.take(Connected)
        assert proxy.requests == []

    with connect_proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.url}")
        run(adapter, script)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "HTTP 407"),
        (b"HTTP/1.1 401 No\r\n\r\n", "HTTP 401"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\n", "HTTP 403"),
        (b"HTTP/1.0 502 No\r\n\r\n", "HTTP 502"),
        (b"HTTP/1.1 429 No\r\nRetry-After: 7\r\n\r\n", "HTTP 429"),
        (b"SSH-2.0\r\n", "no HTTP"),
        (b"", "hung up"),
    ],
    ids=["407", "401", "403", "502", "429", "garbage", "hang-up"],
)
def test_a_refusal_of_the_proxy_is_not_the_exchanges(
    adapter: Adapter, answer: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(kit: Kit) -> None:
        async with kit.open(url="wss://exchange.example/", config=QUICK) as feed:
            for _ in range(2):
                event = await feed.take(Disconnected)
                assert event.reason.kind is FailureKind.NETWORK
                assert (event.reason.status, event.reason.retry_after) == (None, None)
                assert words in event.reason.detail
                assert "proxy" in event.reason.detail
                assert event.retry_in is not None
                assert PASSWORD not in repr(event)
                assert AUTHORIZATION not in repr(event)

    with connect_proxy(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{USER}@{proxy.url}")
        run(adapter, script)


@pytest.mark.parametrize(
    ("setting", "kind", "words"),
    [
        ("http://user:word@127.0.0.1:{port}", FailureKind.REFUSED, "the proxy"),
        ("http://no-such-proxy.invalid", FailureKind.DNS, "the proxy"),
        ("socks5://user:word@127.0.0.1:{port}", FailureKind.NETWORK, "HTTPS_PROXY"),
        ("http://user:word@", FailureKind.NETWORK, "HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_is_none_is_named(
    adapter: Adapter,
    setting: str,
    kind: FailureKind,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(kit: Kit) -> None:
        async with kit.open(url="wss://exchange.example/", config=ONCE) as feed:
            failure = await feed.failure()
        assert failure.kind is kind
        assert words in failure.detail
        assert "word" not in failure.detail

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", setting.format(port=port))
    run(adapter, script)


def test_a_proxy_whose_certificate_is_not_trusted_is_named(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(kit: Kit) -> None:
        async with kit.open(url="wss://exchange.example/", config=ONCE) as feed:
            failure = await feed.failure()
        assert failure.kind is FailureKind.TLS
        assert failure.detail.startswith("the proxy: ")
        assert proxy.requests == []

    with connect_proxy(ssl_context=server_context()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy.url}")
        run(adapter, script)


def test_the_dot_behind_a_name_is_for_the_dns_only(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    shown: list[str | None] = []
    getaddrinfo = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not name.startswith("localhost"):
            return getaddrinfo(host, *arguments, **named)
        if named.get("flags", 0) & socket.AI_NUMERICHOST or socket.AI_NUMERICHOST in arguments[4:]:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        asked.append(name)
        return getaddrinfo("127.0.0.1", *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    context = server_context("localhost")
    context.sni_callback = lambda _, name, __: shown.append(name)

    async def script(kit: Kit) -> None:
        with kit.serve(ssl_context=context) as simulator:
            port = port_of(simulator.url)
            url = simulator.url.replace("127.0.0.1", "localhost.")
            async with kit.open(url=url, ssl_context=client_context(), topics=[]) as feed:
                await feed.take(Connected)
            [handshake] = simulator.handshakes
            assert handshake.header("Host") == f"localhost:{port}"

    run(adapter, script)
    assert set(asked) == {"localhost."}
    assert shown == ["localhost"]


def test_the_certificates_that_are_trusted_are_those_of_the_dial(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Set after everything was imported, and changed between two dials."""
    path = tmp_path / "ca.pem"
    path.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    async def script(kit: Kit) -> None:
        with kit.serve(ssl_context=server_context()) as simulator:
            async with kit.open(url=simulator.url, config=QUICK, topics=[]) as feed:
                assert (await feed.take(Disconnected)).reason.kind is FailureKind.TLS
                path.write_bytes(authority_pem())
                await feed.until(Connected)

    run(adapter, script)
