"""The command ``topone``: what it prints, how it ends, and that no token is ever shown."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

import topone_cli._token
from topone_cli._app import app
from topone_cli._describe import describe
from topone_cli._output import JsonLines, PlainLines, live_screen
from topone_cli._picture import picture
from topone_cli._run import Adapter
from topone_cli._token import find_token
from topone_cli._view import View
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    Order,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Response,
    Side,
    Subscribed,
    Token,
    UnexpectedResponse,
    __version__,
)
from topone_proto.plain import to_plain
from topone_proto.testing.strategies import events
from topone_simulator import Simulator, run_in_thread

SECRET = "topapi:not-to-be-shown"
TOPONE = (sys.executable, "-W", "error", "-c", "import topone_cli; topone_cli.main()")
BOUND = 60.0  # after which a process that should have ended is taken for hung

PLAIN = {name: text for name, text in os.environ.items() if name != "TOPONE_TOKEN"} | {
    "COLUMNS": "80",
    "NO_COLOR": "1",
    "TERM": "dumb",
}


def start(*arguments: str, token: str | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*TOPONE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PLAIN if token is None else PLAIN | {"TOPONE_TOKEN": token},
    )


@contextmanager
def running(*arguments: str, token: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    process = start(*arguments, token=token)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(*arguments: str, token: str | None = None) -> tuple[int, str, str]:
    with running(*arguments, token=token) as process:
        out, err = process.communicate(timeout=BOUND)
        return process.returncode, out, err


def read_until(process: "subprocess.Popen[str]", last: Callable[[str], bool]) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if last(line):
            return lines
    raise AssertionError(f"it ended with {lines[-3:]}")


def interrupt(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=BOUND)
    return process.returncode, out, err


def of_topic(name: str) -> Callable[[str], bool]:
    return lambda line: '"Subscribed"' in line and f'"{name}"' in line


def invoke(*arguments: str, env: dict[str, str | None] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        app, arguments, env={"COLUMNS": "80", "NO_COLOR": "1", "TOPONE_TOKEN": None, **(env or {})}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def unwrapped(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=100.0, tokens={SECRET: "account"}) as simulator:
        yield simulator


# --- demo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", Adapter)
def test_the_demo_shows_the_life_of_a_feed_with_one_accident(adapter: Adapter) -> None:
    code, out, err = run("demo", "--adapter", adapter, "--seconds", "3", "--rate", "50", "--json")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(next(iter(line)) == "event" for line in lines)
    life = [line for line in lines if line["event"] not in {"OrderUpdate", "BalanceUpdate"}]
    names = [line["event"] for line in life]
    assert names[0] == "Connected"
    assert Counter(names[1:3]) == {"Subscribed": 2}
    assert names[3:5] == ["Disconnected", "Connected"]
    assert Counter(names[5:9]) == {"Subscribed": 2, "Gap": 2}
    assert names[9:] == ["Closed"]
    assert [line["epoch"] for line in life if line["event"] == "Connected"] == [1, 2]
    assert {line["topic"] for line in life if line["event"] == "Gap"} == {"balance", "orders"}
    assert life[-1]["failure"] is None
    assert {"OrderUpdate", "BalanceUpdate"} <= {line["event"] for line in lines}


def test_without_a_terminal_the_demo_prints_plain_lines() -> None:
    code, out, err = run("demo", "--seconds", "2", "--rate", "50")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert re.search(r"^\d\d:\d\d:\d\d -- the demo now resets the connection", out, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d Gap +orders: updates may be missing", out, re.MULTILINE)
    assert out.endswith("Closed\n")


@pytest.mark.parametrize("adapter", Adapter)
def test_ctrl_c_ends_it_without_a_word(adapter: Adapter) -> None:
    with running("demo", "--adapter", adapter, "--json") as process:
        read_until(process, of_topic("orders"))
        code, _, err = interrupt(process)
    assert (code, err) == (130, "")


def test_sigterm_ends_it_like_ctrl_c() -> None:
    with running("demo", "--json") as process:
        read_until(process, of_topic("orders"))
        process.terminate()
        _, err = process.communicate(timeout=BOUND)
    assert (process.returncode, err) == (130, "")


def test_sigterm_ends_what_a_shell_has_put_into_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for such a child
    try:
        with running("demo", "--json") as process:
            read_until(process, of_topic("orders"))
            process.terminate()
            _, err = process.communicate(timeout=BOUND)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (process.returncode, err) == (130, "")


def test_when_nobody_reads_its_output_any_more_it_ends() -> None:
    with running("demo", "--json") as process:
        read_until(process, of_topic("orders"))
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=BOUND) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("adapter", "library"),
    [("trio", "trio_websocket"), ("asyncio", "aiohttp"), ("threads", "websockets.sync.client")],
)
def test_an_adapter_whose_extra_is_missing_says_so(adapter: str, library: str) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv = ['topone', 'watch', "
        f"'--adapter', {adapter!r}]; import topone_cli; topone_cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env=PLAIN | {"TOPONE_TOKEN": SECRET},
        timeout=BOUND,
    )
    assert done.returncode == 2
    assert f'pip install "topone-proto[{adapter}]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_without_its_own_extra_the_command_says_so(library: str) -> None:
    program = f"import sys; sys.modules[{library!r}] = None; import topone_cli; topone_cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == 2
    assert done.stderr == f'topone needs {library}: pip install "topone-proto[cli]"\n'


# --- watch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", Adapter)
def test_watch_follows_an_account_with_the_token_of_the_environment(
    simulator: Simulator, adapter: Adapter
) -> None:
    arguments = ("watch", "--url", simulator.url, "--adapter", adapter, "--json")
    with running(*arguments, token=SECRET) as process:
        lines = read_until(process, lambda line: '"BalanceUpdate"' in line)
        code, out, err = interrupt(process)
    assert (code, err) == (130, "")
    assert json.loads(lines[0]) == {"event": "Connected", "epoch": 1}
    assert SECRET not in "".join(lines) + out
    assert simulator.handshakes[-1].header("Origin") is None


def test_watch_subscribes_to_what_it_is_told_with_the_origin_it_is_told(
    simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    options = ("--token-file", str(file), "--topics", "orders", "--origin", "")
    with running("watch", "--url", simulator.url, "--json", *options) as process:
        lines = read_until(process, lambda line: '"OrderUpdate"' in line)
    assert not [line for line in lines if '"balance"' in line]
    assert simulator.handshakes[-1].header("Origin") == ""


@pytest.mark.parametrize("adapter", Adapter)
def test_a_refused_token_ends_watch_and_says_what_to_check(
    simulator: Simulator, adapter: Adapter
) -> None:
    wrong = "topapi:wrong-and-secret"
    code, out, err = invoke(
        "watch", "--url", simulator.url, "--adapter", adapter, "--json", env={"TOPONE_TOKEN": wrong}
    )
    assert code == 1
    assert err.startswith("topone: the server answered the handshake with HTTP 401")
    assert "get a new one" in err
    assert wrong not in out + err
    assert json.loads(out.splitlines()[-1])["failure"]["status"] == 401


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token", SECRET),
        (f"--token={SECRET}",),
        (SECRET,),
        ("--json", SECRET),
        (f"--tokn={SECRET}",),
        ("--url", f"wss://gateway.topone.run/ws/user/?token={SECRET}"),
        ("--topics", "orders", "--token", SECRET, "--nonsense"),
    ],
)
def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    arguments: tuple[str, ...],
) -> None:
    code, out, err = invoke("watch", *arguments)
    assert code == 2
    assert SECRET not in out + err
    assert "not-to-be-shown" not in out + err


def test_the_refusal_of_a_token_says_what_to_do_instead() -> None:
    _, _, err = invoke("watch", "--token", SECRET)
    for remedy in ("TOPONE_TOKEN", "--token-file FILE", "prompt", "revoke"):
        assert remedy in unwrapped(err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "set the environment variable TOPONE_TOKEN"),
        (("something",), "too many arguments"),
        (("--token-file", "/nowhere/token"), "/nowhere/token cannot be read"),
        (("--url", "http://127.0.0.1/"), "it is no ws:// or wss:// URL"),
        (("--url", "ws://exchange.example/"), "--insecure"),
        (("--topics", "orders,"), "a topic's name"),
        (("--origin", "\n"), "origin"),
        (("--seconds", "0"), "greater than zero"),
        (("--seconds", "nan"), "greater than zero"),
        (("--seconds", "inf"), "greater than zero"),
        (("--adapter", "curio"), "curio"),
    ],
)
def test_what_watch_cannot_do_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = invoke("watch", *arguments)
    assert (code, out) == (2, "")
    assert words in unwrapped(err)


def test_the_token_is_asked_for_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("TOPONE_TOKEN", raising=False)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(topone_cli._token, "getpass", lambda _: SECRET)
    assert find_token(None) == Token(SECRET)


def test_the_token_file_is_read_for_every_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    source = find_token(file)
    file.write_text("second\n")
    assert callable(source)
    assert source() == Token("second")


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff\xfe", b"\xc3\xa9"])
def test_a_file_without_a_token_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    code, _, err = invoke("watch", "--token-file", str(file))
    assert code == 2
    assert "it is empty, or has spaces" in err
    assert "two words" not in err


# --- simulate -----------------------------------------------------------------------------------


def test_simulate_says_how_to_connect_and_who_comes_and_goes() -> None:
    with running("simulate", "--port", "0", "--rate", "50", "--token", "sesame") as process:
        opening = "".join(read_until(process, lambda line: "topone watch" in line))
        found = re.search(
            r"(\w+=\w+) topone (watch --url (ws://127\.0\.0\.1:\d+/ws/user/))\n", opening
        )
        assert found is not None
        assert found[1] == "TOPONE_TOKEN=sesame"
        with running(*found[2].split(), "--json", token="sesame") as client:
            read_until(client, of_topic("orders"))
            read_until(process, lambda line: line.endswith(" client 1 connected\n"))
        read_until(process, lambda line: line.endswith(" 1 disconnected, 0 still connected\n"))
        code, _, _ = invoke("watch", "--url", found[3], env={"TOPONE_TOKEN": "wrong"})
        assert code == 1
        read_until(process, lambda line: " a client was refused with HTTP 401" in line)
        assert interrupt(process) == (130, "", "")


def test_a_port_that_is_taken_is_a_failure(simulator: Simulator) -> None:
    code, out, err = invoke("simulate", "--port", str(simulator.port))
    assert (code, out) == (1, "")
    assert err.startswith(f"topone: cannot listen on 127.0.0.1:{simulator.port}: ")


@pytest.mark.parametrize("command", [("demo",), ("simulate", "--port", "0")])
def test_an_impossible_rate_is_a_usage_error(command: tuple[str, ...]) -> None:
    code, out, err = invoke(*command, "--rate", "-1")
    assert (code, out) == (2, "")
    assert "rate" in err


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["demo", "watch", "simulate"])
def test_help_fits_80_columns_without_colour_and_has_examples(command: str) -> None:
    code, out, _ = invoke(command, "--help")
    assert code == 0
    assert "Examples" in out
    assert re.search(rf"^ \S*.*topone {command}", out, re.MULTILINE)
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_offers_no_argument_for_a_token() -> None:
    _, out, _ = invoke("watch", "--help", env={"TOPONE_TOKEN": SECRET})
    assert "--token-file" in out
    assert not re.search(r"--token\b(?!-)", out)
    assert SECRET not in out


def test_version() -> None:
    assert invoke("--version") == (0, f"topone {__version__}\n", "")


# --- lines --------------------------------------------------------------------------------------


@given(events())
def test_every_event_is_described_in_one_harmless_line(event: Event) -> None:
    text = describe(event)
    assert text.isprintable()
    assert len(text) <= 2100


@given(events())
def test_every_event_is_one_line_of_json(event: Event) -> None:
    with captured() as out:
        JsonLines().event(event)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line) == to_plain(event)
    assert line.startswith(f'{{"event": "{type(event).__name__}"')


@given(events())
def test_every_event_is_one_plain_line(event: Event) -> None:
    with captured() as out:
        PlainLines().event(event)
    assert len(out.getvalue().splitlines()) == 1
    assert type(event).__name__ in out.getvalue()


def test_notes_are_for_people_only() -> None:
    with captured() as out:
        JsonLines().note("hello")
        assert out.getvalue() == ""
        PlainLines().note("hello")
        assert out.getvalue().endswith(" -- hello\n")


@contextmanager
def captured() -> Iterator[io.StringIO]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        yield out


# --- the screen ---------------------------------------------------------------------------------

NOON = 1_800_000_000.0
ORDER = Order(
    id=132991,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.PENDING,
    price=Decimal("0.08132"),
    amount=Decimal("1.389"),
    left=Decimal("1.389"),
    deal_stock=Decimal(0),
    deal_money=Decimal(0),
    create_time=NOON,
    update_time=NOON,
)
FILLED = evolve(
    ORDER,
    status=OrderStatus.COMPLETED,
    left=Decimal(0),
    deal_stock=Decimal("1.389"),
    deal_money=Decimal("0.10953654"),
)
BTC = Balance("BTC", Decimal("12.50000000"), Decimal("0E-16"))
LOST = Failure(FailureKind.LOST)


def order_update(order: Order = ORDER, **changes: Any) -> OrderUpdate:
    return OrderUpdate(evolve(order, **changes), ts=1)


def view_of(*events: Event, at: float = NOON) -> View:
    view = View("title")
    for event in events:
        view.take(event, at)
    return view


def drawn(view: View, at: float = NOON, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), color_system=None
    )
    console.print(picture(view, at), height=height)
    return console.export_text().splitlines()


def test_a_view_knows_the_life_of_the_feed() -> None:
    view = view_of()
    assert (view.state, view.epoch) == ("connecting", 0)
    view.take(Connected(epoch=1), NOON)
    assert (view.state, view.epoch, view.retry_at) == ("connected", 1, None)
    view.take(Disconnected(LOST, retry_in=2.5, epoch=1, attempt=1), NOON)
    assert (view.state, view.retry_at) == ("disconnected", NOON + 2.5)
    assert "disconnected, retry in 1.5 s" in drawn(view, NOON + 1)[1]
    assert "disconnected, retry in 0.0 s" in drawn(view, NOON + 9)[1]
    view.take(Connected(epoch=2), NOON + 3)
    assert (view.state, view.epoch, view.retry_at) == ("connected", 2, None)
    view.take(Closed(), NOON + 4)
    assert view.state == "closed"
    assert [line.name for line in view.log] == ["Connected", "Disconnected", "Connected", "Closed"]


def test_a_feed_that_ended_by_itself_has_failed() -> None:
    refused = Failure(FailureKind.HANDSHAKE, status=403)
    ended = Disconnected(refused, retry_in=None, epoch=0, attempt=0)
    view = view_of(ended, Closed(refused))
    assert (view.state, view.retry_at) == ("failed", None)


def test_an_order_moves_from_open_to_closed() -> None:
    view = view_of(order_update(), order_update(id=7))
    assert list(view.open_orders) == [132991, 7]
    view.take(OrderUpdate(FILLED, ts=2), NOON)
    assert list(view.open_orders) == [7]
    assert list(view.closed_orders) == [FILLED]


def test_an_order_of_unknown_status_stays_in_sight() -> None:
    view = view_of(order_update(status=OrderStatus(42)))
    assert list(view.open_orders) == [132991]


def test_what_came_before_a_gap_is_marked_until_it_comes_again() -> None:
    view = view_of(
        order_update(), BalanceUpdate(BTC, ts=1), Gap(ORDERS, since_ts=1, until_ts=2, epoch=2)
    )
    assert any("132991?" in line for line in drawn(view))
    assert not any("BTC?" in line for line in drawn(view)), "the gap was of another topic"
    view.take(Gap(BALANCE, since_ts=1, until_ts=2, epoch=2), NOON)
    assert any("BTC?" in line for line in drawn(view))
    view.take(BalanceUpdate(BTC, ts=3), NOON)
    view.take(order_update(), NOON)
    assert not any("?" in line for line in drawn(view)[2:16])


def test_gaps_anomalies_and_events_are_counted() -> None:
    odd = (
        Malformed("not JSON", "$", "{", 1),
        UnexpectedResponse(Response("1", "sub_orders", 0, "", 1), "answers no request"),
    )
    gaps = (Gap(ORDERS, None, None, 2), Gap(BALANCE, None, None, 2))
    header = drawn(view_of(Connected(2), *odd, *gaps))[1]
    assert "connected  epoch 2  gaps 2  anomalies 2  events 5" in header


def test_the_rate_is_that_of_the_last_five_whole_seconds() -> None:
    view = view_of(*[order_update()] * 10, at=NOON)
    view.take(order_update(), NOON + 4)
    assert view.rate(NOON) == 0, "the second is not over"
    assert view.rate(NOON + 1) == 2.0
    assert view.rate(NOON + 5) == 2.2
    assert view.rate(NOON + 6) == 0.2
    assert view.rate(NOON + 60) == 0


def test_the_screen_at_80_columns() -> None:
    view = view_of(
        Connected(epoch=1),
        Subscribed(ORDERS, ts=1, epoch=1),
        BalanceUpdate(BTC, ts=1),
        order_update(id=5, type=OrderType.MARKET, price=None),
        order_update(),
        OrderUpdate(evolve(FILLED, id=6), ts=1),
    )
    view.note("something happens", NOON)
    lines = drawn(view)
    assert len(lines) == 24
    assert all(len(line) == 80 for line in lines[2:])
    screen = "\n".join(lines)
    assert re.search(r"│ BTC +12\.5 +0 │", screen)
    assert re.search(r"132991 +ETH/BTC +buy +limit +0\.08132 +1\.389 +0 ", screen)
    assert re.search(r"5 +ETH/BTC +buy +market +- +1\.389 +0 ", screen)
    assert re.search(r"6 +ETH/BTC +buy +completed +│\n", screen)
    assert screen.index("│ 132991 ") < screen.index("│ 5 "), "the latest first"
    assert "Open orders: 2" in screen
    assert re.search(r"│ \d\d:\d\d:\d\d Connected epoch 1 +│", screen)
    assert re.search(r"│ \d\d:\d\d:\d\d something happens +│", screen)


def test_the_lines_of_a_gap_fit_80_columns() -> None:
    ts = 1_800_000_000_123
    lines = drawn(view_of(Gap(BALANCE, since_ts=ts, until_ts=ts + 999, epoch=2)))
    (line,) = (line for line in lines if "Gap" in line)
    assert re.search(r"balance: updates may be missing, \S+\.123 to \S+\.122 +│$", line)


def test_a_wide_screen_shows_more() -> None:
    view = view_of(order_update(deal_stock=Decimal("0.5"), deal_money=Decimal("0.0406")))
    assert not any("0.0812 " in line for line in drawn(view))
    assert any("0.0812 " in line for line in drawn(view, width=120))


def test_more_rows_than_fit_leave_the_latest() -> None:
    view = view_of(*(order_update(id=n) for n in range(1100, 1200)))
    for n in range(50):
        view.note(f"note {n}", NOON)
    screen = "\n".join(drawn(view))
    assert len(drawn(view)) == 24
    assert " 1199 " in screen
    assert " 1100 " not in screen
    assert "note 49 " in screen
    assert "note 1 " not in screen


def test_the_server_cannot_write_on_the_terminal() -> None:
    hostile = "[red]\x1b[2J\x07"
    view = view_of(
        BalanceUpdate(Balance(hostile, Decimal(1), Decimal(1)), ts=1),
        order_update(market=hostile),
        Malformed(hostile, "$", hostile, 1),
    )
    screen = "\n".join(drawn(view, width=120))
    assert "\x1b" not in screen
    assert "\x07" not in screen
    assert screen.count("[red]") >= 2, "and its words are no markup"


@given(st.lists(events(), max_size=20), st.integers(1, 130), st.integers(1, 50))
def test_any_feed_can_be_drawn_in_any_size(feed: list[Event], width: int, height: int) -> None:
    view = view_of(*feed)
    assert view.events == len(feed)
    assert len(drawn(view, width=width, height=height)) <= height


def test_the_live_screen_leaves_its_last_picture() -> None:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None, _environ={}
    )
    with pytest.raises(KeyboardInterrupt), live_screen("the title", console) as output:
        output.event(Connected(epoch=1))
        output.note("the note")
        raise KeyboardInterrupt
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    live, left, last = written.rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in live
    assert left
    for words in ("the title", "connected  epoch 1", "the note"):
        assert words in last
