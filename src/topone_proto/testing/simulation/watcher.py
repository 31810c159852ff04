"""An application's view of a market, folded from its updates, and the exchange's: the bookkeeping
behind market data."""

from collections.abc import Callable, Iterable
from typing import Any, Never

from topone_proto.events import Event, Subscribed
from topone_proto.exchange import Bar, Depth, MarketData, Trade
from topone_proto.testing.simulation.server import Server
from topone_proto.wire.deals import DealsUpdate
from topone_proto.wire.depth import DepthUpdate
from topone_proto.wire.kline import Candle, KlineUpdate
from topone_proto.wire.topic import Topic, Update

__all__ = ["Watcher", "content_of", "is_market_data", "published_content"]

_RULE = "market"


def is_market_data(update: object) -> bool:
    """Return True for an update of a market."""
    return isinstance(update, DepthUpdate | KlineUpdate | DealsUpdate)


def content_of(update: Update) -> object:
    """Return the content of an update of a market, as ``published_content`` does."""
    match update:
        case DepthUpdate(book=book):
            return book.time, book.asks, book.bids
        case KlineUpdate(candles=candles):
            return tuple(map(_candle, candles))
        case DealsUpdate(deals=deals):
            return tuple((deal.time, deal.price, deal.amount, deal.side) for deal in deals)
        case _:
            return update


def published_content(data: MarketData) -> object:
    """Return the content of what the exchange has published, deals with the newest first."""
    if isinstance(data, Depth):
        return data.time, data.asks, data.bids
    if data and isinstance(data[0], Trade):
        trades: Any = reversed(data)
        return tuple((trade.time, trade.price, trade.amount, trade.side) for trade in trades)
    bars: Any = data
    return tuple(map(_bar, bars))


def _candle(each: Candle) -> tuple[Any, ...]:
    return each.time, each.open, each.close, each.high, each.low, each.amount, each.money


def _bar(each: Bar) -> tuple[Any, ...]:
    return each.time, each.open, each.close, each.high, each.low, each.stock, each.money


class Watcher:
    """Keeps the newest book and the candles of one client.

    Args:
        server: what is true.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(self, server: Server, fail: Callable[[str, str], Never]) -> None:
        self._server = server
        self._fail = fail
        # What was told since the latest acknowledgement.
        self._newest: dict[Topic, object] = {}

    def told(self, event: Event) -> None:
        """The application has taken an event out of its feed."""
        match event:
            case Subscribed(topic=topic):
                self._newest.pop(topic, None)
            case DepthUpdate(topic=topic, book=book):
                self._newest[topic] = (book.asks, book.bids)
            case KlineUpdate(topic=topic, candles=candles):
                self._newest[topic] = max(candles, key=lambda each: each.time)
            case _:
                pass

    def check(self, followed: Iterable[Topic]) -> None:
        """Nothing is on its way: the newest that was told must be the exchange's."""
        for topic in followed:
            newest = self._newest.get(topic)
            if newest is None:
                continue
            if isinstance(newest, Candle):
                self._check_candle(topic, newest)
                continue
            book = self._server.depth(topic)
            if newest != (book.asks, book.bids):
                self._fail(_RULE, f"{topic} should be {book} and is {newest}")

    def _check_candle(self, topic: Topic, newest: Candle) -> None:
        """It is as the exchange has it, and in no later period there was a deal."""
        bars = self._server.candles(topic, newest.time, self._server.market_time)
        truth = [bar for bar in bars if bar.time == newest.time or bar.stock]
        if [_candle(newest)] != list(map(_bar, truth)):
            self._fail(_RULE, f"{topic} should be {truth} and is {newest}")

    def pulled(
        self, topic: Topic, start: float, end: float, now: float, values: tuple[Candle, ...]
    ) -> None:
        """A pull has ended well: what was finished in its range must be there, and nothing else.

        Args:
            topic: the topic.
            start: the beginning of the range in Unix seconds.
            end: its end.
            now: the market's time when the pull was made.
            values: what it has brought.
        """
        truth = {bar.time: _bar(bar) for bar in self._server.candles(topic, start, end)}
        found = [_candle(each) for each in values]
        times = [each.time for each in values]
        if times != sorted(set(times)):
            self._fail(_RULE, f"the candles of a pull are not in order, each once: {times}")
        for time, bar in truth.items():
            if time <= now - 60 and bar not in found:
                self._fail(_RULE, f"a pull of {topic} has not {bar}")
        if not {*times} <= {*truth}:
            self._fail(_RULE, f"a pull of {topic} has candles that it was not asked for: {times}")
