"""Tests of what is particular to trio: cancellation, checkpoints, exceptions that stay
themselves."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import topone_trio
from frames import TOKEN, ack
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    Connect,
    Connected,
    ConnectionEnded,
    Disconnected,
    FeedClosed,
    SessionConfig,
    Subscribed,
)
from topone_trio._dial import open_tcp

URL = "wss://exchange.example/"


class Socket:
    """A WebSocket to a server that acknowledges everything, and can be told to misbehave."""

    def __init__(self, on_pong: Callable[[bytes], object]) -> None:
        self.on_pong = on_pong
        self.send, self.frames = trio.open_memory_channel[str](1000)
        self.is_cut = False
        self.sent: list[str] = []
        self.closed_with: int | None = None

    async def receive(self) -> str:
        return await self.frames.receive()

    async def send_text(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_cut:
            raise ConnectionEnded
        self.sent.append(text)
        number = len(self.sent)
        methods = ["sub_orders", "unsub_orders"]
        self.send.send_nowait(ack({"id": str(number), "method": methods[(number + 1) % 2]}))

    async def send_ping(self, payload: bytes) -> None:
        if self.is_cut:
            raise ConnectionEnded
        self.on_pong(payload)

    async def close(self, code: int, reason: str) -> None:
        self.closed_with = code


class Sockets:
    def __init__(self) -> None:
        self.made: list[Socket] = []

    @asynccontextmanager
    async def open(
        self, connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncIterator[Socket]:
        assert connect.url().startswith(URL)
        socket = Socket(on_pong)
        self.made.append(socket)
        yield socket
        socket.send.close()


async def take(feed: topone_trio.Feed, count: int) -> list[object]:
    return [await anext(feed) for _ in range(count)]


def test_an_error_of_the_application_comes_out_as_itself() -> None:
    async def main() -> None:
        async with topone_trio.open_feed(token=TOKEN, url=URL, open_websocket=Sockets().open):
            raise KeyError

    with pytest.raises(KeyError):
        trio.run(main)


def test_an_error_of_the_application_is_not_lost_in_a_cancellation() -> None:
    async def main() -> None:
        with trio.move_on_after(1.0):
            async with topone_trio.open_feed(
                token=TOKEN, url=URL, open_websocket=Sockets().open
            ) as feed:
                try:
                    async for _ in feed:
                        pass
                finally:
                    raise KeyError

    with pytest.raises(KeyError):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_cancellation_drops_the_connection_and_goes_on() -> None:
    sockets = Sockets()

    async def main() -> None:
        with trio.move_on_after(1.0) as scope:
            async with topone_trio.open_feed(
                token=TOKEN, url=URL, open_websocket=sockets.open
            ) as feed:
                async for _ in feed:
                    pass
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(started + 1.0)

    started = 0.0
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [socket.closed_with for socket in sockets.made] == [None]


def test_leaving_says_goodbye() -> None:
    sockets = Sockets()

    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], open_websocket=sockets.open
        ) as feed:
            assert [type(event) for event in await take(feed, 2)] == [Connected, Subscribed]

    trio.run(main)
    assert [socket.closed_with for socket in sockets.made] == [1000]


def test_calls_are_checkpoints() -> None:
    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], open_websocket=Sockets().open
        ) as feed:
            await take(feed, 2)
            with trio.testing.assert_checkpoints():
                await feed.subscribe(ORDERS)
            with trio.testing.assert_checkpoints():
                await feed.unsubscribe(ORDERS)
            with trio.testing.assert_checkpoints():
                await feed.unsubscribe(BALANCE)
            with trio.testing.assert_checkpoints():
                await feed.close()
            with pytest.raises(FeedClosed):
                await feed.subscribe(ORDERS)

    trio.run(main)


def test_a_cancelled_scope_is_noticed_although_events_wait() -> None:
    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], open_websocket=Sockets().open
        ) as feed:
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(feed)
            assert scope.cancelled_caught
            assert [type(event) for event in await take(feed, 2)] == [Connected, Subscribed]

    trio.run(main)


def test_a_caller_whose_cancellation_closed_the_feed_as_well_is_cancelled() -> None:
    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], open_websocket=Sockets().open
        ) as feed:
            await take(feed, 2)
            driver, scope = feed.driver, trio.CancelScope()

            async def ask() -> None:
                with scope:
                    await feed.subscribe(BALANCE)  # is not answered here

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                # It is woken by the end of the feed, and cancelled before its turn.
                driver.take(driver.machine.close(driver.now()))
                scope.cancel()
            assert scope.cancelled_caught

    trio.run(main)


@pytest.mark.thorough
def test_an_idle_day_passes_and_a_dead_connection_is_replaced() -> None:
    sockets = Sockets()

    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], open_websocket=sockets.open
        ) as feed:
            await take(feed, 2)
            with trio.move_on_after(86_400.0) as scope:
                await anext(feed)
            assert scope.cancelled_caught
            sockets.made[0].on_pong = lambda _: None
            noticed = trio.current_time()
            lost = await anext(feed)
            assert isinstance(lost, Disconnected)
            assert trio.current_time() - noticed <= 30.0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_loss_that_the_writer_finds_while_reading_is_paused() -> None:
    sockets = Sockets()
    config = SessionConfig(capacity=2, ping_interval=5.0)

    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], config=config, open_websocket=sockets.open
        ) as feed:
            await trio.testing.wait_all_tasks_blocked()
            sockets.made[0].is_cut = True
            # The buffer is full, nothing is read, and the next ping cannot be sent.
            await trio.sleep(6.0)
            events = await take(feed, 3)
            assert [type(event) for event in events] == [Connected, Subscribed, Disconnected]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_open_websocket_with_a_fault_of_its_own_is_heard_of() -> None:
    @asynccontextmanager
    async def broken(_: Connect, __: Callable[[bytes], object]) -> AsyncIterator[Socket]:
        raise AttributeError
        yield Socket(print)

    async def main() -> None:
        async with topone_trio.open_feed(token=TOKEN, url=URL, open_websocket=broken) as feed:
            async for _ in feed:
                pass

    with pytest.raises(AttributeError):
        trio.run(main)


def test_a_closed_feed_can_be_drained() -> None:
    async def main() -> None:
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], open_websocket=Sockets().open
        ) as feed:
            await trio.testing.wait_all_tasks_blocked()
        kinds = [type(event) async for event in feed]
        assert kinds == [Connected, Subscribed, Closed]

    trio.run(main)


@pytest.mark.trio
async def test_a_dial_that_is_cancelled_as_an_address_answers_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[trio.SocketStream] = []
    dial = trio.open_tcp_stream

    async def open_and_cancel(host: str, port: int) -> trio.SocketStream:
        stream = await dial(host, port)
        opened.append(stream)
        scope.cancel()
        return stream

    monkeypatch.setattr(trio, "open_tcp_stream", open_and_cancel)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        with trio.CancelScope() as scope:
            await open_tcp("127.0.0.1", listener.socket.getsockname()[1])
    assert scope.cancelled_caught
    assert [stream.socket.fileno() for stream in opened] == [-1]
