"""Endpoints, and the token that no text of anything shows."""

import asyncio
import copy
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

import topone_proto
from topone_proto.errors import ConfigurationError
from topone_proto.secrets.token import Token, conceal
from topone_proto.session.actions import Connect
from topone_proto.session.endpoint import DEFAULT_URL, PUBLIC_URL, Endpoint, HttpEndpoint
from topone_proto.wire.http import Credentials, HttpRequest
from topone_proto.wire.requests import DEFAULT_HTTP_URL, balances_request, token_request

SECRET = "topapi:0123456789/abc+def=="
TOKEN = Token(SECRET)
AGENT = ("User-Agent", f"topone-proto/{topone_proto.__version__}")
CONNECT = Connect(Endpoint(), TOKEN, timeout=10.0, max_frame_size=2**20)


def tokens() -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


def hides_the_secret(text: str) -> bool:
    spellings = (SECRET, quote(SECRET, safe=":"), quote(SECRET, safe=""), "0123456789")
    return not any(spelling in text for spelling in spellings)


def refusal(**settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Endpoint(**settings)
    error = caught.value
    assert str(error) == f"{error.setting}: {error.problem}; {error.remedy}"
    assert error.problem
    assert error.remedy
    assert error.__cause__ is None
    assert error.__context__ is None, "urlsplit's own errors quote parts of the URL"
    return error


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64 + ".example"])
def test_a_name_that_no_host_can_have_is_refused(host: str) -> None:
    assert "name" in refusal(url=f"wss://{host}/ws").problem


@pytest.mark.parametrize("host", ["a.example.", "a" * 63 + ".example", "[::1]", "127.0.0.1"])
def test_a_name_that_a_host_can_have_is_taken(host: str) -> None:
    assert Endpoint(f"wss://{host}/ws").host == host.strip("[]")


# --- The token


@pytest.mark.parametrize("holder", [TOKEN, CONNECT, [TOKEN], {"token": TOKEN}, (1, CONNECT)])
@pytest.mark.parametrize(
    "text_of",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r:>40}".format,
        "%s".__mod__,
        lambda holder: f"{holder} {holder!r}",
        lambda holder: logging.LogRecord("x", 1, "x", 1, "%s", (holder,), None).getMessage(),
        pretty_repr,
        lambda holder: json.dumps([repr(holder)], default=str),
    ],
)
def test_no_text_shows_a_token(holder: Any, text_of: Callable[[Any], str]) -> None:
    if isinstance(holder, tuple):
        holder = list(holder)  # % would take a tuple apart
    text = text_of(holder)
    assert hides_the_secret(text)
    assert "***" in text


def test_a_token_is_not_written_down() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for holder in (TOKEN, CONNECT):
            with pytest.raises(TypeError, match="not pickled") as caught:
                pickle.dumps(holder, protocol)
            assert hides_the_secret(str(caught.value))
    with pytest.raises(TypeError):
        json.dumps(TOKEN)
    with pytest.raises(TypeError):
        msgspec.json.encode(TOKEN)
    with pytest.raises(TypeError):
        vars(TOKEN)


def test_a_copy_of_a_token_is_the_token() -> None:
    assert copy.copy(TOKEN) is TOKEN
    assert copy.deepcopy([TOKEN]) == [TOKEN]
    assert copy.deepcopy(CONNECT) == CONNECT
    assert attrs.asdict(CONNECT)["token"] is TOKEN
    assert hides_the_secret(repr(attrs.asdict(CONNECT)))


def test_tokens_compare_by_content() -> None:
    assert Token(SECRET) == TOKEN
    assert hash(Token(SECRET)) == hash(TOKEN)
    assert Token(SECRET + "x") != TOKEN
    assert TOKEN != SECRET
    assert TOKEN.reveal() == SECRET


@pytest.mark.parametrize(
    "secret", ["", " ", "a b", "a\n", "a\r\nX: y", "\x00", "é", "\x7f", None, 5, b"abc"]
)
def test_what_is_no_token_is_refused_when_it_is_asked_for(secret: Any) -> None:
    token = Token(secret)
    assert repr(token) == "Token(***)"
    with pytest.raises(ConfigurationError) as caught:
        token.require_usable()
    error = caught.value
    assert error.setting == "token"
    assert error.remedy
    assert "X: y" not in str(error)


def dial_that_fails(connect: Connect) -> None:
    if connect.endpoint.host:
        raise OSError(111, "Connection refused")


def test_a_traceback_that_shows_variables_shows_no_token() -> None:
    with pytest.raises(OSError, match="refused") as caught:
        dial_that_fails(CONNECT)
    texts = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(texts.format())
    assert "connect = Connect(" in shown
    assert hides_the_secret(shown)


@given(tokens())
def test_any_printable_text_is_a_token(secret: str) -> None:
    Token(secret).require_usable()


# --- conceal


@pytest.mark.parametrize(
    ("url", "concealed"),
    [
        (DEFAULT_URL, DEFAULT_URL),
        (f"wss://h/p?token={SECRET}", "wss://h/p?token=***"),
        (f"wss://h/p?a=1&token={SECRET}&b=2", "wss://h/p?a=1&token=***&b=2"),
        (f"wss://h/p?TOKEN={SECRET}#x", "wss://h/p?TOKEN=***#x"),
        (f"wss://h:x/?token={SECRET}", "wss://h:x/?token=***"),
    ],
)
def test_concealing_masks_a_token_in_the_url(url: str, concealed: str) -> None:
    wrapped, masked = conceal(SECRET, url)
    assert wrapped == TOKEN
    assert masked == concealed
    if masked != url:
        assert hides_the_secret(refusal(url=masked).args[0])


def test_concealing_keeps_what_is_no_text() -> None:
    def source() -> str:
        return SECRET

    async def async_source() -> str:
        await asyncio.sleep(0)
        return SECRET

    assert conceal(source, DEFAULT_URL) == (source, DEFAULT_URL)
    assert conceal(async_source, DEFAULT_URL) == (async_source, DEFAULT_URL)
    assert conceal(TOKEN, DEFAULT_URL)[0] is TOKEN
    # Not every caller has a type checker; what is wrong with a URL is said where it is read.
    no_url: Any = None
    assert conceal(TOKEN, no_url)[1] is no_url


# --- The endpoint


@pytest.mark.parametrize(
    ("url", "host", "port", "is_tls", "authority"),
    [
        (DEFAULT_URL, "gateway.topone.run", 443, True, "gateway.topone.run"),
        ("wss://example.org", "example.org", 443, True, "example.org"),
        ("WSS://Example.ORG:8443/ws", "example.org", 8443, True, "Example.ORG:8443"),
        ("ws://localhost:1234/", "localhost", 1234, False, "localhost:1234"),
        ("ws://LOCALHOST", "localhost", 80, False, "LOCALHOST"),
        ("ws://a.localhost/x", "a.localhost", 80, False, "a.localhost"),
        ("ws://127.0.0.1:1/", "127.0.0.1", 1, False, "127.0.0.1:1"),
        ("ws://127.9.9.9", "127.9.9.9", 80, False, "127.9.9.9"),
        ("ws://[::1]:65535/", "::1", 65535, False, "[::1]:65535"),
        ("wss://[2001:db8::1]/", "2001:db8::1", 443, True, "[2001:db8::1]"),
    ],
)
def test_the_parts_of_an_address(
    url: str, host: str, port: int, is_tls: bool, authority: str
) -> None:
    endpoint = Endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.is_tls) == (host, port, is_tls)
    assert endpoint.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "ws://example.org/",
        "ws://10.0.0.1/",
        "ws://0.0.0.0/",
        "ws://[::]/",
        "ws://[2001:db8::1]:1/",
        "ws://localhost.example.org/",
        "ws://notlocalhost/",
        "ws://127.0.0.1.example.org/",
        "ws://128.0.0.1/",
    ],
)
def test_plain_ws_stays_on_this_machine(url: str) -> None:
    error = refusal(url=url)
    assert "in clear" in error.problem
    assert "insecure=True" in error.remedy
    assert not Endpoint(url, insecure=True).is_tls


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway.topone.run",
        "https://gateway.topone.run/",
        "http://localhost/",
        "wss://",
        "wss:///ws/user/",
        "wss:gateway.topone.run",
        "wss://:443/",
        "wss://h:99999/",
        "wss://h:-1/",
        "wss://h:0/",
        "wss://h:port/",
        "wss://[::1/",
        "wss://h/\r\nX-Evil: 1",
        "wss://h/a b",
        " wss://h/",
        "wss://h/\x00",
        None,
        5,
        b"wss://h/",
        "wss://user@h/",
        "wss://user:password@h/",
        "wss://:password@h/",
        "wss://h/#fragment",
        "wss://bücher.example/",
    ],
)
def test_what_is_no_address_is_refused(url: Any) -> None:
    error = refusal(url=url)
    assert error.setting == "url"
    for part in ("password", "port/", "X-Evil"):
        assert part not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        f"wss://gateway.topone.run/ws/user/?token={SECRET}",
        f"wss://gateway.topone.run/ws/user/?a=1&token={SECRET}",
        f"wss://gateway.topone.run/ws/user/?TOKEN={SECRET}",
        f"wss://gateway.topone.run/ws/user/?%74oken={SECRET}",
        "wss://gateway.topone.run/ws/user/?token=",
        f"ws://localhost/?token={SECRET}",
        f"wss://{SECRET}@gateway.topone.run/",
        f"wss://gateway.topone.run/#{SECRET}",
        f"wss://gateway.topone.run:{SECRET}/",
        f"https://gateway.topone.run/?token={SECRET}",
    ],
)
def test_a_url_with_a_token_is_refused_without_showing_it(url: str) -> None:
    error = refusal(url=url)
    assert hides_the_secret("".join(traceback.format_exception_only(error)))
    assert hides_the_secret(repr(error))


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        (None, ()),
        ("", (("Origin", ""),)),
        ("https://example.org", (("Origin", "https://example.org"),)),
    ],
)
def test_an_origin_is_sent_only_if_asked_for(
    origin: str | None, headers: tuple[tuple[str, str], ...]
) -> None:
    assert Endpoint(origin=origin).headers == (*headers, AGENT)


def test_by_default_there_is_no_origin_at_the_exchanges_address() -> None:
    endpoint = Endpoint()
    assert endpoint.url == "wss://gateway.topone.run/ws/user/"
    assert endpoint.headers == (AGENT,)


@pytest.mark.parametrize("origin", ["a\r\nX: y", "\n", "é", "\x00", " a", "a "])
def test_what_is_no_header_value_is_refused(origin: str) -> None:
    error = refusal(origin=origin)
    assert error.setting == "origin"
    assert origin not in str(error)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (DEFAULT_URL, "/ws/user/?token=a:b"),
        ("wss://s/ws", "/ws?token=a:b"),
        ("wss://wss", "/?token=a:b"),
        ("wss://h:1/p?", "/p?token=a:b"),
        ("wss://h/p?lang=en", "/p?lang=en&token=a:b"),
        ("ws://[::1]:1/p//q", "/p//q?token=a:b"),
    ],
)
def test_the_token_joins_the_url_for_the_dial_only(url: str, target: str) -> None:
    endpoint, token = Endpoint(url), Token("a:b")
    assert endpoint.dial_target(token) == target
    assert endpoint.dial_url(token) == f"{urlsplit(url).scheme}://{endpoint.authority}{target}"
    connect = Connect(endpoint, token, timeout=1.0, max_frame_size=1)
    assert connect.url() == endpoint.dial_url(token)
    assert connect.target() == target
    assert "a:b" not in repr(endpoint)


def test_the_url_is_that_of_the_page() -> None:
    assert Endpoint().dial_url(Token("YOUR_API_TOKEN")) == (
        "wss://gateway.topone.run/ws/user/?token=YOUR_API_TOKEN"
    )


@given(tokens())
def test_any_token_survives_the_url(secret: str) -> None:
    url = Endpoint("wss://h/p?a=1").dial_url(Token(secret))
    assert parse_qs(urlsplit(url).query, strict_parsing=True) == {"a": ["1"], "token": [secret]}
    assert urlsplit(url).fragment == ""
    assert url.isascii()
    assert " " not in url


# --- Headers


@pytest.mark.parametrize(
    "headers",
    [{"X-Name": "a b", "accept": ""}, [("X-Name", "a b"), ("accept", "")]],
)
def test_headers_are_added_as_they_are(headers: Any) -> None:
    endpoint = Endpoint(origin="", extra_headers=headers)
    assert endpoint.headers == (("Origin", ""), AGENT, ("X-Name", "a b"), ("accept", ""))


@pytest.mark.parametrize(
    ("agent", "sent"), [("bot/1", (("user-agent", "bot/1"),)), (None, ()), ("", ())]
)
def test_the_user_agent_can_be_another_or_none(agent: str | None, sent: Any) -> None:
    assert Endpoint(extra_headers={"user-agent": agent}).headers == sent


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "UPGRADE",
        "Connection",
        "Sec-WebSocket-Key",
        "sec-websocket-anything",
        "Origin",
        "Content-Length",
        "Transfer-Encoding",
        "Proxy-Authorization",
    ],
)
def test_what_makes_the_handshake_is_not_set_by_hand(name: str) -> None:
    error = refusal(extra_headers={name: SECRET})
    assert error.setting == "headers"
    assert name in error.problem
    assert hides_the_secret(str(error))


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Name": f"{SECRET}\r\nX-Evil: 1"},
        {"X-Name": f"{SECRET}\n"},
        {"X-Name": f" {SECRET}"},
        {"X-Name": f"{SECRET} "},
        {"X-Name": f"{SECRET}\x00"},
        {"X-Name": f"{SECRET}é"},
        {"X-Name": None},
        {"X-Name": SECRET.encode()},
        {f"X-Name: {SECRET}": "1"},
        {f"X-Name\r\n{SECRET}": "1"},
        {"": SECRET},
        {SECRET.encode(): "1"},
        [("X-Name", SECRET), ("x-name", "2")],
        [("X-Name", SECRET, "3")],
        [SECRET],
        SECRET,
        "ab",
        5,
        None,
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_showing_them(headers: Any) -> None:
    error = refusal(extra_headers=headers)
    assert error.setting == "headers"
    assert hides_the_secret(str(error))
    assert "X-Evil" not in str(error)


def test_no_text_of_an_endpoint_shows_the_values_of_headers() -> None:
    endpoint = Endpoint(extra_headers={"Authorization": SECRET})
    for text in (repr(endpoint), str(endpoint), repr(Connect(endpoint, TOKEN, 1.0, 1))):
        assert hides_the_secret(text)
        assert "Authorization" in text


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("wss://example.org./ws", "example.org"),
        ("wss://example.org.:8443/ws", "example.org:8443"),
    ],
)
def test_the_dot_behind_a_name_is_for_the_dns_only(url: str, authority: str) -> None:
    endpoint = Endpoint(url)
    assert endpoint.host == "example.org."
    assert endpoint.server_name == "example.org"
    assert endpoint.authority == authority


def test_a_name_without_dots_stays_as_it_is() -> None:
    assert Endpoint("ws://localhost./").host == "localhost."
    assert Endpoint("wss://[::1]:1/").server_name == "::1"
    assert Endpoint("wss://10.0.0.1/").authority == "10.0.0.1"


# --- The HTTP API


def http_refusal(**settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        HttpEndpoint(**settings)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_the_http_api_is_that_of_the_exchange() -> None:
    endpoint = HttpEndpoint()
    assert endpoint.url == DEFAULT_HTTP_URL == "https://gateway.topone.run"
    assert endpoint.is_tls
    assert (endpoint.host, endpoint.port) == ("gateway.topone.run", 443)
    assert endpoint.headers == (AGENT,)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("wss://gateway.topone.run", "no http:// or https://"),
        ("gateway.topone.run", "no http:// or https://"),
        ("https://", "with a host"),
        ("https://a..b", "name"),
        ("https://h:0", "cannot be read"),
        ("https://h/\n", "cannot be read"),
        ("https://\u00fc.example", "ASCII"),
        ("https://user:pass@h", "user name"),
        ("https://h/#here", "fragment"),
        ("https://h/?a=1", "query"),
        ("https://h/?", "query"),
        (f"https://h/?token={SECRET}", "token"),
        ("http://h.example", "in clear"),
        ("http://10.0.0.1:8080", "in clear"),
        (7, "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused(url: Any, problem: str) -> None:
    error = http_refusal(url=url)
    assert error.setting == "http_url"
    assert problem in error.problem
    assert hides_the_secret(str(error))
    assert "wss://" not in error.remedy


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost", "http://a.localhost."]
)
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert not HttpEndpoint(url).is_tls
    assert HttpEndpoint("http://h.example", insecure=True).port == 80


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://h", "/t/v1/balance/query?assets=BTC%2CETH"),
        ("https://h/", "/t/v1/balance/query?assets=BTC%2CETH"),
        ("https://h/api/", "/api/t/v1/balance/query?assets=BTC%2CETH"),
    ],
)
def test_a_base_url_may_have_a_path(url: str, target: str) -> None:
    assert HttpEndpoint(url).target(balances_request(TOKEN, ["BTC", "ETH"])) == target


def test_headers_of_the_socket_are_those_of_http() -> None:
    given = {"X-Desk": "seven", "User-Agent": "mine"}
    assert HttpEndpoint(extra_headers=given).headers == Endpoint(extra_headers=given).headers
    assert HttpEndpoint(extra_headers={"User-Agent": None}).headers == ()


@pytest.mark.parametrize("name", ["Authorization", "accept", "Accept-Encoding", "Host", "Origin"])
def test_headers_that_a_request_has_itself_are_refused(name: str) -> None:
    error = http_refusal(extra_headers={name: SECRET})
    assert error.setting == "headers"
    assert name in error.problem
    assert hides_the_secret(str(error))


def test_no_text_of_an_http_endpoint_shows_a_header() -> None:
    assert hides_the_secret(repr(HttpEndpoint(extra_headers={"X-Key": SECRET})))


def test_the_signature_is_in_the_target_only() -> None:
    request = token_request(Credentials("app", "key"), random=123456, time=1570499640)
    [signature] = [text for name, text in request.query if name == "sig"]
    assert signature in HttpEndpoint().target(request)
    assert signature not in repr(HttpRequest("/x", request.query))


@pytest.mark.parametrize("url", ["gateway.topone.run", "https://gateway.topone.run/ws/"])
def test_the_url_that_is_named_as_an_example_is_of_the_same_socket(url: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(PUBLIC_URL) + "$"):
        Endpoint(url, socket="public")
    with pytest.raises(ConfigurationError, match=re.escape(DEFAULT_URL) + "$"):
        Endpoint(url)
