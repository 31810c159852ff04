"""Tornado and its own WebSocket client.

The framework: connections, handshakes, messages, timers.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

import asyncio
import os
import random
import signal
import sys
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
    Close,
    Connect,
    Endpoint,
    Event,
    Failure,
    SendPing,
    SendText,
    Session,
    SessionConfig,
    SessionState,
    Step,
    Token,
)
from topone_proto.adapters import failure_from_exception, failure_from_response


class TornadoFeed:
    """Calls ``on_event`` in the event loop that it is made in."""

    def __init__(self, session: Session, on_event: Callable[[Event], object]) -> None:
        self.session, self.on_event, self.loop = session, on_event, IOLoop.current()
        self.timer: object = None
        # The dial or the connection that counts, and what is open, for the closing handshake, too.
        self.job: Connect | None = None
        self.websocket: WebSocketClientConnection | None = None
        self.is_over = asyncio.Event()

    def take(self, step: Step) -> None:
        # First: an action may tell the session something at once, and what it says then is newer.
        if self.timer is not None:
            self.loop.remove_timeout(self.timer)
        if step.deadline is not None:
            self.timer = self.loop.call_later(max(0.0, step.deadline - monotonic()), self.wake)
        for action in step.actions:
            # If it has ended, reading finds the same, behind all that was received.
            with suppress(WebSocketClosedError, StreamClosedError):
                match action:
                    case Connect():
                        self.job = action
                        self.loop.spawn_callback(self.converse, action)
                    case SendText(text=text) if self.websocket is not None:
                        self.websocket.write_message(text).add_done_callback(Future.exception)
                    case SendPing(payload=payload) if self.websocket is not None:
                        self.websocket.ping(payload)
                    case Close():
                        self.hang_up(action)
        for event in step.events:
            self.on_event(event)
        self.look()

    def wake(self) -> None:
        self.take(self.session.deadline_reached(monotonic()))

    def tell(self, job: Connect, by: Callable[..., Step], *what: object) -> None:
        """Unless it is of something that was given up."""
        if self.job is job:
            self.take(by(*what, monotonic()))

    async def converse(self, job: Connect) -> None:
        # Tornado's time is up later than the session's, and only for what the session gave up.
        request = HTTPRequest(
            job.url(), headers=dict(job.endpoint.headers), request_timeout=job.timeout + 1
        )
        try:
            websocket = await websocket_connect(request, max_message_size=job.max_frame_size)
        except Exception as error:  # noqa: BLE001 - a dial can fail in any way
            self.tell(job, self.session.connection_failed, failure_of(error))
            return
        if self.job is job:
            self.websocket = websocket
            websocket.on_pong = partial(self.tell, job, self.session.pong_received)  # type: ignore[method-assign]
            self.tell(job, self.session.connection_made)
            while (message := await websocket.read_message()) is not None:
                self.tell(job, self.session.message_received, message)
            code, reason = websocket.close_code, websocket.close_reason or ""
            self.tell(job, self.session.connection_lost, code, reason)
            if self.websocket is websocket:
                self.websocket = None
            self.look()
        websocket.close()

    def hang_up(self, close: Close) -> None:
        self.job = None
        if self.websocket is not None and self.websocket.protocol is not None:
            stream = self.websocket.protocol.stream
            assert stream is not None
            self.loop.call_later(close.timeout, stream.close)
            if close.timeout:
                self.websocket.close(close.code, close.reason)

    def look(self) -> None:
        if self.session.state is SessionState.CLOSED and self.websocket is None:
            self.is_over.set()


def failure_of(error: Exception) -> Failure:
    if isinstance(error, HTTPClientError) and error.response is not None:
        return failure_from_response(error.response.code, error.response.headers.get_all())
    if isinstance(error, StreamClosedError) and error.real_error is not None:
        return failure_from_exception(error.real_error)
    return failure_from_exception(error)


def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""

    async def run() -> None:
        feed = TornadoFeed(session, print)
        feed.take(session.start(monotonic()))
        try:
            await feed.is_over.wait()
        except asyncio.CancelledError:
            feed.take(session.close(monotonic()))
            await feed.is_over.wait()

    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    asyncio.run(run())
    if session.failure is not None:
        sys.exit(str(session.failure))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1])
    else:
        with topone_simulator.run_in_thread(rate=5) as simulator:
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
            signal.alarm(5)
            main(simulator.url)
