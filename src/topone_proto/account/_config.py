"""Every number that an account decides by, in one frozen class."""

from typing import Any, Never, cast

from attrs import Attribute, field, frozen

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


@frozen(kw_only=True)
class AccountConfig:
    """How an account asks over HTTP. Times are in seconds.

    The times need a clock: ``Account.ask`` has to be given ``now``. Without one nothing waits.

    Raises:
        ConfigurationError: a number makes no sense, or the first wait is longer than the longest.
    """

    answer_lag: float = field(default=2.0, validator=_lag)
    """How far an answer over HTTP may be behind the stream: it shows the exchange as it was at most
    so long before the question. Questions wait until that much time has passed since the
    subscription or the doubt began, so a larger number is safe and slow. The default allows for a
    replica or a cache that is seconds behind; some exchanges need a minute."""
    max_tries: int = field(default=8, validator=_count)
    """How often an order may be missing in answers to questions for it by its id. Then its outcome
    is unknown. With the default waits that is a minute and a half."""
    retry_first: float = field(default=1.0, validator=_seconds)
    """The least time between the first and the second question of a kind (lists of one topic, or
    things of one topic by name). Each later one waits twice as long as the one before…"""
    retry_cap: float = field(default=30.0, validator=_seconds)
    """…up to this. After twice this time without a question the first wait counts again."""

    def __attrs_post_init__(self) -> None:
        if self.retry_first > self.retry_cap:
            problem = f"the first wait of {self.retry_first:g} s is longer than the longest"
            _refuse("retry_first", problem, f"use at most retry_cap, {self.retry_cap:g} s")
