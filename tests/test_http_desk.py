"""The exchange's HTTP API, asked by the client's requests and read by its readers: whatever form it
has, what is read is what the account has."""

import json
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import Balance, Credentials, Order, Side, Token
from topone_proto import exchange as g
from topone_proto.errors import ConfigurationError
from topone_proto.exchange._token_office import TokenOffice
from topone_proto.wire.answers import (
    OwnDeal,
    Page,
    read_balances,
    read_deals,
    read_history,
    read_markets,
    read_open_orders,
    read_token,
)
from topone_proto.wire.http import ApiError, HttpRequest, HttpResponse, read_data
from topone_proto.wire.requests import (
    PageKey,
    balances_request,
    deals_request,
    history_request,
    markets_request,
    open_orders_request,
    token_request,
)

APP_ID = "0123456789abcdef0123456789abcdef"
KEYS = Credentials(APP_ID, APP_ID)
DEMO = Token("demo")
START = 1570499640.0
"""The exchange's time at 0.0."""
RICH = {"BTC": Decimal(10**9), "ETH": Decimal(10**9), "USDT": Decimal(10**9)}
NOW = 1000.0
CONFIG = g.HttpConfig()


class Exchange:
    """A desk, its account and whoever asks."""

    def __init__(self, config: g.HttpConfig = CONFIG, *, seed: int = 0, rate: float = 0.0) -> None:
        self.account = g.LivingAccount(seed, rate=rate, start_time=START, balances=RICH)
        self.tokens = g.Tokens({"demo": "demo"})
        self.desk = g.HttpDesk(
            {"demo": self.account},
            [g.App(APP_ID, APP_ID)],
            tokens=self.tokens,
            config=config,
            clock=lambda now: START + now,
            seed=seed,
        )

    def reply(self, request: HttpRequest, now: float = NOW) -> g.HttpReply:
        return self.desk.answer("GET", request.target, request.headers(), now)

    def ask(self, request: HttpRequest, now: float = NOW) -> HttpResponse:
        reply = self.reply(request, now)
        assert reply.fault is None
        return HttpResponse(reply.status, reply.body, reply.headers, request)

    def token(self, now: float = NOW, *, ahead: float = 0.0, random: int = 123456) -> Token:
        time = int(START + now + ahead)
        return read_token(self.ask(token_request(KEYS, random=random, time=time), now))

    def refused(self, request: HttpRequest, now: float = NOW) -> int | str | None:
        with pytest.raises(ApiError) as error:
            read_data(self.ask(request, now))
        return error.value.code

    def place(self, now: float = NOW, market: str = "ETH/BTC") -> int:
        step = self.account.place(market, Side.BUY, Decimal(2), now, price=Decimal("0.05"))
        order = step.changes[0]
        assert isinstance(order, Order)
        return order.id

    def finish(self, now: float = NOW) -> int:
        number = self.place(now)
        self.account.cancel(number, now)
        return number

    def open_ids(self, page_size: int = 100, now: float = NOW) -> list[int]:
        return [o.id for o in read_open_orders(self.ask(opened(page_size), now)).rows]

    def history(self, page_size: int = 500, now: float = NOW) -> list[int]:
        return [order.id for page in self.pages(page_size, now) for order in page.rows]

    def pages(self, page_size: int = 500, now: float = NOW) -> Iterator[Page[Order]]:
        key: PageKey | None = PageKey()
        while key is not None:
            page = read_history(self.ask(history_request(DEMO, key, page_size=page_size), now), key)
            assert not page.unreadable
            yield page
            key = page.next


def opened(page_size: int = 100, page: int = 1) -> HttpRequest:
    return open_orders_request(DEMO, page_size=page_size, page=page)


# --- the token service ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "random", "time", "sig"),
    [
        (
            "0123456789abcdef0123456789abcdef",
            123456,
            1570499640,
            "64896731a40dbdfd4d72c056f87b0cae1112bbcb9de75cad94e077b2501f0dd6",
        ),
        (
            "xxxxxxxx",
            200022,
            1409309229,
            "0d71f9b8c47501cf80a3deb27c4e9157af82b94e4b146e002c5f6df1f6787eeb",
        ),
        (
            "k&y=%2F é",
            999999,
            1570499641,
            "6b39c3db8f372a70443a14ed66a1985f286ed752b0cddc728fb4e58c97fbff0b",
        ),
    ],
)
def test_the_signatures_of_the_reference_are_taken(
    key: str, random: int, time: int, sig: str
) -> None:
    target = f"/u/v1/api/token?appId=a&random={random}&time={time}&sig={sig}"
    for right in (True, False):
        app = g.App("a", key if right else key + "!")
        desk = g.HttpDesk({}, [app], clock=lambda _: float(time))
        answer = json.loads(desk.answer("GET", target, [], NOW).body)
        assert answer["code"] == (0 if right else "T0005")


def test_the_older_spelling_of_the_signed_name() -> None:
    exchange = Exchange(g.HttpConfig(signed_name="appkey"))
    request = token_request(KEYS, random=123456, time=int(START + NOW), signed_name="appkey")
    read_token(exchange.ask(request))


def test_a_token_opens_http_and_the_websocket_until_it_ends() -> None:
    exchange = Exchange(g.HttpConfig(token_life=100.0))
    gateway = g.Gateway(exchange.tokens)
    token = exchange.token()
    assert len(token.reveal()) == 81
    assert token.reveal().startswith("topapi:")

    def dial(now: float) -> Any:
        return gateway.handshake(f"/ws/user/?token={token.reveal()}", [], now).actions[0]

    assert dial(NOW + 99.0) == g.Accept(1)
    assert read_balances(exchange.ask(balances_request(token), NOW + 99.0)).rows
    assert isinstance(dial(NOW + 100.0), g.Reject)
    assert exchange.refused(balances_request(token), NOW + 100.0) == 10003


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"appId": "nobody"}, "T0001"),
        ({"random": "99999"}, "T0002"),
        ({"random": "012345"}, "T0002"),
        ({"random": "1000000"}, "T0002"),
        ({"random": "12345x"}, "T0002"),
        ({"random": "12345²"}, "T0002"),
        ({"time": ""}, "T0004"),
        ({"time": "soon"}, "T0004"),
        ({"time": "1570500700.5"}, "T0004"),
        ({"time": str(int(START + NOW) - 61)}, "T0003"),
        ({"time": str(int(START + NOW) + 61)}, "T0004"),
        ({"sig": ""}, "T0005"),
        ({"sig": "2a7849ecfae71161c8e9a364e21d9de9"}, "T0005"),
        ({"sig": "é"}, "T0005"),
    ],
)
def test_a_request_that_is_not_in_order_is_refused(changes: dict[str, str], code: str) -> None:
    exchange = Exchange()
    time = str(int(START + NOW))
    query = {"appId": APP_ID, "random": "123456", "time": time, **changes}
    line = f"appKey={APP_ID}&random={query['random']}&time={query['time']}"
    query = {"sig": sha256(line.encode()).hexdigest(), **query}
    assert exchange.refused(HttpRequest("/u/v1/api/token", tuple(query.items()))) == code


def test_a_clock_within_the_tolerance_is_taken() -> None:
    exchange = Exchange()
    exchange.token(ahead=-59.0)
    exchange.token(NOW + 60.0, ahead=60.0)


def test_a_second_request_in_the_minute_blocks_for_an_hour_and_knocking_extends_it() -> None:
    exchange = Exchange()
    wrong = token_request(Credentials(APP_ID, "no"), random=123456, time=int(START + NOW))
    assert exchange.refused(wrong) == "T0005"
    for now in (NOW + 59.9, NOW + 3600.0, NOW + 7199.0):
        with pytest.raises(ApiError) as error:
            exchange.token(now)
        assert error.value.code == 10027
    assert exchange.desk.overruns == 3
    exchange.token(NOW + 7199.0 + 3600.0)
    assert exchange.desk.overruns == 3


def test_the_times_of_the_token_service_scale() -> None:
    exchange = Exchange(CONFIG.scaled(0.01))
    exchange.token()
    exchange.token(NOW + 0.6)
    with pytest.raises(ApiError):
        exchange.token(NOW + 0.7)
    exchange.token(NOW + 36.8)


@pytest.mark.parametrize("status", [403, 429])
def test_a_block_may_show_as_a_status(status: int) -> None:
    exchange = Exchange(g.HttpConfig(block_status=status))
    exchange.desk.inject(g.BlockTokens(50.0), NOW)
    with pytest.raises(ApiError) as error:
        exchange.token()
    assert (error.value.status, error.value.code) == (status, None)


@given(st.lists(st.floats(0, 200), max_size=30), st.sampled_from([1.0, 0.1]))
def test_no_two_tokens_within_the_minute(gaps: list[float], scale: float) -> None:
    config = CONFIG.scaled(scale)
    exchange, now, given_at = Exchange(config), 0.0, []
    for gap in gaps:
        now += gap * scale
        try:
            exchange.token(now)
        except ApiError:
            continue
        given_at.append(now)
    for one, two in pairwise(given_at):
        assert two - one >= config.token_interval


@pytest.mark.parametrize("by_fault", [False, True])
def test_a_new_token_ends_the_old_ones_if_the_exchange_is_so(by_fault: bool) -> None:
    exchange = Exchange(g.HttpConfig(kills_old_tokens=not by_fault))
    gateway = g.Gateway(exchange.tokens)
    old = exchange.token()
    peer = gateway.handshake(f"/ws/user/?token={old.reveal()}", [], NOW)
    if by_fault:
        exchange.desk.inject(g.KillOldTokens(), NOW)
    new = exchange.token(NOW + 60)
    assert old != new
    assert exchange.refused(balances_request(old)) == 10003
    read_balances(exchange.ask(balances_request(new)))
    again = gateway.handshake(f"/ws/user/?token={old.reveal()}", [], NOW + 60)
    assert isinstance(again.actions[0], g.Reject)
    # The one that is open stays, and the token that no app asked for, too.
    assert gateway.peers == (1,)
    assert peer.actions == (g.Accept(1),)
    read_balances(exchange.ask(balances_request(DEMO)))
    if by_fault:
        exchange.token(NOW + 120)
        read_balances(exchange.ask(balances_request(new)))


def test_two_tokens_of_one_instant_are_two() -> None:
    tokens = g.Tokens()
    office = TokenOffice([g.App("id", "key")], tokens, g.HttpConfig(kills_old_tokens=True), seed=1)
    old, new = office.issue("id", 5.0, 1.0), office.issue("id", 5.0, 1.0)
    assert (tokens.account(old, 1.0), tokens.account(new, 1.0)) == (None, "demo")


def test_tokens_expire_on_demand() -> None:
    exchange = Exchange()
    token = exchange.token()
    exchange.desk.inject(g.ExpireTokens(), NOW)
    assert exchange.refused(balances_request(token)) == 10003
    read_balances(exchange.ask(balances_request(DEMO)))


def test_an_exchange_that_starts_later_issues_other_tokens() -> None:
    assert Exchange().token(NOW) == Exchange().token(NOW)
    assert Exchange().token(NOW) != Exchange().token(NOW + 1)


# --- the lists -----------------------------------------------------------------------------------

configs = st.builds(
    g.HttpConfig,
    error_form=st.sampled_from(g.ErrorForm),
    has_statuses=st.booleans(),
    has_date=st.booleans(),
    has_total=st.booleans(),
    has_status=st.booleans(),
    has_left=st.booleans(),
    finish_name=st.sampled_from(g.TimeName),
    marks=st.sampled_from(g.MarkForm),
    numbers=st.sampled_from(g.NumberForm),
    zeros=st.sampled_from(g.ZeroForm),
    has_no_break_spaces=st.booleans(),
    page_cap=st.integers(1, 20),
    history_cap=st.integers(1, 20),
)


@given(configs, st.integers(0, 2**32))
def test_every_shape_says_what_the_account_has(config: g.HttpConfig, seed: int) -> None:
    exchange = Exchange(config, seed=seed, rate=1.0)
    exchange.account.deadline_reached(30.0)
    # A month later, so that there is a mark between.
    now = 86400.0 * 40
    exchange.finish(now)
    account = exchange.account
    balances = read_balances(exchange.ask(balances_request(DEMO), now))
    assert {b.asset: b for b in balances.rows} == account.balances
    assert not balances.unreadable
    orders: dict[int, Order] = {}
    for number in count(1):
        page = read_open_orders(exchange.ask(opened(20, number), now + number * 6))
        assert not page.unreadable
        assert page.total == (len(account.open_orders) if config.has_total else None)
        if not page.rows:
            break
        orders |= {order.id: order for order in page.rows}
    assert orders == account.open_orders
    closed = {n: o for n, o in account.orders.items() if o.is_closed}
    told = [o for p in exchange.pages(20, now) for o in p.rows]
    assert [o.id for o in told] == sorted(closed, reverse=True)
    for order in told:
        truth = closed[order.id]
        assert order.left == (truth.left if config.has_left else None)
        kept = truth.update_time if config.finish_name is not g.TimeName.NEITHER else None
        assert order.update_time == (kept or truth.create_time)
        for name in ("market", "side", "type", "status", "price", "amount", "deal_stock"):
            assert getattr(order, name) == getattr(truth, name)
        assert order.deal_money == truth.deal_money


@given(configs, st.integers(0, 2**32))
def test_the_deals_add_up_to_what_was_filled(config: g.HttpConfig, seed: int) -> None:
    exchange = Exchange(config, seed=seed, rate=1.0)
    exchange.account.deadline_reached(60.0)
    deals: list[OwnDeal] = []
    key: PageKey | None = PageKey()
    while key is not None:
        page = read_deals(exchange.ask(deals_request(DEMO, key)), key)
        assert not page.unreadable
        deals += page.rows
        key = page.next
    assert [deal.id for deal in deals] == sorted({deal.id for deal in deals}, reverse=True)
    assert sum(deal.deal_stock for deal in deals) == sum(
        order.deal_stock or 0 for order in exchange.account.orders.values()
    )
    for deal in deals:
        assert deal.price * deal.deal_stock == deal.deal_money
        assert deal.fee == 0


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 12))
def test_pages_give_each_order_once(number_of: int, size: int, cap: int) -> None:
    exchange = Exchange(g.HttpConfig(page_cap=cap, history_cap=cap, order_calls=1000))
    ids = [exchange.place() for _ in range(number_of)]
    read: list[int] = []
    number = 1
    while page := read_open_orders(exchange.ask(opened(size, number))).rows:
        assert len(page) <= min(size, cap)
        read += [order.id for order in page]
        number += 1
    assert read == ids[::-1]
    for number in ids:
        exchange.account.cancel(number, NOW)
    assert exchange.history(size) == ids[::-1]


def test_the_forms_are_those_of_the_pages() -> None:
    exchange = Exchange()
    number = exchange.place()
    [row] = json.loads(exchange.ask(opened()).body)["data"]["list"]
    assert "status" not in row
    assert row["price"] == "0.05"
    exchange.account.cancel(number, NOW)
    data = json.loads(exchange.ask(history_request(DEMO)).body)["data"]
    # The start of October 2019 in UTC+8.
    assert data["pageMark"] == 1569859200
    [row] = data["list"]
    assert list(row) == [
        *("id", "status", "market", "type", "side", "price", "amount", "dealStock", "dealMoney"),
        *("createTime", "finishTime"),
    ]


def test_odd_forms_are_odd() -> None:
    config = g.HttpConfig(
        numbers=g.NumberForm.NUMBER, zeros=g.ZeroForm.EXPONENT, has_no_break_spaces=True
    )
    body = Exchange(config).ask(balances_request(DEMO, ["ETH"])).body
    assert b'"freeze":\xc2\xa00E-16' in body
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(body)


def test_balances_of_some_assets() -> None:
    exchange = Exchange()
    page = read_balances(exchange.ask(balances_request(DEMO, ["ETH", "none", "ETH"])))
    assert page.rows == (Balance("ETH", RICH["ETH"], Decimal(0)),)


def test_the_markets_need_no_token() -> None:
    exchange = Exchange()
    page = read_markets(exchange.ask(markets_request()))
    assert [market.name for market in page.rows] == list(g.DEFAULT_MARKETS)
    [market] = [market for market in page.rows if market.name == "BTC/USDT"]
    assert (market.stock, market.money) == ("BTC", "USDT")
    assert (market.stock_precision, market.money_precision) == (4, 2)


def test_lists_of_one_market_side_and_time() -> None:
    exchange = Exchange()
    one, two = exchange.place(), exchange.place(NOW + 5, "ETH/USDT")
    page = read_open_orders(exchange.ask(open_orders_request(DEMO, market="ETH/USDT"), NOW + 5))
    assert ([order.id for order in page.rows], page.total) == ([two], 1)
    exchange.account.cancel(two, NOW + 6)
    exchange.account.cancel(one, NOW + 7)

    def history(**query: object) -> list[int]:
        pairs = tuple((name, str(text)) for name, text in query.items())
        request = HttpRequest("/t/v1/order/history", pairs, DEMO)
        return [order.id for order in read_history(exchange.ask(request, NOW + 8)).rows]

    assert history() == [two, one]
    assert history(market="ETH/BTC") == [one]
    assert history(side=1) == []
    assert history(side=2) == [two, one]
    # The time of the creation, the end excluded.
    assert history(startTime=int(START + NOW) + 1) == [two]
    assert history(endTime=int(START + NOW) + 5) == [one]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("order/query", {"page": "0"}),
        ("order/query", {"page": "x"}),
        ("order/query", {"pageSize": "0"}),
        ("order/query", {"pageSize": "-1"}),
        ("order/query", {"market": "BTC"}),
        ("order/history", {"pageCursor": "1.5"}),
        ("order/history", {"pageSize": "501"}),
        ("deals/history", {"pageMark": "9" * 30}),
        ("balance/query", {}),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(path: str, query: dict[str, str]) -> None:
    exchange = Exchange(g.HttpConfig(cuts_large_pages=False, needs_assets=True))
    assert exchange.refused(HttpRequest(f"/t/v1/{path}", tuple(query.items()), DEMO)) == 10001


def test_orders_of_all_markets_may_be_refused() -> None:
    exchange = Exchange(g.HttpConfig(needs_market=True))
    assert exchange.refused(opened()) == 10001
    read_open_orders(exchange.ask(open_orders_request(DEMO, market="ETH/BTC")))


@pytest.mark.parametrize("authorization", ["", "wrong", "Bearer demo"])
def test_a_token_stands_bare(authorization: str) -> None:
    exchange = Exchange()
    reply = exchange.desk.answer(
        "GET", "/t/v1/balance/query", [("AUTHORIZATION", authorization)], NOW
    )
    assert json.loads(reply.body)["code"] == 10003
    reply = exchange.desk.answer("GET", "/t/v1/balance/query", [("authorization", "demo")], NOW)
    assert json.loads(reply.body)["code"] == 0


def test_nothing_else_is_served() -> None:
    exchange = Exchange()
    assert exchange.refused(HttpRequest("/t/v1/order/limit", (), DEMO)) == 10002
    reply = exchange.desk.answer("POST", "/t/v1/market/list", [], NOW)
    assert json.loads(reply.body)["code"] == 10002


def test_an_account_without_books_has_empty_lists() -> None:
    exchange = Exchange()
    exchange.tokens.allow("other", "other")
    other = Token("other")
    assert read_balances(exchange.ask(balances_request(other))).rows == ()
    assert read_history(exchange.ask(history_request(other))) == Page(())


@pytest.mark.parametrize("form", g.ErrorForm)
@pytest.mark.parametrize("has_statuses", [True, False])
def test_errors_have_the_form_that_is_asked_for(form: g.ErrorForm, has_statuses: bool) -> None:
    exchange = Exchange(g.HttpConfig(error_form=form, has_statuses=has_statuses))
    assert str(exchange.refused(balances_request(Token("wrong")))) == "10003"
    assert exchange.refused(HttpRequest("/u/v1/api/token")) == "T0001"
    statuses = [call.status for call in exchange.desk.calls]
    assert statuses == ([401, 400] if has_statuses else [200, 200])


# --- budgets, lag and faults ---------------------------------------------------------------------


def test_the_eleventh_order_call_in_a_minute_blocks_them_all() -> None:
    exchange = Exchange()
    for _ in range(10):
        read_open_orders(exchange.ask(opened()))
    assert exchange.refused(opened()) == 10027
    read_balances(exchange.ask(balances_request(DEMO)))
    read_history(exchange.ask(history_request(DEMO)))
    assert exchange.refused(opened(), NOW + 3599) == 10027
    assert exchange.refused(opened(), NOW + 3599 + 3599) == 10027
    read_open_orders(exchange.ask(opened(), NOW + 3599 + 3599 + 3600))


def test_the_history_may_be_an_order_call() -> None:
    exchange = Exchange(g.HttpConfig(counts_history=True, order_calls=1))
    read_open_orders(exchange.ask(opened()))
    assert exchange.refused(history_request(DEMO)) == 10027


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_more_order_calls_than_ten_in_a_minute(gaps: list[float]) -> None:
    exchange, now, carried_out = Exchange(g.HttpConfig(order_block=1.0)), 0.0, []
    for gap in gaps:
        now += gap
        if json.loads(exchange.reply(opened(), now).body)["code"] == 0:
            carried_out.append(now)
    for first, eleventh in zip(carried_out, carried_out[10:], strict=False):
        assert eleventh - first >= 60.0


@given(st.integers(0, 2**32), st.floats(0.0, 20.0))
def test_an_answer_that_lags_was_true_a_moment_ago(seed: int, lag: float) -> None:
    exchange = Exchange(g.HttpConfig(lag=lag), seed=seed, rate=2.0)
    account, moments = exchange.account, [(0.0, exchange.account.balances)]
    while account.deadline is not None and account.deadline <= 60.0:
        moment = account.deadline
        account.deadline_reached(moment)
        moments.append((moment, account.balances))
    rows = read_balances(exchange.ask(balances_request(DEMO), 60.0)).rows
    read = {balance.asset: balance for balance in rows}
    ends = [moment for moment, _ in moments[1:]] + [61.0]
    possible = [b for (_, b), end in zip(moments, ends, strict=True) if end >= 60.0 - lag]
    assert read in possible


def test_lag_and_late_history_strike_as_often_as_told() -> None:
    exchange = Exchange(seed=1)
    number = exchange.place(NOW - 100.0)
    exchange.account.cancel(number, NOW - 10.0)
    exchange.desk.inject(g.DelayHistory(10.5), NOW)
    assert exchange.history() == []
    assert exchange.history() == [number]
    exchange.desk.inject(g.DelayHistory(9.5, times=None), NOW)
    assert exchange.history() == [number]
    exchange.desk.clear_faults()
    exchange.desk.inject(g.LagHttp(1e6, times=None, lasting=5.0, path="order/query"), NOW)
    assert exchange.open_ids(now=NOW + 4.9) in ([], [number])
    assert exchange.history(now=NOW + 4.9) == [number]
    assert exchange.open_ids(now=NOW + 5.0) == []


def test_pages_shift_while_they_are_read() -> None:
    exchange = Exchange(g.HttpConfig(order_calls=100))
    ids = [exchange.place() for _ in range(6)][::-1]
    exchange.desk.inject(g.ShiftPages(1), NOW)
    assert exchange.open_ids(2) == ids[:2]
    second = read_open_orders(exchange.ask(opened(2, 2)))
    assert [order.id for order in second.rows] == ids[3:5]
    assert second.total == 5
    exchange.desk.inject(g.ShiftPages(-1), NOW)
    second = read_open_orders(exchange.ask(opened(2, 2)))
    assert [order.id for order in second.rows] == ids[1:3]
    assert second.total == 7
    second = read_open_orders(exchange.ask(opened(2, 2)))
    assert [order.id for order in second.rows] == ids[2:4]


def test_a_row_is_lost_for_ever() -> None:
    exchange = Exchange()
    first = exchange.finish()
    exchange.desk.inject(g.LoseRow(), NOW)
    second, third = exchange.finish(), exchange.finish()
    assert exchange.history() == [third, first]
    exchange.desk.inject(g.LoseRow(first), NOW)
    assert exchange.history() == [third]
    exchange.desk.inject(g.LoseRow(), NOW)
    assert exchange.history() == [third]
    exchange.desk.clear_faults()
    fourth = exchange.finish()
    assert exchange.history() == [fourth, third]
    assert second in exchange.account.orders


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (g.RefuseHttp(503), 503, None),
        (g.RefuseHttp(429, 7), 429, None),
        (g.GarbleHttp(), 200, None),
        (g.GarbleHttp("{", 502), 502, None),
        (g.RejectHttp(10003), 200, 10003),
        (g.RejectHttp("T0006"), 200, "T0006"),
    ],
)
def test_an_answer_may_be_no_answer(fault: Any, status: int, code: int | str | None) -> None:
    exchange = Exchange()
    exchange.desk.inject(fault, NOW)
    with pytest.raises(ApiError) as error:
        read_balances(exchange.ask(balances_request(DEMO)))
    assert (error.value.status, error.value.code) == (status, code)
    assert error.value.retry_after == (7 if status == 429 else None)
    read_balances(exchange.ask(balances_request(DEMO)))
    struck, free = exchange.desk.calls
    assert (struck.fault, free.fault) == (fault, None)


@pytest.mark.parametrize(
    ("fault", "breakage"),
    [
        (g.HangHttp(), g.Breakage.HANG),
        (g.ResetHttp(), g.Breakage.RESET),
        (g.CutHttp(), g.Breakage.CUT),
    ],
)
def test_an_answer_may_not_come_though_the_request_is_carried_out(
    fault: Any, breakage: g.Breakage
) -> None:
    exchange = Exchange(g.HttpConfig(kills_old_tokens=True))
    old = exchange.token()
    exchange.desk.inject(fault, NOW)
    request = token_request(KEYS, random=123456, time=int(START + NOW))
    reply = exchange.reply(request, NOW + 60)
    assert reply.fault is breakage
    assert reply.delay == 0.0
    assert exchange.refused(balances_request(old)) == 10003
    assert read_balances(
        exchange.ask(balances_request(read_token(HttpResponse(200, reply.body))))
    ).rows


def test_a_slow_answer_says_how_slow() -> None:
    exchange = Exchange()
    exchange.desk.inject(g.DelayHttp(2.5), NOW)
    assert exchange.reply(balances_request(DEMO)).delay == 2.5
    assert exchange.reply(balances_request(DEMO)).delay == 0.0


def test_a_fault_strikes_where_as_often_and_as_long_as_told() -> None:
    exchange = Exchange()
    exchange.desk.inject(g.RefuseHttp(503, times=2, path="balance"), NOW)
    exchange.desk.inject(g.RefuseHttp(500, times=None, lasting=10.0, path="market"), NOW)

    def status(request: HttpRequest, now: float) -> int:
        return exchange.reply(request, now).status

    assert status(history_request(DEMO), NOW) == 200
    assert [status(balances_request(DEMO), NOW) for _ in range(3)] == [503, 503, 200]
    assert [status(markets_request(), NOW + t) for t in (0.0, 9.9, 10.0)] == [500, 500, 200]
    exchange.desk.inject(g.RefuseHttp(503, times=None), NOW)
    exchange.desk.inject(g.KillOldTokens(None), NOW)
    exchange.desk.clear_faults()
    token = exchange.token()
    exchange.token(NOW + 60)
    assert status(balances_request(token), NOW + 60) == 200


def test_a_request_that_a_fault_strikes_counts() -> None:
    exchange = Exchange()
    exchange.desk.inject(g.ResetHttp(path="token"), NOW)
    exchange.reply(HttpRequest("/u/v1/api/token", (("appId", APP_ID),)))
    with pytest.raises(ApiError):
        exchange.token(NOW + 59)
    exchange.desk.inject(g.RejectHttp(10005, times=10, path="order"), NOW)
    for _ in range(10):
        assert exchange.refused(opened()) == 10005
    assert exchange.refused(opened()) == 10027


def test_blocks_on_demand() -> None:
    exchange = Exchange()
    exchange.desk.inject(g.BlockOrders(20.0), NOW)
    exchange.desk.inject(g.BlockTokens(20.0), NOW)
    exchange.token(NOW + 20)
    read_open_orders(exchange.ask(opened(), NOW + 20))
    exchange.desk.inject(g.BlockOrders(), NOW + 30)
    assert exchange.refused(opened(), NOW + 31) == 10027


# --- around it -----------------------------------------------------------------------------------


def test_the_date_is_the_exchange_s() -> None:
    exchange = Exchange()
    assert exchange.ask(markets_request(), 0.5).date == START
    written = dict(exchange.ask(markets_request(), 0.0).headers)["Date"]
    assert written == "Tue, 08 Oct 2019 01:54:00 GMT"
    untold = dict(g.HttpDesk({}).answer("GET", "/", [], 0.0).headers)["Date"]
    assert untold == "Mon, 01 Jul 2019 02:32:15 GMT"
    assert Exchange(g.HttpConfig(has_date=False)).ask(markets_request()).date is None


def test_calls_are_kept_without_secrets() -> None:
    exchange = Exchange()
    token = exchange.token()
    exchange.ask(opened(7, 3))
    exchange.ask(balances_request(Token("wrong")))
    first, second, third = exchange.desk.calls
    assert (first.path, first.status, first.code) == ("/u/v1/api/token", 200, 0)
    assert dict(first.query)["sig"] == "***"
    assert (second.at, second.query) == (NOW, (("page", "3"), ("pageSize", "7")))
    assert third.code == 10003
    shown = repr(exchange.desk.calls) + repr(exchange.reply(balances_request(token)))
    assert token.reveal() not in shown
    assert "wrong" not in shown
    assert APP_ID not in repr(g.App("x", APP_ID))


@pytest.mark.parametrize(
    "settings", [{"token_interval": 0.0}, {"lag": -1.0}, {"page_cap": 0}, {"token_life": 1e400}]
)
def test_settings_that_make_no_sense_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="HttpConfig"):
        g.HttpConfig(**settings)


@given(st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_answers(seed: int) -> None:
    config = g.HttpConfig(lag=5.0, numbers=g.NumberForm.MIXED)
    one, two = (Exchange(config, seed=seed, rate=1.0) for _ in range(2))
    for exchange in (one, two):
        exchange.account.deadline_reached(20.0)
    for request in (balances_request(DEMO), opened(), history_request(DEMO)):
        assert one.reply(request, 20.0).body == two.reply(request, 20.0).body


@given(st.integers(0, 2**32))
def test_books_of_a_moment_are_as_they_were(seed: int) -> None:
    account = g.LivingAccount(seed, rate=2.0)
    seen = []
    while account.deadline is not None and account.deadline < 40.0:
        moment = account.deadline
        account.deadline_reached(moment)
        seen.append((moment, account.orders, account.balances))
    for moment, orders, balances in seen:
        books = account.at(moment)
        assert books.orders == orders
        assert books.balances == balances
        assert books.finished.keys() == {n for n, order in orders.items() if order.is_closed}


def test_books_keep_the_last_thousand_finished_orders() -> None:
    account = g.LivingAccount(1)
    for n in range(1005):
        step = account.place("ETH/BTC", Side.BUY, Decimal(1), float(n), price=Decimal("0.01"))
        order = step.changes[0]
        assert isinstance(order, Order)
        account.cancel(order.id, float(n))
    assert account.at(2000.0).orders == account.orders
    assert len(account.orders) == 1000


def test_a_journal_forgets_what_came_later() -> None:
    journal = g.Journal()
    order = next(iter(_orders()))
    journal.changed([order, Balance("ETH", Decimal(1), Decimal(0))], 5.0)
    # By hand, and told behind something later.
    journal.changed([Balance("ETH", Decimal(2), Decimal(0))], 4.0)
    assert journal.at(4.9) == g.Snapshot()
    assert journal.at(5.0).orders == {order.id: order}
    assert journal.at(5.0).balances["ETH"].available == 2


def _orders() -> Iterator[Order]:
    account = g.LivingAccount(1)
    step = account.place("ETH/BTC", Side.BUY, Decimal(1), 0.0, price=Decimal("0.01"))
    for change in step.changes:
        if isinstance(change, Order):
            yield change
