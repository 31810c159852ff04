"""Ways in which the core could be wrong, each as a patch: what the simulation has to notice."""

import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import PropertyMock, patch

import attrs

from topone_proto import Failure, Session, SessionState, Step
from topone_proto.account import Account, Knowledge, _kept_orders, _orders
from topone_proto.account._balances import Balances
from topone_proto.account._forgotten import Forgotten
from topone_proto.account._ledger import Ledger
from topone_proto.account._orders import Orders
from topone_proto.account._pace import Horizon
from topone_proto.adapters import FeedCore
from topone_proto.events import Event, Gap, SubscriptionRejected
from topone_proto.feed.buffer import DeliveryBuffer, _Conflating
from topone_proto.feed.waiters import Waiters
from topone_proto.secrets.masking import Masker
from topone_proto.session.actions import Close, SendText
from topone_proto.session.backoff import Backoff, Refusals
from topone_proto.session.connection import Connection
from topone_proto.session.gaps import Break
from topone_proto.session.lateness import Lateness
from topone_proto.session.liveness import Liveness
from topone_proto.session.redaction import EventRedactor
from topone_proto.session.subscriptions import FOLLOWED, SubscriptionState
from topone_proto.testing.simulation.adapter import Adapter
from topone_proto.testing.simulation.link import Link
from topone_proto.wire import _classify as classify
from topone_proto.wire.balance import BalanceUpdate
from topone_proto.wire.deals import DealsUpdate
from topone_proto.wire.kline import KlineUpdate
from topone_proto.wire.messages import Response
from topone_proto.wire.orders import Order, OrderStatus, OrderUpdate

WHOLE = Knowledge.WHOLE

Mutate = Callable[[], AbstractContextManager[Any]]


@attrs.frozen
class Mutant:
    name: str
    mutate: Mutate
    # Which invariants it may break, and within how many seeds it has to. From 0 on they would be
    # found as well, but some take a thousand of them.
    rules: frozenset[str]
    seeds: range


MUTANTS: list[Mutant] = []


def mutant(*rules: str, seeds: int = 200, first: int = 0) -> Callable[[Mutate], Mutate]:
    """A patch that breaks one of ``rules`` within so many seeds, of which this is the first."""

    def register(mutate: Mutate) -> Mutate:
        found = Mutant(mutate.__name__, mutate, frozenset(rules), range(first, first + seeds))
        MUTANTS.append(found)
        return mutate

    return register


def _around(cls: type, name: str, wrapper: Callable[..., Any]) -> AbstractContextManager[Any]:
    """``wrapper(original, self, *args)`` instead of the method."""
    original = getattr(cls, name)

    def replacement(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(original, self, *args, **kwargs)

    return patch.object(cls, name, replacement)


def _around_frames(received: Callable[..., Any]) -> AbstractContextManager[Any]:
    """``received(original, connection, frame, now)`` in place of what takes a frame in; the
    original returns a step."""

    def taken(original: Any, self: Connection, *args: Any) -> Any:
        def as_step(connection: Connection, *args: Any) -> Step:
            found = original(connection, *args)
            if isinstance(found, Step):
                return found
            return Step((found,), (), connection.deadline)

        return received(as_step, self, *args)

    return _around(Connection, "take_frame", taken)


@contextmanager
def _both(one: AbstractContextManager[Any], other: AbstractContextManager[Any]) -> Iterator[None]:
    with one, other:
        yield


# --- back-off and dialling ----------------------------------------------------------------------


@mutant("I3")
def backoff_starts_anew_at_the_handshake() -> AbstractContextManager[Any]:
    def connection_made(original: Any, self: Session, now: float) -> Any:
        self._backoff.retries = 0
        return original(self, now)

    return _around(Session, "connection_made", connection_made)


@mutant("I3")
def backoff_never_starts_anew() -> AbstractContextManager[Any]:
    return patch.object(Backoff, "lose", lambda *_: None)


@mutant("I3")
def waits_have_no_jitter() -> AbstractContextManager[Any]:
    def delay(original: Any, self: Backoff, failure: Failure) -> Any:
        self._jitter()
        jitter, self._jitter = self._jitter, lambda: 1.0
        try:
            return original(self, failure)
        finally:
            self._jitter = jitter

    return _around(Backoff, "delay", delay)


@mutant("I3")
def http_429_is_like_any_other() -> AbstractContextManager[Any]:
    def delay(original: Any, self: Backoff, failure: Failure) -> Any:
        return original(self, attrs.evolve(failure, status=None))

    return _around(Backoff, "delay", delay)


@mutant("I3", seeds=500)
def retry_after_is_ignored() -> AbstractContextManager[Any]:
    def delay(original: Any, self: Backoff, failure: Failure) -> Any:
        return original(self, attrs.evolve(failure, retry_after=None))

    return _around(Backoff, "delay", delay)


@mutant("I3")
def http_403_is_tried_again() -> AbstractContextManager[Any]:
    return patch.object(Failure, "refuses_token", new_callable=PropertyMock, return_value=False)


@mutant("I3")
def refused_token_is_tried_again() -> AbstractContextManager[Any]:
    def token_obtained(original: Any, self: Session, *args: Any) -> Any:
        self._refusal = None
        return original(self, *args)

    return _around(Session, "token_obtained", token_obtained)


@mutant("I3")
def max_attempts_is_ignored() -> AbstractContextManager[Any]:
    def delay(original: Any, self: Backoff, failure: Failure) -> Any:
        self._config = attrs.evolve(self._config, max_attempts=None)
        return original(self, failure)

    return _around(Backoff, "delay", delay)


@mutant("I3")
def dials_before_it_is_time() -> AbstractContextManager[Any]:
    def reached(original: Any, self: Session, now: float) -> Any:
        if self.state is SessionState.WAITING:
            self._deadline = now
        return original(self, now)

    return _around(Session, "deadline_reached", reached)


# --- gaps ---------------------------------------------------------------------------------------


@mutant("I1")
def gap_is_forgotten() -> AbstractContextManager[Any]:
    def mend(original: Any, self: Session, *args: Any) -> Any:
        original(self, *args)
        return ()

    return _around(Session, "_close_gap", mend)


@mutant("I1")
def gap_begins_with_the_newest_time_of_any_topic() -> AbstractContextManager[Any]:
    def last_ts_of(_: Any, self: Connection, __: Any) -> Any:
        known = [entry.last_ts for entry in self._by_name.values()]
        return max((ts for ts in known if ts is not None), default=None)

    return _around(Connection, "last_ts_of", last_ts_of)


class _Overwriting(dict[Any, Any]):
    def get(self, *_: Any) -> Any:
        return None


@mutant("I1", seeds=500)
def gap_begins_with_the_latest_loss() -> AbstractContextManager[Any]:
    def start(original: Any, self: Session, now: float) -> Any:
        self._breaks._broken = _Overwriting()
        return original(self, now)

    return _around(Session, "start", start)


@mutant("I1")
def gap_never_ends() -> AbstractContextManager[Any]:
    def mend(original: Any, self: Session, *args: Any) -> Any:
        gaps: tuple[Gap, ...] = original(self, *args)
        return tuple(attrs.evolve(gap, until_ts=None) for gap in gaps)

    return _around(Session, "_close_gap", mend)


@mutant("I1", seeds=500)
def update_before_its_acknowledgement_is_refused() -> AbstractContextManager[Any]:
    return patch(
        "topone_proto.session.subscriptions.FOLLOWED", FOLLOWED - {SubscriptionState.SUBSCRIBING}
    )


@mutant("I1")
def update_comes_twice() -> AbstractContextManager[Any]:
    def received(original: Any, self: Connection, *args: Any) -> Any:
        step: Step = original(self, *args)
        doubled = step.events and isinstance(step.events[0], (OrderUpdate, BalanceUpdate))
        return attrs.evolve(step, events=step.events * 2) if doubled else step

    return _around_frames(received)


# --- requests -----------------------------------------------------------------------------------


@mutant("I5")
def ids_begin_anew_with_every_connection() -> AbstractContextManager[Any]:
    def connection_made(original: Any, self: Session, now: float) -> Any:
        self._next_id = 1
        return original(self, now)

    return _around(Session, "connection_made", connection_made)


@mutant("I5", seeds=500)
def lost_connection_is_still_heard() -> AbstractContextManager[Any]:
    def lose(original: Any, self: Session, *args: Any) -> Any:
        self._heard = self._connection  # type: ignore[attr-defined]  # the mutant's own
        return original(self, *args)

    def received(original: Any, self: Session, frame: Any, now: float) -> Any:
        heard = getattr(self, "_heard", None)
        if self._connection is None and heard is not None:
            heard._failure = None
            return heard.message_received(frame, now)
        return original(self, frame, now)

    both = _around(Session, "_lose", lose)
    return _both(both, _around(Session, "message_received", received))


@mutant("I2")
def acknowledgement_is_believed_whatever_its_id() -> AbstractContextManager[Any]:
    def responded(original: Any, self: Connection, response: Response) -> Any:
        for request_id, pending in self._pending.waiting.items():
            if pending.about.method == response.method:
                return original(self, attrs.evolve(response, id=request_id))
        return original(self, response)

    return _around(Connection, "_responded", responded)


@mutant("alive", "I2")
def answered_request_stays_pending() -> AbstractContextManager[Any]:
    def answered(original: Any, self: Connection, *args: Any) -> Any:
        pending = dict(self._pending.waiting)
        event = original(self, *args)
        self._pending.waiting.update(pending)
        self._set_deadline()
        return event

    return _around(Connection, "_answered", answered)


@mutant("alive", "I2")
def acknowledgement_is_awaited_for_ever() -> AbstractContextManager[Any]:
    def request(original: Any, self: Connection, *args: Any) -> Any:
        step: Step = original(self, *args)
        for request_id, pending in self._pending.waiting.items():
            self._pending.waiting[request_id] = attrs.evolve(pending, deadline=math.inf)
        self._set_deadline()
        return attrs.evolve(step, deadline=self._deadline)

    return _around(Connection, "_request", request)


class _Stubborn(dict[Any, Any]):
    def pop(self, *_: Any) -> Any:
        return None


@mutant("I2")
def refused_subscription_is_asked_for_again() -> AbstractContextManager[Any]:
    def start(original: Any, self: Session, now: float) -> Any:
        self._wishes.desired = _Stubborn(self._wishes.desired)
        return original(self, now)

    return _around(Session, "start", start)


@mutant("I2")
def unsubscribed_topic_is_subscribed_to_again() -> AbstractContextManager[Any]:
    def connection_made(original: Any, self: Session, now: float) -> Any:
        self._wishes.desired |= dict.fromkeys(self.__dict__.setdefault("_ever", {}))
        self._ever.update(self._wishes.desired)  # type: ignore[attr-defined]  # the mutant's own
        return original(self, now)

    return _around(Session, "connection_made", connection_made)


# --- liveness -----------------------------------------------------------------------------------


@mutant("ping", seeds=500)
def ping_is_not_answered_while_reading_is_paused() -> AbstractContextManager[Any]:
    def ping(original: Any, self: Liveness, now: float) -> Any:
        self.last_answer = None
        return original(self, now)

    return _around(Liveness, "ping", ping)


@mutant("ping")
def ping_is_answered_later() -> AbstractContextManager[Any]:
    late: dict[int, tuple[SendText, ...]] = {}

    def received(original: Any, self: Connection, *args: Any) -> Any:
        step: Step = original(self, *args)
        if step.actions and not step.events:
            late[id(self)] = step.actions  # type: ignore[assignment]  # answers are texts
            return attrs.evolve(step, actions=())
        return step

    def reached(original: Any, self: Connection, *args: Any, **more: Any) -> Any:
        step: Step = original(self, *args, **more)
        return attrs.evolve(step, actions=late.pop(id(self), ()) + step.actions)

    return _both(
        _around_frames(received),
        _around(Connection, "deadline_reached", reached),
    )


@mutant("alive", seeds=500)
def liveness_is_judged_while_reading_is_paused() -> AbstractContextManager[Any]:
    def paused(_: Any, self: Connection, __: float) -> Any:
        return self._step()

    return _around(Connection, "reading_paused", paused)


@mutant("alive", "I2", seeds=5000)
def a_pause_counts() -> AbstractContextManager[Any]:
    def resumed(_: Any, self: Connection, __: float) -> Any:
        self._life.paused_at = None
        self._set_deadline()
        return self._step()

    return _around(Connection, "reading_resumed", resumed)


@mutant("alive", seeds=3000)
def a_request_is_awaited_anew_when_reading_goes_on() -> AbstractContextManager[Any]:
    def resumed(original: Any, self: Connection, now: float) -> Any:
        original(self, now)
        for number, entry in self._pending.waiting.items():
            self._pending.waiting[number] = attrs.evolve(
                entry, deadline=now + self._config.ack_timeout
            )
        self._set_deadline()
        return self._step()

    return _around(Connection, "reading_resumed", resumed)


@mutant("alive", "I2")
def pong_is_not_awaited() -> AbstractContextManager[Any]:
    def ping(original: Any, self: Liveness, now: float) -> Any:
        actions = original(self, now)
        self._ping_sent_at = None
        return actions

    return _around(Liveness, "ping", ping)


@mutant("alive", seeds=400)
def lateness_excuses_nothing() -> AbstractContextManager[Any]:
    return patch.object(Lateness, "grace", lambda *_, **__: None)


@mutant("alive", seeds=400)
def lateness_excuses_for_ever() -> AbstractContextManager[Any]:
    # Every deadline counts as late, so that nothing ever runs out.
    return patch.object(Lateness, "grace", lambda *_, **__: 2.0)


@mutant("alive", seeds=400)
def bytes_that_are_no_frame_prove_nothing() -> AbstractContextManager[Any]:
    return _around(Connection, "bytes_received", lambda _, self, *__: self._step())


@mutant("alive", seeds=400)
def control_frames_prove_nothing() -> AbstractContextManager[Any]:
    # As with an adapter that hears of the bytes of messages only.
    def off_the_socket(original: Any, self: Adapter, link: Link) -> Any:
        heard_at, kind = link.heard_at, link.received[0].kind
        original(self, link)
        link.heard_at = heard_at if kind == "ping" else link.heard_at

    return _around(Adapter, "_off_the_socket", off_the_socket)


@mutant("alive", seeds=400)
def a_part_of_a_frame_proves_nothing() -> AbstractContextManager[Any]:
    # As with an adapter that hears of whole frames only.
    return patch.object(Link, "read_part", lambda _: None)


# --- delivery -----------------------------------------------------------------------------------


@mutant("I1")
def full_buffer_drops_in_silence() -> AbstractContextManager[Any]:
    def put(original: Any, self: DeliveryBuffer, events: tuple[Event, ...]) -> Any:
        updates = (OrderUpdate, BalanceUpdate)
        original(self, tuple(e for e in events if not (self.full and isinstance(e, updates))))

    return _around(DeliveryBuffer, "put", put)


@mutant("I4", seeds=500)
def dials_go_on_while_the_application_is_behind() -> AbstractContextManager[Any]:
    def paused(original: Any, self: Session, now: float) -> Any:
        step = original(self, now)
        self._paused = self._paused and self._state is not SessionState.WAITING
        return attrs.evolve(step, deadline=self._step().deadline)

    return _around(Session, "reading_paused", paused)


@mutant("I2", "alive", seeds=500)
def a_dial_that_was_held_back_is_never_made() -> AbstractContextManager[Any]:
    def resumed(original: Any, self: Session, now: float) -> Any:
        step = original(self, now)
        if step.actions and step.deadline is not None:
            self._state, self._deadline = SessionState.WAITING, None
            return Step()
        return step

    return _around(Session, "reading_resumed", resumed)


@mutant("freshness", seeds=500)
def conflation_comes_too_late() -> AbstractContextManager[Any]:
    # The reader stops first: what may be left out counts as well.
    return patch.object(_Conflating, "needed", _Conflating.__len__)


@mutant("freshness", "I4", seeds=500)
def conflation_leaves_nothing_out() -> AbstractContextManager[Any]:
    return patch.object(_Conflating, "_make_room", lambda _: None)


@mutant("I1", seeds=500)
def conflation_forgets_the_last_state_of_an_order() -> AbstractContextManager[Any]:
    def supersede(_: Any, self: _Conflating, number: int | None) -> Any:
        if number is not None:
            self._superseded.add(number)

    return _around(_Conflating, "_supersede", supersede)


@mutant("I1", seeds=500)
def conflation_does_not_count() -> AbstractContextManager[Any]:
    def make_room(original: Any, self: _Conflating) -> Any:
        original(self)
        self._left_out = min(self._left_out, 1)

    return _around(_Conflating, "_make_room", make_room)


@mutant("I4", seeds=500)
def reading_never_stops() -> AbstractContextManager[Any]:
    return patch.object(FeedCore, "must_pause", new_callable=PropertyMock, return_value=False)


@mutant("I1", "I2", "ping", "alive")
def reading_never_goes_on() -> AbstractContextManager[Any]:
    return patch.object(FeedCore, "may_resume", new_callable=PropertyMock, return_value=False)


# --- the end, and secrets -----------------------------------------------------------------------


@mutant("I5")
def close_leaves_a_deadline() -> AbstractContextManager[Any]:
    def end(original: Any, self: Session, *args: Any) -> Any:
        original(self, *args)
        self._deadline = 1e9

    return _around(Session, "_end", end)


@mutant("I7")
def close_leaves_the_connection() -> AbstractContextManager[Any]:
    def close(original: Any, self: Session, now: float) -> Any:
        return attrs.evolve(original(self, now), actions=())

    return _around(Session, "close", close)


@mutant("I7")
def close_takes_its_time() -> AbstractContextManager[Any]:
    def close(original: Any, self: Session, now: float) -> Any:
        step: Step = original(self, now)
        slower = [attrs.evolve(a, timeout=60.0) for a in step.actions if isinstance(a, Close)]
        return attrs.evolve(step, actions=tuple(slower))

    return _around(Session, "close", close)


@mutant("I6", seeds=500)
def token_is_in_an_anomaly() -> AbstractContextManager[Any]:
    return _around(EventRedactor, "event", lambda _, __, event, ___: event)


@mutant("I6", seeds=500)
def token_is_in_a_close_reason() -> AbstractContextManager[Any]:
    def words(original: Any, self: EventRedactor, text: str, most: int) -> Any:
        return text if text.endswith("expired") else original(self, text, most)

    return _around(EventRedactor, "_words", words)


@mutant("I6", seeds=500)
def token_is_in_a_refusal() -> AbstractContextManager[Any]:
    def event(original: Any, self: EventRedactor, found: Event, known: Any) -> Any:
        return found if isinstance(found, SubscriptionRejected) else original(self, found, known)

    return _around(EventRedactor, "event", event)


# --- the account --------------------------------------------------------------------------------


def _patched(module: Any, name: str, wrapper: Callable[..., Any]) -> AbstractContextManager[Any]:
    return patch.object(module, name, partial(wrapper, getattr(module, name)))


@mutant("I8")
def account_believes_that_nothing_was_missed() -> AbstractContextManager[Any]:
    return patch.object(Ledger, "_mark_stale", lambda *_: ())


@mutant("I8")
def account_does_not_hear_of_the_end() -> AbstractContextManager[Any]:
    return patch.object(Account, "_lose", lambda *_: ())


@mutant("I8")
def answer_from_before_the_loss_is_believed() -> AbstractContextManager[Any]:
    return patch.object(
        Ledger, "is_awaited", lambda self, _, names: names is not None or not self._is_listed
    )


@mutant("I8")
def failed_request_is_not_repeated() -> AbstractContextManager[Any]:
    return patch.object(Account, "retry", lambda *_: None)


@mutant("I8")
def order_that_is_not_listed_stays_open() -> AbstractContextManager[Any]:
    def accept(original: Any, self: Any, query: Any, found: Any, position: Any) -> Any:
        return original(self, query, found | self._listable(), position)

    return _around(Ledger, "_accept_list", accept)


@mutant("I8")
def order_that_is_not_listed_is_taken_for_cancelled() -> AbstractContextManager[Any]:
    def accept(original: Any, self: Any, query: Any, found: Any, position: Any) -> Any:
        for number in self._listable() - found if isinstance(self, Orders) else ():
            known = self.find(number)
            assert known is not None
            self._put(attrs.evolve(known, status=OrderStatus.CANCELED), None, position)
        return original(self, query, found, position)

    return _around(Ledger, "_accept_list", accept)


@mutant("I8")
def answer_wins_over_a_newer_order() -> AbstractContextManager[Any]:
    return _both(
        patch.object(_orders, "contradiction", lambda *_: None),
        patch.object(_orders, "is_ahead", lambda *_: True),
    )


@mutant("I8")
def closed_order_can_open_again() -> AbstractContextManager[Any]:
    def contradiction(original: Any, order: Order, known: Order) -> Any:
        return None if known.is_closed else original(order, known)

    def is_ahead(original: Any, order: Order, known: Order) -> Any:
        return known.is_closed or original(order, known)

    return _both(
        _patched(_orders, "contradiction", contradiction),
        _patched(_orders, "is_ahead", is_ahead),
    )


@mutant("I8")
def older_time_is_an_argument() -> AbstractContextManager[Any]:
    def contradiction(original: Any, order: Order, known: Order) -> Any:
        if (order.update_time or 0.0) < (known.update_time or 0.0):
            return "the update is older"
        return original(order, known)

    return _patched(_orders, "contradiction", contradiction)


@mutant("I8", seeds=4000, first=800)
def list_with_a_hole_is_believed() -> AbstractContextManager[Any]:
    def judge(original: Any, self: Any, query: Any, rows: Any, pages: Any, *args: Any) -> Any:
        return original(self, query, rows, 1, *args)

    return _around(Orders, "_judge", judge)


@mutant("I8", seeds=4000, first=1000)
def list_is_not_refuted_by_a_close_that_comes_later() -> AbstractContextManager[Any]:
    return patch.object(Orders, "_move", lambda *_: ())


@mutant("I8")
def order_in_doubt_is_not_asked_for() -> AbstractContextManager[Any]:
    return patch.object(Ledger, "_unasked", lambda _: ())


@mutant("I8")
def answer_wins_over_a_newer_balance() -> AbstractContextManager[Any]:
    return _both(
        patch.object(Balances, "_is_crossed", lambda *_: False),
        patch.object(Balances, "_is_since_followed", lambda *_: False),
    )


@mutant("I8")
def answer_never_wins_over_a_balance() -> AbstractContextManager[Any]:
    def merge(original: Any, self: Balances, query: Any, found: Any, *args: Any) -> Any:
        known = [self.find(balance.asset) or balance for balance in found]
        return original(self, query, known, *args)

    return _around(Balances, "merge", merge)


@mutant("I8")
def answers_are_taken_to_lag_behind_by_nothing() -> AbstractContextManager[Any]:
    def at(original: Any, self: Any, now: Any, position: int) -> Any:
        original(self, now, position)
        return position

    return _around(Horizon, "at", at)


@mutant("I8")
def fill_is_the_whole_of_what_is_filled() -> AbstractContextManager[Any]:
    def fill(original: Any, before: Any, after: Order, *, healed: bool) -> Any:
        fills = original(before, after, healed=healed)
        return tuple(attrs.evolve(f, deal_stock=after.deal_stock) for f in fills)

    return _patched(_kept_orders, "fill_between", fill)


@mutant("I8")
def closed_orders_are_kept_for_ever() -> AbstractContextManager[Any]:
    def init(original: Any, self: Account, *, max_closed: int, **more: Any) -> None:
        original(self, max_closed=10**9, **more)

    return _around(Account, "__init__", init)


@mutant("I8", "I11", seeds=3000, first=450)
def forgotten_order_is_open_again() -> AbstractContextManager[Any]:
    removal = ExitStack()
    removal.enter_context(
        patch.object(Orders, "_forgotten_at", PropertyMock(return_value=-1), create=True)
    )
    removal.enter_context(patch.object(Forgotten, "has_ended", lambda *_: False))
    return removal


# --- clocks, times and codes ----------------------------------------------------------------------


@mutant("I1", seeds=600)
def gap_is_measured_by_times_alone() -> AbstractContextManager[Any]:
    def span(_: Any, self: Break, ack_ts: int | None, *__: Any) -> Any:
        return self.since_ts, ack_ts

    return _around(Break, "span", span)


@mutant("I1", seeds=600, first=450)
def gap_begins_by_the_old_clock_only() -> AbstractContextManager[Any]:
    def since_by(_: Any, self: Break, __: Any) -> Any:
        return self.since_ts

    return _around(Break, "_since_by", since_by)


@mutant("I1", "I2", "alive", seeds=600)
def time_in_another_form_voids_a_frame() -> AbstractContextManager[Any]:
    def received(original: Any, self: Connection, frame: Any, now: float) -> Any:
        text = frame if isinstance(frame, str) else ""
        ts = re.search(r'"ts":(\d+)[,}]', text) if '"ts"' in text else True
        return original(self, frame if ts else "{", now)

    return _around_frames(received)


@mutant("I1", "I2", "I8", seeds=600)
def update_with_a_code_is_a_response() -> AbstractContextManager[Any]:
    def received(original: Any, self: Connection, frame: Any, now: float) -> Any:
        text = frame if isinstance(frame, str) else ""
        is_coded = '"data":{"' in text and '"code":' in text and '"code":null' not in text
        return original(self, '{"code":0}' if is_coded else frame, now)

    return _around_frames(received)


# --- refusals after a reconnect -------------------------------------------------------------------


@mutant("I2", seeds=400)
def refused_topic_is_dropped_at_once() -> AbstractContextManager[Any]:
    return _around(Refusals, "refuse", lambda *_: None)


@mutant("I3", seeds=400)
def refused_topic_is_asked_for_at_once() -> AbstractContextManager[Any]:
    return _around(Refusals, "waits", lambda *_: False)


@mutant("I3", "runaway", seeds=600)
def refused_topic_is_asked_for_without_end() -> AbstractContextManager[Any]:
    def refuse(original: Any, self: Refusals, topic: Any, now: float) -> Any:
        self._limit = sys.maxsize
        return original(self, topic, now)

    return _around(Refusals, "refuse", refuse)


# --- what an application sets --------------------------------------------------------------------


@mutant("recording")
def a_recorder_that_fails_is_forgotten() -> AbstractContextManager[Any]:
    return patch.object(FeedCore, "_find_fault", lambda _: None)


@mutant("I6")
def a_recording_has_the_token() -> AbstractContextManager[Any]:
    return patch.object(Masker, "mask", lambda _, text: text)


@mutant("I1", "I2", "alive")
def compressed_frames_are_not_unpacked() -> AbstractContextManager[Any]:
    return patch.object(classify, "_unpacked", lambda frame, *_: frame)


# --- market data ---------------------------------------------------------------------------------


@mutant("I1", "market")
def deals_are_conflated() -> AbstractContextManager[Any]:
    return patch.object(DealsUpdate, "key", property(lambda self: ("deals", self.topic.name)))


@mutant("I1", "market")
def newest_candle_is_an_older_one() -> AbstractContextManager[Any]:
    # As if a candle that comes again were none that is new.
    def received(original: Any, self: Connection, frame: Any, now: float) -> Any:
        step = original(self, frame, now)
        seen = self.__dict__.setdefault("_seen", {})
        events = tuple(
            seen.setdefault((e.topic, e.candles[-1].time), e) if isinstance(e, KlineUpdate) else e
            for e in step.events
        )
        return attrs.evolve(step, events=events)

    return _around_frames(received)


@mutant("I1", "market")
def sides_of_a_book_are_swapped() -> AbstractContextManager[Any]:
    def received(original: Any, self: Connection, frame: Any, now: float) -> Any:
        text = frame if isinstance(frame, str) else ""
        if '"asks"' in text:
            frame = text.replace("asks", "?").replace("bids", "asks").replace("?", "bids")
        return original(self, frame, now)

    return _around_frames(received)


@mutant("market", seeds=400)
def a_pull_loses_its_first_piece() -> AbstractContextManager[Any]:
    def settle(original: Any, self: Waiters, answers: Any) -> Any:
        cut = [attrs.evolve(end, values=end.values[len(end.values) // 2 :]) for end in answers]
        return original(self, cut)

    return _around(Waiters, "settle_by_answers", settle)


@mutant("I2", seeds=400)
def a_pull_never_ends() -> AbstractContextManager[Any]:
    return patch.object(Waiters, "settle_by_answers", lambda *_: None)
