"""The event loop's side: the gateway's decisions, carried out over real sockets."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Final, ParamSpec, TypeVar, cast
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from topone_proto._values import value
from topone_proto.exchange import (
    Accept,
    ClosePeer,
    Fault,
    Gateway,
    GatewayAction,
    GatewayStep,
    Happening,
    HttpDesk,
    HttpFault,
    LivingExchange,
    LivingMarket,
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
from topone_simulator._connection import Connection

__all__ = ["Core", "Handshake"]

_KEPT: Final = 1000
_CALL_TIMEOUT: Final = 30.0  # for a call that comes while the server's thread is ending
_HIDDEN: Final = "***"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}

_P = ParamSpec("_P")
_T = TypeVar("_T")


@value
class Handshake:
    """One dial as the server saw it, without the token."""

    target: str
    """Path and query of the request; every value of the query reads ``***``."""
    headers: tuple[tuple[str, str], ...]
    """The request's headers as they were written."""
    answer: Accept | Reject | SendGarbage | Stall
    """The gateway's decision."""

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name; None if it was not sent."""
        return next(
            (text for written, text in self.headers if written.lower() == name.lower()), None
        )


class Core:
    """The core behind a ``Simulator``. Everything but ``call`` runs in the event loop's own
    thread."""

    def __init__(
        self, gateway: Gateway, desk: HttpDesk, living: LivingExchange, account_name: str
    ) -> None:
        self.gateway = gateway
        self.desk = desk
        self.living = living
        self.account_name = account_name
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.handshakes: deque[Handshake] = deque(maxlen=_KEPT)
        self.requests: deque[str | bytes] = deque(maxlen=_KEPT)
        self.publications: deque[Publication] = deque(maxlen=_KEPT)
        self.goodbyes: deque[int | None] = deque(maxlen=_KEPT)
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._outboxes: dict[int, asyncio.Queue[GatewayAction]] = {}
        self._connections: set[Connection] = set()

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

    def happened(self, happening: Happening) -> None:
        """Publish an event of the living account or of its markets."""
        self.publish(happening.changes, self.account_name)
        for name in happening.markets:
            self.carry_out(self.gateway.market_changed(name, self.loop.time()))

    def inject(self, fault: Fault | HttpFault) -> None:
        """Make something go wrong, on the WebSocket or over HTTP."""
        if isinstance(fault, HttpFault):
            self.desk.inject(fault, self.loop.time())
        else:
            self.carry_out(self.gateway.inject(fault, self.loop.time()))

    def clear_faults(self) -> None:
        """Forget the faults that wait for their occasion."""
        self.gateway.clear_faults()
        self.desk.clear_faults()

    def change_market(self, name: str, event: Callable[[LivingMarket, float], _T]) -> _T:
        """Call a function with a market and its time, and publish what it changed."""
        result = event(self.living.markets[name], self.loop.time())
        self.happened(Happening(markets=(name,)))
        return result

    def _deadline_reached(self) -> None:
        self._timer = None
        now = self.loop.time()
        for happening in self.living.deadline_reached(now):
            self.happened(happening)
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
        moment = min((m for m in (deadline, self.living.deadline) if m is not None), default=None)
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
        assert isinstance(connection, Connection)
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
        assert isinstance(connection, Connection)
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

    async def _write(self, connection: "Connection") -> None:
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
        """The number of actions that wait for their turn, of all clients."""
        return sum(outbox.qsize() for outbox in self._outboxes.values())

    def connected(self, connection: "Connection") -> None:
        """A TCP connection, and TLS if there is any, was made."""
        self._connections.add(connection)

    def disconnected(self, connection: "Connection") -> None:
        """It has ended."""
        self._connections.discard(connection)
        if connection.peer:
            del self._outboxes[connection.peer]
            said = connection.protocol.close_rcvd
            self.goodbyes.append(None if said is None else int(said.code))
            self.carry_out(self.gateway.disconnected(connection.peer, self.loop.time()))

    def pong_received(self, connection: "Connection") -> None:
        """A pong came for one of the gateway's pings."""
        self.carry_out(self.gateway.pong_received(connection.peer, self.loop.time()))

    def start(self) -> None:
        """The server listens: the account and its markets begin to live."""
        self._wind(None)

    def closing(self) -> None:
        """The server is ending: leave only connections behind that can be closed with a close
        frame."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._connections):
            if connection.is_mute or connection.protocol.state is not State.OPEN:
                connection.transport.abort()


def _without_secrets(target: str) -> str:
    path, mark, query = target.partition("?")
    return (
        path
        + mark
        + "&".join(f"{name}={_HIDDEN}" for name, _ in parse_qsl(query, keep_blank_values=True))
    )
