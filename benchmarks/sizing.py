"""The docs' page on the machines for a relay: what an account costs, and ten thousand of them.

The first table is what was measured; the second is computed from that, under the assumptions that
its page names.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Final

from benchmarks import relay
from benchmarks.measuring import Table
from topone_proto.relay import RelayConfig

ACCOUNTS: Final = 10_000
EVENTS: Final = 2
"""Events of each account in a second."""
CONSUMERS: Final = 3
SNAPSHOT: Final = 10_000
"""Bytes of a snapshot: 30 open orders and 20 balances."""
_LOAD: Final = 0.6
"""The part of a core that a process is to use."""
_SPREAD: Final = "each busy for 60 % of a core, on two or three machines, so that one may fail"
_CONNECTIONS: Final = "[the connections to the exchange](performance.md)"
_MB: Final = 10**6


def write_sizing(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write both tables; returns their files, none if the relay was not measured."""
    measured = {table.key: table for table in tables}
    if not {"relay/processor", "relay/idle", "relay/bytes", "relay/rate"} <= set(measured):
        return []

    def median(key: str, name: str) -> float:
        row = measured[key].row(name)
        assert row is not None
        return row.median

    costs = _Costs(
        lone=median("relay/processor", relay.OURS),
        burst=median("relay/rate", relay.OURS),
        idle=median("relay/idle", relay.IDLE),
        update=median("relay/bytes", relay.UPDATE),
        message=median("relay/bytes", relay.MESSAGE),
    )
    written = []
    for name, lines in (("sizing-costs", costs.table()), ("sizing-example", costs.example())):
        written.append(folder / f"{name}.md")
        written[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


class _Costs:
    """Seconds of a core, and bytes."""

    def __init__(
        self, *, lone: float, burst: float, idle: float, update: float, message: float
    ) -> None:
        self.lone, self.burst, self.idle = lone, burst, idle
        self.update, self.message = update, message

    def table(self) -> list[str]:
        """Return the costs of one account, as a table."""
        quiet = f"{self.idle:.2g} of a core: its lease, its signs of life and one consumer"
        lone = f"{self.lone * 1e3:.2g} ms of a core, publisher and consumer together"
        update = f"{self.update:.0f} bytes, and about {self.message:.0f} for its message"
        rates = f"{_round(1 / self.lone):,} lone events a second, or {_round(1 / self.burst):,}"
        return [
            *_grid(
                ("an account", "costs"),
                ("on which nothing happens", quiet),
                ("each lone event", lone),
                ("each event in a burst", f"{self.burst * 1e3:.2g} ms"),
                ("each order update on the bus", update),
            ),
            "",
            f"So one process, which uses one core, relays about {rates} in bursts.",
        ]

    def example(self) -> list[str]:
        """Return the needs of many accounts, as tables."""
        config = RelayConfig()
        events, each = ACCOUNTS * EVENTS, self.update + self.message
        busy, idle = events * self.lone, ACCOUNTS * self.idle
        snapshots = ACCOUNTS / config.snapshot_interval
        renewals = ACCOUNTS / config.renew_interval
        updated, shown = events * each / _MB, snapshots * SNAPSHOT / _MB
        processes = ceil((busy + idle) / _LOAD)
        return [
            *_grid(
                ("what", "how it is computed", "result"),
                ("events", f"{ACCOUNTS:,} accounts, {EVENTS} a second", f"{events:,} a second"),
                (
                    "relay, with one consumer of each account",
                    f"{events:,} of {self.lone * 1e3:.2g} ms, {ACCOUNTS:,} of {self.idle:.2g}",
                    f"{busy:.2g} + {idle:.2g} cores",
                ),
                (
                    "each further consumer of all accounts",
                    f"at most half of the {busy:.2g} cores",
                    f"at most {busy / 2:.2g} cores",
                ),
                (
                    "renewals of leases",
                    f"{ACCOUNTS:,} in each {config.renew_interval:.2g} s",
                    f"{_round(renewals):,} a second, at the bus",
                ),
                (
                    "snapshots",
                    f"{ACCOUNTS:,} of {SNAPSHOT / 1000:g} kB in {config.snapshot_interval:g} s",
                    f"{_round(snapshots):,} a second, {shown:.2g} MB/s",
                ),
                (
                    "updates on the bus",
                    f"{events:,} a second of {each:.0f} bytes",
                    f"{updated:.2g} MB/s in, {CONSUMERS * updated:.2g} MB/s out to the consumers",
                ),
                (
                    "messages kept for an hour",
                    f"3,600 s of {updated + shown:.2g} MB/s",
                    f"{(updated + shown) * 3.6:.2g} GB",
                ),
            ),
            "",
            *_grid(
                ("you need", "for this example"),
                (
                    "cores for the relay",
                    f"{ceil(busy + idle)}, and one for {_CONNECTIONS}",
                ),
                (
                    "processes",
                    f"{processes} of {ACCOUNTS // processes:,} accounts, {_SPREAD}",
                ),
            ),
        ]


def _grid(header: tuple[str, ...], *rows: tuple[str, ...]) -> list[str]:
    """A table of Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows)]


def _round(number: float) -> int:
    """A number to two digits."""
    return int(float(f"{number:.2g}"))
