"""The command where its surroundings fail: streams that are closed, full or left, no home, no
UTF-8. It ends with a sentence and the right exit code, never with a traceback."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import BOUND, PLAIN, SECRET, TOPONE, at_terminal, of_topic, read_until, running
from topone_simulator import Simulator, run_in_thread

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell"),
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=100.0, market_rate=2.0, tokens={SECRET: "account"}) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recording") / "demo.jsonl"
    with running("demo", "--seconds", "1", "--json", "--record", str(file)) as process:
        process.communicate(timeout=BOUND)
    return file


def commands(simulator: Simulator, recording: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """One of each, and how it is called; all but simulate end by themselves."""
    server = ("--url", simulator.url)
    return {
        "demo": ("demo", "--seconds", "2", "--rate", "50"),
        "watch": ("watch", *server, "--seconds", "6"),
        "watch --json": ("watch", *server, "--seconds", "6", "--json"),
        "market": ("market", "BTC/USDT", "--url", simulator.market_url, "--seconds", "6"),
        "record": ("record", str(folder / "new.jsonl"), *server, "--seconds", "6"),
        "replay": ("replay", str(recording)),
        "replay --json": ("replay", str(recording), "--json"),
        "stats": ("stats", str(recording)),
        "stats --json": ("stats", str(recording), "--json"),
        "stats --picture": ("stats", str(recording), "--picture", str(folder / "new.svg")),
        "simulate": ("simulate", "--port", "0"),
        "doctor": ("doctor", *server, "--ping-wait", "0.1"),
        "doctor --json": ("doctor", *server, "--ping-wait", "0.1", "--json"),
        "--help": ("--help",),
        "watch --help": ("watch", "--help"),
        "--version": ("--version",),
        "--show-completion": COMPLETION,
    }


COMPLETION = ("--show-completion",)


def in_shell(
    redirection: str, arguments: tuple[str, ...], env: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """The command, its streams as a shell makes them."""
    shell = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh"]
    if arguments == COMPLETION:
        # It is about the shell that has started it.
        shell = ["bash", "-c", f'"$@" {redirection}; exit $?', "bash"]
    return subprocess.Popen(
        [*shell, *TOPONE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=(PLAIN if env is None else env) | {"TOPONE_TOKEN": SECRET},
    )


def ended(processes: dict[str, "subprocess.Popen[str]"]) -> dict[str, tuple[int, str, str]]:
    """Return how each of them ended: its exit code and what it wrote."""
    found: dict[str, tuple[int, str, str]] = {}
    try:
        for name, process in processes.items():
            if name == "simulate" and process.stdout is not None and process.stdout.readline():
                # It serves until it is told to end.
                process.send_signal(signal.SIGHUP)
            out, err = process.communicate(timeout=BOUND)
            found[name] = (process.returncode, out, err)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    for name, (_, _, err) in found.items():
        assert "Traceback" not in err, name
        assert "Exception" not in err, name
    return found


def all_ended(
    simulator: Simulator,
    recording: Path,
    folder: Path,
    redirection: str,
    env: dict[str, str] | None = None,
    *,
    but: tuple[str, ...] = (),
) -> dict[str, tuple[int, str, str]]:
    wanted = commands(simulator, recording, folder)
    for name in but:
        del wanted[name]
    return ended({name: in_shell(redirection, args, env) for name, args in wanted.items()})


# Where their ways of writing make no difference.
ALIKE = (
    "watch --json",
    "replay --json",
    "stats --json",
    "doctor --json",
    "watch --help",
    "--version",
    "--show-completion",
)


def in_order(name: str) -> int:
    return 128 + signal.SIGINT if name == "simulate" else 0


def test_with_standard_input_closed_all_is_as_ever(
    simulator: Simulator, recording: Path, tmp_path: Path
) -> None:
    found = all_ended(simulator, recording, tmp_path, "<&-", but=ALIKE)
    for name, (code, _, err) in found.items():
        assert (code, err) == (in_order(name), ""), name


@pytest.mark.parametrize("command", [("watch",), ("record", "file"), ("doctor",)])
def test_with_standard_input_closed_nobody_is_asked_for_a_token(command: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *TOPONE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PLAIN,
    )
    code, out, err = ended({"it": process})["it"]
    assert (code, out) == (2, "")
    is_doctor = command == ("doctor",)
    nothing = (
        "keys: there are none" if is_doctor else "token: there is none, and no terminal to ask"
    )
    assert err.startswith(f"topone: {nothing}")


def test_with_standard_output_closed_it_says_so_and_does_nothing(
    simulator: Simulator, recording: Path, tmp_path: Path
) -> None:
    for name, (code, _, err) in all_ended(simulator, recording, tmp_path, ">&-").items():
        assert code == 1, name
        assert err == ("topone: standard output is closed: redirect it, such as to /dev/null\n"), (
            name
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_with_standard_output_on_a_full_disk_it_ends_and_says_so(
    simulator: Simulator, recording: Path, tmp_path: Path
) -> None:
    for name, (code, _, err) in all_ended(simulator, recording, tmp_path, ">/dev/full").items():
        assert code == 1, name
        assert err == ("topone: cannot write to standard output: No space left on device\n"), name


def test_when_its_reader_has_left_it_ends_without_a_word(
    simulator: Simulator, recording: Path, tmp_path: Path
) -> None:
    processes = {
        name: in_shell("", arguments)
        for name, arguments in commands(simulator, recording, tmp_path).items()
    }
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
    for name, (code, _, err) in ended(processes).items():
        assert (code, err) == (1, ""), name


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_without_standard_error_all_is_as_ever(
    simulator: Simulator, recording: Path, tmp_path: Path, redirection: str
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a full disk")
    found = all_ended(simulator, recording, tmp_path, redirection, but=ALIKE)
    for name, (code, out, _) in found.items():
        assert code == in_order(name), name
        assert out or name == "simulate", name


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2>&- >&-", "<&- >&- 2>&-"])
def test_what_cannot_be_said_still_has_its_exit_code(redirection: str) -> None:
    wanted = {
        "usage": ("watch", "--nonsense"),
        "command": ("wach",),
        "file": ("replay", "/nowhere/file"),
        "taken": ("record", "/"),
    }
    found = ended({name: in_shell(redirection, args) for name, args in wanted.items()})
    is_closed = ">&-" in redirection.split()
    codes = {name: code for name, (code, _, _) in found.items()}
    assert codes == {
        "usage": 1 if is_closed else 2,
        "command": 1 if is_closed else 2,
        "file": 1,
        "taken": 1,
    }


HOMELESS = {name: text for name, text in PLAIN.items() if name != "HOME"}
C = PLAIN | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "env",
    [
        HOMELESS,
        C | {"HOME": "/dev/null"},
        PLAIN | {"PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": "1"},
    ],
    ids=["no home", "no directory and no UTF-8", "latin-1 and unbuffered"],
)
def test_whatever_the_environment_all_is_as_ever(
    simulator: Simulator, recording: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    found = all_ended(simulator, recording, tmp_path, "", env, but=ALIKE)
    for name, (code, out, err) in found.items():
        assert (code, err) == (in_order(name), ""), name
        assert out or name == "simulate", name


@pytest.mark.parametrize("env", [C, PLAIN | {"PYTHONIOENCODING": "latin-1"}], ids=["C", "latin-1"])
def test_bars_are_ascii_where_nothing_else_can_be_shown(
    recording: Path, env: dict[str, str]
) -> None:
    _, out, _ = ended({"stats": in_shell("", ("stats", str(recording)), env)})["stats"]
    assert "#" in out
    assert out.isascii()
    assert "\\u" not in out


def test_a_completion_that_cannot_be_installed_is_a_failure() -> None:
    env = PLAIN | {"HOME": "/dev/null", "SHELL": "/bin/bash"}
    process = in_shell("", ("--install-completion", "bash"), env)
    code, _, err = ended({"it": process})["it"]
    assert code == 1
    assert err.startswith("topone: the operating system refuses: ")


@pytest.mark.parametrize("folder", ["/proc", "/nowhere", "/dev/null"])
def test_where_nothing_can_be_written_it_says_so(
    simulator: Simulator, recording: Path, folder: str
) -> None:
    server = ("--url", simulator.url)
    wanted = {
        "demo": ("demo", "--record", f"{folder}/new.jsonl"),
        "watch": ("watch", *server, "--record", f"{folder}/new.jsonl"),
        "record": ("record", f"{folder}/new.jsonl", *server),
        "stats": ("stats", str(recording), "--picture", f"{folder}/new.svg"),
    }
    found = ended({name: in_shell("", arguments) for name, arguments in wanted.items()})
    for name, (code, _, err) in found.items():
        assert code == 1, name
        assert err.startswith(f"topone: cannot write to {folder}/new."), name
        assert len(err.splitlines()) == 1, name


# --- signals and terminals ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("adapter", ["trio", "asyncio", "threads"])
def test_each_of_three_signals_leaves_a_whole_recording(
    tmp_path: Path, adapter: str, number: signal.Signals
) -> None:
    file = tmp_path / "demo.jsonl.gz"
    arguments = ("demo", "--adapter", adapter, "--json", "--record", str(file))
    with running(*arguments) as process:
        lines = read_until(process, of_topic("orders"))
        process.send_signal(number)
        out, err = process.communicate(timeout=BOUND)
    assert (process.returncode, err) == (130, "")
    # What was read ahead is in no pipe any more: only the end can be compared.
    assert lines
    assert json.loads(out.splitlines()[-1]) == {"event": "Closed", "failure": None}
    with running("replay", str(file), "--json") as process:
        again, err = process.communicate(timeout=BOUND)
    assert err == ""
    assert json.loads(again.splitlines()[-1]) == {"event": "Closed", "failure": None}


def test_under_nohup_a_hang_up_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running("demo", "--json") as process:
            read_until(process, of_topic("orders"))
            process.send_signal(signal.SIGHUP)
            read_until(process, lambda line: '"Gap"' in line)
            process.terminate()
            assert process.wait(timeout=BOUND) == 130
    finally:
        signal.signal(signal.SIGHUP, before)


ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.mark.parametrize("name", ["demo", "watch", "market", "replay"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(
    simulator: Simulator, recording: Path, name: str, number: signal.Signals
) -> None:
    arguments = {
        "demo": ("demo",),
        "watch": ("watch", "--url", simulator.url),
        "market": ("market", "BTC/USDT", "--url", simulator.market_url),
        "replay": ("replay", str(recording), "--speed", "0.01"),
    }[name]
    shown, process = at_terminal(arguments)
    with process:
        while ENTERED not in shown.data:
            shown.more()
        process.send_signal(number)
        while shown.more():
            pass
        assert process.wait(timeout=BOUND) == 130
    assert b"Traceback" not in shown.data
    assert shown.data.index(ENTERED) < shown.data.rindex(LEFT)
    assert shown.data.rindex(b"\x1b[?25h") > shown.data.rindex(b"\x1b[?25l"), "the cursor is back"


def test_a_terminal_that_goes_away_ends_it() -> None:
    shown, process = at_terminal(("demo",))
    with process:
        while ENTERED not in shown.data:
            shown.more()
        shown.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=BOUND) == 130


def test_a_sentence_is_broken_at_spaces_only_and_only_at_a_terminal() -> None:
    # Short enough for a line: a longer name is never broken.
    file = "no-such-directory/not-there.jsonl"
    shown, process = at_terminal(("watch", "--token-file", file))
    with process:
        while shown.more():
            pass
    lines = shown.data.decode().splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 80 for line in lines)
    with running("watch", "--token-file", file) as piped:
        _, err = piped.communicate(timeout=BOUND)
    assert len(err.splitlines()) == 1
    assert " ".join(lines).split() == err.split()
