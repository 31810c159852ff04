"""The token, from a file, the system's keyring, the environment or a prompt.

The text is wrapped in the expression that reads it: no frame of this command ever holds it.
"""

import os
import shlex
import stat
import sys
from collections.abc import Callable
from functools import partial
from getpass import getpass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from topone_cli._errors import VARIABLE
from topone_proto import ConfigurationError, Token

__all__ = [
    "KEYRING_ENTRY",
    "RereadToken",
    "find_token",
    "has_terminal",
    "import_keyring",
    "require_token_source",
]

KEYRING_ENTRY: Final = ("topone", "token")
"""Service and user name of the token in the system's keyring."""
_LARGEST: Final = 65536
_AS_GIVEN: Final = "just as the exchange gave it"


class RereadToken:
    """A token that is read anew before every dial, with the cause of a failure.

    Args:
        read: reads it. It raises ``ConfigurationError`` if there is none.
    """

    def __init__(self, read: Callable[[], Token]) -> None:
        self._read = read
        self.trouble: str | None = None
        """The cause of the latest failure; None if the latest try succeeded."""

    def __call__(self) -> Token:
        try:
            token = self._read()
        except ConfigurationError as error:
            self.trouble = error.problem
            raise
        self.trouble = None
        return token


def require_token_source(file: Path | None, *, keyring: bool = False) -> None:
    """Check what can be checked before anybody is asked for a token.

    Raises:
        ConfigurationError: two places are asked for, or there is none and nobody to ask.
        ImportError: the keyring's extra is not installed.
    """
    if file is not None and keyring:
        raise ConfigurationError(
            setting="--keyring",
            problem="a file and the keyring are both asked for",
            remedy="use --token-file FILE or --keyring",
        )
    if keyring:
        import_keyring()
    if file is None and not keyring and not os.environ.get(VARIABLE) and not has_terminal():
        raise ConfigurationError(
            setting="token",
            problem="there is none, and no terminal to ask for one",
            remedy=f"set the environment variable {VARIABLE}, pass --token-file FILE or --keyring, "
            "or run this in a terminal to be asked",
        )


def find_token(
    file: Path | None, *, keyring: bool = False, warn: Callable[[str], object] = len
) -> Token | RereadToken:
    """Return the token, or, from a file or the keyring, what reads it anew before every dial.

    Args:
        file: its file.
        keyring: True takes it from the system's keyring.
        warn: is told what is unwise about the file.

    Raises:
        ConfigurationError: there is none, or it cannot be one, or two places are asked for.
        ImportError: the keyring's extra is not installed.
    """
    require_token_source(file, keyring=keyring)
    if file is not None:
        return _from_file(file, warn)
    if keyring:
        source = RereadToken(_read_keyring)
        source()
        return source
    if os.environ.get(VARIABLE):
        return _usable(Token(os.environ[VARIABLE]), VARIABLE, "the variable", f"set it {_AS_GIVEN}")
    return _usable(_ask(), "token", "what was typed", f"type it {_AS_GIVEN}")


def has_terminal() -> bool:
    """Return True if there is somebody to ask."""
    # It is None if the caller closed it.
    stdin = sys.stdin
    return stdin is not None and stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # as said


def _from_file(file: Path, warn: Callable[[str], object]) -> Token | RereadToken:
    source = RereadToken(partial(_read_file, file))
    token = source()
    try:
        mode = file.stat().st_mode
    except OSError:
        # Away again: the next dial will say so.
        return source
    if not stat.S_ISREG(mode):
        # A pipe, which can be read once.
        return token
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        name = shlex.quote(str(file))
        warn(f"--token-file: others can read or change {file}: chmod 600 {name}")
    return source


def _read_file(file: Path) -> Token:
    setting = "--token-file"
    # A single word that is no file's name may be the token itself.
    name = str(file) if file.exists() or file.suffix or len(file.parts) > 1 else "the file"
    try:
        with file.open("rb") as opened:
            # Never an exception, which would carry the bytes. What is no ASCII is no token.
            return _usable(
                Token(opened.read(_LARGEST).decode("ascii", "replace").strip()),
                setting,
                f"the text in {name}",
                f"let the file hold the token and no more, {_AS_GIVEN}",
            )
    except OSError as error:
        raise ConfigurationError(
            setting=setting,
            problem=f"{name} cannot be read ({error.strerror})",
            remedy=f"name a file that holds the token, or set {VARIABLE} or use --keyring instead",
        ) from None


def import_keyring(what: str = "--keyring") -> Any:
    """Return the library. Raises ImportError if it is not installed, with what to do."""
    try:
        return import_module("keyring")
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{what} needs keyring: pip install "topone-proto[keyring]"', name="keyring"
        ) from error


def _read_keyring() -> Token:
    keyring = import_keyring()
    setting = "--keyring"
    service, user = KEYRING_ENTRY
    store = f"store it with 'keyring set {service} {user}'"
    try:
        found = Token(keyring.get_password(service, user) or "")
    except Exception as error:  # noqa: BLE001 - a back end raises what it likes, with anything in it
        raise ConfigurationError(
            setting=setting,
            problem=f"the keyring cannot be read ({type(error).__name__})",
            remedy=f"unlock it, or use --token-file FILE or {VARIABLE} instead",
        ) from None
    if not found.reveal():
        raise ConfigurationError(setting=setting, problem="the keyring has none", remedy=store)
    return _usable(found, setting, "the entry of the keyring", store)


def _ask() -> Token:
    try:
        return Token(getpass("API token (it is not shown): ").strip())
    except EOFError:
        raise ConfigurationError(
            setting="token", problem="none was given", remedy=f"type it, or set {VARIABLE}"
        ) from None


def _usable(token: Token, setting: str, what: str, remedy: str) -> Token:
    """Return ``token`` if it can be one."""
    try:
        token.require_usable()
    except ConfigurationError as error:
        raise ConfigurationError(
            setting=setting, problem=f"{what} is no token: {error.problem}", remedy=remedy
        ) from None
    return token
