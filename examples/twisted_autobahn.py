"""Twisted, with the WebSocket protocol of autobahn.

The framework: connections, TLS, handshakes, messages, timers.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

import os
import random
import signal
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import error
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS

import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
    Close,
    Closed,
    Connect,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    SendPing,
    SendText,
    Session,
    SessionConfig,
    Step,
    Token,
)
from topone_proto.adapters import failure_from_response

reactor: Any = the_reactor
KINDS = {
    error.ConnectionRefusedError: FailureKind.REFUSED,
    error.DNSLookupError: FailureKind.DNS,
    error.TimeoutError: FailureKind.TIMEOUT,
}


class TwistedFeed:
    """Calls ``on_event`` in the reactor's thread."""

    def __init__(self, session: Session, on_event: Callable[[Event], object]) -> None:
        self.session, self.on_event = session, on_event
        self.alarm: Any = None
        self.dialling: Deferred[Any] = Deferred()
        self.link: Link | None = None

    def take(self, step: Step) -> None:
        # First: an action may tell the session something at once, and what it says then is newer.
        if self.alarm is not None and self.alarm.active():
            self.alarm.cancel()
        if step.deadline is not None:
            self.alarm = reactor.callLater(max(0.0, step.deadline - monotonic()), self.wake)
        for action in step.actions:
            match action:
                case Connect():
                    self.dial(action)
                case SendText(text=text) if self.link is not None:
                    self.link.sendMessage(text.encode())
                case SendPing(payload=payload) if self.link is not None:
                    self.link.sendPing(payload)
                case Close() if self.link is not None:
                    self.hang_up(action, self.link)
        for event in step.events:
            self.on_event(event)

    def wake(self) -> None:
        self.take(self.session.deadline_reached(monotonic()))

    def dial(self, job: Connect) -> None:
        endpoint = job.endpoint
        link = self.link = Link(self)
        headers = dict(endpoint.headers)
        factory: Any = WebSocketClientFactory(job.url(), headers=headers)
        factory.noisy, factory.protocol = False, lambda: link
        factory.setProtocolOptions(maxMessagePayloadSize=job.max_frame_size, openHandshakeTimeout=0)
        tcp: Any = HostnameEndpoint(reactor, endpoint.host, endpoint.port, job.timeout)
        if endpoint.is_tls:
            tcp = wrapClientTLS(optionsForClientTLS(endpoint.host), tcp)
        self.dialling = tcp.connect(factory).addErrback(link.dial_failed)

    def hang_up(self, close: Close, link: "Link") -> None:
        self.link = None
        self.dialling.cancel()
        if close.timeout and link.state == link.STATE_OPEN:
            link.closeHandshakeTimeout = close.timeout
            link.sendClose(close.code, close.reason)
        elif link.transport is not None:
            link.transport.abortConnection()

    def close(self) -> "Deferred[Any] | None":
        link = self.link
        self.take(self.session.close(monotonic()))
        return None if link is None or link.transport is None else link.is_closed


class Link(WebSocketClientProtocol):
    """One connection, from its dial on. What it tells counts until it was given up."""

    closeHandshakeTimeout: float

    def __init__(self, feed: TwistedFeed) -> None:
        super().__init__()
        self.feed, self.session = feed, feed.session

    def tell(self, by: Callable[..., Step], *what: object) -> None:
        if self.feed.link is self:
            self.feed.take(by(*what, monotonic()))

    def dial_failed(self, reason: Any) -> None:
        kind = KINDS.get(type(reason.value), FailureKind.NETWORK)
        self.tell(self.session.connection_failed, Failure(kind))

    def onOpen(self) -> None:
        self.tell(self.session.connection_made)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.tell(self.session.message_received, payload)

    def onPong(self, payload: bytes) -> None:
        self.tell(self.session.pong_received, payload)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        answer = getattr(self, "http_status_line", "").split()
        if len(answer) > 1 and answer[1].isdigit() and answer[1] != "101":
            failure = failure_from_response(int(answer[1]), self.http_headers.items())
            self.tell(self.session.connection_failed, failure)
        else:
            self.tell(self.session.connection_lost, code, reason or "")


def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""

    def on_event(event: Event) -> None:
        print(event)
        if isinstance(event, Closed) and event.failure is not None:
            reactor.stop()

    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    feed = TwistedFeed(session, on_event)
    reactor.callWhenRunning(lambda: feed.take(session.start(monotonic())))
    reactor.addSystemEventTrigger("before", "shutdown", feed.close)
    reactor.run()
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
