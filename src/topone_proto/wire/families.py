"""All families of topics that this version knows: importing this registers them.

To add one, write a file like ``wire.deals`` and name it here.
"""

from typing import Any, Final

from topone_proto.wire import balance, deals, depth, kline, orders
from topone_proto.wire.topic import Family, Topic, families, register

__all__ = ["FAMILIES", "lone_topics"]

FAMILIES: Final[tuple[Family[Any], ...]] = (
    balance.FAMILY,
    orders.FAMILY,
    kline.FAMILY,
    depth.FAMILY,
    deals.FAMILY,
)
"""The families of ``topone_proto`` itself."""

for _family in FAMILIES:
    register(_family)


def lone_topics() -> tuple[Topic, ...]:
    """Return the topics of all families that have just one, which has no parameters."""
    return tuple(family.topic for family in families() if family.topic is not None)
