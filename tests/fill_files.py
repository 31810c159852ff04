"""Reads the files of an export as anybody would, without the command's own code."""

import csv
import sqlite3
from collections import defaultdict
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of fills, in its order."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM fills ORDER BY rowid")]
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def sums(path: Path) -> dict[int, tuple[Decimal, Decimal]]:
    """Return the sums of the amounts of each order, after looking for rows that come twice."""
    found: defaultdict[int, tuple[Decimal, Decimal]] = defaultdict(lambda: (Decimal(0), Decimal(0)))
    numbers: defaultdict[int, list[int]] = defaultdict(list)
    for row in read_rows(path):
        order = int(row["order_id"])
        stock, money = found[order]
        stock, money = stock + Decimal(row["stock_amount"]), money + Decimal(row["money_amount"])
        assert (stock, money) == (Decimal(row["order_stock"]), Decimal(row["order_money"]))
        found[order] = stock, money
        numbers[order].append(int(row["number"]))
    for order, given in numbers.items():
        assert given == list(range(1, len(given) + 1)), order
    return dict(found)
