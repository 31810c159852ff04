"""The commands that read a recording: replay and stats."""

import json as jsonlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from topone_cli._chart import report
from topone_cli._complaints import complain, reported
from topone_cli._errors import explain_failure
from topone_cli._files import Recording, open_recording, reading_progress, require_new_file
from topone_cli._format import clock
from topone_cli._help import Command
from topone_cli._masks import hide_tokens
from topone_cli._options import (
    JsonOption,
    PlainOption,
    RecordingArgument,
    check_positive,
    require_one_style,
)
from topone_cli._output import open_output, shown_of
from topone_cli._replay import Player
from topone_cli._root import app
from topone_cli._stats import Stats
from topone_cli._usage import Misuse
from topone_proto.capture import replay as lives

__all__ = ["replay", "stats"]

# What there is beside the bars in a terminal; fewer bars than that say nothing.
_ROWS_OF_NUMBERS: Final = 16
_LEAST_BARS: Final = 8
_PICTURE_FORMATS: Final = (".png", ".svg")


@app.command(
    cls=Command,
    epilog="""[bold]Examples[/bold]

\b
topone replay today.jsonl.gz
topone replay today.jsonl.gz --speed 10
topone replay today.jsonl.gz --json | grep Gap""",
)
def replay(
    file: RecordingArgument,
    *,
    speed: Annotated[
        float | None,
        typer.Option(
            callback=check_positive,
            metavar="X",
            help="Replay at X times the original speed. Default: as fast as possible.",
        ),
    ] = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Show the events of a recording again, as watch or market showed them."""
    require_one_style(json=json, plain=plain)
    with reported(), open_recording(file) as recording:
        player = Player(speed)
        name = hide_tokens(str(file))

        def title() -> str:
            return f"topone replay, {recording.progress}, at {clock(player.time())}, of {name}"

        shown = shown_of(recording.capture.topics)
        with (
            open_output(shown, title, player.time, json=json, plain=plain) as output,
            reading_progress(recording, Console(stderr=True)),
        ):
            failure = player.play(recording.capture, output)
        if failure is not None:
            complain(f"the recorded feed ended: {explain_failure(failure)}")
        _warn_of_its_end(recording)


@app.command(
    cls=Command,
    epilog="""[bold]Examples[/bold]

\b
topone stats today.jsonl.gz
topone stats today.jsonl.gz --picture today.svg
topone stats today.jsonl.gz --json""",
)
def stats(
    file: RecordingArgument,
    *,
    json: Annotated[
        bool, typer.Option("--json", help="Print all numbers as one JSON object, and nothing else.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the events over time into FILE, a .png or .svg."),
    ] = None,
) -> None:
    """Show what is in a recording: rates, gaps, anomalies, latency, events over time."""
    if picture is not None and picture.suffix not in _PICTURE_FORMATS:
        raise Misuse(f"--picture: its name ends with {' or '.join(_PICTURE_FORMATS)}")
    console = Console()
    with reported(), open_recording(file) as recording:
        draw = _drawer(picture)
        found = Stats(url=recording.capture.endpoint.url, topics=recording.capture.topics)
        with reading_progress(recording, Console(stderr=True)):
            for line, step in lives(recording.capture):
                found.take(line, step)
        if json:
            typer.echo(jsonlib.dumps(found.to_plain()))
        else:
            console.print(report(found, max(_LEAST_BARS, console.height - _ROWS_OF_NUMBERS)))
        draw(found)
        _warn_of_its_end(recording)


def _drawer(path: Path | None) -> Callable[[Stats], None]:
    """Return a function that draws numbers into ``path``. What prevents it is known at once.

    Raises:
        CommandFailed: the file cannot be written.
        ImportError: what draws is not installed.
    """
    if path is None:
        return lambda _: None
    require_new_file(path, overwrite=True)
    # Without a home directory matplotlib warns of a cache that it does without.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from topone_cli._plot import save_picture

    return partial(save_picture, path=path)


def _warn_of_its_end(recording: Recording) -> None:
    if recording.capture.is_truncated:
        complain("the recording breaks off; its last line is left out")
