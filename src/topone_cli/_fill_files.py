"""Files of fills: CSV and SQLite, and what all kinds have in common.

Every write is durable when it returns. A process that is killed in the middle of one leaves a file
that has the rows of the write wholly or not at all, or, in a CSV file, the first of them: the next
process cuts off a row that is not complete. Only one process at a time writes to a file.
"""

import csv
import errno
import io
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from topone_cli._durable import replace_durably, sync_directory
from topone_cli._errors import CommandFailed
from topone_cli._fills import COLUMNS, Exported, Row, Seen
from topone_cli._masks import hide_tokens
from topone_cli._usage import Misuse

__all__ = [
    "CsvFile",
    "FillFile",
    "SqliteFile",
    "open_fill_file",
    "read_amounts",
    "require_fill_file",
]

_SUFFIXES: Final = (".csv", ".sqlite", ".parquet")


class FillFile(ABC):
    """A file of fills that is written to, by this process only. To be closed.

    Raises:
        CommandFailed: it cannot be read or written, has another shape, or another process writes to
            it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exported = Exported()
        """The fills that the file has."""
        self.seen: Seen | None = None
        """The orders that the file is sure of; None if that is not known."""
        self._lock: Any = _locked(path)
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def write(self, rows: Sequence[Row], seen: Seen | None = None) -> None:
        """Add rows, and then take note of the orders that it is sure of. All of it is durable then.

        Raises:
            CommandFailed: it cannot be written.
        """
        try:
            self._write(rows, seen)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from None
        if seen is not None:
            self.seen = seen

    def close(self) -> None:
        """Close it. May be called twice."""
        try:
            self._close()
        finally:
            self._lock.release()

    @abstractmethod
    def _open(self) -> None:
        """Read what is there, or make it."""

    @abstractmethod
    def _write(self, rows: Sequence[Row], seen: Seen | None) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    def _unwritable(self, problem: str) -> CommandFailed:
        return CommandFailed(f"cannot write to {self.path}: {problem}")

    def _unreadable(self, problem: str) -> CommandFailed:
        return CommandFailed(f"cannot read {self.path}: {problem}")

    def _misshapen(self, problem: str) -> CommandFailed:
        return CommandFailed(
            f"{self.path} is not a file of fills of this command ({problem}): use another name"
        )


def require_fill_file(path: Path | None) -> None:
    """Check the name of a file of fills, before anybody is asked for anything.

    Raises:
        Misuse: it has none of the endings, or could be a token.
        CommandFailed: its directory is not there.
        ImportError: what writes it is not installed.
    """
    if path is None:
        return
    if hide_tokens(str(path)) != str(path):
        raise Misuse("--export: the file's name could be a token: use another, and revoke it")
    if path.suffix.lower() not in _SUFFIXES:
        raise Misuse("--export: use a name that ends with .csv, .sqlite or .parquet")
    if not path.parent.is_dir():
        raise CommandFailed(f"cannot write to {path}: {os.strerror(errno.ENOENT)}")
    if path.suffix.lower() == ".parquet":
        from topone_cli._fill_parquet import require_pyarrow

        require_pyarrow()


def open_fill_file(path: Path) -> FillFile:
    """Open a file of fills, of the kind that its name's ending says; make it if it is not there.

    Raises:
        CommandFailed: see ``FillFile``.
        ImportError: what writes it is not installed.
    """
    match path.suffix.lower():
        case ".csv":
            return CsvFile(path)
        case ".sqlite":
            return SqliteFile(path)
        case _:
            from topone_cli._fill_parquet import ParquetFile

            return ParquetFile(path)


def _locked(path: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise CommandFailed(f"another process writes to {path}: use another name") from None
    except OSError as error:
        raise CommandFailed(f"cannot write to {path}: {error.strerror}") from None
    return lock


def read_amounts(
    order_id: str, number: str, stock: str, money: str
) -> tuple[int, int, Decimal, Decimal]:
    """Return what counts of a row that is text. Raises ValueError."""
    try:
        amounts = Decimal(stock), Decimal(money)
    except InvalidOperation:
        raise ValueError("no decimal number") from None
    if not all(amount.is_finite() for amount in amounts):
        raise ValueError("no decimal number")
    return int(order_id), int(number), *amounts


# --- CSV -----------------------------------------------------------------------------------------


class CsvFile(FillFile):
    """A CSV file, to which complete lines are appended. The orders that it is sure of are in a
    file beside it, whose name has ``.state`` added."""

    def _open(self) -> None:
        try:
            self._file = self.path.open("r+b" if self.path.exists() else "x+b", buffering=0)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from None
        try:
            self._read()
            self._read_seen()
        except OSError as error:
            self._file.close()
            raise self._unreadable(error.strerror or str(error)) from None
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        header = f"{','.join(COLUMNS)}\n".encode()
        self._size = 0
        reader = io.BufferedReader(self._file)
        for count, line in enumerate(reader):
            # Where the process before, or the machine, was stopped in the middle of a row.
            is_torn = not line.endswith(b"\n") or not line.strip(b"\0\n")
            if not count and not (header.startswith(line) or line.rstrip() == header.rstrip()):
                raise self._misshapen("its first line is another one")
            if is_torn:
                break
            if count:
                self._take(line, count + 1)
            self._size += len(line)
        reader.detach()
        self._file.truncate(self._size)
        self._file.seek(self._size)
        if not self._size:
            self._append(header)
            sync_directory(self.path.parent)

    def _take(self, line: bytes, number: int) -> None:
        try:
            [cells] = csv.reader([line.decode()], strict=True)
            row = dict(zip(COLUMNS, cells, strict=True))
            found = read_amounts(
                row["order_id"], row["number"], row["order_stock"], row["order_money"]
            )
        except (csv.Error, ValueError):
            raise self._misshapen(f"line {number} is not a row of it") from None
        self.exported.add(*found)

    @property
    def _state(self) -> Path:
        return self.path.with_name(f"{self.path.name}.state")

    def _read_seen(self) -> None:
        with suppress(FileNotFoundError):
            self.seen = Seen.from_text(self._state.read_bytes())

    def _write(self, rows: Sequence[Row], seen: Seen | None) -> None:
        if rows:
            lines = io.StringIO()
            csv.writer(lines, lineterminator="\n").writerows(map(_csv_cells, rows))
            self._append(lines.getvalue().encode("utf-8", "backslashreplace"))
        if seen is not None and seen != self.seen:
            replace_durably(self._state, f"{seen.to_text()}\n".encode())

    def _append(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            # Such as a disk that is full: the file ends with the last whole row then.
            with suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(data)

    def _close(self) -> None:
        self._file.close()


def _csv_cells(row: Row) -> Iterable[object]:
    for cell in row.cells():
        if isinstance(cell, bool):
            yield "true" if cell else "false"
        else:
            yield _written(cell) if isinstance(cell, datetime) else cell


def _sqlite_cells(row: Row) -> tuple[object, ...]:
    return tuple(_written(cell) if isinstance(cell, datetime) else cell for cell in row.cells())


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# --- SQLite --------------------------------------------------------------------------------------

_TABLE: Final = """
CREATE TABLE fills (
    order_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    time TEXT,
    market TEXT NOT NULL,
    side TEXT NOT NULL,
    kind TEXT NOT NULL,
    stock_amount TEXT NOT NULL,
    money_amount TEXT NOT NULL,
    price TEXT,
    healed INTEGER NOT NULL,
    order_stock TEXT NOT NULL,
    order_money TEXT NOT NULL,
    PRIMARY KEY (order_id, number)
)
"""
_PATIENCE: Final = 10.0
"""Seconds to wait for a reader of the file."""


class SqliteFile(FillFile):
    """An SQLite database with the table ``fills``, and the orders that it is sure of in the table
    ``topone``."""

    def _open(self) -> None:
        try:
            self._db = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._unwritable(str(error)) from None
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise self._unwritable(str(error)) from None
            raise self._misshapen(str(error)) from None
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA synchronous = FULL")
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if not names:
            db.execute("BEGIN IMMEDIATE")
            db.execute(_TABLE)
            db.execute("CREATE TABLE topone (seen TEXT NOT NULL)")
            db.execute("COMMIT")
        columns = tuple(row[1] for row in db.execute("PRAGMA table_info(fills)"))
        if columns != COLUMNS or (names and "topone" not in names):
            raise self._misshapen("it has other tables")
        with closing(
            db.execute("SELECT order_id, max(number), order_stock, order_money FROM fills "
                       "GROUP BY order_id")
        ) as rows:  # fmt: skip
            for row in rows:
                try:
                    self.exported.add(*read_amounts(*map(str, row)))
                except ValueError:
                    raise self._misshapen(f"order {row[0]} has no totals") from None
        for (text,) in db.execute("SELECT seen FROM topone"):
            self.seen = Seen.from_text(text)

    def _write(self, rows: Sequence[Row], seen: Seen | None) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * len(COLUMNS))
            db.executemany(f"INSERT INTO fills VALUES ({marks})", map(_sqlite_cells, rows))  # noqa: S608 - question marks
            if seen is not None:
                db.execute("DELETE FROM topone")
                db.execute("INSERT INTO topone VALUES (?)", (seen.to_text(),))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise self._unwritable(str(error)) from None

    def _close(self) -> None:
        self._db.close()
