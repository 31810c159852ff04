"""The account itself: events and answers in, changes and questions out."""

from collections.abc import Iterable, Mapping
from typing import cast, overload

from topone_proto.account.balances import Balances
from topone_proto.account.changes import Change, Knowledge, Reading
from topone_proto.account.orders import Orders
from topone_proto.account.questions import BalancesQuery, OrdersQuery, Query
from topone_proto.errors import ConfigurationError
from topone_proto.events import (
    BalanceUpdate,
    Closed,
    Disconnected,
    Event,
    Gap,
    Malformed,
    OrderUpdate,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.models import Balance, Order
from topone_proto.topics import BALANCE, ORDERS, Topic

__all__ = ["Account"]


class Account:
    """Balances and orders as the exchange has them, as far as can be known.

    Hand every event of a feed to ``apply``, in order and from the first one on. Every read says how
    far it can be trusted. To make a topic whole, at the start and whenever something was missed,
    ask the exchange over HTTP: ``ask`` says what for, and ``answer`` takes what it said.

    ::

        async for event in feed:
            show(account.apply(event))
            for query in account.ask():
                start_soon(fetch, query)  # and call account.answer(query, found)

    Args:
        max_closed: how many orders that are not open are remembered.
    """

    def __init__(self, *, max_closed: int = 1000) -> None:
        if max_closed < 1:
            raise ConfigurationError(
                setting="max_closed",
                problem=f"{max_closed!r} is no such number",
                remedy="use a whole number of at least 1",
            )
        self._balances = Balances()
        self._orders = Orders(max_closed)
        self._ledgers = (self._orders, self._balances)
        self._position = 0
        self._latest_ts: int | None = None

    # Reading.

    def knowledge(self, topic: Topic) -> Knowledge:
        """How far a topic can be trusted."""
        for ledger in self._of(topic):
            return ledger.knowledge
        return Knowledge.UNKNOWN

    def balances(self) -> Reading[Mapping[str, Balance]]:
        """All balances that are known, by asset."""
        return Reading(self._balances.balances, self._balances.knowledge)

    def balance(self, asset: str) -> Reading[Balance | None]:
        """The balance of one asset; None if none is known."""
        return Reading(self._balances.find(asset), self._balances.knowledge)

    def open_orders(self) -> Reading[Mapping[int, Order]]:
        """All open orders that are known, by id."""
        return Reading(self._orders.open_orders, self._orders.knowledge)

    def other_orders(self) -> Reading[Mapping[int, Order]]:
        """The orders that are not open and not forgotten yet, by id, the oldest first. A status
        that the exchange does not document is neither open nor closed; such orders are here."""
        return Reading(self._orders.other_orders, self._orders.knowledge)

    def order(self, number: int) -> Reading[Order | None]:
        """One order by its id; None if it is not known, or not any more."""
        known = self._orders.find(number)
        return Reading(None if known is None else known.order, self._orders.knowledge)

    def is_current(self, name: int | str) -> bool:
        """True if what is known of one order, by id, or balance, by asset, is right even if its
        topic is not whole: the present subscription has told of it, and no update can have been
        missed since. A closed order stays as it is."""
        if isinstance(name, int):
            return self._orders.is_current(name)
        return self._balances.is_current(name)

    @property
    def latest_ts(self) -> int | None:
        """The latest server time in milliseconds that an event told."""
        return self._latest_ts

    @property
    def unresolved(self) -> tuple[int | str, ...]:
        """The orders, by id, and the balances, by asset, about which the exchange has yet to say
        more than it did."""
        return (*self._orders.unresolved, *self._balances.unresolved)

    # Telling.

    def apply(self, event: Event) -> tuple[Change, ...]:
        """Take an event in. Returns what it changes, in order."""
        self._position += 1
        changes: tuple[Change, ...] = ()
        match event:
            case OrderUpdate(ts=ts):
                self._see(ts)
                changes = self._orders.heard(event, self._position)
            case BalanceUpdate(ts=ts):
                self._see(ts)
                changes = self._balances.heard(event, self._position)
            case Subscribed(topic=topic, ts=ts):
                self._see(ts)
                for ledger in self._of(topic):
                    changes = ledger.follow(self._position)
            case Unsubscribed(topic=topic):
                changes = self._lose(topic)
            case SubscriptionRejected(topic=topic, method=method):
                if method == topic.subscribe_method:
                    changes = self._lose(topic)
            case Disconnected() | Closed():
                changes = self._lose(ORDERS, BALANCE)
            case Gap(topic=topic):
                changes = self._miss(topic)
            case Malformed():
                # It may have been an update of any topic.
                changes = self._miss(ORDERS, BALANCE)
            case _:
                pass
        return changes

    def ask(self) -> tuple[Query, ...]:
        """What to ask the exchange now, over HTTP. Everything is asked for once; see ``retry``.

        Nothing is, while there is no subscription: what an answer says would be outdated before it
        could be followed.
        """
        return (
            *(OrdersQuery(ids, self._latest_ts, self._position) for ids in self._orders.wanted()),
            *(
                BalancesQuery(assets, self._latest_ts, self._position)
                for assets in self._balances.wanted()
            ),
        )

    def retry(self, query: Query | None = None) -> None:
        """Let ``ask`` ask again: a request has failed, or what was asked for by name was not found.
        Wait a little first.

        Args:
            query: the question to ask again; None for all that are not answered. Those that are
                still under way are then asked a second time, so several requests that fail should
                each name their own.
        """
        match query:
            case None:
                for ledger in self._ledgers:
                    ledger.retry()
            case OrdersQuery(ids=ids):
                self._orders.retry_one(query, ids)
            case BalancesQuery(assets=assets):  # pragma: no branch - there is no other
                self._balances.retry_one(query, assets)

    @overload
    def answer(
        self, query: OrdersQuery, found: Iterable[Order], *, answered_ts: int | None = None
    ) -> tuple[Change, ...]: ...

    @overload
    def answer(
        self, query: BalancesQuery, found: Iterable[Balance], *, answered_ts: int | None = None
    ) -> tuple[Change, ...]: ...

    def answer(
        self,
        query: Query,
        found: Iterable[Order] | Iterable[Balance],
        *,
        answered_ts: int | None = None,
    ) -> tuple[Change, ...]:
        """Take in what the exchange answered to a question of ``ask``.

        An answer to a question that is not open any more changes nothing: the connection was lost
        meanwhile, say, and the question is asked again when it is back.

        Args:
            query: the question.
            found: everything that the answer contains, of all its pages.
            answered_ts: the time of the answer, as a server time in milliseconds that is not before
                it. A local clock is none. Without one, more balances are asked for again.

        Returns:
            What the answer changes, and ``Resynced`` if it was the last that was missing.
        """
        match query:
            case OrdersQuery():
                if not self._orders.is_awaited(query):
                    return ()
                # An answer has a place among the events, too: what it closes, no older one opens.
                self._position += 1
                return self._orders.merge(
                    query, cast("Iterable[Order]", found), answered_ts, self._position
                )
            case BalancesQuery():  # pragma: no branch - there is no other
                if not self._balances.is_awaited(query):
                    return ()
                return self._balances.merge(query, cast("Iterable[Balance]", found), answered_ts)

    def _see(self, ts: int | None) -> None:
        if ts is not None and (self._latest_ts is None or ts > self._latest_ts):
            self._latest_ts = ts

    def _of(self, *topics: Topic) -> tuple[Orders | Balances, ...]:
        return tuple(ledger for ledger in self._ledgers if ledger.topic in topics)

    def _lose(self, *topics: Topic) -> tuple[Change, ...]:
        return tuple(change for ledger in self._of(*topics) for change in ledger.lose())

    def _miss(self, *topics: Topic) -> tuple[Change, ...]:
        return tuple(
            change for ledger in self._of(*topics) for change in ledger.miss(self._position)
        )
