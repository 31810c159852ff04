"""The export of fills: whatever happens and whenever the process is killed, the sums in the file
are what the exchange says of each order."""

import csv
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from accounts import order
from fill_files import read_rows, sums
from topone_cli._errors import CommandFailed
from topone_cli._exporter import Exporter
from topone_cli._fill_files import FillFile, open_fill_file, require_fill_file
from topone_cli._fills import COLUMNS, CatchUp, Seen
from topone_cli._usage import Misuse
from topone_proto import Order, OrderStatus
from topone_proto.wire.answers import Page
from topone_proto.wire.requests import PageKey

pytestmark = pytest.mark.thorough

SUFFIXES = (".csv", ".sqlite", ".parquet")
AMOUNTS = st.decimals("0.00000001", "1000000", allow_nan=False, places=8)


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"fills{request.param}"


def state(number: int = 1, stock: str = "0", money: str | None = None, **changes: Any) -> Order:
    return evolve(order(number, stock, paid=money), **changes)


def export(path: Path, *states: Order, seen: Seen | None = None) -> None:
    """A process that is told these states, and ends."""
    exporter = Exporter(open_fill_file(path))
    for told in states:
        exporter.take(told, healed=False)
    if seen is not None:
        exporter.sure_of(seen)
    exporter.close()


def amounts(plain: dict[int, tuple[int, int]]) -> dict[int, tuple[Decimal, Decimal]]:
    return {number: (Decimal(stock), Decimal(money)) for number, (stock, money) in plain.items()}


# --- one world, any number of processes ---------------------------------------------------------


@define
class World:
    """An exchange, and one process after the other that exports what it is told."""

    path: Path
    orders: dict[int, Order] = field(factory=dict[int, Order])
    numbers: "count[int]" = field(factory=lambda: count(1))
    file: FillFile | None = None
    told: list[Order] = field(factory=list[Order])
    """States that were told and are not written yet."""

    def make(self) -> None:
        self._tell(state(next(self.numbers)))

    def trade(self, n: int, stock: Decimal, money: Decimal) -> None:
        for old in self._open(n):
            self._tell(
                evolve(old, deal_stock=old.deal_stock + stock, deal_money=old.deal_money + money)
            )

    def correct(self, n: int, part: Decimal) -> None:
        for old in self._open(n):
            self._tell(evolve(old, deal_stock=old.deal_stock * part))

    def end(self, n: int) -> None:
        for old in self._open(n):
            self._tell(evolve(old, status=OrderStatus.COMPLETED))

    def start(self, page_size: int) -> None:
        """A process begins: it learns the open orders, and reads the finished ones it must."""
        if self.file is not None:
            return
        self.file = open_fill_file(self.path)
        is_open = {number for number, order in self.orders.items() if order.is_open}
        for number in is_open:
            self._tell(self.orders[number])
        finished = [self.orders[n] for n in sorted(self.orders, reverse=True) if n not in is_open]
        way = CatchUp(self.file.seen, frozenset(is_open))
        while way.key is not None:
            at = way.key.mark
            rows = tuple(finished[at : at + page_size])
            following = PageKey(0, at + page_size) if rows else None
            for old in way.take(Page(rows, next=following)):
                self._tell(old)
        assert not way.missing
        self.write()
        self.file.write((), Seen(way.latest, frozenset(is_open)))

    def write(self) -> None:
        if self.file is not None:
            found = [self.file.exported.next_row(told, healed=True) for told in self.told]
            self.file.write([row for row in found if row is not None])
            self.told.clear()

    def be_sure(self) -> None:
        if self.file is not None:
            self.write()
            is_open = {number for number, order in self.orders.items() if order.is_open}
            self.file.write((), Seen(max(self.orders, default=0), frozenset(is_open)))

    def kill(self, part: float) -> None:
        """The process ends in the middle of a write, of which a part comes through."""
        if self.file is None:
            return
        size = self.path.stat().st_size
        if self.path.suffix == ".csv":
            self.write()
            written = self.path.read_bytes()
            self.path.write_bytes(written[: size + round((len(written) - size) * part)])
        elif part > 0.5:
            self.write()
        else:
            self.path.with_name(f".{self.path.name}.new").write_bytes(b"half of a fi")
        self.told.clear()
        self.file.close()
        self.file = None

    def check(self) -> None:
        found = sums(self.path)
        for number, truth in self.orders.items():
            assert found.pop(number, (0, 0)) == (truth.deal_stock, truth.deal_money)
        assert not found

    def _open(self, n: int) -> list[Order]:
        is_open = [order for order in self.orders.values() if order.is_open]
        return is_open[n % len(is_open) :][:1] if is_open else []

    def _tell(self, new: Order) -> None:
        self.orders[new.id] = new
        if self.file is not None:
            self.told.append(new)


DEEDS: st.SearchStrategy[Callable[[World], None]] = st.one_of(
    st.just(World.make),
    st.just(World.write),
    st.just(World.be_sure),
    st.builds(lambda *a: lambda w: w.trade(*a), st.integers(0, 5), AMOUNTS, AMOUNTS),
    st.builds(
        lambda *a: lambda w: w.correct(*a),
        st.integers(0, 5),
        st.sampled_from([Decimal(0), Decimal("0.5")]),
    ),
    st.builds(lambda n: lambda w: w.end(n), st.integers(0, 5)),
    st.builds(lambda part: lambda w: w.kill(part), st.floats(0, 1)),
    st.builds(lambda size: lambda w: w.start(size), st.integers(1, 4)),
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(deeds=st.lists(DEEDS, max_size=30))
def test_the_sums_are_the_truth_whenever_it_is_killed(
    suffix: str, deeds: list[Callable[[World], None]]
) -> None:
    with TemporaryDirectory() as directory:
        world = World(Path(directory) / f"fills{suffix}")
        world.start(1)
        try:
            for deed in deeds:
                deed(world)
            world.start(2)
            world.write()
            world.check()
        finally:
            if world.file is not None:
                world.file.close()


# --- what is in a file ---------------------------------------------------------------------------


def test_a_row_says_all_of_a_fill(path: Path) -> None:
    export(path, state(7, "0.10", "0.3"), state(7, "0.4", "0.9"), state(7, "0.3", "0.7"))
    rows = read_rows(path)
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    first, second, third = ([str(cell) for cell in list(row.values())[5:]] for row in rows)
    is_not = {".csv": "false", ".sqlite": "0", ".parquet": "False"}[path.suffix]
    assert first == ["fill", "0.1", "0.3", "3", is_not, "0.1", "0.3"]
    assert second == ["fill", "0.3", "0.6", "2", is_not, "0.4", "0.9"]
    empty = "" if path.suffix == ".csv" else "None"
    assert third == ["correction", "-0.1", "-0.2", empty, is_not, "0.3", "0.7"]
    row = rows[0]
    assert (int(row["order_id"]), int(row["number"]), row["market"]) == (7, 1, "ETH/BTC")
    assert row["side"] == "buy"
    assert str(row["time"]).replace(" ", "T")[:19] == "1970-01-01T00:01:40"


def test_amounts_are_exact_however_long_they_are(path: Path) -> None:
    stock = "12345678901234567890123456789.000000000000000000000000000000000000001"
    export(path, state(1, stock, "1e-40"))
    [row] = read_rows(path)
    assert (row["stock_amount"], Decimal(row["money_amount"])) == (stock, Decimal("1e-40"))


def test_an_order_without_a_time_has_none(path: Path) -> None:
    # Of the times that there are the last one is shown, too; what is later is none.
    export(path, state(1, "1", update_time=None), state(2, "1", update_time=253402300799.5))
    times = [row["time"] or None for row in read_rows(path)]
    assert times[0] is None
    assert str(times[1]).startswith("9999-12-31")


def test_what_is_told_again_is_not_written_again(path: Path) -> None:
    for _ in range(3):
        export(path, state(1, "2"), state(1, "2"), state(2, "1"))
    assert sums(path) == amounts({1: (2, 4), 2: (1, 2)})


def test_a_market_with_a_line_end_stays_in_its_line(path: Path) -> None:
    for _ in range(2):
        export(path, state(1, "2", market='A,"B\n/C'))
    [row] = read_rows(path)
    assert row["market"] == 'A,"B\\n/C'


def test_a_file_remembers_what_it_is_sure_of(path: Path) -> None:
    seen = Seen(12, frozenset({3, 4}))
    export(path, state(1, "2"), seen=seen)
    export(path, state(1, "3"))
    with closing(open_fill_file(path)) as file:
        assert file.seen == seen


# --- a file that cannot be used ------------------------------------------------------------------


def other_shape(path: Path) -> None:
    if path.suffix == ".csv":
        path.write_text("date,amount\n2026-01-01,5\n")
    elif path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE fills (date TEXT)")
    else:
        pyarrow.parquet.write_table(pa.table({"date": [1]}), path)


def test_a_file_of_another_shape_is_refused_and_stays_as_it_is(path: Path) -> None:
    other_shape(path)
    before = path.read_bytes()
    with pytest.raises(
        CommandFailed, match=r"is not a file of fills of this command .* another name"
    ):
        open_fill_file(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"\xff\xfe\n\n\n", b"order_id,number\n1,2\n"])
def test_so_is_a_file_of_another_kind(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CommandFailed, match="is not a file of fills"):
        open_fill_file(path)
    assert path.read_bytes() == content


def test_a_row_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    export(path, state(1, "2"))
    path.write_bytes(path.read_bytes() + b"1,2,3\n")
    before = path.read_bytes()
    with pytest.raises(CommandFailed, match="line 3 is not a row of it"):
        open_fill_file(path)
    assert path.read_bytes() == before


def test_a_row_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    export(path, state(1, "2"), state(1, "3"))
    path.write_bytes(path.read_bytes()[:-2])
    export(path, state(1, "3"))
    assert sums(path) == amounts({1: (3, 6)})
    # What a loss of power leaves where nothing was written yet.
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    export(path, state(1, "5"))
    assert sums(path) == amounts({1: (5, 10)})


def test_two_processes_do_not_write_to_one_file(path: Path) -> None:
    with closing(open_fill_file(path)), pytest.raises(CommandFailed, match="another process"):
        open_fill_file(path)
    open_fill_file(path).close()


def test_a_directory_is_no_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(CommandFailed, match="cannot"):
        open_fill_file(path)


def test_names_are_looked_at_before_anything_else(tmp_path: Path) -> None:
    require_fill_file(None)
    require_fill_file(tmp_path / "a.CSV")
    with pytest.raises(Misuse, match=r"\.csv, \.sqlite or \.parquet"):
        require_fill_file(tmp_path / "fills.xlsx")
    with pytest.raises(Misuse, match="could be a token"):
        require_fill_file(tmp_path / "topapi:5ecret.csv")
    with pytest.raises(CommandFailed, match="No such file"):
        require_fill_file(tmp_path / "missing" / "fills.csv")


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "topone-proto\[export\]"'):
        require_fill_file(tmp_path / "a.parquet")


class Full(io.FileIO):
    """A disk with room for a few bytes."""

    room = 20

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return super().write(part)


def test_a_full_disk_ends_it_with_a_whole_row_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    export(path, state(1, "2"))
    file = open_fill_file(path)
    broken: Any = file
    broken._file.close()
    broken._file = Full(path, "r+b")
    broken._file.seek(0, io.SEEK_END)
    exporter = Exporter(file)
    exporter.take(state(1, "3"), healed=False)
    with pytest.raises(CommandFailed, match="No space left"):
        exporter.close()
    assert exporter.is_broken
    assert sums(path) == amounts({1: (2, 4)})
    export(path, state(1, "3"))
    assert sums(path) == amounts({1: (3, 6)})


def test_a_slow_disk_keeps_the_last_state_of_each_order(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    exporter = Exporter(open_fill_file(path))
    with exporter._condition:
        # As if the thread were writing.
        exporter._limit = 4
        for stock in range(1, 5):
            exporter.take(state(stock % 2, str(stock)), healed=False)
        assert len(exporter._states) == 2
    exporter.close()
    assert sums(path) == amounts({0: (4, 8), 1: (3, 6)})


def test_pages_are_read_down_to_what_the_file_is_sure_of() -> None:
    done = [evolve(order(n, 1), status=OrderStatus.COMPLETED) for n in range(20, 0, -1)]
    way = CatchUp(Seen(15, frozenset({12, 9})), frozenset({9, 21}))
    found = [told.id for told in way.take(Page(tuple(done[:4]), next=PageKey(17, 1)))]
    assert (found, way.key, way.missing) == ([20, 19, 18, 17], PageKey(17, 1), frozenset({12}))
    found = [told.id for told in way.take(Page(tuple(done[4:8]), next=PageKey(13, 1)))]
    assert (found, way.key) == ([16], PageKey(13, 1))
    found = [told.id for told in way.take(Page(tuple(done[8:12]), ("bad",), next=PageKey(9, 1)))]
    assert (found, way.key, way.missing, way.latest) == ([12], None, frozenset(), 21)
    assert way.unreadable == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "5", "{}", '{"latest": "5", "open": []}', '{"latest": 5, "open": 3}'),
        '{"latest": 5, "open": [null]}',
    ],
)
def test_what_it_is_sure_of_is_nothing_if_it_cannot_be_read(text: str) -> None:
    assert Seen.from_text(text) is None


def test_the_rows_of_a_csv_file_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    export(path, state(1, "2"))
    assert path.read_text() == (
        f"{','.join(COLUMNS)}\n1,1,1970-01-01T00:01:40.000000Z,ETH/BTC,buy,fill,2,4,2,false,2,4\n"
    )
    assert len(list(csv.reader(path.read_text().splitlines()))) == 2
