"""One dial of a framework of callbacks: its WebSocket, and the reports that it makes.

Theory. A ``Link`` is handed to each dial, and the framework reports through it what becomes of the
dial. So the driver knows of every report which dial it is about. Of the *current* link everything
is passed on, and of any other one only its end, for which the driver may wait. A dial that was
given up and succeeds all the same is aborted.

A framework may report before its ``dial`` has returned. There is no WebSocket yet by which a report
could be answered, so these reports are kept, and passed on in order once there is one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from topone_proto.failures import Failure
from topone_proto.feed.machine import Machine
from topone_proto.session.actions import Connect, SendPing, SendText
from topone_proto.session.failures import failure_from_exception

__all__ = ["CallbackWebSocket", "Dial", "Link", "LinkDriver"]


class CallbackWebSocket(Protocol):
    """One WebSocket of a framework, from its dial on, as the driver uses it. No method waits.

    The framework adds nothing of its own: no pings, no redirects, no retries. Sending on a
    connection that has ended does nothing: its end is reported after what was received before.
    """

    def send_text(self, text: str) -> object:
        """Send a text message."""
        ...

    def send_ping(self, payload: bytes) -> object:
        """Send a ping frame."""
        ...

    def close(self, code: int, reason: str) -> object:
        """Send a close frame. The link's ``connection_lost`` says when the peer has answered;
        ``abort`` follows if that takes too long."""
        ...

    def abort(self) -> object:
        """End the dial or the connection, whichever there is, and release what it holds. Called
        once it has ended in any other way, too, and again if a dial succeeds after it."""
        ...


class LinkDriver(Protocol):
    """A driver as its links use it; ``CallbackDriver`` is one."""

    @property
    def machine(self) -> Machine[Any]:
        """Takes the reports."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time in seconds."""
        ...

    def is_current(self, link: "Link") -> bool:
        """Return True for the link whose reports count."""
        ...

    def tell(self, report: Callable[..., Any], *what: object) -> object:
        """Call an input of the machine with the present time, and carry out its step."""
        ...

    def take_frame(self, frame: str | bytes) -> object:
        """Take a frame of the current link in."""
        ...

    def link_ended(self, link: "Link", report: Callable[..., Any], *what: object) -> object:
        """Take the end of a link in."""
        ...


class Link:
    """The reports of one dial and of the connection that comes of it, made by its ``dial``. Each
    method is a callback for the framework. None raises, whatever it is told, but for a fault of the
    program."""

    def __init__(self, driver: LinkDriver) -> None:
        self._driver = driver
        self._machine = driver.machine
        self._websocket: CallbackWebSocket | None = None
        # What was reported before the dial returned.
        self._early: list[Callable[[], object]] = []
        self._heard_at: float | None = None
        self.is_open: bool = False
        """True once the connection was made, and ever after."""

    def connection_made(self) -> None:
        """The WebSocket is open."""
        if self._driver.is_current(self):
            self.is_open = True
        self._report(self._made)

    def connection_failed(self, why: Failure | BaseException) -> None:
        """The dial failed, or the connection did. An exception is enough where the framework raises
        one: see ``failure_from_exception``. For the answer to a handshake take
        ``failure_from_response``."""
        failure = why if isinstance(why, Failure) else failure_from_exception(why)
        self._report(partial(self._ended, self._machine.connection_failed, failure))

    def connection_lost(self, code: int | None = None, reason: str = "") -> None:
        """The connection has ended, or the dial has, and nobody says how.

        Args:
            code: the peer's close code; None, 1005 or 1006 without one.
            reason: the peer's close reason.
        """
        self._report(partial(self._ended, self._machine.connection_lost, code, reason))

    def message_received(self, frame: str | bytes) -> None:
        """A text frame came, as text or as its UTF-8 bytes."""
        if self._websocket is None:
            self._early.append(partial(self.message_received, frame))
        elif self._driver.is_current(self):
            self._driver.take_frame(frame)

    def pong_received(self, payload: bytes) -> None:
        """The pong of a ``send_ping`` came."""
        self._report(partial(self._tell, self._machine.pong_received, payload))

    def bytes_received(self) -> None:
        """Bytes came, be they a part of a frame or a control frame. Optional: with it a large frame
        on a slow line is not taken for silence."""
        self._heard_at = self._driver.clock()

    # Of the driver.

    def attach(self, websocket: CallbackWebSocket) -> None:
        """Take what ``dial`` has returned, and the reports that it made before."""
        self._websocket = websocket
        if not self._driver.is_current(self):
            websocket.abort()
        early, self._early = self._early, []
        for report in early:
            report()

    def carry_out(self, action: SendText | SendPing) -> None:
        """Send something."""
        if self._websocket is None:
            return
        if isinstance(action, SendText):
            self._websocket.send_text(action.text)
        else:
            self._websocket.send_ping(action.payload)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame."""
        if self._websocket is not None:
            self._websocket.close(code, reason)

    def abort(self) -> None:
        """End it."""
        if self._websocket is not None:
            self._websocket.abort()

    def heard_at(self) -> float | None:
        """Return when bytes last came, once; None if none came since."""
        heard_at, self._heard_at = self._heard_at, None
        return heard_at

    def _report(self, report: Callable[[], object]) -> None:
        if self._websocket is None:
            self._early.append(report)
        else:
            report()

    def _made(self) -> None:
        if self._driver.is_current(self):
            self._driver.tell(self._machine.connection_made)
        else:
            # The dial was given up, and has succeeded all the same.
            self.abort()

    def _tell(self, report: Callable[..., Any], what: object) -> None:
        if self._driver.is_current(self):
            self._driver.tell(report, what)

    def _ended(self, report: Callable[..., Any], *what: object) -> None:
        self._driver.link_ended(self, report, *what)


Dial: TypeAlias = Callable[[Connect, Link], CallbackWebSocket]
"""Starts the WebSocket that a ``Connect`` asks for, and reports to the link what becomes of it. An
``OSError`` or a ``ConnectionFailed`` that it raises is a dial that failed."""
