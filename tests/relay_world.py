"""Everything around the processes of ``topone relay``: an exchange for each account that knows all
that ever happened there, a message bus, and consumers that compare what they are told with that."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from attrs import Factory, define

import topone_nats
import topone_redis
import topone_simulator
from bus_servers import NatsServer, Server, ValkeyServer
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Gap,
    LocalProtocolError,
    Order,
    OrderUpdate,
    Side,
    Topic,
)
from topone_proto.account import Account, BusAnomaly, Knowledge, TakenOver
from topone_proto.exchange import HttpConfig
from topone_proto.exchange.living_account import LivingAccount
from topone_proto.relay import Cursor, Position, decode_envelope
from topone_relay import Bus, BusUnavailable, Message

TOPONE = (sys.executable, "-c", "import topone_cli; topone_cli.main()")
# The exchange's minute is so many seconds here, and the accounts count with a little more.
MINUTE = 6.0
MOST_OPEN = 20
PATIENCE = 90.0
"""Seconds after which a rest is not reached: a failure."""
TOPICS: tuple[Topic[Any], ...] = (BALANCE, ORDERS)


@define
class Figures:
    """The numbers of a run."""

    accounts: int = 0
    minutes: float = 0.0
    rests: int = 0
    comparisons: int = 0
    trades: int = 0
    updates: int = 0
    gaps: int = 0
    take_overs: int = 0
    faults: Counter[str] = Factory(Counter[str])
    lost: int = 0
    duplicates: int = 0
    double_holders: int = 0
    breaches: int = 0
    slowest_take_over: float = 0.0
    costs: list[str] = Factory(list[str])

    def __str__(self) -> str:
        return (
            f"{self.rests} rests, {self.comparisons} comparisons, {self.trades} trades, "
            f"{self.updates} updates, {self.gaps} gaps, {self.take_overs} take-overs "
            f"(slowest {self.slowest_take_over:.1f} s), {dict(self.faults)}; lost without a gap "
            f"{self.lost}, twice {self.duplicates}, double holders {self.double_holders}, "
            f"budget breaches {self.breaches}"
        )


class Wrong(Exception):
    """A thing that must never happen."""


class Exchange:
    """One account's exchange, and everything that ever happened there, in order."""

    def __init__(self, name: str, simulator: topone_simulator.Simulator) -> None:
        self.name = name
        self.simulator = simulator
        self.happened: dict[Topic[Any], list[Any]] = {topic: [] for topic in TOPICS}

    def trade(self, rng: Random) -> bool:
        """Let one thing happen. Return False if it could not."""

        def one(account: LivingAccount, now: float) -> Any:
            orders = list(account.open_orders.values())
            choice = rng.randrange(4)
            if not orders or (choice < 2 and len(orders) < MOST_OPEN):
                side = rng.choice([Side.BUY, Side.SELL])
                return account.place("ETH/BTC", side, Decimal(1), now, price=Decimal("0.01"))
            order = rng.choice(orders)
            if choice % 2:
                return account.cancel(order.id, now)
            part = rng.choice([Decimal("0.25"), Decimal(order.left or 1)])
            return account.fill(order.id, part, now)

        with suppress(LocalProtocolError):
            for change in self.simulator.live(one):
                self.happened[ORDERS if isinstance(change, Order) else BALANCE].append(change)
            return True
        return False


class Sequence:
    """The places in what happened at which a consumer may stand, by what it was told of a topic."""

    def __init__(self, happened: list[Any]) -> None:
        self._happened = happened
        # The places of the next value. None: any from the least on, after a gap.
        self._next: set[int] | None = None
        self._least = 0

    def gap(self) -> None:
        if self._next:
            self._least = min(self._next)
        self._next = None

    def take(self, value: Any) -> str:
        """Return what is wrong with this value here; empty if it may come."""
        happened = self._happened
        if self._next is None:
            found = {n for n in range(self._least, len(happened)) if happened[n] == value}
        else:
            found = {n for n in self._next if n < len(happened) and happened[n] == value}
        if found:
            self._next = {n + 1 for n in found}
            return ""
        expected = self._next or {self._least}
        if value in happened[: max(expected)]:
            return "duplicates"
        return "lost"


@define(eq=False)
class Follower:
    """One consumer of one account."""

    exchange: Exchange
    kind: str
    figures: Figures
    account: Account = Factory(Account)
    position: Position | None = None
    place: str | None = None
    heard_at: float = Factory(time.monotonic)
    silence: float = 0.0
    sequences: dict[Topic[Any], Sequence] = Factory(dict[Topic[Any], Sequence])
    written: tuple[int, int] = (0, 0)

    def __attrs_post_init__(self) -> None:
        for topic in TOPICS:
            self.sequences[topic] = Sequence(self.exchange.happened[topic])

    async def run(self, bus: Bus) -> None:
        name = self.exchange.name
        start = self.place
        while start is None and self.kind == "late":
            # As a feed does, until the bus answers.
            with suppress(BusUnavailable):
                found = await bus.pointer(name)
                start = None if found is None else found.place
                break
            await asyncio.sleep(0.5)
        cursor = Cursor(self.position, account=name)
        reading: Any = bus.read(name, start)
        async for received in reading:
            if not isinstance(received, Message):
                continue
            now = time.monotonic()
            self.silence, self.heard_at = now - self.heard_at, now
            self._check_writer(received.data)
            for event, _ in cursor.received(received.data):
                self._take(event)
            # Both, also after a message without events: one that is older than the other is a hole.
            self.position, self.place = cursor.position, received.place

    def _check_writer(self, data: bytes) -> None:
        """One holder at a time, as the stream shows it."""
        if self.kind != "steady":
            return
        envelope = decode_envelope(data)
        place = (envelope.epoch, envelope.number)
        if place <= self.written:
            self.figures.double_holders += 1
            raise Wrong(f"{self.exchange.name}: {place} after {self.written}")
        self.written = place

    def _take(self, event: Any) -> None:
        figures = self.figures
        self.account.apply(event)
        match event:
            case Gap(topic=topic) if topic in self.sequences:
                figures.gaps += 1
                self.sequences[topic].gap()
            case TakenOver() if self.kind == "steady":
                figures.take_overs += 1
                figures.slowest_take_over = max(figures.slowest_take_over, self.silence)
            case OrderUpdate(order=value) | BalanceUpdate(balance=value):
                figures.updates += 1
                wrong = self.sequences[event.topic].take(value)
                if wrong:
                    setattr(figures, wrong, getattr(figures, wrong) + 1)
                    raise Wrong(f"{self.exchange.name}, {self.kind}: {wrong}: {event}")
            case BusAnomaly():
                raise Wrong(f"{self.exchange.name}, {self.kind}: {event}")
            case _:
                pass

    def difference(self) -> str:
        """Return what differs from the exchange's books; empty if it is whole and right."""
        truth, account = self.exchange.simulator.truth(), self.account
        where = f"{self.exchange.name}, {self.kind}"
        for topic in TOPICS:
            if account.knowledge(topic) is not Knowledge.WHOLE:
                return f"{where}: {topic} is {account.knowledge(topic).value}"
        if dict(account.balances().value) != truth.balances:
            return f"{where}: other balances"
        if dict(account.open_orders().value) != truth.open_orders:
            return f"{where}: other open orders"
        return ""


class Relays:
    """The processes of ``topone relay``."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder = folder
        self._file = file
        self.files: dict[str, Path] = {}
        """The files of processes that have another one."""
        self._started = 0
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # When each was started, if that was once.
        self._since: dict[str, float | None] = {}

    def start(self, name: str) -> None:
        self._started += 1
        node = f"{name}-{self._started}"
        environment = {**os.environ, "XDG_CACHE_HOME": str(self._folder / name)}
        file = str(self.files.get(name, self._file))
        command = [*TOPONE, "relay", file, "--node", node, "--json"]
        with (self._folder / f"{name}.jsonl").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, stdin=subprocess.DEVNULL
            )
        if name in self._since:
            self._since[name] = None
        else:
            self._since[name] = time.monotonic()

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def restart(self, name: str) -> None:
        self.processes[name].wait(30)
        self.start(name)

    def require_alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise Wrong(f"relay {name} has ended with {process.returncode}")

    def costs(self) -> list[str]:
        """Return what each process that was started once has used so far."""
        found: list[str] = []
        for name, began in self._since.items():
            stat = Path(f"/proc/{self.processes[name].pid}/stat")
            if began is None or not stat.exists():
                continue
            fields = stat.read_text().rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            found.append(f"{used / (time.monotonic() - began):.2f} and {memory:.0f} MB")
        return found

    def log(self, name: str) -> list[str]:
        """Return what a process has written."""
        return (self._folder / f"{name}.jsonl").read_text().splitlines()

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


class Stage:
    """All exchanges and consumers.

    Args:
        exchanges: an exchange for each account.
        connect: makes a connection to the bus.
        rng: the source of all chance.
        kinds: the consumers of each account: ``steady`` ones never end, ``restarted`` ones do every
            few seconds, and go on from their position.
    """

    def __init__(
        self,
        exchanges: list[Exchange],
        connect: Callable[[], Any],
        rng: Random,
        kinds: tuple[str, ...] = ("steady",),
    ) -> None:
        self.exchanges = exchanges
        self.figures = Figures(len(exchanges))
        self._connect = connect
        self._rng = rng
        self._followers = [
            Follower(exchange, kind, self.figures) for exchange in exchanges for kind in kinds
        ]

    @asynccontextmanager
    async def consumers(self) -> AsyncGenerator[None]:
        async with self._connect() as bus, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(it.run(bus) if it.kind == "steady" else self._again(it))
                for it in self._followers
            ]
            yield
            for task in tasks:
                task.cancel()

    async def _again(self, follower: Follower) -> None:
        while True:
            async with self._connect() as bus:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.uniform(5, 25)):
                        await follower.run(bus)

    async def trade(self, seconds: float, pace: float = 0.05) -> None:
        """Let a quarter of the accounts trade every ``pace`` seconds, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for exchange in self._rng.sample(self.exchanges, max(1, len(self.exchanges) // 4)):
                self.figures.trades += exchange.trade(self._rng)
            await asyncio.sleep(pace)

    async def rest(self) -> None:
        """Wait until every consumer is whole and right, those included that come now."""
        patience = time.monotonic() + PATIENCE
        async with self._connect() as bus:
            late = [Follower(exchange, "late", self.figures) for exchange in self.exchanges]
            tasks = [asyncio.create_task(follower.run(bus)) for follower in late]
            try:
                followers = [*self._followers, *late]
                while wrong := [found for it in followers if (found := it.difference())]:
                    for task in tasks:
                        if task.done():
                            task.result()
                    if time.monotonic() > patience:
                        raise Wrong("; ".join(wrong[:5]))
                    await asyncio.sleep(0.1)
                self.figures.comparisons += len(followers)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        self.figures.rests += 1
        self.figures.breaches = sum(it.simulator.overruns for it in self.exchanges)
        if self.figures.breaches:
            raise Wrong(f"{self.figures.breaches} requests over budget")


@contextmanager
def exchanges(count: int, minute: float = MINUTE) -> Generator[list[Exchange]]:
    config = HttpConfig(
        token_interval=minute, token_block=10 * minute, order_period=minute, order_block=10 * minute
    )
    with ExitStack() as stack:
        yield [
            Exchange(
                f"account-{number}",
                stack.enter_context(
                    topone_simulator.run_in_thread(http_config=config, seed=number)
                ),
            )
            for number in range(count)
        ]


def write_file(
    folder: Path,
    url: str,
    found: list[Exchange],
    ttl: float,
    margin: float,
    name: str = "accounts.toml",
    minute: float = MINUTE,
) -> Path:
    """Write the file of ``topone relay``, and the keys that it names."""
    lines = [
        "[bus]",
        f'url = "{url}"',
        "[relay]",
        f"ttl = {ttl}",
        f"margin = {margin}",
        "snapshot_interval = 15",
        "beat_interval = 1",
        "[defaults]",
        "session = { retry_first = 0.1, retry_base = 0.2, retry_cap = 2.0 }",
        "[defaults.account]",
        "answer_lag = 0.2",
        "retry_first = 0.2",
        "retry_cap = 2.0",
        f"token_interval = {minute * 1.25}",
        f"token_block = {minute * 12}",
    ]
    for exchange in found:
        simulator = exchange.simulator
        keys = folder / f"{exchange.name}.json"
        plain = {
            "app_id": simulator.credentials.app_id,
            "app_key": simulator.credentials.reveal(),
        }
        keys.write_text(json.dumps(plain))
        keys.chmod(0o600)
        lines += [
            f"[accounts.{exchange.name}]",
            f'url = "{simulator.url}"',
            f'http_url = "{simulator.http_url}"',
            f'keys_file = "{keys.name}"',
        ]
    path = folder / name
    path.write_text("\n".join(lines))
    return path


def bus_of(kind: str, folder: Path) -> tuple[Server, Any]:
    if kind == "nats":
        server: Server = NatsServer(folder)
        return server, lambda: topone_nats.connect(f"nats://{server.address}")
    server = ValkeyServer(folder)
    return server, lambda: topone_redis.connect(f"redis://{server.address}")
