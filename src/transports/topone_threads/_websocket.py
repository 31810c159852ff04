"""Blocking WebSockets: the one that an application may bring, and the one that it may take.

``BlockingLink`` makes a feed's link of a WebSocket that ``open_websocket=`` has opened, by two
threads. ``open_websocket`` makes a WebSocket of a link, for programs that want no feed.
"""

import errno
import math
import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Never, Protocol, Self

from topone_proto import (
    Close,
    Connect,
    ConnectionEnded,
    ConnectionFailed,
    Failure,
    SendPing,
    SendText,
)
from topone_proto.adapters import failure_from_exception
from topone_threads._io import Bell, IoThread, serve
from topone_threads._link import Link, Owner, SocketLink

__all__ = ["BlockingLink", "OpenWebSocket", "WebSocket", "open_websocket"]

# Frames that may be read before they are taken.
_AHEAD: Final = 16

# Seconds that the thread may take to end, behind the last connection.
_PATIENCE: Final = 5.0


class WebSocket(Protocol):
    """A WebSocket, from before its dial to its end.

    Once it is no longer open, every method but ``close`` and ``abort`` raises
    ``topone_proto.ConnectionEnded``. One thread receives, another one sends and closes.

    It may have an attribute ``heard_at: float | None``: when bytes of the peer came last, be they a
    part of a frame or a control frame, by ``time.monotonic``. With it a large frame on a slow line,
    or a peer that only pings, is not taken for dead.
    """

    def __enter__(self) -> Self:
        """Dial. A dial that fails raises ``topone_proto.ConnectionFailed``, or any exception that
        ``topone_proto.failure_from_exception`` can tell from others."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        """Drop the connection, and return when nothing is left of it."""
        ...

    def receive(self) -> str | bytes:
        """The next message, whole. Pings of the peer are answered on the way."""
        ...

    def send_text(self, text: str) -> None:
        """Send a text message."""
        ...

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return; its pong is reported to the ``on_pong`` of
        ``open_websocket``."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's. The caller bounds the time, by ``abort``."""
        ...

    def abort(self) -> None:
        """Drop the connection, from any thread and at any time, before and during the dial as well.

        Returns at once. Whatever waits in other threads raises then.
        """
        ...


OpenWebSocket = Callable[[Connect, Callable[[bytes], object]], WebSocket]
"""``open_websocket(connect, on_pong)``: a WebSocket that dials as ``connect`` says when its
``with`` block is entered. It may call ``on_pong`` from any thread, but not within ``abort``."""


class BlockingLink:
    """A link over a caller's blocking WebSocket: one thread reads it, and another one writes.

    What they find is posted to the I/O thread. ``_is_over`` means that nothing of it counts any
    more. The reader waits for the writer, so its end is the end of both.
    """

    def __init__(
        self, owner: Owner, connect: Connect, *, open_websocket: OpenWebSocket, max_unsent: int
    ) -> None:
        assert owner.io is not None
        self.unread: deque[str | bytes] = deque()
        self._owner, self._io = owner, owner.io
        self._post = partial(owner.io.post, owner)
        self._make = partial(open_websocket, connect, partial(self._post, self._pong_came))
        self._max_unsent = max_unsent
        self._websocket: WebSocket | None = None
        self._outbox = queue.SimpleQueue[SendText | SendPing | Close | None]()
        self._has_room = threading.Event()
        self._how: Failure | ConnectionEnded | None = None
        self._is_wanted = True
        self._is_open = self._is_over = self._is_mute = self._is_gone = False
        self._writer = threading.Thread(target=self._write, name="topone-feed-writer", daemon=True)
        self._reader = threading.Thread(target=self._read, name="topone-feed-reader", daemon=True)
        try:
            self._writer.start()
            self._reader.start()
        except RuntimeError:
            # The machine has none left, or Python is ending.
            self._outbox.put(None)
            error = OSError(errno.EAGAIN, "no thread can be started")
            self._post(self._ended, failure_from_exception(error))

    @property
    def heard_at(self) -> float | None:
        """When bytes of the peer came last, if the WebSocket says so."""
        return getattr(self._websocket, "heard_at", None)

    # The two threads.

    def _read(self) -> None:
        how: Failure | ConnectionEnded | None = None
        is_entered = False
        try:
            self._websocket = websocket = self._make()
            if self._is_over:
                websocket.abort()
            with websocket:
                is_entered = True
                try:
                    self._post(self._made)
                    self._receive(websocket)
                except ConnectionEnded as end:
                    how = end
                finally:
                    websocket.abort()
                    self._outbox.put(None)
                    self._writer.join()
        except BaseException as error:  # noqa: BLE001 - a failed dial, or a fault for the feed
            if is_entered or not isinstance(error, ConnectionFailed | OSError):
                self._post(self._owner.fail, error)
            else:
                how = failure_from_exception(error)
        finally:
            self._outbox.put(None)
            self._post(self._ended, how)

    def _receive(self, websocket: WebSocket) -> None:
        unread = self.unread
        while True:
            frame = websocket.receive()
            if self._is_over:
                continue
            unread.append(frame)
            if len(unread) == 1:
                self._post(self._offer)
            while len(unread) >= _AHEAD and not self._is_over:
                self._has_room.clear()
                if len(unread) >= _AHEAD and not self._is_over:
                    self._has_room.wait()

    def _write(self) -> None:
        try:
            while (action := self._outbox.get()) is not None:
                websocket = self._websocket
                assert websocket is not None
                match action:
                    case SendText(text=text):
                        websocket.send_text(text)
                    case SendPing(payload=payload):
                        websocket.send_ping(payload)
                    case Close(code=code, reason=reason):  # pragma: no branch
                        websocket.close(code, reason)
                        break
        except ConnectionEnded:
            # Who receives finds the same, behind what came before.
            pass
        except BaseException as fault:  # noqa: BLE001 - nobody else is there to take it
            self._post(self._owner.fail, fault)
        self._is_mute = True
        if self._is_over:
            self._abort()

    # In the I/O thread.

    def _made(self) -> None:
        if not self._is_over:
            self._is_open = True
            self._owner.link_made()

    def _pong_came(self, payload: bytes) -> None:
        if not self._is_over and not self._is_gone:
            self._owner.pong_came(payload)

    def _ended(self, how: Failure | ConnectionEnded | None) -> None:
        if self._reader.ident is not None:
            # It has nothing left to do.
            self._reader.join()
        self._how, self._is_gone = self._how or how, True
        self._offer()

    def _offer(self) -> None:
        if self._is_wanted and not self._is_over:
            self._owner.frames_came(self)
            self._has_room.set()
        if self._is_gone and (self._is_over or not self.unread):
            self._is_gone = False
            self._owner.link_ended(None if self._is_over else self._how)

    def _abort(self) -> None:
        self._has_room.set()
        if self._websocket is not None:
            self._websocket.abort()

    def send(self, action: SendText | SendPing) -> None:
        """Send a frame. One that comes too late is left out: the end of the link follows."""
        self._outbox.put(action)
        if self._outbox.qsize() > self._max_unsent:
            self._how = ConnectionEnded(None, "the peer does not read")
            self._abort()

    def read(self, *, wanted: bool) -> None:
        """Read, or stop. What is unread is offered again first."""
        self._is_wanted = wanted
        if wanted and self._is_open:
            self._offer()

    def close(self, closing: Close) -> None:
        """End it, with a closing handshake if it is open and there is time for one."""
        self._is_over = True
        self._has_room.set()
        if not self._is_open or not closing.timeout or self._is_mute or self._is_gone:
            self._abort()
            self._offer()
            return
        self._outbox.put(closing)
        self._io.call_at(time.monotonic() + closing.timeout, self._owner, self._abort)

    def abandon(self) -> None:
        """Do nothing: what the WebSocket has open is not known."""


class _Dialled:
    """A WebSocket over a link: the I/O thread does the work, and whoever calls waits for it."""

    def __init__(
        self, open_link: Callable[[Owner], SocketLink], on_pong: Callable[[bytes], object]
    ) -> None:
        self.io: IoThread | None = None
        self.turn: threading.RLock = threading.RLock()
        self.lock: threading.RLock = threading.RLock()
        self._open_link, self._on_pong = open_link, on_pong
        self._bell = Bell()
        self._link: SocketLink | None = None
        self._frames: deque[str | bytes] = deque()
        self._is_made = self._is_aborted = self._is_gone = False
        # How the dial or the connection ended: by itself, or by a fault.
        self._end: BaseException = ConnectionEnded()

    # For the application.

    def __enter__(self) -> Self:
        serve(self, alone=False)
        self._do(self._open)
        try:
            self._wait(lambda: self._is_made or self._is_gone)
        except BaseException:
            self.__exit__()
            raise
        if not self._is_made:
            self.__exit__()
            raise self._end
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
        self._wait(lambda: self._is_gone)
        if self.io is not None and self.io.is_over and not self.io.is_here:
            self.io.join(_PATIENCE)

    def receive(self) -> str | bytes:
        """The next message, whole."""
        self._wait(lambda: self._frames or self._is_gone)
        if not self._frames:
            self._raise_end()
        frame = self._frames.popleft()
        if not self._frames and self._link is not None:
            self._do(partial(self._link.read, wanted=True))
        return frame

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._send(SendText(text))

    def send_ping(self, payload: bytes) -> None:
        """Send a ping frame and return."""
        self._send(SendPing(payload))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's."""
        if self._link is not None:
            self._do(self._link.close, Close(code, reason, math.inf))
            self._wait(lambda: self._is_gone)

    def abort(self) -> None:
        """Drop the connection, from any thread and at any time."""
        self._is_aborted = True
        self._do(self._drop)

    def _do(self, function: Callable[..., object], *args: object) -> None:
        if self.io is not None:
            self.io.post(self, function, *args)

    def _wait(self, condition: Callable[[], object]) -> None:
        with self._bell.waiter(None) as waiter:
            while not condition():
                waiter.wait()

    def _send(self, action: SendText | SendPing) -> None:
        is_done: list[None] = []
        self._do(self._sent, action, is_done)
        self._wait(lambda: is_done or self._is_gone)
        if self._is_gone:
            self._raise_end()

    def _raise_end(self) -> Never:
        end = self._end
        raise ConnectionEnded(end.code, end.reason) if isinstance(end, ConnectionEnded) else end

    # In the I/O thread.

    def _open(self) -> None:
        if self._is_aborted:
            self._end = ConnectionFailed(failure_from_exception(ConnectionAbortedError()))
            self._leave()
        else:
            self._link = self._open_link(self)

    def _sent(self, action: SendText | SendPing, is_done: list[None]) -> None:
        if self._link is not None:
            self._link.send(action)
        is_done.append(None)
        self._bell.ring()

    def _drop(self) -> None:
        if self._link is not None:
            if not self._is_made:
                self._end = ConnectionFailed(failure_from_exception(ConnectionAbortedError()))
            self._link.close(Close(1000, "", 0.0))

    def _leave(self) -> None:
        if not self._is_gone and self.io is not None:
            self.io.leave(self)
        self._is_gone = True
        self._bell.ring()

    def fail(self, fault: BaseException) -> None:
        """Take a fault of the program, and end."""
        self._end = fault
        if self._link is None:
            self._leave()
        else:
            self._link.close(Close(1000, "", 0.0))

    def abandon(self, *, is_forked: bool) -> None:
        """Let go of everything at once."""
        if self._link is not None:
            self._link.abandon()
        if is_forked:
            self._end = ConnectionEnded(None, "this process was forked")
        self._is_gone = True
        self._bell.ring()

    def link_made(self) -> None:
        """Note that it is open."""
        self._is_made = True
        self._bell.ring()

    def frames_came(self, link: Link) -> None:
        """Take what is ``unread``, and then no more until that is received."""
        while link.unread:
            self._frames.append(link.unread.popleft())
        link.read(wanted=False)
        self._bell.ring()

    def pong_came(self, payload: bytes) -> None:
        """Take a pong."""
        self._on_pong(payload)

    def link_ended(self, how: Failure | ConnectionEnded | None) -> None:
        """Note how the dial or the connection has ended."""
        if how is not None:
            self._end = ConnectionFailed(how) if isinstance(how, Failure) else how
        self._leave()


def open_websocket(
    connect: Connect,
    on_pong: Callable[[bytes], object],
    *,
    ssl_context: ssl.SSLContext | None = None,
    on_ping: Callable[[bytes], object] = bytes,
) -> WebSocket:
    """Dial with websockets, through the proxy that the environment names if it names one. It sends
    no pings of its own, follows no redirect, adds no ``Origin``.

    ``on_pong`` and ``on_ping`` are called in the thread that all feeds share: they must not block.
    ``on_ping`` is told of the server's ping frames, which are answered all the same.
    """
    return _Dialled(
        partial(SocketLink, connect=connect, ssl_context=ssl_context, on_ping=on_ping), on_pong
    )
