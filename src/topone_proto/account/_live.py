"""Everything that can be told to an account session. ``machine`` says what is done with it."""

from collections.abc import Callable, Iterable
from typing import Final

from attrs import evolve

from topone_proto.account._actions import AccountStep
from topone_proto.account._changes import (
    AggregatedFill,
    BalanceChanged,
    Change,
    Knowledge,
    OrderChanged,
)
from topone_proto.account._config import AccountConfig
from topone_proto.account._machine import Machine
from topone_proto.account._reports import FetchFailed, FetchKind, StateNotStored
from topone_proto.account._stored import StoredState
from topone_proto.account._work import Caused
from topone_proto.failures import Failure, FailureKind
from topone_proto.secrets.token import Token
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.session import Session
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.http import Credentials, HttpResponse
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic

__all__ = ["AccountSession"]

_MAX_DETAIL: Final = 512

# What updates change that say nothing but that something goes on as it should.
_COMMON: Final = frozenset({AggregatedFill, BalanceChanged, OrderChanged})


class AccountSession(Machine):
    """An account that is followed over any number of connections and made whole over HTTP.

    Drive it like a ``Session``, which it has inside: call ``start``; carry out the actions of every
    ``AccountStep`` in order, hand its events on, and call ``deadline_reached`` when its deadline
    comes first. It has the session's inputs, with the same meaning, and those for HTTP.

    ::

        step = account.start(time.monotonic())
        for action in step.actions:
            match action:
                case Fetch(number, request, timeout):
                    start_soon(fetch, action)  # and call fetched(...) or fetch_failed(...)
                case StoreState(state, previous):
                    start_soon(store, action)  # and call state_stored(...)
                case _:
                    ...  # as with a session

    Args:
        source: the key pair, from which tokens are made; or a token that is always the same; or
            None, for a token from the application before every dial (``FetchToken``).
        topics: what is followed.
        endpoint: where to dial; the exchange's private WebSocket unless given.
        config: how patient the feed is.
        account_config: how it asks over HTTP.
        state: the state that an earlier process stored, with ``source`` a key pair.
        max_closed: see ``Account``.
        jitter: uniform random numbers in [0, 1), such as ``random.random``.
        wall: the time of day in seconds since 1970 UTC, such as ``time.time``: signatures and
            budgets that outlive the process need it.
        make_session: what makes the session inside, such as a ``RecordedSession``.

    Raises:
        ConfigurationError: a topic, or a setting, cannot be used.
    """

    def __init__(
        self,
        source: Credentials | Token | None,
        topics: Iterable[Topic] = (ORDERS, BALANCE),
        *,
        endpoint: Endpoint | None = None,
        config: SessionConfig | None = None,
        account_config: AccountConfig | None = None,
        state: StoredState | None = None,
        max_closed: int = 1000,
        jitter: Callable[[], float],
        wall: Callable[[], float],
        make_session: Callable[..., Session] = Session,
    ) -> None:
        super().__init__(
            source,
            topics,
            endpoint,
            config,
            account_config if account_config is not None else AccountConfig(),
            state if state is not None else StoredState(),
            max_closed,
            jitter,
            wall,
            make_session,
        )

    # --- to read --------------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """True if every topic of the account that is followed is ``WHOLE``."""
        account, desired = self.account, self._session.desired
        topics = [topic for topic in (ORDERS, BALANCE) if topic in desired]
        return bool(topics) and all(account.knowledge(topic) is Knowledge.WHOLE for topic in topics)

    @property
    def session(self) -> Session:
        """The session inside, to look at and not to feed."""
        return self._session

    @property
    def refused_token(self) -> Token | None:
        """The token of the application that the exchange refuses; None if it does not."""
        return self._session.refused_token or self._tokens.refused_token

    @property
    def state(self) -> SessionState:
        """The state of the feed."""
        return self._session.state

    @property
    def failure(self) -> Failure | None:
        """The reason why it has ended by itself; None if it has not."""
        return self._failure

    # --- inputs of the application --------------------------------------------------------------

    def start(self, now: float) -> AccountStep:
        """Begin."""
        if self._tokens.state.asked_at is not None:
            self._look_for_token(now)
        return self._of(self._session.start(now), now)

    def subscribe(self, topic: Topic, now: float) -> AccountStep:
        """Follow a topic; see ``Session.subscribe``."""
        return self._of(self._session.subscribe(topic, now), now)

    def unsubscribe(self, topic: Topic, now: float) -> AccountStep:
        """Follow a topic no more; see ``Session.unsubscribe``."""
        return self._of(self._session.unsubscribe(topic, now), now)

    def refresh(self, now: float) -> AccountStep:
        """Ask as soon as the exchange's budgets allow, whatever back-off there is, and compare what
        is whole with the exchange's lists."""
        self._healer.refresh(now)
        return self._settle(Caused(), now)

    def give_up(self, number: int, now: float) -> AccountStep:
        """Stop asking for an order; see ``Account.give_up``."""
        return self._settle(Caused(list(self.account.give_up(number))), now)

    def order_calls_made(self, count: int, now: float) -> AccountStep:
        """Count requests of the application's own that place or cancel orders or list open ones:
        the exchange has one budget for all of them."""
        self._budget.spend(now, self._look_at_clock(now), count)
        return self._settle(Caused(), now)

    def order_calls_blocked(self, now: float) -> AccountStep:
        """Send nothing about orders for ``token_block`` seconds: the exchange has answered the
        application with its code 10027."""
        self._budget.block(self._settings.token_block, now, self._look_at_clock(now))
        return self._settle(Caused(), now)

    def close(self, now: float) -> AccountStep:
        """End it, whatever it is doing. Idempotent."""
        caused = Caused()
        self._end(self._session.close(now), None, caused, now)
        return self._settle(caused, now)

    # --- inputs of the transport ----------------------------------------------------------------

    def token_obtained(self, token: Token, now: float) -> AccountStep:
        """The application's callable supplied a token to dial with."""
        self._tokens.supply(token)
        return self._of(self._session.token_obtained(token, now), now)

    def token_failed(self, detail: str, now: float) -> AccountStep:
        """The application's callable did not supply a token to dial with."""
        return self._of(self._session.token_failed(detail, now), now)

    def token_renewed(self, token: Token, now: float) -> AccountStep:
        """The application's callable supplied a token in place of the one that HTTP refuses."""
        self._tokens.supply(token)
        return self._settle(Caused(), now)

    def token_not_renewed(self, detail: str, now: float) -> AccountStep:
        """The application's callable did not supply another token. It is asked again, later."""
        caused, wait = Caused(), self._tokens.not_supplied(now)
        if wait is not None:
            caused.events.append(FetchFailed(FetchKind.TOKEN, detail[:_MAX_DETAIL], wait))
        return self._settle(caused, now)

    def connection_made(self, now: float) -> AccountStep:
        """The WebSocket is open."""
        return self._of(self._session.connection_made(now), now)

    def connection_failed(self, failure: Failure, now: float) -> AccountStep:
        """The dial failed, or the connection did; see ``Session.connection_failed``."""
        failure = self._judge(failure, now)
        return self._of(self._session.connection_failed(failure, now), now)

    def connection_lost(self, code: int | None, reason: str, now: float) -> AccountStep:
        """The open WebSocket has ended; see ``Session.connection_lost``."""
        return self._of(self._session.connection_lost(code, reason, now), now)

    def message_received(self, frame: str | bytes, now: float) -> AccountStep:
        """Take a text frame in; see ``Session.message_received``."""
        return self._of(self._session.message_received(frame, now), now)

    def take_frame(self, frame: str | bytes, now: float) -> tuple[Change, ...] | AccountStep:
        """Take a text frame in as ``message_received`` does, in less time: of an update that is all
        there is to it, and that leaves nothing to ask, the changes are returned, without the update
        itself. Its step would have the deadline of the step before."""
        found = self._session.take_frame(frame, now)
        if isinstance(found, Step):
            return self._of(found, now)
        if not self._is_settled:
            return self._of(Step((found,), (), self._session_deadline), now)
        changes = self.account.apply(found)
        self._heard_at = now
        for change in changes:
            if type(change) not in _COMMON:
                return self._settle(Caused([found, *changes]), now)
        return changes

    def pong_received(self, payload: bytes, now: float) -> AccountStep:
        """Take the pong of a ``SendPing`` in."""
        return self._of(self._session.pong_received(payload, now), now)

    def bytes_received(self, at: float, now: float) -> AccountStep:
        """Bytes of the peer came; see ``Session.bytes_received``."""
        return self._of(self._session.bytes_received(at, now), now)

    def reading_paused(self, now: float) -> AccountStep:
        """The application is slow; see ``Session.reading_paused``. Nothing is asked meanwhile."""
        return self._pause(self._session.reading_paused(now), now, is_paused=True)

    def reading_resumed(self, now: float) -> AccountStep:
        """Reading goes on, and so do the questions; see ``Session.reading_resumed``."""
        return self._pause(self._session.reading_resumed(now), now, is_paused=False)

    def deadline_reached(self, now: float) -> AccountStep:
        """Do what is due. Harmless when called early."""
        caused = Caused()
        due = self._session_deadline
        if not self._awaits_token and due is not None and now >= due:
            self._take(self._session.deadline_reached(now), caused, now)
        for request in tuple(self._under_way):
            if now >= request.expires_at:
                self._failed(request, Failure(FailureKind.TIMEOUT), caused, now)
        return self._settle(caused, now)

    def fetched(self, number: int, response: HttpResponse, now: float) -> AccountStep:
        """Take the answer to a ``Fetch`` in, whatever it is."""
        caused, request = Caused(), self._find(number)
        if request is not None:
            self._answered(request, evolve(response, request=request.request), caused, now)
        return self._settle(caused, now)

    def fetch_failed(self, number: int, failure: Failure, now: float) -> AccountStep:
        """A ``Fetch`` has no answer."""
        caused, request = Caused(), self._find(number)
        if request is not None:
            self._failed(request, failure, caused, now)
        return self._settle(caused, now)

    def state_stored(self, now: float) -> AccountStep:
        """The state of the latest ``StoreState`` is stored."""
        caused, wall = Caused(), self._look_at_clock(now)
        if self._store.stored():
            if self._store.known.token == self._tokens.state:
                self._tokens.stored(now, wall)
            if self._store.known.order_calls == self._budget.calls:
                self._ask_reserved(caused, now)
        return self._settle(caused, now)

    def state_found(self, state: StoredState, now: float) -> AccountStep:
        """Another process has stored this state, and nothing was written. Or it is what
        ``LoadState`` asked for."""
        # First the own state is made one of the present clock, since what was found is.
        wall = self._look_at_clock(now)
        self._withdraw()
        before = self._store.found(state)
        calls, not_before = state.order_calls, state.orders_not_before
        self._budget.merge(before.order_calls, calls, not_before, now)
        self._tokens.loaded(state.token, before.token, now, wall)
        if state.token.asked_at != before.token.asked_at:
            self._look_for_token(now)
        return self._settle(Caused(), now)

    def state_not_stored(self, detail: str, now: float) -> AccountStep:
        """The state could not be stored: what it was reserved for is not sent, and tried later."""
        caused, wait = Caused(), self._settings.retry_cap
        if self._store.failed(now + wait):
            self._withdraw()
            self._healer.hold(now + wait)
            self._tokens.not_stored(now, self._look_at_clock(now))
            caused.events.append(StateNotStored(detail[:_MAX_DETAIL], wait))
        return self._settle(caused, now)
