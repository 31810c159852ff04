"""Settings of the simulated server: what the exchange's pages leave open."""

from enum import StrEnum
from math import isfinite
from typing import Any, Final

from attrs import field, frozen

from topone_proto.errors import ConfigurationError

__all__ = [
    "MALFORMED_REQUEST",
    "UNKNOWN_METHOD",
    "GatewayConfig",
    "OriginRule",
    "PingForm",
    "TimeForm",
]

MALFORMED_REQUEST: Final = 1
"""The code of the answer to a request that cannot be read. The exchange publishes no codes; this
one is made up."""
UNKNOWN_METHOD: Final = 2
"""The code of the answer to a request whose method is not known. Made up, too."""


class OriginRule(StrEnum):
    """How "set Origin to empty" is understood. Servers of both strict kinds exist."""

    ABSENT_OR_EMPTY = "absent_or_empty"
    """No header, or one with an empty value."""
    ABSENT = "absent"
    """No header; an empty one is refused, as the default check of a common Go library does."""
    EMPTY = "empty"
    """A header with an empty value; its absence is refused."""


class PingForm(StrEnum):
    """How the server asks whether a client is there. The exchange does not say which it uses."""

    CONTROL = "control"
    """A WebSocket ping frame (RFC 6455 section 5.5.2)."""
    TEXT = "text"
    """A text frame ``ping``."""
    METHOD = "method"
    """A text frame ``{"method":"ping"}``."""
    TIMESTAMP = "timestamp"
    """A text frame ``{"ping":1561948335075}`` with the server's time."""


class TimeForm(StrEnum):
    """How the server writes its time. The exchange's page has whole milliseconds."""

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


def _seconds(_: object, attribute: Any, seconds: float | None) -> None:
    if seconds is not None and not (isfinite(seconds) and seconds > 0):
        raise ConfigurationError(
            setting=f"GatewayConfig.{attribute.name}",
            problem=f"{seconds!r} is no time to wait",
            remedy="use seconds greater than zero, or None to switch it off",
        )


@frozen(kw_only=True)
class GatewayConfig:
    """What kind of server this is. Times are in seconds.

    Raises:
        ConfigurationError: a time is not positive.
    """

    path: str | None = "/ws/user/"
    """The only path that is served; None serves every path."""
    origin: OriginRule = field(default=OriginRule.ABSENT_OR_EMPTY, converter=OriginRule)
    """Which ``Origin`` is let in; anything else is answered with 403."""
    ok_form: bool = False
    """True for the second form of a positive response, ``"msg":"OK"`` and ``"data":{}``."""
    start_ts: int = 1561948335075
    """The server's time in milliseconds at the ``now`` that the gateway was made with."""
    ping_interval: float | None = field(default=30.0, validator=_seconds)
    """How often each client is pinged; None never pings."""
    ping_form: PingForm = field(default=PingForm.TEXT, converter=PingForm)
    """How."""
    pong_timeout: float | None = field(default=180.0, validator=_seconds)
    """A client whose first unanswered ping is this old is closed with code 1008; None never
    closes."""
