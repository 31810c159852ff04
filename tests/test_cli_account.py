"""``topone account``: what it shows of a healed account, how it ends, and its export of fills."""

import io
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Never

import pytest
from attrs import evolve
from rich.console import Console

from accounts import order
from commands import BOUND, SECRET, interrupt, invoke, read_until, run, running
from fill_files import sums
from topone_cli._account_view import AccountLife
from topone_cli._bookkeeper import _HISTORY_LAG, Bookkeeper
from topone_cli._exporter import Exporter
from topone_cli._fill_files import open_fill_file
from topone_cli._fills import CatchUp, Seen
from topone_cli._historian import Historian
from topone_cli._http import Fetcher
from topone_cli._output import PlainLines
from topone_cli._picture import picture
from topone_cli._run import Adapter
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    Connected,
    ConnectionFailed,
    Disconnected,
    Failure,
    FailureKind,
    Gap,
    Order,
    OrderStatus,
    Side,
    Subscribed,
    Token,
    Topic,
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
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
    StateNotStored,
)
from topone_proto.adapters import HttpEndpoint
from topone_proto.exchange import DropConnections, HangHttp
from topone_proto.plain import to_plain
from topone_proto.wire.http import HttpRequest, HttpResponse
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

NOON = 1_800_000_000.0
UNKNOWN, STALE, WHOLE = Knowledge.UNKNOWN, Knowledge.STALE, Knowledge.WHOLE
BTC = Balance("BTC", Decimal("12.5"), Decimal(0))
DONE = evolve(order(2, 3), status=OrderStatus.COMPLETED)
LOST = Disconnected(Failure(FailureKind.LOST), retry_in=2.0, epoch=1, attempt=1)


# --- the screen ----------------------------------------------------------------------------------


def changed(new: Order, *, healed: bool = False) -> OrderChanged:
    return OrderChanged(None, new, None if healed else 5, healed)


def known(topic: Topic, before: Knowledge, after: Knowledge) -> KnowledgeChanged:
    return KnowledgeChanged(topic, before, after)


def resynced(topic: Topic, *differences: Any, is_audit: bool = False) -> Resynced:
    return Resynced(topic, differences, 1, 2, is_audit)


FIRST: tuple[AccountEvent, ...] = (
    Connected(1),
    Subscribed(ORDERS, 1, 1),
    Subscribed(BALANCE, 1, 1),
    changed(order(1, 2), healed=True),
    AggregatedFill(order(1, 2), None, Decimal(2), Decimal(4), healed=True),
    known(ORDERS, UNKNOWN, WHOLE),
    resynced(ORDERS, changed(order(1, 2), healed=True)),
    BalanceChanged(None, BTC, None, healed=True),
    known(BALANCE, UNKNOWN, WHOLE),
    resynced(BALANCE, BalanceChanged(None, BTC, None, healed=True)),
)


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


# --- the books -----------------------------------------------------------------------------------


class Account:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def order_calls_made(self, count: int) -> None:
        self.calls.append(f"made {count}")

    def order_calls_blocked(self) -> None:
        self.calls.append("blocked")


class Ways:
    """A historian whose ways are read by hand."""

    def __init__(self) -> None:
        self.is_blocked = False
        self.begun: list[tuple[CatchUp, Callable[[CatchUp], object], float]] = []

    def begin(self, way: CatchUp, done: Callable[[CatchUp], object], wait: float = 0.0) -> None:
        self.begun.append((way, done, wait))

    def finish(self) -> None:
        way, done, _ = self.begun[-1]
        done(way)


@contextmanager
def books(path: Path) -> Iterator[tuple[Bookkeeper, Ways, list[str]]]:
    ways, notes = Ways(), list[str]()
    file = open_fill_file(path)
    exporter = Exporter(file)
    keeper = Bookkeeper(exporter, ways, file.seen, notes.append)
    yield keeper, ways, notes
    keeper.end()
    exporter.close()


def seen(path: Path) -> Seen | None:
    file = open_fill_file(path)
    file.close()
    return file.seen


def test_a_file_is_sure_only_after_a_second_look(tmp_path: Path) -> None:
    path, account = tmp_path / "fills.csv", Account()
    with books(path) as (keeper, ways, notes):
        for event in FIRST:
            keeper.take(event, account)
        assert account.calls == ["made 1"]
        [(way, _, wait)] = ways.begun
        assert (way.seen, way.is_open, wait) == (None, frozenset({1}), 0.0)
        ways.begun[0][0].latest = 40
        ways.finish()  # a new file begins here
    assert seen(path) == Seen(40, frozenset({1}))
    with books(path) as (keeper, ways, notes):
        for event in (*FIRST[:3], changed(order(41)), known(ORDERS, UNKNOWN, WHOLE)):
            keeper.take(event, account)
        ways.finish()
        assert ways.begun[1][2] == _HISTORY_LAG
        # Order 1 is on no page.
        ways.finish()
    assert len(notes) == 1
    assert notes[0].startswith("order 1 was open when the file was last written")
    assert seen(path) == Seen(41, frozenset({41}))


def test_what_was_read_before_a_gap_makes_nothing_sure(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    with books(path) as (keeper, ways, _):
        for event in (*FIRST, known(ORDERS, WHOLE, STALE)):
            keeper.take(event, Account())
        ways.finish()
    assert seen(path) is None


def test_as_time_goes_by_it_is_sure_of_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "fills.csv", [1000.0]
    monkeypatch.setattr("topone_cli._bookkeeper.time.monotonic", lambda: now[0])
    with books(path) as (keeper, ways, _):
        for event in FIRST:
            keeper.take(event, Account())
        ways.finish()
        for number in (50, 51, 52):
            now[0] += 20
            keeper.take(changed(order(number)), Account())
    # The latest of half a minute ago.
    assert seen(path) == Seen(51, frozenset({1, 50, 51, 52}))


def test_the_account_learns_that_the_exchange_blocks(tmp_path: Path) -> None:
    account = Account()
    with books(tmp_path / "fills.csv") as (keeper, ways, _):
        ways.is_blocked = True
        keeper.take(Connected(1), account)
        keeper.take(Connected(1), account)
    assert account.calls == ["blocked"]


def test_rows_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    with books(tmp_path / "fills.csv") as (keeper, ways, notes):
        for event in FIRST:
            keeper.take(event, Account())
        ways.begun[0][0].unreadable = 3
        ways.finish()
    assert notes == ["3 finished orders could not be read: their fills may be missing in the file"]


def history(*orders: Order, mark: int = 0) -> HttpResponse:
    rows = [
        {
            "id": each.id, "market": each.market, "type": 1, "side": 2, "status": int(each.status),
            "price": "2", "amount": "10", "dealStock": str(each.deal_stock),
            "dealMoney": str(each.deal_money), "createTime": 50.0, "finishTime": 60.0,
        }
        for each in orders
    ]  # fmt: skip
    body = json.dumps({"code": 0, "data": {"pageMark": mark, "list": rows}})
    return HttpResponse(200, body.encode())


class Pages:
    """The requests of a historian, and the answers."""

    def __init__(self, *answers: HttpResponse | Exception) -> None:
        self.answers = [*answers]
        self.asked: list[HttpRequest] = []
        self.taken: list[Order] = []
        self.notes: list[str] = []
        self.waits: list[float] = []

    def fetch(self, request: HttpRequest, _: float) -> HttpResponse:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, way: CatchUp, token: Callable[[], Token | None] = lambda: Token("t")) -> Any:
        is_done = threading.Event()
        historian = Historian(self.fetch, token, self.taken.append, self.notes.append, pace=0.0)
        hold = historian._hold

        def note(seconds: float) -> None:
            self.waits.append(seconds)
            hold(0.0)

        historian._hold = note  # type: ignore[method-assign]  # no waiting here
        historian.begin(way, lambda _: is_done.set())
        assert is_done.wait(BOUND)
        historian.close()
        return historian


def finished(*numbers: int) -> list[Order]:
    return [evolve(order(n, 1), status=OrderStatus.COMPLETED) for n in numbers]


def test_pages_are_asked_for_one_after_the_other() -> None:
    pages = Pages(history(*finished(9, 8), mark=5), history(*finished(7, 6), mark=5))
    pages.read(CatchUp(Seen(7), frozenset()))
    assert [told.id for told in pages.taken] == [9, 8]
    assert [dict(request.query)["pageCursor"] for request in pages.asked] == ["0", "8"]


def test_a_failure_is_said_once_and_asked_again_later() -> None:
    lost = ConnectionFailed(Failure(FailureKind.LOST))
    pages = Pages(lost, lost, HttpResponse(503), history(*finished(9, 5)))
    pages.read(CatchUp(Seen(7), frozenset()))
    assert len(pages.notes) == 2
    assert pages.waits[:3] == [30.0, 60.0, 120.0]
    assert [told.id for told in pages.taken] == [9]


def test_a_limit_stops_it_for_an_hour() -> None:
    limit = HttpResponse(200, b'{"code": 10027, "msg": "too often"}')
    pages = Pages(limit, history(*finished(9, 5)))
    historian = pages.read(CatchUp(Seen(7), frozenset()))
    assert historian.is_blocked
    assert pages.waits[0] == 3600.0


def test_it_waits_for_a_token() -> None:
    tokens = iter([None, None, Token("t")])
    pages = Pages(history(*finished(9, 5)))
    pages.read(CatchUp(Seen(7), frozenset()), lambda: next(tokens))
    assert pages.waits[:2] == [5.0, 5.0]


def test_it_can_be_ended_at_any_time() -> None:
    def never(*_: object) -> Never:
        raise AssertionError

    historian = Historian(never, lambda: Token("t"), never, never)
    historian.begin(CatchUp(None, frozenset()), never, wait=1000.0)
    historian.close()


def test_a_request_that_is_under_way_is_ended() -> None:
    with run_in_thread(tokens={SECRET: "demo"}) as simulator:
        simulator.inject(HangHttp(times=None))
        fetcher, told = Fetcher(HttpEndpoint(simulator.http_url)), list[object]()
        historian = Historian(
            fetcher.fetch, lambda: Token(SECRET), told.append, told.append, fetcher.abort
        )
        historian.begin(CatchUp(None, frozenset()), told.append)
        until(lambda: len(simulator.http_calls) > 0)
        historian.close()
    assert told == []


def test_a_fault_in_the_thread_is_said() -> None:
    def broken() -> Token:
        raise ZeroDivisionError(SECRET)

    notes: list[object] = []
    historian = Historian(Pages().fetch, broken, notes.append, notes.append)
    historian.begin(CatchUp(None, frozenset()), notes.append)
    historian._thread.join(BOUND)
    historian.close()
    assert notes == ["finished orders are read no more, by a fault (ZeroDivisionError)"]


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=0.0, tokens={SECRET: "demo"}) as simulator:
        yield simulator


@pytest.fixture
def env(simulator: Simulator, tmp_path: Path) -> dict[str, str]:
    keys = simulator.credentials
    return {
        "TOPONE_APP_ID": keys.app_id,
        "TOPONE_APP_KEY": keys.reveal(),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def arguments(simulator: Simulator, *more: str) -> tuple[str, ...]:
    return ("account", "--url", simulator.url, "--http-url", simulator.http_url, "--json", *more)


def is_whole(line: str) -> bool:
    return '"Resynced"' in line and '"orders"' in line


def place(simulator: Simulator, amount: str = "2") -> int:
    changes = simulator.live(
        lambda account, now: account.place(
            "ETH/BTC", Side.BUY, Decimal(amount), now, price=Decimal("0.01")
        )
    )
    return next(each.id for each in changes if isinstance(each, Order))


def fill(simulator: Simulator, number: int, amount: str) -> None:
    simulator.live(lambda account, now: account.fill(number, Decimal(amount), now))


def truth(simulator: Simulator) -> dict[int, tuple[Decimal, Decimal]]:
    return {
        number: (order.deal_stock, order.deal_money)
        for number, order in simulator.orders.items()
        if order.deal_stock
    }


@pytest.mark.parametrize("adapter", Adapter)
def test_it_is_whole_again_after_a_drop(
    adapter: Adapter, simulator: Simulator, env: dict[str, str]
) -> None:
    number = place(simulator)
    with running(*arguments(simulator, "--adapter", adapter), env=env) as process:
        first = read_until(process, is_whole)
        assert f'"id": {number}' in "".join(first)
        simulator.inject(DropConnections())
        fill(simulator, number, "2")
        again = [json.loads(line) for line in read_until(process, is_whole)]
        code, _, err = interrupt(process)
    assert (code, err) == (130, "")
    fills = [each for each in again if each["event"] == "AggregatedFill"]
    assert [(each["deal_stock"], each["healed"]) for each in fills] == [("2", True)]
    assert (again[-1]["event"], again[-1]["topic"]) == ("Resynced", "orders")
    differences = {each["event"] for each in again[-1]["differences"]}
    assert differences == {"OrderChanged", "AggregatedFill"}


def test_a_token_does_as_well(simulator: Simulator, env: dict[str, str]) -> None:
    env = {name: text for name, text in env.items() if not name.startswith("TOPONE")}
    with running(*arguments(simulator), token=SECRET, env=env) as process:
        lines = read_until(process, is_whole)
        assert interrupt(process)[0] == 130
    assert SECRET not in "".join(lines)


def test_keys_that_are_refused_end_it_with_words_about_them(
    simulator: Simulator, env: dict[str, str]
) -> None:
    code, out, err = run(*arguments(simulator), env=env | {"TOPONE_APP_KEY": "5ecret"})
    assert code == 1
    assert "check the app id and the app key (the keys are those of the environment)" in err
    assert "5ecret" not in out + err


def test_without_keys_it_says_where_they_come_from(simulator: Simulator, tmp_path: Path) -> None:
    nowhere = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    code, _, err = run(*arguments(simulator), env=nowhere)
    assert code == 2
    assert "run 'topone login'" in err


def test_fills_without_orders_are_misuse() -> None:
    code, _, err = invoke("account", "--topics", "balance", "--export", "fills.csv")
    assert (code, "leave orders among --topics" in err) == (2, True)


@pytest.mark.parametrize("suffix", [".csv", ".sqlite"])
def test_no_fill_is_lost_or_comes_twice_when_it_is_killed(
    suffix: str, simulator: Simulator, env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / f"fills{suffix}"
    command = arguments(simulator, "--export", str(path))
    number = place(simulator)
    with running(*command, env=env) as process:
        read_until(process, is_whole)
        until(lambda: seen_at_rest(path) is not None)
        fill(simulator, number, "0.5")
        read_until(process, lambda line: '"AggregatedFill"' in line)
        process.kill()
    # While nobody looks: the rest of it, and an order from its beginning to its end.
    fill(simulator, number, "1.5")
    fill(simulator, place(simulator), "2")
    third = place(simulator)
    with running(*command, env=env) as process:
        read_until(process, is_whole)
        fill(simulator, third, "1")
        read_until(process, lambda line: '"AggregatedFill"' in line)
        until(lambda: sums(path) == truth(simulator))
        code, _, err = interrupt(process)
    assert (code, err) == (130, "")
    assert sums(path) == truth(simulator)


def seen_at_rest(path: Path) -> Seen | None:
    """The orders that a file is sure of, also while another process writes to it."""
    if path.suffix == ".csv":
        state = path.with_name(f"{path.name}.state")
        return Seen.from_text(state.read_bytes()) if state.exists() else None
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT seen FROM topone").fetchone()
    return None if found is None else Seen.from_text(found[0])


def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + BOUND
        time.sleep(0.01)


def test_a_file_of_another_shape_is_said_before_anything_is_dialled(
    simulator: Simulator, env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "fills.csv"
    path.write_text("a,b\n")
    code, out, err = run(*arguments(simulator, "--export", str(path)), env=env)
    assert (code, out) == (1, "")
    assert "is not a file of fills of this command" in err
    assert simulator.handshakes == ()
