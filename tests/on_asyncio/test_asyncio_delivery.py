"""The way of a frame to an application under asyncio: bursts, slow applications."""

import asyncio
from collections import deque
from contextlib import suppress

import pytest

from asyncio_feeds import (
    BALANCE_OF_ETH,
    Memory,
    feed_of,
    iterate,
    take_until,
    turns,
)
from dials import (
    Clock,
    clean,
)
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    ConnectionEnded,
    Disconnected,
    SessionConfig,
    Subscribed,
)
from topone_proto.exchange import (
    Burst,
    LoseAck,
)


@clean(faked=True)
async def test_waiting_events_are_handed_out_without_a_switch() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        memory.carry_out(memory.gateway.inject(Burst(20), 0.0))
        await turns()
        for _ in range(40):
            coroutine = feed.__anext__()
            with pytest.raises(StopIteration):
                coroutine.send(None)
        waiting = feed.__anext__()
        assert waiting.send(None) is not None
        waiting.close()


@clean(faked=True)
async def test_a_frame_makes_neither_a_task_nor_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    loop = asyncio.get_running_loop()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        monkeypatch.setattr(loop, "create_task", None)
        monkeypatch.setattr(loop, "call_at", None)
        memory.carry_out(memory.gateway.inject(Burst(300), 0.0))
        for _ in range(600):
            await anext(feed)
        monkeypatch.undo()


@clean(faked=True)
async def test_an_endless_burst_holds_no_deadline_up() -> None:
    memory = Memory()
    loop = asyncio.get_running_loop()
    config = SessionConfig(ack_timeout=1, ping_interval=None, silence_timeout=1_000_000)
    memory.gateway.inject(LoseAck(method=ORDERS.subscribe_method), 0.0)
    async with feed_of(memory, config=config) as feed:
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        socket.inbox = Endless(loop)
        await take_until(feed, Disconnected)
        assert loop.time() < 1.1


@clean(faked=True)
async def test_an_endless_burst_holds_no_cancellation_up() -> None:
    memory = Memory()
    task = asyncio.create_task(iterate(feed_of(memory)))
    await turns()
    (socket,) = memory.sockets.values()
    socket.inbox = Endless(asyncio.get_running_loop())
    memory.publish(BALANCE_OF_ETH)
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Endless(deque[str | ConnectionEnded]):
    """Frames without end, a thousand a second, and none of them makes an event."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.clock: Clock = loop._selector  # type: ignore[attr-defined]  # made by fake_loop

    def popleft(self) -> str:
        self.clock.now += 0.001
        return "ping"

    def __bool__(self) -> bool:
        return True


@clean(faked=True)
async def test_a_burst_reaches_the_application_before_its_end() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        memory.carry_out(memory.gateway.inject(Burst(300), 0.0))
        await anext(feed)
        assert len(socket.inbox) >= 500


@clean(faked=True)
async def test_a_slow_application_stops_the_reading() -> None:
    memory = Memory()
    async with feed_of(memory, config=SessionConfig(capacity=10)) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        (socket,) = memory.sockets.values()
        memory.carry_out(memory.gateway.inject(Burst(50), 0.0))
        await turns()
        assert len(socket.inbox) == 90
        for _ in range(4):
            await anext(feed)
        await turns()
        assert len(socket.inbox) == 90
        await anext(feed)
        await turns()
        assert len(socket.inbox) == 85
        for _ in range(95):
            await anext(feed)
        assert not socket.inbox


@clean(faked=True)
async def test_an_acknowledgement_is_read_though_events_wait() -> None:
    """By the very task that should take them."""
    memory = Memory()
    async with feed_of(memory, topics=[BALANCE], config=SessionConfig(capacity=10)) as feed:
        await take_until(feed, Subscribed)
        for _ in range(15):
            memory.publish(BALANCE_OF_ETH)
        await turns()
        await feed.subscribe(ORDERS)
        assert memory.gateway.subscriptions(1) == {BALANCE, ORDERS}
        assert [type(event) for event in await take_until(feed, Subscribed)] == [
            *[BalanceUpdate] * 15,
            Subscribed,
        ]


@clean(faked=True)
async def test_a_cancelled_wait_loses_no_event() -> None:
    memory = Memory()
    async with feed_of(memory) as feed:
        await take_until(feed, Subscribed)
        await take_until(feed, Subscribed)
        waiting = asyncio.create_task(anext(feed))
        await turns()
        memory.publish(BALANCE_OF_ETH)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            assert isinstance(await waiting, BalanceUpdate)
            return
        assert isinstance(await anext(feed), BalanceUpdate)
