"""Qt, by PySide6: QWebSocket and QTimer.

The framework: connections, TLS, handshakes, messages, timers.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

import math
import os
import random
import re
import signal
import sys
from collections.abc import Callable
from time import monotonic

from PySide6.QtCore import QByteArray, Qt, QTimer, QUrl
from PySide6.QtNetwork import QAbstractSocket, QNetworkRequest
from PySide6.QtWebSockets import QWebSocket, QWebSocketProtocol
from PySide6.QtWidgets import QApplication, QPlainTextEdit

import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
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

KINDS = {
    QAbstractSocket.SocketError.ConnectionRefusedError: FailureKind.REFUSED,
    QAbstractSocket.SocketError.HostNotFoundError: FailureKind.DNS,
    QAbstractSocket.SocketError.RemoteHostClosedError: FailureKind.LOST,
    QAbstractSocket.SocketError.SslHandshakeFailedError: FailureKind.TLS,
}


class WebSocket:
    """One connection, from its dial on."""

    def __init__(self, connect: Connect, link: Link) -> None:
        self.link = link
        self.websocket = websocket = QWebSocket(parent=QApplication.instance())
        websocket.setMaxAllowedIncomingMessageSize(connect.max_frame_size)
        websocket.connected.connect(link.connection_made)
        websocket.textMessageReceived.connect(link.message_received)
        websocket.pong.connect(lambda _, payload: link.pong_received(payload.data()))
        # Later, as sending may find the end at once: it comes behind what was received.
        websocket.errorOccurred.connect(self.failed, Qt.ConnectionType.QueuedConnection)
        websocket.disconnected.connect(self.lost, Qt.ConnectionType.QueuedConnection)
        request = QNetworkRequest(QUrl(connect.url()))
        for name, text in connect.endpoint.headers:
            request.setRawHeader(name.encode(), text.encode())
        websocket.open(request)

    def failed(self, error: QAbstractSocket.SocketError) -> None:
        self.link.connection_failed(failure_of(error, self.websocket.errorString()))

    def lost(self) -> None:
        websocket = self.websocket
        # While dialling there is an error as well, which says more.
        if self.link.is_open:
            self.link.connection_lost(websocket.closeCode().value, websocket.closeReason())

    def send_text(self, text: str) -> None:
        self.websocket.sendTextMessage(text)

    def send_ping(self, payload: bytes) -> None:
        self.websocket.ping(QByteArray(payload))

    def close(self, code: int, reason: str) -> None:
        self.websocket.close(QWebSocketProtocol.CloseCode(code), reason)

    def abort(self) -> None:
        self.websocket.abort()
        self.websocket.deleteLater()


def failure_of(error: QAbstractSocket.SocketError, text: str) -> Failure:
    """Of the server's answer Qt tells in words only, and nothing of its headers."""
    status = re.search(r"status code: (\d{3})", text)
    if status is not None or "WWW-Authenticate" in text:
        return failure_from_response(int(status[1]) if status else 401, ())
    kind = KINDS.get(error, FailureKind.NETWORK)
    if kind is FailureKind.REFUSED and "handshake" in text:
        kind = FailureKind.NOT_WEBSOCKET
    return Failure(kind)


def call_later(seconds: float, function: Callable[[], None]) -> None:
    QTimer.singleShot(math.ceil(seconds * 1000), function)


def main(url: str, config: SessionConfig | None = None) -> None:
    """Show events in a window, and print them, until it is closed or Ctrl-C."""

    def on_event(event: Event) -> None:
        print(event)
        window.appendPlainText(str(event))

    app = QApplication([])
    app.setQuitOnLastWindowClosed(False)
    window = QPlainTextEdit(readOnly=True)
    window.show()
    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    driver = CallbackDriver(
        session,
        dial=WebSocket,
        clock=monotonic,
        call_later=call_later,
        on_event=on_event,
        on_end=app.quit,
    )
    app.lastWindowClosed.connect(driver.close)
    driver.start()
    # Later: a handler runs in the middle of whatever Python does.
    signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, driver.close))
    # Python looks after signals when it runs, and Qt alone does not let it.
    ticker = QTimer(interval=100)
    ticker.timeout.connect(lambda: None)
    ticker.start()
    app.exec()
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
