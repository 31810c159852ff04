"""The stream between trio-websocket and the socket, the dial below it, and both WebSockets of trio
in what only bytes can show."""

import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

import topone_trio
from portals import PATIENCE
from topone_proto import Connect, ConnectionFailed, Endpoint, Failure, FailureKind, Token
from topone_proto.adapters import failure_from_exception
from topone_proto.testing.conformance.raw import Peer, RawServer, accept_key, raw_server
from topone_trio import over_websockets
from topone_trio._dial import _LOOKUPS, _look_up, open_tcp
from topone_trio._websocket import _close_frame, _Line

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: key\r\n\r\n"
)


class Stream(trio.abc.Stream):
    """A stream that brings these pieces, a second apart, and then fails or ends."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces = iter(pieces)
        self._error = error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep(1)
        for piece in self._pieces:
            return piece
        if self._error is not None:
            raise trio.BrokenResourceError from self._error
        return b""

    async def send_all(self, data: object) -> None:
        raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def accepted(*pieces: bytes) -> _Line:
    line = _Line(Stream(ACCEPTED, *pieces))
    assert await line.receive_some() == ACCEPTED
    return line


def test_a_close_frame_in_pieces_is_the_peers() -> None:
    frame = _close_frame(1009, "why")

    async def main() -> None:
        line = await accepted(b"x" * 500, *(bytes([byte]) for byte in frame))
        for _ in range(1 + len(frame)):
            assert not line.has_brought(frame)
            await line.receive_some()
        assert line.has_brought(frame)
        assert not line.has_brought(_close_frame(1002, "why"))
        assert await line.receive_some() == b""

    run(main)


def test_when_bytes_came_last_is_remembered() -> None:
    async def main() -> None:
        start = trio.current_time()
        line = _Line(Stream(ACCEPTED, b"a", b"b"))
        assert line.heard_at is None
        for second in (1, 2, 3, 3, 3):
            await line.receive_some()
            assert line.heard_at == start + second

    run(main)


@pytest.mark.parametrize(
    ("pieces", "error", "failure"),
    [
        ([b"HTTP/1.1 401 No\r\n\r\n"], ConnectionResetError(104, "reset"), 401),
        ([b"HTTP/1.1 401 No\r\n"], ConnectionResetError(104, "reset"), 401),
        ([b"HTTP/1.1 4"], ConnectionResetError(104, "reset"), FailureKind.NETWORK),
        ([], ConnectionResetError(104, "reset"), FailureKind.NETWORK),
        ([b"HTTP/1.1 4"], None, FailureKind.NOT_WEBSOCKET),
        ([b"garbage"], None, FailureKind.NOT_WEBSOCKET),
    ],
)
def test_what_was_said_before_the_line_broke_counts(
    pieces: list[bytes], error: Exception | None, failure: int | FailureKind
) -> None:
    async def main() -> None:
        line = _Line(Stream(*pieces, error=error))
        # Whoever has refused already need not read.
        await line.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await line.receive_some() == b""
        assert isinstance(line.refusal, Failure)
        assert failure in {line.refusal.status, line.refusal.kind}
        assert not line.is_accepted

    run(main)


def test_what_cannot_be_sent_on_an_open_connection_raises() -> None:
    async def main() -> None:
        line = await accepted()
        with pytest.raises(trio.BrokenResourceError):
            await line.send_all(b"frame")

    run(main)


@pytest.mark.parametrize("module", [topone_trio, over_websockets])
def test_both_tell_when_bytes_came_last(module: Any) -> None:
    def serve(peer: Peer, server: RawServer) -> None:
        key = accept_key(peer.request())
        peer.say(ACCEPTED.replace(b" key", b" " + key) + b"\x81\x01a")
        assert peer.hear()
        # The beginning of a frame, and no more.
        peer.say(b"\x81\x05h")
        peer.listen()

    async def main() -> None:
        endpoint = Endpoint(server.url)
        connect = Connect(endpoint, Token("demo"), PATIENCE, 2**20)
        with trio.fail_after(PATIENCE):
            async with module.open_websocket(connect, bool) as websocket:
                await websocket.receive()
                first = websocket.heard_at
                assert first <= trio.current_time()
                await websocket.send_text("")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(websocket.receive)
                    while websocket.heard_at == first:
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                assert first < websocket.heard_at <= trio.current_time()

    with raw_server(serve, PATIENCE) as server:
        trio.run(main)


# --- the dial


Addresses = list[tuple[Any, ...]]


def tcp(*addresses: str) -> Addresses:
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_STREAM,
            6,
            "",
            (address, 1),
        )
        for address in addresses
    ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Addresses]]:
    """Names, and what is found of them."""
    known: dict[str, Callable[[], Addresses]] = {}
    getaddrinfo = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        if host not in known:
            return getaddrinfo(host, *arguments, **named)
        if named.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        return known[host]()

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_lookups_that_hang_take_no_thread_from_the_program(
    names: dict[str, Callable[[], Addresses]],
) -> None:
    is_over = threading.Event()

    def hang() -> Addresses:
        is_over.wait(PATIENCE)
        return []

    names["hanging.example"] = hang

    async def main() -> None:
        for _ in range(_LOOKUPS + 1):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(open_tcp, "hanging.example", 1)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        is_over.set()

    trio.run(main)


def test_addresses_of_both_families_take_turns(
    names: dict[str, Callable[[], Addresses]],
) -> None:
    names["exchange.example"] = lambda: tcp("::1", "::2", "::3", "10.0.0.1")

    async def main() -> None:
        assert await _look_up("exchange.example", 1) == ["::1", "10.0.0.1", "::2", "::3"]
        assert await _look_up("127.0.0.1", 1) == ["127.0.0.1"]

    trio.run(main)


def test_the_first_address_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, float]] = []

    async def open_tcp_stream(address: str, port: int) -> str:
        tried.append((address, trio.current_time() - start))
        if address == "10.0.0.1":
            await trio.sleep_forever()
        if address == "10.0.0.2":
            raise OSError(111, "refused")
        await trio.sleep(0.1)
        return address

    monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)
    # At once, not in a thread, for which the clock would not wait.
    addresses = tcp("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    start = 0.0

    async def main() -> None:
        nonlocal start
        start = trio.current_time()
        stream: object = await open_tcp("exchange.example", 1)
        assert stream == "10.0.0.3"

    run(main)
    assert [address for address, _ in tried] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [at for _, at in tried] == pytest.approx([0.0, 0.25, 0.25])


def test_all_addresses_that_failed_are_told_of(
    names: dict[str, Callable[[], Addresses]],
) -> None:
    names["exchange.example"] = lambda: tcp("127.0.0.1", "127.0.0.1")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await open_tcp("exchange.example", 1)
        assert len(caught.value.exceptions) == 2
        assert failure_from_exception(caught.value).kind is FailureKind.REFUSED

    trio.run(main)


def test_a_name_that_nobody_knows_is_a_failed_dial() -> None:
    async def main() -> None:
        connect = Connect(Endpoint("wss://no-such-host.invalid./"), Token("demo"), PATIENCE, 2**20)
        for module in (topone_trio, over_websockets):
            with pytest.raises(ConnectionFailed) as failed:
                async with module.open_websocket(connect, bool):
                    pass
            assert failed.value.failure.kind is FailureKind.DNS

    trio.run(main)
