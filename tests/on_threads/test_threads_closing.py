"""Closing a feed in threads, in every state."""

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

import topone_threads._io
from thread_feeds import FOR_EVER, QUICK, await_pause, beside, listening, soon, threads_of_feeds
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    Connect,
    Connected,
    Disconnected,
    FailureKind,
    FeedClosed,
    SessionConfig,
    Subscribed,
)
from topone_proto.exchange import (
    Burst,
    GoSilent,
    LoseAck,
)
from topone_simulator import Simulator
from topone_threads import Feed, open_feed
from waits import PATIENCE, TOKEN, until


def test_closing_is_quick_when_the_peer_answers(simulator: Simulator) -> None:
    config = QUICK(ping_interval=None)
    with open_feed(token=TOKEN, url=simulator.url, config=config) as feed:
        until(feed, Subscribed)
        soon(feed.close)
        assert not threads_of_feeds()


def test_closing_waits_for_the_end_whichever_thread_is_busy_with_the_feed(
    simulator: Simulator,
) -> None:
    is_busy, may_end = threading.Event(), threading.Event()

    def keep_busy() -> None:
        with topone_threads._io.shared.lock:
            is_busy.set()
            assert may_end.wait(PATIENCE)

    with open_feed(token=TOKEN, url=simulator.url, config=QUICK()) as feed:
        until(feed, Subscribed)
        with beside(keep_busy):
            assert is_busy.wait(PATIENCE)
            with beside(feed.close):
                may_end.set()
            assert not [t for t in threads_of_feeds() if t.name.startswith("topone")]


def test_closing_a_connection_whose_peer_is_mute_takes_no_longer_than_configured(
    simulator: Simulator,
) -> None:
    config = SessionConfig(close_timeout=0.05)
    with open_feed(token=TOKEN, url=simulator.url, config=config) as feed:
        until(feed, Subscribed)
        simulator.inject(GoSilent())
    assert not threads_of_feeds()


def test_closing_while_the_reader_waits_for_room(simulator: Simulator) -> None:
    config = QUICK(capacity=10)
    with open_feed(token=TOKEN, url=simulator.url, topics=[BALANCE], config=config) as feed:
        feed.subscribe(BALANCE, PATIENCE)
        # More than all the queues on the way hold: the close frame has to get past it.
        simulator.inject(Burst(5000))
        await_pause(feed)
        soon(feed.close)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_closing_while_the_server_does_not_answer_the_handshake(scheme: str) -> None:
    config = QUICK(open_timeout=FOR_EVER)
    with (
        listening() as (server, host, port),
        open_feed(token=TOKEN, url=f"{scheme}://{host}:{port}/", config=config) as feed,
    ):
        peer, _ = server.accept()
        with peer:
            peer.settimeout(PATIENCE)
            assert peer.recv(65536)
            soon(feed.close)
    assert list(feed) == [Closed()]


def test_closing_while_tcp_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()

    class Selector(topone_threads._io._Selector):
        def select(self, timeout: float | None = None) -> Any:
            # The dial, and what wakes the thread.
            if len(self.get_map()) == 2:
                waits.set()
            return super().select(timeout)

    monkeypatch.setattr("topone_threads._io._Selector", Selector)
    config = QUICK(open_timeout=FOR_EVER)
    with (
        listening(backlog=0) as (_, host, port),
        # The one place in the queue is taken: whoever comes next gets no answer.
        socket.create_connection((host, port), PATIENCE),
        open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed,
    ):
        assert waits.wait(PATIENCE)
        soon(feed.close)
    assert list(feed) == [Closed()]


def test_closing_while_backing_off() -> None:
    config = QUICK(retry_first=FOR_EVER, retry_cap=FOR_EVER)
    with listening() as (server, host, port):
        server.close()
        with open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed:
            assert until(feed, Disconnected).reason.kind is FailureKind.REFUSED
            soon(feed.close)


def test_closing_ends_whoever_waits_for_an_acknowledgement(simulator: Simulator) -> None:
    simulator.inject(LoseAck())
    ended = queue.SimpleQueue[BaseException]()

    def subscribe() -> None:
        try:
            feed.subscribe(ORDERS)
        except FeedClosed as error:
            ended.put(error)

    with open_feed(token=TOKEN, url=simulator.url, topics=[], config=QUICK()) as feed:
        until(feed, Connected)
        with beside(subscribe):
            while not simulator.requests:
                pass
            soon(feed.close)
        assert isinstance(ended.get(timeout=PATIENCE), FeedClosed)


def test_closing_does_not_wait_for_a_token_callable_that_hangs() -> None:
    asked, release = threading.Event(), threading.Event()
    dials: list[Connect] = []

    def token() -> str:
        asked.set()
        assert release.wait(PATIENCE)
        return TOKEN

    def never(connect: Connect, _: Callable[[bytes], object]) -> Any:
        dials.append(connect)

    config = SessionConfig(close_timeout=0.01)
    with open_feed(token=token, config=config, open_websocket=never) as feed:
        assert asked.wait(PATIENCE)
    assert list(feed) == [Closed()]
    assert [thread.name for thread in threads_of_feeds()] == ["topone-feed-token"]
    # It ends as soon as it can, and what it brings comes too late to be used.
    release.set()
    for thread in threads_of_feeds():
        thread.join(PATIENCE)
    assert dials == []


def test_the_token_callable_may_close_the_feed() -> None:
    feeds = queue.SimpleQueue[Feed]()

    returned = threading.Event()

    def token() -> str:
        feeds.get(timeout=PATIENCE).close()
        returned.set()
        return TOKEN

    with open_feed(token=token, config=QUICK()) as feed:
        feeds.put(feed)
        assert list(feed) == [Closed()]
    assert returned.wait(PATIENCE)
    for thread in threads_of_feeds():
        thread.join(PATIENCE)
