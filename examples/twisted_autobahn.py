"""Twisted, with the WebSocket protocol of autobahn.

The framework: connections, TLS, handshakes, messages, timers.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

import os
import random
import signal
import sys
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
    Closed,
    Connect,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    Session,
    SessionConfig,
    Token,
)
from topone_proto.adapters import CallbackDriver, Link, failure_from_response

reactor: Any = the_reactor
KINDS = {
    error.ConnectionRefusedError: FailureKind.REFUSED,
    error.DNSLookupError: FailureKind.DNS,
    error.TimeoutError: FailureKind.TIMEOUT,
}


class WebSocket(WebSocketClientProtocol):
    """One connection, from its dial on."""

    send_ping = WebSocketClientProtocol.sendPing
    close = WebSocketClientProtocol.sendClose

    def __init__(self, connect: Connect, link: Link) -> None:
        super().__init__()
        self.link, endpoint = link, connect.endpoint
        factory: Any = WebSocketClientFactory(connect.url(), headers=dict(endpoint.headers))
        factory.noisy, factory.protocol = False, lambda: self
        factory.setProtocolOptions(
            maxMessagePayloadSize=connect.max_frame_size,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
        )
        tcp: Any = HostnameEndpoint(reactor, endpoint.host, endpoint.port, connect.timeout)
        if endpoint.is_tls:
            tcp = wrapClientTLS(optionsForClientTLS(endpoint.host), tcp)
        self.dialling = tcp.connect(factory).addErrback(self.dial_failed)

    def dial_failed(self, why: Any) -> None:
        kind = KINDS.get(type(why.value), FailureKind.NETWORK)
        self.link.connection_failed(Failure(kind))

    def onOpen(self) -> None:
        self.link.connection_made()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.link.message_received(payload)

    def onPong(self, payload: bytes) -> None:
        self.link.pong_received(payload)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        answer = getattr(self, "http_status_line", "").split()
        if len(answer) > 1 and answer[1].isdigit() and answer[1] != "101":
            failure = failure_from_response(int(answer[1]), self.http_headers.items())
            self.link.connection_failed(failure)
        self.link.connection_lost(code, reason or "")

    def send_text(self, text: str) -> None:
        self.sendMessage(text.encode())

    def abort(self) -> None:
        self.dialling.cancel()
        if self.transport is not None:
            self.transport.abortConnection()


def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""

    def on_event(event: Event) -> None:
        print(event)
        if isinstance(event, Closed) and event.failure is not None:
            reactor.stop()

    def close() -> "Deferred[None]":
        driver.close()
        return is_over

    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    is_over: Deferred[None] = Deferred()
    driver = CallbackDriver(
        session,
        dial=WebSocket,
        clock=monotonic,
        call_later=reactor.callLater,
        on_event=on_event,
        on_end=lambda: is_over.callback(None),
    )
    reactor.callWhenRunning(driver.start)
    reactor.addSystemEventTrigger("before", "shutdown", close)
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
