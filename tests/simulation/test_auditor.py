"""The auditor sees what no mutant of the core does: a feed that breaks a rule by hand."""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from attrs import evolve

from frames import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Conflated,
    Connect,
    Connected,
    DeliveryPolicy,
    Disconnected,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    FetchToken,
    Gap,
    Malformed,
    OrderStatus,
    OrderUpdate,
    RequestTimedOut,
    SendText,
    SessionConfig,
    Step,
    Subscribed,
    Token,
    UnexpectedUpdate,
    Unsubscribed,
)
from topone_proto.exchange import Publication
from topone_proto.testing.simulation import SECRET, ClientPlan, Violation
from topone_proto.testing.simulation.auditor import Auditor
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.streams import Streams
from topone_proto.testing.simulation.world import World
from topone_proto.wire.codec import decode

REFUSED = Failure(FailureKind.REFUSED)
REQUEST = '{"id":"1","method":"sub_orders","params":{}}'
PLAN = ClientPlan(name="A", topics=(ORDERS,))


class Feed:
    """An auditor that is told of a feed by hand."""

    def __init__(self, plan: ClientPlan = PLAN) -> None:
        self.world = World()
        self.auditor = Auditor(self.world, plan)
        self.link = Link(
            self.world,
            plan,
            Random(0),
            to_server=lambda *_: None,
            to_client=lambda _: None,
            part_to_client=lambda _: None,
        )
        self.link.peer = 1
        self.streams = Streams(self.auditor.fail)

    def tell(self, *events: Event, text: str | None = None, deadline: float | None = None) -> None:
        actions = () if text is None else (SendText(text),)
        self.auditor.told(Step(events, actions, deadline), None, None)

    def send(self, update: BalanceUpdate | OrderUpdate, number: int) -> None:
        """The exchange sends it."""
        what = update.order if isinstance(update, OrderUpdate) else update.balance
        assert update.ts is not None
        publication = Publication(1, update.topic, update.ts, what)
        self.auditor.published(self.link, publication, number)

    def hear(self, update: BalanceUpdate | OrderUpdate, number: int) -> None:
        self.auditor.told(Step((update,)), self.link, Frame("text", "", number))

    def close(self) -> None:
        self.auditor.close_called()
        self.tell(Closed(None))


def update(serial: int) -> BalanceUpdate:
    return BalanceUpdate(Balance("ETH", Decimal(serial), Decimal(0)), serial)


def cancelled(serial: int) -> OrderUpdate:
    message = decode(order(status=int(OrderStatus.CANCELED)))
    assert isinstance(message, OrderUpdate)
    return evolve(message, order=evolve(message.order, deal_money=Decimal(serial)))


def up(feed: Feed) -> None:
    """Connected, and the application knows."""
    event = Connected(1)
    feed.tell(event)
    feed.auditor.taken(event)


def asked(feed: Feed, text: str = REQUEST) -> None:
    feed.tell(Connected(1))
    feed.tell(text=text)


def fail_first(feed: Feed, retry_in: float | None, attempt: int = 1) -> None:
    feed.tell(Disconnected(REFUSED, retry_in, 0, attempt))


def close_slowly(feed: Feed) -> None:
    feed.auditor.close_called()
    feed.world.run(1000.0)
    feed.auditor.finished()


def leave_a_deadline(feed: Feed) -> None:
    feed.close()
    feed.tell(deadline=1.0)


def speak_after_the_end(feed: Feed) -> None:
    feed.close()
    feed.tell(Connected(1))


def end_without_a_loss(feed: Feed) -> None:
    feed.tell(Closed(REFUSED))


def end_unasked(feed: Feed) -> None:
    feed.tell(Closed(None))


def speak_behind_the_end(feed: Feed) -> None:
    feed.auditor.close_called()
    feed.tell(Closed(None), Connected(1))


def deliver_twice(feed: Feed) -> None:
    event = Connected(1)
    feed.tell(event)
    feed.auditor.taken(event)
    feed.auditor.taken(event)


def ask_twice_with_one_id(feed: Feed) -> None:
    asked(feed)
    feed.tell(text=REQUEST)


def wait_for_ever(feed: Feed) -> None:
    asked(feed)
    feed.world.run(1000.0)
    feed.tell()


def dial_too_soon(feed: Feed) -> None:
    feed.auditor.jitter = 1.0
    fail_first(feed, 0.5)
    feed.auditor.told(Step((), (FetchToken(),)), None, None)


def lose_an_event(feed: Feed) -> None:
    feed.tell(Connected(1))
    feed.auditor.all_is_calm()


def lose_a_loss(feed: Feed) -> None:
    fail_first(feed, 0.0)
    feed.auditor.all_is_calm()


def leave_the_last_state_out(feed: Feed) -> None:
    up(feed)
    for number in 1, 2:
        feed.send(cancelled(number), number)
        feed.hear(cancelled(number), number)
    feed.auditor.all_is_calm()


def leave_a_state_out_in_silence(feed: Feed) -> None:
    up(feed)
    latest = update(2)
    for number, event in enumerate((update(1), latest), 1):
        feed.send(event, number)
        feed.hear(event, number)
    feed.auditor.taken(latest)


def deliver_again(feed: Feed) -> None:
    up(feed)
    feed.send(update(1), 1)
    feed.hear(update(1), 1)
    feed.hear(update(1), 1)


def make_an_update_up(feed: Feed) -> None:
    up(feed)
    feed.hear(update(1), 1)


def skip_an_update(feed: Feed) -> None:
    up(feed)
    for number in 1, 2, 3:
        feed.send(update(number), number)
    feed.hear(update(1), 1)
    feed.hear(update(3), 3)


def never_deliver(feed: Feed) -> None:
    up(feed)
    feed.send(update(1), 1)
    feed.hear(update(1), 1)
    feed.send(update(2), 2)
    feed.auditor.all_is_calm()


def keep_too_much(feed: Feed) -> None:
    feed.tell(Connected(1))
    feed.tell(Malformed("no JSON", "", "x" * 100_000, 100_000))


def call_it_unexpected(feed: Feed) -> None:
    feed.tell(Connected(1))
    feed.auditor._requests.active.add(BALANCE)
    feed.tell(UnexpectedUpdate(update(1)))


def misplace_a_gap(feed: Feed) -> None:
    up(feed)
    feed.tell(Gap(ORDERS, 1, 2, 1))


def make_an_answer_up(feed: Feed) -> None:
    up(feed)
    feed.tell(Subscribed(ORDERS, 1, 1))


def lose_a_good_connection(feed: Feed) -> None:
    up(feed)
    feed.auditor.told(Step((Disconnected(REFUSED, 0.0, 1, 1),)), feed.link, None)


def keep_a_deadline(feed: Feed) -> None:
    feed.close()
    feed.auditor.must_be_closed(1.0, is_finished=True)


def say_nothing_of_a_frame(feed: Feed) -> None:
    up(feed)
    feed.auditor.told(Step(), feed.link, Frame("text", "{}", 1))


def answer_no_ping(feed: Feed) -> None:
    up(feed)
    feed.auditor.told(Step(), feed.link, Frame("text", "ping", 1))


def speak_of_another_connection(feed: Feed) -> None:
    up(feed)
    feed.tell(Subscribed(ORDERS, 1, 2))


def ask_too_much(feed: Feed) -> None:
    up(feed)
    for number in range(100):
        feed.tell(text=REQUEST.replace("1", str(number), 1))


def announce_for_nothing(feed: Feed) -> None:
    plan = evolve(PLAN, config=SessionConfig(delivery=DeliveryPolicy.CONFLATE))
    feed = Feed(plan)
    feed.auditor.taken(Conflated(1))
    feed.auditor.all_is_calm()


def try_a_refused_token_again(feed: Feed) -> None:
    feed = Feed(evolve(PLAN, supplies=()))
    dial = Connect(Endpoint(), Token("refused"), 10.0, 1000)
    feed.auditor.told(Step((), (FetchToken(),)), None, None)
    feed.auditor.told(Step((), (dial,)), None, None)
    refused = Failure(FailureKind.HANDSHAKE, status=401)
    feed.tell(Disconnected(refused, 0.0, 0, 1))
    feed.auditor.told(Step((), (dial,)), None, None)


def interrupted(feed: Feed) -> None:
    """Something was heard of a topic, and then the connection was lost."""
    feed.streams.subscribed(ORDERS, 5, None, 1, 1)
    feed.streams.broken()


def gap_for_nothing(feed: Feed) -> None:
    feed.streams.subscribed(ORDERS, 5, Gap(ORDERS, 1, 5, 1), 1, 1)


def no_gap(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, None, 2, 2)


def gap_without_an_end(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, Gap(ORDERS, 5, None, 2), 2, 2)


def gap_that_begins_later(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, Gap(ORDERS, 6, 9, 2), 2, 2)


def gap_that_begins_long_before(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, Gap(ORDERS, 4, 9, 2), 2, 2)


def gap_that_ends_early(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, Gap(ORDERS, 5, 8, 2), 2, 2)


def gap_that_ends_long_after(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, Gap(ORDERS, 5, 10, 2), 2, 2)


def gap_that_ends_before_it_begins(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 3, Gap(ORDERS, 5, 3, 2), 2, 2)


def gap_without_a_beginning(feed: Feed) -> None:
    interrupted(feed)
    feed.streams.subscribed(ORDERS, 9, Gap(ORDERS, None, 9, 2), 2, 2)


BROKEN: list[tuple[str, Callable[[Feed], Any], str]] = [
    ("I1", lambda feed: feed.auditor.taken(Conflated(1)), "unasked"),
    ("I1", deliver_twice, "twice"),
    ("I1", misplace_a_gap, "wrong place"),
    ("I1", announce_for_nothing, "0 updates left out, and 1 announced"),
    ("I1", say_nothing_of_a_frame, "nothing comes of"),
    ("I1", gap_for_nothing, "never interrupted"),
    ("I1", no_gap, "there is no Gap"),
    ("I1", gap_without_an_end, "is not said"),
    ("I1", gap_without_a_beginning, "is not said"),
    ("I1", gap_that_begins_later, "begins later"),
    ("I1", gap_that_begins_long_before, "begins long before"),
    ("I1", gap_that_ends_early, "before the acknowledgement"),
    ("I1", gap_that_ends_long_after, "ends long after"),
    ("I1", gap_that_ends_before_it_begins, "before it begins"),
    ("I3", try_a_refused_token_again, "refused is tried again"),
    ("I4", lambda feed: feed.auditor.waiting(1_000_000, has_waiters=False), "events wait"),
    ("I4", ask_too_much, "requests wait"),
    ("I5", keep_a_deadline, "deadline is left"),
    ("I5", lambda feed: feed.tell(RequestTimedOut(ORDERS, "sub_orders", 1.0, 0)), "no connection"),
    ("I5", speak_of_another_connection, "not of the present"),
    ("alive", lose_a_good_connection, "nothing was wrong"),
    ("ping", answer_no_ping, "is answered with"),
    ("ping", lambda feed: feed.auditor.unanswered(feed.link, is_reading=True, can_know=False),
     "healthy connection"),
    ("I1", lose_an_event, "has lost"),
    ("I1", lose_a_loss, "has lost"),
    ("I1", leave_the_last_state_out, "last state"),
    ("I1", leave_a_state_out_in_silence, "in silence"),
    ("I1", deliver_again, "twice or out of order"),
    ("I1", make_an_update_up, "not sent"),
    ("I1", skip_an_update, "left out without a Gap"),
    ("I1", never_deliver, "neither delivered"),
    ("I1", call_it_unexpected, "called unexpected"),
    ("I4", keep_too_much, "keeps more"),
    ("I2", lambda feed: feed.auditor.unsettled(), "desired"),
    ("I2", lambda feed: feed.auditor.unanswered_call("subscribe"), "still waits"),
    ("I2", lambda feed: feed.tell(Unsubscribed(ORDERS, None, 0)), "still desired"),
    ("I2", lambda feed: asked(feed, REQUEST.replace("orders", "balance")), "nobody wants"),
    ("I2", make_an_answer_up, "no answer"),
    ("I3", lambda feed: fail_first(feed, None), "for no reason"),
    ("I3", lambda feed: fail_first(feed, 0.0, attempt=2), "this is attempt 1"),
    ("I3", lambda feed: fail_first(feed, 7.0), "are due"),
    ("I3", dial_too_soon, "not due"),
    ("I5", leave_a_deadline, "deadline is left"),
    ("I5", speak_after_the_end, "after Closed"),
    ("I5", speak_behind_the_end, "after Closed"),
    ("I5", end_without_a_loss, "no Disconnected"),
    ("I5", lambda feed: feed.auditor.nowhere_to_send(), "without a connection"),
    ("I5", lambda feed: feed.tell(Connected(2)), "out of order"),
    ("I5", lambda feed: feed.tell(Conflated(1)), "conflates nothing"),
    ("I5", lambda feed: feed.tell(Disconnected(REFUSED, 0.0, 3, 1)), "not the present"),
    ("I5", lambda feed: feed.tell(text=REQUEST), "request without"),
    ("I5", ask_twice_with_one_id, "used again"),
    ("I6", lambda feed: feed.tell(text=SECRET), "token is sent"),
    ("I6", lambda feed: feed.auditor.told(
        Step((Malformed("no JSON", "", SECRET, 9),), ()), None, None), "token is in a"),
    ("I7", close_slowly, "close took"),
    ("I7", end_unasked, "not what was asked"),
    ("I7", lambda f: f.auditor.must_be_closed(None, is_finished=True), "has not ended"),
    ("alive", lambda feed: feed.auditor.half_open(), "half-open"),
    ("alive", wait_for_ever, "awaited"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "broken", "what"), BROKEN)
def test_a_broken_rule_is_named(rule: str, broken: Callable[[Feed], Any], what: str) -> None:
    with pytest.raises(Violation, match=what) as caught:
        broken(Feed())
    assert caught.value.rule == rule
    assert SECRET not in str(caught.value)


def ended_late(*, peers: tuple[int, ...]) -> None:
    """An update is sent to these connections after the exchange ended the topic on the second one,
    and before its acknowledgement was sent there."""
    feed = Feed()
    feed.streams.subscribed(ORDERS, 5, None, 1, 1)
    feed.streams.broken()
    feed.streams.subscribed(ORDERS, 6, Gap(ORDERS, 5, 6, 2), 2, 2)
    for peer in peers:
        feed.streams.sent(ORDERS, 1, 8, 4, peer)
    feed.streams.ended(ORDERS, 5, None, until_ts=7, peer=2)


def test_an_update_to_a_half_open_connection_is_not_owed_after_the_end_of_its_topic() -> None:
    ended_late(peers=(1,))
    with pytest.raises(Violation, match="neither delivered nor covered"):
        ended_late(peers=(1, 2))
