"""The threads adapter: the feed as a program with threads wants it.

Theory. Only the I/O thread drives the session: what the application asks for is posted to it, and
``turn`` is held while it works. It hands events over by the core's buffer, which ``lock`` guards:
the I/O thread holds it to put events, never to decode or to send, and the application to take
one. So a slow application holds nobody up. Whoever waits sleeps at the ``_bell`` without any lock,
looks when it is rung, and may be interrupted by a signal at any moment: an event that was taken out
of the buffer is then handed back.

The feed does one *job* at a time: a token call, or a link from its dial until nothing is left of
it. A ``Close`` of the session makes the link end, and the next job waits for that. A token call is
abandoned: it goes on in its thread, what it brings is ignored, and no job waits for it, unless too
many of them go on.

- new: ``io`` is None. ``close`` ends the session right here.
- running: ``io`` is the thread, and the feed a member of it.
- ended: the session is closed, no link is left, the feed has left the thread (``_is_ended``). A
  token call may go on, and nobody waits for it.
- forked: ended without a word, since the session belongs to the parent (``_is_forked``).

A fault of the program is kept in ``core.fault`` and closes the session.
"""

import math
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Final, Self

import attrs

from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    Close,
    Connect,
    ConnectionEnded,
    Event,
    Failure,
    FailureKind,
    FeedClosed,
    FeedFailed,
    FeedMetrics,
    FetchToken,
    Headers,
    LocalProtocolError,
    SendPing,
    SendText,
    SessionConfig,
    SessionState,
    Step,
    Token,
    Topic,
)
from topone_proto.adapters import FeedCore, conceal, wrapped
from topone_proto.adapters import Waiter as Ticket
from topone_proto.session.actions import Action
from topone_threads._io import Bell, IoThread, Waiter, may_wait, serve
from topone_threads._link import Link, SocketLink
from topone_threads._websocket import BlockingLink, OpenWebSocket

__all__ = ["Feed", "open_feed"]

TokenSource = Callable[[], str | Token]

# Token calls that were given up and have not returned: with so many, there is no further one.
_MOST_ABANDONED: Final = 4

# Beyond ``SessionConfig.close_timeout``: seconds for the I/O thread to get round to it.
_GRACE: Final = 0.5


def open_feed(
    *,
    token: str | Token | TokenSource,
    url: str = DEFAULT_URL,
    topics: Iterable[Topic] = (BALANCE, ORDERS),
    config: SessionConfig | None = None,
    origin: str | None = None,
    insecure: bool = False,
    headers: Headers = (),
    ssl_context: ssl.SSLContext | None = None,
    open_websocket: OpenWebSocket | None = None,
    record: Callable[[str], object] | None = None,
) -> AbstractContextManager["Feed"]:
    """A feed of the account's updates, open for the length of a ``with`` block.

    Args:
        token: the API token, or a callable that is asked for one before every dial, in a thread
            of its own. A call that takes longer than ``SessionConfig.token_timeout`` is given up:
            it goes on, its result is ignored, and the next dial calls again. While four of them go
            on, there is no further call, and the dial fails.
        url: where to dial, without the token.
        topics: what to subscribe to from the start.
        config: timeouts, limits, back-off and delivery.
        origin: the ``Origin`` header: None leaves it out, ``""`` sends it empty.
        insecure: True allows plain ``ws://`` to other machines.
        headers: more headers for the handshake, by name; a ``User-Agent`` replaces
            ``topone-proto/<version>``, and None there leaves it out.
        ssl_context: for a private CA; the default checks certificates against the system's.
        open_websocket: another WebSocket library, or none at all; see ``OpenWebSocket``.
        record: takes each line of a recording (``topone_proto.capture``), such as a file's
            ``write``; None records nothing.

    Raises:
        ConfigurationError: the token, the URL, the origin or a header cannot be used.
    """
    token, url = conceal(token, url)
    config = config if config is not None else SessionConfig()
    core: FeedCore[TokenSource] = FeedCore(
        token=token,
        url=url,
        topics=topics,
        config=config,
        origin=origin,
        insecure=insecure,
        headers=headers,
        jitter=random.random,
        record=record,
        wall=time.time,
    )
    open_link: _OpenLink = (
        partial(SocketLink, ssl_context=ssl_context, max_unsent=config.max_unsent)
        if open_websocket is None
        else partial(BlockingLink, open_websocket=open_websocket, max_unsent=config.max_unsent)
    )
    # What `record` does may take its time, and is not to hold up other feeds.
    return Feed(core, open_link, config.close_timeout, is_alone=record is not None)


_OpenLink = Callable[["Feed", Connect], Link]


class Feed:
    """An open feed: iterate over it for events, in any number of threads. Made by ``open_feed``.

    Every event is given once, in order. Iterating ends behind ``Closed``, which ``close`` or
    leaving the block brings about. It raises ``FeedFailed`` there if the feed ended by itself,
    because trying again cannot help; a fault of the program, such as an exception of ``record=``,
    is raised there as it is.

    All feeds of a process share one thread that waits for their sockets; a feed with ``record=``
    has one of its own. It ends with the last feed. A name lookup and a call of the token callable
    take place in a short-lived thread each. Nothing can interrupt these two, so ``close`` does not
    wait for them; they do not keep Python from exiting. In the token callable ``get`` with a
    timeout, ``metrics`` and ``close`` may be called; ``subscribe`` and ``unsubscribe`` would wait
    for the token, and raise ``LocalProtocolError``.

    A feed belongs to the process that opened it. After ``os.fork`` it goes on in the parent; in the
    child every call raises ``FeedFailed``, ``close`` returns at once, and a new feed can be opened.
    """

    def __init__(
        self,
        core: FeedCore[TokenSource],
        open_link: _OpenLink,
        close_timeout: float,
        *,
        is_alone: bool,
    ) -> None:
        self.io: IoThread | None = None
        self.turn: threading.RLock = threading.RLock()
        self.lock: threading.RLock = threading.RLock()
        self._core = core
        self._session = core.session
        # What `get` gives next; None if there is none now.
        self._next: Callable[[], Event | None] = self._not_open
        self._handed_back: list[Event] = []
        self._open_link = open_link
        self._close_timeout = close_timeout
        self._is_alone = is_alone
        self._bell = Bell()
        # The job to do next. The one under way is a link or a token call, and counts until `Close`.
        self._job: FetchToken | Connect | None = None
        self._link: Link | None = None
        self._caller: threading.Thread | None = None
        self._is_current = False
        # Token calls that count no more, and have not returned.
        self._abandoned = 0
        # When the I/O thread is going to call `_deadline_reached`.
        self._armed = math.inf
        self._has_failed = self._is_ended = self._is_forked = False

    def __enter__(self) -> Self:
        try:
            if self._session.state is SessionState.NEW:
                self._next = self._core.get
                serve(self, alone=self._is_alone)
                self._post(self._start)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._stop()
        if exc_type is None:
            self._core.raise_unseen_fault()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        try:
            return self.get()
        except FeedClosed:
            pass
        raise StopIteration

    def get(self, timeout: float | None = None) -> Event:
        """The next event, as iterating gives it.

        Args:
            timeout: seconds to wait for one; None waits until there is one.

        Raises:
            TimeoutError: there was none in time.
            FeedClosed: the feed is closed, and all its events were taken.
            FeedFailed: the feed ended by itself, and all its events were taken; or this process was
                forked after it was opened.
            LocalProtocolError: the ``with`` block of the feed was not entered.
        """
        event = None
        try:
            with self.lock:
                event = self._next()
            if event is None:
                with self._waiter("get", timeout) as waiter:
                    while event is None:
                        with self.lock:
                            event = self._next()
                        if event is None:
                            if self._core.is_over:
                                self._core.raise_failure()
                                raise FeedClosed  # noqa: TRY301 - an event of another thread may
                                # have to be handed back
                            waiter.wait()
            if self._core.is_paused:
                self._make_room()
        except BaseException:
            # Most often a Ctrl-C; nobody was given this event.
            if event is not None:
                self._hand_back(event)
            raise
        return event

    def subscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        While there is no connection this waits for one, unless ``timeout`` seconds are over first.

        Raises:
            TimeoutError: ``timeout`` is over. The topic stays desired.
            SubscriptionRejected: the exchange refused.
            RequestTimedOut: no acknowledgement in time; the feed connects again and asks again.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself, or this process was forked after it was opened.
            LocalProtocolError: another call wanted the opposite first, the ``with`` block of the
                feed was not entered, or this was called in the feed's own token callable.
            TooManyEvents: the answer is behind more events than the feed may hold.
        """
        self._ask(self._core.subscribe, topic, timeout)

    def unsubscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if there is no
        connection.

        Raises:
            TimeoutError: ``timeout`` seconds are over. The topic is no longer desired.
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself, or this process was forked after it was opened.
            LocalProtocolError: another call wanted the opposite first, the ``with`` block of the
                feed was not entered, or this was called in the feed's own token callable.
            TooManyEvents: the answer is behind more events than the feed may hold.
        """
        self._ask(self._core.unsubscribe, topic, timeout)

    def close(self) -> None:
        """End the feed. Idempotent, possible at any time and from any thread.

        Done within ``SessionConfig.close_timeout``, and a moment. Events that wait can still be
        taken; ``Closed`` is the last of them. Raises a fault of the program that ended the feed, if
        nobody was given it before.

        Of all methods only this one may be called in a signal handler. If the handler interrupted a
        method of a feed, the feed may end only after the handler has returned; nothing waits for
        that here.
        """
        if self._stop():
            self._core.raise_unseen_fault()

    def metrics(self) -> FeedMetrics:
        """What there is to watch, at this moment. Cheap, and possible at any time but in a signal
        handler."""
        with self.turn, self.lock:
            metrics = self._core.metrics(time.monotonic())
        if not self._is_forked:
            return metrics
        return attrs.evolve(
            metrics,
            is_connected=False,
            epoch_age=None,
            last_received_age=None,
            ack_latency=None,
            lag={},
        )

    # In any thread.

    def _post(self, function: Callable[..., object], *args: object) -> None:
        assert self.io is not None
        self.io.post(self, function, *args)

    def _not_open(self) -> Event | None:
        raise LocalProtocolError(
            state="the feed is not open", input="get", remedy="use it in a with block"
        )

    def _in_child(self) -> Event | None:
        raise FeedFailed(Failure(FailureKind.FORKED))

    def _waiter(self, method: str, timeout: float | None) -> Waiter:
        if self.io is not None and self.io.is_here:
            raise LocalProtocolError(
                state="the feed's own thread waits for it",
                input=method,
                remedy="call it in another thread than that of record=",
            )
        return self._bell.waiter(timeout)

    def _hand_back(self, event: Event) -> None:
        with self.lock:
            self._handed_back.append(event)
            if not self._is_forked:
                self._next = self._next_handed_back
        self._bell.ring()

    def _next_handed_back(self) -> Event | None:
        event = self._handed_back[-1]
        if len(self._handed_back) == 1:
            self._next = self._core.get
        del self._handed_back[-1]
        return event

    def _make_room(self) -> None:
        with self.lock:
            may_resume = self._core.may_resume
        if may_resume:
            self._post(self._pause_or_resume)

    def _ask(
        self,
        ask: Callable[[Topic, float], tuple[Ticket, Step]],
        topic: Topic,
        timeout: float | None,
    ) -> None:
        method = ask.__name__
        if self._is_forked:
            self._in_child()
        if self._next == self._not_open:
            raise LocalProtocolError(
                state="the feed is not open", input=method, remedy="use it in a with block"
            )
        if self._caller is threading.current_thread():
            raise LocalProtocolError(
                state="the feed waits for its token callable, which asks for it",
                input=method,
                remedy="call it after the token callable has returned; get(timeout=...), close() "
                "and metrics() are possible there",
            )
        answer: list[Ticket | BaseException] = []
        with self._waiter(method, timeout) as waiter:
            try:
                if self.io is not None:
                    self._post(self._asked, ask, topic, answer)
                while not answer or (isinstance(answer[0], Ticket) and not answer[0].is_settled):
                    if self._is_ended and not answer:
                        with self.turn:
                            self._asked(ask, topic, answer)
                    else:
                        waiter.wait()
            finally:
                if self.io is not None:
                    self._post(self._withdraw, answer)
        if isinstance(answer[0], BaseException):
            raise answer[0]
        answer[0].result()

    def _stop(self) -> bool:
        """Close the feed. Returns True once it has ended; False if that cannot be waited for."""
        if self._is_forked:
            return False
        io = self.io
        if io is None or not io.is_alive:
            # Not started, or ended.
            with self.turn:
                self._close_session()
            return True
        self._post(self._close_session)
        if io.is_here or sys.is_finalizing() or not may_wait():
            return False
        until = time.monotonic() + self._close_timeout + _GRACE
        with suppress(TimeoutError), self._bell.waiter(self._close_timeout + _GRACE) as waiter:
            while io.serves(self):
                waiter.wait()
        if io.is_over:
            io.join(until - time.monotonic())
        return True

    # In the I/O thread, or where there is none.

    def _start(self) -> None:
        if self._session.state is SessionState.NEW:
            self._take(self._session.start(time.monotonic()))
        elif self.io is not None:
            # A signal handler was quicker.
            self.io.leave(self)
            self._bell.ring()

    def _close_session(self) -> None:
        if self._next == self._not_open:
            self._next = self._core.get
        if not self._core.is_closed:
            self._take(self._session.close(time.monotonic()))

    def _asked(
        self,
        ask: Callable[[Topic, float], tuple[Ticket, Step]],
        topic: Topic,
        answer: list[Ticket | BaseException],
    ) -> None:
        try:
            ticket, step = ask(topic, time.monotonic())
        except Exception as error:  # noqa: BLE001 - the caller's, whatever it has passed
            answer.append(error)
            self._bell.ring()
        else:
            answer.append(ticket)
            self._take(step)

    def _withdraw(self, answer: list[Ticket | BaseException]) -> None:
        """Nobody waits for this answer any more: reading need not go on for its sake."""
        for ticket in answer:
            if isinstance(ticket, Ticket):
                ticket.settle()
        self._pause_or_resume()

    def _take(self, *steps: Step) -> None:
        """Hand the events of some steps on, see to their actions and to the deadline."""
        core = self._core
        actions: tuple[Action, ...] = ()
        with self.lock:
            for step in steps:
                if not core.take_update(step):
                    actions += core.take(step)
        self._bell.ring()
        for action in actions:
            self._carry_out(action)
        deadline = core.deadline
        if deadline is not None and deadline < self._armed and self.io is not None:
            self._armed = deadline
            self.io.call_at(deadline, self, self._deadline_reached)
        if core.fault is not None:
            self.fail(core.fault)
        self._pause_or_resume()
        self._end_if_over()

    def _carry_out(self, action: Action) -> None:
        match action:
            case FetchToken() | Connect():
                self._job = action
                self._do_next()
            case SendText() | SendPing():
                if self._link is not None and self._is_current:
                    self._link.send(action)
            case Close():  # pragma: no branch - there is no other
                self._job, self._is_current = None, False
                if self._caller is not None:
                    self._caller = None
                    self._abandoned += 1
                if self._link is not None:
                    self._link.close(action)

    def _do_next(self) -> None:
        job = self._job
        if job is None or self._link is not None:
            return
        self._job, self._is_current = None, True
        if isinstance(job, Connect):
            self._link = self._open_link(self, job)
            self._link.read(wanted=not self._core.is_paused)
            return
        detail = "the callables before have not returned"
        if self._abandoned < _MOST_ABANDONED:
            caller = threading.Thread(
                target=self._fetch_token, name="topone-feed-token", daemon=True
            )
            self._caller = caller
            try:
                caller.start()
            except RuntimeError:
                # The machine has none left, or Python is ending.
                self._caller, detail = None, "no thread can be started"
            else:
                return
        self._token_came(None, partial(self._session.token_failed, detail))

    def _fetch_token(self) -> None:
        """Ask the application's callable, in a thread of its own."""
        assert self._core.token_source is not None
        caller = threading.current_thread()
        try:
            supplied = wrapped(self._core.token_source())
        except Exception as error:  # noqa: BLE001 - whatever the application's callable raises
            detail = type(error).__name__
            self._post(self._token_came, caller, partial(self._session.token_failed, detail))
        except BaseException as fault:  # noqa: BLE001 - nobody else is there to take it
            self._post(self.fail, fault)
        else:
            self._post(self._token_came, caller, partial(self._core.token_obtained, supplied))

    def _token_came(self, caller: threading.Thread | None, tell: Callable[[float], Step]) -> None:
        if caller is not self._caller:
            self._abandoned -= 1
            return
        self._caller, self._is_current = None, False
        self._take(tell(time.monotonic()))

    def _deadline_reached(self) -> None:
        now = time.monotonic()
        if self._armed > now:
            return
        self._armed = math.inf
        heard_at = None if self._link is None else self._link.heard_at
        connection = self._session.connection
        last = None if connection is None else connection.last_received
        if heard_at is not None and last is not None and heard_at > last:
            self._take(self._session.bytes_received(heard_at, now))
        self._take(self._session.deadline_reached(now))

    def _pause_or_resume(self) -> None:
        with self.lock:
            step = self._core.pause_or_resume(time.monotonic())
        if step is not None:
            self._take(step)
            if self._link is not None:
                self._link.read(wanted=not self._core.is_paused)

    def _end_if_over(self) -> None:
        if self._core.is_closed and self._link is None and not self._is_ended:
            if self.io is not None:
                self.io.leave(self)
            self._is_ended = True
            self._bell.ring()

    def fail(self, fault: BaseException) -> None:
        """Take a fault of the program, and end."""
        with self.lock:
            self._core.fail(fault)
        if self._has_failed:
            return
        self._has_failed = True
        self._close_session()
        self._bell.ring()

    def abandon(self, *, is_forked: bool) -> None:
        """Let go of everything at once."""
        if self._link is not None:
            self._link.abandon()
        self._is_ended = self._core.is_closed = True
        if is_forked:
            self._is_forked, self._next = True, self._in_child
        self._bell.ring()

    # What the link reports.

    def link_made(self) -> None:
        """Note that it is open."""
        if self._is_current:
            self._take(self._session.connection_made(time.monotonic()))

    def frames_came(self, link: Link) -> None:
        """Take what is ``unread``, as far as there is room for it."""
        core, unread = self._core, link.unread
        received = self._session.message_received
        while unread and self._is_current and not core.is_paused:
            now = time.monotonic()
            steps: list[Step] = []
            for _ in range(min(len(unread), core.room(0))):
                step = received(unread.popleft(), now)
                steps.append(step)
                # There may be no room for another one.
                if step.actions or len(step.events) != 1:
                    break
            self._take(*steps)

    def pong_came(self, payload: bytes) -> None:
        """Take a pong."""
        if self._is_current:
            self._take(self._session.pong_received(payload, time.monotonic()))

    def link_ended(self, how: Failure | ConnectionEnded | None) -> None:
        """Note how the dial or the connection has ended."""
        self._link = None
        if self._is_current:
            self._is_current = False
            now = time.monotonic()
            match how:
                case Failure():
                    self._take(self._session.connection_failed(how, now))
                case ConnectionEnded(code=code, reason=reason):
                    self._take(self._session.connection_lost(code, reason, now))
                case None:  # a fault
                    pass
        self._do_next()
        self._end_if_over()
