"""An account as its holder knows it, for those that follow it from elsewhere, and the events that
only they see."""

from topone_proto._values import value
from topone_proto.events import Event
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic, Update

__all__ = ["BusAnomaly", "RelayEvent", "Resumed", "Snapshot", "Stalled", "TakenOver"]


@value
class Snapshot:
    """A whole account at one moment, as the machine that follows it knows it. ``Account.apply``
    makes the topics in it ``WHOLE``, unless it contradicts what was told before; every update after
    it is an event of its own."""

    topics: tuple[Topic, ...]
    """The topics that are followed. Of the account's own, those that are whole."""
    balances: tuple[Balance, ...] = ()
    """All balances."""
    open_orders: tuple[Order, ...] = ()
    """All open orders."""
    other_orders: tuple[Order, ...] = ()
    """The latest orders that are closed or of an unknown status, the oldest first."""
    unknown_outcomes: tuple[Order, ...] = ()
    """The last known states of orders of which nobody says how they ended, the oldest first."""
    latest_ts: int | None = None
    """The latest server time in milliseconds that was known."""
    market: tuple[Update, ...] = ()
    """The latest update of each topic of market data whose updates replace each other."""


@value
class TakenOver:
    """Another machine follows the account from here on. What the exchange published meanwhile may
    be missing: no topic can be trusted until its ``Subscribed``, the ``Gap`` after it and a
    ``Snapshot`` have come."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease under which it is followed now; larger than all before."""


@value
class BusAnomaly:
    """A message, or a part of one, that came over the bus and means nothing here: garbage, another
    account's, or of a newer version. It is skipped. If it stood in place of a message of the
    holder, that one's absence shows itself by its number, as a ``Gap``."""

    reason: str
    """The defect, in a few words."""
    detail: str
    """More about it: the kind that is unknown, or the beginning of the message."""


@value
class Stalled:
    """The stream does not show the present: the bus cannot be read, nobody follows the account, or
    what comes next was published before the feed read on. What is known may be out of date by any
    time, so nothing is ``WHOLE`` until ``Resumed``.

    Nothing is missing because of this alone: what was published meanwhile follows, or a ``Gap``.
    """

    reason: str
    """The cause, in a few words."""
    detail: str
    """More about it."""


@value
class Resumed:
    """The end of what ``Stalled`` began: the bus can be read, a machine follows the account, and
    all events that were published meanwhile have been given."""


RelayEvent = Event | Snapshot | TakenOver | BusAnomaly | Stalled | Resumed
"""Anything that a follower of an account is told over a bus."""
