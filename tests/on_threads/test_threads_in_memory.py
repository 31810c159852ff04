"""A feed in threads without sockets: sends that block, ends, faults."""

import asyncio
import socket
import threading
from typing import Any, Self

import pytest

from thread_feeds import (
    Exchange,
    Memory,
    await_pause,
    in_turn,
    soon,
)
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Closed,
    Connected,
    ConnectionEnded,
    Disconnected,
    FailureKind,
    Malformed,
    Subscribed,
)
from topone_threads import open_feed
from waits import ETH, PATIENCE, TOKEN, until


def test_without_any_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    exchange = Exchange()
    with exchange.open_feed() as feed:
        assert [type(feed.get(PATIENCE)) for _ in range(2)] == [Connected, Subscribed]
        feed.unsubscribe(BALANCE, PATIENCE)
        feed.subscribe(BALANCE, PATIENCE)
        first = exchange.opened[0]
        update = exchange.gateway.publish("alice", ETH, 0.0).actions
        in_turn(feed, lambda: first.carry_out(update))
        assert until(feed, BalanceUpdate).balance == ETH
        end = exchange.gateway.close_peer(first.peer, 0.0, code=1012).actions
        in_turn(feed, lambda: first.carry_out(end))
        assert until(feed, Disconnected).reason.code == 1012
        assert until(feed, Connected).epoch == 2
        until(feed, Subscribed)
    assert [type(event) for event in feed][-1:] == [Closed]


class Stuck(Memory):
    """Its peer does not read, so that whoever sends a ping waits."""

    is_stuck = threading.Event()

    async def send_ping(self, payload: bytes) -> None:
        self.is_stuck.set()
        await self.is_over.wait()
        raise ConnectionEnded


def test_a_send_that_blocks_holds_up_no_deadline() -> None:
    exchange = Exchange(Stuck)
    with exchange.open_feed(ping_interval=0.001, pong_timeout=0.001) as feed:
        assert until(feed, Disconnected).reason.kind is FailureKind.PONG_TIMEOUT
        assert until(feed, Connected).epoch == 2


def test_a_send_that_blocks_does_not_outlive_its_connection() -> None:
    Stuck.is_stuck.clear()
    exchange = Exchange(Stuck)
    with exchange.open_feed(ping_interval=0.001) as feed:
        until(feed, Subscribed)
        assert Stuck.is_stuck.wait(PATIENCE)
        in_turn(feed, lambda: exchange.opened[0].inbox.put_nowait(ConnectionEnded()))
        assert until(feed, Disconnected).reason.kind is FailureKind.LOST
        assert until(feed, Connected).epoch == 2


class Unread(Memory):
    """Its peer does not read, but asks and asks."""

    async def __aenter__(self) -> Self:
        for _ in range(100):
            self.inbox.put_nowait("ping")
        return await super().__aenter__()

    async def send_text(self, text: str) -> None:
        await self.is_over.wait()
        raise ConnectionEnded


def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    with Exchange(Unread).open_feed(max_unsent=50) as feed:
        assert until(feed, Disconnected).reason.detail == "the peer does not read"
        assert until(feed, Connected).epoch == 2


class Chatty(Memory):
    """It says three things before it answers."""

    async def __aenter__(self) -> Self:
        for number in range(3):
            self.inbox.put_nowait("?" * (number + 1))
        return await super().__aenter__()


def test_whoever_waits_for_an_answer_makes_a_paused_reader_go_on() -> None:
    # The buffer is full before the answer comes, so the reader stops. And this call has nothing to
    # send: the topic was asked for when the connection was made.
    exchange = Exchange(Chatty)
    with exchange.open_feed(capacity=4, ping_interval=None) as feed:
        await_pause(feed)
        feed.subscribe(BALANCE, PATIENCE)
        events = [type(feed.get(0)) for _ in range(5)]
        assert events == [Connected, Malformed, Malformed, Malformed, Subscribed]


class Ended(Memory):
    """Its connection has ended: a sender finds that at once, a reader behind what came before."""

    may_send: asyncio.Event

    async def __aenter__(self) -> Self:
        for number in range(100):
            self.inbox.put_nowait("?" * (number + 1))
        self.inbox.put_nowait(ConnectionEnded(1012, "at last"))
        return await super().__aenter__()

    async def send_text(self, text: str) -> None:
        await self.may_send.wait()
        raise ConnectionEnded(None, "gone")


@pytest.mark.parametrize("is_paused_first", [True, False])
def test_what_came_before_the_end_of_a_connection_is_taken_before_it(
    *, is_paused_first: bool
) -> None:
    Ended.may_send = asyncio.Event()
    exchange = Exchange(Ended)
    with exchange.open_feed(capacity=10, ping_interval=None) as feed:
        if is_paused_first:
            await_pause(feed)
        in_turn(feed, Ended.may_send.set)
        await_pause(feed)
        # Nobody takes events: there is no room for those of another connection.
        assert len(exchange.opened) == 1
        until(feed, Connected)
        taken = [feed.get(PATIENCE) for _ in range(100)]
        assert {type(event) for event in taken} == {Malformed}
        assert until(feed, Disconnected).reason.code == 1012
        until(feed, Subscribed)


class EndedUnread(Memory):
    """Its connection has ended, but only a sender finds that."""

    async def send_text(self, text: str) -> None:
        raise ConnectionEnded


def test_closing_waits_for_no_close_frame_that_nobody_can_send() -> None:
    with Exchange(EndedUnread).open_feed() as feed:
        until(feed, Connected)
        driver: Any = feed._driver
        while driver._connector._end is None:
            pass
        soon(feed.close)


class Faulty(Memory):
    """It raises what no WebSocket should."""

    async def receive(self) -> str:
        raise ZeroDivisionError


def test_a_fault_of_a_websocket_ends_the_feed_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), Exchange(Faulty).open_feed() as feed:
        assert [type(event) for event in feed] == []
    with pytest.raises(ZeroDivisionError), Exchange(Faulty).open_feed() as feed:
        until(feed, Closed)
    with pytest.raises(ZeroDivisionError):
        feed.subscribe(ORDERS)


def test_a_recording_that_fails_ends_the_feed_and_is_raised() -> None:
    exchange = Exchange()
    written: list[str] = []

    def write(line: str) -> None:
        written.append(line)
        if len(written) > 4:
            raise OSError(28, "No space left on device")

    feed = open_feed(token=TOKEN, topics=[BALANCE], open_websocket=exchange, record=write)
    with pytest.raises(OSError, match="No space left"), feed as opened:
        until(opened, Closed)
    # It is closed in the usual way, without a word about it.
    assert len(written) == 5
