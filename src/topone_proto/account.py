"""An account as a pure fold over events: balances, orders, fills, and how far each can be trusted.

And what to ask the exchange over HTTP when it cannot: the questions and the merging of the answers
are decided here, the asking is the caller's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import Enum
from typing import Final, Generic, TypeVar, cast, overload

from attrs import define

from topone_proto._values import value
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

__all__ = [
    "Account",
    "AggregatedFill",
    "BalanceChanged",
    "BalancesQuery",
    "Change",
    "Difference",
    "Knowledge",
    "KnowledgeChanged",
    "MovedBackwards",
    "OrderChanged",
    "OrdersQuery",
    "Query",
    "Reading",
    "Resynced",
]

# As in ``models``: wide enough to be exact, and a division that no caller's context can change.
_EXACT: Final = Context(prec=512)
_DIVISION: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)
_ZERO: Final = Decimal(0)
# A balance that changes faster than it can be asked for is asked for so often and no more: the
# stream tells every change of it.
_MAX_ASKS: Final = 3

_T = TypeVar("_T")
_K = TypeVar("_K", int, str)


class Knowledge(Enum):
    """How far what is known of a topic can be trusted."""

    UNKNOWN = "unknown"
    """There never was a whole picture: what the stream did not mention is not known."""
    STALE = "stale"
    """There was a whole picture once, and updates may have been missed since."""
    WHOLE = "whole"
    """Everything is known, up to the updates that are still on their way."""


@value
class Reading(Generic[_T]):
    """What was read, and how far it can be trusted."""

    value: _T
    """What is known."""
    knowledge: Knowledge
    """How far the topic that it belongs to can be trusted."""


# --- changes -------------------------------------------------------------------------------------


@value
class BalanceChanged:
    """The balance of one asset is another one, or is known for the first time."""

    before: Balance | None
    """The balance as it was known before; None if it was not."""
    after: Balance
    """The balance as it is known now."""
    ts: int | None
    """Server time of the update in milliseconds; None if an answer over HTTP told of it."""


@value
class OrderChanged:
    """An order is in another state, or is known for the first time."""

    before: Order | None
    """The order as it was known before; None if it was not."""
    after: Order
    """The order as it is known now."""
    ts: int | None
    """Server time of the update in milliseconds; None if an answer over HTTP told of it."""


@value
class AggregatedFill:
    """What was filled between two known states of an order, as one: the exchange publishes states
    and not trades, so this may stand for several trades at different prices.

    The fills of an order add up to its ``deal_stock`` and ``deal_money``.
    """

    order: Order
    """The order afterwards: its market, its side, when it changed."""
    since: float | None
    """``update_time`` of the state before. None if that state is not known: this is then everything
    that was filled since the order was made, however long ago."""
    deal_stock: Decimal
    """How much more is filled, in stock."""
    deal_money: Decimal
    """What more was paid or received, in money."""

    @property
    def price(self) -> Decimal:
        """What one unit of stock cost on average, in money, to 28 digits."""
        return _DIVISION.divide(self.deal_money, self.deal_stock)


@value
class MovedBackwards:
    """An anomaly: the exchange told of a state that must have been before the one that it told of
    already. It is not applied."""

    kept: Order | Balance
    """What was known before, and still is."""
    refused: Order | Balance
    """What the exchange told of, and was not applied."""
    ts: int | None
    """Server time of the refused update in milliseconds; None if an answer over HTTP told of it."""
    reason: str
    """What goes backwards, in a few words."""


@value
class KnowledgeChanged:
    """A topic can be trusted more, or less, than before."""

    topic: Topic
    """The topic whose trust has changed."""
    before: Knowledge
    """How far it could be trusted."""
    after: Knowledge
    """How far it can be trusted now. Act on numbers of a topic that is ``WHOLE`` only."""


Difference = BalanceChanged | OrderChanged | AggregatedFill
"""What an answer over HTTP can tell that was not known."""


@value
class Resynced:
    """A topic is whole: everything that was to be asked is answered, and the stream was followed
    meanwhile."""

    topic: Topic
    """The topic that is whole."""
    differences: tuple[Difference, ...]
    """Everything that the answers of this subscription told and the stream had not."""
    asked_ts: int | None
    """The latest server time in milliseconds that was known when the first question was asked."""
    answered_ts: int | None
    """Server time of the last answer in milliseconds, if the caller knew it."""


Change = Difference | MovedBackwards | KnowledgeChanged | Resynced
"""Anything that an event or an answer can change."""


# --- questions -----------------------------------------------------------------------------------


@value
class OrdersQuery:
    """Ask the exchange for orders."""

    ids: tuple[int, ...] | None
    """These, open or closed; None for all that are open, in all markets."""
    asked_ts: int | None
    """The time of the request: the latest server time in milliseconds that was known then."""
    position: int
    """The time of the request again, as the number of events that the account had seen."""


@value
class BalancesQuery:
    """Ask the exchange for balances."""

    assets: tuple[str, ...] | None
    """Of these assets; None for all there are."""
    asked_ts: int | None
    """The time of the request: the latest server time in milliseconds that was known then."""
    position: int
    """The time of the request again, as the number of events that the account had seen."""


Query = OrdersQuery | BalancesQuery
"""What to ask over HTTP."""


# --- one topic -----------------------------------------------------------------------------------


class _Ledger(ABC, Generic[_K]):
    """What is the same for both topics: how far it is known, and what is left to ask.

    First everything is listed. What the list leaves open is then asked for by name:

    - ``absent``: known here and not listed there. What became of it only the exchange can say.
    - ``contested``: told by an update while it was asked for. Which of both is newer cannot be
      told. The number is how often it was asked for.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.knowledge = Knowledge.UNKNOWN
        self.followed_since: int | None = None
        """The position from which on every update arrives; None while there is no subscription."""
        self.absent: set[_K] = set()
        self.contested: dict[_K, int] = {}
        self._is_listed = False
        self._is_list_asked = False
        self._asked: set[_K] = set()
        self._differences: list[Difference] = []
        self._asked_ts: int | None = None
        self._answered_ts: int | None = None

    @property
    def unresolved(self) -> tuple[_K, ...]:
        return tuple(sorted(self.absent.union(self.contested)))

    def follow(self, position: int) -> tuple[Change, ...]:
        """Every update from here on arrives. What was answered before may be outdated."""
        self.followed_since = position
        return self._doubt()

    def lose(self) -> tuple[Change, ...]:
        """Updates may not arrive any more."""
        self.followed_since = None
        return self._doubt()

    def miss(self, position: int) -> tuple[Change, ...]:
        """Updates up to here may be missing."""
        return () if self.followed_since is None else self.follow(position)

    def wanted(self) -> tuple[tuple[_K, ...] | None, ...]:
        """What to ask for and is not asked for yet: nothing, everything, or some by name."""
        if self.followed_since is None or self.knowledge is Knowledge.WHOLE:
            return ()
        if not self._is_listed:
            is_asked, self._is_list_asked = self._is_list_asked, True
            return () if is_asked else (None,)
        names = tuple(name for name in self.unresolved if name not in self._asked)
        self._asked.update(names)
        return (names,) if names else ()

    def retry(self) -> None:
        """Whatever was asked for, ask for it again."""
        self._is_list_asked = False
        self._asked.clear()

    def retry_one(self, query: Query, names: tuple[_K, ...] | None) -> None:
        """What this question was for, ask for it again."""
        if not self.is_awaited(query):
            return
        if names is None:
            self._is_list_asked = False
        else:
            self._asked.difference_update(names)

    def is_awaited(self, query: Query) -> bool:
        """True if the answer can be used: it was asked for on the present subscription."""
        return (
            self.knowledge is not Knowledge.WHOLE
            and self.followed_since is not None
            and query.position >= self.followed_since
        )

    def is_current(self, name: _K) -> bool:
        """True if what is known of it is right, be the rest as it may."""
        return self.is_told(name) or (self.knowledge is Knowledge.WHOLE and self.is_known(name))

    def answered(
        self,
        query: Query,
        names: tuple[_K, ...] | None,
        found: set[_K],
        changes: tuple[Change, ...],
        answered_ts: int | None,
    ) -> tuple[Change, ...]:
        """An answer was merged: these names were found in it, and these changes made."""
        # By the time of an answer to a question for names, updates may have settled some of them.
        expected = self._listable() if names is None else set(names).intersection(self.unresolved)
        for name in expected - found:
            if self.is_told(name):
                self._resolve(name)
            else:
                self.absent.add(name)
        if names is None:
            self._is_listed = True
            self._asked_ts = query.asked_ts
        self._answered_ts = answered_ts
        self._differences += [change for change in changes if isinstance(change, Difference)]
        return changes + self.settled()

    def settled(self) -> tuple[Change, ...]:
        """The topic is whole, if nothing is open any more."""
        if not self._is_listed or self.absent or self.contested:
            return ()
        if self.knowledge is Knowledge.WHOLE:
            return ()
        resynced = Resynced(self.topic, tuple(self._differences), self._asked_ts, self._answered_ts)
        self._differences.clear()
        return (*self._know(Knowledge.WHOLE), resynced)

    def _resolve(self, name: _K) -> None:
        self.absent.discard(name)
        self.contested.pop(name, None)

    def _doubt(self) -> tuple[Change, ...]:
        self.absent.clear()
        self.contested.clear()
        self._is_listed = False
        self._differences.clear()
        self.retry()
        return self._know(Knowledge.STALE) if self.knowledge is Knowledge.WHOLE else ()

    def _know(self, after: Knowledge) -> tuple[Change, ...]:
        before, self.knowledge = self.knowledge, after
        return (KnowledgeChanged(self.topic, before, after),)

    def _is_since_followed(self, position: int) -> bool:
        return self.followed_since is not None and position > self.followed_since

    @abstractmethod
    def _listable(self) -> set[_K]:
        """The names of all that a complete list has, as far as is known here."""

    @abstractmethod
    def is_known(self, name: _K) -> bool:
        """True if anything is known of it."""

    @abstractmethod
    def is_told(self, name: _K) -> bool:
        """True if the present subscription has told enough, so that nobody need be asked."""


_NOT_HEARD: Final = -1


@define(eq=False)
class _KnownBalance:
    balance: Balance
    ts: int = _NOT_HEARD
    """Server time of the latest update."""
    position: int = _NOT_HEARD
    """When the stream last told of it."""


class _Balances(_Ledger[str]):
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


@define(eq=False)
class _KnownOrder:
    order: Order
    heard: Order | None = None
    """The latest state that the stream told of."""
    position: int = _NOT_HEARD
    """When it did."""
    put_at: int = _NOT_HEARD
    """When what is known of it was told, by the stream or an answer."""


class _Orders(_Ledger[int]):
    """Orders by id: all that are open, and the latest of the others up to a limit."""

    def __init__(self, max_closed: int) -> None:
        super().__init__(ORDERS)
        self._max_closed = max_closed
        self._open: dict[int, _KnownOrder] = {}
        # Those of an unknown status as well: they may be closed, so their number needs a limit.
        self._rest: dict[int, _KnownOrder] = {}
        self._forgotten_at = _NOT_HEARD
        """When an order that was forgotten since was last told of, by the stream or an answer."""

    @property
    def open_orders(self) -> dict[int, Order]:
        return {number: known.order for number, known in self._open.items()}

    @property
    def other_orders(self) -> dict[int, Order]:
        return {number: known.order for number, known in self._rest.items()}

    def find(self, number: int) -> _KnownOrder | None:
        return self._open.get(number) or self._rest.get(number)

    def heard(self, update: OrderUpdate, position: int) -> tuple[Change, ...]:
        """The stream told of an order."""
        order = update.order
        changes: tuple[Change, ...] = ()
        known = self.find(order.id)
        if known is None or (reason := _objection(order, known.order)) is None:
            changes = self._put(order, update.ts, position)
        elif known.heard is None or _objection(order, known.heard) is None:
            # No step back of the stream: an answer was ahead of it.
            pass
        else:
            return (MovedBackwards(known.order, order, update.ts, reason),)
        known = self.find(order.id)
        assert known is not None  # at least one that is not open is remembered: this one
        known.heard, known.position = order, position
        self.absent.discard(order.id)
        return changes + self.settled()

    def merge(
        self, query: OrdersQuery, found: Iterable[Order], answered_ts: int | None, position: int
    ) -> tuple[Change, ...]:
        """An answer told of orders."""
        changes: list[Change] = []
        names: set[int] = set()
        for order in found:
            names.add(order.id)
            known = self.find(order.id)
            if known is None and not order.is_closed and query.position < self._forgotten_at:
                # It may have closed since the exchange read its books, and been forgotten since.
                self.absent.add(order.id)
                self._asked.discard(order.id)
                continue
            if known is None or _rank(order) > _rank(known.order):
                reason = None if known is None else _objection(order, known.order)
                if reason is None:
                    changes += self._put(order, None, position)
                elif known is not None and not known.order.is_closed:
                    changes.append(MovedBackwards(known.order, order, None, reason))
            self._resolve(order.id)
        return self.answered(query, query.ids, names, tuple(changes), answered_ts)

    def _put(self, order: Order, ts: int | None, position: int) -> tuple[Change, ...]:
        known = self._open.pop(order.id, None) or self._rest.pop(order.id, None)
        before = None if known is None else known.order
        if known is None:
            known = _KnownOrder(order)
        known.order, known.put_at = order, position
        if order.is_open:
            self._open[order.id] = known
        else:
            self._rest[order.id] = known
            if len(self._rest) > self._max_closed:
                forgotten = self._rest.pop(next(iter(self._rest)))
                self._forgotten_at = max(self._forgotten_at, forgotten.put_at)
        if before == order:
            return ()
        return (OrderChanged(before, order, ts), *_fill(before, order))

    def _listable(self) -> set[int]:
        return set(self._open)

    def is_known(self, name: int) -> bool:
        return self.find(name) is not None

    def is_told(self, name: int) -> bool:
        known = self.find(name)
        return known is not None and (
            known.order.is_closed or self._is_since_followed(known.position)
        )


def _rank(order: Order) -> tuple[bool, float, Decimal]:
    """Of two states of one order the one with the larger rank is the later one."""
    return order.is_closed, order.update_time or 0.0, order.deal_stock


def _objection(order: Order, known: Order) -> str | None:
    """Why ``order`` cannot come after ``known``; None if it can, or is the same."""
    if order == known:
        return None
    if known.is_closed:
        return "the order was closed already"
    if order.deal_stock < known.deal_stock or order.deal_money < known.deal_money:
        return "less is filled than before"
    if _rank(order) < _rank(known):
        return "the update is older"
    return None


def _fill(before: Order | None, after: Order) -> tuple[AggregatedFill, ...]:
    """What was filled between two states."""
    stock, money, since = after.deal_stock, after.deal_money, None
    if before is not None:
        stock = _EXACT.subtract(stock, before.deal_stock)
        money = _EXACT.subtract(money, before.deal_money)
        since = before.update_time
    return (AggregatedFill(after, since, stock, money),) if stock > 0 else ()


# --- the account ---------------------------------------------------------------------------------


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
        self._balances = _Balances()
        self._orders = _Orders(max_closed)
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

    def _of(self, *topics: Topic) -> tuple[_Orders | _Balances, ...]:
        return tuple(ledger for ledger in self._ledgers if ledger.topic in topics)

    def _lose(self, *topics: Topic) -> tuple[Change, ...]:
        return tuple(change for ledger in self._of(*topics) for change in ledger.lose())

    def _miss(self, *topics: Topic) -> tuple[Change, ...]:
        return tuple(
            change for ledger in self._of(*topics) for change in ledger.miss(self._position)
        )
