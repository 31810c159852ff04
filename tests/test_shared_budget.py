"""One budget for all processes of an account, however often they are killed: real processes, real
files, and a token service that counts by its own clock.

``TOPONE_RESTARTS=200 pytest tests/test_shared_budget.py`` kills more of them.
"""

import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from topone_accounts import FileStore

pytestmark = pytest.mark.thorough

RESTARTS: Final = int(os.environ.get("TOPONE_RESTARTS", "20"))
INTERVAL: Final = 1.0
"""Seconds between two requests of the account, as its processes know it."""

LEAST: Final = INTERVAL / 2
"""Seconds below which the service takes two requests for too many. What is between the two is for
requests that travel slowly, as at the exchange."""

PATIENCE: Final = 20.0
PROGRAM: Final = Path(__file__).with_name("token_process.py")


class TokenService:
    """Every request comes to this, with the time at which it came."""

    def __init__(self) -> None:
        self.port = 0
        self.times: list[float] = []
        self._lock = threading.Lock()

    def answer(self) -> str:
        with self._lock:
            self.times.append(time.monotonic())
            return f'{{"code":0,"data":{{"apiToken":"topapi:{len(self.times)}"}}}}'

    def too_close(self) -> list[float]:
        gaps = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        return [gap for gap in gaps if gap < LEAST]


@contextmanager
def token_service() -> Generator[TokenService, None, None]:
    service = TokenService()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline():
                text = service.answer()
                try:
                    self.wfile.write(text.encode())
                except OSError:
                    return  # killed meanwhile

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        service.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@pytest.mark.skipif(os.name != "posix", reason="processes are made by forking")
def test_two_processes_that_are_killed_all_the_time_share_a_budget(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "account.json"
    with token_service() as service:
        common = [sys.executable, str(PROGRAM), str(path), str(service.port), str(INTERVAL)]
        killers = [subprocess.Popen([*common, str(RESTARTS // 2), str(seed)]) for seed in range(2)]
        assert [killer.wait() for killer in killers] == [0, 0]
    assert service.too_close() == []
    assert len(service.times) >= 2
    assert FileStore(path).load().token.asked_at is not None
    left = {each.name for each in path.parent.iterdir()}
    assert left <= {"account.json", "account.json.lock", "account.json.new"}
    assert all(each.stat().st_mode & 0o077 == 0 for each in path.parent.iterdir())
