"""Every feature that ``docs/promises.md`` promises, with a patch that removes it and the tests that
must fail then.

A test that passes with its feature removed proves nothing. Add a row for every promise that is
added to the docs: ``test_features`` walks through all of them.
"""

import gc
import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from decimal import Context, Decimal
from functools import partial
from typing import Any
from unittest.mock import PropertyMock, patch
from urllib.parse import urlsplit

import attrs
from redis.exceptions import RedisError

import topone_nats._api
import topone_nats._bus
import topone_nats._leases
import topone_nats._pull
import topone_redis._bus
from topone_accounts import FileStore, HttpClient, _client, _store
from topone_proto import (
    Close,
    Connect,
    Connection,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    Order,
    Session,
    Step,
    SubscriptionState,
    Token,
    Topic,
    Unrecognised,
    Unsubscribed,
    models,
    plain,
)
from topone_proto.account import (
    AccountSession,
    Resynced,
    _budget,
    _catching_up,
    _evidence,
    _kept_orders,
    _ledger,
    _orders,
    _pace,
    _requests,
    _tokens,
    token_service,
    write_state,
)
from topone_proto.account._balances import Balances
from topone_proto.account._budget import OrderBudget
from topone_proto.account._catching_up import CatchUp
from topone_proto.account._claims import Claims
from topone_proto.account._forgotten import Forgotten
from topone_proto.account._healing import Healer
from topone_proto.account._machine import Machine
from topone_proto.account._missed import MissedOrders
from topone_proto.account._retries import Retries
from topone_proto.account._suspicions import Suspicions
from topone_proto.account._waits import Waits
from topone_proto.account.token_service import TokenService, TokenState
from topone_proto.adapters import AccountCore, CallbackDriver, FeedCore
from topone_proto.capture import _recorder
from topone_proto.feed import buffer as delivery
from topone_proto.feed import connector
from topone_proto.feed.account_driver import AccountDriver
from topone_proto.feed.base import BaseCore
from topone_proto.feed.driver import Driver
from topone_proto.feed.receiver import Receiver
from topone_proto.relay import placing
from topone_proto.relay._freshness import Freshness
from topone_proto.relay._publisher import Publisher
from topone_proto.relay.feed_core import RelayFeedCore
from topone_proto.secrets import masking, redaction, spellings
from topone_proto.secrets.redaction import Redactor
from topone_proto.session import channel, gaps, pulls, session, subscriptions, wishes
from topone_proto.session import requests as pending
from topone_proto.session.anomalies import Noise
from topone_proto.session.backoff import Backoff, Refusals
from topone_proto.session.lateness import Lateness
from topone_proto.session.liveness import Liveness
from topone_proto.session.pieces import Pieces
from topone_proto.session.redaction import EventRedactor
from topone_proto.session.requests import Requests
from topone_proto.wire import _classify as classify
from topone_proto.wire import _members as members
from topone_proto.wire import balance, codec, deals, decimals, depth, kline
from topone_proto.wire.http import HttpRequest
from topone_redis import _errors, _scripts
from topone_relay import MemoryBus, _reading
from topone_relay import _store as _store_on_bus
from topone_relay._driver import RelayDriver
from topone_relay._keeper import Keeper
from topone_relay._pace import Pace
from topone_threads._handle import Handle
from topone_websockets import _frames

Remove = Callable[[], AbstractContextManager[Any]]


@attrs.frozen
class Feature:
    """A feature, and the way to remove it."""

    name: str
    promise: int
    """The number of its section in ``docs/promises.md``."""
    remove: Remove
    """Makes a patch that removes it."""
    tests: tuple[str, ...]
    """The arguments for pytest: at least one of these tests must fail."""


FEATURES: dict[str, Feature] = {}


def feature(promise: int, *tests: str) -> Callable[[Remove], Remove]:
    """Enter a row into the table. The function's name is the feature's."""

    def register(remove: Remove) -> Remove:
        name = remove.__name__
        assert name not in FEATURES, name
        FEATURES[name] = Feature(name, promise, remove, tests)
        return remove

    return register


def around(cls: type, name: str, wrapper: Callable[..., Any]) -> AbstractContextManager[Any]:
    """``wrapper(original, self, *args)`` in place of a method."""
    original = getattr(cls, name)

    def replacement(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(original, self, *args, **kwargs)

    return patch.object(cls, name, replacement)


def method(cls: type, name: str, result: Any) -> AbstractContextManager[Any]:
    """A method that does nothing but return ``result``."""
    return patch.object(cls, name, lambda *_, **__: result)


def wrapped(module: Any, name: str, wrapper: Callable[..., Any]) -> AbstractContextManager[Any]:
    """``wrapper(original, *args)`` in place of a function of a module."""
    original = getattr(module, name)
    return patch.object(module, name, lambda *args, **kwargs: wrapper(original, *args, **kwargs))


# --- 1. no silent loss ---------------------------------------------------------------------------


@feature(1, "tests/test_frames.py")
def short_cut_ends_at_what_is_not_certain() -> AbstractContextManager[Any]:
    return patch.object(_frames, "_KNOWN", bytes(range(256)))


@feature(1, "tests/test_received.py")
def short_way_leaves_out_what_has_more_to_it() -> AbstractContextManager[Any]:
    def take_frame(original: Any, self: AccountSession, frame: Any, now: float) -> Any:
        found = original(self, frame, now)
        return found.events[1:] if getattr(found, "events", ()) else found

    return around(AccountSession, "take_frame", take_frame)


@feature(1, "tests/test_session.py")
def gap_after_a_reconnect() -> AbstractContextManager[Any]:
    return method(Session, "_close_gap", ())


@feature(1, "tests/test_session.py")
def gap_of_a_topic_that_is_given_up() -> AbstractContextManager[Any]:
    def forsake(_: Any, self: Session, topic: Topic, __: float) -> tuple[Event, ...]:
        return (Unsubscribed(topic, None, self.epoch),)

    return around(Session, "_forsake", forsake)


@feature(1, "tests/test_gaps.py", "tests/test_session.py")
def gap_by_the_clocks_of_both_connections() -> AbstractContextManager[Any]:
    def span(_: Any, self: gaps.Break, ack_ts: int | None, *__: Any) -> Any:
        return self.since_ts, ack_ts

    return around(gaps.Break, "span", span)


@feature(1, "tests/test_session.py", "-k", "a_gap_spans_connections_that_were_never")
def gap_that_outlives_a_second_loss() -> AbstractContextManager[Any]:
    return patch.object(gaps.Break, "again", lambda self, clock: gaps.Break(None, None, None))


@feature(1, "tests/test_connection.py")
def update_that_overtakes_its_acknowledgement() -> AbstractContextManager[Any]:
    def move(original: Any, self: Any, by: Any) -> None:
        original(self, by)
        self.followed = self.state is SubscriptionState.ACTIVE

    return around(subscriptions.Subscription, "move", move)


@feature(1, "tests/test_connection.py", "-k", "a_refusal_with_data_loses_no_data")
def update_that_nobody_asked_for_is_an_event() -> AbstractContextManager[Any]:
    return patch.object(channel, "UnexpectedUpdate", lambda update: update)


@feature(1, "tests/test_codec.py", "-k", "however_a_message_is_written_it_means")
def update_that_carries_a_code() -> AbstractContextManager[Any]:
    def read(original: Any, frame: Any, *args: Any) -> Any:
        envelope = classify._decode_envelope(frame)
        if members.is_present(envelope.code):
            return classify._response(envelope, None, None, (0, ""), None)
        return original(frame, *args)

    return wrapped(classify, "_classify", read)


@feature(1, "tests/test_connection.py", "-k", "a_snapshot_with_the_acknowledgement_is_delivered")
def data_within_an_acknowledgement() -> AbstractContextManager[Any]:
    return method(Connection, "_delivered", ())


@feature(1, "tests/test_market_data.py", "-k", "a_broken_frame_may_be_of_any")
def broken_frame_may_be_of_any_topic_followed() -> AbstractContextManager[Any]:
    def add(original: Any, self: Any, entry: Any) -> None:
        original(self, entry)
        self.suspects = None

    return around(subscriptions.Subscriptions, "add", add)


@feature(1, "tests/test_codec.py", "-k", "what_a_frame_may_have_been")
def topics_of_a_frame_that_cannot_be_read() -> AbstractContextManager[Any]:
    return patch.object(classify, "suspects", lambda *_: ())


# --- 2. never stale and quiet --------------------------------------------------------------------


@feature(2, "tests/test_connection.py", "-k", "a_ping_goes_out_every_interval")
def pings_of_the_client() -> AbstractContextManager[Any]:
    return method(Liveness, "ping", ())


@feature(2, "tests/test_connection.py", "-k", "a_half_open_connection_is_noticed_within")
def half_open_connection_is_given_up() -> AbstractContextManager[Any]:
    return _never_fails(FailureKind.PONG_TIMEOUT)


@feature(2, "tests/test_connection.py", "-k", "silence_ends_a_connection_that_sends_no")
def silent_connection_is_given_up() -> AbstractContextManager[Any]:
    return _never_fails(FailureKind.SILENCE)


@feature(2, "tests/test_connection.py", "-k", "a_request_that_is_not_answered_ends")
def acknowledgement_has_a_deadline() -> AbstractContextManager[Any]:
    def time_out(_: Any, self: Connection, __: Any) -> Step:
        return Step((), (), self.deadline)

    return around(Connection, "_time_out", time_out)


def _never_fails(kind: FailureKind) -> AbstractContextManager[Any]:
    def fail(original: Any, self: Connection, failed: FailureKind, detail: str = "") -> Step:
        return Step((), (), self.deadline) if failed is kind else original(self, failed, detail)

    return around(Connection, "_fail", fail)


@feature(2, "tests/test_connection.py", "-k", "bytes_of_the_peer_are_an_answer")
def bytes_count_as_life() -> AbstractContextManager[Any]:
    def bytes_received(_: Any, self: Connection, __: float, ___: float) -> Step:
        return Step((), (), self.deadline)

    return around(Connection, "bytes_received", bytes_received)


@feature(2, "tests/adapters/test_adapters.py", "-k", "slow or pings")
def bytes_are_reported_by_the_drivers() -> AbstractContextManager[Any]:
    return method(Session, "bytes_received", Step())


@feature(2, "tests/test_connection.py", "-k", "an_acknowledgement_behind_a_slow_frame")
def acknowledgement_behind_a_slow_frame_is_waited_for() -> AbstractContextManager[Any]:
    def overdue(original: Any, self: Any, now: float, _: float) -> Any:
        return original(self, now, -1e9)

    return around(Requests, "overdue", overdue)


@feature(2, "tests/test_connection.py", "-k", "a_server_that_only_pings_is_given")
def acknowledgement_is_not_waited_for_for_ever() -> AbstractContextManager[Any]:
    return patch.object(pending, "PATIENCE", 10**9)


@feature(2, "tests/test_session.py", "-k", "a_dial_whose_end_is_noticed_late")
def late_deadline_proves_nothing() -> AbstractContextManager[Any]:
    return method(Lateness, "grace", None)


@feature(2, "tests/test_connection.py", "-k", "a_request_that_is_not_answered_ends")
def lateness_ends() -> AbstractContextManager[Any]:
    return method(Lateness, "grace", 1.0)


@feature(2, "tests/test_connection.py", "-k", "a_connection_that_was_given_up_ignores")
def pause_does_not_count() -> AbstractContextManager[Any]:
    def resumed(_: Any, self: Connection, __: float) -> Step:
        self._life.paused_at = None
        self._set_deadline()
        return Step((), (), self.deadline)

    return around(Connection, "reading_resumed", resumed)


@feature(2, "tests/test_connection.py", "-k", "a_ping_is_answered_in_kind")
def answer_to_an_application_ping() -> AbstractContextManager[Any]:
    return patch.object(classify, "Ping", lambda answer: Unrecognised("no ping", None, answer))


# --- 3. never a storm ----------------------------------------------------------------------------


@feature(3, "tests/test_session.py")
def back_off() -> AbstractContextManager[Any]:
    return method(Backoff, "delay", 0.0)


@feature(3, "tests/test_session.py")
def back_off_grows() -> AbstractContextManager[Any]:
    def spread(original: Any, self: Backoff, attempt: int) -> Any:
        return original(self, min(attempt, 1))

    return around(Backoff, "spread", spread)


@feature(3, "tests/test_session.py")
def back_off_has_a_cap() -> AbstractContextManager[Any]:
    def spread(original: Any, self: Backoff, attempt: int) -> Any:
        config = self._config
        self._config = attrs.evolve(config, retry_cap=1e9)
        try:
            return original(self, attempt)
        finally:
            self._config = config

    return around(Backoff, "spread", spread)


@feature(3, "tests/test_session.py")
def back_off_is_spread_at_random() -> AbstractContextManager[Any]:
    def spread(original: Any, self: Backoff, attempt: int) -> Any:
        jitter, self._jitter = self._jitter, lambda: 1.0
        try:
            return original(self, attempt)
        finally:
            self._jitter = jitter

    return around(Backoff, "spread", spread)


@feature(3, "tests/test_session.py", "-k", "acknowledgements_and_a_stable_while_reset")
def back_off_starts_anew_after_a_stable_connection() -> AbstractContextManager[Any]:
    return around(Backoff, "lose", _lose(settled_at=None))


@feature(3, "tests/test_session.py", "-k", "a_handshake_alone_does_not_reset")
def back_off_goes_on_after_an_unstable_connection() -> AbstractContextManager[Any]:
    return around(Backoff, "lose", _lose(settled_at=-1e9))


def _lose(*, settled_at: float | None) -> Callable[..., Any]:
    def lose(original: Any, self: Backoff, now: float) -> None:
        self._settled_at = settled_at
        original(self, now)

    return lose


@feature(3, "tests/test_session.py", "-k", "what_the_server_asked_for_is_waited")
def wait_after_http_429() -> AbstractContextManager[Any]:
    return around(Backoff, "delay", _delay_of(status=500))


@feature(3, "tests/test_session.py", "-k", "what_the_server_asked_for_is_waited")
def wait_that_the_server_asks_for() -> AbstractContextManager[Any]:
    return around(Backoff, "delay", _delay_of(retry_after=None))


def _delay_of(**changes: Any) -> Callable[..., Any]:
    def delay(original: Any, self: Backoff, failure: Failure) -> Any:
        return original(self, attrs.evolve(failure, **changes))

    return delay


@feature(3, "tests/test_session.py", "-k", "the_number_of_retries_can_be_limited")
def limit_of_attempts() -> AbstractContextManager[Any]:
    def delay(original: Any, self: Backoff, failure: Failure) -> Any:
        config = self._config
        self._config = attrs.evolve(config, max_attempts=None)
        try:
            return original(self, failure)
        finally:
            self._config = config

    return around(Backoff, "delay", delay)


@feature(3, "tests/test_session.py", "-k", "a_refused_fixed_token_ends_the_feed")
def refused_token_ends_the_feed() -> AbstractContextManager[Any]:
    return patch.object(Failure, "refuses_token", property(lambda _: False))


@feature(3, "tests/test_session.py", "-k", "a_refused_token_is_replaced_by")
def token_source_gets_a_second_chance() -> AbstractContextManager[Any]:
    def fail(original: Any, self: Session, failure: Failure, now: float) -> Any:
        self._is_fixed, is_fixed = True, self._is_fixed
        try:
            return original(self, failure, now)
        finally:
            self._is_fixed = is_fixed

    return around(Session, "_fail", fail)


@feature(3, "tests/test_session.py")
def resubscription_that_was_refused_is_tried_again() -> AbstractContextManager[Any]:
    return method(Refusals, "refuse", None)


@feature(3, "tests/test_session.py", "-k", "a_refused_resubscription_still_names_the_gap")
def refusals_have_a_limit() -> AbstractContextManager[Any]:
    def refuse(original: Any, self: Refusals, topic: Topic, now: float) -> Any:
        self._limit = sys.maxsize
        return original(self, topic, now)

    return around(Refusals, "refuse", refuse)


@feature(3, "tests/test_session.py")
def resubscription_after_a_reconnect() -> AbstractContextManager[Any]:
    def ask(original: Any, self: Session, now: float) -> Any:
        return original(self, now) if self.epoch < 2 else ()

    return around(Session, "_ask", ask)


@feature(3, "tests/test_pulls.py")
def requests_of_pulls_are_spaced() -> AbstractContextManager[Any]:
    def ask(original: Any, self: Any, connection: Any, now: float) -> Any:
        self._free_at = now
        return original(self, connection, now)

    return around(pulls.Pulls, "ask", ask)


@feature(1, "tests/test_pulls.py", "-k", "a_lost_connection_has_the_piece_asked")
def piece_that_was_lost_is_asked_for_again() -> AbstractContextManager[Any]:
    return patch.object(pulls, "TRIES", 1)


@feature(3, "tests/test_pulls.py", "-k", "a_lost_connection_has_the_piece_asked")
def tries_of_a_pull_have_a_limit() -> AbstractContextManager[Any]:
    return method(pulls.Pulls, "lose", ())


@feature(1, "tests/test_pulls.py")
def pull_is_asked_in_pieces() -> AbstractContextManager[Any]:
    return patch.object(pulls, "PIECE", 10**9)


@feature(2, "tests/test_pulls.py", "-k", "an_answer_that_does_not_come_ends")
def answer_to_a_pull_has_a_deadline() -> AbstractContextManager[Any]:
    return method(Pieces, "time_out", ())


@feature(5, "tests/test_pulls.py", "-k", "a_cancelled_pull_leaves_nothing_behind")
def cancelled_pull_leaves_nothing_behind() -> AbstractContextManager[Any]:
    return method(pulls.Pulls, "cancel", None)


@feature(2, "tests/test_session.py", "-k", "what_is_no_topic_is_refused_at")
def topic_of_another_socket_is_refused() -> AbstractContextManager[Any]:
    return patch.object(wishes.Wishes, "checked", lambda _, topic: topic)


# --- 4. never a leak -----------------------------------------------------------------------------


@feature(4, "tests/test_session.py", "-k", "a_server_that_repeats_the_token_does")
def redaction_of_every_text() -> AbstractContextManager[Any]:
    return patch.object(Redactor, "redact", lambda _, text: text)


@feature(4, "tests/test_session.py", "-k", "a_server_that_repeats_the_token_does")
def redaction_of_anomalies() -> AbstractContextManager[Any]:
    return patch.object(EventRedactor, "event", lambda _, event, __: event)


@feature(4, "tests/test_session.py", "-k", "a_server_that_repeats_the_token_does")
def redaction_of_failures() -> AbstractContextManager[Any]:
    return patch.object(EventRedactor, "_words", lambda _, text, most: text[:most])


@feature(4, "tests/test_session.py", "-k", "names_in_updates_are_searched")
def redaction_of_updates() -> AbstractContextManager[Any]:
    return method(Redactor, "is_clean", True)


@feature(4, "tests/test_redaction.py", "-k", "every_spelling_is_removed")
def redaction_of_escapes() -> AbstractContextManager[Any]:
    return patch.object(spellings, "_has_escapes", lambda _: False)


@feature(4, "tests/test_redaction.py", "-k", "escapes_of_escapes")
def redaction_of_escapes_within_escapes() -> AbstractContextManager[Any]:
    return patch.object(spellings, "LAYERS", 1)


@feature(4, "tests/test_redaction.py", "-k", "a_token_that_is_cut_off")
def redaction_of_a_token_that_was_cut() -> AbstractContextManager[Any]:
    return patch.object(redaction, "at_ends", lambda *_: iter(()))


@feature(4, "tests/test_redaction.py", "-k", "both_halves_are_removed_wherever_they_are")
def redaction_of_pieces() -> AbstractContextManager[Any]:
    return patch.object(redaction, "in_runs", lambda *_: iter(()))


@feature(4, "tests/test_session.py", "-k", "no_failure_has_the_token_in_its")
def redaction_of_an_earlier_token() -> AbstractContextManager[Any]:
    def add(original: Any, self: Redactor, token: Token) -> Any:
        self.forget()
        return original(self, token)

    return around(Redactor, "add", add)


@feature(4, "tests/test_capture.py", "-k", "a_recorded_life_lives_again")
def redaction_of_recordings() -> AbstractContextManager[Any]:
    return patch.object(masking.Masker, "mask", lambda _, text: text)


@feature(4, "tests/test_endpoint.py", "-k", "no_text_shows_a_token")
def token_cannot_be_printed() -> AbstractContextManager[Any]:
    return patch.object(Token, "__repr__", lambda self: f"Token({self.reveal()})")


@feature(4, "tests/test_endpoint.py", "-k", "a_name_that_no_host_can_have")
def token_in_a_url_is_refused() -> AbstractContextManager[Any]:
    return patch.object(Endpoint, "__attrs_post_init__", lambda _: None)


@feature(4, "tests/adapters/test_adapters.py", "-k", "cache")
def no_cache_keeps_the_dialled_url() -> AbstractContextManager[Any]:
    def target(original: Any, self: Any) -> str:
        found: str = original(self)
        urlsplit(found)
        return found

    # The test looks through all objects, and those from before this process's start are frozen.
    gc.unfreeze()
    return around(Connect, "target", target)


# --- 5. never unbounded --------------------------------------------------------------------------


@feature(5, "tests/test_delivery.py", "-k", "conflating_keeps_the_newest_of_each")
def conflation() -> AbstractContextManager[Any]:
    return method(delivery._Conflating, "_make_room", None)


@feature(5, "tests/test_delivery.py", "tests/test_feed.py")
def conflation_goes_on_reading() -> AbstractContextManager[Any]:
    return patch.object(delivery._Conflating, "needed", delivery._Conflating.__len__)


@feature(5, "tests/test_delivery.py")
def conflation_is_counted() -> AbstractContextManager[Any]:
    def make_room(original: Any, self: Any) -> None:
        original(self)
        self._left_out = 0

    return around(delivery._Conflating, "_make_room", make_room)


@feature(5, "tests/test_market_data.py", "-k", "the_newest_book_of_a_topic_replaces")
def newest_book_replaces_the_others() -> AbstractContextManager[Any]:
    return patch.object(depth.DepthUpdate, "key", None)


@feature(5, "tests/test_market_data.py", "-k", "the_newest_candle_of_a_time_replaces")
def newest_candle_of_each_time_is_kept() -> AbstractContextManager[Any]:
    return patch.object(kline.KlineUpdate, "key", property(lambda self: (self.topic.name,)))


@feature(1, "tests/test_market_data.py", "-k", "no_deal_is_left_out")
def deals_are_never_left_out() -> AbstractContextManager[Any]:
    return patch.object(deals.DealsUpdate, "key", property(lambda self: (self.topic.name,)))


@feature(5, "tests/test_market_data.py", "-k", "the_typed_pass_learns_topics_and_forgets")
def topics_that_the_codec_knows_are_bounded() -> AbstractContextManager[Any]:
    return method(codec._TypedPass, "forget", None)


@feature(5, "tests/test_market_data.py", "-k", "the_levels_that_are_known_are_bounded")
def levels_that_are_known_are_bounded() -> AbstractContextManager[Any]:
    class Growing(dict[Any, Any]):
        def clear(self) -> None:
            pass

    return patch.object(depth, "known_levels", Growing())


@feature(5, "tests/test_delivery.py")
def conflation_keeps_the_end_of_an_order() -> AbstractContextManager[Any]:
    return patch.object(Order, "is_closed", property(lambda _: False))


@feature(5, "tests/test_feed.py", "-k", "reading_stops_at_the_capacity_and_goes")
def reading_stops_when_the_buffer_is_full() -> AbstractContextManager[Any]:
    return patch.object(FeedCore, "must_pause", property(lambda _: False))


@feature(5, "tests/test_pushing.py")
def pushed_frames_stop_when_the_application_is_behind() -> AbstractContextManager[Any]:
    return method(Receiver, "hold_or_go_on", None)


@feature(8, "tests/test_callbacks.py", "-k", "keeps_nothing_from_its_end")
def a_fault_of_the_application_keeps_no_event_back() -> AbstractContextManager[Any]:
    never = property(lambda _: False, lambda *_: None)
    return patch.object(CallbackDriver, "_is_behind", never, create=True)


@feature(5, "tests/test_unread.py")
def messages_that_have_come_are_taken_at_once() -> AbstractContextManager[Any]:
    return patch.object(connector, "getattr", lambda *given: given[-1], create=True)


@feature(5, "tests/test_session.py", "-k", "reading_that_was_paused_while_dialling")
def no_dial_while_the_application_is_behind() -> AbstractContextManager[Any]:
    def reading_paused(original: Any, self: Session, now: float) -> Any:
        step = original(self, now)
        self._paused = self.connection is not None
        return step

    return around(Session, "reading_paused", reading_paused)


@feature(5, "tests/test_feed.py")
def peer_that_does_not_read_is_given_up() -> AbstractContextManager[Any]:
    def room(original: Any, self: Any, _: int) -> Any:
        return original(self, 0)

    return around(FeedCore, "room", room)


@feature(5, "tests/test_connection.py")
def limit_of_a_frame() -> AbstractContextManager[Any]:
    def init(original: Any, self: Connection, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        self._max_frame_size = 2**62

    return around(Connection, "__init__", init)


@feature(5, "tests/test_codec.py", "-k", "one_defect_is_malformed_where_it")
def limit_of_what_an_anomaly_keeps() -> AbstractContextManager[Any]:
    return patch.object(classify, "excerpt", lambda frame, _: str(frame))


@feature(5, "tests/test_connection.py", "-k", "requests_beyond_the_limit_are_the_callers")
def limit_of_pending_requests() -> AbstractContextManager[Any]:
    def init(original: Any, self: Any, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        self._config = attrs.evolve(self._config, max_pending=10**6)

    return around(Connection, "__init__", init)


@feature(5, "tests/test_connection.py", "-k", "a_keep_alive_of_the_servers_own")
def keep_alives_are_reported_once() -> AbstractContextManager[Any]:
    return method(Noise, "is_reported", False)


# --- 6. money is exact ---------------------------------------------------------------------------


@feature(6, "tests/test_market_data.py", "-k", "a_book_is_sorted_and_has_no")
def level_of_nothing_is_left_out() -> AbstractContextManager[Any]:
    def levels_of(original: Any, rows: Any, path: str) -> Any:
        return original([[row[0], b'"1"'] for row in rows or ()], path)

    return wrapped(depth, "_levels", levels_of)


@feature(6, "tests/test_market_data.py")
def book_is_sorted() -> AbstractContextManager[Any]:
    return patch.object(depth, "_price", lambda _: 0)


@feature(6, "tests/test_market_data.py", "-k", "a_book_that_cannot_be_is_delivered")
def crossed_book_says_so() -> AbstractContextManager[Any]:
    return patch.object(depth.Book, "is_crossed", property(lambda _: False))


@feature(6, "tests/test_codec.py", "-k", "the_updates_of_the_page")
def decimals_are_exact() -> AbstractContextManager[Any]:
    return patch.object(balance, "to_decimal", lambda text: Decimal(float(text)))


@feature(6, "tests/test_exact_values.py", "-k", "no_decimal and Balance and freeze")
def amounts_are_given_as_decimals() -> AbstractContextManager[Any]:
    return patch.object(balance, "check_decimals", lambda *_: None)


@feature(6, "tests/test_exact_values.py", "-k", "after_json and Balance")
def json_keeps_every_digit() -> AbstractContextManager[Any]:
    return patch.object(plain, "_decimal", lambda text, _: Decimal(repr(float(text))))


@feature(6, "tests/test_codec.py", "-k", "one_defect_is_malformed_where_it")
def what_is_no_number_is_refused() -> AbstractContextManager[Any]:
    return patch.object(decimals, "_DECIMAL", re.compile(".*"))


@feature(6, "tests/test_models.py", "-k", "a_total_is_exact_in_any_context")
def totals_are_exact() -> AbstractContextManager[Any]:
    return patch.object(balance, "_EXACT", Context(prec=28))


# --- 7. tomorrow's server is fine ----------------------------------------------------------------


@feature(7, "tests/test_models.py", "tests/test_codec.py")
def unknown_numbers_are_kept() -> AbstractContextManager[Any]:
    return patch.object(models.WireEnum, "_missing_", classmethod(lambda *_: None))


@feature(7, "tests/test_codec.py", "-k", "however_a_message_is_written_it_means")
def frame_that_cannot_be_read_is_an_event() -> AbstractContextManager[Any]:
    def read(*_: Any) -> Any:
        raise OverflowError

    return patch.object(classify, "_classify", read)


@feature(7, "tests/test_codec.py", "-k", "a_frame_may_be_compressed")
def frame_that_is_compressed() -> AbstractContextManager[Any]:
    return patch.object(classify, "GZIP", b"never")


# --- 8. close means closed -----------------------------------------------------------------------


@feature(8, "tests/test_session.py", "-k", "close_ends_everything_from_any_state")
def close_ends_the_session() -> AbstractContextManager[Any]:
    return method(Session, "close", Step())


@feature(8, "tests/test_session.py", "-k", "close_ends_everything_from_any_state")
def close_has_a_time_limit() -> AbstractContextManager[Any]:
    return patch.object(session, "Close", lambda code, reason, _: Close(code, reason, 1e9))


@feature(8, "tests/test_capture.py", "-k", "an_error_of_the_recorder_never_costs")
def recorder_that_fails_costs_no_step() -> AbstractContextManager[Any]:
    def fail(_: Any, __: Any, error: BaseException) -> None:
        raise error

    return around(_recorder._Recorder, "_fail", fail)


@feature(8, "tests/test_feed.py")
def recorder_that_fails_ends_the_feed() -> AbstractContextManager[Any]:
    return method(FeedCore, "_find_fault", None)


# --- 9. whole means right ------------------------------------------------------------------------


@feature(9, "tests/on_threads/test_threads_account.py", "-k", "two_steps")
def reads_of_other_threads_between_two_steps() -> AbstractContextManager[Any]:
    def look_freely(start: Any, handle: Any) -> None:
        start(handle)
        handle._looking = nullcontext()

    return around(Handle, "_start", look_freely)


ACCOUNT = ("tests/test_reconcile.py", "tests/test_account.py", "tests/test_account_model.py")


@feature(9, *ACCOUNT)
def what_was_missed_makes_an_account_stale() -> AbstractContextManager[Any]:
    return method(_ledger.Ledger, "miss", ())


@feature(9, *ACCOUNT)
def a_contradiction_puts_an_order_in_doubt() -> AbstractContextManager[Any]:
    return method(_ledger.Ledger, "_put_in_doubt", ())


@feature(9, *ACCOUNT)
def what_a_list_lacks_is_asked_for_by_name() -> AbstractContextManager[Any]:
    def accept(_: Any, self: Any, query: Any, __: Any, ___: Any) -> None:
        self._is_listed, self._asked_ts = True, query.asked_ts

    return around(_ledger.Ledger, "_accept_list", accept)


@feature(9, *ACCOUNT)
def a_list_in_pages_is_refuted_by_a_close() -> AbstractContextManager[Any]:
    return method(_orders.Orders, "_move", ())


@feature(9, *ACCOUNT)
def a_list_of_several_pages_is_read_twice() -> AbstractContextManager[Any]:
    def judge(original: Any, self: Any, query: Any, rows: Any, _: Any, position: int) -> None:
        original(self, query, rows, None, position)

    return around(_orders.Orders, "_judge", judge)


@feature(9, *ACCOUNT)
def an_order_of_unknown_status_is_asked_for() -> AbstractContextManager[Any]:
    return patch.object(_orders.Orders, "_listable", lambda self: set(self._open))


@feature(9, "tests/test_reconcile.py", "-k", "without_a_clock_the_caller_waits")
def an_order_is_asked_for_a_bounded_number_of_times() -> AbstractContextManager[Any]:
    return method(_orders.Orders, "_give_up", ())


@feature(9, *ACCOUNT)
def larger_fills_are_later_whatever_the_time() -> AbstractContextManager[Any]:
    def contradiction(original: Any, order: Order, known: Order) -> str | None:
        if (order.update_time or 0) < (known.update_time or 0):
            return "the update is older"
        found: str | None = original(order, known)
        return found

    return _evidence_of(contradiction)


@feature(9, *ACCOUNT)
def a_closed_order_stays_closed() -> AbstractContextManager[Any]:
    def contradiction(original: Any, order: Order, known: Order) -> str | None:
        found: str | None = None if known.is_closed else original(order, known)
        return found

    return _evidence_of(contradiction)


def _evidence_of(wrapper: Callable[..., Any]) -> AbstractContextManager[Any]:
    return wrapped(_orders, "contradiction", wrapper)


@feature(9, *ACCOUNT)
def an_answer_that_an_update_crossed_is_not_believed() -> AbstractContextManager[Any]:
    return method(_ledger.Ledger, "_is_crossed", False)


@feature(9, *ACCOUNT)
def questions_are_paced() -> AbstractContextManager[Any]:
    return method(_pace.Pace, "is_due", True)


@feature(9, "tests/test_reconcile.py", "-k", "questions_wait")
def answers_may_lag() -> AbstractContextManager[Any]:
    return patch.object(_pace.Horizon, "at", lambda _, now, position: position)


@feature(9, *ACCOUNT)
def a_loss_ends_what_is_followed() -> AbstractContextManager[Any]:
    return method(_ledger.Ledger, "lose", ())


@feature(9, *ACCOUNT)
def a_failed_question_is_asked_again() -> AbstractContextManager[Any]:
    return method(_ledger.Ledger, "retry_one", None)


@feature(9, "tests/test_audits.py")
def an_audit_finds_what_the_stream_left_out() -> AbstractContextManager[Any]:
    return method(_ledger.Ledger, "_suspect", None)


@feature(9, "tests/test_audits.py")
def an_audit_believes_nothing_that_may_be_under_way() -> AbstractContextManager[Any]:
    def in_doubt(_: Any, self: Any, name: Any, position: int) -> None:
        self._put_in_doubt(name, position, is_lasting=False)

    return around(_ledger.Ledger, "_suspect", in_doubt)


@feature(9, *ACCOUNT)
def fills_add_up() -> AbstractContextManager[Any]:
    return patch.object(
        _kept_orders,
        "fill_between",
        lambda _, after, healed: _evidence.fill_between(None, after, healed=healed),
    )


SESSION = ("tests/test_account_session.py",)


@feature(9, *SESSION, "-k", "by_an_audit")
def what_is_whole_is_audited() -> AbstractContextManager[Any]:
    return method(Healer, "_audit", None)


@feature(9, *SESSION, "-k", "nobody_can_confirm")
def what_an_audit_suspects_is_not_called_right_for_long() -> AbstractContextManager[Any]:
    return method(Suspicions, "review", ())


@feature(9, *SESSION, "-k", "too_large")
def pages_that_are_refused_are_asked_for_smaller() -> AbstractContextManager[Any]:
    return method(Healer, "_asks_for_less", result=False)


@feature(9, *SESSION, "-k", "nobody_reports")
def a_request_without_an_end_is_given_up() -> AbstractContextManager[Any]:
    return patch.object(_requests, "GRACE", 1e6)


@feature(1, "tests/test_account_missed.py", "-k", "in_a_gap")
def what_was_made_and_closed_in_a_gap_is_told() -> AbstractContextManager[Any]:
    return method(CatchUp, "choose", None)


@feature(1, "tests/test_account_missed.py", "-k", "history_has_late")
def a_history_that_is_late_is_read_again() -> AbstractContextManager[Any]:
    return patch.object(_catching_up, "_READINGS", 1)


@feature(9, "tests/test_account_missed.py", "-k", "before_the_account_was_followed")
def what_had_closed_before_is_no_news() -> AbstractContextManager[Any]:
    def start_from(self: MissedOrders, _: object) -> None:
        self._is_based = True

    return patch.object(MissedOrders, "start_from", start_from)


@feature(6, "tests/test_reconcile.py", "-k", "forgotten_order_is_told_once")
def the_end_of_a_forgotten_order_is_told_once() -> AbstractContextManager[Any]:
    return method(Forgotten, "has_ended", result=False)


@feature(6, "tests/test_forgotten_orders.py", "-k", "rest_of_the_fills")
def of_an_order_without_an_end_only_the_rest_is_told() -> AbstractContextManager[Any]:
    return method(Forgotten, "last", None)


@feature(6, "tests/test_account_missed.py", "-k", "told_and_forgotten")
def what_was_told_is_not_told_again_as_missed() -> AbstractContextManager[Any]:
    return method(MissedOrders, "forget", None)


@feature(2, "tests/test_account_waits.py")
def a_wait_for_a_budget_is_said() -> AbstractContextManager[Any]:
    return method(Waits, "found", ())


@feature(2, "tests/test_account_waits.py", "-k", "is_enough or not_said_twice")
def a_wait_that_a_failure_has_told_is_not_said_again() -> AbstractContextManager[Any]:
    return method(Waits, "note", None)


@feature(2, "tests/test_open_account_ends.py", "-k", "earlier_process and asyncio")
def a_wait_that_is_too_long_names_the_budget() -> AbstractContextManager[Any]:
    return method(Waits, "present", ())


@feature(9, *SESSION, "-k", "wrong_clock")
def a_wrong_clock_is_corrected() -> AbstractContextManager[Any]:
    return patch.object(_tokens, "_SAME_TIME", 1e9)


@feature(9, *SESSION, "-k", "a_fixed_token_that")
def a_fixed_token_that_http_refuses_is_tried_again() -> AbstractContextManager[Any]:
    def refused(original: Any, self: Any, *arguments: Any) -> Any:
        wait = original(self, *arguments)
        self.token = None
        return wait

    return around(_tokens.SuppliedTokens, "refused_by_http", refused)


@feature(9, "tests/test_token_service.py", "-k", "that_gave_a_token")
def a_token_service_that_gave_a_token_is_asked_again() -> AbstractContextManager[Any]:
    return patch.object(TokenService, "_has_served", PropertyMock(return_value=False), create=True)


@feature(9, *SESSION, "-k", "cold_store")
def a_token_of_another_process_is_looked_for() -> AbstractContextManager[Any]:
    return method(Machine, "_look_for_token", None)


@feature(3, *SESSION, "-k", "restarts_keep")
def budgets_outlive_the_process() -> AbstractContextManager[Any]:
    def forget(original: Any, self: Any, config: Any, _: Any, __: Any, jitter: Any) -> None:
        original(self, config, (), None, jitter)

    removal = ExitStack()
    removal.enter_context(method(OrderBudget, "merge", None))
    removal.enter_context(around(OrderBudget, "__init__", forget))
    return removal


@feature(3, *SESSION, "-k", "shares_the_budget")
def order_calls_have_a_budget() -> AbstractContextManager[Any]:
    return method(OrderBudget, "free_at", 0.0)


@feature(3, *SESSION, "-k", "10027")
def code_10027_stops_order_calls() -> AbstractContextManager[Any]:
    return method(OrderBudget, "block", None)


@feature(3, *SESSION, "-k", "limit_is_obeyed")
def what_the_exchange_says_of_waiting_is_obeyed() -> AbstractContextManager[Any]:
    return method(Retries, "hold", None)


@feature(3, *SESSION, "-k", "ten_minutes")
def failed_questions_back_off() -> AbstractContextManager[Any]:
    return method(Retries, "_spread", 0.0)


@feature(3, *SESSION, "-k", "refuses_every")
def refusals_over_http_pause() -> AbstractContextManager[Any]:
    return method(_tokens.Tokens, "_pause", 0.0)


@feature(3, "tests/test_token_service.py")
def a_token_is_taken_back_by_value() -> AbstractContextManager[Any]:
    def refused(original: Any, self: TokenService, _: Token, wall: float) -> Any:
        return original(self, self.state.token, wall)

    return around(TokenService, "refused", refused)


@feature(3, "tests/test_token_service.py", "-k", "a_block_that_another_process_does_not")
def a_block_outlives_what_another_process_stores() -> AbstractContextManager[Any]:
    return patch.object(TokenService, "_held_until", PropertyMock(return_value=None), create=True)


@feature(3, *SESSION, "-k", "leave_the_stored")
def tokens_of_the_application_leave_the_budget_alone() -> AbstractContextManager[Any]:
    return patch.object(_tokens.SuppliedTokens, "state", token_service.TokenState())


@feature(3, "tests/test_token_service.py")
def a_reservation_is_of_use_for_a_moment_only() -> AbstractContextManager[Any]:
    return patch.object(token_service, "_MARGIN", 1e6)


@feature(3, *SESSION, "-k", "took_long_to_store")
def an_order_call_is_of_use_for_a_moment_only() -> AbstractContextManager[Any]:
    return patch.object(_budget, "_MARGIN", 1e6)


@feature(3, *SESSION, "-k", "set_back_in_a_block")
def a_block_outlasts_no_clock_that_is_set_back() -> AbstractContextManager[Any]:
    return patch.object(_requests, "_SET_BACK", 1e9)


@feature(3, "tests/test_token_service.py")
def a_clock_that_was_set_back_is_noticed() -> AbstractContextManager[Any]:
    return patch.object(token_service, "corrected", lambda state, _: state)


# --- Over HTTP, and in a file


@feature(3, "tests/test_file_store.py", "-k", "late")
def another_process_is_noticed() -> AbstractContextManager[Any]:
    def save(original: Any, self: FileStore, state: Any, _: Any) -> Any:
        return original(self, state, self.load())

    return around(FileStore, "save", save)


@feature(3, "tests/test_file_store.py", "-k", "says_nothing")
def a_damaged_file_is_a_request() -> AbstractContextManager[Any]:
    return patch.object(_store, "TokenState", lambda **_: TokenState())


@feature(3, "tests/test_file_store.py", "-k", "killed")
def a_file_is_replaced_as_a_whole() -> AbstractContextManager[Any]:
    def write(self: FileStore, text: bytes) -> None:
        for part in (text[: len(text) // 2], text):
            number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(number, part)
            os.fsync(number)
            os.close(number)

    return patch.object(FileStore, "_write", write)


@feature(3, "tests/test_http_connections.py", "-k", "own")
def a_token_is_asked_for_on_a_new_connection() -> AbstractContextManager[Any]:
    async def connection(original: Any, self: HttpClient, request: HttpRequest) -> Any:
        return await original(self, attrs.evolve(request, token=Token("any")))

    return around(HttpClient, "_connection", connection)


@feature(4, "tests/test_file_store.py", "-k", "others")
def a_file_that_others_can_use_is_refused() -> AbstractContextManager[Any]:
    return patch.object(FileStore, "_check", lambda *_: None)


@feature(4, "tests/test_http_ends.py", "-k", "logged")
def requests_are_kept_out_of_logs() -> AbstractContextManager[Any]:
    return patch.object(logging.getLogger("httpcore.http11"), "filters", [])


@feature(5, "tests/test_http_client.py", "-k", "largest")
def answers_have_a_largest_size() -> AbstractContextManager[Any]:
    async def read(self: Any, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        data: bytes = await self.stream.read(max_bytes)
        self.is_over = not data
        return data

    return patch.object(_client._Connection, "read", read)


@feature(8, "tests/test_http_ends.py", "-k", "cancelled")
def a_fetch_that_is_cancelled_closes_its_connection() -> AbstractContextManager[Any]:
    async def drop(*_: object) -> None:
        pass

    return patch.object(HttpClient, "_drop", drop)


@feature(5, "tests/test_account_core.py", "-k", "nobody_reads")
def an_account_that_nobody_reads_holds_nothing_up() -> AbstractContextManager[Any]:
    return method(delivery.DeliveryBuffer, "_shed", None)


@feature(5, "tests/test_account_core.py", "-k", "conflating")
def changes_of_an_account_are_conflated() -> AbstractContextManager[Any]:
    return patch.object(delivery, "_key", lambda _: None)


@feature(5, "tests/test_account_session.py", "-k", "behind")
def nothing_is_asked_while_the_application_is_behind() -> AbstractContextManager[Any]:
    def pause(original: Any, self: Machine, step: Step, now: float, **_: bool) -> Any:
        return original(self, step, now, is_paused=False)

    return around(Machine, "_pause", pause)


@feature(3, "tests/test_open_account.py", "-k", "once_at_a_time and asyncio")
def a_token_callable_is_called_once_at_a_time() -> AbstractContextManager[Any]:
    return patch.object(AccountDriver, "_ask_for_token", Driver._ask_for_token)


@feature(8, "tests/test_open_account.py", "-k", "closing and asyncio")
def requests_end_with_their_account() -> AbstractContextManager[Any]:
    return patch.object(AccountDriver, "take", Driver.take)


@feature(9, "tests/test_open_account.py", "-k", "left_out and asyncio")
def a_refresh_returns_once_everything_is_compared() -> AbstractContextManager[Any]:
    return method(AccountCore, "_is_compared", result=True)


@feature(4, "tests/test_open_account.py", "-k", "does_not_return and asyncio")
def a_store_that_hangs_takes_one_thread() -> AbstractContextManager[Any]:
    return patch.object(
        AccountDriver, "_is_store_busy", property(lambda _: False, lambda *_: None), create=True
    )


# --- 10. one holder ------------------------------------------------------------------------------


def without_header(name: str) -> AbstractContextManager[Any]:
    """Publishing to NATS without one of its conditions."""

    def put(original: Any, self: Any, *args: Any, headers: Any = None, **kwargs: Any) -> Any:
        left = {key: text for key, text in (headers or {}).items() if key != name}
        return original(self, *args, headers=left, **kwargs)

    return around(topone_nats._api.Api, "put", put)


@feature(10, "tests/buses/test_bus_leases.py", "-k", "that_wakes and nats")
def a_holder_on_nats_writes_behind_what_it_knows() -> AbstractContextManager[Any]:
    def put(original: Any, self: Any, *args: Any, last: Any = None, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    return around(topone_nats._api.Api, "put", put)


@feature(10, "tests/buses/test_bus_leases.py", "-k", "slept and nats")
def a_holder_on_nats_proves_its_lease() -> AbstractContextManager[Any]:
    async def renew(*_: object) -> bool:
        return True

    return patch.object(topone_nats._leases.Leases, "_renew", renew)


@feature(10, "tests/buses/test_bus_leases.py", "-k", "that_wakes and redis")
def a_holder_on_redis_is_fenced() -> AbstractContextManager[Any]:
    script = _scripts.PUBLISH.replace("'fence') ~= ARGV[1]", "'fence') == ''")
    return patch.object(_scripts, "PUBLISH", script)


@feature(10, "tests/buses/test_bus_outages.py", "-k", "message_whose and nats")
def a_repeat_on_nats_is_known_by_its_id() -> AbstractContextManager[Any]:
    return without_header("Nats-Msg-Id")


@feature(10, "tests/buses/test_bus_outages.py", "-k", "message_whose and redis")
def a_repeat_on_redis_is_known_by_its_number() -> AbstractContextManager[Any]:
    script = _scripts.PUBLISH.replace("<= tonumber(last[2])", "<= 0")
    return patch.object(_scripts, "PUBLISH", script)


@feature(10, "tests/buses/test_bus_outages.py", "-k", "was_cut")
def a_reader_of_a_bus_goes_on_behind_its_last_message() -> AbstractContextManager[Any]:
    def again(source: Any) -> Any:
        return lambda start, take, *, behind: source(start, take, behind=False)

    def read_on(original: Any, source: Any, start: Any, closed: Any, take: Any) -> Any:
        return original(again(source), start, closed, take)

    return reading_on(read_on)


def reading_on(read_on: Callable[..., Any]) -> AbstractContextManager[Any]:
    """Reading from a bus in another way, which gets the right one first."""
    replacement = partial(read_on, _reading.read_on)
    stack = ExitStack()
    stack.enter_context(patch("topone_nats._bus.read_on", replacement))
    stack.enter_context(patch("topone_redis._bus.read_on", replacement))
    return stack


@feature(10, "tests/buses/test_bus_outages.py", "-k", "took_at_once")
def a_reader_of_a_bus_goes_on_behind_what_it_took_at_once() -> AbstractContextManager[Any]:
    def read_on(original: Any, source: Any, start: Any, closed: Any, take: Any) -> Any:
        def unnoticed(start: Any, _: object, *, behind: bool) -> Any:
            return source(start, take, behind=behind)

        return original(unnoticed, start, closed, take)

    return reading_on(read_on)


@feature(5, "tests/buses/test_bus_reading.py", "-k", "holds_little and nats")
def a_reader_on_nats_asks_for_a_batch() -> AbstractContextManager[Any]:
    return patch.multiple(topone_nats._pull, _BATCH=1_000_000, _BYTES=1 << 30)


@feature(5, "tests/buses/test_bus_reading.py", "-k", "holds_little and redis")
def a_reader_on_redis_asks_for_a_batch() -> AbstractContextManager[Any]:
    return patch.object(topone_redis._bus, "_BATCH", 1_000_000)


@feature(4, "tests/buses/test_bus_access.py", "-k", "nowhere and redis")
def an_error_of_redis_has_no_context() -> AbstractContextManager[Any]:
    async def as_bus_errors(call: str, answer: Any, _: float) -> Any:
        try:
            return await answer
        except (RedisError, OSError, TimeoutError) as error:
            raise _errors._translated(call, error) from None

    return patch.object(topone_redis._bus, "as_bus_errors", as_bus_errors)


@feature(8, "tests/test_relay_cancelling.py", "-k", "cancellation_that_a_library_forgets")
def a_cancellation_that_redis_py_misses_is_heeded() -> AbstractContextManager[Any]:
    async def heeding(answer: Any) -> Any:
        return await answer

    return patch.object(_errors, "heeding_cancellation", heeding)


@feature(10, "tests/test_relay_node.py", "-k", "move_without_loss")
def a_machine_gives_away_what_is_more_than_its_share() -> AbstractContextManager[Any]:
    return patch.object(placing, "_give", lambda *_: ())


@feature(10, "tests/test_relay_node.py", "-k", "long_before_its_leases_end")
def a_machine_that_ends_hands_over() -> AbstractContextManager[Any]:
    return patch.object(Keeper, "hand_over", Keeper.abort)


@feature(3, "tests/test_relay_node.py", "-k", "cold_start")
def accounts_are_opened_at_a_pace() -> AbstractContextManager[Any]:
    async def at_once(_: object) -> None:
        pass

    return patch.object(Pace, "turn", at_once)


@feature(3, "tests/test_relay_store.py", "-k", "two_machines")
def machines_share_the_budgets_of_an_account() -> AbstractContextManager[Any]:
    async def nobody(*_: object) -> None:
        pass

    async def nothing(*_: object) -> bytes:
        return b""

    return patch.multiple(MemoryBus, swap_state=nobody, load_state=nothing)


@feature(4, "tests/test_relay_store.py", "-k", "never")
def no_token_is_on_the_bus() -> AbstractContextManager[Any]:
    return patch.object(_store_on_bus, "_times_of", lambda state: write_state(state).encode())


@feature(10, "tests/test_tap.py", "-k", "same_call")
def a_relay_is_told_of_each_update() -> AbstractContextManager[Any]:
    return patch.object(BaseCore, "tap", lambda *_: None)


# --- the command: named by texts, so that no other row has to import it ---------------------------


@feature(1, "tests/test_cli_export.py", "-k", "pages_are_read")
def fills_of_a_time_when_nothing_ran_are_looked_for() -> AbstractContextManager[Any]:
    def take(way: Any, _: object) -> list[Order]:
        way.key = None
        return []

    return patch("topone_cli._fills.CatchUp.take", take)


@feature(3, "tests/test_cli_doctor_http.py", "-k", "budget_of_calls")
def the_doctor_keeps_the_budget_of_calls_about_orders() -> AbstractContextManager[Any]:
    return patch("topone_cli._doctor_http.HttpDoctor._reserve", lambda _: None)


@feature(4, "tests/test_cli_login.py", "-k", "others_cannot_read")
def a_file_of_keys_is_of_its_owner_alone() -> AbstractContextManager[Any]:
    return patch("topone_cli._keys.replace_durably", lambda path, data, **_: path.write_bytes(data))


@feature(4, "tests/test_cli_web.py", "-k", "another_host")
def the_page_of_an_account_answers_to_its_own_name_alone() -> AbstractContextManager[Any]:
    class Every:
        def __contains__(self, _: object) -> bool:
            return True

    return patch("topone_cli._web._NAMES", Every())


@feature(6, "tests/test_cli_export.py", "-k", "told_again")
def a_fill_is_exported_once() -> AbstractContextManager[Any]:
    return patch("topone_cli._fills.Exported.add", lambda *_: None)


@feature(6, "tests/test_cli_export.py", "-k", "exact")
def exported_amounts_are_exact() -> AbstractContextManager[Any]:
    return patch("topone_cli._fills.exact", lambda amount: f"{float(amount)}")


@feature(10, "tests/test_relay_feed.py", "-k", "durable_feed_goes_on and asyncio")
def a_durable_feed_is_remembered_by_the_bus() -> AbstractContextManager[Any]:
    async def kept(self: RelayDriver, _: object) -> Any:
        return self.core.settled

    return patch.object(RelayDriver, "_kept", kept)


@feature(10, "tests/test_relay_feed.py", "-k", "durable_program_failed and asyncio")
def an_event_that_was_not_finished_comes_again() -> AbstractContextManager[Any]:
    def get(original: Any, self: RelayFeedCore) -> Any:
        placed = original(self)
        if placed is not None:
            self.settle(placed)
        return placed

    return around(RelayFeedCore, "get", get)


@feature(10, "tests/test_relay_feed.py", "-k", "stored_position and asyncio")
def a_feed_goes_on_behind_a_position() -> AbstractContextManager[Any]:
    def opened(original: Any, self: RelayFeedCore, _: object, now: float) -> Any:
        return original(self, None, now)

    return around(RelayFeedCore, "opened", opened)


@feature(10, "tests/test_relay_feed.py", "-k", "reads_no_more")
def a_slow_consumer_holds_the_bus_up() -> AbstractContextManager[Any]:
    never = property(lambda _: False, lambda *_: None)
    return patch.object(RelayFeedCore, "is_paused", never, create=True)


@feature(2, "tests/test_relay_feed.py", "-k", "nobody_follows and asyncio")
def silence_on_a_bus_is_said() -> AbstractContextManager[Any]:
    return method(RelayFeedCore, "deadline_reached", None)


@feature(9, "tests/test_relay_freshness.py", "-k", "backlog_is_read and asyncio")
def nothing_is_whole_before_a_backlog_is_read() -> AbstractContextManager[Any]:
    return method(Freshness, "reads", None)


@feature(2, "tests/test_relay_freshness.py", "-k", "sign_of_life and garbage")
def only_a_holder_shows_that_an_account_is_followed() -> AbstractContextManager[Any]:
    def reads(original: Any, self: Freshness, now: float, **told: Any) -> Any:
        return original(self, now, **{**told, "is_sign": True})

    return around(Freshness, "reads", reads)


@feature(6, "tests/test_times.py", "-k", "refused_where_it_is_given")
def a_time_that_cannot_be_shown_is_none() -> AbstractContextManager[Any]:
    return patch("topone_proto._checks.is_shown", lambda _: True)


@feature(9, "tests/test_account_pictures.py", "-k", "contradicts_is_not_believed")
def a_snapshot_that_contradicts_is_not_believed() -> AbstractContextManager[Any]:
    return method(_orders.Orders, "_objection", None)


@feature(9, "tests/test_account_pictures.py", "-k", "older_snapshot_does_not_end")
def an_older_snapshot_ends_no_order() -> AbstractContextManager[Any]:
    return patch.object(_orders.Orders, "_position_of", lambda *_: -1)


@feature(9, "tests/test_account_pictures.py", "-k", "of_the_stream_stands")
def a_balance_of_the_stream_stands_against_a_snapshot() -> AbstractContextManager[Any]:
    def settle(original: Any, self: Any, snapshot: Any, _: Any, position: int) -> Any:
        return original(self, snapshot, frozenset(self._known), position)

    return around(Balances, "_replace", settle)


@feature(9, "tests/test_account_pictures.py", "-k", "once_an_outcome_is_known")
def what_was_never_told_is_told_in_full() -> AbstractContextManager[Any]:
    def lose(original: Any, self: Any, order: Any, position: int, **first: bool) -> Any:
        changes = original(self, order, position, **first)
        self._lost[order.id].is_told = True
        return changes

    return around(_orders.Orders, "_lose_one", lose)


@feature(9, "tests/test_relay_holder.py", "-k", "audit_finds_is_a_gap")
def what_an_audit_finds_is_a_gap_on_a_bus() -> AbstractContextManager[Any]:
    def take(original: Any, self: Publisher, group: Any) -> Any:
        return original(self, [each for each in group if not isinstance(each, Resynced)])

    return around(Publisher, "_take", take)


@feature(2, "tests/test_account_snapshots.py", "-k", "nothing_is_whole")
def nothing_is_whole_while_nothing_comes() -> AbstractContextManager[Any]:
    return patch.object(Claims, "known", lambda _, ledger: ledger.knowledge)
