"""The driver for frameworks of callbacks, and for loops that poll: it carries out what a session
decides.

Theory. An embedder hands over two things: ``dial``, which starts a WebSocket of the framework's
own, and a way to be called later. The driver hands a ``Link`` to each dial, and the framework's
callbacks are the link's methods. So it knows of every report which dial it is about:

- One link at most is the *current* one. Only its reports become inputs of the session; those of the
  others change nothing.
- A link that the session gives up with a closing handshake is *closing*: it waits for the peer, and
  is aborted when the time is up. Any other end aborts the WebSocket at once, whoever reports it. So
  ``abort`` is the last call that each WebSocket gets, and the place to release what it holds.
- The session's deadline and the ends of closing handshakes are one deadline. A timer that rings too
  early does no harm, so none is ever cancelled: one that was not the newest does nothing.
- A framework may call back from within a call of the driver's: sending finds the connection closed,
  a dial fails at once. Links keep what is reported before ``dial`` has returned. Anything else
  becomes a step at once, whose deadline is the newer one; its events wait for those of the step
  before, and for what that step wants done besides sending: a state to store, say.

Nothing is queued for a slow application: ``on_event`` is called in the call that brought the bytes,
and until it returns nothing more is read. What it raises comes out of that call, and the framework
may go on: then the rest of the events is due at once, and so is the end. Where it lets others run,
as in gevent, the session's deadline waits for it as well: a peer that nobody reads is not silent.
"""

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from topone_proto.errors import ConfigurationError, ConnectionFailed
from topone_proto.events import Closed
from topone_proto.feed.link import Dial, Link
from topone_proto.feed.machine import Machine
from topone_proto.session.actions import Close, Connect, SendPing, SendText
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.session import Session
from topone_proto.wire.topic import Update

__all__ = ["CallbackDriver"]

_SENDING: Final = (SendText, SendPing)


class CallbackDriver:
    """A session in a framework of callbacks, or in a loop that polls. All calls are made in one
    thread.

    >>> driver = CallbackDriver(
    ...     session, dial=dial, clock=time.monotonic, on_event=print, call_later=reactor.callLater
    ... )
    >>> driver.start()

    A loop that polls passes no ``call_later``: it waits for its sockets as long as ``timeout``
    says, and calls ``deadline_reached`` each time round, until ``is_over``.

    Args:
        machine: a ``Session`` that is not started, a ``RecordedSession`` or an ``AccountSession``.
        dial: starts a WebSocket, see ``Dial``.
        clock: the time in seconds, by a clock that only goes forward.
        on_event: takes each event, in order.
        call_later: calls a function after so many seconds, in the same thread.
        on_action: carries out what is no business of a connection: ``FetchToken`` of a session that
            was made without a token, and what an ``AccountSession`` asks for. What comes of it goes
            to ``tell``.
        on_answer: takes the ``PullEnd`` of each pull.
        on_end: is called once, when nothing of it is left: ``Closed`` was handed out, and the last
            connection is gone.
    """

    def __init__(
        self,
        machine: Machine[Any],
        *,
        dial: Dial,
        clock: Callable[[], float],
        on_event: Callable[[Any], object],
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
        on_action: Callable[[Any], object] | None = None,
        on_answer: Callable[[Any], object] | None = None,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self.machine: Machine[Any] = machine
        """The session, to look at."""
        self.clock: Callable[[], float] = clock
        """The time in seconds."""
        # A session has a shorter way for a frame that is an update and no more.
        self._receive: Callable[[str | bytes, float], Any] = (
            machine.take_frame if isinstance(machine, Session) else machine.message_received
        )
        self._dial = dial
        self._on_event = on_event
        self._on_answer = on_answer
        self._on_action = on_action
        self._call_later = call_later
        self._on_end = on_end
        self._link: Link | None = None
        # The links whose closing handshake is under way, and the time until which it may be.
        self._closing: dict[Link, float] = {}
        self._deadline: float | None = None
        # When the newest timer rings.
        self._armed = math.inf
        self._events: deque[Any] = deque()
        self._is_delivering = False
        # The number of steps that are being carried out, and have more to do than sending.
        self._busy = 0
        # True if something was raised before all events were handed out.
        self._is_behind = False
        # True if the deadline came while an event was handed out.
        self._is_put_off = False
        self._is_closed = False
        self._has_ended = False

    # For the application.

    def start(self) -> None:
        """Begin."""
        self.tell(self.machine.start)

    def close(self) -> None:
        """End it. ``Closed`` follows at once, and ``on_end`` within ``close_timeout``."""
        self.tell(self.machine.close)

    def tell(self, report: Callable[..., Any], *what: object) -> None:
        """Call an input of the machine with the present time, and carry out its step.

        >>> driver.tell(session.subscribe, ORDERS)
        """
        self._take(report(*what, self.clock()))

    @property
    def is_over(self) -> bool:
        """True if nothing of it is left: no event, no connection, no deadline."""
        is_gone = self._link is None and not self._closing
        return self._is_closed and is_gone and not self._events

    # For a loop that polls.

    @property
    def deadline(self) -> float | None:
        """The time by which ``deadline_reached`` is due; None for never."""
        deadlines = list(self._closing.values())
        if self._deadline is not None and not self._is_put_off:
            deadlines.append(self._deadline)
        if self._is_behind and not self._is_delivering:
            deadlines.append(self.clock())
        return min(deadlines, default=None)

    def timeout(self) -> float | None:
        """Return the seconds until the deadline, 0 if it is over; None for never."""
        deadline = self.deadline
        return None if deadline is None else max(0.0, deadline - self.clock())

    def deadline_reached(self) -> None:
        """Do what is due. Harmless when called early. With ``call_later`` nobody has to."""
        now = self.clock()
        for link in [link for link, until in self._closing.items() if until <= now]:
            self._finish(link)
        if self._is_delivering:
            self._is_put_off = True
        elif not self._is_closed:
            heard_at = None if self._link is None else self._link.heard_at()
            if heard_at is not None:
                self._take(self.machine.bytes_received(heard_at, now))
            self._take(self.machine.deadline_reached(now))
        if self._is_behind:
            self._deliver()
        self._arm()

    # For links.

    def is_current(self, link: Link) -> bool:
        """Return True for the link whose reports count."""
        return self._link is link

    def take_frame(self, frame: str | bytes) -> None:
        """Take a frame of the current link in: the hot path."""
        found = self._receive(frame, self.clock())
        if isinstance(found, Update):
            # All there is to nearly all frames, and no deadline moves.
            self._events.append(found)
            self._deliver()
        else:
            self._take(found)

    def link_ended(self, link: Link, report: Callable[..., Any], *what: object) -> None:
        """Take the end of a link in."""
        if link in self._closing:
            self._finish(link)
        elif link is self._link:
            self._link = None
            link.abort()
            self.tell(report, *what)

    # Steps.

    def _take(self, step: Any) -> None:
        self._deadline = step.deadline
        self._events.extend(step.events)
        for event in step.events:
            if isinstance(event, Closed):
                self._is_closed = True
        # First: an action may lead to a report at once, and then that step is the newer one.
        self._arm()
        is_busy = not all(isinstance(action, _SENDING) for action in step.actions)
        self._busy += is_busy
        try:
            self._carry_out(step)
        except BaseException:
            self._is_behind = True
            self._arm()
            raise
        finally:
            self._busy -= is_busy
        self._deliver()

    def _carry_out(self, step: Any) -> None:
        link = self._link
        for action in step.actions:
            match action:
                case Connect():
                    self._connect(action)
                case SendText() | SendPing():
                    if link is not None and link is self._link:
                        link.carry_out(action)
                case Close():
                    self._give_up(action)
                case _ if self._on_action is not None:
                    self._on_action(action)
                case _:
                    raise ConfigurationError(
                        setting="on_action",
                        problem=f"nobody carries out {type(action).__name__}",
                        remedy="pass on_action=, or make the session with a token",
                    )
        for answer in getattr(step, "answers", ()):
            if self._on_answer is not None:
                self._on_answer(answer)

    def _connect(self, connect: Connect) -> None:
        link = self._link = Link(self)
        try:
            websocket = self._dial(connect, link)
        except (ConnectionFailed, OSError) as error:
            self.link_ended(link, self.machine.connection_failed, failure_from_exception(error))
        else:
            link.attach(websocket)

    def _give_up(self, close: Close) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if not (close.timeout and link.is_open):
            link.abort()
            return
        self._closing[link] = self.clock() + close.timeout
        self._arm()
        link.close(close.code, close.reason)

    def _finish(self, link: Link) -> None:
        """End a closing handshake, be it done or not."""
        del self._closing[link]
        link.abort()
        self._look()

    def _deliver(self) -> None:
        if self._is_delivering or self._busy:
            return
        self._is_delivering = self._is_behind = True
        try:
            while self._events:
                self._on_event(self._events.popleft())
            self._is_behind = False
        finally:
            self._is_delivering = False
            if self._is_behind or self._is_put_off:
                self._is_put_off = False
                self._arm()
        self._look()

    def _look(self) -> None:
        is_at_work = self._is_delivering or self._busy
        if self._is_closed and self.is_over and not self._has_ended and not is_at_work:
            self._has_ended = True
            if self._on_end is not None:
                self._on_end()

    def _arm(self) -> None:
        deadline = self.deadline
        if self._call_later is None or deadline is None or deadline >= self._armed:
            return
        self._armed = deadline
        self._call_later(max(0.0, deadline - self.clock()), partial(self._ring, deadline))

    def _ring(self, armed: float) -> None:
        if armed == self._armed:
            self._armed = math.inf
            self.deadline_reached()
