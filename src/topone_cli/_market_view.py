"""The content of a market's screen: a pure fold of events. ``_market_picture`` draws it."""

from collections import Counter, deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Self

from attrs import Factory, define

from topone_cli._events import AnyEvent
from topone_cli._life import KEPT, Life
from topone_proto import (
    Book,
    Candle,
    Deal,
    DealsUpdate,
    DepthUpdate,
    Disconnected,
    Gap,
    KlineUpdate,
    Subscribed,
    Topic,
    Update,
)
from topone_proto.wire.kline import PERIODS

__all__ = ["MarketView"]

_CANDLES: Final = 500


@define
class MarketView(Life):
    """The order book, the trades and the candles of one market.

    An update of another topic than these is counted and not shown.
    """

    depth: Topic | None = None
    """The topic of the order book; None if none is followed."""
    deals: Topic | None = None
    """The topic of the trades."""
    kline: Topic | None = None
    """The topic of the candles."""
    book: Book | None = None
    """The latest order book; None before the first."""
    trades: deque[Deal | Gap] = Factory(lambda: deque[Deal | Gap](maxlen=KEPT))
    """The latest trades, the latest first, with a gap where some may be missing."""
    _candles: dict[int, Candle] = Factory(dict[int, Candle])
    _current: set[Topic] = Factory(set[Topic])
    """The topics that had an update since the latest gap, on this connection."""
    _seen: set[Topic] = Factory(set[Topic])
    """The topics that ever had one."""
    _is_first: bool = True
    """True until the trades have come once on this subscription."""

    @classmethod
    def of(cls, topics: Iterable[Topic]) -> Self | None:
        """Return a view of the first topic of each kind; None if there is none of market data."""
        found: dict[str, Topic] = {}
        for topic in topics:
            family = topic.family
            if family is not None and family.name in {"depth", "deals", "kline"}:
                found.setdefault(family.name, topic)
        if not found:
            return None
        return cls(depth=found.get("depth"), deals=found.get("deals"), kline=found.get("kline"))

    @property
    def period_name(self) -> str:
        """The period of the candles, as their topic has it."""
        return "" if self.kline is None else self.kline.name.rpartition("_")[2]

    @property
    def period(self) -> int:
        """Its seconds."""
        return PERIODS.get(self.period_name, 60)

    @property
    def last(self) -> Decimal | None:
        """The latest price; None if nothing says one."""
        for trade in self.trades:
            if isinstance(trade, Deal):
                return trade.price
        return self._candles[max(self._candles)].close if self._candles else None

    def candles(self) -> list[Candle]:
        """Return the candles by time."""
        return [self._candles[time] for time in sorted(self._candles)]

    def is_outdated(self, topic: Topic | None) -> bool:
        """True if there may be something newer than what is shown of ``topic``."""
        return topic in self._seen and topic not in self._current

    def take(self, event: AnyEvent, at: float) -> None:
        """Fold in an event that came at ``at``."""
        super().take(event, at)
        match event:
            case Disconnected():
                self._current.clear()
            case Gap(topic=topic):
                self._current.discard(topic)
                if topic == self.deals and self.trades:
                    self.trades.appendleft(event)
            case Subscribed(topic=topic) if topic == self.deals:
                self._is_first = True
            case DepthUpdate(topic=topic, book=book) if topic == self.depth:
                self.book = book
            case DealsUpdate(topic=topic, deals=deals) if topic == self.deals:
                self._add_trades(deals)
            case KlineUpdate(topic=topic, candles=candles) if topic == self.kline:
                self._candles.update((candle.time, candle) for candle in candles)
                self._forget_candles()
            case _:
                pass
        if isinstance(event, Update):
            self._current.add(event.topic)
            self._seen.add(event.topic)

    def add_history(self, candles: Iterable[Candle]) -> None:
        """Add candles that were asked for. The newest one is as the feed says it: it may have
        changed since."""
        newest = max(self._candles, default=None)
        for candle in candles:
            if newest is None or candle.time < newest:
                self._candles[candle.time] = candle
        self._forget_candles()

    def _add_trades(self, deals: Iterable[Deal]) -> None:
        """Add trades, the latest of which is the first. On a new subscription some may be known."""
        latest = list(deals)
        if self._is_first:
            known = [trade for trade in self.trades if isinstance(trade, Deal)]
            seen = Counter(known)
            newest = max((trade.time or 0.0 for trade in known), default=0.0)
            latest = [
                deal
                for deal in latest
                if not _taken(seen, deal) and (deal.time is None or deal.time >= newest)
            ]
        self._is_first = False
        self.trades.extendleft(reversed(latest))

    def _forget_candles(self) -> None:
        for time in sorted(self._candles)[:-_CANDLES]:
            del self._candles[time]


def _taken(seen: Counter[Deal], deal: Deal) -> bool:
    """Take one of those that are equal to ``deal``, if there is one."""
    seen[deal] -= 1
    return seen[deal] >= 0
