"""The decisions of ``topone_proto.exchange``, carried out over real sockets. No decision
about the protocol lives here."""

import asyncio
import contextlib
import logging
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET
from typing import Final, ParamSpec, TypeVar, cast
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from topone_proto._values import value
from topone_proto.exchange import (
    Accept,
    ClosePeer,
    ExchangeStep,
    Fault,
    Gateway,
    GatewayAction,
    GatewayConfig,
    GatewayStep,
    LivingAccount,
    MutePeer,
    Publication,
    Reject,
    ResetPeer,
    SendFrame,
    SendGarbage,
    SendPing,
    Stall,
)
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order

__all__ = ["Handshake", "Simulator", "run_in_thread", "serve"]

_KEPT: Final = 1000
_CLOSE_TIMEOUT: Final = 1.0
_CALL_TIMEOUT: Final = 30.0  # for a call that comes while the server's thread is ending
_HIDDEN: Final = "***"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _ErrorsOnly(logging.Logger):
    """websockets writes whole URLs, tokens included, at level DEBUG; no setting of the program may
    bring that out."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        return level >= logging.ERROR


_logger: Final = _ErrorsOnly("topone_simulator.websockets")
_logger.parent = logging.getLogger("topone_simulator")


@value
class Handshake:
    """One dial as the server saw it, without the token."""

    target: str
    """Path and query of the request; every value of the query reads ``***``."""
    headers: tuple[tuple[str, str], ...]
    """The request's headers as they were written."""
    answer: Accept | Reject | SendGarbage | Stall
    """What the gateway decided."""

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name; None if it was not sent."""
        return next(
            (text for written, text in self.headers if written.lower() == name.lower()), None
        )


class _Core:
    """What is behind a ``Simulator``. Everything but ``call`` runs in the event loop's own
    thread."""

    def __init__(self, gateway: Gateway, account: LivingAccount, account_name: str) -> None:
        self.gateway = gateway
        self.account = account
        self.account_name = account_name
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.handshakes: deque[Handshake] = deque(maxlen=_KEPT)
        self.requests: deque[str | bytes] = deque(maxlen=_KEPT)
        self.publications: deque[Publication] = deque(maxlen=_KEPT)
        self.goodbyes: deque[int | None] = deque(maxlen=_KEPT)
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._outboxes: dict[int, asyncio.Queue[GatewayAction]] = {}
        self._connections: set[_Connection] = set()

    def call(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in the event loop's thread, from any thread."""
        if threading.get_ident() == self._thread or self.loop.is_closed():
            return function(*args, **kwargs)
        future: Future[_T] = Future()

        def call() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                future.set_exception(error)

        self.loop.call_soon_threadsafe(call)
        return future.result(_CALL_TIMEOUT)

    def publish(self, updates: tuple[Balance | Order, ...], account: str) -> None:
        """Publish updates, in order."""
        for update in updates:
            self.carry_out(self.gateway.publish(account, update, self.loop.time()))

    def _deadline_reached(self) -> None:
        self._timer = None
        now = self.loop.time()
        self.publish(self.account.deadline_reached(now).changes, self.account_name)
        self.carry_out(self.gateway.deadline_reached(now))

    def carry_out(self, step: GatewayStep) -> None:
        """Hand actions to the connections that they are for, and wind the clock."""
        self.publications += step.publications
        for action in step.actions:
            match action:
                case Reject() | SendGarbage() | Stall():
                    pass  # the handshake under way takes these itself
                case Accept(peer=peer):
                    self._outboxes[peer] = asyncio.Queue()
                case _:
                    self._outboxes[action.peer].put_nowait(action)
        self._wind(step.deadline)

    def _wind(self, deadline: float | None) -> None:
        moment = min((m for m in (deadline, self.account.deadline) if m is not None), default=None)
        if self._timer is not None:
            if self._timer.when() == moment:
                return
            self._timer.cancel()
        self._timer = None if moment is None else self.loop.call_at(moment, self._deadline_reached)

    async def handshake(
        self, connection: ServerConnection, request: Request, response: Response
    ) -> Response | None:
        """Let the gateway answer what websockets found to be a proper handshake."""
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        connection = cast("_Connection", connection)
        headers = tuple(request.headers.raw_items())
        step = self.gateway.handshake(request.path, headers, self.loop.time())
        answer = step.actions[0]
        assert isinstance(answer, Accept | Reject | SendGarbage | Stall)
        self.handshakes.append(Handshake(_without_secrets(request.path), headers, answer))
        if isinstance(answer, Accept):
            connection.peer = answer.peer
        self.carry_out(step)
        match answer:
            case Accept():
                return None
            case Reject(status=status, reason=reason, headers=more):
                # Made for a status that every version of Python knows, then changed.
                response = connection.respond(HTTPStatus.BAD_REQUEST, f"{reason}\n")
                response.status_code = status
                response.reason_phrase = _PHRASES.get(status, "")
                for name, text in more:
                    response.headers[name] = text
                return response
            case SendGarbage(data=data):
                connection.transport.write(data)
                connection.transport.close()
            case Stall():  # pragma: no branch - there is no other
                pass
        await connection.wait_closed()
        return None

    async def handle(self, connection: ServerConnection) -> None:
        """One client, from its handshake to its end."""
        connection = cast("_Connection", connection)
        writer = asyncio.create_task(self._write(connection))
        try:
            async for frame in connection:
                self.requests.append(frame)
                self.carry_out(
                    self.gateway.message_received(connection.peer, frame, self.loop.time())
                )
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(self, connection: "_Connection") -> None:
        """One client's actions, in order. A client that does not read delays its own only."""
        outbox = self._outboxes[connection.peer]
        try:
            while True:
                match await outbox.get():
                    case SendFrame(text=text):
                        await connection.send(text)
                    case SendPing(payload=payload):
                        pong = cast("asyncio.Future[float]", await connection.ping(payload))
                        pong.add_done_callback(connection.pong_received)
                    case ClosePeer(code=code, reason=reason):
                        await connection.close(code, reason)
                    case ResetPeer():
                        connection.reset()
                    case MutePeer():
                        connection.mute()
                    case _:  # pragma: no cover
                        pass  # answers to handshakes are not put here; websockets answers pings
        except ConnectionClosed:
            pass
        except Exception:
            # Such as a close code that may not be sent. Half a conversation would only confuse the
            # client.
            connection.transport.abort()
            raise

    def unsent(self) -> int:
        """How many actions wait for their turn, of all clients."""
        return sum(outbox.qsize() for outbox in self._outboxes.values())

    def connected(self, connection: "_Connection") -> None:
        """A TCP connection, and TLS if there is any, was made."""
        self._connections.add(connection)

    def disconnected(self, connection: "_Connection") -> None:
        """It has ended."""
        self._connections.discard(connection)
        if connection.peer:
            del self._outboxes[connection.peer]
            said = connection.protocol.close_rcvd
            self.goodbyes.append(None if said is None else int(said.code))
            self.carry_out(self.gateway.disconnected(connection.peer, self.loop.time()))

    def pong_received(self, connection: "_Connection") -> None:
        """A pong came for one of the gateway's pings."""
        self.carry_out(self.gateway.pong_received(connection.peer, self.loop.time()))

    def start(self) -> None:
        """The server listens: the account begins to live."""
        self._wind(None)

    def closing(self) -> None:
        """The server is ending: leave only connections behind that can be closed with a close
        frame."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._connections):
            if connection.is_mute or connection.protocol.state is not State.OPEN:
                connection.transport.abort()


class _Connection(ServerConnection):
    """A connection of websockets that tells the simulator of its end, and can misbehave."""

    core: _Core
    peer: int = 0
    """The gateway's number for it; 0 until it is accepted."""
    is_mute: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.core.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.core.disconnected(self)

    def pong_received(self, pong: "asyncio.Future[float]") -> None:
        """The future of a ping is done: by its pong, or by the end of the connection."""
        if not pong.cancelled() and pong.exception() is None:
            self.core.pong_received(self)

    def reset(self) -> None:
        """End the TCP connection with a reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def mute(self) -> None:
        """Read on, so that TCP sees nothing amiss and the client's leaving is noticed, but pass
        nothing on."""
        self.is_mute = True
        self.transport.set_protocol(_Deaf(self))


class _Deaf(asyncio.Protocol):
    """What stands in for a muted connection: websockets would go on answering pings and closing
    frames."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


def _without_secrets(target: str) -> str:
    path, mark, query = target.partition("?")
    return (
        path
        + mark
        + "&".join(f"{name}={_HIDDEN}" for name, _ in parse_qsl(query, keep_blank_values=True))
    )


class Simulator:
    """A running server. Get one from ``serve`` or ``run_in_thread``; every method may be called
    from any thread."""

    def __init__(self, core: _Core, scheme: str, host: str, port: int, path: str) -> None:
        self._core = core
        self._port = port
        self._url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"

    # What can be asked.

    @property
    def url(self) -> str:
        """Where to dial, without the token: ``ws://127.0.0.1:<port>/ws/user/``."""
        return self._url

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return self._port

    @property
    def handshakes(self) -> tuple[Handshake, ...]:
        """The dials that came, the oldest first: the last thousand of them."""
        return self._core.call(lambda: tuple(self._core.handshakes))

    @property
    def requests(self) -> tuple[str | bytes, ...]:
        """The frames that clients sent, the oldest first: the last thousand of them."""
        return self._core.call(lambda: tuple(self._core.requests))

    @property
    def publications(self) -> tuple[Publication, ...]:
        """What was published to clients, the oldest first: the last thousand of them.

        Whether it could reach them or not.
        """
        return self._core.call(lambda: tuple(self._core.publications))

    @property
    def goodbyes(self) -> tuple[int | None, ...]:
        """The code of the close frame that each client sent, in the order in which their
        connections ended: the last thousand of them. None if it sent no close frame."""
        return self._core.call(lambda: tuple(self._core.goodbyes))

    @property
    def peers(self) -> tuple[int, ...]:
        """Who is connected: the ``peer`` that each handshake's ``Accept`` named, and a fault can
        name."""
        return self._core.call(lambda: self._core.gateway.peers)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.peers)

    @property
    def unsent(self) -> int:
        """How many frames wait for clients that do not read, because TCP takes no more of them."""
        return self._core.call(self._core.unsent)

    @property
    def orders(self) -> dict[int, Order]:
        """The living account's orders as they are now, by id: the open ones and the last thousand
        closed ones. A copy, which does not live on."""
        return self._core.call(lambda: self._core.account.orders)

    @property
    def balances(self) -> dict[str, Balance]:
        """The living account's balances as they are now, by asset. A copy, which does not live
        on."""
        return self._core.call(lambda: self._core.account.balances)

    # What can be done.

    def inject(self, fault: Fault) -> None:
        """Make something go wrong, now or at its next occasion; see the faults of
        ``topone_proto.exchange``.

        Clients that it disconnects are told of nothing that happens from then on, however late they
        notice.
        """
        self._core.call(
            lambda: self._core.carry_out(self._core.gateway.inject(fault, self._core.loop.time()))
        )

    def clear_faults(self) -> None:
        """Forget the faults that wait for their occasion."""
        self._core.call(self._core.gateway.clear_faults)

    def publish(self, *updates: Balance | Order, account: str | None = None) -> None:
        """Publish made-up updates, in order, to an account's clients; by default to the living
        account's."""
        self._core.call(self._core.publish, updates, account or self._core.account_name)

    def live(
        self, event: Callable[[LivingAccount, float], ExchangeStep]
    ) -> tuple[Order | Balance, ...]:
        """Make something happen to the living account, and publish it to whoever is connected.

        ``simulator.live(lambda account, now: account.place("ETH/BTC", Side.BUY, Decimal(1), now))``

        Args:
            event: is called once, in the server's thread, with the account and its present time:
                ``place``, ``fill`` or ``cancel`` one order.

        Returns:
            What changed and is on its way to the clients: the order, then the balances that it
            moved. When a client has it is not known here.

        Raises:
            LocalProtocolError: the account does not allow it, such as an order that costs more than
                is available. Nothing has happened then. Whatever else ``event`` raises comes out,
                too.
        """

        def happen() -> tuple[Order | Balance, ...]:
            changes = event(self._core.account, self._core.loop.time()).changes
            self._core.publish(changes, self._core.account_name)
            return changes

        return self._core.call(happen)

    def allow(self, token: str, account: str) -> None:
        """Let ``token`` open ``account`` from now on."""
        self._core.call(self._core.gateway.allow, token, account)


@contextlib.asynccontextmanager
async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tokens: Mapping[str, str] | None = None,
    config: GatewayConfig | None = None,
    rate: float = 0.0,
    seed: int = 0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncGenerator[Simulator, None]:
    """Serve while the ``async with`` block runs; at its end every connection is closed.

    Args:
        host: the address to listen on.
        port: the TCP port to listen on; 0 for any that is free.
        tokens: which token opens which account; None for the one token ``demo`` of the account
            ``demo``. The first account is the living one.
        config: what kind of server it is; None for the defaults with the time of this machine.
        rate: how many events per second happen to the living account on average; 0 for none.
        seed: the source of all chance in its life.
        ssl_context: serves ``wss://`` instead of ``ws://``.

    Raises:
        OSError: the port cannot be listened on.
    """
    now = asyncio.get_running_loop().time()
    tokens = {"demo": "demo"} if tokens is None else tokens
    config = config or GatewayConfig(start_ts=round(time.time() * 1000))
    gateway = Gateway(tokens, config=config, now=now)
    account = LivingAccount(seed, rate=rate, now=now, start_time=config.start_ts / 1000)
    core = _Core(gateway, account, next(iter(tokens.values()), "demo"))

    class Connection(_Connection):
        """Of this simulator."""

    Connection.core = core
    # Everything that websockets would decide by itself is off: compression, keep-alive, time
    # limits, its header.
    server = await serve_websockets(
        core.handle,
        host,
        port,
        process_response=core.handshake,
        create_connection=Connection,
        compression=None,
        ping_interval=None,
        open_timeout=None,
        close_timeout=_CLOSE_TIMEOUT,
        server_header=None,
        logger=_logger,
        ssl=ssl_context,
    )
    try:
        core.start()
        port = next(iter(server.sockets)).getsockname()[1]
        yield Simulator(
            core, "ws" if ssl_context is None else "wss", host, port, config.path or "/"
        )
    finally:
        core.closing()
        server.close()
        await server.wait_closed()


@contextlib.contextmanager
def run_in_thread(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tokens: Mapping[str, str] | None = None,
    config: GatewayConfig | None = None,
    rate: float = 0.0,
    seed: int = 0,
    ssl_context: ssl.SSLContext | None = None,
) -> Generator[Simulator, None, None]:
    """``serve`` in an event loop and a thread of its own while the ``with`` block runs, for any
    other program.

    Arguments and errors are those of ``serve``. The thread has ended when the block is left.
    """
    started: Future[tuple[Simulator, Callable[[], object]]] = Future()
    ended: Future[None] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with serve(
            host,
            port,
            tokens=tokens,
            config=config,
            rate=rate,
            seed=seed,
            ssl_context=ssl_context,
        ) as simulator:
            started.set_result((simulator, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
            ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            (ended if started.done() else started).set_exception(error)

    thread = threading.Thread(target=run, name="topone-simulator", daemon=True)
    thread.start()
    simulator, stop = started.result()
    try:
        yield simulator
    finally:
        stop()
        thread.join()
        ended.result()
