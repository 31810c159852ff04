"""Balances by asset.

A balance has no time and no order of its own, so arrival decides: of two updates of one
subscription the later to come is right, whatever server times they carry. Once the present
subscription has told a balance, every later change of it is told, too: it stands against answers.
An answer that differs from it and was asked for later is a doubt, asked for by name; most of the
time an update is under way and settles it first. What the present subscription has not told has
not changed since it began: there the answer is right.

A snapshot of a relayed account has its place on the stream. Of an account that is WHOLE it says the
same as the stream: one that differs where the stream has told a balance, or lacks it, contradicts
(``ledger``). What only snapshots have told, another one may change.
"""

from collections.abc import Collection, Iterable

from attrs import define

from topone_proto.account._asking import NOT_TOLD
from topone_proto.account._changes import (
    BalanceChanged,
    BalanceUnlisted,
    Change,
    Knowledge,
    MovedBackwards,
)
from topone_proto.account._config import AccountConfig
from topone_proto.account._ledger import Ledger
from topone_proto.account._questions import BalancesQuery
from topone_proto.account._snapshot import Snapshot
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate

__all__ = ["Balances"]


@define(eq=False)
class _Known:
    balance: Balance
    position: int
    """The position at which it was told or confirmed."""
    told_at: int = NOT_TOLD
    """The position at which the stream last told it."""


def _is_zero(balance: Balance) -> bool:
    return not balance.available and not balance.freeze


class Balances(Ledger[str]):
    """All balances that are known."""

    def __init__(self, config: AccountConfig) -> None:
        super().__init__(BALANCE, config)
        self._known: dict[str, _Known] = {}

    @property
    def balances(self) -> dict[str, Balance]:
        """Every known balance, by asset."""
        return {asset: known.balance for asset, known in self._known.items()}

    def find(self, asset: str) -> Balance | None:
        """Return what is known of one asset."""
        known = self._known.get(asset)
        return None if known is None else known.balance

    def heard(self, update: BalanceUpdate, position: int) -> tuple[Change, ...]:
        """The stream told a balance."""
        balance = update.balance
        changes = self._put(balance, update.ts, position)
        self._known[balance.asset].told_at = position
        return changes + self._settled()

    def merge(
        self,
        query: BalancesQuery,
        found: Iterable[Balance],
        answered_ts: int | None,
        position: int,
    ) -> tuple[Change, ...]:
        """An answer told balances."""
        if query.is_audit:
            self._compare(query, tuple(found), position)
            return ()
        was_suspect = self._is_suspect(query.assets)
        changes: list[Change] = []
        names: set[str] = set()
        is_by_name = query.assets is not None
        for balance in found:
            asset = balance.asset
            names.add(asset)
            if is_by_name and asset not in self.doubts:
                continue
            known = self._known.get(asset)
            if self._is_crossed(query, asset):
                self._ask_again(asset)
            elif (
                known is None
                or is_by_name
                or known.balance == balance
                or not self._is_since_followed(known.told_at)
            ):
                changes += self._put(balance, None, position, healed=True)
            else:
                changes += self._put_in_doubt(asset, position, is_lasting=False)
        if query.assets is None:
            self._accept_list(query, names, position)
        else:
            changes += self._not_found(query, sorted(set(query.assets) - names))
        return self._finish(changes, answered_ts, was_suspect=was_suspect)

    def _compare(self, query: BalancesQuery, found: tuple[Balance, ...], position: int) -> None:
        """Compare the list of an audit with what is known. What differs may be under way on the
        stream: it is asked for by name before it is believed. Whether a list has balances of zero
        is the exchange's choice."""
        for balance in found:
            asset, known = balance.asset, self._known.get(balance.asset)
            is_same = _is_zero(balance) if known is None else known.balance == balance
            if not is_same and not self._is_crossed(query, asset):
                self._suspect(asset, position)
        names = {balance.asset for balance in found}
        zeros = {asset for asset, known in self._known.items() if _is_zero(known.balance)}
        self._audited(query, names | zeros, position)

    def _replace(
        self, snapshot: Snapshot, settled: Collection[str], position: int
    ) -> tuple[Change, ...]:
        is_whole = self.knowledge is Knowledge.WHOLE
        changes: list[Change] = []
        # What the stream has told stands, as long as it was never broken since.
        told = {name for name, known in self._known.items() if known.told_at > self._broken_at}
        firm = told.difference(settled) if is_whole else set[str]()
        listed = {balance.asset for balance in snapshot.balances}
        for name in sorted(self._listable() - listed):
            if name in firm:
                changes += self._put_in_doubt(name, position, is_lasting=True)
            else:
                changes.append(BalanceUnlisted(self._known.pop(name).balance))
        for balance in snapshot.balances:
            known = self._known.get(balance.asset)
            if known is None or known.balance == balance or balance.asset not in firm:
                changes += self._put(balance, None, position, healed=True)
            else:
                reason = "the stream has told another one since"
                changes.append(MovedBackwards(known.balance, balance, None, reason))
                changes += self._put_in_doubt(balance.asset, position, is_lasting=True)
        return tuple(changes)

    def _put(
        self, balance: Balance, ts: int | None, position: int, *, healed: bool = False
    ) -> tuple[BalanceChanged, ...]:
        self._resolve(balance.asset)
        known = self._known.get(balance.asset)
        if known is None:
            self._known[balance.asset] = _Known(balance, position)
            return (BalanceChanged(None, balance, ts, healed),)
        before, known.balance, known.position = known.balance, balance, position
        return () if before == balance else (BalanceChanged(before, balance, ts, healed),)

    def _listable(self) -> set[str]:
        return set(self._known)

    def _position_of(self, name: str) -> int:
        known = self._known.get(name)
        return NOT_TOLD if known is None else known.position

    def _is_right(self, name: str) -> bool:
        known = self._known.get(name)
        return known is not None and self._is_since_followed(known.position)

    def _harden(self, name: str) -> tuple[Change, ...]:
        known = self._known.get(name)
        if known is None or self._is_since_followed(known.told_at):
            self._resolve(name)  # the stream's word stands, and nothing is known that nobody has
            return ()
        return super()._harden(name)

    def _give_up(self, name: str) -> tuple[Change, ...]:
        self._resolve(name)
        known = self._known.get(name)
        if known is None or self._is_since_followed(known.told_at):
            return ()  # nothing is known that nobody has, and the stream's word stands
        return (BalanceUnlisted(self._known.pop(name).balance),)
