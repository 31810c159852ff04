"""The simulator over real sockets on loopback: the gateway's decisions, seen from the client's
side."""

import asyncio
import gc
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidMessage,
    InvalidStatus,
)
from websockets.sync.client import connect as connect_sync
from websockets.typing import Origin

from topone_proto import LocalProtocolError
from topone_proto import exchange as g
from topone_proto.models import Side
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic
from topone_simulator import Simulator, run_in_thread, serve

TOKEN = "topapi:5ecret"
TOKENS = {TOKEN: "alice"}
ETH = Balance("ETH", Decimal("1.5"), Decimal(0))


def dial(simulator: Simulator, **settings: Any) -> connect:
    return connect(f"{simulator.url}?token={TOKEN}", proxy=None, close_timeout=0.05, **settings)


async def ask(websocket: ClientConnection, method: str) -> Any:
    await websocket.send(json.dumps({"id": "1", "method": method, "params": {}, "lang": "zh-CN"}))
    return json.loads(await websocket.recv())


@pytest.mark.asyncio
async def test_subscribe_and_publish() -> None:
    async with serve(tokens=TOKENS) as simulator, dial(simulator) as websocket:
        assert (await ask(websocket, "sub_balance"))["code"] == 0
        assert simulator.connections == 1
        simulator.publish(ETH, ETH)
        for _ in range(2):
            assert json.loads(await websocket.recv())["data"]["asset"] == "ETH"
        assert [json.loads(text)["method"] for text in simulator.requests] == ["sub_balance"]


@pytest.mark.asyncio
async def test_the_origin_header_is_seen() -> None:
    async with serve(tokens=TOKENS) as simulator:
        async with dial(simulator):
            pass
        async with dial(simulator, origin=Origin("")):
            pass
        with pytest.raises(InvalidStatus) as refused:
            await dial(simulator, origin=Origin("https://topone.run"))
        assert refused.value.response.status_code == 403
        seen = simulator.handshakes
        assert [h.header("ORIGIN") for h in seen] == [None, "", "https://topone.run"]
        assert [type(h.answer) for h in seen] == [g.Accept, g.Accept, g.Reject]
        assert {h.target for h in seen} == {"/ws/user/?token=***"}


@pytest.mark.asyncio
async def test_the_token_is_written_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("topone_simulator", "topone_simulator.websockets", "websockets.server"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("websockets.client").setLevel(logging.CRITICAL)
    async with serve(tokens=TOKENS) as simulator:
        async with dial(simulator) as websocket:
            await ask(websocket, "sub_orders")
        assert TOKEN not in repr(simulator.handshakes)
        assert TOKEN not in repr(vars(simulator._core))
    assert "5ecret" not in caplog.text
    assert "5ecret" not in "".join(capfd.readouterr())


@pytest.mark.asyncio
async def test_rejections_have_their_status_and_headers() -> None:
    async with serve(tokens=TOKENS) as simulator:
        for status in (429, 503, 500, 401, 200, 599):
            simulator.inject(g.RefuseHandshake(status, retry_after=7))
            with pytest.raises(InvalidStatus) as refused:
                await dial(simulator)
            assert refused.value.response.status_code == status
            assert refused.value.response.headers["Retry-After"] == "7"


@pytest.mark.asyncio
async def test_garbage_instead_of_an_answer() -> None:
    async with serve(tokens=TOKENS) as simulator:
        simulator.inject(g.AnswerGarbage())
        with pytest.raises(InvalidMessage):
            await dial(simulator)


@pytest.mark.asyncio
async def test_a_handshake_that_is_never_answered() -> None:
    async with serve(tokens=TOKENS) as simulator:
        simulator.inject(g.IgnoreHandshake())
        waiting = asyncio.ensure_future(dial(simulator).__aenter__())
        while not simulator.handshakes:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
        assert not waiting.done()
    with pytest.raises((InvalidMessage, ConnectionError)):  # the server's end frees it
        await waiting


@pytest.mark.asyncio
async def test_a_request_that_is_no_handshake_is_none_of_the_gateways() -> None:
    async with serve(tokens=TOKENS) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(b"GET /ws/user/?token=demo HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"426"
        writer.close()
        await writer.wait_closed()
        assert simulator.handshakes == ()
        assert simulator.connections == 0


@pytest.mark.asyncio
async def test_close_with_a_code_and_drop_without() -> None:
    async with serve(tokens=TOKENS) as simulator:
        async with dial(simulator) as websocket:
            simulator.inject(g.CloseConnections(1012, "restart"))
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "restart")
        async with dial(simulator) as websocket:
            await ask(websocket, "sub_balance")
            simulator.publish(ETH)
            simulator.inject(g.DropConnections())
            assert "ETH" in str(await websocket.recv())  # what was sent before still arrives
            with pytest.raises(ConnectionClosedError) as dropped:
                await websocket.recv()
            assert dropped.value.rcvd is None
            assert isinstance(dropped.value.__cause__, ConnectionResetError)


@pytest.mark.asyncio
async def test_what_cannot_be_sent_ends_the_connection() -> None:
    async with serve(tokens=TOKENS) as simulator, dial(simulator) as websocket:
        simulator.inject(g.CloseConnections(1006))  # never in a close frame: RFC 6455, 7.4.1
        with pytest.raises(ConnectionClosedError) as closed:
            await websocket.recv()
        assert closed.value.rcvd is None


@pytest.mark.asyncio
async def test_a_connection_that_ends_has_answered_no_ping() -> None:
    config = g.GatewayConfig(ping_form=g.PingForm.CONTROL, ping_interval=0.01, pong_timeout=60.0)
    async with serve(tokens=TOKENS, config=config) as simulator:
        answered: list[int] = []
        received = simulator._core.gateway.pong_received

        def pong_received(peer: int, now: float) -> g.GatewayStep:
            answered.append(peer)
            return received(peer, now)

        simulator._core.gateway.pong_received = pong_received  # type: ignore[method-assign]  # to watch it
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(
            f"GET /ws/user/?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n".encode()
            + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readexactly(1)) == b"\x89"  # a ping
        writer.close()
        while simulator.connections:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
        assert answered == []


@pytest.mark.asyncio
async def test_accepted_and_closed_at_once() -> None:
    async with serve(tokens=TOKENS) as simulator:
        simulator.inject(g.AcceptThenClose(1013))
        async with dial(simulator) as websocket:
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013


@pytest.mark.asyncio
async def test_a_silent_connection_answers_nothing_and_its_end_is_noticed() -> None:
    async with serve(tokens=TOKENS) as simulator:
        async with dial(simulator) as quiet, dial(simulator) as lively:
            await ask(quiet, "sub_balance")
            await ask(lively, "sub_balance")
            simulator.inject(g.GoSilent(peer=1))
            pong = await quiet.ping()
            await quiet.send("hello?")
            simulator.publish(ETH)
            assert "ETH" in str(await lively.recv())
            await (await lively.ping())
            assert not pong.done()  # type: ignore[attr-defined]  # websockets calls its future an awaitable
            assert "hello?" not in simulator.requests
        while simulator.connections:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_control_pings_are_answered_by_pongs() -> None:
    config = g.GatewayConfig(ping_interval=0.01, ping_form=g.PingForm.CONTROL, pong_timeout=None)
    async with serve(tokens=TOKENS, config=config) as simulator, dial(simulator):
        answered = asyncio.Event()
        received = simulator._core.gateway.pong_received

        def pong_received(peer: int, now: float) -> g.GatewayStep:
            answered.set()
            return received(peer, now)

        simulator._core.gateway.pong_received = pong_received  # type: ignore[method-assign]  # to watch it
        await answered.wait()


@pytest.mark.asyncio
async def test_the_account_lives_and_the_updates_tell_the_truth() -> None:
    # One that a busy machine keeps up with: else every turn would take longer than the last.
    async with serve(tokens=TOKENS, rate=100.0, seed=3) as simulator, dial(simulator) as websocket:
        await ask(websocket, "sub_orders")
        statuses: set[int] = set()
        while statuses < {1, 2, 3, 4}:
            statuses.add(json.loads(await websocket.recv())["data"]["status"])
        assert len(simulator.orders) > 3


@pytest.mark.asyncio
async def test_events_by_hand() -> None:
    async with serve(tokens=TOKENS) as simulator, dial(simulator) as websocket:
        await ask(websocket, "sub_balance")
        balances, orders = simulator.balances, simulator.orders
        order, eth = simulator.live(
            lambda account, now: account.place("ETH/BTC", Side.SELL, Decimal(1), now)
        )
        assert json.loads(await websocket.recv())["data"]["freeze"] == "1"
        assert eth == simulator.balances["ETH"]
        assert [order] == list(simulator.orders.values())
        # What was read before is as it was then.
        assert balances["ETH"].freeze == 0
        assert orders == {}
        with pytest.raises(LocalProtocolError, match="is available"):
            simulator.live(
                lambda account, now: account.place("ETH/BTC", Side.SELL, Decimal(181), now)
            )
        assert simulator.balances["ETH"] == eth


@pytest.mark.asyncio
async def test_market_data_is_served_beside_the_account_without_a_token() -> None:
    async with serve(tokens=TOKENS) as simulator, dial(simulator) as private:
        assert simulator.market_url == f"ws://127.0.0.1:{simulator.port}/ws/"
        assert (await ask(private, "sub_orders"))["code"] == 0
        assert (await ask(private, "sub_deals_ETH/BTC"))["code"] != 0
        async with connect(simulator.market_url, proxy=None, close_timeout=0.05) as public:
            assert (await ask(public, "sub_orders"))["code"] != 0
            assert (await ask(public, "sub_deals_ETH/BTC"))["code"] == 0

            # A fill of the account is one of the market's deals.
            order = place(simulator)
            simulator.live(lambda account, now: account.fill(order.id, Decimal("0.5"), now))
            deal = json.loads(await public.recv())
            assert deal["method"] == "sub_deals_ETH/BTC"
            ((time, *rest),) = deal["data"]["list"]
            assert rest == ["0.08", "0.5", 1]
            assert time == simulator.orders[order.id].update_time

            price, amount = Decimal("0.08"), Decimal(2)
            simulator.market(
                "ETH/BTC", lambda market, now: market.trade(price, amount, Side.BUY, now)
            )
            assert json.loads(await public.recv())["data"]["list"][0][1:] == ["0.08", "2", 2]
            assert simulator.market("ETH/BTC", lambda market, _: market.deal_count) == 2

            await public.send(
                '{"id":"2","method":"req_kline_ETH/BTC_1d","params":{"from":0,"to":9999999999}}'
            )
            candle = json.loads(await public.recv())["data"]["list"][-1]
            assert candle[5:] == ["2.5", "0.200"]


def place(simulator: Simulator) -> Order:
    order, _ = simulator.live(
        lambda account, now: account.place(
            "ETH/BTC", Side.BUY, Decimal(1), now, price=Decimal("0.08")
        )
    )
    assert isinstance(order, Order)
    return order


@pytest.mark.asyncio
async def test_a_market_of_others_lives_and_made_up_data_can_be_published() -> None:
    async with (
        serve(market_rate=200.0, history=3600.0) as simulator,
        connect(simulator.market_url, proxy=None, close_timeout=0.05) as public,
    ):
        backlog = simulator.market("BTC/USDT", lambda market, _: market.deal_count)
        assert backlog > 100
        assert (await ask(public, "sub_deals_BTC/USDT"))["code"] == 0
        assert len(json.loads(await public.recv())["data"]["list"]) == 100
        assert json.loads(await public.recv())["method"] == "sub_deals_BTC/USDT"
        made_up = g.Trade(1.5, Decimal(7), Decimal(1), Side.SELL)
        simulator.publish_market(Topic("deals_BTC/USDT"), (made_up,))
        while json.loads(await public.recv())["data"]["list"] != [[1.5, "7", "1", 1]]:
            pass


@pytest.mark.asyncio
async def test_whoever_starts_later_has_other_orders() -> None:
    ids: list[int] = []
    for start_ts in (1_800_000_000_000, 1_800_000_001_000):
        async with serve(config=g.GatewayConfig(start_ts=start_ts)) as simulator:
            for _ in range(5):
                simulator.live(lambda a, now: a.place("ETH/BTC", Side.SELL, Decimal(1), now))
            ids += simulator.orders
    assert len(set(ids)) == 10


@pytest.mark.asyncio
async def test_who_is_connected_can_be_told_apart() -> None:
    async with serve(tokens=TOKENS) as simulator, dial(simulator) as first, dial(simulator):
        answers = [handshake.answer for handshake in simulator.handshakes]
        assert list(map(g.Accept, simulator.peers)) == answers
        [one, other] = simulator.peers
        simulator.inject(g.CloseConnections(peer=one))
        with pytest.raises(ConnectionClosed):
            await first.recv()
        assert simulator.peers == (other,)


@pytest.mark.asyncio
async def test_tls() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with serve(tokens=TOKENS, ssl_context=server) as simulator:
        assert simulator.url.startswith("wss://127.0.0.1:")
        async with dial(simulator, ssl=client) as websocket:
            assert (await ask(websocket, "sub_orders"))["code"] == 0
            simulator.inject(g.DropConnections())
            with pytest.raises(ConnectionClosedError):
                await websocket.recv()


def test_beside_other_programs_and_gone_afterwards() -> None:
    # The client's own keep-alive is off: its thread would end a moment after the client.
    before = set(threading.enumerate())
    with run_in_thread(tokens=TOKENS) as simulator:
        with connect_sync(
            f"{simulator.url}?token={TOKEN}", proxy=None, ping_interval=None
        ) as websocket:
            websocket.send('{"id":"1","method":"sub_balance","params":{},"lang":"zh-CN"}')
            websocket.recv()
            simulator.publish(ETH)
            assert "ETH" in str(websocket.recv())
            simulator.inject(g.ExpireToken(TOKEN))
            with pytest.raises(ConnectionClosed):
                websocket.recv()
        simulator.allow("fresh", "alice")
        with connect_sync(f"{simulator.url}?token=fresh", proxy=None, ping_interval=None):
            pass
        with pytest.raises(ZeroDivisionError):
            simulator.live(lambda account, now: account.place("", Side.BUY, Decimal(1 // 0), now))
    assert set(threading.enumerate()) <= before
    assert len(simulator.handshakes) == 2  # what it saw can be read afterwards
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", simulator.port)) != 0


def test_a_port_in_use_is_an_error_where_it_was_asked_for() -> None:
    before = set(threading.enumerate())
    with run_in_thread() as simulator:
        second = run_in_thread(port=simulator.port)
        with pytest.raises(OSError, match="address"):
            second.__enter__()
    assert set(threading.enumerate()) <= before


def test_the_extra_is_named_when_websockets_is_missing() -> None:
    code = 'import sys; sys.modules["websockets"] = None; import topone_simulator'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "topone-proto[simulator]"' in done.stderr


@pytest.mark.parametrize("kind", ["websocket", "http"])
@pytest.mark.parametrize("leaves", [True, False], ids=["client leaves", "client stays"])
def test_a_connection_that_comes_as_it_ends_is_closed(kind: str, leaves: bool) -> None:
    """A connection that was accepted just then has no protocol yet that could be closed."""
    for _ in range(8):
        with run_in_thread() as simulator:
            address = urlsplit(simulator.url if kind == "websocket" else simulator.http_url)
            assert address.port is not None
            clients = [socket.create_connection(("127.0.0.1", address.port)) for _ in range(10)]
            if leaves:
                for client in clients:
                    client.close()
        for client in clients:
            client.close()
    # Sockets that are open warn of it, and warnings are errors.
    gc.collect()
