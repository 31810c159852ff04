"""The command ``topone account``: how it begins, heals and ends, and its export of fills."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from commands import BOUND, SECRET, interrupt, invoke, read_until, run, running
from fill_files import sums
from topone_cli._fills import Seen
from topone_cli._run import Adapter
from topone_proto import (
    Order,
    Side,
)
from topone_proto.exchange import DropConnections
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=0.0, tokens={SECRET: "demo"}) as simulator:
        yield simulator


@pytest.fixture
def env(simulator: Simulator, tmp_path: Path) -> dict[str, str]:
    keys = simulator.credentials
    return {
        "TOPONE_APP_ID": keys.app_id,
        "TOPONE_APP_KEY": keys.reveal(),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def arguments(simulator: Simulator, *more: str) -> tuple[str, ...]:
    return ("account", "--url", simulator.url, "--http-url", simulator.http_url, "--json", *more)


def is_whole(line: str) -> bool:
    return '"Resynced"' in line and '"orders"' in line


def place(simulator: Simulator, amount: str = "2") -> int:
    changes = simulator.live(
        lambda account, now: account.place(
            "ETH/BTC", Side.BUY, Decimal(amount), now, price=Decimal("0.01")
        )
    )
    return next(each.id for each in changes if isinstance(each, Order))


def fill(simulator: Simulator, number: int, amount: str) -> None:
    simulator.live(lambda account, now: account.fill(number, Decimal(amount), now))


def truth(simulator: Simulator) -> dict[int, tuple[Decimal, Decimal]]:
    return {
        number: (order.deal_stock, order.deal_money)
        for number, order in simulator.orders.items()
        if order.deal_stock
    }


@pytest.mark.parametrize("adapter", Adapter)
def test_it_is_whole_again_after_a_drop(
    adapter: Adapter, simulator: Simulator, env: dict[str, str]
) -> None:
    number = place(simulator)
    with running(*arguments(simulator, "--adapter", adapter), env=env) as process:
        first = read_until(process, is_whole)
        assert f'"id": {number}' in "".join(first)
        simulator.inject(DropConnections())
        fill(simulator, number, "2")
        again = [json.loads(line) for line in read_until(process, is_whole)]
        code, _, err = interrupt(process)
    assert (code, err) == (130, "")
    fills = [each for each in again if each["event"] == "AggregatedFill"]
    assert [(each["deal_stock"], each["healed"]) for each in fills] == [("2", True)]
    assert (again[-1]["event"], again[-1]["topic"]) == ("Resynced", "orders")
    differences = {each["event"] for each in again[-1]["differences"]}
    assert differences == {"OrderChanged", "AggregatedFill"}


def test_a_token_does_as_well(simulator: Simulator, env: dict[str, str]) -> None:
    env = {name: text for name, text in env.items() if not name.startswith("TOPONE")}
    with running(*arguments(simulator), token=SECRET, env=env) as process:
        lines = read_until(process, is_whole)
        assert interrupt(process)[0] == 130
    assert SECRET not in "".join(lines)


def test_keys_that_are_refused_end_it_with_words_about_them(
    simulator: Simulator, env: dict[str, str]
) -> None:
    code, out, err = run(*arguments(simulator), env=env | {"TOPONE_APP_KEY": "5ecret"})
    assert code == 1
    assert "check the app id and the app key (the keys are those of the environment)" in err
    assert "5ecret" not in out + err


def test_without_keys_it_says_where_they_come_from(simulator: Simulator, tmp_path: Path) -> None:
    nowhere = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    code, _, err = run(*arguments(simulator), env=nowhere)
    assert code == 2
    assert "run 'topone login'" in err


def test_fills_without_orders_are_misuse() -> None:
    code, _, err = invoke("account", "--topics", "balance", "--export", "fills.csv")
    assert (code, "leave orders among --topics" in err) == (2, True)


@pytest.mark.parametrize("suffix", [".csv", ".sqlite"])
def test_no_fill_is_lost_or_comes_twice_when_it_is_killed(
    suffix: str, simulator: Simulator, env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / f"fills{suffix}"
    command = arguments(simulator, "--export", str(path))
    number = place(simulator)
    with running(*command, env=env) as process:
        read_until(process, is_whole)
        until(lambda: seen_at_rest(path) is not None)
        fill(simulator, number, "0.5")
        read_until(process, lambda line: '"AggregatedFill"' in line)
        process.kill()
    # While nobody looks: the rest of it, and an order from its beginning to its end.
    fill(simulator, number, "1.5")
    fill(simulator, place(simulator), "2")
    third = place(simulator)
    with running(*command, env=env) as process:
        read_until(process, is_whole)
        fill(simulator, third, "1")
        read_until(process, lambda line: '"AggregatedFill"' in line)
        until(lambda: sums(path) == truth(simulator))
        code, _, err = interrupt(process)
    assert (code, err) == (130, "")
    assert sums(path) == truth(simulator)


def seen_at_rest(path: Path) -> Seen | None:
    """The orders that a file is sure of, also while another process writes to it."""
    if path.suffix == ".csv":
        state = path.with_name(f"{path.name}.state")
        return Seen.from_text(state.read_bytes()) if state.exists() else None
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT seen FROM topone").fetchone()
    return None if found is None else Seen.from_text(found[0])


def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + BOUND
        time.sleep(0.01)


def test_a_file_of_another_shape_is_said_before_anything_is_dialled(
    simulator: Simulator, env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "fills.csv"
    path.write_text("a,b\n")
    code, out, err = run(*arguments(simulator, "--export", str(path)), env=env)
    assert (code, out) == (1, "")
    assert "is not a file of fills of this command" in err
    assert simulator.handshakes == ()
