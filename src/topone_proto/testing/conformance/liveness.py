"""Scenarios about what counts as a sign of life: bytes of the peer, be they a part of a frame or a
ping, and what was received but not read yet."""

import json
import struct
import threading
from collections.abc import Callable
from typing import Final

from topone_proto.events import Connected, Disconnected, Subscribed
from topone_proto.session.config import SessionConfig
from topone_proto.testing.conformance.kit import ETH, UP, Kit
from topone_proto.testing.conformance.raw import Peer, RawServer, accept_key, raw_server
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.balance import BALANCE, BalanceUpdate

__all__ = ["LIVENESS"]

LIVENESS: Final = Collection(Group.LIVENESS)
"""These scenarios."""

_TEXT, _PING = 0x1, 0x9
_PIECES: Final = 40
# A piece of a frame, or a ping of the peer, comes with every ping of the client: together they take
# nearly seven times as long as each of these timeouts. On a slow machine a client that takes the
# peer for dead may put that off once or twice, and the peer itself be late.
_IMPATIENT: Final = SessionConfig(
    ping_interval=0.05, pong_timeout=0.3, silence_timeout=0.3, max_attempts=1, retry_first=1e-6
)
_UPDATE: Final = json.dumps(
    {
        "method": "sub_balance",
        "ts": 1_000_000,
        "data": {
            "asset": ETH.asset,
            "available": str(ETH.available),
            "freeze": str(ETH.freeze),
        },
        "padding": "x" * 200_000,
    }
).encode()


def _frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole frame of a server: a short one, or one of more than 64 KiB."""
    head = bytes([0x80 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + struct.pack("!BQ", 127, len(payload)) + payload


def _server(says: Callable[[int], bytes]) -> Callable[[Peer, RawServer], None]:
    """A server that acknowledges every request, and never answers a ping: to the client's ping
    number n it says ``says(n)``."""

    def serve(peer: Peer, server: RawServer) -> None:
        request = peer.request()
        server.requests.append(request)
        head = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
        )
        peer.say(head + accept_key(request) + b"\r\n\r\n")
        pings = 0
        for opcode, payload in peer.frames():
            if opcode == _TEXT:
                asked = json.loads(payload)
                ack = {"id": asked["id"], "method": asked["method"], "code": 0, "msg": ""}
                peer.say(_frame(_TEXT, json.dumps({**ack, "ts": 1_000_000}).encode()))
            elif opcode == _PING:
                peer.say(says(pings))
                pings += 1

    return serve


def _piece(number: int) -> bytes:
    """A piece of one large frame."""
    whole = _frame(_TEXT, _UPDATE)
    size = -(-len(whole) // _PIECES)
    return whole[number * size : (number + 1) * size]


def _ping(number: int) -> bytes:
    """A ping, and at last an update."""
    if number < _PIECES:
        return _frame(_PING, str(number).encode())
    return _frame(_TEXT, _UPDATE) if number == _PIECES else b""


@LIVENESS.add_each(
    {
        "a large frame on a slow line": _piece,
        "a peer that pings and answers no ping": _ping,
    },
    lambda _: ["connected 1", "subscribed balance 1", "balance ETH"],
)
async def bytes_are_a_sign_of_life(kit: Kit, says: Callable[[int], bytes]) -> None:
    """A peer that sends is alive, though no whole message comes for longer than the timeouts. Give
    the WebSocket an attribute ``heard_at``, and call ``bytes_received`` before
    ``deadline_reached``."""
    with raw_server(_server(says), kit.patience) as server:
        async with kit.open(url=server.url, topics=[BALANCE], config=_IMPATIENT) as feed:
            await feed.until(Subscribed)
            kit.same((await feed.take(BalanceUpdate)).balance, ETH, "the balance")
        kit.same(len(server.requests), 1, "the number of dials")


@LIVENESS.add(UP)
async def an_application_that_blocks_the_loop_keeps_its_connection(kit: Kit) -> None:
    """Work that takes longer than ``ack_timeout`` on every ``Connected`` costs no connection: what
    has come in the meantime is read before anything is taken for late."""
    config = SessionConfig(ack_timeout=0.1, retry_first=1e-6, retry_base=1e-6, retry_cap=1e-6)
    async with kit.open(config=config) as feed:
        subscribed = 0
        while subscribed < 2:
            event = await feed.next()
            kit.check(not isinstance(event, Disconnected), "the connection was given up")
            subscribed += isinstance(event, Subscribed)
            if isinstance(event, Connected):
                # Without the interpreter's lock, which the exchange needs to answer.
                threading.Event().wait(4 * config.ack_timeout)
    kit.same(len(kit.simulator.handshakes), 1, "the number of dials")
