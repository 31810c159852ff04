"""The assignment of accounts to nodes: every node makes it by itself, all from the same facts.

Theory. The facts are the leases and the nodes that are alive, each with the accounts that it
*offers* to hold. From these each node computes the same assignment, and takes its own part:

- An account without a lease goes to the node that has the fewest, of those that offer it; among
  equals a hash of both names decides. Nodes whose facts differ for a moment may both want it, or
  neither: the lease decides the one, the next look the other. If it is still free after
  ``PATIENCE`` looks, whoever offers it takes it.
- A node that has more than its share gives some away: as many as bring it down to the larger of
  the two shares that differ by one, if it is one of those that have most, and else to the smaller.
  Only to a node that is below its share and offers them, and only ``MOST_MOVES`` at a time, so that
  those who follow the accounts do not all have a gap at once.

So a node that joins or leaves moves no account but those that have to, and nothing moves once all
have their shares.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from topone_proto._values import value

__all__ = ["MOST_MOVES", "PATIENCE", "Placement", "place"]

PATIENCE: Final = 3
"""Looks for which an account that has no holder is left to the node that it falls to."""

MOST_MOVES: Final = 10
"""Accounts that a node gives away at a time."""


@value
class Placement:
    """The part of a node."""

    take: tuple[str, ...] = ()
    """Accounts to get the lease of."""
    give: tuple[str, ...] = ()
    """Accounts to hand over."""


def place(
    node: str,
    offers: Mapping[str, frozenset[str]],
    leases: Mapping[str, str],
    wanted: frozenset[str],
    looks: Mapping[str, int],
) -> Placement:
    """Return what a node takes and gives away now.

    Args:
        node: its name.
        offers: the accounts that each node that is alive offers to hold, by the node's name, this
            one included.
        leases: the node that holds each account, by the account's name.
        wanted: the accounts that this node holds or is trying to.
        looks: how many times in a row each account was found without a lease.
    """
    held: dict[str, set[str]] = {name: set() for name in offers}
    for account, holder in leases.items():
        if holder in held:
            held[holder].add(account)
    held[node] |= wanted
    counts = {name: len(accounts) for name, accounts in held.items()}
    taken = set(leases) | wanted
    take: list[str] = []
    is_any_free = False
    for account in sorted(frozenset[str]().union(*offers.values()) - taken):
        able = [name for name in offers if account in offers[name]]
        first = min(able, key=lambda name: (counts[name], _rank(name, account)))
        counts[first] += 1
        is_any_free = True
        is_late = looks.get(account, 0) >= PATIENCE
        if first == node or (is_late and account in offers[node]):
            take.append(account)
    give = () if is_any_free else _give(node, offers, held)
    return Placement(tuple(take), give)


def _give(
    node: str, offers: Mapping[str, frozenset[str]], held: Mapping[str, set[str]]
) -> tuple[str, ...]:
    counts = {name: len(accounts) for name, accounts in held.items()}
    shares = _shares(counts)
    excess = min(counts[node] - shares[node], MOST_MOVES)
    room = {name: shares[name] - counts[name] for name in counts}
    given: list[str] = []
    for account in sorted(held[node], key=lambda account: _rank(node, account)):
        if len(given) >= excess:
            break
        able = [name for name in offers if room[name] > 0 and account in offers[name]]
        if able:
            room[max(able, key=lambda name: (room[name], name))] -= 1
            given.append(account)
    return tuple(given)


def _shares(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many each node is to have: those that have most now have one more."""
    least, rest = divmod(sum(counts.values()), len(counts))
    by_count = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: least + (place < rest) for place, name in enumerate(by_count)}


def _rank(name: str, account: str) -> bytes:
    return blake2b(f"{name} {account}".encode(), digest_size=8).digest()
