"""The commands and their options: what is asked for, and which exit code says how it went."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console

from topone_cli._demo import run_demo
from topone_cli._describe import printable
from topone_cli._output import JsonLines, Output, PlainLines, live_screen
from topone_cli._run import Adapter, Source, run_feed
from topone_cli._simulate import simulate_exchange
from topone_cli._token import VARIABLE, find_token
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    ConfigurationError,
    Endpoint,
    FeedFailed,
    Topic,
    __version__,
)
from topone_simulator import run_in_thread

__all__ = ["app"]

_FAILED: Final = 1
_USAGE: Final = 2
_LONGEST: Final = 10.0**7

app = typer.Typer(
    name="topone",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Plain tracebacks, which never show a local variable.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, value: bool) -> None:
    if value:
        typer.echo(f"topone {__version__}")
        raise typer.Exit


def _check_seconds(value: float | None) -> float | None:
    # Written so that NaN is refused, too.
    if value is not None and not 0 < value <= _LONGEST:
        raise typer.BadParameter("use a number of seconds greater than zero")
    return value


def _refuse_token(value: str | None) -> None:
    if value is not None:
        raise typer.BadParameter(
            "a token is never taken from the command line, where the shell's history and every "
            f"user of this machine can read it: set {VARIABLE}, use --token-file FILE, or type it "
            "at the prompt. If this one was real, revoke it."
        )


AdapterOption = Annotated[Adapter, typer.Option(help="Which adapter carries the feed.")]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        callback=_check_seconds, metavar="N", help="End after N seconds; otherwise with Ctrl-C."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line for every event, no more.")
]
RateOption = Annotated[
    float, typer.Option(metavar="R", help="How many things happen to the account in a second.")
]
SeedOption = Annotated[
    int, typer.Option(metavar="N", help="The source of all chance in the account's life.")
]


@app.callback(
    epilog="""[bold]Exit codes[/bold]

\b
0    it ended as asked
1    the feed failed, or the server could not start
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
    epilog="""[bold]Examples[/bold]

\b
topone demo
topone demo --adapter asyncio --seconds 10
topone demo --seconds 3 --json"""
)
def demo(
    *,
    adapter: AdapterOption = Adapter.TRIO,
    seconds: SecondsOption = None,
    json: JsonOption = False,
    seed: SeedOption = 0,
    rate: RateOption = 5.0,
) -> None:
    """Show a living account on a simulated exchange. No account is needed.

    After a few seconds the connection is dropped on purpose, to show what that looks like.
    """
    with (
        _reported(),
        run_in_thread(rate=rate, seed=seed) as simulator,
        _output(f"topone demo over {adapter}, {simulator.url}", json=json) as output,
    ):
        run_demo(simulator, output, adapter, seconds)


@app.command(
    # An argument too many may be a token: it is taken, to be refused without being shown.
    context_settings={"allow_extra_args": True},
    epilog=f"""The token comes from --token-file, else from {VARIABLE} in the
environment, else from a prompt; never from an argument.

[bold]Examples[/bold]

\b
topone watch
topone watch --topics orders --json --token-file token.txt
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/""",
)
def watch(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    *,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Where to connect, without the token.")
    ] = DEFAULT_URL,
    adapter: AdapterOption = Adapter.TRIO,
    topics: Annotated[
        str, typer.Option(metavar="NAMES", help="What to subscribe to, with commas between.")
    ] = f"{BALANCE},{ORDERS}",
    origin: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help='Send this Origin header, "" for an empty one; otherwise none.'
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read the token from FILE, again for every connection."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plain ws:// to other machines.")
    ] = False,
    json: JsonOption = False,
    seconds: SecondsOption = None,
    token: Annotated[  # noqa: ARG001 - its callback refuses it
        str | None, typer.Option(hidden=True, is_eager=True, callback=_refuse_token)
    ] = None,
) -> None:
    """Show your account on the exchange, or on any server that speaks its protocol."""
    if context.args:
        raise typer.BadParameter("there are too many arguments; they are not shown here")
    _check_endpoint(url, origin, insecure=insecure)
    wanted = _topics(topics)
    with _reported():
        source = Source(
            token=find_token(token_file),
            url=url,
            topics=wanted,
            origin=origin,
            insecure=insecure,
        )
        with _output(f"topone watch over {adapter}, {url}", json=json) as output:
            run_feed(adapter, source, output.event, seconds)


@app.command(
    epilog=f"""[bold]Examples[/bold]

\b
topone simulate --port 8765
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/"""
)
def simulate(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The TCP port; 0 for any that is free.")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    rate: RateOption = 2.0,
    seed: SeedOption = 0,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A token to let in, any number of times; otherwise demo."
        ),
    ] = None,
) -> None:
    """Run the simulated exchange alone, for other programs to connect to."""
    with _reported():
        try:
            asyncio.run(simulate_exchange(host, port, token or ["demo"], rate=rate, seed=seed))
        except BrokenPipeError:
            raise
        except OSError as error:
            _fail(f"cannot listen on {host}:{port}: {error.strerror}", _FAILED)


def _check_endpoint(url: str, origin: str | None, *, insecure: bool) -> None:
    try:
        Endpoint(url, origin, insecure)
    except ConfigurationError as error:
        hint = "give a wss:// URL without the token; plain ws:// to other machines needs --insecure"
        raise typer.BadParameter(
            f"{error.setting}: {error.problem}" + (f"; {hint}" if error.setting == "url" else "")
        ) from None


def _topics(names: str) -> tuple[Topic, ...]:
    try:
        return tuple(dict.fromkeys(Topic(name.strip()) for name in names.split(",")))
    except ConfigurationError as error:
        raise typer.BadParameter(f"--topics: {error.problem}") from None


@contextmanager
def _output(title: str, *, json: bool) -> Generator[Output, None, None]:
    console = Console()
    if json:
        yield JsonLines()
    elif not console.is_terminal:
        yield PlainLines()
    else:
        with live_screen(title, console) as output:
            yield output


@contextmanager
def _reported() -> Generator[None, None, None]:
    """Make a line on stderr and an exit code of what can go wrong. Ctrl-C is typer's to report."""
    try:
        yield
    except FeedFailed as error:
        _fail(str(error), _FAILED)
    except (ConfigurationError, ImportError) as error:
        _fail(str(error), _USAGE)


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(f"topone: {printable(text)}", err=True)
    raise typer.Exit(code) from None
