"""Values of the wire: numbers, models, topics and messages."""

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from topone_proto.models import Side
from topone_proto.testing.strategies._json import INT64, json_values, spellings
from topone_proto.wire.balance import Balance, BalanceUpdate
from topone_proto.wire.deals import Deal, DealsUpdate, deals
from topone_proto.wire.depth import MERGES, Book, DepthUpdate, Level, depth
from topone_proto.wire.kline import PERIODS, Candle, KlineUpdate, kline
from topone_proto.wire.messages import Ping, Request, Response
from topone_proto.wire.orders import Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.topic import Family, Topic, families

__all__ = [
    "LAST_TIME",
    "TOPICS",
    "balance_updates",
    "balances",
    "books",
    "candles",
    "deals_updates",
    "decimals",
    "depth_updates",
    "kline_updates",
    "methods",
    "order_updates",
    "orders",
    "pings",
    "requests",
    "responses",
    "server_times",
    "timestamps",
    "topics",
    "topics_of",
    "trades",
    "unknown_members",
    "wire_enums",
]

LAST_TIME: Final = 253402300799.0
"""The last second of the year 9999, in seconds since 1970 UTC."""


# Strategies without arguments are made once: making one costs more than drawing from it.


@cache
def decimals() -> st.SearchStrategy[Decimal]:
    """Finite decimals of up to 40 digits, with their exponent: ``0E-16`` is not ``0``."""
    texts = st.builds("{}E{}".format, st.integers(-(10**20), 10**40 - 1), st.integers(-30, 30))
    return texts.map(Decimal)


def timestamps() -> st.SearchStrategy[int]:
    """Server times in milliseconds: those of today, and small ones such as tests like to use.

    None between the two: the codec takes numbers of that size for seconds.
    """
    return st.integers(10**11, 10**14 - 1) | st.integers(0, 10**8 - 1)


def topics() -> st.SearchStrategy[Topic]:
    """The topics of both WebSockets, and unknown topics."""
    names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)
    return st.one_of(*map(topics_of, families()), names.map(Topic))


def topics_of(family: Family[Any]) -> st.SearchStrategy[Topic]:
    """The topics of one family. Of one that this package has no strategy for: its example's."""
    make = TOPICS.get(family.name)
    return st.just(family.example.topic) if make is None else make()


def _markets() -> st.SearchStrategy[str]:
    return st.sampled_from(["BTC/USDT", "ETH/BTC", "TOP/ETH", "A_1/B_2"])


TOPICS: Final[dict[str, Callable[[], st.SearchStrategy[Topic]]]] = {
    "kline": lambda: st.builds(kline, _markets(), st.sampled_from(list(PERIODS))),
    "depth": lambda: st.builds(depth, _markets(), st.sampled_from(MERGES)),
    "deals": lambda: st.builds(deals, _markets()),
}
"""The topics of each family that has more than one, by the name of the family."""


def unknown_members(enum: type[Side | OrderType | OrderStatus]) -> st.SearchStrategy[Any]:
    """Members of ``enum`` that the exchange's page does not list."""
    numbers = st.integers(-INT64, INT64 - 1)
    return numbers.filter(lambda number: number not in list(enum)).map(enum)


def wire_enums(enum: type[Side | OrderType | OrderStatus]) -> st.SearchStrategy[Any]:
    """Members of ``enum``, listed by the exchange's page or not."""
    return st.sampled_from(enum) | unknown_members(enum)


def balances() -> st.SearchStrategy[Balance]:
    """Balances of one asset."""
    assets = st.sampled_from(["ETH", "BTC", "USDT"]) | st.text()
    return st.builds(Balance, asset=assets, available=decimals(), freeze=decimals())


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Orders in any state. Only a limit order is sure to have a price and a remainder."""
    kind = draw(st.just(OrderType.LIMIT) | wire_enums(OrderType))
    rest = decimals() if kind is OrderType.LIMIT else st.none() | decimals()
    times = st.floats(0, LAST_TIME) | st.none()
    return Order(
        id=draw(st.integers(-INT64, INT64 - 1)),
        market=draw(st.sampled_from(["ETH/BTC", "BTC/USDT"]) | st.text()),
        type=kind,
        side=draw(wire_enums(Side)),
        status=draw(wire_enums(OrderStatus)),
        price=draw(rest),
        amount=draw(decimals()),
        left=draw(rest),
        deal_stock=draw(decimals()),
        deal_money=draw(decimals()),
        create_time=draw(times),
        update_time=draw(times),
    )


@cache
def candles() -> st.SearchStrategy[Candle]:
    """Candles of any period, one number independent of the other."""
    return st.builds(Candle, st.integers(0, int(LAST_TIME)), *[decimals()] * 6)


@cache
def books() -> st.SearchStrategy[Book]:
    """Order books: sorted, without levels of nothing, often crossed or empty."""
    levels = st.builds(Level, decimals(), decimals().filter(bool))
    sides = st.lists(levels, max_size=4).map(lambda side: sorted(side, key=lambda each: each.price))
    # Of equal prices the order of arrival stays.
    falling = st.lists(levels, max_size=4).map(
        lambda side: sorted(side, key=lambda each: each.price, reverse=True)
    )
    times = st.floats(0, LAST_TIME) | st.none()
    return st.builds(Book, times, sides.map(tuple), falling.map(tuple))


@cache
def trades() -> st.SearchStrategy[Deal]:
    """Trades of a market."""
    times = st.floats(0, LAST_TIME) | st.none()
    return st.builds(Deal, times, decimals(), decimals(), wire_enums(Side))


@cache
def balance_updates() -> st.SearchStrategy[BalanceUpdate]:
    """Updates of the topic ``balance``."""
    return st.builds(BalanceUpdate, balances(), server_times())


@cache
def order_updates() -> st.SearchStrategy[OrderUpdate]:
    """Updates of the topic ``orders``."""
    return st.builds(OrderUpdate, orders(), server_times())


@cache
def kline_updates() -> st.SearchStrategy[KlineUpdate]:
    """Updates of a market's candles."""
    rows = st.lists(candles(), max_size=2).map(lambda row: sorted(row, key=lambda each: each.time))
    return st.builds(KlineUpdate, TOPICS["kline"](), rows.map(tuple), server_times())


@cache
def depth_updates() -> st.SearchStrategy[DepthUpdate]:
    """Updates of a market's order book."""
    return st.builds(DepthUpdate, TOPICS["depth"](), books(), server_times())


@cache
def deals_updates() -> st.SearchStrategy[DealsUpdate]:
    """Updates of a market's trades."""
    return st.builds(
        DealsUpdate,
        TOPICS["deals"](),
        st.lists(trades(), max_size=3).map(_newest_first),
        server_times(),
    )


def _newest_first(found: list[Deal]) -> tuple[Deal, ...]:
    if any(deal.time is None for deal in found):
        return tuple(found)
    return tuple(sorted(found, key=lambda deal: deal.time or 0.0, reverse=True))


@cache
def requests() -> st.SearchStrategy[Request]:
    """Requests of a client: those of the exchange's page, and any others."""
    return st.builds(
        Request,
        id=st.integers(1, 10**6).map(str) | st.text(),
        method=methods() | st.text(),
        params=st.dictionaries(st.text(), json_values(), max_size=3),
        lang=st.just("zh-CN") | st.text(),
    )


@cache
def responses() -> st.SearchStrategy[Response]:
    """Answers of the server, of success and of failure.

    Without an id there are no data: what has data and answers nothing is an update.
    """
    return _responses(st.integers(1, 10**6).map(str) | st.text(min_size=1), json_values()) | (
        _responses(st.none(), st.none())
    )


def _responses(
    ids: st.SearchStrategy[str | None], data: st.SearchStrategy[Any]
) -> st.SearchStrategy[Response]:
    return st.builds(
        Response,
        id=ids,
        method=st.none() | methods() | st.text().filter(lambda text: "ping" not in text),
        code=st.just(0) | st.integers(-INT64, INT64 - 1),
        msg=st.sampled_from(["", "OK"]) | st.text(),
        ts=server_times(),
        data=st.none() | data,
    )


@cache
def pings() -> st.SearchStrategy[Ping]:
    """Pings in every form that is known, by the answer that each wants."""
    # What is asked back may be a number or a short text, and is repeated as it was written.
    plain = st.integers(-INT64, INT64 - 1) | st.text(max_size=10) | st.floats(0, LAST_TIME)
    echoes = plain.flatmap(spellings).map(str.strip).filter(lambda text: len(text) <= 128)
    return st.one_of(
        st.sampled_from([Ping("pong"), Ping('{"method":"pong"}')]),
        echoes.map(lambda text: Ping(f'{{"pong":{text}}}')),
        echoes.map(lambda text: Ping(f'{{"id":{text},"method":"pong"}}')),
    )


@cache
def methods() -> st.SearchStrategy[str]:
    """Methods of requests: to subscribe to a topic, and to unsubscribe."""
    return topics().flatmap(
        lambda topic: st.sampled_from([topic.subscribe_method, topic.unsubscribe_method])
    )


def server_times() -> st.SearchStrategy[int | None]:
    """Server times, and None for a message that has none."""
    return st.none() | timestamps()
