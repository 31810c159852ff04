"""Every number that the core decides by, in one frozen class."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Never

from attrs import Attribute, field, frozen
from attrs.validators import optional

from topone_proto.errors import ConfigurationError

__all__ = ["MAX_COUNT", "MAX_SECONDS", "DeliveryPolicy", "SessionConfig"]


MAX_SECONDS: Final = 2_000_000
"""The longest time that a setting may be, in seconds: a platform may count the milliseconds of a
wait in 32 bits, which are 24.8 days."""
MAX_COUNT: Final = 2**31 - 1
"""The largest number that a setting may be."""

# Timers do not count shorter times, so pings would go out without a pause.
_MIN_INTERVAL: Final = 0.001


class DeliveryPolicy(StrEnum):
    """A policy for an application that takes events slower than the exchange sends them."""

    BLOCK = "block"
    """Reading stops until half of the waiting events are taken, and TCP slows the server down.
    Nothing is dropped."""
    CONFLATE = "conflate"
    """Reading goes on: of the waiting updates of one asset, or of one open order, only the newest
    is kept, and a ``Conflated`` event says how many were left out. The last state of an order that
    has closed is always kept. Nothing is left out below ``capacity``; if that many different ones
    wait, reading stops as with ``block``."""


def _refuse(setting: str, problem: str, remedy: str) -> Never:
    raise ConfigurationError(setting=f"SessionConfig.{setting}", problem=problem, remedy=remedy)


def _text(_: object, attribute: "Attribute[Any]", text: object) -> None:
    if not isinstance(text, str):
        _refuse(attribute.name, f"{text!r:.80} is no text", "use a language such as zh-CN")
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(attribute.name, f"{text!a:.80} cannot be sent", "use a language such as zh-CN")


def _shown(thing: object) -> str:
    try:
        return f"{thing!r:.80}"
    except ValueError:
        # Python does not write whole numbers of thousands of digits.
        return "a number of so many digits"


def _seconds(_: object, attribute: "Attribute[Any]", seconds: object) -> None:
    if isinstance(seconds, bool) or not (isinstance(seconds, int | float) and seconds > 0):
        _refuse(
            attribute.name,
            f"{_shown(seconds)} is no time to wait",
            "use seconds greater than zero",
        )
    if not seconds <= MAX_SECONDS:
        _refuse(
            attribute.name,
            f"{_shown(seconds)} is longer than a platform can wait",
            f"use at most {MAX_SECONDS} seconds, which are 23 days",
        )


def _count(_: object, attribute: "Attribute[Any]", count: object) -> None:
    if isinstance(count, bool) or not (isinstance(count, int) and 1 <= count <= MAX_COUNT):
        _refuse(
            attribute.name,
            f"{_shown(count)} is no such number",
            f"use a whole number of at least 1 and at most {MAX_COUNT}",
        )


_optional_seconds: Callable[[object, "Attribute[Any]", Any], None] = optional(_seconds)
_optional_count: Callable[[object, "Attribute[Any]", Any], None] = optional(_count)


def _delivery(policy: DeliveryPolicy | str) -> DeliveryPolicy:
    try:
        return DeliveryPolicy(policy)
    except ValueError:
        _refuse("delivery", f"{policy!r} is no policy", f"use one of {', '.join(DeliveryPolicy)}")


@frozen(kw_only=True)
class SessionConfig:
    """Settings of a feed: its patience, its persistence and its size. Times are in seconds.

    Raises:
        ConfigurationError: a time is not positive or beyond ``MAX_SECONDS``, or a count is less
            than one or beyond ``MAX_COUNT``, or a policy does not exist; or settings that cannot
            work together: no liveness at all, a silence shorter than the interval of pings, a first
            wait longer than the longest.
    """

    lang: str = field(default="zh-CN", validator=_text)
    """The ``lang`` of every request; the exchange's page documents ``zh-CN``."""

    open_timeout: float = field(default=10.0, validator=_seconds)
    """The time that a dial may take, from DNS to the handshake's answer."""
    token_timeout: float = field(default=30.0, validator=_seconds)
    """The time that a token callable may take."""
    ack_timeout: float = field(default=10.0, validator=_seconds)
    """The time that the acknowledgement of a request may take; then the connection is given up.
    While a frame is arriving, the acknowledgement may be behind it: then the feed waits up to ten
    times as long."""
    pull_timeout: float = field(default=10.0, validator=_seconds)
    """The time that the answer to one request of a pull may take; then the pull ends."""
    pull_interval: float = field(default=0.25, validator=_seconds)
    """The least time between two requests of pulls."""
    close_timeout: float = field(default=5.0, validator=_seconds)
    """The time that closing may take; then the socket is dropped."""

    ping_interval: float | None = field(default=20.0, validator=_optional_seconds)
    """The time between two WebSocket pings. None sends none: an account that is idle for
    ``silence_timeout`` is then connected anew, unless the exchange pings in text."""
    pong_timeout: float = field(default=10.0, validator=_seconds)
    """The time after a ping in which something must arrive: the pong, or any other bytes."""
    silence_timeout: float | None = field(default=170.0, validator=_optional_seconds)
    """The longest time in which nothing may arrive. It is ten seconds less than the three minutes
    after which the exchange drops a client that does not answer its pings. None sets no limit."""

    retry_first: float = field(default=0.5, validator=_seconds)
    """The span of the first retry: it comes at a random time within this."""
    retry_base: float = field(default=1.0, validator=_seconds)
    """The span of the second retry. The span of each later one is twice the span before, at most
    ``retry_cap``."""
    retry_cap: float = field(default=30.0, validator=_seconds)
    """The longest span of a retry."""
    stable_after: float = field(default=30.0, validator=_seconds)
    """The time for which a connection must last, after every desired topic was acknowledged, before
    the next retry counts as the first."""
    rate_limit_wait: float = field(default=60.0, validator=_seconds)
    """The least time to wait after HTTP 429."""
    retry_after_cap: float = field(default=3600.0, validator=_seconds)
    """The longest ``Retry-After`` that is believed."""
    max_attempts: int | None = field(default=None, validator=_optional_count)
    """The number of retries in a row before the feed ends; None retries for ever."""

    max_refusals: int = field(default=10, validator=_count)
    """The number of refusals in a row after which a topic that had been acknowledged before is
    dropped. Between two tries there is the same back-off as between dials."""

    max_frame_size: int = field(default=2**20, validator=_count)
    """The largest frame that is read, in bytes as transports count them."""
    max_pending: int = field(default=64, validator=_count)
    """The number of requests that may wait for their acknowledgement at once."""
    max_unsent: int = field(default=1000, validator=_count)
    """The number of frames that may wait to be sent. Beyond it the connection is given up."""
    max_kept: int = field(default=4096, validator=_count)
    """The number of characters of a frame that an anomaly event keeps."""
    capacity: int = field(default=1000, validator=_count)
    """The number of events that may wait for the application."""
    delivery: DeliveryPolicy = field(default=DeliveryPolicy.BLOCK, converter=_delivery)
    """The policy when ``capacity`` events wait."""

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot work together."""
        if self.ping_interval is not None and self.ping_interval < _MIN_INTERVAL:
            _refuse(
                "ping_interval",
                f"pings every {self.ping_interval:g} s are a flood",
                f"use at least {_MIN_INTERVAL} s, or None",
            )
        if self.silence_timeout is None and self.ping_interval is None:
            _refuse(
                "silence_timeout",
                "with neither pings nor a limit to silence a dead connection is never noticed",
                "set ping_interval or silence_timeout",
            )
        if (
            self.silence_timeout is not None
            and self.ping_interval is not None
            and self.silence_timeout <= self.ping_interval
        ):
            _refuse(
                "silence_timeout",
                f"{self.silence_timeout:g} s are over before the first ping, after "
                f"{self.ping_interval:g} s, so that an idle account is connected anew each time",
                "set silence_timeout above ping_interval, best above the sum of ping_interval and "
                "pong_timeout, or ping_interval to None",
            )
        for name in ("retry_first", "retry_base"):
            span: float = getattr(self, name)
            if span > self.retry_cap:
                _refuse(
                    name,
                    f"{span:g} s are longer than the longest wait, {self.retry_cap:g} s",
                    "raise SessionConfig.retry_cap, or lower this",
                )
