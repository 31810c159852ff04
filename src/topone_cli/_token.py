"""Where the token comes from: a file, the system's keyring, the environment or a prompt.

The text is wrapped in the expression that reads it: no frame of this command ever holds it.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from getpass import getpass
from pathlib import Path

from topone_proto import ConfigurationError, Token

__all__ = ["KEYRING_ENTRY", "VARIABLE", "find_token"]

VARIABLE = "TOPONE_TOKEN"
KEYRING_ENTRY = ("topone", "token")
"""Service and user name of the token in the system's keyring."""
_LARGEST = 65536


def find_token(file: Path | None, *, keyring: bool = False) -> Token | Callable[[], Token]:
    """The token, or, if it comes from ``file`` or the keyring, what reads it anew before every
    dial.

    Raises:
        ConfigurationError: there is none, or it cannot be one, or two places are asked for.
        ImportError: the keyring's extra is not installed.
    """
    if file is not None and keyring:
        raise _refusal("a file and the keyring are both asked for")
    if file is not None or keyring:
        read = _read_keyring if file is None else partial(_read, file)
        read().require_usable()
        return read
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


def _read_keyring() -> Token:
    try:
        import keyring  # noqa: PLC0415 - an extra of its own
        from keyring.errors import KeyringError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ImportError(
            '--keyring needs keyring: pip install "topone-proto[keyring]"', name="keyring"
        ) from error
    try:
        found = Token(keyring.get_password(*KEYRING_ENTRY) or "")
    except KeyringError as error:
        raise _refusal(f"the keyring cannot be read ({type(error).__name__})") from None
    if not found.reveal():
        service, user = KEYRING_ENTRY
        raise _refusal(f"the keyring has none: store it with 'keyring set {service} {user}'")
    return found


def _ask() -> Token:
    try:
        return Token(getpass("API token (it is not shown): ").strip())
    except EOFError:
        raise _refusal("none was given") from None


def _refusal(problem: str) -> ConfigurationError:
    return ConfigurationError(
        setting="token",
        problem=problem,
        remedy=f"set the environment variable {VARIABLE}, pass --token-file FILE or --keyring, "
        "or run this in a terminal to be asked",
    )
