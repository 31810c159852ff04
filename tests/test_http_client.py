"""The HTTP client of accounts: what it sends, and what it makes of answers."""

import asyncio
import gzip
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topone_accounts._client as client_module
from http_servers import (
    QUESTION,
    SECRET,
    Caller,
    Library,
    answer,
    ask,
    asked,
    each_library,
    saying,
    serving,
    silence,
)
from topone_accounts import HttpClient
from topone_proto import ConnectionFailed, Failure, FailureKind, Token, __version__
from topone_proto.adapters import HttpEndpoint
from topone_proto.wire.http import HttpResponse
from topone_proto.wire.requests import balances_request, open_orders_request

# --- What is asked, and what comes of it


@each_library
def test_a_question_goes_out_as_it_is(library: Library) -> None:
    with serving(saying(answer(b'{"code":0}', headers="X-Name: text\r\n"))) as server:
        endpoint = server.endpoint(extra_headers={"X-Desk": "seven"})
        question = open_orders_request(Token(SECRET), market="ETH/BTC")
        [response] = asked(library, library.open(endpoint), question)
    assert response == HttpResponse(
        200, b'{"code":0}', (("Content-Length", "10"), ("X-Name", "text")), question
    )
    [head] = server.heads
    assert head.decode().split("\r\n") == [
        "GET /t/v1/order/query?market=ETH%2FBTC&page=1&pageSize=100 HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"User-Agent: topone-proto/{__version__}",
        "X-Desk: seven",
        "Accept: application/json",
        f"Authorization: {SECRET}",
        "Accept-Encoding: identity",
        "",
        "",
    ]


ANSWERS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.0 200 OK\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.1 200 OK\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", 200, b"{}"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        200,
        b"{}",
    ),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        200,
        b"{}",
    ),
    (b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n" * 3 + answer(b"x"), 200, b"x"),
    (b"HTTP/1.1 204 None\r\n\r\n", 204, b""),
    (answer(b"<html>", status=503), 503, b"<html>"),
    (answer(b"", status=302, headers="Location: http://127.0.0.1:1/\r\n"), 302, b""),
    (answer(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n"), 200, b"{}"),
    (answer(zlib.compress(b"{}"), headers="content-encoding: deflate\r\n"), 200, b"{}"),
    (answer(b"{}", headers="Content-Encoding: identity\r\n"), 200, b"{}"),
    (answer(b"", headers="Content-Encoding: gzip\r\n"), 200, b""),
]


@pytest.mark.parametrize(("said", "status", "body"), ANSWERS, ids=map(str, range(len(ANSWERS))))
@each_library
def test_an_answer_is_taken_as_it_is(
    library: Library, said: bytes, status: int, body: bytes
) -> None:
    [response] = ask(library, saying(said, keeps_open=False))
    assert isinstance(response, HttpResponse)
    assert (response.status, response.body) == (status, body)
    assert response.request is QUESTION


NO_ANSWERS = [
    (b"", FailureKind.LOST, "hung up"),
    (b"HTTP/1.1 200 OK\r\nContent-Le", FailureKind.LOST, "hung up"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", FailureKind.LOST, "hung up"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        FailureKind.LOST,
        "hung up",
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\n", FailureKind.LOST, "hung up"),
    (
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + SECRET.encode(),
        FailureKind.NETWORK,
        "no HTTP: check http_url",
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", FailureKind.NETWORK, "no HTTP"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        FailureKind.NETWORK,
        "no HTTP",
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: sdch\r\n\r\n{}", FailureKind.NETWORK, "no HTTP"),
    (
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        FailureKind.NETWORK,
        "no HTTP",
    ),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", FailureKind.NETWORK, "no HTTP"),
    (answer(b"x", headers="Content-Encoding: br\r\n"), FailureKind.NETWORK, "encoding"),
    (answer(b"<html>", headers="Content-Encoding: gzip\r\n"), FailureKind.NETWORK, "no gzip"),
    (
        answer(gzip.compress(b"{}")[:-1], headers="Content-Encoding: gzip\r\n"),
        FailureKind.NETWORK,
        "cut off",
    ),
]


@pytest.mark.parametrize(
    ("said", "kind", "words"), NO_ANSWERS, ids=map(str, range(len(NO_ANSWERS)))
)
@each_library
def test_what_is_no_answer_is_a_failure(
    library: Library, said: bytes, kind: FailureKind, words: str
) -> None:
    [failure] = ask(library, saying(said, keeps_open=False))
    assert isinstance(failure, Failure)
    assert failure.kind is kind
    assert words in failure.detail
    assert SECRET not in repr(failure)


@each_library
def test_a_reset_is_a_failure_of_the_network(library: Library) -> None:
    async def script(caller: Caller) -> None:
        await caller.hear()
        caller.reset()

    [failure] = ask(library, script)
    assert isinstance(failure, Failure)
    assert failure.kind in {FailureKind.NETWORK, FailureKind.LOST}


@each_library
def test_an_answer_that_comes_before_the_question_is_whole(library: Library) -> None:
    """A server that refuses a client may not wait for what it says."""

    async def script(caller: Caller) -> None:
        await caller.say(answer(b"busy", status=503, headers="Connection: close\r\n"))

    [response] = ask(library, script)
    assert isinstance(response, HttpResponse)
    assert response.status == 503


@each_library
def test_a_large_answer_comes_whole(library: Library) -> None:
    body = bytes(range(256)) * 2**14
    [response] = ask(library, saying(answer(body)))
    assert isinstance(response, HttpResponse)
    assert response.body == body


@each_library
def test_an_answer_has_a_largest_size(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0

    async def script(caller: Caller) -> None:
        nonlocal sent
        await caller.hear()
        await caller.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 2**25:
            await caller.say(bytes(2**16))
            sent += 2**16

    monkeypatch.setattr(client_module, "_LIMIT", 2**17)
    [failure] = ask(library, script)
    assert isinstance(failure, Failure)
    assert "larger than" in failure.detail
    assert sent < 2**25


@each_library
def test_a_small_body_may_not_become_a_large_one(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_LIMIT", 2**17)
    said = answer(gzip.compress(bytes(2**20)), headers="Content-Encoding: gzip\r\n")
    [failure] = ask(library, saying(said))
    assert isinstance(failure, Failure)
    assert "too large" in failure.detail


@each_library
@pytest.mark.parametrize("token", ["caf\u00e9", "lines\r\nX-Lines: 1", "nul\0"])
def test_a_token_that_cannot_be_sent_is_not_shown(library: Library, token: str) -> None:
    [failure] = ask(library, silence, balances_request(Token(token)))
    assert isinstance(failure, Failure)
    assert "characters" in failure.detail
    assert token[:3] not in repr(failure)


class Spoken:
    """A connection on which everything has been said already."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.is_open = True

    async def read(self, max_bytes: int) -> bytes:
        return next(self._pieces, b"")

    async def write(self, data: bytes) -> None:
        pass

    def has_news(self) -> bool:
        return False

    def abort(self) -> None:
        self.is_open = False

    async def aclose(self) -> None:
        self.is_open = False


def told(pieces: list[bytes]) -> HttpResponse | Failure:
    streams: list[Spoken] = []

    async def dial(_: HttpEndpoint) -> Spoken:
        streams.append(Spoken(pieces))
        return streams[-1]

    async def main() -> HttpResponse | Failure:
        client = HttpClient(HttpEndpoint(), dial)
        try:
            return await client.fetch(QUESTION)
        except ConnectionFailed as failed:
            assert not any(stream.is_open for stream in streams)
            return failed.failure
        finally:
            await client.aclose()
            assert not any(stream.is_open for stream in streams)

    return asyncio.run(main())


SAID = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 500\r\n",
            b"HTTP/1.1 100 Continue\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Connection: close\r\n",
            b"\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"hello",
        ]
    )
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


@given(SAID, st.data())
def test_however_bytes_come_they_are_one_answer_or_one_failure(
    said: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=5)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True) if a < b]
    whole = told([said] if said else [])
    assert told(pieces) == whole
