"""Orders that were made and closed while nobody listened are told afterwards, once."""

import json
from typing import Any

import pytest

from accounts import order
from http_exchange import Client, World, row
from topone_proto import ORDERS, SessionState
from topone_proto.account import (
    AccountConfig,
    AggregatedFill,
    FetchFailed,
    FetchKind,
    HistoryQuery,
    Knowledge,
    OrderChanged,
    OutcomeUnknown,
    _forgotten,
)
from topone_proto.account import _catching_up as catching_up
from topone_proto.account._missed import MissedOrders
from topone_proto.wire.http import HttpResponse

HISTORY = "/t/v1/order/history"
LATE = 120.0


def whole(*closed: int, **settings: Any) -> tuple[World, Client]:
    """A whole account, and the orders that had closed before anybody followed it."""
    client_settings = settings.pop("client", {})
    world = World(**settings)
    world.exchange.open(1)
    for number in closed:
        trade(world, number)
    client = world.client(**client_settings)
    world.run(10.0, lambda: client.is_whole and query(client) is None)
    assert client.is_whole
    return world, client


def query(client: Client) -> HistoryQuery | None:
    return client.machine.account.history_query


def trade(world: World, number: int) -> None:
    """An order is made, filled in part, and cancelled."""
    world.exchange.open(number)
    world.exchange.fill(number)
    world.exchange.cancel(number)


def gap(world: World, client: Client, *numbers: int, seconds: float = 0.0) -> None:
    """The connection is lost, and orders are made and closed meanwhile."""
    client.hang_up()
    for number in numbers:
        trade(world, number)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole
    world.run(seconds)


def told(client: Client) -> list[int]:
    """The orders whose only news was their end."""
    return [
        change.after.id
        for change in client.of(OrderChanged)
        if change.before is None and change.after.is_closed
    ]


def filled(client: Client) -> list[tuple[int, bool]]:
    return [(fill.order.id, fill.healed) for fill in client.of(AggregatedFill)]


def test_an_order_made_and_closed_in_a_gap_is_told_with_its_fill_once() -> None:
    world, client = whole()
    gap(world, client, 2, seconds=300.0)
    [change] = [each for each in client.of(OrderChanged) if each.after.id == 2]
    assert (change.before, change.healed, change.ts) == (None, True, None)
    assert change.after.is_closed
    assert filled(client) == [(2, True)]
    assert client.machine.account.order(2).value == change.after
    assert query(client) is None


def test_what_had_closed_before_the_account_was_followed_is_no_news() -> None:
    world, client = whole(2, 3, 4)
    gap(world, client, 5, seconds=300.0)
    assert told(client) == [5]
    assert [number for number, _ in filled(client)] == [5]


def test_it_is_whole_before_it_has_caught_up() -> None:
    world, client = whole()
    calls = len(world.exchange.calls)
    gap(world, client, 2)
    assert HISTORY not in [path for _, path in world.exchange.calls[calls:]]
    assert told(client) == []
    world.run(5.0)
    assert told(client) == [2]


def test_an_order_that_the_history_has_late_is_told_by_the_second_reading() -> None:
    world, client = whole(history_delay=60.0)
    world.run(100.0)
    gap(world, client, 2, seconds=30.0)
    assert told(client) == []
    world.run(LATE)
    assert told(client) == [2]


def test_another_gap_hides_nothing_of_the_first() -> None:
    world, client = whole()
    client.hang_up()
    trade(world, 2)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(60.0, lambda: client.machine.session.state is SessionState.CONNECTED)
    world.run(0.5)
    world.exchange.open(3)  # the stream tells a larger id before anything is whole
    world.run(1.0)
    assert client.machine.account.order(3).value is not None
    assert not client.is_whole
    gap(world, client, 4, seconds=300.0)
    assert sorted(told(client)) == [2, 4]
    assert sorted(filled(client)) == [(2, True), (4, True)]


def test_what_only_an_answer_told_hides_nothing() -> None:
    world, client = whole()
    world.exchange.drops, world.is_stream_lossy = "orders", True  # a stream that is dead already
    trade(world, 2)
    world.exchange.open(3)
    client.feed(client.machine.refresh)
    world.run(10.0)
    assert client.machine.account.order(3).value is not None
    world.exchange.drops = ""
    gap(world, client, seconds=300.0)
    assert told(client) == [2]


def test_a_loss_while_something_is_in_doubt_is_one() -> None:
    world, client = whole()
    before = row(world.exchange.orders[1])
    world.exchange.fill(1, 4)
    world.run(1.0)
    client.publish(json.dumps({"method": "sub_orders", "ts": world.exchange.ts, "data": before}))
    world.run(0.5)
    assert client.machine.account.knowledge(ORDERS) is Knowledge.STALE
    gap(world, client, 2, seconds=300.0)
    assert told(client) == [2]


def test_a_gap_before_the_first_whole_picture_is_no_gap() -> None:
    world = World()
    world.exchange.fault("503", 20.0, "order")
    client = world.client()
    world.run(5.0)
    gap(world, client, 2, seconds=300.0)
    assert told(client) == []


def test_an_update_that_cannot_be_read_is_a_loss() -> None:
    world, client = whole()
    world.exchange.drops = "orders"
    trade(world, 2)
    world.exchange.drops = ""
    client.receive(client.connection, '{"method": "sub_orders", "ts": 1, "data": 5}')
    assert client.machine.account.knowledge(ORDERS) is Knowledge.STALE
    world.run(60.0)
    assert told(client) == [2]


def test_many_pages_are_read_down_to_the_floor() -> None:
    world, client = whole(2, 3, page_cap=500, history_cap=20)
    gap(world, client, *range(4, 64), seconds=300.0)
    assert told(client) == list(range(4, 64))


def lost(*closed: int, **settings: Any) -> tuple[World, Client]:
    """An account that has given up the order 1. Before, these were made and closed; meanwhile, 51
    and 52."""
    client_settings = {"account_config": AccountConfig(max_tries=1)}
    world, client = whole(*closed, client=client_settings, history_cap=2, **settings)
    world.exchange.open(50)
    world.run(1.0)
    client.hang_up()
    world.exchange.fill(1)
    world.exchange.cancel(1)
    trade(world, 51)
    trade(world, 52)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(100.0, lambda: client.is_whole and client.of(OutcomeUnknown) != [])
    assert [each.order.id for each in client.of(OutcomeUnknown)] == [1]
    return world, client


def test_an_order_of_an_unknown_outcome_is_looked_for_below_the_floor() -> None:
    world, client = lost(2, 3, history_delay=60.0)
    world.run(2 * LATE)
    assert query(client) is None
    assert sorted(filled(client)) == [(1, True), (51, True), (52, True)]
    assert client.machine.account.unknown_outcomes().value == {}


def test_the_history_is_not_read_to_its_end_for_an_order_of_an_unknown_outcome() -> None:
    world, client = lost(*range(2, 40), lacks=frozenset({1}))
    before = len(world.exchange.calls)
    world.run(2 * LATE)
    assert query(client) is None
    assert list(client.machine.account.unknown_outcomes().value) == [1]
    pages = [path for _, path in world.exchange.calls[before:] if path == HISTORY]
    # Twice: one page with what was missed, one at the floor, and four beyond it.
    assert len(pages) == 2 * 6


def test_more_pages_than_are_read_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "_MAX_PAGES", 2)
    world, client = whole(history_cap=20)
    gap(world, client, *range(2, 62), seconds=300.0)
    [failed] = client.of(FetchFailed)
    assert failed.kind is FetchKind.HISTORY
    assert failed.retry_in is None
    assert "more finished orders than 2 pages" in failed.problem
    assert told(client) == list(range(22, 62))
    assert query(client) is None


def test_a_row_that_cannot_be_read_is_reported() -> None:
    world, client = whole()
    body = json.dumps({"code": 0, "data": {"pageMark": 0, "list": [{"id": "x"}]}}).encode()
    world.exchange.odd = lambda path: HttpResponse(200, body) if path == HISTORY else None
    gap(world, client, 2, seconds=300.0)
    [failed] = client.of(FetchFailed)
    assert failed.retry_in is None
    assert "cannot be read" in failed.problem


def test_a_history_that_fails_is_asked_again_and_holds_nothing_up() -> None:
    world, client = whole()
    world.exchange.fault("503", world.now + 200.0, "history")
    gap(world, client, 2, seconds=30.0)
    failures = client.of(FetchFailed)
    assert failures
    assert {failed.kind for failed in failures} == {FetchKind.HISTORY}
    gap(world, client, 3)
    world.run(600.0)
    assert sorted(told(client)) == [2, 3]


def test_what_was_told_and_forgotten_is_not_told_again() -> None:
    world, client = whole(client={"max_closed": 1})
    gap(world, client)
    # After the loss, and before the history is read again.
    for number in (2, 3, 4):
        trade(world, number)
    world.run(300.0)
    ends = [c.after.id for c in client.of(OrderChanged) if c.after.is_closed]
    assert ends == [2, 3, 4]
    assert [number for number, _ in filled(client)] == [2, 3, 4]


def test_numbers_of_forgotten_orders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_forgotten, "_MAX_FORGOTTEN", 4)
    orders = MissedOrders()
    orders.start_from([10])
    orders.lose(1)
    for number in (11, 12, 13, 5, 11):
        orders.forget(order(number), has_ended=number != 12)
    orders.forget(order(14), has_ended=True)  # instead of 5, which is older than the account
    assert orders.query == HistoryQuery(10, 1)
    orders.forget(order(15), has_ended=True)
    assert orders.query == HistoryQuery(11, 1)
    assert [orders.includes(number) for number in (10, 11, 12, 15, 16)] == [False] * 4 + [True]
    assert [orders.has_ended(number) for number in (5, 11, 12, 13, 16)] == [
        *(False, False, False),
        *(True, False),
    ]
    orders.caught_up()
    assert not orders.includes(16)
    assert orders.has_ended(13)


def test_the_budget_of_an_application_is_not_exceeded() -> None:
    config = AccountConfig(order_calls_per_minute=3)
    world, client = whole(client={"account_config": config})
    for number in range(2, 8):
        gap_or_wait(world, client, number)
    world.run(600.0)
    assert not world.exchange.violations
    assert client.machine.account.knowledge(ORDERS) is Knowledge.WHOLE
    assert sorted(told(client)) == list(range(2, 8))


def gap_or_wait(world: World, client: Client, number: int) -> None:
    client.hang_up()
    trade(world, number)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(90.0)
