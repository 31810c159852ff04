"""The server's side of one connection: who is there, what it follows, and how it is spoken to."""

from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Any, Final

from attrs import Factory, define, field

from topone_proto.exchange._frames import frame_text, written_time
from topone_proto.exchange.actions import GatewayAction, SendFrame, SendPing
from topone_proto.exchange.config import GatewayConfig, PingForm, TimeForm
from topone_proto.wire.topic import Topic

__all__ = ["Peer"]

_NEVER: Final = inf
_KEPT: Final = 100


@define(eq=False)
class Peer:
    """One client that was accepted."""

    number: int
    """The number of its connection."""
    account: str | None
    """Whose updates it may have; None on the public socket."""
    token: str | None = field(repr=False)
    """The token that it was let in with; None on the public socket."""
    next_ping: float
    """The time of its next ping."""
    topics: dict[Topic, None] = Factory(dict[Topic, None])
    """The topics that it is subscribed to, in the order in which it asked."""
    is_silent: bool = False
    """True once nothing is sent to it or heard of it any more."""
    unanswered_since: float | None = None
    """The time at which its first unanswered ping was sent; None if all are answered."""
    pings: int = 0
    """The number of pings to it."""
    numbers: deque[int] = Factory(lambda: deque[int](maxlen=_KEPT))
    """The numbers of the last pings that have some, which a pong has to repeat."""
    lead: int = 0
    """By how many milliseconds the clock of its node leads."""
    form: TimeForm = TimeForm.MILLISECONDS
    """The form of its times."""
    more: dict[str, Any] = Factory(dict[str, Any])
    """Members that every later update carries besides."""

    def pong_deadline(self, config: GatewayConfig) -> float:
        """Return when it is closed if no pong comes; infinity if all pings are answered."""
        if self.unanswered_since is None or config.pong_timeout is None:
            return _NEVER
        return self.unanswered_since + config.pong_timeout

    def ping(self, config: GatewayConfig, ts: int, now: float) -> GatewayAction:
        """Return the ping that is due, and wait for its pong."""
        assert config.ping_interval is not None  # or next_ping would never be due
        self.next_ping = now + config.ping_interval
        self.pings += 1
        if self.unanswered_since is None:
            self.unanswered_since = now
        match config.ping_form:
            case PingForm.CONTROL:
                return SendPing(self.number, str(self.pings).encode())
            case PingForm.TEXT:
                return SendFrame(self.number, "ping")
            case PingForm.METHOD:
                return self._frame({"method": "ping"})
            case PingForm.TIMESTAMP:  # pragma: no branch - there is no other
                self.numbers.append(ts)
                return self._frame({"ping": ts})

    def ponged(self, config: GatewayConfig, number: object) -> None:
        """Take in a pong that is a message, with the number that it repeats."""
        if config.ping_form is not PingForm.TIMESTAMP or number in self.numbers:
            self.unanswered_since = None

    def response(self, response: Mapping[str, Any], ts: int) -> SendFrame:
        """Return a response, with its time between its code and its data."""
        return self._frame(
            {
                **{name: response[name] for name in ("id", "method", "code", "msg")},
                "ts": written_time(ts, self.form),
                **response,
            }
        )

    def update(
        self, topic: Topic, ts: int, data: Mapping[str, Any], more: Mapping[str, object]
    ) -> SendFrame:
        """Return an update with ``more`` fields than the exchange's page has."""
        written = written_time(ts, self.form)
        frame = {"method": topic.subscribe_method, "ts": written, "data": {**data, **more}}
        return self._frame({**frame, **self.more, **more})

    def _frame(self, frame: Mapping[str, Any]) -> SendFrame:
        return SendFrame(self.number, frame_text(frame))
