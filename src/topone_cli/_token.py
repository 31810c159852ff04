"""Where ``topone watch`` gets the token from: a file, the environment or a prompt.

The text is wrapped in the expression that reads it: no frame of this command ever holds it.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from getpass import getpass
from pathlib import Path

from topone_proto import ConfigurationError, Token

__all__ = ["VARIABLE", "find_token"]

VARIABLE = "TOPONE_TOKEN"
_LARGEST = 65536


def find_token(file: Path | None) -> Token | Callable[[], Token]:
    """The token, or, if it comes from ``file``, what reads it anew before every dial.

    Raises:
        ConfigurationError: there is none, or it cannot be one.
    """
    if file is not None:
        _read(file).require_usable()
        return partial(_read, file)
    if os.environ.get(VARIABLE):
        token = Token(os.environ[VARIABLE])
    elif sys.stdin.isatty():
        token = _ask()
    else:
        raise _refusal("there is none, and no terminal to ask for one")
    token.require_usable()
    return token


def _read(file: Path) -> Token:
    try:
        with file.open("rb") as opened:
            # Never an exception, which would carry the bytes. What is no ASCII is no token.
            return Token(opened.read(_LARGEST).decode("ascii", "replace").strip())
    except OSError as error:
        raise _refusal(f"{file} cannot be read ({error.strerror})") from None


def _ask() -> Token:
    try:
        return Token(getpass("API token (it is not shown): ").strip())
    except EOFError:
        raise _refusal("none was given") from None


def _refusal(problem: str) -> ConfigurationError:
    return ConfigurationError(
        setting="token",
        problem=problem,
        remedy=f"set the environment variable {VARIABLE}, pass --token-file FILE, "
        "or run this in a terminal to be asked",
    )
