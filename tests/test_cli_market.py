"""The screen of a market: what it makes of events, and how that looks in any size."""

import io
import re
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from topone_cli._candles import CandleChart
from topone_cli._describe import describe
from topone_cli._format import clock, number
from topone_cli._market_picture import market_picture
from topone_cli._market_view import MarketView
from topone_cli._output import AccountShown, MarketShown, shown_of
from topone_proto import (
    BALANCE,
    ORDERS,
    Book,
    Candle,
    Connected,
    Deal,
    DealsUpdate,
    DepthUpdate,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    KlineUpdate,
    Level,
    Side,
    Subscribed,
    SubscriptionRejected,
    Topic,
    deals,
    depth,
    kline,
)
from topone_proto.testing.strategies import events

pytestmark = pytest.mark.thorough

NOON = 1_800_000_000
DEPTH, DEALS, KLINE = depth("BTC/USDT"), deals("BTC/USDT"), kline("BTC/USDT", "1m")
FOLLOWED = (
    Connected(1),
    Subscribed(DEPTH, 1, 1),
    Subscribed(DEALS, 1, 1),
    Subscribed(KLINE, 1, 1),
)
LOST = Disconnected(Failure(FailureKind.LOST), retry_in=2.5, epoch=1, attempt=1)


def candle(minute: int, *prices: str, amount: str = "1") -> Candle:
    """Opens, closes, is at most and at least at these prices."""
    first, last, high, low = map(Decimal, prices)
    return Candle(NOON + 60 * minute, first, last, high, low, Decimal(amount), Decimal(1))


def candles(*them: Candle) -> KlineUpdate:
    return KlineUpdate(KLINE, them, ts=NOON * 1000)


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    return tuple(Level(Decimal(price), Decimal(amount)) for price, amount in pairs)


def book(*, asks: tuple[Level, ...] = (), bids: tuple[Level, ...] = ()) -> DepthUpdate:
    return DepthUpdate(DEPTH, Book(float(NOON), asks, bids), ts=NOON * 1000)


BOOK = book(
    asks=levels(("9150.2", "0.5"), ("9150.5", "1.25"), ("9151", "2")),
    bids=levels(("9150", "1"), ("9149.5", "0.25"), ("9149", "4")),
)


def deal(second: float, price: str = "9150.1", amount: str = "0.1", side: Side = Side.BUY) -> Deal:
    return Deal(NOON + second, Decimal(price), Decimal(amount), side)


def trades(*them: Deal) -> DealsUpdate:
    return DealsUpdate(DEALS, them, ts=NOON * 1000)


def view_of(*events: Event) -> MarketView:
    view = MarketView(depth=DEPTH, deals=DEALS, kline=KLINE)
    for event in events:
        view.take(event, NOON)
    return view


def drawn(view: MarketView, *, width: int = 80, height: int = 24, ascii_only: bool = False) -> str:
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.TextIOWrapper(io.BytesIO(), "ascii" if ascii_only else "utf-8"),
        color_system=None,
    )
    picture = market_picture(view, "the title", NOON, width=width, height=height)
    console.print(picture, height=height)
    return console.export_text()


# --- what there is to show ----------------------------------------------------------------------


def test_the_book_is_the_latest_as_a_whole() -> None:
    view = view_of(*FOLLOWED, BOOK, book(bids=levels(("1", "2"))))
    assert view.book is not None
    assert (view.book.asks, view.book.bids) == ((), levels(("1", "2")))


def test_trades_come_the_latest_first() -> None:
    view = view_of(*FOLLOWED, trades(deal(3), deal(2), deal(1)), trades(deal(5), deal(4)))
    assert list(view.trades) == [deal(5), deal(4), deal(3), deal(2), deal(1)]


def test_two_equal_trades_are_two() -> None:
    view = view_of(*FOLLOWED, trades(deal(1), deal(1)), trades(deal(1)))
    assert len(view.trades) == 3


def test_trades_that_come_again_after_a_reconnect_are_not_counted_twice() -> None:
    view = view_of(*FOLLOWED, trades(deal(2), deal(2), deal(1)))
    gap = Gap(DEALS, NOON * 1000, NOON * 1000 + 5000, epoch=2)
    for event in (LOST, Connected(2), Subscribed(DEALS, 1, 2), gap):
        view.take(event, NOON)
    view.take(trades(deal(3), deal(2), deal(2), deal(2, "9"), deal(1), deal(0)), NOON)
    assert list(view.trades) == [deal(3), deal(2, "9"), gap, deal(2), deal(2), deal(1)]


def test_before_the_first_trade_there_is_no_gap_among_them() -> None:
    assert not view_of(*FOLLOWED, Gap(DEALS, None, None, 1)).trades


def test_the_newest_candle_is_as_it_came_last() -> None:
    view = view_of(*FOLLOWED, candles(candle(0, *"1223"), candle(1, *"2223")))
    view.take(candles(candle(1, *"2524")), NOON)
    assert view.candles() == [candle(0, *"1223"), candle(1, *"2524")]


def test_candles_that_were_asked_for_do_not_replace_the_newest() -> None:
    view = view_of(*FOLLOWED, candles(candle(1, *"1111"), candle(2, *"3333")))
    view.add_history([candle(n, *"2222") for n in range(4)])
    assert [c.open for c in view.candles()] == [Decimal(n) for n in (2, 2, 3)]


def test_candles_that_were_asked_for_are_all_there_is_before_the_first_update() -> None:
    view = view_of(*FOLLOWED)
    view.add_history([candle(n, *"2222") for n in range(1000)])
    assert [c.time for c in view.candles()] == [NOON + 60 * n for n in range(500, 1000)]


def test_the_last_price_is_that_of_the_latest_trade_or_else_the_candles() -> None:
    view = view_of(*FOLLOWED)
    assert view.last is None
    view.take(candles(candle(0, *"1423"), candle(1, *"2524")), NOON)
    assert view.last == 5
    view.take(trades(deal(1, "7")), NOON)
    view.take(Gap(DEALS, None, None, 1), NOON)
    assert view.last == 7


def test_another_market_is_counted_and_not_shown() -> None:
    other = Topic("deals_ETH/USDT")
    view = view_of(*FOLLOWED, DealsUpdate(other, (deal(1),), ts=1))
    assert (view.events, list(view.trades)) == (5, [])


def test_a_gap_of_a_topic_makes_it_questionable_until_it_comes_again() -> None:
    view = view_of(*FOLLOWED, BOOK, trades(deal(1)), candles(candle(0, *"1111")))
    assert "?" not in drawn(view)
    view.take(Gap(DEPTH, 1, 2, epoch=1), NOON)
    assert "Order book?" in drawn(view)
    assert "Trades?" not in drawn(view)
    assert "? may be outdated" in drawn(view)
    view.take(BOOK, NOON)
    assert "?" not in drawn(view)


def test_while_there_is_no_connection_everything_may_be_outdated() -> None:
    view = view_of(*FOLLOWED, BOOK, trades(deal(1)), candles(candle(0, *"1111")), LOST)
    screen = drawn(view)
    for name in ("Order book?", "Trades?", "Candles 1m?", "disconnected, retry in 2.5 s"):
        assert name in screen
    assert screen.count("? may be outdated") == 3


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ((), AccountShown),
        ((BALANCE, ORDERS), AccountShown),
        ((Topic("news"),), AccountShown),
        ((DEALS,), MarketShown),
        ((DEPTH, KLINE, DEALS), MarketShown),
    ],
)
def test_the_screen_fits_the_topics(topics: tuple[Topic, ...], expected: type[object]) -> None:
    assert type(shown_of(topics)) is expected


def test_of_several_markets_the_first_is_shown() -> None:
    view = MarketView.of((KLINE, kline("ETH/BTC", "1h"), deals("ETH/BTC"), BALANCE))
    assert view is not None
    assert view == MarketView(kline=KLINE, deals=deals("ETH/BTC"))
    assert view.period == 60


# --- how it looks -------------------------------------------------------------------------------


def test_the_screen_at_80_columns() -> None:
    view = view_of(
        *FOLLOWED,
        BOOK,
        trades(deal(2, "9150.2", "0.25", Side.SELL), deal(1)),
        candles(
            candle(0, "9150", "9151", "9152", "9149"), candle(1, "9151", "9150", "9151", "9148")
        ),
    )
    lines = drawn(view).splitlines()
    assert len(lines) == 24
    assert all(len(line) == 80 for line in lines[2:])
    screen = "\n".join(lines)
    assert lines[0].startswith("the title")
    assert lines[1].startswith("connected  last 9150.2  epoch 1")
    of_book = re.findall(r"│ (ask|spread|bid) +(\S+) ", screen)
    assert of_book == [
        ("ask", "9151"),
        ("ask", "9150.5"),
        ("ask", "9150.2"),
        ("spread", "0.2"),
        ("bid", "9150"),
        ("bid", "9149.5"),
        ("bid", "9149"),
    ]
    assert re.search(r"sell +0\.25 +9150\.2 │", screen)
    assert screen.index("sell ") < screen.index("buy "), "the latest first"
    assert "┃ rising  █ falling" in screen


def test_a_wide_screen_has_the_sums_and_bars_of_the_book() -> None:
    screen = drawn(view_of(*FOLLOWED, BOOK), width=160, height=30)
    assert re.search(r"ask +9151 +2 +3\.75 █████ ", screen)
    assert re.search(r"ask +9150\.2 +0\.5 +0\.5 █ ", screen)
    assert re.search(r"bid +9149 +4 +5\.25 ██████████ ", screen)
    assert "#" in drawn(view_of(*FOLLOWED, BOOK), width=160, height=30, ascii_only=True)


@pytest.mark.parametrize(
    ("update", "between"),
    [
        (book(asks=levels(("1", "1")), bids=levels(("2", "1"))), r"crossed +-1 "),
        (book(asks=levels(("1", "1"))), r"spread +- "),
        (book(), r"spread +- "),
        (book(asks=levels(("1", "0"))), r"ask +1 +0 "),
    ],
)
def test_an_odd_book_is_shown_as_it_is(update: DepthUpdate, between: str) -> None:
    assert re.search(between, drawn(view_of(*FOLLOWED, update), width=160))


def test_a_title_counts_the_levels_in_sight() -> None:
    many = levels(*((str(n), "1") for n in range(1, 41)))
    for height in (24, 50):
        screen = drawn(view_of(*FOLLOWED, book(asks=many, bids=many)), height=height)
        shown = len(re.findall(r"│ (?:ask|bid) ", screen))
        assert f"Order book: {shown} of 80" in screen
        assert len(re.findall(r"│ ask ", screen)) == shown // 2


def test_a_gap_among_the_trades_is_a_row() -> None:
    view = view_of(*FOLLOWED, trades(deal(1)), Gap(DEALS, NOON * 1000, NOON * 1000, 1))
    assert re.search(rf"{clock(NOON)} +gap ", drawn(view))


def test_a_narrow_screen_has_the_chart_if_it_is_high() -> None:
    view = view_of(*FOLLOWED, BOOK, candles(candle(0, *"1111")))
    assert "Candles" not in drawn(view, width=40)
    assert "Candles" in drawn(view, width=40, height=40)


amounts = st.decimals(0, 10**15, allow_nan=False, allow_infinity=False, places=8)
books = st.lists(st.builds(Level, amounts, amounts), max_size=30).map(
    lambda some: book(asks=tuple(some[::2]), bids=tuple(some[1::2]))
)
many_trades = st.lists(
    st.builds(deal, st.integers(0, 9), amounts, amounts, st.sampled_from(Side)), max_size=9
).map(lambda some: trades(*some))
many_candles = st.lists(
    st.builds(Candle, st.integers(NOON, NOON + 6000), *[amounts] * 6), max_size=9
).map(lambda some: candles(*some))


@given(
    st.lists(books | many_trades | many_candles, max_size=6),
    st.integers(20, 200),
    st.integers(20, 50),
)
def test_every_number_in_sight_is_a_whole_one(feed: list[Event], width: int, height: int) -> None:
    view = view_of(*FOLLOWED, *feed)
    whole: set[str] = set()
    if view.book is not None:
        for side in (view.book.asks, view.book.bids):
            total = Decimal(0)
            for level in side:
                total += level.amount
                whole |= {number(level.price), number(level.amount), number(total)}
        if view.book.asks and view.book.bids:
            whole.add(number(view.book.asks[0].price - view.book.bids[0].price))
    for trade in view.trades:
        assert isinstance(trade, Deal)
        whole |= {clock(trade.time), number(trade.amount), number(trade.price)}
    for one in view.candles():
        whole |= {number(price) for price in (one.open, one.close, one.high, one.low)}
        whole |= {clock(one.time)[:5]}
    lines = drawn(view, width=width, height=height).splitlines()
    end = next(n for n, line in enumerate(lines) if " Feed " in line)
    for line in lines[2:end]:
        if line.startswith("│"):
            for word in line.replace("│", " ").split():
                if word.lstrip("-")[:1].isdigit():
                    assert word in whole, line


@given(st.lists(events(), max_size=20), st.integers(1, 130), st.integers(1, 50))
def test_any_feed_can_be_drawn_in_any_size(feed: list[Event], width: int, height: int) -> None:
    topics = [event.topic for event in feed if isinstance(event, Subscribed | Gap)]
    view = MarketView.of(topics) or MarketView()
    for event in feed:
        view.take(event, NOON)
    assert view.events == len(feed)
    assert len(drawn(view, width=width, height=height).splitlines()) <= height


# --- candles ------------------------------------------------------------------------------------


def chart(*some: Candle, width: int, height: int, ascii_only: bool = False) -> list[str]:
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.TextIOWrapper(io.BytesIO(), "ascii" if ascii_only else "utf-8"),
        color_system=None,
    )
    console.print(CandleChart(some, 60), height=height)
    return console.export_text().splitlines()


def test_bodies_and_wicks_are_where_the_prices_are() -> None:
    some = (candle(0, *"2461"), candle(1, *"4261"), candle(2, *"3333"))
    lines = chart(*some, width=14, height=5)
    assert [line.rstrip() for line in lines] == [
        "      │ │    6",
        "      ╽ ▄",
        "      ┃ █ ╹  3",
        "      ╿ ▀    1",
        f"       {clock(NOON + 120)[:5]}",
    ]


def test_without_unicode_the_two_kinds_still_differ() -> None:
    some = (candle(0, *"2461"), candle(1, *"4261"))
    text = "\n".join(chart(*some, width=14, height=5, ascii_only=True))
    assert "+ #" in text
    assert text.isascii()


def test_a_period_without_a_candle_is_empty() -> None:
    lines = chart(candle(0, *"1111"), candle(3, *"1111"), width=14, height=4)
    assert [len(found) for found in re.findall("╻( +)╻", "\n".join(lines))] == [5]


def test_many_candles_stand_side_by_side_and_the_latest_are_in_sight() -> None:
    some = [candle(n, "1", "2", "2", "1") for n in range(100)]
    lines = chart(*some, width=32, height=8)
    assert any("┃" * 30 in line for line in lines)
    times = lines[-1].split()
    assert times == [clock(NOON + 60 * 70)[:5], clock(NOON + 60 * 99)[:5]]
    assert "█" * 30 in lines[-2], "the amounts"


def test_prices_that_leave_no_room_for_candles_are_left_out() -> None:
    lines = chart(candle(0, *["7" * 20] * 4), width=30, height=5)
    assert "7" not in "".join(lines[:-1])


def test_days_are_dates() -> None:
    console = Console(record=True, width=30, height=5, file=io.StringIO(), color_system=None)
    console.print(CandleChart([candle(0, *"1111")], 86400), height=5)
    assert console.export_text().splitlines()[-1].split() == ["2027-01-15"]


def test_a_time_that_no_clock_here_can_show_is_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The last minute of 9999 in Greenwich is one of 10000 in the east.
    monkeypatch.setenv("TZ", "XYZ-8")
    time.tzset()
    try:
        one = Candle(253_402_300_740, *[Decimal(1)] * 6)
        assert chart(one, width=30, height=5)[-1].split() == ["?"]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_candle_is_no_chart() -> None:
    assert chart(width=30, height=5) == []


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            BOOK,
            "depth_BTC/USDT_1x: best bid 9150, amount 1, 3 levels; best ask 9150.2, amount 0.5,",
        ),
        (book(), "depth_BTC/USDT_1x: no bids; no asks"),
        (
            book(asks=levels(("1", "1")), bids=levels(("2", "1"))),
            "depth_BTC/USDT_1x: crossed; best bid 2, amount 1, 1 levels; best ask 1,",
        ),
        (trades(), "deals_BTC/USDT: no trades"),
        (
            trades(*(deal(n, str(n)) for n in range(5, 0, -1))),
            "deals_BTC/USDT: buy 0.1 at 5, buy 0.1 at 4, buy 0.1 at 3, and 2 before",
        ),
        (candles(), "kline_BTC/USDT_1m: no candles"),
        (
            candles(candle(1, *"2431")),
            f"kline_BTC/USDT_1m: from {clock(NOON + 60)} open 2, high 3, low 1, close 4, amount 1",
        ),
        (
            candles(candle(0, *"1111"), candle(1, *"2431")),
            f"kline_BTC/USDT_1m: 2 candles, the newest from {clock(NOON + 60)} open 2",
        ),
        (
            SubscriptionRejected(DEALS, "sub_deals_BTC/USDT", 1, "", None, 1),
            "code 1 (no message): check the market, --period and --merge",
        ),
    ],
)
def test_an_update_is_a_line(event: Event, words: str) -> None:
    assert words in describe(event)
