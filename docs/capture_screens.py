"""Takes the documentation's pictures of the command: ``python docs/capture_screens.py``.

Real commands over real sockets in a real terminal, tmux's, of 80x24 and of 200x50, into
``_static`` beside this file. Needs tmux and the extras ``all``.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

STATIC = Path(__file__).parent / "_static"
SHOWN = set(
    re.findall(
        r"_static/([\w-]+\.svg)",
        "".join(page.read_text(encoding="utf-8") for page in STATIC.parent.rglob("*.md")),
    )
)
"""Pictures that a page shows; no others are kept."""
SIZES = ((80, 24), (200, 50))
PORT = 8765
URL = f"ws://127.0.0.1:{PORT}/ws/user/"
MARKET_URL = f"ws://127.0.0.1:{PORT}/ws/"
HTTP_URL = f"http://127.0.0.1:{PORT + 1}"
PATIENCE = 60.0

# Of this very Python, whatever else there is on PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ |= {"TZ": "UTC", "COLORTERM": "truecolor", "TOPONE_TOKEN": "demo"}
os.environ.pop("NO_COLOR", None)


def tmux(*arguments: str) -> str:
    command = ("tmux", "-L", "topone-docs", "-f", os.devnull, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Terminal:
    """One that runs a command, and stays when the command has ended."""

    def __init__(self, command: str, width: int, height: int) -> None:
        self.width = width
        self.height = height
        size = ("-x", str(width), "-y", str(height))
        tmux("new-session", "-d", "-s", "docs", *size, f"{command}; sleep {PATIENCE}")
        tmux("set", "-g", "status", "off")
        tmux("resize-window", "-t", "docs", *size)

    @property
    def text(self) -> str:
        return tmux("capture-pane", "-p", "-t", "docs")

    def wait(self, condition: Callable[[str], object]) -> None:
        started = time.monotonic()
        while not condition(self.text):
            if time.monotonic() - started > PATIENCE:
                raise TimeoutError(self.text)
            time.sleep(0.1)

    def save(self, name: str) -> None:
        """Draw what is to be seen into a file with this name and the terminal's size."""
        console = Console(
            width=self.width,
            record=True,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(Text.from_ansi(tmux("capture-pane", "-p", "-e", "-t", "docs")), end="")
        svg = console.export_svg(title=f"topone {name.partition('-')[0]}", unique_id=name)
        # Whoever looks at it should not load fonts from anywhere.
        svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
        svg = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
        path = STATIC / f"{name}-{self.width}x{self.height}.svg"
        if path.name in SHOWN:
            path.write_text(svg, encoding="utf-8")


@contextmanager
def terminal(command: str, width: int, height: int) -> Iterator[Terminal]:
    try:
        yield Terminal(command, width, height)
    finally:
        tmux("kill-session", "-t", "docs")


@contextmanager
def simulator() -> Iterator[Callable[[], None]]:
    """Runs the exchange alone. Gives what ends it."""
    ports = ("--port", str(PORT), "--http-port", str(PORT + 1))
    command = ("topone", "simulate", *ports, "--rate", "5")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.terminate
        finally:
            process.terminate()


def take(width: int, height: int) -> None:
    with terminal("topone demo", width, height) as demo:
        demo.wait(lambda text: "refuses the next dial" in text and re.search(r"\d\?", text))
        demo.save("demo-stale")
        demo.wait(lambda text: "whole again: " in text)
        demo.save("demo")
    with terminal("topone stats demo.jsonl.gz --picture stats.svg", width, height) as stats:
        stats.wait(lambda _: Path("stats.svg").exists())
        stats.save("stats")
    Path("stats.svg").replace(STATIC / "stats.svg")
    with terminal("topone replay demo.jsonl.gz --speed 5", width, height) as replay:
        replay.wait(lambda text: "Gap orders" in text and "Gap balance" in text)
        time.sleep(2)
        replay.save("replay")
    with (
        simulator() as end,
        terminal(f"topone watch --url {URL}", width, height) as watch,
    ):
        watch.wait(lambda text: "Subscribed orders" in text)
        time.sleep(6)
        end()
        watch.wait(lambda text: "retry in" in text)
        time.sleep(2)
        watch.save("watch")
    with (
        simulator(),
        terminal(f"topone account --url {URL} --http-url {HTTP_URL}", width, height) as account,
    ):
        account.wait(lambda text: "Balances, whole" in text and "Open orders, whole" in text)
        time.sleep(6)
        account.save("account")
    with (
        simulator(),
        terminal(f"topone market BTC/USDT --url {MARKET_URL}", width, height) as market,
    ):
        market.wait(lambda text: re.search("buy|sell", text))
        # A few candles have begun after those of the past.
        time.sleep(15)
        market.save("market")


def main() -> None:
    for old in STATIC.glob("*.svg"):
        # The benchmarks' pictures lie there, too.
        if old.name.startswith(("account", "demo", "market", "replay", "stats", "watch")):
            old.unlink()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        command = ("topone", "demo", "--record", "demo.jsonl.gz", "--seconds", "60", "--json")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for width, height in SIZES:
            take(width, height)


if __name__ == "__main__":
    main()
