"""Parquet files of fills.

A Parquet file cannot be appended to: its directory of contents is at its end. So the file is
written anew beside the old one and takes its place at once; whoever reads it has the one or the
other, whole. That costs as much as the file is long, so it is done once a minute at most (see
``_exporter``). What a killed process had not written yet is told again after the restart.
"""

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Final

from topone_cli._durable import sync_directory
from topone_cli._fill_files import FillFile, read_amounts
from topone_cli._fills import COLUMNS, Row, Seen

__all__ = ["ParquetFile", "require_pyarrow"]

_SEEN: Final = b"topone.seen"
_BATCH: Final = 65536


def require_pyarrow() -> Any:
    """Return pyarrow. Raises ImportError if it is not installed, with what to do."""
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise ImportError(
            'a .parquet file needs pyarrow: pip install "topone-proto[export]"', name="pyarrow"
        ) from error


class ParquetFile(FillFile):
    """A Parquet file. Amounts are text, which is exact whatever their digits; the orders that it is
    sure of are among the file's metadata."""

    def _open(self) -> None:
        self._arrow = require_pyarrow()
        self._schema: Any = self._arrow.schema(
            [
                self._arrow.field(name, getattr(self._arrow, kind)(*args), nullable=optional)
                for name, kind, args, optional in _FIELDS
            ]
        )
        if not self.path.exists():
            self._replace((), None)
            return
        try:
            with self._parquet.ParquetFile(self.path) as file:
                self._read(file)
        except self._arrow.ArrowException as error:
            raise self._misshapen(str(error).splitlines()[0]) from None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None

    @property
    def _parquet(self) -> Any:
        return self._arrow.parquet

    def _read(self, file: Any) -> None:
        if not file.schema_arrow.equals(self._schema):
            raise self._misshapen("it has other columns")
        self.seen = self._seen_in(file.schema_arrow.metadata)
        columns = ("order_id", "number", "order_stock", "order_money")
        for batch in file.iter_batches(_BATCH, columns=columns):
            for cells in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                self._take(*cells)

    @staticmethod
    def _seen_in(metadata: dict[bytes, bytes] | None) -> Seen | None:
        return Seen.from_text((metadata or {}).get(_SEEN, b""))

    def _take(self, order_id: int, number: int, stock: str, money: str) -> None:
        try:
            self.exported.add(*read_amounts(str(order_id), str(number), stock, money))
        except ValueError:
            raise self._misshapen(f"order {order_id} has no totals") from None

    def _write(self, rows: Sequence[Row], seen: Seen | None) -> None:
        if rows or seen not in {None, self.seen}:
            self._replace(rows, self.seen if seen is None else seen)

    def _replace(self, rows: Sequence[Row], seen: Seen | None) -> None:
        metadata = {} if seen is None else {_SEEN: seen.to_text().encode()}
        beside = self.path.with_name(f".{self.path.name}.new")
        try:
            with self._parquet.ParquetWriter(
                beside, self._schema.with_metadata(metadata), compression="zstd"
            ) as writer:
                for batch in (*self._old(), *self._new(rows)):
                    writer.write_batch(batch)
            with beside.open("rb") as written:
                os.fsync(written.fileno())
            beside.replace(self.path)
            sync_directory(self.path.parent)
        except self._arrow.ArrowException as error:
            raise self._unwritable(str(error).splitlines()[0]) from None
        finally:
            beside.unlink(missing_ok=True)

    def _old(self) -> Iterable[Any]:
        if self.path.exists():
            with self._parquet.ParquetFile(self.path) as file:
                yield from file.iter_batches(_BATCH)

    def _new(self, rows: Sequence[Row]) -> Iterable[Any]:
        if rows:
            columns = zip(*(row.cells() for row in rows), strict=True)
            yield self._arrow.record_batch(
                [
                    self._arrow.array(column, field.type)
                    for column, field in zip(columns, self._schema, strict=True)
                ],
                schema=self._schema,
            )

    def _close(self) -> None: ...


_TEXT: Final = ("string", ())
_KINDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "order_id": ("int64", ()),
    "number": ("int32", ()),
    "time": ("timestamp", ("us", "UTC")),
    "healed": ("bool_", ()),
}
_OPTIONAL: Final = ("time", "price")
_FIELDS: Final = [
    (name, *_KINDS.get(name, _TEXT), name in _OPTIONAL) for name in COLUMNS
]  # fmt: skip
