"""Qt, by PySide6: QWebSocket and QTimer.

The framework: connections, TLS, handshakes, messages, timers.
The core: when to dial, ping, wait and give up, what to send, what was missed.
"""

import os
import random
import re
import signal
import sys
from collections.abc import Callable
from time import monotonic

from PySide6.QtCore import QByteArray, QObject, Qt, QTimer, QUrl
from PySide6.QtNetwork import QAbstractSocket, QNetworkRequest
from PySide6.QtWebSockets import QWebSocket, QWebSocketProtocol
from PySide6.QtWidgets import QApplication, QPlainTextEdit

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
    SessionState,
    Step,
    Token,
)
from topone_proto.adapters import failure_from_response

KINDS = {
    QAbstractSocket.SocketError.ConnectionRefusedError: FailureKind.REFUSED,
    QAbstractSocket.SocketError.HostNotFoundError: FailureKind.DNS,
    QAbstractSocket.SocketError.RemoteHostClosedError: FailureKind.LOST,
    QAbstractSocket.SocketError.SslHandshakeFailedError: FailureKind.TLS,
}


class QtFeed(QObject):
    """Calls ``on_event`` in the thread that it lives in."""

    def __init__(self, session: Session, on_event: Callable[[Event], object]) -> None:
        super().__init__()
        self.session, self.on_event = session, on_event
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.timeout.connect(lambda: self.take(session.deadline_reached(monotonic())))
        # The one that counts, from its dial to its end.
        self.websocket: QWebSocket | None = None

    def take(self, step: Step) -> None:
        # First: an action may tell the session something at once, and what it says then is newer.
        if step.deadline is None:
            self.timer.stop()
        else:
            self.timer.start(max(1, round((step.deadline - monotonic()) * 1000)))
        for action in step.actions:
            match action:
                case Connect():
                    self.dial(action)
                case SendText(text=text) if self.websocket is not None:
                    self.websocket.sendTextMessage(text)
                case SendPing(payload=payload) if self.websocket is not None:
                    self.websocket.ping(QByteArray(payload))
                case Close() if self.websocket is not None:
                    self.hang_up(action, self.websocket)
        for event in step.events:
            self.on_event(event)

    def dial(self, job: Connect) -> None:
        session = self.session
        websocket = self.websocket = QWebSocket(parent=self)
        websocket.setMaxAllowedIncomingMessageSize(job.max_frame_size)

        def tell(by: Callable[..., Step], *what: object) -> None:
            if self.websocket is websocket:
                self.take(by(*what, monotonic()))

        def end(by: Callable[..., Step], *what: object) -> None:
            tell(by, *what)
            if self.websocket is websocket:
                self.websocket = None
            websocket.deleteLater()

        def failed(error: QAbstractSocket.SocketError) -> None:
            end(session.connection_failed, failure_of(error, websocket.errorString()))

        def disconnected() -> None:
            # While dialling there is an error as well, which says more.
            if self.websocket is not websocket or session.state is not SessionState.CONNECTING:
                end(session.connection_lost, websocket.closeCode().value, websocket.closeReason())

        websocket.connected.connect(lambda: tell(session.connection_made))
        websocket.textMessageReceived.connect(lambda text: tell(session.message_received, text))
        websocket.pong.connect(lambda _, payload: tell(session.pong_received, payload.data()))
        # Later, as sending may find the end at once: its events come behind those of that step.
        websocket.errorOccurred.connect(failed, Qt.ConnectionType.QueuedConnection)
        websocket.disconnected.connect(disconnected, Qt.ConnectionType.QueuedConnection)
        request = QNetworkRequest(QUrl(job.url()))
        for name, text in job.endpoint.headers:
            request.setRawHeader(name.encode(), text.encode())
        websocket.open(request)

    def hang_up(self, close: Close, websocket: QWebSocket) -> None:
        self.websocket = None
        QTimer.singleShot(round(close.timeout * 1000), websocket, websocket.abort)
        if close.timeout:
            websocket.close(QWebSocketProtocol.CloseCode(close.code), close.reason)


def failure_of(error: QAbstractSocket.SocketError, text: str) -> Failure:
    """Of the server's answer Qt tells in words only, and nothing of its headers."""
    status = re.search(r"status code: (\d{3})", text)
    if status is not None or "WWW-Authenticate" in text:
        return failure_from_response(int(status[1]) if status else 401, ())
    kind = KINDS.get(error, FailureKind.NETWORK)
    if kind is FailureKind.REFUSED and "handshake" in text:
        kind = FailureKind.NOT_WEBSOCKET
    return Failure(kind)


def main(url: str, config: SessionConfig | None = None) -> None:
    """Show events in a window, and print them, until it is closed or Ctrl-C."""

    def on_event(event: Event) -> None:
        print(event)
        window.appendPlainText(str(event))
        if isinstance(event, Closed) and event.failure is not None:
            app.quit()

    def close() -> None:
        websocket = feed.websocket
        feed.take(session.close(monotonic()))
        if websocket is None:
            app.quit()
        else:
            websocket.disconnected.connect(app.quit)

    app = QApplication([])
    app.setQuitOnLastWindowClosed(False)
    app.lastWindowClosed.connect(close)
    window = QPlainTextEdit(readOnly=True)
    window.show()
    session = Session(
        [ORDERS, BALANCE],
        endpoint=Endpoint(url),
        token=Token(os.environ.get("TOPONE_TOKEN", "demo")),
        config=config,
        jitter=random.random,
    )
    feed = QtFeed(session, on_event)
    feed.take(session.start(monotonic()))
    # Later: a handler runs in the middle of whatever Python does.
    signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, close))
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
