"""The programs of the page "From one machine to many", together and with a real bus."""

import asyncio
import importlib.util
import queue
import re
import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest

import topone_nats
from bus_servers import NatsServer, running
from relayed import PATIENCE, message
from topone_proto import Order, OrderStatus, OrderType, OrderUpdate, Side
from topone_proto.account import Account, Knowledge
from topone_simulator import run_in_thread

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "many-machines.md").read_text("utf-8")


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        yield f"nats://{server.address}"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "programs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Done(Exception):
    """Enough was seen."""


def test_a_relay_a_strategy_and_a_dashboard(
    bus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The strategy and the dashboard see what happens to the account of the relay."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shown: queue.SimpleQueue[str] = queue.SimpleQueue()
    is_placed = False

    with run_in_thread() as simulator:
        keys = simulator.credentials
        monkeypatch.setenv("TOPONE_APP_ID", keys.app_id)
        monkeypatch.setenv("TOPONE_APP_KEY", keys.reveal())

        def decide(account: Account) -> None:
            nonlocal is_placed
            orders = account.open_orders()
            assert orders.knowledge is Knowledge.WHOLE
            if not is_placed:
                is_placed = True
                simulator.live(lambda mine, now: mine.place("ETH/BTC", Side.BUY, Decimal(1), now))
            elif orders.value == simulator.truth().open_orders and orders.value:
                raise Done

        def show(text: str) -> None:
            shown.put(text)
            if text.startswith("whole"):
                raise Done

        def dashboard() -> None:
            with pytest.raises(Done):
                program("relay_dashboard").main(bus, show, 0.05)

        async def together() -> None:
            relay = program("relay_node").main("desk-a", bus, simulator.url, simulator.http_url)
            strategy = program("relay_strategy")
            monkeypatch.setattr(strategy, "decide", decide)
            async with asyncio.timeout(PATIENCE):
                following = asyncio.create_task(relay)
                try:
                    with pytest.raises(Done):
                        await strategy.main(bus)
                    await asyncio.to_thread(thread.join, PATIENCE)
                finally:
                    following.cancel()
                    await asyncio.wait([following])

        thread = threading.Thread(target=dashboard, daemon=True)
        thread.start()
        asyncio.run(together())
        assert not thread.is_alive()
        truth = simulator.truth().balances
    while not (last := shown.get()).startswith("whole"):
        pass
    assert all(name in last for name in truth)
    out = capsys.readouterr().out
    assert "orders: whole" in out
    assert keys.reveal() not in out


def order_update(number: int) -> OrderUpdate:
    order = Order(
        number,
        "ETH/BTC",
        OrderType.LIMIT,
        Side.BUY,
        OrderStatus.PENDING,
        Decimal(1),
        Decimal(1),
        Decimal(1),
        Decimal(0),
        Decimal(0),
        1.0,
        1.0,
    )
    return OrderUpdate(order, number)


def test_a_ledger_has_every_update_once_however_often_it_is_killed(bus: str) -> None:
    """The program of the page: each event and the place behind it are one transaction."""
    [code] = re.findall(r"```python\n(import sqlite3.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "many-machines.md", "exec"), names)
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute("CREATE TABLE updates (id, status, filled)")
    database.execute("CREATE TABLE progress (position)")
    database.execute("INSERT INTO progress VALUES (NULL)")

    async def publish() -> None:
        async with topone_nats.connect(bus, prefix="ledger") as at:
            lease = await at.acquire("main", "a node", 60)
            assert lease is not None
            for number in range(1, 8):
                some = [order_update(10 * number + each) for each in range(3)]
                await at.publish(lease, number, message(number, *some, epoch=lease.epoch))

    class Killing:
        """A feed that kills its program after a few events."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._opening = topone_nats.open_feed(*arguments, prefix="ledger", **options)

        def __enter__(self) -> Self:
            self._feed = self._opening.__enter__()
            return self

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
            self._opening.__exit__(kind)

        def __iter__(self) -> Iterator[Any]:
            for _ in range(4):
                yield self._feed.get(PATIENCE)
            raise Done

        @property
        def position(self) -> Any:
            return self._feed.position

    asyncio.run(publish())
    names["open_feed"] = Killing
    wanted = [10 * number + each for number in range(1, 8) for each in range(3)]
    for _ in range(6):
        with pytest.raises(Done):
            names["keep_orders"](bus, database)
    found = [number for (number,) in database.execute("SELECT id FROM updates")]
    assert found == wanted[: len(found)]
    # The first event of each run says that older messages are still to be read.
    assert len(found) == 6 * 3
    database.close()


def test_the_page_changes_one_line() -> None:
    [diff] = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)
    assert [line[0] for line in diff.splitlines() if line[0] in "+-"] == ["-", "+"]
