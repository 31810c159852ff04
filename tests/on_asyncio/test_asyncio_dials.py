"""Dials under asyncio: answers, proxies, addresses, lookups."""

import asyncio
import gc
import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import trustme

import topone_asyncio
from asyncio_feeds import (
    HASTY,
    TOKENS,
    URL,
    feed_at,
    iterate,
    take_until,
    turns,
    until,
)
from dials import (
    check_opens_nothing,
    clean,
    connect_to,
    failure_of,
    raw_server,
)
from topone_asyncio._dial import dial_tcp
from topone_asyncio._websocket import _WebSocket
from topone_proto import (
    Connected,
    FailureKind,
    FeedFailed,
    Subscribed,
)
from topone_proto.adapters import (
    failure_from_exception,
)
from topone_proto.exchange import (
    AcceptThenClose,
    AnswerGarbage,
    RefuseHandshake,
)
from topone_simulator import serve

GOOD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", FailureKind.HANDSHAKE, 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", FailureKind.HANDSHAKE, 200),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", FailureKind.HANDSHAKE, 401),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", FailureKind.HANDSHAKE, 403),
        (GOOD + b"Sec-WebSocket-Accept: wrong\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
        (b"HTTP/1.1 101 Yes\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
        (b"\x15\x03\x01\x00\x02\x02\x28 no HTTP\r\n\r\n", FailureKind.NOT_WEBSOCKET, None),
    ],
)
@clean()
async def test_answers_that_open_nothing(
    answer: bytes, kind: FailureKind, status: int | None
) -> None:
    await check_opens_nothing(answer, kind, status)


@clean()
async def test_nobody_listens() -> None:
    async with raw_server(b"") as (address, _):
        pass
    assert (await failure_of(f"ws://{address}/")).failure.kind is FailureKind.REFUSED


@clean()
async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    failed = await failure_of(URL)
    assert failed.failure.kind is FailureKind.DNS


@clean()
async def test_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    async with serve(tokens=TOKENS, ssl_context=server) as simulator:
        failed = await failure_of(simulator.url)
        assert failed.failure.kind is FailureKind.TLS
        authority.configure_trust(client)
        async with feed_at(simulator, ssl_context=client) as feed:
            assert await anext(feed) == Connected(1)
        async with topone_asyncio.open_websocket(
            connect_to(simulator.url), lambda _: None, ssl_context=client
        ):
            pass  # dropped without a closing handshake


@pytest.mark.parametrize(("status", "cause"), [(403, "Origin"), (401, "token")])
@clean()
async def test_a_refused_token_ends_the_feed(status: int, cause: str) -> None:
    async with serve(tokens=TOKENS) as simulator:
        simulator.inject(RefuseHandshake(status))
        with pytest.raises(FeedFailed, match=cause):
            await iterate(feed_at(simulator))
        assert len(simulator.handshakes) == 1


@clean()
async def test_other_failures_are_dialled_again() -> None:
    async with serve(tokens=TOKENS) as simulator:
        for fault in (RefuseHandshake(503), AnswerGarbage(), AcceptThenClose(None)):
            simulator.inject(fault)
        async with feed_at(simulator, config=HASTY) as feed:
            await take_until(feed, Subscribed)
        assert len(simulator.handshakes) == 4


@clean()
async def test_wss_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as (proxy, requests):
        for name in (f"http://user:word@{proxy}", f"user:word@{proxy}"):
            monkeypatch.setenv("HTTPS_PROXY", name)
            failed = await failure_of("wss://exchange.example/ws/user/")
            assert failed.failure.kind is FailureKind.NETWORK
            assert failed.failure.status is None
            assert "407" in failed.failure.detail
    for request in requests:
        assert request.startswith(b"CONNECT exchange.example:443 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n" in request
        assert b"s3cret" not in request
    assert len(requests) == 2


@clean()
async def test_who_goes_around_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(b"") as (proxy, requests), serve(tokens=TOKENS) as simulator:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        async with feed_at(simulator) as feed:
            assert await anext(feed) == Connected(1)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        failed = await failure_of(simulator.url.replace("ws://", "wss://"))
        assert failed.failure.kind is not FailureKind.REFUSED
    assert requests == []


def addresses(*places: tuple[str, int]) -> Callable[..., Any]:
    """In place of ``getaddrinfo``. As if the name were an address: nothing goes to a thread."""

    def getaddrinfo(*_: object, **__: object) -> Any:
        families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in places]
        return [
            (family, socket.SOCK_STREAM, 0, "", place)
            for family, place in zip(families, places, strict=True)
        ]

    return getaddrinfo


FIRST, SECOND, THIRD = ("192.0.2.1", 443), ("192.0.2.2", 443), ("192.0.2.3", 443)
FIRST_6, SECOND_6 = ("2001:db8::1", 443), ("2001:db8::2", 443)


class Network:
    """Addresses that answer, refuse or say nothing, and when each was dialled."""

    def __init__(self, answers: dict[tuple[str, int], str], patch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.answers = answers
        self.dialled: list[tuple[tuple[str, int], float]] = []
        self.sockets: list[socket.socket] = []
        patch.setattr(socket, "getaddrinfo", addresses(*answers))
        patch.setattr(self.loop, "sock_connect", self.connect)

    async def connect(self, sock: socket.socket, place: tuple[str, int]) -> None:
        self.dialled.append((place, self.loop.time()))
        self.sockets.append(sock)
        match self.answers[place]:
            case "refuses":
                raise ConnectionRefusedError(111, f"Connect call failed {place}")
            case "refuses late":
                await asyncio.sleep(0.3)
                raise ConnectionRefusedError
            case "says nothing":
                await asyncio.Event().wait()
            case "answers late":
                await asyncio.sleep(0.3)

    def open_sockets(self) -> list[socket.socket]:
        return [sock for sock in self.sockets if sock.fileno() != -1]


@pytest.mark.parametrize(
    ("answers", "times", "winner"),
    [
        ({FIRST: "answers", SECOND: "answers"}, [0], 0),
        ({FIRST: "refuses", SECOND: "answers"}, [0, 0], 1),
        ({FIRST: "says nothing", SECOND: "answers"}, [0, 0.25], 1),
        ({FIRST: "answers late", SECOND: "says nothing"}, [0, 0.25], 0),
        ({FIRST: "says nothing", SECOND: "refuses", THIRD: "answers"}, [0, 0.25, 0.25], 2),
        ({FIRST: "refuses late", SECOND: "answers late"}, [0, 0.25], 1),
    ],
)
@clean(faked=True)
async def test_no_address_holds_another_up(
    answers: dict[tuple[str, int], str],
    times: list[float],
    winner: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        network = Network(answers, patch)
        sock = await dial_tcp("exchange.example", 443)
    assert [at for _, at in network.dialled] == pytest.approx(times)
    assert sock is network.sockets[winner]
    assert network.open_sockets() == [sock]
    sock.close()


@clean(faked=True)
async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order = [FIRST_6, SECOND_6, FIRST, SECOND]
    with monkeypatch.context() as patch:
        network = Network(dict.fromkeys(order, "refuses"), patch)
        with pytest.raises(ExceptionGroup) as caught:
            await dial_tcp("exchange.example", 443)
    assert [place for place, _ in network.dialled] == [FIRST_6, FIRST, SECOND_6, SECOND]
    assert network.open_sockets() == []
    failure = failure_from_exception(caught.value)
    assert (failure.kind, failure.detail) == (FailureKind.REFUSED, os.strerror(111))


@pytest.mark.parametrize("turn", range(12))
@clean(faked=True)
async def test_a_dial_that_is_cancelled_leaves_no_socket(
    turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        network = Network({FIRST: "says nothing", SECOND: "answers late", THIRD: "answers"}, patch)
        dial = asyncio.create_task(dial_tcp("exchange.example", 443))
        # Up to the moment at which there are two winners.
        await asyncio.sleep(0.5 if turn > 5 else 0)
        await turns(turn % 6)
        dial.cancel()
        with suppress(asyncio.CancelledError):
            (await dial).close()
        await turns(3)
    assert network.open_sockets() == []


@pytest.mark.parametrize("turn", range(30))
@clean()
async def test_a_websocket_that_is_cancelled_at_any_moment_leaves_nothing(turn: int) -> None:
    async with serve(tokens=TOKENS) as simulator:

        async def use() -> None:
            async with topone_asyncio.open_websocket(connect_to(simulator.url), print) as it:
                await it.receive()

        task = asyncio.create_task(use())
        await turns(turn)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Nothing of it is left in this process, whatever the exchange still has to do.
        made = [it for it in gc.get_objects() if type(it) is _WebSocket]
        assert not [it for it in made if it._transport is not None and not it._is_lost]
        await until(lambda: simulator.connections == 0)


class Resolver:
    """In place of ``getaddrinfo``: does not answer until it may."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        patch.setattr(socket, "getaddrinfo", self)

    def __call__(self, *_: object, flags: int = 0, **__: object) -> Any:
        if not flags:
            self.asked += 1
            self.may_answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "later")


def test_a_lookup_that_hangs_takes_nothing_from_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(monkeypatch)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        # The first dials may end while the system's certificates are read.
        while resolver.asked < 2:
            failed = await failure_of(URL, patience=0.02)
            assert failed.failure.kind is FailureKind.TIMEOUT
        # A name has two threads. No further dial asks for it while they hang.
        failed = await failure_of(URL, patience=0.02)
        assert failed.failure.kind is FailureKind.TIMEOUT
        assert await loop.run_in_executor(None, int, "7") == 7

    # It ends, though the lookups do not: its last step is to wait for the default executor.
    asyncio.run(main(), debug=True)
    assert resolver.asked == 2
    # Nor do they disturb anybody when they end later.
    resolver.may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "topone-lookup":
            thread.join(20)
