"""The deadlines of a feed under asyncio."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

import topone_asyncio
from asyncio_feeds import (
    HASTY,
    URL,
    Memory,
    MemoryWebSocket,
    feed_of,
    take_until,
    turns,
)
from dials import (
    TOKEN,
    clean,
)
from topone_proto import (
    BALANCE,
    ORDERS,
    Connect,
    Connected,
    ConnectionEnded,
    Disconnected,
    FailureKind,
    RequestTimedOut,
    SessionConfig,
    Subscribed,
)
from topone_proto.exchange import (
    IgnoreHandshake,
    LoseAck,
)


@clean(faked=True)
async def test_deadlines_are_met() -> None:
    loop = asyncio.get_running_loop()
    memory = Memory()
    memory.gateway.inject(LoseAck(), 0.0)
    async with feed_of(memory, topics=[ORDERS], config=SessionConfig(ack_timeout=7)) as feed:
        timed_out = (await take_until(feed, RequestTimedOut))[-1]
        assert isinstance(timed_out, RequestTimedOut)
        assert loop.time() == pytest.approx(7)
        lost = await anext(feed)
        assert isinstance(lost, Disconnected)
        assert lost.retry_in is not None
        await take_until(feed, Connected)
        assert loop.time() == pytest.approx(7 + lost.retry_in)


@clean(faked=True)
async def test_a_dial_that_takes_too_long_is_cancelled() -> None:
    memory = Memory()
    memory.gateway.inject(IgnoreHandshake(), 0.0)
    async with feed_of(memory, config=SessionConfig(open_timeout=3)) as feed:
        lost = await anext(feed)
        assert isinstance(lost, Disconnected)
        assert lost.reason.kind is FailureKind.TIMEOUT
        assert asyncio.get_running_loop().time() == pytest.approx(3)
        assert await anext(feed) == Connected(1)


@clean(faked=True)
async def test_closing_is_bounded() -> None:
    memory = Memory()
    async with feed_of(memory, config=SessionConfig(close_timeout=4)) as feed:
        await anext(feed)
        (socket,) = memory.sockets.values()
        socket.answers_close = False
        await feed.close()
        assert asyncio.get_running_loop().time() == pytest.approx(4)
        assert socket.is_left


@clean(faked=True)
async def test_a_dead_connection_is_dropped_at_once() -> None:
    memory = Memory()
    config = SessionConfig(ping_interval=None, silence_timeout=9)
    async with feed_of(memory, config=config) as feed:
        await anext(feed)
        (socket,) = memory.sockets.values()
        await take_until(feed, Disconnected)
        assert asyncio.get_running_loop().time() == pytest.approx(9)
        await turns()
        assert socket.closed_with is None
        assert socket.is_left


@clean(faked=True)
async def test_the_end_of_a_dial_is_not_disturbed() -> None:
    """One took too long, the next is due, and the feed is closed while the first still ends."""
    may_end = asyncio.Event()
    ends: list[str] = []

    @asynccontextmanager
    async def ending_slowly(
        _connect: Connect, _on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator[MemoryWebSocket, None]:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("began")
            await may_end.wait()
            ends.append("done")
        yield MemoryWebSocket(Memory(), 0, print)

    async with topone_asyncio.open_feed(
        token=TOKEN,
        url=URL,
        open_websocket=ending_slowly,
        config=SessionConfig(open_timeout=1, retry_first=0.001),
    ) as feed:
        await take_until(feed, Disconnected)
        await asyncio.sleep(0.5)
        closing = asyncio.create_task(feed.close())
        await turns()
        assert ends == ["began"]
        assert not closing.done()
        may_end.set()
        await closing
        assert ends == ["began", "done"]


@clean(faked=True)
async def test_what_one_connection_did_not_send_the_next_does_not() -> None:
    memory = Memory()
    async with feed_of(memory, topics=[BALANCE], config=HASTY) as feed:
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        socket.takes_text = False
        subscribing = asyncio.create_task(feed.subscribe(ORDERS))
        leaving = asyncio.create_task(feed.unsubscribe(BALANCE))
        await turns()
        socket.deliver(ConnectionEnded())
        await subscribing
        await leaving
        (socket,) = memory.sockets.values()
        assert [json.loads(text)["method"] for text in socket.sent] == ["sub_orders"]
