"""The command ``topone market``: what it prints, follows and records."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import BOUND, at_terminal, interrupt, invoke, read_until, run, running, unwrapped
from topone_cli._run import Adapter
from topone_proto import Book, Candle, DealsUpdate, DepthUpdate, KlineUpdate
from topone_proto.exchange import DropConnections, RejectRequest
from topone_proto.plain import from_plain
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

UPDATES = {"DepthUpdate", "DealsUpdate", "KlineUpdate"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=20.0, market_rate=20.0, history=3600.0) as simulator:
        yield simulator


def market(simulator: Simulator, *arguments: str) -> tuple[str, ...]:
    return ("market", "BTC/USDT", "--url", simulator.market_url, *arguments)


@pytest.mark.parametrize("adapter", Adapter)
def test_every_event_of_a_market_is_a_line_of_json(simulator: Simulator, adapter: Adapter) -> None:
    with running(*market(simulator, "--adapter", adapter, "--json")) as process:
        missing = set(UPDATES)

        def was_last(line: str) -> bool:
            missing.discard(json.loads(line)["event"])
            return not missing

        lines = read_until(process, was_last)
        code, out, err = interrupt(process)
    assert (code, err) == (130, "")
    events = [from_plain(json.loads(line)) for line in (*lines, *out.splitlines())]
    topics = {"depth_BTC/USDT_1x", "deals_BTC/USDT", "kline_BTC/USDT_1m"}
    updates = [e for e in events if isinstance(e, DepthUpdate | DealsUpdate | KlineUpdate)]
    assert {update.topic.name for update in updates} == topics
    assert any(isinstance(e, DepthUpdate) and isinstance(e.book, Book) for e in updates)
    assert any(isinstance(e, KlineUpdate) and isinstance(e.candles[0], Candle) for e in updates)
    assert simulator.handshakes[-1].target == "/ws/"


def test_the_period_and_the_merge_are_those_asked_for(simulator: Simulator) -> None:
    arguments = ("--period", "1h", "--merge", "10x", "--json", "--seconds", "1")
    code, out, err = run(*market(simulator, *arguments))
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    subscribed = {line["topic"] for line in lines if line["event"] == "Subscribed"}
    assert subscribed == {"depth_BTC/USDT_10x", "deals_BTC/USDT", "kline_BTC/USDT_1h"}


def test_without_a_terminal_a_market_is_lines_of_text(simulator: Simulator) -> None:
    with running(*market(simulator)) as process:
        missing = set(UPDATES)

        def was_last(line: str) -> bool:
            found = re.match(r"\d\d:\d\d:\d\d (\w+) +(?:depth|deals|kline)_BTC/USDT\w*: ", line)
            missing.discard("" if found is None else found[1])
            return not missing

        read_until(process, was_last)


def test_a_market_is_recorded_and_replayed(simulator: Simulator, tmp_path: Path) -> None:
    file = str(tmp_path / "market.jsonl.gz")
    code, lived, err = run(*market(simulator, "--json", "--seconds", "2", "--record", file))
    assert (code, err) == (0, "")
    assert run("replay", file, "--json") == (0, lived, "")
    code, out, _ = run("stats", file)
    assert code == 0
    assert "DepthUpdate" in out
    shown, process = at_terminal(("replay", file))
    with process:
        while shown.more():
            pass
        assert process.wait(timeout=BOUND) == 0
    assert b"Order book" in shown.data


def test_the_screen_shows_the_market_and_its_past(simulator: Simulator) -> None:
    shown, process = at_terminal(market(simulator, "--seconds", "3"), token=None)
    with process:
        while shown.more():
            pass
        assert process.wait(timeout=BOUND) == 0
    text = shown.data.decode(errors="replace")
    for words in ("topone market BTC/USDT over trio", "Order book", "Candles 1m", "Trades"):
        assert words in text
    # Candles of many minutes can only have been asked for: their times are far apart.
    assert re.search(r"\d\d:\d\d {10,}\d\d:\d\d", text)


def test_after_a_reconnect_the_gap_is_said(simulator: Simulator) -> None:
    with running(*market(simulator, "--json")) as process:
        read_until(process, lambda line: '"KlineUpdate"' in line)
        simulator.inject(DropConnections())
        read_until(process, lambda line: '"Gap"' in line and "depth_BTC/USDT_1x" in line)


def test_a_market_that_the_exchange_refuses_is_a_failure(simulator: Simulator) -> None:
    simulator.inject(RejectRequest(code=7, msg="not now", times=None))
    code, _, err = invoke(*market(simulator, "--plain"))
    assert code == 1
    assert "with code 7 (not now): check the market, --period and --merge" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("market",), "MARKET is missing"),
        (("market", "BTCUSDT"), "MARKET: use the name of a market, such as BTC/USDT"),
        (("market", "BTC/USDT", "--period", "3m"), "--period: use one of 1m, 5m,"),
        (("market", "BTC/USDT", "--merge", "2x"), "--merge: use one of 1x, 10x,"),
        (("market", "BTC/USDT", "--json", "--plain"), "not both"),
        (("market", "BTC/USDT", "--url", "http://x"), "--url: it is no ws:// or wss:// URL"),
        (("market", "BTC/USDT", "--token-file", "x"), "argument 3 is not an option"),
    ],
)
def test_what_market_cannot_do_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert words in unwrapped(err)


def test_simulate_says_where_a_market_is() -> None:
    with running("simulate", "--port", "0") as process:
        lines = read_until(process, lambda line: "topone market" in line)
        (*_, command) = lines[-1].strip().partition("topone ")
        code, out, err = run(*command.split(), "--seconds", "1", "--json")
        assert (code, err) == (0, "")
        assert UPDATES & {json.loads(line)["event"] for line in out.splitlines()}
