"""The ends of a feed under asyncio: cancelled, left, broken."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest

import topone_asyncio
from asyncio_feeds import (
    PATIENT,
    TOKENS,
    Memory,
    feed_at,
    feed_of,
    iterate,
    outcome_of,
    take_until,
    turns,
    until,
)
from dials import (
    clean,
)
from topone_proto import (
    BALANCE,
    Closed,
    Connected,
    Disconnected,
    FeedClosed,
    Subscribed,
    Topic,
)
from topone_proto.exchange import (
    IgnoreHandshake,
    LoseAck,
    RefuseHandshake,
)
from topone_simulator import serve


async def never_a_token() -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def first(feed: topone_asyncio.Feed) -> None:
    await anext(feed)


async def idle(feed: topone_asyncio.Feed) -> None:
    await take_until(feed, Subscribed)
    await take_until(feed, Subscribed)
    await anext(feed)


async def back_off(feed: topone_asyncio.Feed) -> None:
    await take_until(feed, Disconnected)
    await anext(feed)


async def ack(feed: topone_asyncio.Feed) -> None:
    await feed.subscribe(Topic("news"))


States = pytest.mark.parametrize(
    ("arguments", "fault", "body"),
    [
        pytest.param({"token": never_a_token}, None, first, id="fetching-token"),
        pytest.param({}, IgnoreHandshake(), first, id="connecting"),
        pytest.param({}, None, idle, id="connected"),
        pytest.param({}, RefuseHandshake(503), back_off, id="waiting"),
        pytest.param({}, LoseAck(times=None), ack, id="waiting-for-ack"),
    ],
)


async def cancel_in(
    opened: Any, body: Callable[[topone_asyncio.Feed], Awaitable[None]], settle: Callable[[], Any]
) -> None:
    async def use() -> None:
        async with opened as feed:
            await body(feed)

    task = asyncio.create_task(use())
    await settle()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@States
@clean(faked=True)
async def test_cancelled_without_a_socket(arguments: Any, fault: Any, body: Any) -> None:
    memory = Memory()
    if fault:
        memory.gateway.inject(fault, 0.0)
    await cancel_in(feed_of(memory, config=PATIENT, **arguments), body, turns)
    assert memory.sockets == {}
    assert memory.dials <= 1


@States
@clean()
async def test_cancelled_over_a_socket(arguments: Any, fault: Any, body: Any) -> None:
    async with serve(tokens=TOKENS) as simulator:
        if fault:
            simulator.inject(fault)

        async def settle() -> None:
            if "token" not in arguments:
                await until(lambda: bool(simulator.handshakes))
            await turns()

        await cancel_in(feed_at(simulator, config=PATIENT, **arguments), body, settle)
        await turns()
        assert simulator.connections == 0


@States
@clean(faked=True)
async def test_left_with_an_exception(arguments: Any, fault: Any, body: Any) -> None:
    memory = Memory()
    if fault:
        memory.gateway.inject(fault, 0.0)
    error = ValueError("the application's")

    async def use() -> None:
        async with feed_of(memory, config=PATIENT, **arguments) as feed:
            user = asyncio.create_task(body(feed))
            await turns()
            user.cancel()
            with suppress(asyncio.CancelledError):
                await user
            raise error

    with pytest.raises(ValueError, match="the application's") as caught:
        await use()
    assert caught.value is error
    assert memory.sockets == {}


@clean(faked=True)
async def test_left_at_once() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        pass
    assert [event async for event in feed] == [Closed()]
    assert memory.dials == 0
    async with feed_of(memory) as feed:
        await feed.close()
        await feed.close()
        assert [event async for event in feed] == [Closed()]
        with pytest.raises(FeedClosed):
            await feed.subscribe(BALANCE)


@pytest.mark.parametrize("error", [StopAsyncIteration(), StopIteration(), SystemExit(3)], ids=repr)
@clean(faked=True)
async def test_any_exception_comes_out_as_itself(error: BaseException) -> None:
    async def use() -> None:
        async with feed_of(Memory()) as feed:
            await anext(feed)
            raise error

    assert await outcome_of(use()) is error


@clean(faked=True)
async def test_a_second_cancellation_ends_the_closing_handshake() -> None:
    memory = Memory()
    task = asyncio.create_task(iterate(feed_of(memory)))
    await turns()
    (socket,) = memory.sockets.values()
    socket.answers_close = False
    task.cancel()
    await turns()
    assert socket.closed_with is not None
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert socket.is_left
    assert asyncio.get_running_loop().time() == 0


def test_ctrl_c() -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 3600
        async with serve(tokens=TOKENS) as simulator, feed_at(simulator) as feed:
            async for event in feed:
                if isinstance(event, Subscribed):
                    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main(), debug=True)


@clean(faked=True)
async def test_entered_and_left_in_different_tasks() -> None:
    """As a fixture of pytest-asyncio does."""
    memory = Memory()

    async def fixture() -> AsyncGenerator[topone_asyncio.Feed, None]:
        async with feed_of(memory) as feed:
            yield feed

    async with aclosing(fixture()) as generator:
        feed = await asyncio.create_task(_next(generator))
        assert await anext(feed) == Connected(1)
    assert memory.sockets == {}


async def _next(
    generator: AsyncGenerator[topone_asyncio.Feed, None],
) -> topone_asyncio.Feed:
    return await anext(generator)


@clean(faked=True)
async def test_a_broken_websocket_is_heard_of() -> None:
    memory = Memory()
    task = asyncio.create_task(iterate(feed_of(memory)))
    await turns()
    (socket,) = memory.sockets.values()
    socket.inbox.append(42)  # type: ignore[arg-type]  # the fault
    socket.came.set()
    with pytest.raises(TypeError):
        await task
    assert memory.sockets == {}
