"""The promises about speed, as ratios that ``--check`` holds the project to."""

from collections.abc import Sequence
from typing import Final

import attrs

from benchmarks import accounts, adapters, core, decode, footprint, relay, scale
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


# Against the loop that a user would write with the library's own client and a Session.
_BURSTS: Final = {
    "topone_asyncio": 1.05,
    "topone_trio": 1.15,
    "topone_trio.over_websockets": 0.4,
    "topone_threads": 0.55,
}
# Against a loop that takes messages and does nothing with them.
_LATENCIES: Final = {
    "topone_asyncio": 1.15,
    "topone_trio": 1.25,
    "topone_trio.over_websockets": 1.0,
    "topone_threads": 1.05,
}
# There is none on p99: it is another one in every run.

BARS: Final = (
    Bar("decode/order", decode.OURS, (decode.LIMIT,), 1.25),
    Bar("decode/order", decode.OURS, (decode.STDLIB,), 0.6),
    Bar("decode/order", decode.OURS, (decode.PYDANTIC,), 0.75),
    Bar("decode/order", decode.OURS, (decode.CCXT,), 1 / 12),
    Bar("decode/candle", decode.OURS, (decode.LIMIT,), 1.6),
    *(Bar(f"decode/book-{n}", decode.OURS, (decode.LIMIT,), 1.3) for n in (20, 100)),
    Bar("core/update", core.SESSION, (core.DECODE,), 1.25),
    Bar("core/update", core.BUFFER, (core.DECODE,), 1.3),
    # A tenth for the noise: what grows would be off by far more.
    *(Bar("core/age", row, (core.FRESH,), 1.1) for row in (core.OLD, core.LATE, core.BUSY)),
    # As above; a large account is in no cache, besides.
    Bar("core/account", core.UPDATE_LARGE, (core.UPDATE_SMALL,), 1.5),
    Bar("core/account", core.HEAL_LARGE, (core.HEAL_SMALL,), 1.5),
    *(
        Bar(f"adapters/{kind}-{name}", name, (adapters.BARE_SESSION,), most)
        for name, most in _BURSTS.items()
        for kind in ("wall", "cpu")
    ),
    *(
        Bar(f"adapters/latency-{name}", f"{name}, median", (f"{adapters.BARE}, median",), most)
        for name, most in _LATENCIES.items()
    ),
    Bar(
        "adapters/latency-topone_asyncio",
        "topone_asyncio, median",
        (f"{adapters.BARE_SESSION}, median",),
        1.05,
    ),
    Bar("adapters/account", accounts.ACCOUNT, (accounts.FEED,), 1.15),
    Bar(
        "scale/feeds-topone_asyncio",
        scale.crowd_of(1000, "topone_asyncio"),
        (scale.crowd_of(1000, scale.CONNECTION),),
        1.1,
    ),
    Bar("scale/memory-topone_asyncio", scale.ABOVE, (), 12 * 1024),
    Bar("scale/memory-topone_trio", scale.ABOVE, (), 32 * 1024),
    Bar("scale/idle-topone_asyncio", scale.THOUSAND, (), 1.0),
    Bar("scale/idle-topone_trio", scale.THOUSAND, (), 5.0),
    Bar("footprint/import", footprint.OURS, (footprint.ENGINES,), 1.35),
    # 0.7 of the rate.
    Bar("relay/rate", relay.OURS, (relay.BARE,), 1 / 0.7),
    Bar("relay/latency", f"{relay.OURS}, median", (f"{relay.BARE}, median",), 1.5),
    *(
        Bar(f"relay/{what}", f"{relay.MANY} {what}", (f"{relay.ONE} {what}",), 1.25)
        for what in ("accounts", "consumers")
    ),
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
