"""Balances by asset."""

from collections.abc import Iterable
from typing import Final

from attrs import define

from topone_proto.account.changes import BalanceChanged, Change, MovedBackwards
from topone_proto.account.ledger import NOT_HEARD, Ledger
from topone_proto.account.questions import BalancesQuery
from topone_proto.events import BalanceUpdate
from topone_proto.models import Balance
from topone_proto.topics import BALANCE

__all__ = ["Balances"]

# A balance that changes faster than it can be asked for is asked for so often and no more: the
# stream tells every change of it.
_MAX_ASKS: Final = 3


@define(eq=False)
class _KnownBalance:
    balance: Balance
    ts: int = NOT_HEARD
    """Server time of the latest update."""
    position: int = NOT_HEARD
    """When the stream last told of it."""


class Balances(Ledger[str]):
    """Balances by asset. They have no time of their own: an update has one, an answer has none."""

    def __init__(self) -> None:
        super().__init__(BALANCE)
        self._known: dict[str, _KnownBalance] = {}

    @property
    def balances(self) -> dict[str, Balance]:
        return {asset: known.balance for asset, known in self._known.items()}

    def find(self, asset: str) -> Balance | None:
        known = self._known.get(asset)
        return None if known is None else known.balance

    def heard(self, update: BalanceUpdate, position: int) -> tuple[Change, ...]:
        """The stream told of a balance."""
        balance = update.balance
        known = self._known.get(balance.asset)
        # Without a time that can be read it is as late as what was known.
        ts = update.ts if update.ts is not None else 0 if known is None else known.ts
        if known is not None and ts < known.ts:
            return (MovedBackwards(known.balance, balance, update.ts, "the server's time"),)
        changes = self._put(balance, ts)
        known = self._known[balance.asset]
        known.ts, known.position = ts, position
        self.absent.discard(balance.asset)
        return changes + self.settled()

    def merge(
        self, query: BalancesQuery, found: Iterable[Balance], answered_ts: int | None
    ) -> tuple[Change, ...]:
        """An answer told of balances."""
        changes: list[Change] = []
        names: set[str] = set()
        for balance in found:
            asset = balance.asset
            names.add(asset)
            known = self._known.get(asset)
            if known is None or known.position <= query.position:
                # Whatever the stream had told by then, the exchange knew when it was asked.
                changes += self._put(balance, None)
                self._resolve(asset)
            elif known.balance == balance or (answered_ts is not None and known.ts > answered_ts):
                self._resolve(asset)
            else:
                self._contest(asset)
        return self.answered(query, query.assets, names, tuple(changes), answered_ts)

    def _put(self, balance: Balance, ts: int | None) -> tuple[Change, ...]:
        known = self._known.get(balance.asset)
        if known is None:
            self._known[balance.asset] = _KnownBalance(balance)
            return (BalanceChanged(None, balance, ts),)
        before, known.balance = known.balance, balance
        return () if before == balance else (BalanceChanged(before, balance, ts),)

    def _contest(self, asset: str) -> None:
        """What the stream told stands, and is asked for again."""
        asks = self.contested.pop(asset, 0) + 1
        self._asked.discard(asset)
        if asks < _MAX_ASKS:
            self.contested[asset] = asks

    def _listable(self) -> set[str]:
        return set(self._known)

    def is_known(self, name: str) -> bool:
        return name in self._known

    def is_told(self, name: str) -> bool:
        known = self._known.get(name)
        return known is not None and self._is_since_followed(known.position)
