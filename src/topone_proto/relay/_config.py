"""Every number that a relay decides by, in one frozen class."""

from typing import Any, Never

from attrs import Attribute, Factory, field, frozen

from topone_proto.errors import ConfigurationError
from topone_proto.session.config import MAX_COUNT, MAX_SECONDS

__all__ = ["RelayConfig"]


def _refuse(setting: str, problem: str, remedy: str) -> Never:
    raise ConfigurationError(setting=f"RelayConfig.{setting}", problem=problem, remedy=remedy)


def _seconds(_: object, attribute: "Attribute[Any]", seconds: Any) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and 0 < seconds <= MAX_SECONDS):
        remedy = f"use seconds greater than zero and at most {MAX_SECONDS}"
        _refuse(attribute.name, f"{seconds!r:.80} is no time to wait", remedy)


def _seconds_or_zero(_: object, attribute: "Attribute[Any]", seconds: Any) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and 0 <= seconds <= MAX_SECONDS):
        remedy = f"use seconds, from 0 to {MAX_SECONDS}"
        _refuse(attribute.name, f"{seconds!r:.80} is no time to wait", remedy)


def _count(_: object, attribute: "Attribute[Any]", count: Any) -> None:
    is_number = isinstance(count, int) and not isinstance(count, bool)
    if not (is_number and 1 <= count <= MAX_COUNT):
        remedy = f"use a whole number of at least 1 and at most {MAX_COUNT}"
        _refuse(attribute.name, f"{count!r:.80} is no such number", remedy)


def _third(config: Any) -> float:
    ttl: Any = config.ttl
    return ttl / 3 if isinstance(ttl, int | float) else 1.0


_THIRD: Any = Factory(_third, takes_self=True)


@frozen(kw_only=True)
class RelayConfig:
    """Settings of a relay: its leases, its buffer and its snapshots. Times are in seconds.

    Raises:
        ConfigurationError: a time or a count makes no sense, or a lease would run out before it is
            renewed.
    """

    ttl: float = field(default=10.0, validator=_seconds)
    """The time for which a lease holds, on the bus, after it was last renewed."""
    margin: float = field(default=2.0, validator=_seconds)
    """The time by which the holder stops before its lease ends on the bus: for clocks that do not
    run alike, and for messages under way. The holder publishes for ``ttl - margin`` after it sent
    the last successful renewal."""
    renew_interval: float = field(default=_THIRD, validator=_seconds)
    """The time between two renewals; a third of ``ttl`` unless given."""
    retry_interval: float = field(default=0.5, validator=_seconds)
    """The time after which a request to the bus that failed is made again."""
    acquire_interval: float = field(default=1.0, validator=_seconds)
    """The time between two tries to get a lease that another machine has."""
    keep_open: float = field(default=600.0, validator=_seconds_or_zero)
    """The time for which the account stays open after the lease has run out because the bus does
    not answer. The bus may be away for everybody, and then nobody else follows it. It is closed at
    once if the bus says that another machine has the lease."""

    capacity: int = field(default=10_000, validator=_count)
    """The number of items that may wait to be published. Beyond it all of them are dropped, and
    consumers get a gap."""
    max_waiting: int = field(default=16 * 2**20, validator=_count)
    """The size of all that may wait, in bytes."""
    max_message_size: int = field(default=256 * 1024, validator=_count)
    """The size that a message is filled up to, in bytes. An item that is larger is left out, and
    its topic has a gap. The bus has to take messages of this size."""
    snapshot_interval: float = field(default=60.0, validator=_seconds)
    """The time between two snapshots of an account, for those that come late."""
    beat_interval: float = field(default=10.0, validator=_seconds)
    """The time without a message after which the holder publishes an empty one, so that consumers
    can tell an idle account from one that nobody follows."""

    def __attrs_post_init__(self) -> None:
        if self.renew_interval + self.retry_interval >= self.ttl - self.margin:
            _refuse(
                "renew_interval",
                f"a lease that is used for {self.ttl - self.margin:g} s (ttl - margin) and "
                f"renewed every {self.renew_interval:g} s allows for no second try",
                "raise ttl, or lower renew_interval, retry_interval or margin",
            )
