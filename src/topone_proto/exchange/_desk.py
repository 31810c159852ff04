"""Where requests are answered: at once, late, twice, wrongly or never, as the armed faults say."""

import heapq
from collections.abc import Iterator
from math import inf
from typing import Any, Final

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

__all__ = ["Desk"]

# method -> (topic, whether it is subscribed to afterwards)
_METHODS: Final = {
    method: (topic, wanted)
    for topic in (BALANCE, ORDERS)
    for method, wanted in ((topic.subscribe_method, True), (topic.unsubscribe_method, False))
}


class Desk:
    """Carries requests out, and writes their responses."""

    def __init__(self, config: GatewayConfig) -> None:
        """Have nothing to answer yet.

        Args:
            config: what kind of server it is.
        """
        self.faults: Armed[RequestFault] = Armed()
        """What goes wrong at the next requests."""
        self._config = config
        self._delayed: list[tuple[float, int, SendFrame]] = []
        self._count = 0

    @property
    def deadline(self) -> float:
        """When the next late response is due; infinity for never."""
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
        identity = request.id
        data: dict[str, Any] = {}
        if request.problem:
            code, msg = MALFORMED_REQUEST, request.problem
        elif isinstance(fault, RejectRequest):
            code, msg = fault.code, fault.msg
        elif request.method not in _METHODS:
            code, msg = UNKNOWN_METHOD, "unknown method"
        else:
            topic, wanted = _METHODS[request.method]
            (client.topics.add if wanted else client.topics.discard)(topic)
            code, msg = 0, "OK" if self._config.ok_form else ""
            data = {"data": {}} if self._config.ok_form else {}
        if isinstance(fault, WrongId):
            identity = fault.id
        response = {"id": identity, "method": request.method, "code": code, "msg": msg, **data}
        frame = client.response(response, ts)
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
