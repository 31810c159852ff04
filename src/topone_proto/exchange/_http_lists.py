"""The lists of the simulated HTTP API, page by page, as the exchange's pages describe them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, TypeVar

from topone_proto.exchange._http_answers import Refusal
from topone_proto.exchange._http_rows import RowWriter
from topone_proto.exchange.books import Fill, Snapshot
from topone_proto.exchange.http_config import HttpConfig, MarkForm
from topone_proto.wire.orders import Order

__all__ = ["HttpLists"]

_T = TypeVar("_T", Order, Fill)
_MOST: Final = 18
_CHINA: Final = timezone(timedelta(hours=8))


class HttpLists:
    """Reads one page out of books."""

    def __init__(self, config: HttpConfig, rows: RowWriter, markets: Iterable[str]) -> None:
        """Have no state.

        Args:
            config: sizes and forms.
            rows: writes the rows.
            markets: the names of the markets.
        """
        self._config = config
        self._rows = rows
        self._markets = frozenset(markets)

    def balances(self, books: Snapshot, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the balances, of all assets or of those that are asked for."""
        if "assets" in query:
            wanted = query["assets"].split(",")
        elif self._config.needs_assets:
            raise Refusal(10001, "assets is missing")
        else:
            wanted = list(books.balances)
        found = [books.balances[name] for name in dict.fromkeys(wanted) if name in books.balances]
        return {"list": [self._rows.balance(balance) for balance in found]}

    def open_orders(
        self, books: Snapshot, query: Mapping[str, str], shift: Callable[[], int]
    ) -> dict[str, Any]:
        """Return a page of the open orders, the newest first.

        Args:
            books: the books.
            query: the parameters.
            shift: is called for a page after the first one, and returns by how many rows it has
                moved up.
        """
        page = _number(query, "page", 1)
        size = self._size(query, self._config.page_size, self._config.page_cap)
        if page < 1:
            raise Refusal(10001, "page begins with 1")
        market = self._market(query)
        orders = [
            order
            for _, order in sorted(books.orders.items(), reverse=True)
            if order.is_open and market in {None, order.market}
        ]
        moved = shift() if page > 1 else 0
        first = max(0, (page - 1) * size + moved)
        rows = [self._rows.open_order(order) for order in orders[first : first + size]]
        if not self._config.has_total:
            return {"list": rows}
        return {"total": max(0, len(orders) - moved), "list": rows}

    def history(
        self, books: Snapshot, query: Mapping[str, str], until: float, lost: frozenset[int]
    ) -> dict[str, Any]:
        """Return a page of the finished orders, the newest first.

        Args:
            books: the books.
            query: the parameters.
            until: the moment at which an order has to be finished to be in the list.
            lost: the orders that are in no list.
        """
        orders = [
            order
            for number, order in books.orders.items()
            if not order.is_open and number not in lost and books.finished.get(number, 0.0) <= until
        ]
        side = _number(query, "side", 0)
        orders = [order for order in orders if side in {0, int(order.side)}]
        mark, page = self._page(orders, _order_key, query)
        return {"pageMark": mark, "list": [self._rows.finished_order(order) for order in page]}

    def deals(self, books: Snapshot, query: Mapping[str, str], until: float) -> dict[str, Any]:
        """Return a page of the fills, the newest first.

        Args:
            books: the books.
            query: the parameters.
            until: the moment of the latest fill that is in the list.
        """
        fills = [fill for fill in books.fills if fill.moment <= until]
        mark, page = self._page(fills, _fill_key, query)
        return {"pageMark": mark, "list": [self._rows.fill(fill) for fill in page]}

    def _page(
        self,
        items: Sequence[_T],
        key: Callable[[_T], tuple[int, str, float]],
        query: Mapping[str, str],
    ) -> tuple[int, list[_T]]:
        """Return the mark and the items of a page: below the cursor, in the month of the mark."""
        size = self._size(query, self._config.history_size, self._config.history_cap)
        cursor, mark = _number(query, "pageCursor", 0), _number(query, "pageMark", 0)
        start, end = _number(query, "startTime", 0), _number(query, "endTime", 0)
        market = self._market(query)
        found: list[tuple[int, float, _T]] = []
        for item in items:
            number, name, created = key(item)
            # As the exchange's engine family does: the times are those of the creation.
            is_in_time = start <= created and (not end or created < end)
            if market in {None, name} and is_in_time and (not cursor or number < cursor):
                found.append((number, created, item))
        found.sort(key=lambda entry: entry[0], reverse=True)
        if self._config.marks is MarkForm.NONE:
            return 0, [item for _, _, item in found[:size]]
        months = [_month(created) for _, created, _ in found]
        if not mark:
            mark = months[0] if months else 0
        page = [item for (_, _, item), month in zip(found, months, strict=True) if month == mark]
        if page:
            return mark, page[:size]
        # The month has none left: an empty page says which one is next.
        return next((month for month in months if month < mark), mark), []

    def _size(self, query: Mapping[str, str], default: int, most: int) -> int:
        size = _number(query, "pageSize", default)
        if size < 1 or (size > most and not self._config.cuts_large_pages):
            raise Refusal(10001, f"pageSize is from 1 to {most}")
        return min(size, most)

    def _market(self, query: Mapping[str, str]) -> str | None:
        market = query.get("market")
        if market is None and self._config.needs_market:
            raise Refusal(10001, "market is missing")
        if market is not None and market not in self._markets:
            raise Refusal(10001, "there is no such market")
        return market


def _order_key(order: Order) -> tuple[int, str, float]:
    return order.id, order.market, order.create_time or 0.0


def _fill_key(fill: Fill) -> tuple[int, str, float]:
    return fill.id, fill.order.market, fill.order.update_time or 0.0


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST):
        raise Refusal(10001, f"{name} is no whole number")
    return int(text)


def _month(seconds: float) -> int:
    """Return the start of a time's month in UTC+8."""
    date = datetime.fromtimestamp(seconds, _CHINA)
    return int(date.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())
