"""The live screen: what it makes of events, and how that looks in any size, without colour."""

import io
import re
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from topone_cli._describe import average, describe
from topone_cli._errors import in_options
from topone_cli._format import clock, number, price
from topone_cli._output import AccountShown, live_screen
from topone_cli._picture import picture
from topone_cli._view import View
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Response,
    Resumed,
    Side,
    Stalled,
    Subscribed,
    UnexpectedResponse,
)
from topone_proto.testing.strategies import events

pytestmark = pytest.mark.thorough

NOON = 1_800_000_000.0
ORDER = Order(
    id=132991,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.PENDING,
    price=Decimal("0.08132"),
    amount=Decimal("1.389"),
    left=Decimal("1.389"),
    deal_stock=Decimal(0),
    deal_money=Decimal(0),
    create_time=NOON,
    update_time=NOON,
)
FILLED = evolve(
    ORDER,
    status=OrderStatus.COMPLETED,
    left=Decimal(0),
    deal_stock=Decimal("1.389"),
    deal_money=Decimal("0.10953654"),
)
BTC = Balance("BTC", Decimal("12.50000000"), Decimal("0E-16"))
LOST = Failure(FailureKind.LOST)


FOLLOWED = (Connected(1), Subscribed(ORDERS, 1, 1), Subscribed(BALANCE, 1, 1))


def order_update(order: Order = ORDER, **changes: Any) -> OrderUpdate:
    return OrderUpdate(evolve(order, **changes), ts=1)


def view_of(*events: Event, at: float = NOON) -> View:
    view = View()
    for event in events:
        view.take(event, at)
    return view


def drawn(view: View, at: float = NOON, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), color_system=None
    )
    console.print(picture(view, "the title", at, width=width, height=height), height=height)
    return console.export_text().splitlines()


def test_a_view_knows_the_life_of_the_feed() -> None:
    view = view_of()
    assert (view.state, view.epoch) == ("connecting", 0)
    view.take(Connected(epoch=1), NOON)
    assert (view.state, view.epoch, view.retry_at) == ("connected", 1, None)
    view.take(Disconnected(LOST, retry_in=2.5, epoch=1, attempt=1), NOON)
    assert (view.state, view.retry_at) == ("disconnected", NOON + 2.5)
    assert "disconnected, retry in 1.5 s" in drawn(view, NOON + 1)[1]
    assert "disconnected, retry in 0.0 s" in drawn(view, NOON + 9)[1]
    view.take(Connected(epoch=2), NOON + 3)
    assert (view.state, view.epoch, view.retry_at) == ("connected", 2, None)
    view.take(Closed(), NOON + 4)
    assert view.state == "closed"
    assert [line.name for line in view.log] == ["Connected", "Disconnected", "Connected", "Closed"]


def test_what_a_stalled_stream_says_of_the_connection_is_of_the_past() -> None:
    view = view_of(Connected(epoch=1))
    view.take(Stalled("older messages are still to be read", ""), NOON)
    view.take(Disconnected(LOST, retry_in=2.5, epoch=1, attempt=1), NOON)
    assert view.state == "stalled"
    view.take(Resumed(), NOON)
    assert view.state == "disconnected"
    view.take(Stalled("the bus cannot be read", ""), NOON)
    view.take(Connected(epoch=2), NOON)
    view.take(Resumed(), NOON)
    assert view.state == "connected"


def test_a_feed_that_ended_by_itself_has_failed() -> None:
    refused = Failure(FailureKind.HANDSHAKE, status=403)
    ended = Disconnected(refused, retry_in=None, epoch=0, attempt=0)
    view = view_of(ended, Closed(refused))
    assert (view.state, view.retry_at) == ("failed", None)


def test_an_order_moves_from_open_to_closed() -> None:
    view = view_of(order_update(), order_update(id=7))
    assert [order.id for order in view.open_orders()] == [7, 132991]
    view.take(OrderUpdate(FILLED, ts=2), NOON)
    assert [order.id for order in view.open_orders()] == [7]
    assert view.closed_orders() == [FILLED]


def test_an_order_of_unknown_status_stays_in_sight() -> None:
    view = view_of(order_update(status=OrderStatus(42)))
    assert [order.id for order in view.open_orders()] == [132991]
    assert view.closed_orders() == []


def test_what_was_filled_is_shown_the_latest_first() -> None:
    part = evolve(ORDER, deal_stock=Decimal("0.4"), deal_money=Decimal("0.03"))
    rest = evolve(FILLED, update_time=NOON + 2)
    view = view_of(order_update(), OrderUpdate(part, ts=2), OrderUpdate(rest, ts=3))
    assert [fill.deal_stock for fill in view.fills] == [Decimal("0.989"), Decimal("0.4")]
    screen = "\n".join(drawn(view))
    assert re.search(r"ETH/BTC +buy +0\.989 +0\.08042\d+ │\n", screen)
    assert "since the order was made" not in screen


def test_a_fill_of_an_order_first_seen_has_a_mark_that_is_explained() -> None:
    screen = "\n".join(drawn(view_of(OrderUpdate(FILLED, ts=1))))
    assert re.search(r"1\.389\* +0\.07886 ", screen)
    assert "* since the order was made" in screen


def test_a_mark_that_is_not_in_sight_is_not_explained() -> None:
    part = evolve(ORDER, deal_stock=Decimal("0.1"), deal_money=Decimal("0.01"))
    more = [
        evolve(part, deal_stock=part.deal_stock * n, deal_money=part.deal_money * n)
        for n in range(1, 10)
    ]
    view = view_of(*(OrderUpdate(order, ts=1) for order in more))
    assert len(view.fills) == 9
    assert "*" not in "\n".join(drawn(view))
    assert "* since the order was made" in "\n".join(drawn(view, height=60))


def rows(view: View) -> str:
    """Return the rows above the log."""
    return "\n".join(drawn(view)[2:16])


def test_what_came_before_a_gap_is_marked_until_it_comes_again() -> None:
    view = view_of(*FOLLOWED, order_update(), BalanceUpdate(BTC, ts=1))
    assert "?" not in rows(view)
    view.take(Gap(ORDERS, since_ts=1, until_ts=2, epoch=2), NOON)
    assert "132991?" in rows(view)
    assert "? may be outdated" in rows(view)
    assert "BTC?" not in rows(view), "the gap was of another topic"
    view.take(Gap(BALANCE, since_ts=1, until_ts=2, epoch=2), NOON)
    assert "BTC?" in rows(view)
    view.take(BalanceUpdate(BTC, ts=3), NOON)
    view.take(order_update(), NOON)
    assert "?" not in rows(view)


def test_while_there_is_no_connection_every_row_may_be_outdated() -> None:
    view = view_of(*FOLLOWED, order_update(), BalanceUpdate(BTC, ts=1))
    view.take(Disconnected(LOST, retry_in=2.5, epoch=1, attempt=1), NOON)
    assert "132991?" in rows(view)
    assert "BTC?" in rows(view)


def test_when_it_is_closed_the_rows_are_what_they_were() -> None:
    followed = view_of(*FOLLOWED, order_update(), Closed())
    assert "132991 " in rows(followed)
    lost = view_of(*FOLLOWED, order_update(), Disconnected(LOST, 2.5, 1, 1), Closed())
    assert "132991?" in rows(lost)


def test_a_state_that_goes_backwards_is_an_anomaly_in_the_log() -> None:
    view = view_of(OrderUpdate(FILLED, ts=1), order_update())
    assert view.anomalies == 1
    assert any(
        "MovedBackwards order 132991: the order was closed already" in line for line in drawn(view)
    )


def test_the_lag_is_from_the_servers_time_to_the_local_clock() -> None:
    view = view_of(Connected(1))
    assert "lag by ts -  " in drawn(view)[1]
    view.take(OrderUpdate(ORDER, ts=round(NOON * 1000) - 38), NOON)
    assert "lag by ts 38 ms  " in drawn(view)[1]
    view.take(BalanceUpdate(BTC, ts=round(NOON * 1000) + 2500), NOON)
    assert "lag by ts -2500 ms  " in drawn(view)[1], "the clocks differ"
    view.take(BalanceUpdate(BTC, ts=1), NOON)
    assert "lag by ts 1.8e+09 s  " in drawn(view)[1]
    view.take(Disconnected(LOST, retry_in=2.5, epoch=1, attempt=1), NOON)
    assert view.lag is None


def test_gaps_anomalies_and_events_are_counted() -> None:
    odd = (
        Malformed("not JSON", "$", "{", 1),
        UnexpectedResponse(Response("1", "sub_orders", 0, "", 1), "answers no request"),
    )
    gaps = (Gap(ORDERS, None, None, 2), Gap(BALANCE, None, None, 2))
    header = drawn(view_of(Connected(2), *odd, *gaps))[1]
    assert "connected  epoch 2  gaps 2  lag by ts -  anomalies 2  events 5, 0.0/s" in header


def test_the_rate_is_that_of_the_last_five_whole_seconds() -> None:
    view = view_of(*[order_update()] * 10, at=NOON)
    view.take(order_update(), NOON + 4)
    assert view.rate(NOON) == 0, "the second is not over"
    assert view.rate(NOON + 1) == 2.0
    assert view.rate(NOON + 5) == 2.2
    assert view.rate(NOON + 6) == 0.2
    assert view.rate(NOON + 60) == 0


def test_the_screen_at_80_columns() -> None:
    view = view_of(
        *FOLLOWED,
        BalanceUpdate(BTC, ts=1),
        order_update(id=5, type=OrderType.MARKET, price=None),
        order_update(),
        OrderUpdate(evolve(FILLED, id=6), ts=1),
    )
    view.note("something happens", NOON)
    lines = drawn(view)
    assert len(lines) == 24
    assert all(len(line) == 80 for line in lines[2:])
    screen = "\n".join(lines)
    assert re.search(r"│ BTC +12\.5 +0 │", screen)
    assert re.search(r"132991 +ETH/BTC +buy +limit +0\.08132 +1\.389 +0 ", screen)
    assert re.search(r"5 +ETH/BTC +buy +market +- +1\.389 BTC +0 ", screen)
    assert re.search(r"\d\d:\d\d:\d\d +ETH/BTC +buy +1\.389\* +0\.07886 │\n", screen)
    assert screen.index("│ 132991 ") < screen.index("│ 5 "), "the latest first"
    assert "Open orders seen: 2" in screen
    assert re.search(r"│ \d\d:\d\d:\d\d Connected epoch 1 +│", screen)
    assert re.search(r"│ \d\d:\d\d:\d\d something happens +│", screen)


def test_the_lines_of_a_gap_fit_80_columns() -> None:
    ts = 1_800_000_000_123
    lines = drawn(view_of(Gap(BALANCE, since_ts=ts, until_ts=ts + 999, epoch=2)))
    (line,) = (line for line in lines if "Gap" in line)
    assert re.search(r"balance: updates may be missing, \S+\.123 to \S+\.122 +│$", line)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_digit_of_an_amount_is_ever_cut(width: int) -> None:
    sevens = Decimal(f"{'7' * 12}.{'7' * 18}")
    view = view_of(
        *FOLLOWED,
        BalanceUpdate(Balance("BTC", sevens, Decimal(0)), ts=1),
        order_update(id=1, price=Decimal(2), amount=sevens, update_time=1.0),
    )
    screen = "\n".join(drawn(view, width=width, height=50))
    assert screen.count(f"{'7' * 12}.{'7' * 18}") == 2


amounts = st.decimals(0, 10**24, allow_nan=False, allow_infinity=False, places=12).filter(bool)
orders = st.builds(
    order_update,
    id=st.integers(1, 10**15),
    type=st.sampled_from(OrderType),
    market=st.sampled_from(["ETH/BTC", "DOGE/USDT", "1000SATS/USDT"]),
    price=amounts,
    amount=amounts,
    left=amounts,
    deal_stock=amounts,
    deal_money=amounts,
    update_time=st.just(NOON),
)
balances = st.builds(
    lambda *parts: BalanceUpdate(Balance(*parts), ts=1),
    st.sampled_from(["BTC", "ETH", "USDT"]),
    amounts,
    amounts,
)


@given(st.lists(orders | balances, max_size=8), st.integers(40, 200), st.integers(20, 50))
def test_every_number_in_sight_is_a_whole_one(feed: list[Event], width: int, height: int) -> None:
    view = view_of(*FOLLOWED, *feed)
    whole = {clock(NOON)}
    for event in feed:
        match event:
            case OrderUpdate(order=order):
                given_numbers = (order.price, order.amount, order.deal_stock)
                whole |= {number(value) for value in given_numbers if value is not None}
                whole |= {str(order.id), average(order)}
            case BalanceUpdate(balance=balance):
                whole |= {number(balance.available), number(balance.freeze)}
            case _:
                raise AssertionError
    for fill in view.fills:
        whole |= {number(fill.deal_stock), price(fill.price)}
    screen = drawn(view, width=width, height=height)
    end = next(n for n, line in enumerate(screen) if " Feed " in line)
    for line in screen[2:end]:
        if line.startswith("│"):
            for word in line.replace("│", " ").split():
                if word[0].isdigit() and not word.startswith("1000SATS"):
                    assert word.rstrip("*?") in whole, line


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "topone demo over trio, ws://127.0.0.1:41965/ws/user/"),
        (52, "topone demo over trio, ws://127.0.0.1:41965/ws/user/"),
        (51, "topone demo over trio"),
        (20, "topone demo over tr…"),
    ],
)
def test_a_title_has_no_part_of_a_url(width: int, shown: str) -> None:
    console = Console(record=True, width=width, height=24, file=io.StringIO(), color_system=None)
    title = "topone demo over trio, ws://127.0.0.1:41965/ws/user/"
    console.print(picture(View(), title, NOON, width=width), height=24)
    assert console.export_text().splitlines()[0].rstrip() == shown


def test_what_fits_in_no_column_stands_below() -> None:
    amount = Decimal("1234567890.12345678")
    view = view_of(*FOLLOWED, *(order_update(id=n, amount=amount) for n in range(9, 0, -1)))
    lines = drawn(view, width=40)
    first = next(n for n, line in enumerate(lines) if "Open orders" in line) + 1
    assert lines[first].strip("│ ") == "1  ETH/BTC  buy  price 0.08132"
    assert lines[first + 1].strip("│").rstrip() == "   amount 1234567890.12345678"
    assert lines[first + 2].strip("│").rstrip() == "   filled 0"


def test_a_number_wider_than_the_terminal_is_not_shown_in_part() -> None:
    view = view_of(*FOLLOWED, BalanceUpdate(Balance("BTC", Decimal("7" * 50), Decimal(3)), ts=1))
    screen = "\n".join(drawn(view, width=40, height=40))
    assert "7" not in screen
    assert "###" in screen


@pytest.mark.parametrize(("width", "height"), [(40, 24), (80, 24), (200, 24)])
def test_a_title_counts_what_is_in_sight(width: int, height: int) -> None:
    known = [Balance(f"A{n:03}", Decimal(n), Decimal(0)) for n in range(40)]
    view = view_of(
        *FOLLOWED,
        *(BalanceUpdate(balance, ts=1) for balance in known),
        *(order_update(id=n) for n in range(1100, 1140)),
    )
    screen = "\n".join(drawn(view, width=width, height=height))
    orders, balances = (len(re.findall(row, screen)) for row in (r"│ 11\d\d ", r"│ A\d\d\d "))
    assert f"Open orders seen: {orders} of 40" in screen
    assert f"Balances seen: {balances} of 40" in screen


def test_a_market_buy_says_in_which_coin_its_amount_is() -> None:
    buy = evolve(FILLED, type=OrderType.MARKET, amount=Decimal("0.1"), left=Decimal("0.004"))
    assert "buy market 0.1 BTC: completed, filled 1.389 at " in describe(OrderUpdate(buy, ts=1))
    sell = evolve(buy, side=Side.SELL, amount=Decimal(2))
    assert "sell market 2: completed" in describe(OrderUpdate(sell, ts=1))
    view = view_of(OrderUpdate(evolve(buy, status=OrderStatus.PENDING), ts=1))
    assert any(re.search(r"market +0.08132 +0\.1 BTC +1\.389 ", line) for line in drawn(view))


def test_columns_go_before_numbers_do() -> None:
    view = view_of(order_update(amount=Decimal("1234567890.12345678"), price=Decimal("0.12345678")))
    narrow, wide = drawn(view), drawn(view, width=120)
    assert any("1234567890.12345678" in line for line in narrow)
    assert not any("average" in line for line in narrow)
    assert any("average" in line for line in wide)


def test_the_advice_of_a_failure_is_there_in_whole() -> None:
    refused = Failure(FailureKind.HANDSHAKE, status=403)
    lines = drawn(view_of(Disconnected(refused, retry_in=1.0, epoch=0, attempt=1)))
    words = " ".join(" ".join(line.strip("│ ") for line in lines).split())
    assert in_options(refused.advice) in words
    first = next(n for n, line in enumerate(lines) if "Disconnected" in line)
    assert lines[first + 1].startswith("│" + " " * 10), "as far to the right as the words above"


def test_long_lines_leave_room_for_the_latest() -> None:
    view = view_of(*[Disconnected(Failure(FailureKind.HANDSHAKE, status=429), 60.0, 1, 1)] * 9)
    view.note("the latest", NOON)
    assert any("the latest" in line for line in drawn(view))


def test_a_dial_that_fails_again_and_again_is_one_line() -> None:
    view = view_of(Connected(1))
    for attempt in range(1, 13):
        view.take(Disconnected(LOST, attempt / 10, 1, attempt), NOON)
        if attempt == 1:
            view.note("what to do", NOON)
    lines = [line for line in drawn(view) if "Disconnected" in line]
    assert len(lines) == 1
    assert "Disconnected 12 times, retry in 1.2 s, lost" in lines[0]
    assert [line.name for line in view.log] == ["Connected", "", "Disconnected"]


@pytest.mark.parametrize(
    "between",
    [Connected(2), Disconnected(Failure(FailureKind.REFUSED), 0.2, 1, 2)],
)
def test_what_happens_once_more_is_not_the_same_failure(between: Event) -> None:
    again = Disconnected(LOST, 0.1, 1, 1)
    view = view_of(again, between, again)
    assert [line.times for line in view.log] == [1, 1, 1]


def test_what_happened_stands_out_from_its_time() -> None:
    console = Console(
        width=80, height=24, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    view = view_of(Disconnected(LOST, retry_in=2.5, epoch=1, attempt=1))
    console.print(picture(view, "", NOON, width=80), height=24)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[1;31mDisconnected \x1b[0mretry in 2.5 s" in console.file.getvalue()


def test_a_line_too_long_for_the_log_keeps_its_beginning() -> None:
    view = view_of()
    view.note("begin " + "word " * 200, NOON)
    assert any("begin word" in line for line in drawn(view))


def test_a_wide_screen_shows_closed_orders_too() -> None:
    view = view_of(OrderUpdate(FILLED, ts=1))
    assert not any("completed" in line for line in drawn(view))
    assert any(
        re.search(r"132991 +ETH/BTC +buy +completed", line) for line in drawn(view, width=200)
    )


def test_more_rows_than_fit_leave_the_latest() -> None:
    view = view_of(*FOLLOWED, *(order_update(id=n) for n in range(1100, 1200)))
    for n in range(50):
        view.note(f"note {n}", NOON)
    screen = "\n".join(drawn(view))
    assert len(drawn(view)) == 24
    assert " 1199 " in screen
    assert " 1100 " not in screen
    assert "note 49 " in screen
    assert "note 1 " not in screen


def test_the_server_cannot_write_on_the_terminal() -> None:
    hostile = "[red]\x1b[2J\x07"
    view = view_of(
        BalanceUpdate(Balance(hostile, Decimal(1), Decimal(1)), ts=1),
        order_update(market=hostile),
        Malformed(hostile, "$", hostile, 1),
    )
    screen = "\n".join(drawn(view, width=120))
    assert "\x1b" not in screen
    assert "\x07" not in screen
    assert screen.count("[red]") >= 2, "and its words are no markup"


@given(st.lists(events(), max_size=20), st.integers(1, 130), st.integers(1, 50))
def test_any_feed_can_be_drawn_in_any_size(feed: list[Event], width: int, height: int) -> None:
    view = view_of(*feed)
    assert view.events == len(feed)
    assert len(drawn(view, width=width, height=height)) <= height


def test_the_live_screen_leaves_its_last_picture() -> None:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None, _environ={}
    )
    with (
        pytest.raises(KeyboardInterrupt),
        live_screen(AccountShown(), lambda: "the title", console, lambda: NOON) as output,
    ):
        output.event(Connected(epoch=1), NOON)
        output.note("the note", NOON)
        raise KeyboardInterrupt
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    live, left, last = written.rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in live
    assert left
    for words in ("the title", "connected  epoch 1", "the note"):
        assert words in last
