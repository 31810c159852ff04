"""The outputs of a relay: JSON Lines, lines of text, a live table; and a log file beside them."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TextIO

import typer
from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from topone_cli._complaints import complain
from topone_cli._errors import CommandFailed
from topone_cli._format import clock, printable
from topone_cli._life import Line
from topone_cli._masks import hide_tokens
from topone_cli._relay_picture import RelayScreen, relay_picture
from topone_cli._relay_words import relay_words
from topone_cli._terminal import started
from topone_proto.plain import to_plain
from topone_relay import NodeStatus

__all__ = ["RelayOutput", "open_relay_output"]

_FRAMES_PER_SECOND: Final = 4


class RelayOutput(Protocol):
    """A destination of what happens to a relay. ``at`` is in seconds since 1970 UTC."""

    def event(self, account: str | None, event: object, at: float) -> None:
        """Show what has happened, to an account or to the node."""

    def status(self, status: NodeStatus) -> None:
        """Show the state of the node."""


class _JsonLines:
    """A JSON object a line for everything that happens.

    Args:
        node: the name of the node.
        write: takes each line, without its end.
    """

    def __init__(self, node: str, write: Callable[[str], object] = typer.echo) -> None:
        self._node = node
        self._write = write

    def event(self, account: str | None, event: object, at: float) -> None:
        plain = to_plain(event)  # type: ignore[arg-type]  # it writes any value
        name = plain.pop("event")
        head = {"event": name, "time": round(at, 3), "node": self._node}
        if account is not None:
            head["account"] = account
        self._write(hide_tokens(json.dumps(head | plain)))

    def status(self, status: NodeStatus) -> None:
        """Do nothing: a program that wants to know asks for the metrics."""


class _PlainLines:
    """A line of text for everything that happens."""

    def event(self, account: str | None, event: object, at: float) -> None:
        where = "" if account is None else f"{account}: "
        name = type(event).__name__
        typer.echo(hide_tokens(f"{clock(at)} {name:14} {where}{relay_words(event)}"))

    def status(self, status: NodeStatus) -> None:
        """Do nothing: what changes is an event."""


class _LiveTable:
    """A table of who holds what, at a terminal."""

    def __init__(self, title: str, console: Console) -> None:
        self._screen = RelayScreen(title)
        self._console = console
        self._lock = threading.Lock()

    def event(self, account: str | None, event: object, at: float) -> None:
        where = "" if account is None else f"{account}: "
        text = hide_tokens(f"{where}{relay_words(event)}")
        with self._lock:
            self._screen.log.append(Line(at, type(event).__name__, printable(text)))

    def status(self, status: NodeStatus) -> None:
        self._screen.status = status

    def picture(self) -> Layout:
        width, height = self._console.size
        with self._lock:
            return relay_picture(self._screen, width=width, height=height)


class _Both:
    """An output, and a log file."""

    def __init__(self, output: RelayOutput, log: RelayOutput) -> None:
        self._output = output
        self._log = log

    def event(self, account: str | None, event: object, at: float) -> None:
        self._output.event(account, event, at)
        self._log.event(account, event, at)

    def status(self, status: NodeStatus) -> None:
        self._output.status(status)


@contextmanager
def open_relay_output(
    title: str, node: str, *, json: bool, plain: bool, log: Path | None
) -> Generator[RelayOutput, None, None]:
    """Give the output that was asked for: by default the table at a terminal, and lines elsewhere.

    Args:
        title: the heading of the screen.
        node: the name of the node.
        json: True asks for JSON Lines.
        plain: True asks for lines of text, also at a terminal.
        log: a file that JSON Lines are added to as well.

    Raises:
        CommandFailed: the log cannot be written to.
    """
    if log is None:
        with _open_shown(title, node, json=json, plain=plain) as output:
            yield output
        return
    try:
        file = log.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise CommandFailed(f"cannot write to {log}: {error.strerror}") from None
    with file, _open_shown(title, node, json=json, plain=plain) as output:
        yield _Both(output, _JsonLines(node, _writer_of(file)))


def _writer_of(file: TextIO) -> Callable[[str], object]:
    is_broken = False

    def write(line: str) -> None:
        nonlocal is_broken
        try:
            file.write(f"{line}\n")
        except OSError as error:
            # The accounts are worth more than their log.
            if not is_broken:
                complain(f"the log cannot be written to: {error.strerror}")
            is_broken = True
        else:
            is_broken = False

    return write


@contextmanager
def _open_shown(
    title: str, node: str, *, json: bool, plain: bool
) -> Generator[RelayOutput, None, None]:
    console = Console()
    if json:
        yield _JsonLines(node)
    elif plain or not console.is_terminal or console.is_dumb_terminal:
        yield _PlainLines()
    else:
        table = _LiveTable(title, console)
        try:
            live = Live(
                get_renderable=table.picture,
                console=console,
                screen=True,
                refresh_per_second=_FRAMES_PER_SECOND,
            )
            with started(live):
                yield table
        finally:
            console.print(table.picture(), height=console.height - 1)
