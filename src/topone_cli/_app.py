"""The commands: what is asked for, and which exit code says how it went."""

import asyncio
import json as jsonlib
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console

from topone_cli._chart import report
from topone_cli._checks import show_checks
from topone_cli._demo import run_demo
from topone_cli._describe import clock, printable, suggestion
from topone_cli._errors import CommandFailed
from topone_cli._faults import FAULTS, FaultError, describe_fault, parse_fault, read_script
from topone_cli._files import Recorder, Recording, new_recording, open_recording, reading_progress
from topone_cli._help import Command, Group
from topone_cli._options import (
    DEFAULT_TOPICS,
    AdapterOption,
    InsecureOption,
    JsonOption,
    KeyringOption,
    OriginOption,
    OverwriteOption,
    PlainOption,
    RateOption,
    RecordingArgument,
    RecordOption,
    RefusedToken,
    SecondsOption,
    SeedOption,
    TokenFileOption,
    TopicsOption,
    UrlOption,
    check_positive,
    parse_topics,
    require_endpoint,
    require_no_more,
    require_one_style,
)
from topone_cli._output import JsonLines, Output, PlainLines, live_screen
from topone_cli._record import recording_progress
from topone_cli._replay import Player
from topone_cli._run import Adapter, Source, run_feed
from topone_cli._simulate import simulate_exchange
from topone_cli._stats import Stats
from topone_cli._token import VARIABLE, find_token
from topone_proto import DEFAULT_URL, ConfigurationError, Event, FeedFailed, Token, __version__
from topone_proto.capture import CaptureError
from topone_proto.capture import replay as lives
from topone_simulator import run_in_thread

__all__ = ["app"]

_FAILED: Final = 1
_USAGE: Final = 2
# What there is beside the bars in a terminal; fewer bars than that say nothing.
_ROWS_OF_NUMBERS: Final = 16
_LEAST_BARS: Final = 8
_PICTURE_FORMATS: Final = (".png", ".svg")

_FAULT_LIST: Final = "\n".join(describe_fault(name).replace("[", r"\[") for name in FAULTS)

app = typer.Typer(
    name="topone",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Plain tracebacks, which never show a local variable.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, value: bool) -> None:
    if value:
        typer.echo(f"topone {__version__}")
        raise typer.Exit


@app.callback(
    epilog="""[bold]Exit codes[/bold]

\b
0    it ended as asked
1    the feed failed or never came about, a file or the server did
2    the arguments, the settings or what is installed do not do
130  Ctrl-C or SIGTERM"""
)
def topone(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Your balances and orders on the TOP.ONE exchange, as they change."""


@app.command(
    cls=Command,
    epilog="""[bold]Examples[/bold]

\b
topone demo
topone demo --adapter asyncio --seconds 10
topone demo --seconds 3 --json
topone demo --record demo.jsonl.gz""",
)
def demo(
    *,
    adapter: AdapterOption = Adapter.TRIO,
    seconds: SecondsOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    record: RecordOption = None,
    overwrite: OverwriteOption = False,
    seed: SeedOption = 0,
    rate: RateOption = 5.0,
) -> None:
    """Show a living account on a simulated exchange. No account is needed.

    After a few seconds the connection is dropped on purpose, to show what that looks like.
    """
    require_one_style(json=json, plain=plain)
    with (
        _reported(),
        _recorder(record, overwrite=overwrite) as recorder,
        run_in_thread(rate=rate, seed=seed) as simulator,
        _output(
            _title("demo", adapter, simulator.url, record), time.time, json=json, plain=plain
        ) as output,
    ):
        run_demo(simulator, output, adapter, seconds, recorder)


@app.command(
    cls=Command,
    # An argument too many may be a token: it is taken, to be refused without being shown.
    context_settings={"allow_extra_args": True},
    epilog=f"""The token comes from --token-file or --keyring, else from {VARIABLE} in
the environment, else from a prompt; never from an argument.

[bold]Examples[/bold]

\b
topone watch
topone watch --topics orders --json --token-file token.txt
topone watch --record today.jsonl.gz
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/""",
)
def watch(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    *,
    url: UrlOption = DEFAULT_URL,
    adapter: AdapterOption = Adapter.TRIO,
    topics: TopicsOption = DEFAULT_TOPICS,
    origin: OriginOption = None,
    token_file: TokenFileOption = None,
    keyring: KeyringOption = False,
    insecure: InsecureOption = False,
    json: JsonOption = False,
    plain: PlainOption = False,
    record: RecordOption = None,
    overwrite: OverwriteOption = False,
    seconds: SecondsOption = None,
    token: RefusedToken = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Show your account on the exchange, or on any server that speaks its protocol."""
    require_no_more(context)
    require_one_style(json=json, plain=plain)
    require_endpoint(url, origin, insecure=insecure)
    wanted = parse_topics(topics)
    with _reported():
        found = find_token(token_file, keyring=keyring)
        with (
            _recorder(record, overwrite=overwrite) as recorder,
            _output(
                _title("watch", adapter, url, record), time.time, json=json, plain=plain
            ) as output,
        ):
            source = Source(
                token=found,
                url=url,
                topics=wanted,
                origin=origin,
                insecure=insecure,
            )
            run_feed(adapter, source, _shower(output, url), seconds, recorder)


@app.command(
    cls=Command,
    context_settings={"allow_extra_args": True},
    epilog=f"""The token comes from --token-file or --keyring, else from {VARIABLE} in
the environment, else from a prompt; never from an argument. It is not recorded.

[bold]Examples[/bold]

\b
topone record today.jsonl.gz
topone record orders.jsonl --topics orders --seconds 3600
{VARIABLE}=demo topone record demo.jsonl --url ws://127.0.0.1:8765/ws/user/""",
)
def record(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file; compressed if it ends with .gz.")
    ],
    *,
    url: UrlOption = DEFAULT_URL,
    adapter: AdapterOption = Adapter.TRIO,
    topics: TopicsOption = DEFAULT_TOPICS,
    origin: OriginOption = None,
    token_file: TokenFileOption = None,
    keyring: KeyringOption = False,
    insecure: InsecureOption = False,
    overwrite: OverwriteOption = False,
    seconds: SecondsOption = None,
    token: RefusedToken = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Record a feed into a file, for replay and stats. Shows only the life of the connection."""
    require_no_more(context)
    require_endpoint(url, origin, insecure=insecure)
    wanted = parse_topics(topics)
    with _reported():
        found = find_token(token_file, keyring=keyring)
        with (
            closing(new_recording(file, overwrite=overwrite)) as recorder,
            recording_progress(str(file), recorder, Console()) as progress,
        ):
            source = Source(
                token=found,
                url=url,
                topics=wanted,
                origin=origin,
                insecure=insecure,
            )
            run_feed(adapter, source, _shower(progress, url), seconds, recorder)


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
            help="Take the time that it took, X times as fast; otherwise as fast as possible.",
        ),
    ] = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Live a recording again: the same events, shown as watch shows them."""
    require_one_style(json=json, plain=plain)
    with _reported(), open_recording(file) as recording:
        player = Player(speed)

        def title() -> str:
            return f"topone replay, {recording.progress}, at {clock(player.time())}, of {file}"

        with (
            _output(title, player.time, json=json, plain=plain) as output,
            reading_progress(recording, Console(stderr=True)),
        ):
            failure = player.play(recording.capture, output)
        if failure is not None:
            typer.echo(f"topone: the recorded feed ended: {printable(str(failure))}", err=True)
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
        bool, typer.Option("--json", help="Print all numbers as one JSON object, no more.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw events over time into FILE, a .png or .svg, gaps marked."
        ),
    ] = None,
) -> None:
    """Say what a recording holds: rates, gaps, anomalies, latency, events over time."""
    if picture is not None and picture.suffix not in _PICTURE_FORMATS:
        raise typer.BadParameter(f"--picture: its name ends with {' or '.join(_PICTURE_FORMATS)}")
    console = Console()
    with _reported(), open_recording(file) as recording:
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


@app.command(
    cls=Command,
    epilog=f"""[bold]Faults[/bold]

\b
{_FAULT_LIST}

A script has a fault in every line, behind the seconds after which it strikes:
5 drop-connections

[bold]Examples[/bold]

\b
topone simulate --port 8765
topone simulate --port 8765 --fault "refuse-handshake status=503 times=3"
topone simulate --port 8765 --script weather.txt
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/""",
)
def simulate(
    *,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="The TCP port; 0 for any that is free."),
    ],
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    rate: RateOption = 2.0,
    seed: SeedOption = 0,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A token to let in, any number of times; otherwise demo."
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help="Something that goes wrong, see below; any number of times."
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Faults and when they strike, see below."),
    ] = None,
) -> None:
    """Run the simulated exchange alone, for other programs to connect to."""
    try:
        faults = [(0.0, parse_fault(text)) for text in fault or ()]
        faults += [] if script is None else read_script(script)
    except FaultError as error:
        raise typer.BadParameter(printable(str(error))) from None
    except OSError as error:
        raise typer.BadParameter(f"--script: {script} cannot be read ({error.strerror})") from None
    with _reported():
        serving = simulate_exchange(
            host, port, token or ["demo"], rate=rate, seed=seed, script=faults
        )
        try:
            asyncio.run(serving)
        except BrokenPipeError:
            raise
        except OSError as error:
            _fail(f"cannot listen on {host}:{port}: {error.strerror}", _FAILED)


@app.command(
    cls=Command,
    context_settings={"allow_extra_args": True},
    epilog=f"""The token comes from where watch takes it.

[bold]Exit codes[/bold]

\b
0    a feed will work
1    something is wrong; the last line says what
2    the arguments, the settings or what is installed do not do
130  Ctrl-C or SIGTERM

[bold]Examples[/bold]

\b
topone doctor
topone doctor --ping-wait 200
{VARIABLE}=demo topone doctor --url ws://127.0.0.1:8765/ws/user/""",
)
def doctor(
    context: typer.Context,
    *,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenFileOption = None,
    keyring: KeyringOption = False,
    insecure: InsecureOption = False,
    timeout: Annotated[
        float,
        typer.Option(
            callback=check_positive, metavar="N", help="Seconds that any one check may take."
        ),
    ] = 10.0,
    ping_wait: Annotated[
        float,
        typer.Option(
            callback=check_positive, metavar="N", help="Seconds to wait for a ping of the server."
        ),
    ] = 5.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for every check, no more.")
    ] = False,
    token: RefusedToken = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Find out why a feed does not work: look at everything in its way, one after the other."""
    require_no_more(context)
    with _reported():
        from topone_cli._doctor import examine  # noqa: PLC0415 - needs the threads adapter

        found = find_token(token_file, keyring=keyring)
        checks = examine(
            url,
            found if isinstance(found, Token) else found(),
            insecure=insecure,
            timeout=timeout,
            ping_wait=ping_wait,
        )
        if not show_checks(checks, Console(), json=json):
            raise typer.Exit(_FAILED)


def _title(command: str, adapter: Adapter, url: str, record: Path | None) -> Callable[[], str]:
    title = f"topone {command} over {adapter}, {url}"
    if record is not None:
        title += f", recording to {record}"
    return lambda: title


def _shower(output: Output, url: str) -> Callable[[Event], None]:
    """What shows events of a feed from ``url``, and says what to do if it does not come about."""

    def show(event: Event) -> None:
        now = time.time()
        output.event(event, now)
        if (hint := suggestion(event, url)) is not None:
            output.note(hint, now)

    return show


def _recorder(path: Path | None, *, overwrite: bool) -> AbstractContextManager[Recorder | None]:
    return nullcontext() if path is None else closing(new_recording(path, overwrite=overwrite))


@contextmanager
def _output(
    title: Callable[[], str], now: Callable[[], float], *, json: bool, plain: bool
) -> Generator[Output, None, None]:
    console = Console()
    if json:
        yield JsonLines()
    elif plain or not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines()
    else:
        with live_screen(title, console, now) as output:
            yield output


@contextmanager
def _reported() -> Generator[None, None, None]:
    """Make a line on stderr and an exit code of what can go wrong. Ctrl-C is typer's to report."""
    try:
        yield
    except (FeedFailed, CaptureError, CommandFailed) as error:
        _fail(str(error), _FAILED)
    except (ConfigurationError, ImportError) as error:
        _fail(str(error), _USAGE)


def _drawer(path: Path | None) -> Callable[[Stats], None]:
    """What draws numbers into ``path``: if that is not possible, it is known before they are
    counted."""
    if path is None:
        return lambda _: None
    from topone_cli._plot import save_picture  # noqa: PLC0415 - an extra of its own

    return partial(save_picture, path=path)


def _warn_of_its_end(recording: Recording) -> None:
    if recording.capture.is_truncated:
        typer.echo("topone: the recording breaks off; its last line is left out", err=True)


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(f"topone: {printable(text)}", err=True)
    raise typer.Exit(code) from None
