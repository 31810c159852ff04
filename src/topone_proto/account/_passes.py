"""From one question of an account to the HTTP requests that answer it.

There is no request for one order. Orders by id are looked up in the list of open ones first and in
the history then: an order that closes in between is found in both, and never in neither. The
history is read from the newest down, until every id was found or none can follow.

Pages may be smaller than asked for. The first one shows how many rows a page has, if the list's
total says that there are more.
"""

from abc import ABC, abstractmethod
from typing import Final

from topone_proto.account._account import Account
from topone_proto.account._changes import Change
from topone_proto.account._evidence import has_moved
from topone_proto.account._questions import BalancesQuery, OrdersQuery, Query
from topone_proto.account._reports import FetchKind
from topone_proto.secrets.token import Token
from topone_proto.wire.answers import Page, read_balances, read_history, read_open_orders
from topone_proto.wire.balance import Balance
from topone_proto.wire.http import HttpRequest, HttpResponse, unusable
from topone_proto.wire.orders import Order
from topone_proto.wire.requests import (
    PageKey,
    balances_request,
    history_request,
    open_orders_request,
)

__all__ = ["BalancesPass", "ListPass", "LookupPass", "Pass", "QueryPass", "has_reached"]

# How often a list is read once more in which a row may have slipped.
_MAX_RELISTS: Final = 3

_MAX_PAGES: Final = 100
_MAX_HISTORY_PAGES: Final = 10

# More names would make a long URL: then all balances are asked for.
_MAX_NAMES: Final = 100


def has_reached(rows: tuple[Order, ...], number: int) -> bool:
    """Return True if everything that follows this page of the history has at most this id."""
    ids = [order.id for order in rows]
    is_descending = bool(ids) and ids == sorted(ids, reverse=True)
    return is_descending and ids[-1] <= number


class Pass(ABC):
    """The way from one question to its answer, request by request."""

    def __init__(self, now: float) -> None:
        self.touched_at = now
        """The time of the question, or of the latest answer."""

    @property
    @abstractmethod
    def kind(self) -> FetchKind:
        """The kind of the next request."""

    @abstractmethod
    def request(self, token: Token) -> HttpRequest:
        """Return the next request."""

    @abstractmethod
    def take(self, response: HttpResponse) -> bool:
        """Take an answer in. Return True if it was the last.

        Raises:
            ApiError: it is none.
        """

    @abstractmethod
    def tell(self, account: Account, answered_ts: int | None) -> tuple[Change, ...]:
        """Hand what was found to the account. Return what that changes."""

    @abstractmethod
    def is_awaited(self, account: Account) -> bool:
        """Return True if its answer can still be used."""


class QueryPass(Pass):
    """The way of a question that the account has asked."""

    @property
    @abstractmethod
    def query(self) -> Query:
        """The question."""

    def is_awaited(self, account: Account) -> bool:
        """Return True if its answer can still be used."""
        return account.is_awaited(self.query)


class BalancesPass(QueryPass):
    """Balances, all or by name, in one request."""

    def __init__(self, query: BalancesQuery, now: float) -> None:
        super().__init__(now)
        self._query = query
        self._page = Page[Balance](())

    @property
    def query(self) -> BalancesQuery:
        """The question."""
        return self._query

    @property
    def kind(self) -> FetchKind:
        """The kind of the next request."""
        return FetchKind.BALANCES

    def request(self, token: Token) -> HttpRequest:
        """Return the next request."""
        assets = self._query.assets
        return balances_request(token, None if len(assets or ()) > _MAX_NAMES else assets)

    def take(self, response: HttpResponse) -> bool:
        """Take an answer in."""
        page = read_balances(response)
        if page.unreadable:
            raise unusable(response, f"balances that cannot be read: {page.unreadable[0]}")
        self._page = page
        return True

    def tell(self, account: Account, answered_ts: int | None) -> tuple[Change, ...]:
        """Hand what was found to the account."""
        return account.answer(self._query, self._page.rows, answered_ts=answered_ts)


class ListPass(QueryPass):
    """The list of open orders, page by page."""

    def __init__(self, query: OrdersQuery, now: float, page_size: int) -> None:
        super().__init__(now)
        self._query = query
        self.page_size = page_size
        """The rows to ask for: fewer, once the exchange has shown that its pages have fewer."""
        self.rows: list[Order] = []
        """The rows of all pages."""
        self._pages = 0
        # By the page that says most.
        self._total = 0

    @property
    def query(self) -> OrdersQuery:
        """The question."""
        return self._query

    @property
    def kind(self) -> FetchKind:
        """The kind of the next request."""
        return FetchKind.OPEN_ORDERS

    def request(self, token: Token) -> HttpRequest:
        """Return the next request."""
        return open_orders_request(token, page=self._pages + 1, page_size=self.page_size)

    def take(self, response: HttpResponse) -> bool:
        """Take an answer in."""
        page = read_open_orders(response)
        if page.unreadable:
            raise unusable(response, f"orders that cannot be read: {page.unreadable[0]}")
        self._pages += 1
        self.rows += page.rows
        count = len(page.rows)
        # A total of fewer than are shown says nothing.
        total = page.total if page.total is not None and page.total >= count else None
        self._total = max(self._total, total or 0)
        if self._pages == 1:
            self.page_size = min(count, self.page_size)
        if not count or (total is not None and self._pages * self.page_size >= total):
            return True
        if self._pages >= _MAX_PAGES:
            raise unusable(response, f"a list that does not end after {_MAX_PAGES} pages")
        return False

    @property
    def has_moved(self) -> bool:
        """True if the list has moved while it was read."""
        return has_moved(self.rows, self._total)

    def tell(self, account: Account, answered_ts: int | None) -> tuple[Change, ...]:
        """Hand what was found to the account."""
        return account.answer(
            self._query,
            self.rows,
            pages=self._pages,
            total=self._total,
            answered_ts=answered_ts,
        )


class LookupPass(QueryPass):
    """Orders by id."""

    def __init__(
        self, query: OrdersQuery, ids: tuple[int, ...], now: float, page_size: int
    ) -> None:
        super().__init__(now)
        self._query = query
        self.open = ListPass(query, now, page_size)
        """The list of open orders, which is read first."""
        self._missing = set(ids)
        self._relists = 0
        self._is_listed = False
        self._found: list[Order] = []
        self._key = PageKey()
        self._pages = 0

    @property
    def query(self) -> OrdersQuery:
        """The question."""
        return self._query

    @property
    def kind(self) -> FetchKind:
        """The kind of the next request."""
        return FetchKind.HISTORY if self._is_listed else FetchKind.OPEN_ORDERS

    def request(self, token: Token) -> HttpRequest:
        """Return the next request."""
        return history_request(token, self._key) if self._is_listed else self.open.request(token)

    def take(self, response: HttpResponse) -> bool:
        """Take an answer in."""
        if not self._is_listed:
            if not self.open.take(response):
                return False
            self._find(self.open.rows)
            if self._missing and self.open.has_moved and self._relists < _MAX_RELISTS:
                # What is missing may have slipped from one page to another.
                self._relists += 1
                self.open = ListPass(self._query, self.touched_at, self.open.page_size)
                return False
            self._is_listed = True
            return not self._missing
        page = read_history(response, self._key)
        self._pages += 1
        self._find(page.rows)
        is_over = page.next is None or self._pages >= _MAX_HISTORY_PAGES
        if not self._missing or is_over or has_reached(page.rows, min(self._missing) - 1):
            return True
        assert page.next is not None  # it is over without one
        self._key = page.next
        return False

    def _find(self, rows: "list[Order] | tuple[Order, ...]") -> None:
        self._found += rows
        self._missing -= {order.id for order in rows}

    def tell(self, account: Account, answered_ts: int | None) -> tuple[Change, ...]:
        """Hand what was found to the account."""
        return account.answer(self._query, self._found, answered_ts=answered_ts)
