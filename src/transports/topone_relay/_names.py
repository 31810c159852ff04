"""Names of accounts and nodes in the form that every bus takes as part of a key or a subject."""

import re
from functools import lru_cache

from topone_proto import ConfigurationError

__all__ = ["name_of", "token_of"]

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST = 200
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


@lru_cache(maxsize=1024)  # the same few names, with every message
def token_of(name: str, setting: str = "account") -> str:
    """Return a name with all but letters, digits, ``_`` and ``-`` written as ``=`` and two
    hexadecimal digits for each byte of its UTF-8.

    The result is one token of a NATS subject and part of a key of every bus. Different names give
    different tokens.

    Raises:
        ConfigurationError: the name is empty or too long.
    """
    token = "".join(chr(each) if each in _PLAIN else f"={each:02X}" for each in name.encode())
    if not 0 < len(token) <= _LONGEST:
        raise ConfigurationError(
            setting=setting,
            problem=f"a name of {len(name)} characters",
            remedy=f"give it from 1 to {_LONGEST} letters, digits, _ and - (others count three)",
        )
    return token


def name_of(token: str) -> str:
    """Return the name that ``token_of`` made a token of."""
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), token)
    return plain.encode("latin-1", "replace").decode("utf-8", "replace")
