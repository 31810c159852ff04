"""Faults in a trio feed by itself. Whoever waits is woken with the fault, and nobody hangs."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import topone_trio
from frames import TOKEN, ack
from lines import URL, Lines, OddError
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    Connected,
    Event,
    FeedClosed,
    SessionConfig,
    Step,
    Subscribed,
)
from topone_proto.adapters import FeedCore, run_feed
from topone_trio._feed import _open_runtime


class Line:
    """A WebSocket that acknowledges, and raises what it is told to."""

    def __init__(self) -> None:
        self.put, self.inbox = trio.open_memory_channel[str | BaseException](100)
        self.closes: BaseException | None = None
        self.answers = True
        self.is_left = False

    async def receive(self) -> str:
        item = await self.inbox.receive()
        if isinstance(item, BaseException):
            raise item
        return item

    async def send_text(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.answers:
            self.put.send_nowait(ack(json.loads(text)))

    async def send_ping(self, payload: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.closes is not None:
            raise self.closes


def feed_with(lines: Lines[Line], **arguments: Any) -> Any:
    given: dict[str, Any] = {"token": TOKEN, "url": URL, "topics": [ORDERS]}
    return topone_trio.open_feed(open_websocket=lines.open, **{**given, **arguments})


def live(main: Callable[[], Any]) -> None:
    async def bounded() -> None:
        with trio.fail_after(1e6):
            await main()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


async def until(feed: topone_trio.Feed, kind: type[Event]) -> None:
    while not isinstance(await anext(feed), kind):
        pass


class Outcome:
    """The end of a task of another nursery."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.events: list[type[Event]] = []

    async def iterate(self, feed: topone_trio.Feed) -> None:
        try:
            async for event in feed:
                self.events.append(type(event))
        except OddError as error:
            self.error = error

    async def subscribe(self, feed: topone_trio.Feed) -> None:
        try:
            await feed.subscribe(BALANCE)
        except (OddError, FeedClosed) as error:
            self.error = error


def test_whoever_waits_is_woken_with_the_fault() -> None:
    fault = OddError()
    lines, iterating, calling = Lines(Line), Outcome(), Outcome()

    async def main() -> None:
        async with trio.open_nursery() as other, feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].answers = False
            other.start_soon(iterating.iterate, feed)
            other.start_soon(calling.subscribe, feed)
            await trio.testing.wait_all_tasks_blocked()
            lines.made[0].put.send_nowait(fault)
            await trio.testing.wait_all_tasks_blocked()
            assert not feed.metrics().is_connected
            # Nobody else waits here, and everybody was told.
            await feed.close()

    live(main)
    assert iterating.events == [Closed]
    assert iterating.error is calling.error is fault
    assert lines.made[0].is_left


def test_a_block_that_waits_for_something_else_is_ended_by_the_fault() -> None:
    lines = Lines(Line)

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].put.send_nowait(OddError())
            await trio.sleep_forever()

    with pytest.raises(OddError):
        live(main)
    assert lines.made[0].is_left


def test_a_fault_that_was_caught_is_not_raised_again() -> None:
    lines = Lines(Line)

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].put.send_nowait(OddError())
            for _ in range(2):
                with pytest.raises(OddError):
                    await until(feed, Connected)

    live(main)


def test_a_fault_of_the_goodbye_is_raised_by_the_block() -> None:
    lines = Lines(Line)

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].closes = OddError()

    with pytest.raises(OddError):
        live(main)


def test_an_error_of_the_application_goes_before_a_fault_of_the_feed() -> None:
    lines = Lines(Line)

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].closes = OddError()
            raise KeyError

    with pytest.raises(KeyError):
        live(main)


def test_a_keyboard_interrupt_in_a_task_of_the_feed_comes_out_as_it_is() -> None:
    lines = Lines(Line)

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].put.send_nowait(KeyboardInterrupt())
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        live(main)


def test_a_keyboard_interrupt_in_a_nursery_of_a_plug_in_comes_out_as_it_is() -> None:
    lines = Lines(Line)

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            group = BaseExceptionGroup("nursery", [KeyError(), KeyboardInterrupt()])
            lines.made[0].put.send_nowait(BaseExceptionGroup("nursery", [group]))
            await trio.sleep_forever()

    with pytest.raises(KeyError):
        live(main)


def test_a_group_of_a_plug_in_comes_out_as_it_is() -> None:
    lines = Lines(Line)
    group = ExceptionGroup("nursery", [OddError()])

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            lines.made[0].put.send_nowait(group)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        live(main)
    assert caught.value is group


@pytest.mark.parametrize("fault", [OddError, KeyboardInterrupt])
def test_a_fault_at_a_pong_ends_the_feed(fault: type[BaseException]) -> None:
    lines = Lines(Line)

    def broken(payload: bytes, now: float) -> Step:
        raise fault

    async def main() -> None:
        async with feed_with(lines) as feed:
            await until(feed, Subscribed)
            feed._driver.session.pong_received = broken
            try:
                lines.on_pong(b"1")
            except KeyboardInterrupt:
                # What ends the program is raised to the caller as well.
                assert fault is KeyboardInterrupt
            await until(feed, Connected)

    with pytest.raises(fault):
        live(main)


class EagerRuntime:
    """trio's, but a token call runs in the call that starts it, as eager tasks of asyncio do."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.cancelled: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runtime, name)

    def spawn(self, function: Any, name: str, on_end: Callable[[None], object]) -> Any:
        if name != "FetchToken":
            return self.runtime.spawn(function, name, on_end)
        with pytest.raises(StopIteration):
            function().send(None)
        on_end(None)
        return self

    def cancel(self) -> None:
        self.cancelled.append("FetchToken")


def test_a_job_that_is_given_up_before_its_task_is_known_is_cancelled() -> None:
    runtimes: list[EagerRuntime] = []
    feeds: list[Any] = []

    @asynccontextmanager
    async def open_runtime() -> AsyncGenerator[Any, None]:
        async with _open_runtime() as runtime:
            runtimes.append(EagerRuntime(runtime))
            yield runtimes[0]

    def token() -> str:
        driver = feeds[0]._driver
        driver.take(driver.session.close(driver.now()))
        return TOKEN

    async def main() -> None:
        core: FeedCore[Any] = FeedCore(
            token=token,
            url=URL,
            topics=[],
            config=None,
            origin=None,
            insecure=False,
            jitter=lambda: 0.5,
        )
        async with run_feed(open_runtime, core, Lines(Line).open) as feed:
            feeds.append(feed)
            assert [type(event) async for event in feed] == [Closed]

    live(main)
    assert runtimes[0].cancelled == ["FetchToken"]


def test_a_fault_at_a_deadline_ends_the_feed() -> None:
    lines = Lines(Line)

    def broken(now: float) -> Step:
        raise OddError

    async def main() -> None:
        async with feed_with(lines, config=SessionConfig(ping_interval=1.0)) as feed:
            await until(feed, Subscribed)
            feed._driver.session.deadline_reached = broken
            await until(feed, Connected)

    with pytest.raises(OddError):
        live(main)


@pytest.mark.parametrize("is_shielded", [False, True])
def test_a_feed_that_is_cancelled_ends_for_the_tasks_of_another_nursery(
    *, is_shielded: bool
) -> None:
    """Also while the block itself does not notice the cancellation."""
    lines, iterating, calling = Lines(Line), Outcome(), Outcome()

    async def main() -> None:
        async with trio.open_nursery() as other:
            with trio.CancelScope() as scope:
                async with feed_with(lines) as feed:
                    await until(feed, Subscribed)
                    lines.made[0].answers = False
                    other.start_soon(iterating.iterate, feed)
                    other.start_soon(calling.subscribe, feed)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
                    with trio.CancelScope(shield=is_shielded):
                        await trio.testing.wait_all_tasks_blocked()
                    if is_shielded:
                        assert iterating.events == [Closed]
            assert scope.cancelled_caught

    live(main)
    assert iterating.events == [Closed]
    assert iterating.error is None
    assert isinstance(calling.error, FeedClosed)


def failing_at(number: int) -> Callable[[str], None]:
    """A recorder that fails at its so manieth line, and at every later one."""
    lines: list[str] = []

    def record(line: str) -> None:
        lines.append(line)
        if len(lines) >= number:
            raise OddError

    return record


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("iterates", [True, False])
def test_a_fault_at_the_opening_is_raised_to_whoever_iterates_or_ends_the_block(
    number: int, iterates: bool
) -> None:
    reached: list[str] = []

    async def main() -> None:
        async with topone_trio.open_feed(token=TOKEN, url=URL, record=failing_at(number)) as feed:
            if iterates:
                with pytest.raises(OddError):
                    async for _ in feed:
                        pass
                await trio.lowlevel.checkpoint()
                reached.append("the end")
                return
            await trio.sleep_forever()

    if iterates:
        trio.run(main)
        assert reached
        return
    with pytest.raises(OddError):
        trio.run(main)
