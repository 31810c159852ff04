"""The way into an account: a key pair or a token, from wherever it is."""

import os
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from topone_cli._errors import VARIABLE
from topone_cli._keys import find_keys
from topone_cli._token import RereadToken, find_token, has_terminal
from topone_proto import ConfigurationError, Credentials, Token
from topone_proto.adapters import HttpEndpoint

__all__ = ["Access", "find_access"]


@frozen
class Access:
    """One of the two, and where it was found."""

    keys: Credentials | None
    token: Token | RereadToken | None
    place: str


def find_access(
    endpoint: HttpEndpoint,
    token_file: Path | None,
    *,
    keyring: bool,
    warn: Callable[[str], object],
    may_ask: bool = False,
) -> Access:
    """Return the way into an account: the token that an option names, else the keys or the token of
    the environment, else the keys that ``topone login`` has stored.

    Args:
        endpoint: the exchange.
        token_file: the file of the token.
        keyring: True takes the token from the system's keyring.
        warn: is told what is unwise about a file.
        may_ask: True asks for a token at a terminal, if there is nothing else.

    Raises:
        ConfigurationError: there is none, or one that cannot be used.
        ImportError: the keyring's extra is not installed.
    """
    if token_file is not None or keyring:
        place = "the keyring" if token_file is None else str(token_file)
        return Access(None, find_token(token_file, keyring=keyring, warn=warn), place)
    if not os.environ.get(VARIABLE) or os.environ.get("TOPONE_APP_ID"):
        found = find_keys(endpoint, warn)
        if found is not None:
            return Access(found[0], None, found[1])
    if os.environ.get(VARIABLE):
        return Access(None, find_token(None, warn=warn), VARIABLE)
    if may_ask and has_terminal():
        return Access(None, find_token(None), "what was typed")
    raise ConfigurationError(
        setting="keys",
        problem=f"there are none for {endpoint.url}, and no token",
        remedy=f"run 'topone login', or set {VARIABLE}, or use --token-file FILE or --keyring",
    )
