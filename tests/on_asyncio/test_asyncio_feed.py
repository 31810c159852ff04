"""A feed under asyncio: its main way, its token, its names."""

import asyncio
import subprocess
import sys

import pytest

import topone_asyncio
import topone_threads
import topone_trio
from asyncio_feeds import (
    BALANCE_OF_ETH,
    HASTY,
    TOKENS,
    Memory,
    feed_at,
    feed_of,
    take_until,
)
from dials import (
    TOKEN,
    clean,
)
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    FailureKind,
    Subscribed,
    Token,
)
from topone_proto.exchange import (
    CloseConnections,
    DropConnections,
    GatewayConfig,
    OriginRule,
)
from topone_simulator import serve


@clean(faked=True)
async def test_without_a_socket() -> None:
    memory = Memory()
    async with feed_of(memory, topics=[ORDERS]) as feed:
        assert [type(event) for event in await take_until(feed, Subscribed)] == [
            Connected,
            Subscribed,
        ]
        await feed.subscribe(BALANCE)
        assert await anext(feed) == Subscribed(BALANCE, memory.gateway.server_ts(0), 1)
        memory.publish(BALANCE_OF_ETH)
        update = await anext(feed)
        assert isinstance(update, BalanceUpdate)
        assert update.balance == BALANCE_OF_ETH
        await feed.unsubscribe(BALANCE)
        assert memory.gateway.subscriptions(1) == {ORDERS}
        (socket,) = memory.sockets.values()
    assert socket.closed_with == (1000, "")
    assert socket.is_left


@clean()
async def test_over_a_socket() -> None:
    async with serve(tokens=TOKENS) as simulator, feed_at(simulator, config=HASTY) as feed:
        await take_until(feed, Subscribed)
        await feed.unsubscribe(ORDERS)
        simulator.publish(BALANCE_OF_ETH)
        update = (await take_until(feed, BalanceUpdate))[-1]
        assert isinstance(update, BalanceUpdate)
        assert update.balance == BALANCE_OF_ETH
        simulator.inject(CloseConnections(1012, "a restart"))
        lost = (await take_until(feed, Disconnected))[-1]
        assert isinstance(lost, Disconnected)
        assert (lost.reason.code, lost.reason.detail) == (1012, "a restart")
        await take_until(feed, Subscribed)
        simulator.inject(DropConnections())
        lost = (await take_until(feed, Disconnected))[-1]
        assert isinstance(lost, Disconnected)
        assert lost.reason.kind is FailureKind.LOST
        await take_until(feed, Subscribed)
        await feed.close()
        assert [event async for event in feed][-1] == Closed()


@clean()
async def test_the_handshake_has_no_origin_unless_asked() -> None:
    async with serve(tokens=TOKENS) as simulator, feed_at(simulator) as feed:
        await anext(feed)
        (handshake,) = simulator.handshakes
        assert handshake.header("Origin") is None
        assert handshake.header("Sec-WebSocket-Extensions") is None
    strict = GatewayConfig(origin=OriginRule.EMPTY)
    async with (
        serve(tokens=TOKENS, config=strict) as simulator,
        feed_at(simulator, origin="") as feed,
    ):
        assert await anext(feed) == Connected(1)
        assert simulator.handshakes[0].header("Origin") == ""


@clean(faked=True)
async def test_tokens_come_from_callables() -> None:
    async def later() -> Token:
        await asyncio.sleep(5)
        return Token(TOKEN)

    for supply in (lambda: TOKEN, later):
        async with feed_of(Memory(), token=supply) as feed:
            assert await anext(feed) == Connected(1)


@clean(faked=True)
async def test_closing_while_a_token_is_awaited() -> None:
    async def supply() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with feed_of(Memory(), token=supply) as feed:
        await asyncio.sleep(1)
        await feed.close()
        assert [event async for event in feed] == [Closed()]


@pytest.mark.parametrize("error", [OSError(TOKEN), asyncio.CancelledError(TOKEN)], ids=type)
@clean(faked=True)
async def test_a_token_callable_that_fails(error: BaseException) -> None:
    answers: list[BaseException | str] = [error, TOKEN]

    async def supply() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with feed_of(Memory(), token=supply) as feed:
        lost = await anext(feed)
        assert isinstance(lost, Disconnected)
        assert lost.reason.kind is FailureKind.TOKEN
        assert TOKEN not in str(lost)
        assert await anext(feed) == Connected(1)


def test_without_websockets() -> None:
    script = "import sys; sys.modules['websockets'] = None; import topone_asyncio"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'ImportError: topone_asyncio needs websockets: pip install "topone-proto[asyncio]"' in (
        done.stderr
    )
    assert "During handling" not in done.stderr


def test_the_same_names_as_the_other_adapters() -> None:
    names = ["Account", "Feed", "open_account", "open_feed", "open_market_feed", "open_websocket"]
    assert topone_asyncio.__all__ == topone_trio.__all__ == names
    assert [*topone_threads.__all__, "open_websocket"] == names
