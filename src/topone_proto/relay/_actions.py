"""Actions and reports of a holder, and its one step."""

from topone_proto._values import value

__all__ = [
    "Acquire",
    "CloseAccount",
    "HolderEvent",
    "ItemsDropped",
    "LeaseAcquired",
    "LeaseEnded",
    "LeaseUnsure",
    "OpenAccount",
    "Publish",
    "RelayAction",
    "RelayStep",
    "Release",
    "Renew",
]


@value
class Acquire:
    """Try to get the lease of the account, then call ``acquired``, ``not_acquired`` or
    ``acquire_failed``."""

    account: str
    """The account's name on the bus."""


@value
class Renew:
    """Renew the lease, then call ``renewed``, ``renewal_refused`` or ``renewal_failed``."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease."""


@value
class Release:
    """Give the lease back, so that another machine need not wait for its end. Nothing is to be
    called; one attempt is enough."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease."""


@value
class OpenAccount:
    """Follow the account at the exchange, and call ``told`` with every step's events, or
    ``account_ended`` once it ends by itself."""

    account: str
    """The account's name on the bus."""


@value
class CloseAccount:
    """Follow the account no more. What it still says need not be told."""

    account: str
    """The account's name on the bus."""


@value
class Publish:
    """Publish a message under the lease of this epoch, then call ``published``, ``publish_failed``
    or ``fenced``. There is one at a time. It may come again, with the same bytes, after a failure
    that does not say whether it arrived: use the same id, so that the bus takes it once."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease."""
    number: int
    """The number of the message within the epoch."""
    data: bytes
    """The message."""
    has_snapshot: bool
    """True if it begins with a snapshot, or with the first part of one: a consumer that comes late
    begins here."""


RelayAction = Acquire | Renew | Release | OpenAccount | CloseAccount | Publish
"""Anything that a holder asks for."""


@value
class LeaseAcquired:
    """This machine may publish from now on."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease."""


@value
class LeaseUnsure:
    """The bus has not answered until the lease ran out by this machine's own clock. Nothing is
    published until the bus grants a renewal, which ``LeaseAcquired`` reports."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease."""


@value
class LeaseEnded:
    """This machine does not have the lease any more. Whatever is under way for it can be cancelled,
    and its end is not to be reported."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease."""
    reason: str
    """The cause, in a few words."""


@value
class ItemsDropped:
    """More waited to be published than there is room for. All of it was dropped; a ``Gap`` for
    each topic and a snapshot follow once the bus takes messages again."""

    account: str
    """The account's name on the bus."""
    count: int
    """The number of items."""


HolderEvent = LeaseAcquired | LeaseUnsure | LeaseEnded | ItemsDropped
"""Anything that a holder reports, for logs and metrics."""


@value
class RelayStep:
    """Everything that one input of a holder caused."""

    events: tuple[HolderEvent, ...] = ()
    """To be logged or counted."""
    actions: tuple[RelayAction, ...] = ()
    """To be carried out, in order."""
    deadline: float | None = None
    """The time to call ``deadline_reached`` if no other input comes first, on the clock of ``now``;
    None for never. Calling early is harmless."""
