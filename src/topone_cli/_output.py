"""Three ways to show a feed's events: JSON Lines, plain lines and a live screen."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

import typer
from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from topone_cli._describe import clock, describe
from topone_cli._picture import picture
from topone_cli._view import View
from topone_proto import Event
from topone_proto.plain import to_plain

__all__ = ["JsonLines", "Output", "PlainLines", "live_screen"]

_FRAMES_PER_SECOND: Final = 8


class Output(Protocol):
    """Where events go. Both methods may be called from any thread."""

    def event(self, event: Event) -> None:
        """Show an event."""

    def note(self, text: str) -> None:
        """Tell people something that is no event."""


class JsonLines:
    """For programs: every event is one JSON object in one line, its class's name first."""

    def event(self, event: Event) -> None:
        """Write one line."""
        typer.echo(json.dumps(to_plain(event)))

    def note(self, text: str) -> None:
        """Nothing: programs read events only."""


class PlainLines:
    """For people without a terminal: every event is one line of text."""

    def event(self, event: Event) -> None:
        """Write one line."""
        self._write(f"{type(event).__name__:13} {describe(event)}".rstrip())

    def note(self, text: str) -> None:
        """Write one line."""
        self._write(f"-- {text}")

    def _write(self, line: str) -> None:
        typer.echo(f"{clock(time.time())} {line}")


@contextmanager
def live_screen(title: str, console: Console) -> Generator[Output, None, None]:
    """For people at a terminal: the account as it is. At the end the last picture stays there."""
    screen = _Screen(View(title))
    try:
        with Live(
            get_renderable=screen.picture,
            console=console,
            screen=True,
            refresh_per_second=_FRAMES_PER_SECOND,
        ):
            yield screen
    finally:
        console.print(screen.picture(), height=console.height - 1)


class _Screen:
    """A view that one thread draws while others fold events in.

    The picture is a copy, made under the lock and written without it: a slow terminal never
    delays the feed.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        with self._lock:
            self._view.take(event, time.time())

    def note(self, text: str) -> None:
        with self._lock:
            self._view.note(text, time.time())

    def picture(self) -> Layout:
        with self._lock:
            return picture(self._view, time.time())
