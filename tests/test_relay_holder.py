"""One account on one machine: the lease by the machine's own clock, and what is published."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from accounts import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    BusAnomaly,
    Closed,
    ConfigurationError,
    Connected,
    Disconnected,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    Order,
    OrderStatus,
    OrderUpdate,
    Snapshot,
    Subscribed,
    TakenOver,
    Unsubscribed,
)
from topone_proto.account import Account, FetchFailed, FetchKind, Knowledge, OrdersQuery
from topone_proto.relay import (
    Acquire,
    CloseAccount,
    Cursor,
    Holder,
    HolderState,
    ItemsDropped,
    LeaseAcquired,
    LeaseEnded,
    LeaseUnsure,
    OpenAccount,
    Publish,
    RelayConfig,
    RelayStep,
    Release,
    Renew,
    decode_envelope,
)
from topone_proto.wire.depth import FAMILY as DEPTH_FAMILY

LOST = Failure(FailureKind.LOST)
BOOK: Any = DEPTH_FAMILY.example
START = (Connected(1), Subscribed(ORDERS, 1000, 1), Subscribed(BALANCE, 1000, 1))
WHOLE = Knowledge.WHOLE


def money(amount: int, ts: int = 1001) -> BalanceUpdate:
    return BalanceUpdate(Balance("ETH", Decimal(amount), Decimal(0)), ts)


class Machine:
    """A holder with its account, and a bus that does what it is told."""

    def __init__(self, **settings: Any) -> None:
        self.account = Account()
        self.config = RelayConfig(**settings)
        self.holder = Holder("main", config=self.config, snapshot=self.account.snapshot)
        self.now = 100.0
        self.step = RelayStep()
        self.sent: list[Publish] = []
        self.events: list[Any] = []

    def do(self, act: Callable[..., RelayStep], *what: Any) -> list[Any]:
        """Tell the holder something at the present time; return what it asks for."""
        self.step = act(*what, self.now)
        self.sent += [action for action in self.step.actions if isinstance(action, Publish)]
        self.events += self.step.events
        assert self.step.deadline is None or self.step.deadline > self.now
        return list(self.step.actions)

    def at(self, now: float) -> list[Any]:
        """Let the time come."""
        while self.step.deadline is not None and self.step.deadline <= now:
            self.now = self.step.deadline
            actions = self.do(self.holder.deadline_reached)
            if actions:
                return actions
        self.now = now
        return self.do(self.holder.deadline_reached)

    def hold(self, epoch: int = 1) -> list[Any]:
        assert self.do(self.holder.start) == [Acquire("main")]
        return self.do(self.holder.acquired, epoch)

    def tell(self, *events: Any) -> list[Any]:
        """The feed tells these, each as a step."""
        actions: list[Any] = []
        for event in events:
            actions += self.do(self.holder.told, (event, *self.account.apply(event)))
        return actions

    def heal(self, *orders: Order, balances: tuple[Balance, ...] = (money(1).balance,)) -> None:
        """HTTP answers every question."""
        for query in self.account.ask():
            if isinstance(query, OrdersQuery):
                found = orders if query.ids is None else [o for o in orders if o.id in query.ids]
                changes = self.account.answer(query, found, pages=1)
            else:
                changes = self.account.answer(query, balances)
            self.do(self.holder.told, changes)

    def deliver(self) -> None:
        """The bus takes every message."""
        while self.holder._publisher._message is not None:
            self.do(self.holder.published)

    def seen(self) -> list[Any]:
        """Return what a consumer is told of all that was sent."""
        cursor = Cursor()
        return [event for message in self.sent for event, _ in cursor.received(message.data)]


def kinds(message: Publish) -> list[str]:
    return [item.kind for item in decode_envelope(message.data).items]


def whole(**settings: Any) -> Machine:
    """A machine that holds a whole account, of which everything was published."""
    machine = Machine(**settings)
    machine.hold()
    machine.deliver()
    machine.tell(*START)
    machine.heal(order(1))
    machine.deliver()
    return machine


# --- the lease ------------------------------------------------------------------------------------


def test_the_first_message_opens_the_epoch_before_the_account_is_open() -> None:
    machine = Machine()
    [message, opening] = machine.hold(epoch=7)
    assert isinstance(message, Publish)
    assert (message.epoch, message.number, message.has_snapshot) == (7, 1, False)
    assert kinds(message) == ["opened"]
    assert opening == OpenAccount("main")
    assert machine.events == [LeaseAcquired("main", 7)]
    assert machine.holder.state is HolderState.HOLDING
    assert machine.holder.epoch == 7


def test_a_lease_of_another_is_asked_for_again_and_again() -> None:
    machine = Machine(acquire_interval=2)
    machine.do(machine.holder.start)
    assert machine.do(machine.holder.not_acquired) == []
    assert machine.at(101.9) == []
    assert machine.at(102.0) == [Acquire("main")]
    assert machine.do(machine.holder.acquire_failed, "bus away") == []
    assert machine.at(104.0) == [Acquire("main")]
    assert machine.do(machine.holder.start) == []


def test_a_lease_is_renewed_a_third_of_its_time_after_it_was_asked_for() -> None:
    machine = Machine()
    machine.do(machine.holder.start)
    machine.now = 101.0  # the answer takes a second
    machine.do(machine.holder.acquired, 1)
    machine.deliver()
    assert machine.step.deadline == pytest.approx(100 + 10 / 3)
    assert machine.at(100 + 10 / 3) == [Renew("main", 1)]
    machine.do(machine.holder.renewal_failed, "bus away")
    assert machine.at(104) == [Renew("main", 1)]
    machine.do(machine.holder.renewed)
    assert machine.holder._lease.usable_until == pytest.approx(100 + 10 / 3 + 0.5 + 8)


def test_nothing_is_published_once_the_lease_has_run_out_by_the_holders_clock() -> None:
    machine = whole()
    machine.now = 107.9
    [renewal, message] = machine.tell(money(2))
    assert (type(renewal), type(message)) == (Renew, Publish)
    machine.do(machine.holder.published)
    # Counted from before the lease was asked for, less the margin.
    machine.now = 108.0
    assert machine.tell(money(3)) == []
    assert machine.holder.state is HolderState.UNSURE
    assert machine.events[-1] == LeaseUnsure("main", 1)
    assert machine.holder.is_open
    assert machine.holder.waiting == 1
    # The renewal that was under way is granted: too late for the answer to count.
    machine.now = 117.0
    assert machine.do(machine.holder.renewed) == [Renew("main", 1)]
    assert machine.holder.state is HolderState.UNSURE
    # This one is not, and the epoch goes on where it was.
    [message] = machine.do(machine.holder.renewed)
    assert isinstance(message, Publish)
    assert machine.events[-1] == LeaseAcquired("main", 1)
    assert machine.seen()[-1] == money(3)
    assert not [event for event in machine.seen() if isinstance(event, Gap | TakenOver)]


def test_an_account_stays_open_while_the_bus_is_away_but_not_for_ever() -> None:
    machine = whole(keep_open=60)
    machine.at(103.4)
    machine.at(107.9)
    assert machine.at(108) == []
    assert machine.at(167) == []
    assert machine.at(168) == [CloseAccount("main"), Acquire("main")]
    assert machine.events[-1] == LeaseEnded("main", 1, "the bus did not answer for too long")
    assert not machine.holder.is_open


def test_a_lease_that_is_refused_is_asked_for_anew_before_the_account_is_closed() -> None:
    machine = whole()
    machine.at(103.4)
    assert machine.do(machine.holder.renewal_refused) == [Acquire("main")]
    assert machine.events[-1] == LeaseEnded("main", 1, "the bus refused to renew it")
    machine.tell(money(2))
    # Nobody had it: the account is still open, and what consumers need to know of it is told.
    [message] = machine.do(machine.holder.acquired, 2)
    assert (message.epoch, message.number) == (2, 1)
    assert kinds(message) == [
        *("opened", "Connected", "Subscribed", "Gap", "Subscribed", "Gap"),
    ]
    machine.deliver()
    assert machine.sent[-1].has_snapshot
    # The balance was told after its acknowledgement, and is missing in this epoch.
    assert machine.seen()[-9:] == [
        TakenOver("main", 2),
        START[0],
        START[1],
        Gap(ORDERS, 1000, 1000, 1),
        Gap(ORDERS, None, 1001, 1),
        START[2],
        Gap(BALANCE, 1000, 1000, 1),
        Gap(BALANCE, None, 1001, 1),
        machine.account.snapshot(),
    ]


def test_an_account_is_closed_once_another_machine_has_it() -> None:
    machine = whole()
    machine.at(103.4)
    machine.do(machine.holder.renewal_refused)
    assert machine.do(machine.holder.not_acquired) == [CloseAccount("main")]
    # What it still says is not told.
    assert machine.do(machine.holder.told, (money(2),)) == []
    assert machine.at(105) == [Acquire("main")]


def test_a_holder_that_is_fenced_closes_at_once() -> None:
    machine = whole()
    [message] = machine.tell(money(2))
    assert machine.do(machine.holder.fenced) == [CloseAccount("main")]
    assert machine.events[-1] == LeaseEnded("main", 1, "another machine has taken over")
    assert machine.holder.state is HolderState.TRYING
    assert machine.at(101) == [Acquire("main")]
    [opened, _] = machine.do(machine.holder.acquired, 3)
    assert opened.epoch == 3
    assert message.epoch == 1


def test_an_answer_about_a_message_of_an_older_lease_is_not_believed() -> None:
    machine = whole()
    [message] = machine.tell(money(2))
    machine.do(machine.holder.fenced)
    machine.at(101)
    machine.do(machine.holder.acquired, 3)
    machine.tell(*START)
    for late in (
        machine.holder.published(machine.now, message),
        machine.holder.publish_failed("late", machine.now, message),
        machine.holder.fenced(machine.now, message),
    ):
        assert late.actions == ()
        assert late.events == ()
    assert machine.holder.epoch == 3


def test_late_answers_about_a_lease_that_has_ended_change_nothing() -> None:
    machine = whole()
    machine.do(machine.holder.release)
    machine.deliver()
    assert machine.holder.state is HolderState.IDLE
    for act in (
        machine.holder.renewed,
        machine.holder.renewal_refused,
        machine.holder.fenced,
        machine.holder.published,
    ):
        assert machine.do(act) == []
    assert machine.do(machine.holder.renewal_failed, "late") == []
    assert machine.do(machine.holder.account_ended, LOST) == []
    assert machine.step.deadline is None


def test_a_lease_that_is_granted_too_late_or_not_wanted_any_more_is_given_back() -> None:
    machine = Machine()
    machine.do(machine.holder.start)
    machine.now = 108
    assert machine.do(machine.holder.acquired, 1) == [Release("main", 1)]
    assert isinstance(machine.events[-1], LeaseEnded)
    assert machine.at(109) == [Acquire("main")]
    assert machine.do(machine.holder.release) == []
    assert machine.do(machine.holder.acquired, 2) == [Release("main", 2)]
    assert machine.holder.state is HolderState.IDLE
    assert machine.step.deadline is None


def test_a_release_publishes_what_waits_and_says_that_nobody_follows() -> None:
    machine = whole()
    machine.tell(money(2))
    machine.tell(money(3))
    assert machine.do(machine.holder.release) == [CloseAccount("main")]
    assert machine.do(machine.holder.release) == []
    [message] = machine.do(machine.holder.published)
    assert kinds(message) == ["BalanceUpdate", "Disconnected"]
    assert machine.do(machine.holder.published) == [Release("main", 1)]
    assert machine.events[-1] == LeaseEnded("main", 1, "it was released")
    copy = Account()
    for event in machine.seen():
        copy.apply(event)
    assert copy.knowledge(BALANCE) is Knowledge.STALE
    assert copy.balance("ETH").value == money(3).balance
    # And it can be taken up again.
    assert machine.do(machine.holder.start) == [Acquire("main")]


def test_an_account_that_is_wanted_again_while_it_is_released_is_for_others_first() -> None:
    machine = whole()
    machine.tell(money(2))
    machine.do(machine.holder.release)
    assert machine.do(machine.holder.start) == []
    machine.deliver()
    assert machine.events[-1] == LeaseEnded("main", 1, "it was released")
    assert machine.holder.state is HolderState.TRYING
    assert machine.at(100.9) == []
    assert machine.at(101) == [Acquire("main")]


@pytest.mark.parametrize("state", ["releasing", "unsure", "trying", "refused"])
def test_a_release_while_the_bus_is_away_gives_the_lease_back(state: str) -> None:
    machine = whole()
    if state == "releasing":
        machine.tell(money(2))
        machine.do(machine.holder.release)
        assert machine.at(108) == [Renew("main", 1)]
        assert machine.at(108) == [Release("main", 1)]
    elif state == "refused":
        machine.do(machine.holder.release)
        machine.at(104)
        assert machine.do(machine.holder.renewal_refused) == []
    elif state == "unsure":
        machine.at(104)
        machine.at(108)
        assert machine.holder.state is HolderState.UNSURE
        actions = machine.do(machine.holder.release)
        assert actions == [Release("main", 1), CloseAccount("main")]
    else:
        machine.at(103.4)
        machine.do(machine.holder.renewal_refused)
        assert machine.do(machine.holder.release) == [CloseAccount("main")]
    assert machine.holder.state is HolderState.IDLE
    assert not machine.holder.is_open


def test_an_account_that_ends_by_itself_is_handed_over() -> None:
    machine = whole()
    failure = Failure(FailureKind.TOKEN)
    machine.tell(Closed(failure))
    assert machine.do(machine.holder.account_ended, failure) == []
    assert machine.holder.failure == failure
    machine.do(machine.holder.published)
    assert machine.events[-1] == LeaseEnded("main", 1, "it was released")
    assert machine.seen()[-1] == Disconnected(failure, None, 1, 1)
    machine.do(machine.holder.start)
    assert machine.holder.failure is None


# --- messages -------------------------------------------------------------------------------------


def test_what_waits_goes_into_one_message() -> None:
    machine = whole()
    count = len(machine.sent)
    [first] = machine.tell(money(2))
    assert machine.tell(*[money(number) for number in range(3, 50)]) == []
    assert kinds(first) == ["BalanceUpdate"]
    [second] = machine.do(machine.holder.published)
    assert second.number == first.number + 1
    assert len(kinds(second)) == 47
    assert len(machine.sent) == count + 2
    assert [event for event in machine.seen() if isinstance(event, BalanceUpdate)] == [
        money(number) for number in range(2, 50)
    ]


def test_a_message_that_may_have_arrived_is_repeated_as_it_was() -> None:
    machine = whole()
    [message] = machine.tell(money(2))
    machine.tell(money(3))
    assert machine.do(machine.holder.publish_failed, "timeout") == []
    assert machine.at(100.4) == []
    assert machine.at(100.5) == [message]
    # Nothing more while it is under way.
    assert machine.at(100.9) == []
    [second] = machine.do(machine.holder.published)
    assert second.number == message.number + 1


def test_messages_are_filled_up_to_their_size() -> None:
    machine = whole(max_message_size=2000)
    machine.tell(*[money(number) for number in range(2, 200)])
    machine.deliver()
    assert all(len(message.data) < 2200 for message in machine.sent)
    assert [event for event in machine.seen() if isinstance(event, BalanceUpdate)] == [
        money(number) for number in range(2, 200)
    ]
    assert [message.number for message in machine.sent] == [*range(1, len(machine.sent) + 1)]


def test_an_idle_account_gives_a_sign_of_life() -> None:
    machine = whole(beat_interval=2)
    message = next(iter(machine.at(102)))
    assert isinstance(message, Publish)
    assert kinds(message) == []


def test_too_much_is_dropped_and_declared() -> None:
    machine = whole(capacity=5)
    machine.tell(money(2, 2000))
    machine.tell(*[money(number, 2000 + number) for number in range(3, 9)])
    assert machine.events[-1] == ItemsDropped("main", 6)
    assert machine.holder.dropped == 6
    # Nothing is kept until the bus is there again.
    machine.tell(money(9, 2009), Unsubscribed(ORDERS, 3000, 1))
    assert machine.holder.waiting == 0
    machine.deliver()
    assert machine.seen()[-5:] == [
        money(2, 2000),
        Gap(BALANCE, 2000, 2009, 1),
        Gap(ORDERS, 1000, None, 1),
        Unsubscribed(ORDERS, None, 1),
        machine.account.snapshot(),
    ]
    machine.tell(money(10))
    machine.deliver()
    assert machine.seen()[-1] == money(10)


def test_too_many_bytes_are_dropped_as_well() -> None:
    machine = whole(max_waiting=1000)
    machine.tell(*[money(number) for number in range(2, 20)])
    assert isinstance(machine.events[-1], ItemsDropped)


def test_a_connection_that_was_lost_while_the_bus_was_away_is_told() -> None:
    machine = whole(capacity=3)
    machine.tell(money(2))
    lost = Disconnected(LOST, 1.0, 1, 1)
    machine.tell(money(3), money(4), money(5), money(6), lost)
    machine.deliver()
    assert machine.seen()[-3:] == [lost, Gap(ORDERS, 1000, None, 1), Gap(BALANCE, 1001, None, 1)]
    again = Connected(2), Subscribed(BALANCE, 5000, 2), Gap(BALANCE, 1001, 5000, 2)
    machine.tell(*again)
    machine.deliver()
    assert machine.seen()[-3:] == [*again]


def test_a_connection_that_was_lost_and_made_while_the_bus_was_away_is_told() -> None:
    machine = whole(capacity=3)
    machine.tell(money(2))
    machine.tell(money(3), money(4), money(5), money(6), Disconnected(LOST, 1.0, 1, 1))
    machine.tell(Connected(2), Subscribed(BALANCE, 5000, 2), Gap(BALANCE, 1001, 5000, 2))
    machine.tell(Subscribed(BOOK.topic, 5001, 2))
    machine.deliver()
    assert machine.seen()[-6:] == [
        Connected(2),
        Gap(ORDERS, 1000, 5001, 2),  # it is not subscribed to again yet
        Subscribed(BALANCE, 5000, 2),
        Gap(BALANCE, 1001, 5001, 2),
        Subscribed(BOOK.topic, 5001, 2),
        Gap(BOOK.topic, None, 5001, 2),
    ]


def test_an_event_that_is_too_large_is_named_and_its_topic_has_a_gap() -> None:
    machine = whole(max_message_size=1000)
    book = attrs.evolve(BOOK, book=attrs.evolve(BOOK.book, bids=BOOK.book.bids * 100))
    machine.tell(Subscribed(book.topic, 1500, 1), book)
    large = Malformed("odd", "$", "x" * 5000, 5000, (BALANCE,))
    machine.tell(large)
    machine.deliver()
    seen = machine.seen()
    assert [event.topic for event in seen if isinstance(event, Gap)] == [book.topic, BALANCE]
    assert sum(isinstance(event, BusAnomaly) for event in seen) == 2


# --- snapshots ------------------------------------------------------------------------------------


def test_a_whole_account_is_published_as_a_snapshot_at_the_beginning_of_a_message() -> None:
    machine = whole()
    [message] = [message for message in machine.sent if message.has_snapshot]
    assert kinds(message)[0] == "snapshot"
    cursor = Cursor()
    [(snapshot, _)] = cursor.received(message.data)
    assert snapshot == machine.account.snapshot()


def test_a_snapshot_follows_after_its_interval_for_those_that_come_late() -> None:
    machine = whole(snapshot_interval=5, ttl=100, margin=1)
    assert [m.has_snapshot for m in machine.at(104.9)] == []
    [message] = machine.at(105)
    assert message.has_snapshot
    # One that waits will do.
    machine.at(200)
    assert machine.holder._publisher._snapshots <= 1


def test_a_snapshot_follows_after_a_gap_once_the_account_is_whole() -> None:
    machine = whole()
    machine.tell(Gap(ORDERS, 1000, 2000, 1))
    machine.deliver()
    assert not machine.sent[-1].has_snapshot
    machine.heal(order(1), order(2))
    machine.deliver()
    assert machine.sent[-1].has_snapshot
    assert machine.seen()[-1] == machine.account.snapshot()


def test_market_data_are_part_of_a_snapshot_while_they_are_followed() -> None:
    machine = whole(snapshot_interval=5, ttl=100, margin=1)
    topic = BOOK.topic
    machine.tell(Subscribed(topic, 1500, 1), BOOK)
    machine.deliver()
    machine.at(105)
    machine.deliver()
    [*_, snapshot] = machine.seen()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.topics == (ORDERS, BALANCE, topic)
    assert snapshot.market == (BOOK,)
    # What is old after a gap is left out.
    machine.tell(Gap(topic, 1500, 2000, 1))
    machine.deliver()
    [*_, snapshot] = machine.seen()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.market == ()


def test_what_only_an_answer_tells_is_told_by_a_snapshot() -> None:
    """An audit finds what the stream has left out: a copy has it, too."""
    machine = whole()
    machine.account.audit()
    machine.heal(order(1), balances=(money(7).balance,))
    machine.heal(order(1), balances=(money(7).balance,))
    machine.deliver()
    copy = Account()
    for event in machine.seen():
        copy.apply(event)
    assert copy.balances() == machine.account.balances()
    assert copy.balance("ETH").value == money(7).balance
    assert copy.knowledge(BALANCE) is WHOLE


def test_what_an_audit_finds_is_a_gap_for_those_who_were_told_otherwise() -> None:
    machine = whole()
    machine.tell(money(5))
    machine.account.audit()
    machine.heal(order(1), balances=(money(7).balance,))
    machine.heal(order(1), balances=(money(7).balance,))
    machine.deliver()
    *before, gap, snapshot = machine.seen()
    assert gap == Gap(BALANCE, None, None, 1)
    copy = Account()
    for event in before:
        copy.apply(event)
    assert copy.balance("ETH").value == money(5).balance
    for event in (gap, snapshot):
        copy.apply(event)
    assert copy.balance("ETH").value == money(7).balance
    assert copy.knowledge(BALANCE) is WHOLE


def test_an_account_that_is_not_whole_any_more_has_a_gap_even_if_no_event_says_so() -> None:
    """A close refutes a list that was read in pages: the stream itself has no sign of it."""
    machine = Machine()
    machine.hold()
    machine.deliver()
    machine.tell(*START)
    for query in machine.account.ask():
        found: Any = [order(1), order(2)] if isinstance(query, OrdersQuery) else []
        machine.do(machine.holder.told, machine.account.answer(query, found))
    machine.deliver()
    closes = OrderUpdate(order(1, 10, OrderStatus.COMPLETED), 1002)
    machine.tell(closes)
    machine.deliver()
    assert machine.account.knowledge(ORDERS) is Knowledge.STALE
    assert machine.seen()[-2:] == [Gap(ORDERS, None, None, 1), closes]


def test_the_end_of_the_holders_feed_is_not_that_of_its_consumers() -> None:
    machine = whole()
    machine.tell(Disconnected(LOST, None, 1, 1), Closed(LOST))
    machine.deliver()
    assert machine.seen()[-1] == Disconnected(LOST, None, 1, 1)


def test_no_snapshot_is_taken_of_an_account_that_is_handed_over() -> None:
    machine = whole(snapshot_interval=5, ttl=100, margin=1)
    machine.tell(money(2))
    machine.do(machine.holder.release)
    machine.now = 106
    machine.deliver()
    assert isinstance(machine.seen()[-1], Disconnected)


def test_snapshots_that_wait_are_bounded() -> None:
    machine = whole(ttl=1000, margin=1)
    machine.tell(money(2))
    for number in range(20):
        machine.tell(Gap(BALANCE, number, number, 1))
        machine.heal(order(1))
    assert machine.holder.waiting <= 10
    assert machine.holder.dropped
    machine.deliver()
    assert machine.seen()[-1] == machine.account.snapshot()


def test_reports_about_requests_are_not_published() -> None:
    machine = whole()
    assert machine.tell() == []
    assert machine.do(machine.holder.told, (FetchFailed(FetchKind.TOKEN, "no", 1.0),)) == []


@pytest.mark.parametrize(
    "wrong", [{"account": ""}, {"account": 5}, {"account": "main", "config": 5}]
)
def test_arguments_of_a_wrong_kind_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Holder(**wrong, snapshot=lambda: None)
