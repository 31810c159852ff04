"""HTTP questions and answers as values: the exchange's examples, its traps, and anything at all."""

import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import (
    Balance,
    ConfigurationError,
    Order,
    OrderStatus,
    OrderType,
    Side,
    Token,
)
from topone_proto.wire import answers
from topone_proto.wire.answers import (
    Market,
    OwnDeal,
    Page,
    read_balances,
    read_deals,
    read_history,
    read_markets,
    read_open_orders,
    read_token,
)
from topone_proto.wire.http import (
    ApiError,
    ApiErrorMeaning,
    Credentials,
    HttpRequest,
    HttpResponse,
)
from topone_proto.wire.requests import (
    PageKey,
    balances_request,
    deals_request,
    history_request,
    markets_request,
    open_orders_request,
    signature,
    token_request,
)

TOKEN = Token("topapi:" + "a1B2" * 18)
KEY = "0123456789abcdef0123456789abcdef"
READERS = [getattr(answers, name) for name in answers.__all__ if name.startswith("read_")]


def answer(data: object, status: int = 200, **more: Any) -> HttpResponse:
    return HttpResponse(status, json.dumps({"code": 0, "data": data, **more}).encode())


def rows(*found: object, **more: object) -> HttpResponse:
    return answer({"list": list(found), **more})


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "random", "time", "name", "digest"),
    [
        (
            KEY,
            123456,
            1570499640,
            "appKey",
            "64896731a40dbdfd4d72c056f87b0cae1112bbcb9de75cad94e077b2501f0dd6",
        ),
        (
            "xxxxxxxx",
            200022,
            1409309229,
            "appKey",
            "0d71f9b8c47501cf80a3deb27c4e9157af82b94e4b146e002c5f6df1f6787eeb",
        ),
        (
            "k&y=%2F é",
            999999,
            1570499641,
            "appKey",
            "6b39c3db8f372a70443a14ed66a1985f286ed752b0cddc728fb4e58c97fbff0b",
        ),
        (
            KEY,
            123456,
            1570499640,
            "appkey",
            "5dd171beaa2465f3469c018fd2b24298f5046192d343f67c48ee2884f5803e11",
        ),
        (
            "fce13bd9bfffffffff2ffffffffff",
            200022,
            1409309229,
            "appkey",
            "b37901ff7fafd022fd65581d5026625021b5ea242bc4e9241662c37ce68280bc",
        ),
    ],
)
def test_signatures_are_those_of_the_vectors(
    key: str, random: int, time: int, name: str, digest: str
) -> None:
    assert signature(key, random, time, signed_name=name) == digest


def test_a_token_request_has_what_it_signed_and_not_the_key() -> None:
    request = token_request(Credentials("id32", KEY), random=123456, time=1570499640)
    assert request.target == (
        "/u/v1/api/token?appId=id32&random=123456&time=1570499640"
        "&sig=64896731a40dbdfd4d72c056f87b0cae1112bbcb9de75cad94e077b2501f0dd6"
    )
    assert request.headers() == (("Accept", "application/json"),)


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (balances_request(TOKEN), "/t/v1/balance/query"),
        (balances_request(TOKEN, ["BTC", "ETH"]), "/t/v1/balance/query?assets=BTC%2CETH"),
        (open_orders_request(TOKEN), "/t/v1/order/query?page=1&pageSize=100"),
        (
            open_orders_request(TOKEN, page=3, page_size=20, market="BTC/USDT"),
            "/t/v1/order/query?market=BTC%2FUSDT&page=3&pageSize=20",
        ),
        (history_request(TOKEN), "/t/v1/order/history?pageSize=500&pageCursor=0&pageMark=0"),
        (
            deals_request(TOKEN, PageKey(7, 1559318400), page_size=9, market="A/B"),
            "/t/v1/deals/history?market=A%2FB&pageSize=9&pageCursor=7&pageMark=1559318400",
        ),
        (markets_request(), "/t/v1/market/list"),
    ],
)
def test_requests_ask_as_the_pages_say(request_: HttpRequest, target: str) -> None:
    assert request_.target == target
    authorization = dict(request_.headers()).get("Authorization")
    assert authorization == (None if request_ == markets_request() else TOKEN.reveal())


def test_no_text_of_a_request_or_an_answer_has_a_secret() -> None:
    credentials = Credentials("id32", KEY)
    request = token_request(credentials, random=123456, time=1570499640)
    sig = dict(request.query)["sig"]
    secret = TOKEN.reveal()
    response = HttpResponse(200, secret.encode(), (("X", secret),), balances_request(TOKEN))
    for text in (repr(credentials), repr(request), repr(balances_request(TOKEN)), repr(response)):
        assert KEY not in text
        assert sig not in text
        assert secret not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credentials)
    assert credentials == Credentials("id32", KEY)
    assert hash(credentials) == hash(Credentials("id32", KEY))
    assert credentials != Credentials("id32", "another")
    assert credentials != "id32"


@pytest.mark.parametrize(("app_id", "app_key"), [("", KEY), ("id", ""), (None, KEY), ("id", b"k")])
def test_credentials_that_are_none_are_refused(app_id: Any, app_key: Any) -> None:
    with pytest.raises(ConfigurationError):
        Credentials(app_id, app_key)


# --- answers -------------------------------------------------------------------------------------

ORDER = {
    "id": 5104074,
    "market": "ETH/BTC",
    "type": 1,
    "side": 2,
    "price": "0.08",
    "amount": "2",
    "left": "1.5",
    "dealStock": "0.5",
    "dealMoney": "0.04",
    "createTime": 1526205633.6342139,
    "updateTime": 1526205633.6342139,
}


def test_a_token_is_read() -> None:
    assert read_token(answer({"apiToken": TOKEN.reveal()})) == TOKEN


@pytest.mark.parametrize("data", [None, {}, {"apiToken": ""}, {"apiToken": 5}, {"apiToken": "a b"}])
def test_an_answer_without_a_token_is_an_error(data: object) -> None:
    with pytest.raises(ApiError) as caught:
        read_token(answer(data))
    assert caught.value.meaning is ApiErrorMeaning.UNAVAILABLE


def test_balances_are_read() -> None:
    row = {
        "asset": "ETH",
        "available": "8517.32",
        "freeze": "0E-16",
        "total": "8517.32",
        "anchorValue": "0.00003567",
    }
    balance = Balance("ETH", Decimal("8517.32"), Decimal("0E-16"))
    assert read_balances(rows(row)) == Page((balance,))


def test_an_open_order_without_a_status_is_pending() -> None:
    page = read_open_orders(rows(ORDER, total=31))
    assert page.total == 31
    assert page.rows[0].status is OrderStatus.PENDING
    assert page.rows[0].left == Decimal("1.5")


def test_a_finished_order_has_the_time_of_its_end_and_may_lack_what_is_left() -> None:
    row = {**ORDER, "status": 4, "finishTime": 1526205640.5}
    del row["updateTime"], row["left"]
    (order,) = read_history(rows(row, pageMark=1559318400)).rows
    assert (order.status, order.update_time, order.left) == (
        OrderStatus.PARTIAL_CANCELED,
        1526205640.5,
        None,
    )
    del row["finishTime"]
    (order,) = read_history(rows(row)).rows
    assert order.update_time == order.create_time


def test_a_finished_order_without_a_status_is_named_and_not_guessed() -> None:
    page = read_history(rows(ORDER))
    assert page.rows == ()
    assert page.unreadable == ("row 0: status is no whole number",)


def test_a_market_order_may_have_no_price() -> None:
    (order,) = read_open_orders(rows({**ORDER, "type": 2, "price": "", "status": 9})).rows
    assert (order.type, order.price) == (OrderType.MARKET, None)
    assert not order.status.is_known


def test_a_market_order_s_price_of_zero_is_one_whatever_its_json_type() -> None:
    for price in ("0", 0):
        (order,) = read_open_orders(rows({**ORDER, "type": 2, "price": price})).rows
        assert order.price == Decimal(0)


def test_a_deal_is_read_with_the_types_of_the_table_and_with_those_of_the_example() -> None:
    row = {
        "createTime": 1526205633.5,
        "market": "TOP/ETH",
        "dealId": 77,
        "side": 1,
        "price": "0.006",
        "dealStock": "16",
        "dealMoney": "0.0960000000000000",
        "feeAsset": "TOP",
        "fee": "0E-16",
    }
    deal = OwnDeal(
        77,
        "TOP/ETH",
        Side.SELL,
        Decimal("0.006"),
        Decimal(16),
        Decimal("0.0960000000000000"),
        Decimal("0E-16"),
        "TOP",
        1526205633.5,
    )
    assert read_deals(rows(row)).rows == (deal,)
    # JSON numbers keep every digit.
    body = json.dumps({"code": "0", "data": {"list": [{**row, "dealId": "77", "dealStock": 16}]}})
    body = body.replace('"0.006"', "0.0060000000000000001")
    (other,) = read_deals(HttpResponse(200, body.encode())).rows
    assert other.price == Decimal("0.0060000000000000001")
    assert (other.id, other.deal_stock) == (77, Decimal(16))


def test_a_market_is_read() -> None:
    row = {
        "name": "BTC/USDT",
        "stockName": "BTC",
        "stockPrec": 6,
        "moneyName": "USDT",
        "moneyPrec": 4,
        "feePrec": "4",
        "minAmount": "10.00000000",
        "isTrading": True,
    }
    market = Market("BTC/USDT", "BTC", "USDT", 6, 4, 4, Decimal("10.00000000"), True)
    assert read_markets(rows(row)).rows == (market,)
    assert read_markets(rows({**row, "isTrading": "yes"})).unreadable


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": None}, "id is no whole number"),
        ({"id": True}, "id is no whole number"),
        ({"market": ""}, "market is no text"),
        ({"dealStock": "NaN"}, "dealStock is no decimal number"),
        ({"dealStock": True}, "dealStock is no decimal number"),
        ({"dealStock": "9" * 200}, "dealStock is no decimal number"),
        ({"left": []}, "left is no decimal number"),
        ({"left": {}, "type": 2}, "left is no decimal number"),
        ({"price": [], "type": 2}, "price is no decimal number"),
        ({"createTime": -1}, "createTime is no time in seconds"),
        ({"createTime": 10**12}, "createTime is no time in seconds"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_read(
    changed: dict[str, object], problem: str
) -> None:
    page = read_open_orders(rows(ORDER, {**ORDER, **changed}, 5))
    assert len(page.rows) == 1
    assert page.unreadable == (f"row 1: {problem}", "row 2: it is no object")


def test_no_break_spaces_between_the_tokens_of_json_are_read() -> None:
    body = json.dumps({"code": 0, "data": {"list": []}}).replace(" ", "\N{NO-BREAK SPACE}")
    assert read_balances(HttpResponse(200, body.encode())) == Page(())


# --- pages of a history --------------------------------------------------------------------------


def finished(number: int) -> dict[str, object]:
    return {**ORDER, "id": number, "status": 2}


def test_a_history_is_read_down_to_an_empty_page_whose_mark_does_not_change() -> None:
    first = read_history(rows(finished(9), finished(8), pageMark=200))
    assert first.next == PageKey(8, 200)
    # The end of a month: empty, and the mark moves.
    empty = read_history(rows(pageMark=100), first.next)
    assert empty.next == PageKey(8, 100)
    assert read_history(rows(pageMark=100), empty.next).next is None
    assert read_history(rows(), first.next).next is None


def test_a_cursor_that_does_not_advance_is_the_end() -> None:
    page = read_history(rows(finished(8), pageMark=200))
    assert page.next is not None
    assert read_history(rows(finished(8), pageMark=200), page.next).next is None


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "meaning"),
    [
        ({"code": 10003, "msg": "token"}, 10003, ApiErrorMeaning.TOKEN),
        ({"code": "10027"}, "10027", ApiErrorMeaning.RATE_LIMIT),
        ({"code": "T0005", "msg": "sig"}, "T0005", ApiErrorMeaning.CREDENTIALS),
        ({"status": 200, "error_code": "T0003", "data": "old"}, "T0003", ApiErrorMeaning.CLOCK),
        ({"status": 200, "error_code": "T0006", "data": ""}, "T0006", ApiErrorMeaning.ADDRESS),
        (
            {"error": {"code": 10005, "message": "down"}, "result": None, "id": 1},
            10005,
            ApiErrorMeaning.UNAVAILABLE,
        ),
        ({"code": 10020}, 10020, ApiErrorMeaning.ORDER),
        ({"code": 424242}, 424242, ApiErrorMeaning.UNKNOWN),
    ],
)
def test_every_form_of_an_error_is_read(
    body: dict[str, object], code: int | str, meaning: ApiErrorMeaning
) -> None:
    for reader in READERS:
        for status in (200, 400):
            with pytest.raises(ApiError) as caught:
                reader(HttpResponse(status, json.dumps(body).encode()))
            if status == 200 or meaning is not ApiErrorMeaning.UNKNOWN:
                assert (caught.value.code, caught.value.meaning) == (code, meaning)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, ApiErrorMeaning.UNAVAILABLE),
        (302, ApiErrorMeaning.UNAVAILABLE),
        (400, ApiErrorMeaning.REQUEST),
        (401, ApiErrorMeaning.TOKEN),
        (403, ApiErrorMeaning.TOKEN),
        (404, ApiErrorMeaning.REQUEST),
        (408, ApiErrorMeaning.UNAVAILABLE),
        (429, ApiErrorMeaning.RATE_LIMIT),
        (500, ApiErrorMeaning.UNAVAILABLE),
        (503, ApiErrorMeaning.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b"null"])
def test_what_is_no_answer_is_judged_by_its_status(
    status: int, meaning: ApiErrorMeaning, body: bytes
) -> None:
    response = HttpResponse(status, body, (("retry-after", "7"),))
    with pytest.raises(ApiError) as caught:
        read_balances(response)
    assert (caught.value.meaning, caught.value.status) == (meaning, status)
    assert caught.value.retry_after == 7
    assert caught.value.code is None


def test_success_with_an_error_status_is_no_success() -> None:
    with pytest.raises(ApiError):
        read_balances(HttpResponse(503, rows().body))


def test_an_error_repeats_no_secret() -> None:
    token = TOKEN.reveal()
    for name in ("code", "msg"):
        body = json.dumps({"code": "x", name: f"no {token}"}).encode()
        with pytest.raises(ApiError) as caught:
            read_balances(HttpResponse(200, body, (), balances_request(TOKEN)))
        assert token not in str(caught.value)
    request = token_request(Credentials("id", KEY), random=123456, time=1)
    sig = dict(request.query)["sig"]
    with pytest.raises(ApiError) as caught:
        read_token(HttpResponse(200, json.dumps({"code": 1, "msg": sig}).encode(), (), request))
    assert sig not in str(caught.value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_row = st.dictionaries(
    st.sampled_from([*ORDER, "status", "finishTime", "dealId", "asset", "available", "freeze"]),
    _json,
)
# Most of it right, or no reader gets further than the first field.
_near_row = _row.map(lambda changes: {**ORDER, **changes})
_body = st.one_of(
    st.binary(),
    _json.map(lambda plain: json.dumps(plain).encode()),
    st.builds(
        lambda code, found, mark: json.dumps(
            {"code": code, "data": {"list": found, "pageMark": mark, "total": mark}}
        ).encode(),
        st.just(0) | _json,
        st.lists(_near_row | _row | _json),
        _json,
    ),
)


@given(status=st.integers(100, 599), body=_body)
def test_anything_is_a_value_or_an_api_error(status: int, body: bytes) -> None:
    for reader in READERS:
        try:
            reader(HttpResponse(status, body))
        except ApiError as error:
            assert error.status == status


@given(
    st.builds(
        Order,
        st.integers(0, 10**12),
        st.just("A/B"),
        st.just(OrderType.LIMIT),
        st.sampled_from(Side),
        st.sampled_from(OrderStatus),
        *[st.decimals("0", "1e9", allow_nan=False, places=8)] * 5,
        st.just(1.5),
        st.just(2.25),
    )
)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    row = {
        "id": order.id,
        "market": order.market,
        "type": order.type.value,
        "side": order.side.value,
        "status": order.status.value,
        "price": str(order.price),
        "amount": str(order.amount),
        "left": str(order.left),
        "dealStock": str(order.deal_stock),
        "dealMoney": str(order.deal_money),
        "createTime": order.create_time,
        "updateTime": order.update_time,
    }
    assert read_history(rows(row)).rows == (order,)


@pytest.mark.parametrize(
    ("headers", "date"),
    [
        ((), None),
        ((("DATE", " Sun, 06 Nov 1994 08:49:37 GMT "),), 784111777.0),
        ((("Date", "now"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")), 784111777.0),
        ((("Date", "Sun, 99 Nov 1994 08:49:37 GMT"),), None),
    ],
)
def test_an_answer_has_the_time_of_the_server(
    headers: tuple[tuple[str, str], ...], date: float | None
) -> None:
    assert HttpResponse(200, headers=headers).date == date


@pytest.mark.parametrize("data", [{}, [], {"list": None}, "text"])
def test_a_page_without_a_list_is_no_page(data: object) -> None:
    with pytest.raises(ApiError, match="has no list"):
        read_history(answer(data))
