"""One connection over a socket, from its dial to its end. All of it runs in the I/O thread.

Theory. A link *looks up* the host in a thread that belongs to nobody else, *dials* its addresses
(each has a head start before the next is tried as well, RFC 8305), *shakes hands*, is *open*, and
perhaps *closes*. ``drop`` ends it at once in any of these states, and nothing is reported after it.

A link reports to its owner: ``link_made``, then ``frames_came`` and ``pong_came``, none of them
after ``close``. The last report is always ``link_ended``: nothing is left of it then.

It reads only while the owner wants it to and while all that is to be sent was taken. A peer that
floods with pings and does not read the pongs is not read from either: what waits to be sent is then
no more than the answers to one piece of what was read, and the frames of the owner. With more than
``max_unsent`` frames among it the link is lost.
"""

import math
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Final, Protocol

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
from topone_threads._io import Member
from topone_websockets import AddressInfo, WebSocketClient, look_up, proxy_for

__all__ = ["Link", "Owner", "SocketLink"]

# Bytes to take from the socket at once.
_CHUNK: Final = 65536

# RFC 8305 section 5, "Connection Attempt Delay": seconds until the next address is tried as well.
_HEAD_START: Final = 0.25


class Link(Protocol):
    """A connection, as its owner has it."""

    @property
    def unread(self) -> deque[bytes] | deque[str | bytes]:
        """Whole messages, the oldest first, for the owner to take."""
        ...

    @property
    def heard_at(self) -> float | None:
        """When bytes of the peer came last, by ``time.monotonic``."""
        ...

    def send(self, action: SendText | SendPing) -> None:
        """Send a frame. One that comes too late is left out: the end of the link follows."""
        ...

    def read(self, *, wanted: bool) -> None:
        """Read, or stop. What is unread is offered again first."""
        ...

    def close(self, closing: Close) -> None:
        """End it, with a closing handshake if it is open and there is time for one."""
        ...

    def abandon(self) -> None:
        """Close this process's descriptors, and do nothing else."""
        ...


class Owner(Member, Protocol):
    """What a link works for."""

    def link_made(self) -> None:
        """Note that it is open."""
        ...

    def frames_came(self, link: Link) -> None:
        """Take what is ``unread``, as far as there is room for it."""
        ...

    def pong_came(self, payload: bytes) -> None:
        """Take a pong."""
        ...

    def link_ended(self, how: Failure | ConnectionEnded | None) -> None:
        """Note how the dial or the connection has ended, behind all frames; None after
        ``close``."""
        ...


class SocketLink:
    """A link over websockets, with TLS and a proxy where they are needed."""

    def __init__(
        self,
        owner: Owner,
        connect: Connect,
        *,
        ssl_context: ssl.SSLContext | None = None,
        on_ping: Callable[[bytes], object] = bytes,
        max_unsent: int = 1000,
    ) -> None:
        assert owner.io is not None
        self.unread: deque[bytes] = deque()
        self.heard_at: float | None = None
        self._owner, self._io = owner, owner.io
        self._on_ping, self._max_unsent = on_ping, max_unsent
        self._client: WebSocketClient | None = None
        self._socket: socket.socket | None = None
        self._addresses: deque[AddressInfo] = deque()
        self._attempts: set[socket.socket] = set()
        self._errors: list[Exception] = []
        self._next_at = math.inf
        # The events of the socket that are waited for, and what the socket has yet to take.
        self._events = 0
        self._out = bytearray()
        self._frames = 0
        self._is_wanted = True
        self._is_open = self._is_closing = self._has_all = self._is_dropped = False
        self._io.call_at(time.monotonic() + connect.timeout, owner, self._expire)
        self._lookup: Future[Sequence[AddressInfo]] = Future()
        endpoint = connect.endpoint
        try:
            proxy = proxy_for(endpoint)
        except ConnectionFailed as error:
            # The owner does not know this link yet.
            self._io.post(owner, self._fail, error)
            return
        make_client = partial(
            WebSocketClient,
            connect,
            owner.pong_came,
            self._ping,
            ssl_context=ssl_context,
            proxy=proxy,
        )
        place = proxy or endpoint
        self._lookup = look_up(place.host, place.port)
        self._lookup.add_done_callback(partial(self._looked_up, make_client))

    # Dialling.

    def _looked_up(
        self, make_client: Callable[[], WebSocketClient], lookup: Future[Sequence[AddressInfo]]
    ) -> None:
        """Go on where the lookup was done: certificates take their time to load."""
        if lookup.cancelled():
            return
        client = None
        try:
            client = make_client()
            found = lookup.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
            self._io.post(self._owner, self._fail, error, client)
        else:
            self._io.post(self._owner, self._dial, client, found)

    def _dial(self, client: WebSocketClient, found: Sequence[AddressInfo]) -> None:
        if not self._is_dropped:
            self._client, self.unread = client, client.unread
            self._addresses.extend(found)
            self._try_next()

    def _try_next(self) -> None:
        """Try the next address beside those that have not answered."""
        while self._addresses:
            family, kind, protocol, _, address = self._addresses.popleft()
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                self._errors.append(error)
                continue
            self._attempts.add(sock)
            try:
                sock.settimeout(0)
                with suppress(BlockingIOError):
                    sock.connect(address)
            except OSError as error:
                self._errors.append(error)
                self._discard(sock)
                continue
            answered = partial(self._answered, sock)
            self._io.selector.register(sock, EVENT_WRITE, (self._owner, answered))
            self._next_at = time.monotonic() + _HEAD_START
            self._io.call_at(self._next_at, self._owner, self._head_start_over)
            return
        if not self._attempts:
            self._fail(ExceptionGroup("no address could be reached", self._errors))

    def _head_start_over(self) -> None:
        if self._addresses and self._attempts and time.monotonic() >= self._next_at:
            self._try_next()

    def _answered(self, sock: socket.socket, _: int) -> None:
        if sock not in self._attempts:
            return
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._errors.append(OSError(number, os.strerror(number)))
            self._discard(sock)
            if self._addresses or not self._attempts:
                self._try_next()
            return
        self._io.selector.unregister(sock)
        self._attempts.discard(sock)
        self._stop_dialling()
        self._socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flush()

    def _discard(self, sock: socket.socket) -> None:
        self._attempts.discard(sock)
        with suppress(KeyError):
            self._io.selector.unregister(sock)
        sock.close()

    def _stop_dialling(self) -> None:
        self._lookup.cancel()
        self._addresses.clear()
        for sock in tuple(self._attempts):
            self._discard(sock)

    def _expire(self) -> None:
        """The time of the dial is over."""
        if not self._is_open:
            self._fail(TimeoutError())

    def _fail(self, error: Exception, client: WebSocketClient | None = None) -> None:
        if not self._is_dropped:
            client = client or self._client
            self._drop()
            failure = client.failure(error) if client else failure_from_exception(error)
            self._owner.link_ended(failure)

    # Reading and writing.

    def _ready(self, mask: int) -> None:
        if mask & EVENT_WRITE:
            self._flush()
        if mask & EVENT_READ and self._socket is not None:
            self._receive(self._socket)

    def _receive(self, sock: socket.socket) -> None:
        client = self._client
        assert client is not None
        try:
            data = sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.heard_at = time.monotonic()
        else:
            self._has_all = True
        try:
            client.receive(data)
        except ConnectionFailed as error:
            # An alert, perhaps.
            self._flush()
            self._fail(error)
            return
        if client.has_to_send or not data:
            self._flush()
        if self._is_dropped:
            return
        if not self._is_open:
            if not client.is_connected:
                if not data:
                    self._fail(ConnectionResetError())
                return
            self._is_open = True
            self._owner.link_made()
        self._offer()

    def _offer(self) -> None:
        """Have the owner take what came, and report the end behind it."""
        client = self._client
        assert client is not None
        if self._is_closing:
            self.unread.clear()
        elif self.unread and self._is_wanted:
            self._owner.frames_came(self)
        if self._is_dropped or self.unread:
            return
        if (end := client.end()) is not None:
            self._end(end)

    def _end(self, end: ConnectionEnded) -> None:
        if not self._is_dropped:
            self._drop()
            self._owner.link_ended(None if self._is_closing else end)

    def _flush(self) -> None:
        """Send what is to be sent, as far as the socket takes it."""
        sock, client = self._socket, self._client
        if sock is None or client is None:
            return
        if client.has_to_send:
            self._out += client.to_send()
        if self._out:
            try:
                del self._out[: sock.send(self._out)]
            except BlockingIOError:
                pass
            except OSError:
                # Receiving finds the end, behind what came before it.
                self._out.clear()
        if not self._out:
            self._frames = 0
        elif self._frames > self._max_unsent:
            end = ConnectionEnded(None, "the peer does not read")
            self._io.post(self._owner, self._end, end)
        self._watch()

    def _watch(self) -> None:
        sock = self._socket
        if sock is None:
            return
        is_reading = not (self._out or self._has_all) and (self._is_wanted or self._is_closing)
        events = is_reading * EVENT_READ | bool(self._out) * EVENT_WRITE
        if events == self._events:
            return
        selector, data = self._io.selector, (self._owner, self._ready)
        if not self._events:
            selector.register(sock, events, data)
        elif events:
            selector.modify(sock, events, data)
        else:
            selector.unregister(sock)
        self._events = events

    def _ping(self, payload: bytes) -> None:
        # Its answer is a frame that has to be sent.
        self._frames += 1
        self._on_ping(payload)

    # For the owner.

    def send(self, action: SendText | SendPing) -> None:
        """Send a frame. One that comes too late is left out: the end of the link follows."""
        if self._client is None:
            return
        self._frames += 1
        with suppress(ConnectionEnded):
            if isinstance(action, SendText):
                self._client.send_text(action.text)
            else:
                self._client.send_ping(action.payload)
        self._flush()

    def read(self, *, wanted: bool) -> None:
        """Read, or stop. What is unread is offered again first."""
        if wanted is not self._is_wanted:
            self._is_wanted = wanted
            self._watch()
            if wanted and self._is_open and not self._is_dropped:
                self._offer()

    def close(self, closing: Close) -> None:
        """End it, with a closing handshake if it is open and there is time for one."""
        if self._is_dropped:
            return
        self._is_closing = True
        if not self._is_open or not closing.timeout or self._client is None:
            self._end(ConnectionEnded())
            return
        if closing.timeout != math.inf:
            expired = partial(self._end, ConnectionEnded())
            self._io.call_at(time.monotonic() + closing.timeout, self._owner, expired)
        self._client.close(closing.code, closing.reason)
        self._flush()
        self._offer()

    def abandon(self) -> None:
        """Close this process's descriptors, and do nothing else."""
        for sock in (*self._attempts, *(() if self._socket is None else (self._socket,))):
            sock.close()

    def _drop(self) -> None:
        self._is_dropped = True
        self._stop_dialling()
        if self._socket is not None:
            if self._events:
                self._io.selector.unregister(self._socket)
            self._socket.close()
            self._socket, self._events = None, 0
        self._out.clear()
