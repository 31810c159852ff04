"""Three ways to show a feed's events: JSON Lines, plain lines and a live screen."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Protocol

import typer
from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from topone_cli._describe import clock, describe
from topone_cli._picture import picture
from topone_cli._terminal import started
from topone_cli._view import View
from topone_proto import Event
from topone_proto.plain import to_plain

__all__ = ["JsonLines", "Output", "PlainLines", "live_screen", "open_output"]

_FRAMES_PER_SECOND: Final = 8


class Output(Protocol):
    """A destination of events. Both methods may be called from any thread. ``at`` is in seconds
    since 1970 UTC."""

    def event(self, event: Event, at: float) -> None:
        """Show an event."""

    def note(self, text: str, at: float) -> None:
        """Tell people something that is no event."""


class JsonLines:
    """For programs: every event is one JSON object in one line, its class's name first."""

    def event(self, event: Event, at: float) -> None:  # noqa: ARG002 - an event has its own times
        """Write one line."""
        typer.echo(json.dumps(to_plain(event)))

    def note(self, text: str, at: float) -> None:
        """Nothing: programs read events only."""


class PlainLines:
    """For people without a terminal: every event is one line of text.

    Args:
        write: takes each line, without its end.
    """

    def __init__(self, write: Callable[[str], object] = typer.echo) -> None:
        self._write = write

    def event(self, event: Event, at: float) -> None:
        """Write one line."""
        self._write(f"{clock(at)} {type(event).__name__:13} {describe(event)}".rstrip())

    def note(self, text: str, at: float) -> None:
        """Write one line."""
        self._write(f"{clock(at)} -- {text}")


@contextmanager
def open_output(
    title: Callable[[], str], now: Callable[[], float], *, json: bool, plain: bool
) -> Generator[Output, None, None]:
    """The output that was asked for: by default the screen at a terminal, and lines elsewhere.

    Args:
        title: the heading of the screen.
        now: the time of the events, in seconds since 1970 UTC.
        json: True asks for JSON Lines.
        plain: True asks for lines of text, also at a terminal.
    """
    console = Console()
    if json:
        yield JsonLines()
    elif plain or not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines()
    else:
        with live_screen(title, console, now) as output:
            yield output


@contextmanager
def live_screen(
    title: Callable[[], str], console: Console, now: Callable[[], float]
) -> Generator[Output, None, None]:
    """For people at a terminal: the account as it is. At the end the last picture stays there.

    Args:
        title: what this is and where it comes from.
        console: the terminal.
        now: the time of the events, in seconds since 1970 UTC.
    """
    screen = _Screen(title, console, now)
    try:
        live = Live(
            get_renderable=screen.picture,
            console=console,
            screen=True,
            refresh_per_second=_FRAMES_PER_SECOND,
        )
        with started(live):
            yield screen
    finally:
        console.print(screen.picture(), height=console.height - 1)


class _Screen:
    """A view that one thread draws while others fold events in.

    The picture is a copy, made under the lock and written without it: a slow terminal never
    delays the feed.
    """

    def __init__(
        self, title: Callable[[], str], console: Console, now: Callable[[], float]
    ) -> None:
        self._view = View()
        self._title = title
        self._console = console
        self._now = now
        self._lock = threading.Lock()

    def event(self, event: Event, at: float) -> None:
        with self._lock:
            self._view.take(event, at)

    def note(self, text: str, at: float) -> None:
        with self._lock:
            self._view.note(text, at)

    def picture(self) -> Layout:
        with self._lock:
            width, height = self._console.size
            return picture(self._view, self._title(), self._now(), width=width, height=height)
