"""The screen of ``topone account``: what is certain, and what is not."""

import io
import json
from decimal import Decimal

import pytest
from attrs import evolve
from rich.console import Console

from account_events import BTC, FIRST, STALE, WHOLE, changed, known, resynced
from accounts import order
from topone_cli._account_view import AccountLife
from topone_cli._output import PlainLines
from topone_cli._picture import picture
from topone_proto import (
    ORDERS,
    Closed,
    Connected,
    Disconnected,
    Failure,
    FailureKind,
    Gap,
    OrderStatus,
    Subscribed,
)
from topone_proto.account import (
    AccountEvent,
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    ClockCorrected,
    DelayCause,
    FetchDelayed,
    FetchFailed,
    FetchKind,
    FillCorrected,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    StateNotStored,
)
from topone_proto.plain import to_plain

pytestmark = pytest.mark.thorough

NOON = 1_800_000_000.0
DONE = evolve(order(2, 3), status=OrderStatus.COMPLETED)
LOST = Disconnected(Failure(FailureKind.LOST), retry_in=2.0, epoch=1, attempt=1)


def life_of(*events: AccountEvent) -> AccountLife:
    life = AccountLife()
    for event in events:
        life.take(event, NOON)
    return life


def drawn(life: AccountLife, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), color_system=None
    )
    console.print(picture(life, "the title", NOON, width=width, height=height), height=height)
    return console.export_text().splitlines()


def test_a_whole_account_says_so_and_has_no_marks() -> None:
    shown = "\n".join(drawn(life_of(*FIRST), width=200))
    assert "Balances, whole" in shown
    assert "Open orders, whole: 1" in shown
    assert "?" not in shown
    assert "orders: the first whole picture" in shown
    assert "missed" not in shown
    assert "HTTP" in shown


def test_after_its_end_every_row_is_marked_as_the_titles_say() -> None:
    shown = "\n".join(drawn(life_of(*FIRST, known(ORDERS, WHOLE, STALE), Closed()), width=200))
    assert "Open orders, stale: 1" in shown
    assert "1?" in shown
    assert "? may be outdated" in shown


def test_before_it_is_whole_rows_are_what_was_seen_so_far() -> None:
    life = life_of(*FIRST[:3], changed(order(1)))
    assert life.titles == ("Balances, so far", "Closed orders seen", "Open orders, so far")
    assert life.is_current(1)


def test_a_gap_marks_every_row_that_was_not_told_since() -> None:
    life = life_of(*FIRST, changed(order(3)), LOST, known(ORDERS, WHOLE, STALE))
    shown = "\n".join(drawn(life, width=120))
    assert "1?" in shown
    assert "3?" in shown
    assert "BTC?" in shown
    assert "? may be outdated" in shown
    assert "Open orders, stale" in shown
    for event in (Connected(2), Subscribed(ORDERS, 1, 2), Gap(ORDERS, 1, 2, 2), changed(order(3))):
        life.take(event, NOON)
    assert [life.is_current(name) for name in (1, 3, "BTC")] == [False, True, False]


def test_whole_again_says_what_was_missed() -> None:
    life = life_of(*FIRST, LOST, known(ORDERS, WHOLE, STALE), Connected(2), Gap(ORDERS, 1, 2, 2))
    missed: tuple[OrderChanged | AggregatedFill, ...] = (
        changed(DONE, healed=True),
        AggregatedFill(DONE, None, Decimal(3), Decimal(6), healed=True),
        *(changed(order(n), healed=True) for n in range(10, 20)),
    )
    for event in (*missed, known(ORDERS, STALE, WHOLE), resynced(ORDERS, *missed)):
        life.take(event, NOON)
    assert life.missed == 11
    assert life.is_current(1)
    lines = [f"{line.name} {line.text}" for line in life.log]
    assert "Resynced orders: whole again, 11 missed" in lines
    assert "Missed 2 ETH/BTC buy limit 10 at 2: completed, filled 3 at 2 (by HTTP)" in lines
    assert lines[-1] == "Missed and 3 more"
    assert "missed 11" in drawn(life)[1]


def test_what_an_audit_found_is_an_alarm() -> None:
    life = life_of(*FIRST, resynced(ORDERS, changed(DONE, healed=True), is_audit=True))
    assert "alarms 1" in drawn(life)[1]
    assert any("an audit found, 1 missed" in line.text for line in life.log)


def test_only_what_is_contradicted_is_marked() -> None:
    life = life_of(
        *FIRST, changed(order(3)), MovedBackwards(order(3, 2), order(3, 1), 5, "less"),
        known(ORDERS, WHOLE, STALE),
    )  # fmt: skip
    assert [life.is_current(name) for name in (1, 3, "BTC")] == [True, False, True]
    assert life.anomalies == 1
    life.take(known(ORDERS, STALE, WHOLE), NOON)
    assert life.is_current(3)


def test_an_order_of_an_unknown_outcome_is_open_no_more_and_counted() -> None:
    life = life_of(*FIRST, OutcomeUnknown(order(1, 2)))
    assert life.open_orders() == []
    assert "unknown outcomes 1" in drawn(life)[1]
    assert "outcome unknown" in "\n".join(drawn(life, width=200))
    life.take(changed(evolve(order(1, 2), status=OrderStatus.CANCELED)), NOON)
    assert (life.unknown_outcomes, len(life.closed_orders())) == ({}, 1)


def test_a_balance_that_is_listed_no_more_is_gone() -> None:
    assert life_of(*FIRST, BalanceUnlisted(BTC)).balances() == []


def test_a_question_that_fails_again_and_again_has_one_line() -> None:
    failed = FetchFailed(FetchKind.BALANCES, "HTTP 503", 1.0)
    life = life_of(*FIRST, failed, failed, failed)
    assert [line.times for line in life.log if line.name == "FetchFailed"] == [3]


ALL: tuple[AccountEvent, ...] = (
    *FIRST,
    FillCorrected(order(1), Decimal(-1), Decimal(-2)),
    OutcomeUnknown(order(1)),
    BalanceUnlisted(BTC),
    MovedBackwards(BTC, BTC, None, "it is another"),
    FetchFailed(FetchKind.TOKEN, "no\x1b[2J", None),
    FetchFailed(FetchKind.HISTORY, "HTTP 503", 3.0),
    FetchDelayed(FetchKind.TOKEN, DelayCause.BLOCK, 3000.0),
    ClockCorrected(-5.0),
    StateNotStored("the disk is full", 30.0),
    resynced(ORDERS, FillCorrected(order(1), Decimal(-1), Decimal(-2)), is_audit=True),
)


def test_everything_is_one_line_of_text_and_one_of_json() -> None:
    lines: list[str] = []
    plain = PlainLines(lines.append)
    for event in ALL:
        plain.event(event, NOON)
        assert json.loads(json.dumps(to_plain(event)))["event"] == type(event).__name__
    assert len(lines) == len(ALL)
    assert all(line.isprintable() for line in lines)
    assert any("order" not in line and "no\\x1b[2J" in line for line in lines)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_every_width_shows_it(width: int) -> None:
    life = life_of(*ALL, changed(order(7)), BalanceChanged(None, BTC, 1))
    lines = drawn(life, width=width)
    assert len(lines) <= 24
    assert all(len(line) <= width for line in lines)
    assert any("12.5" in line for line in lines)
