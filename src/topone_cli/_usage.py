"""Complaints about arguments. None of them repeats what was typed.

A token that stands where a command, an option, a value or a file is expected must not reach
standard error, which is often written to a log. A complaint names what is expected, and words that
the command knows.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Final

import typer

from topone_cli._masks import hide_tokens

__all__ = ["Misuse", "usage_problem"]

_REVOKE: Final = (
    "if one of the arguments is a token, revoke it: the shell's history has it, and every user "
    "of this machine can read it"
)
# What an option takes that not every text is.
_EXPECTED: Final = {
    "adapter": "use trio, asyncio or threads",
    "port": "use a whole number from 0 to 65535",
    "seed": "use a whole number",
}
_NUMBER: Final = "use a number"


class Misuse(typer.BadParameter):
    """A complaint about arguments, in words that repeat none of them."""


def usage_problem(error: Any, words: Sequence[str]) -> str:
    """Return what is wrong with the arguments.

    Args:
        error: what typer raises about them. Its classes moved with typer's versions, and its texts
            repeat the arguments.
        words: the arguments.
    """
    # Any, as the classes have no public name.
    kind = type(error).__name__
    param = getattr(error, "param", None)
    if isinstance(error, Misuse):
        return error.message if param is None else f"{_name(param)}: {error.message}"
    if kind == "MissingParameter":
        return f"{_name(param)} is missing"
    command: Any = getattr(getattr(error, "ctx", None), "command", None)
    if kind == "BadOptionUsage":
        name = str(error.option_name)
        is_given_one = any(word.startswith(f"{name}=") for word in words)
        return f"{name} {'takes no value' if is_given_one else 'needs a value'}"
    if kind == "NoSuchOption":
        name = str(error.option_name)
        known = [] if command is None else _options(command)
        where = _place(name, words)
        problem = f"{where} is not an option of this command{_meant(name, known)}"
    elif isinstance(error, typer.BadParameter):
        problem = f"{_name(param)}: {_EXPECTED.get(getattr(param, 'name', ''), _NUMBER)}"
    elif hasattr(command, "commands"):
        known = list(command.commands)
        problem = f"there is no such command{_meant(words[0], known)}: use {_either(known)}"
    else:
        problem = "there are too many arguments"
    if any(hide_tokens(word) != word for word in words):
        problem += f"; {_REVOKE}"
    return problem


def _name(param: Any) -> str:
    """Return the option, or the argument's place in the help."""
    return str(max(param.opts, key=len) if param.param_type_name == "option" else param.metavar)


def _options(command: Any) -> list[str]:
    return [name for param in command.params if not param.hidden for name in param.opts]


def _place(name: str, words: Sequence[str]) -> str:
    for number, word in enumerate(words, 1):
        if word.startswith(name):
            return f"argument {number}"
    return "an argument"


def _meant(word: str, known: Iterable[str]) -> str:
    """Return the known words that ``word`` may be a slip of."""
    meant = get_close_matches(word, known)
    return f" (did you mean {_either(meant)}?)" if meant else ""


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
