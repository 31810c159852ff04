"""The requests of pulls on one connection, and what their answers bring.

A request that is not answered in time ends its pull and not the connection: an exchange that does
not serve pulls may publish all the same. A request whose caller has gone is remembered until its
answer comes or it is overdue, so that the answer is not taken for one to nothing.
"""

from typing import Any

from topone_proto._values import value
from topone_proto.errors import ConfigurationError
from topone_proto.session.answers import PullEnd, PullRefused, PullTimedOut, PullUnreadable
from topone_proto.session.config import SessionConfig
from topone_proto.session.requests import Requests
from topone_proto.wire.messages import Request, Response
from topone_proto.wire.topic import Family, Topic

__all__ = ["Pieces", "period_of"]


def _require_pullable(topic: Topic[Any]) -> Family[Any]:
    """Return the family of a topic whose values can be pulled.

    Raises:
        ConfigurationError: they cannot.
    """
    family = topic.family
    if family is None or family.pulled is None:
        raise ConfigurationError(
            setting="topic",
            problem=f"{topic} cannot be pulled",
            remedy='pull candles, such as kline("BTC/USDT", "1m")',
        )
    return family


def period_of(topic: Topic[Any]) -> int:
    """Return the seconds between two values of a topic that can be pulled, at least.

    Raises:
        ConfigurationError: it cannot.
    """
    period = _require_pullable(topic).period
    assert period is not None
    return period(topic)


@value
class _Piece:
    """The subject of a request."""

    topic: Topic[Any]
    method: str
    is_wanted: bool = True


class Pieces:
    """The requests of pulls that wait on one connection.

    Args:
        config: timeouts and limits.
        shortest: see ``Lateness``.
    """

    def __init__(self, config: SessionConfig, shortest: float) -> None:
        self._config = config
        self.requests: Requests[_Piece] = Requests(
            config.pull_timeout, min(shortest, config.pull_timeout)
        )
        """All that wait, those of callers who have gone included."""

    def request(self, topic: Topic[Any], start: int, end: int, number: int, now: float) -> Request:
        """Return a request for the values of a topic between two times.

        Raises:
            ConfigurationError: the topic cannot be pulled.
        """
        _require_pullable(topic)
        request = Request(
            id=str(number),
            method=f"req_{topic.name}",
            params={"from": start, "to": end},
            lang=self._config.lang,
        )
        self.requests.add(request.id, _Piece(topic, request.method), now)
        return request

    def forget(self, number: int) -> None:
        """Note that the caller of a request has gone."""
        entry = self.requests.waiting.get(str(number))
        if entry is not None:
            about = _Piece(entry.about.topic, entry.about.method, is_wanted=False)
            self.requests.replace(str(number), about)

    def method_of(self, name: str | None) -> str | None:
        """Return the method of the request with this id; None if none waits."""
        entry = None if name is None else self.requests.waiting.get(name)
        return None if entry is None else entry.about.method

    def answer(self, response: Response) -> tuple[PullEnd, ...]:
        """Return what the response to a request that waits brings; nothing if its caller has
        gone."""
        assert response.id is not None
        piece = self.requests.waiting.pop(response.id).about
        if not piece.is_wanted:
            return ()
        number, topic = int(response.id), piece.topic
        if not response.ok:
            msg = response.msg[: self._config.max_kept]
            return (PullEnd(number, topic, (), PullRefused(topic, response.code, msg)),)
        pulled = _require_pullable(topic).pulled
        assert pulled is not None
        values = pulled(topic, response.data)
        if isinstance(values, str):
            return (PullEnd(number, topic, (), PullUnreadable(topic, values)),)
        return (PullEnd(number, topic, values),)

    def time_out(self, now: float, part_at: float) -> tuple[PullEnd, ...]:
        """Return the ends of the requests that have waited too long; see ``Requests.overdue``."""
        timeout = self._config.pull_timeout
        overdue = self.requests.overdue(now, part_at)
        late = [(name, self.requests.waiting.pop(name).about) for name in overdue]
        return tuple(
            PullEnd(int(name), piece.topic, (), PullTimedOut(piece.topic, timeout))
            for name, piece in late
            if piece.is_wanted
        )
