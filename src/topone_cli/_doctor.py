"""Obstacles between this machine and a feed, looked for step by step. No output here: the results
come out one check after the other."""

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, closing, suppress
from functools import partial
from typing import Any, Final

from attrs import define

from topone_asyncio import open_websocket
from topone_cli._checks import ODDITIES, Check
from topone_cli._describe import describe
from topone_cli._errors import explain_failure, explain_problem, in_options
from topone_cli._format import printable
from topone_cli._topics import ACCOUNT_TOPICS
from topone_proto import (
    ConfigurationError,
    Connect,
    Connection,
    ConnectionEnded,
    ConnectionFailed,
    Endpoint,
    Failure,
    FailureKind,
    RequestTimedOut,
    SendText,
    SessionConfig,
    Step,
    Subscribed,
    SubscriptionRejected,
    Token,
    Topic,
)
from topone_proto.adapters import AsyncWebSocket, failure_from_exception
from topone_proto.events import ANOMALIES
from topone_proto.secrets.redaction import Redactor
from topone_websockets import proxy_for

__all__ = ["check_url", "examine"]

# Characters of what the server says.
_SHOWN: Final = 320


def check_url(url: str, *, insecure: bool) -> Check:
    """Look at the URL, which needs no token."""
    try:
        return Check("URL", ok=True, text=Endpoint(url, None, insecure).url)
    except ConfigurationError as error:
        return Check("URL", ok=False, text=explain_problem(error))


def examine(
    url: str,
    token: Token,
    *,
    insecure: bool = False,
    timeout: float = 10.0,
    ping_wait: float = 5.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Generator[Check, None, None]:
    """Look at everything in order, up to the first thing without which the rest is of no use.

    Args:
        url: where to connect, without the token.
        token: the API token.
        insecure: True allows plain ``ws://`` to other machines.
        timeout: seconds that any one thing may take.
        ping_wait: seconds to wait for a ping of the server.
        ssl_context: for a private CA; the default checks certificates against the system's.
    """
    where = check_url(url, insecure=insecure)
    yield where
    if not where.ok:
        return
    endpoint = Endpoint(url, None, insecure)
    for check in _transport(endpoint, timeout, ssl_context):
        yield check
        if check.ok is False:
            return
    dials = _Dials(token, timeout, ssl_context)
    yield from dials.handshakes(endpoint, Endpoint(url, "", insecure))
    if dials.good is not None:
        yield from _each(_Talk(dials, dials.good).checks(ping_wait))


def _each(checks: AsyncGenerator[Check, None]) -> Iterator[Check]:
    async def next_check() -> Check | None:
        return await anext(checks, None)

    with asyncio.Runner() as runner:
        while (check := runner.run(next_check())) is not None:
            yield check


def _transport(
    endpoint: Endpoint, timeout: float, ssl_context: ssl.SSLContext | None
) -> Iterator[Check]:
    host, port = endpoint.host, endpoint.port
    try:
        proxy = proxy_for(endpoint)
    except ConnectionFailed as error:
        yield _failed("proxy", error.failure)
        return
    if proxy is not None:
        host, port = proxy.host, proxy.port
        yield Check("proxy", ok=True, text=f"HTTPS_PROXY names {host}:{port}: it is dialled first")
    try:
        found = _look_up(host, port, timeout)
    except (OSError, UnicodeError) as error:
        yield _failed("DNS", failure_from_exception(error))
        return
    addresses = dict.fromkeys(str(address[4][0]) for address in found)
    yield Check("DNS", ok=True, text=f"{host} is {', '.join(addresses)}")
    started = time.monotonic()
    try:
        sock = socket.create_connection((host, port), timeout)
    except OSError as error:
        yield _failed("TCP", failure_from_exception(error))
        return
    with closing(sock):
        yield Check("TCP", ok=True, text=f"port {port} answers in {_since(started)}")
        if not endpoint.is_tls:
            yield Check("TLS", ok=None, text="none: whoever is on the way can read the token")
            return
        if proxy is not None:
            yield Check("TLS", ok=None, text="behind the proxy, where the handshake meets it")
            return
        context = ssl_context or ssl.create_default_context()
        try:
            with context.wrap_socket(sock, server_hostname=host.rstrip(".")) as secure:
                yield Check("TLS", ok=True, text=f"{secure.version()}, the certificate is good")
        except OSError as error:
            yield _failed("TLS", failure_from_exception(error))


def _look_up(host: str, port: int, timeout: float) -> list[Any]:
    """Return the addresses of a name. A lookup cannot be ended: it has a thread nobody waits for.

    Raises:
        OSError: there are none.
        UnicodeError: no name can be like that.
    """
    found: list[Any] = []
    errors: list[OSError | UnicodeError] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout)
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout:g} s")
    return found


def _failed(name: str, failure: Failure) -> Check:
    return Check(name, ok=False, text=printable(explain_failure(failure)))


def _since(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:.0f} ms"


@define
class _Dials:
    """Handshakes with a token, and the endpoint that let one through."""

    token: Token
    timeout: float
    ssl_context: ssl.SSLContext | None
    good: Endpoint | None = None
    control_pings: int = 0
    pongs: int = 0
    on_control_ping: Callable[[], object] = bool

    def open(self, endpoint: Endpoint) -> AbstractAsyncContextManager[AsyncWebSocket]:
        config = SessionConfig()
        return open_websocket(
            Connect(endpoint, self.token, self.timeout, config.max_frame_size),
            self._pong_came,
            ssl_context=self.ssl_context,
            on_ping=self._ping_came,
        )

    def _pong_came(self, _: bytes) -> None:
        self.pongs += 1

    def _ping_came(self, _: bytes) -> None:
        self.control_pings += 1
        if self.control_pings == 1:
            self.on_control_ping()

    def handshakes(self, absent: Endpoint, empty: Endpoint) -> Iterator[Check]:
        without = self._try(absent)
        status = None if without is None else without.status
        # Only an answer can tell one way of sending Origin from the other.
        asked = without is None or status is not None
        with_empty = self._try(empty) if asked else without
        if without is None:
            yield Check(_ABSENT, ok=True, text="accepted")
        elif with_empty is None and status == 403:
            yield Check(
                _ABSENT,
                ok=False,
                text="refused with HTTP 403, and accepted with an empty one: the gateway wants "
                'Origin present but empty; use topone watch with --origin "", and open_feed with '
                'origin=""',
            )
        elif status == 401:
            yield Check(_ABSENT, ok=None, text="HTTP 401, which is for the token")
        else:
            yield _failed(_ABSENT, without)
        if not asked:
            yield Check(_EMPTY, ok=None, text="not tried")
        elif with_empty is None:
            yield Check(_EMPTY, ok=True, text="accepted")
        elif without is None:
            yield Check(
                _EMPTY, ok=None, text=f"not accepted ({_short(with_empty)}): leave Origin out"
            )
        else:
            yield Check(_EMPTY, ok=None if status == 401 else False, text=_short(with_empty))
        yield self._token_check(without, with_empty)
        if without is None:
            self.good = absent
        elif with_empty is None:
            self.good = empty

    def _try(self, endpoint: Endpoint) -> Failure | None:
        return asyncio.run(self._dial(endpoint))

    async def _dial(self, endpoint: Endpoint) -> Failure | None:
        try:
            async with self.open(endpoint):
                return None
        except ConnectionFailed as error:
            return error.failure

    @staticmethod
    def _token_check(without: Failure | None, with_empty: Failure | None) -> Check:
        if without is None or with_empty is None:
            return Check(_TOKEN, ok=True, text="accepted")
        statuses = {without.status, with_empty.status}
        if 401 in statuses:
            return Check(
                _TOKEN,
                ok=False,
                text=f"refused: {in_options(Failure(FailureKind.HANDSHAKE, status=401).advice)}",
            )
        if 403 in statuses:
            return Check(
                _TOKEN,
                ok=None,
                text="HTTP 403 does not say whether it refuses Origin or token: try a new token",
            )
        return Check(_TOKEN, ok=None, text="not looked at by the server")


def _short(failure: Failure) -> str:
    if failure.status is not None:
        return f"HTTP {failure.status}"
    return printable(failure.kind.value.replace("_", " "))


class _Talk:
    """One connection: both topics are asked for, then what the server says is listened to."""

    def __init__(self, dials: _Dials, endpoint: Endpoint) -> None:
        self._dials = dials
        self._endpoint = endpoint
        self._connection = Connection(
            SessionConfig(ack_timeout=dials.timeout, ping_interval=None, silence_timeout=1_000_000)
        )
        self._acknowledged: dict[Topic, str] = {}
        self._refused: str | None = None
        self._ping: str | None = None
        self._oddities: list[str] = []

    async def checks(self, ping_wait: float) -> AsyncGenerator[Check, None]:
        """Check the acknowledgements, the form of the ping, and what was odd."""
        self._dials.control_pings = 0
        try:
            async with self._dials.open(self._endpoint) as websocket:
                acks = await self._ask(websocket)
                yield acks
                if acks.ok:
                    yield await self._await_ping(websocket, ping_wait)
        except ConnectionFailed as error:
            yield _failed(_ACKS, error.failure)
        if self._oddities:
            yield Check(ODDITIES, ok=None, text="; ".join(dict.fromkeys(self._oddities)))

    async def _ask(self, websocket: AsyncWebSocket) -> Check:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._dials.timeout):
                for topic in ACCOUNT_TOPICS:
                    await self._obey(websocket, self._connection.subscribe(topic, started))
                while len(self._acknowledged) < len(ACCOUNT_TOPICS) and self._refused is None:
                    step = await self._hear(websocket)
                    for event in step.events:
                        if isinstance(event, Subscribed):
                            self._acknowledged[event.topic] = _since(started)
        except (ConnectionEnded, TimeoutError) as end:
            missing = " and ".join(
                topic.subscribe_method
                for topic in ACCOUNT_TOPICS
                if topic not in self._acknowledged
            )
            return Check(_ACKS, ok=False, text=self._end(end, f"{missing} not acknowledged"))
        if self._refused is not None:
            return Check(_ACKS, ok=False, text=self._refused)
        times = ", ".join(f"{topic} in {took}" for topic, took in self._acknowledged.items())
        return Check(_ACKS, ok=True, text=times)

    async def _await_ping(self, websocket: AsyncWebSocket, seconds: float) -> Check:
        try:
            async with asyncio.timeout(seconds) as patience:
                # A ping frame is answered where nobody sees it, and does not end a receive.
                self._dials.on_control_ping = partial(patience.reschedule, 0)
                await websocket.send_ping(b"doctor")
                while self._ping is None and not self._dials.control_pings:
                    await self._hear(websocket)
        except (ConnectionEnded, TimeoutError) as end:
            if not self._dials.control_pings:
                return self._no_ping(end, seconds)
        return Check(_PING, ok=True, text=self._ping or "a WebSocket ping frame")

    def _no_ping(self, end: ConnectionEnded | TimeoutError, seconds: float) -> Check:
        if isinstance(end, ConnectionEnded):
            return Check(_PING, ok=False, text=self._end(end, "it was waited for a ping"))
        if not self._dials.pongs:
            return Check(_PING, ok=False, text="ours was not answered: the connection is half-open")
        return Check(
            _PING,
            ok=None,
            text=f"none in {seconds:g} s, which may be too short: the exchange speaks of "
            "three minutes (--ping-wait 200 waits for longer)",
        )

    def _end(self, end: ConnectionEnded | TimeoutError, what: str) -> str:
        if isinstance(end, TimeoutError):
            return f"{what} within {self._dials.timeout:g} s: the server does not answer"
        kind = FailureKind.LOST if end.code is None else FailureKind.CLOSED
        reason = Redactor(self._dials.token).redact(end.reason)
        return printable(
            f"{what}, because: {explain_failure(Failure(kind, reason, code=end.code))}"
        )

    async def _hear(self, websocket: AsyncWebSocket) -> Step:
        frame = await websocket.receive()
        step = self._connection.message_received(frame, time.monotonic())
        for event in step.events:
            if isinstance(event, SubscriptionRejected):
                self._refused = self._shown(str(event))
            elif isinstance(event, ANOMALIES) and not isinstance(event, RequestTimedOut):
                name = type(event).__name__
                self._oddities.append(f"{name}: {self._shown(describe(event))}")
        if step.actions:
            text = frame if isinstance(frame, str) else frame.decode()
            self._ping = f"a text frame: {self._shown(text)}"
        await self._obey(websocket, step)
        return step

    def _shown(self, text: str) -> str:
        clean = printable(Redactor(self._dials.token).redact(text))
        return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}..."

    @staticmethod
    async def _obey(websocket: AsyncWebSocket, step: Step) -> None:
        for action in step.actions:
            # A peer that is gone is found out by the next receive.
            with suppress(ConnectionEnded):
                if isinstance(action, SendText):
                    await websocket.send_text(action.text)


_ABSENT: Final = "handshake without Origin"
_EMPTY: Final = "handshake with an empty Origin"
_TOKEN: Final = "token"
_ACKS: Final = "acknowledgements"
_PING: Final = "ping"
