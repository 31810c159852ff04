"""The conformance kit itself: an adapter that is broken fails, and is told why.

Those that are broken here are the project's own, behind a wrapper that spoils one thing.
"""

import asyncio
import logging
import re
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio

import topone_asyncio
import topone_threads
import topone_trio
from doors import ASYNCIO, THREADS, TRIO, run_trio
from topone_proto import (
    BalanceUpdate,
    Closed,
    Connect,
    Connected,
    ConnectionEnded,
    ConnectionFailed,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    FeedFailed,
    Gap,
    OrderUpdate,
    PullError,
    Topic,
    TopOneError,
)
from topone_proto.adapters import AsyncWebSocket, failure_from_response
from topone_proto.testing.conformance import (
    SCENARIOS,
    Adapter,
    ConformanceFailed,
    Group,
    Kit,
    Main,
    Outcome,
    Scenario,
    check_all,
)
from topone_proto.testing.conformance.__main__ import main
from topone_proto.testing.conformance.failures import _hanging_up
from topone_proto.testing.conformance.leaks import TOKEN, recorded_logs, where_in_caches
from topone_proto.testing.conformance.raw import Peer, RawServer
from topone_proto.testing.conformance.scenario import PATIENCE
from topone_simulator import run_in_thread
from topone_websockets import WebSocketClient

PAGE = (Path(__file__).parent.parent / "docs" / "conformance.md").read_text("utf-8")
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
# Seconds, for what hangs, and then takes as long or twice that.
IMPATIENT = 1.0


class Wrapped:
    """A feed of trio that is not spoilt yet."""

    def __init__(self, feed: topone_trio.Feed) -> None:
        self.feed = feed

    def __aiter__(self) -> "Wrapped":
        return self

    async def __anext__(self) -> Event:
        return await self.feed.__anext__()

    async def subscribe(self, topic: Topic) -> None:
        await self.feed.subscribe(topic)

    async def unsubscribe(self, topic: Topic) -> None:
        await self.feed.unsubscribe(topic)

    async def close(self) -> None:
        await self.feed.close()


def of_trio(open_feed: Callable[..., AbstractAsyncContextManager[Any]]) -> Adapter:
    return Adapter("broken", open_feed, run_trio, trio.sleep)


def wrapped(cls: Callable[[topone_trio.Feed], Wrapped]) -> Adapter:
    @asynccontextmanager
    async def open_feed(**arguments: Any) -> AsyncGenerator[Wrapped, None]:
        async with topone_trio.open_feed(**arguments) as feed:
            yield cls(feed)

    return of_trio(open_feed)


def given(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Adapter:
    return of_trio(lambda **arguments: topone_trio.open_feed(**{**arguments, **change(arguments)}))


class WithoutGaps(Wrapped):
    async def __anext__(self) -> Event:
        while isinstance(event := await super().__anext__(), Gap):
            pass
        return event


class WithoutBeginnings(Wrapped):
    async def __anext__(self) -> Event:
        event = await super().__anext__()
        return attrs.evolve(event, since_ts=None) if isinstance(event, Gap) else event


class Swapped(Wrapped):
    behind: Event | None = None

    async def __anext__(self) -> Event:
        if self.behind is not None:
            event, self.behind = self.behind, None
            return event
        event = await super().__anext__()
        if isinstance(event, OrderUpdate):
            self.behind, event = event, await super().__anext__()
        return event


class Telling(Wrapped):
    async def __anext__(self) -> Event:
        event = await super().__anext__()
        if isinstance(event, Disconnected):
            reason = attrs.evolve(event.reason, detail=f"GET /?token={TOKEN}")
            return attrs.evolve(event, reason=reason)
        return event


class Chaining(Wrapped):
    async def __anext__(self) -> Event:
        try:
            return await super().__anext__()
        except FeedFailed as error:
            raise error from OSError(f"GET /?token={TOKEN}")


class Ending(Wrapped):
    """It ends without saying why."""

    async def __anext__(self) -> Event:
        try:
            return await super().__anext__()
        except FeedFailed:
            raise StopAsyncIteration from None


def without_the_rest(kind: type[Event]) -> Adapter:
    """It ends where an event of this kind would come."""

    class Short(Wrapped):
        async def __anext__(self) -> Event:
            event = await super().__anext__()
            if isinstance(event, kind):
                raise StopAsyncIteration
            return event

    return wrapped(Short)


class Logging(Wrapped):
    async def close(self) -> None:
        logging.getLogger("library").debug("goodbye, %s", TOKEN)
        await super().close()


class Dropping(Wrapped):
    """It drops one update when five wait."""

    has_dropped = False

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        if isinstance(event, BalanceUpdate) and not self.has_dropped:
            self.has_dropped = True
            while self.feed.metrics().waiting < 5:
                await trio.lowlevel.checkpoint()
            return await super().__anext__()
        return event


class Hasty(Wrapped):
    """It does not wait with the next dial."""

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        if isinstance(event, Disconnected):
            later = trio.current_time() + (event.retry_in or 0.0)
            self.feed._driver.now = lambda: later
            self.feed._driver._deadline_reached()
            while not self.feed.metrics().is_connected:
                await trio.lowlevel.checkpoint()
        return event


class Optimistic(Wrapped):
    async def subscribe(self, topic: Topic) -> None:
        with suppress(TopOneError):
            await super().subscribe(topic)


class Hanging(Wrapped):
    async def close(self) -> None:
        await trio.sleep_forever()


# Lets go of whoever does not let go by himself.
released = threading.Event()


class Stubborn(Wrapped):
    async def __anext__(self) -> Event:
        try:
            return await super().__anext__()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(released.wait)
            raise


@asynccontextmanager
async def open_in_a_nursery(**arguments: Any) -> AsyncGenerator[topone_trio.Feed, None]:
    async with trio.open_nursery(), topone_trio.open_feed(**arguments) as feed:
        yield feed


def open_unconcealed(
    *, token: Any, **arguments: Any
) -> AbstractAsyncContextManager[topone_trio.Feed]:
    return topone_trio.open_feed(token=token, **arguments)


@asynccontextmanager
async def speechless(
    connect: Connect, on_pong: Callable[[bytes], object]
) -> AsyncGenerator[AsyncWebSocket, None]:
    """A WebSocket that is dropped where a close frame is due."""
    async with topone_asyncio.open_websocket(connect, on_pong) as websocket:

        async def close(*_: object) -> None:
            pass

        websocket.close = close  # type: ignore[method-assign, assignment]
        yield websocket


class Fake:
    """A WebSocket that nobody is at the other end of."""

    async def receive(self) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def send_text(self, text: str) -> None:
        pass

    async def send_ping(self, payload: bytes) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        pass


@asynccontextmanager
async def credulous(
    connect: Connect, on_pong: Callable[[bytes], object]
) -> AsyncGenerator[AsyncWebSocket, None]:
    """A dial that comes about whatever the server answers."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial_for_nothing, connect)
        yield Fake()
        nursery.cancel_scope.cancel()


async def dial_for_nothing(connect: Connect) -> None:
    with suppress(ConnectionFailed):
        async with topone_trio.open_websocket(connect, bool):
            pass


@asynccontextmanager
async def patient(
    connect: Connect, on_pong: Callable[[bytes], object]
) -> AsyncGenerator[AsyncWebSocket, None]:
    """A dial that reads to the end of an answer."""
    stream = await trio.open_tcp_stream(*WebSocketClient(connect, bool).address)
    async with stream:
        await stream.send_all(WebSocketClient(connect, bool).to_send())
        while await stream.receive_some():
            pass
    raise ConnectionFailed(failure_from_response(403, ()))
    yield Fake()


def failing(change: Callable[[Failure], Failure]) -> Adapter:
    """It makes something else of a dial that fails."""

    @asynccontextmanager
    async def open_websocket(
        connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator[AsyncWebSocket, None]:
        try:
            async with topone_trio.open_websocket(connect, on_pong) as websocket:
                yield websocket
        except ConnectionFailed as failed:
            failure = change(failed.failure)
        else:
            return
        raise ConnectionFailed(failure)

    return given(lambda _: {"open_websocket": open_websocket})


def ending(change: Callable[[ConnectionEnded], ConnectionEnded]) -> Adapter:
    """It makes something else of a connection that ends."""

    @asynccontextmanager
    async def open_websocket(
        connect: Connect, on_pong: Callable[[bytes], object]
    ) -> AsyncGenerator[AsyncWebSocket, None]:
        async with topone_trio.open_websocket(connect, on_pong) as websocket:
            receive = websocket.receive

            async def changed() -> str | bytes:
                try:
                    return await receive()
                except ConnectionEnded as end:
                    raise change(end) from None

            websocket.receive = changed  # type: ignore[method-assign]
            yield websocket

    return given(lambda _: {"open_websocket": open_websocket})


class Deaf:
    """A WebSocket that tells neither of pongs nor of bytes."""

    def __init__(self, websocket: AsyncWebSocket) -> None:
        self.receive = websocket.receive
        self.send_text = websocket.send_text
        self.send_ping = websocket.send_ping
        self.close = websocket.close


@asynccontextmanager
async def deaf(
    connect: Connect, on_pong: Callable[[bytes], object]
) -> AsyncGenerator[AsyncWebSocket, None]:
    async with topone_trio.open_websocket(connect, bool) as websocket:
        yield Deaf(websocket)


@asynccontextmanager
async def taciturn(
    connect: Connect, on_pong: Callable[[bytes], object]
) -> AsyncGenerator[AsyncWebSocket, None]:
    """A WebSocket that ends without saying why."""
    async with topone_trio.open_websocket(connect, on_pong) as websocket:

        async def say_why(*_: object) -> None:
            pass

        websocket._say_why = say_why  # type: ignore[attr-defined]
        yield websocket


class Hurried(Wrapped):
    """It takes a deadline that is noticed late for proof, without reading first."""

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        if isinstance(event, Connected):
            for _ in range(3):
                now = self.feed._core.deadline
                self.feed._driver.now = lambda now=now: now  # type: ignore[misc]  # as if it had come
                self.feed._driver._deadline_reached()
        return event


class HardOfHearing:
    """A WebSocket that does not say when bytes came."""

    def __init__(self, websocket: AsyncWebSocket) -> None:
        self.receive = websocket.receive
        self.send_text = websocket.send_text
        self.send_ping = websocket.send_ping
        self.close = websocket.close


@asynccontextmanager
async def hard_of_hearing(
    connect: Connect, on_pong: Callable[[bytes], object]
) -> AsyncGenerator[AsyncWebSocket, None]:
    async with topone_trio.open_websocket(connect, on_pong) as websocket:
        yield HardOfHearing(websocket)


@asynccontextmanager
async def open_raising_twice(**arguments: Any) -> AsyncGenerator[topone_trio.Feed, None]:
    async with topone_trio.open_feed(**arguments) as feed:
        yield feed
    feed._core.raise_failure()


def configured(**changes: Any) -> Adapter:
    """It has settings that were not asked for."""
    return given(lambda arguments: {"config": attrs.evolve(arguments["config"], **changes)})


def without_recording_errors(arguments: dict[str, Any]) -> dict[str, Any]:
    record = arguments["record"]

    def swallowing(line: str) -> None:
        with suppress(OSError):
            record(line)

    return {"record": swallowing}


class WithoutPieces(Wrapped):
    """It gives the first answer to a pull for the whole."""

    async def pull(self, topic: Topic, start: float, end: float) -> tuple[Any, ...]:
        return await self.feed.pull(topic, start, min(end, start + 86400))


class WithoutErrors(Wrapped):
    """A pull that is refused brings nothing."""

    async def pull(self, topic: Topic, start: float, end: float) -> tuple[Any, ...]:
        try:
            return await self.feed.pull(topic, start, end)
        except PullError:
            return ()


def of_market(cls: Callable[[topone_trio.Feed], Wrapped]) -> Adapter:
    @asynccontextmanager
    async def open_market_feed(**arguments: Any) -> AsyncGenerator[Any, None]:
        async with topone_trio.open_market_feed(**arguments) as feed:
            yield cls(feed)

    return attrs.evolve(TRIO, name="broken", open_market_feed=open_market_feed)


BROKEN = {
    "drops a gap of market data": (
        of_market(WithoutGaps),
        "market data comes back with a gap",
        "'gap deals_ETH/BTC 2' did not come",
    ),
    "pulls a part": (
        of_market(WithoutPieces),
        "a pull returns candles",
        "the number of requests for 1001 days: 1 in place of 4",
    ),
    "hides that a pull was refused": (
        of_market(WithoutErrors),
        "a pull that is refused raises",
        "PullRefused was to be raised, and nothing was",
    ),
    "has no market feed": (
        attrs.evolve(TRIO, name="broken", open_market_feed=None),
        "market data needs no token",
        "the adapter has no open_market_feed",
    ),
    "drops an event": (
        wrapped(WithoutGaps),
        "a dropped connection comes back with a gap for every topic",
        "'subscribed orders 2' was told in place of 'gap balance 2'",
    ),
    "does not say since when": (
        wrapped(WithoutBeginnings),
        "a dropped connection comes back with a gap for every topic",
        "'gap balance 2' lasts from None until",
    ),
    "tells events in the wrong order": (
        wrapped(Swapped),
        "one update of each kind and every call",
        "'balance ETH' was told in place of 'orders 132991'",
    ),
    "swallows pongs": (
        given(lambda _: {"open_websocket": deaf}),
        "an answered ping keeps an idle connection",
        "'gap orders 1' was told in place of 'unsubscribed orders 1'",
    ),
    "tells the token in an event": (
        wrapped(Telling),
        "a close frame is told with its code",
        "the token is in an event: 'disconnected closed, retry'",
    ),
    "chains an error that shows the token": (
        wrapped(Chaining),
        "the chain of an error",
        f"the token is in FeedFailed: OSError: GET /?token={TOKEN}",
    ),
    "has the token in a local variable": (
        of_trio(open_unconcealed),
        "a setting that cannot be used: an origin of two lines",
        f"the token is in ConfigurationError:     token = '{TOKEN}'",
    ),
    "logs the token": (
        wrapped(Logging),
        "close ends it: connected",
        f"the token is in a log: library at level DEBUG: goodbye, {TOKEN}",
    ),
    "asks for a token once": (
        given(
            lambda arguments: (
                {"token": arguments["token"]()} if callable(arguments["token"]) else {}
            )
        ),
        "a token callable is asked before every dial",
        "'disconnected handshake' was told in place of 'disconnected handshake, retry'",
    ),
    "dials without waiting": (
        wrapped(Hasty),
        "retry after is honoured: 503",
        "the number of dials: 2 in place of 1",
    ),
    "answers back-pressure by dropping": (
        wrapped(Dropping),
        "a slow application loses nothing",
        "the next balance: Balance(asset='A",
    ),
    "never conflates": (
        configured(delivery="block"),
        "a slow application acts on a recent state",
        "it never came to pass that the feed reads on",
    ),
    "conflates where there is room": (
        configured(capacity=5),
        "nothing is conflated while there is room",
        "Conflated(count=",
    ),
    "dials for an application that takes nothing": (
        configured(capacity=10**6),
        "an application that takes nothing is not connected again and again",
        "times while nobody took any event",
    ),
    "does not say when bytes came": (
        given(lambda _: {"open_websocket": hard_of_hearing}),
        "bytes are a sign of life: a large frame on a slow line",
        "in place of 'balance ETH'",
    ),
    "takes a peer that pings for dead": (
        given(lambda _: {"open_websocket": hard_of_hearing}),
        "bytes are a sign of life: a peer that pings and answers no ping",
        "in place of 'balance ETH'",
    ),
    "takes what was late for lost": (
        wrapped(Hurried),
        "an application that blocks the loop keeps its connection",
        "'timed out sub_balance' was told",
    ),
    "goes on when a recorder has failed": (
        given(without_recording_errors),
        "a recorder that fails ends the feed with its error: a frame",
        "the end did not come within 1 s",
    ),
    "groups a fault": (
        of_trio(open_in_a_nursery),
        "a recorder that fails ends the feed with its error: a deadline of a dial",
        "it raised ExceptionGroup of DiskFullError",
    ),
    "raises a fault twice": (
        of_trio(open_raising_twice),
        "a fault that was caught leaves the block in peace: a connection",
        "it raised DiskFullError",
    ),
    "never stops reading": (
        # The fastest of the adapters, for the scenario waits for it to have read all.
        attrs.evolve(
            ASYNCIO,
            name="broken",
            open_feed=lambda **arguments: topone_asyncio.open_feed(
                **{**arguments, "config": attrs.evolve(arguments["config"], capacity=10**6)}
            ),
        ),
        "the exchange waits for a slow application",
        "it read on while nobody took any events, and the exchange never had to wait",
    ),
    "takes a refusal for no answer": (
        failing(lambda failure: Failure(FailureKind.NOT_WEBSOCKET)),
        "a 403 ends the feed: stays",
        "'disconnected not_websocket, retry' was told in place of 'disconnected handshake'",
    ),
    "takes the network's word": (
        failing(lambda failure: Failure(FailureKind.NETWORK)),
        "a 401 that does not wait for the question",
        "'disconnected network, retry' was told in place of 'disconnected handshake'",
    ),
    "loses Retry-After": (
        failing(lambda failure: attrs.evolve(failure, retry_after=None)),
        "a 429 is heeded: folded lines",
        "Retry-After: None in place of 7",
    ),
    "reads to the end of an answer": (
        given(lambda _: {"open_websocket": patient}),
        "a 403 ends the feed: a body without an end",
        "'disconnected handshake' did not come within 1 s",
    ),
    "takes any answer": (
        given(lambda _: {"open_websocket": credulous}),
        "what is no answer: wrong Accept",
        "'connected 1' was told in place of 'disconnected not_websocket, retry'",
    ),
    "loses what came with the answer": (
        ending(lambda _: ConnectionEnded()),
        "a 101 is a 101: with a frame",
        "'disconnected lost, retry' was told in place of 'disconnected closed, retry'",
    ),
    "blames the peer": (
        ending(lambda end: ConnectionEnded(1002, end.reason)),
        "a frame that is none ends the connection: masked",
        "'disconnected closed, retry' was told in place of 'disconnected lost, retry'",
    ),
    "does not say what was wrong": (
        ending(lambda _: ConnectionEnded()),
        "a frame that is none ends the connection: close code 5000",
        "the failure does not say what was wrong",
    ),
    "does not tell the peer": (
        given(lambda _: {"open_websocket": taciturn}),
        "a frame that is none ends the connection: RSV1",
        "the close codes that were sent: [] in place of [1002]",
    ),
    "takes the peer's code for its own": (
        ending(lambda end: ConnectionEnded(None, end.reason)),
        "the peers close code is the peers: 1002",
        "'disconnected lost, retry' was told in place of 'disconnected closed, retry'",
    ),
    "has another code": (
        ending(lambda _: ConnectionEnded(1000)),
        "a close frame that comes in pieces",
        "the close code: 1000 in place of 1007",
    ),
    "adds a header": (
        given(lambda arguments: {"headers": {**dict(arguments["headers"]), "Accept": "*/*"}}),
        "what leaves the socket: by default",
        "the names of the headers: ['accept', 'connection'",
    ),
    "says who it is": (
        given(lambda _: {"headers": ()}),
        "what leaves the socket: no user agent",
        "the names of the headers: ['connection', 'host', 'sec-websocket-key'",
    ),
    "says no goodbye": (
        attrs.evolve(
            ASYNCIO,
            name="broken",
            open_feed=lambda **arguments: topone_asyncio.open_feed(
                **{**arguments, "open_websocket": speechless}
            ),
        ),
        "closing says goodbye",
        "it never came to pass that it ended with a close frame",
    ),
    "ends without an error": (
        wrapped(Ending),
        "a port where nobody listens",
        "FeedFailed was to be raised, and nothing was",
    ),
    "ends in place of an event": (
        without_the_rest(Disconnected),
        "a close frame is told with its code",
        "None was told in place of a Disconnected",
    ),
    "ends before an event": (
        without_the_rest(Gap),
        "a dropped connection comes back with a gap for every topic",
        "the feed ended without a Subscribed",
    ),
    "leaves out the last event": (
        without_the_rest(Closed),
        "close ends it: connected",
        "'closed' was never told",
    ),
    "does not raise a refusal": (
        wrapped(Optimistic),
        "subscribe raises what the exchange says",
        "SubscriptionRejected was to be raised, and nothing was",
    ),
    "sends an Origin": (
        given(lambda _: {"origin": "null"}),
        "an origin header is sent only if asked for: left out",
        "'disconnected handshake' was told in place of 'connected 1'",
    ),
    "groups exceptions": (
        of_trio(open_in_a_nursery),
        "an error of the application comes out as it is",
        "it raised ExceptionGroup of KeyError: ",
    ),
    "hangs in close": (
        wrapped(Hanging),
        "close ends it: connected",
        "'closed' did not come within 1 s",
    ),
    "cannot be cancelled": (
        wrapped(Stubborn),
        "whoever waits for an event can be cancelled",
        "it hangs, and cannot be cancelled",
    ),
}


# A machine that is slow enough makes every deadline late, and then these two are not found out:
# they have more than one try.
SLOW = {"does not say when bytes came", "takes a peer that pings for dead"}


@pytest.mark.parametrize(
    ("adapter", "name", "problem", "tries"),
    [
        pytest.param(*case, 5, id=name, marks=[pytest.mark.thorough])
        if name in SLOW
        else pytest.param(*case, 1, id=name)
        for name, case in BROKEN.items()
    ],
)
def test_a_broken_adapter_fails(adapter: Adapter, name: str, problem: str, tries: int) -> None:
    patience = IMPATIENT if "hangs" in problem or "did not come" in problem else PATIENCE
    if "reads on" in problem:
        # Half of it is waited for.
        patience = 4 * IMPATIENT
    before = set(threading.enumerate())
    released.clear()
    with pytest.raises(ConformanceFailed) as caught:
        for _ in range(tries):
            BY_NAME[name].check(adapter, run_in_thread, patience=patience)
    released.set()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "topone-conformance":
            thread.join()
    assert problem in caught.value.problem


def test_a_connection_that_stays_is_noticed() -> None:
    left: list[Any] = []

    @contextmanager
    def open_feed(**arguments: Any) -> Generator[topone_threads.Feed, None, None]:
        left.append(topone_threads.open_feed(**arguments))
        yield left[-1].__enter__()

    try:
        with pytest.raises(ConformanceFailed) as caught:
            BY_NAME["closing says goodbye"].check(
                Adapter.blocking("staying", open_feed), run_in_thread, patience=IMPATIENT
            )
    finally:
        for feed in left:
            feed.close()
    assert caught.value.problem == "it never came to pass that the connection is gone"


def test_a_connection_that_outlives_its_cancellation_is_noticed() -> None:
    is_up = threading.Event()
    cancels: list[Callable[[], object]] = []
    threads: list[threading.Thread] = []

    class Watched(Wrapped):
        async def __anext__(self) -> Event:
            event = await super().__anext__()
            is_up.set()
            return event

    async def bounded(main: Main) -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            cancels.append(lambda: token.run_sync_soon(scope.cancel))
            await main()

    def run(main: Main, _: float) -> None:
        threads.append(threading.Thread(target=trio.run, args=(bounded, main)))
        threads[-1].start()
        is_up.wait()

    adapter = attrs.evolve(wrapped(Watched), run=run)
    with pytest.raises(ConformanceFailed) as caught:
        BY_NAME["whoever waits for an event can be cancelled"].check(
            adapter, run_in_thread, patience=IMPATIENT
        )
    for end in (*cancels, *(thread.join for thread in threads)):
        end()
    assert caught.value.problem == "it was cancelled, and its connection is still there"


def test_a_blocking_feed_that_hangs_keeps_nobody_waiting() -> None:
    wake_up = threading.Event()

    class Feed:
        def __init__(self, feed: topone_threads.Feed) -> None:
            self.feed = feed

        def __iter__(self) -> Iterator[Event]:
            return self.feed

        def subscribe(self, topic: Topic) -> None:
            self.feed.subscribe(topic)

        def unsubscribe(self, topic: Topic) -> None:
            self.feed.unsubscribe(topic)

        def close(self) -> None:
            wake_up.wait()

    @contextmanager
    def open_feed(**arguments: Any) -> Generator[Feed, None, None]:
        with topone_threads.open_feed(**arguments) as feed:
            yield Feed(feed)

    before = set(threading.enumerate())
    with pytest.raises(ConformanceFailed, match="it hangs, and cannot be cancelled; 'closed'"):
        BY_NAME["close ends it: connected"].check(
            Adapter.blocking("hanging", open_feed), run_in_thread, patience=IMPATIENT
        )
    wake_up.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_a_scenario_of_a_blocking_feed_never_suspends() -> None:
    async def script(_: Kit) -> None:
        await asyncio.sleep(0)

    scenario = Scenario("suspending", "It awaits what is no feed's.", Group.LIFE, script)
    with pytest.raises(ConformanceFailed, match="a blocking feed awaited something else"):
        scenario.check(THREADS, run_in_thread)


# --- what is said


def test_a_failure_shows_both_logs_side_by_side() -> None:
    adapter, name, _ = BROKEN["drops an event"]
    with pytest.raises(ConformanceFailed) as caught:
        BY_NAME[name].check(adapter, run_in_thread)
    assert f"```text\n{caught.value}\n```" in PAGE
    assert isinstance(caught.value, AssertionError)
    assert caught.value.scenario is BY_NAME[name]


def test_the_page_runs_as_it_stands() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), 1):
        exec(compile(block, f"conformance.md, block {number}", "exec"), names)
    names["test_the_adapter_conforms"](BY_NAME["closing says goodbye"])
    assert names["adapter"].name == "AnyIO on trio"
    assert names["mine"].name == "two losses in a row"


def test_every_scenario_says_what_it_is_about() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert {scenario.group for scenario in SCENARIOS} == set(Group)
    assert all(scenario.doc.endswith(".") for scenario in SCENARIOS)


def test_every_kind_of_failure_has_its_scenario() -> None:
    lines = {line.partition(",")[0] for scenario in SCENARIOS for line in scenario.log or ()}
    # No exchange brings these about, but a program that forks, and a bus.
    kinds = set(FailureKind) - {FailureKind.BUS, FailureKind.FORKED}
    assert {f"disconnected {kind}" for kind in kinds} <= lines


def test_a_server_that_hangs_up_outlives_clients_that_do_so_first() -> None:
    """Pytest fails a test in which a thread ended with an exception."""
    with _hanging_up(PATIENCE) as url:
        address = urlsplit(url)
        for _ in range(3):
            with socket.create_connection((address.hostname, address.port)) as client:
                # Closing it is a reset now, which whoever reads from it is told by an exception.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with socket.create_connection((address.hostname, address.port), PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            assert client.recv(1) == b""


def test_a_server_that_hangs_up_does_not_wait_for_a_client_that_says_nothing() -> None:
    with _hanging_up(0.01) as url:
        address = urlsplit(url)
        silent = socket.create_connection((address.hostname, address.port), PATIENCE)
    with silent:
        assert silent.recv(1) == b""


def test_all_are_checked_whatever_comes_of_them() -> None:
    adapter, name, _ = BROKEN["drops an event"]
    chosen = [BY_NAME[name], BY_NAME["closing says goodbye"]]
    shown: list[Outcome] = []
    outcomes = check_all(adapter, run_in_thread, scenarios=chosen, show=shown.append)
    assert [outcome.failed is None for outcome in outcomes] == [False, True]
    assert shown == list(outcomes)


# --- the command


def test_what_does_not_apply_to_an_adapter_is_left_out() -> None:
    market = [scenario for scenario in SCENARIOS if scenario.group is Group.MARKET]
    adapter = attrs.evolve(TRIO, open_market_feed=None)
    assert check_all(adapter, run_in_thread, scenarios=market) == ()


def test_the_command_tells_of_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doors:ASYNCIO", "--only", "strange frame"]) == 0
    told = capsys.readouterr().out
    assert told.count("passed  ") == 3
    assert told.endswith("asyncio: 3 of 3 scenarios passed\n")


def test_the_command_shows_what_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doors.ASYNCIO", BROKEN["groups exceptions"][0])
    assert main(["doors:ASYNCIO", "--only", "comes out as it is"]) == 1
    told = capsys.readouterr().out
    assert "FAILED" in told
    # What a feed has raised is shown whole.
    assert "KeyError" in told
    assert told.endswith("broken: 0 of 1 scenarios passed\n")


def test_the_command_shows_no_error_where_only_a_log_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, name, problem = BROKEN["drops an event"]
    monkeypatch.setattr("doors.ASYNCIO", adapter)
    assert main(["doors:ASYNCIO", "--only", name]) == 1
    told = capsys.readouterr().out
    assert problem in told
    assert "Traceback" not in told


def test_the_command_wants_an_adapter_and_a_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doors:run_trio"])
    assert "doors:run_trio is no Adapter, but a function" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["doors:QT"])
    assert "module 'doors' has no attribute 'QT'" in capsys.readouterr().err
    for place in ("doors", "doors:", ":QT", "../doors:QT"):
        with pytest.raises(SystemExit):
            main([place])
        assert f"{place!r} is not written as module:name" in capsys.readouterr().err
    for place in ("no_such_module:QT", "no_such_module.testing:QT", "doors.testing:QT"):
        with pytest.raises(SystemExit):
            main([place])
        assert "error: No module named" in capsys.readouterr().err
    assert main(["doors:THREADS", "--only", "no such thing"]) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_module", ModuleNotFoundError),
        ("from doors import QT", ImportError),
        ("import doors\ndoors.QT", AttributeError),
        ("import broken_adapter.parts", ModuleNotFoundError),
    ],
)
def test_what_the_adapters_module_raises_is_shown_whole(
    text: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short message would not say where in the module it is."""
    (tmp_path / "broken_adapter.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error) as caught:
        main(["broken_adapter:adapter"])
    assert caught.traceback[-1].path == tmp_path / "broken_adapter.py"


def test_a_logger_with_a_handler_of_its_own_is_heard_as_well() -> None:
    logger = logging.getLogger("apart")
    logger.propagate = False
    try:
        with recorded_logs() as lines:
            logger.debug("hello")
    finally:
        logger.propagate = True
    assert [line for line in lines if "hello" in line]


# --- the kit's own tools ---


class Dripping:
    """A connection that brings what was said byte by byte."""

    def __init__(self, said: bytes) -> None:
        self._said = iter(said)

    def recv(self, _: int) -> bytes:
        return bytes([byte for byte in [next(self._said, None)] if byte is not None])


def masked(opcode: int, payload: bytes) -> bytes:
    size = [0x80 | len(payload)] if len(payload) < 126 else [0xFE, 0, len(payload)]
    mask = [1, 2, 3, 4]
    return bytes([0x80 | opcode, *size, *mask, *(b ^ mask[at % 4] for at, b in enumerate(payload))])


def test_frames_are_read_however_they_come() -> None:
    frames = [(1, b"text"), (9, b""), (1, b"x" * 200), (8, b"\x03\xe8")]
    said = b"".join(masked(*frame) for frame in frames) + masked(1, b"after the end")
    peer: Any = Dripping(said)
    assert list(Peer(peer).frames()) == frames
    peer = Dripping(said)
    heard = Peer(peer).listen_for_close()
    assert RawServer("", heard=[heard, b"", masked(8, b"")]).close_codes == [1000]


def test_a_cache_that_has_the_token_is_found() -> None:
    @lru_cache
    def url_of(token: str) -> str:
        return f"wss://example.org/?token={token}"

    assert where_in_caches("n0-such-token") is None
    url_of("n0-such-token")
    assert "url_of" in str(where_in_caches("n0-such-token"))
