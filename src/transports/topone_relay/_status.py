"""The state of a node at one moment, for a screen and for metrics."""

from topone_proto import FeedMetrics
from topone_proto._values import value

__all__ = ["AccountStatus", "NodeStatus"]


@value
class AccountStatus:
    """One account, as a node knows it."""

    name: str
    """The account's name."""
    holder: str | None
    """The node that holds it; None if nobody does, as far as this node knows."""
    epoch: int | None
    """The number of the lease; None without one."""
    is_held: bool
    """True if this node holds it."""
    is_whole: bool | None
    """True if all of it is known; None if another node holds it, and for market data."""
    is_market: bool
    """True of market data."""
    leases: int
    """The number of leases that this node had of it."""
    messages: int
    """The number of messages that this node has published of it."""
    dropped: int
    """The number of items that it had to drop, since the bus did not take them."""
    waiting: int
    """The number of items that wait to be published."""
    published_age: float | None
    """The seconds since a message was published; None if none was."""
    problem: str
    """The latest thing that went wrong and is not mended yet, in words; empty if nothing is."""
    feed: FeedMetrics | None
    """The metrics of the open feed or account; None while there is none."""


@value
class NodeStatus:
    """A node, and all accounts that it may hold."""

    node: str
    """The name of the node."""
    members: tuple[str, ...]
    """The names of the nodes that are alive, as this one saw them last."""
    is_bus_available: bool
    """True if the latest request to the bus was answered."""
    is_leaving: bool
    """True once the node hands its accounts over."""
    accounts: tuple[AccountStatus, ...]
    """The accounts, in the order in which they were given."""

    @property
    def held(self) -> int:
        """The number of accounts that this node holds."""
        return sum(account.is_held for account in self.accounts)
