"""The promises about speed, as ratios that ``--check`` holds the project to."""

from collections.abc import Sequence
from typing import Final

import attrs

from benchmarks import adapters, core, decode, footprint, scale
from benchmarks.measuring import Table


@attrs.frozen
class Bar:
    """The most that something may be: a ratio to other rows, or a number by itself."""

    table: str
    row: str
    to: tuple[str, ...]
    """The rows that it is compared with, as a sum; none for the number by itself."""
    most: float

    @property
    def text(self) -> str:
        """Such as ``decode/order: a ≤ 1.8 times b``."""
        return f"{self.table}: {self.row} ≤ {self.limit}"

    @property
    def limit(self) -> str:
        """The limit in words."""
        return f"{self.most:.3g} times {' + '.join(self.to)}" if self.to else f"{self.most:,.6g}"


@attrs.frozen
class Verdict:
    """The outcome of a bar."""

    bar: Bar
    measured: float | None
    """None if something needed was not measured."""

    @property
    def holds(self) -> bool | None:
        """None if nothing can be said."""
        return None if self.measured is None else self.measured <= self.bar.most


_NAMES: Final = [adapter.name for adapter in adapters.ADAPTERS]

BARS: Final = (
    Bar("decode/order", decode.OURS, (decode.LIMIT,), 1.8),
    Bar("decode/order", decode.OURS, (decode.STDLIB,), 0.6),
    Bar("decode/order", decode.OURS, (decode.PYDANTIC,), 0.75),
    Bar("decode/order", decode.OURS, (decode.CCXT,), 1 / 12),
    Bar("decode/candle", decode.OURS, (decode.LIMIT,), 1.6),
    *(Bar(f"decode/book-{n}", decode.OURS, (decode.LIMIT,), 1.3) for n in (20, 100)),
    Bar("core/update", core.SESSION, (core.DECODE,), 1.5),
    # A tenth for the noise: what grows would be off by far more.
    *(Bar("core/age", row, (core.FRESH,), 1.1) for row in (core.OLD, core.LATE, core.BUSY)),
    *(
        Bar(f"adapters/{kind}-{name}", name, (adapters.BARE_SESSION,), 1.25)
        for name in _NAMES
        for kind in ("wall", "cpu")
    ),
    *(
        Bar(f"adapters/latency-{name}", f"{name}, median", (f"{adapters.BARE}, median",), 1.15)
        for name in _NAMES
    ),
    *(Bar(f"scale/memory-{name}", scale.ABOVE, (), 32 * 1024) for name in scale.FRAMEWORKS),
    *(Bar(f"scale/idle-{name}", scale.THOUSAND, (), 5.0) for name in scale.FRAMEWORKS),
    Bar("footprint/import", footprint.OURS, (footprint.ENGINES,), 2.0),
)


def judge(tables: Sequence[Table]) -> list[Verdict]:
    """Every bar of the tables that were measured."""
    measured = {table.key: table for table in tables}
    return [_judge(bar, measured[bar.table]) for bar in BARS if bar.table in measured]


def _judge(bar: Bar, table: Table) -> Verdict:
    row = table.row(bar.row)
    if row is None:
        return Verdict(bar, None)
    if not bar.to:
        return Verdict(bar, row.median)
    ratio = table.ratio(row, *bar.to)
    return Verdict(bar, None if ratio is None else ratio.median)
