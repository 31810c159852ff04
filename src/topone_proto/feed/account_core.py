"""The core of an account: an account session, the buffer for what it tells, and the callers that
wait."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import attrs

from topone_proto.account import (
    AccountConfig,
    AccountEvent,
    AccountSession,
    AccountStep,
    DelayCause,
    Fetch,
    FetchFailed,
    FetchKind,
    Knowledge,
    Resynced,
    StateNotStored,
)
from topone_proto.errors import ConfigurationError
from topone_proto.events import Closed, Disconnected
from topone_proto.feed.account_metrics import AccountMetrics
from topone_proto.feed.base import BaseCore
from topone_proto.feed.buffer import DeliveryBuffer
from topone_proto.feed.core import session_maker, split_token
from topone_proto.feed.waiters import Waiter
from topone_proto.secrets.token import Token
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.http import Credentials
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic, Update

__all__ = ["AccountCore"]

_Source = TypeVar("_Source", bound=Callable[..., object])

_WHY: Final = {
    DelayCause.BUDGET: "the exchange's budget is spent",
    DelayCause.BACKOFF: "the latest requests came to nothing",
    DelayCause.BLOCK: "the exchange blocks",
}


def _words(kind: FetchKind) -> str:
    return kind.value.replace("_", " ")


class AccountCore(BaseCore[_Source, AccountStep, AccountEvent]):
    """One account without its I/O; see ``BaseCore``. Its machine is an ``AccountSession``.

    Updates of the feed are counted and not delivered: an update shows itself by its changes. Until
    the application takes the first event, nothing is ever held up; see ``begin_reading``.

    Args:
        source: the key pair, from which tokens are made; or the token; or a callable that supplies
            one.
        endpoint: where to dial.
        topics: what to follow.
        config: every number of the feed; the defaults if None.
        account_config: every number of the questions over HTTP; the defaults if None.
        jitter: uniform random numbers in [0, 1).
        wall: the time of day in seconds since 1970 UTC.
        record: takes each line of a recording of the session inside; None records nothing.
        max_closed: how many orders that are not open are remembered.

    Raises:
        ConfigurationError: the token or a topic cannot be used.
    """

    def __init__(
        self,
        *,
        source: Credentials | Token | _Source,
        endpoint: Endpoint,
        topics: Iterable[Topic],
        config: SessionConfig | None,
        jitter: Callable[[], float],
        wall: Callable[[], float],
        record: Callable[[str], object] | None = None,
        account_config: AccountConfig | None = None,
        max_closed: int = 1000,
    ) -> None:
        topics = tuple(topics)
        if not {BALANCE, ORDERS} & set(topics):
            raise ConfigurationError(
                setting="topics",
                problem="none of an account is among them",
                remedy="use BALANCE, ORDERS, or both",
            )
        callable_source: _Source | None = None
        fixed: Credentials | Token | None
        if isinstance(source, Credentials):
            fixed = source
        else:
            fixed, callable_source = split_token(source)
        config = config if config is not None else SessionConfig()
        self.account: AccountSession = AccountSession(
            fixed,
            topics,
            endpoint=endpoint,
            config=config,
            account_config=account_config,
            max_closed=max_closed,
            jitter=jitter,
            wall=wall,
            make_session=session_maker(record, wall),
        )
        """The machine, to look at."""
        super().__init__(
            self.account,
            self.account.session,
            source=callable_source,
            config=config,
            buffer=DeliveryBuffer(config.capacity, config.delivery, is_read=False),
            wall=wall,
            is_recorded=record is not None,
        )
        self._take_frame = self.account.take_frame
        # The latest that went wrong since it was whole, in words.
        self._problem = ""
        # For the metrics.
        self._fetches = 0
        self._fetch_failures: Counter[FetchKind] = Counter()

    def begin_reading(self) -> None:
        """The application takes events from now on. Until then what is more than the buffer holds
        is left out, the oldest first, and reading never pauses; from now on as with a feed. An
        adapter calls it before the first ``get``. Idempotent."""
        self._buffer.begin_reading()

    def take(self, step: AccountStep) -> tuple[Any, ...]:
        """Take a step of the machine in; see ``BaseCore``."""
        actions = super().take(step)
        for action in actions:
            if isinstance(action, Fetch):
                self._fetches += 1
        return actions

    def received(self, frame: str | bytes, now: float) -> AccountStep | None:
        """Take a frame in; see ``BaseCore``. The changes by an update wait in its place."""
        if self._waiting or self.is_paused or self._is_watched:
            return self.account.message_received(frame, now)
        found = self._take_frame(frame, now)
        if isinstance(found, AccountStep):
            return found
        self._buffer.put_changes(found)
        self._updates += 1
        return None

    def until_whole(self) -> Waiter:
        """Return a waiter that is settled once every topic that is followed is ``WHOLE``."""
        self._require_open("wait_until_whole")
        return self._until("wait_until_whole", lambda: self.account.is_whole)

    def refresh(self, now: float) -> tuple[Waiter, AccountStep]:
        """Ask over HTTP as soon as the budgets allow. The step goes through ``take``; the waiter is
        settled once everything is compared and ``WHOLE``."""
        self._require_open("refresh")
        step = self.account.refresh(now)
        return self._until("refresh", self._is_compared), step

    def overdue(self, method: str, seconds: float, now: float) -> TimeoutError:
        """Return the error for a call that has waited for so long. It names what went wrong last
        since the account was whole, and what still waits for a budget."""
        cause = f"; the latest problem: {self._problem}" if self._problem else ""
        for delay in self.account.delays(now):
            what, why = _words(delay.kind), _WHY[delay.cause]
            cause += f"; {what}: {why}, {delay.retry_in:.0f} s to wait"
        return TimeoutError(f"{super().overdue(method, seconds, now)}{cause}")

    def give_up(self, number: int, now: float) -> AccountStep:
        """Stop asking for an order; see ``Account.give_up``. The step goes through ``take``."""
        self._require_open("give_up")
        return self.account.give_up(number, now)

    def order_calls_made(self, count: int, now: float) -> AccountStep | None:
        """Count requests of the application's own; see ``AccountSession.order_calls_made``. The
        step goes through ``take``; None if it is closed, and nothing counts any more."""
        return None if self.is_closed else self.account.order_calls_made(count, now)

    def order_calls_blocked(self, now: float) -> AccountStep | None:
        """Send nothing about orders for a while; see ``AccountSession.order_calls_blocked``. The
        step is as above."""
        return None if self.is_closed else self.account.order_calls_blocked(now)

    def metrics(self, now: float) -> AccountMetrics:
        """Return the account's counters and gauges at the time ``now``."""
        feed, machine, account = super().metrics(now), self.account, self.account.account
        return AccountMetrics(
            **{field.name: getattr(feed, field.name) for field in attrs.fields(type(feed))},
            is_whole=machine.is_whole and not self.is_closed,
            knowledge={topic: self._knowledge(topic) for topic in self.session.desired},
            unresolved=len(account.unresolved),
            fetches=self._fetches,
            fetch_failures=dict(self._fetch_failures),
            audits=account.audits,
            audit_differences=account.audit_differences,
        )

    def _knowledge(self, topic: Topic) -> Knowledge:
        known = self.account.account.knowledge(topic)
        # In a forked child the core alone is closed.
        return Knowledge.STALE if self.is_closed and known is Knowledge.WHOLE else known

    def _until(self, method: str, is_so: Callable[[], bool]) -> Waiter:
        waiter = self._waiters.add_condition(method, is_so)
        waiter.look(self.session)
        return waiter

    def _is_compared(self) -> bool:
        account = self.account.account
        return self.account.is_whole and account.is_settled and not account.is_auditing

    def _put(self, events: tuple[Any, ...]) -> None:
        self._buffer.put([event for event in events if not isinstance(event, Update)])

    def _note(self, events: tuple[Any, ...]) -> None:
        super()._note(events)
        for event in events:
            match event:
                case FetchFailed(kind=kind, problem=problem):
                    self._fetch_failures[kind] += 1
                    self._problem = f"{_words(kind)}: {problem}"
                case StateNotStored(problem=problem):
                    self._problem = f"the budgets cannot be stored: {problem}"
                case Disconnected(reason=reason):
                    self._problem = str(reason)
                case Resynced() if self.account.is_whole:
                    self._problem = ""
                case Closed():
                    # Nothing comes any more that could be too much.
                    self._buffer.begin_reading()
                case _:
                    pass
