"""The account itself: events and answers in, changes and questions out.

A fold without state of its own but for a count: it numbers what it is told, hands each event to the
ledger of its topic, and each answer to the ledger that asked. What can be believed is decided in
``ledger``, ``balances``, ``orders`` and ``evidence``; when to ask, in ``pace``.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import cast, overload

from topone_proto._checks import check_time, or_default
from topone_proto.account._changes import Change, Knowledge, Reading
from topone_proto.account._config import AccountConfig
from topone_proto.account._parts import Parts
from topone_proto.account._questions import BalancesQuery, HistoryQuery, OrdersQuery, Query
from topone_proto.account._snapshot import RelayEvent, Snapshot, TakenOver
from topone_proto.errors import ConfigurationError, LocalProtocolError
from topone_proto.events import (
    Closed,
    Disconnected,
    Gap,
    Subscribed,
    SubscriptionRejected,
    Unsubscribed,
)
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.orders import ORDERS, Order, OrderUpdate
from topone_proto.wire.topic import Topic

__all__ = ["Account"]


class Account(Parts):
    """Balances and orders as the exchange has them, as far as can be known.

    Hand every event of a feed to ``apply``, in order and from the first one on. Every read says how
    far it can be trusted. To make a topic whole, at the start and whenever something was missed,
    ask the exchange over HTTP: ``ask`` says what for, and ``answer`` takes what it said.

    ::

        async for event in feed:
            show(account.apply(event))
            for query in account.ask():
                start_soon(fetch, query)  # and call account.answer(query, found)

    With a clock, questions are spaced and allow for answers that are behind the stream; see
    ``AccountConfig``. Hand ``now`` to every ``ask``, and call it when ``deadline`` has come as well
    as after every event and answer.

    Args:
        max_closed: how many orders that are not open are remembered, and how many of an unknown
            outcome.
        config: how it asks.

    Raises:
        ConfigurationError: ``max_closed`` is no whole number of at least one, or ``config`` is no
            ``AccountConfig``.
    """

    def __init__(self, *, max_closed: int = 1000, config: AccountConfig | None = None) -> None:
        is_count = isinstance(max_closed, int) and not isinstance(max_closed, bool)  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller has a type checker
        if not (is_count and max_closed >= 1):
            raise ConfigurationError(
                setting="max_closed",
                problem=f"{max_closed!r:.80} is no such number",
                remedy="use a whole number of at least 1",
            )
        is_default = config is None
        config = or_default(config, AccountConfig, "config")
        super().__init__(max_closed, config)
        self._needs_clock = not is_default and config.answer_lag > 0

    # Reading.

    def knowledge(self, topic: Topic) -> Knowledge:
        """Return how far a topic can be trusted."""
        for ledger in self._of(topic):
            return self._claims.known(ledger)
        return Knowledge.UNKNOWN

    def balances(self) -> Reading[Mapping[str, Balance]]:
        """All balances that are known, by asset."""
        return Reading(self._balances.balances, self._claims.known(self._balances))

    def balance(self, asset: str) -> Reading[Balance | None]:
        """The balance of one asset; None if none is known."""
        return Reading(self._balances.find(asset), self._claims.known(self._balances))

    def open_orders(self) -> Reading[Mapping[int, Order]]:
        """All open orders that are known, by id."""
        return Reading(self._orders.open_orders, self._claims.known(self._orders))

    def other_orders(self) -> Reading[Mapping[int, Order]]:
        """The orders that are not open and not forgotten yet, by id, the oldest first. A status
        that the exchange does not document is neither open nor closed; such orders are here."""
        return Reading(self._orders.other_orders, self._claims.known(self._orders))

    def unknown_outcomes(self) -> Reading[Mapping[int, Order]]:
        """The last known states of orders that are not open any more and of which nobody says how
        they ended, by id, the oldest first. See ``OutcomeUnknown``."""
        return Reading(self._orders.unknown_outcomes, self._claims.known(self._orders))

    def order(self, number: int) -> Reading[Order | None]:
        """One order by its id; None if it is not known, or not any more. Of one in
        ``unknown_outcomes`` this is the last known state."""
        return Reading(self._orders.find(number), self._claims.known(self._orders))

    def is_current(self, name: int | str) -> bool:
        """True if what is known of one order, by id, or balance, by asset, is right even if its
        topic is not whole: the present subscription has told it, or an answer has confirmed it
        since, no update can have been missed, and nothing contradicts it. A closed order stays as
        it is."""
        if isinstance(name, int):
            order = self._orders.find(name)
            is_final = order is not None and order.is_closed
            return self._orders.is_current(name) and (is_final or not self._claims.is_stalled)
        return self._balances.is_current(name) and not self._claims.is_stalled

    @property
    def latest_ts(self) -> int | None:
        """The latest server time in milliseconds that an event told."""
        return self._latest_ts

    @property
    def unresolved(self) -> tuple[int | str, ...]:
        """The orders, by id, and the balances, by asset, that are in doubt: the exchange has yet to
        say by name what has become of them."""
        return (*self._orders.unresolved, *self._balances.unresolved)

    @property
    def suspected(self) -> tuple[int | str, ...]:
        """The orders, by id, and the balances, by asset, in which an audit differs from what is
        held, until an update or an answer by name says which of the two is right. Their topics are
        ``WHOLE`` meanwhile; see ``doubt``."""
        return (*self._orders.suspected, *self._balances.suspected)

    # Telling.

    def apply(self, event: RelayEvent) -> tuple[Change, ...]:
        """Take an event in, of a feed or of one that another machine relays. Returns what it
        changes, in order.

        A relayed account asks nothing: each ``Snapshot`` makes its topics ``WHOLE``, and
        ``TakenOver`` ends that as ``Disconnected`` does. A topic in which a ``Snapshot``
        contradicts what was told before is not ``WHOLE`` until the stream or the next ``Snapshot``
        settles it. From ``Stalled`` to ``Resumed`` nothing is ``WHOLE``.
        """
        if self._claims.is_stalled:
            return self._apply_stalled(event)
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
            case Snapshot(topics=topics, latest_ts=ts):
                self._see(ts)
                restored = (ledger.restore(event, self._position) for ledger in self._of(*topics))
                changes = tuple(chain.from_iterable(restored))
            case Disconnected() | Closed() | TakenOver():
                changes = self._lose(ORDERS, BALANCE)
            case Gap(topic=topic):
                changes = self._miss(topic)
            case _:
                changes = self._note(event)
        return changes

    def snapshot(self) -> Snapshot | None:
        """Return the account as it is known at this moment, for a machine that does not follow it
        itself; None while a topic that is followed is not ``WHOLE``, or none is followed."""
        return self._picture()

    def ask(self, now: float | None = None) -> tuple[Query, ...]:
        """Return what to ask the exchange now, over HTTP. Everything is asked for once; see
        ``retry``.

        Nothing is, while there is no subscription: what an answer says would be outdated before it
        could be followed.

        Args:
            now: the present time in seconds, on a clock that never goes back, such as the event
                loop's. With it questions are spaced, and wait for ``AccountConfig.answer_lag``; see
                ``deadline``. Without it they are asked at once.

        Raises:
            LocalProtocolError: there is no time, and a configuration was given that needs one.
            ConfigurationError: the time is none.
        """
        if now is None and self._needs_clock:
            raise LocalProtocolError(
                state="configured with an answer_lag",
                input="ask without now",
                remedy="call ask(now) with a monotonic clock, or set AccountConfig.answer_lag to 0",
            )
        if now is not None:
            check_time(now)
        horizon = self._horizon.at(now, self._position)
        now = None if now is None else self._horizon.now
        return self._wanted(now, horizon)

    def audit(self) -> None:
        """Let ``ask`` ask for lists to compare with what is ``WHOLE``, which it stays meanwhile.

        A stream may leave out an update while its connection goes on, and nothing betrays it. What
        an audit finds is confirmed by name, applied and reported as ``Resynced`` with ``is_audit``.
        Until then it is ``suspected``.
        """
        for ledger in self._ledgers:
            ledger.audit()

    def doubt(self, name: int | str) -> tuple[Change, ...]:
        """Put what is ``suspected`` in doubt, since nobody can confirm or refute it in time: its
        topic is not ``WHOLE`` until it is settled. Nothing changes if it is not suspected.

        An ``AccountSession`` does so after ``answer_lag`` and ``retry_cap``.

        Args:
            name: the id of an order, or the asset of a balance.
        """
        return self._orders.doubt(name) if isinstance(name, int) else self._balances.doubt(name)

    @property
    def is_auditing(self) -> bool:
        """True from ``audit`` on until every list is compared. Afterwards the account may have to
        ask by name for what differs: until it ``is_settled``."""
        return any(ledger.is_auditing for ledger in self._ledgers)

    @property
    def audits(self) -> int:
        """The number of lists that audits have compared."""
        return sum(ledger.audits for ledger in self._ledgers)

    @property
    def audit_differences(self) -> int:
        """The number of differences that audits have found. Each is an update that a stream left
        out without a sign."""
        return sum(ledger.audit_differences for ledger in self._ledgers)

    @property
    def is_settled(self) -> bool:
        """True if there is nothing to ask: every topic that is followed is ``WHOLE``, and no audit
        suspects anything. Much cheaper than ``ask``."""
        return self._orders.is_settled and self._balances.is_settled

    def is_awaited(self, query: Query) -> bool:
        """Return True if an answer to this question can still be used. Not once the connection was
        lost or an update may have been missed: then it is asked again."""
        match query:
            case OrdersQuery(ids=ids):
                return self._orders.is_awaited(query, ids)
            case BalancesQuery(assets=assets):  # pragma: no branch - there is no other
                return self._balances.is_awaited(query, assets)

    @property
    def deadline(self) -> float | None:
        """The time to call ``ask`` next, on the clock of ``now``, if nothing happens before; None
        for not before an event or an answer. Without a clock it is None. Calling early is
        harmless."""
        if self._horizon.now is None:
            return None
        times = [ledger.deadline(self._horizon) for ledger in self._ledgers]
        return min((time for time in times if time is not None), default=None)

    def retry(self, query: Query | None = None) -> None:
        """Let ``ask`` ask again: a request has failed. Without a clock also if what was asked for
        by name was not found, and then wait a little first.

        A failed request (an error, a timeout, a body that makes no sense) says nothing of what was
        asked for. Never hand over an empty answer in its place.

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

    def give_up(self, name: int) -> tuple[Change, ...]:
        """Stop asking for an order by its id, since nobody will say how it ended: the application
        decides. It is ``OutcomeUnknown`` from then on, and open no more.

        A later update or answer that has it still resolves it. Nothing changes if the order is not
        known, or if what is known of it is right (``is_current``).
        """
        return self._orders.give_up(name)

    @property
    def history_query(self) -> HistoryQuery | None:
        """The question for orders that were made and closed unseen, which are on no list that
        ``ask`` asks for; None if there is none, or while the orders are not ``WHOLE``. Answer it
        with ``catch_up``."""
        is_whole = self._orders.knowledge is Knowledge.WHOLE
        return self._orders.history_query if is_whole else None

    def catch_up(
        self, query: HistoryQuery, found: Iterable[Order], *, is_last: bool = True
    ) -> tuple[Change, ...]:
        """Take in what the history of finished orders has for a ``history_query``. An order that
        was made and closed unseen is told with its fills, and so is one of which nobody could say
        how it ended. What is older, or known, changes nothing; nor does an outdated answer.

        Args:
            query: the question.
            found: the rows of all pages, down to ``query.after``.
            is_last: False if the same question is to be asked again, since the exchange may enter
                an order late.
        """
        self._position += 1
        return self._orders.catch_up(query, found, self._position, is_last=is_last)

    @overload
    def answer(
        self,
        query: OrdersQuery,
        found: Iterable[Order],
        *,
        pages: int | None = None,
        total: int | None = None,
        answered_ts: int | None = None,
    ) -> tuple[Change, ...]: ...

    @overload
    def answer(
        self,
        query: BalancesQuery,
        found: Iterable[Balance],
        *,
        pages: int | None = None,
        total: int | None = None,
        answered_ts: int | None = None,
    ) -> tuple[Change, ...]: ...

    def answer(
        self,
        query: Query,
        found: Iterable[Order] | Iterable[Balance],
        *,
        pages: int | None = None,
        total: int | None = None,
        answered_ts: int | None = None,
    ) -> tuple[Change, ...]:
        """Take in what the exchange answered to a question of ``ask``.

        An answer to a question that is not open any more changes nothing: the connection was lost
        meanwhile, say, and the question is asked again when it is back.

        Args:
            query: the question.
            found: everything that the answer contains: the rows of all pages one after the other,
                also those that come twice.
            pages: how many requests the list of open orders took. Say 1 if it was one: such a list
                is complete. In a list of several an order may be missing that slipped from one page
                to the next when another closed: it is read again until two passes are alike. None
                for not said: it is read again only if the stream tells such a close.
            total: how many open orders there are by the answer, by the page that says most. With
                fewer in a list of several pages one has slipped. None for not said.
            answered_ts: the time of the answer, as a server time in milliseconds. For ``Resynced``;
                it decides nothing.

        Returns:
            What the answer changes, and ``Resynced`` if it was the last that was missing.
        """
        # An answer has a place among the events: what it settles, no older one unsettles.
        if not self.is_awaited(query):
            return ()
        self._position += 1
        match query:
            case OrdersQuery():
                orders = cast("Iterable[Order]", found)
                return self._orders.merge(query, orders, pages, total, answered_ts, self._position)
            case BalancesQuery():  # pragma: no branch - there is no other
                balances = cast("Iterable[Balance]", found)
                return self._balances.merge(query, balances, answered_ts, self._position)
