"""One connection to a NATS server at a time, dialled when it is needed, and requests over it.

nats-py speaks the protocol, with its own reconnects switched off: a connection that ends is thrown
away, everything that waits for an answer over it fails at once, and the next call dials again. So
nothing is sent later than its caller believes, and a caller never waits for a bus that is away.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from topone_relay._bus import BusRefused, BusUnavailable
from topone_relay._cancelling import heeding_cancellation
from topone_relay._options import Hidden
from topone_relay._reading import Closing

__all__ = ["Connection", "Link"]

_PERMISSION = re.compile(
    r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE
)
_AUTHORIZATION = re.compile("authorization|authentication|expired|revoked", re.IGNORECASE)
_PAUSE_AFTER_FAILURE = 0.25
_LONGEST_PAUSE = 2.0
_CLOSE_TIMEOUT = 0.5


class _Asked(NamedTuple):
    """A request that waits for its answer."""

    subject: str
    answer: asyncio.Future[Msg]
    until: float


class Link:
    """An open connection. ``lost`` is set when it has ended.

    Args:
        client: The connection.
        patience: Seconds to wait for an answer, the same for all, so that the oldest request is the
            first to wait too long, and one timer will do.
    """

    def __init__(self, client: Client, patience: float) -> None:
        self.client = client
        self.lost = asyncio.Event()
        self.max_payload = client.max_payload
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._inbox = client.new_inbox()
        self._waiting: dict[str, _Asked] = {}
        self._timer: asyncio.TimerHandle | None = None
        """Looks for requests that have waited too long; None once there is none."""
        self._count = 0
        self._unreadable: str | None = None
        self._listeners: set[Callable[[], None]] = set()

    async def open(self) -> None:
        """Subscribe to the answers of all requests."""
        # nats-py says that the connection has ended once it has sent what was left to send, which
        # may fail or take for ever. It stops to read before that.
        reading: asyncio.Task[None] | None = getattr(self.client, "_reading_task", None)
        if reading is not None:
            reading.add_done_callback(self._reading_ended)
        await self.subscribe("connect", f"{self._inbox}.*", self._answered)

    async def request(
        self, call: str, subject: str, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        """Return the answer to a request.

        Raises:
            BusUnavailable: there was none.
            BusRefused: it is not permitted.
        """
        if self.lost.is_set():
            raise BusUnavailable(call, "the connection is lost")
        if self._unreadable is not None:
            raise _not_permitted(call, f"subscribe to {self._unreadable}")
        self._count += 1
        reply = f"{self._inbox}.{self._count}"
        answer: asyncio.Future[Msg] = self._loop.create_future()
        until = self._loop.time() + self._patience
        self._waiting[reply] = _Asked(subject, answer, until)
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._give_up)
        try:
            # A full socket holds it up for no longer than ``flush_timeout``.
            sent = self.client.publish(subject, data, reply=reply, headers=headers)
            await heeding_cancellation(sent)
            return await answer
        except (nats.errors.Error, OSError, _Lost, _NotPermitted, _Late) as error:
            failure = self._failure(call, error, len(data))
            if answer.done():
                # It may have failed while something else went wrong.
                answer.exception()
        finally:
            self._waiting.pop(reply, None)
        # Out here it has no context: in that are frames of nats-py, with what it was given.
        raise failure

    def _give_up(self) -> None:
        """Fail the requests that have waited too long, and look again when the next one has."""
        now = self._loop.time()
        self._timer = None
        for _, answer, until in self._waiting.values():
            if now < until:
                self._timer = self._loop.call_at(until, self._give_up)
                return
            _fail(answer, _Late(f"no answer within {self._patience:g} s"))

    def _failure(self, call: str, error: Exception, size: int) -> BusUnavailable | BusRefused:
        if isinstance(error, _NotPermitted):
            return _not_permitted(call, str(error))
        if isinstance(error, nats.errors.MaxPayloadError):
            return BusRefused(
                call,
                f"a message of {size} bytes is larger than the server's max_payload of "
                f"{self.max_payload}",
                "raise max_payload at the server, or lower RelayConfig.max_message_size",
            )
        return BusUnavailable(call, describe(error))

    async def send(self, call: str, subject: str, data: bytes, reply: str) -> None:
        """Publish a message whose answers arrive at a subscription."""
        try:
            await heeding_cancellation(self.client.publish(subject, data, reply=reply))
        except (nats.errors.Error, OSError) as error:
            failure = BusUnavailable(call, describe(error))
        else:
            return
        raise failure

    async def subscribe(
        self, call: str, subject: str, callback: Callable[[Msg], Any]
    ) -> Subscription:
        """Return a subscription whose messages a coroutine function gets."""
        try:
            # Bounded by what is asked for, not by what nats-py would drop in silence.
            return await heeding_cancellation(
                self.client.subscribe(  # pyright: ignore[reportUnknownMemberType]  # a Future of nothing said
                    subject, cb=callback, pending_msgs_limit=0, pending_bytes_limit=0
                )
            )
        except (nats.errors.Error, OSError) as error:
            failure = BusUnavailable(call, describe(error))
        raise failure

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function when the connection is lost."""
        self._listeners.add(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._listeners.discard(listener)

    def end(self) -> None:
        """Fail everything that waits."""
        self.lost.set()
        if self._timer is not None:
            self._timer.cancel()
        for asked in self._waiting.values():
            _fail(asked.answer, _Lost("the connection is lost"))
        for listener in tuple(self._listeners):
            listener()

    def _reading_ended(self, reading: "asyncio.Task[None]") -> None:
        if not reading.cancelled():
            # Nobody else looks at it.
            reading.exception()
        self.end()

    async def troubled(self, error: Exception) -> None:
        """Fail the requests that the server says are not permitted. Called by nats-py."""
        found = _PERMISSION.search(str(error))
        if found is None:
            return
        verb, subject = found.groups()
        if verb.lower() == "subscription":
            if subject.lower().startswith(self._inbox.lower()):
                self._unreadable = subject
                for asked in self._waiting.values():
                    _fail(asked.answer, _NotPermitted(f"subscribe to {subject}"))
            return
        for asked in self._waiting.values():
            if asked.subject.lower() == subject.lower():
                _fail(asked.answer, _NotPermitted(f"publish to {subject}"))

    async def _answered(self, message: Msg) -> None:
        asked = self._waiting.get(message.subject)
        if asked is not None and not asked.answer.done():
            asked.answer.set_result(message)


def _fail(answer: asyncio.Future[Msg], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


class Connection:
    """Dials when there is no open link."""

    def __init__(self, options: Hidden, patience: float) -> None:
        self._options = options
        self.patience = patience
        self._link: Link | None = None
        self._dialling = asyncio.Lock()
        self._failure: BusUnavailable | BusRefused | None = None
        self._pause = _PAUSE_AFTER_FAILURE
        self._not_before = 0.0
        self.closed = Closing()

    @property
    def open_link(self) -> Link | None:
        """The open link; None if there is none."""
        link = self._link
        return None if link is None or link.lost.is_set() else link

    async def link(self, call: str) -> Link:
        """Return the open link, dialling if there is none.

        Raises:
            BusUnavailable: no server can be reached.
            BusRefused: the server does not let this client in.
        """
        async with self._dialling:
            if (link := self.open_link) is not None:
                return link
            self.closed.check(call)
            now = asyncio.get_running_loop().time()
            # Many callers must not dial as often as they call.
            if self._failure is not None and now < self._not_before:
                raise _again(call, self._failure)
            try:
                link = await self._dial(call)
            except (BusUnavailable, BusRefused) as failure:
                self._failure = failure
                self._not_before = asyncio.get_running_loop().time() + self._pause
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                raise
            self._failure = None
            self._pause = _PAUSE_AFTER_FAILURE
            if self.closed.is_set():
                # Meanwhile, when there was nothing to close.
                await _close(link.client)
                self.closed.check(call)
            self._link = link
            return link

    async def close(self) -> None:
        """Close the link, for good."""
        self.closed.set()
        if self._link is not None:
            link, self._link = self._link, None
            await _close(link.client)
            link.end()

    async def _dial(self, call: str) -> Link:
        client = Client()
        link: Link | None = None

        async def ended() -> None:
            if link is not None:
                link.end()

        async def troubled(error: Exception) -> None:
            if link is not None:
                await link.troubled(error)

        try:
            dialled = client.connect(
                **self._options.reveal(),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                closed_cb=ended,
                error_cb=troubled,
            )
            await heeding_cancellation(dialled)
            link = Link(client, self.patience)
            await link.open()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            last = client.last_error if isinstance(error, nats.errors.NoServersError) else None
            failure = _dial_failure(call, last or error)
            await _close(client)
        except asyncio.CancelledError:
            await _close(client)
            raise
        else:
            return link
        raise failure


async def _close(client: Client) -> None:
    """Close a client, whatever state it is in, and wait for that no longer than needed."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await client.close()
    except Exception:  # noqa: BLE001 - nothing more can be done about a connection that is given up
        return


class _NotPermitted(Exception):
    pass


class _Lost(Exception):
    pass


class _Late(Exception):
    pass


def describe(error: BaseException) -> str:
    """Return a few words on an error of the network, without addresses."""
    if isinstance(error, _Lost | _Late):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror.partition('(')[0].strip()}"
    if isinstance(error, nats.errors.Error):
        return str(error) or type(error).__name__
    return type(error).__name__


def _dial_failure(call: str, error: BaseException) -> BusUnavailable | BusRefused:
    if isinstance(error, ssl.SSLCertVerificationError):
        return BusRefused(
            call,
            f"the server's certificate is not accepted ({error.verify_message})",
            "give connect(tls=...) a context that trusts it, and dial the name that it is for",
        )
    if isinstance(error, nats.errors.Error) and _AUTHORIZATION.search(str(error)):
        return BusRefused(
            call,
            "the server refuses the credentials",
            "check user and password, token, nkey or credentials file, and the server's users",
        )
    return BusUnavailable(call, describe(error))


def _not_permitted(call: str, deed: str) -> BusRefused:
    return BusRefused(
        call,
        f"the server does not permit this user to {deed}",
        "give the user the permissions that the page on setting up the bus lists",
    )


def _again(call: str, failure: BusUnavailable | BusRefused) -> BusUnavailable | BusRefused:
    if isinstance(failure, BusRefused):
        return BusRefused(call, failure.problem, failure.remedy)
    return BusUnavailable(call, failure.detail)
