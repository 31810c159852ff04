"""The WebSocket of an adapter by itself, against a server that speaks in bytes."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
from websockets.utils import accept_key

import topone_asyncio
import topone_trio
from portals import PATIENCE
from topone_proto import Connect, ConnectionEnded, Endpoint, Token
from topone_trio import over_websockets


def accepting(request: bytes) -> bytes:
    """The answer to a handshake."""
    [key] = [
        line.partition(b": ")[2].decode()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    ]
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
    )


@contextmanager
def saying(data: bytes, heard: Callable[[bytes], object] = len) -> Iterator[Connect]:
    """A server that accepts one WebSocket, says this, and hangs up when the client does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(PATIENCE)
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += peer.recv(4096)
                peer.sendall(accepting(request) + data)
                try:
                    while more := peer.recv(4096):
                        heard(more)
                except ConnectionError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = Endpoint(f"ws://127.0.0.1:{server.getsockname()[1]}/")
        yield Connect(endpoint, Token("demo"), PATIENCE, 2**20)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_asyncio_tells_what_is_wrong_with_a_frame_that_is_none() -> None:
    async def main(connect: Connect) -> None:
        async with topone_asyncio.open_websocket(connect, lambda _: None) as websocket:
            with pytest.raises(ConnectionEnded) as ended:
                await websocket.receive()
        assert ended.value.code is None
        assert "opcode" in ended.value.reason

    with saying(b"\x8f\x00") as connect:
        asyncio.run(main(connect))


def test_trio_tells_of_no_pong_on_a_connection_that_has_ended() -> None:
    pongs: list[bytes] = []

    async def main(connect: Connect) -> None:
        with trio.fail_after(PATIENCE):
            async with topone_trio.open_websocket(connect, pongs.append) as websocket:
                with pytest.raises(ConnectionEnded):
                    await websocket.receive()
                await websocket.send_ping(b"1")

    with saying(b"\x88\x02\x03\xe8") as connect:
        trio.run(main, connect)
    assert pongs == []


def test_trio_over_websockets_says_that_a_ping_came_too_late() -> None:
    async def main(connect: Connect) -> None:
        with trio.fail_after(PATIENCE):
            async with over_websockets.open_websocket(connect, lambda _: None) as websocket:
                with pytest.raises(ConnectionEnded):
                    await websocket.receive()
                with pytest.raises(ConnectionEnded) as ended:
                    await websocket.send_ping(b"1")
        assert ended.value.code == 1000

    with saying(b"\x88\x02\x03\xe8") as connect:
        trio.run(main, connect)


PING, PONG = b"\x89\x01!", b"\x8a\x81"


def test_trio_over_websockets_answers_what_came_with_the_handshake() -> None:
    heard: list[bytes] = []

    async def main(connect: Connect) -> None:
        with trio.fail_after(PATIENCE):
            async with over_websockets.open_websocket(connect, lambda _: None):
                pass

    with saying(PING, heard.append) as connect:
        trio.run(main, connect)
    assert b"".join(heard).startswith(PONG)


def test_asyncio_answers_what_came_with_the_handshake() -> None:
    heard: list[bytes] = []

    async def main(connect: Connect) -> None:
        async with topone_asyncio.open_websocket(connect, lambda _: None):
            pass

    with saying(PING, heard.append) as connect:
        asyncio.run(main(connect))
    assert b"".join(heard).startswith(PONG)


class Stuck:
    """A stream that takes bytes for ever."""

    def __init__(self) -> None:
        self.has_begun = trio.Event()

    async def send_all(self, _: bytes) -> None:
        self.has_begun.set()
        await trio.sleep_forever()


def test_behind_half_a_frame_trio_over_websockets_says_no_goodbye() -> None:
    heard: list[bytes] = []

    async def main(connect: Connect) -> None:
        async with over_websockets.open_websocket(connect, lambda _: None) as websocket:
            assert isinstance(websocket, over_websockets._WebSocket)
            stream, stuck = websocket._stream, Stuck()
            websocket._stream = stuck  # type: ignore[assignment]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(websocket.send_text, "half")
                await stuck.has_begun.wait()
                nursery.cancel_scope.cancel()
            websocket._stream = stream
            with trio.fail_after(PATIENCE):
                await websocket.close(1000, "")

    with saying(b"", heard.append) as connect:
        trio.run(main, connect)
    assert heard == []


PING_AND_MESSAGE = PING + b"\x81\x01a"


class Broken:
    """A stream that takes nothing."""

    async def send_all(self, _: bytes) -> None:
        raise trio.BrokenResourceError


def test_trio_over_websockets_reads_on_when_it_cannot_send() -> None:
    async def main(connect: Connect) -> None:
        with trio.fail_after(PATIENCE):
            async with over_websockets.open_websocket(connect, lambda _: None) as websocket:
                assert isinstance(websocket, over_websockets._WebSocket)
                websocket._stream = Broken()  # type: ignore[assignment]
                with pytest.raises(ConnectionEnded) as ended:
                    await websocket.send_text("")
                assert ended.value.__context__ is None
                assert await websocket.receive() == b"a"

    with saying(PING_AND_MESSAGE) as connect:
        trio.run(main, connect)
