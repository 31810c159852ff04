"""The topics ``depth_<market>_<merge>``: the order book of a market."""

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import chain, compress
from operator import itemgetter, not_
from typing import Any, Final, NamedTuple

import msgspec

from topone_proto._checks import check_decimals, check_times
from topone_proto._values import value
from topone_proto.wire._market import MARKET, aware, check_choice, check_market, decimal_in, rows_of
from topone_proto.wire._members import DIGITS, Seconds, new, read_with, seconds_of, to_decimal
from topone_proto.wire.decimals import MAX_LENGTH
from topone_proto.wire.topic import Family, Frame, Topic, Update

__all__ = ["FAMILY", "MERGES", "Book", "DepthUpdate", "Level", "depth"]

MERGES: Final = ("1x", "10x", "100x", "1000x")
"""The number of steps of the price that are merged into one level; ``1x`` merges none."""


class Level(NamedTuple):
    """The orders of one price."""

    price: Decimal
    """The price, in money per unit of stock."""
    amount: Decimal
    """The amount that is offered or wanted at it, in stock; never zero in a book."""


@value
class Book:
    """The order book of a market at one time ("WebSocket public", depth).

    Raises:
        ConfigurationError: a price or an amount of a level is no ``Decimal``, or ``time`` is none
            from 1970 to 9999.
    """

    time: float | None
    """The time of the book, in seconds since 1970 UTC, just as the wire has it; None if it has none
    that can be read."""
    asks: tuple[Level, ...]
    """The offers to sell, the lowest price first."""
    bids: tuple[Level, ...]
    """The offers to buy, the highest price first."""

    def __attrs_post_init__(self) -> None:
        for level in chain(self.asks, self.bids):
            check_decimals(level, ("price", "amount"))
        check_times(self, "time")

    @property
    def at(self) -> datetime | None:
        """``time`` as an aware datetime in UTC, to the microsecond."""
        return aware(self.time)

    @property
    def is_empty(self) -> bool:
        """True if nothing is offered and nothing is wanted."""
        return not self.asks and not self.bids

    @property
    def is_crossed(self) -> bool:
        """True if somebody wants it at a price at which somebody offers it: orders that should
        have met. It is a fault of the exchange, or the moment of a change."""
        return bool(self.asks and self.bids) and self.bids[0].price >= self.asks[0].price


@value
class DepthUpdate(Update):
    """The whole order book of a market, as deep as the exchange sends it."""

    topic: Topic[Book]
    """The market and the merge, as ``depth`` makes it."""
    book: Book
    """The book as it is now."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""

    @property
    def key(self) -> tuple[object, ...]:
        """The topic: each book replaces the one before."""
        return (self.topic.name,)


def depth(market: str, merge: str = "1x") -> Topic[Book]:
    """Return the topic of a market's order book.

    Args:
        market: the market, such as ``BTC/USDT``.
        merge: how many steps of the price are one level: one of ``MERGES``.

    Raises:
        ConfigurationError: there is no such merge, or ``market`` is no market's name.

    >>> depth("BTC/USDT").subscribe_method
    'sub_depth_BTC/USDT_1x'
    """
    return Topic(f"depth_{check_market(market)}_{check_choice('merge', merge, MERGES)}")


_NAME: Final = re.compile(f"depth_{MARKET}_({'|'.join(MERGES)})")
_price: Final = itemgetter(0)
# As Level(...) does, in a third of the time.
_new_level: Final[Callable[[tuple[Decimal, Decimal]], Level]] = partial(
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]  # of a tuple of anything
    Level,
)

known_levels: Final[dict[tuple[str, str], Level]] = {}
"""The levels of the rows that were read last. Of one book and the next most rows are the same: each
is read once, and the books that an application keeps share their levels."""
_MAX_KNOWN: Final = 2**14

_Rows = list[tuple[str, str]]


class _Data(msgspec.Struct, gc=False):
    time: Seconds
    asks: _Rows
    bids: _Rows


class _Frame(Frame, gc=False):
    data: _Data

    def read(self) -> DepthUpdate | None:
        data = self.data
        asks, bids = _levels_of(data.asks), _levels_of(data.bids)
        if asks is None or bids is None:
            return None
        asks.sort(key=_price)
        bids.sort(key=_price, reverse=True)
        # By hand: what makes these decimals need not be checked.
        book: Any = new(Book)
        book.time = data.time
        book.asks = tuple(asks)
        book.bids = tuple(bids)
        return DepthUpdate(self.topic, book, self.ts)


def _levels_of(rows: _Rows) -> list[Level] | None:
    """Return the levels of these rows; None if they have to be read member by member."""
    found: list[Any] = list(map(known_levels.get, rows))
    if all(found):
        return found
    missing = list(compress(rows, map(not_, found)))
    texts = list(chain.from_iterable(missing))
    # All digits and points, see wire.orders.
    is_plain = not "".join(texts).encode().translate(None, DIGITS)
    if not is_plain or max(map(len, texts)) > MAX_LENGTH:
        return None
    numbers = list(map(to_decimal, texts))
    if not all(numbers):
        # An amount of zero says that the level is gone.
        return None
    if len(known_levels) + len(missing) > _MAX_KNOWN:
        known_levels.clear()
    fresh = list(map(_new_level, zip(numbers[::2], numbers[1::2], strict=True)))
    known_levels.update(zip(missing, fresh, strict=True))
    if len(fresh) == len(found):
        return fresh
    following = iter(fresh)
    return [level or next(following) for level in found]


class _AnyData(msgspec.Struct, gc=False):
    asks: list[list[msgspec.Raw]] | None
    bids: list[list[msgspec.Raw]] | None
    time: msgspec.Raw = msgspec.Raw()


_decode: Final = msgspec.json.Decoder(_AnyData).decode


def _levels(rows: list[list[msgspec.Raw]] | None, path: str) -> list[Level]:
    levels = [
        Level(decimal_in(row[0], f"{path}[{at}][0]"), decimal_in(row[1], f"{path}[{at}][1]"))
        for at, row in enumerate(rows_of(rows, 2, path))
    ]
    # An amount of zero says that the level is gone.
    return [level for level in levels if level.amount]


def _read(topic: Topic[Book], data: bytes, ts: int | None) -> DepthUpdate:
    plain = read_with(_decode, data)
    asks = sorted(_levels(plain.asks, ".asks"), key=_price)
    bids = sorted(_levels(plain.bids, ".bids"), key=_price, reverse=True)
    return DepthUpdate(topic, Book(seconds_of(bytes(plain.time)), tuple(asks), tuple(bids)), ts)


def _write(update: DepthUpdate) -> dict[str, Any]:
    book = update.book
    return {
        "time": book.time,
        "asks": [[str(level.price), str(level.amount)] for level in book.asks],
        "bids": [[str(level.price), str(level.amount)] for level in book.bids],
    }


FAMILY: Final = Family[Book](
    name="depth",
    socket="public",
    update=DepthUpdate,
    example=DepthUpdate(
        depth("TOP/ETH"),
        Book(
            1522234513.740684,
            asks=(Level(Decimal("0.0791"), Decimal("3.2")),),
            bids=(Level(Decimal("0.0793"), Decimal("1.389")),),
        ),
        ts=1561948335075,
    ),
    has=lambda name: _NAME.fullmatch(name) is not None,
    frame=_Frame,
    read=_read,
    write=_write,
    marks=(b'"asks"', b'"bids"'),
)
"""The family of the topics that ``depth`` makes."""
