"""Settings of the simulated server: what the exchange's pages leave open."""

from enum import StrEnum
from math import isfinite
from typing import Any, Final

from attrs import field, frozen

from topone_proto.errors import ConfigurationError
from topone_proto.exchange.market import Rounding

__all__ = [
    "MALFORMED_REQUEST",
    "UNKNOWN_METHOD",
    "BookForm",
    "GatewayConfig",
    "OriginRule",
    "PingForm",
    "PullCut",
    "TimeForm",
]

MALFORMED_REQUEST: Final = 1
"""The code of the answer to a request that cannot be read. The exchange publishes no codes; this
one is made up."""
UNKNOWN_METHOD: Final = 2
"""The code of the answer to a request whose method is not known. Made up, too."""


class OriginRule(StrEnum):
    """A reading of "set Origin to empty". Servers of both strict kinds exist."""

    ABSENT_OR_EMPTY = "absent_or_empty"
    """No header, or one with an empty value."""
    ABSENT = "absent"
    """No header; an empty one is refused, as the default check of a common Go library does."""
    EMPTY = "empty"
    """A header with an empty value; its absence is refused."""


class PingForm(StrEnum):
    """The form in which the server asks whether a client is there. The exchange does not say which
    it uses."""

    CONTROL = "control"
    """A WebSocket ping frame (RFC 6455 section 5.5.2)."""
    TEXT = "text"
    """A text frame ``ping``."""
    METHOD = "method"
    """A text frame ``{"method":"ping"}``."""
    TIMESTAMP = "timestamp"
    """A text frame ``{"ping":1561948335075}`` with the server's time, as at Huobi. Only
    ``{"pong":1561948335075}`` with the number of a ping of this connection answers it."""


class TimeForm(StrEnum):
    """The form in which the server writes its time. The exchange's page has whole milliseconds."""

    MILLISECONDS = "milliseconds"
    """``1561948335075``."""
    FLOAT = "float"
    """``1561948335075.0``."""
    TEXT = "text"
    """``"1561948335075"``."""
    SECONDS = "seconds"
    """``1561948335.075``."""
    MICROSECONDS = "microseconds"
    """``1561948335075000``."""


class BookForm(StrEnum):
    """Ways in which a pushed book can be odd."""

    CROSSED = "crossed"
    """The best bid is above the best ask, as in the example of the exchange's page."""
    EMPTY = "empty"
    """Neither side has a level."""
    ZERO = "zero"
    """The best ask has the amount 0, as if pushes told what has changed."""


class PullCut(StrEnum):
    """The candles of a range longer than 300 that are left out. The exchange's page does not
    say."""

    OLDEST = "oldest"
    """The oldest, so that the answer ends where the range ends."""
    NEWEST = "newest"
    """The newest, so that the answer begins where the range begins."""


def _seconds(_: object, attribute: Any, seconds: float | None) -> None:
    if seconds is not None and not (isfinite(seconds) and seconds > 0):
        raise ConfigurationError(
            setting=f"GatewayConfig.{attribute.name}",
            problem=f"{seconds!r} is no time to wait",
            remedy="use seconds greater than zero, or None to switch it off",
        )


@frozen(kw_only=True)
class GatewayConfig:
    """Settings of the server. Times are in seconds.

    Raises:
        ConfigurationError: a time is not positive.
    """

    path: str | None = "/ws/user/"
    """The only path of the private socket; None serves every path but ``market_path``."""
    market_path: str = "/ws/"
    """The path of the public socket, which needs no token. It is served if there are markets."""
    is_mixed: bool = False
    """True if the private socket serves market data, too. The exchange's pages do not say."""
    origin: OriginRule = field(default=OriginRule.ABSENT_OR_EMPTY, converter=OriginRule)
    """The ``Origin`` that is let in; anything else is answered with 403."""
    ok_form: bool = False
    """True for the second form of a positive response, ``"msg":"OK"`` and ``"data":{}``."""
    start_ts: int = 1561948335075
    """The server's time in milliseconds at the ``now`` that the gateway was made with."""
    ping_interval: float | None = field(default=30.0, validator=_seconds)
    """The time between two pings to each client; None never pings."""
    ping_form: PingForm = field(default=PingForm.TEXT, converter=PingForm)
    """The form of these pings."""
    pong_timeout: float | None = field(default=180.0, validator=_seconds)
    """A client whose first unanswered ping is this old is closed with code 1008; None never
    closes."""
    has_first_push: bool = True
    """True if a subscription to market data is followed by what there is: the newest candle, the
    book, the last deals. The exchange's page does not say."""
    backlog: int = 100
    """The number of deals that the first push has at most."""
    is_newest_first: bool = True
    """True if the deals of one push stand with the newest first."""
    depth_levels: int = 10
    """The number of levels that a book has on each side at most."""
    rounding: Rounding = field(default=Rounding.OUTWARD, converter=Rounding)
    """The rounding of prices to the step of a merged book."""
    pull_cut: PullCut = field(default=PullCut.OLDEST, converter=PullCut)
    """The candles that the answer to a pull leaves out if the range has more than 300."""
