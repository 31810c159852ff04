"""Reports of a node beside those of its holders and its accounts: for logs and screens."""

from typing import TypeAlias

from topone_proto import Failure
from topone_proto._values import value
from topone_proto.relay import HolderEvent

__all__ = [
    "AccountFailed",
    "BusBack",
    "BusLost",
    "Happening",
    "Leaving",
    "MemberJoined",
    "MemberLeft",
    "NodeHappening",
]


@value
class MemberJoined:
    """A node is there that was not, or the first look at the bus has shown it."""

    member: str
    """The name of the other node."""


@value
class MemberLeft:
    """A node is gone: it has left, or was not heard of for as long as a lease lasts."""

    member: str
    """The name of the other node."""


@value
class BusLost:
    """The bus does not answer, or refuses. What is held goes on for as long as its lease does."""

    problem: str
    """The cause, in words."""


@value
class BusBack:
    """The bus answers again."""


@value
class AccountFailed:
    """An account has ended by itself, such as for keys that are refused. Another node may take it
    now; this one tries again when the time is over."""

    account: str
    """The account's name."""
    failure: Failure
    """The cause, and what to check."""
    retry_in: float
    """The seconds until this node may hold it again."""


@value
class Leaving:
    """The node hands its accounts over, and ends."""

    held: int
    """The number of accounts that it held."""


NodeHappening: TypeAlias = MemberJoined | MemberLeft | BusLost | BusBack | AccountFailed | Leaving
"""Anything that happens to a node."""

Happening: TypeAlias = NodeHappening | HolderEvent
"""Anything that happens to a node and its leases."""
