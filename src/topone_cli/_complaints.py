"""Sentences on standard error, and the exit codes that go with them."""

import os
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NoReturn, TextIO

import typer

from topone_cli._errors import CommandFailed, explain, explain_failure
from topone_cli._format import printable
from topone_cli._masks import hide_tokens
from topone_proto import ConfigurationError, FeedFailed

__all__ = ["FAILED", "USAGE", "complain", "fail", "reported"]

FAILED: Final = 1
"""The exit code of a failure."""
USAGE: Final = 2
"""The exit code of arguments, settings and installations that cannot be used."""


def complain(text: str) -> None:
    """Write a sentence to standard error. It shows nothing that could be a token."""
    sys.stderr.write(f"{fitted(f'topone: {printable(hide_tokens(text))}', sys.stderr)}\n")
    sys.stderr.flush()


def fitted(text: str, stream: TextIO) -> str:
    """Return ``text`` in lines that fit if the stream is a terminal, broken at spaces only; else as
    it is."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        columns = 0
    if columns <= 0:
        return text
    lines = text.splitlines()
    return "\n".join(
        textwrap.fill(line, columns, break_long_words=False, break_on_hyphens=False)
        for line in lines
    )


def fail(text: str, code: int) -> NoReturn:
    """Write a sentence to standard error, and end with this exit code."""
    complain(text)
    raise typer.Exit(code) from None


@contextmanager
def reported() -> Generator[None, None, None]:
    """Turn failures into a sentence on standard error and an exit code. typer reports Ctrl-C."""
    try:
        yield
    except FeedFailed as error:
        fail(explain_failure(error.failure), FAILED)
    except CommandFailed as error:
        fail(str(error), FAILED)
    except ConfigurationError as error:
        fail(explain(error), USAGE)
    except ImportError as error:
        fail(str(error), USAGE)
