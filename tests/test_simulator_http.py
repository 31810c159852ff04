"""The simulator's HTTP API over real sockets on loopback, asked by HTTP clients that know nothing
of it."""

import asyncio
import json
import logging
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import httpcore
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from topone_proto import Credentials, Order, Side, Token
from topone_proto import exchange as g
from topone_proto.wire.answers import read_balances, read_history, read_open_orders, read_token
from topone_proto.wire.http import HttpRequest, HttpResponse
from topone_proto.wire.requests import (
    balances_request,
    history_request,
    markets_request,
    open_orders_request,
    token_request,
)
from topone_simulator import Simulator, Truth, run_in_thread, serve

KEYS = Credentials("0123456789abcdef0123456789abcdef", "a-secret-key")
DEMO = Token("demo")


class Client:
    """A pool of connections to a simulator."""

    def __init__(self, simulator: Simulator, pool: httpcore.AsyncConnectionPool) -> None:
        self.simulator, self.pool = simulator, pool

    async def ask(self, request: HttpRequest) -> HttpResponse:
        url = self.simulator.http_url + request.target
        answer = await self.pool.request("GET", url, headers=list(request.headers()))
        headers = tuple((name.decode(), text.decode()) for name, text in answer.headers)
        return HttpResponse(answer.status, answer.content, headers, request)

    async def token(self) -> Token:
        keys = self.simulator.credentials
        return read_token(await self.ask(token_request(keys, random=123456, time=int(time.time()))))


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[Client]:
    async with serve(**settings) as simulator, httpcore.AsyncConnectionPool() as pool:
        yield Client(simulator, pool)


def buy(simulator: Simulator) -> Order:
    price = Decimal("0.05")
    order = simulator.live(
        lambda account, now: account.place("ETH/BTC", Side.BUY, Decimal(2), now, price=price)
    )[0]
    assert isinstance(order, Order)
    return order


@pytest.mark.asyncio
async def test_a_token_opens_the_lists_and_the_websocket_of_the_living_account() -> None:
    async with simulated(credentials=KEYS) as client:
        simulator = client.simulator
        assert simulator.credentials == KEYS
        token = await client.token()
        order, finished = buy(simulator), buy(simulator)
        simulator.live(lambda account, now: account.cancel(finished.id, now))
        balances = read_balances(await client.ask(balances_request(token))).rows
        truth = simulator.truth()
        assert {balance.asset: balance for balance in balances} == truth.balances
        opened = read_open_orders(await client.ask(open_orders_request(token))).rows
        assert {order.id: order for order in opened} == truth.open_orders == {order.id: order}
        [closed] = read_history(await client.ask(history_request(token))).rows
        assert [closed.id] == list(truth.closed_orders) == [finished.id]
        async with connect(f"{simulator.url}?token={token.reveal()}", proxy=None) as websocket:
            request = {"id": "1", "method": "sub_balance", "params": {}, "lang": "zh-CN"}
            await websocket.send(json.dumps(request))
            assert json.loads(await websocket.recv())["code"] == 0
        assert [call.path for call in simulator.http_calls][-1] == "/t/v1/order/history"
        assert simulator.overruns == 0


@pytest.mark.asyncio
async def test_an_old_token_opens_no_websocket_if_a_new_one_ends_it() -> None:
    config = g.HttpConfig(kills_old_tokens=True, token_interval=1e-9)
    async with simulated(http_config=config) as client:
        old, _ = await client.token(), await client.token()
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{client.simulator.url}?token={old.reveal()}", proxy=None)
        assert refused.value.response.status_code == 401


@pytest.mark.asyncio
async def test_faults_are_set_from_outside_at_any_time() -> None:
    async with simulated() as client:
        simulator = client.simulator

        async def ask() -> HttpResponse:
            return await client.ask(balances_request(DEMO))

        simulator.inject(g.RefuseHttp(503))
        assert (await ask()).status == 503
        simulator.inject(g.RefuseHttp(429, 7))
        answer = await ask()
        assert (answer.status, dict(answer.headers)["Retry-After"]) == (429, "7")
        simulator.inject(g.GarbleHttp())
        assert (await ask()).body.startswith(b"<html>")
        simulator.inject(g.RejectHttp(10003))
        assert json.loads((await ask()).body)["code"] == 10003
        simulator.inject(g.ResetHttp())
        with pytest.raises(httpcore.ReadError):
            await ask()
        simulator.inject(g.CutHttp())
        with pytest.raises(httpcore.RemoteProtocolError, match="without sending complete"):
            await ask()
        simulator.inject(g.DelayHttp(0.01))
        assert (await ask()).status == 200
        simulator.inject(g.RefuseHttp(503, times=None))
        simulator.clear_faults()
        assert (await ask()).status == 200
        struck = [type(call.fault) for call in simulator.http_calls if call.fault is not None]
        assert struck == [
            *(g.RefuseHttp, g.RefuseHttp, g.GarbleHttp, g.RejectHttp, g.ResetHttp, g.CutHttp),
            g.DelayHttp,
        ]


@pytest.mark.asyncio
async def test_an_answer_that_never_comes_keeps_nobody_at_the_end() -> None:
    async with simulated() as client:
        client.simulator.inject(g.HangHttp(times=2, path="balance"))
        hanging = asyncio.create_task(client.ask(balances_request(DEMO)))
        leaving = asyncio.create_task(client.ask(balances_request(DEMO)))
        while sum(call.fault is not None for call in client.simulator.http_calls) < 2:
            await client.ask(markets_request())
        leaving.cancel()
        assert not hanging.done()
    with pytest.raises((httpcore.ReadError, httpcore.RemoteProtocolError)):
        await hanging


@pytest.mark.asyncio
async def test_an_account_that_lives_is_read_as_it_is() -> None:
    async with simulated(rate=200.0, history=60.0) as client:
        for _ in range(5):
            await client.ask(history_request(DEMO))
            page = read_balances(await client.ask(balances_request(DEMO)))
            assert {balance.asset for balance in page.rows} == set(g.DEFAULT_BALANCES)


@pytest.mark.asyncio
@pytest.mark.parametrize("has_date", [True, False])
async def test_headers_are_the_desk_s(has_date: bool) -> None:
    config = g.GatewayConfig(start_ts=1570499640_000)
    http_config = g.HttpConfig(has_date=has_date)
    async with simulated(config=config, http_config=http_config) as client:
        answer = await client.ask(markets_request())
        names = [name.lower() for name, _ in answer.headers]
        assert sorted(names) == sorted(
            ["content-type", "content-length", *(["date"] if has_date else [])]
        )
        if has_date:
            date = parsedate_to_datetime(dict(answer.headers)["Date"])
            assert 0 <= date.timestamp() - 1570499640 < 600
            client.simulator.inject(g.StepClock(3600_000))
            stepped = (await client.ask(markets_request())).date
            assert stepped is not None
            assert stepped >= 1570499640 + 3600


def test_it_is_the_same_from_other_threads() -> None:
    with run_in_thread(credentials=KEYS, http_config=g.HttpConfig(has_total=False)) as simulator:
        order = buy(simulator)
        request = open_orders_request(DEMO)
        url = simulator.http_url + request.target
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(request.headers()))
        ) as answer:
            page = read_open_orders(HttpResponse(answer.status, answer.read()))
        assert page.rows == (order,)
        assert page.total is None
        assert simulator.truth() == Truth(simulator.balances, {order.id: order}, {})
        simulator.inject(g.CutHttp())
        with pytest.raises(IncompleteRead), urllib.request.urlopen(url) as answer:
            answer.read()
        simulator.inject(g.ResetHttp())
        with pytest.raises((ConnectionResetError, RemoteDisconnected, urllib.error.URLError)):
            urllib.request.urlopen(url)


def test_it_speaks_tls_as_the_websocket_does() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with run_in_thread(ssl_context=server) as simulator:
        assert simulator.http_url.startswith("https://127.0.0.1:")
        url = simulator.http_url + markets_request().target
        with urllib.request.urlopen(url, context=client) as answer:
            assert json.loads(answer.read())["code"] == 0
        simulator.inject(g.ResetHttp())
        with pytest.raises((ConnectionResetError, RemoteDisconnected, urllib.error.URLError)):
            urllib.request.urlopen(url, context=client)


def test_every_simulator_has_a_key_pair_of_its_own() -> None:
    with run_in_thread() as one, run_in_thread() as other:
        assert one.credentials != other.credentials
        assert len(one.credentials.app_id) == 32


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"), run_in_thread(http_port=port):
            raise AssertionError


@pytest.mark.asyncio
async def test_keys_and_tokens_are_written_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("topone_simulator", "aiohttp.access", "aiohttp.server", "aiohttp.web"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.CRITICAL)
    async with simulated(credentials=KEYS) as client:
        token = await client.token()
        client.simulator.inject(g.CutHttp(times=None))
        with pytest.raises(httpcore.RemoteProtocolError):
            await client.ask(balances_request(token))
        port = urlsplit(client.simulator.http_url).port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"no HTTP {token.reveal()}\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        shown = repr(client.simulator.http_calls) + repr(vars(client.simulator))
        shown += repr(vars(client.simulator._core))
    for text in (shown, caplog.text, "".join(capfd.readouterr())):
        assert KEYS.reveal() not in text
        assert token.reveal() not in text
