"""Takes the picture of ``topone demo`` that the README shows: ``python docs/capture_demo.py``.

A real run over real sockets, drawn at 80 columns and 24 rows just before it ends, into
``_static/demo.txt`` and ``_static/demo.svg`` beside this file.
"""

import io
import re
import time
from pathlib import Path

from rich.console import Console

from topone_cli._demo import run_demo
from topone_cli._picture import picture
from topone_cli._run import Adapter
from topone_cli._view import View
from topone_proto import Closed, Event
from topone_simulator import run_in_thread

STATIC = Path(__file__).parent / "_static"
SECONDS = 9.0
WIDTH, HEIGHT = 80, 24


class Recording:
    """Folds events until the feed is closed, as the live screen does."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.at = 0.0

    def event(self, event: Event) -> None:
        if not isinstance(event, Closed):
            self.at = time.time()
            self.view.take(event, self.at)

    def note(self, text: str) -> None:
        self.view.note(text, time.time())


def main() -> None:
    with run_in_thread(rate=5.0, seed=0) as simulator:
        recording = Recording(View(f"topone demo over trio, {simulator.url}"))
        run_demo(simulator, recording, Adapter.TRIO, SECONDS)
    console = Console(
        width=WIDTH,
        height=HEIGHT,
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(picture(recording.view, recording.at), height=HEIGHT)
    STATIC.mkdir(exist_ok=True)
    lines = console.export_text(clear=False).splitlines()
    text = "\n".join(line.rstrip() for line in lines).rstrip() + "\n"
    (STATIC / "demo.txt").write_text(text, encoding="utf-8")
    svg = console.export_svg(title="topone demo", unique_id="demo")
    # Whoever looks at it should not load fonts from anywhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
    (STATIC / "demo.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
