"""Tests of asyncio's WebSockets, the default and aiohttp's: what they do alike."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

import dials
import topone_asyncio
from dials import TOKEN, clean, connect_to, failure_of, raw_server, websocket_server
from topone_asyncio import over_aiohttp
from topone_proto import ConnectionEnded, FailureKind
from topone_proto.adapters import AsyncWebSocket
from topone_proto.exchange import SendRaw
from topone_simulator import serve


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with dials.quiet(caplog), dials.without_proxies():
        yield


@pytest.fixture(params=[topone_asyncio, over_aiohttp], ids=["websockets", "aiohttp"])
def open_websocket(request: pytest.FixtureRequest) -> Any:
    return request.param.open_websocket


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@clean()
async def test_redirects_are_refused(status: int, open_websocket: Any) -> None:
    async with raw_server(b"") as (elsewhere, strays):
        answer = (
            f"HTTP/1.1 {status} Moved\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        )
        async with raw_server(answer.encode()) as (address, requests):
            failed = await failure_of(f"ws://{address}/", open_websocket=open_websocket)
        assert (failed.failure.kind, failed.failure.status) == (FailureKind.HANDSHAKE, status)
        assert len(requests) == 1
        assert strays == []


@clean()
async def test_a_server_that_hangs_up_is_not_dialled_again(open_websocket: Any) -> None:
    async with raw_server(b"") as (address, requests):
        failed = await failure_of(f"ws://{address}/", open_websocket=open_websocket)
    assert failed.failure.kind in {FailureKind.NOT_WEBSOCKET, FailureKind.NETWORK}
    (request,) = requests
    assert request.startswith(
        f"GET {connect_to(f'ws://{address}/').target()} HTTP/1.1\r\n".encode()
    )


@clean()
async def test_how_long_to_wait_is_heard(open_websocket: Any) -> None:
    answer = b"HTTP/1.1 429 No\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answer) as (address, _):
        failed = await failure_of(f"ws://{address}/", open_websocket=open_websocket)
    assert (failed.failure.status, failed.failure.retry_after) == (429, 77)


@clean()
async def test_other_proxies_are_refused(
    monkeypatch: pytest.MonkeyPatch, open_websocket: Any
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    failed = await failure_of("wss://exchange.example/ws/user/", open_websocket=open_websocket)
    assert "HTTPS_PROXY" in failed.failure.detail


@clean()
async def test_the_largest_frame(open_websocket: Any) -> None:
    async with (
        serve(tokens={TOKEN: "demo"}) as simulator,
        open_websocket(connect_to(simulator.url, 1000), print) as websocket,
    ):
        simulator.inject(SendRaw("x" * 1000))
        assert len(await websocket.receive()) == 1000
        simulator.inject(SendRaw("x" * 1001))
        with pytest.raises(ConnectionEnded) as ended:
            await websocket.receive()
        assert ended.value.code is None
        assert "1001" in ended.value.reason
        with pytest.raises(ConnectionEnded):
            await websocket.receive()
        with pytest.raises(ConnectionEnded):
            await websocket.send_text("too late")


@clean()
async def test_a_drop_does_not_wait_for_what_is_unsent(open_websocket: Any) -> None:
    """The peer has stopped reading, and the buffers of both sockets are full."""
    is_left = asyncio.Event()
    sent = 0

    async def stop_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await is_left.wait()
        connection.transport.abort()

    async def flood(websocket: AsyncWebSocket) -> None:
        nonlocal sent
        while True:
            await websocket.send_text("x" * 2**18)
            sent += 1

    async with websocket_server(stop_reading) as url:
        async with open_websocket(connect_to(url), print) as websocket:
            flooding = asyncio.create_task(flood(websocket))
            unchanged = 0
            while unchanged < 200:
                before = sent
                await asyncio.sleep(0)
                unchanged = unchanged + 1 if sent == before else 0
            assert sent > 0
            flooding.cancel()
            with suppress(asyncio.CancelledError):
                await flooding
        is_left.set()


@clean()
async def test_the_closing_handshake_is_waited_for(open_websocket: Any) -> None:
    """Also while data is on its way, and after a cancelled ``receive``, as the feed's is."""
    connections: list[ServerConnection] = []

    async def talk(connection: ServerConnection) -> None:
        connections.append(connection)
        with suppress(ConnectionClosed):
            await connection.recv()
            for _ in range(100):
                await connection.send("and so on")
            await connection.wait_closed()

    async with (
        websocket_server(talk) as url,
        open_websocket(connect_to(url), print) as websocket,
    ):
        receiving = asyncio.create_task(websocket.receive())
        await asyncio.sleep(0)
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving
        await websocket.send_text("go on")
        await websocket.close(1000, "done")
        # It has been received and answered by now.
        assert connections[0].protocol.close_rcvd == Close(1000, "done")


@clean()
async def test_pings_are_answered_and_pongs_reported(open_websocket: Any) -> None:
    answered: list[bytes] = []
    reported: list[bytes] = []

    async def ping(connection: ServerConnection) -> None:
        await (await connection.ping(b"from there"))
        answered.append(b"from there")
        await connection.send("done")
        await connection.wait_closed()

    async with (
        websocket_server(ping) as url,
        open_websocket(connect_to(url), reported.append) as websocket,
    ):
        await websocket.send_ping(b"from here")
        assert await websocket.receive() in {"done", b"done"}
    assert answered == [b"from there"]
    assert reported == [b"from here"]


@pytest.mark.parametrize(
    ("code", "reason", "heard"),
    [(1001, "going", (1001, "going")), (4000, "", (4000, "")), (None, "", (1005, ""))],
)
@clean()
async def test_a_close_frame_is_answered(
    code: int | None, reason: str, heard: tuple[int, str], open_websocket: Any
) -> None:
    answers: list[int] = []

    async def hang_up(connection: ServerConnection) -> None:
        if code is None:
            connection.protocol.send_close()
            connection.transport.write(b"".join(connection.protocol.data_to_send()))
        else:
            await connection.close(code, reason)
        await connection.wait_closed()
        assert connection.protocol.close_rcvd is not None
        answers.append(connection.protocol.close_rcvd.code)

    async with websocket_server(hang_up) as url:
        async with open_websocket(connect_to(url), print) as websocket:
            with pytest.raises(ConnectionEnded) as ended:
                await websocket.receive()
        assert (ended.value.code, ended.value.reason) == heard
    assert answers == [code or (1000 if open_websocket is over_aiohttp.open_websocket else 1005)]


@clean()
async def test_closing_passes_over_what_nobody_has_received(open_websocket: Any) -> None:
    closed: list[Close | None] = []

    async def talk(connection: ServerConnection) -> None:
        for text in ("first", "second", "third"):
            await connection.send(text)
        await connection.wait_closed()
        closed.append(connection.protocol.close_rcvd)

    async with (
        websocket_server(talk) as url,
        open_websocket(connect_to(url), print) as websocket,
    ):
        assert await websocket.receive() in {"first", b"first"}
        await websocket.close(1000, "done")
    assert closed == [Close(1000, "done")]
