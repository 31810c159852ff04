"""A WebSocket that shows the messages it has received: they are taken at once, as far as there is
room, in order, and before its end."""

import json
from collections import deque
from collections.abc import Iterable

import trio
import trio.testing

import topone_trio
from frames import TOKEN, ack, order
from lines import URL, Lines
from topone_proto import (
    ORDERS,
    ConnectionEnded,
    Disconnected,
    OrderUpdate,
    SessionConfig,
    Subscribed,
)

CAPACITY = 100


class Chunks:
    """A WebSocket that receives many messages at once."""

    is_left = False

    def __init__(self) -> None:
        self.unread: deque[str] = deque()
        self.awaited = 0
        self.end: ConnectionEnded | None = None
        self._came = trio.Event()

    def come(self, frames: Iterable[str], end: ConnectionEnded | None = None) -> None:
        self.unread += frames
        self.end = end
        self._came.set()

    async def receive(self) -> str:
        while not self.unread:
            if self.end is not None:
                raise self.end
            self._came = trio.Event()
            await self._came.wait()
        self.awaited += 1
        return self.unread.popleft()

    async def send_text(self, text: str) -> None:
        self.come([ack(json.loads(text))])

    async def send_ping(self, payload: bytes) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...


def test_messages_that_have_come_are_taken_without_an_await_for_each() -> None:
    async def main() -> None:
        chunks = Lines(Chunks)
        config = SessionConfig(capacity=CAPACITY, ping_interval=None, silence_timeout=1e5)
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], config=config, open_websocket=chunks.open
        ) as feed:
            while not isinstance(await anext(feed), Subscribed):
                pass
            [websocket] = chunks.made
            await trio.testing.wait_all_tasks_blocked()
            websocket.awaited = 0
            websocket.come(
                [order(2000 + number, number=number) for number in range(250)],
                ConnectionEnded(1001, "bye"),
            )
            await trio.testing.wait_all_tasks_blocked()
            # No more than there is room for; the rest waits where it was.
            assert feed.metrics().waiting == CAPACITY
            assert feed.metrics().is_paused
            assert len(websocket.unread) == 250 - CAPACITY
            assert websocket.awaited == 1
            for number in range(250):
                event = await anext(feed)
                assert isinstance(event, OrderUpdate)
                assert event.order.id == number
            assert isinstance(await anext(feed), Disconnected)
            assert websocket.awaited == 1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_large_chunk_lets_other_tasks_run() -> None:
    async def main() -> None:
        chunks = Lines(Chunks)
        config = SessionConfig(ping_interval=None, silence_timeout=1e5)
        async with topone_trio.open_feed(
            token=TOKEN, url=URL, topics=[ORDERS], config=config, open_websocket=chunks.open
        ) as feed:
            while not isinstance(await anext(feed), Subscribed):
                pass
            await trio.testing.wait_all_tasks_blocked()
            chunks.made[0].come(order(2000 + number) for number in range(300))
            seen = set[int]()
            while (waiting := feed.metrics().waiting) < 300:
                seen.add(waiting)
                await trio.lowlevel.checkpoint()
            assert len(seen) >= 3

    trio.run(main)
