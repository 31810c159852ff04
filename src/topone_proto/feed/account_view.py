"""The reads of an account, the same for every adapter."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from topone_proto.account import Knowledge, Reading
from topone_proto.feed.account_core import AccountCore
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic

__all__ = ["AccountView"]


class AccountView:
    """The reads of an open account: possible at any time, without iterating, also after its end.

    Every reading says how far it can be trusted; see ``Knowledge``.

    Args:
        core: the account.
        looking: is entered for each read, where another thread changes the account.
    """

    def __init__(
        self, core: AccountCore[Any], looking: AbstractContextManager[object] | None = None
    ) -> None:
        self._machine = core.account
        self._looking: AbstractContextManager[object] = (
            nullcontext() if looking is None else looking
        )

    @property
    def is_whole(self) -> bool:
        """True if every topic that is followed is ``WHOLE``: the account is the exchange's, up to
        updates that are still on their way."""
        with self._looking:
            return self._machine.is_whole

    def knowledge(self, topic: Topic) -> Knowledge:
        """Return how far a topic can be trusted."""
        with self._looking:
            return self._machine.account.knowledge(topic)

    def balances(self) -> Reading[Mapping[str, Balance]]:
        """Return all balances that are known, by asset."""
        with self._looking:
            return self._machine.account.balances()

    def balance(self, asset: str) -> Reading[Balance | None]:
        """Return the balance of one asset; None if none is known."""
        with self._looking:
            return self._machine.account.balance(asset)

    def open_orders(self) -> Reading[Mapping[int, Order]]:
        """Return all open orders that are known, by id."""
        with self._looking:
            return self._machine.account.open_orders()

    def other_orders(self) -> Reading[Mapping[int, Order]]:
        """Return the orders that are not open and not forgotten yet, by id, the oldest first."""
        with self._looking:
            return self._machine.account.other_orders()

    def unknown_outcomes(self) -> Reading[Mapping[int, Order]]:
        """Return the last known states of orders that are not open any more and of which nobody
        says how they ended, by id, the oldest first. See ``OutcomeUnknown``."""
        with self._looking:
            return self._machine.account.unknown_outcomes()

    def order(self, number: int) -> Reading[Order | None]:
        """Return one order by its id; None if it is not known, or not any more."""
        with self._looking:
            return self._machine.account.order(number)

    def is_current(self, name: int | str) -> bool:
        """Return True if what is known of one order, by id, or balance, by asset, is right even if
        its topic is not whole; see ``Account.is_current``."""
        with self._looking:
            return self._machine.account.is_current(name)
