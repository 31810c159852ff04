"""What ``topone record`` shows: the life of the feed, and how much is recorded by now."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from topone_cli._describe import printable
from topone_cli._output import PlainLines
from topone_proto import BalanceUpdate, Event, OrderUpdate

__all__ = ["RecordingProgress", "recording_progress"]


class RecordingProgress:
    """An output that prints every event but the updates, which it counts.

    Args:
        write: takes each line of text.
        changed: is told of every new count.
    """

    def __init__(self, write: Callable[[str], object], changed: Callable[[str], object]) -> None:
        self._lines = PlainLines(write)
        self._changed = changed
        self._updates = 0
        self._inputs = 0
        self._size = 0

    @property
    def summary(self) -> str:
        """The counts in words."""
        return f"{self._updates} updates, {self._inputs} lines, {decimal(self._size)}"

    def recorded(self, line: str) -> None:
        """A line was recorded."""
        self._inputs += 1
        self._size += len(line.encode())
        self._changed(self.summary)

    def event(self, event: Event, at: float) -> None:
        """Show or count an event."""
        if isinstance(event, BalanceUpdate | OrderUpdate):
            self._updates += 1
        else:
            self._lines.event(event, at)

    def note(self, text: str, at: float) -> None:
        """Write one line."""
        self._lines.note(text, at)


@contextmanager
def recording_progress(path: Path, console: Console) -> Generator[RecordingProgress, None, None]:
    """Shows the progress of a recording, and at the end what there is."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    name = printable(str(path))
    task = progress.add_task(name, total=None)

    def write(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    def changed(summary: str) -> None:
        progress.update(task, description=f"{name}: {summary}")

    shown = RecordingProgress(write, changed)
    try:
        with progress:
            yield shown
    finally:
        write(f"{name}: {shown.summary}")
