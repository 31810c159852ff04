"""A loop that polls, in one thread: sockets and a selector.

The framework: sockets, and a wait for whichever is ready first.
The core: when to dial, ping, wait and give up, what to send, what was missed; TLS and WebSocket.
"""

# step 1: a connection
import os
import random
import selectors
import signal
import socket
import sys
from contextlib import suppress
from time import monotonic

import topone_simulator
from topone_proto import BALANCE, ORDERS, Endpoint, Session, SessionConfig, Token
from topone_proto.adapters import CallbackDriver
from topone_websockets import StreamLink, over_streams

selector = selectors.DefaultSelector()


class Stream:
    """One TCP connection: what moves its bytes."""

    def __init__(self, link: StreamLink) -> None:
        self.link = link
        # An error is a dial that failed.
        self.sock = socket.create_connection(link.address, link.timeout)
        selector.register(self.sock, selectors.EVENT_READ, self)
        link.connection_made()

    def read(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            self.link.connection_lost(error)
        else:
            # Not above: what the application raises is no end of the connection.
            self.link.bytes_received(data)

    def write(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            # Nothing can follow a half of it. Reading finds the end, after all that was received.
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        if self.sock.fileno() >= 0:
            selector.unregister(self.sock)
            self.sock.close()


# step 2: the loop
def run(driver: CallbackDriver) -> None:
    while not driver.is_over:
        for key, _ in selector.select(driver.timeout()):
            key.data.read()
        # Harmless when it is too early for that.
        driver.deadline_reached()


# step 3: a feed
def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""
    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    driver = CallbackDriver(session, dial=over_streams(Stream), clock=monotonic, on_event=print)
    driver.start()
    try:
        run(driver)
    except KeyboardInterrupt:
        driver.close()
        run(driver)
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
