"""What ends a command without success, in words for whoever typed it."""

from typing import Final

from topone_cli._token import VARIABLE
from topone_proto import ConfigurationError

__all__ = ["CommandFailed", "explain"]

# What an argument of the library is called on the command line.
_NAMES: Final = {
    "insecure=True": "--insecure",
    "None (left out)": "no --origin",
    "token=...": f"{VARIABLE}, --token-file or --keyring",
}


class CommandFailed(Exception):  # noqa: N818 - what happened, as the exit code says it
    """The command cannot do what was asked; its text says why and what to do. Exit code 1."""


def explain(error: ConfigurationError) -> str:
    """What is wrong with a setting and what to do, in words of the command."""
    remedy = error.remedy
    for argument, option in _NAMES.items():
        remedy = remedy.replace(argument, option)
    return f"{error.problem}; {remedy}"
