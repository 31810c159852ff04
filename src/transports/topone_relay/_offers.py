"""The accounts that each node offers to hold, as nodes tell each other.

Nodes mostly have the same file. So each tells a digest of its accounts' names, and the names
themselves only while somebody has another digest: what a node says of itself stays small, however
many accounts there are. An account that has failed at a node is named as refused for a while.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256

import msgspec

from topone_relay._json import entry_of

__all__ = ["Offers"]


class _Info(msgspec.Struct, omit_defaults=True):
    digest: str
    refused: list[str] = []
    names: list[str] | None = None


class Offers:
    """The offers of a node, and of the others.

    Args:
        names: the accounts of this node.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._digest = sha256("\n".join(sorted(self._names)).encode()).hexdigest()[:16]
        self._are_alike = True

    def info(self, refused: Iterable[str]) -> bytes:
        """Return what to tell others.

        Args:
            refused: the accounts that this node cannot hold now.
        """
        names = None if self._are_alike else sorted(self._names)
        return msgspec.json.encode(_Info(self._digest, sorted(refused), names))

    def read(
        self, members: Mapping[str, bytes], leases: Mapping[str, str]
    ) -> dict[str, frozenset[str]]:
        """Return what each node offers. One that does not say, or not yet, offers what it holds.

        Args:
            members: what each node has told.
            leases: the node that holds each account.
        """
        found: dict[str, frozenset[str]] = {}
        self._are_alike = True
        for node, told in members.items():
            # None if it is of another version, or of another program.
            info = entry_of(told, _Info) or _Info("", [], [])
            if info.digest == self._digest:
                names = self._names
            else:
                self._are_alike = False
                held = [name for name, holder in leases.items() if holder == node]
                names = frozenset(held if info.names is None else info.names)
            found[node] = names.difference(info.refused)
        return found
