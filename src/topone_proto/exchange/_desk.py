"""The desk at which requests are answered: at once, late, twice, wrongly or never, as the armed
faults say."""

import heapq
from collections.abc import Iterator
from math import inf
from typing import Any, Final

from topone_proto.exchange._frames import data_of
from topone_proto.exchange._market_data import MarketDesk
from topone_proto.exchange._peer import Peer
from topone_proto.exchange._requests import Request
from topone_proto.exchange.actions import SendFrame
from topone_proto.exchange.config import MALFORMED_REQUEST, UNKNOWN_METHOD, GatewayConfig
from topone_proto.exchange.faults import (
    Armed,
    DelayAck,
    DuplicateAck,
    LoseAck,
    RejectRequest,
    RequestFault,
    WrongId,
)
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic

__all__ = ["Desk"]

_PRIVATE: Final = {topic.name: topic for topic in (BALANCE, ORDERS)}


class Desk:
    """Carries requests out, and writes their responses."""

    def __init__(self, config: GatewayConfig, markets: MarketDesk) -> None:
        """Have nothing to answer yet.

        Args:
            config: what kind of server it is.
            markets: the data of the markets.
        """
        self.faults: Armed[RequestFault] = Armed()
        """The faults of the next requests."""
        self._config = config
        self._markets = markets
        self._delayed: list[tuple[float, int, SendFrame]] = []
        self._count = 0

    @property
    def deadline(self) -> float:
        """The time at which the next late response is due; infinity for never."""
        return self._delayed[0][0] if self._delayed else inf

    def due(self, now: float) -> Iterator[SendFrame]:
        """Yield the late responses that are due, in order."""
        while self._delayed and self._delayed[0][0] <= now:
            yield heapq.heappop(self._delayed)[2]

    def answer(self, client: Peer, request: Request, ts: int, now: float) -> tuple[SendFrame, ...]:
        """Carry a request out, and return what is sent at once.

        Args:
            client: who asks.
            request: what.
            ts: the time in milliseconds by the clock of the client's node.
            now: the time.
        """
        fault = self.faults.strike(lambda fault: fault.method in {None, request.method})
        if request.problem:
            outcome: dict[str, Any] = {"code": MALFORMED_REQUEST, "msg": request.problem}
        elif isinstance(fault, RejectRequest):
            outcome = {"code": fault.code, "msg": fault.msg}
        else:
            outcome = self._carry_out(client, request, now)
        identity = fault.id if isinstance(fault, WrongId) else request.id
        frame = client.response({"id": identity, "method": request.method, **outcome}, ts)
        match fault:
            case LoseAck():
                return ()
            case DelayAck(seconds=seconds):
                self._count += 1
                heapq.heappush(self._delayed, (now + seconds, self._count, frame))
                return ()
            case DuplicateAck():
                return (frame, frame)
            case _:
                return (frame,)

    def _carry_out(self, client: Peer, request: Request, now: float) -> dict[str, Any]:
        """Do what is asked. Returns the members of the response that say what came of it."""
        verb, _, name = (request.method or "").partition("_")
        topic = self._find(client, name)
        pulled = self._markets.find(name) if topic is not None else None
        match verb:
            case "sub" if topic is not None:
                client.topics[topic] = None
            case "unsub" if topic is not None:
                client.topics.pop(topic, None)
            case "req" if pulled is not None and pulled.kind == "kline":
                rows = self._markets.pull(pulled, request.params, now)
                if isinstance(rows, str):
                    return {"code": MALFORMED_REQUEST, "msg": rows}
                return {**self._done(), "data": data_of(rows)}
            case _:
                return {"code": UNKNOWN_METHOD, "msg": "unknown method"}
        return self._done() | ({"data": {}} if self._config.ok_form else {})

    def _done(self) -> dict[str, Any]:
        return {"code": 0, "msg": "OK" if self._config.ok_form else ""}

    def _find(self, client: Peer, name: str) -> Topic | None:
        """Return the topic that this client's socket serves under a name."""
        is_public = client.account is None
        if not is_public and name in _PRIVATE:
            return _PRIVATE[name]
        if (is_public or self._config.is_mixed) and self._markets.find(name) is not None:
            return Topic(name)
        return None
