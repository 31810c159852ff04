"""Market data as the public socket serves it: which topic is of which market, what a subscriber is
told first, what is new, and what a pull is answered with."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import evolve

from topone_proto._values import value
from topone_proto.exchange.actions import MarketData
from topone_proto.exchange.candles import PERIODS, Bar
from topone_proto.exchange.config import BookForm, GatewayConfig, PullCut
from topone_proto.exchange.market import MERGES, Depth, LivingMarket
from topone_proto.wire.topic import Topic

__all__ = ["MOST_ROWS", "MarketDesk", "MarketTopic"]

MOST_ROWS: Final = 300
"""The most candles in the answer to a pull (http-and-public §4.3)."""
# Candles in one push at most, however long nothing was pushed.
_MOST_PUSHED: Final = 10


@value
class MarketTopic:
    """A topic of market data, taken apart."""

    kind: str
    """``kline``, ``depth`` or ``deals``."""
    market: str
    """The market, such as ``BTC/USDT``."""
    detail: str
    """The period or the merge; empty for deals."""


class MarketDesk:
    """The data of all markets, and how far they are published."""

    def __init__(self, markets: Mapping[str, LivingMarket], config: GatewayConfig) -> None:
        """Have nothing published yet.

        Args:
            markets: the markets, by name.
            config: what kind of server it is.
        """
        self._markets = dict(markets)
        self._config = config
        self._deals = {name: market.deal_count for name, market in markets.items()}
        self._books: dict[Topic, object] = {}
        self._bars: dict[Topic, int] = {}

    @property
    def is_open(self) -> bool:
        """True if there is a market."""
        return bool(self._markets)

    def find(self, name: str) -> MarketTopic | None:
        """Return the topic of market data that has a name; None if there is none."""
        kind, _, rest = name.partition("_")
        market, detail = rest, ""
        if kind in {"kline", "depth"}:
            # From the right, since nothing is known of the names of markets.
            market, _, detail = rest.rpartition("_")
        details = {"kline": PERIODS, "depth": MERGES, "deals": {"": 1}}.get(kind, {})
        if market in self._markets and detail in details:
            return MarketTopic(kind, market, detail)
        return None

    def first(self, topic: Topic, now: float) -> MarketData:
        """Return what a new subscriber is told at once; nothing on a topic of an account."""
        found = self.find(topic.name)
        if found is not None and found.kind == "deals":
            return self._markets[found.market].deals(self._config.backlog)
        return self.state(topic, now)

    def state(self, topic: Topic, now: float) -> MarketData:
        """Return the newest candle or the book; nothing on any other topic."""
        match self.find(topic.name):
            case MarketTopic(kind="kline") as found:
                return self._newest(found, now)
            case MarketTopic(kind="depth") as found:
                return self._book(found)
            case _:
                return ()

    def odd_book(self, topic: Topic, form: BookForm) -> Depth | None:
        """Return a book that should not be; None if the topic is no book."""
        found = self.find(topic.name)
        if found is None or found.kind != "depth":
            return None
        book = self._book(found)
        match form:
            case BookForm.CROSSED:
                return evolve(book, asks=book.bids[::-1], bids=book.asks[::-1])
            case BookForm.EMPTY:
                return evolve(book, asks=(), bids=())
            case BookForm.ZERO:  # pragma: no branch - there is no other
                price, _ = book.asks[0]
                return evolve(book, asks=((price, Decimal(0)), *book.asks[1:]))

    def changed(
        self, name: str, topics: Iterable[Topic], now: float
    ) -> Iterator[tuple[Topic, MarketData]]:
        """Yield what is new of one market since the last call, for each topic that is followed."""
        market = self._markets[name]
        fresh = market.deals(market.deal_count - self._deals[name])
        self._deals[name] = market.deal_count
        for topic in topics:
            found = self.find(topic.name)
            if found is None or found.market != name:
                continue
            match found.kind:
                case "kline" if fresh:
                    yield topic, self._bars_since(topic, found, now)
                case "depth":
                    book = self._book(found)
                    levels = (book.asks, book.bids)
                    if self._books.get(topic) != levels:
                        self._books[topic] = levels
                        yield topic, book
                case "deals" if fresh:
                    yield topic, fresh
                case _:
                    pass

    def pull(self, found: MarketTopic, params: Mapping[str, Any], now: float) -> MarketData | str:
        """Return the candles of a range, or in words why there are none."""
        ends = [params.get(name) for name in ("from", "to")]
        since, until = (end if type(end) is int else None for end in ends)
        if since is None or until is None:
            return "from and to are not whole Unix seconds"
        return self._markets[found.market].candles(
            found.detail,
            since,
            until,
            now,
            limit=MOST_ROWS,
            newest=self._config.pull_cut is PullCut.OLDEST,
        )

    def _book(self, found: MarketTopic) -> Depth:
        return self._markets[found.market].depth(
            found.detail, levels=self._config.depth_levels, rounding=self._config.rounding
        )

    def _newest(self, found: MarketTopic, now: float) -> tuple[Bar, ...]:
        return self._markets[found.market].candles(found.detail, 0, 1e12, now, limit=1)

    def _bars_since(self, topic: Topic, found: MarketTopic, now: float) -> tuple[Bar, ...]:
        """Return the newest candle, and before it what has closed since the last push."""
        since = self._bars.get(topic)
        if since is None:
            bars = self._newest(found, now)
        else:
            market = self._markets[found.market]
            bars = market.candles(found.detail, since, 1e12, now, limit=_MOST_PUSHED)
        self._bars[topic] = bars[-1].time
        return bars
