"""Dials in threads: several addresses, threads that cannot be had, the token."""

import logging
import socket
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from thread_feeds import FOR_EVER, QUICK, addresses, beside, listening, serve_until_the_end
from topone_proto import (
    Closed,
    Connected,
    Disconnected,
    FailureKind,
    Session,
    SessionConfig,
    Subscribed,
    Token,
)
from topone_simulator import Simulator
from topone_threads import open_feed
from waits import PATIENCE, TOKEN, until


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (server, host, port), socket.create_server((host, 0)) as other:
        refusing = other.getsockname()
        other.close()
        monkeypatch.setattr(socket, "getaddrinfo", addresses(refusing, (host, port)))
        config = SessionConfig(close_timeout=0.01)
        with (
            beside(lambda: serve_until_the_end(server)),
            open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed,
        ):
            assert feed.get(PATIENCE) == Connected(1)


def test_an_address_that_does_not_answer_holds_no_other_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening(backlog=0) as (_, host, silent),
        # The one place in its queue is taken.
        socket.create_connection((host, silent), PATIENCE),
        listening() as (server, _, port),
    ):
        places = [(host, silent), (host, silent), (host, port)]
        monkeypatch.setattr(socket, "getaddrinfo", addresses(*places))
        config = SessionConfig(close_timeout=0.01, open_timeout=FOR_EVER)
        with (
            beside(lambda: serve_until_the_end(server)),
            open_feed(token=TOKEN, url=f"ws://{host}:{port}/", config=config) as feed,
        ):
            assert feed.get(PATIENCE) == Connected(1)


def test_a_feed_whose_thread_cannot_be_started_leaves_none_behind(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    feed: Any = open_feed(token=TOKEN, url=simulator.url)
    with (
        monkeypatch.context() as patch,
        pytest.raises(RuntimeError, match="new thread"),
        ExitStack() as stack,
    ):
        patch.setattr(threading.Thread, "start", refuse)
        stack.enter_context(feed)
    assert list(feed) == [Closed()]
    with open_feed(token=TOKEN, url=simulator.url) as another:
        until(another, Subscribed)


@pytest.mark.parametrize(
    ("of_feed", "kind"),
    [
        ({"token": lambda: TOKEN}, FailureKind.TOKEN),
        ({"token": TOKEN, "url": "wss://exchange.invalid/"}, FailureKind.NETWORK),
    ],
)
def test_a_thread_that_cannot_be_started_is_a_failed_try(
    of_feed: dict[str, Any], kind: FailureKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def only_its_own(thread: threading.Thread) -> None:
        if thread.name != "topone-feed-io":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_its_own)
    with open_feed(config=QUICK(), **of_feed) as feed:
        # More often than there may be token calls at a time.
        reasons = [until(feed, Disconnected).reason for _ in range(6)]
    assert {reason.kind for reason in reasons} == {kind}
    assert not [it for it in reasons if it.detail == "TooManyTokenCallsError"]


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_no_frame_of_ours_holds_the_token_that_a_callable_supplied(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, *, is_wrapped: bool
) -> None:
    shown: list[str] = []
    token_obtained = Session.token_obtained

    def spied(session: Session, token: Token, now: float) -> Any:
        frame = sys._getframe().f_back
        while frame is not None:
            shown.extend(f"{name} = {it!r}" for name, it in frame.f_locals.items())
            frame = frame.f_back
        return token_obtained(session, token, now)

    monkeypatch.setattr(Session, "token_obtained", spied)
    with open_feed(token=lambda: Token(TOKEN) if is_wrapped else TOKEN, url=simulator.url) as feed:
        until(feed, Subscribed)
    assert shown
    assert not [text for text in shown if TOKEN in text]


def test_the_token_is_written_nowhere(
    simulator: Simulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "quiet"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with open_feed(token=TOKEN, url=simulator.url) as feed:
        until(feed, Subscribed)
        assert TOKEN not in repr(vars(feed))
    for url in (f"ws://127.0.0.1:{simulator.port}/nowhere/", "ws://localhost.invalid.localhost/"):
        with open_feed(token=TOKEN, url=url, config=QUICK(max_attempts=1)) as feed:
            until(feed, Disconnected)
    assert "5ecret" not in caplog.text + "".join(capfd.readouterr())
