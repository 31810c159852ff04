"""The screen of ``topone record``: the life of the feed, and the size of the recording."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from topone_cli._events import AnyEvent
from topone_cli._files import Recorder
from topone_cli._format import printable
from topone_cli._masks import hide_tokens
from topone_cli._output import PlainLines
from topone_cli._terminal import started
from topone_proto import Update

__all__ = ["RecordingProgress", "recording_progress"]


class RecordingProgress:
    """An output that prints every event but the updates, which it counts.

    Args:
        recorder: what records them.
        write: takes each line of text.
        changed: is told of new counts.
    """

    def __init__(
        self,
        recorder: Recorder,
        write: Callable[[str], object],
        changed: Callable[[str], object],
    ) -> None:
        self._recorder = recorder
        self._lines = PlainLines(write)
        self._changed = changed
        self._updates = 0

    @property
    def summary(self) -> str:
        """The counts in words."""
        size = decimal(self._recorder.size)
        return f"{self._updates} updates, {self._recorder.lines} lines, {size}"

    def event(self, event: AnyEvent, at: float) -> None:
        """Show or count an event."""
        if isinstance(event, Update):
            self._updates += 1
        else:
            self._lines.event(event, at)
        self._changed(self.summary)

    def note(self, text: str, at: float) -> None:
        """Write one line."""
        self._lines.note(text, at)


@contextmanager
def recording_progress(
    name: str, recorder: Recorder, console: Console
) -> Generator[RecordingProgress, None, None]:
    """Show the progress of a recording with this name, and in the end its size."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    name = printable(hide_tokens(name))
    task = progress.add_task(name, total=None)

    def write(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)

    def changed(summary: str) -> None:
        progress.update(task, description=f"{name}: {summary}")

    shown = RecordingProgress(recorder, write, changed)
    try:
        with started(progress):
            yield shown
    finally:
        write(f"{name}: {shown.summary}")
