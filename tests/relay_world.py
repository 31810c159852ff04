"""Everything around the processes of ``topone relay``: their exchanges, a message bus, and the
consumers that compare what they are told with what has happened."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import topone_nats
import topone_redis
import topone_simulator
from bus_servers import NatsServer, Server, ValkeyServer
from relay_followers import Exchange, Figures, Follower, Wrong
from topone_proto.exchange import HttpConfig

TOPONE = (sys.executable, "-c", "import topone_cli; topone_cli.main()")
# The exchange's minute is so many seconds here, and the accounts count with a little more.
MINUTE = 6.0
PATIENCE = 90.0
"""Seconds after which a rest is not reached: a failure."""


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
