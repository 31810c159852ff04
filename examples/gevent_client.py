"""gevent: a greenlet for each connection talks, another one drives the session.

The framework: greenlets, queues, patched sockets and TLS; websockets: handshakes, messages.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

from gevent import monkey

monkey.patch_all()

import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from threading import Event as Flag
from time import monotonic
from typing import Any

import gevent
from gevent import Greenlet
from gevent.queue import Empty, Queue
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

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

Input = tuple[Any, ...]
"""Of which dial or connection, or None; a method of the session; what it takes but for the time."""


class GeventFeed:
    """Iterate over it for events, in any greenlet."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.deadline: float | None = None
        self.talker: Greenlet[..., None] = Greenlet()
        self.websocket: ClientConnection | None = None
        # The dial or connection that counts. What comes late of another is not told.
        self.job: Connect | None = None
        self.inbox: Queue[Input] = Queue(64)

    def __iter__(self) -> Iterator[Event]:
        yield from self.take(self.session.start(monotonic()))
        while self.session.state is not SessionState.CLOSED:
            patience = None if self.deadline is None else max(0.0, self.deadline - monotonic())
            heard: Input = (None, self.session.deadline_reached)
            with suppress(Empty):
                heard = self.inbox.get(timeout=patience)
            job, by, *what = heard
            if job is None or job is self.job:
                yield from self.take(by(*what, monotonic()))
            if self.deadline is not None and self.deadline <= monotonic():
                # Also while there is always something in the inbox.
                yield from self.take(self.session.deadline_reached(monotonic()))

    def take(self, step: Step) -> Iterator[Event]:
        self.deadline = step.deadline
        for action in step.actions:
            with suppress(ConnectionClosed):  # `talk` finds the same, and reports it
                match action:
                    case Connect():
                        self.job, self.websocket = action, None
                        self.talker = gevent.spawn(self.talk, action)
                    case SendText(text=text) if self.websocket is not None:
                        self.websocket.send(text)
                    case SendPing(payload=payload) if self.websocket is not None:
                        pong = self.websocket.ping(payload)
                        gevent.spawn(self.listen, self.job, pong, payload)
                    case Close():
                        self.hang_up(action)
        yield from step.events

    def talk(self, job: Connect) -> None:
        session, put = self.session, self.inbox.put
        address = job.endpoint.host, job.endpoint.port
        try:
            with connect(
                job.url(),
                sock=socket.create_connection(address, job.timeout),  # so it follows nothing
                additional_headers=job.endpoint.headers,
                max_size=job.max_frame_size,
                open_timeout=None,
                ping_interval=None,
            ) as self.websocket:
                put(
                    (
                        job,
                        session.connection_made,
                    )
                )
                while True:
                    put((job, session.message_received, self.websocket.recv(decode=False)))
        except ConnectionClosed as end:
            code, reason = (end.rcvd.code, end.rcvd.reason) if end.rcvd else (None, "")
            put((job, session.connection_lost, code, reason))
        except Exception as error:  # noqa: BLE001 - a dial can fail in any way
            put((job, session.connection_failed, failure_of(error)))

    def listen(self, job: Connect | None, pong: Flag, payload: bytes) -> None:
        if pong.wait(60):
            self.inbox.put((job, self.session.pong_received, payload))

    def hang_up(self, close: Close) -> None:
        self.job = None
        if self.websocket is not None:
            self.websocket.close_timeout = close.timeout
            if close.timeout:
                self.websocket.close(close.code, close.reason)
            else:
                with suppress(OSError):
                    self.websocket.socket.shutdown(socket.SHUT_RDWR)
        self.talker.kill()

    def close(self) -> None:
        self.inbox.put((None, self.session.close))


def failure_of(error: Exception) -> Failure:
    # A redirect comes as the context of the refusal to follow it.
    for cause in (error, error.__context__):
        if isinstance(cause, InvalidStatus):
            answer = cause.response
            return failure_from_response(answer.status_code, answer.headers.raw_items())
    return failure_from_exception(error)


def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""
    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    feed = GeventFeed(session)
    gevent.signal_handler(signal.SIGINT, feed.close)
    for event in feed:
        print(event)
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
