"""The feed of an account that comes over NATS."""

from collections.abc import Sequence
from typing import Any

from topone_nats._connect import connect
from topone_proto.relay.feed_core import FeedPosition
from topone_relay import RelayFeedOpening
from topone_relay import open_feed as open_feed_from
from topone_relay._options import Hidden

__all__ = ["open_feed"]


def open_feed(
    servers: str | Sequence[str],
    *,
    account: str = "main",
    position: FeedPosition | str | None = None,
    durable: str | None = None,
    capacity: int = 10_000,
    silence_timeout: float | None = 35.0,
    close_timeout: float = 5.0,
    **options: Any,
) -> RelayFeedOpening:
    """Open a feed of an account that a relay follows, for the length of a ``with`` block: ``async
    with`` under asyncio and trio, ``with`` for threads.

    Example:
        ``async with topone_nats.open_feed("nats://localhost:4222", account="main") as feed: …``

    Args:
        servers: one URL or several, ``nats://host:port`` or ``tls://host:port``.
        account: the account's name at the relay.
        position: the place to go on behind; see ``topone_relay.open_feed``.
        durable: a name under which the bus remembers the place; see there.
        capacity: the number of events that may wait; see there.
        silence_timeout: the seconds without a message after which ``Stalled`` says so; see there.
        close_timeout: the seconds that closing may take.
        **options: what ``topone_nats.connect`` takes: ``user``, ``password``, ``tls``, …

    Raises:
        ConfigurationError: an option or the position cannot be used.
    """
    given = Hidden((servers, options))
    # No traceback that shows local variables may show these.
    del servers, options
    return open_feed_from(
        connect(given.reveal()[0], **given.reveal()[1]),
        account=account,
        position=position,
        durable=durable,
        capacity=capacity,
        silence_timeout=silence_timeout,
        close_timeout=close_timeout,
    )
