"""The judge of an account that a process follows: what it is told, and what it holds."""

import re
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Never

from topone_proto.account import (
    AccountEvent,
    AccountSession,
    AccountStep,
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    Fetch,
    FetchDelayed,
    FetchFailed,
    FetchKind,
    FillCorrected,
    Knowledge,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
    StateNotStored,
)
from topone_proto.events import Closed, Disconnected
from topone_proto.session.actions import Connect, SendText
from topone_proto.testing.simulation.accounts.deliveries import AccountDeliveries
from topone_proto.testing.simulation.accounts.truth import Truth
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.dials import HAIR
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.world import World
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic, Update

__all__ = ["KEY", "AccountJudge"]

KEY: Final = "the-S3CRET-key-of-the-account"
"""The application key: a text that must be nowhere."""
_LONGEST_SILENCE: Final = 120.0
"""Seconds for which an account that is not whole may tell nothing and ask nothing, beyond the time
that it has named."""
_SECRET: Final = re.compile(rf"topapi:[0-9A-Za-z]|{KEY}|sig=[0-9a-f]")


class AccountJudge:
    """Raises a ``Violation`` at the first thing that must not be. One for each life of a process.

    Args:
        world: the time.
        plan: the process's feed.
        session: what is judged.
        truth: what it follows.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(
        self,
        world: World,
        plan: ClientPlan,
        session: AccountSession,
        truth: Truth,
        fail: Callable[[str, str], Never],
    ) -> None:
        self.seen: set[str] = set()
        """The names of the classes of everything that was told."""
        self.resynced: int = 0
        """The number of times that a topic became whole."""
        self.closed: Closed | None = None
        """The last event; None while it has not come."""
        self.hopeless: FetchFailed | None = None
        """The report that there will be no token any more, while the stream goes on."""
        self.audited_at: float = world.now
        """The time at which the latest audit that has ended began."""
        self._audit: tuple[float, int] | None = None
        self._world = world
        self._plan = plan
        self._session = session
        self._truth = truth
        self._fail = fail
        self.deliveries: AccountDeliveries = AccountDeliveries(plan.config, fail)
        """The judge of what the application takes."""
        self._filled: defaultdict[int, Decimal] = defaultdict(Decimal)
        self._close_called_at: float | None = None
        self._free_at = 0.0
        # The time until which it has said that it waits, or at which it did something last.
        self._busy_until = world.now
        # The orders that there were when it first knew which ones are older than itself.
        self._older: frozenset[int] | None = None
        self._told: set[int] = set()
        self._is_paused = False

    # --- what goes in and comes out -------------------------------------------------------------

    def told(self, step: AccountStep, link: Link | None, frame: Frame | None) -> None:  # noqa: ARG002 - as of a feed's judge
        """A step of the session, before anything is done about it."""
        if self.closed is not None and step.events:
            self._fail("I5", f"after Closed: {step.events[0]}")
        self._listen(step)
        self._watch_audit()
        if self._older is None and self._knows_older:
            self._older = frozenset(self._truth.orders)
        self.deliveries.put(step.events)
        for event in step.events:
            self._see(event)
        for action in step.actions:
            self._look_for_secret(action)
            if isinstance(action, SendText) and self.closed is not None:
                self._fail("I5", f"after Closed: {action}")
        if self.closed is not None and step.deadline is not None:
            self._fail("I5", f"a deadline is left after Closed: {step.deadline}")

    def _listen(self, step: AccountStep) -> None:
        """Look whether it was silent for too long, and note until when it may be."""
        now = self._world.now
        if now > self._busy_until + _LONGEST_SILENCE and self.closed is None:
            self._fail("quiet", f"not whole, and not a word since {self._busy_until}")
        is_calm = self.is_whole or self._is_paused or self.hopeless is not None
        if is_calm or any(isinstance(each, Connect | Fetch | SendText) for each in step.actions):
            self._busy_until = max(self._busy_until, now)
        for event in step.events:
            match event:
                case FetchFailed() | FetchDelayed() | StateNotStored() | Disconnected():
                    self._busy_until = max(self._busy_until, now + (event.retry_in or 0.0))
                case _:
                    pass

    def _watch_audit(self) -> None:
        """Note the beginning and the end of audits."""
        account = self._session.account
        if account.is_auditing:
            self._audit = self._audit or (self._world.now, account.audits)
        elif self._audit is not None:
            (began_at, audits), self._audit = self._audit, None
            if account.audits > audits:
                self.audited_at = began_at

    def _see(self, event: AccountEvent) -> None:
        self.seen.add(type(event).__name__)
        match event:
            case Update():
                return
            case OrderChanged() | AggregatedFill() | FillCorrected() | OutcomeUnknown():
                self._see_order(event)
            case BalanceChanged(after=balance):
                self._must_have_been(balance)
            case MovedBackwards() | BalanceUnlisted():
                self._fail("I11", f"the exchange does not do this: {event}")
            case Resynced():
                self.resynced += 1
            case FetchFailed(kind=FetchKind.TOKEN, retry_in=None):
                self.hopeless = event
            case Closed():
                self.closed = event
                if (event.failure is None) is (self._close_called_at is None):
                    self._fail("I7", f"not what was asked for: {event}")
            case Disconnected(reason=reason):
                self.seen |= {str(reason.kind), str(reason.status)}
            case _:
                pass
        self._look_for_secret(event)

    def _see_order(
        self, event: OrderChanged | AggregatedFill | FillCorrected | OutcomeUnknown
    ) -> None:
        match event:
            case OrderChanged(before=before, after=order):
                if before is None:
                    # Also if it was forgotten since.
                    if order.id in self._told:
                        self._fail("I11", f"it was told before: {event}")
                    self._told.add(order.id)
                self._must_have_been(order)
            case OutcomeUnknown(order=order):
                if not self._truth.is_closed(order.id):
                    self._fail("I11", f"the order is open: {event}")
            case _:
                order = event.order
                self._must_have_been(order)
                self._filled[order.id] = total = self._filled[order.id] + event.deal_stock
                if total != order.deal_stock:
                    self._fail("I11", f"fills of {total} in all do not add up: {event}")

    def _must_have_been(self, thing: Any) -> None:
        if not self._truth.has_been(thing):
            self._fail("I11", f"it was never so: {thing}")

    def _look_for_secret(self, thing: object) -> None:
        if _SECRET.search(repr(thing)):
            self._fail("I6", f"a secret is in a {type(thing).__name__}")

    # --- what must hold -------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing is on its way on the stream: what is said to be whole must be true."""
        account, truth = self._session.account, self._truth
        if account.knowledge(ORDERS) is Knowledge.WHOLE:
            self._compare("open orders", account.open_orders().value, truth.open_orders)
            for number in account.unknown_outcomes().value:
                if not truth.is_closed(number):
                    self._fail("I8", f"order {number} is open, and its outcome is called unknown")
        if account.knowledge(BALANCE) is Knowledge.WHOLE:
            self._compare("balances", account.balances().value, truth.balances)

    @property
    def is_caught_up(self) -> bool:
        """True if it says that nothing is left to be told of what was missed, or has ended."""
        account = self._session.account
        has_asked = account.knowledge(ORDERS) is Knowledge.WHOLE and account.history_query is None
        return has_asked or self._is_over or ORDERS not in self.followed

    def check_fills(self) -> None:
        """Nothing happens any more: every fill of an order that is not older was told."""
        if self._older is None or self._is_over or ORDERS not in self.followed:
            return
        for number in sorted(self._truth.orders.keys() - self._older):
            told, true = self._filled[number], self._truth.orders[number].deal_stock
            if told != true:
                self._fail("I15", f"fills of order {number} should be {true} and are {told}")

    @property
    def _is_over(self) -> bool:
        return self.closed is not None or self.hopeless is not None

    @property
    def _knows_older(self) -> bool:
        account = self._session.account
        query = account.history_query
        is_whole = account.knowledge(ORDERS) is Knowledge.WHOLE
        return is_whole and (query is None or query.after is not None)

    def _compare(self, what: str, held: object, true: object) -> None:
        if held != true:
            self._fail("I8", f"{what} should be {true} and are {held}")

    @property
    def followed(self) -> tuple[Topic, ...]:
        """The topics of the account that the session follows."""
        desired = self._session.session.desired
        return tuple(topic for topic in (ORDERS, BALANCE) if topic in desired)

    @property
    def is_whole(self) -> bool:
        """True if everything that is followed is whole."""
        account = self._session.account
        return all(account.knowledge(topic) is Knowledge.WHOLE for topic in self.followed)

    @property
    def is_right(self) -> bool:
        """True if everything that is followed is whole, and true."""
        account, truth = self._session.account, self._truth
        orders = account.open_orders().value == truth.open_orders
        balances = account.balances().value == truth.balances
        followed = self.followed
        return (
            self.is_whole
            and (orders or ORDERS not in followed)
            and (balances or BALANCE not in followed)
        )

    def must_be_closed(self, deadline: float | None, *, is_finished: bool) -> None:
        """The application has closed it, and its time is over."""
        if self.closed is None or not is_finished:
            self._fail("I7", "close has not ended")
        if deadline is not None:
            self._fail("I5", f"a deadline is left after Closed: {deadline}")

    # --- what an adapter reports ----------------------------------------------------------------

    def close_called(self) -> None:
        """The application calls ``close``."""
        if self._close_called_at is None:
            self._close_called_at = self._world.now

    def finished(self) -> None:
        """The transport is gone, after the end of the feed."""
        called_at, now = self._close_called_at, self._world.now
        if called_at is not None:
            took = now - called_at
            if took > self._plan.config.close_timeout + HAIR and now > self._free_at:
                self._fail("I7", f"close took {took} s")

    def half_open_until(self, link: Link, resumed_at: float) -> float:
        """By when a half-open connection must have been noticed."""
        assert link.dead_since is not None
        config = self._plan.config
        bound = config.silence_timeout or float("inf")
        if config.ping_interval is not None:
            bound = min(bound, config.ping_interval + config.pong_timeout)
        return max(link.dead_since, link.heard_at, resumed_at) + bound

    def half_open(self) -> None:
        """It was not."""
        self._fail("alive", "a half-open connection was not noticed in time")

    def nowhere_to_send(self) -> None:
        """There is no connection, and something is to be sent on it."""
        self._fail("I5", "something is to be sent without a connection")

    def held_up(self, seconds: float) -> None:  # noqa: ARG002 - as of a feed's judge
        """The process had no turn for so long, until now."""
        self._free_at = self._world.now
        self._busy_until = max(self._busy_until, self._world.now)

    def unanswered(self, link: Link, *, is_reading: bool, can_know: bool) -> None:
        """The exchange closes a connection because a ping of its own was not answered."""
        can_answer = can_know and self._plan.config.ping_interval is not None
        if not link.faults and not link.is_left and (is_reading or can_answer):
            self._fail("ping", "the exchange dropped a healthy connection for an unanswered ping")

    def waiting(self, count: int, *, has_waiters: bool) -> None:  # noqa: ARG002 - as of a feed's judge
        """So many events wait for the application."""
        self.deliveries.waiting(count)

    def paused(self) -> None:
        """The process stops reading."""
        self._is_paused = True

    def resumed(self) -> None:
        """The process reads again."""
        self._is_paused = False
        self._busy_until = max(self._busy_until, self._world.now)
