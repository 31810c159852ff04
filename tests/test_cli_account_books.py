"""The books of ``topone account --export``: which fills are sure, and what is read again."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Never

import pytest
from attrs import evolve

from account_events import FIRST, STALE, UNKNOWN, WHOLE, changed, known
from accounts import order
from commands import BOUND, SECRET
from http_servers import wait_until
from topone_cli._bookkeeper import _HISTORY_LAG, Bookkeeper
from topone_cli._exporter import Exporter
from topone_cli._fill_files import open_fill_file
from topone_cli._fills import CatchUp, Seen
from topone_cli._historian import Historian
from topone_cli._http import Fetcher
from topone_proto import (
    ORDERS,
    Connected,
    ConnectionFailed,
    Failure,
    FailureKind,
    Order,
    OrderStatus,
    Token,
)
from topone_proto.adapters import HttpEndpoint
from topone_proto.exchange import HangHttp
from topone_proto.wire.http import HttpRequest, HttpResponse
from topone_simulator import run_in_thread

pytestmark = pytest.mark.thorough


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
        wait_until(lambda: len(simulator.http_calls) > 0)
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
