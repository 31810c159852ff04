"""The command ``topone``: what it prints, how it ends, and that no token is ever shown."""

import io
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given

import topone_cli._run
import topone_cli._token
from commands import (
    BOUND,
    PLAIN,
    SECRET,
    interrupt,
    invoke,
    of_topic,
    read_until,
    running,
    unwrapped,
)
from topone_cli._completion import complete_fault
from topone_cli._describe import describe, suggestion
from topone_cli._output import JsonLines, PlainLines
from topone_cli._run import Adapter, choose_adapter
from topone_cli._token import find_token
from topone_cli._topics import PRIVATE_TOPICS
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    Closed,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Token,
    __version__,
)
from topone_proto.plain import to_plain
from topone_proto.testing.strategies import events
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=100.0, tokens={SECRET: "account"}) as simulator:
        yield simulator


# --- demo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", Adapter)
def test_the_demo_heals_the_gap_of_one_accident(adapter: Adapter) -> None:
    resynced: list[str] = []

    def is_whole_again(line: str) -> bool:
        resynced.extend([line] if '"event": "Resynced"' in line else [])
        return len(resynced) == 4

    with running("demo", "--adapter", adapter, "--seconds", "12", "--json") as process:
        out = "".join(read_until(process, is_whole_again))
        code, rest, err = interrupt(process)
    assert (code, err) == (130, "")
    lines = [json.loads(line) for line in (out + rest).splitlines()]
    assert all(next(iter(line)) == "event" for line in lines)
    changes = {"OrderChanged", "BalanceChanged", "AggregatedFill"}
    life = [line for line in lines if line["event"] not in changes]
    names = [line["event"] for line in life]
    whole = {"KnowledgeChanged": 2, "Resynced": 2}
    assert names[0] == "Connected"
    assert Counter(names[1:3]) == {"Subscribed": 2}
    assert Counter(names[3:7]) == whole
    # Lost, one dial refused, connected.
    assert Counter(names[7:10]) == {"Disconnected": 1, "KnowledgeChanged": 2}
    assert names[10:12] == ["Disconnected", "Connected"]
    assert Counter(names[12:16]) == {"Subscribed": 2, "Gap": 2}
    assert Counter(names[16:20]) == whole
    assert names[20:] == ["KnowledgeChanged", "KnowledgeChanged", "Closed"]
    assert [line["epoch"] for line in life if line["event"] == "Connected"] == [1, 2]
    assert {line["topic"] for line in life if line["event"] == "Gap"} == {"balance", "orders"}
    assert life[-1]["failure"] is None
    assert changes <= {line["event"] for line in lines}


@pytest.mark.parametrize(
    ("seconds", "refused"), [((), "dials"), (("--seconds", "12"), "dial")], ids=("ever", "12")
)
def test_without_a_terminal_the_demo_prints_plain_lines(
    seconds: tuple[str, ...], refused: str
) -> None:
    with running("demo", *seconds, "--rate", "50") as process:
        out = "".join(read_until(process, lambda line: "-- whole again: " in line))
        code, rest, err = interrupt(process)
    assert (code, err) == (130, "")
    out += rest
    assert "\x1b" not in out
    assert re.search(r"-- whole again: \d+ changes were missed, and asked for over HTTP", out)
    said = f"-- the demo now resets the connection and refuses the next {refused}; meanwhile"
    assert re.search(rf"^\d\d:\d\d:\d\d {said}", out, re.MULTILINE)
    # The first of them is the one that was reset.
    failures = re.findall(r"^\d\d:\d\d:\d\d Disconnected ", out, re.MULTILINE)
    assert len(failures) == 1 + (2 if refused == "dials" else 1)
    assert re.search(r"^\d\d:\d\d:\d\d Gap +orders: updates may be missing", out, re.MULTILINE)
    assert out.endswith("Closed\n")


@pytest.mark.parametrize("adapter", Adapter)
def test_ctrl_c_ends_it_without_a_word(adapter: Adapter) -> None:
    with running("demo", "--adapter", adapter, "--json") as process:
        read_until(process, of_topic("orders"))
        code, out, err = interrupt(process)
    assert (code, err) == (130, "")
    assert json.loads(out.splitlines()[-1]) == {"event": "Closed", "failure": None}


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
    [
        ("trio", "trio_websocket"),
        ("asyncio", "websockets.client"),
        ("threads", "websockets.client"),
    ],
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


HIDDEN = "import sys; sys.modules.update(dict.fromkeys({!r})); import topone_cli; topone_cli.main()"


def run_without(*libraries: str, arguments: tuple[str, ...]) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN.format(libraries), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=PLAIN | {"TOPONE_TOKEN": SECRET, "TTY_COMPATIBLE": "0"},
        timeout=BOUND,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("missing", ["trio", "trio_websocket"])
def test_one_adapter_is_enough(missing: str) -> None:
    code, out, err = run_without(missing, arguments=("demo", "--seconds", "1", "--json"))
    assert (code, err) == (0, "")
    assert names(out)[0] == "Connected"


@pytest.mark.parametrize(
    ("missing", "taken"),
    [
        ({}, "trio"),
        ({"topone_trio": "trio"}, "asyncio"),
        ({"topone_trio": "wsproto", "topone_asyncio": "websockets"}, "threads"),
    ],
)
def test_without_being_told_it_takes_the_first_adapter_that_is_there(
    monkeypatch: pytest.MonkeyPatch, missing: dict[str, str], taken: str
) -> None:
    monkeypatch.setattr(topone_cli._run, "import_module", partial(import_unless, missing))
    assert choose_adapter(None) is Adapter(taken)


def test_without_any_adapter_it_names_all_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: dict[str, str] = dict.fromkeys(
        ("topone_trio", "topone_asyncio", "topone_threads"), "websockets"
    )
    monkeypatch.setattr(topone_cli._run, "import_module", partial(import_unless, missing))
    with pytest.raises(ImportError, match=r"no adapter is installed: pip install") as error:
        choose_adapter(None)
    assert all(f"topone-proto[{adapter}]" in str(error.value) for adapter in Adapter)


def test_an_adapter_that_is_broken_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"topone_trio": "topone_proto.session.endpoint"}
    monkeypatch.setattr(topone_cli._run, "import_module", partial(import_unless, missing))
    with pytest.raises(ImportError, match=r"topone_proto\.session\.endpoint"):
        choose_adapter(None)


def import_unless(missing: dict[str, str], name: str) -> None:
    if name in missing:
        raise ImportError(f"it needs {missing[name]}", name=missing[name])


def names(out: str) -> list[str]:
    return [json.loads(line)["event"] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("keyring", ("watch", "--keyring"), "keyring"),
        ("keyring", ("doctor", "--keyring"), "keyring"),
        ("websockets", ("demo",), "cli"),
        ("hypothesis", ("--version",), None),
        ("trustme", ("--version",), None),
    ],
)
def test_whatever_is_missing_it_says_which_extra_brings_it(
    missing: str, arguments: tuple[str, ...], extra: str | None
) -> None:
    code, _, err = run_without(missing, arguments=arguments)
    assert "Traceback" not in err
    if extra is not None:
        assert code == 2
        assert f'pip install "topone-proto[{extra}]"' in err
        assert len(err.splitlines()) == 1


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


def test_what_to_check_is_said_once(simulator: Simulator) -> None:
    arguments = ("watch", "--url", simulator.url, "--plain")
    code, out, err = invoke(*arguments, env={"TOPONE_TOKEN": "topapi:wrong"})
    assert code == 1
    assert [line[9:] for line in out.splitlines()] == [
        "Disconnected  no retry, HTTP 401",
        "Closed        HTTP 401",
    ]
    assert (out + err).count("get a new one") == 1


LIKELY = "topapi:" + "aB3" * 25


@pytest.mark.parametrize(
    "arguments",
    [
        "TOKEN",
        "-- TOKEN",
        "--TOKEN",
        "-TOKEN",
        "--version=TOKEN",
        "watch --token TOKEN",
        "watch --token=TOKEN",
        "watch TOKEN",
        "watch --json TOKEN",
        "watch --json=TOKEN",
        "watch --tokn=TOKEN",
        "watch --TOKEN",
        "watch -TOKEN",
        "watch --adapter TOKEN",
        "watch --seconds TOKEN",
        "watch --topics orders,TOKEN",
        "watch --topics orders --token TOKEN --nonsense",
        "watch --url TOKEN",
        "watch --url wss://gateway.topone.run/ws/user/?token=TOKEN",
        "watch --url wss://gateway.topone.run/TOKEN/",
        "watch --url wss://TOKEN@gateway.topone.run/",
        "watch --origin TOKEN",
        "watch --token-file TOKEN",
        "watch --record TOKEN",
        "record TOKEN",
        "record nowhere/TOKEN",
        "record file TOKEN",
        "demo TOKEN",
        "demo --rate TOKEN",
        "demo --record TOKEN",
        "replay file TOKEN",
        "replay file --speed TOKEN",
        "stats --picture TOKEN file",
        "simulate TOKEN --port 0",
        "simulate --port TOKEN",
        "simulate --port 0 --fault TOKEN",
        "simulate --port 0 --fault TOKEN=",
        "simulate --port 0 --fault 'burst TOKEN'",
        "simulate --port 0 --fault burst\\ count=TOKEN",
        "simulate --port 0 --script TOKEN",
        "doctor TOKEN",
        "market TOKEN",
        "market TOKEN/USDT",
        "market BTC/USDT TOKEN",
        "market BTC/USDT --period TOKEN",
        "market BTC/USDT --merge TOKEN",
        "market BTC/USDT --url wss://gateway.topone.run/ws/?token=TOKEN",
        "doctor --timeout TOKEN",
        "doctor --url TOKEN",
    ],
)
@pytest.mark.parametrize("secret", [SECRET, LIKELY, LIKELY.removeprefix("topapi:")])
def test_a_token_among_the_arguments_is_refused_and_not_repeated(
    arguments: str, secret: str
) -> None:
    code, out, err = invoke(*shlex.split(arguments.replace("TOKEN", secret)))
    assert code == 2, err
    assert secret.removeprefix("topapi:") not in unwrapped(out + err)


@pytest.mark.parametrize(
    "command", ["replay TOKEN", "stats TOKEN", "simulate --port 0 --host TOKEN"]
)
def test_a_token_in_the_place_of_a_file_or_a_host_is_not_repeated(command: str) -> None:
    code, out, err = invoke(*command.replace("TOKEN", LIKELY).split())
    assert (code, out) == (1, "")
    assert LIKELY.removeprefix("topapi:") not in err


def test_the_token_of_the_environment_is_not_repeated_whatever_its_form() -> None:
    secret = "no-form-of-a-token"
    code, _, err = invoke("replay", secret, env={"TOPONE_TOKEN": secret})
    assert (code, err) == (1, "topone: cannot read ***: No such file or directory\n")


def test_a_token_file_that_is_no_file_is_named_if_it_looks_like_one() -> None:
    _, _, err = invoke("watch", "--token-file", "hunter2")
    assert "hunter2" not in err
    _, _, err = invoke("watch", "--token-file", "hunter2.txt")
    assert "hunter2.txt cannot be read" in err


def test_a_file_whose_content_is_a_token_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "token.txt"
    file.write_text(f"{SECRET}\n")
    for command in (("replay", file), ("stats", file), ("simulate", "--port", 0, "--script", file)):
        code, out, err = invoke(*map(str, command))
        assert code
        assert "not-to-be-shown" not in out + err
        assert str(file) in unwrapped(err)


@pytest.mark.parametrize(
    "word",
    ["recording-of-2026-11-28T20:04:43.jsonl", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "demo"],
)
def test_a_name_that_is_no_token_is_repeated(word: str) -> None:
    assert invoke("replay", word)[2] == f"topone: cannot read {word}: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("wach",), "no such command (did you mean watch?): use demo, watch, record,"),
        (("replay",), "FILE is missing"),
        (("replay", "a", "b"), "there are too many arguments"),
        (("simulate",), "--port is missing"),
        (("simulate", "--port", "70000"), "--port: use a whole number from 0 to 65535"),
        (("demo", "--seed", "x"), "--seed: use a whole number"),
        (("--jsn",), "argument 1 is not an option of this command"),
        (("replay", LIKELY, LIKELY), "revoke it: the shell's history has it"),
    ],
)
def test_what_is_wrong_with_arguments_is_said_in_a_sentence(
    arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert words in unwrapped(err)
    assert "Try '" in err or arguments[0] == "--jsn"


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
        (
            ("--url", "http://127.0.0.1/"),
            "no ws:// or wss:// URL with a host; use one such as wss:",
        ),
        (("--url", "ws://exchange.example/"), "use wss://, or ask for it by name with --insecure"),
        (("--url", "wss://exchange.example/?token=x"), "pass it as TOPONE_TOKEN, --token-file or"),
        (("--topics", "order"), "name 1 is not a topic (is it orders?); use balance or orders"),
        (("--topics", "orders,"), "name 2 is not a topic; use"),
        (("--origin", "\n"), "origin"),
        (("--seconds", "0"), "greater than zero"),
        (("--seconds", "nan"), "greater than zero"),
        (("--seconds", "inf"), "greater than zero"),
        (("--adapter", "curio"), "--adapter: use trio, asyncio or threads"),
        (("--jsn",), "argument 2 is not an option of this command (did you mean --json?)"),
        (("-x",), "argument 2 is not an option of this command"),
        (("--json=1",), "--json takes no value"),
        (("--seconds",), "--seconds needs a value"),
        (("--seconds", "many"), "--seconds: use a number"),
        (("--json", "--plain"), "not both"),
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


@pytest.mark.parametrize("command", [("watch", "--plain"), ("record", "recording")])
def test_a_first_dial_that_fails_is_followed_by_what_to_do(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    url = f"ws://127.0.0.1:{port}/ws/user/"
    code, out, _ = invoke(*command, "--url", url, "--seconds", "1", env={"TOPONE_TOKEN": SECRET})
    assert code == 1
    [hint] = [line for line in out.splitlines() if " -- " in line]
    assert "goes on trying until Ctrl-C, or for --seconds N" in hint
    assert f"topone doctor --url {url};" in hint
    assert hint.endswith(f"topone simulate --port {port}")


REFUSED = Failure(FailureKind.REFUSED)


@pytest.mark.parametrize(
    ("event", "url", "hint"),
    [
        (Disconnected(REFUSED, 0.1, 0, 1), DEFAULT_URL, "topone doctor"),
        (Disconnected(REFUSED, 0.1, 0, 1), "ws://far.example/", "--url ws://far.example/"),
        (Disconnected(REFUSED, 0.1, 0, 1), "ws://[::1]:7/", "topone simulate --port 7"),
        (
            Disconnected(Failure(FailureKind.LOST), 0.1, 0, 1),
            "ws://[::1]:7/",
            "--url ws://[::1]:7/",
        ),
        (Disconnected(REFUSED, 0.1, 0, 2), "ws://[::1]:7/", None),
        (Disconnected(REFUSED, 0.1, 1, 1), "ws://[::1]:7/", None),
        (Disconnected(REFUSED, None, 0, 1), "ws://[::1]:7/", None),
        (Closed(REFUSED), "ws://[::1]:7/", None),
    ],
)
def test_what_to_do_fits_what_happened(event: Event, url: str, hint: str | None) -> None:
    said = suggestion(event, url)
    assert said is None if hint is None else said is not None and said.endswith(hint)


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
        read_until(
            process, lambda line: line.endswith(" client 1 disconnected, 0 still connected\n")
        )
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


@pytest.mark.parametrize(
    "command", ["demo", "watch", "market", "record", "replay", "stats", "simulate", "doctor"]
)
def test_help_fits_80_columns_without_colour_and_has_examples(command: str) -> None:
    code, out, _ = invoke(command, "--help")
    assert code == 0
    assert "Examples" in out
    assert re.search(rf"^ \S*.*topone {command}", out, re.MULTILINE)
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(text: str) -> set[str]:
    return set(
        re.findall(r"^ ?(?:TOPONE_TOKEN=demo )?topone ((?!--)[^|\n]*[^|\s])", text, re.MULTILINE)
    )


def test_every_example_is_one_that_the_command_takes() -> None:
    docs = Path(__file__).parents[1] / "docs"
    pages = [path.read_text(encoding="utf-8") for path in docs.glob("*.md")]
    of_page = {
        example for page in pages for block in BLOCK.findall(page) for example in examples(block)
    }
    commands = {example.split()[0] for example in of_page}
    of_help = {e for command in commands for e in examples(invoke(command, "--help")[1])}
    assert {"demo", "watch", "market", "record", "replay", "stats", "simulate"} <= commands
    assert commands == {example.split()[0] for example in of_help}
    for example in of_page | of_help:
        # Options are parsed before help is given.
        assert invoke(*example.split(), "--help")[0] == 0, example


@pytest.mark.parametrize("command", [(), ("watch",), ("simulate",)])
def test_help_shows_no_value_behind_a_flag(command: tuple[str, ...]) -> None:
    _, out, _ = invoke(*command, "--help")
    assert re.search(r"--help +-h +[A-Z]", out)
    assert "<" not in out.replace("<trio|asyncio|threads>", "").replace("<=", "")


def test_help_offers_no_argument_for_a_token() -> None:
    _, out, _ = invoke("watch", "--help", env={"TOPONE_TOKEN": SECRET})
    assert "--token-file" in out
    assert not re.search(r"--token\b(?!-)", out)
    assert SECRET not in out


WITH_ANOTHER_TOPIC = """
from attrs import evolve
from topone_proto import Topic
from topone_proto.wire.balance import FAMILY
from topone_proto.wire.topic import register
name = "transfers"
register(evolve(FAMILY, name=name, topic=Topic(name), has=name.__eq__))
from topone_cli._options import AccountOptions
from topone_cli._topics import ACCOUNT_TOPICS
from topone_cli._usage import Misuse
print(*AccountOptions(topics="orders, transfers").parse_topics())
print(*AccountOptions().parse_topics(), "|", *ACCOUNT_TOPICS)
try:
    AccountOptions(topics="transfer").parse_topics()
except Misuse as misuse:
    print(misuse)
"""


def test_another_private_topic_can_be_named_and_is_not_followed_unasked() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITH_ANOTHER_TOPIC], check=True, capture_output=True, text=True
    )
    named, unasked, refused = ended.stdout.splitlines()
    assert named == "orders transfers"
    assert unasked == "balance orders | balance orders"
    assert "(is it transfers?); use balance or orders or transfers, or several" in refused


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("topone re", {"record", "relay", "replay"}),
        ("topone watch --adapter ", set(Adapter)),
        ("topone watch --topics o", {"orders"}),
        (
            "topone account --topics balance,",
            {f"balance,{topic}" for topic in PRIVATE_TOPICS if topic != BALANCE},
        ),
        ("topone market X --period 3", {"30m"}),
        ("topone simulate --fault kill", {"kill-old-tokens"}),
        ("topone simulate --fault expire", {"expire-token", "expire-tokens"}),
    ],
)
def test_a_shell_can_complete_commands_and_values(words: str, completions: set[str]) -> None:
    code, out, _ = invoke(
        env={
            "_TOPONE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
    )
    assert code == 0
    assert set(out.split()) == completions


def test_a_fault_is_completed_with_what_it_takes() -> None:
    assert complete_fault("refuse-handshake st") == ["refuse-handshake status="]
    assert complete_fault("refuse-handshake status=503 ") == [
        "refuse-handshake status=503 retry-after=",
        "refuse-handshake status=503 times=",
    ]
    assert complete_fault("no-such-fault st") == []


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_without_arguments_it_says_what_to_do_first(columns: int) -> None:
    code, out, err = invoke(env={"COLUMNS": str(columns)})
    assert (code, err) == (2, "")
    assert max(map(len, out.splitlines())) <= columns
    commands = re.findall(r"^ +topone (\w+)", out, re.MULTILINE)
    assert commands == ["demo", "login", "account", "market", "simulate", "doctor"]
    assert invoke("--help")[1].count("--install-completion") == out.count("--install-completion")


COMMANDS = [
    *("demo", "watch", "record", "account", "login", "logout"),
    *("market", "replay", "stats", "relay", "simulate", "doctor"),
]


def test_help_is_of_every_command() -> None:
    out = invoke("--help", env={"COLUMNS": "40"})[1]
    assert re.findall(r"^  ([a-z]+)$", out, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("columns", [40, 60, 79, 80])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_whole_in_a_narrow_terminal(command: str, columns: int) -> None:
    code, out, err = invoke(*command.split(), "--help", env={"COLUMNS": str(columns)})
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= columns
    assert "…" not in out
    wide = invoke(*command.split(), "--help", env={"COLUMNS": "200"})[1]
    # No option is missing or broken, and no word of what it means. typer adds types of Python's.
    for pattern in (r"(?<!\S)--?[a-z-]+", r"\w+"):
        missing = set(re.findall(pattern, wide)) - set(re.findall(pattern, out))
        assert missing <= {"path", "str"}


def test_help_shows_what_stands_in_brackets() -> None:
    """Not as markup, which would hide it."""
    for columns in ("40", "80"):
        assert "[accounts.main]" in invoke("relay", "--help", env={"COLUMNS": columns})[1]
    assert "a [bus] table" in unwrapped(invoke("watch", "--help")[1])
    assert "[OPTIONS] FILE" in invoke("stats", "--help")[1]


def test_the_script_for_completion_can_be_shown_and_installed() -> None:
    _, out, _ = invoke("--help")
    assert "--install-completion" in out
    assert "--show-completion" in out


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_where_no_shell_has_started_it_completion_says_which_can(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect_shell(*_: object) -> None:
        raise shellingham.ShellDetectionFailure

    shellingham = pytest.importorskip("shellingham")
    monkeypatch.setattr(shellingham, "detect_shell", detect_shell)
    code, out, err = invoke(option)
    assert (code, out) == (1, "")
    assert err.startswith("topone: no shell that can complete has started this: type it in one of")


def test_the_script_for_completion_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shellingham = pytest.importorskip("shellingham")
    monkeypatch.setattr(shellingham, "detect_shell", lambda *_: ("bash", "/bin/bash"))
    code, out, err = invoke("--show-completion")
    assert (code, err) == (0, "")
    assert "complete -o default -F" in out


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
        JsonLines().event(event, 0.0)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line) == to_plain(event)
    assert line.startswith(f'{{"event": "{type(event).__name__}"')


@given(events())
def test_every_event_is_one_plain_line(event: Event) -> None:
    with captured() as out:
        PlainLines().event(event, 0.0)
    assert len(out.getvalue().splitlines()) == 1
    assert type(event).__name__ in out.getvalue()


def test_notes_are_for_people_only() -> None:
    with captured() as out:
        JsonLines().note("hello", 0.0)
        assert out.getvalue() == ""
        PlainLines().note("hello", 0.0)
        assert out.getvalue().endswith(" -- hello\n")


@contextmanager
def captured() -> Iterator[io.StringIO]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        yield out
