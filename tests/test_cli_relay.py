"""The arguments of ``topone relay``, and how it ends if it cannot begin."""

import socket
from pathlib import Path

import pytest

import topone_nats
from commands import invoke
from topone_relay import MemoryBroker

FILE = '[bus]\nurl = "nats://127.0.0.1:1"\n[accounts.candles]\ntopics = ["kline_BTC/USDT_1m"]\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    broker = MemoryBroker()
    monkeypatch.setattr(topone_nats, "connect", lambda _servers, **_options: broker.connect())
    path = tmp_path / "accounts.toml"
    path.write_text(FILE + 'url = "ws://127.0.0.1:1/ws/"\n')
    return str(path)


def test_it_runs_for_so_long_and_says_what_happens(file: str) -> None:
    code, out, err = invoke("relay", file, "--node", "a", "--seconds", "0.01", "--metrics", "0")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].endswith("Leaving        0 accounts are handed over")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json", "--plain"], "use --json or --plain, not both"),
        (["--node", "a b"], "--node: use at most 64 letters, digits, - and _"),
        (["--metrics", "65536"], "--metrics: use a whole number from 0 to 65535"),
        (["--metrics", "9100:"], "--metrics: use a whole number from 0 to 65535"),
        (["--seconds", "0"], "--seconds: use a number greater than zero"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(
    file: str, arguments: list[str], said: str
) -> None:
    code, out, err = invoke("relay", file, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_mistake_in_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    path.write_text(FILE.replace("nats://", "kafka://"))
    code, out, err = invoke("relay", str(path))
    assert (code, out) == (2, "")
    assert f"{path}: bus.url: it is not a known message bus; use" in err
    code, out, err = invoke("relay", str(tmp_path / "none.toml"))
    assert (code, out) == (2, "")
    assert "none.toml: it cannot be read" in err


def test_a_port_or_a_log_that_is_taken_ends_it(file: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = invoke("relay", file, "--metrics", f"127.0.0.1:{port}", "--seconds", "60")
    assert code == 1
    assert f"--metrics: cannot listen on 127.0.0.1:{port}: " in err
    code, _, err = invoke("relay", file, "--log", str(tmp_path), "--seconds", "60")
    assert code == 1
    assert f"cannot write to {tmp_path}: Is a directory" in err
