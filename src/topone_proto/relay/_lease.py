"""The arithmetic of a lease, on the holder's own monotonic clock.

The bus lets a lease go ``ttl`` after it received the request that made or renewed it, which is
after that request was sent. So the holder counts from the sending, and stops ``margin`` earlier: it
is done before another machine can begin. A request that was not answered renews nothing here, even
if it did on the bus.
"""

from topone_proto.relay._config import RelayConfig

__all__ = ["Lease"]


class Lease:
    """One machine's claim to an account.

    Args:
        config: its times.
    """

    def __init__(self, config: RelayConfig) -> None:
        self._config = config
        self.epoch: int | None = None
        """The number of the lease; None without one."""
        self.usable_until: float = 0.0
        """The time from which nothing may be published any more."""
        self.renew_at: float = 0.0
        """The time of the next renewal."""
        self.is_asked: bool = False
        """True while a request about the lease is under way: there is one at a time."""
        self._sent_at = 0.0

    def is_usable(self, now: float) -> bool:
        """Return True if this machine may publish at this time."""
        return self.epoch is not None and now < self.usable_until

    def sent(self, now: float) -> None:
        """A request to get or to renew it is sent."""
        self.is_asked = True
        self._sent_at = now

    def granted(self, epoch: int) -> None:
        """The latest request was granted."""
        self.is_asked = False
        self.epoch = epoch
        self.usable_until = self._sent_at + self._config.ttl - self._config.margin
        self.renew_at = self._sent_at + self._config.renew_interval

    def failed(self, now: float) -> None:
        """The latest request came to nothing, as far as is known here."""
        self.is_asked = False
        self.renew_at = now + self._config.retry_interval

    def end(self) -> None:
        """This machine does not have it any more, and nothing about it is under way."""
        self.is_asked = False
        self.epoch = None
