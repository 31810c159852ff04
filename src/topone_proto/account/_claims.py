"""The claim that a topic is whole, while a bus does not show the present.

A ledger knows what it was told, and not whether anybody is still telling. While the stream is
stalled its knowledge stays as it is, and nobody is told that it is ``WHOLE``. Nothing is lost by
that, so the claim is made again once the stream has caught up.
"""

from topone_proto.account._balances import Balances
from topone_proto.account._changes import Change, Knowledge, KnowledgeChanged
from topone_proto.account._orders import Orders

__all__ = ["Claims"]


class Claims:
    """The knowledge of some ledgers, as it is told."""

    def __init__(self, orders: Orders, balances: Balances) -> None:
        self._ledgers: tuple[Orders | Balances, ...] = (orders, balances)
        self.is_stalled: bool = False
        """True from ``Stalled`` to ``Resumed``."""

    def known(self, ledger: Orders | Balances) -> Knowledge:
        """Return how far a ledger can be trusted."""
        is_whole = ledger.knowledge is Knowledge.WHOLE
        return Knowledge.STALE if is_whole and self.is_stalled else ledger.knowledge

    def stall(self, *, is_stalled: bool) -> tuple[Change, ...]:
        """Claim nothing more to be whole, or what is whole again."""
        before = [self.known(ledger) for ledger in self._ledgers]
        self.is_stalled = is_stalled
        return tuple(
            KnowledgeChanged(ledger.topic, was, now)
            for ledger, was in zip(self._ledgers, before, strict=True)
            if (now := self.known(ledger)) is not was
        )

    def told(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Return changes without those of claims that are not made while nothing comes."""
        return tuple(
            change
            for change in changes
            if not isinstance(change, KnowledgeChanged)
            or Knowledge.WHOLE not in (change.before, change.after)
        )
