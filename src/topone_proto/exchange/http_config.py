"""Settings of the simulated HTTP API: what the exchange's pages leave open, and its budgets."""

from enum import StrEnum
from math import isfinite
from typing import Any, Final

from attrs import evolve, field, frozen

from topone_proto.errors import ConfigurationError

__all__ = ["ErrorForm", "HttpConfig", "MarkForm", "NumberForm", "TimeName", "ZeroForm"]


class ErrorForm(StrEnum):
    """The form of an error. The exchange's pages do not say."""

    CODE = "code"
    """``{"code": 10003, "msg": "…"}``."""
    TEXT = "text"
    """The same with the code as a text."""
    LEGACY = "legacy"
    """As in the exchange's API of 2018: ``{"error": {"code": 10003, "message": "…"}, …}``, and
    ``{"status": 200, "error_code": "T0005", "data": "…"}`` of the token service."""


class NumberForm(StrEnum):
    """The form of amounts and prices. The exchange's tables and examples differ."""

    TEXT = "text"
    """Decimal text, as in the examples."""
    NUMBER = "number"
    """JSON numbers."""
    MIXED = "mixed"
    """Either, at random."""


class ZeroForm(StrEnum):
    """The form of a zero."""

    PLAIN = "plain"
    """As the number is: ``0`` or ``0.00``."""
    EXPONENT = "exponent"
    """``0E-16``, as in the exchange's example of a fee."""


class TimeName(StrEnum):
    """The name of the time at which a finished order ended. The exchange's table and example
    differ."""

    FINISH = "finishTime"
    """As in the example."""
    UPDATE = "updateTime"
    """As in the table."""
    NEITHER = "neither"
    """The row has no such time."""


class MarkForm(StrEnum):
    """The ``pageMark`` of a history."""

    MONTH = "month"
    """The start of a month in UTC+8, as the numbers of the examples are. A page ends with its
    month, and the first page of a month that has none left is empty and names the month before."""
    NONE = "none"
    """Always 0."""


_UNLIMITED: Final = frozenset({"lag", "history_delay"})


def _seconds(_: object, attribute: Any, seconds: float) -> None:
    least = 0.0 if attribute.name in _UNLIMITED else 1e-9
    if not (isfinite(seconds) and seconds >= least):
        raise ConfigurationError(
            setting=f"HttpConfig.{attribute.name}",
            problem=f"{seconds!r} is no time to wait",
            remedy="use seconds greater than zero",
        )


def _count(_: object, attribute: Any, count: int) -> None:
    if count < 1:
        raise ConfigurationError(
            setting=f"HttpConfig.{attribute.name}",
            problem=f"{count!r} is less than 1",
            remedy="use 1 or more",
        )


@frozen(kw_only=True)
class HttpConfig:
    """Settings of the HTTP API. Times are in seconds.

    Raises:
        ConfigurationError: a time or a number is not positive.
    """

    token_interval: float = field(default=60.0, validator=_seconds)
    """The time in which one request for a token is allowed; whoever asks twice is blocked. Requests
    that fail count."""
    token_block: float = field(default=3600.0, validator=_seconds)
    """The time for which such a block lasts. Asking during it begins it anew."""
    token_life: float = field(default=7200.0, validator=_seconds)
    """The time for which a token is good."""
    kills_old_tokens: bool = False
    """True if a new token ends the ones before it: they open neither HTTP nor a WebSocket any more.
    WebSockets that are open stay so. The exchange's pages do not say."""
    clock_tolerance: float = field(default=60.0, validator=_seconds)
    """By how much the time of a request for a token may differ from the exchange's."""
    signed_name: str = "appKey"
    """The first name in the line that is signed; the exchange's older page has ``appkey``."""
    order_calls: int = field(default=10, validator=_count)
    """The number of order calls that are allowed in ``order_period``: open orders, placing and
    cancelling. One more is answered with 10027 and begins a block."""
    order_period: float = field(default=60.0, validator=_seconds)
    """The time in which they are counted."""
    order_block: float = field(default=3600.0, validator=_seconds)
    """The time for which that block lasts. Asking during it begins it anew."""
    counts_history: bool = False
    """True if the order history is an order call, too."""
    block_status: int = 200
    """The HTTP status of answers during a block of the token service: with 200 they have the code
    10027, with any other, such as 403 or 429, they are no JSON."""
    error_form: ErrorForm = field(default=ErrorForm.CODE, converter=ErrorForm)
    """The form of errors."""
    has_statuses: bool = False
    """True if errors have an HTTP status other than 200: 401, 404, 429 or 400."""
    has_date: bool = True
    """True if answers have the exchange's time (``Date``)."""
    page_size: int = field(default=20, validator=_count)
    """The number of open orders on a page, if the request does not say."""
    page_cap: int = field(default=100, validator=_count)
    """The most open orders on a page."""
    cuts_large_pages: bool = True
    """True if a request for more rows than the most gets the most; otherwise it is refused."""
    history_size: int = field(default=100, validator=_count)
    """The number of rows on a page of a history, if the request does not say."""
    history_cap: int = field(default=500, validator=_count)
    """The most rows on a page of a history."""
    needs_assets: bool = False
    """True if a request for balances without ``assets`` is refused; otherwise it means all."""
    needs_market: bool = False
    """True if a request for orders without ``market`` is refused; otherwise it means all."""
    has_total: bool = True
    """True if open orders come with the number of all of them."""
    has_status: bool = False
    """True if open orders have a ``status``. The exchange's example has none."""
    has_left: bool = False
    """True if finished orders have a ``left``. The exchange's example has none, its table has."""
    finish_name: TimeName = field(default=TimeName.FINISH, converter=TimeName)
    """The name of a finished order's end."""
    marks: MarkForm = field(default=MarkForm.MONTH, converter=MarkForm)
    """The ``pageMark`` of the histories."""
    numbers: NumberForm = field(default=NumberForm.TEXT, converter=NumberForm)
    """The form of amounts and prices."""
    zeros: ZeroForm = field(default=ZeroForm.PLAIN, converter=ZeroForm)
    """The form of zeros."""
    has_no_break_spaces: bool = False
    """True if there is a no-break space (U+00A0) between some JSON tokens, as in the exchange's
    examples."""
    lag: float = field(default=0.0, validator=_seconds)
    """The most by which an answer is behind the stream; each answer by a part of it, at random."""
    history_delay: float = field(default=0.0, validator=_seconds)
    """The time for which an order that has finished is in no list."""

    def scaled(self, factor: float) -> "HttpConfig":
        """Return these settings with the times of the token service and of the blocks multiplied.

        >>> HttpConfig().scaled(1 / 60).token_interval
        1.0
        """
        names = ("token_interval", "token_block", "token_life", "order_period", "order_block")
        return evolve(self, **{name: getattr(self, name) * factor for name in names})
