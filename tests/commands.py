"""Runs the command ``topone``: in a process of its own, or in this one."""

import os
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from typer.testing import CliRunner

from topone_cli._app import app

SECRET = "topapi:not-to-be-shown"
TOPONE = (sys.executable, "-W", "error", "-c", "import topone_cli; topone_cli.main()")
ACCESS = ("TOPONE_TOKEN", "TOPONE_APP_ID", "TOPONE_APP_KEY")
BOUND = 60.0  # after which a process that should have ended is taken for hung

PLAIN = {name: text for name, text in os.environ.items() if not name.startswith("TOPONE_")} | {
    "COLUMNS": "80",
    "NO_COLOR": "1",
    "TERM": "dumb",
    # Whoever runs the tests may have keys of their own.
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "XDG_CONFIG_HOME": os.devnull,
}


def start(
    *arguments: str, token: str | None = None, env: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*TOPONE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PLAIN | ({} if token is None else {"TOPONE_TOKEN": token}) | (env or {}),
    )


@contextmanager
def running(
    *arguments: str, token: str | None = None, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    process = start(*arguments, token=token, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(
    *arguments: str, token: str | None = None, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    with running(*arguments, token=token, env=env) as process:
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
    return ended(process)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    assert process.stdout is not None
    hung = threading.Timer(BOUND, process.kill)
    hung.start()
    # `communicate` would not know of what `read_until` has read ahead.
    out = process.stdout.read()
    _, err = process.communicate()
    hung.cancel()
    return process.returncode, out, err


def of_topic(name: str) -> Callable[[str], bool]:
    return lambda line: '"Subscribed"' in line and f'"{name}"' in line


def invoke(
    *arguments: str, env: dict[str, str | None] | None = None, typed: str | None = None
) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        app,
        arguments,
        input=typed,
        env={"COLUMNS": "80", "NO_COLOR": "1", **dict.fromkeys(ACCESS), **(env or {})},
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def unwrapped(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


class Shown:
    """The bytes that a terminal was told to show."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self._descriptor = descriptor
        self._process = process
        self.data = b""

    def more(self) -> bool:
        """Wait for more; False if the other side has ended. What says nothing is ended."""
        if not select.select([self._descriptor], [], [], BOUND)[0]:
            self._process.kill()
            raise AssertionError(f"it waits, and has shown {self.data[-200:]!r}")
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:
            piece = b""  # the other side has ended
        self.data += piece
        return bool(piece)

    def close(self) -> None:
        os.close(self._descriptor)


def at_terminal(
    arguments: Sequence[str], token: str | None = SECRET, env: dict[str, str] | None = None
) -> "tuple[Shown, subprocess.Popen[bytes]]":
    import fcntl  # noqa: PLC0415 - POSIX has terminals of this kind
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*TOPONE, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=PLAIN
        | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        | ({} if token is None else {"TOPONE_TOKEN": token})
        | (env or {}),
    )
    os.close(theirs)
    return Shown(ours, process), process
