"""The core in a program of its own: blocking code, one thread, a WebSocket library of your choice.

docs/embedding.md explains this file step by step. ``python embedded.py`` runs it for a while
against a simulated exchange.
"""

# step 1: a session
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

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
    failure_from_exception,
    failure_from_response,
)


class EmbeddedFeed:
    def __init__(self, token: str, url: str, config: SessionConfig | None = None) -> None:
        self.session = Session(
            [ORDERS, BALANCE],
            endpoint=Endpoint(url),
            token=Token(token),
            config=config,
            jitter=random.random,
        )
        self.websocket: ClientConnection | None = None
        self.connection = ExitStack()
        self.deadline: float | None = None
        self.ping = b""

    # step 2: the loop
    def __iter__(self) -> Iterator[Event]:
        yield from self.take(self.session.start(time.monotonic()))
        while self.session.state is not SessionState.CLOSED:
            yield from self.take(self.wait())

    # step 3: carry out a step
    def take(self, step: Step) -> Iterator[Event]:
        self.deadline = step.deadline
        dialled: Step | None = None
        for action in step.actions:
            match action:
                case Connect():
                    dialled = self.dial(action)
                case SendText(text=text):
                    self.send_text(text)
                case SendPing(payload=payload):
                    self.send_ping(payload)
                case Close():
                    self.hang_up(action)
        yield from step.events
        if dialled is not None:
            yield from self.take(dialled)

    # step 4: dial
    def dial(self, action: Connect) -> Step:
        endpoint = action.endpoint
        try:
            dial = connect(
                action.url(),
                sock=socket.create_connection((endpoint.host, endpoint.port), action.timeout),
                additional_headers=endpoint.headers,
                max_size=action.max_frame_size,
                ping_interval=None,
            )
            self.websocket = self.connection.enter_context(dial)
        except InvalidStatus as refusal:
            answer = refusal.response
            failure = failure_from_response(answer.status_code, answer.headers.raw_items())
        except Exception as error:  # noqa: BLE001 - a dial can fail in any way
            failure = failure_from_exception(error)
        else:
            return self.session.connection_made(time.monotonic())
        return self.session.connection_failed(failure, time.monotonic())

    # step 5: wait for whatever comes first
    def wait(self) -> Step:
        patience = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        if self.websocket is None:
            time.sleep(patience or 0.0)
            return self.session.deadline_reached(time.monotonic())
        try:
            frame = self.websocket.recv(timeout=patience, decode=False)
        except TimeoutError:
            return self.time_is_up()
        except ConnectionClosed as end:
            self.let_go()
            code, reason = (end.rcvd.code, end.rcvd.reason) if end.rcvd else (None, "")
            return self.session.connection_lost(code, reason, time.monotonic())
        return self.session.message_received(frame, time.monotonic())

    # step 6: send, and hear of pongs
    def send_text(self, text: str) -> None:
        with suppress(ConnectionClosed):  # `wait` finds the same, and reports it
            self.open_websocket.send(text)

    def send_ping(self, payload: bytes) -> None:
        with suppress(ConnectionClosed):
            self.pong = self.open_websocket.ping(payload)
            self.ping = payload

    def time_is_up(self) -> Step:
        if self.ping and self.pong.is_set():
            payload, self.ping = self.ping, b""
            return self.session.pong_received(payload, time.monotonic())
        return self.session.deadline_reached(time.monotonic())

    @property
    def open_websocket(self) -> ClientConnection:
        assert self.websocket is not None, "there is one from connection_made on"
        return self.websocket

    # step 7: the end
    def hang_up(self, close: Close) -> None:
        if self.websocket is not None:
            if not close.timeout:
                with suppress(OSError):
                    self.websocket.socket.shutdown(socket.SHUT_RDWR)
            self.websocket.close_timeout = close.timeout
            self.websocket.close(close.code, close.reason)
            self.let_go()

    def let_go(self) -> None:
        self.websocket = None
        self.connection.close()

    def close(self) -> tuple[Event, ...]:
        return tuple(self.take(self.session.close(time.monotonic())))


# step 8: run it
def main(seconds: float = 5) -> None:
    import topone_simulator  # noqa: PLC0415 - the program itself does not need it

    with topone_simulator.run_in_thread(rate=5) as simulator:
        feed = EmbeddedFeed("demo", simulator.url)
        until = time.monotonic() + seconds
        for event in feed:
            print(event)
            if time.monotonic() > until:
                break
        print(*feed.close())


if __name__ == "__main__":
    main()
