"""The exchange's answers over HTTP, as values.

Every ``read_…`` function returns what the answer says or raises ``ApiError``, whatever the answer
contains. The exchange's tables and examples differ, so every reader is tolerant: fields may be
missing or of another JSON type. A row that cannot be read is named and never left out in silence.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar, cast

from topone_proto._checks import check_decimals, check_times, is_shown
from topone_proto._values import value
from topone_proto.errors import ConfigurationError
from topone_proto.models import Side
from topone_proto.secrets.token import Token
from topone_proto.wire.balance import Balance
from topone_proto.wire.decimals import read_decimal
from topone_proto.wire.http import HttpResponse, read_data, unusable
from topone_proto.wire.orders import Order, OrderStatus, OrderType
from topone_proto.wire.requests import PageKey

__all__ = [
    "Market",
    "OwnDeal",
    "Page",
    "read_balances",
    "read_deals",
    "read_history",
    "read_markets",
    "read_open_orders",
    "read_token",
]

_T = TypeVar("_T")


@value
class Page(Generic[_T]):
    """A page of rows."""

    rows: tuple[_T, ...]
    """The rows that can be read, in the order of the answer."""
    unreadable: tuple[str, ...] = ()
    """A few words for each row that cannot be read. With one of these the page proves nothing about
    what is not on it."""
    total: int | None = None
    """The number of all rows, if the answer has it. Only the open orders do."""
    next: PageKey | None = None
    """The place of the page after this one, in a history; None if this is the last: it is empty and
    the mark did not change."""


@value
class OwnDeal:
    """One fill of the account ("HTTP private", deals history). It does not say of which order."""

    id: int
    """The deal's number. Trading with oneself gives two deals of one number, one for each side."""
    market: str
    """The market, such as ``ETH/BTC``."""
    side: Side
    """Sell or buy."""
    price: Decimal
    """The price, in money per unit of stock."""
    deal_stock: Decimal
    """The amount, in stock."""
    deal_money: Decimal
    """The amount, in money."""
    fee: Decimal
    """The fee, in ``fee_asset``."""
    fee_asset: str
    """The coin that the fee was paid in; it need not be one of the market."""
    create_time: float
    """The time of the deal, in seconds since 1970 UTC."""

    def __attrs_post_init__(self) -> None:
        check_decimals(self, ("price", "deal_stock", "deal_money", "fee"))
        check_times(self, "create_time", may_be_none=False)


@value
class Market:
    """One market ("HTTP public", market list)."""

    name: str
    """The name, such as ``BTC/USDT``."""
    stock: str
    """The coin that is bought and sold (``stockName``)."""
    money: str
    """The coin that it is paid with (``moneyName``)."""
    stock_precision: int
    """Decimals of an amount (``stockPrec``)."""
    money_precision: int
    """Decimals of a price (``moneyPrec``)."""
    fee_precision: int
    """Decimals of a fee (``feePrec``)."""
    min_amount: Decimal
    """The least value of an order (``minAmount``). The page does not say in which coin; only money
    makes sense of its example."""
    is_trading: bool
    """True if orders are taken."""


def read_token(response: HttpResponse) -> Token:
    """Return the new token.

    Raises:
        ApiError: there is none.
    """
    data = read_data(response)
    text: Any = None
    if isinstance(data, dict):
        text = cast("dict[str, Any]", data).get("apiToken")
    # No line below may hold the text when something raises.
    del data
    token = Token(text) if isinstance(text, str) else None
    del text
    try:
        if token is not None:
            token.require_usable()
            return token
    except ConfigurationError:
        pass
    raise unusable(response, "the answer has no usable token")


def read_balances(response: HttpResponse) -> Page[Balance]:
    """Return the balances.

    Raises:
        ApiError: there are none.
    """
    return _page(response, _balance)


def read_open_orders(response: HttpResponse) -> Page[Order]:
    """Return a page of the open orders. A row without a ``status`` is pending: the page's own rows
    have none.

    Raises:
        ApiError: there is none.
    """
    return _page(response, _order)


def read_history(response: HttpResponse, key: PageKey | None = None) -> Page[Order]:
    """Return a page of the finished orders, with the place of the next.

    Args:
        response: the answer.
        key: the place of this page, as in the request.

    Raises:
        ApiError: there is none.
    """
    return _keyed(response, _finished_order, ("id",), key)


def read_deals(response: HttpResponse, key: PageKey | None = None) -> Page[OwnDeal]:
    """Return a page of the account's deals, with the place of the next.

    Args:
        response: the answer.
        key: the place of this page, as in the request.

    Raises:
        ApiError: there is none.
    """
    return _keyed(response, _deal, ("id", "dealId"), key)


def read_markets(response: HttpResponse) -> Page[Market]:
    """Return the markets.

    Raises:
        ApiError: there are none.
    """
    return _page(response, _market)


def _rows(response: HttpResponse, data: Any) -> list[object]:
    rows = cast("dict[str, Any]", data).get("list") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise unusable(response, "the answer has no list")
    return cast("list[object]", rows)


def _page(response: HttpResponse, read: Callable[[dict[str, Any]], _T]) -> Page[_T]:
    data = read_data(response)
    return _read_rows(_rows(response, data), read, total=_integer_or_none(data.get("total")))


def _keyed(
    response: HttpResponse,
    read: Callable[[dict[str, Any]], _T],
    names: tuple[str, ...],
    key: PageKey | None,
) -> Page[_T]:
    key = key if key is not None else PageKey()
    data = read_data(response)
    rows = _rows(response, data)
    mark = _integer_or_none(data.get("pageMark")) or 0
    cursor = key.cursor
    if rows and isinstance(rows[-1], dict):
        last = cast("dict[str, Any]", rows[-1])
        found = (_integer_or_none(last.get(name)) for name in names)
        cursor = next((number for number in found if number is not None), key.cursor)
    following = PageKey(cursor, mark)
    # A page can be short, or empty, where a month ends: only a place that does not move is the end.
    is_last = following == key if rows else mark in {0, key.mark}
    return _read_rows(rows, read, following=None if is_last else following)


def _read_rows(
    rows: list[object],
    read: Callable[[dict[str, Any]], _T],
    *,
    total: int | None = None,
    following: PageKey | None = None,
) -> Page[_T]:
    good: list[_T] = []
    bad: list[str] = []
    for number, row in enumerate(rows):
        try:
            good.append(read(_object(row)))
        except _Unreadable as problem:
            bad.append(f"row {number}: {problem}")
    return Page(tuple(good), tuple(bad), total, following)


class _Unreadable(Exception):
    """The defect of a row."""


def _object(row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _Unreadable("it is no object")
    return cast("dict[str, Any]", row)


# --- rows ----------------------------------------------------------------------------------------


def _balance(row: dict[str, Any]) -> Balance:
    return Balance(_text(row, "asset"), _decimal(row, "available"), _decimal(row, "freeze"))


def _order(row: dict[str, Any], default_status: OrderStatus | None = OrderStatus.PENDING) -> Order:
    kind = OrderType(_integer(row, "type"))
    needed = kind is OrderType.LIMIT
    created = _time(row, "createTime")
    if row.get("status") is None and default_status is not None:
        status = default_status
    else:
        status = OrderStatus(_integer(row, "status"))
    return Order(
        id=_integer(row, "id"),
        market=_text(row, "market"),
        type=kind,
        side=Side(_integer(row, "side")),
        status=status,
        price=_decimal(row, "price") if needed or row.get("price") not in (None, "") else None,
        amount=_decimal(row, "amount"),
        left=_left(row),
        deal_stock=_decimal(row, "dealStock"),
        deal_money=_decimal(row, "dealMoney"),
        create_time=created,
        update_time=_updated(row, created),
    )


def _finished_order(row: dict[str, Any]) -> Order:
    return _order(row, None)


def _left(row: dict[str, Any]) -> Decimal | None:
    # The history's rows have none.
    return _decimal(row, "left") if row.get("left") not in (None, "") else None


def _updated(row: dict[str, Any], created: float) -> float:
    # The history calls it finishTime; a row with neither was never changed, for all that is known.
    for name in ("updateTime", "finishTime"):
        if row.get(name) is not None:
            return _time(row, name)
    return created


def _deal(row: dict[str, Any]) -> OwnDeal:
    return OwnDeal(
        id=_integer(row, "dealId"),
        market=_text(row, "market"),
        side=Side(_integer(row, "side")),
        price=_decimal(row, "price"),
        deal_stock=_decimal(row, "dealStock"),
        deal_money=_decimal(row, "dealMoney"),
        fee=_decimal(row, "fee"),
        fee_asset=_text(row, "feeAsset"),
        create_time=_time(row, "createTime"),
    )


def _market(row: dict[str, Any]) -> Market:
    is_trading = row.get("isTrading", True)
    if not isinstance(is_trading, bool):
        raise _Unreadable("isTrading is neither true nor false")
    return Market(
        name=_text(row, "name"),
        stock=_text(row, "stockName"),
        money=_text(row, "moneyName"),
        stock_precision=_integer(row, "stockPrec"),
        money_precision=_integer(row, "moneyPrec"),
        fee_precision=_integer(row, "feePrec"),
        min_amount=_decimal(row, "minAmount"),
        is_trading=is_trading,
    )


# The page's tables and examples differ in the JSON type of several fields: both are read.
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")


def _integer_or_none(plain: object) -> int | None:
    if isinstance(plain, str) and _INTEGER.fullmatch(plain):
        return int(plain)
    return plain if type(plain) is int else None


def _integer(row: dict[str, Any], name: str) -> int:
    number = _integer_or_none(row.get(name))
    if number is None:
        raise _Unreadable(f"{name} is no whole number")
    return number


def _text(row: dict[str, Any], name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str) or not text:
        raise _Unreadable(f"{name} is no text")
    return text


def _decimal(row: dict[str, Any], name: str) -> Decimal:
    plain = row.get(name)
    if isinstance(plain, Decimal):
        return plain
    if isinstance(plain, str) or type(plain) is int:
        try:
            return read_decimal(str(plain))
        except ValueError:
            pass
    raise _Unreadable(f"{name} is no decimal number")


def _time(row: dict[str, Any], name: str) -> float:
    # The largest numbers below the year 10000 are rounded up to it.
    seconds = float(_decimal(row, name))
    if not is_shown(seconds):
        raise _Unreadable(f"{name} is no time in seconds")
    return seconds
