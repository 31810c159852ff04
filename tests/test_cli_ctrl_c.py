"""Ctrl-C while the command makes an event loop, and Ctrl-C that comes again."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import BOUND, PLAIN
from topone_cli._ctrl_c import noting_ctrl_c, run_asyncio
from topone_cli._run import Adapter, Source, run_feed
from topone_proto import BALANCE, Closed, Connected, Token
from topone_simulator import Simulator, run_in_thread


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={"demo": "account"}) as simulator:
        yield simulator


def source_at(simulator: Simulator) -> Source:
    return Source(url=simulator.url, topics=(BALANCE,), token=Token("demo"))


@pytest.mark.parametrize("adapter", [Adapter.TRIO, Adapter.ASYNCIO])
def test_ctrl_c_while_a_loop_is_made_leaves_no_socket_open(
    simulator: Simulator, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    make = socket.socketpair

    def interrupted(*arguments: Any) -> tuple[socket.socket, socket.socket]:
        # It wakes up the loop that is being made, which knows nothing of it yet.
        pair = make(*arguments)
        if not made:
            signal.raise_signal(signal.SIGINT)
        made.extend(pair)
        return pair

    monkeypatch.setattr(socket, "socketpair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_feed(adapter, source_at(simulator), lambda _: None, None)
    assert made
    assert {end.fileno() for end in made} == {-1}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("adapter", list(Adapter))
def test_ctrl_c_that_comes_again_ends_it_as_well(simulator: Simulator, adapter: Adapter) -> None:
    """The first one closes the feed; the second one comes while that is shown."""

    def handle(event: object) -> None:
        if isinstance(event, Connected | Closed):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_feed(adapter, source_at(simulator), handle, None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_each_ctrl_c_makes_its_call_and_one_more_is_raised() -> None:
    called: list[int] = []
    with pytest.raises(KeyboardInterrupt), noting_ctrl_c() as ctrl_c:
        signal.raise_signal(signal.SIGINT)
        assert not called
        ctrl_c.calls(lambda: called.append(1), lambda: called.append(2))
        assert called == [1]
        signal.raise_signal(signal.SIGINT)
        assert called == [1, 2]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_cancellation_that_nobody_asked_for_is_no_ctrl_c() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        run_asyncio(main())


# Python imports it by itself, before the command's first line.
INTERRUPTS_AN_IMPORT = """
import os, signal, sys

left = int(os.environ["IMPORTS"])

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        global left
        left -= "topone_cli" in sys.modules
        if left == 0:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""
# What the installed script does.
ENTRY = "import sys; from topone_cli import main; sys.exit(main())"


@pytest.mark.parametrize("number", [1, 2, 3, 10, 30, 100, 300])
def test_ctrl_c_while_it_loads_leaves_no_traceback(number: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS_AN_IMPORT)
    path = [str(tmp_path), *sys.path]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", ENTRY, "--version"],
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=PLAIN | {"IMPORTS": str(number), "PYTHONPATH": os.pathsep.join(path)},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
