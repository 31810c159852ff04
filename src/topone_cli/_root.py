"""The command itself, without its subcommands: what they are added to."""

from typing import Annotated

import typer

from topone_cli._help import Group
from topone_proto import __version__

__all__ = ["app"]

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
130  Ctrl-C, SIGTERM or SIGHUP"""
)
def topone(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Your balances and orders on the TOP.ONE exchange, as they change."""
