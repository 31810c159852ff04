"""Faults in an asyncio feed by itself: a plug-in, a recorder, somebody who cancels what is not
theirs. Whoever waits is woken with the fault, and nobody hangs."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

import topone_asyncio
from frames import TOKEN, ack, requests
from lines import URL, Lines, OddError
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    Connected,
    ConnectionEnded,
    Disconnected,
    Event,
    FailureKind,
    FeedCancelled,
    SendText,
    Session,
    SessionConfig,
    Step,
    Subscribed,
    Token,
)

FACTORIES: list[Any] = [None]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


class Line:
    """A WebSocket that acknowledges, and raises what it is told to."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[str | BaseException] = asyncio.Queue()
        self.sends: BaseException | None = None
        self.closes: BaseException | None = None
        self.is_left = False
        self.answers = True
        self.is_used = False

    async def receive(self) -> str:
        item = await self.inbox.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def send_text(self, text: str) -> None:
        self.is_used = True
        if self.sends is not None:
            raise self.sends
        for request in requests(Step((), (SendText(text),), None)) if self.answers else ():
            self.inbox.put_nowait(ack(request))

    async def send_ping(self, payload: bytes) -> None: ...

    async def close(self, code: int, reason: str) -> None:
        if self.closes is not None:
            raise self.closes


def refusing(error: BaseException) -> Any:
    @asynccontextmanager
    async def open_websocket(*_: object) -> AsyncGenerator[Line, None]:
        await asyncio.sleep(0)
        raise error
        yield Line()

    return open_websocket


def feed_with(open_websocket: Any, **arguments: Any) -> Any:
    return topone_asyncio.open_feed(
        **{"token": TOKEN, "url": URL, "open_websocket": open_websocket, **arguments}
    )


Test = Callable[[], Coroutine[Any, Any, None]]


def live(test: Test, factory: Any) -> None:
    """Run a test in debug mode. Nothing is left behind, nobody complains, and nobody hangs for
    longer than twenty seconds, which is a failure."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        loop.slow_callback_duration = 3600
        async with asyncio.timeout(20):
            await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main(), debug=True)
    assert complaints == []


def each_way(test: Test) -> Callable[[Any], None]:
    """Run a test with tasks of every kind."""

    def run(factory: Any) -> None:
        live(test, factory)

    run.__doc__ = test.__doc__
    decorated: Callable[[Any], None] = pytest.mark.parametrize("factory", FACTORIES)(run)
    return decorated


async def all_of(feed: topone_asyncio.Feed) -> list[Event]:
    return [event async for event in feed]


async def until(feed: topone_asyncio.Feed, kind: type[Event], count: int = 1) -> None:
    while count:
        count -= isinstance(await anext(feed), kind)


@each_way
async def test_whoever_waits_is_woken_with_the_fault() -> None:
    """The task that entered the feed is gone, as with a fixture."""
    fault = OddError()
    lines = Lines(Line)
    async with AsyncExitStack() as stack:
        feed = await asyncio.create_task(
            stack.enter_async_context(feed_with(lines.open, topics=[ORDERS]))
        )
        await until(feed, Subscribed)
        lines.made[0].answers = False
        waits = [
            asyncio.create_task(all_of(feed)),
            asyncio.create_task(feed.subscribe(BALANCE)),
        ]
        await asyncio.sleep(0)
        lines.made[0].inbox.put_nowait(fault)
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert results == [fault, fault]
        assert not feed.metrics().is_connected
        with pytest.raises(OddError):
            await feed.unsubscribe(ORDERS)
        # Everybody was told.
        await feed.close()
    assert lines.made[0].is_left


@each_way
async def test_events_that_wait_come_before_the_fault_and_closed_is_the_last() -> None:
    lines = Lines(Line)
    seen: list[type[Event]] = []

    async def use() -> None:
        async with feed_with(lines.open, topics=[ORDERS]) as feed:
            while not lines.made:  # noqa: ASYNC110 - there is nothing to wait for
                await asyncio.sleep(0)
            while feed.metrics().waiting < 2:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0)
            waiter = asyncio.create_task(feed.close())
            lines.made[0].closes = OddError()
            with pytest.raises(OddError):
                await waiter
            async for event in feed:
                seen.append(type(event))  # noqa: PERF401 - what comes before the error counts

    with pytest.raises(OddError):
        await use()
    assert seen == [Connected, Subscribed, Closed]


def break_reading(_: Any, line: Line) -> None:
    line.inbox.put_nowait(OddError())


def break_writing(feed: Any, line: Line) -> None:
    line.sends = OddError()
    driver = feed._driver
    driver.take(driver.session.subscribe(BALANCE, driver.now()))


BROKEN: dict[str, Callable[[Any, Line], None]] = {
    "reading": break_reading,
    "writing": break_writing,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_block_that_waits_for_something_else_is_ended_by_the_fault(name: str) -> None:
    async def test() -> None:
        lines = Lines(Line)

        async def use() -> None:
            async with feed_with(lines.open, topics=[ORDERS]) as feed:
                await until(feed, Subscribed)
                BROKEN[name](feed, lines.made[0])
                await asyncio.Event().wait()

        with pytest.raises(OddError):
            await use()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        assert lines.made[0].is_left

    for factory in FACTORIES:
        live(test, factory)


@each_way
async def test_an_error_of_the_application_goes_before_a_fault_of_the_feed() -> None:
    error = ValueError("the application's")

    async def use() -> None:
        async with feed_with(refusing(OddError())) as feed:
            try:
                await asyncio.Event().wait()
            finally:
                assert feed.metrics().epoch == 0
                raise error

    with pytest.raises(ValueError, match="the application's"):
        await use()


@each_way
async def test_a_cancellation_from_outside_is_one_though_the_feed_has_failed() -> None:
    async def use() -> None:
        async with feed_with(refusing(OddError())):
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, OddError)):
        await task


@each_way
async def test_a_timeout_of_a_plug_in_is_a_fault_and_not_the_end_of_the_feeds_patience() -> None:
    lines = Lines(Line)

    async def use() -> None:
        async with feed_with(lines.open, topics=[ORDERS]) as feed:
            await until(feed, Subscribed)
            lines.made[0].closes = TimeoutError("the plug-in's")

    with pytest.raises(TimeoutError, match="the plug-in's"):
        await use()


def names() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("topone")}


@each_way
async def test_the_tasks_of_a_feed_have_names() -> None:
    lines = Lines(Line)
    async with feed_with(lines.open) as feed:
        await until(feed, Subscribed, 2)
        assert names() == {"topone-feed", "topone-Connect", "topone-reader", "topone-writer"}


NAMES = ["topone-feed", "topone-Connect", "topone-reader", "topone-writer", "topone"]


@pytest.mark.parametrize("name", NAMES)
def test_a_feed_whose_tasks_are_cancelled_by_others_ends_and_says_so(name: str) -> None:
    async def test() -> None:
        lines = Lines(Line)
        async with feed_with(lines.open, topics=[ORDERS]) as feed:
            await until(feed, Subscribed)
            waiter = asyncio.create_task(all_of(feed), name="waiter")
            await asyncio.sleep(0)
            for task in asyncio.all_tasks():
                if task.get_name().startswith(name):
                    task.cancel()
            with pytest.raises(FeedCancelled, match="cancel the task that uses the feed"):
                await waiter
            metrics = feed.metrics()
            assert not metrics.is_connected
            with pytest.raises(FeedCancelled):
                await feed.subscribe(BALANCE)
        assert lines.made[0].is_left

    for factory in FACTORIES:
        live(test, factory)


@each_way
async def test_tasks_that_are_cancelled_before_they_have_begun() -> None:
    lines = Lines(Line)
    async with feed_with(lines.open, topics=[ORDERS]) as feed:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(FeedCancelled):
            await all_of(feed)
    assert all(line.is_left for line in lines.made)


@each_way
async def test_a_fault_at_a_deadline_is_not_only_logged() -> None:
    """The callback of a timer has nobody to raise it to."""
    lines = Lines(Line)
    config = SessionConfig(ping_interval=1e-3)

    async def use() -> None:
        async with feed_with(lines.open, topics=[ORDERS], config=config) as feed:
            await until(feed, Subscribed)
            feed._driver.session.deadline_reached = broken
            await all_of(feed)

    def broken(now: float) -> Step:
        raise OddError

    with pytest.raises(OddError):
        await use()


@each_way
async def test_a_fault_at_a_pong_is_not_the_librarys() -> None:
    lines = Lines(Line)

    async def use() -> None:
        async with feed_with(lines.open, topics=[ORDERS]) as feed:
            await until(feed, Subscribed)
            feed._driver.session.pong_received = broken
            lines.on_pong(b"1")
            await all_of(feed)

    def broken(payload: bytes, now: float) -> Step:
        raise OddError

    with pytest.raises(OddError):
        await use()


def test_a_keyboard_interrupt_in_a_callback_ends_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(self: Session, now: float) -> Step:
        raise KeyboardInterrupt

    async def main() -> None:
        lines = Lines(Line)
        config = SessionConfig(ping_interval=1e-3)
        async with feed_with(lines.open, topics=[ORDERS], config=config) as feed:
            await until(feed, Subscribed)
            monkeypatch.setattr(Session, "deadline_reached", interrupt)
            await all_of(feed)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main(), debug=True)


@each_way
async def test_a_token_callable_whose_own_task_is_cancelled_supplied_no_token() -> None:
    async def token() -> str:
        inner = asyncio.ensure_future(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner
        raise AssertionError

    async with feed_with(Lines(Line).open, token=token) as feed:
        event = await anext(feed)
        assert isinstance(event, Disconnected)
        assert (event.reason.kind, event.reason.detail) == (FailureKind.TOKEN, "CancelledError")


def failing_at(number: int) -> Callable[[str], None]:
    """A recorder that fails at its so manieth line, and at every later one."""
    lines: list[str] = []

    def record(line: str) -> None:
        lines.append(line)
        if len(lines) >= number:
            raise OddError

    return record


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("iterates", [True, False])
def test_a_fault_at_the_opening_is_raised_to_whoever_iterates_or_ends_the_block(
    number: int, iterates: bool, factory: Any
) -> None:
    reached: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with topone_asyncio.open_feed(
            token=TOKEN, url=URL, record=failing_at(number)
        ) as feed:
            if iterates:
                with pytest.raises(OddError):
                    async for _ in feed:
                        pass
                await asyncio.sleep(0)
                reached.append("the end")
                return
            await asyncio.get_running_loop().create_future()

    if iterates:
        asyncio.run(main())
        assert reached
        return
    with pytest.raises(OddError):
        asyncio.run(asyncio.wait_for(main(), 10))


QUICK_DIALS = SessionConfig(open_timeout=0.05, token_timeout=0.05, retry_first=1e-6)


async def outlast_a_cancellation() -> None:
    """Return after a cancellation, once the next dial is due."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    for _ in range(100):
        await asyncio.sleep(0)


@each_way
async def test_a_dial_that_succeeds_though_it_was_cancelled_is_not_used() -> None:
    lines = Lines(Line)

    @asynccontextmanager
    async def open_websocket(*arguments: Any) -> AsyncGenerator[Line, None]:
        is_first = not lines.made
        async with lines.open(*arguments) as line:
            if is_first:
                await outlast_a_cancellation()
            else:
                assert lines.made[0].is_left
            yield line

    async with feed_with(open_websocket, topics=[ORDERS], config=QUICK_DIALS) as feed:
        await until(feed, Subscribed)
    assert not lines.made[0].is_used
    assert lines.made[-1].is_used


@each_way
async def test_a_dial_that_fails_as_it_is_cancelled_is_not_the_next_one() -> None:
    lines = Lines(Line)
    dials: list[object] = []

    @asynccontextmanager
    async def open_websocket(*arguments: Any) -> AsyncGenerator[Line, None]:
        dials.append(arguments)
        if len(dials) == 1:
            await outlast_a_cancellation()
            raise ConnectionResetError
        async with lines.open(*arguments) as line:
            yield line

    async with feed_with(open_websocket, topics=[ORDERS], config=QUICK_DIALS) as feed:
        await until(feed, Subscribed)
        assert len(dials) > 1
        assert set(feed.metrics().failures) == {FailureKind.TIMEOUT}


@each_way
async def test_a_token_that_comes_though_the_call_was_cancelled_is_not_used() -> None:
    lines = Lines(Line)
    calls: list[str] = []

    async def token() -> str:
        calls.append("x")
        if len(calls) == 1:
            await outlast_a_cancellation()
            return "late"
        return TOKEN

    def open_websocket(connect: Any, on_pong: Any) -> Any:
        assert connect.token == Token(TOKEN)
        return lines.open(connect, on_pong)

    async with feed_with(open_websocket, token=token, topics=[ORDERS], config=QUICK_DIALS) as feed:
        await until(feed, Subscribed)
    assert len(calls) > 1


@each_way
async def test_a_pong_of_a_connection_before_is_none() -> None:
    lines = Lines(Line)
    async with feed_with(lines.open, topics=[ORDERS], config=QUICK_DIALS) as feed:
        await until(feed, Subscribed)
        late = lines.on_pong
        lines.made[0].inbox.put_nowait(ConnectionEnded(1006, ""))
        await until(feed, Subscribed)
        pongs: list[bytes] = []

        def pong_received(payload: bytes, _: float) -> Step:
            pongs.append(payload)
            return Step()

        feed._driver.machine.pong_received = pong_received
        late(b"1")
        lines.on_pong(b"2")
    assert pongs == [b"2"]
