"""An account session: token, stream, questions and healing as one machine, against an exchange in
virtual time."""

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_exchange import KEYS, START, Client, World, answer, row
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    Closed,
    Connected,
    Disconnected,
    Failure,
    FailureKind,
    LocalProtocolError,
    SessionState,
    Token,
    Topic,
)
from topone_proto.account import (
    AccountConfig,
    AccountStep,
    ClockCorrected,
    Fetch,
    FetchFailed,
    FetchKind,
    Knowledge,
    KnowledgeChanged,
    LoadState,
    OutcomeUnknown,
    Resynced,
    StateNotStored,
    StoredState,
    read_state,
    write_state,
)
from topone_proto.account._budget import OrderBudget
from topone_proto.account._stored import Store
from topone_proto.account.token_service import TokenState
from topone_proto.exchange import ShiftPages
from topone_proto.wire.http import HttpResponse

TOKEN, ORDER, BALANCES = "/u/v1/api/token", "/t/v1/order/query", "/t/v1/balance/query"
HISTORY = "/t/v1/order/history"
HOUR = 3600.0


def paths(world: World) -> list[str]:
    return [path for _, path in world.exchange.calls]


def whole(**exchange: Any) -> tuple[World, Client]:
    """A world with an order and an account that is whole."""
    world = World(**exchange)
    world.exchange.open(1)
    client = world.client()
    world.run(10.0, lambda: client.is_whole)
    world.run(1.0)
    assert client.is_whole
    return world, client


def drop(world: World, client: Client) -> None:
    client.drop()
    world.run(150.0, lambda: client.is_whole)
    assert client.is_whole, world.note()


# --- healing -------------------------------------------------------------------------------------


def test_two_keys_become_a_whole_account() -> None:
    world, client = whole()
    assert list(client.machine.account.open_orders().value) == [1]
    assert paths(world) == [TOKEN, ORDER, BALANCES, HISTORY]
    assert [event.topic for event in client.of(Resynced)] == [ORDERS, BALANCE]
    assert not client.of(FetchFailed)
    assert client.machine.state is SessionState.CONNECTED


def test_500_orders_and_100_assets_heal_in_five_calls() -> None:
    world = World(page_cap=500)
    for number in range(1, 501):
        world.exchange.open(number)
    for number in range(98):
        world.exchange.set_balance(f"COIN{number}", number)
    client = world.client()
    world.run(10.0, lambda: client.is_whole)
    assert paths(world) == [TOKEN, ORDER, BALANCES]
    # And so does a gap in which orders have closed.
    client.hang_up()
    for number in range(1, 10):
        world.exchange.cancel(number)
    world.exchange.calls.clear()
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(30.0, lambda: client.is_whole)
    assert client.is_whole
    assert paths(world) == [ORDER, BALANCES, ORDER, HISTORY]


def test_pages_that_are_too_large_are_asked_for_smaller_and_remembered() -> None:
    world = World(page_cap=20, cuts_large_pages=False)
    for number in range(1, 6):
        world.exchange.open(number)
    client = world.client()
    world.run(30.0, lambda: client.is_whole)
    assert client.is_whole
    assert [event.retry_in for event in client.of(FetchFailed)] == [0.0, 0.0]
    drop(world, client)
    assert len(client.of(FetchFailed)) == 2


@pytest.mark.parametrize("fault", ["404", "10001"])
def test_a_passing_trouble_does_not_make_pages_smaller_for_good(fault: str) -> None:
    world, client = whole(page_cap=500)
    world.exchange.fault(fault, world.now + 60.0, "/t/v1/order/query")
    client.drop()
    world.run(300.0, lambda: client.is_whole)
    assert client.is_whole
    last = [fetch for fetch in client.fetches if fetch.request.path == "/t/v1/order/query"][-1]
    assert ("pageSize", "500") in last.request.query


def test_a_refusal_of_every_page_size_is_not_about_the_size() -> None:
    world = World()
    world.exchange.fault("10001", 3600.0, "/t/v1/order/query")
    client = world.client()
    world.run(900.0)
    pages = [dict(fetch.request.query).get("pageSize") for fetch in client.fetches]
    assert [size for size in pages if size is not None][:4] == ["500", "100", "20", "500"]


def test_an_order_that_closed_in_a_gap_is_found_far_down_in_the_history() -> None:
    world, client = whole(page_cap=500)
    client.hang_up()
    world.exchange.cancel(1)
    for number in range(2, 1300):
        world.exchange.open(number)
        world.exchange.cancel(number)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(60.0, lambda: client.is_whole)
    order = client.machine.account.order(1).value
    assert order is not None
    assert order.is_closed
    assert paths(world).count(HISTORY) == 1 + 3


def test_an_order_that_nobody_has_ends_as_unknown_or_is_given_up() -> None:
    world, client = whole(lacks=frozenset({1, 2}))
    world.exchange.open(2)
    world.run(1.0)
    client.hang_up()
    world.exchange.cancel(1)
    world.exchange.cancel(2)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(30.0)
    assert client.machine.account.unresolved == (1, 2)
    client.feed(lambda now: client.machine.give_up(1, now))
    assert [event.order.id for event in client.of(OutcomeUnknown)] == [1]
    world.run(400.0, lambda: client.is_whole)
    assert [event.order.id for event in client.of(OutcomeUnknown)] == [1, 2]
    assert client.is_whole


def test_a_history_that_lags_is_asked_again() -> None:
    world, client = whole(history_delay=40.0)
    client.hang_up()
    world.exchange.cancel(1)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    world.run(120.0, lambda: client.is_whole)
    assert client.is_whole
    assert not client.of(OutcomeUnknown)


def test_a_gap_restarts_the_questions() -> None:
    world = World(page_cap=2)
    for number in range(1, 8):
        world.exchange.open(number)
    client = world.client()
    world.run(10.0, lambda: paths(world).count(ORDER) == 2)
    drop(world, client)
    assert client.machine.account.knowledge(ORDERS) is Knowledge.WHOLE


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("503", "HTTP 503"),
        ("hang", "timeout"),
        ("reset", "network (reset)"),
        ("html", "no JSON object"),
        ("10005", "code 10005"),
    ],
)
def test_ten_minutes_of_trouble_are_survived_without_a_flood(kind: str, problem: str) -> None:
    world, client = whole()
    world.exchange.fault(kind, world.now + 600.0, "/t/")
    client.hang_up()
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    before = len(world.exchange.calls)
    world.run(600.0)
    assert not client.is_whole
    failures = client.of(FetchFailed)
    assert problem in failures[0].problem
    waits = [failure.retry_in for failure in failures]
    assert all(
        least <= wait <= 2 * least for least, wait in zip((0.5, 1.0, 2.0), waits, strict=False)
    )
    assert 15.0 <= waits[-1] <= 30.0
    assert 20 <= len(world.exchange.calls) - before <= 60
    assert world.run(65.0, lambda: client.is_whole) < 65.0
    assert paths(world).count(TOKEN) == 1


@pytest.mark.parametrize(("kind", "least"), [("429", 20.0), ("bare429", 60.0)])
def test_a_limit_is_obeyed(kind: str, least: float) -> None:
    world, client = whole()
    world.exchange.fault(kind, world.now + 8.0, "/t/")
    client.drop()
    world.run(5.0)
    before = len(world.exchange.calls)
    for _ in range(3):
        # Not even a wish shortens it.
        client.feed(client.machine.refresh)
    world.run(least - 5.0)
    assert len(world.exchange.calls) == before
    # A difference of two times of the clock.
    assert client.of(FetchFailed)[-1].retry_in >= least - 1e-6
    world.run(65.0, lambda: client.is_whole)
    assert client.is_whole


def test_code_10027_stops_order_calls_for_an_hour_and_nothing_else() -> None:
    world, client = whole()
    world.exchange.fault("10027", world.now + 5.0, "order")
    client.drop()
    world.run(10.0)
    blocked_at = world.exchange.order_calls[-1]
    assert client.machine.account.knowledge(BALANCE) is Knowledge.WHOLE
    assert client.of(FetchFailed)[-1].retry_in == HOUR
    # Neither another process nor a restart changes that.
    client.kill()
    client = world.client()
    world.run(HOUR - 60.0)
    assert world.exchange.order_calls[-1] == blocked_at
    assert client.machine.account.knowledge(BALANCE) is Knowledge.WHOLE
    world.run(120.0, lambda: client.is_whole)
    assert client.is_whole


def test_code_10027_for_balances_stops_everything() -> None:
    world, client = whole()
    world.exchange.fault("10027", world.now + 5.0, "/t/")
    client.drop()
    world.run(10.0, lambda: bool(client.of(FetchFailed)))
    while client.of(FetchFailed)[-1].kind is not FetchKind.BALANCES:
        world.run(1.0)
    before = len(world.exchange.calls)
    world.run(HOUR - 20.0)
    assert [path for path in paths(world)[before:] if path != TOKEN] == []


def test_the_application_shares_the_budget_of_order_calls() -> None:
    world, client = whole()
    client.feed(lambda now: client.machine.order_calls_made(8, now))
    world.exchange.application_calls(8)
    client.drop()
    world.run(30.0)
    assert client.machine.account.knowledge(BALANCE) is Knowledge.WHOLE
    assert client.machine.account.knowledge(ORDERS) is Knowledge.STALE
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole
    assert not world.exchange.violations
    client.feed(client.machine.order_calls_blocked)
    client.drop()
    world.run(HOUR - 10.0)
    assert client.machine.account.knowledge(ORDERS) is Knowledge.STALE
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole


def odd(path: str, rows: list[Any], total: int | None) -> Callable[[str], HttpResponse | None]:
    body = json.dumps({"code": 0, "data": {"list": rows, "total": total}}).encode()
    return lambda asked: HttpResponse(200, body) if asked == path else None


@pytest.mark.parametrize(
    ("path", "problem"), [(ORDER, "orders that cannot"), (BALANCES, "balances that cannot")]
)
def test_a_row_that_cannot_be_read_is_no_answer(path: str, problem: str) -> None:
    world = World()
    world.exchange.odd = odd(path, [{"id": "?"}], 1)
    client = world.client()
    world.run(60.0)
    assert not client.is_whole
    assert problem in client.of(FetchFailed)[0].problem
    world.exchange.odd = None
    world.run(65.0, lambda: client.is_whole)
    assert client.is_whole


def test_a_list_without_an_end_is_no_answer() -> None:
    world, client = whole()
    world.exchange.odd = odd(ORDER, [row(world.exchange.orders[1])], None)
    client.drop()
    world.run(900.0, lambda: bool(client.of(FetchFailed)))
    assert "does not end after 100 pages" in client.of(FetchFailed)[0].problem
    assert not world.exchange.violations


def test_a_list_without_a_total_ends_with_an_empty_page() -> None:
    world = World(has_total=False)
    world.exchange.open(1)
    client = world.client()
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole
    assert paths(world).count(ORDER) == 6


def test_a_wish_to_refresh_ends_the_back_off() -> None:
    world, client = whole()
    world.exchange.fault("503", world.now + 200.0, "/t/")
    client.drop()
    world.run(200.0)
    world.exchange.desk.clear_faults()
    client.feed(client.machine.refresh)
    world.run(1.0, lambda: client.is_whole)
    before = len(world.exchange.calls)
    assert paths(world)[before - 1] in {ORDER, BALANCES}


@pytest.mark.parametrize("works", [True, False])
def test_while_the_application_is_behind_nothing_is_asked_and_nothing_piles_up(
    works: bool,
) -> None:
    world, client = whole()
    client.feed(client.machine.reading_paused)
    world.exchange.fault("503", world.now + 2 * HOUR, "/")
    world.place.works = works
    client.feed(client.machine.refresh)
    client.feed(lambda now: client.machine.order_calls_made(1, now))
    calls, events = len(world.exchange.calls), len(client.events)
    world.run(2 * HOUR)
    assert len(world.exchange.calls) == calls
    assert len(client.events) - events == (0 if works else 1)
    # What was due meanwhile is asked then: the comparison, and a token that is too old by now.
    world.place.works = True
    client.feed(client.machine.reading_resumed)
    world.run(200.0, lambda: client.is_whole and client.machine.account.audits == 2)
    assert client.machine.account.audits == 2
    assert len(world.exchange.token_requests) == 2


def test_a_request_of_which_nobody_reports_the_end_is_given_up() -> None:
    world, client = whole()
    client.loses_answers = True
    client.drop()
    world.run(20.0, lambda: bool(client.of(FetchFailed)))
    client.loses_answers = False
    assert "timeout" in client.of(FetchFailed)[0].problem
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole


# --- audits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["orders", "balance"])
def test_an_update_that_the_stream_left_out_is_found_by_an_audit(topic: str) -> None:
    world, client = whole()
    world.exchange.drops, world.is_stream_lossy = topic, True
    world.exchange.fill(1, 4)
    world.exchange.drops = ""
    assert world.run(310.0, lambda: any(event.is_audit for event in client.of(Resynced))) < 310.0
    world.is_stream_lossy = False
    client.check()
    assert client.is_whole
    assert client.machine.account.audit_differences > 0
    # It never stopped being whole.
    assert len(client.of(Resynced)) == 3


def forbid_orders(world: World, client: Client) -> None:
    client.feed(client.machine.order_calls_blocked)


def take_tokens(world: World, client: Client) -> None:
    world.exchange.fault("429", world.now + 300.0, "token")
    world.exchange.expire()


@pytest.mark.parametrize(
    "prevent",
    [
        forbid_orders,
        take_tokens,
        lambda world, _: world.exchange.fault("503", world.now + 300.0, "order"),
    ],
)
def test_an_audit_that_nobody_can_confirm_ends_the_claim_to_be_right(
    prevent: Callable[[World, Client], None],
) -> None:
    world, client = whole()
    account = client.machine.account
    world.exchange.drops, world.is_stream_lossy = "orders", True
    world.exchange.fill(1, 4)
    world.exchange.drops = ""
    client.feed(client.machine.refresh)
    world.run(5.0, lambda: bool(account.suspected))
    prevent(world, client)
    world.run(31.0)
    assert account.knowledge(ORDERS) is Knowledge.WHOLE
    world.run(1.1)
    assert account.knowledge(ORDERS) is Knowledge.STALE
    assert account.knowledge(BALANCE) is Knowledge.WHOLE
    # Somebody can, in the end.
    world.is_stream_lossy = False
    world.run(1.5 * HOUR, lambda: client.is_whole)
    assert client.is_whole
    assert client.of(Resynced)[-1].is_audit
    assert account.audit_differences > 0


def test_audits_go_on_for_ever_within_their_interval_or_not_at_all() -> None:
    world, client = whole()
    world.run(3001.0)
    assert client.machine.account.audits == 20
    assert len(client.of(Resynced)) == 2
    world = World()
    client = world.client(account_config=AccountConfig(audit_interval=None))
    world.run(3000.0)
    assert client.machine.account.audits == 0
    client.feed(client.machine.refresh)
    world.run(5.0)
    assert client.machine.account.audits == 2


# --- tokens --------------------------------------------------------------------------------------


def test_reconnecting_never_asks_for_a_new_token() -> None:
    world, client = whole()
    for _ in range(30):
        drop(world, client)
    assert paths(world).count(TOKEN) == 1
    assert not world.exchange.violations


def test_a_token_is_renewed_in_the_background() -> None:
    world, client = whole()
    world.run(3 * HOUR)
    assert world.exchange.token_requests == pytest.approx([0.0, 3600.0, 7200.0, 10800.0], abs=1.0)
    assert len(client.of(Resynced)) == 2
    assert not client.of(Disconnected)


def test_a_token_that_cannot_be_renewed_is_used_to_its_hard_age() -> None:
    world, client = whole()
    world.exchange.fault("503", 8000.0, "token")
    world.run(7000.0)
    drop(world, client)
    world.run(200.0 + 7080.0 - 7000.0 - 180.0)
    client.drop()
    world.run(30.0)
    # There is no token to dial with, and nothing is dialled in vain.
    assert client.machine.state is SessionState.FETCHING_TOKEN
    world.run(5 * HOUR, lambda: client.is_whole)
    assert client.is_whole
    assert not world.exchange.violations


def test_a_refused_handshake_gets_a_new_token_within_the_budget() -> None:
    world, client = whole()
    world.exchange.expire()
    client.drop()
    world.run(50.0)
    (lost, refused) = client.of(Disconnected)
    assert lost.reason.kind is FailureKind.LOST
    assert refused.reason.status == 401
    assert paths(world).count(TOKEN) == 1
    world.run(30.0, lambda: client.is_whole)
    assert client.is_whole
    first, second = world.exchange.token_requests
    assert second - first >= 60.0


def test_a_fresh_token_that_is_refused_as_well_is_the_end_with_both_causes() -> None:
    world, client = whole()
    world.exchange.refuses_new_tokens = True
    world.exchange.expire()
    client.drop()
    world.run(200.0, lambda: client.is_over)
    [closed] = client.of(Closed)
    assert closed.failure.status == 401
    assert closed.failure.detail.count("HTTP 401") == 2
    assert client.machine.failure == closed.failure
    assert client.deadline is None
    assert paths(world).count(TOKEN) == 2


def test_http_that_refuses_every_token_pauses_and_ends_nothing() -> None:
    world, client = whole()
    world.exchange.fault("10003", world.now + 600.0, "/t/")
    client.feed(client.machine.refresh)
    world.run(600.0)
    assert client.machine.state is SessionState.CONNECTED
    failures = client.of(FetchFailed)
    assert failures[0].retry_in == 0.0
    assert failures[1].problem.count("10003") == 2
    assert failures[1].retry_in >= 65.0
    assert len(client.fetches) < 20
    client.drop()
    world.run(400.0, lambda: client.is_whole)
    assert client.is_whole
    assert not world.exchange.violations


def unanswered(world: World, client: Client) -> Fetch:
    """The first question after a drop, of which the answer is still to come."""
    before = len(client.fetches)
    client.drop()
    client.loses_answers = True
    world.run(10.0, lambda: len(client.fetches) > before)
    client.loses_answers = False
    return client.fetches[-1]


@pytest.mark.parametrize("state", [SessionState.CONNECTING, SessionState.WAITING])
def test_a_token_that_http_and_a_handshake_refuse_is_replaced_once(state: SessionState) -> None:
    world, client = whole()
    late = unanswered(world, client)
    world.exchange.expire()
    client.drop()
    world.run(5.0, lambda: client.machine.state is SessionState.CONNECTING)
    world.run(5.0, lambda: client.machine.state is state)
    refusal = answer({"code": 10003})
    client.feed(lambda now: client.machine.fetched(late.id, refusal, now))
    assert client.of(FetchFailed)[-1].retry_in == 0.0
    world.run(120.0, lambda: client.is_whole)
    assert client.is_whole
    assert client.of(Disconnected)[-1].reason.status == 401
    assert paths(world).count(TOKEN) == 2


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_wrong_clock_is_corrected_with_one_extra_call(ahead: float) -> None:
    world = World(clock_ahead=ahead)
    client = world.client()
    world.run(200.0, lambda: client.is_whole)
    assert client.is_whole
    [corrected] = client.of(ClockCorrected)
    assert corrected.seconds == pytest.approx(ahead, abs=2.0)
    assert len(world.exchange.token_requests) == 2
    assert not client.of(FetchFailed)


def test_a_wrong_clock_is_learnt_once_by_all_processes_of_an_account() -> None:
    world = World(clock_ahead=3600.0)
    clients = [world.client()]
    world.run(200.0, lambda: clients[0].is_whole)
    for _ in range(3):
        clients.append(world.client())
        world.exchange.expire()
        for client in clients:
            client.drop()
        world.run(200.0, lambda: all(client.is_whole for client in clients))
        assert all(client.is_whole for client in clients)
    assert sum(len(client.of(ClockCorrected)) for client in clients) == 1


def test_a_wrong_clock_is_corrected_by_the_latest_frame() -> None:
    world, client = whole(has_date=False)
    world.wall_ahead = -100.0
    world.exchange.fill(1)
    world.run(HOUR + 700.0)
    [corrected] = client.of(ClockCorrected)
    assert corrected.seconds == pytest.approx(100.0, abs=2.0)
    assert len(world.exchange.token_requests) == 3
    assert not client.of(FetchFailed)


def test_a_wrong_clock_that_nothing_corrects_is_the_end_after_one_extra_call() -> None:
    world = World(clock_ahead=3600.0, has_date=False)
    client = world.client()
    world.run(400.0)
    [closed] = client.of(Closed)
    assert closed.failure.kind is FailureKind.TOKEN
    assert "clock" in closed.failure.detail
    assert client.of(FetchFailed)[-1].retry_in is None
    assert len(world.exchange.token_requests) == 2


def test_keys_that_are_not_accepted_are_the_end() -> None:
    world = World()
    world.exchange.fault("T0005", 60.0, "token")
    client = world.client()
    world.run(10.0)
    [closed] = client.of(Closed)
    assert "T0005" in closed.failure.detail
    assert client.deadline is None
    assert len(world.exchange.calls) == 1


def test_a_token_service_that_limits_is_left_alone_for_an_hour() -> None:
    world = World()
    world.exchange.fault("429", 10.0, "token")
    client = world.client()
    world.run(2 * HOUR, lambda: client.is_whole)
    assert client.is_whole
    first, second = world.exchange.token_requests
    assert second - first >= HOUR


@pytest.mark.parametrize("kind", ["503", "hang", "reset"])
def test_a_token_service_in_trouble_is_asked_later_each_time(kind: str) -> None:
    world = World()
    world.exchange.fault(kind, 400.0, "token")
    client = world.client()
    world.run(1300.0, lambda: client.is_whole)
    assert client.is_whole
    assert 2 <= len(world.exchange.token_requests) <= 4
    assert all(failure.kind is FetchKind.TOKEN for failure in client.of(FetchFailed))
    assert not client.of(Disconnected)


# --- budgets -------------------------------------------------------------------------------------


def test_200_restarts_keep_to_the_budgets() -> None:
    world = World()
    world.exchange.open(1)
    for number in range(200):
        client = world.client()
        world.run(0.37 + number % 7)
        client.kill()
    assert not world.exchange.violations
    assert len(world.exchange.token_requests) == 1
    assert len(world.exchange.order_calls) > 50


def test_processes_on_a_cold_store_make_one_request() -> None:
    world = World()
    clients = [world.client() for _ in range(4)]
    # One starts while the first one's request is under way.
    world.after(0.04, lambda: clients.append(world.client()))
    world.run(20.0, lambda: len(clients) == 5)
    world.run(20.0, lambda: all(client.is_whole for client in clients))
    assert all(client.is_whole for client in clients)
    assert len(world.exchange.token_requests) == 1
    assert not world.exchange.violations


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_costs_no_budget(jump: float) -> None:
    world, client = whole()
    for _ in range(20):
        world.wall_ahead += jump
        world.exchange.expire()
        client.drop()
        world.run(7.0)
    assert not world.exchange.violations


def test_a_clock_that_is_set_back_in_a_block_does_not_make_it_longer() -> None:
    world = World()
    world.exchange.fault("429", 10.0, "token")
    client = world.client()
    world.run(100.0)
    world.wall_ahead -= 2 * HOUR
    world.exchange.clock_ahead -= 2 * HOUR
    assert world.run(HOUR * 1.01, lambda: client.is_whole) < HOUR
    world.exchange.fault("10027", world.now + 5.0, "order")
    client.drop()
    world.run(100.0)
    world.wall_ahead -= 2 * HOUR
    world.exchange.clock_ahead -= 2 * HOUR
    assert world.run(HOUR * 1.01, lambda: client.is_whole) < HOUR


def test_a_clock_that_is_set_forward_in_a_block_does_not_end_it() -> None:
    world = World()
    world.exchange.fault("429", 10.0, "token")
    client = world.client()
    world.run(100.0)
    world.wall_ahead += 2 * HOUR
    world.exchange.clock_ahead += 2 * HOUR
    client.feed(client.machine.refresh)
    world.run(0.9 * HOUR)
    assert len(world.exchange.token_requests) == 1
    assert world.run(0.2 * HOUR, lambda: client.is_whole) < 0.2 * HOUR


def test_a_clock_that_is_set_forward_during_a_request_does_not_begin_the_next() -> None:
    world = World()
    client = world.client()
    client.loses_answers = True
    world.run(1.0)
    [asked] = client.fetches
    client.loses_answers = False
    world.wall_ahead += 2 * HOUR
    # By that clock the token is too old when it comes.
    client.serve(asked)
    world.run(50.0)
    assert client.fetches == [asked]
    world.run(20.0)
    assert len(client.fetches) > 1
    assert not world.exchange.violations


@pytest.mark.parametrize("source", [KEYS, None])
def test_nothing_is_told_after_the_end(source: Any) -> None:
    world = World()
    client = world.client(source=source, supplies=(ONE,) * 5)
    client.holds_store = True
    world.run(0.5)
    machine = client.machine
    client.feed(lambda now: machine.order_calls_made(1, now))
    client.feed(machine.close)
    for late in (
        lambda now: machine.state_not_stored("disk full", now),
        lambda now: machine.state_found(StoredState(), now),
        machine.state_stored,
        lambda now: machine.token_not_renewed("OSError", now),
        lambda now: machine.fetch_failed(1, Failure(FailureKind.TIMEOUT), now),
        lambda now: machine.give_up(1, now),
        machine.refresh,
        machine.deadline_reached,
    ):
        assert late(world.now) == AccountStep()


def test_a_budget_that_cannot_be_stored_is_not_spent() -> None:
    world = World()
    world.place.works = False
    client = world.client()
    world.run(100.0)
    assert world.exchange.calls == []
    failures = client.of(StateNotStored)
    assert failures[0] == StateNotStored("disk full", 30.0)
    assert len(failures) <= 4
    world.place.works = True
    world.run(400.0, lambda: client.is_whole)
    assert client.is_whole


def test_order_calls_wait_for_a_store_that_fails() -> None:
    world, client = whole()
    world.place.works = False
    client.drop()
    world.run(60.0)
    assert client.machine.account.knowledge(ORDERS) is Knowledge.STALE
    calls = len(world.exchange.order_calls)
    assert calls == 2
    world.place.works = True
    world.run(70.0, lambda: client.is_whole)
    assert client.is_whole


def test_a_question_that_is_stale_once_its_budget_is_stored_is_not_asked() -> None:
    world, client = whole()
    client.holds_store = True
    client.drop()
    world.run(10.0, lambda: client.machine.account.knowledge(BALANCE) is Knowledge.WHOLE)
    world.run(1.0)
    assert len(world.exchange.order_calls) == 2
    client.drop()
    client.holds_store = False
    client.feed(client.machine.state_stored)
    assert len(world.exchange.order_calls) == 2
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole


def test_a_question_whose_budget_is_that_of_another_one_is_asked() -> None:
    """As on a computer whose clock counts in steps of 16 ms."""
    world = World()
    client = world.client(account_config=AccountConfig(answer_lag=0, retry_cap=5))
    client.feed(lambda now: client.machine.unsubscribe(BALANCE, now))
    world.run(100.0)
    assert client.is_whole
    world.place.works = False
    client.feed(client.machine.refresh)
    world.run(1.0)
    client.holds_store = True

    def lose_and_store() -> None:
        # The note for the audit, which is pointless now, is that of a list as well.
        broken = '{"method":"sub_orders","data":{'
        client.feed(lambda now: client.machine.message_received(broken, now))
        assert client.machine.account.knowledge(ORDERS) is Knowledge.STALE
        client.holds_store, world.place.works = False, True
        client.feed(client.machine.state_stored)

    deadline = client.deadline
    assert deadline == pytest.approx(world.now + 4, abs=0.1)
    assert deadline is not None
    world.at(deadline, lose_and_store)
    world.run(60.0, lambda: client.is_whole and not client.holds_store)
    assert client.is_whole


def test_nothing_is_due_to_be_stored_while_what_is_stored_is_read() -> None:
    store = Store(StoredState())
    assert store.save(StoredState(order_calls=(1.0,)), 0.0) is not None
    assert store.failed(30.0)
    assert store.deadline == 30.0
    # Reading may take long, since the file may be locked: a deadline in the past turns in circles.
    assert store.load() == LoadState()
    assert store.deadline is None


def test_tokens_of_the_application_leave_the_stored_token_alone() -> None:
    world, client = whole()
    stored = world.place.state.token
    world.exchange.allow("topapi:one")
    other = world.client(source=None, supplies=(ONE, ONE))
    world.run(100.0, lambda: other.is_whole)
    assert other.is_whole
    assert world.place.state.token == stored
    client.drop()
    world.run(10.0, lambda: client.is_whole)
    assert world.exchange.token_requests == world.exchange.token_requests[:1]


def held_order_call() -> tuple[World, Client, int]:
    """A client whose reservation of an order call is stored, and does not know it for 20 s."""
    world, client = whole()
    client.holds_store = True
    client.drop()
    world.run(20.0)
    client.holds_store = False
    return world, client, len(world.exchange.order_calls)


def test_an_order_call_whose_budget_took_long_to_store_is_reserved_again() -> None:
    world, client, calls = held_order_call()
    # Other processes count from its note.
    client.feed(client.machine.state_stored)
    world.run(0.005)
    assert len(world.exchange.order_calls) == calls
    world.run(10.0, lambda: client.is_whole)
    assert client.is_whole
    assert len(world.place.state.order_calls) == len(world.exchange.order_calls) == calls + 1


def test_a_call_of_the_application_is_not_taken_for_the_one_that_is_withdrawn() -> None:
    world, client, calls = held_order_call()
    client.feed(lambda now: client.machine.order_calls_made(2, now))
    made_at = START + world.now
    client.feed(client.machine.state_stored)
    world.run(10.0, lambda: client.is_whole)
    assert client.is_whole
    assert [at >= made_at for at in world.place.state.order_calls[calls:]] == [True] * 3


@given(st.lists(st.floats(0, 10), min_size=1))
def test_a_store_that_is_slow_makes_order_calls_rarer_and_does_not_end_them(
    delays: list[float],
) -> None:
    budget = OrderBudget(AccountConfig(order_calls_per_minute=1), (), None, lambda: 0.5)
    now, is_sent = 0.0, False
    for seconds in [*delays, delays[-1], delays[-1]]:
        now = budget.free_at(now, START + now)
        budget.reserve(now, START + now)
        now += seconds
        is_sent = budget.may_leave(now)
        if is_sent:
            budget.sent(now)
            # What another process counts from.
            other = OrderBudget(AccountConfig(order_calls_per_minute=1), budget.calls, None, float)
            assert other.free_at(now, START + now) - now >= 65 - 65 / 20 - 1e-6
        else:
            budget.withdraw()
    # The ones before have shown how long it takes.
    assert is_sent


def test_who_has_made_an_order_call_lets_other_processes_go_first() -> None:
    config = AccountConfig(order_calls_per_minute=1)
    one, other = (OrderBudget(config, (), None, lambda: 0.5) for _ in range(2))
    one.reserve(0.0, START)
    one.sent(0.0)
    other.merge((), one.calls, None, 0.0)
    # Nobody else is known of yet.
    assert one.free_at(1.0, START + 1) == other.free_at(1.0, START + 1) == 65.0
    before = other.calls
    other.reserve(65.0, START + 65)
    other.sent(65.0)
    one.merge(before, other.calls, None, 65.0)
    assert one.free_at(66.0, START + 66) == 130.0
    assert 130.0 < other.free_at(66.0, START + 66) <= 137.0


def test_a_block_that_another_process_has_met_is_obeyed() -> None:
    world, client = whole()
    other = world.client()
    world.run(10.0, lambda: other.is_whole)
    world.exchange.fault("10027", world.now + 6.0, "order")
    client.drop()
    world.run(10.0)
    other.drop()
    before = len(world.exchange.order_calls)
    world.run(600.0)
    assert len(world.exchange.order_calls) == before


def test_a_token_that_is_refused_while_the_state_is_stored_is_stored_as_such() -> None:
    world, client = whole()
    client.holds_store = True
    client.feed(lambda now: client.machine.order_calls_made(1, now))
    world.exchange.expire()
    client.drop()
    world.run(3.0)
    client.holds_store = False
    client.feed(client.machine.state_stored)
    world.run(120.0, lambda: client.is_whole)
    assert client.is_whole
    assert not world.exchange.violations


def test_a_contradiction_of_the_stream_is_asked_for_by_id() -> None:
    world, client = whole()
    order = world.exchange.orders[1]
    world.exchange.fill(1, 4)
    world.run(1.0)
    old = {"method": "sub_orders", "ts": world.exchange.ts, "data": row(order)}
    client.publish(json.dumps(old))
    world.run(1.0)
    assert not client.is_whole
    world.run(60.0, lambda: client.is_whole)
    client.check()
    assert client.is_whole
    assert paths(world)[-1] == ORDER


# --- tokens of the application -------------------------------------------------------------------


def supplied(*tokens: Token | None) -> tuple[World, Client]:
    world = World()
    world.exchange.open(1)
    for token in tokens:
        if token is not None:
            world.exchange.allow(token.reveal())
    return world, world.client(source=None, supplies=tokens)


ONE, TWO = Token("topapi:one"), Token("topapi:two")


def test_a_callable_is_asked_before_every_dial() -> None:
    world, client = supplied(ONE, None, TWO)
    world.run(10.0, lambda: client.is_whole)
    assert client.is_whole
    drop(world, client)
    assert client.asked_for == [None, None, None]
    assert TOKEN not in paths(world)
    assert world.place.text.count("topapi") == 0


def test_a_callable_is_told_which_token_http_refuses() -> None:
    world, client = supplied(ONE, None, TWO)
    world.exchange.fault("10003", 3.0, "/t/")
    world.run(200.0, lambda: client.is_whole)
    assert client.is_whole
    assert client.asked_for == [None, ONE, ONE]
    assert [event.kind for event in client.of(FetchFailed)] == [
        FetchKind.OPEN_ORDERS,
        FetchKind.TOKEN,
    ]
    assert client.fetches[-1].request.token == TWO


def test_a_callable_is_asked_at_longer_and_longer_intervals() -> None:
    world, client = supplied(*[ONE] * 40)
    world.exchange.fault("10003", 1000.0, "/t/")
    world.run(1000.0)
    assert 3 <= len(client.asked_for) <= 8
    world.run(2 * HOUR, lambda: client.is_whole)
    assert client.is_whole


def test_a_fixed_token_that_http_refuses_is_tried_again_and_the_stream_goes_on() -> None:
    world = World()
    world.exchange.allow("topapi:one")
    world.exchange.fault("10003", 600.0, "/t/")
    client = world.client(source=ONE)
    world.run(600.0)
    waits = [failure.retry_in for failure in client.of(FetchFailed)]
    assert 3 <= len(waits) <= 5
    assert waits[0] >= 65.0
    assert all(later > earlier for earlier, later in pairwise(waits))
    assert client.machine.state is SessionState.CONNECTED
    # Nobody was asked for another one.
    client.feed(lambda now: client.machine.token_renewed(TWO, now))
    client.feed(lambda now: client.machine.token_not_renewed("OSError", now))
    world.run(1000.0, lambda: client.is_whole)
    assert client.is_whole
    assert {fetch.request.token for fetch in client.fetches} == {ONE}
    assert len(client.of(Connected)) == 1


def test_a_callable_that_was_not_asked_has_nothing_to_refuse() -> None:
    world, client = supplied(ONE)
    world.run(10.0, lambda: client.is_whole)
    client.feed(lambda now: client.machine.token_not_renewed("OSError", now))
    assert not client.of(FetchFailed)
    assert client.is_whole


@pytest.mark.parametrize("body", [{"code": 10003}, {"code": 0, "data": {"list": []}}])
def test_a_late_word_on_an_older_token_of_the_application_asks_for_none(body: Any) -> None:
    world, client = supplied(ONE, TWO, Token("topapi:three"))
    world.run(10.0, lambda: client.is_whole)
    late = unanswered(world, client)
    client.drop()
    world.run(5.0, lambda: client.is_open)
    client.feed(lambda now: client.machine.fetched(late.id, answer(body), now))
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole
    assert client.asked_for == [None, None, None]


def test_a_fixed_token_serves_the_stream_and_http() -> None:
    world = World()
    world.exchange.allow("topapi:one")
    client = world.client(source=ONE)
    world.run(10.0, lambda: client.is_whole)
    assert client.is_whole
    world.exchange.expire()
    client.drop()
    world.run(10.0)
    [closed] = client.of(Closed)
    assert closed.failure.status == 401
    client.feed(lambda now: client.machine.token_not_renewed("late", now))
    assert client.machine.state is SessionState.CLOSED


# --- the rest of the surface ---------------------------------------------------------------------


def test_what_comes_after_the_end_is_ignored() -> None:
    world, client = whole()
    client.drop()
    world.run(3.0, lambda: len(client.fetches) > 3)
    fetch = client.fetches[-1]
    late: list[Any] = [
        client.machine.close,
        lambda now: client.machine.fetched(fetch.id, HttpResponse(200), now),
        lambda now: client.machine.fetch_failed(fetch.id, Failure(FailureKind.NETWORK), now),
        client.machine.state_stored,
        lambda now: client.machine.state_not_stored("late", now),
        lambda now: client.machine.state_found(StoredState(), now),
        client.machine.refresh,
        client.machine.deadline_reached,
    ]
    step = client.machine.close(world.now)
    assert step.events[-1] == Closed()
    assert step.deadline is None
    for call in late:
        assert call(world.now) == AccountStep()
    assert not client.machine.is_whole


@pytest.mark.parametrize("times", [1, 3])
def test_an_order_that_slips_from_its_page_is_neither_missed_nor_given_up(times: int) -> None:
    world = World(page_cap=2)
    for number in range(1, 6):
        world.exchange.open(number)
    world.exchange.desk.inject(ShiftPages(1, times=times), world.now)
    client = world.client(account_config=AccountConfig(max_tries=1))
    world.run(200.0, lambda: client.is_whole)
    assert set(client.machine.account.open_orders().value) == {1, 2, 3, 4, 5}
    assert not client.of(OutcomeUnknown)


def test_closed_is_the_last_that_an_account_tells() -> None:
    world, client = whole()
    step = client.machine.close(world.now)
    changes = [event for event in step.events if isinstance(event, KnowledgeChanged)]
    assert {change.topic for change in changes} == {BALANCE, ORDERS}
    assert step.events == (*changes, Closed())


def test_an_account_that_waits_for_its_token_is_closed_without_a_close() -> None:
    world = World()
    client = world.client()
    step = client.machine.close(world.now)
    assert step == AccountStep((Closed(),))


def test_an_unknown_answer_is_ignored() -> None:
    _, client = whole()
    before = list(client.events)
    client.feed(lambda now: client.machine.fetched(999, HttpResponse(200), now))
    client.feed(lambda now: client.machine.fetch_failed(999, Failure(FailureKind.NETWORK), now))
    client.feed(client.machine.state_stored)
    assert client.events == before
    assert client.is_whole


def test_it_has_the_inputs_of_a_session() -> None:
    world, client = whole()
    machine = client.machine
    topic = Topic("other")
    client.feed(lambda now: machine.subscribe(topic, now))
    assert topic in machine.session.desired
    client.feed(lambda now: machine.unsubscribe(topic, now))
    assert topic not in machine.session.desired
    client.feed(machine.reading_paused)
    client.feed(lambda now: machine.bytes_received(now, now))
    client.feed(machine.reading_resumed)
    with pytest.raises(LocalProtocolError):
        machine.start(world.now)
    client.feed(lambda now: machine.unsubscribe(BALANCE, now))
    world.run(1.0)
    assert machine.is_whole
    client.feed(lambda now: machine.unsubscribe(ORDERS, now))
    world.run(1.0)
    assert not machine.is_whole


def test_nothing_that_it_says_has_a_secret_in_it() -> None:
    world, client = whole()
    world.exchange.fault("10003", world.now + 100.0, "/t/")
    client.drop()
    world.run(100.0)
    secrets = [KEYS.reveal(), *world.exchange.issued, "topapi:"]
    secrets += [
        text for fetch in client.fetches for name, text in fetch.request.query if name == "sig"
    ]
    shown = repr(client.events) + repr(client.fetches) + repr(world.place.state)
    assert not [secret for secret in secrets if secret in shown]


# --- stored state --------------------------------------------------------------------------------


times = st.none() | st.floats(0, 10**10)


@given(
    st.builds(
        StoredState,
        st.builds(
            TokenState,
            st.none() | st.text(min_size=1).map(Token),
            times,
            times,
            times,
            st.integers(0, 2**31),
        ),
        st.lists(st.floats(0, 10**10)).map(lambda calls: tuple(sorted(calls))),
        times,
    )
)
def test_a_state_is_read_as_it_was_written(state: StoredState) -> None:
    assert read_state(write_state(state)) == state


@given(st.text() | st.binary())
def test_any_other_text_is_an_empty_state(text: str | bytes) -> None:
    assert read_state(text) == StoredState()


@pytest.mark.parametrize(
    "text",
    ['{"version":2}', "[]", '{"version":1,"order_calls":3,"failures":-1,"asked_at":"x","token":7}'],
)
def test_a_state_of_other_fields_is_empty(text: str) -> None:
    assert read_state(text) == StoredState()


def test_balances_by_name_beyond_a_hundred_are_asked_for_as_a_list() -> None:
    world, client = whole()
    for number in range(150):
        world.exchange.set_balance(f"COIN{number}", number)
    world.run(1.0)
    client.hang_up()
    # The list of the next connection leaves all of them out, once.
    world.exchange.odd = odd(BALANCES, [], None)
    client.feed(lambda now: client.machine.connection_lost(None, "", now))
    before = len(world.exchange.calls)
    world.run(20.0, lambda: len([p for p in paths(world)[before:] if p == BALANCES]) == 1)
    world.exchange.odd = None
    world.run(60.0, lambda: client.is_whole)
    assert client.is_whole
    by_name = [f for f in client.fetches if f.request.path == BALANCES][-1]
    assert isinstance(by_name, Fetch)
    assert by_name.request.query == ()


def test_the_balance_of_a_new_asset_is_known() -> None:
    world, client = whole()
    world.exchange.set_balance("TOP", 5)
    world.run(1.0)
    expected = Balance("TOP", Decimal(5), Decimal(1))
    assert client.machine.account.balance("TOP").value == expected
