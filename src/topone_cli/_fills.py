"""The rows of an export of fills: pure, and without a file.

Theory. The exchange publishes states of orders and not trades, and an account reports a fill as the
difference between two states. After a restart the first state is compared with nothing, so a fill
would be reported once more. So a row is made of other evidence: of the state of an order, and of
what *the file* has of that order already. The row is the difference. What is in the file is read
from it at the start, so the two cannot disagree, whenever the process was killed:

- a row that is in the file is not written again, since the difference is then nothing;
- a row that is not in the file is written as soon as the order's state is told again.

The last row of an order has its totals, so the sums of all of its rows are ``deal_stock`` and
``deal_money`` of the order.

An order may have been filled and closed while nobody looked. The exchange lists it among the
finished orders only, the newest number first. So the file remembers which orders it is sure of
(``Seen``): all up to the latest, but for those that were open. From the newest order down to the
latest of these, and to those that were open and are not any more, the list is read (``CatchUp``).
That is stored after the rows that it is about.
"""

import json
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, cast

from attrs import define, field, frozen

from topone_cli._format import number as exact
from topone_cli._format import printable, word
from topone_proto import Order
from topone_proto.wire.answers import Page
from topone_proto.wire.requests import PageKey

__all__ = ["COLUMNS", "NOTHING", "CatchUp", "Exported", "Row", "Seen", "Total"]

COLUMNS: Final = (
    "order_id",
    "number",
    "time",
    "market",
    "side",
    "kind",
    "stock_amount",
    "money_amount",
    "price",
    "healed",
    "order_stock",
    "order_money",
)
"""The columns of every file, in order."""

# Wide enough to be exact.
_EXACT: Final = Context(prec=512)
_DIVISION: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


@frozen
class Total:
    """The amounts of one order that a file has."""

    number: int = 0
    """The number of its rows."""
    stock: Decimal = Decimal(0)
    money: Decimal = Decimal(0)


NOTHING: Final = Total()


@frozen
class Row:
    """One fill of an order, or a correction of the fills before it."""

    order_id: int
    number: int
    """The place among the rows of its order, from 1. Unique together with ``order_id``."""
    time: datetime | None
    """The time at which the order last changed, by the exchange; None if it does not say."""
    market: str
    side: str
    kind: str
    """``fill`` or ``correction``."""
    stock: Decimal
    money: Decimal
    healed: bool
    """True if an answer over HTTP told it, and not the stream."""
    order_stock: Decimal
    """The order's ``deal_stock`` after this row."""
    order_money: Decimal
    """The order's ``deal_money`` after this row."""

    @property
    def price(self) -> Decimal | None:
        """The average price of one unit of stock, in money, to 28 digits; None of a correction."""
        return _DIVISION.divide(self.money, self.stock) if self.kind == "fill" else None

    def cells(self) -> tuple[int | str | bool | datetime | None, ...]:
        """Return the values in the order of ``COLUMNS``, amounts as exact text."""
        return (
            self.order_id,
            self.number,
            self.time,
            self.market,
            self.side,
            self.kind,
            exact(self.stock),
            exact(self.money),
            None if self.price is None else exact(self.price),
            self.healed,
            exact(self.order_stock),
            exact(self.order_money),
        )


@frozen
class Exported:
    """The fills that a file has, by order."""

    totals: dict[int, Total] = field(factory=dict[int, Total])

    def add(self, order_id: int, number: int, stock: Decimal, money: Decimal) -> None:
        """Take in what a row of the file says, in any order."""
        if number > self.totals.get(order_id, NOTHING).number:
            self.totals[order_id] = Total(number, stock, money)

    def next_row(self, order: Order, *, healed: bool) -> Row | None:
        """Return the row that is missing once an order is in this state, and count it; None if
        none is."""
        before = self.totals.get(order.id, NOTHING)
        stock = _EXACT.subtract(order.deal_stock, before.stock)
        money = _EXACT.subtract(order.deal_money, before.money)
        if not stock and not money:
            return None
        is_fill = stock > 0 and money >= 0
        number = before.number + 1
        self.totals[order.id] = Total(number, order.deal_stock, order.deal_money)
        return Row(
            order_id=order.id,
            number=number,
            time=order.updated_at,
            # In one line, whatever the server sent.
            market=printable(order.market),
            side=word(order.side),
            kind="fill" if is_fill else "correction",
            stock=stock,
            money=money,
            healed=healed,
            order_stock=order.deal_stock,
            order_money=order.deal_money,
        )


@frozen
class Seen:
    """The orders that a file is sure of."""

    latest: int
    """Every order up to this number is closed, and what was filled of it is in the file…"""
    open: frozenset[int] = frozenset()
    """…but for these, which were open."""

    def to_text(self) -> str:
        """Return a text for ``from_text``."""
        return json.dumps({"latest": self.latest, "open": sorted(self.open)})

    @staticmethod
    def from_text(text: str | bytes) -> "Seen | None":
        """Return what a text says; None if it says nothing of the kind."""
        try:
            plain: Any = json.loads(text)
        except (ValueError, RecursionError):
            return None
        plain = cast("dict[str, Any]", plain) if isinstance(plain, dict) else {}
        latest: object = plain.get("latest")
        names: object = plain.get("open")
        numbers = cast("list[object]", names) if isinstance(names, list) else [None]
        if type(latest) is not int or any(type(number) is not int for number in numbers):
            return None
        return Seen(latest, frozenset(cast("list[int]", numbers)))


@define
class CatchUp:
    """The way down the list of finished orders, page by page, to what a file is sure of.

    Args:
        seen: what the file is sure of; None for a new one, which begins now.
        is_open: the orders that are open now.
    """

    seen: Seen | None
    is_open: frozenset[int]
    key: PageKey | None = field(factory=PageKey)
    """The place of the page to read next; None if there is none."""
    latest: int = 0
    """The highest number that was seen."""
    unreadable: int = 0
    """The number of rows that could not be read."""
    _missing: set[int] = field(factory=set[int])

    def __attrs_post_init__(self) -> None:
        self._missing = set() if self.seen is None else set(self.seen.open - self.is_open)
        self.latest = max((self.latest, *self.is_open))

    @property
    def missing(self) -> frozenset[int]:
        """The orders that were open once, are not any more, and were not on any page."""
        return frozenset(self._missing)

    def take(self, page: Page[Order]) -> list[Order]:
        """Return the orders of a page that may have fills that the file lacks."""
        found: list[Order] = []
        numbers = [order.id for order in page.rows]
        self.unreadable += len(page.unreadable)
        self.latest = max((self.latest, *numbers))
        if self.seen is None:
            # One page, for the latest number.
            self.key = None
            return found
        for order in page.rows:
            is_news = order.id > self.seen.latest or order.id in self._missing
            if is_news and order.is_closed:
                found.append(order)
                self._missing.discard(order.id)
        floor = min((self.seen.latest, *(number - 1 for number in self._missing)))
        is_done = bool(numbers) and min(numbers) <= floor
        self.key = None if is_done else page.next
        return found
