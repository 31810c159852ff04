"""Tornado and its own WebSocket client.

The framework: connections, handshakes, messages, timers.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

import asyncio
import os
import random
import signal
import sys
from contextlib import suppress
from time import monotonic
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, websocket_connect

import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
    Connect,
    Endpoint,
    Failure,
    Session,
    SessionConfig,
    Token,
)
from topone_proto.adapters import (
    CallbackDriver,
    Link,
    failure_from_exception,
    failure_from_response,
)


class WebSocket:
    """One connection, from its dial on."""

    def __init__(self, connect: Connect, link: Link) -> None:
        self.link = link
        # A WebSocketClientConnection from the time on that something can be sent, and its stream.
        self.websocket: Any = None
        self.stream: Any = None
        IOLoop.current().spawn_callback(self.talk, connect)

    async def talk(self, connect: Connect) -> None:
        # Tornado's time is up later than the session's, and only for what the session gave up.
        request = HTTPRequest(
            connect.url(),
            headers=dict(connect.endpoint.headers),
            request_timeout=connect.timeout + 1,
        )
        try:
            limit = connect.max_frame_size
            self.websocket = await websocket_connect(request, max_message_size=limit)
        except Exception as error:  # noqa: BLE001 - a dial can fail in any way
            self.link.connection_failed(failure_of(error))
            return
        self.stream = self.websocket.protocol.stream
        self.websocket.on_pong = self.link.pong_received
        self.link.connection_made()
        while (message := await self.websocket.read_message()) is not None:
            self.link.message_received(message)
        self.link.connection_lost(self.websocket.close_code, self.websocket.close_reason or "")

    def send_text(self, text: str) -> None:
        with suppress(WebSocketClosedError):
            self.websocket.write_message(text).add_done_callback(asyncio.Future.exception)

    def send_ping(self, payload: bytes) -> None:
        with suppress(WebSocketClosedError):
            self.websocket.ping(payload)

    def close(self, code: int, reason: str) -> None:
        self.websocket.close(code, reason)

    def abort(self) -> None:
        if self.websocket is not None:
            self.stream.close()
            self.websocket.close()


def failure_of(error: Exception) -> Failure:
    if isinstance(error, HTTPClientError) and error.response is not None:
        return failure_from_response(error.response.code, error.response.headers.get_all())
    if isinstance(error, StreamClosedError) and error.real_error is not None:
        return failure_from_exception(error.real_error)
    return failure_from_exception(error)


def main(url: str, config: SessionConfig | None = None) -> None:
    """Print events until Ctrl-C."""

    async def run() -> None:
        is_over = asyncio.Event()
        driver = CallbackDriver(
            session,
            dial=WebSocket,
            clock=monotonic,
            call_later=IOLoop.current().call_later,
            on_event=print,
            on_end=is_over.set,
        )
        driver.start()
        try:
            await is_over.wait()
        except asyncio.CancelledError:
            driver.close()
            await is_over.wait()

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
