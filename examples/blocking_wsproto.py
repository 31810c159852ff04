"""Blocking sockets and wsproto, in one thread.

The framework: sockets with time limits, TLS; frames and handshakes as bytes.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

# step 1: a session
import os
import random
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import wsproto
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.events import Event as Frame
from wsproto.utilities import ProtocolError

import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
    Close,
    Connect,
    Endpoint,
    Event,
    SendPing,
    SendText,
    Session,
    SessionConfig,
    SessionState,
    Step,
    Token,
)
from topone_proto.adapters import failure_from_exception, failure_from_response


class BlockingFeed:
    """Iterate over it for events."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.deadline: float | None = None
        self.job: Connect | None = None
        self.sock: socket.socket | None = None

    # step 2: the loop
    def __iter__(self) -> Iterator[Event]:
        yield from self.take(self.session.start(time.monotonic()))
        while self.session.state is not SessionState.CLOSED:
            for step in self.wait():
                yield from self.take(step)

    # step 3: carry out a step
    def take(self, step: Step) -> Iterator[Event]:
        self.deadline = step.deadline
        for action in step.actions:
            match action:
                case Connect():
                    self.job = action
                case SendText(text=text):
                    self.send(TextMessage(text))
                case SendPing(payload=payload):
                    self.send(Ping(payload))
                case Close():
                    self.hang_up(action)
        yield from step.events

    # step 4: dial
    def dial(self, job: Connect) -> None:
        self.job, self.text, self.limit, self.patience = None, "", job.max_frame_size, job.timeout
        self.websocket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        address = job.endpoint.host, job.endpoint.port
        self.sock = socket.create_connection(address, job.timeout)
        if job.endpoint.is_tls:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=job.endpoint.host)
        headers = [(name.encode(), text.encode()) for name, text in job.endpoint.headers]
        self.send(Request(job.endpoint.authority, job.target(), extra_headers=headers))

    def send(self, frame: Frame) -> None:
        # On a connection that has ended: `wait` finds the same, behind all that was received.
        with suppress(OSError, ProtocolError):
            if self.sock is not None:
                try:
                    # Not as little as is left to wait for a frame: half of one may be sent by then.
                    self.sock.settimeout(self.patience)
                    self.sock.sendall(self.websocket.send(frame))
                except OSError:
                    # Nothing can be sent behind that half. Below TLS, which is needed to read on.
                    socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    # step 5: wait for whatever comes first
    def wait(self) -> Iterator[Step]:
        patience = None if self.deadline is None else max(0.001, self.deadline - time.monotonic())
        try:
            if self.job is not None:
                self.dial(self.job)
            if self.sock is None:
                time.sleep(patience or 0.0)
            else:
                self.sock.settimeout(patience)
                self.websocket.receive_data(self.sock.recv(65536) or None)
                for frame in self.websocket.events():
                    yield from self.receive(frame, time.monotonic())
        except TimeoutError:
            pass
        except (OSError, ProtocolError) as error:
            self.let_go()
            yield self.session.connection_failed(failure_from_exception(error), time.monotonic())
        # Harmless when it is too early for that.
        yield self.session.deadline_reached(time.monotonic())

    # step 6: hear what came
    def receive(self, frame: Frame, now: float) -> Iterator[Step]:
        match frame:
            case AcceptConnection():
                yield self.session.connection_made(now)
            case RejectConnection(status_code=status, headers=headers):
                self.let_go()
                texts = ((name.decode("latin-1"), text.decode("latin-1")) for name, text in headers)
                yield self.session.connection_failed(failure_from_response(status, texts), now)
            case Message(data=data, message_finished=is_whole):
                self.text += data if isinstance(data, str) else data.decode(errors="replace")
                if len(self.text) > self.limit:
                    self.let_go()
                    yield self.session.connection_lost(None, "a message was too large", now)
                elif is_whole:
                    text, self.text = self.text, ""
                    yield self.session.message_received(text, now)
            case Ping():
                self.send(frame.response())
            case Pong(payload=payload):
                yield self.session.pong_received(bytes(payload), now)
            case CloseConnection(code=code, reason=reason):
                self.send(frame.response())
                self.let_go()
                yield self.session.connection_lost(code, reason or "", now)
            case _:
                pass  # the rest of an answer that was no

    # step 7: the end
    def hang_up(self, close: Close) -> None:
        until = time.monotonic() + close.timeout
        if self.sock is not None and close.timeout and self.websocket.state.name == "OPEN":
            self.patience = close.timeout
            self.send(CloseConnection(close.code, close.reason))
            with suppress(OSError):
                while (patience := until - time.monotonic()) > 0:
                    self.sock.settimeout(patience)
                    if not self.sock.recv(65536):
                        break
        self.let_go()

    def let_go(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock = self.job = None

    def close(self) -> Iterator[Event]:
        return self.take(self.session.close(time.monotonic()))


# step 8: run it
def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""
    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    feed = BlockingFeed(session)
    try:
        for event in feed:
            print(event)
    except KeyboardInterrupt:
        for event in feed.close():
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
