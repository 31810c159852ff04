"""A process that starts Python, pytest and the libraries once, and is forked for every feature.

Most of what a fresh process does for a feature is to start: four fifths of a second of one. Each
fork imports the tests itself, after the feature is removed, as a fresh process does.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import IO, Final

import pytest

_LIMIT: Final = 300
"""Seconds after which a fork that hangs without its feature is killed."""
_ROOT: Final = Path(__file__).parents[2]
_QUIET: Final = ("-q", "--no-header", "-p", "no:cacheprovider")
# None of this project: a removal has to come before whatever imports what it replaces.
_LIBRARIES: Final = ("aiohttp", "trio", "trio_websocket", "trustme", "websockets.asyncio.server")


class Forks:
    """The process, started at the first run and ended with the block."""

    def __init__(self, directory: Path) -> None:
        self._output = directory / "output"
        path = [str(_ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "features.forks"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, feature: str, *arguments: str) -> tuple[int, str]:
        """Run pytest with a feature removed; return its exit status and its output."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([feature, str(self._output), *arguments]) + "\n")
        self._server.stdin.flush()
        status = json.loads(self._server.stdout.readline())
        return status, self._output.read_text(encoding="utf-8")

    def close(self) -> None:
        """End the process."""
        with self._server:
            pass


def _run(feature: str, output: str, *arguments: str) -> int:
    """Fork, run pytest in the child, and return the child's exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 3  # pytest's own for a fault of its own
    signal.alarm(_LIMIT)
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        features = importlib.import_module("features.table").FEATURES
        with features[feature].remove():
            status = pytest.main([*_QUIET, *arguments])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve(requests: IO[str], answers: IO[str]) -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)
    # Imports pytest's plugins as pytest does, so that it can rewrite their asserts. One is anyio's,
    # which the table imports as well.
    pytest.main([*_QUIET, "--collect-only", "tests/test_features.py"])
    # pytest collects garbage ten times in a run: what is here already need not be looked through.
    gc.freeze()
    for line in requests:
        answers.write(f"{_run(*json.loads(line))}\n")
        answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _serve(sys.stdin, answers)
