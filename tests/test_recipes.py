"""The programs of ``docs/recipes.md``, against the simulated exchange."""

import configparser
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import uvicorn
import zmq
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from http_servers import wait_until
from topone_proto.exchange import HttpConfig
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

PROGRAMS = Path(__file__).parents[1] / "docs" / "programs"
PATIENT = HttpConfig(order_calls=1000, token_interval=0.1)
PATIENCE = 30.0


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with run_in_thread(http_config=PATIENT) as simulator:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
        monkeypatch.setenv("TOPONE_APP_ID", simulator.credentials.app_id)
        monkeypatch.setenv("TOPONE_APP_KEY", simulator.credentials.reveal())
        monkeypatch.setenv("TOPONE_URL", simulator.url)
        monkeypatch.setenv("TOPONE_HTTP_URL", simulator.http_url)
        yield simulator


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROGRAMS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cells_of_a_notebook(simulator: Simulator) -> None:
    source = (PROGRAMS / "recipe_jupyter.py").read_text("utf-8")
    _, *cells = re.split(r"^# %%\n", source, flags=re.MULTILINE)
    config = Config()
    config.HistoryManager.enabled = False
    before = {each.name for each in threading.enumerate()}
    shell: Any = cast("Any", InteractiveShell)(config=config)
    results: list[Any] = []
    for cell in cells:
        done = shell.run_cell(cell)
        done.raise_error()
        results.append(done.result)
    truth = simulator.truth()
    assert results[1] == {name: each.available for name, each in truth.balances.items()}
    assert results[2] == (True, truth.open_orders)
    # A write of the file that was under way is not waited for, and ends by itself.
    wait_until(lambda: {each.name for each in threading.enumerate()} == before)


def test_a_web_service_says_when_the_account_is_right(simulator: Simulator) -> None:
    app = program("recipe_fastapi").create_app(simulator.url, simulator.http_url)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        statuses = [get(listener, "/ready")[0]]
        while statuses[-1] != 200 and len(statuses) < 1000:
            statuses.append(get(listener, "/ready")[0])
            time.sleep(0.03)
        assert (statuses[0], statuses[-1]) == (503, 200)
        status, answer = get(listener, "/balances")
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
    assert status == 200
    assert answer["knowledge"] == "whole"
    available = {name: each["available"] for name, each in answer["balances"].items()}
    assert available == {name: str(b.available) for name, b in simulator.truth().balances.items()}


def get(listener: socket.socket, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", listener.getsockname()[1], timeout=PATIENCE
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_an_account_on_uvloop(simulator: Simulator) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "recipe_uvloop.py", simulator.url, simulator.http_url],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == f"uvloop {len(simulator.truth().open_orders)}\n"


def test_changes_on_zeromq(simulator: Simulator, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/changes"
    process = subprocess.Popen(
        [sys.executable, PROGRAMS / "recipe_zmq.py", address, simulator.url, simulator.http_url]
    )
    try:
        with zmq.Context() as context, context.socket(zmq.SUB) as reader:
            reader.setsockopt(zmq.SUBSCRIBE, b"Resynced")
            reader.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
            reader.connect(address)
            told = [reader.recv_multipart() for _ in range(2)]
    finally:
        process.terminate()
        process.wait()
    assert {name for name, _ in told} == {b"Resynced"}
    assert json.loads(told[-1][1])["whole"] is True


def test_a_unit_of_systemd_stops_and_keeps_its_state(simulator: Simulator, tmp_path: Path) -> None:
    """The bot of the unit, as the unit runs and stops it."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation shows
    unit.read(PROGRAMS / "topone-bot.service")
    service = unit["Service"]
    bot = PROGRAMS / Path(service["ExecStart"].split()[1]).name
    text = (PROGRAMS / "topone-bot.service").read_text("utf-8")
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    assert given["XDG_CACHE_HOME"] == f"%C/{service['CacheDirectory']}"
    cache = tmp_path / service["CacheDirectory"]
    cache.mkdir(int(service["CacheDirectoryMode"], 8))
    process = subprocess.Popen(
        [sys.executable, bot, simulator.url, simulator.http_url],
        env={**os.environ, **given, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert "whole; changes that HTTP told" in process.stdout.readline()
        process.send_signal(getattr(signal, service["KillSignal"]))
        process.stdout.read()
        assert process.wait(float(service["TimeoutStopSec"])) == 0
        # Both go to the journal.
        assert process.stderr.read() == ""
    [state] = cache.rglob("account-*.json")
    assert simulator.credentials.reveal() not in state.read_text("utf-8")


def test_the_page_shows_every_recipe() -> None:
    page = (PROGRAMS.parent / "recipes.md").read_text("utf-8")
    recipes = [*PROGRAMS.glob("recipe_*.py"), *PROGRAMS.glob("*.service")]
    assert len(recipes) == 5
    assert all(f"programs/{path.name}\n" in page for path in recipes)
