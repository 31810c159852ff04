"""An open WebSocket of asyncio: what it reads, sends and reports."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

import topone_asyncio
from asyncio_feeds import (
    URL,
    turns,
    until,
)
from dials import (
    clean,
    connect_to,
    failure_of,
    raw_server,
    websocket_server,
)
from topone_asyncio._websocket import _WebSocket
from topone_proto import (
    ConnectionEnded,
    FailureKind,
)
from topone_proto.adapters import (
    AsyncWebSocket,
    PushingWebSocket,
)
from topone_websockets import WebSocketClient
from waits import accept_websocket


@clean()
async def test_bytes_are_heard_be_they_a_part_of_a_frame() -> None:
    go_on = asyncio.Event()

    async def stutter(connection: ServerConnection) -> None:
        for part in (b"\x89\x00", b"\x81\x04wh", b"ol"):
            await go_on.wait()
            go_on.clear()
            connection.transport.write(part)
        await connection.wait_closed()

    async with (
        websocket_server(stutter) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        for _ in range(3):
            before = heard_at(websocket)
            assert before <= asyncio.get_running_loop().time()
            go_on.set()
            await until(lambda before=before: heard_at(websocket) > before)  # type: ignore[misc]  # a loop's lambda
        assert await websocket.receive() == b"whol"


def heard_at(websocket: AsyncWebSocket) -> float:
    assert isinstance(websocket, _WebSocket)
    assert websocket.heard_at is not None
    return websocket.heard_at


@clean()
async def test_what_nobody_receives_is_not_read() -> None:
    """And all of it comes once somebody does."""
    sent = 0
    is_over = False

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        while not is_over:
            await connection.send(b"%9d" % sent + bytes(991))
            sent += 1
        await connection.send("done")
        await connection.wait_closed()

    async with (
        websocket_server(flood) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        assert isinstance(websocket, _WebSocket)
        await until_it_stays(lambda: sent)
        assert sent > 0
        assert sum(map(len, websocket._unread)) <= 2 * 2**18
        stuck = sent
        is_over = True
        for number in range(stuck):
            message = await websocket.receive()
            assert isinstance(message, bytes)
            assert int(message[:9]) == number
        while await websocket.receive() != b"done":
            pass


@clean()
async def test_who_keeps_up_is_read_to_without_a_pause() -> None:
    async def answer(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await connection.send(bytes(len(await connection.recv()) * 20_000))

    async with (
        websocket_server(answer) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        assert isinstance(websocket, _WebSocket)
        for _ in range(30):
            await websocket.send_text("x")
            await until(lambda: bool(websocket._unread))
            assert not websocket._is_piled
            assert len(await websocket.receive()) == 20_000


async def until_it_stays(number: Callable[[], int]) -> None:
    unchanged = 0
    while unchanged < 200:
        before = number()
        await asyncio.sleep(0)
        unchanged = unchanged + 1 if number() == before else 0


@clean()
async def test_a_flood_of_pings_whose_pongs_nobody_takes() -> None:
    sent = 0
    is_left = asyncio.Event()

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        connection.transport.pause_reading()
        while not is_left.is_set():
            connection.transport.write((b"\x89\x7d" + bytes(125)) * 1000)
            await until(
                lambda: not connection.transport.get_write_buffer_size() or is_left.is_set()
            )
            sent += 1000
        connection.transport.abort()

    async with websocket_server(flood) as url:
        async with topone_asyncio.open_websocket(connect_to(url), print) as websocket:
            assert isinstance(websocket, _WebSocket)
            await until_it_stays(lambda: sent)
            assert sent > 0
            transport = websocket._transport
            assert transport is not None
            assert not transport.is_reading()
            # What asyncio holds before it says that it is too much, and the pongs of one read.
            assert transport.get_write_buffer_size() <= 2**16 + 2 * 2**18
            assert not websocket._client.has_to_send
        is_left.set()


@clean()
async def test_writing_that_has_stopped_goes_on() -> None:
    """The peer reads nothing for a while: nothing is lost, and reading goes on as well."""
    may_read = asyncio.Event()
    heard: list[bytes | str] = []

    async def wait(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await may_read.wait()
        connection.transport.resume_reading()
        with suppress(ConnectionClosed):
            while True:
                heard.append(await connection.recv())
                await connection.send("thanks")

    sent = 0

    async def flood(websocket: AsyncWebSocket) -> None:
        nonlocal sent
        while not may_read.is_set():
            await websocket.send_text("x" * 2**18)
            sent += 1

    async with (
        websocket_server(wait) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        flooding = asyncio.create_task(flood(websocket))
        await until_it_stays(lambda: sent)
        may_read.set()
        await flooding
        for _ in range(sent):
            assert await websocket.receive() == b"thanks"
        assert len(heard) == sent


@clean()
async def test_whoever_sends_is_told_that_the_connection_was_lost() -> None:
    may_end = asyncio.Event()

    async def stop_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await may_end.wait()
        connection.transport.abort()

    async def flood(websocket: AsyncWebSocket) -> None:
        while True:
            await websocket.send_text("x" * 2**18)

    async with (
        websocket_server(stop_reading) as url,
        topone_asyncio.open_websocket(connect_to(url), print) as websocket,
    ):
        flooding = asyncio.create_task(flood(websocket))
        await turns(300)
        may_end.set()
        with pytest.raises(ConnectionEnded) as ended:
            await flooding
        assert ended.value.code is None


@clean()
async def test_what_came_before_sending_failed_is_received() -> None:
    def serve() -> None:
        peer, _ = server.accept()
        accept_websocket(peer)
        assert may_send.wait(10)
        peer.sendall(b"\x81\x04last")
        # Closing resets the connection.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    may_send = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        serving = asyncio.create_task(asyncio.to_thread(serve))
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        async with topone_asyncio.open_websocket(connect_to(url), print) as websocket:
            assert isinstance(websocket, PushingWebSocket)
            websocket.pause_reading()
            may_send.set()
            await serving
            with pytest.raises(ConnectionEnded):
                while True:
                    await websocket.send_text("nobody hears it")
                    await turns()
            assert await websocket.receive() == b"last"
            with pytest.raises(ConnectionEnded):
                await websocket.receive()


@clean()
async def test_a_callback_that_fails_is_heard_of() -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.wait_closed()

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    async with (
        websocket_server(answer) as url,
        topone_asyncio.open_websocket(connect_to(url), fail) as websocket,
    ):
        await websocket.send_ping(b"1")
        with pytest.raises(ZeroDivisionError):
            await websocket.receive()


@clean()
async def test_a_reset_in_the_handshake_is_the_networks() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failed = await failure_of(f"ws://127.0.0.1:{port}/")
    assert failed.failure.kind is FailureKind.NETWORK


@clean()
async def test_a_socket_that_no_transport_takes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def create_connection(*_: object, sock: socket.socket) -> Any:
        sockets.append(sock)
        raise OSError(24, "too many open files")

    sockets: list[socket.socket] = []
    async with raw_server(b"") as (address, requests):
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
            failed = await failure_of(f"ws://{address}/")
    assert failed.failure.kind is FailureKind.NETWORK
    assert [sock.fileno() for sock in sockets] == [-1]
    assert requests == []


@clean()
async def test_a_transport_that_closes_is_left_alone() -> None:
    """Under uvloop it would raise."""

    class Closing:
        def is_closing(self) -> bool:
            return True

    websocket = _WebSocket(WebSocketClient(connect_to(URL), print))
    websocket.connection_made(Closing())  # type: ignore[arg-type]  # all that it is asked for
    websocket.pause_writing()
    websocket.resume_writing()
