"""Masks over what could be a token, in texts that are made of arguments."""

import os
import re
from typing import Final

from topone_cli._errors import VARIABLE
from topone_proto import Token
from topone_proto.secrets.redaction import HIDDEN, Redactor

__all__ = ["hide_tokens"]

# The exchange writes a token as a prefix and 74 letters and digits. The others are long texts of
# digits and letters of both cases, which no hash and no time of day is.
_LOOKS_LIKE_TOKEN: Final = re.compile(
    r"topapi(?::|%3A)[^\s'\",;/]*(?<!:)"
    r"|[0-9A-Za-z]{65,}"
    r"|(?<![0-9A-Za-z])(?=[0-9A-Za-z]*?[0-9])(?=[0-9A-Za-z]*?[a-z])(?=[0-9A-Za-z]*?[A-Z])"
    r"[0-9A-Za-z]{20,}"
)
# A shorter token, such as the simulator's "demo", is an everyday word.
_SHORTEST: Final = 12


def hide_tokens(text: str) -> str:
    """Return ``text`` with a mask over all that could be a token: what has the form of one, and the
    token of the environment in any spelling."""
    text = _LOOKS_LIKE_TOKEN.sub(HIDDEN, text)
    if len(os.environ.get(VARIABLE, "")) < _SHORTEST:
        return text
    return Redactor(Token(os.environ[VARIABLE])).redact(text)
