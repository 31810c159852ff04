"""The parts of an account, and how an event or a question of it is made of theirs.

``Account`` has the inputs and the reading.
"""

from abc import ABC, abstractmethod

from topone_proto.account._balances import Balances
from topone_proto.account._changes import Change, Knowledge
from topone_proto.account._claims import Claims
from topone_proto.account._config import AccountConfig
from topone_proto.account._orders import Orders
from topone_proto.account._pace import Horizon
from topone_proto.account._questions import BalancesQuery, OrdersQuery, Query
from topone_proto.account._snapshot import RelayEvent, Resumed, Snapshot, Stalled
from topone_proto.events import Malformed, Unrecognised
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic

__all__ = ["Parts"]


class Parts(ABC):
    """The ledgers of one account, and what is counted beside them."""

    def __init__(self, max_closed: int, config: AccountConfig) -> None:
        self._balances = Balances(config)
        self._orders = Orders(max_closed, config)
        self._horizon = Horizon(config.answer_lag)
        self._ledgers = (self._orders, self._balances)
        self._position: int = 0
        self._latest_ts: int | None = None
        self._claims = Claims(self._orders, self._balances)

    @abstractmethod
    def apply(self, event: RelayEvent) -> tuple[Change, ...]:
        """Take an event in."""

    def _picture(self) -> Snapshot | None:
        """The account as it is known at this moment, if it is whole."""
        followed = [ledger for ledger in self._ledgers if ledger.followed_since is not None]
        if not followed or any(ledger.knowledge is not Knowledge.WHOLE for ledger in followed):
            return None
        topics = tuple(ledger.topic for ledger in followed)
        orders, balances = self._orders, self._balances
        has_orders = ORDERS in topics
        return Snapshot(
            topics,
            tuple(balances.balances.values()) if BALANCE in topics else (),
            tuple(orders.open_orders.values()) if has_orders else (),
            tuple(orders.other_orders.values()) if has_orders else (),
            tuple(orders.unknown_outcomes.values()) if has_orders else (),
            self._latest_ts,
        )

    def _wanted(self, now: float | None, horizon: int) -> tuple[Query, ...]:
        """Return what to ask now. An audit comes last."""
        audits: list[Query] = []
        if self._orders.wanted_audit(now, horizon):
            audits.append(OrdersQuery(None, self._latest_ts, horizon, is_audit=True))
        if self._balances.wanted_audit(now, horizon):
            audits.append(BalancesQuery(None, self._latest_ts, horizon, is_audit=True))
        return (
            *(
                OrdersQuery(ids, self._latest_ts, horizon)
                for ids in self._orders.wanted(now, horizon)
            ),
            *(
                BalancesQuery(assets, self._latest_ts, horizon)
                for assets in self._balances.wanted(now, horizon)
            ),
            *audits,
        )

    def _note(self, event: RelayEvent) -> tuple[Change, ...]:
        """Take in what is no news of a topic by itself."""
        match event:
            case Malformed(topics=topics) | Unrecognised(topics=topics):
                # It may have been an update of these.
                return self._miss(*topics)
            case Stalled():
                return self._claims.stall(is_stalled=True)
            case _:
                return ()

    def _apply_stalled(self, event: RelayEvent) -> tuple[Change, ...]:
        """Take an event in while nothing is claimed to be whole."""
        if isinstance(event, Resumed):
            return self._claims.stall(is_stalled=False)
        self._claims.is_stalled = False
        changes = self.apply(event)
        self._claims.is_stalled = True
        return () if isinstance(event, Stalled) else self._claims.told(changes)

    def _see(self, ts: int | None) -> None:
        if ts is not None and (self._latest_ts is None or ts > self._latest_ts):
            self._latest_ts = ts

    def _of(self, *topics: Topic) -> tuple[Orders | Balances, ...]:
        return tuple(ledger for ledger in self._ledgers if ledger.topic in topics)

    def _lose(self, *topics: Topic) -> tuple[Change, ...]:
        return tuple(
            change for ledger in self._of(*topics) for change in ledger.lose(self._position)
        )

    def _miss(self, *topics: Topic) -> tuple[Change, ...]:
        return tuple(
            change for ledger in self._of(*topics) for change in ledger.miss(self._position)
        )
