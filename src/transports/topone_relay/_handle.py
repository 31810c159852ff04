"""The feed in the event loop of the I/O thread, as other threads reach it."""

import time
from collections.abc import Callable

from topone_proto.adapters import Runtime
from topone_proto.relay.feed_core import Placed, RelayFeedCore, RelayMetrics
from topone_relay._driver import RelayDriver
from topone_threads._handle import BaseHandle

__all__ = ["Handle"]


class Handle(BaseHandle[RelayFeedCore, RelayDriver, Placed]):
    """A feed that another thread drives.

    Args:
        core: the feed without its I/O.
        make_driver: makes its driver in the I/O thread.
    """

    def __init__(self, core: RelayFeedCore, make_driver: Callable[[Runtime], RelayDriver]) -> None:
        super().__init__(core, make_driver, core.config.close_timeout)
        self.core: RelayFeedCore = core
        self.given: Placed = core.start
        """The event that was handed out last."""

    def settle(self) -> None:
        """Note that the application is done with all that it was given."""
        if self.given is not self.core.settled:
            with self._lock:
                self.core.settle(self.given)

    def metrics(self) -> RelayMetrics:
        """Return the counters and gauges at this moment."""
        with self._lock:
            return self.core.metrics(time.monotonic())
