"""Every number that an account decides by, in one frozen class."""

from collections.abc import Callable
from typing import Any, Never, cast

from attrs import Attribute, field, frozen
from attrs.validators import optional

from topone_proto.errors import ConfigurationError
from topone_proto.session.config import MAX_SECONDS

__all__ = ["AccountConfig"]


def _refuse(setting: str, problem: str, remedy: str) -> Never:
    raise ConfigurationError(setting=f"AccountConfig.{setting}", problem=problem, remedy=remedy)


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -MAX_SECONDS <= cast("float", value) <= MAX_SECONDS


def _lag(_: object, attribute: "Attribute[Any]", seconds: Any) -> None:
    if not (_is_number(seconds) and seconds >= 0):
        _refuse(attribute.name, f"{seconds!r:.80} is no lag", "use seconds, 0 or more")


def _seconds(_: object, attribute: "Attribute[Any]", seconds: Any) -> None:
    if not (_is_number(seconds) and seconds > 0):
        problem = f"{seconds!r:.80} is no time to wait"
        _refuse(attribute.name, problem, "use seconds greater than zero")


def _count(_: object, attribute: "Attribute[Any]", count: Any) -> None:
    if not (isinstance(count, int) and not isinstance(count, bool) and count >= 1):
        problem = f"{count!r:.80} is no such number"
        _refuse(attribute.name, problem, "use a whole number of at least 1")


_optional_seconds: Callable[[object, "Attribute[Any]", Any], None] = optional(_seconds)


@frozen(kw_only=True)
class AccountConfig:
    """Settings of an account's questions over HTTP. Times are in seconds.

    The times need a clock: ``Account.ask`` has to be given ``now``. Without one nothing waits. What
    an ``Account`` alone does not need is for an ``AccountSession``.

    Raises:
        ConfigurationError: a number makes no sense, the first wait is longer than the longest, or a
            token is used up before it is renewed.
    """

    answer_lag: float = field(default=2.0, validator=_lag)
    """The time by which an answer over HTTP may be behind the stream: it shows the exchange as it
    was at most so long before the question. Questions wait for this long after the subscription, or
    after the contradiction that causes them. A larger number is safe and slow. The default allows
    for a replica or a cache that is seconds behind; some exchanges need a minute."""
    max_tries: int = field(default=8, validator=_count)
    """The number of answers by the id of an order that may lack the order. After them its outcome
    is unknown. With the default waits that takes a minute and a half."""
    retry_first: float = field(default=1.0, validator=_seconds)
    """The least time between the first and the second question of a kind (lists of one topic, or
    things of one topic by name). The wait for each later question is twice the wait before, at most
    ``retry_cap``."""
    retry_cap: float = field(default=30.0, validator=_seconds)
    """The longest wait between two questions of a kind. After twice this time without a question,
    the next wait is ``retry_first`` again. Failed requests are repeated with the same waits, at
    random between half and the whole of each."""

    fetch_timeout: float = field(default=10.0, validator=_seconds)
    """The time that one HTTP request may take."""
    order_calls_per_minute: int = field(default=10, validator=_count)
    """The most requests about orders within a minute. The exchange counts them together with those
    that place and cancel; see ``AccountSession.order_calls_made``. Its page of 2018 says 10."""
    audit_interval: float | None = field(default=300.0, validator=_optional_seconds)
    """The time between two comparisons of a whole account with the exchange's lists; None for
    never."""

    token_interval: float = field(default=65.0, validator=_seconds)
    """The least time between two requests for a token: the exchange's minute and a margin."""
    token_soft_age: float = field(default=3600.0, validator=_seconds)
    """The age from which a new token is fetched in the background ("Getting started")."""
    token_hard_age: float = field(default=7080.0, validator=_seconds)
    """The age from which a token is not used any more. The exchange's pages name two hours, among
    others."""
    token_block: float = field(default=3600.0, validator=_seconds)
    """The time of a block by the exchange after too many requests: for tokens, and for orders after
    its code 10027."""

    def __attrs_post_init__(self) -> None:
        if self.retry_first > self.retry_cap:
            problem = f"the first wait of {self.retry_first:g} s is longer than the longest"
            _refuse("retry_first", problem, f"use at most retry_cap, {self.retry_cap:g} s")
        if self.token_soft_age >= self.token_hard_age:
            problem = f"{self.token_soft_age:g} s is not below the hard age"
            remedy = f"renew a token before it ends: use less than {self.token_hard_age:g} s"
            _refuse("token_soft_age", problem, remedy)
