"""gevent: a greenlet reads each connection.

The framework: greenlets, timers, patched sockets.
The core: when to dial, ping, wait and give up, what to send, what was missed; TLS and WebSocket.
"""

from gevent import monkey

monkey.patch_all()

import os
import random
import signal
import socket
import sys
from contextlib import suppress
from threading import Event, Lock
from time import monotonic
from typing import Any

import gevent

import topone_simulator
from topone_proto import BALANCE, ORDERS, Endpoint, Session, SessionConfig, Token
from topone_proto.adapters import CallbackDriver
from topone_websockets import StreamLink, over_streams


class Stream:
    """One TCP connection, in a greenlet of its own from its dial to its end."""

    def __init__(self, link: StreamLink) -> None:
        self.link, self.sending = link, Lock()
        # A socket from the time on that something can be sent.
        self.sock: Any = None
        gevent.spawn(self.read)

    def read(self) -> None:
        try:
            self.sock = socket.create_connection(self.link.address, self.link.timeout)
        except OSError as error:
            self.link.connection_lost(error)
            return
        self.sock.settimeout(None)
        self.link.connection_made()
        while data := self.receive():
            self.link.bytes_received(data)
        self.link.connection_lost()

    def receive(self) -> bytes:
        # Here alone: what the application raises is no end of the connection.
        data = b""
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            self.link.connection_lost(error)
        return data

    def write(self, data: bytes) -> None:
        try:
            with self.sending, gevent.Timeout(self.link.timeout, TimeoutError):
                self.sock.sendall(data)
        except OSError:
            # Nothing can follow a half of it. Reading finds the end, after all that was received.
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        if self.sock is not None:
            self.sock.close()


def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""
    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    is_over = Event()
    driver = CallbackDriver(
        session,
        dial=over_streams(Stream),
        clock=monotonic,
        call_later=gevent.spawn_later,
        on_event=print,
        on_end=is_over.set,
    )
    gevent.signal_handler(signal.SIGINT, driver.close)
    driver.start()
    is_over.wait()
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
