"""The command itself, without its subcommands: what they are added to."""

import shutil
import textwrap
from typing import Annotated, Final

import typer

from topone_cli._complaints import USAGE
from topone_cli._help import Group
from topone_proto import __version__

__all__ = ["app"]

_STEPS: Final = (
    ("topone demo", "See it. You need no account."),
    ("topone login", "Store the keys of your account."),
    ("topone account", "Show your account as it changes."),
    ("topone market BTC/USDT", "Show a market. You need no account."),
    ("topone simulate --port 8765", "Run an exchange for your programs."),
    ("topone doctor", "Find out what does not work."),
    ("topone --install-completion", "Let your shell complete commands."),
    ("topone --help", "List all commands."),
)

app = typer.Typer(
    name="topone",
    cls=Group,
    invoke_without_command=True,
    rich_markup_mode="rich",
    # Plain tracebacks, which never show a local variable.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, value: bool) -> None:
    if value:
        typer.echo(f"topone {__version__}")
        raise typer.Exit


def _first_steps(width: int) -> str:
    """Return what to do first, in lines that fit."""
    column = max(len(command) for command, _ in _STEPS) + 2
    longest = column + 2 + max(len(what) for _, what in _STEPS)
    what_for = "Your balances and orders on the TOP.ONE exchange, as they change."
    lines = [*textwrap.wrap(what_for, width), ""]
    for command, what in _STEPS:
        if longest <= width:
            lines.append(f"  {command:{column}}{what}")
        else:
            lines += [f"  {command}", f"    {what}"]
    return "\n".join(lines)


@app.callback(
    epilog="""[bold]Exit codes[/bold]

\b
0    it ended as you asked
1    the connection, the account, a file or the server failed
2    an argument or a setting is wrong, or an extra is not installed
130  ended by Ctrl-C, SIGTERM or SIGHUP"""
)
def topone(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Your balances and orders on the TOP.ONE exchange, as they change."""
    if context.invoked_subcommand is None:
        typer.echo(_first_steps(shutil.get_terminal_size().columns))
        raise typer.Exit(USAGE)
