"""Three ways to show a feed's events: JSON Lines, plain lines and a live screen."""

import json
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final, Protocol

import typer
from attrs import field, frozen
from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from topone_cli._account_view import AccountLife
from topone_cli._describe import describe
from topone_cli._events import AnyEvent
from topone_cli._format import clock
from topone_cli._life import Life
from topone_cli._market_picture import market_picture
from topone_cli._market_view import MarketView
from topone_cli._picture import picture
from topone_cli._terminal import started
from topone_cli._view import View
from topone_proto import Candle, Topic
from topone_proto.plain import to_plain

__all__ = [
    "AccountShown",
    "HealedShown",
    "JsonLines",
    "LiveScreen",
    "MarketShown",
    "Output",
    "PlainLines",
    "Shown",
    "live_screen",
    "open_output",
    "shown_of",
]

_FRAMES_PER_SECOND: Final = 8


class Output(Protocol):
    """A destination of events. Both methods may be called from any thread. ``at`` is in seconds
    since 1970 UTC."""

    def event(self, event: AnyEvent, at: float) -> None:
        """Show an event."""

    def note(self, text: str, at: float) -> None:
        """Show a text that is no event."""


class JsonLines:
    """An output for programs: every event is a JSON object in one line, its class's name first."""

    def event(self, event: AnyEvent, at: float) -> None:  # noqa: ARG002 - an event has its own times
        """Write one line."""
        typer.echo(json.dumps(to_plain(event)))

    def note(self, text: str, at: float) -> None:
        """Do nothing: programs read events only."""


class PlainLines:
    """An output for people without a terminal: every event is one line of text.

    Args:
        write: takes each line, without its end.
    """

    def __init__(self, write: Callable[[str], object] = typer.echo) -> None:
        self._write = write

    def event(self, event: AnyEvent, at: float) -> None:
        """Write one line."""
        self._write(f"{clock(at)} {type(event).__name__:13} {describe(event)}".rstrip())

    def note(self, text: str, at: float) -> None:
        """Write one line."""
        self._write(f"{clock(at)} -- {text}")


class Shown(Protocol):
    """The content of a screen, and its look."""

    @property
    def life(self) -> Life:
        """The fold of events and notes."""
        ...

    def picture(self, title: str, at: float, *, width: int, height: int) -> Layout:
        """Return the whole screen at ``at``."""
        ...


@frozen
class AccountShown:
    """An account on a screen."""

    life: View = field(factory=View)

    def picture(self, title: str, at: float, *, width: int, height: int) -> Layout:
        """Return the whole screen at ``at``."""
        return picture(self.life, title, at, width=width, height=height)


@frozen
class HealedShown:
    """A healed account on a screen."""

    life: AccountLife = field(factory=AccountLife)

    def picture(self, title: str, at: float, *, width: int, height: int) -> Layout:
        """Return the whole screen at ``at``."""
        return picture(self.life, title, at, width=width, height=height)


@frozen
class MarketShown:
    """A market on a screen."""

    life: MarketView

    def picture(self, title: str, at: float, *, width: int, height: int) -> Layout:
        """Return the whole screen at ``at``."""
        return market_picture(self.life, title, at, width=width, height=height)


def shown_of(topics: Iterable[Topic]) -> Shown:
    """Return the content for a feed of ``topics``: a market if one is of market data."""
    view = MarketView.of(topics)
    return AccountShown() if view is None else MarketShown(view)


@contextmanager
def open_output(
    shown: Shown,
    title: Callable[[], str],
    now: Callable[[], float],
    *,
    json: bool,
    plain: bool,
) -> Generator[Output, None, None]:
    """Give the output that was asked for: by default the screen at a terminal, and lines elsewhere.

    Args:
        shown: what the screen shows.
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
        with live_screen(shown, title, console, now) as output:
            yield output


@contextmanager
def live_screen(
    shown: Shown, title: Callable[[], str], console: Console, now: Callable[[], float]
) -> Generator[Output, None, None]:
    """Give an output for people at a terminal. At the end the last picture stays there.

    Args:
        shown: what the screen shows.
        title: what this is and where it comes from.
        console: the terminal.
        now: the time of the events, in seconds since 1970 UTC.
    """
    screen = LiveScreen(shown, title, console, now)
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


class LiveScreen:
    """A view that one thread draws while others fold events in.

    The picture is a copy, made under the lock and written without it: a slow terminal never
    delays the feed.
    """

    def __init__(
        self,
        shown: Shown,
        title: Callable[[], str],
        console: Console,
        now: Callable[[], float],
    ) -> None:
        self._shown = shown
        self._title = title
        self._console = console
        self._now = now
        self._lock = threading.Lock()

    def event(self, event: AnyEvent, at: float) -> None:
        with self._lock:
            self._shown.life.take(event, at)

    def note(self, text: str, at: float) -> None:
        with self._lock:
            self._shown.life.note(text, at)

    def add_history(self, candles: Iterable[Candle]) -> None:
        """Show candles that were asked for."""
        with self._lock:
            if isinstance(self._shown.life, MarketView):
                self._shown.life.add_history(candles)

    def picture(self) -> Layout:
        """Return the screen as it is now."""
        with self._lock:
            width, height = self._console.size
            return self._shown.picture(self._title(), self._now(), width=width, height=height)
