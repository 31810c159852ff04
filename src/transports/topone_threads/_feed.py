"""The threads adapter: one thread carries out what the session decides, one watches its deadline.

No protocol here.
"""

import math
import queue
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import Final, ParamSpec, Self

from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    Close,
    Connect,
    ConnectionEnded,
    Event,
    FeedClosed,
    FeedCore,
    FetchToken,
    LocalProtocolError,
    SendPing,
    SendText,
    SessionConfig,
    SessionState,
    Step,
    Ticket,
    Token,
    Topic,
    conceal,
    failure_from_exception,
)
from topone_proto.endpoint import wrapped
from topone_threads._websocket import OpenWebSocket, WebSocket
from topone_threads._websocket import open_websocket as _open_websocket

__all__ = ["Feed", "open_feed"]

TokenSource = Callable[[], str | Token]

_P = ParamSpec("_P")

# Beyond ``SessionConfig.close_timeout``: seconds for threads that were told to end to do so.
_GRACE: Final = 0.5


def open_feed(
    *,
    token: str | Token | TokenSource,
    url: str = DEFAULT_URL,
    topics: Iterable[Topic] = (BALANCE, ORDERS),
    config: SessionConfig | None = None,
    origin: str | None = None,
    insecure: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    open_websocket: OpenWebSocket | None = None,
) -> AbstractContextManager["Feed"]:
    """A feed of the account's updates, open for the length of a ``with`` block.

    Args:
        token: the API token, or a callable that is asked for one before every dial, in a thread
            of the feed.
        url: where to dial, without the token.
        topics: what to subscribe to from the start.
        config: timeouts, limits, back-off and delivery.
        origin: the ``Origin`` header: None leaves it out, ``""`` sends it empty.
        insecure: True allows plain ``ws://`` to other machines.
        ssl_context: for a private CA; the default checks certificates against the system's.
        open_websocket: another WebSocket library, or none at all; see ``OpenWebSocket``.

    Raises:
        ConfigurationError: the token, the URL or the origin cannot be used.
    """
    token, url = conceal(token, url)
    config = config if config is not None else SessionConfig()
    core = FeedCore(
        token=token,
        url=url,
        topics=topics,
        config=config,
        origin=origin,
        insecure=insecure,
        jitter=random.random,
    )
    open_websocket = open_websocket or partial(_open_websocket, ssl_context=ssl_context)
    return Feed(core, open_websocket, config.close_timeout)


class _Job:
    """A token call or a connection, from the action that asks for it to its end."""

    def __init__(self, action: FetchToken | Connect) -> None:
        self.action = action
        # Present as soon as there is something to abort; open once it is dialled.
        self.websocket: WebSocket | None = None
        self.is_open = False
        # Code and reason, once a send has found that the connection is over.
        self.ended: tuple[int | None, str] | None = None
        self.outbox: deque[SendText | SendPing | Close] = deque()

    def abort(self) -> None:
        if self.websocket is not None:
            self.websocket.abort()


class Feed:
    """An open feed: iterate over it for events, in any number of threads. Made by ``open_feed``.

    One thread of its own asks for the token, dials and reads, one keeps the deadlines and closes
    and, while a connection is open, one sends. They are gone when ``close`` returns, unless one is
    inside the token callable or the lookup of the host's name: nothing can interrupt these. Such a
    thread ends when they return, and does not keep Python from exiting.
    """

    def __init__(
        self, core: FeedCore[TokenSource], open_websocket: OpenWebSocket, close_timeout: float
    ) -> None:
        self._core = core
        self._session = core.session
        self._open_websocket = open_websocket
        self._close_timeout = close_timeout
        # The core and everything below, down to the fault, is touched with the lock held. It is
        # taken by itself, never by way of a condition, whose __enter__ a Ctrl-C could interrupt
        # half-way. Nothing takes it twice; it is reentrant because such a lock knows its thread.
        self._lock = threading.RLock()
        # Where the application's threads wait for events and answers, and whether one does.
        self._events_came = threading.Condition(self._lock)
        self._is_awaited = False
        # Where the threads that dial, read and send wait for something to do.
        self._work_came = threading.Condition(self._lock)
        # The job whose reports count. One that was given up is no longer here.
        self._job: _Job | None = None
        # The job that is in the closing handshake, and when that has to be over.
        self._parting: _Job | None = None
        self._part_by = math.inf
        self._armed = math.inf
        self._is_paused = False
        self._fault: BaseException | None = None
        # These two need no lock: a signal handler closes the feed by them, whatever it interrupts.
        self._is_close_wanted = False
        self._alarm = queue.SimpleQueue[None]()
        self._watch = self._thread("topone-feed-deadline", self._watch_deadline)
        self._threads = [self._watch, self._thread("topone-feed", self._run)]

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
            with self._lock:
                # Unless it has been closed already.
                if self._session.state is SessionState.NEW:
                    self._take(self._session.start(time.monotonic()))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self.close()
        if exc_type is None:
            self._raise_fault()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        with suppress(FeedClosed):
            return self.get()
        raise StopIteration

    def get(self, timeout: float | None = None) -> Event:
        """The next event, as iterating gives it.

        Args:
            timeout: seconds to wait for one; None waits until there is one.

        Raises:
            TimeoutError: there was none in time.
            FeedClosed: the feed is closed, and all its events were taken.
            FeedFailed: the feed ended by itself, and all its events were taken.
            LocalProtocolError: the ``with`` block of the feed was not entered.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while (event := self._core.get()) is None:
                if self._core.is_over:
                    self._raise_fault()
                    self._core.raise_failure()
                    raise FeedClosed
                self._require_start("get")
                self._wait_for_events(until)
            if self._is_paused and self._core.may_resume:
                self._work_came.notify_all()
        return event

    def subscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Subscribe to a topic, now and after every reconnect. Returns after the acknowledgement.

        While there is no connection this waits for one, unless ``timeout`` seconds are over first.

        Raises:
            TimeoutError: ``timeout`` is over. The topic stays desired.
            SubscriptionRejected: the exchange refused.
            RequestTimedOut: no acknowledgement in time; the feed connects again and asks again.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or the ``with`` block of the
                feed was not entered.
            TooManyEvents: the answer is behind more events than the feed may hold; it stands.
        """
        self._require_start("subscribe")
        self._settle(self._core.subscribe, topic, timeout)

    def unsubscribe(self, topic: Topic, timeout: float | None = None) -> None:
        """Unsubscribe from a topic. Returns after the acknowledgement, at once if there is no
        connection.

        Raises:
            TimeoutError: ``timeout`` seconds are over. The topic is no longer desired.
            SubscriptionRejected: the exchange refused; the topic stays subscribed to.
            RequestTimedOut: no acknowledgement in time; the feed connects again, without the topic.
            FeedClosed: the feed is closed, or was before the acknowledgement.
            FeedFailed: the feed ended by itself.
            LocalProtocolError: another call wanted the opposite first, or the ``with`` block of the
                feed was not entered.
            TooManyEvents: the answer is behind more events than the feed may hold; it stands.
        """
        self._require_start("unsubscribe")
        self._settle(self._core.unsubscribe, topic, timeout)

    def close(self) -> None:
        """End the feed. Idempotent, possible at any time and from any thread.

        Done within ``SessionConfig.close_timeout``, and the moment that threads take to end.
        Events that wait can still be taken; ``Closed`` is the last of them.

        Of all methods only this one may be called in a signal handler. If the handler interrupted a
        method of this feed, the feed may end only after the handler has returned; nothing waits for
        that here.
        """
        patience = time.monotonic() + self._close_timeout + _GRACE
        # A thread of the feed carries it out: a Ctrl-C in this one could leave it half done.
        self._is_close_wanted = True
        if not self._core.is_closed:
            self._alarm.put(None)
        if self._holds_lock():
            return
        if not self._watch.is_alive():
            with self._lock:
                self._close_session()
        for thread in self._threads:
            # A thread of the feed itself: the token callable may close it.
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(max(0.0, patience - time.monotonic()))

    def _settle(
        self,
        ask: Callable[[Topic, float], tuple[Ticket, Step]],
        topic: Topic,
        timeout: float | None,
    ) -> None:
        now = time.monotonic()
        until = None if timeout is None else now + timeout
        with self._lock:
            ticket, step = ask(topic, now)
            try:
                self._take(step)
                # A ticket makes a reader that has paused read on.
                self._work_came.notify_all()
                while not ticket.is_settled:
                    self._wait_for_events(until)
            finally:
                # If nobody waits for it any more, reading need not go on for its sake.
                ticket.settle()
        ticket.result()

    def _require_start(self, method: str) -> None:
        if self._session.state is SessionState.NEW:
            raise LocalProtocolError(
                state="the feed is not open", input=method, remedy="use it in a with block"
            )

    def _holds_lock(self) -> bool:
        """Whether this thread does, which means that it was interrupted in one of these methods."""
        try:
            self._events_came.notify(0)
        except RuntimeError:
            return False
        return True

    def _wait_for_events(self, until: float | None) -> None:
        remaining = None if until is None else until - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise TimeoutError
        self._is_awaited = True
        self._events_came.wait(remaining)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    # Everything below runs in the feed's own threads, or is called with the lock held.

    def _thread(
        self, name: str, function: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs
    ) -> threading.Thread:
        def run() -> None:
            try:
                function(*args, **kwargs)
            except BaseException as fault:  # noqa: BLE001 - raised again in the application's thread
                with self._lock:
                    self._fault = fault
                    self._close_session()

        return threading.Thread(target=run, name=name, daemon=True)

    def _take(self, step: Step) -> None:
        """Hand a step's events on, see to its actions and its deadline. Never waits."""
        for action in self._core.take(step):
            match action:
                case FetchToken() | Connect():
                    self._job = _Job(action)
                case SendText() | SendPing():
                    assert self._job is not None
                    self._job.outbox.append(action)
                case Close():
                    self._give_up(action)
        if step.deadline is not None:
            self._arm(step.deadline)
        if self._core.is_closed:
            self._alarm.put(None)
        if step.actions or self._core.is_closed:
            self._work_came.notify_all()
        if self._is_awaited:
            self._is_awaited = False
            self._events_came.notify_all()

    def _close_session(self) -> None:
        self._take(self._session.close(time.monotonic()))

    def _arm(self, deadline: float) -> None:
        if deadline < self._armed:
            self._armed = deadline
            self._alarm.put(None)

    def _give_up(self, close: Close) -> None:
        job, self._job = self._job, None
        if job is None:
            # A Ctrl-C came between the session's start and what was to be done then.
            return
        if job.is_open and job.ended is None and close.timeout:
            job.outbox.append(close)
            self._parting, self._part_by = job, time.monotonic() + close.timeout
            self._arm(self._part_by)
        else:
            job.abort()

    def _report(self, job: _Job, step_at: Callable[[float], Step]) -> None:
        """Tell the session something, unless it is the tail of a job that was given up."""
        with self._lock:
            if job is self._job:
                self._take(step_at(time.monotonic()))

    def _watch_deadline(self) -> None:
        while (wait := self._do_what_is_due()) is not None:
            with suppress(queue.Empty):
                self._alarm.get(timeout=wait)

    def _do_what_is_due(self) -> float | None:
        """Return the seconds until there is more to do; None if there never will be."""
        with self._lock:
            now = time.monotonic()
            if self._is_close_wanted and not self._core.is_closed:
                self._close_session()
            if self._parting is not None and self._part_by <= now:
                self._parting.abort()
                self._parting, self._part_by = None, math.inf
            deadline = self._core.deadline
            if deadline is not None and deadline <= now:
                self._take(self._session.deadline_reached(now))
                deadline = self._core.deadline
            if self._core.is_closed and self._parting is None:
                return None
            self._armed = min(self._part_by, math.inf if deadline is None else deadline)
            return min(max(0.0, self._armed - time.monotonic()), threading.TIMEOUT_MAX)

    def _run(self) -> None:
        """One thing at a time, a token call or a connection from dial to end, until the session is
        closed."""
        done: _Job | None = None
        while True:
            with self._lock:
                while self._job is None or self._job is done:
                    if self._core.is_closed:
                        return
                    self._work_came.wait()
                done = job = self._job
            match job.action:
                case FetchToken():
                    self._fetch_token(job)
                case Connect():
                    self._connect(job, job.action)

    def _fetch_token(self, job: _Job) -> None:
        assert self._core.token_source is not None
        try:
            supplied = wrapped(self._core.token_source())
        except Exception as error:  # noqa: BLE001 - whatever the application's callable raises
            self._report(job, partial(self._session.token_failed, type(error).__name__))
        else:
            self._report(job, partial(self._core.token_obtained, supplied))

    def _connect(self, job: _Job, connect: Connect) -> None:
        with ExitStack() as stack:
            try:
                websocket = self._open_websocket(connect, partial(self._on_pong, job))
                with self._lock:
                    if job is not self._job:
                        return
                    job.websocket = websocket
                stack.enter_context(websocket)
            except Exception as error:  # noqa: BLE001 - whatever a WebSocket library raises
                failure = failure_from_exception(error)
                self._report(job, partial(self._session.connection_failed, failure))
                return
            job.is_open = True
            self._report(job, self._session.connection_made)
            self._converse(job, websocket)

    def _on_pong(self, job: _Job, payload: bytes) -> None:
        self._report(job, partial(self._session.pong_received, payload))

    def _converse(self, job: _Job, websocket: WebSocket) -> None:
        # Sending has a thread of its own, since a peer that does not read makes a sender wait.
        writer = self._thread("topone-feed-writer", self._write, job, websocket)
        writer.start()
        try:
            self._read(job, websocket)
        finally:
            websocket.abort()
            with self._lock:
                job.is_open = False
                if self._parting is job:
                    self._parting, self._part_by = None, math.inf
                    self._alarm.put(None)
                self._work_came.notify_all()
            writer.join()

    def _read(self, job: _Job, websocket: WebSocket) -> None:
        try:
            while True:
                if self._core.must_pause:
                    self._wait_for_room(job)
                self._core.require_flow(len(job.outbox))
                frame = websocket.receive()
                # After a Close only the end is waited for.
                with self._lock:
                    if job is self._job:
                        self._take(self._session.message_received(frame, time.monotonic()))
        except ConnectionEnded as end:
            self._report(job, partial(self._session.connection_lost, end.code, end.reason))

    def _wait_for_room(self, job: _Job) -> None:
        with self._lock:
            self._is_paused = True
            self._take(self._session.reading_paused(time.monotonic()))
            while job is self._job and job.ended is None and not self._core.may_resume:
                self._work_came.wait()
            self._is_paused = False
            self._take(self._session.reading_resumed(time.monotonic()))
            if job.ended is not None and not self._core.may_resume:
                # There is no room for what was received before, so it is lost.
                raise ConnectionEnded(*job.ended)

    def _write(self, job: _Job, websocket: WebSocket) -> None:
        try:
            while (action := self._next_to_send(job)) is not None:
                match action:
                    case SendText(text=text):
                        websocket.send_text(text)
                    case SendPing(payload=payload):
                        websocket.send_ping(payload)
                    case Close(code=code, reason=reason):
                        websocket.close(code, reason)
        except ConnectionEnded as end:
            # The reader finds the same behind what was received before, and reports it. If it has
            # paused it would not for a while, and meanwhile nobody sends.
            with self._lock:
                job.ended = end.code, end.reason
                self._work_came.notify_all()

    def _next_to_send(self, job: _Job) -> SendText | SendPing | Close | None:
        with self._lock:
            while job.is_open and not job.outbox:
                self._work_came.wait()
            return job.outbox.popleft() if job.is_open else None
