"""The choice of a proxy, and the way through it, without I/O."""

from base64 import b64decode

import pytest

from topone_proto import ConnectionFailed, Endpoint, FailureKind
from topone_proto.session.proxies import Proxy, Tunnel, proxy_from

WSS = Endpoint("wss://gateway.example:8443/ws")


@pytest.mark.parametrize(
    ("setting", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("http://proxy.example:3128/", Proxy("proxy.example", 3128)),
        ("HTTP://Proxy.Example", Proxy("proxy.example", 80)),
        ("proxy.example:3128", Proxy("proxy.example", 3128)),
        ("https://proxy.example.", Proxy("proxy.example.", 443, is_tls=True)),
        (" http://[::1]:1 ", Proxy("::1", 1)),
    ],
)
def test_the_proxy_is_what_the_setting_says(setting: str, proxy: Proxy) -> None:
    assert proxy_from(WSS, {"https": setting, "http": "http://other"}) == proxy
    assert "." not in proxy.server_name[-1:]


@pytest.mark.parametrize(
    ("user", "plain"),
    [
        ("user:word", "user:word"),
        ("us%20er:p%40ss%3A%2f%C3%A9", "us er:p@ss:/é"),
        ("user", "user:"),
        ("user:", "user:"),
        ("user:p@ss", "user:p@ss"),
    ],
)
def test_user_and_password_are_told_to_the_proxy_and_shown_nowhere(user: str, plain: str) -> None:
    proxy = proxy_from(WSS, {"https": f"http://{user}@proxy.example:3128"})
    assert proxy is not None
    assert proxy.host == "proxy.example"
    scheme, _, secret = (proxy.authorization or "").partition(" ")
    assert (scheme, b64decode(secret).decode()) == ("Basic", plain)
    assert secret not in repr(proxy)
    assert f"Proxy-Authorization: Basic {secret}\r\n".encode() in Tunnel(proxy, WSS).request()


@pytest.mark.parametrize(
    "setting",
    ["socks5://word@h:1", "ftp://word@h", "http://", "http://word@", "http://h:0", "http://h:x",
     "http://h:99999", "http://[::1", "http://bücher.example", "http://a..b",
     f"http://{'a' * 64}.example"],
)  # fmt: skip
def test_what_is_no_http_proxy_is_a_failed_dial(setting: str) -> None:
    with pytest.raises(ConnectionFailed) as failed:
        proxy_from(WSS, {"https": setting})
    failure = failed.value.failure
    assert failure.kind is FailureKind.NETWORK
    assert "HTTPS_PROXY" in failure.detail
    assert "word" not in str(failed.value)


def test_without_a_setting_or_tls_there_is_no_proxy() -> None:
    settings = {"https": "http://proxy.example"}
    assert proxy_from(WSS, {"http": "http://proxy.example"}) is None
    assert proxy_from(WSS, {"https": ""}) is None
    assert proxy_from(Endpoint("ws://localhost/"), settings) is None
    assert proxy_from(WSS, settings) is not None


def excepted(exceptions: str, url: str) -> bool:
    return proxy_from(Endpoint(url), {"https": "http://proxy", "no": exceptions}) is None


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("*", "wss://gateway.example/"),
        ("gateway.example", "wss://gateway.example/"),
        ("gateway.example", "wss://GATEWAY.example./"),
        ("Gateway.Example", "wss://gateway.example/"),
        ("gateway.example.", "wss://gateway.example/"),
        ("example", "wss://gateway.example/"),
        (".example", "wss://gateway.example/"),
        ("*.example", "wss://gateway.example/"),
        (".gateway.example", "wss://gateway.example/"),
        ("other, gateway.example", "wss://gateway.example/"),
        ("other gateway.example", "wss://gateway.example/"),
        ("gateway.example:443", "wss://gateway.example/"),
        ("gateway.example:8443", "wss://gateway.example:8443/"),
        (".example:8443", "wss://gateway.example:8443/"),
        ("10.1.2.3", "wss://10.1.2.3/"),
        ("10.1.2.3:8443", "wss://10.1.2.3:8443/"),
        ("10.0.0.0/8", "wss://10.1.2.3/"),
        ("::1", "wss://[::1]/"),
        ("[::1]", "wss://[::1]/"),
        ("[0:0::1]:8443", "wss://[::1]:8443/"),
        ("2001:db8::/32", "wss://[2001:db8::1]/"),
    ],
)
def test_exceptions(exceptions: str, url: str) -> None:
    assert excepted(exceptions, url)


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("", "wss://gateway.example/"),
        (",", "wss://gateway.example/"),
        (".", "wss://gateway.example/"),
        ("way.example", "wss://gateway.example/"),
        ("other.gateway.example", "wss://gateway.example/"),
        ("gateway.example:8443", "wss://gateway.example/"),
        ("gateway.example:443", "wss://gateway.example:8443/"),
        ("gateway.example:x", "wss://gateway.example/"),
        ("10.1.2.3:1", "wss://10.1.2.3/"),
        ("11.0.0.0/8", "wss://10.1.2.3/"),
        ("[::1]:1", "wss://[::1]:8443/"),
        ("::1", "wss://[::2]/"),
        ("10.0.0.0/8", "wss://[::1]/"),
    ],
)
def test_no_exceptions(exceptions: str, url: str) -> None:
    assert not excepted(exceptions, url)


def test_the_system_is_asked_only_without_an_exception_of_the_environment() -> None:
    asked: list[str] = []

    def ask(host: str) -> bool:
        asked.append(host)
        return True

    settings = {"https": "http://proxy"}
    endpoint = Endpoint("wss://gateway.example./")
    assert proxy_from(endpoint, settings, ask) is None
    assert asked == ["gateway.example"]
    assert proxy_from(endpoint, {**settings, "no": ""}, ask) is not None
    assert asked == ["gateway.example"]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("wss://gateway.example/", "gateway.example:443"),
        ("wss://gateway.example.:8443/", "gateway.example.:8443"),
        ("wss://[::1]/", "[::1]:443"),
    ],
)
def test_the_tunnel_leads_to_the_endpoint(url: str, target: str) -> None:
    request = Tunnel(Proxy("proxy", 1), Endpoint(url)).request()
    assert request == f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \nTransfer-Encoding: chunked\n\n",
    ],
)
def test_the_tunnel_is_there_at_the_end_of_the_head(answer: bytes) -> None:
    tunnel = Tunnel(Proxy("proxy", 1), WSS)
    for byte in answer[:-1]:
        assert not tunnel.receive(bytes([byte]))
    assert tunnel.receive(answer[-1:])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", "HTTP 407: it wants a user name"),
        (b"HTTP/1.1 502 No\r\nContent-Length: 999\r\n\r\n", "HTTP 502"),
        (b"HTTP/1.1 403\r\n\r\n", "HTTP 403"),
        (b"HTTP/1.1 101 No\r\n\r\n", "HTTP 101"),
        (b"HTTP/1.1 302 No\r\nLocation: /\r\n", "HTTP 302"),
        (b"HTTP/1.1 200 OK\r\n", "HTTP 200"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "more than"),
        (b"\x05\x01", "no HTTP"),
        (b"SSH-2.0\r\n", "no HTTP"),
        (b"HTTP/1.1 4", "hung up"),
        (b"", "hung up"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "hung up"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "too long"),
    ],
)
def test_a_refusal_of_the_proxy_is_no_answer_of_the_exchange(answer: bytes, words: str) -> None:
    tunnel = Tunnel(Proxy("proxy", 1), WSS)
    with pytest.raises(ConnectionFailed) as failed:
        if answer:
            tunnel.receive(answer)
        tunnel.receive(b"")
    failure = failed.value.failure
    assert failure.kind is FailureKind.NETWORK
    assert failure.status is None
    assert words in failure.detail
    assert "proxy" in failure.detail


def test_a_password_that_is_not_taken_is_said_so() -> None:
    tunnel = Tunnel(Proxy("proxy", 1, authorization="Basic c2VjcmV0"), WSS)
    with pytest.raises(ConnectionFailed, match="does not take") as failed:
        tunnel.receive(b"HTTP/1.1 407 No\r\n\r\n")
    assert "c2VjcmV0" not in str(failed.value)
