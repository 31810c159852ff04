"""A WebSocket that pushes its frames by a callback: order, back-pressure and the end are those of
one whose frames are awaited."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio
import trio.testing

import topone_trio
from frames import TOKEN, ack, order
from lines import URL, Lines, OddError
from topone_proto import (
    ORDERS,
    ConnectionEnded,
    Disconnected,
    Event,
    OrderUpdate,
    SessionConfig,
    Step,
    Subscribed,
)
from topone_proto.adapters import FrameReceiver, PushingWebSocket

CONFIG = SessionConfig(capacity=8, ping_interval=None, silence_timeout=1e5, max_unsent=50)


class Pusher:
    """A WebSocket without an await between a frame and the feed."""

    def __init__(self) -> None:
        self.receiver: FrameReceiver | None = None
        self.early: list[str] = []
        self.changes: list[str] = []
        self.is_closed = self.is_left = False

    def listen(self, receiver: FrameReceiver) -> None:
        self.receiver = receiver
        if self.early:
            receiver.frames_received(self.early)

    def pause_reading(self) -> None:
        self.changes.append("pause")

    def resume_reading(self) -> None:
        self.changes.append("resume")

    def push(self, *frames: str) -> None:
        assert self.receiver is not None
        self.receiver.frames_received(frames)

    def end(self, error: Exception) -> None:
        assert self.receiver is not None
        self.receiver.connection_lost(error)

    async def send_text(self, text: str) -> None:
        answer = ack(json.loads(text))
        if self.receiver is None:
            self.early.append(answer)
        else:
            self.push(answer)

    async def send_ping(self, payload: bytes) -> None: ...

    async def close(self, code: int, reason: str) -> None:
        self.is_closed = True


Body = Callable[[topone_trio.Feed, Lines[Pusher]], Any]


def live(body: Body, **arguments: Any) -> None:
    async def main() -> None:
        with trio.fail_after(1e6):
            pushers = Lines(Pusher)
            options = {"token": TOKEN, "url": URL, "topics": [ORDERS], "config": CONFIG}
            async with topone_trio.open_feed(
                open_websocket=pushers.open, **{**options, **arguments}
            ) as feed:
                while not isinstance(await anext(feed), Subscribed):
                    pass
                await body(feed, pushers)
        assert all(isinstance(pusher, PushingWebSocket) for pusher in pushers.made)
        assert all(pusher.is_left for pusher in pushers.made)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def numbers(feed: topone_trio.Feed, count: int) -> list[int]:
    return [(await number(feed)) for _ in range(count)]


async def number(feed: topone_trio.Feed) -> int:
    event = await anext(feed)
    assert isinstance(event, OrderUpdate)
    return event.order.id


def orders(numbers: Iterable[int]) -> list[str]:
    return [order(2000 + n, number=n) for n in numbers]


def test_frames_are_events_when_the_push_returns() -> None:
    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        [pusher] = pushers.made
        pusher.push(*orders(range(1, 4)))
        assert feed.metrics().waiting == 3
        assert await numbers(feed, 3) == [1, 2, 3]
        assert pusher.changes == []

    live(body)


def test_reading_pauses_while_the_application_is_behind_and_nothing_is_lost() -> None:
    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        [pusher] = pushers.made
        pusher.push(*orders(range(20)))
        pusher.push(*orders(range(20, 22)))
        assert feed.metrics().waiting == CONFIG.capacity
        assert feed.metrics().is_paused
        assert pusher.changes == ["pause"]
        assert await numbers(feed, 22) == list(range(22))
        await trio.testing.wait_all_tasks_blocked()
        assert pusher.changes == ["pause", "resume"]

    live(body)


def test_a_large_push_lets_other_tasks_run() -> None:
    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        [pusher] = pushers.made
        pusher.push(*orders(range(150)))
        assert 0 < feed.metrics().waiting < 150
        assert pusher.changes == ["pause"]
        await trio.testing.wait_all_tasks_blocked()
        assert pusher.changes == ["pause", "resume"]
        assert feed.metrics().waiting == 150

    live(body, config=SessionConfig(ping_interval=None, silence_timeout=1e5))


def test_the_end_comes_after_the_last_frame() -> None:
    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        [pusher] = pushers.made
        pusher.push(*orders(range(12)))
        pusher.end(ConnectionEnded(1001, "bye"))
        pusher.end(ConnectionEnded())
        assert await numbers(feed, 12) == list(range(12))
        event = await anext(feed)
        assert isinstance(event, Disconnected)
        assert event.reason.code == 1001
        while not isinstance(await anext(feed), Subscribed):
            pass
        assert len(pushers.made) == 2

    live(body)


def test_a_fault_of_the_websocket_ends_the_feed_with_it() -> None:
    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        pushers.made[0].end(OddError())
        await trio.sleep_forever()

    with pytest.raises(OddError):
        live(body)


@pytest.mark.parametrize("fault", [OddError, KeyboardInterrupt])
def test_a_fault_within_a_push_ends_the_feed(fault: type[BaseException]) -> None:
    def broken(frame: str | bytes, now: float) -> Step:
        raise fault

    async def body(feed: Any, pushers: Lines[Pusher]) -> None:
        feed._driver.core.received = broken
        try:
            pushers.made[0].push(order())
        except KeyboardInterrupt:
            # What ends the program is raised to the caller as well.
            assert fault is KeyboardInterrupt
        async for _ in feed:
            pass

    with pytest.raises(fault):
        live(body)


def test_what_is_pushed_after_the_end_of_the_feed_is_left() -> None:
    pushed: list[Event] = []

    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        [pusher] = pushers.made
        await feed.close()
        assert pusher.is_closed
        pusher.push(order())
        pushed.extend([event async for event in feed])

    live(body)
    assert not any(isinstance(event, OrderUpdate) for event in pushed)


def test_a_peer_that_does_not_read_is_given_up_within_a_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every ping of the peer is answered; here nothing is ever sent."""

    async def never(self: Pusher, text: str) -> None:
        await trio.sleep_forever()

    async def body(feed: topone_trio.Feed, pushers: Lines[Pusher]) -> None:
        [pusher] = pushers.made
        monkeypatch.setattr(Pusher, "send_text", never)
        for _ in range(CONFIG.max_unsent + 2):
            pusher.push("ping")
        event = await anext(feed)
        assert isinstance(event, Disconnected)
        assert "does not read" in event.reason.detail

    live(body)
