"""The command's help and its complaints, where typer's own way misleads."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from typing import Any, Final

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from topone_cli._complaints import FAILED, USAGE, complain, fitted
from topone_cli._narrow_help import WIDE, print_narrow_help
from topone_cli._usage import usage_problem

__all__ = ["Command", "Group"]

_COMPLETIONS: Final = frozenset({"--install-completion", "--show-completion"})
# What every complaint of typer's about arguments derives from; it has no public name.
_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[-4]


class _Help:
    """A mixin for what typer's help shows otherwise: ``<bool>`` after flags, as if a value came
    there, and a table however narrow the terminal is."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments, ``--help`` among them."""
        # Any, as the classes below typer's changed with its versions.
        found: Any = super()
        params: list[Any] = found.get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help. A narrow terminal gets it without a table."""
        console = Console(highlight=False)
        if console.width < WIDE:
            print_narrow_help(self, ctx, console)
            return
        found: Any = super()
        found.format_help(ctx, formatter)


class Command(_Help, TyperCommand):
    """One of ``topone``'s commands."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name, as it is typed: typer writes ``{FILE}``."""
        found: Any = super()
        return [piece.strip("{}") for piece in found.collect_usage_pieces(ctx)]


class Group(_Help, TyperGroup):
    """``topone`` itself."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - as typer has it
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - as above
        **extra: Any,
    ) -> Any:
        """Run the command that the arguments name. What is wrong with them is said in a line, as
        everything else is: typer draws a box, in which words break in the middle."""
        run = partial(
            super().main,
            args,
            prog_name,
            complete_var,
            standalone_mode=False,
            windows_expand_args=windows_expand_args,
            **extra,
        )
        if not standalone_mode:
            return run()
        words = sys.argv[1:] if args is None else args
        try:
            code = _completion(run) if set(words[:1]) & _COMPLETIONS else run()
        except _USAGE_ERROR as error:
            _complain_of_usage(error, words)
            sys.exit(getattr(error, "exit_code", USAGE))
        except OSError as error:
            # Of the system as a whole, such as too many open files, or of typer's completion.
            where = "" if error.filename is None else f" ({error.filename})"
            complain(f"the operating system refuses: {error.strerror or error}{where}")
            sys.exit(FAILED)
        except RuntimeError as error:
            # A user without an entry in the system's list, as in a container.
            if "home directory" not in str(error):
                raise
            complain("there is no home directory: set HOME")
            sys.exit(FAILED)
        except typer.Abort:
            complain("it was interrupted before it began")
            sys.exit(FAILED)
        sys.exit(code if isinstance(code, int) else 0)


def _completion(run: Callable[[], Any]) -> int:
    """Install or show what lets a shell complete. typer says that "Shell None" is not supported
    where none of them is an ancestor of this process, as under cron or in a container."""
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(io.StringIO()):
            code = run()
    except SystemExit as end:
        code = end.code
    if code:
        complain(
            "no shell that can complete has started this: type it in one of bash, zsh, fish "
            "and PowerShell"
        )
        return FAILED
    sys.stdout.write(said.getvalue())
    return 0


def _complain_of_usage(error: Any, words: Sequence[str]) -> None:
    complain(usage_problem(error, words))
    context = getattr(error, "ctx", None)
    if context is not None:
        hint = f"Try '{context.command_path} --help' for help."
        sys.stderr.write(f"{fitted(hint, sys.stderr)}\n")
