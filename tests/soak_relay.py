"""Keep many accounts on a bus for minutes while a machine is killed and paused at random.

Not a part of the suite. Run it for a change in leases, fences, cursors or buses:

    python tests/soak_relay.py --bus nats --accounts 20 --minutes 20 --seed 1
    python tests/soak_relay.py --accounts 200 --relays 4 --pace 1 --minutes 4

Two processes of ``topone relay`` run all the time, or more with ``--relays``. Another is killed
(SIGKILL), stopped for longer than its lease (SIGSTOP, SIGCONT), or ended (SIGTERM), and started
again, at random. Meanwhile every account trades at its own simulated exchange, and some of these
lose their connections. Three consumers follow all accounts over the bus, each in its own way: one
that never ends, one that is started again from its position, one that comes late with nothing.
Every rest, when nobody trades, each of them is compared with the exchange's books. It fails at the
first thing that is wrong, and writes its figures to a file with ``--write``.
"""

import argparse
import asyncio
import os
import platform
import signal
import tempfile
import time
from pathlib import Path
from random import Random
from string import ascii_lowercase

from relay_followers import Figures
from relay_world import Relays, Stage, bus_of, exchanges, write_file
from topone_proto.exchange import DropConnections

TTL = 4.0
MARGIN = 1.0


async def disturb(relays: Relays, rng: Random, figures: Figures) -> None:
    """Let something happen to relay ``c``, and have it running again in the end."""
    fault = rng.choice(["killed", "paused", "paused briefly", "ended", "killed while paused"])
    figures.faults[fault] += 1
    if fault == "ended":
        relays.signal("c", signal.SIGTERM)
    elif fault == "killed":
        relays.signal("c", signal.SIGKILL)
    else:
        relays.signal("c", signal.SIGSTOP)
        shortest, longest = (0.1, TTL - MARGIN) if "briefly" in fault else (TTL, 3 * TTL)
        await asyncio.sleep(rng.uniform(shortest, longest))
        if fault == "killed while paused":
            relays.signal("c", signal.SIGKILL)
        relays.signal("c", signal.SIGCONT)
    if fault in {"ended", "killed", "killed while paused"}:
        await asyncio.to_thread(relays.restart, "c")


async def soak(stage: Stage, relays: Relays, rng: Random, minutes: float, pace: float) -> None:
    """Trade under faults, rest, and again, for so long."""
    figures, began = stage.figures, time.monotonic()
    async with stage.consumers():
        await stage.rest()
        said_at = began
        while time.monotonic() < began + 60 * minutes:
            disturbing = asyncio.create_task(disturb(relays, rng, figures))
            end = time.monotonic() + rng.uniform(8, 25)
            while time.monotonic() < end or not disturbing.done():
                await stage.trade(1.0, pace)
                if rng.random() < 0.4:
                    figures.faults["connection dropped"] += 1
                    rng.choice(stage.exchanges).simulator.inject(DropConnections())
            await disturbing
            relays.require_alive()
            await stage.rest()
            figures.minutes = (time.monotonic() - began) / 60
            figures.costs = relays.costs()
            if time.monotonic() > said_at + 60:
                said_at = time.monotonic()
                print(f"{figures.minutes:.0f} min: {figures}", flush=True)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bus", choices=["nats", "redis"], default="nats")
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--relays", type=int, default=3, help="one of them is disturbed")
    parser.add_argument(
        "--pace",
        type=float,
        default=0.05,
        help="a quarter of the accounts trades every so many seconds",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--write", type=Path, default=None, help="where the figures go, as Markdown"
    )
    arguments = parser.parse_args()
    rng = Random(arguments.seed)
    names = ascii_lowercase[: arguments.relays]
    with tempfile.TemporaryDirectory() as name, exchanges(arguments.accounts) as found:
        folder = Path(name)
        (folder / "bus").mkdir()
        server, connect = bus_of(arguments.bus, folder / "bus")
        server.start()
        url = f"{arguments.bus}://{server.address}"
        relays = Relays(folder, write_file(folder, url, found, TTL, MARGIN))
        stage = Stage(found, connect, rng, ("steady", "restarted"))
        try:
            for relay in names:
                relays.start(relay)
            asyncio.run(soak(stage, relays, rng, arguments.minutes, arguments.pace))
        except BaseException:
            print(f"seed {arguments.seed}, after {stage.figures}", flush=True)
            for relay in names:
                print(f"--- {relay}", *relays.log(relay)[-15:], sep="\n", flush=True)
            raise
        finally:
            relays.end()
            server.kill()
    print(f"{arguments.bus}, seed {arguments.seed}: {stage.figures}", flush=True)
    if arguments.write is not None:
        arguments.write.write_text(page(stage.figures, arguments), encoding="utf-8")


def page(figures: Figures, arguments: argparse.Namespace) -> str:
    """Return the figures as a part of a page."""
    bus = arguments.bus
    more = "".join(
        f" --{name} {getattr(arguments, name):g}"
        for name, usual in (("accounts", 20), ("relays", 3), ("pace", 0.05))
        if getattr(arguments, name) != usual
    )
    names = {"nats": "NATS JetStream", "redis": "Valkey"}
    rows = {
        "accounts, each at an exchange of its own": figures.accounts,
        "processes of `topone relay`, one of them disturbed": arguments.relays,
        "minutes": f"{figures.minutes:.0f}",
        "faults, of the disturbed process and of connections": ", ".join(
            f"{name} {count}" for name, count in figures.faults.items()
        ),
        "trades": figures.trades,
        "updates that the consumers had": figures.updates,
        "take-overs": figures.take_overs,
        f"longest silence at a take-over, with leases of {TTL:g} s": (
            f"{figures.slowest_take_over:.1f} s"
        ),
        "gaps that were reported": figures.gaps,
        "cores and memory of each process that ran all the time": "; ".join(figures.costs),
        "comparisons with the exchange's books, all equal": figures.comparisons,
        "**updates lost without a gap**": figures.lost,
        "**updates given twice**": figures.duplicates,
        "**messages of two holders at a time**": figures.double_holders,
        "**requests beyond a budget**": figures.breaches,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    options = f"--bus {bus}{more} --minutes {figures.minutes:.0f}"
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    head = f"Measured by `python tests/soak_relay.py {options}` on {names[bus]} ({where}):"
    return f"{head}\n\n| | |\n|---|---|\n{table}\n"


if __name__ == "__main__":
    main()
